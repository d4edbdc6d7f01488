/* SPDX-License-Identifier: MIT
 *
 * test_pressure.c - what a pool does at its cap, and when it stops doing so
 *
 * Under a long overload the pool steals once per time of pressure, not once per get: the tests count the barriers that
 * the library asks the system for, and look at the pool's state. While the pressure lasts no buffer idles in a thread's
 * cache, whichever thread comes, trims or reclaims meanwhile. The pressure ends once callers hold well below the cap. A
 * load that hovers there does not make it end all the time. Afterwards gets come from the threads' caches again.
 */
#include "support/barriers.h"
#include "support/hands.h"

#include "steal.h"

#include <sched.h>

enum { CAPACITY = 256, CAP = 16, DWELL = 256, GRANT_AFTER = 32 };

static void (*at_trylock)(void);

int __real_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    void (*hook)(void) = at_trylock;
    if (hook != NULL) {
        at_trylock = NULL;
        hook();
    }
    return __real_pthread_mutex_trylock(mutex);
}

/* ---- scenes ---- */

static test_blocks_t blocks;
static bufferpool_t *pool;
static bufferpool_buf_t *bufs[CAP + 1];

static int state_now(void)
{
    return load_relaxed(&pool->pressure.state);
}

static void pool_begin(size_t cap, size_t max_idle_bytes)
{
    memset(&blocks, 0, sizeof blocks);
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = (size_t)CAP * CAPACITY;
    config.max_live = cap;
    config.max_idle_bytes = max_idle_bytes;
    pool = bufferpool_create(&config);
    assert_non_null(pool);
    atomic_store(&barriers, 0);
}

