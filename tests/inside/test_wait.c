/* SPDX-License-Identifier: MIT
 *
 * test_wait.c - get_timed serves the threads that wait at the cap in turn, by every way in which a buffer comes back
 *
 * No test sleeps in the hope that a thread waits by then: the test looks into the pool's queue until the thread is
 * there. Then the test acts, and joins. A lost wake-up shows as a hang, which ctest ends. Times are compared only with
 * their lower bounds.
 */
#include "support/blocks.h"
#include "support/laws.h"

#include "support/inside.h"
#include "tls_cache.h"

#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { CAPACITY = 512, SENTINEL = 4242, CHILD_SECONDS = 60 };

static size_t waiting(bufferpool_t *pool)
{
    size_t n = 0;
    pthread_mutex_lock(&pool->waiters.lock);
    for (const struct waiter *at = (void *)pool->waiters.first; at != NULL; at = at->next)
        n++;
    pthread_mutex_unlock(&pool->waiters.lock);
    return n;
}

static void until_waiting(bufferpool_t *pool, size_t n)
{
    while (waiting(pool) != n)
        sched_yield();
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- one thread that calls get_timed once ---- */

struct waiter_thread {
    bufferpool_t *pool;
    unsigned timeout_ms;
    bufferpool_buf_t *buf;
    int error;
    atomic_bool served;
    atomic_bool stays; /* the thread, for the end of a thread serves others */
    pthread_t thread;
};

static void *wait_one_time(void *arg)
{
    struct waiter_thread *w = arg;
    errno = SENTINEL;
    w->buf = bufferpool_get_timed(w->pool, w->timeout_ms);
    w->error = errno;
    atomic_store(&w->served, true);
    while (atomic_load(&w->stays))
        sched_yield();
    return NULL;
}

/* Returns when it is in the queue, at the end of those that are there already. */
static void start_waiting(struct waiter_thread *w, bufferpool_t *pool, unsigned timeout_ms)
{
    const size_t before = waiting(pool);
    memset(w, 0, sizeof *w);
    w->pool = pool;
    w->timeout_ms = timeout_ms;
    assert_int_equal(pthread_create(&w->thread, NULL, wait_one_time, w), 0);
    until_waiting(pool, before + 1);
}

static bufferpool_buf_t *served(struct waiter_thread *w)
{
    assert_int_equal(pthread_join(w->thread, NULL), 0);
    assert_non_null(w->buf);
    assert_int_equal(w->error, SENTINEL);
    assert_int_equal(w->buf->len, 0);
    assert_true(w->buf->cap >= w->pool->heap.base);
    memset(w->buf->data, 0x77, w->buf->cap);
    return w->buf;
}

/* ---- pools ---- */

static bufferpool_t *pool_with_cap(test_blocks_t *blocks, size_t cap)
{
    const bufferpool_config_t config = config_capped(blocks, CAPACITY, cap);
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

/* Nobody waits, nothing is lost: all that the cap allows can be had, and no more. */
static void check_whole(bufferpool_t *pool, test_blocks_t *blocks)
{
    bufferpool_buf_t *bufs[64];
    const size_t cap = bufferpool_max_live(pool);
    assert_int_equal(waiting(pool), 0);
    check_laws(pool, blocks, 0);
    for (size_t i = 0; i < cap; i++)
        assert_non_null(bufs[i] = bufferpool_get_timed(pool, 0));
    assert_null(bufferpool_get_timed(pool, 0));
    assert_int_equal(errno, ETIMEDOUT);
    bufferpool_put_bulk(bufs, cap);
    check_laws(pool, blocks, 0);
}

static void destroy_whole(bufferpool_t *pool, test_blocks_t *blocks)
{
    check_whole(pool, blocks);
    destroy_empty(pool, blocks);
}

/* A pool of one buffer, which the test has, and a thread that waits for it. */
struct one_waits {
    test_blocks_t blocks;
    bufferpool_t *pool;
    bufferpool_buf_t *buf;
    struct waiter_thread w;
};

static void begin_one_waits(struct one_waits *one)
{
    memset(one, 0, sizeof *one);
    one->pool = pool_with_cap(&one->blocks, 1);
    one->buf = bufferpool_get(one->pool);
    assert_non_null(one->buf);
    start_waiting(&one->w, one->pool, BUFFERPOOL_NEVER);
}

/* ---- time ---- */

static void put_and_stay(void *arg, unsigned index)
{
    pthread_barrier_t *barrier = ((void **)arg)[1];
    (void)index;
    bufferpool_put(((void **)arg)[0]); /* idles in this thread's cache */
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
}

static void get_timed_does_not_wait_below_the_cap(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    pthread_barrier_t barrier;
    bufferpool_t *pool = pool_with_cap(&blocks, 3);
    bufferpool_buf_t *bufs[3];
    for (int round = 0; round < 3; round++) { /* made anew, from the cache, from the depot */
        errno = SENTINEL;
        for (int i = 0; i < 3; i++)
            assert_non_null(bufs[i] = bufferpool_get_timed(pool, 0));
        assert_int_equal(errno, SENTINEL);
        bufferpool_put_bulk(bufs, 3);
        if (round == 1)
            bufferpool_thread_flush();
    }
    const bufferpool_stats_t stats = stats_of(pool);
    assert_int_equal(stats.gets_refused, 0);
    assert_int_equal(stats.gets_bypass, 0);

    /* or out of the cache of a thread that sleeps */
    for (int i = 0; i < 3; i++)
        assert_non_null(bufs[i] = bufferpool_get_timed(pool, 0));
    assert_int_equal(pthread_barrier_init(&barrier, NULL, 2), 0);
    void *arg[2] = {bufs[2], &barrier};
    bufferpool_trim(pool);
    test_crew_t *crew = start_threads(1, put_and_stay, arg);
    pthread_barrier_wait(&barrier);
    bufs[2] = test_can_steal() ? bufferpool_get_timed(pool, 0) : NULL;
    pthread_barrier_wait(&barrier);
    join_threads(crew);
    if (test_can_steal())
        assert_non_null(bufs[2]);
    bufferpool_put_bulk(bufs, 3);
    destroy_whole(pool, &blocks);
    pthread_barrier_destroy(&barrier);
}

static void get_timed_gives_up_after_the_time_and_not_before(void **state)
{
    static const unsigned times[] = {0, 1, 2, 3, 20, 60};
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 1);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    for (uint64_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        const uint64_t before = now_ms();
        errno = SENTINEL;
        assert_null(bufferpool_get_timed(pool, times[i]));
        assert_int_equal(errno, ETIMEDOUT);
        assert_true(now_ms() - before >= times[i]);
        assert_int_equal(stats_of(pool).gets_refused, i + 1);
        assert_int_equal(waiting(pool), 0);
        check_laws(pool, &blocks, 1);
    }
    bufferpool_put(buf);
    destroy_whole(pool, &blocks);
}

/* Behind others too, whose wait has no end. */
static void get_timed_gives_up_in_the_middle_of_the_queue(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 1);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    struct waiter_thread first, second, middle;
    start_waiting(&first, pool, BUFFERPOOL_NEVER);
    start_waiting(&middle, pool, 300);
    start_waiting(&second, pool, BUFFERPOOL_NEVER - 1); /* a time, if a long one */
    assert_int_equal(pthread_join(middle.thread, NULL), 0);
    assert_null(middle.buf);
    assert_int_equal(middle.error, ETIMEDOUT);
    assert_int_equal(waiting(pool), 2);
    assert_null(bufferpool_get_timed(pool, 1)); /* the last of three */
    bufferpool_put(buf);
    bufferpool_put(served(&first));
    bufferpool_put(served(&second));
    destroy_whole(pool, &blocks);
}

