/* SPDX-License-Identifier: MIT
 *
 * test_hostile_system_calls.c - a filter traps or kills for the system calls that docs/system-calls.md does not list
 *
 * The test reads the tables of that page. Each case is a child under a filter for all of its threads, which lets pass
 * what a table lists: for every function by itself the groups of its row; for an ordinary pool everything; for pools
 * with BUFFERPOOL_NO_MEMBARRIER the same without membarrier; and for a pool that was made before the filter what its
 * own table lists. There the test also takes away each call of which the
 * table says that it is needed, and sees the child trapped. A child that is trapped tells by which call.
 */
#include "support/laws.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <ucontext.h>
#include <unistd.h>

enum { CAPACITY = 32768, CAP = 64, HELD = 400, THREADS = 3, CALLS_MAX = 64, CHILD_SECONDS = 60 };
enum { CANNOT = 77, TRAPPED = 99 };

/* ---- names ---- */

static const struct name {
    const char *name;
    long number;
} names[] = {
#define NAME(name)                                                                                                     \
    {                                                                                                                  \
#name, SYS_##name                                                                                              \
    }
    NAME(brk),
    NAME(clock_gettime),
    NAME(clone),
    NAME(clone3),
    NAME(close),
    NAME(connect),
    NAME(eventfd2),
    NAME(exit),
    NAME(fstatfs),
    NAME(futex),
    NAME(getcpu),
    NAME(getpid),
    NAME(getrandom),
    NAME(gettid),
    NAME(madvise),
    NAME(membarrier),
    NAME(mincore),
    NAME(mlock2),
    NAME(mmap),
    NAME(mprotect),
    NAME(mremap),
    NAME(munmap),
    NAME(newfstatat),
    NAME(openat),
    NAME(poll),
    NAME(process_madvise),
    NAME(read),
    NAME(rseq),
    NAME(rt_sigaction),
    NAME(rt_sigpending),
    NAME(rt_sigprocmask),
    NAME(rt_sigtimedwait),
    NAME(sched_getaffinity),
    NAME(sendto),
    NAME(set_robust_list),
    NAME(socket),
    NAME(tgkill),
    NAME(write),
};
enum { NAMES = sizeof names / sizeof names[0] };

static long number_of(const char *name, size_t length)
{
    for (size_t i = 0; i < NAMES; i++)
        if (strlen(names[i].name) == length && memcmp(names[i].name, name, length) == 0)
            return names[i].number;
    fail_msg("the page names a system call that this test does not know: %.*s", (int)length, name);
    return -1;
}

static const char *name_of(long number)
{
    for (size_t i = 0; i < NAMES; i++)
        if (names[i].number == number)
            return names[i].name;
    return "?";
}

/* ---- the page ---- */

struct set {
    size_t n;
    long numbers[CALLS_MAX];
};

static bool has(const struct set *set, long number)
{
    for (size_t i = 0; i < set->n; i++)
        if (set->numbers[i] == number)
            return true;
    return false;
}

static void add(struct set *set, long number)
{
    if (!has(set, number)) {
        assert_true(set->n < CALLS_MAX);
        set->numbers[set->n++] = number;
    }
}

static char page[1 << 16];

static void read_page(void)
{
    FILE *file = fopen(SYSTEM_CALLS_PAGE, "r");
    assert_non_null(file);
    const size_t n = fread(page, 1, sizeof page - 1, file);
    fclose(file);
    assert_in_range(n, 1000, sizeof page - 2);
    page[n] = '\0';
}

/* The cells of a row: its second and its first, without the spaces around. */
struct row {
    const char *cell[2];
    size_t length[2];
};

/* The row at or after *at, in the section. Returns false after the last one. */
static bool next_row(const char **at, struct row *row)
{
    while (**at != '\0' && strncmp(*at, "\n## ", 4) != 0) {
        const char *line = ++*at;
        *at += strcspn(*at, "\n");
        if (line[0] != '|' || line[1] != ' ')
            continue;
        for (int i = 0; i < 2; i++) {
            row->cell[i] = line + 2;
            row->length[i] = strcspn(line + 2, "|") - 1;
            line += row->length[i] + 3;
        }
        return true;
    }
    return false;
}

