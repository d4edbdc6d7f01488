/* SPDX-License-Identifier: MIT
 *
 * background.h - the thread that reclaims when no call comes (BUFFERPOOL_BACKGROUND, BUFFERPOOL_PRESSURE)
 */
#ifndef BUFFERPOOL_BACKGROUND_H
#define BUFFERPOOL_BACKGROUND_H

#include "types.h"

/* From a slow path, no lock held: has the thread see to the pool from now on, if its flags ask for that; starts the
 * thread for the first such pool. Where no thread can be had, slow paths go on to reclaim by themselves, and the pool
 * retains no memory by time. */
void background_begin(bufferpool_t *pool);

/* For heap->wake: the thread is to see to the heap's pool at that time, on the coarse monotonic clock, or before. */
void background_wake(struct heap *heap, uint64_t due_ms);

/* The same as background_begin for bufferpool_create, which must have the thread. Returns 0, also where the pool's
 * flags ask for no thread; ENOMEM or EAGAIN: there is no thread, and the pool is not in its list. */
int background_start(bufferpool_t *pool);

/* The thread sees to the pool no more, and does not use it when this returns. The last pool's end is the thread's. */
void background_end(bufferpool_t *pool);

/* At the end of the library: the thread is told to stop. Returns when it has ended or, at exit(), at once. */
void background_stop(void);

#endif
