/* SPDX-License-Identifier: MIT
 *
 * test_level.c - what others read of a cache while its owner works on it
 *
 * A cache has three counts: how many buffers moved to its thread, how many idle, and how many gets it served. The
 * owner changes them together. The test stops the owner before each of its atomic operations and reads the cache, and
 * it stops a reader before each of its own and has the owner make a call. Either way the reader sees the counts from
 * before the call or from after it. Over calls of every kind no get is lost or counted twice.
 */
#include "support/accounts.h"
#include "support/blocks.h"
#include "support/hands.h"

enum { CAPACITY = 256, CACHED = 8, NEVER = INT_MAX };

static _Thread_local int steps_left = NEVER;
static _Thread_local void (*at_step)(void); /* when none are left: at that one, or at each from there on */

void a_step(void)
{
    if (at_step == NULL || (steps_left != 0 && steps_left-- > 0))
        return;
    void (*hook)(void) = at_step;
    at_step = NULL; /* what it does is no step */
    hook();
}

static bufferpool_t *pool;
static struct cache *cache;
static test_blocks_t blocks;

static void begin(void)
{
    memset(&blocks, 0, sizeof blocks);
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = (size_t)CACHED * CAPACITY;
    pool = bufferpool_create(&config);
    assert_non_null(pool);
}

static void end(void)
{
    check_accounts(pool);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

/* ---- the owner's calls ---- */

static bufferpool_buf_t *held[4 * CACHED];
static size_t holds;

static void pops(void)
{
    held[holds] = &cache_pop_plain(cache)->pub;
    holds++;
}

static void pushes(void)
{
    struct desc *d = desc_of(held[--holds]);
    assert_true(cache_push_plain(cache, d, load_relaxed(&d->word)));
}

static void takes(void)
{
    held[holds] = &life_hand_out(pool, cache_take(pool, cache))->pub;
    cache_count(cache, GETS_THREAD, 1);
    holds++;
}

static void keeps(void)
{
    struct desc *d = desc_of(held[--holds]);
    store_relaxed(&d->word, desc_word(pool->tag, STATE_IDLE));
    assert_true(cache_keep(pool, cache, d));
}

static void refills(void)
{
    held[holds] = &life_hand_out(pool, cache_refill(pool, cache))->pub;
    cache_count(cache, GETS_DEPOT, 1);
    holds++;
}

static void overflows(void)
{
    assert_true(cache_overflow(pool, cache));
}

static void flushes(void)
{
    bufferpool_thread_flush();
}

/* Gets that the slow calls have to carry on are there from the start. */
static const struct call {
    size_t idle;
    uint32_t moves; /* what `moved` and n both change by, modulo 2^32 */
    void (*make)(void);
} calls[] = {
    {5, 0, pops},    {5, 0, pushes},           {5, 0, takes},     {5, 0, keeps},
    {0, 5, refills}, {CACHED, -4u, overflows}, {5, -5u, flushes},
};

enum { CALLS = sizeof calls / sizeof calls[0] };

/* `idle` in the cache, five in the depot, two held. Which base the level names depends on `side`. */
static void set_the_scene(const struct call *call, int side)
{
    begin();
    assert_int_equal(bufferpool_get_bulk(pool, held, 5), 0);
    bufferpool_put_bulk(held, 5);
    bufferpool_thread_flush();
    holds = 2 + call->idle;
    for (size_t i = 0; i < holds; i++) { /* not those of the depot */
        held[i] = NULL;
    }
    bufferpool_buf_t *first[5];
    assert_int_equal(bufferpool_get_bulk(pool, first, 5), 0);
    for (size_t i = 0; i < holds; i++)
        assert_non_null(held[i] = bufferpool_get(pool));
    bufferpool_put_bulk(first, 5);
    bufferpool_thread_flush();
    while (holds > 2)
        bufferpool_put(held[--holds]);
    cache = tls_cache_find(pool->index);
    for (int i = 0; i < side; i++) { /* changes of `moved` alone */
        if (call->idle > 0) {
            bufferpool_buf_t *buf = bufferpool_get(pool);
            assert_non_null(buf);
            bufferpool_put(buf);
        }
        cache_moved(pool, cache, 1);
    }
    for (int i = 0; i < 3 && call->idle > 0; i++)
        bufferpool_put(bufferpool_get(pool));
    assert_int_equal(cache_idle(cache), call->idle);
}

static void clear_the_scene(int side)
{
    cache_moved(pool, cache, -side);
    while (holds > 0)
        bufferpool_put(held[--holds]);
    end();
}

static bool same(struct cache_counts a, struct cache_counts b)
{
    return a.moved - a.n == b.moved - b.n && a.gets == b.gets;
}

/* ---- the owner is stopped ---- */

static struct cache_counts before, seen;

static void read_it(void)
{
    seen = cache_read(cache);
}

/* Whether it got that far. */
static bool read_at(const struct call *call, int side, int step, bool *is_after)
{
    set_the_scene(call, side);
    before = cache_read(cache);
    steps_left = step;
    at_step = read_it;
    call->make();
    const bool reached = at_step == NULL;
    at_step = NULL;
    const struct cache_counts after = cache_read(cache);
    if (call->moves != 0) {
        const bool hands_out = call->make == refills;
        assert_int_equal(after.moved, before.moved + call->moves);
        assert_int_equal(after.n, before.n + call->moves - (hands_out ? 1 : 0));
    }
    if (reached) {
        const bool now = seen.moved == after.moved && seen.n == after.n && seen.gets == after.gets;
        const bool then = seen.moved == before.moved && seen.n == before.n && seen.gets == before.gets;
        assert_true(now || then);
        assert_true(now || !*is_after); /* once it is so, it stays so */
        *is_after = now;
    }
    clear_the_scene(side);
    return reached;
}

static void an_owner_is_seen_before_or_after_its_call(void **state)
{
    (void)state;
    for (size_t i = 0; i < CALLS; i++) {
        for (int side = 0; side < 4; side++) {
            bool is_after = false;
            int step = 0;
            while (read_at(&calls[i], side, step, &is_after))
                step++;
            assert_true(step >= 4);
        }
    }
}

/* ---- the reader is stopped ---- */

static const struct call *meanwhile;

static void call_it(void)
{
    meanwhile->make();
}

static bool call_at(const struct call *call, int side, int step)
{
    set_the_scene(call, side);
    meanwhile = call;
    before = cache_read(cache);
    steps_left = step;
    at_step = call_it;
    seen = cache_read(cache);
    const bool reached = at_step == NULL;
    at_step = NULL;
    const struct cache_counts after = cache_read(cache);
    assert_true(same(seen, before) || (reached && same(seen, after)));
    clear_the_scene(side);
    return reached;
}

static void a_reader_that_a_call_meets_sees_before_or_after_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < CALLS; i++) {
        for (int side = 0; side < 4; side++) {
            int step = 0;
            while (call_at(&calls[i], side, step))
                step++;
            assert_true(step >= 4);
        }
    }
}

