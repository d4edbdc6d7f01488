/* SPDX-License-Identifier: MIT
 *
 * lifetime.c - what a program that runs for long does with its pools besides get and put
 *
 *     lifetime      prints what happens
 */
#include <bufferpool.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define KIB     ((size_t)1024)
#define MESSAGE (1024 * KIB)

enum { CONNECTIONS = 32 };

/* The default pool, before anybody uses it. */
static int begin(void)
{
    return bufferpool_configure_default(
        BUFFERPOOL_CONFIG(.max_live = 256, .flags = BUFFERPOOL_BACKGROUND | BUFFERPOOL_PRESSURE));
}

static size_t capacity_of(bufferpool_buf_t *const *connections)
{
    size_t sum = 0;
    for (size_t i = 0; i < CONNECTIONS; i++)
        sum += connections[i]->cap;
    return sum / KIB;
}

/* Each connection lives long, keeps its buffer, and once had a large message. Returns 0 or an errno value. */
static int shrink(bufferpool_buf_t *const *connections)
{
    int error = 0;
    for (size_t i = 0; i < CONNECTIONS && error == 0; i++)
        error = bufferpool_buf_reserve(connections[i], MESSAGE);
    printf("after a large message each: %s\n",
           capacity_of(connections) >= (size_t)CONNECTIONS * 1024 ? "1 MiB or more" : "?");
    for (size_t i = 0; i < CONNECTIONS && error == 0; i++)
        error = bufferpool_buf_shrink(connections[i], 0);
    printf("shrunk: %zu KiB each\n", capacity_of(connections) / CONNECTIONS);
    return error;
}

/* Where does a leak come from? A signal of the operator would switch this on, and off again. */
static void look_for_a_leak(void)
{
    if (bufferpool_record_holders(1) == ENOTSUP) {
        printf("the library has no debug modes\n");
        return;
    }
    bufferpool_buf_t *leaked = bufferpool_get(NULL), *table = bufferpool_get(NULL);
    if (leaked != NULL && table != NULL && bufferpool_holders(table) == 0)
        printf("held from before: %s\n", strstr((char *)table->data, "got before recording began") ? "listed" : "?");
    bufferpool_put(table);
    bufferpool_put(leaked);
    bufferpool_record_holders(0);
}

/* A server that stops while another thread, or a library, still has buffers. Returns 0 or an errno value. */
static int stop(void)
{
    bufferpool_t *replies = bufferpool_create(BUFFERPOOL_CONFIG(.name = "replies", .max_live = 8));
    bufferpool_buf_t *late = replies != NULL ? bufferpool_get(replies) : NULL;
    if (late == NULL)
        return ENOMEM;
    bufferpool_close(replies); /* calls that wait get ECANCELED; nobody may get any more */
    bufferpool_put(late);      /* the last one: the pool ends here */
    printf("closed with a buffer out, and ended by its put\n");
    return 0;
}

int main(void)
{
    bufferpool_buf_t *connections[CONNECTIONS];
    int error = begin();
    if (error == 0 && bufferpool_get_bulk(NULL, connections, CONNECTIONS) != 0)
        error = ENOMEM;
    if (error == 0) {
        printf("configured a second time: %s\n", begin() == EBUSY ? "EBUSY" : "?");
        error = shrink(connections);
        look_for_a_leak();
        bufferpool_put_bulk(connections, CONNECTIONS);
        printf("a step of a trim: %s\n", bufferpool_trim_some(NULL, 64 * KIB) >= 64 * KIB ? "64 KiB or more" : "?");
        (void)bufferpool_trim(NULL); /* the rest */
    }
    if (error == 0)
        error = stop();
    if (error != 0)
        fprintf(stderr, "lifetime: %s\n", strerror(error));
    return error != 0 || bufferpool_live(NULL) != 0;
}
