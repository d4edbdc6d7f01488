/* SPDX-License-Identifier: MIT
 *
 * test_overload.c - what holds while callers have more buffers than the cap, and when they come back below it
 *
 * N is the cap, T the buffers that callers hold, P those that exist. The pool's own block allocator counts P, and the
 * test counts T.
 *
 *     - While T < N no get makes a buffer beyond the cap: it finds whatever idles, in whatever thread's cache.
 *     - While T >= N at most P - N buffers idle, all in caches, at most 8 for each thread. As soon as the call returns
 *       that made T < N, at most N exist.
 *     - While T >= N try_get and get_timed refuse, also if the thread's own cache has buffers.
 *     - live, bypass_live, live_bytes, peak_in_flight, gets_bypass and drops_over_cap are exact after each call.
 *
 * Workers make one call at a time, when the test says so, and sleep in between; so their caches keep what they have.
 */
#include "support/laws.h"

#include <sched.h>
#include <semaphore.h>
#include <sys/syscall.h>

enum { WORKERS = 4, HOLDS = 64, CAPACITY = 256, IDLE_AT_CAP = 8 };

/* ---- workers ---- */

struct worker {
    bufferpool_t *pool;
    bufferpool_buf_t *bufs[HOLDS];
    size_t n;    /* that it holds */
    size_t want; /* an argument of steps */
    bufferpool_buf_t *got;
    int error;
    pthread_t thread;
    _Atomic(pid_t) tid;
    sem_t go, done;
    void (*step)(struct worker *);
};

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        ;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    atomic_store(&w->tid, (pid_t)syscall(SYS_gettid));
    for (;;) {
        wait_for(&w->go);
        if (w->step == NULL)
            return NULL;
        w->step(w);
        sem_post(&w->done);
    }
}

static void begin(struct worker *w, bufferpool_t *pool)
{
    w->pool = pool;
    assert_int_equal(sem_init(&w->go, 0, 0) | sem_init(&w->done, 0, 0), 0);
    assert_int_equal(pthread_create(&w->thread, NULL, worker_main, w), 0);
}

static void start(struct worker *w, void (*step)(struct worker *))
{
    w->step = step;
    sem_post(&w->go);
}

static void in(struct worker *w, void (*step)(struct worker *), size_t want)
{
    w->want = want;
    start(w, step);
    wait_for(&w->done);
}

/* Ends the thread; what it holds stays held. */
static void end(struct worker *w)
{
    start(w, NULL);
    assert_int_equal(pthread_join(w->thread, NULL), 0);
    sem_destroy(&w->go);
    sem_destroy(&w->done);
}

static void get_some(struct worker *w)
{
    for (size_t i = 0; i < w->want; i++) {
        bufferpool_buf_t *buf = bufferpool_get(w->pool);
        if (!thread_check(buf != NULL))
            return;
        w->bufs[w->n++] = buf;
    }
}

static void put_some(struct worker *w)
{
    for (size_t i = 0; i < w->want && w->n > 0; i++) {
        w->bufs[w->n - 1]->len = w->bufs[w->n - 1]->cap; /* used well, so that a grown one keeps its size */
        bufferpool_put(w->bufs[--w->n]);
    }
}

static void grow_last(struct worker *w)
{
    if (w->n > 0)
        thread_check(bufferpool_buf_reserve(w->bufs[w->n - 1], w->want) == 0);
}

static void keep_got(struct worker *w)
{
    w->error = w->got == NULL ? errno : 0;
    if (w->got != NULL)
        w->bufs[w->n++] = w->got;
}

static void try_one(struct worker *w)
{
    w->got = bufferpool_try_get(w->pool);
    keep_got(w);
}

static void wait_no_time(struct worker *w)
{
    w->got = bufferpool_get_timed(w->pool, 0);
    keep_got(w);
}

static void wait_long(struct worker *w)
{
    w->got = bufferpool_get_timed(w->pool, BUFFERPOOL_NEVER);
    keep_got(w);
}

