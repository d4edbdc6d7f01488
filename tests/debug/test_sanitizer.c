/* SPDX-License-Identifier: MIT
 *
 * test_sanitizer.c - AddressSanitizer and memcheck find accesses to a block that nobody holds, name the callers that
 * got and put it, and find nothing in a program without mistakes
 *
 * Each mistake is a process (sanitizer/scenes.c). It runs with AddressSanitizer if the build has it, and otherwise
 * under memcheck, where valgrind is there.
 */
#include "support/support.h"

#include <sys/wait.h>
#include <unistd.h>

enum { REPORT_MAX = 1 << 18, MISTAKE = 99 };

struct outcome {
    int status; /* the exit status; -1: ended otherwise */
    char report[REPORT_MAX];
};

static struct outcome outcome; /* of the last play() */

/* Of the runs without a mistake those under memcheck, where each takes a while. Not optimized, the scenes' hook looks
 * at bytes that nobody wrote, which without a pool are malloc's. */
#ifdef TEST_COVERAGE
#define MEMCHECK_CLEAN 2
#else
#define MEMCHECK_CLEAN 3
#endif

#define HAS_MEMCHECK (BUFFERPOOL_VALGRIND[0] != '\0' && !TEST_SANITIZED)

static void exec_scene(const char *const *tool, const char *debug, const char *scene, const char *number)
{
    const char *argv[16];
    size_t n = 0;
    for (; tool[n] != NULL; n++)
        argv[n] = tool[n];
    argv[n++] = SANITIZER_SCENES;
    argv[n++] = scene;
    argv[n++] = number;
    argv[n] = NULL;
    if (debug != NULL)
        setenv("BUFFERPOOL_DEBUG", debug, 1);
    else
        unsetenv("BUFFERPOOL_DEBUG");
    setenv("ASAN_OPTIONS", "exitcode=99:detect_leaks=0:abort_on_error=0", 1);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static void run(const char *const *tool, const char *debug, const char *scene, const char *number)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        exec_scene(tool, debug, scene, number);
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t n;
    char rest[4096];
    while ((n = length + 1 < REPORT_MAX ? read(ends[0], outcome.report + length, REPORT_MAX - 1 - length)
                                        : read(ends[0], rest, sizeof rest)) > 0)
        length += length + 1 < REPORT_MAX ? (size_t)n : 0;
    outcome.report[length] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void play(const char *debug, const char *scene)
{
    static const char *const memcheck[] = {BUFFERPOOL_VALGRIND,
                                           "--error-exitcode=99",
                                           "--leak-check=full",
                                           "--show-leak-kinds=all",
                                           "--errors-for-leak-kinds=definite,indirect",
                                           "--fair-sched=yes",
                                           "--num-callers=24", /* so many where nothing is inlined */
                                           NULL};
    static const char *const nothing[] = {NULL};
    run(HAS_MEMCHECK ? memcheck : nothing, debug, scene, NULL);
}

static unsigned count_in_report(const char *text)
{
    unsigned n = 0;
    for (const char *at = outcome.report; (at = strstr(at, text)) != NULL; at++)
        n++;
    return n;
}

/* The end of the report, where the last complaint stands: cmocka cuts a message off after 1 KiB. */
static const char *tail_of_report(void)
{
    enum { TAIL = 800 };
    const size_t length = strlen(outcome.report);
    return outcome.report + (length > TAIL ? length - TAIL : 0);
}

/* The line that a scene prints when a check of its own fails, wherever it stands among the tool's lines. */
static const char *line_of_scene(void)
{
    static char line[160];
    const char *at = strstr(outcome.report, "scenes.c:");
    while (at != NULL && at != outcome.report && at[-1] != '\n') /* not the scene's frames in a tool's stack */
        at = strstr(at + 1, "scenes.c:");
    (void)snprintf(line, sizeof line, "%.*s", at != NULL ? (int)strcspn(at, "\n") : 0, at != NULL ? at : "");
    return line;
}

static void fail_with_report(const char *what)
{
    fail_msg("%s: status %d; %s\n... %s", what, outcome.status, line_of_scene(), tail_of_report());
}

static void expect_in_report(const char *text)
{
    if (strstr(outcome.report, text) == NULL)
        fail_msg("'%s' is not in the report; its end:\n%s", text, tail_of_report());
}

/* ---- mistakes ---- */

struct mistake {
    const char *scene;
    bool undefined; /* for memcheck alone */
    const char *finds;
    const char *names[3]; /* by memcheck, in the report */
};

static const struct mistake mistakes[] = {
    {"read_after_put",
     false,
     "Invalid read of size 1",
     {"10 bytes inside a block of size 32,768 free'd", "scene_put", "scene_get"}},
    {"write_after_put",
     false,
     "Invalid write of size 1",
     {"10 bytes inside a block of size 32,768 free'd", "scene_put", "scene_get"}},
    {"bypass_after_put",
     false,
     "Invalid write of size 1",
     {"0 bytes inside a block of size 1,000 free'd", "scene_put", "scene_get"}},
    {"grown_after_put",
     false,
     "Invalid write of size 1",
     {"50,000 bytes inside a block of size", "scene_put", "scene_grow"}},
    /* the hook's block is the one that memcheck describes */
    {"hook_after_put", false, "Invalid write of size 1", {"64 bytes inside a ", "hook_alloc", "scene_get"}},
    {"wiped_after_put",
     false,
     "Invalid read of size 1",
     {"0 bytes inside a block of size 1,000 free'd", "scene_put", "scene_get"}},
    {"write_after_growth",
     false,
     "Invalid write of size 1",
     {"0 bytes inside a block of size 32,768 free'd", "scene_grow", "scene_get"}},
    {"overrun", false, "Invalid write of size 1", {"0 bytes after a block of size 32,768 alloc'd", "scene_get", ""}},
    {"overrun_odd", false, "Invalid write of size 1", {"0 bytes after a block of size 1,001 alloc'd", "scene_get", ""}},
    {"overrun_grown", false, "Invalid write of size 1", {"0 bytes after a block of size", "scene_grow", ""}},
    {"overrun_mapped", false, "Invalid write of size 1", {"0 bytes after a block of size", "scene_grow", ""}},
    {"overrun_large",
     false,
     "Invalid write of size 1",
     {"0 bytes after a block of size 2,097,152 alloc'd", "scene_get", ""}},
    {"overrun_shrunk",
     false,
     "Invalid write of size 1",
     {"0 bytes after a recently re-allocated block of size 32,768 alloc'd", "scene_shrink", ""}},
    {"overrun_cut_off", false, "Invalid write of size 1", {"0 bytes after a block of size", "scene_shrink", ""}},
    {"write_after_shrink",
     false,
     "Invalid write of size 1",
     {"0 bytes inside a block of size", "scene_shrink", "scene_grow"}},
    {"underrun", false, "Invalid read of size 1", {"1 bytes before a block of size 32,768 alloc'd", "scene_get", ""}},
    {"undefined", true, "depends on uninitialised value", {"scenes.c", "", ""}},
    {"undefined_again", true, "depends on uninitialised value", {"scenes.c", "", ""}},
    {"undefined_beyond_growth", true, "depends on uninitialised value", {"scenes.c", "", ""}},
};

static void each_mistake_is_found(void **state)
{
    (void)state;
    if (!TEST_ASAN && !HAS_MEMCHECK)
        skip();
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        const struct mistake *mistake = &mistakes[i];
        if (TEST_ASAN && mistake->undefined)
            continue;
        play(NULL, mistake->scene);
        if (outcome.status != MISTAKE)
            fail_with_report(mistake->scene);
        expect_in_report(TEST_ASAN ? "use-after-poison" : mistake->finds);
        for (size_t k = 0; HAS_MEMCHECK && k < 3; k++)
            expect_in_report(mistake->names[k]);
        if (HAS_MEMCHECK)
            expect_in_report("ERROR SUMMARY: 1 errors from 1 contexts");
    }
}

