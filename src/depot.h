/* SPDX-License-Identifier: MIT
 *
 * depot.h - the shared stack of magazines, and the counts that enforce the cap
 *
 * A magazine is one or more idle buffers. It is pushed and popped whole, with one compare-and-swap.
 *
 * A pooled buffer is in flight (a caller or a thread cache has it), in the depot, or in transit: popped by somebody who
 * will free it, push it back, or only then count it in flight.
 *
 *     fresh     reserve                              ->  in flight        push     in flight  ->  depot
 *     freed     in flight  ->  unreserve                                  pop      depot      ->  in transit
 *               in transit ->  discard                                    take     in transit ->  in flight
 *                                                                         restore  in transit ->  depot
 */
#ifndef BUFFERPOOL_DEPOT_H
#define BUFFERPOOL_DEPOT_H

#include "desc.h"

/* As many pooled buffers as can be counted; a cap beyond that is stored as that. */
#define DEPOT_POOLED_MAX (((size_t)1 << 30) - 1)

static inline size_t depot_cap(size_t max_live)
{
    return max_live < DEPOT_POOLED_MAX ? max_live : DEPOT_POOLED_MAX;
}

struct depot_counts depot_counts(const struct depot *depot);

/* Buffers in the depot or in transit; while calls are under way about. */
uint32_t depot_idle(struct depot_counts counts);

/* Magazines popped so far, modulo 2^32. */
uint32_t depot_pops(const struct depot *depot);

/* Puts a magazine of n buffers (1 to MAGAZINE_MAX), all in an idle state, on top: from in flight, or, restore, from
 * transit. The last of the array is the first to be handed out. `grown`: whether some are of another cap than
 * buffer_capacity. */
void depot_push(struct depot *depot, struct desc *const *bufs, uint32_t n, bool grown);
void depot_restore(struct depot *depot, struct desc *const *bufs, uint32_t n, bool grown);

/* Takes the top magazine. Its buffers are the caller's now, in transit until it calls take, restore or discard for
 * each. */
struct magazine depot_pop(struct depot *depot, const struct desc_table *table);

/* What is in it, as it was pushed. */
void magazine_open(const struct magazine *magazine, const struct desc_table *table, struct desc **bufs);

void depot_take(struct depot *depot, uint32_t n);
void depot_discard(struct depot *depot, uint32_t n); /* after their blocks were freed */

/* The two halves of a pop, apart so that a test can stall between them: what the head was, and the swap that fails if
 * the head has moved since, be it back to the same descriptor. */
struct desc *depot_peek(struct depot *depot, const struct desc_table *table, uint64_t *head, uint64_t *below);
bool depot_swap(struct depot *depot, uint64_t head, uint64_t below);

/* Counts a buffer that is about to be made as pooled and in flight, if that leaves at most `*max_live` pooled (0: no
 * cap). Returns false, and counts nothing, if not. */
bool depot_reserve(struct depot *depot, const _Atomic(size_t) *max_live);

/* The end of n pooled buffers in flight: after their blocks were freed, or in place of making them. */
void depot_unreserve(struct depot *depot, uint32_t n);

/* Whether nobody waits, and no more than max_live pooled buffers exist. */
bool depot_is_calm(const struct depot *depot, const _Atomic(size_t) *max_live);

/* Whether more than max_live pooled buffers exist. */
bool depot_over_cap(const struct depot *depot, const _Atomic(size_t) *max_live);

/* Whether at this moment as many pooled buffers exist as the cap allows, callers have all of them, and the pool is
 * under pressure. */
bool depot_exhausted(const struct depot *depot, const _Atomic(size_t) *max_live);

/* Whether somebody waits. Asked after a push, restore, unreserve or discard, it says yes, or else whoever says
 * depot_want(true) later finds what that call gave. */
bool depot_wanted(const struct depot *depot);
void depot_want(struct depot *depot, bool wanted);

/* Says that no thread cache holds any, which the caller has seen to; or, not any more. The latter is refused, with
 * false, while somebody waits. */
void depot_begin_pressure(struct depot *depot);
bool depot_end_pressure(struct depot *depot);

/* In the child after fork: empties the depot and sets the counts, with no pressure and nobody waiting. */
void depot_reset(struct depot *depot, uint32_t pooled, uint32_t in_flight);

#endif
