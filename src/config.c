/* SPDX-License-Identifier: MIT
 *
 * config.c - the configuration of a pool: its defaults, what is wrong with it, what the environment changes
 *
 * If the program's configuration is wrong, create fails. BUFFERPOOL_CONF may turn a correct configuration into a wrong
 * one. Then the pool has the program's configuration, and a line on stderr tells the operator, in every build: the
 * mistake is the operator's, and an operator sees no return value.
 */
#include "config.h"

#include "conf.h"
#include "debug/modes.h"
#include "debug/report.h"
#include "debug/say.h"
#include "heap/heap.h"
#include "heap/os.h"
#include "init.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The size of the struct in version 0.1, the first: no program was built with a smaller one. */
#define SIZE_MIN (offsetof(bufferpool_config_t, ctx) + sizeof(void *))

/* A program may make a pool for each client, so the number of reports is limited. */
#define REMARKS_MAX 16u

#define FLAGS_KNOWN                                                                                                    \
    (BUFFERPOOL_ZERO | BUFFERPOOL_BACKGROUND | BUFFERPOOL_HUGEPAGES | BUFFERPOOL_PRESSURE | BUFFERPOOL_START_NOW |     \
     BUFFERPOOL_NO_MEMBARRIER)

static void default_to(size_t *field, size_t value)
{
    if (*field == 0)
        *field = value;
}

/* What is wrong with a configuration, in words: "name (value) what (limit)", without the numbers that are 0. */
struct flaw {
    bool found;
    const char *name;
    size_t value;
    const char *what;
    size_t limit;
};

static struct flaw first_of(const struct flaw *flaws, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (flaws[i].found)
            return flaws[i];
    return (struct flaw){0};
}

/* Writes a line: whose configuration has the flaw, then the flaw, then its consequence. */
static void write_flaw(struct config_remark *remark, const char *whose, const struct flaw *flaw, const char *then)
{
    char value[32] = "", limit[32] = "";
    if (flaw->value != 0)
        (void)snprintf(value, sizeof(value), " (%zu)", flaw->value);
    if (flaw->limit != 0)
        (void)snprintf(limit, sizeof(limit), " (%zu)", flaw->limit);
    const int n = snprintf(remark->text, sizeof(remark->text), "libbufferpool: %s: %s%s %s%s%s\n", whose, flaw->name,
                           value, flaw->what, limit, then);
    remark->length = n > 0 && (size_t)n < sizeof(remark->text) ? (size_t)n : 0;
}

/* Reports a mistake of the program. The call returns an error too, so only a debug mode reports it. */
static void say_flaw(const struct flaw *flaw)
{
    struct config_remark remark;
    init_modes();
    if (!modes_have(MODES_NAMED))
        return;
    write_flaw(&remark, report_context.function, flaw, "");
    say(remark.text, remark.length);
}

static struct flaw flaw_of(const bufferpool_config_t *c)
{
    const unsigned unknown = c->flags & ~FLAGS_KNOWN, now = c->flags & BUFFERPOOL_START_NOW;
    const size_t page = os_page_size(), most = HEAP_CAP_MAX;
    const struct flaw flaws[] = {
        {(c->alignment & (c->alignment - 1)) != 0, "alignment", c->alignment, "is no power of two", 0},
        {c->alignment > page, "alignment", c->alignment, "is more than the page size", page},
        {c->buffer_capacity > most, "buffer_capacity", c->buffer_capacity, "is more than PTRDIFF_MAX - 8 MiB", most},
        {c->max_capacity > most, "max_capacity", c->max_capacity, "is more than PTRDIFF_MAX - 8 MiB", most},
        {c->max_capacity < c->buffer_capacity, "max_capacity", c->max_capacity, "is less than buffer_capacity",
         c->buffer_capacity},
        {c->alloc != NULL && c->free == NULL, "alloc", 0, "is set without free", 0},
        {c->alloc == NULL && c->free != NULL, "free", 0, "is set without alloc", 0},
        {c->retain_ms == BUFFERPOOL_NEVER, "retain_ms", c->retain_ms, "is BUFFERPOOL_NEVER", 0},
        {unknown != 0, "flags", c->flags, "has bits that are not known", unknown},
        {now != 0 && (c->flags & (BUFFERPOOL_BACKGROUND | BUFFERPOOL_PRESSURE)) == 0, "flags", c->flags,
         "has BUFFERPOOL_START_NOW without BUFFERPOOL_BACKGROUND or BUFFERPOOL_PRESSURE", 0},
    };
    return first_of(flaws, sizeof(flaws) / sizeof(flaws[0]));
}

