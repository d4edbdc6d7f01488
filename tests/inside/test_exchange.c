/* SPDX-License-Identifier: MIT
 *
 * test_exchange.c - an empty or a full cache exchanges a magazine with the depot
 *
 * Caches of every size around the size of a magazine lose nothing and hand nothing out twice, in any order of calls,
 * and keep errno. Grown buffers that do not fit, or that come when the gate is closed, stay in the depot, and every
 * account of bytes is right. A thread that begins to wait in the middle of an exchange gets what the exchange gives
 * back. A child of fork counts the buffers that were on their way. Calls are stopped before each of their atomic
 * operations.
 */
#include "support/accounts.h"
#include "support/blocks.h"
#include "support/hands.h"

#include "pressure.h"
#include "tls_cache.h"

#include <sched.h>

enum { CAPACITY = 128 };

static test_blocks_t blocks;
static bufferpool_t *pool;

static _Thread_local int steps_left;
static _Thread_local void (*at_step)(void); /* at the one after so many */

void a_step(void)
{
    if (at_step == NULL || !pool_is_unlocked(pool) || steps_left-- > 0)
        return;
    void (*hook)(void) = at_step;
    at_step = NULL;
    hook();
}

static void begin(size_t cached, size_t max_live, size_t max_idle_bytes)
{
    memset(&blocks, 0, sizeof blocks);
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = cached * CAPACITY;
    config.max_live = max_live;
    config.max_idle_bytes = max_idle_bytes;
    pool = bufferpool_create(&config);
    assert_non_null(pool);
}

static void end(void)
{
    check_accounts(pool);
    check_laws(pool, &blocks, 0);
    bufferpool_thread_flush();
    if (pool->max_idle_bytes != 0)
        assert_int_equal(load_relaxed(&pool->idle_reserved), stats_of(pool).idle_bytes);
    destroy_empty(pool, &blocks);
}

/* ---- caches of every size ---- */

enum { MANY = 3 * 200 + 5 };

static const size_t sizes[] = {1, 2, 3, 16, 31, 32, 33, 63, 64, 65, 200};
static bufferpool_buf_t *bufs[MANY];

/* The stamps tell a buffer that was handed out twice. */
static void get_all(size_t n, uint64_t round)
{
    for (size_t i = 0; i < n; i++) {
        errno = 4711;
        bufs[i] = bufferpool_get(pool);
        assert_non_null(bufs[i]);
        assert_int_equal(errno, 4711);
        assert_int_equal(bufs[i]->len, 0);
        const uint64_t stamp = round << 32 | i;
        memcpy(bufs[i]->data, &stamp, sizeof stamp);
        assert_int_equal(stats_of(pool).live, i + 1);
    }
    for (size_t i = 0; i < n; i++)
        assert_memory_equal(bufs[i]->data, &(uint64_t){round << 32 | i}, 8);
    check_accounts(pool);
}

static void put_all(size_t n, bool from_the_first)
{
    for (size_t i = 0; i < n; i++) {
        errno = 4711;
        bufferpool_put(bufs[from_the_first ? i : n - 1 - i]);
        assert_int_equal(errno, 4711);
        const bufferpool_stats_t stats = stats_of(pool);
        assert_int_equal(idle_of(&stats), i + 1);
        assert_in_range(stats.idle_thread, 1, tls_cache_find(pool->index)->allowance / CAPACITY);
    }
    check_accounts(pool);
}

static void no_buffer_is_lost_or_handed_out_twice(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const size_t n = 3 * sizes[s] + 5;
        begin(sizes[s], 0, 0);
        assert_int_equal(pool->cache_entries, ALLOWANCE_MOST * sizes[s]);
        for (uint64_t round = 0; round < 5; round++) {
            get_all(n, round);
            const bufferpool_stats_t stats = stats_of(pool);
            assert_int_equal(stats.gets_fresh, n); /* of the first round */
            assert_int_equal(stats.gets_thread + stats.gets_depot, round * n);
            put_all(n, round % 2 == 0);
            if (round == 2)
                bufferpool_thread_flush();
        }
        end();
    }
}

