/* SPDX-License-Identifier: MIT
 *
 * test_conf.c - BUFFERPOOL_CONF: what the environment changes in the configuration of pools
 *
 * The library reads the variable once, so each scenario is a child that sets it first; the parent never calls the
 * library. For a program with the rights of another user the test makes a setuid copy of itself.
 */
#include "support/laws.h"

#include <sys/auxv.h>
#include <sys/stat.h>
#include <time.h>

enum { THREADS = 4 };

/* What a child is to see of a pool. */
struct scene {
    const char *conf;
    void (*fn)(void);
};

static void set_and_run(void *arg)
{
    const struct scene *scene = arg;
    modes_check((scene->conf != NULL ? setenv("BUFFERPOOL_CONF", scene->conf, 1) : unsetenv("BUFFERPOOL_CONF")) == 0);
    scene->fn();
}

static const test_outcome_t *run(const char *conf, void (*fn)(void))
{
    return run_with_modes(NULL, set_and_run, &(struct scene){conf, fn});
}

/* The child ended well, and the library said nothing. */
static void expect_silence(const char *conf, void (*fn)(void))
{
    if (run(conf, fn)->n != 0)
        fail_msg("under '%s' it says: %s", conf != NULL ? conf : "", test_last_outcome()->err);
    expect_outcome(0, NULL);
}

static bufferpool_t *make(const char *name)
{
    bufferpool_t *pool = bufferpool_create(BUFFERPOOL_CONFIG(.name = name));
    modes_check(pool != NULL);
    return pool;
}

static void end(bufferpool_t *pool)
{
    modes_check(bufferpool_destroy(pool) == 0);
}

static size_t cap_of(bufferpool_t *pool)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    const size_t cap = buf->cap;
    bufferpool_put(buf);
    return cap;
}

/* Holds n buffers of a pool at a time, and puts them. */
static void hold(bufferpool_t *pool, size_t n)
{
    bufferpool_buf_t *bufs[256];
    modes_check(n <= 256 && bufferpool_get_bulk(pool, bufs, n) == 0);
    bufferpool_put_bulk(bufs, n);
}

/* ---- each field ---- */

static void numbers_of_memory(void)
{
    bufferpool_t *pool = bufferpool_create(BUFFERPOOL_CONFIG(.name = "http", .buffer_capacity = 1024, .max_live = 7,
                                                             .max_capacity = 1 << 20, .thread_cache_bytes = 1));
    modes_check(cap_of(pool) == 2048 && bufferpool_max_live(pool) == 100);
    hold(pool, 8);
    modes_check(stats_of(pool).idle_thread == 8 && stats_of(pool).drops_over_cap == 0);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    modes_check(bufferpool_buf_reserve(buf, 5000) == 0);
    bufferpool_put(buf);
    modes_check(stats_of(pool).drops_oversize == 1);
    hold(pool, 20);
    modes_check(stats_of(pool).idle_bytes == 16 * 2048 && stats_of(pool).drops_idle_limit == 4);
    end(pool);
}