/* While a thread is inside of its cache the pool cannot tell that callers have all; it looks again and again then. */
static void get_timed_waits_while_a_cache_cannot_be_looked_into(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_capped(&blocks, CAPACITY, 2);
    config.max_idle_bytes = 4 * CAPACITY;
    bufferpool_t *pool = bufferpool_create(&config);
    bufferpool_buf_t *bufs[2] = {bufferpool_get(pool), bufferpool_get(pool)};
    assert_int_equal(bufferpool_buf_reserve(bufs[1], 3 * CAPACITY), 0);
    const size_t cap = bufs[1]->cap;
    bufs[1]->len = cap;
    pthread_barrier_t barrier;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, 2), 0);
    void *arg[2] = {bufs[1], &barrier};
    test_crew_t *crew = start_threads(1, put_and_stay, arg);
    pthread_barrier_wait(&barrier);
    struct cache *theirs = load_relaxed(&pool->caches); /* the newest */
    store_seq_cst(&theirs->busy, true);

    const uint64_t before = now_ms();
    bufferpool_buf_t *none = bufferpool_get_timed(pool, 9);
    const uint64_t took = now_ms() - before;
    const int error = errno;
    struct waiter_thread w;
    start_waiting(&w, pool, BUFFERPOOL_NEVER);
    store_seq_cst(&theirs->busy, false); /* nobody tells the waiter, who finds it out */
    bufferpool_buf_t *found = test_can_steal() ? served(&w) : NULL;
    pthread_barrier_wait(&barrier);
    join_threads(crew);
    if (found == NULL)
        found = served(&w);
    assert_null(none);
    assert_int_equal(error, ETIMEDOUT);
    assert_true(took >= 9);
    assert_ptr_equal(found, bufs[1]);
    /* it came by way of the depot, which keeps none of its bytes on account */
    assert_int_equal(stats_of(pool).idle_bytes, 0);
    assert_int_equal(stats_of(pool).live_bytes, cap + CAPACITY);
    bufs[1]->len = cap;
    bufferpool_put_bulk(bufs, 2);
    assert_int_equal(stats_of(pool).drops_idle_limit, cap <= 3 * CAPACITY ? 0 : 1);
    destroy_whole(pool, &blocks);
    pthread_barrier_destroy(&barrier);
}

/* ---- every way in which one comes back ----
 *
 * Two buffers, both held; one thread waits; then the way, and the waiter has a buffer. `keeps` says how many the way
 * leaves in bufs, from the front. */

