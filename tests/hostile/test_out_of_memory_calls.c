/* SPDX-License-Identifier: MIT
 *
 * test_out_of_memory_calls.c - every request for memory that one call makes fails, by itself and in pairs
 *
 * The test takes each public function that does more than read, each kind of pool, a thread that the library knows, and
 * a thread that is new to it. The k-th request of the call fails, for every k until none fails. For every k, all
 * requests from the k-th on fail as well, and the k-th and the l-th, for every l until the call does not reach the
 * l-th. support/failures.h says which requests these are; in a pool with hooks the hooks are among them. Afterwards the
 * call has done everything or, with ENOMEM and only then, nothing. Held buffers have their bytes, all accounts agree
 * with the descriptors, the same call succeeds when there is memory, and the end of the pool leaves no block and no
 * mapping behind.
 */
#include "support/failures.h"

#include "support/accounts.h"

#include "registry.h"

#include <sched.h>
#include <time.h>

enum { HELD = 32, MARKED = 30, SENTINEL = 4242, BULK = 8, WAITERS = 2, FIRST = 6, CAP = 4 };

/* ---- kinds of pools ---- */

enum {
    GROWN = 1 << 0,  /* two of the buffers that are held have grown */
    HOOKS = 1 << 1,  /* blocks from hooks */
    CAPPED = 1 << 2, /* callers have all that the cap allows */
    WAITED = 1 << 3, /* and two threads wait for more */
    FAR = 1 << 4,    /* the pool is beyond those that have a place in every thread's table */
    LIMITED = 1 << 5 /* little may idle */
};

struct kind {
    const char *name;
    size_t capacity;
    unsigned flags, traits;
    size_t alignment;
};

static const struct kind kinds[] = {
    {"plain", 1000, 0, 0, 0},
    {"grown", 1000, 0, GROWN, 0},
    {"zero", 20 * 1024, BUFFERPOOL_ZERO, GROWN, 0},
    {"huge pages", 70 * 1024, BUFFERPOOL_HUGEPAGES, GROWN, 0},
    {"mapped, huge pages", 2 << 20, BUFFERPOOL_HUGEPAGES, GROWN, 0},
    {"mapped", 2 << 20, 0, GROWN, 4096},
    {"hooks", 500, 0, HOOKS | GROWN, 0},
    {"background", 1000, BUFFERPOOL_BACKGROUND, 0, 0},
    {"memory pressure", 1000, BUFFERPOOL_PRESSURE, 0, 0},
    {"limited", 1000, 0, GROWN | LIMITED, 0},
    {"capped", 1000, 0, CAPPED | GROWN, 0},
    {"capped, hooks", 1000, 0, CAPPED | GROWN | HOOKS, 0},
    {"capped, mapped", 2 << 20, 0, CAPPED, 0},
    {"waited for", 1000, 0, CAPPED | WAITED, 0},
    {"waited for, hooks", 1000, 0, CAPPED | WAITED | HOOKS, 0},
    {"waited for, mapped", 2 << 20, 0, CAPPED | WAITED, 0},
    {"far", 1000, 0, FAR, 0},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* ---- a scene: a pool, and what callers hold of it ---- */

struct waiting {
    bufferpool_t *pool;
    pthread_t thread;
    bufferpool_buf_t *buf;
    int error;
    atomic_bool back, leave;
    bool joined;
};

struct scene {
    const struct kind *kind;
    bufferpool_t *pool;
    test_blocks_t blocks;
    bufferpool_buf_t *bufs[HELD];
    size_t n;
    struct waiting waiters[WAITERS];
    bool waiting;
    size_t failed; /* of the call: how many requests */
};

/* The block hook fails as planned, too. */
static void *failing_alloc(size_t size, size_t align, void *ctx)
{
    if (!fails_now())
        return test_blocks_alloc(size, align, ctx);
    errno = 0; /* which is not its business */
    return NULL;
}

static bool has(const struct scene *scene, unsigned trait)
{
    return (scene->kind->traits & trait) != 0;
}

static bufferpool_t *make_pool(struct scene *scene)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    if (has(scene, HOOKS))
        config = config_with(&scene->blocks);
    if (has(scene, HOOKS))
        config.alloc = failing_alloc;
    config.name = "scarce";
    config.buffer_capacity = scene->kind->capacity;
    config.max_capacity = 16 * scene->kind->capacity;
    config.thread_cache_bytes = 3 * scene->kind->capacity;
    config.flags = scene->kind->flags;
    config.max_idle_bytes = has(scene, LIMITED) ? 3000 : 0;
    config.alignment = scene->kind->alignment;
    config.max_live = has(scene, CAPPED) ? CAP : 0;
    return bufferpool_create(&config);
}

static void mark(struct scene *scene, bufferpool_buf_t *buf)
{
    scene->bufs[scene->n++] = buf;
    test_fill(buf->data, MARKED, (uintptr_t)buf);
    buf->len = MARKED;
}

