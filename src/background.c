/* SPDX-License-Identifier: MIT
 *
 * background.c - the thread that reclaims when no call comes (BUFFERPOOL_BACKGROUND, BUFFERPOOL_PRESSURE)
 *
 * One thread for the whole library. It sleeps until the first of its pools is due, runs reclaim_in_background on that
 * one without any lock, and sleeps again. A pool is due at the end of its reclaim period, or when memory that it
 * retains by time is to go. A heap that begins to retain memory says so (background_wake), since the thread may sleep
 * for longer.
 *
 * When memory is short, all pools with BUFFERPOOL_PRESSURE are due at once, to be trimmed. The call that brings the
 * first of them opens the source of that news (shortage.c), and hands it to the thread, which then sleeps in poll() and
 * not on the condition. So wake() does both. Only the thread itself gives the source up before its end. There is one
 * search in the life of a thread, since a filter may later forbid to open files.
 *
 * The thread begins with the first slow path of the first such pool, or with the create of a pool that has
 * BUFFERPOOL_START_NOW, and ends with the last pool: the call that removes that one waits for it.
 *
 * The thread has a record of its own, so that one that has been told to end and one that begins right after do not
 * meet. Under the lock no pool is worked on, and no other lock of the library is taken. It guards `begun`; the relaxed
 * reads without it only save taking it. It is not held across fork: the first pool that needs the thread in a child
 * begins anew (forget_parents).
 *
 * The end of the library. The free hook runs on the thread, and may wait for a lock that the caller of exit() holds. So
 * at exit the thread is told to stop, and nobody waits for it. Only where the library's code is about to be unmapped,
 * with a plug-in that contains the static library, the end must wait. The same destructor serves both ends. at_exit()
 * tells them apart: exit() calls at_exit() before any destructor, dlclose() calls it after ours. Since a handler of
 * exit() that runs later might still close the plug-in, at_exit() pins it.
 */
#include "background.h"

#include "atomic.h"
#include "clock.h"
#include "fork.h"
#include "heap/heap.h"
#include "reclaim.h"
#include "registry.h"
#include "shortage.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

/* The free hook of a pool runs on it too. */
#define STACK_BYTES ((size_t)128 << 10)

