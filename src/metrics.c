/* SPDX-License-Identifier: MIT
 *
 * metrics.c - the statistics of pools as text that Prometheus scrapes; on stderr, with the debug mode `stats`
 *
 * The figures are copied from one pool after the other. Meanwhile the pool is pinned, so that it does not end, and the
 * registry's lock is let go. So threads that start or end do not wait until all caches of all pools are added up. Pools
 * that are made meanwhile are left out. So all pools that are shown existed at one time, and no two of them have the
 * same name.
 *
 * The text is written twice, the first time to nowhere, to find its length. So all memory is there before anything is
 * written, and a call that fails changes nothing.
 */
#include "budget.h"
#include "buffer.h"
#include "call.h"
#include "debug/say.h"
#include "fork.h"
#include "registry.h"
#include "stats.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct snapshot {
    const char *name;
    bufferpool_stats_t stats;
    uint64_t puts;
};

struct budget_snapshot {
    const char *name;
    uint64_t bytes, used;
};

/* In one block of memory, with the names behind them. */
struct snapshots {
    size_t n, budgets;
    struct snapshot *pool;
    struct budget_snapshot *budget;
};

/* ---- what there is ---- */

struct series {
    const char *label; /* besides the pool's */
    size_t offset;     /* in struct snapshot */
};

struct family {
    const char *name, *type, *help;
    struct series series[6];
    bool only_if_set; /* a sample of 0 is left out */
};

#define STAT(field) offsetof(struct snapshot, stats.field)

