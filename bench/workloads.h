/* SPDX-License-Identifier: MIT
 *
 * workloads.h - the work, as workloads.c defines it for one contestant, and what harness.c needs to run it
 */
#ifndef BENCH_WORKLOADS_H
#define BENCH_WORKLOADS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What one thread works on. A thread may hand it on to its successor. */
struct worker {
    _Alignas(128) unsigned number;
    unsigned at;
    uint64_t random;
    void **held; /* workload.holds buffers */
    uint64_t done;
    /* the harness's */
    int seen;
    bool set_up;
    uint64_t from_ns, to_ns, from_done, to_done;
};

struct workload {
    const char *name;
    /* A part of the work that takes up to some milliseconds; returns how many operations that were. */
    uint64_t (*step)(struct worker *w);
    bool is_burst; /* no steps: see burst.h */
    unsigned threads;
    unsigned counting;   /* those of them whose operations count: the others wait upon them */
    size_t holds;        /* places in each worker's array */
    bool filled;         /* ... which are filled before the clock starts */
    size_t before;       /* buffers that the main thread takes before the workers start, and holds */
    size_t after;        /* ... when the workers have filled their arrays */
    size_t size;         /* bytes of a buffer */
    size_t max_live;     /* the cap */
    size_t grows_to;     /* bytes */
    unsigned pools;      /* how many; 0: one, and not by number */
    uint64_t generation; /* operations after which a thread hands its worker on to a new one; 0: never */
};

/* Makes `workload` the one of that name. A suffix says what is written into each buffer: "+4k", "+all"; 64 bytes
 * without one. False: there is none of that name. */
bool workload_choose(const char *name);

/* Whether the contestant can do it. */
bool workload_fits(void);

extern struct workload workload;
extern const char *const peer_name;

/* In this order: start, once; then in each thread begin, fill, step, end. The main thread begins, too, to hold. */
void workload_start(void);
void workload_thread_begin(void);
void workload_thread_end(void);
void workload_fill(struct worker *w);
void workload_hold(size_t n);
uint64_t workload_bypassed(void);

/* One at a time, for the burst; and what the contestant has for giving memory back, if anything. */
void *workload_take(void);
void workload_put(void *handle);
void workload_trim(void);

void workload_list(void);

#endif
