/* SPDX-License-Identifier: MIT
 *
 * inside.h - looks into a pool, for tests that see the inside of one
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
