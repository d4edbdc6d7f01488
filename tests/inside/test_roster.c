/* SPDX-License-Identifier: MIT
 *
 * test_roster.c - calls that go over the caches of threads: what they visit, and in which steps
 *
 * Counted, by the linker's --wrap: caches that statistics read, gates that are closed, barriers, and holds of a pool's
 * caches_lock and of the registry's. At a moment at which a call lets such a lock go, the test acts.
 */
#include "support/barriers.h"
#include "support/hands.h"

#include "pressure.h"
#include "roster.h"
#include "steal.h"

#include <sys/wait.h>

enum { MANY = 150, STEP = 64, CAPACITY = 256, EACH_MOST = 8 };

static test_blocks_t blocks;
static bufferpool_t *pool;
static struct hand *hands;

/* ---- the moments ---- */

static atomic_size_t reads, closed, holds; /* holds: of the pool's lock, by the test's own thread */
static _Thread_local bool is_main, has_lock, has_registry;
static atomic_size_t reads_under_registry, registry_holds;
static void (*at_breath)(void);   /* once, where the test's own thread lets the pool's lock go */
static void (*at_lock)(void);     /* once, where it is about to take the pool's lock */
static void (*at_registry)(void); /* once, where it lets the registry's lock go with a pool pinned */
static bool churn;                /* the list changes at each cache that is read without the lock */

static enum { NONE, AHEAD, UNDER_WAY } half_done; /* a change that ends only when the reader has the lock */
static atomic_size_t naps;

int __real_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *left);
int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *left);
int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *left)
{
    atomic_fetch_add(&naps, 1);
    return __real_clock_nanosleep(clock, flags, time, left);
}

struct cache_counts __real_cache_read(const struct cache *c);
struct cache_counts __wrap_cache_read(const struct cache *c);
struct cache_counts __wrap_cache_read(const struct cache *c)
{
    atomic_fetch_add(&reads, 1);
    if (has_registry)
        atomic_fetch_add(&reads_under_registry, 1);
    if (half_done == AHEAD && !has_lock) {
        half_done = UNDER_WAY;
        (void)add_relaxed(&pool->shared.roster.changes, 1);
    }
    if (churn && !has_lock)
        (void)add_relaxed(&pool->shared.roster.changes, 2);
    return __real_cache_read(c);
}

void __real_cache_close(struct cache *c);
void __wrap_cache_close(struct cache *c);
void __wrap_cache_close(struct cache *c)
{
    atomic_fetch_add(&closed, 1);
    __real_cache_close(c);
}

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    void (*act)(void) = at_lock;
    if (pool != NULL && mutex == &pool->caches_lock && is_main && act != NULL) {
        at_lock = NULL;
        act();
    }
    const int error = __real_pthread_mutex_lock(mutex);
    if (pool != NULL && mutex == &pool->caches_lock) {
        has_lock = true;
        if (half_done == UNDER_WAY) {
            half_done = NONE;
            (void)add_relaxed(&pool->shared.roster.changes, 1);
        }
        if (is_main)
            atomic_fetch_add(&holds, 1);
    }
    return error;
}

int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    const bool of_pool = pool != NULL && mutex == &pool->caches_lock;
    const bool under_way = of_pool && pool->shared.roster.steals > 0;
    has_lock = has_lock && !of_pool;
    const int error = __real_pthread_mutex_unlock(mutex);
    void (*act)(void) = at_breath;
    if (under_way && is_main && act != NULL) {
        at_breath = NULL;
        act();
    }
    return error;
}

void __real_registry_lock(void);
void __wrap_registry_lock(void);
void __wrap_registry_lock(void)
{
    __real_registry_lock();
    has_registry = true;
    if (is_main)
        atomic_fetch_add(&registry_holds, 1);
}

void __real_registry_unlock(void);
void __wrap_registry_unlock(void);
void __wrap_registry_unlock(void)
{
    const bool pinned = pool != NULL && pool->pins > 0;
    has_registry = false;
    __real_registry_unlock();
    void (*act)(void) = at_registry;
    if (pinned && is_main && act != NULL) {
        at_registry = NULL;
        act();
    }
}

