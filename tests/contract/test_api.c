/* SPDX-License-Identifier: MIT
 *
 * test_api.c - what every call promises when nothing special happens
 *
 * Get returns an empty, aligned buffer of the capacity that was asked for. NULL is the default pool. A thread gets back
 * the buffer that it put last. At the cap, and nowhere else, try_get fails with EAGAIN and get_timed with ETIMEDOUT.
 * Bulk calls do everything or nothing. A call that succeeds leaves errno alone. The library has the version of the
 * header.
 */
#include "support/laws.h"

#include <unistd.h>

enum { SENTINEL = 4242 };

static void get_gives_an_empty_buffer_of_the_capacity(void **state)
{
    (void)state;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = 5000;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    for (int round = 0; round < 3; round++) {
        bufferpool_buf_t *buf = bufferpool_get(pool);
        assert_non_null(buf);
        assert_int_equal(buf->len, 0);
        assert_true(buf->cap >= 5000);
        assert_int_equal((uintptr_t)buf->data % 64, 0);
        test_fill(buf->data, buf->cap, 1); /* all of it is ours */
        assert_true(test_filled(buf->data, buf->cap, 1));
        buf->len = buf->cap;
        bufferpool_put(buf); /* and the next get sees len 0 again */
    }
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void buffers_held_together_do_not_overlap(void **state)
{
    enum { N = 100 };
    bufferpool_buf_t *bufs[N];
    (void)state;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = 1000;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < N; i++) {
            bufs[i] = bufferpool_get(pool);
            assert_non_null(bufs[i]);
            test_fill(bufs[i]->data, bufs[i]->cap, i);
        }
        for (size_t i = 0; i < N; i++)
            assert_true(test_filled(bufs[i]->data, bufs[i]->cap, i));
        for (size_t i = 0; i < N; i++)
            bufferpool_put(bufs[i]);
    }
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void data_is_aligned_to_each_power_of_two_up_to_the_page(void **state)
{
    (void)state;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int hooked = 0; hooked < 2; hooked++) {
        for (size_t alignment = 1; alignment <= page; alignment *= 2) {
            test_blocks_t blocks = {0};
            bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
            if (hooked)
                config = config_with(&blocks);
            config.alignment = alignment;
            config.buffer_capacity = 777;
            config.max_live = 20;
            bufferpool_t *pool = bufferpool_create(&config);
            bufferpool_buf_t *bufs[24]; /* four of them beyond the cap */
            assert_non_null(pool);
            for (size_t i = 0; i < 24; i++) {
                bufs[i] = bufferpool_get(pool);
                assert_non_null(bufs[i]);
                assert_int_equal((uintptr_t)bufs[i]->data % alignment, 0);
                assert_int_equal(bufferpool_buf_reserve(bufs[i], 1000 * (i + 1)), 0);
                assert_int_equal((uintptr_t)bufs[i]->data % alignment, 0);
            }
            bufferpool_put_bulk(bufs, 24);
            destroy_empty(pool, &blocks);
        }
    }
}

static void null_is_the_default_pool(void **state)
{
    (void)state;
    const bufferpool_stats_t before = stats_of(NULL);
    bufferpool_buf_t *a = bufferpool_get(NULL);
    assert_non_null(a);
    assert_true(a->cap >= 32768);
    assert_int_equal(bufferpool_live(NULL), before.live + 1);
    assert_int_equal(stats_of(NULL).live, before.live + 1);
    assert_int_equal(bufferpool_max_live(NULL), 0);

    bufferpool_set_max_live(NULL, 1);
    assert_int_equal(bufferpool_max_live(NULL), 1);
    assert_null(bufferpool_try_get(NULL));
    bufferpool_buf_t *b = bufferpool_get(NULL);
    assert_non_null(b);
    assert_int_equal(stats_of(NULL).bypass_live, 1);
    bufferpool_put(b);
    bufferpool_set_max_live(NULL, 0);

    bufferpool_put(a);
    assert_true(bufferpool_trim(NULL) >= 32768);
    assert_int_equal(bufferpool_destroy(NULL), EINVAL);
    check_laws(NULL, NULL, 0);
}

static void one_thread_gets_back_what_it_put_last(void **state)
{
    (void)state;
    bufferpool_t *pool = bufferpool_create(NULL);
    bufferpool_buf_t *bufs[4];
    assert_non_null(pool);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 4), 0);
    for (int i = 0; i < 4; i++)
        bufferpool_put(bufs[i]);
    for (int i = 3; i >= 0; i--)
        assert_ptr_equal(bufferpool_get(pool), bufs[i]);
    bufferpool_put_bulk(bufs, 4);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void put_of_null_has_no_effect(void **state)
{
    (void)state;
    const bufferpool_stats_t before = stats_of(NULL);
    bufferpool_put(NULL);
    const bufferpool_stats_t after = stats_of(NULL);
    assert_memory_equal(&before, &after, sizeof before);
}

