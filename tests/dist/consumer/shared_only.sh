# A distribution leaves the archive out, with its export file or without it. Users of the shared library notice nothing,
# and a project that requires the static library is told.
. "$(dirname "$0")/common.sh"

package=$LIBDIR/cmake/bufferpool
for left in with-export-file without; do
    prefix=$work/$left
    cp -a "$(prefix_of staged)" "$prefix"
    rm "$prefix/$LIBDIR/libbufferpool.a"
    if [ $left = without ]; then
        rm "$prefix/$package"/bufferpool-static-targets*.cmake
    fi

    for arguments in "" "COMPONENTS;shared" "COMPONENTS;shared;OPTIONAL_COMPONENTS;static"; do
        rm -rf "$work/build"
        configure "$here/find_package" "$work/build" -DCMAKE_PREFIX_PATH="$prefix" -DTARGET=bufferpool::bufferpool \
            -DARGUMENTS="$arguments" -DABSENT=bufferpool::static
        "$CMAKE" --build "$work/build"
        "$work/build/app" shared "$prefix"
    done

    rm -rf "$work/build"
    if configure "$here/find_package" "$work/build" -DCMAKE_PREFIX_PATH="$prefix" -DTARGET=bufferpool::bufferpool \
        -DARGUMENTS="COMPONENTS;static" >"$work/log" 2>&1; then
        fail "COMPONENTS static was accepted without the archive"
    fi
    tr -s ' \n' '  ' <"$work/log" | grep -q "The static bufferpool library is not installed here" ||
        fail "no clear message, but: $(cat "$work/log")"
done
