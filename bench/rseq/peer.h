/* SPDX-License-Identifier: MIT
 *
 * peer.h - the adapter of percpu.c: see bench/peer.h
 */
#ifndef BENCH_RSEQ_PEER_H
#define BENCH_RSEQ_PEER_H

#include <stddef.h>
#include <stdint.h>

/* As libbufferpool's: what callers see, and the word behind. */
struct percpu_buf {
    _Alignas(64) unsigned char *data;
    size_t len, cap;
    uintptr_t word;
};

struct peer_config;

/* Called straight, as the functions of bufferpool.h. */
#if defined(__GNUC__) && !defined(__clang__)
#define PERCPU_API __attribute__((noplt))
#else
#define PERCPU_API
#endif
PERCPU_API void percpu_start(size_t size);
PERCPU_API struct percpu_buf *percpu_get(void);
PERCPU_API void percpu_put(struct percpu_buf *buf);
/* The buffers that idle in the caches of all processors. Nothing must move meanwhile. */
PERCPU_API size_t percpu_idle(void);
/* The buffers that were ever made. */
PERCPU_API size_t percpu_made(void);

#define peer_start(config) percpu_start((config)->size)

static inline void peer_thread_start(void)
{
}

static inline void peer_thread_stop(void)
{
}

static inline void *peer_get(void)
{
    return percpu_get();
}

static inline unsigned char *peer_data(void *handle)
{
    return ((struct percpu_buf *)handle)->data;
}

static inline void peer_put(void *handle)
{
    percpu_put(handle);
}

#endif
