/* SPDX-License-Identifier: MIT
 *
 * test_hooks.c - what another thread sees and gets while a call stands in an allocator hook
 *
 * Each hook stops its call, before the block is made or freed and after, until another thread has looked: the visitor.
 * The scenes end in a hook with as many pooled buffers as the cap allows, so the visitor must be refused: the room of a
 * buffer is not free before its block is. Statistics and metrics must be sound, and no counter may have fallen since
 * the last look. At all times another pool can be made, used and destroyed.
 */
#include "support/laws.h"

#include <sched.h>
#include <semaphore.h>

enum { CAPACITY = 1024, MAX = 4 * CAPACITY, SERIES = 64 };

static struct scene {
    test_blocks_t blocks; /* first: the hook gets its address */
    bufferpool_t *pool;
    uint64_t exist;      /* pooled buffers that exist, or may exist in this scene */
    atomic_bool watched; /* the hooks stop */
    atomic_bool refused; /* the visitor gets no buffer */
    atomic_bool ends;    /* the pool is being destroyed: nobody else may use it */
    int allocs_left;     /* of the calls that are watched; the others fail. Below 0: all succeed */
    atomic_uint looks;
    bufferpool_stats_t before; /* of the last look */
    char shown[1 << 14];       /* metrics of the last look */
    bool hook_works;           /* the hook itself uses the library too */
} scene;

/* ---- the visitor ---- */

static struct {
    pthread_t thread;
    sem_t go, done;
    void (*step)(void);
    pthread_mutex_t asked;
} visitor = {.asked = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local bool never_stops; /* hooks that this thread calls */

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        ;
}

static void *visitor_main(void *arg)
{
    (void)arg;
    never_stops = true;
    for (;;) {
        wait_for(&visitor.go);
        if (visitor.step == NULL)
            return NULL;
        visitor.step();
        sem_post(&visitor.done);
    }
}

static void ask_visitor(void (*step)(void))
{
    pthread_mutex_lock(&visitor.asked); /* hooks run in the background thread too */
    visitor.step = step;
    sem_post(&visitor.go);
    wait_for(&visitor.done);
    pthread_mutex_unlock(&visitor.asked);
}

static int begin_visitor(void **state)
{
    (void)state;
    return sem_init(&visitor.go, 0, 0) != 0 || sem_init(&visitor.done, 0, 0) != 0 ||
           pthread_create(&visitor.thread, NULL, visitor_main, NULL) != 0;
}

static int end_visitor(void **state)
{
    (void)state;
    visitor.step = NULL;
    sem_post(&visitor.go);
    return pthread_join(visitor.thread, NULL);
}

/* ---- what it looks at ---- */

static void is_refused(void)
{
    errno = 0;
    thread_check(bufferpool_try_get(scene.pool) == NULL && errno == EAGAIN);
    thread_check(bufferpool_get_timed(scene.pool, 0) == NULL && errno == ETIMEDOUT);
}

static void statistics_are_sound(void)
{
    const bufferpool_stats_t s = stats_of(scene.pool), *before = &scene.before;
    thread_check(s.live + s.idle_thread + s.idle_depot <= scene.exist);
    thread_check(bufferpool_live(scene.pool) <= scene.exist);
    thread_check(s.bypass_live <= 2 && s.thread_caches <= 3);
    /* two threads may be about to make or free one */
    thread_check(s.peak_in_flight <= atomic_load(&scene.blocks.peak) + 2);
    thread_check(s.idle_bytes <= 2 * MAX && s.live_bytes <= 3 * MAX);
    thread_check(s.puts_kept <= sum_of_gets(&s));
    const uint64_t counters[][2] = {
        {before->gets_thread, s.gets_thread},
        {before->gets_depot, s.gets_depot},
        {before->gets_fresh, s.gets_fresh},
        {before->gets_bypass, s.gets_bypass},
        {before->gets_refused, s.gets_refused},
        {before->drops_oversize, s.drops_oversize},
        {before->drops_bypass, s.drops_bypass},
        {before->drops_over_cap, s.drops_over_cap},
        {before->drops_idle_limit, s.drops_idle_limit},
        {before->grows, s.grows},
        {before->shrinks, s.shrinks},
        {before->reclaimed_bytes, s.reclaimed_bytes},
        {before->stolen, s.stolen},
        {before->waits, s.waits},
        {before->waited_ns, s.waited_ns},
    };
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
        thread_check(counters[i][1] >= counters[i][0] && counters[i][1] <= UINT32_MAX);
    scene.before = s;
}

