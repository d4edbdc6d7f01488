/* SPDX-License-Identifier: MIT
 *
 * test_stats.c - every gauge and every counter, one scenario each
 *
 * Each scenario says by how much each figure moves, and all other figures must stand still: change() compares the
 * statistics before and after, field by field. The struct may be that of an older or a newer program: its size says how
 * much the library fills in.
 */
#include "support/laws.h"

#include <sched.h>
#include <time.h>

enum { CAPACITY = 2048 };

static test_blocks_t blocks;
static bufferpool_t *pool;

static int make_pool(void **state)
{
    (void)state;
    memset(&blocks, 0, sizeof blocks);
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.max_capacity = 4 * CAPACITY;
    config.thread_cache_bytes = 8 * CAPACITY;
    pool = bufferpool_create(&config);
    return pool == NULL;
}

static int drop_pool(void **state)
{
    (void)state;
    const bool fine = laws_hold(pool, &blocks, 0) && bufferpool_destroy(pool) == 0;
    return fine && atomic_load(&blocks.count) == 0 ? 0 : -1;
}

/* How the counters moved since `then`. */
static bufferpool_stats_t change(const bufferpool_stats_t *then)
{
    bufferpool_stats_t now = stats_of(pool);
#define since(field) now.field -= then->field
    since(gets_thread), since(gets_depot), since(gets_fresh), since(gets_bypass), since(gets_refused);
    since(puts_kept), since(drops_oversize), since(drops_bypass), since(drops_over_cap), since(drops_idle_limit);
    since(grows), since(reclaimed_bytes), since(shrinks), since(stolen);
#undef since
    return now;
}

/* All counters of the change, in the order of the struct. */
#define counters_are(thread, depot, fresh, bypass, refused, kept, oversize, over_cap, idle_limit, grown)               \
    do {                                                                                                               \
        const bufferpool_stats_t c_ = change(&then);                                                                   \
        assert_int_equal(c_.gets_thread, (thread));                                                                    \
        assert_int_equal(c_.gets_depot, (depot));                                                                      \
        assert_int_equal(c_.gets_fresh, (fresh));                                                                      \
        assert_int_equal(c_.gets_bypass, (bypass));                                                                    \
        assert_int_equal(c_.gets_refused, (refused));                                                                  \
        assert_int_equal(c_.puts_kept, (kept));                                                                        \
        assert_int_equal(c_.drops_oversize, (oversize));                                                               \
        assert_int_equal(c_.drops_bypass, 0);                                                                          \
        assert_int_equal(c_.drops_over_cap, (over_cap));                                                               \
        assert_int_equal(c_.drops_idle_limit, (idle_limit));                                                           \
        assert_int_equal(c_.grows, (grown));                                                                           \
        assert_int_equal(c_.shrinks, 0);                                                                               \
        assert_int_equal(c_.stolen, 0);                                                                                \
    } while (0)

static void a_new_pool_is_all_zeros(void **state)
{
    (void)state;
    bufferpool_stats_t zeros = BUFFERPOOL_STATS_INIT;
    const bufferpool_stats_t stats = stats_of(pool);
    assert_memory_equal(&stats, &zeros, sizeof stats);
    bufferpool_set_max_live(pool, 77);
    zeros.max_live = 77;
    const bufferpool_stats_t capped = stats_of(pool);
    assert_memory_equal(&capped, &zeros, sizeof capped);
}

