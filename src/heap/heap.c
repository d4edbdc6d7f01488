/* SPDX-License-Identifier: MIT
 *
 * heap.c - blocks and their descriptors
 *
 * Invariants, whenever the lock is free:
 *     a descriptor on the free list has data == NULL
 * What the memory costs a budget is reserved before it is taken, and given back after it has gone (account.h).
 * Descriptor and slot are taken and given back in one critical section. Hooks, wiping and copying run without the lock,
 * and so do all system calls but those that map memory or move a mapping. Relaxed loads are made in the child of fork
 * or at the end of the pool, where no other thread is.
 */
#include "heap/heap.h"

#include "debug/sanitizer.h"
#include "heap/account.h"
#include "heap/block.h"
#include "heap/lane.h"
#include "heap/large.h"
#include "heap/os.h"
#include "heap/purge.h"
#include "heap/window.h"
#include "heap/wipe.h"
#include "lock.h"

#include <errno.h>
#include <string.h>

/* ---- the lock ---- */

void heap_lock(struct heap *heap)
{
    if (!lock_take(&heap->slabs.lock) && heap->slabs.waits < LANES_AFTER)
        heap->slabs.waits++;
}

void heap_unlock(struct heap *heap)
{
    lock_give(&heap->slabs.lock);
}

void heap_wipe(void *memory, size_t n)
{
    explicit_bzero(memory, n);
}

void heap_wipe_block(const struct heap *heap, void *data, size_t n)
{
    if (modes_have(MODE_NOPOOL)) /* malloc's block: memcheck would report the reads of bytes that nobody wrote */
        explicit_bzero(data, n);
    else
        wipe(data, n, heap->alloc == NULL);
}

/* ---- blocks come and go, the lock held ---- */

static bool take_slot(struct heap *heap, const struct slab_request *request, struct block *block)
{
    unsigned char *slot = slab_take(&heap->slabs, request, &block->slab);
    if (slot == NULL)
        return false;
    block->data = slot + heap->alignment;
    return true;
}

static size_t bytes_of(const struct heap *heap, const struct block *block)
{
    return block->slab != NULL ? block->slab->stride : block_mapped_bytes(heap, block->cap);
}

/* What the block costs the budget: of a hook's block the size that the hook is told. */
static size_t charge_of(const struct heap *heap, const struct block *block)
{
    return block->slab != NULL ? block->slab->stride : large_bytes(heap, block->cap);
}

size_t heap_bytes(struct heap *heap, size_t cap)
{
    struct slab_request request;
    return heap->alloc == NULL && block_class(heap, cap, &request) ? request.stride : large_bytes(heap, cap);
}

/* The block becomes the descriptor's. */
static void attach(struct heap *heap, struct desc *d, const struct block *block)
{
    block_attach(d, block);
    window_take(&heap->slabs.window, bytes_of(heap, block));
}

/* How a block is given back. */
struct giving {
    bool idle;       /* nobody held it lately, and the caller purges later */
    uint64_t now_ms; /* window_now; 0 if it is idle */
    size_t spare;    /* what callers hold beyond the cap */
};

/* Frees a block that no descriptor has any more. A large block remains for large_free, without the lock; returns how
 * many of its bytes are retained. If the block is not idle the lock may be let go and taken again. */
static size_t give_block(struct heap *heap, const struct block *block, const struct giving *how)
{
    struct slabs *slabs = &heap->slabs;
    const size_t spare = how->spare;
    size_t retained = 0;
    if (block->slab != NULL) {
        account_end_block(slabs->budget, block->slab->stride);
        slab_give(slabs, block->slab, block->data - heap->alignment);
    }
    if (how->idle)
        return 0;
    window_give(&slabs->window, bytes_of(heap, block), block->slab == NULL, how->now_ms);
    if (block->slab == NULL) {
        if (slabs->retained.n == RETAINED_MAX)
            purge_oldest(slabs);
        retained = large_retain(heap, block, purge_room(slabs, spare));
    }
    purge_excess(slabs, spare);
    return retained;
}

