/* SPDX-License-Identifier: MIT
 *
 * test_out_of_memory.c - every request for memory fails once
 *
 * A scenario goes through the whole API. The k-th of the requests that support/failures.h knows fails, or all requests
 * from the k-th on, for every k until the scenario ends with no failure. Each k runs in a child of its own, so that
 * requests of the very first use of the library fail too. Whichever request fails, calls return ENOMEM and no other
 * error, the laws hold, and everything works when there is memory again. A second test does the same with the block
 * hook. test_out_of_memory_calls.c has single calls, and two failures in one call.
 */
#include "support/failures.h"
#include "support/laws.h"

#include <unistd.h>

#if TEST_ASAN
#include <sanitizer/lsan_interface.h>
#endif

/* ---- the scenario: it asserts by thread_check(), since it runs in children ---- */

enum { HELD = 24, SENTINEL = 4242 };

struct hands {
    bufferpool_t *pool;
    const test_blocks_t *blocks; /* NULL: the system's */
    bufferpool_buf_t *bufs[HELD];
    size_t n;
};

/* May be NULL, then with ENOMEM, and else has left errno alone. */
static bufferpool_buf_t *get_or_ENOMEM(bufferpool_t *pool, bool refuse)
{
    errno = SENTINEL;
    bufferpool_buf_t *buf = refuse ? bufferpool_try_get(pool) : bufferpool_get(pool);
    thread_check(errno == (buf != NULL ? SENTINEL : ENOMEM));
    if (buf != NULL)
        buf->data[0] = buf->data[buf->cap - 1] = 1;
    return buf;
}

static void grow_or_ENOMEM(bufferpool_buf_t *buf, size_t size)
{
    const bufferpool_buf_t was = *buf;
    const int error = bufferpool_buf_reserve(buf, size);
    thread_check(error == 0 || error == ENOMEM);
    if (error != 0)
        thread_check(buf->data == was.data && buf->len == was.len && buf->cap == was.cap);
    if (error == 0)
        buf->data[buf->cap - 1] = 2;
    thread_check(buf->len == 0 || test_filled(buf->data, buf->len, 9));
}

static void put_all(struct hands *hands)
{
    bufferpool_put_bulk(hands->bufs, hands->n);
    hands->n = 0;
    thread_check(hands->pool == NULL || laws_hold(hands->pool, hands->blocks, 0));
}

static void *use_in_thread(void *arg)
{
    struct hands hands = {.pool = ((struct hands *)arg)->pool};
    for (int i = 0; i < 6; i++) {
        bufferpool_buf_t *buf = get_or_ENOMEM(hands.pool, i % 2 == 0);
        if (buf != NULL)
            hands.bufs[hands.n++] = buf;
    }
    bufferpool_put_bulk(hands.bufs, hands.n);
    return NULL;
}

/* At the cap, if the pool has it all, in vain; else it may have one, or fail. */
static void wait_or_ENOMEM(struct hands *hands)
{
    const bool full = stats_of(hands->pool).live == 3;
    bufferpool_buf_t *buf = bufferpool_get_timed(hands->pool, 1);
    if (full)
        thread_check(buf == NULL && (errno == ETIMEDOUT || (errno == ENOMEM && failures_seen() > 0)));
    if (!full)
        thread_check(buf != NULL || errno == ENOMEM);
    if (buf != NULL)
        hands->bufs[hands->n++] = buf;
}

/* The put that shrinks may find no memory for that: then the buffer is as it was, and a later put tries again. */
static void use_little(struct hands *hands)
{
    bufferpool_trim(hands->pool);
    for (int i = 0; i < 9; i++) {
        bufferpool_buf_t *buf = get_or_ENOMEM(hands->pool, true);
        if (buf == NULL)
            continue;
        if (i == 0)
            grow_or_ENOMEM(buf, buf->cap * 8);
        buf->len = buf->cap / 8;
        errno = SENTINEL;
        bufferpool_put(buf);
        thread_check(errno == SENTINEL);
        thread_check(laws_hold(hands->pool, hands->blocks, 0));
    }
}

