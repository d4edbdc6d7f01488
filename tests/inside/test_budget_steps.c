/* SPDX-License-Identifier: MIT
 *
 * test_budget_steps.c - bytes that come back reach a waiter in another pool, at whatever step of the call it waits
 *
 * A budget has room for one block, which main holds in one pool. A loop waits for a buffer of a second pool. Main's put
 * is stopped before each of its atomic operations in turn, and there the other thread makes the call that waits; and
 * the other way round. Afterwards the loop's descriptor is readable, and its waiter has a buffer. Nobody makes a call
 * in between that would serve it by the way.
 */
#include "support/hands.h"

#include "notifier.h"

#include <poll.h>

enum { CAPACITY = 256, STEPS_MAX = 2000, LOOKS_MAX = 100 };

static bufferpool_budget_t *budget;
static bufferpool_t *pools[2];
static bufferpool_notifier_t *notifier;
static bufferpool_waiter_t waiter;
static struct hand other;

/* ---- the steps ---- */

static int steps_left;
static void (*at_step)(struct hand *);
static _Thread_local unsigned registry_depth;

void __real_registry_lock(void);
void __real_registry_unlock(void);
void __wrap_registry_lock(void);
void __wrap_registry_unlock(void);

void __wrap_registry_lock(void)
{
    __real_registry_lock();
    registry_depth++;
}

void __wrap_registry_unlock(void)
{
    registry_depth--;
    __real_registry_unlock();
}

/* Whether the other thread can make its call to the end. */
static bool all_is_unlocked(void)
{
    pthread_mutex_t *const locks[] = {&budget->room, &notifier->lock};
    bool unlocked = registry_depth == 0 && pool_is_unlocked(pools[0]) && pool_is_unlocked(pools[1]);
    for (size_t i = 0; i < sizeof locks / sizeof locks[0] && unlocked; i++) {
        unlocked = pthread_mutex_trylock(locks[i]) == 0;
        if (unlocked)
            pthread_mutex_unlock(locks[i]);
    }
    return unlocked;
}

void a_step(void)
{
    if (at_step == NULL || steps_left-- > 0)
        return;
    void (*step)(struct hand *) = at_step;
    at_step = NULL; /* the looks at the locks take steps themselves */
    if (all_is_unlocked())
        hand_do(&other, step);
    else
        at_step = step; /* before the next one, then */
}

/* ---- the two calls ---- */

static void puts_it(struct hand *hand)
{
    (void)hand;
    bufferpool_put(other.bufs[0]);
}

static bool is_rung(void)
{
    struct pollfd fd = {.fd = bufferpool_notifier_fd(notifier), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

static void look(void)
{
    const bufferpool_waiter_t *ready = bufferpool_notifier_next(notifier);
    if (ready != NULL)
        other.bufs[1] = ready->buf;
}

/* The buffer may be there at once. A loop that begins to wait is rung to look once: that look comes here, before the
 * other call goes on. */
static void waits_for_it(struct hand *hand)
{
    hand->bufs[1] = bufferpool_get_async(pools[1], &waiter, notifier);
    thread_check(hand->bufs[1] != NULL || errno == EINPROGRESS);
    if (hand->bufs[1] == NULL && is_rung())
        look();
}

/* ---- the scenes ---- */

static bufferpool_t *make_pool(void)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.budget = budget;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static void begin(void)
{
    assert_non_null(budget = bufferpool_budget_create("steps", 3 * CAPACITY / 2 + 192)); /* one, in any mode */
    pools[0] = make_pool();
    pools[1] = make_pool();
    assert_non_null(notifier = bufferpool_notifier_create());
    hand_begin(&other, pools[0], 0);
    other.bufs[0] = bufferpool_get(pools[0]);
    assert_non_null(other.bufs[0]);
    /* Both are under pressure: then no pool needs another attempt at it, for which the loop would be rung. */
    assert_null(bufferpool_try_get(pools[0]));
    assert_null(bufferpool_try_get(pools[1]));
    assert_true(depot_counts(&pools[0]->depot).pressure && depot_counts(&pools[1]->depot).pressure);
}

static void end(void)
{
    bufferpool_put(other.bufs[1]);
    other.n = 0;
    hand_end(&other);
    assert_int_equal(bufferpool_notifier_destroy(notifier), 0);
    assert_int_equal(bufferpool_destroy(pools[0]) | bufferpool_destroy(pools[1]), 0);
    assert_int_equal(bufferpool_budget_used(budget), 0);
    assert_int_equal(bufferpool_budget_destroy(budget), 0);
}

/* As a loop does: looks only when the descriptor says so. */
static void loop_gets_it(void)
{
    for (size_t looks = 0; other.bufs[1] == NULL && looks < LOOKS_MAX; looks++) {
        assert_true(is_rung());
        look();
    }
    assert_non_null(other.bufs[1]);
}

static void each_step_of(void (*mains)(struct hand *), void (*others)(struct hand *))
{
    int steps = 0;
    for (bool stopped = true; stopped && steps < STEPS_MAX; steps++) {
        begin();
        steps_left = steps;
        at_step = others;
        mains(&other);
        stopped = at_step == NULL;
        at_step = NULL;
        if (!stopped)
            others(&other);
        loop_gets_it();
        end();
    }
    assert_in_range(steps, 20, STEPS_MAX - 1);
}

static void a_waiter_that_joins_at_any_step_of_a_put_is_served(void **state)
{
    (void)state;
    each_step_of(puts_it, waits_for_it);
}

static void a_put_at_any_step_of_get_async_serves_the_waiter(void **state)
{
    (void)state;
    each_step_of(waits_for_it, puts_it);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_waiter_that_joins_at_any_step_of_a_put_is_served),
        cmocka_unit_test(a_put_at_any_step_of_get_async_serves_the_waiter),
    };
    return cmocka_run_group_tests_name("budget_steps", tests, NULL, NULL);
}
