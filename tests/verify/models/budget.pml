/* SPDX-License-Identifier: MIT
 *
 * budget.pml - bytes of a budget: gets, puts and a growth in two pools, and callers that wait for bytes
 *
 * The limit is BYTES blocks. USERS threads get a buffer of pool 0 and put it, ROUNDS times; with GROWS one of them
 * grows its buffer in between, which takes the new block before the old one goes. WAITERS threads wait for one buffer
 * each, in pool 1, and put it. No pool has a cap. A pool is its idle buffers: `cache`, which fast puts fill while the
 * gate is open, and `depot`. One step is what the code does in one atomic operation, or under a lock that every other
 * thread takes for it. A steal is one step (steal.pml), and so is a pop (depot.pml). Only watches: exceeds.
 * Numbers in brackets: budget.c.
 *
 *     step            in src/                          there
 *     ----            -------                          -----
 *     reserve         heap/account.h account_reserve   "} while (!cas_seq_cst(&budget->charged, &charged, charged + bytes));"
 *                     heap/account.h account_reserve   "add_relaxed(&budget->used, bytes);"
 *     give            heap/account.h account_give      "(void)sub_seq_cst(&budget->charged, bytes);"
 *                     heap/account.h account_give      "if (unlikely(load_seq_cst(&budget->wanted)))"
 *                     heap/account.h account_give      "store_release(&budget->due, true);"
 *     free            heap/large.c large_free          "heap->free(memory, block_bytes(heap, block->cap), heap->ctx);"
 *                     heap/large.c large_free          "account_return(heap->slabs.budget, block_bytes(heap, block->cap));"
 *     make            heap/heap.c heap_alloc           "block_write_prefix(d, block.data);"
 *     serve           members.c members_serve_after    "if (account_is_wanted(budget) && some_idle(pool) && heap->make_room"
 *                     members.c members_serve_after    "store_release(&budget->due, true);"
 *                     members.c members_serve_all      "if (!exchange_acquire(&budget->due, false))"
 *                     heap/account.h account_begin_round "store_seq_cst(&budget->wanted, false); /*"
 *                     members.c members_serve_all      "wait_serve(pool);"
 *     serve_queue     wait.c serve_all                 "if (d == NULL && !life_reserve(pool) && !reserve_wanted(pool, w, rings))"
 *                     wait.c reserve_wanted            "account_want(budget);"
 *                     wait.c reserve_wanted            "if (life_reserve(pool))"
 *                     wait.c reserve_wanted            "pthread_cond_signal(&sleeper_of(w)->woken);"
 *     close_pools     budget.c close_caches            "pressure_enter(pool);"
 *     make_room       budget.c budget_make_room (3)    "if (pthread_mutex_lock(&budget->room) != 0)"
 *                     budget.c free_idle (2)           "freed += reclaim_idle(pool, bytes - freed, from_caches);"
 *     may_end         pressure.c may_end               "account_is_tight(pool->heap.slabs.budget))"
 *     get             pool.c look_again (1)            "if (load_relaxed(&pool->pressure.state) != PRESSURE_ON && pressure_rise(pool, patience))"
 *                     pool.c look_again (2)            "get->out_of_budget = !budget_make_room(pool->heap.slabs.budget, heap_bytes(&pool->heap, pool->heap.base));"
 *     put             cache.h cache_push_plain         "store_relaxed(&c->level, level + 1);"
 *                     pool.c give_back                 "if (account_is_wanted(pool->heap.slabs.budget))"
 *     grow            heap/heap.c pay (1)              "while (!account_reserve(heap->slabs.budget, bytes - *paid))"
 *     user            call.h call_serve                "members_serve(pool);"
 *     waiter          timed.c wait_for                 "(void)budget_wait(pool);"
 *                     budget.c budget_wait             "close_caches(budget);"
 *                     budget.c budget_wait             "if (budget_make_room(budget, heap_bytes(&pool->heap, pool->heap.base)))"
 *                     budget.c budget_wait             "members_serve_all(budget);"
 *
 * Claims:
 *
 *     - The blocks that exist never exceed the limit, nor does `charged`.
 *     - A waiter is never forgotten. Where one is left, Spin reports an invalid end state. Here a waiter looks when it
 *       begins, and once after each attempt to serve it that failed; in the code it then looks every 2 ms.
 *     - A call finds that nothing idles only while no other call has taken buffers out of a depot to free one of them.
 *     - When all threads have ended `charged` is what exists, and all of that idles.
 */
#ifndef BYTES
#define BYTES 2
#endif
#ifndef USERS
#define USERS 2
#endif
#ifndef WAITERS
#define WAITERS 1
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#define T (USERS + WAITERS)

byte charged, exist;
bool wanted, due;
bool room;            /* the lock */
bool gate[2] = true;  /* open */
byte cache[2], depot[2];
bool queue_lock;
chan queue = [WAITERS] of { byte };
bool served[T];       /* has the bytes of a block */
bool woken[T];
byte transit;         /* buffers out of a depot that are about to be freed */
byte over;            /* threads that have ended */

/* In one step with each change that may break it. */
inline exceeds()
{
    assert(exist <= BYTES && charged <= BYTES)
}

inline reserve(ok)
{
#ifdef MUTANT_NO_SWAP
    ok = (charged < BYTES);
    if
    :: ok -> d_step { charged++; exceeds() }
    :: !ok
    fi
#else
    d_step {
        ok = (charged < BYTES);
        charged = charged + ok;
        exceeds()
    }
#endif
}

inline give()
{
#ifdef MUTANT_LOOK_FIRST
    seen = wanted;
    charged--;
    if
    :: seen -> due = true
    :: !seen
    fi;
    seen = false
#else
    charged--;
    if
    :: wanted -> due = true
    :: !wanted
    fi
#endif
}

