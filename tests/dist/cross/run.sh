#!/bin/sh
# run.sh TARGET: the library and its unit tests for another processor or C library, in the folder $WORK
#
#     aarch64, armhf, s390x    64 bits; 32 bits; 64 bits, big-endian: under qemu-user. It gives the program the memory order of
#                              the host, so the weaker ones of these processors are not shown to be enough. What it cannot
#                              run is left out by qemu.txt. aarch64 also with pages of 64 KiB: pages.txt.
#     i386                     32 bits, run by this kernel itself, all tests
#     musl                     another C library on this processor, all tests
#     musl_static              the tests of the public interface as static programs, with the archive
#
# For each: no warning; nothing of libatomic is needed. The environment comes from CMakeLists.txt. 77: something is not there.
set -eu
unset CFLAGS CPPFLAGS LDFLAGS CMOCKA_TEST_FILTER CMOCKA_MESSAGE_OUTPUT LD_LIBRARY_PATH
export LC_ALL=C BUFFERPOOL_TEST_SCALE=small

here=$SOURCE/tests/dist/cross
target=$1

fail()
{
    echo "FAILED: $*" >&2
    exit 1
}

# needs PROGRAM PACKAGE...
needs()
{
    program=$1
    shift
    command -v "$program" >/dev/null || { echo "SKIPPED: no $program, which is in: $*"; exit 77; }
}

toolchain=$here/$target.cmake leave_out=
case $target in
aarch64) triple=aarch64-linux-gnu packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" emulator=qemu-aarch64 ;;
armhf) triple=arm-linux-gnueabihf packages="gcc-arm-linux-gnueabihf libc6-dev-armhf-cross" emulator=qemu-arm ;;
s390x) triple=s390x-linux-gnu packages="gcc-s390x-linux-gnu libc6-dev-s390x-cross" emulator=qemu-s390x ;;
i386) triple=i686-linux-gnu packages="gcc-i686-linux-gnu libc6-dev-i386-cross" emulator= ;;
musl | musl_static) triple=musl packages=musl-tools emulator='' toolchain=$here/musl.cmake ;;
*) fail "no target $target" ;;
esac
needs "$triple-gcc" "$packages"
prefix=$triple-
if test -n "$emulator"; then
    needs "$emulator" qemu-user
    leave_out=$here/qemu.txt
fi
if test "$triple" = musl; then
    prefix=
elif test ! -e "/usr/$triple/include/stdio.h"; then
    echo "SKIPPED: no C library for $triple-gcc, which is in: $packages"
    exit 77
fi

if test "$target" = i386 && ! /usr/$triple/lib/ld-linux.so.2 --version >/dev/null 2>&1; then
    echo "SKIPPED: this kernel runs no 32-bit programs of x86"
    exit 77
fi

rm -rf "$WORK"
mkdir -p "$WORK"
cd "$WORK"

# The kernel's headers alone, for musl-gcc.
flags=
if test "$triple" = musl; then
    mkdir kernel
    ln -s /usr/include/linux /usr/include/asm-generic "/usr/include/$(uname -m)-linux-gnu/asm" kernel
    flags="-isystem $WORK/kernel"
fi

# ---- cmocka, with what leaves tests out in front of it ----

compile="$triple-gcc -O2 -g -I$CMOCKA/include"
$compile -w -D_cmocka_run_group_tests=cmocka_run_all_of_group -DHAVE_SIGNAL_H -DHAVE_INTTYPES_H -DHAVE_MALLOC_H \
    -DHAVE_STRINGS_H -DHAVE_STRSIGNAL -DHAVE_STRUCT_TIMESPEC -DHAVE_CLOCK_REALTIME -DHAVE_GCC_THREAD_LOCAL_STORAGE \
    -DHAVE_SIGLONGJMP -c "$CMOCKA/src/cmocka.c"
$compile -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -c "$here/leave_out.c"
"${prefix}ar" rcs libcmocka.a cmocka.o leave_out.o

# ---- the library and the tests ----

