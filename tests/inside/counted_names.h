/* SPDX-License-Identifier: MIT
 *
 * counted_names.h - what the compiler includes ahead of names.c for test_names.c, which counts the names that it
 * compares
 */
#ifndef TEST_COUNTED_NAMES_H
#define TEST_COUNTED_NAMES_H

#include <string.h>

int counted_memcmp(const void *left, const void *right, size_t n);
#define memcmp counted_memcmp

#endif
