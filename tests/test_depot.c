/* SPDX-License-Identifier: MIT
 *
 * test_depot.c - the Treiber stack of magazines, and the count that enforces the cap
 *
 * The races are simulated by hand first: depot_peek and depot_swap are the two halves of a pop, and whatever other
 * threads may do between them is done there. Then threads do the same in earnest.
 */
#include "support/support.h"

#include "depot.h"

#define MAGAZINES 24u

static struct desc_table table;

static struct desc *magazine(uint32_t count)
{
    struct desc *first = NULL;
    for (uint32_t i = 0; i < count; i++) {
        struct desc *d = desc_take(&table);
        d->chain = first;
        first = d;
    }
    return first;
}

static uint32_t chain_length(const struct desc *d)
{
    uint32_t n = 0;
    for (; d != NULL; d = d->chain)
        n++;
    return n;
}

/* A depot whose count knows of n pooled buffers, all in flight. */
static void depot_with(struct depot *depot, uint32_t n)
{
    memset(depot, 0, sizeof(*depot));
    memset(&table, 0, sizeof(table));
    depot_reset(depot, n, n);
}

/* From the depot into flight. */
static struct desc *pop_and_take(struct depot *depot, uint32_t *count)
{
    struct desc *first = depot_pop(depot, &table, count);
    if (first != NULL)
        depot_take(depot, *count);
    return first;
}

static void magazines_come_back_whole_last_in_first_out(void **state)
{
    (void)state;
    struct depot depot;
    uint32_t count;
    depot_with(&depot, 6);
    assert_null(pop_and_take(&depot, &count));
    struct desc *a = magazine(1), *b = magazine(2), *c = magazine(3);
    depot_push(&depot, a, 1);
    depot_push(&depot, b, 2);
    depot_push(&depot, c, 3);
    assert_int_equal(depot_counts(&depot).in_flight, 0);
    assert_int_equal(depot_idle(depot_counts(&depot)), 6);

    assert_ptr_equal(pop_and_take(&depot, &count), c);
    assert_int_equal(count, 3);
    assert_int_equal(chain_length(c), 3);
    assert_int_equal(depot_counts(&depot).in_flight, 3);
    assert_ptr_equal(pop_and_take(&depot, &count), b);
    assert_ptr_equal(pop_and_take(&depot, &count), a);
    assert_int_equal(count, 1);
    assert_null(pop_and_take(&depot, &count));
    assert_int_equal(depot_counts(&depot).in_flight, 6);
    assert_int_equal(load_relaxed(&depot.peak_in_flight), 6);
    desc_table_destroy(&table);
}

/* ABA: a popper stalls; others pop its magazine and the one beneath, and push the first again. */
static void a_stalled_pop_is_not_fooled_by_the_same_top(void **state)
{
    (void)state;
    struct depot depot;
    uint32_t count;
    depot_with(&depot, 2);
    struct desc *below = magazine(1), *top = magazine(1);
    depot_push(&depot, below, 1);
    depot_push(&depot, top, 1);

    uint64_t head, link;
    assert_ptr_equal(depot_peek(&depot, &table, &head, &link), top);
    assert_int_equal(link, below->index);
    /* the stalled thread sleeps here */
    assert_ptr_equal(pop_and_take(&depot, &count), top);
    assert_ptr_equal(pop_and_take(&depot, &count), below); /* someone holds this one now */
    depot_push(&depot, top, 1);
    uint64_t now = load_relaxed(&depot.head);
    assert_int_equal((uint32_t)now, (uint32_t)head); /* the same top: only the tag tells */
    /* and wakes here: success would put `below`, which is held, back on the stack */
    for (int i = 0; i < 100; i++) /* weak: it might fail for no reason */
        assert_false(depot_swap(&depot, head, link));
    assert_int_equal(load_relaxed(&depot.head), now);
    assert_ptr_equal(pop_and_take(&depot, &count), top);
    assert_null(pop_and_take(&depot, &count));
    desc_table_destroy(&table);
}

