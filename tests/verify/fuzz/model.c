/* SPDX-License-Identifier: MIT
 *
 * model.c - see model.h
 */
#include "model.h"

#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define KIB ((size_t)1 << 10)

#define CAP_MOST (((size_t)1 << 30) - 1)
#define STRIKES  5u

/* The most buffers that idle in a thread's cache while callers hold as many as the cap allows. */
#define IDLE_AT_CAP 8u

/* A cache grows to so many times thread_cache_bytes, and never holds more buffers than that. */
#define CACHE_GROWS 4u
#define CACHE_MOST  4096u

/* ---- idle buffers ---- */

/* Whether some of those that are known as idle may have been freed, and their handles be those of others. */
static bool idle_is_vague(const struct pool *pool)
{
    return pool->idle_vague || pool->ticks;
}

static struct idle *find_idle(struct pool *pool, const bufferpool_buf_t *buf)
{
    for (size_t i = 0; i < pool->idle_count; i++)
        if (pool->idle[i].buf == buf)
            return &pool->idle[i];
    return NULL;
}

static void forget_idle(struct pool *pool, struct idle *idle)
{
    *idle = pool->idle[--pool->idle_count];
}

static void note_idle(struct pool *pool, const struct held *held, bool doubtful)
{
    struct idle *idle = find_idle(pool, held->buf);
    if (idle != NULL) {
        check(idle_is_vague(pool), "a held buffer was taken for an idle one");
        forget_idle(pool, idle);
    }
    if (pool->idle_count == pool->idle_room) {
        pool->idle_room = 2 * pool->idle_room + 16;
        pool->idle = realloc(pool->idle, pool->idle_room * sizeof(*pool->idle));
        check(pool->idle != NULL, "no memory");
    }
    pool->idle[pool->idle_count++] = (struct idle){held->buf, held->cap, held->strikes, doubtful};
}

/* After an operation: either all puts that found more than the cap freed their buffers, or it is not known which. */
static void settle_doubt(struct pool *pool, bool freed)
{
    for (size_t i = pool->idle_count; i > 0; i--) {
        struct idle *idle = &pool->idle[i - 1];
        if (!idle->doubtful)
            continue;
        idle->doubtful = false;
        if (freed)
            forget_idle(pool, idle);
        else
            pool->idle_vague = true;
    }
}

/* ---- pools ---- */

bufferpool_stats_t model_stats(const struct pool *pool)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(pool->handle, &stats);
    return stats;
}

static size_t or_default(size_t value, size_t other)
{
    return value != 0 ? value : other;
}

void model_add_pool(struct model *m, struct pool *pool, bufferpool_t *handle, const bufferpool_config_t *config)
{
    static const bufferpool_config_t none = BUFFERPOOL_CONFIG_INIT;
    const bufferpool_config_t *c = config != NULL ? config : &none;
    const size_t base = or_default(c->buffer_capacity, 32 * KIB);
    pool->handle = handle;
    pool->exists = true;
    pool->hooked = c->alloc != NULL;
    pool->ticks = c->reclaim_interval_ms != BUFFERPOOL_NEVER;
    pool->wiped = (c->flags & BUFFERPOOL_ZERO) != 0;
    pool->base = base;
    pool->max_capacity = or_default(c->max_capacity, base > 1024 * KIB ? base : 1024 * KIB);
    pool->max_idle_bytes = c->max_idle_bytes;
    pool->cache_bytes = or_default(c->thread_cache_bytes, 512 * KIB);
    pool->alignment = or_default(c->alignment, 64);
    pool->cap = c->max_live < CAP_MOST ? c->max_live : CAP_MOST;
    pool->last = model_stats(pool);
    pool->most_exist = pool->last.peak_in_flight;
    if (pool == &m->pools[POOL_DEFAULT])
        pool->users = 1; /* of an input before */
}

