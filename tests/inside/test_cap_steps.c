/* SPDX-License-Identifier: MIT
 *
 * test_cap_steps.c - the cap is lowered while a buffer is about to be made; two threads note a peak at once
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
        depot_reset(&depot, 2, 2);
        atomic_store(&cap, 3);
        meanwhile = lower_the_cap;
        steps_left = step;
        const bool reserved = depot_reserve(&depot, &cap);
        steps_left = -1;
        assert_int_equal(reserved, step >= BEFORE);
        assert_int_equal(depot_counts(&depot).pooled, reserved ? 3 : 2);
        assert_int_equal(depot_counts(&depot).in_flight, reserved ? 3 : 2);
        assert_int_equal(depot_over_cap(&depot, &cap), reserved && atomic_load(&cap) == 2);
    }
}

static struct depot noted;

/* As after a take of three, if this call has not noted more yet. */
static void note_three(void)
{
    if (atomic_load(&noted.peak_in_flight) < 3)
        atomic_store(&noted.peak_in_flight, 3);
    if (atomic_load(&noted.low) > 7)
        atomic_store(&noted.low, 7);
}

static void of_two_takes_at_once_the_larger_is_the_peak(void **state)
{
    enum { STEPS = 12 };
    (void)state;
    for (int step = 0; step < STEPS; step++) {
        memset(&noted, 0, sizeof noted);
        depot_reset(&noted, 10, 0);
        atomic_store(&noted.low, 10);
        meanwhile = note_three;
        steps_left = step;
        depot_take(&noted, 5);
        steps_left = -1;
        assert_int_equal(atomic_load(&noted.peak_in_flight), 5);
        assert_int_equal(atomic_load(&noted.low), 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_reservation_survives_a_cap_lowered_meanwhile),
        cmocka_unit_test(of_two_takes_at_once_the_larger_is_the_peak),
    };
    return cmocka_run_group_tests_name("cap_steps", tests, NULL, NULL);
}
