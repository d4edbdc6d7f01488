/* SPDX-License-Identifier: MIT
 *
 * sequence.c - the fuzzer: bytes are a configuration and a sequence of calls of the whole API, and the model checks
 * each
 *
 * An operation is a byte, two bits of which are the thread, followed by whatever bytes that operation reads. Misuse,
 * which aborts, is left out. errno is set to a value that no call may change when it succeeds.
 *
 * The coarse clock, by which pools give memory back, stands still except for one operation that moves it on. The linker
 * replaces the clock and sched_getcpu, so that an input does the same each time.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "crew.h"
#include "input.h"
#include "model.h"
#include "report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>
#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { UNTOUCHED = EXDEV, BURST_MAX = 32, TEXT_MAX = 70000 };

#define KIB ((size_t)1 << 10)

/* ---- the clock ---- */

static _Atomic(uint64_t) coarse_ms = 1000; /* a background thread may look at it at any time */

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    if (clock != CLOCK_MONOTONIC_COARSE)
        return __real_clock_gettime(clock, now);
    const uint64_t ms = coarse_ms;
    now->tv_sec = (time_t)(ms / 1000);
    now->tv_nsec = (long)(ms % 1000) * 1000000;
    return 0;
}

/* ---- the state ---- */

struct run {
    struct model model;
    struct input in;
    unsigned thread; /* of this operation */
};

static struct run run;
static unsigned char pattern[TEXT_MAX];

/* Each thread has a CPU of its own: where the library looks for memory first depends on that. */
int __wrap_sched_getcpu(void);

int __wrap_sched_getcpu(void)
{
    return (int)run.thread;
}

static struct pool *pool_number(unsigned n)
{
    static const unsigned char which[] = {0, 0, 0, 1, 1, 2, 3, POOL_DEFAULT};
    struct pool *pool = &run.model.pools[which[n % 8]];
    return pool->exists ? pool : &run.model.pools[POOL_DEFAULT];
}

static unsigned index_of(const struct pool *pool)
{
    return (unsigned)(pool - run.model.pools);
}

static struct pool *read_pool(void)
{
    return pool_number(input_byte(&run.in));
}

/* One that is held; NULL: none is. */
static struct held *read_held(void)
{
    const unsigned n = input_byte(&run.in);
    return run.model.held_count > 0 ? &run.model.held[n % run.model.held_count] : NULL;
}

/* ---- calls, each in the thread of the operation ---- */

struct call {
    bufferpool_t *pool;
    enum get_kind kind;
    bufferpool_buf_t *buf;
    bufferpool_buf_t **bufs;
    size_t n;
    const void *src;
    const char *format;
    int width;
    const bufferpool_config_t *config;
    /* results */
    int error;
    int errors[BURST_MAX];
    size_t bytes;
    bufferpool_stats_t *stats;
};

static void in_thread(crew_fn fn, struct call *call)
{
    crew_run(run.thread, fn, call);
}

static void check_errno(const char *what)
{
    check(errno == UNTOUCHED, "%s: errno is %d after success", what, errno);
}

static void call_get(void *arg)
{
    struct call *c = arg;
    for (size_t i = 0; i < c->n; i++) {
        errno = UNTOUCHED;
        switch (c->kind) {
        case TRY_GET:
            c->bufs[i] = bufferpool_try_get(c->pool);
            break;
        case GET_TIMED:
            c->bufs[i] = bufferpool_get_timed(c->pool, 0);
            break;
        default:
            c->bufs[i] = bufferpool_get(c->pool);
        }
        c->errors[i] = errno;
        if (c->bufs[i] != NULL)
            check_errno("get");
    }
}

static void call_get_bulk(void *arg)
{
    struct call *c = arg;
    errno = UNTOUCHED;
    c->error = bufferpool_get_bulk(c->pool, c->bufs, c->n);
    if (c->error == 0)
        check_errno("get_bulk");
}

