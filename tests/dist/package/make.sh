# SPDX-License-Identifier: MIT
#
# Makes the packages that the other tests here look at: three for Debian, an archive of what is installed, the sources.
. "$SOURCE/tests/dist/consumer/common.sh"

for tool in dpkg-deb dpkg-shlibdeps file gzip; do
    command -v $tool >/dev/null || fail "the packages need $tool"
done
rm -rf "$PACKAGES"
cpack=$(dirname "$CMAKE")/cpack
"$cpack" --config "$BUILD/CPackConfig.cmake" -G DEB -B "$PACKAGES"
"$cpack" --config "$BUILD/CPackConfig.cmake" -G TGZ -B "$PACKAGES"
"$cpack" --config "$BUILD/CPackSourceConfig.cmake" -G TGZ -B "$PACKAGES"
rm -r "$PACKAGES/_CPack_Packages"

cd "$PACKAGES"
architecture=$(dpkg --print-architecture)
find . -mindepth 1 | sed "s|^./||" | sort >"$work/made"
sort >"$work/expected" <<LIST
libbufferpool-$VERSION-Linux.tar.gz
libbufferpool-$VERSION.tar.gz
libbufferpool-dev_$VERSION-${RELEASE}_$architecture.deb
libbufferpool$SOVERSION-dbgsym_$VERSION-${RELEASE}_$architecture.ddeb
libbufferpool${SOVERSION}_$VERSION-${RELEASE}_$architecture.deb
LIST
diff "$work/expected" "$work/made" || fail "other packages were made than those expected (<)"

# No path of this machine, and the debugging symbols belong to the library beside them.
for package in ./*.deb ./*.ddeb; do
    dpkg-deb -R "$package" "$work/$package"
    if grep -rF "$SOURCE" "$work/$package"; then
        fail "$package: a path of this machine is in it"
    fi
    (cd "$work/$package" && md5sum --quiet -c DEBIAN/md5sums) || fail "$package: its checksums are wrong"
done
script=usr/share/gdb/auto-load/usr/$LIBDIR/libbufferpool.so.$VERSION-gdb.py
test -e "$(echo "$work"/libbufferpool-dev_*.deb)/$script" || fail "gdb's commands are not where gdb looks for them"
for path in docs/tuning.md docs/monitoring/alerts.yml examples/libuv_server.c; do
    cmp "$SOURCE/$path" "$(echo "$work"/libbufferpool-dev_*.deb)/usr/share/doc/libbufferpool-dev/$path" ||
        fail "the development package has no $path in its documentation"
done
library=$(echo "$work"/libbufferpool"$SOVERSION"_*.deb/usr/lib/*/libbufferpool.so."$VERSION")
id=$(readelf -n "$library" | sed -n 's/.*Build ID: \(..\)/\1\//p')
test -e "$work"/libbufferpool"$SOVERSION"-dbgsym_*/usr/lib/debug/.build-id/"$id".debug || fail "no debugging symbols of $id"
if readelf -SW "$library" | grep -q '\.debug_info'; then
    fail "the debugging symbols are in the library, too"
fi
