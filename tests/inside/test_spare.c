/* SPDX-License-Identifier: MIT
 *
 * test_spare.c - a pool takes over the mappings of one that has ended, and nothing of what was in them
 *
 * The linker's --wrap replaces mmap, munmap, madvise and mincore, and so counts them, and simulates locked pages. Where
 * AddressSanitizer, memcheck or a debug mode watches accesses to memory, nothing is kept.
 */
#include "support/laws.h"

#include "debug/sanitizer.h"
#include "heap/os.h"
#include "heap/spare.h"
#include "support/inside.h"

#include <sys/mman.h>
#include <unistd.h>

enum { CAP = 32 * 1024, ENDED = 32 /* pools whose descriptors stay readable (registry.c) */, THREADS = 8 };

#define SPAN ((size_t)256 * 1024) /* a heap's first */

static struct {
    _Atomic(size_t) maps, unmaps, discards, other; /* other: advices, and questions about pages */
} calls;
static _Atomic(bool) locked; /* pages of a span are */
static _Atomic(const void *) last_span;
static _Atomic(const void *) watched; /* a mapping that is to be unmapped before the process ends */

void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    calls.maps++;
    void *region = __real_mmap(at, size, protection, flags, fd, offset);
    if (size == SPAN)
        last_span = region;
    return region;
}

int __real_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size)
{
    calls.unmaps++;
    if (at == watched)
        watched = NULL;
    return __real_munmap(at, size);
}

int __real_madvise(void *at, size_t size, int what);
int __wrap_madvise(void *at, size_t size, int what);
int __wrap_madvise(void *at, size_t size, int what)
{
    if (what != MADV_DONTNEED) {
        calls.other++;
        return __real_madvise(at, size, what);
    }
    calls.discards++;
    if (locked && size >= SPAN) {
        errno = EINVAL;
        return -1;
    }
    return __real_madvise(at, size, what);
}

int __real_mincore(void *at, size_t size, unsigned char *resident);
int __wrap_mincore(void *at, size_t size, unsigned char *resident);
int __wrap_mincore(void *at, size_t size, unsigned char *resident)
{
    calls.other++;
    return __real_mincore(at, size, resident);
}

static void forget_calls(void)
{
    calls.maps = calls.unmaps = calls.discards = calls.other = 0;
}

static bufferpool_t *create(size_t cap, unsigned flags)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = cap;
    config.flags = flags;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static bufferpool_buf_t *get(bufferpool_t *pool)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_non_null(buf);
    return buf;
}

