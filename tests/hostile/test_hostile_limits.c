/* SPDX-License-Identifier: MIT
 *
 * test_hostile_limits.c - resource limits that are too small: address space, and threads
 *
 * When memory ends, create, get, growth and bulk calls fail with ENOMEM, and nothing is lost. Once the limit is lifted
 * everything goes on. Where no thread can be made, a pool with BUFFERPOOL_BACKGROUND works like a pool without it. Each
 * case is a child.
 */
#include "support/laws.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { CAPACITY = 32768, MOST = 4096, THREADS = 3, CHILD_SECONDS = 60, CANNOT = 77 };

static bufferpool_t *pool;
static bufferpool_buf_t *bufs[MOST];
static pthread_barrier_t limited, lifted;

static size_t address_space(void)
{
    char text[128] = "";
    const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    const ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 ? (size_t)strtoull(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

static bool limit_to(rlim_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0)
        return false;
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    return setrlimit(RLIMIT_AS, &limit) == 0;
}

/* Gets until there is no more. */
static size_t get_all(bufferpool_t *from)
{
    size_t n = 0;
    errno = 0;
    while (n < MOST && (bufs[n] = bufferpool_get(from)) != NULL) {
        test_fill(bufs[n]->data, 64, n);
        n++;
    }
    thread_check(n < MOST && errno == ENOMEM);
    return n;
}

/* A thread whose first call comes when memory has ended. */
static void come_late(void *arg, unsigned index)
{
    (void)arg, (void)index;
    pthread_barrier_wait(&limited);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    thread_check(buf != NULL || errno == ENOMEM);
    bufferpool_put(buf);
    pthread_barrier_wait(&limited);
    pthread_barrier_wait(&lifted);
    buf = bufferpool_get(pool);
    thread_check(buf != NULL);
    bufferpool_put(buf);
}

static int child_without_memory(void *arg)
{
    (void)arg;
    static bufferpool_t *more[MOST];
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    pthread_barrier_init(&limited, NULL, THREADS + 1);
    pthread_barrier_init(&lifted, NULL, THREADS + 1);
    test_crew_t *crew = start_threads(THREADS, come_late, NULL);
    pool = bufferpool_create(&config);
    bufferpool_buf_t *first = bufferpool_get(pool);
    test_fill(first->data, CAPACITY, 7);
    first->len = CAPACITY;
    if (!limit_to(address_space() + ((rlim_t)8 << 20)))
        return CANNOT;

    size_t n = get_all(pool);
    thread_check(laws_hold(pool, NULL, n + 1));
    const size_t cap = first->cap;
    thread_check(bufferpool_buf_reserve(first, (size_t)64 << 20) == ENOMEM);
    thread_check(first->cap == cap && first->len == CAPACITY && test_filled(first->data, CAPACITY, 7));
    thread_check(bufferpool_get_bulk(pool, bufs + n, MOST / 2 < MOST - n ? MOST / 2 : MOST - n) == ENOMEM);
    thread_check(bufferpool_try_get(pool) == NULL && errno == ENOMEM);
    thread_check(bufferpool_get_timed(pool, 1) == NULL && errno == ENOMEM);
    thread_check(laws_hold(pool, NULL, n + 1));
    size_t pools = 0;
    while (pools < MOST && (more[pools] = bufferpool_create(&config)) != NULL)
        pools++;
    thread_check(pools == MOST || errno == ENOMEM);
    pthread_barrier_wait(&limited);
    pthread_barrier_wait(&limited);
    thread_check(laws_hold(pool, NULL, n + 1));
    for (size_t i = 0; i < n; i++)
        thread_check(test_filled(bufs[i]->data, 64, i));

    bufferpool_put(bufs[--n]); /* what is put can be had again */
    thread_check((bufs[n] = bufferpool_get(pool)) != NULL);
    n++;

    thread_check(limit_to(RLIM_INFINITY));
    pthread_barrier_wait(&lifted);
    join_threads(crew);
    thread_check(bufferpool_buf_reserve(first, (size_t)64 << 20) == 0 && test_filled(first->data, CAPACITY, 7));
    thread_check(bufferpool_get_bulk(pool, bufs + n, 100) == 0);
    thread_check(laws_hold(pool, NULL, n + 101));
    bufferpool_put_bulk(bufs, n + 100);
    bufferpool_put(first);
    thread_check(laws_hold(pool, NULL, 0));
    thread_check(bufferpool_trim(pool) > 0 && stats_of(pool).idle_bytes == 0);
    thread_check(bufferpool_destroy(pool) == 0);
    for (size_t i = 0; i < pools; i++)
        thread_check(bufferpool_destroy(more[i]) == 0);
    end_child(test_recorded_failure() ? 1 : 0);
}

static void nothing_is_lost_when_memory_ends(void **state)
{
    (void)state;
    if (TEST_SANITIZED || test_under_valgrind())
        skip(); /* whose own memory is among it */
    const int status = run_in_child(child_without_memory, NULL, CHILD_SECONDS);
    if (status == CANNOT)
        skip();
    assert_int_equal(status, 0);
}

/* ---- threads ---- */

static void *do_nothing(void *unused)
{
    return unused;
}

static int child_without_threads(void *arg)
{
    (void)arg;
    const struct rlimit none = {0, 0};
    pthread_t thread;
    if (setrlimit(RLIMIT_NPROC, &none) != 0 || (geteuid() == 0 && setuid(65534) != 0))
        return CANNOT;
    if (pthread_create(&thread, NULL, do_nothing, NULL) == 0)
        return CANNOT; /* this user is not held to it */
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.flags = BUFFERPOOL_BACKGROUND;
    config.reclaim_interval_ms = 1;
    pool = bufferpool_create(&config);
    errno = 0;
    for (int turn = 0; turn < 100; turn++) {
        for (size_t i = 0; i < 40; i++)
            thread_check((bufs[i] = bufferpool_get(pool)) != NULL);
        bufferpool_put_bulk(bufs, 40);
    }
    thread_check(errno == 0);
    thread_check(laws_hold(pool, NULL, 0));
    while (stats_of(pool).reclaimed_bytes == 0) /* by the calls themselves */
        for (size_t i = 0; i < 40; i++) {
            bufferpool_buf_t *a = bufferpool_get(pool);
            bufferpool_thread_flush();
            bufferpool_put(a);
            bufferpool_thread_flush();
        }
    thread_check(bufferpool_destroy(pool) == 0);
    end_child(test_recorded_failure() ? 1 : 0);
}

static void a_pool_without_its_thread_reclaims_in_its_calls(void **state)
{
    (void)state;
    if (TEST_SANITIZED || test_under_valgrind())
        skip();
    const int status = run_in_child(child_without_threads, NULL, CHILD_SECONDS);
    if (status == CANNOT)
        skip();
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_when_memory_ends),
        cmocka_unit_test(a_pool_without_its_thread_reclaims_in_its_calls),
    };
    return cmocka_run_group_tests_name("hostile_limits", tests, NULL, NULL);
}
