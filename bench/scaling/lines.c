/* SPDX-License-Identifier: MIT
 *
 * lines.c - counts what simulated processors do with cache lines; see lines.h
 *
 * Only the thread that has the turn runs (turns.h), so nothing here is atomic.
 */
#include "lines.h"

#include "turns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { WORDS = PROCESSORS_MAX / 64 + 1, NOBODY = -1, LOCKS_MAX = 512, HELD_MAX = 8, CLOCK_NS = 20 };

#define LINE_BYTES 64u
#define LINES      ((size_t)1 << 19)

struct processors {
    uint64_t word[WORDS];
};

struct line {
    uintptr_t number; /* address / 64; 0: the entry is free */
    struct processors has, touched;
    int writer;
    bool written;  /* since lines_look_afresh, as touched */
    uint64_t seen; /* the last call that counted it */
    uint64_t transfers;
    uint64_t free_ns; /* in simulated time: when its last writer had it */
};

struct lock {
    const pthread_mutex_t *mutex;
    bool taken;
    uint64_t transfers; /* while it was held */
};

static struct line *table;
static size_t used;
static struct lock locks[LOCKS_MAX];
static struct line_counts total;
static uint64_t calls;
static uint64_t transfer_ns;

static _Thread_local struct {
    bool counts;
    uint64_t call;
    struct line_counts before; /* the call */
    bool changed;              /* it has had a read-modify-write */
    unsigned held;             /* mutexes */
    struct lock *holds[HELD_MAX];
} me;

static void die(const char *what)
{
    fprintf(stderr, "lines: %s\n", what);
    exit(EXIT_FAILURE);
}

/* ---- sets of processors ---- */

static bool is_in(const struct processors *set, unsigned processor)
{
    return (set->word[processor / 64] >> processor % 64 & 1) != 0;
}

static void add_to(struct processors *set, unsigned processor)
{
    set->word[processor / 64] |= (uint64_t)1 << processor % 64;
}

static bool has_others(const struct processors *set, unsigned processor)
{
    for (unsigned i = 0; i < WORDS; i++)
        if ((set->word[i] & ~(i == processor / 64 ? (uint64_t)1 << processor % 64 : 0)) != 0)
            return true;
    return false;
}

/* ---- lines ---- */

static struct line *line_of(uintptr_t number)
{
    size_t at = (size_t)((uint64_t)number * 0x9e3779b97f4a7c15u >> 40) % LINES;
    while (table[at].number != number) {
        if (table[at].number == 0) {
            if (++used > LINES / 4 * 3)
                die("too many lines");
            table[at].number = number;
            table[at].writer = NOBODY;
            return &table[at];
        }
        at = (at + 1) % LINES;
    }
    return &table[at];
}

static bool writes(enum access access)
{
    return access != READS && access != READS_AHEAD;
}

static bool is_fetched(const struct line *line)
{
    return line->writer != NOBODY && !is_in(&line->has, turns_me());
}

static bool is_claimed(const struct line *line, enum access access)
{
    return !is_fetched(line) && writes(access) && has_others(&line->has, turns_me());
}

static void count_transfer(struct line *line, enum access access)
{
    const bool fetched = is_fetched(line);
    if (!fetched && !is_claimed(line, access))
        return;
    line->transfers++;
    for (unsigned i = 0; i < me.held; i++)
        me.holds[i]->transfers++;
    if (access >= READS_AHEAD)
        total.ahead++;
    else if (fetched)
        total.fetched++;
    else if (access == CHANGES)
        total.claimed++;
    else
        total.stored++;
}

static void count(struct line *line, enum access access)
{
    count_transfer(line, access);
    if (!line->written || !has_others(&line->touched, turns_me()))
        return;
    total.lines += line->seen != me.call;
    line->seen = me.call;
    total.changes += access == CHANGES;
    total.stores += access == STORES;
    total.locked += me.held > 0;
}

/* In simulated time. A line goes to one writer at a time, and then to any number of readers at once. A processor waits
 * for what it reads or changes, but not for what it stores or asks for ahead. */
static void await_line(struct line *line, enum access access)
{
    if (!is_fetched(line) && !is_claimed(line, access))
        return;
    turns_pass(); /* meanwhile another one may have taken the line away */
    if (!is_fetched(line) && !is_claimed(line, access))
        return;
    const uint64_t now = turns_now_ns();
    const uint64_t there = (now > line->free_ns ? now : line->free_ns) + transfer_ns;
    if (writes(access))
        line->free_ns = there;
    if (access == READS || access == CHANGES)
        turns_go_on_to_ns(there);
}

static void touch_line(uintptr_t number, enum access access)
{
    struct line *line = line_of(number);
    const unsigned processor = turns_me();
    if (turns_are_simulated() && processor < turns_processors())
        await_line(line, access);
    if (writes(access))
        line->written = true;
    if (me.counts) {
        me.changed |= access == CHANGES;
        count(line, access);
    }
    if (processor < turns_processors())
        add_to(&line->touched, processor);
    if (writes(access)) {
        line->has = (struct processors){{0}};
        line->writer = (int)processor;
    }
    add_to(&line->has, processor);
}

