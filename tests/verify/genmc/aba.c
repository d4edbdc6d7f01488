/* SPDX-License-Identifier: MIT
 *
 * aba.c - a pop stalls between its two halves, while another thread pops two magazines and pushes the first again
 *
 * The tag has 32 bits. TAG_BITS is how many of them the swap writes here. TAG is the tag at the beginning, so that the
 * full one wraps. Two bits tell two pops in between from none. One bit does not, and a harness that did not notice that
 * would show nothing.
 */
#include "scene.h"

#include "depot.h"

/* In depot.c it is depot_swap's alone, but for words of 32 bits, which the mask leaves as they are. */
#undef cas_relaxed
#define cas_relaxed(p, expected, v)                                                                                    \
    atomic_compare_exchange_weak_explicit((p), (expected), (v) & (((uint64_t)1 << TAG_BITS << 32) - 1),                \
                                          memory_order_relaxed, memory_order_relaxed)
#if TAG_BITS == 32
#undef cas_relaxed
#define cas_relaxed(p, expected, v)                                                                                    \
    atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_relaxed, memory_order_relaxed)
#endif

#include "single.h"

static int had[2]; /* how many threads have it at the end */

static int pop_and_use(void)
{
    const int i = pop();
    if (i >= 0)
        use(&scene_descs[i], 7);
    return i;
}

static void *staller(void *unused)
{
    (void)unused;
    const int i = pop_and_use();
    if (i >= 0)
        had[i]++;
    return NULL;
}

static int others[2];

static void *other(void *unused)
{
    (void)unused;
    const int top = pop_and_use();
    const int below = pop_and_use();
    if (top >= 0)
        push((unsigned)top);
    if (below >= 0)
        others[below]++;
    return NULL;
}

int main(void)
{
    buffers_init(&scene_table);
    depot_reset(&depot, 2);
    store_relaxed(&depot.head, (uint64_t)TAG << 32);
    push(0);
    push(1);
    run(staller, other, NULL);
    for (int i = pop_and_use(); i >= 0; i = pop_and_use()) {
        assert(i < 2);
        had[i]++;
    }
    for (unsigned i = 0; i < 2; i++)
        assert(had[i] + others[i] == 1);
    return 0;
}
