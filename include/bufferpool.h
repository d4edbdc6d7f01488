/* SPDX-License-Identifier: MIT
 *
 * bufferpool.h - scratch buffers for servers, in a few nanoseconds, under an exact cap
 *
 * A server needs a buffer per request: used for a moment, sometimes grown, then given back.
 *
 *     bufferpool_buf_t *buf = bufferpool_get(NULL);            // 32 KiB from the default pool
 *     if (buf == NULL) return errno;                           // ENOMEM, nothing else
 *     int error = bufferpool_buf_printf(buf, "HTTP/1.1 %d %s\r\n", status, reason);
 *     ...                                                      // use buf->data[0 .. buf->len)
 *     bufferpool_put(buf);                                     // from any thread
 *
 * Concept
 *
 *     A POOL hands out BUFFERS. A buffer is a handle (data, len, cap) and the BLOCK of bytes behind it; growing
 *     replaces the block, the handle stays. Buffers that nobody holds are IDLE: first in the cache of the thread
 *     that put them, then, a batch (MAGAZINE) at a time, in the pool's DEPOT, where every thread finds them.
 *     Buffers that callers hold are LIVE. The CAP (max_live) bounds the pooled buffers in existence, live and
 *     idle together. A get beyond the cap still succeeds, with a BYPASS buffer, which put frees. A get that finds the
 *     cap reached takes over what idles in the caches of other threads; until callers have well below the cap the
 *     pool is then under PRESSURE: puts go to the depot, so that what is idle is where the next get finds it.
 *
 * Cost
 *
 *     get and put on the thread's own cache: a few nanoseconds, no lock, no atomic read-modify-write (on 32-bit ARM a
 *     store of 64 bits is one).
 *     One get or put in many moves a magazine: two atomic read-modify-writes. Under pressure every one moves a buffer:
 *     two or three. Making or freeing a block takes a lock of that pool for a moment, mostly not where bypass buffers
 *     come and go; no system call is made under it except to map memory or to move a mapping that grows. Taking over
 *     caches takes some microseconds, at most once per time of pressure. The first 255 pools that exist at once (31
 *     where pointers have 32 bits) are found in the fewest steps; others take some nanoseconds more.
 *
 * Which calls may run at once
 *
 *     on one pool   | get try_get get_timed put bulk reclaim trim set_max_live live max_live stats | destroy
 *     --------------+------------------------------------------------------------------------------+---------
 *     any of these  | yes                                                                          | no
 *     destroy       | no                                                                           | no
 *
 *     on one buffer | buf_* put | reading or writing the bytes
 *     --------------+-----------+------------------------------
 *     buf_* put     | no        | no
 *     the bytes     | no        | as with any memory
 *
 *     create, thread_flush, metrics and holders may run at any time beside anything (the last two write to a buffer as
 *     buf_append does).
 *
 * Errors
 *
 *     A function that returns a pointer returns NULL and sets errno; one that returns int returns 0 or the errno
 *     value. A failing call changes nothing. errno is untouched on success.
 *
 * Misuse
 *
 *     A double put, a put of something that is no buffer of this library (as far as that can be told), a handle
 *     or a block prefix that was overwritten, and buf_reserve, buf_append, buf_printf, metrics or holders on a buffer
 *     that was put: one line on stderr that names the function, the address and the pool, then abort(). Two puts of one
 *     buffer that run at the same instant in two threads are caught as a rule, not always. The prefix in front of data
 *     is looked at when the block grows or is freed, not on every put.
 *
 * Debug modes
 *
 *     BUFFERPOOL_DEBUG in the environment, words with commas between them, read at the first create or get; ignored in
 *     a setuid program. An unknown word is told on stderr. What is off costs get and put nothing. Whatever a mode finds
 *     is misuse: after the line on stderr follow the places in the program that got and that put the buffer. A library
 *     for small machines may have been built without them (BUFFERPOOL_DEBUG_MODES of its CMake).
 *
 *     poison        idle blocks are filled on put and verified before they are handed out or freed: a write after put
 *     redzone       64 guard bytes behind cap, verified on put, growth and get: a write beyond the end
 *     quarantine=N  the last N pooled buffers put are held back, so that a stale pointer does not meet a new owner.
 *                   They count as idle_depot, and beyond max_idle_bytes. At the cap a get takes the oldest of them;
 *                   trim and a lowered cap free them, reclaim does not
 *     nopool        every get allocates by malloc (or the pool's hook) and every put frees (counted in
 *                   drops_idle_limit), so that valgrind and AddressSanitizer see each buffer by itself
 *     holders       at exit, the table of bufferpool_holders on stderr
 *     stats         at exit, and when a pool is destroyed, its statistics on stderr
 *     fail=N        every Nth allocation of a block fails: get with ENOMEM, growth too
 *     chaos         a thread's cache hands out in no order, and a quarter of the puts frees (drops_idle_limit)
 *
 *     In a build with AddressSanitizer, and under valgrind's memcheck, a buffer's bytes can be touched from get to put
 *     and not beyond cap, without any switch: what else is done with them these tools report. Under memcheck they are
 *     undefined after get (with BUFFERPOOL_ZERO and after a put, zero), each get and put takes the slow path, and
 *     poison is left to it.
 *
 * Threads, fork, signals, unloading
 *
 *     A thread's caches go to the depots when it exits; get and put still work in thread-specific-data
 *     destructors that run later. After fork the child can use every pool at once; what the parent's other threads
 *     held stays live in the child, whose to put it is. A child handler that was given to pthread_atfork before the
 *     library was loaded must not call it, nor may a child that an allocator hook or a signal handler made by fork
 *     return into the call that it came from. A thread of BUFFERPOOL_BACKGROUND keeps a process going whose own threads
 *     all ended by pthread_exit. Nothing here is async-signal-safe, and nothing is a cancellation point. The shared
 *     library stays mapped after dlclose, so threads that used it may outlive the handle.
 *
 * Other threads' caches, and where they cannot be reached
 *
 *     Taking them over needs membarrier(2), private expedited: Linux 4.14 or later, and no seccomp filter against it.
 *     The first create of the process, or else the first get, registers for it, which takes some milliseconds if
 *     threads run already. Without it everything works, but what idles in another thread's cache stays there until that
 *     thread's next call on the pool (at the cap it then moves its cache to the depot), thread_flush, or end: see get,
 *     trim, set_max_live. The same holds for a moment where a thread was preempted in the middle of a call, which is
 *     waited for only a bounded time.
 */
