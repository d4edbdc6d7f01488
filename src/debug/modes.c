/* SPDX-License-Identifier: MIT
 *
 * modes.c - which debug modes are on
 */
#include "debug/modes.h"

#include "debug/say.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define VARIABLE "BUFFERPOOL_DEBUG"

/* The largest number behind a word. */
#define NUMBER_MAX 1000000000u

static const struct word {
    const char *name;
    enum mode mode;
    bool numbered;
} words[] = {
    {"poison", MODE_POISON, false}, {"redzone", MODE_REDZONE, false}, {"quarantine", MODE_QUARANTINE, true},
    {"nopool", MODE_NOPOOL, false}, {"holders", MODE_HOLDERS, false}, {"stats", MODE_STATS, false},
    {"fail", MODE_FAIL, true},      {"chaos", MODE_CHAOS, false},
};

#define KNOWN "poison, redzone, quarantine=N, nopool, holders, stats, fail=N, chaos"

_Atomic(uintptr_t) modes;

static bool was_read; /* under the registry's lock */
static uint32_t quarantine_size, fail_every;
static _Atomic(uint32_t) allocations; /* so far, modulo 2^32 */
static _Atomic(uint64_t) drawn;       /* random numbers drawn so far */

static struct notes notes = {.variable = VARIABLE};

void modes_tell(void)
{
    notes_tell(&notes);
}

/* Reads a number from 1 to NUMBER_MAX. Returns 0 if the text from `at` to `end` is none. */
static uint32_t number(const char *at, const char *end)
{
    uint32_t n = 0;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9' || n > NUMBER_MAX / 10)
            return 0;
        n = 10 * n + (uint32_t)(*at - '0');
    }
    return n <= NUMBER_MAX ? n : 0;
}

/* Returns the mode that the n bytes at `text` switch on. Notes a warning if they switch on none. */
static unsigned read_word(const char *text, size_t n)
{
    const char *equals = memchr(text, '=', n);
    const size_t length = equals != NULL ? (size_t)(equals - text) : n;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        const struct word *word = &words[i];
        if (strlen(word->name) != length || memcmp(word->name, text, length) != 0)
            continue;
        const uint32_t value = equals != NULL ? number(equals + 1, text + n) : 0;
        if (word->numbered && value == 0) {
            notes_add(&notes, text, n, "needs a number from 1 to 1000000000 behind a '=', and is ignored", "");
            return 0;
        }
        if (!word->numbered && equals != NULL) {
            notes_add(&notes, text, n, "takes no value, and is ignored", "");
            return 0;
        }
        if (word->mode == MODE_QUARANTINE)
            quarantine_size = value;
        if (word->mode == MODE_FAIL)
            fail_every = value;
        return word->mode;
    }
    notes_add(&notes, text, n, "is not known, and is ignored; known are ", KNOWN);
    return 0;
}

void modes_init(bool memcheck)
{
    if (was_read)
        return;
    was_read = true;
    const char *at = secure_getenv(VARIABLE); /* not for setuid programs: their users must not see the buffers */
    unsigned found = 0;
    while (at != NULL && *at != '\0') {
        const size_t n = strcspn(at, ", ");
        if (n > 0)
            found |= read_word(at, n);
        at += n + (at[n] != '\0');
    }
    if ((found & MODE_NOPOOL) == 0 && memcheck) { /* memcheck knows malloc's blocks by itself */
        found |= MODE_MEMCHECK;
        found &= ~(unsigned)MODE_POISON; /* memcheck finds the same, and reading blocks that it guards is slow */
    }
    store_relaxed(&modes, found);
    notes_end(&notes);
}

static pthread_mutex_t switching = PTHREAD_MUTEX_INITIALIZER;

void modes_lock_switch(void)
{
    pthread_mutex_lock(&switching);
}

void modes_unlock_switch(void)
{
    pthread_mutex_unlock(&switching);
}

void modes_after_fork_in_child(void)
{
    pthread_mutex_init(&switching, NULL);
    store_relaxed(&modes, load_relaxed(&modes) & ~(uintptr_t)MODE_GATES);
}

uint32_t modes_quarantine(void)
{
    return quarantine_size;
}

bool modes_fail_now(void)
{
    return (add_relaxed(&allocations, 1) + 1) % fail_every == 0;
}

uint32_t modes_random(uint32_t n)
{
    /* a counter, mixed as SplitMix64 does it, so threads that draw at once share no other state */
    uint64_t z = (add_relaxed(&drawn, 1) + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) % n);
}
