/* SPDX-License-Identifier: MIT
 *
 * slab.h - slabs: memory for blocks of one size, side by side
 *
 * The first block of a buffer lies in a slab if at least three such blocks fit into 4 MiB, a grown block if it has at
 * most 256 KiB (with huge pages 1 MiB).
 *
 * The caller holds the heap's lock, except for slab_has. A span may be mapped with the lock held. For all other system
 * calls functions let the lock go, and say so.
 */
#ifndef BUFFERPOOL_SLAB_H
#define BUFFERPOOL_SLAB_H

#include "types.h"

/* Whether slots of that stride are worth a slab. */
static inline bool slab_fits(size_t stride)
{
    return stride <= SLAB_BYTES_MAX / 3;
}

struct slab_request {
    struct slab_class *cls;
    size_t stride; /* of all slots of the class */
};

/* Returns the address of a slot, and its slab in *from; NULL if there is no memory. */
unsigned char *slab_take(struct slabs *slabs, const struct slab_request *request, struct slab **from);

/* Frees the slot that starts at that address. Its memory stays: purge_excess is to be called, now or later. */
void slab_give(struct slabs *slabs, struct slab *slab, const unsigned char *slot);

/* After so many bytes a step of a purge ends. */
#define SLAB_PURGE_BYTES ((size_t)4 << 20)

/* One step of a purge: takes dirty slots until at most `keep` bytes of them are left or the step is full, and gives
 * their memory back. Returns how many bytes were dirty; 0 if there is nothing to purge, or if other threads purge all
 * of it already. Adds to *refused how many bytes stay resident because the system refuses to take them: their slots
 * are clean nevertheless, or the next purge would ask in vain. Lets the lock go. */
size_t slab_purge(struct slabs *slabs, size_t keep, size_t *refused);

/* The slot in which the byte at that offset lies. Exact for the first byte of a slot; the offset is less than the
 * slab's size. */
static inline unsigned slab_slot_at(const struct slab *slab, size_t offset)
{
    return (unsigned)((uint64_t)offset * slab->inverse >> 32);
}

/* Whether a slot of the slab starts at that address. A slot of the slab must be taken. Any thread, without the lock. */
static inline bool slab_has(const struct slab *slab, const unsigned char *slot)
{
    size_t offset = (size_t)((uintptr_t)slot - (uintptr_t)slab->base);
    if (offset >= SLAB_BYTES_MAX)
        return false;
    unsigned number = slab_slot_at(slab, offset);
    return number < slab->slots && number * slab->stride == offset;
}

/* After fork, in three steps: every slot becomes free, except for the slots that are claimed, and the lists follow. A
 * claim of what is no slot changes nothing. With `wiped`, slots that were taken and that nobody claims are zeroed. */
void slab_repair_begin(struct slabs *slabs);
void slab_repair_claim(struct slab *slab, const unsigned char *slot);
void slab_repair_end(struct slabs *slabs, bool wiped);

/* Unmaps every slab, used or not. Nobody else uses the heap any more. */
void slab_destroy_all(struct slabs *slabs);

#endif
