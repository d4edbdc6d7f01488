/* SPDX-License-Identifier: MIT
 *
 * overload.pml - buffers beyond the cap: the verdict, tickets, and the look after each free
 *
 * THREADS threads get, put and, with FLUSH and EXIT, flush and end, for ever. With CALLS they make so many calls each,
 * from where callers hold all that they may. With TRIM one more thread frees a part of a magazine, or a whole one, at any
 * time; a trim also steals, which other calls do here. With SETTER one more raises or lowers the cap, at any time. With
 * STAYS pressure does not end. One step is what one atomic operation does, or work on memory that no other
 * thread looks at. The depot is a bag of magazines of one and of two buffers (depot.pml has the stack); its tag is a bit
 * of each thread, which every pop sets. The model takes for granted that owner and thief are never both inside
 * (steal.pml), and that a steal comes to its end (pressure.pml). No caller waits (waiters.pml). With SHARDS there is one
 * shard, of magazines of one buffer (shards.c).
 * Numbers in brackets: depot.c. Only watches: laws begin_call end_call.
 *
 *     step            in src/                         there
 *     ----            -------                         -----
 *     pop             depot.c depot_pop (4)           "} while (!depot_swap(depot, head, below));"
 *                     shards.h shards_pop             "const struct magazine magazine = depot_pop(shards != NULL ? &shards->shard[c->shard] : depot, table);"
 *     pop_some        depot.c depot_pop_some_of (8)   "(void)add_seq_cst(&depot->counts, TICKETS(need - tickets));"
 *                     depot.c depot_pop_some_of (9)   "if (!cas_seq_cst(&shard->head, &found, next))"
 *                     shards.c shards_pop_some        "magazine = depot_pop_some_of(depot, &shards->shard[take_lowest(&used)], table, out);"
 *     note_pop        depot.c depot_pop_some_of (2)   "const uint64_t next = ((head & ~(HEAD_TAG - 1)) + HEAD_TAG) | below;"
 *     end_tickets     depot.c depot_end_tickets (8)   "(void)sub_seq_cst(&depot->counts, TICKETS(n));"
 *     restore         depot.c depot_restore           "depot_push(depot, table, bufs, n, grown);"
 *                     depot.c depot_restore (8)       "depot_end_tickets(depot, n);"
 *     discard         depot.c depot_discard           "(void)sub_seq_cst(&depot->counts, POOLED(n) + TICKETS(n));"
 *     reserve         depot.c depot_reserve (5)       "} while (!cas_seq_cst(&depot->counts, &counts, after));"
 *     exhausted       depot.h depot_exhausted (9)     "return (uint32_t)head == 0 && load_seq_cst(&depot->head) == head && counts.pressure &&"
 *                     depot.h depot_exhausted         "counts.pooled >= n + counts.tickets && depot_cap_of(max_live) == n;"
 *     free_magazine   reclaim.c free_magazine         "depot_discard(&pool->depot, 1);"
 *                     reclaim.c free_magazine         "depot_restore(&pool->depot, &pool->heap.table, bufs + freed, magazine.n - freed, magazine.grown);"
 *     keep_cap        reclaim.c reclaim_keep_cap (10) "if (unlikely(pressure_is_short(pool)))"
 *                     reclaim.c reclaim_keep_cap (10) "while (unlikely(depot_over_cap(&pool->depot, &pool->max_live)) && some_idle(pool))"
 *                     reclaim.c reclaim_surplus       "free_surplus(pool, c, STEP, false);"
 *                     pressure.h pressure_is_short    "return unlikely(depot_is_short(&pool->depot, &pool->max_live)) && load_relaxed(&pool->pressure.granted) != 0;"
 *     lock            pressure.c enter                "roster_lock(pool);"
 *     unlock          pressure.c enter                "roster_unlock(pool);"
 *     flush           cache.c cache_flush_inside      "end_tickets(pool, c);"
 *                     cache.c end_tickets             "store_relaxed(&pool->pressure.granted, load_relaxed(&pool->pressure.granted) - tickets);"
 *                     cache.c end_tickets (8)         "depot_end_tickets(&pool->depot, tickets);"
 *     steal           steal.c close_gate              "cache_close(c);"
 *                     steal.c take                    "const uint32_t n = take_inside(pool, c);"
 *     enter           pressure.c settle (8)           "shards_drain(&pool->depot, &pool->heap.table, steal_is_over(pool, false));"
 *                     pressure.c settle               "depot_begin_pressure(&pool->depot);"
 *     end_overload    pressure.c pressure_end_overload  "(void)steal_caches(pool, STEAL_ALL, known ? NULL : &patience);"
 *     flush_and_open  pressure.c flush_and_open       "cache_close(c);"
 *                     pressure.c flush_and_open       "(void)cache_flush_inside(pool, c);"
 *     serve_gate      pressure.c pressure_serve_gate  "} else if ((state == PRESSURE_OFF || cache_idle(c) > 0) && pthread_mutex_trylock(&pool->caches_lock) == 0) {"
 *     relax           pressure.c pressure_relax       "if (may_end(pool) && depot_end_pressure(&pool->depot, &pool->max_live))"
 *                     depot.c depot_end_pressure (10) "if (now.wanted || now.pooled > depot_cap_of(max_live))"
 *     grant           pressure.c may_grant            "shards_are_empty(&pool->depot);"
 *                     pressure.c grant                "store_relaxed(&pool->pressure.granted, granted + more);"
 *                     depot.c depot_add_tickets (8)   "} while (!cas_seq_cst(&depot->counts, &counts, counts + TICKETS(n)));"
 *                     depot.c depot_add_tickets (10)  "if (now.pooled >= depot_cap_of(max_live) + now.tickets + n)"
 *                     pressure.c grant                "cache_set_tickets(pool, c, has + more);"
 *                     pressure.c pressure_grant       "cache_open(pool, c);"
 *     take_one        cache.c take_one                "const struct magazine magazine = shards_pop_some(&pool->depot, &pool->heap.table, 1);"
 *                     cache.c take_one                "depot_restore(&pool->depot, &pool->heap.table, bufs, magazine.n - 1, magazine.grown);"
 *     refill          cache.c cache_refill            "if (in->shared || load_relaxed(&in->tickets) != 0 || cache_idle(in) > 0) {"
 *     overflow        cache.c cache_overflow          "flush_some(pool, in, in, 0, in->overflowed ? n : (n + 1) / 2);"
 *     shed            cache.c cache_shed (8)          "depot_cover(&pool->depot, count);"
 *                     pool.c shed                     "depot_discard(&pool->depot, n);"
 *                     pool.c shed (10)                "reclaim_keep_cap(pool, c);"
 *     lift            depot.c depot_lift (12)         "} while (!cas_seq_cst(&depot->counts, &counts, counts + POOLED(1)));"
 *                     pool.c make_beyond (10)         "pressure_enter(pool);"
 *                     pool.c make_beyond (12)         "if (unlikely(d == NULL || !shards_are_empty(&pool->depot)))"
 *     get             cache.h cache_pop_plain         "store_relaxed(&c->level, next);"
 *                     pool.c look_again (11)          "if (is_exhausted(pool))"
 *                     pool.c look_again               "return pressure_rise(pool, patience);"
 *     put_plain       cache.h cache_push_plain        "store_relaxed(&c->level, level + 1);"
 *     put             pool.c put_slow                 "const bool put = likely(make_room(c, d, word)) || shed(c, d, word) || drop_over_cap(c, d, word);"
 *                     pool.c drop_over_cap            "cache_count(c, drop(pool, c, d, DROPS_OVER_CAP), 1);"
 *                     pool.c drop_over_cap (10)       "reclaim_keep_cap(pool, c);"
 *                     cache.c cache_keep              "push(pool, NULL, &d, 1, cap - pool->heap.base);"
 *     caller          pressure.c pressure_flush       "flush_and_open(pool, c);"
 *                     tls_cache.c cache_disown        "(void)cache_flush_inside(pool, c);"
 *     trimmer         reclaim.c free_magazine         "pressure_end_overload(pool);"
 *     setter          reclaim.c bufferpool_set_max_live (6) "store_seq_cst(&pool->max_live, depot_cap(n));"
 *                     reclaim.c bufferpool_set_max_live (10) "reclaim_keep_cap(pool, tls_cache_own_or_shared(pool));"
 *
 * Claims:
 *
 *     - (a) The verdict says yes only if callers held as many buffers, at some moment of the call, as the cap was that it
 *       read. A buffer is also held while a get or a put has it in its hands: one for each such call.
 *     - (b) When no call is under way, no more buffers exist than the cap, or callers hold as many as the cap, and no
 *       buffer idles in the depot. (One that a thread leaves there at its end is freed by the next slow call.)
 *     - (c) While the pressure flag is set, no more buffers idle elsewhere than in the depot than there are tickets.
 *     - (d) When no call is under way, the counts are exact; tickets are those of open caches.
 *
 * Tickets are granted at any time here, one or more at once, and up to as many as exist beyond the cap. In the code it is
 * up to half of them. That only keeps an overload from ending as soon as it has begun: the claims do not need it.
 *
 * Not here: a get tries for ever, not for PATIENCE_NS. A bulk call is a row of gets or puts.
 */
