/* SPDX-License-Identifier: MIT
 *
 * block.c - one block: its size, its prefix, where it comes from and goes, and whose it is for other tools
 *
 * What is done to the slabs is done under the heap's lock (slab.h), which functions take themselves where block.h does
 * not say that it is held.
 */
#include "heap/block.h"

#include "debug/modes.h"
#include "debug/sanitizer.h"
#include "heap/os.h"

#include <limits.h>
#include <sched.h>
#include <string.h>

#define SLAB_MAX   ((size_t)1 << SLAB_MAX_SHIFT)
#define POWERS_MAX ((size_t)128 << 10)

/* Blocks above that have a mapping of their own, which grows without copying; but with huge pages, of which it has
 * whole ones, only those above SLAB_MAX. */
#define MAPPED_FROM ((size_t)256 << 10)

struct prefix {
    struct desc *desc;
    uintptr_t check;
};

/* ---- geometry ---- */

static size_t block_bytes(const struct heap *heap, size_t cap)
{
    return heap->alignment + cap + (modes_have(MODE_REDZONE) ? HEAP_REDZONE : 0);
}

static size_t stride_of(const struct heap *heap, size_t cap)
{
    return (block_bytes(heap, cap) + heap->alignment - 1) & ~(heap->alignment - 1);
}

/* The least power of two that is no less than n, as its exponent, at least SLAB_MIN_SHIFT; n is at least 1. */
static unsigned shift_of(size_t n)
{
    if (n <= (size_t)1 << SLAB_MIN_SHIFT)
        return SLAB_MIN_SHIFT;
    return (unsigned)(sizeof(unsigned long) * CHAR_BIT) - (unsigned)__builtin_clzl(n - 1);
}

bool block_class(struct heap *heap, size_t cap, struct slab_request *request)
{
    if (cap == heap->base && slab_fits(stride_of(heap, cap))) {
        request->cls = &heap->slabs.classes[SLAB_BASE];
        request->stride = stride_of(heap, cap);
        return true;
    }
    if (cap == heap->base || cap > (heap->slabs.huge ? SLAB_MAX : MAPPED_FROM))
        return false;
    unsigned shift = shift_of(cap);
    request->cls = &heap->slabs.classes[shift - SLAB_MIN_SHIFT];
    request->stride = stride_of(heap, (size_t)1 << shift);
    return true;
}

size_t block_grown_cap(const struct heap *heap, size_t n)
{
    if (heap->alloc != NULL)
        return n;
    return n <= POWERS_MAX ? (size_t)1 << shift_of(n) : os_mapped(n, false);
}

size_t block_mapped_bytes(const struct heap *heap, size_t cap)
{
    return os_mapped(block_bytes(heap, cap), heap->slabs.huge);
}

/* ---- prefix ---- */

static uintptr_t prefix_check(const struct desc *d, const unsigned char *data)
{
    return ~(uintptr_t)d ^ ((uintptr_t)data << 7) ^ (uintptr_t)0x5bd1e995u;
}

void block_write_prefix(struct desc *d, unsigned char *data)
{
    const struct prefix prefix = {d, prefix_check(d, data)};
    if (sanitizer_on()) {
        const struct prefix copied = prefix;
        sanitizer_copy(data - sizeof(prefix), &copied, sizeof(copied), false);
    } else {
        memcpy(data - sizeof(prefix), &prefix, sizeof(prefix));
    }
}

static struct desc *desc_of_prefix(struct prefix prefix, const void *data)
{
    return prefix.check == prefix_check(prefix.desc, data) ? prefix.desc : NULL;
}

static struct prefix prefix_at(const unsigned char *data)
{
    struct prefix prefix;
    memcpy(&prefix, data - sizeof(prefix), sizeof(prefix));
    return prefix;
}

/* The prefix may be what nobody may look at. Apart from the rest, which so needs no stack. */
static __attribute__((noinline)) struct desc *desc_of_data_watched(const unsigned char *data)
{
    struct prefix prefix;
    sanitizer_copy(&prefix, data - sizeof(prefix), sizeof(prefix), true);
    return desc_of_prefix(prefix, data);
}

struct desc *block_desc_of_data(const void *data)
{
    return sanitizer_on() ? desc_of_data_watched(data) : desc_of_prefix(prefix_at(data), data);
}

/* ---- whether it is as it was made ---- */

static bool lies_in_its_slot(const struct heap *heap, const struct block *block)
{
    return block->slab == NULL || slab_has(block->slab, block->data - heap->alignment);
}

static __attribute__((noinline)) bool intact_watched(const struct heap *heap, const struct desc *d)
{
    const struct block block = block_of(d);
    return lies_in_its_slot(heap, &block) && desc_of_data_watched(block.data) == d;
}

bool block_intact(const struct heap *heap, const struct desc *d)
{
    if (sanitizer_on())
        return intact_watched(heap, d);
    const struct block block = block_of(d);
    return lies_in_its_slot(heap, &block) && desc_of_prefix(prefix_at(block.data), block.data) == d;
}

/* ---- whose it is, for AddressSanitizer and memcheck (sanitizer.h) ---- */

