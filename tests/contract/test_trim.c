/* SPDX-License-Identifier: MIT
 *
 * test_trim.c - memory comes back
 *
 * Trim frees the buffers that idle in the depot and in the caches of all threads, and returns how many bytes those
 * were. The resident memory of the process falls back to what it was before a burst, in whatever order the buffers were
 * put and however pooled buffers and buffers beyond the cap were mixed. A lowered cap frees the surplus at once. By
 * itself the pool frees the buffers that its depot did not need.
 */
#include "support/laws.h"

#include <time.h>

enum { CAPACITY = 4096, CACHED = 8, BURST = 3000 };

static void trim_frees_depot_and_own_cache(void **state)
{
    enum { N = 30 };
    bufferpool_buf_t *bufs[N];
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_caching(&blocks, CAPACITY, CACHED);
    assert_int_equal(bufferpool_trim(pool), 0);
    for (uint64_t round = 1; round <= 3; round++) {
        assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
        for (size_t i = 0; i < N; i++)
            bufferpool_put(bufs[i]);
        assert_true(stats_of(pool).idle_thread > 0 && stats_of(pool).idle_depot > 0);
        const size_t frees = atomic_load(&blocks.frees);
        assert_int_equal(bufferpool_trim(pool), N * CAPACITY);
        assert_int_equal(atomic_load(&blocks.frees), frees + N);
        assert_int_equal(atomic_load(&blocks.count), 0);
        assert_int_equal(stats_of(pool).reclaimed_bytes, round * N * CAPACITY);
        check_laws(pool, &blocks, 0);
        assert_int_equal(bufferpool_trim(pool), 0);
    }
    destroy_empty(pool, &blocks);
}

static void trim_leaves_what_is_held(void **state)
{
    enum { N = 10 };
    bufferpool_buf_t *bufs[N];
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_caching(&blocks, CAPACITY, CACHED);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
    for (size_t i = 0; i < N; i++)
        test_fill(bufs[i]->data, bufs[i]->cap, i);
    for (size_t i = 0; i < N; i += 2)
        bufferpool_put(bufs[i]);
    assert_int_equal(bufferpool_trim(pool), N / 2 * CAPACITY);
    for (size_t i = 1; i < N; i += 2)
        assert_true(test_filled(bufs[i]->data, bufs[i]->cap, i));
    check_laws(pool, &blocks, N / 2);
    for (size_t i = 1; i < N; i += 2)
        bufferpool_put(bufs[i]);
    destroy_empty(pool, &blocks);
}

struct keeper {
    bufferpool_t *pool;
    pthread_barrier_t barrier;
    uint64_t own;
};

static void keep_in_cache(void *arg, unsigned index)
{
    struct keeper *keeper = arg;
    bufferpool_buf_t *bufs[3];
    (void)index;
    thread_check(bufferpool_get_bulk(keeper->pool, bufs, 3) == 0);
    bufferpool_put_bulk(bufs, 3);
    pthread_barrier_wait(&keeper->barrier); /* trimmed by the main thread */
    pthread_barrier_wait(&keeper->barrier);
    keeper->own = bufferpool_trim(keeper->pool);
}

static void trim_frees_caches_of_other_threads(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    test_blocks_t blocks = {0};
    struct keeper keeper = {.pool = pool_caching(&blocks, CAPACITY, CACHED)};
    assert_int_equal(pthread_barrier_init(&keeper.barrier, NULL, 2), 0);
    test_crew_t *crew = start_threads(1, keep_in_cache, &keeper);
    pthread_barrier_wait(&keeper.barrier);
    bufferpool_put(bufferpool_get(keeper.pool)); /* at no cap: one more, and that is what trim finds here */
    const size_t here = bufferpool_trim(keeper.pool);
    const bool fine = laws_hold(keeper.pool, &blocks, 0);
    const uint64_t there = stats_of(keeper.pool).idle_thread;
    pthread_barrier_wait(&keeper.barrier);
    join_threads(crew);
    assert_true(fine);
    assert_int_equal(here, 4 * CAPACITY);
    assert_int_equal(there, 0);
    assert_int_equal(keeper.own, 0);
    assert_int_equal(stats_of(keeper.pool).stolen, 3);
    destroy_empty(keeper.pool, &blocks);
    pthread_barrier_destroy(&keeper.barrier);
}

