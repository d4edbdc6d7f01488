/* SPDX-License-Identifier: MIT
 *
 * test_bulk.c - a get_bulk that fails leaves nothing behind: no count, no buffer, no room; and threads that wait get
 * what it had
 *
 * The block hook fails one allocation of the call, each one in turn. Where a thread waits, it began to wait while the
 * call stood in the hook, so it waits for what the call has.
 */
#include "support/laws.h"

#include "support/inside.h"

#include <sched.h>

enum { CAPACITY = 1024, N = 8, CAP = 4 };

/* ---- a hook in which the test acts ---- */

static struct scene {
    test_blocks_t blocks; /* first: the hook gets its address */
    bufferpool_t *pool;
    atomic_int calls_to_failure; /* the alloc that fails: 0 the next one; below 0 none */
    void (*in_hook)(void);       /* before that failure */
    bufferpool_stats_t met;      /* what a thread saw meanwhile */
} scene;

static void *alloc(size_t size, size_t align, void *ctx)
{
    if (atomic_fetch_sub(&scene.calls_to_failure, 1) != 0)
        return test_blocks_alloc(size, align, ctx);
    if (scene.in_hook != NULL)
        scene.in_hook();
    return NULL;
}

static void nothing(void *arg, unsigned index)
{
    (void)arg, (void)index;
}

/* Fails, and says why, if a check in a hook did. */
static void assert_nothing_recorded(void)
{
    run_threads(1, nothing, NULL);
}

static void begin(size_t max_live, size_t max_idle_bytes, unsigned flags)
{
    memset(&scene, 0, sizeof scene);
    atomic_store(&scene.calls_to_failure, -1);
    bufferpool_config_t config = config_with(&scene.blocks);
    config.alloc = alloc;
    config.buffer_capacity = CAPACITY;
    config.max_capacity = (size_t)4 * CAPACITY;
    config.thread_cache_bytes = (size_t)N * CAPACITY;
    config.max_live = max_live;
    config.max_idle_bytes = max_idle_bytes;
    config.flags = flags;
    scene.pool = bufferpool_create(&config);
    assert_non_null(scene.pool);
}

static void end(void)
{
    bufferpool_thread_flush();
    assert_true(laws_hold(scene.pool, &scene.blocks, 0));
    destroy_empty(scene.pool, &scene.blocks);
}

/* The buffers of the thread's cache and of the depot, and one of them grown. */
static void leave_idle(size_t in_depot, size_t in_cache)
{
    bufferpool_buf_t *bufs[N];
    assert_int_equal(bufferpool_get_bulk(scene.pool, bufs, in_depot + in_cache), 0);
    if (in_cache > 0)
        assert_int_equal(bufferpool_buf_reserve(bufs[0], (size_t)2 * CAPACITY), 0);
    bufferpool_put_bulk(bufs + in_cache, in_depot);
    bufferpool_thread_flush();
    bufferpool_put_bulk(bufs, in_cache);
}

/* What a call that changes nothing leaves as it was. Where the idle buffers lie is not among it. */
static void assert_as_before(const bufferpool_stats_t *before, const bufferpool_stats_t *now)
{
    assert_int_equal(now->live, before->live);
    assert_int_equal(now->bypass_live, before->bypass_live);
    assert_int_equal(now->live_bytes, before->live_bytes);
    assert_int_equal(now->gets_thread, before->gets_thread);
    assert_int_equal(now->gets_depot, before->gets_depot);
    assert_int_equal(now->gets_fresh, before->gets_fresh);
    assert_int_equal(now->gets_bypass, before->gets_bypass);
    assert_int_equal(now->gets_refused, before->gets_refused);
    assert_int_equal(now->puts_kept, before->puts_kept);
    assert_int_equal(sum_of_drops(now), sum_of_drops(before));
    assert_int_equal(now->grows, before->grows);
    assert_int_equal(now->shrinks, before->shrinks);
}

/* ---- nobody waits ---- */

static const struct {
    size_t max_live, max_idle_bytes;
    unsigned flags;
    size_t in_depot, in_cache;
} pools[] = {
    {0, 0, 0, 0, 0},
    {0, 0, 0, 2, 2},
    {0, 0, BUFFERPOOL_ZERO, 2, 2},
    {CAP, 0, 0, 0, 0},
    {CAP, 0, 0, 2, 1},
    {CAP, 0, 0, 0, CAP},
    {CAP, 0, BUFFERPOOL_ZERO, 1, 1},
    {0, (size_t)5 * CAPACITY, 0, 2, 2},
    {CAP, (size_t)3 * CAPACITY, 0, 0, 2},
    {CAP, (size_t)3 * CAPACITY, 0, 1, 0},
};

