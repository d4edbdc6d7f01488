#!/bin/sh
# blocks.sh: every block of C in docs/*.md is a file that compiles without a warning. In the root of the project.
set -eu
status=0
count=0
for page in docs/*.md; do
    rm -f "$WORK"/block-*.c
    awk -v base="$WORK/block-" '/^```c$/ { on = 1; n++; next } /^```/ { on = 0 } on { print > (base n ".c") }' "$page"
    for block in "$WORK"/block-*.c; do
        test -f "$block" || continue
        count=$((count + 1))
        # A block may put twice on purpose.
        "$CC" -std=c99 -Wall -Wextra -Wpedantic -Wconversion -Wmissing-prototypes -Werror -Iinclude \
            -D'BUFFERPOOL_MALLOC(put)=' -c -o /dev/null "$block" ||
            { echo "$page: a block does not compile"; status=1; }
    done
done
echo "$count blocks"
test "$count" -gt 0
exit $status
