/* SPDX-License-Identifier: MIT
 *
 * support.c - see support.h. Calls nothing of the library, so that a test that loads the library at run time can use
 * this.
 */
#include "support.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif
#endif

/* ---- options of the sanitizers ---- */

#if TEST_ASAN
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
#endif

#if TEST_TSAN
/* Threads in the child of a process with threads are what test_fork is about. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0:allocator_may_return_null=1";
}
#endif

/* ---- coverage ---- */

#if defined(TEST_COVERAGE)
void __gcov_dump(void);
#endif

/* What a process counted is written at its exit(). For one that ends in another way, this. */
static void write_coverage(void)
{
#if defined(TEST_COVERAGE)
    __gcov_dump();
#endif
}

static void on_abort(int number)
{
    (void)number; /* and abort() goes on, to end the process as without a handler */
    write_coverage();
}

/* ---- scale ---- */

bool test_under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload != NULL && strstr(preload, "vgpreload") != NULL;
}

bool test_instrumented(void)
{
    return TEST_ASAN != 0 || TEST_TSAN != 0 || test_under_valgrind();
}

size_t test_scale(size_t full, size_t small)
{
    const char *scale = getenv("BUFFERPOOL_TEST_SCALE");
    if (scale != NULL && strcmp(scale, "small") == 0)
        return small;
    return test_instrumented() ? small : full;
}

bool test_can_steal(void)
{
    const long commands = syscall(SYS_membarrier, 0, 0, 0); /* the bits of those that the kernel has */
    return TEST_TSAN || (commands > 0 && (commands & 1 << 3) != 0);
}

/* ---- threads ---- */

void *test_join_until_gone(pthread_t thread, const pid_t *tid)
{
    void *result = NULL;
    if (pthread_join(thread, &result) != 0)
        abort();
    while (syscall(SYS_tgkill, getpid(), *tid, 0) == 0)
        sched_yield();
    return result;
}

static atomic_bool failure_recorded;
static char failure_text[512];
static bool in_child; /* made by fork here: there are no tests to end */

bool test_record(bool ok, const char *what, const char *file, int line)
{
    if (!ok && !atomic_exchange(&failure_recorded, true)) {
        snprintf(failure_text, sizeof failure_text, "%s:%d: in a thread: %s", file, line, what);
    }
    return ok;
}

bool test_recorded_failure(void)
{
    return atomic_load(&failure_recorded);
}

struct test_crew {
    unsigned n;
    test_thread_fn fn;
    void *arg;
    pthread_barrier_t start;
    struct test_member {
        test_crew_t *crew;
        unsigned index;
        pthread_t thread;
    } members[];
};

static void *member_main(void *arg)
{
    const struct test_member *member = arg;
    pthread_barrier_wait(&member->crew->start);
    member->crew->fn(member->crew->arg, member->index);
    return NULL;
}

test_crew_t *start_threads(unsigned n, test_thread_fn fn, void *arg)
{
    test_crew_t *crew = malloc(sizeof *crew + n * sizeof crew->members[0]);
    if (crew == NULL)
        abort();
    crew->n = n;
    crew->fn = fn;
    crew->arg = arg;
    if (pthread_barrier_init(&crew->start, NULL, n) != 0)
        abort();
    for (unsigned i = 0; i < n; i++) {
        crew->members[i].crew = crew;
        crew->members[i].index = i;
        if (pthread_create(&crew->members[i].thread, NULL, member_main, &crew->members[i]) != 0)
            abort();
    }
    return crew;
}

void join_threads(test_crew_t *crew)
{
    for (unsigned i = 0; i < crew->n; i++) {
        if (pthread_join(crew->members[i].thread, NULL) != 0)
            abort();
    }
    pthread_barrier_destroy(&crew->start);
    free(crew);
    if (in_child)
        return; /* which reports by exit status */
    if (atomic_exchange(&failure_recorded, false))
        fail_msg("%s", failure_text);
}

void run_threads(unsigned n, test_thread_fn fn, void *arg)
{
    join_threads(start_threads(n, fn, arg));
}

/* ---- processes ---- */

enum { NOTES = 4, NOTE_SIZE = 128, MESSAGE_SIZE = 8192 };

struct notes {
    unsigned n;
    char text[NOTES][NOTE_SIZE];
};

static struct notes *notes; /* shared with the child */
static char message[MESSAGE_SIZE];

void expect_in_message(const char *format, ...)
{
    va_list args;
    if (notes == NULL || notes->n == NOTES)
        _exit(3);
    va_start(args, format);
    vsnprintf(notes->text[notes->n++], NOTE_SIZE, format, args);
    va_end(args);
}

