#!/bin/sh
# verification.sh: every case that docs/verification.md names exists, and the page leaves no public function out. Runs
# in the root of the project.
set -eu
status=0
fail() {
    echo "docs/verification.md: $*"
    status=1
}

cases=$(grep -o '`[a-z_]*/[A-Za-z0-9_][A-Za-z0-9_]*`' docs/verification.md | tr -d '`' | sort -u)
test -n "$cases"
for name in $cases; do
    program=$(echo tests/*/test_"${name%%/*}".c)
    test -f "$program" || { fail "there is no program test_${name%%/*}.c"; continue; }
    grep -q "^static void ${name#*/}(" "$program" || fail "$program has no case ${name#*/}"
done
grep -q _FIGURES docs/verification.md && fail "figures are missing"
for function in $(tr -d ' ;' <tests/dist/exported-symbols.txt | sed -n 's/^.*bufferpool_\([a-z_]*\).*$/\1/p' | sort -u); do
    grep -q "\b$function\b" docs/verification.md || fail "nothing is said of $function"
done
echo "$(echo "$cases" | wc -l) cases named"
exit $status
