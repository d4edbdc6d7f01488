/* SPDX-License-Identifier: MIT
 *
 * test_shards.c - the shards of the depot: who uses which, and that no buffer is forgotten in one
 *
 * The test says on which processor each thread is. Threads do one step at a time, and nothing moves while the test
 * looks.
 */
#include "support/accounts.h"
#include "support/hands.h"

#include "pressure.h"
#include "shards.h"

enum { CAPACITY = 128, CACHED = 2, MANY = 24 };

static int processor; /* of the thread that takes the next step */
static int looks;     /* at the processor */

int __wrap_sched_getcpu(void);
int __wrap_sched_getcpu(void)
{
    looks++;
    return processor;
}

static bool no_memory;
static void (*meanwhile)(void); /* another thread does this while the next shards are made */

void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    if (size != sizeof(struct shards))
        return __real_aligned_alloc(alignment, size);
    if (no_memory)
        return NULL;
    void (*hook)(void) = meanwhile;
    meanwhile = NULL;
    if (hook != NULL)
        hook();
    return __real_aligned_alloc(alignment, size);
}

static bufferpool_t *pool;
static struct hand hands[3];

static void begin(size_t max_live, unsigned flags)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = CACHED * CAPACITY;
    config.max_live = max_live;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    config.flags = flags;
    pool = bufferpool_create(&config);
    assert_non_null(pool);
    for (unsigned i = 0; i < 3; i++)
        hand_begin(&hands[i], pool, i);
}

static void end(void)
{
    check_accounts(pool);
    for (unsigned i = 0; i < 3; i++)
        hand_end(&hands[i]);
    run_threads(1, hand_nothing, NULL);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void gets(unsigned hand, int on, size_t n)
{
    processor = on;
    hands[hand].want = n;
    hand_do(&hands[hand], hand_get);
}

static void puts_all(unsigned hand, int on)
{
    processor = on;
    hand_do(&hands[hand], hand_put);
}

/* As often as it takes until the thread has looked on which processor it is. */
static void use(unsigned hand, int on)
{
    for (int i = 0; i < 8; i++) {
        gets(hand, on, 2 * MANY);
        puts_all(hand, on);
    }
}

static struct shards *shards(void)
{
    return load_relaxed(&pool->depot.shards);
}

static uint32_t in_own(void) /* the depot's own stack */
{
    return depot_idle(&pool->depot, &pool->heap.table);
}

static uint32_t in_shard(uint32_t k)
{
    return depot_idle(&shards()->shard[k], &pool->heap.table);
}

static uint32_t in_shards(void)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < SHARDS; k++)
        n += in_shard(k);
    return n;
}

/* Hands 0 and 1 are on processors 0 and 1. Hand 0 has put MANY buffers, and there are no others. */
static void begin_with_shards(size_t max_live)
{
    begin(0, 0);
    use(0, 0);
    assert_null(shards());
    use(1, 1);
    assert_non_null(shards());
    use(0, 0);
    bufferpool_trim(pool);
    gets(0, 0, MANY);
    puts_all(0, 0);
    assert_true(in_shard(0) > 0);
    assert_int_equal(in_shards(), in_shard(0));
    bufferpool_set_max_live(pool, max_live);
}

/* ---- when there are some ---- */

static void a_thread_alone_has_no_shards(void **state)
{
    (void)state;
    begin(0, 0);
    for (int on = 0; on < 4; on++) { /* it moves on */
        gets(0, on, MANY);
        puts_all(0, on);
    }
    assert_null(shards());
    assert_true(looks > 0);
    end();
}

static void threads_on_one_processor_have_no_shards(void **state)
{
    (void)state;
    begin(0, 0);
    for (unsigned i = 0; i < 6; i++) {
        gets(i % 3, 5, MANY);
        puts_all(i % 3, 5);
    }
    assert_null(shards());
    end();
}

static void a_pool_without_membarrier_has_no_shards(void **state)
{
    (void)state;
    begin(0, BUFFERPOOL_NO_MEMBARRIER);
    for (unsigned i = 0; i < 6; i++) {
        gets(i % 3, (int)i, MANY);
        puts_all(i % 3, (int)i);
    }
    assert_null(shards());
    end();
}

