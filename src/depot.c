/* SPDX-License-Identifier: MIT
 *
 * depot.c - a Treiber stack of magazines over descriptors, and the counts that enforce the cap
 *
 * The stack
 *
 *     head = {tag, index}, 64 bits. The descriptor of that index is the head of the top magazine; its `below` is the
 *     index of the magazine beneath, its `count` the number of buffers.
 *
 *     The buffers of a magazine form a tree, the last of the array first. The head is node 0 and names nodes 1 and 2 in
 *     its `link`; node i names 4i - 1 to 4i + 2 in its `link`, `below` and `count`. So a thread that opens a magazine
 *     of eight reads three descriptors, two of them at once, and not eight one after the other, which other processors
 *     wrote last.
 *
 *     1. A pop reads head, then `below` of that descriptor, then swaps head for {tag + 1, below}. Between the two
 *        another thread may have popped that magazine, and its descriptor may have been handed out, put, pushed again,
 *        or freed. Its memory is still there (desc.h), so the read of `below` is harmless; it is atomic, so it is no
 *        data race; and what it yielded is used only if the swap succeeds.
 *     2. Each pop moves the tag on. If the head is the same word as before, no pop came between, so the magazine was
 *        never off the stack, and `below`, which only its pusher writes, before the push, is what it was. (A thread
 *        would have to sleep between the two for exactly a multiple of 2^32 pops to be fooled.) Pushes need not move
 *        the tag: a push that finds the same top, whatever happened to it, links to it rightly.
 *     3. A push writes the links, count, below and the buffers' words and bytes, and then swaps head, a release. A pop
 *        reads head with acquire. Pushes and pops by others in between are read-modify-writes of head, so they
 *        continue the release sequence of each push beneath: the read synchronises with the push of the very magazine
 *        that it finds on top. So `below` is not older than that push, and a thread that gets a buffer sees everything
 *        that was written before it was put.
 *     4. The pop's swap needs no order of its own. It finds the same write of head that the read found, since no two
 *        writes have the same value: a pop moves the tag on, and under one tag a descriptor comes to the top at most
 *        once, because it stays in the stack until the next pop.
 *
 * The cap
 *
 *     counts = {wanted, pressure, pooled, in_flight}, one 64-bit word. `pooled` is the number of pooled buffers that
 *     exist, `in_flight` the number of those that callers and thread caches have.
 *
 *     Claim: a buffer is made only if, at that moment, fewer than N pooled buffers exist; so at most N ever do, except
 *     those that were there when N was lowered.
 *
 *     5. depot_reserve adds one to `pooled` by compare-and-swap from a value below N, before the buffer is made.
 *        depot_unreserve and depot_discard subtract after the block is freed. Nothing else moves `pooled`. So at every
 *        moment buffers in existence <= pooled, and no reservation ever lifts pooled above the N that it read.
 *     6. N may be lowered between the read of N and the swap. So the reserver reads N once more after its swap, and
 *        backs out if pooled is now above it. The writer of N stores it and then reads counts. Both pairs are seq_cst:
 *        either the reserver sees the new N, or the lowering call sees the reservation, as if it had been made before.
 *     7. Magazines move `in_flight` alone. So there is no moment at which a reservation stands for a buffer that exists
 *        already, and a pop may take however many the magazine holds.
 *
 * The verdict
 *
 *     Claim: a get goes beyond the cap, or is refused, only if there was a moment during its call at which callers had
 *     all N.
 *
 *     8. in_flight <= what callers and caches have, always: a push subtracts before it swaps, and a take adds after its
 *        pop. A call that pops in order to free, or takes one of many and restores the rest, never adds what it only
 *        has in transit. So in_flight >= pooled, read in one load, means that nothing is in the depot or in transit.
 *     9. `pressure`, in the same load, means that nothing is in a thread cache (pressure.c). So callers have all pooled
 *        buffers. Where membarrier(2) is missing, caches may hold some all the same; the header says how many.
 *    10. The verdict may be no although a get finds nothing. Then another call is in the middle of moving a buffer. So
 *        the get looks again, a bounded number of times.
 *
 * Waiters
 *
 *    11. A flag in the same word says that a caller waits (wait.c). A push or restore swaps head and then reads counts;
 *        a waiter sets the flag and then reads head; all four seq_cst, so one of the two sees the other. unreserve and
 *        discard are read-modify-writes of counts, as setting the flag is: whichever comes second sees the first.
 *
 * A magazine in transit while N is lowered
 *
 *    12. The call that lowers N cannot find the magazine. The call that has the magazine, and puts it back, therefore
 *        looks at the cap afterwards (depot_is_calm). It swaps head, and then reads N and counts; the lowering call
 *        stores N, and then reads counts and head. All are seq_cst: either the lowering call finds the magazine, or
 *        the other call sees that too many buffers exist.
 *
 * What is relaxed
 *
 *    13. The nodes' `below`, `count` and links lie behind the head (3). counts is one word, so its changes have one
 *        order by themselves, and a thread that reads it reads what was true at one moment. So the verdict (9) needs no
 *        order, nor does the first reading in depot_reserve, which the swap confirms: if it says that there is no room,
 *        then it is no older than a flag that the same thread set before (11). A push subtracts before the release of
 *        its swap, and a pop adds after the acquire of its read: so the two come in this order (8). peak_in_flight, low
 *        and extra are numbers for statistics and reclaim: nothing is found through them.
 *
 * What is stronger than needed
 *
 *    14. The changes of the flags are seq_cst, although only that of depot_want(true) must be (11). The word itself
 *        keeps the others in order. They are rare.
 */
