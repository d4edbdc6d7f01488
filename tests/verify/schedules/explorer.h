/* SPDX-License-Identifier: MIT
 *
 * explorer.h - runs a scene of two or three threads over and over, each time in another order, until there is none left
 *
 * The threads are coroutines of one: just one runs, and before each atomic operation, lock, unlock, wait, signal, yield
 * and barrier of the library (seam.h), the steps, the explorer decides which goes on. Taking the processor from a
 * thread that could have gone on is a preemption. All orders with at most so many preemptions are run, depth first:
 * first those with none, then those with at most one, and so on, so that the first that fails is one with the fewest.
 * Where a thread waits or ends, any other may go on, which is no preemption. Where it yields, any that did not itself
 * yield to one that has not run since: yielding is fair. A thread that spins yields too, as if the others had
 * processors of their own.
 *
 * Memory is sequentially consistent here. A compare-and-swap fails only if another came first, and no thread is woken
 * for nothing. Time stands still until a wait with a deadline ends by it: when no thread can go on, or, as a
 * preemption, at any moment before.
 *
 * Memory that a thread frees stays as garbage until the schedule is over. No atomic operation and no lock may come upon
 * it, and nothing may be written there.
 *
 * Two economies. An operation on a memory location that no other thread touches, or that no thread changes, is no
 * step: it makes no difference on which side of the operation another thread comes in. The explorer finds out by
 * running which lines these are: whenever two threads meet at a location in a schedule, the lines that touch the
 * location become steps, and the exploration starts anew. The last exploration found no such line. And a thread that
 * looks at the same location again, while no thread changed anything anywhere, is stopped there LOOKS times and no
 * more. That cuts loops short that wait for another thread, but not the event that they wait for.
 */
#ifndef SCHEDULES_EXPLORER_H
#define SCHEDULES_EXPLORER_H

#include <stdbool.h>
#include <stddef.h>

enum { EXPLORER_THREADS = 3, ALL_THERE_ARE = 99 };

struct scenario {
    const char *name;
    unsigned preemptions; /* all schedules with at most so many; ALL_THERE_ARE: or with more */
    unsigned long floor;  /* there must be at least so many schedules */
    void (*begin)(void);  /* sets the scene; as all but the threads' functions, no part of the schedule */
    void (*threads[EXPLORER_THREADS])(void);
    void (*at_each_step)(void); /* looks for what must never be so; NULL: nothing */
    void (*end)(void);          /* when all threads have ended */
};

/* Explores those that are named in the arguments, or all. The exit status. */
int explorer_main(int argc, char **argv, const struct scenario *scenarios, size_t n);

/* The number of the running thread; that of explorer_as. */
unsigned explorer_self(void);

/* In begin or end: calls fn as the thread would, with its thread-local storage. */
void explorer_as(unsigned thread, void (*fn)(void));

/* In a thread, at its end: runs the destructor of its key. The next schedule has a new thread. */
void explorer_exit(void);

/* In a thread: waits until the other one has ended. */
void explorer_join(unsigned thread);

/* In a thread: waits until the file descriptor of a notifier is readable. */
void explorer_await_readable(int fd);

/* From now on until the schedule is over, these bytes count as freed, but for writes that are no atomic operations. */
void explorer_bury(const volatile void *memory, size_t bytes);

/* How many locks the running thread holds; 0 outside of the threads. */
unsigned explorer_locks(void);

/* Something on which the test's laws depend has changed. */
void explorer_touch(void);

/* In a thread: calls at_each_step, unless nothing changed since it was. */
void explorer_laws(void);

/* A step of the test's own. */
void explorer_step(void);

/* Prints the error and the schedule, and ends the program. */
_Noreturn void explorer_fail(const char *file, int line, const char *what);
#define explorer_check(condition) ((condition) ? (void)0 : explorer_fail(__FILE__, __LINE__, #condition))

#endif
