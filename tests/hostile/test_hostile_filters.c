/* SPDX-License-Identifier: MIT
 *
 * test_hostile_filters.c - a seccomp filter refuses system calls
 *
 * The filter refuses with ENOSYS, as an old kernel does, and with EPERM, as a sandbox does: each of the calls that the
 * library can do without, and all of them together. Everything works, nothing is lost, and errno stays as it was; how
 * much memory stays resident is not looked at. test_no_membarrier.c says what else differs without membarrier(2). Each
 * case is a child, which reports by its exit status.
 */
#include "support/laws.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CAPACITY = 4096, CAP = 12, THREADS = 4, HELD = 6, CHILD_SECONDS = 60, CANNOT = 77, NUMBERS = 12 };

struct refusal {
    const char *name;
    long numbers[NUMBERS]; /* up to the first 0, which is read(2) */
    bool no_threads;       /* what is refused is to make them */
};

static const struct refusal refusals[] = {
    {"membarrier", {SYS_membarrier}, false},
    {"madvise", {SYS_madvise}, false},
#ifdef SYS_process_madvise
    {"process_madvise", {SYS_process_madvise}, false},
#endif
    {"munmap", {SYS_munmap}, false},
    {"mremap", {SYS_mremap}, false},
    {"sched_yield", {SYS_sched_yield}, false},
    {"getcpu", {SYS_getcpu}, false},
    {"clock_gettime", {SYS_clock_gettime}, false},
    {"openat and prctl, which name a thread", {SYS_openat, SYS_prctl}, false},
    {"clone", {SYS_clone, SYS_clone3}, true},
    {"all",
     {SYS_membarrier, SYS_madvise, SYS_munmap, SYS_mremap, SYS_sched_yield, SYS_getcpu, SYS_openat, SYS_clone,
      SYS_clone3},
     true},
};

static const struct refusal *refusal;
static int refusal_error;

static bool refuse(void)
{
    struct sock_filter filter[NUMBERS + 3] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    unsigned short n = 0, at = 1;
    while (refusal->numbers[n] != 0)
        n++;
    for (unsigned short i = 0; i < n; i++) /* to the last one; else on */
        filter[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)refusal->numbers[i],
                                                    (unsigned char)(n - i), 0);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)refusal_error);
    const struct sock_fprog program = {at, filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static bufferpool_t *pool;

static void use_it(void *arg, unsigned index)
{
    bufferpool_buf_t *bufs[HELD];
    const size_t turns = *(const size_t *)arg;
    for (size_t turn = 0; turn < turns; turn++) {
        errno = 0;
        thread_check(bufferpool_get_bulk(pool, bufs, HELD - 1) == 0);
        bufs[HELD - 1] = bufferpool_get_timed(pool, 0);
        thread_check(errno == (bufs[HELD - 1] == NULL ? ETIMEDOUT : 0));
        errno = 0;
        for (unsigned i = 0; i < HELD; i++) {
            if (bufs[i] == NULL)
                continue;
            const uint64_t seed = index * 100 + i;
            test_fill(bufs[i]->data, CAPACITY, seed);
            bufs[i]->len = CAPACITY;
            if ((turn + i) % 5 == 0) /* also mappings of their own, that grow */
                for (size_t cap = 3 * CAPACITY; cap < (size_t)1 << 20; cap *= 8)
                    thread_check(bufferpool_buf_reserve(bufs[i], cap) == 0);
            thread_check(test_filled(bufs[i]->data, CAPACITY, seed));
            bufs[i]->len = turn % 2 != 0 ? CAPACITY : 0;
        }
        bufferpool_put_bulk(bufs, HELD);
        if ((turn + index) % 8 == 0)
            (void)bufferpool_trim(pool);
        if ((turn + index) % 8 == 4)
            (void)bufferpool_reclaim(pool);
        thread_check(errno == 0);
    }
}

static int child(void *arg)
{
    static const unsigned flags[] = {0, BUFFERPOOL_ZERO, BUFFERPOOL_HUGEPAGES, BUFFERPOOL_BACKGROUND};
    size_t turns = test_scale(9, 9);
    const bool late = *(const bool *)arg; /* once the library has used what is then refused */
    if (late) {
        bufferpool_put(bufferpool_get(NULL));
        (void)bufferpool_trim(NULL);
    }
    if (!refuse())
        return CANNOT;
    for (size_t i = 0; i < 2 * sizeof flags / sizeof flags[0]; i++) {
        bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
        config.buffer_capacity = CAPACITY;
        config.max_capacity = (size_t)1 << 20;
        config.max_live = i % 2 != 0 ? CAP : 0;
        config.reclaim_interval_ms = 1;
        config.flags = flags[i / 2];
        pool = bufferpool_create(&config);
        if (!thread_check(pool != NULL))
            break;
        use_it(&turns, 0);
        if (!refusal->no_threads)
            run_threads(THREADS, use_it, &turns);
        bufferpool_stats_t stats;
        do /* again, while the library's thread has grown buffers in its hands */
            stats = stats_of(pool);
        while ((config.flags & BUFFERPOOL_BACKGROUND) != 0 && (idle_of(&stats) == 0) != (stats.idle_bytes == 0));
        if ((config.flags & BUFFERPOOL_BACKGROUND) == 0)
            thread_check(laws_hold(pool, NULL, 0));
        bufferpool_thread_flush();
        do /* again, if the library's thread has just taken a magazine, of which it puts a part back */
            (void)bufferpool_trim(pool);
        while ((config.flags & BUFFERPOOL_BACKGROUND) != 0 && stats_of(pool).idle_bytes != 0);
        thread_check(stats_of(pool).idle_bytes == 0);
        thread_check(bufferpool_destroy(pool) == 0);
    }
    end_child(test_recorded_failure() ? 1 : 0);
}

static void everything_works_without_a_system_call(void **state)
{
    refusal = *state;
    if (TEST_SANITIZED || test_under_valgrind())
        skip(); /* whose own runtime depends on them */
    for (int way = 0; way < 4; way++) {
        bool late = way >= 2;
        refusal_error = way % 2 != 0 ? EPERM : ENOSYS;
        /* without clone3 the C library tries clone, which has to tell the same */
        const int status = run_in_child(child, &late, CHILD_SECONDS);
        if (status == CANNOT)
            skip();
        assert_int_equal(status, 0);
    }
}

int main(void)
{
    enum { N = sizeof refusals / sizeof refusals[0] };
    static struct CMUnitTest tests[N];
    for (size_t i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){refusals[i].name, everything_works_without_a_system_call, NULL, NULL,
                                       (void *)(uintptr_t)&refusals[i]};
    return _cmocka_run_group_tests("hostile_filters", tests, N, NULL, NULL);
}
