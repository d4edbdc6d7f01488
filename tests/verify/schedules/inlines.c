/* SPDX-License-Identifier: MIT
 *
 * inlines.c - inlines.h
 */
#include "inlines.h"

bool stepped_over_cap(const struct depot *depot, const _Atomic(size_t) *max_live)
{
    return depot_over_cap(depot, max_live);
}

bool stepped_exhausted(const struct depot *depot, const _Atomic(size_t) *max_live)
{
    return depot_exhausted(depot, max_live);
}

bool stepped_empty(const struct depot *depot)
{
    return depot_is_empty(depot);
}

bool stepped_wanted(const struct depot *depot)
{
    return depot_wanted(depot);
}
