/* SPDX-License-Identifier: MIT
 *
 * test_misuse.c - misuse ends in one line on stderr and abort, in release builds too
 *
 * Each scenario runs in a child of its own: double puts (at once, after other traffic, from another thread, of a buffer
 * beyond the cap), puts of something that is no buffer, overwritten handles and block prefixes, content calls on a
 * buffer that was put. The line must name the function, the address and, where the library can know it, the pool. A
 * foreign pointer here points to readable memory, so that the library can look at it without a fault.
 */
#include "support/laws.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

/* The hidden fields of a handle, up to the end of the cache line that it starts. */
enum { LINE = 64, HIDDEN = LINE - (int)sizeof(bufferpool_buf_t), PREFIX = 16 };

static _Alignas(LINE) unsigned char static_memory[16 * LINE];

static bufferpool_t *pool;

static int make_pool(void **state)
{
    (void)state;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "ledger";
    config.buffer_capacity = 4096;
    config.max_live = 100;
    pool = bufferpool_create(&config);
    return pool == NULL;
}

static int drop_pool(void **state)
{
    (void)state;
    return bufferpool_destroy(pool);
}

static bufferpool_buf_t *get_noted(void)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        _exit(2);
    expect_in_message("%p", (void *)buf);
    return buf;
}

static void traffic(int turns)
{
    bufferpool_buf_t *bufs[60];
    for (int turn = 0; turn < turns; turn++) {
        if (bufferpool_get_bulk(pool, bufs, 60) != 0)
            _exit(2);
        bufferpool_put_bulk(bufs, 60);
    }
}

/* ---- double puts ---- */

static void put_twice(void *arg)
{
    (void)arg;
    bufferpool_buf_t *buf = get_noted();
    bufferpool_put(buf);
    bufferpool_put(buf);
}

/* The buffer has gone from the cache to the depot since. */
static void put_again_after_traffic(void *arg)
{
    bufferpool_buf_t *buf = get_noted();
    bufferpool_buf_t *bufs[60];
    bufferpool_put(buf);
    if (bufferpool_get_bulk(pool, bufs, 60) != 0)
        _exit(2);
    for (size_t i = 0; i < 60; i++) {
        if (bufs[i] != buf)
            bufferpool_put(bufs[i]);
    }
    for (size_t i = 0; i < 60; i++) {
        if (bufs[i] == buf)
            bufferpool_put(bufs[i]);
    }
    if (arg != NULL)
        bufferpool_thread_flush();
    bufferpool_put(buf);
}

/* The buffer's block and handle were freed since. */
static void put_again_after_trim(void *arg)
{
    (void)arg;
    bufferpool_buf_t *buf = get_noted();
    bufferpool_put(buf);
    bufferpool_trim(pool);
    bufferpool_put(buf);
}

static void *put_in_thread(void *buf)
{
    bufferpool_put(buf);
    return NULL;
}

static void put_here_and_in_a_thread(void *arg)
{
    pthread_t thread;
    bufferpool_buf_t *buf = get_noted();
    if (arg == NULL)
        bufferpool_put(buf); /* first here, else first there */
    if (pthread_create(&thread, NULL, put_in_thread, buf) != 0 || pthread_join(thread, NULL) != 0)
        _exit(2);
    bufferpool_put(buf);
}

static void put_in_bulk_twice(void *arg)
{
    bufferpool_buf_t *bufs[3];
    if (bufferpool_get_bulk(pool, bufs, 2) != 0)
        _exit(2);
    expect_in_message("%p", (void *)bufs[0]);
    bufs[2] = bufs[0];
    if (arg != NULL)
        bufferpool_put(bufs[0]);
    bufferpool_put_bulk(bufs, arg != NULL ? 2 : 3);
}

static void put_a_bypass_buffer_twice(void *arg)
{
    (void)arg;
    bufferpool_set_max_live(pool, 1);
    if (bufferpool_get(pool) == NULL)
        _exit(2);
    bufferpool_buf_t *buf = get_noted();
    if (stats_of(pool).bypass_live != 1)
        _exit(2);
    bufferpool_put(buf);
    bufferpool_put(buf);
}

static void put_an_oversize_buffer_twice(void *arg)
{
    (void)arg;
    bufferpool_buf_t *buf = get_noted();
    if (bufferpool_buf_reserve(buf, 2 * 1024 * 1024) != 0)
        _exit(2);
    bufferpool_put(buf);
    bufferpool_put(buf);
}

