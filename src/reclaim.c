/* SPDX-License-Identifier: MIT
 *
 * reclaim.c - idle memory goes back: by trim, by a lowered cap, and by itself; grown buffers shrink
 *
 * Two marks tell what a period needed. Buffers that lay in the depot at its lowest point were not needed. A thread
 * cache in which nothing came or went was not needed either, and is stolen. The sum of both is `due`, and is freed in
 * the next period.
 *
 *     512 once, then 64 at a time       due after the first period that saw only the 64: 448
 *     512 once, then nothing            due after the first period without a call: 512
 *
 * Calls look at the clock when they use the depot, and some gets of those that do not (reclaim_look): mostly one in 48,
 * which hides its cost; one in 511 where nothing lies in the depot; one in two where 48 would take too long. So
 * whatever the rate of its gets, a thread ends the period in which the burst was, ends the next, and frees what is due,
 * all within three intervals and 64 gets. In figures: 48 gets until the first look, then at most two for each of six
 * looks. (Only a thread at full speed beside an empty depot, which gets that rare at the very moment when other threads
 * fill the depot, may take up to 511 gets until its first look.)
 *
 * Magazines are popped one at a time, so the depot does not look empty to other threads while it holds more, and every
 * step is bounded: by what the depot held at the beginning, by STEP and a magazine more, or by a quarter of what is
 * due. A call never puts buffers beyond the cap back into the depot. If it puts a part of a magazine back, it looks at
 * the cap once more afterwards, since a call that lowered the cap meanwhile found the depot without that part. Blocks
 * are freed without any lock but the heap's. One thread at a time reclaims; a second one goes on without.
 *
 * What is relaxed: `due`, period_end_ms, idle_tight, idle_skips and the depot's `low` say how much and when, and mostly
 * the one thread that reclaims moves them; an old value frees a little too much, or a little late. max_live is read for
 * its number alone.
 *
 * Grown buffers: a strike is a put after a turn that used less than a quarter of the buffer, or no more than
 * buffer_capacity. STRIKES of them in a row shrink it. One well-used turn clears them, so that a buffer that is needed
 * now and then is not shrunk and grown again and again. Strikes do not bound memory: a pool whose callers use what they
 * grow has up to max_live x max_capacity bytes, unless max_idle_bytes bounds the idle ones.
 */
#include "reclaim.h"

#include "cache.h"
#include "call.h"
#include "clock.h"
#include "debug/quarantine.h"
#include "debug/watch.h"
#include "depot.h"
#include "fork.h"
#include "heap/block.h"
#include "heap/heap.h"
#include "life.h"
#include "pressure.h"
#include "probes.h"
#include "registry.h"
#include "shards.h"
#include "steal.h"
#include "tls_cache.h"

#define STEP 32u

/* The running total of a call that frees. */
struct freed {
    const char *function; /* for the probe */
    size_t enough;        /* so many bytes end it, if the cap allows */
    uint32_t count;
    size_t bytes; /* the sum of their caps */
    /* a part of the last magazine went back, which a call that lowered the cap meanwhile may have missed */
    bool restored;
};

/* Takes a magazine out of the depot and frees at most `most` of its buffers, and those that are beyond the cap. Returns
 * false if the depot is empty. */
static bool free_magazine(bufferpool_t *pool, uint32_t most, struct freed *so_far, bool defer)
{
    const struct magazine magazine = shards_pop_some(&pool->depot, &pool->heap.table, 0);
    if (magazine.head == NULL)
        return false;
    struct desc *bufs[MAGAZINE_MAX];
    magazine_open(&magazine, &pool->heap.table, bufs);
    uint32_t freed = 0;
    size_t size = 0;
    for (; freed < magazine.n &&
           ((freed < most && so_far->bytes + size < so_far->enough) || depot_over_cap(&pool->depot, &pool->max_live));
         freed++) {
        size += bufs[freed]->pub.cap;
        life_free(pool, bufs[freed], defer);
        depot_discard(&pool->depot, 1);
    }
    cache_left_depot(pool, freed, size);
    if (freed < magazine.n)
        depot_restore(&pool->depot, &pool->heap.table, bufs + freed, magazine.n - freed, magazine.grown);
    if (unlikely(pressure_is_short(pool))) /* what was freed here counts too */
        pressure_end_overload(pool);
    wait_serve(pool); /* here too: there may be many magazines to come */
    PROBE3(pool, reclaim, size, freed, so_far->function);
    so_far->restored = freed < magazine.n;
    so_far->count += freed;
    so_far->bytes += size;
    return true;
}

