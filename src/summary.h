/* SPDX-License-Identifier: MIT
 *
 * summary.h - the statistics of a pool, for people
 */
#ifndef BUFFERPOOL_SUMMARY_H
#define BUFFERPOOL_SUMMARY_H

#include "bufferpool.h"

#define SUMMARY_MAX 1280

/* Writes them to `text`, which they do not end with a NUL. `when`: for the heading. Returns the length; 0: the pool was
 * never used. */
size_t summary_write(const bufferpool_t *pool, const char *when, char text[SUMMARY_MAX]);

#endif
