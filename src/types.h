/* SPDX-License-Identifier: MIT
 *
 * types.h - every struct of the library, on one floor below all code; what each field means, and which thread writes it
 *
 * Words
 *
 *     pool              one bufferpool_t: configuration, depot, heap, thread caches, counters
 *     buffer            what get returns: a handle (data, len, cap) and the block behind it
 *     descriptor        the handle and the library's own fields behind it: one cache line, never moved
 *     block             the bytes behind a buffer; growth replaces the block, the handle stays
 *     pooled            the buffers of a pool that exist, or are about to
 *     live, idle        held by a caller; held by none
 *     cap, N            max_live: while callers hold fewer, no more than N buffers exist
 *     beyond the cap    made although N exist, because callers had all N
 *     ticket            leave for a buffer to idle elsewhere than in the depot while there is pressure (depot.c)
 *     thread cache      the idle buffers that one thread owns for one pool (tcmalloc, HAProxy: the same)
 *     allowance         the bytes that a thread cache may hold: thread_cache_bytes, more or less (allowance.h)
 *     magazine, depot   a batch of idle buffers that moves as one; the shared lock-free stack of them (Bonwick), and
 *                       the shards beside it
 *     shard             a further stack of the depot, for the threads on some processors (shards.c)
 *     in transit        popped from the depot by a call that has yet to free it or push it back
 *     biased lock       the lock of a thread cache: nearly free for its owner, which enters and leaves by a plain store
 *                       each, and dear for any other thread, which closes the `gate` and waits until the owner is not
 *                       `busy` (steal.c; Java's biased locking, with membarrier(2) for the revocation)
 *     steal             to move what idles in another thread's cache to the depot
 *     roster            a pool's lists of its thread caches: with a thread, without one, to be visited by a steal
 *                       (roster.h)
 *     pressure          what a pool is under at its cap: gates closed, caches empty, puts go to the depot or are freed
 *     overload          pressure with tickets out: callers have well more than N, and some caches are open by tickets
 *     latch             a value kept twice and a bit that names the valid copy, so that readers never wait (Linux's
 *                       seqcount latch): a cache's level and base
 *     slab, slot        address space for up to 128 blocks of one size, at most 4 MiB; one block's part of it (Bonwick)
 *     span              slabs that are mapped, and unmapped, together (tcmalloc)
 *     dirty, clean      a free slot that may have memory behind it; one that has none (jemalloc)
 *     purge             to give the memory of dirty slots back to the system (jemalloc)
 *     budget            a limit in bytes over the blocks of any number of pools (heap/account.h)
 *     charged           of a budget: the bytes of its blocks, and the memory that its pools retain
 *     lane              the CPUs whose numbers are the same modulo LANES (heap/lane.c) or SLAB_LANES (heap/slab.c)
 *     stock             of a lane: free descriptors with slots, of which threads on its CPUs make buffers (heap/lane.c)
 *     retained          memory of freed blocks that stays for new ones: dirty slots, and freed mappings, whole
 *     window            the last retain_ms: so much may be retained as callers held in it and do not hold any more
 *     strike            a put of a grown buffer after little use; the fifth in a row shrinks it
 *     generation        tells apart pools of the same index: one after the other, or in two copies of the library
 *     caller            the address in the program to which the public function returns
 *     waiter            a call of get_async that has no buffer yet, in memory of the caller's; it waits, and is ready
 *                       once it has its buffer or will get none
 *     notifier          what tells one event loop that waiters are ready
 *
 * Invariants, as equations, whenever no call is under way
 *
 *     pooled               = sum of moved over all caches, pool->shared included, + buffers in the depot
 *     held by callers      = sum of (moved - n) over the same
 *     pooled               <= N, or held by callers >= N                              depot.c (10)
 *     tickets              = pressure.granted = sum of c->tickets
 *     idle_reserved        = sum of reserved + bytes in the depot <= max_idle_bytes    (with max_idle_bytes)
 *     grown_extra          = sum of (cap - buffer_capacity) over all buffers
 *     budget->used         = sum of heap_bytes over all blocks of its pools          account.h
 *     budget->charged      = used + sum of dirty and retained bytes over the same pools
 * and for each cache while no thread is inside:
 *     n                   <= limit,  extra <= most_extra
 *     limit * buffer_capacity + most_extra <= allowance                     (and <= reserved with max_idle_bytes)
 *
 * Fields that several threads use without a lock are atomic. Relaxed ones are hints, or numbers that read-modify-writes
 * keep whole; a field that a reader relies on has its order, and a comment, where it is read.
 */
#ifndef BUFFERPOOL_TYPES_H
#define BUFFERPOOL_TYPES_H

