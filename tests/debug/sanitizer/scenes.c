/* SPDX-License-Identifier: MIT
 *
 * scenes.c - one mistake with a buffer each, or none: for test_sanitizer, which has AddressSanitizer or valgrind watch
 *
 *     scenes <name> [<number>]
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "bufferpool.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif

#define CHECK(condition) check((condition), #condition, __LINE__)

static void check(bool ok, const char *what, int line)
{
    if (ok)
        return;
    (void)fprintf(stderr, "scenes.c:%d: %s\n", line, what);
    exit(3);
}

/* ---- whom reports are to name ---- */

static __attribute__((noinline)) bufferpool_buf_t *scene_get(bufferpool_t *pool)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    CHECK(buf != NULL);
    return buf;
}

static __attribute__((noinline)) void scene_put(bufferpool_buf_t *buf)
{
    bufferpool_put(buf);
    __asm__ volatile("" ::: "memory"); /* so it stays on the stack */
}

static __attribute__((noinline)) void scene_grow(bufferpool_buf_t *buf, size_t cap)
{
    CHECK(bufferpool_buf_reserve(buf, cap) == 0);
}

static __attribute__((noinline)) void scene_shrink(bufferpool_buf_t *buf, size_t cap)
{
    CHECK(bufferpool_buf_shrink(buf, cap) == 0);
}

static volatile unsigned sink;

static __attribute__((noinline)) void scene_read(const unsigned char *at)
{
    sink = *(const volatile unsigned char *)at;
}

static __attribute__((noinline)) void scene_write(unsigned char *at)
{
    *(volatile unsigned char *)at = 7;
}

/* What depends on the byte, not only moves it. */
static __attribute__((noinline)) void scene_judge(const unsigned char *at)
{
    if (*(const volatile unsigned char *)at == 3)
        sink = 1;
}

/* ---- pools ---- */

static void *hook_alloc(size_t size, size_t align, void *ctx)
{
    void *block = NULL;
    (void)ctx;
    return posix_memalign(&block, align, size) == 0 ? block : NULL;
}

/* Looks at all of it, as one that checks blocks does, and writes to all of it. */
static void hook_free(void *block, size_t size, void *ctx)
{
    unsigned char *bytes = block;
    for (size_t i = 64; i < size; i++)
        *(volatile unsigned char *)&bytes[i] = bytes[i] == 5 ? 6 : 7;
    *(unsigned *)ctx += 1;
    free(block);
}

static unsigned hook_frees;

static bufferpool_t *make(size_t capacity, unsigned flags, size_t max_live, bool hooks)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = capacity;
    config.flags = flags;
    config.max_live = max_live;
    if (hooks) {
        config.alloc = hook_alloc;
        config.free = hook_free;
        config.ctx = &hook_frees;
    }
    bufferpool_t *pool = bufferpool_create(&config);
    CHECK(pool != NULL);
    return pool;
}

/* ---- mistakes ---- */

static void read_after_put(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    const unsigned char *stale = buf->data + 10;
    scene_put(buf);
    scene_read(stale);
}

static void write_after_put(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    for (int turn = 0; turn < 3; turn++) { /* so it has been on the fast path too */
        scene_put(buf);
        buf = scene_get(NULL);
    }
    unsigned char *stale = buf->data + 10;
    scene_put(buf);
    scene_write(stale);
}

static void bypass_after_put(void)
{
    bufferpool_t *pool = make(1000, 0, 1, false);
    bufferpool_buf_t *pooled = bufferpool_get(pool), *buf = scene_get(pool);
    CHECK(pooled != NULL);
    unsigned char *stale = buf->data;
    scene_put(buf);
    scene_write(stale);
}

static void grown_after_put(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    scene_grow(buf, 100000);
    unsigned char *stale = buf->data + 50000;
    scene_put(buf);
    scene_write(stale);
}

static void hook_after_put(void)
{
    bufferpool_buf_t *buf = scene_get(make(1000, 0, 0, true));
    unsigned char *stale = buf->data;
    scene_put(buf);
    scene_write(stale);
}