static void each_get_counts_by_the_source_of_its_buffer(void **state)
{
    (void)state;
    bufferpool_stats_t then = stats_of(pool);
    bufferpool_buf_t *bufs[3] = {bufferpool_get(pool), bufferpool_get(pool), bufferpool_get(pool)};
    counters_are(0, 0, 3, 0, 0, 0, 0, 0, 0, 0);
    for (int i = 0; i < 3; i++)
        bufferpool_put(bufs[i]);
    counters_are(0, 0, 3, 0, 0, 3, 0, 0, 0, 0);

    then = stats_of(pool);
    bufs[0] = bufferpool_get(pool);
    counters_are(1, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    bufferpool_put(bufs[0]);
    bufferpool_thread_flush();
    counters_are(1, 0, 0, 0, 0, 1, 0, 0, 0, 0);

    then = stats_of(pool);
    bufs[0] = bufferpool_try_get(pool);
    counters_are(0, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    bufferpool_set_max_live(pool, 3);
    bufs[1] = bufferpool_get(pool);
    bufs[2] = bufferpool_get(pool);
    then = stats_of(pool);
    bufferpool_buf_t *beyond = bufferpool_get(pool);
    assert_null(bufferpool_try_get(pool));
    counters_are(0, 0, 0, 1, 1, 0, 0, 0, 0, 0);
    assert_int_equal(stats_of(pool).live, 3);
    assert_int_equal(stats_of(pool).bypass_live, 1);
    bufferpool_put(beyond);
    counters_are(0, 0, 0, 1, 1, 0, 0, 1, 0, 0);
    assert_int_equal(stats_of(pool).bypass_live, 0);
    bufferpool_put_bulk(bufs, 3);
    counters_are(0, 0, 0, 1, 1, 3, 0, 1, 0, 0);
}

static void a_wait_in_vain_is_a_refusal(void **state)
{
    (void)state;
    bufferpool_set_max_live(pool, 1);
    const bufferpool_stats_t then = stats_of(pool);
    bufferpool_buf_t *buf = bufferpool_get_timed(pool, 0);
    counters_are(0, 0, 1, 0, 0, 0, 0, 0, 0, 0);
    assert_null(bufferpool_get_timed(pool, 0));
    counters_are(0, 0, 1, 0, 1, 0, 0, 0, 0, 0);
    assert_null(bufferpool_get_timed(pool, 3));
    counters_are(0, 0, 1, 0, 2, 0, 0, 0, 0, 0);
    bufferpool_put(buf);
    counters_are(0, 0, 1, 0, 2, 1, 0, 0, 0, 0);
    buf = bufferpool_get_timed(pool, 0); /* under pressure from the depot */
    counters_are(0, 1, 1, 0, 2, 1, 0, 0, 0, 0);
    bufferpool_put(buf);
}

static void shrinks_count_blocks_that_became_smaller(void **state)
{
    (void)state;
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_int_equal(bufferpool_buf_reserve(buf, 4 * CAPACITY), 0);
    bufferpool_put(buf);
    const bufferpool_stats_t then = stats_of(pool);
    for (uint64_t turn = 1; turn <= 7; turn++) {
        assert_ptr_equal(bufferpool_get(pool), buf);
        bufferpool_put(buf);
        const bufferpool_stats_t c = change(&then);
        assert_int_equal(c.shrinks, turn >= 5);
        assert_int_equal(c.gets_thread, turn);
        assert_int_equal(c.puts_kept, turn);
        assert_int_equal(c.grows + c.reclaimed_bytes + sum_of_drops(&c), 0);
        assert_int_equal(c.idle_bytes, turn >= 5 ? CAPACITY : 4 * CAPACITY);
        assert_int_equal(c.live_bytes, 0);
    }
}

static void put_three_and_meet(void *barrier, unsigned index)
{
    (void)index;
    bufferpool_buf_t *bufs[3];
    thread_check(bufferpool_get_bulk(pool, bufs, 3) == 0);
    bufferpool_put_bulk(bufs, 3);
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
}

/* By trim, by reclaim and by a get at the cap, for which those of one thread are enough; one's own are not stolen. */
static void stolen_counts_buffers_from_caches_of_other_threads(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    for (int by = 0; by < 3; by++) {
        pthread_barrier_t barrier;
        const bufferpool_stats_t then = stats_of(pool);
        assert_int_equal(pthread_barrier_init(&barrier, NULL, 3), 0);
        test_crew_t *crew = start_threads(2, put_three_and_meet, &barrier);
        pthread_barrier_wait(&barrier);
        bufferpool_buf_t *own = bufferpool_get(pool);
        bufferpool_put(own);
        const bool none = change(&then).stolen == 0;
        bufferpool_set_max_live(pool, by == 2 ? 7 : 0);
        bufferpool_buf_t *bufs[2] = {NULL, NULL};
        if (by == 0)
            bufferpool_trim(pool);
        for (int i = 0; by == 1 && i < 2; i++)
            bufferpool_reclaim(pool);
        for (int i = 0; by == 2 && i < 2; i++)
            bufs[i] = bufferpool_try_get(pool);
        const uint64_t stolen = change(&then).stolen;
        pthread_barrier_wait(&barrier);
        join_threads(crew);
        pthread_barrier_destroy(&barrier);
        bufferpool_put_bulk(bufs, 2);
        bufferpool_set_max_live(pool, 0);
        bufferpool_trim(pool);
        assert_true(none);
        assert_int_equal(stolen, by == 2 ? 3 : 6);
    }
}

static void bulk_counts_each_buffer(void **state)
{
    (void)state;
    bufferpool_buf_t *bufs[6];
    const bufferpool_stats_t then = stats_of(pool);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 4), 0);
    bufferpool_put_bulk(bufs, 4);
    bufferpool_set_max_live(pool, 5);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 6), 0);
    counters_are(4, 0, 5, 1, 0, 4, 0, 0, 0, 0);
    bufferpool_put_bulk(bufs, 6);
    counters_are(4, 0, 5, 1, 0, 9, 0, 1, 0, 0);
}

