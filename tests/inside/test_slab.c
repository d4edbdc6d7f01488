/* SPDX-License-Identifier: MIT
 *
 * test_slab.c - slabs: slots do not overlap, the invariants of slab.c hold after every step, and memory goes back
 *
 * Whether a page is resident is asked of the kernel (mincore).
 */
#include "support/blocks.h"

#include "heap/block.h"
#include "heap/os.h"
#include "heap/purge.h"
#include "heap/slots.h"

#include <sys/mman.h>

#define STRIDE    ((size_t)32 * 1024 + 64) /* slots share pages with their neighbours */
#define MANY      400u                     /* slots in more than three slabs */
#define DIRTY_MAX ((size_t)1 << 20)

struct slot {
    struct slab *slab;
    unsigned char *at;
};

/* What happens once, with the lock, while a purge has let it go. */
static struct slabs *purged;
static void (*meanwhile)(struct slabs *slabs);

void __real_os_purge(struct os_range *ranges, unsigned n, bool huge);
static atomic_uint purges; /* how often */

void __wrap_os_purge(struct os_range *ranges, unsigned n, bool huge);
void __wrap_os_purge(struct os_range *ranges, unsigned n, bool huge)
{
    void (*step)(struct slabs *) = meanwhile;
    if (step != NULL) {
        meanwhile = NULL;
        pthread_mutex_lock(&purged->lock);
        step(purged);
        pthread_mutex_unlock(&purged->lock);
    }
    atomic_fetch_add_explicit(&purges, 1, memory_order_relaxed);
    __real_os_purge(ranges, n, huge);
}

static void purge_and_meanwhile(struct slabs *slabs, void (*step)(struct slabs *slabs))
{
    purged = slabs;
    meanwhile = step;
    (void)purge_all(slabs);
    assert_null(meanwhile);
}

static void slabs_init(struct slabs *slabs)
{
    meanwhile = NULL;
    memset(slabs, 0, sizeof(*slabs));
    pthread_mutex_init(&slabs->lock, NULL);
    pthread_mutex_lock(&slabs->lock);
}

static void slabs_end(struct slabs *slabs)
{
    slab_destroy_all(slabs);
    pthread_mutex_unlock(&slabs->lock);
    pthread_mutex_destroy(&slabs->lock);
}

static struct slot take_from(struct slabs *slabs, unsigned lane)
{
    struct slot slot;
    const struct slab_request request = {&slabs->classes[SLAB_BASE], STRIDE, lane};
    slot.at = slab_take(slabs, &request, &slot.slab);
    assert_non_null(slot.at);
    if (sanitizer_on()) /* there is no heap to hand it out */
        sanitizer_open(slot.at, STRIDE);
    return slot;
}

static struct slot take(struct slabs *slabs)
{
    return take_from(slabs, 0);
}

/* Frees a slot as the heap does: with `defer` its memory stays until the next purge. */
static void give(struct slabs *slabs, const struct slot *slot, bool defer)
{
    slab_give(slabs, slot->slab, slot->at);
    if (!defer)
        purge_excess(slabs);
}

static unsigned bits(const uint64_t set[2])
{
    return (unsigned)(__builtin_popcountll(set[0]) + __builtin_popcountll(set[1]));
}

static const struct slab_list *list_of(const struct slab *slab)
{
    if (slab->cls == NULL)
        return &slab->span->cls->unused;
    if (bits(slab->dirty) > 0)
        return &slab->cls->dirty;
    return bits(slab->avail) > 0 ? &slab->cls->clean[slab->lane] : NULL;
}

