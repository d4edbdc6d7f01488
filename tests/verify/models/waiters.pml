/* SPDX-License-Identifier: MIT
 *
 * waiters.pml - who waits at the cap, against puts, drops, the end of pressure, and gates that open again
 *
 * PUTTERS threads hold one buffer each, which are all that the cap allows, and put it, or drop it for its size, or flush their
 * cache and then put it; WAITERS threads
 * want one each, with a time limit or without, and put what they got. (PLAIN: no drops, no time limits.) What the code does in one atomic operation, or under
 * a lock that all others take for it, is one step. The depot has single buffers only: under pressure it mostly has, and
 * what is popped with others is restored before anybody looks. Numbers in brackets: depot.c.
 *
 *     step            in src/                         there
 *     ----            -------                         -----
 *     lock            wait.c wait_check               "pthread_mutex_lock(&pool->waiters.lock);"
 *     unlock          wait.c wait_check               "pthread_mutex_unlock(&pool->waiters.lock);"
 *     drop_waiter     wait.c drop                     "depot_want(&pool->depot, false);"
 *     serve_first     wait.c serve_first              "w->result = result;"
 *                     wait.c serve_first              "pthread_cond_signal(&w->woken);"
 *     serve_all       wait.c serve_all                "struct wait_result result = {take_from_depot(pool), false};"
 *                     wait.c take_from_depot          "depot_take(&pool->depot, 1);"
 *                     wait.c serve_all                "result.reserved = depot_reserve(&pool->depot, &pool->max_live);"
 *     wait_check      wait.c wait_check (11)          "if (likely(!depot_wanted(&pool->depot)))"
 *     hand_over       wait.c wait_hand_over           "if (likely(!depot_wanted(&pool->depot)))"
 *                     wait.c wait_hand_over           "serve_first(pool, (struct wait_result){d, false});"
 *     enter           pressure.c enter                "store_relaxed(&pool->pressure.state, PRESSURE_ENTERING);"
 *                     pressure.c enter                "depot_begin_pressure(&pool->depot);"
 *                     pressure.c enter                "wait_check(pool);"
 *     relax           pressure.c pressure_relax       "if (may_end(pool) && depot_end_pressure(&pool->depot))"
 *                     depot.c depot_end_pressure      "if (counts_of(counts).wanted)"
 *     serve_gate      pressure.c pressure_serve_gate  "} else if ((state == PRESSURE_OFF || cache_idle(c) > 0) && pthread_mutex_trylock(&pool->caches_lock) == 0) {"
 *     flush_and_open  pressure.c flush_and_open       "(void)cache_flush_inside(pool, c);"
 *                     pressure.c flush_and_open       "cache_open(pool, c);"
 *     thread_flush    pressure.c pressure_flush       "flush_and_open(pool, c);"
 *                     pressure.c pressure_flush       "wait_check(pool);"
 *     put             cache.h cache_push_plain        "store_relaxed(&c->level, level + 1);"
 *                     pool.c give_back                "if (!modes_have(MODE_NOPOOL) && wait_hand_over(pool, d)) {"
 *                     pool.c give_back                "return drop(pool, c, d, DROPS_OVERSIZE, caller);"
 *                     pool.c put_slow                 "wait_check(pool);"
 *     wait_until      wait.c wait_until               "if (!depot_counts(&pool->depot).pressure) {"
 *                     wait.c wait_until               "pressure_enter(pool);"
 *                     wait.c wait_until               "bool sure = depot_counts(&pool->depot).pressure;"
 *                     wait.c wait_until               "pthread_cond_wait(&w->woken, &pool->waiters.lock);"
 *                     wait.c wait_until               "else if (pthread_cond_timedwait(&w->woken, &pool->waiters.lock, last ? deadline : &retry) != 0)"
 *     wait            wait.c wait_for_buffer (11)     "depot_want(&pool->depot, true);"
 *                     wait.c wait_for_buffer          "serve_all(pool);"
 *                     wait.c wait_for_buffer          "if (!is_served(&w))"
 *     get_timed       pool.c bufferpool_get_timed     "bufferpool_buf_t *buf = get_slow(pool, c, WAIT, caller, SITE);"
 *                     pool.c bufferpool_get_timed     "pressure_flush(pool, c);"
 *                     pool.c bufferpool_get_timed     "d = make_reserved(pool, c);"
 *                     pool.c bufferpool_get_timed     "wait_check(pool);"
 *     putter          pool.c bufferpool_put           "put(buf, "bufferpool_put");"
 *     waiter          pool.c bufferpool_put           "put(buf, "bufferpool_put");"
 *
 * Claims: nobody waits for ever: where a waiter is left, Spin reports an invalid end state, and (run.sh --progress), where
 * one is busy for ever although all others go on, a cycle. When all is over the counts are exact, so nobody who gave up
 * waiting was given something all the same, and nobody is wanted.
 */
