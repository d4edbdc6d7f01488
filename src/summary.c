/* SPDX-License-Identifier: MIT
 *
 * summary.c - the statistics of a pool, for people
 */
#include "summary.h"

#include "debug/modes.h"
#include "debug/report.h"

#include <inttypes.h>
#include <stdio.h>

/* Each % is a number, of those in the array below; ? as well, where 0 is none. */
static const char template[] =
    "libbufferpool:   gets  %: thread %, depot %, fresh %, bypass %; refused %\n"
    "libbufferpool:   puts  %: kept %, dropped as oversize %, bypass %, over cap %, idle limit %\n"
    "libbufferpool:   held  % pooled of % bytes, bypass %\n"
    "libbufferpool:   idle  % of % bytes: threads %, depot %\n"
    "libbufferpool:         cap ?, peak in flight %, grows %, shrinks %, reclaimed bytes %, stolen %\n";

_Static_assert(sizeof(template) + (REPORT_NAME_MAX + 64) + 25 * sizeof("18446744073709551615") <= SUMMARY_MAX,
               "it fits");

size_t summary_write(const bufferpool_t *pool, const char *when, char text[SUMMARY_MAX])
{
    bufferpool_stats_t s = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(pool, &s);
    const uint64_t gets = s.gets_thread + s.gets_depot + s.gets_fresh + s.gets_bypass;
    const uint64_t drops = s.drops_oversize + s.drops_bypass + s.drops_over_cap + s.drops_idle_limit;
    if (gets + s.gets_refused == 0)
        return 0;
    /* clang-format off */
    const uint64_t numbers[] = {
        gets, s.gets_thread, s.gets_depot, s.gets_fresh, s.gets_bypass, s.gets_refused,
        s.puts_kept + drops, s.puts_kept, s.drops_oversize, s.drops_bypass, s.drops_over_cap, s.drops_idle_limit,
        s.live, s.live_bytes, s.bypass_live,
        s.idle_thread + s.idle_depot, s.idle_bytes, s.idle_thread, s.idle_depot,
        s.max_live, s.peak_in_flight, s.grows, s.shrinks, s.reclaimed_bytes, s.stolen,
    };
    /* clang-format on */
    char name[REPORT_NAME_MAX + 1];
    report_pool_name(pool, name);
    char *to = text + snprintf(text, SUMMARY_MAX, "libbufferpool: pool %s, %.16s\n", name, when);
    const uint64_t *number = numbers;
    for (const char *from = template; *from != '\0'; from++) {
        const size_t room = (size_t)(text + SUMMARY_MAX - to);
        if (*from != '%' && *from != '?') {
            *to++ = *from;
            continue;
        }
        to += *from == '?' && *number == 0 ? snprintf(to, room, "none") : snprintf(to, room, "%" PRIu64, *number);
        number++;
    }
    return (size_t)(to - text);
}
