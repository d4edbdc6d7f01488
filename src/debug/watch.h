/* SPDX-License-Identifier: MIT
 *
 * watch.h - what the debug modes do at each step of a buffer's life
 *
 *     heap_alloc -> watch_made -> get -> watch_got -> (growth -> watch_resized) -> put -> watch_put -> idle ->
 *     watch_idle -> ...
 *
 * Each is called where a mode watches (modes.h), by whoever has the buffer at that moment. What they find is misuse,
 * whose report then says who got and who put the buffer.
 */
#ifndef BUFFERPOOL_WATCH_H
#define BUFFERPOOL_WATCH_H

#include "debug/modes.h"
#include "desc.h"

/* Reads the environment once, before the first buffer is made. The registry's lock is held. */
void watch_init(void);

/* For a pool that is being made: its block allocator, where the modes have one. */
struct heap;
void watch_configure(struct heap *heap);

/* The buffer has a new block, whose bytes nobody looks at. */
void watch_made(bufferpool_t *pool, struct desc *d);

/* It goes to a caller, to which the public function returns. */
void watch_got(bufferpool_t *pool, struct desc *d, uintptr_t site);

/* Its block is about to be replaced; and then, that has happened, or failed; `idle`: as for watch_put. */
void watch_resize(bufferpool_t *pool, const struct desc *d, const char *caller);
void watch_resized(bufferpool_t *pool, struct desc *d, bool idle);

/* It comes back from a caller, and is held still; `idle`: it is about to be idle, and not to be freed. */
void watch_put(bufferpool_t *pool, struct desc *d, bool idle, const char *caller, uintptr_t site);

/* It was idle, and is about to be handed out or freed. */
void watch_idle(bufferpool_t *pool, const struct desc *d, const char *caller);

/* The pool is about to be destroyed, with all that idles in it. */
void watch_destroy(bufferpool_t *pool);

/* The process is about to end, or the library to go. */
void watch_end(void);

#endif
