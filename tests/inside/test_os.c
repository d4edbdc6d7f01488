/* SPDX-License-Identifier: MIT
 *
 * test_os.c - mappings, also where the system gives less than the library asked for, or refuses
 *
 * The linker's --wrap replaces mmap, munmap, madvise and syscall, and so simulates addresses that are not aligned to
 * huge pages, a process that has as many mappings as it may, locked memory, and kernels and filters without
 * process_madvise.
 */
#include "support/support.h"

#include "debug/modes.h"
#include "debug/sanitizer.h"
#include "heap/os.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define HUGE ((size_t)2 << 20)

static size_t shift; /* how far beyond a multiple of 2 MiB a mapping begins */
static size_t asked; /* bytes of the last mapping */
static bool too_many_mappings;
static bool locked;     /* the advice for memory that is not locked is refused */
static bool no_advice;  /* so is any other */
static int huge_advice; /* the last about huge pages */
static size_t advised;  /* how many bytes that was about */
static size_t advices;  /* how often memory was to go */
static size_t maps;     /* mmap was called */

#define DONTNEED_LOCKED 24

int __real_munmap(void *at, size_t size);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    maps++;
    asked = size;
    unsigned char *region = __real_mmap(at, size + 2 * HUGE, protection, flags, fd, offset);
    assert_true((void *)region != MAP_FAILED);
    const size_t skipped = (size_t)(-(uintptr_t)region & (HUGE - 1)) + shift;
    if (skipped > 0)
        __real_munmap(region, skipped);
    __real_munmap(region + skipped + size, 2 * HUGE - skipped);
    return region + skipped;
}

static unsigned char *freed[4];
static size_t freed_bytes[4], frees;

int __wrap_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size)
{
    if (too_many_mappings) {
        errno = ENOMEM;
        return -1;
    }
    freed[frees % 4] = at;
    freed_bytes[frees++ % 4] = size;
    return __real_munmap(at, size);
}

int __real_madvise(void *at, size_t size, int what);
int __wrap_madvise(void *at, size_t size, int what);
int __wrap_madvise(void *at, size_t size, int what)
{
    if (what == MADV_HUGEPAGE || what == MADV_NOHUGEPAGE) {
        huge_advice = what;
        advised = size;
        return __real_madvise(at, size, what);
    }
    advices++;
    if (no_advice || (locked && what == MADV_DONTNEED)) {
        errno = EINVAL;
        return -1;
    }
    assert_true(what == MADV_DONTNEED || (locked && what == DONTNEED_LOCKED));
    return __real_madvise(at, size, MADV_DONTNEED);
}

static int refusal;       /* what process_madvise fails with; 0: it is done */
static size_t together;   /* how often it was asked for */
static size_t does_first; /* how many of the ranges it does; the rest is left */

long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list args;
    va_start(args, number);
    (void)va_arg(args, int);
    const struct iovec *iov = va_arg(args, const struct iovec *);
    const size_t n = va_arg(args, size_t);
    const int what = va_arg(args, int);
    va_end(args);
    assert_int_equal(number, SYS_process_madvise);
    together++;
    if (refusal != 0 || no_advice || (locked && what == MADV_DONTNEED)) {
        errno = refusal != 0 ? refusal : EINVAL;
        return -1;
    }
    long done = 0;
    for (size_t i = 0; i < n && i < does_first; i++) {
        assert_int_equal(__real_madvise(iov[i].iov_base, iov[i].iov_len, MADV_DONTNEED), 0);
        done += (long)iov[i].iov_len;
    }
    return done;
}

static void begin(void)
{
    shift = frees = advices = together = maps = 0;
    refusal = 0;
    does_first = SIZE_MAX;
    too_many_mappings = locked = no_advice = false;
}

/* ---- huge pages ---- */

static void huge_pages_are_asked_for_where_whole_ones_fit(void **state)
{
    (void)state;
    static const struct {
        size_t from, bytes, asked;
    } cases[] = {{0, HUGE, HUGE},
                 {4096, HUGE, 0},
                 {4096, 2 * HUGE, HUGE},
                 {0, HUGE - 4096, 0},
                 {HUGE - 4096, 3 * HUGE, 2 * HUGE}};
    unsigned char *region = os_map(4 * HUGE, true);
    assert_non_null(region);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        advised = 0;
        errno = 77;
        os_ask_for_huge(region + cases[i].from, cases[i].bytes);
        assert_int_equal(advised, cases[i].asked);
        assert_int_equal(errno, 77);
    }
    os_unmap(region, 4 * HUGE);
}