static void a_double_put_is_caught(void **state)
{
    (void)state;
    traffic(3);
    expect_abort(put_twice, NULL, "bufferpool_put", "ledger", NULL);
    expect_abort(put_again_after_traffic, NULL, "bufferpool_put", "ledger", NULL);
    expect_abort(put_again_after_traffic, &pool, "bufferpool_put", "ledger", NULL);
    expect_abort(put_again_after_trim, NULL, "bufferpool_put", NULL);
    expect_abort(put_here_and_in_a_thread, NULL, "bufferpool_put", "ledger", NULL);
    expect_abort(put_here_and_in_a_thread, &pool, "bufferpool_put", "ledger", NULL);
    expect_abort(put_in_bulk_twice, NULL, "bufferpool_put", "ledger", NULL);
    expect_abort(put_in_bulk_twice, &pool, "bufferpool_put", "ledger", NULL);
    expect_abort(put_a_bypass_buffer_twice, NULL, "bufferpool_put", NULL);
    expect_abort(put_an_oversize_buffer_twice, NULL, "bufferpool_put", NULL);
}

/* Two puts at once may both find the buffer held, and both keep it. The same is made here by giving the handle the
 * bytes back that it had while it was held. */
static bufferpool_buf_t *put_twice_at_once(void)
{
    unsigned char held[LINE];
    bufferpool_buf_t *buf = get_noted();
    memcpy(held, buf, LINE);
    bufferpool_put(buf);
    memcpy(buf, held, LINE);
    return buf;
}

static void get_what_was_put_twice_at_once(void *arg)
{
    (void)arg;
    bufferpool_buf_t *buf = put_twice_at_once();
    bufferpool_put(buf);
    if (bufferpool_get(pool) != buf)
        _exit(2);
    (void)bufferpool_get(pool);
}

static void free_what_was_put_twice_at_once(void *arg)
{
    (void)arg;
    (void)put_twice_at_once();
    bufferpool_trim(pool);
}

static void a_double_put_at_the_same_time_is_caught_later(void **state)
{
    (void)state;
    expect_abort(get_what_was_put_twice_at_once, NULL, "bufferpool_get", "ledger", "put twice at the same time", NULL);
    expect_abort(free_what_was_put_twice_at_once, NULL, "bufferpool_trim", "ledger", "put twice at the same time",
                 NULL);
}

/* A name has up to 64 bytes of the line, and breaks it nowhere. */
static void put_twice_where_the_name_is_strange(void *name)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = name;
    pool = bufferpool_create(&config);
    put_twice(NULL);
}

static void a_report_shows_a_strange_pool_name_on_one_line(void **state)
{
    (void)state;
    char name[201], shown[80] = "(pool ";
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    memset(shown + 6, 'x', 64);
    memcpy(shown + 6 + 64, ")\n", 3);
    expect_abort(put_twice_where_the_name_is_strange, name, "bufferpool_put", shown, NULL);
    expect_abort(put_twice_where_the_name_is_strange, "two\nlines\tand\x1b[1m", "(pool two?lines?and?[1m)", NULL);
}

static int put_twice_unheard(void *arg)
{
    (void)arg;
    bufferpool_buf_t *buf = bufferpool_get(pool);
    close(STDERR_FILENO);
    bufferpool_put(buf);
    bufferpool_put(buf);
    return 0;
}

static void misuse_aborts_with_stderr_closed(void **state)
{
    (void)state;
    assert_int_equal(run_in_child(put_twice_unheard, NULL, 60), 128 + SIGABRT);
}

/* ---- what is no buffer ---- */

static void put_address(void *address)
{
    expect_in_message("%p", address);
    bufferpool_put(address);
}

static void put_of_a_destroyed_pool(void *arg)
{
    (void)arg;
    bufferpool_t *gone = bufferpool_create(NULL);
    bufferpool_buf_t *buf = bufferpool_get(gone);
    bufferpool_buf_t *copy = malloc(4 * LINE); /* the handle's memory is gone with the pool: what a stale copy says */
    if (buf == NULL || copy == NULL)
        _exit(2);
    unsigned char *line = (unsigned char *)copy + (LINE - (uintptr_t)copy % LINE);
    memcpy(line, buf, LINE);
    bufferpool_put(buf);
    if (bufferpool_destroy(gone) != 0)
        _exit(2);
    put_address(line);
}

static void a_put_of_a_destroyed_pool_is_caught(void **state)
{
    (void)state;
    expect_abort(put_of_a_destroyed_pool, NULL, "bufferpool_put", NULL);
}

