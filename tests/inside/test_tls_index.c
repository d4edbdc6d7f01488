/* SPDX-License-Identifier: MIT
 *
 * test_tls_index.c - more pools than a thread's table has entries
 *
 * The pools beyond share the last TLS index, where no table has an entry, and the slow path finds their caches. Still
 * their gets come from the caches, misuse is caught, and two pools do not get each other's buffers if their indexes
 * differ by the size of the table, or if one took the index of the other.
 */
#include "support/accounts.h"
#include "support/hands.h"

#include <unistd.h>

enum { PLACES = TLS_INDEXES, POOLS = 600, THREADS = 3, TURNS = 10, CAPACITY = 128, CACHED = 4 };

static test_blocks_t blocks;
static bufferpool_t *pools[POOLS];

static bufferpool_t *make_one(size_t max_live)
{
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = (size_t)CACHED * CAPACITY;
    config.max_live = max_live;
    return bufferpool_create(&config);
}

static int make_pools(void **state)
{
    (void)state;
    memset(&blocks, 0, sizeof blocks);
    bool ok = true;
    for (size_t p = 0; p < POOLS; p++) {
        pools[p] = make_one(0);
        ok = ok && pools[p] != NULL && pools[p]->index == p + 1; /* the default pool has the first */
    }
    return ok ? 0 : -1;
}

static int drop_pools(void **state)
{
    (void)state;
    bool ok = true;
    for (size_t p = 0; p < POOLS; p++)
        ok = accounts_agree(pools[p]) && bufferpool_destroy(pools[p]) == 0 && ok;
    return ok && atomic_load(&blocks.count) == 0 && atomic_load(&blocks.errors) == 0 ? 0 : -1;
}

static bufferpool_t *at_slot(size_t slot)
{
    return pools[slot - 1];
}

static bool is_of(const bufferpool_buf_t *buf, const bufferpool_t *pool)
{
    uintptr_t word = load_relaxed(&((const struct desc *)(const void *)buf)->word);
    return word == live_word(pool);
}

/* ---- gets come from the cache ---- */

static pthread_barrier_t all_have_caches;

static void use_all(void *arg, unsigned index)
{
    (void)arg;
    bufferpool_buf_t *buf;
    for (size_t p = 0; p < POOLS; p++) {
        buf = bufferpool_get(pools[p]);
        if (!thread_check(buf != NULL && is_of(buf, pools[p])))
            abort();
        bufferpool_put(buf);
    }
    pthread_barrier_wait(&all_have_caches); /* nothing comes to a depot meanwhile */
    for (size_t turn = 0; turn < TURNS; turn++) {
        for (size_t i = 0; i < POOLS; i++) {
            const size_t p = (i * 7 + index) % POOLS;
            errno = 4711;
            buf = turn % 2 ? bufferpool_get(pools[p]) : bufferpool_try_get(pools[p]);
            thread_check(buf != NULL && is_of(buf, pools[p]) && buf->len == 0);
            buf->len = 1;
            memset(buf->data, (int)index, CAPACITY);
            bufferpool_put(buf);
            thread_check(errno == 4711);
        }
    }
    pthread_barrier_wait(&all_have_caches);
}

static void gets_of_pools_beyond_the_tls_table_come_from_the_cache(void **state)
{
    (void)state;
    assert_int_equal(pthread_barrier_init(&all_have_caches, NULL, THREADS), 0);
    run_threads(THREADS, use_all, NULL);
    pthread_barrier_destroy(&all_have_caches);
    for (size_t p = 0; p < POOLS; p++) {
        const bufferpool_stats_t stats = stats_of(pools[p]);
        assert_int_equal(stats.gets_thread, THREADS * TURNS);
        assert_int_equal(stats.gets_fresh, THREADS);
        assert_int_equal(stats.gets_depot, 0);
        assert_int_equal(stats.idle_thread, 0); /* the threads are gone, */
        assert_int_equal(stats.idle_depot, THREADS);
        assert_int_equal(stats.thread_caches, 0); /* and left nothing */
        check_accounts(pools[p]);
    }
}

/* One cache each, however the table of the others grows. */
static void a_thread_has_one_cache_of_each_pool(void **state)
{
    (void)state;
    static const size_t slots[] = {PLACES - 1, PLACES + 44, 2 * PLACES - 2, 2 * PLACES - 1, 2 * PLACES, POOLS};
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++)
        bufferpool_put(bufferpool_get(at_slot(slots[i])));
    bufferpool_put(bufferpool_get(at_slot(599)));
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        bufferpool_put(bufferpool_get(at_slot(slots[i])));
        const bufferpool_stats_t stats = stats_of(at_slot(slots[i]));
        assert_int_equal(stats.thread_caches, 1);
        assert_int_equal(stats.gets_thread, 1);
        assert_int_equal(stats.gets_fresh, 1);
        check_accounts(at_slot(slots[i]));
    }
}

