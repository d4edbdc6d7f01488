# Which versions find_package takes, and what it says about components that are not there
. "$(dirname "$0")/common.sh"

configure "$here/versions" "$work/build" -DCMAKE_PREFIX_PATH="$(prefix_of staged)" -DVERSION="$VERSION"
