/* The functions of mistakes.c as they should be. gcc and clang say nothing of them, and the program returns 0. */
#include <bufferpool.h>
#include <errno.h>
#include <poll.h>

static int leak_on_early_return(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    int error = status < 100 || n > buf->cap ? EINVAL : 0;
    if (error == 0)
        error = bufferpool_buf_printf(buf, "HTTP/1.1 %d\r\n", status);
    bufferpool_put(buf);
    return error;
}

static int double_put(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    const int error = bufferpool_buf_printf(buf, "HTTP/1.1 %d %zu\r\n", status, n);
    bufferpool_put(buf);
    return error;
}

static int use_after_put(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    const int error = bufferpool_buf_printf(buf, "HTTP/1.1 %d\r\n", status);
    const size_t len = buf->len;
    bufferpool_put(buf);
    return error != 0 || len < n;
}

static int result_of_get_ignored(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_put(bufferpool_try_get(pool));
    return status == 0 || n == 0;
}

static int result_of_get_not_checked(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_try_get(pool);
    if (buf == NULL)
        return errno;
    buf->data[0] = (unsigned char)status;
    buf->len = n < buf->cap;
    bufferpool_put(buf);
    return 0;
}

static int data_assigned(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    const int error = bufferpool_buf_printf(buf, "HTTP/1.1 %d\r\n", status);
    const unsigned char *rest = buf->data + n;
    const int failed = error != 0 || rest[0] != 'T';
    bufferpool_put(buf);
    return failed;
}

static int reserve_error_ignored(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    const int error = bufferpool_buf_reserve(buf, n + 1);
    if (error == 0)
        buf->data[n] = (unsigned char)status;
    bufferpool_put(buf);
    return error;
}

static int wrong_format(bufferpool_t *pool, int status, size_t n)
{
    return double_put(pool, status, n);
}

static int append_beyond_the_source(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    const int error = bufferpool_buf_append(buf, &status, sizeof(status));
    bufferpool_put(buf);
    return error != 0 || n == 0;
}

static int free_instead_of_put(bufferpool_t *pool, int status, size_t n)
{
    return double_put(pool, status, n);
}

static int pool_leak(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    bufferpool_t *own = bufferpool_create(&config);
    if (own == NULL)
        return errno;
    if (status != 0)
        bufferpool_put(bufferpool_get(own));
    const int error = bufferpool_destroy(own);
    return pool == NULL || n == 0 ? EINVAL : error;
}

static int notifier_leak(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_notifier_t *notifier = bufferpool_notifier_create();
    if (notifier == NULL)
        return errno;
    struct pollfd readable = {bufferpool_notifier_fd(notifier), POLLIN, 0};
    const int ready = poll(&readable, 1, status / 100);
    return bufferpool_notifier_destroy(notifier) != 0 || ready != 0 || pool == NULL || n == 0;
}

static int get_after_close(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    bufferpool_t *own = bufferpool_create(&config);
    if (own == NULL)
        return errno;
    bufferpool_put(bufferpool_get(own));
    bufferpool_close(own);
    return pool == NULL || status == 0 || n == 0;
}

static int leak_after_any_call(bufferpool_t *pool, int status, size_t n)
{
    return double_put(pool, status, n);
}

static int call_after_destroy(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_t *own = bufferpool_create(NULL);
    if (own == NULL)
        return errno;
    bufferpool_buf_t *buf = bufferpool_get(own);
    int error = bufferpool_destroy(own);
    bufferpool_put(buf);
    if (error == EBUSY) /* as the header says, nothing changed */
        error = bufferpool_live(own) != 0 ? EINVAL : bufferpool_destroy(own);
    return error != 0 || pool == NULL || status == 0 || n == 0;
}

static int data_kept_while_the_buffer_grows(bufferpool_t *pool, int status, size_t n)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    if (buf == NULL)
        return errno;
    const int error = bufferpool_buf_reserve(buf, n);
    buf->data[0] = (unsigned char)status;
    bufferpool_put(buf);
    return error;
}

int main(void)
{
    bufferpool_t *pool = bufferpool_create(NULL);
    if (pool == NULL)
        return 1;
    int (*const all[])(bufferpool_t *, int, size_t) = {
        leak_on_early_return,
        double_put,
        use_after_put,
        result_of_get_ignored,
        result_of_get_not_checked,
        data_assigned,
        reserve_error_ignored,
        wrong_format,
        append_beyond_the_source,
        free_instead_of_put,
        pool_leak,
        notifier_leak,
        get_after_close,
        leak_after_any_call,
        call_after_destroy,
        data_kept_while_the_buffer_grows,
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        failed |= all[i](pool, 200, 1) != 0;
    return bufferpool_destroy(pool) != 0 || failed;
}