/* Also with the limit on idle bytes: buffers that were made for the call may have no room to idle, and are freed. */
static void a_failed_bulk_counts_nothing_whichever_allocation_fails(void **state)
{
    (void)state;
    for (size_t p = 0; p < sizeof pools / sizeof pools[0]; p++) {
        const int allocations = (int)(N - pools[p].in_depot - pools[p].in_cache);
        for (int k = 0; k < allocations; k++) {
            bufferpool_buf_t *bufs[N];
            begin(pools[p].max_live, pools[p].max_idle_bytes, pools[p].flags);
            leave_idle(pools[p].in_depot, pools[p].in_cache);
            const bufferpool_stats_t before = stats_of(scene.pool);
            atomic_store(&scene.calls_to_failure, k);
            assert_int_equal(bufferpool_get_bulk(scene.pool, bufs, N), ENOMEM);
            const bufferpool_stats_t after = stats_of(scene.pool);
            assert_as_before(&before, &after);
            assert_true(idle_of(&after) >= idle_of(&before));
            assert_true(laws_hold(scene.pool, &scene.blocks, 0));
            if (pools[p].max_idle_bytes != 0)
                assert_true(after.idle_bytes <= pools[p].max_idle_bytes);
            /* the room is there for the next */
            assert_int_equal(bufferpool_get_bulk(scene.pool, bufs, N), 0);
            const bufferpool_stats_t held = stats_of(scene.pool);
            assert_int_equal(held.bypass_live, pools[p].max_live != 0 ? N - CAP : 0);
            assert_true(laws_hold(scene.pool, &scene.blocks, N));
            bufferpool_put_bulk(bufs, N);
            end();
        }
    }
}

/* ---- a thread waits for what the call has ---- */

struct waiting_thread {
    pthread_t thread;
    bufferpool_buf_t *buf;
    unsigned timeout_ms;
};

static struct waiting_thread waiting_threads[CAP + 1];
static size_t wanted_in_queue;

static void *wait_one_time(void *arg)
{
    struct waiting_thread *w = arg;
    w->buf = bufferpool_get_timed(scene.pool, w->timeout_ms);
    return NULL;
}

static size_t in_queue(void)
{
    size_t n = 0;
    pthread_mutex_lock(&scene.pool->waiters.lock);
    for (const struct waiter *at = scene.pool->waiters.first; at != NULL; at = at->next)
        n++;
    pthread_mutex_unlock(&scene.pool->waiters.lock);
    return n;
}

static void threads_come_to_wait(void)
{
    for (size_t i = 0; i < wanted_in_queue; i++) {
        waiting_threads[i] = (struct waiting_thread){.timeout_ms = BUFFERPOOL_NEVER};
        thread_check(pthread_create(&waiting_threads[i].thread, NULL, wait_one_time, &waiting_threads[i]) == 0);
        while (in_queue() != i + 1)
            sched_yield();
    }
}

/* All are served, which the join shows. */
static void join_waiting(void)
{
    for (size_t i = 0; i < wanted_in_queue; i++) {
        assert_int_equal(pthread_join(waiting_threads[i].thread, NULL), 0);
        assert_non_null(waiting_threads[i].buf);
    }
    assert_int_equal(in_queue(), 0);
    assert_nothing_recorded();
}

static void put_waiting(void)
{
    for (size_t i = 0; i < wanted_in_queue; i++)
        bufferpool_put(waiting_threads[i].buf);
}

/* The call has all buffers that the cap allows, and fails in one of those beyond. */
static void a_failed_bulk_hands_its_buffers_to_waiting_threads(void **state)
{
    (void)state;
    for (size_t threads = 1; threads <= CAP; threads++)
        for (int zero = 0; zero < 2; zero++) {
            bufferpool_buf_t *bufs[N];
            begin(CAP, 0, zero != 0 ? BUFFERPOOL_ZERO : 0);
            leave_idle(1, 2);
            const bufferpool_stats_t before = stats_of(scene.pool);
            wanted_in_queue = threads;
            atomic_store(&scene.calls_to_failure, 2); /* the fourth pooled one, one beyond the cap, and then this */
            scene.in_hook = threads_come_to_wait;
            assert_int_equal(bufferpool_get_bulk(scene.pool, bufs, N), ENOMEM);
            join_waiting();
            bufferpool_stats_t after = stats_of(scene.pool);
            assert_int_equal(after.live, threads);
            assert_int_equal(after.gets_depot, before.gets_depot + threads);
            assert_int_equal(idle_of(&after), CAP - threads);
            assert_true(laws_hold(scene.pool, &scene.blocks, threads));
            after.live = before.live;
            after.live_bytes = before.live_bytes;
            after.gets_depot = before.gets_depot;
            assert_as_before(&before, &after);
            put_waiting();
            end();
        }
}

