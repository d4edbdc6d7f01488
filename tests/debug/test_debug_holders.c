/* SPDX-License-Identifier: MIT
 *
 * test_debug_holders.c - which callers hold buffers: bufferpool_holders, and the same at exit
 *
 * Each scenario is a child of its own (run_with_modes). malloc's relatives fail as the scenario says.
 */
#include "support/laws.h"
#include "support/places.h"

#include "debug/records.h"

#include <poll.h>

static _Atomic(long) requests_left = LONG_MAX;

static bool refuse(void)
{
    return atomic_load(&requests_left) != LONG_MAX && atomic_fetch_sub(&requests_left, 1) <= 0;
}

void *__real_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size)
{
    return refuse() ? NULL : __real_realloc(block, size);
}

/* What another thread does while records are asked for. */
static _Atomic(struct records *) two_ask;
static const struct desc *asked_for;
static struct record *other_got;

static void meanwhile(void)
{
    struct records *records = atomic_exchange(&two_ask, NULL);
    if (records != NULL)
        other_got = records_make(records, asked_for);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    meanwhile();
    return refuse() ? NULL : __real_calloc(n, size);
}

static FILE *stream; /* the last that was opened in memory: others, such as gcov's, are none of the library's */

FILE *__real_open_memstream(char **text, size_t *size);
FILE *__wrap_open_memstream(char **text, size_t *size);
FILE *__wrap_open_memstream(char **text, size_t *size)
{
    return refuse() ? NULL : (stream = __real_open_memstream(text, size));
}

int __real_fclose(FILE *file);
int __wrap_fclose(FILE *file);
int __wrap_fclose(FILE *file)
{
    const bool library = file == stream;
    const int result = __real_fclose(file);
    return library && refuse() ? EOF : result;
}

static bufferpool_t *make_pool(const char *name, size_t capacity, size_t cap)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = name;
    config.buffer_capacity = capacity;
    config.max_live = cap;
    bufferpool_t *pool = bufferpool_create(&config);
    modes_check(pool != NULL);
    return pool;
}

/* The table as a string, whose one is `out`. */
static const char *table(bufferpool_buf_t *out)
{
    out->len = 0;
    errno = 77;
    modes_check(bufferpool_holders(out) == 0 && errno == 77);
    modes_check(bufferpool_buf_append(out, "", 1) == 0);
    return (const char *)out->data;
}

