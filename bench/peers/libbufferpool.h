/* SPDX-License-Identifier: MIT
 *
 * libbufferpool.h - the default configuration with the workload's cap, unless the environment says otherwise. The cap
 * is 1,000,000 in most workloads, so that a cap is in force.
 */
#include <bufferpool.h>

static bufferpool_t *libbufferpool_pools[64];

static inline void peer_start(const struct peer_config *config)
{
    bufferpool_config_t ours = BUFFERPOOL_CONFIG_INIT;
    ours.buffer_capacity = config->size;
    ours.max_live = peer_setting("BENCH_MAX_LIVE", config->max_live);
    ours.thread_cache_bytes = peer_setting("BENCH_THREAD_CACHE_BYTES", ours.thread_cache_bytes);
    if (peer_setting("BENCH_HUGEPAGES", 0) != 0)
        ours.flags |= BUFFERPOOL_HUGEPAGES;
    if (peer_setting("BENCH_BACKGROUND", 0) != 0)
        ours.flags |= BUFFERPOOL_BACKGROUND;
    for (unsigned i = 0; i < config->pools; i++)
        if ((libbufferpool_pools[i] = bufferpool_create(&ours)) == NULL)
            peer_die("bufferpool_create");
}

static inline void peer_thread_start(void)
{
}

static inline void peer_thread_stop(void)
{
}

static inline void *peer_get(void)
{
    return bufferpool_get(libbufferpool_pools[0]);
}

static inline unsigned char *peer_data(void *handle)
{
    return ((bufferpool_buf_t *)handle)->data;
}

static inline void peer_put(void *handle)
{
    bufferpool_put(handle);
}

#define PEER_HAS_BULK
static inline void peer_get_bulk(void **handles, unsigned n)
{
    if (bufferpool_get_bulk(libbufferpool_pools[0], (bufferpool_buf_t **)(void *)handles, n) != 0)
        peer_die("bufferpool_get_bulk");
}

static inline void peer_put_bulk(void **handles, unsigned n)
{
    bufferpool_put_bulk((bufferpool_buf_t **)(void *)handles, n);
}

#define PEER_HAS_GROWTH
static inline void peer_grow(const void *src, size_t total)
{
    bufferpool_buf_t *buf = bufferpool_get(libbufferpool_pools[0]);
    if (buf == NULL)
        peer_die("bufferpool_get");
    while (buf->len < total)
        if (bufferpool_buf_append(buf, src, APPENDED) != 0)
            peer_die("bufferpool_buf_append");
    bufferpool_put(buf);
}

static inline void *peer_get_grown(size_t total)
{
    bufferpool_buf_t *buf = bufferpool_get(libbufferpool_pools[0]);
    if (buf == NULL || bufferpool_buf_reserve(buf, total) != 0)
        peer_die("bufferpool_buf_reserve");
    return buf;
}

#define PEER_HAS_POOLS
static inline void *peer_get_from(unsigned i)
{
    return bufferpool_get(libbufferpool_pools[i]);
}

#define PEER_HAS_BYPASS
static inline uint64_t peer_bypassed(void)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(libbufferpool_pools[0], &stats);
    return stats.gets_bypass;
}

#define PEER_HAS_TRIM
static inline void peer_trim(void)
{
    bufferpool_trim(libbufferpool_pools[0]);
}
