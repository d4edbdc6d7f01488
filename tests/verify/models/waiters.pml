/* SPDX-License-Identifier: MIT
 *
 * waiters.pml - callers that wait at the cap, against puts, drops, the end of pressure, and gates that open again
 *
 * PUTTERS threads hold one buffer each, and the cap allows no more. Each of them may flush its cache, and then puts
 * its buffer, or has it dropped for its size. WAITERS threads want one buffer each, with a time limit or without, and
 * put the buffers that they got. (PLAIN: no drops and no time limits, but a put may be followed by another flush.)
 * One step is what the code does in one atomic operation, or under a lock that every other thread takes for it. The
 * depot has single buffers only: under pressure it mostly does, and a call that pops a magazine for one buffer
 * restores the others before any other thread looks. Numbers in brackets: depot.c.
 *
 *     step            in src/                         there
 *     ----            -------                         -----
 *     lock            wait.c wait_serve_all           "pthread_mutex_lock(&pool->waiters.lock);"
 *     unlock          wait.c wait_serve_all           "pthread_mutex_unlock(&pool->waiters.lock);"
 *     drop_waiter     wait.c drop                     "depot_want(&pool->depot, false);"
 *     serve_first     wait.c serve_first              "w->buffer = d;"
 *                     wait.c serve_first              "w->reserved = d == NULL;"
 *                     wait.c serve_first              "pthread_cond_signal(&w->woken);"
 *     serve_all       wait.c serve_all                "struct desc *d = take_from_depot(pool);"
 *                     wait.c take_from_depot          "const struct magazine magazine = depot_pop_some(&pool->depot, &pool->heap.table, 1);"
 *                     wait.c serve_all                "if (d == NULL && !life_reserve(pool) && !reserve_wanted(pool))"
 *     serve           wait.h wait_serve (11)          "if (unlikely(depot_wanted(&pool->depot)))"
 *     call_end        call.h call_end                 "wait_serve(pool);"
 *     hand_over       wait.c wait_hand_over           "if (likely(!depot_wanted(&pool->depot)))"
 *                     wait.c wait_hand_over           "serve_first(pool, d);"
 *     enter           pressure.c enter                "store_relaxed(&pool->pressure.state, PRESSURE_ENTERING);"
 *                     pressure.c settle               "depot_begin_pressure(&pool->depot);"
 *     relax           pressure.c pressure_relax       "if (may_end(pool) && depot_end_pressure(&pool->depot, &pool->max_live))"
 *                     depot.c depot_end_pressure      "if (now.wanted || now.pooled > depot_cap_of(max_live))"
 *     serve_gate      pressure.c pressure_serve_gate  "} else if ((state == PRESSURE_OFF || cache_idle(c) > 0) && pthread_mutex_trylock(&pool->caches_lock) == 0) {"
 *     flush_and_open  pressure.c flush_and_open       "(void)cache_flush_inside(pool, c);"
 *                     pressure.c flush_and_open       "cache_open(pool, c);"
 *     flush           pressure.c pressure_flush       "flush_and_open(pool, c);"
 *     thread_flush    reclaim.c flush                    "pressure_flush(pool, c);"
 *                     reclaim.c flush                    "wait_serve(pool);"
 *     put             cache.h cache_push_plain        "store_relaxed(&c->level, level + 1);"
 *                     pool.c give_back                "if (!modes_have(MODE_NOPOOL) && !beyond && wait_hand_over(pool, d)) {"
 *                     pool.c give_back                "return drop(pool, c, d, DROPS_OVERSIZE);"
 *                     pool.c put_by_the_rules         "pressure_relax(pool);"
 *                     pool.c put_slow                 "call_end(&call, pool);"
 *     begin           wait.c wait_begin               "append(&pool->waiters, w);"
 *                     wait.c wait_begin (11)          "depot_want(&pool->depot, true);"
 *                     wait.c wait_begin               "serve_all(pool);"
 *     once            wait.c wait_once                "const bool sure = depot_counts(&pool->depot).pressure;"
 *                     wait.c wait_once                "pthread_cond_wait(&w->woken, &pool->waiters.lock);"
 *                     wait.c wait_once                "else if (pthread_cond_timedwait(&w->woken, &pool->waiters.lock, last ? &w->deadline : &retry) != 0)"
 *                     wait.c wait_once                "const bool again = !is_served(w) && !over;"
 *     end             wait.c wait_end                 "if (!is_served(w))"
 *     wait_in_queue   pool.c wait_in_queue            "if (!depot_counts(&pool->depot).pressure) {"
 *                     pool.c wait_in_queue            "pressure_enter(pool);"
 *                     pool.c wait_in_queue            "wait_serve(pool);"
 *                     pool.c wait_in_queue            "} while (wait_once(pool, &w));"
 *                     pool.c wait_in_queue            "return make_reserved(get);"
 *     get_timed       pool.c bufferpool_get_timed     "bufferpool_buf_t *buf = get_slow(pool, c, WAIT, "bufferpool_get_timed", CALLER);"
 *                     pool.c get_waiting              "struct desc *d = wait_in_queue(&get, timeout_ms);"
 *                     pool.c get_waiting              "call_end(&call, pool);"
 *     putter          pool.c bufferpool_put           "put(buf, "bufferpool_put");"
 *     waiter          pool.c bufferpool_put           "put(buf, "bufferpool_put");"
 *
 * Claims: no thread waits for ever. Where a waiter is left, Spin reports an invalid end state, and (run.sh, PROGRESS)
 * where a thread is busy for ever although all others go on, a cycle. When all threads have ended the counts are
 * exact and no thread is wanted, so a waiter that gave up was given nothing.
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
byte pooled = N;                  /* this */
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
        :: d_step { depot > 0 -> depot-- }; serve_first(BUFFER)
        :: depot == 0 ->
