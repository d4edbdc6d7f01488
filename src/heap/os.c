/* SPDX-License-Identifier: MIT
 *
 * os.c - memory straight from the system: mmap and its relatives
 *
 * Any thread, no state, no lock.
 */
#include "heap/os.h"

#include "atomic.h"
#include "debug/sanitizer.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

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
    return round_up(n, huge ? HUGE_PAGE : os_page_size());
}

static void *map(size_t bytes)
{
    void *region = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    // cppcheck-suppress memleak ; it is returned
    return region == MAP_FAILED ? NULL : region;
}

/* Maps too much and unmaps what lies outside of the aligned part. */
static void *map_huge(size_t bytes)
{
    unsigned char *region = map(bytes + HUGE_PAGE);
    if (region == NULL)
        return NULL;
    size_t before = (size_t)(-(uintptr_t)region & (HUGE_PAGE - 1));
    if (before > 0)
        os_unmap(region, before);
    if (before < HUGE_PAGE)
        os_unmap(region + before + bytes, HUGE_PAGE - before);
    (void)madvise(region + before, bytes, MADV_HUGEPAGE); /* refused: ordinary pages */
    return region + before;
}

void *os_map(size_t n, bool huge)
{
    size_t bytes = os_mapped(n, huge);
    return huge ? map_huge(bytes) : map(bytes);
}

void os_unmap(void *region, size_t bytes)
{
    if (SANITIZER_ASAN) /* who maps there next is to find it as usual */
        sanitizer_forget(region, bytes, false);
    /* Unmapping the middle of what the kernel merged may exceed its limit on mappings: then at least the memory. */
    if (munmap(region, bytes) != 0)
        (void)madvise(region, bytes, MADV_DONTNEED);
}

void *os_grow(void *region, size_t bytes, size_t new_bytes)
{
    void *moved = mremap(region, bytes, new_bytes, MREMAP_MAYMOVE);
    return moved == MAP_FAILED ? NULL : moved;
}

/* ---- purging ---- */

/* What stands for the calling process in place of a pidfd, from Linux 6.15 on; before it is a bad descriptor. */
#define OWN_PIDFD (-10000)

/* One call, and one round of telling the other CPUs, for all. False: not all was done. */
static bool purge_together(const struct iovec *iov, unsigned n)
{
    /* by a kernel that is too old, or by a filter: not asked again; relaxed: who does not see it asks in vain once
     * more */
    static _Atomic(bool) refused;
    if (n < 2 || load_relaxed(&refused))
        return false;
    size_t bytes = 0;
    for (unsigned i = 0; i < n; i++)
        bytes += iov[i].iov_len;
#ifdef SYS_process_madvise
    long done = syscall(SYS_process_madvise, OWN_PIDFD, iov, (size_t)n, MADV_DONTNEED, 0);
    if (done < 0 && (errno == ENOSYS || errno == EBADF || errno == EPERM || errno == EACCES))
        store_relaxed(&refused, true);
    return done >= 0 && (size_t)done == bytes;
#else
    (void)iov, (void)bytes;
    store_relaxed(&refused, true);
    return false;
#endif
}

void os_purge(const struct os_range *ranges, unsigned n, bool huge)
{
    uintptr_t unit = huge ? HUGE_PAGE : os_page_size();
    struct iovec iov[OS_RANGES_MAX];
    unsigned used = 0;
    for (unsigned i = 0; i < n; i++) {
        uintptr_t from = ((uintptr_t)ranges[i].from + unit - 1) & ~(unit - 1);
        uintptr_t to = (uintptr_t)ranges[i].to & ~(unit - 1);
        if (from < to)
            iov[used++] = (struct iovec){(void *)from, to - from};
    }
    if (!purge_together(iov, used))
        for (unsigned i = 0; i < used; i++)
            (void)madvise(iov[i].iov_base, iov[i].iov_len, MADV_DONTNEED); /* refused: the memory stays */
}
