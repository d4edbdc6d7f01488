/* SPDX-License-Identifier: MIT
 *
 * block.c - one block: its size, its prefix, and what AddressSanitizer and memcheck know of it
 *
 * No lock is taken here, and no memory comes or goes.
 */
#include "heap/block.h"

#include "debug/modes.h"
#include "debug/sanitizer.h"
#include "heap/os.h"

#include <limits.h>
#include <string.h>

#define SLAB_MAX   ((size_t)1 << SLAB_MAX_SHIFT)
#define POWERS_MAX ((size_t)128 << 10)

/* Blocks above this size have a mapping of their own, which grows without copying. With huge pages only blocks above
 * SLAB_MAX have one, since a mapping has whole huge pages. */
#define MAPPED_FROM ((size_t)256 << 10)

/* ---- geometry ---- */

size_t block_bytes(const struct heap *heap, size_t cap)
{
    return heap->alignment + cap + (modes_have(MODE_REDZONE) ? HEAP_REDZONE : 0);
}

static size_t stride_of(const struct heap *heap, size_t cap)
{
    return (block_bytes(heap, cap) + heap->alignment - 1) & ~(heap->alignment - 1);
}

/* The exponent of the least power of two that is at least n and at least 1 << SLAB_MIN_SHIFT. n is at least 1. */
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

size_t block_next_smaller(size_t cap)
{
    const size_t half = cap > MAPPED_FROM ? (size_t)1 << (shift_of(cap) - 1) : 0;
    return half > MAPPED_FROM ? half : 0;
}

/* ---- prefix ---- */

static void write_prefix(unsigned char *data, const struct prefix *prefix)
{
    if (sanitizer_on())
        sanitizer_copy(data - sizeof(*prefix), prefix, sizeof(*prefix), false);
    else
        memcpy(data - sizeof(*prefix), prefix, sizeof(*prefix));
}

void block_write_prefix(struct desc *d, unsigned char *data)
{
    const struct prefix prefix = {d, prefix_check(d, data)};
    write_prefix(data, &prefix);
}

void block_erase_prefix(unsigned char *data)
{
    write_prefix(data, &(const struct prefix){NULL, 0});
}

/* The prefix may lie in memory that is nobody's. A function of its own, so that the usual path needs no stack. */
__attribute__((noinline)) struct desc *block_desc_of_data_watched(const unsigned char *data)
{
    struct prefix prefix;
    sanitizer_copy(&prefix, data - sizeof(prefix), sizeof(prefix), true);
    return prefix.check == prefix_check(prefix.desc, data) ? prefix.desc : NULL;
}

/* ---- whether it is as it was made ---- */

static bool lies_in_its_slot(const struct heap *heap, const struct block *block)
{
    return block->slab == NULL || slab_has(block->slab, block->data - heap->alignment);
}

static __attribute__((noinline)) bool intact_watched(const struct heap *heap, const struct desc *d)
{
    const struct block block = block_of(d);
    return lies_in_its_slot(heap, &block) && block_desc_of_data_watched(block.data) == d;
}

bool block_intact(const struct heap *heap, const struct desc *d)
{
    if (sanitizer_on())
        return intact_watched(heap, d);
    const struct block block = block_of(d);
    return lies_in_its_slot(heap, &block) && block_desc_of_data(block.data) == d;
}

/* ---- whose it is, for AddressSanitizer and memcheck (sanitizer.h) ---- */

/* Whether the handle can be believed. Otherwise the memory that it leads to is left alone. */
static bool is_sound(const struct heap *heap, const struct desc *d)
{
    return desc_is_sealed(d) && block_intact(heap, d);
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

/* How many bytes behind cap and in front of data are guarded: in a hook's block none, which are accessible. */
static size_t bytes_behind(const struct heap *heap)
{
    return heap->alloc == NULL && modes_have(MODE_REDZONE) ? HEAP_REDZONE : 0;
}

static size_t bytes_in_front(const struct heap *heap)
{
    return heap->alloc == NULL && modes_have(MODE_REDZONE) ? heap->alignment : 0;
}

void block_open(const struct heap *heap, const struct desc *d, bool held)
{
    if (!sanitizer_on())
        return;
    sanitizer_open(d->pub.data - bytes_in_front(heap), bytes_in_front(heap));
    sanitizer_open(held ? d->pub.data + d->pub.cap : d->pub.data, (held ? 0 : d->pub.cap) + bytes_behind(heap));
}

void block_close(const struct heap *heap, const struct desc *d, bool held)
{
    if (!sanitizer_on())
        return;
    sanitizer_close(d->pub.data - bytes_in_front(heap), bytes_in_front(heap));
    sanitizer_close(held ? d->pub.data + d->pub.cap : d->pub.data, (held ? 0 : d->pub.cap) + bytes_behind(heap));
}
