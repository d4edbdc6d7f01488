/* SPDX-License-Identifier: MIT
 *
 * own.h - the contestants made here, one shared library each: pools that do less, or nothing
 *
 *     own_null.c       no pool: the cost of the harness and of two calls
 *     own_floor.c      an array per thread; with OWN_COUNTER a shared count as well
 *     own_magazines.c  magazines as in the textbook
 *     own_mutex.c      one free list, one mutex
 */
void own_start(size_t size);
void *own_get(void);
void own_put(void *data);

static inline void peer_start(const struct peer_config *config)
{
    own_start(config->size);
}

static inline void peer_thread_start(void)
{
}

static inline void peer_thread_stop(void)
{
}

static inline void *peer_get(void)
{
    return own_get();
}

static inline unsigned char *peer_data(void *handle)
{
    return handle;
}

static inline void peer_put(void *handle)
{
    own_put(handle);
}
