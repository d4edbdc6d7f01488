/* SPDX-License-Identifier: MIT
 *
 * os.h - memory straight from the system
 */
#ifndef BUFFERPOOL_OS_H
#define BUFFERPOOL_OS_H

#include "types.h"

size_t os_page_size(void);

/* What os_map maps for n bytes: whole pages, or with `huge` whole huge pages. */
size_t os_mapped(size_t n, bool huge);

/* os_mapped(n, huge) bytes of zeroed memory, page-aligned; NULL: no memory. With `huge` aligned to a huge page,
 * and the kernel is asked to back it with huge pages. */
void *os_map(size_t n, bool huge);

void os_unmap(void *region, size_t bytes);

/* Grows a region, which may move; NULL: no memory, and nothing changed. Both sizes are whole pages. */
void *os_grow(void *region, size_t bytes, size_t new_bytes);

#define OS_RANGES_MAX 128u

/* Gives the memory of the whole pages (with `huge`: huge pages) in each of up to that many ranges back; the addresses
 * stay usable. */
void os_purge(const struct os_range *ranges, unsigned n, bool huge);

#endif
