/* SPDX-License-Identifier: MIT
 *
 * scratch.h - the server's scratch memory: malloc and free per request, or a pool. The server's code is the same for
 * both, so the runs differ in nothing else. Any thread may call any function here, except create and destroy.
 */
#ifndef DEMO_SCRATCH_H
#define DEMO_SCRATCH_H

#include <bufferpool.h>
#include <stdint.h>

typedef enum scratch_kind {
    SCRATCH_MALLOC,
    SCRATCH_POOL,          /* gets may go beyond the cap */
    SCRATCH_POOL_BLOCKING, /* at the cap a thread waits */
    SCRATCH_POOL_WAITING   /* at the cap a connection waits, and its thread goes on */
} scratch_kind_t;

typedef struct scratch scratch_t;

typedef struct scratch_counts {
    uint64_t gets;
    uint64_t most_out;  /* the most buffers that were out at once, of any kind */
    uint64_t beyond;    /* buffers that were made beyond the cap */
    uint64_t most_used; /* of the budget, in bytes: the most that was in use when a get returned */
} scratch_counts_t;

/* `cap` is the pool's cap, and `budget` the bytes that its buffers may take; 0 means no such limit. Returns NULL, with
 * a message, if there is no memory. */
scratch_t *scratch_create(scratch_kind_t kind, size_t cap, size_t budget);

/* Checks that every buffer came back, that the pool's counters obey their laws, that the budget was kept, and, if
 * requests wait, that no buffer was made beyond the cap. Returns 0, or 1 with a message. `counts` may be NULL. */
int scratch_destroy(scratch_t *scratch, scratch_counts_t *counts);

/* A handle for malloc. Only the library makes handles elsewhere: data and cap are const members of bufferpool_buf_t, so
 * the demonstration writes them through a second view. */
typedef union scratch_own {
    bufferpool_buf_t buf;
    struct {
        unsigned char *data;
        size_t len;
        size_t cap;
    } bytes;
} scratch_own_t;

/* Returns an empty buffer of at least 32 KiB. Returns NULL with errno ENOMEM, or, for SCRATCH_POOL_BLOCKING, with errno
 * EAGAIN if all buffers were out for wait_ms milliseconds. `own` is a handle that the caller keeps for as long as the
 * buffer is out. With malloc it describes the buffer's bytes. A pool has handles of its own and does not touch it. */
bufferpool_buf_t *scratch_get(scratch_t *scratch, scratch_own_t *own, unsigned wait_ms);
void scratch_put(scratch_t *scratch, bufferpool_buf_t *buf);

/* For SCRATCH_POOL_WAITING: as bufferpool_get_async and bufferpool_notifier_next. */
bufferpool_buf_t *scratch_get_async(scratch_t *scratch, bufferpool_waiter_t *waiter, bufferpool_notifier_t *notifier);
bufferpool_waiter_t *scratch_next(scratch_t *scratch, bufferpool_notifier_t *notifier);

scratch_kind_t scratch_kind(const scratch_t *scratch);

/* A budget of so many bytes has room for at least and at most that many buffers of 32 KiB. The library's part of a
 * block is less than a page. */
size_t scratch_least_buffers(size_t budget);
size_t scratch_most_buffers(size_t budget);

/* Returns the budget, or 0 if there is none. With a budget a buffer should not grow for a long response: growth fails
 * where other buffers have taken the rest. */
size_t scratch_budget(const scratch_t *scratch);

/* As bufferpool_buf_reserve, _append and _printf. */
int scratch_reserve(scratch_t *scratch, bufferpool_buf_t *buf, size_t cap);
int scratch_append(scratch_t *scratch, bufferpool_buf_t *buf, const void *src, size_t n);
int scratch_printf(scratch_t *scratch, bufferpool_buf_t *buf, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