static void time_has_come(void)
{
    bufferpool_t *pool = bufferpool_create(
        BUFFERPOOL_CONFIG(.name = "http", .reclaim_interval_ms = BUFFERPOOL_NEVER, .flags = BUFFERPOOL_ZERO));
    hold(pool, 10);
    for (int i = 0; i < 20000 && idle_of(&(bufferpool_stats_t[]){stats_of(pool)}[0]) > 0; i++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    modes_check(idle_of(&(bufferpool_stats_t[]){stats_of(pool)}[0]) == 0);
    end(pool);
}

static unsigned long threads(void)
{
    struct stat status;
    modes_check(stat("/proc/self/task", &status) == 0);
    return (unsigned long)status.st_nlink;
}

static void nothing_in_the_background(void)
{
    const unsigned long before = threads();
    bufferpool_t *pool =
        bufferpool_create(BUFFERPOOL_CONFIG(.name = "http", .reclaim_interval_ms = 1, .flags = BUFFERPOOL_BACKGROUND));
    hold(pool, 10);
    modes_check(threads() == before);
    end(pool);
}

static size_t retained(void)
{
    bufferpool_t *pool = bufferpool_create(
        BUFFERPOOL_CONFIG(.name = "http", .max_live = 1, .flags = BUFFERPOOL_BACKGROUND, .retain_ms = 1000000));
    hold(pool, 256);
    const size_t bytes = (size_t)stats_of(pool).retained_bytes;
    end(pool);
    return bytes;
}

static void retains_little(void)
{
    modes_check(retained() <= 1 << 20);
}

static void retains_much(void)
{
    modes_check(retained() > 1 << 20);
}

static void wipes(void)
{
    static const unsigned char zeros[100];
    bufferpool_t *pool = make("http");
    bufferpool_buf_t *buf = bufferpool_get(pool);
    memset(buf->data, 1, 100);
    bufferpool_put(buf);
    buf = bufferpool_get(pool);
    test_know_bytes(buf);
    modes_check(memcmp(buf->data, zeros, 100) == 0);
    bufferpool_put(buf);
    end(pool);
}

/* Whether the system was asked for huge pages behind a buffer of the pool. */
static bool is_huge(bufferpool_t *pool)
{
    char line[512];
    bool here = false, huge = false;
    bufferpool_buf_t *buf = bufferpool_get(pool);
    FILE *maps = fopen("/proc/self/smaps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        char *rest;
        const unsigned long long from = strtoull(line, &rest, 16), at = (uintptr_t)buf->data;
        if (rest != line && *rest == '-')
            here = from <= at && at < strtoull(rest + 1, NULL, 16);
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            huge = strstr(line, " hg") != NULL;
    }
    if (maps != NULL)
        fclose(maps);
    bufferpool_put(buf);
    return huge;
}

static void huge_as_with_the_flag(void)
{
    bufferpool_t *pool = make("http");
    bufferpool_t *own = bufferpool_create(BUFFERPOOL_CONFIG(.name = "own", .flags = BUFFERPOOL_HUGEPAGES));
    modes_check(is_huge(pool) == is_huge(own)); /* not where the system has none */
    end(pool);
    end(own);
}

static void not_huge(void)
{
    bufferpool_t *pool = bufferpool_create(BUFFERPOOL_CONFIG(.name = "http", .flags = BUFFERPOOL_HUGEPAGES));
    modes_check(!is_huge(pool));
    end(pool);
}

static bool watches(void)
{
    char folder[] = "/tmp/test_conf_XXXXXX", fifo[64];
    modes_check(mkdtemp(folder) != NULL);
    snprintf(fifo, sizeof fifo, "%s/fifo", folder);
    modes_check(mkfifo(fifo, 0600) == 0 && setenv("MEMORY_PRESSURE_WATCH", fifo, 1) == 0);
    bufferpool_t *pool = bufferpool_create(BUFFERPOOL_CONFIG(.name = "http", .flags = BUFFERPOOL_PRESSURE));
    hold(pool, 1);
    const bool watched = stats_of(pool).memory_pressure_watched == 1;
    end(pool);
    modes_check(unlink(fifo) == 0 && rmdir(folder) == 0);
    return watched;
}

static void watches_memory(void)
{
    modes_check(watches());
}

static void does_not_watch_memory(void)
{
    modes_check(!watches());
}

static void has_no_cap(void)
{
    bufferpool_t *pool = bufferpool_create(BUFFERPOOL_CONFIG(.name = "http", .max_live = 7));
    modes_check(bufferpool_max_live(pool) == 0);
    end(pool);
}

static void each_field_has_its_effect(void **state)
{
    (void)state;
    expect_silence("http.buffer_capacity=2k,http.max_live=100,http.max_capacity=4096,http.thread_cache_bytes=16384,"
                   "http.max_idle_bytes=32k",
                   numbers_of_memory);
    expect_silence("http.max_live=0", has_no_cap);
    expect_silence("http.background=on,http.reclaim_interval_ms=1", time_has_come);
    expect_silence("http.reclaim_interval_ms=never http.background=off", nothing_in_the_background);
    expect_silence("http.retain_ms=0", retains_little);
    expect_silence("http.zero=on", wipes);
    expect_silence("http.hugepages=on", huge_as_with_the_flag);
    expect_silence("http.hugepages=off", not_huge);
    expect_silence("http.pressure=off", does_not_watch_memory);
    expect_silence(NULL, retains_much);
    expect_silence(NULL, watches_memory);
}

/* ---- which words count ---- */

static void has_seven(void)
{
    bufferpool_t *pool = make("http");
    modes_check(bufferpool_max_live(pool) == 7);
    end(pool);
}

static void later_words_win_and_a_name_outranks_a_star(void **state)
{
    (void)state;
    static const char *const sevens[] = {
        "http.max_live=7",
        "*.max_live=7",
        "http.max_live=5,http.max_live=7",
        "*.max_live=5,*.max_live=7",
        "*.max_live=5,http.max_live=7",
        "http.max_live=7,*.max_live=5",
        "http.max_live=6,*.max_live=5,http.max_live=7,*.max_live=4",
        ", http.max_live=0007  ,,",
        "*.max_live=7,htt.max_live=5,httpp.max_live=5,http-2.max_live=5,h*.max_live=5,http.max_live.max_live=5",
        "http.max_live=8,http.max_live=7,http.retain_ms=4294967294,http.max_capacity=2G,*.max_idle_bytes=0",
    };
    for (size_t i = 0; i < sizeof sevens / sizeof sevens[0]; i++)
        expect_silence(sevens[i], has_seven);
}

static void the_names_of_metrics(void)
{
    static const struct {
        const char *name;
        size_t cap;
    } pools[] = {{"a", 1}, {"a", 2}, {"b.c=d", 3}, {NULL, 4}, {"a-2", 5}, {"x y", 0}, {"", 0}, {".", 6}};
    bufferpool_t *made[8];
    for (size_t i = 0; i < 8; i++) {
        made[i] = make(pools[i].name);
        modes_check(bufferpool_max_live(made[i]) == pools[i].cap);
    }
    for (size_t i = 0; i < 8; i++)
        end(made[i]);
}

static void a_pool_has_the_name_that_metrics_show(void **state)
{
    (void)state;
    expect_silence("a.max_live=1,a-2.max_live=2,b.c=d.max_live=3,pool-1.max_live=4,a-2-2.max_live=5,..max_live=6",
                   the_names_of_metrics);
}

static void has_bytes(void)
{
    bufferpool_t *pool = bufferpool_create(BUFFERPOOL_CONFIG(.name = "k", .buffer_capacity = 1));
    modes_check(cap_of(pool) == 3 * 1024);
    end(pool);
    pool = make("M");
    modes_check(cap_of(pool) == 2 * 1024 * 1024);
    end(pool);
    pool = make("G");
    hold(pool, 3);
    modes_check(stats_of(pool).drops_idle_limit == 0);
    end(pool);
}

static void bytes_may_have_a_suffix(void **state)
{
    (void)state;
    expect_silence("k.buffer_capacity=3k,M.buffer_capacity=2M,G.max_idle_bytes=1G", has_bytes);
}

/* ---- what is wrong ---- */

#define FIELDS                                                                                                         \
    "buffer_capacity, max_capacity, max_live, max_idle_bytes, thread_cache_bytes, reclaim_interval_ms, retain_ms, "    \
    "background, hugepages, zero, pressure\n"

static void use_three_times(void)
{
    errno = 77;
    bufferpool_put(bufferpool_get(NULL));
    bufferpool_t *pool = make("http");
    modes_check(bufferpool_max_live(pool) == 7 && errno == 77);
    end(pool);
    has_seven();
}

/* How often the text is in what the child wrote. */
static int count(const char *text)
{
    int n = 0;
    for (const char *at = test_last_outcome()->err; (at = strstr(at, text)) != NULL; at++)
        n++;
    return n;
}

static void wrong_words_are_reported_once_and_the_others_hold(void **state)
{
    (void)state;
    static const struct {
        const char *word, *says;
    } wrong[] = {
        {"nonsense", "'nonsense' is ignored: it is not NAME.FIELD=VALUE\n"},
        {"max_live=5", "'max_live=5' is ignored: it is not NAME.FIELD=VALUE\n"},
        {".max_live=5", "'.max_live=5' is ignored: it is not"},
        {"http.max_live", "'http.max_live' is ignored: it is not"},
        {"=", "'=' is ignored: it is not"},
        {"http.alignment=128", "'http.alignment=128' is ignored: the field is not one of " FIELDS},
        {"http.=5", "'http.=5' is ignored: the field is not one of " FIELDS},
        {"http.Max_live=5", "'http.Max_live=5' is ignored: the field is not one of"},
        {"http.max_liv=5", "'http.max_liv=5' is ignored: the field is not one of"},
        {"http.name=x", "'http.name=x' is ignored: the field is not one of"},
        {"http.max_live=", "'http.max_live=' is ignored: the value must be a whole number, such as 512\n"},
        {"http.max_live=5x", "'http.max_live=5x' is ignored: the value must be a whole number, such as 512\n"},
        {"http.max_live=-5", "'http.max_live=-5' is ignored: the value must be a whole number, such as 512\n"},
        {"http.max_live=+5", "'http.max_live=+5' is ignored: the value must be a whole number, such as 512\n"},
        {"http.max_live=1k", "'http.max_live=1k' is ignored: the value must be a whole number, such as 512\n"},
        {"http.max_live=never", "'http.max_live=never' is ignored: the value must be a whole number, such as 512\n"},
        {"http.max_live=99999999999999999999", "is ignored: the value must be a whole number, such as 512\n"},
        {"http.max_idle_bytes=k", "is ignored: the value must be bytes, such as 65536, 64k, 2M or 1G\n"},
        {"http.max_idle_bytes=1K", "is ignored: the value must be bytes"},
        {"http.max_idle_bytes=1kk", "is ignored: the value must be bytes"},
        {"http.max_idle_bytes=17179869184G", "is ignored: the value must be bytes"},
        {"http.retain_ms=4294967295", "is ignored: the value must be milliseconds\n"},
        {"http.retain_ms=never", "is ignored: the value must be milliseconds\n"},
        {"http.reclaim_interval_ms=1s", "is ignored: the value must be milliseconds, or never\n"},
        {"http.background=1", "is ignored: the value must be on or off\n"},
        {"http.background=", "is ignored: the value must be on or off\n"},
        {"http.hugepages=yes", "is ignored: the value must be on or off\n"},
        {"http.zero=off", "is ignored: the value must be on\n"},
        {"http.pressure=on", "is ignored: the value must be off\n"},
    };
    char conf[256];
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(conf, sizeof conf, "http.max_live=7,%s,other.max_live=5", wrong[i].word);
        run(conf, use_three_times);
        expect_outcome(0, "libbufferpool: BUFFERPOOL_CONF: '", wrong[i].says, NULL);
        if (count("\n") != 1)
            fail_msg("under '%s' it says more: %s", conf, test_last_outcome()->err);
    }
}

