/* SPDX-License-Identifier: MIT
 *
 * steal.c - taking what idles in the caches of other threads, at the cost of two plain stores in each of their calls
 *
 *     owner                                        thief, under the pool's caches_lock
 *     -----                                        -----
 *     1  busy = true      plain                    a  gate = closed
 *        compiler barrier                          b  membarrier: every thread runs through a full barrier
 *     2  reads gate       acquire                  c  reads busy   acquire; true: see below
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
 * An owner that is inside at c is there for some ten instructions, or for thousands in a flush; or it was preempted
 * there, and comes back after tens of milliseconds where more threads run than there are processors. So a patient thief
 * lets the lock go and spins, but only for PATIENCE_NS in all. It does not yield: that alone may take as long as the
 * owner does. A cache that it does not reach stays as it is: `pending`, with its gate closed and its barrier had
 * (`fenced`). Then:
 *
 *     3. While the gate stays closed, 1 and 2 hold for every later c, by any thread, with the one barrier of b. So the
 *        next call that steals, for whatever reason, takes that cache too, if its owner is out by then, and needs no
 *        barrier for it. Every slow call that comes to a gate looks whether that is so (steal_has_rest).
 *     4. The owner itself finds the closed gate in its next call. It then flushes its cache under the lock, and opens
 *        the gate if there is no pressure (pressure.c). No other thread opens the gate of a pending cache, but
 *        give_up_pending, which leaves those that had their barrier.
 *     5. `pending`, `fenced`, the gate and the state of the pressure change under the lock alone. A thief that had let
 *        the lock go looks at all of them anew. So "none is left" is true when take_pending says it, and until the lock
 *        is let go.
 *
 * For ThreadSanitizer, which does not know membarrier, 1, 2, a and c are seq_cst, and b is not needed: either c comes
 * after 1 in their order, or 2 comes after a.
 *
 * Without membarrier (a kernel before 4.14, a seccomp filter, BUFFERPOOL_NO_MEMBARRIER) only the owner can tell whether
 * it is inside. Then a thread steals from no cache but its own. A closed gate still asks the owner to flush its cache.
 *
 * The owner's stores are the same whether the system has it or not, so that it need not ask.
 *
 * Registering for membarrier takes some milliseconds where threads run already, and no call may go on before it is
 * over: a pool that takes "not yet" for "not possible" declares pressure over full caches. So each caller that comes
 * before the system has answered registers by itself, without a lock. To register twice, or twice at once, is the same
 * as once. No thread waits for another one here, so fork and signals need no care: a child forked while another thread
 * was at it registers anew.
 *
 * A refusal lasts for RETRY_MS. The first steal after that registers anew. A process that was restored by CRIU has lost
 * its registration without a refusal: the barrier fails with EPERM, and then the thief registers and tries once more,
 * at once. `possible` may go from true to false and back at any moment, in the middle of any call:
 *
 *     6. What a thief may take follows from `fenced` alone. Only a thread whose barrier succeeded sets it, under the
 *        lock, for gates that were closed before that barrier. `possible` decides no more than whether to ask the
 *        system.
 *     7. A pending cache without a barrier holds what its owner left there, and nothing has been done to it. Its gate
 *        was closed, so a barrier that comes later is as good as one that came at once (1, 2). So there is nothing to
 *        undo when the system has membarrier again: fence() counts for all that are pending then.
 *     8. Whether a steal was refused is what that steal found (`refused`: a cache without a barrier is left), not what
 *        `possible` says afterwards. So no call that had its barrier declares pressure because another was refused.
 *     9. Pressure may be ON over caches that could not be emptied (pressure.c, settle). Then each of them is pending
 *        with its gate closed, and `stuck` points to pool->shared, which stands for them. depot_exhausted may be wrong
 *        for so long: a get goes beyond the cap early, by what idles there. is_settled (pool.c) looks at the calling
 *        thread's own cache, and is right either way. When the system may be asked again, steal_has_rest says so, and
 *        the next slow call of any thread takes those caches. From then on "ON: no cache holds a buffer" is true,
 *        without a change of state.
 *    10. If the pressure ends before that, the caches stay pending. The next steal takes them and opens their gates, or
 *        is refused and opens them (give_up_pending), or their owners do.
 *
 * What is relaxed: `possible` and `refused_ms` say when to ask the system, and lead to no other memory; `owned` and the
 * pressure's state move under the caches_lock, which is held here.
 */
#include "steal.h"

