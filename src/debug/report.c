/* SPDX-License-Identifier: MIT
 *
 * report.c - reports of misuse: one line on stderr, then abort
 *
 * The state of the process is unknown when a report is made. So no memory is allocated, and no lock is taken but the
 * loader's, where a debug mode looks up names of functions.
 */
#include "debug/report.h"

#include "debug/modes.h"
#include "debug/records.h"
#include "debug/say.h"
#include "heap/desc.h"
#include "registry.h"

#include <ctype.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

_Thread_local struct report_context report_context TLS_MODEL = {"bufferpool", 0};

void report_pool_name(const bufferpool_t *pool, char name[REPORT_NAME_MAX + 1])
{
    size_t n = 0;
    for (; n < REPORT_NAME_MAX && pool->name[n] != '\0'; n++)
        name[n] = iscntrl((unsigned char)pool->name[n]) ? '?' : pool->name[n];
    name[n] = '\0';
}

/* One more line: which call, on which thread, how long ago. */
static void say_turn(const char *what, uintptr_t by, uint32_t tid, uint64_t ago_ns)
{
    char caller[160], thread[64], line[320];
    records_caller(caller, sizeof(caller), by);
    records_thread(thread, sizeof(thread), tid);
    const uint64_t us = ago_ns / 1000;
    int length = snprintf(line, sizeof(line), "libbufferpool:   %s by %s, %s, %" PRIu64 ".%06u s ago\n", what, caller,
                          thread, us / 1000000, (unsigned)(us % 1000000));
    if (length > 0)
        say(line, (size_t)length);
}

/* Which calls got and put the buffer last, in this order, if that was recorded. */
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

_Noreturn void report_misuse(const void *address, const bufferpool_t *pool, const char *what)
{
    char name[REPORT_NAME_MAX + 1] = "unknown", line[512];
    int cancelable;
    if (pool != NULL)
        report_pool_name(pool, name);
    int length = snprintf(line, sizeof(line), "libbufferpool: %s: %p: %s (pool %s)\n", report_context.function, address,
                          what, name);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable); /* nothing may keep this thread from abort() */
    if (length > 0)
        say(line, (size_t)length);
    if (modes_have(MODES_WATCH) && pool != NULL && desc_aligned(address) &&
        desc_table_covers(&pool->heap.table, address) && desc_table_has(&pool->heap.table, address))
        say_history(pool, address);
    abort();
}

_Noreturn void report_pool(const bufferpool_t *pool, const char *function)
{
    report_context.function = function;
    if (load_relaxed(&pool->life) == POOL_ENDED)
        report_misuse(pool, pool, "the pool was destroyed");
    if (load_relaxed(&pool->life) == POOL_CLOSED)
        report_misuse(pool, pool, "the pool was closed");
    for_each_pool (other)
        if (other == pool)
            report_misuse(pool, NULL, "the pool was overwritten");
    report_misuse(pool, NULL, "not a pool of this library, or one of another copy of it, or it was destroyed");
}

_Noreturn void report_foreign(const void *address)
{
    for_each_pool (pool)
        if (desc_table_covers(&pool->heap.table, address))
            report_misuse(address, pool, "the handle was overwritten");
    for (unsigned i = 0; i < REGISTRY_ENDED; i++) {
        const bufferpool_t *pool = registry_ended(i);
        if (pool != NULL && desc_table_covers(&pool->heap.table, address))
            report_misuse(address, pool, "a buffer of a pool that was destroyed");
    }
    report_misuse(address, NULL,
                  "not a buffer of this library, or one of another copy of it, or its handle was overwritten");
}
