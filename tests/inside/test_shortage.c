/* SPDX-License-Identifier: MIT
 *
 * test_shortage.c - where the news comes from that memory is short (shortage.c)
 *
 * The system is a folder of this test, and its PSI files are FIFOs: the search begins at a root that is a parameter. So
 * the test reads from a FIFO what the module wrote into it, and writes what the module is to take for news.
 */
#include "support/support.h"

#include "shortage.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define WATCH "MEMORY_PRESSURE_WATCH"
#define WRITE "MEMORY_PRESSURE_WRITE"

enum { A_WHILE_MS = 30000, FILES_MAX = 64 };

/* ---- failures ---- */

static unsigned calls_left; /* of calloc, until one fails; 0: none fails */
static bool no_eventfd;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    return calls_left > 0 && --calls_left == 0 ? NULL : __real_calloc(n, size);
}

int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags)
{
    return no_eventfd ? -1 : __real_eventfd(count, flags);
}

/* ---- a program with the rights of another user ---- */

static bool privileged;

char *__wrap_secure_getenv(const char *name);
char *__wrap_secure_getenv(const char *name)
{
    return privileged ? NULL : getenv(name);
}

/* ---- a system in a folder ---- */

static char root[] = "/tmp/bufferpool-shortage-XXXXXX";

static const char *in_root(const char *path)
{
    static char paths[4][256];
    static unsigned next;
    char *at = paths[next++ % 4];
    snprintf(at, sizeof paths[0], "%s%s", root, path);
    return at;
}

#define GROUP_FILE  "/sys/fs/cgroup/a.slice/b.service/memory.pressure"
#define SYSTEM_FILE "/proc/pressure/memory"

static const char *const folders[] = {
    "/proc",   "/proc/self",     "/proc/pressure",         "/sys",
    "/sys/fs", "/sys/fs/cgroup", "/sys/fs/cgroup/a.slice", "/sys/fs/cgroup/a.slice/b.service",
};
enum { FOLDERS = sizeof folders / sizeof folders[0] };

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(in_root(path), "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void set_group(const char *lines)
{
    write_file("/proc/self/cgroup", lines);
}

static int make_system(void **state)
{
    (void)state;
    unsetenv(WATCH);
    unsetenv(WRITE);
    memset(root + strlen(root) - 6, 'X', 6);
    assert_non_null(mkdtemp(root));
    for (size_t i = 0; i < FOLDERS; i++)
        assert_int_equal(mkdir(in_root(folders[i]), 0700), 0);
    assert_int_equal(mkfifo(in_root(GROUP_FILE), 0600), 0);
    assert_int_equal(mkfifo(in_root(SYSTEM_FILE), 0600), 0);
    set_group("1:name=systemd:/x\n0::/a.slice/b.service\n");
    return 0;
}

static int remove_system(void **state)
{
    static const char *const files[] = {GROUP_FILE, SYSTEM_FILE, "/proc/self/cgroup", "/fifo", "/plain"};
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        (void)unlink(in_root(files[i]));
    for (size_t i = FOLDERS; i-- > 0;)
        (void)rmdir(in_root(folders[i]));
    return rmdir(root);
}

static size_t open_files(void)
{
    size_t n = 0;
    for (int i = 0; i < FILES_MAX; i++)
        n += fcntl(i, F_GETFD) != -1;
    return n;
}

/* Whether the source is that file. */
static bool is_at(const struct shortage *s, const char *path)
{
    struct stat a, b;
    assert_int_equal(fstat(s->source, &a), 0);
    assert_int_equal(stat(path, &b), 0);
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* What the module wrote into its FIFO. */
static size_t written(const struct shortage *s, char *bytes, size_t size)
{
    const ssize_t n = read(s->source, bytes, size);
    return n > 0 ? (size_t)n : 0;
}

static struct shortage *found_at(const char *path)
{
    struct shortage *s = shortage_open(root);
    assert_non_null(s);
    assert_true(is_at(s, path));
    assert_int_equal(s->event, POLLIN);
    return s;
}

/* A FIFO that MEMORY_PRESSURE_WATCH names. */
static void watch_fifo(void)
{
    assert_int_equal(mkfifo(in_root("/fifo"), 0600), 0);
    setenv(WATCH, in_root("/fifo"), 1);
}

/* ---- where it looks ---- */

static void the_own_cgroup_comes_first_with_the_usual_trigger(void **state)
{
    (void)state;
    char bytes[64];
    struct shortage *s = found_at(in_root(GROUP_FILE));
    assert_int_equal(written(s, bytes, sizeof bytes), sizeof "some 200000 2000000"); /* the NUL too */
    assert_string_equal(bytes, "some 200000 2000000");
    shortage_close(s);
}

static void the_whole_system_comes_where_the_cgroup_has_no_file(void **state)
{
    (void)state;
    static const char *const groups[] = {
        "0::/no.service\n",
        "0::/../a.slice/b.service\n",
        "0::/a.slice/..\n",
        "4:memory:/a.slice/b.service\n",
        "",
        "0::",
    };
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        set_group(groups[i]);
        shortage_close(found_at(in_root(SYSTEM_FILE)));
    }
    unlink(in_root("/proc/self/cgroup"));
    shortage_close(found_at(in_root(SYSTEM_FILE)));
}

static void the_own_cgroup_is_found_beside_hierarchies_of_version_1(void **state)
{
    static const char *const more[] = {"/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/c.service"};
    static const char file[] = "/sys/fs/cgroup/unified/c.service/memory.pressure";
    (void)state;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(mkdir(in_root(more[i]), 0700), 0);
    assert_int_equal(mkfifo(in_root(file), 0600), 0);
    set_group("4:memory:/x\n0::/c.service\n");
    shortage_close(found_at(in_root(file)));
    unlink(in_root(file));
    for (size_t i = 2; i-- > 0;)
        (void)rmdir(in_root(more[i]));
}

static void nothing_is_found_where_there_is_nothing(void **state)
{
    (void)state;
    const size_t files = open_files();
    unlink(in_root(GROUP_FILE));
    unlink(in_root(SYSTEM_FILE));
    assert_null(shortage_open(root));
    write_file(SYSTEM_FILE, ""); /* a regular file, but not of procfs */
    assert_null(shortage_open(root));
    assert_int_equal(open_files(), files);
}

static void the_environment_comes_before_the_system(void **state)
{
    (void)state;
    char bytes[64];
    watch_fifo();
    struct shortage *s = found_at(in_root("/fifo"));
    assert_int_equal(written(s, bytes, sizeof bytes), 0); /* no variable, no trigger */
    shortage_close(s);
    setenv(WATCH, "/dev/null", 1);
    assert_null(shortage_open(root));
}

static void a_program_with_more_rights_does_not_read_the_environment(void **state)
{
    (void)state;
    watch_fifo();
    privileged = true;
    shortage_close(found_at(in_root(GROUP_FILE)));
    privileged = false;
    shortage_close(found_at(in_root("/fifo")));
}

static void a_wrong_path_is_as_if_it_were_not_there(void **state)
{
    (void)state;
    char long_path[300];
    memset(long_path, 'x', sizeof long_path);
    long_path[0] = '/';
    long_path[sizeof long_path - 1] = '\0';
    write_file("/plain", "");
    const char *const paths[] = {"", "fifo", in_root("/none"), in_root("/plain"), root, "/dev/zero", long_path};
    const size_t files = open_files();
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        setenv(WATCH, paths[i], 1);
        shortage_close(found_at(in_root(GROUP_FILE)));
        assert_int_equal(open_files(), files);
    }
}

