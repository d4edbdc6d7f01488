/* SPDX-License-Identifier: MIT
 *
 * lines.h - cache lines and the simulated processors that touch them
 *
 * Each thread of the program stands for a processor (turns.h), with a cache that never evicts. A line that a processor
 * reads is in its cache until another processor writes it; a processor that writes has the line alone.
 *
 *     fetched    an access that found that another processor had written the line since this one had it
 *     claimed    a write to a line that this processor had, and others too: their copies end
 *     ahead      one of the two, by a prefetch: the processor does not wait for it, and later finds the line
 *
 * All three are transfers. A line is shared if two of the simulated processors have touched it since lines_look_afresh,
 * and one wrote it. Other accesses are free, and are not counted.
 */
#ifndef SCALING_LINES_H
#define SCALING_LINES_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* What the calls of all threads did that lines_count was on for. */
struct line_counts {
    uint64_t lines;        /* shared lines, each once in a call */
    uint64_t fetched;      /* transfers, by a line that another processor wrote */
    uint64_t claimed;      /* transfers, by a read-modify-write of a line that other processors have */
    uint64_t stored;       /* the same by a plain store, for which the processor need not wait */
    uint64_t ahead;        /* transfers by a prefetch */
    uint64_t changes;      /* read-modify-writes of shared lines, locking and unlocking included */
    uint64_t stores;       /* plain stores to shared lines */
    uint64_t locks;        /* mutexes taken */
    uint64_t locked;       /* accesses to shared lines while a mutex was held */
    uint64_t system_calls; /* membarrier and futex included */
    uint64_t serial;       /* the most transfers of one line, or made under one mutex */
};

/* To be called once, before the library is used. In simulated time (turns.h) a transfer takes so long. */
void lines_start(uint64_t transfer_ns);

/* Forgets which lines are shared. */
void lines_look_afresh(void);

/* The calling thread's accesses count from now on, as those of one call; or they count no longer. */
void lines_begin_call(void);
void lines_end_call(void);
/* Takes back the counts of the call that just ended, unless it had a read-modify-write. Returns whether it
 * had. */
bool lines_keep_exchange(void);

/* What was counted. */
struct line_counts lines_total(void);

/* For hooks.c. The last two are a prefetch. */
enum access { READS, STORES, CHANGES, READS_AHEAD, STORES_AHEAD };
void lines_touch(const volatile void *at, size_t bytes, enum access access);

/* For seam.h. */
int lines_mutex_lock(pthread_mutex_t *mutex);
int lines_mutex_trylock(pthread_mutex_t *mutex);
int lines_mutex_unlock(pthread_mutex_t *mutex);
int lines_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int lines_cond_signal(pthread_cond_t *cond);
int lines_clock_gettime(struct timespec *now);
int lines_processor(void);
void lines_system_call(void);
void lines_prefetch(const void *at, int for_writing, ...);
void lines_read(const void *at, size_t bytes);
void lines_written(void *at, size_t bytes);

#endif
