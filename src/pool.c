/* SPDX-License-Identifier: MIT
 *
 * pool.c - get and put
 *
 * The fast paths are cache_pop_plain and cache_push_plain (cache.h): a few plain loads and stores. Where the cache is
 * empty or full, and nothing else is to be done, a magazine is exchanged with the depot: refill, make_room. Beyond the
 * cap buffers are made and freed: go_beyond, shed, drop_over_cap. Everything else is served by get_by_the_rules and
 * put_by_the_rules, which may lock. depot.c has the argument for the cap, pressure.c that for caches which are open
 * beyond it, call.h what begins and ends each of these calls.
 *
 * Where a get is served, first to last:
 *
 *     thread cache   its warmest buffer
 *     depot          a magazine: one buffer for the caller, the rest for the thread cache
 *     fresh          a new buffer, if life_reserve says that the cap allows one more, and the budget has its bytes
 *     pressure       what idles in other threads' caches is stolen (pressure.c); then from the depot
 *     beyond         once depot_exhausted: a new buffer beyond the cap; try_get refuses instead, get_timed waits
 */
#include "pool.h"
#include "allowance.h"
#include "background.h"
#include "budget.h"
#include "cache.h"
#include "call.h"
#include "close.h"
#include "create.h"
#include "debug/modes.h"
#include "debug/quarantine.h"
#include "fork.h"
#include "life.h"
#include "pressure.h"
#include "probes.h"
#include "reclaim.h"
#include "registry.h"
#include "shards.h"
#include "stats.h"
#include "steal.h"
#include "tls_cache.h"

/* ---- get ---- */

enum at_cap { GO_BEYOND, REFUSE, WAIT };

/* A get on the slow path. */
struct get {
    bufferpool_t *pool;
    struct cache *c; /* the calling thread's */
    enum at_cap at_cap;
    enum counter source; /* where the buffer comes from; not yet counted */
    int error;           /* why there is none: ENOMEM or EAGAIN */
    bool out_of_budget;  /* the budget is used up, and nothing idles in its pools */
};

/* Opens or flushes behind a closed gate, and frees what idles beyond a lowered cap. */
static void serve_gate(bufferpool_t *pool, struct cache *c)
{
    pressure_serve_gate(pool, c);
    allowance_check(pool, c);
    if (unlikely(depot_over_cap(&pool->depot, &pool->max_live)))
        reclaim_surplus(pool, c);
}

/* A new buffer that the counts and the budget have. If there is no memory, they have it no longer. */
static inline struct desc *make_counted(bufferpool_t *pool, struct cache *c)
{
    struct desc *d = life_make(pool);
    if (d != NULL)
        cache_moved(pool, c, 1);
    else
        depot_unreserve(&pool->depot, 1);
    return d;
}

/* A new buffer for a reservation. */
static struct desc *make_reserved(struct get *get)
{
    get->source = GETS_FRESH;
    get->error = ENOMEM;
    return make_counted(get->pool, get->c);
}

/* After callers were seen to have all: a new buffer, which is mostly beyond the cap. *source says whether it is. */
static inline struct desc *make_beyond(bufferpool_t *pool, struct cache *c, enum counter *source)
{
    if (!budget_reserve(pool))
        return NULL;
    const struct depot_counts counts = depot_lift(&pool->depot);
    if (unlikely(counts.pooled == 0)) {
        heap_unreserve(&pool->heap);
        return NULL;
    }
    *source = counts.pooled > depot_cap_of(&pool->max_live) ? GETS_BYPASS : GETS_FRESH;
    struct desc *d = make_counted(pool, c);
    if (unlikely(!counts.pressure) && *source == GETS_BYPASS) /* it ended meanwhile: depot.c (10) */
        pressure_enter(pool);
    if (unlikely(d == NULL || !shards_are_empty(&pool->depot))) /* a put came meanwhile: depot.c (12) */
        reclaim_keep_cap(pool, c);
    if (d != NULL && *source == GETS_BYPASS) {
        PROBE1(pool, bypass, d);
        pressure_grant(pool, c);
    }
    return d;
}