static bool all_marked(const struct scene *scene)
{
    bool ok = true;
    for (size_t i = 0; i < scene->n; i++)
        ok = ok && test_filled(scene->bufs[i]->data, MARKED, (uintptr_t)scene->bufs[i]);
    return ok;
}

/* Each descriptor is in use or on the list of free ones, and says of its block whether it has grown. */
static bool descriptors_in_order(bufferpool_t *pool)
{
    size_t free = 0;
    bool ok = true;
    pthread_mutex_lock(&pool->heap.slabs.lock);
    const size_t listed = pool->heap.table.free;
    for (uint32_t i = load_relaxed(&pool->heap.table.used); i > 0; i--) {
        const struct desc *d = desc_at(&pool->heap.table, i);
        const enum desc_state s = desc_state(load_relaxed(&d->word));
        free += d->pub.data == NULL;
        ok = ok && ((s != STATE_LIVE && s != STATE_IDLE) || d->pub.cap == pool->heap.base);
        ok = ok && ((s != STATE_LIVE_GROWN && s != STATE_IDLE_GROWN) || d->pub.cap > pool->heap.base);
    }
    pthread_mutex_unlock(&pool->heap.slabs.lock);
    return ok && listed == free;
}

/* The laws say what a user can see; the accounts what each descriptor says. */
static bool in_order(const struct scene *scene)
{
    const test_blocks_t *blocks = has(scene, HOOKS) ? &scene->blocks : NULL;
    return laws_hold(scene->pool, blocks, scene->n) && accounts_agree(scene->pool) &&
           descriptors_in_order(scene->pool) && all_marked(scene);
}

static void *waiter_main(void *arg)
{
    struct waiting *w = arg;
    w->buf = bufferpool_get_timed(w->pool, BUFFERPOOL_NEVER);
    w->error = errno;
    atomic_store(&w->back, true);
    while (!atomic_load(&w->leave)) /* the end of a thread serves others too */
        sched_yield();
    return NULL;
}

static const void *last_in_queue(bufferpool_t *pool)
{
    pthread_mutex_lock(&pool->waiters.lock);
    const void *last = pool->waiters.last;
    pthread_mutex_unlock(&pool->waiters.lock);
    return last;
}

static void begin_waiting(struct scene *scene)
{
    for (size_t i = 0; i < WAITERS; i++) {
        struct waiting *w = &scene->waiters[i];
        *w = (struct waiting){.pool = scene->pool};
        const void *before = last_in_queue(scene->pool);
        thread_check(__real_pthread_create(&w->thread, NULL, waiter_main, w) == 0);
        while (last_in_queue(scene->pool) == before)
            sched_yield();
    }
    scene->waiting = true;
}

static void scene_begin(struct scene *scene, const struct kind *kind)
{
    memset(scene, 0, sizeof *scene);
    scene->kind = kind;
    scene->pool = make_pool(scene);
    const size_t n = has(scene, CAPPED) ? CAP : FIRST;
    for (size_t i = 0; i < n; i++)
        mark(scene, bufferpool_get(scene->pool));
    for (size_t i = 0; has(scene, GROWN) && i < 2; i++)
        thread_check(bufferpool_buf_reserve(scene->bufs[i], (2 + 3 * i) * kind->capacity) == 0);
    thread_check(in_order(scene));
    if (has(scene, WAITED))
        begin_waiting(scene);
}

static void put_last(struct scene *scene)
{
    scene->n--; /* before, so that a marked buffer is never one that is put */
    bufferpool_put(scene->bufs[scene->n]);
}

/* Of one who waits no more: the buffer, which is ours then, or ENOMEM. */
static void collect(struct scene *scene, struct waiting *w)
{
    atomic_store(&w->leave, true);
    thread_check(pthread_join(w->thread, NULL) == 0);
    w->joined = true;
    thread_check(w->buf != NULL || (w->error == ENOMEM && scene->failed > 0));
    if (w->buf != NULL)
        mark(scene, w->buf);
}

static void collect_those_back(struct scene *scene)
{
    for (size_t i = 0; i < WAITERS; i++)
        if (atomic_load(&scene->waiters[i].back))
            collect(scene, &scene->waiters[i]);
}

/* Whoever still waits is served by the puts. */
static void end_waiting(struct scene *scene)
{
    for (size_t i = 0; i < WAITERS; i++) {
        struct waiting *w = &scene->waiters[i];
        if (w->joined)
            continue;
        while (!atomic_load(&w->back) && scene->n > 0)
            put_last(scene);
        collect(scene, w);
    }
    scene->waiting = false;
}

