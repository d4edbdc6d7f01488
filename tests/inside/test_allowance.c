/* SPDX-License-Identifier: MIT
 *
 * test_allowance.c - how much each thread's cache may hold
 *
 * A thread that overflows and empties its cache again and again comes to hold four times thread_cache_bytes, and then
 * needs no exchange with the depot any longer. All caches together keep to a bound. Where more threads than that use
 * the pool, those that do not use their room lend it, and have it back as soon as they need it. Reclaim takes room away
 * that is not needed.
 */
#include "support/hands.h"

#include "support/accounts.h"

#include "allowance.h"
#include "steal.h"

enum { CAPACITY = 256, CACHED = 4, MOST = CACHED * (int)ALLOWANCE_MOST };

static const size_t share = CACHED * CAPACITY; /* thread_cache_bytes */

/* Turns in which the hand holds so many buffers at once. */
static void swing(struct hand *hand, size_t n, unsigned turns)
{
    hand->want = n;
    while (turns-- > 0) {
        hand_do(hand, hand_get);
        hand_do(hand, hand_put);
    }
}

static void find_cache(struct hand *hand)
{
    hand->cache = tls_cache_find(hand->pool->index);
}

static const struct cache *cache_of(struct hand *hand)
{
    hand_do(hand, find_cache);
    return hand->cache;
}

static size_t sum_of(const bufferpool_t *pool, size_t *owners)
{
    size_t sum = 0;
    *owners = 0;
    for (struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next) {
        sum += load_relaxed(&c->allowance);
        *owners += load_relaxed(&c->owned);
    }
    return sum;
}

/* The accounts agree with the caches. Returns the sum of all allowances. */
static size_t check_sum(const bufferpool_t *pool)
{
    size_t owners;
    const size_t sum = sum_of(pool, &owners);
    assert_int_equal(sum, load_relaxed(&pool->allowances));
    assert_int_equal(owners, load_relaxed(&pool->owners));
    return sum;
}

static void a_cache_grows_to_what_its_thread_swings_by(void **state)
{
    (void)state;
    if (test_under_valgrind()) /* every put is a slow one there */
        skip();
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_caching(&blocks, CAPACITY, CACHED);
    struct hand hand;
    hand_begin(&hand, pool, 0);
    swing(&hand, MOST, 1);
    assert_in_range(cache_of(&hand)->allowance, share, ALLOWANCE_MOST * share);
    swing(&hand, MOST, 20);
    assert_int_equal(cache_of(&hand)->allowance, ALLOWANCE_MOST * share);
    swing(&hand, MOST, 1);
    const bufferpool_stats_t before = stats_of(pool);
    swing(&hand, MOST, 20);
    const bufferpool_stats_t after = stats_of(pool);
    assert_int_equal(after.gets_depot, before.gets_depot);
    assert_int_equal(after.gets_fresh, before.gets_fresh);
    assert_int_equal(after.idle_thread, MOST);
    swing(&hand, 4 * MOST, 5);
    assert_in_range(stats_of(pool).idle_thread, 1, MOST); /* and no further */
    assert_int_equal(cache_of(&hand)->allowance, ALLOWANCE_MOST * share);
    check_accounts(pool);
    hand_end(&hand);
    assert_int_equal(check_sum(pool), 0);
    destroy_empty(pool, &blocks);
}

static void a_thread_at_the_edge_keeps_its_size(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_caching(&blocks, CAPACITY, CACHED);
    struct hand hand;
    hand_begin(&hand, pool, 0);
    swing(&hand, CACHED, 100);
    assert_int_equal(cache_of(&hand)->allowance, share);
    hand_end(&hand);
    destroy_empty(pool, &blocks);
}

static void all_caches_together_keep_to_the_bound(void **state)
{
    (void)state;
    if (test_under_valgrind())
        skip();
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_caching(&blocks, CAPACITY, CACHED);
    struct hand hands[HANDS];
    hands_begin(hands, pool);
    for (unsigned n = 0; n < HANDS; n++) {
        swing(&hands[n], MOST, 20);
        const size_t caches = n + 1 > ALLOWANCE_CACHES ? n + 1 : ALLOWANCE_CACHES;
        if (check_sum(pool) > caches * share) /* a new thread has its room at once, and reclaim takes it from others */
            bufferpool_reclaim(pool);
        assert_in_range(check_sum(pool), (n + 1) * share, caches * share);
        if (n == 1) /* two may have all that they ask for */
            assert_int_equal(check_sum(pool), 2 * ALLOWANCE_MOST * share);
    }
    hands_end(hands);
    assert_int_equal(check_sum(pool), 0);
    destroy_empty(pool, &blocks);
}

