/* SPDX-License-Identifier: MIT
 *
 * pool.c - get and put
 *
 * The fast paths are cache_pop_plain and cache_push_plain (cache.h): a few plain loads and stores. Where the cache is
 * empty or full and nothing else is the matter, a magazine is exchanged with the depot: refill, make_room; beyond the
 * cap buffers are made and freed: bypass, put_bypass. All else is in get_slow and put_slow, which may lock. The cap's
 * argument stands in depot.c.
 *
 * Where a get is served, first to last:
 *
 *     thread cache   its warmest buffer
 *     depot          a magazine: one buffer for the caller, the rest for the thread cache
 *     fresh          a new pooled buffer, if depot_reserve says that the cap allows one more
 *     pressure       what idles in other threads' caches is taken over (pressure.c); then from the depot
 *     bypass         once depot_exhausted: a new buffer that is no pooled one; try_get refuses, get_timed waits
 *
 * Every path that gives a buffer or room back ends with wait_check, so that none forgets those who wait.
 */
#include "pool.h"

#include "background.h"
#include "debug/report.h"
#include "debug/sanitizer.h"
#include "debug/watch.h"
#include "heap/block.h"
#include "pressure.h"
#include "probes.h"
#include "reclaim.h"
#include "registry.h"
#include "stats.h"
#include "steal.h"
#include "strikes.h"
#include "tls_cache.h"

#include <errno.h>

/* ---- making and freeing ---- */

bufferpool_t *pool_of(const struct desc *d, uintptr_t word)
{
    bufferpool_t *pool = registry_find(desc_pool_index(word));
    if (pool == NULL || word >> STATE_BITS != pool->tag || !desc_table_has(&pool->heap.table, d))
        return NULL;
    return pool;
}

/* Frees block and descriptor of any buffer. */
static void free_buffer(bufferpool_t *pool, struct desc *d, bool defer, const char *caller)
{
    if (!block_intact(&pool->heap, d))
        report_misuse(caller, &d->pub, pool, REPORT_OVERWRITTEN);
    store_relaxed(&d->word, desc_word(pool->tag, STATE_FREE));
    heap_free(&pool->heap, d, defer);
}

void pool_free_buffer(bufferpool_t *pool, struct desc *d, bool defer, const char *caller)
{
    enum desc_state state = desc_state(load_relaxed(&d->word));
    if (state != STATE_IDLE && state != STATE_IDLE_GROWN)
        report_misuse(caller, &d->pub, pool, "put twice at the same time, or its handle was overwritten");
    if (modes_have(MODES_WATCH))
        watch_idle(pool, d, caller);
    size_t extra = d->pub.cap - pool->heap.base;
    free_buffer(pool, d, defer, caller);
    if (extra != 0)
        sub_relaxed(&pool->grown_extra, extra);
}

static __attribute__((noinline)) struct desc *make_watched(bufferpool_t *pool, enum desc_state state)
{
    if (modes_have(MODE_FAIL) && modes_fail_now())
        return NULL;
    struct desc *d = heap_alloc(&pool->heap, state == STATE_BYPASS);
    if (d == NULL)
        return NULL;
    if (modes_have(MODES_WATCH))
        watch_made(pool, d);
    d->pub.len = 0;
    block_set_held(&pool->heap, d, desc_word(pool->tag, state), false);
    return d;
}

static struct desc *make_buffer(bufferpool_t *pool, enum desc_state state)
{
    if (SANITIZER_ASAN || modes_have(MODES_SLOW | MODE_FAIL))
        return make_watched(pool, state);
    struct desc *d = heap_alloc(&pool->heap, state == STATE_BYPASS);
    if (d == NULL)
        return NULL;
    d->pub.len = 0;
    store_relaxed(&d->word, desc_word(pool->tag, state));
    return d;
}

/* ---- get ---- */

enum at_cap { BYPASS, REFUSE, WAIT };

