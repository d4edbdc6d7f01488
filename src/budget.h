/* SPDX-License-Identifier: MIT
 *
 * budget.h - where a budget is used up, idle memory of all its pools makes room
 *
 * heap/account.h has the counters, members.h the list of pools. The caller holds no lock of the library.
 */
#ifndef BUFFERPOOL_BUDGET_H
#define BUFFERPOOL_BUDGET_H

#include "life.h"

/* Frees idle memory of the budget's pools: free memory that they retain, then buffers in their depots, then buffers in
 * the caches of threads; as many bytes as are missing, and what is left of the last step. Returns whether any came
 * back, or are there now, so that another try may succeed. */
bool budget_make_room(struct bufferpool_budget *budget, size_t bytes);

/* heap->make_room */
bool budget_room_for_heap(struct heap *heap, size_t bytes);

/* heap_reserve, and makes room for it. Returns false if nothing is idle any more, and there is no room. */
bool budget_reserve(bufferpool_t *pool);

/* Whether a buffer that the cap allows lacks its bytes. */
static inline bool budget_is_short(bufferpool_t *pool)
{
    struct heap *heap = &pool->heap;
    return unlikely(heap->slabs.budget != NULL) && life_cap_has_room(pool) &&
           !account_has_room(heap->slabs.budget, heap_bytes(heap, heap->base));
}

/* For a caller that waits in the pool: if it waits for bytes, puts all pools of the budget under pressure, so that each
 * put comes to where it sees that, and frees what idles. Returns false if a pool could not be put under pressure
 * yet. */
bool budget_wait(bufferpool_t *pool);

/* In create and destroy. The pool has the budget from now on; it is no longer a pool of whose idle memory others take;
 * it has given back all of its bytes. */
void budget_join(bufferpool_t *pool);
void budget_leave(bufferpool_t *pool);
void budget_end(struct bufferpool_budget *budget);

/* Undoes budget_join, for a pool that was not used. The registry's lock is held, which is let go meanwhile. */
void budget_withdraw(bufferpool_t *pool);

/* The first of all budgets, which are linked by next, or NULL. The caller holds the registry's lock. */
struct bufferpool_budget *budget_first(void);

#endif
