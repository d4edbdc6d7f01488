/* SPDX-License-Identifier: MIT
 *
 * wait.c - schedules of callers that wait at the cap: none sleeps while a buffer, or room for one, is there for it,
 * wherever that came from
 *
 * A wake-up that is lost is a deadlock here, since most threads wait without end.
 */
#include "scene.h"

#include "pressure.h"
#include "support/inside.h"

enum { MANY = 8 };

/* ---- what threads do ---- */

static void waits(void)
{
    scene_get_timed(BUFFERPOOL_NEVER);
    scene_put();
}

static void waits_a_little(void)
{
    scene_get_timed(5);
    scene_put();
}

static void put_one(void)
{
    scene_put();
}

static void put_and_try(void)
{
    scene_put();
    scene_try_get();
    scene_put();
}

static void put_and_get(void)
{
    scene_put();
    scene_get();
    scene_put();
}

static void get_and_put(void)
{
    scene_get();
    scene_put();
}

static void get_and_put_at_last(void)
{
    scene_get();
    explorer_join(0);
    scene_put();
}

/* Its gate is open from the flush on, if the pressure ended. Then it puts the buffer that the other thread got. */
static void put_and_flush_and_put(void)
{
    scene_put();
    bufferpool_thread_flush();
    scene_have_from(2);
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

static void trims(void)
{
    (void)bufferpool_trim(scene_pool());
}

static void raises(void)
{
    scene_set_max_live(2);
}

static void lifts(void)
{
    scene_set_max_live(0);
}

/* ---- scenes ---- */

/* The threads have caches, and thread 0 has the only buffer. */
static void one_out(void)
{
    scene_begin(1, MANY, 0);
    for (unsigned t = EXPLORER_THREADS; t-- > 0;) {
        scene_give(t, 1);
        if (t > 0) {
            scene_return(t, 1);
            scene_flush(t);
        }
    }
}

/* The buffer idles in the cache of 0. */
static void one_idle(void)
{
    one_out();
    scene_return(0, 1);
}

/* Threads 0 and 2 have a buffer each, and no more are allowed. */
static void two_out(void)
{
    scene_begin(2, MANY, 0);
    scene_give(1, 1);
    scene_return(1, 1);
    scene_flush(1);
    scene_give(0, 1);
    scene_give(2, 1);
}

/* The same, and the cap was lowered to one. */
static void one_too_many(void)
{
    two_out();
    scene_set_max_live(1);
}

/* The same, and thread 2 has put its buffer. The pool is under pressure as long as thread 0 has the other one. */
static void one_out_under_pressure(void)
{
    one_too_many();
    scene_return(2, 1);
}

int main(int argc, char **argv)
{
#define LAWS scene_at_each_step, scene_end
    static const struct scenario scenarios[] = {
        {"wait_and_put", 3, 41000, one_out, {put_one, waits}, LAWS},
        {"wait_and_put_and_get", 2, 5800, one_out, {put_and_get, waits}, LAWS},
        {"wait_and_put_and_try", 2, 5700, one_out, {put_and_try, waits}, LAWS},
        {"two_wait", 2, 140000, one_out, {put_one, waits, waits}, LAWS},
        {"wait_beside_a_get", 2, 110000, one_out, {put_one, waits, get_and_put}, LAWS},
        {"two_wait_for_two", 2, 94000, two_out, {put_one, waits, put_and_try}, LAWS},
        {"wait_a_little", 3, 51000, one_out, {put_one, waits_a_little}, LAWS},
        {"two_wait_a_little", 1, 1500, one_out, {put_one, waits_a_little, waits_a_little}, LAWS},
        {"wait_and_flush", 3, 13000, one_idle, {flushes, waits}, LAWS},
        {"wait_and_exit", 3, 15000, one_idle, {exits, waits}, LAWS},
        {"wait_and_owner", 2, 4600, one_idle, {get_and_put, waits}, LAWS},
        {"wait_and_trim", 2, 4500, one_idle, {trims, waits}, LAWS},
        {"wait_and_trim_and_put", 2, 48000, one_out, {put_one, waits, trims}, LAWS},
        {"wait_and_raise", 3, 6500, one_out, {raises, waits}, LAWS},
        {"wait_and_lift", 3, 8800, one_out, {lifts, waits}, LAWS},
        {"wait_and_pressure_ends",
         2,
         120000,
         one_out_under_pressure,
         {put_and_flush_and_put, waits, get_and_put_at_last},
         LAWS},
        {"wait_over_a_lowered_cap", 2, 23000, one_too_many, {put_one, waits, put_one}, LAWS},
    };
    return explorer_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
