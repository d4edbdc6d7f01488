/* SPDX-License-Identifier: MIT
 *
 * test_registry.c - the indexes of pools end, and are used again
 *
 * For this program registry.c is compiled with few_pools.h ahead of it, so that the indexes end soon. calloc fails on
 * demand.
 */
#include "support/laws.h"

#include "support/inside.h"

#include "few_pools.h"

static bool no_memory;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    return no_memory ? NULL : __real_calloc(n, size);
}

static bufferpool_t *pools[FEW_POOLS];

/* As many as there can be, at pools[1] and on. Returns the index that the next one would have. */
static size_t make_pools(void)
{
    for (size_t n = 1; n < FEW_POOLS; n++) {
        errno = 0;
        pools[n] = bufferpool_create(NULL);
        if (pools[n] == NULL) {
            assert_int_equal(errno, ENOMEM);
            return n;
        }
        assert_int_equal(pools[n]->index, n);
    }
    return FEW_POOLS;
}

static void destroy_pools(size_t end)
{
    for (size_t i = 1; i < end; i++)
        assert_int_equal(bufferpool_destroy(pools[i]), 0);
}

/* The first of all: once there, the memory for indexes stays. */
static void without_memory_for_more_indexes_a_pool_is_refused(void **state)
{
    (void)state;
    no_memory = true;
    const size_t end = make_pools();
    no_memory = false;
    assert_in_range(end, 2, FEW_POOLS - 1);
    bufferpool_t *pool = bufferpool_create(NULL);
    assert_non_null(pool);
    assert_int_equal(pool->index, end);
    assert_int_equal(bufferpool_destroy(pool), 0);
    destroy_pools(end);
}

static void a_pool_beyond_the_last_index_is_refused(void **state)
{
    enum { FREED = 300 };
    (void)state;
    assert_int_equal(make_pools(), FEW_POOLS);
    errno = 0;
    assert_null(bufferpool_create(BUFFERPOOL_CONFIG(.name = "last")));
    assert_int_equal(errno, ENOMEM);

    bufferpool_buf_t *buf = bufferpool_get(pools[FEW_POOLS - 1]);
    assert_non_null(buf);
    bufferpool_put(buf);
    assert_int_equal(bufferpool_destroy(pools[FREED]), 0);
    pools[FREED] = bufferpool_create(BUFFERPOOL_CONFIG(.name = "last"));
    assert_non_null(pools[FREED]);
    assert_int_equal(pools[FREED]->index, FREED); /* that is free again, as is the name */
    assert_string_equal(pools[FREED]->name, "last");
    assert_null(bufferpool_create(NULL));
    destroy_pools(FEW_POOLS);
}

/* A word comes again only after all generations were used: their number is a power of two, and the step is odd. */
static void generations_are_an_odd_step_apart(void **state)
{
    (void)state;
    uintptr_t before = 0;
    for (int i = 0; i < 4; i++) {
        bufferpool_t *pool = bufferpool_create(NULL);
        assert_non_null(pool);
        const uintptr_t generation = pool->tag >> (TLS_INDEX_BITS + POOL_INDEX_BITS);
        assert_int_equal(bufferpool_destroy(pool), 0);
        if (i > 0)
            assert_int_equal((generation - before) % 2, 1);
        before = generation;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory_for_more_indexes_a_pool_is_refused),
        cmocka_unit_test(a_pool_beyond_the_last_index_is_refused),
        cmocka_unit_test(generations_are_an_odd_step_apart),
    };
    return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