/* Whether callers had max_live buffers at a moment during this call. Where the system refused a barrier, an owner may
 * have pushed to a shard behind the verdict's back (shards.c 4). */
static bool is_exhausted(const bufferpool_t *pool)
{
    return depot_exhausted(&pool->depot, &pool->max_live) && shards_hold_nothing(&pool->depot);
}

/* Whether a get that found nothing is to look again. If only the budget is short, idle memory makes room: first that of
 * the own pool, which the pressure brings to the depot, then that of others. */
static bool look_again(struct get *get, struct patience *patience)
{
    bufferpool_t *pool = get->pool;
    if (is_exhausted(pool))
        return false;
    if (!budget_is_short(pool))
        return pressure_rise(pool, patience);
    if (load_relaxed(&pool->pressure.state) != PRESSURE_ON && pressure_rise(pool, patience))
        return true;
    if (modes_have(MODE_QUARANTINE) && load_relaxed(&pool->quarantine.count) != 0)
        return false; /* the get takes one from there, as at the cap */
    get->out_of_budget = !budget_make_room(pool->heap.slabs.budget, heap_bytes(&pool->heap, pool->heap.base));
    return !get->out_of_budget;
}

/* A buffer for a thread whose cache is empty. */
static struct desc *take_beyond_cache(struct get *get)
{
    bufferpool_t *pool = get->pool;
    struct desc *d;
    struct patience patience = {0};
    do {
        wait_serve(pool);
        if (depot_wanted(&pool->depot)) /* buffers that come back now are for the callers that wait */
            continue;
        d = cache_refill(pool, get->c);
        if (d != NULL) {
            get->source = GETS_DEPOT;
            return life_hand_out(pool, d);
        }
        if (life_reserve(pool))
            return make_reserved(get);
    } while (look_again(get, &patience));
    if (modes_have(MODE_QUARANTINE) && !depot_wanted(&pool->depot) && (d = quarantine_take(pool)) != NULL) {
        get->source = GETS_DEPOT;
        return life_hand_out(pool, d);
    }
    if (get->at_cap != GO_BEYOND) {
        get->error = EAGAIN;
        return NULL;
    }
    get->error = ENOMEM;
    return get->out_of_budget ? NULL : make_beyond(pool, get->c, &get->source);
}

/* A buffer, not yet counted. */
static struct desc *take_slow(struct get *get)
{
    serve_gate(get->pool, get->c);
    if (cache_wants_look(get->c) && reclaim_look(get->pool, get->c))
        reclaim_on_time(get->pool, get->c);
    get->source = GETS_THREAD;
    struct desc *d = NULL;
    if (get->at_cap == GO_BEYOND || !cache_has_tickets(get->c))
        d = cache_take(get->pool, get->c);
    d = d != NULL ? life_hand_out(get->pool, d) : take_beyond_cache(get);
    if (d != NULL && (get->source == GETS_DEPOT || get->source == GETS_FRESH))
        reclaim_tick(get->pool, get->c);
    return d;
}

struct cache *pool_cache(bufferpool_t *pool)
{
    if (!create_first_use(pool))
        return NULL;
    background_begin(pool);
    return tls_cache_own(pool);
}

/* Whether the fast path could not find the cache, because the pool has no TLS index of its own. */
static bool has_no_tls_index(const bufferpool_t *pool, const struct cache *c)
{
    // cppcheck-suppress nullPointerRedundantCheck ; report_foreign does not return
    return unlikely(pool->index >= TLS_INDEX_NONE) && !c->shared;
}

/* Whether the cache is empty for a good reason: it is a pool's, and its gate is as it must be. */
static bool is_settled(const bufferpool_t *pool, const struct cache *c)
{
    return c->pool != NULL && cache_idle(c) == 0 &&
           (cache_is_open(c) || load_relaxed(&pool->pressure.state) == PRESSURE_ON);
}

/* After an exchange with the depot. Another call that lowered the cap meanwhile may have missed the magazine that was
 * in transit. */
static void settle(bufferpool_t *pool, struct cache *c)
{
    background_begin(pool);
    allowance_check(pool, c);
    shards_look(pool, c);
    reclaim_on_time(pool, c);
    if (unlikely(!depot_is_calm(&pool->depot, &pool->max_live)))
        reclaim_surplus(pool, c);
}

