/* SPDX-License-Identifier: MIT
 *
 * close.h - a closed pool ends with its last put
 */
#ifndef BUFFERPOOL_CLOSE_H
#define BUFFERPOOL_CLOSE_H

#include "types.h"

/* The put of a buffer of a closed pool: frees it, and with the last one the pool. */
void close_put(bufferpool_t *pool, struct desc *d, uintptr_t word);

/* The same for an idle buffer that a waiter was given. */
void close_give_back(bufferpool_t *pool, struct desc *d);

/* A closed pool whose depot counts a buffer, or the right to make one, stays until close_release. */
void close_hold(bufferpool_t *pool);

/* Ends a hold, or a right to make a buffer, and with the last of all the pool. */
void close_release(bufferpool_t *pool);

/* For what goes over the calling thread's caches, while the pool is pinned. close_hold_if_any: returns false if the
 * pool is about to end. close_left: frees what came to the depot, and ends the hold; returns whether it was the last,
 * and then the thread calls close_end once it has unpinned the pool. */
bool close_hold_if_any(bufferpool_t *pool);
bool close_left(bufferpool_t *pool);
void close_end(bufferpool_t *pool);

#endif
