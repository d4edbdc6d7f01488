/* SPDX-License-Identifier: MIT
 *
 * test_thread_exit.c - threads end, buffers stay
 *
 * When a thread ends, in whatever way, its buffers go to the depots: nothing is lost and no cache is left behind. Get
 * and put still work in destructors of thread-specific data that run before the library's own destructor, after it, and
 * in the last round that the system runs; the buffers that they put are not lost either. Buffers outlive the thread
 * that got them.
 */
#include "support/laws.h"

#include <limits.h>

enum { CAPACITY = 512, CACHED = 8 };

/* After all threads are gone, and this one used the pool only through put: all is idle, in the depot. */
static void check_all_in_depot(bufferpool_t *pool, const test_blocks_t *blocks)
{
    bufferpool_thread_flush();
    const bufferpool_stats_t stats = stats_of(pool);
    assert_int_equal(stats.idle_thread, 0);
    assert_int_equal(stats.idle_depot, atomic_load(&blocks->count));
    assert_true(stats.thread_caches <= 1);
    check_laws(pool, blocks, 0);
}

struct churn {
    bufferpool_t *pool;
    bufferpool_buf_t *left[16];
};

static void get_and_put_some(void *arg, unsigned index)
{
    struct churn *churn = arg;
    bufferpool_buf_t *bufs[5];
    for (int i = 0; i < 5; i++) {
        bufs[i] = bufferpool_get(churn->pool);
        if (!thread_check(bufs[i] != NULL))
            return;
        memset(bufs[i]->data, (int)index, CAPACITY);
    }
    for (int i = 0; i < 5; i++) {
        thread_check(bufs[i]->data[CAPACITY - 1] == index);
        bufferpool_put(bufs[i]);
    }
}

static void thousands_of_threads_lose_nothing(void **state)
{
    enum { AT_ONCE = 8 };
    (void)state;
    test_blocks_t blocks = {0};
    struct churn churn = {.pool = pool_caching(&blocks, CAPACITY, CACHED)};
    const size_t rounds = test_scale(2000, 160) / AT_ONCE;
    for (size_t round = 0; round < rounds; round++) {
        run_threads(AT_ONCE, get_and_put_some, &churn);
        assert_true(atomic_load(&blocks.count) <= 5 * AT_ONCE);
        assert_int_equal(stats_of(churn.pool).idle_thread, 0);
        assert_int_equal(stats_of(churn.pool).thread_caches, 0);
    }
    const bufferpool_stats_t stats = stats_of(churn.pool);
    assert_int_equal(sum_of_gets(&stats), 5 * AT_ONCE * rounds);
    check_all_in_depot(churn.pool, &blocks);
    destroy_empty(churn.pool, &blocks);
}

static void get_and_leave(void *arg, unsigned index)
{
    struct churn *churn = arg;
    churn->left[index] = bufferpool_get(churn->pool);
    if (thread_check(churn->left[index] != NULL))
        memset(churn->left[index]->data, (int)index, CAPACITY);
}

static void put_what_was_left(void *arg, unsigned index)
{
    struct churn *churn = arg;
    bufferpool_buf_t *buf = churn->left[15 - index];
    thread_check(buf->data[0] == 15 - index && buf->data[CAPACITY - 1] == 15 - index);
    bufferpool_put(buf);
}

static void buffers_outlive_the_thread_that_got_them(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct churn churn = {.pool = pool_caching(&blocks, CAPACITY, CACHED)};
    const size_t rounds = test_scale(20, 5);
    for (size_t round = 0; round < rounds; round++) {
        run_threads(16, get_and_leave, &churn);
        assert_int_equal(bufferpool_live(churn.pool), 16);
        check_laws(churn.pool, &blocks, 16);
        run_threads(16, put_what_was_left, &churn); /* threads that only put */
        assert_int_equal(atomic_load(&blocks.count), 16);
        assert_int_equal(stats_of(churn.pool).idle_depot, 16);
        check_laws(churn.pool, &blocks, 0);
    }
    check_all_in_depot(churn.pool, &blocks);
    destroy_empty(churn.pool, &blocks);
}

/* ---- destructors of thread-specific data ---- */

/* Keys 0..2 are made before the library is first used, 3..5 after. What runs in the last round of destructors of all
 * ThreadSanitizer cannot follow: it lets go of the thread itself then. */
enum { KEYS = 6, ROUNDS = PTHREAD_DESTRUCTOR_ITERATIONS - TEST_TSAN };

static pthread_key_t keys[KEYS];
static bufferpool_t *late_pool;
static bufferpool_t *other_pool; /* one that the thread never used before its destructors */
static atomic_size_t late_calls;

struct late {
    unsigned rounds_left;
    unsigned key;
    bufferpool_buf_t *held; /* got in one round, put in the next */
};

static void late_destructor(void *value)
{
    struct late *late = value;
    atomic_fetch_add(&late_calls, 1);
    bufferpool_put(late->held);
    late->held = NULL;
    bufferpool_buf_t *a = bufferpool_get(late_pool);
    bufferpool_buf_t *b = bufferpool_get(other_pool);
    if (!thread_check(a != NULL && b != NULL))
        abort();
    memset(a->data, 1, CAPACITY);
    thread_check(bufferpool_buf_reserve(b, 2 * CAPACITY) == 0);
    bufferpool_put(b);
    if (late->rounds_left-- > 1) {
        late->held = a;
        if (late->key % 3 == 1)
            bufferpool_thread_flush();
        thread_check(pthread_setspecific(keys[late->key], late) == 0);
    } else {
        bufferpool_put(a);
        free(late);
    }
}

