/* SPDX-License-Identifier: MIT
 *
 * registry.h - all pools of the process, each in a slot of its own, and the lock over pools and threads
 */
#ifndef BUFFERPOOL_REGISTRY_H
#define BUFFERPOOL_REGISTRY_H

#include "desc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The default pool's slot and tag, and its place there from the start. */
#define REGISTRY_DEFAULT_INDEX 0u
#define REGISTRY_DEFAULT_TAG   ((uintptr_t)0xb0u << (POOL_INDEX_BITS + TLS_INDEX_BITS)) /* desc_tag(0xb0, 0) */
_Static_assert(REGISTRY_DEFAULT_TAG << STATE_BITS >> STATE_BITS == REGISTRY_DEFAULT_TAG, "it is to fit into a word");

/* The lock: taken to create and destroy pools, to give a thread a cache, to flush a thread's caches, when a thread
 * exits, and across fork. Before it no other lock of the library is held, but the background thread's across fork;
 * under it the locks of a pool may be taken. */
void registry_lock(void);
void registry_unlock(void);

/* Gives the pool a slot, a tag and a name nobody has: `name`, with a suffix if it is taken, or "pool-N" for NULL.
 * Returns false if there is no slot or no memory. The caller holds the lock. */
bool registry_add(bufferpool_t *pool, const char *name);

/* Takes the pool out of its slot. The caller holds the lock. */
void registry_remove(bufferpool_t *pool);

/* The pool in the slot, or NULL. Any thread, no lock. */
bufferpool_t *registry_find(size_t slot);

/* The pool with the lowest slot from `slot` on, or NULL: for walks over all of them. The caller holds the lock, or is
 * about to abort. */
bufferpool_t *registry_from(size_t slot);

#endif
