/* SPDX-License-Identifier: MIT
 *
 * test_cap.c - the cap is exact
 *
 * No more than max_live pooled buffers exist at any moment, from any number of threads. The pool's own block allocator
 * counts them, so that the test believes no figure of the library. A get at the cap goes beyond it, and a million such
 * gets leave no drift. A lowered cap takes nothing from callers and frees the surplus as it comes back; under a raised
 * cap the pool grows again. live is exact when no call runs, with a cap and without, and close to exact while threads
 * run.
 */
#include "support/laws.h"

enum { THREADS = 24, HELD = 4 };

struct load {
    bufferpool_t *pool;
    test_blocks_t *blocks;
    size_t turns;
    bool grow;
    bool trim;
    bool bulk;
    atomic_size_t done;
    atomic_size_t refused;
    atomic_size_t puts;
};

static void stamp(bufferpool_buf_t *buf, uint64_t with)
{
    memcpy(buf->data, &with, sizeof with);
    buf->len = sizeof with;
}

static void put_stamped(struct load *load, bufferpool_buf_t *buf, uint64_t with)
{
    thread_check(memcmp(buf->data, &with, sizeof with) == 0);
    bufferpool_put(buf);
    atomic_fetch_add(&load->puts, 1);
}

static bufferpool_t *pool_with_cap(test_blocks_t *blocks, size_t cap, size_t cached)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = 256;
    config.max_capacity = 64 * 1024;
    config.thread_cache_bytes = 256 * cached;
    config.max_live = cap;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static void hammer_try_get(void *arg, unsigned index)
{
    struct load *load = arg;
    bufferpool_buf_t *held[HELD] = {NULL};
    test_random_t random = {index};
    for (size_t turn = 0; turn < load->turns; turn++) {
        const size_t i = test_random_below(&random, HELD);
        const uint64_t mine = (uint64_t)index << 32 | i;
        if (held[i] != NULL) {
            put_stamped(load, held[i], mine);
            held[i] = NULL;
        } else {
            held[i] = bufferpool_try_get(load->pool);
            if (held[i] == NULL) {
                thread_check(errno == EAGAIN);
                atomic_fetch_add(&load->refused, 1);
                continue;
            }
            stamp(held[i], mine);
            if (load->grow && turn % 64 == 0)
                thread_check(bufferpool_buf_reserve(held[i], 300 + turn % 9000) == 0);
        }
        if (load->trim && test_random_below(&random, 50) == 0)
            bufferpool_trim(load->pool);
        if (test_random_below(&random, 200) == 0)
            bufferpool_thread_flush();
    }
    for (size_t i = 0; i < HELD; i++) {
        if (held[i] != NULL)
            put_stamped(load, held[i], (uint64_t)index << 32 | i);
    }
}

static void hammered_pool_stays_within(size_t cap, bool grow, bool trim)
{
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, cap, 4);
    struct load load = {.pool = pool, .turns = test_scale(20000, 400), .grow = grow, .trim = trim};
    run_threads(THREADS, hammer_try_get, &load);
    const bufferpool_stats_t stats = stats_of(pool);
    assert_int_equal(stats.gets_refused, atomic_load(&load.refused));
    assert_int_equal(stats.gets_bypass, 0);
    assert_int_equal(sum_of_puts(&stats), atomic_load(&load.puts));
    assert_true(stats.peak_in_flight <= cap);
    /* growing needs the new block beside the old one for a moment */
    assert_in_range(atomic_load(&blocks.peak), 1, grow ? cap + THREADS : cap);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

static void pooled_buffers_in_existence_never_exceed_the_cap(void **state)
{
    (void)state;
    hammered_pool_stays_within(1, false, false);
    hammered_pool_stays_within(7, false, false);
    hammered_pool_stays_within(30, false, false);
    hammered_pool_stays_within(90, false, false);
}

static void the_cap_holds_while_buffers_are_freed_and_made(void **state)
{
    (void)state;
    hammered_pool_stays_within(3, false, true);
    hammered_pool_stays_within(30, false, true);
}

static void the_cap_holds_while_buffers_grow(void **state)
{
    (void)state;
    hammered_pool_stays_within(30, true, false);
}

