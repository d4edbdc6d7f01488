/* SPDX-License-Identifier: MIT
 *
 * explorer.c - explorer.h, and the functions behind seam.h
 */
#include "explorer.h"

#define SEAM_FUNCTIONS_ONLY
#define BEFORE_STEP(kind, address) ((void)0)
#include "seam.h"
#include "support/steps.h"

#include "debug/report.h"
#include "tls_cache.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum {
    NOBODY = EXPLORER_THREADS, /* the explorer itself */
    CONTEXTS,
    OPERATIONS_MAX = 200000, /* of a schedule */
    LOOKS = 3,
    STACK = 256 * 1024
};

/* ---- threads ---- */

enum state { READY, WAITS, ENDED };

static struct {
    jmp_buf context;
    enum state state;
    const volatile void *waits_for;
    uint64_t since;                  /* the order of the threads that wait */
    const struct timespec *deadline; /* NULL: none */
    bool timed_out;
    unsigned locks;
    unsigned lets_first; /* bits: those that it yielded to and that have not run since */
    bool exited;
    /* a real thread's own */
    struct thread *self;
    struct report_context report;
    int errno_;
    void *specific;
} threads[CONTEXTS];

static unsigned running = NOBODY;  /* the thread whose code the processor executes */
static unsigned identity = NOBODY; /* the thread whose thread-local storage it has */
static unsigned n_threads;
static void (*destructor)(void *value);
static struct thread *no_thread;
static const struct scenario *scenario;

/* ---- the schedule ---- */

/* The threads to choose from, the cheapest first. */
struct choice {
    uint8_t n, at;
    uint8_t thread[EXPLORER_THREADS];
    uint8_t cost[EXPLORER_THREADS];
};

static struct choice path[OPERATIONS_MAX];
static size_t path_length;          /* decided on; the last may be new */
static size_t depth;                /* reached in this schedule */
static uint8_t ran[OPERATIONS_MAX]; /* the thread that went on at each operation */
static size_t operations, longest;
static unsigned used, bound; /* preemptions */
static bool cut;             /* some schedule would have had more */
static uint64_t changes, checked, waits, schedules;
static struct timespec now;

static const char *replay; /* the rest of a schedule to be replayed; NULL: exploring */
static bool replaying;
static unsigned replay_thread;
static unsigned long replay_times;
static const char *program;

static void print_schedule(void)
{
    for (size_t i = 0; i < operations;) {
        size_t n = i;
        while (n < operations && ran[n] == ran[i])
            n++;
        printf("%s%zu*%u", i > 0 ? "," : "", n - i, ran[i]);
        i = n;
    }
}

static void report(const char *what)
{
    char where[32] = "after the last thread";
    if (running != NOBODY)
        snprintf(where, sizeof where, "in thread %u", running);
    printf("%s: FAILED after %llu schedules, with %u preemptions, %s: %s\n", scenario->name,
           (unsigned long long)schedules, used, where, what);
    printf("the schedule, so many operations of which thread: ");
    print_schedule();
    printf("\nagain, step by step: %s --replay ", program);
    print_schedule();
    printf(" %s\n", scenario->name);
    fflush(stdout);
}

_Noreturn void explorer_fail(const char *file, int line, const char *what)
{
    char text[256];
    snprintf(text, sizeof text, "%s:%d: %s", file, line, what);
    report(text);
    _Exit(1);
}

static void on_signal(int number)
{
    report(number == SIGABRT ? "the library aborted" : "a signal");
    _Exit(1);
}

static unsigned from_replay(const struct choice *choice)
{
    if (replay_times == 0 && *replay != '\0') {
        char *end;
        replay_times = strtoul(replay, &end, 10);
        replay_thread = *end == '*' ? (unsigned)strtoul(end + 1, &end, 10) : 0;
        replay = *end == ',' ? end + 1 : end;
    }
    if (replay_times == 0)
        return 0;
    replay_times--;
    for (unsigned i = 0; i < choice->n; i++)
        if (choice->thread[i] == replay_thread)
            return i;
    explorer_fail(__FILE__, __LINE__, "the schedule to be replayed is not one of this scene");
}

