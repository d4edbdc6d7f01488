/* SPDX-License-Identifier: MIT
 *
 * budget.c - schedules of two pools that share a budget of one buffer: what comes back in one pool serves the callers
 * that wait for bytes in the other
 *
 * These callers are event loops, which sleep until their file descriptor is readable. A thread would look again after
 * two milliseconds, so a wake-up that is lost would not show.
 *
 * At each step the budget has used no more than it was charged with, and was charged with no more than the limit; and
 * no more blocks exist than were charged. At the end a budget has used what exists, and nothing once all pools have
 * ended.
 */
#include "bufferpool.h"
#include "explorer.h"

#include "heap/heap.h"
#include "support/inside.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

enum { CAPACITY = 64, MANY = 8, BLOCKS = 16, BLOCK = 256, POOLS = 2, A = 0, B = 1 };

/* ---- blocks ---- */

static _Alignas(64) unsigned char memory[BLOCKS][BLOCK];
static bool in_use[BLOCKS];
static size_t blocks;

static void *take_block(size_t size, size_t align, void *ctx)
{
    (void)ctx;
    explorer_check(size <= BLOCK && align <= 64);
    explorer_step();
    for (size_t i = 0; i < BLOCKS; i++)
        if (!in_use[i]) {
            in_use[i] = true;
            blocks++;
            return memory[i];
        }
    return NULL;
}

static void free_block(void *block, size_t size, void *ctx)
{
    (void)ctx;
    (void)size;
    explorer_step();
    const size_t i = (size_t)((unsigned char *)block - memory[0]) / BLOCK;
    explorer_check(block == memory[i] && in_use[i]);
    in_use[i] = false;
    blocks--;
}

/* ---- pools, and what threads have ---- */

static bufferpool_budget_t *budget;
static bufferpool_t *pools[POOLS];
static size_t unit; /* what a buffer takes of the budget */

static struct caller {
    bufferpool_buf_t *held;
    bufferpool_notifier_t *notifier;
    bufferpool_waiter_t waiter, second;
} callers[EXPLORER_THREADS];

static struct caller *caller(void)
{
    return &callers[explorer_self()];
}

static void put(void)
{
    struct caller *c = caller();
    bufferpool_buf_t *buf = c->held;
    c->held = NULL;
    bufferpool_put(buf);
}

/* May get none: the budget is for one buffer. */
static void get(bufferpool_t *pool)
{
    struct caller *c = caller();
    c->held = bufferpool_get(pool);
    explorer_check(c->held != NULL || errno == ENOMEM);
}

static void join(bufferpool_t *pool)
{
    struct caller *c = caller();
    c->held = bufferpool_get_async(pool, &c->waiter, c->notifier);
    explorer_check(c->held != NULL || errno == EINPROGRESS);
}

/* The next waiter that is ready. If there is none, the file descriptor is not readable, unless one became ready since,
 * or the loop is to look again. */
static bufferpool_buf_t *next(void)
{
    bufferpool_notifier_t *notifier = caller()->notifier;
    struct pollfd ask = {bufferpool_notifier_fd(notifier), POLLIN, 0};
    explorer_await_readable(ask.fd);
    const bufferpool_waiter_t *w = bufferpool_notifier_next(notifier);
    if (w == NULL) {
        explorer_check(poll(&ask, 1, 0) == 0 || notifier->first != NULL || load_relaxed(&notifier->again));
        return NULL;
    }
    explorer_check(w->error == 0);
    return w->buf;
}

static void await_buffer(void)
{
    struct caller *c = caller();
    while (c->held == NULL)
        c->held = next();
}

static void loop_in(bufferpool_t *pool)
{
    join(pool);
    await_buffer();
    put();
}

static void at_each_step(void)
{
    const size_t used = load_relaxed(&budget->used), charged = load_relaxed(&budget->charged);
    explorer_check(used <= charged && charged <= load_relaxed(&budget->bytes));
    explorer_check(blocks * unit <= charged);
}

/* ---- what threads do ---- */

static void put_one(void)
{
    put();
}

static void loop_in_a(void)
{
    loop_in(pools[A]);
}

static void loop_in_b(void)
{
    loop_in(pools[B]);
}

/* The loop has joined before. */
static void is_served(void)
{
    await_buffer();
    put();
}

static void cancels(void)
{
    bufferpool_cancel(&caller()->waiter);
}

static void uses_a(void)
{
    get(pools[A]);
    if (caller()->held != NULL)
        put();
}

static void trims_a(void)
{
    (void)bufferpool_trim(pools[A]);
}

static void flushes(void)
{
    bufferpool_thread_flush();
}

static void exits(void)
{
    explorer_exit();
}

/* The loop has joined twice before, and puts nothing before it has both buffers. */
static void is_served_twice(void)
{
    bufferpool_buf_t *bufs[2];
    for (unsigned n = 0; n < 2; n += bufs[n] != NULL)
        bufs[n] = next();
    bufferpool_put(bufs[0]);
    bufferpool_put(bufs[1]);
}

static void lifts_the_cap(void)
{
    bufferpool_set_max_live(pools[B], 0);
}

static void raises(void)
{
    bufferpool_budget_set(budget, 2 * unit);
    explorer_join(1);
    put();
}

static void destroys_a(void)
{
    bufferpool_t *pool = pools[A];
    pools[A] = NULL;
    explorer_check(bufferpool_destroy(pool) == 0);
}

static void puts_and_destroys_a(void)
{
    put();
    destroys_a();
}