#include "allowance.h"
#include "cache.h"
#include "clock.h"
#include "debug/watch.h"
#include "probes.h"
#include "tls_cache.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- the barrier ---- */

#define RETRY_MS 1000u

static _Atomic(bool) possible;
static _Atomic(uint64_t) refused_ms; /* when the system last refused, on the coarse monotonic clock; 0: ask at once */

#if BUFFERPOOL_REAL_FENCES

static bool membarrier_register(void)
{
    return true;
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
    errno = ENOSYS;
    return false;
#endif
}

static bool membarrier_register(void)
{
    return membarrier(REGISTER_PRIVATE_EXPEDITED);
}

/* Returns false if the system refused it. */
static bool barrier_in_all_threads(void)
{
    if (membarrier(PRIVATE_EXPEDITED))
        return true;
    return errno == EPERM && membarrier_register() && membarrier(PRIVATE_EXPEDITED);
}

#endif

static void note_refusal(void)
{
    store_relaxed(&refused_ms, clock_coarse_ms());
    store_relaxed(&possible, false);
}

bool steal_may_ask(void)
{
    const uint64_t refused = load_relaxed(&refused_ms);
    /* modulo 2^64: a clock that went back, in a process that was restored elsewhere, is no reason to wait */
    return load_relaxed(&possible) || refused == 0 || clock_coarse_ms() - refused >= RETRY_MS;
}

void steal_init(const bufferpool_t *pool)
{
    if (pool->no_membarrier || load_relaxed(&possible) || !steal_may_ask())
        return;
    if (membarrier_register())
        store_relaxed(&possible, true);
    else
        note_refusal();
}

void steal_after_fork_in_child(void)
{
    if (!load_relaxed(&possible))
        store_relaxed(&refused_ms, 0);
}

bool steal_possible(const bufferpool_t *pool)
{
    return !pool->no_membarrier && load_relaxed(&possible);
}

/* ---- stealing ---- */

static uint32_t take_inside(bufferpool_t *pool, struct cache *c)
{
    uint32_t n;
    switch (c->pending) {
    case PENDING_RESERVED:
        cache_give_reserved_back(pool, c);
        return 0;
    case PENDING_LOOK:
        if (MODES_BUILT)
            for (uint32_t i = 0; i < cache_idle(c); i++)
                watch_idle(pool, cache_entries(c)[i]);
        return 0;
    case PENDING_EXCESS:
        n = cache_cut_inside(pool, c, allowance_kept(pool, c));
        allowance_shrink(pool, c, false);
        return n;
    default:
        n = cache_flush_inside(pool, c);
        if (c->unused)
            allowance_shrink(pool, c, true);
        return n;
    }
}

/* What is to be taken of the cache at the end of a period: all if it was not used. */
static enum pending not_needed(const bufferpool_t *pool, struct cache *c)
{
    const bool excess = allowance_is_excess(pool, c);
    if (!cache_unused(c))
        return excess ? PENDING_EXCESS : PENDING_NOTHING;
    c->unused = cache_idle(c) > 0 || allowance_is_wanted(pool, c);
    return c->unused ? PENDING_ALL : PENDING_NOTHING;
}

/* A closed gate whose cache is not pending has nothing behind it, and stays so. */
static enum pending to_take(const bufferpool_t *pool, struct cache *c, enum steal_kind kind, bool pressure)
{
    if (!load_relaxed(&c->owned) || kind == STEAL_REST)
        return PENDING_NOTHING;
    if (kind == STEAL_UNUSED)
        return not_needed(pool, c);
    if (kind == STEAL_RESERVED)
        return PENDING_RESERVED;
    /* what is pending may have an owner inside that puts a buffer there */
    if (cache_idle(c) == 0 && c->pending == PENDING_NOTHING && !(pressure && cache_is_open(c)))
        return PENDING_NOTHING;
    return kind == STEAL_NOTHING ? PENDING_LOOK : PENDING_ALL;
}

/* Closes the gates of the caches that are worth it, and marks these as pending. Returns whether some of the pending
 * ones, the caller's aside, have had no barrier yet. */
static bool close_gates(bufferpool_t *pool, enum steal_kind kind, const struct cache *own)
{
    const bool pressure = load_relaxed(&pool->pressure.state) != PRESSURE_OFF;
    bool unfenced = false;
    /* acquire: with the release in cache_link (tls_cache.c) */
    for (struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next) {
        c->unused &= c->pending != PENDING_NOTHING; /* it may be left from one that was given up, or flushed */
        const enum pending pending = to_take(pool, c, kind, pressure);
        if (pending != PENDING_NOTHING) {
            if (c->pending < pending)
                c->pending = pending;
            if (cache_is_open(c)) {
                cache_close(c);
                c->fenced = false;
            }
        }
        unfenced |= c != own && c->pending != PENDING_NOTHING && !c->fenced;
    }
    return unfenced;
}

