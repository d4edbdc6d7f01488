/* SPDX-License-Identifier: MIT
 *
 * test_fork.c - fork from a process whose threads are busy in the library
 *
 * The process forks two hundred times, each time while four threads are anywhere in get, put, growth, trim and flush.
 * The child uses the pools of the parent, the default pool and a pool of its own, also in new threads. No child may
 * hang (an alarm ends it, and the test fails), no buffer may have two owners, and no get may return a buffer that the
 * parent's threads held at the fork. Those buffers stay live in the child, and the child may put them. The parent goes
 * on undisturbed, and its laws hold.
 */
#include "support/laws.h"

#include <limits.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, POOLS = 3, HELD = 6, CHILD_HELD = 40, CHILD_SECONDS = 60 };

/* The sanitizers' malloc does not survive a fork in the middle of it: the hooks see to that, the default pool cannot */
enum { BUSY_POOLS = POOLS - TEST_SANITIZED };

struct family {
    bufferpool_t *pools[POOLS]; /* the last one is NULL: the default pool */
    test_blocks_t blocks[POOLS - 1];
    atomic_bool stop;
    atomic_size_t busy; /* threads at work */
    /* What the parent's threads hold for certain: entered after get, taken out before growth and put. */
    _Atomic(bufferpool_buf_t *) held[THREADS][HELD];
};

static void be_busy(void *arg, unsigned index)
{
    struct family *family = arg;
    test_random_t random = {index};
    for (size_t p = 0; p < BUSY_POOLS; p++) /* what malloc is needed for, before the first fork */
        bufferpool_put(bufferpool_get(family->pools[p]));
    atomic_fetch_add(&family->busy, 1);
    while (!atomic_load(&family->stop)) {
        const size_t i = test_random_below(&random, HELD);
        bufferpool_t *pool = family->pools[test_random_below(&random, BUSY_POOLS)];
        bufferpool_buf_t *buf = atomic_exchange(&family->held[index][i], NULL);
        if (buf == NULL) {
            buf = bufferpool_get(pool);
            if (!thread_check(buf != NULL))
                return;
            memset(buf->data, (int)index, 64);
            buf->len = 64;
        } else if (test_random_below(&random, 8) == 0) {
            thread_check(bufferpool_buf_reserve(buf, buf->cap + 1 + test_random_below(&random, 3000)) == 0);
        } else {
            thread_check(buf->data[63] == index);
            bufferpool_put(buf);
            continue;
        }
        atomic_store(&family->held[index][i], buf);
        if (test_random_below(&random, 64) == 0)
            bufferpool_trim(pool);
        if (test_random_below(&random, 64) == 0)
            bufferpool_thread_flush();
    }
    for (size_t i = 0; i < HELD; i++)
        bufferpool_put(atomic_exchange(&family->held[index][i], NULL));
}

/* ---- the child, which reports by exit status, so thread_check() only records ---- */

static bool held_by_parent(struct family *family, const bufferpool_buf_t *buf)
{
    for (size_t t = 0; t < THREADS; t++) {
        for (size_t i = 0; i < HELD; i++) {
            if (atomic_load(&family->held[t][i]) == buf)
                return true;
        }
    }
    return false;
}

/* Holds many buffers of a pool at once, each with a stamp of its own, looks that none lost it, and puts them. */
static void use_pool_in_child(struct family *family, bufferpool_t *pool, uint64_t who)
{
    bufferpool_buf_t *bufs[CHILD_HELD];
    for (uint64_t round = 0; round < 5; round++) {
        for (uint64_t i = 0; i < CHILD_HELD; i++) {
            const uint64_t stamp = who << 32 | round << 16 | i;
            bufs[i] = bufferpool_get(pool);
            if (!thread_check(bufs[i] != NULL) || !thread_check(!held_by_parent(family, bufs[i])))
                _exit(10);
            memcpy(bufs[i]->data, &stamp, sizeof stamp);
            bufs[i]->len = sizeof stamp;
            if (i % 8 == 0 && bufferpool_buf_reserve(bufs[i], bufs[i]->cap + 100) != 0)
                _exit(11);
        }
        for (uint64_t i = 0; i < CHILD_HELD; i++) {
            const uint64_t stamp = who << 32 | round << 16 | i;
            if (memcmp(bufs[i]->data, &stamp, sizeof stamp) != 0)
                _exit(12);
            bufferpool_put(bufs[i]);
        }
        if (round == 2)
            bufferpool_trim(pool);
    }
}

