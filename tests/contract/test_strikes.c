/* SPDX-License-Identifier: MIT
 *
 * test_strikes.c - a grown buffer that is little used does not keep its size
 *
 * The fifth put in a row after use below cap / 4, or within buffer_capacity, replaces the block by a smaller one. The
 * use is the larger of len at put and the size that reserve, append and printf asked for. The tests count with the
 * pool's own allocator, whose blocks and bytes are those that really exist, and with the system's allocator, whose
 * resident memory is.
 */
#include "support/laws.h"

enum { STRIKES = 5, KIB = 1024, MIB = 1024 * 1024 };

static bufferpool_config_t config_of(test_blocks_t *blocks, size_t capacity)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    if (blocks != NULL)
        config = config_with(blocks);
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    config.buffer_capacity = capacity;
    config.max_capacity = (size_t)64 * MIB;
    return config;
}

static bufferpool_t *pool_of_capacity(test_blocks_t *blocks, size_t capacity)
{
    const bufferpool_config_t config = config_of(blocks, capacity);
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static bool all_zero(const unsigned char *data, size_t n)
{
    return n == 0 || (data[0] == 0 && memcmp(data, data + 1, n - 1) == 0);
}

/* ---- ways to use `n` bytes of a buffer ---- */

static void by_len(bufferpool_buf_t *buf, size_t n)
{
    memset(buf->data, 1, n);
    buf->len = n;
}

static void by_reserve(bufferpool_buf_t *buf, size_t n)
{
    assert_int_equal(bufferpool_buf_reserve(buf, n), 0);
}

static void by_append(bufferpool_buf_t *buf, size_t n)
{
    static char bytes[100000];
    while (buf->len < n) {
        const size_t part = n - buf->len < sizeof bytes ? n - buf->len : sizeof bytes;
        assert_int_equal(bufferpool_buf_append(buf, bytes, part), 0);
    }
}

static void by_append_taken_back(bufferpool_buf_t *buf, size_t n)
{
    by_append(buf, n);
    buf->len = 0;
}

/* The NUL at the end is a byte that is asked for. */
static void by_printf(bufferpool_buf_t *buf, size_t n)
{
    if (n > 0)
        assert_int_equal(bufferpool_buf_printf(buf, "%*s", (int)(n - 1), ""), 0);
    buf->len = 0;
}

static void by_less_after_more(bufferpool_buf_t *buf, size_t n)
{
    by_reserve(buf, n);
    by_reserve(buf, n / 2);
    by_len(buf, n / 3);
}

typedef void use_fn(bufferpool_buf_t *buf, size_t n);
static use_fn *const uses[] = {by_len, by_reserve, by_append, by_append_taken_back, by_printf, by_less_after_more};
enum { USES = sizeof uses / sizeof uses[0] };

static bufferpool_buf_t *turn(bufferpool_t *pool, use_fn *use, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_non_null(buf);
    use(buf, n);
    bufferpool_put(buf);
    return buf; /* idle: to look at its cap */
}

static bufferpool_buf_t *grown_to(bufferpool_t *pool, size_t n)
{
    bufferpool_buf_t *buf = turn(pool, by_reserve, n);
    assert_true(buf->cap >= n);
    return buf;
}

/* ---- as the header says ---- */

static void many_buffers_of_a_megabyte_come_back_to_the_base_size(void **state)
{
    enum { N = 256 };
    static bufferpool_buf_t *bufs[N];
    (void)state;
    for (int hooked = 0; hooked < 2; hooked++) {
        test_blocks_t blocks = {0};
        bufferpool_t *pool = pool_of_capacity(hooked ? &blocks : NULL, 32 * KIB);
        assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
        for (size_t i = 0; i < N; i++)
            assert_int_equal(bufferpool_buf_reserve(bufs[i], MIB), 0);
        assert_int_equal(stats_of(pool).live_bytes, (uint64_t)N * MIB);
        bufferpool_put_bulk(bufs, N);
        assert_int_equal(stats_of(pool).idle_bytes, (uint64_t)N * MIB);
        for (uint64_t small = 1; small <= STRIKES; small++) {
            assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
            assert_int_equal(stats_of(pool).live_bytes, (uint64_t)N * MIB);
            for (size_t i = 0; i < N; i++)
                by_len(bufs[i], 100 + i);
            bufferpool_put_bulk(bufs, N);
            const bufferpool_stats_t stats = stats_of(pool);
            assert_int_equal(stats.shrinks, small < STRIKES ? 0 : N);
            assert_int_equal(stats.idle_bytes, (uint64_t)N * (small < STRIKES ? MIB : 32 * KIB));
            check_laws(pool, hooked ? &blocks : NULL, 0);
        }
        assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
        for (size_t i = 0; i < N; i++)
            assert_int_equal(bufs[i]->cap, 32 * KIB);
        const bufferpool_stats_t stats = stats_of(pool);
        assert_int_equal(stats.live_bytes, (uint64_t)N * 32 * KIB);
        assert_int_equal(stats.idle_bytes, 0);
        assert_int_equal(stats.grows, N);
        if (hooked) {
            assert_int_equal(atomic_load(&blocks.count), N);
            assert_in_range(atomic_load(&blocks.bytes), (size_t)N * 32 * KIB, (size_t)N * (32 * KIB + 64));
        }
        for (size_t i = 0; i < N; i++) { /* they are as good as new */
            test_fill(bufs[i]->data, bufs[i]->cap, i);
            bufs[i]->len = bufs[i]->cap;
        }
        for (size_t i = 0; i < N; i++)
            assert_true(test_filled(bufs[i]->data, bufs[i]->cap, i));
        bufferpool_put_bulk(bufs, N);
        check_laws(pool, hooked ? &blocks : NULL, 0);
        destroy_empty(pool, &blocks);
    }
}

static void the_memory_of_shrunk_buffers_goes_back_to_the_system(void **state)
{
    enum { N = 64 };
    bufferpool_buf_t *bufs[N];
    (void)state;
    if (test_instrumented())
        skip();
    for (size_t size = MIB; size <= 4 * MIB; size *= 4) {
        bufferpool_t *pool = pool_of_capacity(NULL, 4 * KIB);
        const size_t before = test_resident_bytes();
        assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
        for (size_t i = 0; i < N; i++)
            by_append(bufs[i], size);
        bufferpool_put_bulk(bufs, N);
        assert_true(test_resident_bytes() - before >= N * size / 10 * 9);
        for (int i = 0; i < STRIKES; i++) {
            assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
            bufferpool_put_bulk(bufs, N);
        }
        assert_true(test_resident_bytes() < before + N * size / 10);
        assert_int_equal(bufferpool_destroy(pool), 0);
    }
}

/* ---- what is use ---- */

static void every_kind_of_use_keeps_the_size(void **state)
{
    (void)state;
    for (int hooked = 0; hooked < 2; hooked++) {
        for (size_t kind = 0; kind < USES; kind++) {
            test_blocks_t blocks = {0};
            bufferpool_t *pool = pool_of_capacity(hooked ? &blocks : NULL, KIB);
            bufferpool_buf_t *buf = grown_to(pool, 64 * KIB);
            const size_t cap = buf->cap;
            for (int i = 0; i < 6 * STRIKES; i++) { /* every third turn: never more than two strikes */
                assert_ptr_equal(turn(pool, i % 3 == 2 ? uses[kind] : by_len, i % 3 == 2 ? cap / 4 : 1), buf);
                assert_int_equal(buf->cap, cap);
            }
            for (int i = 0; i < 6 * STRIKES; i++) /* every fifth: four are not five */
                (void)turn(pool, i % 5 == 4 ? uses[kind] : by_len, i % 5 == 4 ? cap / 4 : 1);
            assert_int_equal(buf->cap, cap);
            const bufferpool_stats_t stats = stats_of(pool);
            assert_int_equal(stats.shrinks, 0);
            assert_int_equal(stats.grows, 1);
            check_laws(pool, hooked ? &blocks : NULL, 0);
            destroy_empty(pool, &blocks);
        }
    }
}

/* One byte less than a quarter, and it is little use; a quarter, and it is not. */
static void the_boundary_is_a_quarter_of_cap(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < USES; kind++) {
        for (int below = 0; below < 2; below++) {
            bufferpool_t *pool = pool_of_capacity(NULL, KIB);
            const bufferpool_buf_t *buf = grown_to(pool, 64 * KIB);
            const size_t cap = buf->cap;
            for (int i = 1; i <= STRIKES; i++) {
                assert_int_equal(buf->cap, cap);
                assert_ptr_equal(turn(pool, uses[kind], cap / 4 - (size_t)below), buf);
            }
            assert_int_equal(stats_of(pool).shrinks, below);
            assert_int_equal(buf->cap, below ? cap / 4 : cap); /* the power of two that fits the last use */
            assert_int_equal(bufferpool_destroy(pool), 0);
        }
    }
}

