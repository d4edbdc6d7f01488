/* SPDX-License-Identifier: MIT
 *
 * run.c - see run.h.
 *
 * The parent forks both processes before it has anything of its own in memory. From then on it only watches: it reads
 * the server's resident memory every 50 ms, and the load generator's messages. Each child has two pipes. It ends when
 * its control pipe is closed, so no child is left behind even if the parent is killed. It reports on the other pipe.
 * The children inherit blocked signals, so Ctrl-C reaches them through the parent, in the right order.
 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basics.h"
#include "progress.h"
#include "server.h"

enum {
    SAMPLE_MS = 50,
    IDLE_MS = 2500,    /* how long to watch after the last response: longer than two periods of RECLAIM_MS */
    END_MS = 30000,    /* how long a child may take to end */
    SEND_BUFFER = 2304 /* small, so that an unread response stays in its scratch buffer */
};

typedef struct child {
    pid_t pid;
    int control; /* closing it ends the child */
    int report;
} child_t;

typedef struct run {
    const run_config_t *config;
    run_result_t *result;
    int signal_fd;
    child_t server, client;
    uint64_t began;
    uint64_t next_sample;
    uint64_t over_at; /* 0 while the load is on */
    size_t resident;  /* the latest sample */
    size_t sample_room;
} run_t;

static uint64_t ms(unsigned n)
{
    return (uint64_t)n * 1000000u;
}

/* Returns the number of KiB behind `field` in a file of /proc, converted to bytes, or 0 if the field is not there. */
static size_t proc_field(pid_t pid, const char *file, const char *field)
{
    char path[64];
    char line[256];
    size_t kib = 0;
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    FILE *in = fopen(path, "re");
    while (in != NULL && fgets(line, sizeof line, in) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0) {
            kib = strtoul(line + strlen(field), NULL, 10);
            break;
        }
    }
    if (in != NULL) {
        fclose(in);
    }
    return kib * 1024;
}

/* This is exact, but walks the page tables of the process. The samples use statm, which may lag behind by some
 * pages. */
static size_t resident_exactly(const run_t *run)
{
    size_t bytes = proc_field(run->server.pid, "smaps_rollup", "Rss:");
    return bytes != 0 ? bytes : run->resident;
}

static void take_sample(run_t *run)
{
    char path[64];
    unsigned long long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)run->server.pid);
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        return;
    }
    // NOLINTNEXTLINE(cert-err34-c): the kernel writes a number that fits
    if (fscanf(in, "%*u %llu", &pages) == 1) {
        run->resident = (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
    }
    fclose(in);
    run_result_t *result = run->result;
    if (result->sample_count == run->sample_room) {
        size_t room = run->sample_room == 0 ? 512 : 2 * run->sample_room;
        sample_t *samples = realloc(result->samples, room * sizeof *samples);
        if (samples == NULL) {
            return;
        }
        result->samples = samples;
        run->sample_room = room;
    }
    sample_t sample = {.seconds = (double)(now_ns() - run->began) / 1e9, .resident = run->resident};
    result->samples[result->sample_count++] = sample;
    if (run->resident > result->resident_peak) {
        result->resident_peak = run->resident;
    }
}

/* The server's report at its end. */
typedef struct server_report {
    scratch_counts_t counts;
    uint64_t waited;
} server_report_t;

static int server_process(const run_config_t *config, int listen_fd, int control_fd, int report_fd)
{
    scratch_t *scratch = scratch_create(config->kind, config->cap, config->budget);
    if (scratch == NULL) {
        close(listen_fd);
        return 1;
    }
    server_config_t server = {.root_fd = config->root_fd,
                              .listen_fd = listen_fd,
                              .workers = config->workers,
                              .max_files = config->max_files,
                              .scratch = scratch};
    server_report_t report = {0};
    int failed = server_run(&server, control_fd, &report.waited);
    if (scratch_destroy(scratch, &report.counts) != 0) {
        failed = 1;
    }
    write_whole(report_fd, &report, sizeof report);
    return failed;
}