struct way {
    const char *name;
    size_t (*go)(bufferpool_t *pool, bufferpool_buf_t **bufs);
    bool hides; /* see hide(): only where a put can be fast */
};

static size_t by_put(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    (void)pool;
    bufferpool_put(bufs[1]);
    return 1;
}

static size_t by_put_bulk(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    (void)pool;
    bufferpool_put_bulk(bufs, 2);
    return 0;
}

static void put_in_thread(void *arg, unsigned index)
{
    (void)index;
    bufferpool_put(arg);
}

static size_t by_put_of_a_thread_without_a_cache(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    (void)pool;
    run_threads(1, put_in_thread, bufs[1]);
    return 1;
}

static size_t by_put_of_a_grown_one(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    (void)pool;
    assert_int_equal(bufferpool_buf_reserve(bufs[1], 3 * CAPACITY), 0);
    bufferpool_put(bufs[1]);
    return 1;
}

static size_t by_put_of_an_oversize_one(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    assert_int_equal(bufferpool_buf_reserve(bufs[1], 9 * CAPACITY), 0);
    const uint64_t dropped = stats_of(pool).drops_oversize;
    bufferpool_put(bufs[1]);
    assert_int_equal(stats_of(pool).drops_oversize, dropped + 1);
    return 1;
}

static size_t by_put_bulk_of_an_oversize_one(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    (void)pool;
    assert_int_equal(bufferpool_buf_reserve(bufs[1], 9 * CAPACITY), 0);
    bufferpool_put_bulk(bufs + 1, 1);
    return 1;
}

static size_t by_a_raised_cap(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    (void)bufs;
    bufferpool_set_max_live(pool, 3);
    return 2;
}

static size_t by_no_cap(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    (void)bufs;
    bufferpool_set_max_live(pool, 0);
    return 2;
}

/* Under a lowered cap one put makes no room, the next does. */
static size_t by_puts_under_a_lowered_cap(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    bufferpool_set_max_live(pool, 1);
    bufferpool_put(bufs[1]);
    assert_int_equal(waiting(pool), 1);
    assert_int_equal(stats_of(pool).live, 1);
    bufferpool_put(bufs[0]);
    return 0;
}

/* A thread that was halfway through a fast put when its gate was closed leaves the buffer in its cache, where no waiter
 * sees it (without membarrier(2) nothing prevents that). Its next call brings it to light, whatever that is. */
static void hide(bufferpool_t *pool, bufferpool_buf_t *buf)
{
    struct cache *own = tls_cache_own(pool);
    pthread_mutex_lock(&pool->caches_lock);
    cache_open(pool, own);
    pthread_mutex_unlock(&pool->caches_lock);
    bufferpool_put(buf);
    pthread_mutex_lock(&pool->caches_lock);
    cache_close(own);
    pthread_mutex_unlock(&pool->caches_lock);
}

static size_t by_thread_flush(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    hide(pool, bufs[1]);
    assert_int_equal(waiting(pool), 1);
    bufferpool_thread_flush();
    return 1;
}

static size_t by_trim(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    hide(pool, bufs[1]);
    assert_int_equal(waiting(pool), 1);
    bufferpool_trim(pool);
    return 1;
}

static size_t by_reclaim(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    hide(pool, bufs[1]);
    (void)bufferpool_reclaim(pool); /* sees that the cache has been used, ... */
    assert_int_equal(waiting(pool), 1);
    (void)bufferpool_reclaim(pool); /* ... and that it has not been since */
    return 1;
}

static size_t by_a_put_from_behind_a_closed_gate(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    struct waiter_thread second;
    hide(pool, bufs[1]);
    start_waiting(&second, pool, BUFFERPOOL_NEVER);
    assert_int_equal(waiting(pool), 2);
    bufferpool_put(bufs[0]); /* both of them come to light */
    bufs[0] = served(&second);
    return 1;
}

static size_t by_a_try_get_from_behind_a_closed_gate(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    hide(pool, bufs[1]);
    bufferpool_put(bufs[0]); /* with the one that is hidden there are two for the waiter and the try_get, */
    bufferpool_buf_t *buf = bufferpool_try_get(pool);
    assert_ptr_not_equal(buf, NULL); /* and the waiter had the first of them */
    bufs[0] = buf;
    return 1;
}

/* Who waits must not wait for what idles behind its own gate. */
static size_t by_one_who_comes_to_wait_with_two_behind_its_gate(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    hide(pool, bufs[0]);
    hide(pool, bufs[1]);
    assert_int_equal(waiting(pool), 1);
    assert_non_null(bufs[0] = bufferpool_get_timed(pool, 20000));
    return 1;
}

static void hide_in_thread(void *arg, unsigned index)
{
    (void)index;
    bufferpool_buf_t *buf = arg;
    bufferpool_t *pool = life_pool_of(desc_of(buf), load_relaxed(&desc_of(buf)->word));
    hide(pool, buf);
    thread_check(waiting(pool) == 1);
    thread_check(cache_idle(tls_cache_own(pool)) == 1);
}

