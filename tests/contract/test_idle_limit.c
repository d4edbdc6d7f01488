/* SPDX-License-Identifier: MIT
 *
 * test_idle_limit.c - max_idle_bytes
 *
 * The bytes of idle buffers never exceed the limit: a put that would exceed it frees the buffer, and counts it. One
 * thread checks this after each put, with grown buffers of many sizes. With eight threads the pool's own allocator
 * checks it: if at most LIMIT buffers idle and each thread holds at most HELD, then no more than the sum can exist at
 * any moment. The peak of the allocator's count shows how many did.
 */
#include "support/laws.h"

enum { CAPACITY = 1024, LIMIT = 10, THREADS = 8, HELD = 6 };

static bufferpool_t *pool_with_limit(test_blocks_t *blocks, size_t limit, size_t cached)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = cached * CAPACITY;
    config.max_idle_bytes = limit;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static void one_thread_never_exceeds_the_limit(void **state)
{
    enum { N = 3 * LIMIT };
    bufferpool_buf_t *bufs[N];
    (void)state;
    for (size_t cached = 1; cached <= 64; cached *= 4) {
        test_blocks_t blocks = {0};
        bufferpool_t *pool = pool_with_limit(&blocks, LIMIT * CAPACITY, cached);
        for (uint64_t round = 1; round <= 3; round++) {
            assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
            for (size_t i = 0; i < N; i++) {
                bufferpool_put(bufs[i]);
                const bufferpool_stats_t stats = stats_of(pool);
                const size_t idle = i + 1 < LIMIT ? i + 1 : LIMIT;
                assert_int_equal(idle_of(&stats), idle);
                assert_int_equal(stats.idle_bytes, idle * CAPACITY);
            }
            assert_int_equal(stats_of(pool).drops_idle_limit, round * (N - LIMIT));
            check_laws(pool, &blocks, 0);
        }
        bufferpool_trim(pool); /* makes room again */
        assert_int_equal(stats_of(pool).idle_bytes, 0);
        assert_int_equal(bufferpool_get_bulk(pool, bufs, LIMIT), 0);
        bufferpool_put_bulk(bufs, LIMIT);
        assert_int_equal(stats_of(pool).drops_idle_limit, 3 * (N - LIMIT));
        destroy_empty(pool, &blocks);
    }
}

static void grown_buffers_count_with_their_bytes(void **state)
{
    enum { N = 8 };
    bufferpool_buf_t *bufs[N];
    test_random_t random = {3};
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_limit(&blocks, 20 * CAPACITY, 16);
    const size_t rounds = test_scale(500, 50);
    uint64_t kept = 0;
    uint64_t dropped = 0;
    for (size_t round = 0; round < rounds; round++) {
        assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
        for (size_t i = 0; i < N; i++) {
            if (i % 2 == 0)
                continue;
            assert_int_equal(bufferpool_buf_reserve(bufs[i], test_random_below(&random, 12 * CAPACITY)), 0);
        }
        for (size_t i = 0; i < N; i++) {
            const size_t cap = bufs[i]->cap;
            bufs[i]->len = cap; /* used well, so that it keeps its size */
            const uint64_t before = stats_of(pool).idle_bytes;
            const bool fits = before + cap <= 20 * CAPACITY;
            bufferpool_put(bufs[i]);
            kept += fits;
            dropped += !fits;
            assert_int_equal(stats_of(pool).idle_bytes, fits ? before + cap : before);
        }
        assert_int_equal(stats_of(pool).puts_kept, kept);
        assert_int_equal(stats_of(pool).drops_idle_limit, dropped);
        check_laws(pool, &blocks, 0);
        if (round % 10 == 9)
            bufferpool_thread_flush();
        if (round % 20 == 19)
            bufferpool_trim(pool);
    }
    assert_true(kept > 0 && dropped > 0);
    destroy_empty(pool, &blocks);
}

static void a_limit_below_one_buffer_keeps_none(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_limit(&blocks, CAPACITY - 1, 8);
    for (uint64_t i = 1; i <= 5; i++) {
        bufferpool_put(bufferpool_get(pool));
        assert_int_equal(stats_of(pool).drops_idle_limit, i);
        assert_int_equal(atomic_load(&blocks.count), 0);
    }
    destroy_empty(pool, &blocks);
}

struct load {
    bufferpool_t *pool;
    size_t turns;
    bool grow;
    pthread_barrier_t all_hold;
};

