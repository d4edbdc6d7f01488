/* SPDX-License-Identifier: MIT
 *
 * config.c - what a configuration says, checked and with its defaults filled in
 */
#include "config.h"

#include "heap/heap.h"
#include "heap/os.h"

#include <errno.h>
#include <string.h>

/* The size of the struct in version 0.1, the first: no program was built with a smaller one. */
#define SIZE_MIN (offsetof(bufferpool_config_t, ctx) + sizeof(void *))

#define FLAGS_KNOWN (BUFFERPOOL_ZERO | BUFFERPOOL_BACKGROUND | BUFFERPOOL_HUGEPAGES)

static void default_to(size_t *field, size_t value)
{
    if (*field == 0)
        *field = value;
}

static bool is_valid(const bufferpool_config_t *c)
{
    bool alignment_ok = (c->alignment & (c->alignment - 1)) == 0 && c->alignment <= os_page_size();
    bool hooks_ok = (c->alloc == NULL) == (c->free == NULL);
    return alignment_ok && hooks_ok && c->max_capacity >= c->buffer_capacity && c->buffer_capacity <= HEAP_CAP_MAX &&
           c->max_capacity <= HEAP_CAP_MAX && (c->flags & ~FLAGS_KNOWN) == 0;
}

int config_resolve(const bufferpool_config_t *from, bufferpool_config_t *to)
{
    memset(to, 0, sizeof(*to));
    if (from != NULL) {
        if (from->size < SIZE_MIN || from->size > sizeof(*to))
            return EINVAL;
        memcpy(to, from, from->size);
    }
    default_to(&to->buffer_capacity, CONFIG_BUFFER_CAPACITY);
    default_to(&to->max_capacity,
               to->buffer_capacity > CONFIG_MAX_CAPACITY ? to->buffer_capacity : CONFIG_MAX_CAPACITY);
    default_to(&to->thread_cache_bytes, CONFIG_THREAD_CACHE_BYTES);
    default_to(&to->alignment, CONFIG_ALIGNMENT);
    if (to->reclaim_interval_ms == 0)
        to->reclaim_interval_ms = CONFIG_RECLAIM_INTERVAL_MS;
    return is_valid(to) ? 0 : EINVAL;
}
