/* SPDX-License-Identifier: MIT
 *
 * test_depot.c - the Treiber stack of magazines, and the counts that enforce the cap
 *
 * First the tests simulate the races by hand: depot_peek and depot_swap are the two halves of a pop, and the test does
 * between them whatever other threads may do. Then threads do the same in earnest.
 */
#include "support/support.h"

#include "depot.h"

#define MAGAZINES 24u

static struct desc_table table;

/* Buffers as an array, as they are pushed and come back. */
struct batch {
    uint32_t n;
    struct desc *bufs[MAGAZINE_MAX];
};

static struct batch batch_of(uint32_t n)
{
    struct batch batch = {n, {NULL}};
    for (uint32_t i = 0; i < n; i++)
        batch.bufs[i] = desc_take(&table);
    return batch;
}

static struct desc *one(void)
{
    return desc_take(&table);
}

static void push(struct depot *depot, const struct batch *batch)
{
    depot_push(depot, &table, batch->bufs, batch->n, false);
}

static void push_one(struct depot *depot, struct desc *d)
{
    depot_push(depot, &table, &d, 1, false);
}

static struct batch opened(const struct magazine *magazine)
{
    struct batch batch = {0};
    if (magazine->head == NULL)
        return batch;
    batch.n = magazine->n;
    magazine_open(magazine, &table, batch.bufs);
    thread_check(batch.bufs[batch.n - 1] == magazine->head);
    return batch;
}

static struct batch pop(struct depot *depot)
{
    const struct magazine magazine = depot_pop(depot, &table);
    return opened(&magazine);
}

static struct desc *pop_one(struct depot *depot)
{
    const struct batch batch = pop(depot);
    assert_in_range(batch.n, 0, 1);
    return batch.n == 1 ? batch.bufs[0] : NULL;
}

/* As a call that hands out one buffer or none, and has tickets for the others. */
static struct batch pop_some(struct depot *depot, uint32_t out)
{
    const struct magazine magazine = depot_pop_some(depot, &table, out);
    thread_check(magazine.tickets == (magazine.head != NULL ? magazine.n - out : 0));
    return opened(&magazine);
}

static void check_same(const struct batch *a, const struct batch *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->bufs, b->bufs, a->n * sizeof(a->bufs[0]));
}

/* An empty depot, whose counts know of n buffers. */
static void depot_with(struct depot *depot, uint32_t n)
{
    memset(depot, 0, sizeof(*depot));
    memset(&table, 0, sizeof(table));
    depot_reset(depot, n);
}

static void magazines_come_back_whole_last_in_first_out(void **state)
{
    (void)state;
    struct depot depot;
    depot_with(&depot, MAGAZINE_MAX * (MAGAZINE_MAX + 1) / 2);
    assert_int_equal(pop(&depot).n, 0);
    assert_int_equal(depot_idle(&depot, &table), 0);
    struct batch batches[MAGAZINE_MAX];
    uint32_t idle = 0;
    for (uint32_t n = 1; n <= MAGAZINE_MAX; n++) { /* each shape of tree */
        batches[n - 1] = batch_of(n);
        push(&depot, &batches[n - 1]);
        assert_int_equal(depot_idle(&depot, &table), idle += n);
    }
    for (uint32_t n = MAGAZINE_MAX; n > 0; n--) {
        const struct batch batch = pop(&depot);
        check_same(&batch, &batches[n - 1]);
        assert_int_equal(depot_idle(&depot, &table), idle -= n);
    }
    assert_int_equal(pop(&depot).n, 0);
    assert_int_equal(depot_counts(&depot).pooled, MAGAZINE_MAX * (MAGAZINE_MAX + 1) / 2); /* exchanges move none */
    desc_table_destroy(&table);
}

static void a_magazine_says_whether_it_has_grown_buffers(void **state)
{
    (void)state;
    struct depot depot;
    depot_with(&depot, 6);
    for (int grown = 0; grown < 2; grown++) {
        const struct batch batch = batch_of(3);
        depot_push(&depot, &table, batch.bufs, 3, grown);
        const struct magazine magazine = depot_pop(&depot, &table);
        assert_int_equal(magazine.n, 3);
        assert_int_equal(magazine.grown, grown);
    }
    desc_table_destroy(&table);
}