/* Where the rows below the heading of the table begin. */
static const char *rows_of(const char *heading)
{
    const char *at = strstr(page, heading);
    struct row row;
    assert_non_null(at);
    at += strlen(heading);
    assert_true(next_row(&at, &row));
    return at;
}

static bool is(const struct row *row, int cell, const char *text)
{
    return row->length[cell] == strlen(text) && memcmp(row->cell[cell], text, row->length[cell]) == 0;
}

static void add_named(struct set *set, const char *text, size_t length)
{
    const char *end = text + length;
    while ((text = memchr(text, '`', (size_t)(end - text))) != NULL) {
        const size_t name = strcspn(text + 1, "`");
        add(set, number_of(text + 1, name));
        text += name + 2;
    }
}

/* NULL: all groups but that of reports. */
static void add_group(struct set *set, const char *name, size_t length)
{
    const char *at = rows_of("\n## Groups\n");
    bool found = false;
    for (struct row row; next_row(&at, &row);) {
        if (name == NULL ? is(&row, 0, "report") : row.length[0] != length || memcmp(row.cell[0], name, length) != 0)
            continue;
        add_named(set, row.cell[1], row.length[1]);
        found = true;
    }
    assert_true(found);
}

static struct set set_of_function(const char *function)
{
    const char *at = rows_of("\n## By function\n");
    struct set set = {0};
    for (struct row row; next_row(&at, &row);) {
        const size_t tick = row.cell[0][0] == '`';
        if (row.length[0] != strlen(function) + 2 * tick || memcmp(row.cell[0] + tick, function, strlen(function)) != 0)
            continue;
        for (const char *group = row.cell[1], *end = group + row.length[1]; group < end;) {
            const size_t length = strcspn(group, ",|") - (group[strcspn(group, ",|")] == '|');
            if (length != 4 || memcmp(group, "none", 4) != 0)
                add_group(&set, group, length);
            group += length + 2;
        }
        return set;
    }
    fail_msg("the page says nothing of %s", function);
    return set;
}

/* Of the table for a pool that was made before: those that are needed, or all. */
static struct set set_of_made_before(bool needed)
{
    const char *at = rows_of("\n## A pool that is made before the filter\n");
    struct set set = {0};
    for (struct row row; next_row(&at, &row);) {
        assert_true(is(&row, 1, "yes") || is(&row, 1, "sometimes"));
        if (!needed || is(&row, 1, "yes"))
            add_named(&set, row.cell[0], row.length[0]);
    }
    return set;
}

/* ---- the filter ---- */

static long *trapped_by; /* shared with the children */

static void at_trap(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    *trapped_by = info->si_syscall;
    _exit(TRAPPED);
}

/* For all threads. The test needs what ends the child. */
static void install(const struct set *allowed, unsigned otherwise)
{
    struct sock_filter filter[CALLS_MAX + 4] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    struct set set = *allowed;
    unsigned short at = 1;
    add(&set, SYS_exit_group);
    for (size_t i = 0; i < set.n; i++) /* to the last one; else on */
        filter[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)set.numbers[i],
                                                    (unsigned char)(set.n - i), 0);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const struct sock_fprog program = {at, filter};
    struct sigaction action = {.sa_sigaction = at_trap, .sa_flags = SA_SIGINFO};
    sigaction(SIGSYS, &action, NULL);
    (void)signal(SIGABRT, SIG_DFL);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
        _exit(CANNOT);
}

/* ---- threads of the child, which exist before the filter ---- */

static bufferpool_t *pool;
static bufferpool_buf_t *bufs[HELD];
static pthread_barrier_t barrier;
static void (*crew_does)(void);

static _Atomic(int) crew_ids[THREADS], crew_size;

static void *crew_main(void *unused)
{
    crew_ids[atomic_fetch_add(&crew_size, 1)] = (int)syscall(SYS_gettid);
    for (;;) {
        pthread_barrier_wait(&barrier);
        crew_does();
        pthread_barrier_wait(&barrier);
    }
    return unused;
}

