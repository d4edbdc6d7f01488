/* SPDX-License-Identifier: MIT
 *
 * scratch.h - where the server's scratch memory comes from: malloc and free per request, or a pool. The server's code
 * is the same for both, so the runs differ in nothing else. Every function may be called from any thread, except
 * create and destroy.
 */
#ifndef DEMO_SCRATCH_H
#define DEMO_SCRATCH_H

#include <bufferpool.h>
#include <stdint.h>

typedef enum scratch_kind {
    SCRATCH_MALLOC,
    SCRATCH_POOL,        /* gets beyond the cap bypass it */
    SCRATCH_POOL_WAITING /* gets beyond the cap wait */
} scratch_kind_t;

typedef struct scratch scratch_t;

typedef struct scratch_counts {
    uint64_t gets;
    uint64_t most_out; /* the most buffers that were out at once, of whatever kind */
    uint64_t bypasses; /* gets beyond the cap */
} scratch_counts_t;

/* cap: the pool's; 0: none. NULL with a message if there is no memory. */
scratch_t *scratch_create(scratch_kind_t kind, size_t cap);

/* Checks that everything came back, that the pool's counters obey their laws, and that where gets wait none exceeded
 * the cap. Returns 0, or 1 with a message. counts may be NULL. */
int scratch_destroy(scratch_t *scratch, scratch_counts_t *counts);

/* An empty buffer of at least 32 KiB; or NULL with errno: ENOMEM; of SCRATCH_POOL_WAITING also EAGAIN, when all were
 * out for wait_ms milliseconds. own: a handle that the caller keeps beside the buffer for as long as it is out.
 * malloc's bytes are described there; a pool brings handles of its own and leaves it alone. */
bufferpool_buf_t *scratch_get(scratch_t *scratch, bufferpool_buf_t *own, unsigned wait_ms);
void scratch_put(scratch_t *scratch, bufferpool_buf_t *buf);

/* As bufferpool_buf_reserve, _append and _printf. */
int scratch_reserve(scratch_t *scratch, bufferpool_buf_t *buf, size_t cap);
int scratch_append(scratch_t *scratch, bufferpool_buf_t *buf, const void *src, size_t n);
int scratch_printf(scratch_t *scratch, bufferpool_buf_t *buf, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