static size_t by_thread_exit(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    (void)pool;
    run_threads(1, hide_in_thread, bufs[1]);
    return 1;
}

static const struct way ways[] = {
    {"put", by_put, false},
    {"put_bulk", by_put_bulk, false},
    {"a put of a thread without a cache", by_put_of_a_thread_without_a_cache, false},
    {"a put of a grown buffer", by_put_of_a_grown_one, false},
    {"a put of an oversize buffer", by_put_of_an_oversize_one, false},
    {"put_bulk of an oversize buffer", by_put_bulk_of_an_oversize_one, false},
    {"a raised cap", by_a_raised_cap, false},
    {"no cap", by_no_cap, false},
    {"puts under a lowered cap", by_puts_under_a_lowered_cap, false},
    {"thread_flush", by_thread_flush, true},
    {"trim", by_trim, true},
    {"reclaim", by_reclaim, true},
    {"a put from behind a closed gate", by_a_put_from_behind_a_closed_gate, true},
    {"a try_get from behind a closed gate", by_a_try_get_from_behind_a_closed_gate, true},
    {"a get_timed from behind a closed gate", by_one_who_comes_to_wait_with_two_behind_its_gate, true},
    {"thread exit", by_thread_exit, true},
};

static void every_way_of_giving_back_serves_a_waiting_thread(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        for (int flavour = 0; flavour < (ways[i].hides ? 1 : 3); flavour++) {
            test_blocks_t blocks = {0};
            bufferpool_config_t config = config_capped(&blocks, CAPACITY, 2);
            if (flavour == 1)
                config.max_idle_bytes = CAPACITY;
            if (flavour == 2)
                config.flags = BUFFERPOOL_ZERO;
            bufferpool_t *pool = bufferpool_create(&config);
            assert_non_null(pool);
            bufferpool_buf_t *bufs[2] = {bufferpool_get(pool), bufferpool_get(pool)};
            struct waiter_thread w;
            print_message("  by %s\n", ways[i].name);
            start_waiting(&w, pool, BUFFERPOOL_NEVER);
            const size_t held = ways[i].go(pool, bufs);
            bufferpool_put(served(&w));
            check_laws(pool, &blocks, held);
            bufferpool_put_bulk(bufs, held);
            bufferpool_set_max_live(pool, 2);
            assert_int_equal(stats_of(pool).gets_bypass, 0);
            destroy_whole(pool, &blocks);
        }
    }
}

/* ---- in turn ---- */

enum { QUEUE = 5 };

static void check_still_waiting(struct waiter_thread *w, size_t first, size_t n)
{
    for (size_t i = first; i < n; i++)
        assert_false(atomic_load(&w[i].served));
}

static void waiting_threads_are_served_in_the_order_of_arrival(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct waiter_thread w[QUEUE];
    bufferpool_t *pool = pool_with_cap(&blocks, 1);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    for (size_t i = 0; i < QUEUE; i++)
        start_waiting(&w[i], pool, i % 2 == 0 ? BUFFERPOOL_NEVER : 1000000);
    for (size_t i = 0; i < QUEUE; i++) {
        if (i % 2 == 0)
            assert_int_equal(bufferpool_buf_reserve(buf, 9 * CAPACITY), 0); /* room in place of a buffer */
        bufferpool_put(buf);
        buf = served(&w[i]); /* one put serves one */
        assert_int_equal(waiting(pool), QUEUE - 1 - i);
        check_still_waiting(w, i + 1, QUEUE);
        assert_null(bufferpool_try_get(pool));
    }
    bufferpool_put(buf);
    destroy_whole(pool, &blocks);
}

static void several_buffers_put_at_once_serve_as_many_threads(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct waiter_thread w[QUEUE];
    bufferpool_t *pool = pool_with_cap(&blocks, 3);
    bufferpool_buf_t *bufs[4];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 3), 0);
    for (size_t i = 0; i < QUEUE; i++)
        start_waiting(&w[i], pool, BUFFERPOOL_NEVER);
    bufferpool_put_bulk(bufs, 2);
    bufs[0] = served(&w[0]);
    bufs[1] = served(&w[1]);
    assert_int_equal(waiting(pool), 3);
    check_still_waiting(w, 2, QUEUE);
    bufferpool_set_max_live(pool, 4);
    bufs[3] = served(&w[2]);
    assert_int_equal(waiting(pool), 2);
    check_still_waiting(w, 3, QUEUE);
    assert_int_equal(stats_of(pool).gets_depot, 2); /* handed over */
    assert_int_equal(stats_of(pool).gets_fresh, 4);
    bufferpool_put_bulk(bufs, 4);
    bufferpool_put(served(&w[3]));
    bufferpool_put(served(&w[4]));
    destroy_whole(pool, &blocks);
}

