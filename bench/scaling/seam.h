/* SPDX-License-Identifier: MIT
 *
 * seam.h - what the compiler includes ahead of each source of src/ for bench/scaling/counts.c
 *
 * The sources are compiled with -fsanitize=thread, so the compiler calls a function before each access to memory. These
 * functions are not ThreadSanitizer's but those of lines.c, which counts. Locks, conditions, the clock, the processor
 * and system calls go through functions of lines.c too.
 */
#ifndef SCALING_SEAM_H
#define SCALING_SEAM_H

/* The library is to do what it does in other builds: it has a variant for the real ThreadSanitizer (cache.h). */
#undef __SANITIZE_THREAD__

#include "lines.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define pthread_mutex_lock(mutex)              lines_mutex_lock(mutex)
#define pthread_mutex_trylock(mutex)           lines_mutex_trylock(mutex)
#define pthread_mutex_unlock(mutex)            lines_mutex_unlock(mutex)
#define pthread_cond_wait(cond, mutex)         lines_cond_wait(cond, mutex)
#define pthread_cond_timedwait(cond, mutex, t) ((void)(t), lines_cond_wait(cond, mutex))
#define pthread_cond_signal(cond)              lines_cond_signal(cond)
#define clock_gettime(clock, now)              lines_clock_gettime(now)
#define sched_getcpu()                         lines_processor()

#define __builtin_prefetch(...) lines_prefetch(__VA_ARGS__, 0)

#define memset(to, byte, n)      (lines_written((to), (n)), memset((to), (byte), (n)))
#define memcpy(to, from, n)      (lines_written((to), (n)), lines_read((from), (n)), memcpy((to), (from), (n)))
#define syscall(...)             (lines_system_call(), syscall(__VA_ARGS__)) /* membarrier(2) alone */
#define mmap(...)                (lines_system_call(), mmap(__VA_ARGS__))
#define munmap(address, bytes)   (lines_system_call(), munmap((address), (bytes)))
#define mremap(...)              (lines_system_call(), mremap(__VA_ARGS__))
#define madvise(at, bytes, what) (lines_system_call(), madvise((at), (bytes), (what)))
#define write(fd, bytes, n)      (lines_system_call(), write((fd), (bytes), (n)))
#define read(fd, bytes, n)       (lines_system_call(), read((fd), (bytes), (n)))

#endif
