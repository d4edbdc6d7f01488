/* SPDX-License-Identifier: MIT
 *
 * test_hostile_reports.c - the report of misuse with unusual names of pools, and with an unusual stderr
 *
 * A pool's name may have quotes, control characters and kilobytes of text: the library copies the name, and the report
 * stays one line of plain text. stderr may be closed, may be another file by now, or may be a pipe without a reader, or
 * a full pipe while signals come. In each case the process ends by abort(), and the line is whole wherever somebody can
 * read it. A pending cancellation does not get in between.
 */
#include "support/laws.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NAME_SIZE = 4096, NAME_SHOWN = 64, CHILD_SECONDS = 60 };

static bufferpool_t *pool;

static void make_pool_with(const char *name, unsigned flags)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = name;
    config.flags = flags;
    pool = bufferpool_create(&config);
    assert_non_null(pool);
}

static void make_pool(const char *name)
{
    make_pool_with(name, 0);
}

static void put_twice(void *arg)
{
    (void)arg;
    bufferpool_buf_t *buf = bufferpool_get(pool);
    expect_in_message("%p", (void *)buf);
    bufferpool_put(buf);
    bufferpool_put(buf);
}

/* ---- names ---- */

static void a_name_is_copied_whatever_it_is(void **state)
{
    (void)state;
    static char name[NAME_SIZE + 1];
    for (size_t i = 0; i < NAME_SIZE; i++)
        name[i] = "ab\"c'd\\ %s%n"[i % 12];
    make_pool(name);
    bufferpool_t *first = pool;
    make_pool(name); /* taken: with a suffix */
    char shown[NAME_SHOWN + 1];
    memcpy(shown, name, NAME_SHOWN);
    shown[NAME_SHOWN] = '\0';
    memset(name, 'x', NAME_SIZE);
    char expected[NAME_SHOWN + 16];
    snprintf(expected, sizeof expected, "(pool %s)", shown);
    expect_abort(put_twice, NULL, "bufferpool_put", expected, NULL);
    assert_int_equal(bufferpool_destroy(pool), 0);
    assert_int_equal(bufferpool_destroy(first), 0);
}

