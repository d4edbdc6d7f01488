/* SPDX-License-Identifier: MIT
 *
 * client.c - see client.h.
 *
 * In a wave every connection sends its request. The client reads nothing until the first byte of every response has
 * arrived. By then the server has read all files, and every response that does not fit into the two small socket
 * buffers still lies in its scratch buffer. Then the client reads all responses, a few KiB at a time in turn, so that
 * the buffers come back late and in no order.
 *
 * A server that lets requests wait at its cap cannot begin all responses. For such a server the client waits for the
 * first bytes of as many responses as the server has buffers (begun_first). So many responses always begin, since each
 * buffer is either free, and serves the next request, or holds a response that has begun.
 */
#include "client.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basics.h"
#include "manifest.h"
#include "peer.h"

enum {
    CONNECTING_AT_ONCE = 256,
    EVENTS_AT_ONCE = 256,
    PAUSE_MS = 200, /* between waves */
    STALL_MS = 120000,
    REPORT_NS = 100 * 1000 * 1000
};

typedef struct client {
    client_config_t config;
    int epoll_fd, control_fd, report_fd;
    manifest_t manifest;
    peer_t *peers;
    uint64_t *latencies;
    uint64_t reported_at;
    client_message_t message;
    bool stopped; /* the control pipe was closed */
    bool failed;
} client_t;

static void tell(client_t *client, client_kind_t kind)
{
    client->message.kind = kind;
    if (!write_whole(client->report_fd, &client->message, sizeof client->message)) {
        client->stopped = true; /* the parent has gone */
    }
    client->reported_at = now_ns();
}

static void tell_progress(client_t *client, client_kind_t kind, uint64_t done)
{
    client->message.done = done;
    if (now_ns() - client->reported_at > REPORT_NS) {
        tell(client, kind);
    }
}

static bool fail(client_t *client, const char *what, int error)
{
    snprintf(client->message.text, sizeof client->message.text, "%s%s%s", what, error != 0 ? ": " : "",
             error != 0 ? strerror(error) : "");
    client->failed = true;
    return false;
}

/* As epoll_wait, but returns -1 if the run is over, because the control pipe was closed or nothing came for too
 * long. */
static int await(client_t *client, struct epoll_event *events, int timeout_ms)
{
    for (;;) {
        int n = epoll_wait(client->epoll_fd, events, EVENTS_AT_ONCE, timeout_ms);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == client) {
                char go;
                if (read(client->control_fd, &go, 1) != 1) {
                    client->stopped = true;
                    return -1;
                }
                events[i] = events[--n]; /* the caller wants connections only */
                return n;
            }
        }
        if (n == 0 && timeout_ms == STALL_MS) {
            fail(client, "the server does not answer any more", 0);
            return -1;
        }
        return n;
    }
}

static void watch(client_t *client, peer_t *peer, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = peer};
    if (peer->fd >= 0) {
        epoll_ctl(client->epoll_fd, operation, peer->fd, &event);
    }
}

/* Connects a batch at a time, because the server's queue of connections to be accepted is not endless. */
static bool connect_all(client_t *client)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    size_t begun = 0;
    size_t open = 0;
    while (open < client->config.connections) {
        while (begun < client->config.connections && begun - open < CONNECTING_AT_ONCE) {
            const char *what;
            int error = peer_connect(&client->peers[begun], begun, client->config.port, &what);
            if (error != 0) {
                return fail(client, what, error);
            }
            watch(client, &client->peers[begun++], EPOLL_CTL_ADD, EPOLLOUT);
        }
        int n = await(client, events, STALL_MS);
        if (n < 0) {
            return false;
        }
        for (int i = 0; i < n; i++) {
            peer_t *peer = events[i].data.ptr;
            int error = 0;
            socklen_t size = sizeof error;
            getsockopt(peer->fd, SOL_SOCKET, SO_ERROR, &error, &size);
            if (error != 0 || (events[i].events & (EPOLLERR | EPOLLHUP)) != 0) {
                return fail(client, "the server refuses a connection", error);
            }
            watch(client, peer, EPOLL_CTL_MOD, 0);
            open++;
        }
        tell_progress(client, CLIENT_CONNECTING, open);
    }
    return true;
}

/* Called when the response is complete, or when it can no longer become complete. */
static void response_over(client_t *client, peer_t *peer)
{
    client_result_t *result = &client->message.result;
    bool broken = peer->fd < 0;
    client->latencies[result->responses++] = now_ns() - peer->asked_at;
    peer->asked = false;
    if (peer->wrong && !broken && !manifest_unchanged(peer->file, client->config.root_fd)) {
        result->changed++;
    } else if (peer->wrong || broken) {
        if (result->wrong++ == 0) {
            snprintf(client->message.text, sizeof client->message.text, "/%.200s: %s", peer->file->path,
                     broken ? "the connection was broken off" : "the response differs from the file");
        }
    }
}

