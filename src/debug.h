/* SPDX-License-Identifier: MIT
 *
 * debug.h - reports of misuse
 */
#ifndef BUFFERPOOL_DEBUG_H
#define BUFFERPOOL_DEBUG_H

#include "bufferpool.h"

#define POOL_NAME_SHOWN 64

/* The pool's name, as much of it as is shown, and all in one line. */
void pool_shown_name(const bufferpool_t *pool, char name[POOL_NAME_SHOWN + 1]);

/* Writes to stderr, whatever becomes of it. */
void debug_say(const char *text, size_t length);

/* Writes one line to stderr that names the public function, the address, the pool (NULL: unknown) and what is wrong,
 * with what the debug modes recorded of the buffer if that is the address; and aborts. The caller may hold any lock. */
_Noreturn void misuse(const char *function, const void *address, const bufferpool_t *pool, const char *what);

/* The same for a handle whose word leads to no pool: tells an overwritten handle from a foreign pointer by its
 * address. */
_Noreturn void misuse_unknown(const char *function, const void *address);

#endif