/* Now there is memory, and all must go well. */
static void use_without_failure(struct scene *scene)
{
    bufferpool_buf_t *bufs[BULK];
    bufferpool_set_max_live(scene->pool, 0);
    bufferpool_buf_t *buf = bufferpool_try_get(scene->pool);
    if (!thread_check(buf != NULL))
        return;
    mark(scene, buf);
    thread_check(bufferpool_buf_reserve(buf, 3 * scene->kind->capacity) == 0);
    thread_check(bufferpool_get_bulk(scene->pool, bufs, BULK) == 0);
    for (size_t i = 0; i < BULK; i++)
        mark(scene, bufs[i]);
    thread_check(in_order(scene));
}

static void scene_end(struct scene *scene)
{
    if (scene->waiting)
        end_waiting(scene);
    use_without_failure(scene);
    while (scene->n > 0)
        put_last(scene);
    thread_check(in_order(scene) && bufferpool_live(scene->pool) == 0);
    bufferpool_trim(scene->pool);
    bufferpool_thread_flush();
    thread_check(bufferpool_destroy(scene->pool) == 0);
    thread_check(atomic_load(&scene->blocks.count) == 0);
}

/* ---- the calls ---- */

enum outcome { DONE, NOMEM };

/* What fails with ENOMEM for no other reason, and otherwise leaves errno alone. */
static enum outcome of_pointer(struct scene *scene, bufferpool_buf_t *buf)
{
    thread_check(errno == (buf != NULL ? SENTINEL : ENOMEM));
    if (buf == NULL)
        return NOMEM;
    thread_check(buf->len == 0 && buf->cap >= scene->kind->capacity);
    mark(scene, buf);
    return DONE;
}

static enum outcome of_error(int error)
{
    thread_check(error == 0 || error == ENOMEM);
    return error == 0 ? DONE : NOMEM;
}

static enum outcome of_nothing(void)
{
    thread_check(errno == SENTINEL);
    return DONE;
}

static enum outcome call_get(struct scene *scene)
{
    return of_pointer(scene, bufferpool_get(scene->pool));
}

static enum outcome at_cap(const struct scene *scene, const bufferpool_buf_t *buf, int refusal)
{
    thread_check(buf == NULL && (errno == refusal || errno == ENOMEM));
    thread_check(stats_of(scene->pool).live == CAP);
    return errno == refusal ? DONE : NOMEM;
}

