/* SPDX-License-Identifier: MIT
 *
 * close.pml - a closed pool, which ends with the last of its buffers
 *
 * THREADS threads hold a buffer each. The first has one more in its cache; the others have no cache yet. They put,
 * flush and end, before, during and after the close. REFUSED: there is no membarrier(2), so the close empties nobody's
 * cache. LOOP: one more thread has an event loop, with a ready waiter that was given a buffer or the right to make one.
 * It makes the buffer, fails to make it, or cancels. BUDGET: one more thread frees what idles for the sake of another
 * pool.
 *
 * One step is what one atomic operation does, or what is done under a lock that every other thread takes for it. The
 * depot has single buffers only. Numbers in brackets: close.c. Only watches: touch work.
 *
 *     step                in src/                              there
 *     ----                -------                              -----
 *     link                tls_cache.c cache_acquire            "roster_add(pool, c);"
 *                         tls_cache.c cache_acquire            "if (load_relaxed(&pool->pressure.state) == PRESSURE_OFF)"
 *     mark                cache.h cache_begin_call (3)         "store_seq_cst(&c->calls, load_relaxed(&c->calls) + 1); /*"
 *                         cache.h cache_begin_call (3)         "(void)add_seq_cst(&c->calls, 1);"
 *     look                cache.h cache_pool_is_closed (3)     "return unlikely(load_seq_cst(&pool->life) == POOL_CLOSED);"
 *     begin_call          pool.c put_by_the_rules              "cache_begin_call(c);"
 *                         pool.c put_by_the_rules              "const bool closed = cache_pool_is_closed(pool);"
 *     end_call            cache.h cache_end_call               "store_release(&c->calls, load_relaxed(&c->calls) - 1);"
 *                         cache.h cache_end_call               "(void)sub_seq_cst(&c->calls, 1);"
 *     hold                depot.c depot_hold                   "(void)add_seq_cst(&depot->counts, POOLED(1));"
 *     hold_if_any         depot.c depot_hold_if_any (2)        "if (depot_counts_of(counts).pooled == 0)"
 *                         depot.c depot_hold_if_any (2)        "} while (!cas_seq_cst(&depot->counts, &counts, counts + POOLED(1)));"
 *     drop                depot.c depot_drop (1)               "return depot_counts_of(sub_seq_cst(&depot->counts, POOLED(1))).pooled == 1;"
 *     unreserve           depot.c depot_unreserve              "(void)sub_seq_cst(&depot->counts, POOLED(n));"
 *     discard             depot.c depot_discard                "(void)sub_seq_cst(&depot->counts, POOLED(n) + TICKETS(n));"
 *     pop                 depot.c depot_pop_some_of               "if (!cas_seq_cst(&shard->head, &found, next))"
 *     push                depot.c push_closed                         "} while (!cas_seq_cst_acquire(&depot->head, &head, (head & ~(HEAD_TAG - 1)) | first->index));"
 *     flush               pressure.c pressure_flush            "flush_and_open(pool, c);"
 *     reclaim_all_idle    reclaim.c reclaim_all_idle           "const size_t bytes = free_buffers(pool, UINT32_MAX, false);"
 *                         reclaim.c free_magazine              "life_free(pool, bufs[freed], defer);"
 *     end_pool            close.c close_end                    "create_end(pool);"
 *                         create.c create_end                  "life_check_idle(pool);"
 *                         tls_cache.c tls_cache_forget         "registry_await_unpinned(pool);"
 *     release             close.c drop (1)                     "return depot_drop(&pool->depot);"
 *     close_give_back     close.c close_give_back              "pressure_flush(pool, tls_cache_own_or_shared(pool));"
 *                         close.c close_give_back              "life_free(pool, d, false);"
 *                         close.c close_give_back (1)          "close_release(pool);"
 *     put_to_pool         pool.c put_to_pool                   "enum counter reason = give_back(pool, c, d);"
 *                         pool.c drop                          "depot_unreserve(&pool->depot, 1);"
 *                         pool.c put_to_pool                   "call_serve(pool);"
 *     put                 cache.h cache_push_plain             "store_relaxed(&c->level, level + 1);"
 *                         pool.c put_by_the_rules              "cache_end_call(c); /*"
 *                         pool.c put_by_the_rules              "close_put(pool, d, word);"
 *     pin                 tls_cache.c for_own                  "registry_pin(pool);"
 *     unpin               tls_cache.c for_own                  "registry_unpin(pool);"
 *     leave_cache         tls_cache.c leave_cache              "cache_disown(pool, c);"
 *                         tls_cache.c leave_cache              "after_leaving(pool, &pool->shared);"
 *     for_own             tls_cache.c call_for                 "cache_begin_call(&pool->shared);"
 *                         tls_cache.c call_for                 "if (!closed || !on_closed.hold(pool))"
 *                         close.c close_left                   "reclaim_all_idle(pool, &pool->shared);"
 *                         tls_cache.c call_for                 "return on_closed.release(pool);"
 *                         tls_cache.c for_own                  "on_closed.end(pool);"
 *     next                async.c make                         "close_hold(pool);"
 *                         async.c make                         "struct desc *d = pool_make_reserved(pool, c);"
 *                         async.c make                         "close_release(pool);"
 *     cancel              async.c give_back                    "pool_give_back(pool, c, d);"
 *                         async.c give_back                    "life_unreserve(pool, 1);"
 *                         async.c give_back                    "close_give_back(pool, d);"
 *                         async.c give_back                    "close_release(pool);"
 *     leave_budget        close.c close_pool                   "budget_leave(pool); /*"
 *                         members.c members_leave              "registry_await_unpinned(pool);"
 *     close_gates         close.c close_pool (4)               "pressure_close(pool);"
 *                         pressure.c pressure_close            "const struct stolen stolen = steal_caches(pool, STEAL_ALL, &patience);"
 *     await_calls         close.c await_calls                  "for (const struct cache *c = load_acquire(&pool->caches); c != NULL; c = c->next)"
 *                         close.c await_calls_of (3)           "while (load_seq_cst(&c->calls) != 0)"
 *                         close.c await_calls                  "await_calls_of(&pool->shared);"
 *     thread              pool.c bufferpool_put                "put(buf, "bufferpool_put");"
 *                         tls_cache.c thread_end               "for_own(thread, true, leave_cache);"
 *     loop                async.c bufferpool_notifier_next     "waiter->buf = w->error == 0 ? take(w->pool, w) : NULL;"
 *                         async.c bufferpool_cancel            "give_back(pool, w->given);"
 *     other_pool          budget.c free_idle                   "freed += reclaim_idle(pool, bytes - freed, from_caches);"
 *     closer              close.c close_pool (3)               "if (!atomic_compare_exchange_strong(&pool->life, &alive, POOL_CLOSED))"
 *                         close.c close_pool (5)               "background_end(pool);"
 *
 * Claims:
 *
 *     - The pool ends once, when no buffer exists, no right to make one, and no hold.
 *     - No thread works on its buffers from the moment at which a thread begins to end it, and none touches it once its
 *       memory may be gone.
 *     - When all buffers are back, the pool has ended. (REFUSED: and when each thread has ended that has a cache.)
 *
 * Not here: callers that wait in the queue (waiters.pml), the fast path against the close of gates (steal.pml), and the
 * struct of the pool, which each waiter keeps for the last step of its call.
 */
