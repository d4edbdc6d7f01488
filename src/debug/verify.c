/* SPDX-License-Identifier: MIT
 *
 * verify.c - what idles when the process ends is verified
 *
 * A mode verifies a block when its buffer is handed out or freed. A program that ends soon leaves many buffers idle,
 * and a write to one of these would go unnoticed.
 *
 * Other threads may still run, so the blocks are looked at where no other call can reach them: in a cache behind its
 * closed gate, in the quarantine under its lock. The depot has no lock: all of its magazines are taken out first, and
 * put back in the order in which they lay. A get that comes meanwhile finds the depot empty, as beside any call that
 * moves buffers.
 */
#include "debug/verify.h"

#include "call.h"
#include "debug/quarantine.h"
#include "debug/watch.h"
#include "depot.h"
#include "fork.h"
#include "registry.h"
#include "shards.h"
#include "steal.h"

#include <stdlib.h>

static void verify_magazine(bufferpool_t *pool, const struct magazine *magazine)
{
    struct desc *bufs[MAGAZINE_MAX];
    magazine_open(magazine, &pool->heap.table, bufs);
    for (uint32_t i = 0; i < magazine->n; i++)
        watch_idle(pool, bufs[i]);
}

static void put_back(bufferpool_t *pool, const struct magazine *magazine)
{
    struct desc *bufs[MAGAZINE_MAX];
    magazine_open(magazine, &pool->heap.table, bufs);
    depot_restore(&pool->depot, &pool->heap.table, bufs, magazine->n, magazine->grown);
}

static void verify_depot(bufferpool_t *pool)
{
    /* no magazine has less than one buffer; those that come meanwhile are other calls' */
    const size_t most = shards_idle(&pool->depot, &pool->heap.table);
    struct magazine few[64], *all = most <= 64 ? few : malloc(most * sizeof(*all));
    size_t n = 0;
    while (all != NULL && n < most && (all[n] = shards_pop_some(&pool->depot, &pool->heap.table, 0)).head != NULL)
        verify_magazine(pool, &all[n++]);
    while (n > 0)
        put_back(pool, &all[--n]);
    if (all != few)
        free(all);
}

static void verify(bufferpool_t *pool)
{
    struct call call = call_begin("exit", 0);
    (void)steal(pool, STEAL_NOTHING, true);
    verify_depot(pool);
    quarantine_verify(pool);
    call_end(&call, pool);
}

/* The registry's lock keeps the pools from being destroyed meanwhile. */
void verify_all(void)
{
    registry_lock();
    for_each_pool (pool) {
        fork_repair(pool);
        verify(pool);
    }
    registry_unlock();
}