static size_t lines_of(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

/* The line with that text in it, from its beginning. */
static const char *line_with(const char *text, const char *part)
{
    const char *at = strstr(text, part);
    modes_check(at != NULL);
    while (at > text && at[-1] != '\n')
        at--;
    return at;
}

static pid_t held_by_thread;

static void *hold_one(void *pool)
{
    held_by_thread = gettid();
    bufferpool_buf_t *buf = second_place(pool);
    modes_check(bufferpool_buf_reserve(buf, 5000) == 0);
    return buf;
}

static void *hold_and_stay(void *pool)
{
    (void)first_place(pool);
    pthread_setname_np(pthread_self(), "stays");
    poll(NULL, 0, 60000);
    return NULL;
}

/* Returns the seconds. */
static unsigned long read_line(const char *line, unsigned long *buffers, unsigned long *bytes)
{
    char *end;
    *buffers = strtoul(line, &end, 10);
    *bytes = strtoul(end, &end, 10);
    const unsigned long seconds = strtoul(end, &end, 10);
    return *end == '.' ? seconds : ULONG_MAX;
}

static void groups_in_order(void *arg)
{
    (void)arg;
    pthread_t thread;
    unsigned long buffers, bytes;
    bufferpool_t *out_pool = make_pool("paper", 65536, 0), *pool = make_pool("ledger", 1000, 3);
    bufferpool_t *other = make_pool("other\npool", 100, 0);
    pthread_setname_np(pthread_self(), "bookkeeper");
    bufferpool_buf_t *out = bufferpool_get(out_pool), *bufs[5];

    modes_check(pthread_create(&thread, NULL, hold_one, pool) == 0);
    (void)test_join_until_gone(thread, &held_by_thread);
    for (int i = 0; i < 4; i++) /* the last two are beyond the cap */
        bufs[i] = first_place(pool);
    bufs[4] = first_place(other);
    modes_check(stats_of(pool).bypass_live == 2 && bufferpool_buf_reserve(bufs[3], 2000) == 0);
    bufferpool_put(first_place(other));

    const char *text = table(out), *ended = line_with(text, "ledger: second_place+0x"),
               *first = line_with(text, "ledger: first_place+0x");
    modes_check(lines_of(text) == 5 &&
                strncmp(text, "   buffers          bytes   oldest (s)  pool: got by, oldest one's thread\n", 60) == 0);
    const char *in_other = line_with(text, "other?pool: first_place+0x");
    modes_check(line_with(text, "paper: ") < ended && ended < first && first < in_other);
    modes_check(read_line(ended, &buffers, &bytes) < 60 && buffers == 1 && bytes >= 5000);
    modes_check(strstr(ended, ", which has ended\n") != NULL && strchr(ended, '\n') == strstr(ended, " ended\n") + 6);
    modes_check(read_line(first, &buffers, &bytes) < 60 && buffers == 4 && bytes == 3 * 1000 + bufs[3]->cap);
    modes_check(strstr(first, " (bookkeeper)\n") != NULL);

    modes_check(pthread_create(&thread, NULL, hold_and_stay, other) == 0);
    while (bufferpool_live(other) < 2 || strstr(table(out), "2            200") == NULL)
        poll(NULL, 0, 1);
    bufferpool_put(bufs[4]);
    while (strstr(table(out), "(stays)\n") == NULL)
        poll(NULL, 0, 1);
    modes_check(strstr(line_with(table(out), "(stays)"), "other?pool: first_place") != NULL);

    out->len = 3; /* it appends */
    memcpy(out->data, "abc", 3);
    modes_check(bufferpool_holders(out) == 0 && memcmp(out->data, "abc   buffers", 12) == 0);
}

static void holders_are_grouped_by_caller_the_oldest_first(void **state)
{
    (void)state;
    static const char *const modes[] = {"holders", "poison", "redzone,poison,quarantine=2",
                                        "nopool",  "chaos",  "holders,stats"};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        run_with_modes(modes[i], groups_in_order, NULL);
        expect_outcome(0, NULL);
        assert_true((strstr(test_last_outcome()->err, "libbufferpool: held at exit\n   buffers ") != NULL) ==
                    (strstr(modes[i], "holders") != NULL));
    }
}

static void a_line_a_pool(void *arg)
{
    (void)arg;
    bufferpool_t *pool = make_pool("ledger", 1000, 0), *idle = make_pool("idle", 100, 0);
    bufferpool_buf_t *out = bufferpool_get(NULL);
    (void)first_place(pool);
    (void)second_place(pool);
    bufferpool_put(first_place(idle));
    modes_check(strcmp(table(out),
                       "   buffers          bytes   oldest (s)  pool: got by, oldest one's thread\n"
                       "         1          32768            -  default: not recorded, -\n"
                       "         2           2000            -  ledger: not recorded, -\n"
                       "Who got them is recorded with BUFFERPOOL_DEBUG=holders in the environment, and after "
                       "bufferpool_record_holders(1).\n") == 0);
    modes_check(bufferpool_buf_reserve(out, 100000) == 0 && strstr(table(out), "         1         131072 ") != NULL);
}

static void without_a_mode_each_pool_has_a_line(void **state)
{
    (void)state;
    assert_int_equal(run_with_modes(NULL, a_line_a_pool, NULL)->n, 0);
    expect_outcome(0, NULL);
    run_with_modes("stats", a_line_a_pool, NULL);
    expect_outcome(0, NULL);
}