static void each_drop_counts_by_its_reason(void **state)
{
    (void)state;
    bufferpool_buf_t *bufs[4];
    bufferpool_stats_t then = stats_of(pool);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 4), 0);
    assert_int_equal(bufferpool_buf_reserve(bufs[0], 4 * CAPACITY + 1), 0);
    bufferpool_put(bufs[0]);
    counters_are(0, 0, 4, 0, 0, 0, 1, 0, 0, 1);
    bufferpool_set_max_live(pool, 2);
    bufferpool_put(bufs[1]);
    counters_are(0, 0, 4, 0, 0, 0, 1, 1, 0, 1);
    bufferpool_put(bufs[2]);
    bufferpool_put(bufs[3]);
    counters_are(0, 0, 4, 0, 0, 2, 1, 1, 0, 1);

    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.max_idle_bytes = CAPACITY;
    bufferpool_t *limited = bufferpool_create(&config);
    assert_int_equal(bufferpool_get_bulk(limited, bufs, 2), 0);
    bufferpool_put_bulk(bufs, 2);
    assert_int_equal(stats_of(limited).puts_kept, 1);
    assert_int_equal(stats_of(limited).drops_idle_limit, 1);
    assert_int_equal(bufferpool_destroy(limited), 0);
}

static void bytes_are_exact_with_grown_buffers(void **state)
{
    (void)state;
    bufferpool_buf_t *bufs[5];
    uint64_t live = 0;
    uint64_t idle = 0;
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 5), 0);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(bufferpool_buf_reserve(bufs[i], CAPACITY * (i + 1) * 3 / 4), 0);
        live += bufs[i]->cap;
    }
    assert_int_equal(stats_of(pool).live_bytes, live);
    assert_int_equal(stats_of(pool).grows, 4);
    for (size_t i = 0; i < 5; i++) {
        const size_t cap = bufs[i]->cap;
        live -= cap;
        if (cap <= 4 * CAPACITY)
            idle += cap;
        bufferpool_put(bufs[i]);
        assert_int_equal(stats_of(pool).live_bytes, live);
        assert_int_equal(stats_of(pool).idle_bytes, idle);
    }
    bufferpool_thread_flush();
    assert_int_equal(stats_of(pool).idle_bytes, idle);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_int_equal(stats_of(pool).idle_bytes, idle - buf->cap);
    assert_int_equal(stats_of(pool).live_bytes, buf->cap);
    bufferpool_put(buf);
    assert_int_equal(bufferpool_trim(pool), idle);
    assert_int_equal(stats_of(pool).reclaimed_bytes, idle);
    assert_int_equal(stats_of(pool).idle_bytes, 0);
}