static void calls_that_do_not_wait_take_nothing_from_those_that_wait(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 1);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    for (int round = 0; round < 50; round++) {
        struct waiter_thread w;
        start_waiting(&w, pool, BUFFERPOOL_NEVER);
        const uint64_t bypassed = stats_of(pool).gets_bypass;
        if (round % 2 == 0)
            assert_int_equal(bufferpool_buf_reserve(buf, 9 * CAPACITY), 0);
        bufferpool_put(buf);
        assert_null(bufferpool_try_get(pool));
        assert_int_equal(errno, EAGAIN);
        bufferpool_buf_t *others[3] = {bufferpool_get(pool)};
        assert_int_equal(bufferpool_get_bulk(pool, others + 1, 2), 0);
        assert_int_equal(stats_of(pool).gets_bypass, bypassed + 3);
        bufferpool_put_bulk(others, 3); /* as long as more exist than the cap, puts help nobody */
        buf = served(&w);
    }
    bufferpool_put(buf);
    destroy_whole(pool, &blocks);
}

/* Between the moment at which room comes about and that at which the call that made it looks for who waits, others
 * run. */
static void room_on_its_way_to_a_waiting_thread_is_not_taken(void **state)
{
    (void)state;
    struct one_waits one;
    begin_one_waits(&one);
    bufferpool_t *pool = one.pool;
    cache_moved(pool, tls_cache_own(pool), -1); /* as a put that drops, up to this point */
    store_relaxed(&desc_of(one.buf)->word, desc_word(pool->tag, STATE_IDLE));
    life_free(pool, desc_of(one.buf), false);
    depot_unreserve(&pool->depot, 1);
    bufferpool_buf_t *taken = bufferpool_try_get(pool);
    wait_serve(pool);
    if (taken != NULL)
        bufferpool_put(taken);
    bufferpool_put(served(&one.w));
    assert_null(taken);
    assert_int_equal(waiting(pool), 0);
    assert_int_equal(bufferpool_live(pool), 0);
    destroy_empty(pool, &one.blocks);
}

static void a_magazine_serves_one_and_its_rest_stays_in_the_depot(void **state)
{
    enum { N = 3 };
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, N);
    bufferpool_buf_t *bufs[N];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
    struct waiter_thread w;
    start_waiting(&w, pool, BUFFERPOOL_NEVER);
    struct desc *magazine[N]; /* as an owner that was inside when the pressure began flushes them */
    for (size_t i = 0; i < N; i++) {
        magazine[i] = desc_of(bufs[i]);
        store_relaxed(&magazine[i]->word, desc_word(pool->tag, STATE_IDLE));
    }
    cache_moved(pool, tls_cache_own(pool), -N);
    depot_push(&pool->depot, &pool->heap.table, magazine, N, false);
    wait_serve(pool);
    bufs[0] = served(&w);
    assert_int_equal(stats_of(pool).idle_depot, N - 1);
    for (size_t i = 1; i < N; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    assert_null(bufferpool_try_get(pool));
    bufferpool_put_bulk(bufs, N);
    destroy_whole(pool, &blocks);
}

/* Nor does the pressure end while somebody waits, though who wants to end it did not see that yet. */
static void pressure_lasts_while_a_thread_waits(void **state)
{
    (void)state;
    struct one_waits one;
    begin_one_waits(&one);
    struct depot *depot = &one.pool->depot;
    assert_true(depot_counts(depot).pressure);
    assert_false(depot_end_pressure(depot, &one.pool->max_live));
    assert_true(depot_counts(depot).pressure);
    bufferpool_put(one.buf);
    bufferpool_put(served(&one.w));
    assert_true(depot_end_pressure(depot, &one.pool->max_live));
    assert_false(depot_counts(depot).pressure);
    depot_begin_pressure(depot); /* as it was */
    destroy_whole(one.pool, &one.blocks);
}

/* ---- what a waiter gets ---- */

static void a_reservation_without_memory_passes_to_the_next_thread(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct waiter_thread w[3];
    bufferpool_t *pool = pool_with_cap(&blocks, 1);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    for (size_t i = 0; i < 3; i++) {
        start_waiting(&w[i], pool, BUFFERPOOL_NEVER);
        atomic_store(&w[i].stays, true);
    }
    assert_int_equal(bufferpool_buf_reserve(buf, 9 * CAPACITY), 0);
    test_blocks_fail(&blocks, 0, 2);
    bufferpool_put(buf); /* freed: the room goes to the first, to the second, to the third */
    for (size_t i = 0; i < 3; i++) {
        while (!atomic_load(&w[i].served))
            sched_yield();
    }
    for (size_t i = 0; i < 3; i++)
        atomic_store(&w[i].stays, false);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
        assert_null(w[i].buf);
        assert_int_equal(w[i].error, ENOMEM);
    }
    test_blocks_fail_none(&blocks);
    buf = served(&w[2]);
    assert_int_equal(stats_of(pool).gets_refused, 0);
    check_laws(pool, &blocks, 1);
    bufferpool_put(buf);
    destroy_whole(pool, &blocks);
}

/* A get that fails for want of memory gives its reservation back, to whom it may be of use. */
static void a_get_that_fails_does_not_keep_the_room(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_buf_t *bufs[2];
    bufferpool_t *pool = pool_with_cap(&blocks, 1);
    test_blocks_fail(&blocks, 0, SIZE_MAX);
    errno = SENTINEL;
    assert_null(bufferpool_get_timed(pool, 1000000));
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 2), ENOMEM);
    test_blocks_fail_none(&blocks);
    assert_int_equal(stats_of(pool).gets_refused, 0);
    destroy_whole(pool, &blocks);
}