static void words_beyond_4095_bytes_are_ignored_and_reported(void **state)
{
    (void)state;
    char conf[8192] = "http.max_live=7";
    size_t n = strlen(conf);
    while (n < 4080)
        n += (size_t)snprintf(conf + n, sizeof conf - n, ",x.max_live=5");
    snprintf(conf + n, sizeof conf - n, ",http.max_live=8,http.max_live=9");
    run(conf, has_seven);
    expect_outcome(0, "'http.max_live=8' is ignored, and what follows: all words together have more than 4,095 bytes\n",
                   NULL);
    assert_int_equal(count("\n"), 1);
}

static void keeps_its_own(void)
{
    bufferpool_t *pool = bufferpool_create(
        BUFFERPOOL_CONFIG(.name = "http", .buffer_capacity = 2000, .max_capacity = 3000, .max_live = 9));
    modes_check(pool != NULL && cap_of(pool) == 2000 && bufferpool_max_live(pool) == 9);
    end(pool);
    pool = make("other");
    modes_check(bufferpool_max_live(pool) == 7);
    end(pool);
}

static void a_wrong_combination_is_reported_and_the_pool_keeps_the_programs_values(void **state)
{
    (void)state;
    run("*.max_live=7,http.max_capacity=1k", keeps_its_own);
    expect_outcome(
        0,
        "libbufferpool: BUFFERPOOL_CONF: pool http: max_capacity (1024) is less than buffer_capacity (2000); "
        "the pool keeps the program's configuration\n",
        NULL);
    assert_int_equal(count("\n"), 1);
    expect_silence("*.max_live=7,http.buffer_capacity=4k,http.max_capacity=8k,http.max_live=9,http.max_capacity=5k,"
                   "http.buffer_capacity=2000",
                   keeps_its_own);
}

