/* SPDX-License-Identifier: MIT
 *
 * test_zero.c - BUFFERPOOL_ZERO: no secret outlives its buffer
 *
 * The allocator hook looks at each block just before it is freed: every byte that the caller could write must be zero,
 * whatever the reason for the free (trim, growth, a size beyond max_capacity, a buffer beyond the cap, a lowered cap,
 * the idle limit, destroy). A buffer that goes back into the pool is zero when it comes out again. Without the flag the
 * same hook finds the secret, which shows that the hook would notice.
 */
#include "support/laws.h"

enum { CAPACITY = 1000, SECRET = 0xa5 };

struct witness {
    test_blocks_t blocks; /* first: the hook gets its address */
    atomic_size_t lead;   /* the bytes in front of data */
    atomic_size_t seen;   /* blocks looked at */
    atomic_size_t leaks;  /* blocks with a byte that is not zero */
};

static void look_at(test_blocks_t *blocks, const unsigned char *block, size_t size)
{
    struct witness *witness = (struct witness *)(void *)blocks;
    atomic_fetch_add(&witness->seen, 1);
    for (size_t i = atomic_load(&witness->lead); i < size; i++) {
        if (block[i] == 0)
            continue;
        atomic_fetch_add(&witness->leaks, 1);
        return;
    }
}

static bufferpool_t *make(struct witness *witness, unsigned flags, size_t cap, size_t idle_limit)
{
    memset(witness, 0, sizeof *witness);
    bufferpool_config_t config = config_with(&witness->blocks);
    config.buffer_capacity = CAPACITY;
    config.max_capacity = 8 * CAPACITY;
    config.thread_cache_bytes = 4 * CAPACITY;
    config.max_live = cap;
    config.max_idle_bytes = idle_limit;
    config.flags = flags;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_non_null(buf);
    atomic_store(&witness->lead, (size_t)(buf->data - (unsigned char *)atomic_load(&witness->blocks.last)));
    memset(buf->data, 0, buf->cap);
    bufferpool_put(buf);
    bufferpool_trim(pool);
    atomic_store(&witness->seen, 0);
    atomic_store(&witness->leaks, 0);
    witness->blocks.on_free = look_at;
    return pool;
}

static bufferpool_buf_t *get_secret(bufferpool_t *pool)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_non_null(buf);
    memset(buf->data, SECRET, buf->cap);
    buf->len = buf->cap;
    return buf;
}

static void destroy_clean(bufferpool_t *pool, struct witness *witness, size_t at_least)
{
    destroy_empty(pool, &witness->blocks);
    assert_true(atomic_load(&witness->seen) >= at_least);
    assert_int_equal(atomic_load(&witness->leaks), 0);
}

static void the_witness_sees_secrets_without_the_flag(void **state)
{
    (void)state;
    struct witness witness;
    bufferpool_t *pool = make(&witness, 0, 0, 0);
    bufferpool_put(get_secret(pool));
    bufferpool_trim(pool);
    assert_int_equal(atomic_load(&witness.leaks), 1);
    destroy_empty(pool, &witness.blocks);
}

static void idle_blocks_are_zero_when_freed(void **state)
{
    enum { N = 20 };
    bufferpool_buf_t *bufs[N];
    (void)state;
    struct witness witness;
    bufferpool_t *pool = make(&witness, BUFFERPOOL_ZERO, 0, 0);
    for (int by_trim = 0; by_trim < 2; by_trim++) {
        for (size_t i = 0; i < N; i++)
            bufs[i] = get_secret(pool);
        for (size_t i = 0; i < N; i++) {
            bufs[i]->len = 0; /* what counts is cap, not len */
            bufferpool_put(bufs[i]);
        }
        if (by_trim == 0)
            bufferpool_trim(pool);
    }
    destroy_clean(pool, &witness, 2 * N);
}