static void without_memory_the_depot_serves_all(void **state)
{
    (void)state;
    begin(0, 0);
    no_memory = true;
    for (unsigned i = 0; i < 6; i++) {
        gets(i % 3, (int)i % 3, MANY);
        puts_all(i % 3, (int)i % 3);
    }
    assert_null(shards());
    no_memory = false;
    use(1, 1);
    assert_non_null(shards());
    end();
}

static void hand_2_makes_shards(void)
{
    use(2, 2);
    assert_non_null(shards());
    processor = 1; /* of the thread that goes on */
}

static void of_two_threads_that_make_shards_one_does(void **state)
{
    (void)state;
    begin(0, 0);
    use(0, 0);
    meanwhile = hand_2_makes_shards;
    use(1, 1);
    assert_null(meanwhile);
    assert_non_null(shards());
    end();
}

/* ---- which one ---- */

static void an_owner_pushes_to_the_shard_of_its_processor(void **state)
{
    (void)state;
    begin_with_shards(0);
    gets(1, 1, 2 * MANY);
    puts_all(1, 1);
    assert_true(in_shard(1) > MANY / 2);
    assert_int_equal(in_own(), 0);
    assert_int_equal(load_relaxed(&shards()->used), 3);
    use(1, 7); /* it moves to another one, and its buffers follow */
    assert_true(in_shard(7) > MANY / 2);
    assert_int_equal(load_relaxed(&shards()->used), 0x83);
    end();
}

static void where_the_processor_is_not_known_it_is_the_first(void **state)
{
    (void)state;
    begin_with_shards(0);
    use(1, -1);
    assert_int_equal(in_shards(), in_shard(0));
    end();
}

static void an_owner_pops_from_its_shard_then_from_the_depot_then_from_others(void **state)
{
    (void)state;
    begin_with_shards(0);
    gets(1, 1, 2 * MANY);
    gets(0, 0, 2 * MANY);
    puts_all(0, 0);
    puts_all(1, 1);
    hand_do(&hands[1], hand_flush); /* by the lock: to the depot's own stack */
    const uint32_t own = in_own(), first = in_shard(0), second = in_shard(1);
    assert_true(own > 0 && first > 0 && second > 0);
    gets(1, 1, second);
    assert_int_equal(in_shard(1), 0);
    assert_int_equal(in_own(), own);
    gets(1, 1, own);
    assert_int_equal(in_own(), 0);
    assert_int_equal(in_shard(0), first);
    const uint64_t fresh = stats_of(pool).gets_fresh;
    gets(1, 1, first);
    assert_int_equal(in_shards(), 0);
    assert_int_equal(stats_of(pool).gets_fresh, fresh);
    gets(1, 1, 1);
    assert_int_equal(stats_of(pool).gets_fresh, fresh + 1);
    puts_all(1, 1);
    end();
}

static void neighbours_share_a_shard_where_there_are_many_processors(void **state)
{
    (void)state;
    begin_with_shards(0);
    static const struct {
        int processor;
        uint32_t shard;
    } found[] = {{255, 15}, {0, 0}, {15, 0}, {16, 1}, {31, 1}, {128, 8}, {254, 15}, {256, 8}, {511, 15}, {32, 1}};
    for (size_t i = 0; i < sizeof found / sizeof found[0]; i++) {
        use(1, found[i].processor);
        bufferpool_trim(pool);
        gets(1, found[i].processor, 2 * MANY);
        puts_all(1, found[i].processor);
        assert_true(in_shard(found[i].shard) > 0);
        assert_int_equal(in_shards(), in_shard(found[i].shard));
    }
    end();
}

/* ---- nothing is forgotten ---- */

static void before_pressure_the_shards_are_drained(void **state)
{
    (void)state;
    begin_with_shards(MANY);
    const bufferpool_stats_t before = stats_of(pool);
    assert_int_equal(before.idle_depot + before.idle_thread, MANY);
    pressure_enter(pool);
    assert_true(depot_counts(&pool->depot).pressure);
    assert_int_equal(in_shards(), 0);
    assert_int_equal(load_relaxed(&shards()->used), 0);
    assert_int_equal(in_own(), MANY);
    gets(1, 1, MANY);
    gets(2, 2, 1);
    const bufferpool_stats_t after = stats_of(pool);
    assert_int_equal(after.gets_bypass, before.gets_bypass + 1);
    assert_int_equal(after.gets_fresh, before.gets_fresh);
    puts_all(2, 2);
    for (int i = 0; i < 3; i++) /* behind a closed gate, with callers still near the cap */
        bufferpool_put(hands[1].bufs[--hands[1].n]);
    assert_true(depot_counts(&pool->depot).pressure);
    assert_int_equal(in_shards(), 0);
    assert_int_equal(load_relaxed(&shards()->used), 0);
    assert_true(in_own() > 0);
    puts_all(1, 1);
    end();
}

