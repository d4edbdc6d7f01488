#!/bin/sh
# SPDX-License-Identifier: MIT
#
# amalgamate.sh FOLDER: writes bufferpool.c and bufferpool.h into FOLDER, the whole library as one source to drop into
# another project. docs/packaging.md says how it is used. Needs a shell and awk.
#
# First come the headers of src/, each after those that it includes. Then come the sources as CMakeLists.txt lists them,
# and last those of the debug modes, which -DBUFFERPOOL_NO_DEBUG_MODES leaves out. On the way
#
# - every function and variable that is not public becomes static;
# - a name that is static in two sources gets the name of its source behind, in both: wake_in_background;
# - a macro of a source ends with that source.
#
# clang-format lays out all of src/, so the beginning of a line tells what the line is. A construct that this script
# does not understand does not compile, and the tests compile the result with each compiler.
set -eu
unset CDPATH # with which cd prints
: "${1:?usage: amalgamate.sh FOLDER}"
mkdir -p "$1"
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
version=$(sed -n 's/^#define BUFFERPOOL_VERSION_[MP][A-Z]* \([0-9]*\)$/\1/p' include/bufferpool.h | paste -s -d .)
# list COMMAND: the sources that this command of CMakeLists.txt names
list()
{
    sed -n "/^ *$1/,/)/p" CMakeLists.txt | grep -o 'src/[a-z_/]*\.c' | tr '\n' ' '
}
sources=$(list 'set(bufferpool_sources$')
modes=$(list 'list(APPEND bufferpool_sources ')
if [ -z "$version" ] || [ -z "$sources" ] || [ -z "$modes" ]; then
    echo "amalgamate.sh: the version or the lists of sources are not where they were" >&2
    exit 1
fi

# shellcheck disable=SC2016 # the program is awk's
awk -v version="$version" -v sources="$sources" -v modes="$modes" '
function die(what) { print "amalgamate.sh: " what > "/dev/stderr"; failed = 1; exit 1 }

# Reads a file into line[path, 1..lines[path]].
function load(path,    text, n) {
    if (path in lines) return
    n = 0
    while ((getline text < path) > 0) line[path, ++n] = text
    close(path)
    if (n == 0) die("cannot read " path)
    lines[path] = n
}

# The headers of src/ that a file includes, and theirs, each once and after those that it needs.
function gather(path,    i, name) {
    load(path)
    for (i = 1; i <= lines[path]; i++)
        if (line[path, i] ~ /^#include "/) {
            name = line[path, i]
            gsub(/^#include "|"$/, "", name)
            if (name != "bufferpool.h" && !(("src/" name) in gathered)) {
                gathered["src/" name]
                gather("src/" name)
                header[++headers] = "src/" name
            }
        }
}

# The name that a line declares for the whole file, or "". Such lines begin in the first column, and so do
# preprocessing, braces, labels and comments, but nothing else.
function declared(text,    name) {
    if (text !~ /^[A-Za-z_}]/ || text ~ /^(typedef|_Static_assert|BUFFERPOOL_API)/ || text ~ /^[a-z_]+:$/) return ""
    if (text ~ /^} [a-z]/) {                                # static struct {...} name = ...
        sub(/^} /, "", text)
        sub(/ *(=|;|\[).*/, "", text)
    } else if (text ~ /^(static |const )*(struct|union|enum)( [a-z_0-9]+)? \{/ ||
               text ~ /^(struct|union|enum) [a-z_0-9]+;/ || text ~ /^}/) {
        return ""
    } else {
        gsub(/__attribute__\(\([a-z_]+(\([^()]*\))?\)\) ?/, "", text)
        gsub(/_Atomic\([^()]*\)/, "atomic", text)
        sub(/ *(=|;|\[).*/, "", text)
        sub(/\(.*/, "", text)
        sub(/ TLS_MODEL$/, "", text)
    }
    if (!match(text, /[A-Za-z_][A-Za-z_0-9]*/)) return ""
    name = text
    if (name ~ /[ *]/) sub(/^.*[ *]/, "", name)
    sub(/[^A-Za-z_0-9].*/, "", name)
    return name
}

# Makes a declaration static, unless it is or the name is public.
function internal(text, prefix,    name) {
    name = declared(text)
    if (name == "" || text ~ /^(static|}|__attribute__.* static )/ || (name in public)) return text
    sub(/^extern /, "", text)
    return prefix " " text
}

