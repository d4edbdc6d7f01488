/* SPDX-License-Identifier: MIT
 *
 * wait.h - the callers that wait at the cap for buffers: one queue for each pool, first come, first served
 *
 * A thread waits on its stack (timed.c):
 *
 *     struct sleeper s;
 *     if (!wait_begin(pool, &s, n, timeout_ms))
 *         ...                                   no memory
 *     do
 *         ...                                   if the pool is not under pressure, pressure_enter
 *     while (wait_once(pool, &s));
 *     error = wait_end(pool, &s);               what it was given is its own, also with an error
 *
 * A bufferpool_waiter_t waits in the caller's struct (async.c): wait_join, and wait_leave or its notifier.
 */
#ifndef BUFFERPOOL_WAIT_H
#define BUFFERPOOL_WAIT_H

#include "depot.h"

/* ---- threads ---- */

/* Puts the calling thread into the queue, for n buffers, and for at most timeout_ms milliseconds, or with
 * BUFFERPOOL_NEVER without end. The thread is not inside its cache. From here to wait_end it cannot be cancelled, since
 * the queue points to its stack. Returns false if there is no memory to wait with; then nothing was begun. */
bool wait_begin(bufferpool_t *pool, struct sleeper *s, uint32_t n, unsigned timeout_ms);

/* Waits. Returns true if the thread is in the queue still and its time is not over. The caller then looks at the
 * pressure, and calls this again. */
bool wait_once(bufferpool_t *pool, struct sleeper *s);

/* Takes the thread out of the queue. Returns 0: it has all that it waited for, s->waiter.given and s->reserved;
 * ETIMEDOUT; ECANCELED: the pool was closed; EINVAL: the cap was lowered below n. With an error it may have a part. */
int wait_end(bufferpool_t *pool, struct sleeper *s);

/* ---- bufferpool_waiter_t ---- */

/* Puts a waiter into the queue, whose pool and notifier are set. Returns false if the pool was closed. */
bool wait_join(bufferpool_t *pool, struct waiter *w);

/* Takes it out of the queue. Returns false if it waits no more: then its notifier has it. */
bool wait_leave(bufferpool_t *pool, struct waiter *w);

/* ---- for all calls ---- */

/* Hands an idle buffer, which is in no cache and not in the depot, to the caller that has waited longest, which counts
 * as its holder from then on. Returns false if no caller waits. */
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

/* Ends all waits with ECANCELED, the present ones and those to come: the pool is POOL_CLOSED. */
void wait_cancel_all(bufferpool_t *pool);

#endif
