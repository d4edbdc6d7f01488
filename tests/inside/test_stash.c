/* SPDX-License-Identifier: MIT
 *
 * test_stash.c - buffers beyond the cap that were put wait, whole, for the next get beyond the cap (stash.h)
 *
 * The test says on which CPU a call runs, counts locks, and lets the system's memory end.
 */
#include "support/blocks.h"

#include "heap/block.h"
#include "heap/heap.h"
#include "heap/os.h"
#include "heap/stash.h"

#include <limits.h>

enum { BASE = 32 * 1024, PLACES = 3, LANES = STASH_LANES };

#define LIMIT     ((size_t)1 << 20)
#define TABLE_MAX ((size_t)64 << 10) /* what is mapped for descriptors is less */

static _Thread_local unsigned cpu;
static _Thread_local size_t locks;
static bool no_memory;

int __wrap_sched_getcpu(void);
int __wrap_sched_getcpu(void)
{
    return (int)cpu;
}

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    locks++;
    return __real_pthread_mutex_lock(mutex);
}

static _Thread_local int busy; /* so many tries find the lock taken */

int __real_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    int result = busy > 0 ? EBUSY : __real_pthread_mutex_trylock(mutex);
    busy -= busy > 0;
    locks += result == 0;
    return result;
}

void *__real_os_map(size_t n, bool huge);
void *__wrap_os_map(size_t n, bool huge);
void *__wrap_os_map(size_t n, bool huge)
{
    return no_memory && n > TABLE_MAX ? NULL : __real_os_map(n, huge);
}

static void heap_init(struct heap *heap, size_t base)
{
    memset(heap, 0, sizeof(*heap));
    heap->base = base;
    heap->alignment = 64;
    pthread_mutex_init(&heap->slabs.lock, NULL);
    cpu = 0;
}

static struct desc *alloc(struct heap *heap, bool beyond_cap)
{
    struct desc *d = test_heap_alloc(heap, beyond_cap);
    assert_non_null(d);
    assert_int_equal(d->pub.cap, heap->base);
    assert_true(block_intact(heap, d));
    return d;
}

static void alloc_all(struct heap *heap, struct desc **d, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        d[i] = alloc(heap, true);
}

static void free_all(struct heap *heap, struct desc **d, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        test_heap_free(heap, d[i], false);
}

/* Opens the lane of this CPU and puts n bypass buffers there. */
static void stash(struct heap *heap, unsigned n)
{
    struct desc *d[PLACES + 1];
    alloc_all(heap, d, n + 1);
    free_all(heap, d, n + 1);
}

/* How many the stash has for this CPU; takes them out. */
static unsigned stashed(struct heap *heap)
{
    for (unsigned n = 0;; n++) {
        locks = 0;
        (void)alloc(heap, true);
        if (locks > 0)
            return n;
    }
}

static void a_buffer_beyond_the_cap_comes_back_without_a_lock(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    struct desc *d = alloc(&heap, true);
    test_heap_free(&heap, d, false); /* the first one opens the lane */
    d = alloc(&heap, true);
    locks = 0;
    for (int i = 0; i < 10; i++) {
        test_heap_free(&heap, d, false);
        assert_ptr_equal(alloc(&heap, true), d);
    }
    assert_int_equal(locks, 0);
    test_heap_free(&heap, d, false);
    assert_ptr_not_equal(alloc(&heap, false), d); /* it is for bypass buffers, which are soon given back */
    heap_destroy(&heap);
}

static void pooled_grown_and_deferred_buffers_are_not_stashed(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    struct desc *pooled = alloc(&heap, false), *grown = alloc(&heap, true), *deferred = alloc(&heap, true);
    stash(&heap, 0);
    assert_int_equal(heap_grow(&heap, grown, BASE + 1, 0), 0);
    locks = 0;
    test_heap_free(&heap, pooled, false);
    test_heap_free(&heap, grown, false);
    test_heap_free(&heap, deferred, true);
    assert_int_equal(locks, 3);
    assert_int_equal(stashed(&heap), 0);
    heap_destroy(&heap);
}

static void a_block_from_a_hook_goes_back_to_the_hook(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct heap heap;
    heap_init(&heap, BASE);
    heap.alloc = test_blocks_alloc;
    heap.free = test_blocks_free;
    heap.ctx = &blocks;
    for (int i = 0; i < 3; i++) {
        test_heap_free(&heap, alloc(&heap, true), false);
        assert_int_equal(atomic_load(&blocks.count), 0);
    }
    assert_int_equal(atomic_load(&blocks.errors), 0);
    heap_destroy(&heap);
}

static void a_large_block_is_not_stashed(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, (size_t)128 << 10); /* in a slab, but too large to be set aside */
    for (int i = 0; i < 3; i++)
        test_heap_free(&heap, alloc(&heap, true), false);
    assert_int_equal(heap.slabs.aside_bytes, 0);
    heap_destroy(&heap);
}

