/* SPDX-License-Identifier: MIT
 *
 * shards.c - further stacks of the depot, so that threads on different processors do not meet at one head
 *
 * Each shard is a stack like the depot's own, on a cache line of its own: depot.c (1) to (4) hold for each. The counts
 * are still one word, and an exchange does not touch them, so the cap is enforced as before. It has to be shown that
 * the verdict may go on reading one head, and that no buffer is forgotten in a shard.
 *
 *     1. Only an owner that is inside its cache, with an open gate and no tickets, pushes to a shard. Only shards_drain
 *        moves what lies in a shard to another stack. All other pushes go to the depot's own stack.
 *     2. `used` has the bit of a shard before anything lies in the shard: the owner sets the bit before it pushes. Only
 *        a drain clears it, when no owner is inside behind a gate that was open (3). The owner reads the bit with
 *        acquire, or sets it, before it swaps the shard's head; all other accesses on which (3) and (6) rely are
 *        seq_cst. So a thread that would find the magazine by the shard's head finds the bit first. A bit whose shard
 *        is empty costs a look. The bit does not change with each magazine, since then every other exchange would write
 *        a word that all threads read.
 *     3. Pressure begins when every gate is closed and every owner is out (pressure.c). An owner that comes later finds
 *        its gate closed, and uses the depot's own stack. So nothing is pushed to a shard from then on, by (1). Then
 *        the shards are drained, and only after that the flag `pressure` is set. While it is set, a gate opens only
 *        with tickets. So the shards are empty from before the flag is set until after it is cleared, and depot.c (8)
 *        needs no ticket for them. This includes what the owners pushed last: that they are out was acquired from the
 *        store by which they left (steal.c 1).
 *     4. Where the system refuses the barrier, an owner may still be inside when the flag is set (steal.c 9). What it
 *        then pushes is unknown to the verdict, like the buffers in its cache. Therefore the bits stay set, so that the
 *        next call finds those buffers. Once the owner is known to be out, settle (pressure.c) drains once more.
 *     5. A call that pops from a shard without being such an owner takes tickets before its swap, as it does for the
 *        depot's own stack (depot.c 8). So it does not matter if the flag is set in the middle of that.
 *     6. Without pressure, a call that finds the depot's own stack empty looks into the shards before it makes a
 *        buffer, before it begins the pressure, and before it says that nothing is idle. So do waiters: their argument
 *        is the pair of depot.c (13), with the head of the shard in place of the depot's. The owner swaps that head and
 *        then reads counts (put_slow, settle in pool.c); the waiter sets the flag and then reads `used` and the head.
 *        The pair of depot.c (12) works in the same way.
 *     7. A drain moves one magazine at a time, and for a moment the magazine is in neither stack. A get that looks just
 *        then makes a buffer, if the cap allows it, or waits for caches_lock. Readers of statistics may miss the
 *        magazine, as they may miss what any call moves. What a drain brought to the depot is treated like what the
 *        steal before it brought: the call looks at the cap afterwards, and serves the callers that wait (pressure.h).
 *
 * Which shard: where there are more processors than shards, processors with neighbouring numbers share one. A thread
 * asks for its number in about one of eight exchanges. If it has moved to another processor since, this costs only
 * time. The topology is not asked for: it would be read from files, and gets may run under a filter that allows them to
 * open none (docs/system-calls.md).
 *
 * An owner that finds its shard empty looks into the depot's own stack before the other shards: the line of that head
 * was read for the counts anyway, and no processor in particular uses what lies there. Then it begins with the shard
 * where it last found something.
 *
 * What is relaxed: `processor` and `highest` are hints. `low` is a number for reclaim. The sum of what lay untouched in
 * each stack is no more than what lay untouched in all together, so a reclaim may free less than it could, not more.
 */
#include "shards.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(SHARDS <= 32, "`used` has a bit for each");

static uint32_t used_of(const struct shards *shards)
{
    return shards != NULL ? load_seq_cst(&shards->used) : 0; /* after depot_want, depot_lift, the store of N (6) */
}

/* Removes the lowest shard from a set of shards, and returns it. */
static uint32_t take_lowest(uint32_t *some)
{
    const uint32_t k = (uint32_t)__builtin_ctz(*some);
    *some &= *some - 1;
    return k;
}

/* ---- for an owner that is inside ---- */

struct magazine shards_pop_elsewhere(struct depot *depot, const struct desc_table *table, struct cache *c)
{
    struct shards *shards = shards_of(depot);
    struct magazine magazine = depot_pop(depot, table);
    const uint32_t used = load_relaxed(&shards->used);
    for (uint32_t i = 0, k = c->found; magazine.head == NULL && i < SHARDS; i++, k = (k + 1) % SHARDS) {
        if ((used >> k & 1) == 0)
            continue;
        magazine = depot_pop(&shards->shard[k], table);
        if (magazine.head != NULL)
            c->found = (uint8_t)k;
    }
    return magazine;
}

