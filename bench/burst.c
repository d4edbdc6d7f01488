/* SPDX-License-Identifier: MIT
 *
 * burst.c - one sample of the workload "burst" or "waves", in a process that has no warm memory
 *
 * Four threads take 10,000 buffers and write them, whole unless the workload's name says otherwise. When all buffers
 * are out, the threads put them in a shuffled order, of which each thread has every fourth. "waves" does so five times,
 * with a pause after each but the last. Then all threads rest for a moment, and then memory is trimmed, while the
 * threads still live. During pauses and the rest, no thread calls the contestant. A pause is no longer than the rest.
 *
 * Prints lines of "what value unit". For a burst: take (and write), put; the minor faults of both; resident memory at
 * the peak, after the last put, after the rest if there was one, after the trim. For waves: time and minor faults of
 * the first wave, and of the later ones on average; resident memory at the highest peak, at the end of the pauses on
 * average, after the last put, after the rest, after the trim. The faults of a wave include those of the pause before.
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

enum { THREADS = 4, BUFFERS = 10000, SHARE = BUFFERS / THREADS, WAVES_MAX = 16, PAUSE_MS = 300 };

enum phase { TAKE, PUT, PHASES };

struct span {
    uint64_t begin, end;
};

struct snapshot {
    long faults, resident_kib;
};

struct wave {
    struct snapshot peak, end; /* when all buffers are out, and when all are put */
    struct snapshot paused;    /* at the end of the pause behind it */
    double duration_ms[PHASES];
};

static void *taken[BUFFERS];
static unsigned shuffled[BUFFERS];
static struct span spans[PHASES][THREADS];
static struct wave waves[WAVES_MAX];
static pthread_barrier_t barrier;

/* ---- phases ---- */

static void one_wave(unsigned thread)
{
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
}

static void *work(void *arg)
{
    const unsigned thread = (unsigned)(uintptr_t)arg;
    workload_thread_begin();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier); /* between two waits, here and above, main takes its snapshot */
    for (unsigned i = 0; i < workload.bursts; i++)
        one_wave(thread);
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

static void sleep_ms(unsigned ms)
{
    nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

/* Called while the threads are about to begin a wave; leaves them at its end. */
static void measure(struct wave *wave)
{
    pthread_barrier_wait(&barrier);
    wave->peak = after_phase();
    pthread_barrier_wait(&barrier);
    wave->end = after_phase();
    for (enum phase phase = TAKE; phase < PHASES; phase++)
        wave->duration_ms[phase] = duration_ms(phase);
}

static void print_mib(const char *what, double kib)
{
    printf("%s %.2f MiB\n", what, kib / 1024);
}

static void print_burst(struct snapshot start)
{
    printf("take %.3f ms\nput %.3f ms\n", waves[0].duration_ms[TAKE], waves[0].duration_ms[PUT]);
    printf("faults %ld faults\n", waves[0].end.faults - start.faults);
    print_mib("peak", (double)waves[0].peak.resident_kib);
}

static void print_waves(struct snapshot start)
{
    const unsigned last = workload.bursts - 1;
    double ms = 0, paused_kib = 0;
    long peak_kib = 0;
    for (unsigned i = 0; i <= last; i++) {
        if (waves[i].peak.resident_kib > peak_kib)
            peak_kib = waves[i].peak.resident_kib;
        if (i < last)
            paused_kib += (double)waves[i].paused.resident_kib;
        if (i > 0)
            ms += waves[i].duration_ms[TAKE] + waves[i].duration_ms[PUT];
    }
    printf("first %.3f ms\nlater %.3f ms\n", waves[0].duration_ms[TAKE] + waves[0].duration_ms[PUT], ms / last);
    printf("first-faults %ld faults\n", waves[0].end.faults - start.faults);
    printf("later-faults %.0f faults\n", (double)(waves[last].end.faults - waves[0].end.faults) / last);
    print_mib("peak", (double)peak_kib);
    print_mib("paused", paused_kib / last);
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
    const unsigned last = workload.bursts - 1, pause_ms = rest_ms < PAUSE_MS ? rest_ms : PAUSE_MS;
    for (unsigned i = 0; i <= last; i++) {
        measure(&waves[i]);
        if (i < last) {
            sleep_ms(pause_ms);
            waves[i].paused = snapshot();
        }
    }
    sleep_ms(rest_ms);
    struct snapshot rested = snapshot();
    workload_trim();
    struct snapshot trimmed = snapshot();
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);

    if (last == 0)
        print_burst(start);
    else
        print_waves(start);
    print_mib("after-put", (double)waves[last].end.resident_kib);
    if (rest_ms != 0)
        print_mib("after-rest", (double)rested.resident_kib);
    print_mib("after-trim", (double)trimmed.resident_kib);
}
