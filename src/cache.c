/* SPDX-License-Identifier: MIT
 *
 * cache.c - one thread's cache: take, keep, refill, flush; and the gate
 *
 * The owner calls these; on pool->shared, which holds nothing, any thread may.
 *
 * Each function is inside while it works on the cache, and calls nothing there that may wait: no lock, no hook, no
 * system call. An owner that finds its gate closed does not wait for it to open. It does the same with pool->shared,
 * and thereby with the depot.
 *
 * Why plain loads and stores suffice: only the thread that is inside writes entries, level, base, extra, limit and
 * reserved; counters and moved_past are their owner's to write, inside or not. What other threads read of these (level,
 * base, extra, moved_past, counters) is atomic, and wrong by at most the call under way. So all that is relaxed here
 * needs no order of its own: the gate and `busy` order it, or the depot does (a buffer's word travels with the buffer),
 * or it is a number that a read-modify-write keeps whole (idle_reserved, depot.extra, the shared counters), or a hint.
 */
#include "cache.h"

#include "depot.h"
#include "heap/block.h"
#include "life.h"
#include "probes.h"
#include "shards.h"

#include <string.h>

struct desc cache_bottom; /* its word is 0 */

#if SANITIZER_ASAN
void cache_tell_sanitizer(const struct cache *c, const struct desc *d, bool held)
{
    if (held)
        block_show(&c->pool->heap, d, false);
    else
        block_hide(&c->pool->heap, d);
}
#endif

/* ---- inside ---- */

/* Returns the cache that the calling thread is inside of now: c, or the shared one. */
static struct cache *enter(bufferpool_t *pool, struct cache *c)
{
    if (c->shared)
        return c;
    cache_enter(c);
    if (likely(!gate_is_closed(gate_load(&c->gate))))
        return c;
    cache_leave(c);
    return &pool->shared;
}

static void leave(struct cache *c)
{
    if (!c->shared)
        cache_leave(c);
}

/* ---- counts ---- */

/* The count goes on. But if it has longer to go than usually, because nothing lay in the depot, it has so long no more:
 * this may be the burst that leaves something there. */
static inline void level_set(struct cache *c, uint32_t moved, uint32_t n)
{
    const uint64_t count = load_relaxed(&c->level) / LEVEL_GET, usual = count_before(LOOK_USUALLY);
    level_begin(c, moved, n, count > usual ? count : usual);
}

static inline void level_add(struct cache *c, int32_t moved, int32_t n)
{
    if (c->shared)
        add_relaxed(&c->base[0].moved, (uint32_t)moved);
    else if (moved == 0)
        store_relaxed(&c->level, load_relaxed(&c->level) + (uint64_t)(int64_t)n);
    else
        level_set(c, cache_moved_of(c) + (uint32_t)moved, cache_idle(c) + (uint32_t)n);
}

/* The same for the owner of c, which is inside of `in`: c or the shared cache. All threads write to the shared cache's
 * line, so the owner counts in its own. */
static inline void level_move(struct cache *c, struct cache *in, int32_t moved, int32_t n)
{
    if (in != c)
        bump_relaxed(&c->moved_past, (uint32_t)moved);
    else
        level_add(c, moved, n);
}

void cache_reset(struct cache *c, uint32_t moved, uint32_t n)
{
    store_relaxed(&c->moved_past, 0);
    if (c->shared)
        store_relaxed(&c->base[0].moved, moved);
    else
        level_begin(c, moved, n, count_before(LOOK_USUALLY));
}

void cache_clear(struct cache *c)
{
    const uint64_t count = count_before(LOOK_USUALLY);
    store_release(&c->moved_past, 0); /* releases, as in level_begin: with those who add up (roster.h) */
    store_release(&c->base[0].gets, 0 - count);
    store_release(&c->base[0].moved, 0);
    store_release(&c->level, count * LEVEL_GET);
}

/* The level may be one that a fast call stored relaxed. It names the same side as the store in level_begin before it.
 * If the owner made both, the later store continues the release sequence of the earlier one (C11, 5.1.2.4; not so in
 * C++20). If a stealing thread called level_begin, the gate orders the two: processors then show a reader of the later
 * store the base too, though C11 does not promise it. */
