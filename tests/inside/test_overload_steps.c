/* SPDX-License-Identifier: MIT
 *
 * test_overload_steps.c - tickets, at each step of a call, and with another call in between
 *
 * Main and a second thread have tickets, and callers hold the cap or a little more. Main's call is stopped before each
 * of its atomic operations in turn, and there the other thread makes a call of its own. Before every atomic operation
 * of both the test looks whether the pool would say that callers have all: it knows how many they hold, and tells when
 * that is wrong.
 */
#include "support/accounts.h"
#include "support/hands.h"

#include "pressure.h"

enum {
    CAPACITY = 64,
    CAP = 6,
    EXCESS = 16,
    OTHERS = 4,
    MORE_CAP = CAP + 5,
    LESS_CAP = CAP - 2,
    MANY = CAP + EXCESS + 4
};

static test_blocks_t blocks;
static bufferpool_t *pool;
static bufferpool_buf_t *bufs[MANY];
static size_t n; /* of these */
static struct hand other, third;

/* ---- what is true ---- */

/* What callers hold. A buffer that is being put counts until the put is over; `under_way` are the gets that may have
 * one in their hands. */
static size_t held, under_way;

static size_t cap_now(void)
{
    return atomic_load(&pool->max_live);
}

/* ---- the steps ---- */

static void (*each_step)(void); /* NULL: nobody looks */
static int steps_left;
static void (*at_step)(void);
static size_t verdicts;

static void look(void)
{
    if (depot_exhausted(&pool->depot, &pool->max_live)) {
        verdicts++;
        thread_check(held + under_way >= cap_now());
    }
    /* so a call that frees looks whether tickets have to be taken back as long as a cache has some */
    uint32_t tickets = 0;
    for (const struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next)
        tickets += load_relaxed(&c->tickets);
    thread_check(tickets <= depot_counts(&pool->depot).tickets);
    thread_check(tickets <= load_relaxed(&pool->pressure.granted));
}

void a_step(void)
{
    void (*looks)(void) = each_step;
    if (looks == NULL)
        return;
    each_step = NULL; /* it takes steps itself */
    looks();
    each_step = looks;
    if (at_step == NULL || !pool_is_unlocked(pool) || steps_left-- > 0)
        return;
    void (*hook)(void) = at_step;
    at_step = NULL;
    hook();
}

/* ---- calls ---- */

/* Main's. */

static void main_has(bufferpool_buf_t *buf)
{
    if (buf != NULL) {
        bufs[n++] = buf;
        held++;
    }
    under_way--;
}

static void main_get(void)
{
    under_way++;
    bufferpool_buf_t *buf = bufferpool_get(pool);
    thread_check(buf != NULL);
    main_has(buf);
}

static void main_try(void)
{
    under_way++;
    main_has(bufferpool_try_get(pool));
}

static void main_wait(void)
{
    under_way++;
    main_has(bufferpool_get_timed(pool, 0));
}

static void main_put(void)
{
    bufferpool_put(bufs[--n]);
    held--;
}

static void main_trim(void)
{
    (void)bufferpool_trim(pool);
}

static void main_flush(void)
{
    bufferpool_thread_flush();
}

static void main_reclaim(void)
{
    (void)bufferpool_reclaim(pool);
}

static void main_raise(void)
{
    bufferpool_set_max_live(pool, MORE_CAP);
}

static void main_lower(void)
{
    bufferpool_set_max_live(pool, LESS_CAP);
}

static void nobody(void)
{
}

/* Of the second thread. */

static void hand_put_one(struct hand *hand)
{
    bufferpool_put(hand->bufs[--hand->n]);
    held--;
}

static void hand_put_all(struct hand *hand)
{
    while (hand->n > 0)
        hand_put_one(hand);
}

static void hand_get_one(struct hand *hand)
{
    under_way++;
    hand->want = 1;
    hand_get(hand);
    held++;
    under_way--;
}

static void hand_try_one(struct hand *hand)
{
    under_way++;
    bufferpool_buf_t *buf = bufferpool_try_get(pool);
    if (buf != NULL) {
        hand->bufs[hand->n++] = buf;
        held++;
    }
    under_way--;
}

static void hand_trim(struct hand *hand)
{
    (void)bufferpool_trim(hand->pool);
}

static void hand_raise(struct hand *hand)
{
    bufferpool_set_max_live(hand->pool, MORE_CAP);
}

static void hand_lower(struct hand *hand)
{
    bufferpool_set_max_live(hand->pool, LESS_CAP);
}

/* It holds as many after as before. */
static void hand_pass(struct hand *hand)
{
    hand_get_one(hand);
    hand_put_one(hand);
}

static void (*others_step)(struct hand *);

static void other_does(void)
{
    hand_do(&other, others_step);
}

/* ---- scenes ---- */

struct beginning {
    uint32_t tickets;
    size_t puts;
};

/* Main has so many tickets, 1 or 8, and has put `puts` buffers; the other thread has one; the third has a cache
 * without. */
