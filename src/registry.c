/* SPDX-License-Identifier: MIT
 *
 * registry.c - all pools of the process
 *
 * The slots are found through a table of two levels. A chunk of it, once there, stays for ever, so that put can look a
 * slot up without a lock, also that of garbage. The lock guards what is written, so relaxed reads under it are current;
 * a slot is emptied relaxed, since who still looks for that pool breaks the contract, and may find either.
 */
#include "registry.h"

#include "pool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BITS 8
#define CHUNK_SIZE ((size_t)1 << CHUNK_BITS)
#define CHUNKS     ((POOL_INDEX_MASK + 1) >> CHUNK_BITS)

typedef _Atomic(bufferpool_t *) entry;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static entry first_chunk[CHUNK_SIZE] = {[REGISTRY_DEFAULT_INDEX] = &pool_default};
static _Atomic(entry *) chunks[CHUNKS] = {first_chunk};
static size_t end = 1;         /* slots beyond were never used */
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

static entry *entry_of(size_t slot)
{
    entry *chunk = load_acquire(&chunks[slot >> CHUNK_BITS]); /* with the release in free_entry */
    return chunk != NULL ? &chunk[slot & (CHUNK_SIZE - 1)] : NULL;
}

bufferpool_t *registry_find(size_t slot)
{
    entry *e = entry_of(slot);
    return e != NULL ? load_acquire(e) : NULL; /* with the release in registry_add */
}

bufferpool_t *registry_from(size_t slot)
{
    for (; slot < end; slot++) {
        bufferpool_t *pool = registry_find(slot);
        if (pool != NULL)
            return pool;
    }
    return NULL;
}

static entry *free_entry(size_t *slot)
{
    /* the last slot is left out: no word has it, so a closed gate matches none */
    for (*slot = 0; *slot < POOL_INDEX_MASK; ++*slot) {
        entry *e = entry_of(*slot);
        if (e == NULL) {
            e = calloc(CHUNK_SIZE, sizeof(*e));
            if (e != NULL)
                store_release(&chunks[*slot >> CHUNK_BITS], e); /* with the acquire in entry_of */
            return e;
        }
        if (load_relaxed(e) == NULL)
            return e;
    }
    return NULL;
}

static bool name_taken(const char *name)
{
    for (bufferpool_t *pool = registry_from(0); pool != NULL; pool = registry_from(pool->index + 1))
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
    size_t slot;
    entry *e = free_entry(&slot);
    if (e == NULL)
        return false;
    pool->name = unique_name(name);
    if (pool->name == NULL)
        return false;
    pool->index = slot;
    pool->tls_index = desc_tls_index(slot);
    /* an odd multiplier: consecutive generations look nothing alike, and none repeats before all were used */
    pool->tag = desc_tag(next_generation++ * (uint32_t)0x9e3779b1u, slot);
    if (slot >= end)
        end = slot + 1;
    store_release(e, pool); /* with the acquire in registry_find */
    return true;
}

void registry_remove(bufferpool_t *pool)
{
    store_relaxed(entry_of(pool->index), NULL);
}