/* However little the buffer has grown: a turn for which buffer_capacity is enough is little use of it. */
static void use_that_fits_the_base_size_is_little(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < USES; kind++)
        for (size_t times = 2; times <= 8; times *= 2)
            for (size_t more = 0; more < 2; more++) {
                bufferpool_t *pool = pool_of_capacity(NULL, 32 * KIB);
                const bufferpool_buf_t *buf = grown_to(pool, times * 32 * KIB);
                for (int i = 1; i <= STRIKES; i++) {
                    assert_int_equal(buf->cap, times * 32 * KIB);
                    assert_ptr_equal(turn(pool, uses[kind], 32 * KIB + more), buf);
                }
                if (more == 0) /* plain again */
                    assert_int_equal(buf->cap, 32 * KIB);
                else /* a strike only below a quarter */
                    assert_int_equal(buf->cap, times == 8 ? 64 * KIB : times * 32 * KIB);
                assert_int_equal(stats_of(pool).shrinks, more == 0 || times == 8);
                check_laws(pool, NULL, 0);
                assert_int_equal(bufferpool_destroy(pool), 0);
            }
}

/* So turns of exactly buffer_capacity do not leave a pool with four times that for ever. */
static void turns_of_the_base_size_bring_all_buffers_back(void **state)
{
    enum { N = 100 };
    bufferpool_buf_t *bufs[N];
    (void)state;
    bufferpool_t *pool = pool_of_capacity(NULL, 32 * KIB);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
    for (size_t i = 0; i < N; i++)
        by_append(bufs[i], 4 * 32 * KIB);
    bufferpool_put_bulk(bufs, N);
    for (int i = 0; i < STRIKES; i++) {
        assert_int_equal(bufferpool_get_bulk(pool, bufs, N), 0);
        for (size_t k = 0; k < N; k++)
            by_len(bufs[k], 32 * KIB);
        bufferpool_put_bulk(bufs, N);
    }
    assert_int_equal(stats_of(pool).idle_bytes, N * 32 * KIB);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void the_turn_that_grows_is_no_strike_and_clears_them(void **state)
{
    (void)state;
    bufferpool_t *pool = pool_of_capacity(NULL, KIB);
    const bufferpool_buf_t *buf = grown_to(pool, 32 * KIB);
    for (int i = 1; i < STRIKES; i++)
        (void)turn(pool, by_len, 1);
    (void)grown_to(pool, 128 * KIB);
    const size_t cap = buf->cap;
    for (int i = 1; i < STRIKES; i++) {
        (void)turn(pool, by_len, 1);
        assert_int_equal(buf->cap, cap);
    }
    (void)turn(pool, by_len, 1);
    assert_int_equal(buf->cap, KIB);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* A descriptor that comes again brings no strikes along, nor what was asked for before. */
static void a_new_buffer_starts_afresh(void **state)
{
    (void)state;
    bufferpool_t *pool = pool_of_capacity(NULL, KIB);
    for (int round = 0; round < 4; round++) {
        const bufferpool_buf_t *buf = grown_to(pool, 64 * KIB);
        for (int i = 1; i < STRIKES; i++)
            (void)turn(pool, by_len, 1);
        assert_int_equal(buf->cap, 64 * KIB);
        if (round % 2 == 0)
            bufferpool_trim(pool);
        else
            (void)turn(pool, by_reserve, 64 * KIB);
    }
    assert_int_equal(stats_of(pool).shrinks, 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* Not by what the bytes of the thread that put them, or the place where they idle, might suggest. */
static void a_buffer_keeps_its_strikes_wherever_it_idles(void **state)
{
    (void)state;
    bufferpool_t *pool = pool_of_capacity(NULL, KIB);
    const bufferpool_buf_t *buf = grown_to(pool, 64 * KIB);
    for (int i = 1; i <= STRIKES; i++) {
        assert_int_equal(buf->cap, 64 * KIB);
        bufferpool_thread_flush();
        assert_ptr_equal(turn(pool, by_reserve, 10), buf);
    }
    assert_int_equal(buf->cap, KIB);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* A call that fails changes nothing, so what it had taken and gave back has not been used little. */
static void a_failed_get_bulk_is_no_use(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_of_capacity(&blocks, KIB);
    bufferpool_buf_t *bufs[3];
    const bufferpool_buf_t *buf = grown_to(pool, 64 * KIB);
    for (int strikes = 0; strikes < STRIKES; strikes++) {
        test_blocks_fail(&blocks, 0, SIZE_MAX);
        for (int i = 0; i < 2 * STRIKES; i++)
            assert_int_equal(bufferpool_get_bulk(pool, bufs, 3), ENOMEM);
        test_blocks_fail_none(&blocks);
        assert_int_equal(buf->cap, 64 * KIB);
        (void)turn(pool, by_len, 1);
    }
    assert_int_equal(buf->cap, KIB); /* the five that there were counted all the same */
    assert_int_equal(stats_of(pool).shrinks, 1);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

/* ---- to which size ---- */

static void the_last_use_decides_the_new_size(void **state)
{
    static const size_t last[] = {0, 1, 1023, 1024, 1025, 2000, 2048, 2049, 5000, 16384, 16385, 100000, 200000, 262143};
    (void)state;
    for (int hooked = 0; hooked < 2; hooked++) {
        for (size_t i = 0; i < sizeof last / sizeof last[0]; i++) {
            test_blocks_t blocks = {0};
            bufferpool_t *pool = pool_of_capacity(hooked ? &blocks : NULL, KIB);
            const bufferpool_buf_t *buf = grown_to(pool, MIB);
            for (int strike = 1; strike < STRIKES; strike++)
                (void)turn(pool, by_reserve, 250000); /* more, before: no matter */
            assert_int_equal(buf->cap, MIB);
            (void)turn(pool, by_append_taken_back, last[i]);
            size_t fit = KIB;
            while (fit < last[i])
                fit *= 2;
            assert_int_equal(buf->cap, fit);
            assert_int_equal(stats_of(pool).idle_bytes, fit);
            assert_int_equal(stats_of(pool).shrinks, 1);
            if (hooked)
                assert_in_range(atomic_load(&blocks.bytes), fit, fit + 64);
            check_laws(pool, hooked ? &blocks : NULL, 0);

            for (int strike = 1; strike <= STRIKES; strike++) { /* and on from there, by five more */
                assert_int_equal(buf->cap, fit);
                (void)turn(pool, by_len, 1);
            }
            assert_int_equal(buf->cap, KIB);
            check_laws(pool, hooked ? &blocks : NULL, 0);
            bufferpool_buf_t *again = bufferpool_get(pool);
            assert_ptr_equal(again, buf);
            test_fill(again->data, again->cap, i);
            assert_int_equal(bufferpool_buf_reserve(again, 3000), 0); /* what is plain again grows again */
            again->len = again->cap;
            assert_true(test_filled(again->data, 0, i));
            bufferpool_put(again);
            destroy_empty(pool, &blocks);
        }
    }
}

static void a_grown_buffer_returns_to_any_buffer_capacity(void **state)
{
    static const size_t capacities[] = {
        1, 3, 10, 63, 64, 65, 1000, 3000, 4096, 70 * KIB, 200 * KIB, 2 * MIB, 2 * MIB + 100, 3 * MIB + 1};
    static const unsigned flags[] = {0, BUFFERPOOL_ZERO, BUFFERPOOL_HUGEPAGES, BUFFERPOOL_ZERO | BUFFERPOOL_HUGEPAGES};
    (void)state;
    for (size_t c = 0; c < sizeof capacities / sizeof capacities[0]; c++) {
        for (size_t f = 0; f < 8; f++) {
            test_blocks_t blocks = {0};
            bufferpool_config_t config = config_of(f < 4 ? NULL : &blocks, capacities[c]);
            config.flags = flags[f % 4];
            config.alignment = f % 2 == 0 ? 0 : 4096;
            bufferpool_t *pool = bufferpool_create(&config);
            assert_non_null(pool);
            const size_t most = capacities[c] < MIB ? 32 : 4;
            for (size_t factor = 2; factor <= most; factor *= 4) {
                const bufferpool_buf_t *buf = grown_to(pool, capacities[c] * factor + 1000);
                const size_t big = buf->cap;
                for (int i = 0; i < STRIKES; i++)
                    (void)turn(pool, by_len, 0);
                /* 0 is less than a quarter of anything but of 0 */
                assert_int_equal(buf->cap, capacities[c]);
                assert_true(big > buf->cap);
                assert_int_equal(stats_of(pool).idle_bytes, capacities[c]);
                bufferpool_buf_t *held = bufferpool_get(pool);
                assert_ptr_equal(held, buf);
                assert_int_equal((uintptr_t)held->data % (config.alignment != 0 ? 4096 : 64), 0);
                assert_ptr_equal(bufferpool_buf_from_data(held->data), held);
                held->data[0] = held->data[held->cap - 1] = 7;
                bufferpool_put(held);
                check_laws(pool, f < 4 ? NULL : &blocks, 0);
            }
            destroy_empty(pool, &blocks);
        }
    }
}

/* ---- nothing thrashes ---- */

/* The smallest power of two that a block is given is 64. */
static void a_block_that_would_not_become_smaller_stays(void **state)
{
    (void)state;
    for (int hooked = 0; hooked < 2; hooked++) {
        test_blocks_t blocks = {0};
        bufferpool_t *pool = pool_of_capacity(hooked ? &blocks : NULL, 1);
        const bufferpool_buf_t *buf = grown_to(pool, 41);
        const size_t cap = buf->cap;
        assert_in_range(cap, 41, 64);
        for (int i = 0; i < 2 * STRIKES; i++)
            (void)turn(pool, by_len, cap / 4 - 1);
        assert_int_equal(buf->cap, cap);
        assert_int_equal(stats_of(pool).shrinks, 0);
        (void)turn(pool, by_len, 0);
        assert_int_equal(buf->cap, 1);
        check_laws(pool, hooked ? &blocks : NULL, 0);
        destroy_empty(pool, &blocks);
    }
}

static void alternating_sizes_do_not_thrash(void **state)
{
    (void)state;
    const size_t rounds = test_scale(10000, 1000);
    for (size_t period = 2; period <= STRIKES; period++) {
        test_blocks_t blocks = {0};
        bufferpool_t *pool = pool_of_capacity(&blocks, KIB);
        for (size_t i = 0; i < rounds; i++)
            (void)turn(pool, by_append, i % period == 0 ? 16 * KIB : 100);
        const bufferpool_stats_t stats = stats_of(pool);
        assert_in_range(stats.grows + stats.shrinks, 1, 8);
        assert_in_range(atomic_load(&blocks.allocs), 1, 9);
        check_laws(pool, &blocks, 0);
        destroy_empty(pool, &blocks);
    }
}

/* ---- limits, caches, and memory that is wanting ---- */

static void limits_count_a_shrunk_buffer_by_its_new_size(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_of(&blocks, KIB);
    config.max_idle_bytes = 4 * KIB;
    config.thread_cache_bytes = 4 * KIB;
    bufferpool_t *pool = bufferpool_create(&config);
    bufferpool_buf_t *bufs[4];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 4), 0);
    assert_int_equal(bufferpool_buf_reserve(bufs[0], 4 * KIB), 0);
    bufferpool_put(bufs[0]); /* fills what may idle */
    for (int i = 1; i < STRIKES; i++)
        assert_ptr_equal(turn(pool, by_len, 1), bufs[0]);
    assert_int_equal(stats_of(pool).idle_bytes, 4 * KIB);
    (void)turn(pool, by_len, 1); /* one KiB now, and there is room for three more */
    for (int i = 1; i < 4; i++)
        bufferpool_put(bufs[i]);
    assert_int_equal(stats_of(pool).drops_idle_limit, 0);
    assert_int_equal(stats_of(pool).idle_bytes, 4 * KIB);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

static void a_shrink_without_memory_changes_nothing_and_is_tried_again(void **state)
{
    (void)state;
    for (int zero = 0; zero < 2; zero++) {
        test_blocks_t blocks = {0};
        bufferpool_config_t config = config_of(&blocks, KIB);
        config.flags = zero ? BUFFERPOOL_ZERO : 0;
        bufferpool_t *pool = bufferpool_create(&config);
        const bufferpool_buf_t *buf = grown_to(pool, 64 * KIB);
        for (int i = 1; i < STRIKES; i++)
            (void)turn(pool, by_len, 1);
        test_blocks_fail(&blocks, 0, SIZE_MAX);
        const size_t calls = atomic_load(&blocks.calls);
        for (size_t i = 1; i <= 3; i++) {
            errno = 4242;
            (void)turn(pool, by_len, 1);
            assert_int_equal(errno, 4242);
            assert_int_equal(buf->cap, 64 * KIB);
            assert_int_equal(stats_of(pool).idle_bytes, 64 * KIB);
            assert_int_equal(stats_of(pool).shrinks, 0);
            assert_int_equal(atomic_load(&blocks.calls), calls + i);
            check_laws(pool, &blocks, 0);
        }
        test_blocks_fail_none(&blocks);
        (void)turn(pool, by_len, 1);
        assert_int_equal(buf->cap, KIB);
        assert_int_equal(stats_of(pool).shrinks, 1);
        check_laws(pool, &blocks, 0);
        destroy_empty(pool, &blocks);
    }
}

/* No buffer is of another kind for having been made beyond the cap. */
static void a_buffer_made_beyond_the_cap_that_stays_has_strikes(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_of(&blocks, KIB);
    config.max_capacity = 32 * KIB;
    config.max_live = 1;
    bufferpool_t *pool = bufferpool_create(&config);
    bufferpool_buf_t *first = bufferpool_get(pool), *beyond = bufferpool_get(pool);
    assert_int_equal(bufferpool_buf_reserve(beyond, 16 * KIB), 0);
    bufferpool_put(first);
    assert_int_equal(stats_of(pool).drops_over_cap, 1);
    bufferpool_put(beyond); /* used */
    for (int i = 1; i < STRIKES; i++) {
        assert_ptr_equal(turn(pool, by_len, 1), beyond);
        assert_int_equal(beyond->cap, 16 * KIB);
    }
    assert_ptr_equal(turn(pool, by_len, 1), beyond);
    assert_int_equal(beyond->cap, KIB);
    assert_int_equal(stats_of(pool).shrinks, 1);
    assert_int_equal(stats_of(pool).gets_bypass, 1);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

static void buffers_beyond_the_cap_and_oversize_ones_are_freed_without_strikes(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_of(&blocks, KIB);
    config.max_capacity = 32 * KIB;
    config.max_live = 1;
    bufferpool_t *pool = bufferpool_create(&config);
    bufferpool_buf_t *held = bufferpool_get(pool);
    for (int i = 0; i < 2 * STRIKES; i++)
        (void)turn(pool, by_reserve, i % 2 == 0 ? 16 * KIB : 1);
    bufferpool_put(held);
    for (int i = 0; i < 2 * STRIKES; i++)
        (void)turn(pool, by_reserve, 64 * KIB);
    assert_int_equal(stats_of(pool).shrinks, 0);
    assert_int_equal(stats_of(pool).drops_oversize, 2 * STRIKES);
    assert_int_equal(stats_of(pool).drops_over_cap, 2 * STRIKES);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

/* ---- secrets ---- */

static atomic_size_t dirty_frees;

static void look_for_secrets(test_blocks_t *blocks, const unsigned char *block, size_t size)
{
    const size_t pad = atomic_load(&blocks->last_align) > 16 ? atomic_load(&blocks->last_align) : 16;
    if (!all_zero(block + pad, size - pad))
        atomic_fetch_add(&dirty_frees, 1);
}

static void a_shrink_wipes_the_old_block_whole_and_the_new_one(void **state)
{
    static const size_t last[] = {0, 100, 5000};
    (void)state;
    for (int hooked = 0; hooked < 2; hooked++) {
        for (size_t base = KIB; base <= 2 * MIB; base += 2 * MIB - KIB) { /* in a slab or the hook's; a mapping */
            for (size_t i = 0; i < sizeof last / sizeof last[0]; i++) {
                test_blocks_t blocks = {0};
                bufferpool_config_t config = config_of(hooked ? &blocks : NULL, base);
                config.flags = BUFFERPOOL_ZERO;
                bufferpool_t *pool = bufferpool_create(&config);
                atomic_store(&dirty_frees, 0);
                blocks.on_free = look_for_secrets;
                bufferpool_buf_t *buf = grown_to(pool, 8 * base);
                for (int strike = 1; strike <= STRIKES; strike++) {
                    assert_ptr_equal(bufferpool_get(pool), buf);
                    assert_true(all_zero(buf->data, buf->cap));
                    memset(buf->data, 0xa5,
                           buf->cap); /* also what is written beyond len, and behind the library's back */
                    buf->len = last[i] < buf->cap / 5 ? last[i] : buf->cap / 5;
                    bufferpool_put(buf);
                }
                assert_true(buf->cap < 8 * base);
                assert_ptr_equal(bufferpool_get(pool), buf);
                assert_true(all_zero(buf->data, buf->cap));
                /* what a mapping gave away comes back as fresh memory */
                assert_int_equal(bufferpool_buf_reserve(buf, 8 * base), 0);
                test_know_bytes(buf);
                assert_true(hooked || base < MIB || all_zero(buf->data, buf->cap));
                bufferpool_put(buf);
                destroy_empty(pool, &blocks);
                assert_int_equal(atomic_load(&dirty_frees), 0);
            }
        }
    }
}

/* ---- threads ---- */

struct load {
    bufferpool_t *pool;
    size_t turns;
};

static void grow_and_shrink(void *arg, unsigned index)
{
    struct load *load = arg;
    test_random_t random = {index};
    for (size_t i = 0; i < load->turns; i++) {
        bufferpool_buf_t *bufs[4];
        const size_t n = 1 + test_random_below(&random, 4);
        for (size_t k = 0; k < n; k++) {
            bufs[k] = bufferpool_get(load->pool);
            if (!thread_check(bufs[k] != NULL))
                abort();
            if (test_random_below(&random, 40) == 0)
                thread_check(bufferpool_buf_reserve(bufs[k], test_random_below(&random, 300 * KIB)) == 0);
            const uint64_t mine = (uint64_t)index << 32 | i << 3 | k;
            memcpy(bufs[k]->data, &mine, sizeof mine);
            memcpy(bufs[k]->data + bufs[k]->cap - sizeof mine, &mine, sizeof mine);
            bufs[k]->len = test_random_below(&random, 2000);
            if (bufs[k]->len > bufs[k]->cap)
                bufs[k]->len = 8;
        }
        for (size_t k = 0; k < n; k++) {
            const uint64_t mine = (uint64_t)index << 32 | i << 3 | k;
            thread_check(memcmp(bufs[k]->data, &mine, sizeof mine) == 0);
            thread_check(memcmp(bufs[k]->data + bufs[k]->cap - sizeof mine, &mine, sizeof mine) == 0);
            bufferpool_put(bufs[k]);
        }
        if (i % 100 == 99)
            bufferpool_thread_flush();
    }
}

static void many_threads_grow_and_shrink(void **state)
{
    (void)state;
    for (int hooked = 0; hooked < 2; hooked++) {
        test_blocks_t blocks = {0};
        bufferpool_config_t config = config_of(hooked ? &blocks : NULL, KIB);
        config.thread_cache_bytes = 64 * KIB;
        struct load load = {bufferpool_create(&config), test_scale(10000, 300)};
        run_threads(6, grow_and_shrink, &load);
        assert_true(stats_of(load.pool).shrinks > 0);
        check_laws(load.pool, hooked ? &blocks : NULL, 0);
        bufferpool_trim(load.pool);
        const bufferpool_stats_t stats = stats_of(load.pool);
        assert_int_equal(stats.idle_bytes, 0);
        bufferpool_buf_t *buf = bufferpool_get(load.pool);
        assert_int_equal(stats_of(load.pool).live_bytes,
                         KIB); /* nothing is left of all that was added and taken away */
        bufferpool_put(buf);
        destroy_empty(load.pool, &blocks);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_buffers_of_a_megabyte_come_back_to_the_base_size),
        cmocka_unit_test(the_memory_of_shrunk_buffers_goes_back_to_the_system),
        cmocka_unit_test(every_kind_of_use_keeps_the_size),
        cmocka_unit_test(the_boundary_is_a_quarter_of_cap),
        cmocka_unit_test(use_that_fits_the_base_size_is_little),
        cmocka_unit_test(turns_of_the_base_size_bring_all_buffers_back),
        cmocka_unit_test(the_turn_that_grows_is_no_strike_and_clears_them),
        cmocka_unit_test(a_new_buffer_starts_afresh),
        cmocka_unit_test(a_buffer_keeps_its_strikes_wherever_it_idles),
        cmocka_unit_test(a_failed_get_bulk_is_no_use),
        cmocka_unit_test(the_last_use_decides_the_new_size),
        cmocka_unit_test(a_grown_buffer_returns_to_any_buffer_capacity),
        cmocka_unit_test(a_block_that_would_not_become_smaller_stays),
        cmocka_unit_test(alternating_sizes_do_not_thrash),
        cmocka_unit_test(limits_count_a_shrunk_buffer_by_its_new_size),
        cmocka_unit_test(a_shrink_without_memory_changes_nothing_and_is_tried_again),
        cmocka_unit_test(a_buffer_made_beyond_the_cap_that_stays_has_strikes),
        cmocka_unit_test(buffers_beyond_the_cap_and_oversize_ones_are_freed_without_strikes),
        cmocka_unit_test(a_shrink_wipes_the_old_block_whole_and_the_new_one),
        cmocka_unit_test(many_threads_grow_and_shrink),
    };
    return cmocka_run_group_tests_name("strikes", tests, NULL, NULL);
}
