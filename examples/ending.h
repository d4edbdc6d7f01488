/* SPDX-License-Identifier: MIT
 *
 * ending.h - the end of each example: prints one line about the pool, and checks that every buffer came back
 */
#ifndef ENDING_H
#define ENDING_H

#include <bufferpool.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Destroys the pool. Returns 0. Returns 1, with a message, if a buffer is still out or if there ever were more buffers
 * than the cap allows. The examples do not go beyond their cap. */
static inline int end_pool(bufferpool_t *pool)
{
    bufferpool_stats_t s = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(pool, &s);
    const uint64_t gets = s.gets_thread + s.gets_depot + s.gets_fresh + s.gets_bypass;
    fprintf(stderr,
            "pool: gets %" PRIu64 " puts %" PRIu64 " refused %" PRIu64 " beyond %" PRIu64 " grown %" PRIu64
            " most %" PRIu64 " cap %" PRIu64 " live %" PRIu64 "\n",
            gets, s.puts_kept + s.drops_oversize + s.drops_bypass + s.drops_over_cap + s.drops_idle_limit,
            s.gets_refused, s.gets_bypass, s.grows, s.peak_in_flight, s.max_live, s.live + s.bypass_live);
    if (bufferpool_live(pool) != 0 || s.bypass_live != 0) {
        fprintf(stderr, "pool: a buffer did not come back\n");
        return 1;
    }
    if (s.max_live != 0 && s.peak_in_flight > s.max_live) {
        fprintf(stderr, "pool: more buffers than the cap allows\n");
        return 1;
    }
    const int error = bufferpool_destroy(pool);
    if (error != 0) {
        fprintf(stderr, "pool: %s\n", strerror(error));
        return 1;
    }
    return 0;
}

#endif /* ENDING_H */
