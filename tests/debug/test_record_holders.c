/* SPDX-License-Identifier: MIT
 *
 * test_record_holders.c - the recording of holders, switched on and off while the process runs
 *
 * Each scenario is a child of its own (run_with_modes).
 */
#include "support/holders_table.h"

#include <sys/wait.h>

static bufferpool_t *make_pool(size_t cap, unsigned flags)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "ledger";
    config.buffer_capacity = 1000;
    config.max_live = cap;
    config.flags = flags;
    bufferpool_t *pool = bufferpool_create(&config);
    modes_check(pool != NULL);
    return pool;
}

static void record(int on)
{
    errno = 77;
    modes_check(bufferpool_record_holders(on) == 0 && errno == 77);
}

/* ---- on, off, on again ---- */

static void switch_it(void *arg)
{
    (void)arg;
    bufferpool_t *pool = make_pool(0, 0);
    bufferpool_buf_t *buf = first_place(pool);
    record(0);
    modes_check(!is_recorded() && is(sum_of(table(), NOT_RECORDED), 1, 1, 1000));
    for (int turn = 0; turn < 3; turn++) {
        record(1);
        record(-2);
        modes_check(is_recorded() && is(sum_of(table(), FROM_BEFORE), 1, 1, 1000));
        record(0);
        record(0);
        modes_check(!is_recorded() && is(sum_of(table(), NOT_RECORDED), 1, 1, 1000));
    }
    record(1);
    bufferpool_put(buf);
    buf = first_place(pool);
    modes_check(adds_up(pool, NULL, table(), 1) && is(sum_of(table(), BY_FIRST), 1, 1, 1000));
    record(0);
    bufferpool_put(buf);
}

static void recording_is_off_until_it_is_switched_on(void **state)
{
    (void)state;
    assert_int_equal(run_with_modes(NULL, switch_it, NULL)->n, 0);
    expect_outcome(0, NULL);
    run_with_modes("stats,fail=1000", switch_it, NULL);
    expect_outcome(0, NULL);
}

enum { BEFORE = 40, CAP = 30 };

/* Some of them are grown, and some are beyond the cap. */
static void hold_before(bufferpool_t *pool, bufferpool_buf_t **bufs)
{
    for (size_t i = 0; i < BEFORE; i++) {
        bufs[i] = i % 2 != 0 ? first_place(pool) : second_place(pool);
        modes_check(bufs[i] != NULL && (i % 5 != 0 || bufferpool_buf_reserve(bufs[i], 3000 + 100 * i) == 0));
    }
}

static void *hold_in_thread(void *bufs)
{
    ((bufferpool_buf_t **)bufs)[0] = second_place((bufferpool_t *)((void **)bufs)[1]);
    return NULL;
}

static void hold_from_before(void *arg)
{
    (void)arg;
    bufferpool_t *pool = make_pool(CAP, 0);
    bufferpool_buf_t *bufs[BEFORE], *later[4];
    pthread_t thread;
    hold_before(pool, bufs);
    record(1);
    const char *text = table();
    modes_check(adds_up(pool, NULL, text, BEFORE) &&
                is(sum_of(text, "ledger: "), 1, BEFORE, (size_t)stats_of(pool).live_bytes));
    modes_check(sum_of(text, FROM_BEFORE).lines == 1);

    later[0] = first_place(pool);
    later[1] = first_place(pool);
    void *in_thread[2] = {NULL, pool};
    modes_check(pthread_create(&thread, NULL, hold_in_thread, in_thread) == 0 && pthread_join(thread, NULL) == 0);
    later[2] = in_thread[0];
    modes_check(bufferpool_buf_reserve(later[1], 5000) == 0);
    text = table();
    modes_check(adds_up(pool, NULL, text, BEFORE + 3) && sum_of(text, FROM_BEFORE).buffers == BEFORE);
    modes_check(is(sum_of(text, BY_FIRST), 1, 2, 1000 + later[1]->cap) && is(sum_of(text, BY_SECOND), 1, 1, 1000));
    modes_check(strstr(text, BY_FIRST) < strstr(text, FROM_BEFORE)); /* that one is the last */

    modes_check(bufferpool_buf_reserve(bufs[1], 7000) == 0 && bufferpool_buf_reserve(bufs[5], 90000) == 0);
    modes_check(bufferpool_buf_shrink(bufs[10], 0) == 0 && adds_up(pool, NULL, table(), BEFORE + 3));
    for (size_t i = 0; i < BEFORE; i++) {
        bufferpool_put(bufs[i]);
        text = table();
        modes_check(adds_up(pool, NULL, text, BEFORE + 2 - i) && sum_of(text, FROM_BEFORE).buffers == BEFORE - 1 - i);
    }
    modes_check(sum_of(text, FROM_BEFORE).lines == 0);
    bufferpool_put_bulk(later, 3);
    modes_check(adds_up(pool, NULL, table(), 0) && bufferpool_destroy(pool) == 0);
    record(0);
}

