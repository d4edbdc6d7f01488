/* SPDX-License-Identifier: MIT
 *
 * waiters.pml - callers that wait at the cap, against puts, drops, cancels, a lowered cap, the end of pressure, and gates
 * that open again
 *
 * PUTTERS threads hold HOLDS buffers each, and the cap allows no more. Each of them may flush its cache before a put
 * (not if BRIEF), and may have its buffer dropped for its size (DROPS). WAITERS threads want one buffer each, or with
 * BULK so many, with a time limit (TIMED) or without, and put what they got. A loop has LOOP waiters and one notifier.
 * It takes one ready waiter each time that the file descriptor is readable, may cancel its first waiter at any time
 * (CANCELS), and puts what it got at its end. LOWERED: a thread lowers the cap by one. FLUSHES: a put may be followed by
 * a flush. LASTING: the first threads put only after all others have ended. BYTES: the pool is one of a budget's, which
 * has bytes for N buffers. A thread of another pool takes those of a dropped buffer, and its own buffer idles in its
 * cache.
 *
 * One step is what the code does in one atomic operation, or under a lock that every other thread takes for it. The
 * depot has single buffers only: under pressure it mostly does, and a call that pops a magazine for one buffer
 * restores the others before any other thread looks. Numbers in brackets: depot.c.
 *
 *     step            in src/                         there
 *     ----            -------                         -----
 *     lock            wait.c wait_serve_all           "pthread_mutex_lock(&pool->waiters.lock);"
 *     unlock          wait.c wait_once                "const bool again = !s->waiter.left && !over;"
 *     push            notifier.c notifier_push        "append(notifier, w);"
 *                     notifier.c notifier_push        "(void)add_relaxed(&notifier->ringing, 1);"
 *     unlock_and_ring wait.c unlock_and_ring          "pthread_mutex_unlock(&queue->lock);"
 *                     wait.c unlock_and_ring          "notifier_ring(rings->notifiers[--rings->n]);"
 *                     notifier.c notifier_ring        "set_readable(notifier, true);"
 *                     notifier.c notifier_ring        "(void)atomic_fetch_sub_explicit(&notifier->ringing, 1, memory_order_release);"
 *     set_unreadable  notifier.c take_out             "if (notifier->first == NULL && !load_relaxed(&notifier->again))"
 *                     notifier.c notifier_pop         "else if (!load_relaxed(&notifier->again))"
 *     pop             notifier.c notifier_pop         "while ((w = notifier->first) == NULL &&"
 *                     notifier.c notifier_pop         "notifier_await_rings(notifier);"
 *     take_out        notifier.c notifier_remove      "take_out(notifier, w);"
 *     leave           wait.c leave                    "depot_want(&pool->depot, false);"
 *                     wait.c leave                    "w->left = true;"
 *     wake            wait.c wake                     "pthread_cond_signal(&sleeper_of(w)->woken);"
 *                     wait.c wake                     "else if (notifier_push(w))"
 *     first_that_fits wait.c first_that_fits          "sleeper_of(w)->need > depot_cap_of(&pool->max_live)"
 *                     wait.c first_that_fits          "leave(pool, w, EINVAL);"
 *     give            wait.c give                     "w->given = d;"
 *                     wait.c give                     "s->reserved += d == NULL;"
 *                     wait.c give                     "if (++s->has < s->need)"
 *     serve_all       wait.c serve_all                "(w = first_that_fits(pool, rings)) != NULL && !depot_over_cap(&pool->depot, &pool->max_live)"
 *                     wait.c serve_all                "struct desc *d = take_from_depot(pool);"
 *                     wait.c take_from_depot          "const struct magazine magazine = shards_pop_some(&pool->depot, &pool->heap.table, 1);"
 *                     wait.c serve_all                "if (d == NULL && !life_reserve(pool) && !reserve_wanted(pool, w, rings))"
 *     serve           wait.h wait_serve (11)          "if (unlikely(depot_wanted(&pool->depot)))"
 *     call_end        call.h call_serve               "wait_serve(pool);"
 *                     pool.c put_to_pool              "call_serve(pool);"
 *     hand_over       wait.c wait_hand_over           "if (likely(!depot_wanted(&pool->depot)))"
 *                     wait.c wait_hand_over           "give(pool, w, d, &rings);"
 *     enter           pressure.c enter                "store_relaxed(&pool->pressure.state, PRESSURE_ENTERING);"
 *                     pressure.c settle               "depot_begin_pressure(&pool->depot);"
 *     relax           pressure.c pressure_relax       "if (may_end(pool) && depot_end_pressure(&pool->depot, &pool->max_live))"
 *                     depot.c depot_end_pressure      "if (now.wanted || now.pooled > depot_cap_of(max_live))"
 *     serve_gate      pressure.c pressure_serve_gate  "} else if ((state == PRESSURE_OFF || cache_idle(c) > 0) && pthread_mutex_trylock(&pool->caches_lock) == 0) {"
 *     flush_and_open  pressure.c flush_and_open       "(void)cache_flush_inside(pool, c);"
 *                     pressure.c flush_and_open       "cache_open(pool, c);"
 *     flush           pressure.c pressure_flush       "flush_and_open(pool, c);"
 *     keep_cap        reclaim.c reclaim_keep_cap      "while (unlikely(depot_over_cap(&pool->depot, &pool->max_live)) && some_idle(pool))"
 *     thread_flush    reclaim.c flush                 "pressure_flush(pool, c);"
 *                     reclaim.c flush                 "wait_serve(pool);"
 *     give_back       pool.c give_back                "const bool beyond = depot_over_cap(&pool->depot, &pool->max_live);"
 *                     pool.c give_back                "if (!modes_have(MODE_NOPOOL) && !beyond && wait_hand_over(pool, d))"
 *     put             cache.h cache_push_plain        "store_relaxed(&c->level, level + 1);"
 *                     pool.c give_back                "return drop(pool, c, d, DROPS_OVERSIZE);"
 *                     pool.c put_to_pool              "pressure_relax(pool);"
 *     give_bytes      heap/account.h account_give     "(void)sub_seq_cst(&budget->charged, bytes);"
 *                     heap/account.h account_give     "if (unlikely(load_seq_cst(&budget->wanted)))"
 *     reserve_wanted  wait.c reserve_wanted           "account_want(budget);"
 *                     wait.c reserve_wanted           "pthread_cond_signal(&sleeper_of(w)->woken);"
 *                     wait.c reserve_wanted           "} else if (w->called != round) {"
 *                     wait.c reserve_wanted           "ring_later(notifier_call(w->notifier), rings);"
 *                     notifier.c notifier_call        "store_release(&notifier->again, true); "
 *                     notifier.c notifier_call        "(void)add_relaxed(&notifier->ringing, 1);"
 *     serve_bytes     members.c members_serve_all     "if (!exchange_acquire(&budget->due, false))"
 *                     heap/account.h account_begin_round "store_seq_cst(&budget->wanted, false); /*"
 *                     heap/account.h account_begin_round "(void)add_seq_cst(&budget->rounds, 1);"
 *     budget_wait     budget.c budget_wait            "const bool sure = close_caches(budget);"
 *                     budget.c budget_wait            "if (budget_make_room(budget, heap_bytes(&pool->heap, pool->heap.base)))"
 *                     budget.c budget_wait            "members_serve_all(budget);"
 *     join            wait.c join                     "queue->last = w;"
 *                     wait.c join (11)                "depot_want(&pool->depot, true);"
 *                     wait.c wait_begin               "serve_all(pool, &rings);"
 *     give_up         timed.c give_up                 "pool_give_back(pool, c, d);"
 *                     timed.c give_up                 "life_unreserve(pool, s->reserved);"
 *     once            wait.c wait_once                "const bool sure = depot_counts(&pool->depot).pressure;"
 *                     wait.c wait_once                "pthread_cond_wait(&s->woken, &pool->waiters.lock);"
 *                     wait.c wait_once                "else if (pthread_cond_timedwait(&s->woken, &pool->waiters.lock, last ? &s->deadline : &retry) != 0)"
 *                     wait.c wait_once                "const bool again = !s->waiter.left && !over;"
 *     end             wait.c wait_end                 "if (!s->waiter.left)"
 *     wait_for        timed.c wait_for                "if (!depot_counts(&pool->depot).pressure) {"
 *                     timed.c wait_for                "pressure_enter(pool);"
 *                     timed.c wait_for                "reclaim_keep_cap(pool, c); /*"
 *                     timed.c wait_for                "} while (wait_once(pool, &s));"
 *                     timed.c wait_for                "return take_all(pool, c, &s, bufs) ? 0 : ENOMEM;"
 *     get_timed       timed.c bufferpool_get_timed    "bufferpool_buf_t *buf = pool_get_below_cap(pool, "bufferpool_get_timed", CALLER);"
 *                     timed.c wait_in_call            "call_serve(pool);"
 *     is_sure         async.c is_sure                 "pressure_enter(pool);"
 *                     async.c is_sure                 "return (budget_wait(pool) && depot_counts(&pool->depot).pressure) || !depot_wanted(&pool->depot);"
 *     ring_again      async.c ring_again              "notifier_ring_again(notifier);"
 *     get_async       async.c join                    "if (!wait_join(pool, w)) {"
 *                     async.c join                    "if (!is_sure(pool))"
 *     next_ready      async.c next_ready              "if (!try_again())"
 *                     async.c next_ready              "(void)exchange_acquire(&notifier->again, false); /*"
 *     next            async.c bufferpool_notifier_next "waiter->buf = w->error == 0 ? take(w->pool, w) : NULL;"
 *     cancel          async.c bufferpool_cancel       "if (!wait_leave(pool, w)) {"
 *                     wait.c wait_leave               "serve_all(pool, &rings);"
 *                     async.c bufferpool_cancel       "notifier_remove(w);"
 *                     async.c give_back               "life_unreserve(pool, 1);"
 *     putter          pool.c bufferpool_put           "put(buf, "bufferpool_put");"
 *     waiter          pool.c bufferpool_put           "put(buf, "bufferpool_put");"
 *     loop            async.c next_ready              "struct waiter *w = notifier_pop(notifier);"
 *     other           pool.c give_back                "if (account_is_wanted(pool->heap.slabs.budget)) /*"
 *     setter          reclaim.c bufferpool_set_max_live "store_seq_cst(&pool->max_live, depot_cap(n));"
 *
 * Claims: no thread waits for ever, and no loop sleeps while a buffer is there for one of its waiters: the file
 * descriptor is readable, or a call is about to write it. When a loop found no waiter, it is not readable. Where a
 * waiter is left, Spin reports an invalid end state, and (run.sh, PROGRESS) where a thread is busy for ever although
 * all others go on, a cycle. Only the first in the queue has a part, and each caller gets as many as it waits for. When
 * all threads have ended the counts are exact, no thread is wanted and no waiter is ready, so nothing was lost, and a
 * waiter that gave up was given nothing.
 */