#ifdef MUTANT_NO_RESERVE
            break
#else
            if
            :: d_step { pooled < N -> pooled++ }; serve_first(RESERVED)
            :: pooled >= N -> break
            fi
#endif
        fi
    od
}

inline serve()
{
    if
    :: wanted -> lock(queue_lock); serve_all(); unlock(queue_lock)
    :: !wanted
    fi
}

/* call.h: the end of each call that is not served by the cache alone */
inline call_end()
{
#ifndef MUTANT_NO_CHECK
    serve()
#else
    skip
#endif
}

/* handed: the buffer went to the longest waiting caller */
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
        :: k < T && !inside[k] -> atomic { depot = depot + cache[k]; cache[k] = false; k++ }
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
    atomic { k = 0; complete = false }
}

#define MAY_END (state != OFF && !wanted && pooled - depot < N && pooled <= N)

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
    :: cache[me] -> d_step { cache[me] = false; depot++ }
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

inline flush()
{
    lock(caches_lock);
    flush_and_open();
    unlock(caches_lock)
}

/* ---- reclaim.c, pool.c ---- */

inline thread_flush()
{
    flush();
    call_end()
}

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
        :: pooled-- /* dropped */
#endif
        :: true ->
            serve_gate();
            hand_over();
            if
            :: handed
            :: !handed ->
                if
                :: atomic { gate[me] -> inside[me] = true }; d_step { cache[me] = true; inside[me] = false }
                :: !gate[me] -> depot++
                fi
            fi
        fi;
        relax();
        call_end()
    fi
#ifdef PLAIN
    ;
    if
    :: thread_flush()
    :: true
    fi
#endif
}

inline begin()
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
    unlock(queue_lock)
}

/* again: it was not served, and its time is not over */
inline once()
{
    lock(queue_lock);
    if
    :: result[me] != 0
    :: result[me] == 0 ->
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
    fi;
    d_step { sure = false; again = (result[me] == 0 && !ended) };
    unlock(queue_lock)
}

inline end()
{
    lock(queue_lock);
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
inline wait_in_queue()
{
    begin();
    do
    ::
        if
        :: !pressure ->
            enter();
#ifndef MUTANT_LOOP_NO_CHECK
            serve()
#endif
        :: pressure
        fi;
        once();
        if
        :: again
        :: !again -> break
        fi
    od;
    end();
    if
    :: result[me] == BUFFER -> held = true
    :: result[me] == RESERVED -> held = true
#ifndef PLAIN
    :: result[me] == RESERVED -> pooled-- /* no memory */
#endif
    :: result[me] == 0
    fi
}

inline get_timed()
{
    enter(); /* the get that found nothing */
    call_end();
    flush();
    wait_in_queue();
#ifndef MUTANT_ROOM_NO_CHECK
    call_end()
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
    bool handed, complete, sure, again, ended, held;
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
        assert(empty(queue) && !wanted);
        for (i : 0 .. T - 1) {
            pooled = pooled - cache[i]
        };
        assert(pooled == depot)
    }
}
