/* SPDX-License-Identifier: MIT
 *
 * depot.c - a Treiber stack of magazines over descriptors, and the count that enforces the cap
 *
 * The stack
 *
 *     head = {tag, index}, 64 bits. The descriptor of that index is the first buffer of the top magazine; its `below`
 *     is the index of the magazine beneath, its `count` the number of buffers, its `chain` the next of them.
 *
 *     1. A pop reads head, then `below` of that descriptor, then swaps head for {tag + 1, below}. Between the two
 *        another thread may have popped that magazine, and its descriptor may have been handed out, put, pushed again,
 *        or freed. Its memory is still there (desc.h), so the read of `below` is harmless; it is atomic, so it is no
 *        data race; and what it yielded is used only if the swap succeeds.
 *     2. Each pop moves the tag on. If the head is the same word as before, no pop came between, so the magazine was
 *        never off the stack, and `below`, which only its pusher writes, before the push, is what it was. (A thread
 *        would have to sleep between the two for exactly a multiple of 2^32 pops to be fooled.) Pushes need not move
 *        the tag: a push that finds the same top, whatever happened to it, links to it rightly.
 *     3. A push writes chain, count, below and the buffers' words and bytes, and then swaps head with release. A pop
 *        swaps with acquire. Pushes and pops by others in between are read-modify-writes of head, so they continue
 *        the release sequence of each push beneath: a pop synchronises with the push of the very magazine that it
 *        takes, and everything written before a buffer was put is seen by whoever gets it.
 *     4. The read of head before `below` is an acquire too, so that `below` is not older than the push that it
 *        belongs to.
 *
 * The cap
 *
 *     counts = {pooled, in_flight}, one 64-bit word. `pooled` is the number of pooled buffers that exist.
 *
 *     Claim: a buffer is made only if, at that moment, fewer than N pooled buffers exist; so at most N ever do, except
 *     those that were there when N was lowered.
 *
 *     5. depot_reserve adds one to `pooled` by compare-and-swap from a value below N, before the buffer is made.
 *        depot_unreserve subtracts after the block is freed. Nothing else moves `pooled`. So at every moment
 *        buffers in existence <= pooled, and no reservation ever lifts pooled above the N that it read.
 *     6. If N was lowered between the read of N and the swap: the reserver reads N once more after its swap, and backs
 *        out if pooled is now above it. The writer of N stores it and then reads counts. Both pairs are seq_cst: either
 *        the reserver sees the new N, or the lowering call sees the reservation, as if it had been made before.
 *     7. Magazines move `in_flight` alone. So there is no moment at which a buffer on its way between a thread and the
 *        depot is counted by nobody or a reservation stands for a buffer that exists already: a pop may take
 *        however many the magazine holds.
 *
 *     in_flight lags by the calls under way: it is added to after a pop and subtracted from after a push, so it never
 *     falls short of what a thread has been given but for a pop's last step.
 *
 *     A get that finds the depot empty and cannot reserve tries the depot once more before it bypasses: all N buffers
 *     were then, between its two looks, with threads, live or in their caches, or on their way.
 */
#include "depot.h"

#define IN_FLIGHT(n)     ((uint64_t)(n))
#define POOLED(n)        ((uint64_t)(n) << 32)
#define HEAD_TAG         ((uint64_t)1 << 32)
#define HEAD_INDEX(head) ((uint32_t)(head))

static struct depot_counts counts_of(uint64_t word)
{
    return (struct depot_counts){(uint32_t)(word >> 32), (uint32_t)word};
}

struct depot_counts depot_counts(const struct depot *depot)
{
    return counts_of(load_relaxed(&depot->counts));
}

uint32_t depot_idle(struct depot_counts counts)
{
    return counts.pooled > counts.in_flight ? counts.pooled - counts.in_flight : 0;
}

/* After in_flight rose: keeps the peak, and the low-water mark of the depot. Both move seldom, so mostly these are
 * loads. */
