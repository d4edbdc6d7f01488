/* SPDX-License-Identifier: MIT
 *
 * places.h - two functions that get a buffer, for tables and reports that name the caller
 */
#ifndef TEST_PLACES_H
#define TEST_PLACES_H

#include "support.h"

/* For functions that get buffers and are to be named in the table; the program has ENABLE_EXPORTS. */
#define PLACE __attribute__((noinline, visibility("default")))

bufferpool_buf_t *first_place(bufferpool_t *pool);
bufferpool_buf_t *second_place(bufferpool_t *pool);

PLACE bufferpool_buf_t *first_place(bufferpool_t *pool)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    __asm__ volatile("" ::: "memory");
    return buf;
}

PLACE bufferpool_buf_t *second_place(bufferpool_t *pool)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    __asm__ volatile("" ::: "memory");
    return buf;
}

#endif /* TEST_PLACES_H */