static void errors(void *arg)
{
    (void)arg;
    bufferpool_t *pool = make_pool("ledger", 64, 0);
    bufferpool_buf_t *out = first_place(pool);
    errno = 77;
    modes_check(bufferpool_holders(NULL) == EINVAL);
    out->len = 65;
    modes_check(bufferpool_holders(out) == EINVAL && out->len == 65);
    out->len = 0;
    modes_check(bufferpool_buf_append(out, "abc", 3) == 0);
    long n = 0;
    for (int error = ENOMEM; error == ENOMEM; n++) {
        const unsigned char *data = out->data;
        atomic_store(&requests_left, n);
        error = bufferpool_holders(out);
        const bool refused = atomic_load(&requests_left) < 0;
        atomic_store(&requests_left, LONG_MAX);
        modes_check(error == (refused ? ENOMEM : 0));
        modes_check(!refused || (out->data == data && out->len == 3 && out->cap == 64 && memcmp(data, "abc", 3) == 0));
    }
    modes_check(n >= 4 && errno == 77); /* room for the table, the stream, its end; and growth may ask */
}

static void a_failed_holders_call_changes_nothing(void **state)
{
    (void)state;
    run_with_modes("poison,redzone", errors, NULL);
    expect_outcome(0, NULL);
    run_with_modes(NULL, errors, NULL);
    expect_outcome(0, NULL);
}

/* No record can be made, nor a quarantine. */
static void without_records(void *arg)
{
    (void)arg;
    bufferpool_buf_t *bufs[100];
    bufferpool_t *pool = make_pool("ledger", 1000, 0);
    bufferpool_buf_t *out = first_place(pool);
    modes_check(bufferpool_buf_reserve(out, 3000) == 0); /* so that what is not of the modes is there */
    bufferpool_put(first_place(pool));
    atomic_store(&requests_left, 0);
    errno = 77;
    for (int turn = 0; turn < 10; turn++) {
        modes_check(bufferpool_get_bulk(pool, bufs, 100) == 0);
        for (size_t i = 0; i < 100; i++) {
            modes_check(i % 3 != 0 || bufferpool_buf_reserve(bufs[i], 3000) == 0);
            memset(bufs[i]->data, 1, bufs[i]->cap);
        }
        bufferpool_put_bulk(bufs, turn % 2 != 0 ? 100 : 50);
        if (turn % 2 == 0)
            bufferpool_put_bulk(bufs + 50, 50);
        modes_check(laws_hold(pool, NULL, 1) && errno == 77);
    }
    modes_check(bufferpool_get_bulk(pool, bufs, 100) == 0);
    atomic_store(&requests_left, LONG_MAX);
    modes_check(strstr(table(out), "ledger: not recorded, -\n") != NULL);
    bufferpool_put_bulk(bufs, 100);
    bufferpool_put(out);
    modes_check(bufferpool_destroy(pool) == 0);
}

static void without_memory_for_records_all_calls_work(void **state)
{
    (void)state;
    run_with_modes("poison,redzone", without_records, NULL);
    expect_outcome(0, NULL);
    run_with_modes("poison,redzone,quarantine=5,holders,nopool,chaos", without_records, NULL);
    expect_outcome(0, NULL);
}

/* To switch recording on takes no memory. What was got without a record does not pass for older than the recording. */
static void record_without_memory(void *arg)
{
    (void)arg;
    bufferpool_buf_t *bufs[100];
    bufferpool_t *pool = make_pool("ledger", 1000, 0);
    bufferpool_buf_t *out = bufferpool_get(NULL), *before = first_place(pool);
    modes_check(bufferpool_get_bulk(pool, bufs, 100) == 0); /* so that what is not of the modes is there */
    bufferpool_put_bulk(bufs, 100);
    atomic_store(&requests_left, 0);
    modes_check(bufferpool_record_holders(1) == 0);
    modes_check(bufferpool_get_bulk(pool, bufs, 100) == 0 && laws_hold(pool, NULL, 101));
    atomic_store(&requests_left, LONG_MAX);
    modes_check(strstr(table(out), "       101         101000            -  ledger: not recorded, -\n") != NULL);
    bufferpool_buf_t *last = second_place(pool);
    modes_check(strstr(table(out), "ledger: second_place+0x") != NULL);
    modes_check(bufferpool_record_holders(0) == 0 && bufferpool_record_holders(1) == 0);
    modes_check(strstr(table(out), "       102         102000            -  ledger: got before recording began, -\n") !=
                NULL);
    bufferpool_put_bulk(bufs, 100);
    bufferpool_put(last);
    bufferpool_put(before);
    modes_check(bufferpool_destroy(pool) == 0 && bufferpool_record_holders(0) == 0);
}

