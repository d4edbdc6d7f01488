/* SPDX-License-Identifier: MIT
 *
 * report.c - see report.h
 */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool report_trace;

static const char *came_by[64];
static size_t came_by_count;

_Noreturn void report_failure(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

void report_call(const char *format, ...)
{
    if (!report_trace)
        return;
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

void report_came_by(const char *what)
{
    for (size_t i = 0; i < came_by_count; i++)
        if (came_by[i] == what) /* no strcmp: the fuzzer would take the words for what inputs are made of */
            return;
    if (came_by_count < sizeof(came_by) / sizeof(came_by[0]))
        came_by[came_by_count++] = what;
}

void report_forget(void)
{
    came_by_count = 0;
}

void report_print_what(void)
{
    for (size_t i = 0; i < came_by_count; i++)
        printf(" %s", came_by[i]);
}
