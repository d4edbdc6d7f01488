/* SPDX-License-Identifier: MIT
 *
 * apr_reslist.h - APR-util's resource list: one list, one mutex, a hard maximum
 */
#include <apr_general.h>
#include <apr_pools.h>
#include <apr_reslist.h>

static apr_reslist_t *apr_reslist;
static size_t apr_reslist_size;

static inline apr_status_t apr_reslist_make(void **resource, void *params, apr_pool_t *pool)
{
    (void)params;
    (void)pool;
    *resource = malloc(apr_reslist_size);
    return *resource != NULL ? APR_SUCCESS : APR_ENOMEM;
}

static inline apr_status_t apr_reslist_unmake(void *resource, void *params, apr_pool_t *pool)
{
    (void)params;
    (void)pool;
    free(resource);
    return APR_SUCCESS;
}

static inline void peer_start(const struct peer_config *config)
{
    apr_pool_t *pool;
    apr_reslist_size = config->size;
    int max = config->max_live < 1000000 ? (int)config->max_live : 1000000;
    if (apr_initialize() != APR_SUCCESS || apr_pool_create(&pool, NULL) != APR_SUCCESS ||
        apr_reslist_create(&apr_reslist, 0, max, max, 0, apr_reslist_make, apr_reslist_unmake, NULL, pool) !=
            APR_SUCCESS)
        peer_die("apr_reslist_create");
}

static inline void peer_thread_start(void)
{
}

static inline void peer_thread_stop(void)
{
}

static inline void *peer_get(void)
{
    void *resource;
    return apr_reslist_acquire(apr_reslist, &resource) == APR_SUCCESS ? resource : NULL;
}

static inline unsigned char *peer_data(void *handle)
{
    return handle;
}

static inline void peer_put(void *handle)
{
    apr_reslist_release(apr_reslist, handle);
}
