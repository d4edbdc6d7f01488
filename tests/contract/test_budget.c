/* SPDX-License-Identifier: MIT
 *
 * test_budget.c - a hard limit in bytes over any number of pools
 *
 * The allocator hooks of all pools of a budget add up what exists: never more than the limit at any moment, and as much
 * as bufferpool_budget_used says when no call is under way. Idle memory makes room, in whatever pool and cache it is,
 * and no more of it than is needed. Beyond that a get is as one without memory, and a call that waits is served when
 * bytes come back. All of this holds under the debug modes too, but where they free what is put nothing idles.
 */
#include "support/laws.h"

#include <semaphore.h>

enum { CAPACITY = 1024, PAD = 64 };

/* Debug modes that are on. With redzone a block is larger; with the others less idles than was put. */
static size_t overhead = PAD;
static bool all_puts_idle = true;
#define BLOCK (CAPACITY + overhead)

/* ---- hooks that add up the bytes of several pools ---- */

static struct {
    bufferpool_budget_t *budget;
    size_t limit;
    atomic_size_t bytes, peak, frees;
    atomic_bool exceeded;
} sum;

static void *add_alloc(size_t size, size_t align, void *ctx)
{
    (void)ctx;
    const size_t now = atomic_fetch_add(&sum.bytes, size) + size;
    size_t peak = atomic_load(&sum.peak);
    while (now > peak && !atomic_compare_exchange_weak(&sum.peak, &peak, now))
        ;
    if (now > sum.limit)
        atomic_store(&sum.exceeded, true);
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void add_free(void *block, size_t size, void *ctx)
{
    (void)ctx;
    free(block);
    atomic_fetch_sub(&sum.bytes, size);
    atomic_fetch_add(&sum.frees, 1);
}

static bufferpool_config_t config_of(size_t max_live)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.max_live = max_live;
    config.thread_cache_bytes = 64 * CAPACITY;
    config.alignment = PAD;
    config.alloc = add_alloc;
    config.free = add_free;
    config.budget = sum.budget;
    return config;
}

static bufferpool_t *make_pool(size_t max_live)
{
    const bufferpool_config_t config = config_of(max_live);
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static void begin(size_t blocks)
{
    sum.limit = blocks * BLOCK;
    atomic_store(&sum.bytes, 0);
    atomic_store(&sum.peak, 0);
    atomic_store(&sum.frees, 0);
    atomic_store(&sum.exceeded, false);
    sum.budget = bufferpool_budget_create("test", sum.limit);
    assert_non_null(sum.budget);
}

/* After all calls. */
static void check_sum(void)
{
    assert_int_equal(bufferpool_budget_used(sum.budget), atomic_load(&sum.bytes));
    assert_false(atomic_load(&sum.exceeded));
}

static void end(bufferpool_t **pools, size_t n)
{
    check_sum();
    assert_int_equal(bufferpool_budget_destroy(sum.budget), EBUSY);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(bufferpool_destroy(pools[i]), 0);
    assert_int_equal(bufferpool_budget_used(sum.budget), 0);
    assert_int_equal(atomic_load(&sum.bytes), 0);
    assert_int_equal(bufferpool_budget_destroy(sum.budget), 0);
}

static void get_many(bufferpool_t *pool, bufferpool_buf_t **bufs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bufs[i] = bufferpool_get(pool);
        assert_non_null(bufs[i]);
    }
}

static void put_many(bufferpool_buf_t **bufs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bufferpool_put(bufs[i]);
}

static void is_refused(bufferpool_t *pool)
{
    errno = 0;
    assert_null(bufferpool_get(pool));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(bufferpool_try_get(pool));
    assert_int_equal(errno, EAGAIN);
    errno = 0;
    assert_null(bufferpool_get_timed(pool, 1));
    assert_int_equal(errno, ETIMEDOUT);
}

/* ---- one thread ---- */

static void creation_and_destruction_check_their_arguments(void **state)
{
    (void)state;
    errno = 0;
    assert_null(bufferpool_budget_create(NULL, 1));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(bufferpool_budget_create("none", 0));
    assert_int_equal(errno, EINVAL);
    assert_int_equal(bufferpool_budget_destroy(NULL), EINVAL);
    bufferpool_budget_t *budget = bufferpool_budget_create("empty", 1);
    assert_non_null(budget);
    assert_int_equal(bufferpool_budget_used(budget), 0);
    assert_int_equal(bufferpool_budget_destroy(budget), 0);
}

