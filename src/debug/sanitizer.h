/* SPDX-License-Identifier: MIT
 *
 * sanitizer.h - what AddressSanitizer and valgrind's memcheck know of blocks
 *
 *                                                             AddressSanitizer    memcheck
 *     sanitizer_region   memory that is new: a span or a      poisoned            inaccessible
 *                        mapping whole, of a hook's block
 *                        the bytes for the caller
 *     sanitizer_show     a caller gets exactly cap bytes      addressable         a new block, undefined, from here
 *     sanitizer_hide     no caller has the block any more     poisoned            a freed block; the put is noted
 *     sanitizer_open     from here to sanitizer_close the     addressable         inaccessible, but not reported
 *                        library may touch such memory
 *     sanitizer_close                                         poisoned            reported again
 *     sanitizer_forget   the memory goes back to the system   addressable         defined, if a hook's
 *                        or to a hook
 *
 * AddressSanitizer is told if the library is built with it, also on the fast path. Memcheck is told if its header was
 * there at build time (-DBUFFERPOOL_NO_VALGRIND leaves it out) and the program runs under memcheck: then no gate opens
 * (modes.h). Otherwise all of this costs nothing, or a look at the modes.
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

/* Whether AddressSanitizer or memcheck is to be told. */
#if SANITIZER_ASAN
#define sanitizer_on() true
#elif SANITIZER_MEMCHECK
#define sanitizer_on() modes_have(MODE_MEMCHECK)
#else
#define sanitizer_on() false
#endif

/* Whether a debug mode, AddressSanitizer or memcheck watches the steps of a buffer's life. Code for watched steps is
 * kept apart from the plain code. */
#define steps_are_watched() (SANITIZER_ASAN || modes_have(MODES_SLOW))

#if SANITIZER_ASAN || SANITIZER_MEMCHECK

/* Whether the process runs under memcheck. Under callgrind and valgrind's other tools this is false, so that their
 * figures do not change. */
bool sanitizer_under_memcheck(void);

/* Call these only if sanitizer_on(). The table above says what they mean. `defined`: the bytes of the block have known
 * values. */
void sanitizer_region(void *region, size_t bytes);
void sanitizer_show(void *data, size_t cap, bool defined);
void sanitizer_hide(void *data, size_t cap);
void sanitizer_open(void *from, size_t bytes);
void sanitizer_close(void *from, size_t bytes);
void sanitizer_forget(void *memory, size_t bytes, bool hook);

/* Copies the bytes in front of a block to memory that the library may read (`reading`), or from there to the front of a
 * block. With `reading` there need not be a block. */
void sanitizer_copy(void *to, const void *from, size_t n, bool reading);

/* Memcheck knows a buffer as a block if and only if the buffer's word says that it is held. Both change under this
 * lock, which fork takes before the pools' locks. */
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
