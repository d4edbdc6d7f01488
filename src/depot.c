/* SPDX-License-Identifier: MIT
 *
 * depot.c - a Treiber stack of magazines over descriptors, and the counts that enforce the cap
 *
 * A shard (shards.c) is one more such stack. What is said here of the depot's head is true of the head of each shard,
 * except for the cap and the verdict: these follow from the depot's own head and the one word of counts.
 *
 * The stack
 *
 *     head = {tag, index}, 64 bits. The descriptor of that index is the head of the top magazine; its `below` is the
 *     index of the magazine beneath, its `count` the number of buffers (14).
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
 *     counts = {wanted, pressure, pooled, tickets}, one 64-bit word. `pooled` is the number of buffers that exist. An
 *     exchange between a thread cache and the depot does not touch it. N is max_live.
 *
 *     Claim: a buffer is made by depot_reserve only if, at that moment, fewer than N exist.
 *
 *     5. depot_reserve adds one to `pooled` by compare-and-swap from a value below N, before the buffer is made.
 *        depot_unreserve and depot_discard subtract after the block is freed. So at every moment buffers in existence
 *        <= pooled, and no reservation ever lifts pooled above the N that it read.
 *     6. N may be lowered between the read of N and the swap. So the reserver reads N once more after its swap, and
 *        backs out if pooled is now above it. The writer of N stores it and then reads counts. Both pairs are seq_cst:
 *        either the reserver sees the new N, or the lowering call sees the reservation, as if it had been made before.
 *     7. Magazines move nothing in counts, so a pop may take however many the magazine holds.
 *
 * The verdict
 *
 *     A buffer is held by callers or idle. While a get or a put is under way, the buffer in its hands counts as held.
 *
 *     Claim: a get makes a buffer beyond the cap, and a try_get is refused, only if there was a moment during the call
 *     at which callers held N.
 *
 *     8. While `pressure` is set, at most `tickets` buffers idle elsewhere than in the depot:
 *          - the flag is set when all caches are empty and all gates closed (pressure.c), and the shards are empty;
 *          - nothing is pushed to a shard while the flag is set (shards.c 3);
 *          - a cache opens under pressure only with tickets, which were added to counts before. It holds no more than
 *            it has tickets. They end after all that it held is in the depot (cache_flush_inside). What it gives up to
 *            be freed (cache_shed) has further tickets until then;
 *          - a call that pops a magazine in order to free it, or to hand out one and put the rest back, adds tickets
 *            for the others before it swaps the head, and ends them after these are freed or back on the stack. If the
 *            swap succeeds, the magazine is the one whose number of buffers it read (2).
 *     9. depot_exhausted reads head, counts, and head again. If head is empty and both times the same word, then
 *        nothing was popped in between (2), so nothing was pushed either, for a push makes a head that only a pop can
 *        empty. So the depot was empty at the moment at which counts was read. If counts then say that there is
 *        pressure, and that pooled >= N + tickets, callers held at least pooled - tickets >= N at that moment (8). N is
 *        read before and after that moment, and is the same. It is one moment, so it does not matter what other calls
 *        do before and after it: that buffers are freed and others made, that the depot is trimmed, that tickets come
 *        and go.
 *    10. So pooled may exceed N only while callers hold N. To keep it so when callers put, each put and each other call
 *        that frees, or that raises N, looks afterwards (reclaim_keep_cap): if pooled < N + tickets, the tickets
 *        of thread caches are taken back, and all that idles is in the depot. If then pooled > N, what is in the depot
 *        is freed until either pooled = N or the depot is empty; in the second case callers hold all that exist.
 *        Without tickets, and with an empty depot, callers hold pooled. (What a thread left in the depot at its end may
 *        lie there until the next slow call. Callers hold N all the same, for no tickets are granted meanwhile.)
 *        A call that adds tickets to a cache looks at N once more afterwards, as a reservation does (6): so either it
 *        sees a raised N, and takes them back, or the raising call sees them.
 *        A get may come to lift pooled long after the verdict, when the pressure has ended. Then it begins it anew. The
 *        pressure ends only while pooled <= N, which the same swap sees that clears the flag.
 *    11. The verdict may be no although a get finds nothing. Then another call is in the middle of moving a buffer. So
 *        the get looks again, until its patience is over (pressure.c).
 *
 * Calls that meet
 *
 *    12. A push may meet a get that goes beyond the cap, or a call that lowers N. The push swaps head, and then reads N
 *        and counts (depot_is_calm, depot_over_cap); depot_lift swaps counts, and then reads head (depot_is_empty); the
 *        lowering call stores N, and then reads counts and head. All are seq_cst: so if pooled exceeds N while
 *        something lies in the depot, one of the calls sees that, and frees it.
 *    13. A flag in counts says that a caller waits (wait.c). A push swaps head and then reads counts; a waiter sets the
 *        flag and then reads head; all four seq_cst, so one of the two sees the other. unreserve and discard are
 *        read-modify-writes of counts, as setting the flag is: whichever comes second sees the first.
 *
 * How many the depot holds
 *
 *    14. The `count` of a magazine's head says besides how many buffers lie in the depot with it and beneath it, modulo
 *        2^25. A push reads that of the magazine on which it comes to lie. If its swap succeeds, that one was on top
 *        all the time (2). Nothing but statistics and reclaim follow from the number.
 *
 * Orders
 *
 *    15. The nodes' `below`, `count` and links lie behind the head (3). What the verdict reads, and the swaps of head
 *        and changes of counts that it depends on, are seq_cst, so there is one order of all of them. In it a pop by
 *        the owner of an open cache (depot_pop, relaxed, as (4) allows) is not; the pressure comes after it all the
 *        same, since the gate of that cache was closed, and its owner seen to be out, before the flag was set. Nor is
 *        the pop of a drain, which the thread itself makes before it sets the flag.
 *    16. The first reading in depot_reserve is relaxed, and the swap confirms it: if it says that there is no room,
 *        then it is no older than a flag that the same thread set before (13). peak, low and extra are numbers for
 *        statistics and reclaim: nothing is found through them.
 */
