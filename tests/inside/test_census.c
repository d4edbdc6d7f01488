/* SPDX-License-Identifier: MIT
 *
 * test_census.c - how many buffers exist while 24 threads swing around the cap
 *
 * The allocator's hooks count what exists, and the threads count what they hold, both in one word, so that each look is
 * at one moment. Three things must hold. A buffer is made beyond the cap, and a try_get is refused, only if callers
 * held as many as the cap at a moment of that call. Whenever no call is under way, callers hold the cap, or no more
 * exist. When all is over, every account is exact.
 *
 * A get waits for calls that are moving buffers, but not for ever. Here it does: the clock that it looks at stands
 * still, and each look gives the processor away. So nothing in this test depends on how threads are scheduled.
 */
#include "support/accounts.h"

#include "steal.h"

#include <sched.h>

enum { THREADS = 24, HOLDS = 6, BULK = 3, CAP = 40, LOW_CAP = 20, CAPACITY = 128 };

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    if (clock != CLOCK_MONOTONIC)
        return __real_clock_gettime(clock, now);
    *now = (struct timespec){1000, 0};
    sched_yield();
    return 0;
}

/* ---- the census ---- */

/* What exists, what callers hold for certain, what may be in the hands of calls, calls under way, and how often any of
 * the last three changed. */
#define EXIST       UINT64_C(1)
#define HELD        (UINT64_C(1) << 10)
#define IN_HAND     (UINT64_C(1) << 20)
#define CALL        (UINT64_C(1) << 30)
#define CHANGE      (UINT64_C(1) << 40)
#define OF(w, unit) ((size_t)((w) / (unit)) & 1023)

static _Atomic(uint64_t) census;
static _Atomic(uint64_t) last_full; /* the last change after which callers may have had the cap */
static bufferpool_t *pool;
static bool cap_moves;
static atomic_size_t exact, excused, beyond;

/* Without the buffer that the call in question is about to get. */
static bool is_full(uint64_t w)
{
    return OF(w, HELD) + OF(w, IN_HAND) >= CAP + 1;
}

static void note_full(uint64_t w)
{
    uint64_t last = atomic_load(&last_full);
    while (is_full(w) && last < w / CHANGE && !atomic_compare_exchange_weak(&last_full, &last, w / CHANGE))
        ;
}

static _Thread_local uint64_t began; /* the change with which this thread's call began */

/* A call that takes `gives` buffers from its caller, or may hand out as many as `gets`. */
static void call_begins(uint64_t gives, uint64_t gets)
{
    const uint64_t by = CALL + CHANGE + (gives + gets) * IN_HAND - gives * HELD;
    const uint64_t w = atomic_fetch_add(&census, by) + by;
    began = w / CHANGE;
    note_full(w);
}

static void call_ends(uint64_t in_hand, uint64_t got)
{
    uint64_t w = atomic_load(&census), next;
    bool rest;
    size_t cap;
    do { /* if it does not change meanwhile, no other call came between */
        rest = steal_has_rest(pool);
        cap = bufferpool_max_live(pool);
        next = w + CHANGE - CALL - in_hand * IN_HAND + got * HELD;
    } while (!atomic_compare_exchange_weak(&census, &w, next));
    if (OF(next, CALL) != 0)
        return;
    atomic_fetch_add(rest ? &excused : &exact, 1); /* the next call takes that */
    thread_check(rest || OF(next, EXIST) <= cap || OF(next, HELD) >= cap);
}

static bool callers_had_the_cap(void)
{
    return cap_moves || atomic_load(&last_full) >= began;
}

static void *alloc_counted(size_t size, size_t align, void *ctx)
{
    void *block = test_blocks_alloc(size, align, ctx);
    if (block != NULL && OF(atomic_fetch_add(&census, EXIST), EXIST) >= CAP) {
        thread_check(callers_had_the_cap());
        atomic_fetch_add(&beyond, 1);
    }
    return block;
}

static void free_counted(void *block, size_t size, void *ctx)
{
    atomic_fetch_sub(&census, EXIST);
    test_blocks_free(block, size, ctx);
}

/* ---- the calls ---- */

struct caller {
    bufferpool_buf_t *bufs[HOLDS + BULK];
    size_t n;
    test_random_t random;
};

static void get(struct caller *me)
{
    call_begins(0, 1);
    me->bufs[me->n] = bufferpool_get(pool);
    thread_check(me->bufs[me->n++] != NULL);
    call_ends(1, 1);
}

static void try_get(struct caller *me)
{
    call_begins(0, 1);
    bufferpool_buf_t *buf = bufferpool_try_get(pool);
    if (buf != NULL)
        me->bufs[me->n++] = buf;
    else
        thread_check(callers_had_the_cap());
    call_ends(1, buf != NULL);
}

static void put(struct caller *me)
{
    call_begins(1, 0);
    bufferpool_put(me->bufs[--me->n]);
    call_ends(1, 0);
}

