#!/bin/sh
# cmocka.sh FOLDER [TARBALL]: puts the source of Debian 12's cmocka into FOLDER. Without TARBALL it is fetched from where
# apt has its packages, with apt's own settings; that needs no right to install, and changes nothing outside of FOLDER.
set -eu
export LC_ALL=C
folder=$1
tarball=${2:-}

version=1.1.5
sha256=f0ccd8242d55e2fd74b16ba518359151f6f8383ff8aef4976e48393f77bba8b6 # as signed by Debian in cmocka_1.1.5-2.1.dsc

fail()
{
    echo "FAILED: $*" >&2
    exit 1
}

test ! -e "$folder/src/cmocka.c" || exit 0
rm -rf "$folder"
mkdir -p "$folder"
if test -z "$tarball"; then
    # The source lies beside the package. apt says where that is: 'http://.../libcmocka-dev_....deb' ...
    package=$(apt-get download --print-uris libcmocka-dev 2>/dev/null | sed -n "1s/^'\([^']*\)'.*/\1/p")
    test -n "$package" || fail "apt knows no libcmocka-dev: apt-get update, or -DBUFFERPOOL_CMOCKA_TARBALL=..."
    tarball=$folder/cmocka.tar.xz
    /usr/lib/apt/apt-helper download-file "${package%/*}/cmocka_$version.orig.tar.xz" "$tarball" "SHA256:$sha256"
fi
echo "$sha256  $tarball" | sha256sum --check --quiet
tar -xJf "$tarball" -C "$folder" --strip-components=1
echo "cmocka $version"
