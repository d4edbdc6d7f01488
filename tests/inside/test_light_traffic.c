/* SPDX-License-Identifier: MIT
 *
 * test_light_traffic.c - what a burst left goes back while threads get and put out of their own caches
 *
 * Such calls use neither the depot nor, mostly, the clock. Whatever their rate, and whichever pool: three intervals and
 * 64 gets after the burst its memory is gone, and until then it went in bounded parts. The linker's --wrap replaces the
 * coarse monotonic clock by the test's own and counts the looks at it.
 */
#include "support/hands.h"

#include "reclaim.h"

enum { CAPACITY = 1024, CACHED = 16, BURST = 4000, INTERVAL_MS = 1000, INTERVALS = 3, GETS = 64 };

static uint64_t clock_ms;
static atomic_size_t looks;

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    if (clock != CLOCK_MONOTONIC_COARSE)
        return __real_clock_gettime(clock, now);
    atomic_fetch_add(&looks, 1);
    now->tv_sec = (time_t)(clock_ms / 1000);
    now->tv_nsec = (long)(clock_ms % 1000) * 1000000;
    return 0;
}

static bufferpool_config_t light_config(void)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = (size_t)CACHED * CAPACITY;
    config.reclaim_interval_ms = INTERVAL_MS;
    return config;
}

static bufferpool_t *create(const bufferpool_config_t *config)
{
    clock_ms = 5000;
    bufferpool_t *pool = bufferpool_create(config);
    assert_non_null(pool);
    return pool;
}

static void burst(bufferpool_t *pool, size_t n)
{
    static bufferpool_buf_t *bufs[BURST];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, n), 0);
    bufferpool_put_bulk(bufs, n);
}

