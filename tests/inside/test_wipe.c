/* SPDX-License-Identifier: MIT
 *
 * test_wipe.c - BUFFERPOOL_ZERO wipes what was written, and makes nothing else resident
 *
 * The linker's --wrap lets mincore say of any page that it is not resident, like a page in swap, and lets madvise
 * refuse.
 */
#include "support/laws.h"

#include "debug/sanitizer.h"
#include "heap/os.h"
#include "heap/wipe.h"

#include <sys/mman.h>

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)

enum answer { TRUE_ONE, NONE_RESIDENT, EVERY_OTHER, NO_ANSWER };

static enum answer answer;
static bool refused; /* madvise */

int __real_mincore(void *at, size_t size, unsigned char *in_core);
int __wrap_mincore(void *at, size_t size, unsigned char *in_core);
int __wrap_mincore(void *at, size_t size, unsigned char *in_core)
{
    const int result = __real_mincore(at, size, in_core);
    const size_t pages = (size + os_page_size() - 1) / os_page_size();
    for (size_t i = 0; i < pages && answer != TRUE_ONE; i++)
        in_core[i] = answer == EVERY_OTHER && i % 2 == 0;
    return answer == NO_ANSWER ? -1 : result;
}

int __real_madvise(void *at, size_t size, int what);
int __wrap_madvise(void *at, size_t size, int what);
int __wrap_madvise(void *at, size_t size, int what)
{
    return refused ? -1 : __real_madvise(at, size, what);
}

static void begin(void)
{
    answer = TRUE_ONE;
    refused = false;
}

/* ---- every byte ---- */

/* Writes a secret into bytes from .. to - 1 of a block at `at`, and wipes the block. Nothing of the secret is left, and
 * nothing around the block is touched. */
static void wipe_secret(unsigned char *region, size_t at, size_t n, size_t from, size_t to, bool mapped)
{
    memset(region + at - 16, 0x77, 16);
    memset(region + at + n, 0x77, 16);
    memset(region + at + from, 0x5a, to - from);
    wipe(region + at, n, mapped);
    if (sanitizer_on())
        sanitizer_open(region + at, n);
    size_t left = 0;
    for (size_t i = 0; i < n; i++)
        left += region[at + i] != 0;
    assert_int_equal(left, 0);
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(region[at - 16 + i], 0x77);
        assert_int_equal(region[at + n + i], 0x77);
    }
    memset(region + at - 16, 0, 16);
    memset(region + at + n, 0, 16);
}

static void a_wiped_block_is_zero_in_every_byte(void **state)
{
    static const size_t sizes[] = {8, 64, 4096, 32 * KIB, 128 * KIB, 128 * KIB + 8, 300 * KIB, MIB + 4000};
    static const size_t starts[] = {64, 4096, 4096 + 4088};
    (void)state;
    begin();
    unsigned char *region = os_map(2 * MIB, false);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (size_t k = 0; k < sizeof starts / sizeof starts[0]; k++)
            for (int mapped = 0; mapped < 2; mapped++) {
                const size_t n = sizes[s], at = starts[k];
                wipe_secret(region, at, n, 0, n, mapped);
                wipe_secret(region, at, n, 0, 1, mapped);
                wipe_secret(region, at, n, n - 1, n, mapped);
                wipe_secret(region, at, n, n / 2, n / 2 + 1, mapped);
                wipe_secret(region, at, n, n / 3, n / 2, mapped);
            }
    os_unmap(region, 2 * MIB);
}

/* mincore says of a page in swap that it is not resident; the secret is still there. Where the system does not say, or
 * refuses to drop pages, all are overwritten. */
static void secrets_in_swap_are_wiped(void **state)
{
    (void)state;
    unsigned char *region = os_map(4 * MIB, false);
    for (int refusing = 0; refusing < 2; refusing++)
        for (enum answer a = NONE_RESIDENT; a <= NO_ANSWER; a++) {
            begin();
            answer = a;
            refused = refusing;
            wipe_secret(region, 64, 3 * MIB, 0, 3 * MIB, true);
            wipe_secret(region, 64, 3 * MIB, 5 * 4096, 7 * 4096, true);
            wipe_secret(region, 4096, 200 * KIB, 0, 200 * KIB, true);
        }
    begin();
    os_unmap(region, 4 * MIB);
}

/* So they are overwritten where they are, and the next use needs no page fault. */
static void where_the_system_does_not_say_all_pages_count_as_resident(void **state)
{
    (void)state;
    begin();
    unsigned char *region = os_map(MIB, false);
    answer = NO_ANSWER;
    bool resident = false;
    assert_int_equal(os_resident_run(region, MIB, &resident), MIB);
    assert_true(resident);
    begin();
    os_unmap(region, MIB);
}

