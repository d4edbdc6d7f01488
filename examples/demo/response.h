/* SPDX-License-Identifier: MIT
 *
 * response.h - builds whole responses, head and body, in one scratch buffer.
 */
#ifndef DEMO_RESPONSE_H
#define DEMO_RESPONSE_H

#include "http.h"
#include "scratch.h"

/* Builds the response for the file or directory that the request names, beneath root_fd. If there is none of that name,
 * /metrics shows the statistics of all pools, and /holders the callers that hold buffers. If the request cannot be
 * served, builds the response that says so. Returns 0, or an errno value if there is no memory, and then the content of
 * buf is unspecified. */
int response_build(scratch_t *scratch, bufferpool_buf_t *buf, int root_fd, const http_request_t *request);

/* Builds a response of one line of text. `detail` may be NULL. */
int response_refuse(scratch_t *scratch, bufferpool_buf_t *buf, const http_request_t *request, int status,
                    const char *detail);

#endif
