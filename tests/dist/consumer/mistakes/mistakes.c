/* Mistakes of users, each compiled by itself (-DNAME), and what gcc 12 says of it with -O2 -Wall -Wextra -fanalyzer:
 * the option of its warning, or words of its error. corrected.c has each function as it should be. */
#include <bufferpool.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

int answer(bufferpool_t *pool, int status, size_t n);

#if defined(LEAK_ON_EARLY_RETURN) /* found: -Wanalyzer-malloc-leak */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    if (status < 100 || n > buf->cap)
        return EINVAL;
    const int error = bufferpool_buf_printf(buf, "HTTP/1.1 %d\r\n", status);
    bufferpool_put(buf);
    return error;
}

#elif defined(DOUBLE_PUT) /* found: -Wanalyzer-double-free */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    const int error = bufferpool_buf_printf(buf, "HTTP/1.1 %d %zu\r\n", status, n);
    if (error != 0)
        bufferpool_put(buf);
    bufferpool_put(buf);
    return error;
}

#elif defined(USE_AFTER_PUT) /* found: -Wanalyzer-use-after-free */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    const int error = bufferpool_buf_printf(buf, "HTTP/1.1 %d\r\n", status);
    bufferpool_put(buf);
    return error != 0 || buf->len < n;
}

#elif defined(RESULT_OF_GET_IGNORED) /* found: -Wunused-result */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_try_get(pool);
    return status != 0 && n != 0;
}

#elif defined(RESULT_OF_GET_NOT_CHECKED) /* found: -Wanalyzer-possible-null-dereference */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_try_get(pool);
    buf->data[0] = (unsigned char)status;
    buf->len = n < buf->cap;
    bufferpool_put(buf);
    return 0;
}

#elif defined(DATA_ASSIGNED) /* found: read-only */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    const int error = bufferpool_buf_printf(buf, "HTTP/1.1 %d\r\n", status);
    buf->data += n;
    bufferpool_put(buf);
    return error;
}

#elif defined(RESERVE_ERROR_IGNORED) /* found: -Wunused-result */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    bufferpool_buf_reserve(buf, n + 1);
    buf->data[n] = (unsigned char)status;
    bufferpool_put(buf);
    return 0;
}

#elif defined(WRONG_FORMAT) /* found: -Wformat= */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    const int error = bufferpool_buf_printf(buf, "HTTP/1.1 %d %d\r\n", status, n);
    bufferpool_put(buf);
    return error;
}

#elif defined(APPEND_BEYOND_THE_SOURCE) /* found: -Wstringop-overread */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    const int error = bufferpool_buf_append(buf, &status, sizeof(status) * 8);
    bufferpool_put(buf);
    return error != 0 || n == 0;
}

#elif defined(FREE_INSTEAD_OF_PUT) /* found: -Wmismatched-dealloc */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    const int error = bufferpool_buf_printf(buf, "HTTP/1.1 %d %zu\r\n", status, n);
    free(buf);
    return error;
}

#elif defined(POOL_LEAK) /* found: -Wanalyzer-malloc-leak */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    bufferpool_t *own = bufferpool_create(&config);
    if (own == NULL)
        return errno;
    if (pool == NULL || n == 0)
        return EINVAL;
    if (status != 0)
        bufferpool_put(bufferpool_get(own));
    return bufferpool_destroy(own);
}

#elif defined(NOTIFIER_LEAK) /* found: -Wanalyzer-malloc-leak */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_notifier_t *notifier = bufferpool_notifier_create();
    if (notifier == NULL)
        return errno;
    struct pollfd readable = {bufferpool_notifier_fd(notifier), POLLIN, 0};
    return pool == NULL || poll(&readable, 1, status) != 0 || n == 0;
}

#elif defined(GET_AFTER_CLOSE) /* found: -Wuse-after-free */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    bufferpool_t *own = bufferpool_create(&config);
    if (own == NULL)
        return errno;
    bufferpool_close(own);
    bufferpool_put(bufferpool_get(own));
    return pool == NULL || status == 0 || n == 0;
}

/* Those below are for the debug modes, and some for the line before abort(). */

#elif defined(LEAK_AFTER_ANY_CALL) /* not found: as far as gcc knows, buf_printf keeps the buffer */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    const int error = bufferpool_buf_printf(buf, "HTTP/1.1 %d %zu\r\n", status, n);
    if (error != 0)
        return error;
    bufferpool_put(buf);
    return 0;
}

#elif defined(CALL_AFTER_DESTROY) /* not found: destroy may fail, and then the pool is still there */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_t *own = bufferpool_create(NULL);
    if (own == NULL)
        return errno;
    const int error = bufferpool_destroy(own);
    return pool == NULL || error == status || bufferpool_live(own) > n;
}

#elif defined(DATA_KEPT_WHILE_THE_BUFFER_GROWS) /* not found */
int answer(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    unsigned char *first = buf->data;
    const int error = bufferpool_buf_reserve(buf, n);
    *first = (unsigned char)status;
    bufferpool_put(buf);
    return error;
}
#endif
