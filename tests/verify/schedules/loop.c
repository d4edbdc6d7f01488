/* SPDX-License-Identifier: MIT
 *
 * loop.c - schedules of an event loop that waits at the cap: beside puts that serve its waiters, and with cancels at
 * any moment of that
 *
 * A wake-up that is lost is a deadlock here, since the loop sleeps until its file descriptor is readable, and a thread
 * that waits beside it does so without end.
 */
#include "scene.h"

#include "support/inside.h"

enum { MANY = 8 };

/* ---- what threads do ---- */

static void put_one(void)
{
    scene_put();
}

static void waits(void)
{
    scene_get_timed(BUFFERPOOL_NEVER);
    scene_put();
}

static void take_all_and_put(unsigned n)
{
    while (scene_has() < n) {
        scene_await();
        (void)scene_next();
    }
    while (scene_has() > 0)
        scene_put();
}

/* Sleeps until the waiter that joined before is served. */
static void is_served(void)
{
    take_all_and_put(1);
}

static void joins_and_is_served(void)
{
    scene_get_async(0);
    take_all_and_put(1);
}

static void cancels(void)
{
    scene_cancel(0);
}

static void cancels_and_ends(void)
{
    scene_cancel(0);
    scene_end_loop();
}

static void is_served_and_ends(void)
{
    take_all_and_put(1);
    scene_end_loop();
}

/* The second waiter is served whatever became of the first one. */
static void cancels_one_of_two(void)
{
    scene_get_async(1);
    scene_cancel(0);
    take_all_and_put(1);
}

/* After the loop has found no waiter the file descriptor is not readable until there is one again. */
static void looks_in_vain_and_is_served(void)
{
    while (scene_next())
        ;
    take_all_and_put(scene_has() > 0 ? scene_has() : 1);
}

/* ---- scenes ---- */

/* Thread 0 has the only buffer. The others have caches, and 1 a loop. */
static void one_out(void)
{
    scene_begin(1, MANY, 0);
    scene_begin_loop();
    for (unsigned t = EXPLORER_THREADS; t-- > 0;) {
        scene_give(t, 1);
        if (t > 0) {
            scene_return(t, 1);
            scene_flush(t);
        }
    }
}

static void join_first(void)
{
    scene_get_async(0);
}

/* The same, and the loop waits already. */
static void one_out_one_waits(void)
{
    one_out();
    explorer_as(1, join_first);
}

int main(int argc, char **argv)
{
#define LAWS scene_at_each_step, scene_end
    static const struct scenario scenarios[] = {
        {"join_and_put", 3, 84000, one_out, {put_one, joins_and_is_served}, LAWS},
        {"serve_and_put", 5, 30000, one_out_one_waits, {put_one, is_served}, LAWS},
        {"look_and_put", 5, 110000, one_out_one_waits, {put_one, looks_in_vain_and_is_served}, LAWS},
        {"cancel_and_put", 5, 12000, one_out_one_waits, {put_one, cancels}, LAWS},
        {"cancel_beside_a_thread", 2, 13000, one_out_one_waits, {put_one, cancels, waits}, LAWS},
        {"cancel_one_of_two", 3, 24000, one_out_one_waits, {put_one, cancels_one_of_two}, LAWS},
        {"loop_ends_after_cancel", 5, 31000, one_out_one_waits, {put_one, cancels_and_ends}, LAWS},
        {"loop_ends_after_serve", 5, 62000, one_out_one_waits, {put_one, is_served_and_ends}, LAWS},
    };
    return explorer_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
