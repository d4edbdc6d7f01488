/* SPDX-License-Identifier: MIT
 *
 * model.h - the promises of bufferpool.h as a program: which buffers are held, their contents, and the statistics
 *
 * One call is under way at a time, so nearly all of the contract is exact. The header leaves open whether a buffer came
 * out of a cache or the depot or was made, and where an idle buffer lies; and while callers hold as many buffers as the
 * cap allows, or more, whether a put frees its buffer or leaves it in the thread's cache. The model takes that from the
 * statistics, and checks it against bounds.
 *
 * An operation is one call, or several of a kind. It begins with model_begin(). Then come the calls. Then the model is
 * told of them, in their order. Then model_check() compares.
 */
#ifndef FUZZ_MODEL_H
#define FUZZ_MODEL_H

#include "blocks.h"

#include "bufferpool.h"

enum { POOLS = 5, POOL_DEFAULT = POOLS - 1, HELD_MAX = 96 };

/* What one operation does to a pool. */
struct change {
    uint64_t got, refused; /* gets */
    uint64_t got_bytes;    /* the sum of cap over `got` */
    uint64_t got_at_cap;   /* those of `got` at which callers held as many as the cap allows, or more */
    /* puts, as they are if each of them frees while more exist than the cap */
    uint64_t kept, oversize, over_cap, idle_limit;
    uint64_t idle, idle_bytes; /* after the puts so far */
    uint64_t grows, shrinks;
    uint64_t freed_bytes;    /* as the call returned them */
    unsigned thread;         /* that called */
    bool touched;            /* by a get or put */
    bool may_free, returned; /* idle buffers; and said how many bytes */
    bool bulk_failed;        /* what it had taken came back in ways that the header leaves open */
    bool recapped;           /* a changed cap may have freed idle buffers */
    bool beyond;             /* it began with more buffers than the cap: some may idle in caches nevertheless */
};

/* An idle buffer, as far as that is known: what was not seen to be freed. */
struct idle {
    bufferpool_buf_t *buf;
    size_t cap;
    unsigned strikes;
    bool doubtful; /* the put found more buffers than the cap, and mostly freed it */
};

struct pool {
    bufferpool_t *handle; /* NULL: the default pool */
    bool exists;
    bool hooked, ticks; /* has hooks; gives back by itself */
    bool wiped;
    size_t base, max_capacity, max_idle_bytes, cache_bytes, alignment; /* as configured, the defaults filled in */
    struct blocks blocks;

    size_t cap;                /* 0: none */
    uint64_t held, held_bytes; /* by callers, beyond the cap too */
    unsigned users;            /* threads that may have a cache, a bit each */
    unsigned reclaims;         /* in a row, since anything else happened */
    uint64_t most_exist;       /* that ever existed at a time */
    bufferpool_stats_t last;
    struct change change;

    struct idle *idle;
    size_t idle_count, idle_room;
    bool idle_vague; /* some of them may have been freed */
};

struct held {
    bufferpool_buf_t *buf;
    struct pool *pool;
    unsigned char *data;
    size_t cap, len;
    size_t asked;
    unsigned strikes;
    unsigned char *copy; /* of data[0 .. len) */
    size_t copy_room;
};

struct model {
    struct pool pools[POOLS];
    struct held held[HELD_MAX];
    size_t held_count;
    unsigned long operation;
};

/* ---- pools ---- */

/* The pool that was created with the configuration, or the default one, for NULL. */
void model_add_pool(struct model *m, struct pool *pool, bufferpool_t *handle, const bufferpool_config_t *config);
void model_remove_pool(struct pool *pool);

/* ---- an operation ---- */

void model_begin(struct model *m);
void model_check(struct model *m);

/* A get, try_get or get_timed in the thread that returned NULL with that error, or a buffer. */
enum get_kind { GET, TRY_GET, GET_TIMED, GET_KINDS };
void model_got(struct model *m, struct pool *pool, unsigned thread, enum get_kind kind, bufferpool_buf_t *buf,
               int error);
void model_got_bulk(struct model *m, struct pool *pool, unsigned thread, bufferpool_buf_t **bufs, size_t n, int error);

/* The buffer was put, in the thread. */
void model_put(struct model *m, struct held *held, unsigned thread);

/* reserve, append or printf asked for `need` bytes in all and returned the error. */
void model_sized(struct model *m, struct held *held, size_t need, int error);

/* Gives the caller's own change of len and data[0 .. len) to the model. */
void model_written(struct held *held);
/* data[len .. len + n) were appended. */
void model_appended(struct held *held, const unsigned char *bytes, size_t n);

void model_trimmed(struct pool *pool, size_t bytes);
void model_reclaimed(struct pool *pool, size_t bytes);
void model_set_cap(struct pool *pool, size_t cap);
void model_flushed(struct model *m, unsigned thread);
void model_thread_ended(struct model *m, unsigned thread);

/* ---- looking ---- */

/* Whether the buffer and its bytes are as the model has them; ends the process if not. */
void model_check_held(const struct held *held);
struct held *model_find(struct model *m, const bufferpool_buf_t *buf);
bufferpool_stats_t model_stats(const struct pool *pool);

#endif /* FUZZ_MODEL_H */
