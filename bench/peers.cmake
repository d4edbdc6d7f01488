# The contestants. Each is a program made from harness.c, workloads.c, burst.c and an adapter of peers/, and a line in
# peers.tsv with its name, its environment, its version and its program. A contestant that is not installed is skipped
# with a message.
find_package(PkgConfig)
set(BENCH_TARGETS "")
set_property(GLOBAL PROPERTY bench_peers "")
set_property(GLOBAL PROPERTY bench_missing "")

execute_process(COMMAND getconf GNU_LIBC_VERSION OUTPUT_VARIABLE BENCH_GLIBC_VERSION OUTPUT_STRIP_TRAILING_WHITESPACE
    ERROR_QUIET)
string(REPLACE "glibc " "" BENCH_GLIBC_VERSION "${BENCH_GLIBC_VERSION}")

function(bench_line name environment version program)
    set_property(GLOBAL APPEND_STRING PROPERTY bench_peers "${name}\t${environment}\t${version}\t${program}\n")
    set_property(GLOBAL PROPERTY bench_program_${name} ${program})
    set_property(GLOBAL PROPERTY bench_environment_${name} ${environment})
    set_property(GLOBAL PROPERTY bench_version_${name} ${version})
endfunction()

function(bench_skip name missing)
    message(STATUS "bench: ${name} is skipped: no ${missing} here")
    set_property(GLOBAL APPEND_STRING PROPERTY bench_missing "${name}\n")
endfunction()

# bench_add_peer(<adapter> <name> [VERSION v] [LIBRARIES l...] [DEFINITIONS d...])
function(bench_add_peer adapter name)
    cmake_parse_arguments(PEER "" "VERSION" "LIBRARIES;DEFINITIONS" ${ARGN})
    set(target bench-${name})
    add_executable(${target} harness.c workloads.c burst.c)
    set_target_properties(${target} PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON)
    target_compile_definitions(${target} PRIVATE _GNU_SOURCE ${PEER_DEFINITIONS}
        PEER_ADAPTER="peers/${adapter}.h" PEER_NAME="${name}")
    target_link_libraries(${target} PRIVATE ${PEER_LIBRARIES} Threads::Threads ${CMAKE_DL_LIBS})
    bufferpool_target_warnings(${target})
    if(NOT PEER_VERSION)
        set(PEER_VERSION -)
    endif()
    bench_line(${name} - ${PEER_VERSION} $<TARGET_FILE:${target}>)
    set(BENCH_TARGETS ${BENCH_TARGETS} ${target} PARENT_SCOPE)
endfunction()

# bench_add_package(<adapter> <name> <pkg-config module>...): adds it if pkg-config finds it. The first module has the
# version.
function(bench_add_package adapter name)
    if(PKG_CONFIG_FOUND)
        pkg_check_modules(bench_${adapter} QUIET IMPORTED_TARGET ${ARGN})
    endif()
    if(NOT bench_${adapter}_FOUND)
        bench_skip(${name} "${ARGN}")
        return()
    endif()
    list(GET ARGN 0 module)
    set(version ${bench_${adapter}_VERSION})
    if(NOT version)
        set(version ${bench_${adapter}_${module}_VERSION})
    endif()
    bench_add_peer(${adapter} ${name} VERSION "${version}" LIBRARIES PkgConfig::bench_${adapter})
    set(BENCH_TARGETS ${BENCH_TARGETS} PARENT_SCOPE)
endfunction()

# bench_add_environment(<name> <peer> <VARIABLE=value>): adds the peer once more, tuned by that variable
function(bench_add_environment name peer setting)
    get_property(program GLOBAL PROPERTY bench_program_${peer})
    get_property(environment GLOBAL PROPERTY bench_environment_${peer})
    get_property(version GLOBAL PROPERTY bench_version_${peer})
    if(NOT program)
        bench_skip(${name} ${peer})
        return()
    endif()
    string(REGEX REPLACE "^- " "" environment "${environment} ${setting}")
    bench_line(${name} ${environment} ${version} ${program})
endfunction()