static void blocks_replaced_by_growth_are_zero_when_freed(void **state)
{
    (void)state;
    struct witness witness;
    bufferpool_t *pool = make(&witness, BUFFERPOOL_ZERO, 0, 0);
    bufferpool_buf_t *buf = get_secret(pool);
    for (size_t i = 1; i <= 5; i++) {
        buf->len = i % 2 == 0 ? 10 : buf->cap;
        assert_int_equal(bufferpool_buf_reserve(buf, buf->cap + 1), 0);
        assert_int_equal(atomic_load(&witness.seen), i);
        assert_int_equal(buf->data[9], SECRET); /* kept where it belongs */
        memset(buf->data, SECRET, buf->cap);
    }
    assert_int_equal(bufferpool_buf_append(buf, buf->data, buf->cap), 0);
    buf->len = buf->cap;
    assert_int_equal(bufferpool_buf_printf(buf, "secret"), 0);
    memset(buf->data, SECRET, buf->cap);
    bufferpool_put(buf); /* too large to keep */
    assert_int_equal(stats_of(pool).drops_oversize, 1);
    destroy_clean(pool, &witness, 8);
}

static void blocks_replaced_by_shrinking_are_zero_when_freed(void **state)
{
    (void)state;
    struct witness witness;
    bufferpool_t *pool = make(&witness, BUFFERPOOL_ZERO, 0, 0);
    bufferpool_buf_t *buf = get_secret(pool);
    buf->len = 10;
    assert_int_equal(bufferpool_buf_reserve(buf, 8 * CAPACITY), 0);
    memset(buf->data, SECRET, buf->cap);
    assert_int_equal(bufferpool_buf_shrink(buf, 3 * CAPACITY), 0);
    assert_int_equal(bufferpool_buf_shrink(buf, 0), 0);
    assert_int_equal(atomic_load(&witness.seen), 3);
    assert_int_equal(buf->data[9], SECRET); /* kept where it belongs */
    memset(buf->data, SECRET, buf->cap);
    bufferpool_put(buf);
    destroy_clean(pool, &witness, 4);
}

static void blocks_freed_by_put_are_zero(void **state)
{
    enum { N = 6 };
    bufferpool_buf_t *bufs[N];
    (void)state;
    struct witness witness;
    bufferpool_t *pool = make(&witness, BUFFERPOOL_ZERO, 4, 2 * CAPACITY);
    for (size_t i = 0; i < N; i++)
        bufs[i] = get_secret(pool);
    assert_int_equal(bufferpool_buf_reserve(bufs[5], 3 * CAPACITY), 0); /* made beyond the cap */
    memset(bufs[5]->data, SECRET, bufs[5]->cap);
    bufferpool_put(bufs[5]);
    bufferpool_put(bufs[4]);
    bufferpool_set_max_live(pool, 3);
    for (size_t i = 0; i < 4; i++)
        bufferpool_put(bufs[i]);
    const bufferpool_stats_t stats = stats_of(pool);
    assert_int_equal(stats.drops_over_cap, 3);
    assert_int_equal(stats.drops_idle_limit, 1);
    destroy_clean(pool, &witness, N + 1);
}

static void idle_buffers_come_out_zero(void **state)
{
    enum { N = 12 };
    bufferpool_buf_t *bufs[N];
    (void)state;
    struct witness witness;
    for (int hooked = 0; hooked < 2; hooked++) {
        bufferpool_t *pool = make(&witness, BUFFERPOOL_ZERO, 0, 0);
        if (!hooked) {
            bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
            config.flags = BUFFERPOOL_ZERO;
            config.buffer_capacity = 2000;
            destroy_empty(pool, &witness.blocks);
            pool = bufferpool_create(&config);
            assert_non_null(pool);
        }
        for (size_t i = 0; i < N; i++) {
            bufs[i] = get_secret(pool);
            if (i % 3 == 0)
                assert_int_equal(bufferpool_buf_reserve(bufs[i], 5000), 0);
            memset(bufs[i]->data, SECRET, bufs[i]->cap);
        }
        bufferpool_put_bulk(bufs, N);
        for (size_t i = 0; i < N; i++) {
            bufs[i] = bufferpool_get(pool);
            for (size_t k = 0; k < bufs[i]->cap; k++)
                assert_int_equal(bufs[i]->data[k], 0);
        }
        const bufferpool_stats_t stats = stats_of(pool);
        assert_int_equal(stats.gets_thread + stats.gets_depot, N); /* the same buffers as before */
        bufferpool_put_bulk(bufs, N);
        assert_int_equal(bufferpool_destroy(pool), 0);
    }
    assert_int_equal(atomic_load(&witness.leaks), 0);
}

