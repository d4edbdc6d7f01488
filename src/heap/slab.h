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

#define SLAB_BYTES     ((size_t)4 << 20)
#define SLAB_SLOTS_MAX 128u

struct slab_class;
struct span;

struct slab {
    /* read-only */
    struct span *span;
    unsigned char *base;
    /* read-only while a slot is taken */
    struct slab_class *cls; /* NULL: unused */
    size_t stride;
    uint32_t inverse; /* 2^32 / stride, rounded up: divides by it */
    unsigned slots;
    /* under the lock */
    unsigned free;          /* how many slots are in `avail` */
    unsigned lane;          /* whose takes it serves while it is clean */
    bool purging;           /* a purge has slots of it, and no other shall */
    struct slab_list *list; /* the list it is on, or NULL */
    struct slab *prev, *next;
    uint64_t avail[SLAB_SLOTS_MAX / 64]; /* free slots */
    uint64_t dirty[SLAB_SLOTS_MAX / 64]; /* those of them that may have memory behind them */
    uint64_t lost[SLAB_SLOTS_MAX / 64];  /* during a repair: slots that were taken and that nobody has claimed */
    uint64_t brief[SLAB_SLOTS_MAX / 64]; /* taken slots that are soon given back, and then soon taken again */
};

/* A ring: the one before the first is the last. A pool has so many lists that a second pointer in each would be a third
 * of what it takes at rest. */
struct slab_list {
    struct slab *first; /* NULL: none */
};

/* Slabs that were mapped, and are unmapped, together. */
#define SPAN_SLABS_MAX 16u

struct span {
    struct span *prev, *next;
    unsigned char *base;
    unsigned slabs;
    unsigned used; /* slabs that belong to a class */
    struct slab slab[SPAN_SLABS_MAX];
};

/* Threads on different CPUs take clean slots from different slabs. Neighbours would wait for each other in the kernel,
 * for the lock of the page table that their page faults fill, and clear the same huge page twice. */
#define SLAB_LANES 8u

struct slab_class {
    struct slab_list dirty;             /* slabs with dirty slots; the last is the first to be purged */
    size_t dirty_bytes;                 /* the sum of stride over dirty slots */
    struct slab_list clean[SLAB_LANES]; /* slabs with free slots, none of them dirty */
};

/* Powers of two from 64 bytes to 256 KiB (with huge pages 1 MiB) for grown buffers, and one class for
 * buffer_capacity. */
#define SLAB_MIN_SHIFT 6u
#define SLAB_MAX_SHIFT 20u
#define SLAB_BASE      (SLAB_MAX_SHIFT - SLAB_MIN_SHIFT + 1u)
#define SLAB_CLASSES   (SLAB_BASE + 1u)

struct slabs {
    unsigned colour; /* read-only: a number that differs between pools; their first slots lie in different cache sets */
    pthread_mutex_t lock;
    bool huge; /* read-only: ask for huge pages */
    struct span *spans;
    unsigned slabs_mapped;
    struct slab_list unused; /* slabs without a class, all of them clean */
    size_t dirty_bytes;      /* of all classes */
    size_t brief_bytes;      /* the sum of stride over brief slots, and the bytes of bypass buffers' mappings */
    size_t aside_bytes;      /* what the heap's stash may hold of these slots */
    struct retained retained;
    struct slab_class classes[SLAB_CLASSES];
};

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