/* The warmest is the first to come again, also out of the depot. */
static void the_buffer_put_last_comes_first(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        begin(sizes[s], 0, 0);
        for (size_t i = 0; i < sizes[s]; i++)
            bufs[i] = bufferpool_get(pool);
        put_all(sizes[s], true);
        bufferpool_thread_flush();
        for (size_t i = sizes[s]; i-- > 0;)
            assert_ptr_equal(bufferpool_get(pool), bufs[i]);
        bufferpool_put_bulk(bufs, sizes[s]);
        end();
    }
}

/* What leaves a cache goes in as few magazines as may be, and none is larger than a magazine can be. */
static void a_cache_leaves_in_magazines(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        begin(sizes[s], 0, 0);
        for (size_t i = 0; i < sizes[s]; i++)
            bufs[i] = bufferpool_get(pool);
        put_all(sizes[s], true);
        bufferpool_thread_flush();
        struct magazine taken[MANY];
        size_t n = 0;
        size_t sum = 0;
        while ((taken[n] = depot_pop_some(&pool->depot, &pool->heap.table, 0)).head != NULL) {
            assert_in_range(taken[n].n, 1, MAGAZINE_MAX);
            assert_false(taken[n].grown);
            sum += taken[n++].n;
        }
        assert_int_equal(sum, sizes[s]);
        assert_int_equal(n, (sizes[s] + MAGAZINE_MAX - 1) / MAGAZINE_MAX);
        while (n > 0) {
            struct desc *descs[MAGAZINE_MAX];
            magazine_open(&taken[--n], &pool->heap.table, descs);
            depot_restore(&pool->depot, &pool->heap.table, descs, taken[n].n, false);
        }
        end();
    }
}

/* Of an exchange the cache keeps a half, so that the next calls need none. */
static void an_exchange_is_good_for_many_calls(void **state)
{
    (void)state;
    for (size_t s = 1; s < sizeof sizes / sizeof sizes[0]; s++) {
        const size_t n = 3 * sizes[s] + 5;
        begin(sizes[s], 0, 0);
        get_all(n, 0);
        put_all(n, true);
        const bufferpool_stats_t before = stats_of(pool);
        get_all(n, 1);
        const bufferpool_stats_t after = stats_of(pool);
        const size_t half = (sizes[s] + 1) / 2;
        const size_t pieces = (half + MAGAZINE_MAX - 1) / MAGAZINE_MAX;
        assert_in_range(after.gets_depot - before.gets_depot, 1, pieces * (n / half + 1));
        put_all(n, false);
        end();
    }
}

/* ---- a cap that is lowered meanwhile ---- */

static int second_step;

static void free_changes_errno(test_blocks_t *of, const unsigned char *block, size_t size)
{
    (void)of;
    (void)block;
    (void)size;
    errno = EXDEV;
}

static void *lower_to(void *cap)
{
    bufferpool_set_max_live(pool, (size_t)(uintptr_t)cap);
    return NULL;
}

static void somebody_lowers_to(uintptr_t cap)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, lower_to, (void *)cap), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void somebody_lowers_it_more(void)
{
    somebody_lowers_to(4);
}

static void somebody_lowers_it(void)
{
    somebody_lowers_to(7); /* shuts the gate, so the get restores what it does not need */
    steps_left = second_step;
    at_step = somebody_lowers_it_more;
}

/* Callers have four. However a get is met, nothing lies in the depot beyond a cap of four when it is over. */
static void an_exchange_leaves_nothing_beyond_a_cap_that_was_lowered_meanwhile(void **state)
{
    (void)state;
    enum { HELD = 4, IN_DEPOT = 4 };
    int step = 0;
    for (bool reached = true; reached; step++) {
        second_step = 0;
        for (bool both = true; both; second_step++) {
            begin(16, HELD + IN_DEPOT, 0);
            assert_int_equal(bufferpool_get_bulk(pool, bufs, HELD + IN_DEPOT), 0);
            bufferpool_put_bulk(bufs + HELD, IN_DEPOT);
            bufferpool_thread_flush();
            assert_int_equal(stats_of(pool).idle_depot, IN_DEPOT);
            blocks.on_free = free_changes_errno;
            errno = 4711;
            steps_left = step;
            at_step = somebody_lowers_it;
            bufs[HELD] = bufferpool_get(pool);
            assert_int_equal(errno, 4711);
            reached = at_step != somebody_lowers_it;
            both = at_step == NULL && reached;
            at_step = NULL;
            assert_non_null(bufs[HELD]);
            if (both)
                assert_int_equal(stats_of(pool).idle_depot, 0);
            assert_true(accounts_add_up(pool));
            bufferpool_put(bufs[HELD]);
            check_accounts(pool);
            const bufferpool_stats_t stats = stats_of(pool);
            if (both) /* what was in the cache when its owner was inside has gone with its next call */
                assert_int_equal(idle_of(&stats), 0);
            bufferpool_put_bulk(bufs, HELD);
            end();
        }
    }
    assert_true(step > 10);
}