static void keeps_its_capacity(void)
{
    bufferpool_t *pool = bufferpool_create(BUFFERPOOL_CONFIG(.name = "http", .buffer_capacity = 2000));
    modes_check(pool != NULL && cap_of(pool) == 2000 && bufferpool_max_live(pool) == 7);
    end(pool);
}

static void a_capacity_below_the_programs_is_reported_and_ignored(void **state)
{
    (void)state;
    run("http.max_live=7,http.buffer_capacity=1999", keeps_its_capacity);
    expect_outcome(
        0,
        "libbufferpool: BUFFERPOOL_CONF: pool http: buffer_capacity (1999) is less than the program's (2000), "
        "and is ignored\n",
        NULL);
    expect_silence("http.max_live=7,http.buffer_capacity=2000", keeps_its_capacity);
}

static void needs_its_thread(void)
{
    bufferpool_t *pool =
        bufferpool_create(BUFFERPOOL_CONFIG(.name = "http", .flags = BUFFERPOOL_BACKGROUND | BUFFERPOOL_START_NOW));
    modes_check(pool != NULL);
    end(pool);
}

static void a_thread_that_starts_now_is_not_switched_off(void **state)
{
    (void)state;
    run("http.background=off", needs_its_thread);
    expect_outcome(0, "BUFFERPOOL_CONF: pool http: flags (32) has BUFFERPOOL_START_NOW without BUFFERPOOL_BACKGROUND",
                   "; the pool keeps the program's configuration\n", NULL);
}

