/* SPDX-License-Identifier: MIT
 *
 * test_buffer.c - the content of one buffer: reserve, append, printf, from_data, put_data
 *
 * Growth is geometric, keeps the bytes and the handle, and is counted. A failure changes nothing, whether the size
 * cannot be represented, the arguments are wrong, or memory ran out. Append may take bytes from anywhere in the buffer
 * itself. printf fills a buffer to the last byte and does not count the NUL in len. data leads back to its handle.
 */
#include "support/laws.h"

#include <sys/mman.h>
#include <unistd.h>
#include <wchar.h>

static test_blocks_t blocks;
static bufferpool_t *pool;

static int make_pool(void **state)
{
    (void)state;
    memset(&blocks, 0, sizeof blocks);
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = 64;
    config.max_capacity = 4096;
    pool = bufferpool_create(&config);
    return pool == NULL;
}

static int drop_pool(void **state)
{
    (void)state;
    const bool fine = laws_hold(pool, &blocks, 0) && bufferpool_destroy(pool) == 0;
    return fine && atomic_load(&blocks.count) == 0 && atomic_load(&blocks.errors) == 0 ? 0 : -1;
}

static void growth_is_geometric_and_keeps_bytes_and_handle(void **state)
{
    (void)state;
    unsigned char chunk[1024];
    bufferpool_buf_t *buf = bufferpool_get(pool);
    const bufferpool_buf_t *handle = buf;
    uint64_t grows = 0;
    for (size_t i = 0; i < 2048; i++) { /* to 2 MiB */
        const size_t cap = buf->cap;
        test_fill(chunk, sizeof chunk, i);
        assert_int_equal(bufferpool_buf_append(buf, chunk, sizeof chunk), 0);
        assert_int_equal(buf->len, (i + 1) * sizeof chunk);
        assert_true(buf->len <= buf->cap);
        assert_ptr_equal(bufferpool_buf_from_data(buf->data), handle);
        assert_int_equal((uintptr_t)buf->data % 64, 0);
        if (buf->cap == cap)
            continue;
        grows++;
        assert_true(buf->cap >= cap + cap / 2);
    }
    assert_int_equal(stats_of(pool).grows, grows);
    assert_in_range(grows, 2, 30); /* log 2 MiB / 64 to the base 1.5 is 25.6 */
    for (size_t i = 0; i < 2048; i++)
        assert_true(test_filled(buf->data + i * sizeof chunk, sizeof chunk, i));
    check_laws(pool, &blocks, 1);
    bufferpool_put(buf);
    assert_int_equal(stats_of(pool).drops_oversize, 1);
}

/* The smallest blocks there are lie beside each other. */
static void tiny_buffers_grow(void **state)
{
    (void)state;
    enum { TINY = 100 };
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = 5;
    config.max_capacity = 64;
    config.alignment = 1;
    bufferpool_t *tiny = bufferpool_create(&config);
    bufferpool_buf_t *bufs[TINY];
    assert_int_equal(bufferpool_get_bulk(tiny, bufs, TINY), 0);
    for (size_t i = 0; i < TINY; i++) {
        assert_int_equal(bufferpool_buf_reserve(bufs[i], 6 + i % 59), 0);
        assert_in_range(bufs[i]->cap, 6 + i % 59, 64); /* so that a put keeps it */
        bufs[i]->len = bufs[i]->cap;
        test_fill(bufs[i]->data, bufs[i]->len, i);
    }
    for (size_t i = 0; i < TINY; i++)
        assert_true(test_filled(bufs[i]->data, bufs[i]->len, i));
    bufferpool_put_bulk(bufs, TINY);
    assert_int_equal(stats_of(tiny).drops_oversize, 0);
    check_laws(tiny, NULL, 0);
    assert_int_equal(bufferpool_destroy(tiny), 0);
}