/* Sees to a gate that is closed, and frees what is idle beyond a lowered cap. */
static void serve_gate(bufferpool_t *pool, struct cache *c, const char *caller)
{
    pressure_serve_gate(pool, c);
    if (unlikely(depot_over_cap(&pool->depot, &pool->max_live)))
        reclaim_surplus(pool, c, caller);
}

/* A new pooled buffer in the place of a reservation, which ends if there is no memory. */
static struct desc *make_reserved(bufferpool_t *pool, struct cache *c)
{
    struct desc *d = make_buffer(pool, STATE_LIVE);
    if (d != NULL) {
        cache_moved(pool, c, 1);
    } else {
        depot_unreserve(&pool->depot, 1);
        errno = ENOMEM;
    }
    return d;
}

/* A buffer from where the cache itself does not have one; *source says whence. NULL with errno ENOMEM or EAGAIN. */
static struct desc *take_beyond_cache(bufferpool_t *pool, struct cache *c, enum at_cap at_cap, enum counter *source,
                                      const char *caller)
{
    struct desc *d;
    unsigned attempt = 0;
    do {
        wait_check(pool);
        if (depot_wanted(&pool->depot)) /* what comes about now is for those who wait */
            continue;
        d = cache_refill(pool, c, caller);
        if (d != NULL) {
            *source = GETS_DEPOT;
            return d;
        }
        if (depot_reserve(&pool->depot, &pool->max_live)) {
            *source = GETS_FRESH;
            return make_reserved(pool, c);
        }
    } while (!depot_exhausted(&pool->depot, &pool->max_live) && pressure_rise(pool, attempt++));
    if (modes_have(MODE_QUARANTINE) && !depot_wanted(&pool->depot) && (d = quarantine_take(pool)) != NULL) {
        *source = GETS_DEPOT;
        return cache_hand_out(pool, d, caller);
    }
    if (at_cap != BYPASS) {
        errno = EAGAIN;
        return NULL;
    }
    *source = GETS_BYPASS;
    d = make_buffer(pool, STATE_BYPASS);
    if (d == NULL)
        errno = ENOMEM;
    else
        PROBE1(pool, bypass, d);
    return d;
}

/* A buffer, not yet counted in *source. NULL with errno ENOMEM or EAGAIN. */
static struct desc *take_slow(bufferpool_t *pool, struct cache *c, enum at_cap at_cap, enum counter *source,
                              const char *caller)
{
    serve_gate(pool, c, caller);
    *source = GETS_THREAD;
    struct desc *d = cache_take(pool, c, caller);
    if (d == NULL)
        d = take_beyond_cache(pool, c, at_cap, source, caller);
    if (d != NULL && *source == GETS_DEPOT)
        reclaim_tick(pool, c, caller);
    return d;
}

/* The calling thread's cache, with all that a first call on a pool brings along; NULL: no memory. */
static struct cache *cache_for_slow_path(bufferpool_t *pool)
{
    background_begin(pool);
    return tls_cache_own(pool);
}

/* Whether the fast path could not find the cache, for want of a place in the thread's table. */
static bool has_no_tls_index(const bufferpool_t *pool, const struct cache *c)
{
    // cppcheck-suppress nullPointerRedundantCheck ; whoever has a cache of the pool has the pool
    return unlikely(pool->index >= TLS_INDEX_NONE) && !c->shared;
}

/* Whether a cache that has nothing has it for a good reason, and its gate is as it should be. */
static bool is_settled(const bufferpool_t *pool, const struct cache *c)
{
    return c->pool != NULL && cache_idle(c) == 0 &&
           (cache_is_open(c) || load_relaxed(&pool->pressure.state) == PRESSURE_ON);
}

/* After an exchange with the depot. What it had in transit, whoever lowered the cap or came to wait meanwhile may have
 * missed. */
static void settle(bufferpool_t *pool, struct cache *c, const char *caller)
{
    background_begin(pool);
    reclaim_on_time(pool, c, caller);
    if (likely(depot_is_calm(&pool->depot, &pool->max_live)))
        return;
    int saved_errno = errno;
    reclaim_surplus(pool, c, caller);
    wait_check(pool);
    errno = saved_errno;
}

