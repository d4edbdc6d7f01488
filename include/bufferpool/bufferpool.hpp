/* SPDX-License-Identifier: MIT
 *
 * bufferpool.hpp - bufferpool.h for C++11 and later: handles that put themselves
 *
 *     bufpool::buffer buf = bufpool::get();              // from the default pool; std::bad_alloc, nothing else
 *     buf.printf("HTTP/1.1 %d %s\r\n", status, reason);
 *     send(fd, buf.data(), buf.size(), 0);
 *                                                              // put when buf goes out of scope, in whatever thread
 *
 * (The namespace cannot be called bufferpool: C has a struct of that name.)
 *
 * All of it is inline and calls the C functions, whose contract is in bufferpool.h: cost, threads, misuse. What they
 * report as ENOMEM is std::bad_alloc here, what they report otherwise std::system_error with that errno value in
 * std::generic_category(). After an exception everything is as before the call. It needs exceptions.
 */
#ifndef BUFFERPOOL_HPP
#define BUFFERPOOL_HPP

#include <bufferpool.h>

#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstddef>
#include <new>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#if __cplusplus >= 202002L
#include <span>
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

inline void check(int error)
{
    if (error != 0)
        fail(error);
}

} // namespace detail

/* Bytes that belong to somebody else: what std::span<T> is in C++20, which can be made of it. */
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
    // cppcheck-suppress noExplicitConstructor ; as std::span, it converts
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

/* A buffer, or none. Moves, and puts what it has when it ends; to be used by one thread at a time. */
class buffer
{
  public:
    buffer() noexcept : buf_(nullptr)
    {
    }
    /* Becomes the owner of a buffer that was got in C; nullptr: none. */
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
    void swap(buffer &other) noexcept
    {
        std::swap(buf_, other.buf_);
    }
    /* Puts what it has. */
    void reset(bufferpool_buf_t *buf = nullptr) noexcept
    {
        bufferpool_put(buf_);
        buf_ = buf;
    }
    /* The C handle: still owned, and not any more. */
    bufferpool_buf_t *get() const noexcept
    {
        return buf_;
    }
    bufferpool_buf_t *release() noexcept
    {
        bufferpool_buf_t *buf = buf_;
        buf_ = nullptr;
        return buf;
    }
    /* The buffer whose data this is, which release() gave away: for callbacks that hand back only the data pointer. */
    static buffer from_data(const void *data)
    {
        bufferpool_buf_t *buf = bufferpool_buf_from_data(data);
        if (buf == nullptr)
            detail::fail(errno);
        return buffer(buf);
    }

    /* ---- content; there must be a buffer ---- */

    unsigned char *data() noexcept
    {
        return buf_->data;
    }
    const unsigned char *data() const noexcept
    {
        return buf_->data;
    }
    std::size_t size() const noexcept
    {
        return buf_->len;
    }
    std::size_t capacity() const noexcept
    {
        return buf_->cap;
    }
    bool empty() const noexcept
    {
        return buf_->len == 0;
    }
    unsigned char &operator[](std::size_t i) noexcept
    {
        return buf_->data[i];
    }
    const unsigned char &operator[](std::size_t i) const noexcept
    {
        return buf_->data[i];
    }
    unsigned char *begin() noexcept
    {
        return buf_->data;
    }
    unsigned char *end() noexcept
    {
        return buf_->data + buf_->len;
    }
    const unsigned char *begin() const noexcept
    {
        return buf_->data;
    }
    const unsigned char *end() const noexcept
    {
        return buf_->data + buf_->len;
    }
    bufpool::bytes bytes() noexcept
    {
        return bufpool::bytes(buf_->data, buf_->len);
    }
    const_bytes bytes() const noexcept
    {
        return const_bytes(buf_->data, buf_->len);
    }
    /* The room behind the content: to be written by read(2), recv(2) and the like, and then made content by
     * commit(). */
    bufpool::bytes room() noexcept
    {
        return bufpool::bytes(buf_->data + buf_->len, buf_->cap - buf_->len);
    }
    /* EINVAL if there is not that much room. */
    void commit(std::size_t n)
    {
        if (buf_->len > buf_->cap || n > buf_->cap - buf_->len)
            detail::fail(EINVAL);
        buf_->len += n;
    }
    void clear() noexcept
    {
        buf_->len = 0;
    }
    void reserve(std::size_t capacity)
    {
        detail::check(bufferpool_buf_reserve(buf_, capacity));
    }
    /* Bytes that come new are unspecified. */
    void resize(std::size_t size)
    {
        reserve(size);
        buf_->len = size;
    }
    buffer &append(const void *src, std::size_t n)
    {
        detail::check(bufferpool_buf_append(buf_, src, n));
        return *this;
    }
    buffer &append(const std::string &text)
    {
        return append(text.data(), text.size());
    }
    buffer &append(const_bytes src)
    {
        return append(src.data(), src.size());
    }
    buffer &vprintf(const char *format, va_list args) BUFFERPOOL_PRINTF(2, 0)
    {
        detail::check(bufferpool_buf_vprintf(buf_, format, args));
        return *this;
    }
    buffer &printf(const char *format, ...) BUFFERPOOL_PRINTF(2, 3)
    {
        va_list args;
        va_start(args, format);
        const int error = bufferpool_buf_vprintf(buf_, format, args);
        va_end(args);
        detail::check(error);
        return *this;
    }
    /* Appends the statistics of all pools, as text for Prometheus. */
    buffer &metrics()
    {
        detail::check(bufferpool_metrics(buf_));
        return *this;
    }
    std::string str() const
    {
        return std::string(reinterpret_cast<const char *>(buf_->data), buf_->len);
    }

