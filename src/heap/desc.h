/* SPDX-License-Identifier: MIT
 *
 * desc.h - descriptors: their words, and the table that they lie in
 *
 * A descriptor is never moved, and its memory is not unmapped before the pool is destroyed. So a stale depot_pop may
 * read `below` of a descriptor that was popped, reused or freed long ago. The value is of no use, but the memory is
 * there, and the compare-and-swap that follows fails (depot.c).
 *
 * The word (types.h) says which pool the descriptor belongs to, and in which state it is. One load of the word thus
 * tells a held buffer from any other, and leads put to the pool and to the thread's cache of it. Every access to a word
 * is relaxed. The thread that has the buffer owns its word, and the word travels with the buffer through what orders
 * the rest: a cache, the depot or the heap's lock. Other threads read it only behind a closed gate, where the value
 * does not matter (cache_pop_plain), or by misuse, which the word is there to detect.
 */
#ifndef BUFFERPOOL_DESC_H
#define BUFFERPOOL_DESC_H

#include "types.h"

static inline enum desc_state desc_state(uintptr_t word)
{
    return (enum desc_state)(word & STATE_MASK);
}

/* Whether a caller holds the buffer. */
static inline bool desc_is_held(uintptr_t word)
{
    const enum desc_state state = desc_state(word);
    return state == STATE_LIVE || state == STATE_LIVE_GROWN;
}

static inline size_t desc_pool_index(uintptr_t word)
{
    return (size_t)((word >> (STATE_BITS + TLS_INDEX_BITS)) & POOL_INDEX_MASK);
}

static inline size_t desc_tls_index(size_t pool_index)
{
    return pool_index < TLS_INDEX_NONE ? pool_index : TLS_INDEX_NONE;
}

static inline uintptr_t desc_tag(uint32_t generation, size_t pool_index)
{
    uintptr_t tag =
        ((uintptr_t)generation << POOL_INDEX_BITS | pool_index) << TLS_INDEX_BITS | desc_tls_index(pool_index);
    return tag << STATE_BITS >> STATE_BITS; /* the tag must fit into a word */
}

static inline size_t desc_tls_index_of(uintptr_t word)
{
    return (size_t)((word >> STATE_BITS) & TLS_INDEX_MASK);
}

static inline uintptr_t desc_word(uintptr_t tag, enum desc_state state)
{
    return (tag << STATE_BITS) | (uintptr_t)state;
}

/* The lowest bits of the seal are the flags of the block, the others are data and cap, folded. A caller that writes to
 * these two members leaves flags that no block has: always if data moves by less than 512 MiB, otherwise but for once
 * in 2^29 times. So one look at the flags finds that. */
#define DESC_STRIKES   7u /* grown: puts in a row after little use (reclaim.c) */
#define DESC_FLAGS     DESC_STRIKES
#define DESC_FLAG_BITS 3

/* The difference: so data and cap that move towards each other do not make up for one another. */
static inline uint32_t desc_fold(const unsigned char *data, size_t cap)
{
    return ((uint32_t)(uintptr_t)data - (uint32_t)cap) << DESC_FLAG_BITS;
}

static inline void desc_set_block(struct desc *d, unsigned char *data, size_t cap)
{
    d->own.data = data;
    d->own.cap = cap;
    d->seal = desc_fold(data, cap);
}

static inline uint32_t desc_flags(const struct desc *d)
{
    return d->seal ^ desc_fold(d->pub.data, d->pub.cap);
}

static inline unsigned desc_strikes(const struct desc *d)
{
    return desc_flags(d) & DESC_STRIKES;
}

static inline void desc_set_strikes(struct desc *d, unsigned strikes)
{
    d->seal ^= desc_strikes(d) ^ strikes;
}

/* Whether data and cap are as the library set them. */
static inline bool desc_is_sealed(const struct desc *d)
{
    return desc_flags(d) <= DESC_FLAGS;
}

