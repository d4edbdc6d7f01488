# SPDX-License-Identifier: MIT
#
# Run by cpack when the packages are made: puts right what it (3.25) leaves wrong in Debian's eyes and offers no setting
# for. A library needs the ldconfig trigger and no maintainer scripts that do the same again; and the checksums of the
# -dbgsym package name its file by the path on this machine.
cmake_minimum_required(VERSION 3.25)
if(NOT CPACK_GENERATOR STREQUAL "DEB")
    return()
endif()

function(run)
    execute_process(COMMAND ${ARGN} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
endfunction()

foreach(package IN LISTS CPACK_PACKAGE_FILES)
    set(tree ${package}.tree)
    file(REMOVE_RECURSE ${tree})
    run(dpkg-deb --raw-extract ${package} ${tree})
    file(REMOVE ${tree}/DEBIAN/postinst ${tree}/DEBIAN/postrm)
    if(package MATCHES "-dbgsym_")
        file(READ ${tree}/DEBIAN/control control)
        string(REGEX MATCH "\nDepends: ([^ \n]+)" depends "${control}")
        set(doc usr/share/doc)
        file(MAKE_DIRECTORY ${tree}/${doc})
        # Its documents are those of the package that it needs.
        file(CREATE_LINK ${CMAKE_MATCH_1} ${tree}/${doc}/${CMAKE_MATCH_1}-dbgsym SYMBOLIC)
        file(GLOB_RECURSE files RELATIVE ${tree} ${tree}/usr/lib/*)
        file(WRITE ${tree}/DEBIAN/md5sums "")
        foreach(file IN LISTS files)
            file(CHMOD ${tree}/${file} PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
            file(MD5 ${tree}/${file} sum)
            file(APPEND ${tree}/DEBIAN/md5sums "${sum}  ${file}\n")
        endforeach()
        file(CHMOD ${tree}/DEBIAN/md5sums PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
    endif()
    run(find ${tree} -type d -exec chmod 755 {} +) # whatever the umask
    run(dpkg-deb --root-owner-group --build ${tree} ${package})
    file(REMOVE_RECURSE ${tree})
endforeach()
