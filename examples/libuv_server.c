/* SPDX-License-Identifier: MIT
 *
 * libuv_server.c - libuv: an echo server and an HTTP file server, each a loop in its own thread, one pool under a cap
 *
 *     libuv_server FOLDER [MAX_LIVE]      prints its two ports; GET /NAME serves FOLDER/NAME; SIGINT or SIGTERM ends it
 *
 * A client holds one buffer or none. on_alloc gets the buffer, libuv reads the request into it, the answer replaces the
 * request, and on_written puts the buffer. A silent client holds none, and a client that has a buffer needs no second
 * one to go on. So MAX_LIVE bounds the memory of all clients together, and no client waits for ever. (A client that
 * stops in the middle of a request, or does not read, keeps its buffer. A server on the open network needs timeouts
 * against that.)
 *
 * At the cap on_alloc has nothing to hand out, and the client's waiter joins the pool's queue. libuv then calls on_read
 * with UV_ENOBUFS, and the server stops reading from this client. Meanwhile the kernel holds the bytes that the client
 * sends. When a buffer is there for a client of this loop, put by whichever loop, the notifier's descriptor becomes
 * readable, and on_ready goes on with the client.
 *
 * The block has room for the uv_write_t in front of the bytes. So a write allocates nothing, and when a write has
 * ended, the address of its request leads to its buffer.
 */
#include "ending.h"
#include "http_file.h"

#include <signal.h>
#include <stdlib.h>
#include <uv.h>

#define FRONT sizeof(uv_write_t)

typedef struct server {
    uv_loop_t loop;
    uv_tcp_t port;
    uv_signal_t interrupt, terminate;
    uv_poll_t ready; /* the notifier's descriptor */
    bufferpool_notifier_t *notifier;
    size_t waits; /* clients that found no buffer */
    bool http;
    bool works;
} server_t;

typedef struct client {
    uv_tcp_t tcp;
    server_t *server;
    bufferpool_buf_t *buf;      /* the buffer that it holds, or NULL */
    bufferpool_waiter_t waiter; /* for a buffer */
    int error;                  /* why it got no buffer */
    bool last;                  /* the connection ends after this answer */
} client_t;

static bufferpool_t *pool;
static int folder;

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *room);

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *room)
{
    client_t *client = handle->data;
    (void)suggested;
    *room = uv_buf_init(NULL, 0); /* libuv makes UV_ENOBUFS of it */
    if (client->buf == NULL) {
        client->waiter.user = client;
        client->buf = bufferpool_get_async(pool, &client->waiter, client->server->notifier);
        if (client->buf == NULL) {
            client->error = errno;
            return;
        }
        client->buf->len = FRONT;
    }
    /* one byte less, for the NUL that the parser needs */
    *room =
        uv_buf_init((char *)client->buf->data + client->buf->len, (unsigned)(client->buf->cap - client->buf->len - 1));
}

static void on_closed(uv_handle_t *handle)
{
    client_t *client = handle->data; /* NULL for a handle of the server's own */
    if (client != NULL) {
        bufferpool_cancel(&client->waiter);
        bufferpool_put(client->buf);
    }
    free(client);
}

/* Clients of this loop that waited have a buffer now. Their bytes are still unread. */
static void on_ready(uv_poll_t *ready, int status, int events)
{
    bufferpool_waiter_t *waiter;
    (void)status;
    (void)events;
    server_t *server = (server_t *)ready->loop->data;
    while ((waiter = bufferpool_notifier_next(server->notifier)) != NULL) {
        client_t *client = waiter->user;
        uv_stream_t *stream = (uv_stream_t *)&client->tcp;
        client->buf = waiter->buf;
        if (client->buf != NULL)
            client->buf->len = FRONT;
        if (uv_is_closing((uv_handle_t *)stream))
            continue; /* on_closed puts the buffer */
        if (client->buf == NULL || uv_read_start(stream, on_alloc, on_read) != 0)
            uv_close((uv_handle_t *)stream, on_closed);
    }
}

