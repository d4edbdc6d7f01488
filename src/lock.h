/* SPDX-License-Identifier: MIT
 *
 * lock.h - whether the calling thread has a lock that fork needs
 *
 * Held across fork are the registry's lock and the lock of every heap. A signal handler may fork where the signal
 * interrupted its own thread with one of them. Then fork must not wait for that lock (fork.c).
 */
#ifndef BUFFERPOOL_LOCK_H
#define BUFFERPOOL_LOCK_H

#include "types.h"

/* How many of these locks the thread has or waits for. Only the thread itself and its signal handlers use it, and a
 * handler leaves the number as it found it. */
extern _Thread_local volatile unsigned locks_held TLS_MODEL;

/* Before such a lock is taken, and after it was given back. */
static inline void lock_begin(void)
{
    locks_held = locks_held + 1;
}

static inline void lock_end(void)
{
    locks_held = locks_held - 1;
}

/* lock_take takes a lock that is mostly held for some tens of nanoseconds, and returns whether it was free at once.
 * lock_give gives it back. */
bool lock_take(pthread_mutex_t *lock);
void lock_give(pthread_mutex_t *lock);

#endif