#include "atomic.h"
#include "bufferpool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* With initial-exec a thread finds its variables by one instruction; the default of a shared library costs a call.
 * glibc keeps room for such variables of libraries that are opened with dlopen. Other C libraries, such as musl, refuse
 * to open a library that has them. */
#if defined(__GLIBC__)
#define TLS_MODEL __attribute__((tls_model("initial-exec")))
#else
#define TLS_MODEL
#endif

/* ---- descriptors: src/heap/desc.h ---- */

/* A buffer's state, in the lowest bits of its word. A put subtracts one from the word and a get adds one.
 *
 *     FREE <-- drop, trim -- IDLE <-- put -- LIVE          A buffer that was handed out twice stands at IDLE + 2,
 *      |                      +----- get --->  ^           and is caught when it is put.
 *      +------------- fresh -------------------+
 */
enum desc_state {
    STATE_FREE = 0,
    STATE_IDLE = 1,
    STATE_LIVE = 2,
    STATE_IDLE_GROWN = 5, /* as IDLE and LIVE, but its cap is not buffer_capacity */
    STATE_LIVE_GROWN = 6
};

/* word = tag << STATE_BITS | state      tag = generation | pool index | TLS index, from the highest bits to the lowest
 *
 * With 64 bits, state and TLS index are a byte each: many processors take a byte out of a word in one instruction. */
#define STATE_BITS      (UINTPTR_MAX > UINT32_MAX ? 8 : 3)
#define STATE_MASK      (((uintptr_t)1 << STATE_BITS) - 1)
#define TLS_INDEX_BITS  (UINTPTR_MAX > UINT32_MAX ? 8 : 5)
#define TLS_INDEX_MASK  (((uintptr_t)1 << TLS_INDEX_BITS) - 1)
#define POOL_INDEX_BITS 16
#define POOL_INDEX_MASK (((uintptr_t)1 << POOL_INDEX_BITS) - 1)

struct desc {
    /* the caller's, while it holds the buffer; `own` is how the library writes the members that callers must not */
    _Alignas(CACHE_LINE) union {
        bufferpool_buf_t pub;
        struct {
            unsigned char *data;
            size_t len, cap;
        } own;
    };
    /* the thread that has the buffer writes the rest, under whatever lock or order hands the buffer on */
    _Atomic(uintptr_t) word; /* the descriptor's pool and state */
    union {
        uint32_t link[2];   /* in the depot: indexes of two more buffers of the magazine (depot.c) */
        struct desc *chain; /* free, in a stock: the next there, NULL at the end (heap/lane.h) */
        size_t asked;       /* held and grown: the most bytes that were asked for since get, or DESC_WELL_USED */
    };
    struct slab *slab; /* where the block lies; NULL: a mapping of its own, or a hook's block */
    /* Head of a magazine in the depot: the index of the magazine beneath it, 0 at the bottom. Other nodes of the
     * magazine: one more link. */
    _Atomic(uint32_t) below;
    /* Head of a magazine in the depot: the number of its buffers, whether some are grown, and how many buffers lie in
     * the depot down from here (depot.c). Other nodes: one more link. */
    _Atomic(uint32_t) count;
    uint32_t index; /* its own number, from 1; written once */
    uint32_t seal;  /* data and cap as the library set them, and the strikes (desc_flags) */
};

_Static_assert(sizeof(struct desc) == CACHE_LINE, "a descriptor is one cache line");
_Static_assert(offsetof(struct desc, own.data) == offsetof(struct desc, pub.data) &&
                   offsetof(struct desc, own.cap) == offsetof(struct desc, pub.cap),
               "both views are of the same members");

/* The table of descriptors: chunk j holds 64 << j of them, so the table grows without moving any. Indexes start at 1;
 * 0 means "none". */
#define DESC_FIRST_CHUNK 64u
#define DESC_CHUNKS      25
#define DESC_MAX         (DESC_FIRST_CHUNK * ((1u << DESC_CHUNKS) - 1))

struct desc_table {
    /* written under the heap's lock; read by any thread */
    _Atomic(struct desc *) chunks[DESC_CHUNKS];
    _Atomic(uint32_t) used; /* descriptors 1 .. used have been handed out at least once */
    /* under the heap's lock */
    uint32_t free;                /* descriptors that are not taken, of those */
    uint64_t *taken[DESC_CHUNKS]; /* for each chunk a bit for each of its descriptors: it is taken (desc.c) */
    uint32_t colour;              /* read-only: a number that differs between pools */
};

/* ---- the depot: depot.h, depot.c ---- */

struct shards;

