/* SPDX-License-Identifier: MIT
 *
 * sized.c - a program whose structs have the size that its header gave them, whatever size the library's structs have
 *
 * With the fields of today's header (SAME) the program must run with a library that knows one more field, and that
 * library neither reads nor writes beyond what the program has. With a field `grown` in each struct (NEWER), a library
 * that does not know the field refuses the program a pool, and the program reads zero there in the statistics. A
 * library that knows the field reads and writes it (GROWN).
 */
#include <bufferpool.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))

static void fail(int line, const char *what)
{
    fprintf(stderr, "sized.c:%d: not so: %s\n", line, what);
    exit(EXIT_FAILURE);
}

enum { BEHIND = 64 };

/* What lies behind the structs is not the library's. */
struct config {
    bufferpool_config_t config;
    unsigned char behind[BEHIND];
};

struct stats {
    bufferpool_stats_t stats;
    unsigned char behind[BEHIND];
};

static void check_behind(const unsigned char behind[BEHIND])
{
    for (int i = 0; i < BEHIND; i++)
        CHECK(behind[i] == 0xa5);
}

static bufferpool_t *create(struct config *c)
{
    memset(c->behind, 0xa5, BEHIND);
    bufferpool_t *pool = bufferpool_create(&c->config);
    check_behind(c->behind);
    return pool;
}

static struct stats stats_of(const bufferpool_t *pool)
{
    struct stats s;
    memset(&s, 0xa5, sizeof(s));
    s.stats.size = sizeof(s.stats);
    bufferpool_stats(pool, &s.stats);
    check_behind(s.behind);
    CHECK(s.stats.size == sizeof(s.stats));
    return s;
}

int main(void)
{
    struct config c = {BUFFERPOOL_CONFIG_INIT, {0}};
    c.config.name = "sized";
    c.config.max_live = 3;

#ifdef NEWER
    errno = 0;
    CHECK(create(&c) == NULL && errno == EINVAL);
    bufferpool_t *pool = bufferpool_create(NULL);
#else
    bufferpool_t *pool = create(&c);
#endif
    CHECK(pool != NULL);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    CHECK(buf != NULL && bufferpool_buf_printf(buf, "%d", 42) == 0 && buf->len == 2);

    struct stats s = stats_of(pool);
    CHECK(s.stats.live == 1 && s.stats.gets_fresh == 1 && s.stats.stolen == 0);
#ifdef NEWER
    CHECK(s.stats.grown == 0);
#else
    CHECK(bufferpool_max_live(pool) == 3 && s.stats.max_live == 3);
#endif
#ifdef GROWN
    CHECK(s.stats.grown == 42);
    c.config.grown = 5; /* more than it takes */
    errno = 0;
    CHECK(create(&c) == NULL && errno == EINVAL);
#endif
    bufferpool_put(buf);
    CHECK(bufferpool_destroy(pool) == 0);
    return EXIT_SUCCESS;
}
