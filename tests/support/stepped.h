/* SPDX-License-Identifier: MIT
 *
 * stepped.h - what the compiler includes ahead of each source of src/, and ahead of the test, for a test that stops a
 * call at each of its steps
 *
 * Before every atomic operation a_step() is called, which the test defines. For tests with STEPPED (tests.cmake). A
 * call may be stopped while it holds a mutex of its pool, and then the test must not wait for a thread that needs that
 * mutex: see pool_is_unlocked() of hands.h.
 */
#ifndef TEST_STEPPED_H
#define TEST_STEPPED_H

void a_step(void);

#define BEFORE_STEP(kind, address) a_step()
#include "support/steps.h"

#endif
