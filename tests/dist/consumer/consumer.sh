# consumer.sh staged|moved|destdir WAY: builds app.c against the installed copy and runs it
. "$(dirname "$0")/common.sh"

prefix=$(prefix_of "$1")
libdir=$prefix/$LIBDIR
export PKG_CONFIG_LIBDIR="$libdir/pkgconfig"
cc="$CC -Wall -Wextra -Werror"
cd "$work"

# find_package_app KIND TARGET FIND_PACKAGE-ARGUMENTS [OPTION...]
find_package_app()
{
    kind=$1 target=$2 arguments=$3
    shift 3
    configure "$here/find_package" build -DCMAKE_PREFIX_PATH="$prefix" -DTARGET="$target" -DARGUMENTS="$arguments" "$@"
    "$CMAKE" --build build
    build/app "$kind" "$prefix"
}

case $2 in
find_package.default)
    find_package_app shared bufferpool::bufferpool ""
    ;;
find_package.static_by_default)
    find_package_app static bufferpool::bufferpool "" -DBUILD_SHARED_LIBS=OFF
    ;;
find_package.shared)
    find_package_app shared bufferpool::bufferpool "COMPONENTS;shared" -DBUILD_SHARED_LIBS=OFF -DABSENT=bufferpool::static
    ;;
find_package.static)
    find_package_app static bufferpool::bufferpool "COMPONENTS;static" -DBUILD_SHARED_LIBS=ON -DABSENT=bufferpool::shared
    ;;
find_package.both)
    find_package_app shared bufferpool::shared "COMPONENTS;shared;static"
    rm -r build
    find_package_app static bufferpool::static "COMPONENTS;shared;static"
    ;;
pkg_config.shared)
    # shellcheck disable=SC2046 # several words
    $cc "$here/app.c" $(pkg-config --cflags --libs bufferpool) -o app
    LD_LIBRARY_PATH=$libdir ./app shared "$prefix"
    ;;
pkg_config.static)
    flags=$(pkg-config --static --cflags --libs bufferpool)
    case " $flags " in *" -pthread "*) ;; *) fail "no -pthread in: $flags" ;; esac
    # --static adds what the archive needs; but the linker takes the shared library where it sees both...
    # shellcheck disable=SC2086 # several words
    $cc "$here/app.c" $flags -o app
    LD_LIBRARY_PATH=$libdir ./app shared "$prefix"
    # ...unless the program is static as a whole.
    # shellcheck disable=SC2086 # several words
    $cc -static "$here/app.c" $flags -o app-static
    ./app-static static "$prefix"
    ;;
plain.shared)
    $cc "$here/app.c" -I"$prefix/include" -L"$libdir" -lbufferpool -Wl,-rpath,"$libdir" -o app
    ./app shared "$prefix"
    ;;
plain.static)
    $cc "$here/app.c" -I"$prefix/include" "$libdir/libbufferpool.a" -pthread -o app
    ./app static "$prefix"
    ;;
*)
    fail "unknown way $2"
    ;;
esac
