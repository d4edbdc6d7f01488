/* SPDX-License-Identifier: MIT
 *
 * numbers.h - a set of small numbers, as bits: the lowest number that is not in it is found 64 at a time
 */
#ifndef BUFFERPOOL_NUMBERS_H
#define BUFFERPOOL_NUMBERS_H

#include "types.h"

#define NUMBERS_NONE SIZE_MAX

static inline bool numbers_have(const struct numbers *set, size_t number)
{
    return number / 64 < set->size && (set->words[number / 64] >> number % 64 & 1) != 0;
}

/* The lowest number that is not in the set; 64 * size if the set has no bit left. */
static inline size_t numbers_lowest_free(struct numbers *set)
{
    while (set->first < set->size && set->words[set->first] == UINT64_MAX)
        set->first++;
    const size_t number = set->first * 64;
    return set->first < set->size ? number + (size_t)__builtin_ctzll(~set->words[set->first]) : number;
}

/* The set has a bit for the number. */
static inline void numbers_add(struct numbers *set, size_t number)
{
    set->words[number / 64] |= (uint64_t)1 << number % 64;
}

static inline void numbers_remove(struct numbers *set, size_t number)
{
    set->words[number / 64] &= ~((uint64_t)1 << number % 64);
    if (number / 64 < set->first)
        set->first = number / 64;
}

#endif
