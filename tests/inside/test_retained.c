/* SPDX-License-Identifier: MIT
 *
 * test_retained.c - blocks above 256 KiB have mappings of their own, which grow by moving, and some of which are
 * retained
 *
 * The tests count the calls of os.c, and ask the kernel whether memory is mapped (mincore).
 */
#include "support/blocks.h"

#include "heap/block.h"
#include "heap/heap.h"
#include "heap/large.h"
#include "heap/os.h"

#include <sys/mman.h>

#define KIB       ((size_t)1024)
#define MIB       ((size_t)1024 * 1024)
#define LIMIT     MIB
#define TABLE_MAX (64 * KIB) /* what is mapped for descriptors is less */

enum { BASE = 32 * 1024, STRIDE = BASE + 64 };

static size_t maps, unmaps, moves;

void *__real_os_map(size_t n, bool huge);
void *__wrap_os_map(size_t n, bool huge);
void *__wrap_os_map(size_t n, bool huge)
{
    maps += n > TABLE_MAX;
    return __real_os_map(n, huge);
}

void __real_os_unmap(void *region, size_t bytes);
void __wrap_os_unmap(void *region, size_t bytes);
void __wrap_os_unmap(void *region, size_t bytes)
{
    unmaps++;
    __real_os_unmap(region, bytes);
}

void *__real_os_grow(void *region, size_t bytes, size_t new_bytes);
void *__wrap_os_grow(void *region, size_t bytes, size_t new_bytes);
void *__wrap_os_grow(void *region, size_t bytes, size_t new_bytes)
{
    moves++;
    return __real_os_grow(region, bytes, new_bytes);
}

static void count_from_here(void)
{
    maps = unmaps = moves = 0;
}

static void heap_init(struct heap *heap, size_t base)
{
    memset(heap, 0, sizeof(*heap));
    heap->base = base;
    heap->alignment = 64;
    pthread_mutex_init(&heap->slabs.lock, NULL);
}

static size_t mapped(size_t cap)
{
    return os_mapped(64 + cap, false);
}

static bool is_mapped(unsigned char *page)
{
    unsigned char in_core;
    return mincore(page, 1, &in_core) == 0;
}

/* A buffer that grew by doubling until it has that cap. Its last bytes say so. */
static struct desc *grown(struct heap *heap, size_t cap)
{
    struct desc *d = test_heap_alloc(heap);
    assert_non_null(d);
    while (d->pub.cap < cap) {
        size_t before = d->pub.cap;
        test_fill(d->pub.data, before, before);
        assert_int_equal(heap_grow(heap, d, before + 1, before, 0), 0);
        assert_true(test_filled(d->pub.data, before, before));
        assert_true(block_intact(heap, d));
    }
    assert_int_equal(d->pub.cap, cap);
    return d;
}

/* ---- the list ---- */

/* The mapping of a block of `cap` bytes, at an address that is never touched. */
static struct block block_at(size_t number, size_t cap)
{
    return (struct block){(unsigned char *)(number << 12) + 64, cap, NULL};
}

static void the_newest_of_the_right_size_is_taken(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    struct block block = {NULL, MIB, NULL};
    assert_false(large_take_retained(&heap, &block));
    for (size_t i = 0; i < 4; i++) {
        const struct block freed = block_at(1 + i, i % 2 == 0 ? MIB : 2 * MIB);
        assert_int_equal(large_retain(&heap, &freed, mapped(freed.cap)), mapped(freed.cap));
    }
    assert_int_equal(heap.slabs.retained.bytes, 2 * mapped(MIB) + 2 * mapped(2 * MIB));
    static const struct {
        size_t cap, number; /* 0: none */
    } takes[] = {{3 * MIB, 0}, {MIB, 3}, {2 * MIB, 4}, {2 * MIB, 2}, {2 * MIB, 0}, {MIB, 1}, {MIB, 0}};
    for (size_t i = 0; i < sizeof takes / sizeof takes[0]; i++) {
        block = (struct block){NULL, takes[i].cap, NULL};
        assert_int_equal(large_take_retained(&heap, &block), takes[i].number > 0);
        assert_ptr_equal(block.data, takes[i].number > 0 ? block_at(takes[i].number, 0).data : NULL);
    }
    assert_int_equal(heap.slabs.retained.bytes, 0);
    assert_int_equal(heap.slabs.retained.n, 0);
    heap_destroy(&heap);
}

