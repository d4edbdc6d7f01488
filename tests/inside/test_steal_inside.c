/* SPDX-License-Identifier: MIT
 *
 * test_steal_inside.c - a thread steals from caches whose owners are in the middle of a call
 *
 * The stealing thread waits a bounded time for an owner that is inside its cache, then skips that cache, and steals
 * from it later. The owner's call is not disturbed. An owner that comes after its gate has closed works on the depot.
 * Nothing here is left to luck: a hand that went inside and sleeps stands for a thread that lost its processor in the
 * middle of a call (hands.h).
 */
#include "support/steal_scene.h"

#include "support/blocks.h"

#include "reclaim.h"

#include <sched.h>

/* ---- owners that were stopped inside ---- */

static void trim_skips_an_owner_that_is_inside_and_frees_its_cache_later(void **state)
{
    static struct scene scene;
    needs_stealing();
    scene_begin(&scene, 64);
    struct hand *stalled = &scene.hands[3];
    const size_t kept = scene.cap / HANDS;
    hand_do(stalled, hand_stall);
    assert_int_equal(bufferpool_trim(scene.pool), (scene.cap - kept) * CAPACITY);
    assert_in_range(atomic_load(&looks), 2, LOOKS_MAX); /* patience, but not without end */
    assert_int_equal(stats_of(scene.pool).idle_thread, kept);
    assert_false(cache_is_open(stalled->cache));
    begin_counting();
    assert_int_equal(bufferpool_trim(scene.pool), 0); /* is as patient as the first */
    assert_in_range(atomic_load(&looks), 2, LOOKS_MAX);
    hand_do(stalled, hand_unstall); /* and sleeps from then on */
    assert_int_equal(bufferpool_trim(scene.pool), kept * CAPACITY);
    assert_int_equal(atomic_load(&scene.blocks.count), 0);
    assert_int_equal(atomic_load(&barriers), 0); /* the first one's was enough */
    assert_true(all_gates_are_open(scene.pool));
    owners_go_on(&scene);
    scene_end(&scene);
}

static void an_owner_that_trim_skipped_moves_its_cache_to_the_depot_in_its_next_call(void **state)
{
    static struct scene scene;
    needs_stealing();
    for (int put = 0; put <= 1; put++) {
        scene_begin(&scene, 64);
        struct hand *stalled = &scene.hands[3];
        const size_t kept = scene.cap / HANDS;
        stalled->want = put ? 1 : 0;
        hand_do(stalled, hand_get);
        hand_do(stalled, hand_stall);
        (void)bufferpool_trim(scene.pool);
        assert_int_equal(stats_of(scene.pool).idle_thread, kept - stalled->want);
        hand_do(stalled, hand_unstall);
        stalled->want = 1;
        hand_do(stalled, put ? hand_put : hand_get);
        assert_true(cache_is_open(stalled->cache));
        const bufferpool_stats_t stats = stats_of(scene.pool);
        assert_int_equal(stats.idle_thread + stats.idle_depot, put ? kept : kept - 1);
        assert_int_equal(stats.gets_depot, put ? 0 : 1);
        hand_do(stalled, hand_put);
        owners_go_on(&scene);
        scene_end(&scene);
    }
}

/* Also a reclaim, for which that cache is none to be emptied, and a slow get. */
static void whatever_steals_next_takes_what_trim_skipped(void **state)
{
    static struct scene scene;
    bufferpool_buf_t *bufs[64];
    needs_stealing();
    for (int by_get = 0; by_get <= 1; by_get++) {
        scene_begin(&scene, 64);
        for (unsigned i = 0; i < HANDS; i++) { /* otherwise the reclaim has a barrier to let them lend their room */
            scene.hands[i].want = 1;
            hand_do(&scene.hands[i], hand_use);
        }
        hand_do(&scene.hands[3], hand_stall);
        (void)bufferpool_trim(scene.pool);
        hand_do(&scene.hands[3], hand_unstall);
        if (by_get) {
            for (size_t i = 0; i < scene.cap; i++)
                assert_non_null(bufs[i] = bufferpool_try_get(scene.pool));
            bufferpool_put_bulk(bufs, scene.cap);
        } else {
            (void)bufferpool_reclaim(scene.pool);
        }
        assert_int_equal(cache_idle(scene.hands[3].cache), 0);
        assert_int_equal(atomic_load(&barriers), barriers_expected(1));
        scene_end(&scene);
    }
}

