/* SPDX-License-Identifier: MIT
 *
 * test_metrics.c - the text for Prometheus says what bufferpool_stats says, whatever the names of the pools
 */
#include "support/laws.h"

#include "types.h"

#include <inttypes.h>

enum { CAPACITY = 1024 };

static bool malloc_fails;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
    return malloc_fails ? NULL : __real_malloc(size);
}

static bufferpool_t *named_pool(const char *name, test_blocks_t *blocks)
{
    bufferpool_config_t config = config_with(blocks);
    config.name = name;
    config.buffer_capacity = CAPACITY;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

/* The text of now, to be freed. The buffer is the default pool's. */
static char *text_of_now(void)
{
    bufferpool_buf_t *out = bufferpool_get(NULL);
    assert_non_null(out);
    assert_int_equal(bufferpool_metrics(out), 0);
    char *text = calloc(1, out->len + 1);
    assert_non_null(text);
    memcpy(text, out->data, out->len);
    assert_int_equal(strlen(text), out->len); /* no NUL in it */
    bufferpool_put(out);
    return text;
}

/* The value of a series, written as name{labels}; UINT64_MAX if there is none, or more than one. Of seconds, which have
 * nine decimals, the nanoseconds. */
static uint64_t value_of(const char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static uint64_t value_of(const char *text, const char *format, ...)
{
    char series[512];
    va_list args;
    va_start(args, format);
    series[0] = '\n';
    const int length = vsnprintf(series + 1, sizeof series - 1, format, args) + 1;
    va_end(args);
    if (length < 1 || (size_t)length > sizeof series - 2)
        return UINT64_MAX;
    series[length] = ' ';
    series[length + 1] = '\0';
    const char *at = strstr(text, series);
    if (at == NULL || strstr(at + 1, series) != NULL)
        return UINT64_MAX;
    char *end;
    const uint64_t value = strtoull(at + strlen(series), &end, 10);
    if (*end != '.')
        return *end == '\n' ? value : UINT64_MAX;
    const char *decimals = end + 1;
    const uint64_t ns = strtoull(decimals, &end, 10);
    return *end == '\n' && end == decimals + 9 ? value * 1000000000 + ns : UINT64_MAX;
}

static void metrics_say_what_the_statistics_say(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = named_pool("a", &blocks);
    bufferpool_set_max_live(pool, 5);
    bufferpool_buf_t *bufs[7];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 7), 0); /* two bypass */
    assert_null(bufferpool_try_get(pool));
    assert_null(bufferpool_get_timed(pool, 2));
    assert_int_equal(bufferpool_buf_reserve(bufs[0], 4 * CAPACITY), 0);
    assert_int_equal(bufferpool_buf_reserve(bufs[1], 2 << 20), 0);
    bufferpool_put_bulk(bufs, 3); /* the second is too large to keep */
    bufferpool_put(bufs[6]);
    bufferpool_thread_flush();
    (void)bufferpool_trim(pool);
    bufs[0] = bufferpool_get(pool);
    bufferpool_put(bufs[0]);

    const bufferpool_stats_t is = stats_of(pool);
    assert_true(is.waits == 1 && is.waited_ns > 0 && is.pooled_bytes > is.pooled);
    char *text = text_of_now();
    const struct {
        const char *name, *label;
        uint64_t value;
    } all[] = {
        {"live_buffers", "", is.live},
        {"bypass_buffers", "", is.bypass_live},
        {"idle_buffers", ",tier=\"thread\"", is.idle_thread},
        {"idle_buffers", ",tier=\"depot\"", is.idle_depot},
        {"idle_bytes", "", is.idle_bytes},
        {"live_bytes", "", is.live_bytes},
        {"bypass_bytes", "", is.bypass_bytes},
        {"pooled_buffers", "", is.pooled},
        {"pooled_bytes", "", is.pooled_bytes},
        {"retained_bytes", "", is.retained_bytes},
        {"mapped_bytes", "", is.mapped_bytes},
        {"waiting", "", is.waiting},
        {"waits_total", "", is.waits},
        {"wait_seconds_total", "", is.waited_ns},
        {"max_live_buffers", "", 5},
        {"peak_in_flight_buffers", "", is.peak_in_flight},
        {"thread_caches", "", is.thread_caches},
        {"gets_total", ",source=\"thread\"", is.gets_thread},
        {"gets_total", ",source=\"depot\"", is.gets_depot},
        {"gets_total", ",source=\"fresh\"", is.gets_fresh},
        {"gets_total", ",source=\"bypass\"", is.gets_bypass},
        {"gets_total", ",source=\"refused\"", is.gets_refused},
        {"puts_total", "", is.gets_thread + is.gets_depot + is.gets_fresh + is.gets_bypass - is.live - is.bypass_live},
        {"drops_total", ",reason=\"oversize\"", is.drops_oversize},
        {"drops_total", ",reason=\"bypass\"", is.drops_bypass},
        {"drops_total", ",reason=\"over_cap\"", is.drops_over_cap},
        {"drops_total", ",reason=\"idle_limit\"", is.drops_idle_limit},
        {"grows_total", "", is.grows},
        {"shrinks_total", "", is.shrinks},
        {"reclaimed_bytes_total", "", is.reclaimed_bytes},
        {"stolen_buffers_total", "", is.stolen},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        assert_int_equal(value_of(text, "bufferpool_%s{pool=\"a\"%s}", all[i].name, all[i].label), all[i].value);
    free(text);

    bufferpool_put_bulk(bufs + 3, 3);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* One HELP and one TYPE before the first sample of each family, the samples of a family together, EOF at the end. */
static void metrics_have_the_form_of_the_text_format(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pools[] = {named_pool("a", &blocks), named_pool("b", &blocks)};
    char *text = text_of_now(), *rest = text;
    char family[64] = "", seen[2048] = "";
    unsigned families = 0, samples = 0;
    bool ended = false;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
        assert_false(ended);
        char name[64], type[16];
        if (strcmp(line, "# EOF") == 0) {
            ended = true;
        } else if (sscanf(line, "# HELP %63s", name) == 1) {
            char quoted[80];
            (void)snprintf(quoted, sizeof quoted, " %s ", name);
            assert_null(strstr(seen, quoted));
            const size_t used = strlen(seen);
            (void)snprintf(seen + used, sizeof seen - used, "%s", quoted);
            (void)snprintf(family, sizeof family, "%s", name);
            families++;
        } else if (sscanf(line, "# TYPE %63s %15s", name, type) == 2) {
            assert_string_equal(name, family);
            const size_t length = strlen(name);
            assert_string_equal(type, strcmp(name + length - 6, "_total") == 0 ? "counter" : "gauge");
        } else {
            assert_int_equal(sscanf(line, "%63[a-z_]{pool=\"", name), 1);
            assert_string_equal(name, family);
            samples++;
        }
    }
    assert_true(ended);
    assert_null(rest); /* the last line is a whole one too */
    assert_int_equal(families, 25);
    assert_int_equal(samples % 31, 0); /* of each pool as many; none has a cap */
    assert_true(samples >= 3 * 31);
    free(text);
    for (int i = 0; i < 2; i++)
        assert_int_equal(bufferpool_destroy(pools[i]), 0);
}

/* Whatever the locale, and for zero, for parts of a second and for hours. */
static void seconds_are_decimals(void **state)
{
    (void)state;
    static const struct {
        uint64_t ns;
        const char *text;
    } times[] = {
        {0, " 0.000000000\n"},
        {1, " 0.000000001\n"},
        {1500000000, " 1.500000000\n"},
        {UINT64_C(7200000000005), " 7200.000000005\n"},
    };
    test_blocks_t blocks = {0};
    bufferpool_t *pool = named_pool("timed", &blocks);
    static const char series[] = "\nbufferpool_wait_seconds_total{pool=\"timed\"}";
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        store_relaxed(&pool->waiters.waited_ns, times[i].ns);
        char *text = text_of_now();
        const char *at = strstr(text, series);
        assert_non_null(at);
        assert_memory_equal(at + strlen(series), times[i].text, strlen(times[i].text));
        free(text);
    }
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void names_are_escaped(void **state)
{
    static const struct {
        const char *name, *value;
    } names[] = {
        {"with \"quotes\"", "with \\\"quotes\\\""},
        {"two\nlines", "two\\nlines"},
        {"back\\slash", "back\\\\slash"},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x98", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x98"},
        {"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf",
         "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"},
        {"\xff!", "\\\\xff!"},
        {"cut \xe2\x82", "cut \\\\xe2\\\\x82"},
        {"long \xc0\xaf", "long \\\\xc0\\\\xaf"},
        {"long \xe0\x9f\xbf", "long \\\\xe0\\\\x9f\\\\xbf"},
        {"long \xf0\x8f\xbf\xbf", "long \\\\xf0\\\\x8f\\\\xbf\\\\xbf"},
        {"surrogate \xed\xa0\x80", "surrogate \\\\xed\\\\xa0\\\\x80"},
        {"beyond \xf4\x90\x80\x80", "beyond \\\\xf4\\\\x90\\\\x80\\\\x80"},
        {"beyond \xf5\x80\x80\x80", "beyond \\\\xf5\\\\x80\\\\x80\\\\x80"},
        {"middle \x80", "middle \\\\x80"},
    };
    (void)state;
    test_blocks_t blocks = {0};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        bufferpool_t *pool = named_pool(names[i].name, &blocks);
        bufferpool_buf_t *buf = bufferpool_get(pool);
        char *text = text_of_now();
        assert_int_equal(value_of(text, "bufferpool_live_buffers{pool=\"%s\"}", names[i].value), 1);
        free(text);
        bufferpool_put(buf);
        assert_int_equal(bufferpool_destroy(pool), 0);
    }
}