/* Of the depot first; of caches, whosever they are, only if that has too few. */
static void trim_some_stops_after_so_many_bytes(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_caching(&blocks, CAPACITY, CACHED);
    bufferpool_buf_t *bufs[20];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 20), 0);
    bufferpool_put_bulk(bufs, 10);
    bufferpool_thread_flush();
    bufferpool_put_bulk(bufs + 10, 2);
    assert_true(stats_of(pool).idle_depot == 10 && stats_of(pool).idle_thread == 2);
    assert_int_equal(bufferpool_trim_some(pool, 0), 0);
    errno = 77;
    assert_int_equal(bufferpool_trim_some(pool, 1), CAPACITY);
    assert_int_equal(errno, 77);
    assert_int_equal(bufferpool_trim_some(pool, 3 * CAPACITY), 3 * CAPACITY);
    assert_int_equal(bufferpool_trim_some(pool, 5 * CAPACITY - 1), 5 * CAPACITY);
    assert_true(stats_of(pool).idle_depot == 1 && stats_of(pool).idle_thread == 2);
    assert_int_equal(stats_of(pool).reclaimed_bytes, 9 * CAPACITY);
    check_laws(pool, &blocks, 8);
    assert_int_equal(bufferpool_trim_some(pool, 2 * CAPACITY), 2 * CAPACITY); /* one is in the cache */
    assert_int_equal(idle_of(&(bufferpool_stats_t){.idle_depot = stats_of(pool).idle_depot,
                                                   .idle_thread = stats_of(pool).idle_thread}),
                     1);
    assert_int_equal(bufferpool_trim_some(pool, SIZE_MAX), CAPACITY);
    assert_int_equal(bufferpool_trim_some(pool, SIZE_MAX), 0);
    check_laws(pool, &blocks, 8);
    bufferpool_put_bulk(bufs + 12, 8);
    assert_int_equal(bufferpool_trim(pool), 8 * CAPACITY);
    destroy_empty(pool, &blocks);
}