static void use_all_in_child(void *arg, unsigned index)
{
    struct family *family = arg;
    for (size_t p = 0; p < POOLS; p++)
        use_pool_in_child(family, family->pools[p], index + 1);
    bufferpool_thread_flush();
    for (int turn = 0; turn < 300; turn++)
        bufferpool_put(bufferpool_get(family->pools[turn % POOLS]));
}

static int use_everything(struct family *family)
{
    use_all_in_child(family, 100);

    bufferpool_t *own = bufferpool_create(NULL);
    if (own == NULL)
        return 20;
    use_pool_in_child(family, own, 7);
    if (!laws_hold(own, NULL, 0))
        return 21;
    if (bufferpool_destroy(own) != 0)
        return 22;

    if (!TEST_TSAN)
        run_threads(3, use_all_in_child, family); /* it takes them for threads of the parent */

    bufferpool_buf_t *lost[THREADS * HELD]; /* what the parent's threads held is ours to put */
    size_t n = 0;
    for (size_t t = 0; t < THREADS; t++) {
        for (size_t i = 0; i < HELD; i++) {
            bufferpool_buf_t *buf = atomic_exchange(&family->held[t][i], NULL);
            if (buf == NULL)
                continue;
            if (buf->data[63] != t)
                return 23;
            lost[n++] = buf;
        }
    }
    size_t live = 0;
    for (size_t p = 0; p < POOLS; p++) {
        const bufferpool_stats_t stats = stats_of(family->pools[p]);
        live += (size_t)(stats.live + stats.bypass_live);
    }
    if (live < n)
        return 24;
    bufferpool_put_bulk(lost, n);
    for (size_t p = 0; p < POOLS; p++) {
        const bufferpool_stats_t stats = stats_of(family->pools[p]);
        live -= (size_t)(stats.live + stats.bypass_live);
    }
    if (live != n)
        return 25;
    use_all_in_child(family, 101);
    return test_recorded_failure() ? 26 : 0;
}

static int child(void *family)
{
    end_child(use_everything(family));
}

static void make_pools(struct family *family)
{
    for (size_t p = 0; p < POOLS - 1; p++) {
        bufferpool_config_t config = config_with(&family->blocks[p]);
        config.buffer_capacity = 256;
        config.max_capacity = 16 * 1024;
        config.thread_cache_bytes = 1024;
        config.max_live = p == 0 ? 10 : 0; /* with buffers beyond the cap, and without */
        family->pools[p] = bufferpool_create(&config);
        assert_non_null(family->pools[p]);
    }
}

static void a_child_of_busy_threads_can_use_every_pool(void **state)
{
    (void)state;
    struct family *family = calloc(1, sizeof *family);
    assert_non_null(family);
    test_blocks_before_fork();
    make_pools(family);
    test_crew_t *crew = start_threads(THREADS, be_busy, family);
    while (atomic_load(&family->busy) < THREADS)
        sched_yield();
    const size_t forks = test_scale(200, 12);
    size_t failed = 0;
    int status = 0;
    for (size_t i = 0; i < forks && failed == 0; i++) {
        bufferpool_put(bufferpool_get(family->pools[i % POOLS])); /* something in the cache of the thread that forks */
        status = run_in_child(child, family, CHILD_SECONDS);
        failed += status != 0;
    }
    atomic_store(&family->stop, true);
    join_threads(crew);
    if (failed != 0)
        fail_msg("a child ended with status %d", status);
    check_laws(family->pools[0], &family->blocks[0], 0);
    check_laws(family->pools[1], &family->blocks[1], 0);
    check_laws(NULL, NULL, 0);
    for (size_t p = 0; p < POOLS - 1; p++)
        destroy_empty(family->pools[p], &family->blocks[p]);
    free(family);
}

/* The twin without threads: the child inherits exactly what there was, and both go on by themselves. */
static int quiet_child(void *arg)
{
    bufferpool_buf_t **bufs = arg;
    bufferpool_t *pool = NULL;
    if (stats_of(pool).live != 4)
        return 30;
    if (!laws_hold(pool, NULL, 4))
        return 31;
    bufferpool_put_bulk(bufs, 4);
    if (!laws_hold(pool, NULL, 0))
        return 32;
    for (int i = 0; i < 4; i++) {
        bufs[i] = bufferpool_get(pool);
        if (bufs[i] == NULL)
            return 33;
        memset(bufs[i]->data, 0xcc, bufs[i]->cap);
    }
    return laws_hold(pool, NULL, 4) ? 0 : 34;
}

