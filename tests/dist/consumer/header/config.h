/* SPDX-License-Identifier: MIT
 *
 * config.h - BUFFERPOOL_CONFIG, in each standard that has it: as an argument, in a variable, with no field and
 * with many
 */
#include "bufferpool.h"

static size_t cap_of(const bufferpool_config_t *config)
{
    bufferpool_t *pool = bufferpool_create(config);
    if (pool == NULL)
        return 0;
    const size_t cap = bufferpool_max_live(pool);
    return bufferpool_destroy(pool) == 0 ? cap : 0;
}

static int check_config(void)
{
    int errors = cap_of(BUFFERPOOL_CONFIG(.max_live = 256)) != 256;
    errors += cap_of(BUFFERPOOL_CONFIG(.name = "http", .max_live = 7, .flags = BUFFERPOOL_ZERO)) != 7;
    errors += cap_of(BUFFERPOOL_CONFIG(.max_live = 8, .flags = BUFFERPOOL_BACKGROUND, .retain_ms = 5)) != 8;
    bufferpool_t *pool = bufferpool_create(BUFFERPOOL_CONFIG());
    errors += pool == NULL || bufferpool_max_live(pool) != 0 || bufferpool_destroy(pool) != 0;
    return errors;
}