/* ---- errno ---- */

static void *alloc_with_errno(size_t size, size_t align, void *ctx)
{
    void *block = test_blocks_alloc(size, align, ctx);
    errno = EIO;
    return block;
}

static void free_with_errno(void *block, size_t size, void *ctx)
{
    test_blocks_free(block, size, ctx);
    errno = EIO;
}

/* Reclaiming and a thread in the background come about in exchanges; hooks do as they like. */
static void errno_is_kept_over_reclaims_and_hooks(void **state)
{
    (void)state;
    enum { CACHED = 4, N = 4 * CACHED, CAP = 12 };
    for (unsigned flags = 0; flags <= (BUFFERPOOL_BACKGROUND | BUFFERPOOL_ZERO); flags++) {
        if ((flags & ~(unsigned)(BUFFERPOOL_BACKGROUND | BUFFERPOOL_ZERO)) != 0)
            continue;
        memset(&blocks, 0, sizeof blocks);
        bufferpool_config_t config = config_with(&blocks);
        config.alloc = alloc_with_errno;
        config.free = free_with_errno;
        config.buffer_capacity = CAPACITY;
        config.thread_cache_bytes = (size_t)CACHED * CAPACITY;
        config.reclaim_interval_ms = 1;
        config.flags = flags;
        pool = bufferpool_create(&config);
        assert_non_null(pool);
        for (int round = 0; round < 20; round++) {
            bufferpool_set_max_live(pool, round % 4 == 3 ? CAP : 0); /* some bypass, some are dropped */
            for (size_t i = 0; i < N; i++) {
                errno = 4711;
                assert_non_null(bufs[i] = bufferpool_get(pool));
                assert_int_equal(errno, 4711);
            }
            if (round % 2 == 1)
                bufferpool_set_max_live(pool, CAP);
            for (size_t i = 0; i < N; i++) {
                errno = 4711;
                bufferpool_put(bufs[i]);
                assert_int_equal(errno, 4711);
            }
        }
        const bufferpool_stats_t stats = stats_of(pool);
        assert_true(stats.gets_bypass > 0 && stats.drops_bypass == 0 && stats.drops_over_cap >= stats.gets_bypass);
        destroy_empty(pool, &blocks);
    }
}

/* ---- grown buffers ---- */

/* `grow` bytes each, in one magazine, as fork makes them, which knows nothing of caches; the last is plain. */
static void one_magazine(size_t n, size_t grow)
{
    struct cache *c = &pool->shared;
    struct desc *descs[MAGAZINE_MAX];
    size_t extra = 0;
    size_t bytes = 0;
    assert_int_equal(bufferpool_get_bulk(pool, bufs, n), 0);
    for (size_t i = 0; i < n; i++) {
        if (grow > CAPACITY && i + 1 < n)
            assert_int_equal(bufferpool_buf_reserve(bufs[i], grow), 0);
        bufs[i]->len = bufs[i]->cap; /* used well */
        memset(bufs[i]->data, (int)i + 1, bufs[i]->cap);
    }
    for (size_t i = 0; i < n; i++) {
        descs[i] = desc_of(bufs[i]);
        bytes += descs[i]->pub.cap;
        extra += descs[i]->pub.cap - CAPACITY;
        store_relaxed(&descs[i]->word, load_relaxed(&descs[i]->word) - (STATE_LIVE - STATE_IDLE));
    }
    bufferpool_thread_flush(); /* what it set aside is free again */
    if (pool->max_idle_bytes != 0)
        assert_true(add_relaxed(&pool->idle_reserved, bytes) + bytes <= pool->max_idle_bytes);
    cache_moved(pool, c, -(int32_t)n);
    add_relaxed(&pool->depot.extra, extra);
    depot_push(&pool->depot, &pool->heap.table, descs, (uint32_t)n, extra != 0);
    check_accounts(pool);
}