#ifndef THREADS
#define THREADS 2
#endif
#ifdef LOOP
#define LOOPS 1
#else
#define LOOPS 0
#endif
#ifdef BUDGET
#define OTHERS 2
#else
#define OTHERS 1
#endif
#define OWNERS (THREADS + LOOPS) /* threads that have caches */
#define SHARED OWNERS            /* the index of pool->shared */
#ifdef REFUSED
#define STEALS false
#else
#define STEALS true
#endif

byte pooled = THREADS + 1 + LOOPS; /* of counts */
byte depot;                  /* buffers in it */
bool closed;                 /* life */
bool shut;                   /* pressure.state, once the close has set it */
byte calls[OWNERS + 1];      /* marks */
bool linked[OWNERS], gate[OWNERS];
byte cache[OWNERS];          /* buffers in it */
byte pins;
bool member = true;          /* of a budget */

/* the truth */
byte held[OWNERS];
byte exist;                  /* buffers that have a block */
bool ending, gone;           /* the end has begun; the memory may be gone */
byte over;                   /* threads that have ended */

/* In one step with each access to the pool. */
inline touch()
{
    assert(!gone)
}

/* The same, if it has to do with buffers. */
inline work()
{
    assert(!ending && !gone)
}

/* ---- tls_cache.c, cache.h ---- */

inline link()
{
    d_step {
        if
        :: !linked[me] -> touch(); linked[me] = true; gate[me] = !shut
        :: else
        fi
    }
}

inline mark(c)
{
    d_step { touch(); calls[c]++ }
}

