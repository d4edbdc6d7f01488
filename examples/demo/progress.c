/* SPDX-License-Identifier: MIT
 *
 * progress.c - see progress.h.
 */
#include "progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static bool shown;

void progress(bool milestone, const char *format, ...)
{
    bool terminal = isatty(STDOUT_FILENO) == 1;
    if (!terminal && !milestone) {
        return;
    }
    char line[160];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    printf(terminal ? "\r\033[K%s" : "%s\n", line);
    fflush(stdout);
    shown = terminal;
}

void progress_clear(void)
{
    if (shown) {
        printf("\r\033[K");
        fflush(stdout);
        shown = false;
    }
}