/* What slab.c says at its top. */
static void check_invariants(const struct slabs *slabs)
{
    size_t all_dirty_bytes = 0, dirty_bytes[SLAB_CLASSES] = {0};
    size_t mapped = 0;
    for (const struct span *span = slabs->spans; span != NULL; span = span->next) {
        unsigned used = 0;
        for (const struct slab *slab = span->slab; slab < span->slab + span->slabs; slab++) {
            assert_ptr_equal(slab->list, list_of(slab));
            assert_true(slab->list == NULL || (slab->next->prev == slab && slab->next->list == slab->list));
            if (slab->cls == NULL)
                continue;
            used++;
            assert_false(slab->purging);
            for (int i = 0; i < 2; i++)
                assert_int_equal(slab->dirty[i] & ~slab->avail[i], 0);
            assert_int_equal(slab->free, bits(slab->avail));
            bool empty = bits(slab->avail) == slab->slots;
            assert_true(!empty || bits(slab->dirty) > 0);
            assert_true(!empty || slab->list != NULL);
            assert_true(!empty || slab->list == NULL || slab->next == slab->list->first ||
                        bits(slab->next->avail) == slab->next->slots);
            dirty_bytes[slab->cls - slabs->classes] += bits(slab->dirty) * slab->stride;
        }
        mapped += span->bytes;
        assert_int_equal(span->used, used);
        assert_true(used > 0);
    }
    for (size_t cls = 0; cls < SLAB_CLASSES; cls++) {
        assert_int_equal(slabs->classes[cls].dirty_bytes, dirty_bytes[cls]);
        all_dirty_bytes += dirty_bytes[cls];
    }
    assert_int_equal(slabs->dirty_bytes, all_dirty_bytes);
    assert_int_equal(slabs->mapped_bytes, mapped);
}

static size_t resident_pages(const struct slab *slab)
{
    size_t page = os_page_size(), n = 0;
    unsigned char in_core[(4u << 20) / 4096 + 2];
    assert_int_equal(mincore(slab->base, SLAB_BYTES_MAX, in_core), 0);
    for (size_t i = 0; i < SLAB_BYTES_MAX / page; i++)
        n += in_core[i] & 1u;
    return n;
}

static void no_slots_overlap(uint32_t colour)
{
    struct slabs slabs;
    slabs_init(&slabs);
    slabs.colour = colour;
    struct slot slots[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        slots[i] = take(&slabs);
        assert_true(slab_has(slots[i].slab, slots[i].at));
        assert_false(slab_has(slots[i].slab, slots[i].at + 64));
        test_fill(slots[i].at, STRIDE, i);
    }
    for (unsigned i = 0; i < MANY; i++)
        assert_true(test_filled(slots[i].at, STRIDE, i));
    assert_ptr_equal(slots[0].at, slots[0].slab->base + colour % slots[0].slab->slots * STRIDE);
    check_invariants(&slabs);
    slabs_end(&slabs);
}

/* Wherever a pool's begin. */
enum { SET_SLOTS = 128 };

/* Against the plain way to say it, at and around the words' boundaries. */
static void a_set_of_slots_has_each_slot_once(void **state)
{
    (void)state;
    test_random_t random = {4711};
    for (int round = 0; round < 2000; round++) {
        uint64_t set[2] = {0, 0};
        bool in[SET_SLOTS] = {false};
        const unsigned members = round % 5 == 0 ? 0 : (unsigned)test_random_below(&random, 6);
        for (unsigned i = 0; i < members; i++) {
            const unsigned slot = (unsigned)test_random_below(&random, SET_SLOTS);
            if (!in[slot])
                slots_add(set, slot);
            in[slot] = true;
        }
        unsigned count = 0, first = SET_SLOTS;
        for (unsigned i = SET_SLOTS; i-- > 0;) {
            assert_int_equal(slots_has(set, i), in[i]);
            count += in[i];
            first = in[i] ? i : first;
        }
        assert_int_equal(slots_count(set), count);
        assert_int_equal(slots_any(set), count > 0);
        for (unsigned from = 0; from < SET_SLOTS; from++) {
            unsigned next = from, gap = from;
            while (next < SET_SLOTS && !in[next])
                next++;
            while (gap < SET_SLOTS && in[gap])
                gap++;
            assert_int_equal(slots_next(set, from, SET_SLOTS, true), next);
            assert_int_equal(slots_next(set, from, SET_SLOTS, false), gap);
            if (count > 0)
                assert_int_equal(slots_first_from(set, from), next < SET_SLOTS ? next : first);
        }
    }
}

static void slots_do_not_overlap(void **state)
{
    (void)state;
    static const uint32_t colours[] = {0, 1, 63, 64, 100, 126, 127, 1000};
    for (size_t i = 0; i < sizeof colours / sizeof colours[0]; i++)
        no_slots_overlap(colours[i]);
}

static void a_freed_slot_is_the_next_one_taken(void **state)
{
    (void)state;
    struct slabs slabs;
    slabs_init(&slabs);
    struct slot slots[MANY];
    for (unsigned i = 0; i < MANY; i++)
        slots[i] = take(&slabs);
    /* in a slab that is full, while another one has slots that were never used: its pages are there already */
    give(&slabs, &slots[5], false);
    assert_ptr_equal(take(&slabs).at, slots[5].at);
    slabs_end(&slabs);
}