static void version_is_that_of_the_header(void **state)
{
    char text[32];
    (void)state;
    snprintf(text, sizeof text, "%d.%d.%d%s", BUFFERPOOL_VERSION_MAJOR, BUFFERPOOL_VERSION_MINOR,
             BUFFERPOOL_VERSION_PATCH, BUFFERPOOL_VERSION_SUFFIX);
    assert_string_equal(bufferpool_version(), text);
}

static void try_get_refuses_at_the_cap_only(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_with(&blocks);
    config.max_live = 3;
    bufferpool_t *pool = bufferpool_create(&config);
    bufferpool_buf_t *bufs[3];
    assert_non_null(pool);
    for (int i = 0; i < 3; i++) {
        bufs[i] = bufferpool_try_get(pool);
        assert_non_null(bufs[i]);
    }
    for (uint64_t refused = 1; refused <= 5; refused++) {
        errno = 0;
        assert_null(bufferpool_try_get(pool));
        assert_int_equal(errno, EAGAIN);
        assert_int_equal(stats_of(pool).gets_refused, refused);
    }
    assert_int_equal(stats_of(pool).gets_bypass, 0);
    assert_int_equal(atomic_load(&blocks.peak), 3);
    check_laws(pool, &blocks, 3);
    bufferpool_put(bufs[1]);
    bufs[1] = bufferpool_try_get(pool);
    assert_non_null(bufs[1]);
    bufferpool_set_max_live(pool, 0);
    bufferpool_buf_t *more = bufferpool_try_get(pool);
    assert_non_null(more);
    bufferpool_put(more);
    bufferpool_put_bulk(bufs, 3);
    destroy_empty(pool, &blocks);
}

static void get_timed_gets_below_the_cap_and_gives_up_at_the_cap(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_with(&blocks);
    config.max_live = 2;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    bufferpool_buf_t *bufs[2] = {bufferpool_get_timed(pool, 0), bufferpool_get_timed(pool, BUFFERPOOL_NEVER)};
    assert_non_null(bufs[0]);
    assert_non_null(bufs[1]);
    assert_true(bufs[1]->cap >= 32768 && bufs[1]->len == 0);
    for (unsigned ms = 0; ms < 5; ms++) {
        errno = 0;
        assert_null(bufferpool_get_timed(pool, ms));
        assert_int_equal(errno, ETIMEDOUT);
        assert_int_equal(stats_of(pool).gets_refused, ms + 1);
    }
    assert_int_equal(atomic_load(&blocks.peak), 2);
    check_laws(pool, &blocks, 2);
    bufs[0]->len = 5;
    bufferpool_put(bufs[0]);
    bufs[0] = bufferpool_get_timed(pool, 0);
    assert_non_null(bufs[0]);
    assert_int_equal(bufs[0]->len, 0);
    bufferpool_put_bulk(bufs, 2);
    destroy_empty(pool, &blocks);

    bufferpool_buf_t *buf = bufferpool_get_timed(NULL, 0); /* the default pool */
    assert_non_null(buf);
    bufferpool_put(buf);
}

static void errno_is_untouched_on_success(void **state)
{
    (void)state;
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    bufferpool_buf_t *bufs[50];
    config.max_live = 30;
    config.max_capacity = 65536;
    config.max_idle_bytes = 20 * 32768;
    errno = SENTINEL;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 30; i++)
            bufs[i] = bufferpool_get(pool);
        assert_int_equal(bufferpool_get_bulk(pool, bufs + 30, 20), 0); /* bypass */
        assert_int_equal(bufferpool_buf_reserve(bufs[7], 200000), 0);
        assert_int_equal(bufferpool_buf_append(bufs[8], "text", 4), 0);
        assert_int_equal(bufferpool_buf_printf(bufs[9], "%70000d", 1), 0);
        assert_ptr_equal(bufferpool_buf_from_data(bufs[9]->data), bufs[9]);
        assert_int_equal(errno, SENTINEL);
        for (int i = 0; i < 25; i++)
            bufferpool_put(bufs[i]);
        bufferpool_put_bulk(bufs + 25, 25);
        assert_int_equal(errno, SENTINEL);
        assert_int_equal(bufferpool_live(pool), 0);
        bufferpool_stats(pool, &stats);
        bufferpool_put(bufferpool_get_timed(pool, 10)); /* by and by one of those that grew, and shrinks */
        if (round % 3 == 0)
            bufferpool_thread_flush();
        if (round % 4 == 0)
            bufferpool_trim(pool);
        if (round % 5 == 0)
            bufferpool_reclaim(pool);
        bufferpool_set_max_live(pool, 20);
        bufferpool_set_max_live(pool, 30);
        assert_int_equal(errno, SENTINEL);
    }
    assert_int_equal(bufferpool_destroy(pool), 0);
    assert_int_equal(errno, SENTINEL);
}

static void hook_that_sets_errno(void *block, size_t size, void *ctx)
{
    test_blocks_free(block, size, ctx);
    errno = ENOTTY;
}

