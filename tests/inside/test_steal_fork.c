/* SPDX-License-Identifier: MIT
 *
 * test_steal_fork.c - a child can use the buffers that idled with the parent's threads
 *
 * The process forks at three chosen moments: with all of the cap idle in other caches, on the way into the pressure,
 * and under pressure. In the child there is no pressure, no owner is inside, and nothing is set aside for threads that
 * the child does not have; and the child can steal from the caches of its own threads.
 */
#include "support/steal_scene.h"

#include "support/accounts.h"

#include "steal.h"

/* ---- fork ---- */

static struct scene forked;

static int use_all_of_the_cap(size_t held, uint64_t bypassed)
{
    bufferpool_buf_t *bufs[HAND_HOLDS];
    const size_t n = forked.cap - held;
    if (!laws_hold(forked.pool, NULL, held))
        return 1;
    for (size_t i = 0; i < n; i++) {
        if ((bufs[i] = bufferpool_try_get(forked.pool)) == NULL)
            return 2;
        memset(bufs[i]->data, (int)i, bufs[i]->cap);
    }
    if (bufferpool_try_get(forked.pool) != NULL)
        return 3;
    if (stats_of(forked.pool).gets_bypass != bypassed || !laws_hold(forked.pool, NULL, forked.cap))
        return 4;
    for (size_t i = 0; i < n; i++)
        if (bufs[i]->data[0] != i)
            return 5;
    bufferpool_put_bulk(bufs, n);
    if (!laws_hold(forked.pool, NULL, held))
        return 6;
    return 0;
}

/* The child's threads can be taken from as well: the registration for the barrier is its own. */
static int take_from_own_threads(size_t held)
{
    static struct hand hands[HANDS];
    if (TEST_TSAN)
        return 0; /* which takes new threads for those of the parent */
    hands_begin(hands, forked.pool);
    hands_fill(hands, forked.cap - held, 0);
    if (stats_of(forked.pool).idle_thread == 0)
        return 7;
    const uint64_t before = stats_of(forked.pool).stolen;
    if (use_all_of_the_cap(held, stats_of(forked.pool).gets_bypass) != 0)
        return 8;
    if (stats_of(forked.pool).stolen == before)
        return 9;
    hands_end(hands);
    return test_recorded_failure() ? 10 : 0;
}

static int use_it_in_the_child(void *arg)
{
    const size_t held = *(const size_t *)arg;
    (void)stats_of(forked.pool); /* the first call repairs the pool */
    if (load_relaxed(&forked.pool->pressure.state) != PRESSURE_OFF || depot_counts(&forked.pool->depot).pressure)
        end_child(13);
    int status = use_all_of_the_cap(held, stats_of(forked.pool).gets_bypass);
    for (size_t turn = 0; turn < 2000; turn++) /* so that pressure ends */
        bufferpool_put(bufferpool_get(forked.pool));
    bufferpool_thread_flush();
    if (status == 0 && held <= forked.cap / 2)
        status = take_from_own_threads(held);
    end_child(status);
}

static void a_child_can_use_what_idles_with_the_parents_threads(void **state)
{
    size_t held = 0;
    needs_stealing();
    test_blocks_before_fork();
    scene_begin(&forked, 64);
    hand_do(&forked.hands[4], hand_stall); /* the child does not wait for a thread that it does not have */
    assert_int_equal(run_in_child(use_it_in_the_child, &held, 60), 0);
    hand_do(&forked.hands[4], hand_unstall);
    scene_end(&forked);
}

static void a_child_can_use_a_pool_under_pressure(void **state)
{
    bufferpool_buf_t *bufs[64];
    size_t held = 60;
    needs_stealing();
    scene_begin(&forked, 64);
    have_all_but_the_stalled(&forked, &forked.hands[4], bufs);
    assert_int_equal(run_in_child(use_it_in_the_child, &held, 60), 0); /* on the way into it */
    hand_do(&forked.hands[4], hand_unstall);
    for (; held < 64; held++)
        assert_non_null(bufs[held] = bufferpool_try_get(forked.pool));
    assert_null(bufferpool_try_get(forked.pool));
    assert_int_equal(load_relaxed(&forked.pool->pressure.state), PRESSURE_ON);
    while (held > 10)
        bufferpool_put(bufs[--held]);
    assert_int_equal(load_relaxed(&forked.pool->pressure.state), PRESSURE_ON);
    assert_int_equal(run_in_child(use_it_in_the_child, &held, 60), 0); /* in it */
    bufferpool_put_bulk(bufs, held);
    scene_end(&forked);
}

