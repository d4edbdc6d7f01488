# The version is the same everywhere: in the header's macros, in CMake, in the library. It says whether the tree is a
# release, as CHANGELOG.md does: between two releases that has a part "Unreleased".
. "$(dirname "$0")/common.sh"

cat >"$work/version.c" <<'C'
#include <bufferpool.h>
#include <stdio.h>
#if BUFFERPOOL_VERSION_NUMBER < 200
#error "the preprocessor cannot compare the number"
#endif
int main(void)
{
    printf("%d %d %s\n", BUFFERPOOL_VERSION_NUMBER, BUFFERPOOL_VERSION_IS_RELEASE, bufferpool_version());
    return 0;
}
C
$CC -Wall -Wextra -Werror -I"$SOURCE/include" "$work/version.c" "$LIBRARY" -Wl,-rpath,"$(dirname "$LIBRARY")" \
    -o "$work/version"
said=$("$work/version")

release=1
if grep -q '^## \[Unreleased\]' "$SOURCE/CHANGELOG.md"; then
    release=0
fi
suffix=
test $release = 1 || suffix=-dev
number=$(echo "$VERSION" | awk -F. '$2 < 100 && $3 < 100 { print $1 * 10000 + $2 * 100 + $3 }')
test "$said" = "$number $release $VERSION$suffix" || fail "'$said' is not '$number $release $VERSION$suffix'"

newest=$(sed -n 's/^## \[\([0-9.]*\)\].*/\1/p' "$SOURCE/CHANGELOG.md" | head -n 1)
if [ $release = 1 ]; then
    test "$newest" = "$VERSION" || fail "the newest release in CHANGELOG.md is $newest"
else
    test "$(printf '%s\n' "$newest" "$VERSION" | sort -V | tail -n 1)" = "$VERSION" && test "$newest" != "$VERSION" ||
        fail "between two releases the version is a later one than $newest"
fi
echo "$said"
