/* SPDX-License-Identifier: MIT
 *
 * scratch.c - see scratch.h. The pool half shows how a server calls the library. The malloc half does what servers do
 * without a pool: a 32 KiB block per request, realloc by half when that is too small, free when the response is out.
 */
#include "scratch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basics.h"

enum {
    BLOCK_SIZE = 32 * 1024,
    RECLAIM_MS = 1000 /* the default is 10 s, longer than a demonstration should take */
};

struct scratch {
    scratch_kind_t kind;
    bufferpool_t *pool;          /* NULL for malloc */
    bufferpool_budget_t *budget; /* or NULL */
    size_t budget_bytes;
    atomic_uint_fast64_t gets;
    atomic_uint_fast64_t out;
    atomic_uint_fast64_t most_out;
    atomic_uint_fast64_t most_used; /* of the budget */
};

static bool create_pool(scratch_t *scratch, size_t cap)
{
    if (scratch->budget_bytes != 0) {
        scratch->budget = bufferpool_budget_create("server", scratch->budget_bytes);
        if (scratch->budget == NULL) {
            complain("cannot create the budget: %s", strerror(errno));
            return false;
        }
    }
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "responses";
    config.buffer_capacity = BLOCK_SIZE;
    config.max_live = cap;
    config.budget = scratch->budget;
    /* The server sleeps when there is nothing to do. Without the flag no call would come that could reclaim. */
    config.reclaim_interval_ms = RECLAIM_MS;
    config.flags = BUFFERPOOL_BACKGROUND;
    scratch->pool = bufferpool_create(&config);
    if (scratch->pool == NULL) {
        complain("cannot create the pool: %s", strerror(errno));
        bufferpool_budget_destroy(scratch->budget);
        return false;
    }
    return true;
}

scratch_t *scratch_create(scratch_kind_t kind, size_t cap, size_t budget)
{
    scratch_t *scratch = calloc(1, sizeof *scratch);
    if (scratch == NULL) {
        complain("no memory for the server");
        return NULL;
    }
    scratch->kind = kind;
    scratch->budget_bytes = budget;
    if (kind != SCRATCH_MALLOC && !create_pool(scratch, cap)) {
        free(scratch);
        return NULL;
    }
    return scratch;
}

/* Returns the first law of the statistics that does not hold, or NULL. No call is under way here, so the figures are
 * exact. */
static const char *broken_law(const bufferpool_stats_t *stats)
{
    uint64_t gets = stats->gets_thread + stats->gets_depot + stats->gets_fresh + stats->gets_bypass;
    uint64_t puts = stats->puts_kept + stats->drops_oversize + stats->drops_bypass + stats->drops_over_cap +
                    stats->drops_idle_limit;
    if (stats->live != 0 || stats->bypass_live != 0) {
        return "buffers were not put back";
    }
    if (gets != puts) {
        return "gets and puts differ although no buffer is out";
    }
    if (stats->max_live != 0 && stats->idle_thread + stats->idle_depot > stats->max_live) {
        return "more buffers exist than the cap allows";
    }
    return NULL;
}

static int close_pool(scratch_t *scratch, scratch_counts_t *counts)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(scratch->pool, &stats);
    counts->beyond = stats.gets_bypass;
    int failed = 0;
    const char *law = broken_law(&stats);
    if (law != NULL) {
        complain("the pool's statistics: %s", law);
        failed = 1;
    }
    if (scratch->kind != SCRATCH_POOL && stats.max_live != 0 &&
        (stats.gets_bypass > 0 || counts->most_out > stats.max_live || stats.peak_in_flight > stats.max_live)) {
        complain("%llu buffers were out at once and %llu were made beyond the cap of %llu that all wait for",
                 (unsigned long long)counts->most_out, (unsigned long long)stats.gets_bypass,
                 (unsigned long long)stats.max_live);
        failed = 1;
    }
    if (scratch->budget != NULL && counts->most_used > scratch->budget_bytes) {
        complain("%llu bytes of the budget of %zu were in use", (unsigned long long)counts->most_used,
                 scratch->budget_bytes);
        failed = 1;
    }
    int error = bufferpool_destroy(scratch->pool);
    if (error != 0) {
        complain("the pool cannot be destroyed, so a buffer leaked: %s", strerror(error));
        failed = 1;
    }
    if (scratch->budget != NULL &&
        (bufferpool_budget_used(scratch->budget) != 0 || bufferpool_budget_destroy(scratch->budget) != 0)) {
        complain("bytes of the budget did not come back");
        failed = 1;
    }
    return failed;
}

int scratch_destroy(scratch_t *scratch, scratch_counts_t *counts)
{
    scratch_counts_t mine = {
        .gets = scratch->gets, .most_out = scratch->most_out, .beyond = 0, .most_used = scratch->most_used};
    int failed = 0;
    if (scratch->out != 0) {
        complain("%llu buffers leaked", (unsigned long long)scratch->out);
        failed = 1;
    }
    if (scratch->pool != NULL && close_pool(scratch, &mine) != 0) {
        failed = 1;
    }
    if (counts != NULL) {
        *counts = mine;
    }
    free(scratch);
    return failed;
}

static void raise_to(atomic_uint_fast64_t *most, uint_fast64_t now)
{
    uint_fast64_t before = atomic_load_explicit(most, memory_order_relaxed);
    while (now > before &&
           !atomic_compare_exchange_weak_explicit(most, &before, now, memory_order_relaxed, memory_order_relaxed)) {
    }
}