static struct hand *stalled;
static unsigned looks_left; /* of the test's own thread at the clock, until `stalled` comes out of its cache */

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    if (is_main && looks_left > 0 && --looks_left == 0)
        hand_do(stalled, hand_unstall);
    return __real_clock_gettime(clock, now);
}

static void begin_counting(void)
{
    atomic_store(&reads, 0);
    atomic_store(&closed, 0);
    atomic_store(&holds, 0);
    atomic_store(&barriers, 0);
}

/* ---- scenes ---- */

static void fill(size_t who, size_t n)
{
    hands[who].want = n;
    hand_do(&hands[who], hand_get);
    hand_do(&hands[who], hand_put);
}

/* So many threads, with a buffer each in their caches; no more may exist. */
static void begin(size_t cap)
{
    memset(&blocks, 0, sizeof blocks);
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = (size_t)EACH_MOST * CAPACITY;
    config.max_live = cap;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    pool = bufferpool_create(&config);
    hands = calloc(MANY, sizeof *hands);
    assert_non_null(pool);
    assert_non_null(hands);
    for (unsigned i = 0; i < MANY; i++) {
        hand_begin(&hands[i], pool, i);
        fill(i, 1);
    }
    is_main = true;
    begin_counting();
}

static void end_hands(size_t from)
{
    for (size_t i = from; i < MANY; i++)
        hand_end(&hands[i]);
    free(hands);
    run_threads(1, hand_nothing, NULL);
}

static void end(void)
{
    end_hands(0);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
    pool = NULL;
    is_main = false;
}

static size_t caches(void)
{
    size_t n = 0;
    for (const struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next)
        n++;
    return n;
}

static size_t to_visit(void)
{
    size_t n = 0;
    for (const struct cache *c = pool->shared.next_open; c != NULL; c = c->next_open)
        n++;
    return n;
}

static size_t open_gates(void)
{
    size_t n = 0;
    for (const struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next)
        n += cache_is_open(c);
    return n;
}

/* ---- statistics ---- */

static size_t reads_of_live(void)
{
    begin_counting();
    assert_int_equal(bufferpool_live(pool), 0);
    return atomic_load(&reads);
}

/* The shared cache is read too. How often all are read depends on the time that it takes, but for a few. */
static void live_and_stats_read_the_caches_of_the_threads_there_are(void **state)
{
    (void)state;
    begin(MANY);
    assert_int_equal(reads_of_live() % (MANY + 1), 0);
    for (size_t i = 10; i < MANY; i++)
        hand_end(&hands[i]);
    assert_int_equal(reads_of_live(), 2 * 11);
    begin_counting();
    assert_int_equal(stats_of(pool).thread_caches, 10);
    assert_int_equal(atomic_load(&reads), 2 * 11);
    for (size_t i = 0; i < 10; i++)
        hand_end(&hands[i]);
    assert_int_equal(reads_of_live(), 2);
    begin_counting();
    assert_int_equal(stats_of(pool).thread_caches, 0);
    assert_int_equal(atomic_load(&reads), 2);
    end_hands(MANY);
    destroy_empty(pool, &blocks);
    pool = NULL;
}

static void what_ended_threads_counted_is_in_the_statistics(void **state)
{
    (void)state;
    begin(MANY);
    const bufferpool_stats_t then = stats_of(pool);
    const size_t made = caches();
    for (uint64_t rounds = 1; rounds <= 3; rounds++) {
        for (size_t i = 0; i < MANY; i++)
            hand_end(&hands[i]);
        const bufferpool_stats_t s = stats_of(pool);
        assert_int_equal(s.gets_thread + s.gets_depot + s.gets_fresh, MANY * rounds);
        assert_int_equal(s.puts_kept, MANY * rounds);
        assert_int_equal(s.gets_fresh, then.gets_fresh);
        assert_int_equal(s.idle_depot, MANY);
        check_laws(pool, &blocks, 0);
        for (const struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next) {
            const struct cache_counts counts = cache_read(c);
            assert_true(counts.gets == 0 && counts.moved == 0 && counts.n == 0);
            for (int i = 0; i < COUNTERS; i++)
                assert_int_equal(load_relaxed(&c->counters[i]), 0);
        }
        for (unsigned i = 0; i < MANY; i++) {
            hand_begin(&hands[i], pool, i);
            fill(i, 1);
        }
        assert_int_equal(caches(), made); /* those of threads that ended */
    }
    end();
}

