/* SPDX-License-Identifier: MIT
 *
 * hooks.c - what code calls that was compiled with -fsanitize=thread, in place of ThreadSanitizer's functions
 *
 * This file is compiled without that option. The names are the compiler's, which has no prototypes for them; no build
 * shows the file to static analysis.
 */
#include "lines.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

void __tsan_init(void)
{
}

void __tsan_func_entry(void *from)
{
    (void)from;
}

void __tsan_func_exit(void)
{
}

void __tsan_read_range(void *at, size_t bytes)
{
    lines_touch(at, bytes, READS);
}

void __tsan_write_range(void *at, size_t bytes)
{
    lines_touch(at, bytes, STORES);
}

void __tsan_atomic_thread_fence(int order)
{
    __atomic_thread_fence(order);
}

void __tsan_atomic_signal_fence(int order)
{
    __atomic_signal_fence(order);
}

#define PLAIN(bytes)                                                                                                   \
    void __tsan_read##bytes(void *at)                                                                                  \
    {                                                                                                                  \
        lines_touch(at, bytes, READS);                                                                                 \
    }                                                                                                                  \
    void __tsan_write##bytes(void *at)                                                                                 \
    {                                                                                                                  \
        lines_touch(at, bytes, STORES);                                                                                \
    }                                                                                                                  \
    void __tsan_unaligned_read##bytes(void *at)                                                                        \
    {                                                                                                                  \
        lines_touch(at, bytes, READS);                                                                                 \
    }                                                                                                                  \
    void __tsan_unaligned_write##bytes(void *at)                                                                       \
    {                                                                                                                  \
        lines_touch(at, bytes, STORES);                                                                                \
    }
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

#define ATOMIC_CHANGE(bits, type, op)                                                                                  \
    type __tsan_atomic##bits##_fetch_##op(volatile type *at, type v, int order)                                        \
    {                                                                                                                  \
        lines_touch(at, sizeof(type), CHANGES);                                                                        \
        return __atomic_fetch_##op(at, v, order);                                                                      \
    }

/* A weak compare-and-swap fails for no reason on some processors; here it does not. One that fails counts as well. */
#define ATOMIC(bits, type)                                                                                             \
    type __tsan_atomic##bits##_load(const volatile type *at, int order)                                                \
    {                                                                                                                  \
        lines_touch(at, sizeof(type), READS);                                                                          \
        return __atomic_load_n(at, order);                                                                             \
    }                                                                                                                  \
    void __tsan_atomic##bits##_store(volatile type *at, type v, int order)                                             \
    {                                                                                                                  \
        lines_touch(at, sizeof(type), STORES);                                                                         \
        __atomic_store_n(at, v, order);                                                                                \
    }                                                                                                                  \
    type __tsan_atomic##bits##_exchange(volatile type *at, type v, int order)                                          \
    {                                                                                                                  \
        lines_touch(at, sizeof(type), CHANGES);                                                                        \
        return __atomic_exchange_n(at, v, order);                                                                      \
    }                                                                                                                  \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type *at, type *expected, type v, int order, int fails) \
    {                                                                                                                  \
        (void)order;                                                                                                   \
        (void)fails;                                                                                                   \
        lines_touch(at, sizeof(type), CHANGES);                                                                        \
        return __atomic_compare_exchange_n(at, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                    \
    }                                                                                                                  \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile type *at, type *expected, type v, int order, int fails)   \
    {                                                                                                                  \
        return __tsan_atomic##bits##_compare_exchange_strong(at, expected, v, order, fails);                           \
    }                                                                                                                  \
    ATOMIC_CHANGE(bits, type, add)                                                                                     \
    ATOMIC_CHANGE(bits, type, sub)                                                                                     \
    ATOMIC_CHANGE(bits, type, and)                                                                                     \
    ATOMIC_CHANGE(bits, type, or)                                                                                      \
    ATOMIC_CHANGE(bits, type, xor)
ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)