static void the_oldest_mappings_are_unmapped_first(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    struct slabs *slabs = &heap.slabs;
    struct os_range taken[RETAINED_MAX];
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < RETAINED_MAX; i++) {
            const struct block freed = block_at(1 + i, MIB);
            assert_int_equal(large_retain(&heap, &freed, mapped(MIB)), mapped(MIB));
        }
        const struct block freed = block_at(100, MIB);
        assert_int_equal(large_retain(&heap, &freed, SIZE_MAX), 0);
        assert_int_equal(large_evict(slabs, mapped(MIB) + 1, taken), 2);
        for (size_t i = 0; i < 2; i++) {
            assert_ptr_equal(taken[i].from, block_at(1 + i, 0).data - 64);
            assert_ptr_equal(taken[i].to, taken[i].from + mapped(MIB));
        }
        assert_int_equal(slabs->retained.bytes, (RETAINED_MAX - 2) * mapped(MIB));
        assert_int_equal(large_retain(&heap, &freed, SIZE_MAX), mapped(MIB));
        assert_int_equal(large_evict(slabs, SIZE_MAX, taken), RETAINED_MAX - 1);
        assert_ptr_equal(taken[0].from, block_at(3, 0).data - 64);
        assert_ptr_equal(taken[RETAINED_MAX - 2].from, freed.data - 64);
        assert_int_equal(large_evict(slabs, SIZE_MAX, taken), 0);
        assert_int_equal(slabs->retained.bytes, 0);
    }
    heap_destroy(&heap);
}

static void as_much_is_retained_as_there_is_room_for(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    struct os_range taken[RETAINED_MAX];
    const struct block grown = block_at(1, 2 * MIB), first = block_at(2, BASE);
    assert_int_equal(large_retain(&heap, &grown, mapped(512 * KIB) - 1), 0);
    assert_int_equal(large_retain(&heap, &grown, mapped(512 * KIB)), mapped(512 * KIB));
    assert_int_equal(large_retain(&heap, &grown, mapped(2 * MIB) - 1), mapped(MIB));
    assert_int_equal(large_retain(&heap, &first, mapped(BASE) - 1), 0);
    assert_int_equal(large_evict(&heap.slabs, SIZE_MAX, taken), 2);
    heap_destroy(&heap);
}

static void a_smaller_block_is_the_beginning_of_the_smallest_that_is_larger(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    static const size_t caps[] = {4 * MIB, 2 * MIB, 3 * MIB};
    for (size_t i = 0; i < 3; i++) {
        const struct block freed = block_at(10000 * (i + 1), caps[i]);
        assert_int_equal(large_retain(&heap, &freed, SIZE_MAX), mapped(caps[i]));
    }
    const size_t all = heap.slabs.retained.bytes;
    struct block block = {NULL, MIB, NULL};
    assert_true(large_take_retained(&heap, &block));
    assert_ptr_equal(block.data, block_at(20000, 0).data);
    assert_int_equal(heap.slabs.retained.bytes, all - mapped(MIB));
    assert_int_equal(large_retain(&heap, &block, SIZE_MAX), mapped(MIB)); /* it is whole again */
    assert_int_equal(heap.slabs.retained.bytes, all);
    assert_int_equal(heap.slabs.retained.n, 3);
    block.cap = 2 * MIB;
    assert_true(large_take_retained(&heap, &block));
    assert_ptr_equal(block.data, block_at(20000, 0).data);
    assert_int_equal(heap.slabs.retained.n, 2);
    heap.slabs.retained.n = 0;
    heap_destroy(&heap);
}

/* ---- the heap on top ---- */

