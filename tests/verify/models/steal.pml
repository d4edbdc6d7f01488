/* SPDX-License-Identifier: MIT
 *
 * steal.pml - an owner at its cache, against a thread that steals from the cache
 *
 * For ever, the owner gets and puts, takes a buffer from the depot, and sometimes flushes its cache under the lock,
 * and the thief steals from the cache. The owner's plain stores go through a store buffer that empties at any time,
 * in order (x86). A load by the owner finds its newest value there first. Its loads of gate and level are separate
 * steps. The thief is sequentially consistent, because of its lock and its seq_cst store.
 * Numbers in brackets: steal.c.
 *
 *     step        in src/                                   there
 *     ----        -------                                   -----
 *     store       cache.h cache_leave (4)                   "store_release(&c->busy, false);"
 *     load_level  cache.h cache_pop_plain                   "uint64_t level = load_relaxed(&c->level);"
 *     go_in       cache.h cache_enter (1)                   "store_relaxed(&c->busy, true);"
 *                 cache.h cache_enter                       "compiler_barrier();"
 *                 cache.h cache_pop_plain (2)               "uintptr_t gate = gate_load(&c->gate);"
 *     get         cache.h cache_pop_plain (3)               "store_relaxed(&c->level, next);"
 *     put         cache.h cache_push_plain (3)              "store_relaxed(&c->level, level + 1);"
 *     go_out      cache.h cache_leave (4)                   "store_release(&c->busy, false);"
 *     refill      cache.c cache_refill                      "const struct magazine magazine = shards_pop(&pool->depot, &pool->heap.table, in);"
 *     flush       pressure.c flush_and_open                 "(void)cache_flush_inside(pool, c);"
 *     buffer      cache.h cache_leave                       "store_release(&c->busy, false);"
 *     owner       pool.c bufferpool_get                     "return get(pool, GO_BEYOND, "bufferpool_get");"
 *     barrier     steal.c barrier_in_all_threads            "if (membarrier(PRIVATE_EXPEDITED))"
 *     thief       steal.c close_gate (a)                    "cache_close(c);"
 *                 steal.c close_gate                        "c->fenced = false;"
 *                 steal.c fence (b)                         "walk->batch[i]->fenced = true;"
 *                 steal.c take (c)                          "if (c != own && (!c->fenced || !cache_owner_is_out(c))) {"
 *                 steal.c take (d)                          "const uint32_t n = take_inside(pool, c);"
 *                 steal.c take (e)                          "cache_open(pool, c);"
 *     wait        steal.c wait_for_owner                    "pthread_mutex_unlock(&pool->caches_lock);"
 *                 steal.c wait_for_owner                    "pthread_mutex_lock(&pool->caches_lock);"
 *
 * Claims: owner and thief are never both inside. The one that is inside finds every buffer held, in the cache or in
 * the depot, so no buffer is lost and none has two owners.
 */
#ifndef BUFFERS
#define BUFFERS 3
#endif

mtype = { BUSY, LEVEL };

bool gate = true, busy; /* open */
byte level;             /* its n */
byte depot = BUFFERS, held;
bool caches_lock;
bool owner_inside, thief_inside;
bool to_take, fenced; /* the cache is pending, and had its barrier */

/* The owner's stores on their way; how many of them are of level, and the newest of these. */
chan pending = [4] of { mtype, byte };
byte levels, newest;

active proctype buffer()
{
    byte value;
    do
    :: d_step { pending ? [BUSY, value] -> pending ? BUSY, value; busy = value; value = 0 }
    :: d_step { pending ? [LEVEL, value] -> pending ? LEVEL, value; level = value; levels--; value = 0 }
    od
}

/* ---- owner ---- */

inline store(variable, value)
{
    atomic {
        pending ! variable, value;
        if
        :: variable == LEVEL -> levels++; newest = value
        :: else
        fi
    }
}

