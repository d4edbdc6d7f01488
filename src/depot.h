/* SPDX-License-Identifier: MIT
 *
 * depot.h - the shared stack of magazines, and the counts that enforce the cap
 *
 * A magazine is one or more idle buffers. It is pushed and popped whole, with one compare-and-swap.
 *
 * A pooled buffer is in flight (a caller or a thread cache has it), in the depot, or in transit: popped by a call that
 * has yet to free it, push it back, or count it in flight.
 *
 *     fresh     reserve                              ->  in flight        push     in flight  ->  depot
 *     freed     in flight  ->  unreserve                                  pop      depot      ->  in transit
 *               in transit ->  discard                                    take     in transit ->  in flight
 *                                                                         restore  in transit ->  depot
 *
 * Any thread may call these at any time, except where it says otherwise.
 */
#ifndef BUFFERPOOL_DEPOT_H
#define BUFFERPOOL_DEPOT_H

#include "heap/desc.h"

/* ---- the counts ---- */

/* The most pooled buffers that can be counted. A larger cap is stored as this. */
#define DEPOT_POOLED_MAX (((size_t)1 << 30) - 1)

/* Flags in counts. */
#define DEPOT_PRESSURE ((uint64_t)1 << 62)
#define DEPOT_WANTED   ((uint64_t)1 << 63)

static inline size_t depot_cap(size_t max_live)
{
    return max_live < DEPOT_POOLED_MAX ? max_live : DEPOT_POOLED_MAX;
}

static inline size_t depot_cap_of(const _Atomic(size_t) *max_live)
{
    size_t n = load_seq_cst(max_live); /* with the store in bufferpool_set_max_live: depot.c (6) */
    return n != 0 ? n : DEPOT_POOLED_MAX;
}

static inline struct depot_counts depot_counts_of(uint64_t word)
{
    return (struct depot_counts){(uint32_t)(word >> 32 & DEPOT_POOLED_MAX), (uint32_t)word,
                                 (word & DEPOT_PRESSURE) != 0, (word & DEPOT_WANTED) != 0};
}

static inline struct depot_counts depot_counts(const struct depot *depot)
{
    return depot_counts_of(load_relaxed(&depot->counts));
}

/* Buffers in the depot or in transit. Off by calls under way. */
uint32_t depot_idle(struct depot_counts counts);

/* Whether no caller waits, and no more than max_live pooled buffers exist. */
static inline bool depot_is_calm(const struct depot *depot, const _Atomic(size_t) *max_live)
{
    size_t n = depot_cap_of(max_live);
    struct depot_counts counts =
        depot_counts_of(load_seq_cst(&depot->counts)); /* after the swap in depot_restore: depot.c (12) */
    return !counts.wanted && counts.pooled <= n;
}

/* Whether more than max_live pooled buffers exist. */
static inline bool depot_over_cap(const struct depot *depot, const _Atomic(size_t) *max_live)
{
    size_t n = depot_cap_of(max_live);
    return depot_counts_of(load_seq_cst(&depot->counts)).pooled > n; /* with the swap in depot_reserve: depot.c (6) */
}

/* Whether at this moment as many pooled buffers exist as the cap allows, callers have all of them, and the pool is
 * under pressure. */
static inline bool depot_exhausted(const struct depot *depot, const _Atomic(size_t) *max_live)
{
    size_t n = depot_cap_of(max_live);
    struct depot_counts counts = depot_counts(depot); /* true at one moment: depot.c (13) */
    return counts.pressure && counts.in_flight >= counts.pooled && counts.pooled >= n;
}

/* Whether a caller waits. Call this after a push, restore, unreserve or discard. If the answer is no, a caller that
 * sets the flag later (depot_want) finds what the push, restore, unreserve or discard gave. */
static inline bool depot_wanted(const struct depot *depot)
{
    return (load_seq_cst(&depot->counts) & DEPOT_WANTED) != 0; /* with depot_want: depot.c (11) */
}

/* Sets the flag that says that a caller waits, or clears it. */
void depot_want(struct depot *depot, bool wanted);

/* Sets the pressure flag. The caller has emptied all thread caches first. */
void depot_begin_pressure(struct depot *depot);

/* Clears the pressure flag. Returns false, and does nothing, while a caller waits. */
bool depot_end_pressure(struct depot *depot);

/* Counts a buffer that is about to be made as pooled and in flight, if that leaves at most `*max_live` pooled (0: no
 * cap). Returns false, and counts nothing, otherwise. */
bool depot_reserve(struct depot *depot, const _Atomic(size_t) *max_live);

/* Ends n pooled buffers in flight: after their blocks were freed, or instead of making them. */
void depot_unreserve(struct depot *depot, uint32_t n);

/* ---- the stack ---- */

/* Magazines popped so far, modulo 2^32. */
uint32_t depot_pops(const struct depot *depot);

/* Puts a magazine of n buffers (1 to MAGAZINE_MAX), all in an idle state, on top: from in flight, or (restore) from
 * transit. The last of the array is the first to be handed out. `grown`: some have another cap than buffer_capacity. */
void depot_push(struct depot *depot, struct desc *const *bufs, uint32_t n, bool grown);
void depot_restore(struct depot *depot, struct desc *const *bufs, uint32_t n, bool grown);

/* Takes the top magazine. Its buffers belong to the calling thread now. Each is in transit until the thread calls take,
 * restore or discard for it. The head is NULL if the depot is empty. */
struct magazine depot_pop(struct depot *depot, const struct desc_table *table);

/* Fills bufs with the magazine's buffers, in the order in which they were pushed. */
void magazine_open(const struct magazine *magazine, const struct desc_table *table, struct desc **bufs);

/* Counts n buffers in transit as in flight. */
void depot_take(struct depot *depot, uint32_t n);

/* Ends n buffers in transit, after their blocks were freed. */
void depot_discard(struct depot *depot, uint32_t n);

/* The two halves of a pop: peek reads the head, swap replaces it. They are apart so that a test can stall between them.
 * The swap fails if the head has moved since, even if it came back to the same descriptor. */
struct desc *depot_peek(struct depot *depot, const struct desc_table *table, uint64_t *head, uint64_t *below);
bool depot_swap(struct depot *depot, uint64_t head, uint64_t below);

/* In the child after fork: empties the depot and sets the counts, without pressure and without waiting callers. */
void depot_reset(struct depot *depot, uint32_t pooled, uint32_t in_flight);

#endif
