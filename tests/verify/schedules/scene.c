/* SPDX-License-Identifier: MIT
 *
 * scene.c - scene.h
 */
#include "support/accounts.h"

#include "scene.h"

#include "registry.h"
#include "shards.h"
#include "tls_cache.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

enum {
    CAPACITY = 64,
    BUFFERS = 32, /* descriptors of a pool */
    BLOCKS = 32,
    BLOCK = 256,
    HELD = 8,  /* by a thread */
    LOOPED = 2 /* waiters of a thread */
};

static bufferpool_t *pool;
static size_t cap;
static size_t limit;      /* pooled buffers that may exist */
static size_t lowered_to; /* 0: the cap was not lowered */
static unsigned bypassed, refused, n_gets, n_puts;
static bool closed; /* scene_close was called */
static bool buried; /* the pool has ended */
static bufferpool_notifier_t *notifier;
static unsigned n_waiting; /* waiters that wait or are ready */

static struct caller {
    bufferpool_buf_t *held[HELD];
    unsigned n;
    bool in_call;
    bool in_get, saw_all_out;
    uint64_t beyond; /* gets that went beyond the cap, before the call */
    bufferpool_waiter_t waiters[LOOPED];
    bool waits[LOOPED];
} callers[EXPLORER_THREADS];

static bool is_held[BUFFERS]; /* by descriptor's number */
static uint64_t stamps[BUFFERS], next_stamp;

/* ---- blocks ---- */

static _Alignas(64) unsigned char memory[BLOCKS][BLOCK];
static bool in_use[BLOCKS];
static size_t blocks;

static void *take_block(size_t size, size_t align, void *ctx)
{
    (void)ctx;
    explorer_check(size <= BLOCK && align <= 64 && explorer_locks() == 0);
    explorer_step();
    for (size_t i = 0; i < BLOCKS; i++)
        if (!in_use[i]) {
            in_use[i] = true;
            blocks++;
            return memory[i];
        }
    return NULL;
}

static void free_block(void *block, size_t size, void *ctx)
{
    (void)ctx;
    (void)size;
    explorer_check(explorer_locks() == 0);
    explorer_step();
    const size_t i = (size_t)((unsigned char *)block - memory[0]) / BLOCK;
    explorer_check(block == memory[i] && in_use[i]);
    in_use[i] = false;
    blocks--;
}

/* ---- the laws at a step ---- */

static struct desc *descriptor(uint32_t index)
{
    return desc_at(&pool->heap.table, index);
}

static bool is_pooled(const struct desc *d)
{
    const enum desc_state state = desc_state(load_relaxed(&d->word));
    return state == STATE_LIVE || state == STATE_IDLE || state == STATE_LIVE_GROWN || state == STATE_IDLE_GROWN;
}

static size_t pooled_held(void)
{
    size_t n = 0;
    for (uint32_t i = load_relaxed(&pool->heap.table.used); i > 0; i--)
        n += is_held[i] && is_pooled(descriptor(i));
    return n;
}

static size_t calls_under_way(void)
{
    size_t n = n_waiting;
    for (unsigned t = 0; t < EXPLORER_THREADS; t++)
        n += callers[t].in_call;
    return n;
}

/* How many are neither held nor in the depot. A call that is under way has one of them, as has a ready waiter. */
static size_t outside_depot(struct depot_counts counts)
{
    const size_t elsewhere = pooled_held() + depot_idle(&pool->depot, &pool->heap.table);
    return counts.pooled > elsewhere ? counts.pooled - elsewhere : 0;
}

/* Whether callers have as many as the cap allows, with one in the hands of each other call and waiter. */
static bool all_out(const struct caller *but)
{
    size_t n = pooled_held() + n_waiting;
    for (unsigned t = 0; t < EXPLORER_THREADS; t++)
        n += &callers[t] != but && callers[t].in_call;
    return n >= load_relaxed(&pool->max_live);
}