static void without_memory_recording_begins_and_no_holder_is_listed_wrongly(void **state)
{
    (void)state;
    run_with_modes(NULL, record_without_memory, NULL);
    expect_outcome(0, NULL);
}

static void two_threads_that_make_the_same_record_get_the_same(void **state)
{
    (void)state;
    static struct records records;
    const struct desc d = {.index = 7};
    asked_for = &d;
    atomic_store(&two_ask, &records);
    struct record *record = records_make(&records, &d);
    assert_non_null(record);
    assert_ptr_equal(record, other_got);
    assert_ptr_equal(record, records_at(&records, &d));
    records_destroy(&records);
}

static void write_without_a_record(void *arg)
{
    bufferpool_t *pool = make_pool("ledger", 1000, 0);
    (void)first_place(pool);
    bufferpool_put(first_place(pool));
    bufferpool_buf_t *bufs[100];
    atomic_store(&requests_left, 0);
    modes_check(bufferpool_get_bulk(pool, bufs, 100) == 0);
    if (arg != NULL)
        test_smash(bufs[99]->data + 1001, 1, 1);
    bufferpool_put(bufs[99]);
    test_smash(bufs[99]->data + 1, 1, 1);
    atomic_store(&requests_left, LONG_MAX);
    bufferpool_trim(pool);
}

static void without_records_a_report_has_the_pool_and_the_bytes(void **state)
{
    (void)state;
    run_with_modes("poison,redzone", write_without_a_record, NULL);
    expect_report("written after it was put: 1 byte from data[1] on: 01 (pool ledger)\n", NULL);
    run_with_modes("poison,redzone", write_without_a_record, &requests_left);
    expect_report("written beyond its cap: 1 byte from data[1001] on: 01 (pool ledger)\n", NULL);
}

enum { MANY = 5000 };

static void hold_many(void *arg)
{
    (void)arg;
    static bufferpool_buf_t *bufs[MANY];
    bufferpool_t *pool = make_pool("ledger", 100, 2000);
    bufferpool_buf_t *out = bufferpool_get(NULL);
    modes_check(bufferpool_get_bulk(pool, bufs, MANY / 2) == 0);
    for (size_t i = MANY / 2; i < MANY; i++)
        bufs[i] = first_place(pool);
    char line[64];
    snprintf(line, sizeof line, "%10d %14d ", MANY / 2, MANY / 2 * 100);
    modes_check(strncmp(line_with(table(out), "ledger: first_place"), line, strlen(line)) == 0);
    modes_check(strncmp(line_with(table(out), "ledger: test_debug_holders+"), line, strlen(line)) == 0 ||
                lines_of(table(out)) == 4);
    bufferpool_put_bulk(bufs, MANY);
    modes_check(lines_of(table(out)) == 2);
    bufferpool_put(out);
}

static void thousands_of_holders_are_counted_and_none_prints_no_table_at_exit(void **state)
{
    (void)state;
    assert_int_equal(run_with_modes("holders", hold_many, NULL)->n, 0);
    expect_outcome(0, NULL);
}

static bufferpool_t *busy_pool;
static atomic_bool stop;

static void turn_over(void *arg, unsigned index)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        bufferpool_buf_t *buf = index % 2 != 0 ? first_place(busy_pool) : second_place(busy_pool);
        thread_check(buf != NULL && bufferpool_buf_reserve(buf, 300) == 0);
        bufferpool_put(buf);
        bufferpool_t *pool = make_pool(NULL, 64, 0);
        buf = bufferpool_get(pool);
        bufferpool_put(buf);
        thread_check(bufferpool_destroy(pool) == 0);
    }
}

