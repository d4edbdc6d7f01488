/* SPDX-License-Identifier: MIT
 *
 * test_tickets.c - tickets: caches that are open although callers go beyond the cap
 *
 * A thread that keeps going beyond the cap takes tickets, and its calls are fast again. Nobody may lose by that: the
 * tickets are bounded, callers hold the cap as long as there are any, and they are taken back the moment that it might
 * no longer be so. Hands do one call at a time, and after each call the accounts must agree. The clock is the test's.
 */
#include "support/accounts.h"
#include "support/barriers.h"
#include "support/blocks.h"
#include "support/hands.h"

#include "pressure.h"

#include <sched.h>
#include <sys/wait.h>

enum { CAPACITY = 256, CAP = 12, GRANT_AFTER = 32, GRANT_LATEST = 4096, LASTED_MS = 20, MOST = CACHE_TICKETS_MAX };

/* ---- the clock ---- */

static _Atomic(uint64_t) passed_ms;

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    const int error = __real_clock_gettime(clock, now);
    if (clock == CLOCK_MONOTONIC_COARSE) {
        now->tv_sec = 1000 + (time_t)(atomic_load(&passed_ms) / 1000);
        now->tv_nsec = (long)(atomic_load(&passed_ms) % 1000) * 1000000;
    }
    return error;
}

/* ---- scenes ---- */

static test_blocks_t blocks;
static bufferpool_t *pool;
static bufferpool_buf_t *bufs[CAP];
static struct hand *hands;

static struct cache *cache_of(const struct hand *hand)
{
    return hand->cache;
}

static void hand_find_cache(struct hand *hand)
{
    hand->cache = tls_cache_find(hand->pool->index);
}

static void one(struct hand *hand, void (*step)(struct hand *))
{
    hand_do(hand, step);
    check_accounts(pool);
}

static void hand_put_one(struct hand *hand)
{
    bufferpool_buf_t *buf = hand->bufs[--hand->n];
    buf->len = buf->cap;
    bufferpool_put(buf);
}

static void get(struct hand *hand, size_t n)
{
    hand->want = 1;
    for (size_t i = 0; i < n; i++)
        one(hand, hand_get);
}

static void put(struct hand *hand, size_t n)
{
    for (size_t i = 0; i < n; i++)
        one(hand, hand_put_one);
}

static uint32_t tickets_of(const struct hand *hand)
{
    return load_relaxed(&hand->cache->tickets);
}

static uint32_t tickets(void)
{
    return depot_counts(&pool->depot).tickets;
}

static size_t holders(void)
{
    return load_relaxed(&pool->pressure.holders);
}

/* How many more exist than the cap. */
static size_t excess(void)
{
    return depot_counts(&pool->depot).pooled - CAP;
}

static uint32_t all_idle(void)
{
    const bufferpool_stats_t s = stats_of(pool);
    return (uint32_t)idle_of(&s);
}

static bool is_under_pressure(void)
{
    return load_relaxed(&pool->pressure.state) == PRESSURE_ON;
}

static bufferpool_config_t config_here(void)
{
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = (size_t)16 * CAPACITY;
    config.max_live = CAP;
    return config;
}

static void begin_hands(const bufferpool_config_t *config)
{
    memset(&blocks, 0, sizeof blocks);
    pool = bufferpool_create(config);
    assert_non_null(pool);
    hands = calloc(HANDS, sizeof *hands);
    assert_non_null(hands);
    hands_begin(hands, pool);
}

/* Main has all of the cap, and each hand a cache with a closed gate. */
static void begin_with(const bufferpool_config_t *config)
{
    begin_hands(config);
    for (unsigned i = 0; i < HANDS; i++) {
        hands[i].want = 1;
        hand_do(&hands[i], hand_use);
        hand_do(&hands[i], hand_find_cache);
    }
    for (size_t i = 0; i < CAP; i++)
        bufs[i] = bufferpool_get(pool);
    assert_null(bufferpool_try_get(pool));
    assert_true(is_under_pressure());
    bufferpool_trim(pool);
    atomic_store(&barriers, 0);
}

static void begin(void)
{
    const bufferpool_config_t config = config_here();
    begin_with(&config);
    assert_int_equal(excess(), 0);
}

