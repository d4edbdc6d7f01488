/* SPDX-License-Identifier: MIT
 *
 * init.h - the library's first use, and its end
 */
#ifndef BUFFERPOOL_INIT_H
#define BUFFERPOOL_INIT_H

#include "types.h"

/* Prepares what must be there before the first pool is made or the first buffer is handed out: the debug modes, the
 * handlers of fork, and stealing, if the system allows it and this pool asks for it. Any thread, without a lock. After
 * the first time it costs one load. Returns false if there is no memory for the handlers of fork, without which no
 * buffer may be handed out. */
bool init_first_use(const bufferpool_t *pool);

/* Whether the default pool was used, and says that it is. The registry's lock is held. */
bool init_default_used(void);
void init_use_default(void);

/* Reads the debug modes ahead of the first use, for a call that fails before it. No lock is held. */
void init_modes(void);

#endif
