/* SPDX-License-Identifier: MIT
 *
 * test_lock_order.c - threads come, flush and go without waiting for a pool's lock under the registry's
 *
 * That lock is everybody's: a thread that waited for one pool under it would stop first calls, ends and flushes of all
 * others. The linker's --wrap tells which locks a thread holds when it takes another one. What the registry's lock did
 * for a thread that flushes or ends, to keep the pool from being destroyed, a pin does.
 */
#include "support/hands.h"

#include "registry.h"

#include <sched.h>

enum { CAPACITY = 256 };

/* ---- which locks ---- */

static pthread_mutex_t *registrys;
static bufferpool_t *pool;
static _Thread_local bool holds_registrys;
static _Thread_local bool learns; /* the next lock is the registry's */
static atomic_size_t violations, taken;

static bool is_of_pool(const pthread_mutex_t *mutex)
{
    return pool != NULL && (mutex == &pool->caches_lock || mutex == &pool->waiters.lock ||
                            mutex == &pool->quarantine.lock || mutex == &pool->heap.slabs.lock);
}

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (learns)
        registrys = mutex;
    learns = false;
    if (is_of_pool(mutex)) {
        atomic_fetch_add(&taken, 1);
        if (holds_registrys)
            atomic_fetch_add(&violations, 1);
    }
    const int error = __real_pthread_mutex_lock(mutex);
    if (mutex == registrys)
        holds_registrys = true;
    return error;
}

int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    if (mutex == registrys)
        holds_registrys = false;
    return __real_pthread_mutex_unlock(mutex);
}

static void (*at_wait)(void);

int __real_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    if (mutex == registrys) {
        holds_registrys = false;
        if (at_wait != NULL)
            at_wait();
    }
    const int error = __real_pthread_cond_wait(condition, mutex);
    holds_registrys |= mutex == registrys;
    return error;
}

/* ---- the tests ---- */

static void begin(test_blocks_t *blocks)
{
    learns = true;
    registry_lock();
    registry_unlock();
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.max_live = 4;
    assert_non_null(pool = bufferpool_create(&config));
    atomic_store(&violations, 0);
    atomic_store(&taken, 0);
}

static void end(test_blocks_t *blocks)
{
    bufferpool_t *ended = pool;
    pool = NULL;
    destroy_empty(ended, blocks);
}

static void hand_run_into_the_cap(struct hand *hand)
{
    while ((hand->bufs[hand->n] = bufferpool_try_get(hand->pool)) != NULL)
        hand->n++;
    hand_put(hand);
}

static void no_thread_waits_for_a_pools_lock_under_the_registrys(void **state)
{
    test_blocks_t blocks = {0};
    struct hand hand;
    (void)state;
    begin(&blocks);
    for (int under_pressure = 0; under_pressure <= 1; under_pressure++) {
        hand_begin(&hand, pool, 0);
        hand.want = 2;
        hand_do(&hand, hand_use); /* its first call */
        hand_do(&hand, hand_flush);
        hand_do(&hand, hand_use);
        if (under_pressure)
            hand_do(&hand, hand_run_into_the_cap);
        for (int on = 1; on >= 0; on--)
            (void)bufferpool_record_holders(on);
        hand_end(&hand);
    }
    assert_true(atomic_load(&taken) > 4);
    assert_int_equal(atomic_load(&violations), 0);
    end(&blocks);
}

static struct hand idler;
static sem_t reached;
static bufferpool_t *doomed;

static void hand_flush_told(struct hand *hand)
{
    sem_post(&reached);
    hand_flush(hand);
}

static void let_the_flush_go_on(void)
{
    at_wait = NULL;
    pthread_mutex_unlock(&doomed->caches_lock);
}

/* A thread that flushes has come to the pool's lock; only when it is through is the pool destroyed. */
static void destroy_waits_for_a_thread_that_flushes(void **state)
{
    test_blocks_t blocks = {0};
    (void)state;
    if (TEST_TSAN)
        skip(); /* the lock is let go by another thread than took it */
    begin(&blocks);
    sem_init(&reached, 0, 0);
    hand_begin(&idler, pool, 0);
    idler.want = 3;
    hand_do(&idler, hand_get);
    hand_do(&idler, hand_put);
    doomed = pool;
    at_wait = let_the_flush_go_on;
    pthread_mutex_lock(&pool->caches_lock);
    hand_start(&idler, hand_flush_told);
    sem_wait_for_sure(&reached);
    while (true) { /* until it is pinned */
        registry_lock();
        const bool pinned = pool->pins > 0;
        registry_unlock();
        if (pinned)
            break;
        sched_yield();
    }
    pool = NULL;
    assert_int_equal(bufferpool_destroy(doomed), 0);
    assert_null(at_wait); /* it did wait */
    hand_finish(&idler);
    hand_end(&idler);
    assert_int_equal(atomic_load(&blocks.count), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_thread_waits_for_a_pools_lock_under_the_registrys),
        cmocka_unit_test(destroy_waits_for_a_thread_that_flushes),
    };
    return cmocka_run_group_tests_name("lock_order", tests, NULL, NULL);
}
