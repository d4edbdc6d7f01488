/* SPDX-License-Identifier: MIT
 *
 * test_debug_load.c - the laws, the cap and all contents hold under every debug mode, in pairs and all at once
 *
 * Several threads put a mixed load on pools of every kind: get, try_get, get_timed, bulk calls, growth, uses that make
 * a grown buffer shrink, trim, reclaim, flush, a cap that moves, threads that end, fork in the middle. Each load is a
 * child of its own. With an argument the program is one such load, under whatever BUFFERPOOL_DEBUG says.
 */
#include "support/laws.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

enum { POOLS = 7, THREADS = 3, KEPT = 8 };

static bufferpool_t *pools[POOLS];
static test_blocks_t blocks;
static _Atomic(bufferpool_buf_t *) shelf[16];
static size_t turns;

static void make_pools(void)
{
    for (size_t p = 0; p < POOLS; p++) {
        bufferpool_config_t config = p == 1 ? config_with(&blocks) : (bufferpool_config_t)BUFFERPOOL_CONFIG_INIT;
        config.reclaim_interval_ms = p == 4 ? 2 : p == 1 ? BUFFERPOOL_NEVER : 5;
        config.buffer_capacity = p == 3 ? 1 : p == 5 ? (size_t)1 << 20 : 600;
        config.max_capacity = p == 5 ? (size_t)4 << 20 : 20000;
        config.flags = p == 0 ? BUFFERPOOL_ZERO : p == 4 ? BUFFERPOOL_BACKGROUND : p == 6 ? BUFFERPOOL_HUGEPAGES : 0;
        config.max_idle_bytes = p == 2 ? 9000 : 0;
        config.alignment = p == 2 || p == 5 ? 4096 : 0;
        config.max_live = p == 3 || p == 6 ? 0 : 6;
        config.thread_cache_bytes = p == 1 ? 600 : 0;
        pools[p] = bufferpool_create(&config);
        modes_check(pools[p] != NULL);
    }
}

/* Whoever has it writes all of it, so that what two had, or what was held and put, shows. */
static void keep(bufferpool_buf_t **held, bufferpool_buf_t *buf, test_random_t *random)
{
    if (buf == NULL)
        return;
    thread_check(buf->len == 0);
    if (test_random_below(random, 4) == 0)
        (void)bufferpool_buf_reserve(buf, buf->cap + test_random_below(random, 30000));
    const size_t n = buf->cap < 3000 ? buf->cap : 3000;
    test_fill(buf->data, n, (uintptr_t)buf);
    buf->len = n;
    bufferpool_buf_t **to = held;
    while (*to != NULL)
        to++;
    *to = buf;
}

static void give(bufferpool_buf_t *buf, bool little)
{
    if (buf == NULL)
        return;
    thread_check(test_filled(buf->data, buf->len, (uintptr_t)buf));
    if (little)
        buf->len = 0; /* a strike */
    bufferpool_put(buf);
}

static void fork_now(void)
{
    int status = 1;
    const pid_t child = fork();
    if (child == 0) {
        bufferpool_buf_t *bufs[3];
        alarm(60);
        for (size_t p = 0; p < POOLS; p++) {
            const bufferpool_stats_t s = stats_of(pools[p]);
            if (s.live + idle_of(&s) > 1000)
                _exit(3);
            for (int i = 0; i < 4; i++) {
                if (bufferpool_get_bulk(pools[p], bufs, 3) == 0)
                    bufferpool_put_bulk(bufs, 3);
            }
            for (size_t i = 0; i < 16; i++) /* what idles somewhere is there, and as it was left */
                bufs[0] = bufferpool_try_get(pools[p]);
            bufferpool_trim(pools[p]);
            const bufferpool_stats_t after = stats_of(pools[p]);
            if (sum_of_gets(&after) != sum_of_puts(&after) + after.live + after.bypass_live || idle_of(&after) != 0)
                _exit(4);
        }
        _exit(0);
    }
    if (child > 0 && waitpid(child, &status, 0) == child && status != 0)
        fprintf(stderr, "the child of fork ended with %#x\n", (unsigned)status);
    thread_check(child < 0 || status == 0);
}

static void one_turn(bufferpool_buf_t **held, size_t *n, test_random_t *random)
{
    bufferpool_t *pool = pools[test_random_below(random, POOLS)];
    bufferpool_buf_t *bufs[3] = {NULL};
    *n = 0;
    while (held[*n] != NULL)
        ++*n;
    if (*n > KEPT - 4 || (*n > 0 && test_random_below(random, 2) == 0)) {
        give(held[*n - 1], test_random_below(random, 3) != 0);
        held[*n - 1] = NULL;
        return;
    }
    switch (test_random_below(random, 12)) {
    case 0:
        keep(held, bufferpool_try_get(pool), random);
        break;
    case 1:
        keep(held, bufferpool_get_timed(pool, 1), random);
        break;
    case 2:
        if (bufferpool_get_bulk(pool, bufs, 3) == 0)
            for (int i = 0; i < 3; i++)
                keep(held, bufs[i], random);
        break;
    case 3:
        if (test_random_below(random, 4) == 0)
            bufferpool_trim(pool);
        else
            bufferpool_reclaim(pool);
        break;
    case 4:
        bufferpool_thread_flush();
        break;
    case 5:
        if (pool == pools[1])
            bufferpool_set_max_live(pool, 1 + test_random_below(random, 6));
        break;
    case 6:
        if (*n > 0) { /* another thread puts it */
            give(atomic_exchange(&shelf[test_random_below(random, 16)], held[*n - 1]), false);
            held[*n - 1] = NULL;
        }
        break;
    default:
        keep(held, bufferpool_get(pool), random);
        break;
    }
}