/* The hands have put what they had; main has the cap, or has put it. */
static void end_with(size_t main_has)
{
    hands_end(hands);
    free(hands);
    check_accounts(pool);
    bufferpool_put_bulk(bufs, main_has);
    assert_true(atomic_load(&blocks.count) <= CAP);
    check_accounts(pool);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

static void end(void)
{
    for (unsigned i = 0; i < HANDS; i++)
        put(&hands[i], hands[i].n);
    end_with(CAP);
}

#define needs_stealing()                                                                                               \
    do {                                                                                                               \
        (void)state;                                                                                                   \
        if (!test_can_steal())                                                                                         \
            skip();                                                                                                    \
    } while (0)

/* ---- granted ---- */

/* So that its tickets double until they are as many as a cache may have, if the excess allows it. */
static void fill_and_empty(struct hand *hand)
{
    put(hand, MOST);
    get(hand, MOST);
}

static void a_thread_that_goes_on_beyond_the_cap_gets_a_cache_again(void **state)
{
    needs_stealing();
    begin();
    get(&hands[0], GRANT_AFTER - 1);
    assert_int_equal(tickets(), 0);
    assert_false(cache_is_open(cache_of(&hands[0])));
    get(&hands[0], 1);
    assert_int_equal(tickets_of(&hands[0]), 1);
    assert_int_equal(tickets(), 1);
    assert_true(cache_is_open(cache_of(&hands[0])));
    assert_int_equal(excess(), GRANT_AFTER);
    fill_and_empty(&hands[0]);
    assert_int_equal(tickets_of(&hands[0]), MOST);
    assert_int_equal(tickets(), MOST);
    assert_int_equal(excess(), GRANT_AFTER);

    /* as far as the tickets go, its calls touch nothing that others see */
    const uint64_t counts = load_relaxed(&pool->depot.counts), head = load_relaxed(&pool->depot.head);
    const bufferpool_stats_t before = stats_of(pool);
    const size_t allocs = atomic_load(&blocks.allocs), frees = atomic_load(&blocks.frees);
    for (int turn = 0; turn < 20; turn++) {
        put(&hands[0], MOST);
        assert_int_equal(stats_of(pool).idle_thread, MOST);
        assert_int_equal(stats_of(pool).bypass_live, GRANT_AFTER - MOST);
        assert_int_equal(stats_of(pool).live, CAP);
        get(&hands[0], MOST);
    }
    assert_int_equal(load_relaxed(&pool->depot.counts), counts);
    assert_int_equal(load_relaxed(&pool->depot.head), head);
    assert_int_equal(atomic_load(&blocks.allocs), allocs);
    assert_int_equal(atomic_load(&blocks.frees), frees);
    assert_int_equal(stats_of(pool).gets_thread - before.gets_thread, 20 * MOST);
    assert_int_equal(stats_of(pool).gets_bypass, before.gets_bypass);
    assert_int_equal(atomic_load(&barriers), 0);
    end();
}

/* Whether a thread without tickets gets one. Main and the hands have caches. */
static bool may_be_first(size_t beyond)
{
    size_t without = HANDS; /* the other ones */
    for (unsigned i = 0; i < HANDS; i++)
        without -= tickets_of(&hands[i]) != 0;
    return tickets() + 1 <= beyond / 2 || tickets() + 1 + without <= beyond;
}

/* Puts one more than it has tickets for, and gets as many. */
static void fill_beyond(struct hand *hand, size_t beyond)
{
    const uint32_t has = tickets_of(hand), before = tickets();
    uint32_t more = has < MOST - has ? has : MOST - has;
    while (more > 0 && before + more > beyond / 2)
        more /= 2;
    put(hand, has + 1);
    assert_int_equal(tickets(), before + more);
    assert_int_equal(tickets_of(hand), has + more);
    get(hand, has + 1);
    assert_int_equal(excess(), beyond);
    assert_int_equal(tickets(), before + more);
}

/* All hands go on, one after the other, from no excess at all. */
static void tickets_are_bounded_by_the_excess_and_eight_a_cache(void **state)
{
    static const uint32_t afters[] = {1, 7, 20, GRANT_AFTER};
    needs_stealing();
    uint32_t most_of_one = 0;
    for (size_t a = 0; a < sizeof afters / sizeof afters[0]; a++) {
        begin();
        store_relaxed(&pool->pressure.grant_after, afters[a]);
        for (unsigned turn = 0; turn < 10 * HANDS; turn++) {
            struct hand *hand = &hands[turn % HANDS];
            const uint32_t before = tickets(), has = tickets_of(hand);
            const uint32_t granted = has == 0 && turn + 1 >= afters[a] && may_be_first(turn + 1);
            get(hand, 1);
            assert_int_equal(excess(), turn + 1);
            assert_int_equal(tickets(), before + granted);
            assert_int_equal(tickets_of(hand), has + granted);
            if (has != 0 && hand->n > has)
                fill_beyond(hand, turn + 1);
            most_of_one = most_of_one < tickets_of(hand) ? tickets_of(hand) : most_of_one;
        }
        end();
    }
    assert_int_equal(most_of_one, MOST);
}

/* Two buffers beyond the cap are good for one ticket. */
static void have_one_ticket(struct hand *hand)
{
    store_relaxed(&pool->pressure.grant_after, 1);
    get(hand, 2);
    assert_int_equal(tickets_of(hand), 1);
    store_relaxed(&pool->pressure.grant_after, GRANT_LATEST);
}

static void a_full_cache_doubles_its_tickets_if_the_excess_allows_it(void **state)
{
    static const struct {
        size_t excess;
        uint32_t tickets[5]; /* one after the other; 0: no more */
    } all[] = {{3, {1}},           {4, {1, 2}},           {6, {1, 2, 3}},     {8, {1, 2, 4}},
               {10, {1, 2, 4, 5}}, {14, {1, 2, 4, 6, 7}}, {16, {1, 2, 4, 8}}, {40, {1, 2, 4, 8}}};
    needs_stealing();
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        begin();
        have_one_ticket(&hands[0]);
        get(&hands[0], all[i].excess - 2);
        const size_t exist = atomic_load(&blocks.count);
        size_t idle = 0;
        const uint32_t *has = all[i].tickets;
        for (;; has++) {
            while (idle < *has) {
                put(&hands[0], 1);
                idle++;
                assert_int_equal(tickets(), *has);
                assert_int_equal(tickets_of(&hands[0]), *has);
                assert_int_equal(cache_idle(cache_of(&hands[0])), idle);
                assert_int_equal(atomic_load(&blocks.count), exist);
            }
            if (has == all[i].tickets + 4 || has[1] == 0)
                break;
        }
        put(&hands[0], 1); /* which finds no room */
        assert_int_equal(tickets(), *has);
        assert_true(atomic_load(&blocks.count) < exist);
        end();
    }
}

