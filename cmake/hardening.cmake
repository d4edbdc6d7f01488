# Hardened code for the library, as far as it costs nothing on the paths that are measured: docs/design.md has the figures,
# and what was left out for them.
#
#   -fstack-protector          a check in the functions with arrays of characters
#   -fstack-clash-protection   a frame larger than a page is touched page by page
#   shadow stack (x86)         -fcf-protection=return, and -z shstk: a library without the mark would take the shadow stack
#                              from its whole process. The start files of Debian 12 have none, hence the linker's option.
#   -z relro, -z now           what the loader has filled in is read-only from then on; noplt calls go through it
#   -z noexecstack             also if a source in another language should forget to say so
#
# Private to the targets, so that nobody who uses the library is built with our flags. What the compiler, or CMAKE_C_FLAGS,
# does already is left as it is: a distribution may ask for more.
option(BUFFERPOOL_HARDENING "Harden the library where that costs nothing" ${bufferpool_is_top_level})
include(CheckCCompilerFlag)
include(CheckCSourceCompiles)
include(${CMAKE_CURRENT_LIST_DIR}/linker-flag.cmake)

# bufferpool_unless(<variable> <condition>): whether the preprocessor does not find that condition met already
function(bufferpool_unless variable condition)
    set(CMAKE_TRY_COMPILE_CONFIGURATION "${CMAKE_BUILD_TYPE}") # with the flags of this build type too
    check_c_source_compiles("
        #if ${condition}
        #error already so
        #endif
        int main(void) { return 0; }" ${variable})
endfunction()

if(BUFFERPOOL_HARDENING AND CMAKE_C_COMPILER_ID MATCHES "GNU|Clang")
    set(bufferpool_hardening_compile "")
    set(bufferpool_hardening_link "")

    bufferpool_unless(BUFFERPOOL_LACKS_STACK_PROTECTOR
        "defined __SSP__ || defined __SSP_STRONG__ || defined __SSP_ALL__ || defined __SSP_EXPLICIT__")
    check_c_compiler_flag(-fstack-protector BUFFERPOOL_HAS_STACK_PROTECTOR)
    if(BUFFERPOOL_LACKS_STACK_PROTECTOR AND BUFFERPOOL_HAS_STACK_PROTECTOR)
        list(APPEND bufferpool_hardening_compile -fstack-protector)
    endif()

    check_c_compiler_flag(-fstack-clash-protection BUFFERPOOL_HAS_STACK_CLASH_PROTECTION)
    if(BUFFERPOOL_HAS_STACK_CLASH_PROTECTION)
        list(APPEND bufferpool_hardening_compile -fstack-clash-protection)
    endif()

    # The flag is known for x86 alone; -z shstk would do nothing elsewhere but be complained about.
    bufferpool_unless(BUFFERPOOL_LACKS_SHADOW_STACK "defined __CET__ && __CET__ & 2")
    check_c_compiler_flag(-fcf-protection=return BUFFERPOOL_HAS_SHADOW_STACK)
    if(BUFFERPOOL_HAS_SHADOW_STACK)
        if(BUFFERPOOL_LACKS_SHADOW_STACK)
            list(APPEND bufferpool_hardening_compile -fcf-protection=return)
        endif()
        bufferpool_check_linker_flag(LINKER:-z,shstk BUFFERPOOL_HAS_LINKER_SHADOW_STACK)
        if(BUFFERPOOL_HAS_LINKER_SHADOW_STACK)
            list(APPEND bufferpool_hardening_link LINKER:-z,shstk)
        endif()
    endif()

    foreach(flag IN ITEMS relro now noexecstack)
        bufferpool_check_linker_flag(LINKER:-z,${flag} BUFFERPOOL_HAS_LINKER_${flag})
        if(BUFFERPOOL_HAS_LINKER_${flag})
            list(APPEND bufferpool_hardening_link LINKER:-z,${flag})
        endif()
    endforeach()
endif()

# bufferpool_target_hardening(<target>): one kind of the library. The archive is linked by others, with their flags.
function(bufferpool_target_hardening target)
    if(BUFFERPOOL_HARDENING)
        target_compile_options(${target} PRIVATE ${bufferpool_hardening_compile})
        get_target_property(type ${target} TYPE)
        if(type STREQUAL "SHARED_LIBRARY")
            target_link_options(${target} PRIVATE ${bufferpool_hardening_link})
        endif()
    endif()
endfunction()
