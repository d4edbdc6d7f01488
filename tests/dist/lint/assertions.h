/* SPDX-License-Identifier: MIT
 *
 * assertions.h - the tests' assertions, in a form that static analysis can follow
 *
 * No program is built with it: the lint group includes it before each test_*.c that clang-tidy reads. To the analyzer
 * cmocka's assertions are calls like any other, which return whether the condition holds or not, so the analyzer would
 * report what the test asserts to be impossible.
 */
#ifndef TEST_LINT_ASSERTIONS_H
#define TEST_LINT_ASSERTIONS_H

#include "support/support.h"

_Noreturn void assertion_failed(void);

#define ASSERTION(condition) ((condition) ? (void)0 : assertion_failed())

#undef assert_true
#undef assert_false
#undef assert_non_null
#undef assert_null
#undef assert_int_equal
#undef assert_ptr_equal
#define assert_true(c)         ASSERTION(c)
#define assert_false(c)        ASSERTION(!(c))
#define assert_non_null(p)     ASSERTION((p) != NULL)
#define assert_null(p)         ASSERTION((p) == NULL)
#define assert_int_equal(a, b) ASSERTION((LargestIntegralType)(a) == (LargestIntegralType)(b))
#define assert_ptr_equal(a, b) ASSERTION((const void *)(a) == (const void *)(b))

/* Returns what it is given, as support.h says. */
#undef thread_check
#define thread_check(condition) (condition)

#endif
