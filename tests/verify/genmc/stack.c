/* SPDX-License-Identifier: MIT
 *
 * stack.c - pushes and pops of several threads: no buffer has two owners, and none is lost
 *
 *     SCENE 1    the depot is empty; one thread pushes two magazines, the other pops twice
 *     SCENE 2    there are two; both threads pop one and push it again
 *     SCENE 3    the depot is empty; two threads push one each, a third pops twice
 *     SCENE 4    there are two; one thread pops both and pushes one as a restore, the other pops
 */
#include "single.h"

static bool mine[3][2]; /* the buffers of each thread at the end */

/* As pop, by a caller that finds in the buffer what its owner before left there. */
static int pop_and_use(void)
{
    const int i = pop();
    if (i >= 0) {
        const unsigned char byte = (unsigned char)(2 + i);
        check(&scene_descs[i], byte, byte);
        use(&scene_descs[i], byte);
    }
    return i;
}

static void pop_for(unsigned thread)
{
    const int i = pop_and_use();
    if (i >= 0)
        mine[thread][i] = true;
}

static void *first(void *unused)
{
    int i;
    (void)unused;
    switch (SCENE) {
    case 1:
        push(0);
        push(1);
        break;
    case 3:
        push(0);
        break;
    case 4:
        i = pop_and_use();
        pop_for(0);
        if (i >= 0)
            push((unsigned)i);
        break;
    default:
        i = pop_and_use();
        assert(i >= 0);
        push((unsigned)i);
    }
    return NULL;
}

static void *second(void *unused)
{
    (void)unused;
    switch (SCENE) {
    case 1:
        pop_for(1);
        pop_for(1);
        break;
    case 3:
        push(1);
        break;
    case 4:
        pop_for(1);
        break;
    default: {
        const int i = pop_and_use();
        assert(i >= 0);
        push((unsigned)i);
    }
    }
    return NULL;
}

static void *third(void *unused)
{
    (void)unused;
    pop_for(2);
    pop_for(2);
    return NULL;
}

int main(void)
{
    buffers_init(&scene_table);
    depot_reset(&depot, 2);
    use(&scene_descs[0], 2);
    use(&scene_descs[1], 3);
    if (SCENE == 2 || SCENE == 4) {
        push(0);
        push(1);
    }
    run(first, second, SCENE == 3 ? third : NULL);
    const unsigned held = (unsigned)mine[0][0] + mine[0][1] + mine[1][0] + mine[1][1] + mine[2][0] + mine[2][1];
    assert(depot_counts(&depot).pooled == 2 && depot_idle(&depot, &scene_table) == 2 - held);
    for (unsigned i = held; i < 2; i++)
        pop_for(0);
    assert(pop_and_use() == -1);
    for (unsigned i = 0; i < 2; i++)
        assert(mine[0][i] + mine[1][i] + mine[2][i] == 1);
    assert(depot_idle(&depot, &scene_table) == 0);
    return 0;
}
