/* SPDX-License-Identifier: MIT
 *
 * call.h - what every call does first and last, once it is off the fast path
 *
 *     struct call call = call_begin("bufferpool_trim", CALLER);
 *     ...
 *     call_end(&call, pool);
 *
 * Between the two, reports of misuse name the public function, and debug modes record its caller. call_end serves the
 * threads that wait for a buffer of the pool, or for bytes of its budget, so no path that gives a buffer or room back
 * can forget them, and restores errno. A function that fails sets errno after that. An allocator hook may call the
 * library for another pool, so calls nest.
 */
#ifndef BUFFERPOOL_CALL_H
#define BUFFERPOOL_CALL_H

#include "debug/report.h"
#include "members.h"
#include "wait.h"

#include <errno.h>

struct call {
    struct report_context outside; /* of the call that this one is nested in */
    int saved_errno;
};

static inline struct call call_begin(const char *function, uintptr_t caller)
{
    const struct call call = {report_context, errno};
    report_context = (struct report_context){function, caller};
    return call;
}

/* Serves those that wait for a buffer of the pool, or for bytes of its budget. */
static inline void call_serve(bufferpool_t *pool)
{
    wait_serve(pool);
    members_serve(pool);
}

/* Ends the call. `pool` is the pool that it worked on, or NULL. */
static inline void call_end(const struct call *call, bufferpool_t *pool)
{
    if (pool != NULL)
        call_serve(pool);
    report_context = call->outside;
    errno = call->saved_errno;
}

/* The address to which the current function returns. In the body of a public function that is an address in the
 * program: the caller. */
#define CALLER call_address(__builtin_return_address(0))

static inline uintptr_t call_address(const void *code)
{
    return (uintptr_t)code;
}

#endif