static void flush(struct worker *w)
{
    (void)w;
    bufferpool_thread_flush();
}

static void trim(struct worker *w)
{
    (void)bufferpool_trim(w->pool);
}

static void reclaim(struct worker *w)
{
    (void)bufferpool_reclaim(w->pool);
}

static void change_cap(struct worker *w)
{
    bufferpool_set_max_live(w->pool, w->want);
}

/* ---- the promises ---- */

static size_t held_by(const struct worker *workers)
{
    size_t held = 0;
    for (size_t i = 0; i < WORKERS; i++)
        held += workers[i].n;
    return held;
}

static uint64_t bytes_held_by(const struct worker *workers)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < WORKERS; i++)
        for (size_t k = 0; k < workers[i].n; k++)
            bytes += workers[i].bufs[k]->cap;
    return bytes;
}

/* After a call. */
static void check_promises(const struct worker *workers, bufferpool_t *pool, const test_blocks_t *blocks)
{
    const bufferpool_stats_t s = stats_of(pool);
    const size_t n = bufferpool_max_live(pool), held = held_by(workers), exist = atomic_load(&blocks->count);
    assert_false(test_recorded_failure());
    check_laws(pool, blocks, held);
    assert_int_equal(s.live, held < n ? held : n);
    assert_int_equal(s.bypass_live, held < n ? 0 : held - n);
    assert_int_equal(s.live_bytes, bytes_held_by(workers));
    assert_int_equal(s.drops_bypass, 0);
    assert_true(s.peak_in_flight >= exist);
    if (held < n) {
        assert_true(exist <= n);
    } else if (test_can_steal()) {
        assert_true(exist - held <= exist - n);
        assert_int_equal(s.idle_depot, 0);
        assert_true(s.idle_thread <= IDLE_AT_CAP * s.thread_caches);
    }
}

static bufferpool_t *pool_of(test_blocks_t *blocks, size_t cap, unsigned flags, size_t max_idle_bytes)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.max_capacity = 8 * CAPACITY;
    config.thread_cache_bytes = (size_t)16 * CAPACITY;
    config.max_live = cap;
    config.max_idle_bytes = max_idle_bytes;
    config.flags = flags;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

/* Pools under load, with buffers that idle in caches of the workers while callers hold more than the cap: of each about
 * `idle`, 1 to IDLE_AT_CAP. */
struct scene {
    test_blocks_t blocks;
    bufferpool_t *pool;
    struct worker workers[WORKERS];
    size_t cap;
};

static struct scene *begin_scene(size_t cap, unsigned flags, size_t max_idle_bytes)
{
    /* not on the stack: if a test fails, its workers still sleep there */
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    scene->cap = cap;
    scene->pool = pool_of(&scene->blocks, cap, flags, max_idle_bytes);
    for (size_t i = 0; i < WORKERS; i++)
        begin(&scene->workers[i], scene->pool);
    return scene;
}

static struct scene *begin_overload(size_t cap, size_t idle, unsigned flags, size_t max_idle_bytes)
{
    struct scene *scene = begin_scene(cap, flags, max_idle_bytes);
    for (size_t i = 0; i < WORKERS; i++) {
        in(&scene->workers[i], get_some, 48);
        check_promises(scene->workers, scene->pool, &scene->blocks);
    }
    for (size_t i = 0; i < WORKERS; i++) {
        in(&scene->workers[i], put_some, 1);
        in(&scene->workers[i], get_some, 1);
        in(&scene->workers[i], put_some, idle);
        check_promises(scene->workers, scene->pool, &scene->blocks);
    }
    assert_int_equal(stats_of(scene->pool).peak_in_flight, WORKERS * 48);
    return scene;
}

static void end_overload(struct scene *scene)
{
    for (size_t i = 0; i < WORKERS; i++) {
        in(&scene->workers[i], put_some, SIZE_MAX);
        check_promises(scene->workers, scene->pool, &scene->blocks);
        end(&scene->workers[i]);
    }
    check_laws(scene->pool, &scene->blocks, 0);
    destroy_empty(scene->pool, &scene->blocks);
    free(scene);
}