static void the_bytes_are_decoded(void **state)
{
    (void)state;
    static const struct {
        const char *base64, *bytes;
        size_t n;
    } cases[] = {{"", "", 0},
                 {"QQ==", "A", 1},
                 {"QUI=", "AB", 2},
                 {"QUJD", "ABC", 3},
                 {"AP8+/w==", "\0\377>\377", 4},
                 {"c29tZSAxIDIA", "some 1 2", 9}};
    watch_fifo();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char bytes[64];
        setenv(WRITE, cases[i].base64, 1);
        struct shortage *s = found_at(in_root("/fifo"));
        assert_int_equal(written(s, bytes, sizeof bytes), cases[i].n);
        assert_memory_equal(bytes, cases[i].bytes, cases[i].n);
        shortage_close(s);
    }
}

static void bytes_that_are_no_base64_are_as_if_the_path_were_not_there(void **state)
{
    (void)state;
    static char much[1369];
    memset(much, 'A', sizeof much - 1); /* 1,026 bytes */
    const char *const wrong[] = {"Q", "QQ", "QQ=", "====", "Q===", "QQ=A", "Q=Q=", "QUJ\n", "QU D", "QUJD=", much};
    watch_fifo();
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        setenv(WRITE, wrong[i], 1);
        shortage_close(found_at(in_root(GROUP_FILE)));
    }
}

