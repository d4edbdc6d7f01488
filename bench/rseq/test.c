/* SPDX-License-Identifier: MIT
 *
 * test.c - the sections of percpu.h restart: no pointer is lost or doubled
 *
 *     test CASE       exit status 77 where no area of restartable sequences is registered
 *
 *     stack           push and pop, one and many, to the limit and to the end
 *     descriptors     each abort handler has the signature in front, and each descriptor covers its section
 *     fault           a section is interrupted right in its middle: a load or store before the commit faults. The
 *                     handler of the signal uses the cache in between, as another thread of the processor would
 *     close           once a cache is closed, and a barrier has passed, no thread of the processor changes it
 *     storm           eight threads move from processor to processor and get signals, and each pointer has one owner
 */
/* Most of a thread's time is to be in a section, so that most of what interrupts it does so there. */
#define PERCPU_DELAY ".rept 20\n\tpause\n\t.endr\n\t"
#include "percpu.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

enum { LIMIT = 64, THREADS = 8, TOKENS = 200, UNSUITED = 77 };

uint64_t percpu_aborts;
ptrdiff_t percpu_area;
static struct percpu_cache *caches;
static unsigned processors;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition);                                            \
            exit(EXIT_FAILURE);                                                                                        \
        }                                                                                                              \
    } while (0)

static uint64_t aborts(void)
{
    return __atomic_load_n(&percpu_aborts, __ATOMIC_RELAXED);
}

static void pin(unsigned processor)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
}

static cpu_set_t allowed;

static unsigned nth_allowed(unsigned n)
{
    unsigned number = n % (unsigned)CPU_COUNT(&allowed), i = 0;
    while (!CPU_ISSET(i, &allowed) || number-- > 0)
        i++;
    return i;
}

static int values[512];

/* ---- stack ---- */

static void stack(void)
{
    void *many[LIMIT], *back[LIMIT];
    pin(nth_allowed(0));
    struct percpu_cache *own = &caches[nth_allowed(0)];
    CHECK(percpu_pop(caches) == NULL);
    for (int i = 0; i < LIMIT; i++)
        CHECK(percpu_push(caches, &values[i]));
    CHECK(!percpu_push(caches, &values[LIMIT]) && percpu_count(own) == LIMIT);
    for (int i = LIMIT - 1; i >= 0; i--)
        CHECK(percpu_pop(caches) == &values[i]);
    CHECK(percpu_pop(caches) == NULL && percpu_count(own) == 0);

    for (int i = 0; i < LIMIT; i++)
        many[i] = &values[i];
    CHECK(percpu_push_many(caches, many, 40) && !percpu_push_many(caches, many, 25));
    CHECK(percpu_push_many(caches, many + 40, 24) && percpu_count(own) == LIMIT);
    CHECK(percpu_pop_many(caches, back, 63) && memcmp(back, many + 1, 63 * sizeof(void *)) == 0);
    CHECK(!percpu_pop_many(caches, back, 2) && percpu_count(own) == 1);
    CHECK(percpu_pop(caches) == &values[0]);
    CHECK(own->level >> 16 == LIMIT + 1); /* gets, one at a time */

    CHECK(percpu_push(caches, &values[7]));
    own->closed = 1;
    CHECK(percpu_pop(caches) == NULL && !percpu_push(caches, &values[8]) && percpu_count(own) == 1);
    CHECK(!percpu_pop_many(caches, back, 1) && !percpu_push_many(caches, many, 1));
    own->closed = 0;
    CHECK(percpu_pop(caches) == &values[7]);
}

/* ---- descriptors ---- */

extern const struct rseq_cs first_descriptor[] __asm__("__start___rseq_cs");
extern const struct rseq_cs last_descriptor[] __asm__("__stop___rseq_cs");

static void descriptors(void)
{
    const size_t n = ((uintptr_t)last_descriptor - (uintptr_t)first_descriptor) / sizeof(struct rseq_cs);
    for (size_t i = 0; i < n; i++) {
        const struct rseq_cs *cs = &first_descriptor[i];
        uint32_t signature;
        memcpy(&signature, (const void *)(uintptr_t)(cs->abort_ip - sizeof(signature)), sizeof(signature));
        CHECK(signature == RSEQ_SIG && cs->version == 0 && cs->flags == 0);
        CHECK(cs->post_commit_offset > 16 && cs->post_commit_offset < 256);
        CHECK(cs->abort_ip - cs->start_ip >= cs->post_commit_offset); /* outside of the section */
    }
    CHECK(n >= 4);
    printf("%zu sections\n", n);
}

/* ---- fault ---- */

