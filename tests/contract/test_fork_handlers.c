/* SPDX-License-Identifier: MIT
 *
 * test_fork_handlers.c - handlers of fork that were installed before the library was loaded, and call it
 *
 * Handlers run inside out: such a one comes between the library's own handler and fork, on both sides. Here each call
 * of the library is made in each place: before fork, after it in the parent, after it in the child. None hangs, and
 * parent and child have the same as without. This program does not link the library; BUFFERPOOL_SHARED_PATH says where
 * it is.
 */
#include "support/support.h"

#include <dlfcn.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/wait.h>

enum { CAPACITY = 1024, MANY = 40, SECONDS = 30, HELD = 3 };

#define FUNCTIONS(f)                                                                                                   \
    f(create) f(destroy) f(get) f(try_get) f(get_timed) f(get_bulk) f(put) f(put_bulk) f(live) f(stats) f(trim)        \
        f(reclaim) f(set_max_live) f(max_live) f(thread_flush) f(buf_reserve) f(buf_from_data) f(metrics) f(holders)   \
            f(record_holders)

#define POINTER(name) static __typeof__(bufferpool_##name) *lib_##name;
FUNCTIONS(POINTER)

static bufferpool_t *pool;
static bufferpool_buf_t *held[HELD];
static bufferpool_buf_t *kept; /* what a handler got and did not put */

