/* SPDX-License-Identifier: MIT
 *
 * test_laws.c - the conservation laws after everything at once
 *
 * Eight threads make a random mix of all calls on three pools that differ in cap, idle limit and cache size: growth,
 * drops of every kind, bulk calls, buffers that go from thread to thread, trims, flushes and changes of the cap. After
 * each round no call runs, and each figure must fit: the laws of the header, the puts and gets that the threads
 * counted, the blocks that the allocator hook counted, and the buffers that the test still holds.
 */
#include "support/laws.h"

enum { THREADS = 8, POOLS = 3, HELD = 12, SHELF = 32, CAP = 12 };

struct world {
    bufferpool_t *pools[POOLS];
    test_blocks_t blocks[POOLS];
    size_t turns;
    uint64_t seed;
    atomic_size_t gets[POOLS];
    atomic_size_t puts[POOLS];
    atomic_size_t refused[POOLS];
    atomic_size_t grown[POOLS];
    _Atomic(bufferpool_buf_t *) shelf[SHELF]; /* where threads leave buffers for others */
};

/* In the first bytes of each buffer held: which pool it is of, and a check of that. */
struct tag {
    uint64_t pool;
    uint64_t inverse;
};

static bool tag(bufferpool_buf_t *buf, uint64_t pool)
{
    const struct tag tag = {pool, ~pool};
    if (!thread_check(buf != NULL) || !thread_check(buf->len == 0))
        return false;
    return thread_check(bufferpool_buf_append(buf, &tag, sizeof tag) == 0);
}

static size_t pool_of(const bufferpool_buf_t *buf)
{
    struct tag tag;
    memcpy(&tag, buf->data, sizeof tag);
    thread_check(tag.pool < POOLS && tag.inverse == ~tag.pool);
    return tag.pool < POOLS ? (size_t)tag.pool : 0;
}

static void give_back(struct world *world, bufferpool_buf_t *buf)
{
    atomic_fetch_add(&world->puts[pool_of(buf)], 1);
    bufferpool_put(buf);
}

static void get_some(struct world *world, bufferpool_buf_t **held, size_t p, unsigned how)
{
    if (how == 0) {
        bufferpool_buf_t *bufs[5];
        size_t n = 0;
        for (size_t i = 0; i < HELD && n < 5; i++)
            n += held[i] == NULL;
        if (!thread_check(bufferpool_get_bulk(world->pools[p], bufs, n) == 0))
            return;
        atomic_fetch_add(&world->gets[p], n);
        for (size_t i = 0; n > 0; i++) {
            if (held[i] == NULL)
                tag(held[i] = bufs[--n], p);
        }
        return;
    }
    for (size_t i = 0; i < HELD; i++) {
        if (held[i] != NULL)
            continue;
        held[i] = how == 1 ? bufferpool_try_get(world->pools[p]) : bufferpool_get(world->pools[p]);
        if (held[i] == NULL) {
            thread_check(how == 1 && errno == EAGAIN);
            atomic_fetch_add(&world->refused[p], 1);
        } else {
            atomic_fetch_add(&world->gets[p], 1);
            tag(held[i], p);
        }
        return;
    }
}

static void grow_one(struct world *world, bufferpool_buf_t *buf, test_random_t *random)
{
    static const char text[600] = {'t', 'e', 'x', 't'};
    const size_t cap = buf->cap;
    const size_t p = pool_of(buf);
    switch (test_random_below(random, 3)) {
    case 0:
        thread_check(bufferpool_buf_reserve(buf, 1 + test_random_below(random, 20000)) == 0);
        break;
    case 1:
        thread_check(bufferpool_buf_append(buf, text, sizeof text) == 0);
        break;
    default:
        thread_check(bufferpool_buf_printf(buf, "%0300d", 7) == 0);
        break;
    }
    thread_check(pool_of(buf) == p);
    thread_check(bufferpool_buf_from_data(buf->data) == buf);
    if (buf->cap != cap)
        atomic_fetch_add(&world->grown[p], 1);
}

static void one_turn(struct world *world, bufferpool_buf_t **held, test_random_t *random)
{
    const size_t i = test_random_below(random, HELD);
    const size_t p = test_random_below(random, POOLS);
    const size_t dice = test_random_below(random, 1000);
    if (dice < 400) {
        get_some(world, held, p, (unsigned)test_random_below(random, 6));
    } else if (dice < 700) {
        if (held[i] != NULL)
            give_back(world, held[i]);
        held[i] = NULL;
    } else if (dice < 800) {
        if (held[i] != NULL)
            grow_one(world, held[i], random);
    } else if (dice < 930) { /* swap with what lies on the shelf */
        held[i] = atomic_exchange(&world->shelf[test_random_below(random, SHELF)], held[i]);
    } else if (dice < 960) {
        for (size_t k = 0; k < HELD; k++) {
            if (held[k] != NULL)
                atomic_fetch_add(&world->puts[pool_of(held[k])], 1);
        }
        bufferpool_put_bulk(held, HELD); /* of all pools, with NULLs */
        memset(held, 0, HELD * sizeof held[0]);
    } else if (dice < 975) {
        bufferpool_trim(world->pools[p]);
    } else if (dice < 985) {
        bufferpool_thread_flush();
    } else if (dice < 995) {
        thread_check(bufferpool_live(world->pools[p]) < 10000);
    } else if (p == 2) {
        bufferpool_set_max_live(world->pools[p], test_random_below(random, 60));
    }
}