/* How many idle, in caches of which most are not the calling thread's. */
static uint64_t idle_in_caches(const struct scene *scene)
{
    const bufferpool_stats_t s = stats_of(scene->pool);
    assert_int_equal(s.idle_depot, 0);
    return s.idle_thread;
}

static void some_buffers_idle_in_caches_beyond_the_cap(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    struct scene *scene = begin_overload(8, IDLE_AT_CAP, 0, 0);
    assert_true(idle_in_caches(scene) > 1); /* or the tests below would show nothing */
    const bufferpool_stats_t before = stats_of(scene->pool);
    for (size_t i = 0; i < WORKERS; i++) {
        in(&scene->workers[i], get_some, 1); /* such a get makes none */
        in(&scene->workers[i], put_some, 1);
    }
    const bufferpool_stats_t after = stats_of(scene->pool);
    assert_true(after.gets_thread > before.gets_thread);
    assert_int_equal(after.peak_in_flight, before.peak_in_flight);
    end_overload(scene);
}

/* ---- back below the cap ---- */

static void callers_that_come_back_below_the_cap_find_all_that_idles(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    for (size_t idle = 1; idle <= IDLE_AT_CAP; idle++) {
        struct scene *scene = begin_overload(24, idle, 0, 0);
        struct worker *last = &scene->workers[WORKERS - 1];
        assert_true(idle_in_caches(scene) > 0);
        for (size_t i = 0; held_by(scene->workers) >= scene->cap;
             i++) { /* one after the other, each from another thread */
            in(&scene->workers[i % WORKERS], put_some, 1);
            check_promises(scene->workers, scene->pool, &scene->blocks);
        }
        assert_int_equal(atomic_load(&scene->blocks.count), scene->cap);
        in(last, put_some, SIZE_MAX);
        const bufferpool_stats_t before = stats_of(scene->pool);
        in(last, get_some, scene->cap - held_by(scene->workers));
        const bufferpool_stats_t after = stats_of(scene->pool);
        assert_int_equal(after.gets_bypass, before.gets_bypass);
        assert_int_equal(after.gets_fresh, before.gets_fresh);
        assert_int_equal(idle_of(&after), 0);
        in(last, try_one, 0);
        assert_int_equal(last->error, EAGAIN);
        in(last, get_some, 1);
        assert_int_equal(stats_of(scene->pool).gets_bypass, after.gets_bypass + 1);
        end_overload(scene);
    }
}

/* From a thread that has never gone beyond the cap, for all that the others left. */
static void another_thread_gets_all_that_an_overload_left(void **state)
{
    (void)state;
    bufferpool_buf_t *bufs[24];
    if (!test_can_steal())
        skip();
    struct scene *scene = begin_overload(24, IDLE_AT_CAP, 0, 0);
    for (size_t i = 0; i < WORKERS; i++)
        in(&scene->workers[i], put_some, SIZE_MAX);
    assert_int_equal(atomic_load(&scene->blocks.count), 24);
    const bufferpool_stats_t before = stats_of(scene->pool);
    for (size_t i = 0; i < 24; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(scene->pool));
    const bufferpool_stats_t after = stats_of(scene->pool);
    assert_int_equal(after.gets_fresh + after.gets_bypass, before.gets_fresh + before.gets_bypass);
    assert_null(bufferpool_try_get(scene->pool));
    bufferpool_put_bulk(bufs, 24);
    end_overload(scene);
}