/* A buffer from the depot, counted, and others for the cache, if that is empty and nothing else is to be seen to; else
 * NULL. */
static struct desc *refill(bufferpool_t *pool, struct cache *c, const char *caller)
{
    if (!is_settled(pool, c) || !depot_is_calm(&pool->depot, &pool->max_live))
        return NULL;
    struct desc *d = cache_refill(pool, c, caller);
    if (d != NULL) {
        cache_count(c, GETS_DEPOT, 1);
        settle(pool, c, caller);
    }
    return d;
}

/* A bypass buffer, counted, if the cap leaves nothing else to be had; NULL: it does, or there is no memory. */
static struct desc *bypass(bufferpool_t *pool, struct cache *c)
{
    if (!is_settled(pool, c) || !depot_exhausted(&pool->depot, &pool->max_live))
        return NULL;
    struct desc *d = make_buffer(pool, STATE_BYPASS);
    if (d != NULL) {
        PROBE1(pool, bypass, d);
        cache_count(c, GETS_BYPASS, 1);
    }
    return d;
}

/* Where a mode watches: the buffer goes to its caller, to which the public function returns. */
static bufferpool_buf_t *hand_over(bufferpool_t *pool, struct desc *d, uintptr_t site)
{
    if (modes_have(MODES_WATCH))
        watch_got(pool, d, site);
    return &d->pub;
}

