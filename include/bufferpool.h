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
 * The functions, without the prefix bufferpool_:
 *
 *     Get and put    get            a buffer; at the cap, a buffer beyond it
 *                    try_get        a buffer; at the cap, EAGAIN
 *                    get_timed      a buffer; at the cap, waits for one
 *                    put            gives a buffer back, from any thread
 *                    put_data       gives back the buffer of a data pointer
 *                    get_bulk       many buffers, all or none
 *                    put_bulk       gives many buffers back
 *                    get_bulk_timed many buffers, all or none; at the cap, waits for them
 *     Event loops    notifier_create, notifier_fd, notifier_next, notifier_destroy
 *                                   tell an event loop which of its waiters have a buffer
 *                    get_async      a buffer; at the cap, the caller's waiter joins the queue
 *                    cancel         takes a waiter out of the queue
 *     The cap        live           how many buffers callers hold, up to the cap
 *                    set_max_live   changes the cap
 *                    max_live       returns the cap
 *     Content        buf_reserve    grows a buffer to a size
 *                    buf_shrink     gives back what a held buffer does not need
 *                    buf_append     appends bytes
 *                    buf_printf     appends formatted text; buf_vprintf takes a va_list
 *                    buf_from_data  finds the buffer of a data pointer
 *     Pools          create         a pool with a configuration of its own
 *                    destroy        ends a pool that has no buffers out
 *                    close          ends a pool with its last put, and all waits at once
 *                    configure_default   configures the default pool, before its first use
 *     Budgets        budget_create  a limit in bytes over any number of pools
 *                    budget_destroy ends a budget
 *                    budget_set     changes the limit
 *                    budget_used    returns how many bytes are in use
 *     Memory         reclaim        frees the idle buffers that were not needed lately
 *                    trim           frees all idle buffers
 *                    trim_some      frees idle buffers of so many bytes
 *                    thread_flush   moves the calling thread's idle buffers to where all threads find them
 *     Observation    stats          the statistics of one pool
 *                    metrics        the statistics of all pools, as text for Prometheus
 *                    holders        which callers hold buffers, how many, and for how long
 *                    record_holders switches the recording of these callers on and off
 *                    version        the version of the library
 *
 * The declarations follow. Behind them are the chapters of the contract as a whole (Concept, Cost, Which calls may run
 * at once, Errors, Misuse, Debug modes, What the environment changes, Threads and processes, Without membarrier), and
 * then notes on the implementation (Where a get looks, Stealing, Cost of the slow path, Freed memory).
 */
#ifndef BUFFERPOOL_H
#define BUFFERPOOL_H

#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A pool. Where a function takes a pool, NULL means the default pool. The default pool has the default configuration,
 * unless bufferpool_configure_default gave it another one. It exists from its first use to the end of the process. */
typedef struct bufferpool bufferpool_t;

/* Since 0.3. A limit in bytes over the memory of any number of pools. */
typedef struct bufferpool_budget bufferpool_budget_t;

/* A buffer. Only the library makes buffers, since it has hidden state behind the three fields. data and cap are const:
 * only the library writes them. The chapter Misuse says what happens if a caller writes them in spite of that. */
typedef struct bufferpool_buf {
    unsigned char *const data; /* the bytes; changes when the buffer grows */
    size_t len;                /* bytes in use: the caller's to set, up to cap; 0 after get */
    const size_t cap;          /* bytes usable at data */
} bufferpool_buf_t;

/* As timeout_ms, it means to wait without a limit. As reclaim_interval_ms, it means never to reclaim automatically. */
#define BUFFERPOOL_NEVER UINT_MAX

/* The version of this header. bufferpool_version() returns the version of the library that runs. */
#define BUFFERPOOL_VERSION_MAJOR 0
#define BUFFERPOOL_VERSION_MINOR 3
#define BUFFERPOOL_VERSION_PATCH 1

/* Since 0.3. The version as one number, for #if: 10203 for 1.2.3. */
#define BUFFERPOOL_VERSION_NUMBER                                                                                      \
    (BUFFERPOOL_VERSION_MAJOR * 10000 + BUFFERPOOL_VERSION_MINOR * 100 + BUFFERPOOL_VERSION_PATCH)

/* Since 0.3. "" and 1 in a release. In the tree between two releases the version is that of a release to come, and
 * these are "-dev" and 0. Such a tree may lack functions of that release. */
#define BUFFERPOOL_VERSION_SUFFIX     "-dev"
#define BUFFERPOOL_VERSION_IS_RELEASE 0

/* The attributes of the declarations. You may define each of these macros before you include the header, usually as
 * nothing: for a compiler that does not know an attribute, for a generator of bindings, or to avoid a warning.
 *
 *     BUFFERPOOL_API                  the visibility of the functions
 *     BUFFERPOOL_NOPLT                the call uses the address that the loader filled in, without a jump through the
 *                                     procedure linkage table. The functions that are called most have this attribute
 *     BUFFERPOOL_PRINTF(format, arg)  the arguments from `arg` on must fit the format
 *     BUFFERPOOL_MUST_USE             a caller that ignores the result loses a buffer, a pool or an error
 *     BUFFERPOOL_READS(data, size)    the function reads `size` bytes at `data`
 *     BUFFERPOOL_MALLOC(put)          `put` ends the object that the function returns. gcc 11 or later then finds
 *                                     leaks, double puts and uses after a put, and most of them with -fanalyzer. If a
 *                                     program keeps only the data pointer of a buffer (bufferpool_put_data), gcc
 *                                     reports a leak, wrongly
 */
#ifndef BUFFERPOOL_API
#if defined(BUFFERPOOL_STATIC) || !defined(__GNUC__)
#define BUFFERPOOL_API
#else
#define BUFFERPOOL_API __attribute__((visibility("default")))
#endif
#endif

#if !defined(BUFFERPOOL_NOPLT) && defined(__has_attribute)
#if __has_attribute(noplt)
#define BUFFERPOOL_NOPLT __attribute__((noplt))
#endif
#endif
#ifndef BUFFERPOOL_NOPLT
#define BUFFERPOOL_NOPLT
#endif

#if !defined(BUFFERPOOL_PRINTF) && defined(__GNUC__)
#define BUFFERPOOL_PRINTF(format_index, first_arg) __attribute__((format(printf, format_index, first_arg)))
#elif !defined(BUFFERPOOL_PRINTF)
#define BUFFERPOOL_PRINTF(format_index, first_arg)
#endif

#if !defined(BUFFERPOOL_MUST_USE) && defined(__GNUC__)
#define BUFFERPOOL_MUST_USE __attribute__((warn_unused_result))
#elif !defined(BUFFERPOOL_MUST_USE)
#define BUFFERPOOL_MUST_USE
#endif

#if !defined(BUFFERPOOL_READS) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 10
#define BUFFERPOOL_READS(data_index, size_index) __attribute__((access(read_only, data_index, size_index)))
#elif !defined(BUFFERPOOL_READS)
#define BUFFERPOOL_READS(data_index, size_index)
#endif

#if !defined(BUFFERPOOL_MALLOC) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
/* The form without an argument would promise that the new object points to nothing, but data points to the bytes. */
#define BUFFERPOOL_MALLOC(put) __attribute__((malloc(put, 1)))
/* The attribute needs functions that are declared before it. Their contracts are below. bufferpool_destroy and similar
 * functions are not used here: after EBUSY the object still exists, and gcc would warn when it is used. So for gcc a
 * pool ends with bufferpool_close, and other objects end with a function that does not exist. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wredundant-decls"
#define BUFFERPOOL_DECLARED_TWICE
void bufferpool_put(bufferpool_buf_t *buf);
void bufferpool_close(bufferpool_t *pool);
void bufferpool_is_never_called(void *object);
#elif !defined(BUFFERPOOL_MALLOC)
#define BUFFERPOOL_MALLOC(put)
#endif

/* ------------------------------------------------------------------------------------------------------------
 * Get and put
 * ---------------------------------------------------------------------------------------------------------- */

/* Gets a buffer. Its len is 0, its cap is at least buffer_capacity, its data has the pool's alignment, and its bytes
 * are unspecified. The caller owns the buffer until it is put.
 *
 * A get makes a buffer beyond the cap, so that more buffers exist than the cap allows, only if, at some moment during
 * the call, callers held at least as many buffers as the cap allows. A buffer counts as held from the start of its get
 * to the end of its put. There are two exceptions:
 *
 *   - A call of another thread is moving or freeing idle buffers of the pool at that moment. A get waits only a bounded
 *     time for such a call, since its thread may have been preempted. The get may then go beyond the cap early, by at
 *     most those buffers and the buffers in that thread's cache.
 *   - The system has no membarrier(2). A get may then go beyond the cap early, by at most the buffers in the caches of
 *     other threads. Each cache has at most 4 * thread_cache_bytes / buffer_capacity buffers, or four if
 *     thread_cache_bytes is less than buffer_capacity.
 *
 * Returns:
 *     a buffer
 *     NULL, errno ENOMEM      there is no memory, or the pool's budget is used up
 *     NULL, errno ECANCELED   the pool was closed (bufferpool_close); no other error occurs */
BUFFERPOOL_API bufferpool_buf_t *bufferpool_get(bufferpool_t *pool) BUFFERPOOL_NOPLT BUFFERPOOL_MUST_USE
    BUFFERPOOL_MALLOC(bufferpool_put);

