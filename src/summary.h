/* SPDX-License-Identifier: MIT
 *
 * summary.h - the statistics of a pool, for people
 */
#ifndef BUFFERPOOL_SUMMARY_H
#define BUFFERPOOL_SUMMARY_H

#include "bufferpool.h"

/* Writes them to stderr, unless the pool was never used. `when`: for the heading. */
void summary_say(const bufferpool_t *pool, const char *when);

#endif
