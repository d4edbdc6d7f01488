/* SPDX-License-Identifier: MIT
 *
 * blocks.h - allocator hooks that know every block, find mistakes in a free, and fail when the test says so
 *
 * Each block is one of malloc, so that AddressSanitizer watches its edges.
 */
#ifndef FUZZ_BLOCKS_H
#define FUZZ_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>

struct block {
    struct block *next;
    unsigned char *memory;
    size_t size;
    unsigned char *data; /* where a buffer had its bytes in it, once that is known */
    size_t cap;
    unsigned long made; /* in which operation */
};

struct blocks {
    struct block *first;
    size_t count, bytes;
    bool wiped;       /* they are to be all zero when they are freed */
    unsigned skip;    /* so many are made */
    unsigned to_fail; /* before so many are not */
    unsigned failed;  /* in this operation */
    unsigned long operation;
};

void *blocks_alloc(size_t size, size_t align, void *ctx);
void blocks_free(void *memory, size_t size, void *ctx);

/* The block that these bytes lie in; NULL: none. */
struct block *blocks_find(const struct blocks *blocks, const unsigned char *data, size_t cap);

bool all_zero(const unsigned char *data, size_t n);

#endif /* FUZZ_BLOCKS_H */
