/* SPDX-License-Identifier: MIT
 *
 * fork.c - the child of fork repairs a pool when it first uses it
 *
 * fork copies the memory as it is at that moment, and of all threads only the calling one. What the child does with a
 * pool, if anything, the parent does not know: most children call exec. So the handler in the child touches no pool. It
 * counts `fork_epoch` up, and each pool says in its `epoch` for which process it is in order. The first call on a pool
 * whose epoch is another repairs the pool.
 *
 * What the child may believe
 *
 *     1. Held across fork are the registry's lock and the lock of every heap. So the pools and the threads' structs,
 *        slabs, retained mappings, the free descriptors and the bits that say which are taken (desc.c) are in order.
 *     2. Anything else may have been in any state: thread caches, their gates and their tickets, the depot, the
 *        counters, the queue of callers that wait, the quarantine, a purge. None of their locks is held across fork;
 *        the repair makes them anew, and also the locks of a heap's lanes (lane.c). What they say is replaced by what
 *        the words of the taken descriptors say:
 *
 *            IDLE     goes into the depot, wherever it was
 *            LIVE     stays live, whichever thread of the parent held it: the child must put it. If more are live than
 *                     the cap, the pool is beyond its cap in the child too
 *            FREE     is freed: another thread was making or freeing it
 *
 *        A word changes in one store, and the thread that has the buffer changes it only where block and handle are
 *        whole; a block is replaced under the heap's lock (heap.c). The word says grown before that or no longer after
 *        it. So the repair believes cap, and makes the word say GROWN where cap is not buffer_capacity.
 *     3. What is lost is at most the large block or the hook's block of a buffer that another thread was making or
 *        freeing, mappings that it was about to unmap, a kept mapping that it was taking or giving back (spare.c), and
 *        one counter of a thread that was ending (roster.c).
 *
 * Why the first call is always seen
 *
 *     4. A fast call needs a cache that the thread's table has. While a thread forks, its table is `tls_forking`, which
 *        has none, and in the child the thread has no table at all (tls_cache.c), nor have threads that begin there. An
 *        entry comes into a table in tls_cache_own alone, which is called after fork_enter with that pool. So whoever
 *        finds a cache in the child finds the cache of a pool in order, and the fast path need not ask.
 *     5. Any other use of a pool begins with fork_enter, which compares the epochs. The release in fork_repair and the
 *        acquire there order the repair before the use. Two threads that come at once meet at the registry's lock.
 *     6. What is left out needs no repair: from_data, max_live, and reports of misuse read words, the registry and the
 *        table of descriptors, which are in order (1).
 *     7. fork before a repair, in the child or in a child of the child: the epoch is counted on, and the pool is not in
 *        order for the new process either. Its locks are as the first fork left them, so that only the locks of pools
 *        in order are taken.
 *
 * Budgets
 *
 *    11. What a budget has used is the sum over all of its pools, in which threads of the parent may have been at work.
 *        So the first call on a budget, or on one of its pools, repairs all pools of the budget in one go, under the
 *        registry's lock, and adds up what their words and slabs say. From then on `used` is exact. Blocks that are
 *        lost (3) are not in it.
 *
 * The cost: for the parent a lock per pool. For the child nothing per pool at fork; the repair walks over the
 * descriptors that are taken and over the slabs and caches that exist, not over the most there ever were.
 *
 * Calls between the handlers
 *
 *     8. Handlers of fork that the program installed before the library was loaded run while the library's locks are
 *        held. A call from there finds tls_self to be `tls_forking`, and steps out: it gives the locks back, works, and
 *        takes them again. So at the moment of the fork they are held.
 *     9. In the child such a handler comes before the library's. Its call sees that the process is another, and does at
 *        once what the library's handler would do.
 *    10. A signal handler may fork where the signal interrupted the calling thread with one of these locks
 *        (`locks_held`). Then nothing is taken, and the parent goes on. In the child something may be half done that
 *        nobody finishes, and a lock may be held: it can call exec or end; a call on the library ends it with a
 *        message.
 *
 * Atomics are relaxed, or of the default order where there is no other: only one thread has the pool.
 */
#include "fork.h"

#include "cache.h"
#include "debug/modes.h"
#include "debug/quarantine.h"
#include "debug/report.h"
#include "debug/sanitizer.h"
#include "depot.h"
#include "heap/heap.h"
#include "lock.h"
#include "members.h"
#include "registry.h"
#include "shards.h"
#include "shortage.h"
#include "steal.h"

#include <unistd.h>

/* ---- the repair ---- */

/* What the words of the descriptors say. */
struct census {
    uint32_t live, idle;
    size_t live_extra;
};

/* Idle buffers on their way to the depot. */
struct collection {
    struct desc *bufs[MAGAZINE_MAX];
    uint32_t n;
    size_t bytes, extra;
};

