/* SPDX-License-Identifier: MIT
 *
 * plugin.c - a plug-in that contains the archive, and so a copy of the library of its own; see ../test_copies.c
 */
#include "plugin.h"

static const struct copy copy = {
    .create = bufferpool_create,
    .get = bufferpool_get,
    .put = bufferpool_put,
    .append = bufferpool_buf_append,
    .reserve = bufferpool_buf_reserve,
    .from_data = bufferpool_buf_from_data,
    .live = bufferpool_live,
};

const struct copy *copy_of_plugin(void)
{
    return &copy;
}