static void a_get_beyond_the_limit_fails_as_without_memory(void **state)
{
    bufferpool_buf_t *bufs[5];
    (void)state;
    for (size_t cap = 0; cap <= 10; cap += 2) { /* none; reached before the limit, with it, after it */
        begin(4);
        bufferpool_t *pool = make_pool(cap);
        get_many(pool, bufs, 4);
        is_refused(pool);
        assert_int_equal(bufferpool_get_bulk(pool, bufs + 4, 1), ENOMEM);
        check_sum();
        bufferpool_put(bufs[3]);
        bufs[3] = bufferpool_get(pool);
        assert_non_null(bufs[3]);
        is_refused(pool);
        put_many(bufs, 4);
        end(&pool, 1);
    }
}

static void growth_beyond_the_limit_fails_and_changes_nothing(void **state)
{
    (void)state;
    begin(4);
    bufferpool_t *pool = make_pool(0);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_non_null(buf);
    test_fill(buf->data, CAPACITY, 7);
    buf->len = CAPACITY;
    const unsigned char *data = buf->data;
    char more[3 * CAPACITY] = {0};
    assert_int_equal(bufferpool_buf_reserve(buf, 3 * BLOCK - overhead + 1), ENOMEM); /* with the old one, too much */
    assert_int_equal(bufferpool_buf_append(buf, more, sizeof more), ENOMEM);
    assert_int_equal(bufferpool_buf_printf(buf, "%*d", 3 * CAPACITY, 1), ENOMEM);
    assert_true(buf->data == data && buf->len == CAPACITY && buf->cap == CAPACITY);
    assert_true(test_filled(buf->data, CAPACITY, 7));
    check_sum();
    assert_int_equal(bufferpool_buf_reserve(buf, 3 * CAPACITY), 0); /* as far as it goes */
    assert_true(test_filled(buf->data, CAPACITY, 7));
    assert_int_equal(bufferpool_budget_used(sum.budget), 3 * CAPACITY + overhead);
    check_sum();
    bufferpool_put(buf);
    end(&pool, 1);
}

static void idle_buffers_of_another_pool_make_room_and_no_more_than_is_needed(void **state)
{
    bufferpool_buf_t *bufs[8];
    (void)state;
    if (!all_puts_idle)
        skip();
    begin(8);
    bufferpool_t *pools[2] = {make_pool(0), make_pool(3)};
    get_many(pools[0], bufs, 8);
    put_many(bufs, 8);
    assert_int_equal(bufferpool_budget_used(sum.budget), 8 * BLOCK);
    for (size_t i = 0; i < 8; i++) { /* also beyond the cap of the second */
        get_many(pools[1], bufs + i, 1);
        assert_int_equal(atomic_load(&sum.frees), i + 1);
        const bufferpool_stats_t stats = stats_of(pools[0]);
        assert_int_equal(idle_of(&stats), 7 - i);
    }
    is_refused(pools[0]);
    is_refused(pools[1]);
    put_many(bufs, 8);
    end(pools, 2);
}

static void growth_takes_room_from_idle_buffers(void **state)
{
    bufferpool_buf_t *bufs[8];
    (void)state;
    begin(8);
    bufferpool_t *pools[2] = {make_pool(0), make_pool(0)};
    get_many(pools[0], bufs, 7);
    put_many(bufs, 7);
    bufs[0] = bufferpool_get(pools[1]);
    assert_non_null(bufs[0]);
    assert_int_equal(bufferpool_buf_reserve(bufs[0], 2 * CAPACITY), 0);
    check_sum();
    assert_int_equal(bufferpool_buf_reserve(bufs[0], 5 * CAPACITY), 0);
    check_sum();
    bufferpool_put(bufs[0]);
    end(pools, 2);
}

