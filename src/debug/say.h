/* SPDX-License-Identifier: MIT
 *
 * say.h - text on stderr
 */
#ifndef BUFFERPOOL_SAY_H
#define BUFFERPOOL_SAY_H

#include "atomic.h"

#include <stdbool.h>
#include <stddef.h>

/* Writes the text to stderr. Drops text that cannot be written. The call causes no signal and no cancellation, and
 * preserves errno. No lock may be held, except by a report that aborts afterwards: the reader of stderr may be a thread
 * of this process that waits for that lock. */
void say(const char *text, size_t length);

/* ---- what is wrong with a variable of the environment ----
 *
 * The lines are noted under the registry's lock, and written when no lock is held, since stderr may be a pipe that is
 * full. */

struct notes {
    const char *variable; /* its name */
    size_t length;
    bool cut; /* there was no room for more */
    _Atomic(bool) untold;
    char text[1024];
};

/* Notes a line that says `what`, and after it `more`, about the n bytes at `word`. */
void notes_add(struct notes *notes, const char *word, size_t n, const char *what, const char *more);

/* The last line was noted. */
void notes_end(struct notes *notes);

/* Writes the lines that were noted, once. */
void notes_tell(struct notes *notes);

#endif