/* The choices of the path again, then the first of each. */
static unsigned from_path(const struct choice *choice)
{
    if (choice->n == 1)
        return 0;
    if (depth == path_length) {
        path[path_length] = *choice;
        path[path_length++].at = 0;
    }
    const struct choice *known = &path[depth++];
    if (known->n != choice->n || memcmp(known->thread, choice->thread, choice->n) != 0)
        explorer_fail(__FILE__, __LINE__, "the same schedule was another one this time");
    return known->at;
}

static void note(unsigned thread)
{
    if (operations == OPERATIONS_MAX)
        explorer_fail(__FILE__, __LINE__, "it does not end");
    ran[operations++] = (uint8_t)thread;
}

static unsigned choose(const struct choice *choice)
{
    const unsigned at = replaying ? from_replay(choice) : from_path(choice);
    used += choice->cost[at];
    note(choice->thread[at]);
    return choice->thread[at];
}

/* The next schedule, if any: the last choice that has another way to go. */
static bool advance(void)
{
    for (; path_length > 0; path_length--) {
        struct choice *last = &path[path_length - 1];
        if (++last->at < last->n)
            return true;
    }
    return false;
}

/* ---- handing over ---- */

static void run(unsigned next)
{
    const unsigned before = running;
    if (next == before)
        return;
    threads[before].self = tls_self;
    threads[before].report = report_context;
    threads[before].errno_ = errno;
    if (_setjmp(threads[before].context) == 0) {
        running = identity = next;
        tls_self = threads[next].self;
        report_context = threads[next].report;
        errno = threads[next].errno_;
        _longjmp(threads[next].context, 1);
    }
}

static void add(struct choice *choice, unsigned thread, unsigned cost)
{
    if (used + cost > bound && !replaying) {
        cut = true;
        return;
    }
    choice->thread[choice->n] = (uint8_t)thread;
    choice->cost[choice->n++] = (uint8_t)cost;
}

/* The thread that could go on if its time were over: the one with the earliest deadline. */
static unsigned first_to_time_out(void)
{
    unsigned first = NOBODY;
    for (unsigned t = 0; t < n_threads; t++)
        if (threads[t].state == WAITS && threads[t].deadline != NULL &&
            (first == NOBODY || threads[t].deadline->tv_sec < threads[first].deadline->tv_sec ||
             (threads[t].deadline->tv_sec == threads[first].deadline->tv_sec &&
              threads[t].deadline->tv_nsec < threads[first].deadline->tv_nsec)))
            first = t;
    return first;
}

/* Whether all threads that could have gone on when the thread yielded have done so meanwhile, or cannot any more. */
static bool had_patience(unsigned thread)
{
    for (unsigned t = 0; t < n_threads; t++)
        if ((threads[thread].lets_first >> t & 1) != 0 && threads[t].state == READY)
            return false;
    return true;
}

static void yield_to_all(unsigned thread)
{
    threads[thread].lets_first = 0;
    for (unsigned t = 0; t < n_threads; t++)
        if (t != thread && threads[t].state == READY)
            threads[thread].lets_first |= 1u << t;
}

static void note_running(unsigned thread)
{
    for (unsigned t = 0; t < n_threads; t++)
        threads[t].lets_first &= ~(1u << thread);
    threads[thread].lets_first = 0;
}

/* Chooses the thread that goes on. `willing`: the running thread lets others go first, but can go on. */
static void decide(bool willing)
{
    struct choice choice = {0};
    const bool can = running != NOBODY && threads[running].state == READY;
    const unsigned from = running == NOBODY ? n_threads - 1 : running;
    if (can && willing)
        yield_to_all(running);
    if (can && !willing)
        add(&choice, running, 0);
    const bool free = choice.n == 0;
    for (unsigned impatient = 0; impatient < 2; impatient++)
        for (unsigned i = 1; i <= n_threads; i++) {
            const unsigned t = (from + i) % n_threads;
            if ((t != running || willing) && threads[t].state == READY && had_patience(t) == !impatient)
                add(&choice, t, !free || (impatient && choice.n > 0));
        }
    const unsigned late = first_to_time_out();
    if (late != NOBODY)
        add(&choice, late, choice.n > 0);
    if (choice.n > 0) {
        const unsigned next = choose(&choice);
        if (threads[next].state == WAITS) {
            threads[next].state = READY;
            threads[next].timed_out = true;
            now = *threads[next].deadline;
        }
        note_running(next);
        run(next);
        return;
    }
    for (unsigned t = 0; t < n_threads; t++)
        if (threads[t].state != ENDED)
            explorer_fail(__FILE__, __LINE__, "a deadlock");
    run(NOBODY);
}