static const struct family families[] = {
    {"bufferpool_live_buffers", "gauge", "Buffers that callers hold, up to the cap.", {{"", STAT(live)}}, false},
    {"bufferpool_bypass_buffers",
     "gauge",
     "Buffers that callers hold beyond the cap.",
     {{"", STAT(bypass_live)}},
     false},
    {"bufferpool_idle_buffers",
     "gauge",
     "Buffers that nobody holds, in the caches of threads or in the depot.",
     {{"tier=\"thread\"", STAT(idle_thread)}, {"tier=\"depot\"", STAT(idle_depot)}},
     false},
    {"bufferpool_idle_bytes", "gauge", "Capacity of the idle buffers.", {{"", STAT(idle_bytes)}}, false},
    {"bufferpool_live_bytes",
     "gauge",
     "Capacity of the buffers that callers hold, also beyond the cap.",
     {{"", STAT(live_bytes)}},
     false},
    {"bufferpool_bypass_bytes",
     "gauge",
     "The part of the live bytes that is beyond the cap: as many buffers of the average capacity.",
     {{"", STAT(bypass_bytes)}},
     false},
    {"bufferpool_pooled_buffers", "gauge", "Buffers that exist, held and idle.", {{"", STAT(pooled)}}, false},
    {"bufferpool_pooled_bytes", "gauge", "Capacity of the buffers that exist.", {{"", STAT(pooled_bytes)}}, false},
    {"bufferpool_retained_bytes",
     "gauge",
     "Memory of freed buffers that stays for new ones.",
     {{"", STAT(retained_bytes)}},
     false},
    {"bufferpool_mapped_bytes",
     "gauge",
     "Address space of blocks, with and without memory; 0 with allocator hooks.",
     {{"", STAT(mapped_bytes)}},
     false},
    {"bufferpool_waiting", "gauge", "Callers that wait at the cap for a buffer.", {{"", STAT(waiting)}}, false},
    {"bufferpool_max_live_buffers",
     "gauge",
     "The cap: as many buffers may exist unless callers hold as many. Absent: no cap.",
     {{"", STAT(max_live)}},
     true},
    {"bufferpool_peak_in_flight_buffers",
     "gauge",
     "The most buffers that ever existed at once, also beyond the cap.",
     {{"", STAT(peak_in_flight)}},
     false},
    {"bufferpool_thread_caches", "gauge", "Threads that have a cache of the pool.", {{"", STAT(thread_caches)}}, false},
    {"bufferpool_gets_total",
     "counter",
     "Gets, by where the buffer came from; bypass: made beyond the cap; refused: none was had at the cap.",
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
     "Puts that freed the buffer, by the reason; over_cap: more existed than the cap; bypass: always 0.",
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
     "Bytes of idle buffers freed by trim, by reclaim, or since more existed than the cap.",
     {{"", STAT(reclaimed_bytes)}},
     false},
    {"bufferpool_stolen_buffers_total",
     "counter",
     "Idle buffers taken out of the caches of other threads.",
     {{"", STAT(stolen)}},
     false},
    {"bufferpool_waits_total",
     "counter",
     "Waits at the cap that ended, with a buffer or without.",
     {{"", STAT(waits)}},
     false},
    {"bufferpool_wait_seconds_total", "counter", "How long they took, all together.", {{"", STAT(waited_ns)}}, false},
    {"bufferpool_memory_pressure_watched",
     "gauge",
     "1 while the pool is trimmed when the system is short of memory. Absent: it is not.",
     {{"", STAT(memory_pressure_watched)}},
     true},
    {"bufferpool_memory_pressure_trims_total",
     "counter",
     "Trims since the system was short of memory.",
     {{"", STAT(memory_pressure_trims)}},
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

/* The length of the UTF-8 sequence at s, or 0 if there is none. */
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
    /* an overlong form, a surrogate, or beyond the last character */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* Writes the value of a label, escaped as the format demands. Bytes that are not UTF-8 would make the whole scrape
 * fail, so each of them appears as \xNN. */
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

static void write_value(struct text *text, uint64_t value)
{
    char number[24];
    (void)snprintf(number, sizeof(number), "} %" PRIu64 "\n", value);
    write_string(text, number);
}

/* In seconds: decimals are written without a floating-point number, which some locales write with a comma. */
static void write_ns(struct text *text, uint64_t ns)
{
    const uint64_t second = UINT64_C(1000000000);
    char number[40];
    (void)snprintf(number, sizeof(number), "} %" PRIu64 ".%09" PRIu64 "\n", ns / second, ns % second);
    write_string(text, number);
}

static void write_sample(struct text *text, const struct family *family, const struct series *series,
                         const struct snapshot *snapshot)
{
    write_string(text, family->name);
    write_string(text, "{pool=\"");
    // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): copy_pools has written all up to n
    write_label_value(text, snapshot->name);
    write_string(text, series->label[0] != '\0' ? "\"," : "\"");
    write_string(text, series->label);
    if (series->offset == STAT(waited_ns)) /* the one time among them */
        write_ns(text, value_of(snapshot, series));
    else
        write_value(text, value_of(snapshot, series));
}

/* The samples of a family. Those that are 0 are left out if the family asks for it, or with `brief`. */
static void write_samples(struct text *text, const struct family *family, const struct snapshot *snapshots, size_t n,
                          bool brief)
{
    for (size_t i = 0; i < n; i++)
        for (const struct series *series = family->series; series->label != NULL; series++)
            if (value_of(&snapshots[i], series) != 0 || !(family->only_if_set || brief))
                write_sample(text, family, series, &snapshots[i]);
}

#define FAMILIES (sizeof(families) / sizeof(families[0]))

static void write_head(struct text *text, const char *name, const char *type, const char *help)
{
    write_string(text, "# HELP ");
    write_string(text, name);
    write_string(text, " ");
    write_string(text, help);
    write_string(text, "\n# TYPE ");
    write_string(text, name);
    write_string(text, " ");
    write_string(text, type);
    write_string(text, "\n");
}

static void write_budget_sample(struct text *text, const char *name, const struct budget_snapshot *budget,
                                uint64_t value)
{
    write_string(text, name);
    write_string(text, "{budget=\"");
    write_label_value(text, budget->name);
    write_string(text, "\"");
    write_value(text, value);
}

static void write_budgets(struct text *text, const struct snapshots *all)
{
    static const char *const limit = "bufferpool_budget_bytes", *const used = "bufferpool_budget_used_bytes";
    if (all->budgets == 0)
        return;
    write_head(text, limit, "gauge", "The most bytes that the blocks of the budget's pools may take.");
    for (size_t i = 0; i < all->budgets; i++)
        write_budget_sample(text, limit, &all->budget[i], all->budget[i].bytes);
    write_head(text, used, "gauge", "Bytes that the blocks of the budget's pools take.");
    for (size_t i = 0; i < all->budgets; i++)
        write_budget_sample(text, used, &all->budget[i], all->budget[i].used);
}

/* Returns the length. */
// NOLINTNEXTLINE(readability-non-const-parameter): it is written to, by way of text
static size_t write_all(unsigned char *to, const struct snapshots *all)
{
    struct text text = {to, 0};
    for (size_t f = 0; f < FAMILIES; f++) {
        const struct family *family = &families[f];
        write_head(&text, family->name, family->type, family->help);
        write_samples(&text, family, all->pool, all->n, false);
    }
    write_budgets(&text, all);
    write_string(&text, "# EOF\n");
    return text.len;
}

/* ---- what the pools hold ---- */

/* While calls are under way, the number of puts may fall a little, since it is computed from other numbers
 * (bufferpool.h). Prometheus would take that for a new process, so a smaller value than the one shown before is not
 * shown. The other counters only grow by themselves. */
static uint64_t never_less(uint64_t *shown, uint64_t value)
{
    if (value > *shown)
        *shown = value;
    return *shown;
}

/* Takes the figures of a pool. The name points into the pool, which must not end while the name is used. */
static struct snapshot copy(const bufferpool_t *pool)
{
    struct snapshot snapshot = {.name = pool->name, .stats = BUFFERPOOL_STATS_INIT};
    bufferpool_stats_t *stats = &snapshot.stats;
    bufferpool_stats(pool, stats);
    snapshot.puts = stats->puts_kept + stats->drops_oversize + stats->drops_bypass + stats->drops_over_cap +
                    stats->drops_idle_limit;
    return snapshot;
}

/* Copies the pool's name, since the pool may be gone when the name is used. Returns where the next name goes. */
static char *copy_name(char *to, const char **name)
{
    const size_t size = strlen(*name) + 1;
    *name = memcpy(to, *name, size);
    return to + size;
}

/* How many there are. Returns the bytes of their names. */
static size_t count_all(struct snapshots *all)
{
    size_t names = 0;
    *all = (struct snapshots){0};
    for_each_pool (pool) {
        names += strlen(pool->name) + 1;
        all->n++;
    }
    for (const struct bufferpool_budget *budget = budget_first(); budget != NULL; budget = budget->next) {
        names += strlen(budget->name) + 1;
        all->budgets++;
    }
    return names;
}

/* Returns where the next name goes. */
static char *copy_budgets(struct budget_snapshot *at, char *name)
{
    for (struct bufferpool_budget *budget = budget_first(); budget != NULL; budget = budget->next) {
        fork_repair_budget(budget);
        *at = (struct budget_snapshot){budget->name, load_relaxed(&budget->bytes), load_relaxed(&budget->used)};
        name = copy_name(name, &at->name);
        at++;
    }
    return name;
}

/* Copies the figures of the pools that exist, except for those that end meanwhile. The default pool, whose name may
 * change, comes first, in the same hold of the lock in which the bytes of all names were counted. The registry's lock
 * is held, and is let go between two pools. */
static void copy_pools(struct snapshots *all, char *name)
{
    const uint32_t newest = registry_newest();
    bufferpool_t *pool;
    all->n = 0;
    for (size_t next = 0; (pool = registry_from(next)) != NULL;) {
        next = pool->index + 1;
        if (registry_is_newer(pool, newest))
            continue;
        fork_repair(pool);
        struct snapshot *at = &all->pool[all->n++];
        const char *shown = pool->name;
        name = copy_name(name, &shown);
        registry_pin(pool);
        registry_unlock();
        *at = copy(pool);
        registry_lock();
        at->name = shown;
        at->puts = never_less(&pool->puts_shown, at->puts);
        registry_unpin(pool);
    }
}

/* Takes the figures of all pools and budgets, in memory that the caller frees: all->pool. Returns false if there is
 * none. The registry's lock is held, and let go in between. */
static bool copy_all(struct snapshots *all)
{
    const size_t names = count_all(all);
    // NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI): not of nothing, since the default pool is always there
    all->pool = malloc(all->n * sizeof(*all->pool) + all->budgets * sizeof(*all->budget) + names);
    if (all->pool == NULL)
        return false;
    all->budget = (struct budget_snapshot *)(void *)(all->pool + all->n);
    copy_pools(all, copy_budgets(all->budget, (char *)(all->budget + all->budgets)));
    return true;
}

int bufferpool_metrics(bufferpool_buf_t *out)
{
    if (out == NULL || out->len > out->cap)
        return EINVAL;
    struct call call = call_begin("bufferpool_metrics", CALLER);
    const bool stepped_out = fork_enter(NULL);
    struct snapshots all;
    registry_lock();
    const bool copied = copy_all(&all);
    registry_unlock();
    fork_leave(stepped_out);
    int error = ENOMEM;
    if (copied) {
        const size_t length = write_all(NULL, &all);
        error = length <= SIZE_MAX - out->len ? buffer_reserve(out, out->len + length) : EOVERFLOW;
        if (error == 0)
            out->len += write_all(out->data + out->len, &all);
        free(all.pool);
    }
    call_end(&call, NULL);
    return error;
}

/* ---- for people ---- */

static bool was_used(const struct snapshot *snapshot)
{
    return snapshot->puts != 0 || snapshot->stats.live != 0 || snapshot->stats.bypass_live != 0;
}

/* Returns the length. */
// NOLINTNEXTLINE(readability-non-const-parameter): it is written to, by way of text
static size_t write_brief(unsigned char *to, const struct snapshot *snapshot, const char *when)
{
    struct text text = {to, 0};
    write_string(&text, "libbufferpool: pool ");
    write_label_value(&text, snapshot->name);
    write_string(&text, ", ");
    write_string(&text, when);
    write_string(&text, "\n");
    for (size_t f = 0; f < FAMILIES; f++)
        write_samples(&text, &families[f], snapshot, 1, true);
    return text.len;
}

/* Returns the text for a pool, in memory that the caller frees, or NULL if there is nothing to say, or no memory. */
static unsigned char *brief_of(const bufferpool_t *pool, const char *when, size_t *length)
{
    const struct snapshot snapshot = copy(pool);
    if (!was_used(&snapshot))
        return NULL;
    unsigned char *text = malloc(write_brief(NULL, &snapshot, when));
    if (text != NULL)
        *length = write_brief(text, &snapshot, when);
    return text;
}

void metrics_say(const bufferpool_t *pool, const char *when)
{
    size_t length = 0;
    unsigned char *text = brief_of(pool, when, &length);
    say((const char *)text, length);
    free(text);
}

/* The lock is not held while this thread reads a pool, nor while it writes: the reader of stderr may make it wait. */
void metrics_say_all(void)
{
    bufferpool_t *pool;
    size_t index = 0;
    do {
        size_t length = 0;
        unsigned char *text = NULL;
        registry_lock();
        pool = registry_from(index);
        if (pool != NULL) {
            index = pool->index + 1;
            fork_repair(pool);
            registry_pin(pool);
            registry_unlock();
            text = brief_of(pool, "at exit", &length);
            registry_lock();
            registry_unpin(pool);
        }
        registry_unlock();
        say((const char *)text, length);
        free(text);
    } while (pool != NULL);
}
