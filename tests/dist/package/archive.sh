# SPDX-License-Identifier: MIT
#
# The archive of what is installed works where it is unpacked: by pkg-config, by CMake and by hand.
. "$SOURCE/tests/dist/consumer/common.sh"

cd "$work"
tar xzf "$PACKAGES/libbufferpool-$VERSION-Linux.tar.gz"
prefix=$work/libbufferpool-$VERSION-Linux
test -e "$prefix/share/gdb/auto-load/$LIBDIR/libbufferpool.so.$VERSION-gdb.py" || fail "gdb's commands are not in their place"
export PKG_CONFIG_LIBDIR="$prefix/$LIBDIR/pkgconfig"
# shellcheck disable=SC2046 # many words
$CC "$here/app.c" $(pkg-config --cflags --libs bufferpool) -o by-pkg-config
LD_LIBRARY_PATH=$prefix/$LIBDIR ./by-pkg-config shared "$prefix"
$CC "$here/app.c" -I"$prefix/include" "$prefix/$LIBDIR/libbufferpool.a" -pthread -o by-hand
./by-hand static "$prefix"
configure "$here/find_package" build -DCMAKE_PREFIX_PATH="$prefix" -DTARGET=bufferpool::bufferpool
"$CMAKE" --build build
build/app shared "$prefix"