/* The call fails in the last buffer that the cap allows. One thread gets the right to make that one. */
static void a_failed_bulk_gives_its_room_to_a_waiting_thread(void **state)
{
    (void)state;
    for (int k = 0; k < CAP; k++) {
        bufferpool_buf_t *bufs[N], *others[CAP];
        const size_t others_hold = (size_t)(CAP - 1 - k);
        begin(CAP, 0, 0);
        assert_int_equal(bufferpool_get_bulk(scene.pool, others, others_hold), 0);
        const bufferpool_stats_t before = stats_of(scene.pool);
        wanted_in_queue = (size_t)k + 1;
        atomic_store(&scene.calls_to_failure, k);
        scene.in_hook = threads_come_to_wait;
        assert_int_equal(bufferpool_get_bulk(scene.pool, bufs, N), ENOMEM);
        join_waiting();
        const bufferpool_stats_t after = stats_of(scene.pool);
        assert_int_equal(after.live, CAP);
        assert_int_equal(sum_of_gets(&after), sum_of_gets(&before) + wanted_in_queue);
        assert_int_equal(after.gets_fresh, before.gets_fresh + 1);
        assert_int_equal(sum_of_puts(&after), sum_of_puts(&before));
        assert_true(laws_hold(scene.pool, &scene.blocks, CAP));
        put_waiting();
        bufferpool_put_bulk(others, others_hold);
        end();
    }
}

static void put_bulk_at_the_cap_serves_as_many_as_wait_and_keeps_the_rest(void **state)
{
    (void)state;
    for (size_t threads = 1; threads <= CAP; threads++) {
        bufferpool_buf_t *bufs[CAP + 2];
        begin(CAP, 0, 0);
        assert_int_equal(bufferpool_get_bulk(scene.pool, bufs, CAP + 2), 0);
        wanted_in_queue = threads;
        threads_come_to_wait();
        bufferpool_put_bulk(bufs, CAP + 2); /* the first two are freed, and serve nobody */
        join_waiting();
        const bufferpool_stats_t after = stats_of(scene.pool);
        assert_int_equal(after.live, threads);
        assert_int_equal(idle_of(&after), CAP - threads);
        assert_int_equal(after.drops_over_cap, 2);
        assert_int_equal(after.puts_kept, CAP);
        assert_int_equal(atomic_load(&scene.blocks.peak), CAP + 2);
        put_waiting();
        end();
    }
}

/* A buffer that is freed for its size serves by its room. */
static void put_bulk_of_too_large_buffers_serves_by_the_room(void **state)
{
    (void)state;
    bufferpool_buf_t *bufs[CAP];
    begin(CAP, 0, 0);
    assert_int_equal(bufferpool_get_bulk(scene.pool, bufs, CAP), 0);
    for (int i = 0; i < CAP; i++)
        assert_int_equal(bufferpool_buf_reserve(bufs[i], (size_t)5 * CAPACITY), 0);
    wanted_in_queue = CAP;
    threads_come_to_wait();
    bufferpool_put_bulk(bufs, CAP);
    join_waiting();
    const bufferpool_stats_t after = stats_of(scene.pool);
    assert_int_equal(after.gets_fresh, 2 * CAP);
    assert_int_equal(after.drops_oversize, CAP);
    assert_true(laws_hold(scene.pool, &scene.blocks, CAP));
    put_waiting();
    end();
}

/* ---- the cap is lowered meanwhile ---- */

static size_t lowered_to;

static void *lower(void *arg)
{
    (void)arg;
    bufferpool_set_max_live(scene.pool, lowered_to);
    return NULL;
}

static void another_thread_lowers_the_cap(void)
{
    pthread_t thread;
    thread_check(pthread_create(&thread, NULL, lower, NULL) == 0);
    thread_check(pthread_join(thread, NULL) == 0);
}

