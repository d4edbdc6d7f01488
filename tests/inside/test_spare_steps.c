/* SPDX-License-Identifier: MIT
 *
 * test_spare_steps.c - two calls that meet at the mapping that is kept: one of them gets it, and none is lost
 *
 * The test stops a call before each of its atomic operations, and has another call go by there. The linker's --wrap
 * counts what is mapped.
 */
#include "support/support.h"

#include "heap/os.h"
#include "heap/spare.h"

#include <sys/mman.h>

enum { NEVER = -1, STEPS = 8 /* more than any of these calls has */ };

static int steps_left = NEVER;
static void (*at_step)(void);

void a_step(void)
{
    if (steps_left == NEVER || steps_left-- > 0)
        return;
    steps_left = NEVER;
    at_step();
}

static int mapped; /* how many mappings there are */

void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    mapped++;
    return __real_mmap(at, size, protection, flags, fd, offset);
}

int __real_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size)
{
    mapped--;
    return __real_munmap(at, size);
}

static size_t bytes;
static void *taken[2]; /* by the call that is stopped, and by the one that goes by */

static void *map(void)
{
    void *region = os_map(bytes, false);
    assert_non_null(region);
    return region;
}

static void take_by(void)
{
    taken[1] = spare_take(SPARE_SPAN, bytes);
}

static void keep_by(void)
{
    spare_keep(SPARE_SPAN, map(), bytes);
}

static void take_stopped(void)
{
    taken[0] = spare_take(SPARE_SPAN, bytes);
}

static void keep_stopped(void)
{
    void *region = map();
    spare_keep(SPARE_SPAN, region, bytes);
}

/* Unmaps what both calls took, and what is kept after that: then nothing is mapped. */
static void all_is_there_once(void)
{
    assert_true(taken[0] == NULL || taken[0] != taken[1]);
    for (int i = 0; i < 2; i++)
        if (taken[i] != NULL)
            os_unmap(taken[i], bytes);
    void *kept = spare_take(SPARE_SPAN, bytes);
    if (kept != NULL)
        os_unmap(kept, bytes);
    assert_int_equal(mapped, 0);
    assert_null(spare_take(SPARE_SPAN, bytes));
}

static void meet(void (*stopped)(void), void (*by)(void))
{
    for (int step = 0; step < STEPS; step++) {
        taken[0] = taken[1] = NULL;
        spare_keep(SPARE_SPAN, map(), bytes);
        at_step = by;
        steps_left = step;
        stopped();
        steps_left = NEVER;
        all_is_there_once();
    }
}

static void calls_that_meet_neither_share_nor_lose_a_mapping(void **state)
{
    (void)state;
    bytes = os_page_size();
    meet(take_stopped, take_by);
    meet(take_stopped, keep_by);
    meet(keep_stopped, take_by);
    meet(keep_stopped, keep_by);
}

/* Last: from then on nothing is kept. */
static void a_call_that_meets_the_end_leaves_nothing(void **state)
{
    (void)state;
    spare_keep(SPARE_SPAN, map(), bytes);
    at_step = spare_end;
    steps_left = 1; /* the call has seen that the library has not ended */
    keep_stopped();
    assert_int_equal(steps_left, NEVER);
    assert_int_equal(mapped, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_that_meet_neither_share_nor_lose_a_mapping),
        cmocka_unit_test(a_call_that_meets_the_end_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
