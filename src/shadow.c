/* SPDX-License-Identifier: MIT
 *
 * shadow.c - what AddressSanitizer and valgrind's memcheck know of blocks
 *
 * Memcheck is told of blocks by the requests for those of an allocator: so its reports name who got and who put a
 * buffer, and its search for leaks finds a held one once, and no idle one.
 */
#include "shadow.h"

#include <string.h>

void shadow_wipe(void *memory, size_t n)
{
    if (shadow_on())
        shadow_open(memory, n);
    explicit_bzero(memory, n);
    if (shadow_on())
        shadow_close(memory, n);
}

#if SHADOW_ASAN

#include <sanitizer/asan_interface.h>

bool shadow_under_memcheck(void)
{
    return false;
}

void shadow_region(void *region, size_t bytes)
{
    __asan_poison_memory_region(region, bytes);
}

void shadow_show(void *data, size_t cap, bool defined)
{
    (void)defined;
    __asan_unpoison_memory_region(data, cap);
}

void shadow_hide(void *data, size_t cap)
{
    __asan_poison_memory_region(data, cap);
}

void shadow_open(void *from, size_t bytes)
{
    __asan_unpoison_memory_region(from, bytes);
}

void shadow_close(void *from, size_t bytes)
{
    __asan_poison_memory_region(from, bytes);
}

void shadow_forget(void *memory, size_t bytes, bool hook)
{
    (void)hook;
    __asan_unpoison_memory_region(memory, bytes);
}

/* memcpy is AddressSanitizer's, which looks; so is what a compiler makes of a plain loop. */
__attribute__((noinline, no_sanitize("address"))) void shadow_copy(void *to, const void *from, size_t n, bool reading)
{
    (void)reading;
    volatile unsigned char *out = to;
    const volatile unsigned char *in = from;
    for (size_t i = 0; i < n; i++)
        out[i] = in[i];
}

void shadow_lock(void)
{
}

void shadow_unlock(void)
{
}

#elif SHADOW_MEMCHECK

#include <pthread.h>
#include <valgrind/memcheck.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* No tool but memcheck knows this request, and without it the answer is 0. */
bool shadow_under_memcheck(void)
{
    unsigned char byte = 0;
    return VALGRIND_MAKE_MEM_DEFINED(&byte, 1) != 0;
}

void shadow_region(void *region, size_t bytes)
{
    (void)VALGRIND_MAKE_MEM_NOACCESS(region, bytes);
}

void shadow_show(void *data, size_t cap, bool defined)
{
    VALGRIND_MALLOCLIKE_BLOCK(data, cap, 0, defined);
}

void shadow_hide(void *data, size_t cap)
{
    (void)cap;
    VALGRIND_FREELIKE_BLOCK(data, 0);
}

void shadow_open(void *from, size_t bytes)
{
    (void)from, (void)bytes;
    VALGRIND_DISABLE_ERROR_REPORTING; /* of this thread: what is inaccessible stays so, for all */
}

void shadow_close(void *from, size_t bytes)
{
    (void)from, (void)bytes;
    VALGRIND_ENABLE_ERROR_REPORTING;
}

void shadow_forget(void *memory, size_t bytes, bool hook)
{
    if (hook) /* memcheck sees what munmap does by itself */
        (void)VALGRIND_MAKE_MEM_DEFINED(memory, bytes);
}

void shadow_copy(void *to, const void *from, size_t n, bool reading)
{
    VALGRIND_DISABLE_ERROR_REPORTING;
    memcpy(to, from, n);
    VALGRIND_ENABLE_ERROR_REPORTING;
    if (reading) /* whatever it was */
        (void)VALGRIND_MAKE_MEM_DEFINED(to, n);
}

void shadow_lock(void)
{
    pthread_mutex_lock(&lock);
}

void shadow_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

#endif
