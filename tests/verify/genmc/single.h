/* SPDX-License-Identifier: MIT
 *
 * single.h - the real depot, with one buffer in each magazine
 */
#ifndef SINGLE_H
#define SINGLE_H

#include "scene.h"

#include "depot.c"

static struct depot depot;

static void push(unsigned i)
{
    struct desc *d = &scene_descs[i];
    depot_push(&depot, &scene_table, &d, 1, false);
}

/* The number of the buffer, which the caller has now, or -1. */
static int pop(void)
{
    const struct magazine magazine = depot_pop(&depot, &scene_table);
    if (magazine.head == NULL)
        return -1;
    assert(magazine.n == 1 && !magazine.grown);
    return (int)number_of(magazine.head);
}

#endif