static void each_way_to_give_back_ends_what_idles_beyond_the_cap(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    for (int way = 0; way < 5; way++) {
        struct scene *scene = begin_overload(24, IDLE_AT_CAP, 0, 0);
        struct worker *one = &scene->workers[0];
        const size_t held = held_by(scene->workers);
        const uint64_t idle = idle_in_caches(scene);
        assert_true(idle > 0);
        if (way == 0) {
            in(one, trim, 0);
        } else if (way == 1) {
            for (size_t i = 0; i < WORKERS; i++)
                in(&scene->workers[i], flush, 0);
        } else if (way == 2) {
            for (int i = 0; i < 3; i++)
                in(one, reclaim, 0);
        } else if (way == 3) {
            for (size_t i = 0; i < WORKERS; i++)
                in(&scene->workers[i], wait_no_time, 0); /* a thread does not wait while its own cache has buffers */
        } else {
            for (size_t i = 0; i < WORKERS; i++) {
                end(&scene->workers[i]);
                assert_int_equal(stats_of(scene->pool).idle_depot, 0);
            }
        }
        assert_int_equal(stats_of(scene->pool).idle_thread, 0);
        assert_int_equal(atomic_load(&scene->blocks.count), held);
        for (size_t i = 0; way == 4 && i < WORKERS; i++)
            begin(&scene->workers[i], scene->pool);
        check_promises(scene->workers, scene->pool, &scene->blocks);
        end_overload(scene);
    }
}

/* A changed cap: below, or above what callers hold, or in between. */
static void a_changed_cap_holds_for_what_idles_beyond_it(void **state)
{
    static const size_t caps[] = {1, 23, 30, 150, 168, 180, 1000};
    (void)state;
    for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++) {
        struct scene *scene = begin_overload(24, IDLE_AT_CAP, 0, 0);
        in(&scene->workers[1], change_cap, caps[i]);
        check_promises(scene->workers, scene->pool, &scene->blocks);
        for (size_t k = 0; k < WORKERS; k++) {
            in(&scene->workers[k], put_some, 11);
            check_promises(scene->workers, scene->pool, &scene->blocks);
        }
        const uint64_t before = stats_of(scene->pool).gets_bypass;
        if (held_by(scene->workers) < caps[i]) {
            in(&scene->workers[2], get_some, 1);
            assert_int_equal(stats_of(scene->pool).gets_bypass, before);
        }
        end_overload(scene);
    }
}

/* ---- calls that never go beyond the cap ---- */

static void try_get_and_get_timed_refuse_although_the_own_cache_has_buffers(void **state)
{
    (void)state;
    struct scene *scene = begin_overload(8, IDLE_AT_CAP, 0, 0);
    const bufferpool_stats_t before = stats_of(scene->pool);
    for (size_t i = 0; i < WORKERS; i++) {
        struct worker *w = &scene->workers[i];
        in(w, try_one, 0);
        assert_true(w->got == NULL && w->error == EAGAIN);
        in(w, wait_no_time, 0);
        assert_true(w->got == NULL && w->error == ETIMEDOUT);
        check_promises(scene->workers, scene->pool, &scene->blocks);
    }
    const bufferpool_stats_t after = stats_of(scene->pool);
    assert_int_equal(sum_of_gets(&after), sum_of_gets(&before));
    assert_int_equal(after.gets_refused, before.gets_refused + 2 * WORKERS);
    end_overload(scene);
}

static bool sleeps(pid_t tid)
{
    char path[64], line[512] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    const char *end_of_name = fgets(line, sizeof line, file) != NULL ? strrchr(line, ')') : NULL;
    fclose(file);
    return end_of_name != NULL && end_of_name[2] == 'S';
}

/* The waiter is served by the put that leaves callers with fewer than the cap, and by none before. Plain buffers and
 * grown ones. */
