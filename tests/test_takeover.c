/* SPDX-License-Identifier: MIT
 *
 * test_takeover.c - what idles in the caches of other threads can be had
 *
 * Sixteen threads sleep with all N idle in their caches: one thread then gets N pooled buffers, and the N+1st
 * bypasses. Trim, reclaim and a lowered cap reach those caches too. Their owners go on as before. An owner that was
 * stopped inside of its cache is waited for a bounded time, skipped, and taken from later; what it was doing is not
 * disturbed.
 *
 * Nothing here is left to luck: a thread that lost its processor in the middle of a call is one that went inside by
 * hand and sleeps (hands.h), and the linker's --wrap shows the two moments that matter within a take-over: the
 * barrier, when the gates are closed and nobody has been looked at, and the yield of a taker that waits for an owner.
 */
#include "support/hands.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CAPACITY = 512, EXPEDITED = 1 << 3 };

/* ---- the moments ---- */

static atomic_size_t barriers;
static atomic_size_t yields;
static void (*at_barrier)(void);
static void (*at_yield)(void);

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list args;
    va_start(args, number);
    const int command = va_arg(args, int);
    va_end(args);
    if (number != SYS_membarrier)
        abort(); /* who else calls it? */
    if (command == EXPEDITED) {
        atomic_fetch_add(&barriers, 1);
        if (at_barrier != NULL)
            at_barrier();
    }
    return __real_syscall(number, command, 0, 0);
}

int __real_sched_yield(void);
int __wrap_sched_yield(void);
int __wrap_sched_yield(void)
{
    atomic_fetch_add(&yields, 1);
    if (at_yield != NULL)
        at_yield();
    return __real_sched_yield();
}

static size_t barriers_expected(size_t n)
{
    return TEST_TSAN ? 0 : n; /* real fences there */
}

static void begin_counting(void)
{
    atomic_store(&barriers, 0);
    atomic_store(&yields, 0);
}

/* ---- scenes ---- */

static bufferpool_t *pool_with(test_blocks_t *blocks, size_t cap, size_t cached)
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

static void scene_begin(struct scene *scene, size_t cap)
{
    memset(&scene->blocks, 0, sizeof scene->blocks);
    scene->cap = cap;
    scene->pool = pool_with(&scene->blocks, cap, cap);
    hands_begin(scene->hands, scene->pool);
    hands_fill(scene->hands, cap, 0);
    assert_int_equal(stats_of(scene->pool).idle_thread, cap);
    begin_counting();
}

static void scene_end(struct scene *scene)
{
    hands_end(scene->hands);
    check_laws(scene->pool, &scene->blocks, 0);
    destroy_empty(scene->pool, &scene->blocks);
}

#define needs_takeover()                                                                                               \
    do {                                                                                                               \
        (void)state;                                                                                                   \
        if (!test_can_take_over())                                                                                     \
            skip();                                                                                                    \
    } while (0)

/* ---- a get that finds the cap reached ---- */

enum way { GET, TRY_GET, TIMED, BULK, WAYS };

static void take_all(bufferpool_t *pool, enum way way, bufferpool_buf_t **bufs, size_t n)
{
    if (way == BULK)
        assert_int_equal(bufferpool_get_bulk(pool, bufs, n), 0);
    for (size_t i = 0; i < n && way != BULK; i++) {
        bufs[i] = way == GET       ? bufferpool_get(pool)
                  : way == TRY_GET ? bufferpool_try_get(pool)
                                   : bufferpool_get_timed(pool, 0);
        assert_non_null(bufs[i]);
    }
    for (size_t i = 0; i < n; i++)
        test_fill(bufs[i]->data, bufs[i]->cap, i);
    for (size_t i = 0; i < n; i++)
        assert_true(test_filled(bufs[i]->data, bufs[i]->cap, i));
}