#ifndef THREADS
#define THREADS 2
#endif
#ifndef HIGH
#define HIGH 1
#endif
#define LOW 1
#ifndef HOLDS
#define HOLDS 2 /* buffers that a thread holds, at most */
#endif
#ifndef TICKETS
#define TICKETS 1 /* of a cache, at most */
#endif
#ifndef LIMIT
#define LIMIT 2 /* of a cache without tickets */
#endif

mtype = { OFF, ENTERING, ON };

byte cap = HIGH;                /* max_live */
byte pooled, tickets;           /* counts: one word, with */
bool pressure;                  /* this flag */
byte singles, pairs;            /* the depot: magazines of one buffer, and of two */
#ifdef SHARDS
byte apart;                     /* the shard */
#else
#define apart 0
#endif
mtype state = OFF;              /* pressure.state */
byte granted;                   /* pressure.granted */
bool caches_lock;
bool gate[THREADS] = true;      /* open */
bool inside[THREADS];
byte cache[THREADS], tk[THREADS];

/* the truth */
byte held[THREADS], out;        /* out: their sum, with those in the hands of calls */
bool getting[THREADS];
byte most[THREADS];             /* the most that callers held at once during the call */
bool moved[THREADS + 2];        /* the tag, since this thread read the head */
bool left;                      /* a thread left a buffer in the depot at its end */
byte calls;                     /* under way */
byte at, sum;                   /* of laws and end_call */

