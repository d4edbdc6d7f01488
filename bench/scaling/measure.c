/* SPDX-License-Identifier: MIT
 *
 * measure.c - measures what the model is compared with: a transfer of a cache line between two processors, and some of
 * the situations in one thread and in two, pinned
 *
 *     scaling-measure [ROUNDS]    prints the figures, with tabs: what, threads, ns, ns of a transfer
 *
 * A sample takes some milliseconds. In each round every figure has one sample, so other work on the machine hits all of
 * them alike. A virtual machine may move to other processors at any time, and then a transfer takes another time. So a
 * transfer is measured before each sample and after it. If the two differ by more than a quarter, the sample does not
 * count. Of the others, the half with the quicker transfers gives the figure: its lower quartile, since other work can
 * only add to a time. ns are processor time for each operation: the time that passed, times the threads, over the
 * operations.
 */
#include "situations.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BOTH = 2, HOPS = 4000, OPERATIONS = 40000, SAMPLES_MAX = 1000, FIGURES_MAX = 64 };

struct sample {
    double ns, transfer_ns;
};

struct figure {
    const struct situation *situation;
    unsigned threads;
    unsigned n;
    struct sample samples[SAMPLES_MAX];
};

static struct figure figures[FIGURES_MAX];
static pthread_barrier_t barrier;
static int processors[BOTH];
static struct worker workers[BOTH];
static double from_ns[BOTH], to_ns[BOTH]; /* of each thread's part */

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static _Thread_local unsigned waits;

void call_begins(struct worker *w)
{
    (void)w;
}

void call_ends(struct worker *w)
{
    (void)w;
}

void call_passes(struct worker *w)
{
    if (++waits % 64 == 0)
        sched_yield(); /* the other thread may have no processor */
    (void)w;
    __asm__ volatile("" ::: "memory");
}

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void pin(unsigned number)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)processors[number], &one);
    if (sched_setaffinity(0, sizeof(one), &one) != 0)
        die("sched_setaffinity");
}

static void find_processors(void)
{
    cpu_set_t mine;
    if (sched_getaffinity(0, sizeof(mine), &mine) != 0)
        die("sched_getaffinity");
    unsigned n = 0;
    for (int i = 0; i < CPU_SETSIZE && n < BOTH; i++)
        if (CPU_ISSET((size_t)i, &mine))
            processors[n++] = i;
    if (n < BOTH) {
        fprintf(stderr, "scaling-measure needs two processors\n");
        exit(77);
    }
}

/* From when the first thread began to when the last one ended. */
static double passed_ns(unsigned n)
{
    double from = from_ns[0], to = to_ns[0];
    for (unsigned i = 1; i < n; i++) {
        from = from_ns[i] < from ? from_ns[i] : from;
        to = to_ns[i] > to ? to_ns[i] : to;
    }
    return to - from;
}

/* ---- the ping-pong ---- */

static struct {
    _Alignas(128) _Atomic(uint64_t) ball;
} court;

static void *play(void *arg)
{
    const unsigned number = *(unsigned *)arg;
    pin(number);
    pthread_barrier_wait(&barrier);
    from_ns[number] = now_ns();
    for (uint64_t i = number; i < HOPS; i += BOTH) {
        while (atomic_load_explicit(&court.ball, memory_order_acquire) != i)
            ;
        atomic_store_explicit(&court.ball, i + 1, memory_order_release);
    }
    to_ns[number] = now_ns();
    return NULL;
}

/* A hop is two transfers: the one processor fetches the line, and then claims it. */
static double transfer_ns(void)
{
    unsigned numbers[BOTH] = {0, 1};
    pthread_t other;
    atomic_store(&court.ball, 0);
    if (pthread_create(&other, NULL, play, &numbers[1]) != 0)
        die("pthread_create");
    (void)play(&numbers[0]);
    pthread_join(other, NULL);
    return passed_ns(BOTH) / HOPS / 2;
}

/* ---- situations ---- */