static void make_keys(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        assert_int_equal(pthread_key_create(&keys[i], late_destructor), 0);
}

static void end_with_destructors(void *arg, unsigned index)
{
    struct churn *churn = arg;
    for (unsigned key = 0; key < KEYS; key++) {
        struct late *late = calloc(1, sizeof *late);
        if (!thread_check(late != NULL))
            return;
        late->rounds_left = 1 + (index + key) % ROUNDS;
        late->key = key;
        if (index % 2 == 0)
            late->held = bufferpool_get(churn->pool);
        thread_check(pthread_setspecific(keys[key], late) == 0);
    }
    if (index % 3 != 2)
        get_and_put_some(churn, index); /* else: the first put is in a destructor, perhaps */
}

static void late_destructors_may_get_and_put(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    test_blocks_t other_blocks = {0};
    late_pool = pool_caching(&blocks, CAPACITY, CACHED);
    bufferpool_put(bufferpool_get(late_pool)); /* the library's own key is there by now */
    make_keys(3, KEYS);
    other_pool = pool_caching(&other_blocks, CAPACITY, CACHED);
    struct churn churn = {.pool = late_pool};
    const size_t rounds = test_scale(60, 8);
    for (size_t round = 0; round < rounds; round++)
        run_threads(12, end_with_destructors, &churn);
    size_t calls = 0;
    for (unsigned i = 0; i < 12 * KEYS; i++)
        calls += 1 + (i / KEYS + i % KEYS) % ROUNDS;
    assert_int_equal(atomic_load(&late_calls), calls * rounds); /* all of them ran */

    check_all_in_depot(late_pool, &blocks);
    check_all_in_depot(other_pool, &other_blocks);
    assert_true(atomic_load(&blocks.count) <= 12 * (KEYS + 6));
    assert_true(atomic_load(&other_blocks.count) <= 12);
    destroy_empty(late_pool, &blocks);
    destroy_empty(other_pool, &other_blocks);
    for (unsigned i = 0; i < KEYS; i++)
        pthread_key_delete(keys[i]);
}

/* ---- cancellation ---- */

struct cancelled {
    bufferpool_t *pool;
    pthread_barrier_t ready;
    pthread_mutex_t lock;
    pthread_cond_t never;
};

static void put_at_cleanup(void *buf)
{
    bufferpool_put(buf);
}

static void unlock_at_cleanup(void *lock)
{
    pthread_mutex_unlock(lock);
}

static void *wait_to_be_cancelled(void *arg)
{
    struct cancelled *cancelled = arg;
    bufferpool_buf_t *held = bufferpool_get(cancelled->pool);
    bufferpool_put(bufferpool_get(cancelled->pool));
    pthread_cleanup_push(put_at_cleanup, held);
    pthread_mutex_lock(&cancelled->lock);
    pthread_cleanup_push(unlock_at_cleanup, &cancelled->lock);
    pthread_barrier_wait(&cancelled->ready);
    for (;;)
        pthread_cond_wait(&cancelled->never, &cancelled->lock);
    pthread_cleanup_pop(1);
    pthread_cleanup_pop(1);
    return NULL;
}

static void *work_until_cancelled(void *arg)
{
    struct cancelled *cancelled = arg;
    pthread_barrier_wait(&cancelled->ready);
    for (;;) {
        bufferpool_buf_t *buf = bufferpool_get(cancelled->pool);
        buf->data[0] = 1;
        bufferpool_put(buf);
        pthread_testcancel();
    }
    return NULL;
}

static void a_cancelled_thread_loses_nothing(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct cancelled cancelled = {.pool = pool_caching(&blocks, CAPACITY, CACHED),
                                  .lock = PTHREAD_MUTEX_INITIALIZER,
                                  .never = PTHREAD_COND_INITIALIZER};
    assert_int_equal(pthread_barrier_init(&cancelled.ready, NULL, 3), 0);
    const size_t rounds = test_scale(100, 10);
    for (size_t round = 0; round < rounds; round++) {
        pthread_t threads[2];
        assert_int_equal(pthread_create(&threads[0], NULL, wait_to_be_cancelled, &cancelled), 0);
        assert_int_equal(pthread_create(&threads[1], NULL, work_until_cancelled, &cancelled), 0);
        pthread_barrier_wait(&cancelled.ready);
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_cancel(threads[i]), 0);
        for (int i = 0; i < 2; i++) {
            void *result = NULL;
            assert_int_equal(pthread_join(threads[i], &result), 0);
            assert_ptr_equal(result, PTHREAD_CANCELED);
        }
        assert_true(atomic_load(&blocks.count) <= 2 * 8 + 3); /* two full caches, what is held */
        assert_int_equal(stats_of(cancelled.pool).thread_caches, 0);
        check_laws(cancelled.pool, &blocks, 0);
    }
    check_all_in_depot(cancelled.pool, &blocks);
    destroy_empty(cancelled.pool, &blocks);
    pthread_barrier_destroy(&cancelled.ready);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_destructors_may_get_and_put),
        cmocka_unit_test(thousands_of_threads_lose_nothing),
        cmocka_unit_test(buffers_outlive_the_thread_that_got_them),
        cmocka_unit_test(a_cancelled_thread_loses_nothing),
    };
    for (unsigned i = 0; i < 3; i++) { /* before the first use of the library */
        if (pthread_key_create(&keys[i], late_destructor) != 0)
            return 1;
    }
    return cmocka_run_group_tests_name("thread_exit", tests, NULL, NULL);
}
