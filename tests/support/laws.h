/* SPDX-License-Identifier: MIT
 *
 * laws.h - the conservation laws of bufferpool.h as checks: between the figures of one bufferpool_stats() call, and
 * against what the test counted itself (the buffers it holds, the blocks that its allocator hook made). To be called
 * when no call is under way on the pool. Apart from support.h, for the sake of tests that do not link the library.
 */
#ifndef TEST_LAWS_H
#define TEST_LAWS_H

#include "support.h"

#include <inttypes.h>

static inline bufferpool_stats_t stats_of(const bufferpool_t *pool)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(pool, &stats);
    return stats;
}

static inline uint64_t sum_of_gets(const bufferpool_stats_t *s)
{
    return s->gets_thread + s->gets_depot + s->gets_fresh + s->gets_bypass;
}

static inline uint64_t sum_of_drops(const bufferpool_stats_t *s)
{
    return s->drops_oversize + s->drops_bypass + s->drops_over_cap + s->drops_idle_limit;
}

static inline uint64_t sum_of_puts(const bufferpool_stats_t *s)
{
    return s->puts_kept + sum_of_drops(s);
}

static inline uint64_t idle_of(const bufferpool_stats_t *s)
{
    return s->idle_thread + s->idle_depot;
}

static inline void print_stats(const bufferpool_stats_t *s)
{
    print_error("live %" PRIu64 " bypass_live %" PRIu64 " idle_thread %" PRIu64 " idle_depot %" PRIu64
                " idle_bytes %" PRIu64 " live_bytes %" PRIu64 " max_live %" PRIu64 " thread_caches %" PRIu64 "\n",
                s->live, s->bypass_live, s->idle_thread, s->idle_depot, s->idle_bytes, s->live_bytes, s->max_live,
                s->thread_caches);
    print_error("pooled %" PRIu64 " pooled_bytes %" PRIu64 " bypass_bytes %" PRIu64 " retained_bytes %" PRIu64
                " mapped_bytes %" PRIu64 " waiting %" PRIu64 " waits %" PRIu64 "\n",
                s->pooled, s->pooled_bytes, s->bypass_bytes, s->retained_bytes, s->mapped_bytes, s->waiting, s->waits);
    print_error("gets: thread %" PRIu64 " depot %" PRIu64 " fresh %" PRIu64 " bypass %" PRIu64 " refused %" PRIu64
                ", kept %" PRIu64 ", drops: oversize %" PRIu64 " bypass %" PRIu64 " over_cap %" PRIu64
                " idle_limit %" PRIu64 ", grows %" PRIu64 " reclaimed %" PRIu64 "\n",
                s->gets_thread, s->gets_depot, s->gets_fresh, s->gets_bypass, s->gets_refused, s->puts_kept,
                s->drops_oversize, s->drops_bypass, s->drops_over_cap, s->drops_idle_limit, s->grows,
                s->reclaimed_bytes);
}

static inline bool laws_of_bytes_hold(const bufferpool_stats_t *s, bool hooks)
{
    bool ok = s->pooled == s->live + s->bypass_live + idle_of(s) && s->pooled_bytes == s->live_bytes + s->idle_bytes;
    ok = ok && s->bypass_bytes <= s->live_bytes && (s->bypass_live != 0) == (s->bypass_bytes != 0);
    ok = ok && (s->mapped_bytes == 0 || s->mapped_bytes >= s->pooled_bytes + s->retained_bytes);
    return ok && !(hooks && s->mapped_bytes + s->retained_bytes != 0);
}

/* held: the buffers that the test holds of this pool, pooled and bypass. blocks: the pool's allocator hook, or NULL. */
static inline bool laws_hold(const bufferpool_t *pool, const test_blocks_t *blocks, size_t held)
{
    const bufferpool_stats_t s = stats_of(pool);
    bool ok = sum_of_gets(&s) == sum_of_puts(&s) + s.live + s.bypass_live;
    ok = ok && s.live + s.bypass_live == held;
    ok = ok && bufferpool_live(pool) == s.live;
    ok = ok && bufferpool_max_live(pool) == s.max_live;
    ok = ok && (idle_of(&s) != 0) == (s.idle_bytes != 0) && (s.live != 0) == (s.live_bytes != 0);
    ok = ok && laws_of_bytes_hold(&s, blocks != NULL);
    if (blocks != NULL) {
        ok = ok && atomic_load(&blocks->count) == s.live + s.bypass_live + idle_of(&s);
        ok = ok && atomic_load(&blocks->bytes) >= s.live_bytes + s.idle_bytes;
        ok = ok && atomic_load(&blocks->errors) == 0;
    }
    if (!ok) {
        print_stats(&s);
        print_error("counted by the test: held %zu", held);
        if (blocks != NULL)
            print_error(", blocks %zu", atomic_load(&blocks->count));
        if (blocks != NULL)
            print_error(", errors of the hook's caller %zu", atomic_load(&blocks->errors));
        print_error("\n");
    }
    return ok;
}

#define check_laws(pool, blocks, held) assert_true(laws_hold((pool), (blocks), (held)))

/* A configuration on top of the counting allocator, with no reclaim by itself. */
static inline bufferpool_config_t config_with(test_blocks_t *blocks)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    config.alloc = test_blocks_alloc;
    config.free = test_blocks_free;
    config.ctx = blocks;
    return config;
}

/* The same for buffers of `capacity`, of which eight fit into a thread's cache, and a cap. A buffer that grows beyond
 * eight times its capacity does not stay. */
static inline bufferpool_config_t config_capped(test_blocks_t *blocks, size_t capacity, size_t cap)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = capacity;
    config.max_capacity = 8 * capacity;
    config.thread_cache_bytes = 8 * capacity;
    config.max_live = cap;
    return config;
}

/* A pool on `blocks` for buffers of `capacity`, of which a thread's cache holds `cached` at most. */
static inline bufferpool_t *pool_caching(test_blocks_t *blocks, size_t capacity, size_t cached)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = capacity;
    config.thread_cache_bytes = cached * capacity;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

/* Destroys the pool, and all its blocks must be gone. */
#define destroy_empty(pool, blocks)                                                                                    \
    do {                                                                                                               \
        assert_int_equal(bufferpool_destroy(pool), 0);                                                                 \
        assert_int_equal(atomic_load(&(blocks)->count), 0);                                                            \
        assert_int_equal(atomic_load(&(blocks)->errors), 0);                                                           \
    } while (0)

#endif /* TEST_LAWS_H */