struct cache_counts cache_read(const struct cache *c)
{
    for (;;) {
        const uint64_t before = load_acquire(&c->level); /* with the release in level_begin */
        const struct cache_base *base = &c->base[level_side(before)];
        const uint64_t gets = load_acquire(&base->gets);   /* acquires: these two come before */
        const uint32_t moved = load_acquire(&base->moved); /* the second reading */
        const uint64_t level = load_acquire(&c->level);    /* with the release there: what follows is no older */
        /* after two changes the side is the same again; then the base was written anew, and mostly differs */
        if (level_side(level) == level_side(before) && load_relaxed(&base->gets) == gets &&
            load_relaxed(&base->moved) == moved)
            return (struct cache_counts){gets + level / LEVEL_GET, moved + load_acquire(&c->moved_past),
                                         level_n(level)};
    }
}

void cache_moved(bufferpool_t *pool, struct cache *c, int32_t n)
{
    struct cache *in = enter(pool, c);
    level_move(c, in, n, 0);
    leave(in);
}

static size_t beyond_base(const bufferpool_t *pool, const struct desc *d)
{
    return d->pub.cap - pool->heap.base;
}

static size_t held_bytes(const bufferpool_t *pool, const struct cache *c)
{
    return cache_idle(c) * pool->heap.base + load_relaxed(&c->extra);
}

/* Whether neither max_idle_bytes nor grown buffers matter. Then buffers come and go by number alone, and limit is the
 * number of entries. */
static bool is_plain(const bufferpool_t *pool, const struct cache *c)
{
    return pool->max_idle_bytes == 0 && load_relaxed(&c->extra) == 0;
}

/* How many buffers the cache may hold, whatever their size. */
static uint32_t entries_allowed(const bufferpool_t *pool, const struct cache *c)
{
    const uint32_t tickets = load_relaxed(&c->tickets);
    return tickets != 0 && tickets < pool->cache_entries ? tickets : pool->cache_entries;
}

/* How many buffers the cache may hold with so many bytes beyond buffer_capacity. */
static size_t limit_with(const bufferpool_t *pool, const struct cache *c, size_t extra)
{
    size_t bytes = load_relaxed(&c->allowance);
    if (pool->max_idle_bytes != 0 && c->reserved < bytes)
        bytes = c->reserved;
    const size_t limit = bytes > extra ? (bytes - extra) / pool->heap.base : 0;
    const uint32_t most = entries_allowed(pool, c);
    return limit < most ? limit : most;
}

/* How many buffers the cache may hold if the next ones are plain. */
static void limit_update(const bufferpool_t *pool, struct cache *c)
{
    const size_t extra = load_relaxed(&c->extra);
    c->most_extra = extra;
    c->limit = limit_with(pool, c, extra);
}

/* ---- max_idle_bytes ---- */

static bool reserve_idle(bufferpool_t *pool, size_t bytes)
{
    size_t reserved = load_relaxed(&pool->idle_reserved);
    do {
        /* more than the limit is reserved in a child of fork, where buffers idle that were on their way */
        if (reserved > pool->max_idle_bytes || bytes > pool->max_idle_bytes - reserved)
            return false;
    } while (!cas_relaxed(&pool->idle_reserved, &reserved, reserved + bytes));
    return true;
}

static void unreserve_idle(bufferpool_t *pool, size_t bytes)
{
    if (pool->max_idle_bytes != 0)
        sub_relaxed(&pool->idle_reserved, bytes);
}

/* Reserves room for `cap` more bytes in the cache. Bytes that the shared cache reserves count as the depot's at once.
 * Returns false if there is no room. */
static bool reserved_add(bufferpool_t *pool, struct cache *c, size_t cap)
{
    if (pool->max_idle_bytes == 0)
        return true;
    size_t unused = c->reserved - held_bytes(pool, c); /* 0 - 0 for the shared one */
    size_t missing = cap > unused ? cap - unused : 0;
    if (!reserve_idle(pool, missing))
        return false;
    if (!c->shared)
        c->reserved += missing;
    return true;
}

