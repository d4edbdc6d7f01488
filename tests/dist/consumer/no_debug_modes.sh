# Without the debug modes, for small machines, the library has the same functions, no code of the modes, and does not
# look at their variable in the environment, but at BUFFERPOOL_CONF. The test builds without optimization, so that code
# is missing only if nothing calls it.
. "$(dirname "$0")/common.sh"

configure "$SOURCE" "$work/build" -DCMAKE_BUILD_TYPE=Debug -DBUFFERPOOL_DEBUG_MODES=OFF -DBUFFERPOOL_BUILD_TESTS=OFF \
    -DBUFFERPOOL_BUILD_EXAMPLES=OFF -DBUFFERPOOL_INSTALL=OFF -DBUFFERPOOL_WERROR=ON
"$CMAKE" --build "$work/build"
library=$work/build/libbufferpool.so
nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' | sort | diff "$SOURCE/tests/dist/exported-symbols.txt" - ||
    fail "the library exports something else than tests/dist/exported-symbols.txt (<) says"
grep -q 'BUFFERPOOL_DEBUG' "$library" && fail "it reads the environment"
nm "$library" | grep -E ' (watch|modes|summary|recording)_| quarantine_(swap|take|release)' && fail "there is code of the modes"
$CC "$here/app.c" -I"$SOURCE/include" "$library" "-Wl,-rpath,$work/build" -o "$work/app"
BUFFERPOOL_DEBUG=nonsense,poison "$work/app" shared "$work" 2>"$work/said"
test ! -s "$work/said" || fail "it said: $(cat "$work/said")"
cat >"$work/record.c" <<'EOF'
#include <bufferpool.h>
#include <errno.h>

int main(void)
{
    errno = 77;
    return bufferpool_record_holders(1) != ENOTSUP || bufferpool_record_holders(0) != ENOTSUP || errno != 77;
}
EOF
$CC "$work/record.c" -I"$SOURCE/include" "$library" "-Wl,-rpath,$work/build" -o "$work/record"
"$work/record" || fail "bufferpool_record_holders does not say ENOTSUP"
# BUFFERPOOL_CONF is no debug mode
BUFFERPOOL_CONF='nonsense,*.buffer_capacity=1' "$work/app" shared "$work" 2>"$work/said"
grep -q "BUFFERPOOL_CONF: 'nonsense' is ignored: it is not" "$work/said" || fail "it says nothing of a wrong word"
grep -q 'BUFFERPOOL_CONF: pool .*: buffer_capacity (1) is less than' "$work/said" || fail "it says nothing of a wrong value"