static void load(void)
{
    void *handle = dlopen(BUFFERPOOL_SHARED_PATH, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        fail_msg("%s", dlerror());
    void *symbol;
#define FIND(name)                                                                                                     \
    symbol = dlsym(handle, "bufferpool_" #name);                                                                       \
    assert_non_null(symbol);                                                                                           \
    memcpy(&lib_##name, &symbol, sizeof symbol);
    FUNCTIONS(FIND)
    // cppcheck-suppress resourceLeak ; it stays loaded
}

static bufferpool_stats_t stats_of(const bufferpool_t *of)
{
    bufferpool_stats_t s = BUFFERPOOL_STATS_INIT;
    lib_stats(of, &s);
    return s;
}

static bool laws_hold(size_t live)
{
    const bufferpool_stats_t s = stats_of(pool);
    const uint64_t gets = s.gets_thread + s.gets_depot + s.gets_fresh + s.gets_bypass;
    const uint64_t puts = s.puts_kept + s.drops_oversize + s.drops_bypass + s.drops_over_cap + s.drops_idle_limit;
    return s.live == live && s.bypass_live == 0 && lib_live(pool) == live && gets == puts + live;
}

static bufferpool_t *make_pool(unsigned flags)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = (size_t)8 * CAPACITY;
    config.reclaim_interval_ms = 1;
    config.flags = flags;
    return lib_create(&config);
}

static void use(bufferpool_t *of)
{
    bufferpool_buf_t *bufs[MANY];
    for (size_t i = 0; i < MANY; i++) {
        if (!thread_check((bufs[i] = lib_get(of)) != NULL))
            return;
        test_fill(bufs[i]->data, CAPACITY, i);
    }
    for (size_t i = 0; i < MANY; i++) {
        thread_check(test_filled(bufs[i]->data, CAPACITY, i));
        lib_put(bufs[i]);
    }
}

/* ---- the calls ---- */

static void call_nothing(void)
{
}

static void call_get(void)
{
    kept = lib_get(pool);
    thread_check(kept != NULL);
}

static void call_put(void)
{
    lib_put(lib_try_get(pool));
}

static void call_many(void)
{
    use(pool);
    use(NULL);
    bufferpool_buf_t *bufs[MANY];
    thread_check(lib_get_bulk(pool, bufs, MANY) == 0);
    lib_put_bulk(bufs, MANY);
}

static void call_trim(void)
{
    (void)lib_trim(pool);
    (void)lib_trim(NULL);
}

static void call_reclaim(void)
{
    (void)lib_reclaim(pool);
}

static void call_set_max_live(void)
{
    lib_set_max_live(pool, HELD);
    thread_check(lib_try_get(pool) == NULL && lib_get_timed(pool, 1) == NULL && lib_max_live(pool) == HELD);
    lib_set_max_live(pool, 0);
}

static void call_stats(void)
{
    thread_check(laws_hold(HELD));
}

static void call_texts(void)
{
    bufferpool_buf_t *text = lib_get(NULL);
    thread_check(text != NULL && lib_metrics(text) == 0 && lib_holders(text) == 0 && text->len > 0);
    lib_put(text);
    for (int on = 1; on >= 0; on--) {
        const int error = lib_record_holders(on);
        thread_check(error == 0 || error == ENOTSUP); /* built without debug modes */
    }
}

static void call_thread_flush(void)
{
    lib_thread_flush();
}

static void call_reserve(void)
{
    thread_check(lib_buf_reserve(held[1], held[1]->cap + 1) == 0);
    thread_check(lib_buf_from_data(held[1]->data) == held[1]);
}

static void call_create(void)
{
    bufferpool_t *own = make_pool(0);
    thread_check(own != NULL);
    use(own);
    thread_check(lib_destroy(own) == 0);
}

/* Its end waits for the library's thread, which works on the pool meanwhile, and so needs the pool's lock. */
static void call_create_with_thread(void)
{
    bufferpool_t *own = make_pool(BUFFERPOOL_BACKGROUND);
    thread_check(own != NULL);
    for (int i = 0; i < 20; i++) {
        use(own);
        lib_thread_flush();
        sched_yield();
    }
    thread_check(lib_destroy(own) == 0);
}

static void (*const calls[])(void) = {
    call_nothing,
    call_get,
    call_put,
    call_many,
    call_trim,
    call_reclaim,
    call_set_max_live,
    call_stats,
    call_texts,
    call_thread_flush,
    call_reserve,
    call_create,
    call_create_with_thread,
};

/* ---- the handlers ---- */

enum place { NOWHERE, BEFORE, IN_PARENT, IN_CHILD, PLACES };

static enum place place;
static void (*call)(void);

static void call_at(enum place here)
{
    if (place == here) {
        place = NOWHERE; /* in the child, what BEFORE did is done */
        call();
        place = here;
    }
}

static void before(void)
{
    call_at(BEFORE);
}

static void in_parent(void)
{
    call_at(IN_PARENT);
}

static void in_child(void)
{
    call_at(IN_CHILD);
}

/* ---- a process that forks ---- */

/* Another thread, which the child does not have. */
static void *park(void *parked)
{
    lib_put(lib_get(pool));
    sem_post(parked);
    for (;;)
        pause();
    return NULL;
}

static bool is_as_it_was(bool in_child_here)
{
    const bool has_kept = kept != NULL && (place == BEFORE || (place == IN_CHILD) == in_child_here);
    if (!laws_hold(HELD + has_kept))
        return false;
    for (size_t i = 0; i < HELD; i++)
        if (!test_filled(held[i]->data, CAPACITY, 100 + i))
            return false;
    use(pool);
    use(NULL);
    if (stats_of(pool).thread_caches != (in_child_here || TEST_TSAN ? 1 : 2))
        return false;
    (void)lib_trim(pool);
    if (has_kept)
        lib_put(kept);
    lib_put_bulk(held, HELD);
    return laws_hold(0) && lib_trim(pool) > 0 && lib_destroy(pool) == 0 && !test_recorded_failure();
}

static int fork_and_look(void *unused)
{
    (void)unused;
    pool = make_pool(0);
    if (pool == NULL)
        return 2;
    for (size_t i = 0; i < HELD; i++) {
        held[i] = lib_get(pool);
        test_fill(held[i]->data, CAPACITY, 100 + i);
        held[i]->len = CAPACITY;
    }
    use(pool);
    sem_t parked;
    pthread_t thread;
    if (!TEST_TSAN) { /* it takes threads of a child for ones of its parent */
        if (sem_init(&parked, 0, 0) != 0 || pthread_create(&thread, NULL, park, &parked) != 0)
            return 5;
        sem_wait(&parked);
    }
    const enum place here = place;
    const pid_t child = fork();
    place = here;
    if (child == 0) {
        alarm(SECONDS);
        _exit(is_as_it_was(true) ? 0 : 1);
    }
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        return 3;
    return is_as_it_was(false) ? 0 : 4;
}

static void a_handler_may_call_anything(void **state)
{
    (void)state;
    for (enum place where = BEFORE; where < PLACES; where++) {
        for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
            if (TEST_TSAN && calls[i] == call_create_with_thread)
                continue; /* it takes threads of a child for ones of its parent */
            pid_t child = fork();
            if (child == 0) {
                alarm(SECONDS);
                place = where;
                call = calls[i];
                _exit(fork_and_look(NULL));
            }
            int status = -1;
            assert_int_equal(waitpid(child, &status, 0), child);
            if (status != 0)
                fail_msg("place %d, call %zu: wait status %#x", (int)where, i, (unsigned)status);
        }
    }
}

int main(void)
{
    if (pthread_atfork(before, in_parent, in_child) != 0)
        return 1;
    load();
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_handler_may_call_anything)};
    return cmocka_run_group_tests_name("fork_handlers", tests, NULL, NULL);
}
