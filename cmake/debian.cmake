# SPDX-License-Identifier: MIT
#
# Run by cpack on the staged files, before they are packed. Other generators take them as they are; a Debian package gets
# what its policy asks for: compressed manual pages, links where a page only names another, an archive without debugging
# symbols, and a copyright and two changelogs in /usr/share/doc/<package>, where the documentation is, too.
cmake_minimum_required(VERSION 3.25)
if(NOT CPACK_GENERATOR STREQUAL "DEB")
    return()
endif()

function(run)
    execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# compress(<file>): the same bytes whenever and wherever it is done
function(compress file)
    run(gzip -9nf ${file})
    file(CHMOD ${file}.gz PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endfunction()

# The changelog in Debian's form names the release; what is in it stands in the other one.
file(STRINGS ${CPACK_BUFFERPOOL_SOURCE_DIR}/CHANGELOG.md released REGEX "^## \\[[0-9.]+\\] - [0-9-]+$")
function(write_debian_changelog file)
    set(text "")
    set(entries ${released})
    list(GET entries 0 newest)
    # Not yet released: of this moment, so that it is later than a release of today.
    if(NOT newest MATCHES "\\[${CPACK_PACKAGE_VERSION}\\]")
        string(TIMESTAMP now "%Y-%m-%d %H:%M:%S" UTC)
        list(PREPEND entries "## [${CPACK_PACKAGE_VERSION}] - ${now}")
    endif()
    foreach(entry IN LISTS entries)
        string(REGEX MATCH "\\[([0-9.]+)\\] - (.*)$" entry "${entry}")
        set(version ${CMAKE_MATCH_1})
        set(date ${CMAKE_MATCH_2})
        execute_process(COMMAND ${CMAKE_COMMAND} -E env LC_ALL=C date -u -R -d ${date}
            OUTPUT_VARIABLE date OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
        string(APPEND text "libbufferpool (${version}-${CPACK_DEBIAN_PACKAGE_RELEASE}) unstable; urgency=medium\n\n"
            "  * Release ${version}; what is in it: changelog.gz.\n\n -- ${CPACK_PACKAGE_CONTACT}  ${date}\n\n")
    endforeach()
    file(WRITE ${file} "${text}")
endfunction()

function(write_copyright file)
    set(format "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: libbufferpool\n")
    file(READ ${CPACK_BUFFERPOOL_SOURCE_DIR}/LICENSE whole)
    string(REGEX MATCH "Copyright \\(c\\) ([^\n]*)" owner "${whole}")
    set(owner ${CMAKE_MATCH_1})
    string(REGEX REPLACE "^.*Copyright \\(c\\) [^\n]*\n\n" "" body "${whole}")
    string(REGEX REPLACE "\n\n" "\n.\n" body "${body}")
    string(REGEX REPLACE "\n$" "" body "${body}")
    string(REPLACE "\n" "\n " body "${body}")
    set(text "${format}\nFiles: *\nCopyright: ${owner}\nLicense: Expat\n ${body}\n")
    file(WRITE ${file} "${text}")
    file(CHMOD ${file} PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endfunction()

foreach(component IN LISTS CPACK_COMPONENTS_ALL)
    set(root ${CPACK_TEMPORARY_DIRECTORY}/${component})
    string(TOUPPER ${component} upper)
    set(package ${CPACK_DEBIAN_${upper}_PACKAGE_NAME})

    file(GLOB_RECURSE pages ${root}/usr/share/man/*.[1-9])
    foreach(page IN LISTS pages)
        file(STRINGS ${page} so LIMIT_COUNT 1 REGEX "^\\.so ")
        if(so)
            cmake_path(GET so FILENAME target)
            file(REMOVE ${page})
            file(CREATE_LINK ${target}.gz ${page}.gz SYMBOLIC)
        else()
            compress(${page})
        endif()
    endforeach()

    file(GLOB libraries ${root}/usr/lib/*/*.so.*.*)
    foreach(library IN LISTS libraries)
        run(objcopy --remove-section=.comment ${library})
    endforeach()
    file(GLOB_RECURSE archives ${root}/*.a)
    foreach(archive IN LISTS archives)
        run(strip --strip-debug --remove-section=.comment --enable-deterministic-archives ${archive})
    endforeach()

    set(doc ${root}/usr/share/doc/${package})
    file(MAKE_DIRECTORY ${root}/usr/share/doc)
    if(IS_DIRECTORY ${root}${CPACK_BUFFERPOOL_DOCDIR})
        file(REMOVE ${root}${CPACK_BUFFERPOOL_DOCDIR}/LICENSE) # it is in the copyright
        file(RENAME ${root}${CPACK_BUFFERPOOL_DOCDIR} ${doc})
    endif()
    file(MAKE_DIRECTORY ${doc})
    write_copyright(${doc}/copyright)
    file(COPY_FILE ${CPACK_BUFFERPOOL_SOURCE_DIR}/CHANGELOG.md ${doc}/changelog)
    compress(${doc}/changelog)
    write_debian_changelog(${doc}/changelog.Debian)
    compress(${doc}/changelog.Debian)
endforeach()
