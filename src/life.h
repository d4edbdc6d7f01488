/* SPDX-License-Identifier: MIT
 *
 * life.h - a buffer's life: found, made, handed out, claimed by a put, freed
 *
 *     made --> LIVE --- life_claim ---> IDLE --- life_hand_out ---> LIVE ...
 *                                         |
 *                                         +------ life_free ------> FREE
 *
 * Every step at which a buffer changes hands is here, with what debug modes, AddressSanitizer and memcheck do at that
 * step. Each function is called by the thread that has the buffer at that moment.
 */
#ifndef BUFFERPOOL_LIFE_H
#define BUFFERPOOL_LIFE_H

#include "debug/modes.h"
#include "debug/report.h"
#include "debug/sanitizer.h"
#include "depot.h"
#include "heap/block.h"
#include "heap/desc.h"
#include "heap/heap.h"
#include "heap/os.h"

/* Finds the pool of a descriptor, by the word and the address. Returns NULL if this is not a buffer of the library, or
 * if its handle was overwritten. Any thread. */
bufferpool_t *life_pool_of(const struct desc *d, uintptr_t word);

/* Finds the buffer of a data pointer, by the bytes in front of data and by the handle that these name. Does not look at
 * which pool the buffer belongs to, or whether a caller holds it. Returns NULL if there is no such buffer. data may be
 * any address in memory that can be read. */
static inline struct desc *life_of_data(const void *data);

/* Reports misuse if a caller wrote to the members data or cap of the buffer. */
static inline void life_check(const bufferpool_t *pool, const struct desc *d);

/* Counts a buffer that is about to be made, and reserves its bytes of the budget. Returns false, and does neither, if
 * the cap or the budget does not allow it. */
static inline bool life_reserve(bufferpool_t *pool);

/* Gives n such rights up. */
static inline void life_unreserve(bufferpool_t *pool, uint32_t n);

/* Makes a buffer, LIVE and with len 0. The caller has counted it, and reserved its bytes (heap_reserve). Returns NULL
 * if there is no memory; the bytes are not reserved any longer then. */
static inline struct desc *life_make(bufferpool_t *pool);

/* Hands an idle buffer to the caller of get: it is LIVE from now on, with len 0. It must be in no cache, and not in the
 * depot. */
struct desc *life_hand_out(bufferpool_t *pool, struct desc *d);

/* Notes for debug modes that the buffer goes to the caller of get. */
bufferpool_buf_t *life_got(bufferpool_t *pool, struct desc *d);

/* Takes a held buffer from the caller of put: it is IDLE from now on. `word` is the word that put read. If several
 * threads put the buffer at once, one of them gets through, and the others report misuse. In a pool that wipes, the
 * block is wiped first, since a child of fork may hand out any buffer that is not held. */
void life_claim(bufferpool_t *pool, struct desc *d, uintptr_t word);

/* Before the pool ends: reports misuse unless data and cap of all idle buffers are as the library set them; and, if a
 * debug mode watches, as watch_idle. Nobody else uses the pool. */
void life_check_idle(bufferpool_t *pool);

/* Frees an idle buffer: state, block, descriptor. No cache counts the buffer. The caller of this function subtracts it
 * from the counts afterwards. With `defer` its memory may stay resident until heap_purge. */
void life_free(bufferpool_t *pool, struct desc *d, bool defer);

/* ---- inline ---- */

/* No page is smaller. */
#define PAGE_MIN ((uintptr_t)4096)

/* Whether the bytes in front of data lie in the same page, so that they can be read if data can. */
static inline bool life_prefix_is_near(const void *data)
{
    return ((uintptr_t)data & (PAGE_MIN - 1) & ~(uintptr_t)(sizeof(struct prefix) - 1)) != 0;
}

static inline struct desc *life_of_data(const void *data)
{
    const uintptr_t address = (uintptr_t)data;
    if (unlikely(address % HEAP_ALIGNMENT_MIN != 0))
        return NULL;
    if (unlikely(!life_prefix_is_near(data)) && !os_can_read(address - sizeof(struct prefix)))
        return NULL;
    struct desc *d = block_desc_of_data(data);
    return d != NULL && d->pub.data == data ? d : NULL;
}

/* Reports misuse: data or cap of the buffer are not what the library set. */
_Noreturn void life_report_overwritten(const bufferpool_t *pool, const struct desc *d);

static inline void life_check(const bufferpool_t *pool, const struct desc *d)
{
    if (unlikely(!desc_is_sealed(d)))
        life_report_overwritten(pool, d);
}

/* How many bytes callers hold beyond the cap, about: so much memory that they free may stay (heap_free). */
static inline size_t life_spare(const bufferpool_t *pool)
{
    const size_t pooled = depot_counts(&pool->depot).pooled, cap = load_relaxed(&pool->max_live);
    return cap > 0 && pooled > cap ? (pooled - cap) * pool->heap.base : 0;
}

/* Whether the cap allows one more buffer. A hint. */
static inline bool life_cap_has_room(const bufferpool_t *pool)
{
    return depot_counts(&pool->depot).pooled < depot_cap_of(&pool->max_live);
}

static inline bool life_reserve(bufferpool_t *pool)
{
    if (likely(pool->heap.slabs.budget == NULL))
        return depot_reserve(&pool->depot, &pool->max_live);
    /* Bytes first: a count that is taken back would let another get go beyond the cap meanwhile. No bytes where the cap
     * is known to be reached: another pool would go without them meanwhile. */
    if (!life_cap_has_room(pool) || !heap_reserve(&pool->heap))
        return false;
    if (depot_reserve(&pool->depot, &pool->max_live))
        return true;
    heap_unreserve(&pool->heap);
    return false;
}

static inline void life_unreserve(bufferpool_t *pool, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        heap_unreserve(&pool->heap);
    depot_unreserve(&pool->depot, n);
}

/* life_make, while a debug mode or a sanitizer watches. */
struct desc *life_make_watched(bufferpool_t *pool);

static inline struct desc *life_make(bufferpool_t *pool)
{
    if (SANITIZER_ASAN || modes_have(MODES_SLOW | MODE_FAIL))
        return life_make_watched(pool);
    struct desc *d = heap_alloc(&pool->heap);
    if (d == NULL)
        return NULL;
    d->pub.len = 0;
    store_relaxed(&d->word, desc_word(pool->tag, STATE_LIVE));
    return d;
}

#endif