static void buffers_from_before_have_a_line_of_their_own_and_all_lines_add_up(void **state)
{
    (void)state;
    run_with_modes(NULL, hold_from_before, NULL);
    expect_outcome(0, NULL);
    assert_int_equal(test_last_outcome()->n, 0);
}

/* A buffer that was recorded changes while nothing is recorded, in ways that a record of it would not know. */
static void change_in_between(void *arg)
{
    bufferpool_t *pool = make_pool(0, *(const unsigned *)arg);
    for (int turn = 0; turn < 3; turn++) {
        record(1);
        bufferpool_buf_t *grown = first_place(pool), *other = first_place(pool), *gone = first_place(pool);
        modes_check(grown != NULL && other != NULL && gone != NULL && sum_of(table(), BY_FIRST).buffers == 3);
        record(0);
        modes_check(bufferpool_buf_reserve(grown, 100000) == 0);
        bufferpool_put(other);
        bufferpool_put(gone);
        bufferpool_trim(pool); /* another block for the same descriptor */
        bufferpool_buf_t *fresh[2] = {second_place(pool), second_place(pool)};
        modes_check(bufferpool_buf_reserve(fresh[1], 4000) == 0);
        record(1);
        const char *text = table();
        modes_check(adds_up(pool, NULL, text, 3) && sum_of(text, FROM_BEFORE).buffers == 3);
        bufferpool_put(grown);
        bufferpool_put_bulk(fresh, 2);
        modes_check(adds_up(pool, NULL, table(), 0));
        grown = second_place(pool);
        modes_check(is(sum_of(table(), BY_SECOND), 1, 1, grown->cap) && adds_up(pool, NULL, table(), 1));
        bufferpool_put(grown);
        bufferpool_trim(pool);
        record(0);
    }
    modes_check(bufferpool_destroy(pool) == 0);
}

static void a_second_recording_knows_nothing_of_the_first(void **state)
{
    (void)state;
    static const unsigned flags[] = {0, BUFFERPOOL_ZERO, BUFFERPOOL_NO_MEMBARRIER};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        unsigned these = flags[i];
        assert_int_equal(run_with_modes(NULL, change_in_between, &these)->n, 0);
        expect_outcome(0, NULL);
    }
}

static void put_twice_in_the_second(void *arg)
{
    bufferpool_t *pool = make_pool(0, 0);
    record(1);
    bufferpool_put(first_place(pool));
    record(0);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (arg != NULL)
        record(1);
    bufferpool_put(buf);
    bufferpool_put(buf);
}