static struct hand *interrupted;
static size_t goes_on_at; /* which look of the thread that trims */
static void (*goes_on)(struct hand *hand);

static void let_it_go_on(void)
{
    if (atomic_load(&looks) == goes_on_at)
        hand_do(interrupted, goes_on);
}

/* The interrupted hand takes its step while a trim waits for it, and the trim frees all there is. */
static void trim_frees_all_when_it_goes_on(struct scene *scene, size_t look, void (*step)(struct hand *hand))
{
    goes_on_at = look;
    goes_on = step;
    at_look = let_it_go_on;
    assert_int_equal(bufferpool_trim(scene->pool), scene->cap * CAPACITY);
    at_look = NULL;
    assert_int_equal(atomic_load(&scene->blocks.count), 0);
}

static void trim_waits_for_an_owner_that_soon_gets_on(void **state)
{
    static struct scene scene;
    needs_stealing();
    scene_begin(&scene, 64);
    interrupted = &scene.hands[0];
    hand_do(interrupted, hand_stall);
    trim_frees_all_when_it_goes_on(&scene, 2, hand_unstall);
    assert_in_range(atomic_load(&looks), 2, 3);
    owners_go_on(&scene);
    scene_end(&scene);
}

/* ---- beside a steal that waits ---- */

static struct hand fresh;
static struct scene *waiting_scene;

/* All that other threads do goes on: the first call of one, its flush, its end, and the calls of one at its gate. */
static void let_others_come(void)
{
    if (atomic_load(&looks) != 2)
        return;
    hand_begin(&fresh, waiting_scene->pool, 0);
    fresh.want = 1;
    hand_do(&fresh, hand_use);
    hand_do(&fresh, hand_flush);
    hand_end(&fresh);
    waiting_scene->hands[1].want = 1;
    hand_do(&waiting_scene->hands[1], hand_use);
}

static void a_steal_that_waits_for_an_owner_holds_no_lock(void **state)
{
    static struct scene scene;
    needs_stealing();
    scene_begin(&scene, 64);
    waiting_scene = &scene;
    hand_do(&scene.hands[0], hand_stall);
    at_look = let_others_come;
    (void)alarm(30); /* rather than a deadlock */
    (void)bufferpool_trim(scene.pool);
    (void)alarm(0);
    at_look = NULL;
    hand_do(&scene.hands[0], hand_unstall);
    owners_go_on(&scene);
    scene_end(&scene);
}

/* The pressure that a get has begun ends while that waits, and another get begins it anew. */
static void let_the_pressure_end_and_begin(void)
{
    if (atomic_load(&looks) != 3)
        return;
    at_look = NULL;
    bufferpool_t *pool = waiting_scene->pool;
    thread_check(load_relaxed(&pool->pressure.state) == PRESSURE_ENTERING);
    bufferpool_set_max_live(pool, 0);
    thread_check(load_relaxed(&pool->pressure.state) == PRESSURE_OFF);
    for (unsigned i = 1; i < HANDS; i++) { /* gates open again, and something idles behind them */
        waiting_scene->hands[i].want = 2;
        hand_do(&waiting_scene->hands[i], hand_get);
        hand_do(&waiting_scene->hands[i], hand_put);
    }
    bufferpool_set_max_live(pool, waiting_scene->cap);
    hand_do(&waiting_scene->hands[0], hand_unstall);
}

static void a_pressure_that_ended_while_its_get_waited_is_not_declared(void **state)
{
    static struct scene scene;
    bufferpool_buf_t *bufs[64];
    needs_stealing();
    scene_begin(&scene, 64);
    waiting_scene = &scene;
    hand_do(&scene.hands[0], hand_stall);
    at_look = let_the_pressure_end_and_begin;
    for (size_t i = 0; i < scene.cap; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(scene.pool));
    assert_null(at_look);
    assert_null(bufferpool_try_get(scene.pool));
    assert_int_equal(stats_of(scene.pool).idle_thread, 0);
    check_laws(scene.pool, &scene.blocks, scene.cap);
    bufferpool_put_bulk(bufs, scene.cap);
    scene_end(&scene);
}

