/* SPDX-License-Identifier: MIT
 *
 * turns.h - simulated processors, each a thread, of which one runs at a time
 *
 * Either they take turns, one after the other; or each has a clock, and the one whose clock is least runs (simulated
 * time, after turns_simulate).
 */
#ifndef SCALING_TURNS_H
#define SCALING_TURNS_H

#include <stdbool.h>
#include <stdint.h>

enum { PROCESSORS_MAX = 256 };

/* To be called once, before the threads begin. */
void turns_start(unsigned n_processors);
void turns_simulate(void);
bool turns_are_simulated(void);

/* The calling thread is this processor from now on. The number `processors` stands for a thread outside. */
void turns_be(unsigned processor);
unsigned turns_me(void);
unsigned turns_processors(void);

/* Gives processor 0 its first turn; waits for the calling thread's first turn; lets others run, and takes no part any
 * more. */
void turns_go(void);
void turns_enter(void);
void turns_leave(void);

/* The others have a turn each. In simulated time: those whose clock is behind this one run first. */
void turns_pass(void);

/* Does not run again before it is woken. wake: one of those that wait for it, or all. Returns how many. */
void turns_wait_for(const void *what);
unsigned turns_wake(const void *what, bool all_of_them);

/* The calling thread's clock; it goes on by so much, or to this moment. */
uint64_t turns_now_ns(void);
void turns_spend_ns(uint64_t ns);
void turns_go_on_to_ns(uint64_t at);

#endif