void model_remove_pool(struct pool *pool)
{
    check(pool->blocks.count == 0, "%zu blocks were not freed", pool->blocks.count);
    free(pool->idle);
    *pool = (struct pool){0};
}

/* ---- an operation ---- */

void model_begin(struct model *m)
{
    m->operation++;
    for (size_t i = 0; i < POOLS; i++) {
        struct pool *pool = &m->pools[i];
        const uint64_t idle = pool->last.idle_thread + pool->last.idle_depot;
        pool->change = (struct change){.idle = idle,
                                       .idle_bytes = pool->last.idle_bytes,
                                       .beyond = pool->cap != 0 && pool->held + idle > pool->cap};
        pool->blocks.operation = m->operation;
        pool->blocks.failed = 0;
    }
}

static void touch(struct pool *pool, unsigned thread)
{
    pool->change.thread = thread;
    pool->change.touched = true;
    pool->change.may_free |= pool->ticks;
    pool->users |= 1u << thread;
    pool->reclaims = 0;
}

/* ---- held buffers ---- */

struct held *model_find(struct model *m, const bufferpool_buf_t *buf)
{
    for (size_t i = 0; i < m->held_count; i++)
        if (m->held[i].buf == buf)
            return &m->held[i];
    return NULL;
}

void model_check_held(const struct held *held)
{
    const bufferpool_buf_t *buf = held->buf;
    check(buf->data == held->data && buf->cap == held->cap, "a held buffer moved, or its cap changed");
    check(buf->len == held->len, "len is %zu, not %zu", buf->len, held->len);
    check(held->len == 0 || memcmp(buf->data, held->copy, held->len) == 0, "the bytes of a held buffer changed");
}

static void check_block(struct model *m, struct held *held)
{
    const struct pool *pool = held->pool;
    check((uintptr_t)held->data % pool->alignment == 0, "data is not aligned to %zu", pool->alignment);
    for (size_t i = 0; i < m->held_count; i++) {
        const struct held *other = &m->held[i];
        if (other != held)
            check(held->data + held->cap <= other->data || other->data + other->cap <= held->data,
                  "two held buffers share bytes");
    }
    if (!pool->hooked)
        return;
    struct block *block = blocks_find(&pool->blocks, held->data, held->cap);
    check(block != NULL, "a buffer is not within a block of the hook's");
    // cppcheck-suppress nullPointerRedundantCheck ; check does not return otherwise
    check(block->data == NULL || (block->data == held->data && block->cap == held->cap), "a block is used in two ways");
    block->data = held->data;
    block->cap = held->cap;
}

static void make_room(struct held *held, size_t n)
{
    if (n <= held->copy_room)
        return;
    held->copy_room = n + n / 2;
    held->copy = realloc(held->copy, held->copy_room);
    check(held->copy != NULL, "no memory");
}

void model_written(struct held *held)
{
    held->len = held->buf->len;
    make_room(held, held->len);
    if (held->len > 0)
        memcpy(held->copy, held->data, held->len);
}

void model_appended(struct held *held, const unsigned char *bytes, size_t n)
{
    make_room(held, held->len + n);
    if (n > 0)
        memcpy(held->copy + held->len, bytes, n);
    held->len += n;
}

/* ---- get ---- */

static bool at_cap(const struct pool *pool)
{
    return pool->cap != 0 && pool->held >= pool->cap;
}