static void end(bufferpool_t *pool, bufferpool_buf_t *buf)
{
    bufferpool_put(buf);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* Returns where its buffer was. */
static const unsigned char *use_once(size_t cap, unsigned flags)
{
    bufferpool_t *pool = create(cap, flags);
    bufferpool_buf_t *buf = get(pool);
    const unsigned char *data = buf->data;
    memset(buf->data, 0xa5, buf->cap);
    end(pool, buf);
    return data;
}

/* So many pools that the table of one of them is kept, and a span. */
static void fill(void)
{
    for (int i = 0; i <= ENDED; i++)
        use_once(CAP, 0);
}

/* ---- what it saves ---- */

static void a_pool_used_once_maps_nothing_after_others_have_ended(void **state)
{
    (void)state;
    fill();
    forget_calls();
    for (int i = 0; i < 100; i++)
        use_once(CAP, 0);
    assert_int_equal(calls.maps, 0);
    assert_int_equal(calls.unmaps, 0);
    assert_int_equal(calls.other, 0);
    assert_true(calls.discards <= 300); /* of the span, and of the table: at its pool's end and when it is kept */
}

/* ---- what it must not do ---- */

static void is_zero(const bufferpool_buf_t *buf)
{
    for (size_t i = 0; i < buf->cap; i++)
        assert_int_equal(buf->data[i], 0);
}

static void no_byte_of_one_pool_is_seen_in_the_next(void **state)
{
    (void)state;
    fill();
    for (unsigned i = 0; i < 64; i++) { /* pools of different colours: their first slots differ */
        const unsigned char *data = use_once(CAP, 0);
        forget_calls();
        bufferpool_t *pool = create(CAP, i % 2 != 0 ? BUFFERPOOL_ZERO : 0);
        bufferpool_buf_t *buf = get(pool);
        assert_int_equal(calls.maps, 0);
        assert_true(buf->data < data + SPAN && data < buf->data + SPAN); /* the same span */
        bufferpool_buf_t *next = get(pool);
        is_zero(buf);
        is_zero(next);
        bufferpool_put(next);
        end(pool, buf);
    }
}

static void what_is_kept_takes_no_memory(void **state)
{
    (void)state;
    const uintptr_t page = os_page_size();
    unsigned char *data = (unsigned char *)((uintptr_t)use_once(CAP, 0) & ~(page - 1));
    for (size_t at = 0; at < CAP; at += page) {
        unsigned char resident = 1;
        assert_int_equal(__real_mincore(data + at, page, &resident), 0); /* it is mapped */
        assert_int_equal(resident & 1, 0);
    }
}

static void locked_pages_are_unmapped(void **state)
{
    (void)state;
    use_once(CAP, 0);
    bufferpool_t *pool = create(CAP, 0);
    bufferpool_buf_t *buf = get(pool);
    locked = true;
    forget_calls();
    end(pool, buf);
    locked = false;
    assert_int_equal(calls.unmaps, 1);
    forget_calls();
    use_once(CAP, 0);
    assert_int_equal(calls.maps, 1);
}

/* ---- sizes ---- */

static void a_span_of_another_size_takes_the_place(void **state)
{
    (void)state;
    enum { LARGER = 100 * 1024 };
    use_once(CAP, 0);
    forget_calls();
    use_once(LARGER, 0);
    assert_int_equal(calls.maps, 1);
    assert_int_equal(calls.unmaps, 1); /* the other one */
    forget_calls();
    use_once(LARGER, 0);
    assert_int_equal(calls.maps, 0);
    assert_int_equal(calls.unmaps, 0);
}

static void neither_large_spans_nor_huge_pages_are_kept(void **state)
{
    (void)state;
    use_once(CAP, 0);
    forget_calls();
    use_once(SPARE_BYTES_MAX / 4, 0); /* four slots and their prefixes */
    use_once(CAP, BUFFERPOOL_HUGEPAGES);
    assert_true(calls.unmaps >= 2);
    forget_calls();
    use_once(CAP, 0); /* what was kept is there still */
    assert_int_equal(calls.maps, 0);
}

/* Of many spans of a heap the one that a next heap begins with. */
static void of_a_large_heap_the_first_span_is_kept(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    static bufferpool_buf_t *bufs[MANY];
    bufferpool_t *pool = create(CAP, 0);
    for (int i = 0; i < MANY; i++)
        bufs[i] = get(pool);
    bufferpool_put_bulk(bufs, MANY);
    assert_int_equal(bufferpool_destroy(pool), 0);
    forget_calls();
    use_once(CAP, 0);
    assert_int_equal(calls.maps, 0);
}

/* ---- who else uses it ---- */

static int use_in_child(void *unused)
{
    (void)unused;
    forget_calls();
    use_once(CAP, BUFFERPOOL_ZERO);
    return calls.maps == 0 ? 0 : 1;
}

static void parent_and_child_of_fork_each_have_theirs(void **state)
{
    (void)state;
    fill();
    assert_int_equal(run_in_child(use_in_child, NULL, 20), 0);
    forget_calls();
    use_once(CAP, 0);
    assert_int_equal(calls.maps, 0);
}

static void make_and_compare(void *unused, unsigned index)
{
    (void)unused;
    for (int i = 0; i < 200; i++) {
        bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
        config.buffer_capacity = CAP;
        bufferpool_t *pool = bufferpool_create(&config);
        bufferpool_buf_t *buf = pool != NULL ? bufferpool_get(pool) : NULL;
        if (!thread_check(buf != NULL) || buf == NULL)
            return;
        memset(buf->data, (int)index + 1, buf->cap);
        if (i % 8 == 0)
            sched_yield();
        thread_check(memcmp(buf->data, buf->data + 1, buf->cap - 1) == 0 && buf->data[0] == index + 1);
        bufferpool_put(buf);
        thread_check(bufferpool_destroy(pool) == 0);
    }
}

static void no_two_pools_get_the_same_mapping(void **state)
{
    (void)state;
    run_threads(THREADS, make_and_compare, NULL);
}

/* ---- where accesses are watched, and the end ---- */

static void end_a_watched_pool(void *unused)
{
    (void)unused;
    const unsigned char *data = use_once(CAP, 0);
    unsigned char resident;
    modes_check(__real_mincore((void *)((uintptr_t)data & ~(uintptr_t)(os_page_size() - 1)), 1, &resident) != 0);
    forget_calls();
    use_once(CAP, 0);
    modes_check(calls.maps >= 2 && calls.unmaps >= 1);
}

static void under_a_debug_mode_accesses_to_an_ended_pool_still_fault(void **state)
{
    (void)state;
    assert_int_equal(run_with_modes("poison", end_a_watched_pool, NULL)->status, 0);
}

/* Runs after the library's destructor, which has none of the first priorities. */
__attribute__((destructor(101))) static void look_at_the_end(void)
{
    if (watched != NULL)
        _exit(7);
}

static int end_process(void *unused)
{
    (void)unused;
    use_once(2 * (size_t)CAP, 0); /* a span of another size takes the place of the one that is kept */
    use_once(CAP, 0);
    watched = last_span;
    exit(0);
}

static void the_end_of_a_process_or_a_plug_in_unmaps_what_is_kept(void **state)
{
    (void)state;
    assert_int_equal(run_in_child(end_process, NULL, 20), 0);
}

/* Last: from then on nothing is kept. */
static void at_the_end_of_the_library_nothing_is_left(void **state)
{
    (void)state;
    fill();
    forget_calls();
    spare_end();
    assert_int_equal(calls.unmaps, 2); /* a span and a table */
    forget_calls();
    use_once(CAP, 0);
    use_once(CAP, 0);
    assert_int_equal(calls.maps, 4);
    assert_int_equal(calls.unmaps, 4); /* two spans, and the tables of two pools that ended before */
    spare_end();
    assert_int_equal(calls.unmaps, 4);
}

int main(void)
{
    const struct CMUnitTest everywhere[] = {
        cmocka_unit_test(under_a_debug_mode_accesses_to_an_ended_pool_still_fault), /* first: modes are read once */
        cmocka_unit_test(no_two_pools_get_the_same_mapping),
    };
    const struct CMUnitTest unwatched[] = {
        cmocka_unit_test(a_pool_used_once_maps_nothing_after_others_have_ended),
        cmocka_unit_test(no_byte_of_one_pool_is_seen_in_the_next),
        cmocka_unit_test(what_is_kept_takes_no_memory),
        cmocka_unit_test(locked_pages_are_unmapped),
        cmocka_unit_test(a_span_of_another_size_takes_the_place),
        cmocka_unit_test(neither_large_spans_nor_huge_pages_are_kept),
        cmocka_unit_test(of_a_large_heap_the_first_span_is_kept),
        cmocka_unit_test(parent_and_child_of_fork_each_have_theirs),
        cmocka_unit_test(the_end_of_a_process_or_a_plug_in_unmaps_what_is_kept),
        cmocka_unit_test(at_the_end_of_the_library_nothing_is_left),
    };
    const int failed = cmocka_run_group_tests(everywhere, NULL, NULL);
    if (failed != 0 || steps_are_watched())
        return failed;
    return cmocka_run_group_tests(unwatched, NULL, NULL);
}
