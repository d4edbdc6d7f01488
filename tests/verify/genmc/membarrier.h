/* SPDX-License-Identifier: MIT
 *
 * membarrier.h - membarrier(2) for a model checker that does not know it
 *
 * The system call sends an interrupt to each thread that runs. The handler is a full barrier, and the call returns
 * when all threads have been through it. So here the owner asks, at its beginning and after each atomic load and store
 * of the cache's code, whether it is interrupted. If so, it has its barrier and answers, once, and the thief goes on
 * after the answer. GenMC tries the interrupt at each of these points. This header is included before cache.h. The
 * operations of the depot need no interrupt, and stay as they are.
 */
#ifndef MEMBARRIER_H
#define MEMBARRIER_H

#include "atomic.h"

static _Atomic(int) barrier_asked, barrier_answered;
static _Thread_local bool is_interruptible;

static __attribute__((noinline)) void maybe_interrupted(void)
{
    if (!is_interruptible || !atomic_load_explicit(&barrier_asked, memory_order_acquire))
        return;
    is_interruptible = false;
    atomic_thread_fence(memory_order_seq_cst);
    atomic_store_explicit(&barrier_answered, 1, memory_order_release);
}

/* For the owner: its code stands between the two. */
static inline void interruptible_begin(void)
{
    is_interruptible = true;
    maybe_interrupted();
}

static inline void interruptible_end(void)
{
    if (is_interruptible) { /* from here on, it can only be interrupted after all that it did */
        is_interruptible = false;
        atomic_thread_fence(memory_order_seq_cst);
        atomic_store_explicit(&barrier_answered, 1, memory_order_release);
    }
}

/* For the thief. */
static inline void barrier_in_owner(void)
{
    atomic_thread_fence(memory_order_seq_cst);
    atomic_store_explicit(&barrier_asked, 1, memory_order_release);
    assume(atomic_load_explicit(&barrier_answered, memory_order_acquire));
    atomic_thread_fence(memory_order_seq_cst);
}

#undef load_relaxed
#undef load_acquire
#undef load_seq_cst
#undef store_relaxed
#undef store_release
#undef store_seq_cst
#define load_in(p, order)                                                                                              \
    ({                                                                                                                 \
        __auto_type loaded = atomic_load_explicit((p), order);                                                         \
        maybe_interrupted();                                                                                           \
        loaded;                                                                                                        \
    })
#define load_relaxed(p)     load_in((p), memory_order_relaxed)
#define load_acquire(p)     load_in((p), memory_order_acquire)
#define load_seq_cst(p)     load_in((p), memory_order_seq_cst)
#define store_relaxed(p, v) (atomic_store_explicit((p), (v), memory_order_relaxed), maybe_interrupted())
#define store_release(p, v) (atomic_store_explicit((p), (v), memory_order_release), maybe_interrupted())
#define store_seq_cst(p, v) (atomic_store_explicit((p), (v), memory_order_seq_cst), maybe_interrupted())

#endif
