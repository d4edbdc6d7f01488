# Three lists must be equal: what the shared library exports, tests/dist/exported-symbols.txt, and what the header
# declares with BUFFERPOOL_API. The archive defines the functions of the header too, all hidden.
. "$(dirname "$0")/common.sh"

# The symbols of kind A are the version nodes themselves.
nm -D --defined-only "$LIBRARY" | awk '$2 != "A" { print $3 }' | sort >"$work/exported"
sort "$SOURCE/tests/dist/exported-symbols.txt" | diff - "$work/exported" ||
    fail "the library exports something else than tests/dist/exported-symbols.txt (<) says"

echo '#include <bufferpool.h>' | $CC -E -P -D"BUFFERPOOL_API=exported_function" -I"$SOURCE/include" - | tr '\n' ' ' |
    grep -o 'exported_function[^(]*(' | grep -o '[a-z_]*($' | tr -d '(' | sort >"$work/declared"
sed 's/@.*//' "$work/exported" | diff "$work/declared" - ||
    fail "the library exports something else than the header declares (<)"

readelf -sW "$ARCHIVE" | awk '$5 == "GLOBAL" && $7 != "UND" && $8 ~ /^bufferpool_/ { print $6, $8 }' >"$work/archive"
while read -r name; do
    grep -q "^HIDDEN $name\$" "$work/archive" || fail "$name is not in the archive as a hidden symbol"
done <"$work/declared"
