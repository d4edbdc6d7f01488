/* SPDX-License-Identifier: MIT
 *
 * peer.h - one connection of the load generator: it asks for a file and compares the response with the file's content
 */
#ifndef DEMO_PEER_H
#define DEMO_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "manifest.h"

typedef struct peer {
    int fd;     /* -1 if not open */
    bool asked; /* a response is due */
    bool in_body;
    bool wrong; /* the response differs from the file */
    const manifest_file_t *file;
    uint64_t asked_at;
    size_t got;    /* bytes of the head, then of the body */
    size_t length; /* length of the body, once the head is there */
    char head[512];
} peer_t;

typedef enum peer_state {
    PEER_WAITING, /* more is to come */
    PEER_DONE,    /* the response is complete; see wrong */
    PEER_BROKEN   /* the connection cannot go on, and was closed */
} peer_state_t;

/* Begins to connect. The socket becomes writable once it is connected. `index` is the number of this connection among
 * all. Returns 0, or an errno value, and then *what says what could not be done. */
int peer_connect(peer_t *peer, size_t index, uint16_t port, const char **what);

/* Sends the request. Returns false if the connection is broken. Until the response is first read, the system takes in
 * only a few KiB of it. */
bool peer_ask(peer_t *peer, const manifest_file_t *file);

/* Reads a few KiB of the response and compares them. Sets *bytes to the number of bytes of the body. */
peer_state_t peer_read(peer_t *peer, size_t *bytes);

void peer_close(peer_t *peer);

#endif
