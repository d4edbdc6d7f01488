/* SPDX-License-Identifier: MIT
 *
 * region.h - memory straight from the system
 */
#ifndef BUFFERPOOL_REGION_H
#define BUFFERPOOL_REGION_H

#include <stdbool.h>
#include <stddef.h>

size_t region_page_size(void);

/* What region_map maps for n bytes: whole pages, or with `huge` whole huge pages. */
size_t region_mapped(size_t n, bool huge);

/* region_mapped(n, huge) bytes of zeroed memory, page-aligned; NULL: no memory. With `huge` aligned to a huge page,
 * and the kernel is asked to back it with huge pages. */
void *region_map(size_t n, bool huge);

void region_unmap(void *region, size_t bytes);

/* Grows a region, which may move; NULL: no memory, and nothing changed. Both sizes are whole pages. */
void *region_grow(void *region, size_t bytes, size_t new_bytes);

struct region_range {
    unsigned char *from, *to;
};

#define REGION_RANGES_MAX 128u

/* Gives the memory of the whole pages (with `huge`: huge pages) in each of up to that many ranges back; the addresses
 * stay usable. */
void region_purge(const struct region_range *ranges, unsigned n, bool huge);

#endif
