/* SPDX-License-Identifier: MIT
 *
 * test_async.c - waiters of event loops are served in turn, and the notifier's file descriptor says when one is ready
 *
 * get_async has put its waiter into the queue when it returns, so these tests need no thread to be asleep. Where
 * threads wait too, a test looks into the queue until they are there.
 */
#include "support/hands.h"
#include "support/laws.h"

#include "support/inside.h"

#include "notifier.h"

#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { CAPACITY = 512, SENTINEL = 4242, CHILD_SECONDS = 60 };

static bool is_readable(const bufferpool_notifier_t *notifier)
{
    struct pollfd fd = {.fd = bufferpool_notifier_fd(notifier), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

/* A pool of `cap` buffers, all of which the test holds, and a notifier. */
struct scene {
    test_blocks_t blocks;
    bufferpool_t *pool;
    bufferpool_notifier_t *notifier;
    bufferpool_buf_t *bufs[16];
    size_t cap;
};

static void begin(struct scene *s, size_t cap)
{
    memset(s, 0, sizeof *s);
    s->cap = cap;
    const bufferpool_config_t config = config_capped(&s->blocks, CAPACITY, cap);
    assert_non_null(s->pool = bufferpool_create(&config));
    assert_non_null(s->notifier = bufferpool_notifier_create());
    for (size_t i = 0; i < cap; i++)
        assert_non_null(s->bufs[i] = bufferpool_try_get(s->pool));
}

/* All buffers are idle: as many as the cap allows can be had, and no more. */
static void end(struct scene *s)
{
    assert_false(is_readable(s->notifier));
    assert_null(bufferpool_notifier_next(s->notifier));
    check_laws(s->pool, &s->blocks, 0);
    for (size_t i = 0; i < s->cap; i++)
        assert_non_null(s->bufs[i] = bufferpool_try_get(s->pool));
    assert_null(bufferpool_try_get(s->pool));
    bufferpool_put_bulk(s->bufs, s->cap);
    assert_int_equal(bufferpool_notifier_destroy(s->notifier), 0);
    destroy_empty(s->pool, &s->blocks);
}

static void wait_for_buffer(const struct scene *s, bufferpool_waiter_t *waiter)
{
    errno = 0;
    assert_null(bufferpool_get_async(s->pool, waiter, s->notifier));
    assert_int_equal(errno, EINPROGRESS);
}

static bufferpool_buf_t *next_is(const struct scene *s, bufferpool_waiter_t *waiter)
{
    assert_true(is_readable(s->notifier));
    errno = SENTINEL;
    assert_ptr_equal(bufferpool_notifier_next(s->notifier), waiter);
    assert_int_equal(errno, SENTINEL);
    return waiter->buf;
}

/* ---- one loop ---- */

static void below_the_cap_a_buffer_comes_at_once(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, 1);
    bufferpool_waiter_t waiter = {0};
    bufferpool_put(s.bufs[0]);
    errno = SENTINEL;
    bufferpool_buf_t *buf = bufferpool_get_async(s.pool, &waiter, s.notifier);
    assert_non_null(buf);
    assert_int_equal(errno, SENTINEL);
    bufferpool_put(buf);
    end(&s);
}

static void a_put_makes_the_waiter_ready(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, 1);
    bufferpool_waiter_t waiter = {.user = &s};
    wait_for_buffer(&s, &waiter);
    assert_false(is_readable(s.notifier));
    assert_null(bufferpool_notifier_next(s.notifier));
    bufferpool_put(s.bufs[0]);
    assert_int_equal(bufferpool_live(s.pool), 1); /* it counts as held already */
    assert_null(bufferpool_try_get(s.pool));
    bufferpool_buf_t *buf = next_is(&s, &waiter);
    assert_non_null(buf);
    assert_int_equal(waiter.error, 0);
    assert_ptr_equal(waiter.user, &s);
    assert_int_equal(buf->len, 0);
    assert_false(is_readable(s.notifier));
    bufferpool_put(buf);
    end(&s);
}