static const char *base_name(const char *file)
{
    const char *slash = strrchr(file, '/');
    return slash != NULL ? slash + 1 : file;
}

/* ---- which operations are steps ---- */

/* A line of the sources. Its operations are steps if two threads ever met at a location that the line touches. */
struct line {
    const char *file;
    int number;
    bool met;
};

enum { LINES = 4096, LOCATIONS = 1024, TOUCHING = 24 };
static struct line lines[LINES];
static bool met_anew; /* in this exploration, which is then not the last */

/* A memory location that was touched in this schedule, by which threads, in which lines. */
static struct location {
    const volatile void *address;
    uint64_t schedule;
    unsigned threads; /* bits */
    bool changed;
    unsigned n;
    struct line *touching[TOUCHING];
    uint64_t looked_after[EXPLORER_THREADS]; /* so many changes */
    unsigned looks[EXPLORER_THREADS];
} locations[LOCATIONS];
static uint64_t this_schedule; /* of all there ever were */

static struct line *line_of(const char *file, int number)
{
    size_t i = ((uintptr_t)file >> 3) * 31 + (unsigned)number * 7u;
    for (;; i++) {
        struct line *line = &lines[i % LINES];
        if (line->file == NULL)
            *line = (struct line){file, number, false};
        if (line->file == file && line->number == number)
            return line;
    }
}

static struct location *location_of(const volatile void *address)
{
    for (size_t i = (uintptr_t)address >> 2, n = 0; n < LOCATIONS; i++, n++) {
        struct location *location = &locations[i % LOCATIONS];
        if (location->schedule != this_schedule)
            *location = (struct location){.address = address, .schedule = this_schedule};
        if (location->address == address)
            return location;
    }
    explorer_fail(__FILE__, __LINE__, "more locations than this knows");
}

/* Whether the thread looks at the location once more, and nothing has changed since. */
static bool is_stale_look(const volatile void *address)
{
    struct location *location = location_of(address);
    if (location->looked_after[running] != changes)
        location->looks[running] = 0;
    location->looked_after[running] = changes;
    return ++location->looks[running] > LOOKS;
}

/* Notes which thread touches which location. Returns whether the operation is a step. */
static bool touch(bool looks, const volatile void *address, const char *file, int number)
{
    struct line *line = line_of(file, number);
    struct location *location = location_of(address);
    location->threads |= 1u << running;
    location->changed |= !looks;
    unsigned i = 0;
    while (i < location->n && location->touching[i] != line)
        i++;
    if (i == location->n) {
        if (i == TOUCHING)
            explorer_fail(__FILE__, __LINE__, "more lines than this knows touch a location");
        location->touching[location->n++] = line;
    }
    if (location->changed && (location->threads & (location->threads - 1)) != 0)
        for (i = 0; i < location->n; i++) {
            met_anew |= !location->touching[i]->met;
            location->touching[i]->met = true;
        }
    return line->met;
}

/* ---- memory that is free ---- */

/* Memory that a thread frees is free only when the schedule is over. Until then it is garbage that no thread may
 * touch. */
enum { GRAVES = 64, GARBAGE = 0xa5 };
static struct {
    const volatile unsigned char *memory;
    size_t bytes;
    bool freed; /* otherwise the scene buried it */
} graves[GRAVES];
static size_t n_graves;

static void dig(const volatile void *memory, size_t bytes, bool freed)
{
    if (n_graves == GRAVES)
        explorer_fail(__FILE__, __LINE__, "more memory was freed than this knows");
    graves[n_graves].memory = memory;
    graves[n_graves].bytes = bytes;
    graves[n_graves++].freed = freed;
}

static bool is_buried(const volatile void *address)
{
    for (size_t i = 0; i < n_graves; i++)
        if ((uintptr_t)address - (uintptr_t)graves[i].memory < graves[i].bytes)
            return true;
    return false;
}

void explorer_bury(const volatile void *memory, size_t bytes)
{
    dig(memory, bytes, false);
}