/* ---- they do not get mixed ---- */

static void pools_with_the_same_tls_index_do_not_mix(void **state)
{
    (void)state;
    static const size_t lowest[] = {0, 1, 2, POOLS % PLACES - 1, POOLS % PLACES, PLACES - 2, PLACES - 1};
    for (size_t i = 0; i < sizeof lowest / sizeof lowest[0]; i++) {
        bufferpool_t *of[3] = {NULL};
        bufferpool_buf_t *bufs[3 * CACHED];
        size_t n = 0;
        for (size_t slot = lowest[i]; slot <= POOLS && n < 3; slot += PLACES)
            if (slot > 0)
                of[n++] = at_slot(slot);
        for (size_t k = 0; k < n * CACHED; k++) {
            assert_non_null(bufs[k] = bufferpool_get(of[k % n]));
            assert_true(is_of(bufs[k], of[k % n]));
        }
        for (size_t k = 0; k < n * CACHED; k++)
            bufferpool_put(bufs[k]);
        for (size_t k = 0; k < n; k++) {
            assert_int_equal(stats_of(of[k]).idle_thread, CACHED);
            check_accounts(of[k]);
        }
        for (size_t k = n * CACHED; k-- > 0;) { /* they come from where they went */
            bufferpool_buf_t *again = bufferpool_get(of[k % n]);
            assert_ptr_equal(again, bufs[k]);
            assert_true(is_of(again, of[k % n]));
        }
        for (size_t k = 0; k < n; k++) {
            assert_int_equal(stats_of(of[k]).gets_thread, CACHED);
            check_accounts(of[k]);
        }
        bufferpool_put_bulk(bufs, n * CACHED);
        for (size_t k = 0; k < n; k++)
            (void)bufferpool_trim(of[k]);
    }
}

/* ---- misuse ---- */

static bufferpool_buf_t *get_noted(bufferpool_t *pool)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        _exit(2);
    expect_in_message("%p", (void *)buf);
    expect_in_message("(pool %s)", pool->name);
    return buf;
}

static void put_twice(void *pool)
{
    bufferpool_buf_t *buf = get_noted(pool);
    bufferpool_put(bufferpool_get(pool));
    bufferpool_put(buf);
    bufferpool_put(buf);
}

static void put_again_after_flush(void *pool)
{
    bufferpool_buf_t *buf = get_noted(pool);
    bufferpool_put(buf);
    bufferpool_thread_flush();
    bufferpool_put(buf);
}

static void put_it(void *arg, unsigned index)
{
    (void)index;
    bufferpool_put(arg);
}

static void put_again_in_a_thread(void *pool)
{
    bufferpool_buf_t *buf = get_noted(pool);
    bufferpool_put(buf);
    run_threads(1, put_it, buf);
}

static void put_a_bypass_buffer_twice(void *pool)
{
    if (bufferpool_get(pool) == NULL)
        _exit(2);
    bufferpool_set_max_live(pool, 1);
    bufferpool_buf_t *buf = get_noted(pool);
    bufferpool_put(buf);
    bufferpool_put(buf);
}

static _Alignas(CACHE_LINE) unsigned char foreign[CACHE_LINE];

static void put_a_copy(void *pool)
{
    bufferpool_put(bufferpool_get(pool));
    memcpy(foreign, bufferpool_get(pool), sizeof foreign);
    expect_in_message("%p", (void *)foreign);
    desc_of((bufferpool_buf_t *)(void *)foreign)->word -= (uintptr_t)1
                                                          << (STATE_BITS + TLS_INDEX_BITS); /* another slot's */
    bufferpool_put((bufferpool_buf_t *)(void *)foreign);
}

static void misuse_is_caught_beyond_the_tls_table(void **state)
{
    (void)state;
    static const size_t slots[] = {PLACES - 1, PLACES, 2 * PLACES - 1, POOLS};
    if (TEST_TSAN)
        skip(); /* it can do with 64 locks at once, and fork takes three of each pool */
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        bufferpool_t *pool = at_slot(slots[i]);
        expect_abort(put_twice, pool, "bufferpool_put", "put twice", NULL);
        expect_abort(put_again_after_flush, pool, "bufferpool_put", "put twice", NULL);
        expect_abort(put_again_in_a_thread, pool, "bufferpool_put", "put twice", NULL);
        expect_abort(put_a_bypass_buffer_twice, pool, "bufferpool_put", "put twice", NULL);
        expect_abort(put_a_copy, pool, "bufferpool_put", NULL);
    }
}

/* ---- pools come and go ---- */

static bufferpool_t *shown;

static void hand_uses_it(struct hand *hand)
{
    (void)hand;
    bufferpool_buf_t *buf = bufferpool_get(shown);
    if (!thread_check(buf != NULL && is_of(buf, shown)))
        abort();
    bufferpool_put(buf);
    thread_check(tls_cache_find(shown->index)->pool == shown);
}

