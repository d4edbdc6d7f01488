# SPDX-License-Identifier: MIT
#
# small.sh text | resting CREATED USED SYMBOL...: the library for armhf, compiled for size
#
#     text       the shared library has less than 88 KiB of code and constants, what size(1) calls text, as it is built by default;
#                with the debug modes, which are for where programs are written, less than 98 KiB
#     resting    a pool that does nothing takes at most that many bytes, created and used, by resting.c, which runs under qemu
#                and has these functions wrapped
. "$SOURCE/tests/dist/consumer/common.sh"

prefix=arm-linux-gnueabihf
what=$1
shift

# needs PROGRAM PACKAGES
needs()
{
    command -v "$1" >/dev/null || { echo "SKIPPED: no $1 (Debian: $2)"; exit 77; }
}
needs $prefix-gcc "gcc-$prefix, libc6-dev-armhf-cross"
test "$what" != resting || needs qemu-arm qemu-user

CC=$prefix-gcc
# configure_for_arm OPTION...
configure_for_arm()
{
    configure "$SOURCE" "$work/build" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=arm -DCMAKE_BUILD_TYPE=MinSizeRel \
        -DBUFFERPOOL_BUILD_TESTS=OFF -DBUFFERPOOL_BUILD_EXAMPLES=OFF -DBUFFERPOOL_INSTALL=OFF "$@"
    grep -q -- '-Os' "$work/build/build.ninja" "$work/build/CMakeCache.txt" || fail "not compiled for size"
}

# text_is_below LIMIT
text_is_below()
{
    "$CMAKE" --build "$work/build" --target bufferpool_shared
    library=$work/build/libbufferpool.so
    readelf -hW "$library" | grep -q 'Machine:.*ARM$' || fail "not a library for ARM"
    text=$($prefix-size "$library" | awk 'NR == 2 { print $1 }')
    echo "text: $text bytes of at most $1"
    test "$text" -lt "$1" || fail "$text bytes of text"
}

case $what in
text)
    configure_for_arm
    text_is_below 90112
    configure_for_arm -DBUFFERPOOL_DEBUG_MODES=ON
    text_is_below 100352
    ;;
resting)
    created=$1 used=$2
    shift 2
    configure_for_arm -DBUFFERPOOL_DEBUG_MODES=ON
    for symbol; do
        shift
        set -- "$@" "-Wl,--wrap=$symbol"
    done
    "$CMAKE" --build "$work/build" --target bufferpool_static
    $CC -std=c11 -Os -D_GNU_SOURCE -DBUFFERPOOL_STATIC -I"$SOURCE/include" "$SOURCE/tests/dist/package/resting.c" \
        -o "$work/resting" "$work/build/libbufferpool.a" -pthread "$@"
    readelf -hW "$work/resting" | grep -q 'Machine:.*ARM$' || fail "not a program for ARM"
    qemu-arm -L /usr/$prefix "$work/resting" "$created" "$used"
    ;;
*) fail "$what is not known" ;;
esac