static void begin(struct beginning beginning)
{
    memset(&blocks, 0, sizeof blocks);
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = (size_t)16 * CAPACITY;
    config.max_live = CAP;
    pool = bufferpool_create(&config);
    assert_non_null(pool);
    store_relaxed(&pool->pressure.grant_after, EXCESS);
    other.pool = third.pool = pool;
    n = held = 0;
    third.want = 1;
    hand_do(&third, hand_use);
    for (size_t i = 0; i < CAP + EXCESS; i++)
        main_get();
    assert_int_equal(depot_counts(&pool->depot).tickets, 1);
    for (size_t i = 0; i < beginning.tickets; i++)
        main_put();
    for (size_t i = 0; i < beginning.tickets; i++)
        main_get();
    assert_int_equal(depot_counts(&pool->depot).tickets, beginning.tickets);
    for (size_t i = 0; i < OTHERS; i++)
        hand_do(&other, hand_get_one);
    assert_int_equal(depot_counts(&pool->depot).tickets, beginning.tickets + 1);
    for (size_t i = 0; i < beginning.puts; i++)
        main_put();
    check_accounts(pool);
}

static void end(void)
{
    check_laws(pool, &blocks, held);
    bufferpool_set_max_live(pool, CAP);
    while (held > 0) {
        if (n > 0)
            main_put();
        else
            hand_do(&other, hand_put_one);
        check_accounts(pool);
        assert_true(held >= CAP || atomic_load(&blocks.count) <= CAP);
    }
    assert_int_equal(depot_counts(&pool->depot).tickets, 0);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

/* Main's call, stopped once. Returns whether it has so many steps. */
static bool stopped_at(int step, struct beginning beginning, void (*call)(void), void (*meanwhile)(struct hand *))
{
    begin(beginning);
    others_step = meanwhile;
    steps_left = step;
    at_step = meanwhile != NULL ? other_does : nobody;
    each_step = look;
    call();
    each_step = NULL;
    const bool reached = at_step == NULL;
    at_step = NULL;
    /* the other may have met main inside of its cache, and then the next call frees what lies there */
    assert_true(accounts_add_up(pool));
    if (load_relaxed(&pool->stuck) == NULL && (cache_is_open(tls_cache_find(pool->index)) || n > 0))
        check_accounts(pool);
    hand_do(&third, hand_use);
    check_accounts(pool);
    end();
    run_threads(1, hand_nothing, NULL); /* fails if something was recorded */
    return reached;
}

/* Main's cache is empty, partly full, full; and full with room for more tickets. */
static const struct beginning beginnings[] = {{8, 0}, {8, 3}, {8, 12}, {8, 20}, {1, 1}};

static void at_each_step_of(void (*call)(void))
{
    static void (*const meanwhile[])(struct hand *) = {
        NULL, hand_get_one, hand_try_one, hand_pass, hand_put_one, hand_put_all, hand_trim, hand_raise, hand_lower};
    if (!test_can_steal())
        skip();
    hand_begin(&other, NULL, 0);
    hand_begin(&third, NULL, 1);
    verdicts = 0;
    const int stride = (int)test_scale(1, 7);
    for (size_t b = 0; b < sizeof beginnings / sizeof beginnings[0]; b++)
        for (size_t m = 0; m < sizeof meanwhile / sizeof meanwhile[0]; m++)
            for (int step = 0; stopped_at(step, beginnings[b], call, meanwhile[m]); step += stride)
                if (meanwhile[m] == NULL)
                    break;
    hand_end(&other);
    hand_end(&third);
    assert_true(verdicts > 0);
}

static void a_get_is_right_at_each_step(void **state)
{
    (void)state;
    at_each_step_of(main_get);
}

static void a_try_get_is_right_at_each_step(void **state)
{
    (void)state;
    at_each_step_of(main_try);
}

static void a_get_timed_is_right_at_each_step(void **state)
{
    (void)state;
    at_each_step_of(main_wait);
}

static void a_put_is_right_at_each_step(void **state)
{
    (void)state;
    at_each_step_of(main_put);
}

static void trim_is_right_at_each_step(void **state)
{
    (void)state;
    at_each_step_of(main_trim);
}

static void reclaim_is_right_at_each_step(void **state)
{
    (void)state;
    at_each_step_of(main_reclaim);
}

static void thread_flush_is_right_at_each_step(void **state)
{
    (void)state;
    at_each_step_of(main_flush);
}

static void a_raised_cap_is_right_at_each_step(void **state)
{
    (void)state;
    at_each_step_of(main_raise);
}

static void a_lowered_cap_is_right_at_each_step(void **state)
{
    (void)state;
    at_each_step_of(main_lower);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_get_is_right_at_each_step),         cmocka_unit_test(a_try_get_is_right_at_each_step),
        cmocka_unit_test(a_get_timed_is_right_at_each_step),   cmocka_unit_test(a_put_is_right_at_each_step),
        cmocka_unit_test(trim_is_right_at_each_step),          cmocka_unit_test(reclaim_is_right_at_each_step),
        cmocka_unit_test(thread_flush_is_right_at_each_step),  cmocka_unit_test(a_raised_cap_is_right_at_each_step),
        cmocka_unit_test(a_lowered_cap_is_right_at_each_step),
    };
    return cmocka_run_group_tests_name("overload_steps", tests, NULL, NULL);
}
