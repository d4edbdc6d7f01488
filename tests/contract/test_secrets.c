/* SPDX-License-Identifier: MIT
 *
 * test_secrets.c - BUFFERPOOL_ZERO: once a buffer was put, no byte of its secret is anywhere in the process
 *
 * The test writes a secret into buffers, and then searches all memory of the process by /proc/self/mem: blocks, what
 * malloc has had, stacks, retained mappings. It never stores the secret elsewhere itself. While a buffer is held, the
 * search must find the secret, which shows that it would.
 */
#include "support/laws.h"

#include <fcntl.h>
#include <inttypes.h>
#include <semaphore.h>

enum { CAPACITY = 8 << 10, MAX = 4 << 20, SECRET = 24 };

static unsigned char byte_of_secret(size_t i)
{
    return (unsigned char)(0x91u + i % SECRET * 59u);
}

static void write_secret(void *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((volatile unsigned char *)to)[i] = byte_of_secret(i);
}

/* ---- the search ---- */

static unsigned char chunk[1 << 16]; /* of memory; the search passes over it */

static bool is_secret(const unsigned char *at)
{
    for (size_t i = 0; i < SECRET; i++)
        if (at[i] != byte_of_secret(i))
            return false;
    return true;
}

/* How often the secret is in the n bytes of the chunk. */
static size_t count_in_chunk(size_t n)
{
    size_t found = 0;
    const unsigned char *end = chunk + n, *at = chunk;
    while (end - at >= SECRET && (at = memchr(at, byte_of_secret(0), (size_t)(end - at) - SECRET + 1)) != NULL)
        found += is_secret(at++);
    return found;
}

static size_t count_in(int memory, uintptr_t from, uintptr_t to)
{
    size_t found = 0;
    for (size_t n = sizeof chunk; to - from >= SECRET && n == sizeof chunk; from += n - SECRET + 1) {
        if (to - from < n)
            n = to - from;
        if (pread(memory, chunk, n, (off_t)from) != (ssize_t)n)
            break;
        found += count_in_chunk(n);
    }
    return found;
}

/* How often the secret is in the memory of the process. */
static size_t secrets(void)
{
    const uintptr_t own = (uintptr_t)chunk, own_end = own + sizeof chunk;
    const int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    size_t found = 0;
    while (memory >= 0 && maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        char *end;
        uintptr_t from = (uintptr_t)strtoumax(line, &end, 16);
        const uintptr_t to = (uintptr_t)strtoumax(end + 1, &end, 16);
        if (end[0] != ' ' || end[1] != 'r')
            continue;
        if (from <= own && own < to) {
            found += count_in(memory, from, own);
            from = own_end;
        }
        if (from < to)
            found += count_in(memory, from, to);
    }
    if (maps != NULL)
        (void)fclose(maps);
    if (memory >= 0)
        (void)close(memory);
    memset(chunk, 0, sizeof chunk);
    return found;
}

/* ---- a pool ---- */

static bufferpool_t *make(size_t max_live, size_t max_idle_bytes)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.max_capacity = MAX;
    config.max_live = max_live;
    config.max_idle_bytes = max_idle_bytes;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    config.flags = BUFFERPOOL_ZERO;
    bufferpool_t *pool = bufferpool_create(&config);
    modes_check(pool != NULL);
    return pool;
}

static bufferpool_buf_t *get_secret(bufferpool_t *pool)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    modes_check(buf != NULL);
    write_secret(buf->data, buf->cap);
    buf->len = buf->cap;
    return buf;
}

static void grow_secret(bufferpool_buf_t *buf, size_t cap)
{
    modes_check(bufferpool_buf_reserve(buf, cap) == 0);
    write_secret(buf->data, buf->cap);
    buf->len = buf->cap;
}

/* ---- scenes: no secret is held at the end of each, and each looks when one may be left ---- */

static void put_and_destroy(void)
{
    bufferpool_t *pool = make(2, 0);
    bufferpool_buf_t *bufs[5];
    for (int i = 0; i < 5; i++) /* three of them beyond the cap */
        bufs[i] = get_secret(pool);
    bufferpool_put_bulk(bufs, 5);
    modes_check(secrets() == 0);
    bufs[0] = bufferpool_get(pool);
    bufferpool_put(bufs[0]);
    bufferpool_thread_flush();
    modes_check(secrets() == 0);
    (void)bufferpool_trim(pool);
    modes_check(bufferpool_destroy(pool) == 0);
    modes_check(secrets() == 0);
}

static void drop(void)
{
    bufferpool_t *pool = make(0, CAPACITY - 1);
    bufferpool_buf_t *buf = get_secret(pool);
    bufferpool_put(buf); /* there is no room to idle */
    modes_check(secrets() == 0);
    buf = get_secret(pool);
    grow_secret(buf, MAX + 1);
    bufferpool_put(buf); /* too large */
    modes_check(secrets() == 0);
    modes_check(bufferpool_destroy(pool) == 0);
}