static void a_handed_buffer_is_wiped(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_capped(&blocks, CAPACITY, 1);
    config.flags = BUFFERPOOL_ZERO;
    bufferpool_t *pool = bufferpool_create(&config);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    struct waiter_thread w;
    assert_int_equal(bufferpool_buf_reserve(buf, 3 * CAPACITY), 0);
    memset(buf->data, 0x99, buf->cap);
    start_waiting(&w, pool, BUFFERPOOL_NEVER);
    bufferpool_put(buf);
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    assert_ptr_equal(w.buf, buf);
    assert_true(buf->cap >= 3 * CAPACITY);
    for (size_t i = 0; i < buf->cap; i++)
        assert_int_equal(buf->data[i], 0);
    bufferpool_put(buf);
    destroy_whole(pool, &blocks);
}

/* With its size, and the bytes counted where they are. */
static void a_handed_buffer_keeps_its_bytes(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_capped(&blocks, CAPACITY, 2);
    config.max_idle_bytes = 5 * CAPACITY;
    bufferpool_t *pool = bufferpool_create(&config);
    bufferpool_buf_t *bufs[2] = {bufferpool_get(pool), bufferpool_get(pool)};
    struct waiter_thread w;
    assert_int_equal(bufferpool_buf_reserve(bufs[1], 3 * CAPACITY), 0);
    const size_t cap = bufs[1]->cap;
    test_fill(bufs[1]->data, cap, 3);
    for (int round = 0; round < 3; round++) {
        start_waiting(&w, pool, BUFFERPOOL_NEVER);
        bufs[1]->len = cap;
        bufferpool_put(bufs[1]);
        assert_int_equal(pthread_join(w.thread, NULL), 0);
        assert_ptr_equal(w.buf, bufs[1]);
        assert_int_equal(w.buf->cap, cap);
        assert_true(test_filled(w.buf->data, cap, 3));
        assert_int_equal(stats_of(pool).live_bytes, cap + CAPACITY);
        assert_int_equal(stats_of(pool).idle_bytes, 0);
    }
    bufferpool_put_bulk(bufs, 2);
    assert_int_equal(stats_of(pool).idle_bytes, cap + CAPACITY);
    destroy_whole(pool, &blocks);
}

/* What is handed over does not idle, so no limit on that has it freed. */
static void a_handed_buffer_needs_no_room_to_idle(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_capped(&blocks, CAPACITY, 1);
    config.max_idle_bytes = CAPACITY - 1;
    bufferpool_t *pool = bufferpool_create(&config);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    struct waiter_thread w;
    start_waiting(&w, pool, BUFFERPOOL_NEVER);
    bufferpool_put(buf);
    assert_ptr_equal(served(&w), buf);
    assert_int_equal(stats_of(pool).drops_idle_limit, 0);
    assert_int_equal(atomic_load(&blocks.allocs), 1);
    bufferpool_put(buf);
    assert_int_equal(stats_of(pool).drops_idle_limit, 1);
    destroy_whole(pool, &blocks);
}

static void waiting_threads_of_several_pools_do_not_mix(void **state)
{
    (void)state;
    test_blocks_t blocks[3] = {{0}, {0}, {0}};
    struct waiter_thread w[4];
    bufferpool_t *pools[4];
    bufferpool_buf_t *bufs[4];
    for (size_t i = 0; i < 4; i++) {
        pools[i] = i < 3 ? pool_with_cap(&blocks[i], 1) : &pool_default;
        bufferpool_set_max_live(pools[i], 1);
        bufs[i] = bufferpool_get(pools[i]);
        start_waiting(&w[i], pools[i], BUFFERPOOL_NEVER);
    }
    for (size_t i = 4; i-- > 0;) {
        bufferpool_put(bufs[i]);
        bufferpool_put(served(&w[i]));
        for (size_t j = 0; j < i; j++)
            assert_int_equal(waiting(pools[j]), 1);
    }
    check_whole(&pool_default, NULL);
    bufferpool_set_max_live(NULL, 0);
    for (size_t i = 0; i < 3; i++)
        destroy_whole(pools[i], &blocks[i]);
}

/* ---- signals, cancellation, fork ---- */

static atomic_int handled;

static void handle(int signal_number)
{
    (void)signal_number;
    atomic_fetch_add(&handled, 1);
}

static void a_signal_handler_does_not_end_the_wait(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = handle}; /* no SA_RESTART */
    struct sigaction before;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 1);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    for (int round = 0; round < 2; round++) {
        struct waiter_thread w;
        start_waiting(&w, pool, round == 0 ? BUFFERPOOL_NEVER : 1000000);
        for (int i = 0; i < 5; i++) {
            const int n = atomic_load(&handled);
            do { /* ThreadSanitizer puts a signal off until the wait is over, if it comes just as the wait begins */
                assert_int_equal(pthread_kill(w.thread, SIGUSR1), 0);
                for (int look = 0; (look < 1000 || !TEST_TSAN) && atomic_load(&handled) == n; look++)
                    sched_yield();
            } while (atomic_load(&handled) == n);
            assert_int_equal(waiting(pool), 1);
            assert_false(atomic_load(&w.served));
        }
        bufferpool_put(buf);
        buf = served(&w);
    }
    bufferpool_put(buf);
    destroy_whole(pool, &blocks);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

