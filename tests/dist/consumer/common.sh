# Read by every script here. The environment comes from packaging_test() in CMakeLists.txt.
set -eu
unset DESTDIR CFLAGS CPPFLAGS LDFLAGS PKG_CONFIG_PATH PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR LD_LIBRARY_PATH
export LC_ALL=C

here=$SOURCE/tests/dist/consumer
work=$SCRATCH/$NAME # this test's own folder
rm -rf "$work"
mkdir -p "$work"

fail()
{
    echo "FAILED: $*" >&2
    exit 1
}

# prefix_of staged|moved|destdir: where install.sh put the copy
prefix_of()
{
    case $1 in
    destdir) echo "$SCRATCH/prefix/destdir/opt/bufferpool" ;;
    *) echo "$SCRATCH/prefix/$1" ;;
    esac
}

# configure SOURCE-DIR BUILD-DIR [OPTION...]: by default for a build that is quickly done
build_type=Debug
configure()
{
    from=$1 to=$2
    shift 2
    "$CMAKE" -S "$from" -B "$to" -G "$GENERATOR" -DCMAKE_C_COMPILER="$CC" \
        ${build_type:+"-DCMAKE_BUILD_TYPE=$build_type"} "$@"
}