static void read_some(client_t *client, peer_t *peer)
{
    size_t bytes;
    bool asked = peer->asked;
    peer_state_t state = peer_read(peer, &bytes);
    client->message.result.bytes += bytes;
    if (asked && state != PEER_WAITING) {
        response_over(client, peer);
    }
}

static void ask(client_t *client, peer_t *peer, const manifest_file_t *file)
{
    if (peer_ask(peer, file)) {
        watch(client, peer, EPOLL_CTL_MOD, EPOLLIN | EPOLLONESHOT);
    } else {
        response_over(client, peer);
    }
}

/* Waits until at least `wanted` connections have bytes to read, and reads none. With ONESHOT each is reported once. */
static bool await_first_bytes(client_t *client, size_t wanted)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    for (size_t begun = 0; begun < wanted;) {
        int n = await(client, events, STALL_MS);
        if (n < 0) {
            return false;
        }
        begun += (size_t)n;
        tell_progress(client, CLIENT_WAVE, client->message.result.responses);
    }
    return true;
}

static bool run_wave(client_t *client, unsigned wave)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    client_result_t *result = &client->message.result;
    size_t connections = client->config.connections;
    uint64_t end = result->responses + connections;
    client->message.wave = wave + 1;
    uint64_t began = now_ns();
    for (size_t i = 0; i < connections; i++) {
        ask(client, &client->peers[i], &client->manifest.files[(i + (size_t)7 * wave) % client->manifest.count]);
    }
    size_t due = (size_t)(end - result->responses);
    if (!await_first_bytes(client, due < client->config.begun_first ? due : client->config.begun_first)) {
        return false;
    }
    for (size_t i = 0; i < connections; i++) {
        watch(client, &client->peers[i], EPOLL_CTL_MOD, EPOLLIN);
    }
    while (result->responses < end) {
        int n = await(client, events, STALL_MS);
        if (n < 0) {
            return false;
        }
        for (int i = 0; i < n; i++) {
            read_some(client, events[i].data.ptr);
        }
        tell_progress(client, CLIENT_WAVE, result->responses);
    }
    result->seconds += (double)(now_ns() - began) / 1e9;
    return true;
}

/* Waits, and returns true after timeout_ms, or false if the run is over before. -1 means until the parent says go. */
static bool pause_for(client_t *client, int timeout_ms)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int n = await(client, events, timeout_ms);
    for (int i = 0; i < n; i++) {
        read_some(client, events[i].data.ptr); /* nothing was asked, so the server closed it */
    }
    return n >= 0;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void finish_result(client_t *client)
{
    client_result_t *result = &client->message.result;
    size_t n = (size_t)result->responses;
    qsort(client->latencies, n, sizeof *client->latencies, by_value);
    size_t p50 = (n - 1) / 2;
    size_t p99 = (n - 1) * 99 / 100;
    result->p50 = (double)client->latencies[p50] / 1e9;
    result->p99 = (double)client->latencies[p99] / 1e9;
    result->files = client->manifest.count;
}

static bool run_all(client_t *client)
{
    client_message_t *message = &client->message;
    if (manifest_load(&client->manifest, client->config.root_fd, message->text, sizeof message->text) != 0) {
        client->failed = true;
        return false;
    }
    if (!connect_all(client)) {
        return false;
    }
    tell(client, CLIENT_CONNECTED);
    if (!pause_for(client, -1)) {
        return false;
    }
    uint64_t limit = client->config.seconds == 0 ? UINT64_MAX : now_ns() + client->config.seconds * 1000000000ull;
    for (unsigned wave = 0; wave < client->config.waves && (wave == 0 || now_ns() < limit); wave++) {
        if ((wave > 0 && !pause_for(client, PAUSE_MS)) || !run_wave(client, wave)) {
            return false;
        }
        message->result.waves = wave + 1;
    }
    finish_result(client);
    tell(client, CLIENT_DONE);
    while (pause_for(client, -1)) {
    }
    return true;
}

int client_run(const client_config_t *config, int control_fd, int report_fd)
{
    client_t client = {.config = *config, .control_fd = control_fd, .report_fd = report_fd};
    client.peers = calloc(config->connections, sizeof *client.peers);
    client.latencies = calloc(config->connections * config->waves, sizeof *client.latencies);
    client.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &client};
    if (client.peers == NULL || client.latencies == NULL || client.epoll_fd < 0 ||
        epoll_ctl(client.epoll_fd, EPOLL_CTL_ADD, control_fd, &event) != 0) {
        fail(&client, "cannot set up the load generator", errno);
    } else {
        for (size_t i = 0; i < config->connections; i++) {
            client.peers[i].fd = -1;
        }
        run_all(&client);
        for (size_t i = 0; i < config->connections; i++) {
            peer_close(&client.peers[i]);
        }
    }
    if (client.failed && !client.stopped) {
        tell(&client, CLIENT_FAILED);
    }
    manifest_free(&client.manifest);
    free(client.peers);
    free(client.latencies);
    if (client.epoll_fd >= 0) {
        close(client.epoll_fd);
    }
    return client.failed ? 1 : 0;
}
