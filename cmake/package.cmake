# cpack: a runtime and a development package. They hold what `cmake --install` would put under the configured prefix;
# for a Debian package configure with -DCMAKE_INSTALL_PREFIX=/usr.
set(CPACK_PACKAGE_NAME libbufferpool)
set(CPACK_PACKAGE_VENDOR "The libbufferpool authors")
set(CPACK_PACKAGE_CONTACT "The libbufferpool authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_CURRENT_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_COMPONENTS_ALL runtime development)
set(CPACK_SET_DESTDIR ON) # the configured prefix is the packaged one; bufferpool.pc asks for it

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME libbufferpool${bufferpool_soversion})
set(CPACK_DEBIAN_RUNTIME_PACKAGE_DEPENDS libc6)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libbufferpool-dev)
# The .so link of the one points at the file of the other, of the very same version.
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libbufferpool${bufferpool_soversion} (= ${PROJECT_VERSION})")

include(CPack)