#ifndef BUFFERPOOL_H
#define BUFFERPOOL_H

#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* The version of this header. bufferpool_version() tells that of the library at run time. */
#define BUFFERPOOL_VERSION_MAJOR 0
#define BUFFERPOOL_VERSION_MINOR 2
#define BUFFERPOOL_VERSION_PATCH 0

#if defined(BUFFERPOOL_API)
/* given by whoever builds the library in a way of their own */
#elif defined(BUFFERPOOL_STATIC) || !defined(__GNUC__)
#define BUFFERPOOL_API
#else
#define BUFFERPOOL_API __attribute__((visibility("default")))
#endif

/* For what is called all the time: through the address that the loader filled in, without a jump in between. */
#if defined(__has_attribute)
#if __has_attribute(noplt)
#define BUFFERPOOL_NOPLT __attribute__((noplt))
#endif
#endif
#ifndef BUFFERPOOL_NOPLT
#define BUFFERPOOL_NOPLT
#endif

#if defined(__GNUC__)
#define BUFFERPOOL_PRINTF(format_index, first_arg) __attribute__((format(printf, format_index, first_arg)))
#else
#define BUFFERPOOL_PRINTF(format_index, first_arg)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* A pool: configuration, depot, counters. Wherever a pool is a parameter, NULL means the default pool, which
 * exists from the first use on, for the life of the process, with the default configuration. */
typedef struct bufferpool bufferpool_t;

/* A buffer. Only the library makes these; its own fields lie behind the ones shown. */
typedef struct bufferpool_buf {
    unsigned char *data; /* the block; read-only member, changes when the buffer grows */
    size_t len;          /* bytes in use: the caller's; 0 after get */
    size_t cap;          /* bytes usable at data; read-only member */
} bufferpool_buf_t;

/* ------------------------------------------------------------------------------------------------------------
 * Configuration
 *
 * Start from BUFFERPOOL_CONFIG_INIT and set what you need; zero (or NULL) in a field means its default.
 * ---------------------------------------------------------------------------------------------------------- */