static void *wait_and_be_cancelled(void *arg)
{
    wait_one_time(arg);
    pthread_testcancel();
    atomic_store(&((struct waiter_thread *)arg)->served, false); /* not reached */
    return NULL;
}

static void waiting_is_no_cancellation_point(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 1);
    for (int round = 0; round < 2; round++) {
        bufferpool_buf_t *buf = bufferpool_get(pool);
        struct waiter_thread w = {.pool = pool, .timeout_ms = round == 0 ? BUFFERPOOL_NEVER : 1000000};
        struct waiter_thread next;
        void *result;
        assert_int_equal(pthread_create(&w.thread, NULL, wait_and_be_cancelled, &w), 0);
        until_waiting(pool, 1);
        assert_int_equal(pthread_cancel(w.thread), 0);
        start_waiting(&next, pool, BUFFERPOOL_NEVER); /* behind it, in a queue that is intact */
        bufferpool_put(buf);
        assert_int_equal(pthread_join(w.thread, &result), 0);
        assert_ptr_equal(result, PTHREAD_CANCELED);
        assert_true(atomic_load(&w.served));
        assert_non_null(w.buf);
        bufferpool_put(w.buf);
        bufferpool_put(served(&next));
    }
    destroy_whole(pool, &blocks);
}

struct inheritance {
    bufferpool_t *pool;
    bufferpool_buf_t *held;
};

static int use_and_wait(void *arg)
{
    struct inheritance *from = arg;
    bufferpool_t *pool = from->pool;
    if (bufferpool_live(pool) != 1 || waiting(pool) != 0) /* the first call repairs the pool */
        end_child(50);
    if (bufferpool_get_timed(pool, 5) != NULL || errno != ETIMEDOUT)
        end_child(51);
    bufferpool_put(from->held);
    if ((from->held = bufferpool_get_timed(pool, 0)) == NULL)
        end_child(52);
    if (!TEST_TSAN) { /* which takes threads of the child for ones of the parent */
        struct waiter_thread w;
        start_waiting(&w, pool, BUFFERPOOL_NEVER);
        bufferpool_put(from->held);
        if (pthread_join(w.thread, NULL) != 0 || w.buf == NULL)
            end_child(53);
        from->held = w.buf;
    }
    if (!laws_hold(pool, NULL, 1))
        end_child(54);
    bufferpool_put(from->held);
    end_child(bufferpool_destroy(pool) == 0 ? 0 : 55);
}

