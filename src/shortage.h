/* SPDX-License-Identifier: MIT
 *
 * shortage.h - the news that the system is short of memory (BUFFERPOOL_PRESSURE)
 */
#ifndef BUFFERPOOL_SHORTAGE_H
#define BUFFERPOOL_SHORTAGE_H

#include <stdbool.h>
#include <stdint.h>

/* An open source of that news. One thread waits for it; any thread may wake that one. */
struct shortage {
    struct shortage *next; /* of all that are open; under the registry's lock */
    int source;            /* the file, FIFO or socket that tells */
    int wakeups;           /* an eventfd */
    short event;           /* of poll(): what the source has when memory is short */
    bool lost;             /* the source will tell nothing more; the thread that waits writes it */
};

/* Looks for a source and opens it. `root` stands before the paths of the system, "" but in tests. Returns NULL if there
 * is none, if it is not wanted, or if there is no memory. No lock is held. */
struct shortage *shortage_open(const char *root);

/* Waits until memory is short, until shortage_wake was called, until the source is lost, or for `ms` milliseconds
 * (UINT64_MAX: without end). Returns whether memory is short. */
bool shortage_wait(struct shortage *s, uint64_t ms);

/* The call of shortage_wait that is under way, or otherwise the next, returns. Any lock may be held. */
void shortage_wake(const struct shortage *s);

/* Nobody waits any more, or wakes. NULL has no effect. No lock is held. */
void shortage_close(struct shortage *s);

/* In the child after fork, the registry's lock held: closes all that the parent has open. */
void shortage_after_fork_in_child(void);

/* In a child: frees what is left of one that the parent had open. NULL has no effect. */
void shortage_forget(struct shortage *s);

#endif
