/* SPDX-License-Identifier: MIT
 *
 * notifier.c - the waiters of one event loop that are ready, and the file descriptor that says so
 *
 * The file descriptor is an eventfd. It is written when the list gets its first waiter, so a thousand waiters that
 * become ready at once cost one system call. The thread that writes holds no lock by then: the loop that it wakes is on
 * its way while the system call lasts, and would run into the lock. `ringing` counts such threads.
 *
 *     The loop reads the eventfd when it takes the last waiter, and when it finds the list empty. In the second case
 *     it waits for the threads that are about to write. It holds no lock meanwhile: such a thread may push more waiters
 *     before it writes. So the eventfd is readable while the list is not empty, but for the moment before the write;
 *     and after notifier_pop has returned NULL it is not, until there is a waiter again. In between, after the last
 *     waiter was taken, a late write may make it readable in vain.
 *
 * With `again` the eventfd stays readable whatever the list says: the loop is to look at the pools once more (async.c),
 * which clears the flag before it takes the next waiter.
 *
 * A notifier ends after its last waiter, and waits for the threads that are about to write too. A program may read the
 * eventfd itself, as io_uring does; then the library's read finds nothing, to no effect.
 */
#include "notifier.h"

#include "clock.h"

#include <errno.h>
#include <unistd.h>

/* A system call takes some microseconds. */
#define LOOKS 200

/* ---- the list ---- */

static void set_readable(const struct bufferpool_notifier *notifier, bool readable)
{
    const int saved_errno = errno;
    uint64_t count = 1;
    int cancelable;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable);
    /* neither can fail, but where the program closed the descriptor, or read it */
    if (readable)
        (void)!write(notifier->fd, &count, sizeof(count));
    else
        (void)!read(notifier->fd, &count, sizeof(count));
    pthread_setcancelstate(cancelable, NULL);
    errno = saved_errno;
}

/* The lock is held in these two. */

static void append(struct bufferpool_notifier *notifier, struct waiter *w)
{
    w->next = NULL;
    w->prev = notifier->last;
    *(w->prev != NULL ? &w->prev->next : &notifier->first) = w;
    notifier->last = w;
}

static void take_out(struct bufferpool_notifier *notifier, struct waiter *w)
{
    *(w->prev != NULL ? &w->prev->next : &notifier->first) = w->next;
    *(w->next != NULL ? &w->next->prev : &notifier->last) = w->prev;
    if (notifier->first == NULL && !load_relaxed(&notifier->again))
        set_readable(notifier, false);
}

bool notifier_push(struct waiter *w)
{
    struct bufferpool_notifier *notifier = w->notifier;
    pthread_mutex_lock(&notifier->lock);
    const bool first = notifier->first == NULL;
    append(notifier, w);
    if (first)
        (void)add_relaxed(&notifier->ringing, 1); /* the loop sees it under the lock */
    pthread_mutex_unlock(&notifier->lock);
    return first;
}

struct bufferpool_notifier *notifier_call(struct bufferpool_notifier *notifier)
{
    (void)add_relaxed(&notifier->ringing, 1); /* first: a loop that has seen the flag waits for the write */
    store_release(&notifier->again, true);    /* with the acquire in next_ready (async.c): after account_want */
    return notifier;
}

void notifier_ring(struct bufferpool_notifier *notifier)
{
    set_readable(notifier, true);
    /* release: with the acquire in notifier_await_rings, after which the notifier may be gone */
    (void)atomic_fetch_sub_explicit(&notifier->ringing, 1, memory_order_release);
}

void notifier_await_rings(struct bufferpool_notifier *notifier)
{
    /* acquire: with the release in notifier_ring */
    for (unsigned look = 0; load_acquire(&notifier->ringing) != 0; look++) {
        if (look < LOOKS)
            spin_hint();
        else
            clock_pause();
    }
}

struct waiter *notifier_pop(struct bufferpool_notifier *notifier)
{
    struct waiter *w;
    pthread_mutex_lock(&notifier->lock);
    while ((w = notifier->first) == NULL &&
           load_acquire(&notifier->ringing) != 0) { /* with the release in notifier_ring */
        /* a call that is about to write may push more waiters first */
        pthread_mutex_unlock(&notifier->lock);
        notifier_await_rings(notifier);
        pthread_mutex_lock(&notifier->lock);
    }
    if (w != NULL)
        take_out(notifier, w);
    else if (!load_relaxed(&notifier->again))
        set_readable(notifier, false);
    pthread_mutex_unlock(&notifier->lock);
    return w;
}

void notifier_remove(struct waiter *w)
{
    struct bufferpool_notifier *notifier = w->notifier;
    pthread_mutex_lock(&notifier->lock);
    take_out(notifier, w);
    pthread_mutex_unlock(&notifier->lock);
}

void notifier_ring_again(struct bufferpool_notifier *notifier)
{
    set_readable(notifier, true);
}