/* The value of the series that begins `line`, in the text; UINT64_MAX if it is not there. */
static uint64_t value_in(const char *text, const char *line, size_t length)
{
    for (const char *at = text; at != NULL; at = strchr(at, '\n'), at = at != NULL ? at + 1 : NULL)
        if (strncmp(at, line, length) == 0)
            return strtoull(at + length, NULL, 10);
    return UINT64_MAX;
}

static void no_counter_fell(const char *before, const char *now)
{
    size_t counters = 0;
    for (const char *line = before; *line != '\0'; line = strchr(line, '\n') + 1) {
        const char *end = strchr(line, ' '), *labels = strchr(line, '{');
        if (*line == '#' || strstr(line, "{pool=\"hooks\"") != labels || memcmp(labels - 6, "_total", 6) != 0)
            continue;
        const uint64_t then = strtoull(end, NULL, 10), value = value_in(now, line, (size_t)(end - line));
        thread_check(value != UINT64_MAX && value >= then);
        counters++;
    }
    thread_check(*before == '\0' || counters == 17);
}

static void metrics_are_sound(void)
{
    bufferpool_buf_t *out = bufferpool_get(NULL);
    if (!thread_check(out != NULL) || out == NULL)
        return;
    thread_check(bufferpool_metrics(out) == 0 && bufferpool_buf_append(out, "", 1) == 0);
    if (thread_check(out->len <= sizeof scene.shown)) {
        no_counter_fell(scene.shown, (const char *)out->data);
        memcpy(scene.shown, out->data, out->len);
    }
    bufferpool_put(out);
}

/* The call that stands in its hook holds no lock that this needs: the visitor is served beyond the cap. */
static void is_served_beyond_the_cap(void)
{
    const uint64_t before = stats_of(scene.pool).gets_bypass;
    bufferpool_buf_t *buf = bufferpool_get(scene.pool);
    thread_check(buf != NULL && stats_of(scene.pool).gets_bypass == before + 1);
    thread_check(bufferpool_buf_reserve(buf, MAX) == 0);
    bufferpool_put(buf);
    bufferpool_thread_flush();
}

/* ---- another pool, and all of a thread's life ---- */

static void use_another_pool(void)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "hooks"; /* of a pool that ends too */
    config.buffer_capacity = CAPACITY;
    config.max_live = 1;
    bufferpool_t *other = bufferpool_create(&config);
    if (!thread_check(other != NULL))
        return;
    bufferpool_buf_t *buf = bufferpool_get(other), *beyond = bufferpool_get(other);
    thread_check(buf != NULL && beyond != NULL && bufferpool_buf_reserve(buf, MAX) == 0);
    bufferpool_put(beyond);
    thread_check(bufferpool_buf_printf(buf, "%d", 1) == 0);
    bufferpool_put(buf);
    bufferpool_thread_flush();
    (void)bufferpool_reclaim(other);
    (void)bufferpool_trim(other);
    const bufferpool_stats_t s = stats_of(other);
    thread_check(s.live == 0 && s.bypass_live == 0 && s.idle_depot == 0);
    thread_check(bufferpool_destroy(other) == 0);
}

static void *live_and_end(void *arg)
{
    never_stops = true;
    bufferpool_put(bufferpool_get(NULL));
    use_another_pool();
    return arg;
}