/* For reclaim_interval_ms: never by itself. */
#define BUFFERPOOL_NEVER UINT_MAX

/* For flags. */

/* For secrets: every block is wiped whole on put and before it is freed, also the one that growth replaces, in a
 * way that the compiler cannot remove. put then costs the wiping of cap bytes. */
#define BUFFERPOOL_ZERO 0x1u

/* A thread of the library's runs the reclaim of reclaim_interval_ms also when no call comes. There is one for all
 * pools: started by the first call that has business with the depot of such a pool, named "bufferpool", with all
 * signals blocked; it ends with bufferpool_destroy of the last such pool. A child of fork starts its own in the same
 * way. Where no thread can be started, calls reclaim as without the flag. */
#define BUFFERPOOL_BACKGROUND 0x2u

/* Ask the system for huge pages behind the blocks. Taking fresh memory gets three to four times as fast where it grants
 * them; what a buffer does not write of its block is resident all the same (10,000 buffers of 32 KiB with 4 KiB written
 * each: 318 MiB instead of 80), and memory goes back in steps of 2 MiB. Ignored with allocator hooks. */
#define BUFFERPOOL_HUGEPAGES 0x4u

typedef struct bufferpool_config {
    size_t size;               /* sizeof(bufferpool_config_t), set by BUFFERPOOL_CONFIG_INIT; lets it grow */
    const char *name;          /* for messages; copied; a suffix is added where it is taken. "pool-N" */
    size_t buffer_capacity;    /* bytes of a new buffer. 32 KiB */
    size_t max_capacity;       /* bytes; a larger buffer is freed on put. 1 MiB, or buffer_capacity if that is more */
    size_t max_live;           /* the cap, in buffers. 0: none */
    size_t max_idle_bytes;     /* idle bytes beyond this are freed on put. 0: no limit */
    size_t thread_cache_bytes; /* what one thread may keep of this pool, but at least one buffer. 512 KiB */
    size_t alignment;          /* of data: a power of two up to the page size. 64 */
    unsigned reclaim_interval_ms; /* how often the pool gives back what it did not need. 10,000; see below */
    unsigned flags;               /* BUFFERPOOL_ZERO, BUFFERPOOL_BACKGROUND, BUFFERPOOL_HUGEPAGES. 0 */
    /* The block allocator: both hooks or neither (the system). Called from any thread, also at thread exit, with
     * no lock held; they must not use this pool. size includes the library's prefix; alloc returns memory aligned
     * to align or NULL, and free gets the same size. */
    void *(*alloc)(size_t size, size_t align, void *ctx);
    void (*free)(void *block, size_t size, void *ctx);
    void *ctx; /* handed to the hooks; not touched */
} bufferpool_config_t;

/* clang-format off */
#define BUFFERPOOL_CONFIG_INIT                                                                                       \
    {                                                                                                                \
        sizeof(struct bufferpool_config), /* size */                                                                 \
        NULL,                             /* name */                                                                 \
        0,                                /* buffer_capacity */                                                      \
        0,                                /* max_capacity */                                                         \
        0,                                /* max_live */                                                             \
        0,                                /* max_idle_bytes */                                                       \
        0,                                /* thread_cache_bytes */                                                   \
        0,                                /* alignment */                                                            \
        0,                                /* reclaim_interval_ms */                                                  \
        0,                                /* flags */                                                                \
        NULL,                             /* alloc */                                                                \
        NULL,                             /* free */                                                                 \
        NULL                              /* ctx */                                                                  \
    }
/* clang-format on */

/* Statistics. Gauges say how it is now, counters only grow: while calls are under way, puts_kept, which follows from
 * the others, and gets_thread, from which a get_bulk that fails takes back what it counted, may fall by as much as
 * those calls make. Exact when no call is under way on the pool; then
 *
 *     gets_thread + gets_depot + gets_fresh + gets_bypass = puts + live + bypass_live
 *     puts = puts_kept + drops_oversize + drops_bypass + drops_over_cap + drops_idle_limit
 *     pooled buffers in existence = live + idle_thread + idle_depot
 */