static void a_report_names_only_calls_of_this_recording(void **state)
{
    (void)state;
    run_with_modes(NULL, put_twice_in_the_second, NULL);
    expect_outcome(128 + SIGABRT, "put twice (pool ledger)\n", NULL);
    assert_null(strstr(test_last_outcome()->err, "  got by"));
    assert_null(strstr(test_last_outcome()->err, "  put by"));
    int recording;
    run_with_modes(NULL, put_twice_in_the_second, &recording);
    expect_outcome(128 + SIGABRT, "put twice (pool ledger)\n", "  put by ", NULL);
    assert_null(strstr(test_last_outcome()->err, "  got by"));
}

/* ---- with the environment ---- */

static void switch_off(void *arg)
{
    bufferpool_t *pool = make_pool(0, 0);
    bufferpool_buf_t *buf = first_place(pool);
    modes_check(is_recorded() && sum_of(table(), BY_FIRST).buffers == 1);
    record(0);
    modes_check(is_recorded() == (arg != NULL) && sum_of(table(), BY_FIRST).buffers == (arg != NULL));
    record(1);
    modes_check(is_recorded() && sum_of(table(), arg != NULL ? BY_FIRST : FROM_BEFORE).buffers == 1);
    record(0);
    unsigned char *stale = buf->data;
    bufferpool_put(buf);
    test_smash(stale + 3, 1, 1);
    bufferpool_put(first_place(pool));
}

static void holders_of_the_environment_can_be_switched_off_and_on(void **state)
{
    (void)state;
    assert_int_equal(run_with_modes("holders", switch_off, NULL)->n, 0);
    expect_outcome(0, NULL);
}

static void other_modes_stay_as_they_are(void **state)
{
    int poisoned;
    (void)state;
    run_with_modes("poison,holders", switch_off, &poisoned);
    expect_report("written after it was put: 1 byte from data[3] on: 01 (pool ledger)\n", NULL);
    run_with_modes("poison", switch_off, &poisoned);
    expect_report("written after it was put: 1 byte from data[3] on: 01 (pool ledger)\n", NULL);
}

static void switch_first(void *arg)
{
    record(*(const int *)arg);
    bufferpool_t *pool = make_pool(0, 0);
    bufferpool_buf_t *buf = first_place(pool);
    modes_check(sum_of(table(), BY_FIRST).buffers == (size_t) * (const int *)arg);
    unsigned char *stale = buf->data;
    bufferpool_put(buf);
    test_smash(stale + 3, 1, 1);
    bufferpool_put(first_place(pool));
}

static void switch_and_end(void *arg)
{
    (void)arg;
    record(1);
}

/* No call on the library came before. */
static void the_first_call_reads_the_environment(void **state)
{
    (void)state;
    for (int on = 0; on <= 1; on++) {
        run_with_modes("nonsense", switch_first, &on);
        expect_outcome(0, "'nonsense' is not known", NULL);
    }
    run_with_modes("nonsense", switch_and_end, NULL);
    expect_outcome(0, "'nonsense' is not known", NULL);
    int on = 1;
    run_with_modes("poison", switch_first, &on);
    expect_report("written after it was put: 1 byte from data[3] on: 01 (pool ledger)\n", NULL);
}

static void end_with(void *arg)
{
    bufferpool_t *pool = make_pool(0, 0);
    modes_check(first_place(pool) != NULL);
    record(1);
    modes_check(second_place(pool) != NULL);
    record(*(const int *)arg);
}

static void the_table_is_written_at_exit_if_recording_is_on_then(void **state)
{
    (void)state;
    int on = 1;
    run_with_modes(NULL, end_with, &on);
    expect_outcome(0, "libbufferpool: held at exit\n", BY_SECOND, FROM_BEFORE, NULL);
    for (on = 0; on <= 1; on++) {
        assert_int_equal(run_with_modes(NULL, end_with, &on)->n != 0, on != 0);
        run_with_modes("holders", end_with, &on);
        assert_int_equal(test_last_outcome()->n != 0, on != 0);
    }
}

/* ---- with other threads ---- */

enum { THREADS = 8, HOLDS = 12 };