static void reclaim_skips_an_owner_that_is_inside_and_frees_its_cache_later(void **state)
{
    static struct scene scene;
    needs_stealing();
    scene_begin(&scene, 64);
    const size_t kept = scene.cap / HANDS;
    hand_do(&scene.hands[15], hand_stall);
    for (int i = 0; i < 4; i++)
        (void)bufferpool_reclaim(scene.pool);
    assert_int_equal(atomic_load(&scene.blocks.count), kept);
    assert_int_equal(atomic_load(&looks), 0); /* it is no call for memory, so it does not wait */
    hand_do(&scene.hands[15], hand_unstall);
    for (int i = 0; i < 3; i++)
        (void)bufferpool_reclaim(scene.pool);
    assert_int_equal(atomic_load(&scene.blocks.count), 0);
    owners_go_on(&scene);
    scene_end(&scene);
}

static void only_gets_while_an_owner_is_inside_go_beyond_the_cap(void **state)
{
    static struct scene scene;
    bufferpool_buf_t *bufs[64];
    needs_stealing();
    scene_begin(&scene, 64);
    have_all_but_the_stalled(&scene, &scene.hands[7], bufs);
    hand_do(&scene.hands[7], hand_unstall);
    have_the_rest_too(&scene, bufs, 60);
    scene_end(&scene);
}

/* ---- a lowered cap ---- */

enum next_call { NEXT_GET, NEXT_PUT, NEXT_BYPASS_PUT, NEXT_BULK, NEXT_TIMED, NEXT_FIRST, NEXT_CALLS };

static void hand_get_bulk(struct hand *hand)
{
    thread_check(bufferpool_get_bulk(hand->pool, hand->bufs, 1) == 0);
    hand->n = 1;
}

static void hand_get_timed(struct hand *hand)
{
    hand->bufs[0] = bufferpool_get_timed(hand->pool, 0);
    hand->n = hand->bufs[0] != NULL;
}

/* A hand's call that is no call of the owner that was inside. */
static void make_next_call(struct hand *hand, enum next_call next)
{
    switch (next) {
    case NEXT_PUT:
    case NEXT_BYPASS_PUT:
        hand_do(hand, hand_put);
        break;
    case NEXT_BULK:
        hand_do(hand, hand_get_bulk);
        break;
    case NEXT_TIMED:
        hand_do(hand, hand_get_timed);
        break;
    default:
        hand->want = 1;
        hand_do(hand, hand_get);
    }
}

/* The cap is lowered while an owner is inside, who then leaves, and sleeps. Whichever thread makes the next call, and
 * whichever call, the buffers in that cache beyond the cap are freed. */
static void the_next_call_of_any_thread_frees_what_an_owner_inside_had_beyond_a_lowered_cap(void **state)
{
    static struct scene scene;
    struct hand newcomer;
    needs_stealing();
    for (enum next_call next = NEXT_GET; next < NEXT_CALLS; next++) {
        scene_begin(&scene, 64);
        struct hand *stalled = &scene.hands[3], *other = &scene.hands[11];
        hand_begin(&newcomer, scene.pool, 0);
        other->want = next == NEXT_PUT;
        hand_do(other, hand_get);
        hand_do(stalled, hand_stall);
        if (next == NEXT_BYPASS_PUT) {
            bufferpool_set_max_live(scene.pool, 4);
            other->want = 1;
            hand_do(other, hand_get);
            assert_int_equal(stats_of(scene.pool).gets_bypass, 1);
        }
        bufferpool_set_max_live(scene.pool, 2);
        const uint64_t out = other->n;
        assert_int_equal(cache_idle(stalled->cache), 4);
        assert_int_equal(atomic_load(&scene.blocks.count), 4 + out);
        hand_do(stalled, hand_unstall);
        make_next_call(next == NEXT_FIRST ? &newcomer : other, next);
        assert_int_equal(cache_idle(stalled->cache), 0);
        assert_int_equal(atomic_load(&scene.blocks.count), 2);
        hand_do(other, hand_put);
        hand_do(&newcomer, hand_put);
        hand_end(&newcomer);
        scene_end(&scene);
    }
}

static void the_background_thread_frees_what_an_owner_inside_had_beyond_a_lowered_cap(void **state)
{
    static struct scene scene;
    needs_stealing();
    scene_begin(&scene, 64);
    hand_do(&scene.hands[3], hand_stall);
    bufferpool_set_max_live(scene.pool, 2);
    hand_do(&scene.hands[3], hand_unstall);
    assert_int_equal(atomic_load(&scene.blocks.count), 4);
    _Atomic(bool) stop = false;
    (void)reclaim_in_background(scene.pool, &stop);
    assert_int_equal(atomic_load(&scene.blocks.count), 2);
    scene_end(&scene);
}

