# SPDX-License-Identifier: MIT
#
# The archive of the sources holds what is tracked and the library as one source. It can be built, installed and used
# without git.
. "$SOURCE/tests/dist/consumer/common.sh"

cd "$work"
tar xzf "$PACKAGES/libbufferpool-$VERSION.tar.gz"
tree=$work/libbufferpool-$VERSION
if tracked=$(git -C "$SOURCE" ls-files --cached --others --exclude-standard 2>/dev/null); then
    echo "$tracked" | while read -r path; do
        if [ -e "$SOURCE/$path" ]; then echo "./$path"; fi
    done >tracked
    printf './amalgamation/bufferpool.%s\n' c h >>tracked
    sort -o tracked tracked
    (cd "$tree" && find . ! -type d | sort) | diff tracked - || fail "the archive holds something else than what is tracked (<)"
fi

# A git that fails whatever is asked of it.
mkdir bin
printf '#!/bin/sh\necho "git was called" >&2\nexit 1\n' >bin/git
chmod +x bin/git
PATH=$work/bin:$PATH
configure "$tree" build -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$work/prefix" -DBUFFERPOOL_BUILD_EXAMPLES=OFF
"$CMAKE" --build build --target bufferpool_shared bufferpool_static test_api test_cap test_buffer
"$(dirname "$CMAKE")/ctest" --test-dir build -R '^(api|cap|buffer)$' --output-on-failure --no-tests=error
configure "$tree" build-alone -DCMAKE_INSTALL_PREFIX="$work/prefix" -DBUFFERPOOL_BUILD_TESTS=OFF -DBUFFERPOOL_BUILD_EXAMPLES=OFF
"$CMAKE" --build build-alone
"$CMAKE" --install build-alone
libdir=$(sed -n 's/^CMAKE_INSTALL_LIBDIR:[A-Z]*=//p' build-alone/CMakeCache.txt)
$CC "$here/app.c" -I"$work/prefix/include" -L"$work/prefix/$libdir" -lbufferpool -Wl,-rpath,"$work/prefix/$libdir" -o app
./app shared "$work/prefix"

$CC -I"$tree/amalgamation" "$here/app.c" "$tree/amalgamation/bufferpool.c" -pthread -ldl -o amalgamated
./amalgamated static "$work"
