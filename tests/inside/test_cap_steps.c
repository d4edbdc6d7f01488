/* SPDX-License-Identifier: MIT
 *
 * test_cap_steps.c - the cap is lowered while a buffer is about to be made
 *
 * A reservation is stopped before each of its atomic operations, and the cap is lowered there.
 */
#include "support/laws.h"

#include "depot.h"

static int steps_left = -1;
static _Atomic(size_t) cap;

void a_step(void)
{
    if (steps_left >= 0 && steps_left-- == 0)
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
        steps_left = step;
        const bool reserved = depot_reserve(&depot, &cap);
        steps_left = -1;
        assert_int_equal(reserved, step >= BEFORE);
        assert_int_equal(depot_counts(&depot).pooled, reserved ? 3 : 2);
        assert_int_equal(depot_counts(&depot).in_flight, reserved ? 3 : 2);
        assert_int_equal(depot_over_cap(&depot, &cap), reserved && atomic_load(&cap) == 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_reservation_survives_a_cap_lowered_meanwhile)};
    return cmocka_run_group_tests_name("cap_steps", tests, NULL, NULL);
}
