/* SPDX-License-Identifier: MIT
 *
 * summary.c - the statistics of a pool, for people
 */
#include "summary.h"

#include "debug.h"
#include "modes.h"

#include <inttypes.h>
#include <stdio.h>

#define LINE "libbufferpool:   %-6s"
#define N    "%" PRIu64

void summary_say(const bufferpool_t *pool, const char *when)
{
    bufferpool_stats_t s = BUFFERPOOL_STATS_INIT;
    char name[POOL_NAME_SHOWN + 1], cap[24] = "none", text[1024];
    bufferpool_stats(pool, &s);
    const uint64_t gets = s.gets_thread + s.gets_depot + s.gets_fresh + s.gets_bypass;
    const uint64_t drops = s.drops_oversize + s.drops_bypass + s.drops_over_cap + s.drops_idle_limit;
    if (gets + s.gets_refused == 0)
        return;
    pool_shown_name(pool, name);
    if (s.max_live != 0)
        (void)snprintf(cap, sizeof(cap), N, s.max_live);
    const int length = snprintf(
        text, sizeof(text),
        "libbufferpool: pool %s, %s\n" /* clang-format off */
        LINE N ": thread " N ", depot " N ", fresh " N ", bypass " N "; refused " N "\n"
        LINE N ": kept " N ", dropped as oversize " N ", bypass " N ", over cap " N ", idle limit " N "\n"
        LINE N " pooled of " N " bytes, bypass " N "\n"
        LINE N " of " N " bytes: threads " N ", depot " N "\n"
        LINE "cap %s, peak in flight " N ", grows " N ", shrinks " N ", reclaimed bytes " N ", stolen " N "\n",
        name, when,
        "gets", gets, s.gets_thread, s.gets_depot, s.gets_fresh, s.gets_bypass, s.gets_refused,
        "puts", s.puts_kept + drops, s.puts_kept, s.drops_oversize, s.drops_bypass, s.drops_over_cap, s.drops_idle_limit,
        "held", s.live, s.live_bytes, s.bypass_live,
        "idle", s.idle_thread + s.idle_depot, s.idle_bytes, s.idle_thread, s.idle_depot,
        "", cap, s.peak_in_flight, s.grows, s.shrinks, s.reclaimed_bytes, s.stolen); /* clang-format on */
    if (length > 0)
        modes_say(text, (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1);
}
