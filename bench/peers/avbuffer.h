/* SPDX-License-Identifier: MIT
 *
 * avbuffer.h - FFmpeg's AVBufferPool: a reference per get, unreferenced at put
 */
#include <libavutil/buffer.h>

static AVBufferPool *avbuffer_pools[64];

static inline void peer_start(const struct peer_config *config)
{
    for (unsigned i = 0; i < config->pools; i++)
        if ((avbuffer_pools[i] = av_buffer_pool_init(config->size, NULL)) == NULL)
            peer_die("av_buffer_pool_init");
}

static inline void peer_thread_start(void)
{
}

static inline void peer_thread_stop(void)
{
}

static inline void *peer_get(void)
{
    return av_buffer_pool_get(avbuffer_pools[0]);
}

static inline unsigned char *peer_data(void *handle)
{
    return ((AVBufferRef *)handle)->data;
}

static inline void peer_put(void *handle)
{
    AVBufferRef *reference = handle;
    av_buffer_unref(&reference);
}

#define PEER_HAS_POOLS
static inline void *peer_get_from(unsigned i)
{
    return av_buffer_pool_get(avbuffer_pools[i]);
}
