/* SPDX-License-Identifier: MIT
 *
 * http.h - as much of HTTP/1.1 as a server of files needs: GET and HEAD, persistent connections, no bodies in requests.
 * Pure functions on bytes; nothing here knows of sockets.
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
    const char *detail;          /* what was wrong, when http_parse refuses it */
    char path[HTTP_REQUEST_MAX]; /* decoded, relative to the root, without slashes at its ends; "." for the root */
} http_request_t;

/* Reads the request that begins at bytes. Returns its length; 0 if more bytes are needed; or minus the status to refuse
 * it with, and then the connection cannot go on. */
int http_parse(const char *bytes, size_t n, http_request_t *request);

/* "Not Found" */
const char *http_reason(int status);

/* By the end of the name: "text/html; charset=utf-8" */
const char *http_content_type(const char *path);

/* Writes a name or a path as part of a URL or as HTML text; false if it does not fit. */
bool http_escape_url(char *to, size_t size, const char *name);
bool http_escape_html(char *to, size_t size, const char *name);

#endif
