/* SPDX-License-Identifier: MIT
 *
 * test_dlopen.c - the shared library, loaded and closed while threads still live
 *
 * A thread that used the library runs the library's code once more when the thread ends, to empty its caches. So the
 * library must stay mapped after dlclose. Here threads use the library, the handle is closed, and only then the threads
 * go on and end. This program does not link the library; BUFFERPOOL_SHARED_PATH says where it is.
 */
#include "support/support.h"

#include <dlfcn.h>
#include <poll.h>

enum { THREADS = 6 };

struct library {
    void *handle;
    bufferpool_buf_t *(*get)(bufferpool_t *pool);
    void (*put)(bufferpool_buf_t *buf);
    bufferpool_t *(*create)(const bufferpool_config_t *config);
    int (*destroy)(bufferpool_t *pool);
    void (*stats)(const bufferpool_t *pool, bufferpool_stats_t *stats);
    const char *(*version)(void);
    int (*buf_printf)(bufferpool_buf_t *buf, const char *format, ...);
    bufferpool_buf_t *(*get_timed)(bufferpool_t *pool, unsigned timeout_ms);
    bufferpool_buf_t *(*get_async)(bufferpool_t *pool, bufferpool_waiter_t *waiter, bufferpool_notifier_t *notifier);
    bufferpool_notifier_t *(*notifier_create)(void);
    int (*notifier_fd)(const bufferpool_notifier_t *notifier);
    bufferpool_waiter_t *(*notifier_next)(bufferpool_notifier_t *notifier);
    int (*notifier_destroy)(bufferpool_notifier_t *notifier);
    bufferpool_t *pool;
    pthread_barrier_t used;
    pthread_barrier_t closed;
};

/* Linked in, it would stay mapped for that reason, and nothing here could fail. */
static bool loaded_from_the_start;

/* ISO C has no cast from void * to a function pointer; POSIX says that this works. */
static void find(const struct library *library, const char *name, void *function)
{
    void *symbol = dlsym(library->handle, name);
    assert_non_null(symbol);
    memcpy(function, &symbol, sizeof symbol);
}

static void load(struct library *library)
{
    library->handle = dlopen(BUFFERPOOL_SHARED_PATH, RTLD_NOW | RTLD_LOCAL);
    if (library->handle == NULL)
        fail_msg("%s", dlerror());
    find(library, "bufferpool_get", &library->get);
    find(library, "bufferpool_put", &library->put);
    find(library, "bufferpool_create", &library->create);
    find(library, "bufferpool_destroy", &library->destroy);
    find(library, "bufferpool_stats", &library->stats);
    find(library, "bufferpool_version", &library->version);
    find(library, "bufferpool_buf_printf", &library->buf_printf);
    find(library, "bufferpool_get_timed", &library->get_timed);
    find(library, "bufferpool_get_async", &library->get_async);
    find(library, "bufferpool_notifier_create", &library->notifier_create);
    find(library, "bufferpool_notifier_fd", &library->notifier_fd);
    find(library, "bufferpool_notifier_next", &library->notifier_next);
    find(library, "bufferpool_notifier_destroy", &library->notifier_destroy);
}

static void use(struct library *library, bufferpool_t *pool, unsigned index)
{
    char text[32];
    bufferpool_buf_t *a = library->get(pool);
    bufferpool_buf_t *b = library->get(pool);
    if (!thread_check(a != NULL && b != NULL))
        return;
    snprintf(text, sizeof text, "thread %u", index);
    thread_check(library->buf_printf(a, "thread %u", index) == 0);
    thread_check(strcmp((const char *)a->data, text) == 0);
    memset(b->data, 0x55, b->cap);
    library->put(b);
    library->put(a);
}

static void outlive_the_handle(void *arg, unsigned index)
{
    struct library *library = arg;
    use(library, library->pool, index);
    use(library, NULL, index);
    pthread_barrier_wait(&library->used);
    pthread_barrier_wait(&library->closed);
    if (index % 2 == 0)
        use(library, NULL, index);
}