/* Gets a buffer as bufferpool_get does, but refuses while callers hold as many buffers as the cap allows, or more. Then
 * it refuses also if a buffer idles in the calling thread's cache. The two exceptions of bufferpool_get apply: try_get
 * may refuse early, by as many buffers.
 *
 * Returns:
 *     a buffer
 *     NULL, errno ENOMEM      there is no memory
 *     NULL, errno EAGAIN      the cap is reached, or the pool's budget is used up
 *     NULL, errno ECANCELED   the pool was closed (bufferpool_close) */
BUFFERPOOL_API bufferpool_buf_t *bufferpool_try_get(bufferpool_t *pool) BUFFERPOOL_MUST_USE
    BUFFERPOOL_MALLOC(bufferpool_put);

/* Gets a buffer as bufferpool_get does, but waits where bufferpool_try_get would refuse. It waits for at most
 * timeout_ms milliseconds of the monotonic clock, or without a limit if timeout_ms is BUFFERPOOL_NEVER.
 *
 * Waiting calls are served in the order in which they came, those of bufferpool_get_bulk_timed and the waiters of
 * bufferpool_get_async among them. Everything that provides a buffer, or room to make one, serves the call that has
 * waited longest: a put (also of a buffer that is freed for its size), the exit of a thread, bufferpool_thread_flush,
 * bufferpool_trim, and a raised cap. Buffers that are put while a call waits go to waiting calls, never to a get or
 * try_get of another thread. While more buffers exist than the cap allows, a put frees its buffer and serves nobody.
 *
 * A signal handler that runs meanwhile does not end the wait. A thread that waits while it holds buffers of the same
 * pool can cause a deadlock, as with any lock.
 *
 * Returns:
 *     a buffer
 *     NULL, errno ENOMEM      there is no memory
 *     NULL, errno ETIMEDOUT   the cap is reached or the pool's budget is used up, and timeout_ms milliseconds are
 *                             over
 *     NULL, errno ECANCELED   the pool was closed (bufferpool_close) */
BUFFERPOOL_API bufferpool_buf_t *bufferpool_get_timed(bufferpool_t *pool, unsigned timeout_ms) BUFFERPOOL_MUST_USE
    BUFFERPOOL_MALLOC(bufferpool_put);

/* Gives a buffer back. Any thread may put it, not only the thread that got it. NULL has no effect.
 *
 * The buffer becomes idle, or serves a waiting bufferpool_get_timed. It is freed instead
 *
 *   - if its cap exceeds max_capacity,
 *   - if more buffers exist than the cap allows (except for the few that may then idle in the thread's cache: see
 *     Concept),
 *   - if more is used than the pool's budget allows, or a caller of another pool waits for bytes of it, or
 *   - if the pool's idle bytes would exceed max_idle_bytes. (The caches of other threads reserve bytes of that limit. A
 *     put that finds no room collects what they do not use. Where 32 threads or more use the pool, only some puts do,
 *     and the others free their buffer although there is room.)
 *
 * Everything that a thread wrote before its put is visible to the thread that gets the same buffer next.
 *
 * A grown buffer shrinks if it is little used. A turn is the time from a get to the put that follows. The use of a turn
 * is the larger of two sizes: len at the put, and the largest total size that reserve, append or printf needed. When
 * five turns in a row each used less than cap / 4, or at most buffer_capacity, the fifth put replaces the block. The
 * new block has buffer_capacity bytes, or the next power of two if the last turn used more than that. A buffer that is
 * used more keeps its size. A buffer that stays idle has no turns, and keeps its size too.
 *
 * Returns nothing. errno is preserved. */
BUFFERPOOL_API void bufferpool_put(bufferpool_buf_t *buf) BUFFERPOOL_NOPLT;

/* Since 0.3. Puts the buffer of a data pointer, as bufferpool_put does, for callbacks that get only that pointer. data
 * must be the current data member of a buffer that is held. NULL has no effect. Any other address is misuse;
 * bufferpool_buf_from_data says what the function looks at.
 *
 * Returns nothing. errno is preserved. */
BUFFERPOOL_API void bufferpool_put_data(void *data) BUFFERPOOL_NOPLT;

/* Gets n buffers at once and stores them in bufs[0 .. n): all or none. Each buffer is as from bufferpool_get, so at the
 * cap the rest go beyond it.
 *
 * Returns:
 *     0
 *     ENOMEM      there is no memory
 *     ECANCELED   the pool was closed (bufferpool_close)
 *     EINVAL      bufs is NULL and n is not 0
 * After an error no buffer was taken, and the content of bufs is unspecified. */
BUFFERPOOL_API int bufferpool_get_bulk(bufferpool_t *pool, bufferpool_buf_t **bufs, size_t n) BUFFERPOOL_MUST_USE;

/* Puts bufs[0 .. n), each as bufferpool_put does. Entries may be NULL, and may belong to several pools.
 *
 * Returns nothing. errno is preserved. */
BUFFERPOOL_API void bufferpool_put_bulk(bufferpool_buf_t **bufs, size_t n);

/* Since 0.3. Gets n buffers and stores them in bufs[0 .. n): all or none, and never beyond the cap. It waits as
 * bufferpool_get_timed does, in the same queue, until it has all n. No call that came later is served before it, and
 * those that came before are served first, so neither many small calls nor a large one starve the other.
 *
 * So threads that each need several buffers at a time do not deadlock, if each gets them by one call and holds no other
 * buffer of the pool meanwhile. With one get_timed after the other they would: each could wait with a part. The buffers
 * that a waiting call was given so far count as held.
 *
 * Returns:
 *     0
 *     ENOMEM      there is no memory
 *     EAGAIN      the cap is reached, and timeout_ms is 0
 *     ETIMEDOUT   the cap is reached, and timeout_ms milliseconds are over
 *     ECANCELED   the pool was closed (bufferpool_close)
 *     EINVAL      n exceeds the cap, or the cap was lowered below n meanwhile; or bufs is NULL and n is not 0
 * After an error no buffer was taken, and the content of bufs is unspecified. */
BUFFERPOOL_API int bufferpool_get_bulk_timed(bufferpool_t *pool, bufferpool_buf_t **bufs, size_t n,
                                             unsigned timeout_ms) BUFFERPOOL_MUST_USE;

/* ------------------------------------------------------------------------------------------------------------
 * Event loops: to wait at the cap without blocking. Since 0.3.
 *
 *     struct connection { bufferpool_waiter_t waiter; ... };         // waiter is zeroed before its first use
 *
 *     bufferpool_notifier_t *notifier = bufferpool_notifier_create();        // one for each loop
 *     add bufferpool_notifier_fd(notifier) to the loop, for reading
 *
 *     buf = bufferpool_get_async(pool, &connection->waiter, notifier);
 *     if (buf != NULL) serve(connection, buf);
 *     else if (errno != EINPROGRESS) fail(connection, errno);
 *
 *     when the descriptor is readable:
 *         while ((waiter = bufferpool_notifier_next(notifier)) != NULL)
 *             serve the connection that waiter is in, with waiter->buf
 *
 * One loop may wait for buffers of several pools with one notifier. get_async, next and cancel of one notifier's
 * waiters are called by one thread at a time; they belong to no thread otherwise, so another thread may go on after the
 * first has ended. Everything else may be called by any thread meanwhile.
 *
 * A child of fork has no waiters, and cannot use a notifier of its parent's but to destroy it.
 *
 * docs/tuning.md says when to wait, when to refuse, and when to go beyond the cap.
 * ---------------------------------------------------------------------------------------------------------- */

typedef struct bufferpool_notifier bufferpool_notifier_t;

/* A get that may wait, embedded in the caller's own struct. It is zeroed before its first use. While it waits or is
 * ready the struct stays where it is. */
typedef struct bufferpool_waiter {
    void *user;            /* the caller's */
    bufferpool_buf_t *buf; /* set by bufferpool_notifier_next: the buffer, or NULL */
    int error;             /* and then why: ENOMEM or ECANCELED; 0 with a buffer */
    uintptr_t reserved[9]; /* the library's */
} bufferpool_waiter_t;

/* Makes a notifier, which has one file descriptor (eventfd, close-on-exec).
 *
 * Returns:
 *     a notifier                   the caller ends it with bufferpool_notifier_destroy
 *     NULL, errno ENOMEM           there is no memory, or the system refuses an eventfd
 *     NULL, errno EMFILE, ENFILE   the process or the system has too many open files */
BUFFERPOOL_API bufferpool_notifier_t *bufferpool_notifier_create(void) BUFFERPOOL_MUST_USE
    BUFFERPOOL_MALLOC(bufferpool_is_never_called);

/* The file descriptor, for poll, epoll, uv_poll, io_uring and the like. It is readable while a waiter is ready. It is
 * written once when the first waiter becomes ready, however many follow, so an edge-triggered loop must call
 * bufferpool_notifier_next until that returns NULL. A loop that reads from the descriptor itself, as with a read of
 * io_uring, must do the same. It must not close the descriptor.
 *
 * In rare cases the descriptor is readable although no waiter is ready: when the loop took the waiter before the thread
 * that served it had written the descriptor, or when another thread was preempted in the middle of a call while a
 * waiter joined the queue. bufferpool_notifier_next then looks at the pool again.
 *
 * Returns:
 *     the file descriptor
 *     -1          notifier is NULL */
