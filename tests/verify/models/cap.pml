/* SPDX-License-Identifier: MIT
 *
 * cap.pml - the counts that enforce the cap: gets and puts, while it is lowered and raised
 *
 * CALLERS threads get, put, reclaim, and push two buffers at once, as a thread that empties a cache does. One more
 * thread sets the cap to 1 and to MOST in turn. All of this goes on for ever. One step is what one atomic operation
 * does, or work on memory that no other thread looks at. The depot is a bag of magazines of one and of two buffers
 * (depot.pml has the stack). The caches are empty, as under pressure (pressure.pml). No caller waits (waiters.pml).
 * Numbers in brackets: depot.c. Only watches: bound fewer begin_call end_call.
 *
 *     step              in src/                                  there
 *     ----              -------                                  -----
 *     pop               depot.c depot_pop_some_of                   "if (!cas_seq_cst(&shard->head, &found, next))"
 *     take              cache.c take_one                         "cache_left_depot(pool, 1, magazine.head->pub.cap);"
 *     push              depot.c push_closed                             "} while (!cas_seq_cst_acquire(&depot->head, &head, (head & ~(HEAD_TAG - 1)) | first->index));"
 *     restore           depot.c depot_restore                    "depot_push(depot, table, bufs, n, grown);"
 *     reserve           depot.c depot_reserve                    "if (depot_counts_of(counts).pooled >= depot_cap_of(max_live))"
 *                       depot.c depot_reserve (5)                "} while (!cas_seq_cst(&depot->counts, &counts, after));"
 *                       depot.c depot_reserve (6)                "if (depot_counts_of(after).pooled > depot_cap_of(max_live)) {"
 *                       depot.c depot_reserve                    "depot_unreserve(depot, 1);"
 *     unreserve         depot.c depot_unreserve (5)              "(void)sub_seq_cst(&depot->counts, POOLED(n));"
 *     make              pool.c make_counted                      "struct desc *d = life_make(pool);"
 *                       pool.c make_counted                      "depot_unreserve(&pool->depot, 1);"
 *     drop              pool.c drop                              "life_free(pool, d, false);"
 *                       pool.c drop (5)                          "depot_unreserve(&pool->depot, 1);"
 *     free_magazine     reclaim.c free_magazine                  "life_free(pool, bufs[freed], defer);"
 *                       depot.c depot_discard (5)                "(void)sub_seq_cst(&depot->counts, POOLED(n) + TICKETS(n));"
 *                       reclaim.c free_magazine                  "depot_restore(&pool->depot, &pool->heap.table, bufs + freed, magazine.n - freed, magazine.grown);"
 *     free_surplus      reclaim.c free_surplus                   "while ((freed.count < most || freed.restored) && depot_over_cap(&pool->depot, &pool->max_live) &&"
 *     refill            cache.c cache_refill                     "struct cache *in = enter(pool, c);"
 *     get               pool.c refill                            "struct desc *d = cache_refill(pool, c);"
 *                       pool.c settle                            "reclaim_surplus(pool, c);"
 *                       reclaim.c free_until                     "while (((freed.count < most && freed.bytes < enough) ||"
 *                       reclaim.c free_until                     "(freed.restored && depot_over_cap(&pool->depot, &pool->max_live))) &&"
 *     put               pool.c give_back                         "if (beyond && !has_room_by_tickets(pool, c, d->pub.cap))"
 *                       cache.c cache_keep                       "push(pool, NULL, &d, 1, cap - pool->heap.base);"
 *     reclaim           reclaim.c free_due                       "size_t bytes = free_buffers(pool, most, defer);"
 *     caller            cache.c flush_some                       "push(pool, own, entries, count, extra);"
 *     setter            reclaim.c bufferpool_set_max_live (6)    "store_seq_cst(&pool->max_live, depot_cap(n));"
 *                       reclaim.c bufferpool_set_max_live        "if (depot_over_cap(&pool->depot, &pool->max_live)) {"
 *                       reclaim.c bufferpool_set_max_live        "free_surplus(pool, tls_cache_own_or_shared(pool), UINT32_MAX, true);"
 *
 * Claims:
 *
 *     - Pooled buffers, with those about to be made, are never more than `allowed`. That is the cap or, after the cap
 *       was lowered, the number of buffers that existed when bufferpool_set_max_live looked. The latter goes down
 *       with each buffer that is freed, and never up again.
 *     - When no call is under way, the count is exact, and no buffer idles in the depot while more exist than the
 *       cap allows.
 *
 * Not here: a get that finds neither a buffer nor room goes beyond the cap (overload.pml); here it gets none.
 * bufferpool_set_max_live frees the surplus twice, for the case that callers wait.
 *
 * A call that restores a part of a magazine looks afterwards whether more buffers exist than the cap allows, since a
 * bufferpool_set_max_live that ran meanwhile found the depot empty. Without that look (NO_LOOK, RECLAIM_NO_LOOK) the
 * last claim does not hold.
 */
#ifndef CALLERS
#define CALLERS 2
#endif
#ifndef MOST
#define MOST 2
#endif
#define HOLDS 2 /* buffers that a caller holds, at most */

byte cap = MOST;         /* max_live */
byte pooled;             /* of counts */
byte singles, pairs;     /* the depot: magazines of one buffer, and of two */
byte held[CALLERS];

/* the truth */
byte exist;              /* buffers */
byte reserved, trying;   /* reservations: that hold; that may not hold, or are being given up */
byte transit, dropping;  /* buffers: popped, or about to be pushed; freed, and still counted */
byte allowed = MOST;
bool setting;            /* the cap was stored, and the counts not yet read */
byte calls;              /* under way */

