/* SPDX-License-Identifier: MIT
 *
 * response.h - builds whole responses, head and body, in one scratch buffer.
 */
#ifndef DEMO_RESPONSE_H
#define DEMO_RESPONSE_H

#include <stdbool.h>

#include "http.h"
#include "scratch.h"

/* The rest of a file whose response goes out in pieces: the buffer holds the first one. */
typedef struct response_rest {
    int fd;      /* the owner closes it, unless left is 0 */
    size_t left; /* bytes */
} response_rest_t;

/* Builds the response for the file or directory that the request names, beneath root_fd. If there is none of that name,
 * /metrics shows the statistics of all pools, and /holders the callers that hold buffers. If the request cannot be
 * served, builds the response that says so. With a budget the buffer does not grow for a file: sets *rest, and
 * response_next makes the next piece. Returns 0, or an errno value if there is no memory, and then the content of buf
 * is unspecified and nothing is left. */
int response_build(scratch_t *scratch, bufferpool_buf_t *buf, int root_fd, const http_request_t *request,
                   response_rest_t *rest);

/* Replaces the content of the buffer by the next piece. Returns false if the file has no more. */
bool response_next(bufferpool_buf_t *buf, response_rest_t *rest);
void response_drop_rest(response_rest_t *rest);

/* Builds a response of one line of text. `detail` may be NULL. */
int response_refuse(scratch_t *scratch, bufferpool_buf_t *buf, const http_request_t *request, int status,
                    const char *detail);

#endif