static void call_put(void *arg)
{
    struct call *c = arg;
    for (size_t i = 0; i < c->n; i++) {
        errno = UNTOUCHED;
        if (i % 2 == 0)
            bufferpool_put(c->bufs[i]);
        else
            bufferpool_put_data(c->bufs[i]->data);
        check_errno("put");
    }
}

static void call_put_bulk(void *arg)
{
    struct call *c = arg;
    errno = UNTOUCHED;
    bufferpool_put_bulk(c->bufs, c->n);
    check_errno("put_bulk");
}

static void call_reserve(void *arg)
{
    struct call *c = arg;
    errno = UNTOUCHED;
    c->error = bufferpool_buf_reserve(c->buf, c->n);
    if (c->error == 0)
        check_errno("reserve");
}

static void call_append(void *arg)
{
    struct call *c = arg;
    errno = UNTOUCHED;
    c->error = bufferpool_buf_append(c->buf, c->src, c->n);
    if (c->error == 0)
        check_errno("append");
}

static int __attribute__((format(printf, 2, 3))) vprintf_of(bufferpool_buf_t *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int error = bufferpool_buf_vprintf(buf, format, args);
    va_end(args);
    return error;
}

static void call_printf(void *arg)
{
    struct call *c = arg;
    errno = UNTOUCHED;
    c->error = bufferpool_buf_printf(c->buf, "%.*s", c->width, (const char *)c->src);
    if (c->error == 0)
        check_errno("printf");
}

static void call_vprintf(void *arg)
{
    struct call *c = arg;
    errno = UNTOUCHED;
    c->error = vprintf_of(c->buf, "<%0*d>", c->width, 7);
    if (c->error == 0)
        check_errno("vprintf");
}

static void call_printf_invalid(void *arg)
{
    struct call *c = arg;
    const wint_t no_character = 0x110000;
    c->error = bufferpool_buf_printf(c->buf, "%s%lc", "text", no_character);
}

static void call_printf_no_format(void *arg)
{
    struct call *c = arg;
    c->error = vprintf_of(c->buf, c->format, 0);
}

static void call_trim(void *arg)
{
    struct call *c = arg;
    errno = UNTOUCHED;
    c->bytes = bufferpool_trim(c->pool);
    check_errno("trim");
}

static void call_reclaim(void *arg)
{
    struct call *c = arg;
    errno = UNTOUCHED;
    c->bytes = bufferpool_reclaim(c->pool);
    check_errno("reclaim");
}

static void call_flush(void *arg)
{
    (void)arg;
    errno = UNTOUCHED;
    bufferpool_thread_flush();
    check_errno("thread_flush");
}

static void call_set_max_live(void *arg)
{
    struct call *c = arg;
    errno = UNTOUCHED;
    bufferpool_set_max_live(c->pool, c->n);
    check_errno("set_max_live");
}

static void call_stats(void *arg)
{
    struct call *c = arg;
    errno = UNTOUCHED;
    bufferpool_stats(c->pool, c->stats);
    check_errno("stats");
}

static void call_create(void *arg)
{
    struct call *c = arg;
    errno = UNTOUCHED;
    c->pool = bufferpool_create(c->config);
    c->error = errno;
    if (c->pool != NULL)
        check_errno("create");
}

static void call_destroy(void *arg)
{
    struct call *c = arg;
    errno = UNTOUCHED;
    c->error = bufferpool_destroy(c->pool);
    if (c->error == 0)
        check_errno("destroy");
}

static void call_from_data(void *arg)
{
    struct call *c = arg;
    errno = UNTOUCHED;
    c->buf = bufferpool_buf_from_data(c->src);
    c->error = errno;
}

/* ---- pools ---- */

