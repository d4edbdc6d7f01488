/* SPDX-License-Identifier: MIT
 *
 * say.h - text on stderr
 */
#ifndef BUFFERPOOL_SAY_H
#define BUFFERPOOL_SAY_H

#include <stddef.h>

/* Writes the text to stderr. Drops text that cannot be written. Neither a signal nor a cancellation nor a change of
 * errno comes of it. No lock may be held, except by a report that aborts afterwards: the reader of stderr may be a
 * thread of this process that waits for that lock. */
void say(const char *text, size_t length);

#endif
