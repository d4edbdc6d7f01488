/* SPDX-License-Identifier: MIT
 *
 * test_cap_steps.c - other threads move the cap, the counts or the depot in the middle of a look at them
 *
 * The call is stopped before each of its atomic operations, and there the other thread does all of its work.
 */
#include "support/laws.h"

#include "depot.h"

static int steps_left = -1;
static void (*meanwhile)(void);

void a_step(void)
{
    if (steps_left >= 0 && steps_left-- == 0)
        meanwhile();
}

static _Atomic(size_t) cap;

static void lower_the_cap(void)
{
    atomic_store(&cap, 2);
}

/* Once the cap is lowered none is made: whether it is before the reservation looks, or between its two looks. */
static void no_reservation_survives_a_cap_lowered_meanwhile(void **state)
{
    (void)state;
    enum { BEFORE = 4 }; /* the counts, the cap, the swap, and the cap once more */
    for (int step = 0; step < BEFORE + 3; step++) {
        struct depot depot;
        memset(&depot, 0, sizeof depot);
        depot_reset(&depot, 2);
        atomic_store(&cap, 3);
        meanwhile = lower_the_cap;
        steps_left = step;
        const bool reserved = depot_reserve(&depot, &cap);
        steps_left = -1;
        assert_int_equal(reserved, step >= BEFORE);
        assert_int_equal(depot_counts(&depot).pooled, reserved ? 3 : 2);
        assert_int_equal(depot_counts(&depot).tickets, 0);
        assert_int_equal(depot_over_cap(&depot, &cap), reserved && atomic_load(&cap) == 2);
    }
}

static void raise_the_cap_by_two(void)
{
    atomic_store(&cap, 5);
}

/* Tickets that a raised cap has no room for are none, whether it is raised before or between the call's two looks. */
static void no_ticket_survives_a_cap_raised_meanwhile(void **state)
{
    (void)state;
    enum { BEFORE = 4 }; /* the counts, the cap, the swap, and the cap once more */
    for (int step = 0; step < BEFORE + 2; step++) {
        struct depot depot;
        memset(&depot, 0, sizeof depot);
        depot_reset(&depot, 5);
        atomic_store(&cap, 3);
        meanwhile = raise_the_cap_by_two;
        steps_left = step;
        const bool added = depot_add_tickets(&depot, &cap, 1, SIZE_MAX);
        steps_left = -1;
        assert_int_equal(added, step >= BEFORE);
        assert_int_equal(depot_counts(&depot).tickets, added);
        assert_int_equal(depot_counts(&depot).pooled, 5);
    }
}

static struct desc_table table;
static struct depot noted;
static uint32_t others_peak, others_low;

/* As others do after a buffer more, or a pop. */
static void note_others(void)
{
    if (atomic_load(&noted.peak) < others_peak)
        atomic_store(&noted.peak, others_peak);
    if (atomic_load(&noted.low) > others_low)
        atomic_store(&noted.low, others_low);
}

static void of_two_peaks_noted_at_once_the_larger_stays(void **state)
{
    (void)state;
    for (others_peak = 3; others_peak <= 7; others_peak += 4) {
        for (int step = 0; steps_left < 0; step++) {
            memset(&noted, 0, sizeof noted);
            depot_reset(&noted, 4);
            meanwhile = note_others;
            steps_left = step;
            assert_int_equal(depot_lift(&noted).pooled, 5);
            if (steps_left < 0)
                assert_int_equal(atomic_load(&noted.peak), others_peak < 5 ? 5 : others_peak);
        }
        steps_left = -1;
    }
}

static void of_two_lows_noted_at_once_the_smaller_stays(void **state)
{
    struct desc *bufs[7];
    (void)state;
    for (others_low = 3; others_low <= 7; others_low += 4) {
        for (int step = 0; steps_left < 0; step++) {
            memset(&noted, 0, sizeof noted);
            memset(&table, 0, sizeof table);
            depot_reset(&noted, 7);
            for (int i = 0; i < 7; i++)
                assert_non_null(bufs[i] = desc_take(&table));
            depot_push(&noted, &table, bufs, 5, false);
            depot_push(&noted, &table, bufs + 5, 2, false);
            atomic_store(&noted.low, 10);
            meanwhile = note_others;
            steps_left = step;
            assert_int_equal(depot_pop(&noted, &table).n, 2);
            if (steps_left < 0)
                assert_int_equal(atomic_load(&noted.low), others_low < 5 ? others_low : 5);
            desc_table_destroy(&table);
        }
        steps_left = -1;
    }
}

/* ---- the verdict ---- */

enum { N = 3 };

static struct depot depot;
static struct desc *in_depot[4];
static size_t held;  /* by callers */
static bool had_all; /* as many as the cap, at some moment */

static void hold(size_t n)
{
    held = n;
    had_all = had_all || held >= atomic_load(&cap);
}

