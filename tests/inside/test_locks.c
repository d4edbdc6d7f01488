/* SPDX-License-Identifier: MIT
 *
 * test_locks.c - each lock is given back by the thread that took it, and what it guards changes under it alone
 *
 * A call that leaves its lock out gives back what it does not have; one that leaves the other half out keeps it. One
 * that takes it too late, or gives it back too early, changes what is guarded. Where no second thread comes at that
 * moment, nothing else tells. The linker's --wrap counts for each thread which locks it holds, and compares what is
 * guarded when a lock is taken with what it was when the lock was given back, in a tour through the calls, plain and
 * under the debug modes.
 */
#include "support/hands.h"

#include <sched.h>
#include <sys/wait.h>

enum { CAPACITY = 4096, CAP = 6, MANY = 200, QUARANTINE = 20, HELD_MAX = 64 };

/* ---- which locks ---- */

static _Thread_local pthread_mutex_t *held[HELD_MAX];
static _Thread_local size_t locks;
static atomic_size_t violations;
static _Atomic(pthread_mutex_t *) waited_with; /* by a thread with a deadline */

/* The bytes of the pool under the tour that a lock guards, and what they were when it was given back. */
static struct guarded {
    const pthread_mutex_t *lock;
    const void *bytes;
    size_t size;
    unsigned char seen[sizeof(struct slabs)];
} guarded[9];

static atomic_size_t guarded_n;

static void guard(const pthread_mutex_t *lock, const void *bytes, size_t size)
{
    const size_t n = atomic_load(&guarded_n);
    guarded[n] = (struct guarded){.lock = lock, .bytes = bytes, .size = size};
    memcpy(guarded[n].seen, bytes, size);
    atomic_store(&guarded_n, n + 1);
}

static void add(pthread_mutex_t *mutex)
{
    if (locks == HELD_MAX)
        abort();
    held[locks++] = mutex;
    for (size_t i = 0; i < atomic_load(&guarded_n); i++)
        if (guarded[i].lock == mutex && memcmp(guarded[i].seen, guarded[i].bytes, guarded[i].size) != 0)
            atomic_fetch_add(&violations, 1);
}

static void note(const pthread_mutex_t *mutex)
{
    for (size_t i = 0; i < atomic_load(&guarded_n); i++)
        if (guarded[i].lock == mutex)
            memcpy(guarded[i].seen, guarded[i].bytes, guarded[i].size);
}

static bool has(const pthread_mutex_t *mutex)
{
    for (size_t i = 0; i < locks; i++)
        if (held[i] == mutex)
            return true;
    atomic_fetch_add(&violations, 1);
    return false;
}

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    const int error = __real_pthread_mutex_lock(mutex);
    add(mutex);
    return error;
}

int __real_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    const int error = __real_pthread_mutex_trylock(mutex);
    if (error == 0)
        add(mutex);
    return error;
}

int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    if (!has(mutex))
        return 0; /* to give back what another thread holds would only hide it */
    size_t i = 0;
    while (held[i] != mutex)
        i++;
    held[i] = held[--locks];
    note(mutex);
    return __real_pthread_mutex_unlock(mutex);
}

int __real_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    (void)has(mutex);
    note(mutex);
    return __real_pthread_cond_wait(condition, mutex);
}

int __real_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *at);
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *at);
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *at)
{
    (void)has(mutex);
    note(mutex);
    atomic_store(&waited_with, mutex);
    return __real_pthread_cond_timedwait(condition, mutex, at);
}

/* In a child of fork, where the library makes the locks anew that were held across it. */
static void begin_child(void)
{
    locks = 0;
    atomic_store(&guarded_n, 0);
}

/* After the handlers of exit() and the library's own end. */
__attribute__((destructor(101))) static void check_the_end(void)
{
    modes_check(atomic_load(&violations) == 0);
}

static bool no_mappings;

void *__real_os_map(size_t n, bool huge);
void *__wrap_os_map(size_t n, bool huge);
void *__wrap_os_map(size_t n, bool huge)
{
    return no_mappings ? NULL : __real_os_map(n, huge);
}

/* ---- the tour ---- */

/* Each call leaves no lock behind. Reports by exit status where it runs in a child. */
#define CALL(expression)                                                                                               \
    do {                                                                                                               \
        expression;                                                                                                    \
        modes_check(locks == 0);                                                                                       \
    } while (0)

