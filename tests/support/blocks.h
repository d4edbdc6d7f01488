/* SPDX-License-Identifier: MIT
 *
 * blocks.h - buffers straight from a heap, whose blocks a test may touch although no pool handed them out; and the
 * library's own look at a block that nobody holds. For tests with INTERNAL.
 */
#ifndef TEST_BLOCKS_H
#define TEST_BLOCKS_H

#include "support.h"

#include "debug/sanitizer.h"
#include "heap/block.h"
#include "heap/heap.h"
#include "registry.h"

/* heap_alloc, as a pool does it. */
static inline struct desc *test_heap_alloc(struct heap *heap)
{
    struct desc *d = heap_alloc(heap);
    if (d != NULL && sanitizer_on())
        block_show(heap, d, false);
    return d;
}

/* heap_free, likewise. */
static inline void test_heap_free(struct heap *heap, struct desc *d, bool defer, size_t spare)
{
    if (sanitizer_on())
        block_hide(heap, d);
    heap_free(heap, d, defer, spare);
}

/* heap_shrink of a buffer that is held before and after. */
static inline bool test_heap_shrink(struct heap *heap, struct desc *d, size_t cap, size_t spare)
{
    if (sanitizer_on())
        block_hide(heap, d);
    const bool shrunk = heap_shrink(heap, d, cap, spare);
    if (sanitizer_on())
        block_show(heap, d, false);
    return shrunk;
}

/* For tests of what the fast path does: memcheck is not told of blocks, so that gates open under it too. To be called
 * before the first pool is made. */
static inline void test_tell_memcheck_nothing(void)
{
    registry_lock();
    modes_init(sanitizer_under_memcheck());
    store_relaxed(&modes, load_relaxed(&modes) & ~(unsigned)MODE_MEMCHECK);
    registry_unlock();
}

#endif
