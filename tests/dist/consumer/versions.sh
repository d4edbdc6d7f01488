# Which versions find_package accepts, and what it says about components that do not exist
. "$(dirname "$0")/common.sh"

configure "$here/versions" "$work/build" -DCMAKE_PREFIX_PATH="$(prefix_of staged)" -DVERSION="$VERSION"
