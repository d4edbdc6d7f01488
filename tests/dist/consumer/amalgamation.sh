# amalgamation.sh compiles|keeps: the library as one source, which tools/amalgamate.sh writes
#
#   compiles   by each compiler and standard without a warning; a program links it, and a shared library that contains
#              it exports the functions of the header and nothing else, or nothing at all
#   keeps      the programs of tests/contract/ pass with it in place of the shared library, and a get and a put take no
#              more instructions than in the library, nor has it more code
. "$(dirname "$0")/common.sh"

cd "$work"
sh "$SOURCE/tools/amalgamate.sh" "$work"
if grep -nF "$SOURCE" bufferpool.c; then
    fail "a path of this machine is in it"
fi

# compile COMPILER OPTION...: without a warning, if there is that compiler
compile()
{
    command -v "$1" >/dev/null || { echo "no $1"; return 0; }
    echo "+ $*"
    compiler=$1
    shift
    "$compiler" -Wall -Wextra -Werror "$@" -c bufferpool.c || fail "$compiler $*: see above"
}

compiles()
{
    CDPATH=. sh "$SOURCE/tools/amalgamate.sh" again # which makes cd print where it went
    cmp bufferpool.c again/bufferpool.c || fail "it is not the same twice"
    head -n 1 bufferpool.c | grep -q "libbufferpool $VERSION" || fail "the version is not at its head"
    head -n 40 bufferpool.c | grep -q 'Permission is hereby granted' || fail "the licence is not at its head"

    for compiler in gcc clang; do
        compile "$compiler" -std=c11 -O2 -o "$compiler.o"
        for standard in c17 gnu17 c2x; do
            compile "$compiler" -std=$standard -fsyntax-only
        done
        compile "$compiler" -std=c11 -Wshadow -DBUFFERPOOL_NO_DEBUG_MODES -O0 -o "$compiler-without-modes.o"
    done
    compile musl-gcc -std=c11 -O1 -o musl.o

    for object in *.o; do
        test "$object" != musl.o || continue
        $CC -Wall -Wextra -Werror -I. "$here/app.c" "$object" -pthread -ldl -o app
        ./app static "$work" || fail "$object: the program fails"
    done
    if [ -e musl.o ]; then
        musl-gcc -std=gnu11 -DLINKED -I. "$here/threads.c" musl.o -static -o threads
        ./threads || fail "the program fails with musl"
    fi

    $CC -O0 -shared -fPIC bufferpool.c -pthread -o libplain.so
    nm -D --defined-only libplain.so | awk '{ print $3 }' | sort >exported
    sed 's/@.*//' "$SOURCE/tests/dist/exported-symbols.txt" | sort | diff - exported ||
        fail "a shared library with it exports something else than the header declares (<)"
    $CC -O0 -shared -fPIC -fvisibility=hidden -DBUFFERPOOL_STATIC bufferpool.c -pthread -o libhidden.so
    test -z "$(nm -D --defined-only libhidden.so)" || fail "it exports something although it is hidden"
}

# instructions FOLDER N: those of a program that gets and puts N times, with the library in the folder
instructions()
{
    LD_LIBRARY_PATH=$1 valgrind --tool=callgrind --callgrind-out-file=/dev/null ./pairs "$2" 2>&1 |
        sed -n 's/.*Collected : //p'
}

# pair_of FOLDER: sets $pair to those of ten pairs, without the start and the end of the program. One get in hundreds
# looks at the clock; an instruction more there does not show, and one in each pair counts as ten.
pair_of()
{
    few=$(instructions "$1" 1000)
    many=$(instructions "$1" 11000)
    pair=$(((many - few) / 1000))
}

keeps()
{
    # In the place of the library: with its name and its versions, and therefore the only one that is loaded.
    name=libbufferpool.so.$SOVERSION
    $CC -O2 -shared -fPIC bufferpool.c -pthread -ldl -Wl,--version-script="$SOURCE/src/bufferpool.map" \
        -Wl,-soname,"$name" -Wl,-z,nodelete -o "$name"
    $CC "$here/app.c" -I. "$LIBRARY" -o app
    LD_PRELOAD=$work/$name ./app shared "$work" || fail "the program has another library"

    # LD_BIND_NOW: for `secrets`. `resident` takes too long.
    n=0
    for program in $(sed -n 's/^bufferpool_add_test(\([a-z_]*\).*/\1/p' "$SOURCE/tests/contract/CMakeLists.txt"); do
        test "$program" != resident || continue
        n=$((n + 1))
        LD_BIND_NOW=1 LD_PRELOAD=$work/$name BUFFERPOOL_TEST_SCALE=small timeout 120 \
            "$BUILD/tests/contract/test_$program" >log 2>&1 || fail "$program: $(tail -n 20 log)"
    done
    echo "$n programs"
    test "$n" -gt 20 || fail "too few programs"

    # Those of this build can only be compared with a library of the same flags.
    if ! grep -q '^CMAKE_BUILD_TYPE:[A-Z]*=RelWithDebInfo$' "$BUILD/CMakeCache.txt" ||
        ! grep -q '^CMAKE_C_FLAGS_RELWITHDEBINFO:[A-Z]*=-O2 ' "$BUILD/CMakeCache.txt"; then
        echo "another build type: code and instructions not compared"
        return 0
    fi
    text=$(size "$name" | awk 'NR == 2 { print $1 }')
    of_library=$(size "$LIBRARY" | awk 'NR == 2 { print $1 }')
    echo "text: $text bytes, of the library $of_library; $(wc -l <bufferpool.c) lines, $(wc -c <bufferpool.c) bytes"
    test "$text" -le "$of_library" || fail "more code than in the library"

    command -v valgrind >/dev/null || { echo "no valgrind: instructions not counted"; return 0; }
    cat >pairs.c <<'SOURCE'
#include "bufferpool.h"
#include <stdlib.h>
int main(int argc, char **argv)
{
    bufferpool_t *pool = bufferpool_create(NULL);
    for (long n = argc == 2 ? atol(argv[1]) : 0; n > 0; n--)
        bufferpool_put(bufferpool_get(pool));
    return bufferpool_destroy(pool);
}
SOURCE
    $CC -Wall -Wextra -Werror -O2 pairs.c "$LIBRARY" -o pairs
    pair_of "$(dirname "$LIBRARY")"
    of_library=$pair
    pair_of "$work"
    echo "instructions of 10 pairs: $pair, of the library $of_library"
    test "$pair" -le "$of_library" || fail "more instructions than in the library"
}

"$1"
