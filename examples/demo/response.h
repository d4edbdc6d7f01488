/* SPDX-License-Identifier: MIT
 *
 * response.h - builds whole responses, head and body, in one scratch buffer.
 */
#ifndef DEMO_RESPONSE_H
#define DEMO_RESPONSE_H

#include "http.h"
#include "scratch.h"

/* The file or directory that the request names, beneath root_fd, or, if there is none of that name, for /metrics the
 * statistics of all pools, for /holders who holds what; where that cannot be had, the response that says so.
 * Returns 0 or an errno value: no memory. What buf holds then is unspecified. */
int response_build(scratch_t *scratch, bufferpool_buf_t *buf, int root_fd, const http_request_t *request);

/* A response of one line of text. detail may be NULL. */
int response_refuse(scratch_t *scratch, bufferpool_buf_t *buf, const http_request_t *request, int status,
                    const char *detail);

#endif
