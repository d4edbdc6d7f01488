/* SPDX-License-Identifier: MIT
 *
 * init.h - the library's first use, and its end
 */
#ifndef BUFFERPOOL_INIT_H
#define BUFFERPOOL_INIT_H

#include <stdbool.h>

/* Makes what must be there before the first pool is made or the first buffer is handed out: the debug modes, the
 * handlers of fork, and, if the system grants it, stealing. Any thread, without a lock; one load after the first time.
 * Returns false if there is no memory for the handlers of fork, without which no buffer may be handed out. */
bool init_first_use(void);

#endif