#ifndef PUTTERS
#define PUTTERS 1
#endif
#ifndef HOLDS
#define HOLDS 1
#endif
#ifndef WAITERS
#define WAITERS 2
#endif
#ifndef LOOP
#define LOOP 0
#endif
#define N (PUTTERS * HOLDS)
#if LOOP > 0
#define LOOPS 1
#else
#define LOOPS 0
#endif
#define T (PUTTERS + WAITERS + LOOPS)
#define CALLERS (WAITERS + LOOP)
#define THREAD(w) (PUTTERS + w)
#define IS_THREAD(w) (w < WAITERS)
#define IN_LOOP(w) (w >= WAITERS)
#if defined(LOWERED) || defined(BYTES)
#define PROCESSES (T + 1)
#else
#define PROCESSES T
#endif

mtype = { OFF, ENTERING, ON, WAITS, GIVEN, EXPIRED, UNFIT };

bool wanted, pressure;            /* counts: one word, with */
byte pooled = N;                  /* this */
byte depot;                       /* buffers in it */
byte cap = N;
mtype state = OFF;                /* pressure.state */
bool gate[T] = true;              /* open */
bool inside[T];
byte cache[T];                    /* buffers in it */
bool queue_lock, caches_lock;
byte over;                        /* threads that have ended */

