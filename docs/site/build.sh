#!/bin/sh
# SPDX-License-Identifier: MIT
#
# build.sh OUT: makes the site of the project's pages and of its manual, in the folder OUT. The folders are those of the
# project, so links between pages stay as they are; a README.md becomes an index.html. Runs in the root of the project.
#
# Environment: PANDOC, MANDOC
set -eu
out=$1
here=docs/site
rm -rf "$out"
mkdir -p "$out/docs/man"
out=$(cd "$out" && pwd)
cp "$here/style.css" "$out"
FILES=$out/files
export FILES
: >"$FILES"

# ---- which pages there are, by chapter ----

# there FILE...: those that exist
there() {
    for file; do if test -f "$file"; then echo "$file"; fi; done
}
guide=$(there docs/guide/README.md && there docs/guide/*.md | sed '/README\.md$/d')
use=$(there docs/tuning.md docs/operations.md docs/metrics.md docs/debugging.md docs/tracing.md docs/migrating.md \
    docs/system-calls.md docs/packaging.md examples/README.md examples/demo/README.md)
manual=$(there docs/man/*.[0-9])
background=$(there docs/comparison.md bench/README.md docs/design.md docs/verification.md tests/README.md \
    CONTRIBUTING.md SECURITY.md MAINTAINERS.md CHANGELOG.md)
known=" $(echo README.md "$guide" "$use" "$background" | tr '\n' ' ') "
for page in $(there docs/*.md docs/*/*.md); do
    case $known in *" $page "*) ;; *) use="$use $page" ;; esac
done

# to PAGE: where it goes
to() {
    echo "$1" | sed -e 's/README\.md$/index.md/' -e 's/\.md$/.html/' -e 's/\(\.[0-9]\)$/\1.html/'
}

title() {
    case $1 in
    *.md) sed -n '/^# /{s/^# //;s/`//g;p;q;}' "$1" ;;
    *) basename "$1" | sed 's/\.\([0-9]\)$/(\1)/' ;;
    esac
}

chapter() {
    heading=$1
    shift
    test $# -gt 0 || return 0
    echo "<p>$heading</p><ul>"
    for page; do echo "<li><a href=\"@ROOT@$(to "$page")\">$(title "$page")</a></li>"; done
    echo "</ul>"
}

# shellcheck disable=SC2086 # each is a list of words
{
    chapter Start README.md
    chapter Guide $guide
    chapter Use $use
    chapter Manual $manual
    chapter Background $background
} >"$out/nav"

# page TITLE TARGET ARGUMENT...: writes a page; pandoc has the arguments too
page() {
    title=$1 target=$2
    shift 2
    root=$(echo "$target" | sed -e 's|[^/]*/|../|g' -e 's|[^/]*$||')
    sed -e "s|\"@ROOT@$target\"|& aria-current=\"page\"|" -e "s|@ROOT@|$root|g" "$out/nav" >"$out/nav.here"
    mkdir -p "$out/$(dirname "$target")"
    "$PANDOC" --fail-if-warnings -f gfm -t html5 --no-highlight --wrap=none --template "$here/page.html" -V "root=$root" \
        -M "pagetitle=$title" -V "nav=$(cat "$out/nav.here")" -o "$out/$target" "$@"
}

# ---- the pages ----

for source in README.md $guide $use $background; do
    PAGE=$source page "$(title "$source")" "$(to "$source")" --lua-filter "$here/links.lua" "$source"
done

# ---- the manual ----

# A function's name leads to the page that is about it, and what is no page of ours to the manual of Debian.
for source in $manual; do
    name=$(basename "$source")
    echo "s|\"@$name@\"|\"$(to "$name")\"|g"
    sed -n "/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([a-z_]*\).*/s|\"@\1.3@\"|\"$(to "$name")\"|g/p" "$source"
done >"$out/names"
printf '%s\n' 's|"@\([^"@]*\)@"|"https://manpages.debian.org/\1"|g' >>"$out/names"
for source in $manual; do
    "$MANDOC" -T html -O 'fragment,man=@%N.%S@' "$source" | sed -f "$out/names" >"$out/fragment"
    page "$(title "$source")" "$(to "$source")" -A "$out/fragment" /dev/null
done

# ---- what is linked besides ----

sort -u "$FILES" | while read -r path; do
    case $path in *..*) path=$(realpath --relative-to=. "$path") ;; esac
    mkdir -p "$out/$(dirname "$path")"
    if test -f "$path"; then
        cp "$path" "$out/$path"
    elif test -d "$path" && test ! -f "$path/README.md"; then
        path=${path%/}
        mkdir -p "$out/$path"
        for file in "$path"/*; do if test -f "$file"; then cp "$file" "$out/$path"; fi; done
        { echo "# $path"; echo; for file in "$path"/*; do echo "- [$(basename "$file")]($(basename "$file"))"; done; } |
            page "$path" "$path/index.html"
    fi
done
rm -f "$FILES" "$out/nav" "$out/nav.here" "$out/names" "$out/fragment"