static void on_written(uv_write_t *request, int status)
{
    uv_stream_t *stream = request->handle;
    client_t *client = stream->data;
    client->buf = NULL;
    bufferpool_put_data(request); /* the request lies in its block, and is gone after this */
    if (uv_is_closing((uv_handle_t *)stream))
        return;
    if (status == 0 && !client->last)
        status = uv_read_start(stream, on_alloc, on_read);
    if (status != 0 || client->last)
        uv_close((uv_handle_t *)stream, on_closed);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *room)
{
    client_t *client = stream->data;
    (void)room;
    if (n == UV_ENOBUFS && client->error == EINPROGRESS) {
        uv_read_stop(stream); /* until on_ready */
        client->server->waits++;
        return;
    }
    int error = n < 0 ? (int)n : 0;
    if (error == 0)
        client->buf->len += (size_t)n;
    if (error == 0 && client->buf->len == FRONT) { /* nothing came, so the client must not keep a buffer */
        bufferpool_put(client->buf);
        client->buf = NULL;
        return;
    }
    if (error == 0 && client->server->http)
        error = http_file_answer(client->buf, FRONT, folder, &client->last);
    if (error == EAGAIN)
        return;
    if (error == 0) {
        /* Reads no more until this answer is out, otherwise one client could take all the buffers. */
        uv_read_stop(stream);
        bufferpool_buf_t *buf = client->buf;
        const uv_buf_t bytes = uv_buf_init((char *)buf->data + FRONT, (unsigned)(buf->len - FRONT));
        error = uv_write((uv_write_t *)(void *)buf->data, stream, &bytes, 1, on_written);
    }
    if (error != 0)
        uv_close((uv_handle_t *)stream, on_closed); /* on_closed puts the buffer */
}

static void on_connection(uv_stream_t *listener, int status)
{
    client_t *client = status == 0 ? calloc(1, sizeof(*client)) : NULL;
    if (client == NULL || uv_tcp_init(listener->loop, &client->tcp) != 0) {
        free(client);
        return;
    }
    client->tcp.data = client;
    client->server = listener->loop->data;
    if (uv_accept(listener, (uv_stream_t *)&client->tcp) != 0 ||
        uv_read_start((uv_stream_t *)&client->tcp, on_alloc, on_read) != 0)
        uv_close((uv_handle_t *)&client->tcp, on_closed);
}

static void close_it(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, on_closed); /* a write that is under way ends first, with UV_ECANCELED */
}

static void on_signal(uv_signal_t *signal, int number)
{
    (void)number;
    uv_walk(signal->loop, close_it, NULL);
}

static bool listen_on_free_port(server_t *server)
{
    struct sockaddr_in address;
    int length = sizeof(address);
    if (uv_ip4_addr("127.0.0.1", 0, &address) != 0 || uv_tcp_init(&server->loop, &server->port) != 0 ||
        uv_tcp_bind(&server->port, (const struct sockaddr *)&address, 0) != 0 ||
        uv_listen((uv_stream_t *)&server->port, 1024, on_connection) != 0 ||
        uv_tcp_getsockname(&server->port, (struct sockaddr *)&address, &length) != 0)
        return false;
    printf("%s %d\n", server->http ? "http" : "echo", ntohs(address.sin_port));
    return fflush(stdout) == 0;
}

static bool begin(server_t *server)
{
    server->notifier = bufferpool_notifier_create();
    if (server->notifier == NULL || uv_loop_init(&server->loop) != 0)
        return false;
    uv_loop_t *loop = &server->loop;
    loop->data = server;
    return uv_poll_init(loop, &server->ready, bufferpool_notifier_fd(server->notifier)) == 0 &&
           uv_poll_start(&server->ready, UV_READABLE, on_ready) == 0 && uv_signal_init(loop, &server->interrupt) == 0 &&
           uv_signal_start(&server->interrupt, on_signal, SIGINT) == 0 &&
           uv_signal_init(loop, &server->terminate) == 0 &&
           uv_signal_start(&server->terminate, on_signal, SIGTERM) == 0 && listen_on_free_port(server);
}

static void run(void *arg)
{
    server_t *server = arg;
    server->works = uv_run(&server->loop, UV_RUN_DEFAULT) == 0 && uv_loop_close(&server->loop) == 0 &&
                    bufferpool_notifier_destroy(server->notifier) == 0;
}

int main(int argc, char **argv)
{
    static server_t http = {.http = true}, echo;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    uv_thread_t thread;
    config.name = "clients";
    config.max_live = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
    folder = argc > 1 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    pool = bufferpool_create(&config);
    if (folder < 0 || pool == NULL) {
        fprintf(stderr, "usage: libuv_server FOLDER [MAX_LIVE]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* if a client has gone, the write returns an error */
    if (begin(&http) && begin(&echo) && uv_thread_create(&thread, run, &echo) == 0) {
        run(&http);
        uv_thread_join(&thread);
    }
    const bool works = http.works && echo.works;
    if (!works)
        fprintf(stderr, "libuv_server: it does not work\n");
    close(folder);
    fprintf(stderr, "loops: http %zu echo %zu\n", http.waits, echo.waits);
    return end_pool(pool) != 0 || !works;
}
