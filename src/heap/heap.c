/* SPDX-License-Identifier: MIT
 *
 * heap.c - blocks and their descriptors
 *
 * Invariant, whenever the lock is free: a descriptor on the free list has data == NULL. Descriptor and slot are taken
 * and given back in one critical section; those in the stash stay taken, both. Hooks, wiping and copying run without
 * the lock, and of system calls all but those that map memory or move a mapping. What is relaxed is read in the child
 * of fork or at the end of the pool, alone.
 */
#include "heap/heap.h"

#include "debug/sanitizer.h"
#include "heap/block.h"
#include "heap/os.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

/* ---- the lock ---- */

/* Held for some tens of nanoseconds, mostly: to look again for a microsecond or two costs less than to sleep. */
#define LOOKS  10
#define PAUSES 10 /* between two looks */

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#else
    compiler_barrier();
#endif
}

void heap_lock(struct heap *heap)
{
    for (int look = 0; look < LOOKS; look++) {
        if (pthread_mutex_trylock(&heap->slabs.lock) == 0)
            return;
        for (int i = 0; i < PAUSES; i++)
            relax();
    }
    pthread_mutex_lock(&heap->slabs.lock);
}

void heap_unlock(struct heap *heap)
{
    pthread_mutex_unlock(&heap->slabs.lock);
}

void heap_wipe(void *data, size_t n)
{
    explicit_bzero(data, n);
}

/* ---- the stash ---- */

#define STASH_BYTES ((size_t)100 << 10) /* of a lane: three blocks of 32 KiB; all lanes together are less than 1 MiB */

static struct stash_lane *stash_lane(struct heap *heap)
{
    return &heap->stash.lanes[(unsigned)sched_getcpu() % STASH_LANES];
}

static bool fits_stash(const struct heap *heap, const struct desc *d)
{
    struct block block = block_of(d);
    return block.brief && block.slab != NULL && block.cap == heap->base;
}

/* Frees descriptor and slot, the lock held, which without `defer` may be let go and taken again. */
static void give_slot(struct heap *heap, struct desc *d, const struct block *block, bool defer)
{
    d->pub.data = NULL;
    desc_give(&heap->table, d);
    slab_give(&heap->slabs, block->slab, block->data - heap->alignment, defer);
}

/* Opens the lane for blocks of that stride if it is closed, the lock held. */
static void open_lane(struct heap *heap, struct stash_lane *lane, size_t stride)
{
    if (stash_is_open(lane))
        return;
    unsigned places = stride < STASH_BYTES / STASH_CELLS ? STASH_CELLS : (unsigned)(STASH_BYTES / stride);
    heap->slabs.aside_bytes += places * stride;
    stash_open(lane, places);
}

/* Frees what is in the stash, the lock held, and closes it. False: nothing was there. */
static bool empty_stash(struct heap *heap)
{
    if (heap->slabs.aside_bytes == 0)
        return false;
    heap->slabs.aside_bytes = 0;
    struct desc *d = stash_close(&heap->stash);
    bool any = d != NULL;
    while (d != NULL) {
        struct desc *next = d->chain;
        struct block block = block_of(d);
        give_slot(heap, d, &block, true);
        d = next;
    }
    return any;
}

/* ---- allocation ---- */

/* Descriptor and block, the block from `request` unless that is NULL; the lock held. */
static struct desc *take(struct heap *heap, struct slab_request *request, struct block *block)
{
    struct desc *d = desc_take(&heap->table);
    if (d == NULL)
        return NULL;
    if (request != NULL && !block_take(heap, request, block)) {
        desc_give(&heap->table, d);
        return NULL;
    }
    block_attach(d, block);
    return d;
}

static __attribute__((noinline)) struct desc *alloc_locked(struct heap *heap, bool brief)
{
    struct block block = {NULL, heap->base, NULL, brief && heap->alloc == NULL};
    struct slab_request request;
    bool in_slab = heap->alloc == NULL && block_class(heap, heap->base, &request);
    if (!in_slab && !(heap->alloc == NULL && block_take_retained(heap, &block)) && !block_make_large(heap, &block))
        return NULL;

    heap_lock(heap);
    struct desc *d = take(heap, in_slab ? &request : NULL, &block);
    if (d == NULL && empty_stash(heap))
        d = take(heap, in_slab ? &request : NULL, &block);
    heap_unlock(heap);

    if (d != NULL)
        block_write_prefix(d, block.data);
    else if (!in_slab)
        block_free_large(heap, &block, false);
    return d;
}

