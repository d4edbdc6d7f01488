/* SPDX-License-Identifier: MIT
 *
 * reclaim.h - idle memory goes back: trim, a lowered cap, and by itself what the depot did not need
 */
#ifndef BUFFERPOOL_RECLAIM_H
#define BUFFERPOOL_RECLAIM_H

#include "cache.h"

/* What a call that had business with the depot does at its end: frees what is beyond a lowered cap, and a bounded part
 * of what the depot did not need in the last period. */
void reclaim_tick(bufferpool_t *pool, struct cache *c, const char *caller);

/* Frees idle buffers of the depot and of the cache until no more than the cap exist, or none of these is left. */
void reclaim_surplus(bufferpool_t *pool, struct cache *c, const char *caller);

#endif
