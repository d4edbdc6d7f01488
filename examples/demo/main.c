/* SPDX-License-Identifier: MIT
 *
 * bufferpool-demo - shows what a pool of scratch buffers does for a server
 *
 * The same load runs four times: with malloc and free per request, with a pool whose cap gets may go beyond, with one
 * at whose cap threads block, and with one at whose cap requests wait and no thread does. main.c reads the arguments,
 * and runs the loads one after the other, or only serves. The parts:
 *
 *     server.c response.c http.c    the server
 *     scratch.c                     its scratch memory, where the library is called
 *     client.c peer.c manifest.c    the load generator
 *     run.c                         runs both as processes, and measures the server's memory
 *     report.c plot.c progress.c    what the user sees
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basics.h"
#include "progress.h"
#include "report.h"
#include "run.h"
#include "server.h"

#ifndef DEMO_ROOT
#define DEMO_ROOT "."
#endif

enum {
    EXIT_USAGE = 2,
    WAVES = 5,
    WAVES_SECONDS = 8,  /* unless --waves is given, since a slow or busy machine gets through fewer in each run */
    FILES_BESIDE = 128, /* open files that are neither connections nor served; in either process */
    MIB = 1024 * 1024,
    BUDGET_MAX = 2047 /* MiB, so that the bytes fit into a size_t everywhere */
};

typedef struct options {
    const char *root;
    const char *out;
    unsigned long connections, waves, cap, workers; /* waves is 0 if not given */
    unsigned long budget;                           /* MiB; 0 if not given */
    unsigned long port;
    bool serve;
    scratch_kind_t kind; /* with serve */
} options_t;

static void print_help(void)
{
    printf("Usage: " PROGRAM " [OPTION]...\n"
           "Runs an HTTP server under the same load four times: with malloc and free per request, with a pool\n"
           "that goes beyond its cap, with one at whose cap threads block, and with one at whose cap requests\n"
           "wait and no thread does; and shows what each costs.\n"
           "\n"
           "  --root DIR        serve the files beneath DIR (the project's own tree)\n"
           "  --connections N   that many connections ask at once (10000)\n"
           "  --waves N         that many times (5, or as many as begin in 8 seconds)\n"
           "  --cap N           the cap of the pools, in buffers (256)\n"
           "  --budget MIB      limits the memory of all buffers together, in the last run or with --serve,\n"
           "                    in place of the cap: requests wait for bytes, and no thread does\n"
           "  --workers N       threads of the server (one per core)\n"
           "  --out DIR         where demo.csv, demo.gp and demo.svg go (.)\n"
           "  --serve PORT      only serve, on 127.0.0.1, until interrupted; 0: any free port\n"
           "  --wait            with --serve: requests wait at the cap instead of going beyond it\n"
           "  --block           the same, but threads block while they have nothing else to do\n"
           "  --help            this text\n"
           "\n"
           "Exit status: 0; 1 for a failure, a wrong response included; 2 for bad arguments; 128 and the number\n"
           "of the signal when the load was interrupted.\n");
}

static bool parse_number(const char *option, const char *text, unsigned long least, unsigned long most,
                         unsigned long *number)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n < least || n > most) {
        complain("--%s: \"%s\" is not a number from %lu to %lu", option, text, least, most);
        return false;
    }
    *number = n;
    return true;
}

/* Takes an option that is known. Returns false, with a message, if its value is of no use. */
static bool set_option(int option, options_t *options)
{
    bool ok = true;
    switch (option) {
    case 'r':
        options->root = optarg;
        break;
    case 'o':
        options->out = optarg;
        break;
    case 'c':
        ok = parse_number("connections", optarg, 1, 100000, &options->connections);
        break;
    case 'n':
        ok = parse_number("waves", optarg, 1, 1000, &options->waves);
        break;
    case 'm':
        ok = parse_number("cap", optarg, 1, 1000000, &options->cap);
        break;
    case 'w':
        ok = parse_number("workers", optarg, 1, 256, &options->workers);
        break;
    case 's':
        ok = parse_number("serve", optarg, 0, 65535, &options->port);
        options->serve = true;
        break;
    case 'g':
        ok = parse_number("budget", optarg, 1, BUDGET_MAX, &options->budget);
        break;
    case 'a':
        options->kind = SCRATCH_POOL_WAITING;
        break;
    case 'b':
        options->kind = SCRATCH_POOL_BLOCKING;
        break;
    default:
        break;
    }
    return ok;
}