static void reserve_never_shrinks_and_may_exceed_max_capacity(void **state)
{
    (void)state;
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_int_equal(bufferpool_buf_append(buf, "four", 4), 0);
    assert_int_equal(bufferpool_buf_reserve(buf, 3000), 0);
    const size_t cap = buf->cap;
    const unsigned char *data = buf->data;
    assert_true(cap >= 3000);
    assert_int_equal(bufferpool_buf_reserve(buf, 0), 0);
    assert_int_equal(bufferpool_buf_reserve(buf, 10), 0);
    assert_int_equal(bufferpool_buf_reserve(buf, cap), 0);
    assert_true(buf->cap == cap && buf->data == data && buf->len == 4);
    assert_int_equal(stats_of(pool).grows, 1);
    assert_int_equal(bufferpool_buf_reserve(buf, cap + 1), 0);
    assert_true(buf->cap >= cap + cap / 2);
    assert_int_equal(bufferpool_buf_reserve(buf, 1000000), 0);
    assert_true(buf->cap >= 1000000);
    assert_memory_equal(buf->data, "four", 4);
    assert_int_equal(buf->len, 4);
    bufferpool_put(buf);
}

/* src at each place of the block and of each length, with and without growth: the bytes are those from before. */
static void append_may_take_its_own_bytes(void **state)
{
    (void)state;
    unsigned char before[200];
    for (size_t len = 1; len <= 64; len += 9) {
        for (size_t from = 0; from <= len; from++) {
            for (size_t n = 0; from + n <= 64; n += 1 + n / 8) {
                bufferpool_buf_t *buf = bufferpool_get(pool);
                test_fill(buf->data, buf->cap, len);
                memcpy(before, buf->data, 64);
                buf->len = len;
                assert_int_equal(bufferpool_buf_append(buf, buf->data + from, n), 0);
                assert_int_equal(buf->len, len + n);
                assert_memory_equal(buf->data, before, len);
                assert_memory_equal(buf->data + len, before + from, n);
                bufferpool_put(buf);
                bufferpool_trim(pool); /* the next one is small again */
            }
        }
    }
}

static void append_of_itself_doubles(void **state)
{
    (void)state;
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_int_equal(bufferpool_buf_append(buf, "abc", 3), 0);
    for (size_t len = 3; len < 200000; len *= 2) {
        assert_int_equal(bufferpool_buf_append(buf, buf->data, buf->len), 0);
        assert_int_equal(buf->len, 2 * len);
        for (size_t i = 0; i < buf->len; i += 97)
            assert_int_equal(buf->data[i], "abc"[i % 3]);
    }
    bufferpool_put(buf);
}

/* Arguments may be texts of the buffer's own, before len: also where growth frees, and perhaps wipes, the block that
 * they lie in. */
static void printf_may_take_its_own_text(void **state)
{
    (void)state;
    enum { TEXT_MAX = 3000 };
    for (unsigned flags = 0; flags <= BUFFERPOOL_ZERO; flags += BUFFERPOOL_ZERO) {
        bufferpool_config_t config = config_with(&blocks);
        config.buffer_capacity = 64;
        config.flags = flags;
        bufferpool_t *own = bufferpool_create(&config);
        for (size_t length = 20; length <= TEXT_MAX; length += length / 3) {
            char expected[2 * TEXT_MAX + 3];
            bufferpool_buf_t *buf = bufferpool_get(own);
            assert_int_equal(bufferpool_buf_reserve(buf, length + 1), 0);
            memset(buf->data, 'a' + (int)(length % 26), length);
            buf->data[length] = 0;
            buf->len = length + 1;
            snprintf(expected, sizeof(expected), "%s|%s|", (char *)buf->data, (char *)buf->data + 9);
            assert_int_equal(bufferpool_buf_printf(buf, "%s|%s|", (char *)buf->data, (char *)buf->data + 9), 0);
            assert_string_equal((char *)buf->data + length + 1, expected);
            assert_int_equal(buf->len, length + 1 + strlen(expected));
            bufferpool_put(buf);
            bufferpool_trim(own); /* the next one is small again */
        }
        destroy_empty(own, &blocks);
    }
}

/* ---- errors ---- */

/* One call on a buffer with 40 bytes in it, which must fail so and change nothing. */
#define fails_without_effect(expected, call)                                                                           \
    do {                                                                                                               \
        const bufferpool_buf_t was_ = *buf;                                                                            \
        assert_int_equal((call), (expected));                                                                          \
        assert_ptr_equal(buf->data, was_.data);                                                                        \
        assert_int_equal(buf->len, was_.len);                                                                          \
        assert_int_equal(buf->cap, was_.cap);                                                                          \
        assert_true(test_filled(buf->data, 40, 5));                                                                    \
    } while (0)