/* Returns when heap_ebb is to be called, if that is for heap->wake to say; otherwise HEAP_NEVER. */
static uint64_t begin_watch(struct heap *heap, uint64_t now_ms, size_t spare)
{
    struct window *window = &heap->slabs.window;
    if (now_ms == 0 || window->watched)
        return HEAP_NEVER;
    const uint64_t due_ms = purge_due(&heap->slabs, spare);
    window->watched = due_ms != HEAP_NEVER;
    return due_ms;
}

/* Unlocks the heap, and says that memory is retained if begin_watch returned a time. */
static void unlock_and_wake(struct heap *heap, uint64_t due_ms)
{
    heap_unlock(heap);
    if (unlikely(due_ms != HEAP_NEVER) && heap->wake != NULL)
        heap->wake(heap, due_ms);
}

static void give_desc(struct heap *heap, struct desc *d)
{
    d->own.data = NULL;
    desc_give(&heap->table, d);
}

/* ---- allocation ---- */

/* Takes a descriptor and, if `request` is not NULL, a slot; the lock held. */
static struct desc *take(struct heap *heap, const struct slab_request *request, struct block *block)
{
    struct desc *d = desc_take(&heap->table);
    if (d == NULL)
        return NULL;
    if (request != NULL && !take_slot(heap, request, block)) {
        desc_give(&heap->table, d);
        return NULL;
    }
    d->chain = NULL;
    attach(heap, d, block);
    return d;
}

/* Takes a retained mapping for a block of block->cap bytes, which lies in no slab. Returns false if there is none. The
 * caller does not hold the lock. */
static bool take_retained(struct heap *heap, struct block *block)
{
    heap_lock(heap);
    const bool taken = large_take_retained(heap, block);
    heap_unlock(heap);
    return taken;
}

/* Gives the heap lanes if threads had to wait for its lock often enough. The lock is held. */
static void note_crowd(struct heap *heap)
{
    if (LANES_BUILT && unlikely(heap->slabs.waits == LANES_AFTER) && !lane_is_there(heap))
        lane_begin(heap);
}

/* Fills the lane's stock with a batch of descriptors and slots, if there is memory. The lane has been entered. The
 * descriptors, whose lines other processors may have, are not touched under the heap's lock. */
static void fill_lane(struct heap *heap, struct lane *lane, const struct slab_request *request)
{
    struct desc *descs[LANE_BATCH_MAX];
    struct block blocks[LANE_BATCH_MAX];
    const unsigned batch = lane_batch(request->stride);
    unsigned n = 0;
    heap_lock(heap);
    while (n < batch && (descs[n] = desc_take(&heap->table)) != NULL) {
        if (!take_slot(heap, request, &blocks[n])) {
            desc_give(&heap->table, descs[n]);
            break;
        }
        n++;
    }
    window_take(&heap->slabs.window, n * request->stride);
    heap_unlock(heap);
    while (n > 0) {
        n--;
        descs[n]->slab = blocks[n].slab;
        lane_note_slot(descs[n], blocks[n].data);
        (void)lane_push(lane, descs[n], batch);
    }
}

/* The same as take, but from the lane's stock. The caller does not hold the heap's lock. */
static struct desc *take_from_lane(struct heap *heap, const struct slab_request *request, struct block *block)
{
    struct lane *lane = lane_enter(heap);
    const unsigned batch = lane_batch(request->stride);
    struct desc *d = lane_pop(lane, batch);
    if (d == NULL) {
        fill_lane(heap, lane, request);
        d = lane_pop(lane, batch);
    }
    lane_leave(lane);
    if (d != NULL) {
        *block = (struct block){lane_slot_of(d), heap->base, d->slab};
        block_attach(d, block);
    }
    return d;
}

/* The same, from the lists of the whole heap. */
static struct desc *take_locked(struct heap *heap, const struct slab_request *request, struct block *block)
{
    heap_lock(heap);
    note_crowd(heap);
    struct desc *d = take(heap, request, block);
    heap_unlock(heap);
    return d;
}

/* Gives a list of descriptors out of a stock back to the heap, with their slots. They are linked by chain; there is at
 * least one. */
