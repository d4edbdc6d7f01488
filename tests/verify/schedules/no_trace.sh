#!/bin/sh
# no_trace.sh FOLDER COMMANDS LIBRARY.a LIBRARY.so STEPPED.a: checks that the library of this build, which stands
# beside the tests and their seam, is to the byte the same as where there are no tests. FOLDER is the root of the
# project, COMMANDS the build's compile_commands.json, STEPPED.a the sources compiled with the seam.
#
# 1. src/ and include/ are copied to a folder of their own, and each source is compiled there with the command of the
#    build, so nothing from elsewhere can go into it. Each object must be that of the archive, except for debugging
#    information, which names folders. The commands of the shared library must not name the tests either.
# 2. Neither library names a symbol of the seam or of the tests. The stepped archive does, which shows that the search
#    works; and its objects differ, which shows the same for 1.
set -eu
root=$1
commands=$2
archive=$3
shared=$4
stepped=$5
names='seam_|explorer_|scene_|a_step|__wrap_'

die() {
    echo "no_trace: $*"
    exit 1
}

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -R "$root/src" "$root/include" "$copy"
mkdir "$copy/stepped"
(cd "$copy/stepped" && ar x "$stepped")

# bare OBJECT: removes debugging information, in place
bare() {
    objcopy --strip-debug --remove-section=.comment "$1"
}

# command_of KIND NAME: prints the command by which the build compiled the source for that kind of the library
command_of() {
    command=$(sed -n "s|^ *\"command\": \"\(.* -o [^ ]*bufferpool_$1.dir/src/$2.o .*\)\",\$|\1|p" "$commands")
    test -n "$command" || die "no command for $2 of the $1 library"
    case $command in *-include* | *tests/verify/schedules* | *tests/support*) die "$command" ;; esac
    printf '%s\n' "$command" | sed 's|\\\\\\"|"|g'
}

mkdir "$copy/built"
(cd "$copy/built" && ar x "$archive")
n=0
for source in "$copy"/src/*.c "$copy"/src/*/*.c; do
    path=${source#"$copy"/src/}
    name=$(basename "$source")
    command_of shared "$path" >/dev/null
    command=$(command_of static "$path" | sed "s|$root/|$copy/|g; s| -o [^ ]*| -o $copy/$name.o|")
    (cd "$copy" && eval "$command")
    bare "$copy/$name.o"
    bare "$copy/built/$name.o"
    bare "$copy/stepped/$name.o"
    cmp "$copy/$name.o" "$copy/built/$name.o" || die "$name is another object without the tests"
    if grep -q 'load_\|pthread_mutex' "$source" && cmp -s "$copy/$name.o" "$copy/stepped/$name.o"; then
        die "$name is the same with the seam"
    fi
    n=$((n + 1))
done
test "$n" -gt 0 || die "no sources"
echo "$n objects are the same without the tests"

nm "$stepped" 2>/dev/null | grep -Eq "$names" || die "the symbols of the seam are looked for under the wrong names"
for library in "$archive" "$shared"; do
    ! nm "$library" 2>/dev/null | grep -E "$names" || die "$library names them"
    ! strings -a "$library" | grep -E "seam\.h|steps\.h|explorer" || die "$library names their files"
done
echo "neither library names a symbol or a file of the seam"
