/* SPDX-License-Identifier: MIT
 *
 * own_floor.c - an array per thread, used as a stack: no cap, no checks, nothing shared
 *
 * This is the cost below which a cache per thread cannot go. With OWN_COUNTER it also counts the buffers that are out,
 * in one word for all threads, as a simple pool with a cap or a Live() does.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

void own_start(size_t size);
void *own_get(void);
void own_put(void *data);

enum { SLOTS = 4096 };

/* The limit is 0 until the thread's destructor is registered. So the fast path need not check for that. */
static _Thread_local struct {
    unsigned n, limit;
    void **slots;
} cache;

static size_t buffer_size;
static pthread_key_t key;

#ifdef OWN_COUNTER
static _Alignas(64) atomic_long live;
#define COUNT(n) atomic_fetch_add_explicit(&live, (n), memory_order_relaxed)
#else
#define COUNT(n) ((void)0)
#endif

static void at_exit(void *slots)
{
    while (cache.n > 0)
        free(cache.slots[--cache.n]);
    cache.limit = 0;
    free(slots);
}

void own_start(size_t size)
{
    buffer_size = size;
    if (pthread_key_create(&key, at_exit) != 0)
        abort();
}

static __attribute__((noinline)) void put_slowly(void *data)
{
    if (cache.limit == 0) {
        cache.slots = malloc(SLOTS * sizeof(void *));
        if (cache.slots == NULL || pthread_setspecific(key, cache.slots) != 0)
            abort();
        cache.limit = SLOTS;
        cache.slots[cache.n++] = data;
    } else {
        free(data);
    }
}

static __attribute__((noinline)) void *get_slowly(void)
{
    return malloc(buffer_size);
}

void *own_get(void)
{
    COUNT(1);
    return cache.n > 0 ? cache.slots[--cache.n] : get_slowly();
}

void own_put(void *data)
{
    COUNT(-1);
    if (cache.n < cache.limit)
        cache.slots[cache.n++] = data;
    else
        put_slowly(data);
}
