/* SPDX-License-Identifier: MIT
 *
 * test_retain.c - memory that callers held within retain_ms stays, and goes back when that time is over (window.h)
 *
 * The linker's --wrap replaces the coarse monotonic clock by the test's own. The library's thread is one that ends at
 * once; pass() does what that thread would do, at the times that it would wake up at. The page faults are the kernel's.
 */
#include "support/laws.h"

#include "heap/heap.h"
#include "heap/window.h"
#include "reclaim.h"
#include "support/inside.h"

#include <sys/resource.h>

#define KIB   ((size_t)1024)
#define MIB   ((size_t)1024 * 1024)
#define FLOOR MIB /* what stays in any pool */

enum { BASE = 32 * 1024, STRIDE = BASE + 64, CAP = 8, WAVE = 512, RETAIN_MS = 1000 };

static uint64_t clock_ms = 5000;
static bool no_threads;
static size_t threads_asked_for;
static const _Atomic(bool) go_on;

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    if (clock != CLOCK_MONOTONIC_COARSE)
        return __real_clock_gettime(clock, now);
    now->tv_sec = (time_t)(clock_ms / 1000);
    now->tv_nsec = (long)(clock_ms % 1000) * 1000000;
    return 0;
}

static void *end_at_once(void *unused)
{
    return unused;
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    (void)run, (void)arg;
    threads_asked_for++;
    return no_threads ? EAGAIN : __real_pthread_create(thread, attributes, end_at_once, NULL);
}

static bufferpool_config_t retaining(void)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.max_live = CAP;
    config.flags = BUFFERPOOL_BACKGROUND;
    return config;
}

static bufferpool_t *create(const bufferpool_config_t *config)
{
    no_threads = false;
    bufferpool_t *pool = bufferpool_create(config);
    assert_non_null(pool);
    return pool;
}

