/* SPDX-License-Identifier: MIT
 *
 * slots.h - sets of up to 128 slots of a slab
 */
#ifndef BUFFERPOOL_SLOTS_H
#define BUFFERPOOL_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

static inline unsigned slots_count(const uint64_t set[2])
{
    return (unsigned)(__builtin_popcountll(set[0]) + __builtin_popcountll(set[1]));
}

static inline bool slots_any(const uint64_t set[2])
{
    return (set[0] | set[1]) != 0;
}

static inline unsigned slots_first(const uint64_t set[2])
{
    return set[0] != 0 ? (unsigned)__builtin_ctzll(set[0]) : 64u + (unsigned)__builtin_ctzll(set[1]);
}

/* The first slot of the set at or after `from`. If there is none, the first of all. The set is not empty. */
static inline unsigned slots_first_from(const uint64_t set[2], unsigned from)
{
    const uint64_t later[2] = {from < 64 ? set[0] & ~(uint64_t)0 << from : 0,
                               from < 64 ? set[1] : set[1] & ~(uint64_t)0 << (from - 64)};
    return slots_first(slots_any(later) ? later : set);
}

static inline bool slots_has(const uint64_t set[2], unsigned slot)
{
    return (set[slot / 64] >> (slot % 64) & 1) != 0;
}

static inline void slots_add(uint64_t set[2], unsigned slot)
{
    set[slot / 64] |= (uint64_t)1 << (slot % 64);
}

static inline void slots_remove(uint64_t set[2], unsigned slot)
{
    set[slot / 64] &= ~((uint64_t)1 << (slot % 64));
}

/* The first slot at or after `from` whose membership is `member`; `end` if there is none before. */
static inline unsigned slots_next(const uint64_t set[2], unsigned from, unsigned end, bool member)
{
    while (from < end && slots_has(set, from) != member)
        from++;
    return from;
}

#endif
