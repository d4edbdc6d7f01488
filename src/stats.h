/* SPDX-License-Identifier: MIT
 *
 * stats.h - what the rest of the library asks the statistics
 */
#ifndef BUFFERPOOL_STATS_H
#define BUFFERPOOL_STATS_H

#include "bufferpool.h"

/* The sum of cap over idle buffers; off by calls under way. A walk over the caches. */
size_t stats_idle_bytes(const bufferpool_t *pool);

#endif
