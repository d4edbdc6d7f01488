/* SPDX-License-Identifier: MIT
 *
 * malloc.h - malloc and free, whosever they are: glibc's, or those of the library that is preloaded
 */
static size_t malloc_size;

static inline void peer_start(const struct peer_config *config)
{
    malloc_size = config->size;
}

static inline void peer_thread_start(void)
{
}

static inline void peer_thread_stop(void)
{
}

static inline void *peer_get(void)
{
    return malloc(malloc_size);
}

static inline unsigned char *peer_data(void *handle)
{
    return handle;
}

static inline void peer_put(void *handle)
{
    free(handle);
}

#define PEER_HAS_GROWTH
static inline void peer_grow(const void *src, size_t total)
{
    size_t len = 0, cap = malloc_size;
    unsigned char *data = malloc(cap);
    while (data != NULL && len < total) {
        if (cap - len < APPENDED) {
            void *larger = realloc(data, cap * 2);
            if (larger == NULL)
                peer_die("realloc");
            data = larger;
            cap *= 2;
        }
        memcpy(data + len, src, APPENDED);
        len += APPENDED;
    }
    free(data);
}
