/* SPDX-License-Identifier: MIT
 *
 * test_steal.c - a thread can get what idles in the caches of other threads
 *
 * Sixteen threads sleep while all N buffers idle in their caches. One thread then gets N pooled buffers, and its next
 * get goes beyond the cap. Trim, reclaim and a lowered cap reach those caches too, and their owners go on as before.
 * The bytes of max_idle_bytes that those caches set aside and do not use serve others as well.
 */
#include "support/steal_scene.h"

#include "support/blocks.h"

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
    needs_stealing();
    for (size_t c = 0; c < 3; c += test_scale(1, 2)) {
        for (size_t k = 0; k < 4; k += test_scale(1, 3)) {
            for (enum way way = GET; way < WAYS; way++) {
                test_blocks_t blocks = {0};
                bufferpool_config_t config = config_with(&blocks);
                config.thread_cache_bytes = cached[k] * CAPACITY;
                one_thread_gets(config, caps[c], 0, way);
            }
        }
    }
}

static void one_thread_gets_all_grown_buffers_that_idle_with_sixteen_that_sleep(void **state)
{
    needs_stealing();
    for (size_t cached = 3; cached <= 100; cached += 17) { /* at first they do not fit into a cache at all */
        test_blocks_t blocks = {0};
        bufferpool_config_t config = config_with(&blocks);
        config.thread_cache_bytes = cached * CAPACITY;
        one_thread_gets(config, 40, 5 * CAPACITY, cached % 2 == 0 ? GET : BULK);
    }
}

static void one_thread_gets_all_wiped_buffers_that_idle_with_sixteen_that_sleep(void **state)
{
    needs_stealing();
    for (enum way way = GET; way < WAYS; way++) {
        test_blocks_t blocks = {0};
        bufferpool_config_t config = config_with(&blocks);
        config.thread_cache_bytes = 8 * CAPACITY;
        config.flags = BUFFERPOOL_ZERO;
        one_thread_gets(config, 64, way % 2 * 2 * CAPACITY, way);
    }
}

static void one_thread_gets_all_that_idles_under_max_idle_bytes(void **state)
{
    needs_stealing();
    for (enum way way = GET; way < WAYS; way++) {
        test_blocks_t blocks = {0};
        bufferpool_config_t config = config_with(&blocks);
        config.thread_cache_bytes = 8 * CAPACITY;
        config.max_idle_bytes = 64 * CAPACITY; /* just what they need */
        one_thread_gets(config, 64, 0, way);
    }
}

/* ---- trim, reclaim, the cap ---- */

