/* SPDX-License-Identifier: MIT
 *
 * test_lane.c - a heap that many threads use at once gets lanes, whose stocks the makes and frees of a CPU go through
 *
 * The test says on which CPU a call runs, counts the takings of each lock, has the heap's lock taken by others, and
 * lets the system's memory end. Heaps that AddressSanitizer or memcheck watches have no lanes.
 */
#include "support/blocks.h"
#include "support/laws.h"

#include "heap/lane.h"
#include "heap/os.h"
#include "heap/purge.h"
#include "lock.h"
#include "support/inside.h"

enum { BASE = 512, BATCH = 64 /* of LANE_BYTES, or less */, MANY = 1000, THREADS = 8 };

#define TABLE_MAX ((size_t)64 << 10) /* what is mapped for descriptors is less */

static _Thread_local int cpu;
static const pthread_mutex_t *counted, *other; /* two locks, and how often each was taken */
static _Atomic(size_t) taken, other_taken;
static bool is_busy; /* each first look finds a lock taken */
static bool no_memory;

int __wrap_sched_getcpu(void);
int __wrap_sched_getcpu(void)
{
    return cpu;
}

static void count(const pthread_mutex_t *mutex)
{
    taken += mutex == counted;
    other_taken += mutex == other;
}

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    count(mutex);
    return __real_pthread_mutex_lock(mutex);
}

int __real_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    static _Thread_local bool second;
    second = is_busy && !second;
    const int result = second ? EBUSY : __real_pthread_mutex_trylock(mutex);
    if (result == 0)
        count(mutex);
    return result;
}

void *__real_os_map(size_t n, bool huge);
void *__wrap_os_map(size_t n, bool huge);
void *__wrap_os_map(size_t n, bool huge)
{
    return no_memory && n > TABLE_MAX ? NULL : __real_os_map(n, huge);
}

static struct desc *all[MANY];

static void heap_init(struct heap *heap, size_t base)
{
    memset(heap, 0, sizeof(*heap));
    heap->base = base;
    heap->alignment = 64;
    pthread_mutex_init(&heap->slabs.lock, NULL);
    cpu = 0;
}

/* As if threads had waited for the lock often. */
static void crowd(struct heap *heap)
{
    heap->slabs.waits = LANES_AFTER;
}

static void make(struct heap *heap, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        all[i] = test_heap_alloc(heap);
        assert_non_null(all[i]);
        assert_true(block_intact(heap, all[i]));
        memset(all[i]->pub.data, 0xa5, heap->base);
    }
}

static void give(struct heap *heap, size_t n)
{
    for (size_t i = 0; i < n; i++)
        test_heap_free(heap, all[i], false, 0);
}

/* A heap with lanes, which have nothing yet. */
static void begin_crowded(struct heap *heap)
{
    heap_init(heap, BASE);
    crowd(heap);
    make(heap, 1);
    assert_true(lane_is_there(heap));
    test_heap_free(heap, all[0], true, 0);
}

static size_t count_taken(const struct heap *heap)
{
    size_t n = 0;
    const struct desc *d;
    for_each_taken (&heap->table, i, d)
        n++;
    (void)d;
    return n;
}

static void ends_empty(struct heap *heap)
{
    assert_int_equal(heap_purge(heap), 0);
    assert_int_equal(count_taken(heap), 0);
    assert_null(heap->slabs.spans);
    assert_int_equal(heap_mapped_bytes(heap), 0);
    heap_destroy(heap);
    assert_false(lane_is_there(heap));
}

/* ---- when there are lanes ---- */

static void a_heap_whose_lock_was_waited_for_gets_lanes(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, BASE);
    make(&heap, MANY);
    give(&heap, MANY);
    assert_int_equal(heap.slabs.waits, 0);
    is_busy = true;
    for (unsigned i = 0; i < LANES_AFTER / 2; i++) { /* a make and a free wait once each */
        assert_false(lane_is_there(&heap));
        make(&heap, 1);
        test_heap_free(&heap, all[0], i % 2 == 0, 0);
    }
    is_busy = false;
    assert_true(lane_is_there(&heap));
    ends_empty(&heap);
}

