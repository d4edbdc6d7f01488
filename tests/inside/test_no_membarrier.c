/* SPDX-License-Identifier: MIT
 *
 * test_no_membarrier.c - the system refuses membarrier(2), or madvise(2)
 *
 * Each case is a child of its own, with a seccomp filter that makes the call fail: from the start, or once the library
 * has registered and used it, or in one thread alone. Then the library does without the steps that are not safe: trim
 * leaves the caches of other threads alone, and a get goes beyond the cap early, by no more than the buffers that idle
 * there. Each thread moves its own buffers to the depot with its next call. Everything else works as ever. A child
 * reports by its exit status, so checks record here.
 */
#include "support/hands.h"

#include "steal.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CAPACITY = 512, CAP = 64, EACH = CAP / HANDS, CHILD_SECONDS = 60 };

/* ---- the filter ---- */

struct refusal {
    long number;
    int error;
    bool late; /* once the library has used it */
};

static bool refuse(const struct refusal *refusal)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)refusal->number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)refusal->error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

enum { CANNOT = 77 };

/* ---- the scene, in the child ---- */

static test_blocks_t blocks;
static bufferpool_t *pool;
static struct hand hands[HANDS];
static bufferpool_buf_t *bufs[CAP];

#define check(condition) thread_check(condition)

static void make_pool(size_t max_idle_bytes)
{
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = 2 * EACH * CAPACITY;
    config.max_live = CAP;
    config.max_idle_bytes = max_idle_bytes;
    pool = bufferpool_create(&config);
    check(pool != NULL);
}

static void check_state(size_t held)
{
    check(laws_hold(pool, &blocks, held));
}

/* The library has taken over caches before it is refused to do so. */
static void use_it_while_it_is_there(void)
{
    make_pool(0);
    hands_begin(hands, pool);
    hands_fill(hands, CAP, 0);
    check(!test_can_steal() || bufferpool_trim(pool) == (size_t)CAP * CAPACITY);
    for (unsigned i = 0; i < HANDS; i++)
        hand_end(&hands[i]);
    check(bufferpool_destroy(pool) == 0);
}

/* All of the cap idles with the hands, who were made under the filter. */
static int scene_begin(const struct refusal *refusal, size_t max_idle_bytes)
{
    if (refusal->late)
        use_it_while_it_is_there();
    if (!refuse(refusal))
        return CANNOT;
    make_pool(max_idle_bytes);
    hands_begin(hands, pool);
    hands_fill(hands, CAP, 0);
    check(stats_of(pool).idle_thread == CAP);
    return 0;
}

static _Noreturn void scene_end(void)
{
    hands_do(hands, hand_put);
    for (unsigned i = 0; i < HANDS; i++)
        hand_end(&hands[i]);
    bufferpool_thread_flush();
    check_state(0);
    check(stats_of(pool).idle_thread == 0); /* the ends of threads need no barrier */
    check(bufferpool_trim(pool) > 0);
    check(atomic_load(&blocks.count) == 0);
    check(bufferpool_destroy(pool) == 0);
    end_child(test_recorded_failure() ? 1 : 0);
}

/* Three ways to be refused. */
static void each_way(int (*child)(void *arg))
{
    static const struct refusal ways[] = {
        {SYS_membarrier, ENOSYS, false},
        {SYS_membarrier, EPERM, false},
        {SYS_membarrier, EPERM, true},
    };
    if (TEST_TSAN)
        skip(); /* which needs no membarrier */
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct refusal way = ways[i];
        const int status = run_in_child(child, &way, CHILD_SECONDS);
        if (status == CANNOT)
            skip();
        assert_int_equal(status, 0);
    }
}

/* ---- trim, reclaim, the cap ---- */