/* n of n idle with sleeping threads; one thread gets all of them, and no more. */
static void one_thread_gets(bufferpool_config_t config, size_t n, size_t grow, enum way way)
{
    static struct hand hands[HANDS];
    bufferpool_buf_t *bufs[HAND_HOLDS];
    test_blocks_t *blocks = config.ctx;
    config.buffer_capacity = CAPACITY;
    config.max_live = n;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    hands_begin(hands, pool);
    hands_fill(hands, n, grow);
    const bufferpool_stats_t before = stats_of(pool);
    assert_int_equal(idle_of(&before), n);
    begin_counting();

    take_all(pool, way, bufs, n);
    const bufferpool_stats_t after = stats_of(pool);
    assert_int_equal(after.live, n);
    assert_int_equal(after.gets_bypass, 0);
    assert_int_equal(after.gets_refused, 0);
    assert_int_equal(after.gets_fresh, n); /* those of the hands */
    assert_int_equal(after.stolen, before.idle_thread);
    assert_int_equal(atomic_load(&barriers), barriers_expected(before.idle_thread > 0));
    assert_int_equal(atomic_load(&blocks->count), n);
    check_laws(pool, blocks, n);

    assert_null(bufferpool_try_get(pool));
    assert_int_equal(errno, EAGAIN);
    bufferpool_buf_t *beyond = bufferpool_get(pool);
    assert_int_equal(stats_of(pool).gets_bypass, 1);
    bufferpool_put(beyond);
    bufferpool_put_bulk(bufs, n);
    check_laws(pool, blocks, 0);
    assert_int_equal(stats_of(pool).drops_idle_limit, 0);
    hands_end(hands);
    destroy_empty(pool, blocks);
}

static void one_thread_gets_all_that_idles_with_sixteen_that_sleep(void **state)
{
    static const size_t caps[] = {16, 64, 100};
    static const size_t cached[] = {1, 3, 7, 100};
    needs_takeover();
    for (size_t c = 0; c < 3; c++) {
        for (size_t k = 0; k < 4; k++) {
            for (enum way way = GET; way < WAYS; way++) {
                test_blocks_t blocks = {0};
                bufferpool_config_t config = config_with(&blocks);
                config.thread_cache_bytes = cached[k] * CAPACITY;
                one_thread_gets(config, caps[c], 0, way);
            }
        }
    }
}

static void the_same_with_grown_buffers(void **state)
{
    needs_takeover();
    for (size_t cached = 3; cached <= 100; cached += 17) { /* at first they do not fit into a cache at all */
        test_blocks_t blocks = {0};
        bufferpool_config_t config = config_with(&blocks);
        config.thread_cache_bytes = cached * CAPACITY;
        one_thread_gets(config, 40, 5 * CAPACITY, cached % 2 == 0 ? GET : BULK);
    }
}

static void the_same_where_buffers_are_wiped(void **state)
{
    needs_takeover();
    for (enum way way = GET; way < WAYS; way++) {
        test_blocks_t blocks = {0};
        bufferpool_config_t config = config_with(&blocks);
        config.thread_cache_bytes = 8 * CAPACITY;
        config.flags = BUFFERPOOL_ZERO;
        one_thread_gets(config, 64, way % 2 * 2 * CAPACITY, way);
    }
}

static void the_same_with_max_idle_bytes(void **state)
{
    needs_takeover();
    for (enum way way = GET; way < WAYS; way++) {
        test_blocks_t blocks = {0};
        bufferpool_config_t config = config_with(&blocks);
        config.thread_cache_bytes = 8 * CAPACITY;
        config.max_idle_bytes = 64 * CAPACITY; /* just what they need */
        one_thread_gets(config, 64, 0, way);
    }
}

/* ---- trim and reclaim ---- */

/* The owners go on as before: the first get is a slow one at most, and then all come from the cache. */
static void owners_go_on(struct scene *scene)
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

static bool all_gates_are_open(const bufferpool_t *pool)
{
    bool open = true;
    for (struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next)
        open = open && load_relaxed(&c->gate) == pool_live_word(pool);
    return open;
}

