# meson.sh built|subproject|found: the library as Meson builds it, and as Meson's projects find it
#
#   built        by itself: the same functions, the same marks in the file, the same sources and flags, and the same
#                files installed as by CMake, but for CMake's package configuration; programs use it by pkg-config
#   subproject   as a part of another project, which gets nothing but the library
#   found        the copy that CMake installed, by pkg-config and by CMake's package configuration
. "$(dirname "$0")/common.sh"

if ! command -v meson >/dev/null; then
    echo "SKIPPED: no meson"
    exit 77
fi
export CC
cd "$work"

# consumer [OPTION...]: configures the program in meson/, in a folder of its own with the library among its subprojects
consumer()
{
    rm -rf tree build
    mkdir -p tree/subprojects
    cp "$here/meson/meson.build" "$here/meson/meson_options.txt" "$here/app.c" tree
    ln -s "$SOURCE" tree/subprojects/bufferpool
    meson setup build tree "$@"
}

# file_of LIBRARY: what a program that is linked with it, and the loader, see of it
file_of()
{
    nm -D --defined-only --with-symbol-versions "$1" | awk '{ print $2, $3 }' | sort
    readelf -dW "$1" | grep -E '\((SONAME|NEEDED|FLAGS|FLAGS_1|RPATH|RUNPATH|TEXTREL)\)' |
        sed 's/^ *0x[0-9a-f]* *//' | sort
}

# global_functions ARCHIVE: with their visibility, which nm does not tell
global_functions()
{
    readelf -sW "$1" | awk '$5 == "GLOBAL" && $7 != "UND" { print $6, $8 }' | sort
}

# The commands that compile the SOURCE, once for each kind
commands_for()
{
    sed -n '/"command":/h; \|"file": ".*/'"$1"'"|{g;p;}' build/compile_commands.json
}

built()
{
    meson setup build "$SOURCE" --prefix "$work/prefix" --libdir "$LIBDIR" -Dbuildtype=debug -Ddefault_library=both \
        -Dwerror=true
    meson compile -C build
    file_of "$LIBRARY" >cmake.file
    file_of "build/libbufferpool.so.$VERSION" | diff cmake.file - || fail "CMake's library (<) and Meson's (>) differ"
    global_functions "$ARCHIVE" >cmake.archive
    global_functions build/libbufferpool.a | diff cmake.archive - || fail "CMake's archive (<) and Meson's (>) differ"
    # Both read the list of sources in CMakeLists.txt; neither leaves any out.
    ar t "$ARCHIVE" | sed 's/\.c\.o$//' | sort >cmake.sources
    ar t build/libbufferpool.a | sed 's/\.c\.o$//; s/^.*_src_//; s/^src_//; s/^debug_//; s/^heap_//' | sort |
        diff cmake.sources - ||
        fail "the sources of CMake's library (<) and of Meson's (>) differ"
    test "$(commands_for src/pool.c | wc -l)" = 2 || fail "pool.c is not compiled once for each kind"
    if "$CC" --version | grep -q 'Free Software'; then
        test "$(commands_for src/pool.c | grep -c -e -fira-algorithm=priority)" = 2 || fail "pool.c has not its flag"
        commands_for src/depot.c | grep -e -fira-algorithm && fail "another source has the flag of pool.c"
    fi

    meson install -C build >install.log
    # Each alias of a page is a link here, and a file that names the page there.
    listing()
    {
        (cd "$1" && find . ! -type d ! -path '*/cmake/bufferpool/*' | sed "s|/auto-load$1/|/auto-load/|" | sort)
    }
    listing "$(prefix_of staged)" >cmake.installed
    listing "$work/prefix" | diff cmake.installed - || fail "CMake (<) and Meson (>) install different files"
    export PKG_CONFIG_LIBDIR="$work/prefix/$LIBDIR/pkgconfig"
    grep -v '^prefix=' "$PKG_CONFIG_LIBDIR/bufferpool.pc" >meson.pc
    grep -v '^prefix=' "$(prefix_of staged)/$LIBDIR/pkgconfig/bufferpool.pc" | diff - meson.pc ||
        fail "the .pc files differ"
    # shellcheck disable=SC2046 # several words
    $CC "$here/app.c" $(pkg-config --cflags --libs bufferpool) -o by-pkg-config
    LD_LIBRARY_PATH=$work/prefix/$LIBDIR ./by-pkg-config shared "$work/prefix"
    $CC "$here/app.c" -I"$work/prefix/include" "$work/prefix/$LIBDIR/libbufferpool.a" -pthread -o by-hand
    ./by-hand static "$work/prefix"

    meson configure build -Ddebug_modes=disabled
    ninja -C build build.ninja >reconfigure.log
    commands_for src/pool.c | grep -q BUFFERPOOL_NO_DEBUG_MODES || fail "the option debug_modes has no effect"
    grep -q /watch.c build/compile_commands.json && fail "the debug modes are compiled, though disabled"
    return 0
}

# targets: the names of what is built, but for pool.c's own archives, which nobody builds by default
targets()
{
    meson introspect --targets build | tr '{' '\n' | grep -o '^"name": "[^"]*", "id": "[^"]*"' |
        sed 's/.*"id": "//; s/.*@@//; s/"$//' | sort | grep -v '^bufferpool_pool_' | tr '\n' ' '
}

subproject()
{
    consumer -Dbuildtype=debug --force-fallback-for=bufferpool
    test "$(targets)" = "app@exe bufferpool@sha " || fail "by default the targets are: $(targets)"
    grep -q 'bufferpool is not optimized' build/meson-logs/meson-log.txt || fail "it is slow, and does not say so"
    consumer -Dbuildtype=debug --force-fallback-for=bufferpool -Ddefault_library=static
    test "$(targets)" = "app@exe bufferpool@sta " || fail "with default_library=static the targets are: $(targets)"
    commands_for app.c | grep -q -e -DBUFFERPOOL_STATIC || fail "the program does not know that the library is static"

    consumer -Dbuildtype=debug --force-fallback-for=bufferpool -Ddefault_library=both --prefix "$work/prefix"
    meson compile -C build
    build/app shared "$work/build"
    build/app-static static "$work/build"
    test "$(meson introspect --tests build)" = '[]' || fail "it adds tests"
    meson install -C build >install.log
    test ! -e "$work/prefix" || fail "it installs into the parent: $(find "$work/prefix")"
}

found()
{
    prefix=$(prefix_of staged)
    export PKG_CONFIG_LIBDIR="$prefix/$LIBDIR/pkgconfig"
    consumer -Dmethod=pkg-config --wrap-mode=nofallback
    meson compile -C build
    LD_LIBRARY_PATH=$prefix/$LIBDIR build/app shared "$prefix"

    PATH=$(dirname "$CMAKE"):$PATH
    consumer -Dmethod=cmake --wrap-mode=nofallback --cmake-prefix-path "$prefix"
    meson compile -C build
    LD_LIBRARY_PATH=$prefix/$LIBDIR build/app shared "$prefix"
}

"$1"