static void unused_room_is_lent_and_comes_back_at_once(void **state)
{
    (void)state;
    if (test_under_valgrind() || !steal_possible(&pool_default))
        skip();
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_caching(&blocks, CAPACITY, CACHED);
    struct hand hands[HANDS], *hot = &hands[0], *back = &hands[HANDS - 1];
    hands_begin(hands, pool);
    for (unsigned n = 0; n < HANDS; n++)
        swing(&hands[n], CACHED, 2);
    assert_int_equal(check_sum(pool), HANDS * share);
    swing(hot, MOST, 20);
    assert_int_equal(cache_of(hot)->allowance, share); /* nobody has lent any yet */
    bufferpool_reclaim(pool);
    swing(hot, 1, 1);
    bufferpool_reclaim(pool);
    assert_int_equal(cache_of(back)->allowance, 0);
    swing(hot, MOST, 20);
    assert_int_equal(cache_of(hot)->allowance, ALLOWANCE_MOST * share);
    assert_in_range(check_sum(pool), ALLOWANCE_MOST * share, HANDS * share);

    swing(back, CACHED, 1);
    assert_int_equal(cache_of(back)->allowance, share);
    assert_int_equal(cache_idle(cache_of(back)), CACHED);
    for (unsigned n = 1; n < HANDS; n++)
        swing(&hands[n], CACHED, 2);
    assert_int_equal(check_sum(pool), (HANDS - 1) * share + ALLOWANCE_MOST * share); /* too much */
    swing(hot, MOST, 1);
    bufferpool_reclaim(pool);
    assert_in_range(check_sum(pool), 0, HANDS * share);
    assert_in_range(cache_of(hot)->allowance, 0, share);
    check_accounts(pool);
    hands_end(hands);
    destroy_empty(pool, &blocks);
}

/* Its first share was enough for all that came and went. Of what idles there the rest goes, and the thread goes
 * on. */
static void reclaim_takes_room_that_is_not_needed(void **state)
{
    (void)state;
    if (test_under_valgrind() || !steal_possible(&pool_default))
        skip();
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = share;
    config.reclaim_interval_ms = 3600 * 1000; /* without periods no get looks at the clock */
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    struct hand hand;
    hand_begin(&hand, pool, 0);
    swing(&hand, MOST, 20);
    assert_int_equal(cache_of(&hand)->allowance, ALLOWANCE_MOST * share);
    bufferpool_reclaim(pool); /* the looks of before count no more */
    hand.want = 2000;
    hand_do(&hand, hand_use);
    bufferpool_reclaim(pool);
    assert_int_equal(cache_of(&hand)->allowance, share);
    assert_int_equal(cache_idle(cache_of(&hand)), 1);
    check_accounts(pool);
    swing(&hand, MOST, 20);
    assert_int_equal(cache_of(&hand)->allowance, ALLOWANCE_MOST * share);
    bufferpool_reclaim(pool);
    bufferpool_reclaim(pool); /* a period without a call */
    assert_int_equal(cache_of(&hand)->allowance, share);
    swing(&hand, MOST, 20);
    hand_do(&hand, hand_flush);
    cache_begin_notes(hand.cache); /* as if no get had looked */
    bufferpool_reclaim(pool);
    assert_int_equal(cache_of(&hand)->allowance, ALLOWANCE_MOST * share);
    bufferpool_reclaim(pool); /* the same, of an empty cache */
    assert_int_equal(cache_of(&hand)->allowance, share);
    hand_end(&hand);
    destroy_empty(pool, &blocks);
}

static void max_idle_bytes_bounds_it_too(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = share;
    config.max_idle_bytes = 2 * share;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    struct hand hand;
    hand_begin(&hand, pool, 0);
    swing(&hand, MOST, 20);
    assert_in_range(stats_of(pool).idle_bytes, 1, 2 * share);
    check_accounts(pool);
    hand_end(&hand);
    destroy_empty(pool, &blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cache_grows_to_what_its_thread_swings_by),
        cmocka_unit_test(a_thread_at_the_edge_keeps_its_size),
        cmocka_unit_test(all_caches_together_keep_to_the_bound),
        cmocka_unit_test(unused_room_is_lent_and_comes_back_at_once),
        cmocka_unit_test(reclaim_takes_room_that_is_not_needed),
        cmocka_unit_test(max_idle_bytes_bounds_it_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