#define IN_DEPOT  (singles + 2 * pairs)
#define IN_ALL    (IN_DEPOT + apart)
#define OVER_CAP  (pooled > cap)
#define SHORT     (tickets > 0 && pooled < cap + tickets)

/* In one step with each change that may break them. */
inline laws()
{
    assert(pooled >= out + IN_ALL);
    assert(!pressure || pooled - out - IN_DEPOT <= tickets); /* c */
    for (at : 0 .. THREADS - 1) {
        if
        :: getting[at] && out > most[at] -> most[at] = (out < HIGH -> out : HIGH)
        :: else
        fi
    };
    at = 0
}

inline begin_call(get)
{
    calls++;
    getting[me] = get;
    most[me] = (get -> (out < HIGH -> out : HIGH) : 0)
}

inline end_call()
{
    d_step {
        calls--;
        if
        :: calls == 0 ->
            sum = 0;
            for (at : 0 .. THREADS - 1) {
                sum = sum + cache[at];
                assert(tk[at] == 0 || gate[at]);
                assert(state != ON || !gate[at] || tk[at] > 0)
            };
            assert(pooled == out + IN_ALL + sum);
            sum = 0;
            for (at : 0 .. THREADS - 1) {
                sum = sum + tk[at]
            };
            assert(tickets == sum && granted == sum); /* d */
            sum = 0;
            at = 0;
            assert(pressure == (state == ON));
            assert(!OVER_CAP || out >= cap && (IN_ALL == 0 || left)); /* b */
            if
            :: IN_ALL == 0 || !OVER_CAP -> left = false
            :: else
            fi
        :: else
        fi
    }
}

/* ---- depot.c ---- */

inline note_pop()
{
    for (at : 0 .. THREADS + 1) {
        moved[at] = true
    };
    at = 0
}

