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

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bufferpool pool_default = {
    .index = REGISTRY_DEFAULT_INDEX,
    .tag = REGISTRY_DEFAULT_TAG,
    .name = (char[]){"default"},
    .max_capacity = DEFAULT_MAX_CAPACITY,
    .cache_bytes = DEFAULT_THREAD_CACHE_BYTES,
    .cache_entries = DEFAULT_THREAD_CACHE_BYTES / DEFAULT_BUFFER_CAPACITY,
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
static size_t end = 1;         /* indexes beyond it were never used */
static unsigned next_name = 1; /* of "pool-N" */
static uint32_t next_generation = 1;

void registry_lock(void)
{
    pthread_mutex_lock(&lock);
}

void registry_unlock(void)
{
    pthread_mutex_unlock(&lock);
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

static entry *free_entry(size_t *index)
{
    /* the last index is left out: no word has it, so a closed gate matches none */
    for (*index = 0; *index < POOL_INDEX_MASK; ++*index) {
        entry *e = entry_of(*index);
        if (e == NULL) {
            e = calloc(CHUNK_SIZE, sizeof(*e));
            if (e != NULL)
                store_release(&chunks[*index >> CHUNK_BITS], e); /* with the acquire in entry_of */
            return e;
        }
        if (load_relaxed(e) == NULL)
            return e;
    }
    return NULL;
}

static bool name_taken(const char *name)
{
    for_each_pool (pool)
        if (strcmp(pool->name, name) == 0)
            return true;
    return false;
}

/* A copy of the name, or of "pool-N", with the first free suffix "-2", "-3" ... where it is taken; NULL: no memory. */
static char *unique_name(const char *name)
{
    char numbered[32];
    if (name == NULL) {
        (void)snprintf(numbered, sizeof(numbered), "pool-%u", next_name++);
        name = numbered;
    }
    size_t size = strlen(name) + sizeof("-4294967295");
    char *unique = malloc(size);
    if (unique == NULL)
        return NULL;
    (void)snprintf(unique, size, "%s", name);
    for (unsigned suffix = 2; name_taken(unique); suffix++)
        (void)snprintf(unique, size, "%s-%u", name, suffix);
    return unique;
}

bool registry_add(bufferpool_t *pool, const char *name)
{
    size_t index;
    entry *e = free_entry(&index);
    if (e == NULL)
        return false;
    pool->name = unique_name(name);
    if (pool->name == NULL)
        return false;
    pool->index = index;
    pool->tls_index = desc_tls_index(index);
    /* an odd multiplier: generations that follow each other look nothing alike, and none repeats before all were
     * used */
    pool->tag = desc_tag(next_generation++ * (uint32_t)0x9e3779b1u, index);
    if (index >= end)
        end = index + 1;
    store_release(e, pool); /* with the acquire in registry_find */
    return true;
}

void registry_remove(bufferpool_t *pool)
{
    store_relaxed(entry_of(pool->index), NULL);
}