static void a_lane_has_few_cells(void **state)
{
    (void)state;
    struct heap heap;
    struct desc *d[PLACES + 1];
    heap_init(&heap, BASE);
    alloc_all(&heap, d, PLACES + 1);
    stash(&heap, 0);
    locks = 0;
    free_all(&heap, d, PLACES);
    assert_int_equal(locks, 0);
    test_heap_free(&heap, d[PLACES], false);
    assert_int_equal(locks, 1);
    assert_int_equal(stashed(&heap), PLACES);
    heap_destroy(&heap);

    heap_init(&heap, 64);
    struct desc *small[STASH_CELLS + 2];
    alloc_all(&heap, small, STASH_CELLS + 2);
    free_all(&heap, small, STASH_CELLS + 2);
    assert_int_equal(stashed(&heap), STASH_CELLS);
    heap_destroy(&heap);
}

static void a_lane_serves_its_cpus(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    stash(&heap, 2);
    cpu = 1;
    assert_int_equal(stashed(&heap), 0);
    cpu = LANES; /* modulo the lanes it is the first again */
    assert_int_equal(stashed(&heap), 2);
    heap_destroy(&heap);
}

/* Dirty slots and stashed ones together. */
static void within_limit(const struct heap *heap, size_t held)
{
    size_t stashed_bytes = 0;
    for (unsigned lane = 0; lane < LANES; lane++)
        for (unsigned i = 0; i < STASH_CELLS; i++)
            stashed_bytes += load_relaxed(&heap->stash.lanes[lane].cell[i]) > STASH_EMPTY ? BASE + 64 : 0;
    assert_true(stashed_bytes <= heap->slabs.aside_bytes);
    assert_in_range(heap->slabs.dirty_bytes + stashed_bytes, 0, held > LIMIT ? held : LIMIT);
}

static void stashed_memory_counts_as_dirty(void **state)
{
    enum { MANY = 400 };
    (void)state;
    struct heap heap;
    struct desc *d[MANY];
    test_random_t random = {3};
    heap_init(&heap, BASE);
    for (unsigned round = 0; round < 2; round++) {
        alloc_all(&heap, d, MANY);
        for (unsigned left = MANY; left > 0;) {
            cpu = (unsigned)test_random_below(&random, LANES);
            if (left < MANY && test_random_below(&random, 3) == 0)
                d[left++] = alloc(&heap, true);
            else
                test_heap_free(&heap, d[--left], false);
            within_limit(&heap, left * (size_t)(BASE + 64));
        }
        assert_int_equal(heap.slabs.aside_bytes, LANES * PLACES * (size_t)(BASE + 64));
        heap_purge(&heap);
        assert_int_equal(heap.slabs.aside_bytes, 0);
        assert_int_equal(heap.slabs.beyond_cap_bytes, 0);
        assert_null(heap.slabs.spans);
    }
    heap_destroy(&heap);
}

static void stashed_memory_serves_everybody_when_there_is_no_other(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    stash(&heap, 1);
    cpu = 1;
    no_memory = true;
    size_t n = 0;
    for (; test_heap_alloc(&heap, false) != NULL; n++)
        ;
    assert_int_equal(n, SLAB_BYTES_MAX / (BASE + 64)); /* every slot of the slab, also the one in the other lane */
    no_memory = false;
    heap_destroy(&heap);
}

/* A buffer that shrinks may have it as well. */
static void a_smaller_block_comes_out_of_the_stash(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    struct desc *grown = alloc(&heap, false);
    assert_int_equal(heap_grow(&heap, grown, 8 * BASE, 0), 0);
    const size_t cap = grown->pub.cap;
    stash(&heap, 1);
    no_memory = true;
    size_t n = 1; /* what is stashed */
    struct desc *d[SLAB_BYTES_MAX / BASE];
    while (n < SLAB_BYTES_MAX / (BASE + 64))
        d[n++] = alloc(&heap, false);
    assert_true(test_heap_shrink(&heap, grown, BASE));
    assert_int_equal(grown->pub.cap, BASE);
    assert_true(block_intact(&heap, grown));
    for (size_t i = 1; i < n; i++)
        assert_ptr_not_equal(d[i]->pub.data, grown->pub.data);
    assert_null(test_heap_alloc(&heap, true)); /* the stash has it no more */

    assert_int_equal(heap_grow(&heap, grown, cap, 0), 0); /* into the slot of before, which is free again */
    assert_non_null(test_heap_alloc(&heap, false));
    const struct desc before = *grown;
    assert_false(test_heap_shrink(&heap, grown, BASE)); /* there is none any more: all is as it was */
    assert_ptr_equal(grown->pub.data, before.pub.data);
    assert_int_equal(grown->pub.cap, before.pub.cap);
    no_memory = false;
    heap_destroy(&heap);
}

