/* SPDX-License-Identifier: MIT
 *
 * scene.c - passes each of the probes, in one thread; probes.sh has gdb print the arguments there
 */
#include <bufferpool.h>

#include <stddef.h>

#define COUNT 40 /* more than a thread's cache holds, which is 16 here */

static int get_all(bufferpool_t *pool, bufferpool_buf_t **bufs, int n)
{
    for (int i = 0; i < n; i++) {
        bufs[i] = bufferpool_get(pool);
        if (bufs[i] == NULL)
            return 1;
    }
    return 0;
}

static void put_all(bufferpool_buf_t **bufs, int n)
{
    for (int i = 0; i < n; i++)
        bufferpool_put(bufs[i]);
}

int main(void)
{
    bufferpool_buf_t *bufs[COUNT + 1];
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = 4096;
    config.max_capacity = 8192;
    config.thread_cache_bytes = (size_t)16 * 4096;
    config.name = "roomy";
    bufferpool_t *roomy = bufferpool_create(&config);
    config.name = "tight";
    config.max_live = COUNT;
    bufferpool_t *tight = bufferpool_create(&config);
    if (roomy == NULL || tight == NULL)
        return 1;

    if (get_all(roomy, bufs, COUNT) != 0) /* all fresh */
        return 1;
    put_all(bufs, COUNT);                 /* flushes: half of the cache at first, then all */
    if (get_all(roomy, bufs, COUNT) != 0) /* refills */
        return 1;
    if (bufferpool_buf_reserve(bufs[0], 10000) != 0)
        return 1;
    put_all(bufs, COUNT);         /* a drop: oversize */
    (void)bufferpool_trim(roomy); /* a take-over, and all that is idle is reclaimed */

    if (get_all(tight, bufs, COUNT + 1) != 0) /* the last one: a take-over that finds nothing, and one beyond the cap */
        return 1;
    put_all(bufs, COUNT + 1); /* a drop: over the cap */
    return bufferpool_destroy(roomy) != 0 || bufferpool_destroy(tight) != 0;
}
