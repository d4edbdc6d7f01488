/* SPDX-License-Identifier: MIT
 *
 * heap.c - blocks and their descriptors
 *
 * Invariant, whenever the lock is free: a descriptor on the free list has data == NULL. Descriptor and slot are taken
 * and given back in one critical section. Hooks, wiping, copying and system calls for large blocks run without the
 * lock.
 */
#include "heap.h"

#include "region.h"

#include <errno.h>
#include <string.h>

struct prefix {
    struct desc *desc;
    uintptr_t check;
};

/* ---- geometry ---- */

static size_t stride_of(const struct heap *heap, size_t cap)
{
    return (heap->alignment + cap + heap->alignment - 1) & ~(heap->alignment - 1);
}

/* The class of slabs with slots of exactly that cap; NULL: such blocks have a mapping of their own. */
static struct slab_class *class_of(struct heap *heap, size_t cap)
{
    if (!slab_fits(stride_of(heap, cap)))
        return NULL;
    if (cap == heap->base)
        return &heap->slabs.classes[SLAB_BASE];
    if (cap > (size_t)1 << SLAB_MAX_SHIFT)
        return NULL;
    unsigned shift = (unsigned)__builtin_ctzl(cap); /* grown_cap makes these powers of two */
    return &heap->slabs.classes[shift - SLAB_MIN_SHIFT];
}

/* The cap that a block for n bytes gets, other than the first block of a buffer: a power of two where slabs have
 * them, else whole pages, and the prefix on top of them. So doubling meets round figures, such as max_capacity,
 * exactly. */
static size_t grown_cap(const struct heap *heap, size_t n)
{
    if (heap->alloc != NULL)
        return n;
    for (unsigned shift = SLAB_MIN_SHIFT; shift <= SLAB_MAX_SHIFT; shift++)
        if (n <= (size_t)1 << shift)
            return (size_t)1 << shift;
    return region_mapped(n, false);
}

/* ---- prefix ---- */

static uintptr_t prefix_check(const struct desc *d, const unsigned char *data)
{
    return ~(uintptr_t)d ^ ((uintptr_t)data << 7) ^ (uintptr_t)0x5bd1e995u;
}

static void prefix_write(struct desc *d, unsigned char *data)
{
    struct prefix prefix = {d, prefix_check(d, data)};
    memcpy(data - sizeof(prefix), &prefix, sizeof(prefix));
}

struct desc *heap_desc_of_data(const void *data)
{
    struct prefix prefix;
    memcpy(&prefix, (const unsigned char *)data - sizeof(prefix), sizeof(prefix));
    return prefix.check == prefix_check(prefix.desc, data) ? prefix.desc : NULL;
}

bool heap_intact(const struct heap *heap, const struct desc *d)
{
    if (d->slab != NULL && !slab_has(d->slab, d->pub.data - heap->alignment))
        return false;
    return heap_desc_of_data(d->pub.data) == d;
}

/* ---- blocks ---- */

struct block {
    unsigned char *data;
    size_t cap;
    struct slab *slab;
};

/* A block of exactly that cap. With `locked` the lock is held, and kept; a hook is never called with it. */
static bool block_make(struct heap *heap, size_t cap, bool locked, struct block *block)
{
    struct slab_class *cls;
    unsigned char *memory;
    block->cap = cap;
    block->slab = NULL;
    if (heap->alloc != NULL) {
        memory = heap->alloc(heap->alignment + cap, heap->alignment, heap->ctx);
    } else if ((cls = class_of(heap, cap)) != NULL) {
        if (!locked)
            pthread_mutex_lock(&heap->slabs.lock);
        memory = slab_take(&heap->slabs, cls, stride_of(heap, cap), &block->slab);
        if (!locked)
            pthread_mutex_unlock(&heap->slabs.lock);
    } else {
        memory = region_map(heap->alignment + cap, heap->slabs.huge);
    }
    block->data = memory != NULL ? memory + heap->alignment : NULL;
    return memory != NULL;
}

static size_t mapped_bytes(const struct heap *heap, size_t cap)
{
    return region_mapped(heap->alignment + cap, heap->slabs.huge);
}

/* Frees a block that lies in no slab. */
static void block_free_large(struct heap *heap, const struct block *block)
{
    unsigned char *memory = block->data - heap->alignment;
    if (heap->alloc != NULL)
        heap->free(memory, heap->alignment + block->cap, heap->ctx);
    else
        region_unmap(memory, mapped_bytes(heap, block->cap));
}

static struct block block_of(const struct desc *d)
{
    return (struct block){d->pub.data, d->pub.cap, d->slab};
}

static void block_attach(struct desc *d, const struct block *block)
{
    d->pub.data = block->data;
    d->pub.cap = block->cap;
    d->slab = block->slab;
}

void heap_wipe(void *data, size_t n)
{
    explicit_bzero(data, n);
}

/* ---- allocation ---- */

struct desc *heap_alloc(struct heap *heap)
{
    struct block block = {NULL, 0, NULL};
    bool in_slab = class_of(heap, heap->base) != NULL && heap->alloc == NULL;
    if (!in_slab && !block_make(heap, heap->base, false, &block))
        return NULL;