static bufferpool_buf_t *get_filled(void)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_non_null(buf);
    test_fill(buf->data, 40, 5);
    buf->len = 40;
    return buf;
}

static void sizes_beyond_representation_are_EOVERFLOW(void **state)
{
    (void)state;
    static const size_t off[] = {0, 1, 2, 15, 16, 39, 40, 41, 63, 64, 65, 4095, 4096, 4097};
    bufferpool_buf_t *buf = get_filled();
    for (size_t i = 0; i < sizeof off / sizeof off[0]; i++) {
        fails_without_effect(EOVERFLOW, bufferpool_buf_reserve(buf, SIZE_MAX - off[i]));
        fails_without_effect(EOVERFLOW, bufferpool_buf_append(buf, "", SIZE_MAX - off[i]));
        fails_without_effect(EOVERFLOW, bufferpool_buf_reserve(buf, (size_t)PTRDIFF_MAX + 1 + off[i]));
        fails_without_effect(EOVERFLOW, bufferpool_buf_reserve(buf, (size_t)PTRDIFF_MAX - off[i]));
        fails_without_effect(EOVERFLOW, bufferpool_buf_append(buf, "", (size_t)PTRDIFF_MAX - off[i]));
    }
    test_narrow_addresses();
    fails_without_effect(ENOMEM, bufferpool_buf_reserve(buf, (size_t)PTRDIFF_MAX / 2));
    fails_without_effect(ENOMEM, bufferpool_buf_append(buf, "", (size_t)PTRDIFF_MAX / 4));
    test_widen_addresses();
    assert_int_equal(stats_of(pool).grows, 0);
    bufferpool_put(buf);
}

static int with_va_list(bufferpool_buf_t *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int error = bufferpool_buf_vprintf(buf, format, args);
    va_end(args);
    return error;
}

static void printf_reports_what_vsnprintf_reports(void **state)
{
    (void)state;
    static const wchar_t no_text[] = {(wchar_t)0x7fffffff, 0};
    bufferpool_buf_t *buf = get_filled();
    fails_without_effect(EILSEQ, bufferpool_buf_printf(buf, "%d %ls", 1, no_text));
    fails_without_effect(EOVERFLOW, with_va_list(buf, "x%2147483648d", 1));
    bufferpool_put(buf);
}

static void wrong_arguments_are_EINVAL(void **state)
{
    (void)state;
    bufferpool_buf_t *buf = get_filled();
    const char *volatile no_format = NULL;
    fails_without_effect(EINVAL, bufferpool_buf_append(buf, NULL, 1));
    fails_without_effect(0, bufferpool_buf_append(buf, NULL, 0));
    fails_without_effect(EINVAL, with_va_list(buf, no_format));
    assert_int_equal(bufferpool_buf_reserve(NULL, 1), EINVAL);
    assert_int_equal(bufferpool_buf_append(NULL, "", 1), EINVAL);
    assert_int_equal(bufferpool_buf_printf(NULL, "x"), EINVAL);

    buf->len = buf->cap + 1; /* the caller's mistake */
    fails_without_effect(EINVAL, bufferpool_buf_append(buf, "", 1));
    fails_without_effect(EINVAL, bufferpool_buf_append(buf, "", 0));
    fails_without_effect(EINVAL, bufferpool_buf_printf(buf, "%d", 1));
    fails_without_effect(EINVAL, bufferpool_buf_reserve(buf, 100000));
    fails_without_effect(EINVAL, bufferpool_buf_reserve(buf, 1));
    buf->len = SIZE_MAX;
    fails_without_effect(EINVAL, bufferpool_buf_append(buf, "", 1));
    buf->len = 40;
    bufferpool_put(buf);
}