static void trim_frees_what_idles_with_threads_that_sleep(void **state)
{
    static struct scene scene;
    needs_takeover();
    scene_begin(&scene, 64);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(bufferpool_trim(scene.pool), scene.cap * CAPACITY);
        assert_int_equal(atomic_load(&scene.blocks.count), 0);
        assert_int_equal(stats_of(scene.pool).stolen, (size_t)(round + 1) * scene.cap);
        assert_int_equal(atomic_load(&barriers), barriers_expected((size_t)round + 1));
        assert_true(all_gates_are_open(scene.pool));
        check_laws(scene.pool, &scene.blocks, 0);
        assert_int_equal(bufferpool_trim(scene.pool), 0);
        assert_int_equal(atomic_load(&barriers), barriers_expected((size_t)round + 1)); /* there was nothing to take */
        owners_go_on(&scene);
        hands_fill(scene.hands, scene.cap, 0);
    }
    scene_end(&scene);
}

static void reclaim_frees_what_idles_with_threads_that_sleep(void **state)
{
    static struct scene scene;
    needs_takeover();
    scene_begin(&scene, 64);
    size_t bytes = 0;
    for (int i = 0; i < 3; i++)
        bytes += bufferpool_reclaim(scene.pool);
    assert_int_equal(bytes, scene.cap * CAPACITY);
    assert_int_equal(atomic_load(&scene.blocks.count), 0);
    check_laws(scene.pool, &scene.blocks, 0);
    owners_go_on(&scene);
    scene_end(&scene);
}

static void reclaim_leaves_the_caches_that_are_used(void **state)
{
    enum { USED = 5 };
    static struct scene scene;
    needs_takeover();
    scene_begin(&scene, 64);
    for (int period = 0; period < 5; period++) {
        for (int i = 0; i < USED; i++) {
            scene.hands[i].want = 1; /* one get and one put: it is where it was */
            hand_do(&scene.hands[i], hand_use);
        }
        (void)bufferpool_reclaim(scene.pool);
    }
    assert_int_equal(stats_of(scene.pool).idle_thread, USED * (scene.cap / HANDS));
    assert_int_equal(atomic_load(&scene.blocks.count), USED * (scene.cap / HANDS));
    check_laws(scene.pool, &scene.blocks, 0);
    scene_end(&scene);
}

static void a_lowered_cap_frees_what_idles_with_threads_that_sleep(void **state)
{
    static struct scene scene;
    needs_takeover();
    scene_begin(&scene, 64);
    bufferpool_set_max_live(scene.pool, 10);
    assert_int_equal(atomic_load(&scene.blocks.count), 10);
    assert_int_equal(stats_of(scene.pool).reclaimed_bytes, 54 * CAPACITY);
    check_laws(scene.pool, &scene.blocks, 0);
    bufferpool_set_max_live(scene.pool, 64);
    owners_go_on(&scene);
    scene_end(&scene);
}

/* ---- owners that were stopped inside ---- */

static void trim_skips_an_owner_that_is_inside_and_gets_it_later(void **state)
{
    static struct scene scene;
    needs_takeover();
    scene_begin(&scene, 64);
    struct hand *stalled = &scene.hands[3];
    const size_t kept = scene.cap / HANDS;
    hand_do(stalled, hand_stall);
    assert_int_equal(bufferpool_trim(scene.pool), (scene.cap - kept) * CAPACITY);
    assert_true(atomic_load(&yields) > 0 && atomic_load(&yields) < 1000); /* patience, but not without end */
    assert_int_equal(stats_of(scene.pool).idle_thread, kept);
    assert_true(cache_is_open(stalled->cache)); /* its gate too */
    hand_do(stalled, hand_unstall);

    stalled->want = 5; /* undisturbed */
    const uint64_t before = stats_of(scene.pool).gets_thread;
    hand_do(stalled, hand_use);
    assert_int_equal(stats_of(scene.pool).gets_thread, before + 5);
    assert_int_equal(bufferpool_trim(scene.pool), kept * CAPACITY);
    assert_int_equal(atomic_load(&scene.blocks.count), 0);
    owners_go_on(&scene);
    scene_end(&scene);
}

static struct hand *interrupted;

static void let_it_leave(void)
{
    if (atomic_load(&yields) == 2)
        hand_do(interrupted, hand_unstall);
}

