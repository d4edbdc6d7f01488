/* SPDX-License-Identifier: MIT
 *
 * test_fork_repair.c - each field that the child of fork must repair, one after the other
 *
 * A process forks while another thread is in the middle of something. The test does by hand to one field what that
 * thread would have done, and forks. The child must find every account in order, hand out nothing twice, give all
 * memory back, and wait for nobody.
 *
 * Each case is a process of its own that makes the scene, spoils it and forks.
 */
#include "support/accounts.h"

#include "support/inside.h"

#include "debug/quarantine.h"
#include "fork.h"
#include "heap/slab.h"
#include "tls_cache.h"

#include <dirent.h>
#include <semaphore.h>
#include <signal.h>

enum { CAPACITY = 1024, GROWN = 4096, HELD = 5, IDLE = 12, CACHED = 4, MANY = 64, SECONDS = 60 };

int __wrap_sched_getcpu(void);
int __wrap_sched_getcpu(void) /* or other slabs are taken from */
{
    return 0;
}

static size_t frees;
static bool no_threads;
static pthread_t *beginning; /* the thread that is about to start the background thread */
static sem_t parked;

void __real_free(void *block);
void __wrap_free(void *block);
void __wrap_free(void *block)
{
    frees += block != NULL;
    __real_free(block);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    if (beginning != NULL && pthread_equal(pthread_self(), *beginning)) { /* with the background thread's lock */
        sem_post(&parked);
        for (;;)
            pause();
    }
    return no_threads ? EAGAIN : __real_pthread_create(thread, attributes, run, arg);
}

static bufferpool_t *pool;
static bufferpool_buf_t *held[HELD]; /* plain, plain, grown, plain, made beyond the cap */
static bufferpool_buf_t *metrics;    /* of the default pool */

/* ---- the scene ---- */

static void need(bool condition, int line)
{
    if (!condition) {
        fprintf(stderr, "test_fork_repair.c:%d: not so\n", line);
        end_child(1);
    }
}
#define NEED(condition) need((condition), __LINE__)

static void stamp(bufferpool_buf_t *buf, size_t who)
{
    test_fill(buf->data, buf->cap, who);
    buf->len = buf->cap;
}

static bool has_stamp(const bufferpool_buf_t *buf, size_t who)
{
    return buf->len == buf->cap && test_filled(buf->data, buf->cap, who);
}

/* Another thread of the parent, with buffers in its cache. */
static void *be_another(void *unused)
{
    bufferpool_buf_t *bufs[CACHED];
    NEED(bufferpool_get_bulk(pool, bufs, CACHED) == 0);
    bufferpool_put_bulk(bufs, CACHED);
    sem_post(&parked);
    for (;;)
        pause();
    return unused;
}

static void make_scene(unsigned flags, size_t max_idle_bytes)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.max_capacity = (size_t)16 * CAPACITY;
    config.thread_cache_bytes = (size_t)8 * CAPACITY;
    config.max_idle_bytes = max_idle_bytes;
    config.reclaim_interval_ms = 1000000;
    config.flags = flags;
    pool = bufferpool_create(&config);
    metrics = bufferpool_get(NULL);
    NEED(pool != NULL && metrics != NULL && bufferpool_buf_reserve(metrics, 100000) == 0);

    bufferpool_set_max_live(pool, 1);
    held[0] = bufferpool_get(pool);
    held[4] = bufferpool_get(pool);
    NEED(stats_of(pool).bypass_live == 1);
    bufferpool_set_max_live(pool, 0);
    held[1] = bufferpool_get(pool);
    held[2] = bufferpool_get(pool);
    held[3] = bufferpool_get(pool);
    NEED(bufferpool_buf_reserve(held[2], GROWN) == 0);
    for (size_t i = 0; i < HELD; i++)
        stamp(held[i], 1000 + i);

    bufferpool_buf_t *idle[IDLE];
    NEED(bufferpool_get_bulk(pool, idle, IDLE) == 0);
    NEED(bufferpool_buf_reserve(idle[0], GROWN) == 0);
    NEED(bufferpool_buf_reserve(idle[IDLE - 1], GROWN) == 0);
    idle[0]->len = idle[IDLE - 1]->len = GROWN;
    bufferpool_put_bulk(idle, IDLE);
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, be_another, NULL) == 0);
    sem_wait(&parked);
    const bufferpool_stats_t s = stats_of(pool);
    NEED(s.idle_thread >= CACHED && s.idle_depot > 0 && s.thread_caches == 2);
    NEED(accounts_agree(pool) && laws_hold(pool, NULL, HELD));
}

