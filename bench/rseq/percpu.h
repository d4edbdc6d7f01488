/* SPDX-License-Identifier: MIT
 *
 * percpu.h - a stack of pointers for each processor; push and pop are restartable sequences (x86-64, Linux, glibc)
 *
 * glibc registers an area of each thread with the kernel. The area names the processor on which the thread runs, and a
 * descriptor of the critical section that the thread is in. If the kernel preempts or migrates the thread inside of the
 * section, or delivers a signal there, then the thread goes on at the section's abort handler, and never in its middle.
 * Each section here ends with the one store that has an effect, to `level`. So a section happens as a whole, on one
 * processor, or not at all. No operation is atomic, and none needs a fence.
 *
 * The processor is read inside of the section. So a thread cannot be moved between reading it and using it.
 *
 *     cache of processor 0 | level limit closed | slots ... |        level = count << 16 | n
 *     cache of processor 1 | level limit closed | slots ... |        count = gets served here
 *
 * An abort handler adds one to `percpu_aborts` and begins anew. The kernel kills a process whose handler does not have
 * the signature in front that glibc registered. With PERCPU_BARE a section looks neither at `closed`, by which another
 * thread could take the cache away, nor counts.
 */
#ifndef BENCH_PERCPU_H
#define BENCH_PERCPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/rseq.h>

enum { PERCPU_SHIFT = 12, PERCPU_SLOTS = 496 };

struct percpu_cache {
    _Alignas(1 << PERCPU_SHIFT) uint64_t level;
    uint64_t limit; /* at most PERCPU_SLOTS */
    uint64_t closed;
    uint64_t busy; /* with bythread.h alone */
    uint64_t unused[12];
    void *slots[PERCPU_SLOTS];
};
_Static_assert(sizeof(struct percpu_cache) == 1 << PERCPU_SHIFT, "a shift finds the cache of a processor");
_Static_assert(offsetof(struct percpu_cache, limit) == 8, "PERCPU_LIMIT");
_Static_assert(offsetof(struct percpu_cache, closed) == 16, "PERCPU_CLOSED");
_Static_assert(offsetof(struct percpu_cache, slots) == 128, "PERCPU_TOP");
_Static_assert(offsetof(struct rseq, cpu_id) == 4 && offsetof(struct rseq, rseq_cs) == 8, "the sections know the area");

#define PERCPU_HIDDEN __attribute__((visibility("hidden")))
/* How often a section began anew, in all threads. */
extern PERCPU_HIDDEN uint64_t percpu_aborts;
/* Where the area lies, from the thread pointer: a copy of __rseq_offset, one load nearer. */
extern PERCPU_HIDDEN ptrdiff_t percpu_area;

static inline unsigned percpu_count(const struct percpu_cache *cache)
{
    return (unsigned)(cache->level & 0xffff);
}

/* Whether the kernel knows this thread's area. */
static inline bool percpu_works(void)
{
    int32_t cpu;
    __asm__ volatile("movl %%fs:4(%1), %0" : "=r"(cpu) : "r"(__rseq_offset));
    return __rseq_size != 0 && cpu >= 0;
}

/* What each section has in common: its descriptor, the abort handler with the signature in front, and the beginning.
 * Labels: 1 to 2 is the section, 3 the descriptor, 4 the handler, 5 the beginning. %[cache] becomes the cache of the
 * processor. A test may make each section longer. */
#define PERCPU_TEXT(x)       PERCPU_TEXT_AGAIN(x)
#define PERCPU_TEXT_AGAIN(x) #x
#ifndef PERCPU_DELAY
#define PERCPU_DELAY
#endif
/* clang-format off */
#define PERCPU_BEGIN                                                                                                   \
    ".pushsection __rseq_cs, \"aw\"\n\t"                                                                               \
    ".balign 32\n\t"                                                                                                   \
    "3: .long 0, 0\n\t"                                                                                                \
    ".quad 1f, 2f - 1f, 4f\n\t"                                                                                        \
    ".popsection\n\t"                                                                                                  \
    ".pushsection __rseq_failure, \"ax\"\n\t"                                                                          \
    ".byte 0x0f, 0xb9, 0x3d\n\t"                                                                                       \
    ".long " PERCPU_TEXT(RSEQ_SIG) "\n\t"                                                                              \
    "4: lock incq %[aborts]\n\t"                                                                                       \
    "jmp 5f\n\t"                                                                                                       \
    ".popsection\n\t"                                                                                                  \
    "5: leaq 3b(%%rip), %[cache]\n\t"                                                                                  \
    "movq %[cache], %%fs:8(%[area])\n\t"                                                                               \
    "1: movl %%fs:4(%[area]), %k[cache]\n\t"                                                                           \
    "shlq $12, %[cache]\n\t"                                                                                           \
    "addq %[base], %[cache]\n\t"                                                                                       \
    "movq (%[cache]), %[level]\n\t"
/* clang-format on */
#define PERCPU_COMMIT "movq %[level], (%[cache])\n\t2:\n\t"
#define PERCPU_LIMIT  "8(%[cache])"
#ifdef PERCPU_BARE
#define PERCPU_CLOSED ""
#define PERCPU_POPPED "decq %[level]\n\t"
#else
#define PERCPU_CLOSED "cmpq $0, 16(%[cache])\n\tjne 2f\n\t" PERCPU_DELAY
#define PERCPU_POPPED "addq $65535, %[level]\n\t" /* one get more, one buffer less */
#endif