/* A buffer from the depot, counted, and others for the cache. Returns NULL if the depot is empty, or if anything else
 * has to be done. */
static struct desc *refill(bufferpool_t *pool, struct cache *c)
{
    if (!is_settled(pool, c) || !depot_is_calm(&pool->depot, &pool->max_live))
        return NULL;
    struct desc *d = cache_refill(pool, c);
    if (d == NULL)
        return NULL;
    d = life_hand_out(pool, d);
    cache_count(c, GETS_DEPOT, 1);
    settle(pool, c);
    return d;
}

/* A buffer beyond the cap, counted. Returns NULL if the cap may leave room for another one, or if there is no memory.
 * */
static struct desc *go_beyond(bufferpool_t *pool, struct cache *c)
{
    enum counter source;
    if (!is_settled(pool, c) || steal_has_rest(pool) || !is_exhausted(pool))
        return NULL;
    struct desc *d = make_beyond(pool, c, &source);
    if (d != NULL)
        cache_count(c, source, 1);
    return d;
}

static struct desc *take_and_count(struct get *get)
{
    struct desc *d = NULL;
    if (has_no_tls_index(get->pool, get->c) && (get->at_cap == GO_BEYOND || !cache_has_tickets(get->c)) &&
        (d = cache_pop_plain(get->c)) != NULL)
        return d; /* as on the fast path */
    d = take_slow(get);
    if (d != NULL) {
        cache_count(get->c, get->source, 1);
        (void)life_got(get->pool, d);
    } else if (get->at_cap == REFUSE && get->error == EAGAIN) {
        cache_count(get->c, GETS_REFUSED, 1);
    }
    return d;
}

/* Every get that the paths above do not serve. Returns NULL with *error set. */
static __attribute__((noinline)) struct desc *get_by_the_rules(bufferpool_t *pool, enum at_cap at_cap, int *error)
{
    struct get get = {.pool = pool, .at_cap = at_cap, .error = ENOMEM};
    const bool stepped_out = fork_enter(pool);
    get.c = pool_cache(pool);
    struct desc *d = get.c != NULL ? take_and_count(&get) : NULL;
    fork_leave(stepped_out);
    *error = get.error;
    return d;
}

/* `c` is what the thread's table has. */
static __attribute__((noinline)) bufferpool_buf_t *get_slow(bufferpool_t *pool, struct cache *c, enum at_cap at_cap,
                                                            const char *function, uintptr_t caller)
{
    struct desc *d;
    const bool look = cache_wants_look(c);
    if (look && !reclaim_look(pool, c) && (at_cap == GO_BEYOND || !cache_has_tickets(c)) &&
        (d = cache_pop_plain(c)) != NULL)
        return &d->pub;
    struct call call = call_begin(function, caller);
    if (look)
        reclaim_on_time(pool, c);
    d = NULL;
    pool_check(pool, function);
    PROBE1(pool, get_slow, function);
    const bool closed = load_relaxed(&pool->life) == POOL_CLOSED;
    if (!closed && !modes_have(MODES_WATCH | MODE_FAIL)) { /* with fail=N each allocation counts: none is tried twice */
        /* under pressure callers mostly have all, which one look at the counts tells */
        if ((!cache_is_open(c) || cache_has_tickets(c)) && at_cap == GO_BEYOND)
            d = go_beyond(pool, c);
        if (d == NULL && !(cache_has_tickets(c) && at_cap != GO_BEYOND))
            d = refill(pool, c);
    }
    int error = ECANCELED;
    if (unlikely(d == NULL) && !closed)
        d = get_by_the_rules(pool, at_cap, &error);
    call_end(&call, pool);
    if (likely(d != NULL))
        return &d->pub;
    errno = error;
    return NULL;
}

/* The same, but the warmest buffer of the cache may be a grown one. */
static __attribute__((noinline)) bufferpool_buf_t *get_grown(bufferpool_t *pool, struct cache *c, enum at_cap at_cap,
                                                             const char *function, uintptr_t caller)
{
    struct desc *d = SANITIZER_ASAN ? NULL : cache_pop_grown(c);
    return d != NULL ? &d->pub : get_slow(pool, c, at_cap, function, caller);
}