/* ---- the child ---- */

static uint64_t shown_at_fork; /* the puts that a text of the parent had */

static size_t caches_of(void)
{
    size_t n = 0;
    for (const struct cache *c = load_relaxed(&pool->caches); c != NULL; c = c->next)
        n++;
    return n;
}

static size_t taken_descs(void)
{
    size_t n = 0;
    for (uint32_t i = load_relaxed(&pool->heap.table.used) + 1; (i = desc_taken_below(&pool->heap.table, i)) > 0;)
        n++;
    return n;
}

/* Before the child has used the pool for anything but its statistics. */
static void check_repaired(void)
{
    NEED(accounts_agree(pool));
    NEED(laws_hold(pool, NULL, HELD));
    const bufferpool_stats_t s = stats_of(pool);
    NEED(s.thread_caches == 0 && s.idle_thread == 0 && s.live == HELD && s.bypass_live == 0);
    NEED(taken_descs() == s.live + s.bypass_live + s.idle_depot);
    size_t unowned = 0;
    for (const struct cache *c = pool->unowned_caches; c != NULL && unowned <= caches_of();
         c = load_relaxed(&c->next_alike))
        unowned++;
    NEED(unowned == caches_of());
    for (const struct cache *c = load_relaxed(&pool->caches); c != NULL; c = c->next)
        NEED(!cache_is_open(c) && !load_relaxed(&c->busy) && !load_relaxed(&c->owned) && c->reserved == 0 &&
             load_relaxed(&c->tickets) == 0);
    NEED(!load_relaxed(&pool->idle_tight) && load_relaxed(&pool->idle_skips) == 0);
    NEED(load_relaxed(&pool->pressure.state) == PRESSURE_OFF && load_relaxed(&pool->pressure.granted) == 0);
    NEED(depot_counts(&pool->depot).tickets == 0);
    NEED(!depot_counts(&pool->depot).pressure && !depot_counts(&pool->depot).wanted);
}

static void get_many(bufferpool_buf_t **bufs, size_t n, size_t who)
{
    for (size_t i = 0; i < n; i++) {
        bufs[i] = bufferpool_get(pool);
        NEED(bufs[i] != NULL);
        if (pool->heap.wipe)
            for (size_t byte = 0; byte < bufs[i]->cap; byte++)
                NEED(bufs[i]->data[byte] == 0);
        stamp(bufs[i], who + i);
    }
}

static void put_many(bufferpool_buf_t **bufs, size_t n, size_t who)
{
    for (size_t i = 0; i < n; i++)
        NEED(has_stamp(bufs[i], who + i));
    for (size_t i = 0; i < HELD; i++)
        NEED(has_stamp(held[i], 1000 + i));
    bufferpool_put_bulk(bufs, n);
}

static void *use_in_thread(void *unused)
{
    bufferpool_buf_t *bufs[CACHED];
    get_many(bufs, CACHED, 500);
    put_many(bufs, CACHED, 500);
    return unused;
}

/* A child of the child is in order too. */
static int be_grandchild(void *arg)
{
    bufferpool_buf_t **bufs = arg;
    (void)bufferpool_live(pool);
    put_many(bufs, MANY, 1);
    get_many(bufs, MANY, 1);
    put_many(bufs, MANY, 1);
    NEED(accounts_agree(pool));
    end_child(0);
}