void __real_free(void *memory);
void __wrap_free(void *memory);
void __wrap_free(void *memory)
{
    if (memory == NULL || running == NOBODY) {
        __real_free(memory);
        return;
    }
    if (is_buried(memory))
        explorer_fail(__FILE__, __LINE__, "memory was freed twice");
    memset(memory, GARBAGE, malloc_usable_size(memory));
    dig(memory, malloc_usable_size(memory), true);
}

static void empty_graves(void)
{
    while (n_graves > 0) {
        n_graves--;
        if (!graves[n_graves].freed)
            continue;
        for (size_t i = graves[n_graves].bytes; i > 0; i--)
            if (graves[n_graves].memory[i - 1] != GARBAGE)
                explorer_fail(__FILE__, __LINE__, "memory was written to after it was freed");
        __real_free((void *)(uintptr_t)graves[n_graves].memory);
    }
}

static bool quiet; /* the library is called by the laws themselves */

void explorer_laws(void)
{
    if (scenario->at_each_step == NULL || changes == checked)
        return;
    quiet = true;
    scenario->at_each_step();
    quiet = false;
    checked = changes;
}

static void step(bool looks, bool yields, const volatile void *address, const char *what, const char *file, int line)
{
    if (running == NOBODY || quiet)
        return;
    const unsigned self = running;
    if (address != NULL && is_buried(address))
        explorer_fail(file, line, "memory was used after it was freed");
    explorer_laws();
    const bool is_step = address == NULL || touch(looks, address, file, line);
    if (replaying || (is_step && !(looks && is_stale_look(address))))
        decide(yields);
    else
        note(self);
    if (replaying)
        printf("thread %u  %-7s %s:%d\n", self, what, base_name(file), line);
    if (!looks)
        changes++;
}

/* ---- behind seam.h ---- */

void seam_step(int kind, const volatile void *address, const char *file, int line)
{
    static const char *const names[] = {[STEP_LOAD] = "load", [STEP_STORE] = "store", [STEP_CHANGE] = "change"};
    step(kind == STEP_LOAD, false, address, names[kind], file, line);
}

static void wait_for(const volatile void *what, const struct timespec *deadline)
{
    threads[running].state = WAITS;
    threads[running].waits_for = what;
    threads[running].since = waits++;
    threads[running].deadline = deadline;
    threads[running].timed_out = false;
    decide(false);
}

/* Wakes the thread that waits longest. Returns false if none waits. */
static bool wake_one(const volatile void *what)
{
    unsigned first = NOBODY;
    for (unsigned t = 0; t < n_threads; t++)
        if (threads[t].state == WAITS && threads[t].waits_for == what &&
            (first == NOBODY || threads[t].since < threads[first].since))
            first = t;
    if (first != NOBODY)
        threads[first].state = READY;
    return first != NOBODY;
}

static void wake_all(const volatile void *what)
{
    while (wake_one(what))
        ;
}

static void acquire(pthread_mutex_t *mutex)
{
    while (pthread_mutex_trylock(mutex) != 0) {
        if (running == NOBODY)
            explorer_fail(__FILE__, __LINE__, "a lock was never released");
        wait_for(mutex, NULL);
    }
    threads[running].locks++;
}

static void release(pthread_mutex_t *mutex)
{
    pthread_mutex_unlock(mutex);
    threads[running].locks--;
    wake_all(mutex);
}

int seam_mutex_lock(pthread_mutex_t *mutex, const char *file, int line)
{
    step(false, false, mutex, "lock", file, line);
    acquire(mutex);
    return 0;
}

int seam_mutex_trylock(pthread_mutex_t *mutex, const char *file, int line)
{
    step(true, false, mutex, "trylock", file, line);
    const int error = pthread_mutex_trylock(mutex);
    if (error == 0) {
        threads[running].locks++;
        if (running != NOBODY && !quiet)
            (void)touch(false, mutex, file, line);
        changes++;
    }
    return error;
}

int seam_mutex_unlock(pthread_mutex_t *mutex, const char *file, int line)
{
    step(false, false, mutex, "unlock", file, line);
    release(mutex);
    return 0;
}

int seam_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *deadline, const char *file,
                   int line)
{
    step(false, false, cond, "wait", file, line);
    release(mutex);
    wait_for(cond, deadline);
    const bool timed_out = threads[running].timed_out;
    acquire(mutex);
    return timed_out ? ETIMEDOUT : 0;
}

