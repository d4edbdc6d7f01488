/* SPDX-License-Identifier: MIT
 *
 * test_shrink.c - bufferpool_buf_shrink: a held buffer gives memory back
 *
 * cap becomes the smallest that holds what was asked for, the content and the first size of a buffer. The content and
 * the handle stay, also where the block moves between a mapping and a slab, is cut off in place, or is a hook's. A call
 * that fails changes nothing. A buffer that came back to its first size is as one that never grew: its put is the plain
 * one. Resident memory is the business of test_resident.c.
 */
#include "support/laws.h"

#include <unistd.h>

#define KIB ((size_t)1024)

enum { CAPACITY = 4096, SENTINEL = 77 };

static bufferpool_t *make(unsigned flags, test_blocks_t *blocks)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    if (blocks != NULL)
        config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.max_capacity = 4096 * KIB;
    config.flags = flags;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static bufferpool_buf_t *get_with(bufferpool_t *pool, size_t cap, size_t len)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_non_null(buf);
    assert_int_equal(bufferpool_buf_reserve(buf, cap), 0);
    memset(buf->data, 0x5a, buf->cap);
    test_fill(buf->data, len, cap);
    buf->len = len;
    return buf;
}

/* What a shrink to `asked` of a buffer with that cap and content makes of its cap. */
static size_t shrunk(bufferpool_t *pool, size_t cap, size_t len, size_t asked)
{
    const bufferpool_stats_t before = stats_of(pool);
    bufferpool_buf_t *buf = get_with(pool, cap, len);
    const size_t grown = buf->cap, held = (size_t)before.live + 1;
    const bufferpool_buf_t *handle = buf;
    errno = SENTINEL;
    assert_int_equal(bufferpool_buf_shrink(buf, asked), 0);
    assert_int_equal(errno, SENTINEL);
    assert_int_equal(buf->len, len);
    assert_true(test_filled(buf->data, len, cap));
    assert_ptr_equal(bufferpool_buf_from_data(buf->data), handle);
    assert_int_equal((uintptr_t)buf->data % 64, 0);
    const size_t result = buf->cap;
    const bufferpool_stats_t after = stats_of(pool);
    assert_int_equal(after.shrinks - before.shrinks, result < grown ? 1 : 0);
    assert_int_equal(after.live_bytes - before.live_bytes, result);
    check_laws(pool, NULL, held);
    memset(buf->data + len, 0xa5, result - len); /* all of it is the caller's */
    assert_int_equal(bufferpool_buf_reserve(buf, 2 * result), 0);
    assert_true(test_filled(buf->data, len, cap));
    bufferpool_put(buf);
    bufferpool_trim(pool); /* the next one is new */
    check_laws(pool, NULL, held - 1);
    return result;
}

static void cap_becomes_the_smallest_that_fits(void **state)
{
    (void)state;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), large = 1024 * KIB;
    bufferpool_t *pool = make(0, NULL);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(shrunk(pool, large, 0, 0), CAPACITY); /* a mapping becomes a slot */
        assert_int_equal(shrunk(pool, large, CAPACITY, 1), CAPACITY);
        assert_int_equal(shrunk(pool, large, CAPACITY + 1, 0), 2 * CAPACITY); /* the content stays */
        assert_int_equal(shrunk(pool, large, 10, CAPACITY + 1), 2 * CAPACITY);
        assert_int_equal(shrunk(pool, large, 10, 128 * KIB), 128 * KIB);
        assert_in_range(shrunk(pool, large, 150 * KIB, 0), 150 * KIB, 150 * KIB + page - 1);
        assert_in_range(shrunk(pool, large, 10, 500 * KIB), 500 * KIB,
                        500 * KIB + page - 1); /* it is cut off in place */
        assert_in_range(shrunk(pool, large, 700 * KIB - 1, 500 * KIB), 700 * KIB - 1, 700 * KIB + page - 1);
        assert_int_equal(shrunk(pool, 64 * KIB, 0, 0), CAPACITY); /* a slot becomes a slot */
        assert_int_equal(shrunk(pool, 64 * KIB, 16 * KIB, 0), 16 * KIB);
    }
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void a_block_of_a_hook_becomes_exactly_that_small(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = make(0, &blocks);
    assert_int_equal(shrunk(pool, 1024 * KIB, 0, 0), CAPACITY);
    assert_int_equal(shrunk(pool, 1024 * KIB, CAPACITY + 1, 0), CAPACITY + 1);
    assert_int_equal(shrunk(pool, 1024 * KIB, 5, 100 * KIB + 3), 100 * KIB + 3);
    check_laws(pool, &blocks, 0);
    bufferpool_trim(pool);
    destroy_empty(pool, &blocks);
}