static void use_all(void)
{
    bufferpool_buf_t *bufs[MANY];
    const size_t caches = caches_of(), mapped = pool->heap.slabs.mapped_bytes;
    pthread_t thread;
    const uint64_t idle = stats_of(pool).idle_depot;
    bufferpool_put(bufferpool_get(pool));
    NEED(frees >= 2);                                 /* what the parent's two threads had */
    NEED(stats_of(pool).idle_thread > 1 || idle < 2); /* it came with others, in a magazine */
    get_many(bufs, MANY, 1);                          /* more than there are */
    NEED(pool->heap.slabs.mapped_bytes == mapped);
    NEED(run_in_child(be_grandchild, bufs, SECONDS) == 0);
    put_many(bufs, MANY, 1);
    NEED(pthread_create(&thread, NULL, use_in_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
    NEED(caches_of() == caches); /* those of the parent's threads are used again */
    NEED(accounts_agree(pool));

    bufferpool_put(bufferpool_get(pool));
    const uint64_t before = stats_of(pool).gets_thread;
    for (int i = 0; i < 3; i++)
        bufferpool_put(bufferpool_get(pool));
    NEED(stats_of(pool).gets_thread == before + 3 && stats_of(pool).thread_caches == 1);

    /* at the cap, and beyond it */
    get_many(bufs, MANY, 1);
    bufferpool_set_max_live(pool, (size_t)stats_of(pool).live);
    NEED(bufferpool_try_get(pool) == NULL);
    NEED(bufferpool_get_timed(pool, 1) == NULL && errno == ETIMEDOUT);
    bufferpool_buf_t *beyond[MANY];
    for (int round = 0; round < 3; round++) {
        get_many(beyond, MANY, 300);
        NEED(stats_of(pool).bypass_live == MANY);
        put_many(beyond, MANY, 300);
    }
    put_many(bufs, MANY, 1);
    bufferpool_set_max_live(pool, 0);
    NEED(quarantine_take(pool) == NULL);
    NEED(accounts_agree(pool) && laws_hold(pool, NULL, HELD));

    NEED(bufferpool_metrics(metrics) == 0);
    const bufferpool_stats_t shown = stats_of(pool);
    NEED(pool->puts_shown >= sum_of_puts(&shown) && pool->puts_shown >= shown_at_fork);
    for (int i = 0; i < 3; i++)
        (void)bufferpool_reclaim(pool);
    const bufferpool_stats_t s = stats_of(pool);
    NEED(idle_of(&s) == 0);
}

static void end_all(void)
{
    for (size_t i = 0; i < HELD; i++)
        bufferpool_put(held[i]);
    (void)bufferpool_trim(pool);
    const struct slabs *slabs = &pool->heap.slabs;
    NEED(laws_hold(pool, NULL, 0) && taken_descs() == 0);
    NEED(slabs->spans == NULL && slabs->mapped_bytes == 0);
    NEED(slabs->dirty_bytes == 0);
    for (unsigned i = 0; i < SLAB_CLASSES; i++)
        NEED(slabs->classes[i].dirty_bytes == 0 && slabs->classes[i].dirty.first == NULL);
    NEED(bufferpool_destroy(pool) == 0);
}

/* ---- the cases ---- */

struct spoiled {
    const char *name;
    void (*spoil)(void);
    void (*check)(void); /* in the child, first; NULL: nothing in particular */
    unsigned flags;
    size_t max_idle_bytes;
};

static struct cache *cache_of_other(void)
{
    struct cache *c = load_relaxed(&pool->caches);
    NEED(c != NULL);
    return c == tls_cache_find(pool->index) ? c->next : c;
}

static void spoil_nothing(void)
{
}

/* A lock that another thread has. */

static void *take_and_park(void *lock)
{
    pthread_mutex_lock(lock);
    sem_post(&parked);
    for (;;)
        pause();
    return NULL;
}

static void have_taken(pthread_mutex_t *lock)
{
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, take_and_park, lock) == 0);
    sem_wait(&parked);
}

static void spoil_caches_lock(void)
{
    have_taken(&pool->caches_lock);
}

static void spoil_waiters_lock(void)
{
    have_taken(&pool->waiters.lock);
}

static void spoil_quarantine_lock(void)
{
    have_taken(&pool->quarantine.lock);
}

/* Another thread keeps the pool from being destroyed. */
static void spoil_pins(void)
{
    registry_lock();
    registry_pin(pool);
    registry_unlock();
}

/* Caches. */

static void spoil_level(void)
{
    struct cache *c = cache_of_other();
    store_relaxed(&c->level, load_relaxed(&c->level) + 2);
}

static void spoil_moved(void)
{
    struct cache *c = cache_of_other();
    add_relaxed(&c->base[0].moved, 7);
    add_relaxed(&c->base[1].moved, 7);
}

static void spoil_moved_past(void)
{
    store_relaxed(&cache_of_other()->moved_past, 7);
    store_relaxed(&pool->shared.moved_past, 9);
}