BUFFERPOOL_API int bufferpool_notifier_fd(const bufferpool_notifier_t *notifier);

/* Takes the waiter that has been ready for longest, and sets its buf and error. It is no longer waiting, and may be
 * used anew at once. The caller owns the buffer.
 *
 * Returns:
 *     a waiter
 *     NULL        none is ready; the file descriptor is not readable until one is (but see bufferpool_notifier_fd) */
BUFFERPOOL_API bufferpool_waiter_t *bufferpool_notifier_next(bufferpool_notifier_t *notifier) BUFFERPOOL_MUST_USE;

/* Ends a notifier, and closes its file descriptor.
 *
 * Returns:
 *     0
 *     EINVAL      notifier is NULL
 *     EBUSY       some of its waiters wait or are ready; nothing changed */
BUFFERPOOL_API int bufferpool_notifier_destroy(bufferpool_notifier_t *notifier);

/* Gets a buffer as bufferpool_try_get does. Where that would refuse, or while others wait already, the waiter joins the
 * pool's queue, behind all calls and waiters that came earlier. It is ready once it has been given a buffer or room to
 * make one, and counts as holding that buffer from then on: also before bufferpool_notifier_next returns it.
 *
 * The cost is that of try_get while nobody waits, and does not depend on how many wait.
 *
 * Returns:
 *     a buffer                  the waiter is not used
 *     NULL, errno EINPROGRESS   the waiter waits, until bufferpool_notifier_next returns it or bufferpool_cancel
 *     NULL, errno ENOMEM        there is no memory
 *     NULL, errno ECANCELED     the pool was closed (bufferpool_close)
 *     NULL, errno EBUSY         the waiter waits or is ready already
 *     NULL, errno EINVAL        waiter or notifier is NULL, or the notifier is of another process */
BUFFERPOOL_API bufferpool_buf_t *bufferpool_get_async(bufferpool_t *pool, bufferpool_waiter_t *waiter,
                                                      bufferpool_notifier_t *notifier) BUFFERPOOL_MUST_USE
    BUFFERPOOL_MALLOC(bufferpool_put);

/* Ends the wait of a waiter, for example when its connection closes, in constant time. Afterwards it is nobody's. What
 * it had been given goes to the next in the queue. It has no effect on NULL, or on a waiter that neither waits nor is
 * ready.
 *
 * Returns nothing. errno is preserved. */
BUFFERPOOL_API void bufferpool_cancel(bufferpool_waiter_t *waiter);

/* ------------------------------------------------------------------------------------------------------------
 * The cap
 * ---------------------------------------------------------------------------------------------------------- */

/* Counts the buffers that callers hold, with or without a cap, up to the cap: bufferpool_stats has the rest in
 * bypass_live. The number is exact when no call is under way on the pool. Otherwise it is off by at most the calls that
 * run meanwhile. It is never larger than the cap, nor than the number of buffers that exist.
 *
 * Returns:
 *     the number of buffers that callers hold, or the cap if that is less */
BUFFERPOOL_API size_t bufferpool_live(const bufferpool_t *pool);

/* Sets the cap to n buffers. From now on no buffer is made while n or more exist, unless callers hold n or more. 0
 * means no cap. A value above 2^30 - 1 counts as 2^30 - 1. Callers keep the buffers that they hold.
 *
 * A lowered cap frees the idle buffers beyond n at once, in whatever thread's cache they are. If callers hold more than
 * n, they are beyond the cap from now on, and their puts free as many. A raised cap serves the calls that wait in
 * bufferpool_get_timed.
 *
 * Idle buffers in the cache of a thread that is preempted in the middle of a call just then are freed by the next call
 * on the pool that takes the slow path, by whichever thread. While the pool has too many buffers, every call does.
 *
 * Without membarrier(2), idle buffers in another thread's cache are freed at that thread's next call on the pool. If
 * that thread calls bufferpool_thread_flush or ends instead, they are freed by the next call that uses the depot.
 *
 * Returns nothing. errno is preserved. */
BUFFERPOOL_API void bufferpool_set_max_live(bufferpool_t *pool, size_t n);

/* Reads the cap.
 *
 * Returns:
 *     the cap, in buffers
 *     0           there is no cap */
BUFFERPOOL_API size_t bufferpool_max_live(const bufferpool_t *pool);

/* ------------------------------------------------------------------------------------------------------------
 * Content
 *
 * All of these functions but buf_shrink and buf_from_data grow the buffer when its cap is too small. Growth is
 * geometric: to at least 1.5 times the cap, or only as far as needed when memory is short. The handle and the bytes
 * data[0 .. len) stay; data may move. Bytes from data[len] on are not kept.
 *
 * A buffer may grow beyond max_capacity. It is then freed when it is put.
 *
 * After an error data, len, cap and the bytes data[0 .. len) are as before.
 * ---------------------------------------------------------------------------------------------------------- */

/* Makes cap at least the given number of bytes, in all. Never shrinks the buffer.
 *
 * Returns:
 *     0
 *     ENOMEM      there is no memory
 *     EINVAL      buf is NULL, or its len exceeds its cap
 *     EOVERFLOW   the size cannot be represented */
BUFFERPOOL_API int bufferpool_buf_reserve(bufferpool_buf_t *buf, size_t cap) BUFFERPOOL_MUST_USE;

/* Since 0.3. Gives back memory of a buffer that stays held, for example of a connection that had one large message. cap
 * becomes the smallest that is at least the given number of bytes, len, and buffer_capacity. Never grows the buffer:
 * if that is not less than cap, nothing changes. 0 gives back all that the content does not need.
 *
 * The handle and the bytes data[0 .. len) stay; data may move. Bytes from data[len] on are not kept. The memory goes
 * back to the system as that of a freed block (see Freed memory). In a pool with BUFFERPOOL_ZERO it is wiped first.
 * Sizes that were asked for before the call do not count as use of this turn (see bufferpool_put).
 *
 * Returns:
 *     0
 *     ENOMEM      there is no memory for the smaller block
 *     EINVAL      buf is NULL, or its len exceeds its cap */
BUFFERPOOL_API int bufferpool_buf_shrink(bufferpool_buf_t *buf, size_t cap);

/* Appends n bytes at data[len] and adds n to len. src may point into the buffer's own block. It may be NULL if n is 0.
 *
 * Returns:
 *     0
 *     ENOMEM      there is no memory
 *     EINVAL      buf is NULL, its len exceeds its cap, or src is NULL and n is not 0
 *     EOVERFLOW   the size cannot be represented */
BUFFERPOOL_API int bufferpool_buf_append(bufferpool_buf_t *buf, const void *src, size_t n) BUFFERPOOL_MUST_USE
    BUFFERPOOL_READS(2, 3);

/* Formats text at data[len] as vsnprintf does, and adds its length to len. A terminating NUL follows; len does not
 * count it.
 *
 * Arguments may point into data[0 .. len). The function writes from data[len] on before it has read all arguments, so
 * no argument may be read as far as data[len]. The NUL behind the buffer's own text is there. So an argument that is a
 * part of that text needs a precision, as in "%.*s".
 *
 * Returns:
 *     0
 *     ENOMEM      there is no memory
 *     EINVAL      buf or format is NULL, or len exceeds cap
 *     EOVERFLOW   the size cannot be represented, or the text is longer than INT_MAX bytes
 *     EILSEQ      as from vsnprintf */
BUFFERPOOL_API int bufferpool_buf_printf(bufferpool_buf_t *buf, const char *format, ...) BUFFERPOOL_MUST_USE
    BUFFERPOOL_PRINTF(2, 3);
BUFFERPOOL_API int bufferpool_buf_vprintf(bufferpool_buf_t *buf, const char *format, va_list args) BUFFERPOOL_MUST_USE
    BUFFERPOOL_PRINTF(2, 0);

/* Finds the buffer of a data pointer, for callbacks that get only that pointer. data must be the current data member of
 * a buffer that is held.
 *
 * The function tells by the 16 bytes in front of data whether data is such a pointer. If these lie in another page than
 * data, it first asks the system whether they can be read (rt_sigprocmask, some 100 ns). So data may be any address in
 * memory that can be read.
 *
 * Returns:
 *     the buffer
 *     NULL, errno EINVAL      data is not the data member of a held buffer */
BUFFERPOOL_API bufferpool_buf_t *bufferpool_buf_from_data(const void *data) BUFFERPOOL_MUST_USE;

/* ------------------------------------------------------------------------------------------------------------
 * Pools
 * ---------------------------------------------------------------------------------------------------------- */

/* The flags of a configuration. */

/* Wipes memory, for buffers that hold secrets. A block is wiped whole when its buffer is put, and before the block is
 * freed. Growth also wipes the block that it replaces. The compiler cannot remove the wiping. The price is that put
 * wipes cap bytes, and that every get and put of the pool takes the slow path (see Cost). */
#define BUFFERPOOL_ZERO 0x1u

/* A thread of the library reclaims every reclaim_interval_ms, even when no calls come. One thread serves all pools that
 * have this flag. It is named "bufferpool", and all signals are blocked in it. It starts with the first get of such a
 * pool (but see BUFFERPOOL_START_NOW), and ends with the bufferpool_destroy of the last one. A child of fork starts its
 * own thread in the same way. If the thread cannot be started, calls reclaim as without the flag.
 *
 * The pool also retains the memory of freed blocks for retain_ms, so that the next wave of a load finds the memory of
 * the last one (see Freed memory). */