/* One cache line. Only calls that use the depot write it. */
struct depot {
    _Alignas(CACHE_LINE) _Atomic(uint64_t) head; /* tag << 32 | index of the top magazine's head, 0: empty */
    _Atomic(uint64_t) counts;                    /* wanted << 63 | pressure << 62 | pooled << 32 | tickets */
    _Atomic(uint32_t) peak;                      /* the most that pooled ever was */
    _Atomic(uint32_t) low;                       /* about the least that the depot held since the last reclaim */
    _Atomic(size_t) extra;                       /* bytes of cap beyond buffer_capacity in the depot's buffers */
    _Atomic(struct shards *) shards;             /* NULL: none so far; written once (shards.c) */
    _Atomic(uint32_t) processor;                 /* 1 + that on which the first exchange was; 0: none so far */
};

/* ---- shards of the depot: shards.h, shards.c ---- */

#define SHARDS 16u

/* Further stacks. Each is a struct depot, on a line of its own, of which only `head` and `low` are used. */
struct shards {
    /* A bit for each shard: something may lie there. Owners set it, inside their caches, before they push. It is
     * cleared when all gates are closed. */
    _Alignas(CACHE_LINE) _Atomic(uint32_t) used;
    struct depot shard[SHARDS];
};

/* `counts`, taken apart. */
struct depot_counts {
    uint32_t pooled;  /* buffers that exist */
    uint32_t tickets; /* under pressure: no more buffers than that idle elsewhere than in the depot */
    bool pressure;    /* no thread cache holds a buffer without a ticket (pressure.h) */
    bool wanted;      /* a caller waits for a buffer (wait.h) */
};

#define MAGAZINE_MAX 64u

struct magazine {
    struct desc *head; /* the last of its buffers; NULL: there is no magazine */
    uint32_t n;        /* its buffers */
    uint32_t grown;    /* 1: some have another cap than buffer_capacity. (No padding, which copies would read.) */
    uint32_t tickets;  /* that were taken for those of them that are in transit */
};

/* ---- thread caches: cache.h, tls_cache.h ---- */

enum counter {
    GETS_THREAD,
    GETS_DEPOT,
    GETS_FRESH,
    GETS_BYPASS,
    GETS_REFUSED,
    DROPS_OVERSIZE,
    DROPS_OVER_CAP,
    DROPS_IDLE_LIMIT,
    GROWS,
    SHRINKS,
    RECLAIMED_BYTES,
    STOLEN,
    COUNTERS
};

/* No cache holds more buffers than this, whatever their size. */
#define CACHE_ENTRIES_MAX 4096u
_Static_assert(CACHE_ENTRIES_MAX < 1u << 16, "n has 16 bits of the level");

/* A cache may come to hold so many times thread_cache_bytes (allowance.h). */
#define ALLOWANCE_MOST 4u

#define CACHE_LEAST_UNKNOWN UINT16_MAX

/* One of the latch's two copies: what the fast calls leave alone. */
struct cache_base {
    _Atomic(uint64_t) gets;  /* served here, less the level's count, modulo 2^64 */
    _Atomic(uint32_t) moved; /* buffers that came to this thread less those that left it, modulo 2^32 */
};

/* A cache's figures, as they were at one moment. */
struct cache_counts {
    uint64_t gets; /* served here */
    uint32_t moved, n;
};

/* What is to be taken of a cache whose gate was closed for that; with LOOK nothing, but its buffers are verified; with
 * EXCESS what it does not need, and the allowance beyond thread_cache_bytes. */
enum pending { PENDING_NOTHING, PENDING_LOOK, PENDING_RESERVED, PENDING_EXCESS, PENDING_ALL };

typedef _Atomic(struct cache *) cache_link;

/* About the lists of a pool's caches (roster.h). */
struct roster {
    _Atomic(uint32_t) changes; /* twice how often the list of owned caches changed; odd: it is changing */
    _Atomic(uint32_t) waits;   /* calls that wait for caches_lock; without the lock */
    uint32_t steals;           /* how many are under way; under caches_lock */
    bool overlap;              /* two have been at the same time since none was; likewise */
};

/* About a cache that a thread may still look at, although its pool has ended (tls_cache.c). */
struct stray {
    struct cache *block; /* the first cache of its block */
    uint32_t in_block;   /* of the first cache: how many there are in the block */
};