typedef struct bufferpool_stats {
    size_t size; /* sizeof(bufferpool_stats_t), set by BUFFERPOOL_STATS_INIT; lets it grow */
    /* gauges */
    uint64_t live;           /* pooled buffers that callers hold */
    uint64_t bypass_live;    /* bypass buffers that callers hold */
    uint64_t idle_thread;    /* idle buffers in thread caches */
    uint64_t idle_depot;     /* idle buffers in the depot */
    uint64_t idle_bytes;     /* the sum of cap over idle buffers */
    uint64_t live_bytes;     /* the sum of cap over live pooled buffers */
    uint64_t peak_in_flight; /* the most pooled buffers that ever were outside the depot at once */
    uint64_t max_live;       /* the cap; 0: none */
    uint64_t thread_caches;  /* threads that have a cache of this pool */
    /* counters */
    uint64_t gets_thread;      /* gets served from the thread's cache */
    uint64_t gets_depot;       /* ... from the depot */
    uint64_t gets_fresh;       /* ... by making a pooled buffer */
    uint64_t gets_bypass;      /* ... by making a bypass buffer */
    uint64_t gets_refused;     /* EAGAIN from try_get, ETIMEDOUT from get_timed */
    uint64_t puts_kept;        /* puts that made a buffer idle */
    uint64_t drops_oversize;   /* puts that freed: cap above max_capacity */
    uint64_t drops_bypass;     /* puts that freed: a bypass buffer */
    uint64_t drops_over_cap;   /* puts that freed: the cap had been lowered */
    uint64_t drops_idle_limit; /* puts that freed: max_idle_bytes */
    uint64_t grows;            /* blocks replaced by larger ones */
    uint64_t reclaimed_bytes;  /* bytes of idle buffers freed by trim, by reclaim or by a lowered cap */
    /* since 0.2 */
    uint64_t shrinks; /* blocks of grown buffers replaced by smaller ones after little use */
    uint64_t stolen;  /* idle buffers taken out of the caches of other threads */
} bufferpool_stats_t;