static void crew_do(void (*step)(void))
{
    crew_does = step;
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
}

static void do_nothing(void)
{
}

static bool is_asleep(int id)
{
    char path[64], line[512];
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/stat", id);
    FILE *file = fopen(path, "re");
    const bool read = file != NULL && fgets(line, sizeof line, file) != NULL;
    if (file != NULL)
        (void)fclose(file);
    const char *name_end = read ? strrchr(line, ')') : NULL;
    return name_end == NULL || name_end[2] == 'S';
}

/* Until the crew waits for the next step: to begin to wait is a system call too. */
static void crew_settle(void)
{
    for (int i = 0; i < THREADS; i++)
        while (!is_asleep(crew_ids[i]))
            sched_yield();
}

static void crew_begin(void)
{
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        thread_check(pthread_create(&thread, NULL, crew_main, NULL) == 0);
    crew_do(do_nothing); /* the beginning of a thread takes calls of its own */
}

/* What a thread gets of the cap comes to idle in its cache. */
static void fill_own_cache(void)
{
    bufferpool_buf_t *own[CAP / 4];
    for (size_t i = 0; i < CAP / 4; i++)
        own[i] = bufferpool_get(pool);
    bufferpool_put_bulk(own, CAP / 4);
}

static void flush_own_cache(void)
{
    bufferpool_thread_flush();
}

/* ---- what is called ---- */

static bufferpool_t *make_pool(unsigned flags)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.max_live = CAP;
    config.reclaim_interval_ms = 1;
    config.flags = flags;
    bufferpool_t *made = bufferpool_create(&config);
    thread_check(made != NULL);
    return made;
}

static void get_to_far_beyond_the_cap(void)
{
    for (size_t i = 0; i < HELD; i++) {
        thread_check((bufs[i] = bufferpool_get(pool)) != NULL);
        memset(bufs[i]->data, 1, bufs[i]->cap);
    }
}

static void grow_some(void)
{
    for (size_t i = 0; i < HELD; i += 16)
        for (size_t cap = 3 * (size_t)CAPACITY; cap < (size_t)8 << 20; cap *= 3)
            thread_check(bufferpool_buf_reserve(bufs[i], cap) == 0);
}

static void get_and_grow_some(void)
{
    get_to_far_beyond_the_cap();
    grow_some();
}

static void shrink_some(void)
{
    for (size_t cap = (size_t)4 << 20; cap > CAPACITY / 4; cap /= 4)
        for (size_t i = 0; i < HELD; i++)
            thread_check(bufferpool_buf_shrink(bufs[i], cap) == 0);
}

static void call_trim_some(void)
{
    while (bufferpool_trim_some(pool, (size_t)10 * CAPACITY) > 0)
        ;
}

static void call_configure_default(void)
{
    thread_check(bufferpool_configure_default(BUFFERPOOL_CONFIG(.name = "mine", .max_live = 5)) == 0);
}

static void put_all(void)
{
    for (size_t i = 0; i < HELD; i++)
        bufferpool_put(bufs[i]);
}

/* Also an address whose 16 bytes in front lie in another page. */
static void find_data(void)
{
    thread_check(bufferpool_buf_from_data(bufs[0]->data) == bufs[0]);
    thread_check(bufferpool_buf_from_data((void *)(((uintptr_t)bufs[0]->data + 8192) & ~(uintptr_t)4095)) == NULL);
}

static void look(void)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    (void)bufferpool_live(pool);
    (void)bufferpool_max_live(pool);
    bufferpool_stats(pool, &stats);
    (void)bufferpool_version();
}

static void write_metrics(void)
{
    bufs[0]->len = 0;
    thread_check(bufferpool_metrics(bufs[0]) == 0);
}

static void write_holders(void)
{
    bufs[0]->len = 0;
    thread_check(bufferpool_holders(bufs[0]) == 0);
}

