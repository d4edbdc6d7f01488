/* SPDX-License-Identifier: MIT
 *
 * cap.c - no more buffers exist than the cap allows
 *
 * With a cap of one the plain variable `room` stands for the only buffer. A thread that makes a buffer while another
 * one still exists has a race on `room`, or finds it taken.
 *
 *     SCENE 1    two threads reserve, make, free and unreserve
 *     SCENE 2    one thread pops the only buffer, frees it and discards it; the other reserves
 *     SCENE 3    the cap is lowered from two to one while the second buffer is made: either the buffer is not made, or
 *                the call that lowers the cap sees that it was
 *     SCENE 4    the same, and a third thread frees the first buffer
 *     SCENE 5    three threads, and a cap of two
 *     SCENE 6    two threads reserve while a third lowers the cap from three to two, and one exists
 */
#include "scene.h"

#include "depot.c"

static struct depot depot;
static _Atomic(size_t) max_live;
static int room;
static bool made, made_too, over, refused;
static _Atomic(int) exist; /* relaxed, so that it adds no order of its own */

static void make(void)
{
    assert(room++ == 0);
}

static void unmake(void)
{
    assert(--room == 0);
}

static void *maker(void *unused)
{
    (void)unused;
    made = depot_reserve(&depot, &max_live);
    if (!made)
        return NULL;
    if (SCENE <= 2)
        make();
    if (SCENE == 1) {
        unmake();
        depot_unreserve(&depot, 1);
    }
    return NULL;
}

static void *other_maker(void *unused)
{
    (void)unused;
    if (depot_reserve(&depot, &max_live)) {
        make();
        unmake();
        depot_unreserve(&depot, 1);
    } else {
        refused = true;
    }
    return NULL;
}

static void *freer(void *unused)
{
    (void)unused;
    const struct magazine magazine = depot_pop_some(&depot, &scene_table, 0);
    assert(magazine.n == 1 && magazine.tickets == 1);
    unmake();
    depot_discard(&depot, 1);
    return NULL;
}

static void *passer(void *unused)
{
    (void)unused;
    if (!depot_reserve(&depot, &max_live))
        return NULL;
    assert(add_relaxed(&exist, 1) < 2);
    (void)sub_relaxed(&exist, 1);
    depot_unreserve(&depot, 1);
    return NULL;
}

static void *maker_too(void *unused)
{
    (void)unused;
    made_too = depot_reserve(&depot, &max_live);
    return NULL;
}

static void *lowerer(void *unused)
{
    (void)unused;
    store_seq_cst(&max_live, SCENE == 6 ? 2 : 1); /* as bufferpool_set_max_live does, which then frees the surplus */
    over = depot_over_cap(&depot, &max_live);
    return NULL;
}

static void *holder(void *unused)
{
    (void)unused;
    depot_unreserve(&depot, 1);
    return NULL;
}

static void *(*const threads[][3])(void *) = {
    {maker, other_maker, NULL}, {maker, freer, NULL},     {maker, lowerer, NULL},
    {maker, lowerer, holder},   {passer, passer, passer}, {maker, lowerer, maker_too},
};

int main(void)
{
    static const size_t caps[] = {1, 1, 2, 2, 2, 3};
    const uint32_t there = SCENE == 1 || SCENE == 5 ? 0 : 1;
    buffers_init(&scene_table);
    store_relaxed(&max_live, caps[SCENE - 1]);
    depot_reset(&depot, there);
    if (SCENE == 2) {
        struct desc *d = &scene_descs[0];
        make();
        depot_push(&depot, &scene_table, &d, 1, false);
    }
    run(threads[SCENE - 1][0], threads[SCENE - 1][1], threads[SCENE - 1][2]);
    const struct depot_counts counts = depot_counts(&depot);
    switch (SCENE) {
    case 1:
        assert(made || !refused);
        assert(counts.pooled == 0 && counts.tickets == 0);
        break;
    case 2:
        assert(counts.pooled == made && counts.tickets == 0 && depot_is_empty(&depot));
        break;
    case 3:
        assert(counts.pooled == 1u + made);
        assert(!made || over);
        break;
    case 4:
        assert(counts.pooled == made);
        break;
    case 5:
        assert(counts.pooled == 0 && counts.tickets == 0);
        break;
    default:
        assert(counts.pooled == 1u + made + made_too);
        assert(counts.pooled <= 2 || over);
    }
    return 0;
}
