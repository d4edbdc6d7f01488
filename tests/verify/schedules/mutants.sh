#!/bin/sh
# mutants.sh FOLDER PROGRAM-OBJECTS... -- LINK...: makes mistakes in a copy of src/, one at a time. The scene that is
# named with a mistake must find it. FOLDER is the root of the project. The objects are those of the programs and have
# their names. The arguments after -- are linked too. Runs in the current folder; CC is the compiler, CFLAGS are those
# of the stepped sources.
set -eu
root=$1
shift
objects=
while test "$1" != --; do
    objects="$objects $1"
    shift
done
shift

number=0

# mutant NAME PROGRAM SCENE FILE EDIT [SOURCE]: edits FILE by sed, and compiles it, or SOURCE if FILE is a header. Without
# the edit the scene must pass, or it would show nothing.
mutant() {
    rm -rf mutant
    mkdir mutant
    cp -R "$root"/src/. "$root"/tests/verify/schedules/inlines.[ch] mutant
    sed "$5" "$root/src/$4" >"mutant/$4"
    if cmp -s "$root/src/$4" "mutant/$4"; then
        echo "$1: the edit of $4 changes nothing"
        exit 1
    fi
    for object in $objects; do
        case $object in */"$2".c.o) program=$object ;; esac
    done
    # shellcheck disable=SC2086
    ${CC:-cc} -Imutant $CFLAGS -w -c "mutant/${6:-$4}" -o mutant/mutant.o
    # shellcheck disable=SC2086 # a list of options
    ${CC:-cc} -o mutant/mutant "$program" mutant/mutant.o $LINK
    # shellcheck disable=SC2086
    ${CC:-cc} -o mutant/original "$program" $LINK
    ./mutant/original --preemptions 1 "$3" >mutant/out || { echo "$1: $3 fails without it"; cat mutant/out; exit 1; }
    if ./mutant/mutant "$3" >mutant/out; then
        echo "$1: NOT FOUND by $3"
        cat mutant/out
        failed=yes
        return
    fi
    grep -q FAILED mutant/out || { echo "$1: no schedule"; cat mutant/out; exit 1; }
    sed -n "s/^$3: FAILED after \([0-9]* schedules, with [0-9]* preemptions\).*: \(.*\)/$1: found by $3 after \1: \2/p" mutant/out
    number=$((number + 1))
}

failed=no
LINK=$*

# the depot
mutant tag_stands_still depot head_comes_back depot.c \
    '/^bool depot_swap/,/^}/s/((head & ~(HEAD_TAG - 1)) + HEAD_TAG)/(head \& ~(HEAD_TAG - 1))/'
mutant below_written_once depot head_comes_back_beside_a_third depot.c \
    '/^static inline void push_closed/,/^}/{s/    do {/store_relaxed(\&first->below, HEAD_INDEX(head)); do {/;/^        store_relaxed(&first->below/d;}'
mutant cap_read_once depot cap_lowered depot.c 's/if (depot_counts_of(after).pooled > depot_cap_of(max_live))/if (0)/'
mutant counted_by_a_store depot made_at_the_cap depot.c \
    's/while (!cas_seq_cst(&depot->counts, &counts, after));/while (0); store_relaxed(\&depot->counts, after);/'
mutant verdict_with_one_look depot verdict_and_tickets_end depot.h 's/ && load_seq_cst(&depot->head) == head//' inlines.c
mutant verdict_without_tickets depot verdict_beside_a_free depot.h 's/counts.pooled >= n + counts.tickets/counts.pooled >= n/' inlines.c
mutant freed_without_tickets depot verdict_beside_a_free depot.c \
    '/^void depot_discard/,/^}/s/ + TICKETS(n)//;s/if (need > tickets)/if (0)/;s/first, need)/first, 0)/'
mutant tickets_end_before_the_push depot verdict_beside_a_restore depot.c \
    's/^    depot_push(depot, table, bufs, n, grown);/depot_end_tickets(depot, n); &/;s/^    depot_end_tickets(depot, n); .*afterwards.*//'
mutant verdict_without_pressure cache owner_and_get_at_the_cap depot.h 's/ && counts.pressure &&/ \&\&/' pool.c
mutant wanted_after_the_look wait wait_and_put wait.c \
    '/^static bool join/,/^}/s/^    depot_want(.*//;/^bool wait_begin/,/^}/s/        serve_all(pool, &rings);/{ & depot_want(\&pool->depot, true); }/'

