/* SPDX-License-Identifier: MIT
 *
 * handover.c - a magazine of N buffers goes from the thread that pushes it to the thread that pops it: with everything
 * that was written before, and each buffer once, in order
 */
#include "scene.h"

#include "depot.c"

static struct depot depot;
static bool was_popped;

static void *pusher(void *unused)
{
    (void)unused;
    struct desc *bufs[N];
    for (unsigned i = 0; i < N; i++) {
        bufs[i] = &scene_descs[i];
        use(bufs[i], (unsigned char)(i + 1));
    }
    depot_push(&depot, &scene_table, bufs, N, true);
    return NULL;
}

static void *popper(void *unused)
{
    (void)unused;
    const struct magazine magazine = depot_pop(&depot, &scene_table);
    if (magazine.head == NULL)
        return NULL;
    was_popped = true;
    assert(magazine.n == N && magazine.grown);
    struct desc *bufs[N];
    magazine_open(&magazine, &scene_table, bufs);
    for (unsigned i = 0; i < N; i++) {
        assert(bufs[i] == &scene_descs[i]);
        check(bufs[i], (unsigned char)(i + 1), i + 1);
        use(bufs[i], 99);
    }
    return NULL;
}

int main(void)
{
    buffers_init(&scene_table);
    depot_reset(&depot, N);
    run(pusher, popper, NULL);
    assert(depot_counts(&depot).pooled == N && depot_idle(&depot, &scene_table) == (was_popped ? 0 : N));
    return 0;
}