static void a_waiter_can_be_used_again_and_again(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, 1);
    bufferpool_waiter_t waiter = {0};
    for (int i = 0; i < 100; i++) {
        wait_for_buffer(&s, &waiter);
        bufferpool_put(s.bufs[0]);
        assert_non_null(s.bufs[0] = next_is(&s, &waiter));
    }
    bufferpool_put(s.bufs[0]);
    end(&s);
}

static void waiters_are_served_in_the_order_of_arrival(void **state)
{
    (void)state;
    enum { WAITERS = 8 };
    struct scene s;
    begin(&s, 1);
    bufferpool_waiter_t waiter[WAITERS] = {0};
    for (int i = 0; i < WAITERS; i++)
        wait_for_buffer(&s, &waiter[i]);
    for (int i = 0; i < WAITERS; i++) {
        bufferpool_put(s.bufs[0]);
        assert_non_null(s.bufs[0] = next_is(&s, &waiter[i]));
    }
    bufferpool_put(s.bufs[0]);
    end(&s);
}

/* A raised cap serves with rights to make a buffer. */
static void a_raised_cap_serves_waiters(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, 1);
    bufferpool_waiter_t waiter[2] = {0};
    wait_for_buffer(&s, &waiter[0]);
    wait_for_buffer(&s, &waiter[1]);
    bufferpool_set_max_live(s.pool, 2);
    bufferpool_buf_t *buf = next_is(&s, &waiter[0]);
    assert_non_null(buf);
    assert_false(is_readable(s.notifier));
    bufferpool_put(buf);
    assert_non_null(buf = next_is(&s, &waiter[1]));
    bufferpool_put(buf);
    bufferpool_put(s.bufs[0]);
    bufferpool_set_max_live(s.pool, 1);
    end(&s);
}

/* The descriptor is written once, however many waiters become ready, and a loop may read it itself. */
static void many_ready_waiters_cost_one_write(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, 4);
    bufferpool_waiter_t waiter[4] = {0};
    for (int i = 0; i < 4; i++)
        wait_for_buffer(&s, &waiter[i]);
    for (int i = 0; i < 4; i++)
        bufferpool_put(s.bufs[i]);
    uint64_t count = 0;
    assert_int_equal(read(bufferpool_notifier_fd(s.notifier), &count, sizeof count), sizeof count);
    assert_int_equal(count, 1);
    for (int i = 0; i < 4; i++) {
        assert_ptr_equal(bufferpool_notifier_next(s.notifier), &waiter[i]);
        assert_non_null(waiter[i].buf);
        bufferpool_put(waiter[i].buf);
    }
    end(&s);
}

static _Atomic(pid_t) popping;

static void *pop_next(void *notifier)
{
    atomic_store(&popping, gettid());
    return notifier_pop(notifier);
}

static bool sleeps(pid_t tid)
{
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        (void)!fscanf(file, "%*d (%*[^)]) %c", &state);
        fclose(file);
    }
    return state == 'S';
}

/* As in a close, or where a trim gives several buffers to the queue: the loop has taken the first waiter already. */
static void a_call_may_make_a_waiter_ready_while_the_loop_waits_for_its_write(void **state)
{
    (void)state;
    bufferpool_notifier_t *notifier = bufferpool_notifier_create();
    assert_non_null(notifier);
    struct waiter waiters[2] = {{.notifier = notifier}, {.notifier = notifier}};
    assert_true(notifier_push(&waiters[0]));
    assert_ptr_equal(notifier_pop(notifier), &waiters[0]);
    pthread_t loop;
    atomic_store(&popping, 0);
    assert_int_equal(pthread_create(&loop, NULL, pop_next, notifier), 0);
    while (atomic_load(&popping) == 0 || !sleeps(atomic_load(&popping)))
        sched_yield();
    assert_int_equal(pthread_mutex_trylock(&notifier->lock), 0);
    pthread_mutex_unlock(&notifier->lock);
    assert_true(notifier_push(&waiters[1]));
    notifier_ring(notifier);
    notifier_ring(notifier);
    void *popped;
    assert_int_equal(pthread_join(loop, &popped), 0);
    assert_ptr_equal(popped, &waiters[1]);
    assert_false(is_readable(notifier));
    assert_null(notifier_pop(notifier));
    assert_int_equal(bufferpool_notifier_destroy(notifier), 0);
}