static void a_pool_without_membarrier_grants_none(void **state)
{
    needs_stealing();
    bufferpool_config_t config = config_here();
    config.flags = BUFFERPOOL_NO_MEMBARRIER;
    begin_with(&config);
    get(&hands[0], HAND_HOLDS - 1);
    get(&hands[1], HAND_HOLDS - 1);
    assert_true(stats_of(pool).gets_bypass > 4 * GRANT_AFTER);
    assert_int_equal(tickets(), 0);
    assert_false(cache_is_open(cache_of(&hands[0])));
    end();
}

static void hand_wait_for_one(struct hand *hand)
{
    hand->bufs[hand->n++] = bufferpool_get_timed(pool, BUFFERPOOL_NEVER);
    thread_check(hand->bufs[hand->n - 1] != NULL);
}

static void start_waiting(struct hand *hand)
{
    hand_start(hand, hand_wait_for_one);
    while (!depot_wanted(&pool->depot))
        sched_yield();
}

static void none_are_granted_while_a_thread_waits(void **state)
{
    needs_stealing();
    begin();
    start_waiting(&hands[1]);
    get(&hands[0], 2 * GRANT_AFTER);
    assert_int_equal(tickets(), 0);
    put(&hands[0], 2 * GRANT_AFTER);
    bufferpool_put(bufs[CAP - 1]); /* which it gets */
    hand_finish(&hands[1]);
    check_accounts(pool);
    assert_int_equal(hands[1].n, 1);
    put(&hands[1], 1);
    bufs[CAP - 1] = bufferpool_get(pool);
    get(&hands[0], GRANT_AFTER);
    assert_true(tickets() > 0);
    end();
}

/* ---- the first ticket of each thread ---- */

static void replace_one(struct hand *hand)
{
    put(hand, 1);
    get(hand, 1);
}

/* The hands have all that is out, and main has no cache. */
static void begin_with_hands_alone(size_t out)
{
    const bufferpool_config_t config = config_here();
    begin_hands(&config);
    for (size_t i = 0; i < out; i++)
        get(&hands[i % HANDS], 1);
    for (unsigned i = 0; i < HANDS; i++)
        hand_do(&hands[i], hand_find_cache);
    atomic_store(&barriers, 0);
}

/* As many beyond the cap as threads, each of which replaces one buffer. */
static void near_the_cap_each_thread_gets_its_ticket_and_touches_nothing_shared(void **state)
{
    needs_stealing();
    begin_with_hands_alone(CAP + HANDS);
    assert_int_equal(excess(), HANDS);
    assert_int_equal(tickets(), 0);
    for (size_t made = HANDS; made < GRANT_AFTER + HANDS - 1; made++) /* all but the first to get one, once more */
        replace_one(&hands[made % HANDS]);
    for (unsigned i = 0; i < HANDS; i++)
        assert_int_equal(tickets_of(&hands[i]), 1);
    assert_int_equal(holders(), HANDS);
    assert_int_equal(excess(), HANDS);

    const uint64_t counts = load_relaxed(&pool->depot.counts), head = load_relaxed(&pool->depot.head);
    const bufferpool_stats_t before = stats_of(pool);
    const size_t allocs = atomic_load(&blocks.allocs), frees = atomic_load(&blocks.frees);
    for (unsigned turn = 0; turn < 5 * HANDS; turn++) {
        put(&hands[turn * 7 % HANDS], 1);
        assert_int_equal(load_relaxed(&pool->depot.counts), counts);
        get(&hands[turn * 7 % HANDS], 1);
        assert_int_equal(load_relaxed(&pool->depot.counts), counts);
    }
    for (unsigned i = 0; i < HANDS; i++) /* and all at once */
        put(&hands[i], 1);
    assert_int_equal(load_relaxed(&pool->depot.counts), counts);
    assert_int_equal(stats_of(pool).live, CAP);
    for (unsigned i = 0; i < HANDS; i++)
        get(&hands[i], 1);
    assert_int_equal(load_relaxed(&pool->depot.counts), counts);
    assert_int_equal(load_relaxed(&pool->depot.head), head);
    assert_int_equal(atomic_load(&blocks.allocs), allocs);
    assert_int_equal(atomic_load(&blocks.frees), frees);
    assert_int_equal(stats_of(pool).gets_thread - before.gets_thread, 6 * HANDS);
    assert_int_equal(atomic_load(&barriers), 0);
    for (unsigned i = 0; i < HANDS; i++)
        put(&hands[i], hands[i].n);
    end_with(0);
}

/* Main has the cap. Of what is beyond it each hand has one, and hand 0 the rest. The first `asking` hands ask for
 * tickets, and hand 0 for as many as a cache may have. */
static void begin_with_asking(size_t beyond, unsigned asking)
{
    begin();
    store_relaxed(&pool->pressure.grant_after, GRANT_LATEST);
    for (unsigned i = 0; i < HANDS; i++)
        get(&hands[i], i == 0 ? beyond - (HANDS - 1) : 1);
    assert_int_equal(tickets(), 0);
    store_relaxed(&pool->pressure.grant_after, 1);
    replace_one(&hands[0]);
    if (hands[0].n >= MOST)
        fill_and_empty(&hands[0]);
    for (unsigned turn = 0; turn < 2 * asking; turn++)
        if (tickets_of(&hands[turn % asking]) == 0)
            replace_one(&hands[turn % asking]);
    store_relaxed(&pool->pressure.grant_after, GRANT_LATEST);
    assert_int_equal(excess(), beyond);
    assert_int_equal(atomic_load(&barriers), 0);
}

