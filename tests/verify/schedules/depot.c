/* SPDX-License-Identifier: MIT
 *
 * depot.c - schedules of the depot by itself: pop and push, with the head coming back; the counts and the cap; callers
 * that wait
 */
#include "explorer.h"
#include "inlines.h"

#include <string.h>

enum { BUFFERS = 8, IN_DEPOT = EXPLORER_THREADS };

static struct desc_table table;
static struct depot depot;
static _Atomic(size_t) max_live;
static size_t limit;                /* buffers that may exist */
static size_t exist;                /* made and not freed */
static unsigned owner[BUFFERS + 1]; /* a thread, or IN_DEPOT; by descriptor's number */

static struct desc *desc(uint32_t index)
{
    return desc_at(&table, index);
}

static void at_each_step(void)
{
    const struct depot_counts counts = depot_counts(&depot);
    explorer_check(exist <= counts.pooled);
    explorer_check(exist <= limit);
}

/* n buffers in the depot, the first on top, each by itself. */
static void begin(uint32_t n, size_t cap)
{
    while (load_relaxed(&table.used) < BUFFERS)
        (void)desc_take(&table);
    memset(&depot, 0, sizeof depot);
    store_relaxed(&max_live, cap);
    limit = cap;
    exist = n;
    for (uint32_t i = 1; i <= BUFFERS; i++)
        owner[i] = IN_DEPOT;
    depot_reset(&depot, n);
    for (uint32_t i = n; i > 0; i--) {
        struct desc *d = desc(i);
        depot_push(&depot, &table, &d, 1, false);
    }
}

/* What the running thread popped last. */
static struct popped {
    struct desc *bufs[MAGAZINE_MAX];
    uint32_t n;
} popped[EXPLORER_THREADS + 1];

static struct popped *take_over(struct magazine magazine)
{
    struct popped *p = &popped[explorer_self()];
    p->n = magazine.n;
    if (magazine.head != NULL)
        magazine_open(&magazine, &table, p->bufs);
    for (uint32_t i = 0; i < p->n; i++) {
        explorer_check(owner[p->bufs[i]->index] == IN_DEPOT);
        owner[p->bufs[i]->index] = explorer_self();
    }
    return p;
}

/* As the owner of an open cache. */
static struct popped *pop(void)
{
    return take_over(depot_pop(&depot, &table));
}

/* As any other call, which hands out so many. */
static struct popped *pop_some(uint32_t out)
{
    return take_over(depot_pop_some(&depot, &table, out));
}

static void push(struct desc *const *bufs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        owner[bufs[i]->index] = IN_DEPOT;
    depot_push(&depot, &table, bufs, n, false);
}

/* Each buffer that exists has an owner or lies in the depot, and no call has tickets. */
static void end(void)
{
    size_t has = 0, n = 0;
    for (uint32_t i = 1; i <= BUFFERS; i++)
        has += owner[i] != IN_DEPOT;
    explorer_check(depot_counts(&depot).tickets == 0);
    const uint32_t idle = depot_idle(&depot, &table);
    for (uint32_t got = pop()->n; got > 0; got = pop()->n)
        n += got;
    explorer_check(n == idle);
    explorer_check(n + has == exist && depot_counts(&depot).pooled == exist);
}

/* ---- the head comes back, with another one beneath ---- */

static void two_in_the_depot(void)
{
    begin(2, 2);
}

static void pops(void)
{
    (void)pop();
}

static void pops_both_and_pushes_the_first(void)
{
    struct popped *p = pop();
    if (p->n == 0)
        return;
    struct desc *first = p->bufs[0];
    (void)pop();
    push(&first, 1);
}

/* ---- magazines ---- */

static void magazines_in_the_depot(void)
{
    begin(6, 6);
    struct popped *p = pop();
    struct desc *bufs[6] = {p->bufs[0]};
    for (int i = 1; i < 6; i++)
        bufs[i] = pop()->bufs[0];
    push(bufs, 2);
    push(bufs + 2, 4);
}

