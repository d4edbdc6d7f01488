/* SPDX-License-Identifier: MIT
 *
 * test_wait_rarely.c - get_timed in rare places: at the last moment, and without membarrier(2)
 *
 * The linker's --wrap stalls pthread_cond_timedwait between the end of the time and the moment when the thread has the
 * lock again, or wakes it for no reason. It also refuses membarrier(2) from the start, as an old kernel does. Then the
 * buffers in a thread's cache stay there until the next call of that thread, whichever call that is, and this call
 * serves a waiting thread.
 */
#include "support/laws.h"

#include "support/inside.h"

#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CAPACITY = 512 };

/* ---- what stands in the way ---- */

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    long args[3];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 3; i++)
        args[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_membarrier) {
        errno = ENOSYS;
        return -1;
    }
    return __real_syscall(number, args[0], args[1], args[2]);
}

static atomic_int spurious; /* so many times the wait ends for no reason */
static atomic_bool stalls;
static pthread_barrier_t time_is_over;

int __real_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until);
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until);
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until)
{
    if (atomic_load(&spurious) > 0) {
        atomic_fetch_sub(&spurious, 1);
        pthread_mutex_unlock(mutex);
        sched_yield();
        pthread_mutex_lock(mutex);
        return 0;
    }
    const int error = __real_pthread_cond_timedwait(condition, mutex, until);
    if (error == ETIMEDOUT && atomic_exchange(&stalls, false)) {
        pthread_mutex_unlock(mutex);
        pthread_barrier_wait(&time_is_over);
        pthread_barrier_wait(&time_is_over);
        pthread_mutex_lock(mutex);
    }
    return error;
}

/* ---- shared with test_wait.c in spirit ---- */

static bool somebody_waits(bufferpool_t *pool)
{
    pthread_mutex_lock(&pool->waiters.lock);
    const bool some = pool->waiters.first != NULL;
    pthread_mutex_unlock(&pool->waiters.lock);
    return some;
}

static bufferpool_t *pool_with_cap(test_blocks_t *blocks, size_t cap)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.max_capacity = 8 * CAPACITY;
    config.max_live = cap;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

struct waiter_thread {
    bufferpool_t *pool;
    unsigned timeout_ms;
    bufferpool_buf_t *buf;
    int error;
};

static void wait_one_time(void *arg, unsigned index)
{
    (void)index;
    struct waiter_thread *w = arg;
    w->buf = bufferpool_get_timed(w->pool, w->timeout_ms);
    w->error = errno;
}

/* ---- at the last moment ---- */

/* The time is over, and before the waiter can say so it is handed a buffer, or room for one: that is what it returns
 * with. */
static void a_buffer_handed_over_at_the_last_moment_is_not_lost(void **state)
{
    (void)state;
    assert_int_equal(pthread_barrier_init(&time_is_over, NULL, 2), 0);
    for (int room = 0; room < 2; room++) {
        test_blocks_t blocks = {0};
        bufferpool_t *pool = pool_with_cap(&blocks, 1);
        bufferpool_buf_t *buf = bufferpool_get(pool);
        assert_null(bufferpool_get_timed(pool, 0)); /* so that the pool is under pressure, and one timed wait is all */
        struct waiter_thread w = {.pool = pool, .timeout_ms = 5};
        atomic_store(&stalls, true);
        test_crew_t *crew = start_threads(1, wait_one_time, &w);
        pthread_barrier_wait(&time_is_over);
        if (room)
            assert_int_equal(bufferpool_buf_reserve(buf, 9 * CAPACITY), 0);
        bufferpool_put(buf);
        bufferpool_buf_t *taken = bufferpool_try_get(pool);
        pthread_barrier_wait(&time_is_over);
        join_threads(crew);
        assert_null(taken);
        assert_non_null(w.buf);
        assert_false(somebody_waits(pool));
        check_laws(pool, &blocks, 1);
        bufferpool_put(w.buf);
        assert_non_null(buf = bufferpool_get_timed(pool, 0));
        bufferpool_put(buf);
        destroy_empty(pool, &blocks);
    }
    pthread_barrier_destroy(&time_is_over);
}

