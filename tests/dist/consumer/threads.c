/* A user of the library with threads. Usage: threads [LIBRARY]
 * With LINKED it is linked with the library, else it opens LIBRARY with dlopen. Threads get, fill, hand over and put at
 * a cap; at the end everything is idle, the main thread trims what the others keep, and a child after fork goes on. */
#include <bufferpool.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, TURNS = 20000, HELD = 40, CAP = 100 };

#define FUNCTIONS(use)                                                                                                 \
    use(create) use(destroy) use(get) use(put) use(try_get) use(get_timed) use(trim) use(live) use(stats)              \
        use(buf_printf) use(buf_append)

#ifdef LINKED
#define FIND(name) (void)0;
#define CALL(name) bufferpool_##name
#else
#define DECLARE(name) static __typeof__(&bufferpool_##name) lib_##name;
FUNCTIONS(DECLARE)
#define FIND(name)    find("bufferpool_" #name, &lib_##name);
#define CALL(name)    lib_##name
#endif

#define CHECK(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))

static _Noreturn void fail(int line, const char *what)
{
    fprintf(stderr, "threads.c:%d: not so: %s\n", line, what);
    exit(EXIT_FAILURE);
}

#ifndef LINKED
static void *library;

static void find(const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    if (symbol == NULL)
        fail(__LINE__, name);
    memcpy(function, &symbol, sizeof(symbol));
}
#endif

static bufferpool_t *pool;
static _Atomic(bufferpool_buf_t *) handed_over;
static pthread_barrier_t holding, used, trimmed;

static void check_and_put(bufferpool_buf_t *buf)
{
    CHECK(buf->len == 10 && memcmp(buf->data, "hello, you", 10) == 0);
    CALL(put)(buf);
}

static bufferpool_buf_t *get_filled(bufferpool_t *from)
{
    bufferpool_buf_t *buf = CALL(get)(from);
    CHECK(buf != NULL && buf->len == 0);
    CHECK(CALL(buf_printf)(buf, "%s, ", "hello") == 0);
    CHECK(CALL(buf_append)(buf, "you", 3) == 0);
    return buf;
}

static void *work(void *unused)
{
    bufferpool_buf_t *held[HELD];
    for (int turn = 0; turn < TURNS; turn++) {
        bufferpool_buf_t *other = atomic_exchange(&handed_over, get_filled(pool));
        if (other != NULL)
            check_and_put(other);
    }
    for (int i = 0; i < HELD; i++)
        held[i] = get_filled(pool);
    pthread_barrier_wait(&holding); /* all hold theirs, which are more than the cap */
    for (int i = 0; i < HELD; i++)
        check_and_put(held[i]);
    check_and_put(get_filled(NULL));
    pthread_barrier_wait(&used);
    pthread_barrier_wait(&trimmed);
    check_and_put(get_filled(pool));
    return unused;
}

static bufferpool_stats_t stats_of(const bufferpool_t *of)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    CALL(stats)(of, &stats);
    return stats;
}

static void child_goes_on(void)
{
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        check_and_put(get_filled(pool));
        _exit(CALL(live)(pool) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(int argc, char **argv)
{
#ifdef LINKED
    (void)argv;
    CHECK(argc == 1);
#else
    CHECK(argc == 2);
    if ((library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL)) == NULL) {
        fprintf(stderr, "dlopen: %s\n", dlerror());
        return EXIT_FAILURE;
    }
#endif
    FUNCTIONS(FIND)

    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.max_live = CAP;
    config.flags = BUFFERPOOL_BACKGROUND;
    CHECK((pool = CALL(create)(&config)) != NULL);

    pthread_t threads[THREADS];
    pthread_barrier_init(&holding, NULL, THREADS);
    pthread_barrier_init(&used, NULL, THREADS + 1);
    pthread_barrier_init(&trimmed, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
    pthread_barrier_wait(&used);
    check_and_put(atomic_load(&handed_over));

    bufferpool_stats_t stats = stats_of(pool);
    CHECK(stats.live == 0 && stats.gets_bypass > 0 && stats.gets_thread > TURNS);
    CHECK(stats.idle_bytes > 0 && stats.thread_caches >= THREADS);
    CALL(trim)(pool);
    CHECK(stats_of(pool).idle_bytes == 0);
    pthread_barrier_wait(&trimmed);

    /* All that are left are taken, wherever they idle. */
    bufferpool_buf_t *all[CAP];
    for (int i = 0; i < CAP; i++)
        CHECK((all[i] = CALL(try_get)(pool)) != NULL || i >= CAP - THREADS);
    for (int i = 0; i < CAP; i++)
        if (all[i] != NULL)
            CALL(put)(all[i]);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    bufferpool_buf_t *waited = CALL(get_timed)(pool, 1000);
    CHECK(waited != NULL);
    CALL(put)(waited);
    child_goes_on();
    CHECK(CALL(destroy)(pool) == 0);
    return EXIT_SUCCESS;
}