/* What trim gives back beside idle buffers. */
static void trim_some_gives_retained_memory_back_first(void **state)
{
    (void)state;
    bufferpool_t *pool = bufferpool_create(BUFFERPOOL_CONFIG(.max_live = 4, .reclaim_interval_ms = BUFFERPOOL_NEVER));
    bufferpool_buf_t *bufs[20];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 20), 0);
    bufferpool_put_bulk(bufs, 20); /* 16 are freed, of which the memory stays */
    const uint64_t idle = stats_of(pool).idle_bytes;
    assert_int_equal(idle, 4 * 32768);
    assert_in_range(bufferpool_trim_some(pool, 3 * 32768), 3 * 32768, 4 * 32768);
    assert_int_equal(stats_of(pool).idle_bytes, idle);
    const size_t rest = bufferpool_trim_some(pool, SIZE_MAX);
    assert_in_range(rest, 16 * 32768, 17 * 33000);
    assert_int_equal(stats_of(pool).idle_bytes, 0);
    assert_int_equal(stats_of(pool).reclaimed_bytes, idle);
    assert_int_equal(bufferpool_trim_some(pool, SIZE_MAX), 0);
    check_laws(pool, NULL, 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void trim_and_use(void *arg, unsigned index)
{
    bufferpool_t *pool = arg;
    const size_t turns = test_scale(3000, 200);
    for (size_t turn = 0; turn < turns; turn++) {
        bufferpool_buf_t *bufs[4];
        if (!thread_check(bufferpool_get_bulk(pool, bufs, 4) == 0))
            return;
        for (size_t i = 0; i < 4; i++)
            memset(bufs[i]->data, (int)(index * 4 + i), CAPACITY);
        for (size_t i = 0; i < 4; i++)
            thread_check(bufs[i]->data[CAPACITY - 1] == index * 4 + i);
        bufferpool_put_bulk(bufs, 4);
        if (turn % 8 >= index)
            bufferpool_trim(pool);
        else
            (void)bufferpool_trim_some(pool, 3 * CAPACITY);
    }
}

static void trims_may_run_at_once(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_caching(&blocks, CAPACITY, CACHED);
    run_threads(8, trim_and_use, pool);
    check_laws(pool, &blocks, 0);
    const bufferpool_stats_t stats = stats_of(pool);
    assert_int_equal(bufferpool_trim(pool), stats.idle_bytes);
    assert_int_equal(stats_of(pool).reclaimed_bytes, atomic_load(&blocks.frees) * CAPACITY);
    destroy_empty(pool, &blocks);
}

static void a_lowered_cap_frees_idle_surplus_at_once(void **state)
{
    enum { N = 20 };
    bufferpool_buf_t *bufs[N];
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_caching(&blocks, CAPACITY, CACHED);
    bufferpool_set_max_live(pool, N);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
    for (size_t i = 2; i < N; i++)
        bufferpool_put(bufs[i]);
    bufferpool_set_max_live(pool, 10); /* 2 held and 18 idle, so 8 too many */
    assert_int_equal(atomic_load(&blocks.count), 10);
    assert_int_equal(stats_of(pool).reclaimed_bytes, 10 * CAPACITY);
    check_laws(pool, &blocks, 2);
    bufferpool_set_max_live(pool, 1);
    assert_int_equal(atomic_load(&blocks.count), 2);
    check_laws(pool, &blocks, 2);
    bufferpool_put(bufs[0]);
    bufferpool_put(bufs[1]);
    assert_int_equal(atomic_load(&blocks.count), 1);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

/* ---- resident memory ---- */

static bufferpool_buf_t *burst[BURST];

static void shuffle(test_random_t *random)
{
    for (size_t i = BURST - 1; i > 0; i--) {
        const size_t k = test_random_below(random, i + 1);
        bufferpool_buf_t *swap = burst[i];
        burst[i] = burst[k];
        burst[k] = swap;
    }
}

static void resident_memory_falls_back(size_t cap, bool grow)
{
    if (test_instrumented())
        skip();
    test_random_t random = {cap};
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.max_live = cap;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    bufferpool_put(bufferpool_get(pool));
    memset(burst, 0, sizeof burst);
    shuffle(&random);
    const size_t before = test_resident_bytes();
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < BURST; i++) {
            assert_non_null(burst[i] = bufferpool_get(pool));
            if (grow && i % 5 == 0)
                assert_int_equal(bufferpool_buf_reserve(burst[i], 50000 + i % 100 * 1000), 0);
            memset(burst[i]->data, 1, burst[i]->cap);
        }
        assert_true(test_resident_bytes() >= before + (size_t)BURST * 32768);
        shuffle(&random);
        for (size_t i = 0; i < BURST; i++)
            bufferpool_put(burst[i]);
        bufferpool_trim(pool);
        const size_t after = test_resident_bytes();
        const size_t more = after > before ? after - before : 0;
        assert_in_range(more, 0, 2 * 1024 * 1024);
        check_laws(pool, NULL, 0);
    }
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void a_burst_is_given_back(void **state)
{
    (void)state;
    resident_memory_falls_back(0, false);
}

static void a_burst_with_buffers_beyond_the_cap_is_given_back(void **state)
{
    (void)state;
    resident_memory_falls_back(BURST / 2, false);
}

static void a_burst_of_grown_buffers_is_given_back(void **state)
{
    (void)state;
    resident_memory_falls_back(0, true);
}

/* ---- reclaim ---- */

static bufferpool_t *pool_with_idle_depot(test_blocks_t *blocks, unsigned interval_ms)
{
    enum { N = 200 };
    bufferpool_buf_t *bufs[N];
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.reclaim_interval_ms = interval_ms;
    config.thread_cache_bytes = 4 * CAPACITY;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
    bufferpool_put_bulk(bufs, N);
    bufferpool_thread_flush();
    return pool;
}

static void reclaim_frees_what_the_depot_did_not_need(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_idle_depot(&blocks, 1);
    const time_t start = time(NULL);
    while (atomic_load(&blocks.count) > 10 && time(NULL) - start < 60) { /* ends long before, if it works at all */
        bufferpool_buf_t *buf = bufferpool_get(pool);
        assert_non_null(buf);
        bufferpool_put(buf);
        bufferpool_thread_flush(); /* so that the next get has business with the depot */
    }
    assert_true(atomic_load(&blocks.count) <= 10);
    assert_true(stats_of(pool).reclaimed_bytes >= 100 * CAPACITY);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

static void reclaim_never_means_never(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_idle_depot(&blocks, BUFFERPOOL_NEVER);
    const size_t turns = test_scale(200000, 5000);
    for (size_t turn = 0; turn < turns; turn++) {
        bufferpool_put(bufferpool_get(pool));
        bufferpool_thread_flush();
    }
    assert_int_equal(atomic_load(&blocks.count), 200);
    assert_int_equal(stats_of(pool).reclaimed_bytes, 0);
    destroy_empty(pool, &blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_is_given_back),
        cmocka_unit_test(a_burst_with_buffers_beyond_the_cap_is_given_back),
        cmocka_unit_test(a_burst_of_grown_buffers_is_given_back),
        cmocka_unit_test(trim_frees_depot_and_own_cache),
        cmocka_unit_test(trim_leaves_what_is_held),
        cmocka_unit_test(trim_frees_caches_of_other_threads),
        cmocka_unit_test(trim_some_stops_after_so_many_bytes),
        cmocka_unit_test(trim_some_gives_retained_memory_back_first),
        cmocka_unit_test(trims_may_run_at_once),
        cmocka_unit_test(a_lowered_cap_frees_idle_surplus_at_once),
        cmocka_unit_test(reclaim_frees_what_the_depot_did_not_need),
        cmocka_unit_test(reclaim_never_means_never),
    };
    return cmocka_run_group_tests_name("trim", tests, NULL, NULL);
}
