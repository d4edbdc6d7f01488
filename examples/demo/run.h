/* SPDX-License-Identifier: MIT
 *
 * run.h - one run of the load: a fresh server process, a fresh load generator, and their figures
 */
#ifndef DEMO_RUN_H
#define DEMO_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "client.h"
#include "scratch.h"

typedef struct run_config {
    const char *name;
    unsigned number, of; /* "2 of 4" */
    scratch_kind_t kind;
    size_t cap;    /* the pool's cap; 0 means none */
    size_t budget; /* the bytes that its buffers may take; 0 means no limit */
    int root_fd;
    size_t connections;
    size_t max_files; /* the limit on open files */
    unsigned waves;
    unsigned seconds; /* no wave begins later than this; 0 means no limit */
    unsigned workers;
} run_config_t;

typedef struct sample {
    double seconds; /* since the run began */
    size_t resident;
} sample_t;

/* The figures for resident memory are the server's, in bytes. */
typedef struct run_result {
    client_result_t client;
    scratch_counts_t server;
    uint64_t waited;        /* requests that had to wait for a buffer */
    size_t resident_before; /* all connections open, nothing asked yet */
    size_t resident_peak;
    size_t resident_after; /* right after the last response */
    size_t resident_idle;  /* after nothing has happened for a while */
    sample_t *samples;     /* the caller frees this */
    size_t sample_count;
    char first_wrong[256]; /* set if client.wrong is not 0 */
} run_result_t;

typedef enum run_outcome { RUN_OK, RUN_FAILED, RUN_INTERRUPTED } run_outcome_t;

/* Runs the load once. signal_fd is a signalfd, which becomes readable when the user wants an end. On return both
 * processes have ended, whatever the outcome. RUN_FAILED comes with a message. Wrong responses alone are no failure
 * here. */
run_outcome_t run_load(const run_config_t *config, int signal_fd, run_result_t *result);

#endif
