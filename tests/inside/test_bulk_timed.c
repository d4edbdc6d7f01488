/* SPDX-License-Identifier: MIT
 *
 * test_bulk_timed.c - get_bulk_timed gives all or none, never beyond the cap, in the queue of all that wait
 */
#include "support/laws.h"

#include "support/inside.h"

#include <sched.h>

enum { CAPACITY = 512 };

static bufferpool_t *pool_with_cap(test_blocks_t *blocks, size_t cap)
{
    const bufferpool_config_t config = config_capped(blocks, CAPACITY, cap);
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static void until_waiting(bufferpool_t *pool, size_t n)
{
    while (load_relaxed(&pool->waiters.waiting) != n)
        sched_yield();
}

static void errors_take_nothing(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 4);
    bufferpool_buf_t *bufs[5];
    assert_int_equal(bufferpool_get_bulk_timed(pool, NULL, 0, 0), 0);
    assert_int_equal(bufferpool_get_bulk_timed(pool, NULL, 1, 0), EINVAL);
    assert_int_equal(bufferpool_get_bulk_timed(pool, bufs, 5, BUFFERPOOL_NEVER), EINVAL);
    bufferpool_buf_t *one = bufferpool_get(pool);
    assert_int_equal(bufferpool_get_bulk_timed(pool, bufs, 4, 0), EAGAIN);
    check_laws(pool, &blocks, 1);
    assert_int_equal(bufferpool_get_bulk_timed(pool, bufs, 4, 5), ETIMEDOUT);
    check_laws(pool, &blocks, 1);
    assert_int_equal(stats_of(pool).gets_refused, 2);
    assert_int_equal(bufferpool_get_bulk_timed(pool, bufs, 3, 0), 0);
    check_laws(pool, &blocks, 4);
    bufferpool_put_bulk(bufs, 3);
    bufferpool_put(one);
    bufferpool_trim(pool);
    test_blocks_fail(&blocks, 2, 1);
    assert_int_equal(bufferpool_get_bulk_timed(pool, bufs, 4, BUFFERPOOL_NEVER), ENOMEM);
    check_laws(pool, &blocks, 0);
    assert_int_equal(bufferpool_get_bulk_timed(pool, bufs, 4, BUFFERPOOL_NEVER), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(bufs[i]->len, 0);
    bufferpool_put_bulk(bufs, 4);
    destroy_empty(pool, &blocks);
}

/* ---- one that waits ---- */

struct bulk {
    bufferpool_t *pool;
    unsigned timeout_ms;
    size_t n;
    bufferpool_buf_t *bufs[8];
    int error;
    pthread_t thread;
};

static void *get_bulk(void *arg)
{
    struct bulk *b = arg;
    b->error = bufferpool_get_bulk_timed(b->pool, b->bufs, b->n, b->timeout_ms);
    return NULL;
}

static void start(struct bulk *b, bufferpool_t *pool, size_t n)
{
    const size_t before = load_relaxed(&pool->waiters.waiting);
    *b = (struct bulk){.pool = pool, .n = n, .timeout_ms = BUFFERPOOL_NEVER};
    assert_int_equal(pthread_create(&b->thread, NULL, get_bulk, b), 0);
    until_waiting(pool, before + 1);
}

static int outcome(struct bulk *b)
{
    assert_int_equal(pthread_join(b->thread, NULL), 0);
    return b->error;
}

static void it_collects_what_is_put_until_it_has_all(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 4);
    bufferpool_buf_t *bufs[4];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 4), 0);
    struct bulk b, behind;
    start(&b, pool, 3);
    start(&behind, pool, 1);
    bufferpool_put(bufs[0]);
    bufferpool_put(bufs[1]);
    assert_int_equal(load_relaxed(&pool->waiters.waiting), 2); /* the small one does not overtake */
    assert_int_equal(bufferpool_live(pool), 4);                /* what the first was given counts as held */
    assert_null(bufferpool_try_get(pool));
    bufferpool_put(bufs[2]);
    assert_int_equal(outcome(&b), 0);
    bufferpool_put(bufs[3]);
    assert_int_equal(outcome(&behind), 0);
    check_laws(pool, &blocks, 4);
    bufferpool_put_bulk(b.bufs, 3);
    bufferpool_put(behind.bufs[0]);
    destroy_empty(pool, &blocks);
}