#define BUFFERPOOL_BACKGROUND 0x2u

/* Asks the system for huge pages behind the blocks. Where the system grants them, fresh memory is three to four times
 * as fast if buffers are written whole. The price is that a block is resident whole, also where nothing was written:
 * 10,000 buffers of 32 KiB with 4 KiB written each take some 320 MiB instead of 80. Memory goes back in steps of 2 MiB.
 * The flag is ignored with allocator hooks. */
#define BUFFERPOOL_HUGEPAGES 0x4u

/* Since 0.3. The library's thread trims the pool, as bufferpool_trim does, when the system says that memory is short.
 * It is the thread of BUFFERPOOL_BACKGROUND, with the same beginning and end. By time the thread reclaims only the
 * pools that have BUFFERPOOL_BACKGROUND too. As services of systemd do, the thread learns of this
 *
 *     1. from the path in MEMORY_PRESSURE_WATCH: a PSI file, a FIFO or a listening Unix stream socket. The bytes that
 *        MEMORY_PRESSURE_WRITE has in base64 are first written to it. "/dev/null" says: not at all
 *     2. otherwise from memory.pressure of the process's own cgroup
 *     3. otherwise from /proc/pressure/memory; here and in 2 when tasks stall for 200 ms within 2 s
 *
 * A variable with a value that cannot be used is ignored; with BUFFERPOOL_DEBUG a line on stderr says so. A program
 * that runs with more rights than its user has (setuid) does not read the variables. If none of the three sources is
 * there, the flag has no effect, and bufferpool_stats says so. The same holds after the source has ended, as a socket
 * does when its peer closes it: the thread does not look for another.
 *
 * The source is opened when the thread begins, or with the first pool of the flag that comes later. Until the thread
 * ends, it and an eventfd are open: two file descriptors of the library, which the program must not close. They are
 * closed by exec and in a child of fork, which opens its own with its first get. */
#define BUFFERPOOL_PRESSURE 0x8u

/* Since 0.3. With BUFFERPOOL_BACKGROUND or BUFFERPOOL_PRESSURE: bufferpool_create starts the library's thread itself,
 * unless it runs already, and fails if that is impossible. It returns once the thread has begun, and has opened what it
 * watches. The gets of the pool then start no thread.
 * This suits programs that give up the right to make threads after their start, by a filter of system calls. Programs
 * that fork after they created the pool do better without: a child of fork has no thread of its parent's, and starts
 * its own with its first get of the pool, as without this flag. Where there is no thread to start, the flag
 * has no effect: with reclaim_interval_ms BUFFERPOOL_NEVER, or where BUFFERPOOL_PRESSURE finds nothing to watch. It is
 * an error without both of these flags. */
#define BUFFERPOOL_START_NOW 0x20u

/* Since 0.3. The pool works as on a system without membarrier(2) (see Without membarrier): no call on the pool makes
 * this system call, nor does its bufferpool_create. This is for programs under a filter that ends a process for it. If
 * every pool of a process has the flag, and the default pool is not used, the process never makes the call. */
#define BUFFERPOOL_NO_MEMBARRIER 0x10u

/* The configuration of a pool. Start from BUFFERPOOL_CONFIG_INIT and set the fields that you need. Zero or NULL in a
 * field means its default, except in retain_ms.
 *
 * max_live counts buffers, not bytes. All idle buffers together have at most max_live * max_capacity bytes, as long as
 * callers do not go beyond the cap. Buffers that callers hold may grow beyond that.
 *
 * thread_cache_bytes limits the cache that each thread has for this pool, and counts as buffer_capacity if it is less.
 * A thread that fills and empties its cache again and again comes to have up to four times that limit. The limits of
 * all caches together are at most thread_cache_bytes for each thread, or for eight threads if there are fewer: where
 * there are more, the room comes from threads that did not use theirs lately. (Such a thread has its own room back with
 * its next call, and a new thread has its own at once. The sum may then exceed that bound until the next reclaim.)
 * Reclaim takes back what a thread does not need. A cache never holds more than 4,096 buffers. A grown buffer that
 * exceeds the limit idles in the depot. */
typedef struct bufferpool_config {
    size_t size;                  /* sizeof(bufferpool_config_t), from BUFFERPOOL_CONFIG_INIT; lets the struct grow */
    const char *name;             /* for messages and metrics; a suffix makes it unique. Default: "pool-N" */
    size_t buffer_capacity;       /* bytes of a new buffer. Default: 32 KiB */
    size_t max_capacity;          /* bytes; put frees a larger buffer. Default: 1 MiB, at least buffer_capacity */
    size_t max_live;              /* the cap, in buffers. Default: no cap */
    size_t max_idle_bytes;        /* bytes; put frees a buffer that would exceed them. Default: no limit */
    size_t thread_cache_bytes;    /* bytes that a thread's cache may hold at first. Default: 512 KiB */
    size_t alignment;             /* of data, in bytes: a power of two, at most the page size. Default: 64 */
    unsigned reclaim_interval_ms; /* milliseconds between automatic reclaims; or BUFFERPOOL_NEVER. Default: 10,000 */
    unsigned flags;               /* of those above, such as BUFFERPOOL_ZERO. Default: none */
    /* The block allocator: set both hooks, or neither to use the system. The library holds no lock when it calls a
     * hook, and may call it from any thread, also while a thread exits. A hook must not use this pool. The size
     * includes the library's prefix of a block. alloc returns memory that is aligned to align, or NULL. free gets the
     * size that alloc got. */
    void *(*alloc)(size_t size, size_t align, void *ctx);
    void (*free)(void *block, size_t size, void *ctx);
    void *ctx; /* passed to the hooks; the library does not use it */
    /* Since 0.3. The budget that the memory of the pool's blocks is taken from (see Budgets), or NULL for none. It must
     * outlive the pool. Default: none. */
    bufferpool_budget_t *budget;
    /* Since 0.3. Milliseconds; has an effect only with BUFFERPOOL_BACKGROUND. The memory of freed blocks goes back to
     * the system so long after callers last held as much (see Freed memory). 0 means at once. BUFFERPOOL_NEVER is an
     * error. The default is 1,000, which BUFFERPOOL_CONFIG_INIT sets; a configuration without this field has it too. */
    unsigned retain_ms;
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
        NULL,                             /* ctx */                                                                  \
        NULL,                             /* budget */                                                               \
        1000                              /* retain_ms */                                                            \
    }
/* clang-format on */

/* Since 0.3. A pointer to a configuration with the given fields, for C99 and C++20. The others have their default.
 *
 *     bufferpool_t *pool = bufferpool_create(BUFFERPOOL_CONFIG(.max_live = 256, .name = "http"));
 *
 * C++20 wants the fields in the order of the struct. In C the configuration lives as long as the block around it, in
 * C++ to the end of the full expression. The macro sets an odd size, by which the library knows that 0 in retain_ms
 * means the default too. So for "at once" write .retain_ms = 1, or start from BUFFERPOOL_CONFIG_INIT. */
#if !defined(__cplusplus)
#define BUFFERPOOL_CONFIG(...) (&(const bufferpool_config_t){.size = sizeof(struct bufferpool_config) + 1, __VA_ARGS__})
#elif __cplusplus >= 202002L
#define BUFFERPOOL_CONFIG(...) bufferpool_config_at(bufferpool_config_fields{__VA_ARGS__})
/* The same fields, with defaults, so that no compiler warns of those that are left out. For the macro alone. */
struct bufferpool_config_fields {
    size_t size = sizeof(struct bufferpool_config) + 1;
    const char *name = nullptr;
    size_t buffer_capacity = 0, max_capacity = 0, max_live = 0, max_idle_bytes = 0;
    size_t thread_cache_bytes = 0, alignment = 0;
    unsigned reclaim_interval_ms = 0, flags = 0;
    void *(*alloc)(size_t size, size_t align, void *ctx) = nullptr;
    void (*free)(void *block, size_t size, void *ctx) = nullptr;
    void *ctx = nullptr;
    bufferpool_budget_t *budget = nullptr;
    unsigned retain_ms = 0;
};
static_assert(sizeof(bufferpool_config_fields) == sizeof(bufferpool_config_t), "both have the same fields");
inline const bufferpool_config_t *bufferpool_config_at(const bufferpool_config_fields &fields) noexcept
{
    return reinterpret_cast<const bufferpool_config_t *>(&fields); /* only the library reads it */
}
#endif

/* Makes a pool. The configuration is copied, including the name. If config is NULL, every field has its default. Under
 * a debug mode, a line on stderr says why a configuration is refused. BUFFERPOOL_CONF in the environment may change
 * what the program says (see What the environment changes).
 *
 * Returns:
 *     a pool                  the caller ends it with bufferpool_destroy
 *     NULL, errno ENOMEM      there is no memory, or 65,535 pools exist, the default pool included
 *     NULL, errno EAGAIN      the thread of BUFFERPOOL_START_NOW cannot be started
 *     NULL, errno EINVAL      config->size is not known to this library; alignment is no power of two or exceeds the
 *                             page size; max_capacity is below buffer_capacity; a capacity exceeds PTRDIFF_MAX - 8 MiB;
 *                             one hook is set without the other; retain_ms is BUFFERPOOL_NEVER; a flag is unknown; or
 *                             BUFFERPOOL_START_NOW is set without BUFFERPOOL_BACKGROUND and BUFFERPOOL_PRESSURE */
