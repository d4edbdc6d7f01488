/* SPDX-License-Identifier: MIT
 *
 * reclaim.h - idle memory goes back: trim, a lowered cap, by itself what was not needed, and the size of grown buffers
 */
#ifndef BUFFERPOOL_RECLAIM_H
#define BUFFERPOOL_RECLAIM_H

#include "types.h"

/* At the end of a call that used the depot: frees a bounded part of what was not needed in the last period, if its time
 * has come. */
void reclaim_on_time(bufferpool_t *pool, struct cache *c);

/* The same, and frees idle buffers beyond a lowered cap. */
void reclaim_tick(bufferpool_t *pool, struct cache *c);

/* Frees idle buffers of the depot until no more than the cap exist, or none is left there: a bounded number. */
void reclaim_surplus(bufferpool_t *pool, struct cache *c);

/* Does all that ticks do in a period, at its end, for the thread that has nothing else to do. Returns when the next
 * period ends, on the coarse monotonic clock. Begins the first period if none has begun. */
uint64_t reclaim_in_background(bufferpool_t *pool);

/* For a grown buffer that a put has claimed: counts little use, and at the last strike replaces the block by one that
 * fits the last use. The buffer is then a plain one if that is buffer_capacity. Where there is no memory for that the
 * buffer stays as it is, and the next put tries again. */
void reclaim_judge(bufferpool_t *pool, struct cache *c, struct desc *d);

#endif
