# The modules of the library call downwards only, as the diagram in docs/design.md has them from top to bottom; so no circle is
# possible. By the symbols of the object files in the archive, and by the #include lines of src/.
#
# 1. Every source of src/ has one row of the diagram.
# 2. No object uses a symbol of a module that stands above its own.
# 3. No file includes the header of a module that stands above its own.
# 4. src/heap/ uses only itself, the ground floor that the diagram names, and the hooks for sanitizers.
. "$(dirname "$0")/common.sh"

if nm "$ARCHIVE" 2>/dev/null | grep -q gcov; then
    echo "an instrumented library: not looked at"
    exit 77
fi

# The rows of the diagram: "heap/slab" for src/heap/slab.c, or for src/heap/slab.h where there is no source.
sed -n '/^## Where to change what/,/^## /p' "$SOURCE/docs/design.md" |
    sed -nE 's|^    ([a-z_]+/)?([a-z_]+)\.[ch] .*|\1\2|p' >"$work/rows"
(cd "$SOURCE/src" && find . -name '*.c' | sed 's|^\./||; s|\.c$||' | sort) >"$work/sources"
grep -Fxf "$work/sources" "$work/rows" | sort >"$work/drawn"
diff "$work/sources" "$work/drawn" || fail "src/ (<) and the diagram in docs/design.md (>) differ"
test -z "$(sort "$work/rows" | uniq -d)" || fail "a module stands twice in the diagram"

# uses: lines "A B", where A uses a symbol that B defines. An object is named after its source without the folder.
nm -A "$ARCHIVE" 2>/dev/null | sed -nE 's/^.*:([a-z_]+)\.c\.o:([0-9a-f ]*) ([A-Za-z]) ([^ ]+)$/\1 \3 \4/p' >"$work/symbols"
test -s "$work/symbols" || fail "nm tells nothing of $ARCHIVE"
awk '$2 ~ /[TDBRWVCS]/ { of[$3] = $1 } { line[NR] = $0 } END {
    for (i = 1; i <= NR; i++) {
        split(line[i], f, " ")
        if (f[2] == "U" && f[3] in of && of[f[3]] != f[1]) print f[1], of[f[3]]
    }
}' "$work/symbols" | sort -u >"$work/uses"

# includes: lines "A B", where a file of module A includes the header of module B.
(cd "$SOURCE/src" && grep -rE '^ *# *include "' .) |
    sed -nE 's|^\./(.*)\.[ch]:.*"(.*)\.h"$|\1 \2|p' | sed -E 's|[a-z]+/||g' | sort -u | awk '$1 != $2' >"$work/includes"
test -s "$work/includes" || fail "nothing is included"

# upwards FILE: the lines of FILE that go from a module to one above it; modules without a row are no floor
upwards()
{
    sed -E 's|.*/||' "$work/rows" | cat - "$1" | awk 'NF == 1 { floor[$1] = NR }
        NF == 2 && $1 in floor && $2 in floor && floor[$2] < floor[$1]'
}

# beyond_the_heap FILE: the lines of FILE that go from src/heap/ to what it may not use
beyond_the_heap()
{
    sed -n 's|^heap/||p' "$work/sources" | cat - "$1" | awk 'NF == 1 { heap[$1] } NF == 2 && $1 in heap && !($2 in heap) &&
        $2 !~ /^(types|atomic|lock|clock|slots|account|sanitizer|modes)$/'
}

test -z "$(upwards "$work/uses")" || fail "calls go up: $(upwards "$work/uses")"
test -z "$(upwards "$work/includes")" || fail "includes go up: $(upwards "$work/includes")"
test -z "$(beyond_the_heap "$work/uses")" || fail "src/heap/ uses more than it may: $(beyond_the_heap "$work/uses")"
test -z "$(beyond_the_heap "$work/includes")" || fail "src/heap/ includes more than it may: $(beyond_the_heap "$work/includes")"

# A mistake of each kind is seen.
printf '%s\n' 'say pool' 'slab depot' >"$work/planted"
test "$(upwards "$work/planted")" = "$(cat "$work/planted")" || fail "a call that goes up is not seen"
test "$(beyond_the_heap "$work/planted")" = 'slab depot' || fail "a call out of src/heap/ is not seen"

echo "$(wc -l <"$work/sources") modules, $(wc -l <"$work/uses") pairs of them use each other, none upwards"