static void closes_a_and_puts(void)
{
    bufferpool_t *pool = pools[A];
    pools[A] = NULL;
    bufferpool_close(pool);
    put();
}

/* ---- scenes ---- */

static void begin(void)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = config.max_capacity = CAPACITY;
    config.thread_cache_bytes = (size_t)MANY * CAPACITY;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    config.alloc = take_block;
    config.free = free_block;
    config.budget = budget = bufferpool_budget_create("scene", SIZE_MAX);
    explorer_check(budget != NULL);
    memset(callers, 0, sizeof callers);
    for (unsigned i = 0; i < POOLS; i++)
        pools[i] = bufferpool_create(&config);
    explorer_check(pools[A] != NULL && pools[B] != NULL);
    for (unsigned t = 0; t < EXPLORER_THREADS; t++)
        callers[t].notifier = bufferpool_notifier_create();
    unit = heap_bytes(&pools[A]->heap, CAPACITY);
}

static void use_both(void)
{
    for (unsigned i = 0; i < POOLS; i++) {
        get(pools[i]);
        put();
        bufferpool_thread_flush();
    }
}

static void get_in_a(void)
{
    get(pools[A]);
    explorer_check(caller()->held != NULL);
}

static void join_in_b(void)
{
    join(pools[B]);
}

/* The threads have caches in both pools, and thread 0 has the only buffer, of pool A. */
static void one_made(void)
{
    begin();
    for (unsigned t = 0; t < EXPLORER_THREADS; t++)
        explorer_as(t, use_both);
    for (unsigned i = 0; i < POOLS; i++)
        (void)bufferpool_trim(pools[i]);
    explorer_as(0, get_in_a);
}

static void one_out(void)
{
    one_made();
    bufferpool_budget_set(budget, unit);
}

/* The buffer idles in the cache of thread 0, which is open. */
static void one_idle(void)
{
    one_made();
    explorer_as(0, put_one);
    bufferpool_budget_set(budget, unit);
}

/* Thread 0 has the buffer, and thread 1 waits in pool B. */
static void one_waits(void)
{
    one_out();
    explorer_as(1, join_in_b);
}

static void get_large_in_b(void)
{
    get(pools[B]);
    explorer_check(bufferpool_buf_reserve(caller()->held, 2 * CAPACITY) == 0);
}

static void join_twice_in_b(void)
{
    struct caller *c = caller();
    explorer_check(bufferpool_get_async(pools[B], &c->waiter, c->notifier) == NULL && errno == EINPROGRESS);
    explorer_check(bufferpool_get_async(pools[B], &c->second, c->notifier) == NULL && errno == EINPROGRESS);
}

/* A buffer of pool A idles in the open cache of thread 0. Thread 1 has all that the cap of pool B allows, a buffer that
 * its put frees, with the bytes of nearly two. Thread 2 waits there twice. */
static void two_wait_at_the_cap(void)
{
    one_made();
    explorer_as(0, put_one);
    bufferpool_set_max_live(pools[B], 1);
    explorer_as(1, get_large_in_b);
    bufferpool_budget_set(budget, load_relaxed(&budget->charged));
    explorer_as(2, join_twice_in_b);
}

static void end_of_thread(void)
{
    struct caller *c = caller();
    if (c->held != NULL)
        put();
    explorer_check(bufferpool_notifier_destroy(c->notifier) == 0);
}

static void end(void)
{
    for (unsigned t = 0; t < EXPLORER_THREADS; t++)
        explorer_as(t, end_of_thread);
    explorer_check(bufferpool_budget_used(budget) == blocks * unit);
    for (unsigned i = 0; i < POOLS; i++)
        if (pools[i] != NULL)
            explorer_check(bufferpool_destroy(pools[i]) == 0);
    explorer_check(blocks == 0 && load_relaxed(&budget->used) == 0 && load_relaxed(&budget->charged) == 0);
    explorer_check(bufferpool_budget_destroy(budget) == 0);
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"put_and_join", 2, 16000, one_out, {put_one, loop_in_b}, at_each_step, end},
        {"put_and_serve", 2, 4900, one_waits, {put_one, is_served}, at_each_step, end},
        {"use_and_join", 2, 16000, one_idle, {uses_a, loop_in_b}, at_each_step, end},
        {"flush_and_join", 2, 9100, one_idle, {flushes, loop_in_b}, at_each_step, end},
        {"exit_and_join", 2, 10000, one_idle, {exits, loop_in_b}, at_each_step, end},
        {"trim_and_join", 2, 13000, one_idle, {trims_a, loop_in_b}, at_each_step, end},
        {"raise_and_join", 2, 8200, one_out, {raises, loop_in_b}, at_each_step, end},
        {"destroy_and_join", 1, 580, one_out, {puts_and_destroys_a, loop_in_b}, at_each_step, end},
        {"destroy_idle_and_join", 2, 36000, one_idle, {destroys_a, loop_in_b}, at_each_step, end},
        {"close_and_join", 2, 49000, one_out, {closes_a_and_puts, loop_in_b}, at_each_step, end},
        {"two_join", 1, 8300, one_out, {put_one, loop_in_b, loop_in_a}, at_each_step, end},
        {"lift_and_put", 1, 1400, two_wait_at_the_cap, {lifts_the_cap, put_one, is_served_twice}, at_each_step, end},
        {"cancel_beside_a_loop", 1, 1400, one_waits, {put_one, cancels, loop_in_a}, at_each_step, end},
    };
    return explorer_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
