/* SPDX-License-Identifier: MIT
 *
 * test_resident.c - resident memory after a burst of many threads, and page faults in a steady state
 *
 * Four threads take 10,000 buffers and write to them. Four others put the buffers in an order that frees neighbours far
 * apart. Right after the last put little more is resident than the buffers that the pool retains; after a trim next to
 * nothing more is resident than before the burst. At twice the cap, buffers beyond the cap come and go without a page
 * fault.
 *
 * The threads that put sleep with full caches when the test looks at memory. The figures are the kernel's.
 */
#include "support/laws.h"

#include <sys/resource.h>

enum { THREADS = 4, BUFFERS = 10000, SHARE = BUFFERS / THREADS, CAP = 256 };

#define KIB   ((size_t)1024)
#define MIB   ((size_t)1024 * 1024)
#define GROWN (200 * KIB)

enum order { SHUFFLED, FORWARD, BACKWARD, ORDERS };

struct burst {
    bufferpool_t *pool;
    bool grow; /* every second one */
    enum order order;
    bool swap_threads;        /* who takes the first part puts the last */
    pthread_barrier_t asleep; /* once when the last has put, once more when memory was looked at */
    bufferpool_buf_t *bufs[BUFFERS];
};

static struct burst burst;

static void take_share(void *arg, unsigned index)
{
    struct burst *b = arg;
    const size_t first = index * (size_t)SHARE;
    for (size_t i = first; i < first + SHARE; i++) {
        bufferpool_buf_t *buf = b->bufs[i] = bufferpool_get(b->pool);
        if (!thread_check(buf != NULL))
            return;
        if (b->grow && i % 2 == 0)
            thread_check(bufferpool_buf_reserve(buf, GROWN) == 0);
        memset(buf->data, 0x5a, buf->cap);
    }
}

static void put_share(void *arg, unsigned index)
{
    struct burst *b = arg;
    const size_t first = (b->swap_threads ? THREADS - 1 - index : index) * (size_t)SHARE;
    for (size_t i = 0; i < SHARE; i++)
        bufferpool_put(b->bufs[b->order == BACKWARD ? first + SHARE - 1 - i : first + i]);
    pthread_barrier_wait(&b->asleep);
    pthread_barrier_wait(&b->asleep);
}

static void nothing(void *arg, unsigned index)
{
    (void)arg;
    (void)index;
}

static void shuffle(uint64_t seed)
{
    test_random_t random = {seed};
    for (size_t i = BUFFERS - 1; i > 0; i--) {
        size_t k = test_random_below(&random, i + 1);
        bufferpool_buf_t *swap = burst.bufs[i];
        burst.bufs[i] = burst.bufs[k];
        burst.bufs[k] = swap;
    }
}

static size_t above(size_t start)
{
    size_t now = test_resident_bytes();
    return now > start ? now - start : 0;
}

/* What a burst and a trim after it leave. The trim reaches the caches of threads that sleep, where it can. */
struct leavings {
    size_t after_put, after_trim, idle_bytes, trimmed;
};

static struct leavings wave(size_t start)
{
    struct leavings left;
    run_threads(THREADS, take_share, &burst);
    if (burst.order == SHUFFLED)
        shuffle(burst.swap_threads + 1);
    assert_true(above(start) >= BUFFERS * 32 * KIB);
    test_crew_t *crew = start_threads(THREADS, put_share, &burst);
    pthread_barrier_wait(&burst.asleep);
    left.after_put = above(start);
    left.idle_bytes = (size_t)stats_of(burst.pool).idle_bytes;
    if (test_can_steal())
        left.trimmed = bufferpool_trim(burst.pool);
    left.after_trim = above(start);
    pthread_barrier_wait(&burst.asleep);
    join_threads(crew);
    if (!test_can_steal()) {
        left.trimmed = bufferpool_trim(burst.pool);
        left.after_trim = above(start);
    }
    return left;
}

static void burst_ebbs(size_t cap, bool grow, unsigned flags)
{
    if (test_instrumented())
        skip();
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.max_live = cap;
    config.flags = flags;
    burst.pool = bufferpool_create(&config);
    assert_non_null(burst.pool);
    burst.grow = grow;
    memset(burst.bufs, 0, sizeof burst.bufs);
    assert_int_equal(pthread_barrier_init(&burst.asleep, NULL, THREADS + 1), 0);
    run_threads(THREADS, nothing, NULL); /* stacks */
    const size_t start = test_resident_bytes();
    for (unsigned round = 0; round < (grow ? 2 : 2 * ORDERS); round++) {
        burst.order = (enum order)(round % ORDERS);
        burst.swap_threads = round % 2 == 1;
        const struct leavings left = wave(start);
        if (cap != 0 &&
            flags == 0) /* those that stay lie apart: each with the rest of its first and of its last page */
            assert_in_range(left.after_put, 0, left.idle_bytes + CAP * 8u * KIB + 2 * MIB);
        if (cap != 0 && !grow)
            assert_true(left.idle_bytes <= CAP * 32 * KIB);
        check_laws(burst.pool, NULL, 0);
        assert_int_equal(left.trimmed, left.idle_bytes);
        assert_in_range(left.after_trim, 0, 3 * MIB / 2);
    }
    assert_int_equal(bufferpool_destroy(burst.pool), 0);
    pthread_barrier_destroy(&burst.asleep);
}