BUFFERPOOL_API bufferpool_t *bufferpool_create(const bufferpool_config_t *config) BUFFERPOOL_MUST_USE
    BUFFERPOOL_MALLOC(bufferpool_close);

/* Since 0.3. Configures the default pool, before its first use: the first get of it, of whatever kind. Each field means
 * the same as for bufferpool_create, except that the name stays "default" if config->name is NULL. If config is NULL,
 * every field has its default. A cap that bufferpool_set_max_live set before is replaced.
 *
 * This is for the program, which decides before its threads begin; a library makes a pool of its own. A second call
 * before the first use replaces all of the first configuration. A get in another thread at the same time comes before,
 * and then this call returns EBUSY, or after it. No other call on the default pool may run at the same time. A child of
 * fork inherits the configuration, and whether the pool was used.
 *
 * Returns:
 *     0
 *     EBUSY       the default pool was used; nothing changed
 *     ENOMEM, EAGAIN, EINVAL      as for bufferpool_create; nothing changed */
BUFFERPOOL_API int bufferpool_configure_default(const bufferpool_config_t *config) BUFFERPOOL_MUST_USE;

/* Frees the pool and all its idle buffers, in the caches of every thread. The caller makes sure that no other call on
 * the pool runs at the same time or comes later. No lock is held while memory is freed, so calls on other pools do not
 * wait for this one, however large the pool is.
 *
 * A later call is misuse. It is caught while the pool is among the last 32 that were destroyed; the library keeps some
 * 3 KiB of each of these.
 *
 * Returns:
 *     0
 *     EINVAL      pool is NULL: the default pool cannot be destroyed
 *     EBUSY       callers hold buffers of the pool, or waiters of bufferpool_get_async wait for some or are ready;
 *                 nothing changed */
BUFFERPOOL_API int bufferpool_destroy(bufferpool_t *pool);

/* Since 0.3. Closes the pool, which ends with its last put: for a server that stops while other threads still hold
 * buffers. Every call and every waiter that waits gets ECANCELED. Idle buffers are freed at once, and each put
 * frees its buffer, by any thread, at any time. The last of them frees the pool, or bufferpool_close itself if no
 * buffer is out. A ready waiter that has a buffer already keeps it.
 *
 * No get may come afterwards: as long as buffers are out it fails with ECANCELED, and then it is a call on a pool that
 * was destroyed. Other calls on the pool but put, put_data, put_bulk, notifier_next and cancel are misuse, as is a
 * second close, and a close of the default pool.
 *
 * Held buffers can be used as before. close waits for puts, waits and cancels that are under way in other threads; so a
 * thread that calls close must not hold a lock that an allocator hook takes. The caller makes sure that no other call
 * on the pool is under way, unless a buffer that is put later outlasts it. Without membarrier(2) the buffers that
 * idle in the caches of other threads are freed, and with them the pool, no earlier than those threads put another
 * buffer of the pool, call bufferpool_thread_flush, or end.
 *
 * Returns nothing. errno is preserved. */
BUFFERPOOL_API void bufferpool_close(bufferpool_t *pool);

/* ------------------------------------------------------------------------------------------------------------
 * Budgets. Since 0.3.
 *
 * A budget limits the bytes of all blocks of its pools together: of buffers that callers hold, idle buffers, buffers
 * beyond the cap, and what growth adds. A pool has the budget that its configuration names. The blocks take no more
 * than the limit at any moment, whatever threads do, unless the limit was lowered: bytes are reserved before a block is
 * made or grows, and returned after the block was freed. While a buffer grows both blocks may count.
 *
 * With allocator hooks a block counts the size that the hooks are told. Otherwise it counts the memory that it takes:
 * the capacity and the prefix, rounded up to the slots of its slab, or to whole pages. Memory of freed blocks that a
 * pool retains (see Freed memory) does not count as used, but it never exceeds what the limit leaves. Handles and other
 * data of the library do not count.
 *
 * Where the limit is reached, idle memory makes room: a get takes an idle buffer of its own pool, from the cache of any
 * thread; if there is none, or for growth, retained memory and idle buffers of all pools of the budget are freed, as
 * many bytes as are missing. (What a thread has in its cache is out of reach as in bufferpool_set_max_live.) If nothing
 * is idle, it is as if memory were used up:
 *
 *   - bufferpool_get and functions that grow a buffer fail with ENOMEM, and everything is as before
 *   - bufferpool_try_get fails with EAGAIN
 *   - bufferpool_get_timed, bufferpool_get_bulk_timed and bufferpool_get_async wait. They are served when bytes come
 *     back, from any pool of the budget
 *
 * A call on one pool of a budget may thus free blocks of the others, by their hooks. So a hook of such a pool must not
 * use a pool that has a budget, and must not wait for a thread that does.
 * ---------------------------------------------------------------------------------------------------------- */

/* Makes a budget. The name is copied, for metrics; a suffix makes it unique among budgets.
 *
 * Returns:
 *     a budget                the caller ends it with bufferpool_budget_destroy
 *     NULL, errno ENOMEM      there is no memory
 *     NULL, errno EINVAL      name is NULL, or bytes is 0 */
BUFFERPOOL_API bufferpool_budget_t *bufferpool_budget_create(const char *name, size_t bytes) BUFFERPOOL_MUST_USE
    BUFFERPOOL_MALLOC(bufferpool_is_never_called);

/* Frees the budget. The caller makes sure that no other call on the budget runs at the same time or comes later.
 *
 * Returns:
 *     0
 *     EINVAL      budget is NULL
 *     EBUSY       a pool has the budget; nothing changed */
BUFFERPOOL_API int bufferpool_budget_destroy(bufferpool_budget_t *budget);

/* Changes the limit. If more is used than the new limit allows, idle memory is freed at once, in all pools of the
 * budget. If callers hold more than that, their puts free as much. A raised limit serves the calls that wait. 0 allows
 * nothing. Any thread may call this at any time.
 *
 * Returns nothing. errno is preserved. */
BUFFERPOOL_API void bufferpool_budget_set(bufferpool_budget_t *budget, size_t bytes);

/* Reads how many bytes the blocks take, those included that are about to be made. Exact when no call is under way on a
 * pool of the budget.
 *
 * Returns:
 *     the bytes in use */
BUFFERPOOL_API size_t bufferpool_budget_used(const bufferpool_budget_t *budget);

/* ------------------------------------------------------------------------------------------------------------
 * Memory
 *
 * A pool reclaims automatically, every reclaim_interval_ms, in its gets and puts. One call starts the reclaim, and the
 * next ones continue it: a few buffers each if calls come often, and never more than a quarter of all that are to go.
 * What a burst left is gone after three intervals and 64 gets of a thread, whatever their rate. A get_bulk counts as
 * one get here. Two things stay: the buffers in the caches of threads that go on getting and putting, and up to 1 MiB
 * of freed memory (see Freed memory). There is one exception: a thread at full speed beside an empty depot looks at the
 * clock in one get of 511. If another thread's burst fills the depot just then, that thread may need 511 gets more.
 *
 * So a pool without calls keeps its idle buffers. Set BUFFERPOOL_BACKGROUND, or call bufferpool_reclaim or
 * bufferpool_trim, for example when the server falls idle.
 * ---------------------------------------------------------------------------------------------------------- */

/* Frees the idle buffers that were not needed since the last reclaim, automatic or not: those that stayed in the depot
 * the whole time, and those in the caches of threads that neither got nor put meanwhile. Then gives the memory of free
 * blocks back to the system.
 *
 * So a few reclaims, some time apart, leave about as many buffers as are in use at a time. In a pool that is not used,
 * at most three reclaims free everything.
 *
 * errno is preserved. Returns:
 *     the bytes of the buffers that were freed, less those that the system refuses to take, as for trim
 *     0           nothing was freed, or another thread is reclaiming this pool */
BUFFERPOOL_API size_t bufferpool_reclaim(bufferpool_t *pool);

/* Frees all idle buffers, in the depot and in the caches of all threads, and gives the memory of free blocks back to
 * the system. Without membarrier(2) it reaches the depot and the cache of the calling thread only. It works in steps,
 * and holds no lock beyond a step, so no other call waits for the whole.
 *
 * errno is preserved. Returns:
 *     the bytes of the buffers that were freed, less those that the system refuses to take: locked memory (mlock,
 *     mlockall) before Linux 5.18 */
BUFFERPOOL_API size_t bufferpool_trim(bufferpool_t *pool);

/* Since 0.3. Gives back about so many bytes, as a bounded step of bufferpool_trim. First goes the memory that the pool
 * retains of freed blocks (see Freed memory). If that is less, idle buffers are freed: those in the depot, and only if
 * they are too few those in the caches of threads, which all come to the depot then. The call ends with the block that
 * makes the bytes full, so it gives back no more than that block too much. (Where more buffers exist than the cap
 * allows, these are freed in any case.) 0 gives back nothing. Repeated until it returns 0, the call does what trim
 * does.
 *
 * errno is preserved. Returns:
 *     the bytes of the memory and of the buffers that went, less those that the system refuses to take, as for trim
 *     0           there was nothing to give back, or bytes is 0 */
BUFFERPOOL_API size_t bufferpool_trim_some(bufferpool_t *pool, size_t bytes);

/* Moves the idle buffers in the calling thread's caches, of all pools, to the depots, where other threads find them.
 * A thread that is about to block for a long time should call it.
 *
 * Returns nothing. errno is preserved. */
