/* SPDX-License-Identifier: MIT
 *
 * sanitizer.c - what AddressSanitizer and valgrind's memcheck know of blocks
 *
 * Memcheck is told of blocks by its requests for allocators. So its reports name the calls that got and put a buffer,
 * and its search for leaks finds each held buffer once, and no idle one.
 */
#include "debug/sanitizer.h"

#include <string.h>

#if SANITIZER_ASAN

#include <sanitizer/asan_interface.h>

bool sanitizer_under_memcheck(void)
{
    return false;
}

void sanitizer_region(void *region, size_t bytes)
{
    __asan_poison_memory_region(region, bytes);
}

void sanitizer_show(void *data, size_t cap, bool defined)
{
    (void)defined;
    __asan_unpoison_memory_region(data, cap);
}

void sanitizer_hide(void *data, size_t cap)
{
    __asan_poison_memory_region(data, cap);
}

void sanitizer_open(void *from, size_t bytes)
{
    __asan_unpoison_memory_region(from, bytes);
}

void sanitizer_close(void *from, size_t bytes)
{
    __asan_poison_memory_region(from, bytes);
}

void sanitizer_forget(void *memory, size_t bytes, bool hook)
{
    (void)hook;
    __asan_unpoison_memory_region(memory, bytes);
}

/* Not by memcpy, which AddressSanitizer replaces by one that checks. A compiler turns a plain loop into memcpy; hence
 * volatile. */
__attribute__((noinline, no_sanitize("address"))) void sanitizer_copy(void *to, const void *from, size_t n,
                                                                      bool reading)
{
    (void)reading;
    volatile unsigned char *out = to;
    const volatile unsigned char *in = from;
    for (size_t i = 0; i < n; i++)
        out[i] = in[i];
}

void sanitizer_lock(void)
{
}

void sanitizer_unlock(void)
{
}

#elif SANITIZER_MEMCHECK

#include <pthread.h>
#include <valgrind/memcheck.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* No tool but memcheck knows this request, and without it the answer is 0. */
bool sanitizer_under_memcheck(void)
{
    unsigned char byte = 0;
    return VALGRIND_MAKE_MEM_DEFINED(&byte, 1) != 0;
}

void sanitizer_region(void *region, size_t bytes)
{
    (void)VALGRIND_MAKE_MEM_NOACCESS(region, bytes);
}

void sanitizer_show(void *data, size_t cap, bool defined)
{
    VALGRIND_MALLOCLIKE_BLOCK(data, cap, 0, defined);
}

void sanitizer_hide(void *data, size_t cap)
{
    (void)cap;
    VALGRIND_FREELIKE_BLOCK(data, 0);
}

void sanitizer_open(void *from, size_t bytes)
{
    (void)from, (void)bytes;
    VALGRIND_DISABLE_ERROR_REPORTING; /* for this thread; for all threads the memory stays inaccessible */
}

void sanitizer_close(void *from, size_t bytes)
{
    (void)from, (void)bytes;
    VALGRIND_ENABLE_ERROR_REPORTING;
}

void sanitizer_forget(void *memory, size_t bytes, bool hook)
{
    if (hook) /* memcheck notices munmap by itself */
        (void)VALGRIND_MAKE_MEM_DEFINED(memory, bytes);
}

void sanitizer_copy(void *to, const void *from, size_t n, bool reading)
{
    VALGRIND_DISABLE_ERROR_REPORTING;
    memcpy(to, from, n);
    VALGRIND_ENABLE_ERROR_REPORTING;
    if (reading) /* the copy is defined, whatever the original was */
        (void)VALGRIND_MAKE_MEM_DEFINED(to, n);
}

void sanitizer_lock(void)
{
    pthread_mutex_lock(&lock);
}

void sanitizer_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

#endif