static void collection_push(bufferpool_t *pool, struct collection *all)
{
    if (all->n > 0)
        depot_push(&pool->depot, &pool->heap.table, all->bufs, all->n, all->extra != 0);
    all->n = 0;
}

static void collection_add(bufferpool_t *pool, struct collection *all, struct desc *d)
{
    all->bufs[all->n++] = d;
    all->bytes += d->pub.cap;
    all->extra += d->pub.cap - pool->heap.base;
    if (all->n == MAGAZINE_MAX || all->n >= (pool->cache_bytes / pool->heap.base + 1) / 2)
        collection_push(pool, all);
}

static bool is_idle(const struct desc *d)
{
    const enum desc_state state = desc_state(load_relaxed(&d->word));
    return state == STATE_IDLE || state == STATE_IDLE_GROWN;
}

/* Makes the words say which buffers are grown. A plain one that passed for grown would get strikes (reclaim.c). */
static void settle_words(bufferpool_t *pool)
{
    struct desc *d;
    for_each_taken (&pool->heap.table, i, d) {
        const uintptr_t word = load_relaxed(&d->word);
        const bool grown = d->pub.cap != pool->heap.base;
        const enum desc_state idle = grown ? STATE_IDLE_GROWN : STATE_IDLE;
        const enum desc_state live = grown ? STATE_LIVE_GROWN : STATE_LIVE;
        const uintptr_t right = desc_word(pool->tag, is_idle(d) ? idle : live);
        if (word != right) /* or the child would copy the page */
            store_relaxed(&d->word, right);
    }
}

/* Those that are FREE were given back before. */
static struct census take_census(const bufferpool_t *pool)
{
    struct census census = {0};
    const struct desc *d;
    for_each_taken (&pool->heap.table, i, d) {
        if (is_idle(d)) {
            census.idle++;
        } else {
            census.live++;
            census.live_extra += d->pub.cap - pool->heap.base;
        }
    }
    return census;
}

/* The depot counts them already. */
static struct collection refill_depot(bufferpool_t *pool)
{
    struct collection all = {0};
    struct desc *d;
    for_each_taken (&pool->heap.table, i, d) {
        if (is_idle(d))
            collection_add(pool, &all, d);
    }
    collection_push(pool, &all);
    return all;
}

static uint64_t count_of(const bufferpool_t *pool, enum counter counter)
{
    uint64_t n = load_relaxed(&pool->shared.counters[counter]);
    for (const struct cache *c = load_relaxed(&pool->caches); c != NULL; c = c->next)
        n += load_relaxed(&c->counters[counter]) + (counter == GETS_THREAD ? cache_read(c).gets : 0);
    return n;
}

/* Adds the gets that are missing for buffers that are live or were dropped: a thread of the parent may not have counted
 * its get yet. */
static void settle_gets(bufferpool_t *pool, uint32_t live)
{
    const uint64_t gets = count_of(pool, GETS_THREAD) + count_of(pool, GETS_DEPOT) + count_of(pool, GETS_FRESH) +
                          count_of(pool, GETS_BYPASS);
    const uint64_t least =
        live + count_of(pool, DROPS_OVERSIZE) + count_of(pool, DROPS_OVER_CAP) + count_of(pool, DROPS_IDLE_LIMIT);
    if (gets < least)
        cache_count(&pool->shared, GETS_FRESH, least - gets);
}

/* Some are held by threads that are not here. */
static void renew_locks(bufferpool_t *pool)
{
    pthread_mutex_init(&pool->caches_lock, NULL);
    pthread_mutex_init(&pool->waiters.lock, NULL);
    pthread_mutex_init(&pool->quarantine.lock, NULL);
    pthread_mutex_init(&pool->heap.slabs.lock, NULL);
}

/* No thread cache holds anything, so the pool may be under pressure. It is while more exist than the cap, as always:
 * otherwise puts would go to caches, which no put looks at when callers come back below the cap. */
static void repair_pressure(bufferpool_t *pool)
{
    const bool beyond = depot_over_cap(&pool->depot, &pool->max_live) || load_relaxed(&pool->life) == POOL_CLOSED;
    store_relaxed(&pool->pressure.state, beyond ? PRESSURE_ON : PRESSURE_OFF);
    store_relaxed(&pool->pressure.granted, 0);
    store_relaxed(&pool->pressure.holders, 0);
    if (beyond)
        depot_begin_pressure(&pool->depot);
}

