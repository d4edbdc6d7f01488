/* SPDX-License-Identifier: MIT
 *
 * server.c - see server.h.
 *
 * There is one thread (worker) per core, each with its own epoll sets. Worker 0 also accepts connections and deals them
 * out in turn, so that all workers have equally many. From then on a connection belongs to one worker, and no lock is
 * needed.
 *
 * A connection holds a buffer from the moment when its request is complete until the system has the last byte of the
 * response. An idle connection costs only the few bytes of conn_t. A request nearly always comes in one piece, and the
 * worker reads it into its own array. If a request comes in several pieces, the connection keeps the first ones in
 * `pending`.
 *
 * Each worker has two epoll sets. `requests_fd` has its connections as long as they exist, for bytes to read. It is
 * itself in `epoll_fd`, which also has the connections that ever had to wait for room to write. That set tells of room
 * once (EPOLLET), after a send that found none. So a request costs no epoll_ctl, and one call makes a worker deaf for
 * all requests: while SOME_WAIT connections and more wait for a buffer, it reads no others. They stay in their sockets,
 * where they take no memory of the server's and wake nobody. Otherwise the worker would wake for each of them only to
 * put it into a queue, and the load generator would give up the processor for that.
 *
 * If all buffers are out, the request goes to `pending`, and the connection waits. There are two ways to wait:
 *
 *     SCRATCH_POOL_WAITING    The connection's waiter joins the pool's queue, in which the connections of all workers
 *                             stand in the order in which they came. When a buffer is there for one of them, the
 *                             notifier of its worker becomes readable, which is one more descriptor in the epoll set.
 *                             The worker never sleeps for a buffer.
 *     SCRATCH_POOL_BLOCKING   What a server does without notifiers. Each worker has a queue of its own. Each turn of
 *                             its loop first carries on with the connections that have a buffer, because that brings
 *                             buffers back, and then serves the queue until no buffer is left. A worker that has
 *                             nothing to carry on with blocks in the pool, for a moment only, since its own
 *                             connections may become ready to write meanwhile.
 */
#define BUFFERPOOL_MALLOC(put) /* otherwise gcc's analyzer takes the notifier of one worker of many for lost */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basics.h"
#include "response.h"

enum {
    EVENTS_AT_ONCE = 128,
    ACCEPTS_AT_ONCE = 64,
    SERVED_AT_ONCE = 128, /* connections that waited, before the worker looks at its others again */
    SOME_WAIT = 128,      /* so many connections of a worker: it reads no more requests, until half of them wait */
    WAIT_MS = 2,          /* for a buffer, if the worker blocks */
    CONNECTIONS_MAX = 1 << 17,
    FILES_BESIDE = 32 /* open files that are no connections, apart from those of each worker */
};

typedef struct worker worker_t;

typedef struct conn {
    atomic_bool open; /* the entry is in use; a release by the worker, an acquire by the next accept */
    bool waiting;     /* for a buffer; `pending` begins with a whole request */
    bool close_after; /* this response is the last */
    bool deaf;        /* it has more to read, which has to wait: requests_fd does not tell of it */
    bool had_to_wait; /* for room to write: it is in epoll_fd */
    int fd;
    worker_t *worker;
    bufferpool_buf_t *buf; /* the response that is being sent, or NULL */
    scratch_own_t own;     /* see scratch_get */
    size_t sent;           /* bytes of the response that are out, of those in the buffer */
    response_rest_t rest;  /* what follows them */
    char *pending;         /* the bytes that came of the next request, or NULL */
    size_t pending_length;
    bufferpool_waiter_t waiter;  /* in the pool's queue */
    struct conn *before, *after; /* in the worker's queue */
} conn_t;

typedef struct server server_t;

struct worker {
    server_t *server;
    pthread_t thread;
    int epoll_fd;
    int requests_fd;                 /* an epoll set too */
    bool deaf;                       /* epoll_fd does not tell of requests */
    bufferpool_notifier_t *notifier; /* with SCRATCH_POOL_WAITING */
    conn_t *first, *last;            /* the queue, with SCRATCH_POOL_BLOCKING */
    size_t waiting;                  /* connections that wait */
    uint64_t waited;                 /* requests that had to wait */
    char in[HTTP_REQUEST_MAX];
};

