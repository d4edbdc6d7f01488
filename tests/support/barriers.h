/* SPDX-License-Identifier: MIT
 *
 * barriers.h - counts the barriers that a thread asks the system for when it steals, and refuses them on demand
 *
 * For tests with WRAP syscall. A barrier is the moment within a steal when the gates are closed and no owner has been
 * looked at yet.
 */
#ifndef TEST_BARRIERS_H
#define TEST_BARRIERS_H

#include "support.h"

#include <sys/syscall.h>

enum { EXPEDITED = 1 << 3 };

static atomic_size_t barriers;
static void (*at_barrier)(void);
static bool barrier_refused; /* as by a filter of system calls */

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list args;
    va_start(args, number);
    const int command = va_arg(args, int);
    va_end(args);
    if (number != SYS_membarrier)
        abort(); /* nothing else of the library calls it */
    if (barrier_refused) {
        errno = EPERM;
        return -1;
    }
    if (command == EXPEDITED) {
        atomic_fetch_add(&barriers, 1);
        if (at_barrier != NULL)
            at_barrier();
    }
    return __real_syscall(number, command, 0, 0);
}

#endif /* TEST_BARRIERS_H */
