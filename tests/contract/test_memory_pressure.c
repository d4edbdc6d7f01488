/* SPDX-License-Identifier: MIT
 *
 * test_memory_pressure.c - BUFFERPOOL_PRESSURE: the pool is trimmed when the system is short of memory
 *
 * The test is the system: MEMORY_PRESSURE_WATCH names its own FIFO or socket. It waits for what the library's thread
 * does as long as it takes, up to a deadline that only a failure meets.
 */
#include "support/laws.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define WATCH "MEMORY_PRESSURE_WATCH"
#define WRITE "MEMORY_PRESSURE_WRITE"

enum { CAPACITY = 1024, SOME = 20, DEADLINE_S = 30, CHILD_SECONDS = 60, FILES_MAX = 64 };

/* ---- seeing ---- */

static bool in_time(time_t since)
{
    const struct timespec ms = {0, 1000000};
    struct timespec now;
    nanosleep(&ms, NULL);
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec - since < DEADLINE_S;
}

static time_t seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* Whether the condition comes to hold. */
#define comes(condition)                                                                                               \
    __extension__({                                                                                                    \
        const time_t since_ = seconds();                                                                               \
        bool holds_ = (condition);                                                                                     \
        while (!holds_ && in_time(since_))                                                                             \
            holds_ = (condition);                                                                                      \
        holds_;                                                                                                        \
    })
#define until(condition) assert_true(comes(condition))

static size_t entries_of(const char *path)
{
    size_t n = 0;
    DIR *folder = opendir(path);
    while (folder != NULL && readdir(folder) != NULL)
        n++;
    if (folder != NULL)
        closedir(folder);
    return n;
}

static size_t threads(void)
{
    return entries_of("/proc/self/task");
}

static size_t open_files(void)
{
    size_t n = 0;
    for (int i = 0; i < FILES_MAX; i++)
        n += fcntl(i, F_GETFD) != -1;
    return n;
}

static bool watched(const bufferpool_t *pool)
{
    return stats_of(pool).memory_pressure_watched == 1;
}

static uint64_t trims(const bufferpool_t *pool)
{
    return stats_of(pool).memory_pressure_trims;
}

static uint64_t idle(const bufferpool_t *pool)
{
    const bufferpool_stats_t stats = stats_of(pool);
    return stats.idle_thread + stats.idle_depot;
}

/* ---- pools ---- */

static bufferpool_t *pool_with(unsigned flags, unsigned interval_ms)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.reclaim_interval_ms = interval_ms;
    config.flags = flags;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static bufferpool_t *pressure_pool(void)
{
    return pool_with(BUFFERPOOL_PRESSURE | BUFFERPOOL_START_NOW, BUFFERPOOL_NEVER);
}

static void use(bufferpool_t *pool)
{
    bufferpool_buf_t *bufs[SOME];
    thread_check(bufferpool_get_bulk(pool, bufs, SOME) == 0);
    bufferpool_put_bulk(bufs, SOME);
}

static void use_now(bufferpool_t *pool)
{
    use(pool);
    assert_int_equal(idle(pool), SOME);
}

/* ---- sources ---- */

static char folder[] = "/tmp/bufferpool-memory-pressure-XXXXXX";
static char fifo[64], address[64];
static int listener = -1;

static int begin(void **state)
{
    (void)state;
    unsetenv(WRITE);
    memset(folder + strlen(folder) - 6, 'X', 6);
    assert_non_null(mkdtemp(folder));
    snprintf(fifo, sizeof fifo, "%s/fifo", folder);
    snprintf(address, sizeof address, "%s/socket", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    setenv(WATCH, fifo, 1);
    return 0;
}

static int end(void **state)
{
    (void)state;
    if (listener >= 0)
        close(listener);
    listener = -1;
    unlink(fifo);
    unlink(address);
    return rmdir(folder);
}

static void listen_instead(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    memcpy(name.sun_path, address, strlen(address) + 1);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, 4), 0);
    setenv(WATCH, address, 1);
}

