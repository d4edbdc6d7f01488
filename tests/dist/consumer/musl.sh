# threads.c works with musl, linked with either kind of the library, and opening the library with dlopen, which musl
# refuses where thread-local storage is initial-exec. With the C library of this machine a program only opens the library.
. "$(dirname "$0")/common.sh"

"$CC" -Wall -Wextra -Werror -std=gnu11 -I"$SOURCE/include" "$here/threads.c" -pthread -ldl -o "$work/opens"
"$work/opens" "$LIBRARY"

if ! command -v musl-gcc >/dev/null; then
    echo "SKIPPED: no musl-gcc"
    exit 77
fi
CC=musl-gcc
configure "$SOURCE" "$work/build" -DCMAKE_BUILD_TYPE=Release -DBUFFERPOOL_BUILD_TESTS=OFF -DBUFFERPOOL_BUILD_EXAMPLES=OFF \
    -DBUFFERPOOL_INSTALL=OFF -DBUFFERPOOL_WERROR=ON
"$CMAKE" --build "$work/build"

cd "$work"
# build_program NAME ARGUMENT...
build_program()
{
    name=$1
    shift
    musl-gcc -Wall -Wextra -Werror -std=gnu11 -I"$SOURCE/include" "$here/threads.c" "$@" -pthread -o "$name-musl"
}
build_program shared -DLINKED -Lbuild -lbufferpool -Wl,-rpath,"$work/build"
build_program archive -DLINKED build/libbufferpool.a
build_program static -DLINKED -static build/libbufferpool.a
build_program opens

readelf -lW opens-musl | grep -q 'interpreter.*musl' || fail "not a program of musl's"
for program in shared archive static; do
    ./$program-musl || fail "the $program program returns $?"
done
./opens-musl "$work/build/libbufferpool.so" || fail "the program that opens the library returns $?"