const char *last_abort_message(void)
{
    return message;
}

/* cmocka catches these to go on with the next test, which would be a second run of the parent's tests. */
static void become_child(unsigned seconds)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGALRM};
    const struct rlimit no_core = {0, 0};
    in_child = true;
    setrlimit(RLIMIT_CORE, &no_core);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], SIG_DFL);
    signal(SIGABRT, on_abort);
    alarm(seconds);
}

static _Noreturn void end_process(int status)
{
    write_coverage();
    _exit(status);
}

static int wait_for(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            fail_msg("waitpid: %s", strerror(errno));
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Everything up to the end of file, what does not fit dropped. */
static size_t read_all(int fd, char *text, size_t size)
{
    size_t n = 0;
    char more[512];
    for (;;) {
        const ssize_t got = read(fd, more, sizeof more);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        const size_t fits = (size_t)got < size - 1 - n ? (size_t)got : size - 1 - n;
        memcpy(text + n, more, fits);
        n += fits;
    }
    text[n] = '\0';
    return n;
}

/* qemu-user adds a line about the signal that ended its program. */
static size_t without_qemus_line(char *text, size_t n)
{
    char *line = strstr(text, "\nqemu: uncaught target signal 6 ");
    if (line == NULL)
        return n;
    line[1] = '\0';
    return (size_t)(line + 1 - text);
}

void expect_abort(void (*fn)(void *arg), void *arg, ...)
{
    int fds[2];
    notes = mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(notes != MAP_FAILED);
    assert_int_equal(pipe(fds), 0);

    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        become_child(120);
        if (dup2(fds[1], STDERR_FILENO) < 0)
            _exit(4);
        close(fds[0]);
        close(fds[1]);
        fn(arg);
        end_process(0);
    }
    close(fds[1]);
    const size_t n = without_qemus_line(message, read_all(fds[0], message, sizeof message));
    close(fds[0]);

    const int status = wait_for(child);
    if (status != 128 + SIGABRT)
        fail_msg("expected an abort, got status %d and: %s", status, message);
    if (n == 0 || strchr(message, '\n') != message + n - 1)
        fail_msg("expected one line, got: %s", message);

    va_list args;
    va_start(args, arg);
    for (const char *part = va_arg(args, const char *); part != NULL; part = va_arg(args, const char *)) {
        if (strstr(message, part) == NULL)
            fail_msg("no \"%s\" in: %s", part, message);
    }
    va_end(args);
    for (unsigned i = 0; i < notes->n; i++) {
        if (strstr(message, notes->text[i]) == NULL)
            fail_msg("no \"%s\" in: %s", notes->text[i], message);
    }
    munmap(notes, sizeof *notes);
    notes = NULL;
}

/* ---- debug modes ---- */

static int with_failure_told(int status)
{
    if (test_recorded_failure())
        fprintf(stderr, "%s\n", failure_text);
    return status;
}

static test_outcome_t outcome;

const test_outcome_t *run_with_modes(const char *modes, void (*fn)(void *arg), void *arg)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        become_child(120);
        if (modes != NULL ? setenv("BUFFERPOOL_DEBUG", modes, 1) != 0 : unsetenv("BUFFERPOOL_DEBUG") != 0)
            _exit(4);
        if (dup2(fds[1], STDERR_FILENO) < 0)
            _exit(4);
        close(fds[0]);
        close(fds[1]);
        fn(arg);
        exit(with_failure_told(test_recorded_failure() ? 8 : 0));
    }
    close(fds[1]);
    outcome.n = without_qemus_line(outcome.err, read_all(fds[0], outcome.err, sizeof outcome.err));
    close(fds[0]);
    outcome.status = wait_for(child);
    return &outcome;
}

/* Not where the loader was told to run this program. */
static bool is_this_program(const char *exe)
{
    char path[4096] = "";
    const ssize_t n = readlink(exe, path, sizeof path - 1);
    const char *name = n > 0 ? strrchr(path, '/') : NULL;
    return name != NULL && strcmp(name + 1, program_invocation_short_name) == 0;
}