#ifndef PUTTERS
#define PUTTERS 1
#endif
#ifndef WAITERS
#define WAITERS 2
#endif
#define N PUTTERS
#define T (PUTTERS + WAITERS)

mtype = { OFF, ENTERING, ON, BUFFER, RESERVED };

bool wanted, pressure;            /* counts: one word, with */
byte pooled = N, in_flight = N;   /* these */
byte depot;                       /* buffers in it */
mtype state = OFF;                /* pressure.state */
bool gate[T] = true;              /* open */
bool inside[T];
bool cache[T];                    /* has one */
bool queue_lock, caches_lock;
chan queue = [WAITERS] of { byte };
mtype result[T];                  /* 0: none yet */
bool woken[T];
byte over;                        /* threads that have ended */

inline lock(l)
{
    atomic { !l -> l = true }
}

inline unlock(l)
{
    l = false
}

/* ---- wait.c: queue_lock is held ---- */

inline drop_waiter(w)
{
    d_step {
        queue ?? eval(w);
        if
#ifdef MUTANT_STILL_WANTED
        :: empty(queue)
#else
        :: empty(queue) -> wanted = false
#endif
        :: nempty(queue)
        fi
    }
}

inline serve_first(what)
{
    d_step {
        queue ? <first>;
        result[first] = what;
#ifndef MUTANT_NO_SIGNAL
        woken[first] = true
#endif
    };
    drop_waiter(first);
    first = 0
}

inline serve_all()
{
    do
    :: empty(queue) -> break
    :: nempty(queue) ->
        if
        :: d_step { depot > 0 -> depot--; }; in_flight++; serve_first(BUFFER)
        :: depot == 0 ->
#ifdef MUTANT_NO_RESERVE
            break
#else
            if
            :: d_step { pooled < N -> pooled++; in_flight++ }; serve_first(RESERVED)
            :: pooled >= N -> break
            fi
#endif
        fi
    od
}

inline wait_check()
{
    if
    :: wanted -> lock(queue_lock); serve_all(); unlock(queue_lock)
    :: !wanted
    fi
}

/* handed: to whom waits longest */
inline hand_over()
{
    handed = false;
    if
    :: wanted ->
        lock(queue_lock);
        if
        :: nempty(queue) -> serve_first(BUFFER); handed = true
        :: empty(queue)
        fi;
        unlock(queue_lock)
    :: !wanted
    fi
}

/* ---- pressure.c ---- */

inline enter()
{
    lock(caches_lock);
    if
    :: state == OFF -> state = ENTERING
    :: state != OFF
    fi;
    if
    :: state != ON ->
        d_step {
            for (k : 0 .. T - 1) {
                gate[k] = false
            };
            k = 0;
            complete = true
        };
        do
        :: k < T && !inside[k] -> atomic { in_flight = in_flight - cache[k]; depot = depot + cache[k]; cache[k] = false; k++ }
        :: k < T && inside[k] -> complete = false; k++
        :: k == T -> break
        od;
        if
        :: complete -> state = ON; pressure = true
        :: !complete
        fi
    :: state == ON
    fi;
    unlock(caches_lock);
    atomic { k = 0; complete = false };
#ifndef MUTANT_ENTER_NO_CHECK
    wait_check()
#endif
}

#define MAY_END (state != OFF && !wanted && in_flight < N && pooled <= N)

inline relax()
{
    if
    :: MAY_END ->
        if
        :: atomic { !caches_lock -> caches_lock = true };
            if
            :: MAY_END ->
                if
#ifdef MUTANT_END_WITHOUT_LOOK
                :: pressure = false; state = OFF
#else
                :: d_step { !wanted -> pressure = false }; state = OFF
                :: wanted
#endif
                fi
            :: !MAY_END
            fi;
            unlock(caches_lock)
        :: caches_lock
        fi
    :: !MAY_END
    fi
}

