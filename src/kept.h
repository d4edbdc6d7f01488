/* SPDX-License-Identifier: MIT
 *
 * kept.h - freed mappings whose memory stays for the next block of that size
 *
 * Called with the heap's lock held. What may be kept the caller says (slab.c): it is dirty memory like that of free
 * slots.
 */
#ifndef BUFFERPOOL_KEPT_H
#define BUFFERPOOL_KEPT_H

#include "region.h"

#define KEPT_MAX   256u
#define KEPT_BATCH 16u

struct kept {
    size_t bytes; /* of all */
    unsigned n;
    unsigned oldest;           /* where in the ring it is; the others follow by age */
    struct region_range *ring; /* of KEPT_MAX; NULL until there is one to keep: most pools never have any */
};

/* False: there are too many, or there is no memory for the ring. */
bool kept_add(struct kept *kept, unsigned char *mapping, size_t bytes);

/* One of exactly that size, which is the caller's now; NULL: there is none among the KEPT_BATCH newest. */
unsigned char *kept_take(struct kept *kept, size_t bytes);

/* Takes the oldest ones until that is `bytes` or more, or as many as that are. Returns how many went to `taken`, for
 * the caller to unmap. */
unsigned kept_take_oldest(struct kept *kept, size_t bytes, struct region_range taken[KEPT_BATCH]);

/* The ring, for the caller to free, unless something is in it; the next that is kept makes another. NULL: there is
 * none. */
struct region_range *kept_take_ring(struct kept *kept);

#endif
