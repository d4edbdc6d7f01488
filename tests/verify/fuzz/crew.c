/* SPDX-License-Identifier: MIT
 *
 * crew.c - see crew.h
 */
#include "crew.h"

#include "report.h"

#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>

struct member {
    pthread_t thread;
    bool there;
    sem_t begin, done;
    crew_fn fn; /* NULL: it is to end */
    void *arg;
};

static struct member members[CREW];

static void *work(void *arg)
{
    struct member *m = arg;
    for (;;) {
        while (sem_wait(&m->begin) != 0)
            ;
        if (m->fn == NULL)
            return NULL;
        m->fn(m->arg);
        sem_post(&m->done);
    }
}

static void begin(struct member *m)
{
    sem_init(&m->begin, 0, 0);
    sem_init(&m->done, 0, 0);
    check(pthread_create(&m->thread, NULL, work, m) == 0, "no thread");
    m->there = true;
}

void crew_run(unsigned thread, crew_fn fn, void *arg)
{
    struct member *m = &members[thread];
    if (thread == 0) {
        fn(arg);
        return;
    }
    if (!m->there)
        begin(m);
    m->fn = fn;
    m->arg = arg;
    sem_post(&m->begin);
    while (sem_wait(&m->done) != 0)
        ;
}

bool crew_end(unsigned thread)
{
    struct member *m = &members[thread];
    if (!m->there)
        return false;
    m->fn = NULL;
    sem_post(&m->begin);
    pthread_join(m->thread, NULL);
    sem_destroy(&m->begin);
    sem_destroy(&m->done);
    m->there = false;
    return true;
}