static void first_tickets_leave_one_of_the_excess_to_each_thread_without(void **state)
{
    static const struct {
        size_t excess;
        uint32_t of_one, all;
    } scenes[] = {
        {HANDS, 1, HANDS / 2},                            /* half; one more would not leave one for each */
        {HANDS + 1, 1, HANDS},                            /* one is main's */
        {HANDS + MOST - 1, MOST, (HANDS + MOST - 1) / 2}, /* as the first */
        {HANDS + MOST, MOST, HANDS + MOST - 1},           /* as the second */
    };
    needs_stealing();
    for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++) {
        begin_with_asking(scenes[i].excess, HANDS);
        assert_int_equal(tickets_of(&hands[0]), scenes[i].of_one);
        assert_int_equal(tickets(), scenes[i].all);
        assert_int_equal(holders(), scenes[i].all - scenes[i].of_one + 1);
        end();
    }
}

/* Also where all others have as many as they may. */
static void a_put_by_a_thread_without_tickets_does_not_end_the_overload(void **state)
{
    needs_stealing();
    for (size_t beyond = HANDS; beyond <= HANDS + MOST; beyond++) {
        begin_with_asking(beyond, HANDS);
        const uint32_t granted = tickets();
        assert_true(granted >= beyond / 2);
        for (int turn = 0; turn < 3; turn++) {
            bufferpool_put(bufs[CAP - 1]);
            check_accounts(pool);
            assert_int_equal(tickets(), granted);
            assert_int_equal(excess(), beyond - 1);
            assert_non_null(bufs[CAP - 1] = bufferpool_get(pool));
            assert_int_equal(excess(), beyond);
        }
        assert_int_equal(tickets(), granted);
        assert_int_equal(atomic_load(&barriers), 0);
        end();
    }
}

/* What those with tickets put idles. The put of each other thread frees one; then callers have the cap. */
static void a_put_by_each_thread_without_tickets_does_not_end_the_overload(void **state)
{
    static const size_t beyond[] = {HANDS + 1, HANDS + MOST};
    needs_stealing();
    for (size_t b = 0; b < sizeof beyond / sizeof beyond[0]; b++) {
        for (unsigned asking = 1; asking <= HANDS; asking++) {
            begin_with_asking(beyond[b], asking);
            const uint32_t granted = tickets();
            assert_int_equal(holders(), asking);
            assert_int_equal(granted, beyond[b] - (HANDS + 1 - asking));
            for (unsigned i = 0; i < asking; i++)
                put(&hands[i], tickets_of(&hands[i]));
            for (unsigned i = asking; i < HANDS; i++)
                put(&hands[i], 1);
            bufferpool_put(bufs[CAP - 1]);
            check_accounts(pool);
            assert_int_equal(tickets(), granted);
            assert_int_equal(all_idle(), granted);
            assert_int_equal(excess(), granted);
            assert_int_equal(bufferpool_live(pool), CAP);
            assert_int_equal(atomic_load(&barriers), 0);
            bufferpool_put(bufs[CAP - 2]); /* callers have less */
            assert_int_equal(tickets(), 0);
            assert_int_equal(holders(), 0);
            assert_int_equal(excess(), 0);
            bufs[CAP - 2] = bufferpool_get(pool);
            bufs[CAP - 1] = bufferpool_get(pool);
            end();
        }
    }
}

/* In the end there is one for it, or one for main. */
static void a_thread_whose_tickets_ended_is_one_without(void **state)
{
    needs_stealing();
    for (int puts = 0; puts < 2; puts++) {
        begin_with_asking(HANDS + 1, HANDS);
        assert_int_equal(holders(), HANDS);
        for (unsigned i = HANDS; i-- > 1;) {
            hand_do(&hands[i], hand_flush);
            check_accounts(pool);
            assert_int_equal(tickets_of(&hands[i]), 0);
            assert_int_equal(holders(), i);
            assert_int_equal(tickets(), i);
        }
        if (puts > 0)
            bufferpool_put(bufs[CAP - 1]);
        store_relaxed(&pool->pressure.grant_after, 1);
        for (unsigned i = 1; i < HANDS; i++)
            replace_one(&hands[i]);
        assert_int_equal(tickets(), puts > 0 ? HANDS / 2 : HANDS);
        assert_int_equal(holders(), tickets());
        store_relaxed(&pool->pressure.grant_after, GRANT_LATEST);
        if (puts > 0)
            bufs[CAP - 1] = bufferpool_get(pool);
        end();
    }
}

/* ---- shed ---- */

/* Hand 0 has 8 tickets; with `idle` of them a buffer idles. It holds the rest of what exists beyond the cap. */
static void begin_overload(size_t beyond, size_t idle)
{
    get(&hands[0], beyond);
    fill_and_empty(&hands[0]);
    put(&hands[0], idle);
    assert_int_equal(tickets_of(&hands[0]), MOST);
    assert_int_equal(cache_idle(cache_of(&hands[0])), idle);
    assert_int_equal(excess(), beyond);
    assert_int_equal(stats_of(pool).bypass_live, beyond - idle);
}

