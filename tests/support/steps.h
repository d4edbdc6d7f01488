/* SPDX-License-Identifier: MIT
 *
 * steps.h - a hook before every atomic operation of what is compiled after this header
 *
 * For headers that the compiler includes ahead of each source of src/: stepped.h, and the seam of verify/schedules/.
 * They define BEFORE_STEP first, which is told what kind of operation follows, and on which variable. A step stands
 * right before its operation: the value that is stored, added or swapped in has been worked out by then.
 */
#ifndef TEST_STEPS_H
#define TEST_STEPS_H

#include "atomic.h"

#include <stdbool.h>

enum step { STEP_LOAD, STEP_STORE, STEP_CHANGE };

/* The type that an atomic object holds. */
#define STEP_TYPE(p) __typeof__((void)0, *(p))

#define STEP_LOADED(p, order) (BEFORE_STEP(STEP_LOAD, (p)), atomic_load_explicit((p), (order)))
#define STEP_STORED(p, v, order)                                                                                       \
    __extension__({                                                                                                    \
        STEP_TYPE(p) step_stored = (v);                                                                                \
        BEFORE_STEP(STEP_STORE, (p));                                                                                  \
        atomic_store_explicit((p), step_stored, (order));                                                              \
    })
#define STEP_CHANGED(change, p, v, order)                                                                              \
    __extension__({                                                                                                    \
        STEP_TYPE(p) step_operand = (v);                                                                               \
        BEFORE_STEP(STEP_CHANGE, (p));                                                                                 \
        change((STEP_TYPE(p) *)(p), step_operand, (order));                                                            \
    })

#undef load_relaxed
#undef load_acquire
#undef load_seq_cst
#undef store_relaxed
#undef store_release
#undef store_seq_cst
#define load_relaxed(p)     STEP_LOADED(p, memory_order_relaxed)
#define load_acquire(p)     STEP_LOADED(p, memory_order_acquire)
#define load_seq_cst(p)     STEP_LOADED(p, memory_order_seq_cst)
#define store_relaxed(p, v) STEP_STORED(p, v, memory_order_relaxed)
#define store_release(p, v) STEP_STORED(p, v, memory_order_release)
#define store_seq_cst(p, v) STEP_STORED(p, v, memory_order_seq_cst)

/* What atomic.h and the sources change by, under whatever name. */
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#undef atomic_exchange_explicit
#define atomic_fetch_add_explicit(p, v, order) STEP_CHANGED(__atomic_fetch_add, p, v, order)
#define atomic_fetch_sub_explicit(p, v, order) STEP_CHANGED(__atomic_fetch_sub, p, v, order)
#define atomic_fetch_or_explicit(p, v, order)  STEP_CHANGED(__atomic_fetch_or, p, v, order)
#define atomic_fetch_and_explicit(p, v, order) STEP_CHANGED(__atomic_fetch_and, p, v, order)
#define atomic_exchange_explicit(p, v, order)  STEP_CHANGED(__atomic_exchange_n, p, v, order)

/* Those that fail for no reason do not here, so that a schedule is the same each time. */
#undef atomic_compare_exchange_strong_explicit
#define atomic_compare_exchange_strong_explicit(p, expected, v, success, failure)                                      \
    __extension__({                                                                                                    \
        STEP_TYPE(p) step_desired = (v);                                                                               \
        BEFORE_STEP(STEP_CHANGE, (p));                                                                                 \
        __atomic_compare_exchange_n((STEP_TYPE(p) *)(p), (expected), step_desired, false, (success), (failure));       \
    })

#undef atomic_compare_exchange_weak_explicit
#define atomic_compare_exchange_weak_explicit(p, expected, v, success, failure)                                        \
    atomic_compare_exchange_strong_explicit(p, expected, v, success, failure)
#undef atomic_compare_exchange_strong
#define atomic_compare_exchange_strong(p, expected, v)                                                                 \
    atomic_compare_exchange_strong_explicit(p, expected, v, memory_order_seq_cst, memory_order_seq_cst)

#undef atomic_flag_test_and_set_explicit
#undef atomic_flag_clear_explicit
#define atomic_flag_test_and_set_explicit(p, order)                                                                    \
    (BEFORE_STEP(STEP_CHANGE, (p)), __atomic_test_and_set((p), __ATOMIC_SEQ_CST))
#define atomic_flag_clear_explicit(p, order)                                                                           \
    (BEFORE_STEP(STEP_STORE, (p)), __atomic_clear((bool *)(p), __ATOMIC_SEQ_CST))

#endif