inline free()
{
#ifdef MUTANT_GIVE_FIRST
    give();
    exist--
#else
    exist--;
    give()
#endif
}

inline make()
{
    d_step { exist++; exceeds() }
}

/* wait.c: queue_lock is held */
inline serve_queue()
{
    do
    :: empty(queue) -> break
    :: nempty(queue) ->
        reserve(ok);
        if
        :: !ok -> wanted = true; reserve(ok)
        :: ok
        fi;
        if
        :: ok -> d_step { queue ? first; served[first] = true; first = 0; ok = false }
        :: !ok ->
#ifndef MUTANT_NO_SIGNAL
            d_step { queue ? <first>; woken[first] = true; first = 0 };
#endif
            break
        fi
    od
}

inline close_pools()
{
    d_step { gate[0] = false; depot[0] = depot[0] + cache[0]; cache[0] = 0 };
    d_step { gate[1] = false; depot[1] = depot[1] + cache[1]; cache[1] = 0 }
}

/* made: some room was made, or is there */
inline make_room()
{
#ifndef MUTANT_NO_LOCK
    atomic { !room -> room = true };
#endif
    made = (charged < BYTES);
    if
    :: !made ->
        p = 0;
        do
        :: p < 2 && !made ->
            d_step { depot[p] = depot[p] + cache[p]; cache[p] = 0 };
            d_step {
                if
                :: depot[p] > 0 -> transit = transit + depot[p]; mine = depot[p]; depot[p] = 0; made = true
                :: depot[p] == 0 -> assert(transit == 0)
                fi
            };
            if
            :: made ->
                free();
                d_step { depot[p] = depot[p] + mine - 1; transit = transit - mine; mine = 0 } /* the rest goes back */
            :: !made -> p++
            fi
        :: else -> break
        od;
        p = 0
    :: made
    fi;
#ifndef MUTANT_NO_LOCK
    room = false
#else
    skip
#endif
}

inline serve(i)
{
#ifndef MUTANT_KEPT
    if
    :: wanted && depot[i] > 0 ->
        make_room();
        if
        :: made -> due = true; made = false
        :: !made
        fi
    :: !wanted || depot[i] == 0
    fi;
#endif
    if
    :: due ->
#ifdef MUTANT_CLEARED_LATE
        atomic { !queue_lock -> queue_lock = true };
        serve_queue();
        queue_lock = false;
        d_step { due = false; wanted = false }
#else
        due = false;
        wanted = false;
        atomic { !queue_lock -> queue_lock = true };
        serve_queue();
        queue_lock = false
#endif
    :: !due
    fi
}

/* Under the lock of the caches. A gate may open while no caller waits for bytes. */
inline may_end(i)
{
    if
#ifdef MUTANT_ENDS_ANYWAY
    :: gate[i] = true
#else
    :: d_step { !wanted -> gate[i] = true }
#endif
    :: true
    fi
}

/* held: it has one. It takes from the cache or the depot of pool i, or makes one. */
inline get(i)
{
    do
    ::
        if
        :: d_step { cache[i] > 0 -> cache[i]--; held = true }; break
        :: d_step { cache[i] == 0 && depot[i] > 0 -> depot[i]--; held = true }; break
        :: cache[i] == 0 && depot[i] == 0 ->
            reserve(ok);
            if
            :: ok -> make(); held = true; ok = false; break
            :: !ok -> make_room()
            fi;
            if
            :: made -> made = false
            :: !made -> break
            fi
        fi
    od
}

inline put(i)
{
    if
    :: d_step { gate[i] -> cache[i]++ }                     /* the fast put */
    :: true ->
        if
        :: wanted -> free()
        :: !wanted -> depot[i]++
        fi;
        may_end(i)
    fi;
    held = false
}

inline grow()
{
    reserve(ok);
    if
    :: !ok -> make_room(); reserve(ok)
    :: ok
    fi;
    if
    :: ok -> make(); free(); ok = false /* the new block, then the old one */
    :: !ok
    fi;
    made = false
}

proctype user(byte me)
{
    byte n, p, first, mine;
    bool ok, made, held, seen;
    do
    :: n < ROUNDS ->
        get(0);
        serve(0);
        if
#ifdef GROWS
        :: held -> grow(); serve(0)
#endif
        :: true
        fi;
        if
        :: held -> put(0); serve(0)
        :: !held
        fi;
        n++
    :: n == ROUNDS -> break
    od;
    over++
}

proctype waiter(byte me)
{
    byte p, first, mine;
    bool ok, made, held, seen;
    atomic { !queue_lock -> queue_lock = true };
    queue ! me;
    serve_queue();
    queue_lock = false;
    do
    :: true ->
        if
        :: wanted ->
#ifndef MUTANT_OPEN
            close_pools();
#endif
            make_room();
            if
            :: made -> atomic { !queue_lock -> queue_lock = true }; serve_queue(); queue_lock = false
            :: !made
            fi
        :: !wanted
        fi;
        made = false;
        serve(1);
        if
        :: served[me] -> break
        :: atomic { !served[me] && woken[me] -> woken[me] = false }
        fi
    od;
    make();
    held = true;
    serve(1);
    put(1);
    serve(1);
    over++
}

init
{
    byte i;
    atomic {
        for (i : 0 .. USERS - 1) {
            run user(i)
        };
        for (i : USERS .. T - 1) {
            run waiter(i)
        };
        i = 0
    };
    over == T;
    assert(empty(queue) && charged == exist && exist == cache[0] + cache[1] + depot[0] + depot[1])
}
