/* SPDX-License-Identifier: MIT
 *
 * wipe.h - a block is overwritten with zeros, but pages that nobody has written stay without memory
 */
#ifndef BUFFERPOOL_WIPE_H
#define BUFFERPOOL_WIPE_H

#include <stdbool.h>
#include <stddef.h>

/* Afterwards every byte is zero, in memory and in swap, whatever was there. `mapped`: the bytes lie in a private
 * mapping of the library. Any thread that owns the bytes. For AddressSanitizer and memcheck they are nobody's
 * afterwards. */
void wipe(void *memory, size_t n, bool mapped);

#endif
