/* SPDX-License-Identifier: MIT
 *
 * peer.h - what a contestant must offer to the workloads
 *
 * One program is built per contestant, from the same harness.c and workloads.c. PEER_ADAPTER names the header of peers/
 * that it is built with. An adapter's functions are static inline and only call the contestant. So each contestant is
 * called as its users call it: through its shared library, or inline if it is a header.
 *
 * An adapter defines
 *
 *     peer_start        once, before any thread
 *     peer_thread_start, peer_thread_stop
 *                       in each thread, for contestants that need to know of threads
 *     peer_get          a handle, or NULL if the contestant has none left
 *     peer_data         the handle's bytes
 *     peer_put          from any thread
 *
 * and may define, each with a macro that says so,
 *
 *     PEER_HAS_BULK     peer_get_bulk, peer_put_bulk; without them, get and put are called in a loop
 *     PEER_HAS_GROWTH   peer_grow: takes a buffer, appends 1 KiB at a time up to `total` bytes, gives it back
 *                       peer_get_grown: takes a buffer and grows it to `total` bytes at once; the handle is for put
 *     PEER_HAS_POOLS    peer_get_from(i): gets from the i-th of config.pools pools
 *     PEER_HAS_BYPASS   peer_bypassed: tells how many gets went beyond the cap
 *     PEER_HAS_TRIM     peer_trim: gives back as much memory to the system as it can
 *     PEER_HOLDS        the most buffers that it can have out; it does not run workloads that need more
 *     PEER_KEEPS_APART  a buffer put in another thread never comes back; it does not run "get here, put there"
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
    size_t max_live;  /* the cap, for contestants that have one */
    size_t held;      /* the most buffers that the workload has out at once */
    unsigned threads; /* how many run at once, for contestants that must know */
    unsigned pools;
};

enum { KIB = 1024, APPENDED = KIB };

static inline void peer_die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* Reads a number from the environment, for a contestant that runs more than once, tuned differently. */
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
