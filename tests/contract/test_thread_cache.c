/* SPDX-License-Identifier: MIT
 *
 * test_thread_cache.c - the buffers that a thread keeps for itself
 *
 * A cache is bounded in bytes, so grown buffers count for more. On overflow some buffers go to the depot and some stay,
 * so that a thread at the edge does not use the depot with every call. A thread that only gets and a thread that only
 * puts make a cycle that needs no new memory. A flush leaves nothing behind. A thread may use hundreds of pools, and
 * pools may come and go, and others take their indexes, while threads use the rest.
 */
#include "support/laws.h"

enum { CAPACITY = 1024, KEPT = 16, GROWN = 4 * KEPT };

static bufferpool_t *small_pool(test_blocks_t *blocks)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = CAPACITY * KEPT;
    config.max_capacity = 1024 * 1024;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

/* Half of it at first; once more puts have filled it again, all, since the thread is not at the edge. */
static void an_overflow_moves_a_part_at_first_and_then_all(void **state)
{
    enum { N = 5 * KEPT };
    bufferpool_buf_t *bufs[N];
    (void)state;
    if (test_under_valgrind()) /* where memcheck hears of each put, which is then no fast one */
        skip();
    test_blocks_t blocks = {0};
    bufferpool_t *pool = small_pool(&blocks);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
    uint64_t idle_depot = 0;
    unsigned overflows = 0;
    for (size_t i = 0; i < N; i++) {
        const uint64_t kept_before = stats_of(pool).idle_thread;
        bufferpool_put(bufs[i]);
        const bufferpool_stats_t stats = stats_of(pool);
        assert_true(stats.idle_thread <= KEPT);
        if (stats.idle_depot == idle_depot)
            continue;
        assert_int_equal(kept_before, KEPT);
        assert_int_equal(stats.idle_depot - idle_depot, overflows == 0 ? KEPT / 2 : KEPT);
        idle_depot = stats.idle_depot;
        overflows++;
    }
    assert_true(overflows >= 3);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

static void a_thread_at_the_edge_does_not_thrash(void **state)
{
    enum { N = 4 * KEPT };
    bufferpool_buf_t *bufs[N];
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = small_pool(&blocks);
    for (size_t edge = 1; edge < N; edge++) { /* wherever the cache stands */
        assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
        for (size_t i = 0; i < edge; i++)
            bufferpool_put(bufs[i]);
        const bufferpool_stats_t before = stats_of(pool);
        for (int i = 0; i < 100; i++) {
            bufferpool_put(bufs[edge]);
            bufs[edge] = bufferpool_get(pool);
        }
        const bufferpool_stats_t after = stats_of(pool);
        assert_true(after.gets_thread - before.gets_thread >= 99);
        for (size_t i = edge; i < N; i++)
            bufferpool_put(bufs[i]);
    }
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

/* However far it goes to and fro, up to what half a cache can take. */
static void a_thread_that_swings_settles_down(void **state)
{
    enum { N = 4 * KEPT };
    bufferpool_buf_t *bufs[N];
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = small_pool(&blocks);
    for (size_t swing = 1; swing <= KEPT / 2; swing++)
        for (size_t edge = 0; edge + swing <= N; edge++) {
            assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
            bufferpool_put_bulk(bufs, edge);
            const bufferpool_stats_t before = stats_of(pool);
            for (int i = 0; i < 20; i++) {
                bufferpool_put_bulk(bufs + edge, swing);
                for (size_t k = 0; k < swing; k++)
                    assert_non_null(bufs[edge + k] = bufferpool_get(pool));
            }
            const bufferpool_stats_t after = stats_of(pool);
            assert_in_range(after.gets_depot - before.gets_depot, 0, 1);
            bufferpool_put_bulk(bufs + edge, N - edge);
        }
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

static void grown_buffers_count_with_their_bytes(void **state)
{
    enum { N = 20 };
    bufferpool_buf_t *bufs[N];
    (void)state;
    for (size_t factor = 2; factor <= 64; factor *= 2) {
        test_blocks_t blocks = {0};
        bufferpool_t *pool = small_pool(&blocks);
        assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
        uint64_t bytes = 0;
        for (size_t i = 0; i < N; i++)
            assert_int_equal(bufferpool_buf_reserve(bufs[i], CAPACITY * factor), 0);
        for (size_t i = 0; i < N; i++) {
            bytes += bufs[i]->cap;
            bufferpool_put(bufs[i]);
            const bufferpool_stats_t stats = stats_of(pool);
            assert_true(stats.idle_thread <= (KEPT / factor > 1 ? KEPT / factor : 1));
            assert_int_equal(idle_of(&stats), i + 1);
            assert_int_equal(stats.idle_bytes, bytes);
        }
        check_laws(pool, &blocks, 0);
        destroy_empty(pool, &blocks);
    }
}

static void flush_moves_all_to_the_depot(void **state)
{
    enum { N = 10 };
    bufferpool_buf_t *bufs[N];
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pools[3];
    for (int p = 0; p < 3; p++) {
        pools[p] = small_pool(&blocks);
        assert_int_equal(bufferpool_get_bulk(pools[p], bufs, N), 0);
        for (size_t i = 0; i < N - 1; i++)
            bufferpool_put(bufs[i]);
        bufferpool_put(bufs[N - 1]);
        assert_true(stats_of(pools[p]).idle_thread > 0);
    }
    bufferpool_thread_flush();
    for (int p = 0; p < 3; p++) {
        assert_int_equal(stats_of(pools[p]).idle_thread, 0);
        assert_int_equal(stats_of(pools[p]).idle_depot, N);
        bufferpool_buf_t *buf = bufferpool_get(pools[p]); /* and from there it comes again */
        assert_int_equal(stats_of(pools[p]).gets_depot, 1);
        bufferpool_put(buf);
        check_laws(pools[p], NULL, 0);
        assert_int_equal(bufferpool_destroy(pools[p]), 0);
    }
    bufferpool_thread_flush();
    assert_int_equal(atomic_load(&blocks.count), 0);
}

/* ---- one gets, another puts ---- */

enum { BELT = 32 };

struct belt {
    bufferpool_t *pool;
    size_t turns;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    size_t head, tail;
    bufferpool_buf_t *bufs[BELT];
};

static void at_the_belt(void *arg, unsigned index)
{
    struct belt *belt = arg;
    for (uint64_t turn = 0; turn < belt->turns; turn++) {
        bufferpool_buf_t *buf = NULL;
        if (index == 0) {
            buf = bufferpool_get(belt->pool);
            if (!thread_check(buf != NULL))
                abort();
            memcpy(buf->data, &turn, sizeof turn);
        }
        pthread_mutex_lock(&belt->lock);
        while (index == 0 ? belt->head - belt->tail == BELT : belt->head == belt->tail) {
            pthread_cond_wait(&belt->moved, &belt->lock);
        }
        if (index == 0) {
            belt->bufs[belt->head++ % BELT] = buf;
        } else {
            buf = belt->bufs[belt->tail++ % BELT];
        }
        pthread_cond_signal(&belt->moved);
        pthread_mutex_unlock(&belt->lock);
        if (index == 1) {
            thread_check(memcmp(buf->data, &turn, sizeof turn) == 0);
            bufferpool_put(buf);
        }
    }
}

static void a_thread_that_gets_and_one_that_puts_need_no_new_memory(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct belt belt = {.pool = small_pool(&blocks), .turns = test_scale(100000, 3000)};
    pthread_mutex_init(&belt.lock, NULL);
    pthread_cond_init(&belt.moved, NULL);
    run_threads(2, at_the_belt, &belt);
    const bufferpool_stats_t stats = stats_of(belt.pool);
    /* a buffer is made only when the depot is empty: then all are on the belt, in a hand or in the two caches, which
     * have grown */
    assert_in_range(atomic_load(&blocks.peak), 2, BELT + 2 + 2 * GROWN);
    assert_true(stats.gets_depot > 0);
    assert_int_equal(sum_of_gets(&stats), belt.turns);
    check_laws(belt.pool, &blocks, 0);
    destroy_empty(belt.pool, &blocks);
    pthread_cond_destroy(&belt.moved);
    pthread_mutex_destroy(&belt.lock);
}

/* ---- many pools ---- */

enum { POOLS = 300 };

struct many {
    test_blocks_t blocks;
    bufferpool_t *pools[POOLS];
    size_t rounds;
};

static void use_every_pool(void *arg, unsigned index)
{
    struct many *many = arg;
    for (size_t round = 0; round < many->rounds; round++) {
        for (size_t p = 0; p < POOLS; p++) {
            const uint64_t mine = (uint64_t)index << 32 | p;
            bufferpool_buf_t *buf = bufferpool_get(many->pools[(p * 7 + index) % POOLS]);
            if (!thread_check(buf != NULL))
                return;
            memcpy(buf->data, &mine, sizeof mine);
            buf->len = sizeof mine;
            if (p % 50 == 0)
                thread_check(bufferpool_buf_reserve(buf, 2 * CAPACITY) == 0);
            thread_check(memcmp(buf->data, &mine, sizeof mine) == 0);
            bufferpool_put(buf);
        }
        if (round % 4 == index)
            bufferpool_thread_flush();
    }
}

static void a_thread_may_use_hundreds_of_pools(void **state)
{
    (void)state;
    struct many *many = calloc(1, sizeof *many);
    assert_non_null(many);
    many->rounds = test_scale(50, 4);
    for (size_t p = 0; p < POOLS; p++)
        many->pools[p] = small_pool(&many->blocks);
    run_threads(4, use_every_pool, many);
    size_t idle = 0;
    for (size_t p = 0; p < POOLS; p++) {
        const bufferpool_stats_t stats = stats_of(many->pools[p]);
        check_laws(many->pools[p], NULL, 0);
        assert_int_equal(sum_of_gets(&stats), 4 * many->rounds);
        assert_int_equal(stats.idle_thread, 0);
        idle += (size_t)idle_of(&stats);
    }
    assert_int_equal(atomic_load(&many->blocks.count), idle);
    for (size_t p = 0; p < POOLS; p++)
        assert_int_equal(bufferpool_destroy(many->pools[p]), 0);
    assert_int_equal(atomic_load(&many->blocks.count), 0);
    free(many);
}

struct churn {
    bufferpool_t *steady;
    test_blocks_t blocks;
    size_t turns;
    atomic_size_t churning;
    atomic_size_t gets;
};

/* Threads 0 and 1 make pools, use and destroy them; the others use the steady pool meanwhile. */
static void come_and_go(void *arg, unsigned index)
{
    struct churn *churn = arg;
    if (index < 2) {
        for (size_t turn = 0; turn < churn->turns; turn++) {
            bufferpool_config_t config = config_with(&churn->blocks);
            config.buffer_capacity = 64 + turn % 4 * 1000;
            bufferpool_t *pool = bufferpool_create(&config);
            if (!thread_check(pool != NULL))
                break;
            bufferpool_buf_t *bufs[3] = {bufferpool_get(pool), bufferpool_get(pool), bufferpool_get(pool)};
            for (int i = 0; i < 3; i++) {
                thread_check(bufs[i]->cap >= config.buffer_capacity && bufs[i]->len == 0);
                memset(bufs[i]->data, (int)index, bufs[i]->cap);
            }
            thread_check(stats_of(pool).gets_fresh == 3); /* nothing of a pool that was here before */
            bufferpool_put_bulk(bufs, 2);
            thread_check(bufferpool_destroy(pool) == EBUSY);
            bufferpool_put(bufs[2]);
            thread_check(stats_of(pool).idle_thread == 3);
            thread_check(bufferpool_destroy(pool) == 0);
        }
        atomic_fetch_sub(&churn->churning, 1);
        return;
    }
    while (atomic_load(&churn->churning) > 0) {
        bufferpool_buf_t *a = bufferpool_get(churn->steady);
        bufferpool_buf_t *b = bufferpool_get(churn->steady);
        atomic_fetch_add(&churn->gets, 2);
        if (!thread_check(a != NULL && b != NULL && a->cap >= CAPACITY && b->cap >= CAPACITY))
            return;
        memset(a->data, (int)index, CAPACITY);
        memset(b->data, (int)index + 100, CAPACITY);
        thread_check(a->data[CAPACITY - 1] == index && b->data[0] == index + 100);
        bufferpool_put(b);
        bufferpool_put(a);
        if (atomic_load(&churn->gets) % 64 == 0)
            bufferpool_thread_flush(); /* walks past the pools that come and go */
    }
}

static void pools_come_and_go_beside_threads_that_use_others(void **state)
{
    (void)state;
    test_blocks_t steady_blocks = {0};
    struct churn churn = {.steady = small_pool(&steady_blocks), .turns = test_scale(3000, 200), .churning = 2};
    run_threads(5, come_and_go, &churn);
    assert_int_equal(atomic_load(&churn.blocks.count), 0);
    assert_int_equal(atomic_load(&churn.blocks.errors), 0);
    const bufferpool_stats_t stats = stats_of(churn.steady);
    assert_int_equal(sum_of_gets(&stats), atomic_load(&churn.gets));
    check_laws(churn.steady, &steady_blocks, 0);
    destroy_empty(churn.steady, &steady_blocks);
}

/* Flushing walks over all pools that the thread ever used; one of them may be destroyed just then, by another
 * thread. */
struct ending {
    bufferpool_t *pools[32];
    test_blocks_t blocks;
    pthread_barrier_t used;
    atomic_bool over;
};

static void flush_or_destroy(void *arg, unsigned index)
{
    struct ending *ending = arg;
    for (size_t p = 0; p < 32; p++)
        bufferpool_put(bufferpool_get(ending->pools[p]));
    pthread_barrier_wait(&ending->used);
    if (index == 0) {
        for (size_t p = 0; p < 32; p++)
            thread_check(bufferpool_destroy(ending->pools[p]) == 0);
        atomic_store(&ending->over, true);
    }
    while (!atomic_load(&ending->over))
        bufferpool_thread_flush();
}

static void a_flush_may_run_beside_the_end_of_a_pool(void **state)
{
    (void)state;
    const size_t rounds = test_scale(100, 10);
    for (size_t round = 0; round < rounds; round++) {
        struct ending ending = {.over = false};
        for (size_t p = 0; p < 32; p++)
            ending.pools[p] = small_pool(&ending.blocks);
        assert_int_equal(pthread_barrier_init(&ending.used, NULL, 4), 0);
        run_threads(4, flush_or_destroy, &ending);
        assert_int_equal(atomic_load(&ending.blocks.count), 0);
        pthread_barrier_destroy(&ending.used);
    }
}

/* Whatever thread_cache_bytes has room for. */
static void a_cache_never_holds_more_than_4096(void **state)
{
    enum { N = 3 * 4096 };
    static bufferpool_buf_t *bufs[N];
    (void)state;
    bufferpool_t *pool =
        bufferpool_create(BUFFERPOOL_CONFIG(.buffer_capacity = CAPACITY, .thread_cache_bytes = (size_t)64 << 20));
    assert_non_null(pool);
    for (unsigned turn = 0; turn < 4; turn++) { /* for a cache that would grow with its use */
        assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
        uint64_t most = 0;
        for (size_t i = 0; i < N; i++) {
            bufferpool_put(bufs[i]);
            const uint64_t idle = i % 64 == 0 || i > N - 64 ? stats_of(pool).idle_thread : 0;
            most = idle > most ? idle : most;
        }
        assert_in_range(most, 4096 - 64, 4096);
    }
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* Four times as many buffers of one byte as the cache may come to hold make 0 here, modulo 2^64 or 2^32. */
static void a_cache_of_any_size_holds_something(void **state)
{
    static const size_t capacities[] = {1, 2, 4096};
    static const size_t sizes[] = {SIZE_MAX / 4 + 1, SIZE_MAX / 2 + 1, SIZE_MAX - SIZE_MAX / 4, SIZE_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
        for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
            bufferpool_t *pool =
                bufferpool_create(BUFFERPOOL_CONFIG(.buffer_capacity = capacities[i], .thread_cache_bytes = sizes[j]));
            assert_non_null(pool);
            bufferpool_buf_t *bufs[8];
            for (unsigned turn = 0; turn < 4; turn++) {
                assert_int_equal(bufferpool_get_bulk(pool, bufs, 8), 0);
                for (size_t n = 0; n < 8; n++)
                    bufferpool_put(bufs[n]);
            }
            assert_int_equal(stats_of(pool).idle_thread, 8);
            assert_int_equal(bufferpool_destroy(pool), 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_overflow_moves_a_part_at_first_and_then_all),
        cmocka_unit_test(a_thread_at_the_edge_does_not_thrash),
        cmocka_unit_test(a_thread_that_swings_settles_down),
        cmocka_unit_test(grown_buffers_count_with_their_bytes),
        cmocka_unit_test(flush_moves_all_to_the_depot),
        cmocka_unit_test(a_thread_that_gets_and_one_that_puts_need_no_new_memory),
        cmocka_unit_test(a_thread_may_use_hundreds_of_pools),
        cmocka_unit_test(pools_come_and_go_beside_threads_that_use_others),
        cmocka_unit_test(a_flush_may_run_beside_the_end_of_a_pool),
        cmocka_unit_test(a_cache_never_holds_more_than_4096),
        cmocka_unit_test(a_cache_of_any_size_holds_something),
    };
    return cmocka_run_group_tests_name("thread_cache", tests, NULL, NULL);
}
