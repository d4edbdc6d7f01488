/* SPDX-License-Identifier: MIT
 *
 * scene.c - a program with buffers in every place that there is, which says what gdb is to find and then calls
 * stopped()
 *
 * Usage: scene FILE. Lines of FILE, fields apart by tabs:
 *
 *     pool    name live idle_thread idle_depot bypass_live cap pressure waiters retained_bytes mapped_bytes
 *                                     from bufferpool_stats, but for pressure and waiters
 *     thread  name tid n moved gate   a thread with a cache of the pool, what idles there, and with what it got and
 *                                     did not put
 *     held    name handle cap len state
 *     idle    name handle data place  the first word of what `bufferpool buffer` says of its place
 */
#include "bufferpool.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLOTS   8 /* of a thread cache */
#define PARKED  3
#define IN_TURN 40
#define MANY    260 /* with the others more than have a place in a thread's table */

bufferpool_t *scene_in_turn; /* gdb gets all that its depot has, and compares the order */
void stopped(void);

static FILE *figures;
static pthread_barrier_t arrived, for_ever;

static void require(int condition, const char *what)
{
    if (!condition) {
        (void)fprintf(stderr, "scene: %s\n", what);
        exit(1);
    }
}

static pid_t self(void)
{
    return (pid_t)syscall(SYS_gettid);
}

static bufferpool_t *make(const char *name, size_t cap, unsigned flags)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = name;
    config.buffer_capacity = 4096;
    config.thread_cache_bytes = SLOTS * config.buffer_capacity;
    config.max_live = cap;
    config.flags = flags;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    bufferpool_t *pool = bufferpool_create(&config);
    require(pool != NULL, "no pool");
    return pool;
}

static bufferpool_stats_t stats_of(const bufferpool_t *pool)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(pool, &stats);
    return stats;
}

/* ---- what gdb is to find ---- */

static void tell_pool(const bufferpool_t *pool, const char *name, const char *pressure, int waiters)
{
    const bufferpool_stats_t s = stats_of(pool);
    (void)fprintf(figures, "pool\t%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%s\t%d", name,
                  s.live, s.idle_thread, s.idle_depot, s.bypass_live, s.max_live, pressure, waiters);
    (void)fprintf(figures, "\t%" PRIu64 "\t%" PRIu64 "\n", s.retained_bytes, s.mapped_bytes);
}

static void tell_thread(const char *name, pid_t tid, uint64_t n, uint64_t held, const char *gate)
{
    (void)fprintf(figures, "thread\t%s\t%d\t%" PRIu64 "\t%" PRIu64 "\t%s\n", name, (int)tid, n, n + held, gate);
}

static void tell_held(const char *name, const bufferpool_buf_t *buf, const char *state)
{
    (void)fprintf(figures, "held\t%s\t%p\t%zu\t%zu\t%s\n", name, (const void *)buf, buf->cap, buf->len, state);
}

static bufferpool_buf_t *hold(bufferpool_t *pool, const char *name, const char *state)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    require(buf != NULL, "no buffer");
    tell_held(name, buf, state);
    return buf;
}

static void idle(bufferpool_buf_t *buf, const char *name, const char *place)
{
    (void)fprintf(figures, "idle\t%s\t%p\t%p\t%s\n", name, (void *)buf, (void *)buf->data, place);
    bufferpool_put(buf);
}

/* ---- the threads ---- */

static void get_and_put(bufferpool_t *pool, unsigned n)
{
    bufferpool_buf_t *bufs[IN_TURN];
    require(bufferpool_get_bulk(pool, bufs, n) == 0, "no buffers");
    bufferpool_put_bulk(bufs, n);
}

struct parked {
    bufferpool_t *pool;
    unsigned n;
    pid_t tid;
};

static void *park(void *argument)
{
    struct parked *parked = argument;
    parked->tid = self();
    get_and_put(parked->pool, parked->n);
    pthread_barrier_wait(&arrived);
    pthread_barrier_wait(&for_ever);
    return NULL;
}

/* A small stack: the core holds it. */
static pthread_t start(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    pthread_attr_t attributes;
    require(pthread_attr_init(&attributes) == 0, "no attributes");
    require(pthread_attr_setstacksize(&attributes, 16 * (size_t)PTHREAD_STACK_MIN) == 0, "no such stack");
    require(pthread_create(&thread, &attributes, run, argument) == 0, "no thread");
    (void)pthread_attr_destroy(&attributes);
    return thread;
}

static void park_threads(bufferpool_t *pool, const char *name, const char *gate)
{
    static const unsigned some[PARKED] = {5, 1, 7};
    static struct parked parked[2 * PARKED], *next = parked;
    for (int i = 0; i < PARKED; i++, next++) {
        const uint64_t before = stats_of(pool).idle_thread;
        *next = (struct parked){pool, some[i], 0};
        (void)start(park, next);
        pthread_barrier_wait(&arrived);
        tell_thread(name, next->tid, stats_of(pool).idle_thread - before, 0, gate);
    }
}

static pid_t taking;

/* Behind a closed gate, since the pool is under pressure. */
static void *take_one(void *pool)
{
    taking = self();
    (void)hold(pool, "capped", "live");
    pthread_barrier_wait(&arrived);
    pthread_barrier_wait(&for_ever);
    return NULL;
}

