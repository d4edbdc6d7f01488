/* SPDX-License-Identifier: MIT
 *
 * sanitizer.h - what AddressSanitizer and valgrind's memcheck know of blocks
 *
 *                                                    AddressSanitizer    memcheck
 *     sanitizer_region    nobody's: slabs and mappings  poisoned            inaccessible
 *                      whole, of a hook's block the
 *                      bytes for the caller
 *     sanitizer_show      a caller's: exactly cap bytes addressable         a new block, undefined, from here
 *     sanitizer_hide      nobody's again                poisoned            a freed block, by whom is noted
 *     sanitizer_open, sanitizer_close    in between the library itself may touch what is nobody's
 *     sanitizer_forget    unmapped next, or a hook's    addressable         defined, if a hook's
 *
 * AddressSanitizer is told where the library is built with it, also on the fast path. Memcheck is told where its header
 * was there at build time (-DBUFFERPOOL_NO_VALGRIND leaves it out) and the program runs under it: then no gate opens
 * (modes.h). Elsewhere all of this is nothing, or a look at the modes.
 */
#ifndef BUFFERPOOL_SANITIZER_H
#define BUFFERPOOL_SANITIZER_H

#include "debug/modes.h"

#include <stdbool.h>
#include <stddef.h>

#define SANITIZER_ASAN     0
#define SANITIZER_MEMCHECK 0
#if defined(__SANITIZE_ADDRESS__)
#undef SANITIZER_ASAN
#define SANITIZER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#undef SANITIZER_ASAN
#define SANITIZER_ASAN 1
#endif
#endif
#if !SANITIZER_ASAN && MODES_BUILT && !defined(BUFFERPOOL_NO_VALGRIND) && defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#undef SANITIZER_MEMCHECK
#define SANITIZER_MEMCHECK 1
#endif
#endif

/* Whether anybody wants to know. */
#if SANITIZER_ASAN
#define sanitizer_on() true
#elif SANITIZER_MEMCHECK
#define sanitizer_on() modes_have(MODE_MEMCHECK)
#else
#define sanitizer_on() false
#endif

/* Whether the steps of a buffer are seen to, by a debug mode or for either of these: apart from the code that does
 * without. */
#define steps_are_watched() (SANITIZER_ASAN || modes_have(MODES_SLOW))

#if SANITIZER_ASAN || SANITIZER_MEMCHECK

/* Whether this is memcheck; callgrind and the others, whose figures are to stay what they are, say no. */
bool sanitizer_under_memcheck(void);

/* These are to be called if sanitizer_on(). */
void sanitizer_region(void *region, size_t bytes);
void sanitizer_show(void *data, size_t cap, bool defined);
void sanitizer_hide(void *data, size_t cap);
void sanitizer_open(void *from, size_t bytes);
void sanitizer_close(void *from, size_t bytes);
void sanitizer_forget(void *memory, size_t bytes, bool hook);

/* Copies what is in front of a block to where the library may read it, or back. When reading, no block need be
 * there. */
void sanitizer_copy(void *to, const void *from, size_t n, bool reading);

/* Under memcheck a buffer is a block of memcheck's if and only if its word says that it is held: both change under a
 * lock that fork takes, before those of the heaps. */
void sanitizer_lock(void);
void sanitizer_unlock(void);

#else

static inline bool sanitizer_under_memcheck(void)
{
    return false;
}

static inline void sanitizer_region(void *region, size_t bytes)
{
    (void)region, (void)bytes;
}

static inline void sanitizer_show(void *data, size_t cap, bool defined)
{
    (void)data, (void)cap, (void)defined;
}

static inline void sanitizer_hide(void *data, size_t cap)
{
    (void)data, (void)cap;
}

static inline void sanitizer_open(void *from, size_t bytes)
{
    (void)from, (void)bytes;
}

static inline void sanitizer_close(void *from, size_t bytes)
{
    (void)from, (void)bytes;
}

static inline void sanitizer_forget(void *memory, size_t bytes, bool hook)
{
    (void)memory, (void)bytes, (void)hook;
}

static inline void sanitizer_copy(void *to, const void *from, size_t n, bool reading)
{
    (void)to, (void)from, (void)n, (void)reading;
}

static inline void sanitizer_lock(void)
{
}

static inline void sanitizer_unlock(void)
{
}

#endif

#endif