static void growth_without_memory_changes_nothing(void **state)
{
    (void)state;
    const unsigned char more[100] = {1};
    bufferpool_buf_t *buf = get_filled();
    for (int round = 0; round < 3; round++) {
        test_blocks_fail(&blocks, 0, SIZE_MAX);
        fails_without_effect(ENOMEM, bufferpool_buf_reserve(buf, buf->cap + 1));
        fails_without_effect(ENOMEM, bufferpool_buf_append(buf, more, buf->cap - buf->len < 100 ? 100 : 0));
        fails_without_effect(ENOMEM, bufferpool_buf_append(buf, buf->data, buf->cap - buf->len + 1));
        fails_without_effect(ENOMEM, bufferpool_buf_printf(buf, "%*d", (int)(buf->cap - buf->len), 1));
        fails_without_effect(0, bufferpool_buf_reserve(buf, buf->cap));
        test_blocks_fail_none(&blocks);
        assert_int_equal(stats_of(pool).grows, round);
        check_laws(pool, &blocks, 1);
        if (round < 2)
            assert_int_equal(bufferpool_buf_reserve(buf, buf->cap + 1), 0);
        buf->len = buf->cap - 20;
    }
    bufferpool_put(buf);
}

/* ---- printf ---- */

static void printf_fills_to_the_last_byte(void **state)
{
    (void)state;
    for (size_t start = 0; start <= 64; start += 16) {
        for (size_t n = 0; n < 200; n++) {
            bufferpool_buf_t *buf = bufferpool_get(pool);
            const size_t cap = buf->cap;
            test_fill(buf->data, start, n);
            buf->len = start;
            if (n % 2 == 0) {
                assert_int_equal(bufferpool_buf_printf(buf, "%.*s", (int)n, ""), 0);
                assert_int_equal(buf->len, start);
                buf->len = start;
            }
            assert_int_equal(with_va_list(buf, "%0*d", (int)n, 0), 0);
            const size_t text = n == 0 ? 1 : n;
            assert_int_equal(buf->len, start + text);
            assert_true(test_filled(buf->data, start, n));
            for (size_t i = 0; i < text; i++)
                assert_int_equal(buf->data[start + i], '0');
            assert_true(buf->len < buf->cap);
            assert_int_equal(buf->data[buf->len], '\0');
            if (start + text < cap)
                assert_int_equal(buf->cap, cap); /* the last byte is the NUL's */
            bufferpool_put(buf);
            bufferpool_trim(pool);
        }
    }
}

static void an_append_that_just_fits_does_not_grow(void **state)
{
    (void)state;
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_int_equal(bufferpool_buf_append(buf, "first", 5), 0);
    const bufferpool_buf_t before = *buf;
    unsigned char *rest = calloc(1, buf->cap - 5);
    assert_non_null(rest);
    assert_int_equal(bufferpool_buf_append(buf, rest, buf->cap - 5), 0);
    free(rest);
    assert_ptr_equal(buf->data, before.data);
    assert_int_equal(buf->cap, before.cap);
    assert_int_equal(buf->len, before.cap);
    bufferpool_put(buf);
}

static void texts_append_one_after_the_other(void **state)
{
    (void)state;
    char expected[4000] = "";
    bufferpool_buf_t *buf = bufferpool_get(pool);
    size_t n = 0;
    for (int i = 0; i < 200; i++) {
        n += (size_t)snprintf(expected + n, sizeof expected - n, "%d:%s;%c", i, "text", 'c');
        assert_int_equal(bufferpool_buf_printf(buf, "%d:%s;%c", i, "text", 'c'), 0);
        assert_int_equal(buf->len, n);
        assert_string_equal((const char *)buf->data, expected);
    }
    bufferpool_put(buf);
}

/* ---- beyond the cap, and back from data ---- */

static void buffers_beyond_the_cap_grow(void **state)
{
    (void)state;
    bufferpool_set_max_live(pool, 1);
    bufferpool_buf_t *first = bufferpool_get(pool);
    bufferpool_buf_t *beyond = bufferpool_get(pool);
    for (size_t i = 0; i < 500; i++)
        assert_int_equal(bufferpool_buf_printf(beyond, "%03zu ", i), 0);
    assert_int_equal(beyond->len, 2000);
    assert_memory_equal(beyond->data + 4 * 499, "499 ", 5);
    assert_ptr_equal(bufferpool_buf_from_data(beyond->data), beyond);
    assert_int_equal(stats_of(pool).bypass_live, 1);
    assert_int_equal(stats_of(pool).live_bytes, first->cap + beyond->cap);
    check_laws(pool, &blocks, 2);
    bufferpool_put(first); /* which of the two was made beyond the cap does not matter */
    assert_int_equal(stats_of(pool).drops_over_cap, 1);
    assert_int_equal(stats_of(pool).live_bytes, beyond->cap);
    bufferpool_put(beyond);
    assert_int_equal(stats_of(pool).puts_kept, 1);
}

