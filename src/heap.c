/* SPDX-License-Identifier: MIT
 *
 * heap.c - blocks and their descriptors
 *
 * Invariant, whenever the lock is free: a descriptor on the free list has data == NULL. Descriptor and slot are taken
 * and given back in one critical section; those in the stash stay taken, both. Hooks, wiping and copying run without the
 * lock, and of system calls all but those that map memory or move a mapping. What is relaxed is read in the child of fork or at
 * the end of the pool, alone.
 */
#include "heap.h"

#include "modes.h"
#include "region.h"
#include "shadow.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>

#define SLAB_MAX   ((size_t)1 << SLAB_MAX_SHIFT)
#define POWERS_MAX ((size_t)128 << 10)

/* Blocks above that have a mapping of their own, which grows without copying; but with huge pages, of which it has whole
 * ones, only those above SLAB_MAX. */
#define MAPPED_FROM ((size_t)256 << 10)

struct prefix {
    struct desc *desc;
    uintptr_t check;
};

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

static void lock(struct heap *heap)
{
    for (int look = 0; look < LOOKS; look++) {
        if (pthread_mutex_trylock(&heap->slabs.lock) == 0)
            return;
        for (int i = 0; i < PAUSES; i++)
            relax();
    }
    pthread_mutex_lock(&heap->slabs.lock);
}

static void unlock(struct heap *heap)
{
    pthread_mutex_unlock(&heap->slabs.lock);
}

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

/* Whether blocks of that cap lie in slabs, and then in which. The slot may be larger than the block. */
static bool find_class(struct heap *heap, size_t cap, struct slab_request *request)
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

/* The cap that a block for n bytes gets, other than the first block of a buffer: a power of two, or above 128 KiB whole
 * pages, and the prefix on top of them. So doubling meets round figures, such as max_capacity, exactly. */
static size_t grown_cap(const struct heap *heap, size_t n)
{
    if (heap->alloc != NULL)
        return n;
    return n <= POWERS_MAX ? (size_t)1 << shift_of(n) : region_mapped(n, false);
}

/* ---- prefix ---- */

static uintptr_t prefix_check(const struct desc *d, const unsigned char *data)
{
    return ~(uintptr_t)d ^ ((uintptr_t)data << 7) ^ (uintptr_t)0x5bd1e995u;
}

