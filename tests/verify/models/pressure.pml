/* SPDX-License-Identifier: MIT
 *
 * pressure.pml - buffers that idle in thread caches, and the verdict that callers have all buffers: gets and puts
 * while the pressure begins and ends
 *
 * CALLERS threads get, put and flush, each with a cache of its own, for ever; the cap is MOST. One step is what one
 * atomic operation does, or work on memory that no other thread looks at: inside a cache, or under its lock. The
 * depot is a bag of magazines of one and of two buffers (depot.pml has the stack). A reservation is one step, and
 * room is never given back (cap.pml). The model takes for granted that owner and thief are never both inside
 * (steal.pml). No caller waits (waiters.pml). Numbers in brackets: depot.c. Only watches: count_idle.
 *
 *     step            in src/                         there
 *     ----            -------                         -----
 *     pop_bag         depot.c depot_pop               "} while (!depot_swap(depot, head, below));"
 *                     depot.c depot_pop_some_of (8)   "if (!cas_seq_cst(&shard->head, &found, next))"
 *     pop             shards.h shards_pop             "const struct magazine magazine = depot_pop(shards != NULL ? &shards->shard[c->shard] : depot, table);"
 *                     shards.c shards_pop_elsewhere   "struct magazine magazine = depot_pop(depot, table);"
 *                     shards.c shards_pop_some        "struct magazine magazine = depot_pop_some(depot, table, out);"
 *     take            cache.c cache_refill            "magazine_open(&magazine, &pool->heap.table, cache_entries(in));"
 *     push            depot.c push_closed             "} while (!cas_seq_cst_acquire(&depot->head, &head, (head & ~(HEAD_TAG - 1)) | first->index));"
 *     restore         depot.c depot_restore (8)       "depot_end_tickets(depot, n);"
 *     push_own        shards.h shards_own             "if (unlikely((load_acquire(&shards->used) & bit) == 0))"
 *                     shards.h shards_own             "(void)or_seq_cst(&shards->used, bit);"
 *                     cache.c push                    "depot_push(to, &pool->heap.table, bufs, n, extra != 0);"
 *     exhausted       depot.h depot_exhausted (9)     "return (uint32_t)head == 0 && load_seq_cst(&depot->head) == head && counts.pressure &&"
 *     flush           cache.c flush_some              "push(pool, own, entries, count, extra);"
 *                     cache.c push                    "const uint32_t most = load_relaxed(&pool->pressure.state) == PRESSURE_OFF ? MAGAZINE_MAX : 1;"
 *     go_in           cache.c enter                   "if (likely(!gate_is_closed(gate_load(&c->gate))))"
 *     go_out          cache.c leave                   "cache_leave(c);"
 *     refill          cache.c cache_refill            "struct cache *in = enter(pool, c);"
 *                     cache.c take_one                "depot_restore(&pool->depot, &pool->heap.table, bufs, magazine.n - 1, magazine.grown);"
 *     lock            pressure.c enter                "roster_lock(pool);"
 *     unlock          pressure.c enter                "roster_unlock(pool);"
 *     flush_and_open  pressure.c flush_and_open       "(void)cache_flush_inside(pool, c);"
 *                     pressure.c flush_and_open       "cache_open(pool, c);"
 *     serve_gate      pressure.c pressure_serve_gate  "} else if ((state == PRESSURE_OFF || cache_idle(c) > 0) && pthread_mutex_trylock(&pool->caches_lock) == 0) {"
 *     close_gate      steal.c close_gate              "cache_close(c);"
 *     take_pending    steal.c take                    "if (c != own && (!c->fenced || !cache_owner_is_out(c))) {"
 *                     steal.c take                    "cache_open(pool, c);"
 *     go_over         steal.c go_over                 "roster_breathe(pool);"
 *     wait_for_owner  steal.c wait_for_owner          "pthread_mutex_unlock(&pool->caches_lock);"
 *     steal           steal.c walk_over               "patient = wait_for_owner(pool, walk->left, patience);"
 *     enter           pressure.c enter                "store_relaxed(&pool->pressure.state, PRESSURE_ENTERING);"
 *     drain           shards.c shards_drain           "depot_push_closed(depot, table, magazine.head, magazine.n, magazine.grown);"
 *                     shards.c shards_drain           "store_seq_cst(&shards->used, 0);"
 *     settle          pressure.c settle               "if (state == PRESSURE_OFF || !steal_is_over(pool, stolen.refused))"
 *                     pressure.c settle (8)           "shards_drain(&pool->depot, &pool->heap.table, steal_is_over(pool, false));"
 *                     pressure.c settle               "if (state == PRESSURE_ENTERING) {"
 *                     pressure.c settle (9)           "depot_begin_pressure(&pool->depot);"
 *     is_over         steal.c steal_is_over           "return false;"
 *     take_rest       pressure.c pressure_take_rest   "settle(pool, steal_caches(pool, STEAL_REST, NULL));"
 *     relax           pressure.c pressure_relax       "if (may_end(pool) && depot_end_pressure(&pool->depot, &pool->max_live))"
 *                     pressure.c may_end              "return counts.pooled <= cap && depot_pops(&pool->depot) - load_relaxed(&pool->pressure.since) >= DWELL &&"
 *     get             cache.h cache_pop_plain         "store_relaxed(&c->level, next);"
 *                     pool.c refill                   "struct desc *d = cache_refill(pool, c);"
 *                     pool.c look_again (11)          "if (is_exhausted(pool))"
 *                     pool.c look_again               "return pressure_rise(pool, patience);"
 *     put_plain       cache.h cache_push_plain        "store_relaxed(&c->level, level + 1);"
 *     put             pool.c make_room                "!cache_overflow(pool, c))"
 *                     cache.c cache_keep              "push(pool, NULL, &d, 1, cap - pool->heap.base);"
 *                     pool.c put_to_pool              "pressure_relax(pool);"
 *     caller          pressure.c pressure_flush       "flush_and_open(pool, c);"
 *
 * No cache has tickets, and the verdict is one step (overload.pml).
 *
 * With SHARDS each thread has a shard of its own.
 *
 * Claims: at the moment of the verdict no buffer is in the depot or in a cache, none is in transit without a ticket, and
 * callers have as many as the cap allows. When no call is under way, the counts are exact, and
 * a shard in which something lies is known as used. Under pressure the shards are empty.
 *
 * Not here: the DWELL pops that pressure lasts at least may have gone by at any time, and a get tries for ever, not for
 * PATIENCE_NS.
 */