/* The cache here has more slots than others, and those that others do not have lie on a page that cannot be touched. So
 * a push to such a slot, and its pop, are interrupted between the load of the level and the store to it. */
enum { BEFORE_PAGE = PERCPU_SLOTS };

static void *guarded;
static int interrupts;
static void (*meanwhile)(void);

static void on_fault(int number)
{
    (void)number;
    interrupts++;
    if (interrupts > 1 || mprotect(guarded, 4096, PROT_READ | PROT_WRITE) != 0)
        _exit(EXIT_FAILURE);
    meanwhile();
}

static void pop_one(void)
{
    CHECK(percpu_pop(caches) != NULL);
}

static void push_one(void)
{
    CHECK(percpu_push(caches, &values[400]));
}

/* Interrupts `call` once, with `in_between` run by the handler of the signal. Returns how often sections began anew. */
static uint64_t interrupted(void (*call)(void), void (*in_between)(void))
{
    uint64_t before = aborts();
    interrupts = 0;
    meanwhile = in_between;
    CHECK(mprotect(guarded, 4096, PROT_NONE) == 0);
    call();
    CHECK(interrupts == 1);
    return aborts() - before;
}

static void *taken[2];

static void push_last(void)
{
    CHECK(percpu_push(caches, &values[BEFORE_PAGE]));
}

static void pop_last(void)
{
    taken[0] = percpu_pop(caches);
}

static void push_two(void)
{
    void *two[] = {&values[BEFORE_PAGE], &values[BEFORE_PAGE + 1]};
    CHECK(percpu_push_many(caches, two, 2));
}

static void pop_two(void)
{
    CHECK(percpu_pop_many(caches, taken, 2));
}

static void fault(void)
{
    struct sigaction action = {.sa_handler = on_fault};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    pin(nth_allowed(0));
    unsigned char *area = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED);
    guarded = area + 4096;
    caches = (struct percpu_cache *)(void *)area - nth_allowed(0);
    struct percpu_cache *own = (struct percpu_cache *)(void *)area;
    own->limit = BEFORE_PAGE + 8;
    for (int i = 0; i < BEFORE_PAGE; i++)
        CHECK(percpu_push(caches, &values[i]));

    /* While a push is in its section, another pop takes a pointer: the push must see the new level. */
    CHECK(interrupted(push_last, pop_one) == 1);
    CHECK(percpu_count(own) == BEFORE_PAGE && percpu_pop(caches) == &values[BEFORE_PAGE]);
    CHECK(percpu_push(caches, &values[BEFORE_PAGE - 1]) && percpu_push(caches, &values[BEFORE_PAGE]));
    /* While a pop is in its section, another one takes the same pointer. */
    CHECK(interrupted(pop_last, pop_one) == 1);
    CHECK(percpu_count(own) == BEFORE_PAGE - 1 && taken[0] == &values[BEFORE_PAGE - 1]);
    /* The same for many: one comes on top, or goes from it. */
    CHECK(percpu_push(caches, &values[BEFORE_PAGE - 1]));
    CHECK(interrupted(push_two, pop_one) == 1 && percpu_count(own) == BEFORE_PAGE + 1);
    CHECK(interrupted(pop_two, push_one) == 1 && percpu_count(own) == BEFORE_PAGE);
    CHECK(taken[0] == &values[BEFORE_PAGE + 1] && taken[1] == &values[400]);
}

/* ---- close ---- */

static _Atomic(int) wrong, stop, running;

/* Takes and puts back, on its processor. */
static void *owner(void *processor)
{
    pin((unsigned)(uintptr_t)processor);
    atomic_store(&running, 1);
    while (atomic_load_explicit(&stop, memory_order_relaxed) == 0) {
        void *held = percpu_pop(caches);
        while (held != NULL && !percpu_push(caches, held) && atomic_load_explicit(&stop, memory_order_relaxed) == 0)
            ;
    }
    return NULL;
}

/* As a thief does. The barrier makes a section begin anew that saw the cache open, also if its thread was preempted. */
static void closed_round(struct percpu_cache *own, unsigned processor)
{
    __atomic_store_n(&own->closed, 1, __ATOMIC_SEQ_CST);
    CHECK(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_FLAG_CPU, processor) == 0);
    const uint64_t level = __atomic_load_n(&own->level, __ATOMIC_ACQUIRE);
    for (int i = 0; i < 2000; i++)
        CHECK(__atomic_load_n(&own->level, __ATOMIC_RELAXED) == level);
    __atomic_store_n(&own->closed, 0, __ATOMIC_RELEASE);
    while (__atomic_load_n(&own->level, __ATOMIC_RELAXED) == level)
        sched_yield();
}

