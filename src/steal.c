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
 *        the gate if there is no pressure (pressure.c). Another thread opens the gate of a pending cache only in
 *        give_up, which leaves caches alone that had their barrier.
 *     5. `pending`, `fenced`, the gate and the state of the pressure change under the lock alone. A thief that has let
 *        the lock go looks at all of them anew. What it found out about caches that it had visited may no longer be
 *        true: steal_is_over says what is true now.
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
 *        undo when the system has membarrier again: the next fence() counts for every cache of its batch.
 *     8. Whether a steal was refused is what that steal found (`refused`: a cache without a barrier is left), not what
 *        `possible` says afterwards. So no call that had its barrier declares pressure because another was refused.
 *     9. Pressure may be ON over caches that could not be emptied (pressure.c, settle). Then each of them is pending
 *        with its gate closed, and `stuck` points to pool->shared, which stands for them. depot_exhausted may be wrong
 *        for so long: a get goes beyond the cap early, by what idles there. is_settled (pool.c) looks at the calling
 *        thread's own cache, and is right either way. When the system may be asked again, steal_has_rest says so, and
 *        the next slow call of any thread takes those caches. From then on "ON: no cache holds a buffer" is true,
 *        without a change of state.
 *    10. If the pressure ends before that, the caches stay pending. The next steal takes them and opens their gates, or
 *        is refused and opens them (give_up), or their owners do.
 *
 * The steps
 *
 * A steal visits the open caches (roster.h), STEP_CACHES at a time. In each step it closes their gates, has one barrier
 * for all of them, and takes what they hold. Between two steps, and after STEP_BUFFERS buffers within one, it lets the
 * lock go, so that calls that wait for the lock come first. So no call waits for more than a step of a steal.
 *
 *    11. A get that meets the cap needs few buffers. It takes the fullest cache of a step first, and ends as soon as
 *        some buffers moved (steal_some). The other caches of that step stay pending, and have had their barrier. The
 *        next get begins with these, and closes no further gate while one of them has buffers.
 *    12. If a cache was not used for a period, its gate stays closed after the cache was emptied. Its owner opens the
 *        gate in its next call, as it does after the end of pressure. So caches of threads that sleep leave the list of
 *        open caches, and cost a steal nothing. While a gate is closed, the cache lends the room that it may fill to
 *        others, if room is scarce (allowance.c).
 *    13. While pressure is ENTERING no gate opens, so every get goes on where the last one ended: each gate is closed
 *        once, however many gets there are. But between two steps the state may go OFF and come back, and then gates
 *        may be open that the steal has passed. That is why steal_is_over decides.
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
#include "roster.h"
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
    /* a closed gate has nothing behind it, but perhaps room to lend */
    c->unused = cache_is_open(c) || cache_idle(c) > 0 || allowance_is_wanted(pool, c);
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

/* ---- a walk over the open caches ---- */

/* A step visits this many caches, with one barrier ... */
#define STEP_CACHES 64u
/* ... and after this many buffers lets the lock go, once it has emptied the cache at which it stands. */
#define STEP_BUFFERS 256u

struct walk {
    bufferpool_t *pool;
    enum steal_kind kind;
    bool gives_up;                    /* it takes nothing, and opens gates (give_up) */
    uint32_t enough;                  /* so many buffers end it */
    struct cache *own;                /* the calling thread's cache */
    struct cache **from;              /* the step begins behind this link of the list */
    struct cache *until;              /* and went as far as this cache; NULL: the list was empty there */
    bool is_last;                     /* that is the last one */
    bool skipped;                     /* gates stayed open, since buffers seemed to be at hand */
    bool thorough;                    /* none does any more */
    struct cache *batch[STEP_CACHES]; /* those that are pending */
    unsigned n;
    struct cache *left; /* one that is pending still, one that waiting may help if there is any; NULL: there is none */
    uint32_t buffers;   /* moved so far */
};

/* Closes the gate of a cache from which there is something to take, and marks the cache as pending. */
static void close_gate(bufferpool_t *pool, struct cache *c, enum steal_kind kind, bool pressure)
{
    const enum pending pending = to_take(pool, c, kind, pressure);
    if (pending == PENDING_NOTHING)
        return;
    if (c->pending < pending)
        c->pending = (uint8_t)pending;
    if (cache_is_open(c)) {
        cache_close(c);
        c->fenced = false;
    }
}

/* Without pressure, opens the gate of a cache that the owner need not flush. A cache that was to be emptied, and has
 * had its barrier, stays pending. */
static void give_up(bufferpool_t *pool, struct cache *c)
{
    if (c->pending == PENDING_NOTHING || (c->pending == PENDING_ALL && c->fenced) ||
        load_relaxed(&pool->pressure.state) != PRESSURE_OFF)
        return;
    c->pending = PENDING_NOTHING;
    cache_open(pool, c);
}

