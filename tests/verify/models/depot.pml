/* SPDX-License-Identifier: MIT
 *
 * depot.pml - the stack of magazines: pops against pushes, of descriptors that are freed and used again in between
 *
 * THREADS threads pop, push, split magazines, free buffers and make them, for ever. Each step is one access to memory
 * that other threads may write at that moment. The model does not say which memory orders the steps need.
 *
 * The tag is not a number here. The only question is whether the tag has changed since the thread read the head. So
 * each thread has a bit, `moved`, which every pop of another thread sets: the head is the same word as before if the
 * index is the same and `moved` is not set. (A tag of 32 bits may seem the same after 2^32 pops.) So the number of
 * states is finite, and the number of calls has no bound. Numbers in brackets: depot.c.
 *
 * A magazine has one or two buffers. In larger ones the nodes other than the head use `below` and `count` for links.
 * Here these nodes get values that would be wrong for a head.
 *
 *     step              in src/                         there
 *     ----              -------                         -----
 *     close_magazine    depot.c magazine_close          "store_relaxed(&node->count, at[-4]->index);"
 *                       depot.c magazine_close          "store_relaxed(&node->below, at[-3]->index);"
 *     open_magazine     depot.c magazine_open           "const struct desc *node = *at = magazine->head;"
 *     push              depot.c push_closed (2)          "uint64_t head = load_acquire(&depot->head);"
 *                       depot.c push_closed                    "store_relaxed(&first->below, HEAD_INDEX(head));"
 *                       depot.c push_closed (14)         "store_relaxed(&first->count, (depth_of(table, HEAD_INDEX(head)) + n) << COUNT_BITS | low_bits);"
 *                       depot.c push_closed (3)          "} while (!cas_seq_cst_acquire(&depot->head, &head, (head & ~(HEAD_TAG - 1)) | first->index));"
 *     peek              depot.c depot_peek              "*head = load_seq_cst(&depot->head);"
 *                       depot.c depot_peek (1)          "*below = load_relaxed(&first->below);"
 *     swap              depot.c depot_swap (2)          "return cas_relaxed(&depot->head, &head, next);"
 *     pop               depot.c depot_pop               "} while (!depot_swap(depot, head, below));"
 *                       depot.c popped                  "const uint32_t count = load_relaxed(&first->count), n = count_n(count);"
 *     free_buffer       heap/desc.c desc_give           "*free_index(table, ++table->free) = d->index;"
 *     make_buffer       heap/desc.c desc_take           "const uint32_t again = *free_index(table, table->free--);"
 *     check             depot.c depot_pop (2)           "first = depot_peek(depot, table, &head, &below);"
 *     thread            reclaim.c free_magazine         "depot_restore(&pool->depot, &pool->heap.table, bufs + freed, magazine.n - freed, magazine.grown);"
 *
 * Claims: from the head down, the links lead through all buffers that were pushed and not popped, each once, and
 * through no other buffer. Each head says how many there are from its magazine down (14). A pop yields a magazine as it was pushed. So no buffer has two owners and none is lost.
 * And (run.sh, PROGRESS) some call always comes to its end, wherever other threads sleep: no call waits for another
 * thread.
 */
#ifndef THREADS
#define THREADS 3
#endif
#ifndef BUFFERS
#define BUFFERS 3
#endif

#define NONE  0
#define FREE  255
#define DEPOT 254

/* desc.h: by index, from 1 */
byte below[BUFFERS + 1], count[BUFFERS + 1], link[BUFFERS + 1];
byte depth[BUFFERS + 1]; /* in the word of count */
byte head;           /* index */
#ifdef MUTANT_SPIN
bool locked;         /* as if the head had a lock in it */
#endif
bool moved[THREADS]; /* the tag, since this thread read the head */

byte owner[BUFFERS + 1]; /* the truth: thread, DEPOT, FREE */
byte size[BUFFERS + 1];  /* of the magazine when it was pushed */
byte at, seen, sum; /* of check */

#ifdef MUTANT_NO_TAG
#define SAME_HEAD(index) (head == index)
#else
#define SAME_HEAD(index) (head == index && !moved[me])
#endif

/* In one step with each swap of the head. */
inline check()
{
    seen = 0;
    at = head;
    sum = (head == NONE -> 0 : depth[head]);
    do
    :: at != NONE ->
        assert(owner[at] == DEPOT && count[at] == size[at] && depth[at] + seen == sum);
        seen++;
        if
        :: count[at] == 2 -> assert(link[at] != NONE && link[at] != at && owner[link[at]] == DEPOT); seen++
        :: else
        fi;
        assert(seen <= BUFFERS);
        at = below[at]
    :: else -> break
    od;
    assert(seen == sum);
    sum = 0;
    for (at : 1 .. BUFFERS) {
        if
        :: owner[at] == DEPOT -> seen--
        :: else
        fi
    }
    assert(seen == 0);
    at = 0
}

/* The n buffers are the thread's own. */
inline close_magazine(n)
{
    d_step {
        count[bufs[n - 1]] = n;
        if
        :: n == 2 ->
            link[bufs[1]] = bufs[0];
            below[bufs[0]] = bufs[1];
            depth[bufs[0]] = BUFFERS + 1
        :: else
        fi
    }
}

