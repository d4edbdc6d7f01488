/* SPDX-License-Identifier: MIT
 *
 * strikes.h - a buffer that was grown once and is little used since does not keep its size
 */
#ifndef BUFFERPOOL_STRIKES_H
#define BUFFERPOOL_STRIKES_H

#include "cache.h"

/* For a grown buffer that its caller has put and nobody else has yet: counts little use, and replaces the block at the
 * last strike by one that fits the last use; its state is then that of a plain one if that is buffer_capacity. Where
 * there is no memory for that the buffer stays as it is, and the next put tries again. */
void strikes_judge(bufferpool_t *pool, struct cache *c, struct desc *d, const char *caller);

#endif