static void a_put_into_a_full_cache_frees_half_as_far_as_the_excess_allows(void **state)
{
    enum { HALF = MOST / 2 };
    needs_stealing();
    for (size_t beyond = 40; beyond < 40 + HALF; beyond++) {
        begin();
        begin_overload(beyond, MOST);
        const uint64_t reclaimed = stats_of(pool).reclaimed_bytes;
        size_t exist = beyond;
        size_t drops = 0;
        while (hands[0].n > 0) {
            const uint32_t idle = cache_idle(cache_of(&hands[0]));
            const bool sheds = idle == MOST && exist >= MOST + HALF, drops_it = idle == MOST && !sheds;
            put(&hands[0], 1);
            assert_int_equal(tickets(), MOST);
            assert_true(excess() >= tickets());
            exist -= sheds ? HALF : drops_it;
            drops += drops_it;
            assert_int_equal(excess(), exist);
            assert_int_equal(cache_idle(cache_of(&hands[0])), sheds ? HALF + 1 : drops_it ? MOST : idle + 1);
        }
        assert_int_equal(drops, (beyond - MOST) % HALF);
        assert_int_equal(stats_of(pool).reclaimed_bytes - reclaimed, (beyond - exist - drops) * CAPACITY);
        assert_int_equal(stats_of(pool).drops_over_cap, drops);
        assert_int_equal(stats_of(pool).bypass_live, 0); /* main has the cap; the tickets stand for what idles */
        assert_int_equal(excess(), MOST);
        assert_int_equal(atomic_load(&barriers), 0);
        end();
    }
}

/* ---- the end ---- */

/* In the order of the time at which callers put, threads with tickets and without: whenever callers have fewer than the
 * cap, no more exist, the moment that the put returns. */
static void when_callers_have_less_than_the_cap_no_more_exist(void **state)
{
    needs_stealing();
    for (unsigned seed = 1; seed <= test_scale(40, 3); seed++) {
        test_random_t random = {seed};
        begin();
        size_t left = 0;
        for (unsigned i = 0; i < HANDS; i++)
            get(&hands[i], i < 4 ? GRANT_AFTER - i * 7 : i % 3);
        for (unsigned i = 0; i < 4; i++)
            fill_and_empty(&hands[i]);
        assert_true(tickets() > MOST);
        for (unsigned i = 0; i < HANDS; i++)
            left += hands[i].n;
        size_t main_has = CAP;
        bool ended = false;
        while (left + main_has > 0) {
            const size_t at = test_random_below(&random, left + main_has);
            if (at < main_has) {
                bufferpool_put(bufs[--main_has]);
                check_accounts(pool);
            } else {
                struct hand *hand = &hands[test_random_below(&random, HANDS)];
                left -= hand->n > 0;
                put(hand, hand->n > 0);
            }
            assert_int_equal(stats_of(pool).live + stats_of(pool).bypass_live, left + main_has);
            if (left + main_has < CAP) {
                assert_true(atomic_load(&blocks.count) <= CAP);
                assert_int_equal(tickets(), 0);
                ended = true;
            } else {
                assert_true(all_idle() <= excess() && stats_of(pool).idle_depot == 0);
            }
        }
        assert_true(ended);
        end_with(0);
    }
}

static void a_put_that_takes_callers_below_the_cap_ends_it_at_once(void **state)
{
    needs_stealing();
    begin();
    begin_overload(GRANT_AFTER, MOST);
    put(&hands[0], hands[0].n); /* callers have the cap exactly */
    assert_int_equal(tickets(), MOST);
    assert_int_equal(excess(), MOST);
    assert_int_equal(bufferpool_live(pool), CAP);
    assert_null(bufferpool_try_get(pool));
    assert_int_equal(atomic_load(&barriers), 0);
    bufferpool_put(bufs[CAP - 1]);
    assert_int_equal(tickets(), 0);
    assert_int_equal(tickets_of(&hands[0]), 0);
    assert_false(cache_is_open(cache_of(&hands[0])));
    assert_int_equal(atomic_load(&blocks.count), CAP);
    assert_int_equal(stats_of(pool).idle_depot, 1);
    assert_int_equal(atomic_load(&barriers), TEST_TSAN ? 0 : 1);
    assert_true(is_under_pressure());
    check_accounts(pool);
    assert_non_null(bufs[CAP - 1] = bufferpool_try_get(pool));
    end();
}

static void hand_end_of_thread(struct hand *hand)
{
    (void)hand;
}

static void trim_it(void)
{
    (void)bufferpool_trim(pool);
}

static void flush_it(void)
{
    hand_do(&hands[0], hand_flush);
}

static void reclaim_it(void)
{
    (void)bufferpool_reclaim(pool); /* it was used since the last */
    assert_int_equal(tickets(), MOST);
    (void)bufferpool_reclaim(pool);
}

static void raise_the_cap_some(void)
{
    bufferpool_set_max_live(pool, CAP + GRANT_AFTER - MOST + 1); /* callers have one less */
    assert_true(is_under_pressure());
}

static void remove_the_cap(void)
{
    bufferpool_set_max_live(pool, 0);
}

static void hand_time_out(struct hand *hand)
{
    thread_check(bufferpool_get_timed(hand->pool, 1) == NULL && errno == ETIMEDOUT);
}

static void wait_in_it(void)
{
    hand_do(&hands[0], hand_time_out);
}

static void each_way_to_take_tickets_back_leaves_none(void **state)
{
    static const struct {
        void (*way)(void);
        size_t left; /* of the eight that idle */
    } ways[] = {{trim_it, 0},           {flush_it, 0},  {reclaim_it, 0}, {raise_the_cap_some, 1},
                {remove_the_cap, MOST}, {wait_in_it, 0}};
    needs_stealing();
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        begin();
        begin_overload(GRANT_AFTER, MOST);
        ways[i].way();
        assert_int_equal(tickets(), 0);
        assert_int_equal(tickets_of(&hands[0]), 0);
        assert_int_equal(holders(), 0);
        assert_true(!is_under_pressure() || !cache_is_open(cache_of(&hands[0])));
        check_accounts(pool);
        assert_int_equal(stats_of(pool).idle_thread, 0);
        assert_int_equal(stats_of(pool).idle_depot, ways[i].left);
        assert_int_equal(excess(), GRANT_AFTER - MOST + ways[i].left);
        bufferpool_set_max_live(pool, CAP);
        end();
    }
}

