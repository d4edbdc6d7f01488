/* SPDX-License-Identifier: MIT
 *
 * watch.c - what the debug modes do at each step of a buffer's life
 *
 * poison and redzone are bytes of one value each. In a pool that wipes, the poison is 0, the value of the wiped bytes.
 * So the mode finds late writes there too, and still hands out zeros.
 */
#include "debug/watch.h"

#include "debug/records.h"
#include "debug/report.h"
#include "heap/block.h"
#include "heap/desc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POISON  0xd5 /* eight of them are an address that no program can read */
#define REDZONE 0xb6

static unsigned char poison_of(const bufferpool_t *pool)
{
    return pool->heap.wipe ? 0 : POISON;
}

/* ---- nopool ---- */

/* With nopool, blocks come from malloc. So valgrind and AddressSanitizer know each block by itself, with the calls that
 * allocated and freed it. */
static void *block_alloc(size_t size, size_t align, void *ctx)
{
    (void)ctx;
    void *block = NULL;
    if (posix_memalign(&block, align, size) != 0)
        block = NULL;
    return block;
}

static void block_free(void *block, size_t size, void *ctx)
{
    (void)size;
    (void)ctx;
    free(block);
}

void watch_configure(struct heap *heap)
{
    if (!modes_have(MODE_NOPOOL) || heap->alloc != NULL)
        return;
    heap->alloc = block_alloc;
    heap->free = block_free;
}

/* ---- bytes that no caller may write ---- */

static bool all_are(const unsigned char *bytes, size_t n, unsigned char byte)
{
    return n == 0 || (bytes[0] == byte && memcmp(bytes, bytes + 1, n - 1) == 0);
}

#define BYTES_SHOWN 16u

/* Reports `what`, with the bytes that differ, unless the n bytes from data[offset] on are all `byte`. */
static void check_bytes(bufferpool_t *pool, const struct desc *d, ptrdiff_t offset, size_t n, unsigned char byte,
                        const char *what)
{
    const unsigned char *bytes = d->pub.data + offset;
    if (likely(all_are(bytes, n, byte)))
        return;
    /* the thread that writes there may still do so, and may have restored the bytes by now */
    size_t first = 0, last = n - 1;
    while (first < last && bytes[first] == byte)
        first++;
    while (last > first && bytes[last] == byte)
        last--;
    const size_t length = bytes[first] == byte ? 0 : last - first + 1;
    char text[192], shown[3 * BYTES_SHOWN + 8] = "";
    for (size_t i = 0; i < length && i < BYTES_SHOWN; i++)
        (void)snprintf(shown + 3 * i, sizeof(shown) - 3 * i, " %02x", bytes[first + i]);
    if (length > BYTES_SHOWN)
        memcpy(shown + 3 * (size_t)BYTES_SHOWN, " ...", sizeof(" ..."));
    (void)snprintf(text, sizeof(text), "%s: %zu byte%s from data[%td] on%s%s", what, length, length == 1 ? "" : "s",
                   offset + (ptrdiff_t)first, pool->heap.wipe ? "" : ":", pool->heap.wipe ? "" : shown);
    report_misuse(&d->pub, pool, text);
}

/* The bytes of the block in front of its prefix. */
static size_t padding_of(const bufferpool_t *pool)
{
    return pool->heap.alignment - sizeof(struct prefix);
}

static void fill_redzone(const bufferpool_t *pool, struct desc *d, bool held)
{
    if (!modes_have(MODE_REDZONE))
        return;
    block_open(&pool->heap, d, held);
    memset(d->pub.data - pool->heap.alignment, REDZONE, padding_of(pool));
    memset(d->pub.data + d->pub.cap, REDZONE, HEAP_REDZONE);
    block_close(&pool->heap, d, held);
}

/* Reports misuse unless data, cap and the bytes around the block are what the library made them. data and cap are
 * checked first, before anything is read through them. Returns false if the record does not know the block. That
 * happens in a child of fork, if the fork came while the block was being made or replaced. */