static void pool_end(void)
{
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

/* Main has the whole cap, and knows it. */
static void reach_the_cap(size_t cap)
{
    for (size_t i = 0; i < cap; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    assert_null(bufferpool_try_get(pool));
    assert_int_equal(state_now(), PRESSURE_ON);
}

static void use(size_t turns)
{
    for (size_t i = 0; i < turns; i++)
        bufferpool_put(bufferpool_get(pool));
}

/* Nothing is out. Pressure must end after so few gets, and then gets come from the cache. */
static void pressure_ends(void)
{
    for (int i = 0; i <= DWELL + 1 && state_now() != PRESSURE_OFF; i++)
        use(1);
    assert_int_equal(state_now(), PRESSURE_OFF);
    assert_false(depot_counts(&pool->depot).pressure);
    use(2); /* opens the gate, and brings a buffer */
    const uint64_t before = stats_of(pool).gets_thread;
    use(100);
    assert_int_equal(stats_of(pool).gets_thread, before + 100);
}

#define needs_stealing()                                                                                               \
    do {                                                                                                               \
        (void)state;                                                                                                   \
        if (!test_can_steal())                                                                                         \
            skip();                                                                                                    \
    } while (0)

/* ---- while it lasts ---- */

enum { THREADS = 8, EACH = 10 * CAP / THREADS };

struct overload {
    size_t turns;
    bool together; /* all hold all they want at once */
    pthread_barrier_t all_hold;
};

/* While callers have the cap or more: in all caches together. */
static size_t most_idle(void)
{
    return (size_t)THREADS * CACHE_TICKETS_MAX;
}

static void get_far_too_many(void *arg, unsigned index)
{
    struct overload *load = arg;
    bufferpool_buf_t *held[EACH];
    for (size_t turn = 0; turn < load->turns; turn++) {
        for (size_t i = 0; i < EACH; i++) {
            if (!thread_check((held[i] = bufferpool_get(pool)) != NULL))
                abort();
            memset(held[i]->data, (int)(index * EACH + i), CAPACITY);
        }
        // NOLINTNEXTLINE(bugprone-posix-return): PTHREAD_BARRIER_SERIAL_THREAD is negative
        if (load->together && pthread_barrier_wait(&load->all_hold) == PTHREAD_BARRIER_SERIAL_THREAD) {
            const bufferpool_stats_t stats = stats_of(pool);
            thread_check(stats.live == CAP && stats.live + stats.bypass_live == (uint64_t)THREADS * EACH);
        }
        if (load->together)
            pthread_barrier_wait(&load->all_hold);
        for (size_t i = 0; i < EACH; i++) {
            thread_check(held[i]->data[0] == index * EACH + i && held[i]->data[CAPACITY - 1] == index * EACH + i);
            bufferpool_put(held[i]);
        }
    }
}

static void while_callers_have_the_cap_every_get_is_served_beyond_it(void **state)
{
    static struct hand hands[HANDS];
    needs_stealing();
    struct overload load = {.turns = test_scale(2000, 50)};
    pool_begin(CAP, 0);
    hands_begin(hands, pool);
    hands_fill(hands, CAP, 0);
    reach_the_cap(CAP);
    const bufferpool_stats_t before = stats_of(pool);
    run_threads(THREADS, get_far_too_many, &load);
    const bufferpool_stats_t stats = stats_of(pool);
    assert_int_equal(sum_of_gets(&stats) - sum_of_gets(&before), load.turns * THREADS * EACH);
    assert_int_equal(stats.gets_fresh, CAP);
    assert_true(stats.gets_bypass > 0);
    assert_true(atomic_load(&blocks.peak) <= CAP + THREADS * EACH + most_idle());
    assert_true(atomic_load(&barriers) <= 1 + stats.gets_bypass / GRANT_AFTER);
    assert_int_equal(state_now(), PRESSURE_ON);
    bufferpool_put_bulk(bufs, CAP);
    pressure_ends();
    hands_end(hands);
    pool_end();
}

static void a_long_overload_of_ten_times_the_cap_steals_once_in_many_gets(void **state)
{
    needs_stealing();
    struct overload load = {.turns = test_scale(2000, 50), .together = true};
    assert_int_equal(pthread_barrier_init(&load.all_hold, NULL, THREADS), 0);
    pool_begin(CAP, 0);
    run_threads(THREADS, get_far_too_many, &load);
    pthread_barrier_destroy(&load.all_hold);
    const bufferpool_stats_t stats = stats_of(pool);
    /* each time of pressure, and each overload, begins after so many slow gets */
    assert_true(atomic_load(&barriers) <= 1 + depot_pops(&pool->depot) / DWELL + stats.gets_bypass / GRANT_AFTER);
    assert_true(atomic_load(&blocks.peak) <= THREADS * EACH + most_idle());
    assert_int_equal(sum_of_gets(&stats), load.turns * THREADS * EACH);
    assert_true(stats.gets_bypass >= THREADS * EACH - CAP);
    check_laws(pool, &blocks, 0);
    pressure_ends();
    pool_end();
}

static void hand_put_one(struct hand *hand)
{
    bufferpool_buf_t *buf = hand->bufs[--hand->n];
    bufferpool_put(buf);
}

/* Whatever is called meanwhile, a buffer that is put is where the next get finds it. */
static void put_is_found(struct hand *hand)
{
    hand->want = 1;
    bufferpool_put(bufs[CAP - 1]);
    hand_do(hand, hand_get);
    assert_int_equal(stats_of(pool).idle_thread, 0);
    hand_do(hand, hand_put_one);
    assert_int_equal(stats_of(pool).idle_thread, 0);
    assert_non_null(bufs[CAP - 1] = bufferpool_try_get(pool));
    assert_null(bufferpool_try_get(pool));
    assert_int_equal(state_now(), PRESSURE_ON);
}

static void no_buffer_idles_in_a_cache_under_pressure(void **state)
{
    struct hand old, fresh, gone;
    needs_stealing();
    pool_begin(CAP, (size_t)CAP * CAPACITY);
    hand_begin(&gone, pool, 3);
    hand_begin(&old, pool, 0);
    gone.want = old.want = 3;
    use(1);
    hand_do(&gone, hand_get);
    hand_do(&old, hand_get);
    hand_do(&gone, hand_put);
    hand_do(&old, hand_put);
    hand_end(&gone);
    reach_the_cap(CAP);
    put_is_found(&old);
    hand_begin(&gone, pool, 3); /* its cache was left before, with an open gate, */
    put_is_found(&gone);
    hand_begin(&fresh, pool, 1); /* this one's is made now, */
    put_is_found(&fresh);
    hand_end(&old);
    hand_begin(&old, pool, 2); /* and this one's is used again */
    put_is_found(&old);
    assert_int_equal(bufferpool_trim(pool), 0);
    put_is_found(&old);
    put_is_found(&fresh);
    (void)bufferpool_reclaim(pool);
    put_is_found(&old);
    put_is_found(&fresh);
    hand_do(&old, hand_flush);
    put_is_found(&old);
    pthread_mutex_lock(&pool->caches_lock);
    (void)steal_caches(pool, STEAL_RESERVED, NULL);
    pthread_mutex_unlock(&pool->caches_lock);
    put_is_found(&old);
    put_is_found(&fresh);
    bufferpool_set_max_live(pool, CAP - 2);
    bufferpool_set_max_live(pool, CAP);
    put_is_found(&old);
    put_is_found(&fresh);
    assert_int_equal(stats_of(pool).gets_bypass, 0);
    assert_int_equal(atomic_load(&barriers), TEST_TSAN ? 0 : 1);
    bufferpool_put_bulk(bufs, CAP);
    pressure_ends();
    hand_end(&old);
    hand_end(&fresh);
    hand_end(&gone);
    pool_end();
}

/* ---- how it ends ---- */

static void pressure_ends_when_the_load_has_fallen(void **state)
{
    static const size_t caps[] = {1, 2, 3, 4, 5, CAP};
    needs_stealing();
    for (size_t c = 0; c < sizeof caps / sizeof caps[0]; c++) {
        pool_begin(caps[c], 0);
        reach_the_cap(caps[c]);
        bufferpool_put_bulk(bufs, caps[c]);
        assert_int_equal(state_now(), PRESSURE_ON);
        pressure_ends();
        pool_end();
    }
}

static void pressure_lasts_while_callers_have_more_than_three_quarters(void **state)
{
    needs_stealing();
    pool_begin(CAP, 0);
    reach_the_cap(CAP);
    bufferpool_put_bulk(bufs + 12, 4);
    bufs[12] = bufferpool_get(pool);
    use(4 * DWELL); /* 13 and 14 */
    assert_int_equal(state_now(), PRESSURE_ON);
    bufferpool_put(bufs[12]);
    assert_int_equal(state_now(), PRESSURE_OFF);
    bufferpool_put_bulk(bufs, 12);
    pressure_ends();
    pool_end();
}

/* Turns of a load that goes from 3/4 of the cap, where pressure may end, to beyond the cap, where it begins. */
static void a_load_that_hovers_does_not_make_pressure_flutter(void **state)
{
    enum { TURNS = 3000 };
    struct hand other;
    unsigned entered = 0;
    needs_stealing();
    pool_begin(CAP, 0);
    hand_begin(&other, pool, 0);
    other.want = 1;
    reach_the_cap(CAP);
    bufferpool_put_bulk(bufs + 11, 5);
    for (int turn = 0; turn < TURNS; turn++) {
        const int before = state_now();
        hand_do(&other, hand_use); /* has a gate that opens as soon as it may */
        for (int i = 11; i <= CAP; i++)
            bufs[i] = bufferpool_get(pool);
        assert_int_equal(state_now(), PRESSURE_ON);
        entered += before == PRESSURE_OFF;
        bufferpool_put_bulk(bufs + 11, CAP - 10);
    }
    assert_int_equal(stats_of(pool).gets_bypass, TURNS); /* one a turn */
    const uint32_t pops = depot_pops(&pool->depot);
    assert_in_range(entered, 2, pops / DWELL + 1); /* it did end */
    assert_true(atomic_load(&barriers) <= entered + 1);
    bufferpool_put_bulk(bufs, 11);
    hand_end(&other);
    pool_end();
}

static void pressure_ends_after_an_overload_of_billions_of_gets(void **state)
{
    static const uint64_t turns[] = {UINT64_C(1) << 31, (UINT64_C(1) << 31) + 1000, (UINT64_C(1) << 32) - 100};
    needs_stealing();
    for (size_t t = 0; t < 3; t++) {
        pool_begin(CAP, 0);
        reach_the_cap(CAP);
        add_relaxed(&pool->depot.head, turns[t] << 32); /* in place of that many pops; the stack is empty */
        bufferpool_put_bulk(bufs, CAP);
        pressure_ends();
        pool_end();
    }
}

static void a_removed_cap_ends_pressure(void **state)
{
    needs_stealing();
    pool_begin(CAP, 0);
    reach_the_cap(CAP);
    bufferpool_set_max_live(pool, 0);
    assert_int_equal(state_now(), PRESSURE_OFF);
    bufferpool_put_bulk(bufs, CAP);
    pressure_ends();
    pool_end();
}

static void a_lowered_cap_well_above_the_use_leaves_no_pressure(void **state)
{
    needs_stealing();
    pool_begin(CAP, 0);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, CAP), 0);
    bufferpool_put_bulk(bufs + 8, 8);
    bufferpool_set_max_live(pool, 12); /* of which 8 are in use */
    assert_int_equal(atomic_load(&blocks.count), 12);
    assert_int_equal(state_now(), PRESSURE_OFF);
    bufferpool_set_max_live(pool, 9);
    assert_int_equal(atomic_load(&blocks.count), 9);
    assert_int_equal(state_now(), PRESSURE_ON); /* 8 of 9: that is not well below */
    bufferpool_put_bulk(bufs, 8);
    pressure_ends();
    pool_end();
}

