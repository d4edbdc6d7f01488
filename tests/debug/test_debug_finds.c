/* SPDX-License-Identifier: MIT
 *
 * test_debug_finds.c - what poison, redzone, quarantine and the records find, and what the reports say
 *
 * Each scenario is a child of its own (run_with_modes). A report is one line, followed by the callers that got and that
 * put the buffer. The functions here have names that the dynamic linker knows, and none ends with two calls in a row.
 */
#include "support/laws.h"

#include <poll.h>
#include <sys/wait.h>

enum kind { PLAIN, HOOKS, ZERO, PAGE, LARGE, TINY, HUGE, KINDS };

static bufferpool_t *pool;
static test_blocks_t blocks;

static void make_pool(enum kind kind, size_t cap)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    if (kind == HOOKS)
        config = config_with(&blocks);
    config.name = "ledger";
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    config.buffer_capacity = kind == LARGE ? (size_t)3 << 20 : kind == TINY ? 1 : 4096;
    config.alignment = kind == PAGE ? 4096 : 0;
    config.flags = kind == ZERO ? BUFFERPOOL_ZERO : kind == HUGE ? BUFFERPOOL_HUGEPAGES : 0;
    config.max_live = cap;
    pool = bufferpool_create(&config);
    modes_check(pool != NULL);
}

/* ---- places with names ---- */

#define PLACE  __attribute__((noinline, visibility("default")))
#define CALL() /* else the call at the end would be a jump, and the place this one's caller */                         \
    __asm__ volatile("" ::: "memory")

bufferpool_buf_t *place_get(void);
bufferpool_buf_t *place_try_get(void);
bufferpool_buf_t *place_get_timed(void);
bufferpool_buf_t *place_get_bulk(void);
void place_put(bufferpool_buf_t *buf);
void place_put_bulk(bufferpool_buf_t *buf);

PLACE bufferpool_buf_t *place_get(void)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    CALL();
    return buf;
}

PLACE bufferpool_buf_t *place_try_get(void)
{
    bufferpool_buf_t *buf = bufferpool_try_get(pool);
    CALL();
    return buf;
}

PLACE bufferpool_buf_t *place_get_timed(void)
{
    bufferpool_buf_t *buf = bufferpool_get_timed(pool, 60000);
    CALL();
    return buf;
}

PLACE bufferpool_buf_t *place_get_bulk(void)
{
    bufferpool_buf_t *buf = NULL;
    return bufferpool_get_bulk(pool, &buf, 1) == 0 ? buf : NULL;
}

PLACE void place_put(bufferpool_buf_t *buf)
{
    bufferpool_put(buf);
    CALL();
}

PLACE void place_put_bulk(bufferpool_buf_t *buf)
{
    bufferpool_put_bulk(&buf, 1);
    CALL();
}

typedef bufferpool_buf_t *(*getter)(void);
typedef void (*putter)(bufferpool_buf_t *buf);
static const getter getters[] = {place_get, place_try_get, place_get_timed, place_get_bulk};
static const char *const got_by[] = {"got by place_get+0x", "got by place_try_get+0x", "got by place_get_timed+0x",
                                     "got by place_get_bulk+0x"};
static const putter putters[] = {place_put, place_put_bulk};
static const char *const put_by[] = {"put by place_put+0x", "put by place_put_bulk+0x"};

struct turn {
    unsigned getter, putter;
    bool from_idle, waits;
};

static void *put_later(void *buf)
{
    poll(NULL, 0, 30);
    place_put(buf);
    return NULL;
}

static void put_twice(void *arg)
{
    const struct turn *turn = arg;
    pthread_t thread;
    make_pool(PLAIN, 1);
    if (turn->from_idle)
        place_put(place_get());
    if (turn->waits)
        modes_check(pthread_create(&thread, NULL, put_later, bufferpool_get(pool)) == 0);
    bufferpool_buf_t *buf = getters[turn->getter]();
    putters[turn->putter](buf);
    bufferpool_put(buf);
}