/* The library opens blocks for its own looks and fills, and closes them again, also where a mode is off. */
static void mistakes_are_found_under_the_modes_too(void **state)
{
    static const char *const debug[] = {"redzone", "poison", "poison,redzone,holders"};
    (void)state;
    if (!TEST_ASAN && !HAS_MEMCHECK)
        skip();
    for (size_t i = 0; i < (HAS_MEMCHECK ? 1 : sizeof debug / sizeof debug[0]); i++) {
        play(debug[i], "read_after_put");
        if (outcome.status != MISTAKE)
            fail_with_report(debug[i]);
        expect_in_report(TEST_ASAN ? "use-after-poison" : "Invalid read of size 1");
    }
    if (HAS_MEMCHECK) {
        play("redzone", "undefined_again");
        assert_int_equal(outcome.status, MISTAKE);
        expect_in_report("depends on uninitialised value");
    }
}

/* ---- none ---- */

static void no_tool_reports_a_program_without_mistakes(void **state)
{
    static const char *const debug[] = {
        NULL,   "poison,redzone,quarantine=3,holders,chaos", "nopool", "poison", "redzone", "quarantine=5", "holders",
        "chaos"};
    (void)state;
    if (!TEST_ASAN && !HAS_MEMCHECK)
        skip();
    for (size_t i = 0; i < (HAS_MEMCHECK ? MEMCHECK_CLEAN : sizeof debug / sizeof debug[0]); i++) {
        play(debug[i], "no_mistake");
        if (outcome.status != 0 || strstr(outcome.report, "AddressSanitizer") != NULL)
            fail_with_report(debug[i] != NULL ? debug[i] : "-");
        if (HAS_MEMCHECK)
            expect_in_report("ERROR SUMMARY: 0 errors from 0 contexts");
    }
}

