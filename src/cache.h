/* SPDX-License-Identifier: MIT
 *
 * cache.h - a thread's cache of one pool: an array of idle buffers used as a stack
 *
 *     slots  | coldest ...... warmest |  free  ...  |          get takes slots[n - 1], put stores slots[n]
 *            0                        n          limit         at the limit the colder half goes to the depot
 *
 * The owner alone writes it, but for live_word, which is also
 *
 *     the gate: the word that a held, plain buffer of this pool has, if get and put may take the fast path, else
 *     GATE_CLOSED, which no word equals. Any thread may close it; the owner opens it again in its slow path, once what
 *     it was closed for is done. Always closed in pools that wipe.
 *
 * Invariants, for each cache when its owner is in no call:
 *     n <= limit
 *     held bytes = n * buffer_capacity + extra <= thread_cache_bytes
 *     held bytes <= budget                                 (with max_idle_bytes)
 * and over all caches of a pool, the shared one included:
 *     sum of moved = in_flight
 *     sum of (moved - n) = live
 *     sum of budget + bytes in the depot = idle_reserved <= max_idle_bytes    (with max_idle_bytes)
 */
#ifndef BUFFERPOOL_CACHE_H
#define BUFFERPOOL_CACHE_H

#include "desc.h"

#include <stdbool.h>

enum counter {
    GETS_THREAD,
    GETS_DEPOT,
    GETS_FRESH,
    GETS_BYPASS,
    GETS_REFUSED,
    DROPS_OVERSIZE,
    DROPS_BYPASS,
    DROPS_OVER_CAP,
    DROPS_IDLE_LIMIT,
    GROWS,
    RECLAIMED_BYTES,
    COUNTERS
};

#define GATE_CLOSED (~(uintptr_t)0)

/* No cache holds more buffers than this, whatever their size. */
#define CACHE_SLOTS_MAX 4096u

struct cache {
    /* every call */
    _Alignas(CACHE_LINE) _Atomic(uint64_t) level; /* moved << 32 | n: pooled buffers that came to this thread less
                                                     those that left it, modulo 2^32; and the idle ones of them */
    _Atomic(uintptr_t) live_word;
    struct desc **slots;
    uint32_t limit;
    bool shared; /* the pool's cache for threads without one: holds nothing, and any thread counts in it */
    _Atomic(uint64_t) counters[COUNTERS];
    /* now and then */
    _Atomic(size_t) extra; /* bytes of cap beyond buffer_capacity in it */
    size_t budget;         /* bytes of max_idle_bytes set aside for it */
    /* under the registry's lock, but for `next`, which never changes */
    struct cache *next; /* of the pool's caches */
    struct cache *next_unowned;
    _Atomic(bool) owned; /* a thread has it */
};

static inline uint32_t cache_idle(const struct cache *c)
{
    return (uint32_t)load_relaxed(&c->level);
}

/* The fast get: the warmest buffer, now live, with len 0 and not yet counted; NULL if the slow path must see to it. */
static inline struct desc *cache_pop_plain(struct cache *c)
{
    uint64_t level = load_relaxed(&c->level);
    if (unlikely((uint32_t)level == 0))
        return NULL;
    struct desc *d = c->slots[(uint32_t)level - 1];
    uintptr_t word = load_relaxed(&d->word) + (STATE_LIVE - STATE_IDLE);
    if (unlikely(word != load_relaxed(&c->live_word)))
        return NULL; /* grown, or the gate is closed */
    store_relaxed(&c->level, level - 1);
    store_relaxed(&d->word, word);
    d->pub.len = 0;
    return d;
}

/* The fast put; false if the slow path must see to it, and then nothing changed. */
static inline bool cache_push_plain(struct cache *c, struct desc *d, uintptr_t word)
{
    if (unlikely(word != load_relaxed(&c->live_word)))
        return false;
    uint64_t level = load_relaxed(&c->level);
    if (unlikely((uint32_t)level >= c->limit))
        return false;
    c->slots[(uint32_t)level] = d;
    store_relaxed(&d->word, word - (STATE_LIVE - STATE_IDLE));
    store_relaxed(&c->level, level + 1);
    return true;
}

/* ---- the slow path ---- */

/* Counts for statistics. */
void cache_count(struct cache *c, enum counter counter, uint64_t n);

/* n pooled buffers that callers hold came to be counted with this cache (or, negative, ceased to be). */
void cache_moved(struct cache *c, int32_t n);

/* The warmest idle buffer, now live, whatever kind it is; NULL: there is none. `caller` for the report of a misused
 * one. */
struct desc *cache_take(bufferpool_t *pool, struct cache *c, const char *caller);

/* Takes a magazine from the depot into the empty cache; its first buffer, now live; NULL: the depot is empty. */
struct desc *cache_refill(bufferpool_t *pool, struct cache *c, const char *caller);

/* Puts a buffer that is in an idle state already into the cache, or else the depot. Returns false, and does nothing,
 * if that would exceed max_idle_bytes. */
bool cache_keep(bufferpool_t *pool, struct cache *c, struct desc *d);

/* Takes the coldest idle buffer out, which ceases to be counted here but stays idle; NULL: there is none. */
struct desc *cache_evict(bufferpool_t *pool, struct cache *c);

/* Moves everything to the depot. */
void cache_flush(bufferpool_t *pool, struct cache *c);

/* Bytes of the buffers that leave the depot for good no longer count toward max_idle_bytes. */
void cache_unreserve_idle(bufferpool_t *pool, size_t bytes);

/* The gate: whether it is closed without being so by nature; the owner opens it; anyone closes it, or that of every
 * cache of the pool. */
bool cache_gate_tripped(const bufferpool_t *pool, const struct cache *c);
void cache_gate_open(const bufferpool_t *pool, struct cache *c);
void cache_gate_close(struct cache *c);
void cache_close_gates(bufferpool_t *pool);

#endif