static void reports_name_the_callers_that_got_and_put(void **state)
{
    (void)state;
    static const char *const modes[] = {"holders", "poison", "quarantine=4", "chaos", "nopool", "redzone"};
    for (struct turn turn = {0}; turn.getter < 4; turn.getter++) {
        for (turn.putter = 0; turn.putter < 2; turn.putter++) {
            for (unsigned i = 0; i < 3; i++) {
                turn.from_idle = i == 1;
                turn.waits = i == 2 && turn.getter == 2;
                run_with_modes(modes[(turn.getter + turn.putter + i) % 6], put_twice, &turn);
                expect_report("bufferpool_put: 0x", "put twice (pool ledger)\n", got_by[turn.getter],
                              put_by[turn.putter], " (test_debug_finds+0x", "thread ", " s ago\n", NULL);
                assert_true(strstr(test_last_outcome()->err, "got by") < strstr(test_last_outcome()->err, "put by"));
            }
        }
    }
}

static pid_t put_by_thread;

static void *put_here(void *buf)
{
    put_by_thread = gettid();
    place_put_bulk(buf);
    return NULL;
}

static void put_in_a_thread_with_a_name(void *arg)
{
    pthread_t thread;
    (void)arg;
    make_pool(PLAIN, 0);
    pthread_setname_np(pthread_self(), "my\nname");
    bufferpool_buf_t *buf = place_get();
    modes_check(pthread_create(&thread, NULL, put_here, buf) == 0);
    (void)test_join_until_gone(thread, &put_by_thread);
    bufferpool_put(buf);
}

static void put_a_bypass_buffer_twice(void *arg)
{
    (void)arg;
    make_pool(PLAIN, 1);
    (void)bufferpool_get(pool);
    bufferpool_buf_t *buf = place_get();
    modes_check(stats_of(pool).bypass_live == 1);
    place_put(buf);
    bufferpool_put(buf);
}

static void reports_name_threads_and_buffers_beyond_the_cap(void **state)
{
    (void)state;
    run_with_modes("holders", put_in_a_thread_with_a_name, NULL);
    expect_report("put by place_put_bulk", ", which has ended, ", " (my?name), ", NULL);
    run_with_modes("holders", put_a_bypass_buffer_twice, NULL);
    expect_report("put twice", got_by[0], put_by[0], NULL);
}

/* ---- poison ---- */

enum way { GET, TRIM, RECLAIM, LOWER, DESTROY, WAYS };

struct write {
    enum kind kind;
    enum way way;
    size_t grown; /* 0: not */
    size_t at, n; /* at SIZE_MAX: the last bytes */
};

static void go_way(enum way way)
{
    switch (way) {
    case GET:
        (void)bufferpool_get(pool);
        break;
    case TRIM:
        bufferpool_trim(pool);
        break;
    case RECLAIM:
        for (int i = 0; i < 4; i++)
            bufferpool_reclaim(pool);
        break;
    case LOWER:
        bufferpool_set_max_live(pool, 1);
        break;
    default:
        (void)bufferpool_destroy(pool);
        break;
    }
}

static void write_after_put(void *arg)
{
    const struct write *w = arg;
    make_pool(w->kind, 0);
    bufferpool_buf_t *other = bufferpool_get(pool), *buf = place_get();
    if (w->grown != 0)
        modes_check(bufferpool_buf_reserve(buf, w->grown) == 0);
    memset(buf->data, 7, buf->cap);
    unsigned char *data = buf->data + (w->at == SIZE_MAX ? buf->cap - w->n : w->at);
    place_put(buf);
    test_smash(data, 0x5a, w->n);
    if (w->way != LOWER)
        bufferpool_put(w->way == GET ? NULL : other);
    go_way(w->way);
}

static const char *const names[] = {"bufferpool_get: ", "bufferpool_trim: ", "bufferpool_reclaim: ",
                                    "bufferpool_set_max_live: ", "bufferpool_destroy: "};