/* Moves reserved bytes from the cache to the depot with the bytes that go there. */
static void reserved_to_depot(const bufferpool_t *pool, struct cache *c, size_t bytes)
{
    if (pool->max_idle_bytes != 0 && !c->shared)
        c->reserved -= bytes;
}

/* Moves reserved bytes from the depot to the cache, and gives the part that the cache does not need back to the pool.
 */
static void reserved_from_depot(bufferpool_t *pool, struct cache *c, size_t bytes)
{
    if (pool->max_idle_bytes == 0)
        return;
    size_t reserved = c->reserved + bytes;
    size_t keep = load_relaxed(&c->allowance);
    if (load_relaxed(&pool->idle_tight)) /* otherwise a put would have to collect the room from here */
        keep = held_bytes(pool, c);
    if (reserved > keep) {
        unreserve_idle(pool, reserved - keep);
        reserved = keep;
    }
    c->reserved = reserved;
}

/* Takes n buffers, of `bytes` bytes in all, off the depot's account of bytes beyond buffer_capacity. */
static void leave_account(bufferpool_t *pool, uint32_t n, size_t bytes)
{
    size_t extra = bytes - n * pool->heap.base;
    if (extra != 0)
        sub_relaxed(&pool->depot.extra, extra);
}

void cache_left_depot(bufferpool_t *pool, uint32_t n, size_t bytes)
{
    leave_account(pool, n, bytes);
    unreserve_idle(pool, bytes);
}

void cache_give_reserved_back(bufferpool_t *pool, struct cache *c)
{
    size_t held = held_bytes(pool, c);
    if (pool->max_idle_bytes == 0 || c->reserved <= held)
        return;
    unreserve_idle(pool, c->reserved - held);
    c->reserved = held;
    limit_update(pool, c);
}

/* ---- to and from the depot ---- */

/* Pushes the buffers, of which `extra` bytes are beyond buffer_capacity, in magazines, the last on top. Under pressure
 * each goes by itself, so that a get that takes one leaves the others where the next get finds them. `own`: the calling
 * thread is inside this cache, which is its own, with an open gate and no tickets; NULL: it is not. */
static void push(bufferpool_t *pool, struct cache *own, struct desc *const *bufs, uint32_t count, size_t extra)
{
    if (extra != 0)
        add_relaxed(&pool->depot.extra, extra);
    struct depot *to = own != NULL ? shards_own(&pool->depot, own) : &pool->depot;
    const uint32_t most = load_relaxed(&pool->pressure.state) == PRESSURE_OFF ? MAGAZINE_MAX : 1;
    while (count > 0) {
        const uint32_t n = count < most ? count : most;
        depot_push(to, &pool->heap.table, bufs, n, extra != 0);
        bufs += n;
        count -= n;
    }
}

/* An exchange looks at one in so many of the plain buffers that it moves, each time at the next. To look at all would
 * make a pair of get and put 6 % dearer where every eighth call is an exchange. */
#define LOOKED_AT 8u

/* From inside: moves `count` buffers to the depot, from that entry on: the colder half, or all that are warmer. `own`:
 * as above. */
static void flush_some(bufferpool_t *pool, struct cache *c, struct cache *own, uint32_t from, uint32_t count)
{
    struct desc **entries = cache_entries(c) + from;
    const uint32_t n = cache_idle(c);
    PROBE2(pool, flush, count, n);
    const bool plain = is_plain(pool, c);
    size_t extra = 0;
    if (plain) {
        const uint32_t exchanges = load_relaxed(&c->exchanges);
        store_relaxed(&c->exchanges, (uint8_t)(exchanges + 1));
        for (uint32_t i = exchanges % LOOKED_AT; i < count; i += LOOKED_AT)
            life_check(pool, entries[i]);
    } else {
        for (uint32_t i = 0; i < count; i++) {
            life_check(pool, entries[i]);
            extra += beyond_base(pool, entries[i]);
        }
        reserved_to_depot(pool, c, count * pool->heap.base + extra);
        store_relaxed(&c->extra, load_relaxed(&c->extra) - extra);
    }
    level_add(c, -(int32_t)count, -(int32_t)count);
    push(pool, own, entries, count, extra);
    if (from + count < n) /* the rest has no more entries than were flushed, so the two do not overlap */
        memcpy(entries, entries + count, (n - count) * sizeof(struct desc *));
    if (!plain)
        limit_update(pool, c);
}

