/* SPDX-License-Identifier: MIT
 *
 * contention.c - a simulation: threads on processors of their own that exchange magazines, with shards of the depot and
 * without
 *
 *     contention [NS]    a transfer of a cache line takes NS (100 if none is given)
 *
 * Each thread gets HOLD buffers and puts them, again and again, with a pause of up to 2 us in between. The library
 * itself runs, one call at a time, by the thread whose clock is the furthest behind. A call takes CALL_NS, an atomic
 * read-modify-write SWAP_NS more. A line that another processor has takes a transfer: a write of a line that others
 * have too, or a read of one that another wrote last. Transfers of one line for writes come one after the other. Lines
 * that no atomic operation touches, such as the content of buffers, are not part of it. No swap fails here, where on a
 * machine some would; so what is shown of contention is the least.
 *
 * Prints a table, and fails if shards do not do what docs/design.md says of them. Nothing is measured: the figures are
 * the same each time.
 */
#define LINES_DECLARATIONS_ONLY
#include "lines.h"

#include "shards.h"
#include "tls_cache.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS_MAX = 256, HOLD = 256, CALL_NS = 5, SWAP_NS = 5, ROUNDS = 256, LINES = 1 << 18 };

struct line {
    uintptr_t number;                /* 0: not in use */
    double free_ns;                  /* when its last transfer ends */
    uint64_t have[THREADS_MAX / 64]; /* a bit for each processor that has it */
    bool written;                    /* by the only one that has it */
};

struct simulated {
    struct thread *self; /* what the library's threads have for tls_self */
    bufferpool_buf_t *bufs[HOLD];
    unsigned n;
    bool puts;
    double ns; /* its clock */
};

int line_processor;
static struct line lines[LINES];
static struct simulated threads[THREADS_MAX];
static unsigned turn; /* the thread that makes a call */
static bool counting;
static double transfer_ns = 100;
static uint64_t transfers;

int line_clock_gettime(struct timespec *now)
{
    *now = (struct timespec){1000, 0};
    return 0;
}

/* Threads that never pause would stay in step for ever. */
static double pause_ns(void)
{
    static uint64_t random = 1;
    random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (double)(random >> 53);
}

static struct line *line_of(const volatile void *p)
{
    const uintptr_t number = (uintptr_t)p / 64;
    size_t at = (number * UINT64_C(0x9e3779b97f4a7c15)) >> 46;
    while (lines[at].number != number && lines[at].number != 0)
        at = (at + 1) % LINES;
    lines[at].number = number;
    return &lines[at];
}

static void wait_for_transfer(struct line *line, struct simulated *t, bool alone)
{
    const double begin = t->ns > line->free_ns ? t->ns : line->free_ns;
    t->ns = begin + transfer_ns;
    if (alone)
        line->free_ns = t->ns;
    transfers++;
}

void line_touch(const volatile void *p, enum line_use use)
{
    if (!counting)
        return;
    struct line *line = line_of(p);
    struct simulated *t = &threads[turn];
    const uint64_t bit = (uint64_t)1 << turn % 64;
    const bool has = (line->have[turn / 64] & bit) != 0;
    bool others = false, new = true;
    for (unsigned i = 0; i < THREADS_MAX / 64; i++) {
        others = others || (line->have[i] & ~(i == turn / 64 ? bit : 0)) != 0;
        new = new && line->have[i] == 0;
    }
    if (use == LINE_SWAP)
        t->ns += SWAP_NS;
    if (!new && (use == LINE_READ ? !has : others || !has))
        wait_for_transfer(line, t, use != LINE_READ);
    if (use != LINE_READ)
        memset(line->have, 0, sizeof(line->have));
    line->have[turn / 64] |= bit;
}

static void step(bufferpool_t *pool, bool apart)
{
    struct simulated *t = &threads[turn];
    tls_self = t->self;
    line_processor = apart ? (int)turn : 0;
    t->ns += CALL_NS;
    if (t->puts)
        bufferpool_put(t->bufs[--t->n]);
    else
        t->bufs[t->n++] = bufferpool_get(pool);
    t->self = tls_self;
    if (t->n == 0 || t->n == HOLD)
        t->puts = t->n == HOLD;
    if (t->n == 0)
        t->ns += pause_ns();
}

static void run(bufferpool_t *pool, unsigned n, bool apart, uint64_t calls)
{
    while (calls-- > 0) {
        for (unsigned i = turn = 0; i < n; i++)
            if (threads[i].ns < threads[turn].ns)
                turn = i;
        step(pool, apart);
    }
}

struct result {
    double ns;        /* of all threads together: from one get and put to the next */
    double transfers; /* for each get and put */
};

/* `apart`: each thread is on a processor of its own; otherwise the library thinks that all are on one. */
static struct result simulate(struct thread *none, unsigned n, bool apart)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = 4096;
    config.thread_cache_bytes = 16 * config.buffer_capacity;
    bufferpool_t *pool = bufferpool_create(&config);
    memset(threads, 0, sizeof(threads));
    memset(lines, 0, sizeof(lines));
    for (unsigned i = 0; i < n; i++) {
        threads[i].self = none;
        threads[i].ns = i * 37; /* not all at once */
    }
    counting = true;
    const uint64_t calls = (uint64_t)HOLD * 2 * (n < ROUNDS ? ROUNDS : n);
    run(pool, n, apart, calls);
    for (unsigned i = 0; i < n; i++)
        threads[i].ns = i * 37;
    for (size_t i = 0; i < LINES; i++)
        lines[i].free_ns = 0;
    transfers = 0;
    run(pool, n, apart, calls);
    counting = false;
    double ns = 0;
    for (unsigned i = 0; i < n; i++)
        ns += threads[i].ns / n;
    return (struct result){ns / ((double)calls / 2), (double)transfers / ((double)calls / 2)};
}

/* What docs/design.md says. */
static bool is_right(unsigned n, const struct result *one, const struct result *many)
{
    const double faster = one->ns / many->ns;
    if (n == 1)
        return one->transfers == 0 && many->transfers == 0;
    return faster >= (n < 8 ? 2 : 10) && (n > SHARDS || many->transfers < 0.2);
}

int main(int argc, char **argv)
{
    struct thread *none = tls_self;
    if (argc > 1)
        transfer_ns = strtod(argv[1], NULL);
    printf("hold %d, %.0f ns a transfer; for each get and put:\n", HOLD, transfer_ns);
    printf("          one stack            with shards\n");
    printf("threads   ns      transfers    ns      transfers    faster\n");
    bool right = true;
    for (unsigned n = 1; n <= THREADS_MAX; n *= 2) {
        const struct result one = simulate(none, n, false), many = simulate(none, n, true);
        printf("%7u   %6.2f  %9.2f    %6.2f  %9.2f    %6.1f%s\n", n, one.ns, one.transfers, many.ns, many.transfers,
               one.ns / many.ns, is_right(n, &one, &many) ? "" : "  NOT AS docs/design.md SAYS");
        right = right && is_right(n, &one, &many);
    }
    fflush(stdout);
    _Exit(right ? EXIT_SUCCESS : EXIT_FAILURE); /* buffers are held, and one thread has the tables of many */
}
