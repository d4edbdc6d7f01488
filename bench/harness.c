/* SPDX-License-Identifier: MIT
 *
 * harness.c - one sample: one contestant, one workload, in a process of its own
 *
 *     bench-PEER WORKLOAD [MS]      warms up for a third of MS milliseconds, then measures for MS. The default is 20,
 *                                   or 100 if there are more threads than processors, which then take turns
 *     bench-PEER WORKLOAD -n STEPS  does so many steps in one thread and measures nothing: for callgrind,
 *                                   and to train a compiler
 *     bench-PEER burst [MS]         runs one burst, then rests for MS milliseconds. The default is 1000
 *     bench-PEER waves [MS]         the same, five times in a row, with short pauses. The default is 2000
 *     bench-PEER --list             lists the workloads
 *
 * Prints lines of "what value unit"; "what" is "-" for the figure itself. Exits with 77 if the contestant cannot do the
 * workload, and with 75 if no operation ended in the measured time.
 *
 * Threads work in steps and look at `phase` between them. Each thread is pinned, the i-th to the i-th of the processors
 * that the process may use, in turn. A figure is processor time per operation: threads / (operations in a second). If
 * there are more threads than processors, the number of processors is used for the number of threads.
 */
#include "basics.h"
#include "burst.h"
#include "workloads.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WARMING_UP, MEASURING, STOPPED, UNSUITED = 77, NOTHING_DONE = 75, THREADS_MAX = 256 };

static _Alignas(128) _Atomic(int) phase;
static struct worker workers[THREADS_MAX];
static pthread_barrier_t filled, ready;
static sem_t ended;
static size_t processors[CPU_SETSIZE];
static unsigned processor_count;

static void sleep_ms(unsigned ms)
{
    struct timespec duration = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&duration, NULL);
}

/* Runs before anything else, because a contestant may pin threads itself. */
static void find_processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        die("sched_getaffinity");
    for (size_t i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set))
            processors[processor_count++] = i;
}

static void pin(unsigned number)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processors[number % processor_count], &set);
    pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static void note(struct worker *w, int now)
{
    w->seen = now;
    if (now == MEASURING) {
        w->from_ns = now_ns();
        w->from_done = w->done;
    } else {
        w->to_ns = now_ns();
        w->to_done = w->done;
    }
}

/* If each thread has a processor, each is timed by its own clock, from step to step, since one step may take longer
 * than the whole measured time. */
static bool timed_by_itself(void)
{
    return workload.threads <= processor_count;
}

/* Works until the end, or until the end of the generation, and then returns true. */
static bool work(struct worker *w)
{
    uint64_t until = workload.generation != 0 ? w->done + workload.generation : UINT64_MAX;
    while (w->done < until) {
        int now = atomic_load_explicit(&phase, memory_order_relaxed);
        if (now != w->seen) {
            if (now == STOPPED && w->seen == WARMING_UP) { /* this thread did not run in the measured time */
                note(w, MEASURING);
                if (timed_by_itself())
                    w->done += workload.step(w);
            }
            note(w, now);
            if (now == STOPPED)
                return false;
        }
        w->done += workload.step(w);
    }
    return true;
}

static void start_thread(struct worker *w);

static void *worker_thread(void *arg)
{
    struct worker *w = arg;
    pin(w->number);
    workload_thread_begin();
    if (!w->set_up) {
        w->set_up = true;
        workload_fill(w);
        (void)workload.step(w); /* with many threads, only few get a turn during the warm-up */
        pthread_barrier_wait(&filled);
        pthread_barrier_wait(&ready);
    }
    bool goes_on = work(w);
    workload_thread_end();
    if (goes_on)
        start_thread(w);
    else
        sem_post(&ended);
    return NULL;
}

/* The thread is detached. The last thread of a worker posts `ended`. */
static void start_thread(struct worker *w)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, worker_thread, w) != 0)
        die("pthread_create");
    pthread_attr_destroy(&attributes);
}

static double operations_per_ns(uint64_t ns)
{
    double rate = 0, done = 0;
    for (unsigned i = 0; i < workload.threads; i++) {
        double own = (double)(workers[i].to_done - workers[i].from_done);
        done += own;
        if (workers[i].to_ns > workers[i].from_ns)
            rate += own / (double)(workers[i].to_ns - workers[i].from_ns);
    }
    return timed_by_itself() ? rate : done / (double)ns;
}

static void measure(unsigned ms)
{
    pthread_barrier_init(&filled, NULL, workload.threads + 1);
    pthread_barrier_init(&ready, NULL, workload.threads + 1);
    sem_init(&ended, 0, 0);
    workload_hold(workload.before);
    for (unsigned i = 0; i < workload.threads; i++)
        start_thread(&workers[i]);
    pthread_barrier_wait(&filled);
    workload_hold(workload.after);
    pthread_barrier_wait(&ready);

    sleep_ms(ms / 3 + 1);
    uint64_t bypassed = workload_bypassed();
    uint64_t from = now_ns();
    atomic_store_explicit(&phase, MEASURING, memory_order_relaxed);
    sleep_ms(ms);
    uint64_t to = now_ns();
    atomic_store_explicit(&phase, STOPPED, memory_order_relaxed);
    bypassed = workload_bypassed() - bypassed;
    for (unsigned i = 0; i < workload.threads; i++)
        while (sem_wait(&ended) != 0)
            ;

    double rate = operations_per_ns(to - from);
    unsigned counting = workload.counting;
    if (counting > processor_count)
        counting = processor_count;
    if (rate <= 0)
        exit(NOTHING_DONE);
    printf("- %.3f ns\n", counting / rate);
    if (workload.max_live < 1000000)
        printf("bypassed %.4f share\n", (double)bypassed / (rate * (double)(to - from)));
}

static int count(uint64_t steps)
{
    pin(0);
    workload_hold(workload.before);
    workload_fill(&workers[0]);
    for (uint64_t i = 0; i < steps; i++)
        workers[0].done += workload.step(&workers[0]);
    printf("- %llu operations\n", (unsigned long long)workers[0].done);
    return EXIT_SUCCESS; /* a normal exit: libraries write profiles at their end */
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        workload_list();
        return EXIT_SUCCESS;
    }
    if (argc < 2 || !workload_choose(argv[1])) {
        fprintf(stderr, "usage: bench-%s WORKLOAD [MS | -n STEPS], WORKLOAD as of --list, +4k or +all behind it\n",
                peer_name);
        return EXIT_FAILURE;
    }
    if (!workload_fits())
        return UNSUITED;
    find_processors();
    workload_start();
    workload_thread_begin();
    for (unsigned i = 0; i < workload.threads; i++)
        workers[i] = (struct worker){.number = i, .random = i + 1};
    if (workload.bursts != 0)
        burst(argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : workload.bursts == 1 ? 1000 : 2000);
    else if (argc == 4 && strcmp(argv[2], "-n") == 0)
        return count(strtoull(argv[3], NULL, 10));
    else
        measure(argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : workload.threads > processor_count ? 100 : 20);
    fflush(stdout);
    _Exit(EXIT_SUCCESS); /* held buffers are not put back */
}
