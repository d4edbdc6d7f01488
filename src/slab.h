/* SPDX-License-Identifier: MIT
 *
 * slab.h - slabs: where blocks of up to a megabyte lie, and how their memory returns to the system
 *
 * All functions are called with the lock held; those that may let it go meanwhile say so.
 */
#ifndef BUFFERPOOL_SLAB_H
#define BUFFERPOOL_SLAB_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLAB_BYTES     ((size_t)4 << 20) /* of a slab, at most */
#define SLAB_SLOTS_MAX 128u

struct slab_class;

struct slab {
    /* read-only */
    struct slab_class *cls;
    unsigned char *base;
    size_t bytes; /* mapped */
    size_t stride;
    unsigned slots;
    /* under the lock */
    struct slab_list *list; /* the list it is on, or NULL */
    struct slab *prev, *next;
    struct slab *all_prev, *all_next;
    uint64_t avail[SLAB_SLOTS_MAX / 64]; /* free slots */
    uint64_t dirty[SLAB_SLOTS_MAX / 64]; /* those of them that may have memory behind them */
};

struct slab_list {
    struct slab *first, *last;
};

struct slab_class {
    struct slab_list dirty; /* slabs with dirty slots; the one that has had some for longest is last */
    struct slab_list clean; /* slabs with free slots, none of them dirty */
    unsigned slabs;         /* all slabs of the class, also full ones */
    unsigned empty;         /* slabs with every slot free */
};

/* Powers of two from 64 bytes to 128 KiB for grown buffers, and one class for buffer_capacity. */
#define SLAB_MIN_SHIFT 6u
#define SLAB_MAX_SHIFT 17u
#define SLAB_BASE      (SLAB_MAX_SHIFT - SLAB_MIN_SHIFT + 1u)
#define SLAB_CLASSES   (SLAB_BASE + 1u)

struct slabs {
    pthread_mutex_t lock;
    bool huge;          /* read-only: ask for huge pages */
    struct slab *all;   /* linked by all_next */
    size_t dirty_bytes; /* the sum of stride over dirty slots */
    struct slab_class classes[SLAB_CLASSES];
};

/* Whether slots of that stride are worth a slab. */
static inline bool slab_fits(size_t stride)
{
    return stride <= SLAB_BYTES / 3;
}

/* A slot of the class, all of whose slots have this stride: its address and its slab; NULL: no memory. */
unsigned char *slab_take(struct slabs *slabs, struct slab_class *cls, size_t stride, struct slab **from);

/* Frees the slot that starts at that address. With `defer` memory stays resident until slab_purge_all; without, the
 * lock may be let go and taken again. */
void slab_give(struct slabs *slabs, struct slab *slab, const unsigned char *slot, bool defer);

/* Whether a slot of the slab starts there. */
bool slab_has(const struct slab *slab, const unsigned char *slot);

/* Gives the memory of all free slots back. Lets the lock go meanwhile. */
void slab_purge_all(struct slabs *slabs);

/* After fork, in three steps: every slot is free, but those that are claimed, and the lists follow. */
void slab_repair_begin(struct slabs *slabs);
void slab_repair_claim(struct slab *slab, const unsigned char *slot);
void slab_repair_end(struct slabs *slabs);

/* Unmaps every slab, used or not. */
void slab_destroy_all(struct slabs *slabs);

#endif
