/* SPDX-License-Identifier: MIT
 *
 * conf.c - what the environment changes in the configuration of pools: BUFFERPOOL_CONF
 *
 * The variable has words of the form NAME.FIELD=VALUE with commas between them. The variable is copied when the first
 * pool begins, since the program may change its environment later. Each word is tried then, so that a wrong word is
 * reported once and not for each pool. A pool that begins reads the copy twice from left to right: first the words with
 * a star, then the words with its name. So later words win, and words with the pool's name win over words with a star.
 * Nothing is allocated, so nothing can fail.
 */
#include "conf.h"

#include "debug/say.h"

#include <stdlib.h>
#include <string.h>

#define VARIABLE "BUFFERPOOL_CONF"

enum kind { BYTES, BUFFERS, MILLISECONDS, INTERVAL, EITHER, ON, OFF };

/* The values that each kind takes, in words. */
static const char *const values[] = {"bytes, such as 65536, 64k, 2M or 1G",
                                     "a whole number, such as 512",
                                     "milliseconds",
                                     "milliseconds, or never",
                                     "on or off",
                                     "on",
                                     "off"};

#define FIELD(name, kind)                                                                                              \
    {                                                                                                                  \
#name, kind, offsetof(bufferpool_config_t, name), 0                                                            \
    }
#define FLAG(name, kind, flag)                                                                                         \
    {                                                                                                                  \
        name, kind, offsetof(bufferpool_config_t, flags), flag                                                         \
    }

static const struct field {
    const char name[20];
    unsigned char kind, offset, flag;
} fields[] = {
    FIELD(buffer_capacity, BYTES),
    FIELD(max_capacity, BYTES),
    FIELD(max_live, BUFFERS),
    FIELD(max_idle_bytes, BYTES),
    FIELD(thread_cache_bytes, BYTES),
    FIELD(reclaim_interval_ms, INTERVAL),
    FIELD(retain_ms, MILLISECONDS),
    FLAG("background", EITHER, BUFFERPOOL_BACKGROUND),
    FLAG("hugepages", EITHER, BUFFERPOOL_HUGEPAGES),
    FLAG("zero", ON, BUFFERPOOL_ZERO),
    FLAG("pressure", OFF, BUFFERPOOL_PRESSURE),
};

#define KNOWN                                                                                                          \
    "buffer_capacity, max_capacity, max_live, max_idle_bytes, thread_cache_bytes, reclaim_interval_ms, retain_ms, "    \
    "background, hugepages, zero, pressure"

/* Under the registry's lock. */
static bool was_read;
static char words[4096];

static struct notes notes = {.variable = VARIABLE};

/* ---- one word ---- */

struct word {
    const char *name, *field, *value; /* NAME.FIELD=VALUE, without the dot and the equals sign */
    size_t name_length, field_length, value_length;
};

static bool is_text(const char *at, size_t n, const char *text)
{
    return strlen(text) == n && memcmp(at, text, n) == 0;
}

/* A name may have dots and equals signs itself. */
static bool split(const char *text, size_t n, struct word *word)
{
    const char *equals = memrchr(text, '=', n);
    const char *dot = equals != NULL ? memrchr(text, '.', (size_t)(equals - text)) : NULL;
    if (dot == NULL || dot == text)
        return false;
    *word = (struct word){
        text, dot + 1, equals + 1, (size_t)(dot - text), (size_t)(equals - dot) - 1, (size_t)(text + n - equals) - 1};
    return true;
}

static const struct field *field_of(const struct word *word)
{
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (is_text(word->field, word->field_length, fields[i].name))
            return &fields[i];
    return NULL;
}