static void use_pool(struct hands *hands)
{
    for (size_t i = 0; i < 10; i++) {
        bufferpool_buf_t *buf = get_or_ENOMEM(hands->pool, false);
        if (buf == NULL)
            continue;
        hands->bufs[hands->n++] = buf;
        if (i % 3 == 0) {
            test_fill(buf->data, 30, 9);
            buf->len = 30;
        }
        if (i % 2 == 0)
            grow_or_ENOMEM(buf, (size_t)3000 << i); /* up to 768 KiB */
    }
    thread_check(laws_hold(hands->pool, hands->blocks, hands->n));
    bufferpool_buf_t *more[8];
    const int error = bufferpool_get_bulk(hands->pool, more, 8);
    thread_check(error == 0 || error == ENOMEM);
    if (error == 0) {
        memcpy(hands->bufs + hands->n, more, sizeof more);
        hands->n += 8;
    }
    thread_check(laws_hold(hands->pool, hands->blocks, hands->n));

    pthread_t thread;
    thread_check(__real_pthread_create(&thread, NULL, use_in_thread, hands) == 0 && pthread_join(thread, NULL) == 0);
    thread_check(stats_of(hands->pool).thread_caches <= 1); /* that thread's is not left behind */
    thread_check(laws_hold(hands->pool, hands->blocks, hands->n));
    put_all(hands);
    bufferpool_thread_flush();
    bufferpool_trim(hands->pool);
    bufferpool_set_max_live(hands->pool, 3);
    for (int i = 0; i < 5; i++) {
        bufferpool_buf_t *buf = get_or_ENOMEM(hands->pool, false); /* some beyond the cap */
        if (buf != NULL)
            hands->bufs[hands->n++] = buf;
    }
    wait_or_ENOMEM(hands);
    put_all(hands);
    use_little(hands);
    for (int i = 0; i < 3; i++)
        bufferpool_reclaim(hands->pool);
    thread_check(stats_of(hands->pool).idle_bytes == 0);
    bufferpool_set_max_live(hands->pool, 0);
    thread_check(laws_hold(hands->pool, hands->blocks, 0));
}

static void use_pool_of(size_t buffer_capacity, unsigned flags, test_blocks_t *blocks)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    if (blocks != NULL)
        config = config_with(blocks);
    struct hands hands = {.blocks = blocks};
    config.name = "scarce";
    config.buffer_capacity = buffer_capacity;
    config.thread_cache_bytes = 3 * buffer_capacity;
    config.flags = flags;
    errno = SENTINEL;
    hands.pool = bufferpool_create(&config);
    if (!thread_check(errno == (hands.pool != NULL ? SENTINEL : ENOMEM)) || hands.pool == NULL)
        return;
    use_pool(&hands);
    thread_check(bufferpool_destroy(hands.pool) == 0);
    thread_check(blocks == NULL || atomic_load(&blocks->count) == 0);
}

static void scenario(void)
{
    struct hands of_default = {.n = 0};
    test_blocks_t blocks = {0};
    use_pool_of(1024, 0, NULL);
    use_pool(&of_default);
    use_pool_of(20 * 1024, BUFFERPOOL_ZERO, NULL);
    use_pool_of(70 * 1024, BUFFERPOOL_HUGEPAGES, NULL);
    use_pool_of(3 * 1024 * 1024, 0, NULL);
    use_pool_of(500, 0, &blocks); /* the hook succeeds, what the library needs besides may not */
}

static int scenario_with_failure(void *arg)
{
    (void)arg;
    failures_begin();
    scenario();
    (void)failures_end();
    if (test_recorded_failure())
        return 1;

    const bufferpool_stats_t before = stats_of(NULL); /* now there is memory, and all must go well */
    scenario();
    const bufferpool_stats_t after = stats_of(NULL);
    if (sum_of_gets(&after) - sum_of_gets(&before) != 10 + 8 + 6 + 5 + 9)
        return 2;
    if (!laws_hold(NULL, NULL, 0))
        return 3;
#if TEST_ASAN
    if (__lsan_do_recoverable_leak_check() != 0)
        return 5;
#endif
    return test_recorded_failure() ? 4 : 0;
}

static void every_request_fails(bool for_good)
{
    failures_share();
    const size_t step = TEST_TSAN || test_under_valgrind() ? 4 : 1; /* there a child takes long */
    size_t k = 1;
    for (;; k += step) {
        failures_plan(k, for_good ? FAIL_FOR_GOOD : 0);
        const int status = run_in_child(scenario_with_failure, NULL, 60);
        if (status != 0)
            fail_msg("with call %zu failing: status %d", k, status);
        if (failures_seen() == 0)
            break;
    }
    assert_true(k > 5); /* the wrappers are in the way indeed */
}