static void look_while_busy(void *arg)
{
    (void)arg;
    busy_pool = make_pool("busy", 100, 3);
    test_crew_t *crew = start_threads(3, turn_over, NULL);
    bufferpool_buf_t *out = bufferpool_get(NULL);
    for (size_t i = 0; i < test_scale(500, 30); i++)
        (void)table(out);
    atomic_store(&stop, true);
    join_threads(crew);
    modes_check(laws_hold(busy_pool, NULL, 0) && bufferpool_destroy(busy_pool) == 0);
}

static void holders_may_be_called_beside_any_call(void **state)
{
    (void)state;
    static const char *const modes[] = {NULL, "holders", "poison,redzone,quarantine=2,holders,chaos", "nopool"};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        run_with_modes(modes[i], look_while_busy, NULL);
        expect_outcome(0, NULL);
    }
}

static void *cancel_myself(void *out)
{
    pthread_cancel(pthread_self());
    modes_check(bufferpool_holders(out) == 0);
    int *done = malloc(sizeof *done);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    return done;
}

static void while_cancelled(void *arg)
{
    (void)arg;
    pthread_t thread;
    void *done = NULL;
    modes_check(pthread_create(&thread, NULL, cancel_myself, bufferpool_get(NULL)) == 0);
    modes_check(pthread_join(thread, &done) == 0 && done != PTHREAD_CANCELED && done != NULL);
    free(done);
}

static void holders_is_no_cancellation_point(void **state)
{
    (void)state;
    run_with_modes("holders", while_cancelled, NULL);
    expect_outcome(0, "held at exit", NULL);
}

static void hold_at_the_end(void *arg)
{
    (void)first_place(make_pool("ledger", 1000, 0));
    end_as(*(const enum way_to_end *)arg);
}

static void held_buffers_are_listed_at_every_kind_of_exit(void **state)
{
    (void)state;
    for (enum way_to_end ending = END_RETURNS; ending < ENDINGS; ending++) {
        run_with_modes("holders", hold_at_the_end, &ending);
        expect_outcome(0, NULL);
        if (ending == END_UNDERSCORE)
            assert_int_equal(test_last_outcome()->n, 0);
        else
            expect_outcome(0, "libbufferpool: held at exit\n", "ledger: first_place+0x", NULL);
        assert_int_equal(run_with_modes("poison", hold_at_the_end, &ending)->n, 0);
    }
}

static void without_memory_at_the_end(void *arg)
{
    (void)first_place(make_pool("ledger", 1000, 0));
    atomic_store(&requests_left, *(const long *)arg);
}

static void without_memory_nothing_is_listed_at_exit(void **state)
{
    (void)state;
    for (long n = 0; n < 3; n++) {
        assert_int_equal(run_with_modes("holders", without_memory_at_the_end, &n)->n, 0);
        expect_outcome(0, NULL);
    }
}

static void an_address_in_no_file_is_shown_as_a_number(void **state)
{
    char text[32];
    (void)state;
    records_caller(text, sizeof text, 0x1f);
    assert_string_equal(text, "0x1e");
    records_caller(text, 4, 0x1f00);
    assert_string_equal(text, "0x1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holders_are_grouped_by_caller_the_oldest_first),
        cmocka_unit_test(without_a_mode_each_pool_has_a_line),
        cmocka_unit_test(a_failed_holders_call_changes_nothing),
        cmocka_unit_test(without_memory_for_records_all_calls_work),
        cmocka_unit_test(without_memory_recording_begins_and_no_holder_is_listed_wrongly),
        cmocka_unit_test(two_threads_that_make_the_same_record_get_the_same),
        cmocka_unit_test(without_records_a_report_has_the_pool_and_the_bytes),
        cmocka_unit_test(thousands_of_holders_are_counted_and_none_prints_no_table_at_exit),
        cmocka_unit_test(holders_may_be_called_beside_any_call),
        cmocka_unit_test(holders_is_no_cancellation_point),
        cmocka_unit_test(held_buffers_are_listed_at_every_kind_of_exit),
        cmocka_unit_test(without_memory_nothing_is_listed_at_exit),
        cmocka_unit_test(an_address_in_no_file_is_shown_as_a_number),
    };
    return cmocka_run_group_tests_name("debug_holders", tests, NULL, NULL);
}