_Noreturn void test_run_setuid_copy(void)
{
    char name[] = "/tmp/test_setuid_XXXXXX", block[4096];
    if (!is_this_program("/proc/self/exe"))
        _exit(TEST_NOT_SECURE);
    const int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to = mkstemp(name);
    for (ssize_t n; from >= 0 && to >= 0 && (n = read(from, block, sizeof block)) > 0;)
        if (write(to, block, (size_t)n) != n)
            _exit(TEST_NOT_SECURE);
    const bool made = fchown(to, 65534, 65534) == 0 && fchmod(to, 06755) == 0 && close(to) == 0;
    int status = TEST_NOT_SECURE << 8;
    const pid_t child = made ? fork() : -1;
    if (child == 0) {
        execl(name, name, "--setuid", (char *)NULL);
        _exit(TEST_NOT_SECURE);
    }
    if (child > 0)
        waitpid(child, &status, 0);
    unlink(name);
    _exit(WIFEXITED(status) && WEXITSTATUS(status) != 127 ? WEXITSTATUS(status)
          : WIFEXITED(status)                             ? TEST_NOT_SECURE
                                                          : 1);
}

const test_outcome_t *test_last_outcome(void)
{
    return &outcome;
}

static void expect_parts(const char *part, va_list more)
{
    for (; part != NULL; part = va_arg(more, const char *)) {
        if (strstr(outcome.err, part) == NULL)
            fail_msg("no \"%s\" in: %s", part, outcome.err);
    }
}

static void *exit_here(void *arg)
{
    (void)arg;
    exit(0);
}

void end_as(enum way_to_end way)
{
    pthread_t thread;
    if (way == END_UNDERSCORE)
        _exit(0);
    if (way == END_OTHER_THREAD && pthread_create(&thread, NULL, exit_here, NULL) == 0)
        pthread_join(thread, NULL);
}

void expect_outcome(int status, ...)
{
    if (outcome.status != status)
        fail_msg("expected status %d, got %d and: %s", status, outcome.status, outcome.err);
    va_list parts;
    va_start(parts, status);
    expect_parts(va_arg(parts, const char *), parts);
    va_end(parts);
}

void expect_report(const char *part, ...)
{
    if (outcome.status != 128 + SIGABRT)
        fail_msg("expected an abort, got status %d and: %s", outcome.status, outcome.err);
    size_t lines = 0, reports = 0;
    for (const char *at = outcome.err; at != NULL && *at != '\0'; at = strchr(at, '\n') + 1, lines++) {
        reports +=
            strncmp(at, "libbufferpool: ", strlen("libbufferpool: ")) == 0 && at[strlen("libbufferpool: ")] != ' ';
        if (strchr(at, '\n') == NULL)
            fail_msg("half a line: %s", at);
    }
    if (reports != 1 || lines > 3)
        fail_msg("expected one report and its history, got: %s", outcome.err);
    va_list parts;
    va_start(parts, part);
    expect_parts(part, parts);
    va_end(parts);
}

static int *verdict; /* shared with the child */

_Noreturn void end_child(int status)
{
    *verdict = with_failure_told(status);
    if (test_under_valgrind())
        raise(SIGKILL);
    end_process(status);
}

int run_in_child(int (*fn)(void *arg), void *arg, unsigned seconds)
{
    if (verdict == NULL) {
        verdict = mmap(NULL, sizeof *verdict, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true((void *)verdict != MAP_FAILED);
    }
    *verdict = 128 + SIGKILL;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        become_child(seconds);
        end_process(with_failure_told(fn(arg)));
    }
    const int status = wait_for(child);
    return status == 128 + SIGKILL ? *verdict : status;
}

/* ---- blocks ---- */

/* In front of each block, padded to the block's alignment. */
struct block_head {
    uint64_t magic;
    size_t size;
    void *ctx;
    void *base;
};

#define BLOCK_MAGIC UINT64_C(0x7e57b10c7e57b10c)

/* In front of a block there is room for the head, and as a power of two it is an alignment. */
enum { BLOCK_LEAD = 32 };
_Static_assert(sizeof(struct block_head) <= BLOCK_LEAD, "the head fits");

/* Unlike malloc itself, those of the sanitizers are left locked in a child when another thread was in them. */
static pthread_mutex_t malloc_lock = PTHREAD_MUTEX_INITIALIZER;
static bool malloc_locks;

static void lock_malloc(void)
{
    if (malloc_locks)
        pthread_mutex_lock(&malloc_lock);
}

static void unlock_malloc(void)
{
    if (malloc_locks)
        pthread_mutex_unlock(&malloc_lock);
}

void test_blocks_before_fork(void)
{
    if (!TEST_SANITIZED || malloc_locks)
        return;
    if (pthread_atfork(lock_malloc, unlock_malloc, unlock_malloc) != 0)
        abort();
    malloc_locks = true;
}