/* Takes MANY, beyond the cap or not, and frees them in random order. The limit is kept at each. */
static void dirty_memory_ebbs(bool beyond_cap)
{
    struct slabs slabs;
    slabs_init(&slabs);
    struct slot slots[MANY];
    test_random_t random = {7};
    for (unsigned i = 0; i < MANY; i++) {
        slots[i] = take(&slabs);
        slabs.beyond_cap_bytes += beyond_cap ? STRIDE : 0;
        memset(slots[i].at, 1, STRIDE);
    }
    size_t most = 0;
    for (unsigned left = MANY; left-- > 0;) {
        size_t pick = test_random_below(&random, left + 1);
        slabs.beyond_cap_bytes -= beyond_cap ? STRIDE : 0;
        give(&slabs, &slots[pick], false);
        slots[pick] = slots[left];
        assert_in_range(slabs.dirty_bytes, 0, beyond_cap && left * STRIDE > DIRTY_MAX ? left * STRIDE : DIRTY_MAX);
        most = slabs.dirty_bytes > most ? slabs.dirty_bytes : most;
        check_invariants(&slabs);
    }
    assert_in_range(most, beyond_cap ? MANY / 3 * STRIDE : DIRTY_MAX / 2,
                    MANY / 2 * STRIDE); /* not purged for nothing */
    purge_all(&slabs);
    assert_null(slabs.spans);
    check_invariants(&slabs);
    slabs_end(&slabs);
}

static void little_memory_stays_dirty(void **state)
{
    (void)state;
    dirty_memory_ebbs(false);
}

static void as_much_stays_dirty_as_is_held_beyond_the_cap(void **state)
{
    (void)state;
    dirty_memory_ebbs(true);
}

static void the_class_that_has_most_is_purged(void **state)
{
    (void)state;
    struct slabs slabs;
    slabs_init(&slabs);
    const struct slab_request other = {&slabs.classes[0], 4096, 0};
    struct slot small[200], large[40];
    for (unsigned i = 0; i < 200; i++) {
        small[i].at = slab_take(&slabs, &other, &small[i].slab);
        assert_non_null(small[i].at);
    }
    for (unsigned i = 0; i < 40; i++)
        large[i] = take(&slabs);
    for (unsigned i = 0; i < 200; i++)
        give(&slabs, &small[i], false);
    assert_int_equal(slabs.classes[0].dirty_bytes, 200 * 4096);
    for (unsigned i = 0; i < 8; i++)
        give(&slabs, &large[i], false);
    assert_int_equal(slabs.classes[SLAB_BASE].dirty_bytes, 8 * STRIDE);
    assert_in_range(slabs.classes[0].dirty_bytes, 0, 200 * 4096 - 1);
    check_invariants(&slabs);
    slabs_end(&slabs);
}

static void lanes_take_from_slabs_of_their_own(void **state)
{
    (void)state;
    struct slabs slabs;
    slabs_init(&slabs);
    struct slot first[SLAB_LANES];
    for (unsigned lane = 0; lane < SLAB_LANES; lane++) {
        first[lane] = take_from(&slabs, lane);
        for (unsigned other = 0; other < lane; other++)
            assert_ptr_not_equal(first[lane].slab, first[other].slab);
    }
    for (unsigned lane = 0; lane < SLAB_LANES; lane++)
        assert_ptr_equal(take_from(&slabs, lane).slab, first[lane].slab);
    /* a dirty slot is for all */
    give(&slabs, &first[1], false);
    assert_ptr_equal(take_from(&slabs, 2).at, first[1].at);
    check_invariants(&slabs);
    slabs_end(&slabs);
}

static void a_lane_takes_what_another_has_beyond_one_slab(void **state)
{
    (void)state;
    struct slabs slabs;
    slabs_init(&slabs);
    struct slot slots[MANY];
    for (unsigned i = 0; i < MANY; i++)
        slots[i] = take(&slabs);
    for (unsigned i = 0; i < MANY; i += 4)
        give(&slabs, &slots[i], true);
    purge_all(&slabs);
    const size_t mapped = slabs.mapped_bytes;
    for (unsigned i = 0; i < MANY / 2; i += 4) {
        assert_int_equal(take_from(&slabs, 5).slab->lane, 5);
        check_invariants(&slabs);
    }
    assert_int_equal(slabs.mapped_bytes, mapped);
    slabs_end(&slabs);
}