static void pooled_counts_held_and_idle_buffers(void **state)
{
    (void)state;
    bufferpool_buf_t *bufs[5];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 5), 0);
    assert_int_equal(stats_of(pool).pooled, 5);
    assert_int_equal(stats_of(pool).pooled_bytes, 5 * CAPACITY);
    assert_int_equal(bufferpool_buf_reserve(bufs[0], 4 * CAPACITY), 0);
    assert_int_equal(stats_of(pool).pooled_bytes, 8 * CAPACITY);
    bufferpool_put_bulk(bufs, 3);
    bufferpool_thread_flush();
    bufferpool_put(bufs[3]);
    assert_int_equal(stats_of(pool).pooled, 5);
    assert_int_equal(stats_of(pool).pooled_bytes, 8 * CAPACITY);
    bufferpool_trim(pool);
    assert_int_equal(stats_of(pool).pooled, 1);
    assert_int_equal(stats_of(pool).pooled_bytes, CAPACITY);
    bufferpool_put(bufs[4]);
}

/* Each put takes away the average, and a grown buffer makes the average larger. */
static void bypass_bytes_are_as_many_buffers_of_the_average(void **state)
{
    (void)state;
    bufferpool_buf_t *bufs[5];
    bufferpool_set_max_live(pool, 2);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 2), 0);
    assert_int_equal(stats_of(pool).bypass_bytes, 0);
    assert_int_equal(bufferpool_get_bulk(pool, bufs + 2, 3), 0);
    assert_int_equal(stats_of(pool).live_bytes, 5 * CAPACITY);
    assert_int_equal(stats_of(pool).bypass_bytes, 3 * CAPACITY);
    assert_int_equal(bufferpool_buf_reserve(bufs[0], 4 * CAPACITY), 0);
    assert_int_equal(stats_of(pool).live_bytes, 8 * CAPACITY);
    assert_int_equal(stats_of(pool).bypass_bytes, 8 * CAPACITY * 3 / 5);
    bufferpool_set_max_live(pool, 4);
    assert_int_equal(stats_of(pool).bypass_bytes, 8 * CAPACITY / 5);
    bufferpool_set_max_live(pool, 5);
    assert_int_equal(stats_of(pool).bypass_bytes, 0);
    bufferpool_put_bulk(bufs, 5);
    assert_int_equal(stats_of(pool).bypass_bytes, 0);
}

/* In a pool of the library's own memory, of which hardly any is touched. */
static void two_thousand_buffers_beyond_a_cap_of_sixteen_are_seen(void **state)
{
    (void)state;
    enum { HELD = 2016, LARGE = 256 * 1024 };
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = LARGE;
    config.max_live = 16;
    bufferpool_t *large = bufferpool_create(&config);
    static bufferpool_buf_t *bufs[HELD];
    if (bufferpool_get_bulk(large, bufs, HELD) != 0)
        skip(); /* where addresses have 32 bits */
    const bufferpool_stats_t s = stats_of(large);
    bufferpool_put_bulk(bufs, HELD);
    assert_int_equal(bufferpool_destroy(large), 0);
    assert_int_equal(s.live_bytes, (uint64_t)HELD * LARGE);
    assert_int_equal(s.bypass_bytes, (uint64_t)2000 * LARGE);
    assert_int_equal(s.pooled_bytes, (uint64_t)HELD * LARGE);
    assert_true(s.mapped_bytes == 0 || s.mapped_bytes >= (uint64_t)HELD * LARGE);
}

/* ---- waits ---- */

static uint64_t clock_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void wait_and_put(void *arg, unsigned index)
{
    (void)arg, (void)index;
    bufferpool_buf_t *buf = bufferpool_get_timed(pool, BUFFERPOOL_NEVER);
    thread_check(buf != NULL);
    bufferpool_put(buf);
}

