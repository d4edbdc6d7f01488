/* SPDX-License-Identifier: MIT
 *
 * desc.h - descriptors: the handle that callers see and the library's fields behind it, one cache line
 *
 * A descriptor is never moved, and its memory is never unmapped before the pool is destroyed. So a stale depot_pop may
 * read `below` and `count` of a descriptor that has long been popped, reused or freed: it reads an old value, never
 * unmapped memory, and its compare-and-swap then fails (see depot.c).
 *
 * The word says whose the descriptor is and in which state:
 *
 *     word = tag << STATE_BITS | state        tag = generation | slot | place, from the highest bits to the lowest
 *
 * `slot` is the pool's place in the registry, `generation` differs between pools that used the same slot one after the
 * other, and `place` is where a thread's table has its cache (tls_cache.h). One load of the word thus leads put to the
 * cache and the pool, and tells a held buffer from any other.
 *
 *     FREE <-- drop, trim -- IDLE <-- put -- LIVE          each put is word - 1, each get word + 1,
 *      |                      +----- get --->  ^           so a buffer that was handed out twice stands
 *      +------------- fresh -------------------+           at IDLE + 2 and is caught when it is put
 *
 *     IDLE_GROWN, LIVE_GROWN: the same for a buffer whose cap is not buffer_capacity
 *     BYPASS: held, not pooled; becomes FREE when put
 *
 * Everywhere the word is read and written relaxed: it belongs to whoever has the buffer, and travels with it through
 * what orders the rest, a cache, the depot, the stash or the heap's lock. Others read it behind a closed gate, where it
 * is of no consequence (cache_pop_plain), or by misuse, which it is there to tell.
 */
#ifndef BUFFERPOOL_DESC_H
#define BUFFERPOOL_DESC_H

#include "atomic.h"
#include "bufferpool.h"

#include <stdbool.h>
#include <stdint.h>

enum desc_state {
    STATE_FREE = 0,
    STATE_IDLE = 1,
    STATE_LIVE = 2,
    STATE_BYPASS = 4,
    STATE_IDLE_GROWN = 5,
    STATE_LIVE_GROWN = 6
};

/* With 64 bits, state and place are a byte each: many processors take one out of a word in one instruction. */
#define STATE_BITS      (UINTPTR_MAX > UINT32_MAX ? 8 : 3)
#define STATE_MASK      (((uintptr_t)1 << STATE_BITS) - 1)
#define TLS_INDEX_BITS  (UINTPTR_MAX > UINT32_MAX ? 8 : 5)
#define TLS_INDEX_MASK  (((uintptr_t)1 << TLS_INDEX_BITS) - 1)
#define POOL_INDEX_BITS 16
#define POOL_INDEX_MASK (((uintptr_t)1 << POOL_INDEX_BITS) - 1)

struct slab;

struct desc {
    _Alignas(CACHE_LINE) bufferpool_buf_t pub;
    _Atomic(uintptr_t) word;
    union {
        uint32_t link[2];   /* in the depot: indexes of two more buffers of the magazine (depot.c) */
        struct desc *chain; /* free: the next of the free list, NULL at the end */
        size_t asked;       /* held and grown: the most bytes that were asked for since get */
    };
    struct slab *slab; /* block.h: where the block lies, and in the lowest bit whether it is a bypass buffer's */
    _Atomic(uint32_t)
        below; /* head of a magazine in the depot: index of the magazine beneath it, 0 at the bottom; other
                                nodes of it: one more link */
    _Atomic(uint32_t)
        count;       /* head of a magazine: its buffers, and whether some are grown; other nodes: one more link */
    uint32_t index;  /* its own number, from 1 */
    uint8_t strikes; /* grown: puts in a row after little use (strikes.c) */
};

_Static_assert(sizeof(struct desc) == CACHE_LINE, "a descriptor is one cache line");

/* The table: chunk j holds 64 << j descriptors, so it grows without moving any. Numbers start at 1: 0 is "none". */
#define DESC_FIRST_CHUNK 64u
#define DESC_CHUNKS      25
#define DESC_MAX         (DESC_FIRST_CHUNK * ((1u << DESC_CHUNKS) - 1))

