/* SPDX-License-Identifier: MIT
 *
 * test_lifecycle.c - which thread used the library, how thread, process or library ends then, and how the program has
 * the library
 *
 * Each cell, "role x end (way)", of the matrix in lifecycle/matrix.h is a test, and a process of its own. The process
 * must end within some seconds, with status 0, and must have written what the cell says to stdout and nothing to
 * stderr. lifecycle/cells.c plays the cells, and checks the counts. Under valgrind the test plays the ways that
 * valgrind can follow, and these must leak nothing.
 */
#include "support/support.h"

#include "lifecycle/matrix.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SECONDS = 20, SECONDS_INSTRUMENTED = 120 };

struct way {
    const char *name;
    const char *program;
    const char *module; /* what it opens; NULL: nothing */
};

static const struct way ways[] = {
    {"shared", LIFECYCLE_SHARED, NULL},
    {"opened", LIFECYCLE_OPENER, LIFECYCLE_OPENED},
    {"embedded", LIFECYCLE_OPENER, LIFECYCLE_EMBEDDED},
#ifdef LIFECYCLE_STATIC
    {"static", LIFECYCLE_STATIC, NULL},
#endif
};

static const char *const roles[] = {
#define ROLE(name) #name,
    LIFECYCLE_ROLES(ROLE)
#undef ROLE
};

struct end {
    const char *name;
    const char *says;
    bool unloads;
};

static const struct end ends[] = {
#define END(name, says) {#name, says, false},
    LIFECYCLE_ENDS(END)
#undef END
#define END(name, says) {#name, says, true},
        LIFECYCLE_UNLOADS(END)
#undef END
};

enum {
    WAYS = sizeof ways / sizeof ways[0],
    ROLES = sizeof roles / sizeof roles[0],
    ENDS = sizeof ends / sizeof ends[0],
    CELLS_MOST = WAYS * ROLES * ENDS
};

struct cell {
    const struct way *way;
    const char *role;
    const struct end *end;
    char name[96];
};

static bool ends_main(const struct cell *cell)
{
    const char *end = cell->end->name;
    return strncmp(cell->role, "main", 4) == 0 && (cell->end->unloads || strncmp(end, "thread", 6) == 0 ||
                                                   strncmp(end, "cancel", 6) == 0 || strncmp(end, "fork", 4) == 0);
}

/* What the tools cannot do. */
static bool is_beyond_the_tools(const struct cell *cell)
{
    const char *end = cell->end->name;
    if (TEST_ASAN && strstr(end, "cancel") != NULL && strncmp(end, "exit", 4) != 0)
        return true; /* it takes the unwinding of a thread for an overflow */
    if (TEST_ASAN && strncmp(end, "fork", 4) == 0)
        return true; /* the child may find a lock of its allocator taken for ever, by a thread that just began */
    if (TEST_TSAN && (ends_main(cell) || strstr(end, "among_busy") != NULL || strcmp(end, "cancel_asynchronous") == 0 ||
                      strcmp(end, "fork_child_uses") == 0 || strcmp(end, "fork_child_exits") == 0))
        return true; /* it does not see that the main thread ended, has locks of its own, and no threads after fork */
    if (TEST_TSAN && strcmp(end, "fork_child_thread_ends") == 0)
        return true; /* it does not survive a destructor in a thread that is the last one and not the first */
    if (TEST_TSAN && cell->end->unloads && strcmp(cell->way->name, "embedded") == 0)
        return true; /* it forgets to whom a handler of exit() belongs, and calls it after the module is gone */
    if (test_under_valgrind() && (strcmp(cell->way->name, "shared") != 0 || strcmp(cell->role, "thread_puts") == 0 ||
                                  strstr(end, "among_busy") != NULL))
        return true; /* these would take minutes, and of the static one it sees no malloc */
    return false;
}

static void start_in_child(const struct cell *cell, int out, int err)
{
    const char *arguments[12];
    size_t n = 0;
    if (test_under_valgrind()) {
        arguments[n++] = BUFFERPOOL_VALGRIND;
        arguments[n++] = "--quiet";
        arguments[n++] = "--error-exitcode=99";
        arguments[n++] = "--fair-sched=yes";
        arguments[n++] = "--leak-check=full";
        arguments[n++] = "--show-leak-kinds=definite,indirect";
        arguments[n++] = "--errors-for-leak-kinds=definite,indirect";
        unsetenv("LD_PRELOAD");
    }
    arguments[n++] = cell->way->program;
    arguments[n++] = cell->role;
    arguments[n++] = cell->end->name;
    if (cell->way->module != NULL)
        arguments[n++] = cell->way->module;
    arguments[n] = NULL;
    if (dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0)
        _exit(120);
    /* A module leaves behind what the default pool had, at least; in a child of fork it stumbles over the parent's
     * threads. And what a hook has not freed yet when the process ends is nobody's. */
    if (TEST_ASAN && (cell->end->unloads || strcmp(cell->end->name, "exit_beside_a_hook") == 0))
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
    /* ThreadSanitizer sleeps for a second before it ends a process that has other threads: for what these may still
     * do. */
    if (TEST_TSAN) {
        const char *options = getenv("TSAN_OPTIONS");
        char with_less_sleep[256];
        snprintf(with_less_sleep, sizeof with_less_sleep, "%s:atexit_sleep_ms=100", options != NULL ? options : "");
        setenv("TSAN_OPTIONS", with_less_sleep, 1);
    }
    alarm(test_instrumented() ? SECONDS_INSTRUMENTED : SECONDS);
    execv(arguments[0], (char *const *)arguments);
    _exit(121);
}

static size_t read_file(int fd, char *text, size_t size)
{
    const ssize_t n = pread(fd, text, size - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

static void play(void **state)
{
    const struct cell *cell = *state;
    if (is_beyond_the_tools(cell))
        skip();
    char said[64], complaint[4096];
    /* files, for a pipe would also wait for a child that the cell's process leaves behind */
    const int out = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    const int err = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(out >= 0 && err >= 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        start_in_child(cell, out, err);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    read_file(out, said, sizeof said);
    read_file(err, complaint, sizeof complaint);
    close(out);
    close(err);
    const bool quiet = complaint[0] == '\0' || test_under_valgrind(); /* which talks of calls that it does not know */
    if (status != 0 || !quiet)
        fail_msg("wait status %#x; it said \"%s\" and complained: %s", (unsigned)status, said, complaint);
    assert_string_equal(said, cell->end->says);
}

int main(void)
{
    static struct cell cells[CELLS_MOST];
    static struct CMUnitTest tests[CELLS_MOST];
    size_t n = 0;
    for (size_t w = 0; w < WAYS; w++) {
        for (size_t r = 0; r < ROLES; r++) {
            for (size_t e = 0; e < ENDS; e++) {
                if (ends[e].unloads && ways[w].module == NULL)
                    continue;
                cells[n] = (struct cell){.way = &ways[w], .role = roles[r], .end = &ends[e]};
                snprintf(cells[n].name, sizeof cells[n].name, "%s x %s (%s)", roles[r], ends[e].name, ways[w].name);
                tests[n] = (struct CMUnitTest){cells[n].name, play, NULL, NULL, &cells[n]};
                n++;
            }
        }
    }
    return _cmocka_run_group_tests("lifecycle", tests, n, NULL, NULL);
}
