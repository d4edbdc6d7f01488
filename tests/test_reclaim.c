/* SPDX-License-Identifier: MIT
 *
 * test_reclaim.c - by itself the depot gives back what it did not need
 *
 * The linker's --wrap puts a clock of the test's own in the place of the coarse monotonic one, so periods end when the
 * test says so. The thread caches hold one buffer, so nearly every call has business with the depot.
 */
#include "support/laws.h"

#include <time.h>

enum { BURST = 20, INTERVAL_MS = 1000 };

static uint64_t clock_ms = 5000;

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    if (clock != CLOCK_MONOTONIC_COARSE)
        return __real_clock_gettime(clock, now);
    now->tv_sec = (time_t)(clock_ms / 1000);
    now->tv_nsec = (long)(clock_ms % 1000) * 1000000;
    return 0;
}

static bufferpool_t *pool_with(test_blocks_t *blocks, unsigned interval_ms)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = 1024;
    config.thread_cache_bytes = 1024;
    config.reclaim_interval_ms = interval_ms;
    config.alloc = test_blocks_alloc;
    config.free = test_blocks_free;
    config.ctx = blocks;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static void use(bufferpool_t *pool, size_t n)
{
    bufferpool_buf_t *bufs[BURST];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, n), 0);
    bufferpool_put_bulk(bufs, n);
}

static void what_lay_untouched_for_a_period_is_freed_in_the_next(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with(&blocks, INTERVAL_MS);
    use(pool, BURST); /* its puts begin the first period */
    use(pool, BURST);
    clock_ms += INTERVAL_MS + 1;
    use(pool, 4); /* ends the period of the burst, in which the depot was empty once */
    assert_int_equal(atomic_load(&blocks.count), BURST);
    use(pool, 4);
    clock_ms += INTERVAL_MS + 1;
    use(pool, 4); /* ends a period in which four sufficed */
    use(pool, 4);
    assert_int_equal(atomic_load(&blocks.count), 4);
    assert_int_equal(stats_of(pool).reclaimed_bytes, (BURST - 4) * 1024);
    check_laws(pool, &blocks, 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void what_is_needed_stays(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with(&blocks, INTERVAL_MS);
    for (int period = 0; period < 5; period++) {
        use(pool, BURST);
        use(pool, BURST);
        clock_ms += INTERVAL_MS + 1;
    }
    assert_int_equal(stats_of(pool).gets_fresh, BURST);
    assert_int_equal(stats_of(pool).reclaimed_bytes, 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void never_means_never(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_with(&blocks, BUFFERPOOL_NEVER);
    use(pool, BURST);
    for (int period = 0; period < 5; period++) {
        clock_ms += UINT32_MAX;
        use(pool, 4);
    }
    assert_int_equal(atomic_load(&blocks.count), BURST);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_lay_untouched_for_a_period_is_freed_in_the_next),
        cmocka_unit_test(what_is_needed_stays),
        cmocka_unit_test(never_means_never),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