static void repair_finds_stashed_blocks(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    heap.wipe = true;
    struct desc *held = alloc(&heap, true);
    test_fill(held->pub.data, BASE, 5);
    store_relaxed(&held->word, desc_word(1, STATE_BYPASS));
    stash(&heap, PLACES);
    __real_pthread_mutex_lock(&heap.slabs.lock);
    heap_repair(&heap);
    pthread_mutex_unlock(&heap.slabs.lock);
    assert_int_equal(heap.slabs.aside_bytes, 0);
    assert_int_equal(heap.slabs.beyond_cap_bytes, BASE + 64);
    assert_int_equal(heap.slabs.dirty_bytes, (PLACES + 1) * (BASE + 64));
    struct desc *d[PLACES + 1];
    alloc_all(&heap, d, PLACES + 1);
    assert_int_equal(heap.slabs.dirty_bytes, 0); /* all slots are there again, */
    assert_int_equal(load_relaxed(&heap.table.used), PLACES + 2);
    for (unsigned i = 0; i <= PLACES; i++) {
        assert_ptr_not_equal(d[i], held);
        test_fill(d[i]->pub.data, BASE, i);
    }
    for (unsigned i = 0; i <= PLACES; i++) /* each once */
        assert_true(test_filled(d[i]->pub.data, BASE, i));
    assert_true(test_filled(held->pub.data, BASE, 5));
    heap_destroy(&heap);
}

static void stashed_blocks_are_wiped(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    heap.wipe = true;
    stash(&heap, 0);
    struct desc *d = alloc(&heap, true);
    memset(d->pub.data, 0x5a, BASE);
    test_heap_free(&heap, d, false);
    assert_non_null(d->pub.data); /* it is in the stash, with its block */
    block_open(&heap, d, false);
    for (size_t i = 0; i < BASE; i++)
        assert_int_equal(d->pub.data[i], 0);
    block_close(&heap, d, false);
    heap_destroy(&heap);
}

static void a_lock_that_is_taken_is_tried_again_and_then_waited_for(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    locks = 0;
    busy = 3;
    test_heap_free(&heap, alloc(&heap, false), false);
    assert_int_equal(busy, 0);
    assert_int_equal(locks, 2);
    busy = INT_MAX; /* for ever: it is waited for */
    test_heap_free(&heap, alloc(&heap, false), false);
    assert_in_range(busy, INT_MAX - 1000, INT_MAX - 2);
    assert_int_equal(locks, 4);
    busy = 0;
    heap_destroy(&heap);
}

/* ---- threads ---- */

struct load {
    struct heap heap;
    size_t turns;
};

static void come_and_go(void *arg, unsigned index)
{
    enum { HELD = 4 };
    struct load *load = arg;
    struct desc *held[HELD] = {NULL};
    test_random_t random = {index + 1};
    for (size_t turn = 0; turn < load->turns; turn++) {
        const size_t i = test_random_below(&random, HELD);
        cpu = (unsigned)test_random_below(&random, 2);
        if (held[i] == NULL) {
            held[i] = test_heap_alloc(&load->heap, true);
            if (!thread_check(held[i] != NULL))
                return;
            test_fill(held[i]->pub.data, 64, (uint64_t)index << 32 | i);
        } else {
            thread_check(test_filled(held[i]->pub.data, 64, (uint64_t)index << 32 | i));
            thread_check(block_intact(&load->heap, held[i]));
            test_heap_free(&load->heap, held[i], false);
            held[i] = NULL;
        }
        if (index == 0 && turn % 500 == 0)
            heap_purge(&load->heap);
    }
    for (unsigned i = 0; i < HELD; i++)
        if (held[i] != NULL)
            test_heap_free(&load->heap, held[i], false);
}

static void threads_share_lanes(void **state)
{
    (void)state;
    static struct load load;
    heap_init(&load.heap, 4000);
    load.turns = test_scale(200000, 5000);
    run_threads(4, come_and_go, &load);
    heap_purge(&load.heap);
    assert_null(load.heap.slabs.spans);
    assert_int_equal(load.heap.slabs.beyond_cap_bytes, 0);
    heap_destroy(&load.heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_beyond_the_cap_comes_back_without_a_lock),
        cmocka_unit_test(pooled_grown_and_deferred_buffers_are_not_stashed),
        cmocka_unit_test(a_block_from_a_hook_goes_back_to_the_hook),
        cmocka_unit_test(a_large_block_is_not_stashed),
        cmocka_unit_test(a_lane_has_few_cells),
        cmocka_unit_test(a_lane_serves_its_cpus),
        cmocka_unit_test(stashed_memory_counts_as_dirty),
        cmocka_unit_test(stashed_memory_serves_everybody_when_there_is_no_other),
        cmocka_unit_test(a_smaller_block_comes_out_of_the_stash),
        cmocka_unit_test(repair_finds_stashed_blocks),
        cmocka_unit_test(stashed_blocks_are_wiped),
        cmocka_unit_test(a_lock_that_is_taken_is_tried_again_and_then_waited_for),
        cmocka_unit_test(threads_share_lanes),
    };
    return cmocka_run_group_tests_name("stash", tests, NULL, NULL);
}