static void takes_one_of_a_magazine(void)
{
    struct popped *p = pop_some(1);
    if (p->n == 0)
        return;
    for (uint32_t i = 0; i + 1 < p->n; i++)
        owner[p->bufs[i]->index] = IN_DEPOT;
    if (p->n > 1)
        depot_restore(&depot, &table, p->bufs, p->n - 1, false);
}

static void moves_a_magazine(void)
{
    struct popped *p = pop();
    if (p->n > 0)
        push(p->bufs, p->n);
}

/* ---- the counts ---- */

static void frees_one(void)
{
    struct popped *p = pop_some(0);
    if (p->n == 0)
        return;
    owner[p->bufs[0]->index] = IN_DEPOT; /* no thread's */
    exist--;
    depot_discard(&depot, 1);
}

/* A buffer that is made has no descriptor here. It is counted under a number of its thread's own. */
static bool make(void)
{
    if (!depot_reserve(&depot, &max_live))
        return false;
    exist++;
    owner[BUFFERS - explorer_self()] = explorer_self();
    return true;
}

static void makes(void)
{
    (void)make();
}

static void makes_and_frees(void)
{
    if (!make())
        return;
    owner[BUFFERS - explorer_self()] = IN_DEPOT;
    exist--;
    depot_unreserve(&depot, 1);
}

static void one_of_two(void)
{
    begin(1, 2);
}

static void lowers_the_cap(void)
{
    store_seq_cst(&max_live, 1); /* as bufferpool_set_max_live does, which may be stopped there */
    explorer_step();
    if (!stepped_over_cap(&depot, &max_live)) {
        limit = 1;
        explorer_touch();
    }
}

static void none_of_one(void)
{
    begin(0, 1);
}

/* ---- callers that wait ---- */

static bool found, told;

static void one_is_out(void)
{
    begin(1, 1);
    (void)pop();
    popped[0] = popped[EXPLORER_THREADS];
    owner[popped[0].bufs[0]->index] = 0;
    found = told = false;
}

static void pushes_and_asks(void)
{
    push(popped[0].bufs, 1);
    told |= stepped_wanted(&depot);
}

static void frees_and_asks(void)
{
    owner[popped[0].bufs[0]->index] = IN_DEPOT;
    exist--;
    depot_unreserve(&depot, 1);
    told |= stepped_wanted(&depot);
}

static void takes_and_restores_and_asks(void)
{
    struct popped *p = pop_some(0);
    if (p->n == 0)
        return;
    owner[p->bufs[0]->index] = IN_DEPOT;
    depot_restore(&depot, &table, p->bufs, 1, false);
    told |= stepped_wanted(&depot);
}

static void wants_and_looks(void)
{
    depot_want(&depot, true);
    found = pop()->n > 0 || make();
}

static void end_found_or_told(void)
{
    explorer_check(found || told);
    end();
}

/* ---- the verdict ---- */

static bool asks, nothing_there, exhausted;

static void at_each_step_of_the_verdict(void)
{
    at_each_step();
    if (asks)
        nothing_there |= (uint32_t)load_relaxed(&depot.head) == 0;
}

static void one_out_one_in(void)
{
    begin(2, 2);
    (void)pop();
    popped[0] = popped[EXPLORER_THREADS];
    owner[popped[0].bufs[0]->index] = 0;
    depot_begin_pressure(&depot);
    asks = nothing_there = exhausted = false;
}

static void asks_for_the_verdict(void)
{
    asks = true;
    explorer_touch();
    exhausted = stepped_exhausted(&depot, &max_live);
    explorer_touch();
    explorer_laws();
    asks = false;
    explorer_check(!exhausted || nothing_there);
}

static void puts_and_gets(void)
{
    push(popped[0].bufs, 1);
    (void)pop();
}

static void gets_and_puts(void)
{
    struct popped *p = pop();
    if (p->n > 0)
        push(p->bufs, 1);
}

/* Callers have one of two at most: the other idles, and is popped to be freed. */
static void asks_in_vain(void)
{
    explorer_check(!stepped_exhausted(&depot, &max_live));
}

/* Thread 0 has one of two by a ticket, as in its cache. */
static void one_by_a_ticket(void)
{
    one_out_one_in();
    depot_cover(&depot, 1);
}

