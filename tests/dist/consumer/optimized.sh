# optimized.sh alone|part: without a build type the library is optimized, and whoever says how to compile is obeyed. The
# compile commands of src/pool.c and of the parent's own program show it; nothing is built.
#
#   alone   the project by itself
#   part    as a part of another one, by add_subdirectory and by FetchContent
. "$(dirname "$0")/common.sh"
unset CMAKE_BUILD_TYPE
build_type=

# A parent without a build type, with a program of its own.
mkdir "$work/parent"
cat >"$work/parent/CMakeLists.txt" <<'SOURCE'
cmake_minimum_required(VERSION 3.16)
project(parent LANGUAGES C)
add_compile_options(${PARENT_OPTIONS})
if(FETCH_CONTENT)
    include(FetchContent)
    FetchContent_Declare(bufferpool SOURCE_DIR ${TREE})
    FetchContent_MakeAvailable(bufferpool)
else()
    add_subdirectory(${TREE} bufferpool)
endif()
add_executable(app main.c)
target_link_libraries(app PRIVATE bufferpool::bufferpool)
SOURCE
echo 'int main(void) { return 0; }' >"$work/parent/main.c"

# level FILE: the last -O by which FILE is compiled
level()
{
    sed -n '/"command":/h; \|"file": ".*/'"$1"'"|{g;p;}' "$work/build/compile_commands.json" | head -n 1 |
        grep -o ' -O[0-9a-z]*' | tail -n 1 | tr -d ' '
}

# compiled SOURCE-DIR LIBRARY PROGRAM OPTION...: with the OPTIONs, the library has the one level and the program the other
compiled()
{
    from=$1 library=$2 program=$3
    shift 3
    echo "== $*"
    configure "$from" "$work/build" -DTREE="$SOURCE" -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "$@" >"$work/log" 2>&1 ||
        fail "$(cat "$work/log")"
    grep -q '/src/pool.c"' "$work/build/compile_commands.json" || fail "the library is not compiled"
    is=$(level src/pool.c)
    test "$is" = "$library" || fail "$*: the library is compiled with '$is', should be '$library'"
    is=$(level parent/main.c)
    test "$is" = "$program" || fail "$*: the parent's program is compiled with '$is', should be '$program'"
}

nothing="-DCMAKE_BUILD_TYPE= -DCMAKE_C_FLAGS="
case $1 in
alone)
    alone="-DBUFFERPOOL_BUILD_TESTS=OFF -DBUFFERPOOL_BUILD_EXAMPLES=OFF -DBUFFERPOOL_INSTALL=OFF"
    # shellcheck disable=SC2086 # several words
    {
        compiled "$SOURCE" -O3 "" $alone
        grep -q '^CMAKE_BUILD_TYPE:STRING=Release$' "$work/build/CMakeCache.txt" || fail "not a Release"
        compiled "$SOURCE" "" "" $alone -DCMAKE_BUILD_TYPE=Debug
        compiled "$SOURCE" -O1 "" $alone -DCMAKE_BUILD_TYPE= -DCMAKE_C_FLAGS=-O1
    }
    ;;
part)
    # shellcheck disable=SC2086 # several words
    {
        compiled "$work/parent" -O2 "" $nothing
        compiled "$work/parent" -O2 "" $nothing -DFETCH_CONTENT=ON
        compiled "$work/parent" "" "" -DCMAKE_BUILD_TYPE=Debug
        compiled "$work/parent" -O3 -O3 -DCMAKE_BUILD_TYPE=Release
        compiled "$work/parent" -Og -Og $nothing -DCMAKE_C_FLAGS="-g -Og"
        compiled "$work/parent" -O0 -O0 $nothing -DPARENT_OPTIONS=-O0
    }
    ;;
esac
