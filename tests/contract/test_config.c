/* SPDX-License-Identifier: MIT
 *
 * test_config.c - the configuration: defaults, limits, names, hooks
 *
 * Zero in a field means the default: a pool of zeros and a pool with the documented defaults written out behave alike,
 * number by number. Create refuses every value that the header calls EINVAL, and makes nothing. A name is copied, and
 * made unique; the tests read names in messages of misuse. Hooks receive the context and the sizes.
 */
#include "support/laws.h"

#include <ctype.h>
#include <unistd.h>

#define MIB ((size_t)1024 * 1024)

static void capacity_defaults_to_32_KiB(void **state)
{
    (void)state;
    bufferpool_t *pool = bufferpool_create(NULL);
    assert_non_null(pool);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_non_null(buf);
    assert_true(buf->cap >= 32768 && buf->cap < 2 * 32768);
    assert_int_equal((uintptr_t)buf->data % 64, 0);
    bufferpool_put(buf);
    assert_int_equal(bufferpool_max_live(pool), 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void max_capacity_defaults_to_1_MiB(void **state)
{
    (void)state;
    bufferpool_t *pool = bufferpool_create(NULL);
    assert_non_null(pool);
    bufferpool_buf_t *kept = bufferpool_get(pool);
    bufferpool_buf_t *dropped = bufferpool_get(pool);
    assert_int_equal(bufferpool_buf_reserve(kept, MIB), 0); /* to the byte */
    assert_int_equal(bufferpool_buf_reserve(dropped, MIB + 1), 0);
    bufferpool_put(kept);
    assert_int_equal(stats_of(pool).puts_kept, 1);
    bufferpool_put(dropped);
    assert_int_equal(stats_of(pool).drops_oversize, 1);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void max_capacity_defaults_to_a_larger_buffer_capacity(void **state)
{
    (void)state;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = 3 * 1024 * 1024;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_non_null(buf);
    assert_true(buf->cap >= config.buffer_capacity);
    bufferpool_put(buf);
    assert_int_equal(stats_of(pool).puts_kept, 1);
    buf = bufferpool_get(pool);
    assert_int_equal(bufferpool_buf_reserve(buf, 2 * config.buffer_capacity), 0);
    bufferpool_put(buf);
    assert_int_equal(stats_of(pool).drops_oversize, 1);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* A series that touches every limit, on one thread and so the same each time. Only the address space is not: a slab
 * belongs to the processors on which the thread asked for memory. */
static bufferpool_stats_t series_on(const bufferpool_config_t *config)
{
    enum { N = 120 };
    bufferpool_buf_t *bufs[N];
    bufferpool_t *pool = bufferpool_create(config);
    assert_non_null(pool);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < N; i++) {
            bufs[i] = bufferpool_get(pool);
            assert_non_null(bufs[i]);
            assert_int_equal((uintptr_t)bufs[i]->data % 64, 0);
            if (i % 10 == 9)
                assert_int_equal(bufferpool_buf_reserve(bufs[i], 20000 * i), 0);
        }
        for (size_t i = 0; i < N; i++)
            bufferpool_put(bufs[i]);
    }
    bufferpool_stats_t stats = stats_of(pool);
    stats.mapped_bytes = 0;
    assert_int_equal(bufferpool_destroy(pool), 0);
    return stats;
}

static void zero_means_the_documented_default(void **state)
{
    (void)state;
    bufferpool_config_t zeros;
    memset(&zeros, 0, sizeof zeros);
    zeros.size = sizeof zeros;
    bufferpool_config_t written = BUFFERPOOL_CONFIG_INIT;
    written.buffer_capacity = 32 * 1024;
    written.max_capacity = 1024 * 1024;
    written.max_live = 0;
    written.thread_cache_bytes = 512 * 1024;
    written.alignment = 64;
    written.reclaim_interval_ms = 10000;

    const bufferpool_stats_t by_null = series_on(NULL);
    const bufferpool_stats_t by_zeros = series_on(&zeros);
    const bufferpool_stats_t by_values = series_on(&written);
    assert_true(by_null.idle_thread > 0 && by_null.idle_depot > 0 && by_null.drops_oversize > 0);
    assert_int_equal(by_null.gets_bypass + by_null.drops_idle_limit, 0);
    assert_memory_equal(&by_null, &by_zeros, sizeof by_null);
    assert_memory_equal(&by_null, &by_values, sizeof by_null);

    written.thread_cache_bytes = 256 * 1024; /* the series can tell */
    const bufferpool_stats_t by_others = series_on(&written);
    assert_memory_not_equal(&by_null, &by_others, sizeof by_null);
}

static void refused(const bufferpool_config_t *config)
{
    errno = 0;
    assert_null(bufferpool_create(config));
    assert_int_equal(errno, EINVAL);
}

#define refused_with(field, value)                                                                                     \
    do {                                                                                                               \
        bufferpool_config_t config_ = BUFFERPOOL_CONFIG_INIT;                                                          \
        config_.field = (value);                                                                                       \
        refused(&config_);                                                                                             \
    } while (0)

static void absurd_values_are_refused(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    refused_with(size, 0);
    refused_with(size, 8);
    refused_with(size, offsetof(bufferpool_config_t, budget) - 1); /* shorter than any version had it */
    refused_with(size, offsetof(bufferpool_config_t, budget) + 1); /* between two versions: half a pointer */
    refused_with(size, offsetof(bufferpool_config_t, retain_ms) - 1);
    refused_with(size, sizeof(bufferpool_config_t) + 8);
    refused_with(size, SIZE_MAX);
    refused_with(alignment, 3);
    refused_with(alignment, 48);
    refused_with(alignment, 65);
    refused_with(alignment, 2 * page);
    refused_with(alignment, SIZE_MAX / 2 + 1);
    refused_with(max_capacity, 32 * 1024 - 1); /* below the default of buffer_capacity */
    refused_with(max_capacity, (size_t)PTRDIFF_MAX - 7 * MIB);
    refused_with(max_capacity, (size_t)PTRDIFF_MAX + 1);
    refused_with(max_capacity, SIZE_MAX);
    refused_with(buffer_capacity, (size_t)PTRDIFF_MAX - 7 * MIB);
    refused_with(buffer_capacity, SIZE_MAX);
    refused_with(retain_ms, BUFFERPOOL_NEVER);
    refused_with(flags, 0x40u);
    refused_with(flags, 0x80000000u);
    refused_with(flags, BUFFERPOOL_ZERO | 0x40u);
    refused_with(flags, BUFFERPOOL_START_NOW);
    refused_with(flags, BUFFERPOOL_START_NOW | BUFFERPOOL_ZERO | BUFFERPOOL_NO_MEMBARRIER);
    refused_with(alloc, test_blocks_alloc);
    refused_with(free, test_blocks_free);
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = 8192;
    config.max_capacity = 8191;
    refused(&config);
    assert_int_equal(atomic_load(&blocks.calls), 0);
}

static void a_configuration_in_one_expression_has_the_defaults(void **state)
{
    (void)state;
    bufferpool_t *pool = bufferpool_create(BUFFERPOOL_CONFIG(.buffer_capacity = 100, .max_live = 3));
    assert_non_null(pool);
    assert_int_equal(bufferpool_max_live(pool), 3);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_int_equal(buf->cap, 100);
    bufferpool_put(buf);
    assert_int_equal(bufferpool_destroy(pool), 0);
    const bufferpool_config_t *config = BUFFERPOOL_CONFIG(.alignment = 3);
    assert_null(bufferpool_create(config));
    assert_int_equal(errno, EINVAL);
}

static void limits_of_the_valid_range_are_accepted(void **state)
{
    (void)state;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = 1;
    config.max_capacity = (size_t)PTRDIFF_MAX - 9 * MIB;
    config.alignment = page;
    config.thread_cache_bytes = 1;
    config.max_live = SIZE_MAX;
    config.max_idle_bytes = SIZE_MAX;
    config.flags = BUFFERPOOL_ZERO | BUFFERPOOL_BACKGROUND | BUFFERPOOL_HUGEPAGES | BUFFERPOOL_START_NOW |
                   BUFFERPOOL_NO_MEMBARRIER;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    assert_int_equal(bufferpool_max_live(pool), (1 << 30) - 1); /* values beyond count as that */
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_non_null(buf);
    assert_true(buf->cap >= 1);
    bufferpool_put(buf);
    bufferpool_set_max_live(pool, (1 << 30) - 1);
    assert_int_equal(bufferpool_max_live(pool), (1 << 30) - 1);
    bufferpool_set_max_live(pool, (size_t)INT32_MAX + 1);
    assert_int_equal(bufferpool_max_live(pool), (1 << 30) - 1);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void a_capacity_beyond_memory_is_ENOMEM_at_get(void **state)
{
    (void)state;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = (size_t)PTRDIFF_MAX - 9 * MIB;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    test_narrow_addresses();
    for (int i = 0; i < 3; i++) {
        errno = 0;
        assert_null(bufferpool_get(pool));
        assert_int_equal(errno, ENOMEM);
    }
    test_widen_addresses();
    check_laws(pool, NULL, 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* At first. After it was full again and again it may keep four times as much, and no more however long that goes on. */
static void a_thread_keeps_no_more_than_its_bytes(void **state)
{
    enum { N = 200, ROUNDS = 6, GROWS = 4 };
    static bufferpool_buf_t *bufs[N];
    (void)state;
    for (size_t buffers = 1; buffers <= 16; buffers *= 2) {
        test_blocks_t blocks = {0};
        bufferpool_config_t config = config_with(&blocks);
        config.buffer_capacity = 4096;
        config.thread_cache_bytes = 4096 * buffers;
        bufferpool_t *pool = bufferpool_create(&config);
        assert_non_null(pool);
        for (size_t round = 0; round < ROUNDS; round++) {
            assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
            for (size_t i = 0; i < N; i++) {
                bufferpool_put(bufs[i]);
                const bufferpool_stats_t stats = stats_of(pool);
                const bool first = round == 0 && i < 4 * buffers; /* it was full twice at most */
                assert_in_range(stats.idle_thread, 1, first ? buffers : GROWS * buffers);
                assert_int_equal(idle_of(&stats), i + 1);
            }
        }
        check_laws(pool, &blocks, 0);
        destroy_empty(pool, &blocks);
    }
}

static void a_thread_keeps_at_least_one_buffer(void **state)
{
    (void)state;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.thread_cache_bytes = 1;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    for (int i = 0; i < 10; i++) {
        bufferpool_buf_t *buf = bufferpool_get(pool);
        bufferpool_put(buf);
        assert_int_equal(stats_of(pool).idle_thread, 1);
    }
    assert_int_equal(stats_of(pool).gets_thread, 9);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void double_put_on(void *pool)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    bufferpool_put(buf);
    bufferpool_put(buf);
}

/* The word that begins with the given letters in the last message. */
static void word_in_message(const char *begins, char *word, size_t size)
{
    const char *at = strstr(last_abort_message(), begins);
    size_t n = 0;
    assert_non_null(at);
    while (n < size - 1 && (isalnum((unsigned char)at[n]) || strchr("-_#.~+/", at[n]) != NULL) && at[n] != '\0')
        n++;
    memcpy(word, at, n);
    word[n] = '\0';
}

static void names_are_copied_and_made_unique(void **state)
{
    (void)state;
    char name[32] = "sessions";
    char word[3][64];
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = name;
    bufferpool_t *pools[3];
    for (int i = 0; i < 3; i++) {
        pools[i] = bufferpool_create(&config);
        assert_non_null(pools[i]);
    }
    memset(name, 'x', sizeof name - 1);
    for (int i = 0; i < 3; i++) {
        expect_abort(double_put_on, pools[i], "sessions", NULL);
        word_in_message("sessions", word[i], sizeof word[i]);
    }
    assert_string_equal(word[0], "sessions");
    assert_string_not_equal(word[0], word[1]);
    assert_string_not_equal(word[0], word[2]);
    assert_string_not_equal(word[1], word[2]);
    for (int i = 0; i < 3; i++)
        assert_int_equal(bufferpool_destroy(pools[i]), 0);
}

static void names_have_defaults(void **state)
{
    (void)state;
    char word[2][64] = {""};
    bufferpool_t *pools[2];
    for (int i = 0; i < 2; i++) {
        pools[i] = bufferpool_create(NULL);
        assert_non_null(pools[i]);
        expect_abort(double_put_on, pools[i], "pool-", NULL);
        word_in_message("pool-", word[i], sizeof word[i]);
        assert_true(isdigit((unsigned char)word[i][5]));
    }
    assert_string_not_equal(word[0], word[1]);
    expect_abort(double_put_on, NULL, "default", NULL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(bufferpool_destroy(pools[i]), 0);
}

static void hooks_see_their_context_and_sizes(void **state)
{
    enum { N = 40 };
    bufferpool_buf_t *bufs[N];
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = 10000;
    config.max_capacity = 30000;
    config.alignment = 256;
    config.max_live = 30;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    for (size_t i = 0; i < N; i++) {
        bufs[i] = bufferpool_get(pool);
        assert_non_null(bufs[i]);
        const uintptr_t block = (uintptr_t)atomic_load(&blocks.last);
        assert_true(atomic_load(&blocks.last_align) >= 256);
        assert_true((uintptr_t)bufs[i]->data > block);
        assert_true((uintptr_t)bufs[i]->data + bufs[i]->cap <= block + atomic_load(&blocks.last_size));
    }
    for (size_t i = 0; i < N; i++)
        assert_int_equal(bufferpool_buf_reserve(bufs[i], 1500 * i), 0);
    bufferpool_put_bulk(bufs, N);
    check_laws(pool, &blocks, 0); /* counts every free whose size or context was another */
    assert_true(atomic_load(&blocks.frees) >= 10);
    destroy_empty(pool, &blocks);
    assert_int_equal(atomic_load(&blocks.frees), atomic_load(&blocks.allocs));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(capacity_defaults_to_32_KiB),
        cmocka_unit_test(max_capacity_defaults_to_1_MiB),
        cmocka_unit_test(max_capacity_defaults_to_a_larger_buffer_capacity),
        cmocka_unit_test(zero_means_the_documented_default),
        cmocka_unit_test(absurd_values_are_refused),
        cmocka_unit_test(a_configuration_in_one_expression_has_the_defaults),
        cmocka_unit_test(limits_of_the_valid_range_are_accepted),
        cmocka_unit_test(a_capacity_beyond_memory_is_ENOMEM_at_get),
        cmocka_unit_test(a_thread_keeps_no_more_than_its_bytes),
        cmocka_unit_test(a_thread_keeps_at_least_one_buffer),
        cmocka_unit_test(names_are_copied_and_made_unique),
        cmocka_unit_test(names_have_defaults),
        cmocka_unit_test(hooks_see_their_context_and_sizes),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