/* Begins a step: visits the next caches, and closes their gates. */
static void visit(struct walk *walk)
{
    bufferpool_t *pool = walk->pool;
    const bool pressure = load_relaxed(&pool->pressure.state) != PRESSURE_OFF;
    struct cache *c = *walk->from;
    bool found = false; /* a get needs no further gate closed */
    walk->n = 0;
    walk->until = NULL;
    for (unsigned visits = 0; c != NULL && visits < STEP_CACHES; visits++, c = c->next_open) {
        c->unused &= c->pending != PENDING_NOTHING; /* it may be left from one that was given up, or flushed */
        if (walk->gives_up)
            give_up(pool, c);
        else if (!found)
            close_gate(pool, c, walk->kind, pressure);
        else
            walk->skipped = true;
        found |= walk->enough == 1 && !walk->thorough && c->pending != PENDING_NOTHING && c->fenced &&
                 cache_idle(c) > 0 && cache_owner_is_out(c);
        if (c->pending != PENDING_NOTHING && !walk->gives_up)
            walk->batch[walk->n++] = c;
        walk->until = c;
    }
    walk->is_last = c == NULL;
}

/* Has a barrier for the whole batch, if any cache but the caller's own has had none yet. */
static void fence(struct walk *walk)
{
    bool unfenced = false;
    for (unsigned i = 0; i < walk->n; i++)
        unfenced |= walk->batch[i] != walk->own && !walk->batch[i]->fenced;
    if (!unfenced || !steal_possible(walk->pool))
        return;
    if (!barrier_in_all_threads()) {
        note_refusal();
        return;
    }
    for (unsigned i = 0; i < walk->n; i++)
        walk->batch[i]->fenced = true;
}

/* Moves the fullest cache to the front of the batch: mostly that one is enough for a get. */
static void fullest_first(struct walk *walk)
{
    unsigned fullest = 0;
    for (unsigned i = 1; i < walk->n; i++)
        if (cache_idle(walk->batch[i]) > cache_idle(walk->batch[fullest]))
            fullest = i;
    struct cache *c = walk->batch[fullest];
    walk->batch[fullest] = walk->batch[0];
    walk->batch[0] = c;
}

/* Takes what a cache gives if it is still pending and its owner is out. If the cache was not used, its gate stays
 * closed: its thread is mostly asleep. Where a closed gate is not to open, a cache that only gave a part stays pending,
 * for the next steal to empty it. */
static void take(struct walk *walk, struct cache *c)
{
    bufferpool_t *pool = walk->pool;
    const struct cache *own = walk->own;
    if (c->pending == PENDING_NOTHING)
        return;
    if (c != own && (!c->fenced || !cache_owner_is_out(c))) {
        if (walk->left == NULL || c->fenced)
            walk->left = c;
        return;
    }
    const bool sleeps = c->pending == PENDING_ALL && c->unused;
    const uint32_t n = take_inside(pool, c);
    if (c != own && n > 0)
        add_relaxed(&pool->shared.counters[STOLEN], n);
    walk->buffers += n;
    c->pending = PENDING_NOTHING;
    if ((load_relaxed(&pool->pressure.state) == PRESSURE_OFF && !sleeps) ||
        load_relaxed(&c->tickets) != 0) /* tickets are left if the cache was not flushed */
        cache_open(pool, c);
    else if (cache_idle(c) > 0)
        c->pending = PENDING_ALL;
}

/* The same for the batch. The lock is let go now and then. */
static void take_batch(struct walk *walk)
{
    for (unsigned i = 0, moved = walk->buffers; i < walk->n && walk->buffers < walk->enough; i++) {
        if (walk->buffers - moved >= STEP_BUFFERS) {
            moved = walk->buffers;
            roster_breathe(walk->pool);
        }
        take(walk, walk->batch[i]);
    }
}

/* Whether no steal need visit the cache until its gate opens. If room is scarce, the cache lends its allowance first.
 */
static bool is_done(bufferpool_t *pool, struct cache *c)
{
    if (cache_is_open(c) || c->pending != PENDING_NOTHING || cache_idle(c) > 0)
        return false;
    if (!load_relaxed(&c->owned))
        return true;
    allowance_lend(pool, c);
    return !allowance_is_wanted(pool, c);
}

/* Ends a step: takes caches that no steal need visit out of the list. */
static void tidy(struct walk *walk)
{
    struct cache **from = walk->from;
    for (struct cache *c = walk->until != NULL ? *from : NULL; c != NULL; c = *from) {
        const bool last = c == walk->until;
        if (walk->pool->shared.roster.steals == 1 && is_done(walk->pool, c)) {
            *from = c->next_open;
            c->listed = false;
        } else {
            from = &c->next_open;
        }
        if (last)
            break;
    }
    walk->from = from;
}