static void prefix_write(struct desc *d, unsigned char *data)
{
    const struct prefix prefix = {d, prefix_check(d, data)};
    if (shadow_on()) {
        const struct prefix copied = prefix;
        shadow_copy(data - sizeof(prefix), &copied, sizeof(copied), false);
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
    shadow_copy(&prefix, data - sizeof(prefix), sizeof(prefix), true);
    return desc_of_prefix(prefix, data);
}

struct desc *heap_desc_of_data(const void *data)
{
    return shadow_on() ? desc_of_data_watched(data) : desc_of_prefix(prefix_at(data), data);
}

/* ---- blocks ---- */

struct block {
    unsigned char *data;
    size_t cap;
    struct slab *slab; /* NULL: mapped by itself, or from the hook */
    bool brief;        /* that of a bypass buffer; false if from the hook */
};

#define BRIEF ((uintptr_t)1) /* in the descriptor's pointer to the slab: so its owner can tell without the lock */

static struct block block_of(const struct desc *d)
{
    uintptr_t slab = (uintptr_t)d->slab;
    return (struct block){d->pub.data, d->pub.cap, (struct slab *)(slab & ~BRIEF), (slab & BRIEF) != 0};
}

static void block_attach(struct desc *d, const struct block *block)
{
    d->pub.data = block->data;
    d->pub.cap = block->cap;
    d->slab = (struct slab *)((uintptr_t)block->slab | (block->brief ? BRIEF : 0));
}

static bool lies_in_its_slot(const struct heap *heap, const struct block *block)
{
    return block->slab == NULL || slab_has(block->slab, block->data - heap->alignment);
}

static __attribute__((noinline)) bool intact_watched(const struct heap *heap, const struct desc *d)
{
    const struct block block = block_of(d);
    return lies_in_its_slot(heap, &block) && desc_of_data_watched(block.data) == d;
}

bool heap_intact(const struct heap *heap, const struct desc *d)
{
    if (shadow_on())
        return intact_watched(heap, d);
    const struct block block = block_of(d);
    return lies_in_its_slot(heap, &block) && desc_of_prefix(prefix_at(block.data), block.data) == d;
}

static size_t mapped_bytes(const struct heap *heap, size_t cap)
{
    return region_mapped(block_bytes(heap, cap), heap->slabs.huge);
}

/* ---- whose it is, for AddressSanitizer and memcheck (shadow.h) ---- */

/* Whether the handle can be believed; else what it leads to is left alone. */
static bool is_sound(const struct heap *heap, const struct desc *d)
{
    const struct block block = block_of(d);
    return heap_intact(heap, d) && (block.slab == NULL || block.cap <= block.slab->stride - heap->alignment);
}

void heap_show(const struct heap *heap, const struct desc *d, bool defined)
{
    if (is_sound(heap, d))
        shadow_show(d->pub.data, d->pub.cap, defined);
}

void heap_hide(const struct heap *heap, const struct desc *d)
{
    if (is_sound(heap, d))
        shadow_hide(d->pub.data, d->pub.cap);
}

void heap_set_held(const struct heap *heap, struct desc *d, uintptr_t word, bool defined)
{
    const bool told = shadow_on();
    if (told) {
        shadow_lock();
        heap_show(heap, d, defined);
    }
    store_relaxed(&d->word, word);
    if (told)
        shadow_unlock();
}

/* The bytes behind cap are the hook's, in a block of its. */
static size_t beyond_cap(const struct heap *heap)
{
    return heap->alloc == NULL && modes_have(MODE_REDZONE) ? HEAP_REDZONE : 0;
}

void heap_open(const struct heap *heap, const struct desc *d, bool held)
{
    if (shadow_on())
        shadow_open(held ? d->pub.data + d->pub.cap : d->pub.data, (held ? 0 : d->pub.cap) + beyond_cap(heap));
}

void heap_close(const struct heap *heap, const struct desc *d, bool held)
{
    if (shadow_on())
        shadow_close(held ? d->pub.data + d->pub.cap : d->pub.data, (held ? 0 : d->pub.cap) + beyond_cap(heap));
}

/* A new block that lies in no slab is nobody's. */
static void hide_large(const struct heap *heap, const struct block *block)
{
    if (!shadow_on())
        return;
    if (heap->alloc != NULL)
        shadow_region(block->data, block->cap);
    else
        shadow_region(block->data - heap->alignment, mapped_bytes(heap, block->cap));
}

/* ---- where they come from, and go ---- */

/* A slot for a block, the lock held. */
static bool block_take(struct heap *heap, struct slab_request *request, struct block *block)
{
    request->lane = (unsigned)sched_getcpu() % SLAB_LANES;
    request->brief = block->brief;
    unsigned char *memory = slab_take(&heap->slabs, request, &block->slab);
    block->data = memory != NULL ? memory + heap->alignment : NULL;
    return memory != NULL;
}

/* The fields that follow from the memory, which may be NULL; false then. */
static bool block_at(const struct heap *heap, unsigned char *memory, struct block *block)
{
    block->data = memory != NULL ? memory + heap->alignment : NULL;
    return memory != NULL;
}

/* A block of the cap and the kind that `block` says, in a mapping that was kept. */
static bool block_take_kept(struct heap *heap, struct block *block)
{
    size_t bytes = mapped_bytes(heap, block->cap);
    lock(heap);
    unsigned char *memory = kept_take(&heap->slabs.kept, bytes);
    if (memory != NULL && block->brief)
        heap->slabs.brief_bytes += bytes;
    unlock(heap);
    return block_at(heap, memory, block);
}

/* The same, from the hook or in a new mapping. */
static bool block_make_large(struct heap *heap, struct block *block)
{
    size_t bytes = block_bytes(heap, block->cap);
    if (!block_at(heap,
                  heap->alloc != NULL ? heap->alloc(bytes, heap->alignment, heap->ctx)
                                      : region_map(bytes, heap->slabs.huge),
                  block))
        return false;
    hide_large(heap, block);
    if (block->brief) {
        lock(heap);
        heap->slabs.brief_bytes += mapped_bytes(heap, block->cap);
        unlock(heap);
    }
    return true;
}

/* Keeps a free mapping or, if that is too much, so much of its beginning as a smaller block would have; the lock held.
 * Returns how many bytes it keeps. */
static size_t keep_beginning(struct heap *heap, const struct block *block)
{
    unsigned char *memory = block->data - heap->alignment;
    size_t bytes = mapped_bytes(heap, block->cap);
    if (slab_keep_mapping(&heap->slabs, memory, bytes))
        return bytes;
    if (block->cap <= MAPPED_FROM || block->cap == heap->base)
        return 0;
    for (size_t cap = (size_t)1 << (shift_of(block->cap) - 1); cap > MAPPED_FROM; cap /= 2) {
        bytes = mapped_bytes(heap, cap);
        if (slab_keep_mapping(&heap->slabs, memory, bytes))
            return bytes;
    }
    return 0;
}

/* Frees a block that lies in no slab, and that no descriptor has any more. */
static void block_free_large(struct heap *heap, const struct block *block, bool defer)
{
    unsigned char *memory = block->data - heap->alignment;
    if (heap->alloc != NULL) {
        if (shadow_on())
            shadow_forget(block->data, block->cap, true);
        heap->free(memory, block_bytes(heap, block->cap), heap->ctx);
        return;
    }
    size_t bytes = mapped_bytes(heap, block->cap), kept = 0;
    lock(heap);
    if (block->brief)
        heap->slabs.brief_bytes -= bytes;
    if (!defer)
        kept = keep_beginning(heap, block);
    if (block->brief && !defer)
        slab_purge_excess(&heap->slabs);
    unlock(heap);
    if (kept < bytes)
        region_unmap(memory + kept, bytes - kept);
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
    unsigned places = stride < STASH_BYTES / STASH_PLACES ? STASH_PLACES : (unsigned)(STASH_BYTES / stride);
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
    bool in_slab = heap->alloc == NULL && find_class(heap, heap->base, &request);
    if (!in_slab && !(heap->alloc == NULL && block_take_kept(heap, &block)) && !block_make_large(heap, &block))
        return NULL;

    lock(heap);
    struct desc *d = take(heap, in_slab ? &request : NULL, &block);
    if (d == NULL && empty_stash(heap))
        d = take(heap, in_slab ? &request : NULL, &block);
    unlock(heap);

    if (d != NULL)
        prefix_write(d, block.data);
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
    lock(heap);
    if (lane != NULL)
        open_lane(heap, lane, block.slab->stride);
    if (block.slab != NULL) {
        give_slot(heap, d, &block, defer);
    } else {
        d->pub.data = NULL;
        desc_give(&heap->table, d);
    }
    unlock(heap);
    if (block.slab == NULL)
        block_free_large(heap, &block, defer);
}

void heap_free(struct heap *heap, struct desc *d, bool defer)
{
    if (unlikely(heap->wipe))
        shadow_wipe(d->pub.data, d->pub.cap);
    struct stash_lane *lane = !defer && fits_stash(heap, d) ? stash_lane(heap) : NULL;
    if (lane == NULL || !stash_push(lane, d))
        free_locked(heap, d, lane, defer);
}

/* ---- growth ---- */

/* What a buffer's block is changes under the lock, in one step for the child of fork. */

/* The mapping of a held block, for a larger cap; NULL: it stays as it is. */
static unsigned char *grow_mapping(const struct heap *heap, const struct desc *d, size_t cap)
{
    size_t old_bytes = mapped_bytes(heap, d->pub.cap), bytes = mapped_bytes(heap, cap);
    unsigned char *memory = d->pub.data - heap->alignment;
    if (SHADOW_ASAN) /* it may move, and then somebody else may be there at once */
        shadow_forget(memory, old_bytes, false);
    // NOLINTNEXTLINE(readability-suspicious-call-argument): from the old size to the new one
    unsigned char *grown = region_grow(memory, old_bytes, bytes);
    if (SHADOW_ASAN) {
        unsigned char *now = grown != NULL ? grown : memory;
        shadow_region(now, grown != NULL ? bytes : old_bytes);
        shadow_show(now + heap->alignment, grown != NULL ? cap : d->pub.cap, true);
    }
    return grown;
}

/* A mapping of its own moves by its page tables: nothing is copied, and nothing is left behind. False: the system will not,
 * for want of memory or since the caller has locked a part of it, say. */
static bool resize_mapping(struct heap *heap, struct desc *d, size_t cap)
{
    size_t old_bytes = mapped_bytes(heap, d->pub.cap), bytes = mapped_bytes(heap, cap);
    unsigned char *memory = d->pub.data - heap->alignment;
    lock(heap);
    if (bytes > old_bytes)
        memory = grow_mapping(heap, d, cap);
    else if (SHADOW_ASAN && cap > d->pub.cap) /* there was room */
        shadow_show(d->pub.data, cap, true);
    if (memory != NULL) {
        d->pub.data = memory + heap->alignment;
        d->pub.cap = cap;
        prefix_write(d, d->pub.data);
        if (block_of(d).brief) {
            heap->slabs.brief_bytes = heap->slabs.brief_bytes + bytes - old_bytes;
            slab_purge_excess(&heap->slabs);
        }
    }
    unlock(heap);
    if (bytes < old_bytes)
        region_unmap(memory + bytes, old_bytes - bytes);
    return memory != NULL;
}

/* The old block becomes what the new one was, nobody's, and the new one what the old one was: a caller's if it is `held`. */
static void replace(struct heap *heap, struct desc *d, const struct block *block, size_t keep, bool held)
{
    struct block old = block_of(d);
    const bool told = held && shadow_on();
    if (told) {
        shadow_lock();
        shadow_show(block->data, block->cap, false);
    }
    memcpy(block->data, old.data, keep);
    prefix_write(d, block->data);
    lock(heap);
    block_attach(d, block);
    if (heap->wipe) { /* after that, or a child of fork might see a held buffer wiped */
        unlock(heap);
        if (held)
            heap_wipe(old.data, old.cap);
        else
            shadow_wipe(old.data, old.cap);
        lock(heap);
    }
    if (told) {
        shadow_hide(old.data, old.cap);
        shadow_unlock();
    }
    if (old.slab != NULL)
        slab_give(&heap->slabs, old.slab, old.data - heap->alignment, false);
    unlock(heap);
    if (old.slab == NULL)
        block_free_large(heap, &old, false);
}

/* Whether memcheck lets a mapping that is held move: it would have the bytes, but not a new block of its, nor the old one. */
static bool may_move(bool held)
{
    return SHADOW_ASAN || !held || !shadow_on();
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
    } else if (find_class(heap, cap, &request)) {
        lock(heap);
        made = block_take(heap, &request, &block);
        if (!made && empty_stash(heap))
            made = block_take(heap, &request, &block);
        unlock(heap);
    } else {
        made = cap > old.cap && block_take_kept(heap, &block); /* copying costs less than page faults */
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
    size_t want = grown_cap(heap, need > twice ? need : twice);
    size_t least = grown_cap(heap, need);
    if (resize(heap, d, want, keep, true))
        return 0;
    return least < want && resize(heap, d, least, keep, true) ? 0 : ENOMEM;
}

bool heap_shrink(struct heap *heap, struct desc *d, size_t cap)
{
    if (heap->wipe)
        shadow_wipe(d->pub.data + cap, d->pub.cap - cap); /* a mapping gives its end away as it is */
    if (!resize(heap, d, cap, 0, false))
        return false;
    if (heap->wipe)
        shadow_wipe(d->pub.data, cap); /* a hook's block has whatever it has */
    return true;
}

void heap_purge(struct heap *heap)
{
    lock(heap);
    (void)empty_stash(heap);
    slab_purge_all(&heap->slabs);
    unlock(heap);
}

/* ---- fork and the end ---- */

#if SHADOW_ASAN
/* A thread of the parent may have told it something else. Memcheck is told under a lock that fork takes. */
static void repair_shadow(const struct heap *heap, const struct desc *d)
{
    const enum desc_state state = desc_state(load_relaxed(&d->word));
    if (state == STATE_IDLE || state == STATE_IDLE_GROWN)
        heap_hide(heap, d);
    else
        heap_show(heap, d, true);
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
                brief_bytes += mapped_bytes(heap, block.cap);
#if SHADOW_ASAN
            repair_shadow(heap, d);
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
            shadow_wipe(block.data, block.cap);
        if (block.slab == NULL)
            block_free_large(heap, &block, true);
    }
    slab_destroy_all(&heap->slabs);
    desc_table_destroy(&heap->table);
    pthread_mutex_destroy(&heap->slabs.lock);
}