struct worker {
    bufferpool_buf_t *bufs[HOLDS];
    size_t n, of_first; /* buffers that it holds */
};

static bufferpool_t *shared_pool;
static struct worker workers[THREADS];
static pthread_barrier_t at_rest;
static atomic_bool stop;

/* Each thread gets at one place alone, so a record of another caller shows. Some buffers go to another thread. */
static bufferpool_buf_t *get_at_own_place(unsigned index)
{
    return index % 2 != 0 ? first_place(shared_pool) : second_place(shared_pool);
}

static void turn_over(struct worker *worker, unsigned index, test_random_t *random)
{
    for (size_t i = test_scale(60, 20); i > 0; i--) {
        if (worker->n < HOLDS && test_random_below(random, 2) != 0) {
            bufferpool_buf_t *buf = get_at_own_place(index);
            thread_check(buf != NULL && (i % 7 != 0 || bufferpool_buf_reserve(buf, 1500 + 10 * i) == 0));
            worker->bufs[worker->n++] = buf;
        } else if (worker->n > 0) {
            bufferpool_put(worker->bufs[--worker->n]);
        }
        if (i % 20 == 0)
            bufferpool_put(bufferpool_get(NULL));
    }
}

static void work(void *arg, unsigned index)
{
    test_random_t random = {index + 1};
    (void)arg;
    for (;;) {
        pthread_barrier_wait(&at_rest);
        if (atomic_load(&stop))
            return;
        turn_over(&workers[index], index, &random);
        pthread_barrier_wait(&at_rest);
    }
}

static void *switch_often(void *turns)
{
    for (size_t i = *(const size_t *)turns; i > 0; i--) {
        thread_check(bufferpool_record_holders(i % 2 != 0) == 0);
        bufferpool_t *pool = make_pool(0, 0); /* pools come and go */
        bufferpool_put(bufferpool_get(pool));
        thread_check(bufferpool_destroy(pool) == 0);
    }
    return NULL;
}

/* No thread is in a call. No caller is listed with more buffers than it holds. */
static void look_at_rest(void)
{
    size_t held = 0, of_place[2] = {0, 0};
    for (unsigned i = 0; i < THREADS; i++) {
        held += workers[i].n;
        of_place[i % 2] += workers[i].n;
    }
    const char *text = table();
    modes_check(is_recorded() && adds_up(shared_pool, NULL, text, held));
    const size_t of_first = sum_of(text, BY_FIRST).buffers, of_second = sum_of(text, BY_SECOND).buffers;
    modes_check(of_first <= of_place[1] && of_second <= of_place[0]);
    modes_check(of_first + of_second + sum_of(text, FROM_BEFORE).buffers + sum_of(text, NOT_RECORDED).buffers == held);
}

static void switch_while_others_work(void *arg)
{
    shared_pool = make_pool(*(const size_t *)arg, 0);
    pthread_barrier_init(&at_rest, NULL, THREADS + 1);
    test_crew_t *crew = start_threads(THREADS, work, NULL);
    for (size_t round = test_scale(300, 40); round > 0; round--) {
        pthread_t switchers[2];
        size_t turns[2] = {5,
                           6 * (round % 2)}; /* of two threads that switch at once, the one that ends later decides */
        pthread_barrier_wait(&at_rest);
        for (int i = 0; i < 2; i++)
            modes_check(pthread_create(&switchers[i], NULL, switch_often, &turns[i]) == 0);
        pthread_barrier_wait(&at_rest);
        for (int i = 0; i < 2; i++)
            pthread_join(switchers[i], NULL);
        if (round % 3 == 0) /* otherwise some records stay valid, if this one is on */
            record(0);
        record(1);
        look_at_rest();
    }
    atomic_store(&stop, true);
    pthread_barrier_wait(&at_rest);
    join_threads(crew);
    for (unsigned i = 0; i < THREADS; i++)
        bufferpool_put_bulk(workers[i].bufs, workers[i].n);
    modes_check(adds_up(shared_pool, NULL, table(), 0) && bufferpool_destroy(shared_pool) == 0);
    record(0);
}