static inline __attribute__((always_inline)) bufferpool_buf_t *get(bufferpool_t *pool, enum at_cap at_cap,
                                                                   const char *function)
{
    if (unlikely(pool == NULL))
        pool = &pool_default;
    struct thread *self = tls_self;
    struct cache *c = load_relaxed(&self->table[pool->tls_index]);
    if (at_cap != GO_BEYOND && cache_has_tickets(c))
        return get_slow(pool, c, at_cap, function, CALLER);
    struct desc *d = cache_pop_plain(c);
    if (unlikely(d == NULL))
        return get_grown(pool, c, at_cap, function, CALLER);
    store_relaxed(&self->last, c);
    return &d->pub;
}

bufferpool_buf_t *bufferpool_get(bufferpool_t *pool)
{
    return get(pool, GO_BEYOND, "bufferpool_get");
}

bufferpool_buf_t *bufferpool_try_get(bufferpool_t *pool)
{
    return get(pool, REFUSE, "bufferpool_try_get");
}

/* ---- for the gets that wait ---- */

bufferpool_buf_t *pool_get_below_cap(bufferpool_t *pool, const char *function, uintptr_t caller)
{
    struct cache *c = tls_cache_at(pool->tls_index);
    struct desc *d = !cache_has_tickets(c) ? cache_pop_plain(c) : NULL;
    return likely(d != NULL) ? &d->pub : get_slow(pool, c, WAIT, function, caller);
}

struct desc *pool_make_reserved(bufferpool_t *pool, struct cache *c)
{
    return make_counted(pool, c);
}

/* ---- put ---- */

#define NOT_DROPPED COUNTERS /* such a put is not counted: puts_kept follows from the other counters */

/* Frees a claimed buffer that a caller had. */
static enum counter drop(bufferpool_t *pool, struct cache *c, struct desc *d, enum counter reason)
{
    PROBE3(pool, drop, reason, d->pub.cap, d);
    cache_moved(pool, c, -1);
    life_free(pool, d, false);
    depot_unreserve(&pool->depot, 1);
    return reason;
}

/* Makes room for `cap` more idle bytes. Caches reserve bytes of max_idle_bytes. If the bytes that really idle leave
 * room, the caches give back what they do not use. Returns whether the put that found no room may try again.
 *
 * This goes over all caches. With 32 or more it is not done for each such put, so that the cost of a put does not grow
 * with the number of threads. A put in between may then free its buffer although there is room. */
static bool collect_idle_reserved(bufferpool_t *pool, size_t cap)
{
    const uint32_t skips = load_relaxed(&pool->idle_skips);
    if (skips > 0) {
        store_relaxed(&pool->idle_skips, skips - 1);
        return false;
    }
    uint32_t caches;
    const size_t idle = stats_idle_bytes(pool, &caches);
    store_relaxed(&pool->idle_skips, caches / 32);
    if (idle + cap > pool->max_idle_bytes)
        return false;
    store_relaxed(&pool->idle_tight, true);
    (void)steal(pool, STEAL_RESERVED, true);
    return true;
}

/* Whether the cache is open by tickets, and a buffer of that cap fits, perhaps with more of them. */
static bool has_room_by_tickets(bufferpool_t *pool, struct cache *c, size_t cap)
{
    return cache_has_tickets(c) &&
           (cache_has_room(pool, c, cap) || (pressure_grant_more(pool, c) && cache_has_room(pool, c, cap)));
}

