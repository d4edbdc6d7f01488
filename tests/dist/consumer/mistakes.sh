# What the attributes of the header are for. gcc finds the mistakes of mistakes/mistakes.c that are said to be found, each
# by the warning that stands beside it. It finds nothing in the corrected twin, nor does clang, and nothing in the
# examples. Each macro of the header can be defined as nothing.
. "$(dirname "$0")/common.sh"

gcc=
for candidate in "$CC" gcc; do
    if "$candidate" -dM -E - </dev/null 2>/dev/null | grep -q '__clang__'; then
        continue
    fi
    version=$("$candidate" -dumpversion 2>/dev/null | cut -d. -f1) || continue
    if [ "${version:-0}" -ge 12 ]; then
        gcc=$candidate
        break
    fi
done
if [ -z "$gcc" ]; then
    echo "no gcc of version 12 or later"
    exit 77
fi

warnings="-std=gnu11 -O2 -Wall -Wextra"
mistakes=$here/mistakes/mistakes.c corrected=$here/mistakes/corrected.c

# said COMPILER OPTION...: what it says of the sources, without the code that it quotes
said()
{
    compiler=$1
    shift
    # shellcheck disable=SC2086 # many words
    "$compiler" $warnings -I"$SOURCE/include" -c "$@" -o "$work/object.o" 2>&1 | grep ': \(error\|warning\|fatal error\):' || true
}

found=0 n=0
sed -n 's|^#.*defined(\([A-Z_]*\)) /\* \(.*\) \*/$|\1 \2|p' "$mistakes" >"$work/list"
while read -r name expected; do
    n=$((n + 1))
    grep -q "^static int $(echo "$name" | tr '[:upper:]' '[:lower:]')(" "$corrected" || fail "$name has no corrected twin"
    said "$gcc" -fanalyzer -D"$name" "$mistakes" >"$work/said"
    case $expected in
    "found: "*)
        grep -q -e "${expected#found: }" "$work/said" || fail "$name: ${expected#found: } is not in: $(cat "$work/said")"
        found=$((found + 1))
        ;;
    "not found"*) test ! -s "$work/said" || echo "$name is found now: $(cat "$work/said")" ;;
    *) fail "$name: neither found nor not found" ;;
    esac
done <"$work/list"
test $n -gt 10 && test $found -ge 8 || fail "$found of $n mistakes are found"

said "$gcc" -fanalyzer -Wredundant-decls "$corrected" >"$work/said"
test ! -s "$work/said" || fail "of what is right, gcc says: $(cat "$work/said")"
if command -v clang >/dev/null; then
    said clang -Wredundant-decls "$corrected" >"$work/said"
    test ! -s "$work/said" || fail "of what is right, clang says: $(cat "$work/said")"
    for name in RESULT_OF_GET_IGNORED RESERVE_ERROR_IGNORED WRONG_FORMAT DATA_ASSIGNED; do
        said clang -D"$name" "$mistakes" | grep -q 'Wunused-result\|Wformat\|const-qualified' || fail "clang does not find $name"
    done
fi
"$gcc" -I"$SOURCE/include" "$corrected" "$LIBRARY" -Wl,-rpath,"$(dirname "$LIBRARY")" -o "$work/corrected"
timeout 20 "$work/corrected" || fail "the corrected functions fail"

# The examples, but for those whose libraries are not installed.
for example in "$SOURCE"/examples/*.c "$SOURCE"/examples/demo/*.c; do
    said "$gcc" -fanalyzer -D_GNU_SOURCE -I/usr/include/postgresql "$example" >"$work/said"
    test ! -s "$work/said" || grep -q 'fatal error: .*\.h: No such file' "$work/said" || fail "$(cat "$work/said")"
done

# As nothing: no attribute is left, and no declaration that an attribute wanted.
printf '#include <bufferpool.h>\n' >"$work/include.c"
"$gcc" -E -P -I"$SOURCE/include" -DBUFFERPOOL_API= -DBUFFERPOOL_NOPLT= -D'BUFFERPOOL_PRINTF(f, a)=' -DBUFFERPOOL_MUST_USE= \
    -D'BUFFERPOOL_READS(d, s)=' -D'BUFFERPOOL_MALLOC(p)=' "$work/include.c" >"$work/plain"
grep -n 'bufferpool.*__attribute__\|never_called\|#pragma' "$work/plain" && fail "something is left of the attributes"
grep -q 'bufferpool_get(bufferpool_t \*pool)' "$work/plain" || fail "there is no bufferpool_get"
echo "$found of $n mistakes are found"
