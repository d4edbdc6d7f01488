/* SPDX-License-Identifier: MIT
 *
 * records.h - who got and who put each buffer last: kept while a debug mode watches
 *
 * A table beside that of the descriptors, by the same numbers and in chunks of the same sizes, made as they are needed;
 * where there is no memory for one, its buffers have no record. Whoever holds or puts a buffer writes its record;
 * others read it meanwhile, and may see a part of two turns.
 */
#ifndef BUFFERPOOL_RECORDS_H
#define BUFFERPOOL_RECORDS_H

#include "desc.h"

/* The record of the descriptor; NULL: it has none. Any thread. */
struct record *records_at(const struct records *records, const struct desc *d);

/* The same, made if need be. */
struct record *records_make(struct records *records, const struct desc *d);

void records_destroy(struct records *records);

/* The clock of the records. */
uint64_t records_now(void);

/* Writes the place of the call that returns to the address, as "function+0x1f (program+0x2a1f)" as far as that can be
 * had, long names cut short, and ends it with a NUL. `size` is at least 1. */
void records_caller(char *text, size_t size, uintptr_t address);

/* The same for a thread, as "thread 4711 (worker)". */
void records_thread(char *text, size_t size, uint32_t tid);

#endif
