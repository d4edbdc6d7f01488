# cpack, all of it: Debian packages (-G DEB), an archive of what is installed (-G TGZ), and by way of
# CPackSourceConfig.cmake an archive of the sources. docs/packaging.md says how they are used.
#
# The packages hold what `cmake --install` would put under the configured prefix; for Debian that is /usr:
# configure with -DCMAKE_INSTALL_PREFIX=/usr. package-config.cmake sets what one generator needs and the others do not;
# debian.cmake and debian-finish.cmake make of the packages what Debian asks for.
# Nobody reads mail at that address, so that no letter about somebody's packages goes astray.
set(BUFFERPOOL_PACKAGE_CONTACT "Maintainer not set <not-set@bufferpool.invalid>" CACHE STRING
    "Maintainer of the Debian packages: a person who builds them for others")
set(BUFFERPOOL_PACKAGE_RELEASE 1 CACHE STRING "Which build of this version: 1 in 0.2.0-1")

set(CPACK_PACKAGE_NAME libbufferpool)
set(CPACK_PACKAGE_VENDOR "The libbufferpool authors")
set(CPACK_PACKAGE_CONTACT "${BUFFERPOOL_PACKAGE_CONTACT}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "pool of scratch buffers for servers") # no article, says Debian
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_CURRENT_SOURCE_DIR}/LICENSE)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_COMPONENTS_ALL runtime development)
set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_CURRENT_LIST_DIR}/package-config.cmake)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/debian.cmake ${CMAKE_CURRENT_LIST_DIR}/amalgamate.cmake)
set(CPACK_POST_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/debian-finish.cmake)
set(CPACK_BUFFERPOOL_SOURCE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
set(CPACK_BUFFERPOOL_DOCDIR ${CMAKE_INSTALL_FULL_DOCDIR})

# The sources: what is tracked, as far as that can be said without git, and amalgamation/. Folders above this tree may
# have the names of those that are left out.
string(REGEX REPLACE "([][+.*()^$?|\\\\])" "\\\\\\1" root "${CMAKE_CURRENT_SOURCE_DIR}")
set(CPACK_SOURCE_PACKAGE_FILE_NAME libbufferpool-${PROJECT_VERSION})
set(CPACK_SOURCE_GENERATOR TGZ)
set(CPACK_SOURCE_IGNORE_FILES
    "^${root}/(\\.git|build|amalgamation|\\.cache)(/|$)" "/__pycache__(/|$)" "/CMakeUserPresets\\.json$"
    "/compile_commands\\.json$" "/\\.[^/]*\\.sw.$" "~$")

# libbufferpool0-dbgsym, if there is something to put into it. cpack strips as it makes that one, and debian.cmake the rest.
set(CPACK_BUFFERPOOL_DEBUG_SYMBOLS OFF)
if(CMAKE_BUILD_TYPE MATCHES "^(Debug|RelWithDebInfo)$")
    set(CPACK_BUFFERPOOL_DEBUG_SYMBOLS ON)
endif()

set(runtime libbufferpool${bufferpool_soversion})
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE ${BUFFERPOOL_PACKAGE_RELEASE})
set(CPACK_DEBIAN_PACKAGE_SOURCE libbufferpool)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME ${runtime})
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_RUNTIME_DESCRIPTION "Buffers that are got, filled and put back in a few nanoseconds, under an exact
cap on those in existence, and the memory of a burst goes back to the system.

This package holds the shared library.")
file(CONFIGURE OUTPUT triggers CONTENT "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_BINARY_DIR}/triggers)

# Which libc6 the library needs, and which package those need that are linked with it. For that cpack looks for shared
# libraries with file(1).
find_program(BUFFERPOOL_FILE file)
mark_as_advanced(BUFFERPOOL_FILE)
if(CMAKE_CROSSCOMPILING OR NOT BUFFERPOOL_FILE)
    set(CPACK_DEBIAN_RUNTIME_PACKAGE_DEPENDS libc6)
else()
    set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
    set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
    set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
    set(CPACK_DEBIAN_RUNTIME_DEBUGINFO_PACKAGE ${CPACK_BUFFERPOOL_DEBUG_SYMBOLS})
endif()

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libbufferpool-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION "Buffers that are got, filled and put back in a few nanoseconds, under an exact
cap on those in existence, and the memory of a burst goes back to the system.

This package holds the headers, the static library, the manual, the guide and
pages for operators, examples, and what pkg-config and CMake need to find the
library.")
# The .so link of the one points at the file of the other, of the very same version.
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
    "${runtime} (= ${PROJECT_VERSION}-${BUFFERPOOL_PACKAGE_RELEASE}), libc6-dev")
# For bufferpool-top, which is not why people install the package.
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_RECOMMENDS python3)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SUGGESTS gdb)

include(CPack)
