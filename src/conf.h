/* SPDX-License-Identifier: MIT
 *
 * conf.h - what the environment changes in the configuration of pools: BUFFERPOOL_CONF
 */
#ifndef BUFFERPOOL_CONF_H
#define BUFFERPOOL_CONF_H

#include "types.h"

/* Sets what the words for the pool of that name set. Returns whether there are any. The first call reads the
 * environment. The registry's lock is held. */
bool conf_apply(const char *name, bufferpool_config_t *config);

/* Says on stderr, once, which words were not understood. No lock is held. */
void conf_tell(void);

#endif
