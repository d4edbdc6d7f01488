# SPDX-License-Identifier: MIT
#
# sized.sh same|old_program|new_program|MISTAKE: runs sized.c with a library whose structs have the fields that it
# knows, one field more, or one field less. A MISTAKE is one in a library that has a field more, and sized.c must notice
# it.
. "$SOURCE/tests/dist/abi/common.sh"

# The new library: a field more in each struct, the one checked, the other filled in.
new=$work/new
copy_tree "$new"
grow_structs "$new"
edit "$new/src/config.c" 's|{c->retain_ms == BUFFERPOOL_NEVER, |{c->grown >= 5, "grown", c->grown, "is too much", 0},\n        &|'
edit "$new/src/stats.c" 's|^    stats->stolen = .*|&\n    stats->grown = 42;|'

# run INCLUDE-DIR LIBRARY MODE
run()
{
    $CC -Wall -Wextra -Werror -std=c99 -D"$3" -I"$1" "$abi/sized.c" "$2" -Wl,-rpath,"$work/run" -o "$work/sized"
    mkdir -p "$work/run"
    cp "$2" "$work/run/libbufferpool.so.$SOVERSION"
    "$work/sized"
}

case $1 in
same)
    build_library "$new" "$work/libnew.so"
    run "$new/include" "$work/libnew.so" GROWN
    run "$SOURCE/include" "$LIBRARY" SAME
    ;;
old_program)
    build_library "$new" "$work/libnew.so"
    run "$SOURCE/include" "$work/libnew.so" SAME
    ;;
new_program)
    run "$new/include" "$LIBRARY" NEWER
    ;;
config_beyond_its_size)
    edit "$new/src/config.c" 's|memcpy(to, from, size);|memcpy(to, from, sizeof(*to));|'
    ;;
stats_beyond_its_size)
    edit "$new/src/stats.c" 's|^            memcpy(stats, &full, size);|            memcpy(stats, \&full, sizeof(full));|'
    ;;
stats_left_unset)
    # of today's library, for a program whose header is newer
    copy_tree "$work/old"
    edit "$work/old/src/stats.c" '/memset((unsigned char \*)stats + sizeof(full)/d'
    ;;
*)
    fail "unknown: $1"
    ;;
esac

case $1 in
*_beyond_its_size)
    build_library "$new" "$work/libnew.so"
    if run "$SOURCE/include" "$work/libnew.so" SAME; then
        fail "sized.c does not notice"
    fi
    ;;
stats_left_unset)
    build_library "$work/old" "$work/libold.so"
    if run "$new/include" "$work/libold.so" NEWER; then
        fail "sized.c does not notice"
    fi
    ;;
esac
