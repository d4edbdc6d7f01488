/* SPDX-License-Identifier: MIT
 *
 * config.cpp - BUFFERPOOL_CONFIG in C++20, for a pool of C and for one of bufferpool.hpp
 */
#include "config.h"
#include "bufferpool/bufferpool.hpp"

int main()
{
    const bufpool::pool pool(*BUFFERPOOL_CONFIG(.max_live = 9));
    return check_config() + (pool.max_live() != 9);
}
