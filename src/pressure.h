/* SPDX-License-Identifier: MIT
 *
 * pressure.h - what a pool does at its cap
 *
 * A get that finds the depot empty and the cap reached puts the pool under pressure: what idles in the caches of all
 * threads is taken over, once, and their gates stay closed, so that from then on every put goes to the depot and every
 * get takes from there. So while it lasts a buffer that is idle is where the next get finds it. It ends when callers
 * have well below the cap.
 */
#ifndef BUFFERPOOL_PRESSURE_H
#define BUFFERPOOL_PRESSURE_H

#include "cache.h"

/* A get has found nothing, and not for the last time. Enters the pressure, or goes on with entering it; if the pool is
 * under pressure already, lets the calls under way go on for a moment. Returns false if looking again is no use. */
bool pressure_rise(bufferpool_t *pool, unsigned attempt);

/* Enters it without a get: the cap was lowered below what exists. It may end at any time. */
void pressure_enter(bufferpool_t *pool);

/* Ends it if callers have well below the cap. Called where that may have come about. */
void pressure_relax(bufferpool_t *pool);

/* For the owner, at the beginning of a slow path: opens its gate if it is closed for no reason any more; flushes what
 * is left in its cache behind a closed one. */
void pressure_serve_gate(bufferpool_t *pool, struct cache *c);

/* For the owner: flushes its cache, whether the gate is open or not, and opens that unless there is pressure. */
void pressure_flush(bufferpool_t *pool, struct cache *c);

#endif