void lines_touch(const volatile void *at, size_t bytes, enum access access)
{
    if (table == NULL || bytes == 0)
        return;
    const uintptr_t from = (uintptr_t)at / LINE_BYTES, to = ((uintptr_t)at + bytes - 1) / LINE_BYTES;
    for (uintptr_t number = from; number <= to; number++)
        touch_line(number, access);
}

/* ---- for counts.c ---- */

void lines_start(uint64_t ns)
{
    transfer_ns = ns;
    table =
        mmap(NULL, LINES * sizeof(*table), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (table == MAP_FAILED)
        die("no memory");
}

void lines_look_afresh(void)
{
    for (size_t i = 0; i < LINES; i++) {
        table[i].touched = (struct processors){{0}};
        table[i].written = false;
    }
}

void lines_begin_call(void)
{
    me.call = ++calls;
    me.before = total;
    me.changed = false;
    me.counts = true;
}

void lines_end_call(void)
{
    me.counts = false;
}

bool lines_keep_exchange(void)
{
    if (me.changed)
        return true;
    total = me.before;
    return false;
}

struct line_counts lines_total(void)
{
    for (size_t i = 0; i < LINES; i++)
        if (table[i].transfers > total.serial)
            total.serial = table[i].transfers;
    for (int i = 0; i < LOCKS_MAX; i++)
        if (locks[i].transfers > total.serial)
            total.serial = locks[i].transfers;
    return total;
}

/* ---- locks and conditions ---- */

static struct lock *lock_of(const pthread_mutex_t *mutex)
{
    for (int i = 0; i < LOCKS_MAX; i++)
        if (locks[i].mutex == mutex || locks[i].mutex == NULL) {
            locks[i].mutex = mutex;
            return &locks[i];
        }
    die("too many locks");
    return NULL;
}

static void locked(struct lock *lock)
{
    if (me.held == HELD_MAX)
        die("too many locks are held");
    lock->taken = true;
    me.holds[me.held++] = lock;
    lines_touch(lock->mutex, 1, CHANGES);
    if (me.counts)
        total.locks++;
}

/* The mutex itself is free whenever it is locked here: a thread may lose its turn while it has a mutex. */
int lines_mutex_lock(pthread_mutex_t *mutex)
{
    struct lock *lock = lock_of(mutex);
    if (turns_are_simulated())
        turns_pass();
    while (lock->taken)
        turns_wait_for(mutex);
    locked(lock);
    return pthread_mutex_lock(mutex);
}

int lines_mutex_trylock(pthread_mutex_t *mutex)
{
    struct lock *lock = lock_of(mutex);
    if (turns_are_simulated())
        turns_pass();
    if (lock->taken) {
        lines_touch(mutex, 1, CHANGES);
        return EBUSY;
    }
    locked(lock);
    return pthread_mutex_lock(mutex);
}

int lines_mutex_unlock(pthread_mutex_t *mutex)
{
    struct lock *lock = lock_of(mutex);
    lines_touch(mutex, 1, CHANGES);
    for (unsigned i = me.held; i > 0; i--)
        if (me.holds[i - 1] == lock) {
            me.holds[i - 1] = me.holds[--me.held];
            break;
        }
    lock->taken = false;
    (void)turns_wake(mutex, true);
    return pthread_mutex_unlock(mutex);
}

/* Returns when the condition was signalled; the time limit is never over. */
int lines_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    lines_touch(cond, sizeof(pthread_cond_t), CHANGES);
    lines_system_call();
    lines_mutex_unlock(mutex);
    turns_wait_for(cond);
    return lines_mutex_lock(mutex);
}

int lines_cond_signal(pthread_cond_t *cond)
{
    lines_touch(cond, sizeof(pthread_cond_t), CHANGES);
    if (turns_wake(cond, false) != 0)
        lines_system_call();
    return 0;
}

/* ---- the rest of seam.h ---- */

/* A microsecond passes whenever somebody asks; in simulated time it takes 20 ns, and other threads run. */
int lines_clock_gettime(struct timespec *now)
{
    static uint64_t us = 1000000;
    us++;
    if (turns_are_simulated()) {
        turns_spend_ns(CLOCK_NS);
        turns_pass();
        const uint64_t ns = turns_now_ns() + 1000000000;
        *now = (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
        return 0;
    }
    *now = (struct timespec){(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    return 0;
}

int lines_processor(void)
{
    return (int)turns_me();
}

void lines_system_call(void)
{
    if (me.counts)
        total.system_calls++;
}

void lines_prefetch(const void *at, int for_writing, ...)
{
    lines_touch(at, 1, for_writing != 0 ? STORES_AHEAD : READS_AHEAD);
}

void lines_read(const void *at, size_t bytes)
{
    lines_touch(at, bytes, READS);
}

void lines_written(void *at, size_t bytes)
{
    lines_touch(at, bytes, STORES);
}
