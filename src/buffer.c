/* SPDX-License-Identifier: MIT
 *
 * buffer.c - reserve, shrink, append, printf, from_data
 *
 * The block of a held buffer is replaced in grow() and shrink() alone. Every size is checked, against HEAP_CAP_MAX or
 * by subtraction, before anything is added to it.
 */
#include "buffer.h"

#include "cache.h"
#include "call.h"
#include "debug/watch.h"
#include "fork.h"
#include "heap/block.h"
#include "heap/heap.h"
#include "life.h"
#include "tls_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The pool of the buffer. *held: whether a caller holds it. Returns NULL if it is no buffer of this library. */
static bufferpool_t *pool_of_buffer(const bufferpool_buf_t *buf, bool *held)
{
    *held = false;
    if (!desc_aligned(buf))
        return NULL;
    const struct desc *d = (const struct desc *)(const void *)buf;
    uintptr_t word = load_relaxed(&d->word);
    *held = desc_is_held(word);
    return life_pool_of(d, word);
}

/* The pool of a buffer that the caller holds. Reports misuse otherwise. */
static bufferpool_t *pool_of_held(const bufferpool_buf_t *buf)
{
    bool held;
    bufferpool_t *pool = pool_of_buffer(buf, &held);
    if (pool == NULL)
        report_foreign(buf);
    if (!held)
        report_misuse(buf, pool, "used after it was put");
    life_check(pool, (const struct desc *)(const void *)buf);
    return pool;
}

/* Notes for put that the caller uses `need` bytes of the grown buffer, which has at least as many. */
static void note_good_use(const bufferpool_t *pool, struct desc *d, size_t need)
{
    const bool good = d->pub.cap <= pool->max_capacity && desc_is_good_use(d, need, pool->heap.base);
    d->asked = good ? DESC_WELL_USED : need;
}

/* The same for any buffer. Plain buffers are not judged (reclaim_judge), so nothing is noted for them. */
static void note_use(const bufferpool_t *pool, bufferpool_buf_t *buf, size_t need)
{
    struct desc *d = desc_of(buf);
    if (load_relaxed(&d->word) == desc_word(pool->tag, STATE_LIVE_GROWN) && need > d->asked)
        note_good_use(pool, d, need);
}

/* Replaces the block by one of at least `need` bytes, which is more than cap; the first `keep` bytes stay. */
static int grow(bufferpool_t *pool, bufferpool_buf_t *buf, size_t need, size_t keep)
{
    struct desc *d = desc_of(buf);
    const bool stepped_out = fork_enter(pool);
    if (modes_have(MODES_WATCH)) /* first: the mode checks data and cap */
        watch_resize(pool, d);
    if (!block_intact(&pool->heap, d))
        report_misuse(buf, pool, REPORT_OVERWRITTEN);
    size_t old_cap = buf->cap;
    uintptr_t word = load_relaxed(&d->word);
    /* before it grows: a child of fork must not take it for a plain one */
    store_relaxed(&d->word, desc_word(pool->tag, STATE_LIVE_GROWN));
    int error =
        modes_have(MODE_FAIL) && modes_fail_now() ? ENOMEM : heap_grow(&pool->heap, d, need, keep, life_spare(pool));
    fork_leave(stepped_out);
    if (modes_have(MODES_WATCH))
        watch_resized(pool, d, false);
    if (error != 0) {
        store_relaxed(&d->word, word);
        return error;
    }
    add_relaxed(&pool->grown_extra, buf->cap - old_cap);
    note_good_use(pool, d, need);
    cache_count(tls_cache_own_or_shared(pool), GROWS, 1);
    return 0;
}

/* Replaces the block by one of exactly `cap` bytes, which is less than the buffer has; the content stays. */
static int shrink(bufferpool_t *pool, bufferpool_buf_t *buf, size_t cap)
{
    struct desc *d = desc_of(buf);
    const size_t old_cap = buf->cap;
    const bool stepped_out = fork_enter(pool);
    if (modes_have(MODES_WATCH)) /* first, as in grow() */
        watch_resize(pool, d);
    if (!block_intact(&pool->heap, d))
        report_misuse(buf, pool, REPORT_OVERWRITTEN);
    const bool shrunk =
        !(modes_have(MODE_FAIL) && modes_fail_now()) && heap_cut(&pool->heap, d, cap, buf->len, life_spare(pool));
    fork_leave(stepped_out);
    if (modes_have(MODES_WATCH))
        watch_resized(pool, d, false);
    if (!shrunk)
        return ENOMEM;
    sub_relaxed(&pool->grown_extra, old_cap - cap);
    if (cap == pool->heap.base) /* after it shrank: a child of fork must not take a grown buffer for a plain one */
        store_relaxed(&d->word, desc_word(pool->tag, STATE_LIVE));
    cache_count(tls_cache_own_or_shared(pool), SHRINKS, 1);
    return 0;
}