static void growth_goes_on_in_the_mapping_of_the_last_one(void **state)
{
    enum { SPARE = 8 << 20 };
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    unsigned char *at = NULL;
    for (unsigned round = 0; round < 4; round++) {
        count_from_here();
        struct desc *d = test_heap_alloc(&heap);
        assert_non_null(d);
        while (d->pub.cap < 2 * MIB) {
            const size_t before = d->pub.cap;
            test_fill(d->pub.data, before, before + round);
            assert_int_equal(heap_grow(&heap, d, before + 1, before, SPARE), 0);
            assert_true(test_filled(d->pub.data, before, before + round));
            assert_true(block_intact(&heap, d));
        }
        test_fill(d->pub.data, d->pub.cap, round);
        if (round > 0) {
            assert_ptr_equal(d->pub.data, at);
            assert_int_equal(maps + unmaps + moves, 0);
        }
        at = d->pub.data;
        test_heap_free(&heap, d, false, SPARE);
        assert_int_equal(heap.slabs.retained.n, 1);
        assert_int_equal(heap.slabs.retained.bytes, mapped(2 * MIB));
    }
    heap_destroy(&heap);
}

static void large_blocks_grow_without_copying(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    struct desc *d = grown(&heap, 256 * KIB);
    assert_non_null(d->slab);
    count_from_here();
    test_heap_free(&heap, d, false, 0);
    d = grown(&heap, 2 * MIB);
    assert_null(d->slab);
    assert_int_equal(maps, 1);
    assert_int_equal(moves, 2);
    test_heap_free(&heap, d, false, 0);
    heap_destroy(&heap);
}

static void a_dropped_block_leaves_what_may_be_dirty(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    unsigned char *retained = NULL;
    for (unsigned round = 0; round < 4; round++) {
        count_from_here();
        struct desc *d = grown(&heap, 2 * MIB);
        memset(d->pub.data, 1, d->pub.cap);
        unsigned char *at = d->pub.data - 64;
        test_heap_free(&heap, d, false, 0);
        assert_int_equal(heap.slabs.retained.n, 1);
        assert_int_equal(heap.slabs.retained.bytes, mapped(512 * KIB));
        assert_in_range(heap.slabs.retained.bytes + heap.slabs.dirty_bytes, 0, LIMIT);
        assert_true(is_mapped(at));
        assert_false(is_mapped(at + mapped(512 * KIB)));
        if (round > 0) { /* the next one begins with it, and nothing is purged */
            assert_int_equal(maps, 0);
            assert_int_equal(unmaps, 1);
        }
        retained = at;
    }
    heap_purge(&heap);
    assert_int_equal(heap.slabs.retained.bytes, 0);
    assert_false(is_mapped(retained));
    heap_free(&heap, grown(&heap, 2 * MIB), false, 0);
    assert_int_equal(heap.slabs.retained.n, 1);
    heap_destroy(&heap);
}

/* Of more than there is room for in the list, the newest stay. */
static void a_full_list_makes_room_for_the_newest(void **state)
{
    enum { MANY = RETAINED_MAX + 3 };
    (void)state;
    struct heap heap;
    heap_init(&heap, 3 * MIB);
    struct desc *freed[MANY];
    for (unsigned i = 0; i < MANY; i++)
        assert_non_null(freed[i] = test_heap_alloc(&heap));
    unsigned char *data[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        data[i] = freed[i]->pub.data;
        test_heap_free(&heap, freed[i], false, SIZE_MAX);
    }
    assert_int_equal(heap.slabs.retained.n, RETAINED_MAX);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(is_mapped(data[i] - 64), i >= MANY - RETAINED_MAX);
    for (unsigned i = MANY; i-- > MANY - RETAINED_MAX;)
        assert_ptr_equal(test_heap_alloc(&heap)->pub.data, data[i]);
    heap_destroy(&heap);
}

