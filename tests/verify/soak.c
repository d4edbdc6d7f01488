/* SPDX-License-Identifier: MIT
 *
 * soak.c - ten minutes of mixed load, with the laws and every buffer's bytes checked: not part of the default run
 *
 *     soak [--seconds N] [--out DIR] [--seed N]
 *
 * Eight workers go through phases that the main thread draws at random: bursts, steady use, idleness with full caches,
 * waits at the cap, and a phase in which all of them end and begin anew. Meanwhile caps change, memory is trimmed and
 * reclaimed, and buffers change hands, so that one thread puts what another got. Between phases no call runs. Then the
 * laws must hold exactly, and live must be the number of buffers that the workers hold. Every buffer is stamped at both
 * ends of its block.
 *
 * Resident memory is sampled every 100 ms: soak.csv in DIR, and soak.svg where gnuplot is installed. Exits with 0, or 1
 * after the first thing that is wrong.
 */
#include "support/laws.h"

#include <malloc.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 8, POOLS = 4, HELD_MAX = 300, HANDS = 64 };

enum phase { BURST, STEADY, IDLE, WAIT, REBIRTH, PHASES };

static const char *const phase_names[PHASES] = {"burst", "steady", "idle", "wait", "rebirth"};

struct worker {
    unsigned index;
    pthread_t thread;
    test_random_t random;
    bufferpool_buf_t *held[HELD_MAX];
    unsigned pool_of[HELD_MAX];
    size_t n;
    size_t held_of[POOLS];
    uint64_t operations;
};

/* What changes hands: a place for each of a few buffers of each pool. */
static _Atomic(bufferpool_buf_t *) hands[POOLS][HANDS];

static bufferpool_t *pools[POOLS];
static test_blocks_t blocks; /* of pool 2 */
static struct worker workers[WORKERS];
static pthread_barrier_t phase_begins, phase_ends;
static enum phase phase;
static _Atomic(bool) phase_over, all_over;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "\nsoak: %s:%d: %s\n", __FILE__, __LINE__, #condition);                                    \
            exit(EXIT_FAILURE);                                                                                        \
        }                                                                                                              \
    } while (0)

/* ---- buffers ---- */

static void stamp(bufferpool_buf_t *buf)
{
    const uint64_t mark = (uint64_t)(uintptr_t)buf ^ buf->cap;
    memcpy(buf->data, &mark, sizeof mark);
    memcpy(buf->data + buf->cap - sizeof mark, &mark, sizeof mark);
}

static void check_stamp(const bufferpool_buf_t *buf)
{
    const uint64_t mark = (uint64_t)(uintptr_t)buf ^ buf->cap;
    CHECK(memcmp(buf->data, &mark, sizeof mark) == 0);
    CHECK(memcmp(buf->data + buf->cap - sizeof mark, &mark, sizeof mark) == 0);
}

/* Appends, prints and reserves; what was there stays. */
static void use(struct worker *w, bufferpool_buf_t *buf)
{
    buf->len = sizeof(uint64_t);
    const size_t kind = test_random_below(&w->random, 64);
    if (kind == 0) {
        CHECK(bufferpool_buf_reserve(buf, test_random_below(&w->random, 512 * 1024)) == 0);
    } else if (kind < 4) {
        CHECK(bufferpool_buf_append(buf, buf->data, buf->len) == 0);
        CHECK(bufferpool_buf_printf(buf, "%0*d", (int)test_random_below(&w->random, 5000), 7) == 0);
        CHECK(memcmp(buf->data, buf->data + sizeof(uint64_t), sizeof(uint64_t)) == 0);
    }
    stamp(buf);
}

