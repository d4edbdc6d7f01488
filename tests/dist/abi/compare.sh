# SPDX-License-Identifier: MIT
#
# compare.sh [LIBRARY INCLUDE-DIR]: compares the library of this build, or the one named, with the record of the last
# release. Additions pass. Everything that is removed or changed fails, except that the structs with a size may grow at
# their end.
. "$SOURCE/tests/dist/abi/common.sh"

library=${1:-$LIBRARY} include=${2:-$SOURCE/include}
architecture=$(readelf -hW "$library" | sed -n 's/.*Machine: *//p')
baseline=$(echo "$abi"/released-*.abi)
test -e "$baseline" || fail "not one record of a release: $baseline"
if [ "$architecture" != "Advanced Micro Devices X86-64" ]; then
    echo "SKIPPED: the release is recorded for x86-64, not for $architecture"
    exit 77
fi
if ! grep -q "soname='libbufferpool.so.$SOVERSION'" "$baseline"; then
    echo "SKIPPED: SOVERSION was raised since ${baseline##*/}: programs that were linked with that do not meet this library"
    exit 77
fi
# Both as records: a library itself would be compared with all that it has inside.
record "$include" "$library" >"$work/whole.abi"

# The structs with a size are cut to what the release had of them, and so may have grown at their end. (A suppression with
# has_data_member_inserted_at = end would hide whatever else changes in them.)
awk -F "'" '
    function attribute(name,    i) { for (i = 1; i < NF; i += 2) if ($i ~ " " name "=$") return $(i + 1); return "" }
    /<class-decl / && attribute("name") ~ /^bufferpool_(config|stats)$/ { inside = attribute("name") }
    FNR == NR { if (inside != "" && /<class-decl /) size[inside] = attribute("size-in-bits") + 0; inside = ""; next }
    inside != "" && /<class-decl / && attribute("size-in-bits") + 0 > size[inside] {
        sub("size-in-bits=\047[0-9]*\047", "size-in-bits=\047" size[inside] "\047")
    }
    inside != "" && /<data-member / && attribute("layout-offset-in-bits") + 0 >= size[inside] { beyond = 1 }
    !beyond { print }
    /<\/data-member>/ { beyond = 0 }
    /<\/class-decl>/ { inside = "" }' "$baseline" "$work/whole.abi" >"$work/today.abi"

# `abidiff` says 4 for any change; without --no-added-syms it would also for what is added.
if ! "$ABIDIFF" --no-added-syms "$baseline" "$work/today.abi"; then
    fail "programs that were linked with ${baseline##*/} may not run with this library"
fi
