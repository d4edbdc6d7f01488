/* SPDX-License-Identifier: MIT
 *
 * shards.h - further stacks of the depot, so that threads on different processors do not meet at one head
 *
 * Every call may use the depot's own stack. An owner that is inside its cache, with an open gate and no tickets, pushes
 * to the shard of its processor, and pops from that shard first. No other call pushes to a shard. But every call that
 * finds the depot's own stack empty pops from the shards too. While the pool is under pressure all shards are empty.
 * shards.c has the argument.
 *
 * `table` belongs to the pool of the depot. Any thread may call these functions at any time, unless a comment says
 * otherwise.
 */
#ifndef BUFFERPOOL_SHARDS_H
#define BUFFERPOOL_SHARDS_H

#include "depot.h"

/* ---- for an owner that is inside, with an open gate and no tickets ---- */

/* Returns the stack to push to: the shard of the cache, or the depot if there are no shards. */
static inline struct depot *shards_own(struct depot *depot, const struct cache *c);

/* As depot_pop, from the shard of the cache; if that is empty, from the depot's own stack; then from another shard. */
static inline struct magazine shards_pop(struct depot *depot, const struct desc_table *table, struct cache *c);

/* ---- for the owner of a cache, which is not inside ---- */

/* Makes the shards if threads use the pool on more than one processor, and chooses the shard of the cache. If there is
 * no memory, there are no shards for now. */
void shards_choose(bufferpool_t *pool, struct cache *c);

/* Does the same after about one of eight exchanges. */
static inline void shards_look(bufferpool_t *pool, struct cache *c)
{
    if (unlikely((load_relaxed(&c->exchanges) & 0x38u) == 0))
        shards_choose(pool, c);
}

/* What a refill adds to c->exchanges. A flush adds one. So the lowest three bits count flushes (cache.c), and the next
 * three are 0 in about one of eight exchanges, whatever their kind. */
#define SHARDS_REFILL 8u

/* ---- for all other calls ---- */

/* As depot_pop_some, from the depot's own stack, or from a shard if that is empty. */
struct magazine shards_pop_some(struct depot *depot, const struct desc_table *table, uint32_t out);

/* Whether the depot's own stack and all shards are empty. */
static inline bool shards_are_empty(const struct depot *depot);

/* The same, but looks into the shard of the cache first: mostly no other processor has written its line. */
static inline bool shards_are_empty_for(const struct depot *depot, const struct cache *c);

/* About how many buffers lie in the depot and its shards. */
uint32_t shards_idle(const struct depot *depot, const struct desc_table *table);

/* shards_mark notes how many buffers lie in the depot and in each shard. shards_low returns about how many of these
 * have lain there ever since. */
void shards_mark(struct depot *depot, const struct desc_table *table);
uint32_t shards_low(const struct depot *depot);

/* Moves the buffers in the shards to the depot's own stack. All gates are closed, or open by tickets, and caches_lock
 * is held. `sure` says that no owner is inside behind a gate that was open. */
void shards_drain(struct depot *depot, const struct desc_table *table, bool sure);

/* As depot_reset, for the depot and its shards. */
void shards_reset(struct depot *depot, uint32_t pooled);

/* Frees the shards, at the end of the pool. */
void shards_free(struct depot *depot);

/* ---- inline ---- */

static inline struct shards *shards_of(const struct depot *depot)
{
    return load_acquire(&depot->shards); /* with the release in make_shards (shards.c) */
}

/* Whether no shard holds anything. */
bool shards_hold_nothing(const struct depot *depot);

static inline bool shards_are_empty(const struct depot *depot)
{
    return depot_is_empty(depot) && shards_hold_nothing(depot);
}

static inline bool shards_are_empty_for(const struct depot *depot, const struct cache *c)
{
    const struct shards *shards = shards_of(depot);
    return (shards == NULL || depot_is_empty(&shards->shard[c->shard])) && shards_are_empty(depot);
}

static inline struct depot *shards_own(struct depot *depot, const struct cache *c)
{
    struct shards *shards = shards_of(depot);
    if (shards == NULL)
        return depot;
    const uint32_t bit = (uint32_t)1 << c->shard;
    if (unlikely((load_acquire(&shards->used) & bit) == 0)) /* with the writing of another owner: shards.c (2) */
        (void)or_seq_cst(&shards->used, bit);               /* before the swap of the head: the same */
    return &shards->shard[c->shard];
}

/* The rest of shards_pop, once the cache's own shard was empty. */
struct magazine shards_pop_elsewhere(struct depot *depot, const struct desc_table *table, struct cache *c);

static inline struct magazine shards_pop(struct depot *depot, const struct desc_table *table, struct cache *c)
{
    struct shards *shards = shards_of(depot);
    const struct magazine magazine = depot_pop(shards != NULL ? &shards->shard[c->shard] : depot, table);
    return likely(magazine.head != NULL) || shards == NULL ? magazine : shards_pop_elsewhere(depot, table, c);
}

#endif
