#!/bin/sh
# manual.sh form|names|examples: the pages in docs/man. In the root of the project.
#   form      mandoc finds nothing to complain of, and no page is said to be BSD's
#   names     every public function has a page that shows its declaration, and every reference has its page
#   examples  the example of every page compiles without a warning, and its program succeeds
# shellcheck disable=SC2086 # $pages is a list of words
set -eu
status=0
fail() {
    echo "$*"
    status=1
}
pages=$(echo docs/man/*.[137])
functions=$(sed 's/@.*//' tests/dist/exported-symbols.txt)

case $1 in
form)
    for page in $pages; do
        # what other pages this machine has is of no interest here
        "$MANDOC" -T lint -W style "$page" 2>&1 | grep -v -e 'mandoc.db lacks' -e 'referenced manual not found' &&
            fail "$page: see above"
        grep -qx '\.Os libbufferpool' "$page" || fail "$page: its foot does not say libbufferpool"
    done
    # man(1) formats with groff, which would write BSD at the head and the foot.
    if command -v groff >/dev/null; then
        for page in $pages; do
            groff -mandoc -Tascii "$page" >"$WORK/page"
            grep -w BSD "$WORK/page" && fail "$page: a part of BSD?"
        done
    fi
    ;;
names)
    for function in $functions; do
        page=$(grep -l "^\.Nm $function\( ,\)\{0,1\}$" docs/man/*.3) || { fail "no page is about $function"; continue; }
        test "$(echo "$page" | wc -l)" = 1 || fail "several pages are about $function"
        grep -q "^\.Fn $function " "$page" || fail "$page does not show how $function is declared"
    done
    for reference in $(cat $pages | sed -n 's/^\.\(It \)\{0,1\}Xr \(bufferpool[a-z_-]*\) \([137]\).*/\2.\3/p' | sort -u); do
        test -f "docs/man/$reference" || echo "$functions" | grep -qx "${reference%.3}" ||
            fail "there is no page $reference"
    done
    for name in $(cat $pages | sed -n 's/^\.Fn \(bufferpool_[a-z_]*\).*/\1/p' | sort -u); do
        echo "$functions" | grep -qx "$name" || fail "there is no function $name"
    done
    ;;
examples)
    for page in docs/man/*.[37]; do
        program=$WORK/$(basename "$page" | tr . _)
        sed -n '/^\.Sh EXAMPLES/,/^\.Sh/p' "$page" | sed -n '/^\.Bd -literal/,/^\.Ed/p' | sed -e '/^\.[BE]d/d' -e 's/\\e/\\/g' \
            >"$program.c"
        test -s "$program.c" || { fail "$page has no example"; continue; }
        "$CC" -std=c99 -Wall -Wextra -Wpedantic -Wconversion -Werror -Iinclude "$program.c" "$LIBRARY" \
            "-Wl,-rpath,$(dirname "$LIBRARY")" -o "$program" || { fail "$page: its example does not compile"; continue; }
        "$program" >"$program.out" || fail "$page: its example fails"
    done
    ;;
esac
exit $status
