/* SPDX-License-Identifier: MIT
 *
 * test_close.c - a closed pool ends with its last put, and all waits at once
 *
 * The hooks count blocks: when all are gone after a close, so is the pool. Valgrind and AddressSanitizer see a struct
 * that is lost or used too late.
 */
#include "support/hands.h"
#include "support/laws.h"

#include "support/inside.h"

#include <sched.h>

enum { CAPACITY = 512, CHILD_SECONDS = 60 };

static bufferpool_t *pool_with_cap(test_blocks_t *blocks, size_t cap, unsigned flags)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = 8 * CAPACITY;
    config.max_live = cap;
    config.flags = flags;
    if (flags & BUFFERPOOL_BACKGROUND)
        config.reclaim_interval_ms = 1;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

#define assert_gone(blocks) assert_int_equal(atomic_load(&(blocks)->count) + atomic_load(&(blocks)->errors), 0)

static void get_from_pool(void *pool)
{
    (void)bufferpool_get(pool);
}

static void without_buffers_out_the_pool_ends_at_once(void **state)
{
    (void)state;
    for (int used = 0; used < 2; used++) {
        test_blocks_t blocks = {0};
        bufferpool_t *pool = pool_with_cap(&blocks, 4, 0);
        if (used)
            bufferpool_put(bufferpool_get(pool));
        bufferpool_close(pool);
        assert_gone(&blocks);
        expect_abort(get_from_pool, pool, "bufferpool_get", "the pool was destroyed", NULL);
    }
}

static void the_last_put_ends_the_pool(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 4, 0);
    bufferpool_buf_t *bufs[4];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 4), 0);
    assert_int_equal(bufferpool_buf_reserve(bufs[1], 2 * CAPACITY), 0);
    bufferpool_put(bufs[0]);
    bufferpool_close(pool);
    assert_int_equal(atomic_load(&blocks.count), 3);
    assert_int_equal(bufferpool_buf_append(bufs[3], "more", 4), 0); /* a held buffer is as before */
    assert_null(bufferpool_get(pool));
    assert_int_equal(errno, ECANCELED);
    assert_null(bufferpool_try_get(pool));
    assert_int_equal(errno, ECANCELED);
    assert_null(bufferpool_get_timed(pool, BUFFERPOOL_NEVER));
    assert_int_equal(errno, ECANCELED);
    bufferpool_buf_t *none[2];
    assert_int_equal(bufferpool_get_bulk(pool, none, 2), ECANCELED);
    assert_int_equal(bufferpool_get_bulk_timed(pool, none, 2, 0), ECANCELED);
    errno = 4242;
    bufferpool_put(bufs[1]);
    bufferpool_put_data(bufs[2]->data);
    assert_int_equal(atomic_load(&blocks.count), 1);
    bufferpool_put_bulk(&bufs[3], 1);
    assert_int_equal(errno, 4242);
    assert_gone(&blocks);
    expect_abort(get_from_pool, pool, "bufferpool_get", "the pool was destroyed", NULL);
}

static void close_twice(void *pool)
{
    bufferpool_close(pool);
    bufferpool_close(pool);
}

static void trim_closed(void *pool)
{
    bufferpool_close(pool);
    bufferpool_trim(pool);
}

static void destroy_closed(void *pool)
{
    bufferpool_close(pool);
    (void)bufferpool_destroy(pool);
}

static void misuse_is_reported(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 4, 0);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    expect_abort(close_twice, pool, "bufferpool_close", "closed already", NULL);
    expect_abort(trim_closed, pool, "bufferpool_trim", "the pool was closed", NULL);
    expect_abort(destroy_closed, pool, "bufferpool_destroy", "the pool was closed", NULL);
    expect_abort((void (*)(void *))bufferpool_close, NULL, "bufferpool_close", "default pool", NULL);
    bufferpool_put(buf);
    bufferpool_close(pool);
    assert_gone(&blocks);
}

/* ---- those that wait ---- */

struct sleeping {
    bufferpool_t *pool;
    size_t n;
    bufferpool_buf_t *bufs[4];
    int error;
    pthread_t thread;
};

static void *sleep_until_closed(void *arg)
{
    struct sleeping *s = arg;
    if (s->n > 1) {
        s->error = bufferpool_get_bulk_timed(s->pool, s->bufs, s->n, BUFFERPOOL_NEVER);
    } else {
        s->bufs[0] = bufferpool_get_timed(s->pool, BUFFERPOOL_NEVER);
        s->error = s->bufs[0] == NULL ? errno : 0;
    }
    return NULL;
}

