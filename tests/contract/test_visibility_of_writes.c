/* SPDX-License-Identifier: MIT
 *
 * test_visibility_of_writes.c - the next holder of a buffer sees what the last one wrote before put
 *
 * The threads leave plain, non-atomic marks in the buffers, and nothing else tells a thread what another wrote: the
 * pool is the only thing between them. Thread caches hold one buffer, so that all buffers go through the depot. Each
 * buffer carries a chain of marks that must never skip, repeat or tear, and each token that a thread puts into a buffer
 * must come out exactly once. Under ThreadSanitizer a missing order is also a report.
 */
#include "support/laws.h"

enum { THREADS = 8, CAPACITY = 256, WORDS = CAPACITY / 8, CAP = 12 };

/* What a fresh block says: the allocator hook fills blocks with 0xee. */
#define FRESH UINT64_C(0xeeeeeeeeeeeeeeee)

struct relay {
    bufferpool_t *pool;
    size_t turns;
    bool bulk;
    atomic_size_t turns_done;
    atomic_size_t tokens; /* given out so far */
    unsigned char *seen;  /* per token: how often it came out */
    size_t tokens_max;
    atomic_size_t swallowed;
};

static bufferpool_t *pool_of_one_buffer_caches(test_blocks_t *blocks)
{
    bufferpool_config_t config = config_with(blocks);
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = 1;
    config.max_live = CAP;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

/* All words of the buffer say how often it was held: one more each time, never torn, never an older value. */
static uint64_t take_mark(const bufferpool_buf_t *buf)
{
    const uint64_t *words = (const uint64_t *)(const void *)buf->data;
    test_know_bytes(buf);
    const uint64_t mark = words[0];
    for (size_t i = 1; i < WORDS; i++)
        thread_check(words[i] == mark);
    return mark == FRESH ? 0 : mark;
}

static void leave_mark(bufferpool_buf_t *buf, uint64_t mark)
{
    uint64_t *words = (uint64_t *)(void *)buf->data;
    for (size_t i = 0; i < WORDS; i++)
        words[i] = mark;
}

static void count_turns_in_buffers(void *arg, unsigned index)
{
    struct relay *relay = arg;
    size_t done = 0;
    for (size_t turn = 0; turn < relay->turns; turn++) {
        bufferpool_buf_t *bufs[3] = {NULL};
        const size_t n = relay->bulk ? 1 + (turn + index) % 3 : 1;
        for (size_t i = 0; i < n; i++)
            bufs[i] = bufferpool_try_get(relay->pool);
        for (size_t i = 0; i < n; i++) {
            if (bufs[i] == NULL)
                continue;
            leave_mark(bufs[i], take_mark(bufs[i]) + 1);
            done++;
        }
        bufferpool_put_bulk(bufs, n);
        if (n == 1)
            bufferpool_thread_flush(); /* the cache would give this thread the same one again */
    }
    atomic_fetch_add(&relay->turns_done, done);
}

/* The sum of the marks in all buffers is the number of turns: none was lost, none seen twice. */
static void marks_add_up(bool bulk)
{
    test_blocks_t blocks = {0};
    struct relay relay = {.pool = pool_of_one_buffer_caches(&blocks), .turns = test_scale(60000, 1500), .bulk = bulk};
    run_threads(THREADS, count_turns_in_buffers, &relay);
    assert_in_range(atomic_load(&blocks.allocs), 1, CAP); /* so none was freed, with its mark */
    assert_true(stats_of(relay.pool).gets_depot > 0);

    bufferpool_buf_t *bufs[CAP];
    uint64_t sum = 0;
    for (size_t i = 0; i < CAP; i++) {
        bufs[i] = bufferpool_try_get(relay.pool);
        assert_non_null(bufs[i]);
        sum += take_mark(bufs[i]);
    }
    assert_int_equal(sum, atomic_load(&relay.turns_done));
    bufferpool_put_bulk(bufs, CAP);
    check_laws(relay.pool, &blocks, 0);
    destroy_empty(relay.pool, &blocks);
}

static void every_turn_is_seen_by_the_next_holder(void **state)
{
    (void)state;
    marks_add_up(false);
}

static void every_turn_is_seen_with_several_buffers_held(void **state)
{
    (void)state;
    marks_add_up(true);
}

/* A buffer that comes out may carry a token: it is taken, ticked off, and a new one is put in. */
static void carry_tokens(void *arg, unsigned index)
{
    struct relay *relay = arg;
    size_t swallowed = 0;
    (void)index;
    for (size_t turn = 0; turn < relay->turns; turn++) {
        bufferpool_buf_t *buf = bufferpool_try_get(relay->pool);
        if (buf == NULL)
            continue;
        const uint64_t token = take_mark(buf);
        if (token != 0) {
            if (!thread_check(token < relay->tokens_max))
                return;
            relay->seen[token]++; /* plain: only one thread may ever come by this token */
            swallowed++;
        }
        /* relaxed: this counter must not be what makes the marks visible */
        leave_mark(buf, atomic_fetch_add_explicit(&relay->tokens, 1, memory_order_relaxed) + 1);
        bufferpool_put(buf);
        bufferpool_thread_flush();
    }
    atomic_fetch_add(&relay->swallowed, swallowed);
}

static void every_token_comes_out_exactly_once(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    struct relay relay = {.pool = pool_of_one_buffer_caches(&blocks), .turns = test_scale(60000, 1500)};
    relay.tokens_max = THREADS * relay.turns + 2;
    relay.seen = calloc(relay.tokens_max, 1);
    assert_non_null(relay.seen);
    run_threads(THREADS, carry_tokens, &relay);

    bufferpool_buf_t *bufs[CAP];
    for (size_t i = 0; i < CAP; i++) { /* what is still inside */
        assert_non_null(bufs[i] = bufferpool_try_get(relay.pool));
        const uint64_t token = take_mark(bufs[i]);
        if (token != 0)
            relay.seen[token]++;
    }
    const size_t tokens = atomic_load(&relay.tokens);
    assert_true(tokens > relay.turns / 2 && atomic_load(&relay.swallowed) > 0);
    for (size_t token = 1; token <= tokens; token++)
        assert_int_equal(relay.seen[token], 1);
    bufferpool_put_bulk(bufs, CAP);
    free(relay.seen);
    destroy_empty(relay.pool, &blocks);
}

/* The twin with a fixed order: written and put in one thread, joined, got in another; handle and grown block too. */
static void write_in_thread(void *arg, unsigned index)
{
    bufferpool_t *pool = arg;
    bufferpool_buf_t *bufs[4];
    (void)index;
    for (size_t i = 0; i < 4; i++) {
        bufs[i] = bufferpool_get(pool);
        if (!thread_check(bufs[i] != NULL))
            return;
        thread_check(bufferpool_buf_reserve(bufs[i], 2000) == 0);
        test_fill(bufs[i]->data, bufs[i]->cap, i);
    }
    bufferpool_put_bulk(bufs, 4);
}

static void bytes_survive_the_way_through_the_depot(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_t *pool = pool_of_one_buffer_caches(&blocks);
    run_threads(1, write_in_thread, pool);
    unsigned found = 0;
    bufferpool_buf_t *bufs[4];
    for (size_t k = 0; k < 4; k++) {
        bufs[k] = bufferpool_get(pool);
        assert_true(bufs[k]->cap >= 2000);
        test_know_bytes(bufs[k]);
        for (unsigned i = 0; i < 4; i++)
            found |= (unsigned)test_filled(bufs[k]->data, bufs[k]->cap, i) << i;
    }
    assert_int_equal(found, 0xf);
    assert_int_equal(atomic_load(&blocks.count), 4);
    bufferpool_put_bulk(bufs, 4);
    destroy_empty(pool, &blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_survive_the_way_through_the_depot),
        cmocka_unit_test(every_turn_is_seen_by_the_next_holder),
        cmocka_unit_test(every_turn_is_seen_with_several_buffers_held),
        cmocka_unit_test(every_token_comes_out_exactly_once),
    };
    return cmocka_run_group_tests_name("visibility_of_writes", tests, NULL, NULL);
}
