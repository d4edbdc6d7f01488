/* SPDX-License-Identifier: MIT
 *
 * test_retained.c - blocks above 256 KiB have mappings of their own, which grow by moving and of which some memory is kept
 *
 * Calls of os.c are counted, and malloc can be told to fail; whether memory is mapped is asked of the kernel
 * (mincore).
 */
#include "support/blocks.h"

#include "heap/block.h"
#include "heap/os.h"

#include <sys/mman.h>

#define KIB   ((size_t)1024)
#define MIB   ((size_t)1024 * 1024)
#define LIMIT MIB

enum { BASE = 32 * 1024, STRIDE = BASE + 64 };

static size_t maps, unmaps, moves;

void *__real_os_map(size_t n, bool huge);
void *__wrap_os_map(size_t n, bool huge);
void *__wrap_os_map(size_t n, bool huge)
{
    maps++;
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

static bool no_memory;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    return no_memory ? NULL : __real_malloc(size);
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
static struct desc *grown(struct heap *heap, size_t cap, bool brief)
{
    struct desc *d = test_heap_alloc(heap, brief);
    assert_non_null(d);
    while (d->pub.cap < cap) {
        size_t before = d->pub.cap;
        test_fill(d->pub.data, before, before);
        assert_int_equal(heap_grow(heap, d, before + 1, before), 0);
        assert_true(test_filled(d->pub.data, before, before));
        assert_true(block_intact(heap, d));
    }
    assert_int_equal(d->pub.cap, cap);
    return d;
}

/* ---- the ring ---- */

static unsigned char *const memory = (unsigned char *)16; /* never touched */

static void one_of_the_same_size_is_taken(void **state)
{
    (void)state;
    struct retained kept = {0};
    assert_null(retained_take(&kept, 4096));
    for (size_t i = 0; i < 4; i++)
        assert_true(retained_add(&kept, memory + i, i % 2 == 0 ? 4096 : 8192));
    assert_int_equal(kept.bytes, 2 * 4096 + 2 * 8192);
    assert_null(retained_take(&kept, 6000));
    assert_ptr_equal(retained_take(&kept, 4096), memory + 2); /* the newest */
    assert_ptr_equal(retained_take(&kept, 8192), memory + 3);
    assert_ptr_equal(retained_take(&kept, 8192), memory + 1);
    assert_null(retained_take(&kept, 8192));
    assert_ptr_equal(retained_take(&kept, 4096), memory);
    assert_int_equal(kept.bytes, 0);
    assert_int_equal(kept.n, 0);
    free(retained_take_ring(&kept));
}

static void the_oldest_go_first(void **state)
{
    (void)state;
    struct retained kept = {0};
    struct os_range taken[RETAINED_BATCH];
    for (size_t round = 0; round < 3; round++) { /* around the ring */
        for (size_t i = 0; i < RETAINED_MAX; i++)
            assert_true(retained_add(&kept, memory + i, 100 + i));
        assert_false(retained_add(&kept, memory, 1));
        assert_int_equal(retained_take_oldest(&kept, 201, taken), 2);
        assert_ptr_equal(taken[0].from, memory);
        assert_ptr_equal(taken[1].from, memory + 1);
        assert_ptr_equal(taken[1].to, memory + 1 + 101);
        assert_true(retained_add(&kept, memory, 7));
        size_t left = RETAINED_MAX - 1;
        for (unsigned n; (n = retained_take_oldest(&kept, SIZE_MAX, taken)) > 0; left -= n)
            assert_true(n <= left);
        assert_int_equal(left, 0);
        assert_int_equal(kept.bytes, 0);
        assert_true(retained_add(&kept, memory, 1)); /* so that each round begins elsewhere */
        assert_int_equal(retained_take_oldest(&kept, 1, taken), 1);
    }
    free(retained_take_ring(&kept));
}

static void the_ring_is_there_while_it_is_needed(void **state)
{
    (void)state;
    struct retained kept = {0};
    assert_null(retained_take_ring(&kept));
    no_memory = true;
    assert_false(retained_add(&kept, memory, 4096));
    no_memory = false;
    assert_int_equal(kept.n, 0);
    assert_int_equal(kept.bytes, 0);
    for (unsigned round = 0; round < 2; round++) {
        assert_true(retained_add(&kept, memory, 4096));
        no_memory = true; /* one ring is enough */
        assert_true(retained_add(&kept, memory + 1, 4096));
        no_memory = false;
        assert_null(retained_take_ring(&kept)); /* something is in it */
        assert_ptr_equal(retained_take(&kept, 4096), memory + 1);
        assert_ptr_equal(retained_take(&kept, 4096), memory);
        struct os_range *ring = retained_take_ring(&kept);
        assert_non_null(ring);
        assert_null(retained_take_ring(&kept));
        free(ring);
    }
}

/* ---- the heap on top ---- */

static void large_blocks_grow_without_copying(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    struct desc *d = grown(&heap, 256 * KIB, false);
    assert_non_null(d->slab);
    count_from_here();
    test_heap_free(&heap, d, false);
    d = grown(&heap, 2 * MIB, false);
    assert_null(d->slab);
    assert_int_equal(maps, 1);
    assert_int_equal(moves, 2);
    test_heap_free(&heap, d, false);
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
        struct desc *d = grown(&heap, 2 * MIB, false);
        memset(d->pub.data, 1, d->pub.cap);
        unsigned char *at = d->pub.data - 64;
        test_heap_free(&heap, d, false);
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
    assert_null(heap.slabs.retained.ring);
    assert_false(is_mapped(retained));
    heap_free(&heap, grown(&heap, 2 * MIB, false), false);
    assert_int_equal(heap.slabs.retained.n, 1);
    heap_destroy(&heap);
}

static void without_memory_for_the_ring_nothing_is_kept(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    struct desc *d = grown(&heap, 512 * KIB, false);
    unsigned char *at = d->pub.data - 64;
    no_memory = true;
    heap_free(&heap, d, false);
    no_memory = false;
    assert_int_equal(heap.slabs.retained.bytes, 0);
    assert_false(is_mapped(at));
    heap_destroy(&heap);
}

static void a_deferred_one_leaves_nothing(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    test_heap_free(&heap, grown(&heap, MIB, false), true);
    assert_int_equal(heap.slabs.retained.n, 0);
    test_heap_free(&heap, grown(&heap, MIB, false), false);
    heap_destroy(&heap);
}

static void a_kept_mapping_is_better_than_to_move(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    struct desc *held[4]; /* so that more than a mebibyte may be dirty */
    for (unsigned i = 0; i < 4; i++)
        held[i] = grown(&heap, MIB, true);
    struct desc *d = grown(&heap, 512 * KIB, true);
    test_heap_free(&heap, held[3], false);
    assert_int_equal(heap.slabs.retained.bytes, mapped(MIB));
    count_from_here();
    test_fill(d->pub.data, d->pub.cap, 3);
    assert_int_equal(heap_grow(&heap, d, MIB, 512 * KIB), 0);
    assert_true(test_filled(d->pub.data, 512 * KIB, 3));
    assert_true(block_intact(&heap, d));
    assert_int_equal(moves + maps + unmaps, 0);
    assert_int_equal(heap.slabs.retained.bytes, mapped(512 * KIB)); /* the one it had */
    assert_int_equal(heap.slabs.brief_bytes, 4 * mapped(MIB));
    test_heap_free(&heap, d, false);
    for (unsigned i = 0; i < 3; i++)
        test_heap_free(&heap, held[i], false);
    assert_int_equal(heap.slabs.brief_bytes, 0);
    assert_in_range(heap.slabs.retained.bytes + heap.slabs.dirty_bytes, 0, LIMIT);
    heap_destroy(&heap);
}

/* Also where the buffer has it from the start. */
static void bypass_buffers_that_are_mapped_come_and_go(void **state)
{
    enum { HELD = 6 };
    (void)state;
    struct heap heap;
    heap_init(&heap, 3 * MIB);
    struct desc *d[HELD];
    for (unsigned round = 0; round < 3; round++) {
        count_from_here();
        for (unsigned i = 0; i < HELD; i++) {
            d[i] = test_heap_alloc(&heap, true);
            assert_non_null(d[i]);
            assert_true(block_intact(&heap, d[i]));
        }
        assert_int_equal(heap.slabs.brief_bytes, HELD * mapped(3 * MIB));
        for (unsigned turn = 0; turn < 20; turn++) { /* half of them at once */
            for (unsigned i = 0; i < HELD / 2; i++)
                test_heap_free(&heap, d[i], false);
            assert_int_equal(heap.slabs.retained.bytes, HELD / 2 * mapped(3 * MIB));
            for (unsigned i = 0; i < HELD / 2; i++)
                assert_non_null(d[i] = test_heap_alloc(&heap, true));
        }
        assert_int_equal(maps, HELD);
        assert_int_equal(unmaps, 0);
        for (unsigned i = 0; i < HELD; i++) {
            test_heap_free(&heap, d[i], false);
            assert_in_range(heap.slabs.retained.bytes, 0, (HELD - 1 - i) * mapped(3 * MIB));
        }
        assert_int_equal(heap.slabs.brief_bytes, 0);
    }
    heap_destroy(&heap);
}

static void what_is_kept_is_wiped(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    heap.wipe = true;
    struct desc *d = grown(&heap, 2 * MIB, false);
    memset(d->pub.data, 0x5a, d->pub.cap);
    test_heap_free(&heap, d, false);
    assert_int_equal(heap.slabs.retained.n, 1);
    const struct os_range *retained = &heap.slabs.retained.ring[heap.slabs.retained.oldest];
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
    struct desc *d = grown(&heap, MIB, false);
    test_heap_free(&heap, grown(&heap, 512 * KIB, false), false);
    assert_int_equal(heap.slabs.retained.bytes, mapped(512 * KIB)); /* would fit too */
    unsigned char *at = d->pub.data - 64;
    assert_true(test_heap_shrink(&heap, d, 512 * KIB));
    assert_ptr_equal(d->pub.data - 64, at);
    assert_true(block_intact(&heap, d));
    assert_int_equal(d->pub.cap, 512 * KIB);
    assert_false(is_mapped(at + mapped(512 * KIB)));
    assert_true(test_heap_shrink(&heap, d, BASE));
    assert_non_null(d->slab);
    test_heap_free(&heap, d, false);
    heap_destroy(&heap);
}

static void repair_counts_mappings_of_bypass_buffers(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    struct desc *brief = grown(&heap, MIB, true), *pooled = grown(&heap, MIB, false);
    store_relaxed(&brief->word, desc_word(1, STATE_BYPASS));
    store_relaxed(&pooled->word, desc_word(1, STATE_LIVE_GROWN));
    const size_t brief_bytes = heap.slabs.brief_bytes;
    assert_int_equal(brief_bytes, mapped(MIB));
    pthread_mutex_lock(&heap.slabs.lock);
    heap_repair(&heap);
    pthread_mutex_unlock(&heap.slabs.lock);
    assert_int_equal(heap.slabs.brief_bytes, brief_bytes);
    heap_destroy(&heap);
}

static void with_huge_pages_a_megabyte_is_no_mapping(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    heap.slabs.huge = true;
    struct desc *d = grown(&heap, MIB, false);
    assert_non_null(d->slab);
    test_heap_free(&heap, d, false);
    heap_destroy(&heap);
}

/* Whatever comes and goes, what nobody holds is within the limit: dirty slots, kept mappings, and what is set aside for
 * the stash. */
static void all_that_is_dirty_is_within_the_limit(void **state)
{
    enum { HELD = 24 };
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    struct desc *held[HELD] = {NULL};
    bool brief[HELD] = {false};
    test_random_t random = {11};
    const size_t turns = test_scale(20000, 500);
    for (size_t turn = 0; turn < turns; turn++) {
        size_t i = test_random_below(&random, HELD);
        if (turn > turns / 2 && turn % 1000 < 300 && held[i] == NULL)
            continue; /* ebb */
        if (held[i] == NULL) {
            brief[i] = test_random_below(&random, 2) == 0;
            held[i] = test_heap_alloc(&heap, brief[i]);
            assert_non_null(held[i]);
        } else if (test_random_below(&random, 2) == 0 && held[i]->pub.cap <= 2 * MIB) {
            assert_int_equal(heap_grow(&heap, held[i], held[i]->pub.cap + 1, 64), 0);
        } else if (held[i]->pub.cap > BASE && test_random_below(&random, 3) == 0) {
            assert_true(test_heap_shrink(&heap, held[i], held[i]->pub.cap > MIB ? 512 * KIB : BASE));
        } else {
            test_heap_free(&heap, held[i], false);
            held[i] = NULL;
        }
        size_t brief_bytes = 0;
        for (unsigned k = 0; k < HELD; k++)
            if (held[k] != NULL && brief[k])
                brief_bytes += held[k]->pub.cap > 256 * KIB ? mapped(held[k]->pub.cap) : held[k]->pub.cap + 64;
        const struct slabs *slabs = &heap.slabs;
        assert_in_range(slabs->brief_bytes, brief_bytes, brief_bytes + slabs->aside_bytes);
        assert_in_range(slabs->dirty_bytes + slabs->retained.bytes + slabs->aside_bytes, 0,
                        brief_bytes > LIMIT ? brief_bytes : LIMIT);
    }
    for (unsigned i = 0; i < HELD; i++)
        if (held[i] != NULL)
            test_heap_free(&heap, held[i], false);
    heap_purge(&heap);
    assert_int_equal(heap.slabs.brief_bytes, 0);
    assert_int_equal(heap.slabs.retained.bytes, 0);
    assert_null(heap.slabs.spans);
    heap_destroy(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_of_the_same_size_is_taken),
        cmocka_unit_test(the_oldest_go_first),
        cmocka_unit_test(the_ring_is_there_while_it_is_needed),
        cmocka_unit_test(large_blocks_grow_without_copying),
        cmocka_unit_test(a_dropped_block_leaves_what_may_be_dirty),
        cmocka_unit_test(without_memory_for_the_ring_nothing_is_kept),
        cmocka_unit_test(a_deferred_one_leaves_nothing),
        cmocka_unit_test(a_kept_mapping_is_better_than_to_move),
        cmocka_unit_test(bypass_buffers_that_are_mapped_come_and_go),
        cmocka_unit_test(what_is_kept_is_wiped),
        cmocka_unit_test(a_mapping_shrinks_in_its_place),
        cmocka_unit_test(repair_counts_mappings_of_bypass_buffers),
        cmocka_unit_test(with_huge_pages_a_megabyte_is_no_mapping),
        cmocka_unit_test(all_that_is_dirty_is_within_the_limit),
    };
    return cmocka_run_group_tests_name("kept", tests, NULL, NULL);
}
