/* SPDX-License-Identifier: MIT
 *
 * handover.c - a buffer that a library keeps until it is done with the bytes: put by a callback that gets only `data`
 *
 *     handover N      sends N lines through the writer
 */
#include "ending.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- a library of somebody else: a thread writes what it is given, then calls release ---- */

struct piece {
    struct piece *next;
    char *bytes;
    size_t n;
    void (*release)(void *bytes);
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct piece *first, **last = &first;
static bool ended;

static void writer_add(struct piece *piece)
{
    pthread_mutex_lock(&lock);
    piece->next = NULL;
    *last = piece;
    last = &piece->next;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void writer_end(void)
{
    pthread_mutex_lock(&lock);
    ended = true;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static struct piece *next_piece(void)
{
    pthread_mutex_lock(&lock);
    while (first == NULL && !ended)
        pthread_cond_wait(&changed, &lock);
    struct piece *piece = first;
    if (piece != NULL)
        first = piece->next;
    if (first == NULL)
        last = &first;
    pthread_mutex_unlock(&lock);
    return piece;
}

static void *writer(void *failed)
{
    struct piece *piece;
    while ((piece = next_piece()) != NULL) {
        if (write(STDOUT_FILENO, piece->bytes, piece->n) != (ssize_t)piece->n)
            *(bool *)failed = true;
        piece->release(piece->bytes);
    }
    return NULL;
}

/* ---- the program ---- */

/* The library's own struct lies in the buffer too, behind the bytes. So nothing else must be allocated. */
static int send_line(bufferpool_t *pool, size_t number)
{
    bufferpool_buf_t *buf = bufferpool_get_timed(pool, 10000); /* at the cap, waits for the writer */
    if (buf == NULL)
        return errno;
    int error = bufferpool_buf_printf(buf, "line %zu\n", number);
    const size_t align = _Alignof(struct piece), at = (buf->len + align - 1) & ~(align - 1);
    if (error == 0)
        error = bufferpool_buf_reserve(buf, at + sizeof(struct piece));
    if (error != 0) {
        bufferpool_put(buf);
        return error;
    }
    struct piece *piece = (struct piece *)(void *)(buf->data + at);
    *piece = (struct piece){.bytes = (char *)buf->data, .n = buf->len, .release = bufferpool_put_data};
    writer_add(piece); /* the buffer is the writer's now: nobody else may touch, grow or put it */
    return 0;
}

int main(int argc, char **argv)
{
    const size_t n = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    bufferpool_t *pool =
        bufferpool_create(BUFFERPOOL_CONFIG(.name = "lines", .max_live = 8, .flags = BUFFERPOOL_BACKGROUND));
    pthread_t thread;
    bool failed = false;
    if (pool == NULL || pthread_create(&thread, NULL, writer, &failed) != 0) {
        fprintf(stderr, "handover: no pool, or no thread\n");
        return 1;
    }
    int error = 0;
    for (size_t i = 1; i <= n && error == 0; i++)
        error = send_line(pool, i);
    writer_end();
    pthread_join(thread, NULL);
    return end_pool(pool) != 0 || error != 0 || failed;
}
