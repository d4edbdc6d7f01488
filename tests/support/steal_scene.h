/* SPDX-License-Identifier: MIT
 *
 * steal_scene.h - sixteen threads sleep, and all of the cap idles with them
 *
 * With the two moments that matter within a steal, which the linker's --wrap shows (WRAP syscall clock_gettime): the
 * barrier (barriers.h), and each look of a thief that waits for an owner, which reads the clock. The test's clock moves
 * on by a microsecond with each look.
 */
#ifndef TEST_STEAL_SCENE_H
#define TEST_STEAL_SCENE_H

#include "barriers.h"
#include "hands.h"

#include "clock.h"

enum { CAPACITY = 512, LOOKS_MAX = PATIENCE_NS / 1000 + 1 };

/* ---- the moments ---- */

static atomic_size_t looks;
static void (*at_look)(void);

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    const int error = __real_clock_gettime(clock, now);
    if (clock != CLOCK_MONOTONIC || error != 0)
        return error;
    const uint64_t ns = (uint64_t)now->tv_nsec + (atomic_fetch_add(&looks, 1) + 1) * 1000;
    now->tv_sec += (time_t)(ns / 1000000000);
    now->tv_nsec = (long)(ns % 1000000000);
    if (at_look != NULL)
        at_look();
    return 0;
}

static inline size_t barriers_expected(size_t n)
{
    return TEST_TSAN ? 0 : n; /* real fences there */
}

static inline void begin_counting(void)
{
    atomic_store(&barriers, 0);
    atomic_store(&looks, 0);
}

/* ---- scenes ---- */

static inline bufferpool_t *pool_with(test_blocks_t *blocks, size_t cap, size_t cached)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = cached * CAPACITY;
    config.max_live = cap;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

/* All of the cap idles with the hands. */
struct scene {
    test_blocks_t blocks;
    bufferpool_t *pool;
    size_t cap;
    struct hand hands[HANDS];
};

static inline void scene_begin(struct scene *scene, size_t cap)
{
    memset(&scene->blocks, 0, sizeof scene->blocks);
    scene->cap = cap;
    scene->pool = pool_with(&scene->blocks, cap, cap);
    hands_begin(scene->hands, scene->pool);
    hands_fill(scene->hands, cap, 0);
    assert_int_equal(stats_of(scene->pool).idle_thread, cap);
    begin_counting();
}

static inline void scene_end(struct scene *scene)
{
    hands_end(scene->hands);
    check_laws(scene->pool, &scene->blocks, 0);
    destroy_empty(scene->pool, &scene->blocks);
}

#define needs_stealing()                                                                                               \
    do {                                                                                                               \
        (void)state;                                                                                                   \
        if (!test_can_steal())                                                                                         \
            skip();                                                                                                    \
    } while (0)

static inline bool all_gates_are_open(const bufferpool_t *pool)
{
    bool open = true;
    for (struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next)
        open = open && (load_relaxed(&c->gate) == live_word(pool) || !load_relaxed(&c->owned));
    return open;
}

/* The owners go on as before: the first get is a slow one at most, and then all come from the cache. */
static inline void owners_go_on(struct scene *scene)
{
    enum { TURNS = 20 };
    const uint64_t before = stats_of(scene->pool).gets_thread;
    for (unsigned i = 0; i < HANDS; i++) {
        scene->hands[i].want = TURNS;
        hand_do(&scene->hands[i], hand_use);
        assert_true(stats_of(scene->pool).gets_thread - before >= (i + 1) * (TURNS - 1));
    }
    assert_int_equal(stats_of(scene->pool).gets_bypass, 0);
    check_laws(scene->pool, &scene->blocks, 0);
}

/* At the cap, with one owner inside: main has all but what idles with that one. */
static inline void have_all_but_the_stalled(struct scene *scene, struct hand *stalled, bufferpool_buf_t **bufs)
{
    const size_t n = scene->cap - scene->cap / HANDS;
    hand_do(stalled, hand_stall);
    assert_non_null(bufs[0] = bufferpool_try_get(scene->pool));
    /* under pressure each lies by itself, so that a get hides none from the others while it is at work */
    const struct magazine top = depot_pop_some(&scene->pool->depot, &scene->pool->heap.table, 0);
    struct desc *d = top.head;
    assert_int_equal(top.n, 1);
    depot_restore(&scene->pool->depot, &scene->pool->heap.table, &d, 1, false);
    bufferpool_put(bufs[0]);
    for (size_t i = 0; i < n; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(scene->pool));
    assert_null(bufferpool_try_get(scene->pool)); /* returns, that is */
    assert_int_equal(load_relaxed(&scene->pool->pressure.state), PRESSURE_ENTERING);
    bufferpool_buf_t *beyond = bufferpool_get(scene->pool);
    assert_int_equal(stats_of(scene->pool).gets_bypass, 1);
    bufferpool_put(beyond);
    assert_int_equal(stats_of(scene->pool).idle_thread, scene->cap / HANDS);
    check_laws(scene->pool, &scene->blocks, n);
}

static inline void have_the_rest_too(struct scene *scene, bufferpool_buf_t **bufs, size_t n)
{
    for (; n < scene->cap; n++)
        assert_non_null(bufs[n] = bufferpool_try_get(scene->pool));
    assert_null(bufferpool_try_get(scene->pool));
    assert_int_equal(load_relaxed(&scene->pool->pressure.state), PRESSURE_ON);
    assert_int_equal(atomic_load(&barriers), barriers_expected(1)); /* the gates were closed all the time */
    check_laws(scene->pool, &scene->blocks, n);
    bufferpool_put_bulk(bufs, n);
}

/* ---- max_idle_bytes ---- */

static inline bufferpool_t *pool_with_limit(test_blocks_t *blocks, size_t bytes)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = 16 * CAPACITY;
    config.max_idle_bytes = bytes;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

/* The hands put and get again: what their caches set aside for that, they do not use. */
static inline void set_aside(struct hand hands[HANDS], size_t each)
{
    for (unsigned i = 0; i < HANDS; i++)
        hands[i].want = each;
    hands_do(hands, hand_get);
    hands_do(hands, hand_put);
    hands_do(hands, hand_get);
}

#endif /* TEST_STEAL_SCENE_H */