static void fill_and_empty(void *arg, unsigned index)
{
    struct load *load = arg;
    bufferpool_buf_t *held[HELD];
    test_random_t random = {index};
    for (size_t turn = 0; turn < load->turns; turn++) {
        const bool together = turn % 16 == 0; /* all hold all they may, then put: more than may idle */
        const size_t n = together ? HELD : 1 + test_random_below(&random, HELD);
        if (turn % 3 == 0) {
            thread_check(bufferpool_get_bulk(load->pool, held, n) == 0);
        } else {
            for (size_t i = 0; i < n; i++)
                held[i] = bufferpool_get(load->pool);
        }
        for (size_t i = 0; i < n; i++) {
            if (!thread_check(held[i] != NULL))
                abort();
            memset(held[i]->data, (int)index, CAPACITY);
            if (load->grow && i == 2) {
                thread_check(bufferpool_buf_reserve(held[i], test_random_below(&random, 5 * CAPACITY)) == 0);
            }
        }
        if (together)
            pthread_barrier_wait(&load->all_hold);
        for (size_t i = 0; i < n; i++)
            bufferpool_put(held[i]);
        if (turn % 40 == index)
            bufferpool_thread_flush();
    }
}

static void eight_threads_never_exceed_the_limit(void **state)
{
    (void)state;
    for (size_t cached = 1; cached <= 16; cached *= 4) {
        test_blocks_t blocks = {0};
        struct load load = {.pool = pool_with_limit(&blocks, LIMIT * CAPACITY, cached), .turns = test_scale(1500, 60)};
        const size_t rounds = test_scale(8, 3);
        assert_int_equal(pthread_barrier_init(&load.all_hold, NULL, THREADS), 0);
        for (size_t round = 0; round < rounds; round++) {
            run_threads(THREADS, fill_and_empty, &load);
            assert_true(stats_of(load.pool).idle_bytes <= LIMIT * CAPACITY);
            assert_true(atomic_load(&blocks.count) <= LIMIT);
            check_laws(load.pool, &blocks, 0);
        }
        assert_in_range(atomic_load(&blocks.peak), 1, LIMIT + THREADS * HELD);
        assert_true(stats_of(load.pool).drops_idle_limit > 0);
        destroy_empty(load.pool, &blocks);
        pthread_barrier_destroy(&load.all_hold);
    }
}

static void eight_threads_with_grown_buffers_end_within_the_limit(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct load load = {
        .pool = pool_with_limit(&blocks, LIMIT * CAPACITY, 4), .turns = test_scale(1500, 60), .grow = true};
    const size_t rounds = test_scale(8, 3);
    assert_int_equal(pthread_barrier_init(&load.all_hold, NULL, THREADS), 0);
    for (size_t round = 0; round < rounds; round++) {
        run_threads(THREADS, fill_and_empty, &load);
        assert_true(stats_of(load.pool).idle_bytes <= LIMIT * CAPACITY);
        check_laws(load.pool, &blocks, 0);
    }
    assert_true(stats_of(load.pool).drops_idle_limit > 0);
    destroy_empty(load.pool, &blocks);
    pthread_barrier_destroy(&load.all_hold);
}

/* Without max_idle_bytes, the cap and max_capacity bound the idle bytes. Callers that grow their buffers reach that. */
static void the_cap_times_max_capacity_bounds_idle_bytes(void **state)
{
    enum { N = 8, MOST = 4 * CAPACITY };
    bufferpool_buf_t *bufs[N];
    test_random_t random = {7};
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.max_capacity = MOST;
    config.max_live = N;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    for (size_t round = 0; round < 50; round++) {
        for (size_t i = 0; i < N; i++) {
            bufs[i] = bufferpool_try_get(pool);
            assert_non_null(bufs[i]);
            assert_int_equal(bufferpool_buf_reserve(bufs[i], 1 + test_random_below(&random, (size_t)2 * MOST)), 0);
        }
        bufferpool_put_bulk(bufs, N);
        assert_true(stats_of(pool).idle_bytes <= (uint64_t)N * MOST);
    }
    bufferpool_trim(pool);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(bufferpool_buf_reserve(bufs[i], MOST), 0);
    bufferpool_put_bulk(bufs, N);
    assert_int_equal(stats_of(pool).idle_bytes, (uint64_t)N * MOST);
    destroy_empty(pool, &blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread_never_exceeds_the_limit),
        cmocka_unit_test(grown_buffers_count_with_their_bytes),
        cmocka_unit_test(a_limit_below_one_buffer_keeps_none),
        cmocka_unit_test(eight_threads_never_exceed_the_limit),
        cmocka_unit_test(eight_threads_with_grown_buffers_end_within_the_limit),
        cmocka_unit_test(the_cap_times_max_capacity_bounds_idle_bytes),
    };
    return cmocka_run_group_tests_name("idle_limit", tests, NULL, NULL);
}