#define CALLERS 2 /* go_over knows two */
#ifndef MOST
#define MOST 2
#endif
#ifndef LIMIT
#define LIMIT 2 /* of a cache */
#endif

mtype = { OFF, ENTERING, ON };

byte pooled, tickets;         /* counts: one word, with */
bool pressure;                /* this flag */
byte singles, pairs;          /* the depot: magazines of one buffer, and of two */
#ifdef SHARDS
byte own_singles[CALLERS], own_pairs[CALLERS]; /* the shards */
bool used[CALLERS];
#define IN_SHARD(k) (own_singles[k] + 2 * own_pairs[k])
#else
#define IN_SHARD(k) 0
#endif
mtype state = OFF;            /* pressure.state */
bool caches_lock;
bool gate[CALLERS] = true;    /* open */
bool pending[CALLERS];        /* its cache is to be taken */
bool inside[CALLERS];
byte cache[CALLERS], held[CALLERS];
byte transit;                 /* the truth: popped, or about to be pushed */
byte calls;                   /* under way */
byte at, idle;                /* of count_idle */

inline count_idle()
{
    idle = 0;
    for (at : 0 .. CALLERS - 1) {
        idle = idle + cache[at] + IN_SHARD(at);
        assert(!pressure || IN_SHARD(at) == 0)
    }
    idle = idle + singles + 2 * pairs + transit;
    at = 0
}