/* Frees at most `most` buffers, none after `enough` bytes, and further ones beyond the cap that lie in a magazine of
 * which a part would go back. Returns the bytes of all, and adds how many they are to *count. */
static size_t free_until(bufferpool_t *pool, uint32_t most, size_t enough, bool defer, uint32_t *count)
{
    struct freed freed = {report_context.function, enough, 0, 0, false};
    while (((freed.count < most && freed.bytes < enough) ||
            (freed.restored && depot_over_cap(&pool->depot, &pool->max_live))) &&
           free_magazine(pool, freed.count < most ? most - freed.count : 0, &freed, defer))
        ;
    *count += freed.count;
    return freed.bytes;
}

static size_t free_buffers(bufferpool_t *pool, uint32_t most, bool defer)
{
    uint32_t count = 0;
    return free_until(pool, most, SIZE_MAX, defer, &count);
}

/* Frees buffers beyond the cap: at most `most`, and the further ones in the magazine of the last. */
static void free_surplus(bufferpool_t *pool, struct cache *c, uint32_t most, bool defer)
{
    struct freed freed = {report_context.function, SIZE_MAX, 0, 0, false};
    if (modes_have(MODE_QUARANTINE) && depot_over_cap(&pool->depot, &pool->max_live))
        freed.bytes = quarantine_release(pool);
    while ((freed.count < most || freed.restored) && depot_over_cap(&pool->depot, &pool->max_live) &&
           free_magazine(pool, 0, &freed, defer))
        ;
    if (freed.bytes > 0)
        cache_count(c, RECLAIMED_BYTES, freed.bytes);
}

void reclaim_surplus(bufferpool_t *pool, struct cache *c)
{
    free_surplus(pool, c, STEP, false);
}

/* In the depot, or held back by a debug mode. */
static bool some_idle(const bufferpool_t *pool)
{
    return !shards_are_empty(&pool->depot) ||
           (modes_have(MODE_QUARANTINE) && load_relaxed(&pool->quarantine.count) != 0);
}

void reclaim_keep_cap(bufferpool_t *pool, struct cache *c)
{
    if (unlikely(pressure_is_short(pool)))
        pressure_end_overload(pool);
    while (unlikely(depot_over_cap(&pool->depot, &pool->max_live)) && some_idle(pool))
        reclaim_surplus(pool, c);
}

void reclaim_after_thread(bufferpool_t *pool, struct cache *c)
{
    reclaim_keep_cap(pool, c);
    members_serve(pool);
}

/* ---- by working set ---- */

/* What lies in the depot from now on and is not touched will not have been needed. */
static void begin_marking(bufferpool_t *pool)
{
    shards_mark(&pool->depot, &pool->heap.table);
}

/* Ends a period at `end_ms`: the buffers that it did not need are due. If some still are from the period before, the
 * pace stays what it was. */
static void end_period(bufferpool_t *pool, uint64_t end_ms)
{
    struct reclaim *reclaim = &pool->reclaim;
    const bool goes_on = load_relaxed(&reclaim->due) > 0;
    const uint32_t low = shards_low(&pool->depot);
    const uint32_t due = low + steal(pool, STEAL_UNUSED, false).buffers;
    if (!goes_on || due > reclaim->due_at_first)
        reclaim->due_at_first = due;
    if (!goes_on)
        reclaim->due_since_ms = end_ms;
    store_relaxed(&reclaim->due, due);
    store_relaxed(&pool->idle_tight, false);
    store_relaxed(&pool->idle_skips, 0);
    begin_marking(pool);
}

/* Frees at most `most` of what is due. */
static size_t free_due(bufferpool_t *pool, uint32_t most, bool defer)
{
    uint32_t due = load_relaxed(&pool->reclaim.due);
    if (due == 0)
        return 0;
    if (most > due)
        most = due;
    size_t bytes = free_buffers(pool, most, defer);
    /* the depot held less than that: then they were needed after all */
    store_relaxed(&pool->reclaim.due, bytes > 0 ? due - most : 0);
    return bytes;
}

