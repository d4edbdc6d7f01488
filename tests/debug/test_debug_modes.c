/* SPDX-License-Identifier: MIT
 *
 * test_debug_modes.c - how BUFFERPOOL_DEBUG is read, and the modes that report no misuse: fail, chaos, nopool, stats
 *
 * The library reads the variable once, so each scenario is a child that sets it first; the parent never calls the
 * library. For a program with the rights of another user the test makes a setuid copy of itself.
 */
#include "support/laws.h"

#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>

#define KNOWN "known are poison, redzone, quarantine=N, nopool, holders, stats, fail=N, chaos\n"

static bufferpool_t *make_pool(size_t capacity, size_t cap, test_blocks_t *blocks)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    if (blocks != NULL)
        config = config_with(blocks);
    config.name = "ledger";
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    config.buffer_capacity = capacity;
    config.max_live = cap;
    bufferpool_t *pool = bufferpool_create(&config);
    modes_check(pool != NULL);
    return pool;
}

/* ---- reading ---- */

static void use(void *arg)
{
    (void)arg;
    errno = 77;
    bufferpool_put(bufferpool_get(NULL));
    modes_check(errno == 77);
}

static void each_word_alone_prints_nothing(void **state)
{
    (void)state;
    static const char *const silent[] = {
        NULL,
        "",
        ",",
        " , ,, ",
        "poison",
        "redzone",
        "quarantine=1",
        "quarantine=1000000000",
        "nopool",
        "holders",
        "chaos",
        "fail=9",
        "fail=1000000000",
        "fail=007",
        ",,poison,, ,redzone,",
    };
    for (size_t i = 0; i < sizeof silent / sizeof silent[0]; i++) {
        if (run_with_modes(silent[i], use, NULL)->n != 0)
            fail_msg("'%s' says: %s", silent[i] != NULL ? silent[i] : "nothing",
                     run_with_modes(silent[i], use, NULL)->err);
        expect_outcome(0, NULL);
    }
}

static void wrong_words_are_reported_and_the_others_hold(void **state)
{
    (void)state;
    static const struct {
        const char *modes, *says;
    } wrong[] = {
        {"poison=1", "'poison=1' takes no value, and is ignored\n"},
        {"poison=", "'poison=' takes no value"},
        {"quarantine", "'quarantine' needs a number from 1 to 1000000000 behind a '=', and is ignored\n"},
        {"quarantine=", "'quarantine=' needs a number"},
        {"quarantine=0", "'quarantine=0' needs a number"},
        {"quarantine=x", "'quarantine=x' needs a number"},
        {"quarantine=1x", "'quarantine=1x' needs a number"},
        {"quarantine=-1", "'quarantine=-1' needs a number"},
        {"quarantine=+1", "'quarantine=+1' needs a number"},
        {"quarantine=1=2", "'quarantine=1=2' needs a number"},
        {"quarantine=1000000001", "'quarantine=1000000001' needs a number"},
        {"fail=4294967297", "'fail=4294967297' needs a number"},
        {"fail", "'fail' needs a number"},
        {"Poison", "'Poison' is not known, and is ignored; " KNOWN},
        {"poisonous", "'poisonous' is not known, and is ignored; " KNOWN},
        {"pois", "'pois' is not known"},
        {"=", "'=' is not known"},
        {"=1", "'=1' is not known"},
        {"redzone,nonsense,chaos", "'nonsense' is not known"},
        {"a,b", "libbufferpool: BUFFERPOOL_DEBUG: 'b' is not known"},
        {"0123456789012345678901234567890123456789012345678901234567890123456789",
         "'0123456789012345678901234567890123456789012345678901234567890123' is"},
        {"a,b,c,d,e,f,g,h,i,j,k,l", KNOWN "libbufferpool: BUFFERPOOL_DEBUG: more of it is ignored\n"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const test_outcome_t *outcome = run_with_modes(wrong[i].modes, use, NULL);
        const bool more = strstr(outcome->err, "more of it") != NULL;
        if (more != (strstr(wrong[i].says, "more of it") != NULL))
            fail_msg("'%s' says: %s", wrong[i].modes, outcome->err);
        expect_outcome(0, "libbufferpool: BUFFERPOOL_DEBUG: '", wrong[i].says, NULL);
    }
}

/* How many of ten buffers put one after the other are held back. */
static void expect_held_back(void *arg)
{
    bufferpool_buf_t *bufs[10];
    bufferpool_t *pool = make_pool(4096, 0, NULL);
    modes_check(bufferpool_get_bulk(pool, bufs, 10) == 0);
    bufferpool_put_bulk(bufs, 10);
    modes_check(stats_of(pool).idle_depot == *(const unsigned *)arg);
    modes_check(bufferpool_destroy(pool) == 0);
}

static void the_last_of_two_numbers_counts_and_a_wrong_one_changes_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *modes;
        unsigned held;
    } cases[] = {{"quarantine=3,quarantine=5", 5},
                 {"quarantine=5, quarantine=3", 3},
                 {"quarantine=4,quarantine=x", 4},
                 {"quarantine=9,wrong", 9},
                 {"poison,poison", 0},
                 {"quarantine=00007", 7}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned held = cases[i].held;
        run_with_modes(cases[i].modes, expect_held_back, &held);
        expect_outcome(0, NULL);
    }
}

