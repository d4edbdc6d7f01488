/* SPDX-License-Identifier: MIT
 *
 * life.c - a buffer's life: found, made, handed out, claimed by a put, freed
 *
 * The word is relaxed throughout (desc.h). Steps that a debug mode or a sanitizer watches stand in functions of their
 * own, so that the plain ones need no stack for them.
 */
#include "life.h"

#include "debug/records.h"
#include "debug/watch.h"
#include "registry.h"

#define PUT_TWICE_AT_ONCE "put twice at the same time"

bufferpool_t *life_pool_of(const struct desc *d, uintptr_t word)
{
    bufferpool_t *pool = registry_find(desc_pool_index(word));
    if (pool == NULL || word >> STATE_BITS != pool->tag || !desc_table_has(&pool->heap.table, d))
        return NULL;
    return pool;
}

/* ---- made ---- */

struct desc *life_make_watched(bufferpool_t *pool)
{
    if (modes_have(MODE_FAIL) && modes_fail_now()) {
        heap_unreserve(&pool->heap);
        return NULL;
    }
    struct desc *d = heap_alloc(&pool->heap);
    if (d == NULL)
        return NULL;
    if (modes_have(MODES_WATCH))
        watch_made(pool, d);
    d->pub.len = 0;
    block_set_held(&pool->heap, d, desc_word(pool->tag, STATE_LIVE), false);
    return d;
}

/* ---- data and cap ---- */

_Noreturn void life_report_overwritten(const bufferpool_t *pool, const struct desc *d)
{
    const enum desc_state state = desc_state(load_relaxed(&d->word));
    const struct record *record = modes_have(MODES_WATCH) ? records_at(&pool->records, d) : NULL;
    size_t cap = state == STATE_IDLE || state == STATE_LIVE ? pool->heap.base : 0; /* 0: not known */
    if (record != NULL)
        cap = load_relaxed(&record->cap);
    if (cap == 0)
        report_misuse(&d->pub, pool, "its data or its cap was overwritten");
    report_misuse(&d->pub, pool, cap != d->pub.cap ? "its cap was overwritten" : "its data was overwritten");
}

/* ---- handed out ---- */

static __attribute__((noinline)) void hand_out_watched(bufferpool_t *pool, struct desc *d, uintptr_t word)
{
    if (modes_have(MODES_WATCH)) {
        watch_idle(pool, d);
        watch_hand_out(pool, d);
    }
    life_check(pool, d);
    block_set_held(&pool->heap, d, word, pool->heap.wipe);
}

struct desc *life_hand_out(bufferpool_t *pool, struct desc *d)
{
    uintptr_t word = load_relaxed(&d->word);
    if (word != desc_word(pool->tag, STATE_IDLE) && word != desc_word(pool->tag, STATE_IDLE_GROWN))
        report_misuse(&d->pub, pool, PUT_TWICE_AT_ONCE ", or its handle was overwritten");
    d->pub.len = 0;
    d->asked = 0;
    word += STATE_LIVE - STATE_IDLE;
    if (steps_are_watched()) {
        hand_out_watched(pool, d, word);
        return d;
    }
    life_check(pool, d);
    store_relaxed(&d->word, word);
    return d;
}

bufferpool_buf_t *life_got(bufferpool_t *pool, struct desc *d)
{
    if (modes_have(MODES_WATCH))
        watch_got(pool, d);
    return &d->pub;
}

/* ---- claimed ---- */

static void let_go(const bufferpool_t *pool, struct desc *d, uintptr_t word, enum desc_state to)
{
    if (!atomic_compare_exchange_strong_explicit(&d->word, &word, desc_word(pool->tag, to), memory_order_relaxed,
                                                 memory_order_relaxed))
        report_misuse(&d->pub, pool, PUT_TWICE_AT_ONCE);
}

/* Of two threads that put the buffer at once, one may find that the other freed it. */
static void check_put(const bufferpool_t *pool, const struct desc *d, uintptr_t word)
{
    if (likely(desc_is_sealed(d)))
        return;
    if (load_relaxed(&d->word) != word)
        report_misuse(&d->pub, pool, PUT_TWICE_AT_ONCE);
    life_report_overwritten(pool, d);
}

static __attribute__((noinline)) void let_go_watched(bufferpool_t *pool, struct desc *d, uintptr_t word,
                                                     enum desc_state to)
{
    if (modes_have(MODES_WATCH)) /* first: the mode checks data and cap, which the next steps believe */
        watch_put(pool, d);
    check_put(pool, d, word);
    if (pool->heap.wipe)
        heap_wipe_block(&pool->heap, d->pub.data, d->pub.cap);
    const bool told = sanitizer_on();
    if (told)
        sanitizer_lock();
    let_go(pool, d, word, to);
    if (told) {
        block_hide(&pool->heap, d);
        sanitizer_unlock();
    }
}

void life_claim(bufferpool_t *pool, struct desc *d, uintptr_t word)
{
    enum desc_state to;
    switch (desc_state(word)) {
    case STATE_LIVE:
        to = STATE_IDLE;
        break;
    case STATE_LIVE_GROWN:
        to = STATE_IDLE_GROWN;
        break;
    case STATE_FREE:
    case STATE_IDLE:
    case STATE_IDLE_GROWN:
        report_misuse(&d->pub, pool, "put twice");
    default:
        report_misuse(&d->pub, pool, "handed out twice, after it was " PUT_TWICE_AT_ONCE);
    }
    if (steps_are_watched()) {
        let_go_watched(pool, d, word, to);
        return;
    }
    check_put(pool, d, word);
    if (pool->heap.wipe)
        heap_wipe_block(&pool->heap, d->pub.data, d->pub.cap);
    let_go(pool, d, word, to);
}

/* ---- freed ---- */

void life_free(bufferpool_t *pool, struct desc *d, bool defer)
{
    enum desc_state state = desc_state(load_relaxed(&d->word));
    if (state != STATE_IDLE && state != STATE_IDLE_GROWN)
        report_misuse(&d->pub, pool, PUT_TWICE_AT_ONCE ", or its handle was overwritten");
    if (modes_have(MODES_WATCH))
        watch_idle(pool, d);
    const size_t extra = d->pub.cap - pool->heap.base;
    life_check(pool, d);
    if (!block_intact(&pool->heap, d))
        report_misuse(&d->pub, pool, REPORT_OVERWRITTEN);
    if (modes_have(MODES_WATCH))
        watch_freed(pool, d);
    store_relaxed(&d->word, desc_word(pool->tag, STATE_FREE));
    const size_t spare = life_spare(pool);
    heap_free(&pool->heap, d, defer, spare);
    /* others may have freed many meanwhile, down to a limit that has fallen since */
    if (unlikely(life_spare(pool) + 4 * pool->heap.base < spare))
        heap_lower(&pool->heap, life_spare(pool));
    if (extra != 0)
        sub_relaxed(&pool->grown_extra, extra);
}

/* ---- the end of the pool ---- */

void life_check_idle(bufferpool_t *pool)
{
    struct desc *d;
    for_each_desc (&pool->heap.table, i, d, load_relaxed(&pool->heap.table.used)) {
        const enum desc_state state = desc_state(load_relaxed(&d->word));
        if (state != STATE_IDLE && state != STATE_IDLE_GROWN)
            continue;
        if (modes_have(MODES_WATCH))
            watch_idle(pool, d);
        life_check(pool, d);
    }
}
