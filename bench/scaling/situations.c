/* SPDX-License-Identifier: MIT
 *
 * situations.c - see situations.h
 */
#include "situations.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY = 1024, CACHED = 16, HELD = 8, BEYOND = 8, RING = 256, BATCH = 64, PAIRS_MAX = 128 };

const struct situation *situation;
unsigned threads;

static bufferpool_t *pool;

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* ---- calls ---- */

static bufferpool_buf_t *got(bufferpool_buf_t *buf)
{
    if (buf == NULL)
        die("get");
    return buf;
}

static bufferpool_buf_t *get(struct worker *w)
{
    call_begins(w);
    bufferpool_buf_t *buf = got(bufferpool_get(pool));
    call_ends(w);
    return buf;
}

static void put(struct worker *w, bufferpool_buf_t *buf)
{
    call_begins(w);
    bufferpool_put(buf);
    call_ends(w);
}

static bufferpool_buf_t *get_aside(struct worker *w)
{
    bufferpool_buf_t *buf = got(bufferpool_get(pool));
    call_passes(w);
    return buf;
}

static void put_aside(struct worker *w, bufferpool_buf_t *buf)
{
    bufferpool_put(buf);
    call_passes(w);
}

/* ---- get and put ---- */

static void pairs(struct worker *w)
{
    for (int i = 0; i < BATCH; i++) {
        put(w, get(w));
        w->done++;
    }
}

static void hold(struct worker *w)
{
    bufferpool_buf_t **more = w->held + w->holds;
    for (size_t i = 0; i < situation->room; i++)
        more[i] = get(w);
    for (size_t i = situation->room; i > 0; i--)
        put(w, more[i - 1]);
    w->done += situation->room;
}

/* Replaces a buffer at random. */
static void replace(struct worker *w)
{
    for (int i = 0; i < BATCH; i++) {
        w->random = w->random * 6364136223846793005u + 1442695040888963407u;
        const size_t at = (size_t)(((w->random >> 32) * w->holds) >> 32);
        put(w, w->held[at]);
        w->held[at] = get(w);
        w->done++;
    }
}

/* Thread 2i gets, thread 2i + 1 puts. */
static struct {
    _Alignas(128) _Atomic(size_t) head; /* written by the one that gets */
    size_t tail_seen;
    _Alignas(128) _Atomic(size_t) tail; /* written by the other */
    size_t head_seen;
    _Alignas(128) bufferpool_buf_t *slots[RING];
} rings[PAIRS_MAX];

static void produce(struct worker *w)
{
    size_t head = atomic_load_explicit(&rings[w->number / 2].head, memory_order_relaxed);
    for (int i = 0; i < RING; i++) {
        while (head - rings[w->number / 2].tail_seen == RING) {
            rings[w->number / 2].tail_seen = atomic_load_explicit(&rings[w->number / 2].tail, memory_order_acquire);
            if (head - rings[w->number / 2].tail_seen == RING)
                call_passes(w);
        }
        bufferpool_buf_t *buf = get(w);
        rings[w->number / 2].slots[head % RING] = buf;
        atomic_store_explicit(&rings[w->number / 2].head, ++head, memory_order_release);
    }
}

static void consume(struct worker *w)
{
    size_t tail = atomic_load_explicit(&rings[w->number / 2].tail, memory_order_relaxed);
    for (int i = 0; i < RING; i++) {
        while (tail == rings[w->number / 2].head_seen) {
            rings[w->number / 2].head_seen = atomic_load_explicit(&rings[w->number / 2].head, memory_order_acquire);
            if (tail == rings[w->number / 2].head_seen)
                call_passes(w);
        }
        bufferpool_buf_t *buf = rings[w->number / 2].slots[tail % RING];
        atomic_store_explicit(&rings[w->number / 2].tail, ++tail, memory_order_release);
        put(w, buf);
        w->done++;
    }
}

static void hand_over(struct worker *w)
{
    if (threads == 1)
        hold(w);
    else if (w->number % 2 == 0)
        produce(w);
    else
        consume(w);
}

/* ---- at the cap ---- */

static void refused(struct worker *w)
{
    for (int i = 0; i < BATCH; i++) {
        call_begins(w);
        bufferpool_buf_t *buf = bufferpool_try_get(pool);
        call_ends(w);
        if (buf != NULL)
            die("try_get was not refused");
        w->done++;
    }
}

