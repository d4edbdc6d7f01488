/* SPDX-License-Identifier: MIT
 *
 * echo.c - a server on epoll whose connections wait at the cap, and never block the loop
 *
 *     echo MAX_LIVE HOLD_MS      prints "echo PORT"; SIGTERM ends it
 *
 * A client sends lines and gets them back. A connection has a buffer only while it has a part of a line, or bytes that
 * are not sent. A connection that keeps its buffer longer than HOLD_MS milliseconds is ended.
 */
#include "ending.h"
#include "net.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>

enum { LONGEST_LINE = 1 << 20, EVENTS = 64 };

typedef struct link { /* of a list, which is a link too, before its first and after its last */
    struct link *previous, *next;
} link_t;

typedef struct connection {
    link_t link;                /* first, so that a link of a list is a connection */
    bufferpool_waiter_t waiter; /* zeroed before its first use, by calloc */
    bufferpool_buf_t *buf;      /* NULL while the client is silent, or waits for a buffer */
    size_t sent, whole;         /* data[sent .. whole) is to be sent: whole lines */
    int64_t deadline;           /* when it must have given its buffer back */
    int fd;
} connection_t;

static bufferpool_t *pool;
static bufferpool_notifier_t *notifier;
static link_t holding = {&holding, &holding}; /* connections with a buffer, the oldest deadline first */
static link_t others = {&others, &others};
static int epoll, listener, stop;
static int64_t hold_ms;

static void take_out(link_t *link)
{
    link->previous->next = link->next;
    link->next->previous = link->previous;
}

static void append(link_t *list, link_t *link)
{
    link->previous = list->previous;
    link->next = list;
    list->previous->next = link;
    list->previous = link;
}

static void hold(connection_t *c, bufferpool_buf_t *buf)
{
    c->buf = buf;
    c->sent = c->whole = 0;
    c->deadline = now_ms() + hold_ms;
    take_out(&c->link);
    append(&holding, &c->link);
}

static void let_go(connection_t *c)
{
    bufferpool_put(c->buf); /* serves the connection that has waited longest */
    c->buf = NULL;
    take_out(&c->link);
    append(&others, &c->link);
}

static void end_connection(connection_t *c)
{
    bufferpool_cancel(&c->waiter); /* no effect unless it waits */
    bufferpool_put(c->buf);        /* no effect on NULL */
    take_out(&c->link);
    close(c->fd);
    free(c);
}

static bool watch(connection_t *c, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    return epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event) == 0;
}

/* Each of the functions below returns whether the connection goes on. */

static bool send_rest(connection_t *c)
{
    bufferpool_buf_t *buf = c->buf;
    while (c->sent < c->whole) {
        const ssize_t n = send(c->fd, buf->data + c->sent, c->whole - c->sent, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN && watch(c, EPOLLOUT); /* the rest when the client has read some */
        c->sent += (size_t)n;
    }
    buf->len -= c->whole;
    if (buf->len == 0) {
        let_go(c);
    } else if (c->whole > 0) { /* a part of a line is left, and has its time from now on */
        memmove(buf->data, buf->data + c->whole, buf->len);
        hold(c, buf);
    }
    return watch(c, EPOLLIN);
}

static bool receive(connection_t *c)
{
    bufferpool_buf_t *buf = c->buf;
    if (buf->len >= LONGEST_LINE || bufferpool_buf_reserve(buf, buf->len + 1) != 0)
        return false;
    const ssize_t n = recv(c->fd, buf->data + buf->len, buf->cap - buf->len, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        return false;
    buf->len += n > 0 ? (size_t)n : 0;
    const unsigned char *end = buf->len > 0 ? memrchr(buf->data, '\n', buf->len) : NULL;
    c->whole = end != NULL ? (size_t)(end + 1 - buf->data) : 0;
    return send_rest(c);
}

static bool get_and_receive(connection_t *c)
{
    bufferpool_buf_t *buf = bufferpool_get_async(pool, &c->waiter, notifier);
    if (buf == NULL)
        return errno == EINPROGRESS && watch(c, 0); /* its bytes stay in the kernel until serve_ready */
    hold(c, buf);
    return receive(c);
}

static bool on_event(connection_t *c, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP))
        return false;
    if (c->buf == NULL)
        return get_and_receive(c);
    return c->sent < c->whole ? send_rest(c) : receive(c);
}

/* The notifier's descriptor is readable: connections have waited, and have a buffer now. */
static void serve_ready(void)
{
    bufferpool_waiter_t *waiter;
    while ((waiter = bufferpool_notifier_next(notifier)) != NULL) {
        connection_t *c = waiter->user;
        if (waiter->buf != NULL)
            hold(c, waiter->buf);
        if (waiter->buf == NULL || !receive(c))
            end_connection(c);
    }
}

static void accept_one(void)
{
    // cppcheck-suppress nullPointer ; the address is not asked for
    const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    connection_t *c = fd >= 0 ? calloc(1, sizeof(*c)) : NULL;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (c != NULL && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) {
        c->fd = fd;
        c->waiter.user = c;
        append(&others, &c->link);
        return;
    }
    free(c);
    if (fd >= 0)
        close(fd);
}

static void end_all(const link_t *list)
{
    while (list->next != list)
        end_connection((connection_t *)list->next);
}

/* Ends the connections that have held their buffer for too long. Returns the milliseconds to the next deadline. */
static int end_overdue(void)
{
    while (holding.next != &holding) {
        connection_t *oldest = (connection_t *)holding.next;
        const int64_t left = oldest->deadline - now_ms();
        if (left > 0)
            return (int)left;
        end_connection(oldest);
    }
    return -1;
}

/* Returns 0 when a signal came, or an errno value. */
static int serve(void)
{
    struct epoll_event events[EVENTS];
    for (;;) {
        const int n = epoll_wait(epoll, events, EVENTS, end_overdue());
        if (n < 0 && errno != EINTR)
            return errno;
        bool ready = false;
        for (int i = 0; i < n; i++) {
            void *what = events[i].data.ptr;
            if (what == &stop)
                return 0;
            if (what == &listener)
                accept_one();
            else if (what == &notifier)
                ready = true; /* later: it may end a connection that has an event in this round */
            else if (!on_event(what, events[i].events))
                end_connection(what);
        }
        if (ready)
            serve_ready();
    }
}

static uint64_t waits(void)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    bufferpool_stats(pool, &stats);
    return stats.waits;
}

static int add(int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char **argv)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "lines";
    config.max_live = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
    config.flags = BUFFERPOOL_BACKGROUND;
    hold_ms = argc == 3 ? (int64_t)strtoul(argv[2], NULL, 10) : 0;
    if (config.max_live == 0 || hold_ms == 0) {
        fprintf(stderr, "usage: echo MAX_LIVE HOLD_MS\n");
        return 2;
    }
    stop = stop_descriptor();
    pool = bufferpool_create(&config);
    notifier = bufferpool_notifier_create();
    listener = listen_on_free_port("echo");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (pool == NULL || add(stop, &stop) != 0 || add(listener, &listener) != 0 ||
        add(bufferpool_notifier_fd(notifier), &notifier) != 0) {
        perror("echo");
        return 1;
    }
    const int error = serve();
    if (error != 0)
        fprintf(stderr, "echo: %s\n", strerror(error));
    end_all(&holding); /* the puts serve waiters, ... */
    end_all(&others);  /* ... which give their buffers back when they are cancelled */
    bufferpool_notifier_destroy(notifier);
    fprintf(stderr, "loops: waits %" PRIu64 "\n", waits());
    return end_pool(pool) != 0 || error != 0;
}
