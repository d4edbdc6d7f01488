# Coverage of src/ by the unit tests: the preset `coverage` builds with --coverage, runs them, and then builds the target
# check-coverage. That prints the table, writes the annotated sources to coverage/index.html in the build folder, and
# fails below every line or below 95 % of the branches. Whether a line ran in the archive or in the sources as a test has them
# compiled once more makes no difference: counts of the same line are added up.
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
add_custom_target(check-coverage
    COMMAND ${BUFFERPOOL_GCOVR} --delete --gcov-ignore-parse-errors --gcov-executable ${BUFFERPOOL_GCOV} --root ${PROJECT_SOURCE_DIR}
        --filter ${PROJECT_SOURCE_DIR}/src/ --json ${report}/coverage.json ${PROJECT_BINARY_DIR}
    COMMAND ${BUFFERPOOL_GCOVR} --root ${PROJECT_SOURCE_DIR} --add-tracefile ${report}/coverage.json
        --branches --txt ${report}/branches.txt --html-details ${report}/index.html
    COMMAND ${BUFFERPOOL_GCOVR} --root ${PROJECT_SOURCE_DIR} --add-tracefile ${report}/coverage.json
        --txt --print-summary --fail-under-line 100 --fail-under-branch 95
    USES_TERMINAL VERBATIM COMMENT "Coverage of src/; line by line: ${report}/index.html")
