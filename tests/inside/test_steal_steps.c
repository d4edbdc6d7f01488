/* SPDX-License-Identifier: MIT
 *
 * test_steal_steps.c - a call is stopped at each of its steps, and its cache is stolen from meanwhile
 *
 * The test makes each call again and again, and stops it before its first atomic operation, its second, and so on.
 * While the call stands there another thread trims, reclaims, lowers the cap, runs into it, or has reserved bytes given
 * back; each of these steals from the caller's cache unless the caller is inside. Then the call goes on. Wherever it
 * was stopped, no buffer is lost or has two owners, and every sum is right.
 */
#include "support/blocks.h"
#include "support/hands.h"

#include "steal.h"

enum { CAPACITY = 256, CAP = 6, CACHED = 4, GROWN = 2 * CAPACITY, NEVER = INT_MAX };

/* ---- stopping ---- */

static bufferpool_t *pool;
static struct hand other;
static void (*what_other_does)(struct hand *);
static int stop_again; /* after so many steps more */

static _Thread_local int steps_left = NEVER;
static _Thread_local bool stopped;
static _Thread_local void (*when_stopped)(void);

void a_step(void)
{
    if (steps_left == NEVER || stopped || steps_left-- > 0)
        return;
    const int saved_errno = errno;
    stopped = true; /* what follows is no part of the call */
    when_stopped();
    steps_left = stop_again;
    stop_again = NEVER;
    stopped = false;
    errno = saved_errno;
}

static void let_the_other_act(void)
{
    if (pool_is_unlocked(pool))
        hand_do(&other, what_other_does);
}

/* ---- what the other does ---- */

static void does_trim(struct hand *hand)
{
    (void)bufferpool_trim(hand->pool);
}

static void does_reclaim(struct hand *hand)
{
    for (int i = 0; i < 3; i++)
        (void)bufferpool_reclaim(hand->pool);
}

static void does_lower_the_cap(struct hand *hand)
{
    bufferpool_set_max_live(hand->pool, 1);
    bufferpool_set_max_live(hand->pool, CAP);
}

/* Leaves the pool under pressure. */
static void does_run_into_the_cap(struct hand *hand)
{
    while ((hand->bufs[hand->n] = bufferpool_try_get(hand->pool)) != NULL) {
        memset(hand->bufs[hand->n]->data, 0xdd, CAPACITY); /* if it is the caller's, that finds this */
        hand->n++;
    }
    hand_put(hand);
}

static void does_the_same_until_pressure_ends(struct hand *hand)
{
    does_run_into_the_cap(hand);
    for (int i = 0; i < 300; i++)
        bufferpool_put(bufferpool_get(hand->pool));
}

static void has_reserved_bytes_given_back(struct hand *hand)
{
    pthread_mutex_lock(&hand->pool->caches_lock);
    (void)steal_caches(hand->pool, STEAL_RESERVED, NULL);
    pthread_mutex_unlock(&hand->pool->caches_lock);
}

/* So that what the caller has seen of its cache is still idle, and somewhere else, and the gate is open again. */
static void takes_and_keeps(struct hand *hand)
{
    pthread_mutex_lock(&hand->pool->caches_lock);
    (void)steal_caches(hand->pool, STEAL_ALL, NULL);
    pthread_mutex_unlock(&hand->pool->caches_lock);
}

static void takes_and_uses(struct hand *hand)
{
    takes_and_keeps(hand);
    hand->want = 2;
    hand_get(hand);
    hand_put(hand);
}

static void (*const others[])(struct hand *) = {
    does_trim,
    does_reclaim,
    does_lower_the_cap,
    does_run_into_the_cap,
    does_the_same_until_pressure_ends,
    has_reserved_bytes_given_back,
    takes_and_keeps,
    takes_and_uses,
};

/* ---- what the caller does: it starts with some idle in its cache, and holds some ---- */

static bufferpool_buf_t *held[2 * CAP];
static size_t holds;

static void gets(void)
{
    held[holds] = bufferpool_get(pool);
    assert_non_null(held[holds++]);
}

static void puts_it(void)
{
    bufferpool_put(held[--holds]);
}

static void gets_many(void)
{
    assert_int_equal(bufferpool_get_bulk(pool, held + holds, 3), 0);
    holds += 3;
}

static void flushes(void)
{
    bufferpool_thread_flush();
}

static void waits(void)
{
    held[holds] = bufferpool_get_timed(pool, 0);
    holds += held[holds] != NULL;
}