static void all_that_wait_get_ECANCELED(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 4, 0);
    bufferpool_buf_t *bufs[4];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 4), 0);
    struct sleeping s[2] = {{.pool = pool, .n = 2}, {.pool = pool, .n = 1}};
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&s[i].thread, NULL, sleep_until_closed, &s[i]), 0);
        while (load_relaxed(&pool->waiters.waiting) != i + 1)
            sched_yield();
    }
    bufferpool_notifier_t *notifier = bufferpool_notifier_create();
    bufferpool_waiter_t waiter[2] = {0};
    for (int i = 0; i < 2; i++)
        assert_null(bufferpool_get_async(pool, &waiter[i], notifier));
    bufferpool_put(bufs[0]); /* a part for the first */
    bufferpool_close(pool);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(s[i].thread, NULL), 0);
        assert_int_equal(s[i].error, ECANCELED);
    }
    assert_int_equal(atomic_load(&blocks.count), 3);
    bufferpool_put_bulk(bufs + 1, 3);
    assert_gone(&blocks);
    /* the pool has ended; its waiters are ready still */
    assert_int_equal(bufferpool_notifier_destroy(notifier), EBUSY);
    assert_ptr_equal(bufferpool_notifier_next(notifier), &waiter[0]);
    assert_null(waiter[0].buf);
    assert_int_equal(waiter[0].error, ECANCELED);
    bufferpool_cancel(&waiter[1]);
    assert_null(bufferpool_notifier_next(notifier));
    assert_int_equal(bufferpool_notifier_destroy(notifier), 0);
}

/* The struct of a pool stays for a waiter longer than for reports of misuse. */
static void a_ready_waiter_outlives_its_pool_for_long(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 1, 0);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    bufferpool_notifier_t *notifier = bufferpool_notifier_create();
    bufferpool_waiter_t waiter = {0};
    assert_null(bufferpool_get_async(pool, &waiter, notifier));
    bufferpool_close(pool);
    bufferpool_put(buf);
    for (int i = 0; i < 100; i++)
        bufferpool_close(pool_with_cap(&blocks, 1, 0));
    bufferpool_cancel(&waiter);
    assert_int_equal(bufferpool_notifier_destroy(notifier), 0);
}

static void a_waiter_that_has_a_buffer_keeps_it(void **state)
{
    (void)state;
    for (int way = 0; way < 5; way++) { /* a buffer or a right; next, cancel, or no memory */
        test_blocks_t blocks = {0};
        const bool right = way >= 2;
        bufferpool_t *pool = pool_with_cap(&blocks, 1, 0);
        bufferpool_buf_t *buf = bufferpool_get(pool);
        bufferpool_notifier_t *notifier = bufferpool_notifier_create();
        bufferpool_waiter_t waiter = {0};
        assert_null(bufferpool_get_async(pool, &waiter, notifier));
        if (right)
            assert_int_equal(bufferpool_buf_reserve(buf, (size_t)2 << 20), 0);
        bufferpool_put(buf);
        bufferpool_close(pool);
        if (way == 0 || way == 2) {
            assert_ptr_equal(bufferpool_notifier_next(notifier), &waiter);
            assert_non_null(waiter.buf);
            bufferpool_put(waiter.buf);
        } else if (way == 4) {
            test_blocks_fail(&blocks, 0, 1);
            assert_ptr_equal(bufferpool_notifier_next(notifier), &waiter);
            assert_int_equal(waiter.error, ENOMEM);
        } else {
            bufferpool_cancel(&waiter);
        }
        assert_gone(&blocks);
        expect_abort(get_from_pool, pool, "the pool was destroyed", NULL);
        assert_int_equal(bufferpool_notifier_destroy(notifier), 0);
    }
}

/* ---- late puts ---- */

enum { PUTTERS = 4, EACH = 8 };

struct late {
    bufferpool_t *pool;
    bufferpool_buf_t *bufs[PUTTERS][EACH];
    pthread_barrier_t ready;
};

static void put_late(void *arg, unsigned index)
{
    struct late *late = arg;
    for (int i = 0; i < EACH; i++) {
        late->bufs[index][i] = bufferpool_get(late->pool);
        if (!thread_check(late->bufs[index][i] != NULL))
            abort();
    }
    bufferpool_put(late->bufs[index][0]);
    late->bufs[index][0] = bufferpool_get(late->pool);
    pthread_barrier_wait(&late->ready);
    for (int i = 0; i < EACH; i++)
        bufferpool_put(late->bufs[index][i]);
}