/* ABA: a popper stalls; others pop its magazine and the one beneath, and push the first again. */
static void a_stalled_pop_is_not_fooled_by_the_same_top(void **state)
{
    (void)state;
    struct depot depot;
    depot_with(&depot, 2);
    struct desc *below = one(), *top = one();
    push_one(&depot, below);
    push_one(&depot, top);

    uint64_t head, link;
    assert_ptr_equal(depot_peek(&depot, &table, &head, &link), top);
    assert_int_equal(link, below->index);
    /* the stalled thread sleeps here */
    assert_ptr_equal(pop_one(&depot), top);
    assert_ptr_equal(pop_one(&depot), below); /* someone holds this one now */
    push_one(&depot, top);
    uint64_t now = load_relaxed(&depot.head);
    assert_int_equal((uint32_t)now, (uint32_t)head); /* the same top: only the tag tells */
    /* and wakes here: success would put `below`, which is held, back on the stack */
    for (int i = 0; i < 100; i++) /* weak: it might fail for no reason */
        assert_false(depot_swap(&depot, head, link));
    assert_int_equal(load_relaxed(&depot.head), now);
    assert_ptr_equal(pop_one(&depot), top);
    assert_null(pop_one(&depot));
    desc_table_destroy(&table);
}

/* A stalled popper's magazine is popped, its buffer dropped, and the descriptor used for another one. */
static void a_stalled_pop_may_read_what_was_freed(void **state)
{
    (void)state;
    struct depot depot;
    depot_with(&depot, 2);
    push_one(&depot, one());
    struct desc *top = one();
    push_one(&depot, top);

    uint64_t head, link;
    (void)depot_peek(&depot, &table, &head, &link);
    (void)pop_one(&depot);
    desc_give(&table, top);
    assert_ptr_equal(desc_take(&table), top);
    store_relaxed(&top->below, 4711); /* whatever its new life writes there */
    uint64_t head_again, link_again;
    (void)depot_peek(&depot, &table, &head_again, &link_again);
    assert_false(depot_swap(&depot, head, link));
    desc_table_destroy(&table);
}

static void the_tag_wraps_without_touching_the_index(void **state)
{
    (void)state;
    struct depot depot;
    depot_with(&depot, 1);
    struct desc *only = one();
    assert_non_null(only);
    push_one(&depot, only);
    store_relaxed(&depot.head, load_relaxed(&depot.head) | (uint64_t)UINT32_MAX << 32);
    assert_ptr_equal(pop_one(&depot), only);
    assert_int_equal(load_relaxed(&depot.head), 0);
    push_one(&depot, only);
    assert_int_equal(load_relaxed(&depot.head), only->index);
    assert_ptr_equal(pop_one(&depot), only);
    desc_table_destroy(&table);
}

static void reservations_stop_at_the_cap(void **state)
{
    (void)state;
    struct depot depot;
    _Atomic(size_t) cap = 3;
    depot_with(&depot, 0);
    for (int i = 0; i < 3; i++)
        assert_true(depot_reserve(&depot, &cap));
    assert_false(depot_reserve(&depot, &cap));
    assert_false(depot_over_cap(&depot, &cap));
    cap = 2;
    assert_true(depot_over_cap(&depot, &cap));
    depot_unreserve(&depot, 1);
    assert_false(depot_over_cap(&depot, &cap));
    assert_false(depot_reserve(&depot, &cap));
    cap = 0; /* none */
    assert_true(depot_reserve(&depot, &cap));
    depot_unreserve(&depot, 3);
    assert_int_equal(depot_counts(&depot).pooled, 0);
    assert_int_equal(depot_counts(&depot).tickets, 0);
}

static void the_count_has_a_limit_of_its_own(void **state)
{
    (void)state;
    struct depot depot;
    _Atomic(size_t) cap = depot_cap(SIZE_MAX);
    depot_with(&depot, DEPOT_POOLED_MAX - 1);
    assert_true(depot_reserve(&depot, &cap));
    assert_false(depot_reserve(&depot, &cap));
    cap = 0;
    assert_false(depot_reserve(&depot, &cap));
}

