/* SPDX-License-Identifier: MIT
 *
 * holders.c - which callers hold which buffers, grouped by the call that got them
 *
 * The held buffers are found by the words of their descriptors, and copied under the registry's lock, since otherwise a
 * pool may end at any time. Names of functions are looked up after that. To look a name up takes a lock of the loader,
 * and the loader holds that lock while it runs the end of this library, which takes the registry's.
 */
#include "buffer.h"
#include "call.h"
#include "debug/modes.h"
#include "debug/recording.h"
#include "debug/records.h"
#include "debug/say.h"
#include "fork.h"
#include "heap/desc.h"
#include "registry.h"
#include "stats.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct holder {
    char pool[REPORT_NAME_MAX + 1];
    uintptr_t by;      /* 0: not recorded */
    bool before;       /* got before recording began */
    size_t unknown;    /* grown buffers, of which `bytes` has no more than buffer_capacity */
    uint64_t since_ns; /* of the oldest */
    uint32_t tid;      /* of the thread that got the oldest */
    size_t buffers, bytes;
    size_t number; /* the order in which the lines were made: by pool index */
};

struct holders {
    struct holder *all;
    size_t n, room;
    bool recorded; /* callers are */
};

static bool make_room(struct holders *holders, size_t n)
{
    if (n <= holders->room - holders->n)
        return true;
    const size_t room = holders->n + (n > holders->n ? n : holders->n);
    struct holder *all = realloc(holders->all, room * sizeof(*all));
    if (all == NULL)
        return false;
    holders->all = all;
    holders->room = room;
    return true;
}

/* Returns whether a held buffer that has no record of this recording was got before the recording began. */
static bool is_from_before(const bufferpool_t *pool, const struct record *record)
{
    const uint32_t recording = modes_recording();
    return recording != 0 && load_relaxed(&pool->records.missed) != recording &&
           (record == NULL || load_relaxed(&record->turn) == RECORD_BEFORE);
}

static struct holder read_holder(const bufferpool_t *pool, const struct desc *d, uintptr_t word)
{
    struct holder holder = {.buffers = 1, .bytes = pool->heap.base};
    const struct record *record = records_at(&pool->records, d);
    /* acquire: with the release in watch_got */
    if (record != NULL && load_acquire(&record->turn) == RECORD_GOT && load_relaxed(&record->got_by) != 0) {
        holder.by = load_relaxed(&record->got_by);
        holder.since_ns = load_relaxed(&record->got_ns);
        holder.tid = load_relaxed(&record->got_tid);
        holder.bytes = load_relaxed(&record->cap);
    } else {
        holder.before = is_from_before(pool, record);
        holder.unknown = desc_state(word) == STATE_LIVE_GROWN;
    }
    return holder;
}

/* Lines without a record come last. Of these, the lines for buffers from before the recording are the very last. */
static int compare_kinds(const struct holder *a, const struct holder *b)
{
    if ((a->by == 0) != (b->by == 0))
        return a->by == 0 ? 1 : -1;
    return (int)a->before - (int)b->before;
}

/* The oldest first. */
static int compare_ages(const void *left, const void *right)
{
    const struct holder *a = left, *b = right;
    const int kinds = compare_kinds(a, b);
    if (kinds != 0)
        return kinds;
    if (a->since_ns != b->since_ns)
        return a->since_ns < b->since_ns ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

/* By caller; of one caller the oldest first. */
static int compare_callers(const void *left, const void *right)
{
    const struct holder *a = left, *b = right;
    if (a->by != b->by)
        return a->by < b->by ? -1 : 1;
    return compare_ages(left, right);
}

/* Merges those of the same caller, from `first` on. */
static void group(struct holders *holders, size_t first)
{
    struct holder *all = holders->all;
    size_t to = first;
    if (holders->n == first)
        return;
    qsort(all + first, holders->n - first, sizeof(*all), compare_callers);
    for (size_t i = first + 1; i < holders->n; i++) {
        if (all[i].by == all[to].by && all[i].before == all[to].before) {
            all[to].buffers += all[i].buffers;
            all[to].bytes += all[i].bytes;
            all[to].unknown += all[i].unknown;
        } else {
            all[++to] = all[i];
        }
    }
    holders->n = to + 1;
}

static bool add(struct holders *holders, const struct holder *holder)
{
    if (!make_room(holders, 1))
        return false;
    holders->all[holders->n++] = *holder;
    return true;
}

/* Adds one line for all buffers of a pool without records. */
static bool add_sum(struct holders *holders, const bufferpool_t *pool)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(pool, &stats);
    const struct holder sum = {.buffers = (size_t)stats.live + (size_t)stats.bypass_live,
                               .bytes = (size_t)stats.live_bytes};
    return sum.buffers == 0 || add(holders, &sum);
}

/* Only the thread that holds a buffer may look at its cap. So the bytes of grown buffers without a record are computed:
 * all bytes that callers hold, less those of which the records know. */
static void add_unknown_bytes(struct holders *holders, const bufferpool_t *pool, size_t first)
{
    struct holder *line = NULL;
    size_t known = 0;
    for (size_t i = first; i < holders->n; i++) {
        known += holders->all[i].bytes;
        if (holders->all[i].unknown > 0)
            line = &holders->all[i];
    }
    if (line == NULL)
        return;
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(pool, &stats);
    if (stats.live_bytes > known) /* otherwise buffers come and go just now */
        line->bytes += (size_t)stats.live_bytes - known;
}

