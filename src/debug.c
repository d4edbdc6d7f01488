/* SPDX-License-Identifier: MIT
 *
 * debug.c - reports of misuse: one line, then abort
 *
 * No memory is allocated and no lock is taken: the state of the process is unknown.
 */
#include "debug.h"

#include "pool.h"
#include "registry.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NAME_SHOWN 64

/* Whatever comes of it, abort() follows: so neither a cancellation nor a pipe that nobody reads may end the thread here. */
static void report(const char *line, size_t length)
{
    int cancelable;
    sigset_t broken_pipe;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable);
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &broken_pipe, NULL);
    while (write(STDERR_FILENO, line, length) < 0 && errno == EINTR)
        ;
}

_Noreturn void misuse(const char *function, const void *address, const bufferpool_t *pool, const char *what)
{
    char name[NAME_SHOWN + 1] = "unknown";
    if (pool != NULL) {
        size_t n = 0;
        for (; n < NAME_SHOWN && pool->name[n] != '\0'; n++)
            name[n] = iscntrl((unsigned char)pool->name[n]) ? '?' : pool->name[n]; /* one line it stays */
        name[n] = '\0';
    }
    char line[256];
    int length = snprintf(line, sizeof(line), "libbufferpool: %s: %p: %s (pool %s)\n", function, address, what, name);
    if (length > 0)
        report(line, (size_t)length);
    abort();
}

_Noreturn void misuse_unknown(const char *function, const void *address)
{
    for (bufferpool_t *pool = registry_from(0); pool != NULL; pool = registry_from(pool->slot + 1))
        if (desc_table_covers(&pool->heap.table, address))
            misuse(function, address, pool, "the handle was overwritten");
    misuse(function, address, NULL, "not a buffer of this library, or its handle was overwritten");
}