static bool take(struct worker *w, unsigned p)
{
    if (w->n == HELD_MAX)
        return false;
    bufferpool_buf_t *buf;
    if (phase == WAIT) {
        buf = bufferpool_get_timed(pools[p], (unsigned)test_random_below(&w->random, 5));
        if (buf == NULL)
            CHECK(errno == ETIMEDOUT);
    } else if (test_random_below(&w->random, 4) == 0) {
        buf = bufferpool_try_get(pools[p]);
        if (buf == NULL)
            CHECK(errno == EAGAIN);
    } else {
        buf = bufferpool_get(pools[p]);
        CHECK(buf != NULL);
    }
    w->operations++;
    if (buf == NULL)
        return false;
    CHECK(buf->len == 0);
    use(w, buf);
    w->held[w->n] = buf;
    w->pool_of[w->n++] = p;
    w->held_of[p]++;
    return true;
}

static void give(struct worker *w, size_t i)
{
    bufferpool_buf_t *buf = w->held[i];
    check_stamp(buf);
    w->held_of[w->pool_of[i]]--;
    w->n--;
    w->held[i] = w->held[w->n];
    w->pool_of[i] = w->pool_of[w->n];
    bufferpool_put(buf);
    w->operations++;
}

static void give_all(struct worker *w)
{
    while (w->n > 0)
        give(w, test_random_below(&w->random, w->n));
}

/* Leaves a buffer in a hand, and puts the one that was there, whoever got it. */
static void pass_on(struct worker *w)
{
    if (w->n == 0)
        return;
    const size_t i = test_random_below(&w->random, w->n);
    const unsigned p = w->pool_of[i];
    bufferpool_buf_t *buf = w->held[i];
    w->held_of[p]--;
    w->n--;
    w->held[i] = w->held[w->n];
    w->pool_of[i] = w->pool_of[w->n];
    buf = atomic_exchange(&hands[p][test_random_below(&w->random, HANDS)], buf);
    if (buf != NULL) {
        check_stamp(buf);
        bufferpool_put(buf);
    }
    w->operations++;
}

/* ---- phases ---- */

