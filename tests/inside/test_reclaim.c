/* SPDX-License-Identifier: MIT
 *
 * test_reclaim.c - the pool gives back what it did not need, by itself and when bufferpool_reclaim is called
 *
 * The linker's --wrap replaces the coarse monotonic clock by the test's own, so that periods end when the test says so,
 * and lets pthread_create fail on demand, for BUFFERPOOL_BACKGROUND without a thread. Where the thread caches hold one
 * buffer, nearly every call uses the depot.
 */
#include "support/laws.h"

#include "reclaim.h"
#include "support/inside.h"

#include <dirent.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CAPACITY = 1024, BURST = 20, INTERVAL_MS = 1000, STEP = 32 };

static uint64_t clock_ms = 5000;
static pthread_t main_thread;
static atomic_size_t looks_of_others; /* at any clock, by other threads */
static bool no_threads;
static bool no_small_stacks;
static size_t threads_asked_for;
static bool slow_threads;       /* they begin late */
static atomic_bool late_thread; /* one has begun */

struct late {
    void *(*run)(void *);
    void *arg;
};

static void *begin_late(void *arg)
{
    struct late late = *(struct late *)arg;
    free(arg);
    usleep(20000); /* time enough for a create that does not wait to return */
    atomic_store(&late_thread, true);
    return late.run(late.arg);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    threads_asked_for++;
    if (no_small_stacks && attributes != NULL)
        return EINVAL;
    if (slow_threads) {
        struct late *late = malloc(sizeof *late);
        *late = (struct late){run, arg};
        return __real_pthread_create(thread, attributes, begin_late, late);
    }
    return no_threads ? EAGAIN : __real_pthread_create(thread, attributes, run, arg);
}

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    if (!pthread_equal(pthread_self(), main_thread))
        atomic_fetch_add(&looks_of_others, 1);
    if (clock != CLOCK_MONOTONIC_COARSE)
        return __real_clock_gettime(clock, now);
    now->tv_sec = (time_t)(clock_ms / 1000);
    now->tv_nsec = (long)(clock_ms % 1000) * 1000000;
    return 0;
}

/* The moment within a theft when the gates are closed. */
static void (*at_barrier)(void);

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    enum { EXPEDITED = 1 << 3 };
    va_list args;
    va_start(args, number);
    const long a = va_arg(args, long), b = va_arg(args, long), c = va_arg(args, long), d = va_arg(args, long),
               e = va_arg(args, long);
    va_end(args);
    if (number == SYS_membarrier && a == EXPEDITED && at_barrier != NULL)
        at_barrier();
    return __real_syscall(number, a, b, c, d, e);
}

static bufferpool_t *pool_with_flags(test_blocks_t *blocks, unsigned interval_ms, unsigned flags)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = CAPACITY;
    config.reclaim_interval_ms = interval_ms;
    config.flags = flags;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static bufferpool_t *pool_with(test_blocks_t *blocks, unsigned interval_ms)
{
    return pool_with_flags(blocks, interval_ms, 0);
}

static void use(bufferpool_t *pool, size_t n)
{
    bufferpool_buf_t *bufs[BURST];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, n), 0);
    bufferpool_put_bulk(bufs, n);
}

static void a_burst_is_freed_by_ticks(unsigned flags)
{
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_flags(&blocks, INTERVAL_MS, flags);
    use(pool, BURST); /* its puts begin the first period */
    use(pool, BURST);
    clock_ms += INTERVAL_MS + 1;
    use(pool, 4); /* ends the period of the burst, in which the depot was empty once */
    assert_int_equal(atomic_load(&blocks.count), BURST);
    use(pool, 4);
    clock_ms += INTERVAL_MS + 1;
    use(pool, 4); /* ends a period in which few more sufficed, until the cache had grown to four */
    use(pool, 4);
    clock_ms += INTERVAL_MS + 1;
    use(pool, 4); /* ends a period in which four sufficed */
    use(pool, 4);
    assert_int_equal(atomic_load(&blocks.count), 4);
    assert_int_equal(stats_of(pool).reclaimed_bytes, (BURST - 4) * 1024);
    check_laws(pool, &blocks, 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void buffers_untouched_for_a_period_are_freed_in_the_next(void **state)
{
    (void)state;
    a_burst_is_freed_by_ticks(0);
}

/* Asked for the thread in vain, the pool does not ask at every call, and does without. */
static void calls_reclaim_without_a_background_thread(void **state)
{
    (void)state;
    no_threads = true;
    threads_asked_for = 0;
    a_burst_is_freed_by_ticks(BUFFERPOOL_BACKGROUND);
    no_threads = false;
    assert_int_equal(threads_asked_for, 1);
}

/* The thread that is had for a later pool sees to those that did without. */
static void a_background_thread_started_later_serves_all_pools(void **state)
{
    (void)state;
    test_blocks_t blocks[2] = {{0}, {0}};
    no_threads = true;
    threads_asked_for = 0;
    bufferpool_t *first = pool_with_flags(&blocks[0], INTERVAL_MS, BUFFERPOOL_BACKGROUND);
    use(first, BURST);
    no_threads = false;
    bufferpool_t *second = pool_with_flags(&blocks[1], INTERVAL_MS, BUFFERPOOL_BACKGROUND);
    use(second, BURST);
    assert_int_equal(threads_asked_for, 2);
    destroy_empty(first, &blocks[0]);
    use(second, BURST);
    destroy_empty(second, &blocks[1]);
}

static size_t threads_of_the_library(void)
{
    size_t n = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (const struct dirent *task; (task = readdir(tasks)) != NULL;) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        FILE *comm = fopen(path, "re");
        if (comm == NULL)
            continue;
        n += fgets(name, sizeof name, comm) != NULL && strcmp(name, "bufferpool\n") == 0;
        (void)fclose(comm);
    }
    closedir(tasks);
    return n;
}

static bufferpool_t *try_to_start_now(void)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "now";
    config.flags = BUFFERPOOL_BACKGROUND | BUFFERPOOL_START_NOW;
    return bufferpool_create(&config);
}

