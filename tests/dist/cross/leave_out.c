/* SPDX-License-Identifier: MIT
 *
 * leave_out.c - runs a group of cmocka's tests without those that the file $BUFFERPOOL_LEAVE_OUT names
 *
 * It goes into the cmocka of the target, in front of cmocka's own function, so that the tests know nothing of it. A
 * line of the file is the name of a program, the name of one of its tests, and why that test cannot run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TESTS_MAX = 200 };

int cmocka_run_all_of_group(const char *name, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
                            CMFixtureFunction teardown);

/* Prints the line that says to leave it out; false: there is none. */
static bool left_out(FILE *list, const char *test)
{
    char line[500], named_program[100], named_test[200];
    int reason = 0;
    rewind(list);
    while (fgets(line, sizeof line, list) != NULL) {
        if (line[0] == '#' || sscanf(line, "%99s %199s %n", named_program, named_test, &reason) != 2)
            continue;
        if (strcmp(named_program, program_invocation_short_name) == 0 && strcmp(named_test, test) == 0) {
            printf("[ LEFT OUT ] %s %s: %s", named_program, test, line + reason);
            return true;
        }
    }
    return false;
}

int _cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
                            CMFixtureFunction teardown)
{
    struct CMUnitTest kept[TESTS_MAX];
    const char *path = getenv("BUFFERPOOL_LEAVE_OUT");
    size_t k = 0;
    if (path == NULL)
        return cmocka_run_all_of_group(name, tests, n, setup, teardown);
    FILE *list = fopen(path, "r");
    if (list == NULL || n > TESTS_MAX)
        abort();
    for (size_t i = 0; i < n; i++)
        if (!left_out(list, tests[i].name))
            memcpy(&kept[k++], &tests[i], sizeof kept[0]); /* its members are const */
    fclose(list);
    fflush(stdout);
    return cmocka_run_all_of_group(name, kept, k, setup, teardown);
}
