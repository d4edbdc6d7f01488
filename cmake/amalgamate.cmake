# SPDX-License-Identifier: MIT
#
# Run by cpack on the staged files, before they are packed: the archive of the sources gets the library as one source.
cmake_minimum_required(VERSION 3.25)
file(GLOB_RECURSE script ${CPACK_TEMPORARY_DIRECTORY}/tools/amalgamate.sh)
if(script)
    cmake_path(GET script PARENT_PATH tools)
    execute_process(COMMAND sh ${script} ${tools}/../amalgamation COMMAND_ERROR_IS_FATAL ANY)
endif()