static void parent_and_child_go_separate_ways(void **state)
{
    (void)state;
    bufferpool_buf_t *bufs[4];
    assert_int_equal(bufferpool_get_bulk(NULL, bufs, 4), 0);
    for (size_t i = 0; i < 4; i++)
        test_fill(bufs[i]->data, bufs[i]->cap, i);
    for (int round = 0; round < 5; round++) {
        assert_int_equal(run_in_child(quiet_child, bufs, CHILD_SECONDS), 0);
        check_laws(NULL, NULL, 4);
    }
    for (size_t i = 0; i < 4; i++)
        assert_true(test_filled(bufs[i]->data, bufs[i]->cap, i));
    bufferpool_put_bulk(bufs, 4);
    check_laws(NULL, NULL, 0);
}

/* A thread sleeps with half of the pool in its cache while another forks: in the child, where it is not, nothing of
 * that is lost, so the child gets all without making one more, nor bypassing. */
enum { ALL = 8 };

struct sleeper {
    bufferpool_t *pool;
    pthread_barrier_t filled, forked;
};

static void fill_cache_and_sleep(void *arg, unsigned index)
{
    (void)index;
    struct sleeper *sleeper = arg;
    bufferpool_buf_t *bufs[ALL];
    thread_check(bufferpool_get_bulk(sleeper->pool, bufs, ALL) == 0);
    bufferpool_put_bulk(bufs, ALL);
    thread_check(stats_of(sleeper->pool).idle_thread > 0);
    pthread_barrier_wait(&sleeper->filled);
    pthread_barrier_wait(&sleeper->forked);
}

static int heir(void *arg)
{
    struct sleeper *sleeper = arg;
    bufferpool_buf_t *bufs[ALL];
    if (bufferpool_get_bulk(sleeper->pool, bufs, ALL) != 0)
        return 40;
    bufferpool_stats_t stats = stats_of(sleeper->pool);
    if (stats.live != ALL || stats.gets_fresh != ALL || stats.gets_bypass != 0)
        return 41;
    bufferpool_put_bulk(bufs, ALL);
    end_child(bufferpool_trim(sleeper->pool) > 0 && bufferpool_destroy(sleeper->pool) == 0 ? 0 : 42);
}

static void a_child_reuses_buffers_idle_in_dead_threads(void **state)
{
    (void)state;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = 512;
    config.max_live = ALL;
    struct sleeper sleeper = {.pool = bufferpool_create(&config)};
    assert_non_null(sleeper.pool);
    pthread_barrier_init(&sleeper.filled, NULL, 2);
    pthread_barrier_init(&sleeper.forked, NULL, 2);
    test_crew_t *crew = start_threads(1, fill_cache_and_sleep, &sleeper);
    pthread_barrier_wait(&sleeper.filled);
    const int status = run_in_child(heir, &sleeper, CHILD_SECONDS);
    pthread_barrier_wait(&sleeper.forked);
    join_threads(crew);
    pthread_barrier_destroy(&sleeper.filled);
    pthread_barrier_destroy(&sleeper.forked);
    assert_int_equal(status, 0);
    assert_int_equal(bufferpool_destroy(sleeper.pool), 0);
}

/* ---- a fork in the middle of a get ---- */

struct forking_hook {
    bufferpool_t *pool;
    unsigned allocations;
    int status; /* of the child */
};

/* The child sees what another thread of a parent would have left: one buffer that is held, whose get is not counted
 * yet. */
static int check_laws_in_child(void *pool)
{
    bufferpool_stats_t s = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(pool, &s);
    const uint64_t gets = s.gets_thread + s.gets_depot + s.gets_fresh + s.gets_bypass;
    const uint64_t puts = s.puts_kept + s.drops_oversize + s.drops_bypass + s.drops_over_cap + s.drops_idle_limit;
    return s.live == 1 && gets == puts + s.live + s.bypass_live ? 0 : 1;
}

