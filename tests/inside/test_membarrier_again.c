/* SPDX-License-Identifier: MIT
 *
 * test_membarrier_again.c - the system refuses membarrier(2) for a while
 *
 * The linker's --wrap stands between the library and the system: it counts what the library asks for, refuses it, and
 * forgets that the process was registered, as a restore by CRIU does. The coarse clock is the test's own. After a
 * refusal the library does without for a second. The first steal after that asks again, and then reaches what idles in
 * the caches of other threads, also in a pool that declared pressure over caches that it could not empty.
 */
#include "support/hands.h"

#include "support/blocks.h"

#include "clock.h"
#include "steal.h"

#include <sys/syscall.h>

enum { CAPACITY = 512, CAP = 64, EACH = CAP / HANDS, SECOND_MS = 1000 };
enum { EXPEDITED = 1 << 3, REGISTER = 1 << 4 };

/* ---- the system ---- */

static uint64_t clock_ms = 50000;
static bool refused; /* every call, with EPERM as by a filter */
static bool lost;    /* the registration, until the next one */
static size_t barriers, registrations;
static void (*at_look)(void); /* a thread that waits for an owner looks at the exact clock */

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    if (clock == CLOCK_MONOTONIC && at_look != NULL)
        at_look();
    if (clock != CLOCK_MONOTONIC_COARSE)
        return __real_clock_gettime(clock, now);
    now->tv_sec = (time_t)(clock_ms / 1000);
    now->tv_nsec = (long)(clock_ms % 1000) * 1000000;
    return 0;
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list args;
    va_start(args, number);
    const int command = va_arg(args, int);
    va_end(args);
    if (number != SYS_membarrier)
        abort(); /* nothing else of the library calls it */
    barriers += command == EXPEDITED;
    registrations += command == REGISTER;
    if (refused || (lost && command == EXPEDITED)) {
        errno = EPERM;
        return -1;
    }
    if (command == REGISTER)
        lost = false;
    return __real_syscall(number, command, 0, 0);
}

static size_t asked(void)
{
    return barriers + registrations;
}

/* ---- scenes ---- */

static test_blocks_t blocks;
static bufferpool_t *pool;
static struct hand hands[HANDS];
static bufferpool_buf_t *bufs[2 * CAP];

#define needs_membarrier()                                                                                             \
    do {                                                                                                               \
        (void)state;                                                                                                   \
        if (TEST_TSAN || !test_can_steal())                                                                            \
            skip(); /* real fences there, or nothing to refuse */                                                      \
    } while (0)

static bufferpool_t *pool_with(unsigned flags)
{
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = 2 * EACH * CAPACITY;
    config.max_live = CAP;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER; /* nothing steals but what the test calls */
    config.flags = flags;
    return bufferpool_create(&config);
}

/* All of the cap idles with the hands. */
static void scene_begin(unsigned flags)
{
    memset(&blocks, 0, sizeof blocks);
    clock_ms += SECOND_MS;
    refused = false;
    pool = pool_with(flags);
    assert_non_null(pool);
    hands_begin(hands, pool);
    hands_fill(hands, CAP, 0);
    assert_int_equal(stats_of(pool).idle_thread, CAP);
    barriers = registrations = 0;
}

