/* SPDX-License-Identifier: MIT
 *
 * test_copies.c - two copies of the library in one process, one in the program and one in a plug-in that it opens
 *
 * A buffer of one copy that is given to the other is misuse, and is reported: also where both are the default pools',
 * or the first created pools', and where the thread has caches of both. Each scenario runs in a child, so that in each
 * copy the first pool is the first one. COPIES_PLUGIN says where the plug-in is.
 */
#include "copies/plugin.h"
#include "support/support.h"

#include <dlfcn.h>

static const struct copy own = {
    .create = bufferpool_create,
    .get = bufferpool_get,
    .put = bufferpool_put,
    .append = bufferpool_buf_append,
    .reserve = bufferpool_buf_reserve,
    .from_data = bufferpool_buf_from_data,
    .live = bufferpool_live,
};

/* ISO C has no cast from void * to a function pointer; POSIX says that this works. */
static const struct copy *open_plugin(void **handle)
{
    copy_of_plugin_fn function;
    *handle = dlopen(COPIES_PLUGIN, RTLD_NOW | RTLD_LOCAL);
    void *symbol = *handle != NULL ? dlsym(*handle, "copy_of_plugin") : NULL;
    if (symbol == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        _exit(2);
    }
    memcpy(&function, &symbol, sizeof function);
    return function();
}

enum call { PUT, APPEND, RESERVE, CALLS };

struct scene {
    bool to_plugin; /* the buffer is the program's, and goes to the plug-in; otherwise the other way round */
    bool created;   /* of the first pool that each creates; otherwise of the default pools */
    bool warm;      /* the thread has caches of both, with room */
    enum call then;
};

/* Of a pointer of 32 bits eight tell the copies apart: one time in 256 they do not. */
static bool words_are_equal(const bufferpool_buf_t *a, const bufferpool_buf_t *b)
{
    return memcmp(a + 1, b + 1, sizeof(uintptr_t)) == 0;
}

static void warm(const struct copy *copy, bufferpool_t *pool)
{
    bufferpool_buf_t *bufs[3];
    for (size_t i = 0; i < 3; i++)
        bufs[i] = copy->get(pool);
    for (size_t i = 0; i < 3; i++)
        copy->put(bufs[i]);
}

static void give_to_the_other(void *arg)
{
    const struct scene *scene = arg;
    void *handle;
    const struct copy *plugin = open_plugin(&handle);
    const struct copy *from = scene->to_plugin ? &own : plugin, *to = scene->to_plugin ? plugin : &own;
    bufferpool_t *from_pool = scene->created ? from->create(NULL) : NULL;
    bufferpool_t *to_pool = scene->created ? to->create(NULL) : NULL;
    if (scene->warm) {
        warm(from, from_pool);
        warm(to, to_pool);
    }
    bufferpool_buf_t *buf = from->get(from_pool);
    expect_in_message("%p", (void *)buf);
    if (sizeof(void *) < 8 && scene->warm && words_are_equal(buf, to->get(to_pool))) {
        (void)fprintf(stderr, "bufferpool_%s %p another copy\n", scene->then == PUT ? "put" : "buf_", (void *)buf);
        abort();
    }
    switch (scene->then) {
    case PUT:
        to->put(buf);
        break;
    case APPEND:
        (void)to->append(buf, "text", 4);
        break;
    case RESERVE:
        (void)to->reserve(buf, 100000);
        break;
    case CALLS:
        break;
    }
}

static void a_buffer_of_another_copy_is_misuse(void **state)
{
    static const char *const names[CALLS] = {"bufferpool_put", "bufferpool_buf_", "bufferpool_buf_"};
    (void)state;
    for (enum call then = PUT; then < CALLS; then++)
        for (int which = 0; which < 8; which++) {
            struct scene scene = {(which & 1) != 0, (which & 2) != 0, (which & 4) != 0, then};
            expect_abort(give_to_the_other, &scene, names[then], "another copy", NULL);
        }
}

static int ask_by_data(void *arg)
{
    (void)arg;
    void *handle;
    const struct copy *plugin = open_plugin(&handle);
    for (int created = 0; created < 2; created++) {
        bufferpool_t *a_pool = created ? own.create(NULL) : NULL, *b_pool = created ? plugin->create(NULL) : NULL;
        bufferpool_buf_t *a = own.get(a_pool), *b = plugin->get(b_pool);
        if (sizeof(void *) < 8 && words_are_equal(a, b))
            return 0;
        if (own.from_data(a->data) != a || plugin->from_data(b->data) != b || own.from_data(b->data) != NULL ||
            plugin->from_data(a->data) != NULL)
            return 1;
        if (own.live(a_pool) != 1 || plugin->live(b_pool) != 1)
            return 2;
        own.put(a);
        plugin->put(b);
    }
    return 0;
}

static void from_data_does_not_know_the_other_copys(void **state)
{
    (void)state;
    assert_int_equal(run_in_child(ask_by_data, NULL, 60), 0);
}

/* The loader mostly puts it where it was. */
static void give_to_the_plugin_loaded_again(void *arg)
{
    (void)arg;
    void *handle;
    const struct copy *plugin = open_plugin(&handle);
    warm(plugin, NULL);
    bufferpool_buf_t *buf = plugin->get(NULL);
    expect_in_message("%p", (void *)buf);
    if (dlclose(handle) != 0)
        _exit(2);
    plugin = open_plugin(&handle);
    warm(plugin, NULL);
    if (sizeof(void *) < 8 && words_are_equal(buf, plugin->get(NULL))) {
        (void)fprintf(stderr, "bufferpool_put %p another copy\n", (void *)buf);
        abort();
    }
    plugin->put(buf);
}

static void a_buffer_of_a_copy_that_was_unloaded_is_misuse(void **state)
{
    (void)state;
    expect_abort(give_to_the_plugin_loaded_again, NULL, "bufferpool_put", "another copy", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_of_another_copy_is_misuse),
        cmocka_unit_test(from_data_does_not_know_the_other_copys),
        cmocka_unit_test(a_buffer_of_a_copy_that_was_unloaded_is_misuse),
    };
    return cmocka_run_group_tests_name("copies", tests, NULL, NULL);
}