struct desc *heap_alloc(struct heap *heap, bool brief)
{
    struct desc *d = brief ? stash_pop(stash_lane(heap)) : NULL;
    return d != NULL ? d : alloc_locked(heap, brief);
}

/* `lane`: the one that could have had it; or NULL. */
static __attribute__((noinline)) void free_locked(struct heap *heap, struct desc *d, struct stash_lane *lane,
                                                  bool defer)
{
    struct block block = block_of(d);
    heap_lock(heap);
    if (lane != NULL)
        open_lane(heap, lane, block.slab->stride);
    if (block.slab != NULL) {
        give_slot(heap, d, &block, defer);
    } else {
        d->pub.data = NULL;
        desc_give(&heap->table, d);
    }
    heap_unlock(heap);
    if (block.slab == NULL)
        block_free_large(heap, &block, defer);
}

void heap_free(struct heap *heap, struct desc *d, bool defer)
{
    if (unlikely(heap->wipe))
        sanitizer_wipe(d->pub.data, d->pub.cap);
    struct stash_lane *lane = !defer && fits_stash(heap, d) ? stash_lane(heap) : NULL;
    if (lane == NULL || !stash_push(lane, d))
        free_locked(heap, d, lane, defer);
}

/* ---- growth ---- */

/* What a buffer's block is changes under the lock, in one step for the child of fork. */

/* The mapping of a held block, for a larger cap; NULL: it stays as it is. */
static unsigned char *grow_mapping(const struct heap *heap, const struct desc *d, size_t cap)
{
    size_t old_bytes = block_mapped_bytes(heap, d->pub.cap), bytes = block_mapped_bytes(heap, cap);
    unsigned char *memory = d->pub.data - heap->alignment;
    if (SANITIZER_ASAN) /* it may move, and then somebody else may be there at once */
        sanitizer_forget(memory, old_bytes, false);
    // NOLINTNEXTLINE(readability-suspicious-call-argument): from the old size to the new one
    unsigned char *grown = os_grow(memory, old_bytes, bytes);
    if (SANITIZER_ASAN) {
        unsigned char *now = grown != NULL ? grown : memory;
        sanitizer_region(now, grown != NULL ? bytes : old_bytes);
        sanitizer_show(now + heap->alignment, grown != NULL ? cap : d->pub.cap, true);
    }
    return grown;
}

/* A mapping of its own moves by its page tables: nothing is copied, and nothing is left behind. False: the system will
 * not, for want of memory or since the caller has locked a part of it, say. */
static bool resize_mapping(struct heap *heap, struct desc *d, size_t cap)
{
    size_t old_bytes = block_mapped_bytes(heap, d->pub.cap), bytes = block_mapped_bytes(heap, cap);
    unsigned char *memory = d->pub.data - heap->alignment;
    heap_lock(heap);
    if (bytes > old_bytes)
        memory = grow_mapping(heap, d, cap);
    else if (SANITIZER_ASAN && cap > d->pub.cap) /* there was room */
        sanitizer_show(d->pub.data, cap, true);
    if (memory != NULL) {
        d->pub.data = memory + heap->alignment;
        d->pub.cap = cap;
        block_write_prefix(d, d->pub.data);
        if (block_of(d).brief) {
            heap->slabs.brief_bytes = heap->slabs.brief_bytes + bytes - old_bytes;
            slab_purge_excess(&heap->slabs);
        }
    }
    heap_unlock(heap);
    if (bytes < old_bytes)
        os_unmap(memory + bytes, old_bytes - bytes);
    return memory != NULL;
}

/* The old block becomes what the new one was, nobody's, and the new one what the old one was: a caller's if it is
 * `held`. */
static void replace(struct heap *heap, struct desc *d, const struct block *block, size_t keep, bool held)
{
    struct block old = block_of(d);
    const bool told = held && sanitizer_on();
    if (told) {
        sanitizer_lock();
        sanitizer_show(block->data, block->cap, false);
    }
    memcpy(block->data, old.data, keep);
    block_write_prefix(d, block->data);
    heap_lock(heap);
    block_attach(d, block);
    if (heap->wipe) { /* after that, or a child of fork might see a held buffer wiped */
        heap_unlock(heap);
        if (held)
            heap_wipe(old.data, old.cap);
        else
            sanitizer_wipe(old.data, old.cap);
        heap_lock(heap);
    }
    if (told) {
        sanitizer_hide(old.data, old.cap);
        sanitizer_unlock();
    }
    if (old.slab != NULL)
        slab_give(&heap->slabs, old.slab, old.data - heap->alignment, false);
    heap_unlock(heap);
    if (old.slab == NULL)
        block_free_large(heap, &old, false);
}

