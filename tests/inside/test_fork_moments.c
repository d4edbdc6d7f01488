/* SPDX-License-Identifier: MIT
 *
 * test_fork_moments.c - fork at each system call that the library makes
 *
 * The linker's --wrap shows the moments. At each, two things happen in turn. A signal handler forks, on the thread that
 * makes the call: where that thread has a lock that fork needs, the parent must go on all the same, and the child may
 * end or call exec, and hears of it if it calls the library. And another thread forks, if the locks are free: its child
 * finds the call half done by a thread that it does not have, and must have everything in order.
 */
#include "support/accounts.h"

#include "support/inside.h"

#include "lock.h"
#include "tls_cache.h"

#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { CAPACITY = 4096, MANY = 300, HELD = 4, SECONDS = 60 };

static bufferpool_t *pool;
static bufferpool_buf_t *held[HELD];
static _Thread_local bool armed;                         /* this thread's calls are moments */
static size_t handlers_inside, handlers_outside, others; /* forks */

enum call { THAT_MAKES, THAT_FREES };

static void moment(enum call call);

/* ---- the moments ---- */

void *__real_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
    moment(THAT_MAKES);
    return __real_mmap(at, n, protection, flags, fd, offset);
}

int __real_munmap(void *at, size_t n);
int __wrap_munmap(void *at, size_t n);
int __wrap_munmap(void *at, size_t n)
{
    moment(THAT_FREES);
    return __real_munmap(at, n);
}

int __real_madvise(void *at, size_t n, int advice);
int __wrap_madvise(void *at, size_t n, int advice);
int __wrap_madvise(void *at, size_t n, int advice)
{
    moment(THAT_FREES);
    return __real_madvise(at, n, advice);
}

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
    moment(THAT_MAKES);
    return __real_malloc(n);
}

void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n)
{
    moment(THAT_MAKES);
    return __real_aligned_alloc(align, n);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list args;
    va_start(args, number);
    const long a = va_arg(args, long), b = va_arg(args, long), c = va_arg(args, long), d = va_arg(args, long),
               e = va_arg(args, long);
    va_end(args);
    moment(THAT_FREES);
    return __real_syscall(number, a, b, c, d, e);
}

/* ---- the children ---- */

static bool use(size_t n)
{
    bufferpool_buf_t *bufs[MANY];
    for (size_t i = 0; i < n; i++) {
        if ((bufs[i] = bufferpool_get(pool)) == NULL)
            return false;
        test_fill(bufs[i]->data, CAPACITY, i);
    }
    for (size_t i = 0; i < n; i++) {
        if (!test_filled(bufs[i]->data, CAPACITY, i))
            return false;
        bufferpool_put(bufs[i]);
    }
    return true;
}

/* A child whose parent's call is half done. What that call had already is lost or live. */
static int use_all(void *unused)
{
    (void)unused;
    bufferpool_put(bufferpool_get(NULL));
    if (pool == NULL)
        return 0;
    if (!accounts_agree(pool))
        return 1;
    for (size_t i = 0; i < HELD; i++)
        if (held[i] != NULL && !test_filled(held[i]->data, 64, 100 + i))
            return 2;
    if (!use(MANY) || !accounts_agree(pool))
        return 3;
    (void)bufferpool_trim(pool);
    if (!use(MANY) || !accounts_agree(pool))
        return 4;
    return 0;
}

static void get_one(void *unused)
{
    (void)unused;
    (void)bufferpool_get(pool);
}

static void create_one(void *unused)
{
    (void)unused;
    (void)bufferpool_create(NULL);
}

static void use_in_a_child(void *unused)
{
    if (fork() == 0)
        get_one(unused);
    int status = 0;
    (void)wait(&status);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
        abort();
}

static int end_by_exit(void *unused)
{
    (void)unused;
    exit(0);
}

static int end_at_once(void *unused)
{
    (void)unused;
    _exit(0);
}

static int end_the_thread(void *unused)
{
    (void)unused;
    pthread_exit(NULL);
}

static int call_exec(void *unused)
{
    (void)unused;
    execlp("true", "true", (char *)NULL);
    return 1;
}

static void (*const calls[])(void *) = {get_one, create_one, use_in_a_child};
static int (*const ends[])(void *) = {end_by_exit, end_at_once, call_exec, end_the_thread};

/* ---- the forks ---- */

