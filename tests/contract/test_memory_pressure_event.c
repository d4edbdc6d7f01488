/* SPDX-License-Identifier: MIT
 *
 * test_memory_pressure_event.c - a cgroup that runs out of memory, and its process, which is told so by the kernel
 *
 * A child has a cgroup of its own with little memory. It watches that cgroup's memory.pressure, as BUFFERPOOL_PRESSURE
 * does by itself, and writes files until the kernel had to reclaim for so long that the trigger fires. Then its idle
 * buffers are gone. Nothing here counts time; a deadline is met only by a failure.
 *
 * This needs root, a hierarchy of version 2 with PSI, and a memory controller, of whichever version. Where the kernel
 * does not grant that the test says why, and is skipped.
 */
#include "support/laws.h"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define TYPE_CGROUP2 0x63677270u
#define TYPE_TMPFS   0x01021994u

enum { SOME = 20, FILE_MIB = 64, ROUNDS = 2000, CHILD_SECONDS = 60 };

/* The child's cgroups: for the news, and for the limit. They are the same where version 2 has the memory controller. */
static char told[128], limited[128];
static char reason[256]; /* why there is no test */

static bool no_test(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool no_test(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    return false;
}

static const char *path_in(const char *folder, const char *name)
{
    static char path[192];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static bool write_to(const char *folder, const char *name, const char *text)
{
    const int file = open(path_in(folder, name), O_WRONLY | O_CLOEXEC);
    const bool ok = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);
    const int error = errno;
    if (file >= 0)
        close(file);
    return ok || no_test("cannot write %s into %s/%s: %s", text, folder, name, strerror(error));
}

static bool make_group(char group[128], const char *root)
{
    snprintf(group, 128, "%s/bufferpool-test-%ld", root, (long)getpid());
    if (mkdir(group, 0755) == 0)
        return true;
    const int error = errno;
    no_test("cannot make the cgroup %s: %s", group, strerror(error));
    group[0] = '\0';
    return false;
}

static bool exists(const char *folder, const char *name)
{
    return access(path_in(folder, name), F_OK) == 0;
}

static bool make_groups(void)
{
    static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    struct statfs system;
    const char *root = NULL;
    for (size_t i = 0; i < 2; i++)
        if (statfs(roots[i], &system) == 0 && (unsigned)system.f_type == TYPE_CGROUP2)
            root = roots[i];
    if (root == NULL)
        return no_test("there is no hierarchy of version 2 at %s or %s", roots[0], roots[1]);
    if (!make_group(told, root))
        return false;
    if (!exists(told, "memory.pressure"))
        return no_test("%s has no memory.pressure", told);
    if (exists(told, "memory.high")) {
        memcpy(limited, told, sizeof limited);
        return write_to(limited, "memory.high", "8M");
    }
    if (!make_group(limited, "/sys/fs/cgroup/memory"))
        return false;
    if (statfs(".", &system) != 0 || (unsigned)system.f_type == TYPE_TMPFS)
        return no_test("files here are memory that cannot be reclaimed");
    return write_to(limited, "memory.limit_in_bytes", "8M");
}

static void remove_groups(void)
{
    if (limited[0] != '\0')
        (void)rmdir(limited);
    if (told[0] != '\0')
        (void)rmdir(told);
}

/* ---- the child ---- */

/* Whether one of the library's files is the cgroup's. */
static bool own_group_is_watched(void)
{
    struct stat wanted, open_file;
    if (stat(path_in(told, "memory.pressure"), &wanted) != 0)
        return false;
    bool found = false;
    for (int file = 0; file < 64; file++)
        found = found || (fstat(file, &open_file) == 0 && open_file.st_dev == wanted.st_dev &&
                          open_file.st_ino == wanted.st_ino);
    return found;
}

/* More than the cgroup has, so the kernel has to reclaim before each further page. */
static bool write_file(int file)
{
    static char mib[1 << 20];
    for (off_t i = 0; i < FILE_MIB; i++)
        if (pwrite(file, mib, sizeof mib, i << 20) != (ssize_t)sizeof mib)
            return false;
    return true;
}

static int uses_too_much(void *arg)
{
    bufferpool_buf_t *bufs[SOME];
    (void)arg;
    unsetenv("MEMORY_PRESSURE_WATCH");
    unsetenv("MEMORY_PRESSURE_WRITE");
    if (!thread_check(write_to(told, "cgroup.procs", "0") && write_to(limited, "cgroup.procs", "0")))
        return 1;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.reclaim_interval_ms = BUFFERPOOL_NEVER;
    config.flags = BUFFERPOOL_PRESSURE | BUFFERPOOL_START_NOW;
    bufferpool_t *pool = bufferpool_create(&config);
    thread_check(pool != NULL && stats_of(pool).memory_pressure_watched == 1 && own_group_is_watched());
    thread_check(bufferpool_get_bulk(pool, bufs, SOME) == 0);
    bufferpool_put_bulk(bufs, SOME);
    bufferpool_stats_t stats = stats_of(pool);
    thread_check(idle_of(&stats) == SOME || stats.memory_pressure_trims > 0);
    char name[] = "memory-pressure-XXXXXX";
    const int file = mkstemp(name);
    unlink(name);
    for (int round = 0; stats_of(pool).memory_pressure_trims == 0 && round < ROUNDS && thread_check(write_file(file));
         round++)
        ;
    close(file);
    stats = stats_of(pool);
    thread_check(stats.memory_pressure_trims > 0);
    while (stats = stats_of(pool), idle_of(&stats) > 0) /* until the thread is through with the trim */
        usleep(1000);
    thread_check(bufferpool_destroy(pool) == 0);
    return test_recorded_failure();
}

static void a_process_is_told_by_the_kernel_that_its_cgroup_is_short_of_memory(void **state)
{
    (void)state;
    if (!make_groups()) {
        remove_groups();
        print_message("skipped: %s\n", reason);
        skip();
    }
    const int status = run_in_child(uses_too_much, NULL, CHILD_SECONDS);
    remove_groups();
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_is_told_by_the_kernel_that_its_cgroup_is_short_of_memory),
    };
    return cmocka_run_group_tests_name("memory_pressure_event", tests, NULL, NULL);
}
