/* SPDX-License-Identifier: MIT
 *
 * test_small_pages.c - memory around a buffer does not become resident with it, and takes little address space
 *
 * Where transparent_hugepage is `always`, the first byte written to a mapping makes 2 MiB of it resident, unless the
 * library advises against that. Here mmap advises each mapping as `always` would. Each case is a child, and the kernel
 * says how much of it is resident.
 */
#include "support/laws.h"

#include <sys/mman.h>
#include <sys/resource.h>

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)

void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    void *region = __real_mmap(at, size, protection, flags, fd, offset);
    if (region != MAP_FAILED)
        (void)madvise(region, size, MADV_HUGEPAGE);
    return region;
}

static bufferpool_t *pool_of(size_t capacity)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = capacity;
    return bufferpool_create(&config);
}

/* Descriptors, tables of pages and the test's own pointers. */
static size_t allowed(size_t n, size_t capacity)
{
    return n * (capacity + 64) + n * 72 + 4 * MIB;
}

static int fill(void *arg)
{
    const size_t capacity = *(const size_t *)arg, n = 16 * MIB / capacity, before = test_resident_bytes();
    bufferpool_t *pool = pool_of(capacity);
    static bufferpool_buf_t **bufs;
    bufs = calloc(n, sizeof(*bufs));
    for (size_t i = 0; i < n; i++) {
        bufs[i] = bufferpool_get(pool);
        if (bufs[i] == NULL)
            return 1;
        memset(bufs[i]->data, 1, capacity);
    }
    const size_t resident = test_resident_bytes() - before;
    if (resident > allowed(n, capacity)) {
        print_error("%zu buffers of %zu bytes: %zu KiB resident\n", n, capacity, resident / KIB);
        return 2;
    }
    return 0;
}

static void buffers_of_any_size_make_only_their_blocks_resident(void **state)
{
    (void)state;
    if (test_instrumented())
        skip();
    static const size_t sizes[] = {64, 256, 1024, 4096, 16384, 32768, 65536, 300 * 1024, 3 * 1024 * 1024};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t size = sizes[i];
        assert_int_equal(run_in_child(fill, &size, 60), 0);
    }
}

/* Blocks of every size that growth goes through, and little of each is written. */
static int grow(void *arg)
{
    enum { BUFS = 8 };
    (void)arg;
    bufferpool_buf_t *bufs[BUFS];
    bufferpool_t *pool = pool_of(100);
    const size_t before = test_resident_bytes();
    for (size_t i = 0; i < BUFS; i++) {
        bufs[i] = bufferpool_get(pool);
        if (bufs[i] == NULL || bufferpool_buf_reserve(bufs[i], (size_t)1000 << (2 * i)) != 0)
            return 1;
        bufs[i]->data[0] = 1;
    }
    return test_resident_bytes() - before > MIB ? 2 : 0;
}

static void only_written_pages_of_grown_buffers_become_resident(void **state)
{
    (void)state;
    if (test_instrumented())
        skip();
    assert_int_equal(run_in_child(grow, NULL, 60), 0);
}

static int many_pools(void *arg)
{
    enum { POOLS = 100 };
    (void)arg;
    const size_t before = test_resident_bytes();
    for (int i = 0; i < POOLS; i++) {
        bufferpool_buf_t *buf = bufferpool_get(pool_of(32 * KIB));
        if (buf == NULL)
            return 1;
        buf->data[0] = 1;
    }
    return test_resident_bytes() - before > 4 * MIB ? 2 : 0;
}

static void pools_with_a_buffer_each_take_little(void **state)
{
    (void)state;
    if (test_instrumented())
        skip();
    assert_int_equal(run_in_child(many_pools, NULL, 60), 0);
}

/* In proportion to their bytes, also of address space: 20 MiB of slots and 8 of descriptors here. */
static int addresses(void *arg)
{
    enum { MANY = 65280 };
    const struct rlimit limit = {128 * MIB, RLIM_INFINITY};
    (void)arg;
    bufferpool_t *pool = pool_of(256);
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        return 1;
    for (size_t i = 0; i < MANY; i++)
        if (bufferpool_get(pool) == NULL)
            return 2;
    return 0;
}

static void small_buffers_take_little_address_space(void **state)
{
    (void)state;
    if (test_instrumented())
        skip();
    assert_int_equal(run_in_child(addresses, NULL, 60), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_of_any_size_make_only_their_blocks_resident),
        cmocka_unit_test(only_written_pages_of_grown_buffers_become_resident),
        cmocka_unit_test(pools_with_a_buffer_each_take_little),
        cmocka_unit_test(small_buffers_take_little_address_space),
    };
    return cmocka_run_group_tests_name("small_pages", tests, NULL, NULL);
}
