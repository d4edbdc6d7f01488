/* SPDX-License-Identifier: MIT
 *
 * report.h - reports of misuse: one line on stderr, then abort
 */
#ifndef BUFFERPOOL_REPORT_H
#define BUFFERPOOL_REPORT_H

#include "registry.h"

/* The public function that the calling thread is in, for reports and for the records of debug modes. call.h sets it. */
struct report_context {
    const char *function; /* its name */
    uintptr_t caller;     /* the address in the program to which it returns; 0: none */
};

extern _Thread_local struct report_context report_context TLS_MODEL;

#define REPORT_NAME_MAX 64

/* The pool's name, cut to that length and in one line, with a NUL. */
void report_pool_name(const bufferpool_t *pool, char name[REPORT_NAME_MAX + 1]);

#define REPORT_OVERWRITTEN "the bytes in front of data were overwritten"

/* Writes one line to stderr that names the public function, the address, the pool (NULL: unknown) and what is wrong. If
 * the address is a buffer's, the lines that follow say which calls got and put it, if a debug mode recorded that. Then
 * aborts. Any lock may be held: the process ends. */
_Noreturn void report_misuse(const void *address, const bufferpool_t *pool, const char *what);

/* Reports a call of the public function on something that is not POOL_ALIVE: no pool, or one that was destroyed or
 * closed. */
_Noreturn void report_pool(const bufferpool_t *pool, const char *function);

/* The same for a handle whose word leads to no pool. Its address tells an overwritten handle from a foreign pointer. */
_Noreturn void report_foreign(const void *address);

/* ---- the pool of a call ---- */

/* Reports misuse, in the name of the public function, if `pool` is no pool or was destroyed. */
static inline void pool_check(const bufferpool_t *pool, const char *function)
{
    const uint32_t life = load_relaxed(&pool->life);
    if (unlikely(life != POOL_ALIVE && life != POOL_CLOSED))
        report_pool(pool, function);
}

/* The same, also if it was closed. */
static inline void pool_check_open(const bufferpool_t *pool, const char *function)
{
    if (unlikely(load_relaxed(&pool->life) != POOL_ALIVE))
        report_pool(pool, function);
}

/* The pool that a call was given, checked, or the default pool for NULL. */
static inline bufferpool_t *pool_of_call(const bufferpool_t *pool, const char *function)
{
    if (pool == NULL)
        return &pool_default;
    pool_check(pool, function);
    return (bufferpool_t *)(uintptr_t)pool;
}

static inline bufferpool_t *open_pool_of_call(const bufferpool_t *pool, const char *function)
{
    if (pool != NULL)
        pool_check_open(pool, function);
    return pool_of_call(pool, function);
}

#endif
