/* SPDX-License-Identifier: MIT
 *
 * peer.c - see peer.h.
 */
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basics.h"
#include "http.h"

enum {
    CONNECTIONS_PER_ADDRESS = 20000, /* below the number of ports that the system hands out by itself */
    UNREAD_MAX = 4096,               /* small, so that responses stay with the server and not with the system */
    WHILE_READING = 16 * 1024,       /* larger, so that the rest comes in fewer pieces and a wave takes less time */
    BYTES_AT_ONCE = 8 * 1024
};

void peer_close(peer_t *peer)
{
    if (peer->fd >= 0) {
        close(peer->fd);
        peer->fd = -1;
    }
}

static void set_receive_buffer(const peer_t *peer, int size)
{
    setsockopt(peer->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

int peer_connect(peer_t *peer, size_t index, uint16_t port, const char **what)
{
    *what = "cannot open a socket";
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (peer->fd < 0) {
        return errno;
    }
    /* Connections that are closed by a reset leave no ports behind in TIME_WAIT for the next run. */
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    set_receive_buffer(peer, UNREAD_MAX); /* before connect, which announces the size */
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (index >= CONNECTIONS_PER_ADDRESS) {
        /* All of 127.0.0.0/8 is this machine, and each address has ports of its own. */
        int on = 1;
        setsockopt(peer->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(index / CONNECTIONS_PER_ADDRESS));
        *what = "cannot bind a socket";
        if (bind(peer->fd, (struct sockaddr *)&address, sizeof address) != 0) {
            return errno;
        }
    }
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *what = "cannot connect to the server";
    bool begun = connect(peer->fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS;
    return begun ? 0 : errno;
}

bool peer_ask(peer_t *peer, const manifest_file_t *file)
{
    char url[3 * 1024 + 1];
    char request[HTTP_REQUEST_MAX];
    int n = -1;
    if (http_escape_url(url, sizeof url, file->path)) {
        n = snprintf(request, sizeof request, "GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n", url);
    }
    peer->file = file;
    peer->in_body = false;
    peer->wrong = false;
    peer->asked = true;
    peer->got = 0;
    peer->asked_at = now_ns();
    /* Nothing else is under way on this connection, so a request of at most 4 KiB goes out whole. */
    // cppcheck-suppress legacyUninitvar ; n is negative unless it was written
    if (peer->fd < 0 || n < 0 || send(peer->fd, request, (size_t)n, MSG_NOSIGNAL) != n) {
        peer_close(peer);
        return false;
    }
    return true;
}

/* Reads status and length from the complete head of n bytes. Returns false if the head makes no sense. */
static bool read_head(peer_t *peer, size_t n)
{
    static const char field[] = "\r\nContent-Length: ";
    peer->head[n - 1] = '\0';
    const char *length = strstr(peer->head, field);
    if (strncmp(peer->head, "HTTP/1.1 ", 9) != 0 || length == NULL) {
        return false;
    }
    peer->length = strtoul(length + sizeof field - 1, NULL, 10);
    peer->wrong = strncmp(peer->head + 9, "200 ", 4) != 0 || peer->length != peer->file->size;
    peer->in_body = true;
    peer->got = 0;
    return true;
}

static peer_state_t take_body(peer_t *peer, const unsigned char *at, size_t n)
{
    if (n > peer->length - peer->got) {
        return PEER_BROKEN; /* more bytes than the head announced */
    }
    if (!peer->wrong && memcmp(at, peer->file->bytes + peer->got, n) != 0) {
        peer->wrong = true;
    }
    peer->got += n;
    return peer->got == peer->length ? PEER_DONE : PEER_WAITING;
}

static peer_state_t take_head(peer_t *peer, const unsigned char *at, size_t n, size_t *bytes)
{
    size_t before = peer->got;
    size_t part = n < sizeof peer->head - before ? n : sizeof peer->head - before;
    memcpy(peer->head + before, at, part);
    const char *end = memmem(peer->head, before + part, "\r\n\r\n", 4);
    if (end == NULL) {
        peer->got += part;
        return peer->got < sizeof peer->head ? PEER_WAITING : PEER_BROKEN;
    }
    size_t head = (size_t)(end + 4 - peer->head);
    if (!read_head(peer, head)) {
        return PEER_BROKEN;
    }
    *bytes = n - (head - before);
    return take_body(peer, at + (head - before), *bytes);
}

peer_state_t peer_read(peer_t *peer, size_t *bytes)
{
    unsigned char chunk[BYTES_AT_ONCE];
    *bytes = 0;
    if (peer->asked && !peer->in_body && peer->got == 0) {
        set_receive_buffer(peer, WHILE_READING);
    }
    ssize_t got = recv(peer->fd, chunk, sizeof chunk, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return PEER_WAITING;
    }
    peer_state_t state = PEER_BROKEN;
    if (got > 0 && peer->asked && peer->in_body) {
        *bytes = (size_t)got;
        state = take_body(peer, chunk, (size_t)got);
    } else if (got > 0 && peer->asked) {
        state = take_head(peer, chunk, (size_t)got, bytes);
    }
    if (state == PEER_BROKEN) {
        peer_close(peer);
    } else if (state == PEER_DONE) {
        set_receive_buffer(peer, UNREAD_MAX);
    }
    return state;
}