static void hammer_get(void *arg, unsigned index)
{
    struct load *load = arg;
    bufferpool_buf_t *held[8] = {NULL};
    test_random_t random = {index + 100};
    for (size_t turn = 0; turn < load->turns; turn++) {
        const size_t n = 1 + test_random_below(&random, HELD);
        if (load->bulk && test_random_below(&random, 4) == 0) {
            thread_check(bufferpool_get_bulk(load->pool, held, n) == 0);
        } else {
            for (size_t i = 0; i < n; i++)
                held[i] = bufferpool_get(load->pool);
        }
        for (size_t i = 0; i < n; i++) {
            if (!thread_check(held[i] != NULL))
                return;
            stamp(held[i], (uint64_t)index << 32 | i);
        }
        if (load->grow && turn % 50 == 0)
            thread_check(bufferpool_buf_reserve(held[0], 300 + turn % 9000) == 0);
        for (size_t i = 0; i < n; i++)
            put_stamped(load, held[i], (uint64_t)index << 32 | i);
    }
    atomic_fetch_add(&load->done, 1);
}

static void buffers_beyond_the_cap_leave_live_without_drift(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 20, 4);
    struct load load = {.pool = pool, .turns = test_scale(8000, 300), .grow = true, .bulk = true};
    for (int round = 0; round < 3; round++) {
        run_threads(THREADS, hammer_get, &load);
        const bufferpool_stats_t stats = stats_of(pool);
        assert_int_equal(stats.live, 0);
        assert_int_equal(stats.bypass_live, 0);
        assert_true(idle_of(&stats) <= 20);
        assert_int_equal(stats.drops_bypass, 0);
        assert_int_equal(sum_of_puts(&stats), atomic_load(&load.puts));
        check_laws(pool, &blocks, 0);
    }
    bufferpool_buf_t *bufs[20]; /* all the twenty can still be had */
    bufferpool_thread_flush();
    for (int i = 0; i < 20; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    assert_null(bufferpool_try_get(pool));
    bufferpool_put_bulk(bufs, 20);
    destroy_empty(pool, &blocks);
}

static void a_pool_is_busy_until_the_last_of_its_buffers_is_put(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 1, 1);
    bufferpool_buf_t *first = bufferpool_get(pool), *beyond = bufferpool_get(pool);
    assert_int_equal(stats_of(pool).bypass_live, 1);
    assert_int_equal(bufferpool_destroy(pool), EBUSY);
    bufferpool_put(first); /* which of the two was made beyond the cap does not matter */
    assert_int_equal(bufferpool_live(pool), 1);
    assert_int_equal(stats_of(pool).bypass_live, 0);
    assert_int_equal(bufferpool_destroy(pool), EBUSY);
    beyond->data[0] = 1;
    check_laws(pool, &blocks, 1);
    bufferpool_put(beyond);
    destroy_empty(pool, &blocks);
}

static void a_million_gets_beyond_the_cap_leave_no_drift(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    const size_t n = test_scale(1000000, 20000);
    bufferpool_t *pool = pool_with_cap(&blocks, 2, 1);
    bufferpool_buf_t *bufs[2] = {bufferpool_get(pool), bufferpool_get(pool)};
    for (size_t i = 0; i < n; i++)
        bufferpool_put(bufferpool_get(pool));
    const bufferpool_stats_t stats = stats_of(pool);
    /* once the thread has a ticket, its one buffer beyond the cap idles between a put and the next get */
    assert_in_range(stats.gets_bypass, 1, n);
    assert_int_equal(stats.gets_bypass + stats.gets_thread, n);
    assert_in_range(idle_of(&stats), 0, 1);
    assert_int_equal(stats.drops_over_cap, stats.gets_bypass - idle_of(&stats));
    assert_int_equal(stats.peak_in_flight, 3);
    assert_int_equal(stats.live, 2);
    assert_int_equal(stats.bypass_live, 0);
    check_laws(pool, &blocks, 2);
    bufferpool_put_bulk(bufs, 2);
    assert_int_equal(bufferpool_live(pool), 0);
    destroy_empty(pool, &blocks);
}

