/* SPDX-License-Identifier: MIT
 *
 * own_magazines.c - magazines as Bonwick and Adams describe them (USENIX 2001): no cap, no count, no checks
 *
 * A thread has two magazines, the loaded one and the previous one. It goes to the depot, under a mutex, only if neither
 * of them serves. A magazine holds 16 buffers, so a thread keeps up to 1 MiB of 32 KiB buffers. That is twice as much
 * as libbufferpool keeps by default.
 */
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

void own_start(size_t size);
void *own_get(void);
void own_put(void *data);

enum { ROUNDS = 16 };

struct magazine {
    struct magazine *next;
    unsigned n;
    void *rounds[ROUNDS];
};

static size_t buffer_size;
static pthread_key_t key;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct magazine *full, *empty;

/* A new thread has no magazine. These two stand for it: empty for a get, full for a put. */
static struct magazine none_empty = {NULL, 0, {NULL}}, none_full = {NULL, ROUNDS, {NULL}};
static _Thread_local struct magazine *loaded_get = &none_empty, *loaded = &none_full, *previous;

static struct magazine *pop(struct magazine **list)
{
    struct magazine *magazine = *list;
    if (magazine != NULL)
        *list = magazine->next;
    return magazine;
}

static void push(struct magazine **list, struct magazine *magazine)
{
    magazine->next = *list;
    *list = magazine;
}

static struct magazine *make(void)
{
    struct magazine *magazine = calloc(1, sizeof(*magazine));
    if (magazine == NULL)
        abort();
    return magazine;
}

/* A magazine that is neither full nor empty may stand among the full ones, since it has buffers to give. */
static void give_back(struct magazine *magazine)
{
    push(magazine->n > 0 ? &full : &empty, magazine);
}

static void at_exit(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    give_back(loaded);
    give_back(previous);
    pthread_mutex_unlock(&lock);
    loaded_get = &none_empty;
    loaded = &none_full;
    previous = NULL;
}

static void begin(void)
{
    loaded_get = loaded = make();
    previous = make();
    if (pthread_setspecific(key, loaded) != 0)
        abort();
}

static void swap(void)
{
    struct magazine *other = previous;
    previous = loaded;
    loaded_get = loaded = other;
}

void own_start(size_t size)
{
    buffer_size = size;
    if (pthread_key_create(&key, at_exit) != 0)
        abort();
}

static __attribute__((noinline)) void *get_slowly(void)
{
    if (previous == NULL)
        begin();
    if (previous->n == 0) {
        pthread_mutex_lock(&lock);
        struct magazine *magazine = pop(&full);
        if (magazine != NULL) {
            push(&empty, previous);
            previous = magazine;
        }
        pthread_mutex_unlock(&lock);
        if (magazine == NULL)
            return malloc(buffer_size);
    }
    swap();
    return loaded->rounds[--loaded->n];
}

static __attribute__((noinline)) void put_slowly(void *data)
{
    if (previous == NULL)
        begin();
    else if (previous->n > 0) {
        pthread_mutex_lock(&lock);
        push(&full, previous);
        previous = pop(&empty);
        pthread_mutex_unlock(&lock);
        if (previous == NULL)
            previous = make();
        swap();
    } else {
        swap();
    }
    loaded->rounds[loaded->n++] = data;
}

void *own_get(void)
{
    struct magazine *magazine = loaded_get;
    return magazine->n > 0 ? magazine->rounds[--magazine->n] : get_slowly();
}

void own_put(void *data)
{
    struct magazine *magazine = loaded;
    if (magazine->n < ROUNDS)
        magazine->rounds[magazine->n++] = data;
    else
        put_slowly(data);
}
