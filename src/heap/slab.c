/* SPDX-License-Identifier: MIT
 *
 * slab.c - slabs: memory for blocks of one size, side by side
 *
 * Blocks that malloc makes, freed in random order, leave a heap full of holes. Here the blocks of one class lie in
 * slabs, slot after slot. A slab has as many pages as 128 slots need, but at most 4 MiB. The first slabs of a heap are
 * smaller: a new slab at most doubles what is mapped, beginning with 256 KiB.
 *
 * A free slot is either clean (it has no memory, except for the pages at its edges, which it shares with its
 * neighbours) or dirty. Dirty slots are used first, since their pages need no fault. How many bytes may be dirty is not
 * decided here (purge.c).
 *
 * A step of a purge takes every run of free slots that has a dirty one among them. It takes the clean slots of the run
 * too, so that the page between two slots goes with the slot that is freed last. The system gives the pages up without
 * the lock, many runs in one call, since each call interrupts all CPUs. Then the slots are free again, and clean. The
 * first to be purged is always a slab of the class that has most dirty bytes: an empty slab, or the one that has had
 * dirty slots for longest. A slab that is empty and clean is unused from then on. A span is unmapped when all of its
 * slabs are unused.
 *
 * Invariants, whenever the lock is free:
 *     dirty is a subset of avail, `free` counts avail
 *     a slab without a class is on `unused`; otherwise on no list while it is purged; otherwise on `dirty` iff it has
 *     dirty slots, on `clean` iff it has free slots but no dirty ones; on a list, empty slabs come last
 *     a slab with a class has a slot that is dirty, or taken, if only by a purge
 *     dirty_bytes is the sum of stride over dirty slots
 *     `used` of a span is how many of its slabs have a class
 * Two purges of one slab never meet: the page between their slots would belong to neither. Slots that are freed during
 * a purge of their slab stay dirty until the next.
 */
#include "heap/slab.h"

#include "debug/sanitizer.h"
#include "heap/account.h"
#include "heap/os.h"
#include "heap/slots.h"
#include "heap/spare.h"
#include "heap/wipe.h"

#include <sched.h>
#include <stdlib.h>

/* ---- slots ---- */

static bool is_empty(const struct slab *slab)
{
    return slab->free == slab->slots;
}

static unsigned slot_number(const struct slab *slab, const unsigned char *slot)
{
    return slab_slot_at(slab, (size_t)(slot - slab->base));
}

/* ---- lists ---- */

static void list_remove(struct slab *slab)
{
    struct slab_list *list = slab->list;
    if (list == NULL)
        return;
    slab->prev->next = slab->next;
    slab->next->prev = slab->prev;
    if (list->first == slab)
        list->first = slab->next != slab ? slab->next : NULL;
    slab->list = NULL;
}

static void list_push_last(struct slab_list *list, struct slab *slab)
{
    if (list->first == NULL) {
        list->first = slab->next = slab->prev = slab;
    } else {
        slab->next = list->first;
        slab->prev = list->first->prev;
        slab->prev->next = slab->next->prev = slab;
    }
    slab->list = list;
}

static void list_push_first(struct slab_list *list, struct slab *slab)
{
    list_push_last(list, slab);
    list->first = slab;
}

static struct slab *list_last(const struct slab_list *list)
{
    return list->first != NULL ? list->first->prev : NULL;
}

/* Puts the slab on the list that its slots call for. Empty slabs go last: they are the last to be used, and the first
 * to be unmapped. */
static void list_update(struct slab *slab)
{
    struct slab_list *list = NULL;
    if (slab->purging)
        list = NULL;
    else if (slots_any(slab->dirty))
        list = &slab->cls->dirty;
    else if (slots_any(slab->avail))
        list = &slab->cls->clean[slab->lane];
    bool empty = is_empty(slab);
    if (list == slab->list && !empty)
        return;
    list_remove(slab);
    if (list == NULL)
        return;
    if (empty)
        list_push_last(list, slab);
    else
        list_push_first(list, slab);
}

/* ---- slabs and spans ---- */

/* A heap's first slab has at most this many bytes, or four slots. */
#define SLAB_BYTES_FIRST ((size_t)256 << 10)