/* The depot gets several magazines, and nobody has the cache when the thread has ended. */
static void *fill_depot(void *pool)
{
    get_and_put(pool, IN_TURN);
    return NULL;
}

static pid_t waiting;

static void *wait_long(void *pool)
{
    waiting = self();
    pthread_barrier_wait(&arrived);
    require(bufferpool_get_timed(pool, 3600 * 1000) == NULL, "what it waited for came");
    return NULL;
}

static char state_of(pid_t tid)
{
    char path[64], line[512] = "";
    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
    FILE *file = fopen(path, "r");
    require(file != NULL && fgets(line, sizeof(line), file) != NULL, "no state of a thread");
    (void)fclose(file);
    const char *end = strrchr(line, ')');
    require(end != NULL && strlen(end) > 2, "no state of a thread");
    return end[2];
}

/* Nothing but the queue lets that thread sleep: there is no other that has to do with the pool. */
static void start_waiter(bufferpool_t *pool)
{
    (void)start(wait_long, pool);
    pthread_barrier_wait(&arrived);
    const struct timespec moment = {0, 1000 * 1000};
    while (state_of(waiting) != 'S')
        (void)nanosleep(&moment, NULL);
}

/* The loop is never run. */
static void start_loop(bufferpool_t *pool)
{
    static bufferpool_waiter_t waiter;
    bufferpool_notifier_t *notifier = bufferpool_notifier_create();
    require(notifier != NULL, "no notifier");
    require(bufferpool_get_async(pool, &waiter, notifier) == NULL && errno == EINPROGRESS, "it does not wait");
}

/* ---- the pools ---- */

static bufferpool_t *make_requests(void)
{
    static const char name[] = "requests";
    bufferpool_t *pool = make(name, 0, 0);
    bufferpool_buf_t *bufs[4];
    for (int i = 0; i < 4; i++)
        require((bufs[i] = bufferpool_get(pool)) != NULL, "no buffer");
    require(bufferpool_buf_reserve(bufs[1], 20000) == 0 && bufferpool_buf_reserve(bufs[3], 10000) == 0, "no growth");
    require(bufferpool_buf_append(bufs[1], "hello", 5) == 0, "nothing appended");
    tell_held(name, bufs[0], "live");
    tell_held(name, bufs[1], "live, grown");
    tell_held(name, bufs[2], "live");
    idle(bufs[3], name, "cache");
    return pool;
}

static bufferpool_t *make_capped(void)
{
    static const char name[] = "capped";
    bufferpool_t *pool = make(name, 3, 0);
    (void)hold(pool, name, "live");
    (void)hold(pool, name, "live");
    bufferpool_buf_t *freed = bufferpool_get(pool);
    require(freed != NULL, "no buffer");
    (void)hold(pool, name, "live"); /* these two are beyond the cap */
    (void)hold(pool, name, "live");
    bufferpool_put(freed);
    (void)start(take_one, pool);
    pthread_barrier_wait(&arrived);
    tell_thread(name, self(), 0, 4, "closed");
    tell_thread(name, taking, 0, 1, "closed");
    start_waiter(pool);
    start_loop(pool);
    return pool;
}

static bufferpool_t *make_in_turn(void)
{
    bufferpool_t *pool = scene_in_turn = make("in turn", 0, 0);
    require(pthread_join(start(fill_depot, pool), NULL) == 0, "not joined");
    return pool;
}

__attribute__((noinline)) void stopped(void)
{
    __asm__ volatile("" ::: "memory");
}

int main(int argc, char **argv)
{
    (void)mallopt(M_ARENA_MAX, 1); /* the core holds what is set aside for each, too */
    require(argc == 2 && (figures = fopen(argv[1], "w")) != NULL, "no file for the figures");
    require(pthread_barrier_init(&arrived, NULL, 2) == 0, "no barrier");
    require(pthread_barrier_init(&for_ever, NULL, 2 * PARKED + 2) == 0, "no barrier");

    (void)hold(NULL, "default", "live");
    (void)hold(NULL, "default", "live");
    bufferpool_t *gone = make("gone", 0, 0);
    bufferpool_t *requests = make_requests();
    require(bufferpool_destroy(gone) == 0, "not destroyed");
    bufferpool_t *capped = make_capped();
    bufferpool_t *parked = make("parked", 0, 0), *secret = make("se\ncret", 0, BUFFERPOOL_ZERO);
    park_threads(parked, "parked", "open");
    park_threads(secret, "se?cret", "open, slow");
    bufferpool_t *in_turn = make_in_turn(), *many = NULL;
    for (int i = 0; i < MANY; i++)
        many = make("many", 0, 0);
    get_and_put(many, 2);
    (void)hold(many, "many-260", "live");
    tell_thread("many-260", self(), stats_of(many).idle_thread, 1, "open");

    tell_pool(NULL, "default", "off", 0);
    tell_pool(requests, "requests", "off", 0);
    tell_pool(capped, "capped", "on", 2);
    tell_pool(parked, "parked", "off", 0);
    tell_pool(secret, "se?cret", "off", 0);
    tell_pool(in_turn, "in turn", "off", 0);
    tell_pool(many, "many-260", "off", 0);
    require(fclose(figures) == 0, "the figures were not written");
    stopped();
    return 0;
}
