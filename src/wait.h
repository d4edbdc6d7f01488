/* SPDX-License-Identifier: MIT
 *
 * wait.h - callers that wait at the cap for a buffer, first come, first served
 *
 *     struct waiter w;
 *     if (!wait_begin(pool, &w, timeout_ms))
 *         ...                                   no memory
 *     do
 *         ...                                   if the pool is not under pressure, pressure_enter
 *     while (wait_once(pool, &w));
 *     wait_end(pool, &w);                       w.buffer, w.reserved or neither
 */
#ifndef BUFFERPOOL_WAIT_H
#define BUFFERPOOL_WAIT_H

#include "depot.h"

/* Puts the calling thread into the queue, for at most timeout_ms milliseconds, or with BUFFERPOOL_NEVER without end.
 * The thread is not inside its cache. From here to wait_end it cannot be cancelled, since the queue points to its
 * stack. Returns false if there is no memory to wait with; then nothing was begun. */
bool wait_begin(bufferpool_t *pool, struct waiter *w, unsigned timeout_ms);

/* Waits. Returns true if the waiter was not served and its time is not over. The caller then looks at the pressure, and
 * calls this again. */
bool wait_once(bufferpool_t *pool, struct waiter *w);

/* Takes the thread out of the queue. */
void wait_end(bufferpool_t *pool, struct waiter *w);

/* Hands an idle buffer, which is in no cache and not in the depot, to the longest waiting caller. Returns false if no
 * caller waits. */
bool wait_hand_over(bufferpool_t *pool, struct desc *d);

/* Serves the waiting callers: with buffers from the depot, and with the right to make as many as the cap allows. */
void wait_serve_all(bufferpool_t *pool);

/* The same. While no caller waits, this costs one load. Each call on a pool ends with it (call.h). Long calls use it in
 * between too. */
static inline void wait_serve(bufferpool_t *pool)
{
    if (unlikely(depot_wanted(&pool->depot)))
        wait_serve_all(pool);
}

#endif