static void a_pool_that_ends_gives_its_bytes_back(void **state)
{
    bufferpool_buf_t *bufs[4];
    (void)state;
    begin(4);
    bufferpool_t *pools[2] = {make_pool(0), make_pool(0)};
    get_many(pools[0], bufs, 4);
    put_many(bufs, 4);
    assert_int_equal(bufferpool_destroy(pools[0]), 0);
    assert_int_equal(bufferpool_budget_used(sum.budget), 0);
    get_many(pools[1], bufs, 4);
    is_refused(pools[1]);
    put_many(bufs, 4);
    end(pools + 1, 1);
}

static void a_lowered_limit_frees_what_idles_at_once_and_the_rest_as_it_is_put(void **state)
{
    bufferpool_buf_t *held[4], *idle[4];
    (void)state;
    if (!all_puts_idle)
        skip();
    begin(8);
    bufferpool_t *pools[2] = {make_pool(0), make_pool(0)};
    get_many(pools[0], held, 4);
    get_many(pools[1], idle, 4);
    put_many(idle, 4);
    bufferpool_budget_set(sum.budget, 6 * BLOCK);
    assert_int_equal(bufferpool_budget_used(sum.budget), 6 * BLOCK);
    bufferpool_budget_set(sum.budget, 2 * BLOCK);
    assert_int_equal(bufferpool_budget_used(sum.budget), 4 * BLOCK);
    is_refused(pools[0]);
    for (size_t i = 0; i < 4; i++) {
        bufferpool_put(held[i]);
        assert_int_equal(bufferpool_budget_used(sum.budget), (i < 2 ? 3 - i : 2) * BLOCK);
    }
    bufferpool_budget_set(sum.budget, 0);
    assert_int_equal(bufferpool_budget_used(sum.budget), 0);
    is_refused(pools[1]);
    bufferpool_budget_set(sum.budget, 8 * BLOCK);
    get_many(pools[1], held, 4);
    get_many(pools[0], idle, 4);
    is_refused(pools[0]);
    put_many(held, 4);
    put_many(idle, 4);
    end(pools, 2);
}

/* Before, puts of both pools are fast ones. */
static void puts_free_after_a_limit_was_lowered_that_was_far_away(void **state)
{
    bufferpool_buf_t *bufs[8];
    (void)state;
    if (!all_puts_idle)
        skip();
    begin(1000);
    bufferpool_t *pools[2] = {make_pool(0), make_pool(0)};
    for (size_t i = 0; i < 8; i++)
        get_many(pools[i % 2], bufs + i, 1);
    bufferpool_budget_set(sum.budget, 3 * BLOCK);
    for (size_t i = 0; i < 8; i++) {
        bufferpool_put(bufs[i]);
        assert_int_equal(bufferpool_budget_used(sum.budget), (i < 5 ? 7 - i : 3) * BLOCK);
    }
    end(pools, 2);
}

/* ---- other threads ---- */

static struct {
    bufferpool_t *pool;
    sem_t idles, done;
} hoard;

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        ;
}

static void *hoards(void *arg)
{
    bufferpool_buf_t *bufs[8];
    (void)arg;
    for (size_t i = 0; i < 8; i++)
        bufs[i] = bufferpool_get(hoard.pool);
    for (size_t i = 0; i < 8; i++)
        bufferpool_put(bufs[i]);
    sem_post(&hoard.idles);
    wait_for(&hoard.done);
    return NULL;
}

/* What idles in the cache of a thread that makes no call. */
static void from_another_threads_cache(bool own_pool)
{
    bufferpool_buf_t *bufs[8];
    pthread_t thread;
    if (!test_can_steal() || !all_puts_idle)
        skip();
    begin(8);
    bufferpool_t *pools[2] = {make_pool(0), make_pool(0)};
    hoard.pool = pools[0];
    assert_int_equal(sem_init(&hoard.idles, 0, 0) | sem_init(&hoard.done, 0, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, hoards, NULL), 0);
    wait_for(&hoard.idles);
    const size_t frees = atomic_load(&sum.frees);
    get_many(pools[own_pool ? 0 : 1], bufs, 8);
    assert_int_equal(atomic_load(&sum.frees) - frees, own_pool ? 0 : 8);
    is_refused(pools[0]);
    check_sum();
    put_many(bufs, 8);
    sem_post(&hoard.done);
    pthread_join(thread, NULL);
    end(pools, 2);
}

