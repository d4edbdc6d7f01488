# blocks.sh c|cpp|cmake|sh: the fenced code blocks of README.md in that language, against the installed library
#
#   c          With a main(), the block is a program: it is compiled, linked, and run without input; it must return 0
#              within 20 s. Without, it must compile as it stands at file scope, or else as the body of a function; a few
#              standard headers and bufferpool.h are included before it. What it names, it must declare.
#   cpp        The same for C++17: a program, or a function body.
#   cmake      Configured and built. A project() is put in front where there is none, and so is an add_executable() of
#              a target that is only linked. The .c files it names are a small program. add_subdirectory(X) and
#              FetchContent get this source tree.
#   sh         The commands that begin with cc, c++, gcc, g++, clang, clang++ or pkg-config are run; the .c files they
#              name are a small program. Of `cmake --workflow --preset NAME` the NAME must exist. Other commands (apt-get,
#              git) are not run.
#   console    as sh, for the lines that begin with "$ "; the others are output
# A block in another language is for reading. One without a language is an error, lest code goes unchecked.
. "$(dirname "$0")/../consumer/common.sh"

readme=$SOURCE/README.md
prefix=$(prefix_of staged)
libdir=$prefix/$LIBDIR
export PKG_CONFIG_PATH="$libdir/pkgconfig" CPATH="$prefix/include" LIBRARY_PATH="$libdir" LD_LIBRARY_PATH="$libdir"
test -e "$readme" || fail "no README.md"

# Each block into a file LINE.LANGUAGE, without the indentation of its fence.
awk -v to="$work" '
    /^ *```/ && !inside {
        inside = 1
        indent = match($0, /`/) - 1
        language = $0
        sub(/^ *`+/, "", language)
        sub(/[^a-z+].*/, "", language)
        file = sprintf("%s/%04d.%s", to, NR, language == "" ? "none" : language)
        printf "" > file
        next
    }
    /^ *```/ { inside = 0; close(file); next }
    inside { for (i = 0; i < indent; i++) sub(/^ /, ""); print > file }
    END { if (inside) { print "a fence is not closed" > "/dev/stderr"; exit 1 } }' "$readme"

for block in "$work"/*.none; do
    test ! -e "$block" || fail "README.md:$(basename "$block" .none): a code block without a language"
done

# write_programs FILE DIRECTORY: a small program under every name of a .c file that FILE contains
write_programs()
{
    grep -o '[A-Za-z0-9_./-]*\.c\>' "$1" | sort -u | while read -r name; do
        mkdir -p "$2/$(dirname "$name")"
        cp "$here/app.c" "$2/$name"
    done
}

compile="$CC -Wall -Wextra -Werror -Wno-unused"
preamble='#include <bufferpool.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>'

check_c()
{
    if grep -q '\<main *(' "$1"; then
        $compile "$1" -lbufferpool -pthread -o "$1.program" || fail "$2: does not compile"
        timeout 20 "$1.program" </dev/null || fail "$2: the program returns $?"
    else
        { echo "$preamble"; cat "$1"; } >"$work/at-file-scope.c"
        { echo "$preamble"; echo 'void body(void);'; echo 'void body(void) {'; cat "$1"; echo '}'; } >"$work/as-body.c"
        $compile -c "$work/at-file-scope.c" -o "$work/block.o" 2>"$work/log" ||
            $compile -c "$work/as-body.c" -o "$work/block.o" ||
            fail "$2: compiles neither as a function body (see above) nor at file scope: $(cat "$work/log")"
    fi
}

check_cpp()
{
    program=$1
    if ! grep -q '\<main *(' "$1"; then
        program=$work/body.cpp
        headers=$(sed -n '/^#include/p' "$1")
        { echo "$headers"; echo 'int main() {'; sed '/^#include/d' "$1"; echo '}'; } >"$program"
    fi
    # shellcheck disable=SC2086 # many words
    $CXX -std=c++17 -Wall -Wextra -Werror "$program" -lbufferpool -pthread -o "$1.program" || fail "$2: does not compile"
    timeout 20 "$1.program" </dev/null || fail "$2: the program returns $?"
}

check_cmake()
{
    project=$1.project
    mkdir "$project"
    write_programs "$1" "$project"
    {
        if ! grep -q '^ *project *(' "$1"; then
            echo 'cmake_minimum_required(VERSION 3.25)'
            echo 'project(readme LANGUAGES C)'
        fi
        sed -n 's/^ *target_link_libraries *( *\([A-Za-z0-9_-]*\).*/\1/p' "$1" | sort -u | while read -r target; do
            if ! grep -q "add_\(executable\|library\) *( *$target\>" "$1"; then
                cp "$here/app.c" "$project/$target.c"
                echo "add_executable($target $target.c)"
            fi
        done
        cat "$1"
    } >"$project/CMakeLists.txt"
    sed -n 's/^ *add_subdirectory *( *\([A-Za-z0-9_./-]*\).*/\1/p' "$1" | while read -r folder; do
        mkdir -p "$project/$(dirname "$folder")"
        ln -s "$SOURCE" "$project/$folder"
    done
    fetched=$(sed -n 's/^ *FetchContent_Declare *( *\([A-Za-z0-9_]*\).*/\1/p' "$1" | head -n 1 | tr '[:lower:]' '[:upper:]')
    configure "$project" "$project/build" -DCMAKE_PREFIX_PATH="$prefix" -DFETCHCONTENT_FULLY_DISCONNECTED=ON \
        ${fetched:+-DFETCHCONTENT_SOURCE_DIR_$fetched="$SOURCE"} || fail "$2: does not configure"
    "$CMAKE" --build "$project/build" || fail "$2: does not build"
}

check_sh()
{
    folder=$1.folder
    mkdir "$folder"
    write_programs "$1" "$folder"
    # One command a line: continuation lines joined, comments and prompts gone.
    sed -e ':a' -e '/\\$/{N;s/\\\n//;ba' -e '}' "$1" | case $1 in
    *.console) sed -n 's/^\$ //p' ;;
    *) sed 's/^\$ //; /^ *#/d; /^ *$/d' ;;
    esac >"$folder/commands"
    while read -r command; do
        case $command in
        "cc "* | "c++ "* | "gcc "* | "g++ "* | "clang "* | "clang++ "* | "pkg-config "*)
            echo "+ $command"
            (cd "$folder" && sh -ec "$command" </dev/null) || fail "$2: $command"
            ;;
        *"cmake --workflow"*)
            preset=$(echo "$command" | sed -n 's/.*--workflow.* --preset[ =]*\([a-z0-9_-]*\).*/\1/p')
            (cd "$SOURCE" && "$CMAKE" --workflow --list-presets) | grep -q "\"$preset\"" || fail "$2: no preset '$preset'"
            ;;
        *)
            echo "not run: $command"
            ;;
        esac
    done <"$folder/commands"
}

checked=0
languages=$1
test "$1" != sh || languages="sh console"
for language in $languages; do
    for block in "$work"/*."$language"; do
        if [ -f "$block" ]; then
            where="README.md:$(basename "$block" ".$language")"
            echo "== $where ($language)"
            check_"$1" "$block" "$where"
            checked=$((checked + 1))
        fi
    done
done
test $checked -gt 0 || fail "README.md has no block in $1; was it renamed?"
echo "$checked blocks"
