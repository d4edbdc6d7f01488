/* SPDX-License-Identifier: MIT
 *
 * cache.h - a thread's cache of one pool: an array of idle buffers used as a stack
 *
 *     entries  | coldest ...... warmest |  free  ...  |        get takes entries[n - 1], put stores entries[n]
 *              0                        n          limit       at the limit the colder half goes to the depot, or all
 *
 * The limit follows from the bytes that the cache may hold, less `most_extra` bytes of cap beyond buffer_capacity. A
 * get of a grown buffer leaves the limit as it is, and so does the put that brings such a buffer back. Therefore both
 * are fast. If the limit is reached, or if there would be more such bytes than `most_extra`, cache_push_anew computes
 * the limit anew.
 *
 * The biased lock
 *
 *     gate open      the cache belongs to its thread: its owner
 *     gate closed    the cache belongs to the thread that holds the pool's caches_lock, once the owner is out
 *
 * While the pool is under pressure, an open cache is one with tickets (pressure.c), and holds no more than that.
 *
 * The owner is inside while `busy` is set. It enters by a plain store, looks at the gate, works if that is open, and
 * leaves by a plain store; steal.c says how another thread can be sure that the owner is out, without a fence on the
 * owner's part. An owner that finds its gate closed works on pool->shared instead, and thereby with the depot. Gates
 * move under the lock.
 *
 * An open gate is the word that a held, plain buffer of this pool has, so that one comparison tells get and put that
 * they may take the fast path. In pools that wipe, and with debug modes (modes.h), every put has more to do: there an
 * open gate is a slow one. Slow and closed gates equal no buffer's word.
 *
 * The latch
 *
 * The level is one word, so that a fast call counts and moves with one store, and another thread reads all of it at
 * once:
 *
 *     level = count << 17 | side << 16 | n       count + base[side].gets = gets served here, modulo 2^64
 *
 * The count does not begin at 0, but so that it overflows after LOOK_USUALLY gets. The addition that a fast get makes
 * anyway shows that in the carry. Such a get takes the slow path, which looks at the clock and begins the count anew:
 * so time passes also for a pool whose threads make nothing but fast calls (reclaim_look).
 *
 * What the fast calls leave alone stands beside it, twice, as in Linux's seqcount latch: a slow call writes the base
 * that `side` does not name, and then the level that names it (cache_read).
 *
 * types.h has the invariants.
 */
#ifndef BUFFERPOOL_CACHE_H
#define BUFFERPOOL_CACHE_H

#include "debug/sanitizer.h"
#include "heap/desc.h"

/* The gate where there is no pool. */
#define GATE_NONE (~(uintptr_t)0)

/* A gate that is closed, or open for the slow path alone, is the word of a held, plain buffer with a pool index that no
 * pool has (registry.c). Its highest bit says which of the two it is. The other bits stay. So memory that is no
 * descriptor is as unlikely to have such a word as to have the word of a held buffer. */
#define GATE_MARK (POOL_INDEX_MASK << (STATE_BITS + TLS_INDEX_BITS))
#define GATE_SHUT (GATE_MARK | ~(UINTPTR_MAX >> 1))

static inline uintptr_t gate_closed(uintptr_t word)
{
    return word | GATE_SHUT;
}

static inline uintptr_t gate_slow(uintptr_t word)
{
    return (word & ~GATE_SHUT) | GATE_MARK;
}

static inline bool gate_is_closed(uintptr_t gate)
{
    return (gate & GATE_SHUT) == GATE_SHUT;
}

/* The most tickets of a cache. */
#define CACHE_TICKETS_MAX 8u

#define LEVEL_SIDE ((uint64_t)1 << 16)
#define LEVEL_GET  (LEVEL_SIDE << 1)
#define LEVEL_LAST ((uint64_t)0 - LEVEL_GET) /* with the last count */

/* One get in so many looks, if nothing speaks for another number (reclaim.c). It takes some 10 ns more than the others.
 * With that number what a burst left is gone within 64 gets. */
#define LOOK_USUALLY 48u
#define LOOK_NEVER   (LEVEL_LAST / LEVEL_GET)

static inline uint32_t level_n(uint64_t level)
{
    return (uint16_t)level;
}

/* The entries of a cache; the one before the first is its bottom. */
static inline struct desc **cache_entries(struct cache *c)
{
    return &c->bottom + 1;
}