static void many_pools(void)
{
    for (int i = 0; i < 100; i++)
        keeps_its_capacity();
}

static void one_mistake_for_many_pools_is_reported_sixteen_times(void **state)
{
    (void)state;
    run("*.buffer_capacity=5,*.max_live=7", many_pools);
    expect_outcome(0, NULL);
    assert_int_equal(count("\n"), 16);
}

/* ---- the default pool ---- */

static void default_at_first_get(void)
{
    bufferpool_set_max_live(NULL, 256);
    modes_check(bufferpool_max_live(NULL) == 256);
    modes_check(cap_of(NULL) == 65536 && bufferpool_max_live(NULL) == 7);
    bufferpool_set_max_live(NULL, 256);
    modes_check(cap_of(NULL) == 65536 && bufferpool_max_live(NULL) == 256);
}

static void default_keeps_its_cap(void)
{
    bufferpool_set_max_live(NULL, 256);
    modes_check(cap_of(NULL) == 65536 && bufferpool_max_live(NULL) == 256);
}

static void default_configured(void)
{
    modes_check(bufferpool_configure_default(BUFFERPOOL_CONFIG(.buffer_capacity = 100, .max_live = 9)) == 0);
    modes_check(bufferpool_max_live(NULL) == 7);
    bufferpool_set_max_live(NULL, 256);
    modes_check(cap_of(NULL) == 65536 && bufferpool_max_live(NULL) == 7);
}

static void default_named(void)
{
    modes_check(bufferpool_configure_default(BUFFERPOOL_CONFIG(.name = "mine", .max_live = 9)) == 0);
    modes_check(cap_of(NULL) == 65536 && bufferpool_max_live(NULL) == 7);
}

static void default_with_a_thread(void)
{
    modes_check(bufferpool_configure_default(
                    BUFFERPOOL_CONFIG(.buffer_capacity = 100, .flags = BUFFERPOOL_BACKGROUND | BUFFERPOOL_START_NOW)) ==
                0);
    modes_check(bufferpool_max_live(NULL) == 7 && cap_of(NULL) == 65536);
}

static void default_refused(void)
{
    modes_check(bufferpool_configure_default(
                    BUFFERPOOL_CONFIG(.buffer_capacity = 65536, .max_capacity = 1 << 20, .max_live = 7)) == 0);
    modes_check(bufferpool_max_live(NULL) == 7 && cap_of(NULL) == 65536 && bufferpool_max_live(NULL) == 7);
}

static void the_default_pool_has_the_values_from_its_first_use_on(void **state)
{
    (void)state;
    expect_silence("default.max_live=7,*.buffer_capacity=64k", default_at_first_get);
    expect_silence("default.buffer_capacity=64k,other.max_live=7", default_keeps_its_cap);
    expect_silence("default.max_live=7,*.buffer_capacity=64k", default_configured);
    expect_silence("mine.max_live=7,default.max_live=8,*.buffer_capacity=64k", default_named);
    expect_silence("default.max_live=7,*.buffer_capacity=64k", default_with_a_thread);
    run("default.max_live=8,default.max_capacity=1", default_refused);
    expect_outcome(0, "pool default: max_capacity (1) is less than buffer_capacity (65536)", NULL);
    assert_int_equal(count("\n"), 1);
}

