# A compiler that is told nothing does not optimize, and a get and a put then take eleven times as long. So where nobody
# said how to compile (no build type, no -O in the flags), this project by itself is a Release. As a part of another it
# optimizes its own targets alone, since the build type is the parent's.
#
# A generator with several configurations always has one. A parent's -O may stand in CMAKE_C_FLAGS or come by
# add_compile_options; for either one, nothing is added that would take it back.
set(bufferpool_optimize "")
get_property(several_configurations GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
get_property(inherited_options DIRECTORY PROPERTY COMPILE_OPTIONS)
if(NOT several_configurations AND NOT CMAKE_BUILD_TYPE AND NOT "${CMAKE_C_FLAGS};${inherited_options}" MATCHES "(^|[ ;])-O")
    if(bufferpool_is_top_level)
        message(STATUS "bufferpool: no build type was chosen: Release")
        set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, RelWithDebInfo, MinSizeRel or Debug" FORCE)
    else()
        set(bufferpool_optimize -O2)
    endif()
endif()
