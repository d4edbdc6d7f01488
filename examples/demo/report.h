/* SPDX-License-Identifier: MIT
 *
 * report.h - the results of the runs: a table, a chart in the terminal, a CSV file and a plot
 */
#ifndef DEMO_REPORT_H
#define DEMO_REPORT_H

#include "run.h"

enum { REPORT_RUNS = 4 };

void report_table(const run_config_t configs[REPORT_RUNS], const run_result_t results[REPORT_RUNS]);

/* Draws resident memory over time, one panel a run, all to one scale. */
void report_chart(const run_config_t configs[REPORT_RUNS], const run_result_t results[REPORT_RUNS]);

/* Writes demo.csv and demo.gp into the directory, and also demo.svg if gnuplot is installed. Returns 0, or 1 with a
 * message. */
int report_files(const run_config_t configs[REPORT_RUNS], const run_result_t results[REPORT_RUNS], const char *dir);

#endif