BUFFERPOOL_API void bufferpool_thread_flush(void);

/* ------------------------------------------------------------------------------------------------------------
 * Observation
 * ---------------------------------------------------------------------------------------------------------- */

/* The statistics of a pool. Gauges say how the pool is now. Counters only grow, with one exception: puts_kept is
 * computed from the other numbers, and may fall while calls are under way, by no more than those calls account for.
 *
 * All numbers are exact when no call is under way on the pool. Then
 *
 *     gets_thread + gets_depot + gets_fresh + gets_bypass = puts + live + bypass_live
 *     puts = puts_kept + drops_oversize + drops_bypass + drops_over_cap + drops_idle_limit
 *     pooled = live + bypass_live + idle_thread + idle_depot
 *     pooled_bytes = live_bytes + idle_bytes
 *
 * Buffers are of one kind, so none of those that callers hold is the one beyond the cap. bypass_bytes says how much
 * memory it costs that callers hold more than the cap: live_bytes times bypass_live / (live + bypass_live), rounded
 * down. Where no buffer has grown, this is bypass_live times buffer_capacity.
 *
 * retained_bytes is the memory of freed blocks that was not given back (see Freed memory). mapped_bytes is address
 * space: only those pages of it have memory that were written. Neither contains what the library needs for itself. Both
 * are 0 with allocator hooks, and under the debug mode nopool.
 *
 * waited_ns / waits is the mean time of a wait at the cap. A wait counts when it ends, with a buffer or without. A
 * get_timed that finds a buffer at once does not wait, nor does one with a timeout of 0.
 */
typedef struct bufferpool_stats {
    size_t size; /* sizeof(bufferpool_stats_t), set by BUFFERPOOL_STATS_INIT; lets the struct grow */
    /* gauges */
    uint64_t live;           /* buffers that callers hold, up to the cap */
    uint64_t bypass_live;    /* buffers that callers hold beyond the cap */
    uint64_t idle_thread;    /* idle buffers in thread caches */
    uint64_t idle_depot;     /* idle buffers in the depot */
    uint64_t idle_bytes;     /* the sum of cap over all idle buffers */
    uint64_t live_bytes;     /* the sum of cap over all buffers that callers hold, also beyond the cap */
    uint64_t peak_in_flight; /* the most buffers that ever existed at once, also beyond the cap */
    uint64_t max_live;       /* the cap; 0 means no cap */
    uint64_t thread_caches;  /* threads that have a cache of this pool */
    /* counters */
    uint64_t gets_thread;      /* gets served from the thread's cache */
    uint64_t gets_depot;       /* gets served from the depot */
    uint64_t gets_fresh;       /* gets that made a buffer under the cap */
    uint64_t gets_bypass;      /* gets that made a buffer beyond the cap */
    uint64_t gets_refused;     /* EAGAIN of try_get, ETIMEDOUT of get_timed; either of get_bulk_timed */
    uint64_t puts_kept;        /* puts that made the buffer idle */
    uint64_t drops_oversize;   /* puts that freed it: its cap exceeded max_capacity */
    uint64_t drops_bypass;     /* always 0: a buffer that is freed beyond the cap counts in drops_over_cap */
    uint64_t drops_over_cap;   /* puts that freed it: more existed than the cap allows */
    uint64_t drops_idle_limit; /* puts that freed it: max_idle_bytes, the budget; or debug modes nopool and chaos */
    uint64_t grows;            /* blocks replaced by larger ones */
    uint64_t reclaimed_bytes;  /* bytes of idle buffers freed by trim, by reclaim, or since more existed than the cap */
    /* since 0.2 */
    uint64_t shrinks; /* blocks of grown buffers replaced by smaller ones: after little use, or by buf_shrink */
    uint64_t stolen;  /* idle buffers taken out of the caches of other threads */
    /* since 0.3; gauges */
    uint64_t pooled;         /* buffers that exist */
    uint64_t pooled_bytes;   /* the sum of cap over all of them */
    uint64_t waiting;        /* callers that wait at the cap for a buffer */
    uint64_t retained_bytes; /* bytes of free memory kept for new blocks */
    uint64_t mapped_bytes;   /* bytes of address space mapped for blocks, with and without memory */
    uint64_t bypass_bytes;   /* the part of live_bytes that is beyond the cap, see above */
    /* since 0.3; counters */
    uint64_t waits;     /* waits at the cap that ended */
    uint64_t waited_ns; /* nanoseconds that they took, all together */
    /* since 0.3 */
    uint64_t memory_pressure_watched; /* a gauge: 1 while BUFFERPOOL_PRESSURE has a source of news, otherwise 0 */
    uint64_t memory_pressure_trims;   /* trims by BUFFERPOOL_PRESSURE */
} bufferpool_stats_t;

