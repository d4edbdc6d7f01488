/* SPDX-License-Identifier: MIT
 *
 * report.c - the table and the chart of report.h.
 */
#include "report.h"

#include <langinfo.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    CELL_WIDTH = 13,  /* of the table, at least */
    PANEL_WIDTH = 15, /* columns of the chart, for each run */
    PANEL_HEIGHT = 12 /* rows */
};

static const double mib = 1048576;

/* Writes 1234567 as "1,234,567". */
static const char *grouped(char *to, size_t size, uint64_t n)
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    size_t at = 0;
    for (int i = 0; i < length && at + 2 < size; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            to[at++] = ',';
        }
        to[at++] = digits[i];
    }
    to[at] = '\0';
    return to;
}

typedef enum row_kind {
    ROW_REQUESTS_PER_SECOND,
    ROW_P50,
    ROW_P99,
    ROW_MOST_OUT,
    ROW_BEYOND,
    ROW_BUDGET,
    ROW_WAITED,
    ROW_BEFORE,
    ROW_PEAK,
    ROW_AFTER,
    ROW_IDLE,
    ROW_RESPONSES,
    ROW_WRONG,
    ROW_COUNT
} row_kind_t;

static const char *const row_names[ROW_COUNT] = {
    [ROW_REQUESTS_PER_SECOND] = "requests/s",
    [ROW_P50] = "latency, p50",
    [ROW_P99] = "latency, p99",
    [ROW_MOST_OUT] = "most buffers out at once",
    [ROW_BEYOND] = "made beyond the cap",
    [ROW_BUDGET] = "most of the budget used",
    [ROW_WAITED] = "requests that waited",
    [ROW_BEFORE] = "resident before the load",
    [ROW_PEAK] = "resident, peak",
    [ROW_AFTER] = "resident after the load",
    [ROW_IDLE] = "resident when idle again",
    [ROW_RESPONSES] = "responses compared",
    [ROW_WRONG] = "responses wrong",
};

static void print_cell(row_kind_t row, const run_config_t *config, const run_result_t *result, int width)
{
    char text[48];
    char number[32];
    const client_result_t *client = &result->client;
    switch (row) {
    case ROW_REQUESTS_PER_SECOND:
        grouped(text, sizeof text, (uint64_t)((double)client->responses / (client->seconds + 1e-9)));
        break;
    case ROW_P50:
        snprintf(text, sizeof text, "%.0f ms", client->p50 * 1e3);
        break;
    case ROW_P99:
        snprintf(text, sizeof text, "%.0f ms", client->p99 * 1e3);
        break;
    case ROW_MOST_OUT:
        grouped(text, sizeof text, result->server.most_out);
        break;
    case ROW_BEYOND:
        snprintf(text, sizeof text, "%s",
                 config->cap == 0 ? "-" : grouped(number, sizeof number, result->server.beyond));
        break;
    case ROW_BUDGET:
        snprintf(text, sizeof text, config->budget == 0 ? "-" : "%.1f MiB", (double)result->server.most_used / mib);
        break;
    case ROW_WAITED:
        snprintf(text, sizeof text, "%s",
                 config->kind == SCRATCH_MALLOC ? "-" : grouped(number, sizeof number, result->waited));
        break;
    case ROW_BEFORE:
        snprintf(text, sizeof text, "%.1f MiB", (double)result->resident_before / mib);
        break;
    case ROW_PEAK:
        snprintf(text, sizeof text, "%.1f MiB", (double)result->resident_peak / mib);
        break;
    case ROW_AFTER:
        snprintf(text, sizeof text, "%.1f MiB", (double)result->resident_after / mib);
        break;
    case ROW_IDLE:
        snprintf(text, sizeof text, "%.1f MiB", (double)result->resident_idle / mib);
        break;
    case ROW_RESPONSES:
        grouped(text, sizeof text, client->responses);
        break;
    default:
        grouped(text, sizeof text, client->wrong);
        break;
    }
    printf(" %*s", width, text);
}

/* Returns the part of a run's name that stands on the given line. The names stand on two lines, broken after the first
 * comma, so that the table is 80 columns wide. */
static const char *name_line(const char *name, int line, int *length)
{
    const char *rest = strstr(name, ", ");
    const char *part = line == 0 ? name : rest != NULL ? rest + 2 : "";
    *length = (int)(line == 0 && rest != NULL ? (size_t)(rest - name) : strlen(part));
    return part;
}

static int cell_width(const run_config_t *configs)
{
    int width = CELL_WIDTH;
    for (int run = 0; run < REPORT_RUNS; run++) {
        int length;
        for (int line = 0; line < 2; line++) {
            name_line(configs[run].name, line, &length);
            width = length > width ? length : width;
        }
    }
    return width;
}

static bool any_budget(const run_config_t *configs)
{
    bool any = false;
    for (int run = 0; run < REPORT_RUNS; run++) {
        any = any || configs[run].budget != 0;
    }
    return any;
}

static void print_budget(const run_config_t *config, const run_result_t *result)
{
    printf("%s: buffers took %.1f MiB at most; meanwhile resident memory rose by %.1f MiB, from the\n"
           "%.1f MiB that the program itself had with all connections open.\n",
           config->name, (double)result->server.most_used / mib,
           ((double)result->resident_peak - (double)result->resident_before) / mib,
           (double)result->resident_before / mib);
}

