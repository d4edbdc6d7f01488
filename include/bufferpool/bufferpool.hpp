/* SPDX-License-Identifier: MIT
 *
 * bufferpool.hpp - bufferpool.h for C++11 and later: buffers that are put by their destructor
 *
 *     bufpool::buffer buf = bufpool::get();                    // from the default pool; std::bad_alloc, nothing else
 *     buf.printf("HTTP/1.1 %d %s\r\n", status, reason);
 *     std::format_to(std::back_inserter(buf), "Content-Length: {}\r\n", length);      // C++20; {fmt} in the same way
 *     buf.append("\r\n").append(body);                        // a std::string, std::string_view, std::span, ...
 *     send(fd, buf.data(), buf.size(), 0);
 *                                                              // the buffer is put when buf goes out of scope
 *
 * The classes:
 *
 *     buffer          owns a buffer, or none
 *     pool            owns a pool, or is a view of one
 *     budget          owns a limit in bytes over any number of pools
 *     notifier        owns a notifier, which tells an event loop which of its waiters are ready
 *     waiter          a get that may wait in an event loop; its destructor cancels it
 *     span, bytes, const_bytes
 *                     a pointer and a size, which own nothing
 *
 * All functions are inline and call the C functions. bufferpool.h has their contract: cost, threads, misuse.
 *
 * Errors are exceptions, so the header needs a build with exceptions. ENOMEM becomes std::bad_alloc. Any other error
 * becomes std::system_error with the errno value, in std::generic_category(). After an exception everything is as
 * before the call.
 *
 * An object without a buffer has no content, for example after a move. Using the content is a mistake. If the macro
 * BUFFERPOOL_CHECKED is 1, the mistake ends the process: one line on stderr, then abort(). If it is 0, nothing is
 * checked, and most such calls crash. The default is 0 where NDEBUG is defined, and 1 otherwise. A program may define
 * the macro before it includes the header, with the same value in all its sources.
 *
 * The namespace is bufpool, since C has a struct named bufferpool.
 */
#ifndef BUFFERPOOL_HPP
#define BUFFERPOOL_HPP

#include <bufferpool.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#if __cplusplus >= 201703L
#include <string_view>
#endif
#if __cplusplus >= 202002L
#include <span>
#endif

#ifndef BUFFERPOOL_CHECKED
#ifdef NDEBUG
#define BUFFERPOOL_CHECKED 0
#else
#define BUFFERPOOL_CHECKED 1
#endif
#endif

/* A caller that ignores the result loses a buffer, or asked for nothing. */
#if __cplusplus >= 201703L
#define BUFPOOL_NODISCARD [[nodiscard]]
#else
#define BUFPOOL_NODISCARD
#endif

