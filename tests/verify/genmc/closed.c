/* SPDX-License-Identifier: MIT
 *
 * closed.c - close.c: one call ends a pool, and everything that others did with the pool comes before that
 *
 *     SCENE 1    the last two puts to a closed pool
 *     SCENE 2    a last put beside a thread that goes over its caches, as thread_flush does
 *     SCENE 3    bufferpool_close beside the last put
 *     SCENE 4    bufferpool_close beside the last put of a thread that has no cache
 *     SCENE 5    bufferpool_close beside the last two puts
 *     SCENE 6    bufferpool_close beside a thread that goes over its caches
 *
 * Each thread has a plain byte, which it writes wherever it uses the pool. The call that ends the pool writes all of
 * them, as if it freed them: a use that does not come before is a race.
 */
#include "caches.h"

/* GenMC has no thread-local struct and no return address. One thread makes a call that uses them. */
static struct plain_context {
    const char *function;
    uintptr_t caller;
} plain_context;
#define report_context                  plain_context
#define __builtin_return_address(level) NULL

/* A call that waits for others shows nothing until they have come on. */
#include "clock.h"
#define clock_pause() assume(false)

#include "fork.h"
#include "life.h"

static void *freed(const bufferpool_t *unused, const struct desc *d);
#define life_free(pool, d, defer) ((void)freed((pool), (d)))

#include "close.c"

/* ---- the uses of the pool ---- */

enum { USERS = 3 };
static unsigned char used[USERS];
static _Thread_local unsigned self; /* the thread's number */
static unsigned char ended;         /* plain: two ends are a race, or a count of two */

static void use_pool(void)
{
    used[self]++;
}

void create_end(bufferpool_t *p)
{
    assert(depot_counts(&p->depot).pooled == 0);
    for (unsigned i = 0; i < USERS; i++)
        used[i] = 0;
    ended++;
}

static void *freed(const bufferpool_t *unused, const struct desc *d)
{
    (void)unused, (void)d;
    use_pool();
    return NULL;
}

/* ---- what close.c calls ---- */

_Thread_local struct thread *tls_self TLS_MODEL;
struct thread tls_forking;
uint32_t fork_epoch; /* 0, as the pool's: no process has forked */
struct bufferpool pool_default;

void pressure_flush(bufferpool_t *unused, struct cache *c)
{
    (void)unused, (void)c;
    use_pool();
}

void reclaim_all_idle(bufferpool_t *unused, struct cache *c)
{
    (void)unused, (void)c;
    use_pool();
}

void pressure_close(bufferpool_t *unused)
{
    (void)unused;
    use_pool();
}

void heap_retain(struct heap *heap, unsigned retain_ms)
{
    (void)heap, (void)retain_ms;
}

void budget_leave(bufferpool_t *unused)
{
    (void)unused;
}

void wait_cancel_all(bufferpool_t *unused)
{
    (void)unused;
}

void background_end(bufferpool_t *unused)
{
    (void)unused;
}

void members_serve_after(bufferpool_t *unused)
{
    (void)unused;
}

void wait_serve_all(bufferpool_t *unused)
{
    (void)unused;
}

void tls_cache_on_closed(const struct tls_closed *calls)
{
    (void)calls;
}

void registry_lock(void)
{
}

void registry_unlock(void)
{
}

struct cache *tls_cache_own_or_shared(bufferpool_t *p)
{
    return self == 1 && SCENE != 4 ? &room_a.cache : self == 2 ? &room_b.cache : &p->shared;
}

/* ---- the threads ---- */

/* As put_by_the_rules (pool.c) with a buffer that is freed, whether the pool is closed or not. */
static void put_last(struct cache *c, struct desc *d)
{
    cache_begin_call(c);
    const bool closed = cache_pool_is_closed(&pool);
    if (!closed) {
        use_pool();
        depot_unreserve(&pool.depot, 1);
        use_pool();
    }
    cache_end_call(c);
    if (closed)
        close_give_back(&pool, d);
}

static void *putter(void *unused)
{
    (void)unused;
    self = 1;
    put_last(tls_cache_own_or_shared(&pool), &scene_descs[0]);
    return NULL;
}

static void *second_putter(void *unused)
{
    (void)unused;
    self = 2;
    put_last(tls_cache_own_or_shared(&pool), &scene_descs[1]);
    return NULL;
}

/* As call_for (tls_cache.c). */
static void *walker(void *unused)
{
    (void)unused;
    self = 2;
    cache_begin_call(&pool.shared);
    const bool closed = cache_pool_is_closed(&pool);
    if (!closed)
        use_pool();
    cache_end_call(&pool.shared);
    if (!closed || !close_hold_if_any(&pool))
        return NULL;
    use_pool();
    if (close_left(&pool))
        close_end(&pool);
    return NULL;
}

static void *closer(void *unused)
{
    (void)unused;
    self = 0;
    bufferpool_close(&pool);
    return NULL;
}

int main(void)
{
    const uint32_t pooled = SCENE == 1 || SCENE == 5 ? 2 : SCENE == 6 ? 0 : 1;
    pool_init(pooled);
    if (SCENE <= 2)
        store_relaxed(&pool.life, POOL_CLOSED);
    switch (SCENE) {
    case 1:
        run(putter, second_putter, NULL);
        break;
    case 2:
        run(putter, walker, NULL);
        break;
    case 3:
    case 4:
        run(putter, closer, NULL);
        break;
    case 5:
        run(putter, second_putter, closer);
        break;
    default:
        run(walker, closer, NULL);
        break;
    }
    assert(ended == 1);
    return 0;
}