void report_table(const run_config_t configs[REPORT_RUNS], const run_result_t results[REPORT_RUNS])
{
    int width = cell_width(configs);
    for (int line = 0; line < 2; line++) {
        printf("\n%-24s", "");
        for (int run = 0; run < REPORT_RUNS; run++) {
            int length;
            const char *part = name_line(configs[run].name, line, &length);
            printf(" %*.*s", width, length, part);
        }
    }
    printf("\n");
    for (int row = 0; row < ROW_COUNT; row++) {
        if (row == ROW_BUDGET && !any_budget(configs)) {
            continue;
        }
        printf("%-24s", row_names[row]);
        for (int run = 0; run < REPORT_RUNS; run++) {
            print_cell((row_kind_t)row, &configs[run], &results[run], width);
        }
        printf("\n");
    }
    printf("Each response was compared with its file, byte by byte; there were %llu different files.\n",
           (unsigned long long)results[0].client.files);
    for (int run = 0; run < REPORT_RUNS; run++) {
        if (results[run].client.waves < configs[run].waves) {
            printf("%s: only %u of %u waves, for the whole is to take less than a minute\n", configs[run].name,
                   results[run].client.waves, configs[run].waves);
        }
        if (configs[run].budget != 0) {
            print_budget(&configs[run], &results[run]);
        }
        if (results[run].client.changed > 0) {
            printf("%s: %llu responses are not counted as wrong: somebody changed the files during the run\n",
                   configs[run].name, (unsigned long long)results[run].client.changed);
        }
    }
}

/* Returns the least of 1, 2, 3, 4, 5, 8, 10, 20, 30 ... that is not below x. */
static double round_up(double x)
{
    double step = 1;
    for (;;) {
        static const double factors[] = {1, 2, 3, 4, 5, 8};
        for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
            if (step * factors[i] >= x) {
                return step * factors[i];
            }
        }
        step *= 10;
    }
}

/* Fills each column with the highest sample of its stretch of time, or with 0 if the run was over by then. */
static void fill_columns(const run_result_t *result, double seconds, double columns[PANEL_WIDTH])
{
    size_t at = 0;
    double last = 0;
    for (int column = 0; column < PANEL_WIDTH; column++) {
        double begin = seconds * column / PANEL_WIDTH;
        double end = seconds * (column + 1) / PANEL_WIDTH;
        bool over = result->sample_count == 0 || result->samples[result->sample_count - 1].seconds < begin;
        double highest = over ? 0 : last;
        bool first = true;
        for (; at < result->sample_count && result->samples[at].seconds < end; at++) {
            last = (double)result->samples[at].resident / mib;
            highest = first || last > highest ? last : highest;
            first = false;
        }
        columns[column] = highest;
    }
}

/* `level` says how far the column fills this cell, from 0 (not at all) to 1 (wholly). */
static const char *cell(double level, bool utf8)
{
    static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    if (!utf8) {
        return level >= 0.75 ? "#" : level >= 0.25 ? ":" : level > 0 ? "." : " ";
    }
    int eighths = (int)(level * 8 + 0.5);
    return blocks[eighths < 0 ? 0 : eighths > 8 ? 8 : eighths == 0 && level > 0 ? 1 : eighths];
}

// NOLINTNEXTLINE(readability-function-cognitive-complexity): it draws one thing after the other
void report_chart(const run_config_t configs[REPORT_RUNS], const run_result_t results[REPORT_RUNS])
{
    bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    double columns[REPORT_RUNS][PANEL_WIDTH];
    double highest = 1;
    double seconds = 0.1;
    for (int run = 0; run < REPORT_RUNS; run++) {
        size_t n = results[run].sample_count;
        if (n > 0 && results[run].samples[n - 1].seconds > seconds) {
            seconds = results[run].samples[n - 1].seconds;
        }
    }
    for (int run = 0; run < REPORT_RUNS; run++) {
        fill_columns(&results[run], seconds, columns[run]);
        for (int column = 0; column < PANEL_WIDTH; column++) {
            highest = columns[run][column] > highest ? columns[run][column] : highest;
        }
    }
    double top = round_up(highest);
    printf("\nresident memory of the server over time\n");
    for (int line = 0; line < 2; line++) {
        printf("\n%8s ", line == 0 ? "" : "MiB");
        for (int run = 0; run < REPORT_RUNS; run++) {
            int length;
            const char *part = name_line(configs[run].name, line, &length);
            printf("  %-*.*s", PANEL_WIDTH, length < PANEL_WIDTH ? length : PANEL_WIDTH, part);
        }
    }
    printf("\n");
    for (int row = PANEL_HEIGHT - 1; row >= 0; row--) {
        bool label = row == PANEL_HEIGHT - 1 || row == PANEL_HEIGHT / 2 - 1;
        char text[16] = "";
        if (label) {
            snprintf(text, sizeof text, "%.0f", top * (row + 1) / PANEL_HEIGHT);
        }
        printf("%8s ", text);
        for (int run = 0; run < REPORT_RUNS; run++) {
            printf(" %s", utf8 ? (label ? "┤" : "│") : label ? "+" : "|");
            for (int column = 0; column < PANEL_WIDTH; column++) {
                double level = columns[run][column] / top * PANEL_HEIGHT - row;
                fputs(cell(level < 0 ? 0 : level, utf8), stdout);
            }
        }
        printf("\n");
    }
    printf("       0 ");
    for (int run = 0; run < REPORT_RUNS; run++) {
        printf(" %s", utf8 ? "└" : "+");
        for (int column = 0; column < PANEL_WIDTH; column++) {
            fputs(utf8 ? "─" : "-", stdout);
        }
    }
    char end[16];
    snprintf(end, sizeof end, "%.1f s", seconds);
    printf("\n         ");
    for (int run = 0; run < REPORT_RUNS; run++) {
        printf("  0%*s", PANEL_WIDTH - 1, end);
    }
    printf("\n");
}