/* A file without a trigger that the kernel takes would tell nothing. */
static void a_psi_file_is_watched_only_with_a_trigger_that_the_kernel_takes(void **state)
{
    (void)state;
    setenv(WATCH, "/proc/pressure/memory", 1);
    setenv(WRITE, "c29tZSAyMDAwMDAgMjAwMDAwMAA=", 1);
    struct shortage *s = shortage_open(root);
    assert_non_null(s);
    if (is_at(s, in_root(GROUP_FILE))) {
        shortage_close(s);
        print_message("this system grants no trigger in /proc/pressure/memory\n");
        skip();
    }
    assert_true(is_at(s, "/proc/pressure/memory"));
    assert_int_equal(s->event, POLLPRI);
    (void)shortage_wait(s, 0);
    assert_false(s->lost);
    shortage_close(s);
    setenv(WRITE, "c29tZSAxIDIA", 1);
    shortage_close(found_at(in_root(GROUP_FILE)));
    unsetenv(WRITE);
    shortage_close(found_at(in_root(GROUP_FILE)));
}

/* ---- waiting ---- */

static void what_a_fifo_has_is_news_once(void **state)
{
    (void)state;
    watch_fifo();
    struct shortage *s = found_at(in_root("/fifo"));
    assert_false(shortage_wait(s, 0));
    const int writer = open(in_root("/fifo"), O_WRONLY);
    assert_int_equal(write(writer, "xyz", 3), 3);
    close(writer);
    assert_true(shortage_wait(s, A_WHILE_MS));
    assert_false(shortage_wait(s, 0));
    assert_false(s->lost); /* although the writer is gone */
    shortage_close(s);
}

static void a_wakeup_is_kept_until_the_next_wait(void **state)
{
    (void)state;
    watch_fifo();
    struct shortage *s = found_at(in_root("/fifo"));
    shortage_wake(s);
    shortage_wake(s);
    assert_false(shortage_wait(s, UINT64_MAX)); /* without end, were it not for that */
    assert_false(shortage_wait(s, 0));
    struct pollfd ask = {s->wakeups, POLLIN, 0};
    assert_int_equal(poll(&ask, 1, 0), 0);
    shortage_close(s);
}

/* ---- what it takes ---- */

static void both_files_are_closed_by_exec_and_in_a_child(void **state)
{
    (void)state;
    const size_t files = open_files();
    struct shortage *s = found_at(in_root(GROUP_FILE)), *t = found_at(in_root(GROUP_FILE));
    assert_int_equal(open_files(), files + 4);
    assert_true((fcntl(s->source, F_GETFD) & FD_CLOEXEC) != 0);
    assert_true((fcntl(s->wakeups, F_GETFD) & FD_CLOEXEC) != 0);
    shortage_after_fork_in_child(); /* this is the child now */
    assert_int_equal(open_files(), files);
    shortage_forget(s);
    shortage_forget(t);
    shortage_close(found_at(in_root(GROUP_FILE)));
    assert_int_equal(open_files(), files);
}

static void any_of_several_can_be_closed(void **state)
{
    (void)state;
    const size_t files = open_files();
    struct shortage *s[3];
    for (size_t i = 0; i < 3; i++)
        s[i] = found_at(in_root(GROUP_FILE));
    shortage_close(s[1]);
    shortage_close(s[0]);
    shortage_close(s[2]);
    shortage_close(NULL);
    assert_int_equal(open_files(), files);
}

static void nothing_is_left_open_where_something_fails(void **state)
{
    (void)state;
    const size_t files = open_files();
    for (unsigned i = 1; i <= 2; i++) {
        calls_left = i;
        assert_null(shortage_open(root));
        assert_int_equal(calls_left, 0);
    }
    no_eventfd = true;
    assert_null(shortage_open(root));
    no_eventfd = false;
    assert_int_equal(open_files(), files);
}

#define in_a_system(test) cmocka_unit_test_setup_teardown(test, make_system, remove_system)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_a_system(the_own_cgroup_comes_first_with_the_usual_trigger),
        in_a_system(the_whole_system_comes_where_the_cgroup_has_no_file),
        in_a_system(the_own_cgroup_is_found_beside_hierarchies_of_version_1),
        in_a_system(nothing_is_found_where_there_is_nothing),
        in_a_system(the_environment_comes_before_the_system),
        in_a_system(a_program_with_more_rights_does_not_read_the_environment),
        in_a_system(a_wrong_path_is_as_if_it_were_not_there),
        in_a_system(the_bytes_are_decoded),
        in_a_system(bytes_that_are_no_base64_are_as_if_the_path_were_not_there),
        in_a_system(a_psi_file_is_watched_only_with_a_trigger_that_the_kernel_takes),
        in_a_system(what_a_fifo_has_is_news_once),
        in_a_system(a_wakeup_is_kept_until_the_next_wait),
        in_a_system(both_files_are_closed_by_exec_and_in_a_child),
        in_a_system(any_of_several_can_be_closed),
        in_a_system(nothing_is_left_open_where_something_fails),
    };
    return cmocka_run_group_tests_name("shortage", tests, NULL, NULL);
}