static void read_late(void *arg)
{
    unsigned none = 0;
    use(arg);
    setenv("BUFFERPOOL_DEBUG", "quarantine=5,nonsense", 1);
    expect_held_back(&none);
}

static void the_variable_is_read_once(void **state)
{
    (void)state;
    modes_check(run_with_modes(NULL, read_late, NULL)->n == 0);
    expect_outcome(0, NULL);
}

static int as_setuid(void)
{
    if (getauxval(AT_SECURE) == 0)
        return TEST_NOT_SECURE;
    unsigned none = 0;
    expect_held_back(&none);
    return 0;
}

static void run_copy(void *arg)
{
    (void)arg;
    test_run_setuid_copy();
}

static void the_variable_is_ignored_in_a_setuid_program(void **state)
{
    (void)state;
    if (geteuid() != 0 || test_instrumented()) {
        print_message("only root can make a program of another user's\n");
        skip();
    }
    if (run_with_modes("quarantine=5,nonsense", run_copy, NULL)->status == TEST_NOT_SECURE) {
        print_message("no setuid program runs here\n");
        skip();
    }
    expect_outcome(0, NULL);
    assert_null(strstr(run_with_modes("quarantine=5,nonsense", run_copy, NULL)->err, "nonsense"));
}

/* ---- fail ---- */

static void every_get_fails(void *arg)
{
    (void)arg;
    bufferpool_buf_t *bufs[2];
    bufferpool_t *pool = make_pool(4096, 2, NULL);
    for (int i = 0; i < 5; i++) {
        errno = 0;
        modes_check(bufferpool_get(pool) == NULL && errno == ENOMEM);
        errno = 0;
        modes_check(bufferpool_try_get(pool) == NULL && errno == ENOMEM);
        errno = 0;
        modes_check(bufferpool_get_timed(pool, 5) == NULL && errno == ENOMEM);
        modes_check(bufferpool_get_bulk(pool, bufs, 2) == ENOMEM);
        modes_check(bufferpool_get(NULL) == NULL);
    }
    modes_check(laws_hold(pool, NULL, 0) && stats_of(pool).gets_fresh == 0);
    modes_check(bufferpool_destroy(pool) == 0);
}