static void a_get_takes_what_idles_in_other_threads_caches_of_its_pool(void **state)
{
    (void)state;
    from_another_threads_cache(true);
}

static void what_idles_in_other_threads_caches_of_another_pool_makes_room(void **state)
{
    (void)state;
    from_another_threads_cache(false);
}

enum { THREADS = 24, POOLS = 4, HELD = 6 };

static struct {
    bufferpool_t *pools[POOLS];
    atomic_size_t gets, refusals;
    pthread_barrier_t full;
} crowd;

/* All threads together want more than the limit allows, at once. */
static void fill_up(bufferpool_buf_t **held)
{
    for (size_t i = 0; i < HELD; i++) {
        held[i] = bufferpool_get(crowd.pools[i % POOLS]);
        atomic_fetch_add(held[i] != NULL ? &crowd.gets : &crowd.refusals, 1);
    }
    pthread_barrier_wait(&crowd.full);
}

static void is_busy(void *arg, unsigned index)
{
    bufferpool_buf_t *held[HELD] = {NULL};
    test_random_t random = {index + 1};
    (void)arg;
    fill_up(held);
    for (size_t round = test_scale(4000, 150); round > 0; round--) {
        bufferpool_buf_t **at = &held[test_random_below(&random, HELD)];
        bufferpool_t *pool = crowd.pools[test_random_below(&random, POOLS)];
        if (*at == NULL) {
            *at = test_random_below(&random, 4) > 0 ? bufferpool_get(pool) : bufferpool_try_get(pool);
            atomic_fetch_add(*at != NULL ? &crowd.gets : &crowd.refusals, 1);
            if (!thread_check(*at != NULL || errno == ENOMEM || errno == EAGAIN))
                return;
        } else if (test_random_below(&random, 4) == 0) {
            const int error = bufferpool_buf_reserve(*at, (*at)->cap + 1 + test_random_below(&random, CAPACITY));
            if (!thread_check(error == 0 || error == ENOMEM))
                return;
        } else {
            bufferpool_put(*at);
            *at = NULL;
        }
        if (test_random_below(&random, 200) == 0)
            (void)bufferpool_trim(pool);
        thread_check(bufferpool_budget_used(sum.budget) <= sum.limit);
    }
    for (size_t i = 0; i < HELD; i++)
        bufferpool_put(held[i]);
}

static void no_moment_of_24_threads_over_4_pools_exceeds_the_limit(void **state)
{
    (void)state;
    begin(60);
    for (size_t i = 0; i < POOLS; i++)
        crowd.pools[i] = make_pool(i * 10);
    assert_int_equal(pthread_barrier_init(&crowd.full, NULL, THREADS), 0);
    run_threads(THREADS, is_busy, NULL);
    pthread_barrier_destroy(&crowd.full);
    assert_true(atomic_load(&crowd.gets) >= 60 && atomic_load(&crowd.refusals) >= THREADS * HELD - 60);
    assert_int_equal(atomic_load(&sum.peak), sum.limit);
    for (size_t i = 0; i < POOLS; i++)
        (void)bufferpool_trim(crowd.pools[i]);
    check_sum();
    assert_int_equal(bufferpool_budget_used(sum.budget), 0);
    end(crowd.pools, POOLS);
}

/* ---- waiting ---- */

static struct {
    bufferpool_t *pool;
    atomic_int served;
    atomic_bool asks;
} waiting;

static void *waits(void *arg)
{
    (void)arg;
    atomic_store(&waiting.asks, true);
    bufferpool_buf_t *buf = bufferpool_get_timed(waiting.pool, BUFFERPOOL_NEVER);
    atomic_fetch_add(&waiting.served, 1);
    thread_check(buf != NULL);
    thread_check(!atomic_load(&sum.exceeded));
    bufferpool_put(buf);
    return NULL;
}

enum bytes_come_back { BY_PUT, BY_PUT_OF_LARGE, BY_TRIM, BY_DESTROY, BY_RAISE, BY_THREAD_EXIT, WAYS };

static void *puts_and_ends(void *arg)
{
    bufferpool_put(arg);
    return NULL;
}