/* A get finds the cap reached, an owner inside, and later what is idle in transit. */
static void a_get_at_the_cap_waits_a_bounded_time(void **state)
{
    static struct scene scene;
    bufferpool_buf_t *bufs[64];
    needs_stealing();
    scene_begin(&scene, 64);
    hand_do(&scene.hands[7], hand_stall);
    for (size_t i = 0; i < 60; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(scene.pool));
    assert_in_range(atomic_load(&looks), 2, LOOKS_MAX + 2); /* of the first of them */
    hand_do(&scene.hands[7], hand_unstall);
    for (size_t i = 60; i < 64; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(scene.pool));
    assert_null(bufferpool_try_get(scene.pool));
    assert_int_equal(load_relaxed(&scene.pool->pressure.state), PRESSURE_ON);

    bufferpool_put(bufs[63]);
    const struct magazine popped = depot_pop_some(&scene.pool->depot, &scene.pool->heap.table, 0);
    begin_counting();
    assert_null(bufferpool_try_get(scene.pool));
    assert_in_range(atomic_load(&looks), 2, LOOKS_MAX + 2);
    struct desc *d = popped.head;
    depot_restore(&scene.pool->depot, &scene.pool->heap.table, &d, 1, false);
    assert_non_null(bufs[63] = bufferpool_try_get(scene.pool));
    bufferpool_put_bulk(bufs, 64);
    scene_end(&scene);
}

static void hand_get_one(struct hand *hand)
{
    hand->bufs[hand->n++] = bufferpool_try_get(hand->pool);
    thread_check(hand->bufs[0] != NULL);
}

static void an_owner_that_finds_its_gate_closed_moves_its_cache_to_the_depot(void **state)
{
    static struct scene scene;
    bufferpool_buf_t *bufs[64];
    needs_stealing();
    scene_begin(&scene, 64);
    have_all_but_the_stalled(&scene, &scene.hands[7], bufs);
    hand_do(&scene.hands[7], hand_unstall);
    hand_do(&scene.hands[7], hand_get_one); /* is not refused: it idles there */
    assert_int_equal(stats_of(scene.pool).idle_thread, 0);
    assert_int_equal(stats_of(scene.pool).idle_depot, 3);
    hand_do(&scene.hands[7], hand_put);
    have_the_rest_too(&scene, bufs, 60);
    scene_end(&scene);
}

static void an_owner_that_ends_under_pressure_leaves_its_buffers_to_the_others(void **state)
{
    static struct scene scene;
    bufferpool_buf_t *bufs[64];
    needs_stealing();
    scene_begin(&scene, 64);
    have_all_but_the_stalled(&scene, &scene.hands[7], bufs);
    hand_do(&scene.hands[7], hand_unstall);
    hand_end(&scene.hands[7]);
    assert_int_equal(stats_of(scene.pool).idle_depot, 4);
    hand_begin(&scene.hands[7], scene.pool, 7); /* gets the same cache, and it is not open */
    hand_do(&scene.hands[7], hand_get_one);
    hand_do(&scene.hands[7], hand_put);
    assert_int_equal(stats_of(scene.pool).idle_thread, 0);
    have_the_rest_too(&scene, bufs, 60);
    scene_end(&scene);
}

static void hand_wait_for_one(struct hand *hand)
{
    hand->bufs[hand->n++] = bufferpool_get_timed(hand->pool, BUFFERPOOL_NEVER);
    thread_check(hand->bufs[0] != NULL);
}

static void a_waiting_thread_gets_what_an_owner_inside_had(void **state)
{
    static struct scene scene;
    bufferpool_buf_t *bufs[64];
    needs_stealing();
    scene_begin(&scene, 64);
    have_all_but_the_stalled(&scene, &scene.hands[7], bufs);
    hand_start(&scene.hands[8], hand_wait_for_one);
    while (!depot_wanted(&scene.pool->depot))
        sched_yield();
    hand_do(&scene.hands[7], hand_unstall); /* and sleeps from then on */
    hand_finish(&scene.hands[8]);
    assert_int_equal(scene.hands[8].n, 1);
    hand_do(&scene.hands[8], hand_put);
    have_the_rest_too(&scene, bufs, 60);
    scene_end(&scene);
}

/* ---- calls that meet a take-over halfway ---- */