struct server {
    server_config_t config;
    int quit_fd; /* becomes readable when the workers must end */
    worker_t *workers;
    unsigned running; /* workers that were started */
    unsigned next;    /* the worker that gets the next connection; only worker 0 uses it */
    conn_t *conns;    /* by file descriptor */
    size_t conn_max;
};

int server_listen(uint16_t *port, int send_buffer)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    /* So that a restart right after an end works. The port of a running server is refused all the same. */
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (send_buffer > 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer); /* accepted sockets inherit it */
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    *port = ntohs(address.sin_port);
    return fd;
}

static void queue_append(worker_t *worker, conn_t *conn)
{
    conn->before = worker->last;
    conn->after = NULL;
    *(worker->last != NULL ? &worker->last->after : &worker->first) = conn;
    worker->last = conn;
}

static void queue_remove(worker_t *worker, conn_t *conn)
{
    *(conn->before != NULL ? &conn->before->after : &worker->first) = conn->after;
    *(conn->after != NULL ? &conn->after->before : &worker->last) = conn->before;
}

/* The state in which a function leaves a connection. */
typedef enum conn_state {
    CONN_READY, /* ready for the next request */
    CONN_BUSY,  /* a response is on its way, or waits for a buffer */
    CONN_CLOSED /* closed, and its entry may belong to another connection */
} conn_state_t;

/* While a connection is deaf, epoll does not tell of bytes that come. Otherwise it would do so again and again. */
static void conn_set_deaf(conn_t *conn, bool deaf)
{
    if (conn->deaf != deaf) {
        struct epoll_event event = {.events = deaf ? 0 : EPOLLIN, .data.ptr = conn};
        epoll_ctl(conn->worker->requests_fd, EPOLL_CTL_MOD, conn->fd, &event);
        conn->deaf = deaf;
    }
}

/* Has epoll tell of room to write from now on. Returns false if there is no memory for that. */
static bool conn_await_room(conn_t *conn)
{
    if (!conn->had_to_wait) {
        struct epoll_event event = {.events = EPOLLOUT | EPOLLET, .data.ptr = conn};
        conn->had_to_wait = epoll_ctl(conn->worker->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) == 0;
    }
    return conn->had_to_wait;
}

/* The connection waits for a buffer, or not any more. */
static void conn_set_waiting(conn_t *conn, bool waiting)
{
    conn->waiting = waiting;
    conn->worker->waiting += waiting ? 1 : (size_t)-1;
}

static conn_state_t conn_close(conn_t *conn)
{
    if (conn->waiting && conn->worker->notifier != NULL) {
        bufferpool_cancel(&conn->waiter); /* a buffer that it had been given goes to the next */
    } else if (conn->waiting) {
        queue_remove(conn->worker, conn);
    }
    if (conn->waiting) {
        conn_set_waiting(conn, false);
    }
    response_drop_rest(&conn->rest);
    if (conn->buf != NULL) {
        scratch_put(conn->worker->server->config.scratch, conn->buf);
        conn->buf = NULL;
    }
    free(conn->pending);
    conn->pending = NULL;
    int fd = conn->fd;
    /* Before close: right after it the descriptor, and so the entry, may be in use again. */
    atomic_store_explicit(&conn->open, false, memory_order_release);
    close(fd);
    return CONN_CLOSED;
}

/* Reads the rest before it closes: closing with unread bytes makes the system send a reset, which can overtake the
 * response. */
static conn_state_t conn_close_gently(conn_t *conn)
{
    worker_t *worker = conn->worker;
    shutdown(conn->fd, SHUT_WR);
    for (int i = 0; i < 64 && recv(conn->fd, worker->in, sizeof worker->in, MSG_DONTWAIT) > 0; i++) {
    }
    return conn_close(conn);
}

/* Sends as much of the response as the system takes. */
static conn_state_t conn_flush(conn_t *conn)
{
    for (;;) {
        if (conn->sent == conn->buf->len) {
            if (conn->rest.left == 0) {
                break;
            }
            conn->sent = 0;
            if (!response_next(conn->buf, &conn->rest)) {
                return conn_close(conn); /* the head promised more */
            }
        }
        ssize_t n = send(conn->fd, conn->buf->data + conn->sent, conn->buf->len - conn->sent, MSG_NOSIGNAL);
        if (n >= 0) {
            conn->sent += (size_t)n;
        } else if (errno == EAGAIN) {
            return conn_await_room(conn) ? CONN_BUSY : conn_close(conn);
        } else if (errno != EINTR) {
            return conn_close(conn);
        }
    }
    scratch_put(conn->worker->server->config.scratch, conn->buf);
    conn->buf = NULL;
    if (conn->close_after) {
        return conn_close_gently(conn);
    }
    conn_set_deaf(conn, false);
    return CONN_READY;
}

