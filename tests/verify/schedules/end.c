/* SPDX-License-Identifier: MIT
 *
 * end.c - schedules of ends: threads exit with caches that other threads steal from or want, pools are destroyed after
 * their threads were joined, beside threads that exit and flush
 */
#include "scene.h"

#include "support/inside.h"

enum { MANY = 8 };

/* ---- what threads do ---- */

static void exits(void)
{
    explorer_exit();
}

static void puts_and_exits(void)
{
    scene_put();
    explorer_exit();
}

static void uses_and_exits(void)
{
    scene_get();
    scene_put();
    explorer_exit();
}

static void exits_and_uses(void)
{
    explorer_exit();
    scene_get(); /* as a destructor that runs later would */
    scene_put();
}

static void gets(void)
{
    scene_get();
}

static void gets_and_puts(void)
{
    scene_get();
    scene_put();
}

static void gets_two(void)
{
    scene_get();
    scene_get();
}

static void runs_into_the_cap(void)
{
    scene_get();
    scene_put();
    scene_put();
    scene_get();
}

static void trims(void)
{
    (void)bufferpool_trim(scene_pool());
}

static void flushes(void)
{
    bufferpool_thread_flush();
}

static void lowers(void)
{
    scene_set_max_live(1);
}

static void joins_and_destroys(void)
{
    explorer_join(0);
    explorer_join(1);
    scene_destroy();
}

static void destroys(void)
{
    scene_destroy();
}

/* Another pool comes and goes meanwhile. */
static void creates_and_destroys(void)
{
    bufferpool_t *other = bufferpool_create(NULL);
    explorer_check(other != NULL && bufferpool_destroy(other) == 0);
}

/* ---- scenes ---- */

/* No thread has a cache yet. */
static void nothing_yet(void)
{
    scene_begin(2, MANY, 0);
}

/* Thread 0 has two idle, of two. */
static void two_idle(void)
{
    scene_begin(2, MANY, 0);
    scene_give(0, 2);
    scene_return(0, 2);
}

/* Threads 0 and 1 have one idle each. */
static void one_idle_each(void)
{
    scene_begin(2, MANY, 0);
    scene_give(0, 1);
    scene_give(1, 1);
    scene_return(0, 1);
    scene_return(1, 1);
}

/* Thread 0 has one idle and one in hand. */
static void one_idle_one_out(void)
{
    two_idle();
    scene_give(0, 1);
}

/* Thread 1 has all that the cap allows, 0 no cache. */
static void one_out(void)
{
    scene_begin(1, MANY, 0);
    scene_give(1, 1);
}

int main(int argc, char **argv)
{
#define LAWS scene_at_each_step, scene_end
    static const struct scenario scenarios[] = {
        {"exit_and_get_at_the_cap", 3, 26000, two_idle, {exits, gets_two}, LAWS},
        {"put_exit_and_get_at_the_cap", 2, 4500, one_idle_one_out, {puts_and_exits, gets_two}, LAWS},
        {"exit_and_trim", 4, 12000, two_idle, {exits, trims}, LAWS},
        {"exit_and_cap_lowered", 3, 40000, two_idle, {exits, lowers}, LAWS},
        {"exit_and_its_heir", 2, 7400, two_idle, {uses_and_exits, gets_and_puts}, LAWS},
        {"both_exit", 6, 83, one_idle_each, {exits, exits}, LAWS},
        {"both_exit_and_get_at_the_cap", 2, 37000, one_idle_each, {exits, exits, gets}, LAWS},
        {"used_after_exit", 3, 28000, one_idle_each, {exits_and_uses, exits_and_uses}, LAWS},
        {"first_uses", 2, 7300, nothing_yet, {uses_and_exits, uses_and_exits}, LAWS},
        {"first_use_at_the_cap", 2, 10000, one_out, {gets_and_puts, runs_into_the_cap}, LAWS},
        {"destroyed_after_join", 2, 100000, nothing_yet, {uses_and_exits, uses_and_exits, joins_and_destroys}, LAWS},
        {"caches_destroyed_after_join",
         2,
         6600,
         one_idle_each,
         {uses_and_exits, uses_and_exits, joins_and_destroys},
         LAWS},
        {"destroyed_while_exiting", 3, 6500, one_idle_each, {exits, destroys}, LAWS},
        {"destroyed_while_both_exit", 2, 18000, one_idle_each, {exits, exits, destroys}, LAWS},
        {"destroyed_while_flushing", 3, 7100, one_idle_each, {flushes, destroys}, LAWS},
        {"another_pool", 2, 1500, one_idle_each, {uses_and_exits, creates_and_destroys, flushes}, LAWS},
    };
    return explorer_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
