/* SPDX-License-Identifier: MIT
 *
 * test_fork_first.c - a fork while another thread is in the process's first get
 *
 * That get holds the lock over all pools while it reads the environment. The test's own secure_getenv stops it there
 * until the main thread waits. The main thread should wait within fork, for that lock. If it waits for the child, the
 * child has a copy of the lock that nobody will open.
 */
#include "support/support.h"

#include "bufferpool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static _Atomic(bool) stopping, inside, forked;

/* Whether the main thread sleeps. */
static bool main_waits(void)
{
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)getpid());
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        (void)!fscanf(file, "%*d (%*[^)]) %c", &state);
        fclose(file);
    }
    return state == 'S';
}

char *__real_secure_getenv(const char *name);
char *__wrap_secure_getenv(const char *name);
char *__wrap_secure_getenv(const char *name)
{
    if (atomic_exchange(&stopping, false)) {
        atomic_store(&inside, true);
        while (!main_waits())
            sched_yield();
    }
    return __real_secure_getenv(name);
}

static void *get_first(void *arg)
{
    (void)arg;
    bufferpool_buf_t *buf = bufferpool_get(NULL);
    thread_check(buf != NULL);
    bufferpool_put(buf);
    while (!atomic_load(&forked)) /* one that had ended and was not joined, ThreadSanitizer would miss in the child */
        sched_yield();
    return NULL;
}

static void a_child_forked_during_the_first_use_can_use_the_library(void **state)
{
    (void)state;
    pthread_t thread;
    int status = -1;
    atomic_store(&stopping, true);
    assert_int_equal(pthread_create(&thread, NULL, get_first, NULL), 0);
    while (!atomic_load(&inside))
        sched_yield();
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);
        bufferpool_buf_t *buf = bufferpool_get(NULL);
        bufferpool_put(buf);
        _exit(buf != NULL ? 0 : 1);
    }
    atomic_store(&forked, true);
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_child_forked_during_the_first_use_can_use_the_library)};
    return cmocka_run_group_tests_name("fork_first", tests, NULL, NULL);
}
