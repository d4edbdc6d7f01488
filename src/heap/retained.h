/* SPDX-License-Identifier: MIT
 *
 * retained.h - freed mappings whose memory stays for the next block of that size
 *
 * Called with the heap's lock held. What may be kept the caller says (slab.c): it is dirty memory like that of free
 * slots.
 */
#ifndef BUFFERPOOL_RETAINED_H
#define BUFFERPOOL_RETAINED_H

#include "heap/os.h"

/* False: there are too many, or there is no memory for the ring. */
bool retained_add(struct retained *retained, unsigned char *mapping, size_t bytes);

/* One of exactly that size, which is the caller's now; NULL: there is none among the RETAINED_BATCH newest. */
unsigned char *retained_take(struct retained *retained, size_t bytes);

/* Takes the oldest ones until that is `bytes` or more, or as many as that are. Returns how many went to `taken`, for
 * the caller to unmap. */
unsigned retained_take_oldest(struct retained *retained, size_t bytes, struct os_range taken[RETAINED_BATCH]);

/* The ring, for the caller to free, unless something is in it; the next that is kept makes another. NULL: there is
 * none. */
struct os_range *retained_take_ring(struct retained *retained);

#endif
