/* SPDX-License-Identifier: MIT
 *
 * window.c - how much memory callers had lately, so that as much may be retained for them
 */
#include "heap/window.h"

void window_set(struct window *window, unsigned retain_ms)
{
    const uint32_t part_ms = retain_ms / WINDOW_PARTS > 0 ? retain_ms / WINDOW_PARTS : 1;
    window->parts = retain_ms / part_ms < WINDOW_PARTS ? retain_ms / part_ms : WINDOW_PARTS;
    store_relaxed(&window->part_ms, retain_ms > 0 ? part_ms : 0);
    window_reset(window);
}

void window_reset(struct window *window)
{
    window->end_ms = 0;
    window->taken = window->peak = 0;
    window->largest = 0;
    window->part = 0;
    for (unsigned i = 0; i < WINDOW_PARTS; i++) {
        window->most[i] = 0;
        window->large[i] = 0;
    }
    window->watched = false;
}

/* The part that was current `ago` parts before the current one. */
static unsigned part_before(const struct window *window, unsigned ago)
{
    return (window->part + WINDOW_PARTS - ago) % WINDOW_PARTS;
}

static void find_peaks(struct window *window)
{
    window->peak = 0;
    window->largest = 0;
    for (unsigned ago = 0; ago < window->parts; ago++) {
        const unsigned i = part_before(window, ago);
        window->peak = window->most[i] > window->peak ? window->most[i] : window->peak;
        window->largest = window->large[i] > window->largest ? window->large[i] : window->largest;
    }
}

void window_turn(struct window *window, uint64_t now_ms)
{
    const uint32_t part_ms = load_relaxed(&window->part_ms);
    if (part_ms == 0) /* since the caller looked */
        return;
    const uint64_t ended = (now_ms - window->end_ms) / part_ms + 1;
    for (uint64_t i = 0; i < ended && i < WINDOW_PARTS; i++) {
        window->part = (window->part + 1) % WINDOW_PARTS;
        window->most[window->part] = window->taken;
        window->large[window->part] = 0;
    }
    window->end_ms += ended * part_ms;
    find_peaks(window);
}

void window_note_idle(struct window *window, size_t bytes, uint64_t age_ms, uint64_t now_ms)
{
    if (now_ms == 0)
        return;
    window_advance(window, now_ms);
    const uint64_t part_ms = load_relaxed(&window->part_ms);
    bool first = true;
    for (unsigned ago = 1; ago < window->parts; ago++) {
        uint64_t *most = &window->most[part_before(window, ago)];
        if (part_ms * (ago - 1) < age_ms) /* not all of that part is as old */
            continue;
        if (first && *most < window->taken) /* all blocks that are taken, and these */
            *most = window->taken;
        *most += bytes;
        first = false;
    }
    find_peaks(window);
}

uint64_t window_due(const struct window *window, size_t bytes)
{
    const uint64_t part_ms = load_relaxed(&window->part_ms);
    for (unsigned ago = 0; ago < window->parts; ago++) {
        const unsigned i = part_before(window, ago);
        const uint64_t lately = window->most[i] > window->taken ? window->most[i] - window->taken : 0;
        if (lately >= bytes || window_growth(window->large[i]) >= bytes)
            return window->end_ms + (window->parts - 1 - ago) * part_ms;
    }
    return 0;
}
