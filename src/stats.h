/* SPDX-License-Identifier: MIT
 *
 * stats.h - what the rest of the library asks of stats.c, metrics.c and holders.c
 */
#ifndef BUFFERPOOL_STATS_H
#define BUFFERPOOL_STATS_H

#include "types.h"

/* The sum of cap over idle buffers. Off by calls under way. Costs a walk over the caches; sets how many there are. */
size_t stats_idle_bytes(const bufferpool_t *pool, uint32_t *caches);

/* Writes the metrics of the pool to stderr, without those that are 0. `when` is for the heading. Says nothing of a pool
 * that was never used. */
void metrics_say(const bufferpool_t *pool, const char *when);

/* The same of all pools, at exit. */
void metrics_say_all(void);

/* Writes the table of bufferpool_holders to stderr, unless it is empty. */
void holders_say(void);

#endif
