/* SPDX-License-Identifier: MIT
 *
 * desc.c - the table of descriptors
 *
 * Descriptors are taken and given back under the heap's lock (heap.h). To look one up by index takes no lock: chunks
 * are only ever added, and an index travels behind a release (depot_push) or the lock. So chunks are read and written
 * relaxed, and so is `used` by a thread that holds the lock.
 */
#include "heap/desc.h"

#include "heap/os.h"

/* How far behind the start of its mapping a chunk begins. Modulo a page, neighbouring blocks lie a cache line apart, as
 * descriptors do. With a distance of 0, the address of a buffer and that of the next buffer's descriptor could thus
 * agree in their lowest twelve bits. Processors compare these bits before they let a load pass a store, so a load from
 * the descriptor would wait for a store to the buffer. And the first descriptors of many pools would compete for the
 * few lines that a processor's cache has for one such address. So the distance is about half a page, and differs
 * between 32 pools. */
static size_t distance(const struct desc_table *table)
{
    return (size_t)((16 + table->colour % 32) * CACHE_LINE);
}

/* The mapping of a chunk. */
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
    /* acquire: with the release in desc_take; the chunk of every index up to `used` is there */
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

void desc_table_clear(struct desc_table *table)
{
    for (unsigned i = 0; i < DESC_CHUNKS; i++) {
        struct desc *base = load_relaxed(&table->chunks[i]);
        const size_t bytes = os_mapped(distance(table) + chunk_bytes(i), false);
        if (base != NULL && !os_discard(mapping_of(base), bytes)) { /* then the addresses go as well */
            os_unmap(mapping_of(base), bytes);
            store_relaxed(&table->chunks[i], NULL);
        }
    }
    store_relaxed(&table->used, 0);
}

void desc_table_destroy(struct desc_table *table)
{
    for (unsigned i = 0; i < DESC_CHUNKS; i++) {
        struct desc *base = load_relaxed(&table->chunks[i]);
        if (base != NULL)
            os_unmap(mapping_of(base), os_mapped(distance(table) + chunk_bytes(i), false));
    }
}
