/* SPDX-License-Identifier: MIT
 *
 * recording.c - the recording of holders, switched while the process runs
 *
 *     on    1  MODE_GATES           every gate that opens from now on is slow
 *           2  gates, pool by pool  every gate that is open becomes slow, under the pool's caches_lock
 *           3  MODE_HOLDERS         and MODE_GATES no longer; a new recording begins, with the next number; release
 *
 *     off   4  no MODE_HOLDERS      the recording is over; every gate that opens from now on is fast again
 *           5  gates, pool by pool  every gate that is open becomes fast, as in 2; release
 *
 * Steps 1, 3 and 4 change one word, `modes`, under the registry's lock. One thread at a time switches. If another mode
 * watches, callers are recorded anyway, so only MODE_HOLDERS changes.
 *
 * An open gate may change while its owner is inside. The switch takes nothing from the cache, so it needs no barrier
 * and waits for no owner. The owner reads the gate once, and goes by that value until its call ends. Other calls close
 * gates and open them too, all under caches_lock, and cache_open looks at `modes` each time:
 *
 *     a. After 2 no gate is fast until 4. If a gate was opened before 2 took caches_lock, 2 changes the gate. If a gate
 *     is opened later, its thread took the lock after 2, and so sees 1. The same holds for a pool that is made
 *     meanwhile: either 2 finds it, or its maker took the registry's lock after 1.
 *
 * A record must not be believed if its buffer has changed since. The record would name the wrong holder, and a put that
 * compares its block with the record would report misuse. So a record is believed only if it has the number of the
 * present recording. Let s be that number. A thread is "in s" if it read s and MODE_HOLDERS in `modes`. A buffer goes
 * from one thread to the next by way of a cache, the depot or the program. Each of these orders the accesses of the
 * first thread before those of the next. Then:
 *
 *     b. A record of s is written in s, with an acquire of 3. So the thread that wrote it has seen every gate slow (2),
 *        and so has every thread that the buffer comes to later. None of them serves that buffer by a fast call before
 *        it has seen 4.
 *     c. Each of these threads reads a `modes` that is as new as the one that the thread before it read, or newer. So
 *     as long as one of them is in s, all threads that had the buffer since the record was written were in s, and
 *     updated the record: number and modes are one word, and after 4 only 3 sets MODE_HOLDERS, with another number. d.
 *     After 4 no thread that finds a gate fast believes a record of s, since 5 comes after 4. Nor does a thread that
 *     gets a buffer from such a thread. Records of s that a thread in s still writes are out of date when the next
 *        recording begins.
 *     e. A call may look at `modes` before 3 and take its buffer after that. It hands the buffer out without a record.
 *        If the buffer has a record of s, from callers that had it in between, that record says IDLE since the put. If
 *        the buffer was freed in between and made anew, the record has a cap of 0 (watch_freed). So neither record is
 *        taken for the record of the holder.
 *
 * A held buffer may have no record of s for three reasons: it was got before 3, or by a call that began before 3, or
 * there was no memory for a record (records.missed). holders.c lists the buffer accordingly.
 *
 * Without membarrier(2) all of this is the same. If a process forks between 1 and 3, the child does not record
 * (modes_after_fork_in_child). All gates are closed in the child, and they open as `modes` says there.
 *
 * The number has 32 bits, or 20 where a pointer has 32. A record could be believed again, wrongly, if it was not
 * touched for 2^32 (or 2^20) recordings.
 */
#include "debug/recording.h"

#include "cache.h"
#include "debug/modes.h"
#include "debug/sanitizer.h"
#include "fork.h"
#include "registry.h"
#include "roster.h"

/* Opens each open gate once more, slow or fast as `modes` says. */
static void open_anew(bufferpool_t *pool)
{
    roster_lock(pool);
    for (struct cache *c = pool->shared.next_open; c != NULL; c = c->next_open) {
        if (cache_is_open(c))
            cache_open(pool, c);
    }
    roster_unlock(pool);
}

/* A pinned pool stays, so the registry's lock is not held while the pool's lock is taken. */
static void open_all_anew(void)
{
    registry_lock();
    size_t next = 0;
    for (bufferpool_t *pool; (pool = registry_from(next)) != NULL;) {
        next = pool->index + 1;
        fork_repair(pool);
        registry_pin(pool);
        registry_unlock();
        open_anew(pool);
        registry_lock();
        registry_unpin(pool);
    }
    registry_unlock();
}

/* Sets and clears modes. Returns the modes from before. */
static uintptr_t change(uintptr_t clear, uintptr_t set, uintptr_t recordings)
{
    registry_lock();
    modes_init(sanitizer_under_memcheck());
    const uintptr_t before = load_relaxed(&modes);
    /* release: with the acquires in records.c, which come after every gate is slow */
    store_release(&modes, ((before & ~clear) | set) + (recordings << MODES_BITS));
    registry_unlock();
    return before;
}

static void begin(void)
{
    const uintptr_t before = change(0, 0, 0);
    if ((before & MODES_WATCH) != 0) {
        (void)change(0, MODE_HOLDERS, 0);
        return;
    }
    (void)change(0, MODE_GATES, 0);
    open_all_anew();
    (void)change(MODE_GATES, MODE_HOLDERS, 1);
}

static void end(void)
{
    const uintptr_t before = change(MODE_HOLDERS, 0, 0);
    if ((before & MODES_SLOW) == MODE_HOLDERS)
        open_all_anew();
}

void recording_switch(bool on)
{
    modes_lock_switch();
    if (on)
        begin();
    else
        end();
    modes_unlock_switch();
    modes_tell();
}
