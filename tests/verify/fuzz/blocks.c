/* SPDX-License-Identifier: MIT
 *
 * blocks.c - see blocks.h
 */
#include "blocks.h"

#include "report.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif
#endif
#ifndef VALGRIND_DISABLE_ERROR_REPORTING
#define VALGRIND_DISABLE_ERROR_REPORTING
#define VALGRIND_ENABLE_ERROR_REPORTING
#define VALGRIND_MAKE_MEM_DEFINED(at, n) ((void)(at), 0)
#endif

#define SIZE_LIMIT ((size_t)8 << 20) /* of a block: more is refused, as memory that there is not */
#define JUNK       0xa5

/* Also of what nobody may look at, or nobody wrote. */
__attribute__((noinline, no_sanitize("address"))) bool all_zero(const unsigned char *data, size_t n)
{
    const volatile unsigned char *bytes = data;
    volatile size_t i = 0;
    VALGRIND_DISABLE_ERROR_REPORTING;
    while (i < n && bytes[i] == 0)
        i = i + 1;
    VALGRIND_ENABLE_ERROR_REPORTING;
    (void)VALGRIND_MAKE_MEM_DEFINED(&i, sizeof(i));
    return i == n;
}

void *blocks_alloc(size_t size, size_t align, void *ctx)
{
    struct blocks *blocks = ctx;
    errno = ENOTTY; /* the library's callers must not see it */
    check(align != 0 && (align & (align - 1)) == 0, "a block aligned to %zu was asked for", align);
    bool fails = size > SIZE_LIMIT;
    if (blocks->to_fail > 0 && blocks->skip > 0) {
        blocks->skip--;
    } else if (blocks->to_fail > 0) {
        blocks->to_fail--;
        fails = true;
    }
    struct block *block = fails ? NULL : malloc(sizeof(*block));
    if (block == NULL) {
        blocks->failed++;
        return NULL;
    }
    void *memory = NULL;
    check(posix_memalign(&memory, align < sizeof(void *) ? sizeof(void *) : align, size) == 0, "no memory");
    memset(memory, JUNK, size);
    *block = (struct block){blocks->first, memory, size, NULL, 0, blocks->operation};
    blocks->first = block;
    blocks->count++;
    blocks->bytes += size;
    errno = ENOTTY;
    return memory;
}

void blocks_free(void *memory, size_t size, void *ctx)
{
    struct blocks *blocks = ctx;
    struct block **link = &blocks->first;
    while (*link != NULL && (*link)->memory != memory)
        link = &(*link)->next;
    struct block *block = *link;
    check(block != NULL, "free of a block that there is not");
    // cppcheck-suppress nullPointerRedundantCheck ; check does not return otherwise
    check(block->size == size, "free of %zu bytes of a block of %zu", size, block->size);
    if (blocks->wiped && block->data != NULL)
        check(all_zero(block->data, block->cap), "a block of %zu bytes was not wiped before it was freed", block->cap);
    blocks->count--;
    blocks->bytes -= size;
    *link = block->next;
    free(block);
    free(memory);
    errno = ENOTTY;
}

struct block *blocks_find(const struct blocks *blocks, const unsigned char *data, size_t cap)
{
    for (struct block *block = blocks->first; block != NULL; block = block->next)
        if (data >= block->memory && data < block->memory + block->size)
            return cap <= block->size - (size_t)(data - block->memory) ? block : NULL;
    return NULL;
}
