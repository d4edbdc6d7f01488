/* SPDX-License-Identifier: MIT
 *
 * basics.h - what every part of the demonstration needs of the system: messages, a clock, whole reads and writes
 * on pipes, and the limit on open files.
 */
#ifndef DEMO_BASICS_H
#define DEMO_BASICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRAM "bufferpool-demo"

/* One line on stderr: "bufferpool-demo: ...". */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The monotonic clock. */
uint64_t now_ns(void);

/* All n bytes, over as many calls as it takes; false at end of file or on an error. */
bool read_whole(int fd, void *to, size_t n);
bool write_whole(int fd, const void *from, size_t n);

/* Sees to it that the process may have `wanted` files open, as far as the system allows it, and returns how many it
 * may have now. */
size_t raise_open_files(size_t wanted);

#endif
