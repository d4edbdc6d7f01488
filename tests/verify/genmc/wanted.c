/* SPDX-License-Identifier: MIT
 *
 * wanted.c - a waiter finds the buffer or the room that a call gives, or that call sees that a caller waits (depot.c,
 * 13)
 *
 *     SCENE 1    a push
 *     SCENE 2    an unreserve: room for a new buffer
 *     SCENE 3    a restore
 *     SCENE 4    a discard
 *     SCENE 5    a raised cap: the store in bufferpool_set_max_live
 *     SCENE 6    the pressure ends only while no caller waits, and a caller that waits from then on sees that it ended
 */
#include "scene.h"

#include "depot.c"

static struct depot depot;
static _Atomic(size_t) max_live;
static bool seen, found, ended, pressed;

static void *giver(void *unused)
{
    struct desc *d = &scene_descs[0];
    (void)unused;
    switch (SCENE) {
    case 1:
        depot_push(&depot, &scene_table, &d, 1, false);
        break;
    case 2:
        depot_unreserve(&depot, 1);
        break;
    case 3:
        depot_restore(&depot, &scene_table, &d, 1, false);
        break;
    case 4:
        depot_discard(&depot, 1);
        break;
    case 5:
        store_seq_cst(&max_live, 2);
        break;
    default:
        ended = depot_end_pressure(&depot, &max_live);
        return NULL;
    }
    seen = depot_wanted(&depot);
    return NULL;
}

static void *waiter(void *unused)
{
    (void)unused;
    depot_want(&depot, true);
    if (SCENE == 6)
        pressed = depot_counts(&depot).pressure;
    else
        found = depot_pop(&depot, &scene_table).head != NULL || depot_reserve(&depot, &max_live);
    return NULL;
}

int main(void)
{
    buffers_init(&scene_table);
    store_relaxed(&max_live, 1);
    depot_reset(&depot, 1);
    if (SCENE == 3 || SCENE == 4)
        depot_cover(&depot, 1); /* as the pop before has done */
    if (SCENE == 6)
        depot_begin_pressure(&depot);
    run(giver, waiter, NULL);
    assert(SCENE == 6 ? ended == !pressed : found || seen);
    depot_want(&depot, false);
    assert(!depot_wanted(&depot) && depot_is_calm(&depot, &max_live));
    return 0;
}