namespace bufpool
{

namespace detail
{

[[noreturn]] inline void fail(int error)
{
    if (error == ENOMEM)
        throw std::bad_alloc();
    throw std::system_error(error, std::generic_category(), "bufferpool");
}

/* In milliseconds, rounded up. */
template <class Rep, class Period> unsigned milliseconds(const std::chrono::duration<Rep, Period> &time)
{
    const double exact = std::chrono::duration<double, std::milli>(time).count(); /* an integer might overflow */
    const unsigned most = BUFFERPOOL_NEVER - 1;
    if (!(exact > 0)) /* nor a number */
        return 0;
    if (exact >= most - 1)
        return most;
    const unsigned whole = static_cast<unsigned>(exact);
    return whole + (exact > whole ? 1 : 0);
}

inline void check(int error)
{
    if (error != 0)
        fail(error);
}

/* Returns the handle of an object of the class that must have one. */
template <class Handle> Handle *held(Handle *handle, const char *name) noexcept
{
    if (BUFFERPOOL_CHECKED && handle == nullptr) {
        std::fprintf(stderr, "libbufferpool: bufpool::%s: an object without a %s is used, as after a move\n", name,
                     name);
        std::abort();
    }
    return handle;
}

template <class T> struct is_byte : std::false_type {
};
template <> struct is_byte<char> : std::true_type {
};
template <> struct is_byte<unsigned char> : std::true_type {
};
#if __cplusplus >= 201703L
template <> struct is_byte<std::byte> : std::true_type {
};
#endif
#if defined(__cpp_char8_t)
template <> struct is_byte<char8_t> : std::true_type {
};
#endif

/* No type unless the data() and size() of a Container are bytes and their number. */
template <class Container>
using if_bytes = typename std::enable_if<
    is_byte<typename std::remove_cv<
        typename std::remove_pointer<decltype(std::declval<const Container &>().data())>::type>::type>::value &&
    std::is_convertible<decltype(std::declval<const Container &>().size()), std::size_t>::value>::type;

} // namespace detail

/* A pointer and a size, for memory that something else owns: a std::span<T> before C++20. A std::span can be made from
 * it. */
template <class T> class span
{
  public:
    typedef T element_type;
    typedef T *iterator;

    span() noexcept : data_(nullptr), size_(0)
    {
    }
    span(T *data, std::size_t size) noexcept : data_(data), size_(size)
    {
    }
    template <class U, class = typename std::enable_if<std::is_convertible<U (*)[], T (*)[]>::value>::type>
    // cppcheck-suppress noExplicitConstructor ; it converts, as std::span does
    span(const span<U> &other) noexcept : data_(other.data()), size_(other.size())
    {
    }

    T *data() const noexcept
    {
        return data_;
    }
    std::size_t size() const noexcept
    {
        return size_;
    }
    bool empty() const noexcept
    {
        return size_ == 0;
    }
    T *begin() const noexcept
    {
        return data_;
    }
    T *end() const noexcept
    {
        return data_ + size_;
    }
    T &operator[](std::size_t i) const noexcept
    {
        return data_[i];
    }

  private:
    T *data_;
    std::size_t size_;
};

typedef span<unsigned char> bytes;
typedef span<const unsigned char> const_bytes;

/* Owns a buffer, or none. It can be moved, not copied. The destructor puts the buffer, in whatever thread it runs. One
 * thread at a time may use the object. */
class buffer
{
  public:
    typedef unsigned char value_type;
    typedef unsigned char &reference;
    typedef const unsigned char &const_reference;
    typedef unsigned char *iterator;
    typedef const unsigned char *const_iterator;
    typedef std::size_t size_type;
    typedef std::ptrdiff_t difference_type;

    buffer() noexcept : buf_(nullptr)
    {
    }
    /* Takes ownership of a buffer that was got in C. nullptr means none. */
    explicit buffer(bufferpool_buf_t *buf) noexcept : buf_(buf)
    {
    }
    buffer(buffer &&other) noexcept : buf_(other.release())
    {
    }
    buffer &operator=(buffer &&other) noexcept
    {
        if (this != &other)
            reset(other.release());
        return *this;
    }
    buffer(const buffer &) = delete;
    buffer &operator=(const buffer &) = delete;
    ~buffer()
    {
        bufferpool_put(buf_);
    }

    explicit operator bool() const noexcept
    {
        return buf_ != nullptr;
    }
    friend bool operator==(const buffer &a, std::nullptr_t) noexcept
    {
        return !a;
    }
    friend bool operator==(std::nullptr_t, const buffer &a) noexcept
    {
        return !a;
    }
    friend bool operator!=(const buffer &a, std::nullptr_t) noexcept
    {
        return bool(a);
    }
    friend bool operator!=(std::nullptr_t, const buffer &a) noexcept
    {
        return bool(a);
    }
    void swap(buffer &other) noexcept
    {
        std::swap(buf_, other.buf_);
    }
    /* Puts its buffer, if it has one, and takes ownership of buf. */
    void reset(bufferpool_buf_t *buf = nullptr) noexcept
    {
        bufferpool_put(buf_);
        buf_ = buf;
    }
    /* Returns the C handle, or nullptr if there is no buffer. The object keeps ownership. */
    bufferpool_buf_t *get() const noexcept
    {
        return buf_;
    }
    /* Returns the C handle, or nullptr if there is no buffer. The caller must put the buffer. */
    BUFPOOL_NODISCARD bufferpool_buf_t *release() noexcept
    {
        bufferpool_buf_t *buf = buf_;
        buf_ = nullptr;
        return buf;
    }
    /* Takes back a buffer that release() gave away, for callbacks that get only its data pointer. Throws EINVAL if data
     * is not the data of a held buffer. */
    BUFPOOL_NODISCARD static buffer from_data(const void *data)
    {
        bufferpool_buf_t *buf = bufferpool_buf_from_data(data);
        if (buf == nullptr)
            detail::fail(errno);
        return buffer(buf);
    }

    /* ---- content: the object must have a buffer ---- */

