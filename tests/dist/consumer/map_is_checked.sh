# The version script, on a copy of the tree: an edit links anew; a name that no source defines is an error; a reference
# that nothing resolves is an error (-z defs).
. "$(dirname "$0")/common.sh"

tree=$work/tree
mkdir "$tree"
cp -R "$SOURCE/CMakeLists.txt" "$SOURCE/cmake" "$SOURCE/include" "$SOURCE/src" "$SOURCE/bufferpool.pc.in" "$tree"
configure "$tree" "$work/build" -DBUFFERPOOL_BUILD_TESTS=OFF -DBUFFERPOOL_BUILD_EXAMPLES=OFF \
    -DBUFFERPOOL_BUILD_STATIC=OFF -DBUFFERPOOL_INSTALL=OFF
"$CMAKE" --build "$work/build"
library=$work/build/libbufferpool.so.$VERSION

touch -d '1 hour ago' "$library" "$tree/src/bufferpool.map"
touch "$work/before" "$tree/src/bufferpool.map"
"$CMAKE" --build "$work/build"
test "$library" -nt "$work/before" || fail "the map is newer than the library, which was not linked anew"

# fails_with REASON: the build fails, and the log has the name in it
fails_with()
{
    if "$CMAKE" --build "$work/build" >"$work/log" 2>&1; then
        fail "$1: the build succeeded"
    fi
    grep -q bufferpool_misspelt "$work/log" || fail "$1: the build failed for another reason: $(cat "$work/log")"
}

cp "$tree/src/bufferpool.map" "$work/map"
if grep -q 'BUFFERPOOL_HAS_NO_UNDEFINED_VERSION:INTERNAL=1' "$work/build/CMakeCache.txt"; then
    sed 's/^global:/&\n    bufferpool_misspelt;/' "$work/map" >"$tree/src/bufferpool.map"
    fails_with "a name in the map that nothing defines"
    cp "$work/map" "$tree/src/bufferpool.map"
fi

echo 'void bufferpool_misspelt(void); void (*bufferpool_use)(void); void (*bufferpool_use)(void) = bufferpool_misspelt;' \
    >>"$tree/src/pool.c"
fails_with "a reference that nothing resolves"