static void huge_pages_and_large_buffers_shrink_too(void **state)
{
    (void)state;
    bufferpool_t *pool = make(BUFFERPOOL_HUGEPAGES, NULL);
    assert_int_equal(shrunk(pool, 8192 * KIB, 10, 0), CAPACITY);
    assert_in_range(shrunk(pool, 8192 * KIB, 10, 5000 * KIB), 5000 * KIB, 5004 * KIB);
    assert_int_equal(bufferpool_destroy(pool), 0);
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = 2048 * KIB; /* whose first block has a mapping */
    pool = bufferpool_create(&config);
    assert_non_null(pool);
    assert_int_equal(shrunk(pool, 8192 * KIB, 10, 0), 2048 * KIB);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void what_is_small_enough_stays(void **state)
{
    (void)state;
    bufferpool_t *pool = make(0, NULL);
    assert_int_equal(shrunk(pool, 0, 10, 0), CAPACITY);
    assert_int_equal(shrunk(pool, 64 * KIB, 10, 64 * KIB), 64 * KIB);
    assert_int_equal(shrunk(pool, 64 * KIB, 10, 40 * KIB), 64 * KIB); /* there is nothing between */
    assert_int_equal(shrunk(pool, 64 * KIB, 10, 65 * KIB), 64 * KIB); /* it never grows */
    assert_int_equal(shrunk(pool, 64 * KIB, 10, SIZE_MAX), 64 * KIB);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void wrong_arguments_are_refused(void **state)
{
    (void)state;
    bufferpool_t *pool = make(0, NULL);
    assert_int_equal(bufferpool_buf_shrink(NULL, 0), EINVAL);
    bufferpool_buf_t *buf = get_with(pool, 64 * KIB, 10);
    buf->len = buf->cap + 1;
    assert_int_equal(bufferpool_buf_shrink(buf, 0), EINVAL);
    assert_int_equal(buf->cap, 64 * KIB);
    buf->len = 10;
    assert_true(test_filled(buf->data, 10, 64 * KIB));
    assert_int_equal(stats_of(pool).shrinks, 0);
    bufferpool_put(buf);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void without_memory_nothing_changes(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = make(0, &blocks);
    bufferpool_buf_t *buf = get_with(pool, 64 * KIB, 5000);
    const bufferpool_buf_t was = *buf;
    buf->data[was.cap - 1] = 7;
    test_blocks_fail(&blocks, 0, 1);
    assert_int_equal(bufferpool_buf_shrink(buf, 0), ENOMEM);
    test_blocks_fail_none(&blocks);
    assert_true(buf->data == was.data && buf->len == was.len && buf->cap == was.cap);
    assert_true(test_filled(buf->data, 5000, 64 * KIB) && buf->data[was.cap - 1] == 7);
    assert_int_equal(stats_of(pool).shrinks, 0);
    check_laws(pool, &blocks, 1);
    assert_int_equal(bufferpool_buf_shrink(buf, 0), 0);
    assert_int_equal(buf->cap, 5000);
    bufferpool_put(buf);
    bufferpool_trim(pool);
    destroy_empty(pool, &blocks);
}

static void a_buffer_of_the_first_size_is_plain_again(void **state)
{
    (void)state;
    bufferpool_t *pool = make(0, NULL);
    bufferpool_buf_t *buf = get_with(pool, 1024 * KIB, 10);
    assert_int_equal(bufferpool_buf_shrink(buf, 0), 0);
    for (int turn = 0; turn < 20; turn++) { /* no strikes come, whatever it is used for */
        bufferpool_put(buf);
        const bufferpool_stats_t stats = stats_of(pool);
        assert_int_equal(stats.idle_bytes, CAPACITY);
        assert_int_equal(stats.shrinks, 1);
        assert_ptr_equal(bufferpool_get(pool), buf);
        assert_int_equal(buf->cap, CAPACITY);
        assert_int_equal(stats_of(pool).live_bytes, CAPACITY);
    }
    bufferpool_put(buf);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* A buffer of 64 KiB that uses a fortieth has a strike. It would have none if what was asked for before counted. */
static void use_is_counted_from_the_shrink_on(void **state)
{
    (void)state;
    for (size_t asked = 64 * KIB; asked <= 256 * KIB; asked *= 4) {
        bufferpool_t *pool = make(0, NULL);
        bufferpool_buf_t *buf = NULL;
        for (int turn = 0; turn < 5; turn++) {
            buf = bufferpool_get(pool);
            assert_int_equal(bufferpool_buf_reserve(buf, asked), 0);
            assert_int_equal(bufferpool_buf_shrink(buf, 64 * KIB), 0);
            buf->len = 1600;
            assert_int_equal(buf->cap, 64 * KIB);
            bufferpool_put(buf);
        }
        /* a shrink that replaces the block begins anew */
        assert_int_equal(stats_of(pool).shrinks, asked == 64 * KIB ? 1 : 5);
        assert_int_equal(stats_of(pool).idle_bytes, asked == 64 * KIB ? CAPACITY : 64 * KIB);
        assert_int_equal(bufferpool_destroy(pool), 0);
    }
}

/* ---- fork ---- */

struct family {
    bufferpool_t *pool;
    bufferpool_buf_t *grown, *cut, *plain;
};

static int shrink_in_child(void *arg)
{
    struct family *family = arg;
    if (family->plain->cap != CAPACITY || family->cut->cap != 512 * KIB || stats_of(family->pool).live != 3)
        return 1;
    bufferpool_buf_t *all[] = {family->grown, family->cut, family->plain};
    for (size_t i = 0; i < 3; i++) {
        if (bufferpool_buf_shrink(all[i], 0) != 0 || all[i]->cap != CAPACITY)
            return 2;
        if (!test_filled(all[i]->data, 100, 1024 * KIB))
            return 3;
    }
    if (stats_of(family->pool).live_bytes != 3 * (size_t)CAPACITY)
        return 4;
    bufferpool_put_bulk(all, 3);
    return laws_hold(family->pool, NULL, 0) && bufferpool_destroy(family->pool) == 0 ? 0 : 5;
}

static void a_child_of_fork_shrinks_what_the_parent_got(void **state)
{
    (void)state;
    struct family family = {.pool = make(0, NULL)};
    bufferpool_buf_t **all[] = {&family.grown, &family.cut, &family.plain};
    for (size_t i = 0; i < 3; i++)
        *all[i] = get_with(family.pool, 1024 * KIB, 100);
    assert_int_equal(bufferpool_buf_shrink(family.cut, 512 * KIB), 0);
    assert_int_equal(bufferpool_buf_shrink(family.plain, 0), 0);
    assert_int_equal(run_in_child(shrink_in_child, &family, 60), 0);
    assert_int_equal(stats_of(family.pool).live_bytes, (1024 + 512) * KIB + CAPACITY);
    for (size_t i = 0; i < 3; i++)
        bufferpool_put(*all[i]);
    check_laws(family.pool, NULL, 0);
    assert_int_equal(bufferpool_destroy(family.pool), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cap_becomes_the_smallest_that_fits),
        cmocka_unit_test(a_block_of_a_hook_becomes_exactly_that_small),
        cmocka_unit_test(huge_pages_and_large_buffers_shrink_too),
        cmocka_unit_test(what_is_small_enough_stays),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(without_memory_nothing_changes),
        cmocka_unit_test(a_buffer_of_the_first_size_is_plain_again),
        cmocka_unit_test(use_is_counted_from_the_shrink_on),
        cmocka_unit_test(a_child_of_fork_shrinks_what_the_parent_got),
    };
    return cmocka_run_group_tests_name("shrink", tests, NULL, NULL);
}