static void a_lift_counts_one_more_whatever_the_cap(void **state)
{
    (void)state;
    struct depot depot;
    _Atomic(size_t) cap = 3;
    depot_with(&depot, 3);
    assert_int_equal(depot_lift(&depot).pooled, 4);
    assert_int_equal(depot_lift(&depot).pooled, 5);
    assert_true(depot_over_cap(&depot, &cap));
    assert_false(depot_is_calm(&depot, &cap));
    assert_false(depot_reserve(&depot, &cap));
    depot_unreserve(&depot, 2);
    assert_true(depot_is_calm(&depot, &cap));
    depot_reset(&depot, DEPOT_POOLED_MAX);
    depot_want(&depot, true);
    assert_int_equal(depot_lift(&depot).pooled, 0); /* it would carry into the flags */
    assert_int_equal(depot_counts(&depot).pooled, DEPOT_POOLED_MAX);
    assert_true(depot_wanted(&depot));
}

static void the_peak_is_the_most_that_existed(void **state)
{
    (void)state;
    struct depot depot;
    _Atomic(size_t) cap = 3;
    depot_with(&depot, 0);
    for (uint32_t n = 1; n <= 3; n++) {
        assert_true(depot_reserve(&depot, &cap));
        assert_int_equal(load_relaxed(&depot.peak), n);
    }
    assert_false(depot_reserve(&depot, &cap));
    assert_int_equal(load_relaxed(&depot.peak), 3);
    (void)depot_lift(&depot);
    assert_int_equal(load_relaxed(&depot.peak), 4);
    depot_unreserve(&depot, 2);
    (void)depot_lift(&depot);
    assert_int_equal(load_relaxed(&depot.peak), 4);
}

static void the_verdict_is_no_while_a_buffer_may_idle(void **state)
{
    (void)state;
    struct depot depot;
    _Atomic(size_t) cap = 3;
    depot_with(&depot, 3);
    assert_false(depot_exhausted(&depot, &cap)); /* caches may hold some */
    depot_begin_pressure(&depot);
    assert_true(depot_exhausted(&depot, &cap));
    const struct batch two = batch_of(2);
    push(&depot, &two);
    assert_false(depot_exhausted(&depot, &cap));
    (void)pop_some(&depot, 1); /* the other one is in transit: the depot is empty, but callers have only two */
    assert_int_equal(depot_counts(&depot).tickets, 1);
    assert_false(depot_exhausted(&depot, &cap));
    depot_restore(&depot, &table, two.bufs, 1, false);
    assert_int_equal(depot_counts(&depot).tickets, 0);
    assert_false(depot_exhausted(&depot, &cap));
    assert_ptr_equal(pop_some(&depot, 0).bufs[0], two.bufs[0]);
    assert_false(depot_exhausted(&depot, &cap));
    depot_discard(&depot, 1); /* freed: there is room for another */
    assert_false(depot_exhausted(&depot, &cap));
    assert_int_equal(depot_counts(&depot).pooled, 2);
    assert_int_equal(depot_counts(&depot).tickets, 0);
    assert_true(depot_reserve(&depot, &cap));
    assert_true(depot_exhausted(&depot, &cap));
    atomic_store(&cap, 4);
    assert_false(depot_exhausted(&depot, &cap));
    atomic_store(&cap, 0);
    assert_false(depot_exhausted(&depot, &cap));
    atomic_store(&cap, 3);
    assert_true(depot_end_pressure(&depot, &cap)); /* then caches may hold some */
    assert_false(depot_exhausted(&depot, &cap));
    desc_table_destroy(&table);
}

/* With tickets out the verdict is yes only while callers hold as many as the cap for certain. */
static void tickets_count_as_buffers_that_idle(void **state)
{
    (void)state;
    struct depot depot;
    _Atomic(size_t) cap = 3;
    depot_with(&depot, 7);
    depot_begin_pressure(&depot);
    assert_false(depot_add_tickets(&depot, &cap, 3, SIZE_MAX)); /* half of the four that exist beyond it */
    assert_true(depot_add_tickets(&depot, &cap, 1, SIZE_MAX));
    assert_false(depot_add_tickets(&depot, &cap, 2, SIZE_MAX));
    assert_true(depot_add_tickets(&depot, &cap, 1, SIZE_MAX));
    assert_int_equal(depot_counts(&depot).tickets, 2);
    assert_false(depot_add_tickets(&depot, &cap, 1, 2)); /* one that leaves two of the four */
    assert_false(depot_add_tickets(&depot, &cap, 1, 5));
    assert_true(depot_add_tickets(&depot, &cap, 1, 1));
    depot_end_tickets(&depot, 1);
    assert_true(depot_exhausted(&depot, &cap));
    assert_false(depot_is_short(&depot, &cap));
    depot_unreserve(&depot, 2);
    assert_true(depot_exhausted(&depot, &cap)); /* five, of which two may idle */
    assert_false(depot_is_short(&depot, &cap));
    depot_unreserve(&depot, 1);
    assert_false(depot_exhausted(&depot, &cap));
    assert_true(depot_is_short(&depot, &cap));
    depot_end_tickets(&depot, 1);
    assert_true(depot_exhausted(&depot, &cap));
    depot_end_tickets(&depot, 1);
    assert_int_equal(depot_counts(&depot).tickets, 0);
    depot_unreserve(&depot, 1);
    assert_false(depot_add_tickets(&depot, &cap, 1, SIZE_MAX)); /* none beyond it */
    assert_false(depot_is_short(&depot, &cap));
}