    unsigned char *data() noexcept
    {
        return held()->data;
    }
    const unsigned char *data() const noexcept
    {
        return held()->data;
    }
    std::size_t size() const noexcept
    {
        return held()->len;
    }
    std::size_t capacity() const noexcept
    {
        return held()->cap;
    }
    BUFPOOL_NODISCARD bool empty() const noexcept
    {
        return held()->len == 0;
    }
    unsigned char &operator[](std::size_t i) noexcept
    {
        return held()->data[i];
    }
    const unsigned char &operator[](std::size_t i) const noexcept
    {
        return held()->data[i];
    }
    unsigned char *begin() noexcept
    {
        return held()->data;
    }
    unsigned char *end() noexcept
    {
        return held()->data + held()->len;
    }
    const unsigned char *begin() const noexcept
    {
        return held()->data;
    }
    const unsigned char *end() const noexcept
    {
        return held()->data + held()->len;
    }
    bufpool::bytes bytes() noexcept
    {
        return bufpool::bytes(held()->data, held()->len);
    }
    const_bytes bytes() const noexcept
    {
        return const_bytes(held()->data, held()->len);
    }
    /* The free bytes behind the content. Functions such as read(2) and recv(2) can write there; commit() then makes the
     * bytes content. */
    bufpool::bytes room() noexcept
    {
        return bufpool::bytes(held()->data + held()->len, held()->cap - held()->len);
    }
    /* Makes the first n bytes of room() content. Throws EINVAL if room() has fewer bytes. */
    void commit(std::size_t n)
    {
        if (held()->len > held()->cap || n > held()->cap - held()->len)
            detail::fail(EINVAL);
        held()->len += n;
    }
    void clear() noexcept
    {
        held()->len = 0;
    }
    /* Makes capacity() at least the given number of bytes. Never shrinks the buffer. */
    void reserve(std::size_t capacity)
    {
        detail::check(bufferpool_buf_reserve(held(), capacity));
    }
    /* Gives back memory that a held buffer does not need: see bufferpool_buf_shrink. */
    void shrink(std::size_t capacity = 0)
    {
        detail::check(bufferpool_buf_shrink(held(), capacity));
    }
    /* Makes size() the given number of bytes. Bytes that are added are unspecified. */
    void resize(std::size_t size)
    {
        reserve(size);
        held()->len = size;
    }
    /* Appends bytes, which may lie in the buffer itself. */
    buffer &append(const void *src, std::size_t n)
    {
        detail::check(bufferpool_buf_append(held(), src, n));
        return *this;
    }
    buffer &append(const std::string &text)
    {
        return append(text.data(), text.size());
    }
    buffer &append(const char *text)
    {
        return append(text, std::char_traits<char>::length(text));
    }
    buffer &append(const_bytes src)
    {
        return append(src.data(), src.size());
    }
    /* Appends the bytes of anything that has data() and size(), of char, unsigned char, std::byte or char8_t: for
     * example a std::string_view, a std::span, a std::vector or another buffer. */
    template <class Container, class = detail::if_bytes<Container>> buffer &append(const Container &src)
    {
        return append(src.data(), src.size());
    }
    /* Appends one byte. With this, std::back_inserter and std::format_to can write to a buffer. */
    void push_back(unsigned char byte)
    {
        bufferpool_buf_t *buf = held();
        if (buf->len >= buf->cap)
            detail::check(bufferpool_buf_reserve(buf, buf->len + 1));
        buf->data[buf->len++] = byte;
    }
    /* Appends formatted text: see bufferpool_buf_printf. */
    buffer &vprintf(const char *format, va_list args) BUFFERPOOL_PRINTF(2, 0)
    {
        detail::check(bufferpool_buf_vprintf(held(), format, args));
        return *this;
    }
    buffer &printf(const char *format, ...) BUFFERPOOL_PRINTF(2, 3)
    {
        va_list args;
        va_start(args, format);
        const int error = bufferpool_buf_vprintf(held(), format, args);
        va_end(args);
        detail::check(error);
        return *this;
    }
    /* Appends the statistics of all pools, as text for Prometheus: see bufferpool_metrics. */
    buffer &metrics()
    {
        detail::check(bufferpool_metrics(held()));
        return *this;
    }
    /* Appends a table of the buffers that callers hold: see bufferpool_holders. */
    buffer &holders()
    {
        detail::check(bufferpool_holders(held()));
        return *this;
    }
    BUFPOOL_NODISCARD std::string str() const
    {
        return std::string(reinterpret_cast<const char *>(held()->data), held()->len);
    }
#if __cplusplus >= 201703L
    /* The content, until the buffer grows or is put. */
    BUFPOOL_NODISCARD std::string_view view() const noexcept
    {
        return std::string_view(reinterpret_cast<const char *>(held()->data), held()->len);
    }
#endif