static bufferpool_config_t read_config(struct blocks *blocks)
{
    /* the large ones seldom: their pages take the time of many inputs */
    static const size_t capacities[] = {64,  256, 1,    4096, 100, 1000,     64,        16,
                                        256, 48,  2000, 4096, 0,   64 * KIB, 300 * KIB, 1024 * KIB + 1};
    static const size_t alignments[] = {0, 16, 1, 4, 128, 1024, 4096};
    struct input *in = &run.in;
    bufferpool_config_t c = BUFFERPOOL_CONFIG_INIT;
    c.buffer_capacity = input_one_of(in, capacities);
    const size_t base = c.buffer_capacity != 0 ? c.buffer_capacity : 32 * KIB;
    c.max_capacity = base * input_below(in, 17);
    c.max_live = input_below(in, 24);
    const unsigned idle = input_byte(in);
    if (idle >= 64) /* 63 times a buffer or less, exactly or not quite */
        c.max_idle_bytes = (idle & 63) * base + (idle >> 6) - 2;
    c.thread_cache_bytes = base * input_below(in, 12);
    c.alignment = input_one_of(in, alignments);
    const unsigned flags = input_byte(in);
    c.flags = flags & 16 ? BUFFERPOOL_ZERO : 0;
    c.flags |= (flags & 15) == 15 ? BUFFERPOOL_HUGEPAGES : 0;
    c.reclaim_interval_ms = flags & 32 ? 10 : BUFFERPOOL_NEVER;
    if ((flags & 15) == 14) {
        c.flags |= BUFFERPOOL_BACKGROUND; /* its thread is there, and sleeps longer than any input takes */
        c.flags |= flags & 32 ? BUFFERPOOL_START_NOW : 0;
        c.reclaim_interval_ms = UINT32_MAX / 2;
    }
    c.name = flags & 64 ? "fuzz" : NULL;
    if (flags & 128) {
        c.alloc = blocks_alloc;
        c.free = blocks_free;
        c.ctx = blocks;
        if (c.buffer_capacity > 64 * KIB)
            c.buffer_capacity = 64 * KIB, c.max_capacity = 0;
        blocks->wiped = (c.flags & BUFFERPOOL_ZERO) != 0;
    }
    return c;
}

static void create_pool(struct pool *pool)
{
    const bufferpool_config_t config = read_config(&pool->blocks);
    struct call call = {.config = &config};
    in_thread(call_create, &call);
    report_call("create pool %u: capacity %zu max %zu live %zu idle %zu cache %zu align %zu flags %x interval %u%s",
                index_of(pool), config.buffer_capacity, config.max_capacity, config.max_live, config.max_idle_bytes,
                config.thread_cache_bytes, config.alignment, config.flags, config.reclaim_interval_ms,
                config.alloc != NULL ? " hooks" : "");
    check(call.pool != NULL, "no pool, errno %d", call.error);
    model_add_pool(&run.model, pool, call.pool, &config);
}

static void op_create(void)
{
    struct pool *pool = &run.model.pools[input_below(&run.in, POOLS - 1)];
    if (!pool->exists)
        create_pool(pool);
}

static void op_create_invalid(void)
{
    bufferpool_config_t c = BUFFERPOOL_CONFIG_INIT;
    struct blocks none = {0};
    switch (input_below(&run.in, 14)) {
    case 0:
        c.size = 0;
        break;
    case 1:
        c.size = sizeof(c) + 2; /* one more is of BUFFERPOOL_CONFIG */
        break;
    case 2:
        c.size = offsetof(bufferpool_config_t, ctx);
        break;
    case 3:
        c.alignment = 3;
        break;
    case 4:
        c.alignment = 2 * (size_t)sysconf(_SC_PAGESIZE);
        break;
    case 5:
        c.alignment = ((size_t)1 << (sizeof(size_t) * 8 - 1));
        break;
    case 6:
        c.buffer_capacity = 100, c.max_capacity = 99;
        break;
    case 7:
        c.max_capacity = 32 * KIB - 1;
        break;
    case 8:
        c.buffer_capacity = PTRDIFF_MAX;
        break;
    case 9:
        c.buffer_capacity = SIZE_MAX;
        break;
    case 10:
        c.max_capacity = PTRDIFF_MAX - ((size_t)8 << 20) + 1;
        break;
    case 11:
        c.alloc = blocks_alloc, c.ctx = &none;
        break;
    case 12:
        c.free = blocks_free, c.ctx = &none;
        break;
    default:
        /* which needs BUFFERPOOL_BACKGROUND, or a flag that is not known */
        c.flags = BUFFERPOOL_START_NOW << input_below(&run.in, 27);
    }
    struct call call = {.config = &c};
    in_thread(call_create, &call);
    report_call("create with a bad configuration");
    check(call.pool == NULL && call.error == EINVAL, "a bad configuration was taken, errno %d", call.error);
}