/* Takes back a claimed buffer. Returns where it went, which is not yet counted. */
static enum counter give_back(bufferpool_t *pool, struct cache *c, struct desc *d)
{
    serve_gate(pool, c);
    if (d->pub.cap > pool->max_capacity)
        return drop(pool, c, d, DROPS_OVERSIZE);
    if (account_is_lowered(pool->heap.slabs.budget)) /* no call that waits is served, as below */
        return drop(pool, c, d, DROPS_IDLE_LIMIT);
    const bool beyond = depot_over_cap(&pool->depot, &pool->max_live); /* then no call that waits is served */
    if (beyond && !has_room_by_tickets(pool, c, d->pub.cap))
        return drop(pool, c, d, DROPS_OVER_CAP);
    if (!modes_have(MODE_NOPOOL) && !beyond && wait_hand_over(pool, d))
        return NOT_DROPPED;
    if (account_is_wanted(pool->heap.slabs.budget)) /* by a caller of another pool */
        return drop(pool, c, d, DROPS_IDLE_LIMIT);
    if (modes_have(MODES_WATCH)) {
        if (modes_have(MODE_QUARANTINE) && (d = quarantine_swap(pool, d)) == NULL)
            return NOT_DROPPED;
        if (modes_have(MODE_NOPOOL) || (modes_have(MODE_CHAOS) && modes_random(4) == 0))
            return drop(pool, c, d, DROPS_IDLE_LIMIT);
    }
    if (!cache_keep(pool, c, d) && !(collect_idle_reserved(pool, d->pub.cap) && cache_keep(pool, c, d)))
        return drop(pool, c, d, DROPS_IDLE_LIMIT);
    reclaim_tick(pool, c);
    return NOT_DROPPED;
}

void pool_give_back(bufferpool_t *pool, struct cache *c, struct desc *d)
{
    (void)give_back(pool, c, d);
}

/* Puts the buffer into a full cache after that moved a part to the depot. Returns false, and puts nothing, if the cache
 * is not full, or if anything else has to be done. */
static bool make_room(struct cache *c, struct desc *d, uintptr_t word)
{
    bufferpool_t *pool = c->pool;
    if (pool == NULL || word != load_relaxed(&c->gate) || !depot_is_calm(&pool->depot, &pool->max_live))
        return false;
    if (!cache_overflow(pool, c))
        return false;
    const bool put = cache_push_plain(c, d, word);
    settle(pool, c);
    return put;
}

/* Puts the buffer into a full cache that is open by tickets, after that got more of them, or freed a part of what it
 * had. Returns false, and puts nothing, if the cache is another one, or if callers are near the cap. */
static bool shed(struct cache *c, struct desc *d, uintptr_t word)
{
    bufferpool_t *pool = c->pool;
    if (pool == NULL || word != load_relaxed(&c->gate) || !cache_has_tickets(c) || modes_have(MODES_WATCH))
        return false;
    const uint32_t half = (load_relaxed(&c->tickets) + 1u) / 2;
    const struct depot_counts counts = depot_counts(&pool->depot);
    if (!pressure_grant_more(pool, c)) {
        if (counts.pooled < depot_cap_of(&pool->max_live) + counts.tickets + half)
            return false;
        struct desc *bufs[CACHE_TICKETS_MAX];
        const uint32_t n = cache_shed(pool, c, bufs);
        if (n == 0)
            return false;
        for (uint32_t i = 0; i < n; i++)
            life_free(pool, bufs[i], false);
        depot_discard(&pool->depot, n);
        cache_count(c, RECLAIMED_BYTES, n * pool->heap.base);
        PROBE3(pool, reclaim, n * pool->heap.base, n, "bufferpool_put");
        reclaim_keep_cap(pool, c);
    }
    return cache_push_plain(c, d, word);
}

/* Frees a plain buffer while more exist than the cap, by a thread whose cache is empty behind a closed gate. Returns
 * false, and does nothing, if anything is otherwise. */
static bool drop_over_cap(struct cache *c, struct desc *d, uintptr_t word)
{
    bufferpool_t *pool = c->pool;
    if (pool == NULL || cache_pool_is_closed(pool) || cache_is_open(c) || word != desc_word(pool->tag, STATE_LIVE) ||
        !depot_over_cap(&pool->depot, &pool->max_live) || !desc_table_has(&pool->heap.table, d) ||
        steal_has_rest(pool) || cache_idle(c) != 0)
        return false;
    life_claim(pool, d, word);
    cache_count(c, drop(pool, c, d, DROPS_OVER_CAP), 1);
    reclaim_keep_cap(pool, c);
    return true;
}

