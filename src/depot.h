/* SPDX-License-Identifier: MIT
 *
 * depot.h - the shared stack of magazines, and the counts that enforce the cap
 *
 * A magazine is one or more idle buffers. It is pushed and popped whole, with one compare-and-swap, which is all that
 * an exchange between a thread cache and the depot takes. Beside this stack there may be others (shards.h), which have
 * the same functions: `depot` may be a shard in depot_idle, depot_is_empty, depot_push, depot_push_closed, depot_pop
 * and depot_reset.
 *
 * The counts move where buffers are made and freed. While the pool is under pressure they also say how many buffers may
 * idle elsewhere than in the depot: `tickets`. A call that pops a magazine and does not hand out all of it takes
 * tickets for the rest (depot_pop_some), and gives them back when the rest is freed (depot_discard) or in the depot
 * again (depot_restore).
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

/* Whether the depot holds nothing. */
static inline bool depot_is_empty(const struct depot *depot)
{
    return (uint32_t)load_seq_cst(&depot->head) == 0; /* after the swap in depot_lift: depot.c (12) */
}

/* Whether no caller waits, and no more than max_live buffers exist. */
static inline bool depot_is_calm(const struct depot *depot, const _Atomic(size_t) *max_live)
{
    size_t n = depot_cap_of(max_live);
    struct depot_counts counts =
        depot_counts_of(load_seq_cst(&depot->counts)); /* after the swap in depot_restore: depot.c (12) */
    return !counts.wanted && counts.pooled <= n;
}

/* Whether more than max_live buffers exist. */
static inline bool depot_over_cap(const struct depot *depot, const _Atomic(size_t) *max_live)
{
    size_t n = depot_cap_of(max_live);
    return depot_counts_of(load_seq_cst(&depot->counts)).pooled > n; /* with the swap in depot_reserve: depot.c (6) */
}

/* Whether buffers that idle elsewhere than in the depot may be why as many exist as do: then it is not known that
 * callers hold max_live. */
static inline bool depot_is_short(const struct depot *depot, const _Atomic(size_t) *max_live)
{
    size_t n = depot_cap_of(max_live);
    struct depot_counts counts =
        depot_counts_of(load_seq_cst(&depot->counts)); /* with the swap in depot_add_tickets: depot.c (10) */
    return counts.tickets > 0 && counts.pooled < n + counts.tickets;
}

/* Whether with n more tickets these are at most half of what exists beyond the cap, or still `others` fewer. */
static inline bool depot_allows_tickets(struct depot_counts counts, size_t cap, uint32_t n, size_t others)
{
    const size_t excess = counts.pooled > cap ? counts.pooled - cap : 0, tickets = counts.tickets + (size_t)n;
    return tickets <= excess / 2 || (others <= excess && tickets <= excess - others);
}

/* The verdict: whether callers had max_live buffers at a moment during this call. It may be no although they have;
 * it is always no unless the pool is under pressure. */
static inline bool depot_exhausted(const struct depot *depot, const _Atomic(size_t) *max_live)
{
    const size_t n = depot_cap_of(max_live);
    const uint64_t head = load_seq_cst(&depot->head); /* before the next load: depot.c (9) */
    const struct depot_counts counts = depot_counts_of(load_seq_cst(&depot->counts)); /* before the next load */
    return (uint32_t)head == 0 && load_seq_cst(&depot->head) == head && counts.pressure &&
           counts.pooled >= n + counts.tickets && depot_cap_of(max_live) == n;
}

/* Whether a caller waits. Call this after a push, restore, unreserve or discard. If the answer is no, a caller that
 * sets the flag later (depot_want) finds what the push, restore, unreserve or discard gave. */
static inline bool depot_wanted(const struct depot *depot)
{
    return (load_seq_cst(&depot->counts) & DEPOT_WANTED) != 0; /* with depot_want: depot.c (13) */
}

/* Sets the flag that says that a caller waits, or clears it. */
void depot_want(struct depot *depot, bool wanted);

/* Sets the pressure flag. All gates are closed and all thread caches empty: steal_is_over (steal.h) has said so. */
void depot_begin_pressure(struct depot *depot);

/* Clears the pressure flag. Returns false, and does nothing, while a caller waits, or more than `*max_live` buffers
 * exist. */