static void *forking_alloc(size_t size, size_t align, void *ctx)
{
    struct forking_hook *hook = ctx;
    if (++hook->allocations == 2)
        hook->status = run_in_child(check_laws_in_child, hook->pool, CHILD_SECONDS);
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void forking_free(void *block, size_t size, void *ctx)
{
    (void)size;
    (void)ctx;
    free(block);
}

static void a_get_that_was_not_counted_yet_counts_in_the_child(void **state)
{
    (void)state;
    struct forking_hook hook = {.status = -1};
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.alloc = forking_alloc;
    config.free = forking_free;
    config.ctx = &hook;
    hook.pool = bufferpool_create(&config);
    assert_non_null(hook.pool);
    bufferpool_buf_t *bufs[2];
    assert_int_equal(bufferpool_get_bulk(hook.pool, bufs, 2), 0); /* counts when it has them all */
    assert_int_equal(hook.status, 0);
    bufferpool_put_bulk(bufs, 2);
    assert_int_equal(bufferpool_destroy(hook.pool), 0);
}

/* ---- what a child costs ---- */

enum { CAME = 100000, SMALL = 256 };

static volatile long *faults;

/* The page faults of a child up to where it has done nothing, or has used the pool for the first time. */
static long faults_of_child(bufferpool_t *used)
{
    long least = LONG_MAX;
    for (int i = 0; i < 5; i++) {
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct rusage usage;
            if (used != NULL)
                bufferpool_put(bufferpool_get(used));
            getrusage(RUSAGE_SELF, &usage);
            *faults = usage.ru_minflt;
            _exit(0);
        }
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        least = *faults < least ? *faults : least;
    }
    return least;
}

static void a_child_pays_for_what_there_is_when_it_uses_it(void **state)
{
    (void)state;
    if (test_instrumented())
        skip();
    static bufferpool_buf_t *bufs[CAME];
    faults = mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true((void *)faults != MAP_FAILED);
    const long before = faults_of_child(NULL);
    bufferpool_t *pools[50];
    for (size_t i = 0; i < 50; i++) {
        bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
        config.buffer_capacity = SMALL;
        pools[i] = bufferpool_create(&config);
        bufferpool_put(bufferpool_get(pools[i]));
    }
    const long unused = faults_of_child(NULL), few = faults_of_child(pools[0]);
    assert_int_equal(bufferpool_get_bulk(pools[0], bufs, CAME), 0);
    bufferpool_put_bulk(bufs, CAME);
    const long many = faults_of_child(NULL);
    (void)bufferpool_trim(pools[0]);
    bufferpool_put(bufferpool_get(pools[0]));
    const long after = faults_of_child(NULL), first_use = faults_of_child(pools[0]);
    print_message("page faults: %ld without pools, %ld with 50, %ld after a use; with %d buffers %ld; after those %ld, "
                  "%ld after a use\n",
                  before, unused, few, CAME, many, after, first_use);
    assert_in_range(unused, 0, before + 10);
    assert_in_range(many, 0, before + 10);
    assert_in_range(after, 0, before + 10);
    assert_in_range(few, 0, before + 40);
    assert_in_range(first_use, 0, few + 10);
    for (size_t i = 0; i < 50; i++)
        assert_int_equal(bufferpool_destroy(pools[i]), 0);
    munmap((void *)faults, sizeof *faults);
}

/* ---- children of children ---- */

struct generations {
    bufferpool_t *pools[3];
    bufferpool_buf_t *held[3];
    unsigned depth;
};

static bool hold_laws(const struct generations *all, size_t from)
{
    for (size_t p = from; p < 3; p++)
        if (!laws_hold(all->pools[p], NULL, 1) || !test_filled(all->held[p]->data, SMALL, p))
            return false;
    return true;
}

static void use_pool(bufferpool_t *pool)
{
    bufferpool_buf_t *bufs[20];
    for (size_t i = 0; i < 20; i++)
        bufs[i] = bufferpool_get(pool);
    for (size_t i = 0; i < 20; i++)
        bufferpool_put(bufs[i]);
}

/* Each generation uses one pool more than its parent did before it forked, and all after that. */
static int be_generation(void *arg)
{
    struct generations *all = arg;
    const unsigned depth = all->depth++;
    for (size_t p = 0; p < depth && p < 3; p++)
        use_pool(all->pools[p]);
    for (int children = 0; depth < 4 && children < 2; children++) {
        const int status = run_in_child(be_generation, all, CHILD_SECONDS);
        if (status != 0)
            return status;
    }
    if (!hold_laws(all, 0))
        return 50 + (int)depth;
    for (size_t p = 0; p < 3; p++)
        use_pool(all->pools[p]);
    if (!hold_laws(all, 0))
        return 60 + (int)depth;
    for (size_t p = 0; p < 3; p++)
        bufferpool_put(all->held[p]);
    for (size_t p = 0; p < 3; p++)
        if (!laws_hold(all->pools[p], NULL, 0) || bufferpool_destroy(all->pools[p]) != 0)
            return 70 + (int)depth;
    return 0;
}

