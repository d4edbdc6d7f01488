/* SPDX-License-Identifier: MIT
 *
 * registry.c - all pools of the process, and the default pool, which is always there
 *
 * Pools are found through a table of two levels. A chunk of it, once there, stays for ever, so put can look up an index
 * without a lock, also one that comes from garbage. The lock guards what is written, so relaxed reads under it are
 * current. An entry is emptied relaxed: a thread that still looks for that pool breaks the contract, and may find
 * either.
 */
#include "registry.h"

#include "lock.h"
#include "names.h"
#include "numbers.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>

static char default_name[] = "default";

struct bufferpool pool_default = {
    .life = POOL_ALIVE,
    .keepers = 1,
    .index = REGISTRY_DEFAULT_INDEX,
    .name = default_name,
    .max_capacity = DEFAULT_MAX_CAPACITY,
    .cache_bytes = DEFAULT_THREAD_CACHE_BYTES,
    .cache_entries = DEFAULT_THREAD_CACHE_BYTES / DEFAULT_BUFFER_CAPACITY * ALLOWANCE_MOST,
    .reclaim_interval_ms = DEFAULT_RECLAIM_INTERVAL_MS,
    .caches_lock = PTHREAD_MUTEX_INITIALIZER,
    .waiters = {.lock = PTHREAD_MUTEX_INITIALIZER},
    .quarantine = {.lock = PTHREAD_MUTEX_INITIALIZER},
    .reclaim = {.busy = ATOMIC_FLAG_INIT},
    .heap = {.base = DEFAULT_BUFFER_CAPACITY,
             .alignment = DEFAULT_ALIGNMENT,
             .slabs = {.lock = PTHREAD_MUTEX_INITIALIZER}},
    .shared = {.shared = true},
};

#define CHUNK_BITS 8
#define CHUNK_SIZE ((size_t)1 << CHUNK_BITS)
#define CHUNKS     ((POOL_INDEX_MASK + 1) >> CHUNK_BITS)

typedef _Atomic(bufferpool_t *) entry;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static entry first_chunk[CHUNK_SIZE] = {[REGISTRY_DEFAULT_INDEX] = &pool_default};
static _Atomic(entry *) chunks[CHUNKS] = {first_chunk};
static size_t end = 1; /* indexes beyond it were never used */
/* Indexes of pools: bit n for index n + 1, since that of the default pool, 0, is never free. */
static uint64_t taken_words[(POOL_INDEX_MASK + 1) / 64];
static struct numbers taken = {taken_words, sizeof(taken_words) / sizeof(taken_words[0]), 0};

/* Generations differ between pools that have the same index, whether one after the other or in two copies of the
 * library that a program has in one process. So each copy begins at a number of its own. */
static uint32_t next_generation;
static uint32_t newest; /* how many pools there ever were but for the default pool, modulo 2^32 */
static bool begun;

/* From where this copy lies, from what the kernel gave the process, and from the time: the same place may be that of a
 * copy which was unloaded. No system call is made but for the time, and no memory needed. */