static void a_write_after_put_is_found_on_every_way_out(void **state)
{
    (void)state;
    static const char *const modes[] = {"poison", "poison,redzone,quarantine=1", "poison,holders"};
    unsigned i = 0;
    for (enum kind kind = 0; kind < KINDS; kind++) {
        for (enum way way = 0; way < WAYS; way++) {
            struct write w = {kind, way, 0, kind == TINY ? 0 : 100, 1};
            const char *mode = modes[way == GET || way == RECLAIM || kind == TINY ? 2 * (i++ & 1) : i++ % 3];
            run_with_modes(mode, write_after_put, &w);
            expect_report(names[way], kind == TINY ? "data[0] on" : "data[100] on",
                          "written after it was put: 1 byte from", kind == ZERO ? "on (pool" : "on: 5a (pool",
                          got_by[0], put_by[0], NULL);
        }
    }
    struct write grown = {PLAIN, TRIM, 100000, SIZE_MAX, 1};
    run_with_modes("poison", write_after_put, &grown);
    expect_report("1 byte from data[131071] on: 5a", NULL);
    struct write many = {PLAIN, GET, 0, 10, 17};
    run_with_modes("poison", write_after_put, &many);
    expect_report("17 bytes from data[10] on: 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a ... (pool ledger)\n",
                  NULL);
    struct write all = {PLAIN, GET, 0, 0, 4096};
    run_with_modes("poison", write_after_put, &all);
    expect_report("4096 bytes from data[0] on: 5a", NULL);
}

static void write_for_the_background(void *arg)
{
    (void)arg;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.flags = BUFFERPOOL_BACKGROUND;
    config.reclaim_interval_ms = 10;
    config.name = "ledger";
    pool = bufferpool_create(&config);
    bufferpool_buf_t *buf = place_get();
    place_put(buf);
    test_smash(buf->data, 0, 1);
    poll(NULL, 0, 60000);
}

static void the_background_thread_finds_a_write_after_put(void **state)
{
    (void)state;
    if (TEST_TSAN) /* which reports the race before */
        skip();
    run_with_modes("poison", write_for_the_background, NULL);
    expect_report("background: 0x", "written after it was put", "data[0]", put_by[0], NULL);
}

/* ---- what idles at the end ---- */

enum idle_in { OWN_CACHE, DEPOT, DEPOT_DEEP, ENDED_THREAD, RUNNING_THREAD, QUARANTINE, DEFAULT_POOL, PLACES };

struct at_exit {
    enum idle_in where;
    enum way_to_end way;
    bool written;
};

static void *get_and_put_one(void *arg)
{
    bufferpool_buf_t **buf = arg;
    *buf = place_get();
    place_put(*buf);
    return NULL;
}

static pthread_barrier_t idles;

static void *get_and_put_one_and_stay(void *arg)
{
    (void)get_and_put_one(arg);
    pthread_barrier_wait(&idles);
    poll(NULL, 0, -1);
    return NULL;
}

/* A buffer that idles there. */
static bufferpool_buf_t *idle_buffer(enum idle_in where)
{
    pthread_t thread;
    bufferpool_buf_t *buf = NULL, *bufs[300];
    switch (where) {
    case DEPOT_DEEP: /* in a magazine that has others above it */
        modes_check(bufferpool_get_bulk(pool, bufs, 300) == 0);
        for (size_t i = 0; i < 300; i++)
            place_put(bufs[i]);
        buf = bufs[0];
        break;
    case ENDED_THREAD:
        modes_check(pthread_create(&thread, NULL, get_and_put_one, &buf) == 0 && pthread_join(thread, NULL) == 0);
        break;
    case RUNNING_THREAD:
        modes_check(pthread_barrier_init(&idles, NULL, 2) == 0);
        modes_check(pthread_create(&thread, NULL, get_and_put_one_and_stay, &buf) == 0);
        pthread_barrier_wait(&idles);
        break;
    default:
        (void)get_and_put_one(&buf);
        break;
    }
    if (where == DEPOT || where == DEPOT_DEEP)
        bufferpool_thread_flush();
    return buf;
}

static void write_and_end(void *arg)
{
    const struct at_exit *scene = arg;
    if (scene->where != DEFAULT_POOL)
        make_pool(PLAIN, 0);
    bufferpool_buf_t *buf = idle_buffer(scene->where);
    if (scene->written)
        test_smash(buf->data + 5, 7, 1);
    end_as(scene->way);
}

