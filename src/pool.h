/* SPDX-License-Identifier: MIT
 *
 * pool.h - what the gets that wait (timed.c, async.c) need of get and put
 */
#ifndef BUFFERPOOL_POOL_H
#define BUFFERPOOL_POOL_H

#include "types.h"

/* The calling thread's cache, after all that the first call on a pool needs. Returns NULL if there is no memory. */
struct cache *pool_cache(bufferpool_t *pool);

/* As bufferpool_try_get, in the name of the public function, but a refusal is not counted. Returns NULL with errno set:
 * EAGAIN at the cap. */
bufferpool_buf_t *pool_get_below_cap(bufferpool_t *pool, const char *function, uintptr_t caller);

/* The same for n buffers, in bufs: all or none. Returns 0, EAGAIN or ENOMEM. */
int pool_get_many_below_cap(bufferpool_t *pool, struct cache *c, bufferpool_buf_t **bufs, size_t n);

/* Makes a buffer for a right that a waiting caller was given. Returns NULL if there is no memory; then the right is
 * gone. */
struct desc *pool_make_reserved(bufferpool_t *pool, struct cache *c);

/* Takes back an idle buffer that a caller was given, as if the get had never been. */
void pool_give_back(bufferpool_t *pool, struct cache *c, struct desc *d);

#endif
