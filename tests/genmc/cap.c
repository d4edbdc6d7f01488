/* SPDX-License-Identifier: MIT
 *
 * cap.c - no more buffers exist than the cap allows
 *
 * With a cap of one the buffer that exists is the plain variable `room`: whoever makes one where another still exists has a
 * race with it, or finds it taken.
 *
 *     SCENE 1    two threads reserve, make, free and unreserve
 *     SCENE 2    one thread pops the only buffer, frees it and discards it; the other reserves
 *     SCENE 3    the cap is lowered from two to one while the second buffer is made: either it is not made, or whoever
 *                lowers it sees that it was
 *     SCENE 4    the same, and the first buffer is freed by a third thread: if both are to exist, the lowering call sees it
 */
#include "scene.h"

#include "depot.c"

static struct depot depot;
static _Atomic(size_t) max_live;
static int room;
static bool made, over, refused;

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
    const struct magazine magazine = depot_pop(&depot, &scene_table);
    assert(magazine.n == 1);
    unmake();
    depot_discard(&depot, 1);
    return NULL;
}

static void *lowerer(void *unused)
{
    (void)unused;
    store_seq_cst(&max_live, 1); /* as bufferpool_set_max_live does, which then frees what is too much */
    over = depot_over_cap(&depot, &max_live);
    return NULL;
}

static void *holder(void *unused)
{
    (void)unused;
    depot_unreserve(&depot, 1);
    return NULL;
}

int main(void)
{
    buffers_init(&scene_table);
    store_relaxed(&max_live, SCENE <= 2 ? 1 : 2);
    depot_reset(&depot, SCENE == 1 ? 0 : 1, SCENE == 1 ? 0 : 1);
    if (SCENE == 2) {
        struct desc *d = &scene_descs[0];
        make();
        depot_push(&depot, &d, 1, false);
    }
    run(maker, SCENE == 1 ? other_maker : SCENE == 2 ? freer : lowerer, SCENE == 4 ? holder : NULL);
    const struct depot_counts counts = depot_counts(&depot);
    switch (SCENE) {
    case 1:
        assert(made || !refused);
        assert(counts.pooled == 0 && counts.in_flight == 0);
        break;
    case 2:
        assert(counts.pooled == made && counts.in_flight == made && depot_idle(counts) == 0);
        break;
    case 3:
        assert(counts.pooled == 1u + made);
        assert(!made || over);
        break;
    default:
        assert(counts.pooled == made);
    }
    return 0;
}