  private:
    bufferpool_buf_t *held() const noexcept
    {
        return detail::held(buf_, "buffer");
    }
    bufferpool_buf_t *buf_;
};

inline void swap(buffer &a, buffer &b) noexcept
{
    a.swap(b);
}

class notifier;
class pool;

/* A get that may wait in an event loop. A connection has one as a member, or as a base. The object stays where it is:
 * it can be neither copied nor moved. The thread of its notifier uses it. */
class waiter
{
  public:
    waiter() noexcept : waiter_(), buffer_()
    {
        waiter_.user = this;
    }
    waiter(const waiter &) = delete;
    waiter &operator=(const waiter &) = delete;
    /* Takes the waiter out of the pool's queue, and puts a buffer that was not taken. */
    ~waiter()
    {
        cancel();
    }
    /* Takes the buffer, after notifier::next returned the waiter. Throws ENOMEM if there was no memory, and ECANCELED
     * if the pool was closed. */
    BUFPOOL_NODISCARD buffer take()
    {
        if (!buffer_)
            detail::fail(waiter_.error != 0 ? waiter_.error : EINVAL);
        return std::move(buffer_);
    }
    /* Ends the wait, and puts a buffer that was not taken. */
    void cancel() noexcept
    {
        bufferpool_cancel(&waiter_);
        buffer_.reset();
    }

  private:
    friend class notifier;
    friend class pool;
    bufferpool_waiter_t waiter_;
    buffer buffer_;
};

/* Owns a notifier. All its waiters must have ended before it does, so declare it before them. One thread at a time may
 * use it. */
class notifier
{
  public:
    notifier() : notifier_(bufferpool_notifier_create())
    {
        if (notifier_ == nullptr)
            detail::fail(errno);
    }
    notifier(const notifier &) = delete;
    notifier &operator=(const notifier &) = delete;
    /* If waiters still wait, the notifier is not destroyed, neither now nor later. */
    ~notifier()
    {
        (void)bufferpool_notifier_destroy(notifier_);
    }
    /* The file descriptor, which is readable while a waiter is ready. */
    int fd() const noexcept
    {
        return bufferpool_notifier_fd(notifier_);
    }
    /* Returns the waiter that has been ready for longest, or nullptr if none is ready. Its take() has the buffer. */
    BUFPOOL_NODISCARD waiter *next() noexcept
    {
        bufferpool_waiter_t *ready = bufferpool_notifier_next(notifier_);
        if (ready == nullptr)
            return nullptr;
        waiter *found = static_cast<waiter *>(ready->user);
        found->buffer_.reset(ready->buf);
        return found;
    }

  private:
    friend class pool;
    bufferpool_notifier_t *notifier_;
};

/* Returns the default configuration, to start from. */
inline bufferpool_config_t default_config() noexcept
{
    const bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    return config;
}

/* Owns a limit in bytes over any number of pools: the field budget of their configuration is its c_budget(). It can be
 * moved, not copied. Any thread may use the object at any time, but no use may run beside a move or the destruction of
 * the object. */
class budget
{
  public:
    budget(const std::string &name, std::size_t limit) : budget_(bufferpool_budget_create(name.c_str(), limit))
    {
        if (budget_ == nullptr)
            detail::fail(errno);
    }
    budget(budget &&other) noexcept : budget_(other.budget_)
    {
        other.budget_ = nullptr;
    }
    /* Swaps the two budgets. So the budget that this object had ends with the other object. */
    budget &operator=(budget &&other) noexcept
    {
        std::swap(budget_, other.budget_);
        return *this;
    }
    budget(const budget &) = delete;
    budget &operator=(const budget &) = delete;
    /* Destroys the budget. If a pool still has it, the budget is not destroyed, neither now nor later. So destroy the
     * pools first, or call destroy() and look at its result. */
    ~budget()
    {
        (void)destroy();
    }
    /* Destroys the budget. If this succeeds, the object may only be assigned to or destroyed afterwards.
     *
     * Returns:
     *     0
     *     EINVAL      the object has no budget
     *     EBUSY       a pool has the budget; nothing changed */
    int destroy() noexcept
    {
        const int error = bufferpool_budget_destroy(budget_);
        if (error == 0)
            budget_ = nullptr;
        return error;
    }
    void set(std::size_t limit) const noexcept
    {
        bufferpool_budget_set(detail::held(budget_, "budget"), limit);
    }
    std::size_t used() const noexcept
    {
        return bufferpool_budget_used(detail::held(budget_, "budget"));
    }
    bufferpool_budget_t *c_budget() const noexcept
    {
        return budget_;
    }

