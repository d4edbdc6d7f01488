/* SPDX-License-Identifier: MIT
 *
 * first.c - the first program of the guide: answers one request, and keeps to the cap
 *
 *     first [NAME]
 */
#include <bufferpool.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Returns 0, EAGAIN if the cap is reached, ENOMEM, or EIO. */
static int answer(bufferpool_t *pool, const char *name)
{
    bufferpool_buf_t *buf = bufferpool_try_get(pool);
    if (buf == NULL)
        return errno;
    int error = bufferpool_buf_printf(buf, "Hello, %s!\n", name);
    if (error == 0 && fwrite(buf->data, 1, buf->len, stdout) != buf->len)
        error = EIO;
    bufferpool_put(buf); /* on every path */
    return error;
}

int main(int argc, char **argv)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "answers";
    config.max_live = 1000;               /* the cap: 1,000 buffers of 32 KiB */
    config.flags = BUFFERPOOL_BACKGROUND; /* idle memory goes back also while no calls come */
    bufferpool_t *pool = bufferpool_create(&config);
    if (pool == NULL) {
        perror("bufferpool_create");
        return 1;
    }
    const int error = answer(pool, argc > 1 ? argv[1] : "world");
    if (error != 0)
        fprintf(stderr, "first: %s\n", strerror(error));
    const int still_held = bufferpool_destroy(pool); /* EBUSY if a put is missing */
    return error != 0 || still_held != 0;
}