/* Both of two lie in the depot, in one magazine. */
static void one_magazine(void)
{
    begin(2, 2);
    struct desc *bufs[2] = {pop()->bufs[0]};
    bufs[1] = pop()->bufs[0];
    push(bufs, 2);
    depot_begin_pressure(&depot);
}

static void ends_its_ticket(void)
{
    push(popped[0].bufs, 1);
    depot_end_tickets(&depot, 1);
}

/* ---- beyond the cap ---- */

static bool lifted_beyond, seen;

static void all_out(void)
{
    begin(1, 1);
    (void)pop();
    popped[0] = popped[EXPLORER_THREADS];
    owner[popped[0].bufs[0]->index] = 0;
    depot_begin_pressure(&depot);
    lifted_beyond = seen = false;
    limit = BUFFERS;
}

static void puts_and_looks(void)
{
    push(popped[0].bufs, 1);
    seen |= stepped_over_cap(&depot, &max_live);
}

static void lifts_and_looks(void)
{
    if (depot_lift(&depot).pooled > load_relaxed(&max_live))
        lifted_beyond = true;
    exist++;
    owner[BUFFERS - explorer_self()] = explorer_self();
    seen |= !stepped_empty(&depot);
}

/* As long as both exist, and one idles, a call knows. */
static void end_seen(void)
{
    explorer_check(!lifted_beyond || seen);
    end();
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"head_comes_back", 7, 10000, two_in_the_depot, {pops, pops_both_and_pushes_the_first}, at_each_step, end},
        {"head_comes_back_beside_a_third",
         3,
         17000,
         two_in_the_depot,
         {pops, pops_both_and_pushes_the_first, moves_a_magazine},
         at_each_step,
         end},
        {"magazines",
         3,
         18000,
         magazines_in_the_depot,
         {takes_one_of_a_magazine, moves_a_magazine, pops},
         at_each_step,
         end},
        {"made_at_the_cap", ALL_THERE_ARE, 8700, one_of_two, {makes, makes_and_frees, makes}, at_each_step, end},
        {"made_while_freed", ALL_THERE_ARE, 2600, one_of_two, {frees_one, makes, makes_and_frees}, at_each_step, end},
        {"cap_lowered", 5, 2800, one_of_two, {makes, lowers_the_cap, makes_and_frees}, at_each_step, end},
        {"first_of_one",
         ALL_THERE_ARE,
         9900,
         none_of_one,
         {makes, makes_and_frees, makes_and_frees},
         at_each_step,
         end},
        {"wanted_and_put",
         ALL_THERE_ARE,
         150,
         one_is_out,
         {pushes_and_asks, wants_and_looks},
         at_each_step,
         end_found_or_told},
        {"wanted_and_freed",
         ALL_THERE_ARE,
         13,
         one_is_out,
         {frees_and_asks, wants_and_looks},
         at_each_step,
         end_found_or_told},
        {"wanted_and_restored",
         5,
         33000,
         one_is_out,
         {pushes_and_asks, wants_and_looks, takes_and_restores_and_asks},
         at_each_step,
         end_found_or_told},
        {"verdict",
         4,
         49000,
         one_out_one_in,
         {puts_and_gets, asks_for_the_verdict, gets_and_puts},
         at_each_step_of_the_verdict,
         end},
        {"verdict_beside_a_free",
         4,
         22000,
         one_out_one_in,
         {puts_and_gets, asks_in_vain, frees_one},
         at_each_step,
         end},
        {"verdict_and_tickets_end",
         4,
         5200,
         one_by_a_ticket,
         {ends_its_ticket, asks_in_vain, takes_one_of_a_magazine},
         at_each_step,
         end},
        {"verdict_beside_a_restore",
         ALL_THERE_ARE,
         10,
         one_magazine,
         {takes_one_of_a_magazine, asks_in_vain},
         at_each_step,
         end},
        {"put_and_lift", ALL_THERE_ARE, 10, all_out, {puts_and_looks, lifts_and_looks}, at_each_step, end_seen},
    };
    return explorer_main(argc, argv, scenarios, sizeof scenarios / sizeof scenarios[0]);
}
