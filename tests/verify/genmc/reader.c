/* SPDX-License-Identifier: MIT
 *
 * reader.c - cache_read beside the owner: its figures were true at one moment, and two readings are in order
 *
 * The owner goes through STEPS changes. With each slow one the base moves to the other side. No two leave the same
 * figures, but for those that begin the count of gets anew and change none.
 *
 *     SCENE 1    slow changes only: the side comes back after every other one
 *     SCENE 2    fast ones between
 *     SCENE 3    slow ones that leave parts of the base as they were
 *     SCENE 4    the count begins anew, twice
 */
#include "caches.h"

static struct cache *const c = &room_a.cache;

/* The figures after each step. */
static const struct cache_counts states[] = {
#if SCENE == 1
    {0, 8, 0}, {0, 1, 1}, {0, 2, 2}, {0, 3, 3}, {0, 4, 4},
#elif SCENE == 2
    {0, 8, 0}, {0, 8, 1}, {1, 8, 0}, {1, 9, 3}, {2, 9, 2},
    {2, 7, 1}, {3, 7, 0}, {3, 5, 3}
#elif SCENE == 3
    {0, 8, 0}, {0, 9, 1}, {1, 9, 0}, {1, 8, 0},
    {1, 9, 1}, {1, 8, 1}
#else
    {0, 8, 0}, {0, 8, 1}, {1, 8, 0}, {1, 8, 0},
    {1, 8, 1}, {2, 8, 0}, {2, 8, 0}
#endif
};
_Static_assert(STEPS < sizeof(states) / sizeof(states[0]), "there are so many");

/* The store of a fast call is relaxed, and comes after the release in level_begin. By C11 (5.1.2.4, 10) it continues
 * that release sequence, since it is of the same thread: a reader of the store is no worse off than one of the release.
 * GenMC follows C++20, in which only read-modify-writes continue a release sequence. So for GenMC the store is one. */
#if defined(CXX20)
#define level_store(c, value) store_relaxed(&(c)->level, (value))
#else
#define level_store(c, value) (void)atomic_exchange_explicit(&(c)->level, (value), memory_order_relaxed)
#endif

/* A step of the owner, from inside. */
static void step(unsigned i)
{
    const struct cache_counts *from = &states[i], *to = &states[i + 1];
    if (from->gets == to->gets && from->moved == to->moved &&
        from->n == to->n) /* as cache_count_anew, with an open gate */
        level_begin(c, to->moved, to->n, load_relaxed(&c->level) / LEVEL_GET + 7);
    else if (from->moved == to->moved) /* as in cache_pop_plain and cache_push_plain */
        level_store(c, load_relaxed(&c->level) + (to->gets != from->gets ? LEVEL_GET - 1 : (uint64_t)to->n - from->n));
    else
        level_add(c, (int32_t)(to->moved - from->moved), (int32_t)(to->n - from->n));
}

static void *owner(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < STEPS; i++)
        step(i);
    return NULL;
}

/* Finds the state of these figures, from `at` on. */
static unsigned find(struct cache_counts counts, unsigned at)
{
    while (at <= STEPS &&
           (counts.gets != states[at].gets || counts.moved != states[at].moved || counts.n != states[at].n))
        at++;
    assert(at <= STEPS);
    return at;
}

static void *reader(void *unused)
{
    (void)unused;
    const unsigned at = find(cache_read(c), 0);
    if (READINGS > 1)
        (void)find(cache_read(c), at);
    return NULL;
}

int main(void)
{
    pool_init(8);
    run(owner, reader, NULL);
    assert(find(cache_read(c), STEPS) == STEPS);
    return 0;
}