static void wiped_after_put(void)
{
    bufferpool_buf_t *buf = scene_get(make(1000, BUFFERPOOL_ZERO, 0, false));
    unsigned char *stale = buf->data;
    scene_put(buf);
    scene_read(stale);
}

static void write_after_growth(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    unsigned char *stale = buf->data;
    scene_grow(buf, 100000);
    scene_write(stale);
}

static void overrun(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    scene_write(buf->data + buf->cap - 1);
    scene_write(buf->data + buf->cap);
}

static void overrun_odd(void)
{
    bufferpool_buf_t *buf = scene_get(make(1001, 0, 0, false));
    scene_write(buf->data + 1000);
    scene_write(buf->data + 1001);
}

static void overrun_grown(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    scene_grow(buf, 100000);
    scene_write(buf->data + buf->cap - 1);
    scene_write(buf->data + buf->cap);
}

static void overrun_mapped(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    scene_grow(buf, 1000000);
    scene_grow(buf, 3000000);
    scene_write(buf->data + buf->cap - 1);
    scene_write(buf->data + buf->cap);
}

static void overrun_large(void)
{
    bufferpool_buf_t *buf = scene_get(make((size_t)2 << 20, 0, 0, false));
    scene_write(buf->data + buf->cap - 1);
    scene_write(buf->data + buf->cap);
}

static void overrun_shrunk(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    scene_grow(buf, 1000000);
    scene_shrink(buf, 0);
    scene_write(buf->data + buf->cap - 1);
    scene_write(buf->data + buf->cap);
}

/* The rest of its last page stays mapped. */
static void overrun_cut_off(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    scene_grow(buf, 3000000);
    scene_shrink(buf, 1000000);
    scene_write(buf->data + buf->cap - 1);
    scene_write(buf->data + buf->cap);
}

static void write_after_shrink(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    scene_grow(buf, 100000);
    unsigned char *stale = buf->data;
    scene_shrink(buf, 0);
    scene_write(stale);
}

static void underrun(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    scene_read(buf->data - 1);
}

static void undefined(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    scene_judge(buf->data);
}

static void undefined_again(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    memset(buf->data, 1, buf->cap);
    scene_put(buf);
    buf = scene_get(NULL);
    scene_judge(buf->data);
}

static void undefined_beyond_growth(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    CHECK(bufferpool_buf_append(buf, "abc", 3) == 0);
    scene_grow(buf, 100000);
    scene_judge(buf->data + 2);
    scene_judge(buf->data + 3);
}

static void held_at_exit(void)
{
    bufferpool_t *hooked = make(1000, 0, 0, true);
    bufferpool_buf_t *bufs[4];
    for (int i = 0; i < 4; i++)
        bufs[i] = scene_get(i < 2 ? NULL : hooked);
    scene_put(bufs[0]);
    scene_put(bufs[2]);
}

/* ---- none ---- */

static void fill(bufferpool_buf_t *buf)
{
    memset(buf->data, 0x5a, buf->cap);
    buf->len = buf->cap;
}

static void grow_and_shrink(bufferpool_t *pool)
{
    bufferpool_buf_t *buf = scene_get(pool);
    CHECK(bufferpool_buf_append(buf, "abc", 3) == 0);
    for (size_t cap = 3000; cap < 4000000; cap = cap * 5 / 2) {
        scene_grow(buf, cap);
        scene_judge(buf->data);
        CHECK(memcmp(buf->data, "abc", 3) == 0);
        CHECK(bufferpool_buf_from_data(buf->data) == buf);
    }
    for (size_t cap = 3000000; cap > 100; cap /= 3) {
        scene_shrink(buf, cap);
        memset(buf->data + 3, 1, buf->cap - 3);
        CHECK(memcmp(buf->data, "abc", 3) == 0);
    }
    scene_grow(buf, 4000000);
    scene_put(buf); /* too large */
    bufferpool_buf_t *bufs[3];
    for (int i = 0; i < 3; i++) {
        bufs[i] = scene_get(pool);
        scene_grow(bufs[i], (size_t)20000 << (2 * i));
        fill(bufs[i]);
        scene_put(bufs[i]);
    }
    for (int turn = 0; turn < 40; turn++) { /* strikes */
        for (int i = 0; i < 3; i++) {
            bufs[i] = scene_get(pool);
            CHECK(bufferpool_buf_printf(bufs[i], "%d of %d", turn, i) == 0);
        }
        bufferpool_put_bulk(bufs, 3);
    }
    for (int i = 0; i < 3; i++) {
        bufs[i] = scene_get(pool);
        fill(bufs[i]);
    }
    bufferpool_put_bulk(bufs, 3);
}

