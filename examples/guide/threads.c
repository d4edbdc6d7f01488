/* SPDX-License-Identifier: MIT
 *
 * threads.c - a server with a thread for each connection, whose requests wait at the cap
 *
 *     threads MAX_LIVE WAIT_MS      prints "threads PORT"; SIGTERM ends it
 *
 * A client sends lines, and gets them back in capitals. A request that waits longer than WAIT_MS milliseconds for a
 * buffer gets the answer "busy", and its connection ends.
 */
#include "ending.h"
#include "net.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { SILENT_MS = 60000, HOLD_MS = 10000, LONGEST_LINE = 1 << 20 };

static bufferpool_t *pool;
static unsigned wait_ms;
static int stop;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t fewer = PTHREAD_COND_INITIALIZER;
static size_t connections;

/* Returns whether fd is ready. Returns false at the deadline (INT64_MAX: never), or when the server stops. */
static bool wait_for(int fd, short events, int64_t deadline)
{
    struct pollfd fds[] = {{.fd = fd, .events = events}, {.fd = stop, .events = POLLIN}};
    const int64_t left = deadline - now_ms();
    return left > 0 && poll(fds, 2, deadline == INT64_MAX ? -1 : (int)left) > 0 && fds[1].revents == 0;
}

static bool send_all(int fd, const unsigned char *bytes, size_t n, int64_t deadline)
{
    while (n > 0) {
        const ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && (errno != EAGAIN || !wait_for(fd, POLLOUT, deadline)))
            return false;
        bytes += sent > 0 ? sent : 0;
        n -= sent > 0 ? (size_t)sent : 0;
    }
    return true;
}

/* Reads more into the text, which grows as needed. Returns false if nothing came, or if the line is too long. */
static bool receive(int fd, bufferpool_buf_t *text)
{
    if (text->len >= LONGEST_LINE || bufferpool_buf_reserve(text, text->len + 1) != 0)
        return false;
    const ssize_t n = recv(fd, text->data + text->len, text->cap - text->len, 0);
    text->len += n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* Serves the client until no part of a line is left over. Returns whether the connection goes on. */
static bool serve_lines(int fd, bufferpool_buf_t *text)
{
    int64_t deadline = now_ms() + HOLD_MS;
    do {
        if (!receive(fd, text))
            return false;
        for (size_t i = 0; i < text->len; i++)
            text->data[i] = (unsigned char)toupper(text->data[i]);
        const unsigned char *end = memrchr(text->data, '\n', text->len);
        const size_t whole = end == NULL ? 0 : (size_t)(end + 1 - text->data);
        if (!send_all(fd, text->data, whole, deadline))
            return false;
        if (whole > 0) /* the next line has its own time */
            deadline = now_ms() + HOLD_MS;
        text->len -= whole;
        memmove(text->data, text->data + whole, text->len);
    } while (text->len > 0 && wait_for(fd, POLLIN, deadline));
    return text->len == 0;
}

static void *connection(void *arg)
{
    const int fd = (int)(intptr_t)arg;
    bool goes_on = true;
    while (goes_on && wait_for(fd, POLLIN, now_ms() + SILENT_MS)) { /* holds no buffer while the client is silent */
        bufferpool_buf_t *text = bufferpool_get_timed(pool, wait_ms);
        if (text == NULL)
            send_all(fd, (const unsigned char *)"busy\n", 5, now_ms() + HOLD_MS);
        goes_on = text != NULL && serve_lines(fd, text);
        bufferpool_put(text); /* no effect on NULL */
    }
    close(fd);
    pthread_mutex_lock(&lock);
    connections--;
    pthread_cond_signal(&fewer);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void accept_one(int listener)
{
    // cppcheck-suppress nullPointer ; the address is not asked for
    const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    pthread_mutex_lock(&lock);
    connections++;
    pthread_mutex_unlock(&lock);
    pthread_t thread;
    if (pthread_create(&thread, NULL, connection, (void *)(intptr_t)fd) == 0) {
        pthread_detach(thread);
        return;
    }
    close(fd);
    pthread_mutex_lock(&lock);
    connections--;
    pthread_mutex_unlock(&lock);
}

int main(int argc, char **argv)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "lines";
    config.max_live = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
    config.thread_cache_bytes = 32 << 10; /* each thread needs one buffer at a time */
    config.flags = BUFFERPOOL_BACKGROUND;
    wait_ms = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    if (config.max_live == 0) {
        fprintf(stderr, "usage: threads MAX_LIVE WAIT_MS\n");
        return 2;
    }
    stop = stop_descriptor(); /* first: the library's thread and ours inherit the mask */
    pool = bufferpool_create(&config);
    const int listener = listen_on_free_port("threads");
    if (stop < 0 || pool == NULL || listener < 0) {
        perror("threads");
        return 1;
    }
    while (wait_for(listener, POLLIN, INT64_MAX))
        accept_one(listener);
    close(listener);
    pthread_mutex_lock(&lock);
    while (connections > 0)
        pthread_cond_wait(&fewer, &lock);
    pthread_mutex_unlock(&lock);
    return end_pool(pool); /* prints the figures; fails if a buffer is still held */
}