static void record_holders(void)
{
    for (int on = 1; on >= 0; on--) {
        const int error = bufferpool_record_holders(on);
        thread_check(error == 0 || error == ENOTSUP); /* built without debug modes */
    }
}

static void let_pools_come_and_go(unsigned flags)
{
    enum { POOLS = 60 };
    bufferpool_t *pools[POOLS];
    for (size_t i = 0; i < POOLS; i++) {
        pools[i] = make_pool(flags);
        bufferpool_put(bufferpool_get(pools[i]));
    }
    for (size_t i = 0; i < POOLS; i++)
        thread_check(bufferpool_destroy(pools[i]) == 0);
}

/* Until the library's thread has been at work meanwhile. */
static void wait_a_while(void)
{
    for (size_t i = 0; i < CAP; i++)
        bufs[i] = bufferpool_get(pool);
    thread_check(bufferpool_get_timed(pool, 50) == NULL);
    bufferpool_put_bulk(bufs, CAP);
}

static void use_everything(unsigned flags)
{
    crew_do(fill_own_cache);
    get_to_far_beyond_the_cap();
    grow_some();
    find_data();
    write_metrics();
    write_holders();
    look();
    thread_check(bufferpool_try_get(pool) == NULL);
    thread_check(bufferpool_buf_printf(bufs[1], "%0*d", 100000, 1) == 0);
    thread_check(bufferpool_buf_append(bufs[1], bufs[1]->data, bufs[1]->len) == 0);
    bufferpool_put_data(bufs[2]->data);
    bufs[2] = bufferpool_get(pool);
    put_all();
    crew_do(fill_own_cache);
    (void)bufferpool_reclaim(pool);
    (void)bufferpool_reclaim(pool);
    (void)bufferpool_trim(pool);
    crew_do(fill_own_cache);
    bufferpool_set_max_live(pool, 3);
    bufferpool_set_max_live(pool, CAP);
    thread_check(bufferpool_get_bulk(pool, bufs, HELD) == 0);
    bufferpool_put_bulk(bufs, HELD);
    wait_a_while();
    let_pools_come_and_go(flags);
    crew_do(flush_own_cache);
    bufferpool_thread_flush();
    thread_check(bufferpool_destroy(pool) == 0);
}

/* ---- the scenarios, in a child ---- */

struct scenario {
    struct set allowed;
    unsigned otherwise;
    void (*prepare)(void);
    void (*call)(void);
    unsigned flags; /* of the pool */
};

static _Noreturn void end_scenario(void)
{
    _exit(test_recorded_failure() ? 1 : 0); /* exit_group alone */
}

static int ordinary_child(void *arg)
{
    const struct scenario *scenario = arg;
    crew_begin();
    crew_settle();
    install(&scenario->allowed, scenario->otherwise);
    pool = make_pool(scenario->flags);
    use_everything(scenario->flags);
    end_scenario();
}

static int made_before_child(void *arg)
{
    const struct scenario *scenario = arg;
    const unsigned flags = BUFFERPOOL_BACKGROUND | BUFFERPOOL_START_NOW | BUFFERPOOL_NO_MEMBARRIER | scenario->flags;
    crew_begin();
    pool = make_pool(flags);
    crew_settle();
    install(&scenario->allowed, scenario->otherwise);
    use_everything(flags);
    end_scenario();
}

static int function_child(void *arg)
{
    const struct scenario *scenario = arg;
    crew_begin();
    pool = make_pool(scenario->flags);
    if (scenario->prepare != NULL)
        scenario->prepare();
    crew_settle();
    install(&scenario->allowed, scenario->otherwise);
    scenario->call();
    end_scenario();
}

/* Returns the status of the child. */
static int run(int (*child)(void *arg), const struct scenario *scenario)
{
    struct scenario copy = *scenario;
    *trapped_by = -1;
    return run_in_child(child, &copy, CHILD_SECONDS);
}

static void passes(int (*child)(void *arg), const struct scenario *scenario, const char *what)
{
    const int status = run(child, scenario);
    if (status == CANNOT)
        skip();
    if (status == TRAPPED)
        fail_msg("%s: system call %ld (%s)", what, *trapped_by, name_of(*trapped_by));
    if (status != 0)
        fail_msg("%s: status %d", what, status);
}

