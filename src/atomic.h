/* SPDX-License-Identifier: MIT
 *
 * atomic.h - the C11 atomics, with the memory order in each operation's name
 *
 * Operations that are rare (flags, a strong compare-and-swap) are not here, and spell their order out where they are
 * used. Every use that is not relaxed names its partner in a comment. Why relaxed suffices elsewhere stands at the head
 * of the file, or with the variable (desc.h, types.h). There are no stand-alone fences: orders sit on operations, which
 * ThreadSanitizer and the reader both understand. The one exception costs no instruction: compiler_barrier, the owner's
 * half of a barrier whose other half is membarrier(2) (steal.c).
 */
#ifndef BUFFERPOOL_ATOMIC_H
#define BUFFERPOOL_ATOMIC_H

#include <stdatomic.h>

#define load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define load_seq_cst(p) atomic_load_explicit((p), memory_order_seq_cst)

#define store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define store_seq_cst(p, v) atomic_store_explicit((p), (v), memory_order_seq_cst)

#define add_relaxed(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define sub_relaxed(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_relaxed)
#define add_seq_cst(p, v) atomic_fetch_add_explicit((p), (v), memory_order_seq_cst)
#define sub_seq_cst(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_seq_cst)
#define or_seq_cst(p, v)  atomic_fetch_or_explicit((p), (v), memory_order_seq_cst)
#define and_seq_cst(p, v) atomic_fetch_and_explicit((p), (v), memory_order_seq_cst)

#define exchange_acquire(p, v) atomic_exchange_explicit((p), (v), memory_order_acquire)

/* Weak: they may fail for no reason, so they stand in loops. The order of a failure is acquire for those whose
 * name ends so, and relaxed for the others. */
#define cas_relaxed(p, expected, v)                                                                                    \
    atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_relaxed, memory_order_relaxed)
#define cas_acquire(p, expected, v)                                                                                    \
    atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_acquire, memory_order_acquire)
#define cas_release(p, expected, v)                                                                                    \
    atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_release, memory_order_relaxed)
#define cas_seq_cst(p, expected, v)                                                                                    \
    atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_seq_cst, memory_order_relaxed)

#define cas_seq_cst_acquire(p, expected, v)                                                                            \
    atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_seq_cst, memory_order_acquire)

/* Adds to a variable that one thread writes and others only read. */
#define bump_relaxed(p, v) store_relaxed((p), load_relaxed(p) + (v))

#define compiler_barrier() atomic_signal_fence(memory_order_seq_cst)

/* In loops that wait for another processor. */
#if defined(__x86_64__) || defined(__i386__)
#define spin_hint() __builtin_ia32_pause()
#elif defined(__aarch64__) || (defined(__arm__) && __ARM_ARCH >= 7)
#define spin_hint() __asm__ volatile("yield")
#else
#define spin_hint() compiler_barrier()
#endif

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* For a function whose last resort is to pass its arguments on. If that looked rare, compilers would give the registers
 * of the arguments to something else, and each call would move the arguments aside first. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_expect_with_probability)
#define even(x) __builtin_expect_with_probability(!!(x), 1, 0.5)
#endif
#endif
#ifndef even
#define even(x) (x)
#endif

#define CACHE_LINE 64

#endif