inline look()
{
    d_step { touch(); seen = closed }
}

inline begin_call(c)
{
#ifdef MUTANT_LIFE_FIRST
    look();
    mark(c)
#else
    mark(c);
    look()
#endif
}

inline end_call(c)
{
    d_step { touch(); calls[c]-- }
}

/* ---- depot.c ---- */

inline hold()
{
    d_step { work(); pooled++ }
}

/* ok: there is a hold */
inline hold_if_any()
{
    d_step {
        touch();
        if
#ifndef MUTANT_HOLD_BLINDLY
        :: pooled == 0 -> ok = false
        :: pooled > 0 -> pooled++; ok = true
#else
        :: pooled++; ok = true
#endif
        fi
    }
}

/* last: it was the last that was counted */
inline drop()
{
#ifdef MUTANT_DROP_IN_TWO
    d_step { work(); pooled-- };
    d_step { touch(); last = (pooled == 0) }
#else
    d_step { work(); pooled--; last = (pooled == 0) }
#endif
}

inline unreserve()
{
    d_step { work(); pooled-- }
}

inline discard()
{
    d_step { work(); pooled-- }
}

/* ok: a buffer is in the thread's hands */
inline pop()
{
    d_step {
        work();
        if
        :: depot > 0 -> depot--; ok = true
        :: depot == 0 -> ok = false
        fi
    }
}

inline push()
{
    d_step { work(); held[me]--; depot++ }
}

/* ---- what frees ---- */

inline flush(c)
{
    d_step { work(); depot = depot + cache[c]; cache[c] = 0 }
}

inline reclaim_all_idle()
{
    do
    ::
        pop();
        if
        :: ok -> d_step { work(); exist-- }; discard()
        :: else -> break
        fi
    od;
    skip
}

/* ---- close.c: a closed pool ---- */

inline end_pool()
{
    d_step {
        assert(!ending && exist == 0 && pooled == 0 && depot == 0);
        ending = true
    };
#ifdef MUTANT_END_PINNED
    gone = true
#else
    atomic { pins == 0 -> gone = true }
#endif
}

inline release()
{
    drop();
    if
    :: last -> end_pool()
    :: else
    fi
}

inline close_give_back()
{
    if
    :: d_step { linked[me] && cache[me] > 0 -> touch() } ; flush(me)
    :: d_step { else -> touch() }
    fi;
    reclaim_all_idle();
#ifdef MUTANT_DROP_FIRST
    drop();
    d_step { touch(); held[me]--; exist-- };
    if
    :: last -> end_pool()
    :: else
    fi
#else
    d_step { work(); held[me]--; exist-- };
    release()
#endif
}

/* ---- puts ---- */

inline put_to_pool()
{
    if
    :: push()
    :: d_step { work(); held[me]--; exist-- }; unreserve()
    fi;
    d_step { work() }
}

inline put()
{
    if
    :: d_step { gate[me] -> work(); held[me]--; cache[me]++ }
    ::
#ifdef MUTANT_LINK_LATE
        begin_call(me);
        link();
#else
        link();
        begin_call(me);
#endif
        if
        :: !seen -> put_to_pool(); end_call(me)
        :: else ->
#ifdef MUTANT_DROP_IN_CALL
            close_give_back();
            end_call(me)
#else
            end_call(me);
            close_give_back()
#endif
        fi
    fi
}

/* ---- a thread goes over its caches ---- */

/* ok: the pool is still there */
inline pin()
{
    d_step {
        if
        :: !gone -> pins++; ok = true
        :: gone -> ok = false
        fi
    }
}

inline unpin()
{
    d_step { touch(); pins-- }
}

inline leave_cache()
{
    flush(me);
    d_step { work() }
}

inline for_own()
{
    pin();
    if
    :: ok ->
#ifdef MUTANT_NO_MARK_OF_WALKS
        look();
#else
        begin_call(SHARED);
#endif
        if
        :: !seen -> leave_cache()
        :: else
        fi;
#ifndef MUTANT_NO_MARK_OF_WALKS
        end_call(SHARED);
#endif
        d_step { ok = false; last = false };
        if
        :: seen ->
#ifdef MUTANT_HOLD_AFTER_FLUSH
            leave_cache();
            hold_if_any()
#else
            hold_if_any()
#endif
        :: else
        fi;
        if
        :: ok ->
#ifndef MUTANT_HOLD_AFTER_FLUSH
            leave_cache();
#endif
            reclaim_all_idle();
            drop()
        :: else
        fi;
        unpin();
        if
        :: last -> end_pool()
        :: else
        fi
    :: else
    fi;
    d_step { ok = false; last = false; seen = false }
}