static void the_report_is_one_line_of_plain_text(void **state)
{
    (void)state;
    char name[NAME_SHOWN];
    for (unsigned from = 1; from < 256; from += NAME_SHOWN - 1) {
        size_t n = 0;
        for (unsigned c = from; c < 256 && n < NAME_SHOWN - 1; c++)
            name[n++] = (char)c;
        name[n] = '\0';
        make_pool(name);
        expect_abort(put_twice, NULL, "bufferpool_put", NULL); /* one line, it sees to */
        for (const char *at = last_abort_message(); at[1] != '\0'; at++)
            assert_true((unsigned char)*at >= ' ' && *at != 0x7f);
        assert_int_equal(bufferpool_destroy(pool), 0);
    }
    make_pool("a\nlibbufferpool: b\r\x1b[2J");
    expect_abort(put_twice, NULL, "(pool a?libbufferpool: b??[2J)", NULL);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static size_t threads_named_bufferpool(void)
{
    size_t n = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (const struct dirent *task; (task = readdir(tasks)) != NULL;) {
        char path[300], comm[32];
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        FILE *in = fopen(path, "re");
        if (in == NULL)
            continue;
        if (fgets(comm, sizeof comm, in) != NULL && strcmp(comm, "bufferpool\n") == 0)
            n++;
        fclose(in);
    }
    closedir(tasks);
    return n;
}

static void the_background_thread_is_not_named_after_the_pool(void **state)
{
    (void)state;
    make_pool_with("\n\"name\" of\tthe pool", BUFFERPOOL_BACKGROUND);
    bufferpool_put(bufferpool_get(pool));
    if (!test_under_valgrind()) /* which keeps the names of threads to itself */
        assert_int_equal(threads_named_bufferpool(), 1);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* ---- stderr ---- */

static void misuse_now(void)
{
    bufferpool_buf_t *buf = bufferpool_get(pool);
    bufferpool_put(buf);
    bufferpool_put(buf);
    _exit(3);
}

static int with_stderr_closed(void *arg)
{
    (void)arg;
    close(STDERR_FILENO);
    misuse_now();
    return 3;
}

static int with_all_closed(void *arg)
{
    (void)arg;
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    misuse_now();
    return 3;
}

static int with_a_pipe_that_nobody_reads(void *arg)
{
    int fds[2];
    if (pipe(fds) != 0 || dup2(fds[1], STDERR_FILENO) < 0)
        return 4;
    close(fds[0]);
    close(fds[1]);
    signal(SIGPIPE, arg != NULL ? SIG_IGN : SIG_DFL);
    misuse_now();
    return 3;
}

static void misuse_aborts_without_stderr(void **state)
{
    (void)state;
    make_pool("deaf");
    assert_int_equal(run_in_child(with_stderr_closed, NULL, CHILD_SECONDS), 128 + SIGABRT);
    assert_int_equal(run_in_child(with_all_closed, NULL, CHILD_SECONDS), 128 + SIGABRT);
    assert_int_equal(run_in_child(with_a_pipe_that_nobody_reads, NULL, CHILD_SECONDS), 128 + SIGABRT);
    assert_int_equal(run_in_child(with_a_pipe_that_nobody_reads, &pool, CHILD_SECONDS), 128 + SIGABRT);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static int with_another_file_as_stderr(void *arg)
{
    close(STDERR_FILENO);
    if (fcntl(*(const int *)arg, F_DUPFD, STDERR_FILENO) != STDERR_FILENO)
        return 4;
    misuse_now();
    return 3;
}

static void the_line_goes_to_what_descriptor_2_is_now(void **state)
{
    (void)state;
    char text[512] = "";
    make_pool("other");
    int file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    assert_int_equal(run_in_child(with_another_file_as_stderr, &file, CHILD_SECONDS), 128 + SIGABRT);
    assert_true(pread(file, text, sizeof text - 1, 0) > 0);
    assert_ptr_equal(strstr(text, "libbufferpool: bufferpool_put: "), text);
    assert_string_equal(strchr(text, '('), "(pool other)\n");
    close(file);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

static void put_twice_when_cancelled(void *arg)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    put_twice(arg);
}

static void misuse_aborts_before_a_pending_cancellation(void **state)
{
    (void)state;
    make_pool("cancelled");
    expect_abort(put_twice_when_cancelled, NULL, "bufferpool_put", "(pool cancelled)", NULL);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

/* ---- a full pipe, and signals ---- */

enum { INTERRUPTIONS = 5 };

struct interrupted {
    int fds[2];
    atomic_int *signals; /* shared with the child: how many came since it began to report */
};

static atomic_int *signals_seen;

static void count_signal(int number)
{
    (void)number;
    atomic_fetch_add(signals_seen, 1);
}

static void fill_pipe(int fd)
{
    char some[4096];
    memset(some, '.', sizeof some);
    const int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    while (write(fd, some, sizeof some) > 0)
        ;
    while (write(fd, some, 1) > 0)
        ;
    fcntl(fd, F_SETFL, flags);
}

/* By the time handlers run the main thread is in the write, or about to be; it stays there until somebody reads. */
static _Noreturn void report_among_signals(const struct interrupted *scene)
{
    const struct itimerval often = {{0, 2000}, {0, 2000}};
    struct sigaction action = {.sa_handler = count_signal}; /* no SA_RESTART */
    signal(SIGABRT, SIG_DFL);
    alarm(CHILD_SECONDS);
    if (dup2(scene->fds[1], STDERR_FILENO) < 0)
        _exit(4);
    close(scene->fds[0]);
    close(scene->fds[1]);
    fill_pipe(STDERR_FILENO);
    signals_seen = scene->signals;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    misuse_now();
    _exit(3);
}

static void signals_do_not_cut_the_report_off(void **state)
{
    (void)state;
    struct interrupted scene;
    static char text[1 << 20];
    make_pool("interrupted");
    assert_int_equal(pipe2(scene.fds, O_CLOEXEC), 0);
    scene.signals = mmap(NULL, sizeof *scene.signals, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true((void *)scene.signals != MAP_FAILED);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        report_among_signals(&scene);
    close(scene.fds[1]);
    int status = 0;
    pid_t ended = 0;
    while (ended == 0 && atomic_load(scene.signals) < INTERRUPTIONS) {
        ended = waitpid(child, &status, WNOHANG);
        poll(NULL, 0, 1);
    }
    size_t n = 0;
    for (ssize_t got; (got = read(scene.fds[0], text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = '\0';
    if (ended == 0)
        assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    const char *line = strstr(text, "libbufferpool: ");
    assert_non_null(line);
    assert_string_equal(strchr(line, '('), "(pool interrupted)\n");
    close(scene.fds[0]);
    munmap(scene.signals, sizeof *scene.signals);
    assert_int_equal(bufferpool_destroy(pool), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_copied_whatever_it_is),
        cmocka_unit_test(the_report_is_one_line_of_plain_text),
        cmocka_unit_test(the_background_thread_is_not_named_after_the_pool),
        cmocka_unit_test(misuse_aborts_without_stderr),
        cmocka_unit_test(the_line_goes_to_what_descriptor_2_is_now),
        cmocka_unit_test(misuse_aborts_before_a_pending_cancellation),
        cmocka_unit_test(signals_do_not_cut_the_report_off),
    };
    return cmocka_run_group_tests_name("hostile_reports", tests, NULL, NULL);
}
