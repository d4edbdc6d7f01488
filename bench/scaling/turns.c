/* SPDX-License-Identifier: MIT
 *
 * turns.c - see turns.h. Only the thread that has the turn runs, so nothing here is atomic.
 */
#include "turns.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
    sem_t turn;
    bool left;
    const void *waits_for;
    uint64_t now_ns;
} all[PROCESSORS_MAX + 1];

static unsigned processors;
static bool simulated;
static _Thread_local unsigned me;

void turns_start(unsigned n_processors)
{
    processors = me = n_processors;
    for (unsigned i = 0; i < processors; i++)
        sem_init(&all[i].turn, 0, 0);
}

void turns_simulate(void)
{
    simulated = true;
}

bool turns_are_simulated(void)
{
    return simulated;
}

void turns_be(unsigned processor)
{
    me = processor;
}

unsigned turns_me(void)
{
    return me;
}

unsigned turns_processors(void)
{
    return processors;
}

static bool runs(unsigned i)
{
    return !all[i].left && all[i].waits_for == NULL;
}

/* Returns `processors` if there is none. */
static unsigned next_one(void)
{
    unsigned next = processors;
    for (unsigned k = 1; k <= processors; k++) {
        const unsigned i = (me + k) % processors;
        if (runs(i) && (next == processors || all[i].now_ns < all[next].now_ns)) {
            next = i;
            if (!simulated)
                break;
        }
    }
    return next;
}

static void wait_for_turn(void)
{
    while (sem_wait(&all[me].turn) != 0)
        ;
}

void turns_go(void)
{
    sem_post(&all[0].turn);
}

void turns_enter(void)
{
    wait_for_turn();
}

void turns_leave(void)
{
    all[me].left = true;
    const unsigned next = next_one();
    if (next < processors)
        sem_post(&all[next].turn);
}

void turns_pass(void)
{
    const unsigned next = next_one();
    if (me >= processors || next == processors || next == me || (simulated && all[next].now_ns >= all[me].now_ns))
        return;
    sem_post(&all[next].turn);
    wait_for_turn();
}

void turns_wait_for(const void *what)
{
    all[me].waits_for = what;
    const unsigned next = next_one();
    if (next == processors) {
        fprintf(stderr, "turns: all wait\n");
        exit(EXIT_FAILURE);
    }
    sem_post(&all[next].turn);
    wait_for_turn();
}

unsigned turns_wake(const void *what, bool all_of_them)
{
    unsigned woken = 0;
    for (unsigned i = 0; i < processors && (all_of_them || woken == 0); i++)
        if (all[i].waits_for == what) {
            all[i].waits_for = NULL;
            if (all[i].now_ns < all[me].now_ns)
                all[i].now_ns = all[me].now_ns;
            woken++;
        }
    return woken;
}

uint64_t turns_now_ns(void)
{
    return all[me].now_ns;
}

void turns_spend_ns(uint64_t ns)
{
    all[me].now_ns += ns;
}

void turns_go_on_to_ns(uint64_t at)
{
    if (all[me].now_ns < at)
        all[me].now_ns = at;
}