/* The size of a cache with so many entries. */
static inline size_t cache_size(uint32_t entries)
{
    size_t line = CACHE_LINE;
    return (offsetof(struct cache, bottom) + ((size_t)entries + 1) * sizeof(struct desc *) + line - 1) / line * line;
}

/* Lies beneath the coldest buffer: a descriptor whose word matches no gate, so that get need not ask whether the cache
 * is empty. It is never handed out. */
extern struct desc cache_bottom;

static inline uint32_t cache_idle(const struct cache *c)
{
    return level_n(load_relaxed(&c->level));
}

/* The cache's figures, as they were at one moment. Any thread. */
struct cache_counts cache_read(const struct cache *c);

/* ThreadSanitizer does not know membarrier(2). For it the owner's half is a real barrier, which other builds may ask
 * for too. */
#ifndef BUFFERPOOL_REAL_FENCES
#define BUFFERPOOL_REAL_FENCES 0
#if defined(__SANITIZE_THREAD__)
#undef BUFFERPOOL_REAL_FENCES
#define BUFFERPOOL_REAL_FENCES 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#undef BUFFERPOOL_REAL_FENCES
#define BUFFERPOOL_REAL_FENCES 1
#endif
#endif
#endif

/* The owner goes inside. It reads the gate (gate_load) after that, before anything else of the cache. */
#if BUFFERPOOL_REAL_FENCES
#define gate_load(p) load_seq_cst(p) /* after cache_enter; with cache_close and cache_open */
static inline void cache_enter(struct cache *c)
{
    store_seq_cst(&c->busy, true); /* before gate_load; with cache_owner_is_out */
}
#else
#define gate_load(p) load_acquire(p) /* with the release in cache_open */
static inline void cache_enter(struct cache *c)
{
    store_relaxed(&c->busy, true);
    compiler_barrier(); /* with the full one in steal.c */
}
#endif

static inline void cache_leave(struct cache *c)
{
    store_release(&c->busy, false); /* with cache_owner_is_out */
}

/* Tells AddressSanitizer that a plain buffer of this cache's pool is held from now on, or no longer. */
#if SANITIZER_ASAN
void cache_tell_sanitizer(const struct cache *c, const struct desc *d, bool held);
#else
#define cache_tell_sanitizer(c, d, held) ((void)0)
#endif

/* Whether the next fast get fails because the count is at its end. For the owner. Behind a closed gate the count cannot
 * begin anew, and each get would look: there the answer is no. */
static inline bool cache_wants_look(const struct cache *c)
{
    return unlikely(load_relaxed(&c->level) >= LEVEL_LAST) && !gate_is_closed(load_relaxed(&c->gate));
}

/* The fast get. Returns the warmest buffer, now live, with len 0; or NULL if the slow path must serve the call. */
static inline __attribute__((always_inline)) struct desc *cache_pop_plain(struct cache *c)
{
    cache_enter(c);
    uintptr_t gate = gate_load(&c->gate);
    uint64_t level = load_relaxed(&c->level);
    struct desc *d = (&c->bottom)[level_n(level)];
    uintptr_t word = load_relaxed(&d->word) + (STATE_LIVE - STATE_IDLE);
    uint64_t next;
    /* the cache is empty, the buffer is a grown one, or the gate is closed; or it is time to look at the clock */
    if (unlikely(word != gate) || unlikely(__builtin_add_overflow(level, LEVEL_GET - 1, &next))) {
        cache_leave(c);
        return NULL;
    }
    store_relaxed(&c->level, next);
    cache_leave(c);
    cache_tell_sanitizer(c, d, true);
    store_relaxed(&d->word, word);
    d->pub.len = 0;
    return d;
}

/* The same for at most n gets at once, none of them counted. Returns how many of them it served. */
static inline size_t cache_pop_many(struct cache *c, bufferpool_buf_t **bufs, size_t n)
{
    cache_enter(c);
    const uintptr_t gate = gate_load(&c->gate);
    const uint64_t level = load_relaxed(&c->level);
    struct desc *const *top = &c->bottom + level_n(level);
    size_t count = 0;
    for (; count < n; count++) {
        struct desc *d = *(top - count); /* in the end the bottom */
        if (unlikely(load_relaxed(&d->word) + (STATE_LIVE - STATE_IDLE) != gate))
            break;
        bufs[count] = &d->pub;
    }
    if (count > 0) /* otherwise the gate may be closed */
        store_relaxed(&c->level, level - count);
    cache_leave(c);
    for (size_t i = 0; i < count; i++) {
        struct desc *d = desc_of(bufs[i]);
        cache_tell_sanitizer(c, d, true);
        store_relaxed(&d->word, gate);
        d->pub.len = 0;
    }
    return count;
}