static void trim_waits_for_an_owner_that_soon_gets_on(void **state)
{
    static struct scene scene;
    needs_takeover();
    scene_begin(&scene, 64);
    interrupted = &scene.hands[0];
    hand_do(interrupted, hand_stall);
    at_yield = let_it_leave;
    assert_int_equal(bufferpool_trim(scene.pool), scene.cap * CAPACITY);
    at_yield = NULL;
    assert_int_equal(atomic_load(&yields), 2);
    assert_int_equal(atomic_load(&scene.blocks.count), 0);
    owners_go_on(&scene);
    scene_end(&scene);
}

static void reclaim_skips_an_owner_that_is_inside_and_gets_it_later(void **state)
{
    static struct scene scene;
    needs_takeover();
    scene_begin(&scene, 64);
    const size_t kept = scene.cap / HANDS;
    hand_do(&scene.hands[15], hand_stall);
    for (int i = 0; i < 4; i++)
        (void)bufferpool_reclaim(scene.pool);
    assert_int_equal(atomic_load(&scene.blocks.count), kept);
    assert_int_equal(atomic_load(&yields), 0); /* it is no call for memory, so it does not wait */
    hand_do(&scene.hands[15], hand_unstall);
    for (int i = 0; i < 3; i++)
        (void)bufferpool_reclaim(scene.pool);
    assert_int_equal(atomic_load(&scene.blocks.count), 0);
    owners_go_on(&scene);
    scene_end(&scene);
}