/* ---- pools that were destroyed ---- */

enum call_on_pool {
    GET,
    TRY_GET,
    GET_TIMED,
    GET_BULK,
    LIVE,
    MAX_LIVE,
    SET_MAX_LIVE,
    STATS,
    RECLAIM,
    TRIM,
    DESTROY,
    CALLS
};

static const char *const call_names[CALLS] = {
    "bufferpool_get:",     "bufferpool_try_get:",  "bufferpool_get_timed:",    "bufferpool_get_bulk:",
    "bufferpool_live:",    "bufferpool_max_live:", "bufferpool_set_max_live:", "bufferpool_stats:",
    "bufferpool_reclaim:", "bufferpool_trim:",     "bufferpool_destroy:"};

static void call_on(bufferpool_t *on, enum call_on_pool call)
{
    bufferpool_buf_t *bufs[2];
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    switch (call) {
    case GET:
        (void)bufferpool_get(on);
        break;
    case TRY_GET:
        (void)bufferpool_try_get(on);
        break;
    case GET_TIMED:
        (void)bufferpool_get_timed(on, 0);
        break;
    case GET_BULK:
        (void)bufferpool_get_bulk(on, bufs, 2);
        break;
    case LIVE:
        (void)bufferpool_live(on);
        break;
    case MAX_LIVE:
        (void)bufferpool_max_live(on);
        break;
    case SET_MAX_LIVE:
        bufferpool_set_max_live(on, 5);
        break;
    case STATS:
        bufferpool_stats(on, &stats);
        break;
    case RECLAIM:
        (void)bufferpool_reclaim(on);
        break;
    case TRIM:
        (void)bufferpool_trim(on);
        break;
    default:
        (void)bufferpool_destroy(on);
        break;
    }
}

static bufferpool_t *make_used(const char *name)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = name;
    bufferpool_t *made = bufferpool_create(&config);
    if (made == NULL)
        _exit(2);
    bufferpool_put(bufferpool_get(made));
    return made;
}

static void destroy_or_exit(bufferpool_t *made)
{
    if (bufferpool_destroy(made) != 0)
        _exit(2);
}

struct after_destroy {
    enum call_on_pool call;
    int others; /* pools that come, are used and go in between */
    bool one;   /* another one comes, has the index of the one that went, and idle buffers in the thread's cache */
};

static void call_after_destroy(void *arg)
{
    const struct after_destroy *scene = arg;
    bufferpool_t *gone = make_used("gone");
    expect_in_message("%p", (void *)gone);
    destroy_or_exit(gone);
    for (int i = 0; i < scene->others; i++)
        destroy_or_exit(make_used("other"));
    if (scene->one)
        (void)make_used("next");
    call_on(gone, scene->call);
}

/* As long as 31 others were destroyed since. */
static void calls_on_a_destroyed_pool_are_caught(void **state)
{
    (void)state;
    for (int call = 0; call < CALLS; call++) {
        struct after_destroy scene = {(enum call_on_pool)call, 0, false};
        expect_abort(call_after_destroy, &scene, call_names[call], "(pool gone)", "destroyed", NULL);
        scene.one = true;
        expect_abort(call_after_destroy, &scene, call_names[call], "(pool gone)", "destroyed", NULL);
        scene.others = 31;
        expect_abort(call_after_destroy, &scene, call_names[call], "(pool gone)", "destroyed", NULL);
    }
}

static void call_on_no_pool(void *arg)
{
    memset(static_memory, 0x41, sizeof static_memory);
    expect_in_message("%p", (void *)static_memory);
    void *no_pool = static_memory;
    call_on(no_pool, *(const enum call_on_pool *)arg);
}

/* A get, whose fast path looks nowhere but into the pool, is left out. */
static void calls_on_what_is_no_pool_are_caught(void **state)
{
    (void)state;
    for (int call = GET_TIMED; call < CALLS; call++)
        expect_abort(call_on_no_pool, &call, call_names[call], "not a pool of this library", NULL);
}

