/* SPDX-License-Identifier: MIT
 *
 * burst.c - one sample of the benchmark "burst": one contestant, once, in a process that has no warm memory
 *
 *     burst malloc|pool|capped|huge [bytes to write into each buffer]
 *
 * Four threads take 10,000 buffers of 32 KiB and write them. When all have them, the buffers are put in a shuffled
 * order, each by whichever thread has its place in that order. Then memory is trimmed; the threads still live.
 *
 * Prints one line: ms take+write, ms put, ms both; minor faults of take+write, of put; resident KiB at the start, at
 * the peak, after the last put, after the trim.
 *
 * A phase lasts from the start of its first thread to the end of its last, by the threads' own clocks: what the main
 * thread measures, it measures between phases.
 */
#include <bufferpool.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, BUFFERS = 10000, SHARE = BUFFERS / THREADS, SIZE = 32 * 1024, CAP = 256 };

enum phase { TAKE, PUT, PHASES };

struct span {
    uint64_t begin, end;
};

struct snapshot {
    long faults, resident_kib;
};

static bool pooled;
static bufferpool_t *pool;
static size_t bytes_written = SIZE;
static void *taken[BUFFERS];
static unsigned shuffled[BUFFERS];
static struct span spans[PHASES][THREADS];
static pthread_barrier_t barrier;

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- contestants ---- */

static void choose(const char *name)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = name;
    config.buffer_capacity = SIZE;
    if (strcmp(name, "capped") == 0)
        config.max_live = CAP;
    else if (strcmp(name, "huge") == 0)
        config.flags = BUFFERPOOL_HUGEPAGES;
    else if (strcmp(name, "pool") != 0 && strcmp(name, "malloc") != 0) {
        fprintf(stderr, "burst: no contestant '%s'\n", name);
        exit(EXIT_FAILURE);
    }
    pooled = strcmp(name, "malloc") != 0;
    if (pooled && (pool = bufferpool_create(&config)) == NULL)
        die("bufferpool_create");
}

static void *take(void)
{
    void *handle, *data;
    if (pooled) {
        bufferpool_buf_t *buf = bufferpool_get(pool);
        handle = buf;
        data = buf != NULL ? buf->data : NULL;
    } else {
        handle = data = malloc(SIZE);
    }
    if (data == NULL)
        die("take");
    memset(data, 0x5a, bytes_written);
    return handle;
}

static void put(void *handle)
{
    if (pooled)
        bufferpool_put(handle);
    else
        free(handle);
}

/* A function of the malloc that is preloaded, into *function; false: that malloc is another. */
static bool find(const char *name, void *function)
{
    void *symbol = dlsym(RTLD_DEFAULT, name);
    memcpy(function, &symbol, sizeof(symbol));
    return symbol != NULL;
}

/* Each malloc has its own name for it. All have glibc's as well, which must come last. */
static void trim(void)
{
    int (*mallctl)(const char *, void *, size_t *, void *, size_t);
    void (*mi_collect)(bool);
    void (*release)(void);
    int (*malloc_trim)(size_t);
    if (pooled)
        bufferpool_trim(pool);
    else if (find("mallctl", &mallctl))
        mallctl("arena.4096.purge", NULL, NULL, NULL, 0); /* 4096: all arenas */
    else if (find("mi_collect", &mi_collect))
        mi_collect(true);
    else if (find("MallocExtension_ReleaseFreeMemory", &release))
        release();
    else if (find("malloc_trim", &malloc_trim))
        malloc_trim(0);
}

/* ---- phases ---- */

static void *work(void *arg)
{
    const unsigned thread = (unsigned)(uintptr_t)arg;
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier); /* between these two, main takes its snapshot */

    spans[TAKE][thread].begin = now_ns();
    for (unsigned i = thread * SHARE; i < (thread + 1) * SHARE; i++)
        taken[i] = take();
    spans[TAKE][thread].end = now_ns();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);

    spans[PUT][thread].begin = now_ns();
    for (unsigned i = thread; i < BUFFERS; i += THREADS)
        put(taken[shuffled[i]]);
    spans[PUT][thread].end = now_ns();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static double duration_ms(enum phase phase)
{
    struct span all = spans[phase][0];
    for (int i = 1; i < THREADS; i++) {
        if (spans[phase][i].begin < all.begin)
            all.begin = spans[phase][i].begin;
        if (spans[phase][i].end > all.end)
            all.end = spans[phase][i].end;
    }
    return (double)(all.end - all.begin) / 1e6;
}

/* The same order in every process. Writes all of both arrays, so that no phase faults them in. */
static void shuffle(void)
{
    memset(taken, 0xff, sizeof(taken));
    for (unsigned i = 0; i < BUFFERS; i++)
        shuffled[i] = i;
    uint64_t random = 1;
    for (unsigned i = BUFFERS - 1; i > 0; i--) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned j = (unsigned)(random >> 33) % (i + 1);
        unsigned swap = shuffled[i];
        shuffled[i] = shuffled[j];
        shuffled[j] = swap;
    }
}

/* ---- figures ---- */

/* Exact, unlike the counts in statm; and nothing here calls malloc. */
static long resident_kib(void)
{
    char text[4096];
    int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (n < 0)
        die("/proc/self/smaps_rollup");
    close(fd);
    text[n] = '\0';
    const char *line = strstr(text, "Rss:");
    return line != NULL ? strtol(line + strlen("Rss:"), NULL, 10) : 0;
}

static struct snapshot snapshot(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (struct snapshot){usage.ru_minflt, resident_kib()};
}

/* When all threads are through with a phase; they go on at the next wait. */
static struct snapshot after_phase(void)
{
    pthread_barrier_wait(&barrier);
    return snapshot();
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: burst malloc|pool|capped|huge [bytes]\n");
        return EXIT_FAILURE;
    }
    choose(argv[1]);
    if (argc == 3)
        bytes_written = strtoul(argv[2], NULL, 10);
    if (bytes_written > SIZE)
        bytes_written = SIZE;
    shuffle();

    pthread_t threads[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
            die("pthread_create");

    pthread_barrier_wait(&barrier);
    (void)snapshot(); /* its own page faults */
    struct snapshot start = snapshot();
    pthread_barrier_wait(&barrier);
    struct snapshot peak = after_phase();
    pthread_barrier_wait(&barrier);
    struct snapshot end = after_phase();
    trim();
    struct snapshot trimmed = snapshot();
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);

    double take_ms = duration_ms(TAKE), put_ms = duration_ms(PUT);
    printf("%.2f %.2f %.2f %ld %ld %ld %ld %ld %ld\n", take_ms, put_ms, take_ms + put_ms, peak.faults - start.faults,
           end.faults - peak.faults, start.resident_kib, peak.resident_kib, end.resident_kib, trimmed.resident_kib);
    return EXIT_SUCCESS;
}
