/* SPDX-License-Identifier: MIT
 *
 * spare.h - mappings of pools that have ended, for the next pool
 *
 * Any thread may call these functions at any time. None of them waits for another thread.
 */
#ifndef BUFFERPOOL_SPARE_H
#define BUFFERPOOL_SPARE_H

#include "types.h"

/* What a mapping was for. The process keeps one of each kind. */
enum spare { SPARE_SPAN, SPARE_TABLE, SPARES };

/* A larger mapping is not kept. */
#define SPARE_BYTES_MAX ((size_t)1 << 20)

/* Returns a kept mapping of so many bytes, which are whole pages, or NULL if none of this size is kept. The mapping has
 * small pages and reads as zero. After mlockall it may be resident. */
void *spare_take(enum spare which, size_t bytes);

/* Gives back the memory of a mapping that os_map made without `huge`, and keeps its addresses for spare_take. Unmaps
 * the mapping that was kept before. If this mapping is large or locked, or if a debug mode or a sanitizer is to see
 * accesses to it, it is unmapped instead. */
void spare_keep(enum spare which, void *region, size_t bytes);

/* Unmaps what is kept. From now on nothing is kept. */
void spare_end(void);

#endif