/* A get of the buffer; what it came from is seen by the cap that it has. */
static void take(struct model *m, struct pool *pool, bufferpool_buf_t *buf)
{
    check(m->held_count < HELD_MAX, "too many are held");
    check(model_find(m, buf) == NULL, "a held buffer was handed out");
    struct held *held = &m->held[m->held_count++];
    *held = (struct held){.buf = buf, .pool = pool, .data = buf->data, .cap = buf->cap};
    check(buf->len == 0, "len is %zu after get", buf->len);

    struct idle *idle = find_idle(pool, buf);
    if (idle == NULL) {
        check(buf->cap == pool->base, "a new buffer has a cap of %zu", buf->cap);
    } else {
        const bool fresh = idle_is_vague(pool) && buf->cap == pool->base;
        check(buf->cap == idle->cap || fresh, "the cap of an idle buffer went from %zu to %zu", idle->cap, buf->cap);
        held->strikes = idle->strikes;
    }
    if (idle != NULL)
        forget_idle(pool, idle);
    check_block(m, held);
    if (pool->wiped) {
        const struct block *block = pool->hooked ? blocks_find(&pool->blocks, buf->data, buf->cap) : NULL;
        if (block == NULL || block->made != m->operation)
            check(all_zero(buf->data, buf->cap), "a buffer was not wiped when it was put");
    }
    if (at_cap(pool)) {
        report_came_by("bypass");
        pool->change.got_at_cap++;
    }
    pool->change.got++;
    pool->change.got_bytes += buf->cap;
    pool->held++;
    pool->held_bytes += buf->cap;
}

void model_got(struct model *m, struct pool *pool, unsigned thread, enum get_kind kind, bufferpool_buf_t *buf,
               int error)
{
    touch(pool, thread);
    const bool refuse = at_cap(pool) && kind != GET;
    if (buf != NULL) {
        check(!refuse, "a get beyond the cap that should be refused was not");
        take(m, pool, buf);
    } else if (refuse) {
        check(error == (kind == TRY_GET ? EAGAIN : ETIMEDOUT), "refused with errno %d", error);
        report_came_by(kind == TRY_GET ? "refused" : "timeout");
        pool->change.may_free |= pool->change.beyond && kind == GET_TIMED; /* it flushed its cache before it waited */
        pool->change.refused++;
    } else {
        check(error == ENOMEM, "a get failed with errno %d", error);
        check(pool->blocks.failed > 0, "a get found no memory although there was some");
        report_came_by("no-memory");
    }
}

void model_got_bulk(struct model *m, struct pool *pool, unsigned thread, bufferpool_buf_t **bufs, size_t n, int error)
{
    if (n == 0) {
        check(error == 0, "a bulk of none failed");
        return;
    }
    touch(pool, thread);
    if (error == 0) {
        for (size_t i = 0; i < n; i++)
            take(m, pool, bufs[i]);
        return;
    }
    check(error == ENOMEM && pool->blocks.failed > 0, "a bulk failed with %d", error);
    report_came_by("bulk-no-memory");
    pool->change.bulk_failed = true;
    pool->change.may_free |= pool->cap != 0; /* what it had taken beyond the cap */
    pool->idle_vague = true;
}

/* ---- put ---- */

/* The cap that the buffer has after it was put: the fifth put after little use shrinks it. */
static void judge(struct held *held)
{
    struct pool *pool = held->pool;
    if (held->cap == pool->base || held->cap > pool->max_capacity)
        return;
    const size_t len = held->len < held->cap ? held->len : held->cap;
    const size_t used = len > held->asked ? len : held->asked;
    if (used >= held->cap / 4) {
        held->strikes = 0;
        return;
    }
    if (++held->strikes < STRIKES)
        return;
    held->strikes = STRIKES - 1;
    size_t fit = pool->base;
    if (used > fit)
        for (fit = 64; fit < used;) /* the least of powers of two that blocks have */
            fit *= 2;
    if (fit >= held->cap || pool->blocks.failed > 0)
        return;
    pool->change.shrinks++;
    pool->held_bytes -= held->cap - fit;
    held->cap = fit;
    held->strikes = 0;
    report_came_by("shrink");
}

/* Counts where the put takes the buffer, which is idle afterwards if that is KEPT. */
enum left { KEPT, FREED, FREED_OVER_CAP };

