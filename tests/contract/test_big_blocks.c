/* SPDX-License-Identifier: MIT
 *
 * test_big_blocks.c - big blocks, a tiny cap, many threads, and memory that goes back all the while
 *
 * This load crashed another lock-free pool in production (haproxy#1275): a thread in the middle of a pop reads the link
 * of an object that a second thread has popped and a third has given back to the system. Here sixteen threads share
 * three buffers of 2 MiB, while one more thread trims without pause, so that blocks are unmapped as often as possible.
 * A stale read would be a fault, and a buffer in two hands would have a wrong stamp.
 */
#include "support/laws.h"

enum { THREADS = 16, CAP = 3 };

#define BIG ((size_t)2 * 1024 * 1024)

struct load {
    bufferpool_t *pool;
    size_t turns;
    bool refuse; /* try_get instead of get */
    atomic_size_t running;
    atomic_size_t turns_done;
    atomic_size_t pooled; /* in hands now: only with refuse */
};

static void stamp_ends(bufferpool_buf_t *buf, uint64_t with)
{
    memcpy(buf->data, &with, sizeof with);
    memcpy(buf->data + buf->cap / 2, &with, sizeof with);
    memcpy(buf->data + buf->cap - sizeof with, &with, sizeof with);
}

static bool stamped(const bufferpool_buf_t *buf, uint64_t with)
{
    return memcmp(buf->data, &with, sizeof with) == 0 && memcmp(buf->data + buf->cap / 2, &with, sizeof with) == 0 &&
           memcmp(buf->data + buf->cap - sizeof with, &with, sizeof with) == 0;
}

static void hold_and_let_go(void *arg, unsigned index)
{
    struct load *load = arg;
    if (index == THREADS) {
        while (atomic_load(&load->running) > 0)
            bufferpool_trim(load->pool);
        return;
    }
    size_t done = 0;
    for (size_t turn = 0; turn < load->turns; turn++) {
        bufferpool_buf_t *buf = load->refuse ? bufferpool_try_get(load->pool) : bufferpool_get(load->pool);
        if (buf == NULL) {
            if (!thread_check(load->refuse && errno == EAGAIN))
                break;
            continue;
        }
        if (load->refuse)
            thread_check(atomic_fetch_add(&load->pooled, 1) < CAP);
        const uint64_t mine = (uint64_t)index << 48 | turn;
        thread_check(buf->cap >= BIG && buf->len == 0);
        stamp_ends(buf, mine);
        if (turn % 16 == index && !TEST_TSAN) { /* which does not know mremap, by which large blocks grow */
            buf->len = sizeof mine;
            thread_check(bufferpool_buf_reserve(buf, BIG + BIG / 2) == 0);
            stamp_ends(buf, mine);
        }
        thread_check(stamped(buf, mine));
        if (load->refuse)
            atomic_fetch_sub(&load->pooled, 1);
        bufferpool_put(buf);
        done++;
        if (turn % 64 == 0)
            bufferpool_thread_flush();
    }
    atomic_fetch_add(&load->turns_done, done);
    atomic_fetch_sub(&load->running, 1);
}

static void survives(bool refuse, bool grown_are_kept)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = BIG;
    config.max_capacity = grown_are_kept ? 4 * BIG : BIG;
    config.max_live = CAP;
    config.thread_cache_bytes = 1;
    config.reclaim_interval_ms = 1;
    struct load load = {.pool = bufferpool_create(&config), .turns = test_scale(2000, 60), .refuse = refuse};
    assert_non_null(load.pool);
    atomic_store(&load.running, THREADS);
    run_threads(THREADS + 1, hold_and_let_go, &load);
    const bufferpool_stats_t stats = stats_of(load.pool);
    assert_int_equal(sum_of_gets(&stats), atomic_load(&load.turns_done));
    /* beyond the cap each thread holds one, and its cache may hold another */
    assert_true(stats.peak_in_flight <= (refuse ? CAP : 2 * THREADS));
    assert_true(idle_of(&stats) <= CAP);
    if (!refuse)
        assert_int_equal(stats.gets_refused, 0);
    check_laws(load.pool, NULL, 0);
    assert_int_equal(bufferpool_destroy(load.pool), 0);
}

static void big_blocks_survive_trim_with_bypass(void **state)
{
    (void)state;
    survives(false, false);
    survives(false, true);
}

static void big_blocks_survive_trim_with_refusal(void **state)
{
    (void)state;
    survives(true, false);
    survives(true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(big_blocks_survive_trim_with_bypass),
        cmocka_unit_test(big_blocks_survive_trim_with_refusal),
    };
    return cmocka_run_group_tests_name("big_blocks", tests, NULL, NULL);
}
