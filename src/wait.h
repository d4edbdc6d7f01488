/* SPDX-License-Identifier: MIT
 *
 * wait.h - callers that wait at the cap for a buffer, first come, first served
 */
#ifndef BUFFERPOOL_WAIT_H
#define BUFFERPOOL_WAIT_H

#include "depot.h"

#include <pthread.h>

/* What a waiter got. */
struct wait_result {
    struct desc *d; /* a buffer in an idle state, counted in flight; NULL: see reserved */
    bool reserved;  /* the right to make one, as from depot_reserve; neither: the time is over */
};

/* Waits until a buffer may be had, at most so many milliseconds; BUFFERPOOL_NEVER: without end. The calling thread is
 * not inside its cache. No cancellation point. False: no memory to wait with, and *result is not set. */
bool wait_for_buffer(bufferpool_t *pool, unsigned timeout_ms, struct wait_result *result);

/* Hands a buffer in an idle state, counted in flight, to whoever waits longest. False: nobody waits. */
bool wait_hand_over(bufferpool_t *pool, struct desc *d);

/* Gives those who wait what the depot has and the cap allows. Every call that may have made some of either ends with
 * this; while nobody waits it costs a load of what such a call has just written. */
void wait_check(bufferpool_t *pool);

#endif
