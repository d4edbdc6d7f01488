/* SPDX-License-Identifier: MIT
 *
 * malloc.h - malloc and free: glibc's, or those of the library that is preloaded
 */
#include <dlfcn.h>
#include <stdbool.h>

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

static inline void *peer_get_grown(size_t total)
{
    void *data = malloc(malloc_size);
    void *larger = data != NULL ? realloc(data, total) : NULL;
    if (larger == NULL)
        peer_die("realloc");
    return larger;
}

/* Looks up a function of the preloaded malloc and sets *function. Returns false if this malloc has no such function. */
static inline bool malloc_find(const char *name, void *function)
{
    void *symbol = dlsym(RTLD_DEFAULT, name);
    memcpy(function, &symbol, sizeof(symbol));
    return symbol != NULL;
}

/* Each malloc has its own name for this. glibc's name is there with all of them, so it must come last. */
#define PEER_HAS_TRIM
static inline void peer_trim(void)
{
    int (*mallctl)(const char *, void *, size_t *, void *, size_t);
    void (*mi_collect)(bool);
    void (*release)(void);
    int (*malloc_trim)(size_t);
    if (malloc_find("mallctl", &mallctl))
        mallctl("arena.4096.purge", NULL, NULL, NULL, 0); /* 4096 means all arenas */
    else if (malloc_find("mi_collect", &mi_collect))
        mi_collect(true);
    else if (malloc_find("MallocExtension_ReleaseFreeMemory", &release))
        release();
    else if (malloc_find("malloc_trim", &malloc_trim))
        malloc_trim(0);
}