#include "depot.h"

#define TICKETS(n)       ((uint64_t)(n))
#define POOLED(n)        ((uint64_t)(n) << 32)
#define HEAD_TAG         ((uint64_t)1 << 32)
#define HEAD_INDEX(head) ((uint32_t)(head))

/* `count` of a head = depth << 7 | grown << 6 | n - 1 */
#define COUNT_N     63u
#define COUNT_GROWN 64u
#define COUNT_BITS  7
_Static_assert(MAGAZINE_MAX - 1 <= COUNT_N, "n has 6 bits of a head's count");

static inline uint32_t count_n(uint32_t count)
{
    return (count & COUNT_N) + 1;
}

uint32_t depot_pops(const struct depot *depot)
{
    return (uint32_t)(load_relaxed(&depot->head) >> 32);
}

/* These two keep the peak, and the depot's low-water mark. Both move seldom, so mostly this takes a load alone. */
static void note_pooled(struct depot *depot, uint32_t pooled)
{
    uint32_t peak = load_relaxed(&depot->peak);
    while (pooled > peak && !cas_relaxed(&depot->peak, &peak, pooled))
        ;
}

static void note_low(struct depot *depot, uint32_t idle)
{
    uint32_t low = load_relaxed(&depot->low);
    while (idle < low && !cas_relaxed(&depot->low, &low, idle))
        ;
}

/* ---- the stack ---- */

/* Both go through the nodes from the last of the array to the first: `at` is the last node that has a parent so far. */

