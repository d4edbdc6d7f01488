/* SPDX-License-Identifier: MIT
 *
 * inside.h - what tests look at that see the inside of a pool
 */
#ifndef TEST_INSIDE_H
#define TEST_INSIDE_H

#include "cache.h"
#include "depot.h"
#include "heap/heap.h"
#include "life.h"
#include "registry.h"
#include "wait.h"

/* The word of a plain buffer of the pool that a caller holds. */
static inline uintptr_t live_word(const bufferpool_t *pool)
{
    return desc_word(pool->tag, STATE_LIVE);
}

#endif