/* At the cap, with one owner inside: main has all but what idles with that one. */
static void have_all_but_the_stalled(struct scene *scene, struct hand *stalled, bufferpool_buf_t **bufs)
{
    const size_t n = scene->cap - scene->cap / HANDS;
    hand_do(stalled, hand_stall);
    assert_non_null(bufs[0] = bufferpool_try_get(scene->pool));
    /* under pressure each lies by itself, so that a get hides none from the others while it is at work */
    uint64_t head, below;
    assert_int_equal(load_relaxed(&depot_peek(&scene->pool->depot, &scene->pool->heap.table, &head, &below)->count), 1);
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

static void have_the_rest_too(struct scene *scene, bufferpool_buf_t **bufs, size_t n)
{
    for (; n < scene->cap; n++)
        assert_non_null(bufs[n] = bufferpool_try_get(scene->pool));
    assert_null(bufferpool_try_get(scene->pool));
    assert_int_equal(load_relaxed(&scene->pool->pressure.state), PRESSURE_ON);
    assert_int_equal(atomic_load(&barriers), barriers_expected(1)); /* the gates were closed all the time */
    check_laws(scene->pool, &scene->blocks, n);
    bufferpool_put_bulk(bufs, n);
}

static void a_get_bypasses_while_an_owner_is_inside_and_the_next_after_that_does_not(void **state)
{
    static struct scene scene;
    bufferpool_buf_t *bufs[64];
    needs_takeover();
    scene_begin(&scene, 64);
    have_all_but_the_stalled(&scene, &scene.hands[7], bufs);
    hand_do(&scene.hands[7], hand_unstall);
    have_the_rest_too(&scene, bufs, 60);
    scene_end(&scene);
}

static void hand_get_one(struct hand *hand)
{
    hand->bufs[hand->n++] = bufferpool_try_get(hand->pool);
    thread_check(hand->bufs[0] != NULL);
}

static void an_owner_that_finds_its_gate_closed_moves_its_cache_to_the_depot(void **state)
{
    static struct scene scene;
    bufferpool_buf_t *bufs[64];
    needs_takeover();
    scene_begin(&scene, 64);
    have_all_but_the_stalled(&scene, &scene.hands[7], bufs);
    hand_do(&scene.hands[7], hand_unstall);
    hand_do(&scene.hands[7], hand_get_one); /* is not refused: it idles there */
    assert_int_equal(stats_of(scene.pool).idle_thread, 0);
    assert_int_equal(stats_of(scene.pool).idle_depot, 3);
    hand_do(&scene.hands[7], hand_put);
    have_the_rest_too(&scene, bufs, 60);
    scene_end(&scene);
}

static void an_owner_that_ends_under_pressure_leaves_its_buffers_to_the_others(void **state)
{
    static struct scene scene;
    bufferpool_buf_t *bufs[64];
    needs_takeover();
    scene_begin(&scene, 64);
    have_all_but_the_stalled(&scene, &scene.hands[7], bufs);
    hand_do(&scene.hands[7], hand_unstall);
    hand_end(&scene.hands[7]);
    assert_int_equal(stats_of(scene.pool).idle_depot, 4);
    hand_begin(&scene.hands[7], scene.pool, 7); /* gets the same cache, and it is not open */
    hand_do(&scene.hands[7], hand_get_one);
    hand_do(&scene.hands[7], hand_put);
    assert_int_equal(stats_of(scene.pool).idle_thread, 0);
    have_the_rest_too(&scene, bufs, 60);
    scene_end(&scene);
}

static void hand_wait_for_one(struct hand *hand)
{
    hand->bufs[hand->n++] = bufferpool_get_timed(hand->pool, BUFFERPOOL_NEVER);
    thread_check(hand->bufs[0] != NULL);
}

static void who_waits_gets_what_an_owner_inside_had(void **state)
{
    static struct scene scene;
    bufferpool_buf_t *bufs[64];
    needs_takeover();
    scene_begin(&scene, 64);
    have_all_but_the_stalled(&scene, &scene.hands[7], bufs);
    hand_start(&scene.hands[8], hand_wait_for_one);
    while (!depot_wanted(&scene.pool->depot))
        __real_sched_yield();
    hand_do(&scene.hands[7], hand_unstall); /* and sleeps from then on */
    hand_finish(&scene.hands[8]);
    assert_int_equal(scene.hands[8].n, 1);
    hand_do(&scene.hands[8], hand_put);
    have_the_rest_too(&scene, bufs, 60);
    scene_end(&scene);
}

/* ---- calls that meet a take-over halfway ---- */

/* A put that was stopped after it had looked at the gate, and its second half. */
static void hand_put_first_half(struct hand *hand)
{
    hand_stall(hand);
    thread_check(gate_load(&hand->cache->gate) == pool_live_word(hand->pool));
}

static void hand_put_second_half(struct hand *hand)
{
    struct desc *d = desc_of(hand->bufs[--hand->n]);
    const uint64_t level = load_relaxed(&hand->cache->level);
    hand->cache->slots[(uint32_t)level] = d;
    store_relaxed(&d->word, desc_word(hand->pool->tag, STATE_IDLE));
    store_relaxed(&hand->cache->level, level + 1);
    cache_leave(hand->cache);
}

static void let_it_put(void)
{
    if (atomic_load(&yields) == 1)
        hand_do(interrupted, hand_put_second_half);
}

static void a_put_on_its_way_when_the_gate_closes_is_taken_too(void **state)
{
    static struct scene scene;
    needs_takeover();
    scene_begin(&scene, 64);
    interrupted = &scene.hands[5];
    interrupted->want = 1;
    hand_do(interrupted, hand_get);
    hand_do(interrupted, hand_put_first_half);
    at_yield = let_it_put;
    assert_int_equal(bufferpool_trim(scene.pool), scene.cap * CAPACITY);
    at_yield = NULL;
    assert_int_equal(atomic_load(&scene.blocks.count), 0);
    check_laws(scene.pool, &scene.blocks, 0);
    owners_go_on(&scene);
    scene_end(&scene);
}

/* Its buffers are in the cache; the taker gives up on it, and nothing of it is touched. */
static void a_put_on_its_way_for_long_is_not_disturbed(void **state)
{
    static struct scene scene;
    needs_takeover();
    scene_begin(&scene, 64);
    interrupted = &scene.hands[5];
    interrupted->want = 1;
    hand_do(interrupted, hand_get);
    hand_do(interrupted, hand_put_first_half);
    const struct desc *coldest = interrupted->cache->slots[0];
    assert_int_equal(bufferpool_trim(scene.pool), (scene.cap - 4) * CAPACITY);
    assert_int_equal(cache_idle(interrupted->cache), 3);
    assert_ptr_equal(interrupted->cache->slots[0], coldest);
    check_laws(scene.pool, &scene.blocks, 1);
    hand_do(interrupted, hand_put_second_half);
    assert_int_equal(stats_of(scene.pool).idle_thread, 4);
    interrupted->want = 4;
    hand_do(interrupted, hand_get);
    assert_int_equal(stats_of(scene.pool).live, 4);
    hand_do(interrupted, hand_put);
    scene_end(&scene);
}

/* Between the closing of the gates and the first look, which is where the barrier is, an owner comes and works on its
 * cache from both ends. */
static bool came;

static void come_and_find_the_gate_closed(struct hand *hand)
{
    struct cache *c = tls_cache_find(hand->pool->slot);
    struct desc *d = desc_of(hand->bufs[0]);
    const uint32_t idle = cache_idle(c);
    thread_check(cache_pop_plain(c) == NULL);
    thread_check(!cache_push_plain(c, d, load_relaxed(&d->word)));
    thread_check(cache_take(hand->pool, c, "test") == NULL);
    thread_check(cache_idle(c) == idle && !load_relaxed(&c->busy));
    hand_put(hand); /* to the depot */
    thread_check(cache_idle(c) == idle);
    came = true;
}

static void let_it_come(void)
{
    at_barrier = NULL;
    hand_do(interrupted, come_and_find_the_gate_closed);
}

static void who_comes_after_the_gate_has_closed_works_on_the_depot(void **state)
{
    static struct scene scene;
    needs_takeover();
    if (TEST_TSAN)
        skip(); /* there is no barrier there to see the moment by */
    scene_begin(&scene, 64);
    interrupted = &scene.hands[9];
    interrupted->want = 1;
    hand_do(interrupted, hand_get);
    came = false;
    at_barrier = let_it_come;
    assert_int_equal(bufferpool_trim(scene.pool), scene.cap * CAPACITY);
    assert_true(came);
    assert_int_equal(atomic_load(&scene.blocks.count), 0);
    check_laws(scene.pool, &scene.blocks, 0);
    owners_go_on(&scene);
    scene_end(&scene);
}

static void hand_flush_late(struct hand *hand)
{
    bufferpool_thread_flush();
    thread_check(cache_idle(tls_cache_find(hand->pool->slot)) == 0);
}

/* Whoever closed the gate may well open it again with nothing taken, so the flush must not count on that. */
static void a_flush_that_finds_the_gate_closed_flushes_all_the_same(void **state)
{
    static struct scene scene;
    needs_takeover();
    scene_begin(&scene, 64);
    struct hand *owner = &scene.hands[2];
    hand_do(owner, hand_stall);
    hand_do(owner, hand_unstall);
    pthread_mutex_lock(&scene.pool->caches_lock);
    cache_close(owner->cache);
    hand_start(owner, hand_flush_late);
    struct timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 20000000; /* time enough to do it wrong */
    soon.tv_sec += soon.tv_nsec / 1000000000;
    soon.tv_nsec %= 1000000000;
    const bool returned = sem_timedwait(&owner->done, &soon) == 0;
    cache_open(scene.pool, owner->cache);
    pthread_mutex_unlock(&scene.pool->caches_lock);
    if (!returned)
        hand_finish(owner);
    assert_int_equal(cache_idle(owner->cache), 0);
    assert_int_equal(stats_of(scene.pool).idle_depot, 4);
    scene_end(&scene);
}

/* ---- max_idle_bytes ---- */

static bufferpool_t *pool_with_limit(test_blocks_t *blocks, size_t bytes)
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
static void set_aside(struct hand hands[HANDS], size_t each)
{
    for (unsigned i = 0; i < HANDS; i++)
        hands[i].want = each;
    hands_do(hands, hand_get);
    hands_do(hands, hand_put);
    hands_do(hands, hand_get);
}

static void bytes_set_aside_and_not_used_do_not_make_a_put_drop(void **state)
{
    enum { N = 2 * HANDS };
    static struct hand hands[HANDS];
    bufferpool_buf_t *bufs[N + 1];
    needs_takeover();
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_limit(&blocks, N * CAPACITY);
    hands_begin(hands, pool);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, N + 1), 0);
    set_aside(hands, 2);
    assert_int_equal(load_relaxed(&pool->idle_reserved), N * CAPACITY);
    assert_int_equal(stats_of(pool).idle_bytes, 0);
    begin_counting();
    for (size_t i = 0; i < N; i++) {
        bufferpool_put(bufs[i]);
        assert_int_equal(stats_of(pool).idle_bytes, (i + 1) * CAPACITY);
    }
    assert_int_equal(stats_of(pool).drops_idle_limit, 0);
    assert_int_equal(atomic_load(&barriers), barriers_expected(1)); /* all was given back at once */
    bufferpool_put(bufs[N]);                                        /* the limit is reached, */
    assert_int_equal(atomic_load(&barriers), barriers_expected(1)); /* and nothing to be collected */
    assert_int_equal(stats_of(pool).drops_idle_limit, 1);
    assert_int_equal(stats_of(pool).idle_bytes, N * CAPACITY);
    bufferpool_trim(pool);
    hands_do(hands, hand_put); /* what was taken from them they can have again */
    assert_int_equal(stats_of(pool).idle_bytes, N * CAPACITY);
    assert_int_equal(stats_of(pool).drops_idle_limit, 1);
    check_laws(pool, &blocks, 0);
    hands_end(hands);
    destroy_empty(pool, &blocks);
}