static void end(bufferpool_t *pool)
{
    check_laws(pool, NULL, 0);
    (void)bufferpool_trim(pool);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static size_t idle_in(const bufferpool_t *pool)
{
    const bufferpool_stats_t stats = stats_of(pool);
    return (size_t)(stats.idle_thread + stats.idle_depot);
}

/* ---- a thread's calls ---- */

typedef bufferpool_buf_t *get_fn(bufferpool_t *pool);

static bufferpool_buf_t *get_timed(bufferpool_t *pool)
{
    return bufferpool_get_timed(pool, 0);
}

static bufferpool_buf_t *get_one_in_bulk(bufferpool_t *pool)
{
    bufferpool_buf_t *buf = NULL;
    return bufferpool_get_bulk(pool, &buf, 1) == 0 ? buf : NULL;
}

/* Holds `held` at a time, all within one turn. */
static void turn(bufferpool_t *pool, get_fn *get, size_t held)
{
    bufferpool_buf_t *bufs[CACHED];
    for (size_t i = 0; i < held; i++)
        assert_non_null(bufs[i] = get(pool));
    bufferpool_put_bulk(bufs, held);
}

/* One get each `gap_us` microseconds until that many intervals and gets are over. */
static void light_traffic(bufferpool_t *pool, get_fn *get, size_t held, uint64_t gap_us)
{
    const uint64_t from_ms = clock_ms;
    uint64_t us = 0;
    for (size_t late = 0; late < GETS;) {
        turn(pool, get, held);
        us += gap_us * held;
        clock_ms = from_ms + us / 1000;
        late += us >= (uint64_t)INTERVALS * INTERVAL_MS * 1000 ? held : 0;
    }
}

/* From a hundred thousand in an interval to one in ten. */
static const uint64_t gaps_us[] = {10,    30,    100,    700,    3000,    10000,   20500,
                                   33000, 63000, 130000, 340000, 1100000, 10000000};

enum { GAPS = sizeof gaps_us / sizeof gaps_us[0] };

static void it_is_gone_whatever_the_rate(void **state)
{
    static get_fn *const ways[] = {bufferpool_get, bufferpool_try_get, get_timed, get_one_in_bulk};
    (void)state;
    for (size_t i = 0; i < GAPS; i++) {
        const bufferpool_config_t config = light_config();
        bufferpool_t *pool = create(&config);
        burst(pool, BURST);
        light_traffic(pool, ways[i % 4], 1, gaps_us[i]);
        assert_in_range(idle_in(pool), 1, CACHED);
        assert_true(stats_of(pool).reclaimed_bytes >= (uint64_t)(BURST - CACHED) * CAPACITY);
        end(pool);
    }
}

/* The looks may fall anywhere beside the periods. */
static void it_is_gone_whenever_the_traffic_begins(void **state)
{
    (void)state;
    for (unsigned before = 0; before < 60; before++) {
        const bufferpool_config_t config = light_config();
        bufferpool_t *pool = create(&config);
        for (unsigned i = 0; i < before; i++)
            turn(pool, bufferpool_get, 1);
        clock_ms += before * INTERVAL_MS / 60;
        burst(pool, BURST / 4);
        light_traffic(pool, bufferpool_get, 1, gaps_us[before % GAPS]);
        assert_in_range(idle_in(pool), 1, CACHED);
        end(pool);
    }
}

/* The count of a thread at full speed has long to go while nothing lies in the depot, which its own burst changes. */
static void it_is_gone_if_a_thread_at_full_speed_has_the_burst(void **state)
{
    (void)state;
    for (size_t i = 1; i < GAPS; i += 3) {
        const bufferpool_config_t config = light_config();
        bufferpool_t *pool = create(&config);
        for (size_t turns = 0; turns < 1000 + 37 * i; turns++)
            turn(pool, bufferpool_get, 1);
        burst(pool, BURST);
        light_traffic(pool, bufferpool_get, 1, gaps_us[i]);
        assert_in_range(idle_in(pool), 1, CACHED);
        end(pool);
    }
}

/* The same at the cap: the puts of the burst find the gate closed, and later ones open it again. */
static void it_is_gone_after_pressure_too(void **state)
{
    enum { HELD = 8 };
    (void)state;
    if (!test_can_steal())
        skip();
    for (size_t i = 1; i < GAPS; i += 3) {
        bufferpool_config_t config = light_config();
        config.max_live = BURST - 1;
        bufferpool_t *pool = create(&config);
        for (size_t turns = 0; turns < 1000 + 37 * i; turns++)
            turn(pool, bufferpool_get, 1);
        burst(pool, BURST); /* one beyond the cap */
        while (load_relaxed(&pool->pressure.state) != PRESSURE_OFF)
            turn(pool, bufferpool_get, HELD);
        turn(pool, bufferpool_get, 1);
        light_traffic(pool, bufferpool_get, 1, gaps_us[i]);
        assert_in_range(idle_in(pool), 1, CACHED);
        end(pool);
    }
}

static void it_is_gone_when_several_are_held(void **state)
{
    (void)state;
    for (size_t i = 0; i < GAPS; i++) {
        const bufferpool_config_t config = light_config();
        bufferpool_t *pool = create(&config);
        burst(pool, BURST);
        light_traffic(pool, bufferpool_get, 8, gaps_us[i]);
        assert_in_range(idle_in(pool), 8, CACHED);
        end(pool);
    }
}

/* After so long a silence the first look knows that nothing was needed. */
static void it_is_gone_within_64_gets_after_a_silence(void **state)
{
    (void)state;
    const bufferpool_config_t config = light_config();
    bufferpool_t *pool = create(&config);
    burst(pool, BURST);
    clock_ms += (uint64_t)INTERVALS * INTERVAL_MS;
    for (int i = 0; i < GETS; i++)
        turn(pool, bufferpool_get, 1);
    assert_in_range(idle_in(pool), 1, CACHED);
    end(pool);
}

/* With a cap, with a limit on idle bytes, wiped, with huge pages; and the default pool. */
static void it_is_gone_from_every_kind_of_pool(void **state)
{
    (void)state;
    bufferpool_config_t configs[5];
    for (size_t i = 0; i < 5; i++)
        configs[i] = light_config();
    configs[0].max_live = BURST;
    configs[1].max_idle_bytes = (size_t)BURST * CAPACITY;
    configs[2].flags = BUFFERPOOL_ZERO;
    configs[3].flags = BUFFERPOOL_HUGEPAGES;
    configs[4].thread_cache_bytes = CAPACITY;
    for (size_t i = 0; i < 5 * (size_t)GAPS; i += 3) {
        bufferpool_t *pool = create(&configs[i % 5]);
        burst(pool, BURST);
        light_traffic(pool, bufferpool_get, 1, gaps_us[i / 5]);
        assert_in_range(idle_in(pool), 1, CACHED);
        end(pool);
    }
    burst(NULL, 300);
    const bufferpool_stats_t before = stats_of(NULL);
    for (int interval = 0; interval < INTERVALS; interval++) {
        clock_ms += 10000; /* the default */
        for (int i = 0; i < GETS / 2; i++)
            turn(NULL, bufferpool_get, 1);
    }
    for (int i = 0; i < GETS; i++)
        turn(NULL, bufferpool_get, 1);
    assert_true(before.idle_thread + before.idle_depot >= 300);
    assert_in_range(idle_in(NULL), 1, CACHED); /* of 32 KiB in 512 */
}

/* Whose caches the fast path does not find. */
static void it_is_gone_from_the_pools_beyond_the_first_ones(void **state)
{
    (void)state;
    bufferpool_t *others[TLS_INDEXES];
    for (size_t i = 0; i < TLS_INDEXES; i++)
        assert_non_null(others[i] = bufferpool_create(NULL));
    for (size_t i = 0; i < GAPS; i++) {
        const bufferpool_config_t config = light_config();
        bufferpool_t *pool = create(&config);
        assert_true(pool->index >= TLS_INDEX_NONE);
        burst(pool, BURST);
        light_traffic(pool, bufferpool_get, 1, gaps_us[i]);
        assert_in_range(idle_in(pool), 1, CACHED);
        end(pool);
    }
    for (size_t i = 0; i < TLS_INDEXES; i++)
        assert_int_equal(bufferpool_destroy(others[i]), 0);
}

/* ---- several threads ---- */

static void hand_turn(struct hand *hand)
{
    bufferpool_buf_t *bufs[CACHED];
    for (size_t i = 0; i < hand->want; i++)
        thread_check((bufs[i] = bufferpool_get(hand->pool)) != NULL);
    bufferpool_put_bulk(bufs, hand->want);
}

/* The thread that had the burst sleeps; what is in its cache goes too. */
static void it_is_gone_beside_a_sleeping_thread(void **state)
{
    enum { THREADS = 4, HELD = 8 };
    static struct hand hands[THREADS];
    (void)state;
    if (!test_can_steal())
        skip();
    for (size_t i = 0; i < GAPS; i += 4) {
        const bufferpool_config_t config = light_config();
        bufferpool_t *pool = create(&config);
        for (unsigned t = 0; t < THREADS; t++) {
            hand_begin(&hands[t], pool, t);
            hands[t].want = HELD;
        }
        burst(pool, BURST);
        const uint64_t from_ms = clock_ms;
        uint64_t us = 0;
        const uint64_t gap_us = gaps_us[i] > 1000 ? gaps_us[i] : 1000;
        for (size_t late = 0; late < (size_t)GETS; late += us >= (uint64_t)INTERVALS * INTERVAL_MS * 1000 ? HELD : 0) {
            for (unsigned t = 0; t < THREADS; t++)
                hand_do(&hands[t], hand_turn);
            us += gap_us * HELD;
            clock_ms = from_ms + us / 1000;
        }
        assert_in_range(idle_in(pool), THREADS * HELD, THREADS * CACHED);
        for (unsigned t = 0; t < THREADS; t++)
            hand_end(&hands[t]);
        end(pool);
    }
}

/* ---- what it costs ---- */

static void no_call_frees_more_than_a_quarter(void **state)
{
    enum { SLACK = 64 }; /* the least, and the rest of a magazine */
    (void)state;
    for (size_t i = 0; i < GAPS; i++) {
        const bufferpool_config_t config = light_config();
        bufferpool_t *pool = create(&config);
        burst(pool, BURST);
        size_t idle = idle_in(pool), most = 0;
        for (size_t gets = 0; idle > CACHED; gets++) {
            assert_true(gets < 20 * 100000);
            turn(pool, bufferpool_get, 1);
            if (gaps_us[i] >= 1000)
                clock_ms += gaps_us[i] / 1000;
            else if (gets % (1000 / gaps_us[i]) == 0)
                clock_ms++;
            if (gets % 16 != 0 && gaps_us[i] < 1000) /* stats_of is dear */
                continue;
            const size_t now = idle_in(pool);
            most = idle - now > most ? idle - now : most;
            idle = now;
        }
        assert_true(most <= BURST / 4 + SLACK);
        if (gaps_us[i] <= 100 && !test_under_valgrind()) /* where calls come often, they share the work */
            assert_true(most <= 3 * SLACK);
        end(pool);
    }
}

/* One in so many looks, if it was like that for some time. */
static void check_looks(bufferpool_t *pool, size_t one_in)
{
    for (size_t i = 0; i < 4 * one_in; i++) /* the first look comes after a long time */
        turn(pool, bufferpool_get, 1);
    const size_t before = atomic_load(&looks);
    for (size_t i = 0; i < 100 * one_in; i++)
        turn(pool, bufferpool_get, 1);
    assert_in_range(atomic_load(&looks) - before, 100, 101);
}

static void one_get_in_48_looks_at_the_clock(void **state)
{
    (void)state;
    const bufferpool_config_t config = light_config();
    bufferpool_t *pool = create(&config);
    burst(pool, 4 * CACHED);
    check_looks(pool, 48);
    const bufferpool_stats_t stats = stats_of(pool);
    assert_int_equal(stats.gets_thread + stats.gets_depot + stats.gets_fresh, 4 * CACHED + 104 * 48);
    end(pool);
}

/* Nothing is there to go. But a slow thread looks as often as otherwise. */
static void one_get_in_511_looks_at_the_clock_if_the_depot_is_empty(void **state)
{
    (void)state;
    const bufferpool_config_t config = light_config();
    bufferpool_t *pool = create(&config);
    burst(pool, CACHED / 2);
    check_looks(pool, 511);
    for (size_t i = 0; i < 2 * 511; i++, clock_ms++)
        turn(pool, bufferpool_get, 1);
    const size_t before = atomic_load(&looks);
    for (size_t i = 0; i < 480; i++, clock_ms++)
        turn(pool, bufferpool_get, 1);
    assert_true(atomic_load(&looks) >= before + 10);
    end(pool);
}

/* However long it has been slow: whoever fills the depot meanwhile, it finds out soon. */
static void a_slow_thread_looks_often_beside_an_empty_depot_too(void **state)
{
    (void)state;
    const bufferpool_config_t config = light_config();
    bufferpool_t *pool = create(&config);
    burst(pool, CACHED / 2);
    for (size_t i = 0; i < 2 * 511; i++) /* at full speed first */
        turn(pool, bufferpool_get, 1);
    for (size_t i = 0; i < 511 + 48; i++, clock_ms += INTERVAL_MS)
        turn(pool, bufferpool_get, 1);
    for (int window = 0; window < 30; window++) {
        const size_t before = atomic_load(&looks);
        for (int i = 0; i < 48; i++, clock_ms += INTERVAL_MS)
            turn(pool, bufferpool_get, 1);
        assert_true(atomic_load(&looks) >= before + 48 / 2);
    }
    end(pool);
}

static void a_pool_that_never_reclaims_does_not_look(void **state)
{
    (void)state;
    bufferpool_config_t config = light_config();
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    bufferpool_t *pool = create(&config);
    const size_t before = atomic_load(&looks);
    burst(pool, BURST);
    for (int i = 0; i < 1000; i++) {
        turn(pool, bufferpool_get, 1);
        clock_ms += INTERVAL_MS;
    }
    assert_int_equal(atomic_load(&looks), before);
    assert_int_equal(idle_in(pool), BURST);
    if (!test_under_valgrind()) /* nor does it try again */
        assert_true(load_relaxed(&tls_cache_find(pool->index)->level) < LEVEL_LAST / 2);
    end(pool);
}

/* A get that is to look while the gate is closed goes to the depot, and later ones look again. */
static void a_closed_gate_does_not_end_the_looks(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    bufferpool_config_t config = light_config();
    config.max_live = 4;
    bufferpool_t *pool = create(&config);
    burst(pool, 4);
    for (int i = 0; i < 48; i++)
        turn(pool, bufferpool_get, 1);
    turn(pool, bufferpool_get, 5); /* one beyond the cap: pressure */
    for (int i = 0; i < 400; i++)
        turn(pool, bufferpool_get, 1);
    const size_t before = atomic_load(&looks);
    for (int i = 0; i < 10 * 48; i++)
        turn(pool, bufferpool_get, 1);
    assert_true(atomic_load(&looks) >= before + 10);
    assert_int_equal(stats_of(pool).live, 0);
    end(pool);
}

/* Another thread closes the gate just before the look. Nothing idles under pressure: there is nothing to look for. */
static void no_get_beyond_the_cap_looks(void **state)
{
    enum { CAP = 4 };
    static struct hand hand;
    (void)state;
    if (!test_can_steal())
        skip();
    bufferpool_config_t config = light_config();
    config.max_live = CAP;
    bufferpool_t *pool = create(&config);
    burst(pool, CAP);
    for (int i = 0; i < 48; i++)
        turn(pool, bufferpool_get, 1);
    hand_begin(&hand, pool, 0);
    hand.want = CAP;
    hand_do(&hand, hand_get);
    const size_t before = atomic_load(&looks);
    for (int i = 0; i < 100; i++)
        turn(pool, bufferpool_get, 1);
    assert_int_equal(atomic_load(&looks), before);
    assert_int_equal(stats_of(pool).gets_bypass, 100);
    hand_do(&hand, hand_put);
    hand_end(&hand);
    end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_gone_whatever_the_rate),
        cmocka_unit_test(it_is_gone_whenever_the_traffic_begins),
        cmocka_unit_test(it_is_gone_if_a_thread_at_full_speed_has_the_burst),
        cmocka_unit_test(it_is_gone_after_pressure_too),
        cmocka_unit_test(it_is_gone_when_several_are_held),
        cmocka_unit_test(it_is_gone_within_64_gets_after_a_silence),
        cmocka_unit_test(it_is_gone_from_every_kind_of_pool),
        cmocka_unit_test(it_is_gone_from_the_pools_beyond_the_first_ones),
        cmocka_unit_test(it_is_gone_beside_a_sleeping_thread),
        cmocka_unit_test(no_call_frees_more_than_a_quarter),
        cmocka_unit_test(one_get_in_48_looks_at_the_clock),
        cmocka_unit_test(one_get_in_511_looks_at_the_clock_if_the_depot_is_empty),
        cmocka_unit_test(a_slow_thread_looks_often_beside_an_empty_depot_too),
        cmocka_unit_test(a_pool_that_never_reclaims_does_not_look),
        cmocka_unit_test(a_closed_gate_does_not_end_the_looks),
        cmocka_unit_test(no_get_beyond_the_cap_looks),
    };
    return cmocka_run_group_tests_name("light_traffic", tests, NULL, NULL);
}
