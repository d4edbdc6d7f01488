/* SPDX-License-Identifier: MIT
 *
 * inlines.h - the questions that depot.h answers inline, compiled with the seam as the sources are
 *
 * A program here is compiled without the seam, so that its own looks are no steps. What depot.h has inline would be
 * none either.
 */
#ifndef SCHEDULES_INLINES_H
#define SCHEDULES_INLINES_H

#include "depot.h"

bool stepped_over_cap(const struct depot *depot, const _Atomic(size_t) *max_live);
bool stepped_exhausted(const struct depot *depot, const _Atomic(size_t) *max_live);
bool stepped_empty(const struct depot *depot);
bool stepped_wanted(const struct depot *depot);

#endif