static const struct stopped_call {
    size_t idle, idle_grown, in_depot, holds, holds_grown;
    void (*make)(void);
} calls[] = {
    {3, 0, 0, 0, 0, gets},                           /* fast */
    {2, 0, 0, 1, 0, puts_it}, {1, 1, 0, 0, 0, gets}, /* slow, from the cache */
    {1, 0, 0, 0, 1, puts_it}, {0, 0, 3, 0, 0, gets}, /* from the depot */
    {0, 0, 1, 0, 0, gets},    {0, 0, 0, 0, 0, gets}, /* made */
    {4, 0, 0, 1, 0, puts_it},                        /* overflows */
    {1, 1, 0, 0, 1, puts_it}, {2, 0, 2, 0, 0, gets_many}, {3, 0, 0, 0, 0, flushes},
    {0, 1, 1, 1, 0, flushes}, {1, 0, 0, 3, 0, waits},     {0, 1, 0, 0, 0, waits},
};

static void begin(const struct stopped_call *call, size_t max_idle_bytes, test_blocks_t *blocks)
{
    memset(blocks, 0, sizeof *blocks);
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = (size_t)CACHED * CAPACITY;
    config.max_live = CAP;
    config.max_idle_bytes = max_idle_bytes;
    pool = bufferpool_create(&config);
    assert_non_null(pool);
    other.pool = pool;
    other.want = 1;
    hand_do(&other, hand_use); /* has a cache */
    hand_do(&other, hand_flush);
    (void)bufferpool_trim(pool);

    /* what it will hold, what is to idle, the warmest first, and what is to be in the depot */
    const size_t will_hold = call->holds + call->holds_grown;
    holds = will_hold + call->idle_grown + call->idle + call->in_depot;
    assert_int_equal(bufferpool_get_bulk(pool, held, holds), 0);
    for (size_t i = 0; i < holds; i++) {
        if ((i >= call->holds && i < will_hold) || (i >= will_hold && i < will_hold + call->idle_grown))
            assert_int_equal(bufferpool_buf_reserve(held[i], GROWN), 0);
        held[i]->len = held[i]->cap; /* used well, so that it keeps its size */
    }
    while (holds > will_hold + call->idle_grown + call->idle)
        bufferpool_put(held[--holds]);
    bufferpool_thread_flush();
    while (holds > will_hold)
        bufferpool_put(held[--holds]);
    for (size_t i = 0; i < holds; i++)
        test_fill(held[i]->data, CAPACITY, i);
}

/* Nobody is at work. Everything is where the sums say, and can be had, once. */
static void end(test_blocks_t *blocks, size_t held_all_the_time)
{
    for (size_t i = 0; i < held_all_the_time; i++)
        assert_true(test_filled(held[i]->data, CAPACITY, i));
    check_laws(pool, blocks, holds);
    if (load_relaxed(&pool->pressure.state) == PRESSURE_ON)
        assert_int_equal(stats_of(pool).idle_thread, 0);
    while (holds > 0)
        bufferpool_put(held[--holds]);
    check_laws(pool, blocks, 0);

    hand_do(&other, hand_flush);
    for (; holds < CAP; holds++) {
        assert_non_null(held[holds] = bufferpool_try_get(pool));
        test_fill(held[holds]->data, CAPACITY, holds);
    }
    assert_null(bufferpool_try_get(pool));
    for (size_t i = 0; i < CAP; i++)
        assert_true(test_filled(held[i]->data, CAPACITY, i));
    check_laws(pool, blocks, CAP);
    while (holds > 0)
        bufferpool_put(held[--holds]);

    (void)bufferpool_trim(pool);
    bufferpool_thread_flush();
    hand_do(&other, hand_flush);
    assert_int_equal(load_relaxed(&pool->idle_reserved), 0);
    assert_int_equal(stats_of(pool).idle_bytes, 0);
    check_laws(pool, blocks, 0);
    if (test_recorded_failure())
        run_threads(1, hand_nothing, NULL); /* tells it */
    destroy_empty(pool, blocks);
}

/* One stop, or a second one so many steps later. Returns whether the call got that far. */
static bool stop_a_call_at(const struct stopped_call *call, int stop, int then, size_t max_idle_bytes)
{
    test_blocks_t blocks;
    begin(call, max_idle_bytes, &blocks);
    const size_t before = holds;
    stop_again = then;
    when_stopped = let_the_other_act;
    steps_left = stop;
    call->make();
    const bool reached = stop_again == NEVER && (then == NEVER ? steps_left == NEVER : true);
    steps_left = NEVER;
    end(&blocks, before < holds ? before : holds);
    return reached;
}

static void stop_every_call(size_t max_idle_bytes, int last_distance)
{
    for (size_t o = 0; o < sizeof others / sizeof others[0]; o++) {
        what_other_does = others[o];
        for (size_t c = 0; c < sizeof calls / sizeof calls[0]; c++) {
            int stop = 0;
            while (stop_a_call_at(&calls[c], stop, NEVER, max_idle_bytes))
                stop++;
            assert_true(stop >= 2); /* there were some */
            for (int distance = 0; distance < last_distance; distance += 4)
                for (int first = 0; first < stop; first++)
                    (void)stop_a_call_at(&calls[c], first, distance, max_idle_bytes);
        }
    }
}