static void no_get_goes_beyond_the_cap_while_buffers_lie_in_shards(void **state)
{
    (void)state;
    begin_with_shards(MANY);
    gets(2, 2, MANY);
    assert_int_equal(stats_of(pool).gets_bypass, 0);
    assert_int_equal(stats_of(pool).pooled, MANY);
    puts_all(2, 2);
    end();
}

/* Without the barrier: what an owner pushes that is still inside. */
static void a_drain_that_is_not_sure_leaves_the_bits(void **state)
{
    (void)state;
    begin_with_shards(0);
    const uint32_t n = in_shard(0), used = load_relaxed(&shards()->used);
    pthread_mutex_lock(&pool->caches_lock);
    shards_drain(&pool->depot, &pool->heap.table, false);
    pthread_mutex_unlock(&pool->caches_lock);
    assert_int_equal(in_shards(), 0);
    assert_int_equal(in_own(), n);
    assert_int_equal(load_relaxed(&shards()->used), used);
    end();
}

/* A pool is ON over what could not be taken (steal.c 9), and is drained again when it can. */
static void the_rest_is_drained_when_the_owner_is_out(void **state)
{
    (void)state;
    begin_with_shards(MANY);
    pressure_enter(pool);
    const uint64_t bypass = stats_of(pool).gets_bypass; /* where the hands began */
    const struct magazine stray = depot_pop(&pool->depot, &pool->heap.table);
    store_relaxed(&shards()->used, 4);
    depot_push_closed(&shards()->shard[2], &pool->heap.table, stray.head, stray.n, stray.grown);
    store_relaxed(&pool->stuck, load_relaxed(&pool->caches)); /* its owner is out */
    gets(1, 1, MANY);                                         /* the stray too */
    assert_int_equal(stats_of(pool).gets_bypass, bypass);
    assert_int_equal(load_relaxed(&shards()->used), 4);
    gets(1, 1, 1);
    assert_int_equal(stats_of(pool).gets_bypass, bypass + 1);
    assert_int_equal(load_relaxed(&shards()->used), 0);
    puts_all(1, 1);
    end();
}

/* The same where another steal took that cache, so that no call is told that there is a rest. */
static void a_stray_is_found_before_a_get_goes_beyond_the_cap(void **state)
{
    (void)state;
    begin_with_shards(MANY);
    pressure_enter(pool);
    const uint64_t bypass = stats_of(pool).gets_bypass;
    const struct magazine stray = depot_pop(&pool->depot, &pool->heap.table);
    store_relaxed(&shards()->used, 4);
    depot_push_closed(&shards()->shard[2], &pool->heap.table, stray.head, stray.n, stray.grown);
    gets(1, 1, MANY);
    assert_int_equal(stats_of(pool).gets_bypass, bypass);
    assert_int_equal(in_shards(), 0);
    gets(1, 1, 1); /* although the bit is set still */
    assert_int_equal(stats_of(pool).gets_bypass, bypass + 1);
    puts_all(1, 1);
    end();
}

static void trim_frees_what_lies_in_shards(void **state)
{
    (void)state;
    begin_with_shards(0);
    assert_int_equal(bufferpool_trim(pool), MANY * CAPACITY);
    assert_int_equal(stats_of(pool).pooled, 0);
    end();
}

static void a_lowered_cap_frees_what_lies_in_shards(void **state)
{
    (void)state;
    begin_with_shards(MANY);
    bufferpool_set_max_live(pool, 3);
    assert_int_equal(stats_of(pool).pooled, 3);
    end();
}

static void a_caller_that_may_not_wait_gets_what_lies_in_shards(void **state)
{
    (void)state;
    begin_with_shards(MANY);
    bufferpool_buf_t *bufs[MANY];
    for (size_t i = 0; i < MANY; i++) {
        bufs[i] = bufferpool_get_timed(pool, 0);
        assert_non_null(bufs[i]);
    }
    assert_null(bufferpool_try_get(pool));
    bufferpool_put_bulk(bufs, MANY);
    end();
}