static void use_a_buffer_after_destroy(void *arg)
{
    const int which = *(const int *)arg;
    bufferpool_t *gone = make_used("gone");
    bufferpool_buf_t *bufs[300];
    if (bufferpool_get_bulk(gone, bufs, 300) != 0)
        _exit(2);
    bufferpool_put_bulk(bufs, 300);
    destroy_or_exit(gone);
    for (int i = 0; i < 31; i++)
        destroy_or_exit(make_used("other"));
    (void)make_used("next");
    bufferpool_buf_t *buf =
        bufs[which / 2 % 2 == 0 ? 0 : 299]; /* in the first chunk of descriptors, and in a later one */
    expect_in_message("%p", (void *)buf);
    if (which % 2 == 0)
        bufferpool_put(buf);
    else
        (void)bufferpool_buf_append(buf, "text", 4);
}

static void buffers_of_a_destroyed_pool_are_caught(void **state)
{
    (void)state;
    for (int which = 0; which < 4; which++)
        expect_abort(use_a_buffer_after_destroy, &which, which % 2 == 0 ? "bufferpool_put:" : "bufferpool_buf_append:",
                     "a buffer of a pool that was destroyed (pool gone)", NULL);
}

static void foreign_pointers_are_caught(void **state)
{
    (void)state;
    _Alignas(LINE) unsigned char on_stack[16 * LINE];
    unsigned char *in_heap = calloc(1, 4096);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_non_null(in_heap);
    assert_non_null(buf);
    memset(on_stack, 0, sizeof on_stack);
    memset(buf->data, 0, buf->cap);
    for (int fill = 0; fill < 3; fill++) {
        static const int offsets[] = {0, 1, 4, 8, 16, 40, LINE, 2 * LINE};
        static const unsigned char bytes[] = {0x00, 0xff, 0xa5};
        memset(on_stack, bytes[fill], sizeof on_stack);
        memset(static_memory, bytes[fill], sizeof static_memory);
        memset(in_heap, bytes[fill], 4096);
        memset(buf->data, bytes[fill], buf->cap);
        for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
            expect_abort(put_address, on_stack + 4 * LINE + offsets[i], "bufferpool_put", NULL);
            expect_abort(put_address, static_memory + 4 * LINE + offsets[i], "bufferpool_put", NULL);
            expect_abort(put_address, in_heap + 1024 + offsets[i], "bufferpool_put", NULL);
            expect_abort(put_address, buf->data + 1024 + offsets[i], "bufferpool_put", NULL);
        }
        expect_abort(put_address, buf->data, "bufferpool_put", NULL);
        expect_abort(put_address, (unsigned char *)buf + 8, "bufferpool_put", NULL); /* inside a handle */
    }
    memset(on_stack, 0, sizeof on_stack);
    memcpy(on_stack, buf, sizeof *buf); /* a copy of what can be seen of a handle */
    expect_abort(put_address, on_stack, "bufferpool_put", NULL);
    assert_int_equal(bufferpool_buf_reserve(buf, buf->cap + 1), 0);
    memcpy(on_stack, buf, LINE); /* and one of all there is to it */
    expect_abort(put_address, on_stack, "bufferpool_put", NULL);
    bufferpool_put(buf);
    free(in_heap);
}

/* ---- handles and prefixes that were overwritten ---- */

struct smash {
    unsigned char with;
    size_t bytes;
    enum { THEN_PUT, THEN_APPEND, THEN_RESERVE, THEN_TRIM, THEN_DROP, THEN_BYPASS_PUT, THEN_SHRINK } then;
};

static void do_next(const struct smash *smash, bufferpool_buf_t *buf)
{
    switch (smash->then) {
    case THEN_APPEND:
        bufferpool_buf_append(buf, "text", 4);
        break;
    case THEN_RESERVE:
        bufferpool_buf_reserve(buf, 100000);
        break;
    case THEN_TRIM:
        bufferpool_put(buf);
        bufferpool_trim(pool);
        break;
    case THEN_DROP:
        bufferpool_set_max_live(pool, 1);
        bufferpool_put(buf);
        break;
    default:
        bufferpool_put(buf);
        break;
    }
}

static void smash_handle(void *arg)
{
    const struct smash *smash = arg;
    bufferpool_buf_t *buf = get_noted();
    memset((unsigned char *)buf + sizeof *buf, smash->with, smash->bytes);
    do_next(smash, buf);
}

static void a_smashed_handle_is_caught(void **state)
{
    static const size_t bytes[] = {sizeof(void *), HIDDEN};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct smash smash = {.with = 0xff, .bytes = bytes[i], .then = THEN_PUT};
        expect_abort(smash_handle, &smash, "bufferpool_put", NULL);
        smash.with = 0;
        expect_abort(smash_handle, &smash, "bufferpool_put", NULL);
        smash.then = THEN_APPEND;
        expect_abort(smash_handle, &smash, "bufferpool_buf_append", NULL);
        smash.with = 0x41;
        expect_abort(smash_handle, &smash, "bufferpool_buf_append", NULL);
    }
}

