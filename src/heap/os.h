/* SPDX-License-Identifier: MIT
 *
 * os.h - memory straight from the system
 */
#ifndef BUFFERPOOL_OS_H
#define BUFFERPOOL_OS_H

#include "types.h"

#define OS_HUGE_PAGE ((size_t)2 << 20)

size_t os_page_size(void);

/* The bytes that os_map maps for n: whole pages, or with `huge` whole huge pages. */
size_t os_mapped(size_t n, bool huge);

/* Maps os_mapped(n, huge) bytes of zeroed memory. Returns NULL if there is no memory. With `huge` they are aligned to a
 * huge page, and the kernel is asked for huge pages; without, it is asked for small ones, also where
 * transparent_hugepage is `always`. */
void *os_map(size_t n, bool huge);

/* Asks for huge pages where whole ones fit into a mapping that was made without. Keeps errno. */
void os_ask_for_huge(void *region, size_t bytes);

/* Whether the byte at that address can be read. Returns true also if the system does not tell. Keeps errno. */
bool os_can_read(uintptr_t address);

/* Unmaps a mapping, or a part of one. If the system refuses, gives the memory back, and lets os_map use the addresses
 * again. */
void os_unmap(void *region, size_t bytes);

/* Grows a mapping, and returns where it is now, since it may move. Returns NULL if there is no memory; then nothing
 * changed. Both sizes are whole pages. */
void *os_grow(void *region, size_t bytes, size_t new_bytes);

/* For a new mapping that is to be used bit by bit. After mlockall(MCL_FUTURE) the system made all of it resident. Gives
 * that memory back, so that a page becomes resident, and locked, when it is touched. */
void os_lock_on_fault(void *region, size_t bytes);

/* Returns how many bytes from the beginning of a range are alike: all resident, or none. *resident says which. The
 * range is whole pages of a mapping. If the system does not tell, all bytes count as resident. */
size_t os_resident_run(void *region, size_t bytes, bool *resident);

/* Drops the memory of whole pages, which are zero from then on, in swap too. Returns false if the system refuses. */
bool os_discard(void *region, size_t bytes);

/* The same, but also returns false if some of the pages are locked. */
bool os_discard_unlocked(void *region, size_t bytes);

#define OS_RANGES_MAX 128u

/* Gives back the memory of the whole pages (with `huge`: whole huge pages) in each of n ranges, at most OS_RANGES_MAX.
 * The addresses stay usable. A range becomes empty (to = from) unless the system refused to take its memory. */
void os_purge(struct os_range *ranges, unsigned n, bool huge);

#endif