/* The owner is inside its open cache, which is empty: one for the caller, the rest for the cache. */
inline pop()
{
    atomic {
        if
#ifdef SHARDS
        :: apart > 0 -> apart--; m = 1
#endif
        :: pairs > 0 -> pairs--; m = 2
        :: singles > 0 -> singles--; m = 1
        :: else -> m = 0
        fi;
        if
        :: m > 0 ->
            d_step { note_pop(); out++; held[me]++; cache[me] = m - 1; laws() }
        :: else
        fi
    }
}

/* m: how many the magazine had; took: tickets for those that are not handed out */
inline pop_some(hand_out)
{
    took = 0;
    do
    ::
        atomic {
            if
            :: pairs > 0 -> m = 2
            :: singles > 0 -> m = 1
            :: else -> m = 0
            fi
        };
#ifdef SHARDS
        d_step {
            shard = (m == 0 && apart > 0);
            if
            :: shard -> m = 1
            :: else
            fi
        };
#endif
        if
        :: m == 0 -> break
        :: m > 0 ->
#ifndef MUTANT_POP_WITHOUT_TICKETS
            if
#ifdef MUTANT_REST_WITHOUT_TICKETS
            :: m - hand_out > took && hand_out == 0 -> d_step { tickets = tickets + m - hand_out - took; took = m - hand_out; laws() }
#else
            :: m - hand_out > took -> d_step { tickets = tickets + m - hand_out - took; took = m - hand_out; laws() }
#endif
            :: else
            fi;
#endif
            d_step {
#ifdef SHARDS
                ok = (shard && apart > 0 || !shard && (m == 2 && pairs > 0 || m == 1 && singles > 0));
#else
                ok = (m == 2 && pairs > 0 || m == 1 && singles > 0);
#endif
                if
                :: ok ->
                    if
#ifdef SHARDS
                    :: shard -> apart--
                    :: !shard && m == 2 -> pairs--
#else
                    :: m == 2 -> pairs--
#endif
                    :: else -> singles--
                    fi;
                    note_pop();
                    if
                    :: hand_out == 1 -> out++; held[me]++
                    :: else
                    fi;
                    laws()
                :: else
                fi
            };
            if
            :: ok && took > m - hand_out -> d_step { tickets = tickets - (took - (m - hand_out)); laws() }; break
            :: ok && took <= m - hand_out -> break
            :: else
            fi
        fi
    od;
    if
    :: m == 0 && took > 0 -> tickets = tickets - took
    :: else
    fi;
    d_step { took = 0; ok = false; shard = false }
}

inline end_tickets(n)
{
    d_step { tickets = tickets - n; laws() }
}

inline restore(n)
{
#ifdef MUTANT_RESTORE_EARLY
    end_tickets(n);
#endif
    d_step {
        if
        :: n == 2 -> pairs++
        :: else -> singles++
        fi;
        laws()
    };
#if !defined(MUTANT_RESTORE_EARLY) && !defined(MUTANT_POP_WITHOUT_TICKETS)
    end_tickets(n)
#endif
}

inline discard()
{
#ifdef MUTANT_POP_WITHOUT_TICKETS
    d_step { pooled--; laws() }
#else
    d_step { pooled--; tickets--; laws() }
#endif
}

/* done: there was room */
inline reserve()
{
    n = cap;
    d_step {
        if
        :: pooled < n -> pooled++; out++; held[me]++; done = true; laws()
        :: else
        fi
    };
    if
    :: done ->
        if
        :: pooled > cap -> d_step { pooled--; out--; held[me]--; done = false; laws() }
        :: else
        fi
    :: else
    fi
}

/* ok: callers have all buffers */
inline exhausted()
{
    n = cap;
    d_step { ok = (IN_DEPOT == 0); moved[me] = false };
    if
    :: ok ->
        d_step {
#ifdef MUTANT_NO_FLAG
            ok = (pooled >= n + tickets);
#elif defined(MUTANT_VERDICT_WITHOUT_TICKETS)
            ok = (pressure && pooled >= n);
#else
            ok = (pressure && pooled >= n + tickets);
#endif
        };
        d_step {
#ifndef MUTANT_ONE_LOOK
            ok = (ok && IN_DEPOT == 0 && !moved[me]);
#endif
            moved[me] = true
        };
        d_step {
            ok = (ok && n == cap);
            assert(!ok || most[me] >= n) /* a */
        }
    :: else -> moved[me] = true
    fi
}

/* ---- reclaim.c ---- */