static void a_write_after_put_is_found_at_the_end(void **state)
{
    (void)state;
    for (enum idle_in where = 0; where < PLACES; where++) {
        for (enum way_to_end way = 0; way < ENDINGS; way++) {
            /* the cache of a thread that runs takes stealing: of another thread, or of the main one */
            const bool out_of_reach = where == RUNNING_THREAD || (way == END_OTHER_THREAD && where == OWN_CACHE);
            if (out_of_reach && !test_can_steal())
                continue;
            const char *modes = where == QUARANTINE ? "poison,quarantine=1000" : "poison";
            struct at_exit scene = {where, way, true};
            run_with_modes(modes, write_and_end, &scene);
            if (way == END_UNDERSCORE)
                expect_outcome(0, NULL);
            else
                expect_report("exit: 0x", "written after it was put: 1 byte from data[5] on: 07 (pool ",
                              where == DEFAULT_POOL ? "(pool default)" : "(pool ledger)", "put by ", NULL);
            scene.written = false;
            run_with_modes(modes, write_and_end, &scene);
            expect_outcome(0, NULL);
            assert_int_equal(test_last_outcome()->n, 0);
        }
    }
}

static void *go_on(void *arg)
{
    while (arg == NULL) {
        bufferpool_buf_t *buf = bufferpool_get_timed(pool, 1);
        if (buf != NULL)
            memset(buf->data, 1, buf->cap);
        bufferpool_put(buf);
    }
    return NULL;
}

static void end_among_others(void *arg)
{
    pthread_t threads[4];
    make_pool(PLAIN, 3);
    for (size_t i = 0; i < 4; i++)
        modes_check(pthread_create(&threads[i], NULL, go_on, NULL) == 0);
    poll(NULL, 0, *(const int *)arg);
}

/* Other threads get, wait for, write to and put buffers all the time. */
static void the_end_reports_nothing_while_others_go_on(void **state)
{
    (void)state;
    const size_t rounds = test_scale(20, 3);
    for (int ms = 0; (size_t)ms < rounds; ms++) {
        run_with_modes(ms % 2 == 0 ? "poison,redzone" : "poison,redzone,quarantine=2", end_among_others, &ms);
        expect_outcome(0, NULL);
        assert_int_equal(test_last_outcome()->n, 0);
    }
}

static void end_with_some_everywhere(void *arg)
{
    (void)arg;
    make_pool(PLAIN, 0);
    (void)idle_buffer(DEPOT_DEEP);
    bufferpool_buf_t *bufs[4];
    modes_check(bufferpool_get_bulk(pool, bufs, 4) == 0);
    bufferpool_put_bulk(bufs, 3);
}

/* Blocks with guard bytes are larger, so more is mapped. */
static const char *cut_mapped_bytes(char *text)
{
    char *line = strstr(text, "bufferpool_mapped_bytes");
    if (line != NULL) {
        const char *next = strchr(line, '\n') + 1;
        memmove(line, next, strlen(next) + 1);
    }
    return text;
}

/* The statistics at the end are those from before the blocks were looked at. */
static void the_end_changes_no_statistics(void **state)
{
    (void)state;
    static char before[sizeof test_last_outcome()->err], after[sizeof before];
    run_with_modes("stats", end_with_some_everywhere, NULL);
    expect_outcome(0, "pool ledger, at exit", "tier=\"thread\"} ", NULL);
    memcpy(before, test_last_outcome()->err, sizeof before);
    run_with_modes("stats,poison,redzone", end_with_some_everywhere, NULL);
    expect_outcome(0, NULL);
    memcpy(after, test_last_outcome()->err, sizeof after);
    assert_string_equal(cut_mapped_bytes(after), cut_mapped_bytes(before));
}

/* ---- redzone ---- */

enum when { ON_PUT, ON_GROWTH, ON_GET, ON_TRIM, WHENS };

struct overrun {
    enum kind kind;
    enum when when;
    size_t grown, beyond, n;
    bool bypass;
};

static void overrun(void *arg)
{
    const struct overrun *o = arg;
    make_pool(o->kind, o->bypass ? 1 : 0);
    if (o->bypass)
        (void)bufferpool_get(pool);
    bufferpool_buf_t *buf = place_get();
    if (o->grown != 0)
        modes_check(bufferpool_buf_reserve(buf, o->grown) == 0);
    memset(buf->data, 1, buf->cap);
    unsigned char *end = buf->data + buf->cap;
    if (o->when == ON_GET || o->when == ON_TRIM)
        place_put(buf);
    test_smash(end + o->beyond, 0x41, o->n);
    if (o->when == ON_PUT)
        place_put(buf);
    else if (o->when == ON_GROWTH)
        (void)bufferpool_buf_reserve(buf, buf->cap + 1);
    else if (o->when == ON_GET)
        (void)bufferpool_get(pool);
    else
        bufferpool_trim(pool);
}

