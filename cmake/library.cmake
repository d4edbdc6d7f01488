include(${CMAKE_CURRENT_LIST_DIR}/linker-flag.cmake)

get_filename_component(bufferpool_root ${CMAKE_CURRENT_LIST_DIR} DIRECTORY)

# bufferpool_add_library(SHARED|STATIC <source>...): one kind of the library, with the target name that it has after
# installation too. Each kind compiles the sources for itself: see BUFFERPOOL_STATIC below.
function(bufferpool_add_library kind)
    string(TOLOWER ${kind} name)
    set(target bufferpool_${name})

    add_library(${target} ${kind} ${ARGN})
    add_library(bufferpool::${name} ALIAS ${target})
    # Users of the installed copy get the folder by INCLUDES DESTINATION in install.cmake. A FILE_SET would give it to
    # CMake 3.23 and later alone: older ones, and Meson's cmake method, would find the library and miss the header.
    target_include_directories(${target}
        PUBLIC $<BUILD_INTERFACE:${bufferpool_root}/include> PRIVATE ${bufferpool_root}/src)
    target_compile_definitions(${target} PRIVATE _GNU_SOURCE $<$<NOT:$<BOOL:${BUFFERPOOL_DEBUG_MODES}>>:BUFFERPOOL_NO_DEBUG_MODES>)
    # dladdr was in a library of its own before glibc 2.34
    target_link_libraries(${target} PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
    # Hidden and position-independent also in the archive: a shared library that embeds it must link, and must not
    # export our functions as its own.
    set_target_properties(${target} PROPERTIES
        OUTPUT_NAME bufferpool
        EXPORT_NAME ${name}
        C_STANDARD 11
        C_STANDARD_REQUIRED ON
        C_EXTENSIONS OFF
        C_VISIBILITY_PRESET hidden
        POSITION_INDEPENDENT_CODE ON)
    target_compile_options(${target} PRIVATE ${bufferpool_optimize})
    bufferpool_target_warnings(${target})
    bufferpool_target_hardening(${target})

    if(kind STREQUAL "STATIC")
        # Takes the default visibility from BUFFERPOOL_API in the public header.
        target_compile_definitions(${target} PUBLIC BUFFERPOOL_STATIC)
    else()
        bufferpool_link_shared(${target})
    endif()
endfunction()

function(bufferpool_link_shared target)
    set(map ${bufferpool_root}/src/bufferpool.map)
    set_target_properties(${target} PROPERTIES
        VERSION ${PROJECT_VERSION}
        SOVERSION ${bufferpool_soversion}
        LINK_DEPENDS ${map}) # else an edit of the map changes nothing
    # nodelete: a thread that outlives dlclose still has our thread-specific-data destructor to run.
    target_link_options(${target} PRIVATE LINKER:--version-script=${map} LINKER:-z,nodelete)
    # The sanitizers leave their own symbols to the executable.
    if(NOT BUFFERPOOL_SANITIZE)
        target_link_options(${target} PRIVATE LINKER:-z,defs)
    endif()
    # Without it a misspelt name in the map passes silently. Linkers older than binutils 2.40 do not know it.
    bufferpool_check_linker_flag(LINKER:--no-undefined-version BUFFERPOOL_HAS_NO_UNDEFINED_VERSION)
    if(BUFFERPOOL_HAS_NO_UNDEFINED_VERSION)
        target_link_options(${target} PRIVATE LINKER:--no-undefined-version)
    endif()
endfunction()

# bufferpool::bufferpool is what BUILD_SHARED_LIBS asks for, else the shared library if there, else the static one; the
# package configuration chooses in the same way.
function(bufferpool_choose_default)
    set(kind shared)
    if(TARGET bufferpool_static AND (NOT TARGET bufferpool_shared OR (DEFINED BUILD_SHARED_LIBS AND NOT BUILD_SHARED_LIBS)))
        set(kind static)
    endif()
    add_library(bufferpool::bufferpool ALIAS bufferpool_${kind})
endfunction()
