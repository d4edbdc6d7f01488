#!/bin/sh
# links.sh: every file exists that a page of the project links to, or names in backquotes with its folder, and so does
# every heading. Runs in the root of the project.
set -eu
status=0
fail() {
    echo "$*"
    status=1
}

# The anchors of a page, as forges make them of its headings.
anchors() {
    sed -n 's/^##* //p' "$1" | tr '[:upper:]' '[:lower:]' | sed -e 's/[^a-z0-9 _-]//g' -e 's/ /-/g'
}

for page in $(git ls-files '*.md' 2>/dev/null || ls ./*.md docs/*.md bench/*.md); do
    folder=$(dirname "$page")
    for link in $(grep -o '](\([^)]*\))' "$page" | sed 's/^](\(.*\))$/\1/' | sort -u); do
        case $link in http*) continue ;; esac
        target=${link%%#*}
        file=$page
        test -z "$target" || file=$folder/$target
        test -e "$file" || { fail "$page links to $link"; continue; }
        case $link in
        *"#"*) anchors "$file" | grep -qx -- "${link#*#}" || fail "$page links to $link, a heading that is not there" ;;
        esac
    done
    grep -nE '[a-z]@example\.' "$page" && fail "$page gives an address that nobody reads"
    for path in $(grep -o '`\(src\|include\|tests\|docs\|cmake\|bench\|examples\)/[A-Za-z0-9_./-]*`' "$page" | tr -d '`' | sort -u); do
        test -e "$path" || test -e "$folder/$path" || fail "$page names $path"
    done
done
exit $status
