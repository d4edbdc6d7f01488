/* SPDX-License-Identifier: MIT
 *
 * slab.c - slabs: where first blocks of up to a megabyte and grown ones of up to 256 KiB lie, and how their memory
 * returns to the system
 *
 * malloc'd blocks freed in random order leave a heap full of holes. Here the blocks of one class lie in slabs of 4 MiB,
 * slot after slot, and a free slot is either clean (no memory behind it but for the edges of pages that it shares with
 * a neighbour) or dirty. Dirty slots are used first: their pages need no fault.
 *
 * What is dirty stays below a limit: 1 MiB, or if that is more, as much as bypass buffers that callers hold have, in
 * brief slots or mappings. So bypass buffers that come and go find their memory still there, however many they are;
 * when a burst of them ebbs, dirty memory ebbs with it; and when the last is gone 1 MiB is left. What is resident is
 * thus at most the blocks that are not free, and once more those of bypass buffers or 1 MiB, and what threads are about
 * to give back, up to 8 MiB each; besides, the pages at the edges of taken slots. With huge pages, take "pages" for
 * what they are: one is resident until all slots in it are free and purged.
 *
 * Kept mappings (retained.h) count as dirty, and so does what is set aside for the stash (stash.h), whether it is there or
 * not.
 *
 * A give beyond the limit unmaps kept mappings, the oldest first; if there are none it purges slots, down to half of
 * what the limit leaves them; but it takes at most two steps of some 8 MiB. A purge takes every run of free slots with
 * a dirty one among them, those with clean ones around it whole, so that the page between two slots goes with whichever
 * was freed last. The system gives up their pages without the lock, many runs in one call, since each call interrupts
 * all CPUs; then they are free again and clean. Empty slabs are purged first, then the one that has had dirty slots for
 * longest, always of the class that has most. An empty slab that is clean has no class any more; a span of which no
 * slab has one is unmapped.
 *
 * Invariants, whenever the lock is free:
 *     dirty is a subset of avail, brief and avail are disjoint, `free` counts avail
 *     a slab is on `unused` iff it has no class; else on no list while it is purged; else on `dirty` iff it has dirty
 *     slots, on `clean` iff it has free slots but no dirty ones; on a list, empty slabs come last
 *     a slab with a class has a slot that is dirty, or taken, if only by a purge
 *     dirty_bytes and brief_bytes are the sums of stride over dirty and over brief slots (brief_bytes also of the
 *     mappings that bypass buffers have); `used` of a span is how many of its slabs have a class
 * Two purges of one slab never meet: the page between their slots would belong to neither. What is freed there during a
 * purge stays dirty until the next.
 */
#include "heap/slab.h"

#include "debug/sanitizer.h"
#include "heap/os.h"
#include "heap/slots.h"

#include <stdlib.h>
#include <string.h>

#define DIRTY_MIN ((size_t)1 << 20)

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

/* Puts the slab on the list where its sets say it belongs. Empty slabs go last: they are the last to be used, and the
 * first to be unmapped. */
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

/* Spans grow with what is mapped already. To map is slow, since the kernel merges neighbouring mappings, and waits for
 * every page fault that is under way in them. */
static unsigned span_size(const struct slabs *slabs)
{
    unsigned size = slabs->slabs_mapped / 2;
    return size == 0 ? 1 : size < SPAN_SLABS_MAX ? size : SPAN_SLABS_MAX;
}

/* Adds to the unused slabs, unless there is no memory. */
static void span_map(struct slabs *slabs)
{
    struct span *span = calloc(1, sizeof(*span));
    if (span == NULL)
        return;
    span->slabs = span_size(slabs);
    span->base = os_map(span->slabs * SLAB_BYTES, slabs->huge);
    if (span->base == NULL && span->slabs > 1) {
        span->slabs = 1;
        span->base = os_map(SLAB_BYTES, slabs->huge);
    }
    if (span->base == NULL) {
        free(span);
        return;
    }
    if (sanitizer_on())
        sanitizer_region(span->base, span->slabs * SLAB_BYTES);
    for (unsigned i = 0; i < span->slabs; i++) {
        span->slab[i].span = span;
        span->slab[i].base = span->base + i * SLAB_BYTES;
        list_push_last(&slabs->unused, &span->slab[i]);
    }
    slabs->slabs_mapped += span->slabs;
    span->next = slabs->spans;
    if (slabs->spans != NULL)
        slabs->spans->prev = span;
    slabs->spans = span;
}