/* cache.h has the picture, roster.h the lists. pool->shared is the head of two of them. */
struct cache {
    /* read-only once the cache is in the pool's list */
    _Alignas(CACHE_LINE) bufferpool_t *pool; /* NULL: pool->shared, or a thread's `none` */
    struct cache *next;                      /* of all caches of the pool */
#if UINTPTR_MAX > UINT32_MAX
    size_t capacity; /* buffer_capacity; 0 where pool is NULL */
#endif
    /* under the pool's caches_lock */
    struct cache *next_open; /* of those that a steal visits; of the strays of a thread, once the pool has ended */
    cache_link *link;        /* while a thread has it: the pointer to it in the list of those */
    union {
        struct cache_counts seen; /* when cache_unused was last asked */
        struct roster roster;     /* of pool->shared */
        struct stray stray;       /* once the pool has ended */
    };
    uint8_t pending;     /* enum pending: its gate was closed to steal from it, and its owner may still be inside */
    _Atomic(bool) owned; /* a thread has it */
    bool fenced;         /* while pending: a barrier in all threads came after its gate closed (steal.c) */
    bool unused;         /* while pending: it is to lend its allowance */
    bool listed;         /* it is among those that a steal visits */
    bool shared;         /* read-only: pool->shared, which holds nothing and in which any thread counts */
    uint8_t in_block; /* read-only: which cache of a block it is; the first is where the memory begins (tls_cache.c) */
    _Atomic(size_t) allowance; /* bytes that it may hold (allowance.c); the owner, inside, or under caches_lock */
    /* under caches_lock; read by statistics without it, as the rest is */
    cache_link next_alike; /* of the caches that a thread has, or of those that none has */
#if UINTPTR_MAX > UINT32_MAX
    cache_link ahead; /* a cache that comes soon after it in the first of these, or came there once (stats.c) */
#else
    size_t reserved; /* as below */
#endif
    /* the owner, inside; without a lock for statistics */
    _Atomic(size_t) extra; /* bytes of cap beyond buffer_capacity in it */
#if UINTPTR_MAX > UINT32_MAX
    size_t most_extra; /* with no more of these, n may grow to `limit` */
#endif
    struct cache_base base[2];
    /* the owner, inside or not */
    _Atomic(uint32_t) moved_past; /* what the owner moved while the gate was closed */
    _Atomic(uint32_t) calls; /* slow calls under way that a close waits for (close.c); of pool->shared by all threads */
#if UINTPTR_MAX > UINT32_MAX
    size_t reserved; /* bytes of max_idle_bytes reserved for it; the owner, inside */
#endif
    _Atomic(uint64_t) counters[COUNTERS];
    /* the owner, in every call; the first entries share the line */
    _Alignas(CACHE_LINE) _Atomic(uint64_t) level; /* count << 17 | side << 16 | n */
    _Atomic(uintptr_t) gate;                      /* under caches_lock; read by the owner, inside */
    size_t limit;                                 /* n may grow to this, or further (cache_push_anew) */
    _Atomic(bool) busy;                           /* the owner is inside */
    _Atomic(uint8_t) exchanges;                   /* so far, modulo 256: which buffers the next one looks at. The
                                                   * owner reads it outside, too (shards_look) */
    bool overflowed;                              /* its last exchange with the depot was an overflow */
    _Atomic(uint8_t) tickets;                     /* the pool is under pressure, and the cache may hold so many */
    _Atomic(uint8_t) streak;                      /* exchanges of the same kind as the one before, since it last grew */
    uint8_t often;                                /* so many looks at the clock are to come soon (reclaim_look) */
    _Atomic(uint16_t) least;                      /* the least n before any get that looked in this period */
    uint32_t looked_ms;                           /* when that was last decided, modulo 2^32 */
    _Atomic(uint16_t) most;                       /* the most n, likewise */
    uint8_t shard;                                /* which one it uses (shards.c) */
    uint8_t found;                                /* and in which other one it last found something */
#if UINTPTR_MAX <= UINT32_MAX
    size_t capacity, most_extra; /* as above */
#endif
    struct desc *bottom; /* &cache_bottom; the entries follow, beyond the end of the struct */
};

/* One entry for each value of a word's TLS index, so that the fast path need not ask how large the table is. The first
 * pools have an index each; the others share the last, which is always empty, and the slow path finds their caches in
 * `more`. */
#define TLS_INDEXES    ((size_t)TLS_INDEX_MASK + 1)
#define TLS_INDEX_NONE ((size_t)TLS_INDEX_MASK)

typedef _Atomic(struct cache *) tls_entry; /* the thread's `none` where the thread has no cache */

/* The thread itself writes this, under the registry's lock, or `last` without it. Other threads write the links of the
 * list under that lock, and the call that destroys a pool writes `last`, `strays` and the entries of the pool. */
struct thread {
    tls_entry table[TLS_INDEXES]; /* by TLS index */
    tls_entry last;               /* where put looks first; never one of `more` (tls_cache.c) */
    struct cache *strays;         /* caches of pools that have ended, which a put of this thread may still look at */
    tls_entry *more;              /* by pool index, from TLS_INDEX_NONE on */
    size_t more_size;             /* entries of `more` */
    struct thread *next;
    struct thread **link; /* the pointer to this struct in the list of threads */
    /* Stands in for a cache that is not there: empty, with a closed gate. Fast calls write its `busy`, to no effect, so
     * each thread has one of its own. */
    struct cache none;
};

/* ---- the heap: src/heap/ ---- */

#define SLAB_BYTES_MAX ((size_t)4 << 20)
#define SLAB_SLOTS_MAX 128u