static void op_destroy(void)
{
    struct pool *pool = read_pool();
    struct call call = {.pool = pool->handle};
    const bool busy = pool->held > 0;
    in_thread(call_destroy, &call);
    report_call("destroy pool %u: %d", index_of(pool), call.error);
    if (pool->handle == NULL) {
        check(call.error == EINVAL, "destroy of the default pool: %d", call.error);
    } else if (busy) {
        check(call.error == EBUSY, "destroy of a busy pool: %d", call.error);
        report_came_by("busy");
    } else {
        check(call.error == 0, "destroy: %d", call.error);
        model_remove_pool(pool);
        report_came_by("destroy");
    }
}

/* ---- get and put ---- */

static void get_some(struct pool *pool, enum get_kind kind, size_t n)
{
    bufferpool_buf_t *bufs[BURST_MAX];
    if (n > HELD_MAX - run.model.held_count)
        n = HELD_MAX - run.model.held_count;
    struct call call = {.pool = pool->handle, .kind = kind, .bufs = bufs, .n = n};
    in_thread(call_get, &call);
    report_call("thread %u: get kind %u from pool %u, %zu times", run.thread, kind, index_of(pool), n);
    for (size_t i = 0; i < n; i++)
        model_got(&run.model, pool, run.thread, kind, bufs[i], call.errors[i]);
}

static void op_get(void)
{
    get_some(read_pool(), GET, 1);
}

static void op_try_get(void)
{
    get_some(read_pool(), TRY_GET, 1);
}

static void op_get_timed(void)
{
    get_some(read_pool(), GET_TIMED, 1);
}

static void op_get_many(void)
{
    const unsigned byte = input_byte(&run.in);
    get_some(pool_number(byte), (byte >> 3) % 8 == 7 ? TRY_GET : GET, 1 + (byte >> 3));
}

static void op_get_bulk(void)
{
    const unsigned byte = input_byte(&run.in);
    struct pool *pool = pool_number(byte);
    bufferpool_buf_t *bufs[BURST_MAX];
    struct call call = {.pool = pool->handle, .bufs = bufs, .n = byte >> 3};
    if (call.n > HELD_MAX - run.model.held_count)
        call.n = HELD_MAX - run.model.held_count;
    in_thread(call_get_bulk, &call);
    report_call("thread %u: get_bulk of %zu from pool %u: %d", run.thread, call.n, index_of(pool), call.error);
    model_got_bulk(&run.model, pool, run.thread, bufs, call.n, call.error);
}

static void op_get_bulk_null(void)
{
    struct call call = {.pool = read_pool()->handle, .n = input_below(&run.in, 3)};
    in_thread(call_get_bulk, &call);
    report_call("get_bulk to NULL");
    check(call.error == (call.n == 0 ? 0 : EINVAL), "get_bulk to NULL: %d", call.error);
}

/* Puts those buffers, of which some may be NULL. Where many are put at once no hook fails: it would be open which of
 * them could not shrink. */
static void put_these(crew_fn fn, bufferpool_buf_t **bufs, size_t n)
{
    unsigned to_fail[POOLS];
    size_t real = 0;
    for (size_t i = 0; i < n; i++)
        if (bufs[i] != NULL) {
            const struct held *held = model_find(&run.model, bufs[i]);
            model_check_held(held);
            report_call("thread %u: put of %p, pool %u, cap %zu, len %zu", run.thread, (void *)bufs[i],
                        index_of(held->pool), held->cap, held->len);
            real++;
        }
    for (size_t i = 0; i < POOLS; i++) {
        to_fail[i] = run.model.pools[i].blocks.to_fail;
        if (real > 1)
            run.model.pools[i].blocks.to_fail = 0;
    }
    struct call call = {.bufs = bufs, .n = n};
    in_thread(fn, &call);
    for (size_t i = 0; i < n; i++)
        if (bufs[i] != NULL)
            model_put(&run.model, model_find(&run.model, bufs[i]), run.thread);
    for (size_t i = 0; i < POOLS; i++)
        if (real > 1)
            run.model.pools[i].blocks.to_fail = to_fail[i];
}