/* Has the barrier for all that are pending now. */
static void fence(bufferpool_t *pool)
{
    if (!steal_possible(pool))
        return;
    if (!barrier_in_all_threads()) {
        note_refusal();
        return;
    }
    /* acquire: as in close_gates */
    for (struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next)
        c->fenced |= c->pending != PENDING_NOTHING;
}

/* What steal_has_rest looks at. Caches without a barrier are out of reach until the system may be asked again, and a
 * pool that does not ask never reaches them. */
static struct cache *rest_of(bufferpool_t *pool, struct cache *left)
{
    if (left == NULL || left->fenced)
        return left;
    return pool->no_membarrier ? NULL : &pool->shared;
}

/* Takes the pending caches whose owners are out. Returns one that is left, one that waiting may help if there is any;
 * NULL: none is left. */
static struct cache *take_pending(bufferpool_t *pool, const struct cache *own, uint32_t *buffers)
{
    const bool reopen = load_relaxed(&pool->pressure.state) == PRESSURE_OFF;
    struct cache *left = NULL;
    /* acquire: as in close_gates */
    for (struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next) {
        if (c->pending == PENDING_NOTHING)
            continue;
        if (c != own && (!c->fenced || !cache_owner_is_out(c))) {
            if (left == NULL || c->fenced)
                left = c;
            continue;
        }
        uint32_t n = take_inside(pool, c);
        if (c != own && n > 0)
            add_relaxed(&pool->shared.counters[STOLEN], n);
        *buffers += n;
        c->pending = PENDING_NOTHING;
        if (reopen || load_relaxed(&c->tickets) != 0) /* tickets are left if the cache was not flushed */
            cache_open(pool, c);
    }
    store_release(&pool->stuck, rest_of(pool, left)); /* with the acquire in steal_has_rest: it finds the cache made */
    return left;
}

/* Without pressure: opens the gates behind which the owner need not flush. What was to be taken whole, and had its
 * barrier, stays pending. */
static void give_up_pending(bufferpool_t *pool)
{
    /* acquire: as in close_gates */
    for (struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next) {
        if (c->pending == PENDING_NOTHING || (c->pending == PENDING_ALL && c->fenced))
            continue;
        c->pending = PENDING_NOTHING;
        cache_open(pool, c);
    }
    if (load_relaxed(&pool->stuck) == &pool->shared)
        store_relaxed(&pool->stuck, NULL);
}

/* Lets the lock go until the owner is out, or the patience is over; then returns false. */
static bool wait_for_owner(bufferpool_t *pool, const struct cache *c, struct patience *patience)
{
    bool patient;
    pthread_mutex_unlock(&pool->caches_lock);
    while ((patient = patience_left(patience)) && !cache_owner_is_out(c))
        spin_hint();
    pthread_mutex_lock(&pool->caches_lock);
    return patient;
}

struct stolen steal_caches(bufferpool_t *pool, enum steal_kind kind, struct patience *patience)
{
    PROBE1(pool, steal_begin, kind);
    struct cache *own = tls_cache_find(pool->index);
    struct stolen stolen = {0, true, false};
    bool patient = patience != NULL;
    if (close_gates(pool, kind, own))
        fence(pool);
    const struct cache *left;
    while ((left = take_pending(pool, own, &stolen.buffers)) != NULL && patient && left->fenced)
        patient = wait_for_owner(pool, left, patience);
    stolen.complete = left == NULL;
    stolen.refused = left != NULL && !left->fenced;
    if (!stolen.complete && load_relaxed(&pool->pressure.state) == PRESSURE_OFF)
        give_up_pending(pool);
    PROBE2(pool, steal_end, stolen.buffers, (int)stolen.complete);
    return stolen;
}

struct stolen steal(bufferpool_t *pool, enum steal_kind kind, bool patient)
{
    struct patience patience = {0};
    if (load_relaxed(&pool->caches) != NULL) /* otherwise there is nothing to ask the system for */
        steal_init(pool);
    pthread_mutex_lock(&pool->caches_lock);
    struct stolen stolen = steal_caches(pool, kind, patient ? &patience : NULL);
    pthread_mutex_unlock(&pool->caches_lock);
    return stolen;
}