struct slab {
    /* read-only */
    struct span *span;
    unsigned char *base;
    /* read-only while a slot is taken */
    struct slab_class *cls; /* NULL: unused (slab_class) */
    size_t stride;          /* from one slot to the next */
    uint32_t inverse;       /* 2^32 / stride, rounded up: divides by it */
    unsigned slots;
    /* under the heap's lock */
    unsigned free;          /* how many slots are in `avail` */
    unsigned lane;          /* the lane that takes from it while it is clean */
    bool purging;           /* a purge has taken slots of it; a second purge must not */
    struct slab_list *list; /* the list it is on, or NULL */
    struct slab *prev, *next;
    uint64_t avail[SLAB_SLOTS_MAX / 64]; /* free slots */
    uint64_t dirty[SLAB_SLOTS_MAX / 64]; /* free slots that may have memory behind them */
    uint64_t lost[SLAB_SLOTS_MAX / 64];  /* during a repair: slots that were taken and that no buffer has claimed */
};

/* A ring: the slab before the first is the last. A pool has so many lists that a second pointer in each would be a
 * third of what a pool takes at rest. */
struct slab_list {
    struct slab *first; /* NULL: none */
};

/* Slabs of one class, of one size. */
struct span {
    struct span *prev, *next;
    /* read-only */
    struct slab_class *cls;
    unsigned char *base;
    size_t bytes;      /* of the mapping */
    size_t slab_bytes; /* from one slab to the next */
    unsigned slabs;
    /* under the heap's lock */
    unsigned used; /* slabs that are not unused */
    struct slab slab[];
};

/* Threads on different CPUs take clean slots from different slabs. Otherwise neighbours would wait for each other in
 * the kernel, for the lock of the page table that their page faults fill, and would clear the same huge page twice. */
#define SLAB_LANES 4u

struct slab_class {
    struct slab_list unused;            /* slabs of which no slot is taken or dirty */
    struct slab_list dirty;             /* slabs with dirty slots; the last is the first to be purged */
    size_t dirty_bytes;                 /* the sum of stride over dirty slots */
    struct slab_list clean[SLAB_LANES]; /* the other slabs with free slots */
};

/* Powers of two from 64 bytes to 256 KiB (with huge pages 1 MiB) for grown buffers, and one class for
 * buffer_capacity. */
#define SLAB_MIN_SHIFT 6u
#define SLAB_MAX_SHIFT 20u
#define SLAB_BASE      (SLAB_MAX_SHIFT - SLAB_MIN_SHIFT + 1u)
#define SLAB_CLASSES   (SLAB_BASE + 1u)

struct os_range {
    unsigned char *from, *to;
};

/* Without buffers beyond the cap at most three fit into what may be dirty: a mapping has more than 256 KiB. */
#define RETAINED_MAX 12u

/* Retained mappings, under the heap's lock. */
struct retained {
    _Atomic(size_t) bytes; /* of all; statistics read it without the lock */
    unsigned n;
    struct os_range mapping[RETAINED_MAX]; /* by age, the oldest first */
    bool tail[RETAINED_MAX];               /* its beginning was taken for a smaller block */
};

#define WINDOW_PARTS 16u

/* What callers had lately (window.h), under the heap's lock. */
struct window {
    _Atomic(uint32_t) part_ms; /* how long a part is; 0: nothing is retained by time. Read without the lock */
    unsigned parts;            /* read-only: so many of the newest count, the current one included */
    unsigned part;             /* the current one */
    uint64_t end_ms;           /* when it ends, on the coarse monotonic clock; 0: none has begun */
    /* In 64 bits, since they grow for ever. */
    uint64_t taken;              /* bytes of blocks that are taken, or were freed while they idled */
    uint64_t most[WINDOW_PARTS]; /* of each part: the most that `taken` was */
    uint64_t peak;               /* of all parts that count */
    size_t large[WINDOW_PARTS];  /* of each part: the largest block with a mapping that was given back */
    size_t largest;              /* of all parts that count */
    bool watched;                /* somebody looks when memory is due */
};

/* ---- budgets: heap/account.h, members.c, budget.c ---- */

struct bufferpool_budget {
    char *name; /* read-only */
    /* under the registry's lock */
    struct bufferpool_budget *next; /* of all budgets */
    bufferpool_t *pools;            /* those that it may take idle memory from, linked by budget_next */
    size_t members;                 /* pools that have it */
    _Atomic(uint32_t) epoch;        /* the fork_epoch of the process for which it is in order; read without the lock */
    pthread_mutex_t room;           /* one thread at a time makes room; under it locks of pools are taken */
    /* written where blocks are made and freed */
    _Alignas(CACHE_LINE) _Atomic(size_t) charged; /* blocks, and memory that is retained */
    _Atomic(size_t) used;                         /* blocks */
    _Atomic(size_t) bytes;                        /* the limit */
    _Atomic(bool) wanted;                         /* a caller waits for bytes */
    _Atomic(bool) due;                            /* bytes came back since a caller waits */
    _Atomic(uint32_t) rounds;                     /* how often `wanted` was cleared to serve those that wait */
};

