/* SPDX-License-Identifier: MIT
 *
 * resting.c - the memory of a pool that does nothing: one that was only created, and one after a get, a put and a trim
 *
 * The program counts what the library asks for: of malloc and its relatives the bytes that the call names, of mmap the
 * pages that have memory behind them. It does not count what malloc adds to each block, or the library's own data, to
 * which no pool adds. What all pools share, or what a thread has once for all pools, stands apart: it is there already
 * when the second pool comes. So the program takes each figure twice, for the first pool of the process and for one
 * more beside it.
 *
 * Usage: resting CREATED USED: fails if one more pool takes more than so many bytes, or if memory of pools that were
 * destroyed piles up.
 */
#include <bufferpool.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- what the library asks for ---- */

enum { ASKED_MAX = 512 };

struct asked {
    unsigned char *at;
    size_t bytes;
    bool mapped;
};

static struct asked asked[ASKED_MAX];

static void *add(void *at, size_t bytes, bool mapped)
{
    for (size_t i = 0; i < ASKED_MAX; i++)
        if (asked[i].at == NULL) {
            asked[i] = (struct asked){at, bytes, mapped};
            return at;
        }
    abort();
}

static void forget(const void *at)
{
    for (size_t i = 0; i < ASKED_MAX; i++)
        if (asked[i].at == at)
            asked[i].at = NULL;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *at);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t bytes);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *at);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t bytes);

void *__wrap_malloc(size_t size)
{
    return add(__real_malloc(size), size, false);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return add(__real_calloc(n, size), n * size, false);
}

void *__wrap_realloc(void *old, size_t size)
{
    if (old != NULL)
        forget(old);
    return add(__real_realloc(old, size), size, false);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return add(__real_aligned_alloc(alignment, size), size, false);
}

void __wrap_free(void *at)
{
    if (at != NULL)
        forget(at);
    __real_free(at);
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    void *mapping = __real_mmap(at, bytes, protection, flags, fd, offset);
    return mapping == MAP_FAILED ? mapping : add(mapping, bytes, true);
}

int __wrap_munmap(void *at, size_t bytes)
{
    forget(at);
    return __real_munmap(at, bytes);
}

static size_t resident(const struct asked *a)
{
    static unsigned char pages[1 << 16];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = (a->bytes + page - 1) / page, bytes = 0;
    if (n > sizeof(pages) || mincore(a->at, a->bytes, pages) != 0)
        abort();
    for (size_t i = 0; i < n; i++)
        bytes += (pages[i] & 1) * page;
    return bytes;
}

/* ---- what a pool takes ---- */

static size_t held(void)
{
    size_t bytes = 0;
    for (size_t i = 0; i < ASKED_MAX; i++)
        if (asked[i].at != NULL)
            bytes += asked[i].mapped ? resident(&asked[i]) : asked[i].bytes;
    return bytes;
}

static bool listed[ASKED_MAX];

static void list(const char *when)
{
    for (size_t i = 0; i < ASKED_MAX; i++)
        if (asked[i].at != NULL && !listed[i]) {
            printf("    %-10s %6zu bytes %s\n", when, asked[i].mapped ? resident(&asked[i]) : asked[i].bytes,
                   asked[i].mapped ? "resident of a mapping" : "of malloc's");
            listed[i] = true;
        }
}

struct taken {
    size_t created, used;
};

static struct taken measure(const char *name, bufferpool_t **pool)
{
    struct taken taken;
    size_t before = held();
    *pool = bufferpool_create(NULL);
    if (*pool == NULL)
        abort();
    taken.created = held() - before;
    printf("%s pool, created: %zu bytes\n", name, taken.created);
    list("created");

    bufferpool_buf_t *buf = bufferpool_get(*pool);
    if (buf == NULL)
        abort();
    memset(buf->data, 1, buf->cap);
    bufferpool_put(buf);
    bufferpool_trim(*pool);
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(*pool, &stats);
    if (stats.idle_bytes != 0 || stats.live != 0)
        abort();
    taken.used = held() - before;
    printf("%s pool, a get, a put and a trim later: %zu bytes\n", name, taken.used);
    list("used");
    return taken;
}

static bool within(const char *what, size_t bytes, const char *limit)
{
    bool ok = bytes > 0 && bytes <= strtoul(limit, NULL, 10);
    printf("one more pool, %s: %zu bytes of at most %s: %s\n", what, bytes, limit, ok ? "yes" : "NO");
    return ok;
}

/* The structs of some destroyed pools stay, so that a later call on them is reported: of so many, and no more. */
static bool ended_pools_end(void)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "ended"; /* names of one length */
    size_t before = 0;
    for (int i = 0; i < 100; i++) {
        if (i == 50)
            before = held();
        bufferpool_t *pool = bufferpool_create(&config);
        if (pool == NULL || bufferpool_destroy(pool) != 0)
            abort();
    }
    return held() == before;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    bufferpool_t *first, *more;
    struct taken one = measure("the first", &first);
    struct taken two = measure("one more", &more);
    printf("shared by all pools, and of a thread for all pools: %zu bytes\n", one.used - two.used);
    const size_t all = held();
    if (bufferpool_destroy(more) != 0 || all - held() < two.used - two.created) {
        printf("%zu bytes came back when it was destroyed, of %zu\n", all - held(), two.used);
        return 1;
    }
    if (!ended_pools_end()) {
        puts("each pool that is destroyed leaves something behind");
        return 1;
    }
    bool created = within("created", two.created, argv[1]);
    bool used = within("used", two.used, argv[2]);
    return bufferpool_destroy(first) != 0 || !created || !used;
}