  private:
    bufferpool_budget_t *budget_;
};

/* Owns a pool, or is a view of a pool that something else owns. Any thread may use the object at any time, but no use
 * may run beside a move or the destruction of the object.
 *
 *     bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
 *     config.max_live = 256;
 *     bufpool::pool pool(config);
 *     bufpool::pool other(*BUFFERPOOL_CONFIG(.max_live = 256));      // C++20; the macro is a pointer
 */
class pool
{
  public:
    explicit pool(const bufferpool_config_t &config = default_config())
        : pool_(bufferpool_create(&config)), owned_(true)
    {
        if (pool_ == nullptr)
            detail::fail(errno);
    }
    /* Returns a view of a pool. nullptr means the default pool. */
    BUFPOOL_NODISCARD static pool view(bufferpool_t *c_pool = nullptr) noexcept
    {
        return pool(c_pool, false);
    }
    /* Takes over what the other object was: the owner of its pool, or a view. The other becomes a view of that pool. */
    pool(pool &&other) noexcept : pool_(other.pool_), owned_(other.owned_)
    {
        other.owned_ = false;
    }
    /* Swaps the two pools. So the pool that this object had ends with the other object. */
    pool &operator=(pool &&other) noexcept
    {
        std::swap(pool_, other.pool_);
        std::swap(owned_, other.owned_);
        return *this;
    }
    pool(const pool &) = delete;
    pool &operator=(const pool &) = delete;
    /* Destroys the pool if the object owns it. If callers still hold buffers of the pool, the pool is not destroyed,
     * neither now nor later. So put all buffers first, or call destroy() and look at its result. */
    ~pool()
    {
        (void)destroy();
    }
    /* Destroys the pool. If this succeeds, the object may only be assigned to or destroyed afterwards.
     *
     * Returns:
     *     0
     *     EINVAL      the object does not own the pool
     *     EBUSY       callers hold buffers of the pool; nothing changed */
    int destroy() noexcept
    {
        if (!owned_)
            return EINVAL;
        const int error = bufferpool_destroy(pool_);
        owned_ = error != 0;
        return error;
    }
    /* Closes the pool: every call and waiter that waits gets ECANCELED, and the pool ends with its last put (see
     * bufferpool_close). The object may only be assigned to or destroyed afterwards.
     *
     * Returns:
     *     0
     *     EINVAL      the object does not own the pool */
    int close() noexcept
    {
        if (!owned_)
            return EINVAL;
        owned_ = false;
        bufferpool_close(pool_);
        return 0;
    }

    /* Gets a buffer. At the cap it is a buffer beyond the cap. */
    BUFPOOL_NODISCARD buffer get() const
    {
        return made(bufferpool_get(pool_), 0);
    }
    /* Gets a buffer, or none at the cap. */
    BUFPOOL_NODISCARD buffer try_get() const
    {
        return made(bufferpool_try_get(pool_), EAGAIN);
    }
    /* Gets a buffer. At the cap it waits for one, for at most the given time, rounded up to whole milliseconds. Returns
     * none if there is no buffer by then. */
    template <class Rep, class Period>
    BUFPOOL_NODISCARD buffer get_for(const std::chrono::duration<Rep, Period> &time) const
    {
        return made(bufferpool_get_timed(pool_, detail::milliseconds(time)), ETIMEDOUT);
    }
    /* Gets a buffer. At the cap it waits for one, without a limit. */
    BUFPOOL_NODISCARD buffer wait() const
    {
        return made(bufferpool_get_timed(pool_, BUFFERPOOL_NEVER), 0);
    }
    /* Gets a buffer. At the cap it returns none, and the waiter waits until the notifier's next() returns it. */
    BUFPOOL_NODISCARD buffer get_async(waiter &waits, notifier &tells) const
    {
        return made(bufferpool_get_async(pool_, &waits.waiter_, tells.notifier_), EINPROGRESS);
    }
    /* Gets n buffers, all or none. At the cap the rest are beyond the cap. */
    BUFPOOL_NODISCARD std::vector<buffer> get_bulk(std::size_t n) const
    {
        check_size(n);
        std::vector<bufferpool_buf_t *> bufs(n);
        std::vector<buffer> bulk;
        bulk.reserve(n); /* now, since nothing may throw once the buffers are there */
        detail::check(bufferpool_get_bulk(pool_, bufs.data(), n));
        return owned(std::move(bulk), bufs);
    }
    /* The same, for a number that the compiler knows, and without memory for a vector: pool.get_bulk<4>(). */
    template <std::size_t N> BUFPOOL_NODISCARD std::array<buffer, N> get_bulk() const
    {
        static_assert(N > 0, "how many buffers");
        bufferpool_buf_t *bufs[N];
        detail::check(bufferpool_get_bulk(pool_, bufs, N));
        std::array<buffer, N> bulk;
        for (std::size_t i = 0; i < N; i++)
            bulk[i].reset(bufs[i]);
        return bulk;
    }
    /* Gets n buffers, all or none, and never beyond the cap. It waits for them as get_for does. Returns none if they
     * are not there by then. */
    template <class Rep, class Period>
    BUFPOOL_NODISCARD std::vector<buffer> get_bulk_for(std::size_t n,
                                                       const std::chrono::duration<Rep, Period> &time) const
    {
        return bulk(n, detail::milliseconds(time));
    }
    /* The same, without a limit of time. */
    BUFPOOL_NODISCARD std::vector<buffer> wait_bulk(std::size_t n) const
    {
        return bulk(n, BUFFERPOOL_NEVER);
    }

