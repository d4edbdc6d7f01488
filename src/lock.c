/* SPDX-License-Identifier: MIT
 *
 * lock.c - whether the calling thread has a lock that fork needs
 */
#include "lock.h"

_Thread_local volatile unsigned locks_held TLS_MODEL;

/* Looking again for a microsecond or two costs less than sleeping. */
#define LOOKS  10
#define PAUSES 10 /* between two looks */

bool lock_take(pthread_mutex_t *lock)
{
    lock_begin();
    for (int look = 0; look < LOOKS; look++) {
        if (pthread_mutex_trylock(lock) == 0)
            return look == 0;
        for (int i = 0; i < PAUSES; i++)
            spin_hint();
    }
    pthread_mutex_lock(lock);
    return false;
}

void lock_give(pthread_mutex_t *lock)
{
    pthread_mutex_unlock(lock);
    lock_end();
}
