/* SPDX-License-Identifier: MIT
 *
 * config.h - the configuration of a pool: its defaults, what is wrong with it, what the environment changes
 */
#ifndef BUFFERPOOL_CONFIG_H
#define BUFFERPOOL_CONFIG_H

#include "types.h"

/* Copies the program's configuration, of any version; NULL stands for all defaults. A debug mode says what is wrong
 * with it. Returns 0 or EINVAL. No lock is held. */
int config_take(const bufferpool_config_t *from, bufferpool_config_t *own);

/* A line for stderr. */
struct config_remark {
    size_t length; /* 0: there is none */
    char text[384];
};

/* Makes of what the program took the configuration of a pool that has its name: with what BUFFERPOOL_CONF changes, and
 * with the defaults. Returns whether it changes anything, and the remark on what it must not. The registry's lock is
 * held. */
bool config_resolve(const bufferpool_config_t *own, const bufferpool_t *pool, bufferpool_config_t *to,
                    struct config_remark *remark);

/* Says what is wrong with BUFFERPOOL_CONF. No lock is held. */
void config_tell(const struct config_remark *remark);

#endif