static void use_buffers(bufferpool_t *pool)
{
    bufferpool_buf_t *bufs[MANY] = {NULL};
    for (size_t i = 0; i < MANY; i++)
        CALL(bufs[i] = bufferpool_get(pool));
    for (size_t i = 0; i < MANY; i += 5)
        for (int twice = 0; twice < 2; twice++)
            CALL((void)bufferpool_buf_reserve(bufs[i], (size_t)CAPACITY << (i / 5 % 8 + (size_t)twice)));
    for (size_t i = 0; i < MANY; i++)
        CALL(bufferpool_put(bufs[i]));
    CALL((void)bufferpool_get_bulk(pool, bufs, MANY));
    CALL(bufferpool_put_bulk(bufs, MANY));
    for (int turn = 0; turn < 6; turn++) { /* the sixth shrinks it */
        CALL(bufs[0] = bufferpool_get(pool));
        CALL((void)bufferpool_buf_reserve(bufs[0], CAPACITY + (turn == 0)));
        CALL(bufferpool_put(bufs[0]));
    }
}

static void wait_at_the_cap(bufferpool_t *pool)
{
    bufferpool_buf_t *bufs[CAP + 1] = {NULL};
    for (size_t i = 0; i < CAP; i++)
        CALL(bufs[i] = bufferpool_try_get(pool));
    CALL(bufs[CAP] = bufferpool_get_timed(pool, 1));
    for (size_t i = 0; i <= CAP; i++)
        CALL(bufferpool_put(bufs[i]));
    CALL(bufs[0] = bufferpool_get_timed(pool, 1));
    CALL(bufferpool_put(bufs[0]));
}

static void look(bufferpool_t *pool)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    bufferpool_buf_t *out;
    CALL(out = bufferpool_get(NULL));
    CALL(bufferpool_stats(pool, &stats));
    CALL((void)bufferpool_metrics(out));
    CALL((void)bufferpool_holders(out));
    CALL((void)bufferpool_record_holders(1));
    CALL((void)bufferpool_record_holders(0));
    CALL(bufferpool_put(out));
}

static void *use_in_thread(void *pool)
{
    use_buffers(pool);
    wait_at_the_cap(pool);
    CALL(bufferpool_thread_flush());
    use_buffers(pool);
    return NULL;
}

static void tour(bufferpool_t *pool)
{
    pthread_t thread;
    use_buffers(pool);
    modes_check(pthread_create(&thread, NULL, use_in_thread, pool) == 0);
    pthread_join(thread, NULL);
    CALL(bufferpool_set_max_live(pool, CAP));
    use_buffers(pool);
    wait_at_the_cap(pool);
    look(pool);
    CALL(bufferpool_thread_flush());
    CALL((void)bufferpool_reclaim(pool));
    CALL((void)bufferpool_trim(pool));
}

#define REST_FROM(struct_, field) &(struct_)->field, sizeof(*(struct_)) - offsetof(__typeof__(*(struct_)), field)

static void guard_all(bufferpool_t *pool)
{
    struct cache *own = tls_cache_find(pool->index);
    guard(&pool->caches_lock, &own->gate, sizeof(own->gate));
    guard(&pool->caches_lock, &own->pending, sizeof(own->pending));
    guard(&pool->caches_lock, &pool->unowned_caches, sizeof(pool->unowned_caches));
    guard(&pool->caches_lock, &pool->stuck, sizeof(pool->stuck));
    guard(&pool->caches_lock, &pool->pressure, offsetof(struct pressure, beyond));
    guard(&pool->caches_lock, REST_FROM(&pool->pressure, grant_after));
    guard(&pool->waiters.lock, REST_FROM(&pool->waiters, first));
    guard(&pool->quarantine.lock, REST_FROM(&pool->quarantine, ring));
    guard(&pool->heap.slabs.lock, REST_FROM(&pool->heap.slabs, spans));
}

static void tour_in_child(bufferpool_t *pool)
{
    const pid_t child = fork();
    modes_check(child >= 0 && (child == 0 || locks == 0));
    if (child == 0) {
        begin_child();
        tour(pool);
        CALL((void)bufferpool_destroy(pool));
        _exit(atomic_load(&violations) != 0 ? 1 : 0);
    }
    int status;
    modes_check(waitpid(child, &status, 0) == child && status == 0);
}

