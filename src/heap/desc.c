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
#include "heap/spare.h"

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

#define PAGE ((size_t)4096)

static size_t chunk_bytes(unsigned chunk)
{
    return ((size_t)DESC_FIRST_CHUNK << chunk) * sizeof(struct desc);
}

/* In front of its descriptors a chunk has a bit for each, which is set while the descriptor is taken. So the child of
 * fork finds the descriptors that are in use without a look at the others. Then comes room for the indexes of as many
 * free descriptors: a stack, which goes on from chunk to chunk. A list that is linked through the descriptors would not
 * need this room, but then each descriptor would be read under the heap's lock, mostly from another processor's cache.
 * The bits begin with the mapping. In the first chunks, bits and indexes fit into the distance. */
static size_t lead(const struct desc_table *table, unsigned chunk)
{
    const size_t n = (size_t)DESC_FIRST_CHUNK << chunk, front = n / 8 + n * sizeof(uint32_t), gap = distance(table);
    return front <= gap ? gap : gap + (front - gap + PAGE - 1) / PAGE * PAGE;
}

static size_t mapped_bytes(const struct desc_table *table, unsigned chunk)
{
    return os_mapped(lead(table, chunk) + chunk_bytes(chunk), false);
}

static void *mapping_of(const struct desc_table *table, unsigned chunk)
{
    return (unsigned char *)load_relaxed(&table->chunks[chunk]) - lead(table, chunk);
}

/* The word that has the descriptor's bit, whose number in it is *bit. */
static uint64_t *taken_word(const struct desc_table *table, uint32_t index, unsigned *bit)
{
    const unsigned chunk = desc_chunk_number(index);
    const uint32_t at = index - 1 + DESC_FIRST_CHUNK - (DESC_FIRST_CHUNK << chunk);
    *bit = at % 64;
    return table->taken[chunk] + at / 64;
}

uint32_t desc_taken_below(const struct desc_table *table, uint32_t index)
{
    while (index > 1) {
        unsigned bit;
        const uint64_t *word = taken_word(table, --index, &bit);
        const uint64_t bits = *word << (63 - bit);
        if (bits != 0)
            return index - (uint32_t)__builtin_clzll(bits);
        index -= bit;
    }
    return 0;
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

/* The place of the stack, from 1. */
static uint32_t *free_index(const struct desc_table *table, uint32_t place)
{
    const unsigned chunk = desc_chunk_number(place);
    const uint32_t size = DESC_FIRST_CHUNK << chunk;
    return (uint32_t *)(void *)(table->taken[chunk] + size / 64) + (place - 1 + DESC_FIRST_CHUNK - size);
}

static void note_taken(const struct desc_table *table, uint32_t index)
{
    unsigned bit;
    uint64_t *word = taken_word(table, index, &bit);
    *word |= (uint64_t)1 << bit;
}

static void note_given(const struct desc_table *table, const struct desc *d)
{
    unsigned bit;
    uint64_t *word = taken_word(table, d->index, &bit);
    *word &= ~((uint64_t)1 << bit);
}

/* Returns NULL if there is no memory. */
static unsigned char *map_chunk(unsigned chunk, size_t bytes)
{
    unsigned char *memory = chunk == 0 ? spare_take(SPARE_TABLE, bytes) : NULL;
    if (memory == NULL)
        memory = os_map(bytes, false);
    if (memory == NULL || chunk == 0) /* two pages, and soon both are in use */
        return memory;
    os_lock_on_fault(memory, bytes);
    /* A program that uses any of many buffers touches descriptors in any order. With small pages each one misses
     * the processor's table of pages. */
    if (bytes >= OS_HUGE_PAGE)
        os_ask_for_huge(memory, bytes);
    return memory;
}

struct desc *desc_take(struct desc_table *table)
{
    if (table->free > 0) {
        const uint32_t again = *free_index(table, table->free--);
        note_taken(table, again);
        return desc_at(table, again);
    }

    uint32_t index = load_relaxed(&table->used) + 1;
    if (index > DESC_MAX)
        return NULL;
    unsigned chunk = desc_chunk_number(index);
    if (load_relaxed(&table->chunks[chunk]) == NULL) {
        const size_t bytes = mapped_bytes(table, chunk);
        unsigned char *memory = map_chunk(chunk, bytes);
        if (memory == NULL)
            return NULL;
        table->taken[chunk] = (uint64_t *)(void *)memory;
        store_relaxed(&table->chunks[chunk], (struct desc *)(void *)(memory + lead(table, chunk)));
    }
    struct desc *d = desc_at(table, index);
    d->index = index;
    note_taken(table, index);
    /* release: with desc_table_has and the walks over all descriptors */
    store_release(&table->used, index);
    return d;
}

void desc_give(struct desc_table *table, struct desc *d)
{
    *free_index(table, ++table->free) = d->index;
    note_given(table, d);
}

void desc_table_clear(struct desc_table *table)
{
    for (unsigned i = 0; i < DESC_CHUNKS; i++) {
        const size_t bytes = mapped_bytes(table, i);
        if (load_relaxed(&table->chunks[i]) != NULL && !os_discard(mapping_of(table, i), bytes)) {
            os_unmap(mapping_of(table, i), bytes); /* then the addresses go as well */
            store_relaxed(&table->chunks[i], NULL);
        }
    }
    store_relaxed(&table->used, 0);
}

void desc_table_destroy(struct desc_table *table)
{
    if (load_relaxed(&table->chunks[0]) != NULL)
        spare_keep(SPARE_TABLE, mapping_of(table, 0), mapped_bytes(table, 0));
    for (unsigned i = 1; i < DESC_CHUNKS; i++) {
        if (load_relaxed(&table->chunks[i]) != NULL)
            os_unmap(mapping_of(table, i), mapped_bytes(table, i));
    }
}