void scene_at_each_step(void)
{
    if (pool == NULL || load_relaxed(&pool->life) == POOL_ENDED)
        return;
    const struct depot_counts counts = depot_counts(&pool->depot);
    size_t exist = 0;
    for (uint32_t i = load_relaxed(&pool->heap.table.used); i > 0; i--)
        exist += is_pooled(descriptor(i));
    explorer_check(exist <= counts.pooled);
    if (closed) /* from here on holds are counted there too */
        return;
    size_t beyond = bypassed; /* those that were made, and those that may be made now, beyond the cap */
    for (unsigned t = 0; t < EXPLORER_THREADS; t++)
        beyond += callers[t].in_get;
    explorer_check(exist <= limit || exist - limit <= beyond);
    explorer_check(counts.pooled <= cap || counts.pooled - cap <= beyond);
    explorer_check(!counts.pressure || outside_depot(counts) <= counts.tickets + calls_under_way());
    if (lowered_to != 0) {
        const size_t now = counts.pooled > lowered_to ? counts.pooled : lowered_to;
        limit = now < limit ? now : limit;
    }
    for (unsigned t = 0; t < EXPLORER_THREADS; t++)
        if (callers[t].in_get && !callers[t].saw_all_out)
            callers[t].saw_all_out = all_out(&callers[t]);
}

/* ---- calls ---- */

static struct caller *caller(void)
{
    return &callers[explorer_self()];
}

/* How many gets of the thread went beyond the cap. */
static uint64_t gets_beyond(void)
{
    const struct cache *c = tls_cache_find(pool->index);
    return c->pool != NULL ? load_relaxed(&c->counters[GETS_BYPASS]) : 0;
}

static void begin_call(struct caller *c, bool get)
{
    explorer_touch();
    c->in_call = true;
    c->in_get = get;
    c->saw_all_out = false;
    c->beyond = gets_beyond();
}

static void end_call(struct caller *c)
{
    explorer_touch();
    c->in_call = c->in_get = false;
}

static void take(struct caller *c, bufferpool_buf_t *buf)
{
    const uint32_t index = desc_of(buf)->index;
    explorer_check(index < BUFFERS && !is_held[index]);
    explorer_check(buf->len == 0 && buf->cap >= CAPACITY && c->n < HELD);
    is_held[index] = true;
    c->held[c->n++] = buf;
    n_gets++;
    stamps[index] = ++next_stamp;
    memcpy(buf->data, &next_stamp, sizeof next_stamp);
}

static void took(struct caller *c, bufferpool_buf_t *buf)
{
    explorer_touch();
    explorer_laws();
    if (buf == NULL && errno == ECANCELED) {
        explorer_check(closed);
    } else if (buf == NULL || gets_beyond() != c->beyond) {
        explorer_check(c->saw_all_out);
        *(buf != NULL ? &bypassed : &refused) += 1;
    }
    if (buf != NULL)
        take(c, buf);
    end_call(c);
}

void scene_get(void)
{
    struct caller *c = caller();
    begin_call(c, true);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    explorer_check(buf != NULL);
    took(c, buf);
}

void scene_try_get(void)
{
    struct caller *c = caller();
    begin_call(c, true);
    bufferpool_buf_t *buf = bufferpool_try_get(pool);
    explorer_check(buf != NULL || errno == EAGAIN);
    took(c, buf);
}

void scene_get_timed(unsigned timeout_ms)
{
    struct caller *c = caller();
    begin_call(c, true);
    bufferpool_buf_t *buf = bufferpool_get_timed(pool, timeout_ms);
    explorer_check(buf != NULL || errno == ECANCELED || (errno == ETIMEDOUT && timeout_ms != BUFFERPOOL_NEVER));
    explorer_check(gets_beyond() == c->beyond);
    took(c, buf);
}

/* What a call may still use of a pool that has ended is the lock of the queue, by which a cancel finds out. */
static void bury_if_ended(void)
{
    if (buried || !closed || load_relaxed(&pool->life) != POOL_ENDED)
        return;
    buried = true;
    const unsigned char *const queue = (unsigned char *)&pool->waiters, *const first = (unsigned char *)&pool->index;
    explorer_bury(first, (size_t)(queue - first));
    explorer_bury(&pool->waiters + 1, (size_t)((unsigned char *)(pool + 1) - (unsigned char *)(&pool->waiters + 1)));
}

void scene_put(void)
{
    struct caller *c = caller();
    if (c->n == 0)
        return;
    bufferpool_buf_t *buf = c->held[--c->n];
    const uint32_t index = desc_of(buf)->index;
    explorer_check(memcmp(buf->data, &stamps[index], sizeof stamps[index]) == 0);
    is_held[index] = false;
    begin_call(c, false);
    bufferpool_put(buf);
    end_call(c);
    n_puts++;
    bury_if_ended();
}

unsigned scene_has(void)
{
    return caller()->n;
}