static void puts_may_come_from_any_thread_at_any_time(void **state)
{
    (void)state;
    const size_t rounds = test_scale(2000, 100);
    for (size_t i = 0; i < rounds; i++) {
        test_blocks_t blocks = {0};
        struct late late = {.pool = pool_with_cap(&blocks,
                                                  i % 3 == 0   ? 0
                                                  : i % 3 == 1 ? 16
                                                               : 64,
                                                  i % 4 == 3 ? BUFFERPOOL_BACKGROUND : 0)};
        pthread_barrier_init(&late.ready, NULL, PUTTERS + 1);
        test_crew_t *crew = start_threads(PUTTERS, put_late, &late);
        pthread_barrier_wait(&late.ready);
        bufferpool_close(late.pool);
        join_threads(crew);
        assert_gone(&blocks);
        pthread_barrier_destroy(&late.ready);
    }
}

/* A put that began before the close, and has yet to free its buffer. */

static sem_t in_hook, go_on;

static void stop_in_hook(test_blocks_t *blocks, const unsigned char *block, size_t size)
{
    (void)block, (void)size;
    blocks->on_free = NULL;
    sem_post(&in_hook);
    sem_wait_for_sure(&go_on);
}

static void *close_pool(void *pool)
{
    bufferpool_close(pool);
    return NULL;
}

static void close_waits_for_a_put_that_is_under_way(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 1, 0);
    struct hand hand;
    pthread_t closer;
    assert_int_equal(sem_init(&in_hook, 0, 0) | sem_init(&go_on, 0, 0), 0);
    hand_begin(&hand, pool, 0);
    hand.want = 1;
    hand.grow = (size_t)2 << 20; /* too large to stay */
    hand_do(&hand, hand_get);
    blocks.on_free = stop_in_hook;
    hand_start(&hand, hand_put);
    sem_wait_for_sure(&in_hook);
    assert_int_equal(pthread_create(&closer, NULL, close_pool, pool), 0);
    while (load_relaxed(&pool->pressure.state) != PRESSURE_ON) /* then it waits, or does not */
        sched_yield();
    assert_int_equal(pthread_tryjoin_np(closer, NULL), EBUSY);
    sem_post(&go_on);
    hand_finish(&hand);
    assert_int_equal(pthread_join(closer, NULL), 0);
    hand_end(&hand);
    assert_gone(&blocks);
    expect_abort(get_from_pool, pool, "the pool was destroyed", NULL);
    sem_destroy(&in_hook);
    sem_destroy(&go_on);
}

/* A loop that looks again at the pools for which somebody waits, and frees what idles beyond a lowered cap there, while
 * another thread closes the pool, and its last buffer is put. */

static struct {
    bufferpool_t *pool;
    bufferpool_buf_t *last;
    pthread_t closer;
    _Atomic(bool) closed; /* close has returned */
} meanwhile;

static void *close_meanwhile(void *unused)
{
    (void)unused;
    bufferpool_close(meanwhile.pool);
    atomic_store(&meanwhile.closed, true);
    return NULL;
}

static void put_meanwhile(void *unused, unsigned index)
{
    (void)unused, (void)index;
    bufferpool_put(meanwhile.last);
}

static void close_in_hook(test_blocks_t *blocks, const unsigned char *block, size_t size)
{
    (void)block, (void)size;
    blocks->on_free = NULL;
    if (pthread_create(&meanwhile.closer, NULL, close_meanwhile, NULL) != 0)
        abort();
    while (load_relaxed(&meanwhile.pool->life) != POOL_CLOSED)
        sched_yield();
    run_threads(1, put_meanwhile, NULL);
    /* the close is over, or waits for the call that freed this */
    while (!atomic_load(&meanwhile.closed) && load_relaxed(&meanwhile.pool->shared.calls) == 0)
        sched_yield();
}

static void close_waits_for_a_loop_that_looks_at_the_pools_again(void **state)
{
    (void)state;
    if (!test_can_steal() || TEST_TSAN) /* there is no owner inside for others to wait for */
        skip();
    test_blocks_t blocks = {0};
    struct hand hand;
    bufferpool_waiter_t waiter = {0};
    bufferpool_notifier_t *notifier = bufferpool_notifier_create();
    bufferpool_t *pool = pool_with_cap(&blocks, 2, 0);
    meanwhile.pool = pool;
    meanwhile.last = bufferpool_get(pool);
    atomic_store(&meanwhile.closed, false);
    hand_begin(&hand, pool, 0);
    hand.want = 1;
    hand_do(&hand, hand_get);
    hand_do(&hand, hand_put); /* one idles in its cache, and it is inside */
    hand_do(&hand, hand_stall);
    assert_null(bufferpool_get_async(pool, &waiter, notifier));
    assert_int_equal(errno, EINPROGRESS);
    bufferpool_set_max_live(pool, 1);
    hand_do(&hand, hand_unstall);
    blocks.on_free = close_in_hook;
    assert_ptr_equal(bufferpool_notifier_next(notifier), &waiter);
    assert_int_equal(waiter.error, ECANCELED);
    assert_null(blocks.on_free);
    assert_int_equal(pthread_join(meanwhile.closer, NULL), 0);
    assert_gone(&blocks);
    assert_int_equal(load_relaxed(&pool->life), POOL_ENDED);
    assert_int_equal(bufferpool_notifier_destroy(notifier), 0);
    hand_end(&hand);
}

