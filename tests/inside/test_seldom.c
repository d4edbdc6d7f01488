/* SPDX-License-Identifier: MIT
 *
 * test_seldom.c - what waiting, budgets, close and the watch of memory do where the system refuses, or where another
 * call comes in between
 *
 * The linker's --wrap makes such a moment: a function of the system fails once, or one of the library's finds that
 * another thread was quicker.
 */
#include "support/hands.h"
#include "support/laws.h"

#include "support/inside.h"

#include "budget.h"
#include "close.h"
#include "notifier.h"
#include "reclaim.h"
#include "shortage.h"
#include "steal.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <time.h>

enum { CAPACITY = 512, CHILD_SECONDS = 60 };

/* ---- what stands in the way ---- */

static atomic_int fails; /* calls of the next kind that fail; which kind: */
static enum kind {
    NOTHING,
    CALLOC,
    EVENTFD,
    MUTEXATTR,
    RESERVE,
    TICKETS,
    KEEP,
    PAUSE,
    OPEN,
    FSTAT,
    FSTATFS,
    THREAD
} kind;
static int error_of;
static bufferpool_t *closed_meanwhile;
static atomic_bool paused;

static bool fails_now(enum kind this)
{
    return kind == this && atomic_load(&fails) > 0 && atomic_fetch_sub(&fails, 1) > 0;
}

static void fail_once(enum kind which, int error)
{
    kind = which;
    error_of = error;
    atomic_store(&fails, 1);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    return fails_now(CALLOC) ? NULL : __real_calloc(n, size);
}

int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags)
{
    if (!fails_now(EVENTFD))
        return __real_eventfd(count, flags);
    errno = error_of;
    return -1;
}

int __real_pthread_mutexattr_init(pthread_mutexattr_t *attributes);
int __wrap_pthread_mutexattr_init(pthread_mutexattr_t *attributes);
int __wrap_pthread_mutexattr_init(pthread_mutexattr_t *attributes)
{
    return fails_now(MUTEXATTR) ? ENOMEM : __real_pthread_mutexattr_init(attributes);
}

bool __real_depot_reserve(struct depot *depot, const _Atomic(size_t) *max_live);
bool __wrap_depot_reserve(struct depot *depot, const _Atomic(size_t) *max_live);
bool __wrap_depot_reserve(struct depot *depot, const _Atomic(size_t) *max_live)
{
    return !fails_now(RESERVE) && __real_depot_reserve(depot, max_live);
}

bool __real_depot_add_tickets(struct depot *depot, const _Atomic(size_t) *max_live, uint32_t n, size_t others);
bool __wrap_depot_add_tickets(struct depot *depot, const _Atomic(size_t) *max_live, uint32_t n, size_t others);
bool __wrap_depot_add_tickets(struct depot *depot, const _Atomic(size_t) *max_live, uint32_t n, size_t others)
{
    return !fails_now(TICKETS) && __real_depot_add_tickets(depot, max_live, n, others);
}

void __real_registry_keep_struct(bufferpool_t *pool);
void __wrap_registry_keep_struct(bufferpool_t *pool);
void __wrap_registry_keep_struct(bufferpool_t *pool)
{
    if (fails_now(KEEP))
        store_seq_cst(&closed_meanwhile->life, POOL_CLOSED);
    __real_registry_keep_struct(pool);
}

int __real_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *rest);
int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *rest);
int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *rest)
{
    atomic_store(&paused, true);
    return __real_clock_nanosleep(clock, flags, time, rest);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    const int mode = (flags & O_CREAT) != 0 ? va_arg(args, int) : 0;
    va_end(args);
    return fails_now(OPEN) ? -1 : __real_open(path, flags, mode);
}

int __real_fstat(int file, struct stat *status);
int __wrap_fstat(int file, struct stat *status);
int __wrap_fstat(int file, struct stat *status)
{
    return fails_now(FSTAT) ? -1 : __real_fstat(file, status);
}

