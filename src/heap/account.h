/* SPDX-License-Identifier: MIT
 *
 * account.h - the bytes of a budget: reserved before memory is taken, given back after it has gone
 *
 *     used       blocks that exist, or are about to
 *     charged    the same, and the free memory that heaps retain
 *     bytes      the limit
 *
 *     used <= charged <= bytes         at every moment; the second unless the limit was lowered
 *
 * A slot or a mapping that is freed and retained stays charged. A block that is made of retained memory has reserved
 * its bytes like any other, and gives back those that the memory was charged with. So retained memory and blocks
 * together stay within the limit, and a heap that retains memory has to give it up before another goes without.
 *
 * A caller that waits for bytes sets `wanted` and then tries once more. A call that gives bytes back looks at `wanted`
 * afterwards. Both are sequentially consistent, so one of the two sees the other. The call notes in `due` that callers
 * are to be served, and members_serve does that once the call holds no lock: in a round, which clears `wanted` first.
 *
 * All of this takes no lock. A budget of NULL stands for none: everything is allowed, and nothing is counted.
 */
#ifndef BUFFERPOOL_ACCOUNT_H
#define BUFFERPOOL_ACCOUNT_H

#include "types.h"

/* Reserves bytes for a block. Returns false, and reserves none, if the limit does not allow them. */
static inline bool account_reserve(struct bufferpool_budget *budget, size_t bytes)
{
    if (likely(budget == NULL))
        return true;
    size_t charged = load_seq_cst(&budget->charged); /* after the store of `wanted`; with account_give */
    do {
        const size_t limit = load_seq_cst(&budget->bytes); /* the same; with account_set */
        if (charged > limit || bytes > limit - charged)
            return false;
    } while (!cas_seq_cst(&budget->charged, &charged, charged + bytes)); /* what was given back is gone: account_give */
    add_relaxed(&budget->used, bytes);                                   /* last: used <= charged */
    return true;
}

/* A block of so many bytes exists no longer. Its memory is retained, or account_give follows. */
static inline void account_end_block(struct bufferpool_budget *budget, size_t bytes)
{
    if (unlikely(budget != NULL))
        sub_relaxed(&budget->used, bytes);
}

/* Memory of so many bytes has gone back to the system or to a hook, or has become a block that reserved its own. */
static inline void account_give(struct bufferpool_budget *budget, size_t bytes)
{
    if (likely(budget == NULL) || bytes == 0)
        return;
    (void)sub_seq_cst(&budget->charged, bytes); /* before the next load; with account_reserve and account_want */
    if (unlikely(load_seq_cst(&budget->wanted)))
        store_release(&budget->due, true); /* with the acquire in account_is_due */
}

/* Returns what account_reserve took: after the block was freed, or instead of making it. */
static inline void account_return(struct bufferpool_budget *budget, size_t bytes)
{
    account_end_block(budget, bytes);
    account_give(budget, bytes);
}

/* Changes the limit. */
static inline void account_set(struct bufferpool_budget *budget, size_t bytes)
{
    store_seq_cst(&budget->bytes, bytes); /* before the next load; with account_reserve and account_want */
    if (load_seq_cst(&budget->wanted))
        store_release(&budget->due, true); /* with the acquire in account_is_due */
}

/* In the child after fork, which counts anew: from nothing, and then heap by heap. */
static inline void account_reset(struct bufferpool_budget *budget)
{
    store_relaxed(&budget->used, 0);
    store_relaxed(&budget->charged, 0);
    store_relaxed(&budget->wanted, false);
    store_relaxed(&budget->due, false);
}

static inline void account_add(struct bufferpool_budget *budget, size_t used, size_t charged)
{
    if (budget == NULL)
        return;
    add_relaxed(&budget->charged, charged);
    add_relaxed(&budget->used, used);
}

/* A caller waits for bytes. It tries account_reserve once more afterwards. */
static inline void account_want(struct bufferpool_budget *budget)
{
    store_seq_cst(&budget->wanted, true); /* before the load in account_reserve; with account_give */
}

/* Those that wait are about to be served. Each that still finds too few bytes says so anew. */
static inline void account_begin_round(struct bufferpool_budget *budget)
{
    store_seq_cst(&budget->wanted, false); /* before the reservations of those that are served; with account_want */
    (void)add_seq_cst(&budget->rounds, 1); /* after that; with the acquire in account_round */
}

/* The current round, modulo 128, with another bit, so that it is not 0. account_want says that a caller waits in that
 * round, or in a later one. */
static inline uint8_t account_round(const struct bufferpool_budget *budget)
{
    return (uint8_t)(load_acquire(&budget->rounds) | 128u); /* with account_begin_round: before account_want */
}

/* Whether callers that wait for bytes are to be served. */
static inline bool account_is_due(const struct bufferpool_budget *budget)
{
    return unlikely(budget != NULL) && unlikely(load_acquire(&budget->due)); /* with the release in account_give */
}

/* Whether so many bytes could be reserved. A hint. */
static inline bool account_has_room(const struct bufferpool_budget *budget, size_t bytes)
{
    if (likely(budget == NULL))
        return true;
    const size_t limit = load_relaxed(&budget->bytes), charged = load_relaxed(&budget->charged);
    return charged <= limit && bytes <= limit - charged;
}

/* Whether the limit was lowered below what exists. */
static inline bool account_is_lowered(const struct bufferpool_budget *budget)
{
    return unlikely(budget != NULL) && load_relaxed(&budget->charged) > load_relaxed(&budget->bytes);
}

/* Whether a caller waits for bytes. */
static inline bool account_is_wanted(const struct bufferpool_budget *budget)
{
    return unlikely(budget != NULL) && load_relaxed(&budget->wanted);
}

/* Whether one of the two: then nothing is to idle, and no free memory is retained. */
static inline bool account_is_over(const struct bufferpool_budget *budget)
{
    return account_is_wanted(budget) || account_is_lowered(budget);
}

/* The same, or less than an eighth of the limit is left: then idle buffers are to be where all threads find them. */
static inline bool account_is_tight(const struct bufferpool_budget *budget)
{
    if (likely(budget == NULL))
        return false;
    const size_t limit = load_relaxed(&budget->bytes);
    return load_relaxed(&budget->wanted) || load_relaxed(&budget->charged) > limit - limit / 8;
}

#endif
