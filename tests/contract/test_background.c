/* SPDX-License-Identifier: MIT
 *
 * test_background.c - BUFFERPOOL_BACKGROUND: idle memory goes back although no call comes
 *
 * One thread serves all such pools. It is named "bufferpool", it lives from the first use of the first pool to the end
 * of the last, and all signals are blocked in it. The tests wait for its work as long as it takes, up to a deadline
 * that only a failure meets. No test asserts how long the work took.
 */
#include "support/laws.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { CAPACITY = 1024, INTERVAL_MS = 5, DEADLINE_S = 30, CHILD_SECONDS = 60 };

/* ---- seeing ---- */

/* The first line of the file that begins with that, without it; "": there is none. */
static void read_line(const char *path, const char *begins, char *line, size_t size)
{
    const size_t skip = strlen(begins);
    line[0] = '\0';
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return; /* the thread has ended */
    while (fgets(line, (int)size, file) != NULL && strncmp(line, begins, skip) != 0)
        line[0] = '\0';
    fclose(file);
    line[strcspn(line, "\n")] = '\0';
    if (line[0] != '\0')
        memmove(line, line + skip, strlen(line + skip) + 1);
}

/* The threads of this process that have that name; *tid is one of them. */
static size_t threads_named(const char *name, long *tid)
{
    size_t n = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL)
        return 0;
    for (const struct dirent *task = readdir(tasks); task != NULL; task = readdir(tasks)) {
        char path[64], comm[64];
        const long id = strtol(task->d_name, NULL, 10);
        snprintf(path, sizeof path, "/proc/self/task/%ld/comm", id);
        read_line(path, "", comm, sizeof comm);
        if (id > 0 && strcmp(comm, name) == 0) {
            *tid = id;
            n++;
        }
    }
    closedir(tasks);
    return n;
}

static size_t workers(void)
{
    long tid;
    return threads_named("bufferpool", &tid);
}

static bool on_worker(void)
{
    char name[32] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    return strcmp(name, "bufferpool") == 0;
}

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void pause_briefly(void)
{
    const struct timespec ms = {0, 1000000};
    nanosleep(&ms, NULL);
}

static bool in_time(double since)
{
    pause_briefly();
    return now() - since < DEADLINE_S;
}

/* Whether the condition comes to hold. */
#define comes(condition)                                                                                               \
    __extension__({                                                                                                    \
        const double since_ = now();                                                                                   \
        bool holds_ = (condition);                                                                                     \
        while (!holds_ && in_time(since_))                                                                             \
            holds_ = (condition);                                                                                      \
        holds_;                                                                                                        \
    })
#define until(condition) assert_true(comes(condition))

/* A thread that has been joined is in /proc for a moment more. */
#define until_no_worker() until(workers() == 0)

/* ---- pools ---- */

static bufferpool_t *pool_with(test_blocks_t *blocks, unsigned interval_ms)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = 4 * CAPACITY;
    config.reclaim_interval_ms = interval_ms;
    config.flags = BUFFERPOOL_BACKGROUND;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static void use(bufferpool_t *pool, size_t n)
{
    bufferpool_buf_t *bufs[40];
    thread_check(bufferpool_get_bulk(pool, bufs, n) == 0);
    bufferpool_put_bulk(bufs, n);
}

/* ---- what it does ---- */

static void use_and_stay(void *arg, unsigned index)
{
    void **args = arg;
    use(args[0], 20 + index);
    pthread_barrier_wait(args[1]);
    pthread_barrier_wait(args[1]);
}

static void idle_memory_goes_back_although_no_call_comes(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with(&blocks, INTERVAL_MS);
    pthread_barrier_t barrier;
    void *args[] = {pool, &barrier};
    assert_int_equal(pthread_barrier_init(&barrier, NULL, 4), 0);
    test_crew_t *crew = start_threads(3, use_and_stay, args); /* with something in the caches of threads that sleep */
    pthread_barrier_wait(&barrier);
    use(pool, 40);
    const bool gone = !test_can_steal() || comes(atomic_load(&blocks.count) == 0);
    pthread_barrier_wait(&barrier);
    join_threads(crew);
    assert_true(gone);
    until(atomic_load(&blocks.count) <= 4);
    check_laws(pool, NULL, 0);
    const bufferpool_stats_t stats = stats_of(pool);
    assert_int_equal(stats.reclaimed_bytes, CAPACITY * (stats.gets_fresh - idle_of(&stats)));

    use(pool, 40); /* again and again */
    if (test_can_steal())
        until(atomic_load(&blocks.count) == 0);
    destroy_empty(pool, &blocks);
    until_no_worker();
    pthread_barrier_destroy(&barrier);
}

