/* SPDX-License-Identifier: MIT
 *
 * test_recording_steps.c - a call is stopped at each of its steps, and recording is switched meanwhile; and the switch
 * is stopped at each of its steps, while other calls come
 *
 * The first thread gets at first_place alone, the other one at second_place. The test makes each call again and again,
 * and stops it before its first atomic operation, its second, and so on. Wherever that was, no buffer is listed for
 * a caller that does not hold it, all lines add up, and no put reports misuse.
 */
#include "support/blocks.h"
#include "support/hands.h"
#include "support/holders_table.h"

#include "debug/modes.h"
#include "lock.h"

#include <sys/wait.h>

enum { CAPACITY = 256, CAP = 12, GROWN = 2 * CAPACITY, NEVER = INT_MAX };

/* ---- stopping ---- */

static bufferpool_t *pool;
static test_blocks_t blocks;
static struct hand other;
static bool on; /* what the other switches to */

static _Thread_local int steps_left = NEVER;
static _Thread_local bool stopped;
static void (*when_stopped)(void);
static bool acted;
static int put_off; /* for so many steps */

/* Which locks the stopped thread must not have. Where it has one, the stop is put off. */
static enum { NEEDS_ALL, NEEDS_POOL, NEEDS_FORK } needs;

static bool may_act(void)
{
    if (needs == NEEDS_POOL)
        return pool_is_unlocked(pool);
    return locks_held == 0 && (needs == NEEDS_FORK || (pool_is_unlocked(pool) && pool_is_unlocked(&pool_default)));
}

void a_step(void)
{
    if (steps_left == NEVER || stopped || steps_left > 0) {
        steps_left -= steps_left != NEVER && !stopped;
        return;
    }
    stopped = true; /* what follows is no part of the call */
    const int saved_errno = errno;
    if (may_act()) {
        steps_left = NEVER;
        acted = true;
        when_stopped();
    } else {
        put_off++;
    }
    errno = saved_errno;
    stopped = false;
}

static _Thread_local bool tells_when_it_waits;
static sem_t waits_or_is_through;

/* Locks are steps too: what lies between two of them has no atomic operation. */
int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    a_step();
    if (tells_when_it_waits) {
        if (pthread_mutex_trylock(mutex) == 0)
            return 0;
        tells_when_it_waits = false;
        sem_post(&waits_or_is_through);
    }
    return __real_pthread_mutex_lock(mutex);
}

int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    const int error = __real_pthread_mutex_unlock(mutex);
    a_step();
    return error;
}

/* ---- what the other does ---- */

static void switches(struct hand *hand)
{
    (void)hand;
    thread_check(bufferpool_record_holders(on) == 0);
}

static void gets(struct hand *hand, bufferpool_buf_t *(*place)(bufferpool_t *), size_t n)
{
    for (size_t i = 0; i < n; i++)
        thread_check((hand->bufs[hand->n++] = place(hand->pool)) != NULL);
}

/* All that idle come into its hands, one of them grows, and all go back to where others find them. */
static void uses(struct hand *hand)
{
    gets(hand, second_place, 4);
    thread_check(bufferpool_buf_reserve(hand->bufs[0], GROWN) == 0);
    hand_put(hand);
    bufferpool_thread_flush();
}

static void switches_and_uses(struct hand *hand)
{
    switches(hand);
    uses(hand);
}

static void switches_and_frees(struct hand *hand)
{
    switches(hand);
    uses(hand);
    (void)bufferpool_trim(hand->pool);
}

static void switches_back_and_forth(struct hand *hand)
{
    switches(hand);
    uses(hand);
    on = !on;
    switches(hand);
    uses(hand);
    on = !on;
    switches(hand);
}

/* Has three in its cache. The next get is slow, and what comes afterwards may be fast. What it keeps it got at
 * third_place. */
bufferpool_buf_t *third_place(bufferpool_t *of);
PLACE bufferpool_buf_t *third_place(bufferpool_t *of)
{
    bufferpool_buf_t *buf = bufferpool_get(of);
    __asm__ volatile("" ::: "memory");
    return buf;
}

