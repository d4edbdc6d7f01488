# SPDX-License-Identifier: MIT
#
# The target `uninstall` removes what `cmake --install` put in place, and nothing else.
. "$SOURCE/tests/dist/consumer/common.sh"

configure "$SOURCE" "$work/build" -DCMAKE_INSTALL_PREFIX=/opt/elsewhere \
    -DBUFFERPOOL_BUILD_TESTS=OFF -DBUFFERPOOL_BUILD_EXAMPLES=OFF
"$CMAKE" --build "$work/build"
uninstall()
{
    "$CMAKE" --build "$work/build" --target uninstall
}
if uninstall >"$work/log" 2>&1; then
    fail "it removed something before anything was installed"
fi
grep -q "Nothing was installed" "$work/log" || fail "no clear message: $(cat "$work/log")"

# install_and_remove ROOT PREFIX: with files of others beside ours
install_and_remove()
{
    mkdir -p "$1$2/include" "$1$2/share/man/man3"
    echo other >"$1$2/include/other.h"
    echo other >"$1$2/share/man/man3/other.3"
    DESTDIR=$1 "$CMAKE" --install "$work/build" --prefix "$2"
    test -e "$1$2/include/bufferpool/bufferpool.hpp" || fail "nothing was installed"
    rm "$1$2/include/bufferpool.h" # already gone: no error
    DESTDIR=$1 uninstall
    (cd "$1$2" && find . ! -type d | sort) >"$work/left"
    printf '%s\n' ./include/other.h ./share/man/man3/other.3 | diff - "$work/left" || fail "$1$2: this is left (>)"
    if find "$1$2" -type d | grep bufferpool'$'; then
        fail "$1$2: a folder of the library's is left"
    fi
    if find "$1$2/share/gdb/auto-load" -mindepth 1 | grep .; then
        fail "$1$2: a folder below gdb's auto-load is left"
    fi
}
install_and_remove "" "$work/prefix"
install_and_remove "$work/root" /usr/local

# What others put into the library's folder stays there.
"$CMAKE" --install "$work/build" --prefix "$work/shared"
echo theirs >"$work/shared/include/bufferpool/theirs.h"
uninstall
test -e "$work/shared/include/bufferpool/theirs.h" || fail "a file of others' is gone"