static int trim_child(void *arg)
{
    const int cannot = scene_begin(arg, 0);
    if (cannot)
        return cannot;
    hands[0].want = 1;
    for (unsigned i = 0; i < 3; i++)
        check(bufferpool_trim(pool) == 0);
    check(!steal_possible(pool));
    check(stats_of(pool).stolen == 0 && stats_of(pool).idle_thread == CAP);
    check_state(0);
    bufferpool_buf_t *buf = NULL;
    bufferpool_set_max_live(pool, 0);
    check((buf = bufferpool_get(pool)) != NULL);
    bufferpool_put(buf);
    check(bufferpool_trim(pool) == CAPACITY); /* its own */
    const uint64_t before = stats_of(pool).gets_thread;
    for (unsigned i = 0; i < HANDS; i++) { /* the gates are as open as before */
        hands[i].want = 5;
        hand_do(&hands[i], hand_use);
    }
    check(stats_of(pool).gets_thread == before + 5 * (uint64_t)HANDS);
    for (unsigned i = 0; i < 4; i++)
        (void)bufferpool_reclaim(pool);
    check(stats_of(pool).idle_thread == CAP);
    check_state(0);
    scene_end();
}

static void trim_and_reclaim_leave_the_caches_of_others_alone(void **state)
{
    (void)state;
    each_way(trim_child);
}

static int lowered_cap_child(void *arg)
{
    const int cannot = scene_begin(arg, 0);
    if (cannot)
        return cannot;
    bufferpool_set_max_live(pool, EACH);
    check(atomic_load(&blocks.count) == CAP);
    for (unsigned i = 0; i < HANDS - 1; i++) { /* each frees its own when it comes by */
        hands[i].want = 1;
        hand_do(&hands[i], hand_use);
        check(atomic_load(&blocks.count) == CAP - (i + 1) * EACH);
        check_state(0);
    }
    scene_end();
}

static void the_next_call_of_an_owner_frees_what_a_lowered_cap_forbids(void **state)
{
    (void)state;
    each_way(lowered_cap_child);
}

/* ---- at the cap ---- */

static int early_bypass_child(void *arg)
{
    const int cannot = scene_begin(arg, 0);
    if (cannot)
        return cannot;
    check(bufferpool_try_get(pool) == NULL && errno == EAGAIN); /* early: by what idles elsewhere, */
    bufferpool_buf_t *beyond = bufferpool_get(pool);
    check(stats_of(pool).gets_bypass == 1);
    check(load_relaxed(&pool->pressure.state) == PRESSURE_ON); /* so gets beyond it do not try again and again */
    check(atomic_load(&blocks.count) == CAP + 1);
    check_state(1);
    size_t n = 0;
    for (unsigned i = 0; i < HANDS; i++) { /* and no more: who comes by gives all of it */
        hands[i].want = 1;
        hand_do(&hands[i], hand_get);
        check(stats_of(pool).idle_thread == (uint64_t)CAP - (i + 1) * EACH);
        check(atomic_load(&blocks.count) == CAP); /* the first gave one too many, which was freed */
        for (unsigned k = i == 0 ? 2 : 1; k < EACH; k++)
            check((bufs[n++] = bufferpool_try_get(pool)) != NULL);
        check(bufferpool_try_get(pool) == NULL);
    }
    check(stats_of(pool).gets_bypass == 1); /* no hand did, either */
    check(stats_of(pool).live == CAP && stats_of(pool).bypass_live == 0);
    check_state(CAP);
    bufferpool_put(beyond);
    bufferpool_put_bulk(bufs, n);
    scene_end();
}

static void a_get_goes_beyond_the_cap_by_what_idles_elsewhere_until_owners_give_it_up(void **state)
{
    (void)state;
    each_way(early_bypass_child);
}

static void hand_take_what_it_had(struct hand *hand)
{
    for (unsigned i = 0; i < EACH; i++)
        if (check((hand->bufs[hand->n] = bufferpool_try_get(pool)) != NULL))
            hand->n++;
}

static int own_first_child(void *arg)
{
    const int cannot = scene_begin(arg, 0);
    if (cannot)
        return cannot;
    check(bufferpool_try_get(pool) == NULL);
    hand_do(&hands[1], hand_take_what_it_had);
    /* the lock is busy for a moment: that is no reason to be refused what it has itself */
    pthread_mutex_lock(&pool->caches_lock);
    hand_start(&hands[2], hand_take_what_it_had);
    usleep(20000); /* time enough to be refused */
    pthread_mutex_unlock(&pool->caches_lock);
    hand_finish(&hands[2]);
    check(hands[2].n == EACH);
    check(stats_of(pool).gets_refused == 1);
    scene_end();
}