static void a_thread_that_ends_gives_its_tickets_back(void **state)
{
    needs_stealing();
    begin();
    begin_overload(GRANT_AFTER, MOST);
    memcpy(hands[1].bufs, hands[0].bufs, sizeof hands[0].bufs);
    hands[1].n = hands[0].n;
    hands[0].n = 0;
    hand_do(&hands[0], hand_end_of_thread);
    hand_end(&hands[0]);
    check_accounts(pool);
    assert_int_equal(tickets(), 0);
    assert_int_equal(holders(), 0);
    assert_int_equal(stats_of(pool).idle_thread, 0);
    assert_int_equal(stats_of(pool).bypass_live, GRANT_AFTER - MOST);
    get(&hands[1], 1); /* the next call that looks frees what it left */
    assert_int_equal(stats_of(pool).idle_depot, 0);
    assert_int_equal(excess(), stats_of(pool).bypass_live);
    hand_begin(&hands[0], pool, 0);
    end();
}

static int use_it_in_the_child(void *arg)
{
    (void)arg;
    if (!accounts_agree(pool) || tickets() != 0 || load_relaxed(&pool->pressure.granted) != 0 || holders() != 0)
        end_child(1);
    for (const struct cache *c = load_relaxed(&pool->caches); c != NULL; c = c->next)
        if (load_relaxed(&c->tickets) != 0)
            end_child(2);
    if (bufferpool_live(pool) != CAP || stats_of(pool).bypass_live != GRANT_AFTER - MOST)
        end_child(3);
    bufferpool_buf_t *beyond[2 * GRANT_AFTER];
    for (size_t i = 0; i < (size_t)2 * GRANT_AFTER; i++)
        if ((beyond[i] = bufferpool_get(pool)) == NULL || !accounts_agree(pool))
            end_child(4);
    if (tickets() == 0) /* as in any process */
        end_child(5);
    bufferpool_put_bulk(beyond, (size_t)2 * GRANT_AFTER);
    for (size_t i = 0; i < hands[0].n; i++) /* the child's too */
        bufferpool_put(hands[0].bufs[i]);
    for (size_t i = 0; i < CAP; i++) {
        bufferpool_put(bufs[i]);
        if (!accounts_agree(pool))
            end_child(6);
    }
    end_child(atomic_load(&blocks.count) <= CAP && tickets() == 0 ? 0 : 7);
}

static void a_child_of_fork_has_no_tickets(void **state)
{
    needs_stealing();
    test_blocks_before_fork();
    begin();
    begin_overload(GRANT_AFTER, MOST);
    assert_int_equal(run_in_child(use_it_in_the_child, NULL, 60), 0);
    assert_int_equal(tickets(), MOST);
    assert_int_equal(holders(), 1);
    end();
}

static void a_waiting_thread_is_served_when_callers_have_less_than_the_cap(void **state)
{
    needs_stealing();
    begin();
    begin_overload(GRANT_AFTER, MOST);
    start_waiting(&hands[1]);
    put(&hands[0], hands[0].n);
    assert_true(depot_wanted(&pool->depot)); /* callers have the cap */
    assert_int_equal(bufferpool_live(pool), CAP);
    bufferpool_put(bufs[CAP - 1]);
    hand_finish(&hands[1]);
    check_accounts(pool);
    assert_int_equal(tickets(), 0);
    assert_int_equal(bufferpool_live(pool), CAP);
    put(&hands[1], 1);
    bufs[CAP - 1] = bufferpool_get(pool);
    end();
}

/* What a thread leaves when it ends is freed: callers have more than the cap. */
static void a_waiting_thread_gets_nothing_while_callers_have_more_than_the_cap(void **state)
{
    needs_stealing();
    begin();
    begin_overload(GRANT_AFTER, MOST);
    start_waiting(&hands[1]);
    memcpy(hands[2].bufs, hands[0].bufs, sizeof hands[0].bufs);
    hands[2].n = hands[0].n;
    hand_end(&hands[0]);
    hand_begin(&hands[0], pool, 0);
    assert_true(depot_wanted(&pool->depot));
    put(&hands[2], 1);
    assert_true(depot_wanted(&pool->depot));
    assert_int_equal(all_idle(), 0);
    put(&hands[2], hands[2].n);
    assert_true(depot_wanted(&pool->depot)); /* callers have the cap */
    bufferpool_put(bufs[CAP - 1]);
    hand_finish(&hands[1]);
    check_accounts(pool);
    put(&hands[1], 1);
    bufs[CAP - 1] = bufferpool_get(pool);
    end();
}

/* It cannot be reached while it is inside. Its tickets last until it is out, and the next call of any thread ends
 * them. */
static void what_an_owner_inside_has_goes_with_the_next_call(void **state)
{
    needs_stealing();
    for (int who = 0; who < 3; who++) {
        begin();
        begin_overload(GRANT_AFTER, MOST - 1);
        hand_do(&hands[0], hand_stall);
        bufferpool_put_bulk(bufs, 2); /* callers have the cap and more */
        check_accounts(pool);
        bufferpool_set_max_live(pool, CAP + GRANT_AFTER); /* and now less */
        assert_true(accounts_add_up(pool));
        assert_int_equal(tickets(), MOST);
        assert_false(cache_is_open(cache_of(&hands[0])));
        assert_false(depot_exhausted(&pool->depot, &pool->max_live));
        hand_do(&hands[0], hand_unstall);
        if (who == 0)
            hand_do(&hands[0], hand_put_one);
        else if (who == 1)
            hand_do(&hands[1], hand_use);
        else
            bufferpool_put(bufs[2]);
        assert_int_equal(tickets(), 0);
        assert_int_equal(cache_idle(cache_of(&hands[0])), 0);
        check_accounts(pool);
        bufferpool_set_max_live(pool, CAP);
        for (size_t i = 0; i < (who == 2 ? 3 : 2); i++)
            bufs[i] = bufferpool_get(pool);
        end();
    }
}