static void tell_fifo(void)
{
    const int writer = open(fifo, O_WRONLY | O_NONBLOCK); /* there is a reader, or it fails */
    assert_true(writer >= 0);
    assert_int_equal(write(writer, "!", 1), 1);
    close(writer);
}

/* ---- what it does ---- */

static void news_of_a_fifo_trims_the_pool(void **state)
{
    (void)state;
    const size_t before = open_files();
    bufferpool_t *pool = pressure_pool();
    assert_true(watched(pool));
    for (uint64_t i = 1; i <= 3; i++) { /* the writer comes and goes */
        use_now(pool);
        tell_fifo();
        until(trims(pool) == i);
        assert_int_equal(idle(pool), 0);
        assert_int_equal(stats_of(pool).reclaimed_bytes, i * SOME * CAPACITY);
    }
    assert_int_equal(bufferpool_destroy(pool), 0);
    assert_int_equal(open_files(), before);
}

static void the_first_get_starts_the_watch(void **state)
{
    (void)state;
    const size_t before = open_files();
    bufferpool_t *pool = pool_with(BUFFERPOOL_PRESSURE, BUFFERPOOL_NEVER);
    assert_false(watched(pool));
    assert_int_equal(open_files(), before);
    use(pool);
    assert_true(watched(pool));
    tell_fifo();
    until(trims(pool) == 1);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* The other pool is a clock: the thread has ended many of its periods. */
static void without_background_nothing_is_reclaimed_by_time(void **state)
{
    (void)state;
    bufferpool_t *pool = pool_with(BUFFERPOOL_PRESSURE | BUFFERPOOL_START_NOW, 1);
    bufferpool_t *both = pool_with(BUFFERPOOL_PRESSURE | BUFFERPOOL_BACKGROUND | BUFFERPOOL_START_NOW, 1);
    assert_true(watched(pool) && watched(both));
    use_now(pool);
    for (int i = 0; i < 5; i++) { /* it reclaims by time, also while it waits for news */
        use(both);
        until(idle(both) == 0);
    }
    assert_int_equal(trims(both), 0);
    assert_int_equal(idle(pool), SOME);
    tell_fifo();
    until(trims(pool) == 1 && trims(both) == 1);
    assert_int_equal(idle(pool), 0);
    use_now(pool);
    for (int i = 0; i < 5; i++) { /* the same after a trim */
        use(both);
        until(idle(both) == 0);
    }
    assert_int_equal(idle(pool), SOME);
    assert_int_equal(bufferpool_destroy(pool), 0);
    assert_int_equal(bufferpool_destroy(both), 0);
}

static void only_pools_with_the_flag_are_trimmed(void **state)
{
    (void)state;
    bufferpool_t *other = pool_with(BUFFERPOOL_BACKGROUND | BUFFERPOOL_START_NOW, 1000000); /* the thread sleeps */
    use_now(other);
    assert_false(watched(other));
    bufferpool_t *first = pressure_pool(), *second = pressure_pool(); /* and comes to watch */
    assert_true(watched(first) && watched(second) && !watched(other));
    use_now(first);
    use_now(second);
    tell_fifo();
    until(trims(first) == 1 && trims(second) == 1);
    assert_int_equal(idle(first) + idle(second), 0);
    assert_int_equal(idle(other), SOME);
    assert_int_equal(trims(other), 0);
    assert_int_equal(bufferpool_destroy(first), 0);
    assert_int_equal(bufferpool_destroy(other), 0);
    assert_int_equal(bufferpool_destroy(second), 0);
}

static int accepted(void)
{
    struct pollfd ask = {listener, POLLIN, 0};
    // cppcheck-suppress nullPointer ; accept4 takes NULL for an address that nobody wants
    return poll(&ask, 1, DEADLINE_S * 1000) == 1 ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
}

static void a_socket_gets_the_bytes_and_gives_the_news(void **state)
{
    (void)state;
    char bytes[64];
    listen_instead();
    setenv(WRITE, "c29tZSAxIDIA", 1);
    bufferpool_t *pool = pressure_pool();
    const int peer = accepted();
    assert_int_equal(read(peer, bytes, sizeof bytes), sizeof "some 1 2");
    assert_string_equal(bytes, "some 1 2");
    use_now(pool);
    assert_int_equal(write(peer, "!", 1), 1);
    until(trims(pool) == 1);
    assert_int_equal(idle(pool), 0);
    close(peer);
    until(!watched(pool));
    assert_int_equal(trims(pool), 1);
    use_now(pool); /* the pool goes on, and the thread does not look again */
    bufferpool_t *late = pressure_pool();
    assert_false(watched(late));
    assert_int_equal(bufferpool_destroy(pool), 0);
    assert_int_equal(bufferpool_destroy(late), 0);
    pool = pressure_pool(); /* another thread does */
    assert_true(watched(pool));
    close(accepted());
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* ---- where there is no news ---- */

static void dev_null_turns_it_off(void **state)
{
    (void)state;
    const size_t files = open_files(), before = threads();
    setenv(WATCH, "/dev/null", 1);
    bufferpool_t *pool = pressure_pool();
    assert_false(watched(pool));
    use_now(pool);
    assert_int_equal(open_files(), files);
    assert_int_equal(threads(), before); /* nor is there a thread */
    assert_int_equal(bufferpool_trim(pool), SOME * CAPACITY);
    assert_int_equal(trims(pool), 0); /* a call of the program is none of these */
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static bool watched_with(const char *watch, const char *write)
{
    setenv(WATCH, watch, 1);
    if (write != NULL)
        setenv(WRITE, write, 1);
    bufferpool_t *pool = pressure_pool();
    const bool is_watched = watched(pool);
    use_now(pool);
    assert_int_equal(bufferpool_destroy(pool), 0);
    unsetenv(WRITE);
    return is_watched;
}

static void wrong_values_are_as_if_they_were_not_there(void **state)
{
    (void)state;
    char plain[80];
    snprintf(plain, sizeof plain, "%s/plain", folder);
    close(open(plain, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    const size_t before = open_files();
    unsetenv(WATCH);
    bufferpool_t *pool = pressure_pool();
    const bool otherwise = watched(pool); /* as the system has it */
    assert_int_equal(bufferpool_destroy(pool), 0);

    const char *const wrong[] = {"", "fifo", "/nowhere", plain, folder, "/dev/zero"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(watched_with(wrong[i], NULL), otherwise);
    assert_int_equal(watched_with(fifo, "no base64"), otherwise);
    listen_instead();
    close(listener); /* nobody listens */
    listener = -1;
    assert_int_equal(watched_with(address, NULL), otherwise);
    assert_int_equal(open_files(), before);
    unlink(plain);
}

/* ---- START_NOW ---- */

static void start_now_needs_one_of_the_flags(void **state)
{
    (void)state;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.flags = BUFFERPOOL_START_NOW;
    assert_null(bufferpool_create(&config));
    assert_int_equal(errno, EINVAL);
    assert_int_equal(bufferpool_destroy(pressure_pool()), 0);
}

/* ---- fork, exec, the end ---- */

struct parent {
    bufferpool_t *pool;
    size_t files; /* before there was a pool */
};

static int child_that_watches(void *arg)
{
    const struct parent *parent = arg;
    thread_check(open_files() == parent->files + 1); /* the peer's; the two of the library are gone */
    thread_check(!watched(parent->pool));
    use(parent->pool);
    thread_check(watched(parent->pool));
    thread_check(open_files() == parent->files + 3);
    thread_check(comes(trims(parent->pool) == 1));
    thread_check(bufferpool_destroy(parent->pool) == 0);
    thread_check(open_files() == parent->files + 1);
    end_child(test_recorded_failure());
}

static sem_t begun;

/* Tells the child's thread, once it has come. */
static void *tell_the_child(void *arg)
{
    int *peer = arg;
    sem_post(&begun);
    *peer = accepted();
    thread_check(write(*peer, "!", 1) == 1);
    return NULL;
}

static void a_child_of_fork_opens_its_own(void **state)
{
    (void)state;
    if (TEST_TSAN) /* it takes threads of the child for ones of the parent */
        skip();
    listen_instead();
    struct parent parent = {NULL, open_files()};
    parent.pool = pressure_pool();
    const int own_peer = accepted();
    use_now(parent.pool);
    int childs_peer;
    pthread_t thread;
    assert_int_equal(sem_init(&begun, 0, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, tell_the_child, &childs_peer), 0);
    /* A thread that begins may have the lock of AddressSanitizer's allocator, which the child would wait for. */
    while (sem_wait(&begun) != 0)
        ;
    const int status = run_in_child(child_that_watches, &parent, CHILD_SECONDS);
    pthread_join(thread, NULL);
    sem_destroy(&begun);
    assert_int_equal(status, 0);
    assert_int_equal(trims(parent.pool), 0); /* that news was the child's */
    assert_int_equal(idle(parent.pool), SOME);
    assert_int_equal(write(own_peer, "!", 1), 1);
    until(trims(parent.pool) == 1);
    close(own_peer);
    close(childs_peer);
    assert_int_equal(bufferpool_destroy(parent.pool), 0);
}

static void exec_closes_both_files(void **state)
{
    (void)state;
    const size_t before = open_files();
    bufferpool_t *pool = pressure_pool();
    size_t closed = 0;
    for (int i = 0; i < FILES_MAX; i++) {
        const int flags = fcntl(i, F_GETFD);
        closed += flags != -1 && (flags & FD_CLOEXEC) != 0;
    }
    assert_int_equal(open_files(), before + 2);
    assert_true(closed >= 2);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static int exit_while_watching(void *unused)
{
    (void)unused;
    bufferpool_t *pool = pressure_pool();
    use(pool);
    exit(test_recorded_failure());
}

static void exit_does_not_wait_for_news(void **state)
{
    (void)state;
    if (TEST_TSAN) /* it takes threads of the child for ones of the parent */
        skip();
    assert_int_equal(run_in_child(exit_while_watching, NULL, CHILD_SECONDS), 0);
}

/* Pools come and go while news comes: nothing is lost or used too late. */
static void pools_may_come_and_go_meanwhile(void **state)
{
    (void)state;
    const size_t before = open_files(), rounds = test_scale(300, 20);
    for (size_t i = 0; i < rounds; i++) {
        bufferpool_t *first = pressure_pool(), *second = pressure_pool();
        use(first);
        tell_fifo();
        assert_int_equal(bufferpool_destroy(i % 2 ? first : second), 0);
        use(i % 2 ? second : first);
        assert_int_equal(bufferpool_destroy(i % 2 ? second : first), 0);
    }
    assert_int_equal(open_files(), before);
}

#define with_fifo(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_fifo(news_of_a_fifo_trims_the_pool),
        with_fifo(the_first_get_starts_the_watch),
        with_fifo(without_background_nothing_is_reclaimed_by_time),
        with_fifo(only_pools_with_the_flag_are_trimmed),
        with_fifo(a_socket_gets_the_bytes_and_gives_the_news),
        with_fifo(dev_null_turns_it_off),
        with_fifo(wrong_values_are_as_if_they_were_not_there),
        with_fifo(start_now_needs_one_of_the_flags),
        with_fifo(a_child_of_fork_opens_its_own),
        with_fifo(exec_closes_both_files),
        with_fifo(exit_does_not_wait_for_news),
        with_fifo(pools_may_come_and_go_meanwhile),
    };
    return cmocka_run_group_tests_name("memory_pressure", tests, NULL, NULL);
}