static int begin_the_other(void **state)
{
    (void)state;
    hand_begin(&other, NULL, 0);
    return 0;
}

static int end_the_other(void **state)
{
    (void)state;
    hand_end(&other);
    return 0;
}

static void a_call_whose_cache_is_stolen_at_any_step_does_what_it_says(void **state)
{
    (void)state;
    stop_every_call(0, (int)test_scale(5, 0)); /* two stops as well */
}

static void no_byte_of_max_idle_bytes_is_lost_when_a_cache_is_stolen_at_any_step(void **state)
{
    (void)state;
    stop_every_call((size_t)CAP * 2 * GROWN, (int)test_scale(1, 0));
}

static void a_call_that_drops_does_what_it_says_when_its_cache_is_stolen_at_any_step(void **state)
{
    (void)state;
    stop_every_call((size_t)3 * CAPACITY, 0);
}

/* ---- the taker is stopped, and the owner comes, and is stopped too ---- */

static sem_t owner_stands, owner_may_go;
static int owner_stops_at;
static bool owner_stopped;

static void owner_pauses(void)
{
    owner_stopped = true;
    sem_post(&owner_stands);
    sem_wait_for_sure(&owner_may_go);
}

static void owner_calls(struct hand *hand)
{
    when_stopped = owner_pauses;
    steps_left = owner_stops_at;
    if (hand->want == 0) {
        bufferpool_put(hand->bufs[--hand->n]);
    } else {
        hand->bufs[hand->n] = bufferpool_try_get(pool);
        if (thread_check(hand->bufs[hand->n] != NULL))
            hand->n++;
    }
    steps_left = NEVER;
    if (!owner_stopped)
        sem_post(&owner_stands);
}

static void let_the_owner_come(void)
{
    hand_start(&other, owner_calls);
    sem_wait_for_sure(&owner_stands);
}

/* The owner looks at its cache before and after the taker is done with that; it must not put the two together. Returns
 * whether the taker got that far; *owner_too: whether the owner did. */
static bool stop_both_at(bool put, int taker_stops_at, int owner_stop, bool *owner_too)
{
    static const struct stopped_call nothing = {.make = gets};
    test_blocks_t blocks;
    begin(&nothing, 0, &blocks);
    other.want = 3;
    other.n = 0;
    hand_do(&other, hand_get);
    bufferpool_buf_t *kept = other.bufs[--other.n]; /* two idle, and one held for the put */
    hand_do(&other, hand_put);
    if (put)
        other.bufs[other.n++] = kept;
    other.want = !put;
    owner_stops_at = owner_stop;
    owner_stopped = false;
    when_stopped = let_the_owner_come;
    stop_again = NEVER;

    pthread_mutex_lock(&pool->caches_lock);
    steps_left = taker_stops_at;
    (void)steal_caches(pool, STEAL_ALL, NULL);
    const bool reached = steps_left == NEVER;
    steps_left = NEVER;
    pthread_mutex_unlock(&pool->caches_lock);
    if (reached) {
        for (; holds < 2; holds++) {
            assert_non_null(held[holds] = bufferpool_try_get(pool));
            test_fill(held[holds]->data, CAPACITY, holds);
        }
        if (owner_stopped)
            sem_post(&owner_may_go);
        hand_finish(&other);
        for (size_t i = 0; i < other.n; i++)
            memset(other.bufs[i]->data, 0xdd, CAPACITY);
    }
    *owner_too = owner_stopped;
    if (!put)
        other.bufs[other.n++] = kept;
    check_laws(pool, &blocks, holds + other.n);
    hand_do(&other, hand_put);
    end(&blocks, holds);
    return reached;
}

static void an_owner_does_not_use_what_it_saw_before_the_gate_opened(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    sem_init(&owner_stands, 0, 0);
    sem_init(&owner_may_go, 0, 0);
    for (int put = 0; put <= 1; put++) {
        bool owner_too;
        int taker = 0;
        while (stop_both_at(put, taker, 0, &owner_too)) {
            for (int owner = 1; owner_too; owner++)
                (void)stop_both_at(put, taker, owner, &owner_too);
            taker++;
        }
        assert_true(taker >= 5);
    }
    sem_destroy(&owner_stands);
    sem_destroy(&owner_may_go);
}

int main(void)
{
    test_tell_memcheck_nothing();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_whose_cache_is_stolen_at_any_step_does_what_it_says),
        cmocka_unit_test(no_byte_of_max_idle_bytes_is_lost_when_a_cache_is_stolen_at_any_step),
        cmocka_unit_test(a_call_that_drops_does_what_it_says_when_its_cache_is_stolen_at_any_step),
        cmocka_unit_test(an_owner_does_not_use_what_it_saw_before_the_gate_opened),
    };
    return cmocka_run_group_tests_name("steal_steps", tests, begin_the_other, end_the_other);
}