/* ---- refused ---- */

static void hand_is_refused(struct hand *hand)
{
    errno = 0;
    thread_check(bufferpool_try_get(hand->pool) == NULL && errno == EAGAIN);
}

static void hand_is_refused_in_time(struct hand *hand)
{
    errno = 0;
    thread_check(bufferpool_get_timed(hand->pool, 0) == NULL && errno == ETIMEDOUT);
}

static void hand_try(struct hand *hand)
{
    hand->bufs[hand->n] = bufferpool_try_get(hand->pool);
    hand->n += hand->bufs[hand->n] != NULL;
}

static void gets_that_do_not_go_beyond_are_refused_although_the_own_cache_has_some(void **state)
{
    needs_stealing();
    for (int tls_index = 0; tls_index < 2; tls_index++) {
        bufferpool_t *others[260];
        size_t n = 0;
        for (; tls_index == 1 && n < 260; n++) /* this one has no TLS index of its own */
            assert_non_null(others[n] = bufferpool_create(NULL));
        begin();
        begin_overload(GRANT_AFTER, MOST);
        const bufferpool_stats_t before = stats_of(pool);
        for (uint64_t i = 1; i <= 100; i++) {
            one(&hands[0], hand_is_refused);
            assert_int_equal(stats_of(pool).gets_refused - before.gets_refused, i);
        }
        assert_int_equal(cache_idle(cache_of(&hands[0])), MOST);
        assert_int_equal(tickets(), MOST);
        one(&hands[0], hand_is_refused_in_time);
        get(&hands[0], MOST); /* and others are not */
        assert_int_equal(stats_of(pool).bypass_live, GRANT_AFTER);
        put(&hands[0], hands[0].n);
        one(&hands[0], hand_is_refused);
        bufferpool_put(bufs[CAP - 1]);
        one(&hands[0], hand_try);
        assert_int_equal(hands[0].n, 1);
        one(&hands[0], hand_is_refused);
        put(&hands[0], 1);
        assert_non_null(bufs[CAP - 1] = bufferpool_try_get(pool));
        end();
        while (n > 0)
            assert_int_equal(bufferpool_destroy(others[--n]), 0);
    }
}

/* ---- kinds of pools and buffers ---- */

static void hand_fill_all(struct hand *hand)
{
    for (size_t i = 0; i < hand->n; i++)
        memset(hand->bufs[i]->data, 0x5e, hand->bufs[i]->cap);
}

static void hand_get_clean(struct hand *hand)
{
    bufferpool_buf_t *buf = bufferpool_get(hand->pool);
    for (size_t i = 0; i < buf->cap; i++)
        if (!thread_check(buf->data[i] == 0))
            break;
    hand->bufs[hand->n++] = buf;
}

static void a_pool_that_wipes_has_tickets_too(void **state)
{
    needs_stealing();
    bufferpool_config_t config = config_here();
    config.flags = BUFFERPOOL_ZERO;
    begin_with(&config);
    begin_overload(GRANT_AFTER, 0);
    const size_t allocs = atomic_load(&blocks.allocs), frees = atomic_load(&blocks.frees);
    const uint64_t counts = load_relaxed(&pool->depot.counts);
    for (int turn = 0; turn < 5; turn++) {
        one(&hands[0], hand_fill_all);
        put(&hands[0], MOST);
        assert_int_equal(stats_of(pool).idle_thread, MOST);
        for (size_t i = 0; i < MOST; i++)
            one(&hands[0], hand_get_clean);
    }
    assert_int_equal(atomic_load(&blocks.allocs), allocs);
    assert_int_equal(atomic_load(&blocks.frees), frees);
    assert_int_equal(load_relaxed(&pool->depot.counts), counts);
    end();
}

static void idle_bytes_are_limited_with_tickets_too(void **state)
{
    needs_stealing();
    for (size_t limit = 1; limit <= 2 * MOST; limit += limit) {
        bufferpool_config_t config = config_here();
        config.max_idle_bytes = limit * CAPACITY;
        begin_with(&config);
        get(&hands[0], GRANT_AFTER);
        get(&hands[1], MOST);
        assert_int_equal(holders(), 2);
        for (int turn = 0; turn < 5; turn++) {
            for (unsigned i = 0; i < 2; i++) {
                put(&hands[i], MOST);
                assert_true(stats_of(pool).idle_bytes <= limit * CAPACITY);
            }
            assert_true(all_idle() > 0);
            for (unsigned i = 0; i < 2; i++)
                get(&hands[i], MOST);
            assert_true(tickets() > MOST);
        }
        end();
    }
}

