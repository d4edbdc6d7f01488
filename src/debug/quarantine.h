/* SPDX-License-Identifier: MIT
 *
 * quarantine.h - the last buffers put, held back, so that a stale pointer finds poison in them rather than a new owner
 *
 * A ring, first in, first out. What is in it is idle, and stays in flight for the cap as if a caller had it: so nothing
 * of depot.c's argument changes. At the cap a get or somebody who waits takes the oldest rather than go without; trim
 * and a lowered cap empty it.
 */
#ifndef BUFFERPOOL_QUARANTINE_H
#define BUFFERPOOL_QUARANTINE_H

#include "desc.h"

#include <pthread.h>

/* Takes in a claimed pooled buffer. Returns the one that leaves in its place, which is the same where there is no
 * memory; NULL: none. */
struct desc *quarantine_swap(bufferpool_t *pool, struct desc *d);

/* Takes the oldest out, in an idle state, in flight and in no cache; NULL: there is none. */
struct desc *quarantine_take(bufferpool_t *pool);

/* Moves all that it holds now to the depot, or frees what may not be idle there; returns the bytes of that. `caller`
 * for reports. */
size_t quarantine_release(bufferpool_t *pool, const char *caller);

/* In the child after fork, which finds them by their words. */
static inline void quarantine_reset(struct quarantine *quarantine)
{
    quarantine->n = 0;
    store_relaxed(&quarantine->count, 0);
    store_relaxed(&quarantine->bytes, 0);
}

#endif