/* The cache is empty: what it held by them is in the depot. */
static void end_tickets(bufferpool_t *pool, struct cache *c)
{
    const uint8_t tickets = load_relaxed(&c->tickets);
    if (tickets == 0)
        return;
    store_relaxed(&c->tickets, 0);
    store_relaxed(&pool->pressure.granted, load_relaxed(&pool->pressure.granted) - tickets);
    store_relaxed(&pool->pressure.holders, load_relaxed(&pool->pressure.holders) - 1);
    depot_end_tickets(&pool->depot, tickets);
}

uint32_t cache_flush_inside(bufferpool_t *pool, struct cache *c)
{
    uint32_t n = cache_idle(c);
    for (uint32_t i = 0; i < n; i++) /* this is no exchange, so it can afford to look at all */
        life_check(pool, cache_entries(c)[i]);
    if (n > 0)
        flush_some(pool, c, NULL, 0, n);
    cache_give_reserved_back(pool, c);
    end_tickets(pool, c);
    limit_update(pool, c);
    return n;
}

uint32_t cache_cut_inside(bufferpool_t *pool, struct cache *c, size_t bytes)
{
    size_t held = held_bytes(pool, c);
    uint32_t n = cache_idle(c), count = 0;
    for (; held > bytes && count < n; count++) {
        const struct desc *d = cache_entries(c)[n - 1 - count];
        life_check(pool, d);
        held -= d->pub.cap;
    }
    if (count > 0) /* the warmest, so that no entry moves that the owner may just read behind its closed gate */
        flush_some(pool, c, NULL, n - count, count);
    cache_give_reserved_back(pool, c);
    return count;
}

/* Whether one more buffer of that cap fits. */
static bool has_room(const bufferpool_t *pool, const struct cache *c, size_t cap)
{
    return cache_idle(c) < entries_allowed(pool, c) && held_bytes(pool, c) + cap <= load_relaxed(&c->allowance);
}

static void store_warmest(const bufferpool_t *pool, struct cache *c, struct desc *d)
{
    cache_entries(c)[cache_idle(c)] = d;
    store_relaxed(&c->extra, load_relaxed(&c->extra) + beyond_base(pool, d));
    level_add(c, 0, 1);
    limit_update(pool, c);
}

/* From inside: takes out the buffer that goes out next. With chaos that is any buffer, and the last one moves into its
 * entry. */
static struct desc *warmest(struct cache *c, uint32_t n)
{
    struct desc **entries = cache_entries(c);
    const uint32_t at = modes_have(MODE_CHAOS) ? modes_random(n) : n - 1;
    struct desc *d = entries[at];
    entries[at] = entries[n - 1];
    return d;
}

bool cache_push_anew(struct cache *c, struct desc *d, uintptr_t word)
{
    bool room = false;
    cache_enter(c);
    const uintptr_t gate = gate_load(&c->gate);
    const bool plain = word == gate;
    size_t extra = load_relaxed(&c->extra);
    if (!gate_is_closed(gate) &&
        (plain ? extra != c->most_extra : word == gate + (STATE_LIVE_GROWN - STATE_LIVE) && cache_may_have(c, d))) {
        extra += plain ? 0 : beyond_base(c->pool, d);
        const uint32_t n = cache_idle(c);
        const size_t limit = limit_with(c->pool, c, extra);
        room = n < limit;
        if (room) {
            c->most_extra = extra;
            c->limit = limit;
            cache_entries(c)[n] = d;
            store_relaxed(&d->word, word - (STATE_LIVE - STATE_IDLE));
            level_add(c, 0, 1);
            store_relaxed(&c->extra, extra);
        }
    }
    cache_leave(c);
    return room;
}

struct desc *cache_take(bufferpool_t *pool, struct cache *c)
{
    struct desc *d = NULL;
    struct cache *in = enter(pool, c);
    uint32_t n = cache_idle(in);
    if (n > 0 && !in->shared) {
        d = warmest(in, n);
        level_add(in, 0, -1);
        store_relaxed(&in->extra, load_relaxed(&in->extra) - beyond_base(pool, d));
        limit_update(pool, in);
    }
    leave(in);
    return d;
}

