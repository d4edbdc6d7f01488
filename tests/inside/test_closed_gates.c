/* SPDX-License-Identifier: MIT
 *
 * test_closed_gates.c - gets and puts at the cap, past closed gates
 *
 * At the cap buffers go from the depot to callers and back without the caches, and buffers beyond the cap are made and
 * freed. live and the counts are exact however often each thread moved buffers: at any time, after the gates opened,
 * after threads ended, and in a child of fork.
 */
#include "support/accounts.h"
#include "support/hands.h"

#include "pressure.h"

#include <unistd.h>

enum { CAPACITY = 128, CAP = 12, BEYOND = 5, CHILD_SECONDS = 60 };

static test_blocks_t blocks;
static bufferpool_t *pool;
static struct hand *hands;
static bufferpool_buf_t *bufs[CAP];

static void begin(unsigned flags)
{
    memset(&blocks, 0, sizeof blocks);
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = (size_t)CAP * CAPACITY;
    config.max_live = CAP;
    config.flags = flags;
    pool = bufferpool_create(&config);
    assert_non_null(pool);
    hands = calloc(HANDS, sizeof *hands); /* new ones, should the last be left behind by a test that failed */
    assert_non_null(hands);
    hands_begin(hands, pool);
}

/* Each get beyond the cap makes a buffer, and each put frees one, for good. */
static void grant_no_tickets(void)
{
    store_relaxed(&pool->pressure.grant_after, UINT32_MAX);
}