static void has_no_lanes(struct heap *heap)
{
    crowd(heap);
    for (int i = 0; i < 3; i++) {
        make(heap, 1);
        give(heap, 1);
    }
    assert_false(lane_is_there(heap));
    heap_destroy(heap);
}

static void hooks_budgets_and_large_buffers_have_no_lanes(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct heap heap;
    heap_init(&heap, BASE);
    heap.alloc = test_blocks_alloc;
    heap.free = test_blocks_free;
    heap.ctx = &blocks;
    has_no_lanes(&heap);

    struct bufferpool_budget budget = {.bytes = SIZE_MAX};
    heap_init(&heap, BASE);
    heap.slabs.budget = &budget;
    has_no_lanes(&heap);

    heap_init(&heap, LANE_BYTES);
    has_no_lanes(&heap);
    heap_init(&heap, 4 * LANE_BYTES); /* in a mapping of its own, when it lies in no slab */
    has_no_lanes(&heap);
}

static void use_watched(void *unused)
{
    (void)unused;
    bufferpool_t *pool = bufferpool_create(NULL);
    crowd(&pool->heap);
    bufferpool_put(bufferpool_get(pool));
    modes_check(!lane_is_there(&pool->heap));
    modes_check(bufferpool_destroy(pool) == 0);
}

static void under_a_debug_mode_there_are_no_lanes(void **state)
{
    (void)state;
    assert_int_equal(run_with_modes("poison", use_watched, NULL)->status, 0);
}

/* ---- what they save ---- */

static void makes_and_frees_take_the_heaps_lock_once_a_batch(void **state)
{
    (void)state;
    struct heap heap;
    begin_crowded(&heap);
    counted = &heap.slabs.lock;
    taken = 0;
    make(&heap, 4 * BATCH);
    assert_int_equal(taken, 4);
    give(&heap, 4 * BATCH);
    assert_int_equal(taken, 4 + 2); /* two batches stay */
    make(&heap, 2 * BATCH);
    assert_int_equal(taken, 4 + 2);
    for (int i = 0; i < 1000; i++) { /* at the edge of a batch */
        test_heap_free(&heap, all[0], false, 0);
        make(&heap, 1);
    }
    assert_true(taken <= 4 + 2 + 1);
    give(&heap, 2 * BATCH);
    ends_empty(&heap);
    counted = NULL;
}

static void each_lane_has_a_stock_and_a_lock_of_its_own(void **state)
{
    (void)state;
    struct heap heap;
    begin_crowded(&heap);
    struct lane *lanes = load_relaxed(&heap.slabs.lanes);
    make(&heap, 1);
    counted = &lanes[0].lock;
    other = &lanes[1].lock;
    taken = other_taken = 0;
    cpu = 1;
    struct desc *mine = test_heap_alloc(&heap);
    test_heap_free(&heap, mine, false, 0);
    assert_int_equal(taken, 0);
    assert_int_equal(other_taken, 2);
    cpu = LANES;
    assert_ptr_not_equal(test_heap_alloc(&heap), mine); /* of lane 0 */
    assert_int_equal(taken, 1);
    assert_int_equal(other_taken, 2);
    counted = other = NULL;
    heap_destroy(&heap);
}

/* ---- what must stay true ---- */

static void no_more_than_two_batches_stay_and_a_purge_takes_them(void **state)
{
    (void)state;
    struct heap heap;
    begin_crowded(&heap);
    const uint64_t before = heap.slabs.window.taken;
    make(&heap, MANY);
    assert_true(count_taken(&heap) < MANY + BATCH);
    give(&heap, MANY);
    assert_true(count_taken(&heap) <= 2 * BATCH);
    assert_true(count_taken(&heap) > BATCH);
    assert_int_equal(heap.slabs.window.taken - before, count_taken(&heap) * (BASE + 64)); /* in stocks: with prefix */
    assert_int_equal(heap_purge(&heap), 0);
    assert_int_equal(heap.slabs.window.taken, before);
    ends_empty(&heap);
}