static void note_in_flight(struct depot *depot, struct depot_counts counts)
{
    /* in_flight counts a magazine twice if it was popped before its push had subtracted it: never more than all */
    uint32_t in_flight = counts.in_flight < counts.pooled ? counts.in_flight : counts.pooled;
    uint32_t peak = load_relaxed(&depot->peak_in_flight);
    while (in_flight > peak && !cas_relaxed(&depot->peak_in_flight, &peak, in_flight))
        ;
    uint32_t low = load_relaxed(&depot->low);
    while (depot_idle(counts) < low && !cas_relaxed(&depot->low, &low, depot_idle(counts)))
        ;
}

void depot_push(struct depot *depot, struct desc *first, uint32_t count)
{
    store_relaxed(&first->count, count);
    uint64_t head = load_relaxed(&depot->head);
    do {
        store_relaxed(&first->below, HEAD_INDEX(head));
        /* release: with the acquire in depot_peek and depot_swap (3) */
    } while (!cas_release(&depot->head, &head, (head & ~(HEAD_TAG - 1)) | first->index));
    sub_relaxed(&depot->counts, IN_FLIGHT(count));
}

struct desc *depot_peek(struct depot *depot, const struct desc_table *table, uint64_t *head, uint64_t *below)
{
    *head = load_acquire(&depot->head); /* with the release in depot_push (4) */
    if (HEAD_INDEX(*head) == 0)
        return NULL;
    struct desc *first = desc_at(table, HEAD_INDEX(*head));
    *below = load_relaxed(&first->below); /* perhaps of another time: then depot_swap fails (1) */
    return first;
}

bool depot_swap(struct depot *depot, uint64_t head, uint64_t below)
{
    uint64_t next = ((head & ~(HEAD_TAG - 1)) + HEAD_TAG) | below;
    return cas_acquire(&depot->head, &head, next); /* with the release in depot_push (3) */
}

struct desc *depot_pop(struct depot *depot, const struct desc_table *table, uint32_t *count)
{
    struct desc *first;
    uint64_t head, below;
    do {
        first = depot_peek(depot, table, &head, &below);
        if (first == NULL)
            return NULL;
    } while (!depot_swap(depot, head, below));
    uint32_t n = load_relaxed(&first->count);
    uint64_t before = add_relaxed(&depot->counts, IN_FLIGHT(n));
    note_in_flight(depot, counts_of(before + IN_FLIGHT(n)));
    *count = n;
    return first;
}

static size_t cap_of(const _Atomic(size_t) *max_live)
{
    size_t n = load_seq_cst(max_live); /* with the store in bufferpool_set_max_live (6) */
    return n != 0 ? n : DEPOT_POOLED_MAX;
}

bool depot_reserve(struct depot *depot, const _Atomic(size_t) *max_live)
{
    uint64_t counts = load_relaxed(&depot->counts);
    uint64_t after;
    do {
        if (counts_of(counts).pooled >= cap_of(max_live))
            return false;
        after = counts + POOLED(1) + IN_FLIGHT(1);
        /* seq_cst: before the second reading of the cap (6) */
    } while (!cas_seq_cst(&depot->counts, &counts, after));
    if (counts_of(after).pooled > cap_of(max_live)) {
        depot_unreserve(depot, 1);
        return false;
    }
    note_in_flight(depot, counts_of(after));
    return true;
}

void depot_unreserve(struct depot *depot, uint32_t n)
{
    /* release: with the swap in depot_reserve; the block was freed before its place is taken (5) */
    sub_release(&depot->counts, POOLED(n) + IN_FLIGHT(n));
}

bool depot_over_cap(const struct depot *depot, const _Atomic(size_t) *max_live)
{
    size_t n = cap_of(max_live);
    return counts_of(load_seq_cst(&depot->counts)).pooled > n; /* with the swap in depot_reserve (6) */
}

void depot_reset(struct depot *depot, struct depot_counts counts)
{
    uint64_t tag = load_relaxed(&depot->head) & ~(HEAD_TAG - 1);
    store_relaxed(&depot->head, tag + HEAD_TAG);
    store_relaxed(&depot->counts, POOLED(counts.pooled) | IN_FLIGHT(counts.in_flight));
    store_relaxed(&depot->extra, 0);
}