/* Threads that together never want more than the cap never meet it, wherever the idle buffers are. */
static void no_get_goes_beyond_the_cap_while_threads_want_no_more(void **state)
{
    enum { N = 6, CACHED = 8 };
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, N * HELD, CACHED);
    struct load load = {.pool = pool, .turns = test_scale(60000, 1500)};
    bufferpool_buf_t *bufs[CACHED];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, CACHED), 0);
    bufferpool_put_bulk(bufs, CACHED); /* lie in the cache of this thread, which only waits now */
    run_threads(N, hammer_get, &load);
    if (test_can_steal())
        assert_int_equal(stats_of(pool).gets_bypass, 0);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);

    pool = pool_with_cap(&blocks, 0, CACHED);
    load.pool = pool;
    load.bulk = true;
    run_threads(N, hammer_get, &load);
    assert_int_equal(stats_of(pool).gets_bypass, 0);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

static void hammer_while_it_changes(void *arg, unsigned index)
{
    static const size_t caps[] = {40, 8, 1, 100, 0, 16, 60, 5};
    struct load *load = arg;
    if (index > 0) {
        hammer_get(load, index);
        return;
    }
    for (size_t i = 0; atomic_load(&load->done) < 8; i++) {
        bufferpool_set_max_live(load->pool, caps[i % 8]);
        thread_check(bufferpool_max_live(load->pool) == caps[i % 8]);
        if (i % 3 == 0)
            bufferpool_trim(load->pool);
    }
}

static void the_cap_may_change_while_threads_run(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    for (int round = 0; round < 5; round++) {
        bufferpool_t *pool = pool_with_cap(&blocks, 50, 4);
        struct load load = {.pool = pool, .turns = test_scale(5000, 200), .bulk = true};
        run_threads(9, hammer_while_it_changes, &load);
        check_laws(pool, &blocks, 0);
        bufferpool_set_max_live(pool, 5);
        bufferpool_trim(pool);
        assert_true(atomic_load(&blocks.count) <= 5);
        check_laws(pool, &blocks, 0);
        destroy_empty(pool, &blocks);
    }
}