/* Of 16 plain ones' bytes; the tickets bound the number. */
static void grown_buffers_idle_by_tickets(void **state)
{
    static const size_t times[] = {2, 4, 8, 17};
    needs_stealing();
    for (size_t t = 0; t < sizeof times / sizeof times[0]; t++) {
        begin();
        hands[0].grow = times[t] * CAPACITY;
        get(&hands[0], GRANT_AFTER);
        hands[0].grow = 0;
        const size_t fit = 16 / times[t] < MOST ? 16 / times[t] : MOST;
        put(&hands[0], MOST);
        assert_int_equal(cache_idle(cache_of(&hands[0])), fit);
        assert_int_equal(stats_of(pool).drops_over_cap, MOST - fit);
        assert_int_equal(tickets(), MOST);
        get(&hands[1], 2); /* plain ones, which that hand puts beside the grown ones */
        for (int i = 0; i < 2; i++)
            hands[0].bufs[hands[0].n++] = hands[1].bufs[--hands[1].n];
        put(&hands[0], 2);
        assert_true(cache_idle(cache_of(&hands[0])) <= MOST);
        const uint64_t bypass = stats_of(pool).gets_bypass, idle = all_idle();
        get(&hands[0], (size_t)idle);
        assert_int_equal(all_idle(), 0);
        assert_int_equal(stats_of(pool).gets_bypass, bypass);
        end();
    }
}

/* ---- when it begins again ---- */

/* After so many buffers made beyond the cap. */
static void begins_after(uint32_t n)
{
    size_t made = 0;
    for (; tickets() == 0; made++) {
        struct hand *hand = &hands[1 + made / (HAND_HOLDS - 1) % (HANDS - 1)];
        if (hand->n == HAND_HOLDS - 1)
            hand_do(hand, hand_put);
        hand->want = 1;
        hand_do(hand, hand_get);
    }
    assert_int_equal(made, n);
    assert_int_equal(load_relaxed(&pool->pressure.beyond), n);
}

/* By all that callers have beyond the cap, and one more. */
static void it_ends(void)
{
    for (unsigned i = 0; i < HANDS; i++)
        hand_do(&hands[i], hand_put);
    bufferpool_put(bufs[CAP - 1]);
    assert_int_equal(tickets(), 0);
    check_accounts(pool);
    assert_non_null(bufs[CAP - 1] = bufferpool_try_get(pool));
}

static void after_a_short_overload_the_next_begins_later(void **state)
{
    needs_stealing();
    begin();
    for (uint32_t after = GRANT_AFTER;; after *= 2) {
        begins_after(after);
        atomic_fetch_add(&passed_ms, LASTED_MS - 1);
        it_ends();
        if (after == GRANT_LATEST)
            break;
    }
    begins_after(GRANT_LATEST);
    atomic_fetch_add(&passed_ms, LASTED_MS);
    it_ends();
    begins_after(GRANT_AFTER);
    end();
}

/* As many as the counts can count. */
static void a_get_beyond_what_can_be_counted_fails(void **state)
{
    (void)state;
    test_blocks_t few = {0};
    bufferpool_config_t config = config_with(&few);
    config.buffer_capacity = CAPACITY;
    config.max_live = 1;
    bufferpool_t *full = bufferpool_create(&config);
    assert_non_null(full);
    bufferpool_buf_t *first = bufferpool_get(full), *beyond = bufferpool_get(full);
    const uint64_t others_have = (uint64_t)(DEPOT_POOLED_MAX - 2) << 32;
    atomic_fetch_add(&full->depot.counts, others_have);
    errno = 0;
    assert_null(bufferpool_get(full));
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(depot_counts(&full->depot).pooled, DEPOT_POOLED_MAX);
    atomic_fetch_sub(&full->depot.counts, others_have);
    bufferpool_put(beyond);
    bufferpool_put(first);
    check_accounts(full);
    destroy_empty(full, &few);
}

int main(void)
{
    test_tell_memcheck_nothing();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_that_goes_on_beyond_the_cap_gets_a_cache_again),
        cmocka_unit_test(tickets_are_bounded_by_the_excess_and_eight_a_cache),
        cmocka_unit_test(a_full_cache_doubles_its_tickets_if_the_excess_allows_it),
        cmocka_unit_test(a_pool_without_membarrier_grants_none),
        cmocka_unit_test(none_are_granted_while_a_thread_waits),
        cmocka_unit_test(near_the_cap_each_thread_gets_its_ticket_and_touches_nothing_shared),
        cmocka_unit_test(first_tickets_leave_one_of_the_excess_to_each_thread_without),
        cmocka_unit_test(a_put_by_a_thread_without_tickets_does_not_end_the_overload),
        cmocka_unit_test(a_put_by_each_thread_without_tickets_does_not_end_the_overload),
        cmocka_unit_test(a_thread_whose_tickets_ended_is_one_without),
        cmocka_unit_test(a_put_into_a_full_cache_frees_half_as_far_as_the_excess_allows),
        cmocka_unit_test(when_callers_have_less_than_the_cap_no_more_exist),
        cmocka_unit_test(a_put_that_takes_callers_below_the_cap_ends_it_at_once),
        cmocka_unit_test(each_way_to_take_tickets_back_leaves_none),
        cmocka_unit_test(a_thread_that_ends_gives_its_tickets_back),
        cmocka_unit_test(a_child_of_fork_has_no_tickets),
        cmocka_unit_test(a_waiting_thread_is_served_when_callers_have_less_than_the_cap),
        cmocka_unit_test(a_waiting_thread_gets_nothing_while_callers_have_more_than_the_cap),
        cmocka_unit_test(what_an_owner_inside_has_goes_with_the_next_call),
        cmocka_unit_test(gets_that_do_not_go_beyond_are_refused_although_the_own_cache_has_some),
        cmocka_unit_test(a_pool_that_wipes_has_tickets_too),
        cmocka_unit_test(idle_bytes_are_limited_with_tickets_too),
        cmocka_unit_test(grown_buffers_idle_by_tickets),
        cmocka_unit_test(after_a_short_overload_the_next_begins_later),
        cmocka_unit_test(a_get_beyond_what_can_be_counted_fails),
    };
    return cmocka_run_group_tests_name("tickets", tests, NULL, NULL);
}
