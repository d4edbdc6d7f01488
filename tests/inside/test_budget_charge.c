/* SPDX-License-Identifier: MIT
 *
 * test_budget_charge.c - what is charged to a budget is what its pools have, to the byte, after each call
 *
 *     used       = what the blocks of all its pools take
 *     charged    = the same, and the dirty slots and retained mappings of all its pools
 *     used <= charged <= the limit
 *
 * Two pools get, grow, shrink, put and trim buffers of all sizes, in slots and in mappings.
 */
#include "support/laws.h"

#include "debug/modes.h"
#include "heap/heap.h"
#include "heap/purge.h"

enum { POOLS = 2, HELD = 10, LIMIT = 6 << 20 };

static bufferpool_budget_t *budget;
static bufferpool_t *pools[POOLS];

static size_t bytes_of_blocks(bufferpool_t *pool)
{
    size_t bytes = 0;
    const struct desc *d;
    for_each_taken (&pool->heap.table, i, d) {
        if (desc_state(load_relaxed(&d->word)) != STATE_FREE)
            bytes += d->slab != NULL ? d->slab->stride : heap_bytes(&pool->heap, d->pub.cap);
    }
    return bytes;
}

static void check_charge(void)
{
    size_t used = 0, dirty = 0;
    for (size_t i = 0; i < POOLS; i++) {
        if (pools[i] == NULL)
            continue;
        used += bytes_of_blocks(pools[i]);
        dirty += purge_dirty(&pools[i]->heap.slabs);
    }
    assert_int_equal(load_relaxed(&budget->used), used);
    assert_int_equal(load_relaxed(&budget->charged), used + dirty);
    assert_true(used + dirty <= load_relaxed(&budget->bytes));
}

static void begin(unsigned flags)
{
    budget = bufferpool_budget_create("charge", LIMIT);
    assert_non_null(budget);
    for (size_t i = 0; i < POOLS; i++) {
        bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
        config.buffer_capacity = i == 0 ? 1000 : (size_t)400 << 10;
        config.max_capacity = 2 << 20;
        config.max_live = 4;
        config.flags = flags;
        config.budget = budget;
        pools[i] = bufferpool_create(&config);
        assert_non_null(pools[i]);
    }
}

/* A turn of a buffer: sizes that a slot and a mapping have, and little use, which shrinks it. Returns whether the bytes
 * were refused. */
static bool use(bufferpool_buf_t *buf, test_random_t *random)
{
    static const size_t sizes[] = {3000, 70000, 200000, 300000, 700000, 1500000};
    if (test_random_below(random, 3) > 0)
        return false;
    const size_t size = sizes[test_random_below(random, sizeof sizes / sizeof sizes[0])];
    const int error = bufferpool_buf_reserve(buf, size);
    if (error == 0 && test_random_below(random, 4) > 0)
        buf->len = size;
    return error != 0;
}

static void every_call_leaves_the_charge_exact(void **state)
{
    (void)state;
    for (size_t run = 0; run < 2; run++) {
        bufferpool_buf_t *held[HELD] = {NULL};
        test_random_t random = {run + 1};
        size_t refused = 0;
        begin(run == 0 ? 0 : BUFFERPOOL_ZERO);
        for (size_t round = test_scale(20000, 6000); round > 0; round--) {
            bufferpool_buf_t **at = &held[test_random_below(&random, HELD)];
            bufferpool_t *pool = pools[test_random_below(&random, POOLS)];
            if (*at == NULL) {
                *at = bufferpool_get(pool);
                refused += *at == NULL || use(*at, &random);
            } else {
                bufferpool_put(*at);
                *at = NULL;
            }
            if (test_random_below(&random, 100) == 0)
                (void)bufferpool_trim(pool);
            if (test_random_below(&random, 100) == 0)
                (void)bufferpool_reclaim(pool);
            check_charge();
        }
        assert_true(refused > 0 || modes_have(MODE_NOPOOL)); /* where no grown one is got again, callers hold less */
        for (size_t i = 0; i < HELD; i++)
            bufferpool_put(held[i]);
        check_charge();
        for (size_t i = 0; i < POOLS; i++) { /* with what idles, and what is retained */
            assert_int_equal(bufferpool_destroy(pools[i]), 0);
            pools[i] = NULL;
            check_charge();
        }
        assert_int_equal(load_relaxed(&budget->charged), 0);
        assert_int_equal(bufferpool_budget_destroy(budget), 0);
    }
}

/* A debug mode under which the buffer that was put is not the next that a get returns. */
static bool a_put_buffer_is_gone(void)
{
    return modes_have(MODE_QUARANTINE | MODE_NOPOOL | MODE_CHAOS);
}

static void shrinks_in_place_return_what_they_cut_off(void **state)
{
    (void)state;
    if (a_put_buffer_is_gone())
        skip();
    begin(0);
    bufferpool_buf_t *buf = bufferpool_get(pools[1]);
    assert_non_null(buf);
    assert_int_equal(bufferpool_buf_reserve(buf, 1500000), 0);
    for (int turn = 0; turn < 6; turn++) {
        bufferpool_put(buf);
        check_charge();
        buf = bufferpool_get(pools[1]);
        assert_non_null(buf);
    }
    assert_int_equal(stats_of(pools[1]).shrinks, 1);
    bufferpool_put(buf);
    check_charge();
    for (size_t i = 0; i < POOLS; i++)
        assert_int_equal(bufferpool_destroy(pools[i]), 0);
    assert_int_equal(bufferpool_budget_destroy(budget), 0);
}

/* It reserves what it adds, which was charged already. */
static void growth_into_retained_memory_is_charged_once(void **state)
{
    (void)state;
    if (modes_have(MODE_NOPOOL)) /* which retains nothing */
        skip();
    begin(BUFFERPOOL_BACKGROUND);
    bufferpool_buf_t *buf = bufferpool_get(pools[1]);
    assert_non_null(buf);
    assert_int_equal(bufferpool_buf_reserve(buf, 3 << 20), 0);
    bufferpool_put(buf); /* its cap exceeds max_capacity */
    check_charge();
    assert_true(pools[1]->heap.slabs.retained.bytes >= 3 << 20);
    buf = bufferpool_get(pools[1]);
    assert_non_null(buf);
    assert_int_equal(bufferpool_buf_reserve(buf, (size_t)500 << 10), 0); /* the beginning of it */
    check_charge();
    const unsigned char *data = buf->data;
    assert_int_equal(bufferpool_buf_reserve(buf, (size_t)900 << 10), 0); /* and what lies behind */
    assert_true(buf->data == data || test_under_valgrind());             /* which is told of no move */
    check_charge();
    bufferpool_put(buf);
    for (size_t i = 0; i < POOLS; i++)
        assert_int_equal(bufferpool_destroy(pools[i]), 0);
    assert_int_equal(load_relaxed(&budget->charged), 0);
    assert_int_equal(bufferpool_budget_destroy(budget), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_leaves_the_charge_exact),
        cmocka_unit_test(shrinks_in_place_return_what_they_cut_off),
        cmocka_unit_test(growth_into_retained_memory_is_charged_once),
    };
    return cmocka_run_group_tests_name("budget_charge", tests, NULL, NULL);
}
