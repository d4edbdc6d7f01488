/* SPDX-License-Identifier: MIT
 *
 * read_modify_writes.c - counts atomic read-modify-writes per get and put, by the workloads of bench/
 *
 *     read_modify_writes FILE    FILE has lines of a workload and of the most that it may have; see
 *                                read_modify_writes.txt
 *
 * Prints a table, and fails if a workload has more than it may. It measures no time: a processor with 64 cores pays for
 * such an operation wherever another core has the line, and two cores do not show it.
 *
 * The threads take turns, 32 operations each (or all that the workload holds, if that are more), so the count is the
 * same each time. Each seems to have a processor of its own. Each workload has a process of its own, since a thread's
 * cache outlives the workload.
 */
#define RMW_DECLARATIONS_ONLY
#include "read_modify_writes.h"

#include "workloads.h"

#include "debug/sanitizer.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS_MAX = 64, WARM_UP = 64, ROUNDS = 256 };

struct turns {
    pthread_t thread;
    sem_t go, done;
    bool ends;
    uint64_t counted;
    struct worker worker;
};

_Thread_local uint64_t rmw_counted;
_Thread_local int rmw_processor;

static struct turns all[THREADS_MAX];

/* Called by one thread at a time. */
int rmw_clock_gettime(struct timespec *now)
{
    static uint64_t us = 1000000;
    us++;
    *now = (struct timespec){(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    return 0;
}

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        ;
}

static void *run(void *arg)
{
    struct turns *t = arg;
    rmw_processor = (int)t->worker.number;
    wait_for(&t->go);
    workload_thread_begin();
    workload_fill(&t->worker);
    for (;;) {
        sem_post(&t->done);
        wait_for(&t->go);
        if (t->ends)
            break;
        t->worker.done += workload.step(&t->worker);
        t->counted = rmw_counted;
    }
    workload_thread_end();
    sem_post(&t->done);
    return NULL;
}

static void everybody_once(void)
{
    for (unsigned i = 0; i < workload.threads; i++) {
        sem_post(&all[i].go);
        wait_for(&all[i].done);
    }
}

static void sum(uint64_t *counted, uint64_t *done)
{
    *counted = *done = 0;
    for (unsigned i = 0; i < workload.threads; i++) {
        *counted += all[i].counted;
        *done += all[i].worker.done;
    }
}

/* In a process of its own: returns the read-modify-writes per operation, or a negative number if there is no such
 * workload. */
static double count(const char *name)
{
    if (!workload_choose(name) || !workload_fits() || workload.bursts != 0 || workload.threads > THREADS_MAX)
        return -1;
    rmw_processor = THREADS_MAX;
    workload_start();
    workload_thread_begin();
    workload_hold(workload.before);
    for (unsigned i = 0; i < workload.threads; i++) {
        all[i].worker = (struct worker){.number = i, .random = i + 1};
        sem_init(&all[i].go, 0, 0);
        sem_init(&all[i].done, 0, 0);
        if (pthread_create(&all[i].thread, NULL, run, &all[i]) != 0)
            return -1;
    }
    everybody_once();
    workload_hold(workload.after);

    uint64_t counted_before, counted, done_before, done;
    for (int i = 0; i < WARM_UP; i++)
        everybody_once();
    sum(&counted_before, &done_before);
    for (int i = 0; i < ROUNDS; i++)
        everybody_once();
    sum(&counted, &done);
    for (unsigned i = 0; i < workload.threads; i++)
        all[i].ends = true;
    everybody_once();
    for (unsigned i = 0; i < workload.threads; i++)
        pthread_join(all[i].thread, NULL);
    return done > done_before ? (double)(counted - counted_before) / (double)(done - done_before) : -1;
}

static double count_apart(const char *name)
{
    double result = -1;
    int ends[2];
    fflush(stdout);
    if (pipe(ends) != 0)
        return -1;
    pid_t child = fork();
    if (child == 0) {
        result = count(name);
        bool sent = write(ends[1], &result, sizeof(result)) == (ssize_t)sizeof(result);
        _exit(sent ? EXIT_SUCCESS : EXIT_FAILURE); /* held buffers are not put back */
    }
    close(ends[1]);
    if (child > 0 && read(ends[0], &result, sizeof(result)) != (ssize_t)sizeof(result))
        result = -1;
    close(ends[0]);
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        result = -1;
    return result;
}

/* Prints a row of the table. `line` has a workload, spaces and a number. Returns whether the number is not exceeded. */
static bool check(char *line)
{
    size_t length = strcspn(line, " \n");
    char *number = line + length + (line[length] != '\0'), *end;
    double most = strtod(number, &end);
    line[length] = '\0';
    if (SANITIZER_ASAN && strcmp(line, "pairs-grown") == 0) /* there every step is told to AddressSanitizer */
        most = 1;
    if (end == number) {
        printf("%-20s has no bound\n", line);
        return false;
    }
    double counted = count_apart(line);
    bool holds = counted >= 0 && counted <= most;
    printf("%-20s %10.4f %10.4f%s\n", line, counted, most,
           holds         ? ""
           : counted < 0 ? "  cannot be counted"
                         : "  TOO MANY");
    return holds;
}

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (file == NULL) {
        fprintf(stderr, "usage: %s FILE\n", argv[0]);
        return EXIT_FAILURE;
    }
    int rows = 0, failures = 0;
    char line[256];
    printf("%-20s %10s %10s\n", "per get and put", "counted", "at most");
    while (fgets(line, sizeof(line), file) != NULL) {
        if (line[0] == '#')
            continue;
        rows++;
        failures += !check(line);
    }
    fclose(file);
    return rows > 0 && failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