bool depot_end_pressure(struct depot *depot, const _Atomic(size_t) *max_live);

/* Counts a buffer that is about to be made, if that leaves at most `*max_live` (0: no cap). Returns false, and counts
 * nothing, otherwise. */
bool depot_reserve(struct depot *depot, const _Atomic(size_t) *max_live);

/* Counts a buffer that is about to be made although that may be beyond the cap: after depot_exhausted. Returns the
 * counts with it; if no more can be counted, nothing changes, and `pooled` is 0 in what it returns. */
struct depot_counts depot_lift(struct depot *depot);

/* Ends n buffers: after their blocks were freed, or instead of making them. */
void depot_unreserve(struct depot *depot, uint32_t n);

/* ---- for a closed pool (close.c) ---- */

/* Counts one more, as if it were a buffer. */
void depot_hold(struct depot *depot);

/* The same, if any buffer is counted. Returns false, and does nothing, otherwise. */
bool depot_hold_if_any(struct depot *depot);

/* Ends a hold or a buffer. Returns whether it was the last that was counted. */
bool depot_drop(struct depot *depot);

/* ---- tickets ---- */

/* Adds n tickets, for a cache, if depot_allows_tickets. Returns false, and adds none, otherwise. */
bool depot_add_tickets(struct depot *depot, const _Atomic(size_t) *max_live, uint32_t n, size_t others);

/* Adds n tickets, for buffers that a cache with tickets gives up. They end with depot_discard. */
void depot_cover(struct depot *depot, uint32_t n);

/* Ends n tickets. What idled by them is in the depot, with callers, or freed. */
void depot_end_tickets(struct depot *depot, uint32_t n);

/* ---- the stack ---- */

/* Magazines popped so far, modulo 2^32. */
uint32_t depot_pops(const struct depot *depot);

/* Buffers in the depot, modulo 2^25. */
uint32_t depot_idle(const struct depot *depot, const struct desc_table *table);

/* Puts a magazine of n buffers (1 to MAGAZINE_MAX), all in an idle state, on top. The last of the array is the first to
 * be handed out. `grown`: some have another cap than buffer_capacity. */
void depot_push(struct depot *depot, const struct desc_table *table, struct desc *const *bufs, uint32_t n, bool grown);

/* The same for a magazine that was popped and not opened. */
void depot_push_closed(struct depot *depot, const struct desc_table *table, struct desc *first, uint32_t n, bool grown);

/* Takes the top magazine. Its buffers belong to the calling thread now, which is inside its cache, with the gate open
 * and no tickets: there they all go, but the one that is handed out. (Or it drains a shard.) The head is NULL if the
 * depot is empty. */
struct magazine depot_pop(struct depot *depot, const struct desc_table *table);

/* The same for any other call, which hands out `out` of the buffers, 0 or 1. It has tickets for the others
 * (magazine.tickets), and gives them back with depot_restore or depot_discard. */
struct magazine depot_pop_some(struct depot *depot, const struct desc_table *table, uint32_t out);

/* The same from a shard of the depot, or from the depot itself. */
struct magazine depot_pop_some_of(struct depot *depot, struct depot *shard, const struct desc_table *table,
                                  uint32_t out);

/* Fills bufs with the magazine's buffers, in the order in which they were pushed. */
void magazine_open(const struct magazine *magazine, const struct desc_table *table, struct desc **bufs);

/* Puts buffers that depot_pop_some took back on top, and ends their tickets. */
void depot_restore(struct depot *depot, const struct desc_table *table, struct desc *const *bufs, uint32_t n,
                   bool grown);

/* Ends n buffers that depot_pop_some took, and their tickets, after their blocks were freed. */
void depot_discard(struct depot *depot, uint32_t n);

/* The two halves of a pop: peek reads the head, swap replaces it. They are apart so that a test can stall between them.
 * The swap fails if the head has moved since, even if it came back to the same descriptor. */
struct desc *depot_peek(struct depot *depot, const struct desc_table *table, uint64_t *head, uint64_t *below);
bool depot_swap(struct depot *depot, uint64_t head, uint64_t below);

/* In the child after fork: empties the depot and sets the counts, without pressure, tickets and waiting callers. */
void depot_reset(struct depot *depot, uint32_t pooled);

#endif