/* Whether memcheck lets a mapping that is held move: it would have the bytes, but not a new block of its, nor the old
 * one. */
static bool may_move(bool held)
{
    return SANITIZER_ASAN || !held || !sanitizer_on();
}

/* Replaces the block by one of exactly that cap, which has the first `keep` bytes of the old. */
static bool resize(struct heap *heap, struct desc *d, size_t cap, size_t keep, bool held)
{
    struct block old = block_of(d);
    struct block block = {NULL, cap, NULL, old.brief};
    struct slab_request request;
    bool made;
    if (heap->alloc != NULL) {
        made = block_make_large(heap, &block);
    } else if (block_class(heap, cap, &request)) {
        heap_lock(heap);
        made = block_take(heap, &request, &block);
        if (!made && empty_stash(heap))
            made = block_take(heap, &request, &block);
        heap_unlock(heap);
    } else {
        made = cap > old.cap && block_take_retained(heap, &block); /* copying costs less than page faults */
        if (!made && old.slab == NULL && may_move(held) && resize_mapping(heap, d, cap))
            return true;
        made = made || block_make_large(heap, &block);
    }
    if (made)
        replace(heap, d, &block, keep, held);
    return made;
}

int heap_grow(struct heap *heap, struct desc *d, size_t need, size_t keep)
{
    if (need > HEAP_CAP_MAX)
        return EOVERFLOW;
    size_t twice = d->pub.cap <= HEAP_CAP_MAX / 2 ? 2 * d->pub.cap : HEAP_CAP_MAX;
    size_t want = block_grown_cap(heap, need > twice ? need : twice);
    size_t least = block_grown_cap(heap, need);
    if (resize(heap, d, want, keep, true))
        return 0;
    return least < want && resize(heap, d, least, keep, true) ? 0 : ENOMEM;
}

bool heap_shrink(struct heap *heap, struct desc *d, size_t cap)
{
    if (heap->wipe)
        sanitizer_wipe(d->pub.data + cap, d->pub.cap - cap); /* a mapping gives its end away as it is */
    if (!resize(heap, d, cap, 0, false))
        return false;
    if (heap->wipe)
        sanitizer_wipe(d->pub.data, cap); /* a hook's block has whatever it has */
    return true;
}

void heap_purge(struct heap *heap)
{
    heap_lock(heap);
    (void)empty_stash(heap);
    slab_purge_all(&heap->slabs);
    heap_unlock(heap);
}

/* ---- fork and the end ---- */

#if SANITIZER_ASAN
/* A thread of the parent may have told it something else. Memcheck is told under a lock that fork takes. */
static void repair_sanitizer(const struct heap *heap, const struct desc *d)
{
    const enum desc_state state = desc_state(load_relaxed(&d->word));
    if (state == STATE_IDLE || state == STATE_IDLE_GROWN)
        block_hide(heap, d);
    else
        block_show(heap, d, true);
}
#endif

void heap_repair(struct heap *heap)
{
    heap->table.free_list = NULL;
    stash_reset(&heap->stash);
    heap->slabs.aside_bytes = 0;
    slab_repair_begin(&heap->slabs);
    size_t brief_bytes = 0;
    for (uint32_t i = load_relaxed(&heap->table.used); i > 0; i--) {
        struct desc *d = desc_at(&heap->table, i);
        if (desc_state(load_relaxed(&d->word)) == STATE_FREE) {
            d->pub.data = NULL; /* a large block of an unfinished call is lost; one in a slab is found again */
            desc_give(&heap->table, d);
        } else {
            struct block block = block_of(d);
            if (block.slab != NULL)
                slab_repair_claim(block.slab, block.data - heap->alignment);
            else if (block.brief)
                brief_bytes += block_mapped_bytes(heap, block.cap);
#if SANITIZER_ASAN
            repair_sanitizer(heap, d);
#endif
        }
    }
    slab_repair_end(&heap->slabs, heap->wipe);
    heap->slabs.brief_bytes += brief_bytes;
}

void heap_destroy(struct heap *heap)
{
    for (uint32_t i = load_relaxed(&heap->table.used); i > 0; i--) {
        struct desc *d = desc_at(&heap->table, i);
        if (d->pub.data == NULL)
            continue;
        struct block block = block_of(d);
        if (heap->wipe)
            sanitizer_wipe(block.data, block.cap);
        if (block.slab == NULL)
            block_free_large(heap, &block, true);
    }
    slab_destroy_all(&heap->slabs);
    desc_table_destroy(&heap->table);
    pthread_mutex_destroy(&heap->slabs.lock);
}