static bool begin_reclaiming(bufferpool_t *pool)
{
    return !atomic_flag_test_and_set_explicit(&pool->reclaim.busy, memory_order_acquire); /* with end_reclaiming */
}

static void end_reclaiming(bufferpool_t *pool, struct cache *c, size_t bytes)
{
    if (bytes > 0)
        cache_count(c, RECLAIMED_BYTES, bytes);
    atomic_flag_clear_explicit(&pool->reclaim.busy, memory_order_release); /* with begin_reclaiming */
}

/* If a period is over, the next begins. Returns when it was over; 0: it is not, or this is the first. */
static uint64_t period_ended(bufferpool_t *pool, uint64_t now_ms)
{
    const uint64_t end_ms = load_relaxed(&pool->reclaim.period_end_ms);
    if (now_ms < end_ms)
        return 0;
    store_relaxed(&pool->reclaim.period_end_ms, now_ms + pool->reclaim_interval_ms);
    /* The first begins; or no call that used the depot has looked at the clock for longer than a period, so what lies
     * there was not needed for so long. */
    if (end_ms == 0 || now_ms - end_ms >= pool->reclaim_interval_ms)
        begin_marking(pool);
    return end_ms;
}

/* How many buffers a call frees. What is due goes evenly within half a period, but no call frees more than a quarter of
 * it, or fewer than STEP. */
static uint32_t part_of_due(const bufferpool_t *pool, uint64_t now_ms)
{
    const uint64_t interval_ms = pool->reclaim_interval_ms, ms = now_ms - pool->reclaim.due_since_ms;
    const uint64_t first = pool->reclaim.due_at_first, due = load_relaxed(&pool->reclaim.due);
    const uint64_t gone = first * 2 * (ms < interval_ms ? ms : interval_ms) / interval_ms; /* if it was on time */
    const uint64_t part = due + gone > first ? due + gone - first : 0, quarter = first / 4 + 1;
    const uint64_t most = part < quarter ? part : quarter;
    return most > STEP ? (uint32_t)most : STEP;
}

/* Gives back the memory of idle buffers that were due and are freed now. What is due idled for all of the last period,
 * so callers had it in the period before that, at most three intervals ago. So if intervals are short, and callers come
 * back, they find the memory still there. */
static void settle_due(bufferpool_t *pool, size_t bytes)
{
    if (bytes > 0)
        heap_settle(&pool->heap, bytes, (uint64_t)3 * pool->reclaim_interval_ms, life_spare(pool));
}

static bool is_time(const bufferpool_t *pool, uint64_t now_ms)
{
    return load_relaxed(&pool->reclaim.due) > 0 || now_ms >= load_relaxed(&pool->reclaim.period_end_ms);
}

void reclaim_on_time(bufferpool_t *pool, struct cache *c)
{
    if (pool->reclaim_interval_ms == BUFFERPOOL_NEVER)
        return;
    const uint64_t now_ms = clock_coarse_ms();
    if (likely(!is_time(pool, now_ms)) || !begin_reclaiming(pool))
        return;
    const uint64_t ended_ms = period_ended(pool, now_ms);
    if (ended_ms != 0)
        end_period(pool, ended_ms);
    const size_t bytes = free_due(pool, part_of_due(pool, now_ms), true);
    end_reclaiming(pool, c, bytes);
    settle_due(pool, bytes);
}

/* One get in so many looks: in the next LOOK_USUALLY gets, if the last took more than a sixteenth of a period; and if
 * nothing lies in the depot, in LOOK_SELDOM gets that will take less. */
#define LOOK_OFTEN  2u
#define LOOK_SELDOM 511u /* odd: it sees all of a swing of 64 buffers (allowance_is_excess) */

