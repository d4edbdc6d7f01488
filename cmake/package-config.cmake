# SPDX-License-Identifier: MIT
#
# Read by cpack once per generator, after CPackConfig.cmake.
#
# A Debian package holds the configured prefix, and bufferpool.pc asks for it. Archives are unpacked anywhere: theirs
# begins with one folder, and what is in it finds itself relative to itself.
if(CPACK_GENERATOR STREQUAL "DEB")
    set(CPACK_SET_DESTDIR ON)
    if(CPACK_DEBIAN_RUNTIME_DEBUGINFO_PACKAGE)
        set(CPACK_STRIP_FILES OFF)
    else()
        set(CPACK_STRIP_FILES ON)
    endif()
else()
    set(CPACK_SET_DESTDIR OFF)
    set(CPACK_PACKAGING_INSTALL_PREFIX "")
    set(CPACK_STRIP_FILES ON)
endif()