static void each_single_request_may_fail(void **state)
{
    (void)state;
    every_request_fails(false);
}

static void all_requests_from_any_on_may_fail(void **state)
{
    (void)state;
    every_request_fails(true);
}

/* ---- the same with the block hook ---- */

static void the_block_hook_may_fail(void **state)
{
    (void)state;
    for (size_t mode = 0; mode < 2; mode++) {
        size_t k = 0;
        for (bool failed = true; failed; k++) {
            test_blocks_t blocks = {0};
            struct hands hands = {.blocks = &blocks};
            bufferpool_config_t config = config_with(&blocks);
            config.buffer_capacity = 1000;
            config.thread_cache_bytes = 3000;
            hands.pool = bufferpool_create(&config);
            assert_non_null(hands.pool);
            test_blocks_fail(&blocks, k, mode == 0 ? 1 : SIZE_MAX);
            use_pool(&hands);
            failed = atomic_load(&blocks.calls) > k;
            test_blocks_fail_none(&blocks);
            check_laws(hands.pool, &blocks, 0);
            use_pool(&hands);
            check_laws(hands.pool, &blocks, 0);
            assert_false(test_recorded_failure());
            destroy_empty(hands.pool, &blocks);
        }
        assert_true(k > 10);
    }
}

/* ---- a budget ---- */

enum { BUDGET = 8 << 20 };

/* A scenario over two pools of one budget, in which slots, mappings and growth of each kind come and go. */
static void spend(bufferpool_budget_t *budget, bufferpool_t *const *pools)
{
    bufferpool_buf_t *bufs[12];
    size_t n = 0;
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++)
        if ((bufs[n] = bufferpool_get(pools[i % 2])) != NULL)
            n++;
    for (size_t i = 0; i < n; i++) {
        const int error = bufferpool_buf_reserve(bufs[i], i % 3 == 0 ? 300000 : 40000);
        assert_true(error == 0 || error == ENOMEM);
        assert_true(bufferpool_budget_used(budget) <= BUDGET);
    }
    if (n > 0)
        (void)bufferpool_buf_reserve(bufs[0], 600000); /* the mapping grows */
    for (int turn = 0; turn < 6; turn++) {             /* little use, five times: what is grown shrinks */
        bufferpool_put_bulk(bufs, n);
        for (size_t i = n, all = n = 0; all < i; all++)
            if ((bufs[n] = bufferpool_get(pools[all % 2])) != NULL)
                n++;
    }
    bufferpool_put_bulk(bufs, n);
}

static void no_byte_of_a_budget_is_lost_whichever_request_fails(void **state)
{
    (void)state;
    size_t fired = 1, k = 0;
    for (; fired > 0; k++) {
        failures_plan(k / 2 + 1, k % 2 != 0 ? FAIL_FOR_GOOD : 0); /* alone, and all from there on */
        failures_begin();
        bufferpool_budget_t *budget = bufferpool_budget_create("failing", BUDGET);
        assert_true(budget != NULL || errno == ENOMEM);
        bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
        config.budget = budget;
        config.buffer_capacity = 1500000; /* a mapping each; those of the other pool lie in slabs */
        config.max_capacity = 2000000;
        config.max_live = 8;
        bufferpool_t *pools[2];
        size_t n = 0;
        for (; n < 2 && budget != NULL && (pools[n] = bufferpool_create(&config)) != NULL; n++)
            config.buffer_capacity = 1000;
        if (n == 2)
            spend(budget, pools);
        fired = failures_end();
        if (n == 2) {
            bufferpool_buf_t *again = bufferpool_get(pools[1]);
            assert_non_null(again);
            assert_true(bufferpool_budget_used(budget) >= 1000);
            bufferpool_put(again);
            bufferpool_trim(pools[0]);
            bufferpool_trim(pools[1]);
            assert_int_equal(bufferpool_budget_used(budget), 0);
        }
        while (n > 0)
            assert_int_equal(bufferpool_destroy(pools[--n]), 0);
        if (budget != NULL)
            assert_int_equal(bufferpool_budget_destroy(budget), 0);
    }
    assert_true(k > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_single_request_may_fail),
        cmocka_unit_test(all_requests_from_any_on_may_fail),
        cmocka_unit_test(the_block_hook_may_fail),
        cmocka_unit_test(no_byte_of_a_budget_is_lost_whichever_request_fails),
    };
    return cmocka_run_group_tests_name("out_of_memory", tests, NULL, NULL);
}