static const unsigned ways[] = {SECCOMP_RET_TRAP, SECCOMP_RET_KILL_PROCESS};

#define needs_filters()                                                                                                \
    do {                                                                                                               \
        (void)state;                                                                                                   \
        if (TEST_SANITIZED || test_under_valgrind())                                                                   \
            skip(); /* whose own runtime makes other calls */                                                          \
    } while (0)

static void an_ordinary_pool_makes_no_call_that_the_page_leaves_out(void **state)
{
    needs_filters();
    struct scenario scenario = {.flags = BUFFERPOOL_BACKGROUND};
    add_group(&scenario.allowed, NULL, 0);
    for (size_t i = 0; i < 2; i++) {
        scenario.otherwise = ways[i];
        passes(ordinary_child, &scenario, "an ordinary pool");
    }
}

static void a_process_whose_pools_all_do_without_membarrier_never_calls_it(void **state)
{
    needs_filters();
    struct scenario scenario = {.flags = BUFFERPOOL_BACKGROUND | BUFFERPOOL_NO_MEMBARRIER};
    struct set all = {0};
    add_group(&all, NULL, 0);
    for (size_t i = 0; i < all.n; i++)
        if (all.numbers[i] != SYS_membarrier)
            add(&scenario.allowed, all.numbers[i]);
    for (size_t i = 0; i < 2; i++) {
        scenario.otherwise = ways[i];
        passes(ordinary_child, &scenario, "pools that do without membarrier");
    }
}

static void a_pool_made_before_the_filter_needs_what_the_page_says(void **state)
{
    needs_filters();
    struct scenario scenario = {.allowed = set_of_made_before(false)};
    assert_false(has(&scenario.allowed, SYS_membarrier) || has(&scenario.allowed, SYS_clone3));
    for (size_t i = 0; i < 2; i++) {
        scenario.otherwise = ways[i];
        passes(made_before_child, &scenario, "a pool made before the filter");
    }
}

/* The thread reads from the FIFO what was written to it, which is news. */
static void pools_that_watch_memory_make_no_call_that_the_page_leaves_out(void **state)
{
    needs_filters();
    char folder[] = "/tmp/bufferpool-system-calls-XXXXXX", fifo[64];
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    assert_non_null(mkdtemp(folder));
    snprintf(fifo, sizeof fifo, "%s/fifo", folder);
    snprintf(name.sun_path, sizeof name.sun_path, "%s/socket", folder);
    const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, 64), 0);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    const char *const sources[] = {"/dev/null", fifo, name.sun_path, ""}; /* "": as the system has it */
    setenv("MEMORY_PRESSURE_WRITE", "c29tZSAyMDAwMDAgMjAwMDAwMAA=", 1);
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        setenv("MEMORY_PRESSURE_WATCH", sources[i], 1);
        struct scenario ordinary = {.flags = BUFFERPOOL_BACKGROUND | BUFFERPOOL_PRESSURE};
        ordinary.otherwise = SECCOMP_RET_TRAP;
        add_group(&ordinary.allowed, NULL, 0);
        passes(ordinary_child, &ordinary, sources[i]);
        ordinary.flags = BUFFERPOOL_PRESSURE;
        passes(ordinary_child, &ordinary, sources[i]);
        struct scenario before = {.allowed = set_of_made_before(false), .flags = BUFFERPOOL_PRESSURE};
        before.otherwise = SECCOMP_RET_TRAP;
        passes(made_before_child, &before, sources[i]);
    }
    unsetenv("MEMORY_PRESSURE_WATCH");
    unsetenv("MEMORY_PRESSURE_WRITE");
    close(listener);
    unlink(fifo);
    unlink(name.sun_path);
    rmdir(folder);
}

