/* SPDX-License-Identifier: MIT
 *
 * test_hostile_threads.c - a thousand threads with the smallest stack, signals all the time, no keys left, and a thread
 * that reads the statistics all the while
 *
 * At every moment live is not negative and not more than ever existed, and no counter falls. At the end all figures are
 * exact.
 */
#include "support/laws.h"

#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { CAPACITY = 512, HELD = 6, CHILD_SECONDS = 60 };

static bufferpool_t *make_pool(test_blocks_t *blocks, size_t max_live)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = 4 * CAPACITY;
    config.max_live = max_live;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

/* ---- small stacks ---- */

static bufferpool_t *pool;
static pthread_barrier_t all_hold;
static atomic_size_t unwell;

static void *work_on_a_small_stack(void *unused)
{
    bufferpool_buf_t *bufs[HELD];
    bool well = bufferpool_get_bulk(pool, bufs, HELD) == 0;
    for (size_t i = 0; well && i < HELD; i++)
        well =
            bufferpool_buf_append(bufs[i], "some text", 9) == 0 && bufferpool_buf_reserve(bufs[i], 600 + 300 * i) == 0;
    pthread_barrier_wait(&all_hold);
    for (size_t i = 0; well && i < HELD; i++) {
        well = memcmp(bufs[i]->data, "some text", 9) == 0;
        bufferpool_put(bufs[i]);
    }
    bufferpool_buf_t *buf = bufferpool_get_timed(pool, 1);
    well = well && (buf != NULL ? bufferpool_buf_printf(buf, "%s %d", "text", 7) == 0 : errno == ETIMEDOUT);
    bufferpool_put(buf);
    (void)bufferpool_live(pool);
    (void)stats_of(pool);
    (void)bufferpool_reclaim(pool);
    (void)bufferpool_trim(pool);
    bufferpool_thread_flush();
    if (!well)
        atomic_fetch_add(&unwell, 1);
    return unused;
}

static void a_thousand_threads_have_the_smallest_stack(void **state)
{
    (void)state;
    enum { MOST = 1000 };
    static pthread_t threads[MOST];
    const unsigned n = (unsigned)test_scale(MOST, 40);
    test_blocks_t blocks = {0};
    pthread_attr_t small;
    if (TEST_SANITIZED)
        skip(); /* which need more of it than that */
    pool = make_pool(&blocks, n * HELD / 2);
    pthread_attr_init(&small);
    assert_int_equal(pthread_attr_setstacksize(&small, (size_t)sysconf(_SC_THREAD_STACK_MIN)), 0);
    assert_int_equal(pthread_barrier_init(&all_hold, NULL, n + 1), 0);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(pthread_create(&threads[i], &small, work_on_a_small_stack, NULL), 0);
    pthread_barrier_wait(&all_hold);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&unwell), 0);
    const bufferpool_stats_t stats = stats_of(pool);
    assert_int_equal(stats.thread_caches, 0);
    assert_int_equal(stats.peak_in_flight, n * HELD);
    assert_int_equal(stats.gets_bypass, n * HELD / 2);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
    pthread_barrier_destroy(&all_hold);
    pthread_attr_destroy(&small);
}

/* ---- signals ---- */

static atomic_size_t signals;

static void count_signal(int number)
{
    (void)number;
    atomic_fetch_add(&signals, 1);
}

static void signals_begin(void)
{
    const struct itimerval often = {{0, 500}, {0, 500}};
    struct sigaction action = {.sa_handler = count_signal}; /* no SA_RESTART */
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
}

