/* SPDX-License-Identifier: MIT
 *
 * stashed.c - a cell of the stash: a buffer that is pushed there is popped, or found when the cell closes, once and as
 * it was left
 *
 *     SCENE 1    a push beside a pop
 *     SCENE 2    a push beside the closing of all cells
 *     SCENE 3    a pop beside the closing, with a buffer there
 *     SCENE 4    two pops, and a push of the buffer that was popped
 */
#include "scene.h"

#include "heap/stash.h"

static struct stash stash;
static struct stash_lane *const lane = &stash.lanes[0];
static struct desc *had[2]; /* the buffer of each thread at the end */

static struct desc *pop(void)
{
    struct desc *d = stash_pop(lane);
    if (d == NULL)
        return NULL;
    check(d, 5, 5);
    use(d, 5);
    return d;
}

static void push(struct desc *d, unsigned thread)
{
    use(d, 5);
    if (!stash_push(lane, d))
        had[thread] = d;
}

static void *first(void *unused)
{
    (void)unused;
    if (SCENE <= 2) {
        push(&scene_descs[0], 0);
        return NULL;
    }
    had[0] = pop();
    if (SCENE == 4 && had[0] != NULL) {
        struct desc *d = had[0];
        had[0] = NULL;
        push(d, 0);
    }
    return NULL;
}

static void *second(void *unused)
{
    (void)unused;
    if (SCENE == 1 || SCENE == 4)
        had[1] = pop();
    else if ((had[1] = stash_close(&stash)) != NULL) {
        check(had[1], 5, 5);
        use(had[1], 5);
        assert(had[1]->chain == NULL);
    }
    return NULL;
}

int main(void)
{
    buffers_init(&scene_table);
    stash_open(lane, 2);
    if (SCENE >= 3)
        push(&scene_descs[0], 0);
    run(first, second, NULL);
    const struct desc *left = SCENE == 1 || SCENE == 4 ? stash_close(&stash) : NULL;
    assert((had[0] != NULL) + (had[1] != NULL) + (left != NULL) == 1);
    return 0;
}
