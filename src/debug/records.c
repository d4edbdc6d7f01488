/* SPDX-License-Identifier: MIT
 *
 * records.c - which calls got and put each buffer last
 *
 * All accesses but those to chunks, `recording` and `turn` are relaxed: each field is a number by itself (types.h).
 */
#include "debug/records.h"

#include "clock.h"
#include "debug/modes.h"
#include "heap/desc.h"

#include <ctype.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint32_t number_in(uint32_t chunk, const struct desc *d)
{
    return d->index - (1 + DESC_FIRST_CHUNK * ((1u << chunk) - 1));
}

/* Returns the record of the descriptor, of whichever recording, or NULL. */
static struct record *find(const struct records *records, const struct desc *d)
{
    const uint32_t chunk = desc_chunk_number(d->index);
    struct record *base = load_acquire(&records->chunks[chunk]); /* with the swap in make */
    return base != NULL ? base + number_in(chunk, d) : NULL;
}

struct record *records_at(const struct records *records, const struct desc *d)
{
    struct record *record = find(records, d);
    /* acquire: with the release in begin_anew */
    return record != NULL && load_acquire(&record->recording) == modes_recording() ? record : NULL;
}

static struct record *make(struct records *records, const struct desc *d)
{
    const uint32_t chunk = desc_chunk_number(d->index);
    struct record *base = calloc((size_t)DESC_FIRST_CHUNK << chunk, sizeof(*base)), *found = NULL;
    if (base == NULL) {
        store_relaxed(&records->missed, modes_recording());
        return NULL;
    }
    /* release: with the acquire in find, and with the acquire of a failed swap here, if another thread was quicker */
    if (!atomic_compare_exchange_strong_explicit(&records->chunks[chunk], &found, base, memory_order_acq_rel,
                                                 memory_order_acquire)) {
        free(base);
        base = found;
    }
    return base + number_in(chunk, d);
}

static void begin_anew(struct record *record, uint32_t recording)
{
    store_relaxed(&record->turn, RECORD_BEFORE);
    store_relaxed(&record->got_by, 0);
    store_relaxed(&record->put_by, 0);
    store_relaxed(&record->cap, 0);
    store_release(&record->recording, recording); /* with the acquire in records_at: it finds nothing older */
}

struct record *records_make(struct records *records, const struct desc *d)
{
    struct record *record = find(records, d);
    if (record == NULL)
        record = make(records, d);
    const uint32_t recording = modes_recording();
    if (record != NULL && load_relaxed(&record->recording) != recording)
        begin_anew(record, recording);
    return record;
}

void records_destroy(struct records *records)
{
    for (unsigned chunk = 0; chunk < DESC_CHUNKS; chunk++)
        free(load_relaxed(&records->chunks[chunk]));
}

uint64_t records_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void records_caller(char *text, size_t size, uintptr_t address)
{
    Dl_info info;
    const uintptr_t call =
        address - 1; /* within the call: the address it returns to may belong to the next line, or function */
    if (address == 0) {
        (void)snprintf(text, size, "not recorded");
    } else if (dladdr((void *)call, &info) == 0 || info.dli_fname == NULL) {
        (void)snprintf(text, size, "0x%" PRIxPTR, call);
    } else {
        const char *slash = strrchr(info.dli_fname, '/');
        const char *file = slash != NULL ? slash + 1 : info.dli_fname;
        const uintptr_t offset = call - (uintptr_t)info.dli_fbase;
        if (info.dli_sname != NULL)
            (void)snprintf(text, size, "%.80s+0x%" PRIxPTR " (%.32s+0x%" PRIxPTR ")", info.dli_sname,
                           call - (uintptr_t)info.dli_saddr, file, offset);
        else
            (void)snprintf(text, size, "%.32s+0x%" PRIxPTR, file, offset);
    }
}

void records_thread(char *text, size_t size, uint32_t tid)
{
    char path[64], name[32];
    (void)snprintf(path, sizeof(path), "/proc/self/task/%" PRIu32 "/comm", tid);
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = file >= 0 ? read(file, name, sizeof(name) - 1) : -1;
    if (file >= 0)
        (void)close(file);
    if (n > 0 && name[n - 1] == '\n')
        n--;
    for (ssize_t i = 0; i < n; i++) /* so that it stays one line */
        if (iscntrl((unsigned char)name[i]))
            name[i] = '?';
    if (n > 0)
        (void)snprintf(text, size, "thread %" PRIu32 " (%.*s)", tid, (int)n, name);
    else
        (void)snprintf(text, size, "thread %" PRIu32 ", which has ended", tid);
}