# the cap
mutant room_given_up_before_the_block cache owners_and_cap_lowered pool.c \
    '/^static enum counter drop/,/^}/{/depot_unreserve/d;s/    life_free(/depot_unreserve(\&pool->depot, 1); &/;}'
mutant nothing_stolen cache owner_and_get_at_the_cap pressure.c '/^bool pressure_rise/,/^}/s/if (load_relaxed(&pool->pressure.state) != PRESSURE_ON)/if (true) return false; else if (left)/'

# shards
mutant shards_not_drained cache apart_and_get_at_the_cap pressure.c '/^    shards_drain(/d'
mutant shards_drained_after_the_flag cache many_apart_and_get_at_the_cap pressure.c \
    '/^    shards_drain(/d;s/^        depot_begin_pressure(&pool->depot);/& shards_drain(\&pool->depot, \&pool->heap.table, true);/'
mutant pushed_to_a_shard_behind_a_closed_gate cache apart_and_get_at_the_cap cache.c \
    's/push(pool, NULL, &d, 1, cap - pool->heap.base)/push(pool, c, \&d, 1, cap - pool->heap.base)/'
mutant shards_not_looked_into cache apart_and_cap_lowered shards.c \
    '/^struct magazine shards_pop_some/,/^}/s/used = used_of(shards)/used = 0/'

# stealing
mutant busy_not_looked_at cache owner_and_trim cache.h 's/return !load_acquire(&c->busy);/return true;/' steal.c
mutant gate_not_closed cache owner_and_trim steal.c '/^static void close_gate/,/^}/s/^        cache_close(c);$//'
mutant gate_read_before_busy cache owner_and_trim cache.h \
    '/^static inline .*cache_pop_plain(struct/,/^}/{s/^    cache_enter(c);$//;s/^    uintptr_t gate = .*/& cache_enter(c);/;}' pool.c
mutant left_before_the_level cache owner_puts_and_trim cache.h \
    '/^static inline bool cache_push_plain/,/^}/{s/^    cache_entries(c)\[n\] = d;/cache_leave(c); &/;}' pool.c
mutant refilled_from_outside cache refill_and_refill cache.c \
    '/^struct desc \*cache_refill/,/^}/s/^    struct cache \*in = enter(pool, c);/& leave(in);/'
mutant limit_counted_by_a_store cache idle_limit cache.c \
    's/while (!cas_relaxed(&pool->idle_reserved, &reserved, reserved + bytes));/while (0); store_relaxed(\&pool->idle_reserved, reserved + bytes);/'

# callers that wait
mutant put_does_not_look wait wait_and_put pool.c \
    '/^static void put_to_pool/,/^}/s/^    call_serve(pool);$/    ;/;/^static .*void put_slow/,/^}/s/^        call_serve(pool);$/        ;/'
mutant entered_without_a_look wait wait_and_pressure_ends timed.c \
    '/^static int wait_for/,/^}/s/^            wait_serve(pool);$/            ;/'
mutant pressure_ends_under_a_waiter wait wait_and_pressure_ends depot.c '/^bool depot_end_pressure/,/^}/s/if (now.wanted || /if (/'
mutant left_in_the_queue wait wait_a_little wait.c '/^int wait_end/,/^}/s/^        leave(pool, &s->waiter, ETIMEDOUT);/        ;/'

# ends
mutant exit_without_the_lock end exit_and_get_at_the_cap tls_cache.c \
    '/^static void cache_disown/,/^}/s/^    roster_[un]*lock.*//'
mutant cache_had_without_the_lock end first_use_at_the_cap tls_cache.c '/^static struct cache \*cache_acquire/,/^}/s/^ *roster_[un]*lock.*//'
mutant destroyed_without_the_lock end destroyed_while_exiting create.c \
    '/^static void dispose/,/^}/s/^    registry_[lu].*//'
mutant flushed_without_a_pin end destroyed_while_flushing tls_cache.c \
    '/^static void for_own/,/^}/s/^        registry_[un]*pin(pool);$//'
mutant destroyed_although_pinned end destroyed_while_flushing tls_cache.c 's/^    registry_await_unpinned(pool);$//'

# loops that wait
mutant cancel_keeps loop cancel_and_put async.c '/^void bufferpool_cancel/,/^}/s/if (w->error == 0)/if (false)/'
mutant cancelled_without_the_lock loop cancel_and_put wait.c \
    '/^bool wait_leave/,/^}/{s/^    pthread_mutex_lock.*//;s/^    unlock_and_ring.*//;}'