static void a_write_beyond_the_end_is_found(void **state)
{
    (void)state;
    static const char *const caller[] = {
        "bufferpool_put: ", "bufferpool_buf_reserve: ", "bufferpool_get: ", "bufferpool_trim: "};
    static const char *const modes[] = {"redzone", "redzone,poison", "redzone,nopool,holders", "redzone,chaos"};
    for (enum kind kind = 0; kind < KINDS; kind++) {
        for (enum when when = 0; when < WHENS; when++) {
            for (unsigned i = 0; i < 4; i++) {
                if (when >= ON_GET && i >= 2) /* it is freed on put, then */
                    continue;
                struct overrun o = {kind, when, i % 2 != 0 ? 10000 : 0, i % 2 != 0 ? 63 : 0, 1, i == 2};
                run_with_modes(modes[i], overrun, &o);
                expect_report(caller[when], "written beyond its cap: 1 byte from data[",
                              kind == ZERO ? "on (pool" : "on: 41 (pool", got_by[0], NULL);
                assert_true((strstr(test_last_outcome()->err, "put by") != NULL) == (when >= ON_GET));
            }
        }
    }
    struct overrun from_five = {PLAIN, ON_PUT, 0, 5, 3, false};
    run_with_modes("redzone", overrun, &from_five);
    expect_report("3 bytes from data[4101] on: 41 41 41 (pool", NULL);
}

/* The guard bytes come along, whether the block is replaced (to 10000 bytes) or cut off in place. */
static void overrun_shrunk(void *arg)
{
    const size_t to = *(const size_t *)arg;
    make_pool(PLAIN, 0);
    bufferpool_buf_t *buf = place_get();
    modes_check(bufferpool_buf_reserve(buf, 2000000) == 0);
    modes_check(bufferpool_buf_shrink(buf, to) == 0 && buf->cap < 2000000);
    memset(buf->data, 1, buf->cap);
    test_smash(buf->data + buf->cap, 0x41, 1);
    (void)bufferpool_buf_shrink(buf, 0);
}

static void a_write_beyond_the_end_of_a_shrunk_buffer_is_found(void **state)
{
    (void)state;
    for (size_t to = 10000; to <= 1000000; to *= 100) {
        run_with_modes("redzone,poison", overrun_shrunk, &to);
        expect_report("bufferpool_buf_shrink: ", "written beyond its cap: 1 byte from data[", got_by[0], NULL);
    }
}

/* ---- members that were overwritten ---- */

struct smash {
    enum kind kind;
    enum when when;
    size_t cap;
    uintptr_t data;
    size_t grown;
};

static void smash(void *arg)
{
    const struct smash *s = arg;
    make_pool(s->kind, 0);
    bufferpool_buf_t *buf = place_get();
    if (s->grown != 0)
        modes_check(bufferpool_buf_reserve(buf, s->grown) == 0);
    if (s->when == ON_GET || s->when == ON_TRIM)
        place_put(buf);
    if (s->cap != 0)
        set_cap(buf, s->cap);
    else
        set_data(buf, (unsigned char *)s->data); // NOLINT(performance-no-int-to-ptr)
    if (s->when == ON_PUT)
        place_put(buf);
    else if (s->when == ON_GROWTH)
        (void)bufferpool_buf_reserve(buf, buf->cap == SIZE_MAX ? buf->cap : buf->cap + 1);
    else if (s->when == ON_GET)
        (void)bufferpool_get(pool);
    else
        bufferpool_trim(pool);
}