/* Answers without a buffer. */
static conn_state_t conn_no_memory(conn_t *conn)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    send(conn->fd, text, sizeof text - 1, MSG_NOSIGNAL);
    return conn_close_gently(conn);
}

/* Gets a buffer without blocking. Returns NULL with errno EAGAIN if the connection has to wait: for the notifier, if
 * there is one, or in the worker's queue. */
static bufferpool_buf_t *conn_get(conn_t *conn)
{
    worker_t *worker = conn->worker;
    scratch_t *scratch = worker->server->config.scratch;
    if (worker->notifier != NULL) {
        conn->waiter.user = conn;
        bufferpool_buf_t *buf = scratch_get_async(scratch, &conn->waiter, worker->notifier);
        errno = buf == NULL && errno == EINPROGRESS ? EAGAIN : errno;
        return buf;
    }
    if (worker->first == NULL) {
        bufferpool_buf_t *buf = scratch_get(scratch, &conn->own, 0);
        if (buf != NULL || errno != EAGAIN) {
            return buf;
        }
    }
    queue_append(worker, conn);
    errno = EAGAIN;
    return NULL;
}

/* Gets a buffer for the request that the connection read. If there is none, the connection waits or is closed. */
static conn_state_t conn_want_buffer(conn_t *conn)
{
    if (conn->buf == NULL) { /* otherwise it has waited, and got one */
        conn->buf = conn_get(conn);
    }
    if (conn->buf != NULL) {
        return CONN_READY;
    }
    if (errno != EAGAIN) {
        return conn_no_memory(conn);
    }
    conn_set_waiting(conn, true);
    conn->worker->waited++;
    return CONN_BUSY;
}

/* Answers one request, with the buffer that the connection has. `parsed` is the value that http_parse returned. */
static conn_state_t conn_answer(conn_t *conn, int parsed, const http_request_t *request)
{
    const server_config_t *config = &conn->worker->server->config;
    int error = parsed < 0 ? response_refuse(config->scratch, conn->buf, request, -parsed, request->detail)
                           : response_build(config->scratch, conn->buf, config->root_fd, request, &conn->rest);
    if (error != 0) {
        return conn_no_memory(conn);
    }
    conn->sent = 0;
    conn->close_after = !request->keep_alive;
    return conn_flush(conn);
}

/* Answers the complete requests in the worker's array, one after the other, and keeps the remaining bytes. */
static void conn_consume(conn_t *conn, size_t n)
{
    const char *in = conn->worker->in;
    http_request_t request;
    size_t used = 0;
    conn_state_t state = CONN_READY;
    while (state == CONN_READY && used < n) {
        int parsed = http_parse(in + used, n - used, &request);
        if (parsed == 0) {
            break;
        }
        state = conn_want_buffer(conn);
        if (state == CONN_READY) {
            used += parsed > 0 ? (size_t)parsed : n - used;
            state = conn_answer(conn, parsed, &request);
        }
    }
    if (used < n && state != CONN_CLOSED) {
        conn->pending = malloc(n - used);
        if (conn->pending == NULL) {
            conn_close(conn);
            return;
        }
        memcpy(conn->pending, in + used, n - used);
        conn->pending_length = n - used;
    }
}

/* Moves the kept bytes into the worker's array. */
static size_t conn_take_pending(conn_t *conn)
{
    size_t have = 0;
    if (conn->pending != NULL) {
        have = conn->pending_length;
        memcpy(conn->worker->in, conn->pending, have);
        free(conn->pending);
        conn->pending = NULL;
    }
    return have;
}

/* There is room to write. */
static void conn_writable(conn_t *conn, uint32_t events)
{
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        conn_close(conn);
    } else if (conn->buf != NULL && conn_flush(conn) == CONN_READY) {
        conn_consume(conn, conn_take_pending(conn));
    }
}

