/* SPDX-License-Identifier: MIT
 *
 * test_printf.c - a text that does not fit is formatted twice, and the second time may go unlike the first
 */
#include "support/laws.h"

static int calls, changed_call;
static int changed_to; /* what that call returns, with errno ENOMEM if it is negative */

int __real_vsnprintf(char *to, size_t size, const char *format, va_list args);
int __wrap_vsnprintf(char *to, size_t size, const char *format, va_list args);

int __wrap_vsnprintf(char *to, size_t size, const char *format, va_list args)
{
    const int length = __real_vsnprintf(to, size, format, args);
    if (++calls != changed_call)
        return length;
    errno = ENOMEM;
    return changed_to;
}

static int print_text(bufferpool_buf_t *buf, int call, int to)
{
    calls = 0;
    changed_call = call;
    changed_to = to;
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    errno = EXDEV;
    const int error = bufferpool_buf_printf(buf, "%s", text);
    changed_call = 0;
    assert_int_equal(errno, EXDEV);
    return error;
}

static void a_failed_vsnprintf_changes_nothing(void **state)
{
    (void)state;
    test_blocks_t blocks = {0};
    bufferpool_config_t config = config_with(&blocks);
    config.buffer_capacity = 512;
    bufferpool_t *pool = bufferpool_create(&config);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    assert_int_equal(bufferpool_buf_printf(buf, "as before"), 0);
    const bool wrapped = calls > 0; /* not where the C library's checks take the call's place */
    const bufferpool_buf_t before = *buf;
    for (int call = 1; call <= 2 && wrapped; call++) {
        assert_int_equal(print_text(buf, call, -1), ENOMEM);
        assert_memory_equal(buf, &before, sizeof before);
        assert_memory_equal(buf->data, "as before", 9);
    }
    if (wrapped) /* an argument was what the first try wrote */
        assert_int_equal(print_text(buf, 2, 5), EINVAL);
    assert_memory_equal(buf, &before, sizeof before);
    assert_int_equal(print_text(buf, 0, 0), 0);
    assert_int_equal(calls, wrapped ? 2 : 0);
    assert_int_equal(buf->len, 9 + 999);
    bufferpool_put(buf);
    check_laws(pool, &blocks, 0);
    destroy_empty(pool, &blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_failed_vsnprintf_changes_nothing)};
    return cmocka_run_group_tests_name("printf", tests, NULL, NULL);
}
