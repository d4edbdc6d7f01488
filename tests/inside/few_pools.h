/* SPDX-License-Identifier: MIT
 *
 * few_pools.h - what the compiler includes ahead of registry.c for test_registry: a process has room for FEW_POOLS
 * pools, the default pool among them, and not for 65,535
 */
#ifndef TEST_FEW_POOLS_H
#define TEST_FEW_POOLS_H

#include "heap/desc.h"

#define FEW_POOLS 511

#undef POOL_INDEX_MASK
#define POOL_INDEX_MASK ((uintptr_t)FEW_POOLS)

#endif