/* The pages of 128 slots, or of as many slots as fit into 4 MiB. With huge pages, a slab that is larger than a huge
 * page has whole huge pages, since a purge gives back whole pages of one slab.
 *
 * The pages after the last slot would cost nothing but addresses. But if all slabs were 4 MiB apart, the numbers of the
 * first pages of all their blocks of 32 KiB would have one of two values in the lowest three bits. A processor looks
 * for a page in the few entries of its second-level TLB that the lowest bits of the number choose, and a thousand
 * buffers are too many for a quarter of that TLB.
 *
 * Without huge pages, a new slab at most doubles the address space that is mapped. So a thousand pools with one buffer
 * each do not map four gigabytes, and a pool with thousands of buffers has only a few slabs more. */
static size_t slab_bytes_of(const struct slabs *slabs, size_t stride)
{
    const size_t slots = SLAB_BYTES_MAX / stride;
    const size_t bytes = os_mapped((slots < SLAB_SLOTS_MAX ? slots : SLAB_SLOTS_MAX) * stride, false);
    if (slabs->huge && slots < SLAB_SLOTS_MAX)
        return SLAB_BYTES_MAX;
    if (slabs->huge)
        return bytes > OS_HUGE_PAGE ? bytes & ~(OS_HUGE_PAGE - 1) : bytes;
    const size_t mapped = load_relaxed(&slabs->mapped_bytes);
    const size_t first = 4 * stride > SLAB_BYTES_FIRST ? os_mapped(4 * stride, false) : SLAB_BYTES_FIRST;
    const size_t doubled = mapped > first ? mapped : first;
    return doubled < bytes ? doubled : bytes;
}

#define SPAN_SLABS_MAX 16u

/* How many slabs a new span has: the more memory is mapped already, the more slabs. To map is slow, since the kernel
 * merges neighbouring mappings, and waits for every page fault that is under way in them. With huge pages, small slabs
 * share a huge page, and go back together when none of them is used. */
static unsigned span_size(const struct slabs *slabs, size_t slab_bytes)
{
    if (slabs->huge && slab_bytes < OS_HUGE_PAGE)
        return (unsigned)(OS_HUGE_PAGE / slab_bytes);
    const size_t size = load_relaxed(&slabs->mapped_bytes) / 2 / slab_bytes;
    return size == 0 ? 1 : size < SPAN_SLABS_MAX ? (unsigned)size : SPAN_SLABS_MAX;
}

static unsigned char *map_span(const struct slabs *slabs, size_t bytes)
{
    unsigned char *base = slabs->huge ? NULL : spare_take(SPARE_SPAN, bytes);
    if (base != NULL)
        return base;
    base = os_map(bytes, slabs->huge);
    if (base != NULL)
        os_lock_on_fault(base, bytes);
    return base;
}

static struct span *span_make(const struct slabs *slabs, const struct slab_request *request, unsigned n)
{
    const size_t slab_bytes = slab_bytes_of(slabs, request->stride);
    struct span *span = calloc(1, sizeof(*span) + n * sizeof(span->slab[0]));
    if (span == NULL)
        return NULL;
    span->cls = request->cls;
    span->slab_bytes = slab_bytes;
    span->slabs = n;
    span->bytes = os_mapped(n * slab_bytes, slabs->huge);
    span->base = map_span(slabs, span->bytes);
    if (span->base == NULL) {
        free(span);
        return NULL;
    }
    if (sanitizer_on())
        sanitizer_region(span->base, span->bytes);
    return span;
}

static void span_link(struct slabs *slabs, struct span *span)
{
    bump_relaxed(&slabs->mapped_bytes, span->bytes);
    span->prev = NULL;
    span->next = slabs->spans;
    if (slabs->spans != NULL)
        slabs->spans->prev = span;
    slabs->spans = span;
    for (unsigned i = 0; i < span->slabs; i++)
        list_push_last(&span->cls->unused, &span->slab[i]);
}

static void span_unlink(struct slabs *slabs, struct span *span)
{
    for (unsigned i = 0; i < span->slabs; i++)
        list_remove(&span->slab[i]);
    bump_relaxed(&slabs->mapped_bytes, -span->bytes);
    *(span->prev != NULL ? &span->prev->next : &slabs->spans) = span->next;
    if (span->next != NULL)
        span->next->prev = span->prev;
}

/* Maps a span, and adds its slabs to the unused ones. If there is no memory for the span, maps one with a single slab.
 * If there is no memory for that span either, nothing changes. */
static void span_map(struct slabs *slabs, const struct slab_request *request)
{
    const unsigned n = span_size(slabs, slab_bytes_of(slabs, request->stride));
    struct span *span = span_make(slabs, request, n);
    if (span == NULL && n > 1)
        span = span_make(slabs, request, 1);
    if (span == NULL)
        return;
    for (unsigned i = 0; i < span->slabs; i++) {
        span->slab[i].span = span;
        span->slab[i].base = span->base + i * span->slab_bytes;
    }
    span_link(slabs, span);
}

