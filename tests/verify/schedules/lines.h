/* SPDX-License-Identifier: MIT
 *
 * lines.h - what the compiler includes ahead of each source of src/ for contention.c: each atomic operation says which
 * cache line it touches
 *
 * Locking a mutex and unlocking it are writes of its line. The clock stands still, and the processor is the one that
 * the test says.
 */
#ifndef TEST_LINES_H
#define TEST_LINES_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

extern int line_processor; /* on which the calls seem to run */
enum line_use { LINE_READ, LINE_WRITE, LINE_SWAP };
void line_touch(const volatile void *p, enum line_use use);
int line_clock_gettime(struct timespec *now); /* of whichever clock */

/* The test itself is not counted. */
#ifndef LINES_DECLARATIONS_ONLY

/* The type that an atomic object holds. */
#define LINE_TYPE(p)                __typeof__((void)0, *(p))
#define LINE_FETCH(op, p, v, order) (line_touch((p), LINE_SWAP), __atomic_fetch_##op((LINE_TYPE(p) *)(p), (v), (order)))
#define LINE_CAS(p, e, v, weak, s, f)                                                                                  \
    (line_touch((p), LINE_SWAP), __atomic_compare_exchange_n((LINE_TYPE(p) *)(p), (e), (v), (weak), (s), (f)))

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#define atomic_load_explicit(p, order)         (line_touch((p), LINE_READ), __atomic_load_n((p), (order)))
#define atomic_store_explicit(p, v, order)     (line_touch((p), LINE_WRITE), __atomic_store_n((p), (v), (order)))
#define atomic_fetch_add_explicit(p, v, order) LINE_FETCH(add, p, v, order)
#define atomic_fetch_sub_explicit(p, v, order) LINE_FETCH(sub, p, v, order)
#define atomic_fetch_or_explicit(p, v, order)  LINE_FETCH(or, p, v, order)
#define atomic_fetch_and_explicit(p, v, order) LINE_FETCH(and, p, v, order)
#define atomic_exchange_explicit(p, v, order)                                                                          \
    (line_touch((p), LINE_SWAP), __atomic_exchange_n((LINE_TYPE(p) *)(p), (v), (order)))
#define atomic_compare_exchange_strong_explicit(p, e, v, s, f) LINE_CAS(p, e, v, 0, s, f)
#define atomic_compare_exchange_weak_explicit(p, e, v, s, f)   LINE_CAS(p, e, v, 1, s, f)

#define pthread_mutex_lock(mutex)    (line_touch((mutex), LINE_SWAP), pthread_mutex_lock(mutex))
#define pthread_mutex_trylock(mutex) (line_touch((mutex), LINE_SWAP), pthread_mutex_trylock(mutex))
#define pthread_mutex_unlock(mutex)  (line_touch((mutex), LINE_SWAP), pthread_mutex_unlock(mutex))
#define clock_gettime(clock, now)    line_clock_gettime(now)
#define sched_getcpu()               line_processor

#endif

#endif
