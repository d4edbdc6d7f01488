/* SPDX-License-Identifier: MIT
 *
 * desc.c - the table of descriptors
 *
 * Handing out and taking back happens under the heap's lock (slab.h). Looking up by number takes no lock: chunks are
 * only ever added, and numbers travel behind a release (depot push) or the lock. So chunks are read and written
 * relaxed, and `used` by whoever holds the lock.
 */
#include "heap/desc.h"

#include "heap/os.h"

/* A chunk does not start with its page. Blocks lie in steps of a cache line modulo a page, as descriptors do; so what
 * is written to one buffer would have the lowest twelve bits of the address of the next one's descriptor, which is as
 * far as processors compare before they let a load pass a store. And the first descriptors of many pools would share
 * the few places that a cache has for one such address. So the distance is about half a page, and another for each of
 * 32 pools. */
static size_t distance(const struct desc_table *table)
{
    return (size_t)((16 + table->colour % 32) * CACHE_LINE);
}

/* What was mapped for that. */
static void *mapping_of(const struct desc *base)
{
    return (void *)((uintptr_t)base & ~(uintptr_t)4095);
}

static size_t chunk_bytes(unsigned chunk)
{
    return ((size_t)DESC_FIRST_CHUNK << chunk) * sizeof(struct desc);
}

bool desc_table_has(const struct desc_table *table, const struct desc *d)
{
    uint32_t index = d->index;
    /* acquire: with the release in desc_take; the chunk of every number up to `used` is there */
    return index != 0 && index <= load_acquire(&table->used) && desc_at(table, index) == d;
}

bool desc_table_covers(const struct desc_table *table, const void *address)
{
    for (unsigned i = 0; i < DESC_CHUNKS; i++) {
        uintptr_t base = (uintptr_t)load_relaxed(&table->chunks[i]);
        if (base != 0 && (uintptr_t)address >= base && (uintptr_t)address - base < chunk_bytes(i))
            return true;
    }
    return false;
}

struct desc *desc_take(struct desc_table *table)
{
    struct desc *d = table->free_list;
    if (d != NULL) {
        table->free_list = d->chain;
        d->chain = NULL;
        return d;
    }

    uint32_t index = load_relaxed(&table->used) + 1;
    if (index > DESC_MAX)
        return NULL;
    unsigned chunk = desc_chunk_number(index);
    if (load_relaxed(&table->chunks[chunk]) == NULL) {
        void *memory = os_map(distance(table) + chunk_bytes(chunk), false);
        if (memory == NULL)
            return NULL;
        os_lock_on_fault(memory, os_mapped(distance(table) + chunk_bytes(chunk), false));
        store_relaxed(&table->chunks[chunk], (struct desc *)((uintptr_t)memory + distance(table)));
    }
    d = desc_at(table, index);
    d->index = index;
    /* release: with desc_table_has and the walks over all descriptors */
    store_release(&table->used, index);
    return d;
}

void desc_give(struct desc_table *table, struct desc *d)
{
    d->chain = table->free_list;
    table->free_list = d;
}

void desc_table_destroy(struct desc_table *table)
{
    for (unsigned i = 0; i < DESC_CHUNKS; i++) {
        struct desc *base = load_relaxed(&table->chunks[i]);
        if (base != NULL)
            os_unmap(mapping_of(base), os_mapped(distance(table) + chunk_bytes(i), false));
    }
}