/* ---- depot.c ---- */

/* One stack. m: 0 if it is empty */
inline pop_bag(ones, twos)
{
    atomic {
        if
        :: twos > 0 -> twos--; m = 2
        :: ones > 0 -> ones--; m = 1
        :: else -> m = 0
        fi;
        if
        :: m > 0 -> held[me]++; transit = transit + m - 1
        :: else
        fi;
        if
#ifndef MUTANT_NO_TICKETS
        :: m == 2 && !inside[me] -> tickets++
#endif
        :: else
        fi
    }
}

/* The own shard, if the caller is inside; the depot; the shards. m: 0 if all are empty */
inline pop()
{
#ifdef SHARDS
    m = 0;
    if
    :: inside[me] -> pop_bag(own_singles[me], own_pairs[me])
    :: else
    fi;
    if
    :: m == 0 -> pop_bag(singles, pairs)
    :: else
    fi;
    k = 0;
    do
    :: m == 0 && k < CALLERS ->
        if
        :: used[k] ->
            pop_bag(own_singles[k], own_pairs[k]);
#ifdef MUTANT_CLEARED_BY_POP
            if
            :: m > 0 && IN_SHARD(k) == 0 -> skip; used[k] = false
            :: else
            fi
#endif
        :: else
        fi;
        k++
    :: else -> break
    od;
    k = 0
#else
    pop_bag(singles, pairs)
#endif
}

/* The others are for the cache. */
inline take(n)
{
    d_step { transit = transit - n; cache[me] = cache[me] + n }
}

inline restore()
{
    d_step { transit--; singles++ };
#ifndef MUTANT_NO_TICKETS
    tickets--
#endif
}

/* n buffers of that account, as one magazine */
inline push(n, from)
{
    d_step {
        from = from - n;
        if
        :: n == 2 -> pairs++
        :: else -> singles++
        fi
    }
}

/* By the owner of an open cache, which is inside: n buffers, as one magazine. */
inline push_own(n, from)
{
#ifdef SHARDS
    if
    :: !used[me] -> used[me] = true
    :: else
    fi;
    d_step {
        from = from - n;
        if
        :: n == 2 -> own_pairs[me]++
        :: else -> own_singles[me]++
        fi
    }
#else
    push(n, from)
#endif
}

/* ok: callers have all buffers */
inline exhausted()
{
    d_step {
        ok = (singles + pairs == 0 && pooled >= MOST + tickets);
#ifndef MUTANT_NO_FLAG
        ok = (ok && pressure);
#endif
        if
        :: ok -> count_idle(); assert(idle <= tickets && pooled - idle >= MOST); idle = 0
        :: else
        fi
    }
}

/* ---- cache.c ---- */

/* By a thread that is inside or holds the lock. */
inline flush(whose)
{
    do
    :: cache[whose] == 2 && state == OFF -> push(2, cache[whose])
    :: cache[whose] == 1 || cache[whose] == 2 && state != OFF -> push(1, cache[whose])
    :: cache[whose] == 0 -> break
    od
}

/* inside[me]: the gate is open; otherwise it is the shared cache, which holds nothing */
inline go_in()
{
    inside[me] = gate[me]
}

inline go_out()
{
    inside[me] = false
}

/* ok: the caller holds one */
inline refill()
{
#ifdef MUTANT_OUTSIDE
    ok = gate[me];
    pop();
    inside[me] = ok;
#else
    go_in();
    pop();
#endif
    if
    :: m == 0
    :: m == 1
    :: m == 2 && inside[me] -> take(1)
    :: m == 2 && !inside[me] -> restore()
    fi;
    go_out();
    ok = (m > 0)
}

/* ---- pressure.c, steal.c ---- */