/* What steal_has_rest looks at. Caches without a barrier are out of reach until the system may be asked again, and a
 * pool that does not ask never reaches them. */
static struct cache *rest_of(bufferpool_t *pool, struct cache *left)
{
    if (left == NULL || left->fenced)
        return left;
    return pool->no_membarrier ? NULL : &pool->shared;
}

/* Goes over the list in steps. Between two of them the lock is let go. Returns whether it came to the end. */
static bool go_over(struct walk *walk)
{
    bufferpool_t *pool = walk->pool;
    walk->from = &pool->shared.next_open;
    walk->left = NULL;
    for (;;) {
        visit(walk);
        if (walk->n > 0) {
            fence(walk);
            fullest_first(walk);
            take_batch(walk);
        }
        tidy(walk);
        const bool ended = walk->is_last && walk->buffers < walk->enough;
        if (!walk->gives_up && (walk->left != NULL || (ended && !pool->shared.roster.overlap)))
            /* or another steal may have left a cache that this one had passed. Release: with the acquire in
             * steal_has_rest, which finds the cache made */
            store_release(&pool->stuck, rest_of(pool, walk->left));
        if (ended || walk->buffers >= walk->enough)
            return ended;
        roster_breathe(pool);
    }
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

static void end_incomplete(struct walk *walk)
{
    bufferpool_t *pool = walk->pool;
    if (load_relaxed(&pool->pressure.state) != PRESSURE_OFF)
        return;
    walk->gives_up = true;
    walk->enough = UINT32_MAX;
    (void)go_over(walk);
    if (load_relaxed(&pool->stuck) == &pool->shared && !pool->shared.roster.overlap)
        store_relaxed(&pool->stuck, NULL);
}

static struct stolen walk_over(struct walk *walk, struct patience *patience)
{
    bufferpool_t *pool = walk->pool;
    bool patient = patience != NULL;
    struct roster *roster = &pool->shared.roster;
    roster->overlap |= roster->steals++ > 0;
    bool ended = go_over(walk);
    if (ended && walk->skipped) { /* what seemed to be at hand was not, since an owner came inside */
        walk->thorough = true;
        ended = go_over(walk);
    }
    while (ended && walk->left != NULL && patient && walk->left->fenced) {
        patient = wait_for_owner(pool, walk->left, patience);
        walk->kind = STEAL_REST;
        ended = go_over(walk);
    }
    const struct cache *left = walk->left;
    const struct stolen stolen = {walk->buffers, left == NULL, left != NULL && !left->fenced};
    if (!stolen.complete)
        end_incomplete(walk);
    roster->overlap &= --roster->steals > 0;
    return stolen;
}

static struct stolen steal_until(bufferpool_t *pool, enum steal_kind kind, struct patience *patience, uint32_t enough)
{
    PROBE1(pool, steal_begin, kind);
    struct walk walk;
    walk.pool = pool;
    walk.kind = kind;
    walk.gives_up = walk.skipped = walk.thorough = false;
    walk.enough = enough;
    walk.own = tls_cache_find(pool->index);
    walk.buffers = 0;
    const struct stolen stolen = walk_over(&walk, patience);
    PROBE2(pool, steal_end, stolen.buffers, (int)stolen.complete);
    return stolen;
}

struct stolen steal_caches(bufferpool_t *pool, enum steal_kind kind, struct patience *patience)
{
    return steal_until(pool, kind, patience, UINT32_MAX);
}

struct stolen steal_some(bufferpool_t *pool, struct patience *patience)
{
    return steal_until(pool, STEAL_ALL, patience, 1);
}

bool steal_is_over(const bufferpool_t *pool, bool refused)
{
    const bool on = load_relaxed(&pool->pressure.state) == PRESSURE_ON; /* then a gate opens with tickets alone */
    for (const struct cache *c = pool->shared.next_open; c != NULL; c = c->next_open)
        if ((cache_is_open(c) && !on) || (c->pending != PENDING_NOTHING && !(refused && !c->fenced)))
            return false;
    return true;
}

struct stolen steal(bufferpool_t *pool, enum steal_kind kind, bool patient)
{
    struct patience patience = {0};
    if (load_relaxed(&pool->caches) != NULL) /* otherwise there is nothing to ask the system for */
        steal_init(pool);
    roster_lock(pool);
    struct stolen stolen = steal_caches(pool, kind, patient ? &patience : NULL);
    roster_unlock(pool);
    return stolen;
}
