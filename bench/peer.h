/* SPDX-License-Identifier: MIT
 *
 * peer.h - what a contestant must offer to the workloads
 *
 * One program is built per contestant, from the same harness.c and workloads.c; PEER_ADAPTER names the header of peers/
 * that it is built with. An adapter's functions are static inline and do nothing but call the contestant, so that each
 * is called as its users call it: through its shared library, or inline where it is a header.
 *
 * An adapter defines
 *
 *     peer_start        once, before any thread
 *     peer_thread_start, peer_thread_stop
 *                       in each thread, for contestants that want to be told
 *     peer_get          a handle, or NULL where the contestant has none left
 *     peer_data         the handle's bytes
 *     peer_put          from any thread
 *
 * and may define, with a macro that says so,
 *
 *     PEER_HAS_BULK     peer_get_bulk, peer_put_bulk; others are called in a loop
 *     PEER_HAS_GROWTH   peer_grow: take a buffer, append 1 KiB at a time up to `total` bytes, give it back
 *     PEER_HAS_POOLS    peer_get_from(i): from the i-th of config.pools pools
 *     PEER_HAS_BYPASS   peer_bypassed: how many gets went beyond the cap
 *     PEER_HAS_TRIM     peer_trim: gives back to the system what it can
 *     PEER_HOLDS        the most buffers that it can have out; workloads that need more are not for it
 *     PEER_KEEPS_APART  a buffer put in another thread never comes back: not for "get here, put there"
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct peer_config {
    size_t size;      /* bytes of a buffer */
    size_t max_live;  /* the cap, for those that have one */
    size_t held;      /* the most buffers that the workload has out at once */
    unsigned threads; /* how many run at once, for those that must know */
    unsigned pools;
};

enum { KIB = 1024, APPENDED = KIB };

static inline void peer_die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* A number from the environment: a contestant that is there more than once, tuned differently. */
static inline size_t peer_setting(const char *name, size_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

#include PEER_ADAPTER

#ifndef PEER_HOLDS
#define PEER_HOLDS SIZE_MAX
#endif
#ifndef PEER_KEEPS_APART
#define PEER_KEEPS_APART 0
#endif

#endif
