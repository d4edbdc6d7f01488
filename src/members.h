/* SPDX-License-Identifier: MIT
 *
 * members.h - the pools of a budget: which they are, and the callers that wait in them for bytes
 *
 * heap/account.h has the counters of a budget, budget.h what frees idle memory for it.
 */
#ifndef BUFFERPOOL_MEMBERS_H
#define BUFFERPOOL_MEMBERS_H

#include "heap/account.h"

/* The pool is one of the budget's from now on, or not any more. Afterwards no other thread works on the pool for the
 * budget's sake: members_leave waits for one that does. The caller holds the registry's lock, which is let go
 * meanwhile. */
void members_join(bufferpool_t *pool);
void members_leave(bufferpool_t *pool);

/* Makes the lock under which one thread at a time makes room (budget.c). Returns false if there is no memory. */
bool members_init_lock(pthread_mutex_t *room);

/* For each pool of the budget, one after the other: the pool after `pool`, or with NULL the first. It is pinned
 * (registry.h), and `pool` is pinned no longer. Returns NULL after the last. The caller holds no lock of a pool, and
 * not the registry's. */
bufferpool_t *members_next(struct bufferpool_budget *budget, bufferpool_t *pool);

/* Ends that loop early. */
void members_done(bufferpool_t *pool);

/* Serves the callers that wait, in all pools of the budget, with bytes that came back, if any did. The caller holds no
 * lock. */
void members_serve_all(struct bufferpool_budget *budget);

/* The same after a call on the pool, while a caller waits for bytes. What the call left idle in the depot makes room.
 */
void members_serve_after(bufferpool_t *pool);

/* Each call on a pool ends with it (call.h); a pool without a budget costs one load. */
static inline void members_serve(bufferpool_t *pool)
{
    const struct bufferpool_budget *budget = pool->heap.slabs.budget;
    /* after what the call put into the depot; with account_want */
    if (unlikely(budget != NULL) && unlikely(load_seq_cst(&budget->wanted) || account_is_due(budget)))
        members_serve_after(pool);
}

#endif
