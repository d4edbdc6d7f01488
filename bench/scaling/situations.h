/* SPDX-License-Identifier: MIT
 *
 * situations.h - what threads do with a pool, for counts.c, which counts it, and measure.c, which measures it
 *
 * The program defines the functions of the second part. Buffers have 1 KiB, and thread caches 16 of them, the
 * proportion of the default configuration. So thousands of buffers take little memory.
 */
#ifndef SCALING_SITUATIONS_H
#define SCALING_SITUATIONS_H

#include "bufferpool.h"

#include <stdbool.h>
#include <stdint.h>

enum { WALKED = 16 };

struct worker {
    _Alignas(128) unsigned number;
    uint64_t random;
    bufferpool_buf_t **held;
    size_t holds;
    bufferpool_waiter_t waiter;
    bufferpool_notifier_t *notifier;
    uint64_t done; /* operations */
};

struct situation {
    const char *name;
    const char *unit; /* of an operation */
    const char *what;
    size_t cached;                           /* buffers that a thread cache may hold; 0: CACHED */
    size_t cap;                              /* for each thread; 0: none */
    size_t (*holds)(const struct worker *w); /* buffers that each thread takes first; NULL: none */
    size_t room;                             /* for so many more */
    void (*settle)(void);                    /* called once, when all threads have them; may be NULL */
    void (*round)(struct worker *w);         /* the same number of turns in each thread */
    unsigned warm, rounds;                   /* rounds before and while it counts */
    bool exchanges;                          /* only calls with a read-modify-write count */
    bool times;                              /* measure.c runs it too, with one thread and with two */
};

extern const struct situation situations[];
extern const struct situation *situation;
extern unsigned threads;

/* Returns whether there is one of that name, which is `situation` from then on. */
bool situation_choose(const char *name);
/* Makes the pool. `threads` is set. */
void situation_start(void);
void situation_prepare(struct worker *w, unsigned number);

/* The program's: around a call that counts; after one that does not, and where a thread waits for another one. */
void call_begins(struct worker *w);
void call_ends(struct worker *w);
void call_passes(struct worker *w);

#endif
