# Replays the seeds by a plain program, for compilers without libFuzzer and for valgrind: tests fuzz.corpus and, where
# valgrind is there, valgrind.fuzz.corpus. To be included after support/tests.cmake.
add_executable(fuzz_replay
    ${CMAKE_CURRENT_LIST_DIR}/replay.c
    ${CMAKE_CURRENT_LIST_DIR}/sequence.c
    ${CMAKE_CURRENT_LIST_DIR}/model.c
    ${CMAKE_CURRENT_LIST_DIR}/crew.c
    ${CMAKE_CURRENT_LIST_DIR}/blocks.c
    ${CMAKE_CURRENT_LIST_DIR}/report.c)
set_target_properties(fuzz_replay PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON)
target_compile_definitions(fuzz_replay PRIVATE _GNU_SOURCE)
target_link_libraries(fuzz_replay PRIVATE bufferpool::static Threads::Threads)
target_link_options(fuzz_replay PRIVATE LINKER:--wrap=clock_gettime,--wrap=sched_getcpu) # in sequence.c
bufferpool_target_warnings(fuzz_replay)

file(GLOB fuzz_seeds CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/corpus/*)
add_test(NAME fuzz.corpus COMMAND fuzz_replay ${fuzz_seeds})
set_tests_properties(fuzz.corpus PROPERTIES TIMEOUT 120 SKIP_RETURN_CODE 77)
if(bufferpool_valgrind)
    add_test(NAME valgrind.fuzz.corpus COMMAND ${bufferpool_valgrind} $<TARGET_FILE:fuzz_replay> ${fuzz_seeds})
    set_tests_properties(valgrind.fuzz.corpus PROPERTIES TIMEOUT 300 LABELS valgrind SKIP_RETURN_CODE 77)
endif()
