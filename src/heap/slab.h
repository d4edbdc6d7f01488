/* SPDX-License-Identifier: MIT
 *
 * slab.h - slabs: where first blocks of up to a megabyte and grown ones of up to 256 KiB lie, and how their memory
 * returns to the system
 *
 * All functions but slab_has are called with the lock held. Under it a span may be mapped; for other system calls
 * functions let it go, and say so.
 */
#ifndef BUFFERPOOL_SLAB_H
#define BUFFERPOOL_SLAB_H

#include "heap/retained.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether slots of that stride are worth a slab. */
static inline bool slab_fits(size_t stride)
{
    return stride <= SLAB_BYTES / 3;
}

struct slab_request {
    struct slab_class *cls;
    size_t stride; /* of all slots of the class */
    unsigned lane; /* below SLAB_LANES */
    bool brief;
};

/* A slot: its address and its slab; NULL: no memory. */
unsigned char *slab_take(struct slabs *slabs, const struct slab_request *request, struct slab **from);

/* Frees the slot that starts at that address. With `defer` memory stays resident until slab_purge_all; without, the
 * lock may be let go and taken again. */
void slab_give(struct slabs *slabs, struct slab *slab, const unsigned char *slot, bool defer);

/* In which slot the byte at that offset lies; exact for the first byte of one, and offsets in the slab. */
static inline unsigned slab_slot_at(const struct slab *slab, size_t offset)
{
    return (unsigned)((uint64_t)offset * slab->inverse >> 32);
}

/* Whether a slot of the slab, which has one that is taken, starts there: any thread, without the lock. */
static inline bool slab_has(const struct slab *slab, const unsigned char *slot)
{
    size_t offset = (size_t)((uintptr_t)slot - (uintptr_t)slab->base);
    if (offset >= SLAB_BYTES)
        return false;
    unsigned number = slab_slot_at(slab, offset);
    return number < slab->slots && number * slab->stride == offset;
}

/* Keeps the mapping for the next block of its size, if its memory stays within what may be dirty; else it is the
 * caller's still. */
bool slab_retain_mapping(struct slabs *slabs, unsigned char *mapping, size_t bytes);

/* Gives memory back if too much is dirty: to be called when brief_bytes fell. May let the lock go and take it again. */
void slab_purge_excess(struct slabs *slabs);

/* Gives the memory of all free slots and kept mappings back. Lets the lock go meanwhile. */
void slab_purge_all(struct slabs *slabs);

/* After fork, in three steps: every slot is free, but those that are claimed, and the lists follow. With `wipe` the
 * bytes of slots that were taken and are not claimed are zeroed. */
void slab_repair_begin(struct slabs *slabs);
void slab_repair_claim(struct slab *slab, const unsigned char *slot);
void slab_repair_end(struct slabs *slabs, bool wipe);

/* Unmaps every slab, used or not. */
void slab_destroy_all(struct slabs *slabs);

#endif