static void bring_back(enum bytes_come_back way, bufferpool_t **pools, bufferpool_buf_t **bufs)
{
    pthread_t thread;
    switch (way) {
    case BY_PUT:
    case BY_TRIM:
        bufferpool_put(bufs[0]);
        bufs[0] = NULL;
        if (way == BY_TRIM)
            (void)bufferpool_trim(pools[0]);
        break;
    case BY_PUT_OF_LARGE:
        bufferpool_put(bufs[1]); /* its cap exceeds max_capacity */
        bufs[1] = NULL;
        break;
    case BY_DESTROY:
        put_many(bufs, 2);
        bufs[0] = bufs[1] = NULL;
        assert_int_equal(bufferpool_destroy(pools[0]), 0);
        pools[0] = NULL;
        break;
    case BY_RAISE:
        sum.limit += BLOCK;
        bufferpool_budget_set(sum.budget, sum.limit);
        break;
    default:
        assert_int_equal(pthread_create(&thread, NULL, puts_and_ends, bufs[0]), 0);
        pthread_join(thread, NULL);
        bufs[0] = NULL;
        break;
    }
}

/* The caller waits in a pool of which nothing comes back. */
static void get_timed_waits_for_bytes_of_any_pool(void **state)
{
    bufferpool_buf_t *bufs[2];
    pthread_t thread;
    (void)state;
    for (enum bytes_come_back way = BY_PUT; way < WAYS; way++) {
        begin(4);
        bufferpool_config_t config = config_of(0);
        config.max_capacity = CAPACITY + 1;
        bufferpool_t *pools[2] = {bufferpool_create(&config), make_pool(0)};
        get_many(pools[0], bufs, 2);
        assert_int_equal(bufferpool_buf_reserve(bufs[1], 2 * CAPACITY + overhead), 0);
        bufferpool_buf_t *last = bufferpool_get(pools[1]); /* with this, less than a block is left */
        assert_non_null(last);
        is_refused(pools[1]);
        waiting.pool = pools[1];
        atomic_store(&waiting.served, 0);
        atomic_store(&waiting.asks, false);
        assert_int_equal(pthread_create(&thread, NULL, waits, NULL), 0);
        while (!atomic_load(&waiting.asks))
            usleep(100);
        usleep(5000); /* likely it waits by now; it is served either way */
        assert_int_equal(atomic_load(&waiting.served), 0);
        bring_back(way, pools, bufs);
        pthread_join(thread, NULL);
        assert_int_equal(atomic_load(&waiting.served), 1);
        put_many(bufs, 2);
        bufferpool_put(last);
        end(pools[0] != NULL ? pools : pools + 1, pools[0] != NULL ? 2 : 1);
    }
}

static void crowd_waits(void *arg, unsigned index)
{
    test_random_t random = {index + 1};
    (void)arg;
    for (size_t round = test_scale(600, 40); round > 0; round--) {
        bufferpool_buf_t *buf = bufferpool_get_timed(crowd.pools[test_random_below(&random, POOLS)], BUFFERPOOL_NEVER);
        if (!thread_check(buf != NULL))
            return;
        if (test_random_below(&random, 8) == 0)
            (void)bufferpool_buf_reserve(buf, 2 * CAPACITY);
        bufferpool_put(buf);
    }
}

/* Each thread waits without end, and holds nothing meanwhile. */
static void no_caller_that_waits_for_bytes_is_forgotten(void **state)
{
    (void)state;
    begin(5);
    for (size_t i = 0; i < POOLS; i++)
        crowd.pools[i] = make_pool(i);
    run_threads(THREADS, crowd_waits, NULL);
    for (size_t i = 0; i < POOLS; i++)
        (void)bufferpool_trim(crowd.pools[i]);
    assert_int_equal(bufferpool_budget_used(sum.budget), 0);
    end(crowd.pools, POOLS);
}

/* ---- the system's memory, and fork ---- */

