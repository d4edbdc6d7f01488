/* SPDX-License-Identifier: MIT
 *
 * owner_thief.c - an owner and a thread that steals from its cache: never are both inside, and no buffer is lost or
 * moved halfway
 *
 * With MEMBARRIER the code is that of a release, with a model of membarrier(2). Without it the code has real fences, as
 * for ThreadSanitizer. If both are inside, that shows as a race on the plain fields of the cache.
 *
 *     SCENE 1    the owner gets the buffer that its cache has; the thief takes it, if it can, from the depot
 *     SCENE 2    the owner puts the buffer that it holds
 *     SCENE 3    the owner gets one, and puts it
 *     SCENE 4    under pressure: the owner puts one of two while the other idles in its cache, and there is no verdict
 *     SCENE 5    the thief collects only what is reserved of max_idle_bytes; the owner puts, by the slow path
 *     SCENE 6    the gate is closed all the time, as under pressure, and opened by the thief: an owner that finds it
 *                open sees the cache as the thief left it
 *     SCENE 7    only caches that were not used since they were last looked at: the owner gets, or has not yet
 *     SCENE 8    a third thread pops the stolen buffer while the owner gets it, or puts it
 *     SCENE 9    the owner gets, puts and gets again, while the thief steals twice
 *     SCENE 10   the owner gets one, and puts it; what the thief does not reach it takes later, without another barrier
 *     SCENE 11   a patient thief lets the lock go and looks twice more at an owner that gets, and puts
 *     SCENE 12   the same, with one look, beside another thread that steals
 *     SCENE 13   as 4, but the cache is full, so that one of the two goes to the owner's shard, which the thief drains
 */
#include "caches.h"

#include "clock.h"
#include "tls_cache.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool rest; /* the thief asks for no barrier any more */

#if defined(MEMBARRIER)
static long system_call(long number, int command)
{
    assert(number == SYS_membarrier);
    if (command == 1 << 3) {
        assert(!rest);
        barrier_in_owner();
    }
    return 0;
}
#define syscall(number, command, flags, cpu) system_call((number), (command))
#else
#define interruptible_begin() (void)0
#define interruptible_end()   (void)0
#endif

/* In place of the time: so many looks at an owner that is inside. */
#define PATIENCE_LOOKS          (SCENE == 12 ? 1u : 2u)
#define patience_left(patience) ((patience)->until_ns++ < PATIENCE_LOOKS)

#include "steal.c"

_Thread_local struct thread *tls_self TLS_MODEL;

static struct thread thief_thread, other_thread;
static struct shards shards; /* of scene 13 */
static struct cache *const c = &room_a.cache;
static struct desc *held[2]; /* the buffers of owner and thief at the end */

static void *owner(void *unused)
{
    (void)unused;
    interruptible_begin();
    struct desc *d = held[0];
    switch (SCENE) {
    case 1:
    case 6:
    case 7:
        d = get(c);
        if (d != NULL) {
            check(d, 7, 0);
            use(d, 8);
        }
        break;
    case 3:
    case 8:
    case 10:
    case 11:
    case 12:
        d = get(c);
        if (d == NULL)
            break;
        check(d, 7, 0);
        use(d, 8);
        put(c, d);
        d = NULL;
        break;
    case 13:
        use(d, 8);
        (void)cache_overflow(&pool, c);
        put(c, d);
        d = NULL;
        break;
    case 9:
        d = get(c);
        if (d != NULL) {
            use(d, 8);
            put(c, d);
        }
        d = get(c);
        if (d != NULL)
            use(d, 8);
        break;
    default:
        use(d, 8);
        put(c, d);
        d = NULL;
    }
    interruptible_end();
    held[0] = d;
    return NULL;
}

static void pop_one(void)
{
    const struct magazine magazine = depot_pop(&pool.depot, &pool.heap.table);
    if (magazine.head == NULL)
        return;
    assert(magazine.n == 1);
    cache_moved(&pool, &room_b.cache, 1);
    const unsigned char byte = magazine.head->pub.data[0];
    assert(byte == 7 || byte == 8);
    use(magazine.head, 9);
    held[1] = magazine.head;
}

