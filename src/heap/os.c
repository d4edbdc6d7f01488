/* SPDX-License-Identifier: MIT
 *
 * os.c - memory straight from the system: mmap and its relatives
 *
 * Any thread may call these functions at any time. None of them waits for another thread.
 */
#include "heap/os.h"

#include "atomic.h"
#include "debug/sanitizer.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1u /* Linux 4.4 */
#endif

size_t os_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) & ~(unit - 1);
}

size_t os_mapped(size_t n, bool huge)
{
    return round_up(n, huge ? OS_HUGE_PAGE : os_page_size());
}

bool os_discard_unlocked(void *region, size_t bytes)
{
    return madvise(region, bytes, MADV_DONTNEED) == 0;
}

bool os_discard(void *region, size_t bytes)
{
    /* locked pages need an advice of their own */
    return os_discard_unlocked(region, bytes) || (errno == EINVAL && madvise(region, bytes, MADV_DONTNEED_LOCKED) == 0);
}

/* ---- addresses that the system refuses to take ---- */

/* A filter may forbid munmap. The system also refuses to unmap the middle of a mapping that it merged with others, if
 * the process would then have more mappings than it may. The memory goes back nevertheless. The addresses are kept here
 * for os_map, since the number of mappings is limited. A thread that finds another thread at this list goes on without
 * it. */
#define LEFT_MAX 64u

static struct {
    atomic_flag busy;
    _Atomic(unsigned) n; /* relaxed: a hint outside, and inside under `busy` */
    struct os_range range[LEFT_MAX];
} left = {.busy = ATOMIC_FLAG_INIT};

static bool left_enter(void)
{
    return !atomic_flag_test_and_set_explicit(&left.busy, memory_order_acquire); /* with left_leave */
}

static void left_leave(void)
{
    atomic_flag_clear_explicit(&left.busy, memory_order_release); /* with left_enter */
}

/* Between left_enter and left_leave. */
// NOLINTNEXTLINE(readability-non-const-parameter): the next mapping there is written to
static void left_add(unsigned char *from, size_t bytes)
{
    struct os_range added = {from, from + bytes};
    unsigned n = load_relaxed(&left.n);
    for (unsigned i = 0; i < n;) {
        const struct os_range other = left.range[i];
        if (other.to != added.from && other.from != added.to) {
            i++;
            continue;
        }
        added.from = other.from < added.from ? other.from : added.from;
        added.to = other.to > added.to ? other.to : added.to;
        left.range[i] = left.range[--n];
        i = 0;
    }
    if (n < LEFT_MAX)
        left.range[n++] = added;
    store_relaxed(&left.n, n);
}

static void *left_take(size_t bytes)
{
    if (likely(load_relaxed(&left.n) == 0) || !left_enter())
        return NULL;
    unsigned n = load_relaxed(&left.n);
    struct os_range *best = NULL;
    for (struct os_range *range = left.range; range < left.range + n; range++) {
        const size_t has = (size_t)(range->to - range->from);
        if (has >= bytes && (best == NULL || has < (size_t)(best->to - best->from)))
            best = range;
    }
    unsigned char *taken = best != NULL ? best->from : NULL;
    if (best != NULL)
        best->from += bytes;
    if (best != NULL && best->from == best->to)
        *best = left.range[--n];
    store_relaxed(&left.n, n);
    left_leave();
    return taken;
}

/* ---- mapping ---- */

static void *map(size_t bytes)
{
    void *region = left_take(bytes);
    if (region != NULL)
        return region;
    region = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    // cppcheck-suppress memleak ; it is returned
    return region == MAP_FAILED ? NULL : region;
}

/* Maps too much and unmaps what lies outside of the aligned part. */
static void *map_huge(size_t bytes)
{
    unsigned char *region = map(bytes + OS_HUGE_PAGE);
    if (region == NULL)
        return NULL;
    size_t before = (size_t)(-(uintptr_t)region & (OS_HUGE_PAGE - 1));
    if (before > 0)
        os_unmap(region, before);
    if (before < OS_HUGE_PAGE)
        os_unmap(region + before + bytes, OS_HUGE_PAGE - before);
    return region + before;
}

void os_ask_for_huge(void *region, size_t bytes)
{
    const uintptr_t from = ((uintptr_t)region + OS_HUGE_PAGE - 1) & ~(OS_HUGE_PAGE - 1);
    const uintptr_t to = ((uintptr_t)region + bytes) & ~(OS_HUGE_PAGE - 1);
    if (from >= to)
        return;
    const int saved_errno = errno;
    (void)madvise((void *)from, to - from, MADV_HUGEPAGE); /* if refused, the pages are small */
    errno = saved_errno;
}

void *os_map(size_t n, bool huge)
{
    const size_t bytes = os_mapped(n, huge);
    void *region = huge ? map_huge(bytes) : map(bytes);
    if (region != NULL) {
        const int saved_errno = errno;
        (void)madvise(region, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE); /* if refused, the system decides */
        errno = saved_errno;
    }
    return region;
}