/* Every pool by its own interval: one that is far off does not keep the others waiting, nor is it early itself. */
static void every_pool_is_reclaimed_at_its_own_interval(void **state)
{
    (void)state;
    test_blocks_t blocks[3] = {{0}, {0}, {0}};
    bufferpool_t *pools[3];
    for (size_t i = 0; i < 3; i++) {
        pools[i] = pool_with(&blocks[i], i == 0 ? BUFFERPOOL_NEVER - 1 : (unsigned)(INTERVAL_MS * i));
        use(pools[i], 30);
        bufferpool_thread_flush();
    }
    for (size_t i = 1; i < 3; i++)
        until(atomic_load(&blocks[i].count) == 0);
    assert_int_equal(atomic_load(&blocks[0].count), 30);
    for (size_t i = 0; i < 3; i++)
        destroy_empty(pools[i], &blocks[i]);
    until_no_worker();
}

/* ---- the thread ---- */

static void one_thread_serves_all_pools_from_first_use_to_last_end(void **state)
{
    enum { POOLS = 6 };
    (void)state;
    test_blocks_t blocks[POOLS] = {{0}};
    bufferpool_t *pools[POOLS];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < POOLS; i++)
            pools[i] = pool_with(&blocks[i], INTERVAL_MS);
        assert_int_equal(workers(), 0); /* nobody has used one yet */
        for (size_t i = 0; i < POOLS; i++) {
            use(pools[i], 10);
            bufferpool_thread_flush();
            assert_int_equal(workers(), 1);
        }
        for (size_t i = 0; i < POOLS; i++) {
            until(atomic_load(&blocks[i].count) == 0);
            assert_int_equal(workers(), 1);
            destroy_empty(pools[i], &blocks[i]);
        }
        until_no_worker();
    }
}

static void no_thread_where_none_is_asked_for(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_with(&blocks);
    config.reclaim_interval_ms = 1;
    for (int never = 0; never < 2; never++) {
        config.flags = never ? BUFFERPOOL_BACKGROUND : 0;
        if (never)
            config.reclaim_interval_ms = BUFFERPOOL_NEVER;
        bufferpool_t *pool = bufferpool_create(&config);
        use(pool, 40);
        bufferpool_thread_flush();
        use(pool, 40);
        assert_int_equal(workers(), 0);
        destroy_empty(pool, &blocks);
    }
}

/* A pool that was made and never used begins nothing, and its end ends nothing. */
static void an_unused_pool_neither_starts_nor_stops_the_background_thread(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *unused = pool_with(&blocks, INTERVAL_MS);
    bufferpool_t *used = pool_with(&blocks, INTERVAL_MS);
    use(used, 10);
    assert_int_equal(bufferpool_destroy(unused), 0);
    assert_int_equal(workers(), 1);
    bufferpool_t *other = pool_with(&blocks, INTERVAL_MS);
    assert_int_equal(bufferpool_destroy(used), 0);
    until_no_worker();
    destroy_empty(other, &blocks);
}

static void the_background_thread_blocks_all_signals(void **state)
{
    (void)state;
    if (test_under_valgrind()) /* which has masks of its own */
        skip();
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with(&blocks, INTERVAL_MS);
    sigset_t before, after, none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, &before);
    use(pool, 10);
    pthread_sigmask(SIG_SETMASK, &before, &after);
    bufferpool_thread_flush();
    until(atomic_load(&blocks.count) == 0); /* it runs: while a thread begins the C library blocks all by itself */
    char path[64], line[256];
    long tid = 0;
    assert_int_equal(threads_named("bufferpool", &tid), 1);
    snprintf(path, sizeof path, "/proc/self/task/%ld/status", tid);
    read_line(path, "SigBlk:", line, sizeof line);
    const unsigned long long blocked = strtoull(line, NULL, 16);
    for (int i = 1; i <= SIGRTMAX; i++) {
        if (i == SIGKILL || i == SIGSTOP || (i >= 32 && i < SIGRTMIN)) /* nobody's to block, or the C library's */
            continue;
        if ((blocked >> (i - 1) & 1) == 0)
            fail_msg("signal %d is not blocked: %s", i, line);
        assert_int_equal(sigismember(&after, i), 0); /* and the caller's mask is as it was */
    }
    destroy_empty(pool, &blocks);
    until_no_worker();
}

