/* SPDX-License-Identifier: MIT
 *
 * library.h - the library as a table of its functions, so that one source of the lifecycle matrix can be linked with
 * it, or open a module that has it
 */
#ifndef LIFECYCLE_LIBRARY_H
#define LIFECYCLE_LIBRARY_H

#include <bufferpool.h>

struct library {
    bufferpool_t *(*create)(const bufferpool_config_t *config);
    int (*destroy)(bufferpool_t *pool);
    bufferpool_buf_t *(*get)(bufferpool_t *pool);
    bufferpool_buf_t *(*try_get)(bufferpool_t *pool);
    bufferpool_buf_t *(*get_timed)(bufferpool_t *pool, unsigned timeout_ms);
    int (*get_bulk)(bufferpool_t *pool, bufferpool_buf_t **bufs, size_t n);
    void (*put)(bufferpool_buf_t *buf);
    void (*put_bulk)(bufferpool_buf_t **bufs, size_t n);
    int (*reserve)(bufferpool_buf_t *buf, size_t cap);
    int (*print)(bufferpool_buf_t *buf, const char *format, ...);
    size_t (*live)(const bufferpool_t *pool);
    void (*set_max_live)(bufferpool_t *pool, size_t n);
    size_t (*reclaim)(bufferpool_t *pool);
    size_t (*trim)(bufferpool_t *pool);
    void (*thread_flush)(void);
    void (*stats)(const bufferpool_t *pool, bufferpool_stats_t *stats);
    /* Set by the program: called by a destructor of what the table stands in, so at the end of the process or in
     * dlclose, where the linker put it before or after the library's own. */
    void (*at_end)(void);
};

typedef struct library *(*lifecycle_library_fn)(void);

__attribute__((visibility("default"))) struct library *lifecycle_library(void);

#endif