static void count_get(scratch_t *scratch)
{
    atomic_fetch_add_explicit(&scratch->gets, 1, memory_order_relaxed);
    raise_to(&scratch->most_out, atomic_fetch_add_explicit(&scratch->out, 1, memory_order_relaxed) + 1);
    if (scratch->budget != NULL) {
        raise_to(&scratch->most_used, bufferpool_budget_used(scratch->budget));
    }
}

static bufferpool_buf_t *malloc_get(scratch_own_t *own)
{
    own->bytes.data = malloc(BLOCK_SIZE);
    own->bytes.len = 0;
    own->bytes.cap = BLOCK_SIZE;
    return own->bytes.data != NULL ? &own->buf : NULL;
}

/* The handle of a buffer that came from malloc_get. */
static scratch_own_t *own_of(bufferpool_buf_t *buf)
{
    return (scratch_own_t *)(void *)buf;
}

static bufferpool_buf_t *blocking_get(bufferpool_t *pool, unsigned wait_ms)
{
    bufferpool_buf_t *buf = wait_ms == 0 ? bufferpool_try_get(pool) : bufferpool_get_timed(pool, wait_ms);
    if (buf == NULL && errno == ETIMEDOUT) {
        errno = EAGAIN;
    }
    return buf;
}

bufferpool_buf_t *scratch_get(scratch_t *scratch, scratch_own_t *own, unsigned wait_ms)
{
    bufferpool_buf_t *buf = NULL;
    switch (scratch->kind) {
    case SCRATCH_MALLOC:
        buf = malloc_get(own);
        break;
    case SCRATCH_POOL:
        buf = bufferpool_get(scratch->pool);
        break;
    case SCRATCH_POOL_BLOCKING:
        buf = blocking_get(scratch->pool, wait_ms);
        break;
    case SCRATCH_POOL_WAITING:
        errno = EINVAL; /* scratch_get_async is for this */
        break;
    }
    if (buf != NULL) {
        count_get(scratch);
    }
    return buf;
}

bufferpool_buf_t *scratch_get_async(scratch_t *scratch, bufferpool_waiter_t *waiter, bufferpool_notifier_t *notifier)
{
    bufferpool_buf_t *buf = bufferpool_get_async(scratch->pool, waiter, notifier);
    if (buf != NULL) {
        count_get(scratch);
    }
    return buf;
}

bufferpool_waiter_t *scratch_next(scratch_t *scratch, bufferpool_notifier_t *notifier)
{
    bufferpool_waiter_t *waiter = bufferpool_notifier_next(notifier);
    if (waiter != NULL && waiter->buf != NULL) {
        count_get(scratch);
    }
    return waiter;
}

scratch_kind_t scratch_kind(const scratch_t *scratch)
{
    return scratch->kind;
}

size_t scratch_least_buffers(size_t budget)
{
    return budget / (BLOCK_SIZE + 4096);
}

size_t scratch_most_buffers(size_t budget)
{
    return budget / BLOCK_SIZE;
}

size_t scratch_budget(const scratch_t *scratch)
{
    return scratch->budget_bytes;
}

void scratch_put(scratch_t *scratch, bufferpool_buf_t *buf)
{
    atomic_fetch_sub_explicit(&scratch->out, 1, memory_order_relaxed);
    if (scratch->pool != NULL) {
        bufferpool_put(buf);
    } else {
        free(buf->data);
        own_of(buf)->bytes.data = NULL;
    }
}

int scratch_reserve(scratch_t *scratch, bufferpool_buf_t *buf, size_t cap)
{
    if (scratch->pool != NULL) {
        return bufferpool_buf_reserve(buf, cap);
    }
    if (cap <= buf->cap) {
        return 0;
    }
    size_t larger = buf->cap + buf->cap / 2;
    if (larger < cap) {
        larger = cap;
    }
    unsigned char *data = realloc(buf->data, larger);
    if (data == NULL) {
        return ENOMEM;
    }
    own_of(buf)->bytes.data = data;
    own_of(buf)->bytes.cap = larger;
    return 0;
}

int scratch_append(scratch_t *scratch, bufferpool_buf_t *buf, const void *src, size_t n)
{
    if (scratch->pool != NULL) {
        return bufferpool_buf_append(buf, src, n);
    }
    int error = scratch_reserve(scratch, buf, buf->len + n);
    if (error == 0 && n > 0) {
        memcpy(buf->data + buf->len, src, n);
        buf->len += n;
    }
    return error;
}

static int malloc_vprintf(scratch_t *scratch, bufferpool_buf_t *buf, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf((char *)buf->data + buf->len, buf->cap - buf->len, format, args);
    int error = n < 0 ? EILSEQ : 0;
    if (error == 0 && (size_t)n >= buf->cap - buf->len) {
        error = scratch_reserve(scratch, buf, buf->len + (size_t)n + 1);
        if (error == 0) {
            vsnprintf((char *)buf->data + buf->len, buf->cap - buf->len, format, again);
        }
    }
    va_end(again);
    if (error == 0) {
        buf->len += (size_t)n;
    }
    return error;
}

int scratch_printf(scratch_t *scratch, bufferpool_buf_t *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int error =
        scratch->pool != NULL ? bufferpool_buf_vprintf(buf, format, args) : malloc_vprintf(scratch, buf, format, args);
    va_end(args);
    return error;
}
