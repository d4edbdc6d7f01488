/* SPDX-License-Identifier: MIT
 *
 * test_names.c - the names of pools are distinct, with the lowest free suffix, at a cost that does not grow with the
 * pools
 *
 * For this program names.c is compiled with counted_names.h ahead of it, which counts the names that it compares.
 * Allocations fail on demand.
 */
#include "support/support.h"

#include "names.h"

static size_t compared;

int counted_memcmp(const void *left, const void *right, size_t n);
int counted_memcmp(const void *left, const void *right, size_t n)
{
    compared++;
    return memcmp(left, right, n);
}

/* The next allocations succeed until so many are left; then one fails. -1: none fails. */
static int until_failure = -1;

static bool fails(void)
{
    return until_failure >= 0 && until_failure-- == 0;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size)
{
    return fails() ? NULL : __real_realloc(memory, size);
}

enum { POOLS_MAX = 65534 }; /* that can exist beside the default pool */

static struct bufferpool *pools;

static void take(size_t i, const char *name)
{
    if (!names_take(&pools[i], name))
        fail_msg("no name for pool %zu", i);
}

static void expect(size_t i, const char *asked, const char *name)
{
    take(i, asked);
    assert_string_equal(pools[i].name, name);
}

static void give(size_t i)
{
    names_give(&pools[i]);
    free(pools[i].name);
    pools[i].name = NULL;
}

static void give_all(void)
{
    for (size_t i = 0; i < POOLS_MAX; i++)
        if (pools[i].name != NULL)
            give(i);
}

static void a_taken_name_gets_the_lowest_free_suffix(void **state)
{
    (void)state;
    expect(0, "http", "http");
    expect(1, "http", "http-2");
    expect(2, "http", "http-3");
    expect(3, "https", "https");
    give(1);
    expect(1, "http", "http-2");
    expect(4, "http", "http-4");
    give(0);
    give(2);
    expect(0, "http", "http");
    expect(2, "http", "http-3");
    expect(5, "default", "default-2");
    expect(6, "", "");
    expect(7, "", "-2");
    expect(8, "-2", "-2-2");
    give_all();
}

static void a_suffix_that_was_asked_for_counts(void **state)
{
    (void)state;
    expect(0, "http-2", "http-2");
    expect(1, "http", "http");
    expect(2, "http", "http-3");
    expect(3, "http-2", "http-2-2");
    expect(4, "http-2", "http-2-3");
    give(0);
    expect(0, "http-2", "http-2");
    give(0);
    expect(0, "http", "http-2");
    expect(5, "http-2-2", "http-2-2-2");
    give_all();
}