static void a_waiting_call_is_served_once_callers_hold_fewer_than_the_cap(void **state)
{
    (void)state;
    for (int grown = 0; grown < 2; grown++) {
        struct scene *scene = begin_overload(24, IDLE_AT_CAP / 2, 0, 0);
        struct worker *waiter = &scene->workers[0], *other = &scene->workers[1];
        in(waiter, put_some, SIZE_MAX);
        size_t held = held_by(scene->workers), gone = 0;
        start(waiter, wait_long);
        while (!sleeps(atomic_load(&waiter->tid))) /* nothing but the queue lets it sleep */
            sched_yield();
        const bufferpool_stats_t before = stats_of(scene->pool);
        for (; held > scene->cap; held--) {
            if (other->n == 0)
                other++;
            if (grown)
                in(other, grow_last, (size_t)2 * CAPACITY);
            in(other, put_some, 1);
            gone++;
            const bufferpool_stats_t s = stats_of(scene->pool); /* it idles, or was freed: nobody was given it */
            assert_int_equal(s.live + s.bypass_live, held - 1);
            assert_int_equal(sum_of_puts(&s), sum_of_puts(&before) + gone);
            assert_int_equal(sum_of_gets(&s), sum_of_gets(&before));
            assert_int_equal(atomic_load(&scene->blocks.count), s.live + s.bypass_live + idle_of(&s));
        }
        if (other->n == 0)
            other++;
        in(other, put_some, 1);
        wait_for(&waiter->done);
        assert_non_null(waiter->got);
        check_promises(scene->workers, scene->pool, &scene->blocks);
        assert_int_equal(held_by(scene->workers), scene->cap);
        assert_int_equal(stats_of(scene->pool).gets_bypass, before.gets_bypass);
        end_overload(scene);
    }
}

/* ---- fork ---- */

/* In a child, which has all that the parent's threads held. */
static int come_back_in_the_child(void *arg)
{
    struct scene *scene = arg;
    bufferpool_buf_t *bufs[HOLDS * WORKERS];
    size_t held = 0;
    for (size_t i = 0; i < WORKERS; i++)
        for (size_t k = 0; k < scene->workers[i].n; k++)
            bufs[held++] = scene->workers[i].bufs[k];
    while (held > 0) {
        bufferpool_put(bufs[--held]);
        const bufferpool_stats_t s = stats_of(scene->pool);
        const uint64_t exist = held + idle_of(&s);
        if (s.live + s.bypass_live != held || (held < scene->cap ? exist > scene->cap : s.idle_depot > 0) ||
            (held >= scene->cap && s.idle_thread > IDLE_AT_CAP))
            return 1;
    }
    const uint64_t made = stats_of(scene->pool).gets_fresh;
    for (size_t i = 0; i < scene->cap; i++)
        if (bufferpool_try_get(scene->pool) == NULL)
            return 2;
    return stats_of(scene->pool).gets_fresh != made || bufferpool_try_get(scene->pool) != NULL ? 3 : 0;
}

static void a_child_of_fork_comes_back_below_the_cap_too(void **state)
{
    (void)state;
    test_blocks_before_fork();
    struct scene *scene = begin_overload(24, IDLE_AT_CAP, 0, 0);
    assert_int_equal(run_in_child(come_back_in_the_child, scene, 60), 0);
    check_promises(scene->workers, scene->pool, &scene->blocks);
    end_overload(scene);
}

/* ---- figures ---- */

/* So few beyond the cap that none idles meanwhile. */
static void the_figures_are_exact_beyond_the_cap(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_buf_t *bufs[10];
    bufferpool_t *pool = pool_of(&blocks, 4, 0, 0);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 7), 0);
    for (size_t i = 7; i < 10; i++)
        assert_non_null(bufs[i] = bufferpool_get(pool));
    assert_int_equal(bufferpool_buf_reserve(bufs[0], 2 * CAPACITY), 0);
    assert_int_equal(bufferpool_buf_reserve(bufs[9], 4 * CAPACITY), 0);
    uint64_t bytes = 8 * CAPACITY + bufs[0]->cap + bufs[9]->cap;
    for (size_t i = 0; i <= 10; i++) {
        const bufferpool_stats_t s = stats_of(pool);
        const size_t held = 10 - i, freed = i < 6 ? i : 6;
        assert_int_equal(s.live, held < 4 ? held : 4);
        assert_int_equal(bufferpool_live(pool), s.live);
        assert_int_equal(s.bypass_live, held < 4 ? 0 : held - 4);
        assert_int_equal(s.live_bytes, bytes);
        assert_int_equal(s.gets_fresh, 4);
        assert_int_equal(s.gets_bypass, 6);
        assert_int_equal(s.drops_over_cap, freed);
        assert_int_equal(s.puts_kept, i - freed);
        assert_int_equal(s.peak_in_flight, 10);
        check_laws(pool, &blocks, held);
        if (i < 10) {
            bytes -= bufs[i]->cap;
            bufs[i]->len = bufs[i]->cap;
            bufferpool_put(bufs[i]);
        }
    }
    assert_int_equal(stats_of(pool).idle_bytes, 3 * CAPACITY + bufs[9]->cap); /* grown beyond the cap, and kept */
    destroy_empty(pool, &blocks);
}

