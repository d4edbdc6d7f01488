/* SPDX-License-Identifier: MIT
 *
 * test_slab.c - slots of slabs do not overlap, the invariants of slab.c hold after every step, and memory goes back
 *
 * The tests ask the kernel whether a page is resident (mincore). The linker's --wrap lets other threads run while a
 * purge has let the lock go, looks at each of the purge's system calls, lets memory end, and says on which CPU a call
 * runs.
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

/* The same while it unmaps. */
static void (*while_unmapping)(struct slabs *slabs);

static void happen(void (**what)(struct slabs *slabs))
{
    void (*step)(struct slabs *) = *what;
    if (step == NULL)
        return;
    *what = NULL;
    pthread_mutex_lock(&purged->lock);
    step(purged);
    pthread_mutex_unlock(&purged->lock);
}

/* The lock that no system call may be made under, if it is set; and the most bytes of a call. */
static pthread_mutex_t *watched;
static size_t most_bytes;
static bool locked;

static void watch_call(size_t bytes)
{
    if (watched == NULL)
        return;
    if (pthread_mutex_trylock(watched) == 0)
        pthread_mutex_unlock(watched);
    else
        locked = true;
    most_bytes = bytes > most_bytes ? bytes : most_bytes;
}

static size_t largest = SIZE_MAX; /* there is no memory for larger mappings */

void *__real_os_map(size_t n, bool huge);
void *__wrap_os_map(size_t n, bool huge);
void *__wrap_os_map(size_t n, bool huge)
{
    return n > largest ? NULL : __real_os_map(n, huge);
}

void *__real_os_grow(void *region, size_t bytes, size_t new_bytes);
void *__wrap_os_grow(void *region, size_t bytes, size_t new_bytes);
void *__wrap_os_grow(void *region, size_t bytes, size_t new_bytes)
{
    return new_bytes > largest ? NULL : __real_os_grow(region, bytes, new_bytes);
}

/* Called before each mapping ends; NULL: nothing is. */
static void (*before_unmapping)(size_t bytes);

void __real_os_unmap(void *region, size_t bytes);
void __wrap_os_unmap(void *region, size_t bytes);
void __wrap_os_unmap(void *region, size_t bytes)
{
    happen(&while_unmapping);
    if (before_unmapping != NULL)
        before_unmapping(bytes);
    watch_call(0); /* what was purged has no pages, however many bytes it has */
    __real_os_unmap(region, bytes);
}

void __real_os_purge(struct os_range *ranges, unsigned n, bool huge);
static atomic_uint purges; /* how often */