    std::size_t live() const noexcept
    {
        return bufferpool_live(pool_);
    }
    std::size_t max_live() const noexcept
    {
        return bufferpool_max_live(pool_);
    }
    void set_max_live(std::size_t n) const noexcept
    {
        bufferpool_set_max_live(pool_, n);
    }
    std::size_t reclaim() const noexcept
    {
        return bufferpool_reclaim(pool_);
    }
    std::size_t trim() const noexcept
    {
        return bufferpool_trim(pool_);
    }
    /* A bounded step of that: see bufferpool_trim_some. */
    std::size_t trim_some(std::size_t n) const noexcept
    {
        return bufferpool_trim_some(pool_, n);
    }
    bufferpool_stats_t stats() const noexcept
    {
        bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
        bufferpool_stats(pool_, &stats);
        return stats;
    }
    bufferpool_t *c_pool() const noexcept
    {
        return pool_;
    }

  private:
    pool(bufferpool_t *c_pool, bool owned) noexcept : pool_(c_pool), owned_(owned)
    {
    }
    /* The errno value `none` means that there is no buffer, and no error. */
    static buffer made(bufferpool_buf_t *buf, int none)
    {
        if (buf == nullptr && errno != none)
            detail::fail(errno);
        return buffer(buf);
    }
    /* A vector would throw std::length_error. */
    static void check_size(std::size_t n)
    {
        if (n > std::vector<buffer>().max_size())
            detail::fail(ENOMEM);
    }
    std::vector<buffer> bulk(std::size_t n, unsigned ms) const
    {
        check_size(n);
        std::vector<bufferpool_buf_t *> bufs(n);
        std::vector<buffer> bulk;
        bulk.reserve(n); /* now, since nothing may throw once the buffers are there */
        const int error = bufferpool_get_bulk_timed(pool_, bufs.data(), n, ms);
        if (error == ETIMEDOUT || error == EAGAIN)
            return bulk;
        detail::check(error);
        return owned(std::move(bulk), bufs);
    }
    /* Has room for all of them. */
    static std::vector<buffer> owned(std::vector<buffer> bulk, const std::vector<bufferpool_buf_t *> &bufs) noexcept
    {
        for (bufferpool_buf_t *buf : bufs)
            bulk.emplace_back(buf); // cppcheck-suppress useStlAlgorithm ; the constructor is explicit
        return bulk;
    }

    bufferpool_t *pool_;
    bool owned_;
};

/* Gets a buffer of the default pool. */
BUFPOOL_NODISCARD inline buffer get()
{
    return pool::view().get();
}

/* Moves the calling thread's idle buffers to the depots, where other threads find them. A thread that is about to block
 * for a long time should call it. */
inline void thread_flush() noexcept
{
    bufferpool_thread_flush();
}

} // namespace bufpool

#if defined(__cpp_lib_span) && defined(__cpp_lib_ranges)
template <class T> inline constexpr bool std::ranges::enable_borrowed_range<bufpool::span<T>> = true;
#endif

#endif /* BUFFERPOOL_HPP */
