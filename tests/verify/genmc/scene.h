/* SPDX-License-Identifier: MIT
 *
 * scene.h - for all harnesses: threads, and descriptors with a plain byte each in place of a block
 *
 * A harness is a program of two or three threads for GenMC. GenMC runs it once for every execution that the C11 memory
 * model (as RC11) allows, and reports asserts that fail, data races on everything that is not atomic, and reads of
 * memory that is not there. A harness includes the sources of src/ that it is about, and so sees their static
 * functions.
 */
#ifndef SCENE_H
#define SCENE_H

#include <assert.h>
#include <genmc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#ifndef SCENE_OF_HEADERS    /* compile.sh */
typedef int pthread_cond_t; /* GenMC has none, and no harness waits */
#define PTHREAD_CANCEL_DISABLE                0
#define pthread_setcancelstate(state, before) ((void)(before)) /* nor has it cancellation */
#endif

#include "atomic.h"
#include "bufferpool.h"

/* GenMC has no instruction of a processor. */
#undef spin_hint
#define spin_hint() ((void)0)

/* GenMC cannot read pieces of different sizes from the same memory. Of the two unions in a descriptor the first one is
 * two views of the same members, and stays a union. The members of the second one belong to states that exclude each
 * other; here each member has bytes of its own. So do those of the third, which are
 * of different caches (types.h). */
/* clang-format off */
#define union               SCENE_UNION(__COUNTER__)
#define SCENE_UNION(number) SCENE_JOIN(number)
#define SCENE_JOIN(number)  scene_union_##number
#define scene_union_0       union
#define scene_union_1       struct
#define scene_union_2       struct
/* clang-format on */
#undef _Static_assert
#define _Static_assert(condition, text) struct scene_nothing
#include "heap/desc.h"
#undef union
#undef _Static_assert
_Static_assert(offsetof(struct desc, own) == offsetof(struct desc, pub), "the two views are a union");
_Static_assert(offsetof(struct desc, chain) != offsetof(struct desc, asked), "the members of the states are not");

/* The execution ends here, and shows nothing, unless the condition holds. */
#define assume(condition) __VERIFIER_assume(condition)

static void run(void *(*first)(void *), void *(*second)(void *), void *(*third)(void *))
{
    void *(*const start[])(void *) = {first, second, third};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        if (start[i] != NULL && pthread_create(&threads[i], NULL, start[i], NULL) != 0)
            abort();
    for (int i = 0; i < 3; i++)
        if (start[i] != NULL)
            (void)pthread_join(threads[i], NULL);
}

/* ---- buffers ---- */

#define BUFFERS 10u

static struct desc scene_descs[BUFFERS];
static unsigned char scene_blocks[BUFFERS]; /* one byte of each */
static int scene_owners[BUFFERS];           /* plain: two owners at once are a race, or a count above one */
static struct desc_table scene_table;

/* Before there are threads. */
static void buffers_init(struct desc_table *table)
{
    store_relaxed(&table->chunks[0], scene_descs);
    for (uint32_t i = 0; i < BUFFERS; i++) {
        scene_descs[i].index = i + 1;
        desc_set_block(&scene_descs[i], &scene_blocks[i], 1);
    }
}

static unsigned number_of(const struct desc *d)
{
    return d->index - 1;
}

/* As a caller uses a buffer: it has the buffer alone, and may write its plain fields. */
static void use(struct desc *d, unsigned char byte)
{
    assert(scene_owners[number_of(d)]++ == 0);
    d->pub.data[0] = byte;
    d->pub.len = byte;
    desc_set_strikes(d, 0);
    scene_owners[number_of(d)]--;
}

/* The buffer is as `use` left it. A get in between has set its len to 0. */
static void check(const struct desc *d, unsigned char byte, size_t len)
{
    assert(d->pub.len == len);
    assert(d->pub.data == &scene_blocks[number_of(d)]);
    assert(d->pub.data[0] == byte);
    assert(desc_is_sealed(d));
}

#endif