static void grown_buffers_that_do_not_fit_stay_in_the_depot(void **state)
{
    (void)state;
    enum { CACHED = 8 };
    for (int limited = 0; limited < 2; limited++) {
        for (size_t times = 1; times <= 10; times++) {
            for (size_t n = 1; n <= MAGAZINE_MAX; n += 1 + n / 4) {
                begin(CACHED, 0, limited ? 800 * CAPACITY : 0);
                one_magazine(n, times * CAPACITY);
                const uint64_t idle = stats_of(pool).idle_bytes;
                bufferpool_buf_t *got[MAGAZINE_MAX];
                assert_ptr_equal(got[0] = bufferpool_get(pool), bufs[n - 1]);
                assert_int_equal(stats_of(pool).gets_depot, 1);
                assert_int_equal(stats_of(pool).idle_bytes, idle - got[0]->cap);
                /* of the others, the warmest, as many as fit */
                const size_t most = times > 1 ? CACHED * CAPACITY / bufs[0]->cap : CACHED;
                assert_int_equal(stats_of(pool).idle_thread, n - 1 < most ? n - 1 : most);
                check_accounts(pool);
                for (size_t i = 1; i < n; i++) {
                    got[i] = bufferpool_get(pool);
                    assert_int_equal(got[i]->data[0], n - i); /* in the order in which they lay */
                    check_accounts(pool);
                }
                assert_int_equal(stats_of(pool).idle_bytes, 0);
                assert_int_equal(stats_of(pool).gets_fresh, n);
                for (size_t i = 0; i < n; i++) {
                    got[i]->len = got[i]->cap;
                    bufferpool_put(got[i]);
                    check_accounts(pool);
                }
                assert_int_equal(stats_of(pool).idle_bytes, idle);
                end();
            }
        }
    }
}

/* A cache of eight, with or without a limit on idle bytes: of so many buffers, which it owns, the first has grown. */
static void begin_with_a_grown_one(size_t n, size_t times, bool limited)
{
    begin(8, 0, limited ? 100 * CAPACITY : 0);
    for (size_t i = 0; i < n; i++)
        assert_non_null(bufs[i] = bufferpool_get(pool));
    assert_int_equal(bufferpool_buf_reserve(bufs[0], times * CAPACITY), 0);
}

/* Well used, by len alone or by a call. */
static void put_grown(bufferpool_buf_t *buf, bool by_len)
{
    if (by_len)
        buf->len = buf->cap;
    else
        assert_int_equal(bufferpool_buf_reserve(buf, buf->cap), 0);
    bufferpool_put(buf);
    check_accounts(pool);
}

/* Such calls do not count the gets one by one. */
static void pairs_of_a_grown_buffer_are_fast(void **state)
{
    (void)state;
    enum { PAIRS = 40 };
    if (SANITIZER_ASAN)
        skip();
    for (int i = 0; i < 4; i++) {
        const bool limited = (i & 1) != 0, by_len = (i & 2) != 0;
        begin_with_a_grown_one(2, 4, limited);
        const struct cache *c = tls_cache_find(pool->index);
        bufferpool_put(bufs[1]);
        put_grown(bufs[0], by_len);
        cache_count_anew(tls_cache_find(pool->index), PAIRS + 1);
        const uint64_t slow = load_relaxed(&c->counters[GETS_THREAD]), fast = cache_read(c).gets;
        for (int k = 0; k < PAIRS; k++) {
            assert_ptr_equal(bufferpool_get(pool), bufs[0]);
            assert_int_equal(bufs[0]->len, 0);
            put_grown(bufs[0], by_len);
        }
        assert_int_equal(cache_read(c).gets, fast + PAIRS);
        assert_int_equal(load_relaxed(&c->counters[GETS_THREAD]), slow);
        end();
    }
}

