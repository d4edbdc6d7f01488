/* SPDX-License-Identifier: MIT
 *
 * test_steal_races.c - caches are stolen from while their owners use them
 *
 * Some threads get and put, mostly in their caches. Others trim, reclaim, change the cap and run into it; each of these
 * steals from the caches, thousands of times. Meanwhile threads start and end, and the process forks. Each holder swaps
 * its stamp into a buffer after the get and out before the put, so the second of two holders notices the first. The
 * laws at the end show a buffer that is lost or comes back twice. The twin without luck is test_steal.c.
 */
#include "support/laws.h"

#include <sched.h>
#include <unistd.h>

enum { CAPACITY = 256, CACHED = 8, CAP = 48, USERS = 3, MEDDLERS = 3, HOLDS = 6 };

struct race {
    bufferpool_t *pool;
    test_blocks_t blocks;
    size_t turns; /* of a meddler */
    atomic_uint meddlers;
    atomic_bool on; /* no end before it is cleared */
    bool grow;
    bool move_cap;
    atomic_size_t gets;
};

/* ---- stamps ---- */

#define HELD UINT64_C(0x4e1d000000000000)

static _Atomic(uint64_t) *stamp_of(const bufferpool_buf_t *buf)
{
    return (_Atomic(uint64_t) *)(void *)buf->data;
}

/* Relaxed, so that it is the library alone that orders what two holders do with the bytes. */
static void hold(bufferpool_buf_t *buf, uint64_t who)
{
    test_know_bytes(buf);
    const uint64_t before = atomic_exchange_explicit(stamp_of(buf), HELD | who, memory_order_relaxed);
    thread_check((before & UINT64_C(0xffff000000000000)) != HELD);
    memset(buf->data + 8, (int)who, 56);
    buf->len = 64;
}

static void let_go(bufferpool_buf_t *buf, uint64_t who)
{
    thread_check(buf->data[8] == (unsigned char)who && buf->data[63] == (unsigned char)who);
    thread_check(atomic_exchange_explicit(stamp_of(buf), 0, memory_order_relaxed) == (HELD | who));
    bufferpool_put(buf);
}

/* ---- who runs ---- */

static void use_cache(struct race *race, uint64_t who, test_random_t *random)
{
    bufferpool_buf_t *held[HOLDS] = {NULL};
    const size_t n = 1 + test_random_below(random, HOLDS);
    for (size_t i = 0; i < n; i++) {
        held[i] = bufferpool_get(race->pool);
        if (!thread_check(held[i] != NULL))
            abort();
        hold(held[i], who);
    }
    if (race->grow && test_random_below(random, 8) == 0)
        thread_check(bufferpool_buf_reserve(held[0], CAPACITY + test_random_below(random, 3 * CAPACITY)) == 0);
    for (size_t i = 0; i < n; i++)
        let_go(held[i], who);
    if (test_random_below(random, 1024) == 0)
        bufferpool_thread_flush();
    atomic_fetch_add_explicit(&race->gets, n, memory_order_relaxed);
}

static void run_into_the_cap(struct race *race, uint64_t who)
{
    bufferpool_buf_t *held[CAP + 8];
    size_t n = 0;
    while (n < CAP + 8) {
        bufferpool_buf_t *buf = n % 3 == 0 ? bufferpool_get_timed(race->pool, 0) : bufferpool_try_get(race->pool);
        if (buf == NULL) {
            thread_check(errno == EAGAIN || errno == ETIMEDOUT);
            break;
        }
        hold(buf, who);
        held[n++] = buf;
    }
    atomic_fetch_add_explicit(&race->gets, n, memory_order_relaxed);
    while (n > 0)
        let_go(held[--n], who);
}

struct guest {
    struct race *race;
    uint64_t who;
};

static void *be_a_guest(void *arg)
{
    const struct guest *guest = arg;
    test_random_t random = {guest->who};
    for (int turn = 0; turn < 20; turn++)
        use_cache(guest->race, guest->who, &random);
    return NULL; /* with a cache that is not empty */
}