/* Whatever the kernel gives, the part that stays begins and ends with a huge page, and the rest goes back. */
static void a_mapping_is_cut_to_the_alignment_of_huge_pages(void **state)
{
    (void)state;
    static const size_t shifts[] = {0, 4096, HUGE - 4096};
    for (size_t i = 0; i < 3; i++) {
        begin();
        shift = shifts[i];
        unsigned char *region = os_map(3 * HUGE - 5, true);
        assert_int_equal(asked, 4 * HUGE);
        assert_int_equal((uintptr_t)region % HUGE, 0);
        assert_int_equal(os_mapped(3 * HUGE - 5, true), 3 * HUGE);
        size_t cut = 0;
        for (size_t k = 0; k < frees; k++) {
            assert_true(freed[k] + freed_bytes[k] <= region || freed[k] >= region + 3 * HUGE);
            cut += freed_bytes[k];
        }
        assert_int_equal(cut, HUGE);
        assert_int_equal(frees, shift == 0 ? 1 : 2);
        assert_true(huge_advice == MADV_HUGEPAGE && advised == 3 * HUGE);
        memset(region, 1, 3 * HUGE);
        os_unmap(region, 3 * HUGE);
    }
}

/* Whatever the system's default is: what lies around a block is not to become resident with it. */
static void others_are_for_small_pages(void **state)
{
    (void)state;
    begin();
    errno = 0;
    unsigned char *region = os_map(3 * HUGE, false);
    assert_true(huge_advice == MADV_NOHUGEPAGE && advised == 3 * HUGE);
    assert_int_equal(errno, 0); /* also where the kernel knows no huge pages */
    os_unmap(region, 3 * HUGE);
}

/* ---- unmapping ---- */

static bool is_resident(unsigned char *page)
{
    unsigned char in_core = 0;
    assert_int_equal(mincore(page, 1, &in_core), 0);
    return (in_core & 1) != 0;
}

static void a_range_that_cannot_be_unmapped_gives_its_memory_back(void **state)
{
    (void)state;
    const size_t page = os_page_size();
    begin();
    unsigned char *region = os_map(16 * page, false);
    memset(region, 1, 16 * page);
    too_many_mappings = true;
    os_unmap(region + 4 * page, 4 * page);
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(is_resident(region + i * page), i < 4 || i >= 8);
    too_many_mappings = false;
    assert_ptr_equal(os_map(4 * page, false), region + 4 * page);
    os_unmap(region, 16 * page);
}

/* Else a process that forbids munmap would have no more mappings after some 65,000. */
static void what_cannot_be_unmapped_is_used_again(void **state)
{
    (void)state;
    const size_t page = os_page_size();
    begin();
    too_many_mappings = true;
    for (size_t turn = 0; turn < 1000; turn++) {
        unsigned char *small = os_map(2 * page, false), *region = os_map(16 * page, false);
        for (size_t i = 0; i < 16 * page; i++)
            assert_int_equal(region[i], 0);
        memset(region, 1, 16 * page);
        for (size_t part = 0; part < 16; part += 4) /* in any order; they are one again */
            os_unmap(region + (part * 5 % 16) * page, 4 * page);
        os_unmap(small, 2 * page);
    }
    assert_int_equal(maps, 2);
    no_advice = true; /* what keeps its memory must not come back: it is not zero */
    unsigned char *dirty = os_map(16 * page, false);
    memset(dirty, 1, 16 * page);
    os_unmap(dirty, 16 * page);
    assert_ptr_not_equal(os_map(16 * page, false), dirty);
    assert_int_equal(maps, 3);
}

/* More than can be noted are lost, and no more than that. Those that were used again leave room for others. */
static void many_that_cannot_be_unmapped_do_no_harm(void **state)
{
    enum { MANY = 200 };
    (void)state;
    const size_t page = os_page_size();
    begin();
    while (maps == 0) /* what other tests left */
        (void)os_map(page, false);
    unsigned char *region = os_map(4 * MANY * page, false);
    too_many_mappings = true;
    for (size_t first = 0; first <= 2; first += 2) {
        for (size_t i = 0; i < MANY; i++)
            os_unmap(region + (4 * i + first) * page, page);
        maps = 0;
        size_t again = 0;
        for (size_t i = 0; i < MANY; i++) {
            unsigned char *at = os_map(page, false);
            const size_t offset = (size_t)(at - region);
            again += maps == 0;
            assert_true(maps > 0 || (offset < 4 * MANY * page && offset % (4 * page) == first * page && *at == 0));
            *at = 1;
        }
        assert_in_range(again, 60, MANY - 1);
    }
}

/* ---- purging ---- */

enum { PAGES = 12 };

