/* SPDX-License-Identifier: MIT
 *
 * reclaim.h - idle memory goes back: by trim, by a lowered cap, and by itself; grown buffers shrink
 */
#ifndef BUFFERPOOL_RECLAIM_H
#define BUFFERPOOL_RECLAIM_H

#include "heap/desc.h"

/* At the end of a call that used the depot: frees a bounded number of the buffers that were not needed in the last
 * period. Ends the period if its time has come. */
void reclaim_on_time(bufferpool_t *pool, struct cache *c);

/* After a fast get has failed because it is time to look at the clock (cache.h): makes the next gets fast again.
 * Returns whether reclaim_on_time would find something to do. */
bool reclaim_look(bufferpool_t *pool, struct cache *c);

/* As reclaim_on_time, and frees idle buffers beyond a lowered cap. */
void reclaim_tick(bufferpool_t *pool, struct cache *c);

/* Frees idle buffers in the depot until no more pooled buffers exist than the cap allows, or the depot is empty. One
 * call frees a bounded number. */
void reclaim_surplus(bufferpool_t *pool, struct cache *c);

/* After a call that freed a buffer, put one into the depot, or raised the cap: keeps what depot.c (10) promises, that
 * more buffers than the cap exist only while callers hold as many as the cap. */
void reclaim_keep_cap(bufferpool_t *pool, struct cache *c);

/* reclaim_keep_cap after a thread has ended; callers that wait for what was freed are served. */
void reclaim_after_thread(bufferpool_t *pool, struct cache *c);

/* For the background thread, which has nothing else to do: does at once, at the end of a period, what the calls of
 * users do little by little. Gives back what was retained for long enough. Returns when it is to be called again, on
 * the coarse monotonic clock: when the next period ends, or when more that is retained is to go. Begins the first
 * period if none has begun. Does less if *stop becomes true meanwhile. */
uint64_t reclaim_in_background(bufferpool_t *pool, const _Atomic(bool) *stop);

/* For the budget of the pool: frees idle buffers that lie in the depot, and gives memory that is retained back, until
 * so many bytes of the budget went or there is no more. With `from_caches` what idles in the caches of threads comes to
 * the depot first. Returns how many bytes went, about. No lock of the library is held but the budget's. */
size_t reclaim_idle(bufferpool_t *pool, size_t bytes, bool from_caches);

/* Moves what idles in the caches of threads, or is held back by a debug mode, to the depot. */
void reclaim_caches(bufferpool_t *pool);
/* For the background thread: as bufferpool_trim. */
void reclaim_trim_in_background(bufferpool_t *pool);

/* For a grown buffer that a put has claimed: counts little use, and at the last strike replaces the block by one that
 * fits the last use. If that block has buffer_capacity bytes, the buffer is a plain one afterwards. If there is no
 * memory for the block, the buffer stays as it is, and the next put tries again. */
void reclaim_judge(bufferpool_t *pool, struct cache *c, struct desc *d);

/* Frees all that lies in the depot, and what the quarantine holds back. */
void reclaim_all_idle(bufferpool_t *pool, struct cache *c);

#endif
