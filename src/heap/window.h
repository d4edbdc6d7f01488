/* SPDX-License-Identifier: MIT
 *
 * window.h - how much memory callers had lately, so that as much may be retained for them
 *
 * `taken` rises with each block that is made, and falls with each that a put or a growth gives back. It does not fall
 * when an idle buffer's block is freed: nobody held that block lately. So only differences of `taken` mean anything:
 *
 *     the most that `taken` was within retain_ms, less what it is now
 *
 * is what callers held within that time, and do not hold any more. The time is cut into parts. For each part `most` is
 * the most that `taken` was. `taken` rises without a look at the clock. So before it falls, the parts that have begun
 * since the last look get what it is then: it was never more since that look.
 *
 * A mark that a part has expires with the part, at most retain_ms after the moment that it stands for, and at least 15
 * sixteenths of that.
 *
 * The caller holds the heap's lock, except for window_now.
 */
#ifndef BUFFERPOOL_WINDOW_H
#define BUFFERPOOL_WINDOW_H

#include "clock.h"
#include "types.h"

/* Never due. */
#define WINDOW_NEVER UINT64_MAX

/* For a pool that retains nothing by time: retain_ms is 0. To be called before the pool is used, or with 0. */
void window_set(struct window *window, unsigned retain_ms);

/* Forgets what was. In the child after fork: the caller adds up what is taken anew. */
void window_reset(struct window *window);

/* The time, to be handed to the calls below; 0 if the pool retains nothing by time. Any thread, without the lock. */
static inline uint64_t window_now(const struct window *window)
{
    /* relaxed: the thread that reads an old value looks at the clock in vain, or retains a block too few */
    return load_relaxed(&window->part_ms) != 0 ? clock_coarse_ms() : 0;
}

/* window_advance, where a part has ended. */
void window_turn(struct window *window, uint64_t now_ms);

/* Lets the parts go by that have ended. */
static inline void window_advance(struct window *window, uint64_t now_ms)
{
    if (unlikely(now_ms >= window->end_ms) && now_ms != 0)
        window_turn(window, now_ms);
}

/* Blocks of so many bytes were made. */
static inline void window_take(struct window *window, size_t bytes)
{
    window->taken += bytes;
}

/* A caller gave back a block of so many bytes. `large`: it has a mapping of its own. */
static inline void window_give(struct window *window, size_t bytes, bool large, uint64_t now_ms)
{
    if (now_ms != 0) {
        window_advance(window, now_ms);
        if (window->taken > window->most[window->part])
            window->most[window->part] = window->taken;
        if (window->taken > window->peak)
            window->peak = window->taken;
        if (large && bytes > window->large[window->part])
            window->large[window->part] = bytes;
        if (large && bytes > window->largest)
            window->largest = bytes;
    }
    window->taken -= bytes;
}

/* Idle blocks of so many bytes were freed. Callers last held them at most age_ms ago: a mark for that time. */
void window_note_idle(struct window *window, size_t bytes, uint64_t age_ms, uint64_t now_ms);

/* How many bytes may be retained for one that grows, where the largest block that was given back has so many. It leaves
 * a mapping of each size on its way: half of them, a quarter, and so on. */
#define WINDOW_GROWTH_MAX ((size_t)8 << 20)

static inline size_t window_growth(size_t largest)
{
    return largest < WINDOW_GROWTH_MAX / 2 ? 2 * largest : WINDOW_GROWTH_MAX;
}

/* How many bytes may be retained. */
static inline size_t window_limit(const struct window *window)
{
    const size_t lately = window->peak > window->taken ? (size_t)(window->peak - window->taken) : 0;
    const size_t growth = window_growth(window->largest);
    return lately > growth ? lately : growth;
}

/* When the limit will fall below so many bytes, if `taken` stays: on the clock of window_now. It has been advanced. */
uint64_t window_due(const struct window *window, size_t bytes);

#endif