/* Overwritten, where they are, not given back as they are: the next use needs no page fault. */
static void pages_that_were_written_stay(void **state)
{
    (void)state;
    begin();
    unsigned char *region = os_map(MIB, false);
    memset(region, 0x5a, MIB);
    wipe(region + 4096, 300 * KIB, true);
    bool resident = false; /* before it is read, which makes it so */
    assert_true(os_resident_run(region + 4096, 300 * KIB, &resident) >= 299 * KIB);
    assert_true(resident);
    os_unmap(region, MIB);
}

/* To drop the pages of a hook's block may leave what is in a file behind them. */
static void pages_of_a_hook_are_not_dropped(void **state)
{
    (void)state;
    begin();
    answer = NONE_RESIDENT;
    unsigned char *region = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true((void *)region != MAP_FAILED);
    wipe_secret(region, 64, MIB - 128, 0, MIB - 128, false);
    munmap(region, MIB);
}

/* ---- nothing more is resident ---- */

static bufferpool_t *zero_pool(size_t capacity)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = capacity;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    config.flags = BUFFERPOOL_ZERO;
    return bufferpool_create(&config);
}

struct shape {
    size_t capacity, written, n;
};

static int put_all(void *arg)
{
    const struct shape *shape = arg;
    bufferpool_t *pool = zero_pool(shape->capacity);
    static bufferpool_buf_t **bufs;
    bufs = calloc(shape->n, sizeof(*bufs));
    for (size_t i = 0; i < shape->n; i++) {
        if ((bufs[i] = bufferpool_get(pool)) == NULL)
            return 1;
        memset(bufs[i]->data, 0x5a, shape->written);
    }
    const size_t before = test_resident_bytes();
    for (size_t i = 0; i < shape->n; i++)
        bufferpool_put(bufs[i]);
    const size_t after = test_resident_bytes();
    if (after > before + MIB) {
        print_error("%zu of %zu bytes: %zu KiB resident, after put %zu\n", shape->n, shape->capacity, before / KIB,
                    after / KIB);
        return 2;
    }
    for (size_t i = 0; i < shape->n; i++) {
        bufs[i] = bufferpool_get(pool);
        for (size_t k = 0; k < shape->written; k++)
            if (bufs[i]->data[k] != 0)
                return 3;
    }
    return 0;
}

static void a_put_makes_nothing_resident(void **state)
{
    static const struct shape shapes[] = {
        {32 * KIB, 4096, 1000}, {100 * KIB, 1, 300}, {MIB, 10000, 40}, {3 * MIB, 100, 20}, {3 * MIB, 3 * MIB, 5},
    };
    (void)state;
    if (test_instrumented())
        skip();
    begin();
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct shape shape = shapes[i];
        assert_int_equal(run_in_child(put_all, &shape, 60), 0);
    }
}

/* Nor does a buffer that grew, shrinks, or is dropped. */
static int grow_and_drop(void *arg)
{
    (void)arg;
    bufferpool_t *pool = zero_pool(32 * KIB);
    const size_t before = test_resident_bytes();
    for (int turn = 0; turn < 10; turn++) {
        bufferpool_buf_t *buf = bufferpool_get(pool);
        if (buf == NULL)
            return 1;
        memset(buf->data, 0x5a, 100);
        buf->len = 100;
        for (size_t cap = 100 * KIB; cap < 30 * MIB; cap *= 3)
            if (bufferpool_buf_reserve(buf, cap) != 0 || buf->data[99] != 0x5a)
                return 2;
        if (test_resident_bytes() > before + MIB)
            return 3;
        bufferpool_put(buf);
        if (test_resident_bytes() > before + MIB)
            return 4;
    }
    return 0;
}

static void growth_makes_nothing_resident(void **state)
{
    (void)state;
    if (test_instrumented())
        skip();
    begin();
    assert_int_equal(run_in_child(grow_and_drop, NULL, 60), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wiped_block_is_zero_in_every_byte),
        cmocka_unit_test(secrets_in_swap_are_wiped),
        cmocka_unit_test(where_the_system_does_not_say_all_pages_count_as_resident),
        cmocka_unit_test(pages_that_were_written_stay),
        cmocka_unit_test(pages_of_a_hook_are_not_dropped),
        cmocka_unit_test(a_put_makes_nothing_resident),
        cmocka_unit_test(growth_makes_nothing_resident),
    };
    return cmocka_run_group_tests_name("wipe", tests, NULL, NULL);
}