int __real_fstatfs(int file, struct statfs *system);
int __wrap_fstatfs(int file, struct statfs *system);
int __wrap_fstatfs(int file, struct statfs *system)
{
    return fails_now(FSTATFS) ? -1 : __real_fstatfs(file, system);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    return fails_now(THREAD) ? EAGAIN : __real_pthread_create(thread, attributes, run, arg);
}

static const char *watch;

char *__wrap_secure_getenv(const char *name);
char *__wrap_secure_getenv(const char *name)
{
    return strcmp(name, "MEMORY_PRESSURE_WATCH") == 0 ? (char *)(uintptr_t)watch : getenv(name);
}

/* ---- pools ---- */

static bufferpool_t *pool_of(test_blocks_t *blocks, size_t cap, bufferpool_budget_t *budget)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = 8 * CAPACITY;
    config.max_live = cap;
    config.budget = budget;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static bool is_readable(const bufferpool_notifier_t *notifier)
{
    struct pollfd fd = {.fd = bufferpool_notifier_fd(notifier), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

/* ---- notifiers ---- */

static void a_notifier_that_cannot_be_made_says_why(void **state)
{
    (void)state;
    fail_once(CALLOC, 0);
    assert_null(bufferpool_notifier_create());
    assert_int_equal(errno, ENOMEM);
    const int errors[][2] = {{EMFILE, EMFILE}, {ENFILE, ENFILE}, {EPERM, ENOMEM}};
    for (size_t i = 0; i < 3; i++) {
        fail_once(EVENTFD, errors[i][0]);
        assert_null(bufferpool_notifier_create());
        assert_int_equal(errno, errors[i][1]);
    }
}

static void a_pool_that_is_closed_meanwhile_takes_no_waiter(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_of(&blocks, 1, NULL);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    bufferpool_notifier_t *notifier = bufferpool_notifier_create();
    bufferpool_waiter_t waiter = {0};
    closed_meanwhile = pool;
    fail_once(KEEP, 0);
    assert_null(bufferpool_get_async(pool, &waiter, notifier));
    assert_int_equal(errno, ECANCELED);
    struct sleeper sleeper;
    assert_true(wait_begin(pool, &sleeper, 1, BUFFERPOOL_NEVER));
    assert_false(wait_once(pool, &sleeper));
    assert_int_equal(wait_end(pool, &sleeper), ECANCELED);
    store_seq_cst(&pool->life, POOL_ALIVE);
    assert_int_equal(bufferpool_notifier_destroy(notifier), 0);
    bufferpool_put(buf);
    destroy_empty(pool, &blocks);
}

static void more_loops_than_one_call_notes_are_rung(void **state)
{
    (void)state;
    enum { LOOPS = 6 };
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_of(&blocks, 1, NULL);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    bufferpool_notifier_t *notifiers[LOOPS];
    bufferpool_waiter_t waiters[LOOPS] = {0};
    for (int i = 0; i < LOOPS; i++) {
        assert_non_null(notifiers[i] = bufferpool_notifier_create());
        assert_null(bufferpool_get_async(pool, &waiters[i], notifiers[i]));
    }
    bufferpool_set_max_live(pool, 1 + LOOPS);
    for (int i = 0; i < LOOPS; i++) {
        assert_true(is_readable(notifiers[i]));
        assert_ptr_equal(bufferpool_notifier_next(notifiers[i]), &waiters[i]);
        bufferpool_put(waiters[i].buf);
        assert_int_equal(bufferpool_notifier_destroy(notifiers[i]), 0);
    }
    bufferpool_put(buf);
    destroy_empty(pool, &blocks);
}

/* ---- close ---- */

static void *close_it(void *pool)
{
    bufferpool_close(pool);
    return NULL;
}

static void close_waits_for_an_owner_that_is_inside(void **state)
{
    (void)state;
    if (!test_can_steal() || TEST_TSAN) /* the gates of other threads are out of reach, or need no barrier */
        skip();
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_of(&blocks, 2, NULL);
    struct hand hand;
    pthread_t closer;
    hand_begin(&hand, pool, 0);
    hand.want = 1;
    hand_do(&hand, hand_get);
    hand_do(&hand, hand_put);
    hand_do(&hand, hand_stall);
    atomic_store(&paused, false);
    assert_int_equal(pthread_create(&closer, NULL, close_it, pool), 0);
    while (!atomic_load(&paused))
        sched_yield();
    assert_int_equal(atomic_load(&blocks.count), 1);
    hand_do(&hand, hand_unstall);
    assert_int_equal(pthread_join(closer, NULL), 0);
    assert_int_equal(atomic_load(&blocks.count), 0);
    hand_end(&hand);
    run_threads(1, hand_nothing, NULL);
}

/* A thread that comes over the caches of a pool that is about to end leaves it alone. */
static void nothing_holds_a_pool_whose_last_buffer_went(void **state)
{
    (void)state;
    struct depot depot = {0};
    assert_false(depot_hold_if_any(&depot));
    depot_hold(&depot);
    assert_true(depot_hold_if_any(&depot));
    assert_false(depot_drop(&depot));
    assert_true(depot_drop(&depot));
}

/* ---- budgets ---- */

/* The size of a block of the pool. */
static size_t block_bytes_of(bufferpool_t *pool)
{
    return heap_bytes(&pool->heap, pool->heap.base);
}

struct pair {
    test_blocks_t blocks[2];
    bufferpool_budget_t *budget;
    bufferpool_t *pools[2];
    size_t bytes; /* of a block */
};

/* Two pools of a budget of two blocks. */
static void begin_pair(struct pair *p)
{
    memset(p, 0, sizeof *p);
    assert_non_null(p->budget = bufferpool_budget_create("pair", (size_t)1 << 20));
    for (int i = 0; i < 2; i++)
        p->pools[i] = pool_of(&p->blocks[i], 0, p->budget);
    p->bytes = block_bytes_of(p->pools[0]);
    bufferpool_budget_set(p->budget, 2 * p->bytes);
}

static void end_pair(struct pair *p)
{
    for (int i = 0; i < 2; i++)
        destroy_empty(p->pools[i], &p->blocks[i]);
    assert_int_equal(bufferpool_budget_used(p->budget), 0);
    assert_int_equal(bufferpool_budget_destroy(p->budget), 0);
}

static void a_loop_waits_for_bytes_of_another_pool(void **state)
{
    (void)state;
    for (int cancels = 0; cancels < 2; cancels++) {
        struct pair p;
        begin_pair(&p);
        bufferpool_buf_t *bufs[2] = {bufferpool_get(p.pools[1]), bufferpool_get(p.pools[1])};
        bufferpool_notifier_t *notifier = bufferpool_notifier_create();
        bufferpool_waiter_t waiter = {0};
        assert_null(bufferpool_get(p.pools[0]));
        assert_null(bufferpool_get_async(p.pools[0], &waiter, notifier));
        assert_int_equal(errno, EINPROGRESS);
        assert_null(bufferpool_notifier_next(notifier));
        bufferpool_put(bufs[0]);
        assert_true(is_readable(notifier));
        if (cancels) {
            bufferpool_cancel(&waiter);
            assert_int_equal(bufferpool_budget_used(p.budget), p.bytes);
        } else {
            assert_ptr_equal(bufferpool_notifier_next(notifier), &waiter);
            assert_non_null(waiter.buf);
            bufferpool_put(waiter.buf);
        }
        bufferpool_put(bufs[1]);
        assert_null(bufferpool_notifier_next(notifier));
        assert_int_equal(bufferpool_notifier_destroy(notifier), 0);
        end_pair(&p);
    }
}

/* The bytes of a buffer that is given up in a closed pool go to a caller of another pool, although the closed pool has
 * another buffer out. */
static void a_closed_pool_gives_bytes_to_callers_of_others(void **state)
{
    (void)state;
    struct pair p;
    begin_pair(&p);
    bufferpool_set_max_live(p.pools[1], 2);
    bufferpool_buf_t *bufs[2] = {bufferpool_get(p.pools[1]), bufferpool_get(p.pools[1])};
    bufferpool_notifier_t *notifier = bufferpool_notifier_create();
    bufferpool_waiter_t of_closed = {0}, other = {0};
    assert_null(bufferpool_get_async(p.pools[1], &of_closed, notifier));
    bufferpool_put(bufs[0]);
    bufferpool_close(p.pools[1]); /* of_closed has a buffer */
    assert_null(bufferpool_get_async(p.pools[0], &other, notifier));
    assert_int_equal(errno, EINPROGRESS);
    notifier_remove(notifier_waiter(&of_closed)); /* so that the descriptor tells of the other alone */
    assert_null(bufferpool_notifier_next(notifier));
    assert_false(is_readable(notifier));
    (void)notifier_push(notifier_waiter(&of_closed));
    (void)sub_relaxed(&notifier->ringing, 1); /* it is not rung */
    bufferpool_cancel(&of_closed);
    assert_true(is_readable(notifier));
    assert_ptr_equal(bufferpool_notifier_next(notifier), &other);
    assert_non_null(other.buf);
    bufferpool_put(other.buf);
    bufferpool_put(bufs[1]);
    assert_int_equal(atomic_load(&p.blocks[1].count), 0);
    assert_null(bufferpool_notifier_next(notifier));
    assert_int_equal(bufferpool_notifier_destroy(notifier), 0);
    destroy_empty(p.pools[0], &p.blocks[0]);
    assert_int_equal(bufferpool_budget_destroy(p.budget), 0);
}

static void *get_timed(void *pool)
{
    return bufferpool_get_timed(pool, BUFFERPOOL_NEVER);
}

static void a_waiting_thread_finds_bytes_that_nobody_told_it_of(void **state)
{
    (void)state;
    struct pair p;
    begin_pair(&p);
    bufferpool_buf_t *bufs[2] = {bufferpool_get(p.pools[1]), bufferpool_get(p.pools[1])};
    pthread_t thread;
    void *buf;
    assert_int_equal(pthread_create(&thread, NULL, get_timed, p.pools[0]), 0);
    while (load_relaxed(&p.pools[0]->waiters.waiting) != 1)
        sched_yield();
    test_blocks_t blocks = {0}; /* a pool that comes meanwhile is under pressure from the start */
    bufferpool_t *third = pool_of(&blocks, 0, p.budget);
    assert_true(depot_counts(&third->depot).pressure);
    store_relaxed(&p.budget->bytes, 3 * p.bytes);
    assert_int_equal(pthread_join(thread, &buf), 0);
    assert_non_null(buf);
    bufferpool_put(buf);
    bufferpool_put_bulk(bufs, 2);
    destroy_empty(third, &blocks);
    end_pair(&p);
}

static void a_reservation_that_comes_too_late_keeps_no_bytes(void **state)
{
    (void)state;
    struct pair p;
    begin_pair(&p);
    assert_true(account_has_room(NULL, 1));
    fail_once(RESERVE, 0);
    assert_false(life_reserve(p.pools[0]));
    assert_int_equal(bufferpool_budget_used(p.budget), 0);
    /* and a caller that waits tries twice */
    bufferpool_set_max_live(p.pools[0], 1);
    bufferpool_buf_t *buf = bufferpool_get(p.pools[0]);
    bufferpool_notifier_t *notifier = bufferpool_notifier_create();
    bufferpool_waiter_t waiter = {0};
    assert_null(bufferpool_get_async(p.pools[0], &waiter, notifier));
    fail_once(RESERVE, 0);
    bufferpool_set_max_live(p.pools[0], 2);
    assert_ptr_equal(bufferpool_notifier_next(notifier), &waiter);
    bufferpool_put(waiter.buf);
    bufferpool_put(buf);
    assert_int_equal(bufferpool_notifier_destroy(notifier), 0);
    end_pair(&p);
}

static void a_budget_without_memory_for_its_lock_is_not_made(void **state)
{
    (void)state;
    fail_once(MUTEXATTR, 0);
    assert_null(bufferpool_budget_create("none", 1));
    assert_int_equal(errno, ENOMEM);
}

static void what_a_call_left_idle_makes_room_for_one_that_waits(void **state)
{
    (void)state;
    struct pair p;
    begin_pair(&p);
    bufferpool_put(bufferpool_get(p.pools[1]));
    bufferpool_thread_flush();
    assert_int_equal(stats_of(p.pools[1]).idle_depot, 1);
    bufferpool_budget_set(p.budget, p.bytes);
    account_want(p.budget);
    bufferpool_set_max_live(p.pools[1], 0);
    assert_int_equal(bufferpool_budget_used(p.budget), 0);
    assert_false(load_relaxed(&p.budget->wanted));
    end_pair(&p);
}

/* A hook of the library may call it for another pool, of the same budget too: that call goes without room. */
static struct pair *in_hook;
static bool hook_got;

static void call_in_hook(test_blocks_t *blocks, const unsigned char *block, size_t size)
{
    (void)block, (void)size;
    blocks->on_free = NULL;
    bufferpool_budget_set(in_hook->budget, in_hook->bytes / 2); /* frees nothing now */
    hook_got = budget_make_room(in_hook->budget, in_hook->bytes);
    bufferpool_budget_set(in_hook->budget, 2 * in_hook->bytes);
}

static void a_hook_that_calls_while_room_is_made_goes_without(void **state)
{
    (void)state;
    struct pair p;
    test_blocks_t blocks = {0};
    begin_pair(&p);
    bufferpool_t *third = pool_of(&blocks, 0, p.budget);
    for (int i = 0; i < 2; i++)
        bufferpool_put(bufferpool_get(p.pools[i]));
    in_hook = &p;
    hook_got = true;
    p.blocks[1].on_free = call_in_hook;
    bufferpool_buf_t *buf = bufferpool_get(third); /* frees the one of the pool that joined last */
    assert_non_null(buf);
    assert_null(p.blocks[1].on_free);
    assert_false(hook_got);
    assert_int_equal(atomic_load(&p.blocks[0].count), 1); /* the other stays */
    bufferpool_put(buf);
    destroy_empty(third, &blocks);
    end_pair(&p);
}

static void room_that_ends_an_overload_takes_its_tickets_back(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_of(&blocks, 2, NULL);
    bufferpool_buf_t *bufs[2] = {bufferpool_get(pool), bufferpool_get(pool)};
    assert_null(bufferpool_try_get(pool)); /* under pressure: a put goes to the depot */
    bufferpool_put(bufs[0]);
    depot_cover(&pool->depot, 1); /* as if a cache had a ticket */
    store_relaxed(&pool->pressure.granted, 1);
    assert_true(reclaim_idle(pool, 1, false) > 0);
    store_relaxed(&pool->pressure.granted, 0);
    depot_end_tickets(&pool->depot, 1);
    bufferpool_put(bufs[1]);
    destroy_empty(pool, &blocks);
}

static void tickets_that_another_thread_was_quicker_to_take_are_not_granted(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_of(&blocks, 1, NULL);
    if (!steal_possible(pool)) {
        destroy_empty(pool, &blocks);
        skip(); /* no cache has tickets */
    }
    bufferpool_buf_t *bufs[12];
    for (int i = 0; i < 12; i++)
        bufs[i] = bufferpool_get(pool);
    store_relaxed(&pool->pressure.grant_after, 1);
    fail_once(TICKETS, 0);
    bufferpool_put(bufferpool_get(pool));
    assert_int_equal(atomic_load(&fails), 0);
    assert_int_equal(depot_counts(&pool->depot).tickets, 0);
    assert_int_equal(load_relaxed(&pool->pressure.granted), 0);
    bufferpool_put(bufferpool_get(pool)); /* nobody is in between now */
    assert_int_equal(depot_counts(&pool->depot).tickets, 1);
    assert_int_equal(load_relaxed(&pool->pressure.granted), 1);
    for (int i = 0; i < 12; i++)
        bufferpool_put(bufs[i]);
    destroy_empty(pool, &blocks);
}

static void lower_under_quarantine(void *arg)
{
    (void)arg;
    test_blocks_t blocks = {0};
    bufferpool_budget_t *budget = bufferpool_budget_create("held", (size_t)1 << 20);
    bufferpool_config_t config = config_with(&blocks);
    config.budget = budget;
    config.buffer_capacity = CAPACITY;
    bufferpool_t *pool = bufferpool_create(&config);
    bufferpool_put(bufferpool_get(pool));
    modes_check(bufferpool_budget_used(budget) > 0);
    bufferpool_budget_set(budget, 1);
    modes_check(bufferpool_budget_used(budget) == 0);
    modes_check(bufferpool_destroy(pool) == 0 && bufferpool_budget_destroy(budget) == 0);
}

static void what_the_quarantine_holds_makes_room_too(void **state)
{
    (void)state;
    (void)run_with_modes("quarantine=2", lower_under_quarantine, NULL);
    expect_outcome(0, NULL);
}

/* ---- shrink ---- */

static void shrink_damaged(void *buf)
{
    test_smash(((bufferpool_buf_t *)buf)->data - 1, 0x55, 1);
    (void)bufferpool_buf_shrink(buf, CAPACITY);
}

static void shrink_reports_bytes_overwritten_in_front_of_data(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_of(&blocks, 0, NULL);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_int_equal(bufferpool_buf_reserve(buf, 8 * CAPACITY), 0);
    expect_abort(shrink_damaged, buf, "bufferpool_buf_shrink", "in front of data", NULL);
    bufferpool_put(buf);
    destroy_empty(pool, &blocks);
}

/* ---- the default pool ---- */

static int configure_in_child(void *arg)
{
    (void)arg;
    bufferpool_budget_t *budget = bufferpool_budget_create("default", (size_t)1 << 20);
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.budget = budget;
    bool ok = bufferpool_configure_default(&config) == 0;
    ok = ok && bufferpool_budget_destroy(budget) == EBUSY;
    config.budget = NULL;
    config.flags = BUFFERPOOL_BACKGROUND | BUFFERPOOL_START_NOW;
    fail_once(THREAD, 0);
    ok = ok && bufferpool_configure_default(&config) == EAGAIN;
    config.flags = 0;
    ok = ok && bufferpool_configure_default(&config) == 0 && bufferpool_budget_destroy(budget) == 0;
    return ok ? 0 : 1;
}

static void the_default_pool_changes_its_budget_before_its_first_use(void **state)
{
    (void)state;
    assert_int_equal(run_in_child(configure_in_child, NULL, CHILD_SECONDS), 0);
}

static int use_in_child(void *arg)
{
    struct pair *p = arg;
    const bool ok = bufferpool_live(p->pools[0]) == 1 && bufferpool_budget_used(p->budget) == p->bytes;
    return ok ? 0 : 1;
}

static void a_child_counts_the_bytes_of_a_budget_anew(void **state)
{
    (void)state;
    struct pair p;
    begin_pair(&p);
    bufferpool_buf_t *buf = bufferpool_get(p.pools[0]);
    test_blocks_before_fork();
    assert_int_equal(run_in_child(use_in_child, &p, CHILD_SECONDS), 0);
    bufferpool_put(buf);
    end_pair(&p);
}

/* ---- the watch of memory ---- */

static char folder[128];

static void sources_that_cannot_be_opened_are_none(void **state)
{
    (void)state;
    char path[400], deep[300];
    watch = "/proc/self/status";
    const enum kind kinds[] = {OPEN, FSTAT, FSTATFS};
    for (size_t i = 0; i < 3; i++) {
        fail_once(kinds[i], 0);
        assert_null(shortage_open("/nowhere"));
    }
    /* a socket whose path is too long for an address */
    memset(path, 'd', sizeof path);
    snprintf(deep, sizeof deep, "%s/%.100s", folder, path);
    assert_int_equal(mkdir(deep, 0700), 0);
    char *const before = getcwd(NULL, 0);
    assert_int_equal(chdir(deep), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "s"};
    const int s = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof address), 0);
    snprintf(path, sizeof path, "%s/s", deep);
    watch = path;
    assert_null(shortage_open("/nowhere"));
    close(s);
    assert_int_equal(unlink("s"), 0);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(rmdir(deep), 0);
    free(before);
}