static void op_put(void)
{
    struct held *held = read_held();
    bufferpool_buf_t *buf = held != NULL ? held->buf : NULL; /* that has no effect */
    put_these(call_put, &buf, 1);
}

/* The first, or the last, that are held. */
static void op_put_many(void)
{
    const unsigned byte = input_byte(&run.in);
    const bool first = (byte & 128) != 0;
    const size_t held = run.model.held_count;
    size_t n = 1 + byte % BURST_MAX;
    bufferpool_buf_t *bufs[BURST_MAX];
    if (n > held)
        n = held;
    for (size_t i = 0; i < n; i++)
        bufs[i] = run.model.held[first ? i : held - 1 - i].buf;
    put_these(byte & 64 ? call_put_bulk : call_put, bufs, n);
}

static void op_put_bulk(void)
{
    const unsigned byte = input_byte(&run.in);
    const unsigned mask = input_byte(&run.in);
    const size_t held = run.model.held_count;
    bufferpool_buf_t *bufs[8];
    size_t n = 0;
    for (size_t i = 0; i < 8; i++)
        bufs[n++] = (mask & 1u << i) != 0 && i < held ? run.model.held[(byte + i) % held].buf : NULL;
    put_these(call_put_bulk, bufs, n);
}

/* ---- content ---- */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Writes the buffer's bytes, also beyond len, and sets len. */
static void op_write(void)
{
    struct held *held = read_held();
    const size_t len = input_size(&run.in);
    if (held == NULL)
        return;
    const size_t n = smaller(held->cap, smaller(len + 64, sizeof(pattern) - 256));
    memcpy(held->data, pattern + (len & 255), n);
    held->data[held->cap - 1] = 0x77;
    held->buf->len = smaller(len, n);
    model_written(held);
    report_call("len of %p is %zu", (void *)held->buf, held->len);
}

static size_t read_size_for(const struct held *held)
{
    const unsigned how = input_below(&run.in, 8);
    switch (how) {
    case 0:
        return held->cap;
    case 1:
        return held->cap + 1;
    case 2:
        return held->pool->max_capacity + 1;
    case 3:
        return held->pool->max_capacity;
    case 4:
        return held->len;
    default:
        return input_size(&run.in);
    }
}

static void op_reserve(void)
{
    struct held *held = read_held();
    if (held == NULL)
        return;
    struct call call = {.buf = held->buf, .n = smaller(read_size_for(held), 4096 * KIB)};
    in_thread(call_reserve, &call);
    report_call("thread %u: reserve %zu for %p: %d", run.thread, call.n, (void *)held->buf, call.error);
    model_sized(&run.model, held, call.n, call.error);
    model_check_held(held);
}

static void append(struct held *held, const unsigned char *src, size_t n, unsigned char *expected)
{
    memcpy(expected, src, n);
    struct call call = {.buf = held->buf, .src = src, .n = n};
    in_thread(call_append, &call);
    report_call("thread %u: append %zu to %p of %zu: %d", run.thread, n, (void *)held->buf, held->len, call.error);
    if (n > 0)
        model_sized(&run.model, held, held->len + n, call.error);
    else
        check(call.error == 0, "append of nothing: %d", call.error);
    if (call.error == 0)
        model_appended(held, expected, n);
    model_check_held(held);
}

static unsigned char scratch[TEXT_MAX + 16];

static size_t room_in_model(const struct held *held)
{
    return held->len < 1024 * KIB ? TEXT_MAX - 1 : 0;
}

static void op_append(void)
{
    struct held *held = read_held();
    if (held == NULL)
        return;
    const unsigned how = input_byte(&run.in);
    size_t n = input_size(&run.in);
    if (how % 4 == 0 && held->cap >= held->len) /* up to cap, or one beyond */
        n = held->cap - held->len + how / 128;
    n = smaller(n, smaller(room_in_model(held), TEXT_MAX - 256));
    append(held, pattern + how, n, scratch);
}

