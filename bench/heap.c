/* SPDX-License-Identifier: MIT
 *
 * heap.c - processor time of what only the heap does: pools that are used once, and bursts in many threads
 *
 *     bench-heap            a table; takes some seconds
 *     bench-heap quick      one round of few buffers, to see that it works
 *
 * once     A pool is created, a buffer is got and put, and the pool is destroyed.
 * burst    Threads take 65,536 buffers of 64 bytes together, and all of them are made anew. Such small ones take a page
 *          fault for 32 buffers, so page faults, which cost all heaps the same, are few. When all are out they are put,
 *          and trimmed. One pool is for all threads, or each thread has its own: so much the same work takes where no
 *          thread meets another.
 *
 * A figure is the median of rounds. In a round each line of the table comes once. Time is processor time of the
 * threads, by their own clocks, so it does not matter what else runs, but for the processor's caches. Threads are
 * pinned, the i-th to processor i modulo their number.
 */
#include "basics.h"

#include <bufferpool.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 9, THREADS_MAX = 256, LINES_MAX = 16, CAPACITY = 64 };

static unsigned rounds = ROUNDS, pools_at_once = 2000, buffers = 65536;

static double processor_ns(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0)
        die("clock_gettime");
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static bufferpool_t *create(size_t capacity)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = capacity;
    config.max_live = buffers;
    bufferpool_t *pool = bufferpool_create(&config);
    if (pool == NULL)
        die("bufferpool_create");
    return pool;
}

static bufferpool_buf_t *get(bufferpool_t *pool)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        die("bufferpool_get");
    return buf;
}

/* ---- pools that are used once ---- */

static double once(void)
{
    const double begin = processor_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (unsigned i = 0; i < pools_at_once; i++) {
        bufferpool_t *pool = create((size_t)32 * 1024);
        bufferpool_put(get(pool));
        (void)bufferpool_destroy(pool);
    }
    return (processor_ns(CLOCK_PROCESS_CPUTIME_ID) - begin) / pools_at_once;
}

/* ---- bursts ---- */

struct burst {
    bufferpool_t *pools[THREADS_MAX];
    bufferpool_buf_t **bufs;
    unsigned threads, share;
    pthread_barrier_t barrier;
};

struct burster {
    struct burst *burst;
    unsigned number;
    double ns[2]; /* of gets, of puts */
};

static void pin(unsigned number)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(number % (processors > 0 ? (unsigned)processors : 1), &one);
    (void)sched_setaffinity(0, sizeof(one), &one); /* if that is not allowed, then without */
}

static void *take_and_put(void *arg)
{
    struct burster *me = arg;
    struct burst *burst = me->burst;
    bufferpool_t *pool = burst->pools[me->number];
    bufferpool_buf_t **mine = burst->bufs + (size_t)me->number * burst->share;
    pin(me->number);
    bufferpool_put(get(pool)); /* the thread has its cache */
    bufferpool_thread_flush();
    pthread_barrier_wait(&burst->barrier);
    const double begin = processor_ns(CLOCK_THREAD_CPUTIME_ID);
    for (unsigned i = 0; i < burst->share; i++)
        mine[i] = get(pool);
    const double between = processor_ns(CLOCK_THREAD_CPUTIME_ID);
    me->ns[0] = between - begin;
    pthread_barrier_wait(&burst->barrier);
    const double again = processor_ns(CLOCK_THREAD_CPUTIME_ID);
    for (unsigned i = 0; i < burst->share; i++)
        bufferpool_put(mine[i]);
    me->ns[1] = processor_ns(CLOCK_THREAD_CPUTIME_ID) - again;
    return NULL;
}

/* Starts the threads, and adds up what each took, per buffer. */
static void run(struct burst *burst, double ns[2])
{
    static struct burster bursters[THREADS_MAX];
    static pthread_t ids[THREADS_MAX];
    ns[0] = ns[1] = 0;
    for (unsigned i = 0; i < burst->threads; i++) {
        bursters[i] = (struct burster){.burst = burst, .number = i};
        if (pthread_create(&ids[i], NULL, take_and_put, &bursters[i]) != 0)
            die("pthread_create");
    }
    for (unsigned i = 0; i < burst->threads; i++) {
        pthread_join(ids[i], NULL);
        for (int what = 0; what < 2; what++)
            ns[what] += bursters[i].ns[what] / (burst->share * burst->threads);
    }
}

static void burst_in(unsigned threads, bool apart, double ns[2])
{
    static struct burst burst;
    burst.threads = threads;
    burst.share = buffers / threads;
    burst.bufs = calloc(buffers, sizeof(bufferpool_buf_t *));
    if (burst.bufs == NULL)
        die("calloc");
    memset(burst.bufs, 0xff, buffers * sizeof(bufferpool_buf_t *)); /* no page fault later */
    for (unsigned i = 0; i < threads; i++)
        burst.pools[i] = apart || i == 0 ? create(CAPACITY) : burst.pools[0];
    pthread_barrier_init(&burst.barrier, NULL, threads);
    run(&burst, ns);
    pthread_barrier_destroy(&burst.barrier);
    for (unsigned i = 0; i < (apart ? threads : 1); i++)
        (void)bufferpool_destroy(burst.pools[i]);
    free(burst.bufs);
}

/* ---- the table ---- */

struct line {
    unsigned threads; /* 0: once */
    bool apart;
    double ns[2][ROUNDS];
};

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, rounds, sizeof(*values), compare);
    return values[rounds / 2];
}

static void measure(struct line *line, unsigned round)
{
    double ns[2] = {0, 0};
    if (line->threads == 0)
        ns[0] = once();
    else
        burst_in(line->threads, line->apart, ns);
    line->ns[0][round] = ns[0];
    line->ns[1][round] = ns[1];
}

static void print(struct line *line)
{
    if (line->threads == 0)
        printf("once: %.1f us of processor time for each pool\n", median(line->ns[0]) / 1e3);
    else
        printf("burst, %3u threads, %s: get %5.0f ns, put %4.0f ns\n", line->threads,
               line->apart ? "a pool each" : "one pool   ", median(line->ns[0]), median(line->ns[1]));
}

int main(int argc, char **argv)
{
    static const unsigned threads[] = {0, 1, 2, 8, 64, 256};
    static struct line lines[LINES_MAX];
    unsigned n = 0;
    for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
        lines[n++].threads = threads[i];
        if (threads[i] > 1) {
            lines[n].threads = threads[i];
            lines[n++].apart = true;
        }
    }
    if (argc > 1 && strcmp(argv[1], "quick") == 0) {
        rounds = 1;
        pools_at_once = 10;
        buffers = 1024;
    }
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned i = 0; i < n; i++)
            measure(&lines[i], round);
    for (unsigned i = 0; i < n; i++)
        print(&lines[i]);
    return 0;
}