/* "a-1", "a-02" and "a-65537" are no suffixes that the library would make: names like others. */
static void other_endings_are_names_of_their_own(void **state)
{
    static const char *const names[] = {"a-0",     "a-1",       "a-01",       "a-02",     "a-65537", "a-99999",
                                        "a-65536", "a-4294967", "a-00000002", "a-65536x", "a--2",    "7",
                                        "a-",      "-",         "a2",         "a-2-"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        expect(i, names[i], names[i]);
    expect(20, "a-1", "a-1-2");
    expect(21, "a-65536", "a-65536-2");
    expect(22, "a-65537", "a-65537-2");
    expect(23, "a", "a");
    expect(24, "a", "a-2");
    give_all();
}

static void pools_without_a_name_are_numbered(void **state)
{
    (void)state;
    take(0, NULL);
    const unsigned first = (unsigned)strtoul(pools[0].name + strlen("pool-"), NULL, 10);
    char third[32], third_again[32], name[32];
    (void)snprintf(third, sizeof third, "pool-%u", first + 3);
    (void)snprintf(third_again, sizeof third_again, "pool-%u-2", first + 3);
    (void)snprintf(name, sizeof name, "pool-%u", first + 1);
    expect(1, NULL, name);
    expect(2, third, third);
    give(1);
    (void)snprintf(name, sizeof name, "pool-%u", first + 2);
    expect(1, NULL, name); /* no number comes twice */
    expect(3, NULL, third_again);
    expect(4, "pool", "pool");
    give_all();
}

/* ---- against the plainest way to do it ---- */

static bool is_taken(const char *name, size_t n, size_t but)
{
    bool taken = strcmp(name, "default") == 0;
    for (size_t i = 0; i < n; i++)
        taken |= i != but && pools[i].name != NULL && strcmp(pools[i].name, name) == 0;
    return taken;
}

static void names_are_those_of_a_search_through_all_pools(void **state)
{
    enum { POOLS = 150, TURNS = 20000 };
    static const char *const names[] = {"a", "b", "a-2", "a-2-2", "a-3", "a-70", "a-100", "a-130", "default", "a-1"};
    (void)state;
    uint32_t drawn = 1;
    for (int turn = 0; turn < TURNS; turn++) {
        drawn = drawn * 1664525u + 1013904223u;
        const size_t i = (drawn >> 8) % POOLS;
        /* for a while more and more, then fewer and fewer */
        if (pools[i].name != NULL) {
            if (turn / 2000 % 2 == 1)
                give(i);
            continue;
        }
        if (turn / 2000 % 2 == 1 && (drawn >> 4) % 4 != 0)
            continue;
        const char *asked = names[(drawn >> 20) % (sizeof names / sizeof names[0])];
        char expected[64];
        (void)snprintf(expected, sizeof expected, "%s", asked);
        for (unsigned suffix = 2; is_taken(expected, POOLS, POOLS); suffix++)
            (void)snprintf(expected, sizeof expected, "%s-%u", asked, suffix);
        expect(i, asked, expected);
    }
    give_all();
}

/* ---- cost ---- */

/* The trie is some 1.4 log2 of the families deep on the average, and seldom more than thrice that. */
static void the_last_of_many_names_costs_what_the_first_does(void **state)
{
    char name[32];
    size_t most_of_one = 0, most_of_many = 0;
    (void)state;
    for (size_t i = 0; i < POOLS_MAX; i++) {
        compared = 0;
        take(i, "connection");
        most_of_one = compared > most_of_one ? compared : most_of_one;
    }
    assert_string_equal(pools[POOLS_MAX - 1].name, "connection-65534");
    assert_true(most_of_one <= 2);
    give(12345);
    expect(12345, "connection", "connection-12346");
    compared = 0;
    give_all();
    assert_true(compared <= 2);

    for (size_t i = 0; i < POOLS_MAX; i++) {
        (void)snprintf(name, sizeof name, "c%05zu", i); /* of one length, so each is compared */
        compared = 0;
        take(i, name);
        most_of_many = compared > most_of_many ? compared : most_of_many;
    }
    print_message("at most %zu names looked at of %d different ones\n", most_of_many, POOLS_MAX);
    assert_true(most_of_many <= 48);
    for (size_t i = 0; i < POOLS_MAX; i += 7) {
        compared = 0;
        give(i);
        assert_true(compared <= 48);
    }
    give_all();
}

/* ---- no memory ---- */

static void take_fails(const char *name, int allocations)
{
    for (int n = 0; n < allocations; n++) {
        struct bufferpool pool = {0};
        until_failure = n;
        assert_false(names_take(&pool, name));
        assert_int_equal(until_failure, -1);
        assert_null(pool.name);
    }
}

static void without_memory_there_is_no_name_and_nothing_changed(void **state)
{
    (void)state;
    take_fails("http", 2); /* the string, and the family */
    give_all();
    for (size_t i = 0; i < 64; i++)
        take(i, "http");
    take_fails("http", 2); /* the string, and bits for more numbers */
    expect(64, "http", "http-65");
    take_fails("http-2", 2);
    expect(65, "http-2", "http-2-2");
    take_fails("http-1000", 2);
    take_fails("ftp-1000", 3);
    expect(66, "ftp", "ftp");
    give_all();
}

static int make_pools(void **state)
{
    (void)state;
    pools = calloc(POOLS_MAX, sizeof *pools);
    return pools == NULL;
}

static int free_pools(void **state)
{
    (void)state;
    free(pools);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_taken_name_gets_the_lowest_free_suffix),
        cmocka_unit_test(a_suffix_that_was_asked_for_counts),
        cmocka_unit_test(other_endings_are_names_of_their_own),
        cmocka_unit_test(pools_without_a_name_are_numbered),
        cmocka_unit_test(names_are_those_of_a_search_through_all_pools),
        cmocka_unit_test(the_last_of_many_names_costs_what_the_first_does),
        cmocka_unit_test(without_memory_there_is_no_name_and_nothing_changed),
    };
    return cmocka_run_group_tests_name("names", tests, make_pools, free_pools);
}
