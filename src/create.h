/* SPDX-License-Identifier: MIT
 *
 * create.h - a pool begins and ends
 */
#ifndef BUFFERPOOL_CREATE_H
#define BUFFERPOOL_CREATE_H

#include "types.h"

/* As init_first_use, for the pool of a get. The default pool has what BUFFERPOOL_CONF says of it from then on. */
bool create_first_use(bufferpool_t *pool);

/* Ends a pool whose buffers are all idle or freed, and that no other call uses or will use. */
void create_end(bufferpool_t *pool);

#endif
