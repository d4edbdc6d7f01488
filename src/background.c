/* SPDX-License-Identifier: MIT
 *
 * background.c - the thread that reclaims when no call comes (BUFFERPOOL_BACKGROUND)
 *
 * One thread for the whole library. It sleeps until the first of its pools is due, runs reclaim_in_background on that
 * one without any lock, and sleeps again. It begins with the first slow path of the first such pool, and ends with the
 * last pool: the call that removes that one waits for it.
 *
 * The thread has a record of its own, so that one that has been told to end and one that begins right after do not
 * meet. Lock order: this lock before all others of the library; under it no pool is worked on. It guards `begun`; the
 * relaxed reads without it only save taking it.
 */
#include "background.h"

#include "atomic.h"
#include "clock.h"
#include "reclaim.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

/* The free hook of a pool runs on it too. */
#define STACK_BYTES ((size_t)128 << 10)

struct worker {
    pthread_t thread;
    bool stop;
    bool orphan; /* nobody joins it: it frees this itself */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed; /* on the monotonic clock; there once a worker is */
static bool changed_is_made;
static struct worker *worker; /* NULL: there is none */
static bufferpool_t *pools;   /* linked by background.next */

/* ---- the thread ---- */

static bufferpool_t *first_due(void)
{
    bufferpool_t *first = pools;
    for (bufferpool_t *pool = pools; pool != NULL; pool = pool->background.next)
        if (pool->background.due_ms < first->background.due_ms)
            first = pool;
    return first;
}

static void *run(void *arg)
{
    struct worker *self = arg;
    pthread_mutex_lock(&lock);
    while (!self->stop) {
        bufferpool_t *pool = first_due();
        uint64_t now = clock_coarse_ms();
        if (pool == NULL) {
            pthread_cond_wait(&changed, &lock);
        } else if (pool->background.due_ms > now) {
            struct timespec at = clock_after_ms(pool->background.due_ms - now);
            (void)pthread_cond_timedwait(&changed, &lock, &at);
        } else {
            pool->background.busy = true;
            pthread_mutex_unlock(&lock);
            uint64_t due_ms = reclaim_in_background(pool);
            pthread_mutex_lock(&lock);
            pool->background.busy = false;
            pool->background.due_ms = due_ms > now ? due_ms : now + 1; /* another thread may be at it */
            pthread_cond_broadcast(&changed);
        }
    }
    pthread_mutex_unlock(&lock);
    if (self->orphan)
        free(self);
    return NULL;
}

/* With every signal blocked, so that the program's handlers run on the program's threads. */
static bool create_thread(struct worker *w)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES); /* refused: the default */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&w->thread, &attributes, run, w);
    if (error == EINVAL) /* the program's thread-local storage, which takes from the stack, leaves too little of it */
        error = pthread_create(&w->thread, NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error == 0)
        (void)pthread_setname_np(w->thread, "bufferpool");
    return error == 0;
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

static bool ensure_worker(void)
{
    if (worker != NULL)
        return true;
    struct worker *w = make_changed() ? calloc(1, sizeof(*w)) : NULL;
    if (w == NULL || !create_thread(w)) {
        free(w);
        return false;
    }
    worker = w;
    return true;
}

/* ---- for the rest of the library ---- */

void background_begin(bufferpool_t *pool)
{
    if (likely(!pool->background.wanted) || load_relaxed(&pool->background.begun))
        return;
    int saved_errno = errno;
    pthread_mutex_lock(&lock);
    if (!load_relaxed(&pool->background.begun)) {
        store_relaxed(&pool->background.begun, true); /* also if there is no thread: it is not tried again and again */
        pool->background.due_ms = 0;                  /* at once: the first period begins */
        pool->background.next = pools;
        pools = pool;
        if (ensure_worker())
            pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    errno = saved_errno;
}

/* Tells the worker to end; the lock is held. */
static struct worker *dismiss(void)
{
    struct worker *w = worker;
    worker = NULL;
    if (w != NULL) {
        w->stop = true;
        pthread_cond_broadcast(&changed);
    }
    return w;
}

static void await_end(struct worker *w)
{
    if (w == NULL)
        return;
    if (pthread_equal(w->thread, pthread_self())) { /* a hook that runs on it destroyed the last pool */
        w->orphan = true;
        pthread_detach(w->thread);
        return;
    }
    pthread_join(w->thread, NULL);
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
    struct worker *w = pools == NULL ? dismiss() : NULL;
    pthread_mutex_unlock(&lock);
    await_end(w);
    pthread_setcancelstate(cancelable, NULL);
}

void background_stop(void)
{
    int cancelable;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable); /* else exit or dlclose might stop halfway */
    pthread_mutex_lock(&lock);
    struct worker *w = dismiss();
    pthread_mutex_unlock(&lock);
    await_end(w);
    pthread_setcancelstate(cancelable, NULL);
}

/* ---- fork ---- */

void background_before_fork(void)
{
    pthread_mutex_lock(&lock);
}

void background_after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

void background_after_fork_in_child(void)
{
    changed_is_made = false; /* the child's has nobody waiting on it */
    free(worker);
    worker = NULL;
    for (bufferpool_t *pool = pools; pool != NULL; pool = pool->background.next) {
        store_relaxed(&pool->background.begun, false);
        pool->background.busy = false;
    }
    pools = NULL;
    pthread_mutex_unlock(&lock);
}