static void have_guests(struct race *race, uint64_t who)
{
    pthread_t threads[2];
    struct guest guests[2] = {{race, who}, {race, who + 1}};
    for (int i = 0; i < 2; i++)
        if (!thread_check(pthread_create(&threads[i], NULL, be_a_guest, &guests[i]) == 0))
            abort();
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

/* Where all meddlers had bad luck, they have some more turns. */
static bool something_is_stolen(const struct race *race)
{
    return stats_of(race->pool).stolen > 0 || !test_can_steal();
}

static void meddle(struct race *race, uint64_t who)
{
    test_random_t random = {who};
    for (size_t turn = 0; turn < race->turns || atomic_load(&race->on) || !something_is_stolen(race); turn++) {
        switch (test_random_below(&random, 8)) {
        case 0:
        case 1:
            (void)bufferpool_trim(race->pool);
            break;
        case 2:
            (void)bufferpool_reclaim(race->pool);
            break;
        case 3:
            run_into_the_cap(race, who);
            break;
        case 4:
            if (race->move_cap)
                bufferpool_set_max_live(race->pool, test_random_below(&random, 2) ? CAP / 4 : CAP);
            break;
        case 5:
            if (turn % 8 == 0)
                have_guests(race, 100 + who);
            break;
        case 6:
            use_cache(race, who, &random);
            break;
        default:
            (void)sched_yield(); /* so that the users come to fill their caches */
        }
    }
    atomic_fetch_sub(&race->meddlers, 1);
}

static void run(void *arg, unsigned index)
{
    struct race *race = arg;
    const uint64_t who = index + 1;
    test_random_t random = {who};
    if (index < MEDDLERS)
        meddle(race, 10 * who);
    while (index >= MEDDLERS && atomic_load(&race->meddlers) > 0)
        use_cache(race, who, &random);
}

/* ---- the races ---- */

static void race_begin(struct race *race, bufferpool_config_t config, size_t turns)
{
    config.alloc = test_blocks_alloc;
    config.free = test_blocks_free;
    config.ctx = &race->blocks;
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = (size_t)CACHED * CAPACITY;
    config.max_live = CAP;
    config.reclaim_interval_ms = 1; /* calls reclaim too */
    race->pool = bufferpool_create(&config);
    assert_non_null(race->pool);
    race->turns = turns;
    atomic_store(&race->meddlers, MEDDLERS);
}

static void race_end(struct race *race)
{
    const bufferpool_stats_t stats = stats_of(race->pool);
    assert_int_equal(sum_of_gets(&stats), atomic_load(&race->gets));
    if (test_can_steal())
        assert_true(stats.stolen > 0);
    check_laws(race->pool, &race->blocks, 0);
    assert_int_equal(stats.idle_thread, 0); /* all threads but this have ended */
    bufferpool_set_max_live(race->pool, CAP);
    bufferpool_buf_t *bufs[CAP];
    for (size_t i = 0; i < CAP; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(race->pool));
    assert_null(bufferpool_try_get(race->pool));
    bufferpool_put_bulk(bufs, CAP);
    (void)bufferpool_trim(race->pool);
    assert_int_equal(atomic_load(&race->blocks.count), 0);
    destroy_empty(race->pool, &race->blocks);
}

static void race_with(bufferpool_config_t config, bool grow, bool move_cap)
{
    struct race race = {.grow = grow, .move_cap = move_cap};
    race_begin(&race, config, test_scale(2000, 60));
    run_threads(USERS + MEDDLERS, run, &race);
    if (config.flags & BUFFERPOOL_BACKGROUND) /* goes on freeing, so sums are not exact before it has ended */
        destroy_empty(race.pool, &race.blocks);
    else
        race_end(&race);
}

static void no_buffer_is_lost_or_had_by_two(void **state)
{
    const bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    (void)state;
    race_with(config, false, false);
    race_with(config, false, true);
}

static void no_grown_buffer_is_lost_or_had_by_two(void **state)
{
    const bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    (void)state;
    race_with(config, true, true);
}

static void no_buffer_is_lost_with_max_idle_bytes(void **state)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    (void)state;
    config.max_idle_bytes = 20 * (size_t)CAPACITY;
    race_with(config, true, true);
}

static void no_buffer_is_lost_in_a_wiped_pool(void **state)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    (void)state;
    config.flags = BUFFERPOOL_ZERO;
    race_with(config, true, false);
}

static void no_buffer_is_lost_with_a_background_thread(void **state)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    (void)state;
    config.flags = BUFFERPOOL_BACKGROUND;
    race_with(config, true, true);
}

/* ---- fork ---- */

static int use_it_in_the_child(void *arg)
{
    struct race *race = arg;
    bufferpool_buf_t *held[2 * CAP];
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < 2 * CAP; i++) {
            if ((held[i] = bufferpool_get(race->pool)) == NULL)
                end_child(10);
            hold(held[i], 200 + (i & 31));
        }
        for (size_t i = 0; i < 2 * CAP; i++)
            let_go(held[i], 200 + (i & 31));
        if (round % 3 == 0)
            (void)bufferpool_trim(race->pool);
        if (round % 3 == 1)
            (void)bufferpool_reclaim(race->pool);
    }
    const bufferpool_stats_t stats = stats_of(race->pool);
    /* what the parent's threads held stays live */
    const bool lawful = sum_of_gets(&stats) == sum_of_puts(&stats) + stats.live + stats.bypass_live &&
                        stats.live + idle_of(&stats) <= CAP && bufferpool_live(race->pool) == stats.live;
    end_child(test_recorded_failure() ? 11 : lawful ? 0 : 12);
}

static void a_fork_amid_stealing_leaves_the_child_a_pool(void **state)
{
    const bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    const size_t forks = test_scale(40, 5);
    (void)state;
    struct race race = {.grow = true, .on = true};
    test_blocks_before_fork();
    race_begin(&race, config, 0);
    test_crew_t *crew = start_threads(USERS + MEDDLERS, run, &race);
    for (size_t i = 0; i < forks; i++)
        assert_int_equal(run_in_child(use_it_in_the_child, &race, 60), 0);
    atomic_store(&race.on, false);
    join_threads(crew);
    race_end(&race);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_buffer_is_lost_or_had_by_two),
        cmocka_unit_test(no_grown_buffer_is_lost_or_had_by_two),
        cmocka_unit_test(no_buffer_is_lost_with_max_idle_bytes),
        cmocka_unit_test(no_buffer_is_lost_in_a_wiped_pool),
        cmocka_unit_test(no_buffer_is_lost_with_a_background_thread),
        cmocka_unit_test(a_fork_amid_stealing_leaves_the_child_a_pool),
    };
    return cmocka_run_group_tests_name("steal_races", tests, NULL, NULL);
}