struct worker {
    pthread_t thread;
    _Atomic(bool) stop; /* under the lock; relaxed, since the thread that reads it without the lock only stops early */
    bool runs;          /* it has made the system calls that the beginning of a thread takes */
    bool orphan;        /* nobody joins it: it frees this itself */
    bool looked;        /* whether there is a source */
    /* NULL: there is none. Under the lock; but the worker waits without the lock, and nobody but it takes it away. */
    struct shortage *source;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed; /* on the monotonic clock; there once a worker is */
static bool changed_is_made;
static struct worker *worker; /* NULL: there is none */
static bufferpool_t *pools;   /* linked by background.next */
static bool at_exit_is_set;   /* at_exit() will be called */
static bool exiting;          /* the process ends, and nothing of the library is unmapped before */
static bool ended;            /* the library has ended: no thread begins any more */
static uint32_t epoch;        /* the fork_epoch of the process that all this is of; under the registry's lock */

/* ---- the thread ---- */

static bufferpool_t *first_due(void)
{
    bufferpool_t *first = pools;
    for (bufferpool_t *pool = pools; pool != NULL; pool = pool->background.next)
        if (pool->background.due_ms < first->background.due_ms)
            first = pool;
    return first;
}

/* The pool is due at that time at the latest. */
static void advance(bufferpool_t *pool, uint64_t due_ms)
{
    if (due_ms < pool->background.due_ms)
        pool->background.due_ms = due_ms;
}

/* Wakes everything that waits for a change, the worker included. The lock is held. */
static void wake(void)
{
    if (changed_is_made)
        pthread_cond_broadcast(&changed);
    if (worker != NULL && worker->source != NULL)
        shortage_wake(worker->source);
}

/* Memory is short. */
static void trim_all(void)
{
    for (bufferpool_t *pool = pools; pool != NULL; pool = pool->background.next) {
        if (pool->background.trims) {
            pool->background.trim = true;
            pool->background.due_ms = 0;
        }
    }
}

/* The source tells nothing more. Returns it, to be closed without the lock. */
static struct shortage *give_up_source(struct worker *self)
{
    struct shortage *source = self->source;
    self->source = NULL;
    for (bufferpool_t *pool = self == worker ? pools : NULL; pool != NULL; pool = pool->background.next)
        store_relaxed(&pool->background.watched, false);
    return source;
}

/* In poll(). What wakes it may have come before: an eventfd keeps that. */
static void rest_at_source(struct worker *self, uint64_t ms)
{
    struct shortage *source = self->source;
    pthread_mutex_unlock(&lock);
    const bool is_short = shortage_wait(source, ms);
    pthread_mutex_lock(&lock);
    if (is_short)
        trim_all();
    if (!source->lost)
        return;
    source = give_up_source(self);
    pthread_mutex_unlock(&lock);
    shortage_close(source);
    pthread_mutex_lock(&lock);
}

/* Sleeps for so long, or until something changes. UINT64_MAX: without end. The lock is let go meanwhile. */
static void rest(struct worker *self, uint64_t ms)
{
    if (self->source != NULL) {
        rest_at_source(self, ms);
    } else if (ms == UINT64_MAX) {
        pthread_cond_wait(&changed, &lock);
    } else {
        struct timespec at = clock_after_ms(ms);
        (void)pthread_cond_timedwait(&changed, &lock, &at);
    }
}

/* The lock is let go meanwhile. */
static void work_on(bufferpool_t *pool, struct worker *self, uint64_t now)
{
    const bool trim = pool->background.trim;
    pool->background.trim = false;
    pool->background.busy = true;
    pool->background.due_ms = UINT64_MAX; /* background_wake may set an earlier time meanwhile */
    pthread_mutex_unlock(&lock);
    if (trim) {
        reclaim_trim_in_background(pool);
        add_relaxed(&pool->background.trims_so_far, 1);
    }
    const uint64_t due_ms = pool->background.by_time ? reclaim_in_background(pool, &self->stop) : UINT64_MAX;
    pthread_mutex_lock(&lock);
    pool->background.busy = false;
    advance(pool, due_ms > now ? due_ms : now + 1); /* another thread may be at it */
    pthread_cond_broadcast(&changed);
}

static void *run(void *arg)
{
    struct worker *self = arg;
    pthread_mutex_lock(&lock);
    self->runs = true;
    pthread_cond_broadcast(&changed);
    while (!load_relaxed(&self->stop)) {
        bufferpool_t *pool = first_due();
        const uint64_t now = clock_coarse_ms(), due = pool != NULL ? pool->background.due_ms : UINT64_MAX;
        if (pool == NULL || due > now)
            rest(self, due == UINT64_MAX ? UINT64_MAX : due - now);
        else
            work_on(pool, self, now);
    }
    pthread_mutex_unlock(&lock);
    if (self->orphan) {
        shortage_close(self->source);
        free(self);
    }
    return NULL;
}

/* With every signal blocked, so that the program's handlers run on the program's threads. Returns 0 or an error. */
static int create_thread(struct worker *w)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return error;
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES); /* refused: the default */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&w->thread, &attributes, run, w);
    if (error == EINVAL) /* the program's thread-local storage, which takes from the stack, leaves too little of it */
        error = pthread_create(&w->thread, NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error == 0)
        (void)pthread_setname_np(w->thread, "bufferpool");
    return error;
}

static bool make_changed(void)
{
    pthread_condattr_t attributes;
    if (!changed_is_made && pthread_condattr_init(&attributes) == 0) {
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        changed_is_made = pthread_cond_init(&changed, &attributes) == 0;
        pthread_condattr_destroy(&attributes);
    }
    return changed_is_made;
}