struct race {
    pthread_barrier_t barrier;
    size_t caps[THREADS];
};

static void race_of(void *arg, unsigned index)
{
    struct race *race = arg;
    pthread_barrier_wait(&race->barrier);
    race->caps[index] = cap_of(NULL);
}

static void race_to_the_first_get(void)
{
    struct race race;
    modes_check(pthread_barrier_init(&race.barrier, NULL, THREADS) == 0);
    run_threads(THREADS, race_of, &race);
    for (int i = 0; i < THREADS; i++)
        modes_check(race.caps[i] == 65536);
}

static void all_threads_find_the_values_at_the_first_get(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        expect_silence("*.buffer_capacity=64k", race_to_the_first_get);
}

/* ---- when it is read ---- */

static void change_it_later(void)
{
    static char variable[] = "BUFFERPOOL_CONF=http.max_live=7";
    modes_check(putenv(variable) == 0);
    end(make("other"));
    memcpy(strchr(variable, '7'), "5", 1);
    has_seven();
    modes_check(setenv("BUFFERPOOL_CONF", "http.max_live=5,nonsense", 1) == 0);
    has_seven();
}

static void the_variable_is_read_once(void **state)
{
    (void)state;
    expect_silence(NULL, change_it_later);
}

static int child_has_seven(void *unused)
{
    (void)unused;
    has_seven();
    return 0;
}

static int child_reads_its_own(void *unused)
{
    setenv("BUFFERPOOL_CONF", "http.max_live=7", 1);
    return child_has_seven(unused);
}

static void fork_after_reading(void)
{
    end(make("other"));
    modes_check(setenv("BUFFERPOOL_CONF", "http.max_live=5,nonsense", 1) == 0);
    modes_check(run_in_child(child_has_seven, NULL, 60) == 0);
    has_seven();
}

static void fork_before_reading(void)
{
    modes_check(run_in_child(child_reads_its_own, NULL, 60) == 0);
    bufferpool_t *pool = make("http");
    modes_check(bufferpool_max_live(pool) == 6);
    end(pool);
}

static void a_child_has_what_the_parent_read(void **state)
{
    (void)state;
    expect_silence("http.max_live=7", fork_after_reading);
    expect_silence("http.max_live=6", fork_before_reading);
}

static int as_setuid(void)
{
    if (getauxval(AT_SECURE) == 0)
        return TEST_NOT_SECURE;
    bufferpool_t *pool = make("http");
    modes_check(bufferpool_max_live(pool) == 0);
    return 0;
}

static void run_copy(void)
{
    test_run_setuid_copy();
}

static void the_variable_is_ignored_in_a_setuid_program(void **state)
{
    (void)state;
    if (geteuid() != 0 || test_instrumented()) {
        print_message("only root can make a program of another user's\n");
        skip();
    }
    if (run("http.max_live=7,nonsense", run_copy)->status == TEST_NOT_SECURE) {
        print_message("no setuid program runs here\n");
        skip();
    }
    expect_outcome(0, NULL);
    assert_null(strstr(test_last_outcome()->err, "nonsense"));
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--setuid") == 0)
        return as_setuid();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_field_has_its_effect),
        cmocka_unit_test(later_words_win_and_a_name_outranks_a_star),
        cmocka_unit_test(a_pool_has_the_name_that_metrics_show),
        cmocka_unit_test(bytes_may_have_a_suffix),
        cmocka_unit_test(wrong_words_are_reported_once_and_the_others_hold),
        cmocka_unit_test(words_beyond_4095_bytes_are_ignored_and_reported),
        cmocka_unit_test(a_wrong_combination_is_reported_and_the_pool_keeps_the_programs_values),
        cmocka_unit_test(a_capacity_below_the_programs_is_reported_and_ignored),
        cmocka_unit_test(a_thread_that_starts_now_is_not_switched_off),
        cmocka_unit_test(one_mistake_for_many_pools_is_reported_sixteen_times),
        cmocka_unit_test(the_default_pool_has_the_values_from_its_first_use_on),
        cmocka_unit_test(all_threads_find_the_values_at_the_first_get),
        cmocka_unit_test(the_variable_is_read_once),
        cmocka_unit_test(a_child_has_what_the_parent_read),
        cmocka_unit_test(the_variable_is_ignored_in_a_setuid_program),
    };
    return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