/* Needs no lock. */
static void unmap_chain(struct span *chain)
{
    while (chain != NULL) {
        struct span *next = chain->next;
        os_unmap(chain->base, chain->slabs * SLAB_BYTES);
        free(chain);
        chain = next;
    }
}

/* A slab with all slots free and clean, on its list. */
static struct slab *slab_make(struct slabs *slabs, const struct slab_request *request)
{
    if (slabs->unused.first == NULL)
        span_map(slabs);
    struct slab *slab = slabs->unused.first;
    if (slab == NULL)
        return NULL;
    list_remove(slab);
    slab->span->used++;
    size_t slots = SLAB_BYTES / request->stride;
    slab->slots = slots < SLAB_SLOTS_MAX ? (unsigned)slots : SLAB_SLOTS_MAX;
    slab->cls = request->cls;
    slab->stride = request->stride;
    slab->inverse = (uint32_t)((((uint64_t)1 << 32) + slab->stride - 1) / slab->stride);
    slab->free = slab->slots;
    slab->lane = request->lane;
    for (unsigned slot = 0; slot < slab->slots; slot++)
        slots_add(slab->avail, slot);
    list_update(slab);
    return slab;
}

/* An empty and clean slab goes back to its span. A span of which nothing is used is taken out of everything and put on
 * a chain, linked by `next`, for unmap_chain. */
static void slab_retire(struct slabs *slabs, struct slab *slab, struct span **chain)
{
    list_remove(slab);
    list_push_first(&slabs->unused, slab);
    slab->cls = NULL;
    slab->avail[0] = slab->avail[1] = 0;
    slab->free = 0;

    struct span *span = slab->span;
    if (--span->used > 0)
        return;
    for (unsigned i = 0; i < span->slabs; i++)
        list_remove(&span->slab[i]);
    slabs->slabs_mapped -= span->slabs;
    *(span->prev != NULL ? &span->prev->next : &slabs->spans) = span->next;
    if (span->next != NULL)
        span->next->prev = span->prev;
    span->next = *chain;
    *chain = span;
}

static void count_dirty(struct slabs *slabs, struct slab_class *cls, size_t bytes)
{
    cls->dirty_bytes += bytes;
    slabs->dirty_bytes += bytes;
}

static void uncount_dirty(struct slabs *slabs, struct slab_class *cls, size_t bytes)
{
    cls->dirty_bytes -= bytes;
    slabs->dirty_bytes -= bytes;
}

/* ---- purging ---- */

#define PURGE_BYTES ((size_t)4 << 20) /* after so much a step ends */
#define PURGE_SLABS 32u

/* What one step of a purge has taken. */
struct purge {
    unsigned slabs, ranges;
    struct {
        struct slab *slab;
        uint64_t slots[SLAB_SLOTS_MAX / 64];
    } taken[PURGE_SLABS];
    struct os_range range[OS_RANGES_MAX];
};

static bool purge_has_room(const struct purge *purge)
{
    return purge->slabs < PURGE_SLABS && purge->ranges + SLAB_SLOTS_MAX / 2 <= OS_RANGES_MAX;
}

/* Takes the runs of free slots of the slab that have a dirty one among them. */
static void purge_add(struct slabs *slabs, struct purge *purge, struct slab *slab)
{
    uint64_t *slots = purge->taken[purge->slabs].slots;
    purge->taken[purge->slabs++].slab = slab;
    slots[0] = slots[1] = 0;
    unsigned end;
    for (unsigned first = 0; first < slab->slots; first = end) {
        first = slots_next(slab->avail, first, slab->slots, true);
        end = slots_next(slab->avail, first, slab->slots, false);
        if (slots_next(slab->dirty, first, end, true) == end)
            continue;
        for (unsigned slot = first; slot < end; slot++)
            slots_add(slots, slot);
        purge->range[purge->ranges++] = (struct os_range){
            .from = slab->base + first * slab->stride,
            .to = end == slab->slots ? slab->base + SLAB_BYTES : slab->base + end * slab->stride,
        };
    }
    uncount_dirty(slabs, slab->cls, slots_count(slab->dirty) * slab->stride);
    for (int i = 0; i < 2; i++) {
        slab->avail[i] &= ~slots[i];
        slab->dirty[i] = 0;
    }
    slab->free -= slots_count(slots);
    slab->purging = true;
    list_update(slab);
}

