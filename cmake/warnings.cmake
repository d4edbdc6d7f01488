# bufferpool_target_warnings(<target>...): what we want to be told about our own code. Private to each target, so that nobody
# who uses the library compiles with our taste.
function(bufferpool_target_warnings)
    foreach(target IN LISTS ARGN)
        target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef -Wvla
            $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes>)
        # Presets set this. A release must still build when a compiler learns a new warning.
        if(BUFFERPOOL_WERROR AND CMAKE_VERSION VERSION_LESS 3.24)
            target_compile_options(${target} PRIVATE -Werror)
        elseif(BUFFERPOOL_WERROR)
            set_target_properties(${target} PROPERTIES COMPILE_WARNING_AS_ERROR ON)
        endif()
    endforeach()
endfunction()
