/* SPDX-License-Identifier: MIT
 *
 * spare.c - mappings of pools that have ended, for the next pool
 *
 * A program may make a pool for each request. Then the mappings of each pool are made and unmapped, which takes longer
 * than all else. So the process keeps one span and one table of descriptors of pools that have ended. It keeps
 * addresses only: their memory went back to the system, so they take none, and read as zero. No byte of one pool is
 * seen in the next.
 *
 * What is kept is one word for each kind: the address, and in the bits of an offset in a page the number of pages. The
 * thread that takes the word out has the mapping. So there is no lock, and the child of fork has nothing to repair: a
 * mapping that another thread of the parent had in its hands is lost there, which is address space.
 *
 * A program can have told the system something of the addresses. A mapping with locked pages is not kept (docs/faq.md
 * says what holds for mlock). Memory that was mapped before mlockall(MCL_FUTURE) is not locked by that call, nor is
 * this.
 */
#include "heap/spare.h"

#include "debug/sanitizer.h"
#include "heap/os.h"

/* No address: nothing is kept any more. */
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

/* Another thread that keeps or takes a mapping at the same moment goes first. Then this one is unmapped. */
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
