/* SPDX-License-Identifier: MIT
 *
 * spare.c - mappings of pools that have ended, for the next pool
 *
 * A program may make a pool for each request. Then it costs more than everything else to map and unmap the memory of
 * each pool. So the process keeps one span and one table of descriptors of pools that have ended. It keeps only
 * addresses: their memory went back to the system, so the mappings take no memory, and read as zero. No byte of one
 * pool is seen in the next.
 *
 * What is kept is one word for each kind: the address, and the number of pages in the bits of an offset in a page. The
 * thread that takes the word out has the mapping. So there is no lock, and the child of fork has nothing to repair: if
 * another thread of the parent had just taken a mapping, the child loses it, which costs address space only.
 *
 * A program may have locked some of these addresses. A mapping with locked pages is not kept (docs/faq.md says what
 * holds for mlock). mlockall(MCL_FUTURE) does not lock memory that was mapped before the call, and so does not lock a
 * kept mapping either.
 */
#include "heap/spare.h"

#include "debug/sanitizer.h"
#include "heap/os.h"

/* This is no address. It means that nothing is kept any more. */
#define ENDED ((uintptr_t)1)

static _Atomic(uintptr_t) kept[SPARES];

static uintptr_t offset_mask(void)
{
    return os_page_size() - 1;
}

static void unmap(uintptr_t word)
{
    const uintptr_t pages = word & offset_mask();
    if (word > ENDED)
        os_unmap((void *)(word - pages), pages * os_page_size());
}

void *spare_take(enum spare which, size_t bytes)
{
    uintptr_t word = load_relaxed(&kept[which]);
    const uintptr_t pages = word & offset_mask();
    if (word <= ENDED || pages * os_page_size() != bytes)
        return NULL;
    /* acquire: with the release in spare_keep; after what the other thread did with the memory */
    return cas_acquire(&kept[which], &word, 0) ? (void *)(word - pages) : NULL;
}

/* If another thread keeps or takes a mapping at the same moment, that thread wins, and this mapping is unmapped. */
void spare_keep(enum spare which, void *region, size_t bytes)
{
    uintptr_t before = load_relaxed(&kept[which]);
    const bool fits = bytes <= SPARE_BYTES_MAX && before != ENDED && !steps_are_watched();
    /* release with the acquires below and in spare_take; acquire with the release of the thread that kept `before` */
    if (fits && os_discard_unlocked(region, bytes) &&
        cas_seq_cst(&kept[which], &before, (uintptr_t)region + bytes / os_page_size()))
        unmap(before);
    else
        os_unmap(region, bytes);
}

void spare_end(void)
{
    for (unsigned i = 0; i < SPARES; i++)
        unmap(exchange_acquire(&kept[i], ENDED)); /* with the release in spare_keep */
}