/* A caller puts one, and another gets it: it was in the depot for a moment. */
static void put_and_get(void)
{
    hold(held - 1);
    depot_push(&depot, &table, in_depot + 3, 1, false);
    if (depot_pop(&depot, &table).head != in_depot[3])
        abort();
    hold(held + 1);
}

/* Another pops a magazine of two, hands out one, and puts the other one back. */
static void take_one_of_two(void)
{
    const struct magazine magazine = depot_pop_some(&depot, &table, 1);
    if (magazine.head == NULL)
        return;
    hold(held + 1);
    depot_restore(&depot, &table, in_depot, magazine.n - 1, false);
}

/* A thread that is between the two halves of that. */
static void pop_two(void)
{
    const struct magazine magazine = depot_pop_some(&depot, &table, 1);
    if (magazine.head != NULL)
        hold(held + 1);
}

/* The depot is trimmed, and a caller gets a new one. */
static void trim_and_get(void)
{
    const struct magazine magazine = depot_pop_some(&depot, &table, 0);
    if (magazine.head != NULL)
        depot_discard(&depot, magazine.n);
    if (depot_reserve(&depot, &cap))
        hold(held + 1);
}

/* Callers hold one less, and a buffer that idles is why so many exist. */
static void put_by_ticket(void)
{
    if (held < N)
        return;
    (void)depot_lift(&depot);
    (void)depot_lift(&depot);
    hold(held + 2);
    if (!depot_add_tickets(&depot, &cap, 1, SIZE_MAX))
        abort();
    hold(held - 1); /* it idles in a cache */
    depot_unreserve(&depot, 1);
    hold(held - 1);
}

/* The thread that has taken one of two puts the other one back, which idles. */
static void put_the_rest_back(void)
{
    if (depot_counts(&depot).tickets == 1 && depot_is_empty(&depot))
        depot_restore(&depot, &table, in_depot, 1, false);
}

static void raise_the_cap(void)
{
    atomic_store(&cap, 5);
    hold(held);
}

/* So that callers have what the cap was before, and then less than it is. */
static void raise_the_cap_and_get(void)
{
    raise_the_cap();
    if (depot_reserve(&depot, &cap))
        hold(held + 1);
}

static void end_the_pressure(void)
{
    (void)depot_end_pressure(&depot, &cap);
}

enum beginning { ALL_HELD, TWO_IN_DEPOT, ONE_IN_TRANSIT, ROOM_FOR_ONE, BEGINNINGS };

static void begin_with(enum beginning beginning)
{
    memset(&depot, 0, sizeof depot);
    memset(&table, 0, sizeof table);
    atomic_store(&cap, N);
    had_all = false;
    depot_reset(&depot, beginning == ROOM_FOR_ONE ? N - 1 : N);
    for (int i = 0; i < 4; i++)
        assert_non_null(in_depot[i] = desc_take(&table));
    depot_begin_pressure(&depot);
    if (beginning == TWO_IN_DEPOT || beginning == ONE_IN_TRANSIT)
        depot_push(&depot, &table, in_depot, 2, false);
    if (beginning == ONE_IN_TRANSIT)
        assert_int_equal(depot_pop_some(&depot, &table, 1).tickets, 1);
    hold(beginning == ALL_HELD ? N : beginning == TWO_IN_DEPOT ? N - 2 : N - 1);
}

/* Whatever others do in the middle of it: a verdict that callers had all is true of a moment within the call. */
static void a_verdict_is_about_one_moment(void **state)
{
    static void (*const others[])(void) = {put_and_get,   take_one_of_two,       pop_two,
                                           trim_and_get,  put_by_ticket,         put_the_rest_back,
                                           raise_the_cap, raise_the_cap_and_get, end_the_pressure};
    enum { STEPS = 8 };
    (void)state;
    size_t yes = 0;
    for (size_t other = 0; other < sizeof others / sizeof others[0]; other++) {
        for (enum beginning beginning = ALL_HELD; beginning < BEGINNINGS; beginning++) {
            for (int step = 0; step < STEPS; step++) {
                begin_with(beginning);
                meanwhile = others[other];
                steps_left = step;
                const bool exhausted = depot_exhausted(&depot, &cap);
                steps_left = -1;
                yes += exhausted;
                assert_true(!exhausted || had_all);
                desc_table_destroy(&table);
            }
        }
    }
    assert_true(yes > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_reservation_survives_a_cap_lowered_meanwhile),
        cmocka_unit_test(no_ticket_survives_a_cap_raised_meanwhile),
        cmocka_unit_test(of_two_peaks_noted_at_once_the_larger_stays),
        cmocka_unit_test(of_two_lows_noted_at_once_the_smaller_stays),
        cmocka_unit_test(a_verdict_is_about_one_moment),
    };
    return cmocka_run_group_tests_name("cap_steps", tests, NULL, NULL);
}