static uint64_t some_rounds(struct worker *w, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++)
        situation->round(w);
    return w->done;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    const unsigned number = w->number;
    pin(number);
    situation_prepare(w, number);
    pthread_barrier_wait(&barrier);
    if (number == 0 && situation->settle != NULL)
        situation->settle();
    pthread_barrier_wait(&barrier);
    w->done = 0;
    const unsigned per_round = situation->room != 0 ? (unsigned)situation->room : 64;
    (void)some_rounds(w, OPERATIONS / 4 / per_round + 1);
    pthread_barrier_wait(&barrier);
    w->done = 0;
    from_ns[number] = now_ns();
    (void)some_rounds(w, OPERATIONS / per_round + 1);
    to_ns[number] = now_ns();
    return NULL;
}

static double operation_ns(void)
{
    pthread_t thread[BOTH];
    situation_start();
    for (unsigned i = 0; i < threads; i++) {
        workers[i].number = i;
        if (pthread_create(&thread[i], NULL, work, &workers[i]) != 0)
            die("pthread_create");
    }
    uint64_t done = 0;
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
        done += workers[i].done;
    }
    return passed_ns(threads) * threads / (double)done;
}

/* In a process of its own, since caches of threads outlive the sample. NULL: the ping-pong. */
static double apart(const struct situation *what, unsigned n)
{
    int ends[2];
    double ns = -1;
    fflush(stdout);
    if (pipe(ends) != 0)
        die("pipe");
    const pid_t child = fork();
    if (child == 0) {
        situation = what;
        threads = n;
        pthread_barrier_init(&barrier, NULL, situation == NULL ? BOTH : threads);
        ns = situation == NULL ? transfer_ns() : operation_ns();
        _exit(write(ends[1], &ns, sizeof(ns)) == (ssize_t)sizeof(ns) ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    close(ends[1]);
    if (child < 0 || read(ends[0], &ns, sizeof(ns)) != (ssize_t)sizeof(ns))
        die("a sample");
    close(ends[0]);
    waitpid(child, NULL, 0);
    return ns;
}

static void sample(struct figure *figure)
{
    const double before = apart(NULL, BOTH);
    const double ns = apart(figure->situation, figure->threads);
    const double after = apart(NULL, BOTH);
    if (before <= after * 1.25 && after <= before * 1.25)
        figure->samples[figure->n++] = (struct sample){ns, (before + after) / 2};
}

static int by_transfer(const void *a, const void *b)
{
    const double x = ((const struct sample *)a)->transfer_ns, y = ((const struct sample *)b)->transfer_ns;
    return (x > y) - (x < y);
}

static int by_time(const void *a, const void *b)
{
    const double x = ((const struct sample *)a)->ns, y = ((const struct sample *)b)->ns;
    return (x > y) - (x < y);
}

static void print_figure(struct figure *f)
{
    const unsigned half = (f->n + 1) / 2;
    if (half == 0) {
        fprintf(stderr, "scaling-measure: no two transfers alike around %s\n", f->situation->name);
        exit(EXIT_FAILURE);
    }
    qsort(f->samples, f->n, sizeof(f->samples[0]), by_transfer);
    const double transfer = f->samples[half / 2].transfer_ns;
    qsort(f->samples, half, sizeof(f->samples[0]), by_time);
    printf("%s\t%u\t%.1f\t%.1f\n", f->situation->name, f->threads, f->samples[half / 4].ns, transfer);
}

int main(int argc, char **argv)
{
    const unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 25;
    unsigned n = 0;
    find_processors();
    for (const struct situation *s = situations; s->name != NULL; s++)
        for (unsigned i = 1; s->times && i <= BOTH; i++)
            figures[n++] = (struct figure){.situation = s, .threads = i};
    if (rounds == 0 || rounds > SAMPLES_MAX) {
        fprintf(stderr, "usage: scaling-measure [ROUNDS], at most %d\n", SAMPLES_MAX);
        return EXIT_FAILURE;
    }
    for (unsigned long round = 0; round < rounds; round++)
        for (unsigned i = 0; i < n; i++)
            sample(&figures[i]);
    printf("what\tthreads\tns\ttransfer ns\n");
    for (unsigned i = 0; i < n; i++)
        print_figure(&figures[i]);
    return EXIT_SUCCESS;
}