static bufferpool_t *plain_pool(size_t capacity, unsigned flags)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = capacity;
    config.max_capacity = 8 << 20;
    config.max_live = 4;
    config.flags = flags;
    config.budget = sum.budget;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static void blocks_of_the_system_count_with_slots_and_pages(void **state)
{
    static const size_t capacities[] = {100, 4096, (size_t)32 << 10, (size_t)2 << 20};
    bufferpool_buf_t *bufs[16];
    (void)state;
    for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
        const size_t capacity = capacities[i];
        begin(1);
        bufferpool_budget_set(sum.budget, 12 * capacity + 20000);
        bufferpool_t *pools[2] = {plain_pool(capacity, 0), plain_pool(capacity, BUFFERPOOL_BACKGROUND)};
        for (size_t turn = 0; turn < 3; turn++) {
            size_t n = 0;
            for (; n < 16 && (bufs[n] = bufferpool_get(pools[n % 2])) != NULL; n++)
                memset(bufs[n]->data, 1, capacity);
            assert_true(n >= (turn == 0 ? 8 : 4)); /* later one of them is as large as eight */
            const size_t used = bufferpool_budget_used(sum.budget);
            assert_true(used >= n * capacity && used <= 12 * capacity + 20000);
            while (n > 1)
                bufferpool_put(bufs[--n]);
            /* what idles or is retained gives way */
            assert_int_equal(bufferpool_buf_reserve(bufs[0], 5 * capacity), 0);
            assert_true(bufferpool_budget_used(sum.budget) <= 12 * capacity + 20000);
            bufferpool_put(bufs[0]);
        }
        for (size_t p = 0; p < 2; p++)
            (void)bufferpool_trim(pools[p]);
        assert_int_equal(bufferpool_budget_used(sum.budget), 0);
        assert_int_equal(bufferpool_destroy(pools[0]) | bufferpool_destroy(pools[1]), 0);
        assert_int_equal(bufferpool_budget_destroy(sum.budget), 0);
    }
}

/* Of buffers that were freed and of those that exist. */
static void retained_memory_stays_within_the_limit(void **state)
{
    enum { N = 64, LARGE = 64 << 10 };
    bufferpool_buf_t *bufs[N];
    (void)state;
    if (test_instrumented())
        skip();
    begin(1);
    const size_t limit = (size_t)N * LARGE + N * PAD, before = test_resident_bytes();
    bufferpool_budget_set(sum.budget, limit);
    bufferpool_t *pools[2] = {plain_pool(LARGE, 0), plain_pool(2 * LARGE, 0)};
    for (size_t turn = 0; turn < 6; turn++) {
        size_t n = 0;
        for (; n < N && (bufs[n] = bufferpool_get(pools[turn % 2])) != NULL; n++)
            memset(bufs[n]->data, 1, bufs[n]->cap);
        assert_true(n >= N / 2 - 1);
        assert_true(test_resident_bytes() <= before + limit + ((size_t)1 << 20)); /* page tables and our own */
        put_many(bufs, n);
    }
    assert_int_equal(bufferpool_destroy(pools[0]) | bufferpool_destroy(pools[1]), 0);
    assert_int_equal(bufferpool_budget_destroy(sum.budget), 0);
}

enum { CHILDS_LIMIT = 20, OF_FIRST = 11 }; /* of the first pool more are held than the others can have */

static int counts_anew(void *arg)
{
    bufferpool_buf_t *bufs[3];
    (void)arg;
    const size_t used = bufferpool_budget_used(sum.budget); /* the first call: of no pool yet */
    thread_check(used >= OF_FIRST * BLOCK && used <= sum.limit && used % BLOCK == 0);
    for (size_t i = 0; i < POOLS; i++)
        (void)bufferpool_trim(crowd.pools[i]);
    size_t live = 0; /* what threads of the parent hold */
    for (size_t i = 0; i < POOLS; i++) {
        const bufferpool_stats_t s = stats_of(crowd.pools[i]);
        thread_check(idle_of(&s) == 0);
        live += (size_t)(s.live_bytes / CAPACITY);
    }
    thread_check(bufferpool_budget_used(sum.budget) == live * BLOCK);
    for (size_t i = 0; i < 3; i++)
        thread_check((bufs[i] = bufferpool_get_timed(crowd.pools[i], 1000)) != NULL);
    thread_check(bufferpool_budget_used(sum.budget) == (live + 3) * BLOCK);
    for (size_t i = 0; i < 3; i++)
        bufferpool_put(bufs[i]);
    end_child(test_recorded_failure());
}

static atomic_bool stop;

