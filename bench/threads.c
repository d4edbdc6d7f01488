/* SPDX-License-Identifier: MIT
 *
 * threads.c - what calls cost that go over the threads: threads <threads> [pools]
 *
 * So many threads sleep, each with a few idle buffers in its cache of each pool. Another thread makes the calls that
 * concern all of them, and then the sleeping threads end, and it makes some of the calls once more. Prints one line for
 * each call: its name, and its time in microseconds; of calls that can be repeated, the median.
 */
#include "bufferpool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { EACH = 4, CAPACITY = 4096, TURNS = 101 };

static size_t threads, pools;
static bufferpool_t **pool;
static pthread_barrier_t ready, begin, end;

static _Noreturn void fail(const char *what)
{
    (void)fprintf(stderr, "threads: %s\n", what);
    exit(1);
}

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void use(bufferpool_t *of, size_t n)
{
    bufferpool_buf_t *bufs[EACH];
    for (size_t i = 0; i < n; i++)
        if ((bufs[i] = bufferpool_get(of)) == NULL)
            fail("no buffer");
    for (size_t i = 0; i < n; i++)
        bufferpool_put(bufs[i]);
}

static void *sleeper(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < pools; i++)
        use(pool[i], EACH);
    pthread_barrier_wait(&ready);
    pthread_barrier_wait(&begin); /* for the second time the cap is reached, and after a trim */
    for (size_t i = 0; i < pools; i++)
        use(pool[i], EACH);
    pthread_barrier_wait(&ready);
    pthread_barrier_wait(&end);
    return NULL;
}

/* ---- samples ---- */

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void median(const char *name, void (*call)(void))
{
    double us[TURNS];
    for (size_t i = 0; i < TURNS; i++) {
        const double from = now_us();
        call();
        us[i] = now_us() - from;
    }
    qsort(us, TURNS, sizeof(us[0]), compare);
    printf("%-28s %12.2f\n", name, us[TURNS / 2]);
}

static void once(const char *name, void (*call)(void))
{
    const double from = now_us();
    call();
    printf("%-28s %12.2f\n", name, now_us() - from);
}

static void live(void)
{
    (void)bufferpool_live(pool[0]);
}

static void stats(void)
{
    bufferpool_stats_t all = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(pool[0], &all);
}

static void trim(void)
{
    (void)bufferpool_trim(pool[0]);
}

static bufferpool_buf_t **held;
static size_t holds;
static double longest_us;

static void get(void)
{
    if ((held[holds++] = bufferpool_try_get(pool[0])) == NULL)
        fail("nothing although buffers idle");
}

static void get_the_rest(void)
{
    bufferpool_buf_t *buf;
    do {
        const double from = now_us();
        buf = held[holds] = bufferpool_try_get(pool[0]);
        const double us = now_us() - from;
        if (us > longest_us)
            longest_us = us;
        holds += buf != NULL;
    } while (buf != NULL);
}

static void put_all(void)
{
    while (holds > 0)
        bufferpool_put(held[--holds]);
}

static void reclaim(void)
{
    (void)bufferpool_reclaim(pool[0]);
}

/* ---- threads that come while metrics are read ---- */

static volatile bool stop;

static void *comer(void *unused)
{
    (void)unused;
    const double from = now_us();
    use(pool[0], 1);
    const double us = now_us() - from;
    if (us > longest_us)
        longest_us = us;
    return NULL;
}

static void *comers(void *unused)
{
    (void)unused;
    while (!stop) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, comer, NULL) == 0)
            pthread_join(thread, NULL);
    }
    return NULL;
}

static void metrics(void)
{
    bufferpool_buf_t *out = bufferpool_get(NULL);
    if (out == NULL || bufferpool_metrics(out) != 0)
        fail("no metrics");
    bufferpool_put(out);
}

static void beside_metrics(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, comers, NULL) != 0)
        fail("no thread");
    median("metrics", metrics);
    stop = true;
    pthread_join(thread, NULL);
    printf("%-28s %12.2f\n", "a new thread beside it", longest_us);
}

/* ---- the scene ---- */

static void make_pools(void)
{
    pool = calloc(pools, sizeof(void *));
    held = calloc(threads * EACH + 2, sizeof(void *));
    for (size_t i = 0; i < pools; i++) {
        bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
        config.buffer_capacity = CAPACITY;
        config.thread_cache_bytes = (size_t)EACH * CAPACITY;
        config.max_live = threads * EACH + 1; /* one for the threads that come */
        config.reclaim_interval_ms = BUFFERPOOL_NEVER;
        if ((pool[i] = bufferpool_create(&config)) == NULL)
            fail("no pool");
    }
}

int main(int argc, char **argv)
{
    threads = argc > 1 ? strtoul(argv[1], NULL, 10) : 10;
    pools = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
    if (threads == 0 || pools == 0)
        fail("threads <threads> [pools]");
    make_pools();
    pthread_barrier_init(&ready, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&begin, NULL, (unsigned)threads + 1);
    pthread_barrier_init(&end, NULL, (unsigned)threads + 1);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 << 10);
    pthread_t *all = calloc(threads, sizeof(*all));
    for (size_t i = 0; i < threads; i++)
        if (pthread_create(&all[i], &small, sleeper, NULL) != 0)
            fail("not so many threads");
    pthread_barrier_wait(&ready);

    median("live", live);
    median("stats", stats);
    beside_metrics();
    once("trim, all caches full", trim);
    median("trim, all caches empty", trim);
    pthread_barrier_wait(&begin);
    pthread_barrier_wait(&ready);
    get(); /* below the cap */
    once("the first get at the cap", get);
    longest_us = 0;
    get_the_rest();
    printf("%-28s %12.2f\n", "the longest of all", longest_us);
    once("put all", put_all);
    once("reclaim", reclaim);
    median("trim under pressure", trim);
    pthread_barrier_wait(&end);
    for (size_t i = 0; i < threads; i++)
        pthread_join(all[i], NULL);
    median("live, all ended", live);
    median("stats, all ended", stats);
    median("trim, all ended", trim);
    return 0;
}