/* the budget, and the other pool */
byte bytes;                       /* those that nobody has, in buffers */
bool bytes_wanted, due, was_wanted;
byte rounds = 1;
bool other_open = true;           /* the gate of that pool's cache */
byte other_idle;                  /* buffers in it */

/* callers that wait */
chan queue = [CALLERS] of { byte };
byte need[CALLERS], given[CALLERS], rights[CALLERS];
mtype left[CALLERS];              /* WAITS: it is in the queue; 0: it does not wait */
bool woken[CALLERS];
byte called[CALLERS];             /* in which round */

/* the loop's notifier; the list changes under its lock, and the write that makes it readable takes no lock */
chan list = [CALLERS] of { byte };
bool readable, again_later;
byte ringing;                     /* calls that are about to make it readable */
bool list_lock;                   /* in the mutant that holds it for more than a step */

inline lock(l)
{
    atomic { !l -> l = true }
}

inline unlock(l)
{
    l = false
}

/* ---- notifier.c ---- */

inline push(w)
{
    d_step {
        if
#ifdef MUTANT_PUSH_SILENT
        :: !list_lock && nempty(list) -> ringing++; rings++
        :: !list_lock && empty(list)
#else
        :: !list_lock && empty(list) -> ringing++; rings++
        :: !list_lock && nempty(list)
#endif
        fi;
        list ! w
    }
}