/* Other pools go on without the thread, and have the one that a later create starts. */
static void create_fails_without_the_thread_that_is_to_start_now(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    no_threads = true;
    bufferpool_t *other = pool_with_flags(&blocks, INTERVAL_MS, BUFFERPOOL_BACKGROUND);
    use(other, BURST);
    threads_asked_for = 0;
    for (int i = 0; i < 3; i++) {
        errno = 0;
        assert_null(try_to_start_now());
        assert_int_equal(errno, EAGAIN);
    }
    assert_int_equal(threads_asked_for, 3);
    no_threads = false;
    errno = 0;
    bufferpool_t *pool = try_to_start_now();
    assert_non_null(pool);
    assert_int_equal(errno, 0);
    assert_string_equal(pool->name, "now"); /* nothing is left of those that failed */
    assert_int_equal(threads_of_the_library(), 1);
    assert_int_equal(bufferpool_destroy(pool), 0);
    assert_int_equal(threads_of_the_library(), 1); /* the other pool has it too */
    destroy_empty(other, &blocks);
    assert_int_equal(threads_of_the_library(), 0);
}

/* A program may forbid the system calls with which a thread begins as soon as create returns. */
static void create_returns_after_the_thread_that_starts_now_has_begun(void **state)
{
    (void)state;
    slow_threads = true;
    bufferpool_t *pool = try_to_start_now();
    slow_threads = false;
    assert_non_null(pool);
    assert_true(atomic_load(&late_thread));
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void a_pool_that_never_reclaims_has_no_thread_to_start(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    threads_asked_for = 0;
    bufferpool_t *pool = pool_with_flags(&blocks, BUFFERPOOL_NEVER, BUFFERPOOL_BACKGROUND | BUFFERPOOL_START_NOW);
    use(pool, BURST);
    assert_int_equal(threads_asked_for, 0);
    destroy_empty(pool, &blocks);
}

/* Where much thread-local storage leaves too little of a small stack, it has one of the usual size. */
static void a_background_thread_without_a_small_stack_has_the_default(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    no_small_stacks = true;
    threads_asked_for = 0;
    bufferpool_t *pool = pool_with_flags(&blocks, INTERVAL_MS, BUFFERPOOL_BACKGROUND);
    use(pool, BURST);
    no_small_stacks = false;
    assert_int_equal(threads_asked_for, 2);
    assert_int_equal(threads_of_the_library(), 1);
    destroy_empty(pool, &blocks);
    assert_int_equal(threads_of_the_library(), 0);
}

static void buffers_in_use_in_every_period_stay(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with(&blocks, INTERVAL_MS);
    for (int period = 0; period < 5; period++) {
        use(pool, BURST);
        use(pool, BURST);
        clock_ms += INTERVAL_MS + 1;
    }
    assert_int_equal(stats_of(pool).gets_fresh, BURST);
    assert_int_equal(stats_of(pool).reclaimed_bytes, 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void an_interval_of_never_frees_nothing(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with(&blocks, BUFFERPOOL_NEVER);
    use(pool, BURST);
    for (int period = 0; period < 5; period++) {
        clock_ms += UINT32_MAX;
        use(pool, 4);
    }
    assert_int_equal(atomic_load(&blocks.count), BURST);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* ---- by working set ---- */

enum { PEAK = 512, STEADY = 64, SLACK = STEADY / 2, CACHED = 16 };

static bufferpool_t *pool_for_working_set(test_blocks_t *blocks, unsigned interval_ms, size_t cached)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = cached * CAPACITY;
    config.reclaim_interval_ms = interval_ms;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static void use_many(bufferpool_t *pool, size_t n)
{
    static bufferpool_buf_t *bufs[PEAK];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, n), 0);
    for (size_t i = 0; i < n; i++)
        bufferpool_put(bufs[i]);
}

static void after_a_burst_the_working_set_is_left(void **state)
{
    (void)state;
    for (size_t cached = 1; cached <= 4 * STEADY; cached *= 4) {
        test_blocks_t blocks = {0};
        bufferpool_t *pool = pool_for_working_set(&blocks, BUFFERPOOL_NEVER, cached);
        use_many(pool, PEAK);
        uint64_t bytes = 0;
        for (int reclaims = 0; reclaims < 4; reclaims++) {
            for (int i = 0; i < 10; i++)
                use_many(pool, STEADY);
            const size_t before = atomic_load(&blocks.count);
            const size_t freed = bufferpool_reclaim(pool);
            assert_int_equal(freed, CAPACITY * (before - atomic_load(&blocks.count)));
            bytes += freed;
            assert_int_equal(stats_of(pool).reclaimed_bytes, bytes);
        }
        /* a cache that is larger than the set in use keeps what it holds: it is in use as a whole */
        const size_t most = cached > STEADY ? cached : STEADY;
        assert_in_range(atomic_load(&blocks.count), STEADY, most + SLACK);
        check_laws(pool, &blocks, 0);

        for (int reclaims = 0; reclaims < 20; reclaims++) { /* and it stays */
            use_many(pool, STEADY);
            (void)bufferpool_reclaim(pool);
        }
        assert_in_range(atomic_load(&blocks.count), STEADY, most + SLACK);
        assert_int_equal(stats_of(pool).gets_fresh, PEAK);
        destroy_empty(pool, &blocks);
    }
}

static void the_working_set_is_left_when_periods_end_by_time(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_for_working_set(&blocks, INTERVAL_MS, CACHED);
    use_many(pool, PEAK);
    for (int period = 0; period < 6; period++) {
        for (int i = 0; i < 10; i++)
            use_many(pool, STEADY);
        clock_ms += INTERVAL_MS + 1;
    }
    use_many(pool, STEADY);
    assert_in_range(atomic_load(&blocks.count), STEADY, STEADY + SLACK);
    assert_int_equal(stats_of(pool).gets_fresh, PEAK);
    assert_int_equal(stats_of(pool).reclaimed_bytes, CAPACITY * (PEAK - atomic_load(&blocks.count)));
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

struct sleepers {
    bufferpool_t *pool;
    pthread_barrier_t step;
    size_t turns;
};

static void fill_cache_and_sleep(void *arg, unsigned index)
{
    struct sleepers *sleepers = arg;
    bufferpool_buf_t *bufs[CACHED];
    (void)index;
    thread_check(bufferpool_get_bulk(sleepers->pool, bufs, CACHED) == 0);
    bufferpool_put_bulk(bufs, CACHED);
    pthread_barrier_wait(&sleepers->step);
    pthread_barrier_wait(&sleepers->step);
}

static void three_reclaims_leave_nothing_of_an_unused_pool(void **state)
{
    enum { SLEEPERS = 5 };
    (void)state;
    for (int with_idle_limit = 0; with_idle_limit < 2; with_idle_limit++) {
        test_blocks_t blocks = {0};
        bufferpool_config_t config = config_with(&blocks);
        config.buffer_capacity = CAPACITY;
        config.thread_cache_bytes = CACHED * CAPACITY;
        config.max_idle_bytes = with_idle_limit ? PEAK * CAPACITY : 0;
        struct sleepers sleepers = {.pool = bufferpool_create(&config)};
        assert_int_equal(pthread_barrier_init(&sleepers.step, NULL, SLEEPERS + 1), 0);
        use_many(sleepers.pool, PEAK / 2);
        test_crew_t *crew = start_threads(SLEEPERS, fill_cache_and_sleep, &sleepers);
        pthread_barrier_wait(&sleepers.step);
        const size_t in_caches = (size_t)stats_of(sleepers.pool).idle_thread;
        const size_t bytes = (size_t)stats_of(sleepers.pool).idle_bytes;
        size_t freed = 0;
        for (int reclaims = 0; reclaims < 3; reclaims++)
            freed += bufferpool_reclaim(sleepers.pool);
        const bufferpool_stats_t stats = stats_of(sleepers.pool);
        const bool lawful = laws_hold(sleepers.pool, &blocks, 0);
        pthread_barrier_wait(&sleepers.step);
        join_threads(crew);
        assert_true(in_caches >= SLEEPERS);
        assert_true(lawful);
        if (test_can_steal()) {
            assert_int_equal(idle_of(&stats), 0);
            assert_int_equal(freed, bytes);
            assert_int_equal(stats.reclaimed_bytes, bytes);
            assert_in_range(stats.stolen, 1, in_caches); /* less what idled in this thread's own */
        }
        destroy_empty(sleepers.pool, &blocks);
        pthread_barrier_destroy(&sleepers.step);
    }
}

static void use_cache_in_steps(void *arg, unsigned index)
{
    struct sleepers *sleepers = arg;
    (void)index;
    bufferpool_buf_t *bufs[CACHED];
    thread_check(bufferpool_get_bulk(sleepers->pool, bufs, CACHED) == 0);
    bufferpool_put_bulk(bufs, CACHED);
    for (size_t turn = 0; turn < sleepers->turns; turn++) {
        pthread_barrier_wait(&sleepers->step); /* reclaim runs */
        pthread_barrier_wait(&sleepers->step);
        bufferpool_put(bufferpool_get(sleepers->pool)); /* leaves the cache as it was */
    }
}

static void caches_in_use_are_left_alone(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct sleepers sleepers = {.pool = pool_for_working_set(&blocks, BUFFERPOOL_NEVER, CACHED), .turns = 10};
    assert_int_equal(pthread_barrier_init(&sleepers.step, NULL, 3), 0);
    test_crew_t *crew = start_threads(2, use_cache_in_steps, &sleepers);
    size_t freed = 0;
    bool full = true;
    for (size_t turn = 0; turn < sleepers.turns; turn++) {
        pthread_barrier_wait(&sleepers.step);
        freed += bufferpool_reclaim(sleepers.pool);
        full = full && stats_of(sleepers.pool).idle_thread == 2 * CACHED;
        pthread_barrier_wait(&sleepers.step);
    }
    join_threads(crew);
    const bufferpool_stats_t stats = stats_of(sleepers.pool);
    assert_true(full);
    assert_int_equal(freed, 0);
    assert_int_equal(stats.stolen, 0);
    assert_int_equal(stats.gets_fresh, 2 * CACHED);
    assert_int_equal(stats.gets_thread, 2 * sleepers.turns);
    destroy_empty(sleepers.pool, &blocks);
    pthread_barrier_destroy(&sleepers.step);
}

/* Each get takes the slow path, which counts apart. */
static void use_a_grown_buffer_in_steps(void *arg, unsigned index)
{
    struct sleepers *sleepers = arg;
    (void)index;
    for (size_t turn = 0; turn <= sleepers->turns; turn++) {
        bufferpool_buf_t *buf = bufferpool_get(sleepers->pool);
        if (!thread_check(buf != NULL))
            abort();
        thread_check(bufferpool_buf_reserve(buf, (size_t)2 * CAPACITY) == 0);
        buf->len = buf->cap; /* used well, so that it keeps its size */
        bufferpool_put(buf);
        if (turn < sleepers->turns) {
            pthread_barrier_wait(&sleepers->step); /* reclaim runs */
            pthread_barrier_wait(&sleepers->step);
        }
    }
}

static void a_cache_of_grown_buffers_in_use_is_left_alone(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct sleepers sleepers = {.pool = pool_for_working_set(&blocks, BUFFERPOOL_NEVER, CACHED), .turns = 10};
    assert_int_equal(pthread_barrier_init(&sleepers.step, NULL, 2), 0);
    test_crew_t *crew = start_threads(1, use_a_grown_buffer_in_steps, &sleepers);
    size_t freed = 0;
    for (size_t turn = 0; turn < sleepers.turns; turn++) {
        pthread_barrier_wait(&sleepers.step);
        freed += bufferpool_reclaim(sleepers.pool);
        pthread_barrier_wait(&sleepers.step);
    }
    join_threads(crew);
    const bufferpool_stats_t stats = stats_of(sleepers.pool);
    assert_int_equal(freed, 0);
    assert_int_equal(stats.stolen, 0);
    assert_int_equal(stats.gets_fresh, 1);
    assert_int_equal(stats.gets_thread, sleepers.turns);
    destroy_empty(sleepers.pool, &blocks);
    pthread_barrier_destroy(&sleepers.step);
}

/* A thread whose cache was taken over finds its gate open again: its next calls are on its own cache. */
static void take_back(void *arg, unsigned index)
{
    struct sleepers *sleepers = arg;
    fill_cache_and_sleep(arg, index);
    bufferpool_put(bufferpool_get(sleepers->pool));
    const uint64_t before = stats_of(sleepers->pool).gets_thread;
    for (int i = 0; i < 5; i++)
        bufferpool_put(bufferpool_get(sleepers->pool));
    thread_check(stats_of(sleepers->pool).gets_thread == before + 5);
}

static void a_cache_that_was_emptied_works_again(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct sleepers sleepers = {.pool = pool_for_working_set(&blocks, BUFFERPOOL_NEVER, CACHED)};
    assert_int_equal(pthread_barrier_init(&sleepers.step, NULL, 2), 0);
    test_crew_t *crew = start_threads(1, take_back, &sleepers);
    pthread_barrier_wait(&sleepers.step);
    for (int reclaims = 0; reclaims < 3; reclaims++)
        (void)bufferpool_reclaim(sleepers.pool);
    pthread_barrier_wait(&sleepers.step);
    join_threads(crew);
    destroy_empty(sleepers.pool, &blocks);
    pthread_barrier_destroy(&sleepers.step);
}

/* Otherwise each of its turns would take the slow path. */
static void a_buffer_that_shrank_to_its_first_size_is_plain_again(void **state)
{
    enum { TURNS = 8 };
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with(&blocks, BUFFERPOOL_NEVER);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_int_equal(bufferpool_buf_reserve(buf, (size_t)2 * CAPACITY), 0);
    buf->len = buf->cap;
    for (int turn = 0; turn < TURNS; turn++) {
        bufferpool_put(buf);
        buf = bufferpool_get(pool);
    }
    assert_int_equal(stats_of(pool).shrinks, 1);
    assert_int_equal(buf->cap, CAPACITY);
    assert_int_equal(load_relaxed(&desc_of(buf)->word), live_word(pool));
    bufferpool_put(buf);
    destroy_empty(pool, &blocks);
}

/* ---- called ---- */

static void reclaim_counts_grown_buffers_with_their_bytes(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with(&blocks, BUFFERPOOL_NEVER);
    bufferpool_buf_t *bufs[5];
    size_t bytes = 0;
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 5), 0);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(bufferpool_buf_reserve(bufs[i], CAPACITY * (1 + i * i)), 0);
        bytes += bufs[i]->cap;
    }
    bufferpool_put_bulk(bufs, 5);
    errno = 4242;
    size_t freed = bufferpool_reclaim(pool);
    assert_int_equal(freed, 0); /* all of it was in use since the last, which was none */
    freed += bufferpool_reclaim(pool);
    freed += bufferpool_reclaim(pool);
    assert_int_equal(freed, bytes);
    assert_int_equal(errno, 4242);
    assert_int_equal(stats_of(pool).reclaimed_bytes, bytes);
    assert_int_equal(stats_of(pool).idle_bytes, 0);
    assert_int_equal(bufferpool_reclaim(pool), 0);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);

    assert_int_equal(bufferpool_reclaim(NULL), 0); /* the default pool, that nobody used */
    bufferpool_put(bufferpool_get(NULL));
    freed = 0;
    for (int i = 0; i < 3; i++)
        freed += bufferpool_reclaim(NULL);
    assert_int_equal(freed, 32768);
}

