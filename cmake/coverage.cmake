# Coverage of src/ by the unit tests: the preset `coverage` builds with --coverage, runs the tests, and then builds the
# target check-coverage. The target prints the table, writes the annotated sources to coverage/index.html in the build
# folder, and fails below every line or below 95 % of the branches.
#
# A line counts wherever it ran: in the archive, or in the sources as a test has them compiled once more. Branches count
# without the sources that test_stepped has compiled with hooks. gcov numbers the branches of a line anew in each, and
# gcovr would add up branches that are not the same.
#
# The counts are deleted once they were read, so that each check is of one run of the tests.
set(BUFFERPOOL_COVERAGE OFF)
string(TOUPPER "${CMAKE_BUILD_TYPE}" build_type)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND "${CMAKE_C_FLAGS} ${CMAKE_C_FLAGS_${build_type}}" MATCHES "--coverage")
    set(BUFFERPOOL_COVERAGE ON)
endif()
if(NOT BUFFERPOOL_COVERAGE)
    return()
endif()

find_program(BUFFERPOOL_GCOVR gcovr REQUIRED)
mark_as_advanced(BUFFERPOOL_GCOVR)
# The gcov of the compiler: one of another version cannot read its files.
string(REGEX MATCH "^[0-9]+" gcc_major ${CMAKE_C_COMPILER_VERSION})
find_program(BUFFERPOOL_GCOV NAMES gcov-${gcc_major} gcov REQUIRED)
mark_as_advanced(BUFFERPOOL_GCOV)

# Parse errors: a child of fork begins with counts that other threads of the parent were in the middle of, so that for a
# branch fewer than none may come out, "-1", which this gcovr cannot read. It leaves that branch out, and says so.
set(report ${PROJECT_BINARY_DIR}/coverage)
file(MAKE_DIRECTORY ${report})
set(gcovr ${BUFFERPOOL_GCOVR} --root ${PROJECT_SOURCE_DIR})
set(read ${gcovr} --gcov-ignore-parse-errors --gcov-executable ${BUFFERPOOL_GCOV} --filter ${PROJECT_SOURCE_DIR}/src/)
add_custom_target(check-coverage
    COMMAND ${read} --exclude-directories .*/test_stepped.dir.* --json ${report}/branches.json ${PROJECT_BINARY_DIR}
    COMMAND ${read} --delete --json ${report}/lines.json ${PROJECT_BINARY_DIR}
    COMMAND ${gcovr} --add-tracefile ${report}/branches.json --branches --txt ${report}/branches.txt
    COMMAND ${gcovr} --add-tracefile ${report}/lines.json --html-details ${report}/index.html
    COMMAND ${gcovr} --add-tracefile ${report}/branches.json --print-summary --fail-under-branch 95 --txt ${report}/summary.txt
    COMMAND ${gcovr} --add-tracefile ${report}/lines.json --txt --fail-under-line 100
    USES_TERMINAL VERBATIM COMMENT "Coverage of src/; line by line: ${report}/index.html")