/* Frees at least so many, if the depot has them, and what is beyond the cap. m: 0 if there was none. */
inline free_magazine(least)
{
    pop_some(0);
    f = 0;
    do
    :: f < m && (f < least || OVER_CAP) -> discard(); f++
    :: else -> break
    od;
    if
    :: f < m -> restore((m - f))
    :: else
    fi;
    f = 0
}

inline keep_cap()
{
    do
    ::
#ifndef MUTANT_NO_LOOK
        ok = SHORT;
        if
        :: ok && granted > 0 -> end_overload()
        :: else
        fi;
#endif
        if
        :: OVER_CAP ->
            if
            :: IN_ALL > 0 -> free_magazine(0)
            :: else -> break
            fi
        :: else -> break
        fi
    od;
    skip;
    d_step { m = 0; ok = false }
}

/* ---- pressure.c, steal.c, cache.c ---- */

inline lock()
{
    atomic { !caches_lock -> caches_lock = true }
}

inline unlock()
{
    caches_lock = false
}

/* caches_lock is held, and the owner is out */
inline flush(whose)
{
#ifdef MUTANT_TICKETS_EARLY
    granted = granted - tk[whose];
    d_step { tickets = tickets - tk[whose]; tk[whose] = 0; laws() };
#endif
    do
    :: cache[whose] == 2 && state == OFF -> d_step { cache[whose] = 0; pairs++; laws() }
    :: cache[whose] == 1 || cache[whose] == 2 && state != OFF -> d_step { cache[whose]--; singles++; laws() }
    :: cache[whose] == 0 -> break
    od;
#ifndef MUTANT_TICKETS_KEPT
    if
    :: tk[whose] > 0 ->
        granted = granted - tk[whose];
        d_step { tickets = tickets - tk[whose]; tk[whose] = 0; laws() }
    :: else
    fi
#endif
}

inline steal()
{
    d_step {
        for (at : 0 .. THREADS - 1) {
            gate[at] = false
        };
        at = 0
    };
    k = 0;
    do
    :: k < THREADS ->
#ifdef MUTANT_OWNER_INSIDE
        skip;
#else
        !inside[k];
#endif
        flush(k);
        if
        :: state == OFF -> gate[k] = true
        :: else
        fi;
        k++
    :: else -> break
    od;
    k = 0
}

inline enter()
{
    lock();
    if
    :: state == OFF ->
        state = ENTERING;
#ifdef MUTANT_FLAG_EARLY
        d_step { pressure = true; laws() };
#endif
        steal();
#if defined(SHARDS) && !defined(MUTANT_NO_DRAIN)
        do
        :: apart > 0 -> d_step { m = (apart > 0); apart = apart - m }; d_step { singles = singles + m; m = 0; laws() }
        :: else -> break
        od;
#endif
        state = ON;
        d_step { pressure = true; laws() }
    :: else
    fi;
    unlock()
}

inline end_overload()
{
    lock();
    if
    :: SHORT && granted > 0 -> steal()
    :: else
    fi;
    unlock()
}

inline flush_and_open()
{
#ifndef MUTANT_LEFT_OPEN
    if
    :: state != OFF -> gate[me] = false
    :: else
    fi;
#endif
    flush(me);
    if
    :: state == OFF -> gate[me] = true
    :: else
    fi
}

inline serve_gate()
{
    if
    :: atomic { !gate[me] && state == OFF && !caches_lock -> caches_lock = true };
        flush_and_open();
        unlock()
    :: gate[me] || state != OFF || caches_lock
    fi
}

/* Pressure ends at any time at which it may. */
#ifdef STAYS
#define MAY_END false
#else
#define MAY_END (state != OFF && granted == 0 && pooled <= cap && out < cap)
#endif

inline relax()
{
    if
    :: atomic { MAY_END && !caches_lock -> caches_lock = true };
        if
        :: MAY_END ->
            n = cap;
            d_step {
#ifdef MUTANT_END_BLINDLY
                ok = true;
#else
                ok = (pooled <= n);
#endif
                if
                :: ok -> pressure = false
                :: else
                fi
            };
            if
            :: ok -> state = OFF
            :: else
            fi
        :: else
        fi;
        unlock()
    :: !MAY_END || caches_lock
    fi;
    d_step { n = 0; ok = false }
}

