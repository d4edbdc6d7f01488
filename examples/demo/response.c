/* SPDX-License-Identifier: MIT
 *
 * response.c - see response.h. A file is read straight into the buffer, behind the head: reserve makes room, read fills
 * it, and len moves. Files that do not fit into 32 KiB make the buffer grow, or, where a budget limits all buffers
 * together, go out in pieces.
 */
#include "response.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if __has_include(<linux/openat2.h>)
#include <linux/openat2.h>
#endif

#include "basics.h"

enum { FILE_MAX = 64 * 1024 * 1024 };

/* Opens one component at a time and follows no link: for systems without openat2. */
static int open_step_by_step(int root_fd, const char *path)
{
    int dir = root_fd;
    for (;;) {
        char name[256];
        path += strspn(path, "/");
        size_t length = strcspn(path, "/");
        if (length >= sizeof name) {
            errno = ENAMETOOLONG;
            length = 0;
        } else {
            memcpy(name, path, length);
            name[length] = '\0';
            path += length;
        }
        bool last = path[strspn(path, "/")] == '\0';
        int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (last ? 0 : O_DIRECTORY);
        int fd = length == 0 ? -1 : openat(dir, name, flags);
        if (dir != root_fd) {
            int error = errno;
            close(dir);
            errno = error;
        }
        if (fd < 0 || last) {
            return fd;
        }
        dir = fd;
    }
}

/* Opens path so that neither ".." nor a symbolic link can lead out of the root. O_NONBLOCK keeps a FIFO from holding
 * the worker up. */
static int open_beneath(int root_fd, const char *path)
{
#if defined(SYS_openat2) && defined(RESOLVE_BENEATH)
    static atomic_bool missing; /* as in old kernels and under valgrind */
    if (!atomic_load_explicit(&missing, memory_order_relaxed)) {
        struct open_how how;
        memset(&how, 0, sizeof how);
        how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
        how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
        long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof how);
        if (fd >= 0 || errno != ENOSYS) {
            return (int)fd;
        }
        atomic_store_explicit(&missing, true, memory_order_relaxed);
    }
#endif
    return open_step_by_step(root_fd, path);
}

static int print_head(scratch_t *scratch, bufferpool_buf_t *buf, const http_request_t *request, int status,
                      const char *type, size_t length, const char *more)
{
    return scratch_printf(scratch, buf,
                          "HTTP/1.1 %d %s\r\n"
                          "Server: " PROGRAM "\r\n"
                          "Content-Type: %s\r\n"
                          "Content-Length: %zu\r\n"
                          "%s"
                          "Connection: %s\r\n"
                          "\r\n",
                          status, http_reason(status), type, length, more,
                          request->keep_alive ? "keep-alive" : "close");
}

int response_refuse(scratch_t *scratch, bufferpool_buf_t *buf, const http_request_t *request, int status,
                    const char *detail)
{
    char text[256];
    int n = snprintf(text, sizeof text, "%d %s%s%s\n", status, http_reason(status), detail != NULL ? ": " : "",
                     detail != NULL ? detail : "");
    size_t length = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    buf->len = 0;
    int error = print_head(scratch, buf, request, status, "text/plain; charset=utf-8", length,
                           status == 405 ? "Allow: GET, HEAD\r\n" : "");
    if (error == 0 && !request->head_only) {
        error = scratch_append(scratch, buf, text, length);
    }
    return error;
}

/* Reads n bytes of the file behind the content of the buffer, which has room for them. Returns 0 or an errno value;
 * ENODATA if the file has fewer. */
static int read_file(bufferpool_buf_t *buf, int fd, size_t n)
{
    while (n > 0) {
        ssize_t got = read(fd, buf->data + buf->len, n);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? errno : ENODATA;
        }
        buf->len += (size_t)got;
        n -= (size_t)got;
    }
    return 0;
}

void response_drop_rest(response_rest_t *rest)
{
    if (rest->left > 0) {
        close(rest->fd);
        rest->left = 0;
    }
}

bool response_next(bufferpool_buf_t *buf, response_rest_t *rest)
{
    size_t n = rest->left < buf->cap ? rest->left : buf->cap;
    buf->len = 0;
    if (read_file(buf, rest->fd, n) != 0) {
        return false;
    }
    if (n == rest->left) {
        response_drop_rest(rest);
    } else {
        rest->left -= n;
    }
    return true;
}

static int build_file(scratch_t *scratch, bufferpool_buf_t *buf, int fd, size_t size, const http_request_t *request,
                      response_rest_t *rest)
{
    if (size > FILE_MAX) {
        return response_refuse(scratch, buf, request, 501, "files above 64 MiB are not served by this demonstration");
    }
    int error = print_head(scratch, buf, request, 200, http_content_type(request->path), size, "");
    if (error != 0 || request->head_only) {
        return error;
    }
    size_t now = size;
    if (scratch_budget(scratch) != 0 && size > buf->cap - buf->len) {
        now = buf->cap - buf->len;
    }
    error = scratch_reserve(scratch, buf, buf->len + now);
    if (error != 0) {
        return error;
    }
    error = read_file(buf, fd, now);
    if (error != 0) {
        return response_refuse(scratch, buf, request, 500,
                               error == ENODATA ? "the file shrank meanwhile" : strerror(error));
    }
    *rest = (response_rest_t){.fd = fd, .left = size - now};
    return 0;
}