static enum outcome call_try_get(struct scene *scene)
{
    bufferpool_buf_t *buf = bufferpool_try_get(scene->pool);
    return has(scene, CAPPED) ? at_cap(scene, buf, EAGAIN) : of_pointer(scene, buf);
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* The time is not over before it is over, whatever fails. */
static enum outcome call_get_timed(struct scene *scene)
{
    enum { TIMEOUT_MS = 3 };
    const uint64_t begun = now_us();
    bufferpool_buf_t *buf = bufferpool_get_timed(scene->pool, TIMEOUT_MS);
    if (!has(scene, CAPPED))
        return of_pointer(scene, buf);
    thread_check(errno != ETIMEDOUT || now_us() - begun >= TIMEOUT_MS * 1000);
    return at_cap(scene, buf, ETIMEDOUT);
}

static enum outcome call_get_bulk(struct scene *scene)
{
    bufferpool_buf_t *bufs[BULK];
    const bufferpool_stats_t before = stats_of(scene->pool);
    const enum outcome outcome = of_error(bufferpool_get_bulk(scene->pool, bufs, BULK));
    for (size_t i = 0; outcome == DONE && i < BULK; i++)
        mark(scene, bufs[i]);
    if (outcome == NOMEM) { /* as if it had never been */
        const bufferpool_stats_t after = stats_of(scene->pool);
        thread_check(sum_of_gets(&after) == sum_of_gets(&before) && sum_of_puts(&after) == sum_of_puts(&before));
    }
    return outcome;
}

static enum outcome call_put(struct scene *scene)
{
    put_last(scene);
    return of_nothing();
}

static enum outcome call_put_data(struct scene *scene)
{
    bufferpool_put_data(scene->bufs[--scene->n]->data);
    return of_nothing();
}

static enum outcome call_put_bulk(struct scene *scene)
{
    const size_t n = scene->n;
    scene->n = 0;
    bufferpool_put_bulk(scene->bufs, n);
    return of_nothing();
}

static void grow_last(struct scene *scene, size_t times)
{
    thread_check(bufferpool_buf_reserve(scene->bufs[scene->n - 1], times * scene->kind->capacity) == 0);
}

static void prepare_grown(struct scene *scene)
{
    grow_last(scene, 5);
}

static void prepare_oversize(struct scene *scene)
{
    grow_last(scene, 17);
}

static void prepare_bypass(struct scene *scene)
{
    bufferpool_set_max_live(scene->pool, scene->n);
    mark(scene, bufferpool_get(scene->pool));
    thread_check(stats_of(scene->pool).bypass_live == 1);
}

/* The next put of the last buffer is the fifth of little use. */
static void prepare_strikes(struct scene *scene)
{
    grow_last(scene, 6);
    for (int i = 0; i < 5; i++) {
        bufferpool_buf_t *buf = scene->bufs[scene->n - 1];
        put_last(scene);
        mark(scene, bufferpool_get(scene->pool));
        thread_check(scene->bufs[scene->n - 1] == buf);
    }
}

static void prepare_idle(struct scene *scene)
{
    for (int i = 0; i < 4; i++)
        put_last(scene);
}

/* If there is no memory for the smaller block, the buffer is as it was, and the next put tries again. */
static enum outcome call_put_shrinks(struct scene *scene)
{
    const uint64_t shrinks = stats_of(scene->pool).shrinks;
    const bufferpool_buf_t *buf = scene->bufs[scene->n - 1];
    const size_t cap = buf->cap;
    put_last(scene);
    const enum outcome outcome = of_nothing();
    thread_check(stats_of(scene->pool).shrinks - shrinks == (buf->cap < cap ? 1 : 0)); /* it idles: we may look */
    return buf->cap < cap ? outcome : NOMEM;
}

static enum outcome grown(const bufferpool_buf_t *was, const bufferpool_buf_t *buf, size_t least, int error)
{
    thread_check(error == 0 || (buf->data == was->data && buf->len == was->len && buf->cap == was->cap));
    thread_check(error != 0 || buf->cap >= least);
    return of_error(error);
}

static enum outcome reserve(struct scene *scene, size_t times)
{
    bufferpool_buf_t *buf = scene->bufs[0];
    const bufferpool_buf_t was = *buf;
    const size_t want = times * buf->cap;
    const uint64_t grows = stats_of(scene->pool).grows;
    const enum outcome outcome = grown(&was, buf, want, bufferpool_buf_reserve(buf, want));
    thread_check(stats_of(scene->pool).grows == grows + (outcome == DONE ? 1 : 0));
    return outcome;
}

static enum outcome call_reserve(struct scene *scene)
{
    return reserve(scene, 2);
}

static enum outcome call_reserve_much(struct scene *scene)
{
    return reserve(scene, scene->kind->capacity > 1 << 20 ? 3 : 300);
}

static void prepare_shrink(struct scene *scene)
{
    const size_t times = scene->kind->capacity > 1 << 20 ? 3 : 300;
    thread_check(bufferpool_buf_reserve(scene->bufs[0], times * scene->kind->capacity) == 0);
}

static enum outcome call_shrink(struct scene *scene)
{
    bufferpool_buf_t *buf = scene->bufs[0];
    const bufferpool_buf_t was = *buf;
    const uint64_t shrinks = stats_of(scene->pool).shrinks;
    buf->data[was.cap - 1] = 5;
    const int error = bufferpool_buf_shrink(buf, 0);
    thread_check(stats_of(scene->pool).shrinks == shrinks + (error == 0 ? 1 : 0));
    thread_check(buf->len == was.len);
    if (error == 0)
        thread_check(buf->cap < was.cap && buf->cap >= scene->kind->capacity);
    else
        thread_check(buf->data == was.data && buf->cap == was.cap && buf->data[was.cap - 1] == 5);
    return of_error(error);
}

static enum outcome call_append(struct scene *scene)
{
    bufferpool_buf_t *buf = scene->bufs[0];
    const bufferpool_buf_t was = *buf;
    const unsigned char byte = 7;
    buf->len = buf->cap;
    buf->data[buf->cap - 1] = 5;
    const int error = bufferpool_buf_append(buf, &byte, 1);
    thread_check(error != 0 || (buf->len == was.cap + 1 && buf->data[was.cap - 1] == 5 && buf->data[was.cap] == 7));
    thread_check(error == 0 || (buf->len == was.cap && buf->data[was.cap - 1] == 5));
    buf->len = was.len;
    return grown(&was, buf, was.cap + 1, error);
}

static enum outcome call_append_own(struct scene *scene)
{
    bufferpool_buf_t *buf = scene->bufs[0];
    const bufferpool_buf_t was = *buf;
    buf->len = buf->cap;
    const int error = bufferpool_buf_append(buf, buf->data, MARKED);
    thread_check(error != 0 || test_filled(buf->data + was.cap, MARKED, (uintptr_t)buf));
    buf->len = was.len;
    return grown(&was, buf, was.cap + MARKED, error);
}

static int print_with(bufferpool_buf_t *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int print_with(bufferpool_buf_t *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int error = bufferpool_buf_vprintf(buf, format, args);
    va_end(args);
    return error;
}

/* A text of as many bytes as the buffer has, which takes one more. */
static enum outcome print(struct scene *scene, int (*fn)(bufferpool_buf_t *, const char *, ...))
{
    bufferpool_buf_t *buf = scene->bufs[0];
    const bufferpool_buf_t was = *buf;
    const int error = fn(buf, "%*d", (int)(was.cap - MARKED), 42);
    thread_check(errno == SENTINEL);
    thread_check(error != 0 || (buf->len == was.cap && memcmp(buf->data + was.cap - 2, "42", 3) == 0));
    if (error == 0)
        buf->len = was.len;
    return grown(&was, buf, was.cap + 1, error);
}

static enum outcome call_printf(struct scene *scene)
{
    return print(scene, bufferpool_buf_printf);
}

static enum outcome call_vprintf(struct scene *scene)
{
    return print(scene, print_with);
}

static enum outcome call_from_data(struct scene *scene)
{
    thread_check(bufferpool_buf_from_data(scene->bufs[0]->data) == scene->bufs[0]);
    return of_nothing();
}

static enum outcome call_lower_cap(struct scene *scene)
{
    bufferpool_set_max_live(scene->pool, 1);
    const bufferpool_stats_t stats = stats_of(scene->pool);
    thread_check(bufferpool_max_live(scene->pool) == 1 && (idle_of(&stats) == 0 || stats.live == 0));
    return of_nothing();
}

static enum outcome call_reclaim(struct scene *scene)
{
    bufferpool_reclaim(scene->pool);
    return of_nothing();
}

static enum outcome call_trim(struct scene *scene)
{
    const uint64_t idle = stats_of(scene->pool).idle_bytes;
    thread_check(bufferpool_trim(scene->pool) == idle && stats_of(scene->pool).idle_bytes == 0);
    return of_nothing();
}

static enum outcome call_thread_flush(struct scene *scene)
{
    (void)scene;
    bufferpool_thread_flush();
    return of_nothing();
}

static enum outcome call_look(struct scene *scene)
{
    thread_check(bufferpool_live(scene->pool) == stats_of(scene->pool).live);
    thread_check(bufferpool_version() != NULL);
    return of_nothing();
}

static enum outcome call_destroy_busy(struct scene *scene)
{
    thread_check(bufferpool_destroy(scene->pool) == EBUSY);
    return DONE;
}

/* With whatever the scene has given back; and it has a new pool then. */
static enum outcome call_destroy(struct scene *scene)
{
    thread_check(bufferpool_destroy(scene->pool) == 0);
    const enum outcome outcome = of_nothing();
    thread_check(atomic_load(&scene->blocks.count) == 0);
    (void)failures_end();
    scene->pool = make_pool(scene);
    return outcome;
}

static void prepare_destroy(struct scene *scene)
{
    while (scene->n > 0)
        put_last(scene);
}

/* Nobody has called anything on the pool yet. */
static void prepare_unused(struct scene *scene)
{
    prepare_destroy(scene);
    thread_check(bufferpool_destroy(scene->pool) == 0);
    scene->pool = make_pool(scene);
}

static enum outcome call_create(struct scene *scene)
{
    bufferpool_t *pool = make_pool(scene);
    thread_check(errno == (pool != NULL ? SENTINEL : ENOMEM));
    if (pool == NULL)
        return NOMEM;
    thread_check(bufferpool_destroy(pool) == 0);
    return DONE;
}

/* The thread of the library begins within the call, unless it is there for the scene's pool. */
static enum outcome call_create_now(struct scene *scene)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "now";
    config.flags = BUFFERPOOL_BACKGROUND | BUFFERPOOL_PRESSURE | BUFFERPOOL_START_NOW;
    bufferpool_t *pool = bufferpool_create(&config);
    (void)scene;
    thread_check(pool != NULL ? errno == SENTINEL : errno == ENOMEM || errno == EAGAIN);
    if (pool == NULL)
        return NOMEM;
    thread_check(bufferpool_destroy(pool) == 0);
    return DONE;
}

/* Until one has come back with a buffer, or both: room for one there was. */
static enum outcome one_is_served(struct scene *scene)
{
    size_t back = 0, served = 0;
    while (back < WAITERS && served == 0) {
        back = served = 0;
        for (size_t i = 0; i < WAITERS; i++) {
            if (!atomic_load(&scene->waiters[i].back))
                continue;
            back++;
            served += scene->waiters[i].buf != NULL;
        }
        sched_yield();
    }
    return of_nothing();
}

static enum outcome call_put_makes_room(struct scene *scene)
{
    put_last(scene); /* is freed for its size */
    return one_is_served(scene);
}

static enum outcome call_raise_cap(struct scene *scene)
{
    bufferpool_set_max_live(scene->pool, CAP + WAITERS);
    const enum outcome outcome = one_is_served(scene);
    for (size_t i = 0; i < WAITERS; i++)
        while (!atomic_load(&scene->waiters[i].back))
            sched_yield();
    return outcome;
}

#define ANY 0u

struct call {
    const char *function;
    enum outcome (*call)(struct scene *scene);
    void (*prepare)(struct scene *scene);
    unsigned needs, not_with; /* traits of the kind */
    bool once;                /* a second time it would be another call */
    bool asks_for_nothing;    /* it makes no request at all */
};

static const struct call calls[] = {
    {"bufferpool_create", call_create, NULL, ANY, WAITED, false, false},
    {"bufferpool_create", call_create_now, NULL, ANY, WAITED, false, false},
    {"bufferpool_destroy", call_destroy, prepare_destroy, ANY, WAITED, true, true},
    {"bufferpool_destroy", call_destroy_busy, NULL, ANY, WAITED, false, true},
    {"bufferpool_get", call_get, NULL, ANY, WAITED, false, false},
    {"bufferpool_get", call_get, prepare_idle, ANY, WAITED, false, false},
    {"bufferpool_get", call_get, prepare_bypass, ANY, CAPPED, false, false},
    {"bufferpool_get", call_get, prepare_unused, ANY, WAITED, false, false},
    {"bufferpool_try_get", call_try_get, NULL, ANY, WAITED, false, false},
    {"bufferpool_try_get", call_try_get, prepare_unused, ANY, CAPPED, false, false},
    {"bufferpool_get_timed", call_get_timed, NULL, ANY, WAITED, false, false},
    {"bufferpool_get_timed", call_get_timed, prepare_unused, ANY, CAPPED, false, false},
    {"bufferpool_get_timed", call_put_makes_room, prepare_oversize, WAITED, 0, true, false},
    {"bufferpool_get_timed", call_raise_cap, NULL, WAITED, 0, true, false},
    {"bufferpool_get_bulk", call_get_bulk, NULL, ANY, WAITED, false, false},
    {"bufferpool_get_bulk", call_get_bulk, prepare_idle, ANY, WAITED, false, false},
    {"bufferpool_get_bulk", call_get_bulk, prepare_unused, ANY, WAITED, false, false},
    {"bufferpool_put", call_put, NULL, ANY, WAITED, true, false},
    {"bufferpool_put", call_put, prepare_grown, ANY, WAITED, true, false},
    {"bufferpool_put", call_put, prepare_oversize, ANY, WAITED, true, false},
    {"bufferpool_put", call_put, prepare_bypass, ANY, CAPPED, true, false},
    {"bufferpool_put", call_put_shrinks, prepare_strikes, ANY, WAITED | LIMITED, true, false},
    {"bufferpool_put_data", call_put_data, NULL, ANY, WAITED, true, false},
    {"bufferpool_put_bulk", call_put_bulk, NULL, ANY, WAITED, true, false},
    {"bufferpool_put_bulk", call_put_bulk, prepare_oversize, ANY, WAITED, true, false},
    {"bufferpool_buf_reserve", call_reserve, NULL, ANY, WAITED, false, false},
    {"bufferpool_buf_reserve", call_reserve_much, NULL, ANY, WAITED, false, false},
    {"bufferpool_buf_shrink", call_shrink, prepare_shrink, ANY, WAITED | LIMITED, false, false},
    {"bufferpool_buf_append", call_append, NULL, ANY, WAITED, false, false},
    {"bufferpool_buf_append", call_append_own, NULL, ANY, WAITED, false, false},
    {"bufferpool_buf_printf", call_printf, NULL, ANY, WAITED, false, false},
    {"bufferpool_buf_vprintf", call_vprintf, NULL, ANY, WAITED, false, false},
    {"bufferpool_buf_from_data", call_from_data, NULL, ANY, WAITED, false, true},
    {"bufferpool_set_max_live", call_lower_cap, prepare_idle, ANY, WAITED, false, false},
    {"bufferpool_set_max_live", call_raise_cap, NULL, WAITED, 0, true, false},
    {"bufferpool_reclaim", call_reclaim, prepare_idle, ANY, WAITED, false, true},
    {"bufferpool_trim", call_trim, prepare_idle, ANY, WAITED, true, true},
    {"bufferpool_thread_flush", call_thread_flush, prepare_idle, ANY, WAITED, false, true},
    {"bufferpool_live, _stats, _version", call_look, NULL, ANY, WAITED, false, true},
};
enum { CALLS = sizeof calls / sizeof calls[0] };

/* ---- one attempt ---- */

struct attempt {
    const struct call *call;
    struct scene scene;
    enum outcome outcome;
};

static void *make_call(void *arg)
{
    struct attempt *attempt = arg;
    failures_begin();
    errno = SENTINEL;
    attempt->outcome = attempt->call->call(&attempt->scene);
    attempt->scene.failed = failures_end();
    return NULL;
}

static void make_call_in(struct attempt *attempt, bool new_thread)
{
    pthread_t thread;
    if (!new_thread)
        make_call(attempt);
    else
        thread_check(__real_pthread_create(&thread, NULL, make_call, attempt) == 0 && pthread_join(thread, NULL) == 0);
}

/* Returns how many requests failed. */
static size_t try_with(const struct call *call, const struct kind *kind, bool new_thread, size_t first, size_t second)
{
    static struct attempt attempt;
    struct scene *scene = &attempt.scene;
    const size_t blocks = atomic_load(&failures_blocks), mapped = atomic_load(&failures_mapped);
    attempt = (struct attempt){.call = call};
    scene_begin(scene, kind);
    if (call->prepare != NULL)
        call->prepare(scene);

    failures_plan(first, second);
    make_call_in(&attempt, new_thread);
    const size_t failed = scene->failed;
    thread_check(attempt.outcome == DONE || failed > 0);
    if (scene->waiting)
        collect_those_back(scene);
    thread_check(in_order(scene));
    thread_check(stats_of(scene->pool).thread_caches <= 1 + (scene->waiting ? WAITERS : 0u));

    if (attempt.outcome == NOMEM && !call->once) {
        failures_plan(0, 0);
        make_call_in(&attempt, new_thread);
        thread_check(attempt.outcome == DONE && in_order(scene));
    }
    scene_end(scene);
    registry_end(); /* of pools that were destroyed something is kept for a while */
    thread_check(atomic_load(&failures_blocks) == blocks);
    thread_check(atomic_load(&failures_mapped) == mapped);
    if (test_recorded_failure())
        print_error("%s, %s, %s thread, failing: %zu and %zu\n", call->function, kind->name,
                    new_thread ? "new" : "known", first, second);
    return failed;
}

/* ---- all ---- */

struct tally {
    size_t points, pairs;
};

static struct tally try_all(const struct call *call, const struct kind *kind, bool new_thread)
{
    const size_t reach = test_scale(64, 2); /* from one failure to the other */
    struct tally tally = {0, 0};
    for (size_t k = 1; !test_recorded_failure(); k++) {
        if (try_with(call, kind, new_thread, k, 0) == 0)
            break;
        tally.points++;
        (void)try_with(call, kind, new_thread, k, FAIL_FOR_GOOD);
        for (size_t l = k + 1; l <= k + reach && !test_recorded_failure(); l++) {
            if (try_with(call, kind, new_thread, k, l) < 2)
                break;
            tally.pairs++;
        }
    }
    return tally;
}

static void nothing(void *arg, unsigned index)
{
    (void)arg;
    (void)index;
}

static void every_call(const struct kind *kind, struct tally tallies[CALLS])
{
    static struct scene scene;
    scene_begin(&scene, kind); /* what stays for good is there then */
    scene_end(&scene);
    registry_end();
    for (size_t i = 0; i < CALLS; i++) {
        if ((kind->traits & calls[i].needs) != calls[i].needs || (kind->traits & calls[i].not_with) != 0)
            continue;
        for (int new_thread = 0; new_thread < 2; new_thread++) {
            const struct tally tally = try_all(&calls[i], kind, new_thread);
            tallies[i].points += tally.points;
            tallies[i].pairs += tally.pairs;
            run_threads(1, nothing, NULL); /* ends the test if there is a failure on record */
        }
    }
}

/* All that is before the places of every thread's table are for: tests/inside/test_tls_index.c. */
static void with_all_places_taken(const struct kind *kind, struct tally tallies[CALLS])
{
    static bufferpool_t *pools[TLS_INDEXES];
    for (size_t i = 0; i < TLS_INDEXES; i++)
        assert_non_null(pools[i] = bufferpool_create(NULL));
    every_call(kind, tallies);
    for (size_t i = 0; i < TLS_INDEXES; i++)
        assert_int_equal(bufferpool_destroy(pools[i]), 0);
}

static void print_tallies(const struct tally tallies[CALLS])
{
    struct tally sum = {0, 0};
    for (size_t i = 0; i < CALLS; i++) {
        sum.points += tallies[i].points;
        sum.pairs += tallies[i].pairs;
        if (i + 1 < CALLS && strcmp(calls[i].function, calls[i + 1].function) == 0)
            continue;
        print_message("%-32s requests failed: %zu, pairs: %zu\n", calls[i].function, sum.points, sum.pairs);
        assert_int_equal(sum.points == 0, calls[i].asks_for_nothing); /* the wrappers are in the way indeed */
        sum = (struct tally){0, 0};
    }
}

static void each_request_of_each_call_may_fail(void **state)
{
    (void)state;
    static struct tally tallies[CALLS];
    for (size_t i = 0; i < KINDS; i++) {
        if ((kinds[i].traits & FAR) != 0)
            with_all_places_taken(&kinds[i], tallies);
        else
            every_call(&kinds[i], tallies);
    }
    print_tallies(tallies);
}

/* ---- the very first call of a process ---- */

static enum outcome first_set_max_live(struct scene *scene)
{
    bufferpool_set_max_live(scene->pool, 100);
    return of_nothing();
}

/* With a name, and a thread that starts in the call. A call that fails leaves neither. */
static enum outcome call_configure_default(struct scene *scene)
{
    (void)scene;
    const int error = bufferpool_configure_default(
        BUFFERPOOL_CONFIG(.name = "mine", .flags = BUFFERPOOL_BACKGROUND | BUFFERPOOL_START_NOW));
    thread_check(error == 0 || error == ENOMEM || error == EAGAIN);
    thread_check(strcmp(pool_default.name, error == 0 ? "mine" : "default") == 0);
    thread_check(pool_default.background.wanted == (error == 0));
    return error == 0 ? DONE : NOMEM;
}

static const struct call first_calls[] = {
    {"bufferpool_configure_default", call_configure_default, NULL, ANY, 0, false, false},
    {"bufferpool_create", call_create, NULL, ANY, 0, false, false},
    {"bufferpool_create", call_create_now, NULL, ANY, 0, false, false},
    {"bufferpool_get", call_get, NULL, ANY, 0, false, false},
    {"bufferpool_try_get", call_try_get, NULL, ANY, 0, false, false},
    {"bufferpool_get_timed", call_get_timed, NULL, ANY, 0, false, false},
    {"bufferpool_get_bulk", call_get_bulk, NULL, ANY, 0, false, false},
    {"bufferpool_set_max_live", first_set_max_live, NULL, ANY, 0, false, true},
    {"bufferpool_reclaim", call_reclaim, NULL, ANY, 0, false, true},
    {"bufferpool_trim", call_trim, NULL, ANY, 0, false, true},
    {"bufferpool_thread_flush", call_thread_flush, NULL, ANY, 0, false, true},
    {"bufferpool_live, _stats, _version", call_look, NULL, ANY, 0, false, true},
};

enum { FIRST_CALLS = sizeof first_calls / sizeof first_calls[0], FIRST_KINDS = 3 };

/* The default pool, which nobody made; and one for which a thread of the library is to begin. */
static const struct kind first_kinds[FIRST_KINDS] = {
    {"default", 32 * 1024, 0, 0, 0},
    {"background", 1000, BUFFERPOOL_BACKGROUND, 0, 0},
    {"memory pressure", 1000, BUFFERPOOL_PRESSURE, 0, 0},
};

struct first {
    const struct call *call;
    const struct kind *kind;
};

static int first_call(void *arg)
{
    const struct first *first = arg;
    static struct attempt attempt;
    struct scene *scene = &attempt.scene;
    attempt = (struct attempt){.call = first->call, .scene = {.kind = first->kind, .pool = &pool_default}};
    if (first->kind->flags != 0)
        scene->pool = make_pool(scene);
    make_call(&attempt);
    const size_t failed = failures_seen();
    if ((attempt.outcome == NOMEM && failed == 0) || !in_order(scene))
        return 1;
    if (attempt.outcome == DONE && scene->n > 0 && atomic_load(&failures_handlers) != 1)
        return 6; /* whoever has a buffer may fork */
    failures_plan(0, 0);
    if (attempt.outcome == NOMEM)
        make_call(&attempt);
    if (attempt.outcome != DONE || !in_order(scene))
        return 2;
    use_without_failure(scene);
    while (scene->n > 0)
        put_last(scene);
    if (!in_order(scene) || bufferpool_live(scene->pool) != 0)
        return 3;
    if (scene->pool != &pool_default && bufferpool_destroy(scene->pool) != 0)
        return 4;
    atomic_store(failures_fired, failed);
    return test_recorded_failure() ? 5 : 0;
}

static size_t try_first(const struct first *what, size_t first, size_t second)
{
    struct first copy = *what;
    failures_plan(first, second);
    const int status = run_in_child(first_call, &copy, 60);
    if (status != 0)
        fail_msg("%s, %s, failing: %zu and %zu: status %d", what->call->function, what->kind->name, first, second,
                 status);
    return failures_seen();
}

static void try_all_first(const struct first *what, struct tally *tally)
{
    const size_t reach = test_scale(64, 1);
    for (size_t k = 1; try_first(what, k, 0) > 0; k++) {
        tally->points++;
        (void)try_first(what, k, FAIL_FOR_GOOD);
        for (size_t l = k + 1; l <= k + reach && try_first(what, k, l) == 2; l++)
            tally->pairs++;
    }
}

static void each_request_of_the_first_call_may_fail(void **state)
{
    (void)state;
    failures_share();
    for (size_t i = 0; i < FIRST_CALLS; i++) {
        struct tally tally = {0, 0};
        for (size_t k = 0; k < FIRST_KINDS; k++)
            try_all_first(&(struct first){&first_calls[i], &first_kinds[k]}, &tally);
        print_message("first %-32s requests failed: %zu, pairs: %zu\n", first_calls[i].function, tally.points,
                      tally.pairs);
        assert_int_equal(tally.points == 0, first_calls[i].asks_for_nothing);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_of_the_first_call_may_fail), /* before there was one */
        cmocka_unit_test(each_request_of_each_call_may_fail),
    };
    return cmocka_run_group_tests_name("out_of_memory_calls", tests, NULL, NULL);
}
