/* SPDX-License-Identifier: MIT
 *
 * http.c - see http.h.
 */
#include "http.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static int refuse(http_request_t *request, int status, const char *detail)
{
    request->detail = detail;
    request->keep_alive = false;
    return -status;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Returns whether one of the segments of path is "..". Called after decoding, so "%2e%2e" does not get around it. */
static bool climbs(const char *path)
{
    while (*path != '\0') {
        size_t segment = strcspn(path, "/");
        if (segment == 2 && memcmp(path, "..", 2) == 0) {
            return true;
        }
        path += segment;
        path += strspn(path, "/");
    }
    return false;
}

/* Parses a target such as "/a%20b/c?query", of n bytes. */
static int parse_target(http_request_t *request, const char *target, size_t n)
{
    if (n == 0 || target[0] != '/') {
        return refuse(request, 400, "the path does not begin with '/'");
    }
    size_t length = 0;
    for (size_t i = 0; i < n && target[i] != '?' && target[i] != '#'; i++) {
        char c = target[i];
        if (c == '%') {
            int high = i + 2 < n ? hex_digit(target[i + 1]) : -1;
            int low = i + 2 < n ? hex_digit(target[i + 2]) : -1;
            if (high < 0 || low < 0 || high * 16 + low == 0) {
                return refuse(request, 400, "a '%' in the path without two hexadecimal digits");
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (length > 0 || c != '/') {
            request->path[length++] = c;
        }
    }
    request->directory = length == 0 || request->path[length - 1] == '/';
    while (length > 0 && request->path[length - 1] == '/') {
        length--;
    }
    request->path[length] = '\0';
    if (climbs(request->path)) {
        return refuse(request, 400, "'..' is not allowed in a path");
    }
    if (length == 0) {
        memcpy(request->path, ".", 2);
    }
    return 0;
}

static bool token_is(const char *bytes, size_t n, const char *token)
{
    return n == strlen(token) && strncasecmp(bytes, token, n) == 0;
}

/* Parses a line such as "GET /path HTTP/1.1", of n bytes without the line end. */
static int parse_request_line(http_request_t *request, const char *line, size_t n)
{
    const char *space = memchr(line, ' ', n);
    const char *last = memrchr(line, ' ', n);
    if (space == NULL || last == space || memchr(line, '\0', n) != NULL) {
        return refuse(request, 400, "not an HTTP request");
    }
    const char *version = last + 1;
    size_t version_length = (size_t)(line + n - version);
    if (version_length != 8 || memcmp(version, "HTTP/", 5) != 0) {
        return refuse(request, 400, "not an HTTP request");
    }
    if (memcmp(version, "HTTP/1.", 7) != 0) {
        return refuse(request, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    }
    request->keep_alive = version[7] != '0';
    size_t method = (size_t)(space - line);
    request->head_only = method == 4 && memcmp(line, "HEAD", 4) == 0;
    if (!request->head_only && !(method == 3 && memcmp(line, "GET", 3) == 0)) {
        return refuse(request, 405, "only GET and HEAD are served");
    }
    return parse_target(request, space + 1, (size_t)(last - space - 1));
}

/* Parses a line such as "Name: value", of n bytes without the line end. Only headers that change the framing matter. */
static int parse_header(http_request_t *request, const char *line, size_t n)
{
    const char *colon = memchr(line, ':', n);
    if (colon == NULL) {
        return refuse(request, 400, "a header without ':'");
    }
    size_t name = (size_t)(colon - line);
    const char *value = colon + 1;
    size_t length = n - name - 1;
    while (length > 0 && (*value == ' ' || *value == '\t')) {
        value++;
        length--;
    }
    while (length > 0 && (value[length - 1] == ' ' || value[length - 1] == '\t')) {
        length--;
    }
    if (token_is(line, name, "Connection")) {
        if (token_is(value, length, "close")) {
            request->keep_alive = false;
        } else if (token_is(value, length, "keep-alive")) {
            request->keep_alive = true;
        }
    }
    if (token_is(line, name, "Transfer-Encoding") ||
        (token_is(line, name, "Content-Length") && !token_is(value, length, "0"))) {
        return refuse(request, 413, "a request with a body");
    }
    return 0;
}

int http_parse(const char *bytes, size_t n, http_request_t *request)
{
    request->head_only = false;
    request->keep_alive = true;
    request->directory = false;
    request->detail = NULL;
    if (n > HTTP_REQUEST_MAX) {
        n = HTTP_REQUEST_MAX;
    }
    const char *end = memmem(bytes, n, "\r\n\r\n", 4);
    if (end == NULL) {
        return n == HTTP_REQUEST_MAX ? refuse(request, 431, "the request is longer than 4096 bytes") : 0;
    }
    const char *line_end = memmem(bytes, n, "\r\n", 2);
    int refused = parse_request_line(request, bytes, (size_t)(line_end - bytes));
    while (refused == 0 && line_end < end) {
        const char *line = line_end + 2;
        line_end = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
        refused = parse_header(request, line, (size_t)(line_end - line));
    }
    return refused != 0 ? refused : (int)(end + 4 - bytes);
}

const char *http_reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 301:
        return "Moved Permanently";
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Content Too Large";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Internal Server Error";
    }
}

const char *http_content_type(const char *path)
{
    static const struct {
        const char *suffix, *type;
    } types[] = {
        {".html", "text/html; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript"},
        {".json", "application/json"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".jpg", "image/jpeg"},
        {".gz", "application/gzip"},
        {".pdf", "application/pdf"},
        {".o", "application/octet-stream"},
        {".a", "application/octet-stream"},
        {".so", "application/octet-stream"},
    };
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        size_t suffix = strlen(types[i].suffix);
        if (length > suffix && strcmp(path + length - suffix, types[i].suffix) == 0) {
            return types[i].type;
        }
    }
    return "text/plain; charset=utf-8";
}

bool http_escape_url(char *to, size_t size, const char *name)
{
    static const char plain[] = "/ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (; *name != '\0'; name++) {
        bool keep = strchr(plain, *name) != NULL;
        int n = snprintf(to, size, keep ? "%c" : "%%%02X", (unsigned char)*name);
        if (n < 0 || (size_t)n >= size) {
            return false;
        }
        to += n;
        size -= (size_t)n;
    }
    *to = '\0';
    return true;
}

bool http_escape_html(char *to, size_t size, const char *name)
{
    for (; *name != '\0'; name++) {
        char one[2] = {*name, '\0'};
        const char *text = *name == '<'   ? "&lt;"
                           : *name == '>' ? "&gt;"
                           : *name == '&' ? "&amp;"
                           : *name == '"' ? "&quot;"
                                          : one;
        int n = snprintf(to, size, "%s", text);
        if (n < 0 || (size_t)n >= size) {
            return false;
        }
        to += n;
        size -= (size_t)n;
    }
    *to = '\0';
    return true;
}
