/* SPDX-License-Identifier: MIT
 *
 * page.c - a body that grows up to a limit, a head that is written last, and both sent without a copy
 *
 *     page <IN >OUT      answers with stdin as the body; OUT may be a socket that does not block
 */
#include "ending.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/uio.h>
#include <unistd.h>

enum { STEP = 16 << 10, LARGEST_BODY = 64 << 20 };

/* Appends all of fd. First makes room, then takes the address: growth moves the bytes. Returns 0 or an errno value. */
static int read_all(int fd, bufferpool_buf_t *body)
{
    for (;;) {
        if (body->len > LARGEST_BODY)
            return EFBIG;
        const int error = bufferpool_buf_reserve(body, body->len + STEP);
        if (error != 0)
            return error;
        const ssize_t n = read(fd, body->data + body->len, body->cap - body->len);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return errno;
        body->len += n > 0 ? (size_t)n : 0; /* at once: what lies beyond len is lost when the buffer grows */
    }
}

/* Moves the start of the two pieces forward by n bytes. Returns whether any are left. */
static bool advance(struct iovec *pieces, size_t n)
{
    size_t left = 0;
    for (int i = 0; i < 2; i++) {
        const size_t part = n < pieces[i].iov_len ? n : pieces[i].iov_len;
        pieces[i].iov_base = (char *)pieces[i].iov_base + part;
        pieces[i].iov_len -= part;
        n -= part;
        left += pieces[i].iov_len;
    }
    return left > 0;
}

/* Writes both buffers, as much at a time as fd takes. The caller puts them afterwards, not before. */
static int write_all(int fd, const bufferpool_buf_t *head, const bufferpool_buf_t *body)
{
    struct iovec pieces[] = {{head->data, head->len}, {body->data, body->len}};
    bool more = true;
    while (more) {
        const ssize_t n = writev(fd, pieces, 2);
        if (n < 0 && errno == EAGAIN)
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        else if (n < 0 && errno != EINTR)
            return errno;
        more = advance(pieces, n > 0 ? (size_t)n : 0);
    }
    return 0;
}

int main(void)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "pages";
    config.max_live = 100;
    config.max_capacity = 4 << 20; /* a larger buffer is freed when it is put, a smaller one pooled as it is */
    config.flags = BUFFERPOOL_BACKGROUND;
    bufferpool_t *pool = bufferpool_create(&config);
    if (pool == NULL) {
        perror("page");
        return 1;
    }
    bufferpool_buf_t *both[2];
    int error = bufferpool_get_bulk_timed(pool, both, 2, 1000); /* both or none: no deadlock */
    if (error == 0) {
        error = read_all(STDIN_FILENO, both[1]);
        if (error == 0)
            error = bufferpool_buf_printf(both[0], "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", both[1]->len);
        if (error == 0)
            error = write_all(STDOUT_FILENO, both[0], both[1]);
        bufferpool_put_bulk(both, 2);
    }
    if (error != 0)
        fprintf(stderr, "page: %s\n", strerror(error));
    return end_pool(pool) != 0 || error != 0;
}
