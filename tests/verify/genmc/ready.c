/* SPDX-License-Identifier: MIT
 *
 * ready.c - wait.c and notifier.c: a put serves a waiter of an event loop, which the loop cancels or takes meanwhile
 *
 *     SCENE 1    the loop cancels the waiter
 *     SCENE 2    the same, and then the notifier ends
 *     SCENE 3    the loop takes the waiter, and looks once more
 *     SCENE 4    the same, and then the notifier ends
 *     SCENE 5    a call that finds too few bytes calls the loop, which looks whether somebody waits for bytes
 *
 * A waiter that was cancelled or taken is memory of the loop, which writes to it at once. The notifier is memory that
 * is freed. A late use of either is a race, or a use of freed memory. The kernel's counter behind the file descriptor
 * is an atomic variable here; the kernel's lock orders a read after the write that it finds.
 */
#include <time.h>
#ifndef SCENE_OF_HEADERS
#define clock_gettime(clock, now) ((now)->tv_sec = 0, (now)->tv_nsec = 0)
#endif

#include "caches.h"

#ifndef SCENE_OF_HEADERS
#define pthread_cond_signal(cond)                   ((void)(cond)) /* no thread waits here */
#define pthread_cond_wait(cond, mutex)              ((void)(cond), (void)(mutex))
#define pthread_cond_timedwait(cond, mutex, at)     ((void)(cond), (void)(mutex), (void)(at), 0)
#define pthread_cond_init(cond, attributes)         ((void)(cond), (void)(attributes), 0)
#define pthread_cond_destroy(cond)                  ((void)(cond))
#define pthread_condattr_init(attributes)           ((void)(attributes), 0)
#define pthread_condattr_setclock(attributes, what) ((void)(attributes), (void)(what))
#define pthread_condattr_destroy(attributes)        ((void)(attributes))
typedef int pthread_condattr_t;
enum { ECANCELED = 125, ETIMEDOUT = 110 };
#endif

/* A call that waits for others shows nothing until they have come on. */
#include "clock.h"
#define clock_pause() assume(false)

#include <errno.h>
#include <unistd.h>
#undef write
#undef read
#undef errno
#define errno plain_errno
static _Thread_local int plain_errno;

static _Atomic(unsigned) counter;
#define write(fd, bytes, n)                                                                                            \
    ((void)(fd), (void)(bytes), atomic_exchange_explicit(&counter, 1, memory_order_acq_rel), (long)(n))
#define read(fd, bytes, n)                                                                                             \
    ((void)(fd), (void)(bytes), atomic_exchange_explicit(&counter, 0, memory_order_acq_rel), (long)(n))

#include "notifier.c"

#define leave leave_queue /* cache.c has one too */
#include "wait.c"

struct desc *quarantine_take(bufferpool_t *unused)
{
    (void)unused;
    return NULL;
}

static struct bufferpool_notifier *notifier;
static struct bufferpool_budget budget;
static struct waiter waiter;
static bool handed, given;

/* A thread that puts the only buffer. */
static void *putter(void *unused)
{
    (void)unused;
    struct desc *d = &scene_descs[0];
    use(d, 7);
    store_relaxed(&d->word, desc_word(pool.tag, STATE_IDLE));
    handed = wait_hand_over(&pool, d);
    if (!handed)
        use(d, 8);
    return NULL;
}

static void end_notifier(void)
{
    notifier_await_rings(notifier);
    pthread_mutex_lock(&notifier->lock);
    pthread_mutex_unlock(&notifier->lock);
    free(notifier);
}

/* The waiter is the loop's again. */
static void take(struct waiter *w)
{
    struct desc *d = w->given;
    given = d != NULL;
    if (given) {
        check(d, 7, 7);
        use(d, 9);
    }
    w->next = w->prev = NULL;
    w->given = NULL;
    w->notifier = NULL;
    w->left = false;
}

/* As bufferpool_cancel. */
static void *canceller(void *unused)
{
    (void)unused;
    if (!wait_leave(&pool, &waiter))
        notifier_remove(&waiter);
    take(&waiter);
    if (SCENE == 2)
        end_notifier();
    return NULL;
}

/* As a loop that is level-triggered, once it has looked in vain, or not. */
static void *loop(void *unused)
{
    (void)unused;
    struct waiter *w = notifier_pop(notifier);
    if (w == NULL) {
        assume(atomic_load_explicit(&counter, memory_order_acquire) != 0);
        w = notifier_pop(notifier);
    }
    assert(w == &waiter);
    take(w);
    if (SCENE == 4)
        end_notifier();
    else
        assert(notifier_pop(notifier) == NULL);
    return NULL;
}

/* As reserve_wanted (wait.c). */
static void *calls(void *unused)
{
    (void)unused;
    account_want(&budget);
    notifier_ring(notifier_call(notifier));
    return NULL;
}

/* As next_ready (async.c), at any time. */
static void *looks(void *unused)
{
    (void)unused;
    (void)notifier_pop(notifier);
    if (load_relaxed(&notifier->again)) {
        (void)exchange_acquire(&notifier->again, false);
        assert(account_is_wanted(&budget));
    }
    return NULL;
}

int main(void)
{
    pool_init(1);
    notifier = malloc(sizeof(*notifier));
    notifier->first = notifier->last = NULL;
    notifier->fd = 0;
    store_relaxed(&notifier->ringing, 0);
    store_relaxed(&notifier->again, false);
    pthread_mutex_init(&notifier->lock, NULL);
    pthread_mutex_init(&pool.waiters.lock, NULL);
    waiter.pool = &pool;
    waiter.notifier = notifier;
    if (SCENE == 5) {
        run(calls, looks, NULL);
        free(notifier);
        return 0;
    }
    assert(wait_join(&pool, &waiter));
    run(putter, SCENE <= 2 ? canceller : loop, NULL);
    assert(handed == given && (SCENE <= 2 || given));
    assert(!depot_wanted(&pool.depot) && load_relaxed(&pool.waiters.waiting) == 0);
    /* the loop found no waiter at last: the file descriptor is not readable, nor will it be */
    assert(SCENE != 3 || atomic_load_explicit(&counter, memory_order_relaxed) == 0);
    if (SCENE == 1 || SCENE == 3)
        free(notifier);
    return 0;
}
