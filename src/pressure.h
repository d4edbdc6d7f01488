/* SPDX-License-Identifier: MIT
 *
 * pressure.h - what a pool does at its cap
 *
 * A get that finds the depot empty and the cap reached puts the pool under pressure: buffers that idle in the caches of
 * all threads are stolen, once, and the gates stay closed, so that from then on every put goes to the depot and every
 * get takes from there. While that lasts an idle buffer is where the next get finds it. It ends when callers have well
 * below the cap.
 *
 * Overload: where callers go on beyond the cap, some buffers may idle in thread caches all the same, without taking
 * anything away from a get that then makes a buffer. Such a buffer has a ticket. A thread that keeps going beyond the
 * cap takes a few tickets and opens its cache with them: from then on its gets and puts are the fast ones, as far as
 * the tickets go. All tickets are taken back when callers come near the cap again.
 */
#ifndef BUFFERPOOL_PRESSURE_H
#define BUFFERPOOL_PRESSURE_H

#include "clock.h"
#include "depot.h"
#include "types.h"

/* What these move to the depot, the caller offers to those that wait (wait_serve). */

/* For a get that has found nothing. Enters the pressure, or goes on with entering it; if the pool is under pressure
 * already, gives the calls under way a moment. Returns false if another look is of no use, and when the get's patience
 * is over. */
bool pressure_rise(bufferpool_t *pool, struct patience *patience);

/* Enters the pressure without a get: the cap was lowered below what exists, or a caller waits. It may end at any
 * time. */
void pressure_enter(bufferpool_t *pool);

/* For a pool that was closed: closes all gates for good, and moves what idles in caches to the depot. Waits for the
 * owners that are inside, without a limit. */
void pressure_close(bufferpool_t *pool);

/* Ends the pressure if callers have well below the cap. Called where that may have become true. */
void pressure_relax(bufferpool_t *pool);

/* For a thread that has just made a buffer beyond the cap: opens its cache with tickets, if that has been so often
 * enough, and if callers have enough beyond the cap. */
void pressure_grant(bufferpool_t *pool, struct cache *c);

/* For the owner of a full cache that is open by tickets: doubles them, if callers have enough beyond the cap. */
bool pressure_grant_more(bufferpool_t *pool, struct cache *c);

/* Whether tickets have to be taken back: callers may hold fewer buffers than the cap although more exist. A thread
 * that reads counts with the tickets of a cache reads `granted` with them afterwards (grant). */
static inline bool pressure_is_short(const bufferpool_t *pool)
{
    return unlikely(depot_is_short(&pool->depot, &pool->max_live)) && load_relaxed(&pool->pressure.granted) != 0;
}

/* Takes all tickets back: what idles in thread caches goes to the depot. */
void pressure_end_overload(bufferpool_t *pool);

/* Takes what idles in caches that a steal did not reach, if the owner of one has come out since. */
void pressure_take_rest(bufferpool_t *pool);

/* At the beginning of a slow path: takes the rest, and for the owner opens its gate if nothing keeps it closed any
 * longer, and flushes what is left in its cache behind a closed one. */
void pressure_serve_gate(bufferpool_t *pool, struct cache *c);

/* For the owner: flushes its cache, whether the gate is open or not, and opens the gate unless there is pressure. */
void pressure_flush(bufferpool_t *pool, struct cache *c);

#endif
