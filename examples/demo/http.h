/* SPDX-License-Identifier: MIT
 *
 * http.h - as much of HTTP/1.1 as a file server needs: GET and HEAD, persistent connections, no bodies in requests.
 * These are pure functions on bytes, which do not know about sockets.
 */
#ifndef DEMO_HTTP_H
#define DEMO_HTTP_H

#include <stdbool.h>
#include <stddef.h>

/* The longest request, from its first byte to the empty line. */
enum { HTTP_REQUEST_MAX = 4096 };

typedef struct http_request {
    bool head_only;              /* HEAD */
    bool keep_alive;             /* the connection stays open after the response */
    bool directory;              /* the path ended in a slash */
    const char *detail;          /* what is wrong, if http_parse refuses the request */
    char path[HTTP_REQUEST_MAX]; /* decoded, relative to the root, without slashes at its ends; "." for the root */
} http_request_t;

/* Reads the request that begins at `bytes`. Returns its length, or 0 if more bytes are needed. To refuse the request,
 * returns minus the status, and then the connection cannot go on. */
int http_parse(const char *bytes, size_t n, http_request_t *request);

/* Returns the text of a status, such as "Not Found". */
const char *http_reason(int status);

/* Returns a type by the end of the name, such as "text/html; charset=utf-8". */
const char *http_content_type(const char *path);

/* Write a name or a path as part of a URL or as HTML text. Return false if it does not fit. */
bool http_escape_url(char *to, size_t size, const char *name);
bool http_escape_html(char *to, size_t size, const char *name);

#endif