static void end(bufferpool_t *pool)
{
    check_laws(pool, NULL, 0);
    (void)bufferpool_trim(pool);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static size_t retained(const bufferpool_t *pool)
{
    return pool->heap.slabs.dirty_bytes + pool->heap.slabs.retained.bytes;
}

/* The library's thread, for that time. */
static void pass(bufferpool_t *pool, uint64_t ms)
{
    const uint64_t until = clock_ms + ms;
    while (pool->background.due_ms <= until) {
        if (pool->background.due_ms > clock_ms)
            clock_ms = pool->background.due_ms;
        pool->background.due_ms = UINT64_MAX;
        const uint64_t due_ms = reclaim_in_background(pool, &go_on);
        pool->background.due_ms = due_ms > clock_ms ? due_ms : clock_ms + 1;
    }
    clock_ms = until;
}

static bufferpool_buf_t *bufs[WAVE];

static void take(bufferpool_t *pool, size_t first, size_t n)
{
    assert_int_equal(bufferpool_get_bulk(pool, bufs + first, n), 0);
    for (size_t i = first; i < first + n; i++)
        memset(bufs[i]->data, 1, bufs[i]->cap);
}

static size_t wave(bufferpool_t *pool)
{
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    take(pool, 0, WAVE);
    bufferpool_put_bulk(bufs, WAVE);
    getrusage(RUSAGE_SELF, &after);
    return (size_t)(after.ru_minflt - before.ru_minflt);
}

/* ---- waves ---- */

static void waves_find_the_memory_of_the_last_one(void **state)
{
    static const unsigned pauses[] = {0, 100, 500, RETAIN_MS * 15 / 16 - 1};
    (void)state;
    for (size_t p = 0; p < sizeof pauses / sizeof pauses[0]; p++) {
        const bufferpool_config_t config = retaining();
        bufferpool_t *pool = create(&config);
        const size_t first = wave(pool);
        for (int i = 0; i < 8; i++) {
            pass(pool, pauses[p]);
            const size_t faults = wave(pool);
            if (!test_instrumented()) {
                assert_true(first >= WAVE * (BASE / 4096));
                assert_in_range(faults, 0, first / 50);
            }
        }
        end(pool);
    }
}

/* Where reclaim frees all that idles between two waves, since its interval is shorter than the pause. */
static void waves_that_reclaim_takes_between_find_it_too(void **state)
{
    (void)state;
    bufferpool_config_t config = retaining();
    config.max_live = 0;
    config.reclaim_interval_ms = RETAIN_MS / 5;
    bufferpool_t *pool = create(&config);
    const size_t first = wave(pool);
    const uint64_t made = stats_of(pool).gets_fresh;
    for (int i = 0; i < 8; i++) {
        pass(pool, 2 * RETAIN_MS / 5 + 1);
        const size_t faults = wave(pool);
        if (!test_instrumented())
            assert_in_range(faults, 0, first / 50);
    }
    assert_true(stats_of(pool).gets_fresh > made + 4 * WAVE);
    pass(pool, 2 * RETAIN_MS);
    assert_in_range(retained(pool) + stats_of(pool).idle_bytes, 0, FLOOR);
    end(pool);
}

static void after_retain_ms_all_but_1_MiB_goes_back(void **state)
{
    (void)state;
    const bufferpool_config_t config = retaining();
    bufferpool_t *pool = create(&config);
    (void)bufferpool_trim(pool);
    const size_t start = test_resident_bytes();
    for (int i = 0; i < 3; i++) {
        (void)wave(pool);
        assert_in_range(retained(pool), (WAVE - 2 * CAP) * STRIDE, WAVE * STRIDE);
        pass(pool, RETAIN_MS * 15 / 16 - 1);
        assert_in_range(retained(pool), (WAVE - 2 * CAP) * STRIDE, WAVE * STRIDE);
        pass(pool, RETAIN_MS / 16 + 1);
        assert_in_range(retained(pool), 0, FLOOR);
        if (!test_instrumented())
            assert_in_range(test_resident_bytes(), 0, start + 4 * MIB);
        pass(pool, 100 * RETAIN_MS); /* it is quiet, and begins again */
    }
    end(pool);
}

/* Callers give back a sixteenth in each sixteenth of retain_ms, so the memory goes back in such steps. */
static void it_goes_back_as_it_was_given_back(void **state)
{
    enum { STEPS = 16, STEP = WAVE / STEPS };
    (void)state;
    const bufferpool_config_t config = retaining();
    bufferpool_t *pool = create(&config);
    take(pool, 0, WAVE);
    for (unsigned i = STEPS; i-- > 0;) {
        bufferpool_put_bulk(bufs + (size_t)i * STEP, STEP);
        pass(pool, RETAIN_MS / STEPS);
    }
    size_t before = retained(pool), falls = 0;
    for (unsigned i = 0; i < STEPS; i++) {
        const size_t now = retained(pool);
        assert_in_range(before - now, 0, 3 * STEP * STRIDE);
        falls += now < before;
        before = now;
        pass(pool, RETAIN_MS / STEPS);
    }
    assert_in_range(falls, STEPS / 2, STEPS);
    assert_in_range(retained(pool), 0, FLOOR);
    end(pool);
}

/* ---- never too much ---- */

static void check_at_once(const bufferpool_config_t *config, size_t size)
{
    bufferpool_config_t copy = *config;
    copy.size = size;
    bufferpool_t *pool = create(&copy);
    (void)wave(pool);
    assert_in_range(retained(pool), 0, FLOOR);
    assert_int_equal(window_now(&pool->heap.slabs.window), 0);
    end(pool);
}

static void memory_goes_at_once_without_a_time_or_a_thread(void **state)
{
    (void)state;
    bufferpool_config_t config = retaining();
    config.retain_ms = 0;
    check_at_once(&config, sizeof config);
    config = retaining();
    config.flags = 0;
    check_at_once(&config, sizeof config);
    config = retaining();
    config.reclaim_interval_ms = BUFFERPOOL_NEVER; /* then there is no thread */
    check_at_once(&config, sizeof config);
}

static void a_thread_that_cannot_be_started_retains_nothing(void **state)
{
    (void)state;
    const bufferpool_config_t config = retaining();
    bufferpool_t *pool = create(&config);
    no_threads = true;
    (void)wave(pool);
    assert_in_range(retained(pool), 0, FLOOR);
    no_threads = false;
    end(pool);
}

/* A program that was built before there was the field has the default. */
static unsigned part_ms_of(const bufferpool_config_t *config)
{
    bufferpool_t *made = bufferpool_create(config);
    assert_non_null(made);
    const unsigned part_ms = load_relaxed(&made->heap.slabs.window.part_ms);
    assert_int_equal(bufferpool_destroy(made), 0);
    return part_ms;
}

static void in_one_expression_0_is_the_default(void **state)
{
    (void)state;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.flags = BUFFERPOOL_BACKGROUND;
    const unsigned usual = part_ms_of(&config);
    assert_true(usual > 0);
    assert_int_equal(part_ms_of(BUFFERPOOL_CONFIG(.flags = BUFFERPOOL_BACKGROUND)), usual);
    assert_int_equal(part_ms_of(BUFFERPOOL_CONFIG(.flags = BUFFERPOOL_BACKGROUND, .retain_ms = 0)), usual);
    assert_int_equal(part_ms_of(BUFFERPOOL_CONFIG(.flags = BUFFERPOOL_BACKGROUND, .retain_ms = 2)), 1);
    config.retain_ms = 0;
    assert_int_equal(part_ms_of(&config), 0);
}

static void a_config_without_the_field_retains_for_a_second(void **state)
{
    (void)state;
    bufferpool_config_t config = retaining();
    assert_int_equal(config.retain_ms, RETAIN_MS);
    config.retain_ms = 0;
    config.size = offsetof(bufferpool_config_t, retain_ms);
    bufferpool_t *pool = create(&config);
    (void)wave(pool);
    pass(pool, RETAIN_MS * 15 / 16 - 1);
    assert_in_range(retained(pool), (WAVE - 2 * CAP) * STRIDE, WAVE * STRIDE);
    pass(pool, RETAIN_MS / 16 + 1);
    assert_in_range(retained(pool), 0, FLOOR);
    end(pool);
}

/* Idle buffers are nobody's, so their memory goes when reclaim or trim frees them. */
static void what_idled_is_not_retained(void **state)
{
    (void)state;
    bufferpool_config_t config = retaining();
    config.max_live = 0;
    bufferpool_t *pool = create(&config);
    (void)wave(pool);
    assert_int_equal(stats_of(pool).idle_bytes, WAVE * BASE);
    for (int i = 0; i < 3; i++) {
        pass(pool, 10000);
        assert_in_range(retained(pool), 0, FLOOR);
    }
    assert_in_range(stats_of(pool).idle_bytes, 0, WAVE * BASE / 2);
    (void)wave(pool);
    (void)bufferpool_trim(pool);
    assert_int_equal(retained(pool), 0);
    end(pool);
}

/* Without the thread, calls free what is due, and each gives the memory of that back. */
static void what_calls_reclaim_goes_with_each_call(void **state)
{
    (void)state;
    bufferpool_config_t config = retaining();
    config.max_live = 0;
    config.flags = 0;
    bufferpool_t *pool = create(&config);
    (void)wave(pool);
    for (int interval = 0; interval < 4; interval++) {
        clock_ms += 10001; /* the default interval */
        for (int i = 0; i < 64; i++) {
            bufferpool_put(bufferpool_get(pool));
            assert_in_range(retained(pool), 0, FLOOR);
        }
    }
    assert_in_range(stats_of(pool).idle_bytes, 0, WAVE * BASE / 2);
    end(pool);
}

/* The plain way to say it: what blocks were taken at each moment, less those that were freed while they idled. */
struct history {
    struct {
        uint64_t ms;
        size_t taken;
    } at[6000];
    size_t n, taken;
};

static void history_note(struct history *h)
{
    assert_true(h->n < sizeof h->at / sizeof h->at[0]);
    h->at[h->n].ms = clock_ms;
    h->at[h->n++].taken = h->taken;
}

static size_t history_limit(const struct history *h)
{
    size_t most = h->taken;
    for (size_t i = h->n; i-- > 0;) {
        if (h->at[i].taken > most)
            most = h->at[i].taken;
        if (clock_ms - h->at[i].ms >= RETAIN_MS) /* it was so until the next one */
            break;
    }
    return most - h->taken;
}

static void history_drop_idle(struct history *h)
{
    h->taken -= STRIDE;
    for (size_t i = 0; i < h->n; i++)
        h->at[i].taken -= h->at[i].taken < STRIDE ? h->at[i].taken : STRIDE;
}

static void never_more_is_retained_than_was_held(void **state)
{
    enum { MOST = 300, TURNS = 3000 };
    (void)state;
    static struct heap heap;
    static struct history h;
    static struct desc *held[MOST];
    memset(&heap, 0, sizeof heap);
    heap.base = BASE;
    heap.alignment = 64;
    pthread_mutex_init(&heap.slabs.lock, NULL);
    heap_retain(&heap, RETAIN_MS);
    test_random_t random = {5};
    size_t n = 0, beyond_floor = 0;
    for (unsigned turn = 0; turn < TURNS; turn++) {
        clock_ms += turn % 50 == 0 ? test_random_below(&random, 400) : 0;
        const bool rises = turn / 250 % 2 == 0;
        history_note(&h);
        if (n < MOST && test_random_below(&random, 10) < (rises ? 9 : 2)) {
            assert_non_null(held[n++] = heap_alloc(&heap));
            h.taken += STRIDE;
        } else if (n > 0) {
            const bool idle = test_random_below(&random, 8) == 0;
            heap_free(&heap, held[--n], idle, 0);
            if (idle) {
                heap_settle(&heap, STRIDE, UINT64_MAX, 0);
                history_drop_idle(&h);
            } else {
                h.taken -= STRIDE;
            }
        }
        if (turn % 50 == 49)
            (void)heap_ebb(&heap, 0);
        history_note(&h);
        const size_t most = history_limit(&h), dirty = heap.slabs.dirty_bytes;
        if (turn % 50 == 49)
            assert_in_range(dirty, 0, most > FLOOR ? most : FLOOR);
        beyond_floor += dirty > FLOOR;
    }
    assert_in_range(beyond_floor, TURNS / 10, TURNS);
    heap_destroy(&heap);
}

/* ---- the window ---- */

static void a_window_without_a_time_stands_still(void **state)
{
    (void)state;
    struct window w = {.taken = 7};
    window_turn(&w, 12345);
    assert_int_equal(w.part, 0);
    assert_int_equal(w.most[0], 0);
    assert_int_equal(w.end_ms, 0);
}

static void a_mark_lasts_for_the_time_and_no_longer(void **state)
{
    static const unsigned times[] = {1, 2, 15, 16, 17, 100, 1000, 12345, UINT32_MAX - 1};
    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        for (unsigned start = 0; start < 40; start++) {
            struct window w = {0};
            const uint64_t ms = times[i], at = 1000000 + start * (ms / 32 + 1);
            window_set(&w, times[i]);
            window_take(&w, 3 * MIB);
            window_advance(&w, 1000);
            window_take(&w, 7 * MIB);
            window_give(&w, 10 * MIB, false, at);
            assert_int_equal(window_limit(&w), 10 * MIB);
            const uint64_t due = window_due(&w, 10 * MIB);
            assert_in_range(due, at + ms - ms / 8 - 1, at + ms);
            window_advance(&w, due - 1);
            assert_int_equal(window_limit(&w), 10 * MIB);
            window_advance(&w, due);
            assert_int_equal(window_limit(&w), 0);
            assert_int_equal(window_due(&w, 1), 0);
        }
}

static void twice_the_largest_mapping_may_stay_up_to_8_MiB(void **state)
{
    static const size_t cases[][2] = {{0, 0},
                                      {300 * KIB, 600 * KIB},
                                      {2 * MIB, 4 * MIB},
                                      {4 * MIB, 8 * MIB},
                                      {5 * MIB, 8 * MIB},
                                      {SIZE_MAX / 2 + 1, 8 * MIB}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(window_growth(cases[i][0]), cases[i][1]);
}

/* Idle blocks that callers may have held within the time stay for the rest of it. */
static void idle_memory_stays_for_the_rest_of_the_time(void **state)
{
    (void)state;
    struct window w = {0};
    window_set(&w, 1600);
    window_take(&w, 10 * MIB);
    window_advance(&w, 1600000);
    window_note_idle(&w, 4 * MIB, 400, 1600000);
    assert_int_equal(window_limit(&w), 4 * MIB);
    const uint64_t due = window_due(&w, 4 * MIB);
    assert_in_range(due, 1600000 + 1600 - 400 - 200, 1600000 + 1600 - 400);
    window_advance(&w, due);
    assert_int_equal(window_limit(&w), 0);
    window_note_idle(&w, 4 * MIB, UINT64_MAX, due);
    assert_int_equal(window_limit(&w), 0);
}

/* ---- growth ---- */

static size_t grow_to_2_MiB(bufferpool_t *pool)
{
    static const char kib[1024];
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_non_null(buf);
    while (buf->len < 2 * MIB)
        assert_int_equal(bufferpool_buf_append(buf, kib, sizeof kib), 0);
    bufferpool_put(buf);
    getrusage(RUSAGE_SELF, &after);
    return (size_t)(after.ru_minflt - before.ru_minflt);
}

static void growth_finds_a_mapping_of_each_size(void **state)
{
    (void)state;
    const bufferpool_config_t config = retaining();
    bufferpool_t *pool = create(&config);
    for (int i = 0; i < 20; i++) {
        (void)grow_to_2_MiB(pool);
        assert_true(retained(pool) > 2 * MIB + 400 * KIB); /* the slots of before as well */
        const size_t faults = grow_to_2_MiB(pool);
        assert_in_range(retained(pool), 0, 2 * (2 * MIB + 4 * KIB));
        if (i >= 4 && !test_instrumented()) /* one more of them each time */
            assert_in_range(faults, 0, 2 * MIB / 4096 / 50);
        pass(pool, RETAIN_MS / 10);
    }
    pass(pool, RETAIN_MS);
    assert_in_range(retained(pool), 0, FLOOR);
    end(pool);
}

/* ---- fork ---- */

static int live_in_child(void *arg)
{
    bufferpool_t *pool = arg;
    const size_t asked_for = threads_asked_for;
    pool->background.due_ms = UINT64_MAX;
    bufferpool_put(bufs[0]);
    if (threads_asked_for != asked_for + 1)
        return 2;
    const bufferpool_stats_t stats = stats_of(pool);
    if (pool->heap.slabs.window.taken != (stats.live + stats.idle_thread + stats.idle_depot) * STRIDE)
        return 6;
    pass(pool, 0); /* the thread that began sees to the pool at once */
    if (retained(pool) > FLOOR)
        return 3;
    for (int i = 0; i < 2; i++) {
        (void)wave(pool);
        if (retained(pool) < (WAVE - 2 * CAP) * STRIDE)
            return 4;
        pass(pool, RETAIN_MS);
        if (retained(pool) > FLOOR)
            return 5;
    }
    return 0;
}

static void a_child_begins_anew(void **state)
{
    (void)state;
    if (TEST_TSAN) /* it takes threads of the child for ones of the parent */
        skip();
    const bufferpool_config_t config = retaining();
    bufferpool_t *pool = create(&config);
    (void)wave(pool);
    take(pool, 0, 1);
    assert_true(retained(pool) > FLOOR);
    assert_int_equal(run_in_child(live_in_child, pool, 60), 0);
    bufferpool_put(bufs[0]);
    pass(pool, RETAIN_MS);
    assert_in_range(retained(pool), 0, FLOOR);
    end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_without_a_time_stands_still),
        cmocka_unit_test(waves_find_the_memory_of_the_last_one),
        cmocka_unit_test(waves_that_reclaim_takes_between_find_it_too),
        cmocka_unit_test(after_retain_ms_all_but_1_MiB_goes_back),
        cmocka_unit_test(it_goes_back_as_it_was_given_back),
        cmocka_unit_test(memory_goes_at_once_without_a_time_or_a_thread),
        cmocka_unit_test(a_thread_that_cannot_be_started_retains_nothing),
        cmocka_unit_test(a_config_without_the_field_retains_for_a_second),
        cmocka_unit_test(in_one_expression_0_is_the_default),
        cmocka_unit_test(what_idled_is_not_retained),
        cmocka_unit_test(what_calls_reclaim_goes_with_each_call),
        cmocka_unit_test(never_more_is_retained_than_was_held),
        cmocka_unit_test(a_mark_lasts_for_the_time_and_no_longer),
        cmocka_unit_test(twice_the_largest_mapping_may_stay_up_to_8_MiB),
        cmocka_unit_test(idle_memory_stays_for_the_rest_of_the_time),
        cmocka_unit_test(growth_finds_a_mapping_of_each_size),
        cmocka_unit_test(a_child_begins_anew),
    };
    return cmocka_run_group_tests_name("retain", tests, NULL, NULL);
}