static void trim_frees_what_idles_with_threads_that_sleep(void **state)
{
    static struct scene scene;
    needs_stealing();
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
    needs_stealing();
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

static void reclaim_leaves_caches_in_use(void **state)
{
    enum { USED = 5 };
    static struct scene scene;
    needs_stealing();
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
    needs_stealing();
    scene_begin(&scene, 64);
    bufferpool_set_max_live(scene.pool, 10);
    assert_int_equal(atomic_load(&scene.blocks.count), 10);
    assert_int_equal(stats_of(scene.pool).reclaimed_bytes, 54 * CAPACITY);
    check_laws(scene.pool, &scene.blocks, 0);
    bufferpool_set_max_live(scene.pool, 64);
    owners_go_on(&scene);
    scene_end(&scene);
}

/* ---- max_idle_bytes ---- */

static void bytes_set_aside_and_not_used_do_not_make_a_put_drop(void **state)
{
    enum { N = 2 * HANDS };
    static struct hand hands[HANDS];
    bufferpool_buf_t *bufs[N + 1];
    needs_stealing();
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
    hand_do(&hands[0], hand_put); /* also for those whose bytes they were */
    assert_int_equal(stats_of(pool).drops_idle_limit, 3);
    assert_int_equal(stats_of(pool).idle_bytes, N * CAPACITY);
    bufferpool_trim(pool);
    hand_do(&hands[0], hand_get);
    hands_do(hands, hand_put); /* what was taken from them they can have again */
    assert_int_equal(stats_of(pool).idle_bytes, N * CAPACITY);
    assert_int_equal(stats_of(pool).drops_idle_limit, 3);
    check_laws(pool, &blocks, 0);
    hands_end(hands);
    destroy_empty(pool, &blocks);
}

/* To the byte: what is left beside many odd sizes is just enough for one more, or a byte too little. */
static void idle_bytes_are_used_to_the_byte(void **state)
{
    static struct hand hands[HANDS];
    needs_stealing();
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

/* A put that finds no room walks at all caches. Where there are many, only some of these puts do; what is set aside and
 * not used is found by the next that does. */
static void few_puts_at_the_limit_look_at_many_caches(void **state)
{
    enum { MANY = 96, N = 2 * MANY, PUTS = 60 };
    static struct hand hands[MANY];
    bufferpool_buf_t *bufs[N + PUTS];
    needs_stealing();
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_limit(&blocks, N * CAPACITY);
    for (unsigned i = 0; i < MANY; i++) {
        hand_begin(&hands[i], pool, i);
        hands[i].want = 1;
        hand_do(&hands[i], hand_get);
    }
    assert_int_equal(bufferpool_get_bulk(pool, bufs, N + PUTS), 0);
    bufferpool_put_bulk(bufs, N);
    assert_int_equal(stats_of(pool).idle_bytes, N * CAPACITY);
    size_t walks = 0;
    for (size_t i = N; i < N + PUTS; i++) {
        const uint32_t skips = load_relaxed(&pool->idle_skips);
        bufferpool_put(bufs[i]);
        walks += load_relaxed(&pool->idle_skips) > skips;
    }
    assert_in_range(walks, PUTS / 4, PUTS / 4 + 1); /* of 97 caches: three puts without a look */
    assert_int_equal(stats_of(pool).drops_idle_limit, PUTS);

    /* eight idle no more, and their bytes are set aside here */
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 8), 0);
    size_t dropped = 0;
    while (hand_do(&hands[0], hand_put), stats_of(pool).drops_idle_limit > PUTS + dropped) {
        dropped++;
        hand_do(&hands[0], hand_get);
    }
    assert_in_range(dropped, 0, 3);
    bufferpool_put_bulk(bufs, 8);
    store_relaxed(&pool->idle_skips, 1000);
    (void)bufferpool_reclaim(pool); /* a new period begins with a look */
    assert_int_equal(load_relaxed(&pool->idle_skips), 0);
    for (unsigned i = 0; i < MANY; i++) {
        hand_do(&hands[i], hand_put);
        hand_end(&hands[i]);
    }
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

int main(void)
{
    test_tell_memcheck_nothing();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread_gets_all_that_idles_with_sixteen_that_sleep),
        cmocka_unit_test(one_thread_gets_all_grown_buffers_that_idle_with_sixteen_that_sleep),
        cmocka_unit_test(one_thread_gets_all_wiped_buffers_that_idle_with_sixteen_that_sleep),
        cmocka_unit_test(one_thread_gets_all_that_idles_under_max_idle_bytes),
        cmocka_unit_test(trim_frees_what_idles_with_threads_that_sleep),
        cmocka_unit_test(reclaim_frees_what_idles_with_threads_that_sleep),
        cmocka_unit_test(reclaim_leaves_caches_in_use),
        cmocka_unit_test(a_lowered_cap_frees_what_idles_with_threads_that_sleep),
        cmocka_unit_test(bytes_set_aside_and_not_used_do_not_make_a_put_drop),
        cmocka_unit_test(idle_bytes_are_used_to_the_byte),
        cmocka_unit_test(few_puts_at_the_limit_look_at_many_caches),
    };
    return cmocka_run_group_tests_name("takeover", tests, NULL, NULL);
}
