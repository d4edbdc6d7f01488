/* SPDX-License-Identifier: MIT
 *
 * urcu_lfstack.h - userspace-rcu's lfstack as one free list. Pushing is lock-free. pop_blocking takes the stack's
 * mutex, so no push has to wait for a grace period.
 */
#include <urcu/lfstack.h>

static struct cds_lfs_stack urcu_idle;
static size_t urcu_size;

static inline void peer_start(const struct peer_config *config)
{
    urcu_size = config->size;
    cds_lfs_init(&urcu_idle);
}

static inline void peer_thread_start(void)
{
}

static inline void peer_thread_stop(void)
{
}

static inline void *peer_get(void)
{
    void *idle = cds_lfs_pop_blocking(&urcu_idle);
    return idle != NULL ? idle : malloc(urcu_size);
}

static inline unsigned char *peer_data(void *handle)
{
    return handle;
}

static inline void peer_put(void *handle)
{
    cds_lfs_node_init(handle);
    cds_lfs_push(&urcu_idle, handle);
}
