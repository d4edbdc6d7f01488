/* SPDX-License-Identifier: MIT
 *
 * read_modify_writes.h - what the compiler includes ahead of each source of src/ for read_modify_writes.c, which counts
 * atomic read-modify-writes
 *
 * Every operation of <stdatomic.h> that reads and writes in one counts as one, also a compare-and-swap that fails.
 * Locking a mutex counts as one, and unlocking it as another. Time passes by a microsecond each time somebody asks for
 * it, and the processor is the thread's own. So a sequence of calls has the same count each time.
 */
#ifndef TEST_READ_MODIFY_WRITES_H
#define TEST_READ_MODIFY_WRITES_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

extern _Thread_local uint64_t rmw_counted;   /* read-modify-writes of this thread */
extern _Thread_local int rmw_processor;      /* on which it seems to run */
int rmw_clock_gettime(struct timespec *now); /* of whichever clock */

/* The test itself is not counted. */
#ifndef RMW_DECLARATIONS_ONLY

#define RMW_COUNT() (rmw_counted++)
/* The type that an atomic object holds. */
#define RMW_TYPE(p)                __typeof__((void)0, *(p))
#define RMW_FETCH(op, p, v, order) (RMW_COUNT(), __atomic_fetch_##op((RMW_TYPE(p) *)(p), (v), (order)))
#define RMW_EXCHANGE(p, v, order)  (RMW_COUNT(), __atomic_exchange_n((RMW_TYPE(p) *)(p), (v), (order)))
#define RMW_CAS(p, e, v, weak, s, f)                                                                                   \
    (RMW_COUNT(), __atomic_compare_exchange_n((RMW_TYPE(p) *)(p), (e), (v), (weak), (s), (f)))
#define RMW_FLAG(p, order) (RMW_COUNT(), __atomic_test_and_set((p), (order)))

#undef atomic_fetch_add
#undef atomic_fetch_sub
#undef atomic_fetch_or
#undef atomic_fetch_xor
#undef atomic_fetch_and
#undef atomic_exchange
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_weak
#undef atomic_flag_test_and_set
#define atomic_fetch_add(p, v)                  RMW_FETCH(add, p, v, __ATOMIC_SEQ_CST)
#define atomic_fetch_sub(p, v)                  RMW_FETCH(sub, p, v, __ATOMIC_SEQ_CST)
#define atomic_fetch_or(p, v)                   RMW_FETCH(or, p, v, __ATOMIC_SEQ_CST)
#define atomic_fetch_xor(p, v)                  RMW_FETCH(xor, p, v, __ATOMIC_SEQ_CST)
#define atomic_fetch_and(p, v)                  RMW_FETCH(and, p, v, __ATOMIC_SEQ_CST)
#define atomic_exchange(p, v)                   RMW_EXCHANGE(p, v, __ATOMIC_SEQ_CST)
#define atomic_compare_exchange_strong(p, e, v) RMW_CAS(p, e, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define atomic_compare_exchange_weak(p, e, v)   RMW_CAS(p, e, v, 1, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define atomic_flag_test_and_set(p)             RMW_FLAG(p, __ATOMIC_SEQ_CST)

#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_xor_explicit
#undef atomic_fetch_and_explicit
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#undef atomic_flag_test_and_set_explicit
#define atomic_fetch_add_explicit(p, v, order)                 RMW_FETCH(add, p, v, order)
#define atomic_fetch_sub_explicit(p, v, order)                 RMW_FETCH(sub, p, v, order)
#define atomic_fetch_or_explicit(p, v, order)                  RMW_FETCH(or, p, v, order)
#define atomic_fetch_xor_explicit(p, v, order)                 RMW_FETCH(xor, p, v, order)
#define atomic_fetch_and_explicit(p, v, order)                 RMW_FETCH(and, p, v, order)
#define atomic_exchange_explicit(p, v, order)                  RMW_EXCHANGE(p, v, order)
#define atomic_compare_exchange_strong_explicit(p, e, v, s, f) RMW_CAS(p, e, v, 0, s, f)
#define atomic_compare_exchange_weak_explicit(p, e, v, s, f)   RMW_CAS(p, e, v, 1, s, f)
#define atomic_flag_test_and_set_explicit(p, order)            RMW_FLAG(p, order)

#define pthread_mutex_lock(mutex)    (RMW_COUNT(), pthread_mutex_lock(mutex))
#define pthread_mutex_trylock(mutex) (RMW_COUNT(), pthread_mutex_trylock(mutex))
#define pthread_mutex_unlock(mutex)  (RMW_COUNT(), pthread_mutex_unlock(mutex))
#define clock_gettime(clock, now)    rmw_clock_gettime(now)
#define sched_getcpu()               rmw_processor

#endif

#endif