static void one_notifier_serves_several_pools(void **state)
{
    (void)state;
    struct scene a, b;
    begin(&a, 1);
    begin(&b, 1);
    bufferpool_waiter_t waiter[2] = {0};
    wait_for_buffer(&a, &waiter[0]);
    assert_null(bufferpool_get_async(b.pool, &waiter[1], a.notifier));
    assert_int_equal(errno, EINPROGRESS);
    bufferpool_put(b.bufs[0]);
    bufferpool_put(a.bufs[0]);
    bufferpool_buf_t *of_b = next_is(&a, &waiter[1]), *of_a = next_is(&a, &waiter[0]);
    bufferpool_put(of_a);
    bufferpool_put(of_b);
    end(&a);
    end(&b);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, 1);
    bufferpool_waiter_t waiter = {0};
    assert_null(bufferpool_get_async(s.pool, NULL, s.notifier));
    assert_int_equal(errno, EINVAL);
    assert_null(bufferpool_get_async(s.pool, &waiter, NULL));
    assert_int_equal(errno, EINVAL);
    wait_for_buffer(&s, &waiter);
    assert_null(bufferpool_get_async(s.pool, &waiter, s.notifier));
    assert_int_equal(errno, EBUSY);
    assert_int_equal(bufferpool_notifier_destroy(s.notifier), EBUSY);
    assert_int_equal(bufferpool_notifier_destroy(NULL), EINVAL);
    assert_int_equal(bufferpool_notifier_fd(NULL), -1);
    assert_null(bufferpool_notifier_next(NULL));
    bufferpool_put(s.bufs[0]);
    assert_null(bufferpool_get_async(s.pool, &waiter, s.notifier)); /* ready */
    assert_int_equal(errno, EBUSY);
    assert_int_equal(bufferpool_notifier_destroy(s.notifier), EBUSY);
    assert_int_equal(bufferpool_destroy(s.pool), EBUSY);
    bufferpool_put(next_is(&s, &waiter));
    end(&s);
}

/* Without a cap that could be reached the pool has nobody waiting; with a waiter it cannot be destroyed. */
static void a_pool_with_a_waiter_that_may_make_a_buffer_is_not_destroyed(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, 1);
    bufferpool_waiter_t waiter = {0};
    wait_for_buffer(&s, &waiter);
    assert_int_equal(bufferpool_buf_reserve(s.bufs[0], 9 * CAPACITY), 0); /* too large to stay */
    bufferpool_put(s.bufs[0]);
    assert_int_equal(bufferpool_live(s.pool), 0);
    assert_int_equal(bufferpool_destroy(s.pool), EBUSY);
    bufferpool_put(next_is(&s, &waiter));
    end(&s);
}

/* ---- no memory ---- */

static void without_memory_the_waiter_gets_ENOMEM_and_the_next_the_room(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, 1);
    bufferpool_waiter_t waiter[2] = {0};
    wait_for_buffer(&s, &waiter[0]);
    wait_for_buffer(&s, &waiter[1]);
    assert_int_equal(bufferpool_buf_reserve(s.bufs[0], 9 * CAPACITY), 0);
    bufferpool_put(s.bufs[0]);
    test_blocks_fail(&s.blocks, 0, 1);
    assert_null(next_is(&s, &waiter[0]));
    assert_int_equal(waiter[0].error, ENOMEM);
    bufferpool_buf_t *buf = next_is(&s, &waiter[1]);
    assert_non_null(buf);
    bufferpool_put(buf);
    end(&s);
}