/* For a thread that has made a buffer beyond the cap, or has a full cache with fewer tickets than it may have. */
#ifdef MUTANT_GRANT_OVER_DEPOT
#define NOTHING_LIES true
#else
#define NOTHING_LIES (IN_ALL == 0)
#endif
#define MAY_GRANT                                                                                                      \
    (state == ON && tk[me] < TICKETS && (tk[me] > 0) == gate[me] && (gate[me] || cache[me] == 0) && NOTHING_LIES)

inline grant()
{
    if
    :: atomic { MAY_GRANT && !caches_lock -> caches_lock = true };
        if
        :: MAY_GRANT ->
            f = 1;
#if TICKETS > 1
            if
            :: tk[me] == 0 -> f = TICKETS
            :: true
            fi;
#endif
#ifndef MUTANT_GRANTED_LATE
            granted = granted + f;
#endif
            n = cap;
            d_step {
                ok = (pooled > n && tickets + f <= pooled - n);
                if
                :: ok -> tickets = tickets + f; p = pooled; t = tickets
                :: else
                fi
            };
            if
            :: ok && p < cap + t -> end_tickets(f); ok = false
            :: else
            fi;
#ifdef MUTANT_GRANTED_LATE
            if
            :: ok -> granted = granted + f
            :: else
            fi;
#else
            if
            :: !ok -> granted = granted - f
            :: else
            fi;
#endif
            if
            :: ok -> tk[me] = tk[me] + f; gate[me] = true
            :: else
            fi
        :: else
        fi;
        unlock()
    :: true
    fi;
    d_step { f = 0; n = 0; p = 0; t = 0; ok = false }
}

/* ---- cache.c, inside ---- */

inline take_one()
{
    pop_some(1);
    if
    :: m > 0 -> done = true
    :: else
    fi;
    if
#ifdef MUTANT_REST_WITHOUT_TICKETS
    :: m == 2 -> d_step { singles++; laws() }
#else
    :: m == 2 -> restore(1)
#endif
    :: else
    fi
}

inline refill()
{
    inside[me] = gate[me];
    if
    :: inside[me] && tk[me] == 0 && cache[me] == 0 -> pop(); done = (m > 0)
    :: else -> take_one()
    fi;
    inside[me] = false;
    m = 0
}

/* A full cache without tickets. */
inline overflow()
{
    inside[me] = gate[me];
    if
#ifdef SHARDS
    :: inside[me] && tk[me] == 0 ->
        do
        :: cache[me] > 0 -> d_step { cache[me]--; apart++; laws() }
        :: else -> break
        od
#else
    :: inside[me] && tk[me] == 0 -> flush(me)
#endif
    :: else
    fi;
    inside[me] = false
}

/* A full cache with tickets. done: it has room now */
inline shed()
{
    d_step { n = cap; p = pooled; t = tickets };
    if
    :: p >= n + t + 1 ->
        inside[me] = gate[me];
        if
#ifdef MUTANT_SHARD_BY_TICKETS
        :: inside[me] && tk[me] > 0 && cache[me] > 0 -> d_step { cache[me]--; apart++; laws() }
#endif
        :: inside[me] && tk[me] > 0 && cache[me] > 0 ->
#ifndef MUTANT_SHED_WITHOUT_TICKETS
            d_step { tickets++; laws() };
#endif
            cache[me]--;
            inside[me] = false;
#ifdef MUTANT_SHED_WITHOUT_TICKETS
            d_step { pooled--; laws() };
#else
            d_step { pooled--; tickets--; laws() };
#endif
            keep_cap();
            done = true
        :: else
        fi;
        inside[me] = false
    :: else
    fi;
    d_step { n = 0; p = 0; t = 0 }
}

/* ---- pool.c ---- */

inline lift()
{
    d_step { ok = pressure; pooled++; out++; held[me]++; done = true; laws() };
#ifndef MUTANT_LIFT_WITHOUT_PRESSURE
    if
    :: !ok && OVER_CAP -> enter()
    :: else
    fi;
#endif
#ifndef MUTANT_LIFT_NO_LOOK
    if
    :: IN_ALL > 0 -> keep_cap()
    :: else
    fi;
#endif
    grant()
}