static void from_data_finds_buffers_and_nothing_else(void **state)
{
    (void)state;
    static _Alignas(64) unsigned char foreign[256];
    bufferpool_buf_t *bufs[10];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 10), 0);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(bufferpool_buf_reserve(bufs[i], 100 * (i + 1)), 0);
        memset(bufs[i]->data, 0, bufs[i]->cap);
        assert_ptr_equal(bufferpool_buf_from_data(bufs[i]->data), bufs[i]);
    }
    const unsigned char *const wrong[] = {
        NULL, foreign + 64, foreign + 65, bufs[0]->data + 1, bufs[0]->data + 8, bufs[0]->data + 16, bufs[0]->data + 64,
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        errno = 0;
        assert_null(bufferpool_buf_from_data(wrong[i]));
        assert_int_equal(errno, EINVAL);
    }
    const unsigned char *stale = bufs[0]->data;
    bufferpool_put_bulk(bufs, 10);
    assert_null(bufferpool_buf_from_data(stale)); /* nobody holds it */
}

/* A slab stays mapped while it has a block in use, so what the old block said about itself can still be read. */
static void from_data_refuses_the_block_that_growth_replaced(void **state)
{
    (void)state;
    bufferpool_t *slabs = bufferpool_create(NULL);
    assert_non_null(slabs);
    bufferpool_buf_t *other = bufferpool_get(slabs);
    bufferpool_buf_t *buf = bufferpool_get(slabs);
    assert_true(other != NULL && buf != NULL);
    const unsigned char *old = buf->data;
    assert_ptr_equal(bufferpool_buf_from_data(old), buf);
    assert_int_equal(bufferpool_buf_reserve(buf, buf->cap + 1), 0);
    assert_ptr_not_equal(buf->data, old);
    errno = 0;
    assert_null(bufferpool_buf_from_data(old));
    assert_int_equal(errno, EINVAL);
    assert_ptr_equal(bufferpool_buf_from_data(buf->data), buf);
    bufferpool_put(other);
    bufferpool_put(buf);
    assert_int_equal(bufferpool_destroy(slabs), 0);
}

/* A page, with one in front of it that cannot be read. */
static unsigned char *page_behind_none(bool unmapped)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(pages, MAP_FAILED);
    assert_int_equal(unmapped ? munmap(pages, page) : mprotect(pages, page, PROT_NONE), 0);
    return pages + page;
}

static void from_data_looks_at_no_page_that_cannot_be_read(void **state)
{
    (void)state;
    for (int unmapped = 0; unmapped < 2; unmapped++) {
        unsigned char *at = page_behind_none(unmapped != 0);
        for (size_t offset = 0; offset < 64; offset++) {
            errno = 0;
            assert_null(bufferpool_buf_from_data(at + offset));
            assert_int_equal(errno, EINVAL);
        }
    }
}

/* Data that starts a page is what it cannot tell from that without asking the system. */
static void from_data_finds_buffers_that_start_a_page(void **state)
{
    (void)state;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int hooks = 0; hooks < 2; hooks++) {
        bufferpool_config_t config = hooks ? config_with(&blocks) : (bufferpool_config_t)BUFFERPOOL_CONFIG_INIT;
        config.alignment = page;
        bufferpool_t *aligned = bufferpool_create(&config);
        assert_non_null(aligned);
        bufferpool_buf_t *buf = bufferpool_get(aligned);
        for (int grown = 0; grown < 2; grown++) {
            assert_int_equal(bufferpool_buf_reserve(buf, grown ? 300000 : 0), 0);
            assert_int_equal((uintptr_t)buf->data % page, 0);
            errno = 7;
            assert_ptr_equal(bufferpool_buf_from_data(buf->data), buf);
            assert_int_equal(errno, 7);
        }
        bufferpool_put_data(buf->data);
        assert_int_equal(bufferpool_live(aligned), 0);
        assert_int_equal(bufferpool_destroy(aligned), 0);
    }
}