/* ---- cancel ---- */

static void a_cancelled_waiter_is_passed_over(void **state)
{
    (void)state;
    struct scene s;
    for (int which = 0; which < 3; which++) {
        begin(&s, 1);
        bufferpool_waiter_t waiter[3] = {0};
        for (int i = 0; i < 3; i++)
            wait_for_buffer(&s, &waiter[i]);
        errno = SENTINEL;
        bufferpool_cancel(&waiter[which]);
        assert_int_equal(errno, SENTINEL);
        bufferpool_cancel(&waiter[which]); /* no effect */
        for (int i = 0; i < 3; i++) {
            if (i == which)
                continue;
            bufferpool_put(s.bufs[0]);
            assert_non_null(s.bufs[0] = next_is(&s, &waiter[i]));
        }
        bufferpool_put(s.bufs[0]);
        end(&s);
    }
}

static void what_a_cancelled_waiter_was_given_goes_to_the_next(void **state)
{
    (void)state;
    struct scene s;
    for (int room = 0; room < 2; room++) {
        begin(&s, 1);
        bufferpool_waiter_t waiter[2] = {0};
        wait_for_buffer(&s, &waiter[0]);
        wait_for_buffer(&s, &waiter[1]);
        if (room)
            assert_int_equal(bufferpool_buf_reserve(s.bufs[0], 9 * CAPACITY), 0);
        bufferpool_put(s.bufs[0]);
        bufferpool_cancel(&waiter[0]);
        bufferpool_buf_t *buf = next_is(&s, &waiter[1]);
        assert_non_null(buf);
        wait_for_buffer(&s, &waiter[0]);
        bufferpool_put(buf);
        bufferpool_cancel(&waiter[0]); /* nobody waits: it is idle again */
        end(&s);
    }
}

static void a_waiter_that_does_not_wait_cannot_be_cancelled(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, 1);
    bufferpool_waiter_t waiter = {0};
    bufferpool_cancel(NULL);
    bufferpool_cancel(&waiter);
    wait_for_buffer(&s, &waiter);
    bufferpool_put(s.bufs[0]);
    bufferpool_buf_t *buf = next_is(&s, &waiter);
    bufferpool_cancel(&waiter);
    assert_int_equal(bufferpool_live(s.pool), 1);
    bufferpool_put(buf);
    end(&s);
}

/* A search through the queue for each cancel, or each put, would take minutes. */
static void a_hundred_thousand_waiters_are_cancelled_and_served(void **state)
{
    (void)state;
    const size_t n = test_scale(100000, 2000);
    struct scene s;
    begin(&s, 1);
    bufferpool_waiter_t *waiters = calloc(n, sizeof *waiters);
    assert_non_null(waiters);
    for (size_t i = 0; i < n; i++)
        wait_for_buffer(&s, &waiters[i]);
    for (size_t i = n; i-- > 0;)
        if (i % 3 != 0)
            bufferpool_cancel(&waiters[i]);
    for (size_t i = 0; i < n; i += 3) {
        bufferpool_put(s.bufs[0]);
        assert_ptr_equal(bufferpool_notifier_next(s.notifier), &waiters[i]);
        assert_non_null(s.bufs[0] = waiters[i].buf);
    }
    bufferpool_put(s.bufs[0]);
    free(waiters);
    end(&s);
}

/* ---- threads ---- */

static size_t waiting(bufferpool_t *pool)
{
    return load_relaxed(&pool->waiters.waiting);
}

struct sleeping_thread {
    bufferpool_t *pool;
    bufferpool_buf_t *buf;
    int error;
    pthread_t thread;
};

static void *get_timed_once(void *arg)
{
    struct sleeping_thread *t = arg;
    t->buf = bufferpool_get_timed(t->pool, BUFFERPOOL_NEVER);
    return NULL;
}