static void a_lowered_cap_takes_no_held_buffer_and_frees_the_surplus_on_put(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 10, 8);
    bufferpool_buf_t *bufs[10];
    for (size_t i = 0; i < 10; i++)
        stamp(bufs[i] = bufferpool_get(pool), i);
    bufferpool_set_max_live(pool, 3);
    check_laws(pool, &blocks, 10);
    assert_int_equal(bufferpool_live(pool), 3);
    assert_int_equal(stats_of(pool).bypass_live, 7);
    assert_null(bufferpool_try_get(pool));
    for (size_t i = 0; i < 10; i++) {
        assert_memory_equal(bufs[i]->data, &(uint64_t){i}, 8);
        bufferpool_put(bufs[i]);
        const size_t pooled = 10 - (i + 1) > 3 ? 10 - (i + 1) : 3;
        assert_int_equal(atomic_load(&blocks.count), pooled);
        check_laws(pool, &blocks, 9 - i);
    }
    assert_int_equal(stats_of(pool).drops_over_cap, 7);
    assert_int_equal(stats_of(pool).puts_kept, 3);

    bufferpool_set_max_live(pool, 6);
    for (int i = 0; i < 6; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    assert_null(bufferpool_try_get(pool));
    bufferpool_set_max_live(pool, 0); /* none: */
    for (int i = 6; i < 10; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    bufferpool_put_bulk(bufs, 10);
    assert_int_equal(stats_of(pool).gets_bypass, 0);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

/* ---- the same without luck ---- */

static void failed_gets_use_up_nothing_of_the_cap(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 3, 4);
    bufferpool_buf_t *bufs[3];
    test_blocks_fail(&blocks, 0, SIZE_MAX);
    for (int i = 0; i < 5; i++) {
        assert_null(bufferpool_get(pool));
        assert_null(bufferpool_try_get(pool));
        assert_int_equal(bufferpool_get_bulk(pool, bufs, 2), ENOMEM);
    }
    test_blocks_fail_none(&blocks);
    for (int i = 0; i < 3; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    assert_null(bufferpool_try_get(pool));
    bufferpool_put_bulk(bufs, 3);
    destroy_empty(pool, &blocks);
}

static pthread_barrier_t freeing;
static bufferpool_t *full_pool;

static void wait_while_freeing(test_blocks_t *blocks, const unsigned char *block, size_t size)
{
    (void)blocks, (void)block, (void)size;
    pthread_barrier_wait(&freeing); /* another thread tries to get one, */
    pthread_barrier_wait(&freeing); /* and only then this block is freed */
}

static void free_or_try(void *arg, unsigned index)
{
    (void)arg;
    if (index == 0) {
        bufferpool_trim(full_pool);
    } else {
        pthread_barrier_wait(&freeing);
        thread_check(bufferpool_try_get(full_pool) == NULL && errno == EAGAIN);
        pthread_barrier_wait(&freeing);
    }
}

static void a_buffer_counts_until_its_block_is_freed(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    full_pool = pool_with_cap(&blocks, 1, 4);
    bufferpool_put(bufferpool_get(full_pool));
    bufferpool_thread_flush();
    blocks.on_free = wait_while_freeing;
    assert_int_equal(pthread_barrier_init(&freeing, NULL, 2), 0);
    run_threads(2, free_or_try, NULL);
    // cppcheck-suppress redundantAssignment ; the threads call it
    blocks.on_free = NULL;
    assert_int_equal(atomic_load(&blocks.peak), 1);
    bufferpool_buf_t *buf = bufferpool_try_get(full_pool); /* now there is room */
    assert_non_null(buf);
    bufferpool_put(buf);
    destroy_empty(full_pool, &blocks);
    pthread_barrier_destroy(&freeing);
}

static void sample_live(void *arg, unsigned index)
{
    struct load *load = arg;
    if (index > 0) {
        hammer_get(load, index);
        return;
    }
    while (atomic_load(&load->done) < 8) { /* eight threads with HELD buffers each at most */
        thread_check(bufferpool_live(load->pool) <= 8 * HELD + 8);
        thread_check(stats_of(load->pool).live <= 8 * HELD + 8);
    }
}

static void live_is_close_while_threads_run_and_exact_after(void **state)
{
    (void)state;
    for (size_t cap = 0; cap <= 12; cap += 12) {
        test_blocks_t blocks = {0};
        bufferpool_t *pool = pool_with_cap(&blocks, cap, 2);
        bufferpool_buf_t *mine[3];
        struct load load = {.pool = pool, .turns = test_scale(30000, 500)};
        run_threads(9, sample_live, &load);
        assert_int_equal(bufferpool_live(pool), 0);
        bufferpool_trim(pool);
        for (size_t i = 0; i < 3; i++) {
            mine[i] = bufferpool_get(pool);
            assert_int_equal(bufferpool_live(pool), i + 1);
        }
        bufferpool_put_bulk(mine, 3);
        assert_int_equal(bufferpool_live(pool), 0);
        check_laws(pool, &blocks, 0);
        destroy_empty(pool, &blocks);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pooled_buffers_in_existence_never_exceed_the_cap),
        cmocka_unit_test(the_cap_holds_while_buffers_are_freed_and_made),
        cmocka_unit_test(the_cap_holds_while_buffers_grow),
        cmocka_unit_test(buffers_beyond_the_cap_leave_live_without_drift),
        cmocka_unit_test(a_pool_is_busy_until_the_last_of_its_buffers_is_put),
        cmocka_unit_test(a_million_gets_beyond_the_cap_leave_no_drift),
        cmocka_unit_test(no_get_goes_beyond_the_cap_while_threads_want_no_more),
        cmocka_unit_test(the_cap_may_change_while_threads_run),
        cmocka_unit_test(a_lowered_cap_takes_no_held_buffer_and_frees_the_surplus_on_put),
        cmocka_unit_test(failed_gets_use_up_nothing_of_the_cap),
        cmocka_unit_test(a_buffer_counts_until_its_block_is_freed),
        cmocka_unit_test(live_is_close_while_threads_run_and_exact_after),
    };
    return cmocka_run_group_tests_name("cap", tests, NULL, NULL);
}