/* Gives the taken slots back, now clean. Returns a chain of spans that are to be unmapped. */
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

/* The slab to purge next; NULL: none that has dirty slots and is not being purged. */
static struct slab *find_victim(const struct slabs *slabs)
{
    const struct slab_class *dirtiest = NULL;
    for (const struct slab_class *cls = slabs->classes; cls < slabs->classes + SLAB_CLASSES; cls++)
        if (cls->dirty.first != NULL && (dirtiest == NULL || cls->dirty_bytes > dirtiest->dirty_bytes))
            dirtiest = cls;
    return dirtiest != NULL ? list_last(&dirtiest->dirty) : NULL;
}

/* Takes dirty slots until at most `keep` bytes are left or the step is full, and gives their memory back. Returns how
 * many bytes; 0 if others are at it with all that there is. Lets the lock go meanwhile. */
static size_t purge_step(struct slabs *slabs, size_t keep)
{
    struct purge purge;
    purge.slabs = purge.ranges = 0;
    const size_t before = slabs->dirty_bytes;
    while (slabs->dirty_bytes > keep && before - slabs->dirty_bytes < PURGE_BYTES && purge_has_room(&purge)) {
        struct slab *slab = find_victim(slabs);
        if (slab == NULL)
            break;
        purge_add(slabs, &purge, slab);
    }
    const size_t bytes = before - slabs->dirty_bytes;
    if (bytes == 0)
        return 0;

    pthread_mutex_unlock(&slabs->lock);
    os_purge(purge.range, purge.ranges, slabs->huge);
    pthread_mutex_lock(&slabs->lock);

    struct span *chain = purge_release(slabs, &purge);
    if (chain != NULL) {
        pthread_mutex_unlock(&slabs->lock);
        unmap_chain(chain);
        pthread_mutex_lock(&slabs->lock);
    }
    return bytes;
}

/* How much memory may be at hand for nobody in particular. What the stash has is taken and brief, but nobody holds it;
 * it may have `aside_bytes`, whether it has or not: so that counts as dirty, and not as held. */
static size_t dirty_limit(const struct slabs *slabs)
{
    size_t held = slabs->brief_bytes > slabs->aside_bytes ? slabs->brief_bytes - slabs->aside_bytes : 0;
    return held > DIRTY_MIN ? held : DIRTY_MIN;
}

static size_t all_dirty(const struct slabs *slabs)
{
    return slabs->dirty_bytes + slabs->retained.bytes + slabs->aside_bytes;
}

/* Needs no lock. */
static void unmap_all(const struct os_range *mappings, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        os_unmap(mappings[i].from, (size_t)(mappings[i].to - mappings[i].from));
}

/* Unmaps the oldest kept mappings, of that many bytes or a batch. Returns whether there was one. Lets the lock go
 * meanwhile. */
static bool purge_retained(struct slabs *slabs, size_t bytes)
{
    struct os_range taken[RETAINED_BATCH];
    unsigned n = retained_take_oldest(&slabs->retained, bytes, taken);
    if (n == 0)
        return false;
    pthread_mutex_unlock(&slabs->lock);
    unmap_all(taken, n);
    pthread_mutex_lock(&slabs->lock);
    return true;
}

/* Two steps take more than one give can add. More would have one call do the work of another that deferred its
 * gives. */
void slab_purge_excess(struct slabs *slabs)
{
    for (int step = 0; step < 2; step++) {
        const size_t all = all_dirty(slabs), limit = dirty_limit(slabs);
        if (all <= limit)
            return;
        if (purge_retained(slabs, all - limit < PURGE_BYTES ? all - limit : PURGE_BYTES))
            continue;
        if (purge_step(slabs, (limit - slabs->aside_bytes) / 2) == 0)
            return;
    }
}

bool slab_retain_mapping(struct slabs *slabs, unsigned char *mapping, size_t bytes)
{
    const size_t all = all_dirty(slabs), limit = dirty_limit(slabs);
    return all <= limit && bytes <= limit - all && retained_add(&slabs->retained, mapping, bytes);
}

