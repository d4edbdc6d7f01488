/* SPDX-License-Identifier: MIT
 *
 * library.c - see library.h. Part of the program, or a module by itself.
 */
#include "library.h"

static struct library library = {
    .create = bufferpool_create,
    .destroy = bufferpool_destroy,
    .get = bufferpool_get,
    .try_get = bufferpool_try_get,
    .get_timed = bufferpool_get_timed,
    .get_bulk = bufferpool_get_bulk,
    .put = bufferpool_put,
    .put_bulk = bufferpool_put_bulk,
    .reserve = bufferpool_buf_reserve,
    .print = bufferpool_buf_printf,
    .live = bufferpool_live,
    .set_max_live = bufferpool_set_max_live,
    .reclaim = bufferpool_reclaim,
    .trim = bufferpool_trim,
    .thread_flush = bufferpool_thread_flush,
    .stats = bufferpool_stats,
};

struct library *lifecycle_library(void)
{
    return &library;
}

__attribute__((destructor)) static void end(void)
{
    if (library.at_end != NULL)
        library.at_end();
}