/* Whether the handle can be believed; else what it leads to is left alone. */
static bool is_sound(const struct heap *heap, const struct desc *d)
{
    const struct block block = block_of(d);
    return block_intact(heap, d) && (block.slab == NULL || block.cap <= block.slab->stride - heap->alignment);
}

void block_show(const struct heap *heap, const struct desc *d, bool defined)
{
    if (is_sound(heap, d))
        sanitizer_show(d->pub.data, d->pub.cap, defined);
}

void block_hide(const struct heap *heap, const struct desc *d)
{
    if (is_sound(heap, d))
        sanitizer_hide(d->pub.data, d->pub.cap);
}

void block_set_held(const struct heap *heap, struct desc *d, uintptr_t word, bool defined)
{
    const bool told = sanitizer_on();
    if (told) {
        sanitizer_lock();
        block_show(heap, d, defined);
    }
    store_relaxed(&d->word, word);
    if (told)
        sanitizer_unlock();
}

/* The bytes behind cap are the hook's, in a block of its. */
static size_t beyond_cap(const struct heap *heap)
{
    return heap->alloc == NULL && modes_have(MODE_REDZONE) ? HEAP_REDZONE : 0;
}

void block_open(const struct heap *heap, const struct desc *d, bool held)
{
    if (sanitizer_on())
        sanitizer_open(held ? d->pub.data + d->pub.cap : d->pub.data, (held ? 0 : d->pub.cap) + beyond_cap(heap));
}

void block_close(const struct heap *heap, const struct desc *d, bool held)
{
    if (sanitizer_on())
        sanitizer_close(held ? d->pub.data + d->pub.cap : d->pub.data, (held ? 0 : d->pub.cap) + beyond_cap(heap));
}

/* A new block that lies in no slab is nobody's. */
static void hide_large(const struct heap *heap, const struct block *block)
{
    if (!sanitizer_on())
        return;
    if (heap->alloc != NULL)
        sanitizer_region(block->data, block->cap);
    else
        sanitizer_region(block->data - heap->alignment, block_mapped_bytes(heap, block->cap));
}

/* ---- where they come from, and go ---- */

/* The fields that follow from the memory, which may be NULL; false then. */
static bool block_at(const struct heap *heap, unsigned char *memory, struct block *block)
{
    block->data = memory != NULL ? memory + heap->alignment : NULL;
    return memory != NULL;
}

bool block_take(struct heap *heap, struct slab_request *request, struct block *block)
{
    request->lane = (unsigned)sched_getcpu() % SLAB_LANES;
    request->brief = block->brief;
    return block_at(heap, slab_take(&heap->slabs, request, &block->slab), block);
}

bool block_take_retained(struct heap *heap, struct block *block)
{
    size_t bytes = block_mapped_bytes(heap, block->cap);
    heap_lock(heap);
    unsigned char *memory = retained_take(&heap->slabs.retained, bytes);
    if (memory != NULL && block->brief)
        heap->slabs.brief_bytes += bytes;
    heap_unlock(heap);
    return block_at(heap, memory, block);
}

bool block_make_large(struct heap *heap, struct block *block)
{
    size_t bytes = block_bytes(heap, block->cap);
    if (!block_at(heap,
                  heap->alloc != NULL ? heap->alloc(bytes, heap->alignment, heap->ctx)
                                      : os_map(bytes, heap->slabs.huge),
                  block))
        return false;
    hide_large(heap, block);
    if (block->brief) {
        heap_lock(heap);
        heap->slabs.brief_bytes += block_mapped_bytes(heap, block->cap);
        heap_unlock(heap);
    }
    return true;
}

/* Keeps a free mapping or, if that is too much, so much of its beginning as a smaller block would have; the lock held.
 * Returns how many bytes it keeps. */
static size_t retain_beginning(struct heap *heap, const struct block *block)
{
    unsigned char *memory = block->data - heap->alignment;
    size_t bytes = block_mapped_bytes(heap, block->cap);
    if (slab_retain_mapping(&heap->slabs, memory, bytes))
        return bytes;
    if (block->cap <= MAPPED_FROM || block->cap == heap->base)
        return 0;
    for (size_t cap = (size_t)1 << (shift_of(block->cap) - 1); cap > MAPPED_FROM; cap /= 2) {
        bytes = block_mapped_bytes(heap, cap);
        if (slab_retain_mapping(&heap->slabs, memory, bytes))
            return bytes;
    }
    return 0;
}

void block_free_large(struct heap *heap, const struct block *block, bool defer)
{
    unsigned char *memory = block->data - heap->alignment;
    if (heap->alloc != NULL) {
        if (sanitizer_on())
            sanitizer_forget(block->data, block->cap, true);
        heap->free(memory, block_bytes(heap, block->cap), heap->ctx);
        return;
    }
    size_t bytes = block_mapped_bytes(heap, block->cap), kept = 0;
    heap_lock(heap);
    if (block->brief)
        heap->slabs.brief_bytes -= bytes;
    if (!defer)
        kept = retain_beginning(heap, block);
    if (block->brief && !defer)
        slab_purge_excess(&heap->slabs);
    heap_unlock(heap);
    if (kept < bytes)
        os_unmap(memory + kept, bytes - kept);
}