/* Every put that the paths above do not serve, unless the pool is closed. */
static void put_to_pool(bufferpool_t *pool, struct cache *c, struct desc *d, uintptr_t word)
{
    background_begin(pool);
    if (!has_no_tls_index(pool, c) || !cache_push_plain(c, d, word)) {
        life_claim(pool, d, word);
        if (desc_state(word) == STATE_LIVE_GROWN && d->pub.cap <= pool->max_capacity)
            reclaim_judge(pool, c, d);
        enum counter reason = give_back(pool, c, d);
        if (reason != NOT_DROPPED)
            cache_count(c, reason, 1);
        reclaim_keep_cap(pool, c);
        pressure_relax(pool);
    }
    call_serve(pool);
}

static __attribute__((noinline)) void put_by_the_rules(struct desc *d, uintptr_t word)
{
    bufferpool_t *pool = life_pool_of(d, word);
    if (pool == NULL)
        report_foreign(d);
    const bool stepped_out = fork_enter(pool);
    struct cache *c = tls_cache_own(pool);
    cache_begin_call(c);
    const bool closed = cache_pool_is_closed(pool);
    if (!closed)
        put_to_pool(pool, c, d, word);
    cache_end_call(c); /* the pool of a buffer that is held stays */
    if (closed)
        close_put(pool, d, word);
    fork_leave(stepped_out);
}

/* `c` is what the thread's table has, if a descriptor can be there at all. */
static __attribute__((noinline)) void put_slow(bufferpool_buf_t *buf, struct cache *c, const char *function,
                                               uintptr_t caller)
{
    struct desc *d = desc_of(buf);
    bufferpool_t *pool = c->pool;
    struct call call = call_begin(function, caller);
    if (unlikely(!desc_aligned(buf)))
        report_foreign(buf);
    uintptr_t word = load_relaxed(&d->word);
    cache_begin_call(c);
    const bool put = likely(make_room(c, d, word)) || shed(c, d, word) || drop_over_cap(c, d, word);
    if (put)
        call_serve(pool);
    cache_end_call(c);
    if (!put)
        put_by_the_rules(d, word);
    call_end(&call, NULL);
}

/* The same, but there may be room in the cache after all. */
static __attribute__((noinline)) void put_anew(bufferpool_buf_t *buf, struct cache *c, uintptr_t word,
                                               const char *function, uintptr_t caller)
{
    if (SANITIZER_ASAN || !cache_push_anew(c, desc_of(buf), word))
        put_slow(buf, c, function, caller);
}

/* The same, but the thread's last cache may be another pool's. */
static __attribute__((noinline)) void put_other(bufferpool_buf_t *buf, struct cache *last, uintptr_t word,
                                                const char *function, uintptr_t caller)
{
    struct cache *c = tls_cache_at(desc_tls_index_of(word));
    if (c != last) {
        tls_cache_set_last(c);
        if (cache_push_plain(c, desc_of(buf), word))
            return;
    }
    put_anew(buf, c, word, function, caller);
}

/* The same, but the buffer may be a grown one. If it was well used, and fits, it goes into the cache. What comes behind
 * that is in put_other, so that this function need not save registers. */
static __attribute__((noinline)) void put_grown(bufferpool_buf_t *buf, struct cache *c, uintptr_t word,
                                                const char *function, uintptr_t caller)
{
    if (SANITIZER_ASAN || !cache_push_grown(c, desc_of(buf), word))
        put_other(buf, c, word, function, caller);
}

static inline __attribute__((always_inline)) void put(bufferpool_buf_t *buf, const char *function)
{
    if (unlikely(!desc_aligned(buf))) {
        put_slow(buf, &pool_default.shared, function, CALLER);
    } else {
        struct desc *d = desc_of(buf);
        uintptr_t word = load_relaxed(&d->word);
        struct cache *c = tls_cache_last();
        if (unlikely(!cache_push_plain(c, d, word)))
            put_grown(buf, c, word, function, CALLER);
    }
}

void bufferpool_put(bufferpool_buf_t *buf)
{
    if (likely(buf != NULL))
        put(buf, "bufferpool_put");
}

