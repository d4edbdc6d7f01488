/* SPDX-License-Identifier: MIT
 *
 * fork.h - the child of fork can use every pool
 */
#ifndef BUFFERPOOL_FORK_H
#define BUFFERPOOL_FORK_H

#include <stdbool.h>

/* Installs the handlers, the first time. The registry's lock is held. Returns false if there is no memory. */
bool fork_handlers_install(void);

#endif
