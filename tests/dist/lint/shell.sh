#!/bin/sh
# SPDX-License-Identifier: MIT
#
# shell.sh: shellcheck over all shell scripts, each as the shell that its first line names; without one, as a POSIX shell.
#
# Environment: SOURCE (the tree), SHELLCHECK
set -eu
cd "$SOURCE"
"$SHELLCHECK" --version | sed -n 's/^version: /shellcheck /p'
failed=0 n=0
for script in .ci/run $(find bench examples tests tools -name '*.sh' | sort); do
    n=$((n + 1))
    case $(head -n 1 "$script") in
    '#!'*) "$SHELLCHECK" "$script" || failed=$((failed + 1)) ;;
    *) if grep -q '^# shellcheck shell=' "$script"; then
        "$SHELLCHECK" "$script" || failed=$((failed + 1))
        continue
    fi ;;
    esac
    case $(head -n 1 "$script") in
    '#!'*) ;;
    *) "$SHELLCHECK" --shell=dash "$script" || failed=$((failed + 1)) ;;
    esac
done
echo "$n scripts, findings in $failed"
test "$n" -gt 10 && test "$failed" -eq 0