static void pool_indexes_are_used_again(void **state)
{
    (void)state;
    static const size_t slots[] = {1, PLACES - 2, PLACES - 1, PLACES, PLACES + 1, 2 * PLACES - 1, 2 * PLACES, POOLS};
    enum { SLOTS = sizeof slots / sizeof slots[0] };
    struct hand hand;
    hand_begin(&hand, NULL, 0);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < SLOTS; i++) {
            shown = at_slot(slots[i]);
            hand_do(&hand, hand_uses_it); /* has a cache, */
            hand_uses_it(NULL);           /* as this thread has */
            assert_int_equal(stats_of(shown).thread_caches, 2);
        }
        for (size_t i = 0; i < SLOTS; i++) {
            assert_int_equal(bufferpool_destroy(at_slot(slots[i])), 0);
            assert_null(tls_cache_find(slots[i])->pool);
        }
        for (size_t i = 0; i < SLOTS; i++) {
            pools[slots[i] - 1] = make_one(0);
            assert_non_null(at_slot(slots[i]));
            assert_int_equal(at_slot(slots[i])->index, slots[i]);
            const bufferpool_stats_t stats = stats_of(at_slot(slots[i]));
            assert_int_equal(idle_of(&stats) + stats.thread_caches + sum_of_gets(&stats), 0);
        }
    }
    hand_end(&hand);
    run_threads(1, hand_nothing, NULL);
}

/* ---- puts alone ---- */

struct parcel {
    bufferpool_buf_t *bufs[2 * CACHED];
    size_t use_before; /* a slot; 0: the thread never used the library */
};

static void put_all(void *arg, unsigned index)
{
    (void)index;
    struct parcel *parcel = arg;
    if (parcel->use_before != 0)
        bufferpool_put(bufferpool_get(at_slot(parcel->use_before)));
    errno = 4711;
    for (size_t i = 0; i < 2 * CACHED; i++)
        bufferpool_put(parcel->bufs[i]);
    thread_check(errno == 4711);
}

static void a_thread_that_only_puts_needs_no_tls_index(void **state)
{
    (void)state;
    static const size_t slots[] = {PLACES - 1, PLACES + 44, 2 * PLACES - 1, POOLS};
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        bufferpool_t *pool = at_slot(slots[i]);
        struct parcel parcel = {.use_before = 0};
        const size_t before[] = {0, 1, slots[i] - (slots[i] > PLACES ? PLACES : PLACES / 2), POOLS - 1};
        for (size_t k = 0; k < sizeof before / sizeof before[0]; k++) {
            parcel.use_before = before[k];
            assert_int_equal(bufferpool_get_bulk(pool, parcel.bufs, 2 * CACHED), 0);
            run_threads(1, put_all, &parcel);
            const bufferpool_stats_t stats = stats_of(pool);
            assert_int_equal(stats.live, 0);
            assert_int_equal(stats.idle_depot, 2 * CACHED);
            assert_int_equal(stats.puts_kept, (k + 1) * 2 * CACHED);
            check_accounts(pool);
            check_laws(pool, NULL, 0);
        }
        assert_int_equal(stats_of(pool).gets_fresh, 2 * CACHED);
    }
}

/* ---- a child of fork ---- */

static int use_them_in_the_child(void *arg)
{
    (void)arg;
    for (size_t slot = PLACES - 6; slot < PLACES + 4; slot++) {
        const uint64_t before = stats_of(at_slot(slot)).gets_thread;
        bufferpool_put(bufferpool_get(at_slot(slot))); /* opens the gate */
        for (int i = 0; i < TURNS; i++)
            bufferpool_put(bufferpool_get(at_slot(slot)));
        const uint64_t gets = stats_of(at_slot(slot)).gets_thread - before;
        if (gets < TURNS || gets > TURNS + 1 || !accounts_agree(at_slot(slot)))
            end_child(1);
    }
    end_child(0);
}

static void a_child_has_the_caches_beyond_the_tls_table(void **state)
{
    (void)state;
    if (TEST_TSAN)
        skip(); /* it can do with 64 locks at once, and fork takes three of each pool */
    for (size_t slot = PLACES - 6; slot < PLACES + 4; slot++)
        bufferpool_put(bufferpool_get(at_slot(slot)));
    assert_int_equal(run_in_child(use_them_in_the_child, NULL, 60), 0);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, make_pools, drop_pools)
    const struct CMUnitTest tests[] = {
        test(gets_of_pools_beyond_the_tls_table_come_from_the_cache),
        test(a_thread_has_one_cache_of_each_pool),
        test(pools_with_the_same_tls_index_do_not_mix),
        test(misuse_is_caught_beyond_the_tls_table),
        test(pool_indexes_are_used_again),
        test(a_thread_that_only_puts_needs_no_tls_index),
        test(a_child_has_the_caches_beyond_the_tls_table),
    };
    return cmocka_run_group_tests_name("places", tests, NULL, NULL);
}
