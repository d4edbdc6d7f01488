/* SPDX-License-Identifier: MIT
 *
 * test_desc.c - the table of descriptors: numbers and addresses belong together, across every chunk boundary
 */
#include "support/support.h"

#include "heap/desc.h"

#define MANY 40000u /* reaches into the tenth chunk, whose bits need pages of their own */

static void every_number_has_an_address_of_its_own(void **state)
{
    (void)state;
    struct desc_table table;
    memset(&table, 0, sizeof(table));
    static struct desc *all[MANY + 1];
    for (uint32_t i = 1; i <= MANY; i++) {
        all[i] = desc_take(&table);
        assert_non_null(all[i]);
        assert_int_equal(all[i]->index, i);
        assert_true(((uintptr_t)all[i] & (CACHE_LINE - 1)) == 0);
        store_relaxed(&all[i]->word, i); /* would show up elsewhere if two were one */
    }
    for (uint32_t i = 1; i <= MANY; i++) {
        assert_ptr_equal(desc_at(&table, i), all[i]);
        assert_int_equal(load_relaxed(&all[i]->word), i);
        assert_true(desc_table_has(&table, all[i]));
        assert_true(desc_table_covers(&table, all[i]));
    }
    desc_table_destroy(&table);
}

static void the_descriptor_given_back_last_is_taken_first(void **state)
{
    (void)state;
    struct desc_table table;
    memset(&table, 0, sizeof(table));
    struct desc *a = desc_take(&table);
    struct desc *b = desc_take(&table);
    desc_give(&table, a);
    desc_give(&table, b);
    assert_ptr_equal(desc_take(&table), b);
    assert_ptr_equal(desc_take(&table), a);
    assert_int_equal(desc_take(&table)->index, 3);
    desc_table_destroy(&table);
}

static void descriptors_end_at_the_last_number(void **state)
{
    (void)state;
    struct desc_table table;
    memset(&table, 0, sizeof(table));
    struct desc *d = desc_take(&table);
    store_relaxed(&table.used, DESC_MAX);
    assert_null(desc_take(&table));
    assert_int_equal(load_relaxed(&table.used), DESC_MAX);
    desc_give(&table, d); /* one that is free may be had still */
    assert_ptr_equal(desc_take(&table), d);
    store_relaxed(&table.used, 1);
    desc_table_destroy(&table);
}

static void a_foreign_pointer_is_no_descriptor(void **state)
{
    (void)state;
    struct desc_table table;
    memset(&table, 0, sizeof(table));
    struct desc *mine = desc_take(&table);
    struct desc copy = *mine; /* the right number in the wrong place */
    assert_false(desc_table_has(&table, &copy));
    assert_false(desc_table_covers(&table, &copy));
    copy.index = 0;
    assert_false(desc_table_has(&table, &copy));
    copy.index = 2; /* in a chunk that is there, but never handed out */
    assert_false(desc_table_has(&table, &copy));
    copy.index = UINT32_MAX;
    assert_false(desc_table_has(&table, &copy));
    assert_true(desc_table_covers(&table, (unsigned char *)mine + 5));
    desc_table_destroy(&table);
}

static void a_word_keeps_pool_index_and_state(void **state)
{
    (void)state;
    const size_t slots[] = {0, 1, TLS_INDEX_NONE - 1, TLS_INDEX_NONE, TLS_INDEXES, 2 * TLS_INDEXES + 5, 0xabcd};
    for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
        const uintptr_t of_slot = desc_word(desc_tag(0x1234, slots[i]), STATE_LIVE);
        assert_int_equal(desc_pool_index(of_slot), slots[i]);
        assert_int_equal(desc_tls_index_of(of_slot), desc_tls_index(slots[i]));
        assert_int_equal(desc_tls_index(slots[i]), slots[i] < TLS_INDEX_NONE ? slots[i] : TLS_INDEX_NONE);
    }
    uintptr_t word = desc_word(desc_tag(0x1234, 0xabcd), STATE_LIVE_GROWN);
    assert_int_equal(desc_state(word), STATE_LIVE_GROWN);
    /* what get and put rely on */
    assert_int_equal(STATE_LIVE - STATE_IDLE, 1);
    assert_int_equal(STATE_LIVE_GROWN - STATE_IDLE_GROWN, 1);
}

/* Those that are taken are found, each once and the newest first, however many there are; and no other. */
static void descriptors_that_are_taken_are_found(void **state)
{
    (void)state;
    static struct desc *all[MANY + 1];
    for (uint32_t colour = 0; colour < 32; colour += 31) {
        struct desc_table table;
        memset(&table, 0, sizeof(table));
        table.colour = colour;
        assert_int_equal(desc_taken_below(&table, 1), 0);
        for (uint32_t i = 1; i <= MANY; i++)
            all[i] = desc_take(&table);
        const uint32_t every[] = {1, 2, 7, 63, 64, 65, 1000, MANY + 1};
        for (size_t e = 0; e < sizeof(every) / sizeof(every[0]); e++) {
            for (uint32_t i = 1; i <= MANY; i++)
                if (i % every[e] != 0)
                    desc_give(&table, all[i]);
            uint32_t expected = MANY - MANY % every[e];
            struct desc *d;
            for_each_taken (&table, i, d) {
                assert_int_equal(i, expected);
                assert_ptr_equal(d, all[i]);
                expected -= every[e];
            }
            assert_int_equal(expected, 0);
            for_each_taken (&table, i, d)
                desc_give(&table, d); /* also while they are walked through */
            assert_int_equal(desc_taken_below(&table, MANY + 1), 0);
            for (uint32_t i = 1; i <= MANY; i++) {
                d = desc_take(&table);
                all[d->index] = d;
            }
            assert_int_equal(load_relaxed(&table.used), MANY);
        }
        desc_table_destroy(&table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_has_an_address_of_its_own),
        cmocka_unit_test(the_descriptor_given_back_last_is_taken_first),
        cmocka_unit_test(descriptors_end_at_the_last_number),
        cmocka_unit_test(a_foreign_pointer_is_no_descriptor),
        cmocka_unit_test(descriptors_that_are_taken_are_found),
        cmocka_unit_test(a_word_keeps_pool_index_and_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