/* Whose it is can still be told, but not what state it is in. */
static void smash_state(void *arg)
{
    bufferpool_buf_t *buf = get_noted();
    uintptr_t word;
    memcpy(&word, (unsigned char *)buf + sizeof *buf, sizeof word);
    word |= *(const uintptr_t *)arg;
    memcpy((unsigned char *)buf + sizeof *buf, &word, sizeof word);
    bufferpool_put(buf);
}

static void a_smashed_state_is_caught(void **state)
{
    (void)state;
    for (uintptr_t bits = 0x10; bits <= 0xf0; bits += 0x10)
        expect_abort(smash_state, &bits, "bufferpool_put", NULL);
}

/* ---- data and cap, which callers must not write ---- */

enum written {
    DATA_NULL,
    DATA_MOVED_1,
    DATA_MOVED_8,
    DATA_MOVED,
    DATA_MOVED_FAR,
    CAP_1_LESS,
    DATA_AND_CAP_MOVED,
    CAP_HUGE,
    CAP_LESS,
    ALL_THREE,
    WRITTEN
};

static void write_members(bufferpool_buf_t *buf, enum written how)
{
    switch (how) {
    case DATA_NULL:
        set_data(buf, NULL);
        break;
    case DATA_MOVED_1:
        set_data(buf, buf->data + 1);
        break;
    case DATA_MOVED_8:
        set_data(buf, buf->data + 8);
        break;
    case CAP_1_LESS:
        set_cap(buf, buf->cap - 1);
        break;
    case DATA_MOVED:
        set_data(buf, buf->data + 100);
        break;
    case DATA_MOVED_FAR:
        set_data(buf, buf->data + 65536);
        break;
    case DATA_AND_CAP_MOVED: /* the rest of a partial write */
        set_data(buf, buf->data + 16);
        set_cap(buf, buf->cap - 16);
        break;
    case CAP_HUGE:
        set_cap(buf, (size_t)1 << (8 * sizeof(size_t) - 24));
        break;
    case CAP_LESS:
        set_cap(buf, buf->cap / 2);
        break;
    default:
        memset((void *)buf, 0x41, sizeof *buf);
        break;
    }
}

enum found_by {
    PUT_GROWN,
    PUT_BEYOND,
    PUT_WIPING,
    PUT_CLOSED,
    OWN_APPEND,
    OWN_RESERVE,
    OWN_PRINTF,
    OWN_METRICS,
    NEXT_APPEND,
    FLUSH,
    TRIM_ALL,
    DESTROY_POOL,
    THREAD_EXIT,
    EXCHANGE,
    IDLE_GET, /* written while it idles in the depot */
    IDLE_TRIM,
    FOUND_BY
};

static const char *const found_by[FOUND_BY] = {"bufferpool_put:",
                                               "bufferpool_put:",
                                               "bufferpool_put:",
                                               "bufferpool_put:",
                                               "bufferpool_buf_append:",
                                               "bufferpool_buf_reserve:",
                                               "bufferpool_buf_printf:",
                                               "bufferpool_metrics:",
                                               "bufferpool_buf_append:",
                                               "bufferpool_thread_flush:",
                                               "bufferpool_trim:",
                                               "bufferpool_destroy:",
                                               "",
                                               "",
                                               "bufferpool_get:",
                                               "bufferpool_trim:"};

struct members {
    enum written how;
    enum found_by by;
};

/* Memcheck is told of each put, so that no put is fast. */
static const char *reporter(enum found_by by)
{
    const bool fast_put = by >= NEXT_APPEND && by <= DESTROY_POOL;
    return fast_put && test_under_valgrind() ? "bufferpool_put:" : found_by[by];
}

enum { OTHERS = 5 };

/* Others lie below it in the thread's cache. */
static void *get_write_and_put(void *arg)
{
    const struct members *m = arg;
    bufferpool_buf_t *others[OTHERS], *buf = get_noted();
    if (bufferpool_get_bulk(pool, others, OTHERS) != 0)
        _exit(2);
    write_members(buf, m->how);
    bufferpool_put_bulk(others, OTHERS);
    bufferpool_put(buf);
    return NULL;
}

