/* SPDX-License-Identifier: MIT
 *
 * seam.h - the compiler includes this ahead of each source of src/ for these tests. Every atomic operation, and every
 * function by which a thread can wait or tell the time, calls the explorer.
 *
 * The sources themselves know nothing of the seam, and the library that is shipped is compiled without it: no_trace.sh.
 */
#ifndef SCHEDULES_SEAM_H
#define SCHEDULES_SEAM_H

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void seam_step(int kind, const volatile void *address, const char *file, int line);
int seam_mutex_lock(pthread_mutex_t *mutex, const char *file, int line);
int seam_mutex_trylock(pthread_mutex_t *mutex, const char *file, int line);
int seam_mutex_unlock(pthread_mutex_t *mutex, const char *file, int line);
int seam_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *deadline, const char *file,
                   int line);
int seam_cond_signal(pthread_cond_t *cond, const char *file, int line);
int seam_cond_broadcast(pthread_cond_t *cond, const char *file, int line);
int seam_yield(const char *file, int line);
ssize_t seam_write(int fd, const void *bytes, size_t n, const char *file, int line);
ssize_t seam_read(int fd, void *bytes, size_t n, const char *file, int line);
long seam_syscall(const char *file, int line, long number, ...);
int seam_clock_gettime(struct timespec *now);
int seam_key_create(pthread_key_t *key, void (*destructor)(void *value));
int seam_setspecific(const void *value);
void seam_key_delete(void);
void *seam_mmap(size_t bytes);
int seam_munmap(void *memory, size_t bytes);
int seam_madvise(void *memory, size_t bytes, int advice);
int seam_mincore(void *memory, size_t bytes, unsigned char *in_core);

/* The explorer itself only defines these. */
#ifndef SEAM_FUNCTIONS_ONLY

#define BEFORE_STEP(kind, address) seam_step((kind), (address), __FILE__, __LINE__)
#include "support/steps.h"

#define pthread_mutex_lock(mutex)                  seam_mutex_lock((mutex), __FILE__, __LINE__)
#define pthread_mutex_trylock(mutex)               seam_mutex_trylock((mutex), __FILE__, __LINE__)
#define pthread_mutex_unlock(mutex)                seam_mutex_unlock((mutex), __FILE__, __LINE__)
#define pthread_cond_wait(cond, mutex)             seam_cond_wait((cond), (mutex), NULL, __FILE__, __LINE__)
#define pthread_cond_timedwait(cond, mutex, at)    seam_cond_wait((cond), (mutex), (at), __FILE__, __LINE__)
#define pthread_cond_signal(cond)                  seam_cond_signal((cond), __FILE__, __LINE__)
#define pthread_cond_broadcast(cond)               seam_cond_broadcast((cond), __FILE__, __LINE__)
#define sched_getcpu()                             0
#define syscall(...)                               seam_syscall(__FILE__, __LINE__, __VA_ARGS__)
#define clock_gettime(clock, now)                  seam_clock_gettime(now)
#define clock_nanosleep(clock, flags, pause, left) ((void)(pause), seam_yield(__FILE__, __LINE__))
#define write(fd, bytes, n)                        seam_write((fd), (bytes), (n), __FILE__, __LINE__)
#define read(fd, bytes, n)                         seam_read((fd), (bytes), (n), __FILE__, __LINE__)
#define pthread_key_create(key, destructor)        seam_key_create((key), (destructor))
#define pthread_setspecific(key, value)            seam_setspecific(value)
#define mmap(at, bytes, ...)                       seam_mmap(bytes)
#define munmap(memory, bytes)                      seam_munmap((memory), (bytes))
#define madvise(memory, bytes, advice)             seam_madvise((memory), (bytes), (advice))
#define mincore(memory, bytes, in_core)            seam_mincore((memory), (bytes), (in_core))
#define pthread_key_delete(key)                    seam_key_delete()

#undef spin_hint
#define spin_hint() seam_yield(__FILE__, __LINE__)

#endif

#endif