static void spoil_cache_extra(void)
{
    store_relaxed(&cache_of_other()->extra, 512);
}

static void spoil_busy(void)
{
    store_relaxed(&cache_of_other()->busy, true);
}

static void spoil_reserved(void)
{
    cache_of_other()->reserved += 999;
}

static void spoil_unowned(void)
{
    static struct cache stray;
    pool->unowned_caches = &stray;
}

static void spoil_shared_moved(void)
{
    add_relaxed(&pool->shared.base[0].moved, 5);
}

/* The depot. */

static void spoil_head(void)
{
    store_relaxed(&pool->depot.head, load_relaxed(&pool->depot.head) + 1);
}

static void spoil_counts(void)
{
    store_relaxed(&pool->depot.counts, load_relaxed(&pool->depot.counts) + ((uint64_t)3 << 32) + 2);
}

static void spoil_pressure(void)
{
    store_relaxed(&pool->pressure.state, PRESSURE_ON);
    depot_begin_pressure(&pool->depot);
}

static void spoil_depot_extra(void)
{
    store_relaxed(&pool->depot.extra, load_relaxed(&pool->depot.extra) + 100);
}

static void spoil_low(void)
{
    store_relaxed(&pool->depot.low, 0);
}

/* What idles was not needed since the fork. */
static void check_low(void)
{
    const bufferpool_stats_t s = stats_of(pool);
    NEED(bufferpool_reclaim(pool) == s.idle_bytes);
}

/* Accounts of the pool. */

static void spoil_grown_extra(void)
{
    store_relaxed(&pool->grown_extra, load_relaxed(&pool->grown_extra) + 100);
}

static void spoil_idle_reserved(void)
{
    store_relaxed(&pool->idle_reserved, load_relaxed(&pool->idle_reserved) + 100);
}

static void spoil_idle_tight(void)
{
    store_relaxed(&pool->idle_tight, true);
}

static void spoil_idle_skips(void)
{
    store_relaxed(&pool->idle_skips, 1000);
}

static void spoil_bypass_counters(void)
{
    add_relaxed(&pool->shared.counters[GETS_BYPASS], 3);
}

static void spoil_over_cap_drops(void)
{
    const bufferpool_stats_t s = stats_of(pool);
    add_relaxed(&pool->shared.counters[DROPS_OVER_CAP], s.puts_kept + 3);
}

/* Tickets: of a cache, of the pool, and of a call that has a magazine in transit. */
static void spoil_tickets(void)
{
    store_relaxed(&cache_of_other()->tickets, 3);
    store_relaxed(&pool->pressure.granted, 3);
    add_relaxed(&pool->depot.counts, 4);
}

static void spoil_gets(void)
{
    const bufferpool_stats_t s = stats_of(pool);
    sub_relaxed(&pool->shared.counters[GETS_FRESH], s.puts_kept + 2);
}

/* A text was written while another thread was in a get, and showed one more put than there was. */
static void spoil_shown(void)
{
    const bufferpool_stats_t s = stats_of(pool);
    pool->puts_shown = shown_at_fork = sum_of_puts(&s) + 1000;
}

static void spoil_reclaim(void)
{
    NEED(!atomic_flag_test_and_set(&pool->reclaim.busy));
}

/* Callers that wait. */

static struct sleeper sleeper;

static void spoil_waiters(void)
{
    NEED(wait_begin(pool, &sleeper, 1, BUFFERPOOL_NEVER));
}

static void spoil_first_waiter(void)
{
    pool->waiters.first = &sleeper.waiter;
    store_relaxed(&pool->waiters.waiting, 1);
    pool->waiters.last = NULL;
}

static void spoil_last_waiter(void)
{
    pool->waiters.last = &sleeper.waiter;
}

static void check_waiters(void)
{
    (void)bufferpool_live(pool);
    NEED(pool->waiters.first == NULL && pool->waiters.last == NULL && stats_of(pool).waiting == 0);
}

/* The quarantine. */

static struct desc *quarantined[4];

static void spoil_quarantine(void)
{
    pool->quarantine.ring = quarantined;
    pool->quarantine.size = 4;
    pool->quarantine.n = 3;
    pool->quarantine.oldest = 2;
    quarantined[2] = desc_of(held[0]);
}