inline get()
{
    d_step {
        done = (gate[me] && cache[me] > 0);
        if
        :: done -> cache[me]--; held[me]++; out++; laws()
        :: else
        fi
    };
    if
    :: !done -> 
        serve_gate();
        do
        ::
            refill();
            if
            :: done -> keep_cap(); break
            :: else
            fi;
            reserve();
            if
            :: done -> keep_cap(); break
            :: else
            fi;
            exhausted();
            if
            :: ok -> lift(); break
            :: else
            fi;
            if
            :: state != ON -> enter()
            :: else
            fi
        od
    :: else
    fi;
    skip;
    d_step { n = 0; done = false }
}

inline put_plain()
{
    d_step {
        done = (gate[me] && cache[me] < (tk[me] > 0 -> tk[me] : LIMIT));
        if
        :: done -> cache[me]++; held[me]--; out--; laws()
        :: else
        fi
    }
}

inline put()
{
    put_plain();
    if
    :: !done && gate[me] ->
        if
        :: tk[me] == 0 -> overflow()
        :: tk[me] > 0 -> shed()
        :: tk[me] > 0 -> grant()
        fi;
        put_plain()
    :: else
    fi;
    if
    :: !done ->
        serve_gate();
        if
        :: OVER_CAP -> d_step { pooled--; held[me]--; out--; laws() }
        :: else ->
            put_plain();
            if
            :: !done -> d_step { singles++; held[me]--; out--; laws() }
            :: else
            fi
        fi;
#ifndef MUTANT_PUSH_NO_LOOK
        keep_cap();
#endif
        relax()
    :: else
    fi;
    done = false
}

#ifdef CALLS
#ifndef OTHERS
#define OTHERS CALLS /* calls of the threads other than the first */
#endif
#define MORE_CALLS (made < (me == 0 -> CALLS : OTHERS))
#define COUNT_CALL made++
#else
#define MORE_CALLS true
#define COUNT_CALL skip
#endif

proctype caller(byte me)
{
    byte m, f, k, n, p, t, took, made;
    bool ok, done, shard;
    do
    :: MORE_CALLS ->
        if
        :: d_step { held[me] < HOLDS -> begin_call(true); COUNT_CALL }; get()
        :: d_step { held[me] > 0 -> begin_call(false); COUNT_CALL }; put()
#ifdef FLUSH
        :: d_step { begin_call(false); COUNT_CALL }; lock(); flush_and_open(); unlock(); keep_cap()
#endif
#ifdef EXIT
        :: d_step { begin_call(false); COUNT_CALL };
            lock();
            gate[me] = false;
            left = (left || cache[me] > 0);
            flush(me);
            if
            :: state == OFF -> gate[me] = true /* its heir */
            :: else
            fi;
            unlock()
#endif
        fi;
        atomic { getting[me] = false; most[me] = 0; end_call() }
    :: !MORE_CALLS -> break
    od
}

proctype trimmer(byte me)
{
    byte m, f, k, took;
    bool ok, shard;
    calls++;
    if
    :: free_magazine(1)
    :: free_magazine(2)
    fi;
    keep_cap();
    m = 0;
    end_call()
}

proctype setter(byte me)
{
    byte m, f, k, n, took;
    bool ok, shard;
    d_step { calls++; cap = LOW + HIGH - cap };
    if
    :: OVER_CAP ->
        enter();
        do
        :: OVER_CAP && IN_ALL > 0 -> free_magazine(0)
        :: else -> break
        od
    :: else
    fi;
#ifndef MUTANT_RAISE_NO_LOOK
    keep_cap();
#endif
    relax();
    m = 0;
    end_call()
}

init
{
    atomic {
        for (at : 0 .. THREADS + 1) {
            moved[at] = true
        };
#ifdef CALLS
        /* callers have all that they may hold */
        state = ON;
        pressure = true;
        for (at : 0 .. THREADS - 1) {
            gate[at] = false;
            held[at] = HOLDS
        };
        out = THREADS * HOLDS;
        pooled = out;
#endif
        for (at : 0 .. THREADS - 1) {
            run caller(at)
        };
        at = 0;
#ifdef TRIM
        run trimmer(THREADS);
#endif
#ifdef SETTER
        if
        :: cap = LOW
        :: cap = HIGH
        fi;
        run setter(THREADS + 1)
#endif
    }
}