/* The queue's lock is held. */
inline unlock_and_ring()
{
    if
    :: d_step { rings == 0 -> queue_lock = false }
    :: rings > 0 ->
        queue_lock = false;
        do
        :: rings > 0 -> readable = true; d_step { ringing--; rings-- }
        :: rings == 0 -> break
        od
    fi
}

/* After the list has lost one, or had none. */
inline set_unreadable()
{
    if
#ifdef MUTANT_RING_LOST
    :: empty(list) -> readable = false
    :: nempty(list)
#else
    :: empty(list) && !again_later -> readable = false
    :: nempty(list) || again_later
#endif
    fi
}

/* got: the waiter, or CALLERS */
inline pop()
{
#ifdef MUTANT_POP_LOCKED
    list_lock = true;
#endif
    do
#ifdef MUTANT_RESET_EARLY
    :: d_step { nempty(list) -> readable = false; list ? got }; break
#else
    :: d_step { nempty(list) -> list ? got; set_unreadable() }; break
#endif
#ifdef MUTANT_NO_AWAIT
    :: d_step { empty(list) -> got = CALLERS; set_unreadable() }; break
#else
    :: d_step { empty(list) && ringing == 0 -> got = CALLERS; set_unreadable() }; break
    :: empty(list) && ringing > 0 -> ringing == 0
#endif
    od;
#ifdef MUTANT_POP_LOCKED
    list_lock = false
#else
    skip
#endif
}

inline take_out(w)
{
    d_step {
        list ?? eval(w);
        set_unreadable()
    }
}

/* ---- wait.c: queue_lock is held ---- */

inline leave(w, why)
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
        fi;
        left[w] = why
    }
}

inline wake(w)
{
    if
    :: IS_THREAD(w) ->
#ifndef MUTANT_NO_SIGNAL
        woken[w] = true
#endif
    :: IN_LOOP(w) -> push(w)
    fi
}