static void spoil_quarantine_count(void)
{
    store_relaxed(&pool->quarantine.count, 3);
}

static void spoil_quarantine_bytes(void)
{
    store_relaxed(&pool->quarantine.bytes, 3000);
}

static void forget_quarantine(void)
{
    (void)bufferpool_live(pool);
    pool->quarantine.ring = NULL; /* which is not one of malloc's */
    NEED(quarantine_take(pool) == NULL && load_relaxed(&pool->quarantine.bytes) == 0);
}

/* The background thread, which the child has not. */

static sem_t begin;

static size_t workers(void)
{
    size_t n = 0;
    DIR *tasks = opendir("/proc/self/task");
    NEED(tasks != NULL);
    for (const struct dirent *task; (task = readdir(tasks)) != NULL;) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        FILE *comm = fopen(path, "re");
        if (comm == NULL)
            continue;
        n += fgets(name, sizeof name, comm) != NULL && strcmp(name, "bufferpool\n") == 0;
        (void)fclose(comm);
    }
    closedir(tasks);
    return n;
}

static void spoil_background(void)
{
    NEED(workers() == 1);
    pool->background.busy = true; /* destroy waits for that */
}

static void check_background(void)
{
    NEED(workers() == 0);
    bufferpool_put(bufferpool_get(pool));
    NEED(workers() == 1);
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.flags = BUFFERPOOL_BACKGROUND;
    bufferpool_t *other = bufferpool_create(&config);
    bufferpool_put(bufferpool_get(other));
    NEED(workers() == 1 && bufferpool_destroy(other) == 0);
}

static void *begin_background(void *unused)
{
    while (sem_wait(&begin) != 0)
        ;
    bufferpool_put(bufferpool_get(pool));
    return unused;
}

static void spoil_beginning(void)
{
    static pthread_t thread;
    sem_init(&begin, 0, 0);
    NEED(workers() == 0 && pthread_create(&thread, NULL, begin_background, NULL) == 0);
    pool->background.wanted = pool->background.by_time = true;
    beginning = &thread;
    sem_post(&begin);
    sem_wait(&parked);
    beginning = NULL;
}

/* Where there are no threads, nobody but the repair says that no thread works on the pool. */
static void check_without_background(void)
{
    no_threads = true;
    for (size_t i = 0; i < HELD; i++)
        bufferpool_put(held[i]);
    NEED(workers() == 0 && bufferpool_destroy(pool) == 0);
    end_child(0);
}

/* A holder that wrote over its handle, which its put will find. */

static void spoil_handle(void)
{
    set_data(held[3], held[3]->data + ((size_t)1 << 22) + 8);
}

static int put_overwritten(void *unused)
{
    (void)unused;
    NEED(freopen("/dev/null", "w", stderr) != NULL);
    bufferpool_put(held[3]);
    bufferpool_set_max_live(pool, 1);
    (void)bufferpool_trim(pool);
    end_child(0);
}

static void check_handle(void)
{
    bufferpool_buf_t *bufs[MANY];
    NEED(laws_hold(pool, NULL, HELD));
    get_many(bufs, MANY, 1);
    for (size_t i = 0; i < HELD; i++)
        NEED(i == 3 || has_stamp(held[i], 1000 + i));
    for (size_t i = 0; i < MANY; i++)
        NEED(has_stamp(bufs[i], 1 + i));
    bufferpool_put_bulk(bufs, MANY);
    NEED(run_in_child(put_overwritten, NULL, SECONDS) == 128 + SIGABRT);
    end_child(0);
}

/* The heap: what a thread has taken and not yet handed out, or freed and not yet given back. */

static void spoil_making(void)
{
    for (int i = 0; i < 3; i++)
        NEED(heap_alloc(&pool->heap) != NULL);
}

static void spoil_dirty(void)
{
    pool->heap.slabs.dirty_bytes += 4096;
}

static void spoil_large(void)
{
    pool->heap.slabs.large_bytes += 4096;
}

static void spoil_dirty_of_class(void)
{
    for (unsigned i = 0; i < SLAB_CLASSES; i++)
        pool->heap.slabs.classes[i].dirty_bytes += 4096;
}

