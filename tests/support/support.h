/* SPDX-License-Identifier: MIT
 *
 * support.h - what the tests share and what needs no pool: scale, threads, processes that are to abort, a counting
 * block allocator, random numbers, resident memory. Include it first: it brings cmocka, with what that needs before it.
 *
 * A cmocka assertion in a worker thread would end the whole program. So workers record with thread_check(), and
 * run_threads() and join_threads() assert in the calling thread that nothing was recorded.
 */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bufferpool.h"

/* ---- scale ---- */

#define TEST_ASAN 0
#define TEST_TSAN 0
#if defined(__SANITIZE_ADDRESS__)
#undef TEST_ASAN
#define TEST_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#undef TEST_TSAN
#define TEST_TSAN 1
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !TEST_ASAN
#undef TEST_ASAN
#define TEST_ASAN 1
#endif
#if __has_feature(thread_sanitizer) && !TEST_TSAN
#undef TEST_TSAN
#define TEST_TSAN 1
#endif
#endif

#define TEST_SANITIZED (TEST_ASAN | TEST_TSAN)

/* True under Valgrind and in sanitizer builds: memory figures are then not the library's. */
bool test_instrumented(void);
bool test_under_valgrind(void);

/* Writes where nobody may: AddressSanitizer, which would have its say first, does not see it. */
void test_smash(unsigned char *at, unsigned char with, size_t n);

/* The number of rounds: full, or small when instrumented or when BUFFERPOOL_TEST_SCALE=small. */
size_t test_scale(size_t full, size_t small);

/* Whether this system lets the library reach the caches of other threads: membarrier(2). */
bool test_can_steal(void);

/* ---- threads ---- */

typedef void (*test_thread_fn)(void *arg, unsigned index);
typedef struct test_crew test_crew_t;

/* n threads that call fn(arg, 0 .. n-1), all released by one barrier. */
void run_threads(unsigned n, test_thread_fn fn, void *arg);
test_crew_t *start_threads(unsigned n, test_thread_fn fn, void *arg);
void join_threads(test_crew_t *crew);

/* Joins a thread that wrote its gettid() there, and waits until it is in /proc no more, where it stays for a moment. */
void *test_join_until_gone(pthread_t thread, const pid_t *tid);

/* In a worker: records the first failure, and yields whether the condition held. */
#define thread_check(condition) test_record((condition), #condition, __FILE__, __LINE__)
bool test_record(bool ok, const char *what, const char *file, int line);
/* Whether a failure is on record: for children made by fork, which report by exit status. */
bool test_recorded_failure(void);

/* ---- processes ---- */

/* Runs fn(arg) in a child, which must write exactly one line to stderr, with all the given substrings (up to the NULL)
 * and those noted by expect_in_message() in it, and then abort. */
void expect_abort(void (*fn)(void *arg), void *arg, ...) __attribute__((sentinel));
void expect_in_message(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The line that the last expect_abort() saw. */
const char *last_abort_message(void);

/* Runs fn(arg) in a child that has the given seconds; returns the exit status of the child, or 128 + signal. */
int run_in_child(int (*fn)(void *arg), void *arg, unsigned seconds);
/* In such a child, in place of returning: ends it so that Valgrind looks for no leaks. What the parent's other threads
 * held is lost in the child; those are not its leaks. */
_Noreturn void end_child(int status);

/* ---- debug modes ---- */

typedef struct test_outcome {
    int status; /* of exit, or 128 + signal */
    size_t n;
    char err[1 << 16]; /* what it wrote to stderr */
} test_outcome_t;

/* Runs fn(arg) with BUFFERPOOL_DEBUG=modes (NULL: unset) in a child, which then calls exit(0); it reads the variable if
 * nothing was asked of the library before. In it, what does not hold: modes_check(). */
const test_outcome_t *run_with_modes(const char *modes, void (*fn)(void *arg), void *arg);
const test_outcome_t *test_last_outcome(void);
/* The last one's outcome: the status, and all the substrings (up to the NULL) in what it wrote. */
void expect_outcome(int status, ...) __attribute__((sentinel));
/* How such a child ends: by returning, by _exit, by exit of another thread. */
enum way_to_end { END_RETURNS, END_UNDERSCORE, END_OTHER_THREAD, ENDINGS };
void end_as(enum way_to_end way);
/* It aborted with one line, and after it who got and put it. */
void expect_report(const char *part, ...) __attribute__((sentinel));
#define modes_check(condition)                                                                                         \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            _exit(9);                                                                                                  \
        }                                                                                                              \
    } while (0)