inline lock()
{
    atomic { !caches_lock -> caches_lock = true }
}

inline unlock()
{
    caches_lock = false
}

inline flush_and_open()
{
    flush(me);
    pending[me] = false;
    if
#ifdef MUTANT_OPEN_ANYWAY
    :: gate[me] = true
#else
    :: state == OFF -> gate[me] = true
    :: else
#endif
    fi
}

inline close_gate()
{
    d_step {
        if
        :: gate[k] || cache[k] > 0 -> gate[k] = false; pending[k] = true
        :: else
        fi
    }
}

inline take_pending()
{
    if
    :: !pending[k]
#ifdef MUTANT_NO_LOOK
    :: pending[k] ->
#else
    :: pending[k] && inside[k] -> complete = false
    :: pending[k] && !inside[k] ->
#endif
        flush(k);
        pending[k] = false;
        if
        :: state == OFF -> gate[k] = true
        :: else
        fi
    fi
}

/* Step by step, in any order; complete: no cache is left of those that it visited. A get may end it after any step. */
inline go_over(closes)
{
    complete = true;
    visited = 0;
    do
    :: visited != (1 << CALLERS) - 1 ->
        atomic {
            if
            :: !(visited & 1) -> k = 0
            :: !(visited & 2) -> k = 1
            fi;
            visited = visited | 1 << k
        };
        if
        :: closes -> close_gate()
        :: else
        fi;
        take_pending();
        unlock();
        lock()
    :: closes && visited != 0 -> break
    :: else -> break
    od;
    visited = 0
}

inline wait_for_owner()
{
    unlock();
    lock()
}

inline steal()
{
    go_over(true);
    do
    :: complete -> break
    :: !complete -> wait_for_owner(); go_over(false)
    :: !complete -> break /* no more patience */
    od
}

inline is_over()
{
    over = true;
    for (at : 0 .. CALLERS - 1) {
        if
        :: gate[at] || pending[at] -> over = false
        :: else
        fi
    };
    at = 0
}
#ifdef SHARDS
/* The lock is held, so that `transit` stands for what the drain has in its hands too. */
inline drain()
{
    k = 0;
    do
    :: k < CALLERS && IN_SHARD(k) > 0 ->
        d_step {
            if
            :: own_pairs[k] > 0 -> own_pairs[k]--; f = 2
            :: own_pairs[k] == 0 && own_singles[k] > 0 -> own_singles[k]--; f = 1
            :: else -> f = 0 /* another call was first */
            fi;
            transit = transit + f
        };
        if
        :: f > 0 -> push(f, transit)
        :: else
        fi
    :: k < CALLERS && IN_SHARD(k) == 0 -> used[k] = false; k++
    :: else -> break
    od;
    skip;
    d_step { k = 0; f = 0 }
}
#endif

inline settle()
{
    d_step { is_over() };
    if
#ifdef MUTANT_INCOMPLETE
    :: state == ENTERING -> state = ON; pressure = true
#elif defined(MUTANT_STALE)
    :: state == ENTERING && complete -> state = ON; pressure = true
#elif defined(MUTANT_DRAIN_LATE)
    :: state == ENTERING && over -> state = ON; pressure = true; drain()
#elif defined(MUTANT_NO_DRAIN) || !defined(SHARDS)
    :: state == ENTERING && over -> state = ON; pressure = true
#else
    :: state == ENTERING && over -> drain(); state = ON; pressure = true
#endif
    :: else
    fi;
    over = false
}

inline enter()
{
    lock();
    if
    :: state == OFF -> state = ENTERING
    :: else
    fi;
    if
    :: state == ENTERING ->
#ifdef MUTANT_FLAG_EARLY
        pressure = true;
#endif
        steal();
        settle()
    :: else
    fi;
    unlock()
}

inline take_rest()
{
    if
    :: atomic { state == ENTERING && !caches_lock -> caches_lock = true };
        go_over(false);
        settle();
        unlock()
    :: true
    fi
}