/* Whether the options go together; with a message, if not. */
static bool check_options(options_t *options)
{
    if (options->budget != 0 && options->kind == SCRATCH_POOL_BLOCKING) {
        complain("--budget and --block do not go together: for bytes of a budget requests wait, and threads do not");
        return false;
    }
    if (options->budget != 0) {
        options->kind = SCRATCH_POOL_WAITING;
    }
    return true;
}

/* Returns 0 to go on, otherwise the exit status plus one. */
static int parse_options(int argc, char **argv, options_t *options)
{
    static const struct option known[] = {
        {"root", required_argument, NULL, 'r'},    {"connections", required_argument, NULL, 'c'},
        {"waves", required_argument, NULL, 'n'},   {"cap", required_argument, NULL, 'm'},
        {"workers", required_argument, NULL, 'w'}, {"out", required_argument, NULL, 'o'},
        {"serve", required_argument, NULL, 's'},   {"budget", required_argument, NULL, 'g'},
        {"wait", no_argument, NULL, 'a'},          {"block", no_argument, NULL, 'b'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
    };
    bool ok = true;
    opterr = 0;
    for (int c; ok && (c = getopt_long(argc, argv, ":", known, NULL)) != -1;) {
        switch (c) {
        case 'h':
            print_help();
            return 1 + EXIT_SUCCESS;
        case ':':
            complain("%s needs a value; try --help", argv[optind - 1]);
            return 1 + EXIT_USAGE;
        case '?':
            complain("unknown option %s; try --help", argv[optind - 1]);
            return 1 + EXIT_USAGE;
        default:
            ok = set_option(c, options);
            break;
        }
    }
    if (ok && optind < argc) {
        complain("unexpected argument \"%s\"; try --help", argv[optind]);
        ok = false;
    }
    ok = ok && check_options(options);
    return ok ? 0 : 1 + EXIT_USAGE;
}

/* From now on SIGINT, SIGTERM and SIGHUP come as bytes on a descriptor, in every thread and child. */
static int catch_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static int serve(const options_t *options, int root_fd, int signal_fd)
{
    uint16_t port = (uint16_t)options->port;
    int listen_fd = server_listen(&port, 0);
    if (listen_fd < 0) {
        complain("cannot listen on 127.0.0.1:%lu: %s", options->port, strerror(errno));
        return EXIT_FAILURE;
    }
    size_t budget = (size_t)options->budget * MIB;
    scratch_t *scratch = scratch_create(options->kind, budget == 0 ? options->cap : 0, budget);
    if (scratch == NULL) {
        close(listen_fd);
        return EXIT_FAILURE;
    }
    printf("serving %s on http://127.0.0.1:%u/\n", options->root, (unsigned)port);
    fflush(stdout);
    server_config_t config = {.root_fd = root_fd,
                              .listen_fd = listen_fd,
                              .workers = (unsigned)options->workers,
                              .max_files = raise_open_files(4096 + scratch_most_buffers(budget)),
                              .scratch = scratch};
    uint64_t waited;
    int failed = server_run(&config, signal_fd, &waited);
    scratch_counts_t counts = {0};
    if (scratch_destroy(scratch, &counts) != 0) {
        failed = 1;
    }
    if (failed == 0) {
        printf("\nserved %llu requests, of which %llu had to wait; every buffer came back\n",
               (unsigned long long)counts.gets, (unsigned long long)waited);
    }
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Returns as many connections as the limit on open files allows, or 0, with a message, if that is none. */
static size_t fit_connections(size_t wanted, size_t beside, size_t *max_files)
{
    *max_files = raise_open_files(wanted + beside);
    if (*max_files >= wanted + beside) {
        return wanted;
    }
    size_t possible = *max_files > beside ? *max_files - beside : 0;
    if (possible == 0) {
        complain("the limit on open files is %zu and cannot be raised; at least %zu are needed", *max_files,
                 beside + 1);
    } else {
        complain("the limit on open files is %zu and cannot be raised: %zu connections instead of %zu", *max_files,
                 possible, wanted);
    }
    return possible;
}

static int interrupted(int signal_fd)
{
    struct signalfd_siginfo info;
    int number = SIGINT;
    if (read(signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        number = (int)info.ssi_signo;
    }
    complain("interrupted");
    return 128 + number;
}

static int show_results(const options_t *options, const run_config_t *configs, const run_result_t *results)
{
    report_table(configs, results);
    report_chart(configs, results);
    int status = report_files(configs, results, options->out) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    for (int i = 0; i < REPORT_RUNS; i++) {
        if (results[i].client.wrong > 0) {
            complain("%s: %llu responses are wrong; the first: %s", configs[i].name,
                     (unsigned long long)results[i].client.wrong, results[i].first_wrong);
            status = EXIT_FAILURE;
        }
    }
    return status;
}

/* The runs, in the table's order. They differ only in the scratch memory. */
static void set_runs(const options_t *options, const run_config_t *base, run_config_t configs[REPORT_RUNS],
                     char names[REPORT_RUNS][40])
{
    static const scratch_kind_t kinds[REPORT_RUNS] = {SCRATCH_MALLOC, SCRATCH_POOL, SCRATCH_POOL_BLOCKING,
                                                      SCRATCH_POOL_WAITING};
    static const char *const ways[REPORT_RUNS] = {"", "beyond", "block", "wait"};
    for (int i = 0; i < REPORT_RUNS; i++) {
        configs[i] = *base;
        configs[i].name = names[i];
        configs[i].kind = kinds[i];
        if (kinds[i] == SCRATCH_MALLOC) {
            snprintf(names[i], sizeof names[i], "malloc/free");
        } else if (kinds[i] == SCRATCH_POOL_WAITING && options->budget != 0) {
            configs[i].budget = (size_t)options->budget * MIB;
            snprintf(names[i], sizeof names[i], "budget %lu MiB, %s", options->budget, ways[i]);
        } else {
            configs[i].cap = options->cap;
            snprintf(names[i], sizeof names[i], "cap %lu, %s", options->cap, ways[i]);
        }
    }
}

/* Open files that are no connections, in either process. With a budget each response may have its file open. */
static size_t files_beside(const options_t *options)
{
    size_t most = scratch_most_buffers((size_t)options->budget * MIB);
    return FILES_BESIDE + (most < options->connections ? most : options->connections);
}

static int run_demo(const options_t *options, int root_fd, int signal_fd)
{
    if (access(options->out, W_OK | X_OK) != 0) {
        complain("cannot write into %s: %s", options->out, strerror(errno));
        return EXIT_FAILURE;
    }
    run_config_t base = {.of = REPORT_RUNS,
                         .root_fd = root_fd,
                         .waves = options->waves != 0 ? (unsigned)options->waves : WAVES,
                         .seconds = options->waves != 0 ? 0 : WAVES_SECONDS,
                         .workers = (unsigned)options->workers};
    base.connections = fit_connections(options->connections, files_beside(options), &base.max_files);
    if (base.connections == 0) {
        return EXIT_FAILURE;
    }
    char names[REPORT_RUNS][40];
    run_config_t configs[REPORT_RUNS];
    set_runs(options, &base, configs, names);
    printf("%zu connections, %u waves, %u workers, files beneath %s\n", base.connections, base.waves, base.workers,
           options->root);
    run_result_t results[REPORT_RUNS];
    memset(results, 0, sizeof results);
    run_outcome_t outcome = RUN_OK;
    for (unsigned i = 0; i < REPORT_RUNS && outcome == RUN_OK; i++) {
        configs[i].number = i + 1;
        outcome = run_load(&configs[i], signal_fd, &results[i]);
    }
    progress_clear();
    int status = outcome == RUN_OK            ? show_results(options, configs, results)
                 : outcome == RUN_INTERRUPTED ? interrupted(signal_fd)
                                              : EXIT_FAILURE;
    for (int i = 0; i < REPORT_RUNS; i++) {
        free(results[i].samples);
    }
    return status;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    options_t options = {.root = DEMO_ROOT,
                         .out = ".",
                         .connections = 10000,
                         .cap = 256,
                         .kind = SCRATCH_POOL,
                         .workers = cores > 0 && cores <= 256 ? (unsigned long)cores : 1};
    int parsed = parse_options(argc, argv, &options);
    if (parsed != 0) {
        return parsed - 1;
    }
    int root_fd = open(options.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0) {
        complain("cannot open the directory %s: %s", options.root, strerror(errno));
        return EXIT_FAILURE;
    }
    int signal_fd = catch_signals();
    if (signal_fd < 0) {
        complain("cannot catch signals: %s", strerror(errno));
        close(root_fd);
        return EXIT_FAILURE;
    }
    int status = options.serve ? serve(&options, root_fd, signal_fd) : run_demo(&options, root_fd, signal_fd);
    close(signal_fd);
    close(root_fd);
    if (fflush(stdout) != 0) {
        status = status == EXIT_SUCCESS ? EXIT_FAILURE : status;
    }
    return status;
}