static pthread_barrier_t reclaiming;
static atomic_int in_hook;

static void let_another_reclaim(test_blocks_t *blocks, const unsigned char *block, size_t size)
{
    (void)blocks, (void)block, (void)size;
    if (atomic_fetch_add(&in_hook, 1) == 0) {
        pthread_barrier_wait(&reclaiming);
        pthread_barrier_wait(&reclaiming);
    }
}

static void reclaim_twice(void *arg, unsigned index)
{
    bufferpool_t *pool = arg;
    if (index == 0) {
        thread_check(bufferpool_reclaim(pool) == BURST * CAPACITY);
    } else {
        pthread_barrier_wait(&reclaiming); /* the other is freeing its first */
        thread_check(bufferpool_reclaim(pool) == 0);
        thread_check(atomic_load(&in_hook) == 1);
        pthread_barrier_wait(&reclaiming);
    }
}

static void only_one_thread_reclaims_at_a_time(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with(&blocks, BUFFERPOOL_NEVER);
    use(pool, BURST);
    bufferpool_thread_flush();
    assert_int_equal(bufferpool_reclaim(pool), 0);
    assert_int_equal(pthread_barrier_init(&reclaiming, NULL, 2), 0);
    blocks.on_free = let_another_reclaim;
    run_threads(2, reclaim_twice, pool);
    // cppcheck-suppress redundantAssignment ; the threads call it
    blocks.on_free = NULL;
    assert_int_equal(atomic_load(&blocks.count), 0);
    use(pool, 2); /* and the next one is free to */
    size_t freed = 0;
    for (int i = 0; i < 3; i++)
        freed += bufferpool_reclaim(pool);
    assert_int_equal(freed, 2 * CAPACITY);
    destroy_empty(pool, &blocks);
    pthread_barrier_destroy(&reclaiming);
}