static void a_block_whose_purge_is_deferred_leaves_nothing(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    test_heap_free(&heap, grown(&heap, MIB), true, 0);
    assert_int_equal(heap.slabs.retained.n, 0);
    test_heap_free(&heap, grown(&heap, MIB), false, 0);
    heap_destroy(&heap);
}

static void growth_copies_into_a_retained_mapping_rather_than_moving(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    struct desc *other = grown(&heap, MIB), *d = grown(&heap, 512 * KIB);
    test_heap_free(&heap, other, false, 4 * MIB); /* more than a mebibyte may be dirty */
    assert_int_equal(heap.slabs.retained.bytes, mapped(MIB));
    count_from_here();
    test_fill(d->pub.data, d->pub.cap, 3);
    assert_int_equal(heap_grow(&heap, d, MIB, 512 * KIB, 4 * MIB), 0);
    assert_true(test_filled(d->pub.data, 512 * KIB, 3));
    assert_true(block_intact(&heap, d));
    assert_int_equal(moves + maps + unmaps, 0);
    assert_int_equal(heap.slabs.retained.bytes, mapped(512 * KIB)); /* the one it had */
    test_heap_free(&heap, d, false, 0);
    assert_in_range(heap.slabs.retained.bytes + heap.slabs.dirty_bytes, 0, LIMIT);
    heap_destroy(&heap);
}

/* Also where the buffer has it from the start. What is spare is what is held, so half of the buffers may stay. */
static void mappings_of_buffers_beyond_the_cap_come_and_go(void **state)
{
    enum { HELD = 6 };
    (void)state;
    struct heap heap;
    heap_init(&heap, 3 * MIB);
    struct desc *d[HELD];
    for (unsigned round = 0; round < 3; round++) {
        count_from_here();
        for (unsigned i = 0; i < HELD; i++) {
            d[i] = test_heap_alloc(&heap);
            assert_non_null(d[i]);
            assert_true(block_intact(&heap, d[i]));
        }
        for (unsigned turn = 0; turn < 20; turn++) { /* half of them at once */
            for (unsigned i = 0; i < HELD / 2; i++)
                test_heap_free(&heap, d[i], false, (HELD - i) * mapped(3 * MIB));
            assert_int_equal(heap.slabs.retained.bytes, HELD / 2 * mapped(3 * MIB));
            for (unsigned i = 0; i < HELD / 2; i++)
                assert_non_null(d[i] = test_heap_alloc(&heap));
        }
        assert_int_equal(maps, HELD);
        assert_int_equal(unmaps, 0);
        for (unsigned i = 0; i < HELD; i++) {
            test_heap_free(&heap, d[i], false, (HELD - i) * 3 * MIB);
            assert_in_range(heap.slabs.retained.bytes, 0, (HELD - 1 - i) * 3 * MIB);
        }
        assert_int_equal(heap.slabs.retained.n, 0);
    }
    heap_destroy(&heap);
}

static void a_retained_mapping_is_wiped(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    heap.wipe = true;
    struct desc *d = grown(&heap, 2 * MIB);
    memset(d->pub.data, 0x5a, d->pub.cap);
    test_heap_free(&heap, d, false, 0);
    assert_int_equal(heap.slabs.retained.n, 1);
    const struct os_range *retained = heap.slabs.retained.mapping;
    if (sanitizer_on()) /* as the library would */
        sanitizer_open(retained->from, (size_t)(retained->to - retained->from));
    for (unsigned char *at = retained->from + 64; at < retained->to; at++)
        assert_int_equal(*at, 0);
    unsigned char *from = retained->from;
    heap_destroy(&heap);
    assert_false(is_mapped(from));
}

static void a_mapping_shrinks_in_its_place(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    struct desc *d = grown(&heap, MIB);
    test_heap_free(&heap, grown(&heap, 512 * KIB), false, 0);
    assert_int_equal(heap.slabs.retained.bytes, mapped(512 * KIB)); /* would fit too */
    unsigned char *at = d->pub.data - 64;
    assert_true(test_heap_shrink(&heap, d, 512 * KIB, 0));
    assert_ptr_equal(d->pub.data - 64, at);
    assert_true(block_intact(&heap, d));
    assert_int_equal(d->pub.cap, 512 * KIB);
    assert_false(is_mapped(at + mapped(512 * KIB)));
    assert_true(test_heap_shrink(&heap, d, BASE, 0));
    assert_non_null(d->slab);
    test_heap_free(&heap, d, false, 0);
    heap_destroy(&heap);
}