/* ---- both at once, in earnest ---- */

struct race {
    atomic_size_t begun, done; /* slow calls */
    atomic_bool over;
    size_t turns;
    atomic_uint served; /* gets of the level, about */
    struct cache *_Atomic cache;
};

static void own_or_read(void *arg, unsigned index)
{
    struct race *race = arg;
    if (index == 0) {
        bufferpool_put(bufferpool_get(pool));
        struct cache *mine = tls_cache_find(pool->index);
        atomic_store(&race->cache, mine);
        for (size_t turn = 0; turn < race->turns; turn++) {
            for (size_t i = 0; i < turn % 8; i++)
                bufferpool_put(bufferpool_get(pool));
            atomic_fetch_add(&race->begun, 1);
            bufferpool_thread_flush();
            atomic_fetch_add(&race->done, 1);
            atomic_fetch_add(&race->begun, 1);
            struct desc *d = life_hand_out(pool, cache_refill(pool, mine));
            atomic_fetch_add(&race->done, 1);
            bufferpool_put(&d->pub);
        }
        atomic_store(&race->over, true);
        return;
    }
    while (atomic_load(&race->cache) == NULL)
        ;
    uint64_t least = 0;
    while (!atomic_load(&race->over)) {
        const size_t done = atomic_load(&race->done);
        const struct cache_counts c = cache_read(race->cache);
        if (atomic_load(&race->begun) - done > 1 || atomic_load(&race->over))
            continue; /* it was met more than once, or the thread may have ended, which clears the cache */
        thread_check(c.moved - c.n <= 1 && c.gets >= least);
        least = c.gets;
    }
}