/* ---- async.c: a waiter that is ready ---- */

inline next()
{
    begin_call(me);
#ifndef MUTANT_NO_HOLD_OF_MAKES
    if
    :: seen -> hold()
    :: else
    fi;
#endif
    if
    :: d_step { work(); exist++; held[me]++ }
    :: unreserve()
    fi;
#ifdef MUTANT_RELEASE_IN_CALL
    if
    :: seen -> release()
    :: else
    fi;
    end_call(me)
#else
    end_call(me);
#ifndef MUTANT_NO_HOLD_OF_MAKES
    if
    :: seen -> release()
    :: else
    fi
#endif
#endif
}

/* given: it has a buffer */
inline cancel(given)
{
    begin_call(me);
    if
    :: !seen ->
        if
        :: given -> put_to_pool()
        :: !given -> unreserve(); d_step { work() }
        fi
    :: else
    fi;
    end_call(me);
    if
    :: seen && given -> close_give_back()
    :: seen && !given -> release()
    :: else
    fi
}

/* ---- close ---- */

inline leave_budget()
{
#if defined(BUDGET) && !defined(MUTANT_STAYS_MEMBER)
    atomic { pins == 0 -> touch(); member = false }
#else
    skip
#endif
}

inline close_gates()
{
    d_step {
        touch();
        shut = true;
#ifndef MUTANT_GATES_STAY_OPEN
        for (i : 0 .. OWNERS - 1) {
            gate[i] = false
        };
#endif
        i = 0
    };
    do
    :: STEALS && i < OWNERS -> flush(i); i++
    :: else -> break
    od;
    skip
}

inline await_calls()
{
    d_step {
        touch();
        for (i : 0 .. OWNERS - 1) {
            found[i] = linked[i]
        };
        i = 0
    };
    do
    :: i < OWNERS ->
        atomic { !found[i] || calls[i] == 0 -> touch(); i++ }
    :: else -> break
    od;
    skip;
    atomic { calls[SHARED] == 0 -> touch() }
}

proctype closer()
{
    bool ok, last, found[OWNERS];
    byte i;
#ifndef MUTANT_CLOSER_HOLDS_LATE
    hold();
#endif
    d_step { touch(); closed = true };
    leave_budget();
#ifdef MUTANT_CLOSER_HOLDS_LATE
    hold();
#endif
    close_gates();
#ifndef MUTANT_NO_WAIT
    await_calls();
#endif
    d_step { touch(); i = 0 };
    reclaim_all_idle();
    release();
    over++
}

/* ---- threads ---- */

proctype thread(byte me)
{
    bool seen, ok, last;
    do
    :: held[me] > 0 -> put()
    :: linked[me] -> for_own()
    :: held[me] == 0 -> break
    od;
    if
    :: linked[me] -> for_own()
    :: !linked[me] || STEALS
    fi;
    d_step { seen = false; ok = false; last = false; over++ }
}

#ifdef LOOP
proctype loop(byte me)
{
    bool seen, ok, last;
    link();
    if
    :: held[me] == 0 -> next()
    :: held[me] == 0 -> cancel(false)
    :: held[me] == 1 -> cancel(true)
    :: held[me] == 1
    fi;
    do
    :: held[me] > 0 -> put()
    :: held[me] == 0 -> break
    od;
    skip;
    for_own();
    d_step { seen = false; ok = false; last = false; over++ }
}
#endif

#ifdef BUDGET
proctype other_pool()
{
    bool ok;
    do
    :: d_step { member && !gone -> pins++ };
        pop();
        if
        :: ok -> d_step { work(); exist-- }; discard()
        :: else
        fi;
        unpin();
        ok = false
    :: !member || closed -> break
    od;
    over++
}
#endif

init
{
    byte t;
    atomic {
        linked[0] = true;
        gate[0] = true;
        cache[0] = 1;
        exist = THREADS + 1;
        for (t : 0 .. THREADS - 1) {
            held[t] = 1;
            run thread(t)
        };
#ifdef LOOP
        if
        :: held[THREADS] = 1; exist++
        :: skip
        fi;
        run loop(THREADS);
#endif
#ifdef BUDGET
        run other_pool();
#endif
        run closer();
        t = 0
    };
    over == OWNERS + OTHERS;
    assert(gone && exist == 0 && pooled == 0 && depot == 0 && calls[SHARED] == 0)
}