static bool forks; /* whether a thread forks now and then */

static void live_on(void *arg, unsigned index)
{
    bufferpool_buf_t *held[KEPT + 1] = {NULL};
    test_random_t random = {*(const uint64_t *)arg * 100 + index};
    size_t n;
    for (size_t turn = 0; turn < turns; turn++) {
        one_turn(held, &n, &random);
        if (forks && index == 0 && turn % (turns / 2) == turns / 4)
            fork_now();
        if (turn % 64 == 0) {
            const bufferpool_stats_t s = stats_of(pools[5]);
            /* the most may have been read before another thread noted it */
            thread_check(s.live <= 6 && s.live + s.bypass_live <= s.peak_in_flight + THREADS);
        }
    }
    for (size_t i = 0; held[i] != NULL; i++)
        give(held[i], true);
}

/* The library's own thread may be about to free a buffer, which counts as neither held nor idle then. */
static void let_the_thread_end(bufferpool_t *pool)
{
    bufferpool_stats_t s;
    bufferpool_trim(pool); /* so that it finds nothing more */
    do {
        sched_yield();
        s = stats_of(pool);
    } while (s.pooled != s.live + s.bypass_live + idle_of(&s));
}

static void load(void *with_forks)
{
    /* the sanitizers' malloc may wait for ever in the child of a fork in the middle of it */
    forks = with_forks != NULL && !TEST_SANITIZED && !test_under_valgrind();
    test_blocks_before_fork();
    make_pools();
    for (uint64_t seed = 1; seed <= 2; seed++) {
        run_threads(THREADS, live_on, &seed);
        if (test_recorded_failure()) /* which run_with_modes tells */
            return;
        size_t out = 0; /* of whichever pool */
        for (size_t i = 0; i < 16; i++) {
            bufferpool_buf_t *buf = atomic_load(&shelf[i]);
            if (seed == 2)
                give(atomic_exchange(&shelf[i], NULL), true);
            else if (buf != NULL)
                out++;
        }
        let_the_thread_end(pools[4]);
        size_t all = 0;
        for (size_t p = 0; p < POOLS; p++) {
            const bufferpool_stats_t s = stats_of(pools[p]);
            const size_t held = (size_t)(s.live + s.bypass_live);
            all += held;
            modes_check(laws_hold(pools[p], p == 1 ? &blocks : NULL, held));
            modes_check(s.max_live == 0 || held + idle_of(&s) <= s.max_live || (s.bypass_live > 0 && idle_of(&s) == 0));
        }
        modes_check(all == out);
    }
    for (size_t p = 0; p < POOLS; p++)
        modes_check(bufferpool_destroy(pools[p]) == 0);
    modes_check(atomic_load(&blocks.count) == 0 && atomic_load(&blocks.errors) == 0);
}

static const char *const words[] = {"poison",  "redzone", "quarantine=5", "nopool",
                                    "holders", "stats",   "fail=7",       "chaos"};
enum { WORDS = sizeof words / sizeof words[0] };

static void expect_quiet(const char *modes, bool with_forks)
{
    const test_outcome_t *outcome = run_with_modes(modes, load, with_forks ? &forks : NULL);
    if (outcome->status != 0 || (outcome->n != 0 && strstr(modes, "stats") == NULL))
        fail_msg("%s: status %d and: %s", modes, outcome->status, outcome->err);
}

static void the_laws_hold_under_each_mode(void **state)
{
    (void)state;
    expect_quiet("", false);
    for (size_t i = 0; i < WORDS; i++)
        expect_quiet(words[i], false);
}

static void the_laws_hold_under_pairs_of_modes_with_forks(void **state)
{
    (void)state;
    char modes[64];
    for (size_t i = 0; i < WORDS; i++) {
        for (size_t j = i + 1; j < WORDS; j++) {
            snprintf(modes, sizeof modes, "%s,%s", words[i], words[j]);
            expect_quiet(modes, true);
        }
    }
}

static void expect_quiet_with_many(bool with_forks)
{
    static const char *const many[] = {
        "poison,redzone,quarantine=5,nopool,holders,stats,fail=7,chaos",
        "poison,redzone,quarantine=100,holders,stats,chaos",
        "poison,redzone,quarantine=1,holders",
        "poison,redzone,holders,nopool,fail=3",
        "poison,redzone,quarantine=6,stats,fail=2,chaos",
    };
    for (size_t i = 0; i < sizeof many / sizeof many[0]; i++)
        expect_quiet(many[i], with_forks);
}

static void the_laws_hold_under_all_modes_at_once(void **state)
{
    (void)state;
    expect_quiet_with_many(false);
}

static void the_laws_hold_under_all_modes_at_once_with_forks(void **state)
{
    (void)state;
    expect_quiet_with_many(true);
}

int main(int argc, char **argv)
{
    (void)argv;
    turns = test_scale(1000, 150);
    if (argc > 1) {
        load(NULL);
        return test_recorded_failure();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_laws_hold_under_each_mode),
        cmocka_unit_test(the_laws_hold_under_pairs_of_modes_with_forks),
        cmocka_unit_test(the_laws_hold_under_all_modes_at_once),
        cmocka_unit_test(the_laws_hold_under_all_modes_at_once_with_forks),
    };
    return cmocka_run_group_tests_name("debug_load", tests, NULL, NULL);
}