static void a_full_pipe_of_news_is_read_in_one_go(void **state)
{
    (void)state;
    char path[200];
    unsigned char page[4096] = {0};
    snprintf(path, sizeof path, "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    watch = path;
    struct shortage *s = shortage_open("/nowhere");
    assert_non_null(s);
    const int writer = __real_open(path, O_WRONLY | O_NONBLOCK, 0);
    while (write(writer, page, sizeof page) > 0)
        ;
    assert_true(shortage_wait(s, UINT64_MAX));
    close(writer);
    shortage_close(s);
    assert_int_equal(unlink(path), 0);
    watch = NULL;
}

static int make_folder(void **state)
{
    (void)state;
    const char *in = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.60s/seldom-XXXXXX", in != NULL ? in : "/tmp");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_quarantine_holds_makes_room_too), /* first: the modes are read once */
        cmocka_unit_test(the_default_pool_changes_its_budget_before_its_first_use),
        cmocka_unit_test(a_notifier_that_cannot_be_made_says_why),
        cmocka_unit_test(a_pool_that_is_closed_meanwhile_takes_no_waiter),
        cmocka_unit_test(more_loops_than_one_call_notes_are_rung),
        cmocka_unit_test(close_waits_for_an_owner_that_is_inside),
        cmocka_unit_test(nothing_holds_a_pool_whose_last_buffer_went),
        cmocka_unit_test(a_loop_waits_for_bytes_of_another_pool),
        cmocka_unit_test(a_closed_pool_gives_bytes_to_callers_of_others),
        cmocka_unit_test(a_waiting_thread_finds_bytes_that_nobody_told_it_of),
        cmocka_unit_test(a_reservation_that_comes_too_late_keeps_no_bytes),
        cmocka_unit_test(a_budget_without_memory_for_its_lock_is_not_made),
        cmocka_unit_test(what_a_call_left_idle_makes_room_for_one_that_waits),
        cmocka_unit_test(a_hook_that_calls_while_room_is_made_goes_without),
        cmocka_unit_test(room_that_ends_an_overload_takes_its_tickets_back),
        cmocka_unit_test(tickets_that_another_thread_was_quicker_to_take_are_not_granted),
        cmocka_unit_test(shrink_reports_bytes_overwritten_in_front_of_data),
        cmocka_unit_test(a_child_counts_the_bytes_of_a_budget_anew),
        cmocka_unit_test(sources_that_cannot_be_opened_are_none),
        cmocka_unit_test(a_full_pipe_of_news_is_read_in_one_go),
    };
    return cmocka_run_group_tests_name("seldom", tests, make_folder, remove_folder);
}
