# Two install components: `runtime` is what a program needs to run, `development` what one needs to build it. Every rule
# names its component; a rule without one would make a third package of its own.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/bufferpool)

# One export file per kind: a distribution may leave the archive out, with its export file, and the rest still works.
foreach(kind IN ITEMS shared static)
    if(TARGET bufferpool_${kind})
        install(TARGETS bufferpool_${kind} EXPORT bufferpool-${kind}-targets
            LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development
            ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development
            INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
        install(EXPORT bufferpool-${kind}-targets NAMESPACE bufferpool::
            DESTINATION ${package_dir} COMPONENT development)
    endif()
endforeach()

install(FILES ${bufferpool_root}/include/bufferpool.h
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
install(FILES ${bufferpool_root}/include/bufferpool/bufferpool.hpp
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/bufferpool COMPONENT development)

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/bufferpool-config.cmake.in bufferpool-config.cmake
    INSTALL_DESTINATION ${package_dir}
    PATH_VARS CMAKE_INSTALL_LIBDIR
    NO_SET_AND_CHECK_MACRO)
# A break of the interface raises the major version, also while it is 0: see CONTRIBUTING.md.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/bufferpool-config-version.cmake
    COMPATIBILITY SameMajorVersion)
install(FILES
    ${CMAKE_CURRENT_BINARY_DIR}/bufferpool-config.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/bufferpool-config-version.cmake
    DESTINATION ${package_dir} COMPONENT development)

# bufferpool.pc depends on the prefix, and that is known for sure only when `cmake --install` runs.
install(CODE "
    set(template [[${CMAKE_CURRENT_SOURCE_DIR}/bufferpool.pc.in]])
    set(output [[${CMAKE_CURRENT_BINARY_DIR}/bufferpool.pc]])
    set(version [[${PROJECT_VERSION}]])
    set(description [[${PROJECT_DESCRIPTION}]])
    set(libdir [[${CMAKE_INSTALL_LIBDIR}]])
    set(includedir [[${CMAKE_INSTALL_INCLUDEDIR}]])
    " COMPONENT development)
install(SCRIPT ${CMAKE_CURRENT_LIST_DIR}/install-pc.cmake COMPONENT development)

# What gdb loads by itself with the shared library; with the static one it is for `source`.
install(CODE "
    set(script [[${CMAKE_CURRENT_SOURCE_DIR}/tools/gdb/bufferpool-gdb.py]])
    set(version [[${PROJECT_VERSION}]])
    set(libdir [[${CMAKE_INSTALL_LIBDIR}]])
    set(datadir [[${CMAKE_INSTALL_DATADIR}]])
    " COMPONENT development)
install(SCRIPT ${CMAKE_CURRENT_LIST_DIR}/install-gdb.cmake COMPONENT development)

install(PROGRAMS tools/bufferpool-top DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT development)

# The manual: a page per family of functions, and for each function a page that leads to it.
set(man_dir ${bufferpool_root}/docs/man)
file(GLOB pages CONFIGURE_DEPENDS ${man_dir}/*.3)
install(FILES ${man_dir}/bufferpool-top.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT development)
install(FILES ${man_dir}/bufferpool.7 DESTINATION ${CMAKE_INSTALL_MANDIR}/man7 COMPONENT development)
foreach(page IN LISTS pages)
    get_filename_component(file ${page} NAME)
    install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man3 COMPONENT development)
    file(STRINGS ${page} names REGEX "^\\.Nm bufferpool_")
    foreach(name IN LISTS names)
        string(REGEX REPLACE "^\\.Nm ([a-z_]+).*" "\\1.3" alias "${name}")
        if(NOT alias STREQUAL file)
            file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/man/${alias} ".so man3/${file}\n")
            install(FILES ${CMAKE_CURRENT_BINARY_DIR}/man/${alias}
                DESTINATION ${CMAKE_INSTALL_MANDIR}/man3 COMPONENT development)
        endif()
    endforeach()
endforeach()

# The licence, the pages for users and operators, and the examples, in the folders that they have here, so that links
# between them hold. The documentation folder of a parent project is the parent's. meson.build reads this list.
set(bufferpool_pages
    docs/debugging.md
    docs/faq.md
    docs/guide/1-first-program.md
    docs/guide/2-threads.md
    docs/guide/3-event-loop.md
    docs/guide/4-budget.md
    docs/guide/5-content.md
    docs/guide/6-libraries.md
    docs/guide/7-tuning.md
    docs/guide/8-debugging.md
    docs/guide/9-operations.md
    docs/guide/README.md
    docs/metrics.md
    docs/migrating.md
    docs/numa.md
    docs/operations.md
    docs/packaging.md
    docs/scaling.md
    docs/system-calls.md
    docs/tracing.md
    docs/tuning.md
    docs/monitoring/alerts.yml
    docs/monitoring/grafana-dashboard.json
)
set(doc_dir ${CMAKE_INSTALL_DATAROOTDIR}/doc/bufferpool)
if(bufferpool_is_top_level)
    set(doc_dir ${CMAKE_INSTALL_DOCDIR})
endif()
install(FILES ${bufferpool_root}/LICENSE DESTINATION ${doc_dir} COMPONENT development)
foreach(page IN LISTS bufferpool_pages)
    get_filename_component(folder ${page} DIRECTORY)
    install(FILES ${bufferpool_root}/${page} DESTINATION ${doc_dir}/${folder} COMPONENT development)
endforeach()
install(DIRECTORY ${bufferpool_root}/examples DESTINATION ${doc_dir} COMPONENT development
    FILES_MATCHING PATTERN "*.c" PATTERN "*.cpp" PATTERN "*.h" PATTERN "*.md")

if(bufferpool_is_top_level)
    add_custom_target(uninstall VERBATIM COMMAND ${CMAKE_COMMAND}
        -D manifest=${CMAKE_CURRENT_BINARY_DIR}/install_manifest.txt -P ${CMAKE_CURRENT_LIST_DIR}/uninstall.cmake)
    if(NOT CMAKE_VERSION VERSION_LESS 3.25)
        include(${CMAKE_CURRENT_LIST_DIR}/package.cmake)
    endif()
endif()