static void nap(long ms)
{
    nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

static void burst(struct worker *w)
{
    while (!atomic_load(&phase_over)) {
        const unsigned p = (unsigned)test_random_below(&w->random, POOLS);
        while (take(w, p) && !atomic_load(&phase_over))
            ;
        give_all(w);
        nap((long)test_random_below(&w->random, 100));
    }
}

static void steady(struct worker *w)
{
    while (!atomic_load(&phase_over)) {
        const size_t most = 1 + test_random_below(&w->random, 12);
        while (w->n < most)
            (void)take(w, (unsigned)test_random_below(&w->random, POOLS));
        if (test_random_below(&w->random, 8) == 0)
            pass_on(w);
        while (w->n > most / 2)
            give(w, test_random_below(&w->random, w->n));
        if (test_random_below(&w->random, 20000) == 0)
            bufferpool_thread_flush();
    }
}

/* Holds little while it waits, so that those who wait never wait for each other. */
static void wait_at_the_cap(struct worker *w)
{
    give_all(w);
    while (!atomic_load(&phase_over)) {
        (void)take(w, 1);
        give_all(w);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    for (;;) {
        pthread_barrier_wait(&phase_begins);
        if (atomic_load(&all_over))
            return NULL;
        switch (phase) {
        case BURST:
            burst(w);
            break;
        case STEADY:
            steady(w);
            break;
        case WAIT:
            wait_at_the_cap(w);
            break;
        case IDLE:
        case REBIRTH:
        case PHASES:
            break;
        }
        const bool ends = phase == REBIRTH;
        pthread_barrier_wait(&phase_ends);
        if (ends)
            return NULL; /* with what it holds, and full caches */
    }
}

static void start_worker(struct worker *w)
{
    CHECK(pthread_create(&w->thread, NULL, work, w) == 0);
}

/* ---- the main thread ---- */

static void make_pools(void)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "free";
    config.reclaim_interval_ms = 500;
    config.flags = BUFFERPOOL_BACKGROUND;
    CHECK((pools[0] = bufferpool_create(&config)) != NULL);
    config.name = "capped";
    config.max_live = 256;
    CHECK((pools[1] = bufferpool_create(&config)) != NULL);
    config = config_with(&blocks);
    config.name = "hooks";
    config.buffer_capacity = 3000;
    config.max_idle_bytes = 500 * 3000;
    config.max_live = 1000;
    CHECK((pools[2] = bufferpool_create(&config)) != NULL);
    config = (bufferpool_config_t)BUFFERPOOL_CONFIG_INIT;
    config.name = "secret";
    config.buffer_capacity = 1024;
    config.reclaim_interval_ms = 100;
    config.flags = BUFFERPOOL_ZERO;
    CHECK((pools[3] = bufferpool_create(&config)) != NULL);
}

static size_t held_of(unsigned p)
{
    size_t held = 0;
    for (size_t i = 0; i < WORKERS; i++)
        held += workers[i].held_of[p];
    for (size_t i = 0; i < HANDS; i++)
        held += atomic_load(&hands[p][i]) != NULL;
    return held;
}

static void check_pools(void)
{
    for (unsigned p = 0; p < POOLS; p++)
        CHECK(laws_hold(pools[p], p == 2 ? &blocks : NULL, held_of(p)));
    CHECK(stats_of(pools[2]).idle_bytes <= 500 * 3000);
}

/* What an operator might do while all goes on. */
static void interfere(test_random_t *random)
{
    static const size_t caps[] = {256, 16, 1, 2000, 256, 64};
    const unsigned p = (unsigned)test_random_below(random, POOLS);
    switch (test_random_below(random, 6)) {
    case 0:
        bufferpool_set_max_live(pools[1], caps[test_random_below(random, 6)]);
        break;
    case 1:
        (void)bufferpool_trim(pools[p]);
        break;
    case 2:
        (void)bufferpool_reclaim(pools[p]);
        break;
    default:
        (void)stats_of(pools[p]);
        CHECK(bufferpool_live(pools[p]) <= 1000000);
        break;
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct sample {
    double seconds;
    size_t resident;
};

static struct sample *samples;
static size_t sample_count, sample_room, resident_peak;

static void take_sample(double since)
{
    if (sample_count == sample_room) {
        sample_room = sample_room == 0 ? 8192 : 2 * sample_room;
        // cppcheck-suppress memleakOnRealloc ; CHECK ends the program
        CHECK((samples = realloc(samples, sample_room * sizeof *samples)) != NULL);
    }
    const size_t resident = test_resident_bytes();
    samples[sample_count++] = (struct sample){now() - since, resident};
    if (resident > resident_peak)
        resident_peak = resident;
}

static uint64_t operations(void)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < WORKERS; i++)
        sum += workers[i].operations;
    return sum;
}

static void run_phase(test_random_t *random, double since)
{
    phase = (enum phase)test_random_below(random, PHASES);
    if (phase == WAIT)
        bufferpool_set_max_live(pools[1], 1 + test_random_below(random, 4));
    atomic_store(&phase_over, false);
    pthread_barrier_wait(&phase_begins);
    const unsigned tenths = 3 + (unsigned)test_random_below(random, 20);
    for (unsigned i = 0; i < tenths; i++) {
        nap(100);
        if (phase == BURST || phase == STEADY)
            interfere(random);
        take_sample(since);
    }
    atomic_store(&phase_over, true);
    pthread_barrier_wait(&phase_ends);
    if (phase == REBIRTH) {
        for (size_t i = 0; i < WORKERS; i++) {
            CHECK(pthread_join(workers[i].thread, NULL) == 0);
            start_worker(&workers[i]);
        }
    }
    check_pools();
    fprintf(stderr, "\r%6.0f s  %-8s %12llu operations  %5zu MiB  ", now() - since, phase_names[phase],
            (unsigned long long)operations(), test_resident_bytes() >> 20);
}

static void finish(void)
{
    atomic_store(&all_over, true);
    pthread_barrier_wait(&phase_begins);
    for (size_t i = 0; i < WORKERS; i++) {
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
        give_all(&workers[i]);
    }
    for (unsigned p = 0; p < POOLS; p++) {
        for (size_t i = 0; i < HANDS; i++)
            bufferpool_put(atomic_exchange(&hands[p][i], NULL));
        CHECK(held_of(p) == 0);
        const bufferpool_stats_t s = stats_of(pools[p]);
        printf("%-8s gets %llu (thread %llu, depot %llu, fresh %llu, bypass %llu), refused or timed out %llu, stolen "
               "%llu, "
               "shrinks %llu, most in flight %llu\n",
               (const char *[]){"free", "capped", "hooks", "secret"}[p], (unsigned long long)sum_of_gets(&s),
               (unsigned long long)s.gets_thread, (unsigned long long)s.gets_depot, (unsigned long long)s.gets_fresh,
               (unsigned long long)s.gets_bypass, (unsigned long long)s.gets_refused, (unsigned long long)s.stolen,
               (unsigned long long)s.shrinks, (unsigned long long)s.peak_in_flight);
        (void)bufferpool_trim(pools[p]);
    }
    check_pools();
}

static void plot(const char *directory)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/soak.csv", directory);
    FILE *csv = fopen(path, "w");
    CHECK(csv != NULL);
    fprintf(csv, "seconds,resident_bytes\n");
    for (size_t i = 0; i < sample_count; i++)
        fprintf(csv, "%.2f,%zu\n", samples[i].seconds, samples[i].resident);
    CHECK(fclose(csv) == 0);
    FILE *gnuplot = popen("gnuplot 2>/dev/null", "w");
    if (gnuplot == NULL)
        return;
    fprintf(gnuplot,
            "set datafile separator ','\nset key off\nset xlabel 'seconds'\nset ylabel 'resident memory, MiB'\n"
            "set terminal svg size 1000,320\nset output '%s/soak.svg'\n"
            "plot '%s' using 1:($2/1048576) skip 1 with lines\n"
            "set terminal dumb 100 20\nunset output\nreplot\n",
            directory, path);
    if (pclose(gnuplot) != 0)
        printf("no plot: gnuplot is not installed\n");
}

