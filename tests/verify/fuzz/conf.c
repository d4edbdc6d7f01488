/* SPDX-License-Identifier: MIT
 *
 * conf.c - random texts as BUFFERPOOL_CONF
 *
 * Whatever the text is, it is read within its bounds, nothing that is wrong is kept, and reading what is kept a second
 * time gives the same. Each byte of the input is a piece of the text, or a character. src/conf.c is a part of this
 * program, so that each input finds it as it is before the first read.
 */
#include "conf.h" /* of src/ */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *input;

static char *variable(const char *name)
{
    return strcmp(name, "BUFFERPOOL_CONF") == 0 ? input : NULL;
}

#define secure_getenv variable
#include "../../../src/conf.c"
#undef secure_getenv

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "not so: %s\n", what);
    abort();
}

#define MUST(condition) must((condition), #condition)

static bool are_equal(const bufferpool_config_t *a, const bufferpool_config_t *b)
{
    return a->buffer_capacity == b->buffer_capacity && a->max_capacity == b->max_capacity &&
           a->max_live == b->max_live && a->max_idle_bytes == b->max_idle_bytes &&
           a->thread_cache_bytes == b->thread_cache_bytes && a->alignment == b->alignment &&
           a->reclaim_interval_ms == b->reclaim_interval_ms && a->flags == b->flags && a->retain_ms == b->retain_ms;
}

static const char *const pieces[] = {
    "http.",
    "*.",
    "x",
    ",",
    ", ",
    "=",
    ".",
    "k",
    "M,",
    "G,",
    "0",
    "1",
    "64,",
    "on,",
    "off,",
    "never,",
    "*.buffer_capacity=",
    "*.max_capacity=",
    "*.max_live=",
    "*.max_idle_bytes=",
    "http.thread_cache_bytes=",
    "http.reclaim_interval_ms=",
    "http.retain_ms=",
    "http.zero=",
    "*.hugepages=",
    "*.pressure=",
    "http.background=",
    "4294967294,",
    "4294967295,",
    "18446744073709551615,",
    "18446744073709551616,",
    "18014398509481983",
    "18014398509481984",
    "http.max_live",
    "alignment=",
    "http.max_live=7,",
};

enum { PIECES = sizeof(pieces) / sizeof(pieces[0]), RAW = 224, FILLER = 255, LONGEST = 1000 };

/* Appends what the byte stands for, of which one fills much of what is kept. Returns the new length. */
static size_t append(char *to, size_t length, uint8_t byte)
{
    if (byte == FILLER) {
        memset(to + length, 'y', LONGEST);
        return length + LONGEST;
    }
    if (byte >= RAW) {
        to[length] = (char)(byte - RAW + '0');
        return length + 1;
    }
    const char *piece = pieces[byte % PIECES];
    memcpy(to + length, piece, strlen(piece));
    return length + strlen(piece);
}

/* The text of an input, in a block of its size, so that AddressSanitizer sees its end. */
static char *text_of(const uint8_t *data, size_t size)
{
    char *text = malloc(size * LONGEST + 1);
    size_t length = 0;
    MUST(text != NULL);
    for (size_t i = 0; i < size; i++)
        length = append(text, length, data[i]);
    text[length] = '\0';
    text = realloc(text, length + 1);
    MUST(text != NULL);
    return text;
}

static const bufferpool_config_t untouched = BUFFERPOOL_CONFIG_INIT;

static void apply_to(const char *name)
{
    bufferpool_config_t once = untouched, twice = untouched;
    const bool any = conf_apply(name, &once);
    MUST(conf_apply(name, &twice) == any && are_equal(&once, &twice));
    MUST(any || are_equal(&once, &untouched));
    MUST(once.size == untouched.size && once.name == NULL && once.alloc == NULL && once.budget == NULL);
    MUST(once.alignment == 0 && once.retain_ms != BUFFERPOOL_NEVER);
    MUST((once.flags & ~(BUFFERPOOL_ZERO | BUFFERPOOL_BACKGROUND | BUFFERPOOL_HUGEPAGES)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    was_read = false;
    memset(words, 0, sizeof(words));
    notes = (struct notes){.variable = "BUFFERPOOL_CONF"};
    input = text_of(data, size);
    apply_to("http");
    free(input); /* it was copied */
    input = NULL;
    apply_to("*");
    apply_to("");
    MUST(strlen(words) < sizeof(words));
    const char *at = words;
    for (size_t n; (n = next_word(&at)) > 0; at += n) { /* nothing that is wrong is kept */
        struct word word;
        bufferpool_config_t config = untouched;
        MUST(split(at, n, &word) && field_of(&word) != NULL && set(field_of(&word), &word, &config));
    }
    return 0;
}
