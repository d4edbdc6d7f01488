# SPDX-License-Identifier: MIT
#
# The Debian packages, installed by dpkg in a clean root, used there by each of the ways that README.md names, and purged:
# nothing is left of them.
#
# A clean root is a folder with those packages of this machine and no others that a compiler, CMake, pkg-config and dpkg
# itself depend on, their files copied, and with a database of dpkg's that knows of these alone. So dependencies are
# checked, triggers run, and the library is found where the packages put it or not at all. Everything happens below
# chroot, with a /proc of its own; nothing of the machine is changed.
. "$SOURCE/tests/dist/consumer/common.sh"

skip()
{
    echo "SKIPPED: $*"
    exit 77
}
[ "$(id -u)" = 0 ] || skip "not root"
unshare --mount true 2>/dev/null || skip "no mount namespace here (in a container: --cap-add SYS_ADMIN, or --privileged)"
dpkg -S "$(readlink -f "$CMAKE")" >/dev/null 2>&1 || skip "cmake is not that of a package"
for package in gcc cmake ninja-build pkgconf dpkg; do
    dpkg-query -W $package >/dev/null 2>&1 || skip "no package $package"
done

root=$work/root
mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64" "$root/etc" "$root/dev" "$root/proc" \
    "$root/tmp" "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/lib/dpkg/triggers" "$root/var/log"
ln -s usr/bin usr/sbin usr/lib usr/lib64 "$root"
mknod -m 666 "$root/dev/null" c 1 3 || skip "no device can be made here"

# The closure of what is depended on: names, the names that are provided, and of alternatives each that is installed.
dpkg-query -W -f '${db:Status-Status}\t${Package}\t${Provides}\t${Pre-Depends}, ${Depends}\n' |
    awk -F '\t' -v wanted="dpkg libc-bin dash bash coreutils grep sed diffutils findutils mawk gcc libc6-dev cmake ninja-build pkgconf" '
        function plain(name) { sub(/^ */, "", name); sub(/[ :(\[].*/, "", name); return name }
        function want(name,    i, list, of) {
            name = plain(name)
            if (!(name in depends)) {
                of = split(provided[name], list, " ")
                for (i = 1; i <= of; i++) want(list[i])
            } else if (!(name in taken)) {
                taken[name]
                of = split(depends[name], list, /[,|]/)
                for (i = 1; i <= of; i++) want(list[i])
            }
        }
        $1 == "installed" {
            depends[$2] = depends[$2] $4
            n = split($3, p, ",")
            for (i = 1; i <= n; i++) provided[plain(p[i])] = provided[plain(p[i])] " " $2
        }
        END { n = split(wanted, w, " "); for (i = 1; i <= n; i++) want(w[i]); for (name in taken) print name }' |
    sort >"$work/packages"
echo "a root of $(wc -l <"$work/packages") packages"
if grep -q bufferpool "$work/packages"; then
    fail "the root is not clean"
fi

while read -r package; do
    dpkg-query -L "$package"
done <"$work/packages" | sort -u | grep -v -e '^/usr/share/\(doc\|man\|info\|locale\|lintian\|bash-completion\)/' |
    while read -r path; do
        if [ -h "$path" ] || [ -f "$path" ]; then
            echo "${path#/}"
        fi
    done >"$work/files"
tar -C / -c --no-recursion -T "$work/files" | tar -C "$root" -x
while read -r package; do
    dpkg-query -s "$package"
    echo
done <"$work/packages" >"$root/var/lib/dpkg/status"
for file in /var/lib/dpkg/info/*.list; do
    name=${file##*/}
    name=${name%.list}
    if grep -qx "${name%%:*}" "$work/packages"; then
        cp "${file%.list}".* "$root/var/lib/dpkg/info/"
    fi
done
for file in arch format; do
    [ ! -e /var/lib/dpkg/$file ] || cp /var/lib/dpkg/$file "$root/var/lib/dpkg/"
done
cp /var/lib/dpkg/info/format "$root/var/lib/dpkg/info/" 2>/dev/null || true
: >"$root/var/lib/dpkg/available"
ln -s mawk "$root/usr/bin/awk"

# inside COMMAND: in the root
inside()
{
    # shellcheck disable=SC2016 # $0 and $1 are those of the inner shell
    unshare --mount --fork sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" /usr/bin/env -i \
        PATH=/usr/sbin:/usr/bin LC_ALL=C HOME=/tmp sh -eu -c "$1"' "$root" "$1"
}

# What is there, but for what dpkg and ldconfig write in any case
listing()
{
    (cd "$root" && find . -path ./proc -prune -o -path ./tmp -prune -o -path ./var/lib/dpkg -prune -o -path ./var/log -prune \
        -o -path ./var/cache/ldconfig -prune -o -print | grep -vx './etc/ld.so.cache' | sort)
}

inside 'ldconfig && dpkg --configure -a'
mkdir -p "$root/tmp/in"
cp "$PACKAGES"/*.deb "$PACKAGES"/*.ddeb "$here/app.c" "$root/tmp/in/"
cp -r "$here/find_package" "$root/tmp/in/"
listing >"$work/before"

# Without the library the programs cannot be built; the development package cannot be installed without the other.
if inside 'cd /tmp/in && gcc app.c -lbufferpool -o /tmp/early' 2>/dev/null; then
    fail "the library is there before it was installed"
fi
if inside 'cd /tmp/in && dpkg -i libbufferpool-dev_*.deb' >"$work/log" 2>&1; then
    fail "the development package was configured without the runtime package"
fi
grep -q "depends on libbufferpool$SOVERSION" "$work/log" || fail "another error than expected: $(cat "$work/log")"
inside 'dpkg --purge libbufferpool-dev'

inside 'cd /tmp/in && dpkg -i *.deb *.ddeb && ldconfig -p | grep -q libbufferpool'
inside "test \"\$(dpkg-query -W -f '\${Status}' libbufferpool$SOVERSION)\" = 'install ok installed'"

# shellcheck disable=SC2016 # what pkg-config says in there
inside '
cd /tmp && cp -r in programs && cd programs
gcc -Wall -Wextra -Werror app.c -lbufferpool -o by-hand
gcc -Wall -Wextra -Werror app.c $(pkg-config --cflags --libs bufferpool) -o by-pkg-config
gcc -Wall -Wextra -Werror app.c -l:libbufferpool.a -pthread -o by-hand-static
gcc -Wall -Wextra -Werror -static app.c $(pkg-config --static --cflags --libs bufferpool) -o by-pkg-config-static
cmake -S find_package -B build -G Ninja -DCMAKE_PREFIX_PATH=/usr -DTARGET=bufferpool::bufferpool >/dev/null
cmake --build build
cmake -S find_package -B build-static -G Ninja -DCMAKE_PREFIX_PATH=/usr -DTARGET=bufferpool::bufferpool \
    "-DARGUMENTS=COMPONENTS;static" >/dev/null
cmake --build build-static
./by-hand shared /usr
./by-pkg-config shared /usr
build/app shared /usr
./by-hand-static static /usr
./by-pkg-config-static static /usr
build-static/app static /usr
'

inside "dpkg --purge libbufferpool-dev libbufferpool$SOVERSION-dbgsym libbufferpool$SOVERSION"
listing | diff "$work/before" - || fail "this is left (>) after a purge"
if inside 'ldconfig -p' | grep bufferpool || grep -r bufferpool "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/status"; then
    fail "the library is still known"
fi
if inside '/tmp/programs/by-hand shared /usr' 2>/dev/null; then
    fail "the program runs without the library"
fi
rm -rf "$root"