void __wrap_os_purge(struct os_range *ranges, unsigned n, bool huge);
void __wrap_os_purge(struct os_range *ranges, unsigned n, bool huge)
{
    happen(&meanwhile);
    size_t bytes = 0;
    for (unsigned i = 0; i < n; i++)
        bytes += (size_t)(ranges[i].to - ranges[i].from);
    watch_call(bytes);
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

static size_t spare; /* what callers hold beyond the cap */

static void slabs_init(struct slabs *slabs)
{
    meanwhile = while_unmapping = NULL;
    spare = 0;
    watched = NULL;
    largest = SIZE_MAX;
    memset(slabs, 0, sizeof(*slabs));
    pthread_mutex_init(&slabs->lock, NULL);
    pthread_mutex_lock(&slabs->lock);
}

/* The same, with so much mapped that new slabs have their full size: four slots of a class of their own. */
static void slabs_init_grown(struct slabs *slabs)
{
    slabs_init(slabs);
    const struct slab_request request = {&slabs->classes[SLAB_BASE - 1], SLAB_BYTES_MAX / 4};
    struct slab *slab;
    assert_non_null(slab_take(slabs, &request, &slab));
    assert_int_equal(slabs->mapped_bytes, SLAB_BYTES_MAX);
}

static void slabs_end(struct slabs *slabs)
{
    slab_destroy_all(slabs);
    pthread_mutex_unlock(&slabs->lock);
    pthread_mutex_destroy(&slabs->lock);
}

static _Thread_local int cpu = -1; /* on which the thread runs; -1: the true one */

int __real_sched_getcpu(void);
int __wrap_sched_getcpu(void);
int __wrap_sched_getcpu(void)
{
    return cpu >= 0 ? cpu : __real_sched_getcpu();
}

static struct slot take_from(struct slabs *slabs, unsigned lane)
{
    struct slot slot;
    cpu = (int)lane;
    const struct slab_request request = {&slabs->classes[SLAB_BASE], STRIDE};
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
        purge_excess(slabs, spare);
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
    assert_int_equal(mincore(slab->base, slab->span->slab_bytes, in_core), 0);
    for (size_t i = 0; i < slab->span->slab_bytes / page; i++)
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
        memset(slots[i].at, 1, STRIDE);
    }
    size_t most = 0;
    for (unsigned left = MANY; left-- > 0;) {
        size_t pick = test_random_below(&random, left + 1);
        spare = beyond_cap ? left * STRIDE : 0;
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
    const struct slab_request other = {&slabs.classes[0], 4096};
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
        assert_int_equal(take_from(&slabs, SLAB_LANES - 1).slab->lane, SLAB_LANES - 1);
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
    slabs_init_grown(&dozen.slabs);
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
    slabs->retained.bytes = 2 * DIRTY_MAX;
    dozen_give(6);
    assert_int_equal(slabs->dirty_bytes, dirty + STRIDE);
    assert_int_equal(atomic_load(&purges), 0);
    slabs->retained.bytes = 0;
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

enum { BULK = 100 }; /* of STRIDE bytes: more than three times what may be dirty, and less than a slab */

static struct slot bulk[2 * BULK];

static void give_second_half(struct slabs *slabs)
{
    for (unsigned i = BULK; i < BULK + 60; i++)
        give(slabs, &bulk[i], false);
    assert_true(slabs->dirty_bytes > DIRTY_MAX); /* the slab is being purged, so nothing was done about it */
}

/* What another thread gives to a slab that is being purged, that thread cannot purge: so the purge does, as soon as it
 * is too much. What is left is found by the next. */
static void a_purge_leaves_no_more_dirty_than_may_be(void **state)
{
    (void)state;
    struct slabs slabs;
    slabs_init_grown(&slabs);
    for (unsigned i = 0; i < 2 * BULK; i++)
        bulk[i] = take(&slabs);
    assert_ptr_equal(bulk[0].slab, bulk[BULK + 20].slab);
    for (unsigned i = 0; i < 20; i++)
        give(&slabs, &bulk[i], true);
    for (unsigned i = 2 * BULK - 20; i < 2 * BULK; i++)
        give(&slabs, &bulk[i], true);
    purge_and_meanwhile(&slabs, give_second_half);
    check_invariants(&slabs);
    assert_in_range(slabs.dirty_bytes, 0, DIRTY_MAX);
    (void)purge_all(&slabs);
    assert_int_equal(slabs.dirty_bytes, 0);
    check_invariants(&slabs);
    slabs_end(&slabs);
}

static void give_first_half(struct slabs *slabs)
{
    for (unsigned i = 50; i < BULK; i++)
        give(slabs, &bulk[i], false);
    assert_true(slabs->dirty_bytes > DIRTY_MAX);
}

/* The same where a give is what purges. */
static void a_give_purges_what_came_meanwhile(void **state)
{
    (void)state;
    struct slabs slabs;
    slabs_init_grown(&slabs);
    for (unsigned i = 0; i < 2 * BULK; i++)
        bulk[i] = take(&slabs);
    for (unsigned i = 0; i < 40; i++)
        give(&slabs, &bulk[i], true);
    purged = &slabs;
    meanwhile = give_first_half;
    give(&slabs, &bulk[40], false);
    assert_null(meanwhile);
    check_invariants(&slabs);
    assert_in_range(slabs.dirty_bytes, 0, DIRTY_MAX);
    slabs_end(&slabs);
}

static void give_the_others(struct slabs *slabs)
{
    (void)slabs;
    for (unsigned i = 0; i < 12; i++)
        if (i < 3 || i > 5)
            dozen_give(i);
}

/* A slab that becomes empty while it is purged has dirty slots still: it keeps its class, and the next purge finds it.
 * */
static void a_slab_that_empties_during_a_purge_is_purged_again(void **state)
{
    (void)state;
    dozen_init();
    for (unsigned i = 3; i < 6; i++)
        dozen_give(i);
    purge_and_meanwhile(&dozen.slabs, give_the_others);
    check_invariants(&dozen.slabs);
    assert_int_equal(dozen.slabs.dirty_bytes, 9 * STRIDE);
    (void)purge_all(&dozen.slabs);
    assert_int_equal(dozen.slabs.dirty_bytes, 0);
    assert_int_equal(dozen.slabs.mapped_bytes, SLAB_BYTES_MAX); /* slabs_init_grown */
    slabs_end(&dozen.slabs);
}

static struct slot taken_meanwhile;

static void take_and_fill(struct slabs *slabs)
{
    taken_meanwhile = take(slabs);
    test_fill(taken_meanwhile.at, STRIDE, 77);
}

static void a_slab_that_is_being_unmapped_is_not_handed_out(void **state)
{
    (void)state;
    struct slabs slabs;
    slabs_init(&slabs);
    for (unsigned i = 0; i < 2 * BULK; i++)
        bulk[i] = take(&slabs);
    for (unsigned i = 0; i < 2 * BULK; i++)
        give(&slabs, &bulk[i], true);
    purged = &slabs;
    while_unmapping = take_and_fill;
    (void)purge_all(&slabs);
    assert_null(while_unmapping);
    check_invariants(&slabs);
    assert_true(test_filled(taken_meanwhile.at, STRIDE, 77));
    give(&slabs, &taken_meanwhile, true);
    (void)purge_all(&slabs);
    assert_null(slabs.spans);
    slabs_end(&slabs);
}

/* Of any stride: a purge of everything waits for the system without the lock, and for few bytes at a time. */
static void a_purge_holds_the_lock_for_no_system_call(void **state)
{
    enum { SLOTS = 3000 };
    static const size_t strides[] = {80, 320, 4160, STRIDE};
    static struct slot slots[SLOTS];
    (void)state;
    for (size_t s = 0; s < sizeof strides / sizeof strides[0]; s++) {
        struct slabs slabs;
        slabs_init(&slabs);
        const struct slab_request request = {&slabs.classes[s], strides[s]};
        for (unsigned i = 0; i < SLOTS; i++)
            assert_non_null(slots[i].at = slab_take(&slabs, &request, &slots[i].slab));
        for (unsigned i = 0; i < SLOTS; i++)
            give(&slabs, &slots[i], true);
        watched = &slabs.lock;
        most_bytes = 0;
        locked = false;
        (void)purge_all(&slabs);
        watched = NULL;
        assert_false(locked);
        assert_in_range(most_bytes, 1, SLAB_PURGE_BYTES + SLAB_BYTES_MAX);
        assert_null(slabs.spans);
        slabs_end(&slabs);
    }
}

/* A purge gives whole pages of one slab back. So with huge pages a slab has some of these, or small slabs share one,
 * which goes when nothing in it is used. */
static void with_huge_pages_slabs_have_whole_ones_or_share_one(void **state)
{
    enum { SLOTS = 8000 };
    static const struct {
        size_t stride, slab_bytes;
    } cases[] = {{80, 12288}, {320, 40960}, {20032, 2 << 20}, {STRIDE, 4 << 20}, {1 << 20, 4 << 20}};
    static struct slot slots[SLOTS];
    (void)state;
    if (os_page_size() != 4096)
        skip();
    for (size_t s = 0; s < sizeof cases / sizeof cases[0]; s++) {
        struct slabs slabs;
        slabs_init(&slabs);
        slabs.huge = true;
        const struct slab_request request = {&slabs.classes[s], cases[s].stride};
        const unsigned n = cases[s].stride < 4096 ? SLOTS : 12;
        for (unsigned i = 0; i < n; i++) {
            assert_non_null(slots[i].at = slab_take(&slabs, &request, &slots[i].slab));
            const struct span *span = slots[i].slab->span;
            assert_int_equal(span->slab_bytes, cases[s].slab_bytes);
            assert_int_equal(span->bytes % OS_HUGE_PAGE, 0);
            if (span->slab_bytes < OS_HUGE_PAGE)
                assert_int_equal(span->slabs, OS_HUGE_PAGE / span->slab_bytes);
            assert_int_equal((uintptr_t)span->base % OS_HUGE_PAGE, 0);
            assert_true(span->slab_bytes % OS_HUGE_PAGE == 0 || span->bytes == OS_HUGE_PAGE);
            assert_true(slots[i].at + cases[s].stride <= slots[i].slab->base + span->slab_bytes);
            assert_true(slots[i].slab->base + span->slab_bytes <= span->base + span->bytes);
        }
        check_invariants(&slabs);
        for (unsigned i = 0; i < n; i++)
            give(&slabs, &slots[i], i % 2 == 0);
        (void)purge_all(&slabs);
        assert_null(slabs.spans);
        slabs_end(&slabs);
    }
}

/* Each has the pages of 128 slots, or as many slots as fit into 4 MiB. */
static void a_slab_is_as_large_as_its_slots(void **state)
{
    static const size_t strides[] = {80, 320, 4160, 32768, 32832, 300000, 1 << 20};
    (void)state;
    for (size_t s = 0; s < sizeof strides / sizeof strides[0]; s++) {
        struct slabs slabs;
        slabs_init_grown(&slabs);
        const struct slab_request request = {&slabs.classes[s], strides[s]};
        struct slot slot;
        assert_non_null(slot.at = slab_take(&slabs, &request, &slot.slab));
        const size_t bytes = slot.slab->span->slab_bytes;
        assert_int_equal(bytes % os_page_size(), 0);
        assert_in_range(bytes, slot.slab->slots * strides[s], SLAB_BYTES_MAX);
        assert_in_range(bytes, 0, slot.slab->slots * strides[s] + os_page_size() - 1);
        if (slot.slab->slots < SLAB_SLOTS_MAX)
            assert_int_equal(slot.slab->slots, SLAB_BYTES_MAX / strides[s]);
        assert_int_equal(slabs.mapped_bytes, SLAB_BYTES_MAX + slot.slab->span->bytes);
        slabs_end(&slabs);
    }
}

/* Blocks whose first pages agree in the lowest bits of their numbers compete for a part of the processor's TLB. */
static void first_pages_of_many_blocks_differ_in_their_lowest_bits(void **state)
{
    enum { BLOCKS = 8192, VALUES = 8, EVEN = BLOCKS / VALUES };
    (void)state;
    if (os_page_size() != 4096)
        skip();
    struct slabs slabs;
    slabs_init_grown(&slabs);
    unsigned blocks[VALUES] = {0};
    for (unsigned i = 0; i < BLOCKS; i++) {
        const struct slot slot = take(&slabs);
        blocks[(size_t)(slot.at - slot.slab->span->base) / 4096 % VALUES]++;
    }
    for (unsigned i = 0; i < VALUES; i++)
        assert_in_range(blocks[i], EVEN / 2, EVEN * 3 / 2);
    slabs_end(&slabs);
}

/* A thousand pools with a buffer each need not map 4 MiB each. */
static void a_new_slab_at_most_doubles_what_is_mapped(void **state)
{
    static const size_t strides[] = {80, 4160, STRIDE, (size_t)256 << 10, (size_t)1 << 20};
    static const size_t firsts[] = {12288, (size_t)256 << 10, (size_t)256 << 10, (size_t)1 << 20, (size_t)4 << 20};
    (void)state;
    if (os_page_size() != 4096)
        skip();
    for (size_t s = 0; s < sizeof strides / sizeof strides[0]; s++) {
        struct slabs slabs;
        slabs_init(&slabs);
        const struct slab_request request = {&slabs.classes[s], strides[s]};
        struct slab *slab;
        size_t mapped = 0;
        for (int i = 0; i < 1000; i++) {
            assert_non_null(slab_take(&slabs, &request, &slab));
            if (mapped == 0)
                assert_int_equal(slabs.mapped_bytes, firsts[s]);
            else if (mapped < (size_t)8 << 20)
                assert_in_range(slabs.mapped_bytes, mapped, 2 * mapped);
            mapped = slabs.mapped_bytes;
        }
        check_invariants(&slabs);
        slabs_end(&slabs);
    }
}

/* ---- when memory ends ---- */

/* There is memory for one slab more, but not for a span of several: it has the slots of one slab, and no more. */
static void where_there_is_little_memory_a_span_has_one_slab(void **state)
{
    (void)state;
    static const size_t strides[] = {320, 4160, STRIDE};
    static struct slot slots[4000];
    for (size_t s = 0; s < sizeof strides / sizeof strides[0]; s++) {
        struct slabs slabs;
        slabs_init_grown(&slabs);
        const struct slab_request request = {&slabs.classes[s], strides[s]};
        unsigned n = 0;
        do { /* until spans are of several slabs */
            slots[n].at = slab_take(&slabs, &request, &slots[n].slab);
            assert_non_null(slots[n].at);
            n++;
        } while (slabs.spans->slabs < 4);
        for (;; n++) { /* to the end of what is mapped */
            largest = 0;
            slots[n].at = slab_take(&slabs, &request, &slots[n].slab);
            if (slots[n].at == NULL)
                break;
        }
        size_t room = 0;
        for (const struct span *span = slabs.spans; span != NULL; span = span->next)
            room += span->cls == request.cls ? span->slabs * slots[0].slab->slots : 0;
        assert_int_equal(n, room);
        const struct span *last = slabs.spans;
        for (unsigned more = 1; more <= 3; more++) {
            largest = slots[0].slab->span->slab_bytes;
            slots[n].at = slab_take(&slabs, &request, &slots[n].slab);
            assert_non_null(slots[n].at);
            assert_ptr_not_equal(slabs.spans, last);
            last = slabs.spans;
            assert_int_equal(last->slabs, 1);
            assert_int_equal(last->bytes, last->slab_bytes);
            largest = 0;
            for (n++; (slots[n].at = slab_take(&slabs, &request, &slots[n].slab)) != NULL; n++)
                ;
            assert_int_equal(n, room + more * slots[0].slab->slots);
        }
        for (unsigned i = 0; i < n; i++) {
            if (sanitizer_on())
                sanitizer_open(slots[i].at, strides[s]);
            test_fill(slots[i].at, 64, i);
            slots[i].at[strides[s] - 1] = (unsigned char)i;
        }
        for (unsigned i = 0; i < n; i++) {
            assert_true(test_filled(slots[i].at, 64, i));
            assert_int_equal(slots[i].at[strides[s] - 1], (unsigned char)i);
        }
        check_invariants(&slabs);
        slabs_end(&slabs);
    }
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
    assert_int_equal(slabs->classes[SLAB_BASE].dirty_bytes,
                     3 * STRIDE); /* dirty again: the purge may not have got to them */
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

/* Also to those behind one that is not used any more. */
static void repair_comes_to_each_slab_of_a_span(void **state)
{
    enum { SLABS = 4, SLOTS = 4000 };
    static struct slot slots[SLOTS];
    (void)state;
    struct slabs slabs;
    slabs_init(&slabs);
    const struct slab_request request = {&slabs.classes[0], 320};
    unsigned n = 0;
    do { /* until the last slab of a span of several is used */
        assert_in_range(n, 0, SLOTS - 1);
        assert_non_null(slots[n].at = slab_take(&slabs, &request, &slots[n].slab));
    } while (slabs.spans->slabs < SLABS || slots[n++].slab != &slabs.spans->slab[slabs.spans->slabs - 1]);
    struct span *span = slabs.spans;
    for (unsigned i = 0; i < n; i++)
        if (slots[i].slab == &span->slab[1])
            give(&slabs, &slots[i], true);
    (void)purge_all(&slabs);
    assert_null(span->slab[1].cls);
    slab_repair_begin(&slabs);
    slab_repair_end(&slabs, false);
    check_invariants(&slabs);
    for (unsigned i = 0; i < span->slabs; i++)
        assert_int_equal(span->slab[i].free, i == 1 ? 0 : span->slab[i].slots); /* nobody claimed any */
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
    struct desc *d = test_heap_alloc(&heap);
    assert_non_null(d);
    assert_int_equal(d->pub.cap, 100);
    test_fill(d->pub.data, 100, 1);
    for (size_t need = 101; need <= (size_t)3 << 20; need = d->pub.cap + 1) {
        size_t before = d->pub.cap;
        assert_int_equal(heap_grow(&heap, d, need, 100, 0), 0);
        assert_true(d->pub.cap >= need && d->pub.cap >= before + before / 2);
        assert_true(((uintptr_t)d->pub.data & 63) == 0);
        assert_true(block_intact(&heap, d));
        assert_ptr_equal(block_desc_of_data(d->pub.data), d);
        assert_true(test_filled(d->pub.data, 100, 1));
        d->pub.data[d->pub.cap - 1] = 1; /* usable to the end */
    }
    assert_null(d->slab);
    assert_int_equal(heap_grow(&heap, d, SIZE_MAX, 0, 0), EOVERFLOW);
    test_narrow_addresses();
    assert_int_equal(heap_grow(&heap, d, HEAP_CAP_MAX, 0, 0), ENOMEM);
    test_widen_addresses();
    assert_true(test_filled(d->pub.data, 100, 1));
    test_heap_free(&heap, d, false, 0);
    heap_purge(&heap);
    assert_null(heap.slabs.spans);
    heap_destroy(&heap);
}

static size_t largest_hooked; /* the hook has no memory for larger blocks */

static void *hook_alloc(size_t size, size_t align, void *ctx)
{
    (void)ctx;
    return size > largest_hooked ? NULL : aligned_alloc(align, (size + align - 1) & ~(align - 1));
}

static void hook_free(void *block, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    free(block);
}

/* Growth asks for twice as much, and is content with what is needed. */
static void growth_falls_back_to_what_is_needed(void **state)
{
    enum { KIB = 1024 };
    static const struct {
        size_t from, need, limit; /* there is no memory for blocks of more than `limit` bytes */
        bool hook, enough;
    } cases[] = {
        {1000, 1001, 1500, true, true},
        {1000, 1501, 1500, true, false},
        {300 * KIB, 301 * KIB, 400 * KIB, false, true},
        {3000 * KIB, 3001 * KIB, 4000 * KIB, false, true},
        {200 * KIB, 201 * KIB, 300 * KIB, false, true}, /* from a slot to a slot */
        {200 * KIB, 300 * KIB, 350 * KIB, false, true}, /* from a slot to a mapping */
        {300 * KIB, 450 * KIB, 400 * KIB, false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct heap heap;
        heap_init(&heap, 1000);
        largest = largest_hooked = SIZE_MAX;
        if (cases[i].hook) {
            heap.alloc = hook_alloc;
            heap.free = hook_free;
        }
        struct desc *d = test_heap_alloc(&heap);
        assert_non_null(d);
        if (cases[i].from > 1000) {
            assert_int_equal(heap_grow(&heap, d, cases[i].from, 0, 0), 0);
            assert_int_equal(d->pub.cap, cases[i].from);
        }
        test_fill(d->pub.data, d->pub.cap, i);
        const bufferpool_buf_t before = d->pub;
        const size_t bytes = test_random_below(&(test_random_t){i}, before.cap), dirty = heap.slabs.dirty_bytes;
        largest = largest_hooked = cases[i].limit;
        const int error = heap_grow(&heap, d, cases[i].need, bytes, 0);
        assert_int_equal(error, cases[i].enough ? 0 : ENOMEM);
        assert_int_equal(d->pub.cap, cases[i].enough ? block_grown_cap(&heap, cases[i].need) : before.cap);
        assert_true(cases[i].enough || (d->pub.data == before.data && heap.slabs.dirty_bytes == dirty));
        assert_true(block_intact(&heap, d));
        assert_true(test_filled(d->pub.data, bytes, i));
        d->pub.data[d->pub.cap - 1] = 1;
        test_heap_free(&heap, d, false, 0);
        heap_destroy(&heap);
    }
    largest = SIZE_MAX;
}

static void huge_pages_are_asked_for_whole(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap, 32768);
    heap.slabs.huge = true;
    struct desc *d = test_heap_alloc(&heap);
    assert_non_null(d);
    assert_true(((uintptr_t)d->slab->base & (((uintptr_t)2 << 20) - 1)) == 0);
    memset(d->pub.data, 1, d->pub.cap);
    assert_int_equal(heap_grow(&heap, d, (size_t)5 << 20, 32768, 0), 0);
    memset(d->pub.data, 1, d->pub.cap);
    test_heap_free(&heap, d, false, 0);
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
            held[i] = test_heap_alloc(&load->heap);
            if (!thread_check(held[i] != NULL))
                return;
            if (turn % 5 == 0)
                thread_check(heap_grow(&load->heap, held[i], 5000 + turn % 90000, 0, 0) == 0);
            test_fill(held[i]->pub.data, 64, (uint64_t)index << 32 | i);
            held[i]->pub.data[held[i]->pub.cap - 1] = (unsigned char)index;
        } else {
            thread_check(test_filled(held[i]->pub.data, 64, (uint64_t)index << 32 | i));
            thread_check(held[i]->pub.data[held[i]->pub.cap - 1] == (unsigned char)index);
            thread_check(block_intact(&load->heap, held[i]));
            test_heap_free(&load->heap, held[i], turn % 2 == 0, 0);
            held[i] = NULL;
        }
        if (turn % 1000 == 0)
            heap_purge(&load->heap);
    }
    for (unsigned i = 0; i < HELD; i++)
        if (held[i] != NULL)
            test_heap_free(&load->heap, held[i], false, 0);
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

/* ---- a pool ends ---- */

enum { LARGE = 256 << 10, MANY_LARGE = 1200, STEP_MAX = 64 << 20 };

static struct {
    size_t steps, bytes, most;
} ending;

static void live_and_end(void *arg, unsigned index)
{
    (void)arg, (void)index;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "ends";
    bufferpool_t *other = bufferpool_create(&config);
    if (!thread_check(other != NULL))
        return;
    bufferpool_buf_t *buf = bufferpool_get(other);
    thread_check(buf != NULL && bufferpool_buf_reserve(buf, LARGE) == 0);
    bufferpool_put(buf);
    bufferpool_thread_flush();
    (void)bufferpool_trim(other);
    thread_check(bufferpool_destroy(other) == 0);
}

/* Another thread comes, uses another pool, ends the pool, and ends. */
static void count_and_use_another_pool(size_t bytes)
{
    ending.steps++;
    ending.bytes += bytes;
    ending.most = bytes > ending.most ? bytes : ending.most;
    before_unmapping = NULL;
    run_threads(1, live_and_end, NULL);
    before_unmapping = count_and_use_another_pool;
}

static void hundreds_of_megabytes_end_in_steps_and_other_pools_go_on(void **state)
{
    static bufferpool_buf_t *bufs[MANY_LARGE];
    (void)state;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "ends";
    config.buffer_capacity = LARGE;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    assert_int_equal(bufferpool_get_bulk(pool, bufs, MANY_LARGE), 0);
    bufferpool_put_bulk(bufs, MANY_LARGE);
    memset(&ending, 0, sizeof ending);
    before_unmapping = count_and_use_another_pool;
    assert_int_equal(bufferpool_destroy(pool), 0);
    before_unmapping = NULL;
    assert_true(ending.bytes >= (size_t)MANY_LARGE * LARGE);
    assert_in_range(ending.most, LARGE, STEP_MAX);
    assert_true(ending.steps >= ending.bytes / STEP_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hundreds_of_megabytes_end_in_steps_and_other_pools_go_on),
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
        cmocka_unit_test(a_purge_leaves_no_more_dirty_than_may_be),
        cmocka_unit_test(a_give_purges_what_came_meanwhile),
        cmocka_unit_test(a_slab_that_empties_during_a_purge_is_purged_again),
        cmocka_unit_test(a_slab_that_is_being_unmapped_is_not_handed_out),
        cmocka_unit_test(a_purge_holds_the_lock_for_no_system_call),
        cmocka_unit_test(with_huge_pages_slabs_have_whole_ones_or_share_one),
        cmocka_unit_test(a_slab_is_as_large_as_its_slots),
        cmocka_unit_test(first_pages_of_many_blocks_differ_in_their_lowest_bits),
        cmocka_unit_test(a_new_slab_at_most_doubles_what_is_mapped),
        cmocka_unit_test(where_there_is_little_memory_a_span_has_one_slab),
        cmocka_unit_test(a_purge_of_the_parent_is_undone_in_the_child),
        cmocka_unit_test(repair_finds_the_slots_that_are_claimed),
        cmocka_unit_test(repair_comes_to_each_slab_of_a_span),
        cmocka_unit_test(repair_ignores_claims_that_are_no_slots),
        cmocka_unit_test(blocks_grow_through_classes_and_mappings),
        cmocka_unit_test(growth_falls_back_to_what_is_needed),
        cmocka_unit_test(huge_pages_are_asked_for_whole),
        cmocka_unit_test(threads_share_slabs),
        cmocka_unit_test(a_give_purges_no_more_than_its_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