/* Takes the pointer that was pushed last on this processor. Returns NULL if the cache is empty or closed. */
static inline void *percpu_pop(struct percpu_cache *caches)
{
    void *popped;
    uint64_t cache, level, n;
    __asm__ volatile(
        PERCPU_BEGIN "xorl %k[popped], %k[popped]\n\t"
                     "movzwl %w[level], %k[n]\n\t"
                     "testl %k[n], %k[n]\n\t"
                     "je 2f\n\t" PERCPU_CLOSED "movq 120(%[cache],%[n],8), %[popped]\n\t" PERCPU_POPPED PERCPU_COMMIT
        : [popped] "=&r"(popped), [cache] "=&r"(cache), [level] "=&r"(level), [n] "=&r"(n), [aborts] "+m"(percpu_aborts)
        : [base] "r"(caches), [area] "r"(percpu_area)
        : "memory", "cc");
    return popped;
}

/* Returns false, and keeps nothing, if the cache of this processor is full or closed. */
static inline bool percpu_push(struct percpu_cache *caches, void *pushed)
{
    uint64_t cache, level, n;
    uint32_t done;
    __asm__ volatile(
        PERCPU_BEGIN "xorl %[done], %[done]\n\t"
                     "movzwl %w[level], %k[n]\n\t"
                     "cmpq " PERCPU_LIMIT ", %[n]\n\t"
                     "jae 2f\n\t" PERCPU_CLOSED "movq %[pushed], 128(%[cache],%[n],8)\n\t"
                     "incq %[level]\n\t"
                     "incl %[done]\n\t" PERCPU_COMMIT
        : [done] "=&r"(done), [cache] "=&r"(cache), [level] "=&r"(level), [n] "=&r"(n), [aborts] "+m"(percpu_aborts)
        : [base] "r"(caches), [area] "r"(percpu_area), [pushed] "r"(pushed)
        : "memory", "cc");
    return done != 0;
}

/* Takes the k pointers that were pushed last, k > 0, in one section. Returns false, and takes none, if there are fewer.
 * None of them is counted as a get. */
static inline bool percpu_pop_many(struct percpu_cache *caches, void **to, uint64_t k)
{
    uint64_t cache, level, n, left, moved;
    uint32_t done;
    __asm__ volatile(PERCPU_BEGIN "xorl %[done], %[done]\n\t"
                                  "movzwl %w[level], %k[n]\n\t"
                                  "subq %[k], %[n]\n\t"
                                  "jb 2f\n\t" PERCPU_CLOSED "leaq 120(%[cache],%[n],8), %[n]\n\t"
                                  "movq %[k], %[left]\n\t"
                                  "7: movq (%[n],%[left],8), %[moved]\n\t"
                                  "movq %[moved], -8(%[to],%[left],8)\n\t"
                                  "decq %[left]\n\t"
                                  "jne 7b\n\t"
                                  "subq %[k], %[level]\n\t"
                                  "incl %[done]\n\t" PERCPU_COMMIT
                     : [done] "=&r"(done), [cache] "=&r"(cache), [level] "=&r"(level), [n] "=&r"(n), [left] "=&r"(left),
                       [moved] "=&r"(moved), [aborts] "+m"(percpu_aborts)
                     : [base] "r"(caches), [area] "r"(percpu_area), [to] "r"(to), [k] "r"(k)
                     : "memory", "cc");
    return done != 0;
}

/* Pushes k pointers in one section, k > 0. Returns false, and keeps none, if there is no room for all of them. */
static inline bool percpu_push_many(struct percpu_cache *caches, void *const *from, uint64_t k)
{
    uint64_t cache, level, n, left, moved;
    uint32_t done;
    __asm__ volatile(PERCPU_BEGIN "xorl %[done], %[done]\n\t"
                                  "movzwl %w[level], %k[n]\n\t"
                                  "leaq (%[n],%[k]), %[left]\n\t"
                                  "cmpq " PERCPU_LIMIT ", %[left]\n\t"
                                  "ja 2f\n\t" PERCPU_CLOSED "leaq 120(%[cache],%[n],8), %[n]\n\t"
                                  "movq %[k], %[left]\n\t"
                                  "7: movq -8(%[from],%[left],8), %[moved]\n\t"
                                  "movq %[moved], (%[n],%[left],8)\n\t"
                                  "decq %[left]\n\t"
                                  "jne 7b\n\t"
                                  "addq %[k], %[level]\n\t"
                                  "incl %[done]\n\t" PERCPU_COMMIT
                     : [done] "=&r"(done), [cache] "=&r"(cache), [level] "=&r"(level), [n] "=&r"(n), [left] "=&r"(left),
                       [moved] "=&r"(moved), [aborts] "+m"(percpu_aborts)
                     : [base] "r"(caches), [area] "r"(percpu_area), [from] "r"(from), [k] "r"(k)
                     : "memory", "cc");
    return done != 0;
}

#endif