/* After the grown buffer has left, plain ones find its room; it finds none then, but some as soon as they left. */
static void room_that_a_grown_buffer_left_is_for_others(void **state)
{
    (void)state;
    for (int limited = 0; limited < 2; limited++) {
        begin_with_a_grown_one(8, 4, limited != 0);
        put_grown(bufs[0], true);
        for (size_t i = 1; i < 5; i++)
            bufferpool_put(bufs[i]);
        assert_int_equal(stats_of(pool).idle_thread, 5); /* full: eight times buffer_capacity */
        for (size_t i = 4; i > 0; i--)
            assert_ptr_equal(bufferpool_get(pool), bufs[i]);
        assert_ptr_equal(bufferpool_get(pool), bufs[0]);
        for (size_t i = 1; i < 8; i++) {
            bufferpool_put(bufs[i]);
            check_accounts(pool);
        }
        assert_int_equal(stats_of(pool).idle_thread, 7);
        for (size_t i = 7; i > 4; i--)
            assert_ptr_equal(bufferpool_get(pool), bufs[i]);
        put_grown(bufs[0], true);
        assert_int_equal(stats_of(pool).idle_thread, 5);
        bufferpool_put(bufs[5]); /* one too many: a part goes to the depot */
        check_accounts(pool);
        assert_true(stats_of(pool).idle_depot > 0);
        bufferpool_put(bufs[6]);
        bufferpool_put(bufs[7]);
        end();
    }
}

/* Whatever it brings, a refill says that the thread is at the edge: the next overflow keeps a half. */
static void after_a_refill_an_overflow_keeps_a_half(void **state)
{
    (void)state;
    enum { CACHED = 8 };
    for (int grown = 0; grown < 2; grown++) {
        begin(CACHED, 0, 0);
        one_magazine(2, grown ? 2 * CAPACITY : 0);
        struct cache *c = tls_cache_find(pool->index);
        c->overflowed = true;
        bufs[0] = bufferpool_get(pool);
        assert_int_equal(stats_of(pool).gets_depot, 1);
        assert_false(c->overflowed);
        bufferpool_put(bufs[0]);
        end();
    }
}

/* Under pressure the cache gets none, and the rest of a magazine is where the next get finds it. */
static void behind_a_closed_gate_the_rest_of_a_magazine_stays_in_the_depot(void **state)
{
    (void)state;
    enum { N = 7 };
    if (!test_can_steal())
        skip();
    for (int limited = 0; limited < 2; limited++) {
        for (size_t times = 1; times <= 4; times++) {
            begin(16, N, limited ? 100 * CAPACITY : 0);
            one_magazine(N, times * CAPACITY);
            pressure_enter(pool);
            assert_int_equal(load_relaxed(&pool->pressure.state), PRESSURE_ON);
            for (size_t i = 0; i < N; i++) {
                const uint64_t idle = stats_of(pool).idle_bytes;
                bufferpool_buf_t *buf = bufferpool_get(pool);
                assert_ptr_equal(buf, bufs[N - 1 - i]);
                assert_int_equal(stats_of(pool).idle_bytes, idle - buf->cap);
                assert_int_equal(stats_of(pool).idle_depot, N - 1 - i);
                assert_int_equal(stats_of(pool).gets_depot, i + 1);
                check_accounts(pool);
            }
            assert_null(bufferpool_try_get(pool));
            for (size_t i = 0; i < N; i++) {
                bufs[i]->len = bufs[i]->cap;
                bufferpool_put(bufs[i]);
                check_accounts(pool);
            }
            const bufferpool_stats_t stats = stats_of(pool);
            assert_int_equal(idle_of(&stats), N);
            assert_int_equal(stats.gets_bypass + stats.drops_idle_limit, 0);
            end();
        }
    }
}

/* ---- who waits ---- */

static struct hand waiting;

static void hand_waits(struct hand *hand)
{
    hand->bufs[0] = bufferpool_get_timed(pool, 20000);
    hand->n = hand->bufs[0] != NULL;
}

static atomic_bool served;

static void hand_waits_and_tells(struct hand *hand)
{
    hand_waits(hand);
    atomic_store(&served, true);
}

static void somebody_comes_to_wait(void)
{
    atomic_store(&served, false);
    hand_start(&waiting, hand_waits_and_tells);
    while (!atomic_load(&served) && !depot_wanted(&pool->depot))
        sched_yield();
}

