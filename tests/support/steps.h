/* SPDX-License-Identifier: MIT
 *
 * steps.h - a hook before every atomic load and store of the sources that are included after it
 *
 * For tests with INTERNAL that stop a call at each of its steps: they include this, then the .c files of src/ that they
 * stop in, and say what a step does.
 */
#ifndef TEST_STEPS_H
#define TEST_STEPS_H

#include "atomic.h"

static void a_step(void);

#undef load_relaxed
#undef load_acquire
#undef load_seq_cst
#undef store_relaxed
#undef store_release
#undef store_seq_cst
#define load_relaxed(p)     (a_step(), atomic_load_explicit((p), memory_order_relaxed))
#define load_acquire(p)     (a_step(), atomic_load_explicit((p), memory_order_acquire))
#define load_seq_cst(p)     (a_step(), atomic_load_explicit((p), memory_order_seq_cst))
#define store_relaxed(p, v) (a_step(), atomic_store_explicit((p), (v), memory_order_relaxed))
#define store_release(p, v) (a_step(), atomic_store_explicit((p), (v), memory_order_release))
#define store_seq_cst(p, v) (a_step(), atomic_store_explicit((p), (v), memory_order_seq_cst))

#endif
