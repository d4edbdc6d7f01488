/* SPDX-License-Identifier: MIT
 *
 * metrics.c - the statistics of all pools, as text that Prometheus scrapes
 *
 * What the pools hold is copied under the registry's lock, since a pool may end at any time without it. The text is
 * written twice, first to nowhere for its length: so one reserve is all that can fail, and nothing was changed then.
 */
#include "bufferpool.h"
#include "pool.h"
#include "registry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct snapshot {
    const char *name;
    bufferpool_stats_t stats;
    uint64_t puts;
};

/* ---- what there is ---- */

struct series {
    const char *label; /* besides the pool's */
    size_t offset;     /* in struct snapshot */
};

struct family {
    const char *name, *type, *help;
    struct series series[6];
    bool only_if_set; /* 0 is no value */
};

#define STAT(field) offsetof(struct snapshot, stats.field)

static const struct family families[] = {
    {"bufferpool_live_buffers", "gauge", "Pooled buffers that callers hold.", {{"", STAT(live)}}, false},
    {"bufferpool_bypass_buffers",
     "gauge",
     "Buffers made beyond the cap that callers hold.",
     {{"", STAT(bypass_live)}},
     false},
    {"bufferpool_idle_buffers",
     "gauge",
     "Pooled buffers that nobody holds, in the caches of threads or in the depot.",
     {{"tier=\"thread\"", STAT(idle_thread)}, {"tier=\"depot\"", STAT(idle_depot)}},
     false},
    {"bufferpool_idle_bytes", "gauge", "Capacity of the idle buffers.", {{"", STAT(idle_bytes)}}, false},
    {"bufferpool_live_bytes", "gauge", "Capacity of the live pooled buffers.", {{"", STAT(live_bytes)}}, false},
    {"bufferpool_max_live_buffers",
     "gauge",
     "The cap: as many pooled buffers may exist. Absent: no cap.",
     {{"", STAT(max_live)}},
     true},
    {"bufferpool_peak_in_flight_buffers",
     "gauge",
     "The most pooled buffers that ever were outside the depot at once.",
     {{"", STAT(peak_in_flight)}},
     false},
    {"bufferpool_thread_caches", "gauge", "Threads that have a cache of the pool.", {{"", STAT(thread_caches)}}, false},
    {"bufferpool_gets_total",
     "counter",
     "Gets, by where the buffer came from; refused: none was had at the cap.",
     {{"source=\"thread\"", STAT(gets_thread)},
      {"source=\"depot\"", STAT(gets_depot)},
      {"source=\"fresh\"", STAT(gets_fresh)},
      {"source=\"bypass\"", STAT(gets_bypass)},
      {"source=\"refused\"", STAT(gets_refused)}},
     false},
    {"bufferpool_puts_total",
     "counter",
     "Puts, also of buffers that were dropped.",
     {{"", offsetof(struct snapshot, puts)}},
     false},
    {"bufferpool_drops_total",
     "counter",
     "Puts that freed the buffer, by the reason.",
     {{"reason=\"oversize\"", STAT(drops_oversize)},
      {"reason=\"bypass\"", STAT(drops_bypass)},
      {"reason=\"over_cap\"", STAT(drops_over_cap)},
      {"reason=\"idle_limit\"", STAT(drops_idle_limit)}},
     false},
    {"bufferpool_grows_total", "counter", "Blocks replaced by larger ones.", {{"", STAT(grows)}}, false},
    {"bufferpool_shrinks_total",
     "counter",
     "Blocks of grown buffers replaced by smaller ones after little use.",
     {{"", STAT(shrinks)}},
     false},
    {"bufferpool_reclaimed_bytes_total",
     "counter",
     "Bytes of idle buffers freed by trim, by reclaim or by a lowered cap.",
     {{"", STAT(reclaimed_bytes)}},
     false},
    {"bufferpool_stolen_buffers_total",
     "counter",
     "Idle buffers taken out of the caches of other threads.",
     {{"", STAT(stolen)}},
     false},
};

static uint64_t value_of(const struct snapshot *snapshot, const struct series *series)
{
    uint64_t value;
    memcpy(&value, (const unsigned char *)snapshot + series->offset, sizeof(value));
    return value;
}

/* ---- the text ---- */

struct text {
    unsigned char *to; /* NULL: nowhere */
    size_t len;
};

static void write_bytes(struct text *text, const void *bytes, size_t n)
{
    if (text->to != NULL)
        memcpy(text->to + text->len, bytes, n);
    text->len += n;
}

static void write_string(struct text *text, const char *string)
{
    write_bytes(text, string, strlen(string));
}