inline load_level()
{
    atomic { l = (levels > 0 -> newest : level) }
}

/* 1, 2; open: it is inside */
inline go_in()
{
#ifdef MUTANT_GATE_FIRST
    open = gate;
    store(BUSY, 1);
    load_level();
#else
    store(BUSY, 1);
#ifdef MUTANT_LEVEL_FIRST
    load_level();
    open = gate;
#else
    open = gate;
    load_level();
#endif
#endif
    if
    :: open -> d_step { assert(!thief_inside); owner_inside = true }
    :: else
    fi
}

/* 4, after n buffers came to the cache, from or to the caller */
inline go_out(n)
{
    d_step { owner_inside = false; held = held - n };
#ifdef MUTANT_LEAVE_FIRST
    store(BUSY, 0);
    store(LEVEL, l + n);
#else
    store(LEVEL, l + n);
    store(BUSY, 0);
#endif
    open = false;
    l = 0
}

inline get()
{
    go_in();
    if
    :: open && l > 0 -> go_out(-1)
    :: else -> d_step { owner_inside = false; open = false; l = 0 }; store(BUSY, 0)
    fi
}

inline put()
{
    go_in();
    if
    :: open -> go_out(1)
    :: else -> d_step { depot++; held--; l = 0 }; store(BUSY, 0)
    fi
}

/* One, for the caller. A read-modify-write: all stores before it have arrived. */
inline refill()
{
    atomic { empty(pending) && depot > 0 -> depot--; held++ }
}

/* Under the lock, whether the gate is open or not; the lock's operations are read-modify-writes too. */
inline flush()
{
#ifdef MUTANT_NO_LOCK
    empty(pending);
#else
    atomic { empty(pending) && !caches_lock -> caches_lock = true };
#endif
    assert(!thief_inside);
    owner_inside = true;
    d_step { depot = depot + level; level = 0 };
    owner_inside = false;
#ifndef MUTANT_STILL_PENDING
    to_take = false;
#endif
    gate = true;
    caches_lock = false
}

active proctype owner()
{
    byte l;
    bool open;
    do
    :: get()
    :: held > 0 -> put()
    :: refill()
    :: flush()
    od
}

/* ---- thief ---- */

/* There is a moment between the thief's steps at which no store of the owner is on its way. */
inline barrier()
{
    empty(pending)
}

/* The lock is let go, and whatever happens meanwhile happens. */
inline wait()
{
    caches_lock = false;
    atomic { !caches_lock -> caches_lock = true }
}

active proctype thief()
{
    do
    ::
        atomic { !caches_lock -> caches_lock = true };
#ifdef MUTANT_BARRIER_FIRST
        barrier();
#endif
        if
        :: gate -> /* a */
            gate = false;
            to_take = true;
#ifndef MUTANT_FENCED_BEFORE
            fenced = false
#endif
        :: else /* left from another time, or empty */
        fi;
        if
        :: to_take && !fenced ->
#if !defined(MUTANT_NO_BARRIER) && !defined(MUTANT_BARRIER_FIRST)
            barrier(); /* b */
#endif
            fenced = true
        :: else
        fi;
        do
#ifdef MUTANT_NO_LOOK
        :: to_take ->
#elif defined(MUTANT_STALE)
        :: !busy ->
#else
        :: to_take && !busy -> /* c */
#endif
#ifdef MUTANT_OPEN_FIRST
            gate = true;
#endif
            d_step { assert(!owner_inside); thief_inside = true };
            assert(held + level + depot == BUFFERS);
            d_step { depot = depot + level; level = 0 }; /* d */
            thief_inside = false;
            to_take = false;
            if
            :: gate = true /* e */
            :: true /* pressure: it stays closed */
            fi;
            break
        :: to_take && busy -> wait()
        :: to_take && busy -> break /* no more patience: it stays pending */
        :: !to_take -> break
        od;
        caches_lock = false
    od
}