static void give_stock(struct heap *heap, struct desc *first, size_t spare)
{
    struct slabs *slabs = &heap->slabs;
    const uint64_t now_ms = window_now(&slabs->window);
    size_t bytes = 0;
    for (const struct desc *d = first; d != NULL; d = d->chain) /* fetches them before the lock is taken */
        bytes += d->slab->stride;
    heap_lock(heap);
    window_give(&slabs->window, bytes, false, now_ms);
    for (struct desc *d = first; d != NULL; d = d->chain) {
        slab_give(slabs, d->slab, lane_slot_of(d) - heap->alignment);
        desc_give(&heap->table, d);
    }
    purge_excess(slabs, spare);
    unlock_and_wake(heap, begin_watch(heap, now_ms, spare));
}

/* Gives everything in the stocks back to the heap, which has lanes. */
static void give_all_stocks(struct heap *heap, size_t spare)
{
    struct lane *lanes = load_acquire(&heap->slabs.lanes); /* with the release in lane_begin */
    for (unsigned i = 0; i < LANES; i++) {
        struct desc *first = lane_empty(&lanes[i]);
        if (first != NULL)
            give_stock(heap, first, spare);
    }
}

struct desc *heap_alloc(struct heap *heap)
{
    struct block block = {NULL, heap->base, NULL};
    struct slab_request request;
    bool in_slab = heap->alloc == NULL && block_class(heap, heap->base, &request);
    if (!in_slab && !(heap->alloc == NULL && take_retained(heap, &block)) && !large_make(heap, &block)) {
        account_return(heap->slabs.budget, large_bytes(heap, heap->base));
        return NULL;
    }

    const bool by_lane = lane_is_there(heap) && in_slab && lane_batch(request.stride) != 0;
    struct desc *d =
        by_lane ? take_from_lane(heap, &request, &block) : take_locked(heap, in_slab ? &request : NULL, &block);
    if (d == NULL && by_lane) { /* there is no memory; the stocks of other lanes may have some */
        give_all_stocks(heap, SIZE_MAX);
        d = take_locked(heap, &request, &block);
    }

    if (d != NULL)
        block_write_prefix(d, block.data);
    else if (!in_slab)
        large_free(heap, &block, 0);
    else
        account_return(heap->slabs.budget, request.stride);
    return d;
}

/* Whether free memory, without stocks, is more than `spare` says. Memory that is retained by time may be more, until it
 * ebbs. */
static bool is_excess(const struct slabs *slabs, size_t spare)
{
    const size_t dirty = purge_dirty(slabs);
    return unlikely(dirty > DIRTY_MIN) && dirty > spare && load_relaxed(&slabs->window.part_ms) == 0;
}

/* Puts a descriptor into the stock of the lane. Its block is of the kind that stocks have. */
static void give_to_lane(struct heap *heap, struct desc *d, const struct block *block, size_t spare)
{
    d->own.data = NULL;
    lane_note_slot(d, block->data);
    struct lane *lane = lane_enter(heap);
    struct desc *out = lane_push(lane, d, lane_batch(block->slab->stride));
    lane_leave(lane);
    if (out != NULL) {
        give_stock(heap, out, spare);
    } else if (is_excess(&heap->slabs, spare)) { /* `spare` fell */
        heap_lock(heap);
        purge_excess(&heap->slabs, spare);
        heap_unlock(heap);
    }
}

void heap_free(struct heap *heap, struct desc *d, bool defer, size_t spare)
{
    if (unlikely(heap->wipe))
        heap_wipe_block(heap, d->pub.data, d->pub.cap);
    const struct block block = block_of(d);
    spare = spare > heap->base ? spare - heap->base : 0;
    if (lane_is_there(heap) && !defer && block.slab != NULL && block.cap == heap->base &&
        lane_batch(block.slab->stride) != 0) {
        give_to_lane(heap, d, &block, spare);
        return;
    }
    const struct giving how = {
        .idle = defer,
        .now_ms = defer ? 0 : window_now(&heap->slabs.window),
        .spare = spare,
    };
    heap_lock(heap);
    give_desc(heap, d);
    const size_t retained = give_block(heap, &block, &how);
    note_crowd(heap);
    unlock_and_wake(heap, begin_watch(heap, how.now_ms, how.spare));
    if (block.slab == NULL)
        large_free(heap, &block, retained);
}

/* ---- growth ---- */

/* A buffer gets another block under the lock, in one step for the child of fork. */

struct resizing {
    bool held;    /* the buffer is a caller's, and stays it */
    size_t keep;  /* so many of its first bytes stay */
    size_t spare; /* what callers hold beyond the cap */
};

