/* SPDX-License-Identifier: MIT
 *
 * notifier.c - the waiters of one event loop that are ready, and the file descriptor that says so
 *
 * The file descriptor is an eventfd. It is written and read under the notifier's lock, with the list: written when the
 * list gets its first waiter, read when it loses its last. So it is readable exactly while the list is not empty, and a
 * thousand waiters that become ready at once cost one system call. (But see notifier_ring.) A program may read it too,
 * as io_uring does; then the library's read finds nothing, to no effect.
 */
#include "notifier.h"

#include <errno.h>
#include <unistd.h>

/* ---- the list ---- */

/* The lock is held, as in the next two. */
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
    if (notifier->first == NULL)
        set_readable(notifier, false);
}

void notifier_push(struct waiter *w)
{
    struct bufferpool_notifier *notifier = w->notifier;
    pthread_mutex_lock(&notifier->lock);
    const bool first = notifier->first == NULL;
    append(notifier, w);
    if (first)
        set_readable(notifier, true);
    pthread_mutex_unlock(&notifier->lock);
}

struct waiter *notifier_pop(struct bufferpool_notifier *notifier)
{
    pthread_mutex_lock(&notifier->lock);
    struct waiter *w = notifier->first;
    if (w != NULL)
        take_out(notifier, w);
    else
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

void notifier_ring(struct bufferpool_notifier *notifier)
{
    pthread_mutex_lock(&notifier->lock);
    set_readable(notifier, true);
    pthread_mutex_unlock(&notifier->lock);
}