/* ---- it does not end at the wrong moment ---- */

static void hand_wait_for_one(struct hand *hand)
{
    hand->bufs[hand->n++] = bufferpool_get_timed(pool, BUFFERPOOL_NEVER);
    thread_check(hand->bufs[0] != NULL);
}

static void pressure_does_not_end_while_a_thread_waits(void **state)
{
    struct hand waiting;
    needs_stealing();
    pool_begin(CAP, 0);
    reach_the_cap(CAP);
    hand_begin(&waiting, pool, 0);
    hand_start(&waiting, hand_wait_for_one);
    while (!depot_wanted(&pool->depot))
        sched_yield();
    assert_false(depot_end_pressure(&pool->depot, &pool->max_live));
    assert_true(depot_counts(&pool->depot).pressure);
    bufferpool_put(bufs[CAP - 1]); /* is handed over */
    hand_finish(&waiting);
    hand_do(&waiting, hand_put_one);
    bufferpool_put_bulk(bufs, CAP - 1);
    pressure_ends();
    hand_end(&waiting);
    pool_end();
}

static struct hand quick;

static void hand_end_it_and_begin_it_anew(struct hand *hand)
{
    bufferpool_put(bufferpool_get(pool));
    thread_check(state_now() == PRESSURE_OFF);
    while ((hand->bufs[hand->n] = bufferpool_try_get(pool)) != NULL)
        hand->n++;
    thread_check(hand->n == 4 && state_now() == PRESSURE_ON);
}

