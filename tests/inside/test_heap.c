/* SPDX-License-Identifier: MIT
 *
 * test_heap.c - the locked path of a heap: each make and each free takes the lock once, and what it leaves is whole
 *
 * The test says on which CPU a call runs, counts locks, and lets the system's memory end.
 */
#include "support/blocks.h"

#include "heap/block.h"
#include "heap/heap.h"
#include "heap/os.h"

#include <limits.h>

enum { BASE = 32 * 1024 };

#define TABLE_MAX ((size_t)64 << 10) /* what is mapped for descriptors is less */

static _Thread_local size_t looks_at_cpu, locks;
static bool no_memory;

int __real_sched_getcpu(void);
int __wrap_sched_getcpu(void);
int __wrap_sched_getcpu(void)
{
    looks_at_cpu++;
    return __real_sched_getcpu();
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

static void heap_init(struct heap *heap)
{
    memset(heap, 0, sizeof(*heap));
    heap->base = BASE;
    heap->alignment = 64;
    pthread_mutex_init(&heap->slabs.lock, NULL);
}

static struct desc *alloc(struct heap *heap)
{
    struct desc *d = test_heap_alloc(heap);
    assert_non_null(d);
    assert_int_equal(d->pub.cap, heap->base);
    assert_true(block_intact(heap, d));
    return d;
}

static void a_make_and_a_free_take_the_lock_once_each(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap);
    struct desc *d = alloc(&heap);
    test_heap_free(&heap, d, false, 0);
    locks = looks_at_cpu = 0;
    for (size_t i = 1; i <= 10; i++) {
        assert_ptr_equal(alloc(&heap), d);
        test_heap_free(&heap, d, i % 2 == 0, 0);
        assert_int_equal(locks, 2 * i);
    }
    assert_int_equal(looks_at_cpu, 0); /* a dirty slot is for all */
    heap_purge(&heap);
    (void)alloc(&heap);
    assert_int_equal(looks_at_cpu, 1);
    heap_destroy(&heap);
}

static void a_lock_that_is_taken_is_tried_again_and_then_waited_for(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap);
    locks = 0;
    busy = 3;
    test_heap_free(&heap, alloc(&heap), false, 0);
    assert_int_equal(busy, 0);
    assert_int_equal(locks, 2);
    busy = INT_MAX; /* for ever: it is waited for */
    test_heap_free(&heap, alloc(&heap), false, 0);
    assert_in_range(busy, INT_MAX - 1000, INT_MAX - 2);
    assert_int_equal(locks, 4);
    busy = 0;
    heap_destroy(&heap);
}

static void a_block_from_a_hook_goes_back_to_the_hook(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct heap heap;
    heap_init(&heap);
    heap.alloc = test_blocks_alloc;
    heap.free = test_blocks_free;
    heap.ctx = &blocks;
    for (int i = 0; i < 3; i++) {
        test_heap_free(&heap, alloc(&heap), false, SIZE_MAX);
        assert_int_equal(atomic_load(&blocks.count), 0);
    }
    assert_int_equal(atomic_load(&blocks.errors), 0);
    heap_destroy(&heap);
}

static void a_freed_block_is_wiped(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap);
    heap.wipe = true;
    struct desc *d = alloc(&heap);
    unsigned char *data = d->pub.data;
    memset(data, 0x5a, BASE);
    test_heap_free(&heap, d, false, 0);
    if (sanitizer_on()) /* as the library would */
        sanitizer_open(data, BASE);
    for (size_t i = 0; i < BASE; i++)
        assert_int_equal(data[i], 0);
    heap_destroy(&heap);
}

/* The memory of what callers hold beyond the cap, less the block that is freed, and no less than 1 MiB. */
static void as_much_stays_as_is_spare_without_the_block(void **state)
{
    enum { MANY = 100 };
    static const struct {
        size_t spare, most;
    } cases[] = {{0, 1 << 20}, {BASE, 1 << 20}, {(2 << 20) + BASE, 2 << 20}, {2 << 20, (2 << 20) - BASE}};
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct heap heap;
        struct desc *d[MANY];
        heap_init(&heap);
        for (unsigned i = 0; i < MANY; i++)
            d[i] = alloc(&heap);
        size_t most = 0;
        for (unsigned i = 0; i < MANY; i++) {
            test_heap_free(&heap, d[i], false, cases[c].spare);
            most = heap.slabs.dirty_bytes > most ? heap.slabs.dirty_bytes : most;
        }
        assert_in_range(most, cases[c].most - BASE - 64, cases[c].most);
        heap_destroy(&heap);
    }
}

static void a_heap_without_memory_changes_nothing(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap);
    struct desc *grown = alloc(&heap);
    assert_int_equal(heap_grow(&heap, grown, 8 * BASE, 0, 0), 0);
    no_memory = true;
    while (test_heap_alloc(&heap) != NULL) /* every slot of the slab */
        ;
    const struct desc before = *grown;
    const uint32_t used = load_relaxed(&heap.table.used);
    assert_false(test_heap_shrink(&heap, grown, BASE, 0));
    assert_ptr_equal(grown->pub.data, before.pub.data);
    assert_int_equal(grown->pub.cap, before.pub.cap);
    assert_null(test_heap_alloc(&heap));
    assert_in_range(load_relaxed(&heap.table.used), used, used + 1);
    no_memory = false;
    assert_true(test_heap_shrink(&heap, grown, BASE, 0));
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
        if (held[i] == NULL) {
            held[i] = test_heap_alloc(&load->heap);
            if (!thread_check(held[i] != NULL))
                return;
            test_fill(held[i]->pub.data, 64, (uint64_t)index << 32 | i);
        } else {
            thread_check(test_filled(held[i]->pub.data, 64, (uint64_t)index << 32 | i));
            thread_check(block_intact(&load->heap, held[i]));
            test_heap_free(&load->heap, held[i], false, BASE);
            held[i] = NULL;
        }
        if (index == 0 && turn % 500 == 0)
            heap_purge(&load->heap);
    }
    for (unsigned i = 0; i < HELD; i++)
        if (held[i] != NULL)
            test_heap_free(&load->heap, held[i], false, 0);
}

static void threads_never_share_a_block(void **state)
{
    (void)state;
    static struct load load;
    heap_init(&load.heap);
    load.turns = test_scale(200000, 5000);
    run_threads(4, come_and_go, &load);
    heap_purge(&load.heap);
    assert_null(load.heap.slabs.spans);
    heap_destroy(&load.heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_make_and_a_free_take_the_lock_once_each),
        cmocka_unit_test(a_lock_that_is_taken_is_tried_again_and_then_waited_for),
        cmocka_unit_test(a_block_from_a_hook_goes_back_to_the_hook),
        cmocka_unit_test(a_freed_block_is_wiped),
        cmocka_unit_test(as_much_stays_as_is_spare_without_the_block),
        cmocka_unit_test(a_heap_without_memory_changes_nothing),
        cmocka_unit_test(threads_never_share_a_block),
    };
    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
