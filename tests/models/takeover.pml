/* SPDX-License-Identifier: MIT
 *
 * takeover.pml - an owner at its cache, against a thread that takes the cache over
 *
 * The owner's stores go through a buffer that empties at any time, in order (x86); a load finds the owner's own value there
 * first. Loads of gate and level are separate steps. The taker is sequentially consistent: its locks and seq_cst stores
 * see to that.
 *
 *     here            in src/
 *     ----            ------
 *     owner           cache_pop_plain in cache.h: steps 1 to 4 of takeover.c
 *     taker           close_gates, barrier_in_all_threads, take_pending, cache_open: steps a to e
 *     membarrier      the buffer is empty at one moment between the taker's steps
 *
 * Claim: every buffer is had by one of the two, and they are never inside together.
 */
#define BUFFERS 3
#define GETS    3
#define TAKES   2

mtype = { BUSY, LEVEL };

bool gate = true, busy;
byte level = BUFFERS;
chan pending = [4] of { mtype, byte }; /* the owner's stores on their way */
bool owner_inside, taker_inside, owner_done, taker_done;
byte got, taken;

inline store(variable, value) { pending ! variable, value }

active proctype buffer()
{
    byte value;
    do
    :: atomic { pending ? BUSY, value -> busy = value }
    :: atomic { pending ? LEVEL, value -> level = value }
    :: owner_done && empty(pending) -> break
    od
}

active proctype owner()
{
    byte i, l, value;
    bool g;
    for (i : 1 .. GETS) {
        store(BUSY, 1);
#ifdef MUTANT_LEVEL_FIRST
        l = level;
        g = gate;
#else
        g = gate;
        /* a load takes the newest store of one's own that is still on its way: here there is none, each turn ends with
         * the level in memory or in the buffer */
        if
        :: atomic { pending ?? [LEVEL, value] -> pending ?? <LEVEL, value>; l = value }
        :: atomic { !(pending ?? [LEVEL, value]) -> l = level }
        fi;
#endif
        if
        :: g && l > 0 ->
            owner_inside = true;
            assert(!taker_inside);
            store(LEVEL, l - 1);
            got++;
            owner_inside = false
        :: else
        fi;
        store(BUSY, 0)
    }
    owner_done = true
}

active proctype taker()
{
    byte i;
    for (i : 1 .. TAKES) {
        gate = false;
#ifndef MUTANT_NO_BARRIER
        empty(pending);
#endif
#ifndef MUTANT_NO_LOOK
        if
        :: !busy ->
#endif
            taker_inside = true;
            assert(!owner_inside);
            taken = taken + level;
            level = 0;
            taker_inside = false
#ifndef MUTANT_NO_LOOK
        :: busy -> skip /* the owner was preempted inside: not this time */
        fi
#endif
        ;
        gate = true
    }
    taker_done = true
}

init
{
    (owner_done && taker_done && empty(pending));
    assert(got + taken + level == BUFFERS)
}