/* A put that was stopped after it had looked at the gate, and its second half. */
static void hand_put_first_half(struct hand *hand)
{
    hand_stall(hand);
    thread_check(gate_load(&hand->cache->gate) == live_word(hand->pool));
}

static void hand_put_second_half(struct hand *hand)
{
    struct desc *d = desc_of(hand->bufs[--hand->n]);
    const uint64_t level = load_relaxed(&hand->cache->level);
    cache_entries(hand->cache)[level_n(level)] = d;
    store_relaxed(&d->word, desc_word(hand->pool->tag, STATE_IDLE));
    store_relaxed(&hand->cache->level, level + 1);
    cache_leave(hand->cache);
}

static void trim_frees_a_put_that_was_on_its_way_when_the_gate_closed(void **state)
{
    static struct scene scene;
    needs_stealing();
    scene_begin(&scene, 64);
    interrupted = &scene.hands[5];
    interrupted->want = 1;
    hand_do(interrupted, hand_get);
    hand_do(interrupted, hand_put_first_half);
    trim_frees_all_when_it_goes_on(&scene, 1, hand_put_second_half);
    check_laws(scene.pool, &scene.blocks, 0);
    owners_go_on(&scene);
    scene_end(&scene);
}

/* Its buffers are in the cache; the taker gives up on it, and nothing of it is touched. */
static void a_put_on_its_way_for_long_is_not_disturbed(void **state)
{
    static struct scene scene;
    needs_stealing();
    scene_begin(&scene, 64);
    interrupted = &scene.hands[5];
    interrupted->want = 1;
    hand_do(interrupted, hand_get);
    hand_do(interrupted, hand_put_first_half);
    const struct desc *coldest = cache_entries(interrupted->cache)[0];
    assert_int_equal(bufferpool_trim(scene.pool), (scene.cap - 4) * CAPACITY);
    assert_int_equal(cache_idle(interrupted->cache), 3);
    assert_ptr_equal(cache_entries(interrupted->cache)[0], coldest);
    check_laws(scene.pool, &scene.blocks, 1);
    hand_do(interrupted, hand_put_second_half);
    assert_int_equal(stats_of(scene.pool).idle_thread, 4);
    interrupted->want = 4;
    hand_do(interrupted, hand_get);
    assert_int_equal(stats_of(scene.pool).live, 4);
    hand_do(interrupted, hand_put);
    scene_end(&scene);
}

/* A thief that waits has let the lock go, and was to take no more than unused reservations. Pressure comes meanwhile,
 * and the cache is empty, but its owner is about to put a buffer there. */
static void what_was_closed_for_less_is_emptied_under_pressure(void **state)
{
    static struct scene scene;
    bufferpool_buf_t *bufs[64];
    needs_stealing();
    scene_begin(&scene, 64);
    struct hand *owner = &scene.hands[7];
    owner->want = 4;
    hand_do(owner, hand_get);
    hand_do(owner, hand_put_first_half);
    pthread_mutex_lock(&scene.pool->caches_lock);
    cache_close(owner->cache);
    owner->cache->pending = PENDING_RESERVED;
    owner->cache->fenced = true;
    pthread_mutex_unlock(&scene.pool->caches_lock);
    for (size_t i = 0; i < 60; i++)
        assert_non_null(bufs[i] = bufferpool_try_get(scene.pool));
    assert_null(bufferpool_try_get(scene.pool));
    hand_do(owner, hand_put_second_half);
    assert_non_null(bufs[60] = bufferpool_try_get(scene.pool));
    assert_int_equal(stats_of(scene.pool).idle_thread, 0);
    bufferpool_put_bulk(bufs, 61);
    hand_do(owner, hand_put);
    scene_end(&scene);
}

/* Between the closing of the gates and the first look, which is where the barrier is, an owner comes and works on its
 * cache from both ends. */
static bool came;

static void come_and_find_the_gate_closed(struct hand *hand)
{
    struct cache *c = tls_cache_find(hand->pool->index);
    struct desc *d = desc_of(hand->bufs[0]);
    const uint32_t idle = cache_idle(c);
    thread_check(cache_pop_plain(c) == NULL);
    thread_check(!cache_push_plain(c, d, load_relaxed(&d->word)));
    thread_check(cache_take(hand->pool, c) == NULL);
    thread_check(cache_idle(c) == idle && !load_relaxed(&c->busy));
    hand_put(hand); /* to the depot */
    thread_check(cache_idle(c) == idle);
    came = true;
}

