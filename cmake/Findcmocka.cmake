# cmocka comes with a package configuration, but in the 1.1.5 of Debian 12 without a target. This finds any version
# and makes cmocka::cmocka where it is missing.
find_package(cmocka CONFIG QUIET)
if(NOT TARGET cmocka::cmocka)
    find_path(CMOCKA_INCLUDE_DIR cmocka.h)
    find_library(CMOCKA_LIBRARY cmocka)
    mark_as_advanced(CMOCKA_INCLUDE_DIR CMOCKA_LIBRARY)
endif()

include(FindPackageHandleStandardArgs)
if(TARGET cmocka::cmocka)
    find_package_handle_standard_args(cmocka CONFIG_MODE)
else()
    find_package_handle_standard_args(cmocka REQUIRED_VARS CMOCKA_LIBRARY CMOCKA_INCLUDE_DIR
        REASON_FAILURE_MESSAGE "The tests need it (Debian: libcmocka-dev), or -DBUFFERPOOL_BUILD_TESTS=OFF")
endif()

if(cmocka_FOUND AND NOT TARGET cmocka::cmocka)
    add_library(cmocka::cmocka UNKNOWN IMPORTED)
    set_target_properties(cmocka::cmocka PROPERTIES
        IMPORTED_LOCATION "${CMOCKA_LIBRARY}"
        INTERFACE_INCLUDE_DIRECTORIES "${CMOCKA_INCLUDE_DIR}")
endif()