static void the_flags_leave_the_counts_alone(void **state)
{
    (void)state;
    struct depot depot;
    _Atomic(size_t) cap = 0;
    depot_with(&depot, DEPOT_POOLED_MAX);
    depot_want(&depot, true);
    depot_begin_pressure(&depot);
    assert_int_equal(depot_counts(&depot).pooled, DEPOT_POOLED_MAX);
    assert_int_equal(depot_counts(&depot).tickets, 0);
    assert_true(depot_wanted(&depot) && depot_counts(&depot).pressure);
    assert_false(depot_end_pressure(&depot, &cap)); /* not while somebody waits */
    depot_want(&depot, false);
    assert_false(depot_wanted(&depot));
    assert_true(depot_counts(&depot).pressure);
    atomic_store(&cap, DEPOT_POOLED_MAX - 1);
    assert_false(depot_end_pressure(&depot, &cap)); /* nor while more exist than the cap */
    atomic_store(&cap, 0);
    assert_true(depot_end_pressure(&depot, &cap));
    assert_false(depot_counts(&depot).pressure);
    assert_int_equal(depot_counts(&depot).pooled, DEPOT_POOLED_MAX);
}

static void the_low_mark_is_the_least_that_the_depot_held(void **state)
{
    (void)state;
    struct depot depot;
    depot_with(&depot, 10);
    for (int i = 0; i < 4; i++) {
        const struct batch two = batch_of(2);
        push(&depot, &two);
    }
    store_relaxed(&depot.low, depot_idle(&depot, &table));
    const struct batch two = pop(&depot);
    assert_int_equal(load_relaxed(&depot.low), 6);
    push(&depot, &two);
    assert_int_equal(load_relaxed(&depot.low), 6);
    (void)pop_some(&depot, 0);
    depot_discard(&depot, 2);
    (void)pop_some(&depot, 0);
    depot_discard(&depot, 2);
    assert_int_equal(load_relaxed(&depot.low), 4); /* freed ones do not lie there either */
    desc_table_destroy(&table);
}

/* ---- in earnest ---- */

struct load {
    struct depot depot;
    size_t turns;
    uint32_t owner[MAGAZINES * 4 + 1]; /* by index; plain: a buffer with two owners is a data race, too */
    _Atomic(size_t) cap;
    atomic_size_t made;
};