/* ---- hooks ---- */

static bufferpool_t *other_pool;
static atomic_size_t freed_on_worker;

static void use_another_pool(test_blocks_t *blocks, const unsigned char *block, size_t size)
{
    (void)blocks, (void)block, (void)size;
    if (on_worker())
        atomic_fetch_add(&freed_on_worker, 1);
    bufferpool_buf_t *buf = bufferpool_get(other_pool);
    thread_check(buf != NULL);
    bufferpool_put(buf);
}

static void a_hook_on_the_background_thread_may_use_another_pool(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    test_blocks_t others = {0};
    for (int round = 0; round < 2; round++) {
        other_pool = pool_with(&others, round == 0 ? INTERVAL_MS : 1000000);
        bufferpool_t *pool = pool_with(&blocks, INTERVAL_MS);
        blocks.on_free = use_another_pool;
        atomic_store(&freed_on_worker, 0);
        use(pool, 30);
        bufferpool_thread_flush();
        until(atomic_load(&blocks.count) == 0);
        assert_int_equal(atomic_load(&freed_on_worker), 30);
        destroy_empty(pool, &blocks);
        destroy_empty(other_pool, &others);
        until_no_worker();
    }
    assert_false(test_recorded_failure());
}

/* A hook that stays inside for as long as the test wants, on the thread's first block. */
static atomic_int gate; /* 0: nobody is in; 1: in; 2: let out */

static void stay_inside(test_blocks_t *blocks, const unsigned char *block, size_t size)
{
    (void)blocks, (void)block, (void)size;
    int nobody = 0;
    if (on_worker() && atomic_compare_exchange_strong(&gate, &nobody, 1)) {
        while (atomic_load(&gate) == 1)
            pause_briefly();
    }
}

struct end {
    bufferpool_t *pool;
    atomic_bool begins;
    atomic_int gate_at_end; /* what the gate was when destroy came back; -1: it has not */
};

static void destroy_one(void *arg, unsigned index)
{
    struct end *end = (struct end *)arg + index;
    atomic_store(&end->begins, true);
    thread_check(bufferpool_destroy(end->pool) == 0);
    atomic_store(&end->gate_at_end, atomic_load(&gate));
}

/* While the thread is in the hook of the first, both are destroyed at once: by none may that be missed. */
static void destroy_waits_while_the_background_thread_frees(void **state)
{
    (void)state;
    for (unsigned pools = 1; pools <= 2; pools++) {
        test_blocks_t blocks[2] = {{0}, {0}};
        struct end ends[2] = {{NULL, false, -1}, {NULL, false, -1}};
        atomic_store(&gate, 0);
        blocks[0].on_free = stay_inside;
        for (size_t i = 0; i < pools; i++) {
            ends[i].pool = pool_with(&blocks[i], i == 0 ? INTERVAL_MS : 1000000);
            use(ends[i].pool, 20);
            bufferpool_thread_flush();
        }
        until(atomic_load(&gate) == 1);
        test_crew_t *crew = start_threads(pools, destroy_one, ends);
        for (size_t i = 0; i < pools; i++)
            until(atomic_load(&ends[i].begins));
        for (int i = 0; i < 50; i++) /* time to be wrong; nobody who is right needs it */
            pause_briefly();
        const int early = atomic_load(&ends[0].gate_at_end);
        atomic_store(&gate, 2);
        join_threads(crew);
        assert_int_equal(early, -1);
        for (size_t i = 0; i < pools; i++) {
            assert_int_equal(atomic_load(&blocks[i].count), 0);
            assert_int_equal(atomic_load(&blocks[i].errors), 0);
        }
        assert_int_equal(atomic_load(&ends[0].gate_at_end), 2);
        until_no_worker();
    }
}