/* After this many new lines, those of one caller are merged, so that memory grows with the number of callers, not of
 * buffers. */
#define UNGROUPED_MAX 1024u

static bool add_each(struct holders *holders, const bufferpool_t *pool, size_t first)
{
    const struct desc_table *table = &pool->heap.table;
    const struct desc *d;
    size_t most = first + UNGROUPED_MAX;
    /* acquire: with the release in desc_take; the chunks of these descriptors are there */
    for_each_desc (table, i, d, load_acquire(&table->used)) {
        const uintptr_t word = load_relaxed(&d->word);
        if (!desc_is_held(word))
            continue;
        const struct holder holder = read_holder(pool, d, word);
        if (!add(holders, &holder))
            return false;
        if (holders->n >= most) {
            group(holders, first);
            most = 2 * holders->n - first + UNGROUPED_MAX;
        }
    }
    group(holders, first);
    add_unknown_bytes(holders, pool, first);
    return true;
}

/* The registry's lock is held. */
static bool add_pool(struct holders *holders, bufferpool_t *pool)
{
    fork_repair(pool);
    const size_t first = holders->n;
    bool added;
    if (holders->recorded)
        added = add_each(holders, pool, first);
    else
        added = add_sum(holders, pool);
    if (!added)
        return false;
    for (size_t i = first; i < holders->n; i++) {
        holders->all[i].number = i;
        report_pool_name(pool, holders->all[i].pool);
    }
    return true;
}

static bool collect(struct holders *holders)
{
    bool complete = true;
    registry_lock();
    holders->recorded = modes_have(MODES_WATCH); /* which changes under this lock alone */
    for_each_pool (pool)
        complete = complete && add_pool(holders, pool);
    registry_unlock();
    if (holders->n > 0)
        qsort(holders->all, holders->n, sizeof(*holders->all), compare_ages);
    return complete;
}

static void print(FILE *to, const struct holder *holder, uint64_t now_ns)
{
    char caller[160], thread[64] = "-", age[32] = "-";
    records_caller(caller, sizeof(caller), holder->by);
    if (holder->before)
        (void)snprintf(caller, sizeof(caller), "got before recording began");
    if (holder->by != 0) {
        const uint64_t ms = now_ns > holder->since_ns ? (now_ns - holder->since_ns) / 1000000 : 0;
        (void)snprintf(age, sizeof(age), "%" PRIu64 ".%03u", ms / 1000, (unsigned)(ms % 1000));
        records_thread(thread, sizeof(thread), holder->tid);
    }
    (void)fprintf(to, "%10zu %14zu %12s  %s: %s, %s\n", holder->buffers, holder->bytes, age, holder->pool, caller,
                  thread);
}

/* Returns the table in memory that the caller frees, or NULL if there is no memory. *n is its number of lines without
 * the heading. */
static char *write_table(size_t *n, size_t *length)
{
    struct holders holders = {NULL, 0, 0, false};
    char *text = NULL;
    FILE *to = collect(&holders) ? open_memstream(&text, length) : NULL;
    if (to != NULL) {
        const uint64_t now_ns = records_now();
        (void)fprintf(to, "%10s %14s %12s  %s\n", "buffers", "bytes", "oldest (s)",
                      "pool: got by, oldest one's thread");
        for (size_t i = 0; i < holders.n; i++)
            print(to, &holders.all[i], now_ns);
        if (MODES_BUILT && !holders.recorded)
            (void)fputs("Who got them is recorded with BUFFERPOOL_DEBUG=holders in the environment, and after "
                        "bufferpool_record_holders(1).\n",
                        to);
        const bool failed = ferror(to) != 0;
        if (fclose(to) != 0 || failed) {
            free(text);
            text = NULL;
        }
    }
    *n = holders.n;
    free(holders.all);
    return text;
}

/* write_table with cancellation disabled: it reads the names of threads from files, and each read is a cancellation
 * point. */
static char *write_uncancelled(size_t *n, size_t *length)
{
    int cancelable;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable);
    char *text = write_table(n, length);
    pthread_setcancelstate(cancelable, NULL);
    return text;
}

int bufferpool_holders(bufferpool_buf_t *out)
{
    if (out == NULL || out->len > out->cap)
        return EINVAL;
    struct call call = call_begin("bufferpool_holders", CALLER);
    const bool stepped_out = fork_enter(NULL);
    size_t n, length;
    char *text = write_uncancelled(&n, &length);
    fork_leave(stepped_out);
    const int error = text != NULL ? buffer_append(out, text, length) : ENOMEM;
    free(text);
    call_end(&call, NULL);
    return error;
}

int bufferpool_record_holders(int on)
{
    if (!MODES_BUILT)
        return ENOTSUP;
    struct call call = call_begin("bufferpool_record_holders", CALLER);
    const bool stepped_out = fork_enter(NULL);
    recording_switch(on != 0);
    fork_leave(stepped_out);
    call_end(&call, NULL);
    return 0;
}

void holders_say(void)
{
    static const char heading[] = "libbufferpool: held at exit\n";
    size_t n, length;
    char *text = write_uncancelled(&n, &length);
    if (text != NULL && n > 0) {
        say(heading, sizeof(heading) - 1);
        say(text, length);
    }
    free(text);
}