/* For memcheck: bytes that nobody wrote will be compared. */
static void know_bytes(const unsigned char *bytes, size_t n)
{
#ifdef VALGRIND_MAKE_MEM_DEFINED
    (void)VALGRIND_MAKE_MEM_DEFINED(bytes, n);
#else
    (void)bytes, (void)n;
#endif
}

/* Bytes of the buffer's own, some perhaps beyond len. */
static void op_append_own(void)
{
    struct held *held = read_held();
    if (held == NULL)
        return;
    size_t offset = input_size(&run.in) % held->cap;
    size_t n = input_size(&run.in);
    if ((offset & 1) != 0 && held->len > 0) {
        offset %= held->len;
        n = held->len - offset;
    }
    n = smaller(n, smaller(held->cap - offset, room_in_model(held)));
    if (held->len + n > held->cap)
        report_came_by("append-own");
    know_bytes(held->data + offset, n);
    append(held, held->data + offset, n, scratch);
}

static void expect_text(struct held *held, const struct call *call, size_t length)
{
    model_sized(&run.model, held, held->len + length + 1, call->error);
    if (call->error == 0) {
        model_appended(held, scratch, length);
        check(held->data[held->len] == 0, "no NUL behind the text");
    }
    model_check_held(held);
}

static void op_printf(void)
{
    struct held *held = read_held();
    if (held == NULL)
        return;
    struct call call = {.buf = held->buf, .width = (int)smaller(input_size(&run.in), room_in_model(held) / 2)};
    const bool string = input_byte(&run.in) % 2 == 0;
    if (string) {
        memset(scratch, 'a' + call.width % 26, (size_t)call.width);
        scratch[call.width] = 0;
        static unsigned char text[sizeof(scratch)];
        memcpy(text, scratch, (size_t)call.width + 1);
        call.src = text;
    }
    const int length = string ? call.width : snprintf((char *)scratch, sizeof(scratch), "<%0*d>", call.width, 7);
    in_thread(string ? call_printf : call_vprintf, &call);
    report_call("thread %u: printf of %d to %p of %zu: %d", run.thread, length, (void *)held->buf, held->len,
                call.error);
    expect_text(held, &call, (size_t)length);
}

/* A text that is in the buffer itself, before len. */
static void op_printf_own(void)
{
    struct held *held = read_held();
    const size_t offset = input_size(&run.in);
    if (held == NULL || held->len == 0)
        return;
    const unsigned char *text = held->data + offset % held->len;
    const size_t most = smaller(held->len - offset % held->len, room_in_model(held));
    struct call call = {.buf = held->buf, .src = text, .width = (int)most};
    const int length = snprintf((char *)scratch, sizeof(scratch), "%.*s", call.width, (const char *)text);
    in_thread(call_printf, &call);
    report_call("thread %u: printf of %d own bytes to %p of %zu: %d", run.thread, length, (void *)held->buf, held->len,
                call.error);
    if (held->len + (size_t)length + 1 > held->cap)
        report_came_by("printf-own");
    expect_text(held, &call, (size_t)length);
}

