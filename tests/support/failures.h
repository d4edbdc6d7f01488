/* SPDX-License-Identifier: MIT
 *
 * failures.h - requests to the system that fail as planned, and a count of what was not given back
 *
 * The linker's --wrap (the list `failing` in tests/hostile/CMakeLists.txt) replaces everything that may fail for want
 * of memory by the functions below. Between failures_begin() and failures_end() the requests are numbered from 1, and
 * the planned ones fail. All the time the functions count what is allocated and mapped, freed and unmapped, so that a
 * loss shows at once and without a tool.
 */
#ifndef TEST_FAILURES_H
#define TEST_FAILURES_H

#include "support.h"

#include <sys/mman.h>

/* ---- the plan ---- */

#define FAIL_FOR_GOOD SIZE_MAX

static atomic_bool failures_armed;
static atomic_size_t failures_calls;
static size_t failures_first, failures_second;
static atomic_size_t failures_here;
static atomic_size_t *failures_fired = &failures_here;

/* For tests that have their failures in a child: failures_seen() is of the child then. */
static inline void failures_share(void)
{
    if (failures_fired != &failures_here)
        return;
    failures_fired = mmap(NULL, sizeof *failures_fired, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true((void *)failures_fired != MAP_FAILED);
}

/* The requests `first` and `second` (0: none) are to fail; FAIL_FOR_GOOD: all from the first on. */
static inline void failures_plan(size_t first, size_t second)
{
    failures_first = first;
    failures_second = second;
    atomic_store(failures_fired, 0);
}

static inline void failures_begin(void)
{
    atomic_store(&failures_calls, 0);
    atomic_store(&failures_armed, true);
}

/* How many failed. */
static inline size_t failures_seen(void)
{
    return atomic_load(failures_fired);
}

static inline size_t failures_end(void)
{
    atomic_store(&failures_armed, false);
    return failures_seen();
}

static inline bool fails_now(void)
{
    if (!atomic_load(&failures_armed))
        return false;
    const size_t call = atomic_fetch_add(&failures_calls, 1) + 1;
    if (call != failures_first && call != failures_second &&
        !(failures_second == FAIL_FOR_GOOD && call > failures_first))
        return false;
    atomic_fetch_add(failures_fired, 1);
    errno = ENOMEM;
    return true;
}

/* ---- memory ---- */

static atomic_size_t failures_blocks; /* in existence */
static atomic_size_t failures_mapped; /* bytes */

static inline void *counted(void *block)
{
    if (block != NULL)
        atomic_fetch_add(&failures_blocks, 1);
    return block;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    return fails_now() ? NULL : counted(__real_malloc(size));
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    return fails_now() ? NULL : counted(__real_calloc(n, size));
}

void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return fails_now() ? NULL : counted(__real_aligned_alloc(align, size));
}

void *__real_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size)
{
    if (fails_now())
        return NULL;
    return block == NULL ? counted(__real_realloc(NULL, size)) : __real_realloc(block, size);
}

/* The block hook's, which fails as test_blocks_fail() says. */
int __real_posix_memalign(void **block, size_t align, size_t size);
int __wrap_posix_memalign(void **block, size_t align, size_t size);
int __wrap_posix_memalign(void **block, size_t align, size_t size)
{
    const int error = __real_posix_memalign(block, align, size);
    if (error == 0)
        (void)counted(*block);
    return error;
}

void __real_free(void *block);
void __wrap_free(void *block);
void __wrap_free(void *block)
{
    if (block != NULL)
        atomic_fetch_sub(&failures_blocks, 1);
    __real_free(block);
}

void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (fails_now())
        return MAP_FAILED;
    void *region = __real_mmap(at, size, protection, flags, fd, offset);
    if (region != MAP_FAILED)
        atomic_fetch_add(&failures_mapped, size);
    return region;
}

void *__real_mremap(void *at, size_t size, size_t new_size, int flags, ...);
void *__wrap_mremap(void *at, size_t size, size_t new_size, int flags, ...);
void *__wrap_mremap(void *at, size_t size, size_t new_size, int flags, ...)
{
    if (fails_now())
        return MAP_FAILED;
    void *region = __real_mremap(at, size, new_size, flags);
    if (region != MAP_FAILED)
        atomic_fetch_add(&failures_mapped, new_size - size);
    return region;
}

int __real_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size)
{
    const int result = __real_munmap(at, size);
    if (result == 0)
        atomic_fetch_sub(&failures_mapped, size);
    return result;
}

/* ---- threads ---- */

static atomic_size_t failures_handlers; /* of fork, installed */

int __real_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    static atomic_bool loaded; /* not then: so it is the first use that installs them */
    if (!atomic_exchange(&loaded, true) || fails_now())
        return ENOMEM;
    atomic_fetch_add(&failures_handlers, 1);
    return __real_pthread_atfork(prepare, parent, child);
}

int __real_pthread_key_create(pthread_key_t *key, void (*destructor)(void *value));
int __wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *value));
int __wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *value))
{
    return fails_now() ? ENOMEM : __real_pthread_key_create(key, destructor);
}

int __real_pthread_setspecific(pthread_key_t key, const void *value);
int __wrap_pthread_setspecific(pthread_key_t key, const void *value);
int __wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
    return fails_now() ? ENOMEM : __real_pthread_setspecific(key, value);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *arg), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *arg), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *arg), void *arg)
{
    return fails_now() ? EAGAIN : __real_pthread_create(thread, attributes, start, arg);
}

int __real_pthread_attr_init(pthread_attr_t *attributes);
int __wrap_pthread_attr_init(pthread_attr_t *attributes);
int __wrap_pthread_attr_init(pthread_attr_t *attributes)
{
    return fails_now() ? ENOMEM : __real_pthread_attr_init(attributes);
}

int __real_pthread_condattr_init(pthread_condattr_t *attributes);
int __wrap_pthread_condattr_init(pthread_condattr_t *attributes);
int __wrap_pthread_condattr_init(pthread_condattr_t *attributes)
{
    return fails_now() ? ENOMEM : __real_pthread_condattr_init(attributes);
}

int __real_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes);
int __wrap_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes);
int __wrap_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes)
{
    return fails_now() ? ENOMEM : __real_pthread_cond_init(condition, attributes);
}

#endif /* TEST_FAILURES_H */