/* Pages 1, 4 and 5, and 9 are gone, and no other: what is asked for reaches beyond them by a part of a page. */
static void purge_some(unsigned n)
{
    const size_t page = os_page_size();
    unsigned char *region = os_map(PAGES * page, false);
    memset(region, 1, PAGES * page);
    struct os_range ranges[] = {
        {region + 1, region + 2 * page + 1},
        {region + 4 * page, region + 6 * page},
        {region + 7 * page + 1, region + 8 * page - 1}, /* no whole page */
        {region + 9 * page, region + 11 * page - 1},
    };
    os_purge(ranges, n, false);
    for (unsigned i = 0; i < n; i++)
        assert_ptr_equal(ranges[i].from, ranges[i].to); /* all of it went */
    for (size_t i = 0; i < PAGES; i++) {
        const bool gone = i == 1 || (n > 1 && (i == 4 || i == 5)) || (n > 3 && i == 9);
        assert_int_equal(is_resident(region + i * page), !gone);
        assert_true(gone || region[i * page] == 1);
    }
    os_unmap(region, PAGES * page);
}

static void many_ranges_are_purged_in_one_call(void **state)
{
    (void)state;
    begin();
    purge_some(4);
    assert_int_equal(together, 1);
    assert_int_equal(advices, 0);
    purge_some(1); /* for one it is not worth it */
    assert_int_equal(together, 1);
    assert_int_equal(advices, 1);
}

/* Part of it done, or none for a reason that passes: then one by one, and the next time together again. */
static void ranges_that_a_call_left_are_purged_one_by_one(void **state)
{
    (void)state;
    for (size_t done = 0; done < 3; done++) {
        begin();
        does_first = done;
        purge_some(4);
        assert_int_equal(together, 1);
        assert_int_equal(advices, 3);
    }
    begin();
    refusal = EINTR;
    purge_some(4);
    purge_some(4);
    assert_int_equal(together, 2);
    assert_int_equal(advices, 6);
}

/* Locked memory takes another advice, alone or many together. */
static void locked_memory_goes_as_well(void **state)
{
    (void)state;
    begin();
    locked = true;
    purge_some(4);
    assert_int_equal(together, 2);
    assert_int_equal(advices, 0);
    purge_some(1);
    assert_int_equal(together, 2);
    assert_int_equal(advices, 2);
}

/* Of an older kernel it does not, and that is told. */
static void what_stays_is_told(void **state)
{
    (void)state;
    const size_t page = os_page_size();
    begin();
    unsigned char *region = os_map(PAGES * page, false);
    memset(region, 1, PAGES * page);
    struct os_range ranges[] = {{region + 1, region + 3 * page}, {region + 4 * page, region + 4 * page + 100}};
    no_advice = true;
    os_purge(ranges, 2, false);
    assert_ptr_equal(ranges[0].from, region + 1);
    assert_ptr_equal(ranges[0].to, region + 3 * page);
    assert_ptr_equal(ranges[1].from, ranges[1].to); /* no whole page */
    assert_true(is_resident(region + page));
    os_unmap(region, PAGES * page);
}

static int purge_refused(void *arg)
{
    begin();
    refusal = *(const int *)arg;
    purge_some(4);
    if (together != 1 || advices != 3)
        return 1;
    refusal = 0;
    purge_some(4);
    return together == 1 && advices == 6 ? 0 : 2;
}

/* A kernel without it, or a filter, is not asked again. */
static void a_call_that_the_kernel_refused_is_not_made_again(void **state)
{
    (void)state;
    static const int refusals[] = {ENOSYS, EBADF, EPERM, EACCES};
    for (size_t i = 0; i < 4; i++) {
        int error = refusals[i];
        assert_int_equal(run_in_child(purge_refused, &error, 60), 0);
    }
}

static void memory_is_read_in_another_way_under_memcheck(void **state)
{
    (void)state;
#if SANITIZER_MEMCHECK && MODES_BUILT
    unsigned char here = 0;
    const uintptr_t before = load_relaxed(&modes);
    store_relaxed(&modes, before | MODE_MEMCHECK);
    const bool can = os_can_read((uintptr_t)&here);
    store_relaxed(&modes, before);
    assert_true(can);
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mapping_is_cut_to_the_alignment_of_huge_pages),
        cmocka_unit_test(others_are_for_small_pages),
        cmocka_unit_test(memory_is_read_in_another_way_under_memcheck),
        cmocka_unit_test(a_range_that_cannot_be_unmapped_gives_its_memory_back),
        cmocka_unit_test(what_cannot_be_unmapped_is_used_again),
        cmocka_unit_test(many_that_cannot_be_unmapped_do_no_harm),
        cmocka_unit_test(many_ranges_are_purged_in_one_call),
        cmocka_unit_test(ranges_that_a_call_left_are_purged_one_by_one),
        cmocka_unit_test(huge_pages_are_asked_for_where_whole_ones_fit),
        cmocka_unit_test(a_call_that_the_kernel_refused_is_not_made_again),
        cmocka_unit_test(locked_memory_goes_as_well),
        cmocka_unit_test(what_stays_is_told),
    };
    return cmocka_run_group_tests_name("os", tests, NULL, NULL);
}