/* From inside: how many of the n buffers, the last ones, fit into the empty cache; *bytes is the sum of their caps. */
static uint32_t fitting(const bufferpool_t *pool, const struct cache *c, struct desc *const *bufs, uint32_t n,
                        bool grown, size_t *bytes)
{
    uint32_t fit = 0;
    *bytes = 0;
    for (; fit < n && fit < pool->cache_entries; fit++) {
        const size_t cap = grown ? bufs[n - 1 - fit]->pub.cap : pool->heap.base;
        if (*bytes + cap > load_relaxed(&c->allowance))
            break;
        *bytes += cap;
    }
    return fit;
}

/* Takes one buffer out of the depot, and puts the rest of its magazine back. `in` is what the owner of c is inside of.
 * */
static struct desc *take_one(bufferpool_t *pool, struct cache *c, struct cache *in)
{
    const struct magazine magazine = shards_pop_some(&pool->depot, &pool->heap.table, 1);
    if (magazine.head == NULL)
        return NULL;
    PROBE1(pool, refill, magazine.n);
    level_move(c, in, 1, 0);
    cache_left_depot(pool, 1, magazine.head->pub.cap);
    if (magazine.n > 1) {
        struct desc *bufs[MAGAZINE_MAX];
        magazine_open(&magazine, &pool->heap.table, bufs);
        depot_restore(&pool->depot, &pool->heap.table, bufs, magazine.n - 1, magazine.grown);
    }
    return magazine.head;
}

/* From inside the empty cache, whose gate is open without tickets: a magazine that does not simply fit. The head is for
 * the caller, and as many of the others as fit are for the cache. */
static void keep_fitting(bufferpool_t *pool, struct cache *c, const struct magazine *magazine)
{
    struct desc *bufs[MAGAZINE_MAX];
    magazine_open(magazine, &pool->heap.table, bufs);
    const uint32_t others = magazine->n - 1;
    size_t bytes;
    const uint32_t fit = fitting(pool, c, bufs, others, magazine->grown, &bytes);
    memcpy(cache_entries(c), bufs + others - fit, fit * sizeof(struct desc *));
    store_relaxed(&c->extra, bytes - fit * pool->heap.base);
    bytes += magazine->grown ? magazine->head->pub.cap : pool->heap.base;
    leave_account(pool, fit + 1, bytes);
    level_add(c, (int32_t)fit + 1, (int32_t)fit);
    reserved_from_depot(pool, c, bytes);
    limit_update(pool, c);
    if (fit <
        others) /* their bytes never left the depot's account; nobody else is sure of the pressure meanwhile (8) */
        depot_push(shards_own(&pool->depot, c), &pool->heap.table, bufs, others - fit, magazine->grown);
}

struct desc *cache_refill(bufferpool_t *pool, struct cache *c)
{
    /* inside before the pop: otherwise a thread that steals from this cache would miss the buffers that are in transit
     * here */
    struct cache *in = enter(pool, c);
    struct desc *d;
    if (in->shared || load_relaxed(&in->tickets) != 0 || cache_idle(in) > 0) {
        d = take_one(pool, c, in);
    } else {
        const struct magazine magazine = shards_pop(&pool->depot, &pool->heap.table, in);
        d = magazine.head;
        if (d != NULL) {
            PROBE1(pool, refill, magazine.n);
            if (is_plain(pool, in) && !magazine.grown && magazine.n <= pool->cache_entries &&
                magazine.n <= in->limit + 1) {
                magazine_open(&magazine, &pool->heap.table, cache_entries(in));
                /* the calls that refill look at the clock afterwards */
                level_begin(in, cache_moved_of(in) + magazine.n, magazine.n - 1, count_before(LOOK_USUALLY));
            } else {
                keep_fitting(pool, in, &magazine);
            }
            if (!in->overflowed)
                store_relaxed(&in->streak, (uint8_t)(load_relaxed(&in->streak) + 1));
            in->overflowed = false;
            store_relaxed(&in->exchanges, (uint8_t)(load_relaxed(&in->exchanges) + SHARDS_REFILL));
        }
    }
    leave(in);
    return d;
}