/* Also beyond the cap, where a get has two ways to make a buffer. */
static void every_third_fails(void *arg)
{
    (void)arg;
    bufferpool_buf_t *bufs[60];
    size_t held = 0;
    bufferpool_t *pool = make_pool(4096, 10, NULL);
    for (int i = 1; i <= 60; i++) {
        bufferpool_buf_t *buf = bufferpool_get(pool);
        modes_check((buf == NULL) == (i % 3 == 0));
        if (buf != NULL)
            bufs[held++] = buf;
    }
    modes_check(held == 40 && stats_of(pool).bypass_live == 30 && laws_hold(pool, NULL, 40));
    for (int i = 1; i <= 9; i++) { /* growth counts too, and leaves a buffer as it is */
        modes_check(bufferpool_buf_append(bufs[i], "abc", 3) == 0);
        const int error = bufferpool_buf_reserve(bufs[i], 10000);
        modes_check(error == (i % 3 == 0 ? ENOMEM : 0));
        modes_check((bufs[i]->cap == 4096) == (i % 3 == 0) && bufs[i]->len == 3 &&
                    memcmp(bufs[i]->data, "abc", 3) == 0);
    }
    bufferpool_put_bulk(bufs, held);
    modes_check(laws_hold(pool, NULL, 0) && bufferpool_destroy(pool) == 0);
}

static void every_nth_allocation_fails(void **state)
{
    (void)state;
    static const char *const others[] = {"", "poison,redzone,", "holders,", "quarantine=3,", "nopool,", "stats,"};
    char modes[64];
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        snprintf(modes, sizeof modes, "%sfail=1", others[i]);
        run_with_modes(modes, every_get_fails, NULL);
        expect_outcome(0, NULL);
        snprintf(modes, sizeof modes, "%sfail=3", others[i]);
        run_with_modes(modes, every_third_fails, NULL);
        expect_outcome(0, NULL);
    }
}

/* ---- a configuration that is refused ---- */

static void create_in_vain(void *arg)
{
    modes_check(bufferpool_create(arg) == NULL && errno == EINVAL);
}

static void configure_in_vain(void *arg)
{
    modes_check(bufferpool_configure_default(arg) == EINVAL);
}

static void *hook_alloc(size_t size, size_t align, void *ctx)
{
    (void)size, (void)align, (void)ctx;
    return NULL;
}

static void hook_free(void *block, size_t size, void *ctx)
{
    (void)block, (void)size, (void)ctx;
}

#define refused(says, ...)                                                                                             \
    do {                                                                                                               \
        bufferpool_config_t config_ = {.size = sizeof(bufferpool_config_t), __VA_ARGS__};                              \
        run_with_modes("fail=1000", create_in_vain, &config_);                                                         \
        expect_outcome(0, "libbufferpool: bufferpool_create: " says, NULL);                                            \
        assert_int_equal(run_with_modes(NULL, create_in_vain, &config_)->n, 0);                                        \
    } while (0)

static void a_mode_tells_why_a_configuration_is_refused(void **state)
{
    (void)state;
    bufferpool_config_t zeroed = {0}, small = {.size = 8}, large = {.size = 4096};
    run_with_modes("holders", create_in_vain, &zeroed);
    expect_outcome(0, "libbufferpool: bufferpool_create: size is 0: start from BUFFERPOOL_CONFIG_INIT\n", NULL);
    run_with_modes("holders", create_in_vain, &small);
    expect_outcome(0, "libbufferpool: bufferpool_create: size (8) is less than that of the first version (", NULL);
    run_with_modes("holders", create_in_vain, &large);
    expect_outcome(0, "libbufferpool: bufferpool_create: size (4096) is more than this version of the library knows (",
                   NULL);
    run_with_modes("holders", configure_in_vain, &small);
    expect_outcome(0, "libbufferpool: bufferpool_configure_default: size (8) is less than", NULL);
    refused("alignment (48) is no power of two\n", .alignment = 48);
    refused("alignment (1048576) is more than the page size (", .alignment = 1 << 20);
    refused("buffer_capacity (", .buffer_capacity = SIZE_MAX / 2);
    refused("max_capacity (", .max_capacity = SIZE_MAX / 2);
    refused("max_capacity (4096) is less than buffer_capacity (32768)\n", .max_capacity = 4096);
    refused("alloc is set without free\n", .alloc = hook_alloc);
    refused("free is set without alloc\n", .free = hook_free);
    refused("retain_ms (4294967295) is BUFFERPOOL_NEVER\n", .retain_ms = BUFFERPOOL_NEVER);
    refused("flags (1073741825) has bits that are not known (1073741824)\n", .flags = 0x40000000u | BUFFERPOOL_ZERO);
    refused("flags (32) has BUFFERPOOL_START_NOW without BUFFERPOOL_BACKGROUND or BUFFERPOOL_PRESSURE\n",
            .flags = BUFFERPOOL_START_NOW);
}

