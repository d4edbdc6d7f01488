/* SPDX-License-Identifier: MIT
 *
 * reclaim.h - idle memory goes back: trim, a lowered cap, and by itself what was not needed
 */
#ifndef BUFFERPOOL_RECLAIM_H
#define BUFFERPOOL_RECLAIM_H

#include "cache.h"

/* What a call that had business with the depot does at its end: frees a bounded part of what was not needed in the last
 * period. errno is kept. */
void reclaim_on_time(bufferpool_t *pool, struct cache *c, const char *caller);

/* The same, and frees what is beyond a lowered cap. */
void reclaim_tick(bufferpool_t *pool, struct cache *c, const char *caller);

/* Frees idle buffers of the depot until no more than the cap exist, or none is left there: a bounded number. */
void reclaim_surplus(bufferpool_t *pool, struct cache *c, const char *caller);

/* All that ticks do in a period, at its end. For a thread that has nothing else to do. Returns when the next period
 * ends, on the coarse monotonic clock; begins the first one if none has begun. */
uint64_t reclaim_in_background(bufferpool_t *pool);

#endif