void scene_have_from(unsigned thread)
{
    struct caller *c = caller(), *from = &callers[thread];
    explorer_step();
    while (from->n > 0 && c->n < HELD)
        c->held[c->n++] = from->held[--from->n];
}

void scene_have_shards(void)
{
    uint8_t k = 0;
    store_relaxed(&pool->depot.processor, UINT32_MAX); /* as if the first exchange had been on another one */
    shards_choose(pool, load_relaxed(&pool->caches));
    explorer_check(load_relaxed(&pool->depot.shards) != NULL);
    for (struct cache *c = load_relaxed(&pool->caches); c != NULL; c = c->next) {
        c->shard = k++;
        c->exchanges = SHARDS_REFILL; /* it is not to choose again for a while */
    }
}

void scene_set_max_live(size_t n)
{
    const size_t before = load_relaxed(&pool->max_live);
    const bool raises = n == 0 || n > before;
    if (raises) {
        limit = cap = n == 0 ? SIZE_MAX : n;
        lowered_to = 0;
    }
    bufferpool_set_max_live(pool, n);
    if (!raises) {
        lowered_to = n;
        explorer_touch();
        explorer_laws();
    }
}

void scene_close(void)
{
    struct caller *c = caller();
    begin_call(c, false);
    closed = true;
    bufferpool_close(pool);
    end_call(c);
    bury_if_ended();
}

/* ---- loops ---- */

void scene_begin_loop(void)
{
    notifier = bufferpool_notifier_create();
    explorer_check(notifier != NULL);
}

void scene_end_loop(void)
{
    explorer_check(notifier == NULL || bufferpool_notifier_destroy(notifier) == 0);
    notifier = NULL;
}

void scene_get_async(unsigned number)
{
    struct caller *c = caller();
    begin_call(c, true);
    bufferpool_buf_t *buf = bufferpool_get_async(pool, &c->waiters[number], notifier);
    const int error = buf == NULL ? errno : 0;
    explorer_check(gets_beyond() == c->beyond);
    explorer_check(error == 0 || error == EINPROGRESS || (error == ECANCELED && closed));
    explorer_touch();
    c->waits[number] = error == EINPROGRESS;
    n_waiting += error == EINPROGRESS;
    if (buf != NULL)
        take(c, buf);
    end_call(c);
}

static void waits_no_more(struct caller *c, unsigned number)
{
    n_waiting -= c->waits[number];
    c->waits[number] = false;
}

void scene_cancel(unsigned number)
{
    struct caller *c = caller();
    begin_call(c, false);
    bufferpool_cancel(&c->waiters[number]);
    waits_no_more(c, number);
    end_call(c);
    bury_if_ended();
}

static bool is_readable(void)
{
    struct pollfd ask = {bufferpool_notifier_fd(notifier), POLLIN, 0};
    return poll(&ask, 1, 0) != 0;
}

bool scene_next(void)
{
    struct caller *c = caller();
    begin_call(c, false);
    bufferpool_waiter_t *w = bufferpool_notifier_next(notifier);
    if (w != NULL) {
        const unsigned number = (unsigned)(w - c->waiters);
        explorer_check(number < LOOPED && c->waits[number]);
        explorer_check(w->error == (w->buf != NULL ? 0 : ECANCELED) && (w->buf != NULL || closed));
        if (w->buf != NULL)
            take(c, w->buf);
        waits_no_more(c, number);
    } else {
        explorer_check(!is_readable() || notifier->first != NULL || load_relaxed(&notifier->again));
    }
    end_call(c);
    bury_if_ended();
    return w != NULL;
}

bool scene_waits(unsigned number)
{
    return caller()->waits[number];
}

void scene_await(void)
{
    explorer_await_readable(bufferpool_notifier_fd(notifier));
}

void scene_destroy(void)
{
    bufferpool_t *doomed = pool;
    pool = NULL;
    explorer_check(bufferpool_destroy(doomed) == 0);
    explorer_check(blocks == 0);
}

/* ---- before and after ---- */

static unsigned argument;

static void give(void)
{
    for (unsigned i = 0; i < argument; i++)
        take(caller(), bufferpool_get(pool));
}

static void give_back(void)
{
    for (unsigned i = 0; i < argument; i++)
        scene_put();
}

void scene_give(unsigned thread, unsigned n)
{
    argument = n;
    explorer_as(thread, give);
}

void scene_return(unsigned thread, unsigned n)
{
    argument = n;
    explorer_as(thread, give_back);
}