/* One buffer of many that a thread gets and puts over and over: more than its cache holds when that has grown. */
static void exchange_until_found(const struct members *m)
{
    enum { N = 200 };
    bufferpool_buf_t *bufs[N];
    for (int turn = 0; turn < 100; turn++) {
        for (size_t i = 0; i < N; i++)
            bufs[i] = bufferpool_get(pool);
        if (turn == 20) {
            expect_in_message("%p", (void *)bufs[40]);
            write_members(bufs[40], m->how);
        }
        for (size_t i = 0; i < N; i++)
            bufferpool_put(bufs[i]);
    }
}

static void write_and_put_slowly(const struct members *m)
{
    if (m->by == PUT_BEYOND || m->by == PUT_CLOSED)
        bufferpool_set_max_live(pool, m->by == PUT_BEYOND ? 1 : 2);
    bufferpool_buf_t *other = bufferpool_get(pool), *buf = get_noted();
    if (other == NULL || (m->by == PUT_GROWN && bufferpool_buf_reserve(buf, 100000) != 0))
        _exit(2);
    if (m->by == PUT_CLOSED) /* a get beyond the cap: under pressure each put is slow */
        bufferpool_put(bufferpool_get(pool));
    write_members(buf, m->how);
    bufferpool_put(buf);
}

static void write_and_use(const struct members *m)
{
    bufferpool_buf_t *buf = get_noted();
    write_members(buf, m->how);
    buf->len = 0;
    if (m->by == OWN_APPEND)
        (void)bufferpool_buf_append(buf, "text", 4);
    else if (m->by == OWN_RESERVE)
        (void)bufferpool_buf_reserve(buf, 100000);
    else if (m->by == OWN_PRINTF)
        (void)bufferpool_buf_printf(buf, "%d", 1);
    else
        (void)bufferpool_metrics(buf);
}

static void write_while_idle(const struct members *m)
{
    bufferpool_buf_t *buf = get_noted();
    bufferpool_put(buf);
    bufferpool_thread_flush();
    write_members(buf, m->how);
    if (m->by == IDLE_GET)
        (void)bufferpool_get(pool);
    else
        (void)bufferpool_trim(pool);
}

static void write_and_put_fast(struct members *m)
{
    pthread_t thread;
    if (m->by != THREAD_EXIT)
        (void)get_write_and_put(m);
    switch (m->by) {
    case NEXT_APPEND:
        (void)bufferpool_buf_append(bufferpool_get(pool), "text", 4);
        break;
    case FLUSH:
        bufferpool_thread_flush();
        break;
    case TRIM_ALL:
        (void)bufferpool_trim(pool);
        break;
    case DESTROY_POOL:
        (void)bufferpool_destroy(pool);
        break;
    default:
        if (pthread_create(&thread, NULL, get_write_and_put, m) != 0 || pthread_join(thread, NULL) != 0)
            _exit(2);
        break;
    }
}

static void write_members_and_go_on(void *arg)
{
    struct members *m = arg;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "members";
    config.flags = m->by == PUT_WIPING ? BUFFERPOOL_ZERO : 0;
    pool = bufferpool_create(&config);
    if (pool == NULL)
        _exit(2);
    if (m->by <= PUT_CLOSED)
        write_and_put_slowly(m);
    else if (m->by <= OWN_METRICS)
        write_and_use(m);
    else if (m->by == EXCHANGE)
        exchange_until_found(m);
    else if (m->by >= IDLE_GET)
        write_while_idle(m);
    else
        write_and_put_fast(m);
}

static void members_that_a_caller_wrote_are_caught(void **state)
{
    (void)state;
    for (int how = 0; how < WRITTEN; how++)
        for (int by = 0; by < FOUND_BY; by++) {
            struct members m = {(enum written)how, (enum found_by)by};
            expect_abort(write_members_and_go_on, &m, reporter((enum found_by)by), "was overwritten (pool members)",
                         NULL);
        }
}

static void smash_prefix(void *arg)
{
    const struct smash *smash = arg;
    bufferpool_buf_t *other = bufferpool_get(pool); /* so that one is beyond a cap of 1 */
    if (smash->then == THEN_BYPASS_PUT)
        bufferpool_set_max_live(pool, 1);
    bufferpool_buf_t *buf = get_noted();
    if (other == NULL)
        _exit(2);
    for (int strike = 0; smash->then == THEN_SHRINK && strike < 5;
         strike++) { /* so that the next put replaces the block */
        if (bufferpool_buf_reserve(buf, strike == 0 ? 100000 : 0) != 0)
            _exit(2);
        bufferpool_put(buf);
        if (bufferpool_get(pool) != buf)
            _exit(2);
    }
    test_smash(buf->data - smash->bytes, smash->with, smash->bytes);
    do_next(smash, buf);
}