/* A put of a buffer that is too large gives room for one: a right, which the caller makes itself. */
static void rights_to_make_a_buffer_count_too(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        test_blocks_t blocks = {0};
        bufferpool_t *pool = pool_with_cap(&blocks, 3);
        bufferpool_buf_t *bufs[3];
        assert_int_equal(bufferpool_get_bulk(pool, bufs, 3), 0);
        struct bulk b;
        for (int i = 0; i < 2; i++)
            assert_int_equal(bufferpool_buf_reserve(bufs[i], 9 * CAPACITY), 0);
        start(&b, pool, 3);
        bufferpool_put(bufs[0]);
        bufferpool_put(bufs[1]);
        if (fails)
            test_blocks_fail(&blocks, 1, 1);
        bufferpool_put(bufs[2]);
        assert_int_equal(outcome(&b), fails ? ENOMEM : 0);
        check_laws(pool, &blocks, fails ? 0 : 3);
        if (!fails)
            bufferpool_put_bulk(b.bufs, 3);
        assert_int_equal(bufferpool_get_bulk_timed(pool, bufs, 3, 0), 0);
        bufferpool_put_bulk(bufs, 3);
        destroy_empty(pool, &blocks);
    }
}

static void a_part_goes_on_to_the_next_when_the_time_is_over(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 2);
    bufferpool_buf_t *bufs[2];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 2), 0);
    struct bulk first = {.pool = pool, .n = 2, .timeout_ms = 50}, next;
    assert_int_equal(pthread_create(&first.thread, NULL, get_bulk, &first), 0);
    until_waiting(pool, 1);
    start(&next, pool, 1);
    bufferpool_put(bufs[0]);
    assert_int_equal(outcome(&first), ETIMEDOUT);
    assert_int_equal(outcome(&next), 0);
    bufferpool_put(next.bufs[0]);
    bufferpool_put(bufs[1]);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

static void a_cap_lowered_below_n_ends_the_wait(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 4);
    bufferpool_buf_t *bufs[4];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 4), 0);
    struct bulk b, next;
    start(&b, pool, 4);
    start(&next, pool, 1);
    bufferpool_put(bufs[0]);
    bufferpool_set_max_live(pool, 3);
    assert_int_equal(outcome(&b), EINVAL);
    bufferpool_put(bufs[1]);
    assert_int_equal(outcome(&next), 0);
    bufferpool_put(next.bufs[0]);
    bufferpool_put_bulk(bufs + 2, 2);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

/* ---- many ---- */

struct tasks {
    bufferpool_t *pool;
    size_t turns;
    atomic_size_t bulks, singles;
};

static void take_four_of_eight(void *arg, unsigned index)
{
    struct tasks *t = arg;
    for (size_t i = 0; i < t->turns; i++) {
        bufferpool_buf_t *bufs[4];
        const size_t n = index < 6 ? 4 : 1;
        if (!thread_check(bufferpool_get_bulk_timed(t->pool, bufs, n, BUFFERPOOL_NEVER) == 0))
            return;
        for (size_t k = 0; k < n; k++)
            memset(bufs[k]->data, (int)index, 64);
        sched_yield();
        for (size_t k = 0; k < n; k++)
            thread_check(bufs[k]->data[0] == index && bufs[k]->data[63] == index);
        bufferpool_put_bulk(bufs, n);
        atomic_fetch_add(n > 1 ? &t->bulks : &t->singles, 1);
    }
}

/* With one get_timed after the other, six such threads soon wait for each other for ever. */
static void threads_that_need_four_of_eight_do_not_deadlock(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct tasks t = {.pool = pool_with_cap(&blocks, 8), .turns = test_scale(20000, 1000)};
    run_threads(8, take_four_of_eight, &t);
    assert_int_equal(t.bulks, 6 * t.turns);
    assert_int_equal(t.singles, 2 * t.turns);
    assert_true(atomic_load(&blocks.peak) <= 8);
    assert_int_equal(stats_of(t.pool).gets_bypass, 0);
    check_laws(t.pool, &blocks, 0);
    destroy_empty(t.pool, &blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_take_nothing),
        cmocka_unit_test(it_collects_what_is_put_until_it_has_all),
        cmocka_unit_test(rights_to_make_a_buffer_count_too),
        cmocka_unit_test(a_part_goes_on_to_the_next_when_the_time_is_over),
        cmocka_unit_test(a_cap_lowered_below_n_ends_the_wait),
        cmocka_unit_test(threads_that_need_four_of_eight_do_not_deadlock),
    };
    return cmocka_run_group_tests_name("bulk_timed", tests, NULL, NULL);
}