/* clang-format off */
#define BUFFERPOOL_STATS_INIT                                                                                        \
    { sizeof(struct bufferpool_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,          \
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
/* clang-format on */

/* Fills in the first stats->size bytes of *stats. Bytes beyond those that this library knows are set to zero.
 *
 * Returns nothing. */
#if defined(__cplusplus) && defined(__GNUC__)
/* C++ allows a struct and a function of one name, but g++ -Wshadow says that the function hides the constructor. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif
BUFFERPOOL_API void bufferpool_stats(const bufferpool_t *pool, bufferpool_stats_t *stats);
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

/* Since 0.3. Appends the statistics of all pools to out, as text that Prometheus scrapes (text/plain; version=0.0.4;
 * charset=utf-8). out may belong to any pool. It is itself a buffer that a caller holds, so the statistics count it.
 *
 * Each sample has a label pool with the name of its pool; a sample of a budget has a label budget instead. Bytes of the
 * name that are not UTF-8 appear as \xNN.
 *
 * errno is preserved. Returns:
 *     0
 *     ENOMEM      there is no memory; out is as before
 *     EINVAL      out is NULL, or its len exceeds its cap
 *     EOVERFLOW   the size cannot be represented; out is as before */
BUFFERPOOL_API int bufferpool_metrics(bufferpool_buf_t *out) BUFFERPOOL_MUST_USE;

/* Since 0.3. Appends to out a table of the buffers that callers hold, of all pools. For each call site that got any of
 * them, the table has a line with the number of buffers, their bytes, how long the oldest has been held, and the thread
 * that got it. The line with the oldest buffer comes first. out may belong to any pool, and is itself in the table.
 *
 * Call sites are recorded under BUFFERPOOL_DEBUG=holders, under most other modes (see Debug modes), and after
 * bufferpool_record_holders(1). Otherwise the table has one line for each pool. Functions have the names that the
 * dynamic linker knows. Link a program with -rdynamic to see the names of its own functions.
 *
 * errno is preserved. Returns:
 *     0
 *     ENOMEM      there is no memory; out is as before
 *     EINVAL      out is NULL, or its len exceeds its cap
 *     EOVERFLOW   the size cannot be represented; out is as before */
BUFFERPOOL_API int bufferpool_holders(bufferpool_buf_t *out) BUFFERPOOL_MUST_USE;

/* Since 0.3. Switches the mode `holders` on, or off if `on` is 0, while the process runs. While the mode is on, call
 * sites are recorded for bufferpool_holders. If it is on at exit, the table is written to stderr. If BUFFERPOOL_DEBUG
 * switched the mode on, this function can switch it off, and on again. All other modes stay as they are. If one of them
 * records call sites anyway, this function only changes whether the table is written at exit. The call has no effect if
 * the mode is already as `on` says.
 *
 * For the buffers that callers got before, the table has one line for each pool: "got before recording began". These
 * lines come last. So while no call is under way, the lines add up to all buffers that callers hold. A get that begins
 * after this function has returned is recorded. A get that runs at the same time may be listed either way. Buffers may
 * be put at any time, however often the mode was switched since the get. When the mode is switched off, the records are
 * lost, and the next recording begins anew.
 *
 * Any thread may call this function at any time, beside any call. Two calls at once take effect one after the other.
 * The function does not need membarrier(2). In a child of fork the mode is as in the parent. If another thread of the
 * parent was just switching the mode on, the child may record or not.
 *
 * While the mode is on, each get and each put takes the slow path, and the library keeps some 64 bytes for each buffer
 * that was used. These bytes are freed with the pool. If there is no memory for them, the buffer is listed as "not
 * recorded". The call itself takes time in proportion to the thread caches of all pools, and no memory. Once the mode
 * is off, get and put cost what they did before. In gdb, select a thread that is not inside a call of this library, and
 * enter
 *     call (int)bufferpool_record_holders(1)
 *
 * errno is preserved. Returns:
 *     0
 *     ENOTSUP     the library was built without debug modes */
BUFFERPOOL_API int bufferpool_record_holders(int on);

/* Tells the version of the library that runs.
 *
 * Returns:
 *     a string constant such as "0.3.0", or "0.3.0-dev" between two releases */
BUFFERPOOL_API const char *bufferpool_version(void);

#ifdef BUFFERPOOL_DECLARED_TWICE
#undef BUFFERPOOL_DECLARED_TWICE
#pragma GCC diagnostic pop
#endif

#ifdef __cplusplus
}
#endif

/* ------------------------------------------------------------------------------------------------------------
 * THE CONTRACT AS A WHOLE
 * ------------------------------------------------------------------------------------------------------------
 *
 * Concept
 *
 *     A POOL hands out BUFFERS. A buffer is a handle (data, len, cap) and the BLOCK of bytes behind it. When a buffer
 *     grows, its block is replaced and the handle stays.
 *
 *     A buffer that a caller holds is LIVE. A buffer that no caller holds is IDLE. It lies in the CACHE of the thread
 *     that put it, or in the pool's DEPOT, where every thread finds it.
 *
 *     The CAP (max_live) limits the buffers that exist, live and idle together. It counts buffers, not bytes. When
 *     callers hold that many, a get still succeeds: it makes a buffer BEYOND THE CAP. Such a buffer is as any other.
 *     While more buffers exist than the cap allows, each put frees one, whichever was put. Identifiers say bypass for
 *     what is beyond the cap: bypass_live, gets_bypass.
 *
 *     While callers hold as many buffers as the cap allows, or more, a thread may still have a few idle buffers in its
 *     cache, 8 at most. In all threads together no more idle than exist beyond the cap. When callers hold fewer again,
 *     no more buffers exist than the cap allows, as soon as the call that made it so returns. There is one exception: a
 *     buffer may idle in the cache of a thread that is preempted in the middle of a call just then. It is freed as
 *     after bufferpool_set_max_live.
 *
 * Cost
 *
 *     A get and a put on the calling thread's own cache take a few nanoseconds, with no lock and no atomic
 *     read-modify-write. (On 32-bit ARM, a store of 64 bits is such an operation.) This is the FAST PATH.
 *
 *     Get and put take the SLOW PATH when the cache is empty or full, and at the cap. Beyond the cap most calls of a
 *     thread that goes on take the fast path again. Get and put always take the slow path in a pool with
 *     BUFFERPOOL_ZERO, under a debug mode that records call sites, and under memcheck. For a buffer that has grown
 *     there is a path in between, without a lock: it serves the put if the buffer was well used (see put) and fits
 *     into the cache, and the get that takes the buffer from there. Some gets take the slow path to look at the clock,
 *     and to reclaim when it is time: at most one in 48 where gets come often, one in two where they are rare.
 *
 * Which calls may run at once
 *
 *     on one pool   | get try_get get_timed get_async cancel put bulk bulk_timed     | close          | destroy
 *                   | reclaim trim trim_some set_max_live live max_live stats        |                |
 *     --------------+----------------------------------------------------------------+----------------+---------
 *     any of these  | yes                                                            | see its remark | no
 *     close         | see its remark: put, cancel, notifier_next and waits that last | no             | no
 *     destroy       | no                                                             | no             | no
 *
 *     on a notifier | get_async cancel notifier_next | notifier_fd | notifier_destroy
 *     --------------+--------------------------------+-------------+------------------
 *     get_async ... | no                             | yes         | no
 *     notifier_fd   | yes                            | yes         | no
 *
 *     on one buffer | buf_* put | reading or writing the bytes
 *     --------------+-----------+------------------------------
 *     buf_* put     | no        | no
 *     the bytes     | no        | as with any memory
 *
 *     create, thread_flush, metrics, holders, record_holders, notifier_create, budget_create and version may run at any
 *     time beside anything. metrics and holders write to their buffer as buf_append does. budget_set and budget_used
 *     may run beside anything but budget_destroy. configure_default may run beside a get of the default pool, and no
 *     other call on it.
 *
 * Errors
 *
 *     A function that returns a pointer returns NULL on failure, and sets errno. A function that returns int returns 0,
 *     or the errno value on failure. A failing call changes nothing. errno is untouched on success.
 *
 * Misuse
 *
 *     Misuse that is caught ends the process, in release builds too: one line on stderr, then abort(). The line names
 *     the function, the address and the pool. These are caught:
 *
 *       - a second put of a buffer, if nobody got the buffer in between
 *       - buf_reserve, buf_shrink, buf_append, buf_printf, buf_vprintf, metrics or holders on a buffer that was put, if
 *         nobody got the buffer in between
 *       - a put of readable memory that is no buffer of the library, and a put_data of any address in readable memory
 *         that is not the data of a held buffer
 *       - a call on a pool that was destroyed, or on a buffer of that pool, while the pool is among the last 32 that
 *         were destroyed
 *       - a put with another copy of the library than the buffer came from, for instance where a program and a plug-in
 *         each contain the static library; each copy has pools of its own, also a default pool of its own (where
 *         pointers have 32 bits, in 255 of 256 processes)
 *       - a put of a buffer whose hidden state, right behind data, len and cap, was overwritten
 *       - an overwritten block prefix (the bytes in front of data), when the block grows, shrinks or is freed; not on
 *         every put
 *       - a value of data or cap that the library did not set: in a put or get on the slow path (see Cost), in a call
 *         on the content of the buffer, when the buffer leaves the cache of a thread that flushes it or exits or is
 *         stolen from, and when the buffer is freed. Of the buffers that a full cache moves to the depot, one in eight
 *         is looked at, at each position in turn
 *
 *     These are not caught, or not always:
 *
 *       - Wrong values in data and cap at a put on the fast path. The next holder gets them. BUFFERPOOL_DEBUG=holders,
 *         as all modes that record call sites, checks them at every put.
 *       - A second put after another caller got the buffer. It takes the buffer away from its new holder, and a later,
 *         correct put may be the one that aborts. BUFFERPOOL_DEBUG=quarantine=N keeps others from getting the buffer
 *         so soon.
 *       - Two puts of one buffer at the same instant in two threads. They are usually caught.
 *
 * Debug modes
 *
 *     The environment variable BUFFERPOOL_DEBUG switches debug modes on. It has words with commas between them, and is
 *     read at the first create, get or record_holders. An unknown word is reported on stderr, and the other words
 *     count. The variable is ignored in a setuid program. A library that was built without the modes ignores it too,
 *     for example one for a small machine (the option BUFFERPOOL_DEBUG_MODES of the library's CMake).
 *
 *     poison        A block is filled when its buffer is put, and verified before it is handed out or freed, and when
 *                   the process ends by exit() or by returning from main(). This finds a write after put. Where
 *                   stealing is impossible, the end leaves out the blocks in the caches of other threads.
 *     redzone       64 guard bytes lie behind cap, and the padding in front of data (alignment bytes, less the prefix)
 *                   is guarded as well. They are verified on put, on growth, when the buffer is handed out or freed,
 *                   and at the end as for poison. This finds a write beyond the end, and one in front of data. A
 *                   budget counts the guard bytes too.
 *     quarantine=N  The last N buffers that were put are held back, in each pool, so that a stale pointer does
 *                   not meet a new owner. They count as idle_depot, but not towards max_idle_bytes. At the cap, and if
 *                   the pool's budget is used up, a get takes the oldest of them. trim, a lowered cap, and a budget
 *                   that needs room free them. reclaim does not.
 *     nopool        Every get allocates by malloc (or the pool's hook), and every put frees, so that valgrind and
 *                   AddressSanitizer know each buffer by itself. The puts count as drops_idle_limit, unless more
 *                   buffers exist than the cap allows.
 *     holders       At exit, the table of bufferpool_holders is written to stderr. bufferpool_record_holders switches
 *                   this mode while the process runs.
 *     stats         At exit, and when a pool is destroyed, the statistics of the pool are written to stderr.
 *     fail=N        Every Nth allocation of a block fails: the get, the growth or the buf_shrink fails with ENOMEM.
 *     chaos         A thread's cache hands out its buffers in no order. A quarter of the puts free the buffer; these
 *                   count as drops_idle_limit.
 *
 *     All modes but stats and fail record, for each buffer, the call sites of its last get and its last put. The report
 *     of a misuse then lists them below its line. These modes also report a put with a len that exceeds cap. Everything
 *     that a mode finds is reported as misuse.
 *
 *     Modes that are off cost nothing on the fast path.
 *
 *     A build with AddressSanitizer, and valgrind's memcheck, report accesses to the bytes of a buffer that is not
 *     held, and accesses beyond its cap. No mode is needed for this.
 *
 *     Under memcheck poison does nothing, since memcheck finds more. The bytes of a buffer are undefined after get. In
 *     a pool with BUFFERPOOL_ZERO, the bytes of a buffer that was put before are defined, as zero.
 *
 * What the environment changes
 *
 *     Since 0.3. The environment variable BUFFERPOOL_CONF changes the configuration of pools, for the operator of a
 *     program that cannot be rebuilt. It has words of the form NAME.FIELD=VALUE with commas between them:
 *
 *         BUFFERPOOL_CONF=http.max_live=512,*.retain_ms=2000
 *
 *     NAME is the name of the pool in metrics, such as http-2 or default, or a star for all pools. A word with the
 *     pool's name outranks a word with a star; otherwise, later words win. (You cannot give a name that has a comma or
 *     a space in it.) The variable is read at the first create or get. It is ignored in a setuid program. It works in
 *     every build. A pool has the values from its bufferpool_create on. The default pool has them from
 *     bufferpool_configure_default on, and at the latest from its first get. This get also replaces a cap that
 *     bufferpool_set_max_live set before. A later bufferpool_set_max_live changes the cap as usual.
 *
 *         buffer_capacity       bytes; not below the program's value, since a program may write as many without asking
 *         max_capacity          bytes
 *         max_live              buffers; 0: no cap
 *         max_idle_bytes        bytes; 0: no limit
 *         thread_cache_bytes    bytes
 *         reclaim_interval_ms   milliseconds, or never
 *         retain_ms             milliseconds; 0: at once
 *         background            on or off: BUFFERPOOL_BACKGROUND
 *         hugepages             on or off: BUFFERPOOL_HUGEPAGES
 *         zero                  on: BUFFERPOOL_ZERO. It cannot be switched off
 *         pressure              off: no BUFFERPOOL_PRESSURE. It cannot be switched on, since a program may close file
 *                               descriptors that it does not know
 *
 *     Bytes may end in k, M or G, for powers of 1,024. In a field for which the list does not say what 0 means, 0 means
 *     the default. The variable cannot change the fields that the program relies on: the name, the alignment, the
 *     hooks, the budget, and the other flags.
 *
 *     A wrong word is reported on stderr, once, and the other words count. If bufferpool_create would return EINVAL for
 *     all values of a pool together, this is reported, and the pool has the program's configuration. A buffer_capacity
 *     below the program's value is reported too, and only this value is ignored. Only the first 16 such reports for
 *     pools are written.
 *
 * Threads and processes
 *
 *     Thread exit   The caches of a thread that exits go to the depots. get and put still work in destructors of
 *                   thread-specific data that run later.
 *     Fork          The child can use every pool at once. Buffers that other threads of the parent held stay live in
 *                   the child, and the child must put them. The child's first call on a pool takes time in proportion
 *                   to the buffers and thread caches of that pool. A child that calls nothing pays nothing. Handlers
 *                   of pthread_atfork may call the library. But a handler that was installed before the library was
 *                   loaded must not wait for a thread that calls the library, nor for a lock under which another
 *                   thread does. A child that was forked in an allocator hook or in a signal handler must not return
 *                   into the library call that it came from.
 *     Signals       No function is async-signal-safe. A signal handler may fork, also if the signal interrupted a call
 *                   of the library. If that call held a lock, the child can end or call exec, but not use the library:
 *                   any call is reported as misuse.
 *     Cancellation  No function is a cancellation point.
 *     Left calls    A call must not be left in the middle, as by asynchronous cancellation, or by a signal handler that
 *                   calls siglongjmp or pthread_exit. If it is left on the fast path, no other call hangs. One buffer
 *                   may be lost: it counts as live for ever, and bufferpool_destroy returns EBUSY. The other buffers
 *                   in the cache of that thread are out of reach until the thread makes its next call on the pool, or
 *                   ends. If the call is left on the slow path, it may hold a lock, and later calls may wait for ever.
 *     Priorities    The fast path waits for no thread. The slow path spins for other threads, which may have been
 *                   preempted in the middle of a call, for 200 microseconds at most per call, and holds no lock
 *                   meanwhile. It also takes mutexes, which inherit no priority. So a real-time thread on the slow path
 *                   may wait for a thread of lower priority that has such a mutex and no processor.
 *     Restore       When CRIU restores a process, its registration for membarrier(2) is lost. The first call that
 *                   steals registers anew.
 *     Unloading     The shared library stays mapped after dlclose, so threads that used it may outlive the handle. A
 *                   plug-in that contains the static library must end the threads that used it before it is unloaded.
 *                   Its dlclose waits for the thread of BUFFERPOOL_BACKGROUND, which may be in a free hook; so a
 *                   thread that calls dlclose must not hold a lock that the hook takes.
 *     Process end   The thread of BUFFERPOOL_BACKGROUND keeps a process alive if all threads of the program ended by
 *                   pthread_exit. Since all signals are blocked in it, only SIGKILL ends such a process. exit() stops
 *                   that thread but does not wait for it. So a free hook may still run while the process ends.
 *
 * Without membarrier
 *
 *     The library uses membarrier(2) to reach buffers that idle in the caches of other threads. It needs the private
 *     expedited commands of Linux 4.14 or later, and no seccomp filter that refuses the call. A filter that ends the
 *     process for the call is a case for BUFFERPOOL_NO_MEMBARRIER. docs/system-calls.md lists all system calls.
 *
 *     Without membarrier(2) everything works, but those buffers stay where they are until their thread calls
 *     thread_flush or ends. At the cap they also leave with that thread's next call on the pool, which moves them to
 *     the depot. This affects get, try_get, get_timed, reclaim, trim and set_max_live.
 *
 *     If the system refuses the call, the library does without for a second. The first call that steals after that asks
 *     again. When it succeeds, those buffers are within reach again. A system that goes on refusing is asked once a
 *     second at most.
 *
 *     The cache of a thread that was preempted in the middle of a call is out of reach too, for as long as that lasts.
 *     Other calls wait for such a thread a few hundred microseconds at most. Once the thread is out, the next call on
 *     the pool that takes the slow path reaches its cache, by whichever thread; so does the thread of
 *     BUFFERPOOL_BACKGROUND.
 *
 * ------------------------------------------------------------------------------------------------------------
 * NOTES ON THE IMPLEMENTATION: how things work today. The figures are from one machine.
 * ------------------------------------------------------------------------------------------------------------
 *
 * Where a get looks
 *
 *     A get looks for a buffer in the calling thread's cache, then in the depot. If both are empty, it makes a new one.
 *     If the cap does not allow that, it steals the idle buffers in the caches of other threads. If there are none, it
 *     makes a buffer beyond the cap. A try_get or get_timed leaves the thread's cache out while that cache is open
 *     beyond the cap.
 *
 *     Buffers move between caches and depot in batches, called magazines. An empty cache takes one magazine. A full
 *     cache moves its colder half to the depot, or all of its buffers.
 *
 * Stealing
 *
 *     A get that steals empties the caches of other threads until it has found some buffers. These caches stay closed,
 *     so puts of their threads go to the depot, and the next get that steals goes on with the other caches. When all
 *     caches are empty, the pool is under PRESSURE: all puts go to the depot, where the next get finds them. Pressure
 *     ends when callers hold clearly fewer buffers than the cap allows.
 *
 *     Where callers go on beyond the cap, a thread that makes buffers gets TICKETS, 8 at most, and all threads together
 *     at most half as many as exist beyond the cap. With tickets it may have as many buffers in its cache. A full cache
 *     then frees half of its buffers. When callers come near the cap, the put or the other call that finds that takes
 *     all tickets back, and what idles goes to the depot or is freed.
 *
 *     The first create of the process registers for membarrier(2), or the first get if that comes earlier. This takes
 *     some milliseconds if other threads run already. Pools with BUFFERPOOL_NO_MEMBARRIER do not register. If the first
 *     pool has the flag, the first create of another pool registers, or the first steal from the default pool.
 *
 * Cost of the slow path
 *
 *     Own cache     Where the thread's own cache serves a get and a put on the slow path, they take some hundred
 *                   nanoseconds. Wiping, or the work of a debug mode, comes on top.
 *     Depot         One get or put in many exchanges a magazine with the depot: one atomic read-modify-write. Under
 *                   pressure every get and put moves one buffer, with a few.
 *     Blocks        Making or freeing a block takes the pool's lock briefly. No system call is made under that lock,
 *                   except to map memory or to move a mapping that grows.
 *     Beyond cap    A thread that goes on beyond the cap takes the fast path for most of its calls. Its other gets make
 *                   a block, and its other puts free one. So does every call of a thread that does so only now and
 *                   then, or while callers hold hardly more than the cap. Memory that was freed and not retained (see
 *                   Freed memory) costs its page faults again, which takes microseconds; BUFFERPOOL_BACKGROUND retains
 *                   the memory of the last burst.
 *     Stealing      A get that steals takes some microseconds. Each cache is emptied once per period of pressure, and
 *                   once more where callers come back to the cap from beyond it. But while a thread is preempted in the
 *                   middle of a call, each get that finds nothing tries again, and a waiting get_timed every 2 ms.
 *     Many pools    The first 255 pools that exist at once, the default pool included, are found in the fewest steps
 *                   (31 pools where pointers have 32 bits). Other pools take some nanoseconds more.
 *     live, stats   They add up the caches of the threads that exist, not of those that have ended. They do so again
 *                   until two sums in a row agree, up to eight times. With 64 threads or more, one quick sum is enough.
 *
 * Freed memory
 *
 *     The memory of freed blocks is retained for new blocks, up to a limit for each pool. Memory above the limit goes
 *     back to the system. The limit is the most of these:
 *
 *         1 MiB
 *         buffer_capacity for each buffer that exists beyond the cap
 *         with BUFFERPOOL_BACKGROUND: the most that callers held at a time within the last retain_ms, less what they
 *         hold now; and twice the largest block of more than 256 KiB that was given back in that time, up to 8 MiB
 *
 *     So with BUFFERPOOL_BACKGROUND the memory of a burst goes back within retain_ms after the burst, up to 1 MiB that
 *     stays. A pool without this flag gives it back as the buffers are put. Memory of buffers that idled until reclaim
 *     freed them counts as held only if reclaim_interval_ms is less than a third of retain_ms.
 *
 *     If many threads make and free buffers of a pool at once, each of up to 32 groups of CPUs keeps up to 132 KiB of
 *     the pool's free memory at hand. This memory is beyond the limit, and retained_bytes does not contain it.
 *
 *     trim and bufferpool_reclaim give all of it back. Allocator hooks get their blocks back at once: a put beyond the
 *     cap calls the free hook, unless the buffer stays in the thread's cache.
 */

#endif /* BUFFERPOOL_H */