static void be_quick(void)
{
    hand_do(&quick, hand_end_it_and_begin_it_anew);
}

/* Who saw that it may end is overtaken by one that ends it, uses up the cap, and is under pressure again. */
static void pressure_does_not_end_by_a_stale_observation(void **state)
{
    needs_stealing();
    pool_begin(CAP, 0);
    hand_begin(&quick, pool, 0);
    reach_the_cap(CAP);
    bufferpool_put_bulk(bufs + 13, 3);
    use(2 * DWELL);
    assert_int_equal(state_now(), PRESSURE_ON);
    at_trylock = be_quick;
    bufferpool_put(bufs[12]);
    assert_null(at_trylock);
    assert_int_equal(quick.n, 4);
    assert_int_equal(state_now(), PRESSURE_ON);
    hand_do(&quick, hand_put);
    bufferpool_put_bulk(bufs, 12);
    pressure_ends();
    hand_end(&quick);
    pool_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(while_callers_have_the_cap_every_get_is_served_beyond_it),
        cmocka_unit_test(a_long_overload_of_ten_times_the_cap_steals_once_in_many_gets),
        cmocka_unit_test(no_buffer_idles_in_a_cache_under_pressure),
        cmocka_unit_test(pressure_ends_when_the_load_has_fallen),
        cmocka_unit_test(pressure_lasts_while_callers_have_more_than_three_quarters),
        cmocka_unit_test(a_load_that_hovers_does_not_make_pressure_flutter),
        cmocka_unit_test(pressure_ends_after_an_overload_of_billions_of_gets),
        cmocka_unit_test(a_removed_cap_ends_pressure),
        cmocka_unit_test(a_lowered_cap_well_above_the_use_leaves_no_pressure),
        cmocka_unit_test(pressure_does_not_end_while_a_thread_waits),
        cmocka_unit_test(pressure_does_not_end_by_a_stale_observation),
    };
    return cmocka_run_group_tests_name("pressure", tests, NULL, NULL);
}