static void on_signal(int number)
{
    static const char says[] = "called in a child that a signal handler forked in the middle of another call";
    (void)number;
    if (locks_held == 0) {
        handlers_outside++;
        assert_int_equal(run_in_child(use_all, NULL, SECONDS), 0);
        return;
    }
    const size_t n = handlers_inside++;
    if (n % 2 == 0 && !TEST_SANITIZED) /* whose own locks may be taken */
        expect_abort(calls[n / 2 % 3], NULL, says, NULL);
    else /* what a call was about to have is a leak where the child ends as usual */
        assert_int_equal(run_in_child(TEST_ASAN ? end_at_once : ends[n / 2 % 4], NULL, SECONDS), 0);
}

static sem_t go, done;
static int status_of_other;

static void *fork_when_told(void *unused)
{
    for (;;) {
        while (sem_wait(&go) != 0)
            ;
        status_of_other = run_in_child(use_all, NULL, SECONDS);
        sem_post(&done);
    }
    return unused;
}

/* Memory is given back while the heap's lock, which the call goes on to have, is let go. */
static bool locks_are_free(enum call call)
{
    if (locks_held != 1 || call != THAT_FREES || pool == NULL || pthread_mutex_trylock(&pool->heap.slabs.lock) != 0)
        return locks_held == 0;
    pthread_mutex_unlock(&pool->heap.slabs.lock);
    return true;
}

static void moment(enum call call)
{
    if (!armed)
        return;
    armed = false;
    (void)raise(SIGUSR1);
    // cppcheck-suppress unreachableCode ; raise returns
    if (locks_are_free(call) && !TEST_TSAN) {
        others++;
        sem_post(&go);
        while (sem_wait(&done) != 0)
            ;
        assert_int_equal(status_of_other, 0);
    }
    armed = true;
}

/* ---- the calls ---- */

static void do_all(unsigned flags, size_t max_live)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.max_capacity = (size_t)1 << 21;
    config.thread_cache_bytes = (size_t)8 * CAPACITY;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    config.flags = flags;
    config.max_live = max_live;
    armed = true;
    bufferpool_t *made = bufferpool_create(&config);
    armed = false;
    assert_non_null(made);
    pool = made;
    armed = true;
    for (size_t i = 0; i < HELD; i++) {
        bufferpool_buf_t *buf = bufferpool_get(pool);
        test_fill(buf->data, 64, 100 + i);
        buf->len = 64;
        held[i] = buf;
    }
    assert_true(use(MANY));
    for (size_t size = 2 * (size_t)CAPACITY; size <= (size_t)1 << 21; size *= 2)
        assert_int_equal(bufferpool_buf_reserve(held[1], size), 0);
    assert_int_equal(bufferpool_buf_reserve(held[2], (size_t)1 << 19), 0);
    for (size_t size = (size_t)1 << 20; size > CAPACITY / 2; size /= 8)
        assert_int_equal(bufferpool_buf_shrink(held[1], size), 0);
    bufferpool_buf_t *put = held[2];
    held[2] = NULL;
    bufferpool_put(put);
    (void)bufferpool_trim(pool);
    assert_true(use(MANY));
    bufferpool_set_max_live(pool, HELD);
    assert_true(use(MANY));
    (void)bufferpool_reclaim(pool);
    armed = false;
    assert_true(accounts_agree(pool) && laws_hold(pool, NULL, HELD - 1));
    for (size_t i = 0; i < HELD; i++) {
        bufferpool_put(held[i]);
        held[i] = NULL;
    }
    assert_true(laws_hold(pool, NULL, 0));
    made = pool;
    pool = NULL;
    armed = true;
    assert_int_equal(bufferpool_destroy(made), 0);
    armed = false;
}

static void the_parent_goes_on_and_the_child_is_in_order(void **state)
{
    (void)state;
    if (TEST_TSAN) /* it reports every allocation of a signal handler, and a child of such a handler allocates */
        skip();
    test_blocks_before_fork();
    const struct sigaction on = {.sa_handler = on_signal}, off = {.sa_handler = SIG_DFL};
    pthread_t thread;
    assert_int_equal(sem_init(&go, 0, 0) | sem_init(&done, 0, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, fork_when_told, NULL), 0);
    assert_int_equal(sigaction(SIGUSR1, &on, NULL), 0);
    do_all(0, 0);
    do_all(BUFFERPOOL_ZERO, 0);
    do_all(0, HELD + 20);
    assert_int_equal(sigaction(SIGUSR1, &off, NULL), 0);
    assert_true(handlers_inside >= 6 && handlers_outside > 0);
    assert_true(others > 0);
    print_message("forks in handlers: %zu with a lock, %zu without; by another thread: %zu\n", handlers_inside,
                  handlers_outside, others);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_parent_goes_on_and_the_child_is_in_order)};
    return cmocka_run_group_tests_name("fork_moments", tests, NULL, NULL);
}