with_tests=ON
test "$target" != musl_static || with_tests=OFF
"$CMAKE" -S "$SOURCE" -B build -G "$GENERATOR" --toolchain "$toolchain" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    ${flags:+"-DCMAKE_C_FLAGS=$flags"} -DCMOCKA_INCLUDE_DIR="$CMOCKA/include" -DCMOCKA_LIBRARY="$WORK/libcmocka.a" \
    -DBUFFERPOOL_WERROR=ON -DBUFFERPOOL_BUILD_TESTS="$with_tests" -DBUFFERPOOL_BUILD_EXAMPLES=OFF \
    -DBUFFERPOOL_INSTALL=OFF >configure.log || { cat configure.log; fail configure; }
"$CMAKE" --build build -j 2 >build.log || { cat build.log; fail build; }
! grep 'warning:' build.log || fail "warnings"

# ---- libatomic ----

"${prefix}nm" -u build/libbufferpool.a >undefined.txt
! grep '__atomic_\|__sync_' undefined.txt || fail "the archive needs libatomic"
"${prefix}readelf" -d build/libbufferpool.so >dynamic.txt
! grep 'libatomic' dynamic.txt || fail "the shared library needs libatomic"
file_class=$("${prefix}readelf" -h build/libbufferpool.so | sed -n 's/^ *\(Class\|Data\|Machine\): *//p' | tr '\n' ';')
echo "$target: $file_class text and data of the shared library: $("${prefix}size" build/libbufferpool.so | sed 1d)"

# ---- running ----

# run_tests LIST CTEST-OPTION...: all programs that the options choose, without what the files of LIST name
run_tests()
{
    list=$1
    shift
    log=build/Testing/Temporary/LastTest.log
    # shellcheck disable=SC2086 # none or one
    cat $list /dev/null >leave-out.txt
    export BUFFERPOOL_LEAVE_OUT="$WORK/leave-out.txt"
    "$CTEST" --test-dir build "$@" --no-tests=error --output-on-failure >ctest.log 2>&1 || { cat ctest.log; fail "tests"; }
    grep 'LEFT OUT\|SKIPPED \] [a-z]' "$log" | sort -u >not-run.txt || true
    cat not-run.txt
    for file in $list; do
        grep -v '^#' "$file" | while read -r program name reason; do
            ! grep -q "^Command:.*/$program\"" "$log" || grep -q "LEFT OUT \] $program $name:" not-run.txt ||
                fail "$file: there is no $program $name"
        done
    done
    echo "$target: $(grep -c '^\[       OK \]' "$log") tests passed, $(grep -c 'LEFT OUT' not-run.txt || true) left out by a" \
        "list, $(grep -c SKIPPED not-run.txt || true) by themselves"
}

if test "$target" != musl_static; then
    run_tests "$leave_out" -LE 'packaging|valgrind'
    if test "$target" = aarch64; then
        echo "$target, with pages of 64 KiB:"
        QEMU_PAGESIZE=65536
        export QEMU_PAGESIZE
        run_tests "$leave_out $here/pages.txt" -LE 'packaging|valgrind' \
            -R '^(api|big_blocks|buffer|cap|config|desc|idle_limit|retained|reclaim|slab|heap|stats|trim|zero)$'
    fi
    exit
fi

tests=$(sed -n 's/^bufferpool_add_test(\([a-z_]*\)[ )].*/\1/p' "$SOURCE/tests/contract/CMakeLists.txt")
for name in $tests; do
    test "$name" != dlopen || continue # a static program opens no library
    $compile -std=gnu11 -Wall -Wextra -Werror -static -DBUFFERPOOL_STATIC -I"$SOURCE/include" -I"$SOURCE/tests" \
        -D'BUFFERPOOL_MALLOC(put)=' -D'BUFFERPOOL_READS(data, size)=' -DBUFFERPOOL_MUST_USE= \
        "$SOURCE/tests/contract/test_$name.c" "$SOURCE/tests/support/support.c" build/libbufferpool.a libcmocka.a -pthread \
        -o "test_$name"
    "./test_$name" >"test_$name.log" 2>&1 || { cat "test_$name.log"; fail "$name returns $?"; }
done
echo "$target: $(cat test_*.log | grep -c '^\[       OK \]') tests passed"