/* first: that one, or CALLERS if the queue is empty */
inline first_that_fits()
{
    do
    :: empty(queue) -> first = CALLERS; break
    :: nempty(queue) ->
        d_step { queue ? <first> };
        if
        :: need[first] > cap -> leave(first, UNFIT); wake(first)
        :: need[first] <= cap -> break
        fi
    od
}

/* right: it is no buffer, but the right to make one */
inline give(right)
{
    d_step {
        /* nobody behind it has a part */
        for (k : 0 .. CALLERS - 1) {
            assert(k == first || left[k] != WAITS || given[k] + rights[k] == 0)
        };
        k = 0;
        assert(left[first] == WAITS);
        given[first] = given[first] + (1 - right);
        rights[first] = rights[first] + right
    };
    if
#ifdef MUTANT_ONE_IS_ENOUGH
    :: true -> leave(first, GIVEN); wake(first)
#else
    :: given[first] + rights[first] == need[first] -> leave(first, GIVEN); wake(first)
    :: given[first] + rights[first] < need[first]
#endif
    fi
}

/* A dropped buffer, or a right that was given up. */
inline give_bytes(n)
{
    bytes = bytes + n;
    if
    :: bytes_wanted && n > 0 -> due = true
    :: !bytes_wanted || n == 0
    fi
}

/* complete: it has the right now */
inline reserve_wanted()
{
    k = rounds;
#ifdef MUTANT_FIRST_CALLS
    d_step { was_wanted = bytes_wanted; bytes_wanted = true };
#else
    bytes_wanted = true;
#endif
    if
    :: d_step { bytes > 0 -> bytes--; pooled++; complete = true }
    :: bytes == 0 ->
        if
        :: IS_THREAD(first) -> woken[first] = true
#if defined(MUTANT_NO_CALL)
        :: IN_LOOP(first)
#else
#if defined(MUTANT_FIRST_CALLS)
        :: IN_LOOP(first) && !was_wanted ->
#else
        :: IN_LOOP(first) && called[first] != k ->
            called[first] = k;
#endif
#if defined(MUTANT_CALL_SILENT)
            d_step { ringing++; rings++ }
#elif defined(MUTANT_CALL_LATE)
            again_later = true;
            d_step { ringing++; rings++ }
#else
            d_step { ringing++; rings++ };
            again_later = true
#endif
#if defined(MUTANT_FIRST_CALLS)
        :: IN_LOOP(first) && was_wanted
#else
        :: IN_LOOP(first) && called[first] == k
#endif
#endif
        fi
    fi;
    k = 0
}

inline serve_all()
{
    do
    ::
        first_that_fits();
        if
        :: first == CALLERS -> break
        :: first < CALLERS && pooled > cap -> break
        :: first < CALLERS && pooled <= cap ->
            if
            :: d_step { depot > 0 -> depot-- }; give(0)
            :: depot == 0 ->
#ifdef MUTANT_NO_RESERVE
                break
#elif defined(BYTES)
                if
                :: d_step { pooled < cap && bytes > 0 -> bytes--; pooled++ }; give(1)
                :: pooled < cap && bytes == 0 ->
                    reserve_wanted();
                    if
                    :: complete -> complete = false; give(1)
                    :: !complete -> break
                    fi
                :: pooled >= cap -> break
                fi
#else
                if
                :: d_step { pooled < cap -> pooled++ }; give(1)
                :: pooled >= cap -> break
                fi
#endif
            fi
        fi
    od;
    first = 0
}

inline serve()
{
    if
    :: wanted -> lock(queue_lock); serve_all(); unlock_and_ring()
    :: !wanted
    fi
}

/* Those that wait, for whatever. The code serves once before, which finds nothing that this does not. */
inline serve_bytes()
{
    if
    :: d_step { due -> due = false }; bytes_wanted = false; rounds++
    :: !due
    fi;
    serve()
}

/* call.h: the end of each call that is not served by the cache alone */
inline call_end()
{
#if defined(MUTANT_NO_CHECK)
    skip
#elif defined(BYTES)
    serve_bytes()
#else
    serve()
#endif
}

