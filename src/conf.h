/* SPDX-License-Identifier: MIT
 *
 * conf.h - what the environment changes in the configuration of pools: BUFFERPOOL_CONF
 */
#ifndef BUFFERPOOL_CONF_H
#define BUFFERPOOL_CONF_H

#include "types.h"

/* Applies the words with a star, and those with the name of the pool, to the configuration. Returns whether there were
 * such words. The first call reads the environment. The caller holds the registry's lock. */
bool conf_apply(const char *name, bufferpool_config_t *config);

/* Reports on stderr, once, the words that were not understood. The caller holds no lock. */
void conf_tell(void);

#endif