void os_unmap(void *region, size_t bytes)
{
    if (SANITIZER_ASAN) /* the code that maps memory there next may use it */
        sanitizer_forget(region, bytes, false);
    if (munmap(region, bytes) != 0 && os_discard(region, bytes) && left_enter()) {
        left_add(region, bytes);
        left_leave();
    }
}

void os_lock_on_fault(void *region, size_t bytes)
{
    const size_t page = os_page_size();
    const int saved_errno = errno;
    unsigned char resident = 0; /* the last page, which nobody has touched */
    if (mincore((unsigned char *)region + bytes - page, page, &resident) == 0 && (resident & 1) != 0) {
#ifdef SYS_mlock2
        if (syscall(SYS_mlock2, region, bytes, MLOCK_ONFAULT) == 0)
            (void)os_discard(region, bytes);
#endif
    }
    errno = saved_errno;
}

void *os_grow(void *region, size_t bytes, size_t new_bytes)
{
    void *moved = mremap(region, bytes, new_bytes, MREMAP_MAYMOVE);
    return moved == MAP_FAILED ? NULL : moved;
}

size_t os_resident_run(void *region, size_t bytes, bool *resident)
{
    unsigned char in_core[512];
    const size_t page = os_page_size(), most = bytes / page < sizeof(in_core) ? bytes / page : sizeof(in_core);
    *resident = true;
    if (mincore(region, most * page, in_core) != 0)
        return bytes;
    size_t pages = 1;
    while (pages < most && (in_core[pages] & 1) == (in_core[0] & 1))
        pages++;
    *resident = (in_core[0] & 1) != 0;
    return pages * page;
}

/* Every program makes this system call, so filters let it pass. Here it changes nothing, since there is no such way to
 * change the mask of signals. The kernel reads the mask first: the error is EFAULT if it cannot, otherwise EINVAL. */
#define NO_WAY (-1)

static long read_as_mask(uintptr_t address)
{
    return syscall(SYS_rt_sigprocmask, NO_WAY, address, NULL, _NSIG / 8);
}

/* Valgrind makes that call itself, and would warn of it. */
static long read_as_other(uintptr_t address)
{
    unsigned char byte = 0;
    const struct iovec to = {&byte, 1}, from = {(void *)address, 1};
    sanitizer_open((void *)address, 1);
    const long result = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
    sanitizer_close((void *)address, 1);
    return result;
}

bool os_can_read(uintptr_t address)
{
    const int saved_errno = errno;
    const long result = sanitizer_on() && !SANITIZER_ASAN ? read_as_other(address) : read_as_mask(address);
    const bool fault = result < 0 && errno == EFAULT;
    errno = saved_errno;
    return !fault;
}

/* ---- purging ---- */

/* Stands for the calling process in place of a pidfd, from Linux 6.15 on. Before, it is a bad descriptor. */
#define OWN_PIDFD (-10000)

/* Purges all ranges in one call, which interrupts the other CPUs once. Returns false if not all was done. */
static bool purge_together(const struct iovec *iov, unsigned n)
{
    /* Set once a kernel that is too old, or a filter, refused the call. Then the call is not made again. Relaxed: a
     * thread that does not see it yet makes the call in vain. */
    static _Atomic(bool) refused;
    if (n < 2 || load_relaxed(&refused))
        return false;
    size_t bytes = 0;
    for (unsigned i = 0; i < n; i++)
        bytes += iov[i].iov_len;
#ifdef SYS_process_madvise
    long done = syscall(SYS_process_madvise, OWN_PIDFD, iov, (size_t)n, MADV_DONTNEED, 0);
    if (done < 0 && errno == EINVAL) /* locked */
        done = syscall(SYS_process_madvise, OWN_PIDFD, iov, (size_t)n, MADV_DONTNEED_LOCKED, 0);
    if (done < 0 && (errno == ENOSYS || errno == EBADF || errno == EPERM || errno == EACCES))
        store_relaxed(&refused, true);
    return done >= 0 && (size_t)done == bytes;
#else
    (void)iov, (void)bytes;
    store_relaxed(&refused, true);
    return false;
#endif
}

void os_purge(struct os_range *ranges, unsigned n, bool huge)
{
    const uintptr_t unit = huge ? OS_HUGE_PAGE : os_page_size();
    struct iovec iov[OS_RANGES_MAX];
    unsigned of[OS_RANGES_MAX]; /* which range */
    unsigned used = 0;
    for (unsigned i = 0; i < n; i++) {
        const uintptr_t from = ((uintptr_t)ranges[i].from + unit - 1) & ~(unit - 1);
        const uintptr_t to = (uintptr_t)ranges[i].to & ~(unit - 1);
        if (from < to) {
            of[used] = i;
            iov[used++] = (struct iovec){(void *)from, to - from};
        } else {
            ranges[i].to = ranges[i].from;
        }
    }
    const bool all = purge_together(iov, used);
    for (unsigned i = 0; i < used; i++)
        if (all || os_discard(iov[i].iov_base, iov[i].iov_len))
            ranges[of[i]].to = ranges[of[i]].from;
}