inline push(n)
{
#ifndef MUTANT_CLOSED_LATE
    close_magazine(n);
#endif
    d_step { top = head; moved[me] = false };
#ifdef MUTANT_BELOW_ONCE
    below[bufs[n - 1]] = top;
#endif
#ifdef MUTANT_DEPTH_ONCE
    depth[bufs[n - 1]] = (top == NONE -> 0 : depth[top]) + n;
#endif
    do
    ::
#ifndef MUTANT_BELOW_ONCE
        below[bufs[n - 1]] = top;
#endif
#ifndef MUTANT_DEPTH_ONCE
        depth[bufs[n - 1]] = (top == NONE -> 0 : depth[top]) + n;
#endif
        d_step {
            if
#ifdef MUTANT_PLAIN_PUSH
            :: true ->
#else
            :: SAME_HEAD(top) ->
#endif
                swapped = true;
                head = bufs[n - 1];
                size[head] = n;
                owner[head] = DEPOT;
                if
                :: n == 2 -> owner[bufs[0]] = DEPOT
                :: else
                fi;
#ifndef MUTANT_CLOSED_LATE
                check()
#endif
            :: else -> swapped = false; top = head; moved[me] = false
            fi
        };
        if
        :: swapped -> break
        :: else
        fi
    od;
#ifdef MUTANT_CLOSED_LATE
    atomic { close_magazine(n); check() };
#endif
    atomic { top = 0; swapped = false; moved[me] = true }
}

inline peek()
{
#ifdef MUTANT_SPIN
    do
    :: atomic { !locked -> locked = true; break }
    :: locked
    od;
#endif
    atomic { top = head; moved[me] = false };
    if
    :: top != NONE ->
#ifdef MUTANT_UNMAPPED
        assert(owner[top] != FREE);
#endif
        next = below[top]
#ifdef MUTANT_TAG_LATE
        ; d_step { if :: head == top -> moved[me] = false :: else fi }
#endif
    :: else
    fi
}

inline swap()
{
    d_step {
        if
        :: SAME_HEAD(top) ->
            swapped = true;
#ifdef MUTANT_BELOW_AFTER
            head = NONE;
#else
            head = next;
#endif
            for (at : 0 .. THREADS - 1) {
                moved[at] = true
            }
            assert(owner[top] == DEPOT);
            owner[top] = me;
            /* the rest of the magazine goes with it: read here, as it was pushed */
            if
            :: size[top] == 2 -> assert(owner[link[top]] == DEPOT); owner[link[top]] = me
            :: else
            fi;
            at = 0;
#ifndef MUTANT_BELOW_AFTER
            check()
#endif
        :: else -> swapped = false
        fi
    }
#ifdef MUTANT_BELOW_AFTER
    ;
    if
    :: swapped -> next = below[top]; d_step { head = next; check() }
    :: else
    fi
#endif
}

inline open_magazine()
{
    d_step {
        assert(count[top] == size[top]);
        n = count[top];
        bufs[n - 1] = top;
        if
        :: n == 2 -> bufs[0] = link[top]
        :: else
        fi;
        assert(owner[bufs[0]] == me);
        /* no other thread reads these */
        count[top] = 0;
        depth[top] = 0;
        link[top] = NONE;
        size[top] = 0
    }
}

inline pop()
{
    do
    ::
        peek();
        if
        :: top == NONE -> break
        :: else
        fi;
        swap();
        if
        :: swapped -> open_magazine(); break
        :: else
        fi
    od;
#ifdef MUTANT_SPIN
    locked = false;
#endif
    atomic { top = 0; next = 0; swapped = false; moved[me] = true }
}

/* Both under the heap's lock. The descriptor keeps its fields, except `link`, which only its owner reads. */
inline free_buffer()
{
    d_step {
        n--;
        owner[bufs[n]] = FREE;
        bufs[n] = 0
    }
}

/* Any free one, so also the one that was freed last. */
inline make_buffer()
{
    atomic {
        for (at : 1 .. BUFFERS) {
            if
            :: owner[at] == FREE && n == 0 -> bufs[0] = at; owner[at] = me; n = 1
            :: owner[at] == FREE || owner[at] != FREE
            fi
        }
        at = 0
    }
}

proctype thread(byte me)
{
    byte bufs[2], n;      /* its own */
    byte top, next;       /* head and below, as it read them */
    bool swapped;
    do
    ::
        if
        :: n == 0 -> pop()
        :: n > 0 -> push(n); atomic { n = 0; bufs[0] = 0; bufs[1] = 0 }
        :: n > 0 -> free_buffer()
        :: n == 0 -> make_buffer()
        fi;
progress_a_call_has_ended:
        skip
    od
}

init
{
    byte i;
    d_step {
        for (i : 1 .. BUFFERS) {
            owner[i] = FREE
        };
        for (i : 0 .. THREADS - 1) {
            moved[i] = true
        };
        i = 0
    }
    atomic {
        for (i : 0 .. THREADS - 1) {
            run thread(i)
        }
    }
}