static void threads_and_waiters_stand_in_one_queue(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, 1);
    bufferpool_waiter_t first = {0}, last = {0};
    struct sleeping_thread middle = {.pool = s.pool};
    wait_for_buffer(&s, &first);
    assert_int_equal(pthread_create(&middle.thread, NULL, get_timed_once, &middle), 0);
    while (waiting(s.pool) != 2)
        sched_yield();
    wait_for_buffer(&s, &last);
    bufferpool_put(s.bufs[0]);
    bufferpool_put(next_is(&s, &first));
    assert_false(is_readable(s.notifier));
    assert_int_equal(pthread_join(middle.thread, NULL), 0);
    assert_non_null(middle.buf);
    bufferpool_put(middle.buf);
    bufferpool_put(next_is(&s, &last));
    end(&s);
}

static void *get_two(void *arg)
{
    struct sleeping_thread *t = arg;
    bufferpool_buf_t *bufs[2];
    t->error = bufferpool_get_bulk_timed(t->pool, bufs, 2, BUFFERPOOL_NEVER);
    return NULL;
}

/* A bulk that does not fit any more is told so when it becomes the first. */
static void a_cancel_makes_the_next_one_first(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, 2);
    bufferpool_waiter_t waiter = {0};
    struct sleeping_thread bulk = {.pool = s.pool};
    wait_for_buffer(&s, &waiter);
    assert_int_equal(pthread_create(&bulk.thread, NULL, get_two, &bulk), 0);
    while (waiting(s.pool) != 2)
        sched_yield();
    bufferpool_set_max_live(s.pool, 1);
    bufferpool_cancel(&waiter);
    assert_int_equal(pthread_join(bulk.thread, NULL), 0);
    assert_int_equal(bulk.error, EINVAL);
    bufferpool_put_bulk(s.bufs, 2);
    bufferpool_set_max_live(s.pool, 2);
    end(&s);
}

/* ---- loops and threads that share a small pool ---- */

enum { LOOPS = 2, CONNECTIONS = 4, SLEEPERS = 8, CAP = 4 };

struct crowd {
    bufferpool_t *pool;
    size_t turns; /* of all together, at most */
    size_t each;  /* once everybody has had as many, all end; 0: when the turns are over */
    atomic_size_t begun, content;
    size_t had[LOOPS * CONNECTIONS + SLEEPERS];
};

static bool one_more(struct crowd *crowd)
{
    const bool all = crowd->each > 0 && atomic_load(&crowd->content) == LOOPS * CONNECTIONS + SLEEPERS;
    return !all && atomic_fetch_add(&crowd->begun, 1) < crowd->turns;
}

static void had_one(struct crowd *crowd, unsigned index)
{
    if (++crowd->had[index] == crowd->each)
        atomic_fetch_add(&crowd->content, 1);
}

static void use(bufferpool_buf_t *buf, unsigned index)
{
    memset(buf->data, (int)index, 64);
    sched_yield();
    thread_check(buf->data[0] == index && buf->data[63] == index);
}

/* Each connection wants a buffer again as soon as it has used one. Returns whether it waits. */
static bool turn(struct crowd *crowd, bufferpool_waiter_t *waiter, bufferpool_notifier_t *notifier, unsigned index)
{
    while (one_more(crowd)) {
        bufferpool_buf_t *buf = bufferpool_get_async(crowd->pool, waiter, notifier);
        if (buf == NULL)
            return thread_check(errno == EINPROGRESS);
        use(buf, index);
        had_one(crowd, index);
        bufferpool_put(buf);
    }
    return false;
}

