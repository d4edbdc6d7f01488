/* SPDX-License-Identifier: MIT
 *
 * progress.h - the line that says how far the run is. On a terminal the line is written again and again. Elsewhere only
 * the milestones are printed, one a line.
 */
#ifndef DEMO_PROGRESS_H
#define DEMO_PROGRESS_H

#include <stdbool.h>

void progress(bool milestone, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Removes the line. */
void progress_clear(void);

#endif