/* Pops a magazine, takes it apart or joins it to the one before, and pushes the pieces. */
static void pop_and_push(void *arg, unsigned index)
{
    struct load *load = arg;
    test_random_t random = {index + 1};
    for (size_t turn = 0; turn < load->turns; turn++) {
        struct batch batch = pop(&load->depot);
        if (batch.n == 0)
            continue;
        for (uint32_t i = 0; i < batch.n; i++) {
            thread_check(load->owner[batch.bufs[i]->index] == 0);
            load->owner[batch.bufs[i]->index] = index + 1;
        }
        for (uint32_t i = 0; i < batch.n; i++) {
            thread_check(load->owner[batch.bufs[i]->index] == index + 1);
            load->owner[batch.bufs[i]->index] = 0;
        }
        const uint32_t split = (uint32_t)test_random_below(&random, batch.n);
        if (split > 0) {
            depot_push(&load->depot, &table, batch.bufs, split, false);
        } else if (turn % 8 == 0) { /* as one that took one of many does */
            const uint32_t out = turn % 16 == 0;
            struct batch other = pop_some(&load->depot, out);
            if (other.n > out)
                depot_restore(&load->depot, &table, other.bufs, other.n - out, false);
            if (other.n > 0 && out)
                push_one(&load->depot, other.bufs[other.n - 1]);
        }
        struct batch rest = {batch.n - split, {NULL}};
        memcpy(rest.bufs, batch.bufs + split, rest.n * sizeof(rest.bufs[0]));
        if (rest.n < 4) {
            const struct batch other = pop(&load->depot);
            const uint32_t joined = other.n < MAGAZINE_MAX - rest.n ? other.n : MAGAZINE_MAX - rest.n;
            memcpy(rest.bufs + rest.n, other.bufs, joined * sizeof(rest.bufs[0]));
            rest.n += joined;
            if (joined < other.n)
                depot_push(&load->depot, &table, other.bufs + joined, other.n - joined, false);
        }
        push(&load->depot, &rest);
        thread_check(depot_idle(&load->depot, &table) <= MAGAZINES * 4);
    }
}

static void every_buffer_has_one_owner_and_none_is_lost(void **state)
{
    (void)state;
    static struct load load;
    depot_with(&load.depot, MAGAZINES * 4);
    memset(load.owner, 0, sizeof(load.owner));
    load.turns = test_scale(200000, 4000);
    for (unsigned i = 0; i < MAGAZINES; i++) {
        const struct batch four = batch_of(4);
        push(&load.depot, &four);
    }
    run_threads(6, pop_and_push, &load);

    uint32_t found = 0;
    for (;;) {
        assert_int_equal(depot_idle(&load.depot, &table), MAGAZINES * 4 - found);
        const struct batch batch = pop(&load.depot);
        if (batch.n == 0)
            break;
        for (uint32_t i = 0; i < batch.n; i++) {
            assert_int_equal(load.owner[batch.bufs[i]->index], 0);
            load.owner[batch.bufs[i]->index] = 1;
        }
        found += batch.n;
    }
    assert_int_equal(found, MAGAZINES * 4);
    assert_int_equal(depot_counts(&load.depot).tickets, 0);
    assert_int_equal(depot_counts(&load.depot).pooled, MAGAZINES * 4);
    desc_table_destroy(&table);
}

static void reserve_and_let_go(void *arg, unsigned index)
{
    struct load *load = arg;
    (void)index;
    for (size_t turn = 0; turn < load->turns; turn++) {
        if (!depot_reserve(&load->depot, &load->cap))
            continue;
        thread_check(atomic_fetch_add(&load->made, 1) < 5);
        atomic_fetch_sub(&load->made, 1);
        depot_unreserve(&load->depot, 1);
    }
}

static void reservations_of_many_threads_stop_at_the_cap(void **state)
{
    (void)state;
    static struct load load;
    depot_with(&load.depot, 0);
    load.cap = 5;
    load.turns = test_scale(200000, 4000);
    run_threads(8, reserve_and_let_go, &load);
    assert_int_equal(depot_counts(&load.depot).pooled, 0);
    assert_int_equal(depot_counts(&load.depot).tickets, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(magazines_come_back_whole_last_in_first_out),
        cmocka_unit_test(a_magazine_says_whether_it_has_grown_buffers),
        cmocka_unit_test(a_stalled_pop_is_not_fooled_by_the_same_top),
        cmocka_unit_test(a_stalled_pop_may_read_what_was_freed),
        cmocka_unit_test(the_tag_wraps_without_touching_the_index),
        cmocka_unit_test(reservations_stop_at_the_cap),
        cmocka_unit_test(the_count_has_a_limit_of_its_own),
        cmocka_unit_test(a_lift_counts_one_more_whatever_the_cap),
        cmocka_unit_test(the_peak_is_the_most_that_existed),
        cmocka_unit_test(the_verdict_is_no_while_a_buffer_may_idle),
        cmocka_unit_test(tickets_count_as_buffers_that_idle),
        cmocka_unit_test(the_flags_leave_the_counts_alone),
        cmocka_unit_test(the_low_mark_is_the_least_that_the_depot_held),
        cmocka_unit_test(every_buffer_has_one_owner_and_none_is_lost),
        cmocka_unit_test(reservations_of_many_threads_stop_at_the_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