static uint64_t next_look(const bufferpool_t *pool, struct cache *c, uint64_t now_ms)
{
    if (c->often > 1) { /* the LOOK_USUALLY gets are not over */
        c->often--;
        return LOOK_OFTEN;
    }
    const uint32_t some_ms = pool->reclaim_interval_ms / 16;
    const uint64_t ms = (uint32_t)now_ms - c->looked_ms;
    c->looked_ms = (uint32_t)now_ms;
    c->often = ms > some_ms ? LOOK_USUALLY / LOOK_OFTEN : 0;
    if (c->often > 0)
        return LOOK_OFTEN;
    const bool seldom = ms * (LOOK_SELDOM / LOOK_USUALLY) <= some_ms && shards_are_empty_for(&pool->depot, c);
    return seldom ? LOOK_SELDOM : LOOK_USUALLY;
}

bool reclaim_look(bufferpool_t *pool, struct cache *c)
{
    if (pool->reclaim_interval_ms == BUFFERPOOL_NEVER) {
        cache_count_anew(c, LOOK_NEVER);
        return false;
    }
    const uint64_t now_ms = clock_coarse_ms();
    if (now_ms >= load_relaxed(&pool->reclaim.period_end_ms) + pool->reclaim_interval_ms) /* as in period_ended */
        cache_begin_notes(c);
    cache_note(c, cache_idle(c));
    cache_count_anew(c, next_look(pool, c, now_ms));
    return is_time(pool, now_ms);
}

void reclaim_tick(bufferpool_t *pool, struct cache *c)
{
    reclaim_on_time(pool, c);
    if (unlikely(depot_over_cap(&pool->depot, &pool->max_live))) /* also a get comes here, which frees only so many */
        reclaim_surplus(pool, c);
}

/* Frees what is due, in steps, so that it ends soon once it is told to stop. */
static size_t free_all_due(bufferpool_t *pool, const _Atomic(bool) *stop)
{
    size_t bytes = 0;
    while (load_relaxed(&pool->reclaim.due) > 0 && !load_relaxed(stop))
        bytes += free_due(pool, STEP, true);
    return bytes;
}

/* Buffers beyond a lowered cap, which no call has come for. */
static void free_rest(bufferpool_t *pool, const _Atomic(bool) *stop)
{
    pressure_take_rest(pool);
    for (uint32_t steps = shards_idle(&pool->depot, &pool->heap.table) / STEP + 1; steps > 0 && !load_relaxed(stop);
         steps--)
        reclaim_surplus(pool, &pool->shared);
}

uint64_t reclaim_in_background(bufferpool_t *pool, const _Atomic(bool) *stop)
{
    struct call call = call_begin("background", 0);
    free_rest(pool, stop);
    if (begin_reclaiming(pool)) {
        size_t bytes = free_all_due(pool, stop); /* what the ticks of the last period left */
        const uint64_t now_ms = clock_coarse_ms();
        if (period_ended(pool, now_ms) != 0) {
            end_period(pool, now_ms);
            bytes += free_all_due(pool, stop);
        }
        end_reclaiming(pool, &pool->shared, bytes);
        settle_due(pool, bytes);
    }
    reclaim_keep_cap(pool, &pool->shared);
    const uint64_t due_ms = heap_ebb(&pool->heap, life_spare(pool));
    const uint64_t end_ms = load_relaxed(&pool->reclaim.period_end_ms);
    call_end(&call, pool);
    return due_ms < end_ms ? due_ms : end_ms;
}

/* ---- grown buffers ---- */

#define STRIKES 5u

static size_t power_of_two_for(size_t n)
{
    size_t power = 64; /* the smallest of slabs */
    while (power < n)
        power *= 2;
    return power;
}

/* Returns the cap that fits the last use, or the buffer's own cap if the last turn is no reason to shrink it. Counts
 * strikes. */
static size_t judged_cap(const bufferpool_t *pool, struct desc *d)
{
    size_t cap = d->pub.cap;
    size_t used = desc_last_use(d);
    if (desc_is_good_use(d, used, pool->heap.base)) {
        desc_set_strikes(d, 0);
        return cap;
    }
    if (desc_strikes(d) + 1 < STRIKES) {
        desc_set_strikes(d, desc_strikes(d) + 1);
        return cap;
    }
    return used <= pool->heap.base ? pool->heap.base : power_of_two_for(used);
}