void *test_blocks_alloc(size_t size, size_t align, void *ctx)
{
    test_blocks_t *blocks = ctx;
    const size_t call = atomic_fetch_add(&blocks->calls, 1) + 1;
    const size_t from = atomic_load(&blocks->fail_from);
    if (from != 0 && call >= from && call <= atomic_load(&blocks->fail_to))
        return NULL;

    if (align == 0 || (align & (align - 1)) != 0 || size == 0)
        atomic_fetch_add(&blocks->errors, 1);
    size_t lead = BLOCK_LEAD;
    if (align > lead)
        lead = align;
    unsigned char *base = NULL;
    lock_malloc();
    const int error = posix_memalign((void **)&base, lead, lead + size);
    unlock_malloc();
    if (error != 0)
        return NULL;
    const struct block_head head = {BLOCK_MAGIC, size, ctx, base};
    memcpy(base + lead - sizeof head, &head, sizeof head);
    memset(base + lead, 0xee, size);

    atomic_store(&blocks->last, base + lead);
    atomic_store(&blocks->last_size, size);
    atomic_store(&blocks->last_align, align);
    atomic_fetch_add(&blocks->allocs, 1);
    atomic_fetch_add(&blocks->bytes, size);
    const size_t count = atomic_fetch_add(&blocks->count, 1) + 1;
    size_t peak = atomic_load(&blocks->peak);
    while (count > peak && !atomic_compare_exchange_weak(&blocks->peak, &peak, count)) {
    }
    return base + lead;
}

void test_blocks_free(void *block, size_t size, void *ctx)
{
    test_blocks_t *blocks = ctx;
    struct block_head head;
    unsigned char *at = (unsigned char *)block - sizeof head;
    memcpy(&head, at, sizeof head);
    if (head.magic != BLOCK_MAGIC || head.size != size || head.ctx != ctx) {
        atomic_fetch_add(&blocks->errors, 1);
        return;
    }
    if (blocks->on_free != NULL)
        blocks->on_free(blocks, block, size);
    explicit_bzero(at, sizeof head + size); /* so that whoever still reads it does not find what was there */
    atomic_fetch_add(&blocks->frees, 1);
    atomic_fetch_sub(&blocks->bytes, size);
    atomic_fetch_sub(&blocks->count, 1);
    lock_malloc();
    free(head.base);
    unlock_malloc();
}

void test_blocks_fail(test_blocks_t *blocks, size_t skip, size_t n)
{
    const size_t first = atomic_load(&blocks->calls) + skip + 1;
    atomic_store(&blocks->fail_to, n > SIZE_MAX - first ? SIZE_MAX : first + n - 1);
    atomic_store(&blocks->fail_from, first);
}

void test_blocks_fail_none(test_blocks_t *blocks)
{
    atomic_store(&blocks->fail_from, 0);
}

/* ---- small things ---- */

uint64_t test_random(test_random_t *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

size_t test_random_below(test_random_t *random, size_t below)
{
    return (size_t)(test_random(random) % below);
}

size_t test_resident_bytes(void)
{
    char text[4096];
    int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        read_all(fd, text, sizeof text);
        close(fd);
        const char *rss = strstr(text, "\nRss:");
        if (rss != NULL)
            return (size_t)strtoull(rss + 5, NULL, 10) * 1024;
    }
    fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    read_all(fd, text, sizeof text);
    close(fd);
    const char *second = strchr(text, ' ');
    return second == NULL ? 0 : (size_t)strtoull(second, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

#if UINTPTR_MAX > UINT32_MAX

void test_narrow_addresses(void)
{
}

void test_widen_addresses(void)
{
}

#else

#define NARROW_BYTES ((size_t)256 << 20)

static void *taken[16]; /* all of 4 GiB */

void test_narrow_addresses(void)
{
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        taken[i] = mmap(NULL, NARROW_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

void test_widen_addresses(void)
{
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (taken[i] != MAP_FAILED)
            munmap(taken[i], NARROW_BYTES);
}

#endif

static unsigned char fill_byte(size_t i, uint64_t seed)
{
    return (unsigned char)((i * 31 + (i >> 8) * 7 + seed * 131 + 17) & 0xff);
}

void test_know_bytes(const bufferpool_buf_t *buf)
{
#ifdef VALGRIND_MAKE_MEM_DEFINED
    (void)VALGRIND_MAKE_MEM_DEFINED(buf->data, buf->cap);
#else
    (void)buf;
#endif
}

void test_fill(unsigned char *data, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        data[i] = fill_byte(i, seed);
}

bool test_filled(const unsigned char *data, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        if (data[i] != fill_byte(i, seed))
            return false;
    }
    return true;
}

__attribute__((noinline, no_sanitize("address"))) void test_smash(unsigned char *at, unsigned char with, size_t n)
{
    for (volatile unsigned char *byte = at; byte < at + n; byte++)
        *byte = with;
}
