# install.sh staged|moved|destdir: makes the installed copies that the consumers use
. "$(dirname "$0")/common.sh"

prefix=$(prefix_of "$1")
rm -rf "$prefix"
mkdir -p "$(dirname "$prefix")"
case $1 in
staged)
    "$CMAKE" --install "$BUILD" --prefix "$prefix"
    ;;
moved)
    "$CMAKE" --install "$BUILD" --prefix "$work/first"
    mv "$work/first" "$prefix"
    ;;
destdir)
    DESTDIR=$SCRATCH/prefix/destdir "$CMAKE" --install "$BUILD" --prefix /opt/bufferpool
    ;;
esac
test -e "$prefix/include/bufferpool.h" || fail "nothing in $prefix"