static void readers_of_a_busy_owner_see_a_state_that_was(void **state)
{
    (void)state;
    struct race race = {.turns = test_scale(300000, 5000)};
    begin();
    run_threads(2, own_or_read, &race);
    end();
}

/* ---- no get is lost ---- */

enum { WORKERS = 3, WORKER_HOLDS = 20 };

static atomic_size_t expected; /* gets_thread */

struct worker {
    struct hand hand;
    test_random_t random;
};

static struct worker workers[WORKERS];

/* Whether the next get is served by the calling thread's cache. */
static bool would_serve(void)
{
    const struct cache *c = tls_cache_find(pool->index);
    return c->pool != NULL && cache_is_open(c) && cache_idle(c) > 0;
}

static void get_one(struct hand *hand)
{
    if (would_serve())
        atomic_fetch_add(&expected, 1);
    if (thread_check((hand->bufs[hand->n] = bufferpool_get(pool)) != NULL))
        hand->n++;
}

static void work(struct hand *hand)
{
    test_random_t *random = &workers[hand->index].random;
    for (size_t i = 0; i < hand->want; i++) {
        const size_t what = test_random_below(random, 40);
        if (what == 0) {
            bufferpool_thread_flush();
        } else if (what == 1) {
            (void)bufferpool_trim(pool);
        } else if (what == 2) {
            (void)bufferpool_reclaim(pool);
        } else if (what == 3 && hand->n > 0) {
            thread_check(bufferpool_buf_reserve(hand->bufs[hand->n - 1], 3 * CAPACITY) == 0);
        } else if (what < 22 && hand->n < WORKER_HOLDS) {
            get_one(hand);
        } else if (hand->n > 0) {
            bufferpool_put(hand->bufs[--hand->n]);
        }
    }
}

static size_t held_by_all(void)
{
    size_t n = 0;
    for (unsigned i = 0; i < WORKERS; i++)
        n += workers[i].hand.n;
    return n;
}

static int go_on_in_the_child(void *arg)
{
    (void)arg;
    if (stats_of(pool).gets_thread != atomic_load(&expected) || !accounts_agree(pool))
        end_child(1);
    struct hand hand = {.pool = pool, .want = 300};
    work(&hand);
    hand_put(&hand);
    if (stats_of(pool).gets_thread != atomic_load(&expected) || !accounts_agree(pool))
        end_child(2);
    end_child(test_recorded_failure() ? 3 : 0);
}

/* One at a time, so that who is served whence is known before. */
static void no_get_is_lost_or_counted_twice(void **state)
{
    (void)state;
    begin();
    atomic_store(&expected, 0);
    test_blocks_before_fork();
    test_random_t random = {7};
    struct hand own = {.pool = pool, .want = 40};
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i].random = (test_random_t){i + 1};
        hand_begin(&workers[i].hand, pool, i);
    }
    const size_t rounds = test_scale(400, 60);
    for (size_t round = 0; round < rounds; round++) {
        struct worker *w = &workers[test_random_below(&random, WORKERS)];
        w->hand.want = 1 + test_random_below(&random, 60);
        hand_do(&w->hand, work);
        if (round % 5 == 1) {
            work(&own);
            hand_put(&own);
        }
        if (round % 10 == 9) { /* its cache is the next one's */
            hand_do(&w->hand, hand_put);
            const unsigned index = w->hand.index;
            hand_end(&w->hand);
            hand_begin(&w->hand, pool, index);
        }
        if (round % 20 == 19)
            assert_int_equal(run_in_child(go_on_in_the_child, NULL, 60), 0);
        assert_int_equal(stats_of(pool).gets_thread, atomic_load(&expected));
        check_accounts(pool);
        check_laws(pool, &blocks, held_by_all());
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        hand_do(&workers[i].hand, hand_put);
        hand_end(&workers[i].hand);
    }
    run_threads(1, hand_nothing, NULL);
    assert_true(atomic_load(&expected) > rounds);
    end();
}

/* What it had from the cache by then is as if it had not been. */
static void a_bulk_that_fails_counts_no_get(void **state)
{
    enum { N = 5 };
    bufferpool_buf_t *bufs[2 * N];
    (void)state;
    begin();
    assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
    bufferpool_put_bulk(bufs, N);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 2), 0);
    bufferpool_put_bulk(bufs, 2);
    test_blocks_fail(&blocks, 1, SIZE_MAX);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, (size_t)2 * N), ENOMEM);
    test_blocks_fail_none(&blocks);
    const bufferpool_stats_t stats = stats_of(pool);
    assert_int_equal(stats.gets_thread, 2);
    assert_int_equal(stats.gets_fresh, N);
    assert_int_equal(stats.idle_thread, N + 1);
    end();
}