# The names in a line that two sources have, with the source behind; not those of members, in strings or in comments.
function distinct(text, module,    out, token, member) {
    out = member = ""
    while (text != "") {
        if (in_comment) {
            if (!match(text, /\*\//)) return out text
            in_comment = 0
        } else {
            if (!match(text, /\/\*|\/\/|"([^"\\]|\\.)*"|->|\.|[A-Za-z_][A-Za-z_0-9]*/)) return out text
            token = substr(text, RSTART, RLENGTH)
            if (token == "//") return out text
            out = out substr(text, 1, RSTART - 1)
            text = substr(text, RSTART + RLENGTH)
            if (token == "/*") in_comment = 1
            if (member == "" ? token in clash : member == "tag" && token in tag_clash) token = token "_in_" module
            member = token ~ /^(\.|->)$/ ? "member" : token ~ /^(struct|union|enum)$/ ? "tag" : ""
            out = out token
            continue
        }
        out = out substr(text, 1, RSTART + RLENGTH - 1)
        text = substr(text, RSTART + RLENGTH)
    }
    return out
}

# Writes a file without what it includes of ours, and with each system header once.
function write(path, is_header, prefix,    i, text, depth, module, macros, n, name, m) {
    module = path
    sub(/^.*\//, "", module)
    sub(/\.[ch]$/, "", module)
    print "\n/* ======== " path " ======== */"
    depth = is_header ? -1 : 0 # a header has a guard
    n = 0
    for (i = 1; i <= lines[path]; i++) {
        text = line[path, i]
        if (i == 1 && text ~ /SPDX-License-Identifier/) {
            print "/*"
            continue
        }
        if (text ~ /^# *if/) depth++
        if (text ~ /^# *endif/) depth--
        if (text ~ /^# *include "/) {
            if (depth != 0) die(path ":" i ": includes only sometimes")
            continue
        }
        if (text ~ /^# *include </ && depth == 0) {
            if (text in seen) continue
            seen[text]
        }
        if (!is_header && text ~ /^# *define /) {
            name = text
            sub(/^# *define /, "", name)
            sub(/[^A-Za-z_0-9].*/, "", name)
            macros[++n] = name
        }
        if (text !~ /^#/) text = internal(text, prefix)
        if (!is_header) text = distinct(text, module)
        print text
    }
    for (m = 1; m <= n; m++) {
        print "#undef " macros[m]
        delete macros[m]
    }
}

BEGIN {
    n = split(sources, source, " ")
    n_modes = split(modes, mode, " ")
    load("include/bufferpool.h")
    for (i = 1; i <= lines["include/bufferpool.h"]; i++) {
        text = line["include/bufferpool.h", i]
        if (text ~ /^BUFFERPOOL_API .*\(/) {
            sub(/\(.*/, "", text)
            sub(/^.*[ *]/, "", text)
            public[text]
        }
    }
    for (i = 1; i <= n; i++) gather(source[i])
    for (i = 1; i <= n_modes; i++) {
        gather(mode[i])
        path = mode[i]
        sub(/c$/, "h", path)
        of_the_modes[path]
    }

    # What two sources declare static, and structs of one name in two sources.
    for (i = 1; i <= n + n_modes; i++) {
        path = i <= n ? source[i] : mode[i - n]
        for (k = 1; k <= lines[path]; k++) {
            text = line[path, k]
            name = text ~ /^(static |} |__attribute__.* static )/ ? declared(text) : ""
            if (name != "" && (name in first) && first[name] != path) clash[name]
            first[name] = path
            if (text !~ /^(static |const )*(struct|union|enum) [a-z_0-9]+ \{/) continue
            sub(/ \{.*/, "", text)
            sub(/^.* /, "", text)
            if ((text in first_tag) && first_tag[text] != path) tag_clash[text]
            first_tag[text] = path
        }
    }

    print "/* bufferpool.c - libbufferpool " version ", the whole library in one source"
    print " *"
    print " * tools/amalgamate.sh wrote it, so changes belong into src/. Compile it as C11 or later, with bufferpool.h"
    print " * beside it:"
    print " *"
    print " *     cc -O2 -c bufferpool.c -pthread"
    print " *"
    print " * -DBUFFERPOOL_NO_DEBUG_MODES leaves out the debug modes of the environment variable BUFFERPOOL_DEBUG. In a"
    print " * shared library, -DBUFFERPOOL_STATIC with -fvisibility=hidden keeps the functions from being exported."
    print " *"
    load("LICENSE")
    for (i = 1; i <= lines["LICENSE"]; i++) print " *" (line["LICENSE", i] == "" ? "" : " ") line["LICENSE", i]
    print " */"
    print "#ifndef _GNU_SOURCE"
    print "#define _GNU_SOURCE"
    print "#endif"
    print "#include \"bufferpool.h\"\n"
    print "/* Without the debug modes nothing defines their functions, and nothing calls them. */"
    print "#if defined(BUFFERPOOL_NO_DEBUG_MODES)"
    print "#define BUFFERPOOL_MODES_STATIC extern"
    print "#else"
    print "#define BUFFERPOOL_MODES_STATIC static"
    print "#endif\n"
    print "/* Each spares an instruction in every get. The first is the flag that the library compiles pool.c with."
    print " * Without the second, gcc computes the address of the default pool in every get, since it is in the same"
    print " * source here. */"
    print "#if defined(__GNUC__) && !defined(__clang__)"
    print "#pragma GCC optimize(\"ira-algorithm=priority\", \"no-if-conversion\")"
    print "#endif\n"
    print "#pragma GCC diagnostic push"
    print "#pragma GCC diagnostic ignored \"-Wshadow\" /* what was local to one source */"
    print "#pragma GCC diagnostic ignored \"-Wunused-function\" /* tests call some of these */"
    for (i = 1; i <= headers; i++)
        write(header[i], 1, (header[i] in of_the_modes) ? "BUFFERPOOL_MODES_STATIC" : "static")
    for (i = 1; i <= n; i++) write(source[i], 0, "static")
    print "\n#if !defined(BUFFERPOOL_NO_DEBUG_MODES)"
    for (i = 1; i <= n_modes; i++) write(mode[i], 0, "static")
    print "\n#endif"
    print "#pragma GCC diagnostic pop"
}
END { exit failed }' >"$folder/bufferpool.c.new"
mv "$folder/bufferpool.c.new" "$folder/bufferpool.c"
cp include/bufferpool.h "$folder/bufferpool.h"
