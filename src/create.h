/* SPDX-License-Identifier: MIT
 *
 * create.h - a pool begins and ends
 */
#ifndef BUFFERPOOL_CREATE_H
#define BUFFERPOOL_CREATE_H

#include "types.h"

/* Ends a pool whose buffers are all idle or freed, and that no other call uses or will use. */
void create_end(bufferpool_t *pool);

#endif
