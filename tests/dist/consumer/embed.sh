# A shared library that embeds the archive works, and exports its own functions but none of ours; whether CMake tells
# its sources BUFFERPOOL_STATIC, or a plain compiler command does not.
. "$(dirname "$0")/common.sh"

prefix=$(prefix_of staged)
cat >"$work/plugin.c" <<'SOURCE'
#include <bufferpool.h>
int plugin_run(void);
int plugin_run(void)
{
    bufferpool_buf_t *buf = bufferpool_get(NULL);
    bufferpool_put(buf);
    return buf != NULL;
}
SOURCE
cat >"$work/main.c" <<'SOURCE'
int plugin_run(void);
int main(void) { return plugin_run() ? 0 : 1; }
SOURCE
cat >"$work/CMakeLists.txt" <<'SOURCE'
cmake_minimum_required(VERSION 3.25)
project(embed LANGUAGES C)
find_package(bufferpool REQUIRED COMPONENTS static)
add_library(plugin SHARED plugin.c)
target_link_libraries(plugin PRIVATE bufferpool::static)
add_executable(main main.c)
target_link_libraries(main PRIVATE plugin)
SOURCE

configure "$work" "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix"
"$CMAKE" --build "$work/cmake"

mkdir "$work/plain"
$CC -shared -fPIC "$work/plugin.c" -I"$prefix/include" "$prefix/$LIBDIR/libbufferpool.a" -pthread \
    -o "$work/plain/libplugin.so"
$CC "$work/main.c" -L"$work/plain" -lplugin -Wl,-rpath,"$work/plain" -o "$work/plain/main"

for way in cmake plain; do
    "$work/$way/main" || fail "$way: the program does not run"
    nm -D --defined-only "$work/$way/libplugin.so" >"$work/exported"
    grep -q ' plugin_run$' "$work/exported" || fail "$way: plugin_run is not exported"
    if grep bufferpool "$work/exported"; then
        fail "$way: the plugin exports our functions"
    fi
done
