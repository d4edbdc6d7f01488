/* SPDX-License-Identifier: MIT
 *
 * pool.h - what a pool consists of
 */
#ifndef BUFFERPOOL_POOL_H
#define BUFFERPOOL_POOL_H

#include "cache.h"
#include "debug/quarantine.h"
#include "debug/records.h"
#include "depot.h"
#include "heap/heap.h"
#include "wait.h"

extern struct bufferpool pool_default;

static inline bufferpool_t *pool_or_default(const bufferpool_t *pool)
{
    return pool != NULL ? (bufferpool_t *)(uintptr_t)pool : &pool_default;
}

/* The word of a plain buffer of the pool that is held. */
static inline uintptr_t pool_live_word(const bufferpool_t *pool)
{
    return desc_word(pool->tag, STATE_LIVE);
}

/* The pool that the descriptor belongs to by its word and by its place; NULL: no buffer of this library, or an
 * overwritten one. Any thread. */
bufferpool_t *pool_of(const struct desc *d, uintptr_t word);

#define REPORT_OVERWRITTEN "the bytes in front of data were overwritten" /* for report_misuse() */

/* Frees a pooled buffer that no caller holds and no cache counts: state, block, descriptor; its place in the counts the
 * caller gives up afterwards. `caller` for the report if its block was overwritten. With `defer` memory may stay
 * resident until heap_purge. */
void pool_free_buffer(bufferpool_t *pool, struct desc *d, bool defer, const char *caller);

#endif