/* The last pool but the one being ended, destroyed by a hook on the thread itself: it cannot wait for itself. */
static bufferpool_t *last_pool;
static atomic_bool last_is_gone;

static void destroy_the_last(test_blocks_t *blocks, const unsigned char *block, size_t size)
{
    stay_inside(blocks, block, size);
    if (on_worker() && !atomic_exchange(&last_is_gone, true))
        thread_check(bufferpool_destroy(last_pool) == 0);
}

static void a_hook_may_destroy_another_pool(void **state)
{
    (void)state;
    for (int both = 0; both < 2; both++) {
        test_blocks_t blocks[2] = {{0}, {0}};
        struct end end = {NULL, false, -1};
        atomic_store(&gate, both ? 0 : 2);
        atomic_store(&last_is_gone, false);
        end.pool = pool_with(&blocks[0], INTERVAL_MS);
        last_pool = pool_with(&blocks[1], 1000000);
        blocks[0].on_free = destroy_the_last;
        use(last_pool, 3);
        use(end.pool, 20);
        bufferpool_thread_flush();
        test_crew_t *crew = NULL;
        if (both) { /* the pool whose hook it is leaves the thread's list meanwhile, so that the other is the last */
            until(atomic_load(&gate) == 1);
            crew = start_threads(1, destroy_one, &end);
            until(atomic_load(&end.begins));
            for (int i = 0; i < 50; i++)
                pause_briefly();
            atomic_store(&gate, 2);
            join_threads(crew);
            assert_int_equal(atomic_load(&blocks[0].count), 0);
        } else {
            until(atomic_load(&blocks[0].count) == 0);
            destroy_empty(end.pool, &blocks[0]);
        }
        assert_true(atomic_load(&last_is_gone));
        assert_int_equal(atomic_load(&blocks[1].count), 0);
        until_no_worker();
    }
    assert_false(test_recorded_failure());
}

static void *destroy_under_cancellation(void *arg)
{
    struct end *end = arg;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_cancel(pthread_self()); /* takes effect at the next cancellation point, */
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    atomic_store(&end->begins, true);
    const int error = bufferpool_destroy(end->pool);
    thread_check(error == 0);
    atomic_store(&end->gate_at_end, atomic_load(&gate));
    pthread_testcancel(); /* which is this one */
    return NULL;
}

static void destroy_is_no_cancellation_point(void **state)
{
    (void)state;
    for (int busy = 0; busy < 2; busy++) {
        test_blocks_t blocks = {0};
        struct end end = {NULL, false, -1};
        pthread_t thread;
        void *result;
        atomic_store(&gate, busy ? 0 : 2);
        end.pool = pool_with(&blocks, INTERVAL_MS);
        blocks.on_free = stay_inside;
        use(end.pool, 10);
        bufferpool_thread_flush();
        if (busy)
            until(atomic_load(&gate) == 1);
        assert_int_equal(pthread_create(&thread, NULL, destroy_under_cancellation, &end), 0);
        until(atomic_load(&end.begins));
        for (int i = 0; i < 20; i++)
            pause_briefly();
        atomic_store(&gate, 2);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_ptr_equal(result, PTHREAD_CANCELED);
        assert_int_equal(atomic_load(&end.gate_at_end), 2);
        assert_int_equal(atomic_load(&blocks.count), 0);
        until_no_worker();
    }
    assert_false(test_recorded_failure());
}

/* ---- much ---- */

struct coming_and_going {
    test_blocks_t blocks[4];
    size_t turns;
};

static void come_and_go(void *arg, unsigned index)
{
    struct coming_and_going *load = arg;
    for (size_t turn = 0; turn < load->turns; turn++) {
        bufferpool_config_t config = config_with(&load->blocks[index]);
        config.buffer_capacity = CAPACITY;
        config.reclaim_interval_ms = 1;
        config.flags = BUFFERPOOL_BACKGROUND;
        bufferpool_t *pool = bufferpool_create(&config);
        if (!thread_check(pool != NULL))
            return;
        use(pool, 30);
        bufferpool_thread_flush();
        if (turn % 4 == 0)
            pause_briefly();
        use(pool, 3);
        thread_check(bufferpool_destroy(pool) == 0);
        thread_check(atomic_load(&load->blocks[index].count) == 0);
    }
}

