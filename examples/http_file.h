/* SPDX-License-Identifier: MIT
 *
 * http_file.h - just enough of HTTP/1.1 for an example: the files of one folder
 */
#ifndef HTTP_FILE_H
#define HTTP_FILE_H

#include <bufferpool.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HTTP_FILE_MAX (64 << 20)

/* Appends the file, with an HTTP head in front if `head` is set. Returns 0, or an errno value, and then the buffer's
 * content is as before. */
static inline int http_file_append(bufferpool_buf_t *buf, int folder, const char *name, bool head)
{
    struct stat st = {.st_size = 0};
    const size_t before = buf->len;
    const int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    int error = fd < 0 || fstat(fd, &st) != 0 ? errno : 0;
    if (error == 0 && (!S_ISREG(st.st_mode) || st.st_size > HTTP_FILE_MAX))
        error = ENOENT;
    const size_t size = error == 0 ? (size_t)st.st_size : 0;
    if (error == 0 && head)
        error = bufferpool_buf_printf(buf, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", size);
    if (error == 0)
        error = bufferpool_buf_reserve(buf, buf->len + size);
    for (size_t done = 0; error == 0 && done < size;) {
        const ssize_t n = read(fd, buf->data + buf->len, size - done);
        error = n > 0 ? 0 : n < 0 ? errno : EIO; /* 0: the file became shorter */
        if (error == 0) {
            done += (size_t)n;
            buf->len += (size_t)n;
        }
    }
    if (error != 0)
        buf->len = before;
    if (fd >= 0)
        close(fd);
    return error;
}

/* Replaces the request at data[front .. len) by the answer. Sets *last if the connection ends with this answer. Needs
 * one byte of room behind len. Returns 0; EAGAIN if the request has not come whole, and then nothing was done;
 * ENOMEM. */
static inline int http_file_answer(bufferpool_buf_t *buf, size_t front, int folder, bool *last)
{
    char name[200];
    int end_of_line = 0;
    buf->data[buf->len] = '\0';
    const char *head = (const char *)buf->data + front;
    const char *end = strstr(head, "\r\n\r\n");
    if (end == NULL && buf->len + 1 < buf->cap)
        return EAGAIN;
    /* A name without a slash and without a dot in front cannot lead out of the folder. */
    const bool get = end != NULL && sscanf(head, "GET /%199[A-Za-z0-9._-] HTTP/1.1\r%n", name, &end_of_line) == 1 &&
                     end_of_line != 0 && name[0] != '.';
    /* The answer overwrites any bytes behind the request. So the connection then ends, and the client asks again. */
    *last = !get || end[4] != '\0' || strcasestr(head, "\r\nConnection: close") != NULL;
    buf->len = front;
    int error = get ? http_file_append(buf, folder, name, true) : EINVAL;
    if (error != 0)
        error = bufferpool_buf_printf(buf, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n",
                                      !get                                ? "400 Bad Request"
                                      : error == ENOENT || error == ELOOP ? "404 Not Found"
                                                                          : "500 Internal Server Error");
    return error;
}

#endif /* HTTP_FILE_H */
