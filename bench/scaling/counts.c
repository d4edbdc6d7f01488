/* SPDX-License-Identifier: MIT
 *
 * counts.c - counts, in each situation, what a call does with cache lines that threads share
 *
 *     scaling-counts               prints the table, with tabs
 *     scaling-counts NAME THREADS  one row of it
 *     scaling-counts NAME THREADS TRANSFER_NS LOCAL_NS
 *                                  simulates instead: prints millions of operations a second, if a transfer takes so
 *                                  long, and an operation so long besides its transfers
 *
 * For the counts, threads take turns: each makes one call of the library, and then the next one runs. So between two
 * calls of a thread every other thread made one, and the counts are the same each time. lines.h says what is counted. A
 * row has a process of its own, since a thread's cache outlives the situation.
 */
#include "lines.h"
#include "situations.h"
#include "turns.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS_MAX = PROCESSORS_MAX, FEW = 2, MANY = 64, MOST = 256 };

static struct {
    pthread_t thread;
    struct worker worker;
} all[THREADS_MAX];

static _Thread_local bool counts; /* the warm rounds are over */
static uint64_t exchanges;
static bool simulated;
static uint64_t call_ns; /* in simulated time: of a call without its transfers */
static sem_t over;       /* a thread has done its rounds */
static unsigned finished;
static double rate; /* of the threads that have finished, in operations per ns */

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

void call_begins(struct worker *w)
{
    (void)w;
    if (counts)
        lines_begin_call();
}

void call_ends(struct worker *w)
{
    (void)w;
    lines_end_call();
    if (counts && situation->exchanges && lines_keep_exchange())
        exchanges++;
    turns_spend_ns(call_ns);
    turns_pass();
}

void call_passes(struct worker *w)
{
    (void)w;
    turns_spend_ns(call_ns + 1);
    turns_pass();
}

static void warm_up(struct worker *w, unsigned number)
{
    turns_be(number);
    turns_enter();
    situation_prepare(w, number);
    turns_pass();
    if (number == 0 && situation->settle != NULL)
        situation->settle();
    if (number == 0 && simulated)
        turns_simulate();
    for (unsigned i = 0; i < situation->warm; i++) {
        if (number == 0 && i + 1 == situation->warm)
            lines_look_afresh();
        situation->round(w);
    }
    w->done = 0;
}

static void *count(void *arg)
{
    struct worker *w = arg;
    warm_up(w, w->number);
    counts = true;
    for (unsigned i = 0; i < situation->rounds; i++)
        situation->round(w);
    counts = false;
    turns_leave();
    sem_post(&over);
    for (;;)
        pause(); /* the end of a thread is a call of the library */
    return NULL;
}

/* Goes on until all have done their rounds, so that none of them runs alone. The process ends here. */
static void *simulate(void *arg)
{
    struct worker *w = arg;
    warm_up(w, w->number);
    const uint64_t from = turns_now_ns();
    for (unsigned i = 0; i < situation->rounds; i++)
        situation->round(w);
    rate += (double)w->done / (double)(turns_now_ns() - from);
    if (++finished == threads) {
        printf("%s\t%u\t%.4g\n", situation->name, threads, rate * 1000);
        fflush(stdout);
        _exit(EXIT_SUCCESS);
    }
    for (;;)
        situation->round(w);
}

/* One processor is enough for threads that take turns, and the quickest. */
static void stay_here(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    sched_setaffinity(0, sizeof(one), &one); /* if not, it only takes longer */
}

static void print_row(struct line_counts c, uint64_t done)
{
    const uint64_t columns[] = {c.lines,  c.fetched, c.claimed, c.stored,       c.ahead, c.changes,
                                c.stores, c.locks,   c.locked,  c.system_calls, c.serial};
    printf("%s\t%u\t%s", situation->name, threads, situation->unit);
    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
        printf("\t%.4f", (double)columns[i] / (double)done);
    printf("\n");
}

static void row(uint64_t transfer_ns)
{
    stay_here();
    turns_start(threads);
    sem_init(&over, 0, 0);
    lines_start(transfer_ns);
    situation_start();
    simulated = transfer_ns != 0;
    for (unsigned i = 0; i < threads; i++) {
        all[i].worker.number = i;
        if (pthread_create(&all[i].thread, NULL, simulated ? simulate : count, &all[i].worker) != 0)
            die("pthread_create");
    }
    turns_go();
    uint64_t done = 0;
    for (unsigned i = 0; i < threads; i++) {
        while (sem_wait(&over) != 0)
            ;
        done += all[i].worker.done;
    }
    if (situation->exchanges)
        done = exchanges;
    if (done == 0)
        die("nothing was done");
    print_row(lines_total(), done);
}

static bool row_apart(const char *name, unsigned n, uint64_t transfer_ns)
{
    int status = 0;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        threads = n;
        if (!situation_choose(name))
            _exit(EXIT_FAILURE);
        row(transfer_ns);
        fflush(stdout);
        _exit(EXIT_SUCCESS); /* held buffers are not put back */
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

int main(int argc, char **argv)
{
    if (argc == 5)
        call_ns = (uint64_t)(strtod(argv[4], NULL) / 2 + 0.5);
    if (argc == 3 || argc == 5) {
        const unsigned n = (unsigned)strtoul(argv[2], NULL, 10);
        return row_apart(argv[1], n, argc == 5 ? strtoull(argv[3], NULL, 10) : 0) ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    bool all_fine = argc == 1;
    printf("situation\tthreads\tunit\tlines\tfetched\tclaimed\tstored\tahead\tchanges\tstores\tlocks\tlocked\tsystem "
           "calls\tserial\n");
    for (const struct situation *s = situations; all_fine && s->name != NULL; s++) {
        const bool walks = strcmp(s->unit, "call") == 0 && !s->times;
        all_fine = (walks || row_apart(s->name, FEW, 0)) && row_apart(s->name, MANY, 0) &&
                   (!walks || row_apart(s->name, MOST, 0));
    }
    return all_fine ? EXIT_SUCCESS : EXIT_FAILURE;
}