#define OVER_CAP  (pooled > cap)
#define MAX(a, b) ((a) > (b) -> (a) : (b))

/* In one step with each change that may break it. */
inline bound()
{
    assert(exist + reserved <= allowed)
}

/* In one step with each subtraction from pooled. */
inline fewer()
{
    if
    :: !setting && MAX(cap, pooled) < allowed -> allowed = MAX(cap, pooled)
    :: else
    fi;
    bound()
}

inline begin_call()
{
    calls++
}

inline end_call()
{
    d_step {
        calls--;
        if
        :: calls == 0 ->
            assert(pooled == exist);
            assert(!OVER_CAP || (singles == 0 && pairs == 0))
        :: else
        fi
    }
}

/* ---- depot.c ---- */

/* m: 0 if the depot is empty */
inline pop()
{
    atomic {
        if
        :: pairs > 0 -> pairs--; m = 2
        :: singles > 0 -> singles--; m = 1
        :: else -> m = 0
        fi;
        transit = transit + m
    }
}

inline take(n)
{
    d_step {
        transit = transit - n;
        held[me] = held[me] + n;
        bound()
    }
}

inline restore(n)
{
    d_step {
        transit = transit - n;
        if
        :: n == 2 -> pairs++
        :: else -> singles++
        fi
    }
}

/* n buffers that are held, as one magazine */
inline push(n)
{
    d_step { held[me] = held[me] - n; transit = transit + n };
    restore(n)
}

inline reserve()
{
    was = pooled;
    do
    :: was >= cap -> ok = false; break
    :: else ->
        d_step {
            if
            :: pooled == was -> pooled++; trying++; ok = true
            :: else -> was = pooled; ok = false
            fi
        };
        if
        :: ok -> break
        :: else
        fi
    od;
    if
    :: ok ->
        d_step {
            if
#ifndef MUTANT_NO_SECOND_READING
            :: was + 1 > cap -> ok = false
#endif
            :: else -> trying--; reserved++; bound()
            fi
        };
        if
        :: !ok -> unreserve()
        :: else
        fi
    :: else
    fi
}

inline unreserve()
{
    d_step { trying--; pooled--; fewer() }
}

/* ---- its users ---- */

/* On a reservation; there may be no memory. */
inline make()
{
    if
    :: d_step { reserved--; exist++; held[me]++; bound() }
    :: d_step { reserved--; trying++ }; unreserve()
    fi
}

inline drop()
{
#ifdef MUTANT_UNRESERVE_FIRST
    d_step { pooled--; fewer() };
    d_step { held[me]--; exist--; }
#else
    d_step { held[me]--; exist--; dropping++ };
    d_step { dropping--; pooled--; fewer() }
#endif
}

/* Frees at least so many, if the depot has them. m: 0 if there was none. f of m were freed, and the rest went back. */
inline free_magazine(least)
{
    pop();
    f = 0;
    do
    :: f < m && (f < least || OVER_CAP) ->
#ifdef MUTANT_DISCARD_FIRST
        d_step { pooled--; fewer() };
        d_step { transit--; exist-- };
#else
        d_step { transit--; exist-- };
        d_step { pooled--; fewer() };
#endif
        f++
    :: else -> break
    od;
    if
    :: f < m -> restore((m - f))
    :: else
    fi
}

inline free_surplus()
{
    do
    :: OVER_CAP ->
        free_magazine(0);
        if
        :: m == 0 -> break
        :: else
        fi
    :: else -> break
    od;
    skip;
    d_step { f = 0; m = 0 }
}

/* ok: the caller holds one */
inline refill()
{
    pop();
    if
    :: m == 0
    :: m > 0 -> take(1)
    fi;
    if
    :: m == 2 -> restore(1)
    :: else
    fi;
    ok = (m > 0)
}

inline reclaim()
{
    free_magazine(1);
#ifndef MUTANT_RECLAIM_NO_LOOK
    do
    :: f < m && OVER_CAP -> free_magazine(0)
    :: else -> break
    od;
#endif
    skip;
    d_step { f = 0; m = 0 }
}

inline get()
{
    refill();
    if
    :: ok ->
#ifndef MUTANT_NO_LOOK
        free_surplus()
#endif
    :: else ->
        reserve();
        if
        :: ok -> make()
        :: else
        fi
    fi
}

inline put()
{
    if
    :: OVER_CAP -> drop()
    :: else -> push(1); free_surplus()
    fi
}

proctype caller(byte me)
{
    byte m, f, was;
    bool ok;
    do
    ::
        if
        :: d_step { held[me] < HOLDS -> begin_call() }; get()
        :: d_step { held[me] > 0 -> begin_call() }; put()
        :: d_step { held[me] == 2 -> begin_call() }; push(2); free_surplus()
        :: begin_call(); reclaim()
        fi;
        atomic { m = 0; was = 0; ok = false; end_call() }
    od
}

proctype setter()
{
    byte m, f;
    do
    ::
#ifdef MUTANT_LOOK_FIRST
        if
        :: d_step { cap == 1 -> begin_call(); allowed = MAX(allowed, MOST) }; cap = MOST
        :: d_step { cap > 1 -> begin_call(); allowed = MAX(pooled, 1) }; cap = 1
        fi;
#else
        if
        :: d_step { cap == 1 -> begin_call(); cap = MOST; allowed = MAX(allowed, MOST) }
        :: d_step { cap > 1 -> begin_call(); cap = 1; setting = true }
        fi;
        d_step { setting = false; allowed = MAX(cap, pooled); bound() };
#endif
        free_surplus();
        atomic { m = 0; end_call() }
    od
}

init
{
    atomic {
        byte t;
        for (t : 0 .. CALLERS - 1) {
            run caller(t)
        };
        run setter()
    }
}