static void what_ebbs_or_is_given_up_leaves_no_stock(void **state)
{
    (void)state;
    struct heap heap;
    begin_crowded(&heap);
    for (int i = 0; i < 3; i++) {
        make(&heap, MANY);
        cpu = 5;
        give(&heap, MANY / 2);
        memmove(all, all + MANY / 2, MANY / 2 * sizeof(all[0]));
        cpu = 0;
        give(&heap, MANY / 2);
        assert_true(count_taken(&heap) > 0);
        if (i == 0)
            (void)heap_ebb(&heap, 0);
        else if (i == 1)
            heap_settle(&heap, 1, 0, 0);
        else
            (void)heap_give_up(&heap, 1);
        assert_int_equal(count_taken(&heap), 0);
    }
    ends_empty(&heap);
}

/* Also if the last free goes to a stock. */
static void what_is_spare_no_more_is_purged(void **state)
{
    (void)state;
    enum { LARGER = 16 * 1024, N = 300 };
    struct heap heap;
    heap_init(&heap, LARGER);
    crowd(&heap);
    make(&heap, N);
    assert_true(lane_is_there(&heap));
    for (int i = 0; i < N; i++)
        test_heap_free(&heap, all[i], false, SIZE_MAX);
    make(&heap, 1); /* of the stock, which has room for it then */
    assert_true(heap_retained_bytes(&heap) > (size_t)N / 2 * LARGER);
    counted = &heap.slabs.lock;
    taken = 0;
    test_heap_free(&heap, all[0], false, 0);
    assert_true(taken > 0);
    assert_true(heap_retained_bytes(&heap) <= DIRTY_MIN);
    counted = NULL;
    ends_empty(&heap);
}

static void a_pool_that_wipes_hands_out_zeros_from_a_stock(void **state)
{
    (void)state;
    struct heap heap;
    begin_crowded(&heap);
    heap_purge(&heap); /* of what was there before */
    heap.wipe = true;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < BATCH; i++) {
            all[i] = test_heap_alloc(&heap);
            assert_non_null(all[i]);
            for (size_t at = 0; at < BASE; at++)
                assert_int_equal(all[i]->pub.data[at], 0);
            memset(all[i]->pub.data, 0xa5, BASE);
        }
        give(&heap, BATCH);
    }
    ends_empty(&heap);
}

static void where_memory_ends_makes_fail_and_nothing_is_lost(void **state)
{
    (void)state;
    struct heap heap;
    begin_crowded(&heap);
    no_memory = true;
    size_t n = 0;
    while (n < MANY && (all[n] = test_heap_alloc(&heap)) != NULL)
        n++;
    no_memory = false;
    assert_in_range(n, 1, MANY - 1); /* what the first span has */
    assert_int_equal(count_taken(&heap), n);
    assert_null(load_relaxed(&heap.slabs.lanes)[0].first);
    give(&heap, n);
    make(&heap, MANY);
    give(&heap, MANY);
    ends_empty(&heap);
}

static void stocks_of_other_lanes_serve_where_memory_ends(void **state)
{
    (void)state;
    struct heap heap;
    begin_crowded(&heap);
    const struct lane *lanes = load_relaxed(&heap.slabs.lanes);
    cpu = 0;
    make(&heap, 1);
    give(&heap, 1);
    assert_non_null(lanes[0].first);
    cpu = 1;
    no_memory = true;
    size_t n = 0;
    while (n < MANY && (all[n] = test_heap_alloc(&heap)) != NULL)
        n++;
    no_memory = false;
    assert_int_equal(count_taken(&heap), n);
    assert_null(lanes[0].first);
    give(&heap, n);
    cpu = 0;
    ends_empty(&heap);
}

/* ---- fork ---- */

enum { OUT = 100 };

static bufferpool_buf_t *out[OUT];