static void a_pool_is_listed_from_create_to_destroy(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = named_pool("comes and goes", &blocks);
    char *text = text_of_now();
    assert_int_equal(value_of(text, "bufferpool_live_buffers{pool=\"comes and goes\"}"), 0);
    assert_null(strstr(text, "bufferpool_max_live_buffers{pool=\"comes and goes\"}"));
    assert_int_equal(value_of(text, "bufferpool_live_buffers{pool=\"default\"}"), 1); /* the text's own */
    free(text);
    assert_int_equal(bufferpool_destroy(pool), 0);
    text = text_of_now();
    assert_null(strstr(text, "comes and goes"));
    free(text);
}

static void a_pool_named_default_gets_a_suffix(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = named_pool("default", &blocks);
    char *text = text_of_now();
    assert_int_equal(value_of(text, "bufferpool_idle_bytes{pool=\"default-2\"}"), 0);
    assert_int_equal(value_of(text, "bufferpool_live_buffers{pool=\"default\"}"), 1);
    free(text);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void metrics_are_appended(void **state)
{
    (void)state;
    bufferpool_buf_t *out = bufferpool_get(NULL);
    assert_int_equal(bufferpool_buf_append(out, "before\n", 7), 0);
    errno = EXDEV;
    assert_int_equal(bufferpool_metrics(out), 0);
    assert_int_equal(errno, EXDEV);
    assert_memory_equal(out->data, "before\n# HELP bufferpool_live_buffers ", 38);
    assert_memory_equal(out->data + out->len - 7, "\n# EOF\n", 7);
    bufferpool_put(out);
}

static void a_failed_metrics_call_changes_nothing(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = named_pool("errors", &blocks);
    bufferpool_buf_t *out = bufferpool_get(pool);
    assert_int_equal(bufferpool_buf_append(out, "as before", 9), 0);
    const bufferpool_buf_t before = *out;
    errno = EXDEV;
    assert_int_equal(bufferpool_metrics(NULL), EINVAL);
    malloc_fails = true;
    assert_int_equal(bufferpool_metrics(out), ENOMEM);
    malloc_fails = false;
    assert_memory_equal(out, &before, sizeof before);
    test_blocks_fail(&blocks, 0, 1); /* the text needs more than the buffer has */
    assert_int_equal(bufferpool_metrics(out), ENOMEM);
    assert_memory_equal(out, &before, sizeof before);
    test_blocks_fail_none(&blocks);
    out->len = out->cap + 1;
    assert_int_equal(bufferpool_metrics(out), EINVAL);
    assert_int_equal(out->len, before.cap + 1);
    out->len = SIZE_MAX;
    assert_int_equal(bufferpool_metrics(out), EINVAL);
    out->len = before.len;
    assert_memory_equal(out->data, "as before", 9);
    assert_int_equal(errno, EXDEV);
    bufferpool_put(out);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* ---- counters never fall from one text to the next ---- */

static struct {
    test_blocks_t blocks; /* first: the hook gets its address */
    bufferpool_t *pool;
    bufferpool_buf_t *bufs[40];
    char *shown; /* the last text */
} scraped;

/* Returns how many counters of the pool there are, or 0 if one fell. */
static size_t counters_that_did_not_fall(const char *now)
{
    size_t counters = 0;
    for (const char *line = scraped.shown; *line != '\0'; line = strchr(line, '\n') + 1) {
        const char *labels = strstr(line, "_total{pool=\"scraped\""), *end = strchr(line, '\n');
        if (labels == NULL || labels > end)
            continue;
        const size_t length = (size_t)(strchr(labels, ' ') - line);
        const uint64_t value = value_of(now, "%.*s", (int)length, line);
        const uint64_t before = value_of(scraped.shown, "%.*s", (int)length, line);
        if (value == UINT64_MAX || before == UINT64_MAX || value < before)
            return 0;
        counters++;
    }
    return counters;
}

/* Workers and hooks call this too. */
static void scrape(void)
{
    char *now = text_of_now();
    thread_check(scraped.shown == NULL || counters_that_did_not_fall(now) == 17);
    free(scraped.shown);
    scraped.shown = now;
}

static void scrape_in_hook(test_blocks_t *blocks, const unsigned char *block, size_t size)
{
    (void)blocks, (void)block, (void)size;
    scrape();
}

static void get_in_thread(void *arg, unsigned index)
{
    (void)arg, (void)index;
    thread_check(bufferpool_get_bulk(scraped.pool, scraped.bufs, 40) == 0);
    scrape();
}

static void put_in_thread(void *arg, unsigned index)
{
    (void)arg, (void)index;
    bufferpool_put_bulk(scraped.bufs, 40);
    scrape();
}

static void put_nothing_in_thread(void *arg, unsigned index)
{
    (void)arg, (void)index;
    bufferpool_put(NULL);
}

/* Gets in one thread, puts in another; each of them ends. */
static void move_buffers_between_threads(void)
{
    for (int round = 0; round < 4; round++) {
        run_threads(1, get_in_thread, NULL);
        scrape();
        if (round % 2 == 0)
            put_in_thread(NULL, 0);
        else
            run_threads(1, put_in_thread, NULL);
        scrape();
    }
}

static void put_and_stay(void *arg, unsigned index)
{
    pthread_barrier_t *barrier = arg;
    put_in_thread(NULL, index);
    pthread_barrier_wait(barrier); /* its cache has the buffers */
    pthread_barrier_wait(barrier); /* they were stolen */
    bufferpool_put(bufferpool_get(scraped.pool));
}

static void steal_from_a_thread(void)
{
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    get_in_thread(NULL, 0);
    scrape();
    test_crew_t *crew = start_threads(1, put_and_stay, &barrier);
    pthread_barrier_wait(&barrier);
    scrape();
    (void)bufferpool_trim(scraped.pool);
    scrape();
    const uint64_t most = test_can_steal() ? 40 : 0; /* with chaos fewer, since some puts free their buffer */
    assert_in_range(stats_of(scraped.pool).stolen, most / 40, most);
    pthread_barrier_wait(&barrier);
    join_threads(crew);
    pthread_barrier_destroy(&barrier);
    scrape();
}

static void give_memory_back(void)
{
    get_in_thread(NULL, 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(bufferpool_buf_reserve(scraped.bufs[i], i == 0 ? 2 << 20 : 4 * CAPACITY), 0);
    bufferpool_set_max_live(scraped.pool, 20);
    scrape();
    put_in_thread(NULL, 0);
    scrape();
    get_in_thread(NULL, 0); /* the half of them beyond the cap */
    put_in_thread(NULL, 0);
    bufferpool_set_max_live(scraped.pool, 0);
    for (int i = 0; i < 3; i++)
        (void)bufferpool_reclaim(scraped.pool);
    scrape();
    (void)bufferpool_trim(scraped.pool);
    scrape();
}

static void fail_to_get_many(void)
{
    bufferpool_put(bufferpool_get(scraped.pool));
    scrape();
    for (size_t k = 0; k < 39; k++) {
        test_blocks_fail(&scraped.blocks, k, 1);
        if (bufferpool_get_bulk(scraped.pool, scraped.bufs, 40) == 0)
            bufferpool_put_bulk(scraped.bufs, 40);
        test_blocks_fail_none(&scraped.blocks);
        scrape();
        (void)bufferpool_trim(scraped.pool);
    }
}

static int go_on_in_child(void *arg)
{
    (void)arg;
    scrape();
    for (int round = 0; round < 3; round++) {
        put_in_thread(NULL, 0);
        get_in_thread(NULL, 0);
    }
    return test_recorded_failure();
}

static void fork_while_buffers_are_held(void)
{
    get_in_thread(NULL, 0);
    scrape();
    assert_int_equal(run_in_child(go_on_in_child, NULL, 60), 0);
    put_in_thread(NULL, 0);
    scrape();
}

static void no_counter_falls_from_one_text_to_the_next(void **state)
{
    (void)state;
    memset(&scraped, 0, sizeof scraped);
    scraped.blocks.on_free = scrape_in_hook;
    scraped.pool = named_pool("scraped", &scraped.blocks);
    scrape();
    move_buffers_between_threads();
    steal_from_a_thread();
    give_memory_back();
    fork_while_buffers_are_held();
    fail_to_get_many();
    scraped.blocks.on_free = NULL;
    (void)bufferpool_trim(scraped.pool);
    run_threads(1, get_in_thread, NULL);
    put_in_thread(NULL, 0);
    run_threads(1, put_nothing_in_thread, NULL); /* fails if a text did */
    free(scraped.shown);
    scraped.shown = NULL;
    destroy_empty(scraped.pool, &scraped.blocks);
}

/* ---- beside everything else ---- */

static struct {
    atomic_bool over;
    test_blocks_t blocks;
    bufferpool_t *pool;
} shared;

static void come_and_go(unsigned index, size_t rounds)
{
    for (size_t i = 0; i < rounds; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "%u %zu", index, i % 7);
        bufferpool_t *pool = named_pool(name, &shared.blocks);
        bufferpool_buf_t *buf = bufferpool_get(pool);
        thread_check(buf != NULL);
        bufferpool_put(buf);
        thread_check(bufferpool_destroy(pool) == 0);
        buf = bufferpool_get(shared.pool);
        thread_check(buf != NULL);
        bufferpool_put(buf);
    }
    atomic_store(&shared.over, true);
}

/* Counters do not fall, and what it says of a gauge is within what there can be. */
static void read_all_the_while(void)
{
    uint64_t puts = 0, gets = 0;
    do {
        char *text = text_of_now();
        const uint64_t now_puts = value_of(text, "bufferpool_puts_total{pool=\"stays\"}");
        const uint64_t now_gets = value_of(text, "bufferpool_gets_total{pool=\"stays\",source=\"thread\"}");
        thread_check(now_gets >= gets && now_gets != UINT64_MAX);
        thread_check(now_puts >= puts && now_puts != UINT64_MAX);
        thread_check(value_of(text, "bufferpool_live_buffers{pool=\"stays\"}") <= 2);
        gets = now_gets;
        puts = now_puts;
        free(text);
    } while (!atomic_load(&shared.over));
}

static void worker(void *arg, unsigned index)
{
    (void)arg;
    if (index == 0)
        read_all_the_while();
    else
        come_and_go(index, test_scale(2000, 100));
}

static void pools_come_and_go_meanwhile(void **state)
{
    (void)state;
    shared.pool = named_pool("stays", &shared.blocks);
    run_threads(3, worker, NULL);
    assert_int_equal(bufferpool_destroy(shared.pool), 0);
    assert_int_equal(atomic_load(&shared.blocks.count), 0);
    assert_int_equal(atomic_load(&shared.blocks.errors), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_say_what_the_statistics_say),
        cmocka_unit_test(metrics_have_the_form_of_the_text_format),
        cmocka_unit_test(seconds_are_decimals),
        cmocka_unit_test(names_are_escaped),
        cmocka_unit_test(a_pool_is_listed_from_create_to_destroy),
        cmocka_unit_test(a_pool_named_default_gets_a_suffix),
        cmocka_unit_test(metrics_are_appended),
        cmocka_unit_test(a_failed_metrics_call_changes_nothing),
        cmocka_unit_test(no_counter_falls_from_one_text_to_the_next),
        cmocka_unit_test(pools_come_and_go_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