static void recording_may_be_switched_beside_any_call(void **state)
{
    (void)state;
    static const size_t caps[] = {0, 20, THREADS * HOLDS};
    for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++) {
        size_t cap = caps[i];
        assert_int_equal(run_with_modes(NULL, switch_while_others_work, &cap)->n, 0);
        expect_outcome(0, NULL);
    }
}

static void get_and_wait(void *arg, unsigned index)
{
    (void)arg;
    bufferpool_buf_t *bufs[3] = {get_at_own_place(index), get_at_own_place(index), get_at_own_place(index)};
    bufferpool_put(bufs[0]); /* it idles in the thread's cache */
    bufferpool_put(bufs[1]);
    pthread_barrier_wait(&at_rest); /* recording begins */
    pthread_barrier_wait(&at_rest);
    bufs[0] = get_at_own_place(index);
    pthread_barrier_wait(&at_rest); /* and ends */
    pthread_barrier_wait(&at_rest);
    bufs[1] = get_at_own_place(index);
    bufferpool_put(bufs[0]);
    pthread_barrier_wait(&at_rest); /* and begins again */
    pthread_barrier_wait(&at_rest);
    bufferpool_put(bufs[2]);
    bufs[0] = get_at_own_place(index);
    pthread_barrier_wait(&at_rest);
    pthread_barrier_wait(&at_rest);
    bufferpool_put(bufs[0]);
    bufferpool_put(bufs[1]);
}

static void rest_and(int on)
{
    pthread_barrier_wait(&at_rest);
    record(on);
    pthread_barrier_wait(&at_rest);
}

static void switch_between_calls(void *arg)
{
    shared_pool = make_pool(0, *(const unsigned *)arg);
    pthread_barrier_init(&at_rest, NULL, THREADS + 1);
    test_crew_t *crew = start_threads(THREADS, get_and_wait, NULL);
    rest_and(1);
    pthread_barrier_wait(&at_rest);
    const char *text = table();
    modes_check(adds_up(shared_pool, NULL, text, (size_t)2 * THREADS) && sum_of(text, FROM_BEFORE).buffers == THREADS);
    modes_check(is(sum_of(text, BY_FIRST), 1, THREADS / 2, 1000 * (THREADS / 2)) &&
                is(sum_of(text, BY_SECOND), 1, THREADS / 2, 1000 * (THREADS / 2)));
    record(0);
    pthread_barrier_wait(&at_rest);
    rest_and(1);
    pthread_barrier_wait(&at_rest);
    text = table();
    modes_check(adds_up(shared_pool, NULL, text, (size_t)2 * THREADS) && sum_of(text, FROM_BEFORE).buffers == THREADS);
    modes_check(sum_of(text, BY_FIRST).buffers == THREADS / 2 && sum_of(text, BY_SECOND).buffers == THREADS / 2);
    pthread_barrier_wait(&at_rest);
    join_threads(crew);
    modes_check(adds_up(shared_pool, NULL, table(), 0) && bufferpool_destroy(shared_pool) == 0);
    record(0);
}

static void the_next_call_of_each_thread_goes_by_the_switch(void **state)
{
    (void)state;
    static const unsigned flags[] = {0, BUFFERPOOL_NO_MEMBARRIER, BUFFERPOOL_ZERO};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        unsigned these = flags[i];
        assert_int_equal(run_with_modes(NULL, switch_between_calls, &these)->n, 0);
        expect_outcome(0, NULL);
    }
}

/* ---- fork ---- */

