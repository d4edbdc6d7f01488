# What every folder of tests uses: the helpers of this folder, and how a program becomes a test.
add_library(test_support STATIC ${CMAKE_CURRENT_LIST_DIR}/support.c)
# The header only: which kind of the library it is, the test decides.
target_include_directories(test_support PUBLIC ${PROJECT_SOURCE_DIR}/tests PRIVATE ${PROJECT_SOURCE_DIR}/include)
target_link_libraries(test_support PUBLIC cmocka::cmocka Threads::Threads)
# The tests do on purpose what the header lets the compiler warn of. dist/consumer/mistakes.sh has the warnings.
target_compile_options(test_support PUBLIC
    "-DBUFFERPOOL_MALLOC(put)=" "-DBUFFERPOOL_READS(data, size)=" -DBUFFERPOOL_MUST_USE=)
if(BUFFERPOOL_COVERAGE)
    target_compile_definitions(test_support PRIVATE TEST_COVERAGE)
    # Otherwise gcc makes it its own, which forgets what the child counted within fork().
    target_compile_options(test_support PRIVATE -fno-builtin-fork)
endif()
bufferpool_target_warnings(test_support)

# The command in front of a program that runs under valgrind. It is empty where valgrind is missing, or where the build
# is instrumented already.
set(bufferpool_valgrind "")
if(BUFFERPOOL_VALGRIND AND NOT BUFFERPOOL_SANITIZE AND NOT BUFFERPOOL_COVERAGE)
    # fair-sched: without it one spinning thread starves the others for seconds.
    set(bufferpool_valgrind ${BUFFERPOOL_VALGRIND} --quiet --error-exitcode=99 --leak-check=full
        --errors-for-leak-kinds=definite,indirect --fair-sched=yes)
endif()

# bufferpool_add_seam(<target> STATIC|OBJECT <header> <source>...): sources of the library once more, with the header
# ahead of each. The library that is shipped knows nothing of it.
function(bufferpool_add_seam target kind header)
    list(TRANSFORM ARGN PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE sources)
    add_library(${target} ${kind} ${sources})
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests
        PUBLIC ${PROJECT_SOURCE_DIR}/include)
    target_compile_definitions(${target} PRIVATE _GNU_SOURCE PUBLIC BUFFERPOOL_STATIC)
    target_compile_options(${target} PRIVATE -include ${header})
    target_link_libraries(${target} PUBLIC Threads::Threads ${CMAKE_DL_LIBS})
    # Static analysis reads the sources as the library's.
    set_target_properties(${target} PROPERTIES
        C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF EXPORT_COMPILE_COMMANDS OFF)
    set_property(SOURCE ${sources} APPEND PROPERTY OBJECT_DEPENDS ${header} ${PROJECT_SOURCE_DIR}/tests/support/steps.h)
    bufferpool_target_warnings(${target})
endfunction()

# bufferpool_add_test(<name> [INTERNAL|STEPPED] [WRAP <symbol>...] [NO_VALGRIND] [TIMEOUT <seconds>] [LABELS <l>...])
# The program test_<name>.c of the folder becomes the ctest entry <name> and, where valgrind is there, valgrind.<name>.
#   INTERNAL     links the archive and sees src/; without it the test is a user of the shared library
#   STEPPED      as INTERNAL, but each atomic operation calls a function of the test first: stepped.h
#   WRAP         functions that the test replaces by its own __wrap_<symbol>
#   NO_VALGRIND  no second entry under valgrind: too slow there, or the test ends in abort() by design
#   TIMEOUT      for a test of several seconds; 60 otherwise
function(bufferpool_add_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "INTERNAL;STEPPED;NO_VALGRIND" "TIMEOUT" "WRAP;LABELS")
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "bufferpool_add_test(${name}): unknown ${arg_UNPARSED_ARGUMENTS}")
    endif()
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 60)
    endif()
    if(CMAKE_CROSSCOMPILING_EMULATOR)
        math(EXPR arg_TIMEOUT "${arg_TIMEOUT} * 4")
    endif()

    # clang links the runtime of a sanitizer into the program, where --wrap takes hold of its calls too.
    if(arg_WRAP AND BUFFERPOOL_SANITIZE AND CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(STATUS "no test ${name} with the sanitizers of clang; gcc's run it")
        return()
    endif()

    set(target test_${name})
    add_executable(${target} test_${name}.c)
    set_target_properties(${target} PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON)
    target_link_libraries(${target} PRIVATE test_support)
    bufferpool_target_warnings(${target})
    if(arg_STEPPED)
        target_link_libraries(${target} PRIVATE test_stepped)
        target_compile_options(${target} PRIVATE -include ${PROJECT_SOURCE_DIR}/tests/support/stepped.h)
    elseif(arg_INTERNAL)
        target_link_libraries(${target} PRIVATE bufferpool::static)
    endif()
    if(arg_INTERNAL OR arg_STEPPED)
        target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src)
        target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
    else()
        # Where coverage is counted, the archive: what a child counted before it aborts, the support writes out, and a
        # shared library's counts are its own secret.
        target_link_libraries(${target} PRIVATE $<IF:$<BOOL:${BUFFERPOOL_COVERAGE}>,bufferpool::static,bufferpool::shared>)
        # test_dlopen calls nothing of the library, and must not have it from the start.
        target_link_options(${target} PRIVATE LINKER:--as-needed)
        target_compile_definitions(${target} PRIVATE BUFFERPOOL_SHARED_PATH="$<TARGET_FILE:bufferpool_shared>")
    endif()
    list(TRANSFORM arg_WRAP PREPEND "LINKER:--wrap=")
    target_link_options(${target} PRIVATE ${arg_WRAP})

    add_test(NAME ${name} COMMAND ${target})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
    if(bufferpool_valgrind AND NOT arg_NO_VALGRIND)
        add_test(NAME valgrind.${name} COMMAND ${bufferpool_valgrind} $<TARGET_FILE:${target}>)
        set_tests_properties(valgrind.${name} PROPERTIES
            TIMEOUT 300 LABELS "valgrind;${arg_LABELS}" ENVIRONMENT BUFFERPOOL_TEST_SCALE=small)
    endif()
endfunction()

# bufferpool_needs(<group> <program>...): sets BUFFERPOOL_<PROGRAM> to the path of each. If one is missing, the group has
# one test, which says so and fails, and the calling folder has no others.
macro(bufferpool_needs group)
    set(missing "")
    foreach(program IN ITEMS ${ARGN})
        string(TOUPPER ${program} variable)
        string(MAKE_C_IDENTIFIER BUFFERPOOL_${variable} variable)
        find_program(${variable} ${program})
        mark_as_advanced(${variable})
        if(NOT ${variable})
            string(APPEND missing " ${program}")
        endif()
    endforeach()
    if(missing)
        add_test(NAME ${group}.programs COMMAND sh -c "echo 'not installed:${missing}'; exit 1")
        bufferpool_label_tests()
        return()
    endif()
endmacro()

# bufferpool_label_tests(): the tests of this folder get its name as a label (ctest -L docs). A test of the group unit
# counts as three processors, of which the presets have eight: so two tests run at once, and beside them two
# demonstrations, which mostly wait.
function(bufferpool_label_tests)
    get_property(tests DIRECTORY PROPERTY TESTS)
    cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME label)
    set_property(TEST ${tests} APPEND PROPERTY LABELS ${label})
    if(BUFFERPOOL_TEST_GROUP STREQUAL "unit")
        set_property(TEST ${tests} PROPERTY PROCESSORS 3)
    endif()
endfunction()
