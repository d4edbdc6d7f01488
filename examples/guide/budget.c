/* SPDX-License-Identifier: MIT
 *
 * budget.c - two pools under one budget in bytes: what a program sees when the bytes are used up
 *
 *     budget      prints what happens
 */
#include "ending.h"

#include <errno.h>
#include <stdlib.h>

#define KIB   ((size_t)1024)
#define LIMIT (1024 * KIB)

enum { MOST = 100 };

static bufferpool_budget_t *budget;
static bufferpool_t *heads, *bodies;
static bufferpool_buf_t *held[MOST];

static const char *name_of(int error)
{
    return error == 0 ? "works" : error == EAGAIN ? "EAGAIN" : error == ENOMEM ? "ENOMEM" : strerror(error);
}

static const char *within(void)
{
    return bufferpool_budget_used(budget) <= LIMIT ? "within the limit" : "MORE than the limit";
}

/* Takes bodies until there are no bytes for another one. Returns how many it has, and why not more in errno. */
static size_t take_bodies(void)
{
    size_t n = 0;
    while (n < MOST && (held[n] = bufferpool_try_get(bodies)) != NULL)
        n++;
    return n;
}

/* A request that needs a head of 4 KiB, and puts it. Returns 0 or an errno value. */
static int one_head(void)
{
    bufferpool_buf_t *head = bufferpool_get_timed(heads, 1);
    if (head == NULL)
        return errno;
    bufferpool_put(head);
    return 0;
}

int main(void)
{
    budget = bufferpool_budget_create("requests", LIMIT);
    if (budget == NULL)
        return 1;
    const unsigned flags = BUFFERPOOL_BACKGROUND;
    heads = bufferpool_create(
        BUFFERPOOL_CONFIG(.name = "heads", .buffer_capacity = 4 * KIB, .flags = flags, .budget = budget));
    bodies = bufferpool_create(
        BUFFERPOOL_CONFIG(.name = "bodies", .buffer_capacity = 64 * KIB, .flags = flags, .budget = budget));
    if (heads == NULL || bodies == NULL) {
        perror("budget");
        return 1;
    }
    const size_t n = take_bodies();
    printf("bodies until no bytes are left: %s, %s\n", name_of(errno), within());
    int error = bufferpool_buf_reserve(held[0], LIMIT);
    printf("growth: %s, the body still has %zu bytes\n", name_of(error), held[0]->cap);

    bufferpool_put_bulk(held, n); /* they idle now, and count as before: ... */
    error = one_head();           /* ... but they make room */
    printf("head beside idle bodies: %s, %s\n", name_of(error), within());

    bufferpool_budget_set(budget, 256 * KIB);
    printf("lowered to 256 KiB: %s\n", bufferpool_budget_used(budget) <= 256 * KIB ? "idle bodies are freed" : "?");

    const int left = end_pool(heads) + end_pool(bodies);
    return bufferpool_budget_destroy(budget) != 0 || left != 0;
}