static void waits_are_counted_and_timed(void **state)
{
    (void)state;
    enum { WAITERS = 3 };
    const uint64_t aside_ns = 3000000;
    bufferpool_set_max_live(pool, 1);
    bufferpool_buf_t *buf = bufferpool_get_timed(pool, 5);
    assert_null(bufferpool_get_timed(pool, 0));
    assert_int_equal(stats_of(pool).waits, 0); /* neither of them waited */
    const uint64_t begin_ns = clock_now_ns();
    test_crew_t *crew = start_threads(WAITERS, wait_and_put, NULL);
    while (stats_of(pool).waiting < WAITERS)
        sched_yield();
    const uint64_t all_wait_ns = clock_now_ns();
    while (clock_now_ns() < all_wait_ns + aside_ns)
        ;
    const bufferpool_stats_t meanwhile = stats_of(pool);
    bufferpool_put(buf);
    join_threads(crew);
    const uint64_t took_ns = clock_now_ns() - begin_ns;
    const bufferpool_stats_t s = stats_of(pool);
    assert_int_equal(meanwhile.waiting, WAITERS);
    assert_int_equal(meanwhile.waits + meanwhile.waited_ns, 0); /* none has ended */
    assert_int_equal(s.waiting, 0);
    assert_int_equal(s.waits, WAITERS);
    assert_in_range(s.waited_ns, WAITERS * aside_ns, WAITERS * took_ns);
}

static void a_wait_in_vain_is_timed_too(void **state)
{
    (void)state;
    bufferpool_set_max_live(pool, 1);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    const uint64_t begin_ns = clock_now_ns();
    for (uint64_t waits = 1; waits <= 3; waits++) {
        assert_null(bufferpool_get_timed(pool, 2));
        const bufferpool_stats_t s = stats_of(pool);
        assert_int_equal(s.waiting, 0);
        assert_int_equal(s.waits, waits);
        assert_in_range(s.waited_ns, waits * 2000000, clock_now_ns() - begin_ns);
    }
    bufferpool_put(buf);
}

static void idle_moves_from_thread_to_depot(void **state)
{
    (void)state;
    bufferpool_buf_t *bufs[3];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 3), 0);
    bufferpool_put_bulk(bufs, 3);
    assert_int_equal(stats_of(pool).idle_thread, 3);
    assert_int_equal(stats_of(pool).idle_depot, 0);
    bufferpool_thread_flush();
    assert_int_equal(stats_of(pool).idle_thread, 0);
    assert_int_equal(stats_of(pool).idle_depot, 3);
}

static void peak_in_flight_stays_at_the_most(void **state)
{
    (void)state;
    bufferpool_buf_t *bufs[9];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 5), 0);
    assert_int_equal(stats_of(pool).peak_in_flight, 5);
    bufferpool_put_bulk(bufs, 5);
    bufferpool_thread_flush();
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 2), 0);
    assert_int_equal(stats_of(pool).peak_in_flight, 5);
    bufferpool_put_bulk(bufs, 2);
    bufferpool_trim(pool);
    assert_int_equal(stats_of(pool).peak_in_flight, 5);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 7), 0);
    assert_int_equal(stats_of(pool).peak_in_flight, 7);
    bufferpool_put_bulk(bufs, 7);
    bufferpool_set_max_live(pool, 4);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 9), 0); /* beyond the cap too */
    assert_int_equal(stats_of(pool).peak_in_flight, 9);
    bufferpool_put_bulk(bufs, 9);
    assert_int_equal(stats_of(pool).peak_in_flight, 9);
}

static void meet(void *barrier, unsigned index)
{
    if (index % 2 == 0)
        bufferpool_put(bufferpool_get(pool)); /* half of them use the pool */
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
}

static void thread_caches_counts_the_threads_that_have_one(void **state)
{
    (void)state;
    pthread_barrier_t barrier;
    assert_int_equal(stats_of(pool).thread_caches, 0);
    assert_int_equal(pthread_barrier_init(&barrier, NULL, 7), 0);
    test_crew_t *crew = start_threads(6, meet, &barrier);
    pthread_barrier_wait(&barrier);
    const uint64_t caches = stats_of(pool).thread_caches;
    const bool fine = laws_hold(pool, &blocks, 0);
    bufferpool_put(bufferpool_get(pool));
    const uint64_t with_mine = stats_of(pool).thread_caches;
    pthread_barrier_wait(&barrier);
    join_threads(crew);
    assert_true(fine);
    assert_int_equal(caches, 3);
    assert_int_equal(with_mine, 4);
    assert_int_equal(stats_of(pool).thread_caches, 1);
    pthread_barrier_destroy(&barrier);
}