static void close_cache(void)
{
    const unsigned processor = nth_allowed(1);
    struct percpu_cache *own = &caches[processor];
    pthread_t thread;
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0) != 0) {
        printf("skipped: no barrier for restartable sequences here\n");
        exit(UNSUITED);
    }
    pin(processor);
    for (int i = 0; i < LIMIT; i++)
        CHECK(percpu_push(caches, &values[i]));
    pin(nth_allowed(0));
    CHECK(pthread_create(&thread, NULL, owner, (void *)(uintptr_t)processor) == 0);
    while (atomic_load(&running) == 0)
        sched_yield();
    for (int i = 0; i < 300; i++)
        closed_round(own, processor);
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    CHECK(percpu_count(own) >= LIMIT - 1); /* it may hold one that it could not put back in time */
    printf("%llu gets between, %llu aborts\n", (unsigned long long)(own->level >> 16), (unsigned long long)aborts());
}

/* ---- storm ---- */

static _Atomic(int) owners[TOKENS];
static pthread_t workers[THREADS];

static void on_signal(int number)
{
    (void)number;
}

static void own(const int *token, int owned)
{
    if (atomic_exchange_explicit(&owners[token - values], owned, memory_order_relaxed) == owned)
        atomic_store_explicit(&wrong, 1, memory_order_relaxed);
}

/* One at a time, or two in one section. */
static unsigned turn(uint64_t random, void **held)
{
    unsigned n = 0;
    if (random % 4 == 0)
        n = percpu_pop_many(caches, held, 2) ? 2 : 0;
    else
        n = (held[0] = percpu_pop(caches)) != NULL;
    for (unsigned i = 0; i < n; i++)
        own(held[i], 1);
    for (unsigned i = 0; i < n; i++)
        own(held[i], 0);
    return n;
}

/* What it took on one processor it often gives back on another. The caches have room for all there is. */
static void *worker(void *number)
{
    uint64_t random = (uintptr_t)number + 1;
    void *held[2] = {NULL, NULL};
    for (uint64_t i = 0; atomic_load_explicit(&stop, memory_order_relaxed) == 0; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned n = turn(random >> 40, held);
        if (i % 256 == 0)
            pin(nth_allowed((unsigned)(random >> 33)));
        bool kept = n == 2 ? percpu_push_many(caches, held, 2) : n == 0 || percpu_push(caches, held[0]);
        if (!kept)
            atomic_store_explicit(&wrong, 1, memory_order_relaxed);
    }
    return NULL;
}

static void storm(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (unsigned i = 0; i < processors; i++)
        caches[i].limit = TOKENS;
    for (int i = 0; i < TOKENS; i++)
        CHECK(percpu_push(caches, &values[i]));
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&workers[i], NULL, worker, (void *)i) == 0);
    uint64_t signals = 0;
    for (; signals < 500000 && (signals < 5000 || aborts() < 200); signals++)
        pthread_kill(workers[signals % THREADS], SIGUSR1);
    atomic_store_explicit(&stop, 1, memory_order_relaxed);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(workers[i], NULL);

    unsigned seen[TOKENS] = {0}, all = 0;
    for (unsigned i = 0; i < processors; i++)
        for (unsigned k = 0; k < percpu_count(&caches[i]); k++, all++)
            seen[(int *)caches[i].slots[k] - values]++;
    printf("%llu signals, %llu aborts\n", (unsigned long long)signals, (unsigned long long)aborts());
    CHECK(aborts() >= 200);
    CHECK(atomic_load(&wrong) == 0);
    CHECK(all == TOKENS);
    for (int i = 0; i < TOKENS; i++)
        CHECK(seen[i] == 1);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {
        {"stack", stack}, {"descriptors", descriptors}, {"fault", fault}, {"close", close_cache}, {"storm", storm}};
    percpu_area = __rseq_offset;
    if (!percpu_works()) {
        printf("skipped: no area of restartable sequences is registered here\n");
        return UNSUITED;
    }
    processors = (unsigned)get_nprocs_conf();
    CHECK(sched_getaffinity(0, sizeof(allowed), &allowed) == 0);
    caches = aligned_alloc(sizeof(*caches), processors * sizeof(*caches));
    CHECK(caches != NULL);
    for (unsigned i = 0; i < processors; i++)
        caches[i] = (struct percpu_cache){.limit = LIMIT};
    for (unsigned i = 0; argc == 2 && i < sizeof(cases) / sizeof(cases[0]); i++)
        if (strcmp(argv[1], cases[i].name) == 0) {
            cases[i].run();
            return EXIT_SUCCESS;
        }
    fprintf(stderr, "usage: test stack|descriptors|fault|close|storm\n");
    return EXIT_FAILURE;
}