static void wait_in_thread(struct worker *w)
{
    call_begins(w);
    bufferpool_buf_t *buf = got(bufferpool_get_timed(pool, BUFFERPOOL_NEVER));
    call_ends(w);
    put(w, buf);
    w->done++;
}

static void wait_in_loop(struct worker *w)
{
    call_begins(w);
    bufferpool_buf_t *buf = bufferpool_get_async(pool, &w->waiter, w->notifier);
    const int error = errno;
    call_ends(w);
    if (buf == NULL && error != EINPROGRESS)
        die("get_async");
    while (buf == NULL) { /* the loop's descriptor is readable, or it is not */
        call_begins(w);
        const bufferpool_waiter_t *ready = bufferpool_notifier_next(w->notifier);
        call_ends(w);
        buf = ready != NULL ? got(ready->buf) : NULL;
    }
    put(w, buf);
    w->done++;
}

/* ---- calls that walk over all threads ---- */

static void fill_cache(struct worker *w)
{
    for (int i = 0; i < WALKED; i++)
        w->held[i] = get_aside(w);
    for (int i = 0; i < WALKED; i++)
        put_aside(w, w->held[i]);
}

static void walk(struct worker *w, void (*call)(void))
{
    fill_cache(w);
    if (w->number == 0) {
        call_begins(w);
        call();
        call_ends(w);
        w->done++;
    } else {
        call_passes(w);
    }
}

static void call_trim(void)
{
    bufferpool_trim(pool);
}

static void call_live(void)
{
    (void)bufferpool_live(pool);
}

static void call_stats(void)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(pool, &stats);
}

static void trim(struct worker *w)
{
    walk(w, call_trim);
}

static void live(struct worker *w)
{
    walk(w, call_live);
}

static void stats(struct worker *w)
{
    walk(w, call_stats);
}

/* Thread 0 takes what its cache has, and one more, which idles elsewhere. */
static void meet_cap(struct worker *w)
{
    fill_cache(w);
    for (int i = 0; i < WALKED; i++)
        if (w->number == 0)
            w->held[i] = get_aside(w);
        else
            call_passes(w);
    if (w->number == 0) {
        w->held[WALKED] = get(w);
        w->done++;
    } else {
        call_passes(w);
    }
}

/* ---- bursts ---- */

static void make(struct worker *w)
{
    for (size_t i = 0; i < situation->room; i++)
        w->held[i] = get(w);
    w->done += situation->room;
    for (size_t i = 0; i < situation->room; i++)
        put_aside(w, w->held[i]);
    if (w->number == 0)
        bufferpool_trim(pool);
    call_passes(w);
}

/* ---- the list ---- */

static size_t all_of_the_cap(const struct worker *w)
{
    (void)w;
    return HELD;
}

static size_t eight_beyond(const struct worker *w)
{
    return HELD + BEYOND / threads + (w->number < BEYOND % threads);
}

static size_t twice_the_cap(const struct worker *w)
{
    (void)w;
    return (size_t)2 * HELD;
}

static void meet(void)
{
    if (bufferpool_try_get(pool) != NULL)
        die("the cap is not reached");
}