static bool check_block(bufferpool_t *pool, const struct desc *d, bool held)
{
    const struct record *record = records_at(&pool->records, d);
    if (record != NULL) {
        const size_t cap = load_relaxed(&record->cap);
        if (cap == 0)
            return false;
        if (cap != d->pub.cap)
            report_misuse(&d->pub, pool, "its cap was overwritten");
        if (load_relaxed(&record->data) != (uintptr_t)d->pub.data)
            report_misuse(&d->pub, pool, "its data was overwritten");
    }
    if (!block_intact(&pool->heap, d))
        report_misuse(&d->pub, pool, REPORT_OVERWRITTEN);
    if (modes_have(MODE_REDZONE)) {
        block_open(&pool->heap, d, held);
        check_bytes(pool, d, -(ptrdiff_t)pool->heap.alignment, padding_of(pool), REDZONE, "written in front of data");
        check_bytes(pool, d, (ptrdiff_t)d->pub.cap, HEAP_REDZONE, REDZONE, "written beyond its cap");
        block_close(&pool->heap, d, held);
    }
    return true;
}

/* Notes the block in the record. If the record did not know the block, guard bytes are written around it first. */
static void note_block(const bufferpool_t *pool, struct record *record, struct desc *d, bool held)
{
    if (load_relaxed(&record->cap) == 0)
        fill_redzone(pool, d, held);
    store_relaxed(&record->data, (uintptr_t)d->pub.data);
    store_relaxed(&record->cap, d->pub.cap);
}

static void fill_poison(const bufferpool_t *pool, struct desc *d, bool held)
{
    if (!modes_have(MODE_POISON))
        return;
    block_open(&pool->heap, d, held);
    memset(d->pub.data, poison_of(pool), d->pub.cap);
    block_close(&pool->heap, d, held);
}

static void check_poison(bufferpool_t *pool, const struct desc *d)
{
    if (!modes_have(MODE_POISON))
        return;
    block_open(&pool->heap, d, false);
    check_bytes(pool, d, 0, d->pub.cap, poison_of(pool), "written after it was put");
    block_close(&pool->heap, d, false);
}

/* ---- the steps ---- */

static uint32_t thread_id(void)
{
    return (uint32_t)gettid();
}

void watch_made(bufferpool_t *pool, struct desc *d)
{
    fill_redzone(pool, d, false);
    fill_poison(pool, d, false);
    struct record *record = records_make(&pool->records, d); /* it may be the descriptor's previous buffer's */
    if (record != NULL) {
        store_relaxed(&record->turn, RECORD_IDLE);
        store_relaxed(&record->got_by, 0);
        store_relaxed(&record->put_by, 0);
        store_relaxed(&record->cap, 0);
    }
}

void watch_hand_out(bufferpool_t *pool, const struct desc *d)
{
    struct record *record = records_make(&pool->records, d);
    if (record != NULL)
        store_relaxed(&record->turn, RECORD_IDLE);
}

void watch_got(bufferpool_t *pool, struct desc *d)
{
    struct record *record = records_make(&pool->records, d);
    if (record == NULL)
        return;
    store_relaxed(&record->got_by, report_context.caller);
    store_relaxed(&record->got_ns, records_now());
    store_relaxed(&record->got_tid, thread_id());
    note_block(pool, record, d, true);
    store_release(&record->turn, RECORD_GOT); /* with the acquire in holders.c: it finds what got the buffer */
}

void watch_resize(bufferpool_t *pool, const struct desc *d)
{
    (void)check_block(pool, d, true);
    struct record *record = records_at(&pool->records, d);
    if (record != NULL)
        store_relaxed(&record->cap, 0);
}

void watch_resized(bufferpool_t *pool, struct desc *d, bool idle)
{
    fill_redzone(pool, d, !idle);
    if (idle)
        fill_poison(pool, d, false);
    struct record *record = records_at(&pool->records, d);
    if (record != NULL)
        note_block(pool, record, d, !idle);
}

void watch_put(bufferpool_t *pool, struct desc *d)
{
    (void)check_block(pool, d, true);
    if (d->pub.len > d->pub.cap)
        report_misuse(&d->pub, pool, "its len exceeds its cap");
    fill_poison(pool, d, true);
    struct record *record = records_make(&pool->records, d);
    if (record == NULL)
        return;
    note_block(pool, record, d, true);
    store_relaxed(&record->put_by, report_context.caller);
    store_relaxed(&record->put_ns, records_now());
    store_relaxed(&record->put_tid, thread_id());
    store_relaxed(&record->turn, RECORD_IDLE);
}

void watch_idle(bufferpool_t *pool, const struct desc *d)
{
    if (check_block(pool, d, false))
        check_poison(pool, d);
}

void watch_freed(bufferpool_t *pool, const struct desc *d)
{
    struct record *record = records_at(&pool->records, d);
    if (record != NULL)
        store_relaxed(&record->cap, 0);
}