/* There are bytes to read. */
static void conn_readable(conn_t *conn, uint32_t events)
{
    worker_t *worker = conn->worker;
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        conn_close(conn);
        return;
    }
    if (conn->waiting || conn->buf != NULL) {
        conn_set_deaf(conn, true); /* the client sent more, or closed its end; that can wait */
        return;
    }
    size_t have = conn_take_pending(conn);
    if (have < sizeof worker->in) {
        ssize_t n = recv(conn->fd, worker->in + have, sizeof worker->in - have, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            conn_close(conn);
            return;
        }
        have += n > 0 ? (size_t)n : 0;
    }
    conn_consume(conn, have);
}

/* Serves connections of the pool's queue that have a buffer now. Those that are left keep the notifier readable. */
static void serve_ready(worker_t *worker)
{
    bufferpool_waiter_t *waiter;
    for (int i = 0; i < SERVED_AT_ONCE && (waiter = scratch_next(worker->server->config.scratch, worker->notifier));
         i++) {
        conn_t *conn = waiter->user;
        conn_set_waiting(conn, false);
        conn->buf = waiter->buf;
        if (conn->buf != NULL) {
            conn_consume(conn, conn_take_pending(conn));
        } else {
            conn_no_memory(conn);
        }
    }
}

/* Gives the available buffers to the connections in the worker's queue. Blocks at most wait_ms for the first buffer. */
static void serve_queue(worker_t *worker, unsigned wait_ms)
{
    for (int i = 0; i < SERVED_AT_ONCE && worker->first != NULL; i++) {
        conn_t *conn = worker->first;
        conn->buf = scratch_get(worker->server->config.scratch, &conn->own, i == 0 ? wait_ms : 0);
        if (conn->buf != NULL) {
            queue_remove(worker, conn);
            conn_set_waiting(conn, false);
            conn_consume(conn, conn_take_pending(conn));
        } else if (errno == EAGAIN) {
            return;
        } else {
            conn_no_memory(conn);
        }
    }
}

/* Reads requests of connections that have none under way. */
static void read_requests(worker_t *worker)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int n = epoll_wait(worker->requests_fd, events, EVENTS_AT_ONCE, 0);
    for (int i = 0; i < n; i++) {
        conn_readable(events[i].data.ptr, events[i].events);
    }
}

/* Makes the worker deaf for requests while many wait already. */
static void set_deaf(worker_t *worker)
{
    bool deaf = worker->waiting >= (worker->deaf ? SOME_WAIT / 2 : SOME_WAIT);
    if (deaf != worker->deaf) {
        struct epoll_event event = {.events = deaf ? 0 : EPOLLIN, .data.ptr = &worker->requests_fd};
        epoll_ctl(worker->epoll_fd, EPOLL_CTL_MOD, worker->requests_fd, &event);
        worker->deaf = deaf;
    }
}

static void accept_some(server_t *server)
{
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        // cppcheck-suppress nullPointer ; the address of the peer may be left out
        int fd = accept4(server->config.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        /* The table ends below the limit on open files. So a full server gets here and not to EMFILE, on which accept
         * would spin. */
        conn_t *conn = (size_t)fd < server->conn_max ? &server->conns[fd] : NULL;
        if (conn == NULL || atomic_load_explicit(&conn->open, memory_order_acquire)) {
            close(fd);
            continue;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        conn->fd = fd;
        conn->deaf = conn->had_to_wait = false;
        conn->close_after = false;
        conn->worker = &server->workers[server->next++ % server->running];
        atomic_store_explicit(&conn->open, true, memory_order_relaxed);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
        if (epoll_ctl(conn->worker->requests_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
            conn_close(conn);
        }
    }
}

static void *worker_main(void *arg)
{
    worker_t *worker = arg;
    server_t *server = worker->server;
    struct epoll_event events[EVENTS_AT_ONCE];
    for (;;) {
        int n = epoll_wait(worker->epoll_fd, events, EVENTS_AT_ONCE, worker->first != NULL ? 0 : -1);
        bool ready = false;
        bool asked = false;
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &server->quit_fd) {
                return NULL;
            }
            if (events[i].data.ptr == server) {
                accept_some(server);
            } else if (events[i].data.ptr == worker) {
                ready = true;
            } else if (events[i].data.ptr == &worker->requests_fd) {
                asked = true;
            } else {
                conn_writable(events[i].data.ptr, events[i].events);
            }
        }
        /* After all events, because these may close connections. */
        if (ready) {
            serve_ready(worker);
        }
        serve_queue(worker, n == 0 ? WAIT_MS : 0);
        if (asked) {
            read_requests(worker);
        }
        set_deaf(worker);
    }
}