static void magazine_close(struct desc *const *bufs, uint32_t n)
{
    struct desc *const *at = bufs + n - 1, *const *parent = at;
    struct desc *node = *parent;
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

/* How many buffers lie in the depot from the magazine of that index down. Perhaps of another time: then the swap that
 * follows fails (14). */
static inline uint32_t depth_of(const struct desc_table *table, uint32_t index)
{
    return index != 0 ? load_relaxed(&desc_at(table, index)->count) >> COUNT_BITS : 0;
}

uint32_t depot_idle(const struct depot *depot, const struct desc_table *table)
{
    uint64_t head, again = load_acquire(&depot->head); /* with the release in depot_push */
    uint32_t idle;
    do {
        head = again;
        idle = depth_of(table, HEAD_INDEX(head));
        again = load_acquire(&depot->head); /* the same */
    } while (again != head);
    return idle;
}

static inline void push_closed(struct depot *depot, const struct desc_table *table, struct desc *first, uint32_t n,
                               bool grown)
{
    const uint32_t low_bits = (n - 1) | (grown ? COUNT_GROWN : 0);
    uint64_t head = load_acquire(&depot->head); /* with the release of the push beneath (14) */
    do {
        store_relaxed(&first->below, HEAD_INDEX(head));
        store_relaxed(&first->count, (depth_of(table, HEAD_INDEX(head)) + n) << COUNT_BITS | low_bits);
        /* release: with the acquire in depot_peek (3); seq_cst: with depot_want (13), before depot_is_calm (12), for
         * depot_exhausted (9); acquire of a failure: as above */
    } while (!cas_seq_cst_acquire(&depot->head, &head, (head & ~(HEAD_TAG - 1)) | first->index));
}

void depot_push(struct depot *depot, const struct desc_table *table, struct desc *const *bufs, uint32_t n, bool grown)
{
    magazine_close(bufs, n);
    push_closed(depot, table, bufs[n - 1], n, grown);
}

void depot_push_closed(struct depot *depot, const struct desc_table *table, struct desc *first, uint32_t n, bool grown)
{
    push_closed(depot, table, first, n, grown);
}

void depot_restore(struct depot *depot, const struct desc_table *table, struct desc *const *bufs, uint32_t n,
                   bool grown)
{
    depot_push(depot, table, bufs, n, grown);
    depot_end_tickets(depot, n); /* afterwards (8) */
}

struct desc *depot_peek(struct depot *depot, const struct desc_table *table, uint64_t *head, uint64_t *below)
{
    /* acquire: with the release in depot_push (3); seq_cst: after depot_want (13) */
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

static struct magazine popped(struct depot *depot, struct desc *first, uint32_t tickets)
{
    const uint32_t count = load_relaxed(&first->count), n = count_n(count);
    note_low(depot, (count >> COUNT_BITS) - n);
    return (struct magazine){first, n, (count & COUNT_GROWN) != 0, tickets};
}

struct magazine depot_pop(struct depot *depot, const struct desc_table *table)
{
    struct desc *first;
    uint64_t head, below;
    do {
        first = depot_peek(depot, table, &head, &below);
        if (first == NULL)
            return (struct magazine){0};
    } while (!depot_swap(depot, head, below));
    return popped(depot, first, 0);
}

struct magazine depot_pop_some_of(struct depot *depot, struct depot *shard, const struct desc_table *table,
                                  uint32_t out)
{
    struct desc *first;
    uint64_t head, below;
    uint32_t tickets = 0;
    while ((first = depot_peek(shard, table, &head, &below)) != NULL) {
        const uint32_t need = count_n(load_relaxed(&first->count)) - out; /* perhaps of another time, as below */
        if (need > tickets) {
            (void)add_seq_cst(&depot->counts, TICKETS(need - tickets)); /* before the swap (8) */
            tickets = need;
        }
        const uint64_t next = ((head & ~(HEAD_TAG - 1)) + HEAD_TAG) | below;
        uint64_t found = head;
        if (!cas_seq_cst(&shard->head, &found, next)) /* for depot_exhausted (9) */
            continue;
        if (tickets > need)
            depot_end_tickets(depot, tickets - need);
        return popped(shard, first, need);
    }
    if (tickets > 0)
        depot_end_tickets(depot, tickets);
    return (struct magazine){0};
}

struct magazine depot_pop_some(struct depot *depot, const struct desc_table *table, uint32_t out)
{
    return depot_pop_some_of(depot, depot, table, out);
}

void depot_discard(struct depot *depot, uint32_t n)
{
    /* release: as in depot_unreserve; seq_cst: for depot_exhausted (9) */
    (void)sub_seq_cst(&depot->counts, POOLED(n) + TICKETS(n));
}

/* ---- the cap ---- */

bool depot_reserve(struct depot *depot, const _Atomic(size_t) *max_live)
{
    uint64_t counts = load_relaxed(&depot->counts); /* not older than depot_want (16) */
    uint64_t after;
    do {
        if (depot_counts_of(counts).pooled >= depot_cap_of(max_live))
            return false;
        after = counts + POOLED(1);
        /* seq_cst: before the second reading of the cap (6); acquire: with the release in depot_unreserve (5) */
    } while (!cas_seq_cst(&depot->counts, &counts, after));
    if (depot_counts_of(after).pooled > depot_cap_of(max_live)) {
        depot_unreserve(depot, 1);
        return false;
    }
    note_pooled(depot, depot_counts_of(after).pooled);
    return true;
}

struct depot_counts depot_lift(struct depot *depot)
{
    uint64_t counts = load_relaxed(&depot->counts);
    do {
        if (depot_counts_of(counts).pooled == DEPOT_POOLED_MAX)
            return (struct depot_counts){0};
        /* seq_cst: before depot_is_empty (12); acquire: as in depot_reserve */
    } while (!cas_seq_cst(&depot->counts, &counts, counts + POOLED(1)));
    const struct depot_counts after = depot_counts_of(counts + POOLED(1));
    note_pooled(depot, after.pooled);
    return after;
}

void depot_unreserve(struct depot *depot, uint32_t n)
{
    /* release: with the swap in depot_reserve; the block was freed before its room is taken (5); seq_cst: for
     * depot_exhausted (9) */
    (void)sub_seq_cst(&depot->counts, POOLED(n));
}

void depot_hold(struct depot *depot)
{
    (void)add_seq_cst(&depot->counts, POOLED(1));
}

bool depot_hold_if_any(struct depot *depot)
{
    uint64_t counts = load_relaxed(&depot->counts);
    do {
        if (depot_counts_of(counts).pooled == 0)
            return false;
    } while (!cas_seq_cst(&depot->counts, &counts, counts + POOLED(1)));
    return true;
}

bool depot_drop(struct depot *depot)
{
    /* release and acquire: the last one comes after all that the others did with the pool */
    return depot_counts_of(sub_seq_cst(&depot->counts, POOLED(1))).pooled == 1;
}

bool depot_add_tickets(struct depot *depot, const _Atomic(size_t) *max_live, uint32_t n, size_t others)
{
    uint64_t counts = load_relaxed(&depot->counts);
    struct depot_counts now;
    do {
        now = depot_counts_of(counts);
        if (!depot_allows_tickets(now, depot_cap_of(max_live), n, others))
            return false;
        /* before the cache opens (8), and before the second reading of the cap (10) */
    } while (!cas_seq_cst(&depot->counts, &counts, counts + TICKETS(n)));
    if (now.pooled >= depot_cap_of(max_live) + now.tickets + n)
        return true;
    depot_end_tickets(depot, n);
    return false;
}

void depot_cover(struct depot *depot, uint32_t n)
{
    (void)add_seq_cst(&depot->counts, TICKETS(n)); /* before the cache may be found without them (8) */
}

void depot_end_tickets(struct depot *depot, uint32_t n)
{
    (void)sub_seq_cst(&depot->counts, TICKETS(n)); /* after the push (8), for depot_exhausted (9) */
}

/* ---- the flags ---- */

void depot_want(struct depot *depot, bool wanted)
{
    if (wanted)
        (void)or_seq_cst(&depot->counts, DEPOT_WANTED); /* with depot_wanted (13) */
    else
        (void)and_seq_cst(&depot->counts, ~DEPOT_WANTED); /* under the queue's lock (wait.c) */
}

void depot_begin_pressure(struct depot *depot)
{
    (void)or_seq_cst(&depot->counts, DEPOT_PRESSURE); /* for depot_exhausted (9) */
}

bool depot_end_pressure(struct depot *depot, const _Atomic(size_t) *max_live)
{
    uint64_t counts = load_relaxed(&depot->counts);
    do {
        const struct depot_counts now = depot_counts_of(counts);
        if (now.wanted || now.pooled > depot_cap_of(max_live))
            return false;
    } while (!cas_seq_cst(&depot->counts, &counts,
                          counts & ~DEPOT_PRESSURE)); /* this comes before depot_want, or sees its flag and refuses */
    return true;
}

void depot_reset(struct depot *depot, uint32_t pooled)
{
    uint64_t tag = load_relaxed(&depot->head) & ~(HEAD_TAG - 1);
    store_relaxed(&depot->head, tag + HEAD_TAG);
    store_relaxed(&depot->counts, POOLED(pooled));
    store_relaxed(&depot->extra, 0);
}