static void overwritten_members_are_reported_and_not_used(void **state)
{
    (void)state;
    static const char *const modes[] = {"redzone,poison", "poison", "holders", "nopool,redzone"};
    static const size_t caps[] = {2, 4160, SIZE_MAX / 2};
    static const uintptr_t datas[] = {0, 8, 1 << 16, ~(uintptr_t)63};
    unsigned i = 0;
    for (enum kind kind = 0; kind < KINDS; kind++) {
        for (enum when when = 0; when < WHENS; when++) {
            for (size_t c = 0; c < 3; c++, i++) {
                struct smash s = {kind, when, caps[c], 0, i % 2 != 0 ? 20000 : 0};
                run_with_modes(modes[when >= ON_GET ? i % 3 : i % 4], smash, &s);
                expect_report("its cap was overwritten (pool ledger)", got_by[0], NULL);
            }
            for (size_t c = 0; c < 4; c++, i++) {
                struct smash s = {kind, when, 0, datas[c], i % 3 != 0 ? 400000 : 0};
                run_with_modes(modes[when >= ON_GET ? i % 3 : i % 4], smash, &s);
                expect_report("its data was overwritten (pool ledger)", got_by[0], NULL);
            }
        }
    }
}

static void smash_prefix(void *arg)
{
    make_pool(*(const enum kind *)arg, 0);
    bufferpool_buf_t *buf = place_get();
    test_smash(buf->data - 8, 1, 8);
    place_put(buf);
}

static void a_write_in_front_of_data_is_found_on_put(void **state)
{
    (void)state;
    for (enum kind kind = 0; kind < KINDS; kind++) {
        run_with_modes("redzone", smash_prefix, &kind);
        expect_report("bufferpool_put: ", "the bytes in front of data were overwritten (pool ledger)", got_by[0], NULL);
    }
}

/* ---- in front of data ---- */

struct underrun {
    enum kind kind;
    enum when when;
    size_t grown, before, n;
    size_t alignment;
};

static void underrun(void *arg)
{
    const struct underrun *u = arg;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    make_pool(u->kind, 0);
    if (u->alignment != 0) {
        config.alignment = u->alignment;
        config.name = "aligned";
        pool = bufferpool_create(&config);
        modes_check(pool != NULL);
    }
    bufferpool_buf_t *buf = place_get();
    if (u->grown != 0)
        modes_check(bufferpool_buf_reserve(buf, u->grown) == 0);
    if (u->when == ON_GET || u->when == ON_TRIM)
        place_put(buf);
    test_smash(buf->data - u->before, 0x41, u->n);
    if (u->when == ON_PUT)
        place_put(buf);
    else if (u->when == ON_GROWTH)
        (void)bufferpool_buf_reserve(buf, buf->cap + 1);
    else if (u->when == ON_GET)
        (void)bufferpool_get(pool);
    else
        bufferpool_trim(pool);
}

static void a_write_in_front_of_the_prefix_is_found(void **state)
{
    (void)state;
    static const char *const caller[] = {
        "bufferpool_put: ", "bufferpool_buf_reserve: ", "bufferpool_get: ", "bufferpool_trim: "};
    for (enum kind kind = 0; kind < KINDS; kind++)
        for (enum when when = 0; when < WHENS; when++)
            for (unsigned i = 0; i < 2; i++) {
                struct underrun u = {kind, when, i == 0 ? 0 : 400000, 40, 1, 0};
                run_with_modes(i == 0 ? "redzone" : "redzone,poison", underrun, &u);
                expect_report(caller[when], "written in front of data: 1 byte from data[-40] on",
                              kind == ZERO ? "on (pool" : "on: 41 (pool", got_by[0], NULL);
            }
    struct underrun first = {PLAIN, ON_PUT, 0, 64, 47, 0}, page = {PLAIN, ON_PUT, 0, 4096, 3, 4096};
    run_with_modes("redzone", underrun, &first);
    expect_report("47 bytes from data[-64] on: 41 41", NULL);
    run_with_modes("redzone", underrun, &page);
    expect_report("3 bytes from data[-4096] on: 41 41 41 (pool aligned)", NULL);
    struct underrun none = {PLAIN, ON_PUT, 0, 40, 0, 16}; /* an alignment that leaves no padding */
    run_with_modes("redzone,poison", underrun, &none);
    expect_outcome(0, NULL);
}

static void put_with_len(void *arg)
{
    const size_t beyond = *(const size_t *)arg;
    make_pool(PLAIN, 0);
    bufferpool_buf_t *buf = place_get();
    buf->len = buf->cap + beyond;
    place_put(buf);
}