static void check_child(bufferpool_t *pool, bufferpool_buf_t *buf, bool on)
{
    modes_check(is_recorded() == on && adds_up(pool, NULL, table(), 2));
    modes_check(sum_of(table(), BY_FIRST).buffers == on && sum_of(table(), FROM_BEFORE).buffers == on);
    bufferpool_put(buf);
    buf = second_place(pool);
    modes_check(sum_of(table(), BY_SECOND).buffers == on && adds_up(pool, NULL, table(), 2));
    record(!on);
    modes_check(is_recorded() != on && sum_of(table(), FROM_BEFORE).buffers == (on ? 0 : 2));
    bufferpool_put(buf);
    modes_check(adds_up(pool, NULL, table(), 1));
    _exit(0);
}

static void fork_between(void *arg)
{
    bufferpool_t *pool = make_pool(0, 0);
    (void)arg;
    bufferpool_buf_t *before = first_place(pool);
    record(1);
    bufferpool_buf_t *buf = first_place(pool);
    (void)table();
    for (int on = 1; on >= 0; on--) {
        int status;
        record(on);
        const pid_t child = fork();
        modes_check(child >= 0);
        if (child == 0)
            check_child(pool, buf, on != 0);
        modes_check(waitpid(child, &status, 0) == child && status == 0);
        modes_check(is_recorded() == (on != 0) && adds_up(pool, NULL, table(), 2));
    }
    bufferpool_put(buf);
    bufferpool_put(before);
}

static void a_child_records_as_its_parent_did(void **state)
{
    (void)state;
    run_with_modes(NULL, fork_between, NULL);
    expect_outcome(0, NULL);
}

static void *switch_until_told(void *arg)
{
    (void)arg;
    for (int on = 1; !atomic_load(&stop); on = !on)
        thread_check(bufferpool_record_holders(on) == 0);
    return NULL;
}

/* The child can switch, whatever another thread of the parent was about. */
static void fork_while_another_switches(void *arg)
{
    bufferpool_t *pool = make_pool(0, 0);
    pthread_t thread;
    (void)arg;
    bufferpool_buf_t *buf = first_place(pool);
    (void)table();
    modes_check(pthread_create(&thread, NULL, switch_until_told, NULL) == 0);
    for (size_t i = test_scale(200, 20); i > 0; i--) {
        int status;
        const pid_t child = fork();
        modes_check(child >= 0);
        if (child == 0) {
            record(0);
            record(1);
            modes_check(is(sum_of(table(), FROM_BEFORE), 1, 1, 1000));
            bufferpool_put(buf);
            modes_check(first_place(pool) != NULL && is(sum_of(table(), BY_FIRST), 1, 1, 1000));
            _exit(0);
        }
        modes_check(waitpid(child, &status, 0) == child && status == 0);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    record(0);
    bufferpool_put(buf);
}

static void a_child_forked_during_a_switch_works(void **state)
{
    (void)state;
    run_with_modes(NULL, fork_while_another_switches, NULL);
    expect_outcome(0, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recording_is_off_until_it_is_switched_on),
        cmocka_unit_test(buffers_from_before_have_a_line_of_their_own_and_all_lines_add_up),
        cmocka_unit_test(a_second_recording_knows_nothing_of_the_first),
        cmocka_unit_test(a_report_names_only_calls_of_this_recording),
        cmocka_unit_test(holders_of_the_environment_can_be_switched_off_and_on),
        cmocka_unit_test(other_modes_stay_as_they_are),
        cmocka_unit_test(the_first_call_reads_the_environment),
        cmocka_unit_test(the_table_is_written_at_exit_if_recording_is_on_then),
        cmocka_unit_test(recording_may_be_switched_beside_any_call),
        cmocka_unit_test(the_next_call_of_each_thread_goes_by_the_switch),
        cmocka_unit_test(a_child_records_as_its_parent_did),
        cmocka_unit_test(a_child_forked_during_a_switch_works),
    };
    return cmocka_run_group_tests_name("record_holders", tests, NULL, NULL);
}
