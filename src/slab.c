/* SPDX-License-Identifier: MIT
 *
 * slab.c - slabs: where blocks of up to a megabyte lie, and how their memory returns to the system
 *
 * malloc'd blocks freed in random order leave a heap full of holes. Here the blocks of one class lie in regions of
 * up to 4 MiB, slot after slot, and a free slot is either clean (no memory behind it but for the edges of pages that
 * it shares with a neighbour) or dirty. Dirty slots are used first: their pages need no fault. All classes together
 * keep at most DIRTY_MAX bytes dirty; beyond that the slab that has had dirty slots for longest is purged.
 *
 * A purge marks every free slot of a slab as taken, gives the pages back without the lock, and marks the slots free
 * and clean. Since it works on runs of adjacent free slots, clean ones included, the page between two of them goes
 * with whichever was freed last. A slab whose slots are all free is unmapped, but for one per class.
 *
 * Invariants, whenever the lock is free:
 *     dirty is a subset of avail
 *     a slab is on `dirty` iff it has dirty slots, on `clean` iff it has free slots but no dirty ones
 *     dirty_bytes is the sum of stride over dirty slots, `empty` the number of slabs with every slot in avail
 * A slab under purge is not empty, whatever else is freed into it, since the purge holds at least one slot. So nobody
 * unmaps it, and two purges of one slab do not meet.
 */
#include "slab.h"

#include "region.h"

#include <stdlib.h>

#define DIRTY_MAX ((size_t)1 << 20)

/* ---- sets of slots ---- */

static unsigned slots_count(const uint64_t set[2])
{
    return (unsigned)(__builtin_popcountll(set[0]) + __builtin_popcountll(set[1]));
}

static bool slots_any(const uint64_t set[2])
{
    return (set[0] | set[1]) != 0;
}

static unsigned slots_first(const uint64_t set[2])
{
    return set[0] != 0 ? (unsigned)__builtin_ctzll(set[0]) : 64u + (unsigned)__builtin_ctzll(set[1]);
}

static bool slots_has(const uint64_t set[2], unsigned slot)
{
    return (set[slot / 64] >> (slot % 64) & 1) != 0;
}

static void slots_add(uint64_t set[2], unsigned slot)
{
    set[slot / 64] |= (uint64_t)1 << (slot % 64);
}

static void slots_remove(uint64_t set[2], unsigned slot)
{
    set[slot / 64] &= ~((uint64_t)1 << (slot % 64));
}

static bool is_empty(const struct slab *slab)
{
    return slots_count(slab->avail) == slab->slots;
}

static unsigned slot_number(const struct slab *slab, const unsigned char *slot)
{
    return (unsigned)((size_t)(slot - slab->base) / slab->stride);
}

bool slab_has(const struct slab *slab, const unsigned char *slot)
{
    size_t offset = (size_t)((uintptr_t)slot - (uintptr_t)slab->base);
    return offset % slab->stride == 0 && offset / slab->stride < slab->slots;
}

/* ---- lists ---- */

static void list_remove(struct slab *slab)
{
    struct slab_list *list = slab->list;
    *(slab->prev != NULL ? &slab->prev->next : &list->first) = slab->next;
    *(slab->next != NULL ? &slab->next->prev : &list->last) = slab->prev;
    slab->list = NULL;
}

static void list_push(struct slab_list *list, struct slab *slab)
{
    slab->prev = NULL;
    slab->next = list->first;
    *(list->first != NULL ? &list->first->prev : &list->last) = slab;
    list->first = slab;
    slab->list = list;
}

/* Puts the slab on the list where its sets say it belongs. */
static void list_update(struct slab *slab)
{
    struct slab_list *list = NULL;
    if (slots_any(slab->dirty))
        list = &slab->cls->dirty;
    else if (slots_any(slab->avail))
        list = &slab->cls->clean;
    if (list == slab->list)
        return;
    if (slab->list != NULL)
        list_remove(slab);
    if (list != NULL)
        list_push(list, slab);
}