static void hundreds_of_pools_come_and_go_while_the_background_thread_works(void **state)
{
    (void)state;
    struct coming_and_going load = {.turns = test_scale(200, 20)};
    test_blocks_t blocks = {0};
    for (int with_steady = 0; with_steady < 2; with_steady++) { /* the thread comes and goes too, or stays */
        bufferpool_t *steady = pool_with(&blocks, 1);
        if (with_steady)
            use(steady, 10);
        run_threads(4, come_and_go, &load);
        if (with_steady) {
            assert_int_equal(workers(), 1);
            bufferpool_thread_flush();
            until(atomic_load(&blocks.count) == 0);
        }
        destroy_empty(steady, &blocks);
        until_no_worker();
    }
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(atomic_load(&load.blocks[i].errors), 0);
}

/* ---- fork ---- */

struct family {
    bufferpool_t *pools[2];
    test_blocks_t blocks[2];
};

static int be_child(void *arg)
{
    struct family *family = arg;
    if (workers() != 0)
        end_child(60);
    bufferpool_put(bufferpool_get(family->pools[0])); /* also where the thread's cache could have served it */
    if (workers() != 1)
        end_child(61);
    use(family->pools[0], 10);
    bufferpool_thread_flush();
    if (!comes(atomic_load(&family->blocks[0].count) == 0) || workers() != 1)
        end_child(62);
    bufferpool_put(bufferpool_get(family->pools[1])); /* the first call on each begins */
    bufferpool_thread_flush();
    if (!comes(atomic_load(&family->blocks[1].count) == 0))
        end_child(64);
    if (bufferpool_destroy(family->pools[0]) != 0 || workers() != 1 || bufferpool_destroy(family->pools[1]) != 0)
        end_child(63);
    end_child(comes(workers() == 0) ? 0 : 65);
}

static void a_child_starts_its_own_background_thread(void **state)
{
    (void)state;
    if (TEST_TSAN) /* it takes threads of the child for ones of the parent */
        skip();
    struct family family = {0};
    test_blocks_before_fork();
    for (size_t i = 0; i < 2; i++) {
        family.pools[i] = pool_with(&family.blocks[i], INTERVAL_MS);
        use(family.pools[i], 20);
    }
    const size_t children = test_scale(20, 4);
    for (size_t n = 0; n < children; n++) {
        use(family.pools[n / 2 % 2], 30); /* the thread is at work now and then */
        if (n % 2 == 0)
            bufferpool_thread_flush();
        assert_int_equal(run_in_child(be_child, &family, CHILD_SECONDS), 0);
        assert_int_equal(workers(), 1);
    }
    for (size_t i = 0; i < 2; i++) {
        until(atomic_load(&family.blocks[i].count) == 0);
        destroy_empty(family.pools[i], &family.blocks[i]);
    }
    until_no_worker();
}

/* ---- BUFFERPOOL_START_NOW ---- */

static size_t threads(void)
{
    size_t n = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (const struct dirent *task; (task = readdir(tasks)) != NULL;)
        n += task->d_name[0] != '.';
    closedir(tasks);
    return n;
}

static bufferpool_t *pool_that_starts_now(test_blocks_t *blocks)
{
    bufferpool_config_t config = config_with(blocks);
    config.reclaim_interval_ms = INTERVAL_MS;
    config.flags = BUFFERPOOL_BACKGROUND | BUFFERPOOL_START_NOW;
    bufferpool_t *pool = bufferpool_create(&config);
    thread_check(pool != NULL);
    return pool;
}

static void a_thread_that_starts_now_is_there_when_create_returns(void **state)
{
    (void)state;
    test_blocks_t blocks[2] = {{0}, {0}};
    const size_t before = threads();
    bufferpool_t *pool = pool_that_starts_now(&blocks[0]);
    assert_int_equal(threads(), before + 1);
    assert_int_equal(workers(), 1);
    use(pool, 10); /* the first get starts none */
    assert_int_equal(threads(), before + 1);
    bufferpool_thread_flush();
    until(atomic_load(&blocks[0].count) == 0); /* it serves the pool */
    bufferpool_t *second = pool_that_starts_now(&blocks[1]);
    assert_int_equal(threads(), before + 1);
    destroy_empty(pool, &blocks[0]);
    assert_int_equal(threads(), before + 1);
    destroy_empty(second, &blocks[1]);
    until_no_worker();
}