static void an_owner_gets_from_its_own_cache(void **state)
{
    (void)state;
    each_way(own_first_child);
}

static void hand_wait_for_one(struct hand *hand)
{
    bufferpool_buf_t *buf = bufferpool_get_timed(pool, 10000);
    if (check(buf != NULL))
        hand->bufs[hand->n++] = buf;
}

static int waiting_child(void *arg)
{
    const int cannot = scene_begin(arg, 0);
    if (cannot)
        return cannot;
    hand_do(&hands[0], hand_take_what_it_had);
    hand_start(&hands[0], hand_wait_for_one);
    while (!depot_wanted(&pool->depot))
        sched_yield();
    hand_do(&hands[1], hand_wait_for_one); /* comes second, and brings enough for both */
    hand_finish(&hands[0]);
    check(hands[0].n == EACH + 1 && hands[1].n == 1);
    hand_start(&hands[0], hand_wait_for_one); /* there are still EACH - 2 */
    hand_finish(&hands[0]);
    scene_end();
}

static void a_thread_that_comes_to_wait_gives_up_its_own_cache(void **state)
{
    (void)state;
    each_way(waiting_child);
}

static int idle_limit_child(void *arg)
{
    const int cannot = scene_begin(arg, (size_t)CAP * CAPACITY);
    if (cannot)
        return cannot;
    hands_do(hands, hand_get); /* set aside and not used, */
    bufferpool_set_max_live(pool, 0);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    bufferpool_put(buf);
    check(stats_of(pool).drops_idle_limit == 1); /* is what cannot be collected here */
    hands_do(hands, hand_flush);                 /* but by its owner */
    bufferpool_put(bufferpool_get(pool));
    check(stats_of(pool).drops_idle_limit == 1);
    scene_end();
}

static void bytes_set_aside_return_with_a_flush(void **state)
{
    (void)state;
    each_way(idle_limit_child);
}

/* ---- one thread alone is refused, halfway ---- */

static struct refusal refusal_of_one;

static void hand_refused(struct hand *hand)
{
    (void)hand;
    if (!refuse(&refusal_of_one))
        end_child(CANNOT);
    check(bufferpool_trim(pool) == 0 || !steal_possible(pool)); /* finds out in the middle of it */
}

static int one_thread_child(void *arg)
{
    refusal_of_one = *(const struct refusal *)arg;
    make_pool(0);
    hands_begin(hands, pool);
    hands_fill(hands, CAP, 0);
    if (!steal_possible(pool))
        return CANNOT;
    hand_do(&hands[3], hand_refused);
    check(!steal_possible(pool));
    check(stats_of(pool).idle_thread == CAP - EACH); /* its own it could free */
    check(bufferpool_trim(pool) == 0);               /* from now on that is so for all: */
    check_state(0);
    const uint64_t before = stats_of(pool).gets_thread;
    for (unsigned i = 0; i < HANDS; i++) {
        hands[i].want = 5;
        hand_do(&hands[i], hand_use);
    }
    check(stats_of(pool).gets_thread >= before + 5 * (uint64_t)(HANDS - 1));
    scene_end();
}

static void a_refusal_in_one_thread_holds_for_all_threads(void **state)
{
    struct refusal way = {SYS_membarrier, EPERM, true};
    (void)state;
    if (TEST_TSAN)
        skip();
    const int status = run_in_child(one_thread_child, &way, CHILD_SECONDS);
    if (status == CANNOT)
        skip();
    assert_int_equal(status, 0);
}

/* ---- in earnest ---- */

static void churn(void *arg, unsigned index)
{
    const size_t turns = *(const size_t *)arg;
    test_random_t random = {index};
    bufferpool_buf_t *held[8];
    for (size_t turn = 0; turn < turns; turn++) {
        const size_t n = 1 + test_random_below(&random, 8);
        for (size_t i = 0; i < n; i++) {
            held[i] = i % 2 ? bufferpool_get(pool) : bufferpool_get_timed(pool, 1);
            if (held[i] != NULL)
                memset(held[i]->data, (int)(index * 8 + i), CAPACITY);
        }
        if (index == 0 && turn % 16 == 0)
            bufferpool_set_max_live(pool, 4 + turn % 29);
        if (index == 1 && turn % 8 == 0)
            (void)bufferpool_trim(pool);
        if (index == 2 && turn % 8 == 0)
            (void)bufferpool_reclaim(pool);
        for (size_t i = 0; i < n; i++) {
            const unsigned char mine = (unsigned char)(index * 8 + i);
            check(held[i] == NULL || (held[i]->data[0] == mine && held[i]->data[CAPACITY - 1] == mine));
            bufferpool_put(held[i]);
        }
    }
}