/* The get has a magazine in its hands when somebody finds the depot empty; then it puts back what it does not need. */
static void an_exchange_serves_a_thread_that_came_to_wait_meanwhile(void **state)
{
    (void)state;
    enum { N = 4 };
    if (!test_can_steal())
        skip();
    int step = 0;
    for (bool reached = true; reached; step++) {
        begin(16, N, 0);
        one_magazine(N, 0);
        pressure_enter(pool);
        hand_begin(&waiting, pool, 0);
        steps_left = step;
        at_step = somebody_comes_to_wait;
        bufferpool_buf_t *buf = bufferpool_get(pool);
        reached = at_step == NULL;
        at_step = NULL;
        assert_non_null(buf);
        if (reached) {
            hand_finish(&waiting);
            assert_int_equal(waiting.n, 1);
            assert_int_equal(stats_of(pool).live, 2);
            check_accounts(pool);
            hand_do(&waiting, hand_put);
        }
        assert_int_equal(stats_of(pool).gets_bypass, 0);
        bufferpool_put(buf);
        hand_end(&waiting);
        end();
    }
    assert_true(step > 10);
}

/* ---- fork ---- */

static sem_t stands, may_go;
static int hand_stops_at;
static bool hand_puts, hand_stood;

static void hand_pauses(void)
{
    hand_stood = true;
    sem_post(&stands);
    sem_wait_for_sure(&may_go);
}

static void hand_gets_or_puts(struct hand *hand)
{
    hand_stood = false;
    steps_left = hand_stops_at;
    at_step = hand_pauses;
    if (hand_puts)
        bufferpool_put(hand->bufs[--hand->n]);
    else
        hand->bufs[hand->n++] = bufferpool_get(pool);
    at_step = NULL;
    if (!hand_stood)
        sem_post(&stands);
}

static int count_in_the_child(void *arg)
{
    (void)arg;
    if (!accounts_agree(pool))
        end_child(1);
    const uint64_t bypass_live = stats_of(pool).bypass_live;
    bufferpool_buf_t *buf = bufferpool_get(pool); /* there is one for it, or none */
    if (!accounts_agree(pool) || stats_of(pool).bypass_live - bypass_live > 1)
        end_child(2);
    bufferpool_put(buf);
    if (!accounts_agree(pool) || stats_of(pool).bypass_live != bypass_live)
        end_child(3);
    end_child(0);
}

/* At the cap: what another thread has half got or half put is one or the other in the child, and counted as that. */
static void fork_at_each_step(bool puts, bool beyond)
{
    enum { N = 3 };
    struct hand other;
    int step = 0;
    for (bool stood = true; stood; step++) {
        begin(16, N, 0);
        hand_begin(&other, pool, 0);
        other.want = 1;
        hand_do(&other, hand_use); /* has a cache */
        for (int i = 0; i < N; i++)
            assert_non_null(bufs[i] = bufferpool_try_get(pool));
        assert_null(bufferpool_try_get(pool));
        if (!beyond)
            bufferpool_put(bufs[N - 1]); /* that one */
        if (puts)
            hand_do(&other, hand_get);
        hand_puts = puts;
        hand_stops_at = step;
        hand_start(&other, hand_gets_or_puts);
        sem_wait_for_sure(&stands);
        assert_int_equal(run_in_child(count_in_the_child, NULL, 60), 0);
        stood = hand_stood;
        if (stood)
            sem_post(&may_go);
        hand_finish(&other);
        assert_int_equal(stats_of(pool).bypass_live, beyond && !puts);
        check_accounts(pool);
        hand_do(&other, hand_put);
        bufferpool_put_bulk(bufs, beyond ? N : N - 1);
        hand_end(&other);
        end();
    }
    assert_true(step > 5);
}

static void a_child_counts_a_call_that_another_thread_was_in(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    test_blocks_before_fork();
    sem_init(&stands, 0, 0);
    sem_init(&may_go, 0, 0);
    for (int i = 0; i < 4; i++)
        fork_at_each_step(i % 2 != 0, i / 2 != 0);
    sem_destroy(&stands);
    sem_destroy(&may_go);
}

/* ---- twice at once ---- */

static bufferpool_buf_t *put_twice;

static void put_it_meanwhile(void)
{
    bufferpool_put(put_twice);
}

static void nothing_meanwhile(void)
{
}