static int use_the_limit_in_the_child(void *arg)
{
    static struct hand hands[HANDS];
    bufferpool_t *pool = arg;
    const uint64_t idle_bytes = stats_of(pool).idle_bytes;
    if (load_relaxed(&pool->idle_reserved) != idle_bytes)
        end_child(1);
    hands_begin(hands, pool); /* they get the caches of the parent's threads, which have set nothing aside here */
    hands_fill(hands, (size_t)2 * HANDS, 0);
    if (load_relaxed(&pool->idle_reserved) != 2 * HANDS * CAPACITY)
        end_child(2);
    if (stats_of(pool).idle_bytes != 2 * HANDS * CAPACITY || stats_of(pool).drops_idle_limit != 0)
        end_child(3);
    end_child(test_recorded_failure() ? 4 : 0);
}

/* Accounts agree also where the forking thread has a cache itself. */
static int check_the_limit_in_the_child(void *arg)
{
    end_child(accounts_agree(arg) ? 0 : 5);
}

static void bytes_set_aside_by_the_parents_threads_are_free_in_the_child(void **state)
{
    static struct hand hands[HANDS];
    needs_stealing();
    if (TEST_TSAN)
        skip(); /* which takes new threads in the child for those of the parent */
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_limit(&blocks, (size_t)2 * HANDS * CAPACITY);
    hands_begin(hands, pool);
    set_aside(hands, 2);
    assert_int_equal(run_in_child(use_the_limit_in_the_child, pool, 60), 0);

    hand_do(&hands[0], hand_put);
    bufferpool_thread_flush();
    bufferpool_buf_t *buf = bufferpool_get(pool);
    bufferpool_put(buf); /* what the forking thread has set aside, it has in the child */
    assert_int_equal(run_in_child(check_the_limit_in_the_child, pool, 60), 0);
    hands_do(hands, hand_put);
    check_laws(pool, &blocks, 0);
    hands_end(hands);
    destroy_empty(pool, &blocks);
}

static int find_that_it_can(void *arg)
{
    (void)arg;
    scene_begin(&forked, 64);
    if (use_all_of_the_cap(0, 0) != 0 || stats_of(forked.pool).stolen == 0 || !steal_possible(forked.pool))
        return 21;
    hands_end(forked.hands);
    return bufferpool_destroy(forked.pool) == 0 && !test_recorded_failure() ? 0 : 22;
}

static int find_that_it_cannot(void *arg)
{
    bufferpool_put(bufferpool_get(NULL));
    bufferpool_t *pool = bufferpool_create(NULL);
    if (steal_possible(pool) || bufferpool_destroy(pool) != 0)
        return 23;
    barrier_refused = false;
    return run_in_child(find_that_it_can, arg, 60);
}

/* The system refused the barrier to the parent; the child asks for itself, since its filter may be another, and may do
 * so as early as in fork(). This case is the first of all, since a process that was refused asks again only after a
 * second. */
static void a_child_asks_for_itself_whether_it_can_steal(void **state)
{
    needs_stealing();
    if (TEST_TSAN)
        skip(); /* real fences there */
    barrier_refused = true;
    const int status = run_in_child(find_that_it_cannot, NULL, 60);
    barrier_refused = false;
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_asks_for_itself_whether_it_can_steal),
        cmocka_unit_test(a_child_can_use_what_idles_with_the_parents_threads),
        cmocka_unit_test(a_child_can_use_a_pool_under_pressure),
        cmocka_unit_test(bytes_set_aside_by_the_parents_threads_are_free_in_the_child),
    };
    return cmocka_run_group_tests_name("steal_fork", tests, NULL, NULL);
}