/* caches_lock is held */
inline flush_and_open()
{
    if
    :: cache[me] -> d_step { cache[me] = false; in_flight-- }; depot++
    :: !cache[me]
    fi;
    if
    :: state == OFF -> gate[me] = true
    :: state != OFF
    fi
}

inline serve_gate()
{
    if
    :: gate[me]
    :: !gate[me] && state != OFF && !cache[me]
    :: !gate[me] && caches_lock
    :: atomic { !gate[me] && (state == OFF || cache[me]) && !caches_lock -> caches_lock = true };
        flush_and_open();
        unlock(caches_lock)
    fi
}

inline thread_flush()
{
    lock(caches_lock);
    flush_and_open();
    unlock(caches_lock);
    wait_check()
}

/* ---- pool.c ---- */

inline put()
{
    if
    :: thread_flush()
    :: true
    fi;
    if
    :: atomic { gate[me] -> inside[me] = true }; d_step { cache[me] = true; inside[me] = false } /* the fast put */
    :: true ->
        if
#ifndef PLAIN
        :: d_step { pooled--; in_flight-- } /* dropped */
#endif
        :: true ->
            serve_gate();
            hand_over();
            if
            :: handed
            :: !handed ->
                if
                :: atomic { gate[me] -> inside[me] = true }; d_step { cache[me] = true; inside[me] = false }
                :: !gate[me] -> in_flight--; depot++
                fi
            fi
        fi;
        relax();
#ifndef MUTANT_NO_CHECK
        wait_check()
#endif
    fi
}

/* queue_lock is held */
inline wait_until()
{
    do
    :: result[me] != 0 || ended -> break
    :: result[me] == 0 && !ended ->
        if
        :: !pressure ->
            unlock(queue_lock);
            enter();
            lock(queue_lock)
        :: pressure
        fi;
        if
        :: result[me] != 0 -> break
        :: result[me] == 0
        fi;
#ifdef MUTANT_ALWAYS_SURE
        sure = true;
#else
        sure = pressure;
#endif
        unlock(queue_lock);
        if
        :: woken[me]
        :: !sure                 /* RETRY_MS */
        :: timed -> ended = true /* the deadline */
        fi;
        lock(queue_lock)
    od;
    sure = false
}

inline wait()
{
    lock(queue_lock);
    queue ! me;
#ifdef MUTANT_FLAG_LATE
    serve_all();
    if
    :: nempty(queue) -> wanted = true
    :: empty(queue)
    fi;
#else
    wanted = true;
    serve_all();
#endif
    wait_until();
    if
#ifdef MUTANT_ENDED_BLINDLY
    :: ended && queue ?? [eval(me)] -> drop_waiter(me)
    :: ended && !queue ?? [eval(me)] -> result[me] = 0
    :: !ended
#else
    :: result[me] == 0 -> drop_waiter(me)
    :: result[me] != 0
#endif
    fi;
    unlock(queue_lock)
}

/* held: it has one */
inline get_timed()
{
    enter(); /* the get that found nothing */
    thread_flush();
    wait();
    if
    :: result[me] == BUFFER -> held = true
    :: result[me] == RESERVED -> held = true
#ifndef PLAIN
    :: result[me] == RESERVED -> d_step { pooled--; in_flight-- } /* no memory */
#endif
    :: result[me] == 0
    fi;
#ifndef MUTANT_ROOM_NO_CHECK
    wait_check()
#endif
}

proctype putter(byte me)
{
    byte first;
    bool handed;
    put();
    over++
}

proctype waiter(byte me; bool timed)
{
    byte k, first;
    bool handed, complete, sure, ended, held;
    get_timed();
    if
    :: held -> put()
    :: !held
    fi;
    over++
}

init
{
    byte i;
    atomic {
        for (i : 0 .. PUTTERS - 1) {
            run putter(i)
        };
        for (i : PUTTERS .. T - 1) {
            if
            :: run waiter(i, false)
#ifndef PLAIN
            :: run waiter(i, true)
#endif
            fi
        };
        i = 0
    };
    over == T;
    d_step {
        for (i : 0 .. T - 1) {
            in_flight = in_flight - cache[i]
        };
        assert(in_flight == 0 && empty(queue) && !wanted);
        for (i : 0 .. T - 1) {
            pooled = pooled - cache[i]
        };
        assert(pooled == depot)
    }
}