    pthread_mutex_lock(&heap->slabs.lock);
    struct desc *d = desc_take(&heap->table);
    if (d != NULL && in_slab && !block_make(heap, heap->base, true, &block)) {
        desc_give(&heap->table, d);
        d = NULL;
    }
    if (d != NULL)
        block_attach(d, &block);
    pthread_mutex_unlock(&heap->slabs.lock);

    if (d != NULL)
        prefix_write(d, block.data);
    else if (!in_slab)
        block_free_large(heap, &block);
    return d;
}

void heap_free(struct heap *heap, struct desc *d, bool defer)
{
    struct block block = block_of(d);
    if (heap->wipe)
        heap_wipe(block.data, block.cap);
    if (block.slab == NULL)
        block_free_large(heap, &block);

    pthread_mutex_lock(&heap->slabs.lock);
    d->pub.data = NULL;
    desc_give(&heap->table, d);
    if (block.slab != NULL)
        slab_give(&heap->slabs, block.slab, block.data - heap->alignment, defer);
    pthread_mutex_unlock(&heap->slabs.lock);
}

/* ---- growth ---- */

/* A mapping of its own moves by its page tables: nothing is copied, and nothing is left behind. */
static bool resize_mapping(struct heap *heap, struct desc *d, size_t cap)
{
    unsigned char *memory = d->pub.data - heap->alignment;
    memory = region_grow(memory, mapped_bytes(heap, d->pub.cap), mapped_bytes(heap, cap));
    if (memory == NULL)
        return false;
    d->pub.data = memory + heap->alignment;
    d->pub.cap = cap;
    prefix_write(d, d->pub.data);
    return true;
}

/* By a block of exactly that cap, which has the first `keep` bytes of the old. */
static bool block_replace(struct heap *heap, struct desc *d, size_t cap, size_t keep)
{
    struct block old = block_of(d);
    struct block block;
    if (!block_make(heap, cap, false, &block))
        return false;
    memcpy(block.data, old.data, keep);
    prefix_write(d, block.data);
    block_attach(d, &block);

    if (heap->wipe)
        heap_wipe(old.data, old.cap);
    if (old.slab == NULL) {
        block_free_large(heap, &old);
    } else {
        pthread_mutex_lock(&heap->slabs.lock);
        slab_give(&heap->slabs, old.slab, old.data - heap->alignment, false);
        pthread_mutex_unlock(&heap->slabs.lock);
    }
    return true;
}

static bool resize(struct heap *heap, struct desc *d, size_t cap, size_t keep)
{
    bool mapping = heap->alloc == NULL && d->slab == NULL;
    if (mapping && class_of(heap, cap) == NULL)
        return resize_mapping(heap, d, cap);
    return block_replace(heap, d, cap, keep);
}

int heap_grow(struct heap *heap, struct desc *d, size_t need, size_t keep)
{
    if (need > HEAP_CAP_MAX)
        return EOVERFLOW;
    size_t twice = d->pub.cap <= HEAP_CAP_MAX / 2 ? 2 * d->pub.cap : HEAP_CAP_MAX;
    size_t want = grown_cap(heap, need > twice ? need : twice);
    size_t least = grown_cap(heap, need);
    if (resize(heap, d, want, keep))
        return 0;
    return least < want && resize(heap, d, least, keep) ? 0 : ENOMEM;
}

bool heap_shrink(struct heap *heap, struct desc *d, size_t cap)
{
    if (heap->wipe)
        heap_wipe(d->pub.data + cap, d->pub.cap - cap); /* a mapping gives its end away as it is */
    return resize(heap, d, cap, 0);
}

void heap_purge(struct heap *heap)
{
    pthread_mutex_lock(&heap->slabs.lock);
    slab_purge_all(&heap->slabs);
    pthread_mutex_unlock(&heap->slabs.lock);
}

/* ---- fork and the end ---- */

void heap_repair(struct heap *heap)
{
    heap->table.free_list = NULL;
    slab_repair_begin(&heap->slabs);
    for (uint32_t i = load_relaxed(&heap->table.used); i > 0; i--) {
        struct desc *d = desc_at(&heap->table, i);
        if (desc_state(load_relaxed(&d->word)) == STATE_FREE) {
            d->pub.data = NULL; /* a large block of an unfinished call is lost; one in a slab is found again */
            desc_give(&heap->table, d);
        } else if (d->slab != NULL) {
            slab_repair_claim(d->slab, d->pub.data - heap->alignment);
        }
    }
    slab_repair_end(&heap->slabs);
}

void heap_destroy(struct heap *heap)
{
    for (uint32_t i = load_relaxed(&heap->table.used); i > 0; i--) {
        struct desc *d = desc_at(&heap->table, i);
        if (d->pub.data == NULL)
            continue;
        struct block block = block_of(d);
        if (heap->wipe)
            heap_wipe(block.data, block.cap);
        if (block.slab == NULL)
            block_free_large(heap, &block);
    }
    slab_destroy_all(&heap->slabs);
    desc_table_destroy(&heap->table);
    pthread_mutex_destroy(&heap->slabs.lock);
}