/* ---- which ---- */

static _Atomic(uint32_t) highest; /* of the numbers of processors so far */

static uint8_t shard_of(uint32_t processor)
{
    uint32_t most = load_relaxed(&highest);
    if (processor > most)
        store_relaxed(&highest, most = processor);
    uint32_t shift = 0;
    while (most >> shift >= SHARDS)
        shift++;
    return (uint8_t)(processor >> shift);
}

/* Whether threads have used the pool on another processor than that. */
static bool has_others(bufferpool_t *pool, uint32_t processor)
{
    const uint32_t first = load_relaxed(&pool->depot.processor);
    if (first == 0)
        store_relaxed(&pool->depot.processor, processor + 1);
    return first != 0 && first != processor + 1 && load_relaxed(&pool->owners) > 1 && !pool->no_membarrier;
}

static bool make_shards(struct depot *depot)
{
    struct shards *none = NULL, *made = aligned_alloc(CACHE_LINE, sizeof(*made));
    if (made == NULL)
        return false;
    memset(made, 0, sizeof(*made));
    /* release: with the acquire in shards_of */
    if (!atomic_compare_exchange_strong_explicit(&depot->shards, &none, made, memory_order_release,
                                                 memory_order_relaxed))
        free(made);
    return true;
}

void shards_choose(bufferpool_t *pool, struct cache *c)
{
    const int found = sched_getcpu();
    const uint32_t processor = found > 0 ? (uint32_t)found : 0; /* the system may refuse to tell */
    if (shards_of(&pool->depot) != NULL || (has_others(pool, processor) && make_shards(&pool->depot)))
        c->shard = shard_of(processor);
}

/* ---- for all other calls ---- */

struct magazine shards_pop_some(struct depot *depot, const struct desc_table *table, uint32_t out)
{
    struct magazine magazine = depot_pop_some(depot, table, out);
    struct shards *shards = magazine.head == NULL ? shards_of(depot) : NULL;
    for (uint32_t used = used_of(shards); magazine.head == NULL && used != 0;)
        magazine = depot_pop_some_of(depot, &shards->shard[take_lowest(&used)], table, out);
    return magazine;
}

bool shards_hold_nothing(const struct depot *depot)
{
    const struct shards *shards = shards_of(depot);
    bool empty = true;
    for (uint32_t used = used_of(shards); empty && used != 0;)
        empty = depot_is_empty(&shards->shard[take_lowest(&used)]);
    return empty;
}

uint32_t shards_idle(const struct depot *depot, const struct desc_table *table)
{
    const struct shards *shards = shards_of(depot);
    uint32_t idle = depot_idle(depot, table);
    for (uint32_t used = used_of(shards); used != 0;)
        idle += depot_idle(&shards->shard[take_lowest(&used)], table);
    return idle;
}

void shards_mark(struct depot *depot, const struct desc_table *table)
{
    struct shards *shards = shards_of(depot);
    store_relaxed(&depot->low, depot_idle(depot, table));
    for (uint32_t used = used_of(shards); used != 0;) {
        struct depot *shard = &shards->shard[take_lowest(&used)];
        store_relaxed(&shard->low, depot_idle(shard, table));
    }
}

uint32_t shards_low(const struct depot *depot)
{
    const struct shards *shards = shards_of(depot);
    uint32_t low = load_relaxed(&depot->low);
    for (uint32_t used = used_of(shards); used != 0;)
        low += load_relaxed(&shards->shard[take_lowest(&used)].low);
    return low;
}

void shards_drain(struct depot *depot, const struct desc_table *table, bool sure)
{
    struct shards *shards = shards_of(depot);
    for (uint32_t used = used_of(shards); used != 0;) {
        struct depot *shard = &shards->shard[take_lowest(&used)];
        struct magazine magazine;
        while ((magazine = depot_pop(shard, table)).head != NULL)
            depot_push_closed(depot, table, magazine.head, magazine.n, magazine.grown);
    }
    if (sure && shards != NULL)
        store_seq_cst(&shards->used, 0); /* before the flag is set (3) */
}

void shards_reset(struct depot *depot, uint32_t pooled)
{
    struct shards *shards = shards_of(depot);
    depot_reset(depot, pooled);
    for (uint32_t k = 0; shards != NULL && k < SHARDS; k++) {
        depot_reset(&shards->shard[k], 0);
        store_relaxed(&shards->shard[k].low, 0);
    }
    if (shards != NULL)
        store_relaxed(&shards->used, 0);
}

void shards_free(struct depot *depot)
{
    free(load_relaxed(&depot->shards));
}