static void loop(struct crowd *crowd, unsigned first)
{
    bufferpool_waiter_t waiters[CONNECTIONS] = {0};
    bufferpool_notifier_t *notifier = bufferpool_notifier_create();
    const int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    thread_check(notifier != NULL && epoll_ctl(epoll, EPOLL_CTL_ADD, bufferpool_notifier_fd(notifier), &event) == 0);
    size_t waits = 0;
    for (unsigned i = 0; i < CONNECTIONS; i++)
        waits += turn(crowd, &waiters[i], notifier, first + i);
    while (waits > 0) {
        thread_check(epoll_wait(epoll, &event, 1, -1) == 1);
        for (bufferpool_waiter_t *w; (w = bufferpool_notifier_next(notifier)) != NULL;) {
            const unsigned index = first + (unsigned)(w - waiters);
            waits--;
            if (thread_check(w->buf != NULL && w->error == 0)) {
                use(w->buf, index);
                had_one(crowd, index);
                bufferpool_put(w->buf);
            }
            waits += turn(crowd, w, notifier, index);
        }
    }
    close(epoll);
    thread_check(bufferpool_notifier_destroy(notifier) == 0);
}

static void sleep_and_use(struct crowd *crowd, unsigned index)
{
    while (one_more(crowd)) {
        bufferpool_buf_t *buf = bufferpool_get_timed(crowd->pool, BUFFERPOOL_NEVER);
        if (!thread_check(buf != NULL))
            return;
        use(buf, index);
        had_one(crowd, index);
        bufferpool_put(buf);
    }
}

static void take_part(void *arg, unsigned index)
{
    if (index < LOOPS)
        loop(arg, index * CONNECTIONS);
    else
        sleep_and_use(arg, LOOPS * CONNECTIONS + index - LOOPS);
}

/* With a cap of 4 nearly all wait nearly always, and the queue deals the buffers round. A call that polls gets none
 * beside that. The bound is wide, since the system may let a thread wait for a processor for long. */
static void two_loops_and_eight_threads_share_a_pool(void **state)
{
    (void)state;
    enum { N = LOOPS * CONNECTIONS + SLEEPERS };
    test_blocks_t blocks = {0};
    const bufferpool_config_t config = config_capped(&blocks, CAPACITY, CAP);
    struct crowd crowd = {.pool = bufferpool_create(&config), .each = test_scale(1000, 100)};
    assert_non_null(crowd.pool);
    crowd.turns = 100 * N * crowd.each;
    run_threads(LOOPS + SLEEPERS, take_part, &crowd);
    for (int i = 0; i < N; i++)
        assert_true(crowd.had[i] >= crowd.each);
    assert_true(atomic_load(&blocks.peak) <= CAP);
    check_laws(crowd.pool, &blocks, 0);
    destroy_empty(crowd.pool, &blocks);
}

/* Waiters that come and are cancelled at any moment, beside threads that put. */
static void cancel_at_any_moment(void *arg, unsigned index)
{
    struct crowd *crowd = arg;
    if (index > 0) {
        while (one_more(crowd)) {
            bufferpool_buf_t *buf = bufferpool_get_timed(crowd->pool, BUFFERPOOL_NEVER);
            if (thread_check(buf != NULL))
                bufferpool_put(buf);
        }
        return;
    }
    test_random_t random = {1};
    bufferpool_waiter_t waiters[8] = {0};
    bufferpool_notifier_t *notifier = bufferpool_notifier_create();
    while (one_more(crowd)) {
        bufferpool_waiter_t *w = &waiters[test_random_below(&random, 8)];
        bufferpool_buf_t *buf = bufferpool_get_async(crowd->pool, w, notifier);
        if (buf != NULL)
            bufferpool_put(buf);
        if (test_random_below(&random, 2) == 0)
            bufferpool_cancel(&waiters[test_random_below(&random, 8)]);
        else if ((w = bufferpool_notifier_next(notifier)) != NULL && thread_check(w->buf != NULL))
            bufferpool_put(w->buf);
    }
    for (int i = 0; i < 8; i++)
        bufferpool_cancel(&waiters[i]);
    thread_check(bufferpool_notifier_next(notifier) == NULL);
    thread_check(!is_readable(notifier));
    thread_check(bufferpool_notifier_destroy(notifier) == 0);
}

