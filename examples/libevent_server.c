/* SPDX-License-Identifier: MIT
 *
 * libevent_server.c - libevent: an HTTP file server that sends out of pooled buffers, without a copy
 *
 *     libevent_server FOLDER [MAX_LIVE [MAX_WAITING]]
 *
 * prints its port; GET /NAME serves FOLDER/NAME; SIGINT or SIGTERM ends it.
 *
 * The server builds the answer in a buffer. evbuffer_add_reference hangs the buffer's bytes into libevent's output
 * without a copy. When libevent has sent the last of them, it calls on_sent with their address, which is all that
 * bufferpool_buf_from_data needs. From evbuffer_add_reference to on_sent the buffer belongs to libevent. It must not
 * grow during that time, since its bytes could move.
 *
 * libevent calls on_sent for every reference sooner or later, also if the client goes away or the server ends.
 *
 * At the cap a request waits, and on_ready answers it when a buffer is there for it. If MAX_WAITING requests wait
 * already, the server refuses the next one at once, with 503 and Retry-After. libevent does not read from a connection
 * while a request is under way, so a client that has gone keeps its place, and its answer goes nowhere.
 */
#include "ending.h"
#include "http_file.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>

/* A request that waits. */
typedef struct waiting {
    bufferpool_waiter_t waiter;
    struct evhttp_request *request;
} waiting_t;

static bufferpool_t *pool;
static bufferpool_notifier_t *notifier;
static int folder;
static size_t n_waiting, max_waiting, waits;

static void on_sent(const void *data, size_t n, void *arg)
{
    (void)n;
    (void)arg;
    bufferpool_put(bufferpool_buf_from_data(data));
}

/* Answers the request, out of the buffer. */
static void answer(struct evhttp_request *request, bufferpool_buf_t *buf)
{
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
    const char *name = path != NULL && path[0] == '/' ? path + 1 : ".";
    const bool plain = strchr(name, '/') == NULL && name[0] != '.' && name[0] != '\0'; /* stays in the folder */
    int error = plain ? http_file_append(buf, folder, name, false) : ENOENT;
    /* For an empty file there is nothing to refer to, and libevent would never call on_sent. */
    if (error == 0 && buf->len > 0) {
        error = evbuffer_add_reference(evhttp_request_get_output_buffer(request), buf->data, buf->len, on_sent, NULL);
        if (error == 0)
            buf = NULL; /* it belongs to libevent now */
    }
    bufferpool_put(buf);
    if (error == 0)
        evhttp_send_reply(request, HTTP_OK, NULL, NULL);
    else
        evhttp_send_error(request, error == ENOENT || error == ELOOP ? HTTP_NOTFOUND : HTTP_INTERNAL, NULL);
}

static void refuse(struct evhttp_request *request)
{
    evhttp_add_header(evhttp_request_get_output_headers(request), "Retry-After", "1");
    evhttp_send_error(request, HTTP_SERVUNAVAIL, NULL);
}

/* The connection of a request that waits is closed: by an error, a timeout, or the end of the server. */
static void on_closed(struct evhttp_connection *connection, void *arg)
{
    (void)connection;
    waiting_t *w = arg;
    bufferpool_cancel(&w->waiter);
    if (evhttp_request_get_connection(w->request) == NULL)
        evhttp_request_free(w->request); /* libevent has left it to its user */
    free(w);
    n_waiting--;
}

/* Requests that waited have a buffer now. */
static void on_ready(evutil_socket_t fd, short events, void *arg)
{
    bufferpool_waiter_t *waiter;
    (void)fd;
    (void)events;
    (void)arg;
    while ((waiter = bufferpool_notifier_next(notifier)) != NULL) {
        waiting_t *w = waiter->user;
        struct evhttp_request *request = w->request;
        evhttp_connection_set_closecb(evhttp_request_get_connection(request), NULL, NULL);
        if (waiter->buf != NULL)
            answer(request, waiter->buf);
        else
            refuse(request);
        free(w);
        n_waiting--;
    }
}

static void on_request(struct evhttp_request *request, void *arg)
{
    (void)arg;
    waiting_t *w = n_waiting < max_waiting ? calloc(1, sizeof(*w)) : NULL;
    bufferpool_buf_t *buf = w != NULL ? bufferpool_get_async(pool, &w->waiter, notifier) : bufferpool_try_get(pool);
    if (buf == NULL && w != NULL && errno == EINPROGRESS) {
        w->waiter.user = w;
        w->request = request;
        evhttp_connection_set_closecb(evhttp_request_get_connection(request), on_closed, w);
        n_waiting++;
        waits++;
        return;
    }
    free(w);
    if (buf != NULL)
        answer(request, buf);
    else
        refuse(request);
}

static void on_signal(evutil_socket_t number, short events, void *base)
{
    (void)number;
    (void)events;
    event_base_loopbreak(base);
}

/* Listens on a free port, and prints it. */
static int serve(struct evhttp *http)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    const int no_delay =
        1; /* the connections inherit it; libevent writes in pieces of 16 KiB, and the last piece goes out at once */
    struct evhttp_bound_socket *port = evhttp_bind_socket_with_handle(http, "127.0.0.1", 0);
    const evutil_socket_t fd = port != NULL ? evhttp_bound_socket_get_fd(port) : -1;
    // cppcheck-suppress invalidFunctionArg ; for -1 the call fails, as it should
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, sizeof(no_delay)) != 0)
        return -1;
    evhttp_set_allowed_methods(http, EVHTTP_REQ_GET);
    evhttp_set_gencb(http, on_request, NULL);
    printf("http %d\n", ntohs(address.sin_port));
    return fflush(stdout);
}

int main(int argc, char **argv)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "answers";
    config.max_live = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
    max_waiting = argc > 3 ? strtoul(argv[3], NULL, 10) : 1000;
    folder = argc > 1 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    pool = bufferpool_create(&config);
    notifier = bufferpool_notifier_create();
    if (folder < 0 || pool == NULL || notifier == NULL) {
        fprintf(stderr, "usage: libevent_server FOLDER [MAX_LIVE [MAX_WAITING]]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* if a client has gone, the write returns an error */
    struct event_base *base = event_base_new();
    struct evhttp *http = base != NULL ? evhttp_new(base) : NULL;
    struct event *interrupt = base != NULL ? evsignal_new(base, SIGINT, on_signal, base) : NULL;
    struct event *terminate = base != NULL ? evsignal_new(base, SIGTERM, on_signal, base) : NULL;
    struct event *ready =
        base != NULL ? event_new(base, bufferpool_notifier_fd(notifier), EV_READ | EV_PERSIST, on_ready, NULL) : NULL;
    const bool works = http != NULL && interrupt != NULL && terminate != NULL && ready != NULL &&
                       event_add(interrupt, NULL) == 0 && event_add(terminate, NULL) == 0 &&
                       event_add(ready, NULL) == 0 && serve(http) == 0 && event_base_dispatch(base) == 0;
    if (!works)
        fprintf(stderr, "libevent_server: it does not work\n");
    if (http != NULL)
        evhttp_free(http); /* ends all connections, and so calls on_sent and on_closed for all requests under way */
    if (interrupt != NULL)
        event_free(interrupt);
    if (terminate != NULL)
        event_free(terminate);
    if (ready != NULL)
        event_free(ready);
    if (base != NULL)
        event_base_free(base);
    libevent_global_shutdown();
    close(folder);
    fprintf(stderr, "loops: waits %zu\n", waits);
    return bufferpool_notifier_destroy(notifier) != 0 || end_pool(pool) != 0 || !works;
}
