/* SPDX-License-Identifier: MIT
 *
 * workloads.c - the workloads, written once and compiled for each contestant
 *
 * Every buffer that is got is also written: 64 bytes, 4 KiB or the whole. The writes are hidden from the compiler,
 * otherwise it would leave out both malloc and free.
 */
#include "workloads.h"

#include "peer.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

/* Operations of a step. A program that lets threads take turns by steps may want shorter ones: a multiple of 32. */
#ifndef WORKLOAD_STEP
#define WORKLOAD_STEP 256
#endif

enum { STEP = WORKLOAD_STEP, BULK = 32, RING = 256 };

struct workload workload;
const char *const peer_name = PEER_NAME;

static size_t written;

/* ---- get, write, put ---- */

static inline void write_some(unsigned char *data)
{
    if (__builtin_expect(written == 64, 1))
        memset(data, 0x5a, 64);
    else if (written != 0)
        memset(data, 0x5a, written);
    __asm__ volatile("" ::"r"(data) : "memory");
}

static inline void *take(void)
{
    void *handle = peer_get();
    if (__builtin_expect(handle == NULL, 0))
        peer_die("get");
    write_some(peer_data(handle));
    return handle;
}

static inline size_t random_place(struct worker *w)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(((w->random >> 32) * w->holds) >> 32);
}

static uint64_t pairs(struct worker *w)
{
    (void)w;
    for (int i = 0; i < STEP; i++)
        peer_put(take());
    return STEP;
}

static uint64_t hold_lifo(struct worker *w)
{
    for (size_t i = 0; i < workload.holds; i++)
        w->held[i] = take();
    for (size_t i = workload.holds; i > 0; i--)
        peer_put(w->held[i - 1]);
    return workload.holds;
}

static uint64_t hold_fifo(struct worker *w)
{
    for (size_t i = 0; i < workload.holds; i++)
        w->held[i] = take();
    for (size_t i = 0; i < workload.holds; i++)
        peer_put(w->held[i]);
    return workload.holds;
}

/* As in Larson's server: replaces buffers at random. */
static uint64_t replace(struct worker *w)
{
    for (int i = 0; i < STEP; i++) {
        size_t place = random_place(w);
        peer_put(w->held[place]);
        w->held[place] = take();
    }
    return STEP;
}

static uint64_t bulk(struct worker *w)
{
    void *handles[BULK];
    (void)w;
    for (int i = 0; i < STEP / BULK; i++) {
#ifdef PEER_HAS_BULK
        peer_get_bulk(handles, BULK);
        for (int k = 0; k < BULK; k++)
            write_some(peer_data(handles[k]));
        peer_put_bulk(handles, BULK);
#else
        for (int k = 0; k < BULK; k++)
            handles[k] = take();
        for (int k = 0; k < BULK; k++)
            peer_put(handles[k]);
#endif
    }
    return STEP;
}

/* ---- get here, put there ---- */

/* Each side keeps the last value that it saw of the other's index, so that the ring itself costs little. */
static struct {
    _Alignas(128) _Atomic(size_t) head; /* written by the producer */
    size_t tail_seen;
    _Alignas(128) _Atomic(size_t) tail; /* written by the consumer */
    size_t head_seen;
    _Alignas(128) void *slots[RING];
} ring;