static void keep_secrets(void *arg, unsigned index)
{
    bufferpool_t *pool = arg;
    test_random_t random = {index};
    const size_t turns = test_scale(3000, 200);
    for (size_t turn = 0; turn < turns; turn++) {
        bufferpool_buf_t *buf = bufferpool_get(pool);
        if (!thread_check(buf != NULL))
            return;
        memset(buf->data, SECRET, buf->cap);
        if (turn % 5 == 0) {
            thread_check(bufferpool_buf_reserve(buf, CAPACITY * (1 + test_random_below(&random, 10))) == 0);
            memset(buf->data, SECRET, buf->cap);
        }
        bufferpool_put(buf);
        if (turn % 31 == 0)
            bufferpool_trim(pool);
    }
}

static void secrets_do_not_leak_from_many_threads(void **state)
{
    (void)state;
    struct witness witness;
    bufferpool_t *pool = make(&witness, BUFFERPOOL_ZERO, 3, 4 * CAPACITY);
    run_threads(6, keep_secrets, pool);
    check_laws(pool, &witness.blocks, 0);
    destroy_clean(pool, &witness, 10);
}

/* ---- fork ---- */

struct secretive {
    bufferpool_t *pool;
    atomic_bool over;
};

/* Gets, writes and puts, so that a fork finds it in the middle of a wipe as a rule. */
static void write_and_put(void *arg, unsigned index)
{
    struct secretive *secretive = arg;
    (void)index;
    while (!atomic_load(&secretive->over)) {
        bufferpool_buf_t *buf = bufferpool_get(secretive->pool);
        if (!thread_check(buf != NULL))
            return;
        if (index == 1)
            thread_check(bufferpool_buf_reserve(buf, 2 * buf->cap) == 0);
        memset(buf->data, 0xaa, buf->cap);
        bufferpool_put(buf);
    }
}

static int look_for_secrets(void *arg)
{
    const struct secretive *secretive = arg;
    bufferpool_buf_t *bufs[6];
    for (int i = 0; i < 6; i++) {
        bufs[i] = bufferpool_get(secretive->pool);
        if (bufs[i] == NULL)
            end_child(2);
        // cppcheck-suppress nullPointerRedundantCheck ; end_child does not return
        for (size_t at = 0; at < bufs[i]->cap; at++)
            if (bufs[i]->data[at] == 0xaa)
                end_child(1);
    }
    end_child(0);
}

static void a_child_of_fork_is_handed_no_secret(void **state)
{
    (void)state;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.flags = BUFFERPOOL_ZERO;
    config.buffer_capacity = 256 * 1024;
    struct secretive secretive = {.pool = bufferpool_create(&config)};
    assert_non_null(secretive.pool);
    test_crew_t *crew = start_threads(2, write_and_put, &secretive);
    int worst = 0;
    for (size_t i = 0; i < test_scale(100, 5) && worst == 0; i++)
        worst = run_in_child(look_for_secrets, &secretive, 60);
    atomic_store(&secretive.over, true);
    join_threads(crew);
    assert_int_equal(worst, 0);
    assert_int_equal(bufferpool_destroy(secretive.pool), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_witness_sees_secrets_without_the_flag),
        cmocka_unit_test(idle_blocks_are_zero_when_freed),
        cmocka_unit_test(blocks_replaced_by_growth_are_zero_when_freed),
        cmocka_unit_test(blocks_replaced_by_shrinking_are_zero_when_freed),
        cmocka_unit_test(blocks_freed_by_put_are_zero),
        cmocka_unit_test(idle_buffers_come_out_zero),
        cmocka_unit_test(secrets_do_not_leak_from_many_threads),
        cmocka_unit_test(a_child_of_fork_is_handed_no_secret),
    };
    return cmocka_run_group_tests_name("zero", tests, NULL, NULL);
}