static void put_preserves_errno_of_a_hook(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_with(&blocks);
    config.free = hook_that_sets_errno;
    config.max_live = 1;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    bufferpool_buf_t *bufs[2] = {bufferpool_get(pool), bufferpool_get(pool)};
    errno = SENTINEL;
    bufferpool_put(bufs[1]); /* one is beyond the cap: freed */
    assert_int_equal(errno, SENTINEL);
    bufferpool_put_bulk(bufs, 1);
    assert_true(bufferpool_trim(pool) > 0);
    assert_int_equal(errno, SENTINEL);

    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_int_equal(bufferpool_buf_reserve(buf, 200000), 0);
    errno = SENTINEL;
    bufferpool_put(buf);
    for (int i = 0; i < 5; i++)
        bufferpool_put(bufferpool_get(pool)); /* the last of these frees the large block */
    assert_int_equal(stats_of(pool).shrinks, 1);
    assert_int_equal(errno, SENTINEL);
    for (int i = 0; i < 3; i++)
        bufferpool_reclaim(pool);
    assert_int_equal(atomic_load(&blocks.count), 0);
    assert_int_equal(errno, SENTINEL);
    destroy_empty(pool, &blocks);
}

static void bulk_gives_all_and_takes_all(void **state)
{
    bufferpool_buf_t *bufs[70];
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_with(&blocks);
    config.max_live = 40;
    bufferpool_t *pool = bufferpool_create(&config);
    bufferpool_t *other = bufferpool_create(&config);
    assert_non_null(pool);
    assert_non_null(other);
    assert_int_equal(bufferpool_get_bulk(pool, NULL, 0), 0);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 0), 0);
    assert_int_equal(bufferpool_get_bulk(pool, NULL, 1), EINVAL);
    bufferpool_put_bulk(NULL, 0);
    assert_int_equal(stats_of(pool).live, 0);

    assert_int_equal(bufferpool_get_bulk(pool, bufs, 50), 0); /* beyond the cap: the rest go beyond it */
    assert_int_equal(stats_of(pool).live, 40);
    assert_int_equal(stats_of(pool).bypass_live, 10);
    assert_int_equal(bufferpool_get_bulk(other, bufs + 50, 20), 0);
    for (size_t i = 0; i < 70; i++) {
        assert_int_equal(bufs[i]->len, 0);
        assert_true(bufs[i]->cap >= 32768);
        for (size_t k = 0; k < i; k++)
            assert_ptr_not_equal(bufs[i]->data, bufs[k]->data);
    }
    test_random_t random = {1};
    for (size_t i = 69; i > 0; i--) { /* both pools mixed, and a NULL among them */
        const size_t k = test_random_below(&random, i + 1);
        bufferpool_buf_t *swap = bufs[i];
        bufs[i] = bufs[k];
        bufs[k] = swap;
    }
    bufferpool_put(bufs[33]);
    bufs[33] = NULL;
    bufferpool_put_bulk(bufs, 70);
    assert_int_equal(stats_of(pool).live + stats_of(other).live, 0);
    assert_int_equal(stats_of(pool).bypass_live, 0);
    check_laws(pool, NULL, 0);
    check_laws(other, NULL, 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
    destroy_empty(other, &blocks);
}

static void bulk_without_memory_takes_nothing(void **state)
{
    bufferpool_buf_t *bufs[30];
    bufferpool_buf_t *held[5];
    (void)state;
    for (size_t k = 0; k < 25; k++) {
        test_blocks_t blocks = {0};
        bufferpool_config_t config = config_with(&blocks);
        config.max_live = k % 2 == 0 ? 12 : 0;
        bufferpool_t *pool = bufferpool_create(&config);
        assert_non_null(pool);
        assert_int_equal(bufferpool_get_bulk(pool, held, 5), 0);
        test_blocks_fail(&blocks, k, SIZE_MAX);
        assert_int_equal(bufferpool_get_bulk(pool, bufs, 30), ENOMEM);
        check_laws(pool, &blocks, 5);
        test_blocks_fail_none(&blocks);
        bufferpool_put_bulk(held, 5);
        check_laws(pool, &blocks, 0);
        destroy_empty(pool, &blocks);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(get_gives_an_empty_buffer_of_the_capacity),
        cmocka_unit_test(buffers_held_together_do_not_overlap),
        cmocka_unit_test(data_is_aligned_to_each_power_of_two_up_to_the_page),
        cmocka_unit_test(null_is_the_default_pool),
        cmocka_unit_test(one_thread_gets_back_what_it_put_last),
        cmocka_unit_test(put_of_null_has_no_effect),
        cmocka_unit_test(version_is_that_of_the_header),
        cmocka_unit_test(try_get_refuses_at_the_cap_only),
        cmocka_unit_test(get_timed_gets_below_the_cap_and_gives_up_at_the_cap),
        cmocka_unit_test(errno_is_untouched_on_success),
        cmocka_unit_test(put_preserves_errno_of_a_hook),
        cmocka_unit_test(bulk_gives_all_and_takes_all),
        cmocka_unit_test(bulk_without_memory_takes_nothing),
    };
    return cmocka_run_group_tests_name("api", tests, NULL, NULL);
}