/* Until the background thread has freed what idles, but for what the quarantine holds. */
static void await_background(bufferpool_t *pool)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    CALL(bufferpool_thread_flush()); /* where stealing is impossible no other thread reaches this cache */
    do {
        CALL(bufferpool_stats(pool, &stats));
    } while (stats.idle_thread + stats.idle_depot > QUARANTINE);
}

/* The library holds no lock when it calls a hook. */
static void *hook_alloc(size_t size, size_t align, void *ctx)
{
    (void)ctx;
    if (locks > 0)
        atomic_fetch_add(&violations, 1);
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void hook_free(void *block, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    if (locks > 0)
        atomic_fetch_add(&violations, 1);
    free(block);
}

static void tour_with_hooks(bufferpool_config_t config)
{
    bufferpool_t *pool;
    config.alloc = hook_alloc;
    config.free = hook_free;
    CALL(pool = bufferpool_create(&config));
    modes_check(pool != NULL);
    bufferpool_buf_t *buf;
    no_mappings = true; /* there is a block, but no handle */
    CALL(buf = bufferpool_get(pool));
    modes_check(buf == NULL);
    no_mappings = false;
    tour(pool);
    modes_check(bufferpool_destroy(pool) == 0 && locks == 0);
}

static void make_the_tour(void *arg)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    bufferpool_t *pool, *reclaimed;
    (void)arg;
    begin_child();
    config.buffer_capacity = CAPACITY;
    config.max_idle_bytes = (size_t)CAPACITY * MANY;
    tour_with_hooks(config);
    CALL(pool = bufferpool_create(&config));
    config.flags = BUFFERPOOL_BACKGROUND;
    config.reclaim_interval_ms = 1;
    CALL(reclaimed = bufferpool_create(&config));
    modes_check(pool != NULL && reclaimed != NULL);
    use_buffers(pool);
    guard_all(pool);
    tour(pool);
    CALL(bufferpool_set_max_live(pool, 0));
    use_buffers(reclaimed);
    await_background(reclaimed);
    tour_in_child(pool);
    tour(pool);
    atomic_store(&guarded_n, 0);
    modes_check(bufferpool_destroy(reclaimed) == 0 && locks == 0);
    modes_check(bufferpool_destroy(pool) == 0 && locks == 0);
    modes_check(atomic_load(&violations) == 0);
}

static void tour_with(const char *which)
{
    (void)run_with_modes(which, make_the_tour, NULL);
    expect_outcome(0, NULL);
}

static void each_lock_is_given_back_by_its_holder(void **state)
{
    (void)state;
    tour_with(NULL);
}

static void each_lock_is_given_back_under_the_debug_modes(void **state)
{
    (void)state;
    tour_with("poison,redzone,quarantine=20,holders");
    tour_with("nopool");
}

/* ---- the end of a child ---- */

/* Another thread of the parent may be in the middle of a call of the background thread's. */
static void fork_with_the_background_threads_lock_held(void *arg)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    (void)arg;
    config.flags = BUFFERPOOL_BACKGROUND;
    bufferpool_t *pool = bufferpool_create(&config);
    modes_check(pool != NULL);
    bufferpool_put(bufferpool_get(pool));
    while (atomic_load(&waited_with) == NULL)
        sched_yield();
    __real_pthread_mutex_lock(atomic_load(&waited_with));
    const pid_t child = fork();
    if (child == 0) {
        alarm(30);
        exit(0);
    }
    __real_pthread_mutex_unlock(atomic_load(&waited_with));
    int status;
    modes_check(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    modes_check(bufferpool_destroy(pool) == 0);
}

static void a_child_ends_although_the_background_thread_was_in_the_middle(void **state)
{
    (void)state;
    (void)run_with_modes(NULL, fork_with_the_background_threads_lock_held, NULL);
    expect_outcome(0, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_lock_is_given_back_by_its_holder),
        cmocka_unit_test(each_lock_is_given_back_under_the_debug_modes),
        cmocka_unit_test(a_child_ends_although_the_background_thread_was_in_the_middle),
    };
    return cmocka_run_group_tests_name("locks", tests, NULL, NULL);
}