static int use_in_child(void *arg)
{
    bufferpool_t *pool = arg;
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return 1;
    bufferpool_put(buf);
    for (int i = 0; i < OUT; i++)
        bufferpool_put(out[i]);
    (void)bufferpool_trim(pool);
    if (count_taken(&pool->heap) != 0 || pool->heap.slabs.spans != NULL)
        return 2;
    for (int i = 0; i < OUT; i++)
        if ((out[i] = bufferpool_get(pool)) == NULL)
            return 3;
    bufferpool_put_bulk(out, OUT);
    return bufferpool_destroy(pool) == 0 ? 0 : 4;
}

static void a_child_of_fork_finds_what_was_in_stocks(void **state)
{
    (void)state;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = BASE;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    crowd(&pool->heap);
    assert_int_equal(bufferpool_get_bulk(pool, out, OUT), 0);
    assert_true(lane_is_there(&pool->heap));
    for (int i = 0; i < 2; i++) {
        struct lane *lane = NULL;
        if (i == 1) {
            lane = lane_enter(&pool->heap); /* another thread of the parent is inside */
            locks_held = 0;
            lane->n = 12345;
            lane->full = lane->first;
        }
        assert_int_equal(run_in_child(use_in_child, pool, 20), 0);
        if (lane != NULL) {
            lane->n = 0;
            lane->first = lane->full = NULL; /* nothing more comes from it here */
            locks_held = 1;
            lane_leave(lane);
        }
    }
    bufferpool_put_bulk(out, OUT);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* ---- threads ---- */

static void come_and_go(void *arg, unsigned index)
{
    struct heap *heap = arg;
    cpu = (int)index % 3;
    struct desc *mine[3 * BATCH];
    for (int round = 0; round < 20; round++) {
        const int n = 1 + (round * 37 + (int)index * 11) % (3 * BATCH);
        for (int i = 0; i < n; i++) {
            mine[i] = test_heap_alloc(heap);
            if (!thread_check(mine[i] != NULL))
                return;
            memset(mine[i]->pub.data, (int)index + 1, BASE);
        }
        for (int i = 0; i < n; i++) {
            const unsigned char *data = mine[i]->pub.data;
            thread_check(data[0] == index + 1 && memcmp(data, data + 1, BASE - 1) == 0);
            test_heap_free(heap, mine[i], i % 5 == 0, 0);
        }
        if (round % 7 == 6)
            (void)heap_purge(heap);
    }
}

static void threads_share_no_block_and_lose_none(void **state)
{
    (void)state;
    struct heap heap;
    begin_crowded(&heap);
    run_threads(THREADS, come_and_go, &heap);
    ends_empty(&heap);
}

int main(void)
{
    const struct CMUnitTest everywhere[] = {
        cmocka_unit_test(under_a_debug_mode_there_are_no_lanes), /* first: modes are read once */
    };
    const struct CMUnitTest unwatched[] = {
        cmocka_unit_test(a_heap_whose_lock_was_waited_for_gets_lanes),
        cmocka_unit_test(hooks_budgets_and_large_buffers_have_no_lanes),
        cmocka_unit_test(makes_and_frees_take_the_heaps_lock_once_a_batch),
        cmocka_unit_test(each_lane_has_a_stock_and_a_lock_of_its_own),
        cmocka_unit_test(no_more_than_two_batches_stay_and_a_purge_takes_them),
        cmocka_unit_test(what_ebbs_or_is_given_up_leaves_no_stock),
        cmocka_unit_test(what_is_spare_no_more_is_purged),
        cmocka_unit_test(a_pool_that_wipes_hands_out_zeros_from_a_stock),
        cmocka_unit_test(where_memory_ends_makes_fail_and_nothing_is_lost),
        cmocka_unit_test(stocks_of_other_lanes_serve_where_memory_ends),
        cmocka_unit_test(a_child_of_fork_finds_what_was_in_stocks),
        cmocka_unit_test(threads_share_no_block_and_lose_none),
    };
    const int failed = cmocka_run_group_tests(everywhere, NULL, NULL);
    bufferpool_put(bufferpool_get(NULL)); /* whether memcheck watches is known after the first use */
    if (failed != 0 || steps_are_watched())
        return failed;
    return cmocka_run_group_tests(unwatched, NULL, NULL);
}