/* A reader that never gets through takes the lock. */
static void threads_that_come_and_go_do_not_keep_a_reader_from_its_end(void **state)
{
    (void)state;
    begin(MANY);
    churn = true;
    begin_counting();
    const bufferpool_stats_t s = stats_of(pool);
    churn = false;
    assert_in_range(atomic_load(&holds), 1, 8);
    assert_int_equal(s.idle_thread, MANY);
    assert_int_equal(s.thread_caches, MANY);
    begin_counting();
    half_done = AHEAD; /* it meets a change, and then one that is under way */
    assert_int_equal(stats_of(pool).idle_thread, MANY);
    assert_true(half_done == NONE);
    assert_in_range(atomic_load(&holds), 1, 8);
    begin_counting();
    assert_int_equal(stats_of(pool).idle_thread, MANY);
    assert_int_equal(atomic_load(&holds), 0);
    end();
}

/* ---- at the cap ---- */

static size_t barriers_of(size_t n)
{
    return TEST_TSAN ? 0 : n; /* real fences there */
}

/* One step, of the threads that came last and of the getting one: of these the cache that has most. */
static void a_get_at_the_cap_ends_at_the_first_caches_that_have_buffers(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    begin(MANY + 2);
    fill(MANY - 20, 3);
    begin_counting();
    bufferpool_buf_t **bufs = calloc(MANY + 2, sizeof *bufs);
    assert_non_null(bufs);
    for (size_t i = 0; i < 3; i++) {
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
        assert_int_equal(stats_of(pool).stolen, 3);
        assert_int_equal(atomic_load(&closed), STEP);
        assert_int_equal(open_gates(), MANY + 1 - STEP);
        assert_int_equal(load_relaxed(&pool->pressure.state), PRESSURE_ENTERING);
    }
    for (size_t i = 3; i < MANY + 2; i++) {
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
        assert_int_equal(stats_of(pool).stolen, i + 1);
    }
    assert_int_equal(atomic_load(&barriers), barriers_of((MANY + STEP) / STEP));
    assert_null(bufferpool_try_get(pool));
    assert_int_equal(load_relaxed(&pool->pressure.state), PRESSURE_ON);
    assert_int_equal(open_gates(), 0);
    assert_int_equal(to_visit(), 0);
    /* threads that sleep behind a closed gate cost the next one nothing */
    begin_counting();
    assert_null(bufferpool_try_get(pool));
    assert_int_equal(atomic_load(&closed), 0);
    assert_int_equal(atomic_load(&barriers), 0);
    check_laws(pool, &blocks, MANY + 2);
    bufferpool_put_bulk(bufs, MANY + 2);
    free(bufs);
    end();
}

/* The pressure ends between two steps, the gates that are closed open again, and another get begins the pressure anew:
 * the call that is under way has visited all that it had to, and yet some gates are open. */
static void pressure_ends_and_begins(void)
{
    hand_do(stalled, hand_unstall);
    bufferpool_set_max_live(pool, 0);
    assert_int_equal(load_relaxed(&pool->pressure.state), PRESSURE_OFF);
    for (size_t i = 0; i < MANY; i++)
        fill(i, 1);
    bufferpool_set_max_live(pool, load_relaxed(&pool->depot.peak));
    hands[0].want = 2; /* one is its own */
    hand_do(&hands[0], hand_get);
    assert_int_equal(load_relaxed(&pool->pressure.state), PRESSURE_ENTERING);
    assert_true(open_gates() > 0);
}

