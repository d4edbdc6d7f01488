/* SPDX-License-Identifier: MIT
 *
 * config.h - what a configuration says, checked and with its defaults filled in
 */
#ifndef BUFFERPOOL_CONFIG_H
#define BUFFERPOOL_CONFIG_H

#include "bufferpool.h"

#define CONFIG_BUFFER_CAPACITY     ((size_t)32 << 10)
#define CONFIG_MAX_CAPACITY        ((size_t)1 << 20)
#define CONFIG_THREAD_CACHE_BYTES  ((size_t)512 << 10)
#define CONFIG_ALIGNMENT           ((size_t)64)
#define CONFIG_RECLAIM_INTERVAL_MS 10000u

/* Copies *from (NULL: all defaults) to *to with every field set. Returns 0 or EINVAL. */
int config_resolve(const bufferpool_config_t *from, bufferpool_config_t *to);

#endif