static void waiters_cancelled_at_any_moment_lose_no_buffer(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    const bufferpool_config_t config = config_capped(&blocks, CAPACITY, 2);
    struct crowd crowd = {.pool = bufferpool_create(&config), .turns = test_scale(100000, 4000)};
    assert_non_null(crowd.pool);
    run_threads(4, cancel_at_any_moment, &crowd);
    assert_int_equal(waiting(crowd.pool), 0);
    check_laws(crowd.pool, &blocks, 0);
    destroy_empty(crowd.pool, &blocks);
}

/* Waiters belong to no thread: a loop that ends leaves them to the thread that takes it over. */
static void *begin_loop(void *arg)
{
    struct scene *s = arg;
    static bufferpool_waiter_t waiter;
    memset(&waiter, 0, sizeof waiter);
    if (bufferpool_get_async(s->pool, &waiter, s->notifier) != NULL || errno != EINPROGRESS)
        return NULL;
    return &waiter;
}

static void waiters_outlive_the_thread_that_began_to_wait(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, 1);
    pthread_t thread;
    void *waiter = NULL;
    assert_int_equal(pthread_create(&thread, NULL, begin_loop, &s), 0);
    assert_int_equal(pthread_join(thread, &waiter), 0);
    assert_non_null(waiter);
    bufferpool_put(s.bufs[0]);
    bufferpool_buf_t *buf = next_is(&s, waiter);
    assert_non_null(buf);
    bufferpool_put(buf);
    end(&s);
}

/* ---- a pool that is not under pressure yet ---- */

/* An owner that was preempted in its cache, with a buffer there: the loop is rung until it is out. */
static void a_loop_is_rung_while_an_owner_is_inside(void **state)
{
    (void)state;
    if (!test_can_steal() || TEST_TSAN) /* there is no owner inside for others to wait for */
        skip();
    struct scene s;
    struct hand hand;
    begin(&s, 2);
    hand_begin(&hand, s.pool, 0);
    hand.bufs[0] = s.bufs[1];
    hand.n = 1;
    hand_do(&hand, hand_put); /* it idles in the cache of the other thread */
    hand_do(&hand, hand_stall);
    bufferpool_waiter_t waiter = {0};
    wait_for_buffer(&s, &waiter);
    assert_int_equal(waiting(s.pool), 1);
    for (int i = 0; i < 3; i++) {
        assert_true(is_readable(s.notifier));
        assert_null(bufferpool_notifier_next(s.notifier));
    }
    /* a waiter of another pool that becomes ready and is cancelled does not take the ring away */
    struct scene other;
    bufferpool_waiter_t others = {0};
    begin(&other, 1);
    assert_null(bufferpool_get_async(other.pool, &others, s.notifier));
    bufferpool_put(other.bufs[0]);
    bufferpool_cancel(&others);
    end(&other);
    assert_true(is_readable(s.notifier));
    hand_do(&hand, hand_unstall);
    bufferpool_buf_t *buf = next_is(&s, &waiter);
    assert_non_null(buf);
    assert_false(is_readable(s.notifier));
    bufferpool_put(buf);
    bufferpool_put(s.bufs[0]);
    hand_end(&hand);
    run_threads(1, hand_nothing, NULL);
    end(&s);
}

/* ---- fork ---- */

static bufferpool_waiter_t parents_waiters[2];