#include "depot.h"

#define IN_FLIGHT(n)     ((uint64_t)(n))
#define POOLED(n)        ((uint64_t)(n) << 32)
#define HEAD_TAG         ((uint64_t)1 << 32)
#define GROWN            ((uint32_t)1 << 31) /* in a head's count */
#define HEAD_INDEX(head) ((uint32_t)(head))

uint32_t depot_idle(struct depot_counts counts)
{
    return counts.pooled > counts.in_flight ? counts.pooled - counts.in_flight : 0;
}

uint32_t depot_pops(const struct depot *depot)
{
    return (uint32_t)(load_relaxed(&depot->head) >> 32);
}

/* These two keep the depot's low-water mark, and the peak. Both move seldom, so mostly this takes loads alone. */
static void note_low(struct depot *depot, struct depot_counts counts)
{
    uint32_t low = load_relaxed(&depot->low);
    while (depot_idle(counts) < low && !cas_relaxed(&depot->low, &low, depot_idle(counts)))
        ;
}

static void note_in_flight(struct depot *depot, struct depot_counts counts)
{
    uint32_t peak = load_relaxed(&depot->peak_in_flight);
    while (counts.in_flight > peak && !cas_relaxed(&depot->peak_in_flight, &peak, counts.in_flight))
        ;
    note_low(depot, counts);
}

/* ---- the stack ---- */

/* Both go through the nodes from the last of the array to the first: `at` is the last node that has a parent so far. */

static void magazine_close(struct desc *const *bufs, uint32_t n, bool grown)
{
    struct desc *const *at = bufs + n - 1, *const *parent = at;
    struct desc *node = *parent;
    store_relaxed(&node->count, n | (grown ? GROWN : 0));
    if (at > bufs)
        node->link[0] = (*--at)->index;
    if (at > bufs)
        node->link[1] = (*--at)->index;
    while (at - bufs >= 4) {
        node = *--parent;
        node->link[0] = at[-1]->index;
        node->link[1] = at[-2]->index;
        store_relaxed(&node->below, at[-3]->index);
        store_relaxed(&node->count, at[-4]->index);
        at -= 4;
    }
    if (at > bufs) {
        node = *--parent;
        node->link[0] = (*--at)->index;
        if (at > bufs)
            node->link[1] = (*--at)->index;
        if (at > bufs)
            store_relaxed(&node->below, (*--at)->index);
    }
}

void magazine_open(const struct magazine *magazine, const struct desc_table *table, struct desc **bufs)
{
    struct desc **at = bufs + magazine->n - 1, **parent = at;
    const struct desc *node = *at = magazine->head;
    struct desc_chunk chunk = desc_chunk_of(table, node->index);
    if (at > bufs)
        *--at = desc_near(table, &chunk, node->link[0]);
    if (at > bufs)
        *--at = desc_near(table, &chunk, node->link[1]);
    while (at - bufs >= 4) {
        node = *--parent;
        at[-1] = desc_near(table, &chunk, node->link[0]);
        at[-2] = desc_near(table, &chunk, node->link[1]);
        at[-3] = desc_near(table, &chunk, load_relaxed(&node->below));
        at[-4] = desc_near(table, &chunk, load_relaxed(&node->count));
        for (int i = 1; i <= 4; i++)
            __builtin_prefetch(at[-i], 1);
        at -= 4;
    }
    if (at > bufs) {
        node = *--parent;
        *--at = desc_near(table, &chunk, node->link[0]);
        if (at > bufs)
            *--at = desc_near(table, &chunk, node->link[1]);
        if (at > bufs)
            *--at = desc_near(table, &chunk, load_relaxed(&node->below));
    }
}

