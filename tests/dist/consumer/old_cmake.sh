# old_cmake.sh words|build: the library can be configured, built, installed, found, embedded and removed by CMake 3.16.
#
#   words   the files that have a part in this name nothing that came later. Everywhere
#   build   a CMake of 3.16 or 3.17 does all of it, where there is one: -DBUFFERPOOL_OLD_CMAKE=<program>
. "$(dirname "$0")/common.sh"

words()
{
    # Commands, options and variables from 3.17 on, as far as somebody could want them here. Comments do not count.
    newer='cmake_path|cmake_language|FILE_SET|TYPE HEADERS|VERIFY_INTERFACE|PROJECT_IS_TOP_LEVEL|COMMAND_ERROR_IS_FATAL'
    newer="$newer|CheckLinkerFlag|\\bcheck_linker_flag|CheckCompilerFlag|\\bcheck_compiler_flag"
    newer="$newer|CheckSourceCompiles|\\bcheck_source_compiles|ZIP_LISTS|CMAKE_CURRENT_FUNCTION|CMAKE_MESSAGE_CONTEXT"
    newer="$newer|file *\( *(CONFIGURE|REAL_PATH|CHMOD|CHMOD_RECURSE|COPY_FILE|ARCHIVE_CREATE|ARCHIVE_EXTRACT)\\b"
    newer="$newer|CHECK_(START|PASS|FAIL)|string *\( *JSON|PROPAGATE|block *\("
    newer="$newer|find_(program|library|path|file) *\([^)]*\bREQUIRED\b|\bNATURAL\b|\bDEFER\b"
    newer="$newer|PATH_EQUAL|HANDLE_VERSION_RANGE|_LINKER_LAUNCHER|LINK_LIBRARY:|LINK_GROUP:|BUILD_LOCAL_INTERFACE"
    # What has a fallback stands on a line with the version, or in a file that only newer ones read.
    cd "$SOURCE"
    for file in CMakeLists.txt docs/CMakeLists.txt cmake/*.cmake cmake/*.cmake.in; do
        case $file in
        */package.cmake | */package-config.cmake | */debian*.cmake | */amalgamate.cmake | */coverage.cmake | */Findcmocka.cmake) continue ;;
        esac
        echo "$file"
        if sed 's/#.*//' "$file" | grep -nE "$newer"; then
            fail "$file: the line above needs a CMake that is newer than 3.16"
        fi
    done
    grep -q '^cmake_minimum_required(VERSION 3\.16\.\.\.' CMakeLists.txt || fail "CMakeLists.txt asks for a newer CMake"
    echo 'cmake_path(GET a FILENAME b)' | grep -qE "$newer" || fail "a newer command is not seen"
}

# app KIND TARGET [OPTION...]: a program that finds the copy in $prefix by the old CMake
app()
{
    kind=$1 target=$2
    shift 2
    rm -rf "$work/app"
    configure "$here/find_package" "$work/app" -DCMAKE_PREFIX_PATH="$prefix" -DTARGET="$target" "$@"
    "$CMAKE" --build "$work/app"
    "$work/app/app" "$kind" "$prefix"
}

build()
{
    case $("$CMAKE" --version | head -n 1) in
    *' 3.16.'* | *' 3.17.'*) ;;
    *) fail "$CMAKE is not of 3.16 or 3.17" ;;
    esac

    alone="-DBUFFERPOOL_BUILD_TESTS=OFF -DBUFFERPOOL_BUILD_EXAMPLES=OFF"
    # shellcheck disable=SC2086 # several words
    configure "$SOURCE" "$work/build" $alone -DBUFFERPOOL_WERROR=ON
    "$CMAKE" --build "$work/build"
    prefix=$work/prefix
    "$CMAKE" --install "$work/build" --prefix "$prefix"

    # Its own copy, and that which the CMake of this build installed. The same files are in both.
    for prefix in "$work/prefix" "$(prefix_of staged)"; do
        (cd "$prefix" && find . ! -type d) |
            sed "s/-targets-[a-z]*\.cmake/-targets-CONFIG.cmake/; s|/auto-load$prefix/|/auto-load/|" | sort \
            >"$work/listing-$(basename "$prefix")"
        app shared bufferpool::bufferpool
        app static bufferpool::bufferpool -DBUILD_SHARED_LIBS=OFF
        app shared bufferpool::shared "-DARGUMENTS=COMPONENTS;shared"
        app static bufferpool::static "-DARGUMENTS=COMPONENTS;static"
    done
    diff "$work/listing-prefix" "$work/listing-staged" || fail "the two CMakes install different files"

    configure "$here/subproject" "$work/parent" -DBUFFERPOOL_TREE="$SOURCE" -DBUFFERPOOL_BUILD_SHARED=ON \
        -DBUFFERPOOL_BUILD_STATIC=ON
    "$CMAKE" --build "$work/parent"
    "$work/parent/app-shared" shared "$work/parent"
    "$work/parent/app-static" static "$work/parent"

    "$CMAKE" --build "$work/build" --target uninstall
    left=$(find "$work/prefix" ! -type d)
    test -z "$left" || fail "this is left after uninstall: $left"

    # What needs a newer one says so.
    if configure "$SOURCE" "$work/tests" -DBUFFERPOOL_BUILD_EXAMPLES=OFF >"$work/log" 2>&1; then
        fail "the tests were configured"
    fi
    tr -s ' \n' '  ' <"$work/log" | grep -q "tests, examples and benchmarks need 3.25" ||
        fail "no clear message: $(cat "$work/log")"
}

if [ "$1" = build ]; then
    if [ -z "$OLD_CMAKE" ]; then
        echo "SKIPPED: no CMake 3.16 (-DBUFFERPOOL_OLD_CMAKE=<program>)"
        exit 77
    fi
    CMAKE=$OLD_CMAKE
fi
"$1"