/* A mapping of its own moves by its page tables: nothing is copied, and nothing is left behind. Returns false if the
 * system refuses (large_grow). */
static bool resize_mapping(struct heap *heap, struct desc *d, size_t cap)
{
    size_t old_bytes = block_mapped_bytes(heap, d->pub.cap), bytes = block_mapped_bytes(heap, cap);
    unsigned char *memory = d->pub.data - heap->alignment;
    struct window *window = &heap->slabs.window;
    const uint64_t now_ms = window_now(window);
    if (heap->wipe && cap < d->pub.cap) /* what is cut off goes back as it is */
        heap_wipe_block(heap, d->pub.data + cap, d->pub.cap - cap);
    heap_lock(heap);
    if (bytes > old_bytes)
        memory = large_grow(heap, d, cap);
    else if (SANITIZER_ASAN && cap > d->pub.cap) /* there was room */
        sanitizer_show(d->pub.data, cap, true);
    else if (SANITIZER_ASAN)
        sanitizer_hide(d->pub.data + cap, d->pub.cap - cap);
    if (memory != NULL) {
        desc_set_block(d, memory + heap->alignment, cap);
        block_write_prefix(d, d->pub.data);
        if (bytes > old_bytes)
            window_take(window, bytes - old_bytes);
        else
            window_give(window, old_bytes - bytes, false, now_ms);
    }
    heap_unlock(heap);
    if (bytes < old_bytes) {
        large_unmap(heap, memory + bytes, old_bytes - bytes);
        account_return(heap->slabs.budget, old_bytes - bytes);
    }
    return memory != NULL;
}

/* The same by retained memory that lies behind the mapping, mostly the rest of what it was taken from. Returns false if
 * there is none. */
static bool extend_mapping(struct heap *heap, struct desc *d, size_t cap)
{
    const size_t old_bytes = block_mapped_bytes(heap, d->pub.cap), bytes = block_mapped_bytes(heap, cap);
    heap_lock(heap);
    const bool extended = bytes > old_bytes && large_extend(heap, d, cap);
    if (extended) {
        if (SANITIZER_ASAN)
            sanitizer_show(d->pub.data, cap, true);
        desc_set_block(d, d->pub.data, cap);
        window_take(&heap->slabs.window, bytes - old_bytes);
    }
    heap_unlock(heap);
    return extended;
}

/* Gives the buffer the new block, and frees the old one. */
static void replace(struct heap *heap, struct desc *d, const struct block *block, const struct resizing *how)
{
    struct block old = block_of(d);
    const struct giving giving = {.now_ms = window_now(&heap->slabs.window), .spare = how->spare};
    const bool told = how->held && sanitizer_on();
    if (told) {
        sanitizer_lock();
        sanitizer_show(block->data, block->cap, false);
    }
    memcpy(block->data, old.data, how->keep);
    block_write_prefix(d, block->data);
    heap_lock(heap);
    attach(heap, d, block);
    if (heap->wipe) { /* afterwards, or a child of fork might find a held buffer wiped */
        heap_unlock(heap);
        heap_wipe_block(heap, old.data, old.cap);
        heap_lock(heap);
    }
    if (told) {
        sanitizer_hide(old.data, old.cap);
        sanitizer_unlock();
    }
    const size_t retained = give_block(heap, &old, &giving);
    unlock_and_wake(heap, begin_watch(heap, giving.now_ms, giving.spare));
    if (old.slab == NULL)
        large_free(heap, &old, retained);
}

/* Whether a mapping may move although a caller holds its block. Under memcheck it may not: memcheck would know the
 * moved bytes, but neither that a block of its own begins there nor that the old block ended. */
static bool may_move(bool held)
{
    return SANITIZER_ASAN || !held || !sanitizer_on();
}

/* Reserves what is missing of so many bytes; *paid counts them. With `room` idle memory of the budget's pools makes
 * room. Returns false if the budget is used up. */
static bool pay(struct heap *heap, size_t bytes, size_t *paid, bool room)
{
    if (bytes <= *paid)
        return true;
    while (!account_reserve(heap->slabs.budget, bytes - *paid))
        if (!room || heap->make_room == NULL || !heap->make_room(heap, bytes - *paid))
            return false;
    *paid = bytes;
    return true;
}