static void uses_and_keeps(struct hand *hand)
{
    gets(hand, second_place, 5);
    hand_put(hand);
    gets(hand, third_place, 5);
}

/* ---- what the first thread does ---- */

static bufferpool_buf_t *held[4 * CAP];
static size_t holds;

static void get_one(void)
{
    assert_non_null(held[holds] = first_place(pool));
    holds++;
}

static void get_many(void)
{
    assert_int_equal(bufferpool_get_bulk(pool, held + holds, 3), 0);
    holds += 3;
}

static void get_all(void)
{
    while (holds < CAP)
        get_one();
}

static void put_one(void)
{
    bufferpool_put(held[--holds]);
}

static void put_all(void)
{
    bufferpool_put_bulk(held, holds);
    holds = 0;
}

static void grow_one(void)
{
    assert_int_equal(bufferpool_buf_reserve(held[0], GROWN), 0);
}

static void shrink_one(void)
{
    assert_int_equal(bufferpool_buf_shrink(held[holds - 1], 0), 0);
}

static void put_two(void)
{
    holds -= 2;
    bufferpool_put_bulk(held + holds, 2);
}

static void flush(void)
{
    bufferpool_thread_flush();
}

static void trim(void)
{
    (void)bufferpool_trim(pool);
}

static void nothing(void)
{
}

/* The first of the two is not stopped. */
static void (*const calls[][2])(void) = {
    {nothing, get_one},  {flush, get_one},      {trim, get_one},    {get_all, get_one},
    {nothing, get_many}, {nothing, put_one},    {get_all, put_one}, {nothing, put_two},
    {nothing, grow_one}, {nothing, shrink_one}, {nothing, flush},   {nothing, trim},
};

static void call_switch(void)
{
    assert_int_equal(bufferpool_record_holders(on), 0);
}

static void (*const switch_it[2])(void) = {nothing, call_switch};

/* ---- the scene ---- */

static void get_and_leave_two(struct hand *hand)
{
    gets(hand, second_place, 3);
    hand_put(hand);
}

/* Both threads have buffers in their caches; the first one holds some, the last of them grown. If recording is on, some
 * are recorded and some are from before. */
static void begin(bool recording, unsigned flags)
{
    memset(&blocks, 0, sizeof blocks);
    bufferpool_config_t config = config_capped(&blocks, CAPACITY, CAP);
    config.name = "ledger";
    config.flags = flags;
    assert_int_equal(bufferpool_record_holders(0), 0);
    assert_non_null(pool = bufferpool_create(&config));
    other.pool = pool;
    other.n = holds = 0;
    hand_do(&other, get_and_leave_two);
    for (int i = 0; i < 6; i++)
        get_one();
    for (int i = 0; i < 3; i++) /* three are from before, and the coldest that idles is not used afterwards */
        put_one();
    assert_int_equal(bufferpool_record_holders(recording), 0);
    hand_do(&other, get_and_leave_two);
    get_one();
    get_one();
    assert_int_equal(bufferpool_buf_reserve(held[holds - 1], GROWN), 0);
    put_one();
    put_one();
    get_one();
    get_one(); /* the grown one first or last, as it idled */
    (void)table();
}

/* The gates that are open are as the mode wants them, and under pressure only those with tickets are open. */
static bool gates_are_right(bool recording)
{
    const uintptr_t open = recording ? gate_slow(live_word(pool)) : live_word(pool);
    const bool pressure = load_relaxed(&pool->pressure.state) == PRESSURE_ON;
    for (const struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next)
        if (cache_is_open(c) && (load_relaxed(&c->gate) != open || (pressure && !cache_has_tickets(c))))
            return false;
    return true;
}