/* The fast get of a grown buffer. */
static inline struct desc *cache_pop_grown(struct cache *c)
{
    cache_enter(c);
    const uintptr_t gate = gate_load(&c->gate);
    uint64_t level = load_relaxed(&c->level);
    struct desc *d = (&c->bottom)[level_n(level)];
    /* as in cache_pop_plain; or somebody wrote to cap, which `extra` is to go without */
    if (even(load_relaxed(&d->word) != gate + (STATE_IDLE_GROWN - STATE_LIVE) || !desc_is_sealed(d) ||
             __builtin_add_overflow(level, LEVEL_GET - 1, &level))) {
        cache_leave(c);
        return NULL;
    }
    store_relaxed(&c->extra, load_relaxed(&c->extra) + c->capacity - d->pub.cap);
    store_relaxed(&c->level, level);
    cache_leave(c);
    store_relaxed(&d->word, load_relaxed(&d->word) + (STATE_LIVE - STATE_IDLE));
    d->pub.len = 0;
    d->asked = 0;
    return d;
}

/* The fast put. Returns false if the slow path must serve the call; then nothing changed. */
static inline bool cache_push_plain(struct cache *c, struct desc *d, uintptr_t word)
{
    cache_enter(c);
    uintptr_t gate = gate_load(&c->gate);
    uint64_t level = load_relaxed(&c->level);
    size_t n = level_n(level);
    if (unlikely(word != gate || n >= c->limit)) {
        cache_leave(c);
        return false;
    }
    cache_tell_sanitizer(c, d, false);
    cache_entries(c)[n] = d;
    store_relaxed(&d->word, word - (STATE_LIVE - STATE_IDLE));
    store_relaxed(&c->level, level + 1);
    cache_leave(c);
    return true;
}

/* The same for bufs[0 .. n). Returns how many of them, from the first on, it put. */
static inline size_t cache_push_many(struct cache *c, bufferpool_buf_t *const *bufs, size_t n)
{
    cache_enter(c);
    const uintptr_t gate = gate_load(&c->gate);
    const uint64_t level = load_relaxed(&c->level);
    struct desc **to = cache_entries(c) + level_n(level);
    size_t count = 0;
    for (; count < n && bufs[count] != NULL && desc_aligned(bufs[count]); count++) {
        struct desc *d = desc_of(bufs[count]);
        /* the limit last: behind a closed gate it is another thread's */
        if (unlikely(load_relaxed(&d->word) != gate || level_n(level) + count >= c->limit))
            break;
        cache_tell_sanitizer(c, d, false);
        to[count] = d;
        store_relaxed(&d->word, gate - (STATE_LIVE - STATE_IDLE));
    }
    if (count > 0) /* as above */
        store_relaxed(&c->level, level + count);
    cache_leave(c);
    return count;
}

/* Whether a held, grown buffer may go into a cache as it is: it was well used, so it gets no strike (reclaim.c), it is
 * not too large, and nobody wrote to data or cap. If so, its strikes are cleared. The barriers are for compilers, which
 * would otherwise keep values in registers that only the rare ways read again. */
static inline bool cache_may_have(const struct cache *c, struct desc *d)
{
    if (unlikely(d->asked != DESC_WELL_USED)) {
        compiler_barrier();
        /* without a pool the gate is closed, and the word, which fits by chance, no buffer's */
        if (c->pool == NULL || d->pub.cap > c->pool->max_capacity ||
            !desc_is_good_use(d, desc_last_use(d), c->capacity))
            return false;
    }
    if (unlikely(desc_flags(d) != 0)) {
        compiler_barrier();
        if (!desc_is_sealed(d))
            return false;
        desc_set_strikes(d, 0);
    }
    return true;
}

/* The fast put of a grown buffer. Returns false, and changes nothing but the buffer's strikes, if the buffer does not
 * fit below the limit, or if anything else has to be done. */