static void a_bulk_beyond_the_cap_takes_what_idles_first(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_buf_t *bufs[40];
    bufferpool_t *pool = pool_of(&blocks, 16, 0, 0);
    for (int turn = 0; turn < 50; turn++) { /* also after its thread has gone beyond the cap often */
        assert_int_equal(bufferpool_get_bulk(pool, bufs, 40), 0);
        assert_int_equal(atomic_load(&blocks.count), 40);
        assert_int_equal(stats_of(pool).live, 16);
        assert_int_equal(stats_of(pool).bypass_live, 24);
        assert_int_equal(stats_of(pool).gets_bypass, 24 * (turn + 1));
        assert_int_equal(stats_of(pool).gets_fresh, 16);
        bufferpool_put_bulk(bufs, 40);
        assert_int_equal(atomic_load(&blocks.count), 16);
        check_laws(pool, &blocks, 0);
    }
    test_blocks_fail(&blocks, 10, SIZE_MAX);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 40), ENOMEM);
    test_blocks_fail_none(&blocks);
    assert_int_equal(atomic_load(&blocks.count), 16);
    assert_int_equal(stats_of(pool).gets_bypass, 24 * 50);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

/* ---- kinds of pools and buffers ---- */

static void grown_and_too_large_buffers_beyond_the_cap_are_like_others(void **state)
{
    (void)state;
    struct scene *scene = begin_overload(16, IDLE_AT_CAP, 0, 0);
    const bufferpool_stats_t before = stats_of(scene->pool);
    struct worker *w = &scene->workers[2];
    size_t grown = 0;
    for (size_t i = 0; i < 12; i++) {
        grown += w->bufs[w->n - 1]->cap < (size_t)3 * CAPACITY || i % 3 == 0;
        in(w, grow_last, i % 3 == 0 ? 9 * CAPACITY : 3 * CAPACITY);
        check_promises(scene->workers, scene->pool, &scene->blocks);
        in(w, put_some, 1);
        check_promises(scene->workers, scene->pool, &scene->blocks);
        in(w, get_some, i % 2);
        check_promises(scene->workers, scene->pool, &scene->blocks);
    }
    const bufferpool_stats_t after = stats_of(scene->pool);
    assert_int_equal(after.drops_oversize, before.drops_oversize + 4);
    assert_int_equal(after.grows, before.grows + grown);
    end_overload(scene);
}

static void max_idle_bytes_bounds_what_idles_beyond_the_cap(void **state)
{
    (void)state;
    for (size_t most = 0; most <= 40; most += 5) {
        struct scene *scene = begin_overload(16, IDLE_AT_CAP, 0, most * CAPACITY + 1);
        for (size_t i = 0; i < 8 * WORKERS; i++) {
            in(&scene->workers[i % WORKERS], put_some, 1 + i % 3);
            assert_true(stats_of(scene->pool).idle_bytes <= most * CAPACITY + 1);
            check_promises(scene->workers, scene->pool, &scene->blocks);
            in(&scene->workers[i % WORKERS], get_some, i % 2);
        }
        end_overload(scene);
    }
}