static void all_idle_memory_goes_with_trim(void **state)
{
    (void)state;
    burst_ebbs(0, false, 0);
}

static void buffers_beyond_the_cap_go_with_the_last_put(void **state)
{
    (void)state;
    burst_ebbs(CAP, false, 0);
}

static void grown_buffers_go_with_trim(void **state)
{
    (void)state;
    burst_ebbs(0, true, 0);
}

static void grown_buffers_beyond_the_cap_go_with_the_last_put(void **state)
{
    (void)state;
    burst_ebbs(CAP, true, 0);
}

static void huge_pages_go_with_trim(void **state)
{
    (void)state;
    burst_ebbs(0, false, BUFFERPOOL_HUGEPAGES);
    burst_ebbs(CAP, true, BUFFERPOOL_HUGEPAGES);
}

/* ---- retained by time ---- */

enum { WAVES = 3, WAVE = 2000, RETAIN_MS = 300 };

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* What is resident beside idle buffers: at most what was held, as long as it may be retained, and 1 MiB afterwards. It
 * is over within three seconds. */
static void memory_of_waves_stays_for_retain_ms_and_then_goes(void **state)
{
    (void)state;
    if (test_instrumented())
        skip();
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.max_live = CAP;
    config.flags = BUFFERPOOL_BACKGROUND;
    config.retain_ms = RETAIN_MS;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    const size_t start = test_resident_bytes(), most = WAVE * (32 * KIB + 64) + 2 * MIB;
    for (unsigned wave = 0; wave < WAVES; wave++) {
        assert_int_equal(bufferpool_get_bulk(pool, burst.bufs, WAVE), 0);
        for (size_t i = 0; i < WAVE; i++)
            memset(burst.bufs[i]->data, 0x5a, burst.bufs[i]->cap);
        bufferpool_put_bulk(burst.bufs, WAVE);
        assert_in_range(above(start), 0, most);
    }
    const uint64_t end_ms = now_ms() + 3000;
    size_t left;
    do {
        const struct timespec pause = {0, 10000000};
        nanosleep(&pause, NULL);
        left = above(start);
        assert_in_range(left, 0, most);
    } while (left > stats_of(pool).idle_bytes + 2 * MIB && now_ms() < end_ms);
    assert_in_range(left, 0, stats_of(pool).idle_bytes + 2 * MIB);
    check_laws(pool, NULL, 0);
    (void)bufferpool_trim(pool);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* ---- held buffers that shrink ---- */

enum { CONNECTIONS = 1000 };

/* Connections that stay had one message of 1 MiB each, and go on with 100 bytes. */
static void held_buffers_give_back(unsigned flags)
{
    if (test_instrumented())
        skip();
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.flags = flags;
    config.retain_ms = RETAIN_MS;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    const size_t start = test_resident_bytes();
    for (size_t i = 0; i < CONNECTIONS; i++) {
        bufferpool_buf_t *buf = burst.bufs[i] = bufferpool_get(pool);
        assert_int_equal(bufferpool_buf_reserve(buf, MIB), 0);
        memset(buf->data, 0x5a, buf->cap);
    }
    assert_true(above(start) >= CONNECTIONS * MIB);
    for (size_t i = 0; i < CONNECTIONS; i++)
        assert_int_equal(bufferpool_buf_shrink(burst.bufs[i], 300 * KIB), 0); /* their mappings are cut off */
    assert_in_range(above(start), CONNECTIONS * 300 * KIB, CONNECTIONS * 308 * KIB + 2 * MIB);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        burst.bufs[i]->len = 100;
        assert_int_equal(bufferpool_buf_shrink(burst.bufs[i], 0), 0);
        memset(burst.bufs[i]->data, 0x5a, burst.bufs[i]->cap);
    }
    const size_t most = CONNECTIONS * (32 * KIB + 64) + 2 * MIB;
    const uint64_t end_ms = now_ms() + 3000;
    while ((flags & BUFFERPOOL_BACKGROUND) != 0 && above(start) > most && now_ms() < end_ms) {
        const struct timespec pause = {0, 10000000};
        nanosleep(&pause, NULL);
    }
    assert_in_range(above(start), CONNECTIONS * 32 * KIB, most);
    bufferpool_put_bulk(burst.bufs, CONNECTIONS);
    (void)bufferpool_trim(pool);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void held_buffers_that_shrink_give_their_memory_back_at_once(void **state)
{
    (void)state;
    held_buffers_give_back(0);
    held_buffers_give_back(BUFFERPOOL_ZERO);
}

static void with_a_thread_they_give_it_back_within_retain_ms(void **state)
{
    (void)state;
    held_buffers_give_back(BUFFERPOOL_BACKGROUND);
}

/* ---- steady state ---- */

enum { CROWD = 8, HELD = 16 };

struct steady {
    bufferpool_t *pool;
    bool grow; /* every third one */
    size_t turns;
    pthread_barrier_t barrier;
    atomic_size_t faults;
};

static size_t faults_of_thread(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (size_t)usage.ru_minflt;
}

static void come_and_go(void *arg, unsigned index)
{
    struct steady *steady = arg;
    bufferpool_buf_t *held[HELD] = {NULL};
    test_random_t random = {index + 1};
    size_t before = 0;
    for (size_t turn = 0; turn < 2 * steady->turns; turn++) {
        if (turn == steady->turns) { /* warm */
            pthread_barrier_wait(&steady->barrier);
            before = faults_of_thread();
        }
        size_t i = turn < HELD ? turn : test_random_below(&random, HELD);
        bufferpool_put(held[i]);
        held[i] = bufferpool_get(steady->pool);
        if (!thread_check(held[i] != NULL))
            return;
        if (steady->grow && turn % 3 == 0)
            thread_check(bufferpool_buf_reserve(held[i], GROWN) == 0);
        for (size_t at = 0; at < held[i]->cap; at += 4096)
            held[i]->data[at] = 1;
    }
    atomic_fetch_add(&steady->faults, faults_of_thread() - before);
    pthread_barrier_wait(&steady->barrier); /* so that all hold theirs until the last has counted */
    bufferpool_put_bulk(held, HELD);
}

static void steady_state(bool grow)
{
    if (test_instrumented())
        skip();
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.max_live = CROWD * HELD / 2;
    struct steady steady = {.pool = bufferpool_create(&config), .grow = grow, .turns = 10000};
    assert_non_null(steady.pool);
    assert_int_equal(pthread_barrier_init(&steady.barrier, NULL, CROWD), 0);
    run_threads(CROWD, come_and_go, &steady);
    pthread_barrier_destroy(&steady.barrier);
    const bufferpool_stats_t stats = stats_of(steady.pool);
    assert_true(stats.peak_in_flight >= CROWD * HELD); /* it is those beyond the cap that cost nothing */
    /* Without memory at hand each would fault in all its pages. A thread that loses its processor costs some: one of 64
     * buffers may. */
    const size_t small = 32 * KIB / 4096, large = GROWN / 4096;
    const size_t pages_of_three = 2 * small + (grow ? large : small);
    assert_in_range(atomic_load(&steady.faults), 0, CROWD * steady.turns / 3 * pages_of_three / 64);
    check_laws(steady.pool, NULL, 0);
    assert_int_equal(bufferpool_destroy(steady.pool), 0);
}

static void buffers_beyond_the_cap_come_and_go_without_page_faults(void **state)
{
    (void)state;
    steady_state(false);
}

static void grown_buffers_beyond_the_cap_come_and_go_without_page_faults(void **state)
{
    (void)state;
    steady_state(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_idle_memory_goes_with_trim),
        cmocka_unit_test(buffers_beyond_the_cap_go_with_the_last_put),
        cmocka_unit_test(grown_buffers_go_with_trim),
        cmocka_unit_test(grown_buffers_beyond_the_cap_go_with_the_last_put),
        cmocka_unit_test(huge_pages_go_with_trim),
        cmocka_unit_test(memory_of_waves_stays_for_retain_ms_and_then_goes),
        cmocka_unit_test(held_buffers_that_shrink_give_their_memory_back_at_once),
        cmocka_unit_test(with_a_thread_they_give_it_back_within_retain_ms),
        cmocka_unit_test(buffers_beyond_the_cap_come_and_go_without_page_faults),
        cmocka_unit_test(grown_buffers_beyond_the_cap_come_and_go_without_page_faults),
    };
    return cmocka_run_group_tests_name("resident", tests, NULL, NULL);
}
