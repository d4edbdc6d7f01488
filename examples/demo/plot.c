/* SPDX-License-Identifier: MIT
 *
 * plot.c - the files of report.h: the samples as CSV, and a plot of them by gnuplot
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basics.h"
#include "report.h"

static bool file_in(const char *dir, const char *name, FILE **out)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    errno = ENAMETOOLONG;
    *out = n > 0 && (size_t)n < sizeof path ? fopen(path, "we") : NULL;
    if (*out == NULL) {
        complain("cannot write %s: %s", path, strerror(errno));
    }
    return *out != NULL;
}

/* Closes the file, since only fclose tells whether the last bytes were written. Removes a file that is not whole. */
static bool finish_file(FILE *out, const char *dir, const char *name)
{
    bool failed = ferror(out) != 0;
    errno = failed ? ENOSPC : 0; /* the likely reason; the real one was lost with the write that failed */
    if (fclose(out) != 0 || failed) {
        char path[PATH_MAX];
        complain("cannot write %s/%s: %s", dir, name, strerror(errno));
        if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) < sizeof path) {
            (void)unlink(path);
        }
        return false;
    }
    return true;
}

typedef char csv_name_t[64];

/* Writes the name of a run without its commas. So it needs no quotes, which gnuplot does not understand in a CSV. */
static const char *csv_name(csv_name_t to, const char *name)
{
    size_t n = 0;
    for (; *name != '\0' && n + 1 < sizeof(csv_name_t); name++) {
        if (*name != ',') {
            to[n++] = *name;
        }
    }
    to[n] = '\0';
    return to;
}

static bool write_csv(const run_config_t *configs, const run_result_t *results, const char *dir)
{
    FILE *out;
    if (!file_in(dir, "demo.csv", &out)) {
        return false;
    }
    fprintf(out, "run,seconds,resident_bytes\n");
    for (int run = 0; run < REPORT_RUNS; run++) {
        csv_name_t name;
        csv_name(name, configs[run].name);
        for (size_t i = 0; i < results[run].sample_count; i++) {
            fprintf(out, "%s,%.3f,%zu\n", name, results[run].samples[i].seconds, results[run].samples[i].resident);
        }
    }
    return finish_file(out, dir, "demo.csv");
}

static const char *const colours[REPORT_RUNS] = {"#b0413e", "#3a6ea5", "#c98a1b", "#3f8f4f"};

/* One small panel of bars with their figures, one for each run. `values` are what the report's table says. */
static void write_bars(FILE *out, int panel, const char *title, const double values[REPORT_RUNS])
{
    double highest = 1;
    for (int run = 0; run < REPORT_RUNS; run++) {
        highest = values[run] > highest ? values[run] : highest;
    }
    fprintf(out, "set origin %.3f,0\nset title '%s'\nset yrange [0:%.0f]\nplot ", panel / 4.0, title, highest * 1.25);
    for (int run = 0; run < REPORT_RUNS; run++) {
        fprintf(out,
                "%s'+' every ::0::0 using (%d):(%.0f) with boxes fs solid lc rgb '%s', "
                "'+' every ::0::0 using (%d):(%.0f):('%.0f') with labels font ',10' offset 0,0.6",
                run == 0 ? "" : ", \\\n     ", run, values[run], colours[run], run, values[run], values[run]);
    }
    fprintf(out, "\n");
}

static void write_panels(FILE *out, const run_result_t *results)
{
    double rate[REPORT_RUNS];
    double p50[REPORT_RUNS];
    double p99[REPORT_RUNS];
    double after[REPORT_RUNS];
    for (int run = 0; run < REPORT_RUNS; run++) {
        const client_result_t *client = &results[run].client;
        rate[run] = (double)client->responses / (client->seconds + 1e-9);
        p50[run] = client->p50 * 1e3;
        p99[run] = client->p99 * 1e3;
        after[run] = (double)results[run].resident_after / 1048576;
    }
    fprintf(out, "unset key\nunset xlabel\nunset ylabel\nunset xtics\nunset ytics\nset border 1\n"
                 "set size 0.25,0.36\nset samples 2\nset boxwidth 0.8\nset xrange [-0.6:3.6]\n");
    write_bars(out, 0, "requests/s", rate);
    write_bars(out, 1, "latency, p50, ms", p50);
    write_bars(out, 2, "latency, p99, ms", p99);
    write_bars(out, 3, "MiB right after", after);
    fprintf(out, "unset multiplot\n");
}

static bool write_script(const run_config_t *configs, const run_result_t *results, const char *dir)
{
    FILE *out;
    if (!file_in(dir, "demo.gp", &out)) {
        return false;
    }
    fprintf(out,
            "# Draws demo.svg from demo.csv: gnuplot demo.gp\n"
            "set terminal svg size 860,680 dynamic font 'sans-serif,13' background '#ffffff'\n"
            "set encoding utf8\n"
            "set output 'demo.svg'\n"
            "set datafile separator ','\n"
            "set multiplot\n"
            "set origin 0,0.4\n"
            "set size 1,0.6\n"
            "set title 'Resident memory of the server: %u × %zu requests at once, then idle'\n"
            "set xlabel 'seconds'\n"
            "set ylabel 'MiB'\n"
            "set yrange [0:*]\n"
            "set grid ytics lc rgb '#dddddd'\n"
            "set border 3\n"
            "set tics nomirror\n"
            "set key outside bottom center horizontal\n"
            "plot ",
            configs[0].waves, configs[0].connections);
    for (int run = 0; run < REPORT_RUNS; run++) {
        csv_name_t name;
        fprintf(out,
                "%s'demo.csv' skip 1 using (strcol(1) eq '%s' ? $2 : NaN):($3/1048576) with lines lw 2 lc rgb '%s' "
                "title '%s'",
                run == 0 ? "" : ", \\\n     ", csv_name(name, configs[run].name), colours[run], configs[run].name);
    }
    fprintf(out, "\n");
    write_panels(out, results);
    return finish_file(out, dir, "demo.gp");
}

/* Returns the exit status of gnuplot, or 127 if it is not installed. It runs in dir, so the script needs no paths. */
static int run_gnuplot(const char *dir)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (chdir(dir) == 0) {
            execlp("gnuplot", "gnuplot", "demo.gp", (char *)NULL);
        }
        _exit(errno == ENOENT ? 127 : 126);
    }
    int status = -1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}

int report_files(const run_config_t configs[REPORT_RUNS], const run_result_t results[REPORT_RUNS], const char *dir)
{
    if (!write_csv(configs, results, dir) || !write_script(configs, results, dir)) {
        return 1;
    }
    printf("\nsamples: %s/demo.csv\n", dir);
    int status = run_gnuplot(dir);
    if (status == 0) {
        printf("plot:    %s/demo.svg\n", dir);
    } else if (status == 127) {
        printf("plot:    none, for gnuplot is not installed; \"gnuplot demo.gp\" draws it\n");
    } else {
        complain("gnuplot failed on %s/demo.gp", dir);
        return 1;
    }
    return 0;
}
