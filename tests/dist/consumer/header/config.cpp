/* SPDX-License-Identifier: MIT
 *
 * config.cpp - BUFFERPOOL_CONFIG in C++20
 */
#include "config.h"

int main()
{
    return check_config();
}
