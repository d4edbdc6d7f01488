include(CheckCSourceCompiles)

# bufferpool_check_linker_flag(<flag> <variable>): whether the linker knows the flag. Some linkers only warn of one that
# they do not know. CMake has had a module for this since 3.18.
function(bufferpool_check_linker_flag flag variable)
    set(CMAKE_REQUIRED_LINK_OPTIONS ${flag})
    check_c_source_compiles("int main(void) { return 0; }" ${variable}
        FAIL_REGEX "[Uu]n(known|recognized|supported)|[Ii]gnor")
endfunction()
