/* SPDX-License-Identifier: MIT
 *
 * members.c - the pools of a budget: which they are, and the callers that wait in them for bytes
 *
 * The list is under the registry's lock. A thread that works on one of the pools pins it and lets the lock go, so it
 * holds no lock while idle memory of another pool is freed or callers of another pool are served. Pools of the list end
 * only after they have left it, and a pinned pool does not leave.
 *
 * `wanted` is cleared before the pools are served. A caller that still finds too few bytes sets it again and looks once
 * more (account.h), so none is forgotten.
 */
#include "members.h"

#include "debug/modes.h"
#include "depot.h"
#include "heap/heap.h"
#include "registry.h"
#include "shards.h"
#include "wait.h"

bool members_init_lock(pthread_mutex_t *room)
{
    pthread_mutexattr_t attributes;
    if (pthread_mutexattr_init(&attributes) != 0)
        return false;
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    const bool made = pthread_mutex_init(room, &attributes) == 0;
    pthread_mutexattr_destroy(&attributes);
    return made;
}

void members_join(bufferpool_t *pool)
{
    struct bufferpool_budget *budget = pool->heap.slabs.budget;
    pool->budget_next = budget->pools;
    budget->pools = pool;
}

void members_leave(bufferpool_t *pool)
{
    registry_await_unpinned(pool);
    bufferpool_t **link = &pool->heap.slabs.budget->pools;
    while (*link != pool && *link != NULL)
        link = &(*link)->budget_next;
    if (*link == pool)
        *link = pool->budget_next;
}

bufferpool_t *members_next(struct bufferpool_budget *budget, bufferpool_t *pool)
{
    registry_lock();
    bufferpool_t *next = pool != NULL ? pool->budget_next : budget->pools;
    if (next != NULL)
        registry_pin(next);
    if (pool != NULL)
        registry_unpin(pool);
    registry_unlock();
    return next;
}

void members_done(bufferpool_t *pool)
{
    registry_lock();
    registry_unpin(pool);
    registry_unlock();
}

void members_serve_all(struct bufferpool_budget *budget)
{
    /* acquire: with the release in account_give; another thread may serve for this one */
    if (!exchange_acquire(&budget->due, false))
        return;
    account_begin_round(budget);
    for (bufferpool_t *pool = NULL; (pool = members_next(budget, pool)) != NULL;)
        wait_serve(pool);
}

/* In the depot, or held back by a debug mode. */
static bool some_idle(const bufferpool_t *pool)
{
    return !shards_are_empty(&pool->depot) ||
           (modes_have(MODE_QUARANTINE) && load_relaxed(&pool->quarantine.count) != 0);
}

/* A call that looked before a caller began to wait may keep a buffer in the depot, or put back what it had taken out of
 * there, after that caller found the depot empty. The same holds for the quarantine. */
void members_serve_after(bufferpool_t *pool)
{
    struct heap *heap = &pool->heap;
    struct bufferpool_budget *budget = heap->slabs.budget;
    if (account_is_wanted(budget) && some_idle(pool) && heap->make_room(heap, heap_bytes(heap, heap->base)))
        store_release(&budget->due, true); /* with the acquire in account_is_due */
    members_serve_all(budget);
}