/* Of twelve slots side by side, the pages that lie in 3..5 alone. */
struct dozen {
    struct slabs slabs;
    struct slot slots[12];
};

static struct dozen dozen;

static void dozen_init(void)
{
    slabs_init(&dozen.slabs);
    for (unsigned i = 0; i < 12; i++) {
        dozen.slots[i] = take(&dozen.slabs);
        test_fill(dozen.slots[i].at, STRIDE, i);
    }
}

static void dozen_give(unsigned i)
{
    give(&dozen.slabs, &dozen.slots[i], true);
}

static void only_pages_of_3_to_5_are_gone(void)
{
    size_t page = os_page_size();
    size_t used = (12 * STRIDE + page - 1) / page;
    size_t free_pages = (6 * STRIDE) / page - (3 * STRIDE + page - 1) / page;
    assert_int_equal(resident_pages(dozen.slots[0].slab), used - free_pages);
    for (unsigned i = 0; i < 12; i++)
        if (i < 3 || i > 5)
            assert_true(test_filled(dozen.slots[i].at, STRIDE, i));
    check_invariants(&dozen.slabs);
}

static void a_purge_takes_every_page_between_free_slots(void **state)
{
    (void)state;
    if (test_instrumented())
        skip();
    dozen_init();
    /* 4 first and purged alone: the pages that it shares with 3 and 5 must go when those do */
    dozen_give(4);
    purge_all(&dozen.slabs);
    dozen_give(3);
    dozen_give(5);
    purge_all(&dozen.slabs);
    only_pages_of_3_to_5_are_gone();
    slabs_end(&dozen.slabs);
}

static void free_and_purge_neighbours(struct slabs *slabs)
{
    dozen_give(3);
    dozen_give(5);
    purge_all(slabs);
}

static void two_purges_leave_no_page_between_them(void **state)
{
    (void)state;
    if (test_instrumented())
        skip();
    dozen_init();
    dozen_give(4);
    purge_and_meanwhile(&dozen.slabs, free_and_purge_neighbours);
    purge_all(&dozen.slabs);
    only_pages_of_3_to_5_are_gone();
    slabs_end(&dozen.slabs);
}

static void take_three(struct slabs *slabs)
{
    for (unsigned i = 3; i < 6; i++) {
        dozen.slots[i] = take(slabs);
        test_fill(dozen.slots[i].at, STRIDE, i);
    }
}

/* More than may be dirty, and all of it in a slab that is being purged: there is nothing to purge. */
static void give_more_than_may_be_dirty(struct slabs *slabs)
{
    const size_t dirty = slabs->dirty_bytes;
    slabs->aside_bytes = 2 * DIRTY_MAX;
    dozen_give(6);
    assert_int_equal(slabs->dirty_bytes, dirty + STRIDE);
    assert_int_equal(atomic_load(&purges), 0);
    slabs->aside_bytes = 0;
}

static void a_give_leaves_a_slab_to_the_thread_that_purges_it(void **state)
{
    (void)state;
    dozen_init();
    for (unsigned i = 3; i < 6; i++)
        dozen_give(i);
    atomic_store(&purges, 0);
    purge_and_meanwhile(&dozen.slabs, give_more_than_may_be_dirty);
    check_invariants(&dozen.slabs);
    assert_int_equal(dozen.slabs.dirty_bytes, STRIDE);
    slabs_end(&dozen.slabs);
}

static void a_slot_that_is_being_purged_is_not_handed_out(void **state)
{
    (void)state;
    dozen_init();
    for (unsigned i = 3; i < 6; i++)
        dozen_give(i);
    purge_and_meanwhile(&dozen.slabs, take_three);
    for (unsigned i = 0; i < 12; i++)
        assert_true(test_filled(dozen.slots[i].at, STRIDE, i));
    check_invariants(&dozen.slabs);
    slabs_end(&dozen.slabs);
}

/* What heap_repair does in the child of a fork that happens now. */
static void repair(struct slabs *slabs)
{
    slab_repair_begin(slabs);
    for (unsigned i = 0; i < 12; i++)
        if (i < 3 || i > 5)
            slab_repair_claim(dozen.slots[i].slab, dozen.slots[i].at);
    slab_repair_end(slabs, false);
    check_invariants(slabs);
    assert_int_equal(slabs->dirty_bytes, 3 * STRIDE); /* dirty again: the purge may not have got to them */
}

