/* SPDX-License-Identifier: MIT
 *
 * test_first_use.c - the first calls of a process come together, while the system takes its time to register it for
 * membarrier(2)
 *
 * The linker's --wrap holds one thread's registration for as long as the test wants. A thread that comes meanwhile must
 * not take "not yet" for "not possible": the pool would declare pressure over full caches, and every later get at the
 * cap would go beyond it. Each test is a child of its own, for there is one first use to a process; the child reports
 * by exit status, so checks record.
 *
 * The default pool's first use may also come while bufferpool_configure_default starts the pool's thread.
 */
#include "support/hands.h"

#include "create.h"
#include "steal.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { CAPACITY = 512, CAP = 8, REGISTER = 1 << 4, CHILD_SECONDS = 60 };

static _Thread_local bool is_held; /* this thread's registration waits for the test */
static sem_t arrived, may_go;

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list args;
    va_start(args, number);
    const int command = va_arg(args, int);
    va_end(args);
    if (number != SYS_membarrier)
        abort(); /* what else calls it? */
    if (command == REGISTER && is_held) {
        is_held = false;
        sem_post(&arrived);
        sem_wait_for_sure(&may_go);
    }
    return __real_syscall(number, command, 0, 0);
}

enum first_call { CREATE, GET };

static void register_and_hang(struct hand *hand)
{
    is_held = true;
    if (hand->want == CREATE)
        hand->pool = bufferpool_create(NULL);
    else
        bufferpool_put(bufferpool_get(NULL));
}

/* A registration is under way, and stays so until end_registering. */
static void begin_registering(struct hand *hand, enum first_call how)
{
    sem_init(&arrived, 0, 0);
    sem_init(&may_go, 0, 0);
    hand_begin(hand, NULL, 0);
    hand->want = how;
    hand_start(hand, register_and_hang);
    sem_wait_for_sure(&arrived);
}

static void end_registering(struct hand *hand)
{
    sem_post(&may_go);
    hand_finish(hand);
    if (hand->pool != NULL)
        thread_check(bufferpool_destroy(hand->pool) == 0);
    hand_end(hand);
}

static bufferpool_t *make_pool(void)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.max_live = CAP;
    return bufferpool_create(&config);
}

static void get_all(bufferpool_t *pool)
{
    bufferpool_buf_t *bufs[CAP];
    for (unsigned i = 0; i < CAP; i++)
        thread_check((bufs[i] = bufferpool_try_get(pool)) != NULL);
    for (unsigned i = 0; i < CAP; i++)
        bufferpool_put(bufs[i]);
    thread_check(stats_of(pool).gets_refused == 0);
}

/* All of the cap idles with a thread that sleeps; the calling thread gets all of it. */
static void get_what_idles_with_another(bufferpool_t *pool)
{
    struct hand sleeper;
    hand_begin(&sleeper, pool, 1);
    sleeper.want = CAP;
    hand_do(&sleeper, hand_get);
    hand_do(&sleeper, hand_put);
    thread_check(stats_of(pool).idle_thread == CAP);
    get_all(pool);
    hand_end(&sleeper);
}

static int child_of_two_creates(void *arg)
{
    struct hand first;
    begin_registering(&first, *(const enum first_call *)arg);
    bufferpool_t *pool = make_pool();
    thread_check(steal_possible(pool));
    get_what_idles_with_another(pool);
    end_registering(&first);
    get_all(pool);
    thread_check(laws_hold(pool, NULL, 0) && bufferpool_destroy(pool) == 0);
    end_child(test_recorded_failure() ? 1 : 0);
}

static int child_of_two_gets(void *arg)
{
    struct hand first;
    begin_registering(&first, *(const enum first_call *)arg);
    bufferpool_set_max_live(NULL, CAP);
    bufferpool_put(bufferpool_get(NULL));
    thread_check(steal_possible(&pool_default));
    bufferpool_thread_flush();
    get_what_idles_with_another(NULL);
    end_registering(&first);
    get_all(NULL);
    end_child(test_recorded_failure() ? 1 : 0);
}

/* The child has no thread that is at it. */
static int grandchild(void *arg)
{
    bufferpool_t *pool = make_pool();
    thread_check(steal_possible(pool));
    (void)arg;
    get_what_idles_with_another(pool);
    end_child(test_recorded_failure() ? 1 : 0);
}

static int child_that_forks(void *arg)
{
    struct hand first;
    begin_registering(&first, *(const enum first_call *)arg);
    const int status = run_in_child(grandchild, NULL, CHILD_SECONDS);
    end_registering(&first);
    end_child(status);
}

static void in_a_child(int (*child)(void *arg))
{
    if (TEST_TSAN || !test_can_steal())
        skip(); /* real fences there, or nothing to register for */
    for (enum first_call how = CREATE; how <= GET; how++)
        assert_int_equal(run_in_child(child, &how, CHILD_SECONDS), 0);
}

static void a_create_beside_a_registration_can_steal(void **state)
{
    (void)state;
    in_a_child(child_of_two_creates);
}

static void a_get_beside_a_registration_can_steal(void **state)
{
    (void)state;
    in_a_child(child_of_two_gets);
}

static void a_child_forked_beside_a_registration_can_steal(void **state)
{
    (void)state;
    in_a_child(child_that_forks);
}

static bool get_begins;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    if (get_begins) { /* as much of it as needs no lock that the calling thread has */
        get_begins = false;
        thread_check(create_first_use(&pool_default));
    }
    return __real_pthread_create(thread, attributes, run, arg);
}

static int child_that_configures(void *words)
{
    setenv("BUFFERPOOL_CONF", words, 1);
    get_begins = true;
    thread_check(
        bufferpool_configure_default(BUFFERPOOL_CONFIG(.name = "mine", .buffer_capacity = CAPACITY,
                                                       .flags = BUFFERPOOL_BACKGROUND | BUFFERPOOL_START_NOW)) == 0);
    thread_check(!get_begins && bufferpool_max_live(NULL) == CAP);
    bufferpool_buf_t *buf = bufferpool_get(NULL);
    thread_check(buf->cap == CAPACITY);
    bufferpool_put(buf);
    end_child(test_recorded_failure() ? 1 : 0);
}

static void a_get_beside_the_start_of_the_thread_finds_the_configuration(void **state)
{
    static char *const words[] = {"*.max_live=8", "mine.max_live=8,default.max_live=9", "mine.max_live=8,*.max_live=9"};
    (void)state;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        assert_int_equal(run_in_child(child_that_configures, words[i], CHILD_SECONDS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_create_beside_a_registration_can_steal),
        cmocka_unit_test(a_get_beside_a_registration_can_steal),
        cmocka_unit_test(a_child_forked_beside_a_registration_can_steal),
        cmocka_unit_test(a_get_beside_the_start_of_the_thread_finds_the_configuration),
    };
    return cmocka_run_group_tests_name("first_use", tests, NULL, NULL);
}
