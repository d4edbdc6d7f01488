# Which versions find_package accepts, and what it says about components that do not exist. The policy of CONTRIBUTING.md
# is that a minor version adds and a major version breaks, also while the major version is 0. So a library serves every
# program that asks for a version of the same major number, up to the library's own: this one, and copies that say they
# are later ones.
. "$(dirname "$0")/common.sh"

prefix=$(prefix_of staged)
configure "$here/versions" "$work/build" -DCMAKE_PREFIX_PATH="$prefix" -DVERSION="$VERSION"

escaped=$(echo "$VERSION" | sed 's/\./\\./g')
for later in 0.13.4 1.0.0 2.5.1; do
    cp -R "$prefix" "$work/$later"
    file=$work/$later/$LIBDIR/cmake/bufferpool/bufferpool-config-version.cmake
    sed -i "s/$escaped/$later/g" "$file"
    grep -q "set(PACKAGE_VERSION \"$later\")" "$file" || fail "$file does not say $later"
    configure "$here/versions" "$work/build-$later" -DCMAKE_PREFIX_PATH="$work/$later" -DVERSION="$later"
done