static void a_len_beyond_cap_is_found_on_put(void **state)
{
    (void)state;
    static const char *const modes[] = {"poison", "redzone", "quarantine=4", "nopool", "holders", "chaos"};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        size_t beyond = 0;
        run_with_modes(modes[i], put_with_len, &beyond);
        expect_outcome(0, NULL);
        beyond = 1;
        run_with_modes(modes[i], put_with_len, &beyond);
        expect_report("bufferpool_put: 0x", "its len exceeds its cap (pool ledger)", got_by[0], NULL);
    }
}

/* ---- quarantine ---- */

static void first_in_first_out(void *arg)
{
    (void)arg;
    bufferpool_buf_t *bufs[5];
    make_pool(HOOKS, 5);
    modes_check(bufferpool_get_bulk(pool, bufs, 5) == 0);
    bufferpool_put_bulk(bufs, 5); /* of which two have left it again */
    bufferpool_stats_t s = stats_of(pool);
    modes_check(s.idle_depot == 3 && s.idle_thread == 2 && s.live == 0 && s.idle_bytes == (size_t)5 * 4096);
    bufferpool_buf_t *last = bufferpool_get(pool), *first = bufferpool_get(pool);
    modes_check((last == bufs[1] && first == bufs[0]) || (last == bufs[0] && first == bufs[1]));
    modes_check(bufferpool_get(pool) == bufs[2] && bufferpool_try_get(pool) == bufs[3]);
    modes_check(bufferpool_get_timed(pool, 0) == bufs[4]);
    modes_check(stats_of(pool).gets_bypass == 0 && laws_hold(pool, &blocks, 5));
    modes_check(bufferpool_try_get(pool) == NULL && errno == EAGAIN);
    bufferpool_put_bulk(bufs, 5);

    modes_check(laws_hold(pool, &blocks, 0) && atomic_load(&blocks.count) == 5);
    bufferpool_set_max_live(pool, 4);
    modes_check(laws_hold(pool, &blocks, 0) && atomic_load(&blocks.count) <= 4);
    bufferpool_set_max_live(pool, 1);
    modes_check(laws_hold(pool, &blocks, 0) && atomic_load(&blocks.count) == 1);
    bufferpool_set_max_live(pool, 0);
    modes_check(bufferpool_get_bulk(pool, bufs, 5) == 0);
    bufferpool_put_bulk(bufs, 5);
    modes_check(bufferpool_trim(pool) == (size_t)5 * 4096 && atomic_load(&blocks.count) == 0);
    modes_check(laws_hold(pool, &blocks, 0));
    modes_check(bufferpool_get_bulk(pool, bufs, 5) == 0);
    bufferpool_put_bulk(bufs, 3);
    modes_check(bufferpool_destroy(pool) == EBUSY);
    bufferpool_put_bulk(bufs + 3, 2);
    modes_check(bufferpool_destroy(pool) == 0 && atomic_load(&blocks.count) == 0);
}

/* They do not count for max_idle_bytes; but what trim moves of them to the depot would, and is freed there. */
static void beyond_the_idle_limit(void *arg)
{
    (void)arg;
    bufferpool_buf_t *bufs[4];
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = 4096;
    config.max_idle_bytes = 4096;
    pool = bufferpool_create(&config);
    modes_check(bufferpool_get_bulk(pool, bufs, 4) == 0);
    modes_check(bufferpool_buf_reserve(bufs[0], 9000) == 0);
    const size_t bytes = bufs[0]->cap + (size_t)2 * 4096;
    bufferpool_put_bulk(bufs, 3);
    modes_check(stats_of(pool).idle_bytes == bytes && stats_of(pool).live_bytes == 4096 && laws_hold(pool, &blocks, 1));
    modes_check(bufferpool_trim(pool) == bytes && stats_of(pool).reclaimed_bytes == bytes);
    modes_check(laws_hold(pool, &blocks, 1) && stats_of(pool).live_bytes == 4096);
    bufferpool_put(bufs[3]);
    modes_check(bufferpool_destroy(pool) == 0 && atomic_load(&blocks.count) == 0);
}

static void *get_and_put(void *arg)
{
    (void)arg;
    bufferpool_buf_t *buf = bufferpool_get_timed(pool, 60000);
    poll(NULL, 0, 2);
    bufferpool_put(buf);
    return buf;
}

static void *put_all(void *bufs)
{
    bufferpool_put_bulk(bufs, 2);
    return bufs;
}