static void a_child_poisons_what_its_states_call_idle(void **state)
{
    (void)state;
    if (!TEST_ASAN)
        skip();
    play(NULL, "child_of_half_a_get");
    if (outcome.status != 0)
        fail_with_report("child_of_half_a_get");
    play(NULL, "child_of_half_a_put");
    assert_int_equal(outcome.status, MISTAKE);
    expect_in_report("use-after-poison");
}

static void memcheck_lists_held_buffers_once_and_idle_ones_not_at_all(void **state)
{
    (void)state;
#ifdef TEST_COVERAGE /* whose own blocks count too */
    skip();
#endif
    if (!HAS_MEMCHECK)
        skip();
    play(NULL, "held_at_exit");
    assert_int_equal(outcome.status, 0);
    assert_int_equal(count_in_report("32,768 bytes in 1 blocks are still reachable"), 1);
    assert_int_equal(count_in_report("1,000 bytes in 1 blocks are still reachable"), 1);
    assert_int_equal(count_in_report("by scene_get"), 0);
    expect_in_report("definitely lost: 0 bytes in 0 blocks");
}

static void under_nopool_memcheck_needs_no_hooks(void **state)
{
    (void)state;
    if (!HAS_MEMCHECK)
        skip();
    play("nopool", "write_after_put");
    assert_int_equal(outcome.status, MISTAKE);
    expect_in_report("Invalid write of size 1");
    expect_in_report("free'd");
    expect_in_report(": free (");
    assert_int_equal(count_in_report("sanitizer_hide"), 0);
}

/* A pair takes 63 instructions with the loop (docs/design.md); the slow path takes hundreds. */
static void callgrind_counts_the_fast_path(void **state)
{
    static const char *const callgrind[] = {BUFFERPOOL_VALGRIND, "--tool=callgrind", "--callgrind-out-file=/dev/null",
                                            NULL};
    unsigned long long counted[2];
    (void)state;
#ifdef TEST_COVERAGE /* whose counts are instructions too */
    skip();
#endif
    if (!HAS_MEMCHECK)
        skip();
    for (int i = 0; i < 2; i++) {
        run(callgrind, NULL, "pairs", i == 0 ? "1000" : "11000");
        assert_int_equal(outcome.status, 0);
        const char *at = strstr(outcome.report, "Collected :");
        assert_non_null(at);
        counted[i] = strtoull(at + strlen("Collected :"), NULL, 10);
    }
    assert_in_range((counted[1] - counted[0]) / 10000, 20, 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_mistake_is_found),
        cmocka_unit_test(mistakes_are_found_under_the_modes_too),
        cmocka_unit_test(no_tool_reports_a_program_without_mistakes),
        cmocka_unit_test(a_child_poisons_what_its_states_call_idle),
        cmocka_unit_test(memcheck_lists_held_buffers_once_and_idle_ones_not_at_all),
        cmocka_unit_test(under_nopool_memcheck_needs_no_hooks),
        cmocka_unit_test(callgrind_counts_the_fast_path),
    };
    return cmocka_run_group_tests_name("shadow", tests, NULL, NULL);
}
