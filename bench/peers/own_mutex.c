/* SPDX-License-Identifier: MIT
 *
 * own_mutex.c - one free list under one mutex: the first pool that one writes
 */
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

void own_start(size_t size);
void *own_get(void);
void own_put(void *data);

struct idle {
    struct idle *next;
};

static size_t buffer_size;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct idle *top;

void own_start(size_t size)
{
    buffer_size = size;
}

void *own_get(void)
{
    pthread_mutex_lock(&lock);
    struct idle *idle = top;
    if (idle != NULL)
        top = idle->next;
    pthread_mutex_unlock(&lock);
    return idle != NULL ? idle : malloc(buffer_size);
}

void own_put(void *data)
{
    struct idle *idle = data;
    pthread_mutex_lock(&lock);
    idle->next = top;
    top = idle;
    pthread_mutex_unlock(&lock);
}
