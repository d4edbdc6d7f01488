/* SPDX-License-Identifier: MIT
 *
 * apr_pool.h - an APR pool per buffer, as servers have one per request, with APR's own allocator behind it
 */
#include <apr_general.h>
#include <apr_pools.h>

struct apr_pool_buffer {
    _Alignas(64) apr_pool_t *pool;
};

static size_t apr_pool_size;

static inline void peer_start(const struct peer_config *config)
{
    apr_pool_size = config->size;
    if (apr_initialize() != APR_SUCCESS)
        peer_die("apr_initialize");
}

static inline void peer_thread_start(void)
{
}

static inline void peer_thread_stop(void)
{
}

static inline void *peer_get(void)
{
    apr_pool_t *pool;
    if (apr_pool_create(&pool, NULL) != APR_SUCCESS)
        return NULL;
    struct apr_pool_buffer *buffer = apr_palloc(pool, sizeof(*buffer) + apr_pool_size);
    if (buffer != NULL)
        buffer->pool = pool;
    return buffer;
}

static inline unsigned char *peer_data(void *handle)
{
    return (unsigned char *)handle + sizeof(struct apr_pool_buffer);
}

static inline void peer_put(void *handle)
{
    apr_pool_destroy(((struct apr_pool_buffer *)handle)->pool);
}