/* Nobody is at work. `thirds`: how many buffers were got at third_place. */
static void check(size_t thirds)
{
    const bool recording = modes_have(MODE_HOLDERS);
    const char *text = table();
    assert_true(is_recorded() == recording && gates_are_right(recording) && !modes_have(MODE_GATES));
    assert_true(adds_up(pool, &blocks, text, holds + thirds));
    assert_int_equal(sum_of(text, BY_SECOND).buffers, 0);
    assert_true(sum_of(text, "ledger: third_place").buffers <= thirds);
}

static void end(void)
{
    check(other.n);
    hand_do(&other, hand_put);
    put_all();
    check(0);
    hand_do(&other, hand_flush);
    get_many();
    assert_true(sum_of(table(), "ledger: test_recording_steps+").buffers == (modes_have(MODE_HOLDERS) ? 3 : 0));
    put_all();
    hand_do(&other, uses);
    (void)bufferpool_trim(pool);
    check(0);
    if (test_recorded_failure())
        run_threads(1, hand_nothing, NULL); /* tells it */
    destroy_empty(pool, &blocks);
}

/* Returns whether the call got that far. */
static bool stop_at(void (*const call[2])(void), int *stop, bool recording, unsigned flags)
{
    begin(recording, flags);
    call[0]();
    on = !recording;
    acted = false;
    put_off = 0;
    steps_left = *stop;
    call[1]();
    steps_left = NEVER;
    *stop += 1 + put_off;
    return acted;
}

/* ---- the tests ---- */

static void (*what_other_does)(struct hand *);

static void let_the_other_act(void)
{
    hand_do(&other, what_other_does);
}

static void recording_may_be_switched_at_any_step_of_a_call(void **state)
{
    static void (*const others[])(struct hand *) = {switches_and_uses, switches_and_frees, switches_back_and_forth};
    (void)state;
    when_stopped = let_the_other_act;
    needs = NEEDS_ALL;
    for (size_t n = 0; n < 2 * (sizeof others / sizeof others[0]); n++) {
        what_other_does = others[n / 2];
        for (size_t c = 0; c < sizeof calls / sizeof calls[0]; c++) {
            int stop = 0;
            for (bool reached = true; reached;) {
                reached = stop_at(calls[c], &stop, n % 2 != 0, 0);
                end();
            }
            assert_true(stop > 2); /* there were some */
        }
    }
}

static void look(void)
{
    const char *text = table();
    assert_int_equal(sum_of(text, FROM_BEFORE).buffers, 3);
    assert_int_equal(sum_of(text, BY_SECOND).buffers, 0);
}

static void a_buffer_that_is_just_being_handed_out_is_not_listed_as_older(void **state)
{
    (void)state;
    when_stopped = look;
    needs = NEEDS_ALL;
    for (size_t c = 0; c < sizeof calls / sizeof calls[0]; c++) {
        int stop = 0;
        for (bool reached = calls[c][1] == get_one || calls[c][1] == get_many; reached;) {
            reached = stop_at(calls[c], &stop, true, 0);
            end();
        }
    }
}

static void calls_may_come_at_any_step_of_the_switch(void **state)
{
    (void)state;
    when_stopped = let_the_other_act;
    for (size_t n = 0; n < 8; n++) {
        what_other_does = n < 4 ? uses : uses_and_keeps;
        needs = n < 4 ? NEEDS_ALL : NEEDS_POOL;
        int stop = 0;
        for (bool reached = true; reached;) {
            reached = stop_at(switch_it, &stop, n % 2 != 0, n % 4 < 2 ? 0 : BUFFERPOOL_NO_MEMBARRIER);
            end();
        }
        assert_true(stop > 10);
    }
}

static bool had_to_wait;

static void switches_back_and_tells(struct hand *hand)
{
    tells_when_it_waits = true;
    switches(hand);
    on = !on;
    switches(hand);
    had_to_wait = !tells_when_it_waits;
    if (tells_when_it_waits)
        sem_post(&waits_or_is_through);
    tells_when_it_waits = false;
}

static void let_another_switch(void)
{
    hand_start(&other, switches_back_and_tells);
    sem_wait_for_sure(&waits_or_is_through);
}