static void *take_slot(void)
{
    struct slab_request request;
    struct slab *slab;
    NEED(block_class(&pool->heap, CAPACITY, &request));
    heap_lock(&pool->heap);
    unsigned char *slot = slab_take(&pool->heap.slabs, &request, &slab);
    heap_unlock(&pool->heap);
    NEED(slot != NULL);
    return slot;
}

/* The old block of one that grew, or the new one of one that is about to. */
static void spoil_slot(void)
{
    for (int i = 0; i < 3; i++) {
        unsigned char *slot = take_slot();
        if (sanitizer_on())
            sanitizer_open(slot, CAPACITY);
        memset(slot, 's', CAPACITY);
    }
}

/* A purge has taken every free slot of a slab, which is on no list meanwhile. */
static void spoil_purging(void)
{
    heap_lock(&pool->heap);
    struct slab_class *cls = &pool->heap.slabs.classes[SLAB_BASE];
    struct slab *slab = NULL;
    for (unsigned lane = 0; lane < SLAB_LANES && slab == NULL; lane++)
        slab = cls->clean[lane].first;
    if (slab == NULL)
        slab = cls->dirty.first;
    NEED(slab != NULL && slab->next == slab);
    slab->list->first = NULL;
    slab->list = NULL;
    slab->purging = true;
    slab->free = 0;
    for (unsigned i = 0; i < SLAB_SLOTS_MAX / 64; i++)
        slab->avail[i] = slab->dirty[i] = 0;
    heap_unlock(&pool->heap);
}

/* Idle by its word, on the way from its caller to the cache or not: then more may idle than is allowed. */
static void spoil_words(void)
{
    struct desc *d = desc_of(held[3]);
    store_relaxed(&d->word, desc_word(pool->tag, STATE_IDLE));
    pool->max_idle_bytes = (size_t)stats_of(pool).idle_bytes;
}

static void check_idle_limit(void)
{
    NEED(stats_of(pool).idle_bytes > pool->max_idle_bytes);
    bufferpool_put(held[1]);
    NEED(stats_of(pool).drops_idle_limit == 1);
    for (size_t i = 1; i < 4; i += 2) {
        held[i] = bufferpool_get(pool);
        NEED(held[i] != NULL);
        stamp(held[i], 1000 + i);
    }
    bufferpool_buf_t *bufs[MANY];
    get_many(bufs, MANY, 1);
    put_many(bufs, MANY, 1);
    NEED(stats_of(pool).drops_idle_limit > 0 && stats_of(pool).idle_bytes <= pool->max_idle_bytes);
    pool->max_idle_bytes = SIZE_MAX;
}

/* A thread of the parent had told a word what it was about to do to the block, or not yet what it had done. */
static void spoil_growth(void)
{
    struct desc *d;
    for_each_taken (&pool->heap.table, i, d) {
        if (d->pub.cap == pool->heap.base && desc_state(load_relaxed(&d->word)) == STATE_IDLE)
            store_relaxed(&d->word, desc_word(pool->tag, STATE_IDLE_GROWN));
    }
    store_relaxed(&desc_of(held[1])->word, desc_word(pool->tag, STATE_LIVE_GROWN));
    store_relaxed(&desc_of(held[2])->word, desc_word(pool->tag, STATE_LIVE));
}

static void check_growth(void)
{
    (void)stats_of(pool);
    const struct desc *d;
    for_each_taken (&pool->heap.table, i, d) {
        const enum desc_state state = desc_state(load_relaxed(&d->word));
        const bool says_grown = state == STATE_IDLE_GROWN || state == STATE_LIVE_GROWN;
        NEED(says_grown == (d->pub.cap != pool->heap.base));
    }
}

#define LIMIT ((size_t)1 << 30)