static void scene_end(void)
{
    hands_end(hands);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

/* Main is refused a steal at the cap, and the pool declares pressure over the caches of the hands. */
static void declare_pressure_over_full_caches(void)
{
    refused = true;
    assert_null(bufferpool_try_get(pool));
    assert_int_equal(load_relaxed(&pool->pressure.state), PRESSURE_ON);
    assert_int_equal(stats_of(pool).idle_thread, CAP);
    assert_int_equal(stats_of(pool).stolen, 0);
    refused = false;
    barriers = registrations = 0;
}

static void get_all_of_the_cap(void)
{
    for (size_t i = 0; i < CAP; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    assert_null(bufferpool_try_get(pool));
    assert_int_equal(stats_of(pool).idle_thread, 0);
    check_laws(pool, &blocks, CAP);
}

/* ---- a refusal ---- */

static void a_second_after_a_refusal_trim_reaches_other_caches_again(void **state)
{
    needs_membarrier();
    scene_begin(0);
    refused = true;
    assert_int_equal(bufferpool_trim(pool), 0);
    assert_null(load_relaxed(&pool->stuck)); /* without pressure nothing is left to be taken */
    refused = false;
    const size_t before = asked();
    clock_ms += SECOND_MS - 1;
    assert_int_equal(bufferpool_trim(pool), 0);
    assert_int_equal(asked(), before);
    clock_ms++;
    assert_int_equal(bufferpool_trim(pool), CAP * CAPACITY);
    assert_int_equal(atomic_load(&blocks.count), 0);
    scene_end();
}

/* As in a process that was restored on a machine that has run for less time. */
static void a_clock_that_went_back_is_no_reason_to_wait(void **state)
{
    needs_membarrier();
    scene_begin(0);
    refused = true;
    assert_int_equal(bufferpool_trim(pool), 0);
    refused = false;
    clock_ms -= 4 * SECOND_MS;
    assert_int_equal(bufferpool_trim(pool), CAP * CAPACITY);
    scene_end();
}

static void a_system_that_goes_on_refusing_is_asked_once_a_second(void **state)
{
    needs_membarrier();
    scene_begin(0);
    declare_pressure_over_full_caches();
    refused = true;
    const size_t before = asked();
    for (unsigned second = 1; second <= 5; second++) {
        clock_ms += SECOND_MS;
        for (unsigned i = 0; i < 10; i++) {
            bufferpool_put(bufferpool_get(pool));
            assert_int_equal(bufferpool_trim(pool), 0);
        }
        assert_int_equal(asked(), before + second);
    }
    assert_int_equal(stats_of(pool).idle_thread, CAP);
    assert_int_equal(stats_of(pool).gets_bypass, 50);
    refused = false;
    scene_end();
}

/* ---- a registration that was lost ---- */

static void a_lost_registration_is_made_anew_within_the_call(void **state)
{
    needs_membarrier();
    scene_begin(0);
    lost = true;
    errno = 0;
    assert_int_equal(bufferpool_trim(pool), CAP * CAPACITY);
    assert_int_equal(errno, 0);
    assert_int_equal(registrations, 1);
    assert_int_equal(barriers, 2);
    assert_true(steal_possible(pool));
    hands_fill(hands, CAP, 0);
    get_all_of_the_cap();
    assert_int_equal(registrations, 1);
    bufferpool_put_bulk(bufs, CAP);
    scene_end();
}

/* ---- pressure over caches that could not be emptied ---- */

enum next_call { NEXT_GET, NEXT_TRY_GET, NEXT_BULK, NEXT_TIMED, NEXT_PUT, NEXT_BYPASS_PUT, NEXT_CALLS };

/* The call of the main thread that comes next. Returns how many buffers main then has. */
static size_t make_next_call(enum next_call next)
{
    switch (next) {
    case NEXT_GET:
        bufs[0] = bufferpool_get(pool);
        return 1;
    case NEXT_TRY_GET:
        bufs[0] = bufferpool_try_get(pool);
        return 1;
    case NEXT_BULK:
        assert_int_equal(bufferpool_get_bulk(pool, bufs, 3), 0);
        return 3;
    case NEXT_TIMED:
        bufs[0] = bufferpool_get_timed(pool, 0);
        return 1;
    default:
        bufferpool_put(bufs[0]);
        return 0;
    }
}

static void the_next_call_after_a_second_reaches_what_idled_under_a_declared_pressure(void **state)
{
    needs_membarrier();
    for (enum next_call next = NEXT_GET; next < NEXT_CALLS; next++) {
        scene_begin(0);
        bufferpool_buf_t *others = NULL;
        if (next == NEXT_PUT) {
            hands[0].want = 1;
            hand_do(&hands[0], hand_get);
            others = hands[0].bufs[--hands[0].n];
        }
        refused = true;
        assert_null(bufferpool_try_get(pool));
        refused = false;
        bufs[0] = others;
        if (next == NEXT_BYPASS_PUT)
            assert_non_null(bufs[0] = bufferpool_get(pool));
        const uint64_t beyond = stats_of(pool).gets_bypass;
        assert_int_equal(stats_of(pool).stolen, 0);
        clock_ms += SECOND_MS;
        const size_t n = make_next_call(next);
        assert_int_equal(stats_of(pool).idle_thread, 0);
        assert_int_equal(stats_of(pool).stolen, next == NEXT_PUT ? CAP - 1 : CAP);
        assert_int_equal(stats_of(pool).gets_bypass, beyond);
        assert_int_equal(load_relaxed(&pool->pressure.state), PRESSURE_ON);
        for (size_t i = 0; i < n; i++)
            assert_non_null(bufs[i]);
        bufferpool_put_bulk(bufs, n);
        get_all_of_the_cap(); /* the verdict that callers have all is true again */
        bufferpool_put_bulk(bufs, CAP);
        scene_end();
    }
}

static void what_another_pool_finds_out_serves_this_pool(void **state)
{
    needs_membarrier();
    scene_begin(0);
    bufferpool_t *other = pool_with(0);
    declare_pressure_over_full_caches();
    clock_ms += SECOND_MS;
    bufferpool_put(bufferpool_get(other));
    (void)bufferpool_trim(other); /* registers; there is nothing to steal */
    assert_int_equal(registrations, 1);
    assert_int_equal(bufferpool_destroy(other), 0);
    get_all_of_the_cap();
    assert_int_equal(registrations, 1);
    bufferpool_put_bulk(bufs, CAP);
    scene_end();
}

static void a_pressure_that_ends_unproven_leaves_no_gate_closed(void **state)
{
    needs_membarrier();
    scene_begin(0);
    declare_pressure_over_full_caches();
    bufferpool_set_max_live(pool, 0);
    assert_int_equal(load_relaxed(&pool->pressure.state), PRESSURE_OFF);
    clock_ms += SECOND_MS;
    bufferpool_put(bufferpool_get(pool));
    for (const struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next)
        assert_true(cache_is_open(c) == load_relaxed(&c->owned) && c->pending == PENDING_NOTHING);
    assert_null(load_relaxed(&pool->stuck));
    bufferpool_set_max_live(pool, CAP);
    get_all_of_the_cap();
    bufferpool_put_bulk(bufs, CAP);
    scene_end();
}

/* The owner went inside before the gate closed, and the barrier comes a second later. */
static void an_owner_that_is_inside_at_the_late_barrier_is_not_disturbed(void **state)
{
    needs_membarrier();
    scene_begin(0);
    struct hand *stalled = &hands[3];
    hand_do(stalled, hand_stall);
    declare_pressure_over_full_caches();
    clock_ms += SECOND_MS;
    for (size_t i = 0; i < CAP - EACH; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    assert_int_equal(cache_idle(stalled->cache), EACH);
    assert_null(bufferpool_try_get(pool));
    hand_do(stalled, hand_unstall);
    for (size_t i = CAP - EACH; i < CAP; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    assert_int_equal(stats_of(pool).gets_bypass, 0);
    bufferpool_put_bulk(bufs, CAP);
    scene_end();
}

/* ---- a refusal in the middle of another call ---- */

static bufferpool_t *refused_pool;

/* Once main has its barrier and waits for an owner, another thread is refused. */
static void be_refused(struct hand *hand)
{
    (void)hand;
    refused = true;
    thread_check(bufferpool_trim(refused_pool) == 0);
    refused = false;
    thread_check(!steal_possible(pool));
}

static void let_another_be_refused(void)
{
    if (barriers == 0)
        return;
    at_look = NULL;
    hand_do(&hands[0], be_refused);
}

static void hand_fill_other(struct hand *hand)
{
    (void)hand;
    bufferpool_put(bufferpool_get(refused_pool));
}

static void a_refusal_elsewhere_declares_no_pressure_over_an_owner_that_is_inside(void **state)
{
    needs_membarrier();
    scene_begin(0);
    refused_pool = pool_with(0);
    hand_do(&hands[1], hand_fill_other);
    struct hand *stalled = &hands[3];
    hand_do(stalled, hand_stall);
    barriers = 0;
    at_look = let_another_be_refused;
    for (size_t i = 0; i < CAP - EACH; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    assert_null(at_look);
    assert_int_equal(load_relaxed(&pool->pressure.state), PRESSURE_ENTERING);
    hand_do(stalled, hand_unstall);
    for (size_t i = CAP - EACH; i < CAP; i++)
        assert_non_null(bufs[i] = bufferpool_get(pool));
    assert_int_equal(stats_of(pool).gets_bypass, 0);
    bufferpool_put_bulk(bufs, CAP);
    assert_int_equal(bufferpool_destroy(refused_pool), 0);
    scene_end();
}

/* ---- BUFFERPOOL_NO_MEMBARRIER ---- */

static void a_pool_that_does_without_never_asks(void **state)
{
    (void)state;
    clock_ms += SECOND_MS;
    bufferpool_t *other = pool_with(0); /* the process can steal, if the system lets it */
    assert_true(steal_possible(other) || !test_can_steal());
    assert_int_equal(bufferpool_destroy(other), 0);
    scene_begin(BUFFERPOOL_NO_MEMBARRIER);
    for (unsigned i = 0; i < 3; i++) {
        assert_null(bufferpool_try_get(pool));
        assert_int_equal(bufferpool_trim(pool), 0);
        (void)bufferpool_reclaim(pool);
        clock_ms += SECOND_MS;
    }
    assert_int_equal(load_relaxed(&pool->pressure.state), PRESSURE_ON);
    assert_int_equal(stats_of(pool).idle_thread, CAP);
    assert_int_equal(stats_of(pool).stolen, 0);
    assert_false(steal_possible(pool));
    assert_null(load_relaxed(&pool->stuck));
    for (unsigned i = 0; i < HANDS; i++) { /* each gives up its cache itself */
        hands[i].want = EACH;
        hand_do(&hands[i], hand_get);
    }
    assert_int_equal(stats_of(pool).gets_bypass, 0);
    hands_do(hands, hand_put);
    assert_int_equal(asked(), 0);
    scene_end();
    assert_int_equal(asked(), 0);
}

int main(void)
{
    test_tell_memcheck_nothing();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_after_a_refusal_trim_reaches_other_caches_again),
        cmocka_unit_test(a_clock_that_went_back_is_no_reason_to_wait),
        cmocka_unit_test(a_system_that_goes_on_refusing_is_asked_once_a_second),
        cmocka_unit_test(a_lost_registration_is_made_anew_within_the_call),
        cmocka_unit_test(the_next_call_after_a_second_reaches_what_idled_under_a_declared_pressure),
        cmocka_unit_test(what_another_pool_finds_out_serves_this_pool),
        cmocka_unit_test(a_pressure_that_ends_unproven_leaves_no_gate_closed),
        cmocka_unit_test(an_owner_that_is_inside_at_the_late_barrier_is_not_disturbed),
        cmocka_unit_test(a_refusal_elsewhere_declares_no_pressure_over_an_owner_that_is_inside),
        cmocka_unit_test(a_pool_that_does_without_never_asks),
    };
    return cmocka_run_group_tests_name("membarrier_again", tests, NULL, NULL);
}