void reclaim_judge(bufferpool_t *pool, struct cache *c, struct desc *d)
{
    size_t cap = d->pub.cap, fit = judged_cap(pool, d);
    if (fit >= cap)
        return;
    if (!block_intact(&pool->heap, d))
        report_misuse(&d->pub, pool, REPORT_OVERWRITTEN);
    if (modes_have(MODES_WATCH))
        watch_resize(pool, d);
    const bool shrunk = heap_shrink(&pool->heap, d, fit, life_spare(pool));
    if (modes_have(MODES_WATCH))
        watch_resized(pool, d, true);
    if (!shrunk)
        return;
    sub_relaxed(&pool->grown_extra, cap - d->pub.cap);
    if (d->pub.cap == pool->heap.base)
        store_relaxed(&d->word, desc_word(pool->tag, STATE_IDLE));
    cache_count(c, SHRINKS, 1);
}

/* ---- when called ---- */

/* Purges the heap after buffers of so many bytes were freed. Returns how many bytes went: less where the system refuses
 * to take locked memory. */
static size_t purge_after(bufferpool_t *pool, size_t bytes)
{
    const size_t refused = heap_purge(&pool->heap);
    return refused < bytes ? bytes - refused : 0;
}

size_t bufferpool_reclaim(bufferpool_t *pool)
{
    pool = open_pool_of_call(pool, "bufferpool_reclaim");
    struct call call = call_begin("bufferpool_reclaim", CALLER);
    const bool stepped_out = fork_enter(pool);
    size_t bytes = 0;
    if (begin_reclaiming(pool)) {
        bytes = free_due(pool, UINT32_MAX, true);
        end_period(pool, clock_coarse_ms());
        bytes += free_due(pool, UINT32_MAX, true);
        end_reclaiming(pool, tls_cache_own_or_shared(pool), bytes);
        bytes = purge_after(pool, bytes);
    }
    reclaim_keep_cap(pool, tls_cache_own_or_shared(pool));
    fork_leave(stepped_out);
    call_end(&call, pool);
    return bytes;
}

/* Counts in the cache. */
static size_t trim(bufferpool_t *pool, struct cache *c)
{
    size_t bytes = modes_have(MODE_QUARANTINE) ? quarantine_release(pool) : 0;
    (void)steal(pool, STEAL_ALL, true);
    bytes += free_buffers(pool, shards_idle(&pool->depot, &pool->heap.table), true);
    store_relaxed(&pool->reclaim.due, 0); /* those are among them */
    bytes = purge_after(pool, bytes);
    cache_count(c, RECLAIMED_BYTES, bytes);
    reclaim_keep_cap(pool, c);
    return bytes;
}

void reclaim_trim_in_background(bufferpool_t *pool)
{
    struct call call = call_begin("background", 0);
    (void)trim(pool, &pool->shared);
    call_end(&call, pool);
}

size_t bufferpool_trim(bufferpool_t *pool)
{
    pool = open_pool_of_call(pool, "bufferpool_trim");
    struct call call = call_begin("bufferpool_trim", CALLER);
    const bool stepped_out = fork_enter(pool);
    const size_t bytes = trim(pool, tls_cache_own_or_shared(pool));
    fork_leave(stepped_out);
    call_end(&call, pool);
    return bytes;
}

void reclaim_all_idle(bufferpool_t *pool, struct cache *c)
{
    if (modes_have(MODE_QUARANTINE))
        (void)quarantine_release(pool);
    const size_t bytes = free_buffers(pool, UINT32_MAX, false);
    if (bytes > 0)
        cache_count(c, RECLAIMED_BYTES, bytes);
}

void reclaim_caches(bufferpool_t *pool)
{
    if (modes_have(MODE_QUARANTINE))
        (void)quarantine_release(pool);
    (void)steal(pool, STEAL_ALL, true);
}

/* Frees buffers in the depot until so many bytes of the budget go with them. Returns how many do, about. */
static size_t free_bytes(bufferpool_t *pool, size_t bytes)
{
    const size_t plain = heap_bytes(&pool->heap, pool->heap.base), more = plain - pool->heap.base;
    struct freed freed = {.function = report_context.function, .enough = SIZE_MAX};
    size_t gone = 0;
    while (gone < bytes) {
        const size_t most = (bytes - gone + plain - 1) / plain;
        if (!free_magazine(pool, most < MAGAZINE_MAX ? (uint32_t)most : MAGAZINE_MAX, &freed, true))
            break;
        gone = freed.bytes + freed.count * more;
    }
    if (freed.bytes > 0)
        cache_count(&pool->shared, RECLAIMED_BYTES, freed.bytes);
    return gone;
}

