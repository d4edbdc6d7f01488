/* The public header alone, first and twice, in C99 and (header.cpp includes this file) in C++11, with every warning an
 * error. Both programs run: the declarations must also link. */
// clang-format off: it would take the second away
#include <bufferpool.h>
#include <bufferpool.h> // NOLINT(readability-duplicate-include): that this may be is what is tested
// clang-format on

static bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
static bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;

static int append(bufferpool_buf_t *buf, const char *format, ...)
{
    va_list args;
    int error;

    va_start(args, format);
    error = bufferpool_buf_vprintf(buf, format, args);
    va_end(args);
    return error;
}

int main(void)
{
    bufferpool_config_t local_config = BUFFERPOOL_CONFIG_INIT;
    bufferpool_stats_t local_stats = BUFFERPOOL_STATS_INIT;
    bufferpool_t *pool;
    bufferpool_buf_t *buf;
    int failed = 0;

    config.name = "header";
    config.flags = BUFFERPOOL_ZERO | BUFFERPOOL_HUGEPAGES;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    failed |= local_config.size != sizeof config || local_stats.size != sizeof stats;

    pool = bufferpool_create(&config);
    if (pool == NULL)
        return 1;
    buf = bufferpool_get(pool);
    if (buf == NULL)
        return 1;
    failed |= append(buf, "%d", 42) != 0 || buf->len != 2 || buf->data[0] != '4';
    bufferpool_put(buf);
    bufferpool_stats(pool, &stats);
    failed |= bufferpool_destroy(pool) != 0;
    return failed;
}
