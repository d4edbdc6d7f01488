/* SPDX-License-Identifier: MIT
 *
 * test_last_cache.c - put looks into the thread's last cache first, whatever pool that belongs to
 *
 * The buffer goes to its own pool all the same. Another thread may destroy the pool of the last cache while put looks
 * into it. The test stops the put before each of its atomic operations, and has the pool destroyed there. The linker's
 * --wrap replaces free, so that the test sees when the cache's memory goes, and that nothing writes to it afterwards.
 */
#include "support/accounts.h"
#include "support/hands.h"

#include <sys/wait.h>

enum { CAPACITY = 256, CACHED = 8, STEPS = 40 /* more than a put has that finds its pool's cache */ };

static _Thread_local int steps_left;
static _Thread_local void (*at_step)(void);

void a_step(void)
{
    if (at_step == NULL || steps_left-- > 0)
        return;
    void (*hook)(void) = at_step;
    at_step = NULL; /* what it does is no step */
    hook();
}

/* ---- the memory of one block of caches ---- */

static _Atomic(struct cache *) watched;
static size_t watched_size;
static atomic_bool freed;
static int told = -1; /* where to write a byte when it is freed */

void __real_free(void *memory);
void __wrap_free(void *memory);
void __wrap_free(void *memory)
{
    if (memory == NULL || memory != load_relaxed(&watched)) {
        __real_free(memory);
        return;
    }
    atomic_store(&freed, true);
    memset(memory, 0xa5, watched_size);
    if (told >= 0 && write(told, "", 1) != 1)
        abort();
}

static void watch(struct cache *c)
{
    watched_size = cache_size(c->pool->cache_entries);
    atomic_store(&freed, false);
    store_relaxed(&watched, c);
}

/* Fails if the memory was not freed, or was written to after that. */
static void end_watch(void)
{
    assert_true(atomic_load(&freed));
    unsigned char *memory = (unsigned char *)load_relaxed(&watched);
    for (size_t i = 0; i < watched_size; i++)
        assert_int_equal(memory[i], 0xa5);
    store_relaxed(&watched, NULL);
    __real_free(memory);
}

/* ---- scenes ---- */

static struct hand other; /* a thread that destroys other.pool */
static bufferpool_t *own; /* the pool whose buffers the calling thread puts */

static bufferpool_t *make(void)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = (size_t)CACHED * CAPACITY;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

static bufferpool_buf_t *got(bufferpool_t *pool)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (!thread_check(buf != NULL))
        abort();
    return buf;
}

/* The calling thread's cache of the pool, which is its last one after this. */
static struct cache *use(bufferpool_t *pool)
{
    bufferpool_put(got(pool)); /* the slow path made the cache */
    bufferpool_put(got(pool));
    thread_check(tls_cache_last() == tls_cache_find(pool->index));
    return tls_cache_last();
}

static uint64_t idle_here(const bufferpool_t *pool)
{
    return cache_idle(tls_cache_find(pool->index));
}

static void destroy(struct hand *hand)
{
    thread_check(bufferpool_destroy(hand->pool) == 0);
    hand->pool = NULL;
}

