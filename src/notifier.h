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

/* Adds a waiter to its notifier's list. The loop may have the waiter before this returns. Returns true if the list was
 * empty: then the caller rings, when it holds no lock any more. */
bool notifier_push(struct waiter *w);

/* For a notifier with a waiter in a queue whose lock is held: its loop is to look at the pools again. The caller rings
 * as after notifier_push. Returns the notifier. */
struct bufferpool_notifier *notifier_call(struct bufferpool_notifier *notifier);

/* Makes the file descriptor readable, after notifier_push and notifier_call. */
void notifier_ring(struct bufferpool_notifier *notifier);

/* Takes the longest ready waiter out of the list. Returns NULL if the list is empty; then the file descriptor is not
 * readable. */
struct waiter *notifier_pop(struct bufferpool_notifier *notifier);

/* Takes that waiter out of its notifier's list. */
void notifier_remove(struct waiter *w);

/* Makes the file descriptor readable although no waiter may be ready, for a loop that is to look again. */
void notifier_ring_again(struct bufferpool_notifier *notifier);

/* Waits until no call is about to write the file descriptor. No waiter is ready, and none waits. */
void notifier_await_rings(struct bufferpool_notifier *notifier);

#endif
