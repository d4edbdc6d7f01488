/* SPDX-License-Identifier: MIT
 *
 * crew.h - threads that make one call at a time, so that the outcome depends on the input alone
 *
 * Thread 0 is the calling thread. The others begin with their first call, and may end and begin anew.
 */
#ifndef FUZZ_CREW_H
#define FUZZ_CREW_H

#include <stdbool.h>

enum { CREW = 3 };

typedef void (*crew_fn)(void *arg);

/* Runs fn(arg) in the thread and waits for its end. */
void crew_run(unsigned thread, crew_fn fn, void *arg);

/* Ends the thread, which then has no cache any more; false: it was not there, or is the calling one. */
bool crew_end(unsigned thread);

#endif /* FUZZ_CREW_H */
