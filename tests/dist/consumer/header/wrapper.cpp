/* SPDX-License-Identifier: MIT
 *
 * wrapper.cpp - bufferpool.hpp: who owns what, what is thrown, and that nothing is lost when it is
 */
#include <bufferpool/bufferpool.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if __cplusplus >= 202002L
#include <span>
#endif

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                       \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (0)

/* The errno value that the call throws; ENOMEM for std::bad_alloc, 0 if nothing. */
template <class Call> static int thrown(Call call)
{
    try {
        call();
    } catch (const std::bad_alloc &) {
        return ENOMEM;
    } catch (const std::system_error &error) {
        return error.code() == std::error_code(error.code().value(), std::generic_category()) ? error.code().value()
                                                                                              : -1;
    }
    return 0;
}

using bufpool::buffer;
using bufpool::pool;

static_assert(!std::is_copy_constructible<buffer>::value && !std::is_copy_assignable<buffer>::value,
              "a buffer has one owner");
static_assert(std::is_nothrow_move_constructible<buffer>::value && std::is_nothrow_move_assignable<buffer>::value,
              "moves");
static_assert(!std::is_copy_constructible<pool>::value && std::is_nothrow_move_constructible<pool>::value,
              "so has a pool");
static_assert(std::is_convertible<bufpool::bytes, bufpool::const_bytes>::value, "bytes may be taken for const ones");
static_assert(!std::is_convertible<bufpool::const_bytes, bufpool::bytes>::value, "and not the other way round");
static_assert(!std::is_convertible<bufpool::span<int>, bufpool::bytes>::value, "nor anything for bytes");
static_assert(sizeof(buffer) == sizeof(bufferpool_buf_t *), "it costs what a pointer costs");

static void a_buffer_is_put_once(pool &p)
{
    {
        buffer a = p.get();
        CHECK(a && a.empty() && a.capacity() >= 32768 && p.live() == 1);
        buffer b = std::move(a);
        CHECK(!a && b && p.live() == 1); // NOLINT(bugprone-use-after-move): that it has none is what is promised
        buffer &same = b;
        b = std::move(same);
        CHECK(b && p.live() == 1);
        b = p.get();
        CHECK(p.live() == 1);
        a.swap(b);
        CHECK(a && !b);
        swap(a, b);
        CHECK(!a && b);
        b.reset();
        CHECK(!b && p.live() == 0);
        std::vector<buffer> many;
        for (int i = 0; i < 100; i++)
            many.push_back(p.get());
        CHECK(p.live() == 100);
        std::thread([](std::vector<buffer> mine) { CHECK(mine.size() == 100); }, std::move(many)).join();
        CHECK(p.live() == 0);
    }
    const bufferpool_stats_t stats = p.stats();
    CHECK(stats.live == 0 && stats.bypass_live == 0);
}

static void it_comes_from_c_and_goes_there(pool &p)
{
    buffer a(bufferpool_get(p.c_pool()));
    const void *data = a.data();
    bufferpool_buf_t *buf = a.release();
    CHECK(!a && p.live() == 1);
    a = buffer::from_data(data);
    CHECK(a.get() == buf);
    a.reset();
    CHECK(p.live() == 0);
    alignas(16) const unsigned char not_a_buffer[64] = {0}; // the bytes in front of the address are read
    CHECK(thrown([&] { buffer::from_data(not_a_buffer + 32); }) == EINVAL);
}