# bench_add_preload(<name> <library> <file name>...): adds a malloc, which its users preload. They need no header for
# that, so this does not ask for the file that the development package adds.
function(bench_add_preload name library)
    find_library(BENCH_${name}_LIBRARY NAMES ${ARGN} ${library})
    if(NOT BENCH_${name}_LIBRARY)
        bench_skip(${name} ${library})
        return()
    endif()
    # The version that its users know, if the package has it, otherwise that of the file.
    if(PKG_CONFIG_FOUND)
        pkg_search_module(bench_${name} QUIET ${library} lib${library})
    endif()
    set(version "${bench_${name}_VERSION}")
    if(NOT version)
        file(REAL_PATH ${BENCH_${name}_LIBRARY} file)
        string(REGEX REPLACE "^.*\\.so\\.?" "" version ${file})
    endif()
    get_property(program GLOBAL PROPERTY bench_program_glibc)
    bench_line(${name} LD_PRELOAD=${BENCH_${name}_LIBRARY} ${version} ${program})
endfunction()

# Adds our own contestants, each in a shared library of its own.
function(bench_add_own_peers)
    foreach(peer IN ITEMS null floor floor-counter magazines mutex)
        string(REPLACE "floor-counter" floor source ${peer})
        add_library(bench_own_${peer} SHARED peers/own_${source}.c)
        set_target_properties(bench_own_${peer} PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON)
        # as for libbufferpool, otherwise thread-local storage would take 4 ns of each pair
        target_compile_options(bench_own_${peer} PRIVATE -ftls-model=initial-exec)
        target_link_libraries(bench_own_${peer} PRIVATE Threads::Threads)
        bufferpool_target_warnings(bench_own_${peer})
        set(definitions "")
        if(peer MATCHES "floor")
            set(definitions PEER_KEEPS_APART=1)
        endif()
        bench_add_peer(own ${peer} LIBRARIES bench_own_${peer} DEFINITIONS ${definitions})
    endforeach()
    target_compile_definitions(bench_own_floor-counter PRIVATE OWN_COUNTER)
    set(BENCH_TARGETS ${BENCH_TARGETS} PARENT_SCOPE)
endfunction()

# Adds Go, which has the same workloads in a program of its own.
function(bench_add_go_peers)
    find_program(BENCH_GO go)
    if(NOT BENCH_GO)
        bench_skip(go-sync-pool go)
        return()
    endif()
    execute_process(COMMAND ${BENCH_GO} env GOVERSION OUTPUT_VARIABLE version OUTPUT_STRIP_TRAILING_WHITESPACE)
    set(program ${CMAKE_CURRENT_BINARY_DIR}/bench-go)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/go/*.go ${CMAKE_CURRENT_SOURCE_DIR}/go/go.mod)
    add_custom_command(OUTPUT ${program}
        COMMAND ${CMAKE_COMMAND} -E env GOCACHE=${CMAKE_CURRENT_BINARY_DIR}/go-cache GOFLAGS=-mod=mod
                ${BENCH_GO} build -o ${program} .
        WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/go
        DEPENDS ${sources} VERBATIM COMMENT "Building bench-go")
    add_custom_target(build-bench-go ALL DEPENDS ${program})
    bench_line(go-sync-pool BENCH_PEER=sync-pool ${version} ${program})
    bench_line(go-original BENCH_PEER=original ${version} ${program})
    bench_line(go-original-capped BENCH_PEER=original-capped ${version} ${program})
    set(BENCH_TARGETS ${BENCH_TARGETS} build-bench-go PARENT_SCOPE)
endfunction()

function(bench_write_peers file)
    get_property(peers GLOBAL PROPERTY bench_peers)
    get_property(missing GLOBAL PROPERTY bench_missing)
    string(REGEX REPLACE "([^\n]+)\n" "#missing\t\\1\n" missing "${missing}")
    string(TOUPPER "${CMAKE_BUILD_TYPE}" type)
    string(STRIP "${CMAKE_C_FLAGS} ${CMAKE_C_FLAGS_${type}}" flags)
    file(GENERATE OUTPUT ${file} CONTENT "#compiler\t${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}\n\
#flags\t${flags}\n#libbufferpool\t${PROJECT_VERSION}\n#demo\t$<TARGET_FILE:bufferpool-demo>\n${missing}${peers}")
endfunction()