void depot_restore(struct depot *depot, struct desc *const *bufs, uint32_t n, bool grown)
{
    magazine_close(bufs, n, grown);
    struct desc *first = bufs[n - 1];
    uint64_t head = load_relaxed(&depot->head);
    do {
        store_relaxed(&first->below, HEAD_INDEX(head));
        /* release: with the acquire in depot_peek (3); seq_cst: with depot_want (11), before depot_is_calm (12) */
    } while (!cas_seq_cst(&depot->head, &head, (head & ~(HEAD_TAG - 1)) | first->index));
}

void depot_push(struct depot *depot, struct desc *const *bufs, uint32_t n, bool grown)
{
    sub_relaxed(&depot->counts, IN_FLIGHT(n)); /* before the swap, which is the release (8, 13) */
    depot_restore(depot, bufs, n, grown);
}

struct desc *depot_peek(struct depot *depot, const struct desc_table *table, uint64_t *head, uint64_t *below)
{
    /* acquire: with the release in depot_restore (3); seq_cst: after depot_want (11) */
    *head = load_seq_cst(&depot->head);
    if (HEAD_INDEX(*head) == 0)
        return NULL;
    struct desc *first = desc_at(table, HEAD_INDEX(*head));
    *below = load_relaxed(&first->below); /* perhaps of another time: then depot_swap fails (1) */
    return first;
}

bool depot_swap(struct depot *depot, uint64_t head, uint64_t below)
{
    uint64_t next = ((head & ~(HEAD_TAG - 1)) + HEAD_TAG) | below;
    return cas_relaxed(&depot->head, &head, next); /* finds the write that depot_peek read with acquire (4) */
}

struct magazine depot_pop(struct depot *depot, const struct desc_table *table)
{
    struct desc *first;
    uint64_t head, below;
    do {
        first = depot_peek(depot, table, &head, &below);
        if (first == NULL)
            return (struct magazine){NULL, 0, false};
    } while (!depot_swap(depot, head, below));
    const uint32_t count = load_relaxed(&first->count);
    return (struct magazine){first, count & ~GROWN, (count & GROWN) != 0};
}

void depot_take(struct depot *depot, uint32_t n)
{
    uint64_t before = add_relaxed(&depot->counts, IN_FLIGHT(n));
    note_in_flight(depot, depot_counts_of(before + IN_FLIGHT(n)));
}

void depot_discard(struct depot *depot, uint32_t n)
{
    uint64_t before = sub_release(&depot->counts, POOLED(n)); /* as in depot_unreserve */
    note_low(depot, depot_counts_of(before - POOLED(n)));
}

/* ---- the cap ---- */

bool depot_reserve(struct depot *depot, const _Atomic(size_t) *max_live)
{
    uint64_t counts = load_relaxed(&depot->counts); /* not older than depot_want (13) */
    uint64_t after;
    do {
        if (depot_counts_of(counts).pooled >= depot_cap_of(max_live))
            return false;
        after = counts + POOLED(1) + IN_FLIGHT(1);
        /* seq_cst: before the second reading of the cap (6); acquire: with the release in depot_unreserve (5) */
    } while (!cas_seq_cst(&depot->counts, &counts, after));
    if (depot_counts_of(after).pooled > depot_cap_of(max_live)) {
        depot_unreserve(depot, 1);
        return false;
    }
    note_in_flight(depot, depot_counts_of(after));
    return true;
}

void depot_unreserve(struct depot *depot, uint32_t n)
{
    /* release: with the swap in depot_reserve; the block was freed before its room is taken (5) */
    sub_release(&depot->counts, POOLED(n) + IN_FLIGHT(n));
}

/* ---- the flags ---- */

void depot_want(struct depot *depot, bool wanted)
{
    if (wanted)
        (void)or_seq_cst(&depot->counts, DEPOT_WANTED); /* with depot_wanted (11) */
    else
        (void)and_seq_cst(&depot->counts, ~DEPOT_WANTED); /* under the queue's lock (wait.c); order: (14) */
}

void depot_begin_pressure(struct depot *depot)
{
    (void)or_seq_cst(&depot->counts, DEPOT_PRESSURE); /* order: (14) */
}

bool depot_end_pressure(struct depot *depot)
{
    uint64_t counts = load_relaxed(&depot->counts);
    do {
        if (depot_counts_of(counts).wanted)
            return false;
    } while (!cas_seq_cst(&depot->counts, &counts,
                          counts & ~DEPOT_PRESSURE)); /* this comes before depot_want, or sees its flag and refuses */
    return true;
}

void depot_reset(struct depot *depot, uint32_t pooled, uint32_t in_flight)
{
    uint64_t tag = load_relaxed(&depot->head) & ~(HEAD_TAG - 1);
    store_relaxed(&depot->head, tag + HEAD_TAG);
    store_relaxed(&depot->counts, POOLED(pooled) | IN_FLIGHT(in_flight));
    store_relaxed(&depot->extra, 0);
}