static void content_is_written_and_read(pool &p)
{
    buffer a = p.get();
    a.printf("%s %d", "one", 2).append(std::string(" three")).append(" four", 5);
    CHECK(a.str() == "one 2 three four");
    a.append(a.bytes());
    CHECK(a.size() == 32 && a[0] == 'o' && a.end() - a.begin() == 32);
    const buffer &read_only = a;
    CHECK(read_only.bytes().size() == 32 && read_only.data()[1] == 'n' && read_only[1] == 'n');
    std::string text;
    for (unsigned char c : read_only)
        text += static_cast<char>(c);
    CHECK(text == a.str());
    bufpool::const_bytes view = a.bytes();
    CHECK(view.data() == a.data() && !view.empty() && view[0] == 'o' && bufpool::bytes().empty());
#if defined(__cpp_lib_span) && defined(__cpp_lib_ranges)
    std::span<unsigned char> standard = a.bytes();
    std::span<const unsigned char> standard_const = read_only.bytes();
    CHECK(standard.data() == a.data() && standard_const.size() == 32);
#endif
    a.clear();
    bufpool::bytes room = a.room();
    CHECK(room.data() == a.data() && room.size() == a.capacity());
    std::memcpy(room.data(), "read", 4);
    a.commit(4);
    CHECK(a.str() == "read");
    CHECK(thrown([&] { a.commit(a.capacity() - 3); }) == EINVAL && a.size() == 4);
    a.resize(100000);
    CHECK(a.size() == 100000 && a.capacity() >= 100000);
    CHECK(thrown([&] { a.reserve(SIZE_MAX); }) == EOVERFLOW && a.size() == 100000);
    a.resize(3);
    a.shrink(50000);
    CHECK(a.size() == 3 && a.capacity() >= 50000 && a.capacity() < 100000);
    a.shrink();
    CHECK(a.size() == 3 && a.capacity() < 50000);
    CHECK(thrown([&] { a.append(nullptr, 1); }) == EINVAL);
    a.clear();
    CHECK(a.metrics().str().find("bufferpool_live_buffers{pool=\"wrapped\"} 1\n") != std::string::npos);
}

static void at_the_cap(pool &p)
{
    p.set_max_live(1);
    CHECK(p.max_live() == 1);
    {
        buffer a = p.get();
        CHECK(!p.try_get());
        CHECK(!p.get_for(std::chrono::microseconds(1)) && !p.get_for(std::chrono::seconds(-1)));
        buffer beyond = p.get();
        CHECK(beyond && p.stats().bypass_live == 1);
    }
    CHECK(p.try_get());
    CHECK(p.get_for(std::chrono::hours(24 * 365)));
    CHECK(p.get_for(std::chrono::hours::max()));
    CHECK(p.wait());
    p.set_max_live(0);
}

static void within_a_budget()
{
    bufpool::budget limit("wrapped", 100000), other("wrapped", 1);
    bufferpool_config_t config = bufpool::default_config();
    config.budget = limit.c_budget();
    pool p(config);
    {
        buffer a = p.get(), b = p.get(), c = p.get();
        CHECK(limit.used() >= 3 * 32768);
        CHECK(!p.try_get() && !p.get_for(std::chrono::milliseconds(1)));
        limit.set(200000);
        CHECK(p.try_get());
    }
    CHECK(limit.destroy() == EBUSY);
    other = std::move(limit);
    CHECK(p.destroy() == 0 && other.used() == 0 && other.destroy() == 0 && other.destroy() == EINVAL);
    CHECK(thrown([] { bufpool::budget none("none", 0); }) == EINVAL);
}

/* A connection of an event loop. */
struct connection : bufpool::waiter {
    int number = 0;
};

static void a_loop_waits_without_blocking(pool &p)
{
    p.set_max_live(1);
    bufpool::notifier loop;
    CHECK(loop.fd() >= 0 && loop.next() == nullptr);
    {
        connection first, second, gone, last;
        buffer held = p.get_async(first, loop);
        CHECK(held); // at once, and the waiter is not used
        CHECK(thrown([&] { first.take(); }) == EINVAL);
        CHECK(!p.get_async(first, loop) && !p.get_async(gone, loop) && !p.get_async(second, loop));
        CHECK(thrown([&] { p.get_async(first, loop); }) == EBUSY);
        CHECK(loop.next() == nullptr);
        gone.cancel();
        held.reset();
        first.number = 1;
        CHECK(static_cast<connection *>(loop.next())->number == 1 && loop.next() == nullptr);
        held = first.take();
        CHECK(held && p.live() == 1 && thrown([&] { first.take(); }) == EINVAL);
        held.reset();
        CHECK(!p.get_async(last, loop));
        CHECK(loop.next() == &second && loop.next() == nullptr);
        second.cancel(); // the buffer was not taken, so it is put, and goes to the last one
        CHECK(loop.next() == &last && p.live() == 1);
        CHECK(!p.get_async(first, loop));
    } // one has a buffer, one waits
    CHECK(p.live() == 0 && loop.next() == nullptr);
    p.set_max_live(0);
}

