/* SPDX-License-Identifier: MIT
 *
 * uring_echo.c - io_uring: an echo server whose receives take pooled buffers out of a provided buffer ring
 *
 *     uring_echo [MAX_LIVE]      prints its port; SIGINT or SIGTERM ends it; exit status 77 if the kernel offers no
 *                                io_uring with buffer rings
 *
 * Receives name no buffer. The kernel takes a buffer out of the ring when bytes are there, so thousands of silent
 * connections share the few buffers in the ring. A buffer is in the pool, or in the ring, where the kernel may write to
 * it, or is being sent. When its bytes are out, it goes back to the pool:
 *
 *     pool --get_async--> ring --receive--> send --put_bulk--> pool
 *
 * Once a turn, the loop puts the buffers that have been sent and fills the ring up. At the cap the loop's one waiter
 * joins the pool's queue, and a poll on the notifier's descriptor ends when a buffer is there: one that this loop has
 * put, or another thread that uses the pool.
 *
 * While the ring is empty, receives end with ENOBUFS, and their clients wait until the ring has a buffer again. Then
 * all of them try again, because only the kernel knows which of them have sent something.
 */
#include "ending.h"

#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SLOTS = 1024, FILL = 16 }; /* entries of the ring, a power of two; how many buffers it is filled with */

typedef struct client {
    struct client *next, **link; /* all clients */
    struct client *next_waiting;
    bufferpool_buf_t *buf; /* being sent; NULL while receiving */
    size_t sent;
    int fd;
} client_t;

static struct io_uring uring;
static struct io_uring_buf_ring *ring;
static bufferpool_t *pool;
static bufferpool_buf_t *in_ring[SLOTS]; /* by the kernel's number for it; NULL if that number is free */
static bufferpool_buf_t *done[SLOTS];
static size_t filled, n_done, waits;
static client_t *clients, *waiting;
static bufferpool_notifier_t *notifier;
static bufferpool_waiter_t waiter;
static bool in_queue, polling;        /* the waiter is in the pool's queue; a poll on the notifier is under way */
static int accepting, signals, ready; /* their addresses stand for these events in completions */

static struct io_uring_sqe *submission(void)
{
    struct io_uring_sqe *sqe;
    while ((sqe = io_uring_get_sqe(&uring)) == NULL)
        io_uring_submit(&uring);
    return sqe;
}

static void receive(client_t *client)
{
    struct io_uring_sqe *sqe = submission();
    io_uring_prep_recv(sqe, client->fd, NULL, 0, 0); /* length 0 means as much as fits into the buffer */
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
    io_uring_sqe_set_data(sqe, client);
}

static void send_rest(client_t *client)
{
    struct io_uring_sqe *sqe = submission();
    io_uring_prep_send(sqe, client->fd, client->buf->data + client->sent, client->buf->len - client->sent,
                       MSG_NOSIGNAL);
    io_uring_sqe_set_data(sqe, client);
}

static void poll_for(int fd, int *event)
{
    struct io_uring_sqe *sqe = submission();
    io_uring_prep_poll_add(sqe, fd, POLLIN);
    io_uring_sqe_set_data(sqe, event);
}

static void accept_next(int listener)
{
    struct io_uring_sqe *sqe = submission();
    io_uring_prep_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data(sqe, &accepting);
}

static void add_client(int fd)
{
    client_t *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        close(fd);
        return;
    }
    client->fd = fd;
    client->next = clients;
    client->link = &clients;
    if (clients != NULL)
        clients->link = &client->next;
    clients = client;
    receive(client);
}

static void remove_client(client_t *client)
{
    *client->link = client->next;
    if (client->next != NULL)
        client->next->link = client->link;
    close(client->fd);
    free(client);
}

/* A receive has ended. Returns whether the client stays. */
static bool received(client_t *client, int result, unsigned flags)
{
    if (result == -ENOBUFS) {
        client->next_waiting = waiting;
        waiting = client;
        return true;
    }
    if (flags & IORING_CQE_F_BUFFER) { /* the kernel may have taken a buffer even at an end or an error */
        bufferpool_buf_t **slot = &in_ring[flags >> IORING_CQE_BUFFER_SHIFT];
        client->buf = *slot;
        *slot = NULL;
        filled--;
    }
    if (client->buf != NULL && result <= 0) {
        done[n_done++] = client->buf;
        client->buf = NULL;
    }
    if (result <= 0)
        return false;
    client->buf->len = (size_t)result;
    client->sent = 0;
    send_rest(client);
    return true;
}

static bool sent(client_t *client, int result)
{
    client->sent += result > 0 ? (size_t)result : 0;
    if (result > 0 && client->sent < client->buf->len) {
        send_rest(client);
        return true;
    }
    done[n_done++] = client->buf; /* the kernel has read the last byte of it */
    client->buf = NULL;
    if (result > 0)
        receive(client);
    return result > 0;
}

static void add_to_ring(bufferpool_buf_t *buf)
{
    unsigned slot = 0;
    while (in_ring[slot] != NULL)
        slot++;
    in_ring[slot] = buf;
    io_uring_buf_ring_add(ring, buf->data, (unsigned)buf->cap, (unsigned short)slot, io_uring_buf_ring_mask(SLOTS), 0);
    io_uring_buf_ring_advance(ring, 1);
    filled++;
}

