/* SPDX-License-Identifier: MIT
 *
 * fork.h - the child of fork can use every pool
 */
#ifndef BUFFERPOOL_FORK_H
#define BUFFERPOOL_FORK_H

#include <stdbool.h>

/* Installs the handlers, once. Returns false for want of memory. The caller holds the registry's lock. */
bool fork_handlers_install(void);

#endif