size_t reclaim_idle(bufferpool_t *pool, size_t bytes, bool from_caches)
{
    if (from_caches)
        reclaim_caches(pool);
    const size_t gone = heap_give_up(&pool->heap, bytes);
    const size_t freed = gone < bytes ? free_bytes(pool, bytes - gone) : 0;
    reclaim_keep_cap(pool, &pool->shared);
    if (freed == 0 || pool->heap.alloc != NULL)
        return gone + freed;
    return gone + heap_give_up(&pool->heap, bytes - gone);
}

/* Frees idle buffers of at least so many bytes, if there are as many: of the depot, and of thread caches only if the
 * depot has too few. Returns the bytes. */
static size_t free_some(bufferpool_t *pool, size_t bytes)
{
    uint32_t count = 0;
    size_t freed = free_until(pool, shards_idle(&pool->depot, &pool->heap.table), bytes, true, &count);
    if (freed < bytes) {
        freed += modes_have(MODE_QUARANTINE) ? quarantine_release(pool) : 0;
        (void)steal(pool, STEAL_ALL, true);
        if (freed < bytes)
            freed += free_until(pool, shards_idle(&pool->depot, &pool->heap.table), bytes - freed, true, &count);
    }
    const uint32_t due = load_relaxed(&pool->reclaim.due); /* those are among them, as far as that goes */
    store_relaxed(&pool->reclaim.due, due > count ? due - count : 0);
    return freed;
}

size_t bufferpool_trim_some(bufferpool_t *pool, size_t bytes)
{
    pool = open_pool_of_call(pool, "bufferpool_trim_some");
    struct call call = call_begin("bufferpool_trim_some", CALLER);
    const bool stepped_out = fork_enter(pool);
    const size_t retained = heap_give_up(&pool->heap, bytes);
    size_t freed = 0;
    if (retained < bytes) {
        freed = free_some(pool, bytes - retained);
        freed = freed > 0 ? purge_after(pool, freed) : 0;
        cache_count(tls_cache_own_or_shared(pool), RECLAIMED_BYTES, freed);
    }
    reclaim_keep_cap(pool, tls_cache_own_or_shared(pool));
    fork_leave(stepped_out);
    call_end(&call, pool);
    return retained + freed;
}

static void flush(bufferpool_t *pool, struct cache *c)
{
    pressure_flush(pool, c);
    reclaim_keep_cap(pool, c);
    wait_serve(pool);
    members_serve(pool);
}

void bufferpool_thread_flush(void)
{
    const bool stepped_out = fork_enter(NULL);
    struct call call = call_begin("bufferpool_thread_flush", CALLER);
    tls_cache_for_own(flush);
    call_end(&call, NULL);
    fork_leave(stepped_out);
}

void bufferpool_set_max_live(bufferpool_t *pool, size_t n)
{
    pool = open_pool_of_call(pool, "bufferpool_set_max_live");
    struct call call = call_begin("bufferpool_set_max_live", CALLER);
    const bool stepped_out = fork_enter(pool);
    store_seq_cst(&pool->max_live, depot_cap(n)); /* with depot_reserve: depot.c (6) */
    if (depot_over_cap(&pool->depot, &pool->max_live)) {
        pressure_enter(pool); /* buffers that idle in thread caches come to the depot, and puts drop the surplus */
        free_surplus(pool, tls_cache_own_or_shared(pool), UINT32_MAX, true);
        (void)heap_purge(&pool->heap);
    }
    reclaim_keep_cap(pool, tls_cache_own_or_shared(pool));
    pressure_relax(pool);
    wait_serve(pool);
    /* again: a call that served waiters had a magazine in transit, but has put it back by now */
    free_surplus(pool, tls_cache_own_or_shared(pool), UINT32_MAX, false);
    fork_leave(stepped_out);
    call_end(&call, pool);
}

size_t bufferpool_max_live(const bufferpool_t *pool)
{
    return load_relaxed(&pool_of_call(pool, "bufferpool_max_live")->max_live);
}
