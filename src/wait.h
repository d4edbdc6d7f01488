/* SPDX-License-Identifier: MIT
 *
 * wait.h - callers that wait at the cap for a buffer, first come, first served
 *
 *     struct waiter w;
 *     if (!wait_begin(pool, &w, timeout_ms))
 *         ...                                   no memory
 *     do
 *         ...                                   see that the pool is under pressure
 *     while (wait_once(pool, &w));
 *     wait_end(pool, &w);                       w.buffer, w.reserved or neither
 */
#ifndef BUFFERPOOL_WAIT_H
#define BUFFERPOOL_WAIT_H

#include "depot.h"

/* Puts the calling thread into the queue, for at most so many milliseconds; BUFFERPOOL_NEVER: without end. The thread
 * is not inside its cache. From here to wait_end it cannot be cancelled, since the queue points to its stack. Returns
 * false if there is no memory to wait with; then nothing was begun. */
bool wait_begin(bufferpool_t *pool, struct waiter *w, unsigned timeout_ms);

/* Waits. Returns whether to look at the pressure and call this again: the waiter was not served, and its time is not
 * over. */
bool wait_once(bufferpool_t *pool, struct waiter *w);

/* Takes the thread out of the queue. */
void wait_end(bufferpool_t *pool, struct waiter *w);

/* Hands an idle buffer, counted in flight, to the longest waiting caller. Returns false if nobody waits. */
bool wait_hand_over(bufferpool_t *pool, struct desc *d);

/* Gives the waiting callers what the depot has and the cap allows. */
void wait_serve_all(bufferpool_t *pool);

/* The same. While nobody waits this costs one load. Each call on a pool ends with it (call.h); long ones do it in
 * between too. */
static inline void wait_serve(bufferpool_t *pool)
{
    if (unlikely(depot_wanted(&pool->depot)))
        wait_serve_all(pool);
}

#endif