/* ---- chaos ---- */

enum { HELD = 16, TURNS = 500 };

static int number_of(bufferpool_buf_t *const *all, const bufferpool_buf_t *buf)
{
    int i = 0;
    while (i < HELD && all[i] != buf)
        i++;
    return i;
}

static void shuffle(void *arg)
{
    (void)arg;
    bufferpool_buf_t *bufs[HELD], *again[HELD];
    bufferpool_t *pool = make_pool(4096, 0, NULL);
    unsigned stacked = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        modes_check(bufferpool_get_bulk(pool, bufs, HELD) == 0);
        const uint64_t freed = stats_of(pool).drops_idle_limit;
        bufferpool_put_bulk(bufs, HELD);
        const size_t left = HELD - (size_t)(stats_of(pool).drops_idle_limit - freed);
        modes_check(bufferpool_get_bulk(pool, again, left) == 0);
        bool downwards = true;
        for (size_t i = 0; i < left; i++) {
            fprintf(stderr, "%c", 'a' + number_of(bufs, again[i]));
            modes_check(number_of(bufs, again[i]) < HELD);
            downwards = downwards && (i == 0 || number_of(bufs, again[i]) < number_of(bufs, again[i - 1]));
        }
        stacked += downwards;
        bufferpool_put_bulk(again, left);
    }
    const bufferpool_stats_t s = stats_of(pool);
    const uint64_t puts = sum_of_puts(&s);
    modes_check(s.drops_idle_limit > puts * 22 / 100 && s.drops_idle_limit < puts * 28 / 100);
    modes_check(stacked < 5 && laws_hold(pool, NULL, 0));
    modes_check(bufferpool_destroy(pool) == 0);
}

static void chaos_shuffles_and_frees_a_quarter_the_same_in_every_run(void **state)
{
    (void)state;
    static char first[sizeof(test_outcome_t)];
    memcpy(first, run_with_modes("chaos", shuffle, NULL)->err, sizeof((test_outcome_t *)0)->err);
    expect_outcome(0, NULL);
    assert_string_equal(first, run_with_modes("chaos", shuffle, NULL)->err);
    assert_true(strlen(first) > (size_t)TURNS * HELD / 2);
}

/* ---- nopool ---- */

static void make_and_free_each(void *arg)
{
    (void)arg;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = make_pool(4096, 3, &blocks);
    for (size_t i = 1; i <= 20; i++) {
        bufferpool_buf_t *buf = bufferpool_get(pool);
        modes_check(atomic_load(&blocks.allocs) == i && atomic_load(&blocks.frees) == i - 1);
        bufferpool_put(buf);
        modes_check(atomic_load(&blocks.frees) == i);
    }
    modes_check(stats_of(pool).drops_idle_limit == 20 && stats_of(pool).gets_fresh == 20 &&
                laws_hold(pool, &blocks, 0));
    modes_check(bufferpool_destroy(pool) == 0);

    if (sizeof(void *) >= 8) { /* where they are smaller there may be as much */
        pool = make_pool((size_t)PTRDIFF_MAX / 4, 0, NULL);
        errno = 0;
        modes_check(bufferpool_get(pool) == NULL && errno == ENOMEM && bufferpool_destroy(pool) == 0);
    }

    pool = make_pool(100, 1, NULL);
    bufferpool_buf_t *bufs[3];
    modes_check(bufferpool_get_bulk(pool, bufs, 3) == 0 && stats_of(pool).bypass_live == 2);
    modes_check(bufferpool_buf_reserve(bufs[0], 3000000) == 0 && bufferpool_buf_reserve(bufs[2], 200) == 0);
    memset(bufs[0]->data, 1, bufs[0]->cap);
    bufferpool_put_bulk(bufs, 3);
    modes_check(idle_of(&(bufferpool_stats_t[]){stats_of(pool)}[0]) == 0 && laws_hold(pool, NULL, 0));
    modes_check(bufferpool_destroy(pool) == 0);
}