void slab_purge_all(struct slabs *slabs)
{
    for (unsigned batches = RETAINED_MAX / RETAINED_BATCH; batches > 0 && purge_retained(slabs, SIZE_MAX); batches--)
        ;
    struct os_range *ring = retained_take_ring(&slabs->retained);
    if (ring != NULL) {
        pthread_mutex_unlock(&slabs->lock);
        free(ring);
        pthread_mutex_lock(&slabs->lock);
    }
    /* no more than there is now: others may go on freeing */
    size_t left = slabs->dirty_bytes, purged = 1;
    while (left > 0 && purged > 0) {
        purged = purge_step(slabs, 0);
        left -= purged < left ? purged : left;
    }
    slab_purge_excess(slabs); /* what others gave meanwhile, and could not purge beside this */
}

/* ---- taking and giving ---- */

/* A clean slab for the lane: its own, or one that another lane can do without, or with `any` also its last one. */
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

unsigned char *slab_take(struct slabs *slabs, const struct slab_request *request, struct slab **from)
{
    struct slab_class *cls = request->cls;
    struct slab *slab = cls->dirty.first;
    if (slab == NULL)
        slab = clean_slab(cls, request->lane, false);
    if (slab == NULL)
        slab = slab_make(slabs, request);
    if (slab == NULL)
        slab = clean_slab(cls, request->lane, true);
    if (slab == NULL)
        return NULL;

    bool dirty = slots_any(slab->dirty);
    unsigned slot = dirty ? slots_first(slab->dirty) : slots_first_from(slab->avail, slabs->colour % slab->slots);
    slots_remove(slab->avail, slot);
    slab->free--;
    if (dirty) {
        slots_remove(slab->dirty, slot);
        uncount_dirty(slabs, cls, slab->stride);
    }
    if (request->brief) {
        slots_add(slab->brief, slot);
        slabs->brief_bytes += slab->stride;
    }
    list_update(slab);
    *from = slab;
    return slab->base + slot * slab->stride;
}

void slab_give(struct slabs *slabs, struct slab *slab, const unsigned char *slot, bool defer)
{
    unsigned number = slot_number(slab, slot);
    slots_add(slab->avail, number);
    slots_add(slab->dirty, number);
    slab->free++;
    count_dirty(slabs, slab->cls, slab->stride);
    if (slots_has(slab->brief, number)) {
        slots_remove(slab->brief, number);
        slabs->brief_bytes -= slab->stride;
    }
    list_update(slab);
    if (!defer)
        slab_purge_excess(slabs);
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
    if (!slab_has(slab, slot)) /* a thread of the parent was replacing the block of that buffer */
        return;
    slots_remove(slab->avail, slot_number(slab, slot));
    slots_remove(slab->dirty, slot_number(slab, slot));
    slots_remove(slab->lost, slot_number(slab, slot));
}

/* As a thread of the parent had yet to leave it. */
static void reset_lost(unsigned char *slot, size_t stride, bool wipe)
{
    if (wipe)
        sanitizer_wipe(slot, stride);
    if (SANITIZER_ASAN) /* memcheck is told under a lock that fork takes */
        sanitizer_region(slot, stride);
}

void slab_repair_end(struct slabs *slabs, bool wipe)
{
    slabs->dirty_bytes = slabs->brief_bytes = 0;
    for (unsigned i = 0; i < SLAB_CLASSES; i++)
        slabs->classes[i].dirty_bytes = 0;
    for (struct slab *slab = NULL; (slab = slab_after(slabs, slab)) != NULL;) {
        for (int i = 0; i < 2; i++)
            slab->brief[i] &= ~slab->avail[i];
        for (unsigned slot = 0; slot < slab->slots; slot++)
            if (slots_has(slab->lost, slot))
                reset_lost(slab->base + slot * slab->stride, slab->stride, wipe);
        slab->lost[0] = slab->lost[1] = 0;
        slab->free = slots_count(slab->avail);
        count_dirty(slabs, slab->cls, slots_count(slab->dirty) * slab->stride);
        slabs->brief_bytes += slots_count(slab->brief) * slab->stride;
        list_update(slab);
    }
}

void slab_destroy_all(struct slabs *slabs)
{
    struct os_range taken[RETAINED_BATCH];
    for (unsigned n; (n = retained_take_oldest(&slabs->retained, SIZE_MAX, taken)) > 0;)
        unmap_all(taken, n);
    free(retained_take_ring(&slabs->retained));
    unmap_chain(slabs->spans);
    slabs->spans = NULL;
}