static void use_many(bufferpool_t *pool, size_t n)
{
    bufferpool_buf_t *bufs[200];
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < n; i++) {
            bufs[i] = scene_get(pool);
            fill(bufs[i]);
        }
        for (size_t i = 0; i < n; i++)
            scene_put(bufs[i]);
        if (turn == 1)
            bufferpool_trim(pool);
    }
}

static void *use_in_thread(void *arg)
{
    for (int turn = 0; turn < 60; turn++) {
        bufferpool_buf_t *a = scene_get(arg), *b = scene_get(arg);
        fill(a);
        if (turn % 4 == 0)
            scene_grow(b, 2 * b->cap + 1);
        fill(b);
        scene_put(a);
        scene_put(b);
        if (turn % 16 == 15)
            bufferpool_trim(arg);
    }
    return NULL;
}

/* Ends a child without a mistake. Spans that another thread of the parent had taken off the lists, to unmap them, are
 * lost in the child: address space without memory. Memcheck looks for leaks when the child ends, and would fail it for
 * them. A child that is killed ends by the signal, whatever that search finds. So only the errors before it count. */
static _Noreturn void end_child(void)
{
#ifdef RUNNING_ON_VALGRIND
    if (RUNNING_ON_VALGRIND && VALGRIND_COUNT_ERRORS == 0)
        kill(getpid(), SIGKILL);
#endif
    _exit(0);
}

static bool ended_well(int status)
{
    return status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void use_in_threads(bufferpool_t *pool, bool fork_too)
{
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, use_in_thread, pool) == 0);
    for (int i = 0; fork_too && i < 4; i++) {
        bufferpool_buf_t *held = scene_get(pool);
        fill(held);
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            scene_judge(held->data);
            scene_put(held);
            use_many(pool, 20);
            (void)use_in_thread(pool);
            end_child();
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child);
        if (!ended_well(status))
            (void)fprintf(stderr, "scenes.c: child %d ended with %#x\n", i, (unsigned)status);
        CHECK(ended_well(status));
        scene_put(held);
    }
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

