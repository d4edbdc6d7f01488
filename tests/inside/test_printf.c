/* SPDX-License-Identifier: MIT
 *
 * test_printf.c - a text that does not fit is formatted twice, the second time into memory of its own
 *
 * The second time may go unlike the first. The linker's --wrap replaces vsnprintf, and free to see what is left.
 */
#include "support/laws.h"

#include <malloc.h>

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

/* ---- what is left of a text ---- */

static bool watched;
static size_t texts, secrets; /* freed blocks that are as large as the text, and those that had it in them */

void __real_free(void *block);
void __wrap_free(void *block);
void __wrap_free(void *block)
{
    if (watched && block != NULL && malloc_usable_size(block) >= 1000) {
        texts++;
        secrets += memchr(block, 'x', 1000) != NULL;
    }
    __real_free(block);
}

static void a_pool_that_wipes_leaves_no_text_behind(void **state)
{
    (void)state;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = 512;
    config.flags = BUFFERPOOL_ZERO;
    bufferpool_t *pool = bufferpool_create(&config);
    bufferpool_buf_t *buf = bufferpool_get(pool);
    watched = true;
    assert_int_equal(print_text(buf, 0, 0), 0);
    watched = false;
    assert_int_equal(buf->len, 999);
    assert_int_equal(texts, 1);
    assert_int_equal(secrets, 0);
    bufferpool_put(buf);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_vsnprintf_changes_nothing),
        cmocka_unit_test(a_pool_that_wipes_leaves_no_text_behind),
    };
    return cmocka_run_group_tests_name("printf", tests, NULL, NULL);
}