static void with_huge_pages_a_megabyte_is_no_mapping(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    heap.slabs.huge = true;
    struct desc *d = grown(&heap, MIB);
    assert_non_null(d->slab);
    test_heap_free(&heap, d, false, 0);
    heap_destroy(&heap);
}

/* Whatever comes and goes, what nobody holds is within the limit: dirty slots and retained mappings. About half of
 * the buffers are beyond the cap. */
static void all_dirty_memory_is_within_the_limit(void **state)
{
    enum { HELD = 24 };
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    struct desc *held[HELD] = {NULL};
    bool beyond[HELD] = {false};
    size_t spare = 0;
    test_random_t random = {11};
    const size_t turns = test_scale(20000, 500);
    for (size_t turn = 0; turn < turns; turn++) {
        size_t i = test_random_below(&random, HELD);
        if (turn > turns / 2 && turn % 1000 < 300 && held[i] == NULL)
            continue; /* ebb */
        if (held[i] == NULL) {
            beyond[i] = test_random_below(&random, 2) == 0;
            spare += beyond[i] ? 512 * KIB : 0;
            held[i] = test_heap_alloc(&heap);
            assert_non_null(held[i]);
        } else if (test_random_below(&random, 2) == 0 && held[i]->pub.cap <= 2 * MIB) {
            assert_int_equal(heap_grow(&heap, held[i], held[i]->pub.cap + 1, 64, spare), 0);
        } else if (held[i]->pub.cap > BASE && test_random_below(&random, 3) == 0) {
            assert_true(test_heap_shrink(&heap, held[i], held[i]->pub.cap > MIB ? 512 * KIB : BASE, spare));
        } else {
            spare -= beyond[i] ? 512 * KIB : 0;
            test_heap_free(&heap, held[i], false, spare + BASE);
            held[i] = NULL;
        }
        assert_in_range(heap.slabs.dirty_bytes + heap.slabs.retained.bytes, 0, spare > LIMIT ? spare : LIMIT);
    }
    for (unsigned i = 0; i < HELD; i++)
        if (held[i] != NULL)
            test_heap_free(&heap, held[i], false, 0);
    heap_purge(&heap);
    assert_int_equal(heap.slabs.retained.bytes, 0);
    assert_null(heap.slabs.spans);
    heap_destroy(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_of_the_right_size_is_taken),
        cmocka_unit_test(the_oldest_mappings_are_unmapped_first),
        cmocka_unit_test(as_much_is_retained_as_there_is_room_for),
        cmocka_unit_test(a_smaller_block_is_the_beginning_of_the_smallest_that_is_larger),
        cmocka_unit_test(growth_goes_on_in_the_mapping_of_the_last_one),
        cmocka_unit_test(a_full_list_makes_room_for_the_newest),
        cmocka_unit_test(large_blocks_grow_without_copying),
        cmocka_unit_test(a_dropped_block_leaves_what_may_be_dirty),
        cmocka_unit_test(a_block_whose_purge_is_deferred_leaves_nothing),
        cmocka_unit_test(growth_copies_into_a_retained_mapping_rather_than_moving),
        cmocka_unit_test(mappings_of_buffers_beyond_the_cap_come_and_go),
        cmocka_unit_test(a_retained_mapping_is_wiped),
        cmocka_unit_test(a_mapping_shrinks_in_its_place),
        cmocka_unit_test(with_huge_pages_a_megabyte_is_no_mapping),
        cmocka_unit_test(all_dirty_memory_is_within_the_limit),
    };
    return cmocka_run_group_tests_name("retained", tests, NULL, NULL);
}