/* ---- making and unmapping ---- */

static struct slab *slab_make(struct slabs *slabs, struct slab_class *cls, size_t stride)
{
    struct slab *slab = calloc(1, sizeof(*slab));
    if (slab == NULL)
        return NULL;
    size_t slots = SLAB_BYTES / stride;
    slab->slots = slots < SLAB_SLOTS_MAX ? (unsigned)slots : SLAB_SLOTS_MAX;
    slab->bytes = region_mapped(slab->slots * stride, slabs->huge);
    slab->base = region_map(slab->bytes, slabs->huge);
    if (slab->base == NULL) {
        free(slab);
        return NULL;
    }
    slab->cls = cls;
    slab->stride = stride;
    for (unsigned slot = 0; slot < slab->slots; slot++)
        slots_add(slab->avail, slot);
    list_update(slab);
    cls->slabs++;
    cls->empty++;

    slab->all_next = slabs->all;
    if (slabs->all != NULL)
        slabs->all->all_prev = slab;
    slabs->all = slab;
    return slab;
}

static void slab_unmap(struct slab *slab)
{
    region_unmap(slab->base, slab->bytes);
    free(slab);
}

/* Takes an empty slab out of everything; slab_unmap follows without the lock. */
static void slab_unlink(struct slabs *slabs, struct slab *slab)
{
    slabs->dirty_bytes -= slots_count(slab->dirty) * slab->stride;
    list_remove(slab);
    slab->cls->slabs--;
    slab->cls->empty--;
    *(slab->all_prev != NULL ? &slab->all_prev->all_next : &slabs->all) = slab->all_next;
    if (slab->all_next != NULL)
        slab->all_next->all_prev = slab->all_prev;
}

static struct slab *find_empty(const struct slab_class *cls)
{
    const struct slab_list *lists[2] = {&cls->clean, &cls->dirty};
    for (int i = 0; i < 2; i++)
        for (struct slab *slab = lists[i]->last; slab != NULL; slab = slab->prev)
            if (is_empty(slab))
                return slab;
    return NULL;
}

/* Unmaps empty slabs of the class until `keep` are left. Lets the lock go meanwhile. */
static void unmap_empty(struct slabs *slabs, struct slab_class *cls, unsigned keep)
{
    while (cls->empty > keep) {
        struct slab *slab = find_empty(cls);
        slab_unlink(slabs, slab);
        pthread_mutex_unlock(&slabs->lock);
        slab_unmap(slab);
        pthread_mutex_lock(&slabs->lock);
    }
}

/* ---- purging ---- */

static void purge_runs(const struct slab *slab, const uint64_t busy[2], bool huge)
{
    for (unsigned first = 0; first < slab->slots; first++) {
        if (!slots_has(busy, first))
            continue;
        unsigned end = first + 1;
        while (end < slab->slots && slots_has(busy, end))
            end++;
        unsigned char *to = end == slab->slots ? slab->base + slab->bytes : slab->base + end * slab->stride;
        region_purge(slab->base + first * slab->stride, to, huge);
        first = end;
    }
}

/* Purges a slab that has dirty slots. Lets the lock go meanwhile. */
static void purge_slab(struct slabs *slabs, struct slab *slab)
{
    uint64_t busy[2] = {slab->avail[0], slab->avail[1]};
    slabs->dirty_bytes -= slots_count(slab->dirty) * slab->stride;
    slab->cls->empty -= is_empty(slab);
    for (int i = 0; i < 2; i++)
        slab->avail[i] = slab->dirty[i] = 0;
    list_update(slab);

    pthread_mutex_unlock(&slabs->lock);
    purge_runs(slab, busy, slabs->huge);
    pthread_mutex_lock(&slabs->lock);

    for (int i = 0; i < 2; i++)
        slab->avail[i] |= busy[i];
    slab->cls->empty += is_empty(slab);
    list_update(slab);
}

