/* SPDX-License-Identifier: MIT
 *
 * plugin.h - the functions of one copy of the library
 */
#ifndef COPIES_PLUGIN_H
#define COPIES_PLUGIN_H

#include <bufferpool.h>

struct copy {
    bufferpool_t *(*create)(const bufferpool_config_t *config);
    bufferpool_buf_t *(*get)(bufferpool_t *pool);
    void (*put)(bufferpool_buf_t *buf);
    int (*append)(bufferpool_buf_t *buf, const void *src, size_t n);
    int (*reserve)(bufferpool_buf_t *buf, size_t cap);
    bufferpool_buf_t *(*from_data)(const void *data);
    size_t (*live)(const bufferpool_t *pool);
};

typedef const struct copy *(*copy_of_plugin_fn)(void);

__attribute__((visibility("default"))) const struct copy *copy_of_plugin(void);

#endif
