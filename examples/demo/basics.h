/* SPDX-License-Identifier: MIT
 *
 * basics.h - what every part of the demonstration shares: messages, a clock, whole reads and writes on pipes, and the
 * limit on open files.
 */
#ifndef DEMO_BASICS_H
#define DEMO_BASICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRAM "bufferpool-demo"

/* Prints one line on stderr: "bufferpool-demo: ...". */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Reads the monotonic clock. */
uint64_t now_ns(void);

/* Read or write all n bytes, in as many calls as that takes. Return false at end of file or on an error. */
bool read_whole(int fd, void *to, size_t n);
bool write_whole(int fd, const void *from, size_t n);

/* Raises the limit on open files to `wanted` if it is lower, or as far as the system allows. Returns the new limit. */
size_t raise_open_files(size_t wanted);

#endif