static void signals_end(void)
{
    const struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
    signal(SIGALRM, SIG_IGN); /* one may still be on its way */
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void signals_do_not_end_a_wait(void **state)
{
    enum { WAIT_MS = 60 };
    (void)state;
    test_blocks_t blocks = {0};
    pool = make_pool(&blocks, 1);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    signals_begin();
    do { /* until some came while it waited */
        const size_t before = atomic_load(&signals);
        const uint64_t begin = now_ms();
        assert_null(bufferpool_get_timed(pool, WAIT_MS));
        assert_int_equal(errno, ETIMEDOUT);
        assert_true(now_ms() + 1 >= begin + WAIT_MS); /* the clock counts in whole ones */
        if (atomic_load(&signals) > before + 3)
            break;
    } while (true);
    signals_end();
    bufferpool_put(buf);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

/* ---- statistics at every moment ---- */

enum { WORKERS = 4, CROSSING = 16 };

struct watched {
    bufferpool_t *pool;
    atomic_size_t at_work;
    _Atomic(bufferpool_buf_t *) crossing[CROSSING]; /* got by one, put by another */
    size_t turns;
};

static void hand_on(void *arg, unsigned index)
{
    struct watched *watched = arg;
    test_random_t random = {index};
    for (size_t turn = 0; turn < watched->turns; turn++) {
        bufferpool_buf_t *buf = turn % 3 == 0 ? bufferpool_get_timed(watched->pool, 1) : bufferpool_get(watched->pool);
        if (buf != NULL && test_random_below(&random, 16) == 0)
            thread_check(bufferpool_buf_reserve(buf, 3 * CAPACITY) == 0);
        bufferpool_put(atomic_exchange(&watched->crossing[test_random_below(&random, CROSSING)], buf));
        switch (test_random_below(&random, 256)) {
        case 0:
            (void)bufferpool_trim(watched->pool);
            break;
        case 1:
            bufferpool_thread_flush();
            break;
        case 2:
            (void)bufferpool_reclaim(watched->pool);
            break;
        case 3:
            bufferpool_set_max_live(watched->pool, 2 + test_random_below(&random, 20));
            break;
        default:
            break;
        }
    }
    atomic_fetch_sub(&watched->at_work, 1);
}

static void check_never_less(const bufferpool_stats_t *before, const bufferpool_stats_t *now)
{
#define NEVER_LESS(field) assert_true(now->field >= before->field)
    NEVER_LESS(peak_in_flight);
    NEVER_LESS(gets_thread);
    NEVER_LESS(gets_depot);
    NEVER_LESS(gets_fresh);
    NEVER_LESS(gets_bypass);
    NEVER_LESS(gets_refused);
    NEVER_LESS(drops_oversize);
    NEVER_LESS(drops_bypass);
    NEVER_LESS(drops_over_cap);
    NEVER_LESS(drops_idle_limit);
    NEVER_LESS(grows);
    NEVER_LESS(reclaimed_bytes);
    NEVER_LESS(shrinks);
    NEVER_LESS(stolen);
#undef NEVER_LESS
}

static void statistics_hold_at_every_moment(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct watched watched = {.pool = make_pool(&blocks, 10), .at_work = WORKERS, .turns = test_scale(60000, 1500)};
    test_crew_t *crew = start_threads(WORKERS, hand_on, &watched);
    bufferpool_stats_t before = stats_of(watched.pool);
    size_t readings = 0, kept_less = 0;
    while (atomic_load(&watched.at_work) > 0) {
        const bufferpool_stats_t now = stats_of(watched.pool);
        const size_t live = bufferpool_live(watched.pool);
        const size_t most = atomic_load(&blocks.peak); /* read last: what was there is counted */
        check_never_less(&before, &now);
        assert_true(now.live <= most && live <= most);
        /* what is reserved is in flight, also before its block is made */
        assert_true(now.peak_in_flight <= most + WORKERS && now.thread_caches <= WORKERS + 1);
        assert_true(now.max_live >= 2 && now.max_live < 22 && bufferpool_max_live(watched.pool) < 22);
        kept_less += now.puts_kept < before.puts_kept;
        before = now;
        readings++;
    }
    join_threads(crew);
    print_message("%zu readings; puts_kept, which follows from the rest, was less than before in %zu\n", readings,
                  kept_less);
    size_t held = 0;
    for (size_t i = 0; i < CROSSING; i++)
        held += atomic_load(&watched.crossing[i]) != NULL;
    check_laws(watched.pool, &blocks, held);
    for (size_t i = 0; i < CROSSING; i++)
        bufferpool_put(atomic_load(&watched.crossing[i]));
    check_laws(watched.pool, &blocks, 0);
    destroy_empty(watched.pool, &blocks);
}

/* ---- no keys ---- */

static void get_and_put_some(void *arg, unsigned index)
{
    bufferpool_buf_t *bufs[HELD];
    (void)index;
    for (int turn = 0; turn < 50; turn++) {
        for (size_t i = 0; i < HELD; i++)
            thread_check((bufs[i] = bufferpool_get(arg)) != NULL);
        bufferpool_put_bulk(bufs, HELD);
    }
}

static int child_without_keys(void *arg)
{
    static pthread_key_t keys[PTHREAD_KEYS_MAX];
    size_t n = 0;
    test_blocks_t *blocks = arg;
    while (n < PTHREAD_KEYS_MAX && pthread_key_create(&keys[n], NULL) == 0)
        n++;
    bufferpool_t *own = make_pool(blocks, 0);
    get_and_put_some(own, 0);
    run_threads(3, get_and_put_some, own);
    thread_check(laws_hold(own, blocks, 0));
    thread_check(stats_of(own).thread_caches == 0 && stats_of(own).idle_thread == 0);
    while (n > 0)
        pthread_key_delete(keys[--n]);
    get_and_put_some(own, 0); /* from now on it has a cache */
    thread_check(stats_of(own).thread_caches == 1 && stats_of(own).idle_thread > 0);
    thread_check(laws_hold(own, blocks, 0));
    thread_check(bufferpool_destroy(own) == 0 && atomic_load(&blocks->count) == 0);
    end_child(test_recorded_failure() ? 1 : 0);
}

static void everything_works_without_a_key(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    if (TEST_TSAN)
        skip(); /* no threads after fork */
    assert_int_equal(run_in_child(child_without_keys, &blocks, CHILD_SECONDS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_works_without_a_key), /* the first, while the library has none */
        cmocka_unit_test(a_thousand_threads_have_the_smallest_stack),
        cmocka_unit_test(signals_do_not_end_a_wait),
        cmocka_unit_test(statistics_hold_at_every_moment),
    };
    return cmocka_run_group_tests_name("hostile_threads", tests, NULL, NULL);
}