static void a_failed_bulk_leaves_nothing_beyond_a_cap_that_was_lowered_meanwhile(void **state)
{
    (void)state;
    for (lowered_to = 1; lowered_to <= CAP; lowered_to++)
        for (int k = 0; k < 4; k++) { /* in the fourth pooled one, and in one beyond the cap */
            bufferpool_buf_t *bufs[N];
            begin(CAP, 0, 0);
            leave_idle(1, 2);
            const bufferpool_stats_t before = stats_of(scene.pool);
            atomic_store(&scene.calls_to_failure, k);
            scene.in_hook = another_thread_lowers_the_cap;
            assert_int_equal(bufferpool_get_bulk(scene.pool, bufs, N), ENOMEM);
            assert_nothing_recorded();
            const bufferpool_stats_t after = stats_of(scene.pool);
            assert_as_before(&before, &after);
            assert_true(idle_of(&after) <= lowered_to);
            assert_true(k == 0 || idle_of(&after) == lowered_to);
            assert_true(laws_hold(scene.pool, &scene.blocks, 0));
            end();
        }
}

static void put_bulk_over_a_lowered_cap_frees_the_surplus_only(void **state)
{
    (void)state;
    for (size_t cap = 1; cap <= CAP; cap++) {
        bufferpool_buf_t *bufs[CAP + 2];
        begin(CAP, 0, 0);
        assert_int_equal(bufferpool_get_bulk(scene.pool, bufs, CAP + 2), 0);
        bufferpool_set_max_live(scene.pool, cap);
        bufferpool_put_bulk(bufs, CAP + 2);
        const bufferpool_stats_t after = stats_of(scene.pool);
        assert_int_equal(after.drops_over_cap, CAP + 2 - cap);
        assert_int_equal(after.puts_kept, cap);
        assert_int_equal(idle_of(&after), cap);
        assert_true(laws_hold(scene.pool, &scene.blocks, 0));
        end();
    }
}

/* ---- a counter that a thread reads meanwhile ---- */

static void *read_figures(void *arg)
{
    (void)arg;
    scene.met = stats_of(scene.pool);
    return NULL;
}

static void another_thread_reads(void)
{
    pthread_t thread;
    thread_check(pthread_create(&thread, NULL, read_figures, NULL) == 0);
    thread_check(pthread_join(thread, NULL) == 0);
}

static void a_failed_bulk_shows_no_get_that_it_takes_back(void **state)
{
    (void)state;
    for (size_t p = 0; p < sizeof pools / sizeof pools[0]; p++) {
        bufferpool_buf_t *bufs[N];
        begin(pools[p].max_live, pools[p].max_idle_bytes, pools[p].flags);
        leave_idle(pools[p].in_depot, pools[p].in_cache);
        const bufferpool_stats_t before = stats_of(scene.pool);
        atomic_store(&scene.calls_to_failure, (int)(N - pools[p].in_depot - pools[p].in_cache - 1));
        scene.in_hook = another_thread_reads;
        assert_int_equal(bufferpool_get_bulk(scene.pool, bufs, N), ENOMEM);
        assert_nothing_recorded();
        assert_int_equal(scene.met.gets_thread, before.gets_thread);
        assert_int_equal(scene.met.gets_depot, before.gets_depot);
        assert_int_equal(scene.met.gets_fresh, before.gets_fresh);
        assert_int_equal(scene.met.gets_bypass, before.gets_bypass);
        assert_int_equal(sum_of_drops(&scene.met), sum_of_drops(&before));
        end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_bulk_counts_nothing_whichever_allocation_fails),
        cmocka_unit_test(a_failed_bulk_hands_its_buffers_to_waiting_threads),
        cmocka_unit_test(a_failed_bulk_gives_its_room_to_a_waiting_thread),
        cmocka_unit_test(put_bulk_at_the_cap_serves_as_many_as_wait_and_keeps_the_rest),
        cmocka_unit_test(put_bulk_of_too_large_buffers_serves_by_the_room),
        cmocka_unit_test(a_failed_bulk_leaves_nothing_beyond_a_cap_that_was_lowered_meanwhile),
        cmocka_unit_test(put_bulk_over_a_lowered_cap_frees_the_surplus_only),
        cmocka_unit_test(a_failed_bulk_shows_no_get_that_it_takes_back),
    };
    return cmocka_run_group_tests_name("bulk", tests, NULL, NULL);
}