/* Returns a buffer for the ring. Returns NULL if the waiter waits, or if there is no memory: the next turn tries
 * again. */
static bufferpool_buf_t *buffer_for_ring(void)
{
    if (in_queue && bufferpool_notifier_next(notifier) == NULL)
        return NULL;
    bufferpool_buf_t *buf = in_queue ? waiter.buf : bufferpool_get_async(pool, &waiter, notifier);
    in_queue = !in_queue && buf == NULL && errno == EINPROGRESS;
    waits += in_queue;
    return buf;
}

/* The end of a turn: puts the buffers that were sent, fills the ring, and lets clients that found it empty try
 * again. */
static void turn_buffers_over(void)
{
    bufferpool_buf_t *buf;
    bufferpool_put_bulk(done, n_done);
    n_done = 0;
    while (filled < FILL && (buf = buffer_for_ring()) != NULL)
        add_to_ring(buf);
    if (in_queue && !polling) {
        poll_for(bufferpool_notifier_fd(notifier), &ready);
        polling = true;
    }
    while (filled > 0 && waiting != NULL) {
        client_t *client = waiting;
        waiting = client->next_waiting;
        receive(client);
    }
}

/* Takes turns until all is over. After a signal nothing new begins, but the kernel may use a buffer until its
 * completion has come. The function is one loop over completions, to be read from top to bottom. */
// NOLINTNEXTLINE(readability-function-cognitive-complexity)
static int serve(int listener, int signal_fd)
{
    bool ending = false, accepts = true;
    accept_next(listener);
    poll_for(signal_fd, &signals);
    for (;;) {
        turn_buffers_over();
        if (ending && !accepts && clients == NULL)
            return 0;
        const int error = io_uring_submit_and_wait(&uring, 1);
        if (error < 0 && error != -EINTR)
            return -error;
        struct io_uring_cqe *cqe;
        /* `done` has room: each completion adds at most one buffer, and at most SLOTS buffers are out */
        while (io_uring_peek_cqe(&uring, &cqe) == 0) {
            const int result = cqe->res;
            const unsigned flags = cqe->flags;
            client_t *client = io_uring_cqe_get_data(cqe);
            io_uring_cqe_seen(&uring, cqe);
            if ((void *)client == &signals) {
                ending = true;
                shutdown(listener, SHUT_RDWR); /* ends the calls that are under way on it, as for the clients below */
                for (client_t *c = clients; c != NULL; c = c->next)
                    shutdown(c->fd, SHUT_RDWR);
            } else if ((void *)client == &ready) {
                polling = false; /* the end of the turn takes the buffer */
            } else if ((void *)client == &accepting) {
                if (result >= 0)
                    add_client(result);
                accepts = !ending && result != -EINVAL;
                if (accepts)
                    accept_next(listener);
                else if (result >= 0)
                    shutdown(result, SHUT_RDWR);
            } else if (!(client->buf == NULL ? received(client, result, flags) : sent(client, result))) {
                remove_client(client);
            }
        }
    }
}

static int listen_on_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        return -1; // cppcheck-suppress resourceLeak ; the process ends
    printf("echo %d\n", ntohs(address.sin_port));
    // cppcheck-suppress resourceLeak ; the function returns it
    return fflush(stdout) == 0 ? fd : -1;
}

int main(int argc, char **argv)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.max_live = argc > 1 ? strtoul(argv[1], NULL, 10) : SLOTS;
    if (config.max_live == 0 || config.max_live > SLOTS) {
        fprintf(stderr, "usage: uring_echo [MAX_LIVE]    (1 to %d)\n", SLOTS);
        return 2;
    }
    void *memory = NULL;
    int error = io_uring_queue_init(256, &uring, 0);
    if (error == 0 && posix_memalign(&memory, 4096, SLOTS * sizeof(struct io_uring_buf)) == 0) {
        struct io_uring_buf_reg registration = {.ring_addr = (uintptr_t)memory, .ring_entries = SLOTS, .bgid = 0};
        error = io_uring_register_buf_ring(&uring, &registration, 0);
    }
    if (error != 0 || memory == NULL) {
        fprintf(stderr, "uring_echo: no io_uring with buffer rings here: %s\n", strerror(-error));
        return 77;
    }
    ring = memory;
    io_uring_buf_ring_init(ring);
    config.name = "ring";
    pool = bufferpool_create(&config);
    notifier = bufferpool_notifier_create();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    const int signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    const int listener = listen_on_free_port();
    error = pool == NULL || notifier == NULL || signal_fd < 0 || listener < 0 ? errno : serve(listener, signal_fd);
    if (error != 0)
        fprintf(stderr, "uring_echo: %s\n", strerror(error));
    io_uring_unregister_buf_ring(&uring, 0); /* after this the kernel no longer writes to buffers of the ring */
    bufferpool_put_bulk(in_ring, SLOTS);
    io_uring_queue_exit(&uring);
    bufferpool_cancel(&waiter);
    bufferpool_notifier_destroy(notifier);
    free(memory);
    close(signal_fd);
    close(listener);
    fprintf(stderr, "loops: waits %zu\n", waits);
    return end_pool(pool) != 0 || error != 0;
}
