# SPDX-License-Identifier: MIT
#
# The shared library for armhf, compiled for size, has less than 40 KiB of code and constants: what size(1) calls text.
. "$SOURCE/tests/consumer/common.sh"

limit=40960
prefix=arm-linux-gnueabihf
if ! command -v $prefix-gcc >/dev/null; then
    echo "SKIPPED: no $prefix-gcc (Debian: gcc-$prefix, libc6-dev-armhf-cross)"
    exit 77
fi
CC=$prefix-gcc
configure "$SOURCE" "$work/build" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=arm -DCMAKE_BUILD_TYPE=MinSizeRel \
    -DBUFFERPOOL_BUILD_TESTS=OFF -DBUFFERPOOL_BUILD_EXAMPLES=OFF -DBUFFERPOOL_INSTALL=OFF
"$CMAKE" --build "$work/build" --target bufferpool_shared
library=$work/build/libbufferpool.so
grep -q -- '-Os' "$work/build/build.ninja" "$work/build/CMakeCache.txt" || fail "not compiled for size"
readelf -hW "$library" | grep -q 'Machine:.*ARM$' || fail "not a library for ARM"
text=$($prefix-size "$library" | awk 'NR == 2 { print $1 }')
echo "text: $text bytes of at most $limit"
test "$text" -lt $limit || fail "$text bytes of text"