int seam_cond_signal(pthread_cond_t *cond, const char *file, int line)
{
    step(false, false, cond, "signal", file, line);
    (void)wake_one(cond);
    return 0;
}

int seam_cond_broadcast(pthread_cond_t *cond, const char *file, int line)
{
    step(false, false, cond, "broadcast", file, line);
    wake_all(cond);
    return 0;
}

int seam_yield(const char *file, int line)
{
    step(false, true, NULL, "yield", file, line);
    return 0;
}

static int readers; /* what threads wait for that wait for a file descriptor */

ssize_t seam_write(int fd, const void *bytes, size_t n, const char *file, int line)
{
    step(false, false, NULL, "write", file, line);
    const ssize_t written = write(fd, bytes, n);
    if (written < 0)
        explorer_fail(file, line, "a file descriptor was written to after it was closed");
    wake_all(&readers);
    return written;
}

ssize_t seam_read(int fd, void *bytes, size_t n, const char *file, int line)
{
    step(false, false, NULL, "read", file, line);
    return read(fd, bytes, n);
}

/* membarrier, which does nothing where memory is sequentially consistent, and is allowed; those of the heap, by which
 * no two threads meet, are not. */
long seam_syscall(const char *file, int line, long number, ...)
{
    if (number == SYS_mlock2 || number == SYS_process_madvise) {
        errno = ENOSYS;
        return -1;
    }
    step(false, false, NULL, "syscall", file, line);
    if (number != SYS_membarrier)
        explorer_fail(file, line, "a system call that these tests do not know");
    return 0;
}

int seam_clock_gettime(struct timespec *at)
{
    *at = now;
    return 0;
}

int seam_key_create(pthread_key_t *key, void (*at_exit)(void *value))
{
    *key = 0;
    destructor = at_exit;
    return 0;
}

int seam_setspecific(const void *value)
{
    threads[identity].specific = (void *)(uintptr_t)value;
    return 0;
}

void seam_key_delete(void)
{
}

/* ---- for the scenes ---- */

unsigned explorer_self(void)
{
    return identity;
}

unsigned explorer_locks(void)
{
    return running != NOBODY ? threads[running].locks : 0;
}

void explorer_as(unsigned thread, void (*fn)(void))
{
    struct thread *const own = tls_self;
    const unsigned before = identity;
    tls_self = threads[thread].self;
    identity = thread;
    fn();
    threads[thread].self = tls_self;
    tls_self = own;
    identity = before;
}

void explorer_exit(void)
{
    void *value = threads[running].specific;
    threads[running].specific = NULL;
    threads[running].exited = true;
    if (value != NULL)
        destructor(value);
}

void explorer_join(unsigned thread)
{
    while (threads[thread].state != ENDED)
        wait_for(&threads[thread], NULL);
}

void explorer_await_readable(int fd)
{
    struct pollfd ask = {fd, POLLIN, 0};
    explorer_step();
    while (poll(&ask, 1, 0) == 0)
        wait_for(&readers, NULL);
}

void explorer_touch(void)
{
    changes++;
}

void explorer_step(void)
{
    step(false, false, NULL, "test", __FILE__, __LINE__);
}

/* ---- mappings ---- */

/* One mapping is retained for the next of its size: there is one in each schedule, the table of descriptors. */
static void *retained;
static size_t retained_bytes;

void *seam_mmap(size_t bytes)
{
    if (retained == NULL || retained_bytes != bytes)
        return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *memory = retained;
    retained = NULL;
    memset(memory, 0, bytes);
    return memory;
}

int seam_munmap(void *memory, size_t bytes)
{
    if (retained != NULL)
        return munmap(memory, bytes);
    memset(memory, GARBAGE, bytes);
    retained = memory;
    retained_bytes = bytes;
    return 0;
}

int seam_madvise(void *memory, size_t bytes, int advice)
{
    if (advice == MADV_DONTNEED)
        memset(memory, 0, bytes);
    return 0;
}

/* No page is resident: then the library leaves a new mapping alone. */
int seam_mincore(void *memory, size_t bytes, unsigned char *in_core)
{
    (void)memory;
    memset(in_core, 0, (bytes + 4095) / 4096);
    return 0;
}

