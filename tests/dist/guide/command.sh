#!/bin/sh
# SPDX-License-Identifier: MIT
#
# command.sh: the command of docs/guide/README.md compiles each program of the guide, without a warning. In the root of
# the project. Nothing is linked: the tests of the package do that with an installed library.
set -eu
command=$(sed -n 's/^    cc \(.*\)$/\1/p' docs/guide/README.md)
case $command in
*' echo.c $(pkg-config '*') -pthread -o echo') ;;
*) echo "docs/guide/README.md: no command, or another one: $command"; exit 1 ;;
esac
flags=${command%% echo.c*}
include=$PWD/include
cd examples/guide
for program in *.c; do
    # shellcheck disable=SC2086 # the flags are words
    "$CC" $flags -Wall -Werror -I"$include" -fsyntax-only "$program"
done
