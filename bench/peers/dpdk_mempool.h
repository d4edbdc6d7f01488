/* SPDX-License-Identifier: MIT
 *
 * dpdk_mempool.h - DPDK's mempool in ordinary memory, with a cache of 256 objects (or BENCH_DPDK_CACHE) for each
 * thread. Threads register.
 *
 * All objects are made beforehand. There are enough for the buffers that the workload holds and for every thread's
 * cache, which may hold half as much again as its size. So a get never fails.
 */
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_mempool.h>

enum { DPDK_THREADS_MAX = 100 };

static struct rte_mempool *dpdk_mempool;

/* Writes each object, since the memory of DPDK's users is huge pages, which are there from the start. */
static inline void dpdk_touch(struct rte_mempool *mempool, void *unused, void *object, unsigned number)
{
    (void)unused;
    (void)number;
    memset(object, 0, mempool->elt_size);
}

static inline void peer_start(const struct peer_config *config)
{
    size_t cache = peer_setting("BENCH_DPDK_CACHE", 256);
    size_t objects = config->held + (config->threads + 1) * (cache + cache / 2) + cache;
    size_t megabytes = objects * (config->size + 256) / (KIB * KIB) + 64;
    char memory[32], program[] = "bench", no_huge[] = "--no-huge", no_shconf[] = "--no-shconf", no_pci[] = "--no-pci",
                     no_telemetry[] = "--no-telemetry", log_level[] = "--log-level=error", option[] = "-m";
    snprintf(memory, sizeof(memory), "%zu", megabytes);
    char *argv[] = {program, no_huge, no_shconf, no_pci, no_telemetry, log_level, option, memory, NULL};
    if (config->threads > DPDK_THREADS_MAX || rte_eal_init(8, argv) < 0)
        exit(77);
    dpdk_mempool = rte_mempool_create("bench", (unsigned)objects, (unsigned)config->size, (unsigned)cache, 0, NULL,
                                      NULL, dpdk_touch, NULL, SOCKET_ID_ANY, 0);
    if (dpdk_mempool == NULL) {
        fprintf(stderr, "rte_mempool_create: %s\n", rte_strerror(rte_errno));
        exit(EXIT_FAILURE);
    }
}

static inline void peer_thread_start(void)
{
    if (rte_lcore_id() == LCORE_ID_ANY)
        rte_thread_register();
}

static inline void peer_thread_stop(void)
{
    rte_thread_unregister();
}

static inline void *peer_get(void)
{
    void *object;
    return rte_mempool_get(dpdk_mempool, &object) == 0 ? object : NULL;
}

static inline unsigned char *peer_data(void *handle)
{
    return handle;
}

static inline void peer_put(void *handle)
{
    rte_mempool_put(dpdk_mempool, handle);
}

#define PEER_HAS_BULK
static inline void peer_get_bulk(void **handles, unsigned n)
{
    if (rte_mempool_get_bulk(dpdk_mempool, handles, n) != 0)
        peer_die("rte_mempool_get_bulk");
}

static inline void peer_put_bulk(void **handles, unsigned n)
{
    rte_mempool_put_bulk(dpdk_mempool, handles, n);
}

#define PEER_HOLDS 20000