/* The memory of a hook that is only noted as free: what the library wrote there would lead to a handle that is gone. */
static void *alloc_for_ever(size_t size, size_t align, void *ctx)
{
    (void)ctx;
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void free_later(void *block, size_t size, void *ctx)
{
    (void)size;
    *(void **)ctx = block;
}

static void from_data_does_not_follow_what_a_freed_block_says(void **state)
{
    (void)state;
    void *freed = NULL;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.alloc = alloc_for_ever;
    config.free = free_later;
    config.ctx = &freed;
    bufferpool_t *hooked = bufferpool_create(&config);
    assert_non_null(hooked);
    bufferpool_buf_t *buf = bufferpool_get(hooked);
    assert_non_null(buf);
    const unsigned char *data = buf->data;
    bufferpool_put(buf);
    bufferpool_trim(hooked);
    assert_non_null(freed);
    static const unsigned char none[2 * sizeof(void *)];
    assert_memory_equal(data - sizeof none, none, sizeof none);
    assert_int_equal(bufferpool_destroy(hooked), 0);
    errno = 0;
    assert_null(bufferpool_buf_from_data(data));
    assert_int_equal(errno, EINVAL);
    free(freed);
}

static void put_data_puts_any_buffer_that_is_held(void **state)
{
    (void)state;
    bufferpool_put_data(NULL);
    bufferpool_set_max_live(pool, 3);
    bufferpool_buf_t *bufs[4];
    for (int turn = 0; turn < 3; turn++) {
        assert_int_equal(bufferpool_get_bulk(pool, bufs, 4), 0); /* the last one beyond the cap */
        assert_int_equal(bufferpool_buf_reserve(bufs[1], 1000), 0);
        assert_int_equal(bufferpool_buf_reserve(bufs[2], 100000), 0);
        if (turn == 1)
            bufferpool_thread_flush();
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(bufferpool_live(pool), i == 0 ? 3 : 4 - i);
            errno = 7;
            bufferpool_put_data(bufs[i]->data);
            assert_int_equal(errno, 7);
        }
        assert_int_equal(stats_of(pool).bypass_live, 0);
        check_laws(pool, &blocks, 0);
    }
}

/* As one that holds secrets may be: the system does not move a mapping of which a part is unlike the rest. */
static void a_block_that_cannot_be_moved_grows_by_copying(void **state)
{
    (void)state;
    bufferpool_t *mapped = bufferpool_create(NULL);
    assert_non_null(mapped);
    bufferpool_buf_t *buf = bufferpool_get(mapped);
    assert_int_equal(bufferpool_buf_reserve(buf, 2 << 20), 0);
    test_fill(buf->data, buf->cap, 1);
    buf->len = buf->cap;
    const size_t len = buf->len;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *second_page = (void *)(((uintptr_t)buf->data + page - 1) & ~(page - 1));
    assert_int_equal(madvise(second_page, page, MADV_DONTDUMP), 0);
    assert_int_equal(bufferpool_buf_reserve(buf, 8 << 20), 0);
    assert_true(buf->cap >= 8 << 20 && buf->len == len);
    assert_true(test_filled(buf->data, len, 1));
    bufferpool_put(buf);
    assert_int_equal(bufferpool_destroy(mapped), 0);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, make_pool, drop_pool)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_buffers_grow),
        test(growth_is_geometric_and_keeps_bytes_and_handle),
        test(reserve_never_shrinks_and_may_exceed_max_capacity),
        test(append_may_take_its_own_bytes),
        test(append_of_itself_doubles),
        test(printf_may_take_its_own_text),
        test(sizes_beyond_representation_are_EOVERFLOW),
        test(printf_reports_what_vsnprintf_reports),
        test(wrong_arguments_are_EINVAL),
        test(growth_without_memory_changes_nothing),
        test(printf_fills_to_the_last_byte),
        test(an_append_that_just_fits_does_not_grow),
        test(texts_append_one_after_the_other),
        test(buffers_beyond_the_cap_grow),
        test(a_block_that_cannot_be_moved_grows_by_copying),
        test(from_data_finds_buffers_and_nothing_else),
        test(from_data_refuses_the_block_that_growth_replaced),
        cmocka_unit_test(from_data_looks_at_no_page_that_cannot_be_read),
        test(from_data_finds_buffers_that_start_a_page),
        cmocka_unit_test(from_data_does_not_follow_what_a_freed_block_says),
        test(put_data_puts_any_buffer_that_is_held),
    };
    return cmocka_run_group_tests_name("buffer", tests, NULL, NULL);
}