static void use_the_library_elsewhere(void)
{
    pthread_t thread;
    use_another_pool();
    bufferpool_buf_t *out = bufferpool_get(NULL);
    thread_check(out != NULL && bufferpool_holders(out) == 0);
    for (int on = 1; on >= 0; on--) {
        const int error = bufferpool_record_holders(on);
        thread_check(error == 0 || error == ENOTSUP); /* built without debug modes */
    }
    thread_check(bufferpool_metrics(out) == 0);
    bufferpool_put(out);
    thread_check(pthread_create(&thread, NULL, live_and_end, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

/* ---- the hooks ---- */

static void nothing(void *arg, unsigned index)
{
    (void)arg, (void)index;
}

/* Fails, and says why, if a check in a hook or of the visitor did. */
static void assert_nothing_recorded(void)
{
    run_threads(1, nothing, NULL);
}

static void look(void)
{
    statistics_are_sound();
    metrics_are_sound();
    if (!atomic_load(&scene.refused))
        return;
    is_refused();
    is_served_beyond_the_cap();
}

static void stop(void)
{
    if (!atomic_load(&scene.watched) || never_stops)
        return;
    never_stops = true;
    atomic_fetch_add(&scene.looks, 1);
    if (!atomic_load(&scene.ends))
        ask_visitor(look);
    else
        ask_visitor(use_the_library_elsewhere);
    if (scene.hook_works)
        use_the_library_elsewhere();
    never_stops = false;
}

static void *alloc(size_t size, size_t align, void *ctx)
{
    stop();
    const bool fails = !never_stops && scene.allocs_left == 0;
    if (!never_stops && scene.allocs_left > 0)
        scene.allocs_left--;
    void *block = fails ? NULL : test_blocks_alloc(size, align, ctx);
    stop();
    return block;
}

static void release(void *block, size_t size, void *ctx)
{
    stop();
    test_blocks_free(block, size, ctx);
    stop();
}

static void end_scene(void)
{
    assert_nothing_recorded();
    atomic_store(&scene.watched, false);
    check_laws(scene.pool, &scene.blocks, 0);
    destroy_empty(scene.pool, &scene.blocks);
}

static void begin_scene(size_t cap, unsigned flags, size_t max_idle_bytes)
{
    const bool hook_works = scene.hook_works;
    memset(&scene, 0, sizeof scene);
    scene.hook_works = hook_works;
    scene.allocs_left = -1;
    bufferpool_config_t config = config_with(&scene.blocks);
    config.name = "hooks";
    config.alloc = alloc;
    config.free = release;
    config.buffer_capacity = CAPACITY;
    config.max_capacity = MAX;
    config.max_live = cap;
    config.max_idle_bytes = max_idle_bytes;
    config.flags = flags & BUFFERPOOL_ZERO;
    if ((flags & BUFFERPOOL_BACKGROUND) != 0) {
        config.flags |= BUFFERPOOL_BACKGROUND;
        config.reclaim_interval_ms = 1;
    }
    scene.pool = bufferpool_create(&config);
    assert_non_null(scene.pool);
    scene.exist = cap;
}

/* From here on hooks stop. The visitor is refused in them. It looks once before. */
static void watch(void)
{
    atomic_store(&scene.refused, false);
    if (!atomic_load(&scene.ends))
        ask_visitor(look);
    atomic_store(&scene.looks, 0);
    atomic_store(&scene.refused, true);
    atomic_store(&scene.watched, true);
}

/* That many hooks were called, and stopped before and after. The visitor has a last look. */
static void looked(unsigned hooks)
{
    assert_int_equal(atomic_load(&scene.looks), 2 * hooks);
    atomic_store(&scene.watched, false);
    atomic_store(&scene.refused, false);
    ask_visitor(look);
    assert_nothing_recorded();
}

/* ---- scenes ---- */

static void get_grow_and_drop(unsigned flags)
{
    begin_scene(1, flags, 0);
    watch();
    bufferpool_buf_t *buf = bufferpool_get(scene.pool);
    looked(1);
    watch();
    assert_int_equal(bufferpool_buf_reserve(buf, MAX), 0);
    looked(2);
    watch();
    assert_int_equal(bufferpool_buf_reserve(buf, MAX + 1), 0);
    looked(2);
    watch();
    bufferpool_put(buf);
    looked(1);
    assert_int_equal(stats_of(scene.pool).drops_oversize, 1);
    end_scene();
}

static void fail_to_make(unsigned flags)
{
    begin_scene(1, flags, 0);
    watch();
    scene.allocs_left = 0;
    errno = 0;
    assert_null(bufferpool_get(scene.pool));
    assert_int_equal(errno, ENOMEM);
    looked(1);
    scene.allocs_left = -1;
    watch();
    bufferpool_buf_t *buf = bufferpool_get(scene.pool);
    looked(1);
    watch();
    scene.allocs_left = 0;
    assert_int_equal(bufferpool_buf_reserve(buf, CAPACITY + 1), ENOMEM);
    looked(2); /* twice as much, and then as much as is needed */
    bufferpool_put(buf);
    end_scene();
}

static void trim(unsigned flags)
{
    begin_scene(1, flags, 0);
    bufferpool_put(bufferpool_get(scene.pool));
    watch();
    assert_int_equal(bufferpool_trim(scene.pool), CAPACITY);
    looked(1);
    end_scene();
}

static void get_and_put(void)
{
    bufferpool_put(bufferpool_get(scene.pool));
}

static void trim_of_anothers(unsigned flags)
{
    if (!test_can_steal())
        return;
    begin_scene(1, flags, 0);
    ask_visitor(get_and_put);
    watch();
    assert_int_equal(bufferpool_trim(scene.pool), CAPACITY);
    looked(1);
    assert_int_equal(stats_of(scene.pool).stolen, 1);
    end_scene();
}

static void reclaim(unsigned flags)
{
    begin_scene(1, flags, 0);
    bufferpool_put(bufferpool_get(scene.pool));
    bufferpool_thread_flush();
    watch();
    for (int i = 0; i < 3; i++)
        (void)bufferpool_reclaim(scene.pool);
    looked(1);
    end_scene();
}

static void reclaim_in_the_background(unsigned flags)
{
    begin_scene(1, flags | BUFFERPOOL_BACKGROUND, 0);
    bufferpool_buf_t *buf = bufferpool_get(scene.pool);
    watch();
    bufferpool_put(buf);
    bufferpool_thread_flush();
    while (stats_of(scene.pool).reclaimed_bytes == 0)
        sched_yield();
    looked(1);
    end_scene();
}

/* Of two, one is idle or held when the cap is lowered to 1. */
static void lower_the_cap(unsigned flags)
{
    for (int idle = 0; idle < 2; idle++) {
        begin_scene(2, flags, 0);
        bufferpool_buf_t *a = bufferpool_get(scene.pool), *b = bufferpool_get(scene.pool);
        if (idle)
            bufferpool_put(b);
        watch();
        bufferpool_set_max_live(scene.pool, 1);
        if (!idle)
            bufferpool_put(b);
        looked(1);
        const bufferpool_stats_t s = stats_of(scene.pool);
        assert_int_equal(s.drops_over_cap - s.gets_bypass, !idle); /* the visitor's went likewise */
        bufferpool_put(a);
        end_scene();
    }
}

static void exceed_the_idle_limit(unsigned flags)
{
    begin_scene(1, flags, CAPACITY - 1);
    bufferpool_buf_t *buf = bufferpool_get(scene.pool);
    watch();
    bufferpool_put(buf);
    looked(1);
    assert_int_equal(stats_of(scene.pool).drops_idle_limit, 1);
    end_scene();
}

static void go_beyond_the_cap(unsigned flags)
{
    begin_scene(1, flags, 0);
    bufferpool_buf_t *buf = bufferpool_get(scene.pool);
    watch();
    bufferpool_buf_t *beyond = bufferpool_get(scene.pool);
    looked(1);
    watch();
    assert_int_equal(bufferpool_buf_reserve(beyond, MAX), 0);
    looked(2);
    watch();
    bufferpool_put(beyond);
    looked(1);
    bufferpool_put(buf);
    end_scene();
}

static void shrink(unsigned flags)
{
    begin_scene(1, flags, 0);
    bufferpool_buf_t *buf = bufferpool_get(scene.pool);
    assert_int_equal(bufferpool_buf_reserve(buf, MAX), 0);
    bufferpool_put(buf);
    while (stats_of(scene.pool).shrinks == 0) {
        buf = bufferpool_get(scene.pool);
        watch();
        bufferpool_put(buf);
        assert_true(stats_of(scene.pool).shrinks * 4 == atomic_load(&scene.looks));
        atomic_store(&scene.watched, false);
    }
    assert_nothing_recorded();
    end_scene();
}

/* The third and the fourth are beyond the cap. The fourth fails, and the third is freed before the two of the cap are
 * given back. */
static void fail_to_get_many(unsigned flags)
{
    begin_scene(2, flags, 0);
    bufferpool_buf_t *bufs[4];
    assert_int_equal(bufferpool_get_bulk(scene.pool, bufs, 2), 0);
    bufferpool_put_bulk(bufs, 2);
    scene.allocs_left = 1;
    watch();
    assert_int_equal(bufferpool_get_bulk(scene.pool, bufs, 4), ENOMEM);
    looked(3);
    end_scene();
}

/* The first has room beside it, so the visitor is not refused there. The gets are counted when all are there. */
static void get_many(unsigned flags)
{
    begin_scene(2, flags, 0);
    bufferpool_buf_t *bufs[3];
    watch();
    atomic_store(&scene.refused, false);
    assert_int_equal(bufferpool_get_bulk(scene.pool, bufs, 3), 0);
    looked(3);
    watch();
    atomic_store(&scene.refused, false);
    bufferpool_put_bulk(bufs, 3);
    looked(1);
    end_scene();
}

static void (*const scenes[])(unsigned flags) = {
    get_grow_and_drop,
    fail_to_make,
    trim,
    trim_of_anothers,
    reclaim,
    reclaim_in_the_background,
    lower_the_cap,
    exceed_the_idle_limit,
    go_beyond_the_cap,
    shrink,
    get_many,
    fail_to_get_many,
};

static void play(unsigned flags)
{
    for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++)
        scenes[i](flags);
}

/* ---- the cases ---- */

static void the_room_of_a_buffer_is_not_free_before_its_block_is(void **state)
{
    (void)state;
    play(0);
}

static void the_room_of_a_wiped_buffer_is_not_free_before_its_block_is(void **state)
{
    (void)state;
    play(BUFFERPOOL_ZERO);
}

/* What may run at any time beside anything may also run in a hook. */
static void hooks_may_use_other_pools_and_read_metrics(void **state)
{
    (void)state;
    scene.hook_works = true;
    play(0);
    scene.hook_works = false;
}

static void other_pools_can_be_used_while_a_pool_is_destroyed(void **state)
{
    enum { N = 5 };
    bufferpool_buf_t *bufs[N];
    (void)state;
    for (unsigned round = 0; round < 4; round++) {
        scene.hook_works = (round & 1) != 0;
        begin_scene(0, (round & 2) != 0 ? BUFFERPOOL_ZERO : 0, 0);
        assert_int_equal(bufferpool_get_bulk(scene.pool, bufs, N), 0);
        assert_int_equal(bufferpool_buf_reserve(bufs[0], MAX), 0);
        bufferpool_put_bulk(bufs, N);
        atomic_store(&scene.ends, true);
        watch();
        assert_int_equal(bufferpool_destroy(scene.pool), 0);
        assert_int_equal(atomic_load(&scene.looks), 2 * N);
        assert_int_equal(atomic_load(&scene.blocks.count), 0);
        assert_int_equal(atomic_load(&scene.blocks.errors), 0);
        assert_nothing_recorded();
    }
    scene.hook_works = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_room_of_a_buffer_is_not_free_before_its_block_is),
        cmocka_unit_test(the_room_of_a_wiped_buffer_is_not_free_before_its_block_is),
        cmocka_unit_test(hooks_may_use_other_pools_and_read_metrics),
        cmocka_unit_test(other_pools_can_be_used_while_a_pool_is_destroyed),
    };
    return cmocka_run_group_tests_name("hooks", tests, begin_visitor, end_visitor);
}
