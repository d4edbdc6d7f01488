# subproject.sh default|shared|static|both|fetch_content: the library as a part of another project, in subproject/
. "$(dirname "$0")/common.sh"

shared_is_built=0 static_is_built=0
case $1 in
default) options="" static_is_built=1 build_type="" ;; # as add_library does without BUILD_SHARED_LIBS
fetch_content) options="-DFETCH_CONTENT=ON" static_is_built=1 ;;
shared) options="-DBUILD_SHARED_LIBS=ON" shared_is_built=1 ;;
static) options="-DBUILD_SHARED_LIBS=OFF" static_is_built=1 ;;
both) options="-DBUFFERPOOL_BUILD_SHARED=ON -DBUFFERPOOL_BUILD_STATIC=ON" shared_is_built=1 static_is_built=1 ;;
esac

# The parent compiles with a standard and flags of its own, and treats every warning as an error.
# shellcheck disable=SC2086 # several words, or none
configure "$here/subproject" "$work/build" $options -DBUFFERPOOL_TREE="$SOURCE" -DCMAKE_COMPILE_WARNING_AS_ERROR=ON
"$CMAKE" --build "$work/build"

ran=0
for kind in shared static; do
    eval "expected=\$${kind}_is_built"
    if [ -e "$work/build/app-$kind" ] && [ "$expected" = 1 ]; then
        "$work/build/app-$kind" $kind "$work/build"
    elif [ -e "$work/build/app-$kind" ] || [ "$expected" = 1 ]; then
        fail "$kind library: built or not built against expectation"
    fi
done

if "$CMAKE" --build "$work/build" --target help | grep uninstall; then
    fail "it brings the parent a target to uninstall"
fi
"$CMAKE" --install "$work/build" --prefix "$work/installed"
test ! -e "$work/installed" || fail "it installs into the parent: $(find "$work/installed")"
cd "$work/build"
"$(dirname "$CMAKE")/ctest" -N | grep -q 'Total Tests: 0' || fail "it adds tests to the parent"
