/* SPDX-License-Identifier: MIT
 *
 * libuv_server.c - libuv: an echo server and an HTTP file server on one loop, with one pool under a cap
 *
 *     libuv_server FOLDER [MAX_LIVE]      prints its two ports; GET /NAME serves FOLDER/NAME; SIGINT or SIGTERM ends it
 *
 * A client holds one buffer or none. on_alloc gets the buffer, libuv reads the request into it, the answer replaces the
 * request, and on_written puts the buffer. A silent client holds none, and a client that has a buffer needs no second
 * one to go on. So MAX_LIVE bounds the memory of all clients together, and no client waits for ever. (A client that
 * stops in the middle of a request, or does not read, keeps its buffer. A server on the open network needs timeouts
 * against that.)
 *
 * At the cap on_alloc has nothing to hand out. libuv then calls on_read with UV_ENOBUFS, and the server stops reading
 * from this client until a buffer has come back. Meanwhile the kernel holds the bytes that the client sends.
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

typedef struct client {
    uv_tcp_t tcp;
    bufferpool_buf_t *buf; /* the buffer that it holds, or NULL */
    struct client *next;   /* in the queue of waiting clients */
    int error;             /* why it got no buffer */
    bool http;
    bool last; /* the connection ends after this answer */
} client_t;

static bufferpool_t *pool;
static int folder;
static uv_tcp_t http_port, echo_port;
static uv_signal_t interrupt, terminate;
static client_t *first_waiting, **end_waiting = &first_waiting;

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *room);

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *room)
{
    client_t *client = handle->data;
    (void)suggested;
    *room = uv_buf_init(NULL, 0); /* libuv makes UV_ENOBUFS of it */
    if (client->buf == NULL) {
        client->buf = bufferpool_try_get(pool);
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

/* Puts the buffer. The client that has waited longest then tries again, and waits again if others were faster. */
static void put_and_wake(bufferpool_buf_t *buf)
{
    bufferpool_put(buf);
    client_t *client = first_waiting;
    if (client != NULL) {
        first_waiting = client->next;
        if (first_waiting == NULL)
            end_waiting = &first_waiting;
        uv_read_start((uv_stream_t *)&client->tcp, on_alloc, on_read);
    }
}

static void on_closed(uv_handle_t *handle)
{
    client_t *client = handle->data; /* NULL for a port or a signal */
    if (client != NULL && client->buf != NULL)
        put_and_wake(client->buf);
    free(client);
}

static void on_written(uv_write_t *request, int status)
{
    uv_stream_t *stream = request->handle;
    client_t *client = stream->data;
    client->buf = NULL;
    put_and_wake(bufferpool_buf_from_data(request)); /* the request lies in its block, and is gone after this */
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
    if (n == UV_ENOBUFS && client->error == EAGAIN) {
        uv_read_stop(stream);
        client->next = NULL;
        *end_waiting = client;
        end_waiting = &client->next;
        return;
    }
    int error = n < 0 ? (int)n : 0;
    if (error == 0)
        client->buf->len += (size_t)n;
    if (error == 0 && client->buf->len == FRONT) { /* nothing came, so the client must not keep a buffer */
        bufferpool_buf_t *buf = client->buf;
        client->buf = NULL;
        put_and_wake(buf);
        return;
    }
    if (error == 0 && client->http)
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
    client->http = listener == (uv_stream_t *)&http_port;
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
    first_waiting = NULL;
    uv_walk(signal->loop, close_it, NULL);
}

static int serve(uv_loop_t *loop, uv_tcp_t *port, const char *what)
{
    struct sockaddr_in address;
    int length = sizeof(address);
    if (uv_ip4_addr("127.0.0.1", 0, &address) != 0 || uv_tcp_init(loop, port) != 0 ||
        uv_tcp_bind(port, (const struct sockaddr *)&address, 0) != 0 ||
        uv_listen((uv_stream_t *)port, 1024, on_connection) != 0 ||
        uv_tcp_getsockname(port, (struct sockaddr *)&address, &length) != 0)
        return -1;
    printf("%s %d\n", what, ntohs(address.sin_port));
    return fflush(stdout);
}

static int listen_to_signal(uv_loop_t *loop, uv_signal_t *handle, int number)
{
    return uv_signal_init(loop, handle) != 0 ? -1 : uv_signal_start(handle, on_signal, number);
}

int main(int argc, char **argv)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "clients";
    config.max_live = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
    folder = argc > 1 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    pool = bufferpool_create(&config);
    uv_loop_t *loop = uv_default_loop();
    if (folder < 0 || pool == NULL || loop == NULL) {
        fprintf(stderr, "usage: libuv_server FOLDER [MAX_LIVE]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* if a client has gone, the write returns an error */
    const bool works = listen_to_signal(loop, &interrupt, SIGINT) == 0 &&
                       listen_to_signal(loop, &terminate, SIGTERM) == 0 && serve(loop, &http_port, "http") == 0 &&
                       serve(loop, &echo_port, "echo") == 0 && uv_run(loop, UV_RUN_DEFAULT) == 0 &&
                       uv_loop_close(loop) == 0;
    if (!works)
        fprintf(stderr, "libuv_server: it does not work\n");
    close(folder);
    return end_pool(pool) != 0 || !works;
}