static bufferpool_t *waited_for;

static void *wait_for_one(void *arg)
{
    (void)arg;
    return bufferpool_get_timed(waited_for, 60000);
}

/* Not even to who waits goes what was put. */
static void wait_for_a_new_one(void *arg)
{
    (void)arg;
    pthread_t thread;
    void *got = NULL;
    test_blocks_t blocks = {0};
    waited_for = make_pool(4096, 1, &blocks);
    bufferpool_buf_t *buf = bufferpool_get(waited_for);
    modes_check(pthread_create(&thread, NULL, wait_for_one, NULL) == 0);
    while (stats_of(waited_for).thread_caches < 2)
        usleep(1000);
    usleep(20000); /* early or late, what follows is to hold */
    bufferpool_put(buf);
    modes_check(pthread_join(thread, &got) == 0 && got != NULL);
    modes_check(atomic_load(&blocks.allocs) == 2 && atomic_load(&blocks.frees) == 1);
    modes_check(laws_hold(waited_for, &blocks, 1));
    bufferpool_put(got);
    modes_check(bufferpool_destroy(waited_for) == 0);
}

static void nopool_makes_and_frees_each(void **state)
{
    (void)state;
    static const char *const modes[] = {"nopool", "nopool,poison,redzone", "nopool,holders"};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        run_with_modes(modes[i], make_and_free_each, NULL);
        expect_outcome(0, NULL);
        run_with_modes(modes[i], wait_for_a_new_one, NULL);
        expect_outcome(0, NULL);
    }
}

static size_t unwiped;

static void look_for_bytes(test_blocks_t *blocks, const unsigned char *block, size_t size)
{
    (void)blocks;
    unwiped += memchr(block, 0x5e, size) != NULL;
}

static void put_a_secret(void *arg)
{
    (void)arg;
    test_blocks_t blocks = {.on_free = look_for_bytes};
    bufferpool_config_t config = config_with(&blocks);
    config.flags = BUFFERPOOL_ZERO;
    bufferpool_t *pool = bufferpool_create(&config);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    memset(buf->data, 0x5e, buf->cap);
    bufferpool_put(buf);
    modes_check(atomic_load(&blocks.frees) == 1 && unwiped == 0);
    modes_check(bufferpool_destroy(pool) == 0);
}

static void nopool_wipes_what_it_frees(void **state)
{
    (void)state;
    run_with_modes("nopool", put_a_secret, NULL);
    expect_outcome(0, NULL);
}

/* ---- poison ---- */

static void get_a_new_one_and_again(void *arg)
{
    (void)arg;
    bufferpool_t *pool = make_pool(4096, 0, NULL);
    unsigned char first[4096];
    bufferpool_buf_t *buf = bufferpool_get(pool);
    memcpy(first, buf->data, sizeof first);
    memset(buf->data, 0x5e, buf->cap);
    bufferpool_put(buf);
    buf = bufferpool_get(pool);
    modes_check(stats_of(pool).gets_fresh == 1 && memcmp(buf->data, first, sizeof first) == 0 && first[0] != 0);
    bufferpool_put(buf);
    modes_check(bufferpool_destroy(pool) == 0);
}

static void a_new_buffer_has_the_bytes_of_one_that_was_put(void **state)
{
    (void)state;
    if (test_instrumented())
        skip(); /* memcheck forbids to look */
    run_with_modes("poison", get_a_new_one_and_again, NULL);
    expect_outcome(0, NULL);
}

/* ---- stats ---- */

static void some_use(void *arg)
{
    bufferpool_t *destroyed = make_pool(4096, 7, NULL);
    bufferpool_put(bufferpool_get(destroyed));
    modes_check(bufferpool_destroy(destroyed) == 0);
    bufferpool_t *unused = make_pool(4096, 0, NULL);
    modes_check(bufferpool_destroy(unused) == 0);
    bufferpool_t *pool = make_pool(100, 0, NULL);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    modes_check(bufferpool_buf_reserve(buf, 1000) == 0);
    (void)bufferpool_get(pool);
    bufferpool_put(buf);
    modes_check(bufferpool_destroy(pool) == EBUSY);
    end_as(*(const enum way_to_end *)arg);
}

