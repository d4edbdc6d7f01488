/* SPDX-License-Identifier: MIT
 *
 * lowered.c - bufferpool_set_max_live beside calls that go by the cap, from where it stores the cap on
 *
 *     SCENE 1    the cap is lowered, so that a reservation under way is one too many: either the reservation is
 *                refused, or the call goes on to free the surplus
 *     SCENE 2    the cap is raised beside a caller that begins to wait: either the caller finds the room, or the call
 *                finds the caller by its look at the flag
 *     SCENE 3    the cap is lowered while a call has a magazine in transit, and another thread makes a buffer: the call
 *                that lowered the cap finds the magazine, or the call that put it back sees that too many buffers
 *                exist (settle in pool.c)
 */
#include "caches.h"

/* GenMC has no thread-local struct and no return address. Only one thread makes a call that uses them. */
static struct plain_context {
    const char *function;
    uintptr_t caller;
} plain_context;
#define report_context                  plain_context
#define __builtin_return_address(level) NULL

/* No magazine is there where bufferpool_set_max_live runs, and GenMC cannot read what the compiler makes of these. */
static inline struct magazine nothing(void)
{
    struct magazine magazine;
    magazine.head = NULL;
    magazine.n = 0;
    magazine.grown = false;
    magazine.tickets = 0;
    return magazine;
}
#define depot_pop_some(depot, table, out)           ((void)load_seq_cst(&(depot)->head), nothing())
#define magazine_open(magazine, table, bufs)        ((void)(magazine), (void)(bufs))
#define depot_restore(depot, table, bufs, n, grown) ((void)(bufs))

#include "reclaim.c"

static bool too_many, made, served;

struct bufferpool pool_default; /* not this one */
_Thread_local struct thread *tls_self TLS_MODEL;
struct thread tls_forking;
uint32_t fork_epoch; /* 0, as the pool's: no process has forked */

/* The functions with which the call goes on. */

void pressure_enter(bufferpool_t *unused)
{
    (void)unused;
    too_many = true;
}

void pressure_end_overload(bufferpool_t *unused)
{
    (void)unused;
}

void pressure_relax(bufferpool_t *unused)
{
    (void)unused;
}

void wait_serve_all(bufferpool_t *unused)
{
    (void)unused;
    served = true;
}

size_t heap_purge(struct heap *heap)
{
    (void)heap;
    return 0;
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

#if SCENE == 3

static bool found, calm = true;

static void *lowering(void *unused)
{
    (void)unused;
    store_seq_cst(&pool.max_live, 1);
    if (depot_over_cap(&pool.depot, &pool.max_live))
        found = depot_pop(&pool.depot, &pool.heap.table).head != NULL;
    return NULL;
}

static void *exchanging(void *unused)
{
    (void)unused;
    const struct magazine magazine = depot_pop(&pool.depot, &pool.heap.table);
    if (magazine.head != NULL) {
        struct desc *d = magazine.head;
        depot_push(&pool.depot, &pool.heap.table, &d, 1, false);
        calm = depot_is_calm(&pool.depot, &pool.max_live);
    }
    return NULL;
}

int main(void)
{
    struct desc *d = &scene_descs[0];
    pool_init(1);
    depot_push(&pool.depot, &pool.heap.table, &d, 1, false);
    store_relaxed(&pool.max_live, 2);
    run(lowering, exchanging, other);
    assert(depot_counts(&pool.depot).pooled == 1u + made);
    assert(!made || found || !calm);
    return 0;
}

#else

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
        assert(made || served);
    }
    return 0;
}

#endif