static void many_at_once(pool &p)
{
    p.set_max_live(3);
    {
        std::vector<buffer> all = p.wait_bulk(3);
        CHECK(all.size() == 3 && p.live() == 3 && all[2].append("x", 1).size() == 1);
        CHECK(p.get_bulk_for(1, std::chrono::milliseconds(0)).empty());
        CHECK(p.get_bulk_for(2, std::chrono::milliseconds(1)).empty() && p.live() == 3);
        CHECK(thrown([&] { p.wait_bulk(4); }) == EINVAL);
    }
    CHECK(p.get_bulk_for(3, std::chrono::hours(1)).size() == 3);
    CHECK(p.live() == 0);
    CHECK(p.stats().bypass_live == 0);
    p.set_max_live(0);
}

static void a_closed_pool_ends_with_its_last_buffer()
{
    bufferpool_config_t config = bufpool::default_config();
    config.max_live = 1;
    pool p(config);
    bufpool::notifier loop;
    bufpool::waiter waits;
    buffer last = p.get();
    CHECK(!p.get_async(waits, loop));
    CHECK(p.close() == 0 && p.close() == EINVAL && p.destroy() == EINVAL);
    CHECK(loop.next() == &waits && thrown([&] { waits.take(); }) == ECANCELED);
    std::thread([&] { CHECK(thrown([&] { p.get(); }) == ECANCELED); }).join(); // one that does not know yet
    last.append("still there", 11);
    CHECK(last.str() == "still there");
}

static bool memory_is_out;

static void *alloc(std::size_t size, std::size_t align, void *)
{
    return memory_is_out ? nullptr : aligned_alloc(align, (size + align - 1) / align * align);
}

static void dealloc(void *block, std::size_t, void *)
{
    free(block);
}

static void without_memory()
{
    bufferpool_config_t config = bufpool::default_config();
    config.alloc = alloc;
    config.free = dealloc;
    pool p(config);
    buffer a = p.get();
    a.append(std::string("kept"));
    memory_is_out = true;
    CHECK(thrown([&] { p.get(); }) == ENOMEM && thrown([&] { p.try_get(); }) == ENOMEM);
    CHECK(thrown([&] { p.get_for(std::chrono::seconds(0)); }) == ENOMEM);
    CHECK(thrown([&] { a.reserve(1 << 20); }) == ENOMEM && a.str() == "kept");
    CHECK(thrown([&] { a.append(std::string(1 << 20, 'x')); }) == ENOMEM && a.str() == "kept");
    memory_is_out = false;
    CHECK(p.live() == 1);
}

static void a_pool_ends_with_its_owner()
{
    bufferpool_config_t config = bufpool::default_config();
    config.alignment = 3;
    CHECK(thrown([&] { pool p(config); }) == EINVAL);
    pool a;
    buffer b = a.get();
    CHECK(a.destroy() == EBUSY && a.live() == 1);
    pool c = std::move(a);
    CHECK(a.destroy() == EINVAL); // NOLINT(bugprone-use-after-move): it is a view now
    b.reset();
    CHECK(c.trim_some(1) > 0);
    CHECK(c.trim_some(1) == 0);
    c.get().reset();
    CHECK(c.trim() > 0 && c.reclaim() == 0);
    c = pool();
    CHECK(c.destroy() == 0 && c.destroy() == EINVAL);
    CHECK(pool::view().destroy() == EINVAL);
    CHECK(bufpool::get());
    CHECK(pool::view().live() == 0);
    bufpool::thread_flush();
}

int main()
{
    bufferpool_config_t config = bufpool::default_config();
    config.name = "wrapped";
    pool p(config);
    a_buffer_is_put_once(p);
    it_comes_from_c_and_goes_there(p);
    content_is_written_and_read(p);
    at_the_cap(p);
    within_a_budget();
    a_loop_waits_without_blocking(p);
    many_at_once(p);
    a_closed_pool_ends_with_its_last_buffer();
    without_memory();
    a_pool_ends_with_its_owner();
    CHECK(p.destroy() == 0);
    return 0;
}
