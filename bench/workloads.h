/* SPDX-License-Identifier: MIT
 *
 * workloads.h - the workloads, as workloads.c defines them for one contestant, and the functions with which harness.c
 * runs them
 */
#ifndef BENCH_WORKLOADS_H
#define BENCH_WORKLOADS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The state of one thread's work. A thread may hand it on to its successor. */
struct worker {
    _Alignas(128) unsigned number;
    unsigned at;
    uint64_t random;
    void **held;  /* buffers */
    size_t holds; /* how many of them */
    uint64_t done;
    /* for the harness alone */
    int seen;
    bool set_up;
    uint64_t from_ns, to_ns, from_done, to_done;
};

struct workload {
    const char *name;
    /* Does a part of the work, which takes up to some milliseconds. Returns the number of operations. */
    uint64_t (*step)(struct worker *w);
    unsigned bursts; /* not 0: it has no steps, but so many bursts: see burst.h */
    unsigned threads;
    unsigned counting;   /* those of them whose operations count; the others serve them */
    size_t holds;        /* entries of each worker's array */
    unsigned one_more;   /* so many workers, the first ones, have one entry more */
    bool filled;         /* the array is filled before the clock starts */
    size_t before;       /* buffers that the main thread takes and holds, before the workers start */
    size_t after;        /* the same, after the workers have filled their arrays */
    size_t size;         /* bytes of a buffer */
    size_t max_live;     /* the cap */
    size_t grows_to;     /* bytes to which a buffer grows */
    unsigned pools;      /* how many pools; 0 means one, not addressed by number */
    uint64_t generation; /* operations after which a thread hands its worker on to a new thread; 0 means never */
};

/* Sets `workload` to the one of that name. A suffix, "+4k" or "+all", says how much is written into each buffer;
 * without one it is 64 bytes. Returns false if there is no workload of that name. */
bool workload_choose(const char *name);

/* Returns whether the contestant can do the workload. */
bool workload_fits(void);

extern struct workload workload;
extern const char *const peer_name;

/* To be called in this order: start once, then in each thread begin, fill, step, end. The main thread calls begin too,
 * before it calls hold. */
void workload_start(void);
void workload_thread_begin(void);
void workload_thread_end(void);
void workload_fill(struct worker *w);
void workload_hold(size_t n);
uint64_t workload_bypassed(void);

/* For bursts: take and put one buffer; call the contestant's function to give memory back, if it has one. */
void *workload_take(void);
void workload_put(void *handle);
void workload_trim(void);

void workload_list(void);

#endif
