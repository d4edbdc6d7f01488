/* SPDX-License-Identifier: MIT
 *
 * names.h - the names of all pools: no two are equal
 *
 * The caller holds the registry's lock.
 */
#ifndef BUFFERPOOL_NAMES_H
#define BUFFERPOOL_NAMES_H

#include "types.h"

/* Gives the pool a name that no pool has: `name`, or `name` with the lowest suffix "-2", "-3" ... that is free. NULL
 * stands for "pool-N", with the next N in every call. Returns false if there is no memory; then nothing changed except
 * N. */
bool names_take(bufferpool_t *pool, const char *name);

/* The pool's name is free again. The string is still the pool's. */
void names_give(const bufferpool_t *pool);

#endif
