/* SPDX-License-Identifier: MIT
 *
 * wrapper.cpp - bufferpool.hpp: who owns what, what is thrown, and that nothing is lost when it is
 */
#define BUFFERPOOL_CHECKED 1 // also where NDEBUG is defined
#include <bufferpool/bufferpool.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <type_traits>
#include <unistd.h>
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
    CHECK(a == nullptr && nullptr == a && p.live() == 1);
    a = buffer::from_data(data);
    CHECK(a.get() == buf && a != nullptr && nullptr != a);
    a.reset();
    CHECK(p.live() == 0);
    alignas(16) const unsigned char not_a_buffer[64] = {0}; // the bytes in front of the address are read
    CHECK(thrown([&] { (void)buffer::from_data(not_a_buffer + 32); }) == EINVAL);
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
    CHECK(!a.holders().empty());
    CHECK(a.metrics().str().find("bufferpool_live_buffers{pool=\"wrapped\"} 1\n") != std::string::npos);
}

/* What an object without a buffer says on stderr before it aborts; nothing if it does not. */
template <class Use> static std::string last_words(Use use)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        buffer from = bufpool::get(), to = std::move(from);
        use(from);
        _exit(0);
    }
    close(ends[1]);
    char line[300];
    const ssize_t n = read(ends[0], line, sizeof line);
    close(ends[0]);
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && n > 0 ? std::string(line, static_cast<size_t>(n)) : "";
}

static void a_use_after_a_move_aborts()
{
    const std::string line = "libbufferpool: bufpool::buffer: an object without a buffer is used, as after a move\n";
    CHECK(last_words([](buffer &b) { b.data()[0] = 1; }) == line);
    CHECK(last_words([](buffer &b) { b.append("x"); }) == line);
    CHECK(last_words([](buffer &b) { b.push_back('x'); }) == line);
    CHECK(last_words([](buffer &b) { (void)b.empty(); }) == line);
    CHECK(last_words([](buffer &b) { b.printf("x"); }) == line);
    CHECK(last_words([](buffer &b) {
              b = bufpool::get();
              b.append("x");
          }).empty());
    CHECK(last_words([](buffer &b) {
              b.reset();
              (void)b.release();
          }).empty());
}

/* What has bytes can be appended, and what can be appended to takes them one by one. */
static void bytes_of_any_kind_are_appended(pool &p)
{
    buffer a = p.get(), b = p.get();
    const char *text = "text,";
    const std::vector<char> chars(2, 'c');
    const std::array<unsigned char, 2> array = {{'a', 'r'}};
    a.append("literal,").append(text).append(std::string("string,")).append(chars).append(array).append({text, 2});
    CHECK(a.str() == "literal,text,string,ccarte");
    b.append(a).append(a.bytes()).append(b);
    CHECK(b.size() == 4 * a.size() && b.str() == a.str() + a.str() + a.str() + a.str());
    a.clear();
    std::copy_n("one by one", 10, std::back_inserter(a));
    CHECK(a.str() == "one by one");
    a.resize(a.capacity() - 1);
    const std::size_t full = a.capacity();
    a.push_back('x');
    CHECK(a.capacity() == full && a.size() == full && a[full - 1] == 'x');
    a.push_back('y');
    CHECK(a.capacity() > full && a.size() == full + 1 && a[full - 1] == 'x' && a[full] == 'y');
#if __cplusplus >= 201703L
    const std::byte raw[] = {std::byte{'r'}, std::byte{'b'}};
    a.clear();
    a.append(std::string_view("view")).append(std::array<std::byte, 1>{std::byte{'!'}});
    CHECK(a.view() == "view!" && a.view().data() == static_cast<const void *>(a.data()) && raw[0] != raw[1]);
#endif
#if defined(__cpp_lib_span)
    a.append(std::span<const std::byte>(raw))
        .append(std::span<const char>(chars))
        .append(std::as_bytes(std::span(text, 1)));
    CHECK(a.view() == "view!rbcct");
#endif
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
        CHECK(!p.get_for(std::chrono::duration<double>(std::nan("")))); // which no integer is
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
        CHECK(thrown([&] { (void)first.take(); }) == EINVAL);
        CHECK(!p.get_async(first, loop) && !p.get_async(gone, loop) && !p.get_async(second, loop));
        CHECK(thrown([&] { (void)p.get_async(first, loop); }) == EBUSY);
        CHECK(loop.next() == nullptr);
        gone.cancel();
        held.reset();
        first.number = 1;
        CHECK(static_cast<connection *>(loop.next())->number == 1 && loop.next() == nullptr);
        held = first.take();
        CHECK(held && p.live() == 1 && thrown([&] { (void)first.take(); }) == EINVAL);
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
    {
        std::vector<buffer> all = p.get_bulk(5);
        std::array<buffer, 4> four = p.get_bulk<4>();
        CHECK(all.size() == 5 && all[4] && four[3] && p.live() == 9 && p.get_bulk(0).empty());
    }
    CHECK(p.live() == 0);
    p.set_max_live(3);
    {
        std::vector<buffer> all = p.wait_bulk(3);
        CHECK(all.size() == 3 && p.live() == 3 && all[2].append("x", 1).size() == 1);
        CHECK(p.get_bulk_for(1, std::chrono::milliseconds(0)).empty());
        CHECK(p.get_bulk_for(2, std::chrono::milliseconds(1)).empty() && p.live() == 3);
        CHECK(thrown([&] { (void)p.wait_bulk(4); }) == EINVAL);
    }
    CHECK(p.get_bulk_for(3, std::chrono::hours(1)).size() == 3);
    const std::size_t most = static_cast<std::size_t>(-1); // no vector is as long
    CHECK(thrown([&] { (void)p.get_bulk(most); }) == ENOMEM && thrown([&] { (void)p.wait_bulk(most); }) == ENOMEM);
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
    CHECK(loop.next() == &waits && thrown([&] { (void)waits.take(); }) == ECANCELED);
    std::thread([&] { CHECK(thrown([&] { (void)p.get(); }) == ECANCELED); }).join(); // one that does not know yet
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
    CHECK(thrown([&] { (void)p.get(); }) == ENOMEM && thrown([&] { (void)p.try_get(); }) == ENOMEM);
    CHECK(thrown([&] { (void)p.get_for(std::chrono::seconds(0)); }) == ENOMEM);
    CHECK(thrown([&] { a.reserve(1 << 20); }) == ENOMEM && a.str() == "kept");
    CHECK(thrown([&] { a.append(std::string(1 << 20, 'x')); }) == ENOMEM && a.str() == "kept");
    CHECK(thrown([&] { (void)p.get_bulk(2); }) == ENOMEM && thrown([&] { (void)p.get_bulk<2>(); }) == ENOMEM);
    a.resize(a.capacity());
    CHECK(thrown([&] { a.push_back('x'); }) == ENOMEM && a.size() == a.capacity() && a[3] == 't');
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
    bytes_of_any_kind_are_appended(p);
    a_use_after_a_move_aborts();
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