static void threads_may_outlive_dlclose(void **state)
{
    (void)state;
    if (loaded_from_the_start)
        skip();
    const size_t rounds = test_scale(50, 8);
    for (size_t round = 0; round < rounds; round++) {
        struct library library;
        memset(&library, 0, sizeof library);
        load(&library);
        assert_non_null(strchr(library.version(), '.'));
        library.pool = library.create(NULL);
        assert_non_null(library.pool);
        assert_int_equal(pthread_barrier_init(&library.used, NULL, THREADS + 1), 0);
        assert_int_equal(pthread_barrier_init(&library.closed, NULL, THREADS + 1), 0);

        test_crew_t *crew = start_threads(THREADS, outlive_the_handle, &library);
        pthread_barrier_wait(&library.used);
        const int closed = dlclose(library.handle);
        pthread_barrier_wait(&library.closed);
        join_threads(crew);
        assert_int_equal(closed, 0);

        load(&library); /* the same library as before, with all that threads did to it */
        bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
        library.stats(NULL, &stats);
        assert_int_equal(stats.idle_thread, 0);
        assert_int_equal(stats.live, 0);
        assert_int_equal(stats.thread_caches, 0);
        assert_int_equal(stats.gets_thread + stats.gets_depot + stats.gets_fresh, (round + 1) * THREADS * 3);
        assert_int_equal(library.destroy(library.pool), 0);
        assert_int_equal(dlclose(library.handle), 0);
        pthread_barrier_destroy(&library.used);
        pthread_barrier_destroy(&library.closed);
    }
}

static void wait_by_a_notifier(struct library *library)
{
    bufferpool_waiter_t waiter = {0};
    bufferpool_notifier_t *notifier = library->notifier_create();
    if (!thread_check(notifier != NULL))
        return;
    struct pollfd ready = {.fd = library->notifier_fd(notifier), .events = POLLIN};
    bufferpool_buf_t *buf = library->get_async(library->pool, &waiter, notifier);
    thread_check(buf == NULL && errno == EINPROGRESS && poll(&ready, 1, 60000) == 1);
    thread_check(library->notifier_next(notifier) == &waiter && waiter.buf != NULL);
    library->put(waiter.buf);
    thread_check(library->notifier_destroy(notifier) == 0);
}

static void wait_beyond_the_handle(void *arg, unsigned index)
{
    struct library *library = arg;
    if (index == 0) {
        wait_by_a_notifier(library);
    } else {
        bufferpool_buf_t *buf = library->get_timed(library->pool, 60000);
        thread_check(buf != NULL);
        library->put(buf);
    }
}

/* A thread and an event loop wait at the cap while the handle is closed, and are served afterwards. */
static void waits_outlast_dlclose(void **state)
{
    (void)state;
    if (loaded_from_the_start)
        skip();
    struct library library;
    memset(&library, 0, sizeof library);
    load(&library);
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.max_live = 1;
    library.pool = library.create(&config);
    assert_non_null(library.pool);
    bufferpool_buf_t *only = library.get(library.pool);
    assert_non_null(only);
    test_crew_t *crew = start_threads(2, wait_beyond_the_handle, &library);
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    do
        library.stats(library.pool, &stats);
    while (stats.waiting < 2);
    assert_int_equal(dlclose(library.handle), 0);
    library.put(only);
    join_threads(crew);
    load(&library);
    assert_int_equal(library.destroy(library.pool), 0);
    assert_int_equal(dlclose(library.handle), 0);
}

static void the_library_stays_mapped_after_dlclose(void **state)
{
    (void)state;
    struct library library;
    if (loaded_from_the_start)
        skip();
    load(&library);
    assert_int_equal(dlclose(library.handle), 0);
    void *handle = dlopen(BUFFERPOOL_SHARED_PATH, RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(handle);
    assert_int_equal(dlclose(handle), 0);
}

static int end_with_background(void *unused)
{
    (void)unused;
    struct library library;
    load(&library);
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.flags = BUFFERPOOL_BACKGROUND;
    library.pool = library.create(&config);
    if (library.pool == NULL)
        _exit(80);
    use(&library, library.pool, 0);
    exit(0);
}

static void the_process_may_end_while_the_background_thread_runs(void **state)
{
    (void)state;
    if (TEST_TSAN)
        skip();
    assert_int_equal(run_in_child(end_with_background, NULL, 60), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_library_stays_mapped_after_dlclose),
        cmocka_unit_test(threads_may_outlive_dlclose),
        cmocka_unit_test(waits_outlast_dlclose),
        cmocka_unit_test(the_process_may_end_while_the_background_thread_runs),
    };
    void *handle = dlopen(BUFFERPOOL_SHARED_PATH, RTLD_NOW | RTLD_NOLOAD);
    loaded_from_the_start = handle != NULL;
    if (loaded_from_the_start)
        print_message("The library is linked with this program: nothing to show\n");
    return cmocka_run_group_tests_name("dlopen", tests, NULL, NULL);
}