static void stats_are_printed_at_exit_and_when_a_pool_is_destroyed(void **state)
{
    (void)state;
    static const char before[] = "libbufferpool: pool ledger, destroyed\n"
                                 "bufferpool_idle_buffers{pool=\"ledger\",tier=\"thread\"} 1\n"
                                 "bufferpool_idle_bytes{pool=\"ledger\"} 4096\n"
                                 "bufferpool_pooled_buffers{pool=\"ledger\"} 1\n"
                                 "bufferpool_pooled_bytes{pool=\"ledger\"} 4096\n";
    /* bufferpool_mapped_bytes is between them */
    static const char destroyed[] = "bufferpool_max_live_buffers{pool=\"ledger\"} 7\n"
                                    "bufferpool_peak_in_flight_buffers{pool=\"ledger\"} 1\n"
                                    "bufferpool_thread_caches{pool=\"ledger\"} 1\n"
                                    "bufferpool_gets_total{pool=\"ledger\",source=\"fresh\"} 1\n"
                                    "bufferpool_puts_total{pool=\"ledger\"} 1\n";
    enum way_to_end ending = END_RETURNS;
    for (; ending < ENDINGS; ending++) {
        run_with_modes("stats", some_use, &ending);
        expect_outcome(0, before, "bufferpool_mapped_bytes{pool=\"ledger\"} ", destroyed, NULL);
        const char *at_exit = strstr(run_with_modes("stats", some_use, &ending)->err, "pool ledger, at exit\n");
        assert_true((at_exit == NULL) == (ending == END_UNDERSCORE));
        if (at_exit == NULL)
            continue;
        expect_outcome(0, "bufferpool_live_buffers{pool=\"ledger\"} 1\n",
                       "bufferpool_live_bytes{pool=\"ledger\"} 100\n",
                       "bufferpool_gets_total{pool=\"ledger\",source=\"fresh\"} 2\n",
                       "bufferpool_peak_in_flight_buffers{pool=\"ledger\"} 2\n",
                       "bufferpool_grows_total{pool=\"ledger\"} 1\n", NULL);
        assert_null(strstr(at_exit, "max_live")); /* there is no cap: zeros are left out */
        assert_null(strstr(at_exit, "pool default"));
    }
    ending = END_RETURNS;
    assert_int_equal(run_with_modes(NULL, some_use, &ending)->n, 0);
    assert_int_equal(run_with_modes("poison,redzone,quarantine=2", some_use, &ending)->n, 0);
}

/* Of a thread that is to be cancelled nothing is left undone, and then it is cancelled. */
static void *make_and_destroy(void *reached)
{
    pthread_cancel(pthread_self());
    bufferpool_t *pool = make_pool(100, 0, NULL);
    bufferpool_put(bufferpool_get(pool));
    modes_check(bufferpool_destroy(pool) == 0);
    *(bool *)reached = true;
    pthread_testcancel();
    return NULL;
}

static void told_by_a_cancelled_thread(void *arg)
{
    bool reached = false;
    void *ended = NULL;
    pthread_t thread;
    (void)arg;
    modes_check(pthread_create(&thread, NULL, make_and_destroy, &reached) == 0);
    modes_check(pthread_join(thread, &ended) == 0 && reached && ended == PTHREAD_CANCELED);
    bufferpool_t *pool = make_pool(100, 0, NULL); /* no lock is left, and no pool of that name */
    use(NULL);
    modes_check(bufferpool_destroy(pool) == 0);
}

static void a_report_is_no_cancellation_point(void **state)
{
    (void)state;
    run_with_modes("stats,holders,unknown", told_by_a_cancelled_thread, NULL);
    expect_outcome(0, KNOWN, "pool ledger, destroyed\n", NULL);
    assert_null(strstr(test_last_outcome()->err, "ledger-2"));
}