static int child_of_a_pool_that_started_now(void *arg)
{
    const bool before = workers() == 0;
    use(arg, 10);
    const bool after = workers() == 1;
    test_blocks_t blocks = {0};
    bufferpool_t *own = pool_that_starts_now(&blocks); /* a create of the child starts it too, if that comes first */
    end_child(before && after && workers() == 1 && bufferpool_destroy(own) == 0 ? 0 : 1);
}

static int child_that_creates_first(void *arg)
{
    test_blocks_t blocks = {0};
    bufferpool_t *own = pool_that_starts_now(&blocks);
    const bool there = workers() == 1;
    use(arg, 10);
    end_child(there && workers() == 1 && bufferpool_destroy(own) == 0 ? 0 : 1);
}

static void in_a_child_the_first_get_starts_the_thread_again(void **state)
{
    (void)state;
    if (TEST_TSAN)
        skip(); /* it takes threads of the child for ones of the parent */
    test_blocks_t blocks = {0};
    test_blocks_before_fork();
    bufferpool_t *pool = pool_that_starts_now(&blocks);
    assert_int_equal(run_in_child(child_of_a_pool_that_started_now, pool, CHILD_SECONDS), 0);
    assert_int_equal(run_in_child(child_that_creates_first, pool, CHILD_SECONDS), 0);
    destroy_empty(pool, &blocks);
    until_no_worker();
}

/* ---- the end of the process ---- */

static int end_at_once(void *arg)
{
    use(arg, 10);
    exit(0); /* with the thread there: the library's end sees to it */
}

static void the_process_may_end_while_the_background_thread_runs(void **state)
{
    (void)state;
    if (TEST_TSAN)
        skip();
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.reclaim_interval_ms = 1;
    config.flags = BUFFERPOOL_BACKGROUND;
    bufferpool_t *pool = bufferpool_create(&config);
    for (int n = 0; n < 5; n++)
        assert_int_equal(run_in_child(end_at_once, pool, CHILD_SECONDS), 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* The hook never comes back, as if it waited for a lock that the caller of exit holds. */
static int end_beside_a_hook(void *arg)
{
    test_blocks_t *blocks = arg;
    bufferpool_t *pool = pool_with(blocks, 1);
    use(pool, 10);
    bufferpool_thread_flush();
    if (!comes(atomic_load(&gate) == 1))
        _exit(70);
    exit(0);
}

static void exit_does_not_wait_for_a_hook(void **state)
{
    enum { SECONDS = 20 };
    (void)state;
    if (TEST_SANITIZED) /* at exit what the pool still has is a leak */
        skip();
    test_blocks_t blocks = {.on_free = stay_inside};
    atomic_store(&gate, 0);
    assert_int_equal(run_in_child(end_beside_a_hook, &blocks, SECONDS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_memory_goes_back_although_no_call_comes),
        cmocka_unit_test(every_pool_is_reclaimed_at_its_own_interval),
        cmocka_unit_test(one_thread_serves_all_pools_from_first_use_to_last_end),
        cmocka_unit_test(no_thread_where_none_is_asked_for),
        cmocka_unit_test(an_unused_pool_neither_starts_nor_stops_the_background_thread),
        cmocka_unit_test(the_background_thread_blocks_all_signals),
        cmocka_unit_test(a_hook_on_the_background_thread_may_use_another_pool),
        cmocka_unit_test(destroy_waits_while_the_background_thread_frees),
        cmocka_unit_test(a_hook_may_destroy_another_pool),
        cmocka_unit_test(destroy_is_no_cancellation_point),
        cmocka_unit_test(hundreds_of_pools_come_and_go_while_the_background_thread_works),
        cmocka_unit_test(a_child_starts_its_own_background_thread),
        cmocka_unit_test(a_thread_that_starts_now_is_there_when_create_returns),
        cmocka_unit_test(in_a_child_the_first_get_starts_the_thread_again),
        cmocka_unit_test(the_process_may_end_while_the_background_thread_runs),
        cmocka_unit_test(exit_does_not_wait_for_a_hook),
    };
    return cmocka_run_group_tests_name("background", tests, NULL, NULL);
}
