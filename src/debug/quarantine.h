/* SPDX-License-Identifier: MIT
 *
 * quarantine.h - the last buffers put, held back, so that a stale pointer finds poison in them rather than a new owner
 *
 * The quarantine is a ring, first in, first out. Its buffers are idle, but stay in flight for the cap as if a caller
 * had them, so depot.c's argument does not change. At the cap, a get or a caller that waits takes the oldest buffer
 * rather than go without. Trim and a lowered cap empty the ring.
 */
#ifndef BUFFERPOOL_QUARANTINE_H
#define BUFFERPOOL_QUARANTINE_H

#include "atomic.h"
#include "types.h"

/* Takes in a claimed pooled buffer. Returns the buffer that leaves in exchange, or NULL if none leaves. Where there is
 * no memory for the ring, the same buffer leaves. */
struct desc *quarantine_swap(bufferpool_t *pool, struct desc *d);

/* Takes out the oldest buffer: idle, in flight and in no cache. Returns NULL if there is none. */
struct desc *quarantine_take(bufferpool_t *pool);

/* Moves the buffers that it holds now to the depot, and frees those that may not idle there. Returns the bytes
 * freed. */
size_t quarantine_release(bufferpool_t *pool);

/* Verifies the blocks of the buffers that it holds: watch_idle. */
void quarantine_verify(bufferpool_t *pool);

/* In the child after fork, which finds the buffers by their words. */
static inline void quarantine_reset(struct quarantine *quarantine)
{
    quarantine->n = 0;
    store_relaxed(&quarantine->count, 0);
    store_relaxed(&quarantine->bytes, 0);
}

#endif