/* What idles in the other pool makes room. */
inline budget_wait()
{
    if
    :: bytes_wanted ->
        other_open = false;
        if
        :: d_step { other_idle > 0 -> other_idle-- }; give_bytes(1)
        :: other_idle == 0
        fi;
        serve_bytes()
    :: !bytes_wanted
    fi
}

/* handed: the buffer went to the longest waiting caller */
inline hand_over()
{
    handed = false;
    if
    :: wanted ->
        lock(queue_lock);
        first_that_fits();
        if
        :: first < CALLERS -> give(0); handed = true
        :: first == CALLERS
        fi;
        first = 0;
        unlock_and_ring()
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
        :: k < T && !inside[k] -> atomic { depot = depot + cache[k]; cache[k] = 0; k++ }
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

#define MAY_END (state != OFF && !wanted && pooled - depot < cap && pooled <= cap)

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
                :: d_step { !wanted && pooled <= cap -> pressure = false }; state = OFF
                :: wanted || pooled > cap
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
    :: cache[me] > 0 -> d_step { depot = depot + cache[me]; cache[me] = 0 }
    :: cache[me] == 0
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
    :: !gate[me] && state != OFF && cache[me] == 0
    :: !gate[me] && caches_lock
    :: atomic { !gate[me] && (state == OFF || cache[me] > 0) && !caches_lock -> caches_lock = true };
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

/* One step, and exact: cap.pml is about the steps. */
inline keep_cap()
{
    do
    :: d_step { pooled > cap && depot > 0 -> depot--; pooled-- }
    :: pooled <= cap || depot == 0 -> break
    od
}

inline thread_flush()
{
    flush();
    keep_cap();
    call_end()
}

/* Takes a buffer back that is in no cache, and not in the depot. */
inline give_back()
{
    serve_gate();
    if
    :: pooled > cap -> pooled--
    :: pooled <= cap ->
        hand_over();
        if
        :: handed
        :: !handed ->
            if
            :: atomic { gate[me] -> inside[me] = true }; d_step { cache[me]++; inside[me] = false }
            :: !gate[me] -> depot++
            fi
        fi
    fi
}

inline put()
{
#ifndef BRIEF
    if
    :: thread_flush()
    :: true
    fi;
#endif
    if
    :: atomic { gate[me] -> inside[me] = true }; d_step { cache[me]++; inside[me] = false } /* the fast put */
    :: true ->
        if
#ifdef DROPS
        :: /* dropped */
#ifdef BYTES
            give_bytes(1);
#endif
            pooled--
#endif
        :: give_back()
        fi;
        keep_cap();
        relax();
        call_end()
    fi
#ifdef FLUSHES
    ;
    if
    :: thread_flush()
    :: true
    fi
#endif
}

inline join(w, n)
{
    queue ! w;
    d_step { left[w] = WAITS; need[w] = n; given[w] = 0; rights[w] = 0; woken[w] = false };
#ifdef MUTANT_FLAG_LATE
    serve_all();
    if
    :: nempty(queue) -> wanted = true
    :: empty(queue)
    fi
#else
    wanted = true;
    serve_all()
#endif
}

/* Gives back what a caller was given. */
inline give_up(w)
{
    do
    :: given[w] > 0 -> given[w]--; give_back()
    :: given[w] == 0 -> break
    od;
#ifndef MUTANT_RIGHTS_LOST
#ifdef BYTES
    give_bytes(rights[w]);
#endif
    atomic { pooled = pooled - rights[w]; rights[w] = 0 };
#endif
    keep_cap()
}

/* ---- timed.c ---- */

/* again: it was not served, and its time is not over */
inline once()
{
    lock(queue_lock);
    if
    :: left[self] != WAITS
    :: left[self] == WAITS ->
#ifdef MUTANT_ALWAYS_SURE
        sure = true;
#else
        sure = pressure && !bytes_wanted;
#endif
        unlock(queue_lock);
        if
        :: woken[self]
        :: !sure                 /* RETRY_MS */
        :: timed -> ended = true /* the deadline */
        fi;
        lock(queue_lock)
    fi;
    d_step { sure = false; again = (left[self] == WAITS && !ended) };
    unlock(queue_lock)
}

inline end()
{
    lock(queue_lock);
    if
#ifdef MUTANT_ENDED_BLINDLY
    :: ended && queue ?? [eval(self)] -> leave(self, EXPIRED)
    :: ended && !queue ?? [eval(self)] -> d_step { left[self] = EXPIRED; given[self] = 0 }
    :: !ended
#else
    :: left[self] == WAITS -> leave(self, EXPIRED)
    :: left[self] != WAITS
#endif
    fi;
    unlock(queue_lock)
}

/* held: so many it has */
inline wait_for(n)
{
    flush();
    keep_cap();
    lock(queue_lock);
    join(self, n);
    unlock_and_ring();
    do
    ::
        if
        :: !pressure ->
            enter();
#ifndef MUTANT_SURPLUS_STAYS
            keep_cap();
#endif
#ifndef MUTANT_LOOP_NO_CHECK
            serve()
#endif
        :: pressure
        fi;
#ifdef BYTES
        budget_wait();
#endif
        once();
        if
        :: again
        :: !again -> break
        fi
    od;
    end();
    if
    :: left[self] == GIVEN ->
        assert(given[self] + rights[self] == n);
        if
        :: d_step { held = given[self] + rights[self]; given[self] = 0; rights[self] = 0 }
#ifdef DROPS
        :: rights[self] > 0 -> d_step { pooled--; rights[self]-- }; give_up(self) /* no memory */
#endif
        fi
    :: left[self] != GIVEN ->
#ifdef MUTANT_PART_KEPT
        skip
#else
        give_up(self)
#endif
    fi
}

inline get_timed(n)
{
    enter(); /* the get that found nothing */
    call_end();
    wait_for(n);
#ifndef MUTANT_ROOM_NO_CHECK
    call_end()
#endif
}

/* ---- async.c ---- */

/* sure: the pool is under pressure, or nobody waits */
inline is_sure()
{
    if
    :: !pressure -> enter(); keep_cap(); serve()
    :: pressure
    fi;
#ifdef BYTES
    budget_wait();
#endif
    sure = (pressure || !wanted)
}

inline ring_again()
{
    again_later = true;
    readable = true
}

inline get_async(w)
{
    flush();
    keep_cap();
    lock(queue_lock);
    join(w, 1);
    unlock_and_ring();
#ifndef MUTANT_NO_RING
    is_sure();
    if
    :: !sure -> ring_again()
    :: sure
    fi;
#endif
    sure = false;
    call_end()
}

/* got: the waiter that has been ready for longest, or CALLERS */
inline next_ready()
{
    pop();
    if
    :: got == CALLERS && again_later ->
#ifndef MUTANT_CLEARED_LATE
        again_later = false;
#endif
        is_sure();
#ifdef MUTANT_CLEARED_LATE
        again_later = false;
#endif
        if
        :: !sure -> ring_again()
        :: sure
        fi;
        sure = false;
        pop()
    :: got < CALLERS || !again_later
    fi
}

inline next()
{
    next_ready();
    if
    :: got == CALLERS -> assert(!readable || again_later || nempty(list))
    :: got < CALLERS ->
        assert(left[got] == GIVEN && given[got] + rights[got] == 1);
        d_step { held = held + given[got] + rights[got]; given[got] = 0; rights[got] = 0; left[got] = 0 }
    fi
}

/* Wherever the waiter is. */
inline cancel(w)
{
    lock(queue_lock);
    if
    :: left[w] == WAITS ->
        leave(w, 0);
#ifndef MUTANT_CANCEL_SERVES_NOBODY
        serve_all();
#endif
        unlock_and_ring()
    :: left[w] == GIVEN ->
        unlock(queue_lock);
        take_out(w);
        left[w] = 0;
#ifdef MUTANT_CANCEL_KEEPS
        d_step { given[w] = 0; rights[w] = 0 }
#else
        give_up(w);
#endif
        call_end();
        relax()
    :: left[w] == 0 -> unlock(queue_lock)
    fi
}

/* ---- the threads ---- */

proctype putter(byte me)
{
    byte k, first, rings, held = HOLDS;
    bool handed, complete;
#ifdef LASTING
    over == PROCESSES - PUTTERS;
#endif
    do
    :: held > 0 -> held--; put()
    :: held == 0 -> break
    od;
    over++
}

proctype waiter(byte me; byte self; byte n; bool timed)
{
    byte k, first, rings, held;
    bool handed, complete, sure, again, ended;
    get_timed(n);
    do
    :: held > 0 -> held--; put()
    :: held == 0 -> break
    od;
    over++
}

/* A loop that is level-triggered: it takes one waiter each time. It keeps what it gets until all its waiters are
 * served. */
proctype loop(byte me)
{
    byte k, first, rings, held, got = CALLERS, w;
    bool handed, complete, sure;
    for (w : WAITERS .. CALLERS - 1) {
        get_async(w)
    };
    do
    :: readable -> next()
#ifdef CANCELS
    :: atomic { left[WAITERS] != 0 -> w = WAITERS }; cancel(w)
#endif
    :: left[WAITERS] == 0 && left[CALLERS - 1] == 0 -> break
    od;
    do
    :: held > 0 -> held--; put()
    :: held == 0 -> break
    od;
    over++
}

#ifdef BYTES
/* In the other pool: takes the bytes of one buffer, if there are any, and puts the buffer. */
proctype other()
{
    byte k, first, rings;
    bool complete;
    if
    :: d_step { bytes > 0 -> bytes-- };
        if
        :: d_step { other_open -> other_idle++ } /* the fast put */
        :: !other_open ->
            if
            :: bytes_wanted -> give_bytes(1)
            :: !bytes_wanted -> other_idle++
            fi;
            if /* once more, as members_serve_after */
            :: d_step { bytes_wanted && other_idle > 0 -> other_idle-- }; give_bytes(1)
            :: !bytes_wanted || other_idle == 0
            fi;
            serve_bytes()
        fi
    :: over == PROCESSES - 1
    fi;
    over++
}
#endif

#ifdef LOWERED
/* The cap is one less from now on. */
proctype setter()
{
    byte k, first, rings;
    bool complete;
    cap--;
    if
    :: pooled > cap -> enter(); keep_cap()
    :: pooled <= cap
    fi;
    keep_cap();
    relax();
    call_end();
    keep_cap();
    over++
}
#endif

init
{
    byte i;
    atomic {
        for (i : 0 .. PUTTERS - 1) {
            run putter(i)
        };
        for (i : 0 .. WAITERS - 1) {
            if
#ifndef LASTING
            :: run waiter(THREAD(i), i, 1, false)
#endif
#ifdef TIMED
            :: run waiter(THREAD(i), i, 1, true)
#endif
#ifdef BULK
            :: run waiter(THREAD(i), i, BULK, false)
#ifdef TIMED
            :: run waiter(THREAD(i), i, BULK, true)
#endif
#endif
            fi
        };
#if LOOP > 0
        run loop(T - 1);
#endif
#ifdef LOWERED
        run setter();
#endif
#ifdef BYTES
        run other();
#endif
        i = 0
    };
    over == PROCESSES;
    d_step {
        assert(empty(queue) && !wanted && empty(list) && ringing == 0);
        for (i : 0 .. T - 1) {
            pooled = pooled - cache[i]
        };
        assert(pooled == depot);
#ifdef BYTES
        for (i : 0 .. T - 1) {
            pooled = pooled + cache[i]
        };
        assert(bytes + other_idle + pooled == N)
#endif
    }
}
