#!/bin/sh
# debugging.sh: the programs in docs/debugging.md print the text that stands below them, except for addresses, numbers
# of threads and times. A program is a block of C. Its output is the block `console` that follows, which begins with the
# command. Runs in the root of the project.
set -eu
status=0
count=0

# Without what differs from run to run, and what the shell says of an abort.
plain() {
    sed -E -e '/^Aborted/d' -e 's/0x[0-9a-f]+/0xN/g' -e 's/thread [0-9]+/thread N/g' -e 's/[0-9]+\.[0-9]{6} s ago/N s ago/g' \
        -e 's/ +[0-9]+\.[0-9]{3}  / N  /g' -e 's/\([^() ]*\+0xN\)/(FILE+0xN)/g'
}

mkdir -p "$WORK"
rm -f "$WORK"/program-*
awk -v base="$WORK/program-" '
    /^```c$/ { n++; to = base n ".c"; next }
    /^```console$/ { to = base n ".said"; next }
    /^```/ { if (to != "") close(to); to = "" }
    to != "" { print > to }' docs/debugging.md
for source in "$WORK"/program-*.c; do
    base=${source%.c}
    test -f "$base.said" || continue
    command=$(sed -n '1s/^\$ //p' "$base.said")
    case $command in BUFFERPOOL_DEBUG=*) ;; *) continue ;; esac
    count=$((count + 1))
    name=${command##* ./}
    # O0: so the places stand in the order of the source
    "$CC" -std=c99 -O0 -g -rdynamic -Wall -Wextra -Wpedantic -Werror -Iinclude \
        -D'BUFFERPOOL_MALLOC(put)=' "$source" "$LIBRARY" \
        "-Wl,-rpath,$(dirname "$LIBRARY")" -o "$WORK/$name" || { status=1; continue; }
    (cd "$WORK" && { eval "$command" 2>&1 || :; }) 2>/dev/null | plain >"$base.got"
    sed 1d "$base.said" | plain >"$base.wanted"
    diff -u "$base.wanted" "$base.got" || { echo "docs/debugging.md: '$command' prints something else"; status=1; }
done
echo "$count programs"
test "$count" -gt 0
exit $status