static void two_threads_may_switch_at_once(void **state)
{
    (void)state;
    when_stopped = let_another_switch;
    sem_init(&waits_or_is_through, 0, 0);
    needs = NEEDS_ALL;
    int waits = 0;
    for (int recording = 0; recording <= 1; recording++) {
        bool reached = true;
        for (int stop = 0; reached;) {
            reached = stop_at(switch_it, &stop, recording != 0, 0);
            if (reached) {
                hand_finish(&other);
                waits += had_to_wait;
                assert_true(!had_to_wait || modes_have(MODE_HOLDERS) == (recording != 0)); /* as the later left it */
            }
            end();
        }
    }
    assert_true(waits > 4);
    sem_destroy(&waits_or_is_through);
}

static bufferpool_t *new_pool;
static struct hand newcomer;

static void leave_one(struct hand *hand)
{
    bufferpool_put(second_place(hand->pool));
}

static void let_a_pool_and_a_thread_begin(void)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    assert_non_null(new_pool = bufferpool_create(&config));
    hand_begin(&newcomer, new_pool, 1);
    hand_do(&newcomer, leave_one);
    newcomer.pool = pool;
    hand_do(&newcomer, leave_one);
}

static void pools_and_threads_may_begin_at_any_step_of_the_switch(void **state)
{
    (void)state;
    when_stopped = let_a_pool_and_a_thread_begin;
    needs = NEEDS_ALL;
    for (int recording = 0; recording <= 1; recording++) {
        bool reached = true;
        for (int stop = 0; reached;) {
            reached = stop_at(switch_it, &stop, recording != 0, 0);
            if (reached) {
                bufferpool_t *scenes = pool;
                pool = new_pool;
                assert_true(gates_are_right(recording == 0));
                pool = scenes;
                check(0);
                hand_end(&newcomer);
                assert_int_equal(bufferpool_destroy(new_pool), 0);
            }
            end();
        }
    }
}

static void use_as_a_child(void)
{
    const bool recording = modes_have(MODE_HOLDERS);
    check(0);
    get_one();
    put_one();
    const struct cache *own = tls_cache_find(pool->index);
    modes_check(own->pool == pool && gates_are_right(recording) && !modes_have(MODE_GATES));
    check(0);
    assert_int_equal(bufferpool_record_holders(!recording), 0);
    get_one();
    modes_check(sum_of(table(), BY_FIRST).buffers == (recording ? 0 : 1));
    check(0);
    put_all();
    check(0);
    _exit(0);
}

static void let_a_child_be_forked(void)
{
    int status;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        use_as_a_child();
    assert_true(waitpid(child, &status, 0) == child && status == 0);
}

static void a_child_forked_at_any_step_of_the_switch_works(void **state)
{
    (void)state;
    when_stopped = let_a_child_be_forked;
    needs = NEEDS_FORK;
    for (int recording = 0; recording <= 1; recording++) {
        bool reached = true;
        for (int stop = 0; reached;) {
            reached = stop_at(switch_it, &stop, recording != 0, 0);
            end();
        }
    }
}

static int begin_the_other(void **state)
{
    (void)state;
    hand_begin(&other, NULL, 0);
    return 0;
}

static int end_the_other(void **state)
{
    (void)state;
    hand_end(&other);
    return bufferpool_record_holders(0);
}

int main(void)
{
    test_tell_memcheck_nothing();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recording_may_be_switched_at_any_step_of_a_call),
        cmocka_unit_test(a_buffer_that_is_just_being_handed_out_is_not_listed_as_older),
        cmocka_unit_test(calls_may_come_at_any_step_of_the_switch),
        cmocka_unit_test(two_threads_may_switch_at_once),
        cmocka_unit_test(pools_and_threads_may_begin_at_any_step_of_the_switch),
        cmocka_unit_test(a_child_forked_at_any_step_of_the_switch_works),
    };
    return cmocka_run_group_tests_name("recording_steps", tests, begin_the_other, end_the_other);
}
