/* SPDX-License-Identifier: MIT
 *
 * idle.c - what many threads leave idle: in the caches of libbufferpool's threads, and in caches of processors
 *
 *     idle THREADS HELD          in turn, each thread gets HELD buffers of 32 KiB, writes 4 KiB of each, and puts them.
 *                                Then it sleeps. Prints the buffers that idle in caches, and all that were made.
 */
#include "peer.h"

#include <bufferpool.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KIB = 1024, SIZE = 32 * KIB, MOST = 4096, HELD_MOST = 64 };

static bufferpool_t *pool;
static size_t held;
static bool by_processor;
static pthread_barrier_t turn, end;

static void use(void)
{
    void *bufs[HELD_MOST] = {NULL};
    for (size_t i = 0; i < held; i++) {
        bufs[i] = by_processor ? (void *)percpu_get() : (void *)bufferpool_get(pool);
        if (bufs[i] == NULL)
            abort();
        unsigned char *data = by_processor ? peer_data(bufs[i]) : ((bufferpool_buf_t *)bufs[i])->data;
        memset(data, 0x5a, 4 * KIB);
    }
    for (size_t i = 0; i < held; i++)
        if (by_processor)
            percpu_put(bufs[i]);
        else
            bufferpool_put(bufs[i]);
}

static void *thread(void *unused)
{
    (void)unused;
    use();
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&end);
    return NULL;
}

static void run(pthread_t *threads, unsigned n)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, (size_t)64 * KIB);
    pthread_barrier_init(&turn, NULL, 2);
    pthread_barrier_init(&end, NULL, n + 1);
    for (unsigned i = 0; i < n; i++) {
        if (pthread_create(&threads[i], &attributes, thread, NULL) != 0)
            abort();
        pthread_barrier_wait(&turn);
    }
    size_t idle = percpu_idle(), made = percpu_made();
    if (!by_processor) {
        bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
        bufferpool_stats(pool, &stats);
        idle = stats.idle_thread;
        made = stats.gets_fresh;
    }
    printf("%s\t%zu\t%zu\n", by_processor ? "processors" : "threads", idle, made);
    pthread_barrier_wait(&end);
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
    static pthread_t threads[MOST];
    const unsigned n = argc == 3 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    held = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    if (n == 0 || n > MOST || held == 0 || held > HELD_MOST) {
        fprintf(stderr, "usage: idle THREADS HELD    (1 to %d, 1 to %d)\n", MOST, HELD_MOST);
        return EXIT_FAILURE;
    }
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = SIZE;
    config.max_live = 1000000;
    percpu_start(SIZE);
    if ((pool = bufferpool_create(&config)) == NULL)
        abort();
    run(threads, n);
    by_processor = true;
    run(threads, n);
    return EXIT_SUCCESS;
}