static enum left leave(struct held *held)
{
    struct pool *pool = held->pool;
    struct change *change = &pool->change;
    const uint64_t exist = pool->held + change->idle;
    pool->held--;
    pool->held_bytes -= held->cap;
    if (held->cap > pool->max_capacity) {
        change->oversize++;
        report_came_by("oversize");
        return FREED;
    }
    if (pool->cap != 0 && exist > pool->cap) {
        change->over_cap++;
        report_came_by("over-cap");
        return FREED_OVER_CAP;
    }
    if (pool->max_idle_bytes != 0 && change->idle_bytes + held->cap > pool->max_idle_bytes) {
        change->idle_limit++;
        report_came_by("idle-limit");
        return FREED;
    }
    change->kept++;
    change->idle++;
    change->idle_bytes += held->cap;
    return KEPT;
}

void model_put(struct model *m, struct held *held, unsigned thread)
{
    struct pool *pool = held->pool;
    touch(pool, thread);
    const struct block *block = NULL;
    if (pool->hooked)
        block = blocks_find(&pool->blocks, held->data, held->cap);
    judge(held);
    pool->change.may_free |= pool->change.beyond; /* what idles in caches, if callers come near the cap */
    const enum left left = leave(held);
    /* what was given back between two puts of one operation may have left room for one that seemed to be too much */
    const bool may_be_kept = pool->max_idle_bytes != 0 && (pool->ticks || pool->change.beyond);
    if (left == KEPT || may_be_kept || left == FREED_OVER_CAP)
        note_idle(pool, held, left != KEPT);
    if (left == KEPT) {
        if (pool->hooked && pool->wiped && block != NULL)
            check(all_zero(held->data, held->cap), "a buffer that was put is not wiped");
    }
    free(held->copy);
    *held = m->held[--m->held_count];
}

/* ---- content ---- */

void model_sized(struct model *m, struct held *held, size_t need, int error)
{
    struct pool *pool = held->pool;
    const bufferpool_buf_t *buf = held->buf;
    if (error != 0) {
        check(error == ENOMEM && pool->blocks.failed > 0, "growing failed with %d", error);
        report_came_by("grow-no-memory");
        return;
    }
    if (need > held->cap) {
        check(buf->cap >= need, "cap is %zu and not %zu", buf->cap, need);
        if (pool->blocks.failed == 0)
            check(buf->cap >= held->cap + held->cap / 2, "grew from %zu to %zu only", held->cap, buf->cap);
        pool->change.grows++;
        pool->held_bytes += buf->cap - held->cap;
        held->data = buf->data;
        held->cap = buf->cap;
        held->strikes = 0;
        check_block(m, held);
        report_came_by(pool->cap != 0 && pool->held > pool->cap ? "bypass-grows" : "grow");
    }
    if (need > held->asked)
        held->asked = need;
}

/* ---- giving back ---- */

static void returned(struct pool *pool, size_t bytes)
{
    pool->change.may_free = pool->change.returned = true;
    pool->change.freed_bytes = bytes;
}

void model_trimmed(struct pool *pool, size_t bytes)
{
    check(bytes == pool->last.idle_bytes, "trim released %zu bytes of %" PRIu64, bytes, pool->last.idle_bytes);
    returned(pool, bytes);
    pool->reclaims = 0;
}

void model_reclaimed(struct pool *pool, size_t bytes)
{
    returned(pool, bytes);
    pool->reclaims++;
    if (bytes > 0)
        report_came_by("reclaim");
}

void model_set_cap(struct pool *pool, size_t cap)
{
    pool->cap = cap < CAP_MOST ? cap : CAP_MOST;
    const bool too_many = pool->cap != 0 && pool->held + pool->change.idle > pool->cap;
    if (!too_many && !pool->change.beyond)
        return;
    const uint64_t left = pool->cap > pool->held ? pool->cap - pool->held : 0;
    if (too_many && left < pool->change.idle)
        report_came_by("cap-lowered");
    pool->change.may_free = pool->change.recapped = true;
    pool->reclaims = 0;
}