/* Also that of blocks freed before, of which no buffer is left to release. */
static void reclaim_gives_the_memory_of_free_blocks_back(void **state)
{
    enum { N = 600, KIB = 1024 };
    static bufferpool_buf_t *bufs[N];
    (void)state;
    if (test_instrumented())
        skip();
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = 64 * KIB;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
    const size_t before = test_resident_bytes();
    for (size_t i = 0; i < N; i++)
        memset(bufs[i]->data, 1, bufs[i]->cap);
    bufferpool_put_bulk(bufs, N);
    assert_true(test_resident_bytes() >= before + N / 10 * 9 * 64 * KIB);
    for (int i = 0; i < 3; i++)
        (void)bufferpool_reclaim(pool);
    assert_true(test_resident_bytes() < before + 256 * KIB);
    assert_int_equal(stats_of(pool).idle_bytes, 0);

    /* freed one by one the slabs keep up to a MiB for the next */
    assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
    for (size_t i = 0; i < N; i += 64)
        memset(bufs[i]->data, 1, bufs[i]->cap);
    bufferpool_set_max_live(pool, N - N / 64);
    for (size_t i = 0; i < N; i += 64)
        bufferpool_put(bufs[i]);
    const size_t kept = test_resident_bytes();
    assert_int_equal(bufferpool_reclaim(pool), 0);
    assert_true(test_resident_bytes() + N / 64 * 32 * KIB < kept);
    for (size_t i = 0; i < N; i++)
        if (i % 64 != 0)
            bufferpool_put(bufs[i]);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* A cap is lowered by a thread that has yet to free the surplus: others help with a bounded part of it. */
static void a_get_frees_no_more_than_its_part_of_a_surplus(void **state)
{
    enum { HELD = ALLOWANCE_MOST + 1 };
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with(&blocks, BUFFERPOOL_NEVER);
    use_many(pool, PEAK);
    store_seq_cst(&pool->max_live, 1);
    bufferpool_buf_t *bufs[HELD];
    for (int i = 0; i < HELD; i++) { /* the last from the depot */
        const size_t before = atomic_load(&blocks.count);
        assert_non_null(bufs[i] = bufferpool_get(pool));
        assert_in_range(atomic_load(&blocks.count), before - 100, before);
    }
    assert_in_range(atomic_load(&blocks.count), HELD + 1, PEAK - 1);
    bufferpool_set_max_live(pool, 1); /* but this call frees all of it */
    assert_int_equal(atomic_load(&blocks.count), HELD);
    bufferpool_put_bulk(bufs, HELD);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

/* n idle buffers in the depot, in magazines of as many as go into one. */
static void fill_depot(bufferpool_t *pool, size_t n)
{
    bufferpool_buf_t *bufs[PEAK];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, n), 0);
    bufferpool_put_bulk(bufs, n);
    bufferpool_thread_flush();
    assert_int_equal(stats_of(pool).idle_depot, n);
}

