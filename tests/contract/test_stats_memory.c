/* SPDX-License-Identifier: MIT
 *
 * test_stats_memory.c - retained_bytes and mapped_bytes are what the kernel says
 *
 * The size of the process grows and shrinks by as much as mapped_bytes. The pages that are resident of all buffers that
 * ever were are those of the buffers that exist, and retained_bytes.
 */
#include "support/laws.h"

#include <fcntl.h>
#include <sys/mman.h>

enum { MOST = 64 };

#define KIB  ((size_t)1024)
#define MIB  ((size_t)1024 * 1024)
#define PAGE ((size_t)4096)

/* The address space of the process. Nothing is allocated for the question. */
static size_t address_space(void)
{
    char text[256] = "";
    const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof text - 1) > 0);
    close(fd);
    return (size_t)strtoull(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

/* The size of the process and the pool's part of it, and by how much both moved since then. */
struct space {
    size_t all, mapped;
};

static struct space space_of(const bufferpool_t *pool)
{
    return (struct space){address_space(), (size_t)stats_of(pool).mapped_bytes};
}

/* Both moved by as much, but for `slack` bytes of something else, such as malloc's. */
static void check_moved(const bufferpool_t *pool, struct space *then, size_t slack)
{
    const struct space now = space_of(pool);
    const size_t mapped = now.mapped - then->mapped, all = now.all - then->all;
    assert_in_range(all - mapped + slack, 0, 2 * slack);
    *then = now;
}

static bufferpool_t *pool_of(size_t capacity, size_t cap, unsigned flags)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = capacity;
    config.max_capacity = 8 * MIB;
    config.max_live = cap;
    config.flags = flags;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static void get_all(bufferpool_t *pool, bufferpool_buf_t *bufs[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_non_null(bufs[i] = bufferpool_get(pool));
}

/* ---- address space ---- */

static void large_blocks_are_mapped_to_the_byte(unsigned flags)
{
    bufferpool_t *pool = pool_of(2 * MIB, 0, flags);
    bufferpool_buf_t *bufs[MOST];
    bufferpool_put(bufferpool_get(pool)); /* the thread's cache, and the first handles */
    struct space then = space_of(pool);
    assert_true(then.mapped >= 2 * MIB);
    get_all(pool, bufs, MOST);
    check_moved(pool, &then, 0);
    assert_true(then.mapped >= MOST * 2 * MIB);
    for (size_t i = 0; i < MOST; i += 4)
        assert_int_equal(bufferpool_buf_reserve(bufs[i], 3 * MIB + i * PAGE), 0);
    check_moved(pool, &then, 0);
    for (size_t i = 0; i < MOST; i++) {
        bufferpool_put(bufs[i]); /* the larger ones are freed */
        check_moved(pool, &then, 0);
    }
    get_all(pool, bufs, MOST / 2);
    check_moved(pool, &then, 0);
    bufferpool_put_bulk(bufs, MOST / 2);
    (void)bufferpool_trim(pool);
    check_moved(pool, &then, 0);
    assert_int_equal(then.mapped, 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void mapped_bytes_of_large_blocks_are_the_kernels(void **state)
{
    (void)state;
    if (test_instrumented())
        skip();
    large_blocks_are_mapped_to_the_byte(0);
    large_blocks_are_mapped_to_the_byte(BUFFERPOOL_HUGEPAGES);
}

static void retained_mappings_count_until_they_are_unmapped(void **state)
{
    (void)state;
    if (test_instrumented())
        skip();
    enum { BUFFERS = 8 };
    bufferpool_t *pool = pool_of(64 * KIB, 2, 0);
    bufferpool_buf_t *bufs[BUFFERS];
    get_all(pool, bufs, BUFFERS);
    struct space then = space_of(pool);
    for (size_t i = 0; i < BUFFERS; i++)
        assert_int_equal(bufferpool_buf_reserve(bufs[i], 400 * KIB), 0);
    check_moved(pool, &then, 0);
    for (size_t i = 0; i < BUFFERS; i++) {
        bufferpool_put(bufs[i]);
        check_moved(pool, &then, 0);
    }
    assert_true(stats_of(pool).retained_bytes >= 400 * KIB);
    (void)bufferpool_trim(pool);
    check_moved(pool, &then, 200 * KIB);
    assert_int_equal(then.mapped, 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void mapped_bytes_of_small_blocks_are_the_kernels(void **state)
{
    (void)state;
    if (test_instrumented())
        skip();
    enum { MANY = 3000 };
    static bufferpool_buf_t *bufs[MANY];
    bufferpool_t *pool = pool_of(64 * KIB, 0, 0);
    bufferpool_put(bufferpool_get(pool));
    struct space then = space_of(pool);
    get_all(pool, bufs, MANY);
    check_moved(pool, &then, MIB);
    assert_true(then.mapped >= MANY * 64 * KIB);
    for (size_t i = 0; i < MANY; i += 2)
        assert_int_equal(bufferpool_buf_reserve(bufs[i], 200 * KIB), 0);
    check_moved(pool, &then, MIB);
    bufferpool_put_bulk(bufs, MANY);
    (void)bufferpool_trim(pool);
    check_moved(pool, &then, MIB);
    assert_int_equal(then.mapped, 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* ---- memory ---- */

struct bytes {
    unsigned char *from;
    size_t n;
};

/* The bytes of whole pages in there that are resident. */
static size_t resident(const struct bytes *bytes)
{
    const size_t first = ((uintptr_t)bytes->from + PAGE - 1) / PAGE, end = ((uintptr_t)bytes->from + bytes->n) / PAGE;
    size_t sum = 0;
    for (size_t page = first; page < end; page++) {
        unsigned char in = 0;
        // NOLINTNEXTLINE(performance-no-int-to-ptr): a page, whether it is there or not
        if (mincore((void *)(page * PAGE), PAGE, &in) == 0 && (in & 1) != 0)
            sum += PAGE;
    }
    return sum;
}

/* What is resident is what the figures say, but for two pages at the edges of each block. */
static void check_resident(const bufferpool_t *pool, const struct bytes bytes[], size_t n)
{
    const bufferpool_stats_t s = stats_of(pool);
    const size_t stays = (size_t)(s.pooled_bytes + s.retained_bytes);
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += resident(&bytes[i]);
    assert_in_range(sum, stays - 2 * PAGE * n < stays ? stays - 2 * PAGE * n : 0, stays);
}

/* Buffers that were all written, grown to `grown` bytes unless that is 0, are put one by one. */
static void retained_is_resident(size_t n, size_t capacity, size_t grown, size_t retained_at_least)
{
    bufferpool_t *pool = pool_of(capacity, 2, 0);
    bufferpool_buf_t *bufs[MOST];
    struct bytes bytes[2 * MOST];
    uint64_t most = 0;
    size_t blocks = n;
    assert_int_equal(stats_of(pool).retained_bytes, 0);
    get_all(pool, bufs, n);
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (struct bytes){bufs[i]->data, bufs[i]->cap};
        memset(bufs[i]->data, 0x5a, bufs[i]->cap);
    }
    check_resident(pool, bytes, blocks);
    for (size_t i = 0; grown != 0 && i < n; i++) {
        assert_int_equal(bufferpool_buf_reserve(bufs[i], grown), 0);
        bytes[blocks++] = (struct bytes){bufs[i]->data, bufs[i]->cap};
        memset(bufs[i]->data, 0x5a, bufs[i]->cap);
        check_resident(pool, bytes, blocks);
    }
    for (size_t i = 0; i < n; i++) {
        bufferpool_put(bufs[i]);
        check_resident(pool, bytes, blocks);
        const uint64_t retained = stats_of(pool).retained_bytes;
        most = retained > most ? retained : most;
    }
    assert_in_range(most, retained_at_least, SIZE_MAX);
    assert_true(stats_of(pool).retained_bytes <= MIB);
    (void)bufferpool_trim(pool);
    assert_int_equal(stats_of(pool).retained_bytes, 0);
    assert_int_equal(stats_of(pool).pooled_bytes, 0);
    check_resident(pool, bytes, blocks);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void retained_bytes_are_resident(void **state)
{
    (void)state;
    if (test_instrumented() || sysconf(_SC_PAGESIZE) != (long)PAGE)
        skip();
    retained_is_resident(16, 64 * KIB, 0, 4 * 64 * KIB);
    retained_is_resident(MOST, 64 * KIB, 0, MIB / 2);
    retained_is_resident(8, 64 * KIB, 256 * KIB, 256 * KIB);
    retained_is_resident(8, 64 * KIB, 400 * KIB, 400 * KIB); /* mappings of their own */
    retained_is_resident(8, 512 * KIB, 0, 512 * KIB);
}

/* What puts freed beyond the cap, without a thread of the library. */
static void at_most_1_MiB_is_retained_until_reclaim_or_trim(void **state)
{
    enum { OUT = 256, MAX_LIVE = 16 };
    bufferpool_buf_t *bufs[OUT];
    (void)state;
    for (int trims = 0; trims < 2; trims++) {
        bufferpool_t *pool = bufferpool_create(BUFFERPOOL_CONFIG(.max_live = MAX_LIVE));
        assert_non_null(pool);
        get_all(pool, bufs, OUT);
        bufferpool_put_bulk(bufs, OUT);
        const uint64_t retained = stats_of(pool).retained_bytes;
        assert_true(retained > 0 && retained <= 1 << 20);
        if (trims)
            (void)bufferpool_trim(pool);
        else
            (void)bufferpool_reclaim(pool);
        assert_int_equal(stats_of(pool).retained_bytes, 0);
        assert_int_equal(bufferpool_destroy(pool), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mapped_bytes_of_large_blocks_are_the_kernels),
        cmocka_unit_test(retained_mappings_count_until_they_are_unmapped),
        cmocka_unit_test(mapped_bytes_of_small_blocks_are_the_kernels),
        cmocka_unit_test(retained_bytes_are_resident),
        cmocka_unit_test(at_most_1_MiB_is_retained_until_reclaim_or_trim),
    };
    return cmocka_run_group_tests_name("stats_memory", tests, NULL, NULL);
}