static const struct spoiled all_spoiled[] = {
    {"nothing", spoil_nothing, NULL, 0, 0},
    {"nothing, with a limit", spoil_nothing, NULL, 0, LIMIT},
    {"nothing, wiped", spoil_nothing, NULL, BUFFERPOOL_ZERO, 0},
    {"caches_lock", spoil_caches_lock, NULL, 0, 0},
    {"the queue's lock", spoil_waiters_lock, NULL, 0, 0},
    {"the quarantine's lock", spoil_quarantine_lock, NULL, 0, 0},
    {"pins", spoil_pins, NULL, 0, 0},
    {"level", spoil_level, NULL, 0, 0},
    {"moved", spoil_moved, NULL, 0, 0},
    {"moved_past", spoil_moved_past, NULL, 0, 0},
    {"extra of a cache", spoil_cache_extra, NULL, 0, 0},
    {"busy", spoil_busy, NULL, 0, 0},
    {"reserved bytes", spoil_reserved, NULL, 0, LIMIT},
    {"unowned caches", spoil_unowned, NULL, 0, 0},
    {"moved of the shared cache", spoil_shared_moved, NULL, 0, 0},
    {"head", spoil_head, NULL, 0, 0},
    {"counts", spoil_counts, NULL, 0, 0},
    {"pressure", spoil_pressure, NULL, 0, 0},
    {"extra of the depot", spoil_depot_extra, NULL, 0, 0},
    {"low", spoil_low, check_low, 0, 0},
    {"grown_extra", spoil_grown_extra, NULL, 0, 0},
    {"idle_reserved", spoil_idle_reserved, NULL, 0, LIMIT},
    {"idle_tight", spoil_idle_tight, NULL, 0, LIMIT},
    {"idle_skips", spoil_idle_skips, NULL, 0, LIMIT},
    {"counters of buffers beyond the cap", spoil_bypass_counters, NULL, 0, 0},
    {"drops over the cap", spoil_over_cap_drops, NULL, 0, 0},
    {"tickets", spoil_tickets, NULL, 0, 0},
    {"counters of gets", spoil_gets, NULL, 0, 0},
    {"puts_shown", spoil_shown, NULL, 0, 0},
    {"reclaim under way", spoil_reclaim, NULL, 0, 0},
    {"waiters", spoil_waiters, check_waiters, 0, 0},
    {"the first waiter", spoil_first_waiter, check_waiters, 0, 0},
    {"the last waiter", spoil_last_waiter, check_waiters, 0, 0},
    {"quarantine", spoil_quarantine, forget_quarantine, 0, 0},
    {"count of the quarantine", spoil_quarantine_count, NULL, 0, 0},
    {"bytes of the quarantine", spoil_quarantine_bytes, forget_quarantine, 0, 0},
    {"background", spoil_background, check_background, BUFFERPOOL_BACKGROUND, 0},
    {"background that begins", spoil_beginning, check_background, 0, 0},
    {"background without threads", spoil_background, check_without_background, BUFFERPOOL_BACKGROUND, 0},
    {"an overwritten handle", spoil_handle, check_handle, 0, 0},
    {"buffers in the making", spoil_making, NULL, 0, 0},
    {"dirty_bytes", spoil_dirty, NULL, 0, 0},
    {"large_bytes", spoil_large, NULL, 0, 0},
    {"dirty_bytes of a class", spoil_dirty_of_class, NULL, 0, 0},
    {"slots", spoil_slot, NULL, 0, 0},
    {"slots, wiped", spoil_slot, NULL, BUFFERPOOL_ZERO, 0},
    {"purge under way", spoil_purging, NULL, 0, 0},
    {"words", spoil_words, check_idle_limit, 0, LIMIT},
    {"words of grown buffers", spoil_growth, check_growth, 0, 0},
};

static uint64_t at_fork[COUNTERS]; /* what the counters were */

static void read_counters(uint64_t counters[COUNTERS])
{
    for (int i = 0; i < COUNTERS; i++)
        counters[i] = load_relaxed(&pool->shared.counters[i]);
    for (const struct cache *c = load_relaxed(&pool->caches); c != NULL; c = c->next)
        for (int i = 0; i < COUNTERS; i++)
            counters[i] += load_relaxed(&c->counters[i]);
}

/* A scrape of the child follows one of the parent. */
static void check_that_no_counter_fell(void)
{
    uint64_t now[COUNTERS];
    (void)stats_of(pool); /* repaired by then */
    read_counters(now);
    for (int i = 0; i < COUNTERS; i++)
        NEED((int64_t)(now[i] - at_fork[i]) >= 0); /* the scene may have made one negative */
}

static int be_child(void *arg)
{
    const struct spoiled *spoiled = arg;
    frees = 0;
    if (spoiled->check != NULL)
        spoiled->check();
    if (spoiled->check == NULL || spoiled->check == check_waiters || spoiled->check == forget_quarantine)
        check_repaired();
    check_that_no_counter_fell();
    use_all();
    end_all();
    end_child(0);
}

