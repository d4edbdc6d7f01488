/* SPDX-License-Identifier: MIT
 *
 * notifier.h - the waiters of one event loop that are ready, and the file descriptor that says so
 *
 * A waiter is in one list at a time: in its pool's queue (wait.h) while it waits, and in its notifier's list once it is
 * ready. The queue's lock is held when it changes from the one to the other.
 */
#ifndef BUFFERPOOL_NOTIFIER_H
#define BUFFERPOOL_NOTIFIER_H

#include "types.h"

/* The waiter that a caller embeds. */
static inline struct waiter *notifier_waiter(bufferpool_waiter_t *waiter)
{
    return (struct waiter *)(void *)waiter->reserved;
}

static inline bufferpool_waiter_t *notifier_embedder(struct waiter *w)
{
    return (bufferpool_waiter_t *)(void *)((unsigned char *)w - offsetof(bufferpool_waiter_t, reserved));
}

/* Adds a waiter to its notifier's list. If the list was empty, the file descriptor is readable from now on. The loop
 * may have the waiter before this returns. */
void notifier_push(struct waiter *w);

/* Takes the longest ready waiter out of the list. With the last one, or if there is none, the file descriptor is not
 * readable any more. Returns NULL if the list is empty. */
struct waiter *notifier_pop(struct bufferpool_notifier *notifier);

/* Takes that waiter out of its notifier's list. */
void notifier_remove(struct waiter *w);

/* Makes the file descriptor readable although no waiter may be ready: once more, for loops that wait for a change. */
void notifier_ring(struct bufferpool_notifier *notifier);

#endif
