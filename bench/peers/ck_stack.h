/* SPDX-License-Identifier: MIT
 *
 * ck_stack.h - Concurrency Kit's stack as one free list for all threads; the links lie in the idle buffers
 */
#include <ck_stack.h>

static ck_stack_t ck_stack_idle CK_CC_ALIGN(64) = CK_STACK_INITIALIZER;
static size_t ck_stack_size;

static inline void peer_start(const struct peer_config *config)
{
    ck_stack_size = config->size;
}

static inline void peer_thread_start(void)
{
}

static inline void peer_thread_stop(void)
{
}

static inline void *peer_get(void)
{
    void *idle = ck_stack_pop_mpmc(&ck_stack_idle);
    return idle != NULL ? idle : malloc(ck_stack_size);
}

static inline unsigned char *peer_data(void *handle)
{
    return handle;
}

static inline void peer_put(void *handle)
{
    ck_stack_push_mpmc(&ck_stack_idle, handle);
}