static void a_smaller_struct_is_filled_that_far(void **state)
{
    (void)state;
    bufferpool_buf_t *buf = bufferpool_get(pool);
    const bufferpool_stats_t full = stats_of(pool);
    for (size_t size = sizeof full.size; size <= sizeof full; size += sizeof(uint64_t)) {
        bufferpool_stats_t old;
        memset(&old, 0x5a, sizeof old);
        old.size = size;
        bufferpool_stats(pool, &old);
        assert_int_equal(old.size, size);
        assert_memory_equal((char *)&old + sizeof old.size, (const char *)&full + sizeof full.size,
                            size - sizeof old.size);
        for (size_t i = size; i < sizeof old; i++)
            assert_int_equal(((unsigned char *)&old)[i], 0x5a);
    }
    bufferpool_put(buf);
}

static void a_struct_without_room_for_its_size_is_left_alone(void **state)
{
    (void)state;
    for (size_t size = 0; size < sizeof size; size++) {
        bufferpool_stats_t none, before;
        memset(&none, 0x5a, sizeof none);
        none.size = size;
        before = none;
        bufferpool_stats(pool, &none);
        assert_memory_equal(&none, &before, sizeof none);
    }
}

static void a_larger_struct_is_zeroed_beyond(void **state)
{
    struct {
        bufferpool_stats_t known;
        unsigned char later[200];
        unsigned char beyond[8];
    } next;
    (void)state;
    bufferpool_buf_t *buf = bufferpool_get(pool);
    memset(&next, 0x5a, sizeof next);
    next.known.size = sizeof next - sizeof next.beyond;
    bufferpool_stats(pool, &next.known);
    assert_int_equal(next.known.live, 1);
    assert_int_equal(next.known.gets_fresh, 1);
    for (size_t i = 0; i < sizeof next.later; i++)
        assert_int_equal(next.later[i], 0);
    for (size_t i = 0; i < sizeof next.beyond; i++)
        assert_int_equal(next.beyond[i], 0x5a);
    bufferpool_put(buf);
}

static void refused_and_failed_calls_count_nothing_else(void **state)
{
    (void)state;
    const bufferpool_stats_t then = stats_of(pool);
    test_blocks_fail(&blocks, 0, SIZE_MAX);
    assert_null(bufferpool_get(pool));
    assert_int_equal(errno, ENOMEM);
    assert_null(bufferpool_try_get(pool));
    assert_int_equal(errno, ENOMEM);
    test_blocks_fail_none(&blocks);
    counters_are(0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    assert_int_equal(bufferpool_live(pool), 0);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, make_pool, drop_pool)
    const struct CMUnitTest tests[] = {
        test(a_new_pool_is_all_zeros),
        test(each_get_counts_by_the_source_of_its_buffer),
        test(a_wait_in_vain_is_a_refusal),
        test(shrinks_count_blocks_that_became_smaller),
        test(stolen_counts_buffers_from_caches_of_other_threads),
        test(bulk_counts_each_buffer),
        test(each_drop_counts_by_its_reason),
        test(bytes_are_exact_with_grown_buffers),
        test(pooled_counts_held_and_idle_buffers),
        test(bypass_bytes_are_as_many_buffers_of_the_average),
        test(two_thousand_buffers_beyond_a_cap_of_sixteen_are_seen),
        test(waits_are_counted_and_timed),
        test(a_wait_in_vain_is_timed_too),
        test(idle_moves_from_thread_to_depot),
        test(peak_in_flight_stays_at_the_most),
        test(thread_caches_counts_the_threads_that_have_one),
        test(a_smaller_struct_is_filled_that_far),
        test(a_struct_without_room_for_its_size_is_left_alone),
        test(a_larger_struct_is_zeroed_beyond),
        test(refused_and_failed_calls_count_nothing_else),
    };
    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