/* A stalled popper's magazine is popped, its buffer dropped, and the descriptor used for another one. */
static void a_stalled_pop_may_read_what_was_freed(void **state)
{
    (void)state;
    struct depot depot;
    uint32_t count;
    depot_with(&depot, 2);
    depot_push(&depot, magazine(1), 1);
    struct desc *top = magazine(1);
    depot_push(&depot, top, 1);

    uint64_t head, link;
    (void)depot_peek(&depot, &table, &head, &link);
    (void)pop_and_take(&depot, &count);
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
    uint32_t count;
    depot_with(&depot, 1);
    struct desc *only = magazine(1);
    depot_push(&depot, only, 1);
    store_relaxed(&depot.head, load_relaxed(&depot.head) | (uint64_t)UINT32_MAX << 32);
    assert_ptr_equal(pop_and_take(&depot, &count), only);
    assert_int_equal(load_relaxed(&depot.head), 0);
    depot_push(&depot, only, 1);
    assert_int_equal(load_relaxed(&depot.head), only->index);
    assert_ptr_equal(pop_and_take(&depot, &count), only);
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
    assert_int_equal(depot_counts(&depot).in_flight, 0);
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

static void in_flight_is_never_more_than_the_truth(void **state)
{
    (void)state;
    struct depot depot;
    _Atomic(size_t) cap = 3;
    uint32_t count;
    depot_with(&depot, 3);
    depot_push(&depot, magazine(2), 2);
    depot_begin_pressure(&depot);
    assert_false(depot_exhausted(&depot, &cap));
    struct desc *first =
        depot_pop(&depot, &table, &count); /* in transit: the depot is empty, but not all are in flight */
    assert_int_equal(depot_counts(&depot).in_flight, 1);
    assert_int_equal(depot_idle(depot_counts(&depot)), 2);
    assert_false(depot_exhausted(&depot, &cap));
    struct desc *rest = first->chain;
    depot_take(&depot, 1);
    depot_restore(&depot, rest, 1);
    assert_false(depot_exhausted(&depot, &cap));
    assert_ptr_equal(depot_pop(&depot, &table, &count), rest);
    depot_discard(&depot, 1); /* freed: there is room for another */
    assert_false(depot_exhausted(&depot, &cap));
    assert_int_equal(depot_counts(&depot).pooled, 2);
    assert_true(depot_reserve(&depot, &cap));
    assert_true(depot_exhausted(&depot, &cap));
    assert_true(depot_end_pressure(&depot)); /* then caches may hold some */
    assert_false(depot_exhausted(&depot, &cap));
    desc_table_destroy(&table);
}

static void the_flags_leave_the_counts_alone(void **state)
{
    (void)state;
    struct depot depot;
    depot_with(&depot, DEPOT_POOLED_MAX);
    depot_want(&depot, true);
    depot_begin_pressure(&depot);
    assert_int_equal(depot_counts(&depot).pooled, DEPOT_POOLED_MAX);
    assert_int_equal(depot_counts(&depot).in_flight, DEPOT_POOLED_MAX);
    assert_true(depot_wanted(&depot) && depot_counts(&depot).pressure);
    assert_false(depot_end_pressure(&depot)); /* not while somebody waits */
    depot_want(&depot, false);
    assert_false(depot_wanted(&depot));
    assert_true(depot_counts(&depot).pressure);
    assert_true(depot_end_pressure(&depot));
    assert_false(depot_counts(&depot).pressure);
    assert_int_equal(depot_counts(&depot).pooled, DEPOT_POOLED_MAX);
}

static void the_low_mark_is_the_least_that_the_depot_held(void **state)
{
    (void)state;
    struct depot depot;
    uint32_t count;
    depot_with(&depot, 10);
    for (int i = 0; i < 4; i++)
        depot_push(&depot, magazine(2), 2);
    store_relaxed(&depot.low, depot_idle(depot_counts(&depot)));
    struct desc *first = pop_and_take(&depot, &count);
    assert_int_equal(load_relaxed(&depot.low), 6);
    depot_push(&depot, first, 2);
    assert_int_equal(load_relaxed(&depot.low), 6);
    (void)depot_pop(&depot, &table, &count);
    depot_discard(&depot, 2);
    (void)depot_pop(&depot, &table, &count);
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
        uint32_t count;
        struct desc *first = pop_and_take(&load->depot, &count);
        if (first == NULL)
            continue;
        thread_check(chain_length(first) == count);
        for (struct desc *d = first; d != NULL; d = d->chain) {
            thread_check(load->owner[d->index] == 0);
            load->owner[d->index] = index + 1;
        }
        for (struct desc *d = first; d != NULL; d = d->chain) {
            thread_check(load->owner[d->index] == index + 1);
            load->owner[d->index] = 0;
        }
        uint32_t split = (uint32_t)test_random_below(&random, count);
        struct desc *rest = first;
        if (split > 0) {
            struct desc *last = first;
            for (uint32_t i = 1; i < split; i++)
                last = last->chain;
            rest = last->chain;
            last->chain = NULL;
            depot_push(&load->depot, first, split);
        } else if (turn % 8 == 0) { /* as one that took one of many does */
            first = depot_pop(&load->depot, &table, &split);
            if (first != NULL)
                depot_restore(&load->depot, first, split);
            split = 0;
        }
        uint32_t more = 0;
        struct desc *other = count - split < 4 ? pop_and_take(&load->depot, &more) : NULL;
        if (other != NULL) {
            struct desc *last = other;
            while (last->chain != NULL)
                last = last->chain;
            last->chain = rest;
            rest = other;
        }
        depot_push(&load->depot, rest, count - split + more);
    }
}

static void every_buffer_has_one_owner_and_none_is_lost(void **state)
{
    (void)state;
    static struct load load;
    depot_with(&load.depot, MAGAZINES * 4);
    memset(load.owner, 0, sizeof(load.owner));
    load.turns = test_scale(200000, 4000);
    for (unsigned i = 0; i < MAGAZINES; i++)
        depot_push(&load.depot, magazine(4), 4);
    run_threads(6, pop_and_push, &load);

    uint32_t found = 0, count;
    struct desc *first;
    while ((first = pop_and_take(&load.depot, &count)) != NULL) {
        assert_int_equal(chain_length(first), count);
        for (struct desc *d = first; d != NULL; d = d->chain) {
            assert_int_equal(load.owner[d->index], 0);
            load.owner[d->index] = 1;
        }
        found += count;
    }
    assert_int_equal(found, MAGAZINES * 4);
    assert_int_equal(depot_counts(&load.depot).in_flight, MAGAZINES * 4);
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
    assert_int_equal(depot_counts(&load.depot).in_flight, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(magazines_come_back_whole_last_in_first_out),
        cmocka_unit_test(a_stalled_pop_is_not_fooled_by_the_same_top),
        cmocka_unit_test(a_stalled_pop_may_read_what_was_freed),
        cmocka_unit_test(the_tag_wraps_without_touching_the_index),
        cmocka_unit_test(reservations_stop_at_the_cap),
        cmocka_unit_test(the_count_has_a_limit_of_its_own),
        cmocka_unit_test(in_flight_is_never_more_than_the_truth),
        cmocka_unit_test(the_flags_leave_the_counts_alone),
        cmocka_unit_test(the_low_mark_is_the_least_that_the_depot_held),
        cmocka_unit_test(every_buffer_has_one_owner_and_none_is_lost),
        cmocka_unit_test(reservations_of_many_threads_stop_at_the_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