static void children_of_children_use_it_before_and_after_they_fork(void **state)
{
    (void)state;
    struct generations all = {.depth = 0};
    for (size_t p = 0; p < 3; p++) {
        bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
        config.buffer_capacity = SMALL;
        config.thread_cache_bytes = (size_t)8 * SMALL;
        all.pools[p] = bufferpool_create(&config);
        use_pool(all.pools[p]);
        all.held[p] = bufferpool_get(all.pools[p]);
        test_fill(all.held[p]->data, SMALL, p);
    }
    assert_int_equal(run_in_child(be_generation, &all, CHILD_SECONDS), 0);
    assert_true(hold_laws(&all, 0));
    for (size_t p = 0; p < 3; p++) {
        bufferpool_put(all.held[p]);
        assert_int_equal(bufferpool_destroy(all.pools[p]), 0);
    }
}

/* ---- the thread that forked ---- */

static long forking_tid;

static char state_of_forking(void)
{
    char path[64], state = 'X';
    snprintf(path, sizeof path, "/proc/self/task/%ld/stat", forking_tid);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        (void)!fscanf(file, "%*d (%*[^)]) %c", &state);
        fclose(file);
    }
    return state;
}

static void *outlive_it(void *pool)
{
    while (state_of_forking() != 'Z' && state_of_forking() != 'X')
        sched_yield();
    use_pool(pool);
    use_pool(NULL);
    _exit(laws_hold(pool, NULL, 0) && stats_of(pool).thread_caches == 1 ? 0 : 80);
}

static int end_unused(void *pool)
{
    pthread_t thread;
    forking_tid = (long)gettid();
    if (pthread_create(&thread, NULL, outlive_it, pool) != 0)
        return 81;
    pthread_exit(NULL);
}

/* It has used no pool in the child when it ends there. */
static void the_thread_that_forked_may_end_in_the_child(void **state)
{
    (void)state;
    if (test_instrumented())
        skip(); /* they do not see that the main thread ended, or take threads of the child for ones of the parent, or
                 * take what its stack leads to for lost */
    bufferpool_t *pool = bufferpool_create(NULL);
    use_pool(pool);
    assert_int_equal(run_in_child(end_unused, pool, CHILD_SECONDS), 0);
    use_pool(pool);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static pthread_key_t late_key;
static int status_of_late;

static int use_late_in_child(void *pool)
{
    use_pool(pool);
    return laws_hold(pool, NULL, 0) && stats_of(pool).thread_caches == 0 ? 0 : 90;
}

static void fork_late(void *pool)
{
    status_of_late = run_in_child(use_late_in_child, pool, CHILD_SECONDS);
    use_pool(pool);
}

static void *leave_a_late_fork(void *pool)
{
    use_pool(pool);
    pthread_setspecific(late_key, pool);
    return NULL;
}

/* A destructor of thread-specific data, which runs after the library's: the thread has no cache any more, nor has it in
 * the child. */
static void a_thread_may_fork_while_it_ends(void **state)
{
    (void)state;
    bufferpool_t *pool = bufferpool_create(NULL);
    use_pool(pool); /* makes the library's key */
    bufferpool_thread_flush();
    pthread_t thread;
    assert_int_equal(pthread_key_create(&late_key, fork_late), 0);
    status_of_late = -1;
    assert_int_equal(pthread_create(&thread, NULL, leave_a_late_fork, pool), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_key_delete(late_key);
    assert_int_equal(status_of_late, 0);
    check_laws(pool, NULL, 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_pays_for_what_there_is_when_it_uses_it),
        cmocka_unit_test(children_of_children_use_it_before_and_after_they_fork),
        cmocka_unit_test(the_thread_that_forked_may_end_in_the_child),
        cmocka_unit_test(a_thread_may_fork_while_it_ends),
        cmocka_unit_test(a_get_that_was_not_counted_yet_counts_in_the_child),
        cmocka_unit_test(a_child_reuses_buffers_idle_in_dead_threads),
        cmocka_unit_test(parent_and_child_go_separate_ways),
        cmocka_unit_test(a_child_of_busy_threads_can_use_every_pool),
    };
    return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
