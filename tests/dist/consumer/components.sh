# The install components runtime and development together are everything that is installed (a rule without a component
# would be missing from both). The component runtime is the library file and its SONAME link alone.
. "$(dirname "$0")/common.sh"

"$CMAKE" --install "$BUILD" --prefix "$work/parts" --component runtime
(cd "$work/parts" && find . ! -type d | sort) >"$work/runtime"
printf '%s\n' "./$LIBDIR/libbufferpool.so.$SOVERSION" "./$LIBDIR/libbufferpool.so.$VERSION" | sort >"$work/expected"
diff "$work/expected" "$work/runtime" || fail "the runtime component holds something else"

"$CMAKE" --install "$BUILD" --prefix "$work/parts" --component development
# listing PREFIX: what is below it; the prefix is in the path of gdb's commands, too
listing()
{
    (cd "$1" && find . ! -type d | sed "s|/auto-load$1/|/auto-load/PREFIX/|" | sort)
}
listing "$work/parts" >"$work/both"
listing "$(prefix_of staged)" >"$work/all"
diff "$work/all" "$work/both" || fail "something is installed without a component"
