/* SPDX-License-Identifier: MIT
 *
 * modes.h - which debug modes the environment switched on: BUFFERPOOL_DEBUG
 *
 * The variable is read once, before the first buffer is made. While one of MODES_SLOW is on, no gate opens for the fast
 * path (cache.h), so every get and put comes through the slow path, which calls watch.h and sanitizer.h. Modes that are
 * off cost the fast path nothing, and the slow path a look at this word.
 */
#ifndef BUFFERPOOL_MODES_H
#define BUFFERPOOL_MODES_H

#include "atomic.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mode {
    MODE_POISON = 1u << 0,     /* idle blocks are filled, and verified */
    MODE_REDZONE = 1u << 1,    /* guard bytes behind cap */
    MODE_QUARANTINE = 1u << 2, /* the last buffers put are held back */
    MODE_NOPOOL = 1u << 3,     /* every get allocates, every put frees */
    MODE_HOLDERS = 1u << 4,    /* at exit, which callers hold which buffers */
    MODE_STATS = 1u << 5,      /* at exit, the statistics */
    MODE_FAIL = 1u << 6,       /* every nth allocation fails */
    MODE_CHAOS = 1u << 7,      /* reuse in no order, and not always */
    MODE_MEMCHECK = 1u << 8    /* not from the variable: valgrind's memcheck is told of blocks (sanitizer.h) */
};

#define MODES_WATCH (MODE_POISON | MODE_REDZONE | MODE_QUARANTINE | MODE_NOPOOL | MODE_HOLDERS | MODE_CHAOS)

/* With these no gate opens. Memcheck needs nothing else, since it keeps records of its own. */
#define MODES_SLOW (MODES_WATCH | MODE_MEMCHECK)

/* Written once, under the registry's lock, before any thread has a cache. Relaxed: a thread that has a cache or a
 * buffer got it from a thread that came after that. */
extern _Atomic(unsigned) modes;

/* BUFFERPOOL_NO_DEBUG_MODES leaves the modes out, with modes.c, watch.c and quarantine.c. MODES_BUILT and modes_have
 * are then constants, so that the compiler drops every call into those files. */
#if defined(BUFFERPOOL_NO_DEBUG_MODES)
#define MODES_BUILT 0
#else
#define MODES_BUILT 1
#endif

#define modes_have(any) (MODES_BUILT && unlikely((load_relaxed(&modes) & (any)) != 0))

/* Reads the environment, the first time. `memcheck`: the process runs under valgrind's memcheck. The registry's lock is
 * held. */
void modes_init(bool memcheck);

/* Says on stderr, once, which words were not understood. No lock is held. */
void modes_tell(void);

/* N of quarantine=N. */
uint32_t modes_quarantine(void);

/* With MODE_FAIL: whether the allocation that is about to be made must fail. Any thread. */
bool modes_fail_now(void);

/* A number below n, for MODE_CHAOS. The sequence is the same in every run. Any thread. */
uint32_t modes_random(uint32_t n);

#endif