/* To the byte: what is left beside many odd sizes is just enough for one more, or a byte too little. */
static void idle_bytes_are_used_to_the_byte(void **state)
{
    static struct hand hands[HANDS];
    needs_takeover();
    for (int lacks = 0; lacks <= 1; lacks++) {
        test_blocks_t blocks = {0};
        bufferpool_t *sizes = pool_with_limit(&blocks, 0);
        bufferpool_buf_t *buf = bufferpool_get(sizes);
        assert_int_equal(bufferpool_buf_reserve(buf, 3 * CAPACITY + 1), 0);
        const size_t grown = buf->cap;
        bufferpool_put(buf);
        destroy_empty(sizes, &blocks);

        bufferpool_t *pool = pool_with_limit(&blocks, 3 * HANDS * CAPACITY + grown - (size_t)lacks);
        hands_begin(hands, pool);
        hands_fill(hands, (size_t)3 * HANDS, 0);
        assert_int_equal(stats_of(pool).idle_bytes, 3 * HANDS * CAPACITY);
        hands[7].want = 7; /* this one sets aside what is left */
        hand_do(&hands[7], hand_get);
        hand_do(&hands[7], hand_put);
        hands[7].want = (size_t)stats_of(pool).idle_bytes / CAPACITY - 3 * HANDS;
        assert_in_range(hands[7].want, 1, 4);
        hand_do(&hands[7], hand_get);
        const uint64_t dropped = stats_of(pool).drops_idle_limit;
        buf = bufferpool_get(pool);
        assert_int_equal(bufferpool_buf_reserve(buf, 3 * CAPACITY + 1), 0);
        assert_int_equal(buf->cap, grown);
        buf->len = buf->cap;
        bufferpool_put(buf);
        assert_int_equal(stats_of(pool).drops_idle_limit - dropped, lacks);
        assert_true(stats_of(pool).idle_thread >= (uint64_t)3 * HANDS); /* what is in use of it stays where it is */
        assert_int_equal(stats_of(pool).idle_bytes, 3 * HANDS * CAPACITY + (lacks ? 0 : grown));
        check_laws(pool, &blocks, hands[7].n);
        hand_do(&hands[7], hand_put);
        check_laws(pool, &blocks, 0);
        hands_end(hands);
        destroy_empty(pool, &blocks);
    }
}