/* Prints a link to the entry. Leaves out names that are too long. */
static int print_entry(scratch_t *scratch, bufferpool_buf_t *buf, const struct dirent *entry)
{
    char url[3 * 256 + 1];
    char text[6 * 256 + 1];
    if (!http_escape_url(url, sizeof url, entry->d_name) || !http_escape_html(text, sizeof text, entry->d_name)) {
        return 0;
    }
    const char *slash = entry->d_type == DT_DIR ? "/" : "";
    return scratch_printf(scratch, buf, "<li><a href=\"./%s%s\">%s%s</a></li>\n", url, slash, text, slash);
}

static int no_dot(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int print_listing(scratch_t *scratch, bufferpool_buf_t *buf, const char *path, struct dirent **entries, int n)
{
    char title[6 * 256 + 1];
    if (!http_escape_html(title, sizeof title, strcmp(path, ".") == 0 ? "" : path)) {
        memcpy(title, "...", 4);
    }
    int error = scratch_printf(scratch, buf,
                               "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>/%s</title>\n<h1>/%s</h1>\n<ul>\n%s",
                               title, title, strcmp(path, ".") == 0 ? "" : "<li><a href=\"../\">..</a></li>\n");
    for (int i = 0; i < n && error == 0; i++) {
        error = print_entry(scratch, buf, entries[i]);
    }
    return error != 0 ? error : scratch_printf(scratch, buf, "</ul>\n");
}

/* The length of the list stands in front of the list, but is known only after it is printed. So the function first
 * prints the body, and then builds the whole response behind it. (append accepts bytes of its own buffer.) */
static int build_listing(scratch_t *scratch, bufferpool_buf_t *buf, int fd, const http_request_t *request)
{
    struct dirent **entries = NULL;
    int n = scandirat(fd, ".", &entries, no_dot, alphasort);
    if (n < 0) {
        return response_refuse(scratch, buf, request, errno == EACCES ? 403 : 500, strerror(errno));
    }
    int error = print_listing(scratch, buf, request->path, entries, n);
    for (int i = 0; i < n; i++) {
        free(entries[i]);
    }
    free(entries);
    if (error != 0) {
        return error;
    }
    size_t body = buf->len;
    error = print_head(scratch, buf, request, 200, "text/html; charset=utf-8", body, "");
    if (error == 0 && !request->head_only) {
        error = scratch_reserve(scratch, buf, buf->len + body);
        if (error == 0) {
            error = scratch_append(scratch, buf, buf->data, body);
        }
    }
    if (error == 0) {
        buf->len -= body;
        memmove(buf->data, buf->data + body, buf->len);
    }
    return error;
}

/* Links in a listing are relative, so the address of a directory must end in a slash. */
static int build_redirect(scratch_t *scratch, bufferpool_buf_t *buf, const http_request_t *request)
{
    char url[3 * HTTP_REQUEST_MAX + 1];
    char location[3 * HTTP_REQUEST_MAX + 32];
    if (!http_escape_url(url, sizeof url, request->path)) {
        return response_refuse(scratch, buf, request, 404, NULL);
    }
    snprintf(location, sizeof location, "Location: /%s/\r\n", url);
    return print_head(scratch, buf, request, 301, "text/plain; charset=utf-8", 0, location);
}

/* What the library tells about itself, and in which form. */
struct report {
    const char *path;
    int (*write)(bufferpool_buf_t *out);
    const char *type;
};

static const struct report reports[] = {
    {"metrics", bufferpool_metrics, "text/plain; version=0.0.4; charset=utf-8"},
    {"holders", bufferpool_holders, "text/plain"},
};

static const struct report *find_report(const char *path)
{
    for (size_t i = 0; i < sizeof reports / sizeof reports[0]; i++) {
        if (strcmp(reports[i].path, path) == 0) {
            return &reports[i];
        }
    }
    return NULL;
}

/* The text has a buffer of its own, since its length stands in the head. */
static int build_report(scratch_t *scratch, bufferpool_buf_t *buf, const http_request_t *request,
                        const struct report *report)
{
    bufferpool_buf_t *text = bufferpool_get(NULL);
    if (text == NULL) {
        return errno;
    }
    int error = report->write(text);
    if (error == 0) {
        error = print_head(scratch, buf, request, 200, report->type, text->len, "");
    }
    if (error == 0 && !request->head_only) {
        error = scratch_append(scratch, buf, text->data, text->len);
    }
    bufferpool_put(text);
    return error;
}

int response_build(scratch_t *scratch, bufferpool_buf_t *buf, int root_fd, const http_request_t *request,
                   response_rest_t *rest)
{
    rest->left = 0;
    int fd = open_beneath(root_fd, request->path);
    if (fd < 0) {
        const struct report *report = errno == ENOENT ? find_report(request->path) : NULL;
        if (report != NULL) {
            return build_report(scratch, buf, request, report);
        }
        /* EXDEV and ELOOP mean a link that leads out of the root. */
        bool forbidden = errno == EACCES || errno == EPERM || errno == EXDEV || errno == ELOOP;
        bool busy = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
        return response_refuse(scratch, buf, request, forbidden ? 403 : busy ? 503 : 404, NULL);
    }
    struct stat status;
    int error = 0;
    if (fstat(fd, &status) != 0) {
        error = response_refuse(scratch, buf, request, 500, strerror(errno));
    } else if (S_ISREG(status.st_mode)) {
        error = build_file(scratch, buf, fd, (size_t)status.st_size, request, rest);
    } else if (S_ISDIR(status.st_mode)) {
        error = request->directory ? build_listing(scratch, buf, fd, request) : build_redirect(scratch, buf, request);
    } else {
        error = response_refuse(scratch, buf, request, 403, "neither a file nor a directory");
    }
    if (rest->left == 0) {
        close(fd);
    }
    return error;
}