static __attribute__((noinline)) _Noreturn void report_data(const void *data, uintptr_t caller)
{
    (void)call_begin("bufferpool_put_data", caller);
    report_misuse(data, NULL, "not the data of a buffer that is held, or " REPORT_OVERWRITTEN);
}

/* put() finds out whether the buffer is held. */
void bufferpool_put_data(void *data)
{
    if (unlikely(data == NULL))
        return;
    struct desc *d = life_of_data(data);
    if (unlikely(d == NULL))
        report_data(data, CALLER);
    put(&d->pub, "bufferpool_put_data");
}

/* ---- many at once ---- */

/* Takes back the buffers of a get_bulk that fails, as if the call had never been. */
static void return_uncounted(bufferpool_t *pool, struct cache *c, bufferpool_buf_t **bufs, size_t n)
{
    while (n > 0) {
        struct desc *d = desc_of(bufs[--n]);
        uintptr_t word = load_relaxed(&d->word);
        life_claim(pool, d, word);
        (void)give_back(pool, c, d);
    }
    reclaim_keep_cap(pool, c);
}

/* Fills bufs and counts the gets. Returns false, with nothing taken and nothing counted, if there is no memory. No get
 * is counted before all buffers are there, since a count that is taken back would be a counter that falls. */
static bool fill_bulk(struct get *get, bufferpool_buf_t **bufs, size_t n)
{
    uint64_t taken[COUNTERS] = {0};
    cache_note(get->c, cache_idle(get->c));
    for (size_t i = 0; i < n;) {
        const bool look = get->c->shared || (get->at_cap != GO_BEYOND && cache_has_tickets(get->c));
        const size_t fast = look ? 0 : cache_pop_many(get->c, bufs + i, n - i);
        taken[GETS_THREAD] += fast;
        i += fast;
        if (i == n)
            break;
        struct desc *d = take_slow(get);
        if (d == NULL) {
            return_uncounted(get->pool, get->c, bufs, i);
            return false;
        }
        taken[get->source]++;
        (void)life_got(get->pool, d);
        bufs[i++] = &d->pub;
    }
    for (int source = GETS_THREAD; source <= GETS_BYPASS; source++)
        if (taken[source] != 0)
            cache_count(get->c, (enum counter)source, taken[source]);
    cache_note(get->c, cache_idle(get->c) + 1); /* before the last of them */
    reclaim_on_time(get->pool, get->c);         /* the fast ones did not look at the clock */
    return true;
}

int pool_get_many_below_cap(bufferpool_t *pool, struct cache *c, bufferpool_buf_t **bufs, size_t n)
{
    struct get get = {.pool = pool, .c = c, .at_cap = WAIT, .error = ENOMEM};
    return fill_bulk(&get, bufs, n) ? 0 : get.error;
}

int bufferpool_get_bulk(bufferpool_t *pool, bufferpool_buf_t **bufs, size_t n)
{
    if (n == 0)
        return 0;
    if (bufs == NULL)
        return EINVAL;
    pool = pool_of_call(pool, "bufferpool_get_bulk");
    struct call call = call_begin("bufferpool_get_bulk", CALLER);
    const bool stepped_out = fork_enter(pool);
    struct get get = {.pool = pool, .c = pool_cache(pool), .at_cap = GO_BEYOND};
    const bool closed = load_relaxed(&pool->life) == POOL_CLOSED;
    const bool filled = get.c != NULL && !closed && fill_bulk(&get, bufs, n);
    fork_leave(stepped_out);
    call_end(&call, closed ? NULL : pool);
    return filled ? 0 : closed ? ECANCELED : ENOMEM;
}

void bufferpool_put_bulk(bufferpool_buf_t **bufs, size_t n)
{
    for (size_t i = 0; i < n;) {
        if (bufs[i] == NULL) {
            i++;
            continue;
        }
        size_t fast = 0;
        if (likely(desc_aligned(bufs[i])))
            fast = cache_push_many(tls_cache_at(desc_tls_index_of(load_relaxed(&desc_of(bufs[i])->word))), bufs + i,
                                   n - i);
        i += fast;
        if (fast == 0)
            put(bufs[i++], "bufferpool_put_bulk");
    }
}