/* Copies a configuration that has a size of any version. An odd size comes from BUFFERPOOL_CONFIG, where 0 stands for
 * the default of retain_ms as well. Returns what is wrong with the size. */
static struct flaw copy(const bufferpool_config_t *from, bufferpool_config_t *to)
{
    const size_t size = from->size & ~(size_t)1;
    const struct flaw flaws[] = {
        {from->size == 0, "size", 0, "is 0: start from BUFFERPOOL_CONFIG_INIT", 0},
        {size < SIZE_MIN, "size", from->size, "is less than that of the first version", SIZE_MIN},
        {from->size > SIZE_MIN && size < offsetof(bufferpool_config_t, retain_ms), "size", from->size,
         "is between those of two versions", 0},
        {size > sizeof(*to), "size", from->size, "is more than this version of the library knows", sizeof(*to)},
    };
    const struct flaw flaw = first_of(flaws, sizeof(flaws) / sizeof(flaws[0]));
    if (flaw.found)
        return flaw;
    memcpy(to, from, size);
    if (size != from->size && to->retain_ms == 0)
        to->retain_ms = DEFAULT_RETAIN_MS;
    return flaw;
}

/* Sets each field that is 0 to its default, except retain_ms, where 0 has a meaning. */
static void set_defaults(bufferpool_config_t *c)
{
    default_to(&c->buffer_capacity, DEFAULT_BUFFER_CAPACITY);
    default_to(&c->max_capacity, c->buffer_capacity > DEFAULT_MAX_CAPACITY ? c->buffer_capacity : DEFAULT_MAX_CAPACITY);
    default_to(&c->thread_cache_bytes, DEFAULT_THREAD_CACHE_BYTES);
    default_to(&c->alignment, DEFAULT_ALIGNMENT);
    if (c->reclaim_interval_ms == 0)
        c->reclaim_interval_ms = DEFAULT_RECLAIM_INTERVAL_MS;
}

int config_take(const bufferpool_config_t *from, bufferpool_config_t *own)
{
    struct flaw flaw = {0};
    memset(own, 0, sizeof(*own));
    own->retain_ms = DEFAULT_RETAIN_MS; /* a program built with version 0.2 has no such field */
    if (from != NULL)
        flaw = copy(from, own);
    if (!flaw.found) {
        bufferpool_config_t resolved = *own;
        set_defaults(&resolved);
        flaw = flaw_of(&resolved);
    }
    if (flaw.found)
        say_flaw(&flaw);
    return flaw.found ? EINVAL : 0;
}

/* ---- what the environment changes ---- */

/* Writes the remark on what is wrong with the configuration after the environment changed it. */
static void remark_on(const bufferpool_t *pool, const struct flaw *flaw, const char *then, struct config_remark *remark)
{
    char name[REPORT_NAME_MAX + 1], whose[sizeof("BUFFERPOOL_CONF: pool ") + REPORT_NAME_MAX];
    report_pool_name(pool, name);
    (void)snprintf(whose, sizeof(whose), "BUFFERPOOL_CONF: pool %s", name);
    write_flaw(remark, whose, flaw, then);
}

bool config_resolve(const bufferpool_config_t *own, const bufferpool_t *pool, bufferpool_config_t *to,
                    struct config_remark *remark)
{
    bufferpool_config_t changed = *own;
    *to = *own;
    set_defaults(to);
    remark->length = 0;
    if (!conf_apply(pool->name, &changed))
        return false;
    default_to(&changed.buffer_capacity, DEFAULT_BUFFER_CAPACITY);
    if (changed.buffer_capacity < to->buffer_capacity) { /* the program may write as much without asking for it */
        const struct flaw less = {true, "buffer_capacity", changed.buffer_capacity, "is less than the program's",
                                  to->buffer_capacity};
        remark_on(pool, &less, ", and is ignored", remark);
        changed.buffer_capacity = to->buffer_capacity;
    }
    set_defaults(&changed);
    const struct flaw flaw = flaw_of(&changed);
    if (flaw.found)
        remark_on(pool, &flaw, "; the pool keeps the program's configuration", remark);
    else
        *to = changed;
    return !flaw.found;
}

void config_tell(const struct config_remark *remark)
{
    static _Atomic(uint32_t) told;
    conf_tell();
    if (remark->length > 0 && load_relaxed(&told) < REMARKS_MAX) { /* a few more if threads are here at once */
        (void)add_relaxed(&told, 1);
        say(remark->text, remark->length);
    }
}