/* Where blocks were, others may map, and find the memory as usual. */
static void map_elsewhere(void)
{
    enum { N = 40 };
    static unsigned char *maps[N];
    for (size_t i = 0; i < N; i++) {
        maps[i] = mmap(NULL, (size_t)1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(maps[i] != MAP_FAILED);
        memset(maps[i], (int)i, (size_t)1 << 20);
        scene_judge(maps[i] + 4096);
    }
    for (size_t i = 0; i < N; i++)
        CHECK(munmap(maps[i], (size_t)1 << 20) == 0);
}

static void use_pool(bufferpool_t *pool, bool fork_too)
{
    grow_and_shrink(pool);
    use_many(pool, 60);
    use_in_threads(pool, fork_too);
    bufferpool_trim(pool);
    map_elsewhere();
    CHECK(bufferpool_destroy(pool) == 0);
    map_elsewhere();
}

static void no_mistake(void)
{
    /* a child loses a hook's block that another thread was making, and without a pool every block is one */
    const char *debug = getenv("BUFFERPOOL_DEBUG");
    const bool pooled = debug == NULL || strcmp(debug, "nopool") != 0;
    use_pool(make(1001, 0, 0, false), pooled);
    use_pool(make(32768, BUFFERPOOL_ZERO, 8, false), pooled);
    use_pool(make(3000, 0, 8, true), false);
    use_pool(make(3000, BUFFERPOOL_ZERO, 0, true), false);
    use_pool(make((size_t)2 << 20, 0, 4, false), false);
    use_pool(make(500, BUFFERPOOL_HUGEPAGES, 0, false), false);
    CHECK(hook_frees > 0);
    /* what a wiped pool hands out again is zero, not unknown; with debug modes it may be another buffer */
    bufferpool_t *pool = make(4000, BUFFERPOOL_ZERO, 0, false);
    bufferpool_buf_t *buf = scene_get(pool);
    fill(buf);
    scene_put(buf);
    buf = scene_get(pool);
    CHECK(debug != NULL || buf->data[17] == 0);
    scene_put(buf);
    CHECK(bufferpool_destroy(pool) == 0);
    /* any address may be asked about; without a pool memcheck is told nothing of that */
    static uint64_t words[8];
    uint64_t *block = malloc(64);
    CHECK(block != NULL);
    CHECK(!pooled || bufferpool_buf_from_data(block) == NULL);
    CHECK(bufferpool_buf_from_data(&words[4]) == NULL);
    free(block);
}

/* ---- a child of fork ---- */

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif

#ifdef UNDER_ASAN
#include <sanitizer/asan_interface.h>

/* In a child, which then ends as this process does. */
static void in_child(void (*play)(unsigned char *), unsigned char *at)
{
    int status;
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        play(at);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 4);
}

static void write_it(unsigned char *at)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(NULL, &stats); /* the first call repairs the pool */
    scene_write(at);
}

/* As if fork had met another thread, whose get or put had changed the word, and not told AddressSanitizer yet. */
static void child_of_half_a_get(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    ASAN_POISON_MEMORY_REGION(buf->data, buf->cap);
    in_child(write_it, buf->data + 10);
}

static void child_of_half_a_put(void)
{
    bufferpool_buf_t *buf = scene_get(NULL);
    unsigned char *stale = buf->data + 10;
    const size_t cap = buf->cap;
    scene_put(buf);
    ASAN_UNPOISON_MEMORY_REGION(stale - 10, cap);
    in_child(write_it, stale);
}
#endif

static long number;

static void pairs(void)
{
    for (long i = 0; i < number; i++)
        bufferpool_put(bufferpool_get(NULL));
}

static const struct scene {
    const char *name;
    void (*play)(void);
} scenes[] = {
#define SCENE(name)                                                                                                    \
    {                                                                                                                  \
#name, name                                                                                                    \
    }
    SCENE(read_after_put),
    SCENE(write_after_put),
    SCENE(bypass_after_put),
    SCENE(grown_after_put),
    SCENE(hook_after_put),
    SCENE(wiped_after_put),
    SCENE(write_after_growth),
    SCENE(overrun),
    SCENE(overrun_odd),
    SCENE(overrun_grown),
    SCENE(overrun_mapped),
    SCENE(overrun_large),
    SCENE(overrun_shrunk),
    SCENE(overrun_cut_off),
    SCENE(write_after_shrink),
    SCENE(underrun),
    SCENE(undefined),
    SCENE(undefined_again),
    SCENE(undefined_beyond_growth),
    SCENE(held_at_exit),
    SCENE(no_mistake),
#ifdef UNDER_ASAN
    SCENE(child_of_half_a_get),
    SCENE(child_of_half_a_put),
#endif
    SCENE(pairs),
};

int main(int argc, char **argv)
{
    number = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
    for (size_t i = 0; argc > 1 && i < sizeof(scenes) / sizeof(scenes[0]); i++) {
        if (strcmp(scenes[i].name, argv[1]) != 0)
            continue;
        scenes[i].play();
        return 0;
    }
    return 2;
}
