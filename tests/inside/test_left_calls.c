/* SPDX-License-Identifier: MIT
 *
 * test_left_calls.c - a thread leaves a get or a put in the middle, and never comes back to it
 *
 * A signal handler may jump out of a call by siglongjmp, or end the thread by pthread_exit, and so may asynchronous
 * cancellation. The test leaves a call on the fast path before its first atomic operation, its second, and so on. Then
 * the thread ends, or makes another call, or sleeps. Wherever the call was left, no other thread hangs, at most the one
 * buffer of the call is lost, and all the others are there for other threads.
 */
#include "support/blocks.h"
#include "support/hands.h"

#include "steal.h"

enum { CAPACITY = 256, CAP = 8, IDLE = 3, NEVER = INT_MAX, HANGS_AFTER_S = 15 };

/* ---- leaving ---- */

static _Thread_local int steps_left = NEVER;
static _Thread_local jmp_buf outside;

void a_step(void)
{
    if (steps_left == NEVER || steps_left-- > 0)
        return;
    steps_left = NEVER;
    longjmp(outside, 1);
}

static int leave_at;
static bool left; /* the call did not come to its end before that step */

static void leaves_a_get(struct hand *hand)
{
    left = true;
    if (setjmp(outside) != 0)
        return;
    steps_left = leave_at;
    hand->bufs[hand->n] = bufferpool_get(hand->pool);
    steps_left = NEVER;
    hand->n++;
    left = false;
}

static void leaves_a_put(struct hand *hand)
{
    left = true;
    hand->n--;
    if (setjmp(outside) != 0)
        return;
    steps_left = leave_at;
    bufferpool_put(hand->bufs[hand->n]);
    steps_left = NEVER;
    left = false;
}

/* ---- what comes after ---- */

enum afterwards { ENDS, CALLS_AGAIN, SLEEPS, WAYS };

/* The calling thread takes all it can, and makes the other calls that steal. Returns how many buffers there were. */
static size_t use_what_is_there(bufferpool_t *pool)
{
    bufferpool_buf_t *bufs[CAP + 1];
    size_t n = 0;
    while (n <= CAP && (bufs[n] = bufferpool_try_get(pool)) != NULL)
        n++;
    assert_in_range(n, 0, CAP);
    assert_null(bufferpool_get_timed(pool, 0));
    bufferpool_buf_t *beyond = bufferpool_get(pool);
    assert_non_null(beyond);
    bufferpool_put(beyond);
    bufferpool_put_bulk(bufs, n);
    (void)bufferpool_reclaim(pool);
    (void)bufferpool_trim(pool);
    bufferpool_set_max_live(pool, 1);
    bufferpool_set_max_live(pool, CAP);
    bufferpool_thread_flush();
    return n;
}

static void hand_use_once(struct hand *hand)
{
    hand->want = 1;
    hand_use(hand);
}

/* Returns whether the call was left. */
static bool scene(void (*leaves)(struct hand *), enum afterwards afterwards)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    struct hand owner, later;
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = (size_t)CAP * CAPACITY;
    config.max_live = CAP;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    hand_begin(&owner, pool, 0);
    owner.want = IDLE + 1;
    hand_do(&owner, hand_get);
    hand_do(&owner, hand_put);
    owner.want = 1;
    hand_do(&owner, hand_get);
    hand_do(&owner, leaves);
    const bool was_left = left;
    (void)alarm(HANGS_AFTER_S);
    if (afterwards == SLEEPS)
        (void)use_what_is_there(pool);
    if (afterwards == CALLS_AGAIN)
        hand_do(&owner, hand_use_once);
    if (afterwards != ENDS)
        (void)use_what_is_there(pool);
    while (owner.n > 0)
        bufferpool_put(owner.bufs[--owner.n]);
    hand_end(&owner);

    /* a thread that comes later gets the cache of the first, and other threads steal from it as from any */
    hand_begin(&later, pool, 1);
    hand_do(&later, hand_use_once);
    const size_t lost = (size_t)stats_of(pool).live;
    assert_in_range(lost, 0, was_left ? 1 : 0);
    assert_int_equal(use_what_is_there(pool), CAP - lost);
    assert_int_equal(stats_of(pool).live, lost);
    assert_int_equal(stats_of(pool).idle_thread, 0);
    hand_end(&later);
    assert_int_equal(bufferpool_destroy(pool), lost > 0 ? EBUSY : 0);
    (void)alarm(0);
    return was_left;
}

static void at_every_step(void (*leaves)(struct hand *))
{
    for (enum afterwards afterwards = ENDS; afterwards < WAYS; afterwards++) {
        leave_at = 0;
        while (scene(leaves, afterwards))
            leave_at++;
        assert_in_range(leave_at, 5, 30); /* it was the fast path, and it was stopped there */
    }
}

static void a_get_that_is_left_loses_one_buffer_at_most(void **state)
{
    (void)state;
    at_every_step(leaves_a_get);
}

static void a_put_that_is_left_loses_one_buffer_at_most(void **state)
{
    (void)state;
    at_every_step(leaves_a_put);
}

int main(void)
{
    test_tell_memcheck_nothing();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_get_that_is_left_loses_one_buffer_at_most),
        cmocka_unit_test(a_put_that_is_left_loses_one_buffer_at_most),
    };
    return cmocka_run_group_tests_name("left_calls", tests, NULL, NULL);
}
