# Runs inside `cmake --install`, with the variables that install.cmake set just before. Writes bufferpool.pc for the
# prefix that holds now, which may be another than the one configured.
#
# The prefix in the file is relative to the file, so that the tree can be moved, except that
# - under /usr it is plain /usr: pkg-config leaves out -I and -L of system folders only if it recognizes them, and
#   -I/usr/lib/pkgconfig/../../include would upset the order in which headers are found;
# - with an absolute libdir the file lies somewhere else than the prefix, and nothing can be said relative to it.
set(prefix "${CMAKE_INSTALL_PREFIX}")
if(NOT prefix STREQUAL "/usr" AND NOT IS_ABSOLUTE "${libdir}")
    file(RELATIVE_PATH up "/${libdir}/pkgconfig" "/")
    set(prefix "\${pcfiledir}/${up}")
    string(REGEX REPLACE "/$" "" prefix "${prefix}")
endif()

foreach(folder IN ITEMS libdir includedir)
    set(pc_${folder} "${${folder}}")
    if(NOT IS_ABSOLUTE "${${folder}}")
        set(pc_${folder} "\${prefix}/${${folder}}")
    endif()
endforeach()

configure_file("${template}" "${output}" @ONLY)

set(destination "${CMAKE_INSTALL_PREFIX}/${libdir}")
if(IS_ABSOLUTE "${libdir}")
    set(destination "${libdir}")
endif()
file(INSTALL DESTINATION "${destination}/pkgconfig" TYPE FILE FILES "${output}") # puts DESTDIR in front by itself