static void a_purge_of_the_parent_is_undone_in_the_child(void **state)
{
    (void)state;
    dozen_init();
    for (unsigned i = 3; i < 6; i++)
        dozen_give(i);
    purge_and_meanwhile(&dozen.slabs, repair);
    slabs_end(&dozen.slabs);
}

/* What a handle says that was overwritten is no slot. */
static void repair_ignores_claims_that_are_no_slots(void **state)
{
    (void)state;
    struct slabs slabs;
    slabs_init(&slabs);
    struct slot slots[3];
    for (unsigned i = 0; i < 3; i++)
        slots[i] = take(&slabs);
    struct slab *slab = slots[0].slab;
    slab_repair_begin(&slabs);
    slab_repair_claim(slab, slots[0].at);
    slab_repair_claim(slab, slots[1].at + 16);
    slab_repair_claim(slab, slab->base + slab->slots * slab->stride);
    slab_repair_claim(slab, slab->base - slab->stride);
    slab_repair_claim(slab, slab->base + SLAB_BYTES_MAX);
    slab_repair_end(&slabs, false);
    check_invariants(&slabs);
    assert_int_equal(slab->free, slab->slots - 1); /* all but the one that was said rightly */
    slabs_end(&slabs);
}

static void repair_finds_the_slots_that_are_claimed(void **state)
{
    (void)state;
    struct slabs slabs;
    slabs_init(&slabs);
    struct slot slots[MANY];
    for (unsigned i = 0; i < MANY; i++)
        slots[i] = take_from(&slabs, i % 3);
    slab_repair_begin(&slabs);
    for (unsigned i = 0; i < MANY; i += 2)
        slab_repair_claim(slots[i].slab, slots[i].at);
    slab_repair_end(&slabs, false);
    check_invariants(&slabs);
    for (unsigned i = 1; i < MANY; i += 2) { /* the others may be had again */
        struct slot slot = take(&slabs);
        for (unsigned j = 0; j < MANY; j += 2)
            assert_ptr_not_equal(slot.at, slots[j].at);
    }
    slabs_end(&slabs);
}

/* ---- the heap on top ---- */

static void heap_init(struct heap *heap, size_t base)
{
    memset(heap, 0, sizeof(*heap));
    heap->base = base;
    heap->alignment = 64;
    pthread_mutex_init(&heap->slabs.lock, NULL);
}

static void blocks_grow_through_classes_and_mappings(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, 100);
    struct desc *d = test_heap_alloc(&heap, false);
    assert_non_null(d);
    assert_int_equal(d->pub.cap, 100);
    test_fill(d->pub.data, 100, 1);
    for (size_t need = 101; need <= (size_t)3 << 20; need = d->pub.cap + 1) {
        size_t before = d->pub.cap;
        assert_int_equal(heap_grow(&heap, d, need, 100), 0);
        assert_true(d->pub.cap >= need && d->pub.cap >= before + before / 2);
        assert_true(((uintptr_t)d->pub.data & 63) == 0);
        assert_true(block_intact(&heap, d));
        assert_ptr_equal(block_desc_of_data(d->pub.data), d);
        assert_true(test_filled(d->pub.data, 100, 1));
        d->pub.data[d->pub.cap - 1] = 1; /* usable to the end */
    }
    assert_null(d->slab);
    assert_int_equal(heap_grow(&heap, d, SIZE_MAX, 0), EOVERFLOW);
    test_narrow_addresses();
    assert_int_equal(heap_grow(&heap, d, HEAP_CAP_MAX, 0), ENOMEM);
    test_widen_addresses();
    assert_true(test_filled(d->pub.data, 100, 1));
    test_heap_free(&heap, d, false);
    heap_purge(&heap);
    assert_null(heap.slabs.spans);
    heap_destroy(&heap);
}

static void huge_pages_are_asked_for_whole(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, 32768);
    heap.slabs.huge = true;
    struct desc *d = test_heap_alloc(&heap, false);
    assert_non_null(d);
    assert_true(((uintptr_t)d->slab->base & (((uintptr_t)2 << 20) - 1)) == 0);
    memset(d->pub.data, 1, d->pub.cap);
    assert_int_equal(heap_grow(&heap, d, (size_t)5 << 20, 32768), 0);
    memset(d->pub.data, 1, d->pub.cap);
    test_heap_free(&heap, d, false);
    heap_destroy(&heap);
}