/* Called when a side cannot go on. The other side has a processor of its own, unless the machine has other work. */
static void wait_a_moment(struct worker *w)
{
    if (++w->at % 64 == 0)
        sched_yield();
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static uint64_t produce(struct worker *w)
{
    size_t head = atomic_load_explicit(&ring.head, memory_order_relaxed);
    for (int i = 0; i < STEP; i++) {
        if (head - ring.tail_seen == RING) {
            ring.tail_seen = atomic_load_explicit(&ring.tail, memory_order_acquire);
            if (head - ring.tail_seen == RING) {
                wait_a_moment(w);
                continue;
            }
        }
        ring.slots[head % RING] = take();
        atomic_store_explicit(&ring.head, ++head, memory_order_release);
    }
    return 0;
}

static uint64_t consume(struct worker *w)
{
    size_t tail = atomic_load_explicit(&ring.tail, memory_order_relaxed);
    uint64_t done = 0;
    for (int i = 0; i < STEP; i++) {
        if (tail == ring.head_seen) {
            ring.head_seen = atomic_load_explicit(&ring.head, memory_order_acquire);
            if (tail == ring.head_seen) {
                wait_a_moment(w);
                continue;
            }
        }
        void *handle = ring.slots[tail % RING];
        atomic_store_explicit(&ring.tail, ++tail, memory_order_release);
        peer_put(handle);
        done++;
    }
    return done;
}

static uint64_t hand_over(struct worker *w)
{
    return w->number == 0 ? consume(w) : produce(w);
}

/* ---- threads, growth, pools ---- */

static void *short_life(void *unused)
{
    (void)unused;
    peer_thread_start();
    peer_put(take());
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the peer's put took it, and may keep it
    peer_thread_stop();
    return NULL;
}

static uint64_t thread_lives(struct worker *w)
{
    pthread_t thread;
    (void)w;
    if (pthread_create(&thread, NULL, short_life, NULL) != 0)
        peer_die("pthread_create");
    pthread_join(thread, NULL);
    return 1;
}

#ifdef PEER_HAS_GROWTH
static uint64_t grow(struct worker *w)
{
    static const unsigned char appended[APPENDED] = {0x5a};
    (void)w;
    peer_grow(appended, workload.grows_to);
    return 1;
}

/* The same buffer grows at once, and is hardly written. A pool hands it out again, grown. */
static uint64_t pairs_grown(struct worker *w)
{
    (void)w;
    for (int i = 0; i < STEP; i++) {
        void *handle = peer_get_grown(workload.grows_to);
        write_some(peer_data(handle));
        peer_put(handle);
    }
    return STEP;
}
#else
#define grow        NULL
#define pairs_grown NULL
#endif

#ifdef PEER_HAS_POOLS
static uint64_t pools_in_turn(struct worker *w)
{
    for (int i = 0; i < STEP; i++) {
        void *handle = peer_get_from(w->at);
        w->at = w->at + 1 < workload.pools ? w->at + 1 : 0; /* a division would cost more than the pool */
        if (handle == NULL)
            peer_die("get");
        write_some(peer_data(handle));
        peer_put(handle);
    }
    return STEP;
}
#else
#define pools_in_turn NULL
#endif

/* ---- the list ---- */

#define CAP 512u
/* 8 threads hold x buffers more than the cap, and each replaces any of its own. x = 512 is "cap-twice". */
#define CAP_PLUS(x)                                                                                                    \
    {                                                                                                                  \
        .name = "cap-plus-" #x, .step = replace, .threads = 8, .holds = CAP / 8 + (x) / 8, .one_more = (x) % 8,        \
        .filled = true, .max_live = CAP                                                                                \
    }
/* All buffers of the cap are out, and one thread takes and puts k more at a time. */
#define CAP_BEYOND(k)                                                                                                  \
    {                                                                                                                  \
        .name = "cap-beyond-" #k, .step = hold_lifo, .threads = 1, .before = CAP, .holds = (k), .max_live = CAP        \
    }
/* This size means that nothing is written: the cost by live buffers, without the caller's cache misses. */
#define NOTHING_WRITTEN 4096u

static const struct workload workloads[] = {
    {.name = "pairs-1", .step = pairs, .threads = 1},
    {.name = "pairs-2", .step = pairs, .threads = 2},
    {.name = "pairs-64", .step = pairs, .threads = 64},
    {.name = "hold-64", .step = hold_lifo, .threads = 1, .holds = 64},
    {.name = "hold-64-2t", .step = hold_lifo, .threads = 2, .holds = 64},
    {.name = "hold-64-8t", .step = hold_lifo, .threads = 8, .holds = 64},
    {.name = "hold-1024", .step = hold_lifo, .threads = 1, .holds = 1024},
    {.name = "hold-1024-2t", .step = hold_lifo, .threads = 2, .holds = 1024},
    {.name = "fifo-1024", .step = hold_fifo, .threads = 1, .holds = 1024},
    {.name = "fifo-1024-2t", .step = hold_fifo, .threads = 2, .holds = 1024},
    {.name = "handoff", .step = hand_over, .threads = 2, .counting = 1},
    {.name = "larson", .step = replace, .threads = 8, .holds = 256, .filled = true, .generation = 100000},
    {.name = "threads", .step = thread_lives, .threads = 1},
    {.name = "grow-64k", .step = grow, .threads = 1, .grows_to = 64 * KIB},
    {.name = "grow-256k", .step = grow, .threads = 1, .grows_to = 256 * KIB},
    {.name = "grow-2m", .step = grow, .threads = 1, .grows_to = 2048 * KIB},
    {.name = "pairs-grown", .step = pairs_grown, .threads = 1, .grows_to = 256 * KIB},
    {.name = "bulk-32", .step = bulk, .threads = 1},
    {.name = "pairs-8", .step = pairs, .threads = 8},
    {.name = "cap-at", .step = replace, .threads = 8, .holds = CAP / 8, .filled = true, .max_live = CAP},
    {.name = "cap-twice", .step = replace, .threads = 8, .holds = CAP / 4, .filled = true, .max_live = CAP},
    {.name = "cap-twice-pooled",
     .step = replace,
     .threads = 8,
     .holds = CAP / 8,
     .filled = true,
     .after = CAP,
     .max_live = CAP},
    {.name = "cap-twice-bypass", .step = pairs, .threads = 8, .before = 2 * CAP, .max_live = CAP},
    CAP_PLUS(1),
    CAP_PLUS(2),
    CAP_PLUS(4),
    CAP_PLUS(8),
    CAP_PLUS(16),
    CAP_PLUS(32),
    CAP_PLUS(64),
    CAP_PLUS(128),
    CAP_PLUS(256),
    CAP_BEYOND(28),
    CAP_BEYOND(64),
    CAP_BEYOND(1024),
    {.name = "pairs-4", .step = pairs, .threads = 4},
    {.name = "pairs-16", .step = pairs, .threads = 16},
    {.name = "pairs-256", .step = pairs, .threads = 256},
    {.name = "live-1", .step = pairs, .threads = 1, .size = NOTHING_WRITTEN},
    {.name = "live-1000", .step = pairs, .threads = 1, .before = 999, .size = NOTHING_WRITTEN},
    {.name = "live-100000", .step = pairs, .threads = 1, .before = 99999, .size = NOTHING_WRITTEN},
    {.name = "live-1000000", .step = pairs, .threads = 1, .before = 999999, .size = NOTHING_WRITTEN},
    {.name = "replace-1000", .step = replace, .threads = 1, .holds = 1000, .filled = true, .size = NOTHING_WRITTEN},
    {.name = "replace-100000", .step = replace, .threads = 1, .holds = 100000, .filled = true, .size = NOTHING_WRITTEN},
    {.name = "replace-1000000",
     .step = replace,
     .threads = 1,
     .holds = 1000000,
     .filled = true,
     .size = NOTHING_WRITTEN},
    {.name = "pools-1", .step = pools_in_turn, .threads = 1, .pools = 1},
    {.name = "pools-4", .step = pools_in_turn, .threads = 1, .pools = 4},
    {.name = "pools-16", .step = pools_in_turn, .threads = 1, .pools = 16},
    {.name = "pools-64", .step = pools_in_turn, .threads = 1, .pools = 64},
    {.name = "burst", .bursts = 1, .threads = 4, .holds = 2500},
    {.name = "waves", .bursts = 5, .threads = 4, .holds = 2500},
};

enum { WORKLOADS = sizeof(workloads) / sizeof(workloads[0]) };

bool workload_choose(const char *name)
{
    static const size_t whole = 32 * KIB;
    size_t length = strcspn(name, "+");
    for (int i = 0; i < WORKLOADS; i++) {
        if (strlen(workloads[i].name) != length || strncmp(workloads[i].name, name, length) != 0)
            continue;
        workload = workloads[i];
        workload.name = name;
        written = workload.size == NOTHING_WRITTEN ? 0 : 64;
        if (workload.size == 0)
            workload.size = whole;
        if (workload.max_live == 0)
            workload.max_live = 1000000;
        if (workload.counting == 0)
            workload.counting = workload.threads;
        if (workload.bursts != 0)
            written = workload.size;
        if (strcmp(name + length, "+4k") == 0)
            written = 4 * KIB;
        else if (strcmp(name + length, "+all") == 0)
            written = workload.size;
        else if (name[length] != '\0')
            return false;
        return true;
    }
    return false;
}

static size_t most_held(void)
{
    return workload.before + workload.after + workload.threads * (workload.holds + 1) + BULK + RING;
}

bool workload_fits(void)
{
    bool apart = workload.step == hand_over && PEER_KEEPS_APART;
    // cppcheck-suppress knownConditionTrueFalse ; each adapter has its own PEER_KEEPS_APART
    return (workload.step != NULL || workload.bursts != 0) && most_held() <= PEER_HOLDS && !apart;
}

void workload_list(void)
{
    for (int i = 0; i < WORKLOADS; i++)
        printf("%s\n", workloads[i].name);
}

void workload_start(void)
{
    struct peer_config config = {
        .size = workload.size,
        .max_live = workload.max_live,
        .held = most_held(),
        .threads = workload.threads,
        .pools = workload.pools != 0 ? workload.pools : 1,
    };
    peer_start(&config);
}

void workload_thread_begin(void)
{
    peer_thread_start();
}

void workload_thread_end(void)
{
    peer_thread_stop();
}

void workload_fill(struct worker *w)
{
    w->holds = workload.holds + (w->number < workload.one_more ? 1 : 0);
    if (w->holds != 0 && (w->held = calloc(w->holds, sizeof(void *))) == NULL)
        peer_die("calloc");
    if (workload.filled)
        for (size_t i = 0; i < w->holds; i++)
            w->held[i] = take();
}

void workload_hold(size_t n)
{
    for (size_t i = 0; i < n; i++) // NOLINT(clang-analyzer-unix.Malloc): held to the end
        // cppcheck-suppress leakReturnValNotUsed ; held to the end
        (void)take();
}

uint64_t workload_bypassed(void)
{
#ifdef PEER_HAS_BYPASS
    return peer_bypassed();
#else
    return 0;
#endif
}

void *workload_take(void)
{
    return take();
}

void workload_put(void *handle)
{
    peer_put(handle);
}

void workload_trim(void)
{
#ifdef PEER_HAS_TRIM
    peer_trim();
#endif
}
