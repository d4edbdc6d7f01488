# Runs inside `cmake --install`, with the variables that install.cmake set just before. Puts gdb's commands where gdb looks
# for them when it sees the shared library: below <datadir>/gdb/auto-load, under the library's absolute path, which depends
# on the prefix that holds now. Beside the library would do as well, but ldconfig complains of a file of that name there.
#
# An archive of cpack's is unpacked anywhere: there the path is that in the archive, and the file is for `source`.
set(directory "${CMAKE_INSTALL_PREFIX}/${libdir}")
if(IS_ABSOLUTE "${libdir}")
    set(directory "${libdir}")
elseif(CMAKE_INSTALL_PREFIX MATCHES "/_CPack_Packages/")
    set(directory "/${libdir}")
endif()

set(destination "${CMAKE_INSTALL_PREFIX}/${datadir}")
if(IS_ABSOLUTE "${datadir}")
    set(destination "${datadir}")
endif()
file(INSTALL DESTINATION "${destination}/gdb/auto-load${directory}" TYPE FILE RENAME "libbufferpool.so.${version}-gdb.py"
    FILES "${script}") # puts DESTDIR in front by itself