static inline bool cache_push_grown(struct cache *c, struct desc *d, uintptr_t word)
{
    cache_enter(c);
    const uintptr_t gate = gate_load(&c->gate);
    if (even(word != gate + (STATE_LIVE_GROWN - STATE_LIVE) || !cache_may_have(c, d))) {
        cache_leave(c);
        return false;
    }
    const size_t extra = load_relaxed(&c->extra) + d->pub.cap - c->capacity;
    const uint64_t level = load_relaxed(&c->level);
    const size_t n = level_n(level);
    if (even(extra > c->most_extra || n >= c->limit)) {
        cache_leave(c);
        return false;
    }
    cache_entries(c)[n] = d;
    store_relaxed(&d->word, word - (STATE_LIVE - STATE_IDLE));
    store_relaxed(&c->level, level + 1);
    store_relaxed(&c->extra, extra);
    cache_leave(c);
    return true;
}

static inline unsigned level_side(uint64_t level)
{
    return (level & LEVEL_SIDE) != 0;
}

/* moved and n change in one store, so that a reader that sums up (moved - n) never sees half of the change. */
static inline void level_begin(struct cache *c, uint32_t moved, uint32_t n, uint64_t count)
{
    const uint64_t level = load_relaxed(&c->level);
    const unsigned side = level_side(level);
    /* releases: a thread that reads one of the two new values then reads a level that is no older than `level` */
    store_release(&c->base[!side].gets, load_relaxed(&c->base[side].gets) + level / LEVEL_GET - count);
    store_release(&c->base[!side].moved, moved);
    /* with the acquires in cache_read */
    store_release(&c->level, count * LEVEL_GET | (side ? 0 : LEVEL_SIDE) | n);
}

/* The count at which so many fast gets are left. */
static inline uint64_t count_before(uint64_t gets)
{
    return LOOK_NEVER - gets;
}

static inline uint32_t cache_moved_of(const struct cache *c)
{
    return load_relaxed(&c->base[level_side(load_relaxed(&c->level))].moved);
}

/* What a thread needs of its cache shows in how many buffers idle there before its gets, at the looks at the clock. */
static inline void cache_begin_notes(struct cache *c)
{
    store_relaxed(&c->least, CACHE_LEAST_UNKNOWN);
    store_relaxed(&c->most, 0);
}

static inline void cache_note(struct cache *c, uint32_t n)
{
    if (n < load_relaxed(&c->least))
        store_relaxed(&c->least, (uint16_t)n);
    if (n > load_relaxed(&c->most))
        store_relaxed(&c->most, (uint16_t)n);
}

/* Begins the count of gets anew: the one after so many, which are at least one and at most LOOK_NEVER, looks. If the
 * gate is closed it does nothing. */
static inline void cache_count_anew(struct cache *c, uint64_t gets)
{
    cache_enter(c);
    if (!gate_is_closed(gate_load(&c->gate)))
        level_begin(c, cache_moved_of(c), cache_idle(c), count_before(gets));
    cache_leave(c);
}

/* ---- the slow path: for the owner, which is not inside; c may be pool->shared ---- */

/* Counts for statistics. */
static inline void cache_count(struct cache *c, enum counter counter, uint64_t n)
{
    if (unlikely(c->shared))
        add_relaxed(&c->counters[counter], n);
    else
        bump_relaxed(&c->counters[counter], n);
}

/* Around what a slow call does with the pool while a close may come: the close waits for it (close.c). In between the
 * call looks at pool->life, before it gives anything back. */
static inline void cache_begin_call(struct cache *c)
{
    if (unlikely(c->shared))
        (void)add_seq_cst(&c->calls, 1); /* as below */
    else
        store_seq_cst(&c->calls, load_relaxed(&c->calls) + 1); /* before life is read; with close_pool (close.c) */
}

static inline void cache_end_call(struct cache *c)
{
    if (unlikely(c->shared))
        (void)sub_seq_cst(&c->calls, 1); /* as below */
    else
        store_release(&c->calls, load_relaxed(&c->calls) - 1); /* with the acquire in await_calls (close.c) */
}

static inline bool cache_pool_is_closed(const bufferpool_t *pool)
{
    return unlikely(load_seq_cst(&pool->life) == POOL_CLOSED); /* after cache_begin_call */
}

/* Whether the thread's cache is open although the pool is under pressure. Then callers may have all, although it has
 * buffers. */
