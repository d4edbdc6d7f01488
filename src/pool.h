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

/* What others than the holder of a lock read of these is relaxed: hints, and numbers that read-modify-writes keep
 * whole. What a reader relies on has an order, and a comment, where it is read. */

enum pressure_state { PRESSURE_OFF, PRESSURE_ENTERING, PRESSURE_ON };

/* Under caches_lock; read without it for hints. */
struct pressure {
    _Atomic(int) state;      /* enum pressure_state */
    _Atomic(uint32_t) since; /* depot_pops from which those count that must go by before it ends; modulo 2^32, so after
                                billions of them they may have to go by again */
};

struct background {
    bool wanted;         /* read-only: BUFFERPOOL_BACKGROUND */
    _Atomic(bool) begun; /* the pool is among those that the thread sees to */
    bufferpool_t *next;  /* of those */
    uint64_t due_ms;     /* when it is to be seen to, on the coarse monotonic clock */
    bool busy;           /* it is being seen to now, without the lock */
};

struct reclaim {
    _Atomic(uint64_t) period_end_ms; /* on the coarse monotonic clock; 0: none has begun */
    _Atomic(uint32_t) due;           /* buffers that this period is to free */
    atomic_flag busy;                /* one reclaimer at a time */
};

struct bufferpool {
    /* read-only after creation */
    size_t index;     /* in the registry */
    size_t tls_index; /* desc_tls_index(index) */
    uintptr_t tag;
    char *name;
    size_t max_capacity;
    size_t max_idle_bytes;  /* 0: no limit */
    size_t cache_bytes;     /* thread_cache_bytes, at least buffer_capacity */
    uint32_t cache_entries; /* of each cache's array */
    uint32_t reclaim_interval_ms;
    /* written rarely */
    _Atomic(size_t) max_live;
    _Atomic(struct cache *) caches; /* all that ever were, linked by next */
    pthread_mutex_t caches_lock;    /* guards who has which cache, and what is behind closed gates */
    struct cache *unowned_caches;   /* those without a thread */
    struct pressure pressure;
    struct wait_queue waiters;
    struct background background;
    uint64_t gets_shown, puts_shown; /* by metrics, the most; under the registry's lock */
    struct records records;          /* with debug modes alone, as the next */
    struct quarantine quarantine;
    /* written by whoever has business with the depot */
    struct depot depot;
    _Atomic(size_t) idle_reserved; /* bytes of max_idle_bytes in use or set aside */
    _Atomic(bool) idle_tight;      /* what was set aside was missed elsewhere in this period */
    _Atomic(size_t) grown_extra;   /* bytes of cap beyond buffer_capacity in all pooled buffers */
    struct reclaim reclaim;
    /* written by whoever makes or frees buffers */
    struct heap heap;
    /* for threads without a cache */
    struct cache shared;
};

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