/* Free descriptors, each with a slot, for the threads of some CPUs (lane.c). */
#define LANES          32u
#define LANE_BATCH_MAX 64u
#define LANE_BYTES     ((size_t)66 << 10) /* of a batch at most: two slots of the default capacity */

struct lane {
    _Alignas(CACHE_LINE) pthread_mutex_t lock;
    /* under the lock; linked by chain */
    struct desc *first;
    struct desc *full; /* a batch, or NULL */
    unsigned n;        /* of `first` */
};

/* Under the lock, but for the read-only fields. */
struct slabs {
    unsigned colour; /* read-only: differs between pools; their first slots lie in different cache sets */
    unsigned waits;  /* how often a thread had to wait for the lock, up to LANES_AFTER */
    struct bufferpool_budget *budget; /* read-only: what the pool's memory is charged to; NULL: to none */
    pthread_mutex_t lock;
    bool huge;                   /* read-only: ask for huge pages */
    _Atomic(size_t) large_bytes; /* without the lock: of all mappings that are no spans, retained ones included */
    struct span *spans;
    /* statistics read both without the lock */
    _Atomic(size_t) mapped_bytes; /* of all spans */
    _Atomic(size_t) dirty_bytes;  /* of all classes */
    struct retained retained;
    struct window window;
    struct slab_class classes[SLAB_CLASSES];
    _Atomic(struct lane *) lanes; /* LANES; NULL: the heap has none. Read without the lock */
};

struct heap {
    /* read-only after creation */
    size_t base;      /* buffer_capacity */
    size_t alignment; /* of data, at least HEAP_ALIGNMENT_MIN */
    bool wipe;        /* BUFFERPOOL_ZERO */
    /* the hooks; alloc NULL: slabs and mappings */
    void *(*alloc)(size_t size, size_t align, void *ctx);
    void (*free)(void *block, size_t size, void *ctx);
    void *ctx;
    /* Called when memory is retained by time for the first time since heap_ebb returned HEAP_NEVER: heap_ebb is to be
     * called at `due_ms`. The thread holds no lock. NULL: nobody is to be told. */
    void (*wake)(struct heap *heap, uint64_t due_ms);
    /* Called when the budget has no so many bytes left for a growth. Returns whether some came back. The thread holds
     * no lock. */
    bool (*make_room)(struct heap *heap, size_t bytes);

    /* apart from what is only read */
    _Alignas(CACHE_LINE) struct slabs slabs;      /* its lock guards the table too */
    _Alignas(CACHE_LINE) struct desc_table table; /* its chunks are read without the lock */
};

/* ---- waiters: wait.c, notifier.c ---- */

/* A caller in a pool's queue: a thread (struct sleeper), or a bufferpool_waiter_t, whose reserved bytes this is. It has
 * at most nine words, and no field that needs a larger alignment. */
struct __attribute__((may_alias)) waiter {
    /* under the queue's lock while it waits, under the notifier's while it is ready */
    struct waiter *next, *prev;
    /* under the queue's lock while it waits; read by the caller when it waits no more */
    /* Buffers that it was given: idle, in no cache and not in the depot; linked by chain. A bufferpool_waiter_t that is
     * ready without an error, and has none, has the right to make one, as from life_reserve. */
    struct desc *given;
    /* written by the caller, when it does not wait */
    bufferpool_t *pool;                   /* of a bufferpool_waiter_t: NULL while it neither waits nor is ready */
    struct bufferpool_notifier *notifier; /* NULL: a thread waits */
    uint32_t since_ns[2];                 /* when it began to wait, on the monotonic clock: low half, high half */
    uint32_t epoch;                       /* the fork_epoch of the process in which it waits */
    uint8_t brief;                        /* it is not to wait, so statistics do not count it */
    /* as `given` */
    uint8_t error; /* why it waits no more without a buffer, or 0 */
    uint8_t left;  /* it waits no more */
    /* under the queue's lock */
    uint8_t called; /* its loop was called in that round to look for bytes (wait.c); 0: it was not */
};

_Static_assert(sizeof(struct waiter) <= sizeof(((bufferpool_waiter_t *)0)->reserved),
               "a waiter fits into what the caller embeds");
_Static_assert(__alignof__(struct waiter) <= __alignof__(bufferpool_waiter_t), "and is aligned there");

