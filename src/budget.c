/* SPDX-License-Identifier: MIT
 *
 * budget.c - a limit in bytes over any number of pools: its beginning and end; idle memory makes room
 *
 * heap/account.h says how the bytes are counted. Nothing here is on the fast path. Where blocks are made, one look at
 * `heap->slabs.budget` tells that a pool has none.
 *
 * What makes room
 *
 *     1. A get that finds too few bytes puts its own pool under pressure (pressure.c): the buffers that idle in the
 *        caches of other threads come to its depot, where it takes one. They cost nothing. While less than an eighth of
 *        the limit is left the pressure stays, so the next gets find what idles without a steal.
 *     2. Then budget_make_room frees what idles in all pools of the budget, until the bytes that are missing are there.
 *        It goes over them twice: for retained memory and depots, and then for the caches of threads.
 *     3. One thread at a time makes room, under the budget's lock `room`. Otherwise a thread might find nothing because
 *        another has just taken a whole magazine out of a depot, to free one buffer of it. No lock of a pool is held
 *        when it is taken, nor the registry's; both are taken under it.
 *     4. A free hook runs under that lock. It may call the library for a pool of the same budget: then the lock says
 *        EDEADLK, and the call goes without room.
 *
 * In the child of fork fork.c counts all pools of a budget anew before it lets a call use the budget or one of them.
 *
 * What is relaxed: `bytes` is a number by itself.
 */
#include "budget.h"

#include "call.h"
#include "fork.h"
#include "members.h"
#include "pressure.h"
#include "reclaim.h"
#include "registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- room ---- */

/* Frees idle memory of all pools until so many bytes came back. Returns how many did. */
static size_t free_idle(struct bufferpool_budget *budget, size_t bytes, bool from_caches)
{
    size_t freed = 0;
    for (bufferpool_t *pool = NULL; (pool = members_next(budget, pool)) != NULL;) {
        freed += reclaim_idle(pool, bytes - freed, from_caches);
        if (freed >= bytes) {
            members_done(pool);
            break;
        }
    }
    return freed;
}

bool budget_make_room(struct bufferpool_budget *budget, size_t bytes)
{
    if (pthread_mutex_lock(&budget->room) != 0) /* this thread has it: (4) */
        return false;
    const bool room = account_has_room(budget, bytes) || free_idle(budget, bytes, false) > 0 ||
                      free_idle(budget, bytes, true) > 0 || account_has_room(budget, bytes);
    pthread_mutex_unlock(&budget->room);
    return room;
}

/* After the limit was lowered: one step. Returns how many bytes came back. */
static size_t free_over(struct bufferpool_budget *budget)
{
    if (pthread_mutex_lock(&budget->room) != 0) /* (4) */
        return 0;
    const size_t charged = load_relaxed(&budget->charged), bytes = load_relaxed(&budget->bytes);
    size_t freed = 0;
    if (charged > bytes)
        freed = free_idle(budget, charged - bytes, false);
    if (charged > bytes && freed == 0)
        freed = free_idle(budget, charged - bytes, true);
    pthread_mutex_unlock(&budget->room);
    return freed;
}

bool budget_room_for_heap(struct heap *heap, size_t bytes)
{
    return budget_make_room(heap->slabs.budget, bytes);
}

bool budget_reserve(bufferpool_t *pool)
{
    struct heap *heap = &pool->heap;
    while (unlikely(!heap_reserve(heap)))
        if (!budget_make_room(heap->slabs.budget, heap_bytes(heap, heap->base)))
            return false;
    return true;
}

/* Puts all pools under pressure, and takes back what may idle in caches all the same. Returns whether all are. */
static bool close_caches(struct bufferpool_budget *budget)
{
    bool sure = true;
    for (bufferpool_t *pool = NULL; (pool = members_next(budget, pool)) != NULL;) {
        pressure_enter(pool);
        reclaim_caches(pool);
        sure = sure && depot_counts(&pool->depot).pressure;
    }
    return sure;
}

bool budget_wait(bufferpool_t *pool)
{
    struct bufferpool_budget *budget = pool->heap.slabs.budget;
    if (likely(!account_is_wanted(budget)))
        return true;
    const bool sure = close_caches(budget);
    if (budget_make_room(budget, heap_bytes(&pool->heap, pool->heap.base)))
        wait_serve(pool);
    members_serve_all(budget);
    return sure;
}

/* ---- which pools have it ---- */

void budget_join(bufferpool_t *pool)
{
    struct bufferpool_budget *budget = pool->heap.slabs.budget;
    if (budget == NULL)
        return;
    fork_repair_budget(budget);
    budget->members++;
    members_join(pool);
}