static void pressure_is_not_declared_over_a_gate_that_opened_between_two_steps(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    begin(MANY);
    stalled = &hands[MANY - 5];
    hand_do(stalled, hand_stall);
    at_breath = pressure_ends_and_begins;
    pressure_enter(pool);
    assert_null(at_breath);
    assert_true(open_gates() == 0 || load_relaxed(&pool->pressure.state) != PRESSURE_ON);
    assert_true(open_gates() == 0 || !depot_counts(&pool->depot).pressure);
    hand_do(&hands[0], hand_put);
    end();
}

static void stall(size_t who)
{
    stalled = &hands[who];
    hand_do(stalled, hand_stall);
}

/* The cache of that owner is the first that a get visits. It is pending, and had its barrier, for a trim came by. */
static void an_owner_that_is_inside_hides_no_buffers_of_others(void **state)
{
    enum { OTHERS = 9 };
    (void)state;
    if (!test_can_steal())
        skip();
    begin(MANY);
    stall(MANY - 1);
    assert_int_equal(bufferpool_trim(pool), (MANY - 1) * CAPACITY);
    bufferpool_set_max_live(pool, OTHERS + 1);
    for (size_t i = MANY - 1 - OTHERS; i < MANY - 1; i++)
        fill(i, 1);
    bufferpool_buf_t *bufs[OTHERS];
    for (size_t i = 0; i < OTHERS; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    check_laws(pool, &blocks, OTHERS);
    hand_do(stalled, hand_unstall);
    bufferpool_put_bulk(bufs, OTHERS);
    end();
}

static void goes_out(void)
{
    hand_do(stalled, hand_unstall);
}

static void enters(struct hand *hand)
{
    cache_enter(hand->cache); /* and finds the gate closed */
}

static void comes_back(void)
{
    at_barrier = NULL;
    hand_do(stalled, enters);
}

/* The owner is out when the get sees buffers in its cache, and inside when the get is to take them. */
static void an_owner_that_comes_back_hides_no_buffers_of_others(void **state)
{
    enum { OTHERS = 9 };
    (void)state;
    if (!test_can_steal() || TEST_TSAN) /* no barrier there */
        skip();
    begin(MANY + 1);
    bufferpool_put(bufferpool_get(pool)); /* the test's own thread has a cache */
    stall(MANY - 2);
    assert_int_equal(bufferpool_trim(pool), MANY * CAPACITY);
    bufferpool_set_max_live(pool, OTHERS + 2);
    hands[MANY - 1].want = 1;
    hand_do(&hands[MANY - 1], hand_get); /* its gate is the first to be closed: therefore the barrier */
    for (size_t i = MANY - 2 - OTHERS; i < MANY - 2; i++)
        fill(i, 1);
    at_lock = goes_out;
    at_barrier = comes_back;
    begin_counting();
    bufferpool_buf_t *bufs[OTHERS] = {bufferpool_try_get(pool)};
    assert_non_null(bufs[0]);
    assert_null(at_lock);
    assert_null(at_barrier);
    /* once over all caches, and then again; it did not wait for the owner */
    assert_int_equal(atomic_load(&holds), (MANY + STEP) / STEP);
    for (size_t i = 1; i < OTHERS; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    assert_int_equal(cache_idle(stalled->cache), 1);
    hand_do(stalled, hand_unstall);
    hand_do(&hands[MANY - 1], hand_put);
    bufferpool_put_bulk(bufs, OTHERS);
    end();
}

/* A steal that takes bytes alone comes by before all gates are closed. */
static void a_cache_that_gave_a_part_is_not_forgotten(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    begin(MANY);
    stall(MANY - 2);
    bufferpool_buf_t **bufs = calloc(MANY, sizeof *bufs);
    assert_non_null(bufs);
    assert_non_null(bufs[0] = bufferpool_try_get(pool));
    assert_int_equal(load_relaxed(&pool->pressure.state), PRESSURE_ENTERING);
    assert_true(open_gates() > 0);
    (void)steal(pool, STEAL_RESERVED, false);
    assert_int_equal(open_gates(), 0);
    hand_do(stalled, hand_unstall);
    for (size_t i = 1; i < MANY; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    assert_null(bufferpool_try_get(pool));
    check_laws(pool, &blocks, MANY);
    bufferpool_put_bulk(bufs, MANY);
    free(bufs);
    end();
}

/* The pressure may be a long time in coming, since each get goes only so far. The thread of which all depends is in the
 * last step, whose other threads hold what they have. */
static void a_get_waits_for_an_owner_however_long_ago_the_pressure_began(void **state)
{
    enum { HOLDING = 40, OTHERS = MANY - 1 - HOLDING };
    (void)state;
    if (!test_can_steal())
        skip();
    begin(MANY);
    for (size_t i = 1; i <= HOLDING; i++)
        hand_do(&hands[i], hand_get);
    bufferpool_buf_t *bufs[OTHERS + 1];
    for (size_t i = 0; i < OTHERS; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(pool));
    assert_int_equal(load_relaxed(&pool->pressure.state), PRESSURE_ENTERING);
    pool->pressure.until_ns = 1;
    stall(0);
    looks_left = 5;
    assert_non_null(bufs[OTHERS] = bufferpool_try_get(pool));
    assert_int_equal(looks_left, 0);
    check_laws(pool, &blocks, MANY);
    bufferpool_put_bulk(bufs, OTHERS + 1);
    for (size_t i = 1; i <= HOLDING; i++)
        hand_do(&hands[i], hand_put);
    end();
}

/* ---- trim ---- */

static void trim_lets_the_lock_go_between_its_steps(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    begin(0);
    assert_int_equal(bufferpool_trim(pool), MANY * CAPACITY);
    assert_int_equal(atomic_load(&closed), MANY);
    assert_int_equal(atomic_load(&barriers), barriers_of((MANY + STEP - 1) / STEP));
    assert_true(atomic_load(&holds) >= (MANY + STEP - 1) / STEP);
    assert_int_equal(open_gates(), MANY);
    end();
}

static void another_waits(void)
{
    (void)add_relaxed(&pool->shared.roster.waits, 1);
}

static void trim_lets_a_call_that_waits_for_the_lock_come_first(void **state)
{
    (void)state;
    begin(0);
    atomic_store(&naps, 0);
    (void)bufferpool_trim(pool);
    assert_int_equal(atomic_load(&naps), 0);
    at_breath = another_waits;
    (void)bufferpool_trim(pool);
    assert_null(at_breath);
    assert_true(atomic_load(&naps) > 0);
    (void)sub_relaxed(&pool->shared.roster.waits, 1);
    end();
}

static struct hand *waker;
static uint32_t has;

static void one_wakes_up(void)
{
    waker->want = 1;
    hand_do(waker, hand_use);
    has = cache_idle(waker->cache);
}

/* The lock is let go in the middle of a step too, after so many buffers. */
static void a_cache_that_its_owner_has_opened_meanwhile_is_left_alone(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    begin(0);
    for (size_t i = 0; i < MANY; i++)
        fill(i, EACH_MOST);
    waker = &hands[MANY - STEP + 2];
    hand_do(waker, hand_stall); /* so that its cache is known */
    hand_do(waker, hand_unstall);
    at_breath = one_wakes_up;
    (void)bufferpool_trim(pool);
    assert_null(at_breath);
    assert_true(has > 0);
    assert_int_equal(cache_idle(waker->cache), has);
    end();
}

static void does_trim(struct hand *hand)
{
    (void)bufferpool_trim(hand->pool);
}

/* Another trim skips the cache of an owner that is inside, when this trim has been at it. */
static void another_trim_skips_one(void)
{
    fill(MANY - 1, 1);
    stall(MANY - 1);
    hand_do(&hands[0], does_trim);
    assert_ptr_equal(load_relaxed(&pool->stuck), stalled->cache);
}

static void a_trim_that_ends_keeps_what_another_one_noted(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    begin(0);
    at_breath = another_trim_skips_one;
    bufferpool_trim(pool);
    assert_null(at_breath);
    hand_do(stalled, hand_unstall);
    fill(0, 1); /* a slow call, since the trim emptied its cache */
    assert_int_equal(cache_idle(stalled->cache), 0);
    assert_null(load_relaxed(&pool->stuck));
    end();
}

enum { ENDED = MANY - STEP - 10 }; /* the threads from there on, and the one before */

/* The thread at whose cache the walk stands ends, and so do others, some before another steal and one after it. */
static void threads_end(void)
{
    for (size_t i = MANY - 1; i >= ENDED; i--)
        hand_end(&hands[i]);
    hand_do(&hands[0], does_trim);
    fill(1, 1);
    hand_end(&hands[ENDED - 1]);
}

static void a_walk_goes_on_after_threads_ended_between_its_steps(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    begin(0);
    at_breath = threads_end;
    (void)bufferpool_trim(pool);
    assert_null(at_breath);
    assert_int_equal(open_gates(), ENDED - 1);
    for (unsigned i = ENDED - 1; i < MANY; i++) {
        hand_begin(&hands[i], pool, i);
        if (i % 2 == 0)
            fill(i, 1);
    }
    size_t visits = 0;
    for (const struct cache *c = pool->shared.next_open; c != NULL && visits <= caches(); c = c->next_open)
        visits++;
    assert_in_range(visits, open_gates(), caches());
    check_laws(pool, &blocks, 0);
    (void)bufferpool_trim(pool);
    assert_int_equal(stats_of(pool).idle_thread, 0);
    assert_int_equal(atomic_load(&blocks.count), 0);
    end();
}

/* ---- threads that sleep ---- */

static void the_cache_of_a_thread_that_sleeps_is_not_visited(void **state)
{
    (void)state;
    if (!test_can_steal())
        skip();
    begin(0);
    for (int i = 0; i < 3; i++)
        (void)bufferpool_reclaim(pool);
    assert_int_equal(open_gates(), 0);
    assert_int_equal(to_visit(), 0);
    begin_counting();
    (void)bufferpool_trim(pool);
    assert_int_equal(atomic_load(&closed), 0);
    assert_int_equal(atomic_load(&barriers), 0);
    /* until it wakes up: then it is as before */
    const uint64_t before = stats_of(pool).gets_thread;
    hands[3].want = 10;
    hand_do(&hands[3], hand_use);
    assert_int_equal(stats_of(pool).gets_thread, before + 9);
    assert_int_equal(to_visit(), 1);
    assert_int_equal(bufferpool_trim(pool), CAPACITY);
    end();
}

/* ---- fork ---- */

static int status = -1;
static bool forks;

void __real_cache_clear(struct cache *c);
void __wrap_cache_clear(struct cache *c);
void __wrap_cache_clear(struct cache *c)
{
    __real_cache_clear(c);
    if (!forks)
        return;
    forks = false;
    const pid_t child = fork();
    if (child == 0) {
        bool ok = laws_hold(pool, NULL, 0) && stats_of(pool).thread_caches == 0;
        bufferpool_buf_t *buf = bufferpool_get(pool);
        ok = ok && buf != NULL && bufferpool_live(pool) == 1;
        bufferpool_put(buf);
        ok = ok && open_gates() == 0 && to_visit() == 0; /* a thread that ends has no cache, also in the child */
        _exit(ok && bufferpool_destroy(pool) == 0 ? 0 : 1);
    }
    (void)waitpid(child, &status, 0);
}

/* Between the moment at which its cache leaves the list and that at which all that it counted is in the shared one. */
static void a_thread_that_ends_may_fork_at_the_worst_moment(void **state)
{
    (void)state;
    if (TEST_TSAN)
        skip(); /* it holds on to locks of threads that the child does not have */
    begin(0);
    forks = true;
    hand_end(&hands[MANY - 1]);
    assert_false(forks);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    hand_begin(&hands[MANY - 1], pool, MANY - 1);
    end();
}

/* ---- metrics ---- */

static bufferpool_t *others[4];

static bufferpool_t *named(const char *name)
{
    bufferpool_config_t config = config_with(&blocks);
    config.name = name;
    bufferpool_t *made = bufferpool_create(&config);
    assert_non_null(made);
    assert_string_equal(made->name, name);
    return made;
}

static char *metrics_now(void)
{
    bufferpool_buf_t *out = bufferpool_get(NULL);
    assert_non_null(out);
    assert_int_equal(bufferpool_metrics(out), 0);
    char *text = strndup((const char *)out->data, out->len);
    assert_non_null(text);
    bufferpool_put(out);
    return text;
}

static size_t shown(const char *text, const char *name)
{
    char sample[80];
    size_t n = 0;
    (void)snprintf(sample, sizeof sample, "bufferpool_live_buffers{pool=\"%s\"}", name);
    for (const char *at = text; (at = strstr(at, sample)) != NULL; at++)
        n++;
    return n;
}

/* Of the pools before the one that is read just now, and of those after it. */
static void pools_end_and_begin(void)
{
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(bufferpool_destroy(others[i]), 0);
    others[0] = named("new");
    others[1] = named("after");
    others[2] = named("between");
    others[3] = named("before");
}

static void metrics_name_each_pool_once_although_pools_come_and_go(void **state)
{
    (void)state;
    memset(&blocks, 0, sizeof blocks);
    is_main = true;
    others[0] = named("before");
    others[1] = named("between");
    pool = named("read");
    others[2] = named("after");
    others[3] = named("last");
    at_registry = pools_end_and_begin;
    char *text = metrics_now();
    assert_null(at_registry);
    assert_int_equal(shown(text, "before"), 1);
    assert_int_equal(shown(text, "between"), 1);
    assert_int_equal(shown(text, "read"), 1);
    assert_int_equal(shown(text, "after"), 0);
    assert_int_equal(shown(text, "last"), 0);
    assert_int_equal(shown(text, "new"), 0);
    free(text);
    text = metrics_now();
    assert_int_equal(shown(text, "before") + shown(text, "between") + shown(text, "after") + shown(text, "new"), 4);
    free(text);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(bufferpool_destroy(others[i]), 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
    pool = NULL;
    is_main = false;
}

static void metrics_read_no_cache_under_the_lock_that_new_threads_need(void **state)
{
    (void)state;
    begin(0);
    others[0] = named("second");
    begin_counting();
    atomic_store(&reads_under_registry, 0);
    free(metrics_now());
    assert_true(atomic_load(&reads) >= MANY + 3);
    assert_int_equal(atomic_load(&reads_under_registry), 0);
    assert_int_equal(bufferpool_destroy(others[0]), 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(live_and_stats_read_the_caches_of_the_threads_there_are),
        cmocka_unit_test(what_ended_threads_counted_is_in_the_statistics),
        cmocka_unit_test(threads_that_come_and_go_do_not_keep_a_reader_from_its_end),
        cmocka_unit_test(a_get_at_the_cap_ends_at_the_first_caches_that_have_buffers),
        cmocka_unit_test(pressure_is_not_declared_over_a_gate_that_opened_between_two_steps),
        cmocka_unit_test(an_owner_that_is_inside_hides_no_buffers_of_others),
        cmocka_unit_test(an_owner_that_comes_back_hides_no_buffers_of_others),
        cmocka_unit_test(a_cache_that_gave_a_part_is_not_forgotten),
        cmocka_unit_test(a_get_waits_for_an_owner_however_long_ago_the_pressure_began),
        cmocka_unit_test(trim_lets_the_lock_go_between_its_steps),
        cmocka_unit_test(trim_lets_a_call_that_waits_for_the_lock_come_first),
        cmocka_unit_test(a_cache_that_its_owner_has_opened_meanwhile_is_left_alone),
        cmocka_unit_test(a_trim_that_ends_keeps_what_another_one_noted),
        cmocka_unit_test(a_walk_goes_on_after_threads_ended_between_its_steps),
        cmocka_unit_test(the_cache_of_a_thread_that_sleeps_is_not_visited),
        cmocka_unit_test(a_thread_that_ends_may_fork_at_the_worst_moment),
        cmocka_unit_test(metrics_name_each_pool_once_although_pools_come_and_go),
        cmocka_unit_test(metrics_read_no_cache_under_the_lock_that_new_threads_need),
    };
    return cmocka_run_group_tests_name("roster", tests, NULL, NULL);
}