static void a_pool_made_before_the_filter_needs_each_of_these_calls(void **state)
{
    needs_filters();
    const struct set needed = set_of_made_before(true), all = set_of_made_before(false);
    for (size_t i = 0; i < needed.n; i++) {
        struct scenario scenario = {.otherwise = SECCOMP_RET_TRAP};
        for (size_t k = 0; k < all.n; k++)
            if (all.numbers[k] != needed.numbers[i])
                add(&scenario.allowed, all.numbers[k]);
        const int status = run(made_before_child, &scenario);
        if (status == CANNOT)
            skip();
        /* the library's thread blocks the signal, which then ends the process */
        if (status != 128 + SIGSYS && (status != TRAPPED || *trapped_by != needed.numbers[i]))
            fail_msg("without %s: status %d, trapped by %s", name_of(needed.numbers[i]), status, name_of(*trapped_by));
    }
}

/* ---- function by function ---- */

static void let_others_have_the_cap(void)
{
    crew_do(fill_own_cache);
}

static void get_and_grow(void)
{
    get_to_far_beyond_the_cap();
    grow_some();
}

static void get_and_put(void)
{
    get_and_grow();
    put_all();
    crew_do(fill_own_cache);
}

static void call_create(void)
{
    (void)make_pool(0);
    (void)make_pool(BUFFERPOOL_NO_MEMBARRIER);
    (void)make_pool(BUFFERPOOL_BACKGROUND | BUFFERPOOL_START_NOW);
}

static void call_destroy(void)
{
    thread_check(bufferpool_destroy(pool) == 0);
}

static void call_try_get(void)
{
    size_t n = 0;
    while (n < HELD && (bufs[n] = bufferpool_try_get(pool)) != NULL)
        n++;
    thread_check(n == CAP);
}

static void call_get_timed(void)
{
    size_t n = 0;
    while (n < HELD && (bufs[n] = bufferpool_get_timed(pool, 20)) != NULL)
        n++;
    thread_check(n == CAP);
}

static void call_get_bulk(void)
{
    thread_check(bufferpool_get_bulk(pool, bufs, HELD) == 0);
}

static void call_put_bulk(void)
{
    bufferpool_put_bulk(bufs, HELD);
}

static void call_put_data(void)
{
    for (size_t i = 0; i < HELD; i++)
        bufferpool_put_data(bufs[i]->data);
}

static void call_set_max_live(void)
{
    bufferpool_set_max_live(pool, 1);
    bufferpool_set_max_live(pool, 0);
}

static void call_append(void)
{
    for (size_t i = 0; i < 40; i++) {
        bufs[i]->len = CAPACITY;
        for (int round = 0; round < 6; round++)
            thread_check(bufferpool_buf_append(bufs[i], bufs[i]->data, bufs[i]->len) == 0);
    }
}

static void call_printf(void)
{
    for (int i = 0; i < 40; i++)
        thread_check(bufferpool_buf_printf(bufs[i], "%0*d", 100000 * i, i) == 0);
}

static int format_by_list(bufferpool_buf_t *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int error = bufferpool_buf_vprintf(buf, format, args);
    va_end(args);
    return error;
}

static void call_vprintf(void)
{
    for (int i = 0; i < 40; i++)
        thread_check(format_by_list(bufs[i], "%0*d", 100000 * i, i) == 0);
}

static void call_reclaim(void)
{
    for (int i = 0; i < 4; i++)
        (void)bufferpool_reclaim(pool);
}

static void call_trim(void)
{
    (void)bufferpool_trim(pool);
}

static void call_flush(void)
{
    bufferpool_thread_flush();
    crew_do(flush_own_cache);
}

