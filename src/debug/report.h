/* SPDX-License-Identifier: MIT
 *
 * report.h - reports of misuse
 */
#ifndef BUFFERPOOL_REPORT_H
#define BUFFERPOOL_REPORT_H

#include "bufferpool.h"

#define REPORT_NAME_MAX 64

/* The pool's name, as much of it as is shown, and all in one line. */
void report_pool_name(const bufferpool_t *pool, char name[REPORT_NAME_MAX + 1]);

/* Writes to stderr, whatever becomes of it. */
void report_line(const char *text, size_t length);

/* Writes one line to stderr that names the public function, the address, the pool (NULL: unknown) and what is wrong,
 * with what the debug modes recorded of the buffer if that is the address; and aborts. The caller may hold any lock. */
_Noreturn void report_misuse(const char *function, const void *address, const bufferpool_t *pool, const char *what);

/* The same for a handle whose word leads to no pool: tells an overwritten handle from a foreign pointer by its
 * address. */
_Noreturn void report_foreign(const char *function, const void *address);

#endif