static void reclaim_frees_what_lay_in_shards_for_a_period(void **state)
{
    (void)state;
    begin_with_shards(0);
    (void)bufferpool_reclaim(pool); /* a period begins: what lies there was needed in the last */
    gets(1, 1, 0);
    const uint32_t n = in_shard(0);
    assert_true(n > 0);
    assert_int_equal(shards_low(&pool->depot), n);
    assert_in_range(bufferpool_reclaim(pool), n * CAPACITY, MANY * CAPACITY);
    assert_int_equal(in_shards(), 0);
    end();
}

static void the_depot_is_empty_if_all_its_stacks_are(void **state)
{
    (void)state;
    begin_with_shards(0);
    assert_int_equal(in_own(), 0);
    assert_false(shards_are_empty(&pool->depot));
    bufferpool_trim(pool);
    assert_true(shards_are_empty(&pool->depot)); /* although bits are set */
    assert_true(load_relaxed(&shards()->used) != 0);
    end();
}

static void reset_empties_all_stacks(void **state)
{
    (void)state;
    static struct shards some;
    static struct desc_table table;
    struct depot depot = {0};
    const struct cache c = {.shard = 3};
    store_relaxed(&depot.shards, &some);
    for (int i = 0; i < 2; i++) {
        struct desc *d = desc_take(&table);
        depot_push(i == 0 ? &depot : shards_own(&depot, &c), &table, &d, 1, false);
    }
    assert_int_equal(shards_idle(&depot, &table), 2);
    assert_int_equal(load_relaxed(&some.used), 1 << 3);
    store_relaxed(&some.shard[3].low, 7);
    shards_reset(&depot, 5);
    assert_int_equal(load_relaxed(&some.used), 0);
    assert_int_equal(load_relaxed(&some.shard[3].low), 0);
    assert_true(depot_is_empty(&depot) && depot_is_empty(&some.shard[3]));
    assert_int_equal(depot_counts(&depot).pooled, 5);
    desc_table_destroy(&table);
}

static int child_finds_all_idle(void *arg)
{
    (void)arg;
    const bufferpool_stats_t s = stats_of(pool);
    return s.idle_depot == MANY && in_shards() == 0 && in_own() == MANY && load_relaxed(&shards()->used) == 0 ? 0 : 1;
}

static void a_child_of_fork_has_all_in_the_depot(void **state)
{
    (void)state;
    begin_with_shards(0);
    assert_int_equal(run_in_child(child_finds_all_idle, NULL, 20), 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_alone_has_no_shards),
        cmocka_unit_test(threads_on_one_processor_have_no_shards),
        cmocka_unit_test(a_pool_without_membarrier_has_no_shards),
        cmocka_unit_test(without_memory_the_depot_serves_all),
        cmocka_unit_test(of_two_threads_that_make_shards_one_does),
        cmocka_unit_test(an_owner_pushes_to_the_shard_of_its_processor),
        cmocka_unit_test(where_the_processor_is_not_known_it_is_the_first),
        cmocka_unit_test(an_owner_pops_from_its_shard_then_from_the_depot_then_from_others),
        cmocka_unit_test(before_pressure_the_shards_are_drained),
        cmocka_unit_test(no_get_goes_beyond_the_cap_while_buffers_lie_in_shards),
        cmocka_unit_test(a_drain_that_is_not_sure_leaves_the_bits),
        cmocka_unit_test(the_rest_is_drained_when_the_owner_is_out),
        cmocka_unit_test(a_stray_is_found_before_a_get_goes_beyond_the_cap),
        cmocka_unit_test(trim_frees_what_lies_in_shards),
        cmocka_unit_test(a_lowered_cap_frees_what_lies_in_shards),
        cmocka_unit_test(a_caller_that_may_not_wait_gets_what_lies_in_shards),
        cmocka_unit_test(reclaim_frees_what_lay_in_shards_for_a_period),
        cmocka_unit_test(the_depot_is_empty_if_all_its_stacks_are),
        cmocka_unit_test(reset_empties_all_stacks),
        cmocka_unit_test(a_child_of_fork_has_all_in_the_depot),
        /* the last: the library remembers the highest number */
        cmocka_unit_test(neighbours_share_a_shard_where_there_are_many_processors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