/* The smallest cap of a block for so many bytes. */
static size_t cap_for(const struct heap *heap, size_t n)
{
    return n <= heap->base ? heap->base : block_grown_cap(heap, n);
}

static int shrink_to(bufferpool_buf_t *buf, size_t cap)
{
    bufferpool_t *pool = pool_of_held(buf);
    if (buf->len > buf->cap)
        return EINVAL;
    const size_t need = cap > buf->len ? cap : buf->len;
    const size_t fit = need < buf->cap ? cap_for(&pool->heap, need) : buf->cap; /* the size can be represented */
    if (fit < buf->cap) {
        const int error = shrink(pool, buf, fit);
        if (error != 0)
            return error;
    }
    if (buf->cap != pool->heap.base)
        desc_of(buf)->asked = 0; /* what was asked for before is of no use any more */
    return 0;
}

int buffer_reserve(bufferpool_buf_t *buf, size_t cap)
{
    bufferpool_t *pool = pool_of_held(buf);
    if (buf->len > buf->cap)
        return EINVAL;
    if (cap > buf->cap)
        return grow(pool, buf, cap, buf->len);
    note_use(pool, buf, cap);
    return 0;
}

/* The usual reserve: the buffer has the room. Returns false, and does nothing, if buffer_reserve must look. An open
 * gate has the same word as a plain buffer that is held, of the pool whose cache this is. */
static bool has_room(bufferpool_buf_t *buf, size_t cap)
{
    if (!desc_aligned(buf))
        return false;
    struct desc *d = desc_of(buf);
    const uintptr_t word = load_relaxed(&d->word);
    const struct cache *c = tls_cache_at(desc_tls_index_of(word));
    const uintptr_t gate = load_relaxed(&c->gate);
    if ((word != gate && word != gate + (STATE_LIVE_GROWN - STATE_LIVE)) || gate_is_closed(gate))
        return false;
    if (!desc_is_sealed(d) || buf->len > buf->cap || cap > buf->cap)
        return false;
    note_use(c->pool, buf, cap);
    return true;
}

/* The usual append: there is room. Returns false, and does nothing, if append_grown must look. */
static bool append_to_room(bufferpool_buf_t *buf, const void *src, size_t n)
{
    bool held;
    const bufferpool_t *pool = pool_of_buffer(buf, &held);
    if (pool == NULL || !held || !desc_is_sealed(desc_of(buf)))
        return false;
    if (src == NULL || buf->len > buf->cap || n > buf->cap - buf->len || n == 0)
        return false;
    note_use(pool, buf, buf->len + n);
    memmove(buf->data + buf->len, src, n);
    buf->len += n;
    return true;
}

static int append_grown(bufferpool_buf_t *buf, const void *src, size_t n)
{
    bufferpool_t *pool = pool_of_held(buf);
    if (buf->len > buf->cap || (src == NULL && n > 0))
        return EINVAL;
    if (n == 0)
        return 0;
    if (n > HEAP_CAP_MAX - buf->len)
        return EOVERFLOW;
    /* if src points into this buffer, its bytes move with the block, also those beyond len */
    size_t offset = (size_t)((uintptr_t)src - (uintptr_t)buf->data);
    bool own = offset < buf->cap;
    size_t keep = own && n <= buf->cap - offset && offset + n > buf->len ? offset + n : buf->len;
    int error = grow(pool, buf, buf->len + n, keep);
    if (error != 0)
        return error;
    memmove(buf->data + buf->len, own ? buf->data + offset : src, n);
    buf->len += n;
    return 0;
}

int buffer_append(bufferpool_buf_t *buf, const void *src, size_t n)
{
    return append_to_room(buf, src, n) ? 0 : append_grown(buf, src, n);
}

static __attribute__((noinline)) int reserve_slow(bufferpool_buf_t *buf, size_t cap, uintptr_t caller)
{
    struct call call = call_begin("bufferpool_buf_reserve", caller);
    const int error = buffer_reserve(buf, cap);
    call_end(&call, NULL);
    return error;
}