static void nobody_is_forgotten(void *arg)
{
    (void)arg;
    enum { WAITERS = 6 };
    for (int round = 0; round < 20; round++) {
        pthread_t threads[WAITERS], giver;
        bufferpool_buf_t *bufs[2];
        void *got;
        make_pool(HOOKS, 2);
        modes_check(bufferpool_get_bulk(pool, bufs, 2) == 0);
        for (int i = 0; i < WAITERS; i++)
            modes_check(pthread_create(&threads[i], NULL, get_and_put, NULL) == 0);
        if (round % 2 != 0)
            poll(NULL, 0, 5);
        modes_check(pthread_create(&giver, NULL, put_all, bufs) == 0);
        for (int i = 0; i < WAITERS; i++)
            modes_check(pthread_join(threads[i], &got) == 0 && got != NULL);
        modes_check(pthread_join(giver, NULL) == 0);
        modes_check(laws_hold(pool, &blocks, 0) && stats_of(pool).gets_refused == 0);
        modes_check(bufferpool_destroy(pool) == 0);
    }
}

static int in_the_child(void)
{
    bufferpool_buf_t *bufs[6];
    modes_check(laws_hold(pool, NULL, 1) && stats_of(pool).idle_depot == 5);
    for (int i = 0; i < 5; i++) {
        bufs[i] = bufferpool_try_get(pool);
        modes_check(bufs[i] != NULL);
    }
    modes_check(bufferpool_try_get(pool) == NULL && stats_of(pool).gets_bypass == 0);
    bufferpool_put_bulk(bufs, 5);
    modes_check(laws_hold(pool, NULL, 1));
    return 0;
}

static void fork_with_some(void *arg)
{
    (void)arg;
    bufferpool_buf_t *bufs[6];
    int status = 1;
    make_pool(PLAIN, 6);
    modes_check(bufferpool_get_bulk(pool, bufs, 6) == 0);
    bufferpool_put_bulk(bufs, 5);
    const pid_t child = fork();
    if (child == 0)
        _exit(in_the_child());
    modes_check(waitpid(child, &status, 0) == child && status == 0);
    bufferpool_put(bufs[5]);
    modes_check(laws_hold(pool, NULL, 0) && bufferpool_destroy(pool) == 0);
}

static void the_quarantine_holds_buffers_back_and_serves_those_who_wait(void **state)
{
    (void)state;
    static const char *const more[] = {"", ",poison,redzone", ",holders,stats", ",quarantine=3"};
    for (unsigned i = 0; i < 4; i++) {
        char modes[64];
        snprintf(modes, sizeof modes, "quarantine=3%s", more[i]);
        run_with_modes(modes, first_in_first_out, NULL);
        expect_outcome(0, NULL);
        snprintf(modes, sizeof modes, "quarantine=10%s", i < 3 ? more[i] : "");
        run_with_modes(modes, beyond_the_idle_limit, NULL);
        expect_outcome(0, NULL);
        run_with_modes(modes, nobody_is_forgotten, NULL);
        expect_outcome(0, NULL);
        run_with_modes(modes, fork_with_some, NULL);
        expect_outcome(0, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_name_the_callers_that_got_and_put),
        cmocka_unit_test(reports_name_threads_and_buffers_beyond_the_cap),
        cmocka_unit_test(a_write_after_put_is_found_on_every_way_out),
        cmocka_unit_test(the_background_thread_finds_a_write_after_put),
        cmocka_unit_test(a_write_after_put_is_found_at_the_end),
        cmocka_unit_test(the_end_reports_nothing_while_others_go_on),
        cmocka_unit_test(the_end_changes_no_statistics),
        cmocka_unit_test(a_write_beyond_the_end_is_found),
        cmocka_unit_test(a_write_beyond_the_end_of_a_shrunk_buffer_is_found),
        cmocka_unit_test(overwritten_members_are_reported_and_not_used),
        cmocka_unit_test(a_write_in_front_of_data_is_found_on_put),
        cmocka_unit_test(a_write_in_front_of_the_prefix_is_found),
        cmocka_unit_test(a_len_beyond_cap_is_found_on_put),
        cmocka_unit_test(the_quarantine_holds_buffers_back_and_serves_those_who_wait),
    };
    return cmocka_run_group_tests_name("debug_finds", tests, NULL, NULL);
}