/* ---- exploring ---- */

static ucontext_t creator;
static unsigned created;

static void body(void)
{
    if (_setjmp(threads[created].context) == 0)
        setcontext(&creator);
    for (;;) {
        scenario->threads[running]();
        if (threads[running].locks != 0)
            explorer_fail(__FILE__, __LINE__, "a thread ended with a lock");
        threads[running].state = ENDED;
        wake_all(&threads[running]);
        decide(false);
    }
}

/* Each waits at the beginning of its body. The way to a stack is ucontext; from then on there are jumps, which cost no
 * system call. */
static void make_threads(void)
{
    static ucontext_t contexts[EXPLORER_THREADS];
    static _Alignas(64) unsigned char stacks[EXPLORER_THREADS][STACK];
    for (created = 0; created < EXPLORER_THREADS; created++) {
        threads[created].state = ENDED;
        threads[created].self = no_thread;
        getcontext(&contexts[created]);
        contexts[created].uc_stack.ss_sp = stacks[created];
        contexts[created].uc_stack.ss_size = STACK;
        makecontext(&contexts[created], body, 0);
        swapcontext(&creator, &contexts[created]);
    }
}

static void run_schedule(void)
{
    depth = used = 0;
    operations = waits = 0;
    changes = 1;
    checked = 0;
    this_schedule++;
    now = (struct timespec){1000, 0};
    for (unsigned t = 0; t < n_threads; t++) {
        threads[t].state = ENDED;
        threads[t].lets_first = 0;
        if (threads[t].exited)
            threads[t].self = no_thread;
        threads[t].exited = false;
    }
    scenario->begin();
    for (unsigned t = 0; t < n_threads; t++)
        threads[t].state = READY;
    decide(false);
    changes++;
    explorer_laws();
    scenario->end();
    empty_graves();
    schedules++;
    if (operations > longest)
        longest = operations;
}

/* False: lines were found that had been no steps; so this has to begin anew. */
static bool explore_all(void)
{
    schedules = path_length = 0;
    met_anew = cut = false;
    do
        run_schedule();
    while (!met_anew && advance());
    return !met_anew;
}

static bool explore(unsigned preemptions, unsigned long floor)
{
    memset(lines, 0, sizeof lines);
    cut = true;
    for (bound = 0; bound <= preemptions && cut; bound++)
        while (!explore_all())
            ;
    const bool enough = schedules >= floor;
    char which[64] = "every one there is";
    if (cut)
        snprintf(which, sizeof which, "all with at most %u preemptions", preemptions);
    printf("%s: %u threads, %llu schedules: %s; up to %zu operations%s\n", scenario->name, n_threads,
           (unsigned long long)schedules, which, longest, enough ? "" : "; FAILED: too few");
    fflush(stdout);
    return enough;
}

int explorer_main(int argc, char **argv, const struct scenario *scenarios, size_t n)
{
    bool ok = true;
    const char *preemptions = NULL;
    int named = 1;
    program = argv[0];
    for (; named + 1 < argc && strncmp(argv[named], "--", 2) == 0; named += 2) {
        if (strcmp(argv[named], "--replay") == 0)
            replay = argv[named + 1];
        else if (strcmp(argv[named], "--preemptions") == 0)
            preemptions = argv[named + 1];
        else
            return 2;
    }
    replaying = replay != NULL;
    no_thread = tls_self;
    signal(SIGABRT, on_signal);
    signal(SIGSEGV, on_signal);
    signal(SIGBUS, on_signal);
    make_threads();
    bool found = argc == named;
    for (size_t i = 0; i < n; i++) {
        bool wanted = argc == named;
        for (int a = named; a < argc; a++)
            wanted |= strcmp(argv[a], scenarios[i].name) == 0;
        if (!wanted)
            continue;
        found = true;
        scenario = &scenarios[i];
        longest = 0;
        for (n_threads = 0; n_threads < EXPLORER_THREADS && scenario->threads[n_threads] != NULL; n_threads++)
            ;
        if (replaying)
            run_schedule();
        else if (preemptions != NULL)
            ok &= explore((unsigned)strtoul(preemptions, NULL, 10), 0);
        else
            ok &= explore(scenario->preemptions, scenario->floor);
    }
    return ok && found ? 0 : 1;
}