static void end(void)
{
    hands_end(hands);
    free(hands);
    check_accounts(pool);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

static bool is_under_pressure(void)
{
    return load_relaxed(&pool->pressure.state) == PRESSURE_ON;
}

/* Main has all of the cap, and each hand a cache with a closed gate. */
static void reach_the_cap(void)
{
    for (unsigned i = 0; i < HANDS; i++) {
        hands[i].want = 1;
        hand_do(&hands[i], hand_use);
    }
    for (size_t i = 0; i < CAP; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    assert_null(bufferpool_try_get(pool));
    assert_true(is_under_pressure());
    check_accounts(pool);
}

#define needs_stealing()                                                                                               \
    do {                                                                                                               \
        (void)state;                                                                                                   \
        if (!test_can_steal())                                                                                         \
            skip();                                                                                                    \
    } while (0)

/* ---- beyond the cap ---- */

static void hand_get_with_errno(struct hand *hand)
{
    errno = 4711;
    hand_get(hand);
    thread_check(errno == 4711);
}

static void hand_put_with_errno(struct hand *hand)
{
    errno = 4711;
    hand_put(hand);
    thread_check(errno == 4711);
}

static atomic_size_t dirty;

static void look_for_bytes(test_blocks_t *from, const unsigned char *block, size_t size)
{
    (void)from;
    for (size_t i = size - CAPACITY; i < size; i++) /* what lies behind the prefix */
        if (block[i] != 0) {
            atomic_fetch_add(&dirty, 1);
            return;
        }
}

static void hand_fill_all(struct hand *hand)
{
    for (size_t i = 0; i < hand->n; i++)
        memset(hand->bufs[i]->data, 0x5e, hand->bufs[i]->cap);
}

/* Each call counts one, is seen by the hooks at once, and leaves nothing behind. */
static void buffers_beyond_the_cap_are_counted_one_by_one(void **state)
{
    static const unsigned flags[] = {0, BUFFERPOOL_ZERO};
    static bufferpool_buf_t *passed[HANDS][BEYOND];
    needs_stealing();
    for (size_t f = 0; f < 2; f++) {
        begin(flags[f]);
        grant_no_tickets();
        reach_the_cap();
        atomic_store(&dirty, 0);
        blocks.on_free = look_for_bytes;
        const bufferpool_stats_t then = stats_of(pool);
        uint64_t n = 0;
        for (unsigned i = 0; i < HANDS; i++) {
            hands[i].want = BEYOND;
            hands[i].grow = i % 4 == 1 ? 3 * CAPACITY : 0;
            hand_do(&hands[i], hand_get_with_errno);
            hand_do(&hands[i], hand_fill_all);
            n += BEYOND;
            const bufferpool_stats_t stats = stats_of(pool);
            assert_int_equal(stats.gets_bypass - then.gets_bypass, n);
            assert_int_equal(stats.bypass_live, n);
            assert_int_equal(atomic_load(&blocks.count), CAP + n);
            check_accounts(pool);
        }
        const size_t frees = atomic_load(&blocks.frees);
        for (unsigned i = 0; i < HANDS; i++) {
            for (size_t k = 0; k < BEYOND; k++) /* to those who put them */
                passed[i][k] = hands[i].bufs[k];
            hands[i].n = 0;
        }
        for (unsigned i = 0; i < HANDS; i++) {
            hands[i].n = BEYOND;
            memcpy(hands[i].bufs, passed[(i + 3) % HANDS], sizeof passed[0]);
        }
        for (unsigned i = 0; i < HANDS; i++) {
            n -= hands[i].n;
            hand_do(&hands[i], hand_put_with_errno);
            const bufferpool_stats_t stats = stats_of(pool);
            assert_int_equal(stats.bypass_live, n);
            assert_int_equal(stats.gets_bypass - then.gets_bypass - (stats.drops_over_cap - then.drops_over_cap), n);
            assert_int_equal(atomic_load(&blocks.count), CAP + n);
            assert_int_equal(stats.live, CAP);
            check_accounts(pool);
        }
        assert_int_equal(n, 0);
        assert_int_equal(atomic_load(&blocks.frees) - frees, HANDS * BEYOND);
        assert_int_equal(atomic_load(&dirty) == 0, flags[f] == BUFFERPOOL_ZERO); /* the look is good for something */
        assert_int_equal(stats_of(pool).gets_thread, then.gets_thread);
        assert_true(is_under_pressure());
        blocks.on_free = NULL;
        bufferpool_put_bulk(bufs, CAP);
        end();
    }
}

static void hands_get_and_put_beyond(void *arg, unsigned index)
{
    (void)index;
    atomic_size_t *gets = arg;
    bufferpool_buf_t *held[BEYOND];
    for (size_t turn = 0; turn < test_scale(3000, 200); turn++) {
        for (size_t i = 0; i < BEYOND; i++) {
            if (!thread_check((held[i] = bufferpool_get(pool)) != NULL))
                abort();
            atomic_fetch_add(gets, 1);
        }
        for (size_t i = 0; i < BEYOND; i++)
            bufferpool_put(held[i]);
    }
}

static void no_buffer_beyond_the_cap_is_missed_with_many_threads(void **state)
{
    atomic_size_t gets = 0;
    needs_stealing();
    begin(0);
    reach_the_cap();
    const bufferpool_stats_t then = stats_of(pool);
    run_threads(6, hands_get_and_put_beyond, &gets);
    const bufferpool_stats_t now = stats_of(pool);
    assert_int_equal(sum_of_gets(&now) - sum_of_gets(&then), atomic_load(&gets));
    assert_int_equal(now.gets_fresh, then.gets_fresh);
    assert_true(now.gets_bypass > then.gets_bypass);
    assert_int_equal(now.bypass_live, 0);
    assert_int_equal(now.live, CAP);
    assert_int_equal(now.idle_thread, 0); /* the threads ended, and their tickets with them */
    assert_int_equal(depot_counts(&pool->depot).tickets, 0);
    assert_int_equal(atomic_load(&blocks.count), CAP + idle_of(&now));
    check_accounts(pool);
    bufferpool_put(bufs[CAP - 1]); /* as soon as callers have fewer than the cap, */
    assert_int_equal(atomic_load(&blocks.count), CAP);
    assert_true(is_under_pressure());
    check_accounts(pool);
    bufferpool_put_bulk(bufs, CAP - 1);
    end();
}

static void put_it(void *arg, unsigned index)
{
    (void)index;
    bufferpool_put(arg);
}

/* By a thread without a cache, and with one whose gate is open. */
static void any_thread_may_put_a_buffer_beyond_the_cap(void **state)
{
    needs_stealing();
    begin(0);
    reach_the_cap();
    bufferpool_buf_t *beyond[3];
    for (int i = 0; i < 3; i++)
        assert_non_null(beyond[i] = bufferpool_get(pool));
    run_threads(1, put_it, beyond[0]);
    assert_int_equal(stats_of(pool).drops_over_cap, 1);
    assert_int_equal(stats_of(pool).bypass_live, 2);
    check_accounts(pool);
    bufferpool_put_bulk(bufs, CAP); /* two of these are freed in its place */
    assert_int_equal(stats_of(pool).drops_over_cap, 3);
    assert_int_equal(stats_of(pool).bypass_live, 0);
    assert_int_equal(bufferpool_live(pool), 2);
    check_accounts(pool);
    bufferpool_set_max_live(pool, 0);
    assert_false(is_under_pressure());
    bufferpool_put(bufferpool_get(pool)); /* opens the gate */
    bufferpool_put(beyond[1]);
    run_threads(1, put_it, beyond[2]);
    assert_int_equal(stats_of(pool).drops_over_cap, 3);
    assert_int_equal(stats_of(pool).drops_bypass, 0);
    assert_int_equal(atomic_load(&blocks.count), CAP);
    end();
}

/* ---- misuse ---- */

static void put_a_bypass_buffer_twice(void *arg)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    expect_in_message("%p", (void *)buf);
    bufferpool_put(buf);
    if (arg != NULL)
        run_threads(1, put_it, buf);
    bufferpool_put(buf);
}

static _Alignas(CACHE_LINE) unsigned char copy[CACHE_LINE];

static void put_a_copy_of_a_bypass_buffer(void *arg)
{
    (void)arg;
    memcpy(copy, bufferpool_get(pool), sizeof copy);
    expect_in_message("%p", (void *)copy);
    bufferpool_put((bufferpool_buf_t *)(void *)copy);
}

static void misuse_of_a_buffer_beyond_the_cap_is_caught(void **state)
{
    needs_stealing();
    begin(0);
    reach_the_cap();
    expect_abort(put_a_bypass_buffer_twice, NULL, "bufferpool_put", "put twice", NULL);
    if (!TEST_TSAN) /* which takes new threads in the child for those of the parent */
        expect_abort(put_a_bypass_buffer_twice, &pool, "bufferpool_put", "put twice", NULL);
    expect_abort(put_a_copy_of_a_bypass_buffer, NULL, "bufferpool_put", "not a buffer of this library", NULL);
    bufferpool_put_bulk(bufs, CAP);
    end();
}

/* ---- past closed gates ---- */

/* One hand gets what another one puts, so that what each has moved goes up or down for ever. */
static void pass_on(size_t turns)
{
    for (size_t turn = 0; turn < turns; turn++) {
        struct hand *from = &hands[turn % (HANDS / 2)], *to = &hands[HANDS / 2 + turn * 3 % (HANDS / 2)];
        from->want = 2;
        hand_do(from, hand_get);
        assert_int_equal(stats_of(pool).live, CAP);
        assert_int_equal(stats_of(pool).bypass_live, 0);
        while (from->n > 0)
            to->bufs[to->n++] = from->bufs[--from->n];
        hand_do(to, hand_put);
        assert_int_equal(bufferpool_live(pool), CAP - 2);
        check_accounts(pool);
    }
}

static uint32_t moved_past_gates(void)
{
    uint32_t ways = 0;
    for (const struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next)
        ways += load_relaxed(&c->moved_past) != 0;
    return ways;
}

static int use_it_in_the_child(void *arg)
{
    const size_t held = *(const size_t *)arg;
    if (bufferpool_live(pool) != held || !accounts_agree(pool) || moved_past_gates() != 0)
        end_child(1);
    for (size_t i = held; i < CAP; i++)
        if ((bufs[i] = bufferpool_try_get(pool)) == NULL || bufferpool_live(pool) != i + 1)
            end_child(2);
    bufferpool_buf_t *beyond = bufferpool_get(pool);
    if (stats_of(pool).bypass_live != 1 || !accounts_agree(pool))
        end_child(3);
    bufferpool_put(beyond);
    bufferpool_put_bulk(bufs, CAP); /* those that the parent holds as well */
    if (bufferpool_live(pool) != 0 || stats_of(pool).bypass_live != 0 || !accounts_agree(pool))
        end_child(4);
    end_child(0);
}

static void live_is_exact_after_moves_past_closed_gates(void **state)
{
    size_t held = CAP - 2;
    needs_stealing();
    begin(0);
    test_blocks_before_fork();
    reach_the_cap();
    bufferpool_put_bulk(bufs + CAP - 2, 2);
    pass_on(100);
    assert_true(moved_past_gates() >= HANDS);
    assert_true(is_under_pressure());
    assert_int_equal(run_in_child(use_it_in_the_child, &held, CHILD_SECONDS), 0);
    for (unsigned i = 0; i < HANDS / 2; i++) { /* threads end, others have their caches */
        hand_end(&hands[i]);
        check_accounts(pool);
        assert_int_equal(bufferpool_live(pool), held);
        hand_begin(&hands[i], pool, i);
    }
    pass_on(50);
    /* half of them open their gates */
    bufferpool_set_max_live(pool, 0);
    assert_false(is_under_pressure());
    for (unsigned i = 0; i < HANDS; i += 2) {
        hands[i].want = 3;
        hand_do(&hands[i], hand_use);
        check_accounts(pool);
        assert_int_equal(bufferpool_live(pool), held);
    }
    assert_true(stats_of(pool).idle_thread > 0);
    bufferpool_set_max_live(pool, CAP);
    assert_int_equal(run_in_child(use_it_in_the_child, &held, CHILD_SECONDS), 0);
    for (size_t i = held; i < CAP; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    assert_null(bufferpool_try_get(pool));
    assert_true(is_under_pressure()); /* again */
    bufferpool_put_bulk(bufs + CAP - 2, 2);
    pass_on(50);
    bufferpool_put_bulk(bufs, held);
    assert_int_equal(bufferpool_live(pool), 0);
    end();
}

/* A thread that only gets opens its gate too, and then has the rest of a magazine in its cache. */
static void a_get_opens_the_gate_once_pressure_has_ended(void **state)
{
    enum { N = 4 };
    needs_stealing();
    begin(0);
    reach_the_cap();
    bufferpool_set_max_live(pool, 0);
    assert_false(is_under_pressure());
    bufferpool_put_bulk(bufs + CAP - N, N);
    bufferpool_thread_flush();
    assert_int_equal(stats_of(pool).idle_depot, N);
    const bufferpool_stats_t then = stats_of(pool);
    hands[2].want = N;
    hand_do(&hands[2], hand_get);
    const bufferpool_stats_t now = stats_of(pool);
    assert_int_equal(now.gets_depot - then.gets_depot, 1);
    assert_int_equal(now.gets_thread - then.gets_thread, N - 1);
    check_accounts(pool);
    hand_do(&hands[2], hand_put);
    bufferpool_put_bulk(bufs, CAP - N);
    end();
}

/* It is that of threads without a cache. Nothing idles there, and no call finds a buffer by its gate. */
static void no_word_matches_the_gate_of_the_shared_cache(void **state)
{
    (void)state;
    begin(0);
    pressure_flush(pool, &pool->shared);
    assert_int_not_equal(load_relaxed(&pool->shared.gate), live_word(pool));
    end();
}

/* ---- from the depot ---- */

/* Of the shut caches none is asked, none is opened, and nobody takes anything over. */
static void past_a_closed_gate_a_get_takes_from_the_depot(void **state)
{
    needs_stealing();
    begin(0);
    reach_the_cap();
    const bufferpool_stats_t then = stats_of(pool);
    uint64_t n = 0;
    for (unsigned i = 0; i < HANDS; i++) {
        for (size_t k = 0; k < 3; k++) {
            bufferpool_put(bufs[CAP - 1]);
            assert_int_equal(stats_of(pool).idle_depot, 1);
            hands[i].want = 1;
            hand_do(&hands[i], hand_get_with_errno);
            hand_do(&hands[i], hand_put_with_errno);
            assert_non_null(bufs[CAP - 1] = bufferpool_try_get(pool));
            n += 2;
            check_accounts(pool);
        }
    }
    const bufferpool_stats_t now = stats_of(pool);
    assert_int_equal(now.gets_depot - then.gets_depot, n);
    assert_int_equal(sum_of_gets(&now) - sum_of_gets(&then), n);
    assert_int_equal(now.puts_kept - then.puts_kept, n);
    assert_int_equal(now.stolen, then.stolen);
    for (const struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next)
        assert_false(cache_is_open(c));
    bufferpool_put_bulk(bufs, CAP);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_beyond_the_cap_are_counted_one_by_one),
        cmocka_unit_test(no_buffer_beyond_the_cap_is_missed_with_many_threads),
        cmocka_unit_test(any_thread_may_put_a_buffer_beyond_the_cap),
        cmocka_unit_test(misuse_of_a_buffer_beyond_the_cap_is_caught),
        cmocka_unit_test(live_is_exact_after_moves_past_closed_gates),
        cmocka_unit_test(a_get_opens_the_gate_once_pressure_has_ended),
        cmocka_unit_test(no_word_matches_the_gate_of_the_shared_cache),
        cmocka_unit_test(past_a_closed_gate_a_get_takes_from_the_depot),
    };
    return cmocka_run_group_tests_name("closed_gates", tests, NULL, NULL);
}
