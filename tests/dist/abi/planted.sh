# SPDX-License-Identifier: MIT
#
# planted.sh passes|refuses CHANGE: compare.sh with a library that differs from today's by that change
. "$SOURCE/tests/dist/abi/common.sh"

tree=$work/tree header=$work/tree/include/bufferpool.h
copy_tree "$tree"
case $2 in
none) ;;
added_function)
    # shellcheck disable=SC2016 # sed's $, the last line
    edit "$tree/src/bufferpool.map" \
        '$s|$|\nBUFFERPOOL_9.9 {\nglobal:\n    bufferpool_added;\n} BUFFERPOOL_0.2;|'
    edit "$header" \
        's|^BUFFERPOOL_API .*bufferpool_version.*|&\nBUFFERPOOL_API int bufferpool_added(bufferpool_stats_t *stats);|'
    echo 'int bufferpool_added(bufferpool_stats_t *stats) { return stats != 0; }' >>"$tree/src/stats.c"
    ;;
grown_structs)
    grow_structs "$tree"
    ;;
removed_function)
    edit "$tree/src/bufferpool.map" '/bufferpool_max_live;/d'
    ;;
moved_to_another_node)
    edit "$tree/src/bufferpool.map" '/bufferpool_reclaim;/d' 's|^    bufferpool_live;|&\n    bufferpool_reclaim;|'
    ;;
changed_parameter)
    edit "$header" '/bufferpool_get_timed(/s/unsigned timeout_ms/uint64_t timeout_ms/'
    edit "$tree/src/timed.c" '/^bufferpool_buf_t \*bufferpool_get_timed(/s/unsigned timeout_ms/uint64_t timeout_ms/'
    ;;
changed_result)
    edit "$header" 's/BUFFERPOOL_API size_t bufferpool_trim/BUFFERPOOL_API unsigned bufferpool_trim/'
    edit "$tree/src/reclaim.c" 's/^size_t bufferpool_trim/unsigned bufferpool_trim/'
    ;;
inserted_in_config)
    edit "$header" 's|^    size_t max_idle_bytes;|    size_t inserted;\n&|'
    ;;
inserted_in_stats)
    edit "$header" 's|^    uint64_t grows; |    uint64_t inserted;\n&|'
    ;;
swapped_in_config)
    edit "$header" '/^    size_t max_capacity; /d' 's|^    size_t alignment; .*|&\n    size_t max_capacity;|'
    ;;
narrowed_in_stats)
    edit "$header" 's|^    uint64_t thread_caches; |    uint32_t thread_caches;|'
    ;;
grown_and_swapped)
    grow_structs "$tree"
    edit "$header" '/^    unsigned flags; /d' 's|^    unsigned reclaim_interval_ms; .*|    unsigned flags;\n&|'
    ;;
swapped_in_buffer)
    edit "$header" '/^    size_t len; /d' 's|^    const size_t cap; .*|&\n    size_t len;|'
    edit "$tree/src/types.h" 's|size_t len, cap;|size_t cap, len;|'
    ;;
*)
    fail "unknown change $2"
    ;;
esac
build_library "$tree" "$work/libbufferpool.so"

verdict=passes
NAME=$NAME.compare sh "$abi/compare.sh" "$work/libbufferpool.so" "$tree/include" >"$work/log" 2>&1 || verdict=$?
cat "$work/log"
case $verdict in
77) exit 77 ;;
1) verdict=refuses ;;
esac
test "$verdict" = "$1" || fail "$2: $verdict"
if [ "$1" = refuses ] && ! grep -q 'may not run with this library' "$work/log"; then
    fail "$2: refused for another reason"
fi