/* In such a child: makes a copy of this program that has the rights of another user, runs it with the argument
 * --setuid, and ends as the copy does. TEST_NOT_SECURE: no such copy can run here, or the copy says that it has
 * no other rights. */
enum { TEST_NOT_SECURE = 33 };
_Noreturn void test_run_setuid_copy(void);

/* ---- a block allocator that counts ---- */

typedef struct test_blocks {
    atomic_size_t count;     /* blocks in existence */
    atomic_size_t peak;      /* the most there ever were */
    atomic_size_t bytes;     /* the sum of their sizes */
    atomic_size_t allocs;    /* calls that succeeded */
    atomic_size_t frees;     /* calls */
    atomic_size_t errors;    /* frees with another size or ctx than at alloc, or of no block; strange alignments */
    atomic_size_t fail_from; /* the calls number fail_from .. fail_to (from 1) fail; 0: none */
    atomic_size_t fail_to;
    atomic_size_t calls;
    /* sees the block before it is freed; NULL: nobody does */
    void (*on_free)(struct test_blocks *blocks, const unsigned char *block, size_t size);
    _Atomic(void *) last; /* the last block made, what was asked for */
    atomic_size_t last_size;
    atomic_size_t last_align;
} test_blocks_t;

void *test_blocks_alloc(size_t size, size_t align, void *ctx);
void test_blocks_free(void *block, size_t size, void *ctx);
/* For tests that fork while other threads use the hooks: to be called before there are any. */
void test_blocks_before_fork(void);
/* The calls after the next skip calls fail, n of them. */
void test_blocks_fail(test_blocks_t *blocks, size_t skip, size_t n);
void test_blocks_fail_none(test_blocks_t *blocks);

/* ---- small things ---- */

/* Write the members of a buffer that are const for callers, as a mistaken program does. */
static inline void set_data(bufferpool_buf_t *buf, unsigned char *data)
{
    memcpy((unsigned char *)buf + offsetof(bufferpool_buf_t, data), &data, sizeof data);
}

static inline void set_cap(bufferpool_buf_t *buf, size_t cap)
{
    memcpy((unsigned char *)buf + offsetof(bufferpool_buf_t, cap), &cap, sizeof cap);
}

typedef struct test_random {
    uint64_t state;
} test_random_t;

uint64_t test_random(test_random_t *random);
/* 0 .. below - 1 */
size_t test_random_below(test_random_t *random, size_t below);

/* Bytes of this process that are in memory. */
size_t test_resident_bytes(void);

/* From here to there no block of 256 MiB or more can be had where addresses have 32 bits: as a block of PTRDIFF_MAX / 4
 * bytes can nowhere be had where they have 64, for which these do nothing. */
void test_narrow_addresses(void);
void test_widen_addresses(void);

/* The buffer's bytes are those of its last holder. No caller may rely on that, and memcheck says so: it is told that
 * this test knows better. */
void test_know_bytes(const bufferpool_buf_t *buf);

/* Bytes that depend on seed and position. */
void test_fill(unsigned char *data, size_t n, uint64_t seed);
bool test_filled(const unsigned char *data, size_t n, uint64_t seed);

#endif /* TEST_SUPPORT_H */