void model_flushed(struct model *m, unsigned thread)
{
    for (size_t i = 0; i < POOLS; i++) {
        struct pool *pool = &m->pools[i];
        if (!pool->exists || (pool->users & 1u << thread) == 0)
            continue;
        pool->reclaims = 0;
        pool->change.may_free |= pool->change.beyond;
        if (pool->users == 1u << thread)
            check(model_stats(pool).idle_thread == 0, "a cache that was flushed has buffers");
    }
}

void model_thread_ended(struct model *m, unsigned thread)
{
    model_flushed(m, thread);
    for (size_t i = 0; i < POOLS; i++)
        m->pools[i].users &= ~(1u << thread);
}

/* ---- the statistics ---- */

#define grew(field) (now->field - then->field)
#define same(field, value)                                                                                             \
    check(now->field == (value), #field " is %" PRIu64 ", not %" PRIu64, now->field, (uint64_t)(value))
#define grew_by(field, by)                                                                                             \
    check(grew(field) == (by), #field " grew by %" PRIu64 ", not %" PRIu64, grew(field), (uint64_t)(by))
#define at_most(a, b)                                                                                                  \
    check((a) <= (b), #a " is %" PRIu64 ", more than " #b ", which is %" PRIu64, (uint64_t)(a), (uint64_t)(b))

static void check_laws(const bufferpool_stats_t *now)
{
    const uint64_t gets = now->gets_thread + now->gets_depot + now->gets_fresh + now->gets_bypass;
    const uint64_t drops = now->drops_oversize + now->drops_bypass + now->drops_over_cap + now->drops_idle_limit;
    const uint64_t puts = now->puts_kept + drops;
    check(gets == puts + now->live + now->bypass_live, "%" PRIu64 " gets, %" PRIu64 " puts", gets, puts);
    check((now->idle_thread + now->idle_depot == 0) == (now->idle_bytes == 0), "idle buffers, or bytes, alone");
    check(now->pooled == now->live + now->bypass_live + now->idle_thread + now->idle_depot, "other buffers exist");
    check(now->pooled_bytes == now->live_bytes + now->idle_bytes, "other bytes exist");
}

/* While callers hold as many buffers as the cap allows, few idle: none in the depot, and in caches at most
 * IDLE_AT_CAP each. */
static void check_cap(const struct pool *pool, const bufferpool_stats_t *now)
{
    if (pool->cap == 0)
        return;
    const uint64_t idle = now->idle_thread + now->idle_depot;
    if (pool->held < pool->cap) {
        at_most(pool->held + idle, pool->cap);
        return;
    }
    same(idle_depot, 0);
    at_most(now->idle_thread, pool->held + idle - pool->cap);
    at_most(now->idle_thread, IDLE_AT_CAP * now->thread_caches);
    if (idle > 0)
        report_came_by("idle-at-cap");
}

static void check_gauges(const struct pool *pool, const bufferpool_stats_t *now)
{
    const uint64_t idle = now->idle_thread + now->idle_depot;
    const uint64_t live = pool->cap != 0 && pool->held > pool->cap ? pool->cap : pool->held;
    same(live, live);
    same(live_bytes, pool->held_bytes);
    same(bypass_live, pool->held - live);
    same(bypass_bytes, pool->held == 0 ? 0 : pool->held_bytes * (pool->held - live) / pool->held);
    same(waiting, 0);
    same(max_live, pool->cap);
    check(bufferpool_live(pool->handle) == live, "bufferpool_live differs");
    check(bufferpool_max_live(pool->handle) == pool->cap, "bufferpool_max_live differs");
    check_cap(pool, now);
    if (pool->max_idle_bytes != 0)
        at_most(now->idle_bytes, pool->max_idle_bytes);
    const uint64_t bytes = CACHE_GROWS * (pool->cache_bytes > pool->base ? pool->cache_bytes : pool->base);
    const uint64_t per_cache = bytes / pool->base < CACHE_MOST ? bytes / pool->base : CACHE_MOST;
    at_most(now->thread_caches, (uint64_t)__builtin_popcount(pool->users));
    at_most(now->idle_thread, now->thread_caches * per_cache);
    check(now->idle_bytes >= idle * pool->base, "idle buffers of less than buffer_capacity");
    if (pool->hooked) {
        const uint64_t n = pool->held + idle;
        check(pool->blocks.count == n, "%zu blocks for %" PRIu64 " buffers", pool->blocks.count, n);
        at_most(pool->held_bytes + now->idle_bytes, pool->blocks.bytes);
        same(mapped_bytes, 0);
        same(retained_bytes, 0);
    } else if (now->mapped_bytes != 0) { /* it is 0 under nopool */
        at_most(now->pooled_bytes + now->retained_bytes, now->mapped_bytes);
    }
}

/* Which of the gets were served from what idled, and which made a buffer beyond the cap. */
static void check_sources(const struct pool *pool, const bufferpool_stats_t *then, const bufferpool_stats_t *now)
{
    const struct change *change = &pool->change;
    const uint64_t recycled = grew(gets_thread) + grew(gets_depot);
    const uint64_t idle = then->idle_thread + then->idle_depot;
    check(recycled + grew(gets_fresh) + grew(gets_bypass) == change->got, "%" PRIu64 " buffers were got, not %" PRIu64,
          recycled + grew(gets_fresh) + grew(gets_bypass), change->got);
    at_most(grew(gets_bypass), change->got_at_cap);
    at_most(grew(gets_fresh), change->got - change->got_at_cap);
    at_most(recycled, idle);
    at_most(grew(stolen), then->idle_thread);
    if (change->got == 1)
        at_most(grew(gets_thread), then->idle_thread);
    if (change->got_at_cap == change->got)
        grew_by(gets_depot, 0);
    if (grew(reclaimed_bytes) > 0)
        return;
    const bool alone = pool->users == 1u << change->thread; /* then all that idles is within its reach */
    const uint64_t reach = alone ? idle : then->idle_depot;
    check(recycled >= (change->got < reach ? change->got : reach), "a buffer was made while others idled");
    if (change->got_at_cap > grew(gets_bypass))
        report_came_by("reuse-at-cap");
    if (grew(gets_depot) > 0)
        report_came_by("depot");
    if (grew(stolen) > 0)
        report_came_by("stolen");
}

/* Whether it is known what each put did. Not if a cache kept a buffer although more existed than the cap, or gave one
 * up for that; nor if what was given back between two puts of one operation left room for others. */
static bool puts_are_clear(const struct pool *pool, const bufferpool_stats_t *then, const bufferpool_stats_t *now)
{
    const struct change *change = &pool->change;
    const bool freed = grew(reclaimed_bytes) > 0 && !change->returned && !change->recapped;
    if (change->beyond && (freed || grew(drops_over_cap) != change->over_cap))
        return false;
    return !(pool->max_idle_bytes != 0 && pool->ticks && freed);
}

static void check_puts(const struct pool *pool, const bufferpool_stats_t *then, const bufferpool_stats_t *now)
{
    const struct change *change = &pool->change;
    grew_by(drops_oversize, change->oversize);
    grew_by(drops_bypass, 0);
    if (puts_are_clear(pool, then, now)) {
        grew_by(drops_over_cap, change->over_cap);
        grew_by(puts_kept, change->kept);
        grew_by(drops_idle_limit, change->idle_limit);
        return;
    }
    check(grew(puts_kept) + grew(drops_over_cap) + grew(drops_idle_limit) ==
              change->kept + change->over_cap + change->idle_limit,
          "a put is not counted");
    at_most(grew(drops_over_cap), change->over_cap);
    if (pool->max_idle_bytes == 0)
        grew_by(drops_idle_limit, 0);
    if (grew(drops_over_cap) < change->over_cap)
        report_came_by("kept-at-cap");
}

static void check_counters(const struct pool *pool, const bufferpool_stats_t *then, const bufferpool_stats_t *now)
{
    const struct change *change = &pool->change;
    grew_by(gets_refused, change->refused);
    grew_by(grows, change->grows);
    grew_by(shrinks, change->shrinks);
    check_sources(pool, then, now);
    check_puts(pool, then, now);
}

/* Nothing is freed for the cap's sake but what is beyond it. */
static void check_enough_left(const struct pool *pool, const bufferpool_stats_t *then, uint64_t idle)
{
    const struct change *change = &pool->change;
    if (pool->cap == 0 || pool->ticks || change->returned || change->bulk_failed || change->idle_limit > 0 ||
        pool->max_idle_bytes != 0)
        return;
    const uint64_t existed = then->live + then->bypass_live + then->idle_thread + then->idle_depot;
    const uint64_t least = existed < pool->cap ? existed : pool->cap;
    check(pool->held + idle + change->oversize >= least, "of %" PRIu64 " buffers %" PRIu64 " are left", existed,
          pool->held + idle);
}

static void check_idle(const struct pool *pool, const bufferpool_stats_t *then, const bufferpool_stats_t *now)
{
    const struct change *change = &pool->change;
    const uint64_t freed = grew(reclaimed_bytes);
    const uint64_t recycled = grew(gets_thread) + grew(gets_depot);
    const uint64_t after = now->idle_thread + now->idle_depot;
    check(freed == 0 || change->may_free, "%" PRIu64 " idle bytes were freed", freed);
    if (change->returned)
        grew_by(reclaimed_bytes, change->freed_bytes);
    check_enough_left(pool, then, after);
    if (change->bulk_failed || !puts_are_clear(pool, then, now))
        return;
    const uint64_t taken = change->got_bytes - (grew(gets_fresh) + grew(gets_bypass)) * pool->base;
    same(idle_bytes, change->idle_bytes - taken - freed);
    const uint64_t before = change->idle - recycled;
    at_most(after, before);
    check((after == before) == (freed == 0), "%" PRIu64 " idle bytes were freed, and %" PRIu64 " buffers", freed,
          before - after);
    if (pool->cap != 0 && change->recapped && !change->beyond && !pool->ticks) { /* it was lowered */
        const uint64_t left = pool->cap > pool->held ? pool->cap - pool->held : 0;
        check(after == (before < left ? before : left), "a lowered cap left %" PRIu64 " idle", after);
    }
}

static void check_pool(struct pool *pool)
{
    const bufferpool_stats_t then = pool->last, stats = model_stats(pool), *now = &stats;
    check_laws(now);
    check_counters(pool, &then, now);
    check_idle(pool, &then, now);
    check_gauges(pool, now);

    const uint64_t idle = now->idle_thread + now->idle_depot;
    check(now->peak_in_flight >= then.peak_in_flight, "peak_in_flight fell");
    if (pool->most_exist < pool->held + idle)
        pool->most_exist = pool->held + idle;
    /* there may have been more between two calls of the operation, or a place for one that was not made */
    const bool unseen = pool->blocks.failed > 0 || (pool->ticks && now->reclaimed_bytes != then.reclaimed_bytes);
    if (unseen && pool->most_exist < now->peak_in_flight)
        pool->most_exist = now->peak_in_flight;
    same(peak_in_flight, pool->most_exist);

    if (pool->reclaims >= 3)
        check(idle == 0, "%" PRIu64 " are idle after three reclaims", idle);
    settle_doubt(pool, puts_are_clear(pool, &then, now));
    if (now->reclaimed_bytes != then.reclaimed_bytes)
        pool->idle_vague = true;
    if (idle == 0) {
        pool->idle_count = 0;
        pool->idle_vague = false;
    }
    pool->last = stats;
}

void model_check(struct model *m)
{
    for (size_t i = 0; i < POOLS; i++)
        if (m->pools[i].exists)
            check_pool(&m->pools[i]);
    if (m->held_count > 0)
        model_check_held(&m->held[m->operation % m->held_count]);
}
