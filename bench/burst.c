/* SPDX-License-Identifier: MIT
 *
 * burst.c - one sample of the workload "burst", in a process that has no warm memory
 *
 * Four threads take 10,000 buffers and write them, whole unless the workload's name says otherwise. When all buffers
 * are out, the threads put them in a shuffled order, of which each thread has every fourth. Then all threads rest for a
 * moment, and then memory is trimmed, while the threads still live.
 *
 * Prints lines of "what value unit": take (and write), put; the minor faults of both; resident memory at the peak,
 * after the last put, after the rest if there was one, after the trim.
 *
 * A phase lasts from the start of its first thread to the end of its last, by the threads' own clocks. The main thread
 * measures only between phases.
 */
#include "burst.h"

#include "basics.h"
#include "workloads.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, BUFFERS = 10000, SHARE = BUFFERS / THREADS };

enum phase { TAKE, PUT, PHASES };

struct span {
    uint64_t begin, end;
};

struct snapshot {
    long faults, resident_kib;
};

static void *taken[BUFFERS];
static unsigned shuffled[BUFFERS];
static struct span spans[PHASES][THREADS];
static pthread_barrier_t barrier;

/* ---- phases ---- */

static void *work(void *arg)
{
    const unsigned thread = (unsigned)(uintptr_t)arg;
    workload_thread_begin();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier); /* between the two waits, main takes its snapshot */

    spans[TAKE][thread].begin = now_ns();
    for (unsigned i = thread * SHARE; i < (thread + 1) * SHARE; i++)
        taken[i] = workload_take();
    spans[TAKE][thread].end = now_ns();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);

    spans[PUT][thread].begin = now_ns();
    for (unsigned i = thread; i < BUFFERS; i += THREADS)
        workload_put(taken[shuffled[i]]);
    spans[PUT][thread].end = now_ns();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    workload_thread_end();
    return NULL;
}

static double duration_ms(enum phase phase)
{
    struct span all = spans[phase][0];
    for (int i = 1; i < THREADS; i++) {
        if (spans[phase][i].begin < all.begin)
            all.begin = spans[phase][i].begin;
        if (spans[phase][i].end > all.end)
            all.end = spans[phase][i].end;
    }
    return (double)(all.end - all.begin) / 1e6;
}

/* Makes the same order in every process. Writes all of both arrays, so that no phase faults them in. */
static void shuffle(void)
{
    memset(taken, 0xff, sizeof(taken));
    for (unsigned i = 0; i < BUFFERS; i++)
        shuffled[i] = i;
    uint64_t random = 1;
    for (unsigned i = BUFFERS - 1; i > 0; i--) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned j = (unsigned)(random >> 33) % (i + 1);
        unsigned swap = shuffled[i];
        shuffled[i] = shuffled[j];
        shuffled[j] = swap;
    }
}

/* ---- figures ---- */

/* This is exact, unlike the counts in statm. Nothing here calls malloc. */
static long resident_kib(void)
{
    char text[4096];
    int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (n < 0)
        die("/proc/self/smaps_rollup");
    close(fd);
    text[n] = '\0';
    const char *line = strstr(text, "Rss:");
    return line != NULL ? strtol(line + strlen("Rss:"), NULL, 10) : 0;
}

static struct snapshot snapshot(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (struct snapshot){usage.ru_minflt, resident_kib()};
}

/* Called at the end of a phase: takes a snapshot when all threads are through. They go on at the next wait. */
static struct snapshot after_phase(void)
{
    pthread_barrier_wait(&barrier);
    return snapshot();
}

static void print_mib(const char *what, struct snapshot at)
{
    printf("%s %.2f MiB\n", what, (double)at.resident_kib / 1024);
}

void burst(unsigned rest_ms)
{
    shuffle();
    pthread_t threads[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
            die("pthread_create");

    pthread_barrier_wait(&barrier);
    (void)snapshot(); /* takes the page faults of the function itself */
    struct snapshot start = snapshot();
    pthread_barrier_wait(&barrier);
    struct snapshot peak = after_phase();
    pthread_barrier_wait(&barrier);
    struct snapshot end = after_phase();
    nanosleep(&(struct timespec){rest_ms / 1000, (long)(rest_ms % 1000) * 1000000}, NULL);
    struct snapshot rested = snapshot();
    workload_trim();
    struct snapshot trimmed = snapshot();
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);

    printf("take %.3f ms\nput %.3f ms\n", duration_ms(TAKE), duration_ms(PUT));
    printf("faults %ld faults\n", end.faults - start.faults);
    print_mib("peak", peak);
    print_mib("after-put", end);
    if (rest_ms != 0)
        print_mib("after-rest", rested);
    print_mib("after-trim", trimmed);
}