static void repair(bufferpool_t *pool)
{
    renew_locks(pool);
    heap_repair(&pool->heap);
    tls_cache_disown_all(pool);
    settle_words(pool);
    const struct census census = take_census(pool);
    shards_reset(&pool->depot, census.live + census.idle);
    const struct collection depot = refill_depot(pool);
    store_relaxed(&pool->depot.extra, depot.extra);
    store_relaxed(&pool->depot.low, census.idle);
    store_relaxed(&pool->grown_extra, depot.extra + census.live_extra);
    store_relaxed(&pool->idle_reserved, pool->max_idle_bytes != 0 ? depot.bytes : 0);
    store_relaxed(&pool->idle_tight, false);
    store_relaxed(&pool->idle_skips, 0);

    cache_reset(&pool->shared, census.live, 0);
    store_relaxed(&pool->shared.calls, 0);
    settle_gets(pool, census.live);

    repair_pressure(pool);
    atomic_flag_clear(&pool->reclaim.busy);
    pool->waiters.first = pool->waiters.last = NULL;
    store_relaxed(&pool->waiters.waiting, 0);
    store_relaxed(&pool->keepers, 1);
    quarantine_reset(&pool->quarantine);
    store_relaxed(&pool->background.begun, false);
    pool->background.busy = false;
    pool->background.trim = false;
    store_relaxed(&pool->background.watched, false);
    store_release(&pool->epoch, fork_epoch); /* with the acquire in fork_enter */
}

void fork_repair_budget(struct bufferpool_budget *budget)
{
    if (load_relaxed(&budget->epoch) == fork_epoch)
        return;
    (void)members_init_lock(&budget->room);
    account_reset(budget);
    for (bufferpool_t *pool = budget->pools; pool != NULL; pool = pool->budget_next)
        repair(pool);
    store_release(&budget->epoch, fork_epoch); /* with the acquire in settle (budget.c) */
}

void fork_repair(bufferpool_t *pool)
{
    if (load_relaxed(&pool->epoch) == fork_epoch)
        return;
    if (pool->heap.slabs.budget != NULL)
        fork_repair_budget(pool->heap.slabs.budget);
    if (load_relaxed(&pool->epoch) != fork_epoch) /* it has no budget, or is closed */
        repair(pool);
}

/* ---- the handlers ---- */

uint32_t fork_epoch;

static pid_t forking_process;                                 /* under the registry's lock */
static _Thread_local volatile unsigned interrupted TLS_MODEL; /* forks under way that took no lock (10) */

/* Whether its lock is held across fork. The registry's lock is held. */
static bool is_in_order(const bufferpool_t *pool)
{
    return load_relaxed(&pool->epoch) == fork_epoch;
}

static void take_locks(void)
{
    registry_lock();
    if (sanitizer_on())
        sanitizer_lock();
    for_each_pool (pool) {
        if (is_in_order(pool))
            heap_lock(&pool->heap);
    }
    forking_process = getpid();
    tls_fork_begin();
}

static void give_outer_locks(void)
{
    if (sanitizer_on())
        sanitizer_unlock();
    registry_unlock();
}

static void give_locks(void)
{
    tls_fork_end();
    for_each_pool (pool) {
        if (is_in_order(pool))
            heap_unlock(&pool->heap);
    }
    give_outer_locks();
}

/* ThreadSanitizer goes by which thread has which lock: for it the forking thread gives back what it has. */
static void give_heap_locks_for_sanitizer(void)
{
    if (!BUFFERPOOL_REAL_FENCES)
        return;
    for_each_pool (pool) {
        if (is_in_order(pool))
            heap_unlock(&pool->heap);
    }
}

static void become_child(void)
{
    give_heap_locks_for_sanitizer();
    fork_epoch++;
    tls_fork_end_in_child();
    registry_after_fork_in_child();
    steal_after_fork_in_child();
    if (MODES_BUILT)
        modes_after_fork_in_child();
    shortage_after_fork_in_child();
    give_outer_locks();
    locks_held = 0; /* the heaps' are not */
}

static void before_fork(void)
{
    if (locks_held != 0)
        interrupted++;
    else if (fork_epoch != FORK_EPOCH_BROKEN)
        take_locks();
}

static void after_fork_in_parent(void)
{
    if (interrupted != 0)
        interrupted--;
    else if (tls_is_forking())
        give_locks();
}

static void after_fork_in_child(void)
{
    if (interrupted != 0) {
        fork_epoch = FORK_EPOCH_BROKEN;
        tls_cache_abandon();
    } else if (tls_is_forking()) {
        become_child();
    }
}

bool fork_handlers_install(void)
{
    static bool installed; /* under the registry's lock */
    if (!installed)
        installed = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
    return installed;
}

/* ---- calls ---- */

/* Returns whether the thread is to step in again. */
static bool step_out(void)
{
    const bool in_child = getpid() != forking_process;
    if (in_child)
        become_child();
    else
        give_locks();
    return !in_child;
}

void fork_step_in(void)
{
    take_locks();
}

bool fork_settle(bufferpool_t *pool)
{
    if (fork_epoch == FORK_EPOCH_BROKEN)
        report_misuse(pool, pool, "called in a child that a signal handler forked in the middle of another call");
    const bool stepped_out = tls_is_forking() && step_out();
    if (pool != NULL) {
        registry_lock();
        fork_repair(pool);
        registry_unlock();
    }
    return stepped_out;
}