static void secret_step(struct worker *w)
{
    for (size_t i = 0; i < w->want; i++) {
        bufferpool_buf_t *buf = bufferpool_get(w->pool);
        for (size_t k = 0; k < buf->cap; k++)
            thread_check(buf->data[k] == 0);
        memset(buf->data, 0x5a, buf->cap);
        bufferpool_put(buf);
    }
}

static void bytes_are_wiped_beyond_the_cap_too(void **state)
{
    (void)state;
    struct scene *scene = begin_overload(16, IDLE_AT_CAP, BUFFERPOOL_ZERO, 0);
    const uint64_t before = stats_of(scene->pool).gets_thread;
    for (size_t i = 0; i < WORKERS; i++)
        in(&scene->workers[i], secret_step, 20);
    if (test_can_steal())
        assert_true(stats_of(scene->pool).gets_thread > before); /* blocks that had been used before */
    check_promises(scene->workers, scene->pool, &scene->blocks);
    end_overload(scene);
}

static void a_pool_in_overload_is_busy(void **state)
{
    (void)state;
    struct scene *scene = begin_overload(16, IDLE_AT_CAP, 0, 0);
    assert_int_equal(bufferpool_destroy(scene->pool), EBUSY);
    check_promises(scene->workers, scene->pool, &scene->blocks);
    for (size_t i = 1; i < WORKERS; i++)
        in(&scene->workers[i], put_some, SIZE_MAX);
    in(&scene->workers[0], put_some, scene->workers[0].n - 1);
    assert_int_equal(bufferpool_destroy(scene->pool), EBUSY);
    check_promises(scene->workers, scene->pool, &scene->blocks);
    end_overload(scene);
}

/* ---- around the cap ---- */

/* One call of one worker. Returns the number of gets that it may have made beyond the cap. */
static size_t random_call(struct scene *scene, test_random_t *random)
{
    struct worker *w = &scene->workers[test_random_below(random, WORKERS)];
    const size_t n = bufferpool_max_live(scene->pool), held = held_by(scene->workers);
    const size_t dice = test_random_below(random, 100), some = 1 + test_random_below(random, 6);
    if (dice < 42) {
        const size_t want = w->n + some <= HOLDS ? some : HOLDS - w->n;
        in(w, get_some, want);
        return held + want <= n ? 0 : held >= n ? want : held + want - n;
    }
    if (dice < 80) {
        in(w, put_some, some);
    } else if (dice < 88) {
        in(w, dice % 2 == 0 ? try_one : wait_no_time, 0);
        assert_int_equal(w->error, held < n ? 0 : dice % 2 == 0 ? EAGAIN : ETIMEDOUT);
    } else if (dice < 93) {
        in(w, grow_last, some * CAPACITY);
    } else if (dice < 96) {
        in(w, dice == 93 ? flush : dice == 94 ? trim : reclaim, 0);
    } else if (dice < 98) {
        end(w);
        begin(w, scene->pool);
    } else {
        in(w, change_cap, 1 + test_random_below(random, 60));
    }
    return 0;
}

static void every_promise_holds_after_each_call_around_the_cap(void **state)
{
    (void)state;
    size_t with_idle = 0;
    for (uint64_t seed = 1; seed <= test_scale(20, 4); seed++) {
        struct scene *scene = begin_scene(24, 0, 0);
        test_random_t random = {seed};
        for (size_t turn = 0; turn < 1000; turn++) {
            const bufferpool_stats_t before = stats_of(scene->pool);
            const size_t beyond = random_call(scene, &random);
            check_promises(scene->workers, scene->pool, &scene->blocks);
            const bufferpool_stats_t after = stats_of(scene->pool);
            if (test_can_steal())
                assert_true(after.gets_bypass - before.gets_bypass <= beyond);
            with_idle += after.bypass_live > 0 && after.idle_thread > 0;
        }
        end_overload(scene);
    }
    if (test_can_steal())
        assert_true(with_idle > 0);
}

/* ---- threads that run at once ---- */

struct crowd {
    bufferpool_t *pool;
    pthread_barrier_t turn;
    size_t turns;
    uint64_t bypassed; /* when all were back below the cap */
};

