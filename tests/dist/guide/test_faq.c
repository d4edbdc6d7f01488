/* SPDX-License-Identifier: MIT
 *
 * test_faq.c - what docs/faq.md says that no other test shows: where memory is after which call, how much memory
 * large buffers take, and when the kernel still reads a buffer
 */
#include "support/laws.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

static bufferpool_t *pool_of(size_t max_live, size_t max_capacity)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.max_live = max_live;
    config.max_capacity = max_capacity;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    bufferpool_t *pool = bufferpool_create(&config);
    assert_non_null(pool);
    return pool;
}

/* ---- how much memory buffers take ---- */

enum { SIXTEEN = 16, TURNS = 5 };

static void take_and_put(bufferpool_t *pool, size_t size)
{
    bufferpool_buf_t *bufs[SIXTEEN];
    for (int i = 0; i < SIXTEEN; i++) {
        assert_non_null(bufs[i] = bufferpool_get(pool));
        assert_int_equal(bufferpool_buf_reserve(bufs[i], size), 0);
    }
    bufferpool_put_bulk(bufs, SIXTEEN);
}

static void idle_buffers_take_the_bytes_that_they_grew_to(void **state)
{
    (void)state;
    test_narrow_addresses();
    bufferpool_t *pool = pool_of(SIXTEEN, 32 * MIB);
    take_and_put(pool, 31 * MIB);
    assert_in_range(stats_of(pool).idle_bytes, SIXTEEN * 31 * MIB, SIXTEEN * 32 * MIB);
    for (int i = 0; i < TURNS - 1; i++)
        take_and_put(pool, 1);
    assert_in_range(stats_of(pool).idle_bytes, SIXTEEN * 31 * MIB, SIXTEEN * 32 * MIB);
    take_and_put(pool, 1);
    assert_int_equal(stats_of(pool).idle_bytes, SIXTEEN * 32 * KIB);
    assert_int_equal(bufferpool_destroy(pool), 0);

    pool = pool_of(SIXTEEN, 0); /* the default, 1 MiB */
    take_and_put(pool, 31 * MIB);
    assert_int_equal(stats_of(pool).idle_bytes, 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
    test_widen_addresses();
}

/* ---- where memory is ---- */

static void expect_idle(bufferpool_t *pool, uint64_t in_thread, uint64_t in_depot)
{
    const bufferpool_stats_t stats = stats_of(pool);
    assert_int_equal(stats.idle_thread, in_thread);
    assert_int_equal(stats.idle_depot, in_depot);
}

static void *get_and_put(void *pool)
{
    bufferpool_put(bufferpool_get(pool));
    return NULL;
}

static void memory_is_where_the_table_says(void **state)
{
    (void)state;
    bufferpool_t *pool = pool_of(2, 0);
    bufferpool_put(bufferpool_get(pool));
    expect_idle(pool, 1, 0);
    bufferpool_thread_flush();
    expect_idle(pool, 0, 1);

    bufferpool_buf_t *bufs[3];
    assert_int_equal(bufferpool_get_bulk(pool, bufs, 3), 0);
    bufferpool_put(bufs[0]); /* more exist than the cap allows */
    expect_idle(pool, 0, 0);
    assert_int_equal(stats_of(pool).drops_over_cap, 1);
    assert_true(stats_of(pool).retained_bytes >= 32 * KIB);
    assert_int_equal(bufferpool_buf_reserve(bufs[1], 2 * MIB), 0);
    bufferpool_put(bufs[1]); /* larger than max_capacity */
    expect_idle(pool, 0, 0);
    assert_int_equal(stats_of(pool).drops_oversize, 1);
    assert_true(stats_of(pool).retained_bytes <= MIB);
    bufferpool_put(bufs[2]);
    assert_int_equal(stats_of(pool).pooled, 1);

    pthread_t thread;
    bufferpool_trim(pool);
    assert_int_equal(pthread_create(&thread, NULL, get_and_put, pool), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    expect_idle(pool, 0, 1); /* the thread has ended */
    bufferpool_trim(pool);
    assert_int_equal(stats_of(pool).pooled_bytes, 0);
    assert_int_equal(stats_of(pool).retained_bytes, 0);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* ---- when the kernel still reads ---- */

enum { PAGE = 4096 };

static void the_reader_after_vmsplice_sees_the_next_content(void **state)
{
    (void)state;
    for (unsigned gift = 0; gift < 2; gift++) {
        bufferpool_t *pool = pool_of(1, 0);
        int ends[2];
        char read_back[PAGE];
        assert_int_equal(pipe(ends), 0);
        bufferpool_buf_t *buf = bufferpool_get(pool);
        memset(buf->data, 'a', PAGE);
        const struct iovec piece = {buf->data, PAGE};
        assert_int_equal(vmsplice(ends[1], &piece, 1, gift ? SPLICE_F_GIFT : 0), PAGE);
        bufferpool_put(buf);
        buf = bufferpool_get(pool); /* the cap is 1: the same buffer */
        memset(buf->data, 'b', PAGE);
        assert_int_equal(read(ends[0], read_back, PAGE), PAGE);
        assert_int_equal(read_back[0], 'b');
        bufferpool_put(buf);
        close(ends[0]);
        close(ends[1]);
        assert_int_equal(bufferpool_destroy(pool), 0);
    }
}

/* Two ends of a connection, of which the second one has room for a few bytes. Returns whether the first may send
 * without a copy. */
static bool connect_narrowly(int *from, int *to)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    const int small = PAGE, yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    *from = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    assert_int_equal(connect(*from, (struct sockaddr *)&address, length), 0);
    *to = accept(listener, NULL, NULL);
    close(listener);
    return setsockopt(*from, SOL_SOCKET, SO_ZEROCOPY, &yes, sizeof yes) == 0;
}

static void zero_copy_sends_what_is_there_when_it_leaves(void **state)
{
    (void)state;
    int from, to;
    static char read_back[MIB];
    const bool can = connect_narrowly(&from, &to);
    bufferpool_t *pool = pool_of(1, 0);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_int_equal(bufferpool_buf_reserve(buf, MIB), 0);
    memset(buf->data, 'a', MIB);
    const ssize_t sent = can ? send(from, buf->data, MIB, MSG_ZEROCOPY | MSG_DONTWAIT) : -1;
    memset(buf->data, 'b', MIB); /* before the notification */
    size_t got = 0, changed = 0;
    while ((ssize_t)got < sent) {
        const ssize_t n = recv(to, read_back, sizeof read_back, 0);
        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++)
            changed += read_back[i] == 'b';
        got += (size_t)n;
    }
    struct pollfd told = {.fd = from};
    if (sent > 0)
        assert_int_equal(poll(&told, 1, 30000), 1); /* POLLERR: the notification, after which a put is right */
    close(from);
    close(to);
    bufferpool_put(buf);
    assert_int_equal(bufferpool_destroy(pool), 0);
    if (sent <= 0)
        skip(); /* not on this system */
    assert_true(told.revents & POLLERR);
    assert_true(changed > 0);
}

/* ---- locked memory ---- */

static long locked_kib(void)
{
    char line[128];
    long locked = -1;
    FILE *status = fopen("/proc/self/status", "re");
    assert_non_null(status);
    while (fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, "VmLck:", 6) == 0)
            locked = strtol(line + 6, NULL, 10);
    fclose(status);
    return locked;
}

static void a_lock_outlasts_put_and_trim(void **state)
{
    (void)state;
    bufferpool_t *pool = pool_of(2, 0);
    bufferpool_buf_t *other = bufferpool_get(pool), *buf = bufferpool_get(pool);
    memset(buf->data, 'a', buf->cap);
    const long before = locked_kib();
    const bool can = mlock(buf->data, buf->cap) == 0 && locked_kib() > before;
    bufferpool_put(buf);
    bufferpool_trim(pool); /* other is held, so the mapping stays */
    const long after = locked_kib();
    bufferpool_put(other);
    assert_int_equal(bufferpool_destroy(pool), 0);
    if (!can)
        skip();
    assert_true(after >= before + 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_buffers_take_the_bytes_that_they_grew_to),
        cmocka_unit_test(memory_is_where_the_table_says),
        cmocka_unit_test(the_reader_after_vmsplice_sees_the_next_content),
        cmocka_unit_test(zero_copy_sends_what_is_there_when_it_leaves),
        cmocka_unit_test(a_lock_outlasts_put_and_trim),
    };
    return cmocka_run_group_tests_name("faq", tests, NULL, NULL);
}