/* Forks. child->pid is 0 in the child. In either process `control` and `report` are its own ends of the pipes. Returns
 * false, with a message, if there is no child. */
static bool fork_child(child_t *child)
{
    int control[2];
    int report[2];
    child->pid = -1;
    child->control = child->report = -1;
    if (pipe2(control, O_CLOEXEC) != 0) {
        complain("cannot make a pipe: %s", strerror(errno));
        return false;
    }
    if (pipe2(report, O_CLOEXEC) != 0) {
        complain("cannot make a pipe: %s", strerror(errno));
        close(control[0]);
        close(control[1]);
        return false;
    }
    fflush(NULL);
    child->pid = fork();
    bool inside = child->pid == 0;
    child->control = control[inside ? 0 : 1];
    child->report = report[inside ? 1 : 0];
    close(control[inside ? 1 : 0]);
    close(report[inside ? 0 : 1]);
    if (child->pid < 0) {
        complain("cannot start a process: %s", strerror(errno));
    }
    return child->pid >= 0;
}

static void close_ends(child_t *child)
{
    if (child->control >= 0) {
        close(child->control);
    }
    if (child->report >= 0) {
        close(child->report);
    }
    child->control = child->report = -1;
}

/* How many responses begin before the client reads any: all, or those that have buffers in any case. */
static size_t begun_first(const run_config_t *config)
{
    bool waits = config->kind == SCRATCH_POOL_BLOCKING || config->kind == SCRATCH_POOL_WAITING;
    size_t buffers = config->budget != 0 ? scratch_least_buffers(config->budget) : config->cap;
    return waits && buffers < config->connections ? buffers : config->connections;
}

static bool start(run_t *run)
{
    const run_config_t *config = run->config;
    uint16_t port = 0;
    int listen_fd = server_listen(&port, SEND_BUFFER);
    if (listen_fd < 0) {
        complain("cannot listen on 127.0.0.1: %s", strerror(errno));
        return false;
    }
    bool ok = fork_child(&run->server);
    if (ok && run->server.pid == 0) {
        close(run->signal_fd);
        exit(server_process(config, listen_fd, run->server.control, run->server.report));
    }
    close(listen_fd);
    ok = ok && fork_child(&run->client);
    if (ok && run->client.pid == 0) {
        /* The server's control pipe must have only one writer. */
        close_ends(&run->server);
        close(run->signal_fd);
        client_config_t client = {.root_fd = config->root_fd,
                                  .port = port,
                                  .connections = config->connections,
                                  .begun_first = begun_first(config),
                                  .waves = config->waves,
                                  .seconds = config->seconds};
        exit(client_run(&client, run->client.control, run->client.report));
    }
    return ok;
}

