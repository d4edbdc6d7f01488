/* SPDX-License-Identifier: MIT
 *
 * client.h - the load generator, a process of its own: thousands of persistent connections that all ask at once, in
 * waves, and read slowly
 */
#ifndef DEMO_CLIENT_H
#define DEMO_CLIENT_H

#include <stddef.h>
#include <stdint.h>

typedef struct client_config {
    int root_fd; /* the directory that the server serves */
    uint16_t port;
    size_t connections;
    size_t begun_first; /* in each wave nothing is read until so many responses have begun */
    unsigned waves;
    unsigned seconds; /* no wave begins later than this; 0 means no limit */
} client_config_t;

typedef struct client_result {
    uint64_t responses;
    uint64_t bytes;   /* of bodies */
    uint64_t wrong;   /* responses that differ from the file, or that never came */
    uint64_t changed; /* responses that differ from the file because somebody changed the file after the start */
    uint64_t files;   /* number of different files */
    unsigned waves;   /* number of waves that were run */
    double seconds;   /* in the waves, without the pauses between them */
    double p50;       /* seconds from the request to the last byte of the response */
    double p99;
} client_result_t;

typedef enum client_kind {
    CLIENT_CONNECTING,
    CLIENT_CONNECTED, /* all connections are open; the client waits for one byte on the control pipe before it asks */
    CLIENT_WAVE,
    CLIENT_DONE,  /* `result` is set; the connections stay open until the control pipe is closed */
    CLIENT_FAILED /* `text` says why */
} client_kind_t;

/* The message that the load generator sends on the report pipe, now and then. Each is written by one write. */
typedef struct client_message {
    client_kind_t kind;
    unsigned wave; /* from 1 */
    uint64_t done; /* connections that are open, or responses so far */
    client_result_t result;
    char text[256]; /* with CLIENT_DONE: about the first wrong response, if there is one */
} client_message_t;

/* Runs the load. Ends early, with 0, when the control pipe is closed. Returns the exit status. */
int client_run(const client_config_t *config, int control_fd, int report_fd);

#endif