/* On the stack of a thread that waits. */
struct sleeper {
    struct waiter waiter;
    /* under the queue's lock */
    uint32_t need, has; /* buffers and rights to make one: how many it waits for, and how many it was given */
    uint32_t reserved;  /* how many of those are rights */
    /* the thread's */
    bool endless; /* there is no deadline */
    struct timespec deadline;
    uint64_t since_ns; /* when it began to wait, on the monotonic clock; 0: it only looks, with a timeout of 0 */
    pthread_cond_t woken;
    int cancelable; /* whether the thread could be cancelled before */
};

struct wait_queue {
    pthread_mutex_t lock; /* under it no other lock is taken but a notifier's and the quarantine's */
    struct waiter *first, *last;
    _Atomic(uint32_t) waiting;   /* how many are in it; read without the lock, as the next two are */
    _Atomic(uint64_t) waits;     /* how many left it */
    _Atomic(uint64_t) waited_ns; /* how long these were in it, in all */
};

/* One event loop's waiters that are ready. */
struct bufferpool_notifier {
    int fd;         /* read-only: an eventfd (notifier.c) */
    uint32_t epoch; /* read-only: the fork_epoch of the process in which it works */
    pthread_mutex_t lock;
    struct waiter *first, *last; /* under the lock; linked by next and prev */
    _Atomic(uint32_t) ringing;   /* calls that are about to write the eventfd; grows under the lock */
    /* the loop's */
    size_t waiters; /* that wait or are ready */
    /* set by any thread: the loop is to look at the pools again (async.c) */
    _Atomic(bool) again;
};

/* ---- debug modes: src/debug/ ---- */

/* What a record says of its buffer while a caller holds the buffer. BEFORE: the buffer was got before recording began,
 * or without a record. IDLE: the buffer is just being handed out, or was, by a call that began before recording. */
enum record_turn { RECORD_BEFORE, RECORD_IDLE, RECORD_GOT };

/* The thread that gets, holds or puts the buffer writes its record. Other threads may read it meanwhile, and may find
 * fields of two different turns. */
struct record {
    _Atomic(uintptr_t) got_by, put_by; /* callers of get and put; 0: not recorded */
    _Atomic(uint64_t) got_ns, put_ns;  /* on the monotonic clock */
    _Atomic(uint32_t) got_tid, put_tid;
    _Atomic(uint32_t) recording; /* the number of its recording (modes.h); in others it counts as none */
    _Atomic(int) turn;           /* enum record_turn */
    /* The block as the library made it. cap is 0 while the block is being replaced: a child of fork that finds it so
     * knows nothing of the block. */
    _Atomic(uintptr_t) data;
    _Atomic(size_t) cap;
};

struct records {
    _Atomic(struct record *) chunks[DESC_CHUNKS]; /* by descriptor, as desc_table; made when they are needed */
    _Atomic(uint32_t) missed; /* the last recording in which there was no memory for one of them; 0: none */
};

/* Under its lock; count and bytes are read without it. */
struct quarantine {
    pthread_mutex_t lock;
    struct desc **ring; /* made on first use */
    uint32_t size, oldest, n;
    _Atomic(uint32_t) count; /* n, read by statistics */
    _Atomic(size_t) bytes;   /* the sum of the buffers' caps, likewise */
};

/* ---- names of pools: names.c, all under the registry's lock ---- */

/* A set, as bits. */
struct numbers {
    uint64_t *words;
    size_t size;  /* of words */
    size_t first; /* the words before that one are full */
};

struct name_family {
    struct name_family *below[2]; /* of the trie */
    const char *base;
    size_t length;          /* of base */
    size_t names;           /* how many pools have a name of this family */
    struct numbers numbers; /* bit n - 1: number n, which is taken */
    uint64_t few;           /* the words of that, while one is enough */
};

/* ---- the pool ---- */

enum pressure_state { PRESSURE_OFF, PRESSURE_ENTERING, PRESSURE_ON };

/* Under caches_lock; read without it for hints. */
struct pressure {
    _Atomic(int) state; /* enum pressure_state */
    /* Pressure ends no earlier than DWELL pops (pressure.c) after this count of depot_pops, modulo 2^32. If pressure
     * lasts for billions of pops, the count wraps, and DWELL pops have to go by once more. */
    _Atomic(uint32_t) since;
    uint64_t until_ns; /* ENTERING: calls wait so long for owners that are inside; on the monotonic clock */
    /* tickets that thread caches have: the sum of c->tickets; and how many caches have some */
    _Atomic(uint32_t) granted;
    _Atomic(uint32_t) holders;
    /* Buffers made beyond the cap since tickets were last taken back, which moves without the lock; and how many there
     * have to be before some are granted, 0: GRANT_AFTER (pressure.c). */
    _Atomic(uint32_t) beyond;
    _Atomic(uint32_t) grant_after;
    uint64_t overload_ms; /* when the first were granted, on the coarse monotonic clock */
};