/* Needs no lock. */
static void unmap_chain(struct span *chain)
{
    while (chain != NULL) {
        struct span *next = chain->next;
        os_unmap(chain->base, chain->bytes);
        free(chain);
        chain = next;
    }
}

/* Returns a slab of which all slots are free and clean, on its list; NULL if there is no memory. */
static struct slab *slab_make(struct slabs *slabs, const struct slab_request *request, unsigned lane)
{
    struct slab_class *cls = request->cls;
    if (cls->unused.first == NULL)
        span_map(slabs, request);
    struct slab *slab = cls->unused.first;
    if (slab == NULL)
        return NULL;
    slab->span->used++;
    size_t slots = slab->span->slab_bytes / request->stride;
    slab->slots = slots < SLAB_SLOTS_MAX ? (unsigned)slots : SLAB_SLOTS_MAX;
    slab->cls = cls;
    slab->stride = request->stride;
    slab->inverse = (uint32_t)((((uint64_t)1 << 32) + slab->stride - 1) / slab->stride);
    slab->free = slab->slots;
    slab->lane = lane;
    for (unsigned slot = 0; slot < slab->slots; slot++)
        slots_add(slab->avail, slot);
    list_update(slab); /* away from `unused` */
    return slab;
}

/* Gives an empty and clean slab back to its span. If no other slab of the span is used, takes the span off all lists
 * and puts it on a chain, linked by `next`, for unmap_chain. */
static void slab_retire(struct slabs *slabs, struct slab *slab, struct span **chain)
{
    struct span *span = slab->span;
    list_remove(slab);
    list_push_first(&span->cls->unused, slab);
    slab->cls = NULL;
    slab->avail[0] = slab->avail[1] = 0;
    slab->free = 0;
    if (--span->used > 0)
        return;
    span_unlink(slabs, span);
    span->next = *chain;
    *chain = span;
}

static void count_dirty(struct slabs *slabs, struct slab_class *cls, size_t bytes)
{
    cls->dirty_bytes += bytes;
    bump_relaxed(&slabs->dirty_bytes, bytes);
}

static void uncount_dirty(struct slabs *slabs, struct slab_class *cls, size_t bytes)
{
    cls->dirty_bytes -= bytes;
    bump_relaxed(&slabs->dirty_bytes, -bytes);
}

/* ---- purging ---- */

#define PURGE_SLABS 32u

/* The slots that one step of a purge has taken. */
struct purge {
    unsigned slabs, ranges;
    struct {
        struct slab *slab;
        unsigned range; /* its first one */
        uint64_t slots[SLAB_SLOTS_MAX / 64];
    } taken[PURGE_SLABS];
    struct os_range range[OS_RANGES_MAX];
};

static bool purge_has_room(const struct purge *purge)
{
    return purge->slabs < PURGE_SLABS && purge->ranges + SLAB_SLOTS_MAX / 2 <= OS_RANGES_MAX;
}

/* Takes the runs of free slots of the slab that have a dirty one among them, until so many bytes of these are taken. */
static void purge_add(struct slabs *slabs, struct purge *purge, struct slab *slab, size_t bytes)
{
    size_t most = (bytes + slab->stride - 1) / slab->stride; /* slots */
    uint64_t *slots = purge->taken[purge->slabs].slots;
    purge->taken[purge->slabs].range = purge->ranges;
    purge->taken[purge->slabs++].slab = slab;
    slots[0] = slots[1] = 0;
    unsigned end;
    for (unsigned first = 0; first < slab->slots && most > 0; first = end) {
        first = slots_next(slab->avail, first, slab->slots, true);
        end = slots_next(slab->avail, first, slab->slots, false);
        if (slots_next(slab->dirty, first, end, true) == end)
            continue;
        for (unsigned slot = first; slot < end; slot++) {
            if (slots_has(slab->dirty, slot) && most-- == 0) {
                end = slot; /* the rest of the run stays, with the page between */
                most = 0;
                break;
            }
            slots_add(slots, slot);
        }
        purge->range[purge->ranges++] = (struct os_range){
            .from = slab->base + first * slab->stride,
            .to = end == slab->slots ? slab->base + slab->span->slab_bytes : slab->base + end * slab->stride,
        };
    }
    const uint64_t dirty[2] = {slab->dirty[0] & slots[0], slab->dirty[1] & slots[1]};
    uncount_dirty(slabs, slab->cls, slots_count(dirty) * slab->stride);
    for (int i = 0; i < 2; i++) {
        slab->avail[i] &= ~slots[i];
        slab->dirty[i] &= ~slots[i];
    }
    slab->free -= slots_count(slots);
    slab->purging = true;
    list_update(slab);
}