struct desc_table {
    _Atomic(struct desc *) chunks[DESC_CHUNKS];
    _Atomic(uint32_t) used; /* descriptors 1 .. used have been handed out at least once */
    struct desc *free_list; /* linked by chain */
    uint32_t colour;        /* read-only: a number that differs between pools */
};

static inline enum desc_state desc_state(uintptr_t word)
{
    return (enum desc_state)(word & STATE_MASK);
}

static inline size_t desc_pool_index(uintptr_t word)
{
    return (size_t)((word >> (STATE_BITS + TLS_INDEX_BITS)) & POOL_INDEX_MASK);
}

/* The first slots have a place each; the others share the last one, where no table has anything. */
#define TLS_INDEXES    ((size_t)TLS_INDEX_MASK + 1)
#define TLS_INDEX_NONE ((size_t)TLS_INDEX_MASK)

static inline size_t desc_tls_index(size_t slot)
{
    return slot < TLS_INDEX_NONE ? slot : TLS_INDEX_NONE;
}

static inline uintptr_t desc_tag(uint32_t generation, size_t slot)
{
    uintptr_t tag = ((uintptr_t)generation << POOL_INDEX_BITS | slot) << TLS_INDEX_BITS | desc_tls_index(slot);
    return tag << STATE_BITS >> STATE_BITS; /* it is to fit into a word */
}

static inline size_t desc_tls_index_of(uintptr_t word)
{
    return (size_t)((word >> STATE_BITS) & TLS_INDEX_MASK);
}

static inline uintptr_t desc_word(uintptr_t tag, enum desc_state state)
{
    return (tag << STATE_BITS) | (uintptr_t)state;
}

/* Whether a descriptor can be there at all: tells many a foreign pointer before anything is read. */
static inline bool desc_aligned(const bufferpool_buf_t *buf)
{
    return ((uintptr_t)buf & (CACHE_LINE - 1)) == 0;
}

static inline struct desc *desc_of(bufferpool_buf_t *buf)
{
    return (struct desc *)(void *)buf; /* pub is the first member */
}

/* Where a descriptor lies, and its neighbours: numbers first to first + size - 1. */
struct desc_chunk {
    struct desc *base;
    uint32_t first, size;
};

static inline uint32_t desc_chunk_number(uint32_t index)
{
    return 31u - (uint32_t)__builtin_clz((index - 1) / DESC_FIRST_CHUNK + 1);
}

static inline struct desc_chunk desc_chunk_of(const struct desc_table *table, uint32_t index)
{
    uint32_t chunk = desc_chunk_number(index);
    /* relaxed: whoever has the number got it, through the depot's head or the heap's lock, after the chunk was there */
    return (struct desc_chunk){load_relaxed(&table->chunks[chunk]), 1 + DESC_FIRST_CHUNK * ((1u << chunk) - 1),
                               DESC_FIRST_CHUNK << chunk};
}

/* The descriptor of that number, which must have been handed out: any thread, at any time. */
static inline struct desc *desc_at(const struct desc_table *table, uint32_t index)
{
    const struct desc_chunk chunk = desc_chunk_of(table, index);
    return chunk.base + (index - chunk.first);
}

/* The same, for many: most lie in the chunk of the one before. */
static inline struct desc *desc_near(const struct desc_table *table, struct desc_chunk *chunk, uint32_t index)
{
    if (unlikely(index - chunk->first >= chunk->size))
        *chunk = desc_chunk_of(table, index);
    return chunk->base + (index - chunk->first);
}

/* Whether d is one of the table's descriptors, also if d is garbage that can be read. Any thread. */
bool desc_table_has(const struct desc_table *table, const struct desc *d);

/* Whether the address lies in the table's memory: for messages. Any thread. */
bool desc_table_covers(const struct desc_table *table, const void *address);

/* A free descriptor, or NULL. The caller holds the heap's lock. The first use of a descriptor writes no field but its
 * number; the rest is zero. */
struct desc *desc_take(struct desc_table *table);

/* Gives a descriptor in state FREE back. The caller holds the heap's lock. */
void desc_give(struct desc_table *table, struct desc *d);

/* Unmaps all of it. */
void desc_table_destroy(struct desc_table *table);

#endif
