/* SPDX-License-Identifier: MIT
 *
 * input.h - reads a fuzzer's bytes as small numbers, choices and sizes
 *
 * Bytes are taken from the front, so that bytes that are added behind change nothing before them. Past the end all
 * bytes are 0.
 */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct input {
    const uint8_t *at, *end;
};

static inline bool input_done(const struct input *in)
{
    return in->at == in->end;
}

static inline unsigned input_byte(struct input *in)
{
    return input_done(in) ? 0 : *in->at++;
}

static inline unsigned input_word(struct input *in)
{
    const unsigned low = input_byte(in);
    return low | input_byte(in) << 8;
}

/* 0 .. n - 1, for n up to 256 */
static inline unsigned input_below(struct input *in, unsigned n)
{
    return input_byte(in) % n;
}

static inline size_t input_choice(struct input *in, const size_t *choices, size_t n)
{
    return choices[input_byte(in) % n];
}

#define input_one_of(in, choices) input_choice((in), (choices), sizeof(choices) / sizeof((choices)[0]))

/* One in sixteen numbers is large. */
static inline size_t input_size(struct input *in)
{
    const unsigned word = input_word(in);
    return (word & 0xf000) == 0xf000 ? (size_t)(word & 0xfff) << 8 : word & 0xfff;
}

#endif /* FUZZ_INPUT_H */
