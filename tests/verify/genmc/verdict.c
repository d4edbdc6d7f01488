/* SPDX-License-Identifier: MIT
 *
 * verdict.c - depot_exhausted says yes only if callers had as many as the cap allows
 *
 * A third look at the counts, at any time, never finds more in flight than there are.
 *
 *     SCENE 1    two buffers in one magazine: a thread takes one and restores the other, so both are never held
 *     SCENE 2    two magazines: a thread pops both, keeps one and pushes the other again
 *     SCENE 3    one buffer, which one thread pops in order to free it, and discards
 *     SCENE 4    one buffer that goes from its holder to the depot and from there to another thread
 *     SCENE 5    a get that has read a word written after the put of the only buffer finds the buffer, and no verdict
 */
#include "scene.h"

#include "depot.c"

static struct depot depot;
static _Atomic(size_t) max_live;
static _Atomic(int) put;

static void consistent(void)
{
    const struct depot_counts counts = depot_counts(&depot);
    assert(counts.in_flight <= counts.pooled && counts.pooled <= load_relaxed(&max_live));
}

static void *first(void *unused)
{
    (void)unused;
    struct desc *bufs[MAGAZINE_MAX];
    struct magazine magazine;
    switch (SCENE) {
    case 1:
        magazine = depot_pop(&depot, &scene_table);
        magazine_open(&magazine, &scene_table, bufs);
        depot_take(&depot, 1);
        depot_restore(&depot, bufs, 1, false);
        break;
    case 2:
        magazine = depot_pop(&depot, &scene_table);
        depot_take(&depot, 1);
        bufs[0] = magazine.head;
        depot_push(&depot, bufs, 1, false);
        (void)depot_pop(&depot, &scene_table);
        depot_take(&depot, 1);
        break;
    case 3:
        (void)depot_pop(&depot, &scene_table);
        depot_discard(&depot, 1);
        break;
    default:
        bufs[0] = &scene_descs[0];
        use(bufs[0], 1);
        depot_push(&depot, bufs, 1, false);
        if (SCENE == 5)
            store_release(&put, 1);
    }
    return NULL;
}

static void *getter(void *unused)
{
    (void)unused;
    if (SCENE == 5)
        assume(load_acquire(&put));
    const bool found = depot_peek(&depot, &scene_table, &(uint64_t){0}, &(uint64_t){0}) != NULL;
    const bool exhausted = depot_exhausted(&depot, &max_live);
    if (SCENE == 5)
        assert(found && !exhausted);
    else if (SCENE != 4)
        assert(!exhausted);
    consistent();
    return NULL;
}

static void *popper(void *unused)
{
    (void)unused;
    const struct magazine magazine = depot_pop(&depot, &scene_table);
    if (magazine.head == NULL)
        return NULL;
    use(magazine.head, 2);
    depot_take(&depot, 1);
    assert(depot_exhausted(&depot, &max_live)); /* this thread has it */
    return NULL;
}

int main(void)
{
    struct desc *bufs[] = {&scene_descs[0], &scene_descs[1]};
    const uint32_t n = SCENE <= 2 ? 2 : 1;
    buffers_init(&scene_table);
    store_relaxed(&max_live, n);
    depot_reset(&depot, n, n);
    depot_begin_pressure(&depot);
    if (SCENE == 1) {
        depot_push(&depot, bufs, 2, false);
    } else if (SCENE <= 3) {
        for (uint32_t i = 0; i < n; i++)
            depot_push(&depot, bufs + i, 1, false);
    }
    run(first, getter, SCENE == 4 ? popper : NULL);
    return 0;
}
