/* SPDX-License-Identifier: MIT
 *
 * config.c - BUFFERPOOL_CONFIG in C: there also in a variable, to the end of the block
 */
#include "config.h"

int main(void)
{
    const bufferpool_config_t *config = BUFFERPOOL_CONFIG(.max_live = 3);
    return check_config() + (cap_of(config) != 3);
}