static void refund(struct heap *heap, size_t *paid, size_t bytes)
{
    account_return(heap->slabs.budget, *paid - bytes);
    *paid = bytes;
}

/* resize, to a block with a mapping of its own. */
static bool resize_to_mapping(struct heap *heap, struct desc *d, size_t cap, const struct resizing *how)
{
    const struct block old = block_of(d);
    struct block block = {NULL, cap, NULL};
    const bool in_place = old.slab == NULL && may_move(how->held);
    const size_t bytes = block_mapped_bytes(heap, cap), has = in_place ? block_mapped_bytes(heap, old.cap) : 0;
    const size_t more = bytes > has ? bytes - has : 0; /* than the block that is there */
    size_t paid = 0;
    if (!pay(heap, more, &paid, how->held))
        return false;
    if (in_place && extend_mapping(heap, d, cap))
        return true;
    /* to copy costs less than page faults */
    bool made = cap > old.cap && pay(heap, bytes, &paid, false) && take_retained(heap, &block);
    if (!made && in_place) {
        refund(heap, &paid, more);
        if (resize_mapping(heap, d, cap))
            return true;
    }
    made = made || (pay(heap, bytes, &paid, how->held) && large_make(heap, &block));
    if (made)
        replace(heap, d, &block, how);
    else
        refund(heap, &paid, 0);
    return made;
}

/* Replaces the block by one of exactly that cap. Returns false if there is no memory. */
static bool resize(struct heap *heap, struct desc *d, size_t cap, const struct resizing *how)
{
    struct block block = {NULL, cap, NULL};
    struct slab_request request;
    const bool in_slab = heap->alloc == NULL && block_class(heap, cap, &request);
    if (heap->alloc == NULL && !in_slab)
        return resize_to_mapping(heap, d, cap, how);
    size_t paid = 0;
    bool made = false;
    if (!pay(heap, in_slab ? request.stride : large_bytes(heap, cap), &paid, how->held))
        return false;
    if (in_slab) {
        heap_lock(heap);
        made = take_slot(heap, &request, &block);
        heap_unlock(heap);
    } else {
        made = large_make(heap, &block);
    }
    if (made)
        replace(heap, d, &block, how);
    else
        refund(heap, &paid, 0);
    return made;
}

int heap_grow(struct heap *heap, struct desc *d, size_t need, size_t keep, size_t spare)
{
    if (need > HEAP_CAP_MAX)
        return EOVERFLOW;
    size_t twice = d->pub.cap <= HEAP_CAP_MAX / 2 ? 2 * d->pub.cap : HEAP_CAP_MAX;
    size_t want = block_grown_cap(heap, need > twice ? need : twice);
    size_t least = block_grown_cap(heap, need);
    const struct resizing how = {.held = true, .keep = keep, .spare = spare};
    if (resize(heap, d, want, &how))
        return 0;
    return least < want && resize(heap, d, least, &how) ? 0 : ENOMEM;
}

bool heap_cut(struct heap *heap, struct desc *d, size_t cap, size_t keep, size_t spare)
{
    return resize(heap, d, cap, &(struct resizing){.held = true, .keep = keep, .spare = spare});
}

bool heap_shrink(struct heap *heap, struct desc *d, size_t cap, size_t spare)
{
    if (!resize(heap, d, cap, &(struct resizing){.spare = spare}))
        return false;
    if (heap->wipe)
        heap_wipe_block(heap, d->pub.data, cap); /* a hook's block may have any bytes */
    return true;
}

/* ---- memory goes back ---- */

void heap_retain(struct heap *heap, unsigned retain_ms)
{
    heap_lock(heap);
    window_set(&heap->slabs.window, retain_ms);
    heap_unlock(heap);
}

void heap_settle(struct heap *heap, size_t bytes, uint64_t age_ms, size_t spare)
{
    const uint64_t now_ms = window_now(&heap->slabs.window);
    if (lane_is_there(heap))
        give_all_stocks(heap, spare);
    heap_lock(heap);
    window_note_idle(&heap->slabs.window, bytes, age_ms, now_ms);
    purge_down(&heap->slabs, bytes, spare);
    unlock_and_wake(heap, begin_watch(heap, now_ms, spare));
}