static bool watch(int epoll_fd, int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Makes all epoll sets before the first thread, since worker 0 deals connections to the others. */
static bool start_workers(server_t *server)
{
    unsigned wanted = server->config.workers;
    for (unsigned i = 0; i < wanted; i++) {
        worker_t *worker = &server->workers[i];
        worker->server = server;
        worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        worker->requests_fd = epoll_create1(EPOLL_CLOEXEC);
        bool ok = worker->epoll_fd >= 0 && worker->requests_fd >= 0 &&
                  watch(worker->epoll_fd, server->quit_fd, &server->quit_fd) &&
                  watch(worker->epoll_fd, worker->requests_fd, &worker->requests_fd);
        if (ok && scratch_kind(server->config.scratch) == SCRATCH_POOL_WAITING) {
            worker->notifier = bufferpool_notifier_create();
            ok = worker->notifier != NULL && watch(worker->epoll_fd, bufferpool_notifier_fd(worker->notifier), worker);
        }
        if (!ok) {
            complain("cannot set up worker %u: %s", i, strerror(errno));
            return false;
        }
    }
    server->running = wanted;
    for (unsigned i = 0; i < wanted; i++) {
        int error = pthread_create(&server->workers[i].thread, NULL, worker_main, &server->workers[i]);
        if (error != 0) {
            complain("cannot start worker %u: %s", i, strerror(error));
            server->running = i;
            return false;
        }
    }
    return watch(server->workers[0].epoll_fd, server->config.listen_fd, server);
}

static void stop_workers(server_t *server)
{
    uint64_t one = 1;
    write_whole(server->quit_fd, &one, sizeof one);
    for (unsigned i = 0; i < server->running; i++) {
        pthread_join(server->workers[i].thread, NULL);
    }
    for (size_t fd = 0; fd < server->conn_max; fd++) {
        if (atomic_load_explicit(&server->conns[fd].open, memory_order_relaxed)) {
            conn_close(&server->conns[fd]);
        }
    }
    for (unsigned i = 0; i < server->config.workers; i++) {
        bufferpool_notifier_destroy(server->workers[i].notifier);
        if (server->workers[i].epoll_fd >= 0) {
            close(server->workers[i].epoll_fd);
        }
        if (server->workers[i].requests_fd >= 0) {
            close(server->workers[i].requests_fd);
        }
    }
}

static void wait_for_stop(int stop_fd)
{
    struct pollfd stop = {.fd = stop_fd, .events = POLLIN};
    while (poll(&stop, 1, -1) < 0 && errno == EINTR) {
    }
}

int server_run(const server_config_t *config, int stop_fd, uint64_t *waited)
{
    server_t server = {.config = *config};
    size_t beside = FILES_BESIDE + 4 * (size_t)config->workers;
    /* With a budget each response may have its file open, and each connection has at most one response. */
    size_t files = scratch_most_buffers(scratch_budget(config->scratch));
    beside += files < config->max_files / 2 ? files : config->max_files / 2;
    server.conn_max = config->max_files > 2 * beside ? config->max_files - beside : beside;
    if (server.conn_max > CONNECTIONS_MAX) {
        server.conn_max = CONNECTIONS_MAX;
    }
    /* Each is one large block, which the allocator maps by itself. So the connections do not lie among the buffers
     * whose memory the demonstration measures. */
    server.conns = calloc(server.conn_max, sizeof *server.conns);
    server.workers = calloc(config->workers, sizeof *server.workers);
    server.quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool ok = server.conns != NULL && server.workers != NULL && server.quit_fd >= 0;
    if (!ok) {
        complain("cannot set up the server: %s", strerror(errno));
    } else {
        for (unsigned i = 0; i < config->workers; i++) {
            server.workers[i].epoll_fd = server.workers[i].requests_fd = -1;
        }
        ok = start_workers(&server);
        if (ok) {
            wait_for_stop(stop_fd);
        }
        stop_workers(&server);
    }
    *waited = 0;
    for (unsigned i = 0; i < server.running; i++) {
        *waited += server.workers[i].waited;
    }
    close(config->listen_fd);
    if (server.quit_fd >= 0) {
        close(server.quit_fd);
    }
    free(server.workers);
    free(server.conns);
    return ok ? 0 : 1;
}