  private:
    bufferpool_buf_t *buf_;
};

inline void swap(buffer &a, buffer &b) noexcept
{
    a.swap(b);
}

/* The configuration to start from. */
inline bufferpool_config_t default_config() noexcept
{
    const bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    return config;
}

/* A pool of one's own, or, if made by view(), a name for one that is somebody else's. Any thread may use it at any time
 * but for moving it and its end. */
class pool
{
  public:
    explicit pool(const bufferpool_config_t &config = default_config())
        : pool_(bufferpool_create(&config)), owned_(true)
    {
        if (pool_ == nullptr)
            detail::fail(errno);
    }
    /* nullptr: the default pool. */
    static pool view(bufferpool_t *c_pool = nullptr) noexcept
    {
        return pool(c_pool, false);
    }
    /* The other goes on as a view of the same pool. */
    pool(pool &&other) noexcept : pool_(other.pool_), owned_(other.owned_)
    {
        other.owned_ = false;
    }
    /* They swap: what this one had ends with the other. */
    pool &operator=(pool &&other) noexcept
    {
        std::swap(pool_, other.pool_);
        std::swap(owned_, other.owned_);
        return *this;
    }
    pool(const pool &) = delete;
    pool &operator=(const pool &) = delete;
    /* With buffers still out the pool stays, for ever: let them end first, or see what destroy() says. */
    ~pool()
    {
        (void)destroy();
    }
    /* 0, or EBUSY and nothing changed; EINVAL: it is not this object's. After 0 the
     * object must not be used any more, but to be assigned to or to end. */
    int destroy() noexcept
    {
        if (!owned_)
            return EINVAL;
        const int error = bufferpool_destroy(pool_);
        owned_ = error != 0;
        return error;
    }

    /* At the cap a buffer that bypasses the pool. */
    buffer get() const
    {
        return made(bufferpool_get(pool_), 0);
    }
    /* At the cap none. */
    buffer try_get() const
    {
        return made(bufferpool_try_get(pool_), EAGAIN);
    }
    /* At the cap it waits for one, for at most that long, rounded up to whole milliseconds; none when the time is
     * over. */
    template <class Rep, class Period> buffer get_for(const std::chrono::duration<Rep, Period> &time) const
    {
        const double exact = std::chrono::duration<double, std::milli>(time).count(); /* others may not fit */
        unsigned ms = BUFFERPOOL_NEVER - 1;
        if (exact <= 0)
            ms = 0;
        else if (exact < ms - 1)
            ms = static_cast<unsigned>(exact) + (exact > static_cast<unsigned>(exact) ? 1 : 0);
        return made(bufferpool_get_timed(pool_, ms), ETIMEDOUT);
    }
    /* At the cap it waits for one, however long that takes. */
    buffer wait() const
    {
        return made(bufferpool_get_timed(pool_, BUFFERPOOL_NEVER), 0);
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
    /* `none`: the errno value that stands for no buffer. */
    static buffer made(bufferpool_buf_t *buf, int none)
    {
        if (buf == nullptr && errno != none)
            detail::fail(errno);
        return buffer(buf);
    }

    bufferpool_t *pool_;
    bool owned_;
};

/* A buffer of the default pool. */
inline buffer get()
{
    return pool::view().get();
}

/* The calling thread's caches go to where other threads find them: before it blocks for long. */
inline void thread_flush() noexcept
{
    bufferpool_thread_flush();
}

} // namespace bufpool

#if defined(__cpp_lib_span) && defined(__cpp_lib_ranges)
template <class T> inline constexpr bool std::ranges::enable_borrowed_range<bufpool::span<T>> = true;
#endif

#endif /* BUFFERPOOL_HPP */
