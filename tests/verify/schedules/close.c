/* SPDX-License-Identifier: MIT
 *
 * close.c - schedules of pools that are closed: one call ends the pool, when all buffers are back, and no call uses it
 * afterwards; nobody waits in a closed pool
 */
#include "scene.h"

#include "support/inside.h"

enum { MANY = 8 };

/* ---- what threads do ---- */

static void put_one(void)
{
    scene_put();
}

static void closes(void)
{
    scene_close();
}

/* Its buffer makes the pool outlast the call of any other thread. */
static void closes_and_puts(void)
{
    scene_close();
    scene_put();
}

static void flushes(void)
{
    bufferpool_thread_flush();
}

static void exits(void)
{
    explorer_exit();
}

/* The buffer that it has outlasts the call of thread 1. */
static void closes_and_puts_after_1(void)
{
    scene_close();
    explorer_join(1);
    scene_put();
}

static void closes_and_puts_after_both(void)
{
    scene_close();
    explorer_join(1);
    explorer_join(2);
    scene_put();
}

static void waits(void)
{
    scene_get_timed(BUFFERPOOL_NEVER);
    scene_put();
}

/* A loop: it may get a buffer, or ECANCELED at once or later. */
static void loops(void)
{
    scene_get_async(0);
    while (scene_waits(0)) {
        scene_await();
        (void)scene_next();
    }
    scene_put();
}

static void joins_and_cancels(void)
{
    scene_get_async(0);
    scene_cancel(0);
    scene_put();
}

/* ---- scenes ---- */

/* Threads 0 and 1 have a buffer each, and 2 has a cache. */
static void two_out(void)
{
    scene_begin(2, MANY, 0);
    scene_give(2, 1);
    scene_return(2, 1);
    scene_give(0, 1);
    scene_give(1, 1);
}

static void close_now(void)
{
    scene_close();
}

static void two_out_and_closed(void)
{
    two_out();
    explorer_as(2, close_now);
}

/* Thread 0 has the only buffer; 1 has a cache, and a loop. */
static void one_out(void)
{
    scene_begin(1, MANY, 0);
    scene_begin_loop();
    scene_give(1, 1);
    scene_return(1, 1);
    scene_flush(1);
    scene_give(0, 1);
}

/* Thread 0 has one of two buffers, and 2 has the other; 1 has a cache, and a loop. */
static void one_out_each(void)
{
    scene_begin(2, MANY, 0);
    scene_begin_loop();
    scene_give(1, 1);
    scene_return(1, 1);
    scene_flush(1);
    scene_give(0, 1);
    scene_give(2, 1);
}

static void join_first(void)
{
    scene_get_async(0);
}

/* The loop's waiter is ready, with the right to a buffer that is the last of a closed pool. */
static void one_is_ready(void)
{
    one_out();
    explorer_as(1, join_first);
    scene_return(0, 1);
    explorer_as(0, close_now);
}

static void takes_and_puts(void)
{
    (void)scene_next();
    scene_put();
}

static void cancels(void)
{
    scene_cancel(0);
}

int main(int argc, char **argv)
{
#define LAWS scene_at_each_step, scene_end
    static const struct scenario scenarios[] = {
        {"last_two_puts", 3, 9000, two_out_and_closed, {put_one, put_one}, LAWS},
        {"last_two_puts_beside_a_flush", 2, 15000, two_out_and_closed, {put_one, put_one, flushes}, LAWS},
        {"last_two_puts_beside_an_exit", 2, 15000, two_out_and_closed, {put_one, put_one, exits}, LAWS},
        {"close_and_puts", 2, 49000, two_out, {put_one, put_one, closes}, LAWS},
        {"close_and_flush", 2, 52000, two_out, {put_one, closes_and_puts, flushes}, LAWS},
        {"close_and_exit", 2, 58000, two_out, {put_one, closes_and_puts, exits}, LAWS},
        {"close_and_wait", 3, 45000, one_out, {closes_and_puts_after_1, waits}, LAWS},
        {"close_and_join", 3, 42000, one_out, {closes_and_puts_after_1, loops}, LAWS},
        {"close_and_cancel", 3, 39000, one_out, {closes_and_puts_after_1, joins_and_cancels}, LAWS},
        {"close_and_wait_and_put", 1, 1500, one_out_each, {closes_and_puts_after_both, waits, put_one}, LAWS},
        {"close_and_join_and_put", 1, 1400, one_out_each, {closes_and_puts_after_both, loops, put_one}, LAWS},
        {"taken_and_put", 4, 77000, one_is_ready, {flushes, takes_and_puts}, LAWS},
        {"cancelled_beside_a_flush", 4, 24000, one_is_ready, {flushes, cancels}, LAWS},
    };
    return explorer_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
