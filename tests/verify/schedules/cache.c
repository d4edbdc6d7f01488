/* SPDX-License-Identifier: MIT
 *
 * cache.c - schedules of thread caches: refill and flush against the depot, and the cache stolen from under its owner
 */
#include "scene.h"

#include "pressure.h"
#include "support/inside.h"

enum { MANY = 8 };

/* ---- what threads do ---- */

static void get_put(void)
{
    scene_get();
    scene_put();
}

static void put_get(void)
{
    scene_put();
    scene_get();
}

static void get_get(void)
{
    scene_get();
    scene_get();
}

static void put_put(void)
{
    scene_put();
    scene_put();
}

static void get_one(void)
{
    scene_get();
}

static void put_one(void)
{
    scene_put();
}

static void try_get_one(void)
{
    scene_try_get();
}

static void trim(void)
{
    (void)bufferpool_trim(scene_pool());
}

static void reclaim(void)
{
    (void)bufferpool_reclaim(scene_pool());
}

static void lower(void)
{
    scene_set_max_live(1);
}

/* ---- exchange with the depot ---- */

/* Thread 0 has an empty cache, 1 a full one of two and one in hand; a magazine of three is in the depot. */
static void empty_full_magazine(void)
{
    scene_begin(0, 2, 0);
    scene_give(0, 2);
    scene_give(1, 3);
    scene_return(0, 2);
    scene_flush(0);
    scene_return(1, 2);
}

/* A magazine of three in the depot, of all that the cap allows. */
static void all_in_one_magazine(void)
{
    scene_begin(3, MANY, 0);
    scene_give(0, 3);
    scene_return(0, 3);
    scene_flush(0);
    scene_give(1, 1); /* and its cache has the others: */
    scene_return(1, 1);
    scene_flush(1);
    scene_give(2, 1);
    scene_return(2, 1);
    scene_flush(2);
}

/* The caches are full, and each has one in hand. */
static void both_full(void)
{
    scene_begin(0, 2, 0);
    scene_give(0, 3);
    scene_give(1, 3);
    scene_return(0, 2);
    scene_return(1, 2);
}

/* max_idle_bytes for three; two in a cache, and one in each thread's hand. */
static void little_may_idle(void)
{
    scene_begin(0, 2, 3);
    scene_give(0, 3);
    scene_give(1, 2);
    scene_return(0, 2);
}

/* ---- stolen from ---- */

/* Thread 0 has two idle, 1 nothing. */
static void two_idle(void)
{
    scene_begin(2, MANY, 0);
    scene_give(1, 1);
    scene_return(1, 1);
    scene_flush(1);
    scene_give(0, 2);
    scene_return(0, 2);
}

/* The same, and the next reclaim steals from caches that were not used since. */
static void two_idle_unused(void)
{
    two_idle();
    reclaim();
}

/* Thread 0 has one idle and one in hand, 1 nothing. */
static void one_idle_one_out(void)
{
    two_idle();
    scene_give(0, 1);
}

/* The same, and thread 2 has one in hand too, which is one of three. */
static void one_idle_two_out(void)
{
    scene_begin(3, MANY, 0);
    scene_give(1, 1);
    scene_return(1, 1);
    scene_flush(1);
    scene_give(0, 2);
    scene_give(2, 1);
    scene_return(0, 1);
}

/* All gates are closed, and idle buffers lie in the depot. */
static void under_pressure(void)
{
    one_idle_two_out();
    pressure_enter(scene_pool());
}

/* ---- shards ---- */

/* Three of three: thread 0 has a full cache of two and one in hand; it has a shard of its own, and so has 1. */
static void full_apart(void)
{
    scene_begin(3, 2, 0);
    scene_give(1, 1);
    scene_return(1, 1);
    scene_flush(1);
    scene_give(0, 3);
    scene_return(0, 2);
    scene_have_shards();
}

/* The same with seven, of which six are in its cache: then three at once go to the shard. */
static void many_apart(void)
{
    scene_begin(7, 6, 0);
    scene_give(1, 1);
    scene_return(1, 1);
    scene_flush(1);
    scene_give(0, 7);
    scene_return(0, 6);
    scene_have_shards();
}

/* Thread 0 has one in its shard, two in its cache and none in hand; the cap allows none more. */
static void one_in_a_shard(void)
{
    full_apart();
    scene_return(0, 1);
}

int main(int argc, char **argv)
{
#define LAWS scene_at_each_step, scene_end
    static const struct scenario scenarios[] = {
        {"refill_and_halve", 6, 170, empty_full_magazine, {get_get, put_one}, LAWS},
        {"halve_and_halve", 6, 6, both_full, {put_get, put_one}, LAWS},
        {"refill_and_refill", 3, 20000, all_in_one_magazine, {get_one, get_one}, LAWS},
        {"refill_and_refill_and_trim", 2, 52000, all_in_one_magazine, {get_one, get_one, trim}, LAWS},
        {"refill_and_trim", 3, 80000, empty_full_magazine, {get_put, trim}, LAWS},
        {"idle_limit", 3, 100000, little_may_idle, {put_one, put_put}, LAWS},
        {"owner_and_trim", 3, 70000, two_idle, {get_put, trim}, LAWS},
        {"owner_puts_and_trim", 3, 51000, one_idle_one_out, {put_get, trim}, LAWS},
        {"owner_and_reclaim", 2, 3500, two_idle_unused, {get_put, reclaim}, LAWS},
        {"owner_and_get_at_the_cap", 3, 73000, two_idle, {get_put, get_one}, LAWS},
        {"owner_puts_and_get_at_the_cap", 3, 65000, one_idle_one_out, {put_one, get_get}, LAWS},
        {"owner_puts_and_two_at_the_cap", 2, 39000, one_idle_two_out, {put_one, try_get_one, put_get}, LAWS},
        {"two_thieves", 2, 120000, two_idle, {get_put, trim, get_one}, LAWS},
        {"owner_and_cap_lowered", 3, 100000, one_idle_one_out, {put_get, lower}, LAWS},
        {"owners_and_cap_lowered", 2, 57000, one_idle_two_out, {put_get, lower, put_one}, LAWS},
        {"apart_and_get_at_the_cap", 2, 8000, full_apart, {put_one, get_get}, LAWS},
        {"many_apart_and_get_at_the_cap", 2, 8000, many_apart, {put_one, get_one}, LAWS},
        {"apart_and_two_at_the_cap", 1, 1000, one_in_a_shard, {get_put, get_get, try_get_one}, LAWS},
        {"apart_and_trim", 2, 4000, full_apart, {put_get, trim}, LAWS},
        {"apart_and_cap_lowered", 2, 18000, full_apart, {put_get, lower}, LAWS},
        {"under_pressure", 2, 25000, under_pressure, {put_get, get_put, put_one}, LAWS},
        {"pressure_and_trim", 2, 100000, under_pressure, {put_get, trim, get_put}, LAWS},
    };
    return explorer_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
