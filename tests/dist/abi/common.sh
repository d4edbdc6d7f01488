# SPDX-License-Identifier: MIT
#
# Read by every script here, and by baseline.sh for a release
. "$SOURCE/tests/dist/consumer/common.sh"

abi=$SOURCE/tests/dist/abi

# copy_tree TO: what a library is made of
copy_tree()
{
    mkdir -p "$1"
    cp -R "$SOURCE/include" "$SOURCE/src" "$1"
}

# build_library TREE LIBRARY: at one stroke and without optimization, for what is exported is the same
build_library()
{
    $CC -std=c11 -D_GNU_SOURCE -O0 -g -fPIC -fvisibility=hidden -ffile-prefix-map="$1"=. -I"$1/include" -I"$1/src" -shared "$1"/src/*.c "$1"/src/*/*.c \
        -Wl,--version-script="$1/src/bufferpool.map" -Wl,-soname,libbufferpool.so."$SOVERSION" -pthread -o "$2"
}

# edit FILE SED-EXPRESSION...: each must change something, or the test is out of date
edit()
{
    file=$1
    shift
    for expression; do
        cp "$file" "$work/unedited"
        sed -i "$expression" "$file"
        if cmp -s "$file" "$work/unedited"; then
            fail "$file: nothing to edit for $expression"
        fi
    done
}

# Appends a field to both structs that have a size: one that does not fit into what retain_ms leaves of a word.
grow_structs()
{
    edit "$1/include/bufferpool.h" \
        's|^} bufferpool_config_t;|    size_t grown;\n&|' \
        's|^        1000  *\(/\* retain_ms \*/  *\\\)$|        1000, 0 \1|' \
        's|^} bufferpool_stats_t;|    uint64_t grown;\n&|' \
        's|{ sizeof(struct bufferpool_stats), 0,|& 0,|'
}

# record INCLUDE-DIR LIBRARY: the interface as abidiff compares it: what the public headers declare, without the names of
# parameters and without places in files
record()
{
    abidw --headers-dir "$1" --drop-private-types --exported-interfaces-only --drop-undefined-syms --no-corpus-path \
        --no-comp-dir-path --no-show-locs --no-elf-needed --no-parameter-names --no-write-default-sizes "$2"
}
