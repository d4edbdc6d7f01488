/* SPDX-License-Identifier: MIT
 *
 * records.h - which calls got and put each buffer last; noted while a debug mode watches
 *
 * The records are a table beside that of the descriptors, with the same indexes and with chunks of the same sizes. A
 * chunk is made when it is needed. If there is no memory for it, its buffers have no record. Chunks stay as long as the
 * pool. Each record has the number of its recording, and a record of an earlier recording counts as none.
 */
#ifndef BUFFERPOOL_RECORDS_H
#define BUFFERPOOL_RECORDS_H

#include "types.h"

/* Returns the record of the descriptor, or NULL if there is none. Any thread. */
struct record *records_at(const struct records *records, const struct desc *d);

/* As records_at, but makes the record if there is none. Returns NULL if there is no memory. Only the thread that has
 * the buffer may call it. */
struct record *records_make(struct records *records, const struct desc *d);

void records_destroy(struct records *records);

/* The time now, in nanoseconds on the clock of the records. */
uint64_t records_now(void);

/* Writes the call that returns to the address as "function+0x1f (program+0x2a1f)", or as much of that as the dynamic
 * linker knows, with long names cut short and a NUL at the end. `size` is at least 1. */
void records_caller(char *text, size_t size, uintptr_t address);

/* The same for a thread, as "thread 4711 (worker)". Reads a file of /proc. */
void records_thread(char *text, size_t size, uint32_t tid);

#endif
