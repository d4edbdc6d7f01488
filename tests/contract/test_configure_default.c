/* SPDX-License-Identifier: MIT
 *
 * test_configure_default.c - bufferpool_configure_default: before the first get, and not after it
 *
 * The first get of the default pool is the end of it, so each case runs in a child of its own. A get in another thread
 * comes before the call or after it: whichever it is, the answer of the call and the buffer agree.
 */
#include "support/laws.h"

#include <unistd.h>

enum { CAPACITY = 1000, CAP = 3, THREADS = 4 };

static size_t cap_of_default(void)
{
    bufferpool_buf_t *buf = bufferpool_get(NULL);
    const size_t cap = buf->cap;
    bufferpool_put(buf);
    return cap;
}

static bool is_named(const char *name)
{
    bufferpool_t *pool = bufferpool_create(NULL);
    bufferpool_buf_t *out = bufferpool_get(pool);
    char sample[64];
    snprintf(sample, sizeof sample, "bufferpool_live_buffers{pool=\"%s\"}", name);
    const bool found = bufferpool_metrics(out) == 0 && bufferpool_buf_append(out, "", 1) == 0 &&
                       strstr((char *)out->data, sample) != NULL;
    bufferpool_put(out);
    return found && bufferpool_destroy(pool) == 0;
}

static void in_child(int (*fn)(void *arg))
{
    assert_int_equal(run_in_child(fn, NULL, 60), 0);
}

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            return __LINE__ % 250 + 1;                                                                                 \
    } while (0)

static int configure_and_use(void *unused)
{
    (void)unused;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.max_live = CAP;
    errno = 77;
    CHECK(bufferpool_configure_default(&config) == 0 && errno == 77);
    CHECK(bufferpool_max_live(NULL) == CAP && cap_of_default() == CAPACITY);
    CHECK(atomic_load(&blocks.count) == 1 && is_named("default"));
    CHECK(bufferpool_configure_default(NULL) == EBUSY);
    CHECK(bufferpool_max_live(NULL) == CAP && cap_of_default() == CAPACITY);
    CHECK(laws_hold(NULL, &blocks, 0) && bufferpool_trim(NULL) == CAPACITY && atomic_load(&blocks.count) == 0);
    return 0;
}

static void it_configures_the_pool_until_the_first_get(void **state)
{
    (void)state;
    in_child(configure_and_use);
}

static int configure_again(void *unused)
{
    (void)unused;
    bufferpool_set_max_live(NULL, 9);
    CHECK(bufferpool_configure_default(BUFFERPOOL_CONFIG(.name = "mine", .buffer_capacity = 64, .max_live = CAP)) == 0);
    CHECK(bufferpool_max_live(NULL) == CAP && is_named("mine") && !is_named("default"));
    CHECK(bufferpool_configure_default(BUFFERPOOL_CONFIG(.name = "mine", .buffer_capacity = CAPACITY)) == 0);
    CHECK(bufferpool_max_live(NULL) == 0 && is_named("mine"));
    bufferpool_t *pool = bufferpool_create(BUFFERPOOL_CONFIG(.name = "mine"));
    CHECK(is_named("mine-2") && bufferpool_destroy(pool) == 0);
    CHECK(bufferpool_configure_default(NULL) == 0 && is_named("default") && !is_named("mine"));
    CHECK(cap_of_default() == 32768);
    return 0;
}

static void a_second_call_replaces_all_of_the_first(void **state)
{
    (void)state;
    in_child(configure_again);
}

static int configure_wrongly(void *unused)
{
    (void)unused;
    CHECK(bufferpool_configure_default(BUFFERPOOL_CONFIG(.name = "mine", .buffer_capacity = CAPACITY)) == 0);
    CHECK(bufferpool_configure_default(BUFFERPOOL_CONFIG(.alignment = 3)) == EINVAL);
    CHECK(bufferpool_configure_default(BUFFERPOOL_CONFIG(.flags = BUFFERPOOL_START_NOW)) == EINVAL);
    CHECK(is_named("mine") && cap_of_default() == CAPACITY);
    return 0;
}

static void a_wrong_configuration_changes_nothing(void **state)
{
    (void)state;
    in_child(configure_wrongly);
}

static int configure_with_thread(void *unused)
{
    (void)unused;
    CHECK(bufferpool_configure_default(BUFFERPOOL_CONFIG(.flags = BUFFERPOOL_BACKGROUND | BUFFERPOOL_START_NOW)) == 0);
    CHECK(bufferpool_configure_default(NULL) == EBUSY); /* its thread uses it */
    CHECK(cap_of_default() == 32768);
    return 0;
}

static void a_pool_whose_thread_started_now_is_used(void **state)
{
    (void)state;
    in_child(configure_with_thread);
}

static int configure_and_fork(void *unused)
{
    if (unused == NULL)
        CHECK(bufferpool_configure_default(BUFFERPOOL_CONFIG(.buffer_capacity = CAPACITY)) == 0);
    int which = 1;
    if (unused == NULL)
        CHECK(run_in_child(configure_and_fork, &which, 60) == 0);
    CHECK(cap_of_default() == CAPACITY);
    CHECK(bufferpool_configure_default(NULL) == EBUSY);
    return 0;
}

static void a_child_inherits_the_configuration(void **state)
{
    (void)state;
    in_child(configure_and_fork);
}

/* ---- beside gets ---- */

struct race {
    pthread_barrier_t barrier;
    size_t caps[THREADS];
    int error;
};

static void race_of(void *arg, unsigned index)
{
    struct race *race = arg;
    pthread_barrier_wait(&race->barrier);
    if (index == 0)
        race->error = bufferpool_configure_default(BUFFERPOOL_CONFIG(.buffer_capacity = CAPACITY));
    race->caps[index] = cap_of_default();
}

static int configure_beside_gets(void *unused)
{
    (void)unused;
    struct race race;
    CHECK(pthread_barrier_init(&race.barrier, NULL, THREADS) == 0);
    run_threads(THREADS, race_of, &race);
    CHECK(race.error == 0 || race.error == EBUSY);
    for (int i = 0; i < THREADS; i++)
        CHECK(race.caps[i] == (race.error == 0 ? CAPACITY : 32768));
    return 0;
}

static void a_get_in_another_thread_comes_before_or_after(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++)
        in_child(configure_beside_gets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_configures_the_pool_until_the_first_get),
        cmocka_unit_test(a_second_call_replaces_all_of_the_first),
        cmocka_unit_test(a_wrong_configuration_changes_nothing),
        cmocka_unit_test(a_pool_whose_thread_started_now_is_used),
        cmocka_unit_test(a_child_inherits_the_configuration),
        cmocka_unit_test(a_get_in_another_thread_comes_before_or_after),
    };
    return cmocka_run_group_tests_name("configure_default", tests, NULL, NULL);
}