/* ---- fork ---- */

static struct scene forked;

static int use_all_of_the_cap(size_t held, size_t bypassed)
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
    needs_takeover();
    test_blocks_before_fork();
    scene_begin(&forked, 64);
    hand_do(&forked.hands[4], hand_stall); /* the child does not wait for a thread that it does not have */
    assert_int_equal(run_in_child(use_it_in_the_child, &held, 60), 0);
    hand_do(&forked.hands[4], hand_unstall);
    scene_end(&forked);
}

static void a_child_of_a_pool_under_pressure_can_use_it(void **state)
{
    bufferpool_buf_t *bufs[64];
    size_t held = 60;
    needs_takeover();
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
    if (load_relaxed(&pool->idle_reserved) != stats_of(pool).idle_bytes)
        end_child(1);
    hands_begin(hands, pool); /* they get the caches of the parent's threads, which have set nothing aside here */
    hands_fill(hands, (size_t)2 * HANDS, 0);
    if (load_relaxed(&pool->idle_reserved) != 2 * HANDS * CAPACITY)
        end_child(2);
    if (stats_of(pool).idle_bytes != 2 * HANDS * CAPACITY || stats_of(pool).drops_idle_limit != 0)
        end_child(3);
    end_child(test_recorded_failure() ? 4 : 0);
}