void budget_leave(bufferpool_t *pool)
{
    if (pool->heap.slabs.budget == NULL)
        return;
    registry_lock();
    members_leave(pool);
    registry_unlock();
}

void budget_withdraw(bufferpool_t *pool)
{
    struct bufferpool_budget *budget = pool->heap.slabs.budget;
    if (budget == NULL)
        return;
    members_leave(pool);
    budget->members--;
}

void budget_end(struct bufferpool_budget *budget)
{
    if (budget == NULL)
        return;
    members_serve_all(budget); /* the bytes of the pool that ended */
    registry_lock();
    budget->members--;
    registry_unlock();
}

/* ---- public functions ---- */

static struct bufferpool_budget *budgets; /* all; under the registry's lock */

struct bufferpool_budget *budget_first(void)
{
    return budgets;
}

static bool name_is_taken(const char *name)
{
    for (const struct bufferpool_budget *budget = budgets; budget != NULL; budget = budget->next)
        if (strcmp(budget->name, name) == 0)
            return true;
    return false;
}

/* The registry's lock is held. */
static void make_name_unique(char *unique, size_t size, const char *name)
{
    (void)snprintf(unique, size, "%s", name);
    for (size_t n = 2; name_is_taken(unique); n++)
        (void)snprintf(unique, size, "%s-%zu", name, n);
}

static struct bufferpool_budget *make_budget(const char *name, size_t bytes)
{
    const size_t size = strlen(name) + sizeof("-18446744073709551615");
    struct bufferpool_budget *budget = aligned_alloc(CACHE_LINE, sizeof(*budget));
    char *unique = malloc(size);
    if (budget != NULL)
        *budget = (struct bufferpool_budget){.name = unique, .bytes = bytes};
    if (budget == NULL || unique == NULL || !members_init_lock(&budget->room)) {
        free(budget);
        free(unique);
        return NULL;
    }
    registry_lock();
    make_name_unique(unique, size, name);
    store_relaxed(&budget->epoch, fork_epoch);
    budget->next = budgets;
    budgets = budget;
    registry_unlock();
    return budget;
}

bufferpool_budget_t *bufferpool_budget_create(const char *name, size_t bytes)
{
    struct call call = call_begin("bufferpool_budget_create", CALLER);
    const bool stepped_out = fork_enter(NULL);
    const int error = name != NULL && bytes > 0 ? ENOMEM : EINVAL;
    struct bufferpool_budget *budget = error == ENOMEM ? make_budget(name, bytes) : NULL;
    fork_leave(stepped_out);
    call_end(&call, NULL);
    if (budget == NULL)
        errno = error;
    return budget;
}

static void unlink_budget(const struct bufferpool_budget *budget)
{
    struct bufferpool_budget **link = &budgets;
    while (*link != budget)
        link = &(*link)->next;
    *link = budget->next;
}

int bufferpool_budget_destroy(bufferpool_budget_t *budget)
{
    if (budget == NULL)
        return EINVAL;
    const bool stepped_out = fork_enter(NULL);
    registry_lock();
    fork_repair_budget(budget);
    const bool busy = budget->members > 0;
    if (!busy)
        unlink_budget(budget);
    registry_unlock();
    if (!busy) {
        pthread_mutex_destroy(&budget->room);
        free(budget->name);
        free(budget);
    }
    fork_leave(stepped_out);
    return busy ? EBUSY : 0;
}

/* In a child of fork that has not counted yet. */
static void settle(bufferpool_budget_t *budget)
{
    /* acquire: with the release in fork_repair_budget */
    if (likely(load_acquire(&budget->epoch) == fork_epoch))
        return;
    registry_lock();
    fork_repair_budget(budget);
    registry_unlock();
}

void bufferpool_budget_set(bufferpool_budget_t *budget, size_t bytes)
{
    struct call call = call_begin("bufferpool_budget_set", CALLER);
    const bool stepped_out = fork_enter(NULL);
    settle(budget);
    account_set(budget, bytes);
    if (account_is_lowered(budget)) {
        (void)close_caches(budget); /* from here on each put sees that it is to free */
        while (free_over(budget) > 0)
            ;
    }
    members_serve_all(budget);
    fork_leave(stepped_out);
    call_end(&call, NULL);
}

size_t bufferpool_budget_used(const bufferpool_budget_t *budget)
{
    const bool stepped_out = fork_enter(NULL);
    settle((bufferpool_budget_t *)(uintptr_t)budget);
    fork_leave(stepped_out);
    return load_relaxed(&budget->used);
}
