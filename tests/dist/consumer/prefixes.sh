# bufferpool.pc for the two prefixes that are not relocatable: /usr, and any with an absolute CMAKE_INSTALL_LIBDIR
. "$(dirname "$0")/common.sh"

# build_and_install BUILD-DIR [OPTION...]
build_and_install()
{
    build=$1
    shift
    configure "$SOURCE" "$build" -DBUFFERPOOL_BUILD_TESTS=OFF -DBUFFERPOOL_BUILD_EXAMPLES=OFF "$@"
    "$CMAKE" --build "$build"
    "$CMAKE" --install "$build"
}

# is WHAT EXPECTED ACTUAL
is()
{
    test "$2" = "$3" || fail "$1 is '$3', should be '$2'"
}

# /usr, in a DESTDIR, as a distribution builds it
export DESTDIR="$work/destdir"
build_and_install "$work/usr" -DCMAKE_INSTALL_PREFIX=/usr
unset DESTDIR
libdir=$(sed -n 's/^CMAKE_INSTALL_LIBDIR:[A-Z]*=//p' "$work/usr/CMakeCache.txt")
if [ -e /etc/debian_version ]; then
    is "libdir under /usr" "lib/$($CC -print-multiarch 2>/dev/null || gcc -print-multiarch)" "$libdir"
fi
export PKG_CONFIG_LIBDIR="$work/destdir/usr/$libdir/pkgconfig"
grep -q 'destdir\|pcfiledir' "$PKG_CONFIG_LIBDIR/bufferpool.pc" && fail "not plain /usr: $(cat "$PKG_CONFIG_LIBDIR/bufferpool.pc")"
is prefix /usr "$(pkg-config --variable=prefix bufferpool)"
is includedir /usr/include "$(pkg-config --variable=includedir bufferpool)"
is libdir "/usr/$libdir" "$(pkg-config --variable=libdir bufferpool)"
is version "$VERSION" "$(pkg-config --modversion bufferpool)"
is "cflags under /usr" "" "$(pkg-config --cflags bufferpool | tr -d ' ')"
if [ "$libdir" != lib64 ]; then
    is "libs under /usr" "-lbufferpool" "$(pkg-config --libs bufferpool | tr -d ' ')"
fi

# An absolute libdir, apart from the prefix
libdir=$work/elsewhere/lib64
build_and_install "$work/absolute" -DCMAKE_INSTALL_PREFIX="$work/prefix" -DCMAKE_INSTALL_LIBDIR="$libdir"
export PKG_CONFIG_LIBDIR="$libdir/pkgconfig"
is prefix "$work/prefix" "$(pkg-config --variable=prefix bufferpool)"
is includedir "$work/prefix/include" "$(pkg-config --variable=includedir bufferpool)"
is libdir "$libdir" "$(pkg-config --variable=libdir bufferpool)"
# shellcheck disable=SC2046 # several words
$CC "$here/app.c" $(pkg-config --cflags --libs bufferpool) -o "$work/app"
LD_LIBRARY_PATH=$libdir "$work/app" shared "$libdir"