static void move_data(void *arg)
{
    bufferpool_buf_t *buf = get_noted();
    memset(buf->data, 0, buf->cap);
    set_data(buf, buf->data + 64);
    do_next(arg, buf);
}

/* To where no block can be. */
static void move_data_away(void *arg)
{
    bufferpool_buf_t *other = bufferpool_get(pool); /* so that one is beyond a cap of 1 */
    bufferpool_buf_t *buf = get_noted();
    if (other == NULL)
        _exit(2);
    set_data(buf, static_memory + LINE);
    do_next(arg, buf);
}

static void a_smashed_block_prefix_is_caught(void **state)
{
    (void)state;
    for (size_t bytes = PREFIX / 2; bytes <= PREFIX; bytes += PREFIX / 2) {
        for (int with = 0; with <= 0xff; with += 0x33) {
            struct smash smash = {.with = (unsigned char)with, .bytes = bytes, .then = THEN_RESERVE};
            expect_abort(smash_prefix, &smash, "bufferpool_buf_reserve", "ledger", NULL);
            smash.then = THEN_TRIM;
            expect_abort(smash_prefix, &smash, "bufferpool_trim", "ledger", NULL);
            smash.then = THEN_DROP;
            expect_abort(smash_prefix, &smash, "bufferpool_put", "ledger", NULL);
            smash.then = THEN_BYPASS_PUT;
            expect_abort(smash_prefix, &smash, "bufferpool_put", "ledger", NULL);
            smash.then = THEN_SHRINK;
            expect_abort(smash_prefix, &smash, "bufferpool_put", "ledger", NULL);
        }
    }
    struct smash smash = {.then = THEN_RESERVE};
    expect_abort(move_data, &smash, "bufferpool_buf_reserve", "ledger", NULL);
    expect_abort(move_data_away, &smash, "bufferpool_buf_reserve", "ledger", NULL);
    smash.then = THEN_DROP;
    expect_abort(move_data_away, &smash, "bufferpool_put", "ledger", NULL);
}

/* ---- content calls after put ---- */

static int print_by_list(bufferpool_buf_t *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int error = bufferpool_buf_vprintf(buf, format, args);
    va_end(args);
    return error;
}

enum { CONTENT_CALLS = 8 };

static void use_after_put(void *arg)
{
    const int which = *(const int *)arg;
    bufferpool_buf_t *buf = get_noted();
    bufferpool_put(buf);
    if (which >= CONTENT_CALLS)
        bufferpool_trim(pool); /* and freed */
    switch (which % CONTENT_CALLS) {
    case 0:
        bufferpool_buf_append(buf, "text", 4);
        break;
    case 1:
        bufferpool_buf_reserve(buf, 10);
        break;
    case 2:
        bufferpool_buf_reserve(buf, 100000);
        break;
    case 3:
        bufferpool_buf_printf(buf, "%d", 1);
        break;
    case 4:
        print_by_list(buf, "%d", 1);
        break;
    case 5:
        bufferpool_metrics(buf);
        break;
    case 6:
        bufferpool_buf_shrink(buf, 0);
        break;
    default:
        bufferpool_holders(buf);
        break;
    }
}

static void content_calls_after_put_are_caught(void **state)
{
    static const char *const names[CONTENT_CALLS] = {
        "bufferpool_buf_append:",  "bufferpool_buf_reserve:", "bufferpool_buf_reserve:", "bufferpool_buf_printf:",
        "bufferpool_buf_vprintf:", "bufferpool_metrics:",     "bufferpool_buf_shrink:",  "bufferpool_holders:"};
    (void)state;
    for (int which = 0; which < 2 * CONTENT_CALLS; which++)
        expect_abort(use_after_put, &which, names[which % CONTENT_CALLS], NULL);
}

static void append_to_no_buffer(void *address)
{
    expect_in_message("%p", address);
    bufferpool_buf_append(address, "text", 4);
}

static void reserve_of_no_buffer(void *address)
{
    expect_in_message("%p", address);
    (void)bufferpool_buf_reserve(address, 0);
}

