/* SPDX-License-Identifier: MIT
 *
 * scene.h - a pool and what its callers do, with the laws that hold in whatever order the steps come
 *
 * At each step:
 *     no more buffers exist than the cap allows or, when it was lowered, existed when that call returned, and gets made
 *     beyond it; no fewer are counted as pooled than exist;
 *     under pressure, no more idle elsewhere than in the depot than there are tickets.
 * At each get and put:
 *     no other caller has the buffer, its bytes are as its last holder left them, hooks are called with no lock held;
 *     a get goes beyond the cap or is refused only if there was a step during it at which callers, and other calls with
 *     one each, had as many as the cap allows.
 * When all threads have ended:
 *     no more buffers exist than the cap allows, or callers have as many as that;
 *     each idle buffer lies in the depot or in one cache, once; every account agrees with that, and the statistics with
 *     what the callers counted; trim and destroy leave no block. A pool that was closed has ended, and nothing used it
 *     after the call that ended it.
 */
#ifndef SCHEDULES_SCENE_H
#define SCHEDULES_SCENE_H

#include "bufferpool.h"
#include "explorer.h"

/* A new pool: the cap, how many buffers a thread's cache may have, max_idle_bytes in buffers. */
void scene_begin(size_t cap, size_t cached, size_t idle);
void scene_at_each_step(void);
void scene_end(void);

bufferpool_t *scene_pool(void);

/* Of the thread: the buffers that it has, as a stack. A get that gets none has been refused. */
void scene_get(void);
void scene_try_get(void);
void scene_get_timed(unsigned timeout_ms);
void scene_put(void); /* the last; none: nothing */
unsigned scene_has(void);
void scene_have_from(unsigned thread); /* the buffers of the other thread are this one's from now on */

/* In begin: the thread gets and puts, as no part of the schedule. */
void scene_give(unsigned thread, unsigned n);   /* the thread gets so many */
void scene_return(unsigned thread, unsigned n); /* the thread puts so many of them */
void scene_flush(unsigned thread);              /* its cache goes to the depot */
void scene_have_shards(void);                   /* each cache that there is has a shard of its own */

void scene_set_max_live(size_t n);
void scene_destroy(void);

/* The pool ends with its last put, which has come when scene_end is called. */
void scene_close(void);

/* One loop, of one thread, with two waiters. */
void scene_begin_loop(void);           /* in begin */
void scene_end_loop(void);             /* destroys the notifier, as scene_end does otherwise */
void scene_get_async(unsigned number); /* with that waiter */
void scene_cancel(unsigned number);
bool scene_waits(unsigned number); /* it waits or is ready */
bool scene_next(void);             /* whether a waiter was ready; the thread has its buffer then */
void scene_await(void);            /* waits until the notifier's file descriptor is readable */

#endif