/* Ends the child and waits for it. Returns false if it did not end well. */
static bool end_child(child_t *child)
{
    int status = 0;
    if (child->control >= 0) {
        close(child->control);
        child->control = -1;
    }
    if (child->pid > 0) {
        pid_t got = 0;
        for (unsigned waited = 0; waited < END_MS && (got = waitpid(child->pid, &status, WNOHANG)) == 0; waited += 5) {
            usleep(5000);
        }
        if (got == 0) {
            kill(child->pid, SIGKILL);
            waitpid(child->pid, &status, 0);
        }
        child->pid = -1;
    }
    close_ends(child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void show(const run_t *run, const client_message_t *message, bool milestone)
{
    const run_config_t *config = run->config;
    double mib = (double)run->resident / 1048576;
    if (message->kind == CLIENT_CONNECTING) {
        progress(milestone, "[%u/%u] %s: %llu connections", config->number, config->of, config->name,
                 (unsigned long long)message->done);
    } else if (message->kind == CLIENT_WAVE) {
        progress(milestone, "[%u/%u] %s: wave %u of %u, %llu of %llu responses, %.0f MiB resident", config->number,
                 config->of, config->name, message->wave, config->waves, (unsigned long long)message->done,
                 (unsigned long long)config->connections * config->waves, mib);
    } else if (message->kind == CLIENT_DONE) {
        progress(milestone, "[%u/%u] %s: %llu responses; idle now, %.0f MiB resident", config->number, config->of,
                 config->name, (unsigned long long)message->result.responses, mib);
    }
}

/* Returns false if the run failed. */
static bool on_message(run_t *run, const client_message_t *message)
{
    run_result_t *result = run->result;
    switch (message->kind) {
    case CLIENT_CONNECTED:
        result->resident_before = resident_exactly(run);
        progress(true, "[%u/%u] %s: %zu connections are open", run->config->number, run->config->of, run->config->name,
                 run->config->connections);
        return write_whole(run->client.control, "g", 1);
    case CLIENT_DONE:
        take_sample(run);
        result->resident_after = resident_exactly(run);
        result->client = message->result;
        memcpy(result->first_wrong, message->text, sizeof result->first_wrong);
        run->over_at = now_ns() + ms(IDLE_MS);
        show(run, message, true);
        return true;
    case CLIENT_FAILED:
        progress_clear();
        complain("%s", message->text);
        return false;
    default:
        show(run, message, false);
        return true;
    }
}

static int until_next_sample(const run_t *run)
{
    uint64_t now = now_ns();
    return now >= run->next_sample ? 0 : (int)((run->next_sample - now) / 1000000u) + 1;
}

static run_outcome_t look_on(run_t *run)
{
    struct pollfd fds[3] = {{.fd = run->signal_fd, .events = POLLIN},
                            {.fd = run->server.report, .events = POLLIN},
                            {.fd = run->client.report, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 3, until_next_sample(run)) < 0 && errno != EINTR) {
            complain("poll: %s", strerror(errno));
            return RUN_FAILED;
        }
        if (fds[0].revents != 0) {
            return RUN_INTERRUPTED;
        }
        if (fds[1].revents != 0) {
            progress_clear();
            complain("the server ended before its time");
            return RUN_FAILED;
        }
        if (fds[2].revents != 0) {
            client_message_t message;
            if (!read_whole(run->client.report, &message, sizeof message)) {
                progress_clear();
                complain("the load generator ended before its time");
                return RUN_FAILED;
            }
            if (!on_message(run, &message)) {
                return RUN_FAILED;
            }
        }
        uint64_t now = now_ns();
        if (now >= run->next_sample) {
            take_sample(run);
            run->next_sample = now + ms(SAMPLE_MS);
        }
        if (run->over_at != 0 && now >= run->over_at) {
            return RUN_OK;
        }
    }
}

run_outcome_t run_load(const run_config_t *config, int signal_fd, run_result_t *result)
{
    memset(result, 0, sizeof *result);
    run_t run = {.config = config, .result = result, .signal_fd = signal_fd, .began = now_ns()};
    run.server = run.client = (child_t){.pid = -1, .control = -1, .report = -1};
    run_outcome_t outcome = start(&run) ? look_on(&run) : RUN_FAILED;
    if (outcome == RUN_OK) {
        result->resident_idle = resident_exactly(&run);
        size_t peak = proc_field(run.server.pid, "status", "VmHWM:");
        result->resident_peak = peak > result->resident_peak ? peak : result->resident_peak;
    }
    bool client_ok = end_child(&run.client);
    if (run.server.control >= 0) {
        close(run.server.control);
        run.server.control = -1;
    }
    server_report_t report = {0};
    bool counted = outcome == RUN_OK && read_whole(run.server.report, &report, sizeof report);
    result->server = report.counts;
    result->waited = report.waited;
    bool server_ok = end_child(&run.server);
    if (outcome == RUN_OK && !(client_ok && counted && server_ok)) {
        complain("%s did not end as it should", client_ok ? "the server" : "the load generator");
        outcome = RUN_FAILED;
    }
    if (outcome == RUN_INTERRUPTED && !server_ok) {
        complain("the server did not end as it should");
        outcome = RUN_FAILED;
    }
    return outcome;
}