const struct situation situations[] = {
    {.name = "pairs", .unit = "pair", .round = pairs, .warm = 4, .rounds = 2, .times = true, .what = "get and put"},
    {.name = "hold-64",
     .unit = "pair",
     .room = 64,
     .round = hold,
     .warm = 8,
     .rounds = 4,
     .times = true,
     .what = "64 gets, then 64 puts"},
    {.name = "hold-1024",
     .unit = "pair",
     .room = 1024,
     .round = hold,
     .warm = 2,
     .rounds = 1,
     .times = true,
     .what = "1,024 gets, then 1,024 puts"},
    {.name = "hold-64-roomy",
     .unit = "pair",
     .cached = 64,
     .room = 64,
     .round = hold,
     .warm = 8,
     .rounds = 2,
     .what = "64 gets, then 64 puts, with thread_cache_bytes for 64 buffers"},
    {.name = "handoff-roomy",
     .unit = "pair",
     .cached = 64,
     .room = RING,
     .round = hand_over,
     .warm = 2,
     .rounds = 2,
     .what = "the next, with thread_cache_bytes for 64 buffers"},
    {.name = "handoff",
     .unit = "pair",
     .room = RING,
     .round = hand_over,
     .warm = 2,
     .rounds = 2,
     .times = true,
     .what = "half of the threads get, the others put"},
    {.name = "exchange",
     .unit = "exchange",
     .room = 256,
     .round = hold,
     .warm = 4,
     .rounds = 1,
     .exchanges = true,
     .what = "one exchange with the depot, where each thread holds 256"},
    {.name = "at-cap",
     .unit = "pair",
     .cap = HELD,
     .holds = all_of_the_cap,
     .round = replace,
     .warm = 4,
     .rounds = 2,
     .times = true,
     .what = "all of the cap are out, and any is replaced"},
    {.name = "pressure",
     .unit = "pair",
     .cap = HELD,
     .holds = all_of_the_cap,
     .settle = meet,
     .round = replace,
     .warm = 4,
     .rounds = 2,
     .times = true,
     .what = "the same, after a get met the cap"},
    {.name = "refused",
     .unit = "call",
     .cap = HELD,
     .holds = all_of_the_cap,
     .settle = meet,
     .round = refused,
     .warm = 1,
     .rounds = 2,
     .times = true,
     .what = "try_get at the cap"},
    {.name = "timed",
     .unit = "pair",
     .cap = 0,
     .round = wait_in_thread,
     .warm = 16,
     .rounds = 16,
     .what = "get_timed and put, buffers for half of the threads"},
    {.name = "async",
     .unit = "pair",
     .cap = 0,
     .round = wait_in_loop,
     .warm = 16,
     .rounds = 16,
     .what = "get_async and put, buffers for half of the threads"},
    {.name = "eight-beyond",
     .unit = "pair",
     .cap = HELD,
     .holds = eight_beyond,
     .round = replace,
     .warm = 4,
     .rounds = 4,
     .times = true,
     .what = "8 more than the cap are out, and any is replaced"},
    {.name = "twice",
     .unit = "pair",
     .cap = HELD,
     .holds = twice_the_cap,
     .round = replace,
     .warm = 4,
     .rounds = 4,
     .times = true,
     .what = "twice the cap are out, and any is replaced"},
    {.name = "burst-beyond",
     .unit = "pair",
     .cap = HELD,
     .holds = all_of_the_cap,
     .room = 64,
     .round = hold,
     .warm = 4,
     .rounds = 4,
     .what = "64 gets beyond the cap, then 64 puts: made and freed"},
    {.name = "burst-make",
     .unit = "get",
     .room = 64,
     .round = make,
     .warm = 2,
     .rounds = 2,
     .what = "gets that make a buffer, within the cap"},
    {.name = "meet-cap",
     .unit = "call",
     .cap = WALKED,
     .room = WALKED + 1,
     .round = meet_cap,
     .rounds = 1,
     .what = "a get that meets the cap"},
    {.name = "trim",
     .unit = "call",
     .room = WALKED,
     .round = trim,
     .warm = 1,
     .rounds = 2,
     .what = "bufferpool_trim, 16 buffers idle in each thread"},
    {.name = "stats",
     .unit = "call",
     .room = WALKED,
     .round = stats,
     .warm = 2,
     .rounds = 2,
     .what = "bufferpool_stats"},
    {.name = "live", .unit = "call", .room = WALKED, .round = live, .warm = 2, .rounds = 2, .what = "bufferpool_live"},
    {.name = NULL},
};

bool situation_choose(const char *name)
{
    for (situation = situations; situation->name != NULL; situation++)
        if (strcmp(situation->name, name) == 0)
            return true;
    return false;
}

void situation_start(void)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = (situation->cached != 0 ? situation->cached : CACHED) * CAPACITY;
    config.max_live = situation->cap * threads;
    if (situation->round == wait_in_thread || situation->round == wait_in_loop)
        config.max_live = (threads + 1) / 2;
    if (config.max_live == 0)
        config.max_live = 1000000; /* so that a cap is in force */
    if ((pool = bufferpool_create(&config)) == NULL)
        die("bufferpool_create");
}

void situation_prepare(struct worker *w, unsigned number)
{
    *w = (struct worker){.number = number, .random = number + 1};
    w->holds = situation->holds != NULL ? situation->holds(w) : 0;
    if ((w->held = calloc(w->holds + situation->room + 1, sizeof(void *))) == NULL)
        die("calloc");
    if (situation->round == wait_in_loop && (w->notifier = bufferpool_notifier_create()) == NULL)
        die("bufferpool_notifier_create");
    for (size_t i = 0; i < w->holds; i++)
        w->held[i] = got(bufferpool_get(pool));
}
