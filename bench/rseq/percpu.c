/* SPDX-License-Identifier: MIT
 *
 * percpu.c - a pool with a cache for each processor instead of each thread, as far as get and put are concerned
 *
 * Built three times. Once it does for each call what libbufferpool does: it compares and writes the buffer's word, so
 * that the second put of a buffer is found, sets len to 0, counts the get, and looks whether the cache was taken away.
 * With PERCPU_BARE it does nothing but push and pop. With PERCPU_BY_THREAD it is the control: each thread has a cache.
 * None has a cap.
 *
 * A cache that is empty or full exchanges half of its limit, at most BATCH buffers, with a depot: a stack of full
 * batches and one of spare ones, each with a tag beside its head. So an exchange takes two compare-and-swaps;
 * libbufferpool's takes one.
 *
 * Environment: PERCPU_LIMIT (64; buffers in each cache), PERCPU_UNPROTECTED (set: runs although no area is registered,
 * as processor 0. This is for callgrind and one thread: the instructions are the same, and nothing restarts.)
 */
#ifdef PERCPU_BY_THREAD
#include "bythread.h"
#else
#include "percpu.h"
#define bythread_begin(caches) ((void)0)
#endif

#include "peer.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

enum { BATCH = 64, BATCHES = 1 << 15, UNSUITED = 77 };
#define LIVE ((uintptr_t)0x1157)
#define IDLE ((uintptr_t)0x1d1e)

struct batch {
    _Atomic(uint32_t) below; /* number of the batch beneath; 0 means none */
    uint32_t n;
    void *bufs[BATCH];
};

uint64_t percpu_aborts;
ptrdiff_t percpu_area;
static struct percpu_cache *caches;
static unsigned n_caches;
static _Atomic(size_t) bufs_made;
static size_t buffer_size, batch_size;
static struct batch *batches;
static _Alignas(128) _Atomic(uint32_t) batches_made;
/* tag << 32 | number of the batch on top */
static _Alignas(128) _Atomic(uint64_t) full;
static _Alignas(128) _Atomic(uint64_t) spare;

/* ---- the depot ---- */

static void stack_push(_Atomic(uint64_t) *head, struct batch *batch)
{
    uint64_t seen = atomic_load_explicit(head, memory_order_relaxed), next;
    do {
        atomic_store_explicit(&batch->below, (uint32_t)seen, memory_order_relaxed);
        next = ((seen >> 32) + 1) << 32 | (uint64_t)(batch - batches);
        /* release: the acquire in stack_pop sees what is in the batch */
    } while (!atomic_compare_exchange_weak_explicit(head, &seen, next, memory_order_release, memory_order_relaxed));
}

static struct batch *stack_pop(_Atomic(uint64_t) *head)
{
    /* acquire: the release in stack_push */
    uint64_t seen = atomic_load_explicit(head, memory_order_acquire), next;
    do {
        if ((uint32_t)seen == 0)
            return NULL;
        uint32_t below = atomic_load_explicit(&batches[(uint32_t)seen].below, memory_order_relaxed);
        next = ((seen >> 32) + 1) << 32 | below;
    } while (!atomic_compare_exchange_weak_explicit(head, &seen, next, memory_order_acquire, memory_order_acquire));
    return &batches[(uint32_t)seen];
}

static struct batch *spare_batch(void)
{
    struct batch *batch = stack_pop(&spare);
    if (batch == NULL) {
        uint32_t number = atomic_fetch_add_explicit(&batches_made, 1, memory_order_relaxed) + 1;
        if (number >= BATCHES)
            abort();
        batch = &batches[number];
    }
    return batch;
}

static __attribute__((noinline)) struct percpu_buf *get_slowly(void)
{
    bythread_begin(caches);
    struct batch *batch = stack_pop(&full);
    if (batch == NULL) {
        struct percpu_buf *buf = aligned_alloc(64, sizeof(*buf));
        if (buf == NULL || (buf->data = malloc(buffer_size)) == NULL)
            abort();
        atomic_fetch_add_explicit(&bufs_made, 1, memory_order_relaxed);
        buf->word = IDLE;
        return buf;
    }
    struct percpu_buf *buf = batch->bufs[--batch->n];
    if (batch->n > 0 && !percpu_push_many(caches, batch->bufs, batch->n))
        stack_push(&full, batch); /* this thread came to another processor, which has buffers */
    else
        stack_push(&spare, batch);
    return buf;
}

static __attribute__((noinline)) void put_slowly(struct percpu_buf *buf)
{
    bythread_begin(caches);
    do {
        struct batch *batch = spare_batch();
        batch->n = (uint32_t)batch_size;
        stack_push(percpu_pop_many(caches, batch->bufs, batch_size) ? &full : &spare, batch);
    } while (!percpu_push(caches, buf));
}

/* ---- the contestant ---- */

void percpu_start(size_t size)
{
    const char *limit = getenv("PERCPU_LIMIT");
    percpu_area = __rseq_offset;
    if (getenv("PERCPU_UNPROTECTED") != NULL)
        __asm__ volatile("movl $0, %%fs:4(%0)" ::"r"(percpu_area) : "memory");
    else if (!percpu_works()) {
        fprintf(stderr, "skipped: no area of restartable sequences is registered here\n");
        exit(UNSUITED);
    }
#ifdef PERCPU_BY_THREAD
    n_caches = BYTHREAD_MOST;
#else
    n_caches = (unsigned)get_nprocs_conf();
#endif
    caches = aligned_alloc(sizeof(*caches), n_caches * sizeof(*caches));
    batches = mmap(NULL, BATCHES * sizeof(*batches), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (caches == NULL || batches == MAP_FAILED)
        abort();
    for (unsigned i = 0; i < n_caches; i++)
        caches[i] = (struct percpu_cache){.limit = limit != NULL ? strtoull(limit, NULL, 10) : 64};
    if (caches[0].limit < 2 || caches[0].limit > PERCPU_SLOTS)
        abort();
    batch_size = caches[0].limit / 2 < BATCH ? caches[0].limit / 2 : BATCH;
    buffer_size = size;
}

struct percpu_buf *percpu_get(void)
{
    struct percpu_buf *buf = percpu_pop(caches);
    if (__builtin_expect(buf == NULL, 0))
        buf = get_slowly();
#ifndef PERCPU_BARE
    if (__builtin_expect(buf->word != IDLE, 0))
        abort();
    buf->word = LIVE;
    buf->len = 0;
#endif
    return buf;
}

/* The word is written before the push. Afterwards another thread of the processor may have the buffer. */
void percpu_put(struct percpu_buf *buf)
{
#ifndef PERCPU_BARE
    if (__builtin_expect(buf->word != LIVE, 0))
        abort();
    buf->word = IDLE;
#endif
    if (__builtin_expect(!percpu_push(caches, buf), 0))
        put_slowly(buf);
}

size_t percpu_idle(void)
{
    size_t idle = 0;
    for (unsigned i = 0; i < n_caches; i++)
        idle += percpu_count(&caches[i]);
    return idle;
}

size_t percpu_made(void)
{
    return atomic_load_explicit(&bufs_made, memory_order_relaxed);
}
