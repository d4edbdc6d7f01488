/* SPDX-License-Identifier: MIT
 *
 * turns.c - many threads on one processor, of which each uses one buffer and then lets the next one run
 *
 *     turns threads|flush|processors THREADS BYTES TURNS
 *
 * In its turn a thread gets a buffer of 32 KiB, writes BYTES of it, puts it, and wakes the next thread. So with caches
 * by thread there are as many buffers as threads, and with caches by processor there is one, which stays in the
 * processor's own caches. With "flush" each thread empties its cache into the depot before it sleeps. Prints ns of
 * processor time per turn, with the change of threads.
 */
#include "peer.h"

#include <bufferpool.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KIB = 1024, SIZE = 32 * KIB, MOST = 4096 };

static bufferpool_t *pool;
static bool by_processor, flushes;
static size_t bytes;
static unsigned threads, turns, warm_up;
static unsigned long long begun_ns, ended_ns;
static sem_t may_run[MOST];

static unsigned long long processor_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (unsigned long long)now.tv_sec * 1000000000u + (unsigned long long)now.tv_nsec;
}

static void use(void)
{
    if (by_processor) {
        struct percpu_buf *buf = percpu_get();
        memset(buf->data, 0x5a, bytes);
        percpu_put(buf);
    } else {
        bufferpool_buf_t *buf = bufferpool_get(pool);
        if (buf == NULL)
            abort();
        memset(buf->data, 0x5a, bytes);
        bufferpool_put(buf);
        if (flushes)
            bufferpool_thread_flush();
    }
}

static void *thread(void *arg)
{
    const unsigned number = (unsigned)(size_t)arg;
    for (unsigned i = 0; i < warm_up + turns; i++) {
        while (sem_wait(&may_run[number]) != 0)
            ;
        if (number == 0 && i == warm_up)
            begun_ns = processor_ns();
        use();
        if (number == threads - 1 && i == warm_up + turns - 1)
            ended_ns = processor_ns();
        sem_post(&may_run[(number + 1) % threads]);
    }
    return NULL;
}

static void pin(void)
{
    cpu_set_t all, one;
    int first = 0;
    if (sched_getaffinity(0, sizeof(all), &all) != 0)
        abort();
    while (!CPU_ISSET((size_t)first, &all))
        first++;
    CPU_ZERO(&one);
    CPU_SET((size_t)first, &one);
    if (sched_setaffinity(0, sizeof(one), &one) != 0)
        abort();
}

static void start(void)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = SIZE;
    config.max_live = 1000000;
    if (by_processor)
        percpu_start(SIZE);
    else if ((pool = bufferpool_create(&config)) == NULL)
        abort();
    for (unsigned i = 0; i < threads; i++)
        if (sem_init(&may_run[i], 0, i == 0) != 0)
            abort();
}

int main(int argc, char **argv)
{
    static pthread_t ids[MOST];
    pthread_attr_t attributes;
    threads = argc == 5 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    bytes = argc == 5 ? strtoul(argv[3], NULL, 10) : 0;
    turns = argc == 5 ? (unsigned)strtoul(argv[4], NULL, 10) / (threads != 0 ? threads : 1) + 1 : 0;
    if (threads == 0 || threads > MOST || bytes > SIZE) {
        fprintf(stderr, "usage: turns threads|flush|processors THREADS BYTES TURNS    (at most %d, at most %d)\n", MOST,
                SIZE);
        return EXIT_FAILURE;
    }
    by_processor = strcmp(argv[1], "processors") == 0;
    flushes = strcmp(argv[1], "flush") == 0;
    warm_up = turns / 4 + 2;
    pin();
    start();
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, (size_t)64 * KIB);
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&ids[i], &attributes, thread, (void *)(size_t)i) != 0)
            abort();
    for (unsigned i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    printf("%.1f\n", (double)(ended_ns - begun_ns) / ((double)turns * threads));
    return EXIT_SUCCESS;
}