bool cache_overflow(bufferpool_t *pool, struct cache *c)
{
    if (pool->max_idle_bytes != 0) /* the limit may follow from what is reserved, which cache_keep can raise */
        return false;
    struct cache *in = enter(pool, c);
    const uint32_t n = cache_idle(in);
    const bool full = !in->shared && load_relaxed(&in->tickets) == 0 && n > 0 && n >= in->limit;
    if (full) {
        flush_some(pool, in, in, 0, in->overflowed ? n : (n + 1) / 2);
        if (in->overflowed)
            store_relaxed(&in->streak, (uint8_t)(load_relaxed(&in->streak) + 1));
        in->overflowed = true;
    }
    leave(in);
    return full;
}

uint32_t cache_shed(bufferpool_t *pool, struct cache *c, struct desc **bufs)
{
    struct cache *in = enter(pool, c);
    const uint32_t n = cache_idle(in);
    uint32_t count = 0;
    if (!in->shared && load_relaxed(&in->tickets) != 0 && n > 0 && n >= in->limit && is_plain(pool, in)) {
        struct desc **entries = cache_entries(in);
        count = (n + 1) / 2;
        depot_cover(&pool->depot, count); /* a steal after this call left would end the cache's own */
        memcpy(bufs, entries, count * sizeof(struct desc *));
        memcpy(entries, entries + count, (n - count) * sizeof(struct desc *));
        level_add(in, -(int32_t)count, -(int32_t)count);
    }
    leave(in);
    return count;
}

bool cache_has_room(bufferpool_t *pool, struct cache *c, size_t cap)
{
    struct cache *in = enter(pool, c);
    const bool room = !in->shared && has_room(pool, in, cap);
    leave(in);
    return room;
}

bool cache_keep(bufferpool_t *pool, struct cache *c, struct desc *d)
{
    size_t cap = d->pub.cap;
    struct cache *in = enter(pool, c);
    bool fits = reserved_add(pool, in, cap);
    if (!fits) {
        /* nothing happens */
    } else if (in->shared || cap > load_relaxed(&in->allowance)) {
        reserved_to_depot(pool, in, cap);
        if (!in->shared)
            limit_update(pool, in);
        level_move(c, in, -1, 0);
        push(pool, NULL, &d, 1, cap - pool->heap.base);
    } else {
        while (!has_room(pool, in, cap))
            flush_some(pool, in, load_relaxed(&in->tickets) == 0 ? in : NULL, 0, (cache_idle(in) + 1) / 2);
        store_warmest(pool, in, d);
    }
    leave(in);
    return fits;
}

/* ---- for the thread that holds the pool's caches_lock ---- */

void cache_open(bufferpool_t *pool, struct cache *c)
{
    if (!c->listed) { /* a steal has to visit it from now on (roster.h) */
        c->listed = true;
        c->next_open = pool->shared.next_open;
        pool->shared.next_open = c;
    }
    const uintptr_t word = desc_word(pool->tag, STATE_LIVE);
    /* with gate_load: the owner finds the cache as it is now */
    store_release(&c->gate, pool->heap.wipe || modes_have(MODES_SLOW) ? gate_slow(word) : word);
}

void cache_close(struct cache *c)
{
    /* before the barrier in steal.c; with real fences, before cache_owner_is_out */
    store_seq_cst(&c->gate, gate_closed(load_relaxed(&c->gate)));
}

void cache_set_tickets(const bufferpool_t *pool, struct cache *c, uint32_t tickets)
{
    store_relaxed(&c->tickets, (uint8_t)tickets);
    limit_update(pool, c);
}

void cache_set_allowance(const bufferpool_t *pool, struct cache *c, size_t bytes)
{
    store_relaxed(&c->allowance, bytes);
    limit_update(pool, c);
}

bool cache_unused(struct cache *c)
{
    struct cache_counts now = cache_read(c);
    now.gets += load_relaxed(&c->counters[GETS_THREAD]);
    bool unused = now.gets == c->seen.gets && now.moved == c->seen.moved && now.n == c->seen.n;
    c->seen = now;
    return unused;
}