/* Returns how many steps the put took. */
static int put_stopped_at(int step, void (*meanwhile)(void))
{
    put_twice = bufferpool_get(pool);
    if (stats_of(pool).bypass_live != 1)
        abort();
    if (meanwhile == put_it_meanwhile)
        expect_in_message("%p", (void *)put_twice);
    steps_left = step;
    at_step = meanwhile;
    bufferpool_put(put_twice);
    at_step = NULL;
    return step - steps_left;
}

static void put_it_within_a_put(void *step)
{
    (void)put_stopped_at(*(const int *)step, put_it_meanwhile);
}

/* Whichever of the two is first, the other one is caught. */
static void two_puts_at_once_of_a_buffer_beyond_the_cap_are_caught(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    begin(8, 1, 0);
    bufs[0] = bufferpool_get(pool);
    assert_null(bufferpool_try_get(pool));
    const int steps = put_stopped_at(INT_MAX, nothing_meanwhile);
    assert_in_range(steps, 5, 100);
    for (int step = 0; step < steps; step++)
        expect_abort(put_it_within_a_put, &step, "bufferpool_put", "put twice", NULL);
    bufferpool_put(bufs[0]);
    end();
}

/* ---- garbage ---- */

static _Alignas(CACHE_LINE) unsigned char garbage[CACHE_LINE];
static bool under_pressure;

static void reserve_garbage(bufferpool_buf_t *buf)
{
    (void)bufferpool_buf_reserve(buf, 0);
}

static void (*garbage_call)(bufferpool_buf_t *buf);

static void call_with_garbage(void *word)
{
    bufferpool_put(bufferpool_get(pool));
    if (under_pressure) {
        bufferpool_set_max_live(pool, 1);
        if (bufferpool_get(pool) == NULL || bufferpool_try_get(pool) != NULL)
            abort();
    }
    struct desc *d = (struct desc *)(void *)garbage;
    store_relaxed(&d->word, *(const uintptr_t *)word);
    expect_in_message("%p", (void *)garbage);
    garbage_call(&d->pub);
}

static void expect_no_buffer(uintptr_t word, int byte, void (*call)(bufferpool_buf_t *), const char *function)
{
    garbage_call = call;
    memset(garbage, byte, sizeof garbage);
    expect_abort(call_with_garbage, &word, function, "not a buffer of this library", NULL);
}

/* Words that gates have, and what a put makes of them. */
/* ---- buffers whose data a caller wrote ---- */

enum { ENTRIES = 16, MOVED = ENTRIES / 2 };

struct look {
    uint32_t bad, turn;
};

/* A full cache of 16, of which one more put moves the colder eight, one of them bad. */
static void overflow_with_a_bad_one(void *arg)
{
    const struct look *look = arg;
    begin(ENTRIES, 0, 0);
    for (size_t i = 0; i <= ENTRIES; i++)
        bufs[i] = bufferpool_get(pool);
    for (size_t i = 0; i < ENTRIES; i++)
        bufferpool_put(bufs[i]);
    struct cache *own = tls_cache_find(pool->index);
    own->exchanges = (uint8_t)look->turn;
    set_data(bufs[look->bad], bufs[look->bad]->data + 1);
    bufferpool_put(bufs[ENTRIES]);
    if (own->exchanges != (uint8_t)(look->turn + 1) || stats_of(pool).idle_depot != MOVED)
        _exit(4);
}

static int overflow_in_child(void *arg)
{
    overflow_with_a_bad_one(arg);
    return 0;
}

static void an_exchange_looks_at_one_of_eight_and_at_each_in_turn(void **state)
{
    (void)state;
    for (uint32_t turn = 248; turn < 256; turn++)
        for (uint32_t bad = 0; bad < MOVED; bad++) {
            struct look look = {bad, turn};
            if (bad == turn % MOVED)
                expect_abort(overflow_with_a_bad_one, &look, "bufferpool_put:", "its data was overwritten", NULL);
            else
                assert_int_equal(run_in_child(overflow_in_child, &look, 60), 0);
        }
}

/* Where bytes are counted, the exchange reads each cap that it moves. So it looks at all. */
static void overflow_a_counting_cache_with_a_bad_one(void *bad)
{
    begin(ENTRIES, 0, (size_t)4 * ENTRIES * CAPACITY);
    for (size_t i = 0; i <= ENTRIES; i++)
        bufs[i] = bufferpool_get(pool);
    for (size_t i = 0; i < ENTRIES; i++)
        bufferpool_put(bufs[i]);
    set_data(bufs[*(const size_t *)bad], bufs[*(const size_t *)bad]->data + 1);
    bufferpool_put(bufs[ENTRIES]);
}