/* Purges the slab of that class, or else of any, that has had dirty slots for longest. Lets the lock go meanwhile. */
static void purge_oldest(struct slabs *slabs, struct slab_class *preferred)
{
    struct slab *victim = preferred->dirty.last;
    for (unsigned i = 0; victim == NULL && i < SLAB_CLASSES; i++)
        victim = slabs->classes[i].dirty.last;
    if (victim == NULL)
        return;
    struct slab_class *cls = victim->cls;
    purge_slab(slabs, victim);
    unmap_empty(slabs, cls, 1);
}

void slab_purge_all(struct slabs *slabs)
{
    for (unsigned i = 0; i < SLAB_CLASSES; i++) {
        struct slab_class *cls = &slabs->classes[i];
        unmap_empty(slabs, cls, 0);
        /* at most once per slab: others may go on freeing */
        for (unsigned n = cls->slabs; n > 0 && cls->dirty.last != NULL; n--)
            purge_slab(slabs, cls->dirty.last);
        unmap_empty(slabs, cls, 0);
    }
}

/* ---- slots ---- */

unsigned char *slab_take(struct slabs *slabs, struct slab_class *cls, size_t stride, struct slab **from)
{
    struct slab *slab = cls->dirty.first;
    if (slab == NULL)
        slab = cls->clean.first;
    if (slab == NULL)
        slab = slab_make(slabs, cls, stride);
    if (slab == NULL)
        return NULL;

    cls->empty -= is_empty(slab);
    bool dirty = slots_any(slab->dirty);
    unsigned slot = slots_first(dirty ? slab->dirty : slab->avail);
    slots_remove(slab->avail, slot);
    if (dirty) {
        slots_remove(slab->dirty, slot);
        slabs->dirty_bytes -= stride;
    }
    list_update(slab);
    *from = slab;
    return slab->base + slot * stride;
}

void slab_give(struct slabs *slabs, struct slab *slab, const unsigned char *slot, bool defer)
{
    struct slab_class *cls = slab->cls;
    unsigned number = slot_number(slab, slot);
    slots_add(slab->avail, number);
    slots_add(slab->dirty, number);
    slabs->dirty_bytes += slab->stride;
    cls->empty += is_empty(slab);
    list_update(slab);
    if (defer)
        return;
    if (cls->empty > 1)
        unmap_empty(slabs, cls, 1);
    else if (slabs->dirty_bytes > DIRTY_MAX)
        purge_oldest(slabs, cls);
}

/* ---- fork and the end ---- */

void slab_repair_begin(struct slabs *slabs)
{
    for (struct slab *slab = slabs->all; slab != NULL; slab = slab->all_next)
        for (unsigned slot = 0; slot < slab->slots; slot++)
            if (!slots_has(slab->avail, slot)) {
                slots_add(slab->avail, slot);
                slots_add(slab->dirty, slot);
            }
}

void slab_repair_claim(struct slab *slab, const unsigned char *slot)
{
    slots_remove(slab->avail, slot_number(slab, slot));
    slots_remove(slab->dirty, slot_number(slab, slot));
}

void slab_repair_end(struct slabs *slabs)
{
    slabs->dirty_bytes = 0;
    for (unsigned i = 0; i < SLAB_CLASSES; i++)
        slabs->classes[i].empty = 0;
    for (struct slab *slab = slabs->all; slab != NULL; slab = slab->all_next) {
        slabs->dirty_bytes += slots_count(slab->dirty) * slab->stride;
        slab->cls->empty += is_empty(slab);
        list_update(slab);
    }
}

void slab_destroy_all(struct slabs *slabs)
{
    for (struct slab *slab = slabs->all; slab != NULL;) {
        struct slab *next = slab->all_next;
        slab_unmap(slab);
        slab = next;
    }
    slabs->all = NULL;
}