static void content_calls_on_foreign_memory_are_caught(void **state)
{
    (void)state;
    memset(static_memory, 0, sizeof static_memory);
    expect_abort(append_to_no_buffer, static_memory + 4 * LINE, "bufferpool_buf_append", NULL);
    expect_abort(append_to_no_buffer, static_memory + 4 * LINE + 3, "bufferpool_buf_append", NULL);
    expect_abort(reserve_of_no_buffer, static_memory + 4 * LINE, "bufferpool_buf_reserve", NULL);
    expect_abort(reserve_of_no_buffer, static_memory + 4 * LINE + 3, "bufferpool_buf_reserve", NULL);
}

/* ---- put by data ---- */

static void put_data(void *data)
{
    expect_in_message("%p", data);
    bufferpool_put_data(data);
}

enum put_data_scene { HELD_INSIDE, HELD_UNALIGNED, PUT_BEFORE, PUT_AND_TRIMMED, GROWN_SINCE, SMASHED, SCENES };

static void put_data_of(void *arg)
{
    bufferpool_buf_t *bufs[60]; /* so that others of the same slab are held, and its memory can be read to the end */
    if (bufferpool_get_bulk(pool, bufs, 60) != 0)
        _exit(2);
    bufferpool_buf_t *buf = bufs[30];
    unsigned char *data = buf->data;
    memset(data, 0x41, buf->cap);
    switch (*(const enum put_data_scene *)arg) {
    case HELD_INSIDE:
        put_data(data + 64);
        break;
    case HELD_UNALIGNED:
        put_data(data + 1);
        break;
    case PUT_BEFORE:
        bufferpool_put_data(data);
        expect_in_message("%p", (void *)buf);
        bufferpool_put_data(data);
        break;
    case PUT_AND_TRIMMED:
        bufferpool_put_data(data);
        bufferpool_trim(pool);
        put_data(data);
        break;
    case GROWN_SINCE:
        if (bufferpool_buf_reserve(buf, 100000) != 0 || buf->data == data)
            _exit(2);
        put_data(data);
        break;
    default:
        test_smash(data - 1, 0x41, 1);
        put_data(data);
        break;
    }
}

static void put_data_of_no_held_buffer_is_caught(void **state)
{
    (void)state;
    for (int scene = 0; scene < SCENES; scene++)
        expect_abort(put_data_of, &scene, "bufferpool_put_data:",
                     scene == PUT_BEFORE ? "put twice (pool ledger)" : "not the data of a buffer that is held", NULL);
    unsigned char on_stack[16 * LINE];
    memset(on_stack, 0, sizeof on_stack);
    memset(static_memory, 0xff, sizeof static_memory);
    for (size_t offset = 0; offset < LINE; offset += 4) {
        expect_abort(put_data, on_stack + 2 * LINE + offset, "bufferpool_put_data:", "not the data", NULL);
        expect_abort(put_data, static_memory + 2 * LINE + offset, "bufferpool_put_data:", "not the data", NULL);
    }
    unsigned char *pages = mmap(NULL, 3 * 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(pages, MAP_FAILED);
    assert_int_equal(mprotect(pages + 65536, 65536, PROT_READ), 0);
    expect_abort(put_data, pages + 65536, "bufferpool_put_data:", "not the data", NULL);
    assert_int_equal(munmap(pages, 3 * 65536), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_double_put_is_caught),
        cmocka_unit_test(a_double_put_at_the_same_time_is_caught_later),
        cmocka_unit_test(a_report_shows_a_strange_pool_name_on_one_line),
        cmocka_unit_test(misuse_aborts_with_stderr_closed),
        cmocka_unit_test(a_put_of_a_destroyed_pool_is_caught),
        cmocka_unit_test(calls_on_a_destroyed_pool_are_caught),
        cmocka_unit_test(calls_on_what_is_no_pool_are_caught),
        cmocka_unit_test(buffers_of_a_destroyed_pool_are_caught),
        cmocka_unit_test(foreign_pointers_are_caught),
        cmocka_unit_test(a_smashed_handle_is_caught),
        cmocka_unit_test(a_smashed_state_is_caught),
        cmocka_unit_test(members_that_a_caller_wrote_are_caught),
        cmocka_unit_test(a_smashed_block_prefix_is_caught),
        cmocka_unit_test(content_calls_after_put_are_caught),
        cmocka_unit_test(content_calls_on_foreign_memory_are_caught),
        cmocka_unit_test(put_data_of_no_held_buffer_is_caught),
    };
    return cmocka_run_group_tests_name("misuse", tests, make_pool, drop_pool);
}
