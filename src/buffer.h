/* SPDX-License-Identifier: MIT
 *
 * buffer.h - what the rest of the library does to a buffer's content, as part of a call of its own
 */
#ifndef BUFFERPOOL_BUFFER_H
#define BUFFERPOOL_BUFFER_H

#include "bufferpool.h"

/* As bufferpool_buf_reserve and bufferpool_buf_append of bufferpool.h. Reports of misuse name the function that the
 * thread is in. */
int buffer_reserve(bufferpool_buf_t *buf, size_t cap);
int buffer_append(bufferpool_buf_t *buf, const void *src, size_t n);

#endif