static void get_bulk(struct caller *me)
{
    call_begins(0, BULK);
    thread_check(bufferpool_get_bulk(pool, me->bufs + me->n, BULK) == 0);
    me->n += BULK;
    call_ends(BULK, BULK);
}

static void put_bulk(struct caller *me, size_t n)
{
    call_begins(n, 0);
    bufferpool_put_bulk(me->bufs + me->n - n, n);
    me->n -= n;
    call_ends(n, 0);
}

/* One of those that take tickets back. */
static void disturb(struct caller *me)
{
    call_begins(0, 0);
    switch (test_random_below(&me->random, cap_moves ? 5 : 3)) {
    case 0:
        (void)bufferpool_trim(pool);
        break;
    case 1:
        (void)bufferpool_reclaim(pool);
        break;
    case 2:
        bufferpool_thread_flush();
        break;
    case 3:
        bufferpool_set_max_live(pool, LOW_CAP);
        break;
    default:
        bufferpool_set_max_live(pool, CAP);
    }
    call_ends(0, 0);
}

static void any_call(struct caller *me, size_t most)
{
    const size_t what = test_random_below(&me->random, 100);
    if (what == 0)
        disturb(me);
    else if (me->n > most || (me->n > 0 && what < 45))
        put_bulk(me, what % 8 == 1 ? me->n : 1);
    else if (me->n > 0 && what < 60)
        put(me);
    else if (me->n == most)
        return;
    else if (what < 66)
        get_bulk(me);
    else if (what < 75)
        try_get(me);
    else
        get(me);
}

struct load {
    size_t turns;
    pthread_barrier_t together;
};

/* Waves: all want many, then all want few. */
static void swing(void *arg, unsigned index)
{
    struct load *load = arg;
    struct caller me = {.random = {index + 1}};
    for (size_t turn = 0; turn < load->turns; turn++) {
        const size_t wave = turn / 100 % 4, most = wave == 0 ? HOLDS : wave == 1 ? 3 : wave == 2 ? 2 : 1;
        if (turn % THREADS == index) /* after a short overload it is doubled */
            store_relaxed(&pool->pressure.grant_after, 2);
        any_call(&me, most);
        sched_yield(); /* here and not in a call */
    }
    while (me.n > 1)
        put(&me);
    pthread_barrier_wait(&load->together);
    if (index == 0)
        thread_check(accounts_add_up(pool));
    pthread_barrier_wait(&load->together);
    while (me.n > 0)
        put(&me);
}

static void swing_around_the_cap(bool moves, unsigned flags, size_t max_idle_bytes)
{
    test_blocks_t blocks = {0};
    if (!test_can_steal())
        skip();
    bufferpool_config_t config = config_with(&blocks);
    config.alloc = alloc_counted;
    config.free = free_counted;
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = (size_t)16 * CAPACITY;
    config.max_live = CAP;
    config.max_idle_bytes = max_idle_bytes;
    config.flags = flags;
    atomic_store(&census, 0);
    atomic_store(&last_full, 0);
    atomic_store(&exact, 0);
    atomic_store(&excused, 0);
    atomic_store(&beyond, 0);
    cap_moves = moves;
    pool = bufferpool_create(&config);
    assert_non_null(pool);
    struct load load = {.turns = test_scale(4000, 200)};
    pthread_barrier_init(&load.together, NULL, THREADS);
    run_threads(THREADS, swing, &load);
    pthread_barrier_destroy(&load.together);
    assert_true(atomic_load(&beyond) > 0);
    assert_true(atomic_load(&exact) > 0);
    check_accounts(pool);
    assert_true(atomic_load(&blocks.count) <= bufferpool_max_live(pool));
    assert_int_equal(depot_counts(&pool->depot).tickets, 0);
    assert_int_equal(OF(atomic_load(&census), EXIST), atomic_load(&blocks.count));
    assert_int_equal(atomic_load(&census) % CHANGE / HELD, 0);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

static void a_buffer_is_made_beyond_the_cap_only_while_callers_have_it(void **state)
{
    (void)state;
    swing_around_the_cap(false, 0, 0);
}

static void a_wiped_buffer_is_made_beyond_the_cap_only_while_callers_have_it(void **state)
{
    (void)state;
    swing_around_the_cap(false, BUFFERPOOL_ZERO, 0);
}

static void a_limit_of_idle_bytes_lets_none_be_made_too_early(void **state)
{
    (void)state;
    swing_around_the_cap(false, 0, (size_t)CAP / 2 * CAPACITY);
}

static void no_more_exist_than_a_cap_that_moves_while_callers_have_less(void **state)
{
    (void)state;
    swing_around_the_cap(true, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_is_made_beyond_the_cap_only_while_callers_have_it),
        cmocka_unit_test(a_wiped_buffer_is_made_beyond_the_cap_only_while_callers_have_it),
        cmocka_unit_test(a_limit_of_idle_bytes_lets_none_be_made_too_early),
        cmocka_unit_test(no_more_exist_than_a_cap_that_moves_while_callers_have_less),
    };
    return cmocka_run_group_tests_name("census", tests, NULL, NULL);
}
