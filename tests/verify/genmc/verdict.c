/* SPDX-License-Identifier: MIT
 *
 * verdict.c - depot_exhausted says yes only if callers had as many as the cap, and calls that meet see each other
 *
 *     SCENE 1    two buffers in one magazine: a thread takes one and restores the other, so both are never held
 *     SCENE 2    two magazines: a thread pops one, pushes it and pops it again
 *     SCENE 3    one buffer, which one thread pops in order to free it, and discards
 *     SCENE 4    one buffer that goes from its holder to the depot and from there to another thread
 *     SCENE 5    a get that has read a word written after the put of the only buffer finds the buffer, and no verdict
 *     SCENE 6    the same, beside a third thread that pops the buffer in order to free it
 *     SCENE 7    two buffers, and one of them idles by a ticket: a thread pushes it, and ends the ticket
 *     SCENE 8    three buffers, of which a thread puts the one that it held, beside scene 1 with the others
 *     SCENE 9    a get lifts the count beside a put: one of them sees that more exist than the cap while one idles
 *     SCENE 10   a get lifts the count while the pressure ends: it sees that, or the pressure does not end (10)
 *     SCENE 11   tickets are added while the cap is raised: they are taken back, or the raising call sees them (10)
 *     SCENE 12   tickets are added beside a call that frees: if it sees them, it sees that a cache has some
 */
#include "scene.h"

#include "depot.c"

static struct depot depot;
static _Atomic(size_t) max_live;
static _Atomic(int) put;
static _Atomic(uint32_t) granted;
static bool seen, seen_too;

static void push(unsigned i)
{
    struct desc *d = &scene_descs[i];
    depot_push(&depot, &scene_table, &d, 1, false);
}

static struct desc *pop_for(uint32_t out)
{
    const struct magazine magazine = depot_pop_some(&depot, &scene_table, out);
    assert(magazine.head == NULL || magazine.n == 1);
    return magazine.head;
}

static void take_one_and_restore(void)
{
    struct desc *bufs[MAGAZINE_MAX];
    const struct magazine magazine = depot_pop_some(&depot, &scene_table, 1);
    assert(magazine.n == 2 || SCENE == 8);
    if (magazine.n < 2)
        return;
    magazine_open(&magazine, &scene_table, bufs);
    depot_restore(&depot, &scene_table, bufs, 1, false);
}

static void *first(void *unused)
{
    (void)unused;
    switch (SCENE) {
    case 1:
    case 8:
        take_one_and_restore();
        break;
    case 2:
        push(number_of(pop_for(1)));
        (void)pop_for(1);
        break;
    case 3:
        (void)pop_for(0);
        depot_discard(&depot, 1);
        break;
    case 7:
        push(0);
        depot_end_tickets(&depot, 1);
        break;
    case 9:
        push(0);
        seen = depot_over_cap(&depot, &max_live);
        break;
    case 10:
        seen = depot_end_pressure(&depot, &max_live);
        break;
    case 11:
    case 12:
        store_relaxed(&granted, 1);
        seen = depot_add_tickets(&depot, &max_live, SCENE == 11 ? 2 : 1, SIZE_MAX);
        break;
    default:
        use(&scene_descs[0], 1);
        push(0);
        store_release(&put, 1);
    }
    return NULL;
}

static void *getter(void *unused)
{
    (void)unused;
    if (SCENE == 5 || SCENE == 6)
        assume(load_acquire(&put));
    const bool found = depot_peek(&depot, &scene_table, &(uint64_t){0}, &(uint64_t){0}) != NULL;
    const bool exhausted = depot_exhausted(&depot, &max_live);
    if (SCENE == 5)
        assert(found);
    assert(!exhausted || SCENE == 4);
    return NULL;
}

/* The thread that meets the first one. */
static void *other(void *unused)
{
    (void)unused;
    switch (SCENE) {
    case 9:
        (void)depot_lift(&depot);
        seen_too = !depot_is_empty(&depot);
        break;
    case 10:
        seen_too = !depot_lift(&depot).pressure;
        break;
    case 11:
        store_seq_cst(&max_live, 5);
        seen_too = depot_is_short(&depot, &max_live);
        break;
    default:
        depot_unreserve(&depot, 2);
        seen_too = !depot_is_short(&depot, &max_live) || load_relaxed(&granted) != 0;
    }
    return NULL;
}

static void *third(void *unused)
{
    struct desc *d;
    (void)unused;
    switch (SCENE) {
    case 6:
        if (pop_for(0) != NULL)
            depot_discard(&depot, 1);
        break;
    case 8:
        push(2);
        break;
    default:
        d = pop_for(1);
        if (d == NULL)
            break;
        use(d, 2);
        assert(depot_exhausted(&depot, &max_live)); /* this thread has it */
    }
    return NULL;
}

int main(void)
{
    static const uint32_t pooled[] = {2, 2, 1, 1, 1, 1, 2, 3, 1, 1, 6, 4};
    static const size_t caps[] = {2, 2, 1, 1, 1, 1, 2, 3, 1, 1, 2, 2};
    struct desc *bufs[] = {&scene_descs[0], &scene_descs[1]};
    buffers_init(&scene_table);
    store_relaxed(&max_live, caps[SCENE - 1]);
    depot_reset(&depot, pooled[SCENE - 1]);
    depot_begin_pressure(&depot);
    if (SCENE == 1 || SCENE == 8)
        depot_push(&depot, &scene_table, bufs, 2, false);
    else if (SCENE == 2 || SCENE == 3)
        for (unsigned i = 0; i < pooled[SCENE - 1]; i++)
            push(i);
    else if (SCENE == 7)
        depot_cover(&depot, 1);
    run(first, SCENE >= 9 ? other : getter, SCENE == 4 || SCENE == 6 || SCENE == 8 ? third : NULL);
    if (SCENE == 9)
        assert(seen || seen_too);
    if (SCENE == 10)
        assert(seen == seen_too);
    if (SCENE == 11)
        assert(!seen || seen_too);
    if (SCENE == 12)
        assert(seen_too);
    return 0;
}