static void *thief(void *unused)
{
    (void)unused;
    tls_self = &thief_thread;
    struct stolen stolen;
    struct patience patience = {0};
    switch (SCENE) {
    case 4:
    case 13:
        store_relaxed(&pool.pressure.state, PRESSURE_ENTERING);
        stolen = steal_caches(&pool, STEAL_ALL, NULL);
        if (!stolen.complete)
            return NULL;
        shards_drain(&pool.depot, &pool.heap.table, true);
        depot_begin_pressure(&pool.depot);
        assert(!depot_exhausted(&pool.depot, &pool.max_live));
        assert(load_relaxed(&pool.depot.head) != 0);
        assert(shards_hold_nothing(&pool.depot) && load_relaxed(&shards.used) == 0);
        break;
    case 5:
        stolen = steal_caches(&pool, STEAL_RESERVED, NULL);
        assert(stolen.buffers == 0);
        break;
    case 6:
        assert(cache_flush_inside(&pool, c) == 1);
        cache_open(&pool, c);
        return NULL;
    case 7:
        (void)steal_caches(&pool, STEAL_UNUSED, NULL);
        break;
    case 9:
        (void)steal_caches(&pool, STEAL_ALL, NULL);
        (void)steal_caches(&pool, STEAL_ALL, NULL);
        break;
    case 10:
        if (steal_caches(&pool, STEAL_ALL, NULL).complete)
            return NULL;
        rest = true;
        stolen = steal_caches(&pool, STEAL_REST, NULL);
        assert(stolen.buffers <= 1);
        assert(cache_is_open(c) == stolen.complete);
        break;
    case 11:
    case 12:
        pthread_mutex_lock(&pool.caches_lock);
        stolen = steal_caches(&pool, STEAL_ALL, &patience);
        assert(stolen.buffers <= 1);
        assert(cache_is_open(c) == stolen.complete);
        assert(stolen.complete || patience.until_ns > PATIENCE_LOOKS);
        pthread_mutex_unlock(&pool.caches_lock);
        break;
    default:
        stolen = steal_caches(&pool, STEAL_ALL, NULL);
        assert(stolen.buffers <= 1);
        assert(cache_is_open(c) == stolen.complete); /* what was not reached stays pending */
        assert((c->pending == PENDING_NOTHING) == stolen.complete);
        if (SCENE == 8)
            return NULL;
    }
    pop_one();
    return NULL;
}

static void *third(void *unused)
{
    (void)unused;
    if (SCENE == 8) {
        pop_one();
        return NULL;
    }
    tls_self = &other_thread;
    pthread_mutex_lock(&pool.caches_lock);
    const struct stolen stolen = steal_caches(&pool, STEAL_ALL, NULL);
    assert(cache_is_open(c) == stolen.complete);
    pthread_mutex_unlock(&pool.caches_lock);
    return NULL;
}

int main(void)
{
    const bool two = SCENE == 4 || SCENE == 13;
    steal_init(&pool);
    pool_init(two ? 2 : 1);
    store_relaxed(&thief_thread.table[0], &room_b.cache);
    store_relaxed(&other_thread.table[0], &other_thread.none);
    use(&scene_descs[0], 7);
    use(&scene_descs[1], 7);
    if (SCENE == 5) {
        pool.max_idle_bytes = 2;
        cache_give_reserved_back(&pool, c);
    }
    if (SCENE == 2 || SCENE == 5) {
        held[0] = &scene_descs[0];
        scene_descs[0].pub.len = 7;
    } else {
        put(c, &scene_descs[0]);
        held[0] = two ? &scene_descs[1] : NULL;
    }
    if (SCENE == 6)
        cache_close(c);
    if (SCENE == 13) {
        store_relaxed(&pool.depot.shards, &shards);
        c->limit = 1;
    }
    if (SCENE == 7) { /* as cache_unused does, but field by field, for GenMC */
        const struct cache_counts now = cache_read(c);
        c->seen.gets = now.gets;
        c->seen.moved = now.moved;
        c->seen.n = now.n;
    }
    run(owner, thief, SCENE == 8 || SCENE == 12 ? third : NULL);
    caches_add_up((uint32_t)(held[0] != NULL) + (held[1] != NULL));
    assert(held[0] == NULL || held[0] != held[1]);
    return 0;
}