inline serve_gate()
{
    take_rest();
    if
    :: gate[me]
    :: !gate[me] && state != OFF && cache[me] == 0
    :: !gate[me] && caches_lock
    :: atomic { !gate[me] && (state == OFF || cache[me] > 0) && !caches_lock -> caches_lock = true };
        flush_and_open();
        unlock()
    fi
}

#define MAY_END (state != OFF && pooled - singles - 2 * pairs < MOST)

inline relax()
{
    if
    :: atomic { MAY_END && !caches_lock -> caches_lock = true };
        if
        :: MAY_END ->
            pressure = false;
            state = OFF
        :: else
        fi;
        unlock()
    :: !MAY_END || caches_lock
    fi
}

/* ---- the calls ---- */

inline get()
{
    go_in();
    d_step {
        ok = (inside[me] && cache[me] > 0);
        if
        :: ok -> cache[me]--; held[me]++
        :: else
        fi;
        inside[me] = false
    };
    if
    :: !ok && cache[me] == 0 && (gate[me] || state == ON) -> refill()
    :: else
    fi;
    if
    :: !ok -> serve_gate()
    :: else
    fi;
    do
    :: ok -> break
    :: !ok ->
        refill();
        if
        :: ok -> break
        :: else
        fi;
        atomic {
            if
            :: pooled < MOST -> pooled++; held[me]++; ok = true
            :: else
            fi
        };
        if
        :: ok -> break
        :: else
        fi;
        exhausted();
        if
        :: ok -> break /* it goes beyond the cap */
        :: else
        fi;
        if
        :: state != ON -> enter()
        :: else
        fi
    od
}

/* ok: the buffer was put */
inline put_plain()
{
    go_in();
    d_step {
        ok = (inside[me] && cache[me] < LIMIT);
        if
        :: ok -> cache[me]++; held[me]--
        :: else
        fi;
        inside[me] = false
    }
}

inline put()
{
    put_plain();
    if
    :: !ok && gate[me] ->
        go_in();
        if
        :: inside[me] && cache[me] == LIMIT -> push_own(1, cache[me])
#ifdef SHARDS
        :: inside[me] && cache[me] == LIMIT && LIMIT == 2 -> push_own(2, cache[me])
#endif
        :: else
        fi;
        go_out();
        put_plain()
    :: else
    fi;
    if
    :: !ok ->
        serve_gate();
        go_in();
        if
        :: inside[me] && cache[me] == LIMIT -> push_own(1, cache[me])
#ifdef SHARDS
        :: inside[me] && cache[me] == LIMIT && LIMIT == 2 -> push_own(2, cache[me])
#endif
        :: else
        fi;
        if
        :: inside[me] -> d_step { cache[me]++; held[me]-- }
#ifdef MUTANT_PUSH_CLOSED
        :: !inside[me] -> push_own(1, held[me])
#else
        :: !inside[me] -> push(1, held[me])
#endif
        fi;
        go_out();
        relax()
    :: else
    fi
}

proctype caller(byte me)
{
    byte m, k, f, visited;
    bool ok, complete, over;
    do
    ::
        if
        :: d_step { held[me] < MOST -> calls++ }; get()
        :: d_step { held[me] > 0 -> calls++ }; put()
        :: calls++; lock(); flush_and_open(); unlock()
        fi;
        atomic {
            m = 0; k = 0; ok = false; complete = false;
            calls--;
            count_idle();
            assert(calls > 0 || tickets == 0 && transit == 0);
#ifdef SHARDS
            for (at : 0 .. CALLERS - 1) {
                assert(calls > 0 || used[at] || IN_SHARD(at) == 0)
            };
            at = 0;
#endif
            idle = 0
        }
    od
}

init
{
    atomic {
        byte t;
        for (t : 0 .. CALLERS - 1) {
            run caller(t)
        }
    }
}