static const struct function {
    const char *name;
    void (*prepare)(void);
    void (*call)(void);
} functions[] = {
    {"bufferpool_create", NULL, call_create}, /* without preparation, the call starts the library's thread */
    {"bufferpool_destroy", get_and_put, call_destroy},
    {"bufferpool_configure_default", NULL, call_configure_default},
    {"bufferpool_get", NULL, get_to_far_beyond_the_cap},
    {"bufferpool_get", let_others_have_the_cap, get_to_far_beyond_the_cap},
    {"bufferpool_try_get", NULL, call_try_get},
    {"bufferpool_try_get", let_others_have_the_cap, call_try_get},
    {"bufferpool_get_timed", let_others_have_the_cap, call_get_timed},
    {"bufferpool_get_bulk", NULL, call_get_bulk},
    {"bufferpool_get_bulk", let_others_have_the_cap, call_get_bulk},
    {"bufferpool_put", get_and_grow, put_all},
    {"bufferpool_put_bulk", get_and_grow, call_put_bulk},
    {"bufferpool_put_data", get_and_grow, call_put_data},
    {"bufferpool_live", get_and_grow, look},
    {"bufferpool_max_live", get_and_grow, look},
    {"bufferpool_stats", get_and_put, look},
    {"bufferpool_version", get_and_put, look},
    {"bufferpool_set_max_live", get_and_put, call_set_max_live},
    {"bufferpool_buf_reserve", get_to_far_beyond_the_cap, grow_some},
    {"bufferpool_buf_shrink", get_and_grow_some, shrink_some},
    {"bufferpool_buf_append", get_to_far_beyond_the_cap, call_append},
    {"bufferpool_buf_printf", get_to_far_beyond_the_cap, call_printf},
    {"bufferpool_buf_vprintf", get_to_far_beyond_the_cap, call_vprintf},
    {"bufferpool_buf_from_data", get_to_far_beyond_the_cap, find_data},
    {"bufferpool_reclaim", get_and_put, call_reclaim},
    {"bufferpool_trim", get_and_put, call_trim},
    {"bufferpool_trim_some", get_and_put, call_trim_some},
    {"bufferpool_thread_flush", get_and_put, call_flush},
    {"bufferpool_metrics", get_to_far_beyond_the_cap, write_metrics},
    {"bufferpool_holders", get_to_far_beyond_the_cap, write_holders},
    {"bufferpool_record_holders", get_to_far_beyond_the_cap, record_holders},
};

/* The rows do not say what the library's thread does, once it runs. */
static void each_function_makes_no_call_but_those_of_its_row(void **state)
{
    needs_filters();
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        const struct function *function = &functions[i];
        struct scenario scenario = {set_of_function(function->name), SECCOMP_RET_TRAP, function->prepare,
                                    function->call, 0};
        if (function->prepare == NULL || function->call == call_destroy)
            scenario.flags = BUFFERPOOL_BACKGROUND | BUFFERPOOL_PRESSURE;
        passes(function_child, &scenario, function->name);
    }
}

static void put_twice(void)
{
    bufferpool_put(bufs[0]);
    bufferpool_put(bufs[0]);
}

static void a_report_makes_no_call_but_those_of_its_row(void **state)
{
    needs_filters();
    struct scenario scenario = {set_of_function("a report of misuse"), SECCOMP_RET_TRAP, get_to_far_beyond_the_cap,
                                put_twice, 0};
    add_group(&scenario.allowed, "locks", 5);
    const int status = run(function_child, &scenario);
    if (status == TRAPPED)
        fail_msg("a report: system call %ld (%s)", *trapped_by, name_of(*trapped_by));
    assert_int_equal(status, 128 + SIGABRT);
}

int main(void)
{
    trapped_by = mmap(NULL, sizeof *trapped_by, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if ((void *)trapped_by == MAP_FAILED)
        return 1;
    read_page();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ordinary_pool_makes_no_call_that_the_page_leaves_out),
        cmocka_unit_test(a_process_whose_pools_all_do_without_membarrier_never_calls_it),
        cmocka_unit_test(a_pool_made_before_the_filter_needs_what_the_page_says),
        cmocka_unit_test(pools_that_watch_memory_make_no_call_that_the_page_leaves_out),
        cmocka_unit_test(a_pool_made_before_the_filter_needs_each_of_these_calls),
        cmocka_unit_test(each_function_makes_no_call_but_those_of_its_row),
        cmocka_unit_test(a_report_makes_no_call_but_those_of_its_row),
    };
    return cmocka_run_group_tests_name("hostile_system_calls", tests, NULL, NULL);
}