void heap_lower(struct heap *heap, size_t spare)
{
    const uint64_t now_ms = window_now(&heap->slabs.window);
    heap_lock(heap);
    window_advance(&heap->slabs.window, now_ms);
    purge_down(&heap->slabs, SIZE_MAX, spare);
    unlock_and_wake(heap, begin_watch(heap, now_ms, spare));
}

uint64_t heap_ebb(struct heap *heap, size_t spare)
{
    const uint64_t now_ms = window_now(&heap->slabs.window);
    if (lane_is_there(heap))
        give_all_stocks(heap, spare);
    heap_lock(heap);
    window_advance(&heap->slabs.window, now_ms);
    purge_down(&heap->slabs, SIZE_MAX, spare);
    const uint64_t due_ms = now_ms != 0 ? purge_due(&heap->slabs, spare) : HEAP_NEVER;
    heap->slabs.window.watched = due_ms != HEAP_NEVER;
    heap_unlock(heap);
    return due_ms;
}

size_t heap_give_up(struct heap *heap, size_t bytes)
{
    if (lane_is_there(heap))
        give_all_stocks(heap, SIZE_MAX);
    heap_lock(heap);
    const size_t gone = purge_some(&heap->slabs, bytes);
    heap_unlock(heap);
    return gone;
}

size_t heap_purge(struct heap *heap)
{
    if (lane_is_there(heap))
        give_all_stocks(heap, SIZE_MAX);
    heap_lock(heap);
    const size_t refused = purge_all(&heap->slabs);
    heap_unlock(heap);
    return refused;
}

/* ---- how much there is ---- */

size_t heap_retained_bytes(const struct heap *heap)
{
    return purge_dirty(&heap->slabs);
}

size_t heap_mapped_bytes(const struct heap *heap)
{
    return load_relaxed(&heap->slabs.mapped_bytes) + load_relaxed(&heap->slabs.large_bytes);
}

/* ---- fork and the end ---- */

#if SANITIZER_ASAN
/* A thread of the parent may have been about to tell AddressSanitizer. Memcheck is told under a lock that fork takes.
 * */
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
    if (lane_is_there(heap))
        lane_forget_stocks(heap);
    window_reset(&heap->slabs.window);
    slab_repair_begin(&heap->slabs);
    size_t used = 0;
    size_t large_bytes = load_relaxed(&heap->slabs.retained.bytes);
    struct desc *d;
    for_each_taken (&heap->table, i, d) {
        if (desc_state(load_relaxed(&d->word)) == STATE_FREE) {
            /* the large block of an unfinished call is lost; one in a slab is found again */
            give_desc(heap, d);
        } else {
            const struct block block = block_of(d);
            if (block.slab != NULL)
                slab_repair_claim(block.slab, block.data - heap->alignment);
            if (desc_is_sealed(d)) { /* otherwise its holder wrote over the handle, which its put will find */
                window_take(&heap->slabs.window, bytes_of(heap, &block));
                used += charge_of(heap, &block);
                if (block.slab == NULL && heap->alloc == NULL)
                    large_bytes += block_mapped_bytes(heap, block.cap);
            }
#if SANITIZER_ASAN
            repair_sanitizer(heap, d);
#endif
        }
    }
    slab_repair_end(&heap->slabs, heap->wipe);
    account_add(heap->slabs.budget, used, used + purge_dirty(&heap->slabs));
    store_relaxed(&heap->slabs.large_bytes, large_bytes);
}

void heap_destroy(struct heap *heap)
{
    size_t slots = 0; /* bytes of those that are taken */
    for (uint32_t i = load_relaxed(&heap->table.used); i > 0; i--) {
        struct desc *d = desc_at(&heap->table, i);
        if (d->pub.data == NULL)
            continue;
        struct block block = block_of(d);
        if (heap->wipe)
            heap_wipe_block(heap, block.data, block.cap);
        if (block.slab == NULL)
            large_free(heap, &block, 0);
        else
            slots += block.slab->stride;
    }
    purge_end(&heap->slabs);
    account_return(heap->slabs.budget, slots);
    desc_table_clear(&heap->table);
    if (lane_is_there(heap))
        lane_end(heap);
    pthread_mutex_destroy(&heap->slabs.lock);
}