static void an_exchange_that_counts_bytes_looks_at_all(void **state)
{
    (void)state;
    for (size_t bad = 0; bad < MOVED; bad++)
        expect_abort(overflow_a_counting_cache_with_a_bad_one, &bad, "bufferpool_put:", "its data was overwritten",
                     NULL);
}

/* A child of fork may have a buffer whose block another thread had shrunk to buffer_capacity, but not yet its state. It
 * has strikes, and lies in caches of plain buffers. */
static void a_shrunk_buffer_that_a_child_knows_as_grown_is_no_misuse(void **state)
{
    (void)state;
    begin(ENTRIES, 0, 0);
    for (size_t i = 0; i <= ENTRIES; i++)
        bufs[i] = bufferpool_get(pool);
    for (size_t i = 0; i <= ENTRIES; i++) {
        store_relaxed(&desc_of(bufs[i])->word, desc_word(pool->tag, STATE_LIVE_GROWN));
        bufferpool_put(bufs[i]); /* the last one moves eight */
        assert_int_equal(desc_strikes(desc_of(bufs[i])), 1);
    }
    assert_int_equal(stats_of(pool).idle_depot, MOVED);
    end();
}

/* Also under pressure, when the gate of the thread's cache is closed. */
static void memory_full_of_ones_is_caught_as_no_buffer(void **state)
{
    (void)state;
    enum { GROWN = STATE_LIVE_GROWN - STATE_LIVE };
    static const uintptr_t words[] = {GATE_NONE,         GATE_NONE >> 1,          GATE_NONE - 1, (GATE_NONE >> 1) - 1,
                                      GATE_NONE + GROWN, (GATE_NONE >> 1) + GROWN};
    begin(8, 0, 0);
    for (int pressure = 0; pressure < 2; pressure++) {
        under_pressure = pressure != 0;
        for (size_t i = 0; i < 2 * sizeof words / sizeof words[0]; i++) {
            const int byte = i % 2 != 0 ? 0 : 0xff;
            expect_no_buffer(words[i / 2], byte, bufferpool_put, "bufferpool_put");
            expect_no_buffer(words[i / 2], byte, reserve_garbage, "bufferpool_buf_reserve");
        }
    }
    end();
}

int main(void)
{
    test_tell_memcheck_nothing();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_buffer_is_lost_or_handed_out_twice),
        cmocka_unit_test(the_buffer_put_last_comes_first),
        cmocka_unit_test(a_cache_leaves_in_magazines),
        cmocka_unit_test(an_exchange_is_good_for_many_calls),
        cmocka_unit_test(errno_is_kept_over_reclaims_and_hooks),
        cmocka_unit_test(grown_buffers_that_do_not_fit_stay_in_the_depot),
        cmocka_unit_test(behind_a_closed_gate_the_rest_of_a_magazine_stays_in_the_depot),
        cmocka_unit_test(an_exchange_serves_a_thread_that_came_to_wait_meanwhile),
        cmocka_unit_test(pairs_of_a_grown_buffer_are_fast),
        cmocka_unit_test(room_that_a_grown_buffer_left_is_for_others),
        cmocka_unit_test(after_a_refill_an_overflow_keeps_a_half),
        cmocka_unit_test(an_exchange_leaves_nothing_beyond_a_cap_that_was_lowered_meanwhile),
        cmocka_unit_test(a_child_counts_a_call_that_another_thread_was_in),
        cmocka_unit_test(two_puts_at_once_of_a_buffer_beyond_the_cap_are_caught),
        cmocka_unit_test(an_exchange_looks_at_one_of_eight_and_at_each_in_turn),
        cmocka_unit_test(an_exchange_that_counts_bytes_looks_at_all),
        cmocka_unit_test(a_shrunk_buffer_that_a_child_knows_as_grown_is_no_misuse),
        cmocka_unit_test(memory_full_of_ones_is_caught_as_no_buffer),
    };
    return cmocka_run_group_tests_name("exchange", tests, NULL, NULL);
}
