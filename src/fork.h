/* SPDX-License-Identifier: MIT
 *
 * fork.h - the child of fork repairs a pool when it first uses it
 *
 * Every public function that does more than the fast paths begins its work with fork_enter and ends it with fork_leave.
 * fork.c has the argument.
 */
#ifndef BUFFERPOOL_FORK_H
#define BUFFERPOOL_FORK_H

#include "tls_cache.h"

/* Installs the handlers, the first time. The registry's lock is held. Returns false if there is no memory. */
bool fork_handlers_install(void);

/* How many forks lie between the first process and this one. Changes in a child that has one thread. */
extern uint32_t fork_epoch;

/* A child in which the library cannot be used. */
#define FORK_EPOCH_BROKEN UINT32_MAX

/* The rare part of fork_enter. */
bool fork_settle(bufferpool_t *pool);

/* After this the calling thread may take any lock of the library, and the pool (NULL: none) is as this process needs
 * it. No lock of the library is held. Returns what fork_leave is to be told. */
static inline bool fork_enter(const bufferpool_t *pool)
{
    /* acquire: with the release in fork_repair */
    const uint32_t epoch = pool != NULL ? load_acquire(&pool->epoch) : fork_epoch;
    if (likely(epoch == fork_epoch && epoch != FORK_EPOCH_BROKEN && !tls_is_forking()))
        return false;
    return fork_settle((bufferpool_t *)(uintptr_t)pool);
}

void fork_step_in(void);

static inline void fork_leave(bool stepped_out)
{
    if (unlikely(stepped_out))
        fork_step_in();
}

/* Repairs the pool if that is still to be done, and with it all pools of its budget. The registry's lock is held, after
 * fork_enter. */
void fork_repair(bufferpool_t *pool);

/* Repairs the budget and all of its pools, likewise. */
void fork_repair_budget(struct bufferpool_budget *budget);

#endif
