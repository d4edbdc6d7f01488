/* SPDX-License-Identifier: MIT
 *
 * server.h - an HTTP/1.1 server of files on epoll, with a scratch buffer per request. Requests for which there is no
 * buffer wait, first come, first served.
 */
#ifndef DEMO_SERVER_H
#define DEMO_SERVER_H

#include "scratch.h"

typedef struct server_config {
    int root_fd;        /* the directory that is served */
    int listen_fd;      /* from server_listen */
    unsigned workers;   /* threads */
    size_t max_files;   /* the limit on open files */
    scratch_t *scratch; /* where buffers come from */
} server_config_t;

/* Listens on 127.0.0.1; port 0: any free one. send_buffer: bytes that the system may hold of an unread response, 0: as
 * it likes. Returns the socket and sets *port, or -1 with errno. */
int server_listen(uint16_t *port, int send_buffer);

/* Serves until stop_fd becomes readable or its other end is closed, then closes every connection and puts every buffer
 * back. Takes over listen_fd. *waited: how many requests had to wait for a buffer. Returns 0, or 1 with a message. */
int server_run(const server_config_t *config, int stop_fd, uint64_t *waited);

#endif