/* clang-format off */
#define BUFFERPOOL_STATS_INIT                                                                                        \
    { sizeof(struct bufferpool_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
/* clang-format on */

/* ------------------------------------------------------------------------------------------------------------
 * Get and put
 * ---------------------------------------------------------------------------------------------------------- */

/* A buffer with len == 0, cap >= buffer_capacity and data aligned to the pool's alignment; the bytes are
 * unspecified. From the thread's cache, else the depot, else made anew, else taken over from other threads' caches; at
 * the cap a bypass buffer.
 *
 * A get bypasses only if callers had as many pooled buffers as the cap allows at some moment during the call. It may
 * bypass early by those that other calls are freeing or moving at that moment and do not get on with, since it waits
 * only so long; and without membarrier(2) by as many as idle in the caches of other threads, at most
 * thread_cache_bytes / buffer_capacity (at least one) for each such thread.
 *
 * Returns NULL with errno ENOMEM, and for no other reason. The caller owns the buffer until put. */
BUFFERPOOL_API bufferpool_buf_t *bufferpool_get(bufferpool_t *pool) BUFFERPOOL_NOPLT;

/* As get, but where get would bypass it returns NULL with errno EAGAIN. */
BUFFERPOOL_API bufferpool_buf_t *bufferpool_try_get(bufferpool_t *pool);

/* As get, but where get would bypass it waits until a buffer may be had, for at most timeout_ms milliseconds of the
 * monotonic clock (BUFFERPOOL_NEVER: without end), and then returns NULL with errno ETIMEDOUT; ENOMEM as get.
 *
 * Every way in which a buffer or room for one comes about serves the longest waiting: put, also of a buffer that is
 * freed for its size, thread_flush, thread exit, trim, a raised cap. A get or try_get of another thread takes nothing
 * from those who wait that is put while they do. A signal handler that runs meanwhile does not end the wait. To wait
 * while holding buffers of the same pool can be a deadlock, as with any lock. */
BUFFERPOOL_API bufferpool_buf_t *bufferpool_get_timed(bufferpool_t *pool, unsigned timeout_ms);

/* Gives the buffer back, from any thread, whichever got it. It becomes idle in the calling thread's cache, or, under
 * pressure, in the depot; it is freed instead if it is a bypass buffer, if its cap exceeds max_capacity, if more pooled
 * buffers exist than the cap allows, or if it would make the idle bytes exceed max_idle_bytes. What was written before
 * put is seen by whoever gets the same buffer next. NULL has no effect. errno is preserved.
 *
 * A grown buffer does not keep its size for ever. The use of a turn, from get to put, is the larger of len at put and
 * of what was asked for in all by reserve, append and printf. At the fifth put in a row after which that was below
 * cap / 4, the block is replaced by one of buffer_capacity or, if that is too small for the last use, of the next power
 * of two. */
BUFFERPOOL_API void bufferpool_put(bufferpool_buf_t *buf) BUFFERPOOL_NOPLT;

/* n buffers at once into bufs[0 .. n), all or none, each as from get: at the cap the rest are bypass buffers.
 * Returns 0; ENOMEM, and then nothing was taken and bufs is unspecified; EINVAL if bufs is NULL and n is not 0. */
BUFFERPOOL_API int bufferpool_get_bulk(bufferpool_t *pool, bufferpool_buf_t **bufs, size_t n);

/* Puts bufs[0 .. n); entries may be NULL and may belong to several pools. errno is preserved. */
BUFFERPOOL_API void bufferpool_put_bulk(bufferpool_buf_t **bufs, size_t n);

/* Pooled buffers that callers hold: exact when no call is under way, else off by at most the calls that run meanwhile;
 * never negative, never more than exist; with or without a cap. Bypass buffers are not among them (see
 * bufferpool_stats). Costs a few walks over the pool's thread caches. */
BUFFERPOOL_API size_t bufferpool_live(const bufferpool_t *pool);

/* Sets the cap: from now on no pooled buffer is made while n or more exist. 0: no cap; values beyond 2^30 - 1
 * count as that. Callers keep what they hold. When lowered, idle buffers beyond n are freed at once, wherever they are
 * (without membarrier(2) those in another thread's cache at that thread's next call, or, if that is thread_flush or its
 * end, the next call that has business with the depot), and those that callers hold as they are put. When raised, those
 * who wait in get_timed are served. */
BUFFERPOOL_API void bufferpool_set_max_live(bufferpool_t *pool, size_t n);

/* The cap; 0: none. */
BUFFERPOOL_API size_t bufferpool_max_live(const bufferpool_t *pool);

/* ------------------------------------------------------------------------------------------------------------
 * Pools
 * ---------------------------------------------------------------------------------------------------------- */

/* A new pool; config == NULL: all defaults. The configuration is copied, the name included.
 * Returns NULL with errno ENOMEM (also when 65,535 pools exist), or EINVAL: a size that this library does not know, an
 * alignment that is no power of two or exceeds the page size, max_capacity below buffer_capacity, capacities within
 * 8 MiB of PTRDIFF_MAX or beyond, one hook without the other, an unknown flag. */
BUFFERPOOL_API bufferpool_t *bufferpool_create(const bufferpool_config_t *config);

/* Frees the pool with all that idles in it, in the caches of every thread. The caller has seen to it that no other
 * call uses the pool, now or later. Returns 0; EBUSY if buffers are still out, pooled or bypass, and then
 * nothing changed; EINVAL for the default pool (NULL). */
BUFFERPOOL_API int bufferpool_destroy(bufferpool_t *pool);

/* ------------------------------------------------------------------------------------------------------------
 * Content
 *
 * These grow the buffer as needed, geometrically (at least 1.5 times), keep the bytes data[0 .. len) and the handle,
 * and may move data. A buffer may be grown beyond max_capacity; it is then freed on put. All return
 * EOVERFLOW for a size that cannot be represented, EINVAL if len exceeds cap or an argument is NULL that may not be,
 * ENOMEM; after an error data, len, cap and the bytes data[0 .. len) are as before.
 * ---------------------------------------------------------------------------------------------------------- */

/* Sees to it that cap is at least the given number of bytes, in all. Never shrinks. */
BUFFERPOOL_API int bufferpool_buf_reserve(bufferpool_buf_t *buf, size_t cap);

/* Appends n bytes at data[len] and adds n to len. src may point into the buffer's own block; it may be NULL if n is
 * 0. */
BUFFERPOOL_API int bufferpool_buf_append(bufferpool_buf_t *buf, const void *src, size_t n);

/* Formats at data[len] and adds the length to len. A terminating NUL follows, which len does not count.
 * Also returns EOVERFLOW for a text longer than INT_MAX bytes, and EILSEQ as vsnprintf does. No argument may point
 * at data[len] or beyond, or be read as far as that, for it is written first: the buffer's own text needs a precision,
 * as in "%.*s". */
BUFFERPOOL_API int bufferpool_buf_printf(bufferpool_buf_t *buf, const char *format, ...) BUFFERPOOL_PRINTF(2, 3);
BUFFERPOOL_API int bufferpool_buf_vprintf(bufferpool_buf_t *buf, const char *format, va_list args)
    BUFFERPOOL_PRINTF(2, 0);

/* The buffer whose data this is: for callbacks that hand back only the data pointer. data must be the current data
 * member of a buffer that is held. For any other address returns NULL with errno EINVAL, as far as that can be told:
 * the 16 bytes in front of it are read, if it is a multiple of 16. */
BUFFERPOOL_API bufferpool_buf_t *bufferpool_buf_from_data(const void *data);

/* ------------------------------------------------------------------------------------------------------------
 * Giving memory back
 *
 * By itself the pool gives back what it did not need: every reclaim_interval_ms, a get or put that has business with
 * the depot begins, and those that follow go on with it, a few buffers each. A pool that nobody calls keeps what it
 * has, unless its flags have BUFFERPOOL_BACKGROUND; otherwise reclaim or trim it, say when a server falls idle.
 * ---------------------------------------------------------------------------------------------------------- */

/* Frees what was not needed since the last reclaim, by whomever: as many buffers as lay in the depot all the time, and
 * those in caches of threads that neither got nor put meanwhile; and gives the memory of free blocks back. So a few
 * reclaims apart leave about as many buffers as are in use at a time, and nothing of a pool that is not used: at
 * most three. Returns the bytes of the buffers released; 0 also if another thread is reclaiming this pool just now.
 * errno is preserved. */
BUFFERPOOL_API size_t bufferpool_reclaim(bufferpool_t *pool);

/* Frees everything that is idle, in the depot and in the caches of all threads (without membarrier(2) of the calling
 * one alone), and gives the memory back to the system. Returns the bytes of the buffers released. errno is
 * preserved. */
BUFFERPOOL_API size_t bufferpool_trim(bufferpool_t *pool);

/* Moves the calling thread's caches, of all pools, to the depots, where other threads find them: for a thread that
 * is about to block for long. errno is preserved. */
BUFFERPOOL_API void bufferpool_thread_flush(void);

/* ------------------------------------------------------------------------------------------------------------
 * Seeing
 * ---------------------------------------------------------------------------------------------------------- */

/* Fills in what stats->size has room for; bytes beyond what this library knows are zeroed. */
#if defined(__cplusplus) && defined(__GNUC__)
/* A struct and a function of one name: fine in C++ too, but g++ -Wshadow says that it hides the constructor. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif
BUFFERPOOL_API void bufferpool_stats(const bufferpool_t *pool, bufferpool_stats_t *stats);
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

/* Since 0.3. Appends the statistics of all pools to `out`, of whatever pool that is, as text that Prometheus scrapes
 * (text/plain; version=0.0.4; charset=utf-8), with a label `pool` that is the pool's name: bytes of it that are no
 * UTF-8 appear as \xNN. A getter of metrics is a user like others: what `out` itself counts for is in the figures.
 * Returns 0; ENOMEM; EINVAL if out is NULL or its len exceeds its cap; EOVERFLOW; after an error out is as before.
 * errno is preserved. */
BUFFERPOOL_API int bufferpool_metrics(bufferpool_buf_t *out);

/* Since 0.3. Appends to `out`, of whatever pool that is, a table of the buffers that callers hold, of all pools: for
 * each place in the program that got some how many, of how many bytes, for how long the oldest, on which thread; the
 * oldest first. The places are recorded with BUFFERPOOL_DEBUG=holders or another mode that watches (see Debug modes);
 * without it the table has one line a pool, and bypass buffers count as buffer_capacity bytes. The names of functions
 * are those that the dynamic linker knows (link a program with -rdynamic for its own). A getter of this table is a
 * holder like others. Returns as bufferpool_metrics. errno is preserved. */
BUFFERPOOL_API int bufferpool_holders(bufferpool_buf_t *out);

/* "0.2.0": the version of the library that is linked. A string constant. */
BUFFERPOOL_API const char *bufferpool_version(void);

#ifdef __cplusplus
}
#endif

#endif /* BUFFERPOOL_H */
