/* SPDX-License-Identifier: MIT
 *
 * config.h - the configuration of a pool: its defaults, what is wrong with it, what the environment changes
 */
#ifndef BUFFERPOOL_CONFIG_H
#define BUFFERPOOL_CONFIG_H

#include "types.h"

/* Copies the program's configuration, of any version; NULL stands for all defaults. A debug mode reports what is wrong
 * with it. Returns 0 or EINVAL. The caller holds no lock. */
int config_take(const bufferpool_config_t *from, bufferpool_config_t *own);

/* A line for stderr. */
struct config_remark {
    size_t length; /* 0: there is none */
    char text[384];
};

/* Completes the program's configuration of a pool that has its name already: applies BUFFERPOOL_CONF, then the
 * defaults. Returns whether BUFFERPOOL_CONF changes anything, and a remark if it must not. The caller holds the
 * registry's lock. */
bool config_resolve(const bufferpool_config_t *own, const bufferpool_t *pool, bufferpool_config_t *to,
                    struct config_remark *remark);

/* Reports what is wrong with BUFFERPOOL_CONF. The caller holds no lock. */
void config_tell(const struct config_remark *remark);

#endif