/* What must be an error, or do nothing. */
static void op_content_error(void)
{
    static const unsigned char some[16] = {1, 2, 3};
    struct held *held = read_held();
    const unsigned which = input_below(&run.in, 11);
    const unsigned choice = input_byte(&run.in);
    if (held == NULL)
        return;
    const size_t len = held->len;
    static const size_t huge[] = {SIZE_MAX, (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX - ((size_t)16 << 20)};
    struct call call = {.buf = held->buf, .src = some, .n = huge[choice % 3], .width = 1};
    int error = choice % 3 < 2 ? EOVERFLOW : ENOMEM;
    crew_fn fn = call_reserve;
    switch (which) {
    case 0:
        break;
    case 1:
        fn = call_append;
        break;
    case 2:
        held->buf->len = held->cap + 1 + choice;
        error = EINVAL, call.n = choice;
        break;
    case 3:
        held->buf->len = SIZE_MAX - choice;
        fn = call_append, error = EINVAL, call.n = choice % 16;
        break;
    case 4:
        held->buf->len = held->cap + 1;
        fn = call_printf, error = EINVAL;
        break;
    case 5:
        fn = call_append, error = choice % 2 != 0 ? EINVAL : 0, call.src = NULL, call.n = choice % 2;
        break;
    case 6:
        fn = call_printf_no_format, error = EINVAL;
        break;
    case 7:
        fn = call_printf_invalid, error = EILSEQ;
        break;
    default:
        fn = which == 8 ? call_reserve : which == 9 ? call_append : call_printf;
        call.buf = NULL, call.n = choice % 16, error = EINVAL;
    }
    in_thread(fn, &call);
    held->buf->len = len;
    report_call("thread %u: erroneous call %u: %d", run.thread, which, call.error);
    check(call.error == error, "erroneous call %u with %u: %d, not %d", which, choice, call.error, error);
    model_check_held(held);
}

static void op_from_data(void)
{
    static _Alignas(16) unsigned char other[64];
    struct held *held = read_held();
    const unsigned which = input_byte(&run.in);
    struct call call = {.src = NULL};
    const bufferpool_buf_t *expected = NULL;
    if (held != NULL && which % 4 == 0) {
        call.src = held->data;
        expected = held->buf;
    } else if (held != NULL && which % 4 == 1 && held->cap > which) {
        call.src = held->data + 1 + which / 4; /* 16 bytes in front of it are the block's */
    } else if (which % 4 == 2) {
        call.src = other + 16 + which / 8;
    }
    in_thread(call_from_data, &call);
    report_call("thread %u: from_data of %p: %p", run.thread, call.src, (void *)call.buf);
    check(call.buf == expected, "from_data found another buffer");
    check(call.error == (expected != NULL ? UNTOUCHED : EINVAL), "from_data: errno %d", call.error);
}

/* ---- giving back, looking ---- */

static void op_trim(void)
{
    struct pool *pool = read_pool();
    struct call call = {.pool = pool->handle};
    in_thread(call_trim, &call);
    report_call("thread %u: trim of pool %u: %zu", run.thread, index_of(pool), call.bytes);
    if (call.bytes > 0)
        report_came_by("trim");
    model_trimmed(pool, call.bytes);
}

static void op_reclaim(void)
{
    struct pool *pool = read_pool();
    struct call call = {.pool = pool->handle};
    in_thread(call_reclaim, &call);
    report_call("thread %u: reclaim of pool %u: %zu", run.thread, index_of(pool), call.bytes);
    model_reclaimed(pool, call.bytes);
}

static void op_flush(void)
{
    struct call call = {0};
    in_thread(call_flush, &call);
    report_call("thread %u: flush", run.thread);
    model_flushed(&run.model, run.thread);
}

static void op_thread_end(void)
{
    if (crew_end(run.thread)) {
        report_call("thread %u: end", run.thread);
        report_came_by("thread-end");
        model_thread_ended(&run.model, run.thread);
    }
}

static void op_set_max_live(void)
{
    struct pool *pool = read_pool();
    const unsigned n = input_byte(&run.in);
    static const size_t large[] = {0, ((size_t)1 << 30) - 1, (size_t)1 << 30, SIZE_MAX};
    struct call call = {.pool = pool->handle, .n = n < 240 ? n % 40 : large[n % 4]};
    in_thread(call_set_max_live, &call);
    report_call("thread %u: set_max_live of pool %u: %zu", run.thread, index_of(pool), call.n);
    model_set_cap(pool, call.n);
}

static void op_stats(void)
{
    enum { MORE = 64 };
    const struct pool *pool = read_pool();
    const size_t size = input_byte(&run.in) % (sizeof(bufferpool_stats_t) + MORE);
    union {
        bufferpool_stats_t stats;
        unsigned char bytes[sizeof(bufferpool_stats_t) + MORE];
    } u;
    memset(u.bytes, 0x5a, sizeof(u.bytes));
    u.stats.size = size;
    struct call call = {.pool = pool->handle, .stats = &u.stats};
    bufferpool_stats_t all = model_stats(pool);
    in_thread(call_stats, &call);
    report_call("thread %u: stats of %zu bytes", run.thread, size);
    all.size = size;
    const size_t known = smaller(size, sizeof(all));
    if (size >= sizeof(size))
        check(memcmp(&all, u.bytes, known) == 0, "stats of %zu bytes differ", size);
    for (size_t i = size > sizeof(size) ? size : sizeof(size); i < sizeof(u.bytes); i++)
        check(u.bytes[i] == 0x5a, "stats wrote beyond %zu bytes", size);
    for (size_t i = sizeof(all); i < size; i++)
        check(u.bytes[i] == 0, "stats left a byte that it does not know");
}

/* ---- the world around ---- */

static void op_fail_allocations(void)
{
    struct pool *pool = read_pool();
    const unsigned byte = input_byte(&run.in);
    pool->blocks.skip = byte & 15;
    pool->blocks.to_fail = byte >> 4;
    report_call("hooks of pool %u: after %u, %u fail", index_of(pool), byte & 15, byte >> 4);
}

static void op_clock(void)
{
    coarse_ms += input_byte(&run.in) * 8u;
    report_call("the clock moves on");
}

static void (*const operations[])(void) = {
    op_get,       op_get_many,   op_get_bulk,         op_put,    op_put_many,      op_put_bulk,       op_write,
    op_reserve,   op_append,     op_append_own,       op_printf, op_printf_own,    op_trim,           op_reclaim,
    op_flush,     op_thread_end, op_set_max_live,     op_create, op_destroy,       op_clock,          op_try_get,
    op_get_timed, op_from_data,  op_fail_allocations, op_stats,  op_get_bulk_null, op_create_invalid, op_content_error};

enum { OPERATIONS = sizeof(operations) / sizeof(operations[0]) };

static void operation(void)
{
    const unsigned byte = input_byte(&run.in);
    run.thread = byte >> 6 < CREW ? byte >> 6 : 0;
    model_begin(&run.model);
    operations[(byte & 63) % OPERATIONS]();
    model_check(&run.model);
}

/* Puts all, ends the threads and the pools, and leaves the default pool as it was found. */
static void end(void)
{
    run.thread = 0;
    for (size_t i = 0; i < POOLS; i++)
        run.model.pools[i].blocks.to_fail = 0;
    while (run.model.held_count > 0) {
        bufferpool_buf_t *last = run.model.held[run.model.held_count - 1].buf;
        model_begin(&run.model);
        put_these(call_put, &last, 1);
        model_check(&run.model);
    }
    for (run.thread = 1; run.thread < CREW; run.thread++) {
        model_begin(&run.model);
        op_thread_end();
        model_check(&run.model);
    }
    for (size_t i = 0; i < POOL_DEFAULT; i++)
        if (run.model.pools[i].exists) {
            check(bufferpool_destroy(run.model.pools[i].handle) == 0, "destroy at the end");
            model_remove_pool(&run.model.pools[i]);
        }
    bufferpool_set_max_live(NULL, 0);
    (void)bufferpool_trim(NULL);
    model_remove_pool(&run.model.pools[POOL_DEFAULT]);
}

// NOLINTNEXTLINE(readability-non-const-parameter): libFuzzer says what it is given
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (unsigned char)(1 + (i * 2654435761u >> 13) % 255);
    if (syscall(SYS_membarrier, 0, 0, 0) <= 0) {
        fprintf(stderr, "no membarrier(2) here, and without it the contract has no exact figures\n");
        exit(77);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    run.in = (struct input){data, data + size};
    run.thread = 0;
    run.model.operation = 0;
    model_add_pool(&run.model, &run.model.pools[POOL_DEFAULT], NULL, NULL);
    create_pool(&run.model.pools[0]);
    while (!input_done(&run.in))
        operation();
    end();
    return 0;
}