static int churn_child(void *arg)
{
    const struct refusal *refusal = arg;
    size_t turns = test_scale(1500, 60);
    if (refusal->late)
        use_it_while_it_is_there();
    make_pool(20 * CAPACITY);
    if (!refuse(refusal))
        return CANNOT;
    run_threads(6, churn, &turns);
    check_state(0);
    bufferpool_set_max_live(pool, 1);
    (void)bufferpool_trim(pool);
    check(atomic_load(&blocks.count) == 0); /* all threads have ended */
    check(bufferpool_destroy(pool) == 0);
    end_child(test_recorded_failure() ? 1 : 0);
}

static void the_other_promises_hold_without_membarrier(void **state)
{
    (void)state;
    each_way(churn_child);
}

/* ---- madvise ---- */

static int madvise_child(void *arg)
{
    enum { N = 40 };
    bufferpool_buf_t *held[N];
    if (!refuse(arg))
        return CANNOT;
    if (madvise(NULL, 0, MADV_NORMAL) == 0)
        return CANNOT;
    for (unsigned flags = 0; flags <= (BUFFERPOOL_ZERO | BUFFERPOOL_HUGEPAGES); flags++) {
        if (flags & BUFFERPOOL_BACKGROUND)
            continue;
        bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
        config.flags = flags;
        bufferpool_t *own = bufferpool_create(&config);
        for (size_t round = 0; round < 4; round++) {
            errno = 0;
            check(bufferpool_get_bulk(own, held, N) == 0);
            for (size_t i = 0; i < N; i++) {
                check(i % 4 != 0 || bufferpool_buf_reserve(held[i], (size_t)1 << (12 + i % 12)) == 0);
                test_fill(held[i]->data, 4000, i);
            }
            for (size_t i = 0; i < N; i++)
                check(test_filled(held[i]->data, 4000, i));
            bufferpool_put_bulk(held, N);
            check(round % 2 != 0 || bufferpool_trim(own) > 0);
            if (round % 2 != 0)
                (void)bufferpool_reclaim(own);
            check(errno == 0);
            check(laws_hold(own, NULL, 0));
        }
        (void)bufferpool_trim(own);
        check(stats_of(own).idle_bytes == 0);
        check(bufferpool_destroy(own) == 0);
    }
    end_child(test_recorded_failure() ? 1 : 0);
}

static void everything_works_without_madvise(void **state)
{
    struct refusal ways[] = {{SYS_madvise, ENOSYS, false}, {SYS_madvise, EPERM, false}};
    (void)state;
    if (TEST_SANITIZED)
        skip(); /* whose own memory depends on it */
    for (size_t i = 0; i < 2; i++) {
        const int status = run_in_child(madvise_child, &ways[i], CHILD_SECONDS);
        if (status == CANNOT)
            skip();
        assert_int_equal(status, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trim_and_reclaim_leave_the_caches_of_others_alone),
        cmocka_unit_test(the_next_call_of_an_owner_frees_what_a_lowered_cap_forbids),
        cmocka_unit_test(a_get_goes_beyond_the_cap_by_what_idles_elsewhere_until_owners_give_it_up),
        cmocka_unit_test(an_owner_gets_from_its_own_cache),
        cmocka_unit_test(a_thread_that_comes_to_wait_gives_up_its_own_cache),
        cmocka_unit_test(bytes_set_aside_return_with_a_flush),
        cmocka_unit_test(a_refusal_in_one_thread_holds_for_all_threads),
        cmocka_unit_test(the_other_promises_hold_without_membarrier),
        cmocka_unit_test(everything_works_without_madvise),
    };
    return cmocka_run_group_tests_name("no_membarrier", tests, NULL, NULL);
}
