/* SPDX-License-Identifier: MIT
 *
 * waiters.pml - who waits at the cap, against puts, the end of pressure, and gates that open again
 *
 * PUTTERS threads hold one buffer each, which are all that the cap allows, and put it; WAITERS threads want one each, and
 * put it back. What the code does in one atomic operation, or under one lock, is one step or a locked section here.
 *
 *     here                    in src/
 *     ----                    ------
 *     wanted, pressure        the flags in depot.counts
 *     on                      pressure.state
 *     serve_all, wait_check   the same in wait.c; the queue is a row of tickets
 *     enter, relax            enter and pressure_relax in pressure.c
 *     serve_gate, put         pressure_serve_gate; put_slow and give_slow in pool.c, and the fast put
 *     waiter                  wait_for_buffer in wait.c; RETRY_MS is a step that may happen at any time
 *
 * Claim: nobody waits for ever. (Where a waiter is left, Spin reports an invalid end state.) Each mutant is refuted.
 */
#ifndef PUTTERS
#define PUTTERS 2
#endif
#ifndef WAITERS
#define WAITERS 2
#endif
#define N PUTTERS
#define T (PUTTERS + WAITERS)

bool wanted, pressure;            /* the flags in counts */
bool on;                          /* pressure.state */
byte depot;                       /* buffers in it */
byte in_flight = N;
bool gate[T] = true;              /* open */
byte cache[T];
bool queue_lock, caches_lock;
byte head, tail;                  /* the queue: tickets head..tail-1 */
byte got[T];                      /* by ticket: 0 waits, 1 served */

inline lock(l)   { atomic { !l -> l = true } }
inline unlock(l) { l = false }

/* queue_lock held */
inline serve_all()
{
    do
    :: head < tail ->
        if
        :: atomic { depot > 0 -> depot-- }; in_flight++; got[head] = 1; head++;
           if :: head == tail -> wanted = false :: else fi
        :: depot == 0 -> break
        fi
    :: else -> break
    od
}

inline wait_check()
{
    if
    :: wanted -> lock(queue_lock); serve_all(); unlock(queue_lock)
    :: else
    fi
}

/* caches_lock: closes all gates, empties all caches */
inline enter()
{
    lock(caches_lock);
    if
    :: !on ->
        on = true;
        k = 0;
        do :: k < T -> d_step { gate[k] = false; c = cache[k]; cache[k] = 0; in_flight = in_flight - c };
             depot = depot + c; c = 0; k++
           :: else -> break od;
        pressure = true
    :: else
    fi;
    unlock(caches_lock);
    wait_check()
}

inline relax()
{
    if
    :: on && !wanted && in_flight < N ->
        if
        :: atomic { !caches_lock -> caches_lock = true };
#ifdef MUTANT_END_WITHOUT_LOOK
           pressure = false; on = false;
#else
           atomic { if :: !wanted -> pressure = false; ended = true :: else -> ended = false fi };
           if :: ended -> on = false :: else fi;
#endif
           unlock(caches_lock)
        :: caches_lock -> skip
        fi
    :: else
    fi
}

inline serve_gate()
{
    if
    :: !gate[me] && !on ->
        if :: atomic { !caches_lock -> caches_lock = true };
              if :: !on -> gate[me] = true :: else fi;
              unlock(caches_lock)
           :: caches_lock -> skip
        fi
    :: else
    fi
}

inline put()
{
    serve_gate();
    if
    :: d_step { gate[me] -> cache[me]++ }     /* the fast path, or cache_keep inside an open gate */
    :: !gate[me] ->
        handed = false;
        if
        :: wanted ->
            lock(queue_lock);
            if :: head < tail -> got[head] = 1; head++; handed = true;
                  if :: head == tail -> wanted = false :: else fi
               :: else
            fi;
            unlock(queue_lock)
        :: else
        fi;
        if
        :: !handed ->
            in_flight--;
            depot++;
            relax()
        :: else
        fi
    fi;
#ifndef MUTANT_NO_CHECK
    wait_check()
#endif
}

proctype putter(byte me)
{
    bool handed, ended;
    put()
}

proctype waiter(byte me)
{
    byte k, c, ticket;
    bool handed, ended, sure;
    enter();                      /* the get that found nothing */
    lock(queue_lock);
    ticket = tail; tail++;
#ifdef MUTANT_FLAG_LATE
    serve_all(); wanted = (head < tail);
#else
    wanted = true;
    serve_all();
#endif
    do
    :: got[ticket] -> break
    :: !got[ticket] ->
#ifdef MUTANT_ALWAYS_SURE
        sure = true;
#else
        sure = pressure;
#endif
        unlock(queue_lock);
        if
        :: sure -> got[ticket]                /* pthread_cond_wait */
        :: else -> enter()                    /* RETRY_MS later */
        fi;
        lock(queue_lock)
    od;
    unlock(queue_lock);
    put()
}

init
{
    byte i;
    atomic {
        i = 0;
        do :: i < PUTTERS -> run putter(i); i++ :: else -> break od;
        do :: i < T -> run waiter(i); i++ :: else -> break od
    }
    (_nr_pr == 1);
    assert(head == tail && !wanted);

}