static uint32_t first_generation(void)
{
    uint64_t z = (uintptr_t)&pool_default, given = 0;
    struct timespec now;
    const int saved_errno = errno;
    const unsigned long random = getauxval(AT_RANDOM);
    errno = saved_errno;
    if (random != 0)
        memcpy(&given, (const void *)random, sizeof(given));
    if (clock_gettime(CLOCK_MONOTONIC, &now) == 0)
        z += ((uint64_t)now.tv_sec << 30 | (uint64_t)now.tv_nsec) << 20;
    /* mixed as SplitMix64 does it */
    z = ((z ^ given) ^ (z ^ given) >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(z >> 32);
}

/* The tag of the next pool that has that index. An odd step: generations that follow each other look nothing alike,
 * and none repeats before all were used. */
static uintptr_t next_tag(size_t index)
{
    next_generation += 0x9e3779b1u;
    return desc_tag(next_generation, index);
}

void registry_lock(void)
{
    lock_begin();
    pthread_mutex_lock(&lock);
    if (unlikely(!begun)) {
        begun = true;
        next_generation = first_generation();
        pool_default.tag = next_tag(REGISTRY_DEFAULT_INDEX);
    }
}

void registry_unlock(void)
{
    pthread_mutex_unlock(&lock);
    lock_end();
}

static entry *entry_of(size_t index)
{
    entry *chunk = load_acquire(&chunks[index >> CHUNK_BITS]); /* with the release in free_entry */
    return chunk != NULL ? &chunk[index & (CHUNK_SIZE - 1)] : NULL;
}

bufferpool_t *registry_find(size_t index)
{
    entry *e = entry_of(index);
    return e != NULL ? load_acquire(e) : NULL; /* with the release in registry_add */
}

bufferpool_t *registry_from(size_t index)
{
    for (; index < end; index++) {
        bufferpool_t *pool = registry_find(index);
        if (pool != NULL)
            return pool;
    }
    return NULL;
}

/* The free entry of the lowest index. Returns NULL if there is none, or no memory. */
static entry *free_entry(size_t *index)
{
    *index = numbers_lowest_free(&taken) + 1;
    if (*index >= POOL_INDEX_MASK) /* the last index is left out: no word has it, so a closed gate matches none */
        return NULL;
    entry *e = entry_of(*index);
    if (e == NULL) {
        entry *chunk = calloc(CHUNK_SIZE, sizeof(*chunk));
        if (chunk == NULL)
            return NULL;
        store_release(&chunks[*index >> CHUNK_BITS], chunk); /* with the acquire in entry_of */
        e = entry_of(*index);
    }
    return e;
}

bool registry_add(bufferpool_t *pool)
{
    size_t index;
    entry *e = free_entry(&index);
    if (e == NULL) {
        names_give(pool);
        free(pool->name);
        return false;
    }
    numbers_add(&taken, index - 1);
    pool->index = index;
    pool->tls_index = desc_tls_index(index);
    pool->tag = next_tag(index);
    pool->number_made = ++newest;
    if (index >= end)
        end = index + 1;
    store_relaxed(&pool->life, POOL_ALIVE);
    store_release(e, pool); /* with the acquire in registry_find */
    return true;
}

uint32_t registry_newest(void)
{
    return newest;
}

bool registry_is_newer(const bufferpool_t *pool, uint32_t than)
{
    return (int32_t)(pool->number_made - than) > 0;
}

static bool is_taken(const bufferpool_t *named)
{
    return named->name != default_name && named->name != pool_default.name;
}

bool registry_take_default_name(bufferpool_t *named, const char *name)
{
    named->name = default_name;
    if (name != NULL && strcmp(name, pool_default.name) == 0)
        named->name = pool_default.name;
    else if (name != NULL && strcmp(name, default_name) != 0)
        return names_take(named, name);
    return true;
}

void registry_drop_default_name(const bufferpool_t *named)
{
    if (!is_taken(named))
        return;
    names_give(named);
    free(named->name);
}

/* Its name is "default" again. */
static void drop_default_name(void)
{
    if (pool_default.name == default_name)
        return;
    names_give(&pool_default);
    free(pool_default.name);
    pool_default.name = default_name;
}

void registry_set_default_name(const bufferpool_t *named)
{
    if (named->name == pool_default.name)
        return;
    drop_default_name();
    pool_default.name = named->name;
    pool_default.family = named->family;
    pool_default.number = named->number;
}

void registry_remove(bufferpool_t *pool)
{
    names_give(pool);
    numbers_remove(&taken, pool->index - 1);
    store_relaxed(entry_of(pool->index), NULL);
    store_relaxed(&pool->life, POOL_ENDED);
    pool->tls_index = TLS_INDEX_NONE; /* the next pool of that index must not serve a get of this one */
}

/* ---- pools that were destroyed ---- */

static bufferpool_t *ended[REGISTRY_ENDED]; /* a ring; under the lock */
static unsigned oldest;

bufferpool_t *registry_keep(bufferpool_t *pool)
{
    bufferpool_t *out = ended[oldest];
    ended[oldest] = pool;
    oldest = (oldest + 1) % REGISTRY_ENDED;
    return out;
}

void registry_free(bufferpool_t *pool)
{
    if (pool == NULL)
        return;
    store_relaxed(&pool->life, 0); /* mostly what a later call on it finds, too */
    desc_table_destroy(&pool->heap.table);
    free(pool->name);
    registry_release(pool);
}

void registry_keep_struct(bufferpool_t *pool)
{
    (void)add_relaxed(&pool->keepers, 1);
}

void registry_release(bufferpool_t *pool)
{
    /* release and acquire: the last one comes after what the others did */
    if (sub_seq_cst(&pool->keepers, 1) != 1)
        return;
    pthread_mutex_destroy(&pool->waiters.lock);
    free(pool);
}

const bufferpool_t *registry_ended(unsigned i)
{
    return ended[i];
}

void registry_end(void)
{
    registry_lock();
    drop_default_name();
    registry_unlock();
    for (unsigned i = 0; i < REGISTRY_ENDED; i++) {
        registry_lock();
        bufferpool_t *pool = ended[i];
        ended[i] = NULL;
        registry_unlock();
        registry_free(pool);
    }
}

/* ---- pins ---- */

static pthread_cond_t unpinned = PTHREAD_COND_INITIALIZER;
static size_t pins; /* of all pools */

void registry_pin(bufferpool_t *pool)
{
    pool->pins++;
    pins++;
}

void registry_unpin(bufferpool_t *pool)
{
    pins--;
    if (--pool->pins == 0)
        pthread_cond_broadcast(&unpinned);
}

void registry_await_unpinned(const bufferpool_t *pool)
{
    int cancelable;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable);
    while (pool->pins > 0)
        pthread_cond_wait(&unpinned, &lock);
    pthread_setcancelstate(cancelable, NULL);
}

void registry_after_fork_in_child(void)
{
    unpinned = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    if (pins == 0)
        return;
    pins = 0;
    for_each_pool (pool)
        pool->pins = 0; /* by threads that the child does not have */
}