/* ---- fork ---- */

/* In a child there is no thread, and nothing is true of what the parent's fields say. The lock may be held by a thread
 * that is not here. */
static void forget_parents(void)
{
    registry_lock();
    if (epoch != fork_epoch) {
        pthread_mutex_init(&lock, NULL);
        changed_is_made = false; /* no thread waits on the child's */
        if (worker != NULL)
            shortage_forget(worker->source);
        free(worker);
        worker = NULL;
        pools = NULL;
        epoch = fork_epoch;
    }
    registry_unlock();
}

/* ---- the end of the process ---- */

typedef void *(*dlopen_fn)(const char *file, int mode);

/* From here to the end of the process the library's code stays mapped. False: that is not sure. */
static bool pin_library(void)
{
    Dl_info library, program;
    /* the program is linked statically, or the library is a part of it */
    if (dladdr((void *)&exiting, &library) == 0 ||
        (dladdr((void *)(uintptr_t)getauxval(AT_PHDR), &program) != 0 && program.dli_fbase == library.dli_fbase))
        return true;
    /* looked up, since the linker warns of dlopen in programs that are linked statically */
    void *symbol = dlsym(RTLD_DEFAULT, "dlopen");
    dlopen_fn open = NULL;
    memcpy(&open, &symbol, sizeof(open));
    return open != NULL && open(library.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE) != NULL;
}

static bool worker_is_there(void)
{
    forget_parents();
    pthread_mutex_lock(&lock);
    const bool there = worker != NULL && !ended;
    at_exit_is_set = there;
    pthread_mutex_unlock(&lock);
    return there;
}

static void at_exit(void)
{
    /* pin_library without the lock, since the loader has locks of its own */
    if (fork_epoch != FORK_EPOCH_BROKEN && worker_is_there() && pin_library()) {
        pthread_mutex_lock(&lock);
        exiting = true;
        pthread_mutex_unlock(&lock);
    }
}

/* ---- beginning ---- */

/* Returns 0, or the error for which there is no thread: ENOMEM or EAGAIN. */
static int ensure_worker(void)
{
    if (worker != NULL || ended)
        return worker != NULL ? 0 : EAGAIN;
    if (!at_exit_is_set)
        at_exit_is_set = atexit(at_exit) == 0; /* refused: at exit the thread is waited for */
    struct worker *w = make_changed() ? calloc(1, sizeof(*w)) : NULL;
    const int error = w != NULL ? create_thread(w) : ENOMEM;
    if (error != 0)
        free(w);
    else
        worker = w;
    return error == 0 || error == ENOMEM ? error : EAGAIN; /* a filter may refuse the thread with any error */
}

/* ---- for the rest of the library ---- */

/* The lock is held. The pool in the list keeps the worker, unless the library ends. */
static void await_beginning(void)
{
    int cancelable;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable);
    while (worker != NULL && !worker->runs)
        pthread_cond_wait(&changed, &lock);
    pthread_setcancelstate(cancelable, NULL);
}

/* Takes the lock. Where the pool brings the first need of a source, it is opened before that, without the lock.
 * Returns the source, or NULL. */
static struct shortage *lock_with_source(const bufferpool_t *pool)
{
    pthread_mutex_lock(&lock);
    if (!pool->background.trims || load_relaxed(&pool->background.begun) || ended || (worker != NULL && worker->looked))
        return NULL;
    pthread_mutex_unlock(&lock);
    struct shortage *source = shortage_open("");
    pthread_mutex_lock(&lock);
    return source;
}

/* Puts the pool into the list. */
static void enlist(bufferpool_t *pool)
{
    store_relaxed(&pool->background.begun, true);                        /* so it is not tried again and again */
    pool->background.due_ms = pool->background.by_time ? 0 : UINT64_MAX; /* at once: the first period begins */
    pool->background.next = pools;
    pools = pool;
}

