# cpack makes two packages and no third one for files that belong to none, and the development package needs the runtime
# package.
. "$(dirname "$0")/common.sh"

if ! command -v dpkg-deb >/dev/null; then
    echo "SKIPPED: no dpkg-deb"
    exit 77
fi
"$(dirname "$CMAKE")/cpack" --config "$BUILD/CPackConfig.cmake" -G DEB -B "$work/packages"

cd "$work/packages"
ls ./*.deb
test "$(find . -maxdepth 1 -name '*.deb' | wc -l)" = 2 || fail "not two packages"
for package in ./*.deb; do
    dpkg-deb -c "$package"
done
dpkg-deb -f ./libbufferpool-dev_*.deb Depends | grep -q "^libbufferpool$SOVERSION (= $VERSION-[0-9]*), " ||
    fail "the development package does not depend on the runtime package"
dpkg-deb -c ./libbufferpool"$SOVERSION"_*.deb | grep -q "libbufferpool.so.$SOVERSION -> " || fail "no runtime library"
dpkg-deb -c ./libbufferpool-dev_*.deb | grep -q 'include/bufferpool.h$' || fail "no header"
