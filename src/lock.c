/* SPDX-License-Identifier: MIT
 *
 * lock.c - whether the calling thread has a lock that fork needs
 */
#include "lock.h"

_Thread_local volatile unsigned locks_held TLS_MODEL;
