#!/bin/sh
# SPDX-License-Identifier: MIT
#
# format.sh: clang-format would change nothing in any C or C++ file, and comments are no wider than it allows code to
# be.
#
# Environment: SOURCE (the tree), CLANG_FORMAT
set -eu
cd "$SOURCE"
"$CLANG_FORMAT" --version
files=$(find include src tests examples bench -name '*.[ch]' -o -name '*.[ch]pp')
test "$(echo "$files" | wc -l)" -gt 100
# shellcheck disable=SC2086 # many words
"$CLANG_FORMAT" --dry-run -Werror $files
# shellcheck disable=SC2086
awk 'length > 120 { print FILENAME ":" FNR ": " length " columns"; wide = 1 } END { exit wide }' $files