static void what_the_parents_threads_set_aside_is_free_in_the_child(void **state)
{
    static struct hand hands[HANDS];
    needs_takeover();
    if (TEST_TSAN)
        skip(); /* which takes new threads in the child for those of the parent */
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_limit(&blocks, (size_t)2 * HANDS * CAPACITY);
    hands_begin(hands, pool);
    set_aside(hands, 2);
    assert_int_equal(run_in_child(use_the_limit_in_the_child, pool, 60), 0);
    hands_do(hands, hand_put);
    check_laws(pool, &blocks, 0);
    hands_end(hands);
    destroy_empty(pool, &blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread_gets_all_that_idles_with_sixteen_that_sleep),
        cmocka_unit_test(the_same_with_grown_buffers),
        cmocka_unit_test(the_same_where_buffers_are_wiped),
        cmocka_unit_test(the_same_with_max_idle_bytes),
        cmocka_unit_test(trim_frees_what_idles_with_threads_that_sleep),
        cmocka_unit_test(reclaim_frees_what_idles_with_threads_that_sleep),
        cmocka_unit_test(reclaim_leaves_the_caches_that_are_used),
        cmocka_unit_test(a_lowered_cap_frees_what_idles_with_threads_that_sleep),
        cmocka_unit_test(trim_skips_an_owner_that_is_inside_and_gets_it_later),
        cmocka_unit_test(trim_waits_for_an_owner_that_soon_gets_on),
        cmocka_unit_test(reclaim_skips_an_owner_that_is_inside_and_gets_it_later),
        cmocka_unit_test(a_get_bypasses_while_an_owner_is_inside_and_the_next_after_that_does_not),
        cmocka_unit_test(an_owner_that_finds_its_gate_closed_moves_its_cache_to_the_depot),
        cmocka_unit_test(an_owner_that_ends_under_pressure_leaves_its_buffers_to_the_others),
        cmocka_unit_test(who_waits_gets_what_an_owner_inside_had),
        cmocka_unit_test(a_put_on_its_way_when_the_gate_closes_is_taken_too),
        cmocka_unit_test(a_put_on_its_way_for_long_is_not_disturbed),
        cmocka_unit_test(who_comes_after_the_gate_has_closed_works_on_the_depot),
        cmocka_unit_test(a_flush_that_finds_the_gate_closed_flushes_all_the_same),
        cmocka_unit_test(bytes_set_aside_and_not_used_do_not_make_a_put_drop),
        cmocka_unit_test(idle_bytes_are_used_to_the_byte),
        cmocka_unit_test(a_child_can_use_what_idles_with_the_parents_threads),
        cmocka_unit_test(a_child_of_a_pool_under_pressure_can_use_it),
        cmocka_unit_test(what_the_parents_threads_set_aside_is_free_in_the_child),
    };
    return cmocka_run_group_tests_name("takeover", tests, NULL, NULL);
}