/* Twice the base is written anew, and the second time it is the one that the reader has begun with. */
static void works_for_long(void)
{
    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < 40; i++)
            bufferpool_put(bufferpool_get(pool));
        cache_moved(pool, cache, side == 0 ? 1 : -1);
    }
}

static void gets_never_fall_for_a_reader_that_lost_its_processor(void **state)
{
    (void)state;
    bool reached = true;
    int steps = 0;
    for (; reached; steps++) {
        set_the_scene(&calls[0], 0);
        before = cache_read(cache);
        steps_left = steps;
        at_step = works_for_long;
        seen = cache_read(cache);
        reached = at_step == NULL;
        at_step = NULL;
        const struct cache_counts after = cache_read(cache);
        assert_in_range(seen.gets, before.gets, after.gets);
        if (reached)
            assert_int_equal(after.gets, before.gets + 80);
        clear_the_scene(0);
    }
    assert_true(steps > 3);
}

static void a_thread_that_only_puts_uses_its_cache(void **state)
{
    (void)state;
    set_the_scene(&calls[0], 0);
    (void)cache_unused(cache);
    assert_true(cache_unused(cache));
    bufferpool_buf_t *bufs[4 * CACHED];
    for (size_t i = 0; i < 4 * CACHED; i++)
        assert_non_null(bufs[i] = bufferpool_get(pool));
    bufferpool_thread_flush();
    bufferpool_put_bulk(bufs, 2 * CACHED); /* from the second overflow on all goes */
    (void)cache_unused(cache);
    for (size_t i = 2 * CACHED; i < 4 * CACHED; i += CACHED) { /* as many as it holds: n is what it was */
        const uint32_t n = cache_idle(cache);
        store_relaxed(&cache->streak, 0); /* so it does not grow */
        bufferpool_put_bulk(bufs + i, CACHED);
        assert_int_equal(cache_idle(cache), n);
        assert_false(cache_unused(cache));
    }
    assert_true(cache_unused(cache));
    clear_the_scene(0);
}

/* Whoever adds up while a buffer goes from one thread to another may see that it left and not that it came. */
static void live_is_never_negative(void **state)
{
    (void)state;
    begin();
    bufferpool_buf_t *buf = bufferpool_get(pool);
    cache_moved(pool, &pool->shared, -1); /* left */
    assert_int_equal(bufferpool_live(pool), 0);
    cache_moved(pool, &pool->shared, -1);
    assert_int_equal(bufferpool_live(pool), 0);
    assert_int_equal(stats_of(pool).live, 0);
    cache_moved(pool, &pool->shared, 5); /* and the other way round: never more than exist */
    assert_int_equal(bufferpool_live(pool), 1);
    cache_moved(pool, &pool->shared, -3);
    bufferpool_put(buf);
    end();
}

/* Likewise of a buffer that was dropped: that it was put, and not that it was got. */
static void no_figure_is_negative(void **state)
{
    (void)state;
    begin();
    bufferpool_buf_t *buf = bufferpool_get(pool);
    cache_count(&pool->shared, DROPS_OVER_CAP, 2);
    assert_int_equal(stats_of(pool).puts_kept, 0);
    cache_count(&pool->shared, DROPS_OVER_CAP, UINT64_MAX - 1);
    bufferpool_put(buf);
    end();
}

int main(void)
{
    test_tell_memcheck_nothing();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_owner_is_seen_before_or_after_its_call),
        cmocka_unit_test(a_reader_that_a_call_meets_sees_before_or_after_it),
        cmocka_unit_test(readers_of_a_busy_owner_see_a_state_that_was),
        cmocka_unit_test(gets_never_fall_for_a_reader_that_lost_its_processor),
        cmocka_unit_test(a_thread_that_only_puts_uses_its_cache),
        cmocka_unit_test(no_get_is_lost_or_counted_twice),
        cmocka_unit_test(a_bulk_that_fails_counts_no_get),
        cmocka_unit_test(live_is_never_negative),
        cmocka_unit_test(no_figure_is_negative),
    };
    return cmocka_run_group_tests_name("level", tests, NULL, NULL);
}