static void let_it_come(void)
{
    at_barrier = NULL;
    hand_do(interrupted, come_and_find_the_gate_closed);
}

static void an_owner_that_comes_after_the_gate_has_closed_works_on_the_depot(void **state)
{
    static struct scene scene;
    needs_stealing();
    if (TEST_TSAN)
        skip(); /* there is no barrier there to see the moment by */
    scene_begin(&scene, 64);
    interrupted = &scene.hands[9];
    interrupted->want = 1;
    hand_do(interrupted, hand_get);
    came = false;
    at_barrier = let_it_come;
    assert_int_equal(bufferpool_trim(scene.pool), scene.cap * CAPACITY);
    assert_true(came);
    assert_int_equal(atomic_load(&scene.blocks.count), 0);
    check_laws(scene.pool, &scene.blocks, 0);
    owners_go_on(&scene);
    scene_end(&scene);
}

static void hand_flush_late(struct hand *hand)
{
    bufferpool_thread_flush();
    thread_check(cache_idle(tls_cache_find(hand->pool->index)) == 0);
}

/* Whoever closed the gate may well open it again with nothing taken, so the flush must not count on that. */
static void a_flush_that_finds_the_gate_closed_flushes_all_the_same(void **state)
{
    static struct scene scene;
    needs_stealing();
    scene_begin(&scene, 64);
    struct hand *owner = &scene.hands[2];
    hand_do(owner, hand_stall);
    hand_do(owner, hand_unstall);
    pthread_mutex_lock(&scene.pool->caches_lock);
    cache_close(owner->cache);
    hand_start(owner, hand_flush_late);
    struct timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 20000000; /* time enough to do it wrong */
    soon.tv_sec += soon.tv_nsec / 1000000000;
    soon.tv_nsec %= 1000000000;
    const bool returned = sem_timedwait(&owner->done, &soon) == 0;
    cache_open(scene.pool, owner->cache);
    pthread_mutex_unlock(&scene.pool->caches_lock);
    if (!returned)
        hand_finish(owner);
    assert_int_equal(cache_idle(owner->cache), 0);
    assert_int_equal(stats_of(scene.pool).idle_depot, 4);
    scene_end(&scene);
}

int main(void)
{
    test_tell_memcheck_nothing();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trim_skips_an_owner_that_is_inside_and_frees_its_cache_later),
        cmocka_unit_test(an_owner_that_trim_skipped_moves_its_cache_to_the_depot_in_its_next_call),
        cmocka_unit_test(whatever_steals_next_takes_what_trim_skipped),
        cmocka_unit_test(trim_waits_for_an_owner_that_soon_gets_on),
        cmocka_unit_test(a_steal_that_waits_for_an_owner_holds_no_lock),
        cmocka_unit_test(a_pressure_that_ended_while_its_get_waited_is_not_declared),
        cmocka_unit_test(reclaim_skips_an_owner_that_is_inside_and_frees_its_cache_later),
        cmocka_unit_test(only_gets_while_an_owner_is_inside_go_beyond_the_cap),
        cmocka_unit_test(the_next_call_of_any_thread_frees_what_an_owner_inside_had_beyond_a_lowered_cap),
        cmocka_unit_test(the_background_thread_frees_what_an_owner_inside_had_beyond_a_lowered_cap),
        cmocka_unit_test(a_get_at_the_cap_waits_a_bounded_time),
        cmocka_unit_test(an_owner_that_finds_its_gate_closed_moves_its_cache_to_the_depot),
        cmocka_unit_test(an_owner_that_ends_under_pressure_leaves_its_buffers_to_the_others),
        cmocka_unit_test(a_waiting_thread_gets_what_an_owner_inside_had),
        cmocka_unit_test(trim_frees_a_put_that_was_on_its_way_when_the_gate_closed),
        cmocka_unit_test(a_put_on_its_way_for_long_is_not_disturbed),
        cmocka_unit_test(what_was_closed_for_less_is_emptied_under_pressure),
        cmocka_unit_test(an_owner_that_comes_after_the_gate_has_closed_works_on_the_depot),
        cmocka_unit_test(a_flush_that_finds_the_gate_closed_flushes_all_the_same),
    };
    return cmocka_run_group_tests_name("steal_inside", tests, NULL, NULL);
}