/* What get_slow leaves. */
static bufferpool_buf_t *get_by_the_rules(bufferpool_t *pool, enum at_cap at_cap, const char *caller, uintptr_t site)
{
    int saved_errno = errno;
    struct cache *c = cache_for_slow_path(pool);
    if (c == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    struct desc *d;
    if (has_no_tls_index(pool, c) && (d = cache_pop_plain(c)) != NULL) {
        errno = saved_errno;
        return &d->pub;
    }
    enum counter source;
    d = take_slow(pool, c, at_cap, &source, caller);
    wait_check(pool);
    if (d == NULL) {
        if (at_cap == REFUSE && errno == EAGAIN)
            cache_count(c, GETS_REFUSED, 1);
        return NULL;
    }
    cache_count(c, source, 1);
    errno = saved_errno;
    return hand_over(pool, d, site);
}

/* `c` is what the thread's table has; `site` is where the public function returns to. */
static __attribute__((noinline)) bufferpool_buf_t *get_slow(bufferpool_t *pool, struct cache *c, enum at_cap at_cap,
                                                            const char *caller, uintptr_t site)
{
    PROBE1(pool, get_slow, caller);
    if (modes_have(MODES_WATCH | MODE_FAIL)) /* of which each allocation is one, and made once */
        return get_by_the_rules(pool, at_cap, caller, site);
    struct desc *d = refill(pool, c, caller);
    if (likely(d != NULL))
        return &d->pub;
    int saved_errno = errno;
    if (at_cap == BYPASS && (d = bypass(pool, c)) != NULL) {
        errno = saved_errno;
        return &d->pub;
    }
    errno = saved_errno;
    return get_by_the_rules(pool, at_cap, caller, site);
}

/* Where the public function from whose body this is used returns to. */
static inline uintptr_t address_of(const void *code)
{
    return (uintptr_t)code;
}
#define SITE address_of(__builtin_return_address(0))

static inline __attribute__((always_inline)) bufferpool_buf_t *get(bufferpool_t *pool, enum at_cap at_cap,
                                                                   const char *caller)
{
    if (unlikely(pool == NULL))
        pool = &pool_default;
    struct cache *c = tls_cache_at(pool->tls_index);
    struct desc *d = cache_pop_plain(c);
    return likely(d != NULL) ? &d->pub : get_slow(pool, c, at_cap, caller, SITE);
}

bufferpool_buf_t *bufferpool_get(bufferpool_t *pool)
{
    return get(pool, BYPASS, "bufferpool_get");
}

bufferpool_buf_t *bufferpool_try_get(bufferpool_t *pool)
{
    return get(pool, REFUSE, "bufferpool_try_get");
}

/* Who waits does not overtake those who wait already: it goes to the end of their queue. */
bufferpool_buf_t *bufferpool_get_timed(bufferpool_t *pool, unsigned timeout_ms)
{
    static const char caller[] = "bufferpool_get_timed";
    pool = pool_or_default(pool);
    struct cache *c = tls_cache_at(pool->tls_index);
    struct desc *d = cache_pop_plain(c);
    if (likely(d != NULL))
        return &d->pub;
    int saved_errno = errno;
    if (!depot_wanted(&pool->depot)) {
        bufferpool_buf_t *buf = get_slow(pool, c, WAIT, caller, SITE);
        if (buf != NULL || errno != EAGAIN)
            return buf;
    }
    c = cache_for_slow_path(pool); /* is there: fork's handlers are, since somebody waits or get_slow came to the cap */
    pressure_flush(pool, c);       /* it does not wait while it has some itself */
    struct wait_result got;
    if (!wait_for_buffer(pool, timeout_ms, &got)) {
        errno = ENOMEM;
        return NULL;
    }
    if (got.d != NULL) {
        d = cache_hand_out(pool, got.d, caller);
        cache_moved(pool, c, 1);
    } else if (got.reserved) {
        d = make_reserved(pool, c);
    } else {
        cache_count(c, GETS_REFUSED, 1);
        errno = ETIMEDOUT;
    }
    wait_check(pool); /* a reservation that came to nothing is the next one's */
    if (d == NULL)
        return NULL;
    cache_count(c, got.d != NULL ? GETS_DEPOT : GETS_FRESH, 1);
    errno = saved_errno;
    return hand_over(pool, d, SITE);
}

/* ---- put ---- */

static void let_go(const bufferpool_t *pool, struct desc *d, uintptr_t word, enum desc_state to, const char *caller)
{
    if (!atomic_compare_exchange_strong_explicit(&d->word, &word, desc_word(pool->tag, to), memory_order_relaxed,
                                                 memory_order_relaxed))
        report_misuse(caller, &d->pub, pool, "put twice at the same time");
}

static __attribute__((noinline)) void let_go_watched(bufferpool_t *pool, struct desc *d, uintptr_t word,
                                                     enum desc_state to, const char *caller, uintptr_t site)
{
    if (modes_have(MODES_WATCH)) /* first: it knows which bytes are the buffer's */
        watch_put(pool, d, to != STATE_FREE, caller, site);
    if (pool->heap.wipe)
        heap_wipe(d->pub.data, d->pub.cap);
    const bool told = sanitizer_on();
    if (told)
        sanitizer_lock();
    let_go(pool, d, word, to, caller);
    if (told) {
        block_hide(&pool->heap, d);
        sanitizer_unlock();
    }
}

/* Moves a held buffer to the state in which it leaves the caller. Of two puts at once only one gets through. Where
 * blocks are wiped it is wiped before: what is not held any more a child of fork may hand out. */
static void claim(bufferpool_t *pool, struct desc *d, uintptr_t word, const char *caller, uintptr_t site)
{
    enum desc_state to;
    switch (desc_state(word)) {
    case STATE_LIVE:
        to = STATE_IDLE;
        break;
    case STATE_LIVE_GROWN:
        to = STATE_IDLE_GROWN;
        break;
    case STATE_BYPASS:
        to = STATE_FREE;
        break;
    case STATE_FREE:
    case STATE_IDLE:
    case STATE_IDLE_GROWN:
        report_misuse(caller, &d->pub, pool, "put twice");
    default:
        report_misuse(caller, &d->pub, pool, "handed out twice, after it was put twice at the same time");
    }
    if (steps_are_watched()) {
        let_go_watched(pool, d, word, to, caller, site);
        return;
    }
    if (pool->heap.wipe)
        heap_wipe(d->pub.data, d->pub.cap);
    let_go(pool, d, word, to, caller);
}

/* Frees a claimed pooled buffer that a caller had. */
static enum counter drop(bufferpool_t *pool, struct cache *c, struct desc *d, enum counter reason, const char *caller)
{
    PROBE3(pool, drop, reason, d->pub.cap, d);
    cache_moved(pool, c, -1);
    pool_free_buffer(pool, d, false, caller);
    depot_unreserve(&pool->depot, 1);
    return reason;
}

#define KEPT COUNTERS /* not counted: puts_kept follows from the rest */

/* ---- taking back ---- */

/* Caches set bytes of max_idle_bytes aside. If what is really idle leaves room, has them give back what they do not
 * use; then a put that found no room may try again. */
static bool collect_idle_budget(bufferpool_t *pool, size_t cap)
{
    if (stats_idle_bytes(pool) + cap > pool->max_idle_bytes)
        return false;
    store_relaxed(&pool->idle_tight, true);
    pthread_mutex_lock(&pool->caches_lock);
    (void)steal_caches(pool, STEAL_BUDGETS, true);
    pthread_mutex_unlock(&pool->caches_lock);
    return true;
}

/* Takes a claimed buffer back, of that state before; says where it went, which is not yet counted. */
static enum counter give_back(bufferpool_t *pool, struct cache *c, struct desc *d, enum desc_state state,
                              const char *caller)
{
    if (state == STATE_BYPASS) {
        PROBE3(pool, drop, DROPS_BYPASS, d->pub.cap, d);
        free_buffer(pool, d, false, caller);
        return DROPS_BYPASS;
    }
    if (d->pub.cap > pool->max_capacity)
        return drop(pool, c, d, DROPS_OVERSIZE, caller);
    serve_gate(pool, c, caller);
    if (depot_over_cap(&pool->depot, &pool->max_live))
        return drop(pool, c, d, DROPS_OVER_CAP, caller);
    if (!modes_have(MODE_NOPOOL) && wait_hand_over(pool, d)) {
        cache_moved(pool, c, -1);
        return KEPT;
    }
    if (modes_have(MODES_WATCH)) {
        if (modes_have(MODE_QUARANTINE) && (d = quarantine_swap(pool, d)) == NULL)
            return KEPT;
        if (modes_have(MODE_NOPOOL) || (modes_have(MODE_CHAOS) && modes_random(4) == 0))
            return drop(pool, c, d, DROPS_IDLE_LIMIT, caller);
    }
    if (!cache_keep(pool, c, d) && !(collect_idle_budget(pool, d->pub.cap) && cache_keep(pool, c, d)))
        return drop(pool, c, d, DROPS_IDLE_LIMIT, caller);
    reclaim_tick(pool, c, caller);
    return KEPT;
}

/* Puts it into the cache after that moved a part to the depot, if it is full and nothing else is to be seen to; else
 * false, and nothing was put. */
static bool make_room(struct cache *c, struct desc *d, uintptr_t word, const char *caller)
{
    bufferpool_t *pool = c->pool;
    if (pool == NULL || word != load_relaxed(&c->gate) || !depot_is_calm(&pool->depot, &pool->max_live) ||
        !cache_overflow(pool, c))
        return false;
    const bool put = cache_push_plain(c, d, word);
    settle(pool, c, caller);
    return put;
}

/* Frees a bypass buffer, which is nobody else's business; false: it is none, and nothing was done. */
static bool put_bypass(struct desc *d, struct cache *c, uintptr_t word, const char *caller, uintptr_t site)
{
    bufferpool_t *pool = c->pool;
    if (pool == NULL || word != desc_word(pool->tag, STATE_BYPASS) || !desc_table_has(&pool->heap.table, d))
        return false;
    int saved_errno = errno;
    claim(pool, d, word, caller, site);
    PROBE3(pool, drop, DROPS_BYPASS, d->pub.cap, d);
    free_buffer(pool, d, false, caller);
    cache_count(c, DROPS_BYPASS, 1);
    errno = saved_errno;
    return true;
}

/* `c` is what the thread's table has, if a descriptor can be there at all. */
static __attribute__((noinline)) void put_slow(bufferpool_buf_t *buf, struct cache *c, const char *caller,
                                               uintptr_t site)
{
    if (unlikely(!desc_aligned(buf)))
        report_foreign(caller, buf);
    struct desc *d = desc_of(buf);
    uintptr_t word = load_relaxed(&d->word);
    if (likely(make_room(c, d, word, caller)) || put_bypass(d, c, word, caller, site))
        return;
    int saved_errno = errno;
    bufferpool_t *pool = pool_of(d, word);
    if (pool == NULL)
        report_foreign(caller, d);
    c = cache_for_slow_path(pool); /* is there: fork's handlers are, since somebody got the buffer */
    if (has_no_tls_index(pool, c) && cache_push_plain(c, d, word)) {
        errno = saved_errno;
        return;
    }
    claim(pool, d, word, caller, site);
    if (desc_state(word) == STATE_LIVE_GROWN && d->pub.cap <= pool->max_capacity)
        strikes_judge(pool, c, d, caller);
    enum counter reason = give_back(pool, c, d, desc_state(word), caller);
    if (reason != KEPT)
        cache_count(c, reason, 1);
    pressure_relax(pool);
    wait_check(pool);
    errno = saved_errno;
}

static inline __attribute__((always_inline)) void put(bufferpool_buf_t *buf, const char *caller)
{
    if (unlikely(!desc_aligned(buf))) {
        put_slow(buf, &pool_default.shared, caller, SITE);
    } else {
        struct desc *d = desc_of(buf);
        uintptr_t word = load_relaxed(&d->word);
        struct cache *c = tls_cache_at(desc_tls_index_of(word));
        if (unlikely(!cache_push_plain(c, d, word)))
            put_slow(buf, c, caller, SITE);
    }
}

void bufferpool_put(bufferpool_buf_t *buf)
{
    if (likely(buf != NULL))
        put(buf, "bufferpool_put");
}

/* ---- many at once ---- */

/* Takes back what a get_bulk that fails had taken, as if it had never been. */
static void return_uncounted(bufferpool_t *pool, struct cache *c, bufferpool_buf_t **bufs, size_t n, uintptr_t site)
{
    static const char caller[] = "bufferpool_get_bulk";
    while (n > 0) {
        struct desc *d = desc_of(bufs[--n]);
        uintptr_t word = load_relaxed(&d->word);
        claim(pool, d, word, caller, site);
        (void)give_back(pool, c, d, desc_state(word), caller);
    }
}

int bufferpool_get_bulk(bufferpool_t *pool, bufferpool_buf_t **bufs, size_t n)
{
    if (n == 0)
        return 0;
    if (bufs == NULL)
        return EINVAL;
    pool = pool_or_default(pool);
    int saved_errno = errno;
    struct cache *c = cache_for_slow_path(pool);
    if (c == NULL) {
        errno = saved_errno;
        return ENOMEM;
    }
    uint64_t taken[COUNTERS] = {0}, counted = 0;
    for (size_t i = 0; i < n; i++) {
        struct desc *d = c->shared ? NULL : cache_pop_plain(c);
        if (d != NULL) {
            counted++;
        } else {
            enum counter source;
            d = take_slow(pool, c, BYPASS, &source, "bufferpool_get_bulk");
            if (d == NULL) {
                cache_count(c, GETS_THREAD, -counted);
                return_uncounted(pool, c, bufs, i, SITE);
                wait_check(pool);
                errno = saved_errno;
                return ENOMEM;
            }
            taken[source]++;
            (void)hand_over(pool, d, SITE);
        }
        bufs[i] = &d->pub;
    }
    for (int source = GETS_THREAD; source <= GETS_BYPASS; source++)
        if (taken[source] != 0)
            cache_count(c, (enum counter)source, taken[source]);
    wait_check(pool);
    errno = saved_errno;
    return 0;
}

void bufferpool_put_bulk(bufferpool_buf_t **bufs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bufs[i] != NULL)
            put(bufs[i], "bufferpool_put_bulk");
}
