/* SPDX-License-Identifier: MIT
 *
 * holders_table.h - reads the table of bufferpool_holders
 */
#ifndef TEST_HOLDERS_TABLE_H
#define TEST_HOLDERS_TABLE_H

#include "laws.h"
#include "places.h"

#define FROM_BEFORE  "ledger: got before recording began, -\n"
#define NOT_RECORDED "ledger: not recorded, -\n"
#define BY_FIRST     "ledger: first_place+0x"
#define BY_SECOND    "ledger: second_place+0x"

/* The table as a string. The buffer that has it belongs to the default pool. */
static inline const char *table(void)
{
    static bufferpool_buf_t *out;
    if (out == NULL)
        out = bufferpool_get(NULL);
    out->len = 0;
    if (bufferpool_holders(out) != 0 || bufferpool_buf_append(out, "", 1) != 0)
        abort();
    return (const char *)out->data;
}

static inline bool is_recorded(void)
{
    return strstr(table(), "Who got them is recorded with ") == NULL;
}

struct sum {
    size_t lines, buffers, bytes;
};

/* What the lines with that text in them add up to. */
static inline struct sum sum_of(const char *text, const char *part)
{
    struct sum sum = {0, 0, 0};
    for (const char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        const char *at = strstr(line, part);
        if (at == NULL || at > end)
            continue;
        char *behind;
        sum.lines++;
        sum.buffers += strtoul(line, &behind, 10);
        sum.bytes += strtoul(behind, NULL, 10);
    }
    return sum;
}

static inline bool is(struct sum sum, size_t lines, size_t buffers, size_t bytes)
{
    return sum.lines == lines && sum.buffers == buffers && sum.bytes == bytes;
}

/* At rest the lines of the pool "ledger" add up to what callers hold of it. */
static inline bool adds_up(const bufferpool_t *pool, const test_blocks_t *blocks, const char *text, size_t held)
{
    const struct sum sum = sum_of(text, "ledger: ");
    return laws_hold(pool, blocks, held) && sum.buffers == held && sum.bytes == stats_of(pool).live_bytes;
}

#endif /* TEST_HOLDERS_TABLE_H */