static int use_parents(void *arg)
{
    struct scene *s = arg;
    bufferpool_waiter_t *waiters = parents_waiters;
    bool ok = stats_of(s->pool).live == 0; /* what the first waiter had is idle here */
    ok = ok && bufferpool_notifier_next(s->notifier) == NULL;
    for (int i = 0; i < 2; i++) {
        errno = SENTINEL;
        bufferpool_cancel(&waiters[i]);
        ok = ok && errno == SENTINEL;
    }
    ok = ok && bufferpool_get_async(s->pool, &waiters[0], s->notifier) == NULL && errno == EINVAL;
    ok = ok && bufferpool_notifier_destroy(s->notifier) == 0;
    bufferpool_notifier_t *own = bufferpool_notifier_create();
    ok = ok && own != NULL;
    bufferpool_buf_t *buf = bufferpool_get_async(s->pool, &waiters[0], own);
    ok = ok && buf != NULL;
    ok = ok && bufferpool_get_async(s->pool, &waiters[0], own) == NULL && errno == EINPROGRESS;
    bufferpool_put(buf);
    ok = ok && bufferpool_notifier_next(own) == &waiters[0] && waiters[0].buf != NULL;
    bufferpool_put(waiters[0].buf);
    ok = ok && bufferpool_notifier_destroy(own) == 0;
    end_child(ok ? 0 : 1);
}

static void a_child_of_fork_has_no_waiters(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, 1);
    bufferpool_waiter_t *waiters = parents_waiters;
    wait_for_buffer(&s, &waiters[0]);
    wait_for_buffer(&s, &waiters[1]);
    bufferpool_put(s.bufs[0]);
    assert_int_equal(run_in_child(use_parents, &s, CHILD_SECONDS), 0);
    bufferpool_put(next_is(&s, &waiters[0]));
    bufferpool_put(next_is(&s, &waiters[1]));
    end(&s);
}

/* ---- no cancellation points ---- */

static atomic_bool came_through;

static void *put_with_a_cancellation_pending(void *arg)
{
    struct scene *s = arg;
    pthread_cancel(pthread_self());
    bufferpool_put(s->bufs[0]); /* writes the descriptor */
    bufferpool_waiter_t *w = bufferpool_notifier_next(s->notifier);
    bufferpool_put(w->buf);
    atomic_store(&came_through, true);
    pthread_testcancel();
    return NULL;
}

static void no_call_is_a_cancellation_point(void **state)
{
    (void)state;
    struct scene s;
    begin(&s, 1);
    bufferpool_waiter_t waiter = {0};
    wait_for_buffer(&s, &waiter);
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, put_with_a_cancellation_pending, &s), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    assert_true(atomic_load(&came_through));
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(below_the_cap_a_buffer_comes_at_once),
        cmocka_unit_test(a_put_makes_the_waiter_ready),
        cmocka_unit_test(a_waiter_can_be_used_again_and_again),
        cmocka_unit_test(waiters_are_served_in_the_order_of_arrival),
        cmocka_unit_test(a_raised_cap_serves_waiters),
        cmocka_unit_test(many_ready_waiters_cost_one_write),
        cmocka_unit_test(a_call_may_make_a_waiter_ready_while_the_loop_waits_for_its_write),
        cmocka_unit_test(one_notifier_serves_several_pools),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(a_pool_with_a_waiter_that_may_make_a_buffer_is_not_destroyed),
        cmocka_unit_test(without_memory_the_waiter_gets_ENOMEM_and_the_next_the_room),
        cmocka_unit_test(a_cancelled_waiter_is_passed_over),
        cmocka_unit_test(what_a_cancelled_waiter_was_given_goes_to_the_next),
        cmocka_unit_test(a_waiter_that_does_not_wait_cannot_be_cancelled),
        cmocka_unit_test(a_hundred_thousand_waiters_are_cancelled_and_served),
        cmocka_unit_test(threads_and_waiters_stand_in_one_queue),
        cmocka_unit_test(a_cancel_makes_the_next_one_first),
        cmocka_unit_test(two_loops_and_eight_threads_share_a_pool),
        cmocka_unit_test(waiters_cancelled_at_any_moment_lose_no_buffer),
        cmocka_unit_test(waiters_outlive_the_thread_that_began_to_wait),
        cmocka_unit_test(a_loop_is_rung_while_an_owner_is_inside),
        cmocka_unit_test(a_child_of_fork_has_no_waiters),
        cmocka_unit_test(no_call_is_a_cancellation_point),
    };
    return cmocka_run_group_tests_name("async", tests, NULL, NULL);
}
