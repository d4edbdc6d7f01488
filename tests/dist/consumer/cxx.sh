# bufferpool.hpp with the compilers that are here: it compiles in the standards in which header.wrapper_cxx* does not
# run,
# {fmt} and std::format write into a buffer, and NDEBUG switches the checks off.
. "$(dirname "$0")/common.sh"

if [ -z "$CXX" ]; then
    echo "no C++ compiler"
    exit 77
fi
warnings="-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wundef -Werror"
include=-I$SOURCE/include

for compiler in g++ clang++; do
    command -v $compiler >/dev/null || continue
    for standard in 14 2b; do
        # shellcheck disable=SC2086 # many words
        $compiler -std=c++$standard $warnings $include -fsyntax-only "$here/header/wrapper.cpp" ||
            fail "$compiler -std=c++$standard"
        echo "$compiler -std=c++$standard"
    done
done

# shellcheck disable=SC2086
$CXX -std=c++20 $warnings $include "$here/header/formats.cpp" "$LIBRARY" \
    -Wl,-rpath,"$(dirname "$LIBRARY")" -o "$work/formats"
timeout 20 "$work/formats" || fail "a format writes something else"

echo '#include <bufferpool/bufferpool.hpp>' >"$work/include.cpp"
checked()
{
    $CXX -dM -E "$include" "$@" "$work/include.cpp" | sed -n 's/^#define BUFFERPOOL_CHECKED //p'
}
test "$(checked)" = 1 || fail "nothing is checked in a debug build"
test "$(checked -DNDEBUG)" = 0 || fail "NDEBUG does not switch the checks off"
test "$(checked -DNDEBUG -DBUFFERPOOL_CHECKED=1)" = 1 || fail "the program's own choice is lost"