static void a_child_has_no_waiting_threads(void **state)
{
    (void)state;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.max_live = 1;
    bufferpool_t *pool = bufferpool_create(&config);
    struct inheritance from = {pool, bufferpool_get(pool)};
    struct waiter_thread w[3];
    for (size_t i = 0; i < 3; i++)
        start_waiting(&w[i], pool, BUFFERPOOL_NEVER);
    const int status = run_in_child(use_and_wait, &from, CHILD_SECONDS);
    assert_int_equal(waiting(pool), 3);
    bufferpool_put(from.held);
    for (size_t i = 0; i < 3; i++)
        bufferpool_put(served(&w[i]));
    assert_int_equal(status, 0);
    check_whole(pool, NULL);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* ---- many ---- */

enum { THREADS = 8 };

struct load {
    bufferpool_t *pool;
    size_t turns; /* in all */
    bool yield;
    atomic_size_t begun;
    atomic_size_t contended; /* somebody waited at the put */
    atomic_size_t got, refused;
    atomic_int inside;
};

static void turn_with(struct load *load, bufferpool_buf_t *buf, unsigned index, bool capped)
{
    const int inside = atomic_fetch_add(&load->inside, 1) + 1;
    if (capped)
        thread_check(inside <= 2);
    memset(buf->data, (int)index, 16);
    buf->len = 16;
    if (load->yield)
        sched_yield(); /* so that all the others come to wait */
    atomic_fetch_sub(&load->inside, 1);
    thread_check(buf->data[0] == index && buf->data[15] == index);
    if (depot_wanted(&load->pool->depot))
        atomic_fetch_add(&load->contended, 1);
    bufferpool_put(buf);
}

static void take_turns(void *arg, unsigned index)
{
    struct load *load = arg;
    while (atomic_fetch_add(&load->begun, 1) < load->turns) {
        bufferpool_buf_t *buf = bufferpool_get_timed(load->pool, BUFFERPOOL_NEVER);
        if (!thread_check(buf != NULL))
            return;
        turn_with(load, buf, index, true);
    }
}

static void no_wake_up_is_lost_in_a_million_contended_turns(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    for (int yield = 0; yield < 2; yield++) {
        struct load load = {.pool = pool_with_cap(&blocks, 2), .yield = yield};
        load.turns = yield ? test_scale(200000, 5000) : test_scale(800000, 5000);
        run_threads(THREADS, take_turns, &load);
        print_message("  somebody waited at %zu of %zu puts\n", atomic_load(&load.contended), load.turns);
        const bufferpool_stats_t stats = stats_of(load.pool);
        assert_int_equal(sum_of_gets(&stats), load.turns);
        assert_int_equal(stats.gets_bypass, 0);
        assert_int_equal(stats.gets_refused, 0);
        assert_in_range(atomic_load(&blocks.peak), 1, 2);
        destroy_whole(load.pool, &blocks);
    }
}

/* Everything that can come between: times that end, calls that do not wait, growth, trims, flushes, other caps. */
static void take_any_turns(void *arg, unsigned index)
{
    static const size_t caps[] = {2, 1, 3, 1, 0, 2};
    struct load *load = arg;
    test_random_t random = {index};
    while (atomic_fetch_add(&load->begun, 1) < load->turns) {
        const size_t dice = test_random_below(&random, 64);
        bufferpool_buf_t *buf = NULL;
        if (dice < 40)
            buf = bufferpool_get_timed(load->pool, BUFFERPOOL_NEVER);
        else if (dice < 56)
            buf = bufferpool_get_timed(load->pool, (unsigned)(dice % 3));
        else
            buf = bufferpool_try_get(load->pool);
        if (buf == NULL) {
            thread_check(dice >= 40 && errno == (dice < 56 ? ETIMEDOUT : EAGAIN));
            atomic_fetch_add(&load->refused, 1);
            continue;
        }
        atomic_fetch_add(&load->got, 1);
        if (dice % 16 == 0)
            thread_check(bufferpool_buf_reserve(buf, CAPACITY * (1 + test_random_below(&random, 9))) == 0);
        turn_with(load, buf, index, false);
        if (dice == 1)
            bufferpool_trim(load->pool);
        if (dice == 2)
            bufferpool_thread_flush();
        if (dice == 3)
            bufferpool_reclaim(load->pool);
        if (dice == 4 && index == 0)
            bufferpool_set_max_live(load->pool, caps[test_random_below(&random, 6)]);
    }
}

static void no_wake_up_is_lost_among_calls_of_every_kind(void **state)
{
    (void)state;
    for (int flavour = 0; flavour < 3; flavour++) {
        test_blocks_t blocks = {0};
        bufferpool_config_t config = config_capped(&blocks, CAPACITY, 2);
        if (flavour == 1)
            config.max_idle_bytes = CAPACITY;
        if (flavour == 2)
            config.flags = BUFFERPOOL_ZERO;
        struct load load = {.pool = bufferpool_create(&config), .turns = test_scale(100000, 3000)};
        run_threads(THREADS, take_any_turns, &load);
        const bufferpool_stats_t stats = stats_of(load.pool);
        assert_int_equal(sum_of_gets(&stats), atomic_load(&load.got));
        assert_int_equal(stats.gets_refused, atomic_load(&load.refused));
        assert_int_equal(stats.gets_bypass, 0);
        bufferpool_set_max_live(load.pool, 3);
        destroy_whole(load.pool, &blocks);
    }
}

int main(void)
{
    test_tell_memcheck_nothing();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_has_no_waiting_threads),
        cmocka_unit_test(get_timed_does_not_wait_below_the_cap),
        cmocka_unit_test(get_timed_gives_up_after_the_time_and_not_before),
        cmocka_unit_test(get_timed_gives_up_in_the_middle_of_the_queue),
        cmocka_unit_test(get_timed_waits_while_a_cache_cannot_be_looked_into),
        cmocka_unit_test(every_way_of_giving_back_serves_a_waiting_thread),
        cmocka_unit_test(waiting_threads_are_served_in_the_order_of_arrival),
        cmocka_unit_test(several_buffers_put_at_once_serve_as_many_threads),
        cmocka_unit_test(calls_that_do_not_wait_take_nothing_from_those_that_wait),
        cmocka_unit_test(room_on_its_way_to_a_waiting_thread_is_not_taken),
        cmocka_unit_test(a_magazine_serves_one_and_its_rest_stays_in_the_depot),
        cmocka_unit_test(pressure_lasts_while_a_thread_waits),
        cmocka_unit_test(a_reservation_without_memory_passes_to_the_next_thread),
        cmocka_unit_test(a_get_that_fails_does_not_keep_the_room),
        cmocka_unit_test(a_handed_buffer_is_wiped),
        cmocka_unit_test(a_handed_buffer_keeps_its_bytes),
        cmocka_unit_test(a_handed_buffer_needs_no_room_to_idle),
        cmocka_unit_test(waiting_threads_of_several_pools_do_not_mix),
        cmocka_unit_test(a_signal_handler_does_not_end_the_wait),
        cmocka_unit_test(waiting_is_no_cancellation_point),
        cmocka_unit_test(no_wake_up_is_lost_in_a_million_contended_turns),
        cmocka_unit_test(no_wake_up_is_lost_among_calls_of_every_kind),
    };
    return cmocka_run_group_tests_name("wait", tests, NULL, NULL);
}