struct load {
    struct heap heap;
    size_t turns;
};

static void make_and_free(void *arg, unsigned index)
{
    struct load *load = arg;
    enum { HELD = 40 };
    struct desc *held[HELD] = {NULL};
    test_random_t random = {index + 1};
    for (size_t turn = 0; turn < load->turns; turn++) {
        size_t i = test_random_below(&random, HELD);
        if (held[i] == NULL) {
            held[i] = test_heap_alloc(&load->heap, turn % 3 == 0);
            if (!thread_check(held[i] != NULL))
                return;
            if (turn % 5 == 0)
                thread_check(heap_grow(&load->heap, held[i], 5000 + turn % 90000, 0) == 0);
            test_fill(held[i]->pub.data, 64, (uint64_t)index << 32 | i);
            held[i]->pub.data[held[i]->pub.cap - 1] = (unsigned char)index;
        } else {
            thread_check(test_filled(held[i]->pub.data, 64, (uint64_t)index << 32 | i));
            thread_check(held[i]->pub.data[held[i]->pub.cap - 1] == (unsigned char)index);
            thread_check(block_intact(&load->heap, held[i]));
            test_heap_free(&load->heap, held[i], turn % 2 == 0);
            held[i] = NULL;
        }
        if (turn % 1000 == 0)
            heap_purge(&load->heap);
    }
    for (unsigned i = 0; i < HELD; i++)
        if (held[i] != NULL)
            test_heap_free(&load->heap, held[i], false);
}

static void threads_share_slabs(void **state)
{
    (void)state;
    static struct load load;
    heap_init(&load.heap, 4000);
    load.turns = test_scale(60000, 3000);
    run_threads(4, make_and_free, &load);
    check_invariants(&load.heap.slabs);
    heap_purge(&load.heap);
    assert_null(load.heap.slabs.spans);
    heap_destroy(&load.heap);
}

/* What a trim has given and not purged yet is not for others to purge. */
static void a_give_purges_no_more_than_its_share(void **state)
{
    enum { HEAP = 2000 };
    static struct slot slots[HEAP];
    (void)state;
    struct slabs slabs;
    slabs_init(&slabs);
    for (unsigned i = 0; i < HEAP; i++)
        slots[i] = take(&slabs);
    for (unsigned i = 1; i < HEAP; i++)
        give(&slabs, &slots[i], true);
    const size_t dirty = slabs.dirty_bytes;
    atomic_store(&purges, 0);
    give(&slabs, &slots[0], false);
    assert_in_range(atomic_load(&purges), 1, 2);
    assert_true(slabs.dirty_bytes >= dirty / 2);
    check_invariants(&slabs);
    purge_all(&slabs);
    assert_int_equal(slabs.dirty_bytes, 0);
    check_invariants(&slabs);
    slabs_end(&slabs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_of_slots_has_each_slot_once),

        cmocka_unit_test(slots_do_not_overlap),
        cmocka_unit_test(a_freed_slot_is_the_next_one_taken),
        cmocka_unit_test(little_memory_stays_dirty),
        cmocka_unit_test(as_much_stays_dirty_as_is_held_beyond_the_cap),
        cmocka_unit_test(the_class_that_has_most_is_purged),
        cmocka_unit_test(lanes_take_from_slabs_of_their_own),
        cmocka_unit_test(a_lane_takes_what_another_has_beyond_one_slab),
        cmocka_unit_test(a_purge_takes_every_page_between_free_slots),
        cmocka_unit_test(two_purges_leave_no_page_between_them),
        cmocka_unit_test(a_give_leaves_a_slab_to_the_thread_that_purges_it),
        cmocka_unit_test(a_slot_that_is_being_purged_is_not_handed_out),
        cmocka_unit_test(a_purge_of_the_parent_is_undone_in_the_child),
        cmocka_unit_test(repair_finds_the_slots_that_are_claimed),
        cmocka_unit_test(repair_ignores_claims_that_are_no_slots),
        cmocka_unit_test(blocks_grow_through_classes_and_mappings),
        cmocka_unit_test(huge_pages_are_asked_for_whole),
        cmocka_unit_test(threads_share_slabs),
        cmocka_unit_test(a_give_purges_no_more_than_its_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