static int be_parent(void *arg)
{
    const struct spoiled *spoiled = arg;
    sem_init(&parked, 0, 0);
    make_scene(spoiled->flags, spoiled->max_idle_bytes);
    spoiled->spoil();
    read_counters(at_fork);
    _exit(run_in_child(be_child, arg, SECONDS));
}

static void the_child_repairs_it(void **state)
{
    if (TEST_TSAN) /* which takes threads of a child for ones of its parent */
        skip();
    const struct spoiled *spoiled = *state;
    if (test_under_valgrind() && (spoiled->spoil == spoil_words || spoiled->spoil == spoil_handle))
        skip(); /* memcheck is not told that the block is nobody's, or finds nothing that leads to it */
    test_blocks_before_fork();
    assert_int_equal(run_in_child(be_parent, *state, 2 * SECONDS), 0);
}

/* ---- between the handlers ---- */

static void (*between)(void); /* called between the library's handlers and fork, on both sides */

static void call_between(void)
{
    if (between != NULL)
        between();
}

/* Before the library does so when it is loaded: handlers that were registered first run innermost. */
__attribute__((constructor(101))) static void register_first(void)
{
    (void)pthread_atfork(call_between, call_between, call_between);
}

static void use_pool_between(void)
{
    bufferpool_put(bufferpool_get(pool));
    (void)bufferpool_trim(pool);
}

static int be_child_between(void *unused)
{
    (void)unused;
    between = NULL;
    NEED(accounts_agree(pool) && laws_hold(pool, NULL, HELD));
    end_all();
    end_child(0);
}

static int be_parent_between(void *unused)
{
    (void)unused;
    sem_init(&parked, 0, 0);
    make_scene(0, 0);
    between = use_pool_between;
    const int status = run_in_child(be_child_between, NULL, SECONDS);
    between = NULL;
    NEED(accounts_agree(pool) && laws_hold(pool, NULL, HELD));
    end_child(status);
}

static void a_handler_of_fork_may_use_a_pool(void **state)
{
    (void)state;
    if (TEST_TSAN)
        skip();
    assert_int_equal(run_in_child(be_parent_between, NULL, 2 * SECONDS), 0);
}

/* ---- a pool that was overwritten ---- */

static void overwrite_pool(void *unused)
{
    (void)unused;
    pool = bufferpool_create(NULL);
    store_relaxed(&pool->life, 0);
    (void)bufferpool_trim(pool);
}

static void an_overwritten_pool_is_reported(void **state)
{
    (void)state;
    expect_abort(overwrite_pool, NULL, "bufferpool_trim:", "the pool was overwritten", NULL);
}

/* ---- the end of a child that has used no pool ---- */

static int end_unused(void *unused)
{
    (void)unused;
    exit(0);
}

static void end_beside_a_lock(void *unused)
{
    (void)unused;
    sem_init(&parked, 0, 0);
    pool = bufferpool_create(NULL);
    bufferpool_put(bufferpool_get(pool));
    have_taken(&pool->caches_lock);
    have_taken(&pool->quarantine.lock);
    modes_check(run_in_child(end_unused, NULL, SECONDS) == 0);
    _exit(0);
}

/* At its end the debug modes look at every pool. */
static void a_child_that_has_used_nothing_may_end(void **state)
{
    (void)state;
    if (TEST_TSAN || !MODES_BUILT)
        skip();
    run_with_modes("poison,quarantine=3,stats,holders", end_beside_a_lock, NULL);
    expect_outcome(0, "libbufferpool: pool pool-1", NULL);
}

int main(void)
{
    enum { N = sizeof all_spoiled / sizeof all_spoiled[0] };
    struct CMUnitTest tests[N + 3] = {[N] = cmocka_unit_test(a_child_that_has_used_nothing_may_end),
                                      cmocka_unit_test(a_handler_of_fork_may_use_a_pool),
                                      cmocka_unit_test(an_overwritten_pool_is_reported)};
    for (size_t i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){all_spoiled[i].name, the_child_repairs_it, NULL, NULL,
                                       (void *)(uintptr_t)&all_spoiled[i]};
    return _cmocka_run_group_tests("fork_repair", tests, N + 3, NULL, NULL);
}