static size_t bytes_of_malloc(void)
{
#ifdef __GLIBC__
    return mallinfo2().arena;
#else
    return 0; /* others do not tell */
#endif
}

int main(int argc, char **argv)
{
    double seconds = 600;
    uint64_t seed = (uint64_t)time(NULL);
    const char *directory = ".";
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && strcmp(argv[i], "--seconds") == 0)
            seconds = strtod(argv[i + 1], NULL);
        else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--out") == 0)
            directory = argv[i + 1];
        else {
            fprintf(stderr, "usage: soak [--seconds N] [--out DIR] [--seed N]\n");
            return EXIT_FAILURE;
        }
    }
    test_random_t random = {seed};
    const double began = now();
    printf("seed %llu\n", (unsigned long long)seed);
    CHECK(pthread_barrier_init(&phase_begins, NULL, WORKERS + 1) == 0);
    CHECK(pthread_barrier_init(&phase_ends, NULL, WORKERS + 1) == 0);
    make_pools();
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i].index = i;
        workers[i].random.state = seed + i;
        start_worker(&workers[i]);
    }
    take_sample(began);
    const size_t resident_before = test_resident_bytes();
    while (now() - began < seconds)
        run_phase(&random, began);
    fprintf(stderr, "\n");
    finish();
    take_sample(began);
    const size_t resident_after = test_resident_bytes();
    const uint64_t done = operations();
    for (unsigned p = 0; p < POOLS; p++)
        CHECK(bufferpool_destroy(pools[p]) == 0);
    CHECK(atomic_load(&blocks.count) == 0 && atomic_load(&blocks.errors) == 0);
    plot(directory);
    printf(
        "%.0f s, %llu operations; resident KiB: %zu at the start, %zu at the peak, %zu after the last trim, of which "
        "at least %zu in the malloc behind the hooks\n",
        now() - began, (unsigned long long)done, resident_before >> 10, resident_peak >> 10, resident_after >> 10,
        bytes_of_malloc() >> 10);
    free(samples);
    return EXIT_SUCCESS;
}