/* The length of the UTF-8 sequence at s; 0: there is none. */
static size_t utf8_length(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    const size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    /* too long for what it says, a surrogate, or beyond the last character */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* As the format asks for, and bytes that are no UTF-8, with which a scrape would fail as a whole, as \xNN. */
static void write_label_value(struct text *text, const char *value)
{
    for (const unsigned char *s = (const unsigned char *)value; *s != '\0';) {
        const size_t n = utf8_length(s);
        if (n == 0) {
            char bad[6];
            (void)snprintf(bad, sizeof(bad), "\\\\x%02x", *s++);
            write_string(text, bad);
            continue;
        }
        if (*s == '\n')
            write_string(text, "\\n");
        else if (*s == '\\' || *s == '"')
            write_bytes(text, (const char[]){'\\', (char)*s}, 2);
        else
            write_bytes(text, s, n);
        s += n;
    }
}

static void write_sample(struct text *text, const struct family *family, const struct series *series,
                         const struct snapshot *snapshot)
{
    const uint64_t value = value_of(snapshot, series);
    if (family->only_if_set && value == 0)
        return;
    char number[24];
    (void)snprintf(number, sizeof(number), " %" PRIu64 "\n", value);
    write_string(text, family->name);
    write_string(text, "{pool=\"");
    // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): copy_all has written all that it counted, under one lock
    write_label_value(text, snapshot->name);
    write_string(text, series->label[0] != '\0' ? "\"," : "\"");
    write_string(text, series->label);
    write_string(text, "}");
    write_string(text, number);
}

/* Returns the length. */
// NOLINTNEXTLINE(readability-non-const-parameter): it is written to, by way of text
static size_t write_all(unsigned char *to, const struct snapshot *snapshots, size_t n)
{
    struct text text = {to, 0};
    for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
        const struct family *family = &families[f];
        write_string(&text, "# HELP ");
        write_string(&text, family->name);
        write_string(&text, " ");
        write_string(&text, family->help);
        write_string(&text, "\n# TYPE ");
        write_string(&text, family->name);
        write_string(&text, " ");
        write_string(&text, family->type);
        write_string(&text, "\n");
        for (size_t i = 0; i < n; i++)
            for (const struct series *series = family->series; series->label != NULL; series++)
                write_sample(&text, family, series, &snapshots[i]);
    }
    write_string(&text, "# EOF\n");
    return text.len;
}

/* ---- what the pools hold ---- */

/* While calls are under way these two counters may fall a little (bufferpool.h), which Prometheus would take for a new
 * process. */
static uint64_t never_less(uint64_t *shown, uint64_t value)
{
    if (value > *shown)
        *shown = value;
    return *shown;
}

/* All pools, in one block of memory that is the caller's to free; NULL: there is none. The registry's lock is held. */
static struct snapshot *copy_all(size_t *n)
{
    size_t names = 0;
    *n = 0;
    for (bufferpool_t *pool = registry_from(0); pool != NULL; pool = registry_from(pool->index + 1)) {
        names += strlen(pool->name) + 1;
        ++*n;
    }
    // NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI): not of nothing, since the default pool is always there
    struct snapshot *snapshots = malloc(*n * sizeof(*snapshots) + names);
    if (snapshots == NULL)
        return NULL;
    struct snapshot *at = snapshots;
    char *name = (char *)(snapshots + *n);
    for (bufferpool_t *pool = registry_from(0); pool != NULL; pool = registry_from(pool->index + 1)) {
        const bufferpool_stats_t init = BUFFERPOOL_STATS_INIT;
        at->stats = init;
        bufferpool_stats(pool, &at->stats);
        at->puts = at->stats.puts_kept + at->stats.drops_oversize + at->stats.drops_bypass + at->stats.drops_over_cap +
                   at->stats.drops_idle_limit;
        at->stats.gets_thread = never_less(&pool->gets_shown, at->stats.gets_thread);
        at->puts = never_less(&pool->puts_shown, at->puts);
        const size_t size = strlen(pool->name) + 1;
        at->name = memcpy(name, pool->name, size);
        name += size;
        at++;
    }
    return snapshots;
}

int bufferpool_metrics(bufferpool_buf_t *out)
{
    if (out == NULL || out->len > out->cap)
        return EINVAL;
    const int saved_errno = errno;
    size_t n;
    registry_lock();
    struct snapshot *snapshots = copy_all(&n);
    registry_unlock();
    int error = ENOMEM;
    if (snapshots != NULL) {
        const size_t length = write_all(NULL, snapshots, n);
        error = length <= SIZE_MAX - out->len ? bufferpool_buf_reserve(out, out->len + length) : EOVERFLOW;
        if (error == 0)
            out->len += write_all(out->data + out->len, snapshots, n);
        free(snapshots);
    }
    errno = saved_errno;
    return error;
}
