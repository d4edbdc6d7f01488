/* SPDX-License-Identifier: MIT
 *
 * server.h - an HTTP/1.1 file server on epoll, with a scratch buffer per request. Requests wait if there is no buffer
 * for them, first come, first served: all in one queue, or, if the threads block, each thread's in one.
 */
#ifndef DEMO_SERVER_H
#define DEMO_SERVER_H

#include "scratch.h"

typedef struct server_config {
    int root_fd;        /* the directory that is served */
    int listen_fd;      /* from server_listen */
    unsigned workers;   /* threads */
    size_t max_files;   /* the limit on open files */
    scratch_t *scratch; /* the source of its buffers */
} server_config_t;

/* Listens on 127.0.0.1. Port 0 means any free port. The system may hold `send_buffer` bytes of an unread response; 0
 * leaves that to the system. Returns the socket and sets *port, or returns -1 with errno. */
int server_listen(uint16_t *port, int send_buffer);

/* Serves until stop_fd becomes readable or its other end is closed. Then closes every connection, puts every buffer
 * back, and closes listen_fd. Sets *waited to the number of requests that had to wait for a buffer. Returns 0, or 1
 * with a message. */
int server_run(const server_config_t *config, int stop_fd, uint64_t *waited);

#endif