/* Frees the slots of the step, which are clean now. Returns a chain of spans that are to be unmapped. */
static struct span *purge_release(struct slabs *slabs, const struct purge *purge)
{
    struct span *chain = NULL;
    for (unsigned n = 0; n < purge->slabs; n++) {
        struct slab *slab = purge->taken[n].slab;
        for (int i = 0; i < 2; i++)
            slab->avail[i] |= purge->taken[n].slots[i];
        slab->free += slots_count(purge->taken[n].slots);
        slab->purging = false;
        list_update(slab);
        if (is_empty(slab) && !slots_any(slab->dirty))
            slab_retire(slabs, slab, &chain);
    }
    return chain;
}

/* How many bytes of the step the system refused to take, except for those of spans that are unmapped now. */
static size_t purge_refused(const struct purge *purge)
{
    size_t bytes = 0;
    for (unsigned n = 0; n < purge->slabs; n++) {
        const unsigned end = n + 1 < purge->slabs ? purge->taken[n + 1].range : purge->ranges;
        for (unsigned i = purge->taken[n].range; i < end && purge->taken[n].slab->span->used > 0; i++)
            bytes += (size_t)(purge->range[i].to - purge->range[i].from);
    }
    return bytes;
}

/* Returns the slab to purge next; NULL if no slab has dirty slots, except for those that are being purged. */
static struct slab *find_victim(const struct slabs *slabs)
{
    const struct slab_class *dirtiest = NULL;
    for (const struct slab_class *cls = slabs->classes; cls < slabs->classes + SLAB_CLASSES; cls++)
        if (cls->dirty.first != NULL && (dirtiest == NULL || cls->dirty_bytes > dirtiest->dirty_bytes))
            dirtiest = cls;
    return dirtiest != NULL ? list_last(&dirtiest->dirty) : NULL;
}

size_t slab_purge(struct slabs *slabs, size_t keep, size_t *refused)
{
    struct purge purge;
    purge.slabs = purge.ranges = 0;
    const size_t before = load_relaxed(&slabs->dirty_bytes);
    size_t dirty = before;
    while (dirty > keep && before - dirty < SLAB_PURGE_BYTES && purge_has_room(&purge)) {
        struct slab *slab = find_victim(slabs);
        if (slab == NULL)
            break;
        purge_add(slabs, &purge, slab, dirty - keep);
        dirty = load_relaxed(&slabs->dirty_bytes);
    }
    const size_t bytes = before - dirty;
    if (bytes == 0)
        return 0;

    pthread_mutex_unlock(&slabs->lock);
    os_purge(purge.range, purge.ranges, slabs->huge);
    account_give(slabs->budget, bytes);
    pthread_mutex_lock(&slabs->lock);

    struct span *chain = purge_release(slabs, &purge);
    *refused += purge_refused(&purge);
    if (chain != NULL) {
        pthread_mutex_unlock(&slabs->lock);
        unmap_chain(chain);
        pthread_mutex_lock(&slabs->lock);
    }
    return bytes;
}

/* ---- taking and giving ---- */

/* Returns a slab with clean slots: a slab of the lane, or of another lane that has more than one. With `any`, also the
 * only slab of another lane. Returns NULL if there is none. */
static struct slab *clean_slab(struct slab_class *cls, unsigned lane, bool any)
{
    struct slab *slab = cls->clean[lane].first;
    for (unsigned i = 0; slab == NULL && i < SLAB_LANES; i++) {
        slab = list_last(&cls->clean[i]);
        if (slab != NULL && slab == cls->clean[i].first && !any)
            slab = NULL;
    }
    if (slab != NULL && slab->lane != lane) {
        slab->lane = lane;
        list_update(slab);
    }
    return slab;
}

static unsigned char *take_slot(struct slab *slab, unsigned slot)
{
    slots_remove(slab->avail, slot);
    slab->free--;
    if (!slots_any(slab->dirty)) /* otherwise it stays on its list */
        list_update(slab);
    return slab->base + slot * slab->stride;
}