static void live_through_a_round(void *arg, unsigned index)
{
    struct world *world = arg;
    bufferpool_buf_t *held[HELD] = {NULL};
    test_random_t random = {world->seed * 1000 + index};
    for (size_t turn = 0; turn < world->turns; turn++)
        one_turn(world, held, &random);
    for (size_t i = 0; i < HELD; i++) {
        if (held[i] != NULL)
            give_back(world, held[i]);
    }
}

static void check_world(struct world *world)
{
    size_t held[POOLS] = {0};
    for (size_t i = 0; i < SHELF; i++) {
        const bufferpool_buf_t *buf = atomic_load(&world->shelf[i]);
        if (buf != NULL)
            held[pool_of(buf)]++;
    }
    for (size_t p = 0; p < POOLS; p++) {
        const bufferpool_stats_t stats = stats_of(world->pools[p]);
        check_laws(world->pools[p], &world->blocks[p], held[p]);
        assert_int_equal(sum_of_gets(&stats), atomic_load(&world->gets[p]));
        assert_int_equal(sum_of_puts(&stats), atomic_load(&world->puts[p]));
        assert_int_equal(stats.gets_refused, atomic_load(&world->refused[p]));
        assert_int_equal(stats.grows, atomic_load(&world->grown[p]));
        assert_int_equal(stats.idle_thread, 0); /* the threads are gone */
    }
    const bufferpool_stats_t of_cap = stats_of(world->pools[0]);
    assert_true(of_cap.live + idle_of(&of_cap) <= CAP);
    assert_true(stats_of(world->pools[1]).idle_bytes <= 20000);
}

static void make_world(struct world *world)
{
    memset(world, 0, sizeof *world);
    for (size_t p = 0; p < POOLS; p++) {
        bufferpool_config_t config = config_with(&world->blocks[p]);
        config.buffer_capacity = 512;
        config.max_capacity = 8192;
        config.thread_cache_bytes = p == 0 ? 512 : 4096;
        config.max_live = p == 0 ? CAP : p == 2 ? 50 : 0;
        config.max_idle_bytes = p == 1 ? 20000 : 0;
        world->pools[p] = bufferpool_create(&config);
        assert_non_null(world->pools[p]);
    }
}

/* Whether each of the things that can happen to a buffer has happened. */
static bool all_came_to_pass(const struct world *world)
{
    const bufferpool_stats_t of_cap = stats_of(world->pools[0]);
    const bufferpool_stats_t of_limit = stats_of(world->pools[1]);
    const bufferpool_stats_t of_changes = stats_of(world->pools[2]);
    return of_cap.gets_bypass > 0 && of_cap.drops_over_cap > 0 && of_cap.gets_refused > 0 &&
           of_limit.drops_idle_limit > 0 && of_limit.drops_oversize > 0 && of_limit.grows > 0 &&
           of_changes.drops_over_cap > 0 && of_changes.reclaimed_bytes > 0 && of_changes.gets_depot > 0;
}

static void laws_hold_after_every_mix_of_calls(void **state)
{
    (void)state;
    struct world *world = malloc(sizeof *world);
    assert_non_null(world);
    make_world(world);
    world->turns = test_scale(10000, 500);
    const size_t rounds = test_scale(30, 5);
    /* few rounds may miss some of it, as threads take turns */
    for (world->seed = 1; world->seed <= rounds || (!all_came_to_pass(world) && world->seed < 1000); world->seed++) {
        run_threads(THREADS, live_through_a_round, world);
        check_world(world);
    }
    assert_true(all_came_to_pass(world));

    for (size_t i = 0; i < SHELF; i++) {
        bufferpool_buf_t *buf = atomic_load(&world->shelf[i]);
        if (buf != NULL)
            give_back(world, buf);
    }
    for (size_t p = 0; p < POOLS; p++) {
        check_laws(world->pools[p], &world->blocks[p], 0);
        destroy_empty(world->pools[p], &world->blocks[p]);
    }
    free(world);
}

/* The twin without threads: the same mix, checked after every single call. */
static void laws_hold_after_each_call_of_one_thread(void **state)
{
    (void)state;
    bufferpool_buf_t *held[HELD] = {NULL};
    test_random_t random = {77};
    struct world *world = malloc(sizeof *world);
    assert_non_null(world);
    make_world(world);
    const size_t turns = test_scale(20000, 3000);
    for (size_t turn = 0; turn < turns; turn++) {
        size_t out[POOLS] = {0};
        one_turn(world, held, &random);
        for (size_t i = 0; i < HELD; i++) {
            if (held[i] != NULL)
                out[pool_of(held[i])]++;
        }
        for (size_t i = 0; i < SHELF; i++) {
            const bufferpool_buf_t *buf = atomic_load(&world->shelf[i]);
            if (buf != NULL)
                out[pool_of(buf)]++;
        }
        for (size_t p = 0; p < POOLS; p++)
            check_laws(world->pools[p], &world->blocks[p], out[p]);
    }
    assert_false(test_recorded_failure());
    for (size_t i = 0; i < SHELF; i++)
        bufferpool_put(atomic_load(&world->shelf[i]));
    bufferpool_put_bulk(held, HELD);
    for (size_t p = 0; p < POOLS; p++)
        destroy_empty(world->pools[p], &world->blocks[p]);
    free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(laws_hold_after_each_call_of_one_thread),
        cmocka_unit_test(laws_hold_after_every_mix_of_calls),
    };
    return cmocka_run_group_tests_name("laws", tests, NULL, NULL);
}