/* In `asked`: so many that put need not look further. */
#define DESC_WELL_USED SIZE_MAX

/* The most bytes of a grown buffer that its last turn used, or DESC_WELL_USED. */
static inline size_t desc_last_use(const struct desc *d)
{
    const size_t cap = d->pub.cap, len = d->pub.len < cap ? d->pub.len : cap;
    return len > d->asked ? len : d->asked;
}

/* Whether a turn that used so many bytes of a grown buffer is no reason for a strike. */
static inline bool desc_is_good_use(const struct desc *d, size_t used, size_t base)
{
    return used >= d->pub.cap / 4 && used > base;
}

/* Whether a descriptor can be at that address at all. This rules out many foreign pointers before anything is read. */
static inline bool desc_aligned(const bufferpool_buf_t *buf)
{
    return ((uintptr_t)buf & (CACHE_LINE - 1)) == 0;
}

static inline struct desc *desc_of(bufferpool_buf_t *buf)
{
    return (struct desc *)(void *)buf; /* pub is the first member */
}

/* A chunk of the table: the descriptors of the indexes first to first + size - 1. */
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
    /* relaxed: the thread got the index, through the depot's head or the heap's lock, after the chunk was stored */
    return (struct desc_chunk){load_relaxed(&table->chunks[chunk]), 1 + DESC_FIRST_CHUNK * ((1u << chunk) - 1),
                               DESC_FIRST_CHUNK << chunk};
}

/* The descriptor of that index, which must have been handed out. Any thread, at any time. */
static inline struct desc *desc_at(const struct desc_table *table, uint32_t index)
{
    const struct desc_chunk chunk = desc_chunk_of(table, index);
    return chunk.base + (index - chunk.first);
}

/* The same, for many in a row: most lie in the same chunk as the one before. */
static inline struct desc *desc_near(const struct desc_table *table, struct desc_chunk *chunk, uint32_t index)
{
    if (unlikely(index - chunk->first >= chunk->size))
        *chunk = desc_chunk_of(table, index);
    return chunk->base + (index - chunk->first);
}

/* Whether d is one of the table's descriptors. d may be garbage, if it can be read. Any thread. */
bool desc_table_has(const struct desc_table *table, const struct desc *d);

/* Whether the address lies in the table's memory, for messages. Any thread. */
bool desc_table_covers(const struct desc_table *table, const void *address);

/* Takes a free descriptor. Returns NULL if there is no memory. The caller holds the heap's lock. When a descriptor is
 * used for the first time, all fields but its index are zero; otherwise it is as it was given back, and not looked at.
 */
struct desc *desc_take(struct desc_table *table);

/* Gives a descriptor in state FREE back. The caller holds the heap's lock. */
void desc_give(struct desc_table *table, struct desc *d);

/* The highest index below this one whose descriptor is taken; 0: there is none. The caller holds the heap's lock, or is
 * alone. */
uint32_t desc_taken_below(const struct desc_table *table, uint32_t index);

/* Gives the table's memory back, but not its addresses: they read as zero, which is no buffer's word. */
void desc_table_clear(struct desc_table *table);

/* Unmaps the table. */
void desc_table_destroy(struct desc_table *table);

/* For each descriptor d that is taken, from the newest on; the loop may give it back. The caller holds the heap's lock,
 * or is alone. */
// NOLINTBEGIN(bugprone-macro-parentheses): the loop declares i
#define for_each_taken(table, i, d)                                                                                    \
    for (uint32_t i = desc_taken_below((table), load_relaxed(&(table)->used) + 1);                                     \
         i > 0 && ((d) = desc_at((table), i), true); i = desc_taken_below((table), i))

/* For each descriptor d that was ever handed out, from the newest on: `i` is its index, and `used` the value that the
 * caller read from the table's `used`. */
#define for_each_desc(table, i, d, used) for (uint32_t i = (used); i > 0 && ((d) = desc_at((table), i), true); i--)
// NOLINTEND(bugprone-macro-parentheses)

#endif
