/* SPDX-License-Identifier: MIT
 *
 * steal.c - taking what idles in the caches of other threads, at the cost of two plain stores in each of their calls
 *
 *     owner                                        thief, under the pool's caches_lock
 *     -----                                        -----
 *     1  busy = true      plain                    a  gate = closed
 *        compiler barrier                          b  membarrier: every thread runs through a full barrier
 *     2  reads gate       acquire                  c  reads busy   acquire; true: wait a little, then skip
 *     3  open: works on the cache                  d  works on the cache
 *     4  busy = false     release                  e  gate = open  release, or leaves it closed
 *
 * Owner and thief are never both inside:
 *
 *     1. The full barrier of b falls, in the owner's thread, somewhere between two instructions. If it falls after 1,
 *        the thief sees busy at c, until the owner has left (4). Then the thief sees what the owner did, since c
 *        acquires what 4 released.
 *     2. If it falls before 1, then 2 comes after it too, and reads the closed gate of a, or the open one of e. If it
 *        reads e it sees all that the thief did: e releases, 2 acquires. That is why the owner reads the gate before
 *        anything else of the cache.
 *
 * For ThreadSanitizer, which does not know membarrier, 1, 2, a and c are seq_cst, and b is not needed: either c comes
 * after 1 in their order, or 2 comes after a.
 *
 * Without membarrier (a kernel before 4.14, a seccomp filter) only the owner can tell whether it is inside. Then a
 * thread steals from no cache but its own. A closed gate still asks the owner to flush its cache.
 *
 * The owner's stores are the same whether the system has it or not, so that it need not ask.
 *
 * Registering for membarrier takes some milliseconds where threads run already, and no call may go on before it is
 * over: a pool that takes "not yet" for "not possible" declares pressure over full caches. So each caller that comes
 * before the system has answered registers by itself, without a lock. To register twice, or twice at once, is the same
 * as once. No thread waits for another one here, so fork and signals need no care: a child forked while another thread
 * was at it registers anew.
 *
 * What is relaxed: `possible` says what the system can do, and leads to no other memory; `owned` and the pressure's
 * state move under the caches_lock, which is held here.
 */
#include "steal.h"

#include "cache.h"
#include "debug/watch.h"
#include "probes.h"
#include "tls_cache.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Looks at an owner that is inside: a call is there for some ten instructions, a flush for thousands. */
#define SPINS  128
#define YIELDS 16 /* further looks, each after letting other threads run */

/* ---- the barrier ---- */

static _Atomic(bool) possible;
static _Atomic(bool) asked; /* the system has answered a registration, and `possible` says what */

#if BUFFERPOOL_REAL_FENCES

void steal_init(void)
{
    store_relaxed(&possible, true);
    store_release(&asked, true);
}

static bool barrier_in_all_threads(void)
{
    return true;
}

#else

/* linux/membarrier.h may be older than the kernel that runs this */
#define PRIVATE_EXPEDITED          (1 << 3)
#define REGISTER_PRIVATE_EXPEDITED (1 << 4)

static bool membarrier(int command)
{
#ifdef SYS_membarrier
    return syscall(SYS_membarrier, command, 0, 0) == 0;
#else
    (void)command;
    return false;
#endif
}

void steal_init(void)
{
    if (load_acquire(&asked)) /* with the releases here: `possible` is as old as the answer, or newer */
        return;
    if (membarrier(REGISTER_PRIVATE_EXPEDITED))
        store_relaxed(&possible, true);
    store_release(&asked, true);
}

/* Returns false if the system refused it; then it is not tried again. */
static bool barrier_in_all_threads(void)
{
    if (membarrier(PRIVATE_EXPEDITED))
        return true;
    store_relaxed(&possible, false);
    return false;
}

#endif

void steal_after_fork_in_child(void)
{
    if (!steal_possible())
        store_relaxed(&asked, false);
}

bool steal_possible(void)
{
    return load_relaxed(&possible);
}

/* ---- stealing ---- */

static uint32_t take_inside(bufferpool_t *pool, struct cache *c, enum steal_kind kind)
{
    switch (kind) {
    case STEAL_BUDGETS:
        cache_give_budget_back(pool, c);
        return 0;
    case STEAL_NOTHING:
        for (uint32_t i = 0; MODES_BUILT && i < cache_idle(c); i++)
            watch_idle(pool, cache_entries(c)[i]);
        return 0;
    default:
        return cache_flush_inside(pool, c);
    }
}

static bool worth_it(struct cache *c, enum steal_kind kind, bool pressure)
{
    if (!load_relaxed(&c->owned))
        return false;
    if (kind == STEAL_UNUSED && !cache_unused(c))
        return false;
    return pressure || kind == STEAL_BUDGETS || cache_idle(c) > 0;
}

/* Closes the gates of those that are worth it, and marks them as pending. Returns whether any of them was open and is
 * another thread's. */
static bool close_gates(bufferpool_t *pool, enum steal_kind kind, const struct cache *own, bool pressure)
{
    bool closed = false;
    /* acquire: with the release in cache_link (tls_cache.c) */
    for (struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next) {
        c->pending = worth_it(c, kind, pressure);
        if (c->pending && cache_is_open(c)) {
            closed |= c != own;
            cache_close(c);
        }
    }
    return closed;
}

/* Steals from the pending ones whose owners are out. Returns whether some are left. */
static bool take_pending(bufferpool_t *pool, enum steal_kind kind, const struct cache *own, bool possible_here,
                         bool reopen, uint32_t *buffers)
{
    bool left = false;
    /* acquire: as in close_gates */
    for (struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next) {
        if (!c->pending)
            continue;
        if (c != own && (!possible_here || !cache_owner_is_out(c))) {
            left = true;
            continue;
        }
        uint32_t n = take_inside(pool, c, kind);
        if (c != own && n > 0)
            add_relaxed(&pool->shared.counters[STOLEN], n);
        *buffers += n;
        c->pending = false;
        if (reopen)
            cache_open(pool, c);
    }
    return left;
}

static void give_up_pending(bufferpool_t *pool)
{
    /* acquire: as in close_gates */
    for (struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next) {
        if (c->pending)
            cache_open(pool, c);
        c->pending = false;
    }
}

struct stolen steal_caches(bufferpool_t *pool, enum steal_kind kind, bool patient)
{
    PROBE1(pool, steal_begin, kind);
    struct cache *own = tls_cache_find(pool->index);
    bool pressure = load_relaxed(&pool->pressure.state) != PRESSURE_OFF;
    struct stolen stolen = {0, true};
    bool possible_here = steal_possible();
    if (close_gates(pool, kind, own, pressure) && possible_here)
        possible_here = barrier_in_all_threads();
    for (unsigned look = 0;; look++) {
        stolen.complete = !take_pending(pool, kind, own, possible_here, !pressure, &stolen.buffers);
        if (stolen.complete || !possible_here || !patient || look == SPINS + YIELDS)
            break;
        if (look >= SPINS)
            (void)sched_yield();
    }
    if (!stolen.complete && !pressure)
        give_up_pending(pool);
    PROBE2(pool, steal_end, stolen.buffers, (int)stolen.complete);
    return stolen;
}

struct stolen steal(bufferpool_t *pool, enum steal_kind kind, bool patient)
{
    steal_init();
    pthread_mutex_lock(&pool->caches_lock);
    struct stolen stolen = steal_caches(pool, kind, patient);
    pthread_mutex_unlock(&pool->caches_lock);
    return stolen;
}
