/* SPDX-License-Identifier: MIT
 *
 * basics.h - the clock, and the end where something that must work does not
 */
#ifndef BENCH_BASICS_H
#define BENCH_BASICS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static inline uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
