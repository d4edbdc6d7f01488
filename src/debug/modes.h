/* SPDX-License-Identifier: MIT
 *
 * modes.h - which debug modes are on: BUFFERPOOL_DEBUG in the environment, and bufferpool_record_holders
 *
 * The variable is read once, before the first buffer is made. While one of MODES_SLOW is on, no gate opens for the fast
 * path (cache.h), so every get and put comes through the slow path, which calls watch.h and sanitizer.h. Modes that are
 * off cost the fast path nothing, and the slow path a look at this word. Only MODE_HOLDERS and MODE_GATES change later
 * (recording.c).
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
    MODE_MEMCHECK = 1u << 8,   /* not from the variable: valgrind's memcheck is told of blocks (sanitizer.h) */
    MODE_GATES = 1u << 9       /* not from the variable: gates open slow, and callers are not recorded yet */
};

/* Those of the variable. */
#define MODES_NAMED (MODE_MEMCHECK - 1u)

#define MODES_WATCH (MODE_POISON | MODE_REDZONE | MODE_QUARANTINE | MODE_NOPOOL | MODE_HOLDERS | MODE_CHAOS)

/* With these no gate opens. Memcheck needs nothing else, since it keeps records of its own. */
#define MODES_SLOW (MODES_WATCH | MODE_MEMCHECK | MODE_GATES)

/* The modes, and in the bits above them the number of the recording: how many times recording was switched on while the
 * process ran. A record with another number is out of date (recording.c). Modes and number are one word, so that each
 * thread sees both change at once. */
#define MODES_BITS 12

/* Written under the registry's lock: first before any thread has a cache, and then when recording is switched. Relaxed:
 * a thread that has a cache or a buffer got it from a thread that came after the first time; for the other times see
 * recording.c. */
extern _Atomic(uintptr_t) modes;

/* BUFFERPOOL_NO_DEBUG_MODES leaves the modes out, with modes.c, watch.c, quarantine.c and others. MODES_BUILT and
 * modes_have are then constants, so that the compiler drops every call into those files. */
#if defined(BUFFERPOOL_NO_DEBUG_MODES)
#define MODES_BUILT 0
#else
#define MODES_BUILT 1
#endif

#define modes_have(any) (MODES_BUILT && unlikely((load_relaxed(&modes) & (any)) != 0))

/* The number of the recording. acquire: with the release in recording.c */
#define modes_recording() (MODES_BUILT ? (uint32_t)(load_acquire(&modes) >> MODES_BITS) : 0)

/* Reads the environment, the first time. `memcheck`: the process runs under valgrind's memcheck. The registry's lock is
 * held. */
void modes_init(bool memcheck);

/* Says on stderr, once, which words were not understood. No lock is held. */
void modes_tell(void);

/* One thread at a time switches recording: it holds this lock meanwhile, and takes it before any other lock. */
void modes_lock_switch(void);
void modes_unlock_switch(void);

/* In the child after fork: ends a switch that another thread of the parent had begun. */
void modes_after_fork_in_child(void);

/* N of quarantine=N. */
uint32_t modes_quarantine(void);

/* With MODE_FAIL: whether the allocation that is about to be made must fail. Any thread. */
bool modes_fail_now(void);

/* A number below n, for MODE_CHAOS. The sequence is the same in every run. Any thread. */
uint32_t modes_random(uint32_t n);

#endif