struct background {
    /* read-only */
    bool wanted;  /* the pool needs the thread: one of the next two */
    bool by_time; /* BUFFERPOOL_BACKGROUND, and there are intervals */
    bool trims;   /* BUFFERPOOL_PRESSURE */
    /* under the background thread's lock; `begun` is read without it, to save taking it */
    _Atomic(bool) begun; /* the pool is in the thread's list */
    bufferpool_t *next;  /* of that list */
    uint64_t due_ms;     /* when the thread reclaims it next, on the coarse monotonic clock */
    bool busy;           /* the thread reclaims it now, without the lock */
    bool trim;           /* memory is short: the thread is to trim it */
    /* under the same lock, read without it by statistics */
    _Atomic(bool) watched;          /* trims, and the thread has a source of that news */
    _Atomic(uint64_t) trims_so_far; /* for that reason */
};

/* Mostly written by the one thread that reclaims. */
struct reclaim {
    _Atomic(uint64_t) period_end_ms; /* on the coarse monotonic clock; 0: no period has begun */
    _Atomic(uint32_t) due;           /* buffers that this period is yet to free */
    atomic_flag busy;                /* one reclaimer at a time; under it: */
    uint32_t due_at_first;           /* `due` when the period began */
    uint64_t due_since_ms;           /* when that was, on the same clock */
};

/* Whether a pool may be used. Only slow paths look at this, and the memory that they look at may be anything. */
#define POOL_ALIVE  UINT32_C(0x6c6f6f70)
#define POOL_CLOSED UINT32_C(0x736f6c63)
#define POOL_ENDED  UINT32_C(0x646e6570)

struct bufferpool {
    _Atomic(uint32_t) life; /* POOL_ALIVE; POOL_CLOSED since close; POOL_ENDED since its end; else: this is no pool */
    _Atomic(uint32_t) keepers; /* of the struct: one, until it is freed, and one for each bufferpool_waiter_t */
    /* read-only after creation */
    size_t index;     /* in the registry */
    size_t tls_index; /* desc_tls_index(index) */
    uintptr_t tag;    /* of its buffers' words; the default pool has one since registry_lock was first called */
    char *name;
    struct name_family *family; /* of the name; NULL: the default pool */
    size_t number;              /* of the name in that family */
    size_t max_capacity;
    size_t max_idle_bytes;  /* 0: no limit */
    size_t cache_bytes;     /* thread_cache_bytes, at least buffer_capacity */
    uint32_t cache_entries; /* of each cache's array: ALLOWANCE_MOST times as many bytes */
    uint32_t reclaim_interval_ms;
    bool no_membarrier; /* BUFFERPOOL_NO_MEMBARRIER */
    /* written rarely */
    _Atomic(uint32_t) epoch;        /* the fork_epoch of the process for which it is in order (fork.c) */
    _Atomic(size_t) max_live;       /* by set_max_live */
    _Atomic(struct cache *) caches; /* all that ever were, linked by next; grows under caches_lock */
    pthread_mutex_t caches_lock;    /* guards which thread has which cache, and what is behind closed gates */
    struct cache *unowned_caches;   /* those without a thread; under caches_lock. pool->shared has the other lists */
    _Atomic(size_t) owners;         /* how many caches have a thread; under caches_lock, as the next is */
    _Atomic(size_t) allowances;     /* the sum of what they may hold */
    /* A pending cache, had its barrier, whose owner was inside at the last look; or &shared, which stands for pending
     * caches that had no barrier, since the system refused it; NULL: there is neither. Under caches_lock, read without
     * it for hints. */
    _Atomic(struct cache *) stuck;
    struct pressure pressure;
    struct wait_queue waiters;
    struct background background;
    uint32_t pins;        /* threads that work on it without using it; under the registry's lock, as are the next two */
    uint32_t number_made; /* how many pools had been made with it, modulo 2^32 (registry.c) */
    bufferpool_t *budget_next;
    struct records records; /* used by debug modes only, as is the next */
    struct quarantine quarantine;
    /* written by calls that use the depot */
    struct depot depot;
    _Atomic(size_t) idle_reserved; /* bytes of max_idle_bytes in use or reserved by caches */
    _Atomic(bool) idle_tight;      /* a put found no room in this period, although caches had unused reservations */
    _Atomic(uint32_t) idle_skips;  /* so many puts that find no room are to free their buffer without a look around */
    _Atomic(size_t) grown_extra;   /* bytes of cap beyond buffer_capacity in all buffers */
    struct reclaim reclaim;
    uint64_t puts_shown; /* the most that metrics ever showed; under the registry's lock; here it fills a line */
    /* written by calls that make or free buffers */
    struct heap heap;
    /* for threads without a cache */
    struct cache shared;
};

#endif