static void hold_and_put(bufferpool_t *pool, size_t turns, size_t most, test_random_t *random)
{
    bufferpool_buf_t *bufs[HOLDS];
    for (size_t turn = 0; turn < turns; turn++) {
        const size_t n = 1 + test_random_below(random, most);
        for (size_t i = 0; i < n; i++)
            thread_check((bufs[i] = bufferpool_get(pool)) != NULL);
        bufferpool_put_bulk(bufs, n);
    }
}

static void go_beyond_and_back(void *arg, unsigned index)
{
    struct crowd *crowd = arg;
    bufferpool_buf_t *held[16];
    test_random_t random = {index};
    for (int round = 0; round < 10; round++) {
        thread_check(bufferpool_get_bulk(crowd->pool, held, 16) == 0);
        hold_and_put(crowd->pool, crowd->turns, 16, &random);
        pthread_barrier_wait(&crowd->turn);
        bufferpool_put_bulk(held, 16);
        pthread_barrier_wait(&crowd->turn);
        if (index == 0)
            crowd->bypassed = stats_of(crowd->pool).gets_bypass;
        pthread_barrier_wait(&crowd->turn);
        hold_and_put(crowd->pool, crowd->turns, 4, &random);
        pthread_barrier_wait(&crowd->turn);
        if (index == 0 && test_can_steal())
            thread_check(stats_of(crowd->pool).gets_bypass == crowd->bypassed);
        pthread_barrier_wait(&crowd->turn);
    }
}

static void no_get_goes_beyond_the_cap_after_an_overload_of_many_threads(void **state)
{
    enum { CROWD = 6, CAP = 4 * CROWD };
    (void)state;
    test_blocks_t blocks = {0};
    struct crowd crowd = {.pool = pool_of(&blocks, CAP, 0, 0), .turns = test_scale(2000, 100)};
    assert_int_equal(pthread_barrier_init(&crowd.turn, NULL, CROWD), 0);
    run_threads(CROWD, go_beyond_and_back, &crowd);
    pthread_barrier_destroy(&crowd.turn);
    const bufferpool_stats_t s = stats_of(crowd.pool);
    assert_true(s.gets_bypass > 0);
    assert_true(atomic_load(&blocks.count) <= CAP);
    assert_true(s.peak_in_flight <= CROWD * (32 + IDLE_AT_CAP));
    check_laws(crowd.pool, &blocks, 0);
    destroy_empty(crowd.pool, &blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(some_buffers_idle_in_caches_beyond_the_cap),
        cmocka_unit_test(callers_that_come_back_below_the_cap_find_all_that_idles),
        cmocka_unit_test(another_thread_gets_all_that_an_overload_left),
        cmocka_unit_test(each_way_to_give_back_ends_what_idles_beyond_the_cap),
        cmocka_unit_test(a_changed_cap_holds_for_what_idles_beyond_it),
        cmocka_unit_test(try_get_and_get_timed_refuse_although_the_own_cache_has_buffers),
        cmocka_unit_test(a_waiting_call_is_served_once_callers_hold_fewer_than_the_cap),
        cmocka_unit_test(a_child_of_fork_comes_back_below_the_cap_too),
        cmocka_unit_test(the_figures_are_exact_beyond_the_cap),
        cmocka_unit_test(a_bulk_beyond_the_cap_takes_what_idles_first),
        cmocka_unit_test(grown_and_too_large_buffers_beyond_the_cap_are_like_others),
        cmocka_unit_test(max_idle_bytes_bounds_what_idles_beyond_the_cap),
        cmocka_unit_test(bytes_are_wiped_beyond_the_cap_too),
        cmocka_unit_test(a_pool_in_overload_is_busy),
        cmocka_unit_test(every_promise_holds_after_each_call_around_the_cap),
        cmocka_unit_test(no_get_goes_beyond_the_cap_after_an_overload_of_many_threads),
    };
    return cmocka_run_group_tests_name("overload", tests, NULL, NULL);
}
