/* SPDX-License-Identifier: MIT
 *
 * report.c - reports of misuse: one line, then abort
 *
 * No memory is allocated and no lock is taken, but the loader's where a debug mode has names of functions to tell: the
 * state of the process is unknown.
 */
#include "debug/report.h"

#include "debug/modes.h"
#include "pool.h"
#include "registry.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* A pipe that nobody reads any more, or a cancellation, is not to end a thread here, in the middle of what it does. */
void report_line(const char *text, size_t length)
{
    const struct timespec no_time = {0, 0};
    int cancelable;
    sigset_t broken_pipe, before, pending;
    const int saved_errno = errno;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable);
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
    ssize_t written = 0;
    while (length > 0 && (written >= 0 || errno == EINTR)) {
        written = write(STDERR_FILENO, text, length);
        if (written > 0) {
            text += written;
            length -= (size_t)written;
        }
    }
    if (written < 0 && errno == EPIPE && !sigismember(&pending, SIGPIPE)) /* takes back what this made */
        (void)sigtimedwait(&broken_pipe, NULL, &no_time);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_setcancelstate(cancelable, NULL);
    errno = saved_errno;
}

void report_pool_name(const bufferpool_t *pool, char name[REPORT_NAME_MAX + 1])
{
    size_t n = 0;
    for (; n < REPORT_NAME_MAX && pool->name[n] != '\0'; n++)
        name[n] = iscntrl((unsigned char)pool->name[n]) ? '?' : pool->name[n]; /* one line it stays */
    name[n] = '\0';
}

/* One more line: by whom, on which thread, how long ago. */
static void say_turn(const char *what, uintptr_t by, uint32_t tid, uint64_t ago_ns)
{
    char place[160], thread[64], line[320];
    records_caller(place, sizeof(place), by);
    records_thread(thread, sizeof(thread), tid);
    const uint64_t us = ago_ns / 1000;
    int length = snprintf(line, sizeof(line), "libbufferpool:   %s by %s, %s, %" PRIu64 ".%06u s ago\n", what, place,
                          thread, us / 1000000, (unsigned)(us % 1000000));
    if (length > 0)
        report_line(line, (size_t)length);
}

/* Who got and who put the buffer last, as far as that was recorded, in this order. */
static void say_history(const bufferpool_t *pool, const struct desc *d)
{
    const struct record *record = records_at(&pool->records, d);
    if (record == NULL)
        return;
    const uint64_t got_ns = load_relaxed(&record->got_ns), put_ns = load_relaxed(&record->put_ns), now = records_now();
    if (load_relaxed(&record->got_by) != 0)
        say_turn("got", load_relaxed(&record->got_by), load_relaxed(&record->got_tid), now - got_ns);
    if (load_relaxed(&record->put_by) != 0 && put_ns >= got_ns)
        say_turn("put", load_relaxed(&record->put_by), load_relaxed(&record->put_tid), now - put_ns);
}

_Noreturn void report_misuse(const char *function, const void *address, const bufferpool_t *pool, const char *what)
{
    char name[REPORT_NAME_MAX + 1] = "unknown", line[512];
    int cancelable;
    if (pool != NULL)
        report_pool_name(pool, name);
    int length = snprintf(line, sizeof(line), "libbufferpool: %s: %p: %s (pool %s)\n", function, address, what, name);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable); /* whatever comes of it, abort() follows */
    if (length > 0)
        report_line(line, (size_t)length);
    if (modes_have(MODES_WATCH) && pool != NULL && desc_aligned(address) &&
        desc_table_covers(&pool->heap.table, address) && desc_table_has(&pool->heap.table, address))
        say_history(pool, address);
    abort();
}

_Noreturn void report_foreign(const char *function, const void *address)
{
    for (bufferpool_t *pool = registry_from(0); pool != NULL; pool = registry_from(pool->index + 1))
        if (desc_table_covers(&pool->heap.table, address))
            report_misuse(function, address, pool, "the handle was overwritten");
    report_misuse(function, address, NULL, "not a buffer of this library, or its handle was overwritten");
}
