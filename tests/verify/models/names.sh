#!/bin/sh
# names.sh SRC MODEL.pml...: checks that src/ has everything that the tables at the head of the models name
#
# A row of a table names a step of the model, a file and a function of src/, perhaps the number of a step of that file's
# comment, and a line or a part of a line:
#
#     push    depot.c depot_push (8)    "sub_relaxed(&depot->counts, IN_FLIGHT(n));"
#
# The step is an inline or a proctype of the model. A row without a step belongs to the step of the row above. Each inline
# and proctype has a row, except those of "Only watches: NAME NAME". The function is defined in that file, and the text
# stands in exactly one of its lines. The number begins an item of the comment at the head of the file of "Numbers in
# brackets: FILE".
set -eu
src=$1
shift
failed=0

complain()
{
    echo "$model: $*"
    failed=1
}

# body FILE NAME: prints each definition of the function
body()
{
    awk -v name="$2" '
        !inside && /^[a-z]/ && index($0, name "(") && !/;$/ && match($0, "(^|[^a-zA-Z0-9_])" name "\\(") { inside = 1 }
        inside { print }
        inside && /^}/ { inside = 0 }' "$1"
}

for path in "$@"; do
    model=$(basename "$path")
    table=$(awk '/^ \*     ----/ { inside = 1; next } inside && /^ \*$/ { exit } inside { print }' "$path")
    rows=$(printf '%s\n' "$table" | grep -c . || true)
    test "$rows" -gt 3 || complain "has no table"
    steps=" $(tr '\n' ' ' <"$path" | sed -nE 's/ \*  *//g; s/.*Only watches: ([a-z_ ]*)\..*/\1/p') "
    numbered=$(sed -n 's/.*Numbers in brackets: \([a-z]*\.c\)\..*/\1/p' "$path")
    test -f "$src/$numbered" || complain "does not say which file's numbers it names"
    while IFS= read -r row; do
        fields=$(printf '%s\n' "$row" | sed -nE 's/^ \*     ([a-z_]*) +([a-z_/]+\.[ch]) ([a-z_0-9]+)( \(([0-9]+|[a-e])\))? +".*"$/\1|\2|\3|\5/p')
        test -n "$fields" || { complain "cannot read: $row"; continue; }
        step=$(echo "$fields" | cut -d'|' -f1)
        file=$(echo "$fields" | cut -d'|' -f2)
        function=$(echo "$fields" | cut -d'|' -f3)
        number=$(echo "$fields" | cut -d'|' -f4)
        text=${row#*\"}
        text=${text%\"}
        if test -n "$step"; then
            steps="$steps $step "
            grep -qE "^(inline|(active )?proctype) $step\\(" "$path" || complain "no inline or proctype $step"
        fi
        test -f "$src/$file" || { complain "no $file"; continue; }
        code=$(body "$src/$file" "$function")
        test -n "$code" || { complain "$file has no function $function"; continue; }
        count=$(printf '%s\n' "$code" | grep -cF -- "$text" || true)
        test "$count" = 1 || complain "$count lines of $function in $file have: $text"
        test -z "$number" || grep -qE "^ \\*  .*\\b$number(\\. |  [a-z])" "$src/$numbered" || complain "no step $number in $numbered"
    done <<TABLE
$table
TABLE
    for step in $(sed -nE 's/^(inline|(active )?proctype) ([a-z_]+)\(.*/\3/p' "$path"); do
        case $steps in *" $step "*) ;; *) complain "$step is not in the table" ;; esac
    done
    echo "$model: $rows rows"
done
exit $failed
