/* SPDX-License-Identifier: MIT
 *
 * lowered.c - bufferpool_set_max_live beside calls that go by the cap, from where it stores the cap on
 *
 *     SCENE 1    the cap is lowered below what exists once a reservation under way gets through: then that is refused,
 *                or the call goes on to free what is too much
 *     SCENE 2    the cap is raised beside somebody who waits: who finds no place is found by the call's look at
 *                the flag
 */
#include "caches.h"

#include "reclaim.c"

static bool too_many, made, looked;

struct bufferpool pool_default; /* not this one */
_Thread_local struct thread *tls_self TLS_SELF_MODEL;

/* What the call goes on with. */

void pressure_enter(bufferpool_t *unused)
{
    (void)unused;
    too_many = true;
}

void pressure_relax(bufferpool_t *unused)
{
    (void)unused;
}

void wait_serve(bufferpool_t *p)
{
    looked = depot_wanted(&p->depot);
}

void heap_purge(struct heap *heap)
{
    (void)heap;
}

struct cache *tls_cache_own_or_shared(bufferpool_t *p)
{
    return &p->shared;
}

static void *setter(void *unused)
{
    (void)unused;
    bufferpool_set_max_live(&pool, SCENE == 2 ? 2 : 1);
    return NULL;
}

static void *other(void *unused)
{
    (void)unused;
    if (SCENE == 2)
        depot_want(&pool.depot, true);
    made = depot_reserve(&pool.depot, &pool.max_live);
    return NULL;
}

int main(void)
{
    pool_init(1);
    store_relaxed(&pool.max_live, SCENE == 2 ? 1 : 2);
    run(setter, other, NULL);
    if (SCENE == 1) {
        assert(depot_counts(&pool.depot).pooled == 1u + made);
        assert(!made || too_many);
    } else {
        assert(!too_many);
        assert(made || looked);
    }
    return 0;
}