static bufferpool_t *pool_with_magazines(test_blocks_t *blocks)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = PEAK * CAPACITY;
    config.reclaim_interval_ms = INTERVAL_MS;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

/* Also where what is due meets a cap that somebody has just lowered by far. */
static void surplus_buffers_are_freed_in_bounded_steps(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_magazines(&blocks);
    fill_depot(pool, PEAK);
    store_relaxed(&pool->reclaim.due, 1);
    store_seq_cst(&pool->max_live, 1); /* as in the middle of bufferpool_set_max_live */
    reclaim_on_time(pool, &pool->shared);
    assert_in_range(atomic_load(&blocks.count), PEAK - 2 * MAGAZINE_MAX, PEAK - 1);
    bufferpool_set_max_live(pool, 1);
    assert_int_equal(stats_of(pool).idle_depot, 1);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

static bufferpool_t *lowered;

/* As a call of bufferpool_set_max_live that finds the depot without what is in transit. */
static void lower_the_cap(test_blocks_t *blocks, const unsigned char *block, size_t size)
{
    (void)block;
    (void)size;
    blocks->on_free = NULL;
    store_seq_cst(&lowered->max_live, 1);
}

static void buffers_in_transit_when_the_cap_is_lowered_are_freed(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    for (uint32_t due = 0; due < MAGAZINE_MAX; due++) {
        bufferpool_t *pool = lowered = pool_with_magazines(&blocks);
        fill_depot(pool, MAGAZINE_MAX); /* one magazine */
        blocks.on_free = lower_the_cap;
        if (due == 0) { /* a surplus of one */
            store_seq_cst(&pool->max_live, MAGAZINE_MAX - 1);
            reclaim_surplus(pool, &pool->shared);
        } else {
            store_relaxed(&pool->reclaim.due, due);
            reclaim_on_time(pool, &pool->shared);
        }
        assert_int_equal(atomic_load(&blocks.count), 1);
        assert_int_equal(stats_of(pool).idle_depot, 1);
        check_laws(pool, &blocks, 0);
        destroy_empty(pool, &blocks);
    }
}

/* ---- on the background thread's part, called by hand ---- */

static _Atomic(bool) go_on, stop_now = true;

/* As if no call had looked at the time yet. None has: the buffers are fresh, fit into the cache when they are put, and
 * go to the depot by a flush. But under memcheck every put is a slow one, which looks. */
static bufferpool_t *pool_with_idle(test_blocks_t *blocks, size_t n)
{
    bufferpool_t *pool = pool_with_magazines(blocks);
    fill_depot(pool, n);
    store_relaxed(&pool->reclaim.period_end_ms, 0);
    return pool;
}

static void the_first_period_begins_with_the_first_look(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_idle(&blocks, PEAK);
    const uint64_t end_ms = reclaim_in_background(pool, &go_on);
    assert_in_range(end_ms, clock_ms + INTERVAL_MS, clock_ms + INTERVAL_MS + 1);
    clock_ms += INTERVAL_MS - 1;
    assert_int_equal(reclaim_in_background(pool, &go_on), end_ms); /* until then nothing happens */
    assert_int_equal(atomic_load(&blocks.count), PEAK);
    clock_ms += 1;
    const uint64_t next_ms = reclaim_in_background(pool, &go_on);
    assert_in_range(next_ms, clock_ms + INTERVAL_MS, clock_ms + INTERVAL_MS + 1);
    assert_int_equal(atomic_load(&blocks.count), 0); /* and at its end all that lay there, at once */
    assert_int_equal(stats_of(pool).reclaimed_bytes, PEAK * CAPACITY);
    destroy_empty(pool, &blocks);
}

/* By a tick it begins as well, and knows what lies in the depot at that moment. */
static void what_lay_in_the_depot_when_the_first_period_began_is_due_at_its_end(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_idle(&blocks, PEAK);
    for (int period = 0; period < 2; period++) {
        reclaim_on_time(pool, &pool->shared);
        assert_int_equal(atomic_load(&blocks.count), PEAK);
        assert_int_equal(load_relaxed(&pool->depot.low), PEAK);
        clock_ms += INTERVAL_MS / 2;
    }
    clock_ms += 2;
    for (size_t left = PEAK; left > 0; left -= STEP) {
        assert_int_equal(atomic_load(&blocks.count), left);
        reclaim_on_time(pool, &pool->shared);
    }
    assert_int_equal(atomic_load(&blocks.count), 0);
    destroy_empty(pool, &blocks);
}

static void what_the_ticks_left_goes_before_the_period_ends(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_idle(&blocks, PEAK);
    (void)reclaim_in_background(pool, &go_on);
    store_relaxed(&pool->reclaim.due, 100);
    (void)reclaim_in_background(pool, &go_on);
    assert_int_equal(atomic_load(&blocks.count), PEAK - 100);
    assert_int_equal(load_relaxed(&pool->reclaim.due), 0);
    assert_int_equal(stats_of(pool).reclaimed_bytes, 100 * CAPACITY);

    store_relaxed(&pool->reclaim.due, 100); /* so does bufferpool_reclaim, however little lay in the depot */
    store_relaxed(&pool->depot.low, 0);
    assert_int_equal(bufferpool_reclaim(pool), 100 * CAPACITY);
    assert_int_equal(atomic_load(&blocks.count), PEAK - 200);
    (void)bufferpool_trim(pool);
    destroy_empty(pool, &blocks);
}

/* Told to stop, the thread frees no more than a step. */
static void stop_the_thread(test_blocks_t *blocks, const unsigned char *block, size_t size)
{
    (void)blocks, (void)block, (void)size;
    store_relaxed(&go_on, true);
}

static void it_stops_when_it_is_told_to(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_idle(&blocks, PEAK);
    (void)reclaim_in_background(pool, &go_on);
    clock_ms += INTERVAL_MS + 1;
    (void)reclaim_in_background(pool, &stop_now);
    assert_int_equal(atomic_load(&blocks.count), PEAK);
    assert_int_equal(load_relaxed(&pool->reclaim.due), PEAK);
    blocks.on_free = stop_the_thread;
    (void)reclaim_in_background(pool, &go_on);
    assert_int_equal(atomic_load(&blocks.count), PEAK - STEP);
    // cppcheck-suppress redundantAssignment ; the thread calls it
    blocks.on_free = NULL;
    store_relaxed(&go_on, false);
    (void)reclaim_in_background(pool, &go_on);
    assert_int_equal(atomic_load(&blocks.count), 0);
    destroy_empty(pool, &blocks);
}

/* Nobody else at the same time; and whoever came second does not end what the first does. */
static void a_reclaim_under_way_is_left_alone(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_idle(&blocks, BURST);
    (void)reclaim_in_background(pool, &go_on);
    clock_ms += INTERVAL_MS + 1;
    assert_false(atomic_flag_test_and_set(&pool->reclaim.busy));
    for (int i = 0; i < 3; i++)
        (void)reclaim_in_background(pool, &go_on);
    assert_int_equal(atomic_load(&blocks.count), BURST);
    assert_true(atomic_flag_test_and_set(&pool->reclaim.busy));
    atomic_flag_clear(&pool->reclaim.busy);
    (void)reclaim_in_background(pool, &go_on);
    assert_int_equal(atomic_load(&blocks.count), 0);
    destroy_empty(pool, &blocks);
}

/* It sleeps until a pool is due, and looks at the clock but a few times. */
static void the_background_thread_does_not_spin(void **state)
{
    enum { MS = 50 };
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_flags(&blocks, INTERVAL_MS, BUFFERPOOL_BACKGROUND);
    const size_t before = atomic_load(&looks_of_others);
    use(pool, BURST);
    const struct timespec pause = {0, MS * 1000000};
    nanosleep(&pause, NULL);
    const size_t looks = atomic_load(&looks_of_others) - before;
    assert_in_range(looks, 1, 20);
    destroy_empty(pool, &blocks);
}

/* ---- what else a period ends, and a trim ---- */

static void what_was_due_is_not_after_a_trim(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_idle(&blocks, PEAK);
    store_relaxed(&pool->reclaim.due, 100);
    assert_int_equal(bufferpool_trim(pool), PEAK * CAPACITY);
    fill_depot(pool, MAGAZINE_MAX);
    for (int i = 0; i < 4; i++)
        reclaim_on_time(pool, &pool->shared);
    assert_int_equal(atomic_load(&blocks.count), MAGAZINE_MAX);
    (void)bufferpool_trim(pool);
    destroy_empty(pool, &blocks);
}

static bufferpool_t *pool_with_limit(test_blocks_t *blocks)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = 4 * CAPACITY;
    config.max_idle_bytes = PEAK * CAPACITY;
    config.reclaim_interval_ms = INTERVAL_MS;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

/* With a limit on idle bytes no put takes the short way, and get_bulk never does. */
static void calls_that_take_no_short_way_reclaim_too(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_limit(&blocks);
    for (int period = 0; period < 4; period++) {
        use(pool, period == 0 ? BURST : 6);
        use(pool, 6);
        clock_ms += INTERVAL_MS + 1;
    }
    use(pool, 6);
    assert_in_range(atomic_load(&blocks.count), 6, 10);
    (void)bufferpool_trim(pool);
    destroy_empty(pool, &blocks);
}

/* Once idle bytes were scarce, caches set none aside; with the period that ends. */
static void room_for_idle_bytes_is_scarce_until_the_period_ends(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_limit(&blocks);
    reclaim_on_time(pool, &pool->shared);
    store_relaxed(&pool->idle_tight, true);
    reclaim_on_time(pool, &pool->shared);
    assert_true(load_relaxed(&pool->idle_tight));
    clock_ms += INTERVAL_MS + 1;
    reclaim_on_time(pool, &pool->shared);
    assert_false(load_relaxed(&pool->idle_tight));
    destroy_empty(pool, &blocks);
}

static void lower_the_cap_now(void)
{
    store_seq_cst(&lowered->max_live, 1);
}

/* The cap is lowered while a get steals what it finds: the surplus that it brings to the depot is freed by that get. */
static void a_get_frees_the_surplus_that_it_stole(void **state)
{
    (void)state;
    if (!test_can_steal() || TEST_TSAN) /* there without a barrier */
        skip();
    test_blocks_t blocks = {0};
    struct sleepers sleepers = {.pool = pool_for_working_set(&blocks, BUFFERPOOL_NEVER, CACHED)};
    assert_int_equal(pthread_barrier_init(&sleepers.step, NULL, 2), 0);
    test_crew_t *crew = start_threads(1, fill_cache_and_sleep, &sleepers);
    pthread_barrier_wait(&sleepers.step);
    lowered = sleepers.pool;
    bufferpool_set_max_live(lowered, CACHED);
    at_barrier = lower_the_cap_now;
    bufferpool_buf_t *buf = bufferpool_try_get(lowered);
    at_barrier = NULL;
    assert_non_null(buf);
    assert_int_equal(atomic_load(&blocks.count), 1);
    bufferpool_put(buf);
    pthread_barrier_wait(&sleepers.step);
    join_threads(crew);
    destroy_empty(sleepers.pool, &blocks);
    pthread_barrier_destroy(&sleepers.step);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_untouched_for_a_period_are_freed_in_the_next),
        cmocka_unit_test(buffers_in_use_in_every_period_stay),
        cmocka_unit_test(an_interval_of_never_frees_nothing),
        cmocka_unit_test(calls_reclaim_without_a_background_thread),
        cmocka_unit_test(a_background_thread_started_later_serves_all_pools),
        cmocka_unit_test(create_fails_without_the_thread_that_is_to_start_now),
        cmocka_unit_test(create_returns_after_the_thread_that_starts_now_has_begun),
        cmocka_unit_test(a_pool_that_never_reclaims_has_no_thread_to_start),
        cmocka_unit_test(a_background_thread_without_a_small_stack_has_the_default),
        cmocka_unit_test(after_a_burst_the_working_set_is_left),
        cmocka_unit_test(the_working_set_is_left_when_periods_end_by_time),
        cmocka_unit_test(three_reclaims_leave_nothing_of_an_unused_pool),
        cmocka_unit_test(caches_in_use_are_left_alone),
        cmocka_unit_test(a_cache_of_grown_buffers_in_use_is_left_alone),
        cmocka_unit_test(a_cache_that_was_emptied_works_again),
        cmocka_unit_test(a_buffer_that_shrank_to_its_first_size_is_plain_again),
        cmocka_unit_test(reclaim_counts_grown_buffers_with_their_bytes),
        cmocka_unit_test(only_one_thread_reclaims_at_a_time),
        cmocka_unit_test(reclaim_gives_the_memory_of_free_blocks_back),
        cmocka_unit_test(a_get_frees_no_more_than_its_part_of_a_surplus),
        cmocka_unit_test(surplus_buffers_are_freed_in_bounded_steps),
        cmocka_unit_test(buffers_in_transit_when_the_cap_is_lowered_are_freed),
        cmocka_unit_test(the_first_period_begins_with_the_first_look),
        cmocka_unit_test(what_lay_in_the_depot_when_the_first_period_began_is_due_at_its_end),
        cmocka_unit_test(what_the_ticks_left_goes_before_the_period_ends),
        cmocka_unit_test(it_stops_when_it_is_told_to),
        cmocka_unit_test(a_reclaim_under_way_is_left_alone),
        cmocka_unit_test(the_background_thread_does_not_spin),
        cmocka_unit_test(what_was_due_is_not_after_a_trim),
        cmocka_unit_test(calls_that_take_no_short_way_reclaim_too),
        cmocka_unit_test(room_for_idle_bytes_is_scarce_until_the_period_ends),
        cmocka_unit_test(a_get_frees_the_surplus_that_it_stole),
    };
    main_thread = pthread_self();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
