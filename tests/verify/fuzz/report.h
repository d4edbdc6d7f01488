/* SPDX-License-Identifier: MIT
 *
 * report.h - what the fuzzers print: why they end the process, what they do, which states they reached
 */
#ifndef FUZZ_REPORT_H
#define FUZZ_REPORT_H

#include <stdbool.h>

/* Prints the message and aborts; libFuzzer then writes the input to a file. */
_Noreturn void report_failure(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define fail(...) report_failure(__FILE__, __LINE__, __VA_ARGS__)
#define check(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            report_failure(__FILE__, __LINE__, __VA_ARGS__);                                                           \
    } while (0)

/* For a replay: each call on a line of its own. */
extern bool report_trace;
void report_call(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A state that an input reached, each once; a seed is named after the state that it alone reaches. `what` is a
 * literal. */
void report_came_by(const char *what);
void report_forget(void);
void report_print_what(void);

#endif /* FUZZ_REPORT_H */
