/* SPDX-License-Identifier: MIT
 *
 * test_depot.c - the Treiber stack of magazines, and the count that enforces the cap
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
    depot_push(depot, batch->bufs, batch->n, false);
}

static void push_one(struct depot *depot, struct desc *d)
{
    depot_push(depot, &d, 1, false);
}

static struct batch pop(struct depot *depot)
{
    struct batch batch = {0};
    const struct magazine magazine = depot_pop(depot, &table);
    if (magazine.head == NULL)
        return batch;
    batch.n = magazine.n;
    magazine_open(&magazine, &table, batch.bufs);
    thread_check(batch.bufs[batch.n - 1] == magazine.head);
    return batch;
}

static void check_same(const struct batch *a, const struct batch *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->bufs, b->bufs, a->n * sizeof(a->bufs[0]));
}

/* A depot whose count knows of n pooled buffers, all in flight. */
static void depot_with(struct depot *depot, uint32_t n)
{
    memset(depot, 0, sizeof(*depot));
    memset(&table, 0, sizeof(table));
    depot_reset(depot, n, n);
}

/* From the depot into flight. */
static struct batch pop_and_take(struct depot *depot)
{
    const struct batch batch = pop(depot);
    if (batch.n > 0)
        depot_take(depot, batch.n);
    return batch;
}

static struct desc *pop_and_take_one(struct depot *depot)
{
    const struct batch batch = pop_and_take(depot);
    assert_in_range(batch.n, 0, 1);
    return batch.n == 1 ? batch.bufs[0] : NULL;
}

static void magazines_come_back_whole_last_in_first_out(void **state)
{
    (void)state;
    struct depot depot;
    depot_with(&depot, MAGAZINE_MAX * (MAGAZINE_MAX + 1) / 2);
    assert_int_equal(pop_and_take(&depot).n, 0);
    struct batch batches[MAGAZINE_MAX];
    for (uint32_t n = 1; n <= MAGAZINE_MAX; n++) { /* each shape of tree */
        batches[n - 1] = batch_of(n);
        push(&depot, &batches[n - 1]);
    }
    assert_int_equal(depot_counts(&depot).in_flight, 0);
    assert_int_equal(depot_idle(depot_counts(&depot)), MAGAZINE_MAX * (MAGAZINE_MAX + 1) / 2);
    uint32_t taken = 0;
    for (uint32_t n = MAGAZINE_MAX; n > 0; n--) {
        const struct batch batch = pop_and_take(&depot);
        check_same(&batch, &batches[n - 1]);
        taken += n;
        assert_int_equal(depot_counts(&depot).in_flight, taken);
    }
    assert_int_equal(pop_and_take(&depot).n, 0);
    assert_int_equal(load_relaxed(&depot.peak_in_flight), taken);
    desc_table_destroy(&table);
}

static void a_magazine_says_whether_it_has_grown_buffers(void **state)
{
    (void)state;
    struct depot depot;
    depot_with(&depot, 6);
    for (int grown = 0; grown < 2; grown++) {
        const struct batch batch = batch_of(3);
        depot_push(&depot, batch.bufs, 3, grown);
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
    assert_ptr_equal(pop_and_take_one(&depot), top);
    assert_ptr_equal(pop_and_take_one(&depot), below); /* someone holds this one now */
    push_one(&depot, top);
    uint64_t now = load_relaxed(&depot.head);
    assert_int_equal((uint32_t)now, (uint32_t)head); /* the same top: only the tag tells */
    /* and wakes here: success would put `below`, which is held, back on the stack */
    for (int i = 0; i < 100; i++) /* weak: it might fail for no reason */
        assert_false(depot_swap(&depot, head, link));
    assert_int_equal(load_relaxed(&depot.head), now);
    assert_ptr_equal(pop_and_take_one(&depot), top);
    assert_null(pop_and_take_one(&depot));
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
    (void)pop_and_take_one(&depot);
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
    assert_ptr_equal(pop_and_take_one(&depot), only);
    assert_int_equal(load_relaxed(&depot.head), 0);
    push_one(&depot, only);
    assert_int_equal(load_relaxed(&depot.head), only->index);
    assert_ptr_equal(pop_and_take_one(&depot), only);
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
    depot_with(&depot, 3);
    const struct batch two = batch_of(2);
    push(&depot, &two);
    depot_begin_pressure(&depot);
    assert_false(depot_exhausted(&depot, &cap));
    (void)pop(&depot); /* in transit: the depot is empty, but not all are in flight */
    assert_int_equal(depot_counts(&depot).in_flight, 1);
    assert_int_equal(depot_idle(depot_counts(&depot)), 2);
    assert_false(depot_exhausted(&depot, &cap));
    depot_take(&depot, 1);
    depot_restore(&depot, two.bufs, 1, false);
    assert_false(depot_exhausted(&depot, &cap));
    assert_ptr_equal(pop(&depot).bufs[0], two.bufs[0]);
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
    depot_with(&depot, 10);
    for (int i = 0; i < 4; i++) {
        const struct batch two = batch_of(2);
        push(&depot, &two);
    }
    store_relaxed(&depot.low, depot_idle(depot_counts(&depot)));
    const struct batch two = pop_and_take(&depot);
    assert_int_equal(load_relaxed(&depot.low), 6);
    push(&depot, &two);
    assert_int_equal(load_relaxed(&depot.low), 6);
    (void)depot_pop(&depot, &table);
    depot_discard(&depot, 2);
    (void)depot_pop(&depot, &table);
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
        struct batch batch = pop_and_take(&load->depot);
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
            depot_push(&load->depot, batch.bufs, split, false);
        } else if (turn % 8 == 0) { /* as one that took one of many does */
            const struct batch other = pop(&load->depot);
            if (other.n > 0)
                depot_restore(&load->depot, other.bufs, other.n, false);
        }
        struct batch rest = {batch.n - split, {NULL}};
        memcpy(rest.bufs, batch.bufs + split, rest.n * sizeof(rest.bufs[0]));
        if (rest.n < 4) {
            const struct batch other = pop_and_take(&load->depot);
            const uint32_t joined = other.n < MAGAZINE_MAX - rest.n ? other.n : MAGAZINE_MAX - rest.n;
            memcpy(rest.bufs + rest.n, other.bufs, joined * sizeof(rest.bufs[0]));
            rest.n += joined;
            if (joined < other.n)
                depot_push(&load->depot, other.bufs + joined, other.n - joined, false);
        }
        push(&load->depot, &rest);
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
        const struct batch batch = pop_and_take(&load.depot);
        if (batch.n == 0)
            break;
        for (uint32_t i = 0; i < batch.n; i++) {
            assert_int_equal(load.owner[batch.bufs[i]->index], 0);
            load.owner[batch.bufs[i]->index] = 1;
        }
        found += batch.n;
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
        cmocka_unit_test(a_magazine_says_whether_it_has_grown_buffers),
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