/* ---- without membarrier(2) ---- */

static void what_idles_in_other_caches_goes_with_their_threads(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) { /* the thread puts another one, flushes, or ends */
        test_blocks_t blocks = {0};
        bufferpool_t *pool = pool_with_cap(&blocks, 8, BUFFERPOOL_NO_MEMBARRIER);
        struct hand hand;
        hand_begin(&hand, pool, 0);
        hand.want = 3;
        hand_do(&hand, hand_get);
        bufferpool_buf_t *last = hand.bufs[2];
        hand.n = 2;
        hand_do(&hand, hand_put);
        if (way != 0)
            bufferpool_put(last);
        bufferpool_close(pool);
        assert_true(atomic_load(&blocks.count) >= 2);
        if (way == 0) {
            hand.bufs[0] = last;
            hand.n = 1;
            hand_do(&hand, hand_put);
            assert_gone(&blocks);
        } else if (way == 1) {
            hand_do(&hand, hand_flush);
            assert_gone(&blocks);
        }
        hand_end(&hand);
        assert_gone(&blocks);
        run_threads(1, hand_nothing, NULL);
    }
}

/* ---- fork ---- */

struct child_scene {
    bufferpool_t *pool;
    bufferpool_buf_t *buf;
    test_blocks_t *blocks;
};

static int put_in_child(void *arg)
{
    struct child_scene *s = arg;
    bufferpool_put(s->buf);
    end_child(atomic_load(&s->blocks->count) == 0 ? 0 : 1);
}

static void a_child_of_fork_ends_its_copy_with_its_last_put(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    test_blocks_before_fork();
    struct child_scene s = {.pool = pool_with_cap(&blocks, 4, 0), .blocks = &blocks};
    s.buf = bufferpool_get(s.pool);
    bufferpool_close(s.pool);
    assert_int_equal(run_in_child(put_in_child, &s, CHILD_SECONDS), 0);
    bufferpool_put(s.buf);
    assert_gone(&blocks);
}

/* ---- debug modes ---- */

static void close_with_modes(void *arg)
{
    (void)arg;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 4, 0);
    bufferpool_buf_t *bufs[4];
    modes_check(bufferpool_get_bulk(pool, bufs, 4) == 0);
    bufferpool_put(bufs[0]);
    bufferpool_put(bufs[1]);
    bufferpool_close(pool);
    bufferpool_put(bufs[2]);
    modes_check(atomic_load(&blocks.count) == 1);
    bufferpool_put(bufs[3]);
    modes_check(atomic_load(&blocks.count) == 0);
}

static void debug_modes_change_nothing_of_that(void **state)
{
    (void)state;
    const char *words[] = {"poison,redzone", "quarantine=2", "nopool", "holders,stats", "chaos"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        (void)run_with_modes(words[i], close_with_modes, NULL);
        expect_outcome(0, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(debug_modes_change_nothing_of_that), /* first: the modes are read once */
        cmocka_unit_test(without_buffers_out_the_pool_ends_at_once),
        cmocka_unit_test(the_last_put_ends_the_pool),
        cmocka_unit_test(misuse_is_reported),
        cmocka_unit_test(all_that_wait_get_ECANCELED),
        cmocka_unit_test(a_ready_waiter_outlives_its_pool_for_long),
        cmocka_unit_test(a_waiter_that_has_a_buffer_keeps_it),
        cmocka_unit_test(puts_may_come_from_any_thread_at_any_time),
        cmocka_unit_test(close_waits_for_a_put_that_is_under_way),
        cmocka_unit_test(close_waits_for_a_loop_that_looks_at_the_pools_again),
        cmocka_unit_test(what_idles_in_other_caches_goes_with_their_threads),
        cmocka_unit_test(a_child_of_fork_ends_its_copy_with_its_last_put),
    };
    return cmocka_run_group_tests_name("close", tests, NULL, NULL);
}
