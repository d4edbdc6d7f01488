#!/bin/sh
# SPDX-License-Identifier: MIT
#
# tidy.sh SHARD SHARDS PATTERN...: clang-tidy over the sources whose path below the tree matches one of the patterns
# (those of `case`). This run takes every SHARDS-th of them. It names, and does not read, a source that no build
# compiles; having none left is an error.
#
# Environment: SOURCE (the tree), COMMANDS (the folder with compile_commands.json), CLANG_TIDY
set -eu
shard=$1 shards=$2
shift 2

# gcc's own options are not clang's
commands=$(mktemp -d)
trap 'rm -rf "$commands"' EXIT
sed 's/ -fira-algorithm=[a-z]*//' "$COMMANDS/compile_commands.json" >"$commands/compile_commands.json"

is_asked_for()
{
    path=$1
    shift
    for pattern; do
        # shellcheck disable=SC2254 # patterns they are
        case $path in $pattern) return 0 ;; esac
    done
    return 1
}

"$CLANG_TIDY" --version | sed -n 's/^ *\(.*version.*\)/\1/p'
failed=0 n=0 read=0
for path in $(cd "$SOURCE" && find src tests examples bench -name '*.c' | sort); do
    is_asked_for "$path" "$@" || continue
    n=$((n + 1))
    test $((n % shards)) -eq $((shard % shards)) || continue
    if ! grep -q "\"file\": \"$SOURCE/$path\"" "$COMMANDS/compile_commands.json"; then
        echo "$path: no build here compiles it"
        continue
    fi
    echo "$path"
    read=$((read + 1))
    case $path in
    tests/*/test_*.c) include=$SOURCE/tests/dist/lint/assertions.h ;;
    *) include=/dev/null ;;
    esac
    "$CLANG_TIDY" -p "$commands" --quiet --warnings-as-errors='*' --extra-arg=-include"$include" "$SOURCE/$path" ||
        failed=$((failed + 1))
done
echo "$read sources, findings in $failed"
test "$read" -gt 0 && test "$failed" -eq 0
