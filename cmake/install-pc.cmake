# Runs inside `cmake --install`, with the variables that install.cmake set just before. Writes bufferpool.pc for the
# prefix that holds now, which may be another than the one configured.
#
# The prefix in the file is relative to the file, so that the tree can be moved, except that
# - under /usr it is plain /usr: pkg-config leaves out -I and -L of system folders only if it recognizes them, and
#   -I/usr/lib/pkgconfig/../../include would upset the order in which headers are found;
# - with an absolute libdir the file lies somewhere else than the prefix, and nothing can be said relative to it.
set(prefix "${CMAKE_INSTALL_PREFIX}")
cmake_path(IS_ABSOLUTE libdir libdir_is_absolute)
if(NOT prefix STREQUAL "/usr" AND NOT libdir_is_absolute)
    set(from "/${libdir}/pkgconfig")
    set(up "/")
    cmake_path(RELATIVE_PATH up BASE_DIRECTORY "${from}")
    set(prefix "\${pcfiledir}/${up}")
    string(REGEX REPLACE "/$" "" prefix "${prefix}")
endif()

# cmake_path(APPEND) takes an absolute path as it is and puts ${prefix}/ in front of a relative one.
set(pc_libdir "\${prefix}")
set(pc_includedir "\${prefix}")
cmake_path(APPEND pc_libdir "${libdir}")
cmake_path(APPEND pc_includedir "${includedir}")

configure_file("${template}" "${output}" @ONLY)

set(destination "${CMAKE_INSTALL_PREFIX}")
cmake_path(APPEND destination "${libdir}" pkgconfig)
file(INSTALL DESTINATION "${destination}" TYPE FILE FILES "${output}") # puts DESTDIR in front by itself