mutant cancel_takes_from_the_queue_alone loop cancel_beside_a_thread async.c \
    '/^void bufferpool_cancel/,/^}/s/if (!wait_leave(pool, w))/wait_leave(pool, w); if (false)/'
mutant pushed_without_a_ring loop serve_and_put wait.c 's/else if (notifier_push(w))/else if (notifier_push(w) \&\& false)/'
mutant notifier_gone_before_the_ring loop loop_ends_after_cancel async.c \
    '/^int bufferpool_notifier_destroy/,/^}/s/^        notifier_await_rings(notifier);$//'
mutant found_nothing_before_the_ring loop look_and_put notifier.c \
    '/^struct waiter \*notifier_pop/,/^}/s/load_acquire(&notifier->ringing) != 0)/false)/'

# closed pools
mutant two_see_the_last close last_two_puts depot.c \
    '/^bool depot_drop/,/^}/s/return depot_counts_of(sub_seq_cst(&depot->counts, POOLED(1))).pooled == 1;/sub_seq_cst(\&depot->counts, POOLED(1)); return depot_counts_of(load_seq_cst(\&depot->counts)).pooled == 0;/'
mutant given_up_before_the_free close last_two_puts close.c \
    '/^void close_give_back/,/^}/{s/^    life_free(pool, d, false);$//;s/^    close_release(pool);$/& life_free(pool, d, false);/;}'
mutant held_from_nothing close last_two_puts_beside_a_flush close.c \
    's/return depot_hold_if_any(&pool->depot);/return depot_hold(\&pool->depot), true;/'
mutant put_without_a_mark close close_and_puts pool.c '/^static .*void put_by_the_rules/,/^}/s/^    cache_\(begin\|end\)_call(c);.*//'
mutant calls_not_awaited close close_and_puts close.c '/^static void close_pool/,/^}/s/^    await_calls(pool);$//'
mutant joined_after_the_close close close_and_wait wait.c \
    '/^static bool join/,/^}/s/if (load_relaxed(&pool->life) != POOL_ALIVE)/if (false)/'
mutant loop_joined_after_the_close close close_and_join wait.c \
    '/^static bool join/,/^}/s/if (load_relaxed(&pool->life) != POOL_ALIVE)/if (false)/'
mutant waiters_not_cancelled close close_and_join close.c '/^static void close_pool/,/^}/s/^    wait_cancel_all(pool);$//'
mutant cancelled_before_the_close close close_and_join close.c \
    '/^static void close_pool/,/^}/{s/^    wait_cancel_all(pool);$//;s/^    close_hold(pool);$/& wait_cancel_all(pool);/;}'

# budgets
mutant put_does_not_serve_others budget put_and_join call.h '/^static inline void call_serve/,/^}/s/^    members_serve(pool);$//' pool.c
mutant wanted_before_the_swap budget trim_and_join heap/account.h \
    '/^static inline void account_give/,/^}/{s/^    (void)sub_seq_cst(&budget->charged, bytes);.*/const bool wanted = load_seq_cst(\&budget->wanted); &/;s/if (unlikely(load_seq_cst(&budget->wanted)))/if (wanted)/;}' heap/large.c
mutant others_stay_open budget use_and_join budget.c \
    '/^static bool close_caches/,/^}/{s/^        pressure_enter(pool);$//;s/^        sure = sure.*//;}'
mutant raised_without_a_look budget raise_and_join budget.c '/^void bufferpool_budget_set/,/^}/s/^    members_serve_all(budget);$//'
mutant ended_without_a_look budget destroy_idle_and_join budget.c '/^void budget_end/,/^}/s/^    members_serve_all(budget);.*//'
mutant not_called_to_look budget lift_and_put wait.c '/^static bool reserve_wanted/,/^}/s/} else if (w->called != round) {/} else if (false) {/'
mutant first_alone_is_called budget lift_and_put wait.c \
    '/^static bool reserve_wanted/,/^}/{s/^    account_want(budget);/const bool first = !account_is_wanted(budget); &/;s/} else if (w->called != round) {/} else if (first) {/;}'
mutant right_given_up_alone budget cancel_beside_a_loop async.c \
    '/^static void give_back/,/^}/s/^        call_serve(pool);$//'

rm -rf mutant
echo "$number mutants found"
test $failed = no