static int begin(void **state)
{
    (void)state;
    own = make();
    hand_begin(&other, NULL, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    hand_end(&other);
    run_threads(1, hand_nothing, NULL);
    return bufferpool_destroy(own) == 0 ? 0 : -1;
}

static void destroy_other(void)
{
    hand_do(&other, destroy);
}

/* Takes the registry's lock for the thread's tables. */
static void use_a_new_pool(void)
{
    bufferpool_t *pool = make();
    use(pool);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* ---- the tests ---- */

static void a_put_finds_the_pool_of_its_buffer(void **state)
{
    (void)state;
    enum { POOLS = 3, TURNS = 60 };
    bufferpool_t *const pools[POOLS] = {make(), make(), own};
    size_t grown[POOLS] = {0};
    for (size_t p = 0; p < POOLS; p++)
        use(pools[p]);
    for (size_t turn = 0; turn < TURNS; turn++) {
        bufferpool_buf_t *bufs[POOLS];
        for (size_t p = 0; p < POOLS; p++) {
            bufs[p] = got(pools[p]);
            if (turn % POOLS == p) {
                assert_int_equal(bufferpool_buf_reserve(bufs[p], CAPACITY + 1), 0);
                bufs[p]->len = CAPACITY + 1;
            }
        }
        for (size_t i = 0; i < POOLS; i++) {
            const size_t p = (i * (1 + turn % 2) + turn) % POOLS;
            const uint64_t before = idle_here(pools[p]);
            grown[p] += bufs[p]->cap > CAPACITY;
            bufferpool_put(bufs[p]);
            assert_int_equal(idle_here(pools[p]), before + 1);
            assert_ptr_equal(tls_cache_last(), tls_cache_find(pools[p]->index));
        }
    }
    for (size_t p = 0; p < POOLS; p++) {
        assert_true(grown[p] > 0);
        assert_int_equal(bufferpool_live(pools[p]), 0);
        check_accounts(pools[p]);
        if (pools[p] != own)
            assert_int_equal(bufferpool_destroy(pools[p]), 0);
    }
}

static void a_get_makes_its_cache_the_last_one(void **state)
{
    (void)state;
    if (test_under_valgrind()) /* there every get is slow */
        skip();
    bufferpool_t *pool = make();
    struct cache *const c = use(pool);
    use(own);
    bufferpool_buf_t *buf = got(pool);
    assert_ptr_equal(tls_cache_last(), c);
    bufferpool_put(buf);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void the_pool_of_the_last_cache_may_end_in_the_middle_of_a_put(void **state)
{
    (void)state;
    use(own);
    for (int step = 0; step < STEPS; step++) {
        bufferpool_buf_t *buf = got(own);
        other.pool = make();
        watch(use(other.pool));
        at_step = destroy_other;
        steps_left = step;
        bufferpool_put(buf);
        if (at_step != NULL) { /* it had fewer steps */
            at_step = NULL;
            destroy_other();
        }
        assert_null(other.pool);
        assert_int_equal(bufferpool_live(own), 0);
        assert_ptr_equal(tls_cache_find(own->index)->pool, own);
        assert_true(tls_cache_last() == &tls_self->none || tls_cache_last() == tls_cache_find(own->index));
        use_a_new_pool();
        assert_null(tls_self->strays);
        end_watch();
    }
    use(own);
}

static void a_last_cache_stays_until_its_thread_makes_another_one(void **state)
{
    (void)state;
    other.pool = make();
    struct cache *c = use(other.pool);
    c->seen = (struct cache_counts){1, 2, 3}; /* as after a reclaim */
    watch(c);
    destroy_other();
    assert_false(atomic_load(&freed));
    assert_ptr_equal(tls_self->strays, c);
    assert_ptr_equal(tls_cache_last(), &tls_self->none);

    other.pool = make(); /* a second one, before the thread made a cache: it has no cache of it */
    destroy_other();
    assert_false(atomic_load(&freed));
    use_a_new_pool();
    end_watch();
}

static void a_flush_frees_what_was_kept(void **state)
{
    (void)state;
    other.pool = make();
    watch(use(other.pool));
    destroy_other();
    assert_false(atomic_load(&freed));
    bufferpool_thread_flush();
    assert_null(tls_self->strays);
    end_watch();
}

static void the_end_of_the_process_frees_what_was_kept(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        hand_begin(&other, make(), 0);
        watch(use(other.pool));
        hand_do(&other, destroy);
        if (atomic_load(&freed))
            _exit(1);
        told = ends[1];
        exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(ends[1]);
    char byte;
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
}

static void other_caches_do_not_stay(void **state)
{
    (void)state;
    other.pool = make();
    watch(use(other.pool));
    use(own);
    destroy_other();
    end_watch();
    assert_null(tls_self->strays);

    bufferpool_t *pool = make(); /* nor does the last one of the thread that destroys the pool */
    watch(use(pool));
    assert_int_equal(bufferpool_destroy(pool), 0);
    end_watch();
    assert_null(tls_self->strays);
}

static void use_its_pool(struct hand *hand)
{
    thread_check(use(hand->pool) != NULL);
}

static void a_block_stays_for_the_last_of_its_caches(void **state)
{
    (void)state;
    struct hand hands[HANDS], last;
    other.pool = make();
    hands_begin(hands, other.pool);
    hands_do(hands, use_its_pool); /* so many that the next cache begins a block */
    struct cache *c = use(other.pool);
    hand_begin(&last, other.pool, 0);
    hand_do(&last, use_its_pool);
    assert_int_equal(c->in_block, 0);
    assert_true(load_relaxed(&other.pool->caches)->in_block > 0);
    watch(c);

    destroy_other();
    assert_false(atomic_load(&freed));
    use_a_new_pool();
    assert_false(atomic_load(&freed));
    hand_end(&last);
    end_watch();
    for (unsigned i = 0; i < HANDS; i++)
        hand_end(&hands[i]);
}

/* ---- the thread moves on while the pool of its last cache ends ---- */

static struct hand user;
static bufferpool_t *moves_to; /* the pool that it uses then */
static bufferpool_buf_t
    *of_own; /* then it puts this one, and is stopped when it has read which cache is the last one */
static struct cache *moved_to;
static sem_t is_stopped, goes_on;

static void stop(void)
{
    sem_post(&is_stopped);
    sem_wait_for_sure(&goes_on);
}

static void prepare_user(struct hand *hand)
{
    use(own);
    of_own = got(own);
    moved_to = use(moves_to);
    use(hand->pool);
}

static void move_on(struct hand *hand)
{
    (void)hand;
    use(moves_to);
    at_step = stop;
    steps_left = 2;
    bufferpool_put(of_own);
}

static void let_user_move_on(void)
{
    hand_start(&user, move_on);
    sem_wait_for_sure(&is_stopped);
}

static void user_uses_a_new_pool(struct hand *hand)
{
    (void)hand;
    use_a_new_pool();
    thread_check(tls_self->strays == NULL);
}

static void two_pools_may_end_while_a_thread_goes_from_one_to_the_other(void **state)
{
    (void)state;
    assert_int_equal(sem_init(&is_stopped, 0, 0) | sem_init(&goes_on, 0, 0), 0);
    hand_begin(&user, NULL, 0);
    for (bool met = true; met;) {
        static int step;
        user.pool = make();
        moves_to = make();
        hand_do(&user, prepare_user);

        at_step = let_user_move_on;
        steps_left = step++;
        assert_int_equal(bufferpool_destroy(user.pool), 0);
        met = at_step == NULL;
        if (!met) { /* it had fewer steps */
            at_step = NULL;
            let_user_move_on();
        }
        watch(moved_to);
        assert_int_equal(bufferpool_destroy(moves_to), 0);
        sem_post(&goes_on);
        hand_finish(&user);
        assert_int_equal(bufferpool_live(own), 0);
        hand_do(&user, user_uses_a_new_pool);
        end_watch();
    }
    hand_end(&user);
}

/* ---- the end of a thread, in the middle of which an allocator hook runs ---- */

static struct hand ending, next;
static bufferpool_t *left, *hooked; /* its pools, in the order in which it leaves them */
static struct thread *ending_self;
static atomic_bool hook_stops;

static void *alloc_hook(size_t size, size_t align, void *ctx)
{
    (void)ctx;
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void free_hook(void *block, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    if (atomic_exchange(&hook_stops, false)) {
        stop();
        while (ending.n > 0)
            bufferpool_put(ending.bufs[--ending.n]);
        stop();
    }
    free(block);
}

static void prepare_the_end(struct hand *hand)
{
    bufferpool_buf_t *bufs[CACHED];
    for (size_t i = 0; i < CACHED; i++)
        bufs[i] = got(hooked);
    for (size_t i = 0; i < CACHED; i++)
        bufferpool_put(bufs[i]);
    hand->bufs[hand->n++] = got(left);
    hand->bufs[hand->n++] = got(own);
    use(hand->pool);
    use(left);
    ending_self = tls_self;
}

static void what_runs_at_the_end_of_a_thread_leaves_the_caches_of_others_alone(void **state)
{
    (void)state;
    assert_int_equal(sem_init(&is_stopped, 0, 0) | sem_init(&goes_on, 0, 0), 0);
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.alloc = alloc_hook;
    config.free = free_hook;
    config.flags = BUFFERPOOL_NO_MEMBARRIER; /* a lowered cap leaves idle buffers to the thread's end */
    left = make();
    hooked = bufferpool_create(&config);
    assert_non_null(hooked);
    hand_begin(&ending, make(), 0);
    hand_do(&ending, prepare_the_end);
    assert_ptr_equal(load_relaxed(&ending_self->last)->pool, left);
    bufferpool_set_max_live(hooked, 1);

    hook_stops = true;
    hand_start(&ending, NULL);
    sem_wait_for_sure(&is_stopped);
    hand_begin(&next, left, 0);
    hand_do(&next, use_its_pool); /* has the cache that the first thread left */
    assert_ptr_equal(load_relaxed(&left->caches)->next, NULL);
    hand_do(&next, hand_stall);
    const uint32_t idle = cache_idle(next.cache);
    sem_post(&goes_on);
    sem_wait_for_sure(&is_stopped); /* both buffers are back */
    assert_true(load_relaxed(&next.cache->busy));
    assert_int_equal(cache_idle(next.cache), idle);
    hand_do(&next, hand_unstall);

    assert_int_equal(bufferpool_destroy(left), 0); /* the cache was the last one of both */
    assert_null(ending_self->strays);
    sem_post(&goes_on);
    pthread_join(ending.thread, NULL);
    hand_end(&next);
    assert_int_equal(bufferpool_destroy(ending.pool), 0);
    assert_int_equal(bufferpool_destroy(hooked), 0);
}

static void the_child_of_fork_frees_what_was_kept_for_threads_of_its_parent(void **state)
{
    (void)state;
    struct hand third;
    hand_begin(&third, make(), 0);
    hand_do(&third, use_its_pool);
    other.pool = third.pool;
    watch(load_relaxed(&other.pool->caches));
    destroy_other();
    assert_false(atomic_load(&freed));

    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bufferpool_put(bufferpool_get(own));
        _exit(atomic_load(&freed) ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    hand_end(&third);
    end_watch();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_put_finds_the_pool_of_its_buffer, begin, end),
        cmocka_unit_test_setup_teardown(a_get_makes_its_cache_the_last_one, begin, end),
        cmocka_unit_test_setup_teardown(the_pool_of_the_last_cache_may_end_in_the_middle_of_a_put, begin, end),
        cmocka_unit_test_setup_teardown(a_last_cache_stays_until_its_thread_makes_another_one, begin, end),
        cmocka_unit_test_setup_teardown(a_flush_frees_what_was_kept, begin, end),
        cmocka_unit_test_setup_teardown(the_end_of_the_process_frees_what_was_kept, begin, end),
        cmocka_unit_test_setup_teardown(other_caches_do_not_stay, begin, end),
        cmocka_unit_test_setup_teardown(a_block_stays_for_the_last_of_its_caches, begin, end),
        cmocka_unit_test_setup_teardown(two_pools_may_end_while_a_thread_goes_from_one_to_the_other, begin, end),
        cmocka_unit_test_setup_teardown(what_runs_at_the_end_of_a_thread_leaves_the_caches_of_others_alone, begin, end),
        cmocka_unit_test_setup_teardown(the_child_of_fork_frees_what_was_kept_for_threads_of_its_parent, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
