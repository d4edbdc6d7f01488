/* SPDX-License-Identifier: MIT
 *
 * watch.h - what the debug modes do at each step of a buffer's life
 *
 *     heap_alloc -> watch_made -> get -> watch_got -> (growth -> watch_resized) -> put -> watch_put -> idle ->
 *     watch_hand_out -> get -> ... -> idle -> watch_freed
 *
 * Before buffers are handed out and before they are freed, watch_idle comes first.
 *
 * life.c, buffer.c and reclaim.c call these while a mode watches (modes.h), on the thread that has the buffer at that
 * moment. They report what they find as misuse, and the report says which calls got and put the buffer.
 */
#ifndef BUFFERPOOL_WATCH_H
#define BUFFERPOOL_WATCH_H

#include "debug/modes.h"
#include "types.h"

/* For a pool that is being made: sets its block allocator, if a mode has one. */
void watch_configure(struct heap *heap);

/* The buffer has a new block, which no caller has written to yet. */
void watch_made(bufferpool_t *pool, struct desc *d);

/* The buffer is idle, and about to be handed out. */
void watch_hand_out(bufferpool_t *pool, const struct desc *d);

/* The buffer goes to the caller of get. */
void watch_got(bufferpool_t *pool, struct desc *d);

/* The buffer's block is about to be replaced. */
void watch_resize(bufferpool_t *pool, const struct desc *d);

/* The block was replaced, or the replacement failed. `idle`: no caller holds the buffer. */
void watch_resized(bufferpool_t *pool, struct desc *d, bool idle);

/* The buffer comes back from its caller, is still held, and is about to be idle. */
void watch_put(bufferpool_t *pool, struct desc *d);

/* The buffer was idle, and is about to be handed out or freed. */
void watch_idle(bufferpool_t *pool, const struct desc *d);

/* The idle buffer is about to be freed. The next buffer of its descriptor may be made while no mode watches. */
void watch_freed(bufferpool_t *pool, const struct desc *d);

#endif