static inline bool cache_has_tickets(const struct cache *c)
{
    return unlikely(load_relaxed(&c->tickets) != 0);
}

/* Adds n, which may be negative, to the buffers that came to the cache's thread. */
void cache_moved(bufferpool_t *pool, struct cache *c, int32_t n);

/* A put that reaches the limit, or for which the limit does not hold: computes the limit anew, and puts the buffer,
 * plain or grown, if it fits then. Returns false, and puts nothing, if it does not fit, or if anything else has to be
 * done. */
bool cache_push_anew(struct cache *c, struct desc *d, uintptr_t word);

/* Takes the warmest idle buffer, plain or grown, for life_hand_out. Returns NULL if the cache is empty. */
struct desc *cache_take(bufferpool_t *pool, struct cache *c);

/* Takes a magazine from the depot; the cache keeps what fits, if it is empty, and open without tickets. Returns the
 * magazine's first buffer, for life_hand_out, or NULL if the depot is empty. */
struct desc *cache_refill(bufferpool_t *pool, struct cache *c);

/* Moves the colder half of a full cache to the depot, so that a thread at the edge does not thrash. The second time in
 * a row the thread is not at the edge, and all buffers move. Returns false if the cache is not full, or not open, or if
 * there is a limit on idle bytes. */
bool cache_overflow(bufferpool_t *pool, struct cache *c);

/* Takes the colder half, at most CACHE_TICKETS_MAX buffers, out of a full cache that is open by tickets. Fills bufs;
 * they are idle, with tickets of their own, and the caller frees them, and ends both with depot_discard. Returns how
 * many; 0 if the cache is another one, or if some are grown, or if there is a limit on idle bytes. */
uint32_t cache_shed(bufferpool_t *pool, struct cache *c, struct desc **bufs);

/* Whether the gate is open and one more buffer of that cap fits. */
bool cache_has_room(bufferpool_t *pool, struct cache *c, size_t cap);

/* Puts a buffer that is in an idle state already into the cache, or otherwise into the depot. Returns false, and does
 * nothing, if that would exceed max_idle_bytes. */
bool cache_keep(bufferpool_t *pool, struct cache *c, struct desc *d);

/* n buffers, of so many bytes in all, have left the depot and are idle no longer. */
void cache_left_depot(bufferpool_t *pool, uint32_t n, size_t bytes);

/* ---- for the thread that holds the pool's caches_lock ---- */

void cache_open(bufferpool_t *pool, struct cache *c);
void cache_close(struct cache *c);

/* Without the lock a hint. */
static inline bool cache_is_open(const struct cache *c)
{
    return !gate_is_closed(load_relaxed(&c->gate));
}

static inline bool cache_owner_is_out(const struct cache *c)
{
#if BUFFERPOOL_REAL_FENCES
    return !load_seq_cst(&c->busy); /* after cache_close; with cache_enter and cache_leave */
#else
    return !load_acquire(&c->busy); /* with the release in cache_leave */
#endif
}

/* From inside: moves everything to the depot, and ends the cache's tickets. Returns how many buffers. */
uint32_t cache_flush_inside(bufferpool_t *pool, struct cache *c);

/* From inside: moves the warmest buffers to the depot, so many that the rest has at most `bytes` bytes. Returns how
 * many. */
uint32_t cache_cut_inside(bufferpool_t *pool, struct cache *c, size_t bytes);

/* From inside: gives back what the cache has reserved of max_idle_bytes and does not use. */
void cache_give_reserved_back(bufferpool_t *pool, struct cache *c);

/* Sets how many buffers the cache may hold while the pool is under pressure. The cache is empty behind a closed gate,
 * or the calling thread is its owner. */
void cache_set_tickets(const bufferpool_t *pool, struct cache *c, uint32_t tickets);

/* Sets how many bytes the cache may hold, which are at least what it holds. It is behind a closed gate, or the calling
 * thread is its owner. */
void cache_set_allowance(const bufferpool_t *pool, struct cache *c, size_t bytes);

/* Whether no buffer went in or out since this was last asked. */
bool cache_unused(struct cache *c);

/* In the child after fork, and for a new cache: sets moved and n. */
void cache_reset(struct cache *c, uint32_t moved, uint32_t n);

/* Sets all figures of the cache, which is empty, to 0. */
void cache_clear(struct cache *c);

#endif