static void a_spurious_wake_up_ends_no_wait(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with_cap(&blocks, 1);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    struct timespec from, to;
    atomic_store(&spurious, 3);
    clock_gettime(CLOCK_MONOTONIC, &from);
    assert_null(bufferpool_get_timed(pool, 20));
    assert_int_equal(errno, ETIMEDOUT);
    clock_gettime(CLOCK_MONOTONIC, &to);
    assert_int_equal(atomic_load(&spurious), 0);
    assert_true((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= 20);
    bufferpool_put(buf);
    destroy_empty(pool, &blocks);
}

/* ---- without membarrier(2) ---- */

enum act { FLUSH, PUT, GET_AND_PUT, GET_TIMED, TRY_GET, BULK, EXIT, ACTS };

struct cache_owner {
    bufferpool_t *pool;
    bufferpool_buf_t *idle, *held;
    enum act act;
    pthread_barrier_t step;
    bufferpool_buf_t *got;
};

/* One buffer idles in its cache when somebody comes to wait; then it makes one call. */
static void idle_and_act(void *arg, unsigned index)
{
    (void)index;
    struct cache_owner *owner = arg;
    bufferpool_put(owner->idle);
    pthread_barrier_wait(&owner->step);
    pthread_barrier_wait(&owner->step); /* now somebody waits */
    switch (owner->act) {
    case FLUSH:
        bufferpool_thread_flush();
        break;
    case PUT:
        bufferpool_put(owner->held);
        break;
    case GET_AND_PUT:
        bufferpool_put(bufferpool_get(owner->pool)); /* beyond the cap, for who waits was there before */
        break;
    case TRY_GET:
        bufferpool_put(bufferpool_try_get(owner->pool)); /* none, but for one that came back since */
        break;
    case GET_TIMED:
        owner->got = bufferpool_get_timed(owner->pool, 60000); /* after the other, who has the one and puts it */
        break;
    case BULK:
        thread_check(bufferpool_get_bulk(owner->pool, &owner->got, 1) == 0);
        break;
    case EXIT:
    default:
        break;
    }
    if (owner->act != EXIT) {
        pthread_barrier_wait(&owner->step); /* stays, so that its end is not what helps */
        pthread_barrier_wait(&owner->step);
    }
    bufferpool_put(owner->got);
}

static void wait_and_put(void *arg, unsigned index)
{
    wait_one_time(arg, index);
    bufferpool_put(((struct waiter_thread *)arg)->buf);
}

static void the_next_call_of_an_owner_serves_a_waiting_thread(void **state)
{
    (void)state;
    if (TEST_TSAN) /* for it the library can always take over */
        skip();
    for (enum act act = FLUSH; act < ACTS; act++) {
        test_blocks_t blocks = {0};
        bufferpool_t *pool = pool_with_cap(&blocks, 2);
        struct cache_owner owner = {.pool = pool, .act = act};
        owner.idle = bufferpool_get(pool);
        owner.held = bufferpool_get(pool);
        assert_int_equal(pthread_barrier_init(&owner.step, NULL, 2), 0);
        test_crew_t *crew = start_threads(1, idle_and_act, &owner);
        pthread_barrier_wait(&owner.step);
        assert_null(bufferpool_get_timed(pool, 1)); /* cannot be reached */
        assert_int_equal(stats_of(pool).idle_thread, 1);
        struct waiter_thread w = {.pool = pool, .timeout_ms = BUFFERPOOL_NEVER};
        test_crew_t *waiter = start_threads(1, wait_and_put, &w);
        while (!somebody_waits(pool))
            sched_yield();
        pthread_barrier_wait(&owner.step);
        join_threads(waiter);
        if (act != EXIT) {
            pthread_barrier_wait(&owner.step);
            pthread_barrier_wait(&owner.step);
        }
        join_threads(crew);
        assert_non_null(w.buf);
        if (act == GET_TIMED)
            assert_non_null(owner.got);
        if (act != PUT)
            bufferpool_put(owner.held);
        assert_int_equal(stats_of(pool).stolen, 0);
        check_laws(pool, &blocks, 0);
        destroy_empty(pool, &blocks);
        pthread_barrier_destroy(&owner.step);
    }
}

struct load {
    bufferpool_t *pool;
    size_t turns;
};

static void take_turns(void *arg, unsigned index)
{
    const struct load *load = arg;
    for (size_t turn = 0; turn < load->turns; turn++) {
        bufferpool_buf_t *buf = bufferpool_get_timed(load->pool, BUFFERPOOL_NEVER);
        if (!thread_check(buf != NULL))
            return;
        buf->data[0] = (unsigned char)index;
        if (turn % 16 == 0)
            sched_yield();
        bufferpool_put(buf);
        if (turn % 256 == index) /* raised and lowered, so that the gates open and close again */
            bufferpool_set_max_live(load->pool, turn % 512 == index ? 20 : 2);
    }
}

static void no_thread_waits_for_ever_without_membarrier(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct load load = {pool_with_cap(&blocks, 2), test_scale(10000, 1000)};
    run_threads(8, take_turns, &load);
    assert_false(somebody_waits(load.pool));
    check_laws(load.pool, &blocks, 0);
    destroy_empty(load.pool, &blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_handed_over_at_the_last_moment_is_not_lost),
        cmocka_unit_test(a_spurious_wake_up_ends_no_wait),
        cmocka_unit_test(the_next_call_of_an_owner_serves_a_waiting_thread),
        cmocka_unit_test(no_thread_waits_for_ever_without_membarrier),
    };
    return cmocka_run_group_tests_name("wait_rarely", tests, NULL, NULL);
}