static void comes_and_goes(void *arg, unsigned index)
{
    (void)arg;
    for (size_t i = index; !atomic_load(&stop); i++)
        bufferpool_put(bufferpool_get(crowd.pools[i % POOLS]));
}

static void a_child_of_fork_counts_what_it_has(void **state)
{
    (void)state;
    begin(CHILDS_LIMIT);
    for (size_t i = 0; i < POOLS; i++)
        crowd.pools[i] = make_pool(0);
    atomic_store(&stop, false);
    bufferpool_buf_t *held[OF_FIRST];
    get_many(crowd.pools[0], held, OF_FIRST);
    test_crew_t *crew = start_threads(4, comes_and_goes, NULL);
    for (size_t i = test_scale(40, 5); i > 0; i--)
        assert_int_equal(run_in_child(counts_anew, NULL, 60), 0);
    atomic_store(&stop, true);
    join_threads(crew);
    put_many(held, OF_FIRST);
    end(crowd.pools, POOLS);
}

/* ---- metrics ---- */

static void metrics_have_a_line_for_each_budget(void **state)
{
    (void)state;
    begin(4);
    bufferpool_budget_t *same = bufferpool_budget_create("test", 77);
    assert_non_null(same);
    bufferpool_t *pool = make_pool(0);
    bufferpool_buf_t *buf = bufferpool_get(pool), *out = bufferpool_get(NULL);
    assert_non_null(buf);
    assert_int_equal(bufferpool_metrics(out), 0);
    assert_int_equal(bufferpool_buf_append(out, "", 1), 0);
    char line[128];
    snprintf(line, sizeof line, "\nbufferpool_budget_bytes{budget=\"test\"} %zu\n", 4 * BLOCK);
    assert_non_null(strstr((char *)out->data, line));
    snprintf(line, sizeof line, "\nbufferpool_budget_used_bytes{budget=\"test\"} %zu\n", BLOCK);
    assert_non_null(strstr((char *)out->data, line));
    assert_non_null(strstr((char *)out->data, "\nbufferpool_budget_bytes{budget=\"test-2\"} 77\n"));
    assert_non_null(strstr((char *)out->data, "\nbufferpool_budget_used_bytes{budget=\"test-2\"} 0\n"));
    bufferpool_put(out);
    bufferpool_put(buf);
    assert_int_equal(bufferpool_budget_destroy(same), 0);
    end(&pool, 1);
}

static bool mode_is_on(const char *word)
{
    const char *modes = getenv("BUFFERPOOL_DEBUG");
    return modes != NULL && strstr(modes, word) != NULL;
}

int main(void)
{
    overhead += mode_is_on("redzone") ? 64 : 0;
    all_puts_idle = !mode_is_on("nopool") && !mode_is_on("chaos");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(creation_and_destruction_check_their_arguments),
        cmocka_unit_test(a_get_beyond_the_limit_fails_as_without_memory),
        cmocka_unit_test(growth_beyond_the_limit_fails_and_changes_nothing),
        cmocka_unit_test(idle_buffers_of_another_pool_make_room_and_no_more_than_is_needed),
        cmocka_unit_test(growth_takes_room_from_idle_buffers),
        cmocka_unit_test(a_pool_that_ends_gives_its_bytes_back),
        cmocka_unit_test(a_lowered_limit_frees_what_idles_at_once_and_the_rest_as_it_is_put),
        cmocka_unit_test(puts_free_after_a_limit_was_lowered_that_was_far_away),
        cmocka_unit_test(a_get_takes_what_idles_in_other_threads_caches_of_its_pool),
        cmocka_unit_test(what_idles_in_other_threads_caches_of_another_pool_makes_room),
        cmocka_unit_test(no_moment_of_24_threads_over_4_pools_exceeds_the_limit),
        cmocka_unit_test(get_timed_waits_for_bytes_of_any_pool),
        cmocka_unit_test(no_caller_that_waits_for_bytes_is_forgotten),
        cmocka_unit_test(blocks_of_the_system_count_with_slots_and_pages),
        cmocka_unit_test(retained_memory_stays_within_the_limit),
        cmocka_unit_test(a_child_of_fork_counts_what_it_has),
        cmocka_unit_test(metrics_have_a_line_for_each_budget),
    };
    return cmocka_run_group_tests_name("budget", tests, NULL, NULL);
}