/* From slot to slot, to a mapping, and on; what is not kept is nowhere. Then back, by little use. */
static void grow_and_shrink(void)
{
    static const size_t caps[] = {CAPACITY + 1, 64 << 10, 200 << 10, 300 << 10, 1 << 20, 3 << 20};
    for (size_t most = 1; most <= sizeof caps / sizeof caps[0]; most++)
        for (size_t beyond = 0; beyond < 2; beyond++) {
            bufferpool_t *pool = make(1, 0);
            bufferpool_buf_t *first = beyond != 0 ? bufferpool_get(pool) : NULL, *buf = get_secret(pool);
            for (size_t i = 0; i < most; i++) {
                const bool copied = caps[i] <= 300 << 10; /* otherwise the bytes may move with their pages */
                buf->len = 0;
                modes_check(bufferpool_buf_reserve(buf, caps[i]) == 0);
                modes_check(!copied || secrets() == 0);
                write_secret(buf->data, buf->cap);
            }
            bufferpool_put(buf);
            modes_check(secrets() == 0);
            for (int turn = 0; turn < 6; turn++) {
                buf = bufferpool_get(pool);
                write_secret(buf->data, buf->cap);
                bufferpool_put(buf);
                modes_check(secrets() == 0);
            }
            bufferpool_put(first);
            modes_check(bufferpool_destroy(pool) == 0);
            modes_check(secrets() == 0);
        }
}

/* A thread that prints, and then leaves its stack as it is until it may end. */
static struct {
    bufferpool_buf_t *source, *buf;
    size_t length;
    sem_t printed, may_end;
} printing;

static void *print_in_thread(void *arg)
{
    modes_check(
        bufferpool_buf_printf(printing.buf, "%.*s", (int)printing.length, (const char *)printing.source->data) == 0);
    sem_post(&printing.printed);
    while (sem_wait(&printing.may_end) != 0)
        ;
    return arg;
}

/* The text is formatted aside, on the stack or in memory from malloc, if it makes the buffer grow. */
static void print(void)
{
    static const size_t lengths[] = {40, 200, 255, 256, 1000, 20000, 100000};
    modes_check(sem_init(&printing.printed, 0, 0) == 0 && sem_init(&printing.may_end, 0, 0) == 0);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        bufferpool_t *pool = make(0, 0);
        pthread_t thread;
        bufferpool_buf_t *source = printing.source = bufferpool_get(pool), *buf = printing.buf = bufferpool_get(pool);
        printing.length = lengths[i];
        modes_check(bufferpool_buf_reserve(source, lengths[i]) == 0);
        write_secret(source->data, lengths[i]);
        buf->len = buf->cap - 8;
        modes_check(pthread_create(&thread, NULL, print_in_thread, NULL) == 0);
        while (sem_wait(&printing.printed) != 0)
            ;
        modes_check(buf->len == CAPACITY - 8 + lengths[i] && is_secret(buf->data + CAPACITY - 8));
        modes_check(secrets() > 0);
        bufferpool_put(source);
        bufferpool_put(buf);
        modes_check(secrets() == 0);
        sem_post(&printing.may_end);
        modes_check(pthread_join(thread, NULL) == 0);
        modes_check(bufferpool_destroy(pool) == 0);
    }
}

static void append(void)
{
    bufferpool_t *pool = make(0, 0);
    bufferpool_buf_t *buf = get_secret(pool);
    modes_check(bufferpool_buf_append(buf, buf->data, buf->len) == 0); /* of its own bytes */
    modes_check(bufferpool_buf_append(buf, buf->data + 1, buf->len - 1) == 0);
    modes_check(secrets() > 0);
    bufferpool_put(buf);
    modes_check(secrets() == 0);
    modes_check(bufferpool_destroy(pool) == 0);
}

static void *put_in_thread(void *buf)
{
    bufferpool_put(buf);
    return NULL;
}

static void put_elsewhere(void)
{
    bufferpool_t *pool = make(1, 0);
    pthread_t thread;
    modes_check(pthread_create(&thread, NULL, put_in_thread, get_secret(pool)) == 0);
    modes_check(pthread_join(thread, NULL) == 0);
    modes_check(secrets() == 0);
    modes_check(bufferpool_destroy(pool) == 0);
}

static void play(void *arg)
{
    (void)arg;
    put_and_destroy();
    drop();
    grow_and_shrink();
    print();
    append();
    put_elsewhere();
}

/* ---- the cases ---- */

static bool can_search(void)
{
    bufferpool_t *pool = make(0, 0);
    bufferpool_buf_t *buf = get_secret(pool);
    const size_t held = secrets();
    bufferpool_put(buf);
    modes_check(bufferpool_destroy(pool) == 0);
    return held >= CAPACITY / SECRET;
}

static void can_search_in_child(void *arg)
{
    (void)arg;
    _exit(can_search() ? 0 : 7);
}

static void no_secret_is_left_in_the_process(void **state)
{
    (void)state;
    if (TEST_SANITIZED || run_with_modes(NULL, can_search_in_child, NULL)->status == 7)
        skip();
    (void)run_with_modes(NULL, play, NULL);
    expect_outcome(0, NULL);
}

static void no_secret_is_left_under_debug_modes(void **state)
{
    static const char *const modes[] = {"quarantine=3", "poison", "redzone", "nopool", "holders", "chaos"};
    (void)state;
    if (TEST_SANITIZED || run_with_modes(NULL, can_search_in_child, NULL)->status == 7)
        skip();
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        (void)run_with_modes(modes[i], play, NULL);
        expect_outcome(0, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_secret_is_left_in_the_process),
        cmocka_unit_test(no_secret_is_left_under_debug_modes),
    };
    return cmocka_run_group_tests_name("secrets", tests, NULL, NULL);
}