/* Hands the worker what was opened for the pool. Returns what the caller is to close, or NULL. */
static struct shortage *hand_over(bufferpool_t *pool, struct shortage *source)
{
    if (worker == NULL || !pool->background.trims)
        return source;
    if (!worker->looked) {
        worker->looked = true;
        worker->source = source;
        source = NULL;
    }
    store_relaxed(&pool->background.watched, worker->source != NULL);
    return source;
}

/* The pool is in the list, also if there is no thread for it, unless the caller needs the thread. A caller that needs
 * it may then forbid what a thread does as it begins, by a filter for all threads. So it waits for that. Where a pool
 * only trims, and there is no news, it needs no thread. */
static int begin(bufferpool_t *pool, bool needs_thread)
{
    int error = 0;
    forget_parents();
    struct shortage *source = lock_with_source(pool);
    if (!load_relaxed(&pool->background.begun)) {
        error = pool->background.by_time || source != NULL ? ensure_worker() : 0;
        if (error == 0 || !needs_thread)
            enlist(pool);
        if (error == 0) {
            source = hand_over(pool, source);
            wake();
        }
        if (error == 0 && needs_thread)
            await_beginning();
    }
    pthread_mutex_unlock(&lock);
    shortage_close(source);
    if (error != 0 && !needs_thread)
        heap_retain(&pool->heap, 0);
    return error;
}

void background_begin(bufferpool_t *pool)
{
    if (likely(!pool->background.wanted) || load_relaxed(&pool->background.begun) ||
        load_relaxed(&pool->life) != POOL_ALIVE)
        return;
    int saved_errno = errno;
    (void)begin(pool, false);
    errno = saved_errno;
}

void background_wake(struct heap *heap, uint64_t due_ms)
{
    bufferpool_t *pool = (bufferpool_t *)(void *)((unsigned char *)heap - offsetof(bufferpool_t, heap));
    background_begin(pool); /* in a child of fork no thread may have begun */
    pthread_mutex_lock(&lock);
    advance(pool, due_ms);
    wake();
    pthread_mutex_unlock(&lock);
}

int background_start(bufferpool_t *pool)
{
    return pool->background.wanted ? begin(pool, true) : 0;
}

/* Tells the worker to end; the lock is held. Returns the worker that the caller must wait for, with await_end and
 * without the lock, or NULL. */
static struct worker *dismiss(bool wait)
{
    struct worker *w = worker;
    if (w == NULL)
        return NULL;
    store_relaxed(&w->stop, true);
    wake();
    worker = NULL;
    if (wait && !pthread_equal(w->thread, pthread_self())) /* a hook that runs on it may be the caller */
        return w;
    w->orphan = true;
    pthread_detach(w->thread);
    return NULL;
}

static void await_end(struct worker *w)
{
    if (w == NULL)
        return;
    pthread_join(w->thread, NULL);
    shortage_close(w->source);
    free(w);
}

void background_end(bufferpool_t *pool)
{
    if (!load_relaxed(&pool->background.begun))
        return;
    int cancelable;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable); /* both waits below are cancellation points */
    pthread_mutex_lock(&lock);
    bufferpool_t **link = &pools;
    while (*link != pool)
        link = &(*link)->background.next;
    *link = pool->background.next;
    while (pool->background.busy) /* whatever becomes of the worker: the end of another pool may dismiss it meanwhile */
        pthread_cond_wait(&changed, &lock);
    struct worker *w = pools == NULL ? dismiss(true) : NULL;
    pthread_mutex_unlock(&lock);
    store_relaxed(&pool->background.begun, false);
    await_end(w);
    pthread_setcancelstate(cancelable, NULL);
}

void background_stop(void)
{
    int cancelable;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable); /* otherwise exit or dlclose might stop halfway */
    forget_parents();
    pthread_mutex_lock(&lock);
    ended = true;
    struct worker *w = dismiss(!exiting);
    pthread_mutex_unlock(&lock);
    await_end(w);
    pthread_setcancelstate(cancelable, NULL);
}
