/* SPDX-License-Identifier: MIT
 *
 * test_locked.c - in a process that locks its memory, a buffer makes only its block resident, and a trim gives memory
 * back
 *
 * Each case is a child that calls mlockall, and looks at the kernel's figures. With `old` the kernel knows no way to
 * give locked memory back (before Linux 5.18): the linker's --wrap refuses it. The cases are skipped where mlockall is
 * not allowed.
 */
#include "support/laws.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BUFFERS = 1000, APART = 50, CANNOT = 77 };

#define KIB ((size_t)1024)

static bool old;

int __real_madvise(void *at, size_t size, int what);
int __wrap_madvise(void *at, size_t size, int what);
int __wrap_madvise(void *at, size_t size, int what)
{
    if (old && what == 24 /* MADV_DONTNEED_LOCKED */) {
        errno = EINVAL;
        return -1;
    }
    return __real_madvise(at, size, what);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list args;
    va_start(args, number);
    const long a = va_arg(args, long), b = va_arg(args, long), c = va_arg(args, long), d = va_arg(args, long),
               e = va_arg(args, long), f = va_arg(args, long);
    va_end(args);
#ifdef SYS_process_madvise
    if (old && number == SYS_process_madvise) {
        errno = EINVAL;
        return -1;
    }
#endif
    return __real_syscall(number, a, b, c, d, e, f);
}

/* On one CPU, so that all blocks come from one slab after the other: threads on other CPUs take from others. */
static bool lock_memory(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0)
        return false;
    const struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    (void)setrlimit(RLIMIT_MEMLOCK, &limit);
    return mlockall(MCL_CURRENT | MCL_FUTURE) == 0;
}

static int one_buffer(void *arg)
{
    (void)arg;
    if (!lock_memory())
        return CANNOT;
    bufferpool_t *pool = bufferpool_create(NULL);
    const size_t before = test_resident_bytes();
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL || test_resident_bytes() - before > 256 * KIB)
        return 1;
    memset(buf->data, 1, buf->cap);
    if (mlockall(MCL_CURRENT) != 0) /* it is locked: the kernel says so by not giving it up */
        return CANNOT;
    return __real_madvise((void *)((uintptr_t)buf->data & ~(uintptr_t)4095), 4096, MADV_DONTNEED) == 0 ? 2 : 0;
}

static int burst(void *arg)
{
    static bufferpool_buf_t *bufs[BUFFERS];
    old = *(const bool *)arg;
    if (!lock_memory())
        return CANNOT;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = 32 * KIB;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    bufferpool_t *pool = bufferpool_create(&config);
    for (int i = 0; i < BUFFERS; i++) {
        if ((bufs[i] = bufferpool_get(pool)) == NULL)
            return 1;
        memset(bufs[i]->data, 1, bufs[i]->cap);
    }
    for (int i = 0; i < BUFFERS; i++) /* one of a slab is held, so that no span can be unmapped */
        if (i % APART != 0)
            bufferpool_put(bufs[i]);
    const size_t full = test_resident_bytes();
    const size_t said = bufferpool_trim(pool), now = test_resident_bytes(), fell = now < full ? full - now : 0;
    const size_t idle = (BUFFERS - BUFFERS / APART) * bufs[0]->cap;
    if (old ? said > idle / 10 : said != idle)
        return 2;
    if (fell < said / 10 * 9 || (old && fell > idle / 10))
        return 3;
    if (stats_of(pool).reclaimed_bytes != said)
        return 4;
    for (int i = 0; i < BUFFERS; i += APART) {
        if (bufs[i]->data[0] != 1 || bufs[i]->data[bufs[i]->cap - 1] != 1)
            return 5;
        bufferpool_put(bufs[i]);
    }
    /* now whole spans go, whatever the kernel knows */
    if (bufferpool_trim(pool) != BUFFERS / APART * config.buffer_capacity)
        return 6;
    return test_resident_bytes() > full - idle / 10 * 9 ? 7 : 0;
}

static void expect_of(int (*fn)(void *arg), void *arg)
{
    if (test_instrumented())
        skip();
    const int status = run_in_child(fn, arg, 60);
    if (status == CANNOT)
        skip();
    assert_int_equal(status, 0);
}

static void a_buffer_makes_only_its_block_resident(void **state)
{
    (void)state;
    expect_of(one_buffer, NULL);
}

static void a_trim_gives_locked_memory_back(void **state)
{
    (void)state;
    bool before_5_18 = false;
    expect_of(burst, &before_5_18);
}

static void a_trim_does_not_claim_memory_that_stays(void **state)
{
    (void)state;
    bool before_5_18 = true;
    expect_of(burst, &before_5_18);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_makes_only_its_block_resident),
        cmocka_unit_test(a_trim_gives_locked_memory_back),
        cmocka_unit_test(a_trim_does_not_claim_memory_that_stays),
    };
    return cmocka_run_group_tests_name("locked", tests, NULL, NULL);
}