/* Reads a number of at most `most`. */
static bool read_number(const char *at, size_t n, bool in_bytes, size_t most, size_t *number)
{
    static const char suffixes[] = {'k', 'M', 'G'};
    const char *suffix = in_bytes && n > 1 ? memchr(suffixes, at[n - 1], sizeof(suffixes)) : NULL;
    const unsigned shift = suffix != NULL ? 10 * (unsigned)(suffix - suffixes + 1) : 0;
    *number = 0;
    n -= suffix != NULL;
    for (size_t i = 0; i < n; i++) {
        const size_t digit = (size_t)at[i] - '0';
        if (digit > 9 || *number > (most - digit) / 10)
            return false;
        *number = 10 * *number + digit;
    }
    if (n == 0 || *number > most >> shift)
        return false;
    *number <<= shift;
    return true;
}

static bool set_flag(const struct field *field, const struct word *word, unsigned *flags)
{
    if (field->kind != OFF && is_text(word->value, word->value_length, "on"))
        *flags |= field->flag;
    else if (field->kind != ON && is_text(word->value, word->value_length, "off"))
        *flags &= ~(unsigned)field->flag;
    else
        return false;
    return true;
}

/* Returns false if the field does not take the value. */
static bool set(const struct field *field, const struct word *word, bufferpool_config_t *config)
{
    void *const at = (char *)config + field->offset;
    size_t number;
    switch (field->kind) {
    case BYTES:
    case BUFFERS:
        return read_number(word->value, word->value_length, field->kind == BYTES, SIZE_MAX, at);
    case INTERVAL:
    case MILLISECONDS:
        if (field->kind == INTERVAL && is_text(word->value, word->value_length, "never"))
            number = BUFFERPOOL_NEVER;
        else if (!read_number(word->value, word->value_length, false, BUFFERPOOL_NEVER - 1, &number))
            return false;
        *(unsigned *)at = (unsigned)number;
        return true;
    default:
        return set_flag(field, word, at);
    }
}

/* ---- all words ---- */

/* Moves *at past the separators. Returns the length of the word that begins there, or 0 if there is none. */
static size_t next_word(const char **at)
{
    *at += strspn(*at, ", ");
    return strcspn(*at, ", ");
}

/* Notes what is wrong with a word. */
static bool is_understood(const char *text, size_t n)
{
    struct word word;
    bufferpool_config_t unused = BUFFERPOOL_CONFIG_INIT;
    const bool is_word = split(text, n, &word);
    const struct field *field = is_word ? field_of(&word) : NULL;
    if (!is_word)
        notes_add(&notes, text, n, "is ignored: it is not NAME.FIELD=VALUE", "");
    else if (field == NULL)
        notes_add(&notes, text, n, "is ignored: the field is not one of " KNOWN, "");
    else if (!set(field, &word, &unused))
        notes_add(&notes, text, n, "is ignored: the value must be ", values[field->kind]);
    else
        return true;
    return false;
}

static void read_once(void)
{
    if (was_read)
        return;
    was_read = true;
    const char *from = secure_getenv(VARIABLE); /* not for setuid programs: their users must not change pools */
    size_t length = 0;
    for (size_t n; from != NULL && (n = next_word(&from)) > 0; from += n) {
        if (!is_understood(from, n))
            continue;
        if (n + 1 >= sizeof(words) - length) {
            notes_add(&notes, from, n, "is ignored, and what follows: all words together have more than 4,095 bytes",
                      "");
            break;
        }
        memcpy(words + length, from, n);
        length += n;
        words[length++] = ',';
    }
    notes_end(&notes);
}

/* Applies the words with that name to the configuration. Returns whether there were such words. */
static bool apply(const char *name, bufferpool_config_t *config)
{
    bool any = false;
    struct word word;
    const char *at = words;
    for (size_t n; (n = next_word(&at)) > 0; at += n) {
        const struct field *field = split(at, n, &word) ? field_of(&word) : NULL;
        if (field == NULL || !is_text(word.name, word.name_length, name))
            continue;
        any = true;
        (void)set(field, &word, config);
    }
    return any;
}

bool conf_apply(const char *name, bufferpool_config_t *config)
{
    read_once();
    const bool all = apply("*", config);
    return apply(name, config) || all;
}

void conf_tell(void)
{
    notes_tell(&notes);
}