/* Whether a SIGPIPE waits after something was told to nobody. */
static bool pipe_breaks_of_it(void)
{
    sigset_t pending;
    bufferpool_t *pool = make_pool(100, 0, NULL);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    bufferpool_put(buf);
    if (bufferpool_destroy(pool) != 0 || sigpending(&pending) != 0)
        _exit(2);
    return sigismember(&pending, SIGPIPE) == 1;
}

static void told_to_nobody(void *arg)
{
    int ends[2];
    sigset_t broken_pipe, before;
    (void)arg;
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    modes_check(pipe(ends) == 0 && close(ends[0]) == 0 && dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
    if (pipe_breaks_of_it())
        _exit(3);
    /* one of the program's own stays */
    if (pthread_sigmask(SIG_BLOCK, &broken_pipe, &before) != 0 || sigismember(&before, SIGPIPE) ||
        raise(SIGPIPE) != 0 || !pipe_breaks_of_it())
        _exit(5);
    exit(bufferpool_get(NULL) != NULL ? 0 : 4);
}

static void a_report_into_a_broken_pipe_does_not_end_the_process(void **state)
{
    (void)state;
    run_with_modes("stats,holders,unknown", told_to_nobody, NULL);
    expect_outcome(0, NULL);
}

/* ---- the environment of BUFFERPOOL_PRESSURE ---- */

struct environment {
    const char *watch, *write, *says;
};

static void watch_memory(void *arg)
{
    const struct environment *environment = arg;
    setenv("MEMORY_PRESSURE_WATCH", environment->watch, 1);
    setenv("MEMORY_PRESSURE_WRITE", environment->write, 1);
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.flags = BUFFERPOOL_PRESSURE;
    bufferpool_t *pool = bufferpool_create(&config);
    modes_check(pool != NULL);
    bufferpool_put(bufferpool_get(pool));
    modes_check(bufferpool_destroy(pool) == 0);
}

static void every_mode_says_what_is_wrong_with_the_memory_pressure_variables(void **state)
{
    (void)state;
    static struct environment wrong[] = {
        {"fifo", "", "libbufferpool: MEMORY_PRESSURE_WATCH is not an absolute path; ignored\n"},
        {"/nowhere", "", "libbufferpool: MEMORY_PRESSURE_WATCH names no PSI file, FIFO or socket that can be opened"},
        {"/nowhere", "?",
         "libbufferpool: MEMORY_PRESSURE_WRITE is not base64, or has more than 1,024 bytes; ignored\n"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        run_with_modes("redzone", watch_memory, &wrong[i]);
        expect_outcome(0, wrong[i].says, NULL);
        assert_int_equal(run_with_modes(NULL, watch_memory, &wrong[i])->n, 0);
        expect_outcome(0, NULL);
    }
    struct environment off = {"/dev/null", "?", ""};
    assert_int_equal(run_with_modes("redzone", watch_memory, &off)->n, 0);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--setuid") == 0)
        return as_setuid();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_word_alone_prints_nothing),
        cmocka_unit_test(wrong_words_are_reported_and_the_others_hold),
        cmocka_unit_test(the_last_of_two_numbers_counts_and_a_wrong_one_changes_nothing),
        cmocka_unit_test(the_variable_is_read_once),
        cmocka_unit_test(a_report_is_no_cancellation_point),
        cmocka_unit_test(a_report_into_a_broken_pipe_does_not_end_the_process),
        cmocka_unit_test(the_variable_is_ignored_in_a_setuid_program),
        cmocka_unit_test(every_nth_allocation_fails),
        cmocka_unit_test(a_mode_tells_why_a_configuration_is_refused),
        cmocka_unit_test(chaos_shuffles_and_frees_a_quarter_the_same_in_every_run),
        cmocka_unit_test(nopool_makes_and_frees_each),
        cmocka_unit_test(nopool_wipes_what_it_frees),
        cmocka_unit_test(a_new_buffer_has_the_bytes_of_one_that_was_put),
        cmocka_unit_test(stats_are_printed_at_exit_and_when_a_pool_is_destroyed),
        cmocka_unit_test(every_mode_says_what_is_wrong_with_the_memory_pressure_variables),
    };
    return cmocka_run_group_tests_name("debug_modes", tests, NULL, NULL);
}
