/* SPDX-License-Identifier: MIT
 *
 * test_registry.c - the slots of pools: they end, and are used again
 *
 * registry.c is compiled into this program, so that 65,535 pools need not be made to have all slots taken; calloc fails
 * on demand.
 */
#include "support/laws.h"

#include "registry.c"

static bool no_memory;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    return no_memory ? NULL : __real_calloc(n, size);
}

/* Stands in every slot but that of the default pool; a walk over all pools comes to it once. */
static struct bufferpool stand_in = {.name = (char[]){"stand-in"}, .index = POOL_INDEX_MASK - 1};

static void take_all_slots(void)
{
    for (size_t slot = 1; slot < POOL_INDEX_MASK; slot++) {
        if (entry_of(slot) == NULL) {
            entry *chunk = calloc(CHUNK_SIZE, sizeof *chunk);
            assert_non_null(chunk);
            store_release(&chunks[slot >> CHUNK_BITS], chunk);
        }
        store_release(entry_of(slot), &stand_in);
    }
    end = POOL_INDEX_MASK;
}

static void leave_all_slots(void)
{
    for (size_t slot = 1; slot < POOL_INDEX_MASK; slot++)
        store_release(entry_of(slot), NULL);
    end = 1;
}

static void a_pool_beyond_the_last_slot_is_refused(void **state)
{
    (void)state;
    take_all_slots();
    errno = 0;
    assert_null(bufferpool_create(NULL));
    assert_int_equal(errno, ENOMEM);

    store_release(entry_of(POOL_INDEX_MASK - 1), NULL); /* 65,533 others, and the default pool */
    stand_in.index = POOL_INDEX_MASK - 2;
    bufferpool_t *pool = bufferpool_create(NULL);
    assert_non_null(pool);
    assert_int_equal(pool->index, POOL_INDEX_MASK - 1);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_non_null(buf);
    assert_null(bufferpool_create(NULL));
    bufferpool_put(buf);
    assert_int_equal(bufferpool_destroy(pool), 0);
    assert_non_null(pool = bufferpool_create(NULL)); /* in the slot that is free again */
    assert_int_equal(bufferpool_destroy(pool), 0);
    leave_all_slots();
}

static void without_memory_for_more_slots_a_pool_is_refused(void **state)
{
    (void)state;
    bufferpool_t *pools[CHUNK_SIZE - 1]; /* with the default pool, a chunk full */
    entry *second = load_relaxed(&chunks[1]);
    store_release(&chunks[1], NULL);
    for (size_t i = 0; i < CHUNK_SIZE - 1; i++)
        assert_non_null(pools[i] = bufferpool_create(NULL));
    no_memory = true;
    errno = 0;
    assert_null(bufferpool_create(NULL));
    assert_int_equal(errno, ENOMEM);
    no_memory = false;
    bufferpool_t *pool = bufferpool_create(NULL);
    assert_non_null(pool);
    assert_int_equal(pool->index, CHUNK_SIZE);
    assert_int_equal(bufferpool_destroy(pool), 0);
    for (size_t i = 0; i < CHUNK_SIZE - 1; i++)
        assert_int_equal(bufferpool_destroy(pools[i]), 0);
    free(second);
}

static int free_chunks(void **state)
{
    (void)state;
    for (size_t i = 1; i < CHUNKS; i++) {
        free(load_relaxed(&chunks[i]));
        store_release(&chunks[i], NULL);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_beyond_the_last_slot_is_refused),
        cmocka_unit_test(without_memory_for_more_slots_a_pool_is_refused),
    };
    return cmocka_run_group_tests_name("registry", tests, NULL, free_chunks);
}