/* slab_take, where no slot is dirty. */
static __attribute__((noinline)) unsigned char *take_clean(struct slabs *slabs, const struct slab_request *request,
                                                           struct slab **from)
{
    const unsigned lane = (unsigned)sched_getcpu() % SLAB_LANES;
    struct slab *slab = clean_slab(request->cls, lane, false);
    if (slab == NULL)
        slab = slab_make(slabs, request, lane);
    if (slab == NULL)
        slab = clean_slab(request->cls, lane, true);
    *from = slab;
    return slab != NULL ? take_slot(slab, slots_first_from(slab->avail, slabs->colour % slab->slots)) : NULL;
}

unsigned char *slab_take(struct slabs *slabs, const struct slab_request *request, struct slab **from)
{
    struct slab *slab = request->cls->dirty.first;
    if (slab == NULL)
        return take_clean(slabs, request, from);
    const unsigned slot = slots_first(slab->dirty);
    slots_remove(slab->dirty, slot);
    uncount_dirty(slabs, slab->cls, slab->stride);
    account_give(slabs->budget, slab->stride); /* the block has reserved as many */
    *from = slab;
    return take_slot(slab, slot);
}

void slab_give(struct slabs *slabs, struct slab *slab, const unsigned char *slot)
{
    unsigned number = slot_number(slab, slot);
    slots_add(slab->avail, number);
    slots_add(slab->dirty, number);
    slab->free++;
    count_dirty(slabs, slab->cls, slab->stride);
    if (slab->list != &slab->cls->dirty || is_empty(slab)) /* otherwise it stays on its list */
        list_update(slab);
}

/* ---- fork and the end ---- */

/* The slab after this one, or with NULL the first, of those that belong to a class. */
static struct slab *slab_after(const struct slabs *slabs, const struct slab *slab)
{
    struct span *span = slab != NULL ? slab->span : slabs->spans;
    unsigned i = slab != NULL ? (unsigned)(slab - span->slab) + 1 : 0;
    for (; span != NULL; span = span->next, i = 0)
        for (; i < span->slabs; i++)
            if (span->slab[i].cls != NULL)
                return &span->slab[i];
    return NULL;
}

void slab_repair_begin(struct slabs *slabs)
{
    for (struct slab *slab = NULL; (slab = slab_after(slabs, slab)) != NULL;) {
        slab->purging = false; /* by a thread of the parent, which is not here */
        for (unsigned slot = 0; slot < slab->slots; slot++)
            if (!slots_has(slab->avail, slot)) {
                slots_add(slab->avail, slot);
                slots_add(slab->dirty, slot);
                slots_add(slab->lost, slot);
            }
    }
}

void slab_repair_claim(struct slab *slab, const unsigned char *slot)
{
    if (!slab_has(slab, slot)) /* somebody wrote over the handle, which the put will find */
        return;
    slots_remove(slab->avail, slot_number(slab, slot));
    slots_remove(slab->dirty, slot_number(slab, slot));
    slots_remove(slab->lost, slot_number(slab, slot));
}

/* Does what a thread of the parent had yet to do to a slot that is no buffer's. */
static void reset_lost(unsigned char *slot, size_t stride, bool wiped)
{
    if (wiped)
        wipe(slot, stride, true);
    if (SANITIZER_ASAN) /* memcheck is told under a lock that fork takes */
        sanitizer_region(slot, stride);
}

void slab_repair_end(struct slabs *slabs, bool wiped)
{
    store_relaxed(&slabs->dirty_bytes, 0);
    for (unsigned i = 0; i < SLAB_CLASSES; i++)
        slabs->classes[i].dirty_bytes = 0;
    for (struct slab *slab = NULL; (slab = slab_after(slabs, slab)) != NULL;) {
        for (unsigned slot = 0; slot < slab->slots; slot++)
            if (slots_has(slab->lost, slot))
                reset_lost(slab->base + slot * slab->stride, slab->stride, wiped);
        slab->lost[0] = slab->lost[1] = 0;
        slab->free = slots_count(slab->avail);
        count_dirty(slabs, slab->cls, slots_count(slab->dirty) * slab->stride);
        list_update(slab);
    }
}

void slab_destroy_all(struct slabs *slabs)
{
    for (struct span *span = slabs->spans; span != NULL;) {
        struct span *next = span->next;
        if (next == NULL && !slabs->huge) /* the heap's first: other heaps begin with such a span too */
            spare_keep(SPARE_SPAN, span->base, span->bytes);
        else
            os_unmap(span->base, span->bytes);
        free(span);
        span = next;
    }
    slabs->spans = NULL;
}