void scene_flush(unsigned thread)
{
    explorer_as(thread, bufferpool_thread_flush);
}

void scene_begin(size_t max_live, size_t cached, size_t idle)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "scene";
    config.buffer_capacity = CAPACITY;
    config.max_capacity = CAPACITY;
    config.max_live = max_live;
    config.thread_cache_bytes = cached * CAPACITY;
    config.max_idle_bytes = idle * CAPACITY;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    config.alloc = take_block;
    config.free = free_block;
    pool = bufferpool_create(&config);
    explorer_check(pool != NULL);
    cap = max_live == 0 ? SIZE_MAX : max_live;
    limit = cap;
    lowered_to = 0;
    bypassed = refused = n_gets = n_puts = 0;
    closed = buried = false;
    notifier = NULL;
    n_waiting = 0;
    memset(callers, 0, sizeof callers);
    memset(is_held, 0, sizeof is_held);
}

bufferpool_t *scene_pool(void)
{
    return pool;
}

static void mark(bool *found, uint32_t index)
{
    explorer_check(index < BUFFERS && !found[index] && !is_held[index]);
    explorer_check(desc_state(load_relaxed(&descriptor(index)->word)) == STATE_IDLE);
    found[index] = true;
}

static void mark_caches(bool *found)
{
    for (struct cache *c = load_relaxed(&pool->caches); c != NULL; c = c->next) {
        explorer_check(!load_relaxed(&c->busy));
        for (uint32_t i = 0; i < cache_idle(c); i++)
            mark(found, cache_entries(c)[i]->index);
    }
}

static void mark_stack(const struct depot *depot, bool *found)
{
    uint32_t index = (uint32_t)load_relaxed(&depot->head);
    while (index != 0) {
        struct desc *head = descriptor(index);
        const struct magazine magazine = {head, (load_relaxed(&head->count) & (MAGAZINE_MAX - 1)) + 1, false, 0};
        struct desc *bufs[MAGAZINE_MAX];
        explorer_check(magazine.n >= 1 && magazine.n <= MAGAZINE_MAX);
        magazine_open(&magazine, &pool->heap.table, bufs);
        for (uint32_t i = 0; i < magazine.n; i++)
            mark(found, bufs[i]->index);
        index = load_relaxed(&head->below);
    }
}

static void mark_depot(bool *found)
{
    const struct shards *shards = load_relaxed(&pool->depot.shards);
    mark_stack(&pool->depot, found);
    for (uint32_t k = 0; shards != NULL && k < SHARDS; k++) {
        mark_stack(&shards->shard[k], found);
        explorer_check((load_relaxed(&shards->used) >> k & 1) != 0 || depot_is_empty(&shards->shard[k]));
    }
}

static void check_places(void)
{
    bool found[BUFFERS] = {false};
    mark_caches(found);
    mark_depot(found);
    for (uint32_t i = load_relaxed(&pool->heap.table.used); i > 0; i--)
        explorer_check(found[i] == (desc_state(load_relaxed(&descriptor(i)->word)) == STATE_IDLE));
}

static void return_all(void)
{
    while (scene_has() > 0)
        scene_put();
}

void scene_end(void)
{
    scene_end_loop();
    if (pool == NULL)
        return;
    if (closed) {
        explorer_check(load_relaxed(&pool->life) == POOL_ENDED && blocks == 0);
        explorer_check(registry_find(pool->index) != pool);
        return;
    }
    scene_at_each_step();
    check_places();
    size_t held = 0;
    for (unsigned t = 0; t < EXPLORER_THREADS; t++)
        held += callers[t].n;
    const struct depot_counts counts = depot_counts(&pool->depot);
    const size_t n = load_relaxed(&pool->max_live);
    explorer_check(n == 0 || counts.pooled <= n || held >= n);
    explorer_check(accounts_agree(pool));
    explorer_check(laws_hold(pool, NULL, held));
    const bufferpool_stats_t stats = stats_of(pool);
    explorer_check(sum_of_gets(&stats) == n_gets && sum_of_puts(&stats) == n_puts && stats.gets_refused == refused);
    explorer_check(stats.gets_bypass == bypassed);
    explorer_check(blocks == stats.live + stats.bypass_live + idle_of(&stats));
    for (unsigned t = 0; t < EXPLORER_THREADS; t++)
        explorer_as(t, return_all);
    (void)bufferpool_trim(pool);
    explorer_check(blocks == 0);
    scene_destroy();
}