int bufferpool_buf_reserve(bufferpool_buf_t *buf, size_t cap)
{
    if (buf == NULL)
        return EINVAL;
    return likely(has_room(buf, cap)) ? 0 : reserve_slow(buf, cap, CALLER);
}

int bufferpool_buf_shrink(bufferpool_buf_t *buf, size_t cap)
{
    if (buf == NULL)
        return EINVAL;
    struct call call = call_begin("bufferpool_buf_shrink", CALLER);
    const int error = shrink_to(buf, cap);
    call_end(&call, NULL);
    return error;
}

int bufferpool_buf_append(bufferpool_buf_t *buf, const void *src, size_t n)
{
    if (buf == NULL)
        return EINVAL;
    if (likely(append_to_room(buf, src, n)))
        return 0;
    struct call call = call_begin("bufferpool_buf_append", CALLER);
    const int error = append_grown(buf, src, n);
    call_end(&call, NULL);
    return error;
}

/* Grows the buffer for a text of that length and appends it. The text is formatted before the growth, since the
 * arguments may point into the block that growth frees. */
static int print_grown(bufferpool_t *pool, bufferpool_buf_t *buf, size_t length, const char *format, va_list args)
{
    char few[256];
    const size_t size = length + 1;
    char *text = size <= sizeof(few) ? few : malloc(size);
    if (text == NULL)
        return ENOMEM;
    const int formatted = vsnprintf(text, size, format, args);
    int error = 0;
    if (formatted < 0) /* because there is no memory, for example */
        error = errno;
    else if ((size_t)formatted != length) /* an argument points into the bytes that the first try wrote */
        error = EINVAL;
    else
        error = grow(pool, buf, buf->len + size, buf->len);
    if (error == 0)
        memcpy(buf->data + buf->len, text, size);
    if (pool->heap.wipe)
        heap_wipe(text, size);
    if (text != few)
        free(text);
    return error;
}

static int print(bufferpool_buf_t *buf, const char *format, va_list args)
{
    bufferpool_t *pool = pool_of_held(buf);
    if (buf->len > buf->cap)
        return EINVAL;
    va_list again;
    va_copy(again, args);
    size_t room = buf->cap - buf->len;
    int length = vsnprintf((char *)buf->data + buf->len, room, format, args);
    int error = 0;
    if (length < 0) {
        error = errno;
    } else if ((size_t)length < room) {
        note_use(pool, buf, buf->len + (size_t)length + 1);
    } else {
        error = (size_t)length >= HEAP_CAP_MAX - buf->len ? EOVERFLOW
                                                          : print_grown(pool, buf, (size_t)length, format, again);
    }
    va_end(again);
    if (error == 0)
        buf->len += (size_t)length;
    return error;
}

int bufferpool_buf_printf(bufferpool_buf_t *buf, const char *format, ...)
{
    if (buf == NULL || format == NULL)
        return EINVAL;
    struct call call = call_begin("bufferpool_buf_printf", CALLER);
    va_list args;
    va_start(args, format);
    const int error = print(buf, format, args);
    va_end(args);
    call_end(&call, NULL);
    return error;
}

int bufferpool_buf_vprintf(bufferpool_buf_t *buf, const char *format, va_list args)
{
    if (buf == NULL || format == NULL)
        return EINVAL;
    struct call call = call_begin("bufferpool_buf_vprintf", CALLER);
    const int error = print(buf, format, args);
    call_end(&call, NULL);
    return error;
}

/* For all that the fast path below does not tell. */
static __attribute__((noinline)) bufferpool_buf_t *find_held(const void *data)
{
    struct desc *d = life_of_data(data);
    if (d != NULL) {
        const uintptr_t word = load_relaxed(&d->word);
        if (life_pool_of(d, word) != NULL && desc_is_held(word))
            return &d->pub;
    }
    errno = EINVAL;
    return NULL;
}

/* An open gate is the word of a plain buffer that is held, of the pool whose cache this is. */
bufferpool_buf_t *bufferpool_buf_from_data(const void *data)
{
    if (likely(life_prefix_is_near(data) && !sanitizer_on())) {
        const struct prefix prefix = block_prefix(data);
        if (likely(prefix.check == prefix_check(prefix.desc, data) && prefix.desc->pub.data == data)) {
            const uintptr_t word = load_relaxed(&prefix.desc->word);
            if (likely(word == load_relaxed(&tls_cache_at(desc_tls_index_of(word))->gate)))
                return &prefix.desc->pub;
        }
    }
    return find_held(data);
}
